//! Waits for what a proxy in front of us says of its client, before anything else is read.
//!
//! What follows the header stays in the client's inbox. A connection without a right header is
//! closed with a line in the log: whoever connects from there speaks for others, and nothing
//! else of what it sends may be taken for a client's.

use super::wire::Client;
use protocol::proxied::read;
use std::future::poll_fn;
use std::time::Instant;

/// Takes the header off what `client` sends, and its address from it. Returns whether it came in time.
pub(crate) async fn introduce(client: &mut Client, until: Instant) -> bool {
    let peer = client.stream.peer();
    loop {
        match read(&client.inbox) {
            Ok(Some(introduction)) => {
                client.consume(introduction.len);
                client.introduced = introduction.client.map(Box::new);
                return true;
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(?peer, "a connection of a proxy is closed: {}", error.0);
                return false;
            }
        }
        match tokio::time::timeout_at(until.into(), poll_fn(|cx| client.poll_receive(cx))).await {
            Ok(Ok(1..)) => {}
            // Balancers look in this way whether anybody listens.
            Ok(_) if client.inbox.is_empty() => return false,
            Ok(_) => {
                tracing::warn!(?peer, "a connection of a proxy ended within its PROXY header");
                return false;
            }
            Err(_) => {
                tracing::warn!(?peer, "a connection of a proxy is closed: no PROXY header came in time");
                return false;
            }
        }
    }
}
