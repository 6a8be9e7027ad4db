//! How many clients there are, and may be.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The places of a process's clients, those who are signing in included.
#[derive(Debug)]
pub struct Places {
    taken: AtomicUsize,
    most: AtomicUsize,
}

/// A client's place, free again when this is dropped.
#[derive(Debug)]
pub struct Taken(Arc<Places>);

impl Places {
    /// So many places, all free.
    pub fn new(most: usize) -> Self {
        Self { taken: AtomicUsize::new(0), most: AtomicUsize::new(most) }
    }

    /// Takes a place, if one is free.
    pub fn enter(self: &Arc<Self>) -> Option<Taken> {
        let most = self.most.load(Ordering::Relaxed);
        let one_more = |taken| (taken < most).then_some(taken + 1);
        self.taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more).ok()?;
        Some(Taken(Arc::clone(self)))
    }

    /// From now on there are so many. Nobody who is in has to leave.
    pub fn resize(&self, most: usize) {
        self.most.store(most, Ordering::Relaxed);
    }

    /// Places that are taken.
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Acquire)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::Places;
    use std::sync::Arc;

    #[test]
    fn there_are_as_many_as_were_last_said() {
        let places = Arc::new(Places::new(2));
        let (one, two) = (places.enter(), places.enter());
        assert!(one.is_some() && two.is_some() && places.enter().is_none());
        places.resize(1);
        drop(one);
        assert!(places.enter().is_none(), "one is in, and one may be");
        drop(two);
        assert_eq!(places.taken(), 0);
        assert!(places.enter().is_some());
    }
}
