//! What metrics and the console show of a cluster: values, taken at one moment.

use crate::board::{Board, Entry};
use crate::endpoint::{Endpoint, EndpointId};
use crate::health::{Duty, Why};
use crate::lag::Lag;
use crate::net::Address;
use crate::settings::RoleSetting;
use crate::topology::{NoPrimary, Role};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A cluster at one moment.
#[derive(Debug, Clone)]
pub struct View {
    /// The cluster's name.
    pub name: String,
    /// The primary, or why there is none.
    pub primary: Result<EndpointId, NoPrimary>,
    /// How many reigns there were: grows with each change of primary or timeline.
    pub incarnation: u64,
    /// Reads that waited for a replica to catch up: how many were served by one in time, how many went to the
    /// primary, and how long all of them waited.
    pub fence_waits: (u64, u64, Duration),
    /// Its endpoints, in the order of the configuration.
    pub endpoints: Vec<EndpointView>,
    /// The pools of each identity on each endpoint.
    pub pools: Vec<PoolView>,
}

/// An endpoint at one moment.
#[derive(Debug, Clone)]
pub struct EndpointView {
    /// The endpoint itself, with its counters.
    pub endpoint: Arc<Endpoint>,
    /// Whether it answers its probes.
    pub up: bool,
    /// What it is.
    pub role: Role,
    /// What the configuration says it is.
    pub setting: RoleSetting,
    /// What an operator wants of it.
    pub duty: Duty,
    /// Its configured weight.
    pub weight: u32,
    /// Its share of the reads as it stands, in 1/256 of a weight of 1.
    pub share: u32,
    /// How far it is behind in time; `None` is not known.
    pub lag: Option<Duration>,
    /// How far it is behind in bytes of log; `None` is not known.
    pub lag_bytes: Option<u64>,
    /// How many transactions of the primary it lacks, where transactions are counted.
    pub lag_transactions: Option<u64>,
    /// Transactions that it has and the primary lacks.
    pub errant_transactions: u64,
    /// What it says of its own lag, in seconds. Shown, never trusted.
    pub seconds_behind: Option<u64>,
    /// Since when its last good probe is over; `None` if there was none.
    pub probe_age: Option<Duration>,
    /// Why it takes no reads; `None` if it does.
    pub why_not: Option<Why>,
    /// The timeline that a primary writes on.
    pub timeline: Option<u32>,
    /// What the last probe failed with, until one succeeds.
    pub error: Option<String>,
}

/// One identity's pool on one endpoint at one moment.
#[derive(Debug, Clone)]
pub struct PoolView {
    /// The database.
    pub database: String,
    /// The user.
    pub user: String,
    /// The endpoint.
    pub endpoint: EndpointId,
    /// The endpoint's address.
    pub address: Address,
    /// Backends at most.
    pub size: u32,
    /// Backends open.
    pub open: u32,
    /// Those of them that are idle.
    pub idle: u32,
    /// Leases out, those that wait for a sign-in included.
    pub in_use: u32,
    /// Sessions that wait in line.
    pub waiting: u32,
}

impl Entry {
    /// This endpoint at `now`.
    pub(crate) fn view(&self, board: &Board, now: Instant) -> EndpointView {
        EndpointView {
            endpoint: Arc::clone(&self.endpoint),
            up: self.health.is_answering(),
            role: self.role,
            setting: self.setting,
            duty: self.duty,
            weight: self.weight,
            share: self.endpoint.share(),
            lag: match board.lag(self, now) {
                Lag::Known(lag) => Some(lag),
                Lag::Unknown => None,
            },
            lag_bytes: board.lag_bytes(self),
            lag_transactions: board.lag_transactions(self),
            errant_transactions: self.applied.errant(),
            seconds_behind: self.seconds_behind,
            probe_age: self.probed_at.map(|at| now.saturating_duration_since(at)),
            why_not: self.why_not(),
            timeline: self.timeline(),
            error: self.error.clone(),
        }
    }
}
