//! Cancels what runs on one backend, over a connection of its own.
//!
//! Does not know whether the backend still runs what its client meant: whoever asks holds the
//! lease until this is done, so that nobody else's statement can be hit.

use crate::connector::Door;
use crate::dial::{self, DialFailure};
use protocol::Protocol;
use protocol::handshake::CancelBy;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Where and how one backend is reached to cancel what it runs.
pub struct CancelTarget<P: Protocol> {
    pub(crate) door: Arc<Door>,
    pub(crate) encrypted: bool,
    pub(crate) key: P::CancelKey,
}

impl<P: Protocol> Clone for CancelTarget<P> {
    fn clone(&self) -> Self {
        Self { door: self.door.clone(), encrypted: self.encrypted, key: self.key.clone() }
    }
}

/// Sends the request and waits until the database has taken it, `timeout` at most. Whether
/// anything was cancelled the database never says.
///
/// # Errors
/// If the endpoint could not be reached, TLS failed, or the time ran out.
pub async fn cancel<P: Protocol>(target: &CancelTarget<P>, timeout: Duration) -> io::Result<()> {
    let CancelBy::Request(request) = P::cancel(&target.key) else {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "this database cancels by statement"));
    };
    let route = target.door.route.load_full();
    let attempt = async {
        // Keys travel in clear only where statements do.
        let knocked = dial::knock::<P>(&target.door.endpoint.address, &route, target.encrypted).await;
        let mut stream = knocked.map_err(into_io)?;
        stream.write_all(&request).await?;
        stream.flush().await?;
        let mut end = [0u8; 64];
        while stream.read(&mut end).await.is_ok_and(|read| read > 0) {}
        Ok(())
    };
    tokio::time::timeout(timeout, attempt).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

fn into_io(failure: DialFailure) -> io::Error {
    match failure {
        DialFailure::Unreachable(error) => io::Error::new(error.kind(), error),
        DialFailure::Refused(error) => io::Error::other(error),
    }
}
