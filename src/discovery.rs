//! Endpoints that are not in the file: found by DNS or told by Patroni.
//!
//! What is found is only a candidate: its role is what our own probe finds. An answer that is
//! empty or fails changes nothing: the endpoints of the last good one stay, and it is said once.
//! A cluster's endpoints are those of the file and those that were found; a reload and a find
//! may come at any time, so both go through one lock.

mod dns;
mod patroni;

use crate::config::{ClusterConfig, DiscoveryConfig, Source};
use crate::metrics::Searches;
use parking_lot::Mutex;
use pool::net::Address;
use pool::{Cluster, ClusterSettings, EndpointSettings, RoleSetting};
use protocol::Protocol;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::task::AbortHandle;

/// How long one look may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Between two looks at least, whatever a record says of its life.
const PAUSE_MIN: Duration = Duration::from_secs(1);

/// What a source said.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    endpoints: Vec<EndpointSettings>,
    /// How long that holds, if it says so.
    valid: Option<Duration>,
}

/// What was found at an address: `weight` 0 takes no reads.
fn candidate(host: String, port: u16, weight: u32) -> EndpointSettings {
    EndpointSettings { address: Address::Tcp { host, port }, role: RoleSetting::Auto, weight }
}

/// Candidates in an order of their own, so that the same answer in another order is no change.
fn in_order(candidates: impl Iterator<Item = EndpointSettings>) -> Vec<EndpointSettings> {
    let mut endpoints: Vec<_> = candidates.collect();
    endpoints.sort_by_key(|endpoint| endpoint.address.to_string());
    endpoints
}

/// The endpoints of one cluster.
pub struct Members<P: Protocol> {
    cluster: Arc<Cluster<P>>,
    state: Mutex<State>,
}

struct State {
    /// As the file has them.
    settings: ClusterSettings,
    found: Vec<EndpointSettings>,
    discovery: Option<DiscoveryConfig>,
    search: Option<AbortHandle>,
}

impl<P: Protocol> Members<P> {
    /// Starts looking, if the configuration says where.
    pub fn start(
        cluster: &Arc<Cluster<P>>,
        config: &ClusterConfig,
        settings: ClusterSettings,
        searches: &Arc<Searches>,
    ) -> Arc<Self> {
        let state = State { settings, found: Vec::new(), discovery: None, search: None };
        let members = Arc::new(Self { cluster: Arc::clone(cluster), state: Mutex::new(state) });
        members.search(&mut members.state.lock(), config.discovery.clone(), searches);
        members
    }

    /// Takes another configuration over. What was found stays while it is searched for in the same way.
    pub fn apply(
        self: &Arc<Self>,
        config: &ClusterConfig,
        settings: ClusterSettings,
        searches: &Arc<Searches>,
    ) {
        let mut state = self.state.lock();
        state.settings = settings;
        if state.discovery != config.discovery {
            self.search(&mut state, config.discovery.clone(), searches);
        }
        self.put_to_work(&state);
    }

    /// Looks as `discovery` says from now on.
    fn search(
        self: &Arc<Self>,
        state: &mut State,
        discovery: Option<DiscoveryConfig>,
        searches: &Arc<Searches>,
    ) {
        if let Some(old) = state.search.take() {
            old.abort();
        }
        if discovery.as_ref().map(|new| &new.source) != state.discovery.as_ref().map(|old| &old.source) {
            state.found.clear();
        }
        state.discovery.clone_from(&discovery);
        state.search = discovery.map(|discovery| {
            tokio::spawn(search(Arc::downgrade(self), discovery, Arc::clone(searches))).abort_handle()
        });
    }

    /// Takes over what `source` told. Returns whether that changed anything.
    fn found(&self, source: &Source, endpoints: Vec<EndpointSettings>) -> bool {
        let mut state = self.state.lock();
        // A search that was called off may be about to tell what it found.
        let asked = state.discovery.as_ref().is_some_and(|discovery| discovery.source == *source);
        if !asked || state.found == endpoints {
            return false;
        }
        state.found = endpoints;
        self.put_to_work(&state);
        true
    }

    fn put_to_work(&self, state: &State) {
        self.cluster.apply(with(&state.settings, &state.found));
    }
}

impl<P: Protocol> Drop for Members<P> {
    fn drop(&mut self) {
        if let Some(search) = self.state.lock().search.take() {
            search.abort();
        }
    }
}

/// The file's endpoints and those that were found; what the file says of an address counts.
fn with(settings: &ClusterSettings, found: &[EndpointSettings]) -> ClusterSettings {
    let mut settings = settings.clone();
    for endpoint in found {
        if settings.endpoints.iter().all(|known| known.address != endpoint.address) {
            settings.endpoints.push(endpoint.clone());
        }
    }
    settings
}

async fn search<P: Protocol>(members: Weak<Members<P>>, discovery: DiscoveryConfig, searches: Arc<Searches>) {
    let mut is_well = true;
    loop {
        let begun = Instant::now();
        let look = async {
            match &discovery.source {
                Source::Dns { host, port } => dns::addresses(host, *port, discovery.nameserver).await,
                Source::Srv(name) => dns::services(name, discovery.nameserver).await,
                Source::Patroni(apis) => patroni::members(apis).await,
            }
        };
        let looked = tokio::time::timeout(PATIENCE, Box::pin(look)).await;
        let looked = looked.unwrap_or_else(|_| Err("no answer in time".to_owned()));
        let Some(members) = members.upgrade() else { return };
        let cluster = &members.cluster.view().name;
        let (outcome, pause) = match looked {
            Ok(Found { endpoints, valid }) if !endpoints.is_empty() => {
                let list: Vec<_> = endpoints.iter().map(|endpoint| endpoint.address.to_string()).collect();
                if members.found(&discovery.source, endpoints) {
                    tracing::info!(cluster, endpoints = list.join(", "), "endpoints were found");
                } else if !is_well {
                    tracing::info!(cluster, "endpoints are found again, and are the same");
                }
                is_well = true;
                ("good", valid.unwrap_or(discovery.interval))
            }
            bad => {
                let (outcome, why) = match bad {
                    Ok(_) => ("empty", "the answer names no endpoint".to_owned()),
                    Err(why) => ("failed", why),
                };
                if is_well {
                    tracing::warn!(
                        cluster,
                        why,
                        "no endpoints were found: those of the last good answer stay"
                    );
                }
                is_well = false;
                (outcome, discovery.interval)
            }
        };
        searches.discovered(outcome, is_well);
        drop(members);
        let pause = pause.min(discovery.interval).max(PAUSE_MIN).saturating_sub(begun.elapsed());
        tokio::time::sleep(pause.max(Duration::from_millis(10))).await;
    }
}
