//! Backends: dial them, keep them, lend them, watch them. No SQL meaning.
//!
//! A `Cluster` watches its endpoints; an `Access` is one identity's way to them; a `Lease` is a
//! backend on loan. Files that decide (`lag`, `health`, `topology`, `balance`, `freshness`,
//! `choose`) take the time as an argument and never wait; the others ask them and obey.
//!
//! A session's path: `Cluster::access` once, then for each request `Access::lease`, and at its
//! end `Lease::release` and `Freshness::used_primary` or `used_replica`.

mod access;
mod backend;
mod backoff;
mod balance;
mod board;
mod cancel;
mod choose;
mod cluster;
mod connector;
mod dial;
mod endpoint;
mod error;
mod freshness;
mod gate;
mod gtid;
mod health;
mod lag;
mod lane;
mod latency;
mod lease;
mod ledger;
mod monitor;
mod need;
pub mod net;
mod outlook;
mod patience;
mod probe;
mod reign;
mod roster;
mod settings;
mod shelf;
#[cfg(test)]
mod tests;
mod timer;
mod token;
mod topology;
mod view;

pub use access::{Access, Declined};
pub use backend::Backend;
pub use backoff::Backoff;
pub use cancel::{CancelTarget, cancel};
pub use cluster::Cluster;
pub use endpoint::{Counters, Endpoint, EndpointId};
pub use error::LeaseError;
pub use freshness::Freshness;
pub use health::{Duty, Why};
pub use latency::{Histogram, Latencies};
pub use lease::Lease;
pub use need::{Landed, Leased, Need, Want};
pub use probe::postgres::Link;
pub use roster::Card;
pub use settings::{
    ClusterSettings, Consistency, ENDPOINTS_MAX, EndpointSettings, Engine, Fallback, Identity, PoolSettings,
    ProbeUser, RoleSetting,
};
pub use timer::Timer;
pub use token::Token;
pub use topology::{NoPrimary, Role};
pub use view::{EndpointView, PoolView, View};
