//! One authenticated connection to an endpoint.
//!
//! Invariant: `clean` is true only between a release and the next lease, so whatever is
//! dropped in any other way is closed and never lent again.

use crate::cancel::CancelTarget;
use crate::endpoint::Endpoint;
use crate::net::Stream;
use crate::roster::Card;
use protocol::Protocol;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A backend: the connection, what it remembers, and the bytes under way.
pub struct Backend<P: Protocol> {
    /// The connection.
    pub stream: Stream,
    /// What it holds between leases.
    pub memory: P::Memory,
    /// The beginning of a frame of the reply whose end has not come yet. Empty between requests.
    pub carry: Vec<u8>,
    /// Bytes to be sent. Empty between requests.
    pub outbox: Vec<u8>,
    endpoint: Arc<Endpoint>,
    generation: u32,
    /// When it is closed instead of being put back.
    expires: Option<Instant>,
    lent_at: Instant,
    clean: bool,
    retired: bool,
    card: Arc<Card>,
    /// How it is cancelled: made once, lent with every lease.
    pub(crate) target: Option<Arc<CancelTarget<P>>>,
}

impl<P: Protocol> Backend<P> {
    /// Whether something waits to be sent, in the outbox or behind it.
    pub fn is_behind(&self) -> bool {
        !self.outbox.is_empty() || self.stream.is_behind()
    }

    pub(crate) fn new(
        stream: Stream,
        memory: P::Memory,
        carry: Vec<u8>,
        origin: (Arc<Endpoint>, u32, Arc<Card>),
        signed_in: Instant,
        expires: Option<Instant>,
    ) -> Self {
        let (endpoint, generation, card) = origin;
        Self {
            stream,
            memory,
            carry,
            outbox: Vec::new(),
            endpoint,
            generation,
            expires,
            lent_at: signed_in,
            clean: true,
            retired: false,
            card,
            target: None,
        }
    }

    /// The endpoint that it is signed in to.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// What operators are shown of it.
    pub fn card(&self) -> &Arc<Card> {
        &self.card
    }

    /// Closes it when it comes back, clean or not.
    pub fn retire(&mut self) {
        self.retired = true;
    }

    /// Whether its endpoint changed its role or left the configuration since it was signed in. A
    /// session that holds it over a transaction or a pin should let it go.
    pub fn is_outdated(&self) -> bool {
        self.generation != self.endpoint.generation()
    }

    /// Lends it, unless it died or said something while it was idle.
    pub(crate) fn lend(&mut self, now: Instant) -> bool {
        self.clean = false;
        self.lent_at = now;
        !self.is_outdated() && self.carry.is_empty() && self.stream.is_quiet()
    }

    pub(crate) fn clean(&mut self) {
        self.clean = true;
    }

    /// Whether it was lent less than `warm` ago.
    pub(crate) fn is_warm(&self, now: Instant, warm: Duration) -> bool {
        now.saturating_duration_since(self.lent_at) < warm
    }

    /// Whether it may be lent again.
    pub(crate) fn is_reusable(&self) -> bool {
        let fresh = self.expires.is_none_or(|at| self.lent_at < at);
        self.clean && !self.retired && fresh && !self.is_outdated()
    }
}
