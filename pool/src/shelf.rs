//! Warm backends within reach: a small stack in front of bb8, which is thorough but dear.
//!
//! What was given back a moment ago is lent again from here; what stays longer goes back to bb8, which knows
//! idle limits and minimums. bb8 counts a backend on the shelf as lent. Invariant: nothing is put here while
//! somebody waits for bb8.

use crate::connector::{Connector, Desk};
use parking_lot::Mutex;
use protocol::Protocol;
use std::time::{Duration, Instant};

/// A backend that bb8 counts as lent.
pub(crate) type Held<P> = bb8::PooledConnection<'static, Connector<P>>;

/// After this long without work a backend is bb8's.
const WARM: Duration = Duration::from_secs(1);

/// Backends kept here at most.
const PLACES: usize = 64;

pub(crate) struct Shelf<P: Protocol>(Mutex<Vec<Held<P>>>);

impl<P: Protocol> Shelf<P> {
    pub fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// The backend that was put last.
    pub fn take(&self) -> Option<Held<P>> {
        self.0.lock().pop()
    }

    /// Keeps a backend, or gives it to bb8 if somebody waits there.
    pub fn put(&self, backend: Held<P>, desk: &Desk) {
        let mut kept = self.0.lock();
        // Asked under the lock: who comes to the desk looks here once more afterwards.
        if desk.is_empty() && kept.len() < PLACES {
            kept.push(backend);
        } else {
            drop(kept);
            drop(backend);
        }
    }

    /// Gives to bb8 what is no longer warm or must not be lent again, or all.
    pub fn clear(&self, now: Instant, all: bool) {
        let mut kept = self.0.lock();
        let cold: Vec<_> = kept
            .extract_if(.., |backend| all || !backend.is_warm(now, WARM) || !backend.is_reusable())
            .collect();
        drop(kept);
        drop(cold);
    }

    pub fn len(&self) -> usize {
        self.0.lock().len()
    }
}
