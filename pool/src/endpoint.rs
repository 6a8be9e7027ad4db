//! One endpoint: who it is, how it stands, what runs on it.
//!
//! The board writes its standing after each probe; sessions read it without a lock on every
//! lease. Invariant: what is not known never reads as good (no lag is not zero lag, a probe
//! that is too old is no probe).

use crate::balance::Load;
use crate::freshness::Sampled;
use crate::gate::Gate;
use crate::gtid::Gtids;
use crate::health::Why;
use crate::lag::{History, Position};
use crate::latency::Latencies;
use crate::net::Address;
use crate::topology::Role;
use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use protocol::Gtid;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Names an endpoint within its cluster. Never given twice; an endpoint keeps it over reloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointId(pub u32);

impl fmt::Display for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What sessions and pools count on an endpoint. All only grow.
#[derive(Debug, Default)]
pub struct Counters {
    /// How long requests took. `Endpoint::finished` counts.
    pub latencies: Latencies,
    /// Leases given.
    pub leases: AtomicU64,
    /// Leases that had to wait for a place or a sign-in.
    pub waits: AtomicU64,
    /// Microseconds that they waited.
    pub waited_us: AtomicU64,
    /// Leases that came back unclean and were closed.
    pub discarded: AtomicU64,
    /// Sign-ins that succeeded.
    pub logins: AtomicU64,
    /// Sign-ins that failed, refused connects included.
    pub login_failures: AtomicU64,
    /// Connections that sessions saw die.
    pub lost: AtomicU64,
}

/// Instants as numbers, for atomics. 0 stands for never.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock(pub Instant);

impl Clock {
    pub fn ticks(self, at: Instant) -> u64 {
        at.saturating_duration_since(self.0).as_nanos() as u64 + 1
    }
}

/// How an endpoint stands, as the board found.
#[derive(Debug, Clone)]
pub(crate) struct Standing {
    pub role: Role,
    pub answering: bool,
    pub why_not: Option<Why>,
    pub covered_at: Option<Instant>,
    pub probed_at: Option<Instant>,
    pub steady_since: Option<Instant>,
    pub replayed: Option<Position>,
    /// The transactions that it has, each of which proves those before it.
    pub applied: Option<Arc<Gtids>>,
    pub share: u32,
}

/// What a lease must know of an endpoint at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// It is a replica that answers and may take reads at all.
    pub serves: bool,
    /// Nothing in its recent past speaks against it.
    pub fit: bool,
    /// Nanoseconds behind the primary; `u64::MAX` is not known.
    pub lag_ns: u64,
    /// What it is known to have replayed.
    pub replayed: Position,
}

/// One endpoint of a cluster.
#[derive(Debug)]
pub struct Endpoint {
    /// Its name within the cluster.
    pub id: EndpointId,
    /// Where it is.
    pub address: Address,
    /// What is counted.
    pub counters: Counters,
    clock: Clock,
    role: AtomicU8,
    why_not: AtomicU8,
    serves: AtomicBool,
    covered_at: AtomicU64,
    probed_at: AtomicU64,
    steady_since: AtomicU64,
    replayed: AtomicU64,
    applied: ArcSwapOption<Gtids>,
    share: AtomicU32,
    in_flight: AtomicU32,
    latency_us: AtomicU32,
    generation: AtomicU32,
    removed: AtomicBool,
    /// Positions it replayed to, while it is a replica.
    pub(crate) replays: Mutex<History>,
    /// Somebody waits for a fresh sample.
    pub(crate) sample_wanted: Notify,
    /// What those who wait want it to have first of all, if they can name it.
    awaited: Mutex<Option<Gtid>>,
    /// Somebody saw a connection die.
    pub(crate) probe_wanted: Notify,
    /// How often whoever waited for one of its backends had better look elsewhere.
    setbacks: AtomicU32,
    /// It happened once more. Whoever waits at a gate is stirred.
    pub(crate) setback: Notify,
    gates: Mutex<Vec<Weak<Gate>>>,
}

/// The weight of the newest request in the average of latencies: one in this many.
const LATENCY_MEMORY: u32 = 8;

const NO_REASON: u8 = u8::MAX;

impl Endpoint {
    pub(crate) fn new(id: EndpointId, address: Address, clock: Clock) -> Self {
        Self {
            id,
            address,
            counters: Counters::default(),
            clock,
            role: AtomicU8::new(Role::Unknown as u8),
            why_not: AtomicU8::new(Why::NotProbed as u8),
            serves: AtomicBool::new(false),
            covered_at: AtomicU64::new(0),
            probed_at: AtomicU64::new(0),
            steady_since: AtomicU64::new(0),
            replayed: AtomicU64::new(0),
            applied: ArcSwapOption::empty(),
            share: AtomicU32::new(0),
            in_flight: AtomicU32::new(0),
            latency_us: AtomicU32::new(0),
            generation: AtomicU32::new(0),
            removed: AtomicBool::new(false),
            replays: Mutex::default(),
            sample_wanted: Notify::new(),
            awaited: Mutex::new(None),
            probe_wanted: Notify::new(),
            setbacks: AtomicU32::new(0),
            setback: Notify::new(),
            gates: Mutex::default(),
        }
    }

    /// A session saw its connection to this endpoint die: the monitor looks at once.
    pub fn report_lost(&self) {
        self.counters.lost.fetch_add(1, Relaxed);
        self.probe_wanted.notify_one();
    }

    /// A request took this long, from its first byte sent to the last byte of its reply. Returns
    /// that in microseconds.
    pub fn finished(&self, latency: Duration) -> u32 {
        let new = u32::try_from(latency.as_micros()).unwrap_or(u32::MAX);
        self.counters.latencies.add(new);
        // Two sessions may write over one another: an average forgives a lost sample.
        let old = self.latency_us.load(Relaxed);
        let mean = if old == 0 { new } else { old - old / LATENCY_MEMORY + new / LATENCY_MEMORY };
        self.latency_us.store(mean.max(1), Relaxed);
        new
    }

    /// Leases out at this moment, over all identities.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    /// The mean latency of requests, in microseconds; 0 if there were none.
    pub fn latency_us(&self) -> u32 {
        self.latency_us.load(Relaxed)
    }

    /// How long requests took before says nothing any more.
    pub(crate) fn forget_latency(&self) {
        self.latency_us.store(0, Relaxed);
    }

    /// Its role, as last probed.
    pub fn role(&self) -> Role {
        let roles = [Role::Primary, Role::Replica, Role::Rival, Role::Stranger, Role::Misplaced];
        let role = self.role.load(Relaxed);
        roles.into_iter().find(|known| *known as u8 == role).unwrap_or(Role::Unknown)
    }

    pub(crate) fn why_not(&self) -> Option<Why> {
        let why = self.why_not.load(Relaxed);
        Why::ALL.into_iter().find(|known| *known as u8 == why)
    }

    pub(crate) fn load(&self) -> Load {
        let share = self.share.load(Relaxed).max(1);
        Load { in_flight: self.in_flight(), share, latency_us: self.latency_us() }
    }

    pub(crate) fn share(&self) -> u32 {
        self.share.load(Relaxed)
    }

    /// What is known of it at `now`. Lag is counted up to `reference`: `now`, or the moment the
    /// primary was last seen. A probe older than `age_max` counts for nothing.
    pub(crate) fn facts(&self, now: u64, reference: u64, age_max: u64) -> Facts {
        let covered_at = self.covered_at.load(Relaxed);
        let probed_at = self.probed_at.load(Relaxed);
        Facts {
            serves: self.serves.load(Relaxed) && now.saturating_sub(probed_at) <= age_max,
            fit: self.why_not.load(Relaxed) == NO_REASON,
            lag_ns: if covered_at == 0 { u64::MAX } else { reference.saturating_sub(covered_at) },
            replayed: Position(self.replayed.load(Relaxed)),
        }
    }

    /// Whether it has a transaction, and with it those before it. `None` if that cannot be told: it does not apply
    /// them in order, or counts none.
    pub(crate) fn has(&self, gtid: &Gtid) -> Option<bool> {
        self.applied.load().as_deref().map(|applied| applied.has(gtid))
    }

    /// Whether it was found to have a transaction, and with it those before it.
    pub fn is_known_to_have(&self, gtid: &Gtid) -> bool {
        self.has(gtid) == Some(true)
    }

    /// Somebody waits for a fresh sample, and for this transaction to be there if one is named. Of several the
    /// earliest counts: who waits for a later one asks again.
    pub(crate) fn want(&self, gtid: Option<&Gtid>) {
        if let Some(gtid) = gtid {
            let mut awaited = self.awaited.lock();
            if awaited.as_ref().is_none_or(|before| gtid.is_before(before)) {
                *awaited = Some(gtid.clone());
            }
        }
        self.sample_wanted.notify_one();
    }

    /// What it is to have before it is sampled again, unless it has that already or never will be known to.
    pub(crate) fn take_awaited(&self) -> Option<Gtid> {
        let awaited = self.awaited.lock().take()?;
        (self.has(&awaited) == Some(false)).then_some(awaited)
    }

    /// Whether it was sampled since; one that plays no part need not be.
    pub(crate) fn is_sampled_since(&self, began: u64) -> bool {
        !matches!(self.role(), Role::Primary | Role::Replica) || self.probed_at.load(Relaxed) >= began
    }

    /// The first position it had replayed to in a sample that began at `at` or later, once it is known where that lies.
    pub(crate) fn replayed_since(&self, at: Instant) -> Sampled {
        let ticks = self.clock.ticks(at);
        if ticks > self.probed_at.load(Relaxed) {
            return Sampled::NotYet;
        }
        // A replica that restarted may begin behind what it showed before.
        let steady_since = self.steady_since.load(Relaxed);
        if steady_since == 0 || ticks < steady_since {
            return Sampled::Never;
        }
        // Where positions are sets of transactions, one that the primary was not seen at yet has no place among them:
        // nobody, the replica itself included, could be shown to have come that far.
        let known = |position: &Position| position.0 <= self.replayed.load(Relaxed);
        self.replays.lock().first_since(at).filter(known).map_or(Sampled::NotYet, Sampled::At)
    }

    pub(crate) fn publish(&self, standing: &Standing) {
        let ticks = |at: Option<Instant>| at.map_or(0, |at| self.clock.ticks(at));
        self.covered_at.store(ticks(standing.covered_at), Relaxed);
        self.probed_at.store(ticks(standing.probed_at), Relaxed);
        self.steady_since.store(ticks(standing.steady_since), Relaxed);
        self.replayed.store(standing.replayed.unwrap_or_default().0, Relaxed);
        let applied = standing.applied.as_ref();
        if self.applied.load().as_ref().map(Arc::as_ptr) != applied.map(Arc::as_ptr) {
            self.applied.store(applied.cloned());
        }
        self.share.store(standing.share, Relaxed);
        self.role.store(standing.role as u8, Relaxed);
        self.why_not.store(standing.why_not.map_or(NO_REASON, |why| why as u8), Relaxed);
        let serves = standing.role == Role::Replica && standing.answering && standing.share > 0;
        self.serves.store(serves && !self.is_removed(), Relaxed);
    }

    /// Whether the configuration no longer has it.
    pub fn is_removed(&self) -> bool {
        self.removed.load(Relaxed)
    }

    /// Takes no new leases; backends are closed as they come back.
    pub(crate) fn remove(&self) {
        self.removed.store(true, Relaxed);
        self.serves.store(false, Relaxed);
        self.why_not.store(Why::Removed as u8, Relaxed);
        self.retire_backends();
    }

    /// Backends signed in before this are closed as they come back.
    pub(crate) fn retire_backends(&self) {
        self.generation.fetch_add(1, Relaxed);
        self.set_back();
    }

    /// Whoever waits for a backend looks again where one may be had.
    pub(crate) fn set_back(&self) {
        self.setbacks.fetch_add(1, SeqCst);
        self.setback.notify_waiters();
        self.gates.lock().iter().filter_map(Weak::upgrade).for_each(|gate| gate.stir());
    }

    /// How often that was.
    pub(crate) fn setbacks(&self) -> u32 {
        self.setbacks.load(SeqCst)
    }

    /// Those who wait at this gate wait for one of its backends.
    pub(crate) fn adopt(&self, gate: &Arc<Gate>) {
        let mut gates = self.gates.lock();
        gates.retain(|known| known.strong_count() > 0 && !std::ptr::eq(known.as_ptr(), Arc::as_ptr(gate)));
        gates.push(Arc::downgrade(gate));
    }

    pub(crate) fn generation(&self) -> u32 {
        self.generation.load(Relaxed)
    }

    pub(crate) fn count_wait(&self, waited: Duration) {
        let waited = u64::try_from(waited.as_micros()).unwrap_or(u64::MAX);
        self.counters.waits.fetch_add(1, Relaxed);
        self.counters.waited_us.fetch_add(waited, Relaxed);
    }

    pub(crate) fn enter(&self) {
        self.in_flight.fetch_add(1, Relaxed);
    }

    pub(crate) fn leave(&self) {
        self.in_flight.fetch_sub(1, Relaxed);
    }
}
