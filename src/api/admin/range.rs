//! Which time a request asks for, and how it is divided into the points of a series.

use serde_json::{Value, json};

use super::super::envelope::BadRequest;
use super::super::parameters::Query;
use crate::pg::{self, Timestamp};

pub const HOUR_SECONDS: i64 = 3600;
const MINUTE_SECONDS: i64 = 60;
const MICROS: i64 = 1_000_000;
/// Points of a series, for a range of any length. Bounds the size of an answer.
const POINTS_MAX: i64 = 1000;
/// Minutes of a point, each for ranges of up to so many hours. What is longer has the last.
const POINT_MINUTES: [(i64, i64); 5] = [(1, 1), (6, 5), (24, 15), (7 * 24, 60), (i64::MAX, 360)];

/// The range that a request speaks of: until now, for `seconds_default`, where it does not say.
#[derive(Debug, Clone, Copy)]
pub struct TimeRange {
    from: Timestamp,
    to: Timestamp,
}

impl TimeRange {
    pub fn read(query: Query<'_>, seconds_default: i64) -> Result<Self, BadRequest> {
        let to = query.time("to")?.unwrap_or_else(jiff::Timestamp::now);
        let from = match query.time("from")? {
            Some(from) => from,
            None => to.checked_sub(jiff::SignedDuration::from_secs(seconds_default)).unwrap_or(to),
        };
        if from > to {
            let problem = "from must not be later than to";
            return Err(BadRequest::new("invalid_parameter", problem));
        }
        Ok(Self { from: Timestamp::from_jiff(from), to: Timestamp::from_jiff(to) })
    }

    /// `from` and `to` as answers show them.
    pub fn shown(self) -> [String; 2] {
        [self.from, self.to].map(|time| time.to_string())
    }

    pub fn json(self) -> Value {
        let [from, to] = self.shown();
        json!({ "from": from, "to": to })
    }

    fn seconds(self) -> i64 {
        (self.to.unix_micros() - self.from.unix_micros()) / MICROS
    }

    /// The range in points as wide as suits its length.
    pub fn divided(self) -> pg::Range {
        let hours = |hours: i64| hours.saturating_mul(HOUR_SECONDS);
        let width = POINT_MINUTES.iter().find(|(up_to, _)| self.seconds() <= hours(*up_to));
        let width = width.map_or(360, |(_, minutes)| *minutes) * MINUTE_SECONDS;
        // A longer one still has wider points, so that there are not too many.
        let times = self.seconds() / width / POINTS_MAX + 1;
        self.in_points(width * times)
    }

    /// The range as one point.
    pub fn whole(self) -> pg::Range {
        let minute = self.in_points(MINUTE_SECONDS);
        // The minute in which it ends belongs to it, too.
        pg::Range { seconds: self.seconds() + 2 * MINUTE_SECONDS, ..minute }
    }

    /// The range in points of a minute; of a long range the newest.
    pub fn in_minutes(self, points_max: i64) -> pg::Range {
        self.newest(MINUTE_SECONDS, points_max)
    }

    /// The newest points of a given width.
    pub fn newest(self, seconds: i64, points_max: i64) -> pg::Range {
        let mut range = self.in_points(seconds);
        let last = self.to.unix_micros().div_euclid(seconds * MICROS);
        let first = (last + 1 - points_max).saturating_mul(seconds * MICROS);
        if range.from.unix_micros() < first {
            range.from = Timestamp::from_unix_micros(first);
        }
        range
    }

    /// The range in points of that width, of which the first begins before it.
    fn in_points(self, seconds: i64) -> pg::Range {
        let width = seconds * MICROS;
        let from = self.from.unix_micros().div_euclid(width) * width;
        pg::Range { from: Timestamp::from_unix_micros(from), to: self.to, seconds }
    }
}

/// When each point begins, oldest first.
pub fn points(range: pg::Range) -> impl Iterator<Item = Timestamp> {
    let width = range.seconds * MICROS;
    let mut next = range.from.unix_micros();
    std::iter::from_fn(move || {
        let point = next;
        next = next.saturating_add(width);
        (point <= range.to.unix_micros()).then(|| Timestamp::from_unix_micros(point))
    })
}

/// As many points as the range has.
pub fn point_count(range: pg::Range) -> i64 {
    (range.to.unix_micros() - range.from.unix_micros()) / MICROS / range.seconds + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(query: &str) -> Result<TimeRange, BadRequest> {
        TimeRange::read(Query(Some(query)), HOUR_SECONDS)
    }

    #[test]
    fn a_range_has_points_that_suit_its_length_and_never_too_many() {
        for (to, minutes) in [
            ("2026-03-01T01:00:00Z", 1),
            ("2026-03-01T01:00:01Z", 5),
            ("2026-03-01T06:00:01Z", 15),
            ("2026-03-02T00:00:01Z", 60),
            ("2026-03-09T00:00:00Z", 360),
            ("2030-03-09T00:00:00Z", 360 * 6),
        ] {
            let range = range(&format!("from=2026-03-01T00:00:00Z&to={to}")).unwrap().divided();
            assert_eq!(range.seconds, minutes * 60, "{to}");
            assert!(point_count(range) <= POINTS_MAX + 2);
            assert_eq!(i64::try_from(points(range).count()), Ok(point_count(range)));
        }
        let long = range("from=-009000-01-01T00:00:00Z&to=9999-01-01T00:00:00Z").unwrap();
        assert!(point_count(long.divided()) <= POINTS_MAX + 2);
        assert_eq!(point_count(long.newest(3600, 100)), 100);
    }

    #[test]
    fn points_are_aligned_and_a_range_has_a_direction() {
        let range_of = range("from=2026-03-01T00:59:59Z&to=2026-03-01T03:00:00Z").unwrap();
        assert_eq!(range_of.divided().from.to_string(), "2026-03-01T00:55:00.000000Z");
        assert_eq!(range_of.json()["from"], "2026-03-01T00:59:59.000000Z");
        assert_eq!(range_of.newest(3600, 100).from.to_string(), "2026-03-01T00:00:00.000000Z");
        assert_eq!(range_of.newest(3600, 2).from.to_string(), "2026-03-01T02:00:00.000000Z");
        assert!(range("from=2026-03-02&to=2026-03-01").unwrap_err().message.starts_with("from"));
    }
}
