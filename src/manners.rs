//! What a listener tells each client's task. Renewed by a reload.

use ipnet::IpNet;
use pool::net::{KeepAlive, ServerTls, Stream};
use protocol::handshake::LoginTerms;
use std::sync::Arc;
use std::time::Duration;

/// See the file's head.
#[derive(Clone)]
pub struct Manners {
    /// TLS, if it is offered.
    pub tls: Option<Arc<ServerTls>>,
    /// What a client must meet.
    pub terms: Arc<LoginTerms>,
    /// From accept to the proof.
    pub login_timeout: Duration,
    /// How a vanished client is noticed.
    pub keepalive: KeepAlive,
    /// Where proxies connect from that introduce their clients.
    pub proxies: Arc<[IpNet]>,
}

impl Manners {
    /// Whether a proxy is at the other end, which says first whom it connects.
    pub fn expects_introduction(&self, stream: &Stream) -> bool {
        // A socket that listens on IPv6 shows IPv4 addresses in its own way.
        !self.proxies.is_empty()
            && stream
                .peer()
                .is_some_and(|peer| self.proxies.iter().any(|net| net.contains(&peer.ip().to_canonical())))
    }
}
