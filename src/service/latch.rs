//! Which databases an operator has paused or disabled.
//!
//! A paused database lends no more backends: sessions that need one wait, those that have one go
//! on. A disabled one takes no new clients. Nobody asks here while nothing is paused: sessions
//! are made to look by the number of the configuration, which they compare anyway.

use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::sync::watch;

/// Databases that one process may have paused or disabled by name.
const NAMES_MAX: usize = 4096;

/// What no configuration's number is: whoever compares looks closer.
const LOOK: u64 = u64::MAX;

/// See the file's head.
#[derive(Debug, Default)]
pub struct Latches {
    state: Mutex<State>,
    /// Whether anything is paused.
    any: AtomicBool,
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    all: bool,
    paused: BTreeSet<String>,
    disabled: BTreeSet<String>,
}

impl Latches {
    /// Pauses one database, or all. False if it is paused already.
    pub fn pause(&self, database: Option<&str>) -> bool {
        self.change(|state| match database {
            None => !std::mem::replace(&mut state.all, true),
            Some(name) => state.paused.len() < NAMES_MAX && state.paused.insert(name.to_owned()),
        })
    }

    /// Undoes `pause`; for all, whatever was paused. False if nothing was.
    pub fn resume(&self, database: Option<&str>) -> bool {
        self.change(|state| match database {
            None => {
                let was = state.all || !state.paused.is_empty();
                state.paused.clear();
                std::mem::take(&mut state.all) || was
            }
            Some(name) => state.paused.remove(name),
        })
    }

    /// Whether new clients are let in.
    pub fn disable(&self, database: &str, disabled: bool) {
        self.change(|state| {
            if !disabled {
                state.disabled.remove(database);
            } else if state.disabled.len() < NAMES_MAX {
                state.disabled.insert(database.to_owned());
            }
            true
        });
    }

    fn change(&self, change: impl FnOnce(&mut State) -> bool) -> bool {
        let mut state = self.state.lock();
        let changed = change(&mut state);
        self.any.store(state.all || !state.paused.is_empty(), Ordering::Release);
        drop(state);
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
        changed
    }

    /// Whether this database lends no backends.
    pub fn is_paused(&self, database: &str) -> bool {
        if !self.any.load(Ordering::Acquire) {
            return false;
        }
        let state = self.state.lock();
        state.all || state.paused.contains(database)
    }

    /// Whether all are paused at once.
    pub fn are_all_paused(&self) -> bool {
        self.state.lock().all
    }

    /// Whether this database takes no new clients.
    pub fn is_disabled(&self, database: &str) -> bool {
        self.state.lock().disabled.contains(database)
    }

    /// Returns when this database is not paused.
    pub async fn resumed(&self, database: &str) {
        let mut changed = self.changed.subscribe();
        while self.is_paused(database) {
            // The sender lives as long as `self`.
            let _ = changed.changed().await;
        }
    }

    /// Writes the number that sessions compare: `generation`, or one that makes all look closer.
    pub(super) fn stamp(&self, stamp: &AtomicU64, generation: &AtomicU64) {
        // Under the lock, so that the last of two who write has seen what both changed.
        let state = self.state.lock();
        let paused = state.all || !state.paused.is_empty();
        let value = if paused { LOOK } else { generation.load(Ordering::Acquire) };
        stamp.store(value, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_and_resumes() {
        let latches = Latches::default();
        let (stamp, generation) = (AtomicU64::new(3), AtomicU64::new(3));
        let seen = |latches: &Latches| {
            latches.stamp(&stamp, &generation);
            (latches.is_paused("a"), latches.is_paused("b"), stamp.load(Ordering::Relaxed) == 3)
        };
        assert!(!latches.resume(None) && !latches.resume(Some("a")));
        assert!(latches.pause(Some("a")) && !latches.pause(Some("a")));
        assert_eq!(seen(&latches), (true, false, false));
        assert!(latches.pause(None) && !latches.pause(None));
        assert_eq!(seen(&latches), (true, true, false));
        assert!(latches.resume(None));
        assert_eq!(seen(&latches), (false, false, true));
        latches.disable("a", true);
        assert!(latches.is_disabled("a") && !latches.is_disabled("b") && !latches.is_paused("a"));
        latches.disable("a", false);
        assert!(!latches.is_disabled("a"));
    }

    #[tokio::test]
    async fn whoever_waits_is_woken() {
        let latches = std::sync::Arc::new(Latches::default());
        latches.resumed("a").await;
        latches.pause(Some("a"));
        let waits = {
            let latches = std::sync::Arc::clone(&latches);
            tokio::spawn(async move { latches.resumed("a").await })
        };
        tokio::task::yield_now().await;
        assert!(!waits.is_finished());
        latches.resume(Some("a"));
        waits.await.expect("it returns");
    }
}
