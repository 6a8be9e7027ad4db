//! Cancels what runs on one backend, over a connection of its own.
//!
//! Does not know whether the backend still runs what its client meant: whoever asks holds the
//! lease until this is done, so that nobody else's statement can be hit.

use crate::connector::Door;
use crate::dial::{self, DialFailure};
use crate::roster::Card;
use crate::settings::Identity;
use protocol::Protocol;
use protocol::handshake::CancelBy;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Where and how one backend is reached to cancel what it runs.
pub struct CancelTarget<P: Protocol> {
    pub(crate) door: Arc<Door>,
    pub(crate) identity: Arc<Identity>,
    pub(crate) encrypted: bool,
    pub(crate) key: P::CancelKey,
    pub(crate) card: Arc<Card>,
}

impl<P: Protocol> CancelTarget<P> {
    /// The number of the backend, as on its card.
    pub fn backend(&self) -> u32 {
        self.card.id
    }
}

impl<P: Protocol> Clone for CancelTarget<P> {
    fn clone(&self) -> Self {
        Self {
            door: self.door.clone(),
            identity: self.identity.clone(),
            encrypted: self.encrypted,
            key: self.key.clone(),
            card: self.card.clone(),
        }
    }
}

/// Sends the request and waits until the database has taken it, `timeout` at most. Whether
/// anything was cancelled the database never says.
///
/// # Errors
/// If the endpoint could not be reached, TLS failed, or the time ran out.
pub async fn cancel<P: Protocol>(target: &CancelTarget<P>, timeout: Duration) -> io::Result<()> {
    let attempt = async {
        match P::cancel(&target.key) {
            CancelBy::Request(request) => knock(target, &request).await,
            CancelBy::SignedIn(request) => ask(target, &request).await,
        }
    };
    tokio::time::timeout(timeout, Box::pin(attempt))
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

async fn knock<P: Protocol>(target: &CancelTarget<P>, request: &[u8]) -> io::Result<()> {
    let route = target.door.route.load_full();
    // Keys travel in clear only where statements do.
    let knocked = dial::knock::<P>(&target.door.endpoint.address, &route, target.encrypted).await;
    let mut stream = knocked.map_err(into_io)?;
    stream.write_all(request).await?;
    stream.flush().await?;
    let mut end = [0u8; 64];
    while stream.read(&mut end).await.is_ok_and(|read| read > 0) {}
    Ok(())
}

/// Over a connection of its own, as the user that runs the statement.
async fn ask<P: Protocol>(target: &CancelTarget<P>, request: &[u8]) -> io::Result<()> {
    let route = target.door.route.load_full();
    // The request is a plain one, whatever was agreed on for the client.
    let plain = Identity { flavour: 0, ..(*target.identity).clone() };
    let signed_in = dial::sign_in::<P>(&target.door.endpoint, &route, &plain).await;
    let dial::SignedIn { mut stream, rest: mut reply, .. } = signed_in.map_err(into_io)?;
    stream.write_all(request).await?;
    stream.flush().await?;
    let is_whole = |reply: &[u8]| match P::head(reply) {
        Ok(head) => Ok(head.is_some_and(|head| head.len() <= reply.len())),
        Err(error) => Err(io::Error::other(error)),
    };
    while !is_whole(&reply)? {
        if reply.len() > REPLY_MAX || stream.read_buf(&mut reply).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}

/// Bytes of the answer to a request to cancel.
const REPLY_MAX: usize = 64 * 1024;

fn into_io(failure: DialFailure) -> io::Error {
    match failure {
        DialFailure::Unreachable(error) => io::Error::new(error.kind(), error),
        DialFailure::Refused(error) => io::Error::other(error),
    }
}
