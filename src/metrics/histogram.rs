//! Histograms whose bounds are powers of two, so that finding a bucket is counting bits.
//!
//! Bucket `i` holds the values up to `2^(FIRST + STEP * i)` that no bucket before it holds; the last
//! holds all that are larger.

use std::cell::Cell;

/// Microseconds of requests and statements: from 64 us to 67 s, each bound twice the one before.
pub type Latency = Histogram<6, 1, 22>;
pub type LatencyCounts = Counts<6, 1, 22>;
/// Microseconds on the way of a message: from 1 ms to 19 h, each bound four times the one before.
pub type Delay = Histogram<10, 2, 15>;
pub type DelayCounts = Counts<10, 2, 15>;
/// Requests or messages: from 1 to 16384.
pub type Size = Histogram<0, 1, 16>;
pub type SizeCounts = Counts<0, 1, 16>;

/// The cells of one core.
#[derive(Debug)]
pub struct Histogram<const FIRST: u32, const STEP: u32, const N: usize> {
    buckets: [Cell<u64>; N],
    sum: Cell<u64>,
}

/// What a histogram held at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counts<const FIRST: u32, const STEP: u32, const N: usize> {
    buckets: [u64; N],
    sum: u64,
}

impl<const FIRST: u32, const STEP: u32, const N: usize> Default for Histogram<FIRST, STEP, N> {
    fn default() -> Self {
        Self { buckets: [const { Cell::new(0) }; N], sum: Cell::new(0) }
    }
}

impl<const FIRST: u32, const STEP: u32, const N: usize> Histogram<FIRST, STEP, N> {
    pub fn record(&self, value: u64) {
        self.record_many(value, 1);
    }

    /// `count` times the same value.
    pub fn record_many(&self, value: u64, count: u64) {
        let bucket = &self.buckets[Self::bucket(value)];
        bucket.set(bucket.get().wrapping_add(count));
        self.sum.set(self.sum.get().wrapping_add(value.wrapping_mul(count)));
    }

    fn bucket(value: u64) -> usize {
        // The smallest power of two that is not below it.
        let power = u64::BITS - value.saturating_sub(1).leading_zeros();
        let index = power.saturating_sub(FIRST).div_ceil(STEP);
        (index as usize).min(N - 1)
    }

    pub fn counts(&self) -> Counts<FIRST, STEP, N> {
        Counts { buckets: std::array::from_fn(|i| self.buckets[i].get()), sum: self.sum.get() }
    }
}

impl<const FIRST: u32, const STEP: u32, const N: usize> Default for Counts<FIRST, STEP, N> {
    fn default() -> Self {
        Self { buckets: [0; N], sum: 0 }
    }
}

impl<const FIRST: u32, const STEP: u32, const N: usize> Counts<FIRST, STEP, N> {
    pub fn add(&mut self, other: &Self) {
        for (own, other) in self.buckets.iter_mut().zip(&other.buckets) {
            *own = own.wrapping_add(*other);
        }
        self.sum = self.sum.wrapping_add(other.sum);
    }

    pub fn count(&self) -> u64 {
        self.buckets.iter().fold(0, |sum, count| sum.wrapping_add(*count))
    }

    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// What came after `earlier`, which was counted before.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            buckets: std::array::from_fn(|i| self.buckets[i].wrapping_sub(earlier.buckets[i])),
            sum: self.sum.wrapping_sub(earlier.sum),
        }
    }

    /// What no value is above, as far as it has a bound: the last bucket counts as twice or four times
    /// the one before. 0 without a value.
    pub fn upper_bound(&self) -> u64 {
        let last = self.buckets.iter().rposition(|count| *count > 0);
        last.map_or(0, |place| 1 << (FIRST as usize + STEP as usize * place))
    }

    /// Each bound but the last, which is infinite, with how many values are not above it.
    pub fn cumulative(&self) -> impl Iterator<Item = (u64, u64)> {
        let mut below = 0_u64;
        (FIRST..).step_by(STEP as usize).zip(&self.buckets[..N - 1]).map(move |(power, count)| {
            below = below.wrapping_add(*count);
            (1 << power, below)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_in_the_first_bucket_whose_bound_it_does_not_pass() {
        let bounds: Vec<u64> = Latency::default().counts().cumulative().map(|(b, _)| b).collect();
        assert_eq!((bounds[0], bounds[1], bounds[20]), (64, 128, 1 << 26));
        for value in [0, 1, 63, 64, 65, 127, 128, 129, 1 << 26, (1 << 26) + 1, u64::MAX] {
            let histogram = Latency::default();
            histogram.record(value);
            for (bound, below) in histogram.counts().cumulative() {
                assert_eq!(below, u64::from(value <= bound), "{value} and {bound}");
            }
            assert_eq!(histogram.counts().count(), 1);
        }
        for value in [1, 1024, 1025, 4096, 4097, 1 << 36, (1 << 36) + 1] {
            let histogram = Delay::default();
            histogram.record_many(value, 3);
            for (bound, below) in histogram.counts().cumulative() {
                assert_eq!(below, 3 * u64::from(value <= bound), "{value} and {bound}");
            }
            assert_eq!((histogram.counts().count(), histogram.counts().sum()), (3, 3 * value));
        }
    }

    #[test]
    fn counts_add_up() {
        let (one, two) = (Size::default(), Size::default());
        one.record(1);
        two.record_many(7, 2);
        let mut both = one.counts();
        both.add(&two.counts());
        assert_eq!((both.count(), both.sum()), (3, 15));
        assert_eq!(both.cumulative().nth(3), Some((8, 3)));
        assert_eq!(both.since(&one.counts()), two.counts());
        assert_eq!(both.upper_bound(), 8);
        assert_eq!(both.since(&both).upper_bound(), 0);
    }
}
