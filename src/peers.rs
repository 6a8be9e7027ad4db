//! Other Splitpool processes of the same deployment, to which cancels are passed on.
//!
//! Behind one address that balances connections, a cancel usually arrives at another process than the one that
//! serves its client. The key that a client is given names its process by a number made of that process's own
//! address; whoever gets a cancel with another's number looks among its configured peers for the address that
//! makes it. Names are looked up each time, so a name may stand for a changing set of addresses.
//!
//! A process never passes on what names itself, so nothing goes round in circles.

use crate::config::{Address, Snapshot};
use protocol::Protocol;
use protocol::handshake::CancelBy;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

/// How long one peer may take.
const PASS_MAX: Duration = Duration::from_secs(5);
/// Cancels that are passed on at a time; anybody may send one, so there must be a bound.
const AT_A_TIME: usize = 64;

/// This process among its peers.
#[derive(Debug)]
pub struct Peers {
    /// What keys call it; 0 if nothing tells where its peers reach it.
    pub own: u16,
    places: Semaphore,
}

/// The number of the process that clients of its deployment reach at this address: 1 to 32767.
pub fn number(at: SocketAddr) -> u16 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let ip = match at.ip() {
        std::net::IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        std::net::IpAddr::V6(ip) => ip,
    };
    for byte in ip.octets().into_iter().chain(at.port().to_be_bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    ((hash ^ (hash >> 32)) % 32_767) as u16 + 1
}

/// The addresses that a name stands for now; none if it cannot be looked up.
async fn addresses(address: &Address) -> Vec<SocketAddr> {
    let Address::Tcp { host, port } = address else { return Vec::new() };
    let found = tokio::net::lookup_host((host.as_str(), *port)).await;
    found.map(|found| found.take(256).collect()).unwrap_or_default()
}

impl Peers {
    /// Finds out what this process is called.
    pub async fn new(snapshot: &Snapshot) -> Self {
        let own = match &snapshot.general.peer_address {
            Some(address) => addresses(address).await.first().map_or(0, |at| number(*at)),
            None => 0,
        };
        Self { own, places: Semaphore::new(AT_A_TIME) }
    }

    /// Passes a cancel on to the process that its key names, if that is a peer.
    pub async fn pass_on<P: Protocol>(&self, snapshot: &Snapshot, key: &P::CancelKey) {
        let owner = P::cancel_owner(key);
        if self.own == 0 || owner == self.own || snapshot.general.peers.is_empty() {
            return;
        }
        let CancelBy::Request(request) = P::cancel(key) else { return };
        let Ok(_place) = self.places.try_acquire() else { return };
        let pass = async {
            for peer in &snapshot.general.peers {
                for at in addresses(peer).await {
                    if number(at) == owner {
                        let _ = send(at, &request).await;
                    }
                }
            }
        };
        let _ = tokio::time::timeout(PASS_MAX, pass).await;
    }
}

/// Returns when the peer has dealt with it.
async fn send(at: SocketAddr, request: &[u8]) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(at).await?;
    stream.write_all(request).await?;
    let mut end = [0; 64];
    while stream.read(&mut end).await? > 0 {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_differ_and_are_the_same_everywhere() {
        let of = |text: &str| number(text.parse().expect("an address"));
        assert_eq!(of("10.0.0.1:6432"), of("[::ffff:10.0.0.1]:6432"));
        let all: std::collections::BTreeSet<u16> =
            (1..=200).map(|n| of(&format!("10.0.0.{n}:6432"))).collect();
        assert!(all.len() >= 198 && all.iter().all(|number| (1..=32_767).contains(number)));
    }
}
