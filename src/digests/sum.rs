//! What requests amount to: one of them, and all of a digest.

use router::Reason;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What a request of a session amounted to.
#[derive(Debug, Clone, Copy)]
pub struct Ran {
    /// Where it ran, and why there.
    pub on_primary: bool,
    /// See `on_primary`.
    pub reason: Reason,
    /// Statements in it.
    pub statements: u32,
    /// From its arrival to the end of its reply.
    pub micros: u32,
    /// Rows that it returned or changed.
    pub rows: u64,
    /// Bytes that were sent to the client.
    pub bytes: u64,
    /// Whether the client was told an error.
    pub failed: bool,
}

/// What the requests of one digest amounted to on the primary, or on replicas.
#[derive(Debug, Default)]
pub(super) struct Side {
    calls: AtomicU64,
    statements: AtomicU64,
    errors: AtomicU64,
    rows: AtomicU64,
    bytes: AtomicU64,
    total_us: AtomicU64,
    max_us: AtomicU64,
    /// Seconds since the digest was first seen.
    last: AtomicU64,
    /// A bit for each reason, by its index.
    reasons: AtomicU64,
}

/// The same, at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sum {
    /// Requests.
    pub calls: u64,
    /// Statements in them.
    pub statements: u64,
    /// Requests that failed.
    pub errors: u64,
    /// Rows returned or changed.
    pub rows: u64,
    /// Bytes sent to clients.
    pub bytes: u64,
    /// Microseconds.
    pub total_us: u64,
    /// Of the longest request.
    pub max_us: u64,
    /// Seconds since the digest was first seen.
    pub(super) last: u64,
    reasons: u64,
}

impl Sum {
    /// Why they ran where they ran.
    pub fn reasons(&self) -> impl Iterator<Item = &'static str> {
        let bits = self.reasons;
        let is_set = move |reason: &Reason| bits >> reason.index() & 1 == 1;
        Reason::ALL.into_iter().filter(is_set).map(Reason::as_str)
    }

    /// Both together.
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            calls: self.calls + other.calls,
            statements: self.statements + other.statements,
            errors: self.errors + other.errors,
            rows: self.rows + other.rows,
            bytes: self.bytes + other.bytes,
            total_us: self.total_us + other.total_us,
            max_us: self.max_us.max(other.max_us),
            last: self.last.max(other.last),
            reasons: self.reasons | other.reasons,
        }
    }
}

const _: () = assert!(Reason::COUNT <= 64, "a bit for each reason");

impl Side {
    pub(super) fn count(&self, ran: &Ran, seconds: u64) {
        self.calls.fetch_add(1, Relaxed);
        self.statements.fetch_add(ran.statements.into(), Relaxed);
        self.rows.fetch_add(ran.rows, Relaxed);
        self.bytes.fetch_add(ran.bytes, Relaxed);
        self.total_us.fetch_add(ran.micros.into(), Relaxed);
        self.last.store(seconds, Relaxed);
        if ran.failed {
            self.errors.fetch_add(1, Relaxed);
        }
        if self.max_us.load(Relaxed) < ran.micros.into() {
            self.max_us.fetch_max(ran.micros.into(), Relaxed);
        }
        let reason = 1 << ran.reason.index();
        if self.reasons.load(Relaxed) & reason == 0 {
            self.reasons.fetch_or(reason, Relaxed);
        }
    }

    pub(super) fn sum(&self) -> Sum {
        Sum {
            calls: self.calls.load(Relaxed),
            statements: self.statements.load(Relaxed),
            errors: self.errors.load(Relaxed),
            rows: self.rows.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            total_us: self.total_us.load(Relaxed),
            max_us: self.max_us.load(Relaxed),
            last: self.last.load(Relaxed),
            reasons: self.reasons.load(Relaxed),
        }
    }
}
