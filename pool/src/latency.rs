//! How long requests took, as a histogram that costs two additions a request.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// The upper bound of the first bucket, as a power of two of microseconds: 64 us.
const FIRST: u32 = 6;

/// Buckets with a bound, each twice the one before: the last is 2^24 us, 16.8 s.
const BOUNDED: usize = 19;

/// See the file's head.
#[derive(Debug, Default)]
pub struct Latencies {
    buckets: [AtomicU64; BOUNDED + 1],
    sum_us: AtomicU64,
}

/// A histogram at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram {
    /// Upper bounds with how many were at most so long, the shorter ones included.
    pub buckets: Vec<(Duration, u64)>,
    /// How many there were in all.
    pub count: u64,
    /// How long all took together.
    pub sum: Duration,
}

impl Latencies {
    /// One request took this many microseconds.
    pub(crate) fn add(&self, micros: u32) {
        self.sum_us.fetch_add(micros.into(), Relaxed);
        let bits = u32::BITS - micros.saturating_sub(1).leading_zeros();
        let at = (bits.max(FIRST) - FIRST).min(BOUNDED as u32) as usize;
        if let Some(bucket) = self.buckets.get(at) {
            bucket.fetch_add(1, Relaxed);
        }
    }

    /// How many requests there were.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.load(Relaxed)).sum()
    }

    /// All of it. What is added meanwhile may be in one part and not yet in another.
    pub fn histogram(&self) -> Histogram {
        let mut count = 0;
        let mut buckets = Vec::with_capacity(BOUNDED);
        for (at, bucket) in self.buckets.iter().enumerate() {
            count += bucket.load(Relaxed);
            if at < BOUNDED {
                buckets.push((Duration::from_micros(1 << (FIRST as usize + at)), count));
            }
        }
        Histogram { buckets, count, sum: Duration::from_micros(self.sum_us.load(Relaxed)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        let latencies = Latencies::default();
        let all = [0, 1, 64, 65, 128, 129, 1 << 24, (1 << 24) + 1, u32::MAX];
        all.into_iter().for_each(|micros| latencies.add(micros));
        let found = latencies.histogram();
        let at_most = |micros: u64| {
            let bound = |(bound, _): &&(Duration, u64)| *bound == Duration::from_micros(micros);
            found.buckets.iter().find(bound).map(|(_, count)| *count)
        };
        assert_eq!((at_most(64), at_most(128), at_most(256)), (Some(3), Some(5), Some(6)));
        assert_eq!((at_most(1 << 24), found.count, latencies.count()), (Some(7), 9, 9));
        assert_eq!(found.sum, Duration::from_micros(all.into_iter().map(u64::from).sum()));
        assert_eq!(found.buckets.len(), BOUNDED);
    }
}
