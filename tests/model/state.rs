//! What the database holds of a queue, beside what the model says.

use super::reference::{DeadLetter, Fate};
use super::run::{Difference, Run};

const PLACES: &str = "
SELECT g.name, p.name, c.cursor, coalesce(c.finished, '{}'),
       CASE WHEN c.lease_until > now() THEN c.lease_id::text END
FROM queues q JOIN partitions p ON p.queue_id = q.id
JOIN consumers c ON c.partition_id = p.id JOIN groups g ON g.id = c.group_id
WHERE q.name = $1";

const CURSOR: &str = "
SELECT c.cursor
FROM queues q JOIN partitions p ON p.queue_id = q.id
JOIN consumers c ON c.partition_id = p.id JOIN groups g ON g.id = c.group_id
WHERE q.name = $1 AND g.name = $2 AND p.name = $3";

const LETTERS: &str = "
SELECT d.group_name, p.name, d.message_offset, d.transaction_id, d.failure_count,
       coalesce(d.error, '')
FROM queues q JOIN dead_letters d ON d.queue_id = q.id JOIN partitions p ON p.id = d.partition_id
WHERE q.name = $1 ORDER BY d.id";

const LOGS: &str = "
SELECT p.name, p.next_offset, coalesce((SELECT sum(message_count) FROM segments s
                                        WHERE s.partition_id = p.id), 0)::bigint
FROM queues q JOIN partitions p ON p.queue_id = q.id WHERE q.name = $1";

fn number(value: i64) -> usize {
    usize::try_from(value).expect("nothing that is stored is negative")
}

impl Run<'_> {
    /// The first offset that a group has not finished, as the database knows it.
    pub fn cursor(&mut self, group: &str, partition: &str) -> Option<usize> {
        let row = self.stage.sql.query_opt(CURSOR, &[&self.queue, &group, &partition]);
        row.expect("the tables exist").map(|row| number(row.get(0)))
    }

    /// Logs, places and dead letters, as they are at one moment.
    pub fn compare_state(&mut self) -> Result<(), Difference> {
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ";
        self.stage.sql.batch_execute(begin).expect("no transaction is open");
        let compared = self.compare_all();
        self.stage.sql.batch_execute("COMMIT").expect("the transaction is open");
        compared
    }

    fn compare_all(&mut self) -> Result<(), Difference> {
        self.compare_logs()?;
        self.compare_places()?;
        let rows = self.stage.sql.query(LETTERS, &[&self.queue]).expect("the tables exist");
        let mut stored: Vec<DeadLetter> = rows
            .iter()
            .map(|row| DeadLetter {
                group: row.get(0),
                partition: row.get(1),
                offset: number(row.get(2)),
                transaction_id: row.get(3),
                failures: u32::try_from(row.get::<_, i32>(4)).unwrap_or(u32::MAX),
                error: row.get(5),
            })
            .collect();
        let queue = self.model.queue.as_ref();
        let mut expected = queue.map(|queue| queue.dead_letters.clone()).unwrap_or_default();
        let key =
            |letter: &DeadLetter| (letter.group.clone(), letter.partition.clone(), letter.offset);
        stored.sort_by_key(key);
        expected.sort_by_key(key);
        if stored == expected {
            return Ok(());
        }
        Err(format!("the dead letters are\n    {stored:?}\ninstead of\n    {expected:?}"))
    }

    fn compare_logs(&mut self) -> Result<(), Difference> {
        let rows = self.stage.sql.query(LOGS, &[&self.queue]).expect("the tables exist");
        let mut stored = 0;
        for row in rows {
            let partition: String = row.get(0);
            let known = self.model.queue.as_ref().and_then(|q| q.partitions.get(&partition));
            let (next, count) = (number(row.get(1)), number(row.get(2)));
            let expected = known.map_or(0, |known| known.log.len());
            if (next, count) != (expected, expected) {
                return Err(format!("{partition} ends at {next} with {count}, not at {expected}"));
            }
            stored += count;
        }
        let queue = self.model.queue.as_ref();
        let pushed = queue.map_or(0, |q| q.partitions.values().map(|known| known.log.len()).sum());
        if stored == pushed { Ok(()) } else { Err(format!("{stored} of {pushed} are stored")) }
    }

    fn compare_places(&mut self) -> Result<(), Difference> {
        let rows = self.stage.sql.query(PLACES, &[&self.queue]).expect("the tables exist");
        let mut seen = Vec::new();
        for row in rows {
            let (group, partition): (String, String) = (row.get(0), row.get(1));
            // A burial may be done after the pop that saw to it was answered.
            self.see_burial(&group, &partition, Some(number(row.get(2))));
            let place = self.model.queue.as_mut().and_then(|q| q.place(&group, &partition));
            let Some(place) = place else {
                return Err(format!("{group} has a place in {partition}"));
            };
            let cursor = place.cursor();
            let done = |at: &usize| matches!(place.fates[*at], Fate::Done { .. });
            let finished: Vec<usize> = (cursor..place.fates.len()).filter(done).collect();
            let lease = place.live_lease().map(|lease| lease.id.clone());
            let stored_finished: Vec<usize> =
                row.get::<_, Vec<i64>>(3).into_iter().map(number).collect();
            let stored = (number(row.get(2)), stored_finished, row.get::<_, Option<String>>(4));
            if stored != (cursor, finished.clone(), lease.clone()) {
                return Err(format!(
                    "{group} stands in {partition} at {stored:?}, not at {:?}",
                    (cursor, finished, lease)
                ));
            }
            seen.push((group, partition));
        }
        let queue = self.model.queue.iter_mut();
        for (group, state) in queue.flat_map(|queue| &queue.groups) {
            for (partition, place) in &state.places {
                let touched = place.lease.is_some()
                    || place.fates.iter().any(|fate| matches!(fate, Fate::Done { .. }));
                if touched && !seen.contains(&(group.clone(), partition.clone())) {
                    return Err(format!("{group} has no place in {partition}"));
                }
            }
        }
        Ok(())
    }
}
