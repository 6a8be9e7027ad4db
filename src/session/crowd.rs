//! How many sessions each user has, and whether there is room for one more.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

/// How many sessions each user has.
#[derive(Debug, Default)]
pub struct Crowd(Mutex<HashMap<Box<str>, u32>>);

/// One of a user's places, given back when dropped.
pub(super) struct Place {
    crowd: Arc<Crowd>,
    user: Box<str>,
}

impl Crowd {
    /// Takes one of a user's `most` places.
    pub(super) fn enter(self: &Arc<Self>, user: &str, most: Option<u32>) -> Option<Place> {
        let mut crowd = self.0.lock();
        let here = crowd.entry(user.into()).or_default();
        if most.is_some_and(|most| *here >= most) {
            return None;
        }
        *here += 1;
        Some(Place { crowd: Arc::clone(self), user: user.into() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut crowd = self.crowd.0.lock();
        if let Some(here) = crowd.get_mut(&self.user) {
            *here -= 1;
            if *here == 0 {
                crowd.remove(&self.user);
            }
        }
    }
}
