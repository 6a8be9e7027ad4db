//! What the configuration of one cluster means.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::{Address, Secret};
use crate::config::choice::choice;
use protocol::Held;

/// `[clusters.NAME]`: a primary and its replicas.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterConfig {
    /// As in the file.
    pub name: String,
    /// Which database it runs.
    pub engine: Engine,
    /// What a session's reads may miss, unless its user or database says otherwise.
    pub consistency: Consistency,
    /// A replica further behind takes no new reads.
    pub max_lag: Duration,
    /// How long a read waits for a replica to pass its fence; zero does not wait.
    pub causal_wait: Duration,
    /// Where reads go when no replica qualifies.
    pub fallback: Fallback,
    /// How long a client keeps a backend, unless its user or database says otherwise.
    pub pool_mode: PoolMode,
    /// Backends at most, per endpoint, user and database.
    pub pool_size: u32,
    /// Backends kept open, likewise; at most `pool_size`.
    pub min_pool_size: u32,
    /// An idle backend older than this is closed; `None` is never.
    pub server_lifetime: Option<Duration>,
    /// A backend unused for this long is closed; `None` is never.
    pub server_idle_timeout: Option<Duration>,
    /// From dialling to the end of the login.
    pub connect_timeout: Duration,
    /// Logins that may be under way at a time, per endpoint.
    pub max_concurrent_logins: u32,
    /// How long a request may wait for a backend of this cluster.
    pub query_wait_timeout: Duration,
    /// From a request to the end of its reply; then its statement is cancelled. `None` is no bound.
    pub query_timeout: Option<Duration>,
    /// From a transaction's first request to its end; then its client is cut off.
    pub transaction_timeout: Option<Duration>,
    /// Between two requests of a transaction; then its client is cut off.
    pub idle_transaction_timeout: Option<Duration>,
    /// Between two requests outside of transactions; then its client is cut off.
    pub client_idle_timeout: Option<Duration>,
    /// How often each endpoint is probed.
    pub probe_interval: Duration,
    /// How long one probe may take.
    pub probe_timeout: Duration,
    /// What was learned by a probe older than this counts as unknown.
    pub max_probe_age: Duration,
    /// Good probes in a row before an endpoint that failed takes reads again.
    pub return_after: u32,
    /// How long a returning endpoint takes to get its full share; zero is at once.
    pub slow_start: Duration,
    /// Whom the probes and catalog queries sign in as.
    pub probe: ProbeLogin,
    /// How often the functions of the database are read anew; `None` is only after DDL.
    pub catalog_refresh: Option<Duration>,
    /// Whether sessions that listen share one connection a database.
    pub share_listeners: bool,
    /// What happens where a session would have to keep its backend.
    pub pins: Pins,
    /// Encryption towards its endpoints.
    pub tls: BackendTls,
    /// At least one, no address twice, at most one `Primary`, not all `Replica`; with `discovery`
    /// there may be none, or replicas alone.
    pub endpoints: Vec<EndpointConfig>,
    /// Where further ones are found.
    pub discovery: Option<DiscoveryConfig>,
    /// The operator's rules, first match wins.
    pub rules: Vec<RuleConfig>,
}

/// Whom probes sign in as. Resolved: where the file says nothing, the first user and database.
#[derive(Clone, Debug, PartialEq)]
pub struct ProbeLogin {
    /// A role of the database.
    pub user: String,
    /// `None` where the database asks for none.
    pub password: Option<Secret>,
    /// The database to connect to; empty for none (MySQL).
    pub dbname: String,
}

/// `[clusters.NAME.pins]`: what is not pinned, which is the default. No feature is in both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pins {
    /// Statements that would bind their session are refused.
    pub refused: Held,
    /// The session is not bound; what it made stays on the backend, for whoever comes next.
    pub allowed: Held,
}

impl Pins {
    /// The same, with this feature pinned.
    #[must_use]
    pub fn without(self, feature: Held) -> Self {
        Self { refused: self.refused.without(feature), allowed: self.allowed.without(feature) }
    }
}

choice! {
    /// What happens where a session would have to keep its backend.
    pub enum PinChoice {
        /// It keeps it until the reason is gone.
        Pin = "pin",
        /// The statement is refused.
        Error = "error",
        /// Nothing: the session may miss what it made, and others may meet it.
        Allow = "allow",
    }
}

choice! {
    /// Which database a cluster runs.
    pub enum Engine {
        /// PostgreSQL.
        Postgres = "postgres",
        /// MySQL or MariaDB.
        Mysql = "mysql",
    }
}

choice! {
    /// What a session's reads may miss.
    pub enum Consistency {
        /// Anything: lag is no wall.
        Eventual = "eventual",
        /// What is younger than `max_lag`.
        Bounded = "bounded",
        /// What others wrote within `max_lag`, never its own writes, and never back in time.
        Session = "session",
        /// The same, but of a session whose past the application names: it carries a token from one to another.
        Token = "token",
        /// Nothing: reads go to the primary.
        Strong = "strong",
    }
}

choice! {
    /// Where reads go when no replica qualifies.
    pub enum Fallback {
        /// To the primary.
        Primary = "primary",
        /// Nowhere: the client gets an error.
        Error = "error",
        /// To the least stale replica.
        Stale = "stale",
    }
}

choice! {
    /// How long a client keeps a backend.
    pub enum PoolMode {
        /// For a transaction.
        Transaction = "transaction",
        /// Until it leaves.
        Session = "session",
        /// For a statement; transactions are refused.
        Statement = "statement",
    }
}

/// `[clusters.NAME.tls]`
#[derive(Clone, Debug, PartialEq)]
pub struct BackendTls {
    /// Whether, and how far, an endpoint must prove who it is.
    pub mode: BackendTlsMode,
    /// Authorities to trust, PEM; `None` is the machine's own. Only with a verifying mode.
    pub ca: Option<PathBuf>,
    /// Our certificate chain and its key, PEM.
    pub identity: Option<TlsIdentity>,
}

/// A certificate with its key.
#[derive(Clone, Debug, PartialEq)]
pub struct TlsIdentity {
    /// Certificate chain, PEM.
    pub cert: PathBuf,
    /// Private key, PEM.
    pub key: PathBuf,
}

choice! {
    /// Encryption towards endpoints, with the words of libpq's `sslmode`.
    pub enum BackendTlsMode {
        /// Never.
        Off = "off",
        /// If the endpoint can.
        Prefer = "prefer",
        /// Always, with whomever.
        Require = "require",
        /// The certificate must be signed by a trusted authority.
        VerifyCa = "verify-ca",
        /// And carry the endpoint's host name.
        VerifyFull = "verify-full",
    }
}

/// `[[clusters.NAME.endpoints]]`
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointConfig {
    /// Where it listens; a TCP port is not 0.
    pub address: Address,
    /// What the operator says it is.
    pub role: Role,
    /// Share of the reads, 0 to 100; 0 takes none.
    pub weight: u32,
}

/// `[clusters.NAME.discovery]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiscoveryConfig {
    /// Who knows them.
    pub source: Source,
    /// Whom DNS is asked of; `None` is as the machine is set up.
    pub nameserver: Option<SocketAddr>,
    /// Between two looks at most.
    pub interval: Duration,
}

/// Who knows endpoints that the file does not name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Each address of this name.
    Dns {
        /// The name.
        host: String,
        /// Where the databases listen.
        port: u16,
    },
    /// Each target of the SRV records of this name.
    Srv(String),
    /// The members of a Patroni cluster, from whichever of its REST APIs answers.
    Patroni(Vec<super::WebAddress>),
}

choice! {
    /// What the operator says an endpoint is.
    pub enum Role {
        /// Always the primary.
        Primary = "primary",
        /// Never the primary.
        Replica = "replica",
        /// What the probe finds.
        Auto = "auto",
    }
}

/// `[[clusters.NAME.rules]]`
#[derive(Clone, Debug, PartialEq)]
pub struct RuleConfig {
    /// A regular expression that the router takes.
    pub pattern: String,
    /// Where a statement that matches goes.
    pub route: RuleRoute,
}

choice! {
    /// Where a rule sends a statement.
    pub enum RuleRoute {
        /// To the primary.
        Primary = "primary",
        /// To a replica.
        Replica = "replica",
    }
}
