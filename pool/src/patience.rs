//! Whether waiting for replicas to catch up has lately been worth it.
//!
//! A read that waits in vain runs on the primary in the end, and because it has then seen the primary, so does the
//! next one. Where replicas regularly come late (`synchronous_commit = off` sends writes to them only every 200 ms),
//! waiting would slow every session down and spare the primary nothing. So when waits have become long, most reads
//! go to the primary at once, and one now and then waits and tells whether that has changed. Pure.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// How long nobody tries after somebody did, in nanoseconds.
const PAUSE: u64 = 100_000_000;

/// The weight of the newest wait in the mean: one in this many.
const MEMORY: u32 = 8;

/// The waits of a cluster's sessions.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    mean_us: AtomicU32,
    try_at: AtomicU64,
}

impl Patience {
    /// Whether a session should wait, of which the longest permitted wait is `most`. `now` in ticks.
    pub fn is_worth(&self, now: u64, most: Duration) -> bool {
        if u128::from(self.mean_us.load(Relaxed)) <= most.as_micros() / 2 {
            return true;
        }
        let try_at = self.try_at.load(Relaxed);
        now >= try_at && self.try_at.compare_exchange(try_at, now + PAUSE, Relaxed, Relaxed).is_ok()
    }

    /// A session has waited this long, in vain or not.
    pub fn note(&self, waited: Duration) {
        let new = u32::try_from(waited.as_micros()).unwrap_or(u32::MAX);
        // Two sessions may write over one another: a mean forgives a lost wait.
        let old = self.mean_us.load(Relaxed);
        self.mean_us.store(old - old / MEMORY + new / MEMORY, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Duration = Duration::from_millis(50);

    #[test]
    fn long_waits_end_the_waiting_and_short_ones_bring_it_back() {
        let patience = Patience::default();
        assert!((0..100).all(|now| patience.is_worth(now, MOST)), "nothing is known against it");
        (0..40).for_each(|_| patience.note(Duration::from_millis(5)));
        assert!(patience.is_worth(0, MOST));
        (0..40).for_each(|_| patience.note(MOST));
        let second = 1_000_000_000;
        let tries = (0..second).step_by(1_000_000).filter(|now| patience.is_worth(*now, MOST)).count();
        assert_eq!(tries, 10, "in a second");
        (0..40).for_each(|_| patience.note(Duration::from_millis(2)));
        assert!(patience.is_worth(second, MOST) && patience.is_worth(second, MOST));
        let shorter = Duration::from_millis(1);
        let tries = (0..3).filter(|_| patience.is_worth(second, shorter)).count();
        assert_eq!(tries, 1, "a shorter limit is another matter");
    }
}
