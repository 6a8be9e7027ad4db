//! A backend lent to a session.
//!
//! Release it, or it is closed: a lease that is dropped, by a panic, a cancelled task or an
//! early return, is never lent again. Invariant: its place at the gate is given back after the
//! backend itself, so whoever is let in finds it.

use crate::backend::Backend;
use crate::cancel::CancelTarget;
use crate::lane::Lane;
use crate::shelf::Held;
use protocol::Protocol;
use protocol::tracker::Memory;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

/// A backend on loan.
pub struct Lease<P: Protocol> {
    // The order matters: fields are dropped from the top.
    backend: Held<P>,
    seat: Seat<P>,
}

/// A place at a lane's gate, and one more in flight on its endpoint. Given back when dropped.
pub(crate) struct Seat<P: Protocol>(Arc<Lane<P>>);

impl<P: Protocol> Seat<P> {
    /// For whoever has just entered the gate.
    pub fn new(lane: Arc<Lane<P>>) -> Self {
        lane.door.endpoint.enter();
        Self(lane)
    }

    /// Where it is.
    pub fn lane(&self) -> Arc<Lane<P>> {
        self.0.clone()
    }
}

impl<P: Protocol> Drop for Seat<P> {
    fn drop(&mut self) {
        self.0.door.endpoint.leave();
        self.0.gate.leave();
    }
}

impl<P: Protocol> Lease<P> {
    pub(crate) fn new(backend: Held<P>, seat: Seat<P>) -> Self {
        seat.0.note_lease();
        Self { backend, seat }
    }

    /// Gives the backend back, clean: no reply is owed, no transaction is open, its memory is true.
    pub fn release(self) {
        let Self { mut backend, seat } = self;
        backend.clean();
        seat.0.keep(backend);
    }

    /// Where and how what runs on this backend can be cancelled. Made once a backend.
    pub fn cancel_target(&mut self) -> Arc<CancelTarget<P>> {
        if let Some(target) = &self.backend.target {
            return Arc::clone(target);
        }
        let target = Arc::new(CancelTarget {
            door: Arc::clone(&self.seat.0.door),
            identity: Arc::clone(&self.seat.0.identity),
            encrypted: self.backend.stream.is_tls(),
            key: self.backend.memory.cancel_key().clone(),
            card: Arc::clone(self.backend.card()),
        });
        self.backend.target = Some(Arc::clone(&target));
        target
    }
}

impl<P: Protocol> Deref for Lease<P> {
    type Target = Backend<P>;

    fn deref(&self) -> &Backend<P> {
        &self.backend
    }
}

impl<P: Protocol> DerefMut for Lease<P> {
    fn deref_mut(&mut self) -> &mut Backend<P> {
        &mut self.backend
    }
}
