//! A cluster: its endpoints, their monitors, and the pools of every identity.
//!
//! One function, `apply`, changes it: endpoints with the same address keep their pools, their
//! health and what is known of their position; the rest drains. Invariant: the board's entries
//! and every identity's lanes name the same endpoints in the same order.

use crate::access::Policy;
use crate::board::Entry;
use crate::connector::Door;
use crate::endpoint::{Endpoint, EndpointId};
use crate::gate::Gate;
use crate::health::Duty;
use crate::lane::Lane;
use crate::monitor::{self, Plan, Task};
use crate::outlook::Outlook;
use crate::roster::Roster;
use crate::settings::{ClusterSettings, ENDPOINTS_MAX, Identity};
use crate::topology::Role;
use crate::view::{PoolView, View};
use arc_swap::ArcSwap;
use hashbrown::HashMap;
use parking_lot::Mutex;
use protocol::Protocol;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

mod admin;
mod control;
mod identities;

use identities::{Key, Known};

/// How often pools are tended: minima kept, unused identities forgotten.
const TEND_EVERY: Duration = Duration::from_millis(500);

/// An identity without sessions is forgotten after its idle timeout, but not before this.
const FORGET_AFTER: Duration = Duration::from_secs(60);

/// A cluster of one primary and its replicas.
pub struct Cluster<P: Protocol> {
    outlook: Arc<Outlook>,
    state: Mutex<State<P>>,
    _keeper: Mutex<Option<Task>>,
}

struct State<P: Protocol> {
    settings: ClusterSettings,
    watched: Vec<Watched>,
    roster: Arc<Roster>,
    /// Lanes that were replaced and may still have backends out.
    closing: Vec<Closing<P>>,
    last_id: u32,
    accesses: HashMap<Key, Known<P>, foldhash::fast::RandomState>,
}

/// An endpoint and what reaches and watches it.
struct Watched {
    door: Arc<Door>,
    duty: Duty,
    _monitor: Option<Task>,
}

/// A lane that was replaced, and whose.
struct Closing<P: Protocol> {
    identity: Arc<Identity>,
    lane: Weak<Lane<P>>,
}

impl<P: Protocol> Cluster<P> {
    /// Starts watching the endpoints. Must be called within a tokio runtime; its tasks end when
    /// the cluster is dropped or shut down.
    pub fn new(settings: ClusterSettings) -> Arc<Self> {
        let cluster = Self::unwatched(&settings);
        cluster.rebuild(settings, true);
        let weak = Arc::downgrade(&cluster);
        *cluster._keeper.lock() = Some(Task::spawn(keep(weak, cluster.outlook.clone())));
        cluster
    }

    /// A cluster without an endpoint or a task.
    pub(crate) fn unwatched(settings: &ClusterSettings) -> Arc<Self> {
        let outlook = Arc::new(Outlook::new(settings, Instant::now()));
        let settings = ClusterSettings { endpoints: Vec::new(), ..settings.clone() };
        let state = State {
            settings,
            watched: Vec::new(),
            roster: Arc::default(),
            closing: Vec::new(),
            last_id: 0,
            accesses: HashMap::default(),
        };
        Arc::new(Self { outlook, state: Mutex::new(state), _keeper: Mutex::new(None) })
    }

    /// Takes new settings over. New endpoints serve after their first good probe. Endpoints that
    /// are gone take no new leases, their idle backends are closed, their leases end in peace.
    pub fn apply(&self, settings: ClusterSettings) {
        if self.state.lock().settings != settings {
            self.rebuild(settings, true);
        }
    }

    #[cfg(test)]
    pub(crate) fn outlook(&self) -> &Outlook {
        &self.outlook
    }

    /// Makes everything follow `settings`. Without `probing` nobody watches the endpoints.
    pub(crate) fn rebuild(&self, settings: ClusterSettings, probing: bool) {
        let mut state = self.state.lock();
        let old_plan = Plan::from(&state.settings);
        let plan = Plan::from(&settings);
        let mut old = std::mem::take(&mut state.watched);
        let mut entries = Vec::new();
        for wanted in settings.endpoints.iter().take(ENDPOINTS_MAX) {
            let same = |watched: &Watched| watched.door.endpoint.address == wanted.address;
            if state.watched.iter().any(same) {
                tracing::error!(endpoint = %wanted.address, "an endpoint is configured twice: once is enough");
                continue;
            }
            let kept = old.iter().position(same).map(|at| old.swap_remove(at));
            let door = match &kept {
                Some(watched) => watched.door.clone(),
                None => {
                    state.last_id += 1;
                    let id = EndpointId(state.last_id);
                    let endpoint = Endpoint::new(id, wanted.address.clone(), self.outlook.clock);
                    new_door(endpoint, &plan, &settings, &state.roster)
                }
            };
            reroute(&door, &plan, &settings);
            let duty = kept.as_ref().map(|watched| watched.duty).unwrap_or_default();
            let monitor = kept.and_then(|watched| watched._monitor).filter(|_| plan == old_plan);
            let probing = probing && duty != Duty::Maintenance;
            let watch =
                || Task::spawn(monitor::watch(self.outlook.clone(), door.endpoint.clone(), plan.clone()));
            let monitor = monitor.or_else(|| probing.then(watch));
            entries.push(Entry::new(door.endpoint.clone(), wanted.role, wanted.weight));
            state.watched.push(Watched { door, duty, _monitor: monitor });
        }
        if settings.endpoints.len() > ENDPOINTS_MAX {
            tracing::error!("only the first {ENDPOINTS_MAX} endpoints of a cluster are used");
        }
        for gone in &old {
            tracing::info!(endpoint = %gone.door.endpoint.address, "endpoint removed");
            gone.door.endpoint.remove();
        }
        let now = Instant::now();
        self.outlook.update(|board| {
            let mut changes = board.apply(&settings, entries, now);
            changes.extend(board.publish(now));
            changes
        });
        state.settings = settings;
        let doors: Vec<_> = state.watched.iter().map(|watched| watched.door.clone()).collect();
        let policy = Policy::from(&state.settings);
        for known in state.accesses.values() {
            known.access.realign(policy, &doors, &known.identity);
        }
        drop(state);
        // Whoever waits looks again, at the lanes of now.
        self.outlook.update(|_| Vec::new());
    }

    /// How everything stands, for metrics and the console.
    pub fn view(&self) -> View {
        let state = self.state.lock();
        let mut pools = Vec::new();
        for known in state.accesses.values() {
            pools.extend(known.access.lanes.load().lanes.iter().map(|lane| pool_view(&known.identity, lane)));
        }
        let board = self.outlook.board();
        let now = Instant::now();
        let endpoints = board.entries.iter().map(|entry| entry.view(&board, now)).collect();
        View {
            name: state.settings.name.clone(),
            primary: board.primary,
            incarnation: board.incarnation.map_or(0, |incarnation| incarnation.number),
            fence_waits: self.outlook.fences.sums(),
            endpoints,
            pools,
        }
    }

    /// Waits until every endpoint has been probed, well or not. False if `deadline` came first.
    pub async fn wait_ready(&self, deadline: Instant) -> bool {
        let mut pulse = self.outlook.pulse.subscribe();
        loop {
            let _ = pulse.borrow_and_update();
            if self.outlook.board().entries.iter().all(|entry| entry.reported) {
                return true;
            }
            if tokio::time::timeout_at(deadline.into(), pulse.changed()).await.is_err() {
                return false;
            }
        }
    }

    /// Ends all probing and all waiting; leases are refused from now on, idle backends closed.
    pub fn shut_down(&self) {
        self.outlook.shut();
        self._keeper.lock().take();
        let mut state = self.state.lock();
        for watched in &mut state.watched {
            watched._monitor = None;
            watched.door.endpoint.remove();
        }
        for (_, known) in state.accesses.drain() {
            known.access.lanes.load().lanes.iter().for_each(|lane| lane.close());
        }
    }

    /// Closes what must not be lent again, forgets who is gone, and keeps minima.
    fn tend(&self, now: Instant) {
        let mut state = self.state.lock();
        state.accesses.retain(|_, known| {
            if Arc::strong_count(&known.access) > 1 {
                known.used_at = now;
            }
            now.saturating_duration_since(known.used_at) < known.identity.pool.idle_timeout.max(FORGET_AFTER)
        });
        state.closing.retain(|closing| closing.lane.strong_count() > 0);
        for known in state.accesses.values() {
            let in_use = Arc::strong_count(&known.access) > 1 && !known.rests;
            for lane in &known.access.lanes.load().lanes {
                lane.tidy(now);
                let serves = matches!(lane.door.endpoint.role(), Role::Primary | Role::Replica);
                if in_use && serves && lane.is_cold() {
                    let lane = lane.clone();
                    tokio::spawn(async move { lane.warm().await });
                }
            }
        }
    }
}

impl<P: Protocol> Drop for Cluster<P> {
    fn drop(&mut self) {
        self.shut_down();
    }
}

/// Tends a cluster until it is gone.
async fn keep<P: Protocol>(cluster: Weak<Cluster<P>>, outlook: Arc<Outlook>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(TEND_EVERY) => {}
            () = outlook.retired.notified() => {}
        }
        let Some(cluster) = cluster.upgrade() else { return };
        cluster.tend(Instant::now());
    }
}

fn new_door(endpoint: Endpoint, plan: &Plan, settings: &ClusterSettings, roster: &Arc<Roster>) -> Arc<Door> {
    let (logins, roster) = (Gate::new(settings.max_concurrent_logins), Arc::clone(roster));
    let route = ArcSwap::from_pointee(plan.route.clone());
    Arc::new(Door { endpoint: Arc::new(endpoint), route, logins, roster })
}

/// Takes new settings over for sign-ins to come. Other TLS closes what was signed in before.
fn reroute(door: &Door, plan: &Plan, settings: &ClusterSettings) {
    let old = door.route.load();
    if old.tls != plan.route.tls {
        door.endpoint.retire_backends();
    }
    if **old != plan.route {
        door.route.store(Arc::new(plan.route.clone()));
    }
    if door.logins.size() != settings.max_concurrent_logins.max(1) {
        door.logins.resize(settings.max_concurrent_logins);
    }
}

fn pool_view<P: Protocol>(identity: &Identity, lane: &Lane<P>) -> PoolView {
    let (open, idle) = lane.open();
    PoolView {
        database: identity.database.clone(),
        user: identity.user.clone(),
        endpoint: lane.door.endpoint.id,
        address: lane.door.endpoint.address.clone(),
        size: lane.gate.size(),
        open,
        idle,
        in_use: lane.gate.inside(),
        waiting: lane.gate.waiting(),
    }
}
