//! What the configuration means: one immutable, checked value.
//!
//! Invariants, kept by `check.rs`, which alone builds it: every cluster has an endpoint
//! that may be a primary; every database has its cluster; every user has a credential
//! unless all clients are trusted; every number lies within its bounds. It does not know
//! the file's syntax, and no `Debug` of anything in here shows a secret.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
pub use protocol::Secret;

mod cluster;

use super::choice::choice;
pub use super::fingerprint::Fingerprint;
pub use cluster::*;
pub use pool::net::Address;

/// One configuration in force. A session holds one for a transaction or longer.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// 1 for the first, one more for each reload that changed something; 0 until `Live` has it.
    pub generation: u64,
    /// Equal for equal settings, on every machine. Covers no secret, so it may be published.
    pub hash: u64,
    /// Where clients are awaited, and how they prove who they are.
    pub listen: Listen,
    /// What concerns the whole process.
    pub general: General,
    /// By name.
    pub clusters: BTreeMap<String, Arc<ClusterConfig>>,
    /// By the name that a PostgreSQL client asks for.
    pub databases: BTreeMap<String, DatabaseConfig>,
    /// `[databases."*"]`: serves every name that `databases` lacks.
    pub wildcard: Option<DatabaseConfig>,
    /// By the name that a client gives.
    pub users: BTreeMap<String, Arc<UserConfig>>,
    /// Every key with the value in force, as text; secrets as `***`, what is unset as `none`.
    pub settings: BTreeMap<String, String>,
    /// Where each of them comes from.
    pub sources: Provenances,
    /// The files whose contents are part of this configuration, itself not included; so a new
    /// certificate under an old name is a change.
    pub files: BTreeMap<PathBuf, Fingerprint>,
}

/// What stands for a secret wherever settings are shown.
pub const MASK: &str = "***";

/// Where the values come from, by key. Makes no difference: two configurations with the same values
/// are the same.
#[derive(Clone, Debug, Default)]
pub struct Provenances(pub BTreeMap<String, Provenance>);

impl PartialEq for Provenances {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// Where the value of a key comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provenance {
    /// Who gave it.
    pub origin: Origin,
    /// What it would be if nobody had; `none` if nothing.
    pub usual: String,
    /// Whether it is a secret, or names the file of one: neither is given where others look on.
    pub is_hidden: bool,
}

/// Who gave a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody.
    Default,
    /// The file.
    File,
    /// An operator, until the process ends.
    Console,
}

impl Origin {
    /// One word for the console.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::File => "file",
            Self::Console => "console",
        }
    }
}

impl Snapshot {
    /// The database that serves a client which asks for `name`.
    pub fn database(&self, name: &str) -> Option<&DatabaseConfig> {
        self.databases.get(name).or(self.wildcard.as_ref())
    }

    /// The cluster that serves a MySQL client signed in as `user`: its own, or the only one.
    pub fn mysql_cluster(&self, user: &UserConfig) -> Option<&Arc<ClusterConfig>> {
        if let Some(name) = &user.mysql_cluster {
            return self.clusters.get(name);
        }
        let mut all = self.clusters.values().filter(|cluster| cluster.engine == Engine::Mysql);
        all.next().filter(|_| all.next().is_none())
    }
}

/// `[listen]`
#[derive(Clone, Debug, PartialEq)]
pub struct Listen {
    /// Where PostgreSQL clients are awaited. Fixed until a restart, like the five below.
    pub postgres: Option<Address>,
    /// The path of a Unix socket for PostgreSQL clients.
    pub unix: Option<PathBuf>,
    /// Where MySQL clients are awaited.
    pub mysql: Option<Address>,
    /// Where metrics, health and the dashboard are served.
    pub http: Option<Address>,
    /// Whoever has it may change something over HTTP from another machine.
    pub http_token: Option<Secret>,
    /// Connections that the kernel may hold before they are accepted; 1 to 65535.
    pub backlog: u32,
    /// Whether other processes of the same user may listen on the same TCP addresses.
    pub reuse_port: bool,
    /// Where proxies connect from that tell, by the PROXY protocol, whom they connect.
    pub proxies: Vec<IpNet>,
    /// How clients prove who they are.
    pub auth: AuthMethod,
    /// The private key that opens what MySQL clients without TLS seal; `None` is one of our own.
    pub mysql_rsa_key: Option<PathBuf>,
    /// Encryption towards clients; `None` where its mode is `off`.
    pub tls: Option<ClientTls>,
}

choice! {
    /// How clients prove who they are.
    pub enum AuthMethod {
        /// SCRAM-SHA-256, RFC 7677.
        ScramSha256 = "scram-sha-256",
        /// MD5 with a salt. Broken; for old drivers only.
        Md5 = "md5",
        /// Not at all.
        Trust = "trust",
    }
}

/// `[listen.tls]`
#[derive(Clone, Debug, PartialEq)]
pub struct ClientTls {
    /// Whether a client must encrypt.
    pub mode: TlsMode,
    /// Certificate chain, PEM. Existed when the configuration was read; may not be valid.
    pub cert: PathBuf,
    /// Private key, PEM.
    pub key: PathBuf,
    /// If set, a client must present a certificate signed by one of these.
    pub client_ca: Option<PathBuf>,
}

choice! {
    /// Whether clients encrypt.
    pub enum TlsMode {
        /// Encryption is refused.
        Off = "off",
        /// The client chooses.
        Prefer = "prefer",
        /// Who does not encrypt is turned away.
        Require = "require",
    }
}

/// `[general]`
#[derive(Clone, Debug, PartialEq)]
pub struct General {
    /// Threads of the runtime, 1 to 1024; `None` is one for two cores. Fixed until a restart.
    pub worker_threads: Option<usize>,
    /// From accept to the end of authentication.
    pub client_login_timeout: Duration,
    /// Clients at a time, of both databases together.
    pub max_clients: usize,
    /// How long a request may wait for a backend.
    pub query_wait_timeout: Duration,
    /// From SIGTERM until clients that are still in a transaction are cut off.
    pub shutdown_timeout: Duration,
    /// From SIGTERM until the listeners close; readiness fails at once.
    pub shutdown_delay: Duration,
    /// Bytes of one request that are held to judge it; a longer one is streamed to the primary.
    pub request_buffer_max: usize,
    /// Log lines.
    pub log: Log,
    /// Where traces go.
    pub traces: Traces,
    /// Which statements are kept apart.
    pub digests: Digests,
    /// Which statements are logged, and where.
    pub statement_log: StatementLog,
    /// Idle time before TCP asks whether the other side lives; `None` is off.
    pub tcp_keepalive: Option<Duration>,
    /// How long sent bytes may stay unacknowledged; `None` leaves it to the kernel.
    pub tcp_user_timeout: Option<Duration>,
    /// Where other processes of the same deployment reach this one. Fixed until a restart.
    pub peer_address: Option<Address>,
    /// Other processes of the same deployment, by address or by a name that stands for several.
    pub peers: Vec<Address>,
    /// Whether a change of the file is a reload. Fixed until a restart.
    pub watch_config: bool,
}

/// Whom we ask by HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebAddress {
    /// A name or an address.
    pub host: String,
    /// Never 0.
    pub port: u16,
    /// What its certificate is checked by; `None` asks in clear.
    pub https: Option<Https>,
}

/// `host:port`, as a URL and a Host header have it.
impl fmt::Display for WebAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, .. } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

/// What HTTPS to somebody needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Https {
    /// Who must have signed the certificate (PEM); without it somebody whom the system trusts.
    pub ca: Option<PathBuf>,
    /// Our own certificate and its key, for those who ask.
    pub pair: Option<(PathBuf, PathBuf)>,
}

/// `[general.traces]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traces {
    /// A collector that takes OTLP by HTTP; `None` traces nothing.
    pub endpoint: Option<WebAddress>,
    /// What this process is called there.
    pub service_name: String,
}

/// `[general.digests]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digests {
    /// Statements that are told apart; 0 keeps none.
    pub max: usize,
    /// Bytes of each.
    pub text_max: usize,
}

/// `[general.statement_log]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatementLog {
    /// Statements that take at least this long are logged; `None` logs none for that.
    pub slow: Option<Duration>,
    /// Of so many others one is logged; 0 logs none.
    pub sample_every: u32,
    /// Where to.
    pub to: StatementTarget,
    /// How a line is written.
    pub format: StatementFormat,
    /// Whether statements are logged as they were sent, with their values.
    pub literals: bool,
    /// Bytes of a statement as it was sent.
    pub text_max: usize,
}

impl StatementLog {
    /// Whether anything is logged.
    pub fn is_on(&self) -> bool {
        self.slow.is_some() || self.sample_every > 0
    }
}

/// Where the statement log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StatementTarget {
    /// Where all else is logged.
    Log,
    /// Standard output.
    Stdout,
    /// The end of a file.
    File(PathBuf),
}

choice! {
    /// How a line of the statement log is written.
    pub enum StatementFormat {
        /// One JSON object a line.
        Json = "json",
        /// Fields that tabs part, each with its name.
        Ltsv = "ltsv",
    }
}

/// `[general.log]`
#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    /// Text for people or JSON for machines.
    pub format: LogFormat,
    /// The least important line that is written.
    pub level: LogLevel,
}

choice! {
    /// How a log line is written.
    pub enum LogFormat {
        /// For people.
        Text = "text",
        /// One JSON object a line.
        Json = "json",
    }
}

choice! {
    /// How important a log line is.
    pub enum LogLevel {
        /// Something failed.
        Error = "error",
        /// Something may fail.
        Warn = "warn",
        /// What an operator wants to know.
        Info = "info",
        /// What a developer wants to know.
        Debug = "debug",
        /// Everything.
        Trace = "trace",
    }
}

/// `[databases.NAME]`: what a PostgreSQL client may ask for.
#[derive(Clone, Debug, PartialEq)]
pub struct DatabaseConfig {
    /// As in the file; `*` for the wildcard.
    pub name: String,
    /// Who serves it; a PostgreSQL cluster.
    pub cluster: Arc<ClusterConfig>,
    /// Its name in the cluster; `None` (only for `*`) is the name that the client asked for.
    pub dbname: Option<String>,
    /// What differs from the cluster.
    pub overrides: Overrides,
}

impl DatabaseConfig {
    /// Its name in the cluster, for a client that asked for `asked`.
    pub fn dbname_for<'a>(&'a self, asked: &'a str) -> &'a str {
        self.dbname.as_deref().unwrap_or(asked)
    }
}

/// What a database or a user has otherwise than its cluster; the user's word goes first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overrides {
    /// In place of the cluster's.
    pub consistency: Option<Consistency>,
    /// In place of the cluster's.
    pub pool_mode: Option<PoolMode>,
    /// In place of the cluster's.
    pub pool_size: Option<u32>,
}

/// `[users.NAME]`: who may sign in.
#[derive(Clone, Debug, PartialEq)]
pub struct UserConfig {
    /// As the client gives it.
    pub name: String,
    /// What the client must prove.
    pub credential: Credential,
    /// Whom we sign in as for it.
    pub backend_user: String,
    /// With what; `None` where the database asks for nothing.
    pub backend_password: Option<Secret>,
    /// Whether it may use the console's commands that change something.
    pub admin: bool,
    /// Whether it may use those that only show something.
    pub stats: bool,
    /// Whether whatever it connects to is the console.
    pub console: bool,
    /// Clients at a time; `None` is bounded by `max_clients` alone.
    pub max_connections: Option<u32>,
    /// The cluster that serves its MySQL clients; exists, and runs MySQL.
    pub mysql_cluster: Option<String>,
    /// What differs from the database and the cluster.
    pub overrides: Overrides,
}

/// What a client must prove.
#[derive(Clone, PartialEq)]
pub enum Credential {
    /// That it knows this password.
    Password(Secret),
    /// The same, where we know only `SCRAM-SHA-256$...`.
    Verifier(Secret),
    /// The same, where we know only `md5` and 32 hexadecimal digits.
    Md5(Secret),
    /// The same, where we know only `*` and 40 hexadecimal digits, as MySQL and MariaDB keep it.
    Native(Secret),
    /// Nothing. Only where `listen.auth` is `trust`.
    Trust,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Password(_) => "Password(***)",
            Self::Verifier(_) => "Verifier(***)",
            Self::Md5(_) => "Md5(***)",
            Self::Native(_) => "Native(***)",
            Self::Trust => "Trust",
        })
    }
}
