//! What sessions and probes share of a cluster: the board, and the few facts of it that every
//! lease reads without a lock.
//!
//! One function, `report`, changes it, and wakes whoever waits for something to change.
//! Invariant: the facts outside the board are written under the board's lock.

use crate::board::{Board, Change, Report};
use crate::endpoint::{Clock, Endpoint, EndpointId};
use crate::freshness::{Incarnation, Sampled};
use crate::lag::{History, Position};
use crate::patience::Patience;
use crate::settings::ClusterSettings;
use crate::token::{Reached, Token};
use crate::topology::{NoPrimary, Role};
use arc_swap::ArcSwapOption;
use parking_lot::{Mutex, MutexGuard};
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};

/// The number that no endpoint has.
pub(crate) const NOBODY: u32 = 0;

/// How often reads waited for a replica to catch up with their session, and what came of it. All only
/// grow.
#[derive(Debug, Default)]
pub(crate) struct Fences {
    /// A replica caught up in time.
    pub caught_up: AtomicU64,
    /// None did: the read went to the primary.
    pub fell_back: AtomicU64,
    /// Microseconds that all of them waited.
    pub waited_us: AtomicU64,
}

impl Fences {
    /// A read waited this long and then went to a replica, or not.
    pub(crate) fn note(&self, waited: Duration, caught_up: bool) {
        let outcome = if caught_up { &self.caught_up } else { &self.fell_back };
        outcome.fetch_add(1, Relaxed);
        self.waited_us.fetch_add(u64::try_from(waited.as_micros()).unwrap_or(u64::MAX), Relaxed);
    }

    /// The sums, as in a `View`.
    pub(crate) fn sums(&self) -> (u64, u64, Duration) {
        let waited = Duration::from_micros(self.waited_us.load(Relaxed));
        (self.caught_up.load(Relaxed), self.fell_back.load(Relaxed), waited)
    }
}

#[derive(Debug)]
pub(crate) struct Outlook {
    pub clock: Clock,
    board: Mutex<Board>,
    trail: Arc<Mutex<History>>,
    incarnation: ArcSwapOption<Incarnation>,
    /// Its number, 0 while there is none: tells who knows one whether it is still that.
    reign: AtomicU64,
    primary: AtomicU32,
    vanished_at: AtomicU64,
    shut: AtomicBool,
    /// How waiting for replicas has gone.
    pub patience: Patience,
    /// The same, for operators.
    pub fences: Fences,
    /// Counts reports: whoever waits for a fact looks again.
    pub pulse: watch::Sender<u64>,
    /// Some endpoint's idle backends must be closed.
    pub retired: Notify,
}

impl Outlook {
    pub fn new(settings: &ClusterSettings, now: Instant) -> Self {
        let board = Board::new(settings, now);
        Self {
            clock: Clock(now),
            trail: board.trail.clone(),
            board: Mutex::new(board),
            incarnation: ArcSwapOption::empty(),
            reign: AtomicU64::new(0),
            primary: AtomicU32::new(NOBODY),
            vanished_at: AtomicU64::new(0),
            shut: AtomicBool::new(false),
            patience: Patience::default(),
            fences: Fences::default(),
            pulse: watch::Sender::new(0),
            retired: Notify::new(),
        }
    }

    pub fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock()
    }

    /// Changes the board by `change` and publishes what came of it.
    pub fn update(&self, change: impl FnOnce(&mut Board) -> Vec<Change>) {
        let mut board = self.board.lock();
        let changes = change(&mut board);
        self.primary.store(board.primary.map_or(NOBODY, |id| id.0), Relaxed);
        self.vanished_at.store(board.vanished_at.map_or(0, |at| self.clock.ticks(at)), Relaxed);
        if self.incarnation.load().as_deref() != board.incarnation.as_ref() {
            self.incarnation.store(board.incarnation.map(Arc::new));
            self.reign.store(board.incarnation.map_or(0, |reign| reign.number), Release);
        }
        for change in &changes {
            self.act(&board, change);
        }
        drop(board);
        self.pulse.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// A probe of `id` ended.
    pub fn report(&self, id: EndpointId, report: Report, now: Instant) {
        self.update(|board| board.observe(id, report, now));
    }

    fn act(&self, board: &Board, change: &Change) {
        let endpoint = |id: &EndpointId| board.entries.iter().find(|entry| entry.endpoint.id == *id);
        match change {
            Change::Role { endpoint: id, from, to } => {
                let Some(entry) = endpoint(id) else { return };
                tracing::info!(endpoint = %entry.endpoint.address, from = from.name(), to = to.name(), "role");
                let changed = *from != Role::Unknown && *to != Role::Unknown && from != to;
                if changed {
                    entry.endpoint.retire_backends();
                    self.retired.notify_one();
                }
            }
            Change::Down { endpoint: id } | Change::StillDown { endpoint: id } => {
                let Some(entry) = endpoint(id) else { return };
                let error = entry.error.as_deref().unwrap_or("no reason known");
                tracing::warn!(endpoint = %entry.endpoint.address, error, "endpoint is down");
                if matches!(change, Change::Down { .. }) {
                    entry.endpoint.set_back();
                }
            }
            Change::Reads { endpoint: id, why_not } => {
                let Some(entry) = endpoint(id) else { return };
                let reads = why_not.map_or("yes", |why| why.name());
                tracing::info!(endpoint = %entry.endpoint.address, reads, "reads");
            }
            Change::Primary(Ok(id)) => {
                let Some(entry) = endpoint(id) else { return };
                tracing::info!(endpoint = %entry.endpoint.address, timeline = entry.timeline(), "primary");
            }
            Change::Primary(Err(NoPrimary::Two)) => tracing::error!("writes stop: {}", NoPrimary::Two),
            Change::Primary(Err(why)) => tracing::warn!("no primary: {why}"),
        }
    }

    /// The primary's number, or `NOBODY`.
    pub fn primary(&self) -> u32 {
        self.primary.load(Relaxed)
    }

    /// The reign in force. `known` is what the caller was told last: as long as that is right, it is not fetched again.
    pub fn incarnation(&self, known: &mut Option<Incarnation>) -> Option<Incarnation> {
        if known.map_or(0, |known| known.number) != self.reign.load(Acquire) {
            *known = self.incarnation.load().as_deref().copied();
        }
        *known
    }

    /// Up to when lag is counted: now, or when the primary was last seen if it is away.
    pub fn reference(&self, now: u64) -> u64 {
        match self.vanished_at.load(Relaxed) {
            0 => now,
            vanished_at => vanished_at.min(now),
        }
    }

    /// What the samples of `endpoint` tell of the moment `at`.
    pub fn sampled(&self, reign: Incarnation, endpoint: &Endpoint, at: Instant) -> Sampled {
        if endpoint.id == reign.primary {
            return self.trail.lock().first_since(at).map_or(Sampled::NotYet, Sampled::At);
        }
        endpoint.replayed_since(at)
    }

    /// What the cluster had reached at `position` of `reign`, in words that other processes understand. `None` if no
    /// sample tells, or if another reign has begun.
    pub fn token(&self, reign: Incarnation, position: Position) -> Option<Token> {
        let board = self.board.lock();
        if board.incarnation != Some(reign) {
            return None;
        }
        if board.ledger.is_in_use() {
            return board.ledger.set_at(position).map(|set| Token(Reached::Gtids(set.clone())));
        }
        let (_, timeline) = board.past.primary?;
        let cluster = board.past.identity.unwrap_or(0);
        Some(Token(Reached::Log { cluster, timeline, position: position.0 }))
    }

    /// Where a token lies that a session was given at `at`. It is believed if the primary was seen to have come so far.
    pub fn placed(&self, reign: Incarnation, token: &Token, at: Instant) -> Sampled {
        let board = self.board.lock();
        if board.incarnation != Some(reign) {
            return Sampled::NotYet;
        }
        let position = match &token.0 {
            Reached::Gtids(set) => board.ledger.first_holding(set),
            Reached::Log { cluster, timeline, position } => {
                let Some((_, current)) = board.past.primary else { return Sampled::NotYet };
                let stranger = *cluster != board.past.identity.unwrap_or(0) || board.ledger.is_in_use();
                if stranger || *timeline < current {
                    return Sampled::Never;
                }
                if *timeline > current {
                    // Another process has seen a promotion that we are about to see.
                    return Sampled::NotYet;
                }
                let newest = self.trail.lock().latest();
                newest.filter(|(newest, _)| newest.0 >= *position).map(|_| Position(*position))
            }
        };
        match position {
            Some(position) => Sampled::At(position),
            None if self.trail.lock().first_since(at).is_some() => Sampled::Never,
            None => Sampled::NotYet,
        }
    }

    pub fn shut(&self) {
        self.shut.store(true, Relaxed);
        self.pulse.send_modify(|count| *count = count.wrapping_add(1));
    }

    pub fn is_shut(&self) -> bool {
        self.shut.load(Relaxed)
    }
}
