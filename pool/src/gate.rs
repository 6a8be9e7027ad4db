//! Who may hold a backend: as many as the pool is large, first come first served.
//!
//! Invariant: those inside never exceed the size, except that a size that shrinks waits for
//! those already inside. Whoever leaves lets in whoever has waited longest.
//!
//! Going in and out where nobody waits is one atomic step each, in `free`. Who waits stands at the semaphore, and
//! what is free goes there: whoever comes to wait looks at `free` after it is counted, and whoever leaves looks for
//! who waits after its place is free, so that one of both sees the other.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::Instant;
use tokio::sync::{Semaphore, SemaphorePermit};

#[derive(Debug)]
pub(crate) struct Gate {
    /// Places that are free while nobody waits.
    free: AtomicU32,
    /// Places for those who wait.
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
        self.0.waiting.fetch_sub(1, SeqCst);
    }
}

impl Gate {
    /// A gate for `size` places, at least one.
    pub fn new(size: u32) -> Self {
        let size = size.max(1);
        Self {
            free: AtomicU32::new(size),
            places: Semaphore::new(0),
            size: AtomicU32::new(size),
            debt: AtomicU32::new(0),
            waiting: AtomicU32::new(0),
        }
    }

    /// Goes in if there is room and nobody waits. Whoever is in must `leave`.
    pub fn try_enter(&self) -> bool {
        if self.waiting.load(SeqCst) > 0 {
            return false;
        }
        if self.free.fetch_update(SeqCst, Relaxed, |free| free.checked_sub(1)).is_ok() {
            return true;
        }
        // What was meant for one who has given up.
        self.places.try_acquire().map(SemaphorePermit::forget).is_ok()
    }

    /// Waits in line until `deadline`. Whoever is in must `leave`.
    pub async fn enter(&self, deadline: Instant) -> bool {
        self.waiting.fetch_add(1, SeqCst);
        let _waiting = Waiting(self);
        self.hand_over();
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
            self.give(1);
        }
    }

    /// So many places are free.
    fn give(&self, places: u32) {
        self.free.fetch_add(places, SeqCst);
        if self.waiting.load(SeqCst) > 0 {
            self.hand_over();
        }
    }

    /// What is free goes to those who wait.
    fn hand_over(&self) {
        let free = self.free.swap(0, SeqCst);
        if free > 0 {
            self.places.add_permits(free as usize);
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
            self.give(grown - forgiven);
        } else {
            let excess = old - size;
            let mut taken = 0;
            let _ = self.free.fetch_update(SeqCst, Relaxed, |free| {
                taken = free.min(excess);
                Some(free - taken)
            });
            taken += self.places.forget_permits((excess - taken) as usize) as u32;
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
        let free = self.free.load(Relaxed) + self.places.available_permits() as u32;
        (self.size() + self.debt.load(Relaxed)).saturating_sub(free)
    }
}

#[cfg(test)]
mod tests;
