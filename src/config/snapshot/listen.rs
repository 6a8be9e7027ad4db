//! `[listen]`: where clients are awaited, and how they prove who they are.

use super::{Address, Secret};
use crate::config::choice::choice;
use ipnet::IpNet;
use std::path::PathBuf;

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
