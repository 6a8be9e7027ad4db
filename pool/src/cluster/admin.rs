//! What an operator does to a cluster while it works: endpoints in and out of service, backends
//! replaced. Invariant: nobody's work is cut, except by maintenance what is bound to that endpoint.

use super::{Closing, Cluster, State, Watched};
use crate::access::{Access, Lanes};
use crate::health::Duty;
use crate::lane::Lane;
use crate::monitor::{self, Plan, Task};
use crate::roster::Card;
use crate::topology::Role;
use protocol::Protocol;
use std::sync::Arc;
use std::time::Instant;

impl<P: Protocol> Cluster<P> {
    /// The backends that are open, by number.
    pub fn backends(&self) -> Vec<Arc<Card>> {
        let roster = Arc::clone(&self.state.lock().roster);
        roster.all()
    }

    /// Closes the backends of every identity that `wanted` names by database and user: idle ones
    /// at once, those lent when they come back. Nobody's work is disturbed.
    pub fn reconnect(&self, wanted: &dyn Fn(&str, &str) -> bool) {
        let mut state = self.state.lock();
        let State { accesses, closing, .. } = &mut *state;
        for known in accesses.values() {
            if wanted(&known.identity.database, &known.identity.user) {
                let old = known.access.renew();
                let identity = &known.identity;
                closing.extend(
                    old.iter()
                        .map(|lane| Closing { identity: Arc::clone(identity), lane: Arc::downgrade(lane) }),
                );
            }
        }
        drop(state);
        // Whoever waits at a lane that was replaced looks again.
        self.outlook.update(|board| {
            board.entries.iter().for_each(|entry| entry.endpoint.set_back());
            Vec::new()
        });
    }

    /// Whether the minimum of backends is not kept, for every identity that `wanted` names.
    pub fn rest(&self, wanted: &dyn Fn(&str, &str) -> bool, rests: bool) {
        for known in self.state.lock().accesses.values_mut() {
            if wanted(&known.identity.database, &known.identity.user) {
                known.rests = rests;
            }
        }
    }

    /// How many backends are still to be closed by `reconnect`, of those identities.
    pub fn closing(&self, wanted: &dyn Fn(&str, &str) -> bool) -> usize {
        let mut state = self.state.lock();
        state.closing.retain(|closing| closing.lane.upgrade().is_some_and(|lane| lane.open().0 > 0));
        let of = |closing: &&Closing<P>| wanted(&closing.identity.database, &closing.identity.user);
        let lanes = state.closing.iter().filter(of).filter_map(|closing| closing.lane.upgrade());
        lanes.map(|lane| lane.open().0 as usize).sum()
    }

    /// Gives an endpoint another duty. It keeps it over reloads.
    ///
    /// # Errors
    /// If there is no such endpoint, or it is the primary, which is taken out of service by
    /// promoting another one.
    pub fn assign(&self, address: &str, duty: Duty) -> Result<(), &'static str> {
        let mut state = self.state.lock();
        let plan = Plan::from(&state.settings);
        let find = |watched: &&mut Watched| watched.door.endpoint.address.to_string() == address;
        let Some(watched) = state.watched.iter_mut().find(find) else {
            return Err("no such endpoint");
        };
        let endpoint = Arc::clone(&watched.door.endpoint);
        if duty != Duty::Ready && endpoint.role() == Role::Primary {
            return Err("the endpoint is the primary: promote another one first");
        }
        let was = std::mem::replace(&mut watched.duty, duty);
        match duty {
            Duty::Maintenance => watched._monitor = None,
            Duty::Ready | Duty::Drain if was == Duty::Maintenance => {
                let watch = monitor::watch(self.outlook.clone(), endpoint.clone(), plan);
                watched._monitor = Some(Task::spawn(watch));
            }
            Duty::Ready | Duty::Drain => {}
        }
        drop(state);
        if duty == Duty::Ready {
            endpoint.forget_latency();
        }
        self.outlook.update(|board| board.assign(endpoint.id, duty, Instant::now()));
        if duty == Duty::Maintenance {
            endpoint.retire_backends();
            self.outlook.retired.notify_one();
        }
        tracing::info!(endpoint = %endpoint.address, duty = duty.name(), "duty");
        Ok(())
    }
}

impl<P: Protocol> Access<P> {
    /// Replaces every lane by a new one at the same gate. Returns the old ones, closed: their
    /// idle backends are, and what is lent is closed when it comes back.
    fn renew(&self) -> Vec<Arc<Lane<P>>> {
        let old = self.lanes.load_full();
        let fresh = |lane: &Arc<Lane<P>>| {
            let gate = Some(lane.gate.clone());
            Arc::new(Lane::new(lane.door.clone(), &lane.identity, lane.settings, gate))
        };
        self.lanes
            .store(Arc::new(Lanes { policy: old.policy, lanes: old.lanes.iter().map(fresh).collect() }));
        old.lanes.iter().for_each(|lane| lane.close());
        old.lanes.clone()
    }
}
