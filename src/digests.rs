//! Statements by what they read as without their values: how often each ran, where and why, and what it took.
//!
//! The router says which digest a text has; a session finds the entry once and counts there as long as it runs the
//! same. How many are kept is bounded: what one that makes room amounted to is added to `others`. Texts are
//! digests, never what a client sent. Counts are of requests: a batch counts under the first of its statements
//! that does not only control a transaction.

mod sum;

pub use sum::{Ran, Sum};

use crate::metrics::{Counters, TARGETS};
use foldhash::quality::RandomState;
use parking_lot::Mutex;
use quick_cache::sync::Cache;
use quick_cache::{Lifecycle, UnitWeighter};
use std::cmp::Reverse;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime};

/// A database, by the number of its counters, and a digest, by its own.
type Key = (u32, u64);

/// One digest of one database.
pub struct Digest {
    /// The same in all processes.
    pub number: u64,
    /// The statement without its values.
    pub text: Box<str>,
    /// Whose counters tell the database.
    pub of: Arc<Counters>,
    /// When it was first seen.
    pub first: SystemTime,
    born: Instant,
    /// By replica and primary. One lock a request costs less than an atomic addition for each of the sums.
    sides: [Mutex<Sum>; 2],
    /// It is not in the table any more.
    gone: AtomicBool,
}

impl Digest {
    /// Counts a request.
    pub fn count(&self, ran: &Ran, now: Instant) {
        let [replica, primary] = &self.sides;
        let side = if ran.on_primary { primary } else { replica };
        side.lock().count(ran, now);
    }

    /// Whether to look for another entry of the same digest.
    pub fn is_gone(&self) -> bool {
        self.gone.load(Relaxed)
    }

    /// What ran on replicas, and on the primary.
    pub fn sums(&self) -> [Sum; 2] {
        let [replica, primary] = &self.sides;
        [*replica.lock(), *primary.lock()]
    }

    /// When the last of these requests ended.
    pub fn last(&self, sum: &Sum) -> SystemTime {
        self.first + sum.last.map_or(Duration::ZERO, |last| last.saturating_duration_since(self.born))
    }
}

/// Where digests ran, replica and primary apart, with what that amounted to: those that took the most time first.
pub fn by_time(digests: &[Arc<Digest>]) -> Vec<(&Digest, &'static str, Sum)> {
    let mut all = Vec::new();
    for digest in digests {
        let sums = TARGETS.into_iter().zip(digest.sums());
        all.extend(sums.filter(|(_, sum)| sum.calls > 0).map(|(target, sum)| (&**digest, target, sum)));
    }
    all.sort_by_key(|(digest, target, sum)| (Reverse(sum.total_us), digest.number, *target));
    all
}

/// What those amounted to that made room for others.
#[derive(Debug, Default)]
struct Others {
    sums: Mutex<[Sum; 2]>,
    evicted: AtomicU64,
}

/// Adds what goes to `others`.
#[derive(Clone)]
struct Farewell(Arc<Others>);

impl Lifecycle<Key, Arc<Digest>> for Farewell {
    type RequestState = ();

    fn on_evict(&self, (): &mut (), _: Key, digest: Arc<Digest>) {
        digest.gone.store(true, Relaxed);
        let [replica, primary] = digest.sums();
        let mut sums = self.0.sums.lock();
        *sums = [sums[0].plus(replica), sums[1].plus(primary)];
        self.0.evicted.fetch_add(1, Relaxed);
    }
}

/// See the file's head.
pub struct Digests {
    table: Cache<Key, Arc<Digest>, UnitWeighter, RandomState, Farewell>,
    others: Arc<Others>,
    /// 0 keeps none.
    most: AtomicUsize,
    text_max: AtomicUsize,
}

impl Default for Digests {
    fn default() -> Self {
        let others = Arc::<Others>::default();
        let farewell = Farewell(Arc::clone(&others));
        Self {
            table: Cache::with(0, 0, UnitWeighter, RandomState::default(), farewell),
            others,
            most: AtomicUsize::new(0),
            text_max: AtomicUsize::new(0),
        }
    }
}

impl Digests {
    /// How many are kept, and of how many bytes each at most; 0 keeps none.
    pub fn resize(&self, most: usize, text_max: usize) {
        self.text_max.store(text_max, Relaxed);
        if self.most.swap(most, Relaxed) != most {
            self.table.set_capacity(most as u64);
        }
    }

    /// Whether any are kept.
    pub fn are_kept(&self) -> bool {
        self.most.load(Relaxed) > 0
    }

    /// The entry of the digest `number` of a database; `text` makes its text, of a length at most, if there is none.
    pub fn entry(&self, of: &Arc<Counters>, number: u64, text: impl FnOnce(usize) -> String) -> Arc<Digest> {
        let make = || {
            Ok::<_, std::convert::Infallible>(Arc::new(Digest {
                number,
                text: text(self.text_max.load(Relaxed)).into_boxed_str(),
                of: Arc::clone(of),
                first: SystemTime::now(),
                born: Instant::now(),
                sides: Default::default(),
                gone: AtomicBool::new(false),
            }))
        };
        let Ok(found) = self.table.get_or_insert_with(&(of.number(), number), make);
        found
    }

    /// The entry of the digest `number` of a database, if there is one.
    pub fn find(&self, of: &Counters, number: u64) -> Option<Arc<Digest>> {
        self.table.get(&(of.number(), number))
    }

    /// All that are kept, in no order.
    pub fn all(&self) -> Vec<Arc<Digest>> {
        self.table.iter().map(|(_, digest)| digest).collect()
    }

    /// How many are kept.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether none is kept now.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many made room for others.
    pub fn evicted(&self) -> u64 {
        self.others.evicted.load(Relaxed)
    }

    /// What those amounted to, on replicas and on the primary, since the last reset.
    pub fn others(&self) -> [Sum; 2] {
        *self.others.sums.lock()
    }

    /// Begins anew.
    pub fn reset(&self) {
        for digest in self.all() {
            digest.gone.store(true, Relaxed);
        }
        self.table.clear();
        *self.others.sums.lock() = <[Sum; 2]>::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;
    use router::Reason;

    fn ran(micros: u32) -> Ran {
        Ran {
            on_primary: true,
            reason: Reason::Write,
            statements: 1,
            micros,
            rows: 2,
            bytes: 10,
            failed: micros == 7,
        }
    }

    #[test]
    fn what_makes_room_is_counted_with_the_others() {
        let metrics = Metrics::default();
        let (digests, of) = (Digests::default(), metrics.counters("main", "app"));
        digests.resize(40, 100);
        for round in 0..2_u64 {
            for number in 1..=400_u64 {
                let digest = digests.entry(&of, number, |most| format!("{number} of {most}"));
                assert_eq!(&*digest.text, format!("{number} of 100"));
                digest.count(&ran(if round == 0 { 7 } else { 5 }), Instant::now());
            }
        }
        let kept = digests.all();
        assert!((1..=40).contains(&kept.len()), "{}", kept.len());
        let of_kept = kept.iter().fold(Sum::default(), |sum, digest| sum.plus(digest.sums()[1]));
        let sum = digests.others()[1].plus(of_kept);
        assert_eq!((sum.calls, sum.statements, sum.errors), (800, 800, 400));
        assert_eq!((sum.rows, sum.bytes, sum.total_us, sum.max_us), (1600, 8000, 4800, 7));
        assert_eq!(sum.reasons().collect::<Vec<_>>(), ["write"]);
        assert!(digests.evicted() >= 700);
        digests.reset();
        assert!(digests.is_empty() && digests.others() == <[Sum; 2]>::default());
        assert!(kept.iter().all(|digest| digest.is_gone()));
    }

    #[test]
    fn a_smaller_table_holds_fewer() {
        let metrics = Metrics::default();
        let (digests, of) = (Digests::default(), metrics.counters("main", "app"));
        digests.resize(100, 100);
        assert!(digests.are_kept());
        for number in 1..=64 {
            digests.entry(&of, number, |_| String::new());
        }
        assert!(digests.len() > 32);
        digests.resize(8, 100);
        for number in 100..=300 {
            digests.entry(&of, number, |_| String::new());
        }
        assert!(digests.len() <= 8, "{}", digests.len());
        digests.resize(0, 100);
        assert!(!digests.are_kept());
    }
}
