//! Who may hold a backend: as many as the pool is large, first come first served.
//!
//! Invariant: those inside never exceed the size, except that a size that shrinks waits for
//! those already inside. Whoever leaves lets in whoever has waited longest.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Instant;
use tokio::sync::Semaphore;

#[derive(Debug)]
pub(crate) struct Gate {
    places: Semaphore,
    size: AtomicU32,
    /// Places to be taken away as their holders leave.
    debt: AtomicU32,
    waiting: AtomicU32,
}

/// One who waits, counted while this lives.
struct Waiting<'a>(&'a Gate);

/// A place inside, given back when dropped.
pub(crate) struct Place<'a>(&'a Gate);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Relaxed);
    }
}

impl Gate {
    /// A gate for `size` places, at least one.
    pub fn new(size: u32) -> Self {
        let size = size.max(1);
        Self {
            places: Semaphore::new(size as usize),
            size: AtomicU32::new(size),
            debt: AtomicU32::new(0),
            waiting: AtomicU32::new(0),
        }
    }

    /// Goes in if there is room and nobody waits. Whoever is in must `leave`.
    pub fn try_enter(&self) -> bool {
        match self.places.try_acquire() {
            Ok(place) => {
                place.forget();
                true
            }
            Err(_) => false,
        }
    }

    /// Waits in line until `deadline`. Whoever is in must `leave`.
    pub async fn enter(&self, deadline: Instant) -> bool {
        self.waiting.fetch_add(1, Relaxed);
        let _waiting = Waiting(self);
        match tokio::time::timeout_at(deadline.into(), self.places.acquire()).await {
            Ok(Ok(place)) => {
                place.forget();
                true
            }
            Ok(Err(_)) | Err(_) => false,
        }
    }

    /// Waits in line until `deadline` for a place that gives itself back.
    pub async fn place(&self, deadline: Instant) -> Option<Place<'_>> {
        self.enter(deadline).await.then_some(Place(self))
    }

    /// Gives a place back.
    pub fn leave(&self) {
        let owed = self.debt.load(Relaxed) > 0
            && self.debt.fetch_update(Relaxed, Relaxed, |debt| debt.checked_sub(1)).is_ok();
        if !owed {
            self.places.add_permits(1);
        }
    }

    /// Changes the number of places. Called by one task at a time.
    pub fn resize(&self, size: u32) {
        let size = size.max(1);
        let old = self.size.swap(size, Relaxed);
        if size > old {
            // What is still owed is forgiven first.
            let grown = size - old;
            let mut forgiven = 0;
            let _ = self.debt.fetch_update(Relaxed, Relaxed, |debt| {
                forgiven = debt.min(grown);
                Some(debt - forgiven)
            });
            self.places.add_permits((grown - forgiven) as usize);
        } else {
            let excess = old - size;
            let taken = self.places.forget_permits(excess as usize) as u32;
            self.debt.fetch_add(excess - taken, Relaxed);
        }
    }

    pub fn size(&self) -> u32 {
        self.size.load(Relaxed)
    }

    /// How many wait in line.
    pub fn waiting(&self) -> u32 {
        self.waiting.load(Relaxed)
    }

    /// How many are inside.
    pub fn inside(&self) -> u32 {
        let free = self.places.available_permits() as u32;
        (self.size() + self.debt.load(Relaxed)).saturating_sub(free)
    }
}

#[cfg(test)]
mod tests;
