//! What happened per second, or took on average, in the last whole period.

use crate::metrics::{Counters, Sums};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a period is, as PgBouncer's `stats_period` is by default.
pub(super) const PERIOD: Duration = Duration::from_secs(60);

/// What is averaged, in the order of PgBouncer's columns: per second the first five (leases,
/// transactions, requests, bytes received and sent), then microseconds per transaction, request
/// and lease, then messages of prepared statements per second.
pub(super) type Averaged = [u64; 11];

/// By cluster and database.
type Key = (String, String);

/// See the file's head.
#[derive(Debug, Clone, Default)]
pub struct Averages {
    before: Option<(Instant, BTreeMap<Key, Sums>)>,
    averages: BTreeMap<Key, Averaged>,
}

/// The same of the sums as they stand. What is not counted is 0: messages of prepared statements would have to be
/// counted with every request.
pub(super) fn totals(sums: &Sums) -> Averaged {
    let Sums { requests, leases, transactions, busy_us, waited_us, received, sent, .. } = *sums;
    [leases, transactions, requests, received, sent, busy_us, busy_us, waited_us, 0, 0, 0]
}

impl Averages {
    /// A period is over.
    pub(super) fn turn(&mut self, counters: &[Arc<Counters>], now: Instant) {
        let key = |of: &Arc<Counters>| (of.cluster().to_owned(), of.database().to_owned());
        let sums: BTreeMap<Key, Sums> = counters.iter().map(|of| (key(of), of.sums())).collect();
        if let Some((at, before)) = &self.before {
            let passed = now.saturating_duration_since(*at);
            let one = |(key, sums): (&Key, &Sums)| {
                let before = before.get(key).copied().unwrap_or_default();
                (key.clone(), average(&before, sums, passed))
            };
            self.averages = sums.iter().map(one).collect();
        }
        self.before = Some((now, sums));
    }

    /// The averages of a database; zeros as long as there was no whole period.
    pub(super) fn of(&self, cluster: &str, database: &str) -> Averaged {
        self.averages.get(&(cluster.to_owned(), database.to_owned())).copied().unwrap_or_default()
    }
}

fn average(before: &Sums, now: &Sums, passed: Duration) -> Averaged {
    let seconds = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX).max(1);
    let per_second = |count: u64| count.saturating_mul(1000) / seconds;
    let each = |sum: u64, count: u64| sum.checked_div(count).unwrap_or(0);
    let grown = |of: fn(&Sums) -> u64| of(now).saturating_sub(of(before));
    let (requests, leases) = (grown(|sums| sums.requests), grown(|sums| sums.leases));
    let (transactions, busy) = (grown(|sums| sums.transactions), grown(|sums| sums.busy_us));
    [
        per_second(leases),
        per_second(transactions),
        per_second(requests),
        per_second(grown(|sums| sums.received)),
        per_second(grown(|sums| sums.sent)),
        each(busy, transactions),
        each(busy, requests),
        each(grown(|sums| sums.waited_us), leases),
        0,
        0,
        0,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_period_amounts_to() {
        let before = Sums { requests: 100, leases: 50, transactions: 60, busy_us: 1_000, ..Sums::default() };
        let now = Sums {
            requests: 220,
            leases: 110,
            transactions: 120,
            busy_us: 121_000,
            waits: 2,
            waited_us: 6_000,
            received: 60_000,
            sent: 600_059,
        };
        let averaged = average(&before, &now, Duration::from_secs(60));
        assert_eq!(averaged, [1, 1, 2, 1_000, 10_000, 2_000, 1_000, 100, 0, 0, 0]);
        assert_eq!(average(&now, &now, Duration::ZERO), [0; 11]);
        assert_eq!(
            average(&now, &before, PERIOD),
            [0; 11],
            "counters never fall, and nothing breaks if they did"
        );
    }
}
