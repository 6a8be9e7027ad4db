//! Whoever signs in to a cluster's databases: each identity has a way there of its own, and a lane to each endpoint.

use super::Cluster;
use crate::access::{Access, Lanes, Policy};
use crate::connector::Door;
use crate::lane::Lane;
use crate::settings::{Identity, PoolSettings};
use arc_swap::ArcSwap;
use protocol::{Protocol, Secret};
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Instant;

/// Above this many identities, those without sessions are forgotten at once.
const IDENTITIES_MAX: usize = 4096;

/// An identity and the way to its backends.
pub(super) struct Known<P: Protocol> {
    pub(super) identity: Arc<Identity>,
    pub(super) access: Arc<Access<P>>,
    pub(super) used_at: Instant,
    /// No minimum is kept for it.
    pub(super) rests: bool,
}

/// What tells identities apart; the bounds of their pools do not.
#[derive(PartialEq, Eq)]
pub(super) struct Key {
    database: String,
    user: String,
    password: Option<Secret>,
    flavour: u64,
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.database.hash(state);
        self.user.hash(state);
        self.flavour.hash(state);
    }
}

impl<P: Protocol> Cluster<P> {
    /// The way of one identity to this cluster's backends. Sessions of one identity share it,
    /// and with it the pools; the bounds asked for last hold for all.
    pub fn access(&self, identity: Identity) -> Arc<Access<P>> {
        let mut state = self.state.lock();
        let key = Key {
            database: identity.database.clone(),
            user: identity.user.clone(),
            password: identity.password.clone(),
            flavour: identity.flavour,
        };
        let now = Instant::now();
        let doors: Vec<_> = state.watched.iter().map(|watched| watched.door.clone()).collect();
        let policy = Policy::from(&state.settings);
        if state.accesses.len() >= IDENTITIES_MAX {
            state.accesses.retain(|_, known| Arc::strong_count(&known.access) > 1);
        }
        let known = state.accesses.entry(key).or_insert_with(|| {
            let identity = Arc::new(identity.clone());
            let lanes = Lanes { policy, lanes: new_lanes(&doors, &identity) };
            let access = Access { outlook: self.outlook.clone(), lanes: ArcSwap::from_pointee(lanes) };
            Known { identity, access: Arc::new(access), used_at: now, rests: false }
        });
        known.used_at = now;
        if known.identity.pool != identity.pool {
            known.identity = Arc::new(identity);
            known.access.realign(policy, &doors, &known.identity);
        }
        known.access.clone()
    }
}

fn new_lanes<P: Protocol>(doors: &[Arc<Door>], identity: &Arc<Identity>) -> Vec<Arc<Lane<P>>> {
    doors.iter().map(|door| Arc::new(Lane::new(door.clone(), identity, identity.pool, None))).collect()
}

impl<P: Protocol> Access<P> {
    /// Follows a change of endpoints or bounds. Lanes of endpoints that stay are kept, with
    /// those who wait at their gates.
    pub(crate) fn realign(&self, policy: Policy, doors: &[Arc<Door>], identity: &Arc<Identity>) {
        let old = self.lanes.load_full();
        let pool = identity.pool;
        let lanes = doors.iter().map(|door| {
            let same = old.lanes.iter().find(|lane| Arc::ptr_eq(&lane.door, door));
            let Some(lane) = same else { return Arc::new(Lane::new(door.clone(), identity, pool, None)) };
            if lane.gate.size() != pool.size.max(1) {
                lane.gate.resize(pool.size);
            }
            if is_kept(lane.settings, pool) {
                return lane.clone();
            }
            Arc::new(Lane::new(door.clone(), identity, pool, Some(lane.gate.clone())))
        });
        let lanes: Vec<_> = lanes.collect();
        self.lanes.store(Arc::new(Lanes { policy, lanes: lanes.clone() }));
        for lane in &old.lanes {
            if !lanes.iter().any(|kept| Arc::ptr_eq(kept, lane)) {
                lane.close();
            }
        }
    }
}

/// Whether a lane can follow a change: the store's own limits are fixed when it is made.
fn is_kept(old: PoolSettings, new: PoolSettings) -> bool {
    (old.min, old.lifetime, old.idle_timeout) == (new.min, new.lifetime, new.idle_timeout)
}
