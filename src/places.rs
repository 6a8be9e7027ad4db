//! How many clients the process serves at a time, and that it does not serve more.
//!
//! The bound may change at any time; whoever is in when it sinks stays.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The places of all clients together.
#[derive(Debug)]
pub struct Places {
    taken: AtomicUsize,
    most: AtomicUsize,
}

/// A client's place, given back when dropped.
#[derive(Debug)]
pub struct Seated(Arc<Places>);

impl Places {
    /// This many places, all of them free.
    pub fn new(most: usize) -> Self {
        Self { taken: AtomicUsize::new(0), most: AtomicUsize::new(most) }
    }

    /// From now on there are this many.
    pub fn resize(&self, most: usize) {
        self.most.store(most, Relaxed);
    }

    /// Takes a place, if one is free.
    pub fn enter(self: &Arc<Self>) -> Option<Seated> {
        let most = self.most.load(Relaxed);
        let more = |taken| (taken < most).then_some(taken + 1);
        self.taken.fetch_update(Relaxed, Relaxed, more).ok()?;
        Some(Seated(Arc::clone(self)))
    }
}

impl Drop for Seated {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_may_move_while_clients_are_in() {
        let places = Arc::new(Places::new(2));
        let (one, two) = (places.enter(), places.enter());
        assert!(one.is_some() && two.is_some() && places.enter().is_none());
        places.resize(3);
        let three = places.enter();
        assert!(three.is_some() && places.enter().is_none());
        places.resize(1);
        drop((one, two));
        assert!(places.enter().is_none(), "one is still in");
        drop(three);
        assert!(places.enter().is_some());
    }
}
