//! Signs in to a backend: connects, shakes hands, and drives the protocol's dial to its end.
//!
//! Knows no message: the protocol says what to send and when TLS begins. A peer that sent
//! anything in clear behind the request for TLS is refused. Passwords are stretched off the
//! runtime's workers, as often as the database says: sessions must not wait for that.

use crate::endpoint::Endpoint;
use crate::net::{self, Address, BackendTls, KeepAlive, Stream, TlsMode};
use crate::settings::Identity;
use protocol::Protocol;
use protocol::handshake::{Blame, Dial, DialError, DialStep, DialTerms, DialTls};
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A sign-in may send this many bytes that are not a whole message.
const INPUT_MAX: usize = 64 * 1024;

/// How endpoints of a cluster are reached.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Route {
    pub tls: BackendTls,
    pub keepalive: KeepAlive,
    pub timeout: Duration,
}

/// Why a backend could not be had.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum DialFailure {
    #[error("{0}")]
    Unreachable(Arc<io::Error>),
    #[error("{0}")]
    Refused(DialError),
}

impl From<io::Error> for DialFailure {
    fn from(error: io::Error) -> Self {
        Self::Unreachable(Arc::new(error))
    }
}

impl DialFailure {
    /// Whether the endpoint as such is to blame, so that another may serve: it cannot be reached,
    /// is starting, stopping, or full.
    pub fn is_endpoints(&self) -> bool {
        match self {
            Self::Unreachable(_) => true,
            Self::Refused(DialError::Refused { blame, .. }) => *blame != Blame::Identity,
            Self::Refused(_) => false,
        }
    }

    /// Whether the endpoint is down beyond doubt; a sign-in that took too long leaves doubt.
    pub fn is_down(&self) -> bool {
        match self {
            Self::Unreachable(error) => matches!(
                error.kind(),
                ErrorKind::ConnectionRefused
                    | ErrorKind::NotFound
                    | ErrorKind::HostUnreachable
                    | ErrorKind::NetworkUnreachable
            ),
            Self::Refused(DialError::Refused { blame, .. }) => *blame == Blame::Down,
            Self::Refused(_) => false,
        }
    }
}

/// What a sign-in leaves: the stream, its memory, and bytes that came behind.
pub(crate) struct SignedIn<M> {
    pub stream: Stream,
    pub memory: M,
    pub rest: Vec<u8>,
}

/// Signs in within the route's timeout.
pub(crate) async fn sign_in<P: Protocol>(
    endpoint: &Endpoint,
    route: &Route,
    identity: &Identity,
) -> Result<SignedIn<P::Memory>, DialFailure> {
    let late = || io::Error::new(ErrorKind::TimedOut, "the sign-in took too long");
    let attempt = async {
        let stream = net::connect(&endpoint.address, route.timeout, &route.keepalive).await?;
        let tls = dial_tls(&endpoint.address, &route.tls);
        let dial = P::Dial::new(DialTerms {
            user: identity.user.clone(),
            password: identity.password.clone(),
            database: identity.database.clone(),
            tls,
            flavour: identity.flavour,
        });
        match drive::<P>(stream, dial, &endpoint.address, &route.tls).await? {
            Reached::SignedIn(signed_in) => Ok(signed_in),
            Reached::Tls(..) => Err(DialFailure::Refused(DialError::Nonsense("TLS was asked for twice"))),
        }
    };
    tokio::time::timeout(route.timeout, attempt).await.map_err(|_| DialFailure::from(late()))?
}

/// Connects and, if `encrypted`, brings TLS up, but does not sign in: for a request to cancel.
pub(crate) async fn knock<P: Protocol>(
    address: &Address,
    route: &Route,
    encrypted: bool,
) -> Result<Stream, DialFailure> {
    let stream = net::connect(address, route.timeout, &route.keepalive).await?;
    if !encrypted {
        return Ok(stream);
    }
    let nobody = DialTerms {
        user: String::new(),
        password: None,
        database: String::new(),
        tls: DialTls::Require,
        flavour: 0,
    };
    match drive_until_tls::<P>(stream, P::Dial::new(nobody), address, &route.tls).await? {
        Reached::Tls(stream, _) => Ok(stream),
        Reached::SignedIn(_) => Err(DialFailure::Refused(DialError::Insufficient("TLS was refused"))),
    }
}

/// What TLS the protocol asks for: none over a Unix socket, as libpq has it.
pub(crate) fn dial_tls(address: &Address, tls: &BackendTls) -> DialTls {
    match (address, tls.mode) {
        (Address::Unix(_), _) | (_, TlsMode::Off) => DialTls::Off,
        (_, TlsMode::Prefer) => DialTls::Prefer,
        (_, TlsMode::Require | TlsMode::VerifyCa | TlsMode::VerifyFull) => DialTls::Require,
    }
}

enum Reached<P: Protocol> {
    SignedIn(SignedIn<P::Memory>),
    Tls(Stream, P::Dial),
}

async fn drive<P: Protocol>(
    stream: Stream,
    dial: P::Dial,
    address: &Address,
    tls: &BackendTls,
) -> Result<Reached<P>, DialFailure> {
    match drive_until_tls::<P>(stream, dial, address, tls).await? {
        Reached::Tls(stream, mut dial) => {
            let mut out = Vec::new();
            dial.tls_started(stream.server_certificate(), &mut out);
            converse(stream, dial, out, address, tls).await
        }
        done => Ok(done),
    }
}

async fn drive_until_tls<P: Protocol>(
    stream: Stream,
    mut dial: P::Dial,
    address: &Address,
    tls: &BackendTls,
) -> Result<Reached<P>, DialFailure> {
    let mut out = Vec::new();
    dial.start(&mut out);
    converse(stream, dial, out, address, tls).await
}

/// Sends and reads until the dial is done, or TLS is up.
async fn converse<P: Protocol>(
    mut stream: Stream,
    mut dial: P::Dial,
    mut out: Vec<u8>,
    address: &Address,
    tls: &BackendTls,
) -> Result<Reached<P>, DialFailure> {
    let mut input = Vec::new();
    loop {
        if !out.is_empty() {
            stream.write_all(&out).await?;
            stream.flush().await?;
            out.clear();
        }
        if stream.read_buf(&mut input).await? == 0 {
            return Err(io::Error::new(ErrorKind::UnexpectedEof, "closed during sign-in").into());
        }
        let (used, step);
        (dial, input, out, used, step) = feed::<P>(dial, input, out).await?;
        input.drain(..used.min(input.len()));
        match step {
            DialStep::More if input.len() > INPUT_MAX => {
                return Err(DialFailure::Refused(DialError::Nonsense("a sign-in message is too long")));
            }
            DialStep::More => {}
            DialStep::UpgradeTls if !input.is_empty() => {
                return Err(DialFailure::Refused(DialError::Nonsense("bytes in clear ahead of TLS")));
            }
            DialStep::UpgradeTls => {
                stream.write_all(&out).await?;
                stream.flush().await?;
                let stream = tls.upgrade(stream, address.host().unwrap_or_default()).await?;
                return Ok(Reached::Tls(stream, dial));
            }
            DialStep::Done(memory) => {
                if !out.is_empty() {
                    stream.write_all(&out).await?;
                    stream.flush().await?;
                }
                return Ok(Reached::SignedIn(SignedIn { stream, memory, rest: input }));
            }
        }
    }
}

type Fed<P> = (<P as Protocol>::Dial, Vec<u8>, Vec<u8>, usize, DialStep<<P as Protocol>::Memory>);

/// Has the dial judge `input` on a thread that may be busy for a while. Gives back what it was
/// given, how much was consumed, and the next step.
async fn feed<P: Protocol>(
    mut dial: P::Dial,
    input: Vec<u8>,
    mut out: Vec<u8>,
) -> Result<Fed<P>, DialFailure> {
    let judged = tokio::task::spawn_blocking(move || {
        let (used, step) = dial.feed(&input, &mut out)?;
        Ok((dial, input, out, used, step))
    });
    // Fails only while the runtime shuts down.
    let judged = judged.await.map_err(|_| io::Error::other("the sign-in was given up"))?;
    judged.map_err(DialFailure::Refused)
}

#[cfg(test)]
mod tests;
