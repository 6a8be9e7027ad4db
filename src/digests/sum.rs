//! What requests amount to: one of them, and all of a digest.

use router::Reason;
use std::time::Instant;

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

/// What requests of one digest amounted to.
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
    /// When the last one ended.
    pub(super) last: Option<Instant>,
    /// A bit for each reason, by its index.
    reasons: u64,
}

impl Sum {
    /// Why they ran where they ran.
    pub fn reasons(&self) -> impl Iterator<Item = &'static str> {
        let bits = self.reasons;
        let is_set = move |reason: &Reason| bits >> reason.index() & 1 == 1;
        Reason::ALL.into_iter().filter(is_set).map(Reason::as_str)
    }

    /// One more.
    pub(super) fn count(&mut self, ran: &Ran, now: Instant) {
        self.calls += 1;
        self.statements += u64::from(ran.statements);
        self.errors += u64::from(ran.failed);
        self.rows = self.rows.saturating_add(ran.rows);
        self.bytes = self.bytes.saturating_add(ran.bytes);
        self.total_us += u64::from(ran.micros);
        self.max_us = self.max_us.max(ran.micros.into());
        self.last = Some(now);
        self.reasons |= 1 << ran.reason.index();
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
