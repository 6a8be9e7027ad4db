//! `[general]`: what concerns the whole process.

use super::Address;
use crate::config::choice::choice;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

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
