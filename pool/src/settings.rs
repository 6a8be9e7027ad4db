//! What a cluster is told: its endpoints, bounds and intervals. Values only, no IO.
//!
//! Everything compares, so that a reload can tell what changed. Whoever builds these has
//! checked them; what is out of range here is brought into range, never refused.

use crate::net::{Address, BackendTls, KeepAlive};
use protocol::Secret;
use std::time::Duration;

/// More endpoints than this in one cluster are ignored, with an error in the log.
pub const ENDPOINTS_MAX: usize = 64;

/// Which database a cluster runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Engine {
    /// PostgreSQL, 12 or newer.
    #[default]
    Postgres,
    /// MySQL, 5.7 or newer with GTIDs, or MariaDB, 10.2 or newer.
    Mysql,
}

/// What the operator says an endpoint is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum RoleSetting {
    /// It may become the primary; it never serves reads as a replica.
    Primary,
    /// It is never the primary.
    Replica,
    /// Whatever our own probe finds.
    #[default]
    Auto,
}

/// One endpoint as configured. Its address is its identity over reloads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointSettings {
    /// Where it is.
    pub address: Address,
    /// What it is.
    pub role: RoleSetting,
    /// Its share of the reads, against the other endpoints'. 0 takes no reads. At most 1000.
    pub weight: u32,
}

/// Where a read goes when no replica qualifies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Fallback {
    /// To the primary.
    #[default]
    Primary,
    /// Nowhere: the statement fails.
    Error,
    /// To the least lagged replica that answers; to the primary if none does.
    Stale,
}

/// How fresh the reads of a session must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Consistency {
    /// Within `max_lag`, whatever the session did. While the primary is away its replicas go on.
    Eventual,
    /// Within `max_lag`, also while the primary is away.
    Bounded,
    /// Within `max_lag`, and the session sees its own writes and never goes back in time.
    #[default]
    Session,
    /// As `Session`, of a session whose past the application names: see `Token`.
    Token,
    /// Always the primary.
    Strong,
}

/// Whom the monitor signs in as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeUser {
    /// A role without any privilege is enough.
    pub user: String,
    /// Its password, if it has one.
    pub password: Option<Secret>,
    /// Any database it may connect to.
    pub database: String,
}

/// One cluster as configured.
#[derive(Debug, Clone, PartialEq)]
pub struct ClusterSettings {
    /// Its name in logs and metrics.
    pub name: String,
    /// Which database it runs.
    pub engine: Engine,
    /// Its endpoints, at most `ENDPOINTS_MAX`.
    pub endpoints: Vec<EndpointSettings>,
    /// A replica that lags more takes no reads. At least 10 ms.
    pub max_lag: Duration,
    /// How long a read may wait, in all, for a replica to catch up with its session.
    pub causal_wait: Duration,
    /// Where a read goes when no replica qualifies.
    pub fallback: Fallback,
    /// Time between two probes of an endpoint. Shortened to a quarter of `max_lag` if that is less.
    pub probe_interval: Duration,
    /// How long a probe may take.
    pub probe_timeout: Duration,
    /// How long a connect with its sign-in may take, the wait for a login slot included.
    pub connect_timeout: Duration,
    /// Sign-ins under way at one time, per endpoint. At least 1.
    pub max_concurrent_logins: u32,
    /// Good probes in a row until a replica that was out takes reads again. At least 1.
    pub return_after: u32,
    /// How long the share of a replica that returned grows to its full weight.
    pub slow_start: Duration,
    /// TLS towards the endpoints.
    pub tls: BackendTls,
    /// How a vanished endpoint is noticed on data connections.
    pub keepalive: KeepAlive,
    /// Whom the monitor signs in as.
    pub probe: ProbeUser,
}

impl ClusterSettings {
    /// A cluster with every bound at its default.
    pub fn new(name: impl Into<String>, endpoints: Vec<EndpointSettings>, probe: ProbeUser) -> Self {
        Self {
            name: name.into(),
            engine: Engine::Postgres,
            endpoints,
            max_lag: Duration::from_secs(5),
            causal_wait: Duration::from_millis(50),
            fallback: Fallback::Primary,
            probe_interval: Duration::from_millis(200),
            probe_timeout: Duration::from_secs(1),
            connect_timeout: Duration::from_secs(5),
            max_concurrent_logins: 4,
            return_after: 3,
            slow_start: Duration::from_secs(10),
            tls: BackendTls::default(),
            keepalive: KeepAlive::default(),
            probe,
        }
    }

    /// The time between two probes that `max_lag` allows to be measured at all.
    pub(crate) fn pace(&self) -> Duration {
        let floor = Duration::from_millis(5);
        self.probe_interval.min(self.max_lag / 4).max(floor)
    }

    /// A replica whose last good probe is older than this is unknown: two probes that hang.
    pub(crate) fn probe_age_max(&self) -> Duration {
        2 * (self.pace() + self.probe_timeout)
    }
}

/// The bounds of one identity's pool on one endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolSettings {
    /// Backends at most. At least 1.
    pub size: u32,
    /// Backends kept open while the identity is in use. At most `size`.
    pub min: u32,
    /// A backend that was lent after this age is closed when it comes back, up to a tenth earlier
    /// so that not all go at once. Zero never closes.
    pub lifetime: Duration,
    /// A backend unused for this long is closed. Zero never closes.
    pub idle_timeout: Duration,
}

impl Default for PoolSettings {
    fn default() -> Self {
        Self { size: 20, min: 0, lifetime: Duration::from_secs(3600), idle_timeout: Duration::from_secs(600) }
    }
}

/// Whom backends are signed in as. All sessions of one identity share its backends.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The database.
    pub database: String,
    /// The user.
    pub user: String,
    /// The password, if there is one.
    pub password: Option<Secret>,
    /// What the clients agreed on that their backends must have agreed on as well.
    pub flavour: u64,
    /// Bounds per endpoint. The latest to ask for the identity decides.
    pub pool: PoolSettings,
}
