//! Accepts clients and gives each a task of its own.
//!
//! Refuses politely above `max_clients`, keeps going when descriptors run out, and stops
//! accepting, without dropping whom it has, when told to.

use crate::places::Places;
use crate::session::login::{Gate, serve};
use pool::net::{Address, KeepAlive, ServerTls, Stream, tune};
use protocol::fault::Cause;
use protocol::handshake::{Login, LoginStep, LoginTerms};
use protocol::{Fault, Protocol};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, UnixListener};
use tokio::sync::watch;

/// A socket that clients come to.
pub enum Listener {
    /// On TCP.
    Tcp(TcpListener),
    /// On a Unix socket, whose file is removed in the end.
    Unix(UnixListener, std::path::PathBuf),
}

/// What a listener tells each client's task. Renewed by a reload.
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
}

impl Listener {
    /// Binds. A Unix socket's leftover file is removed if nobody listens on it.
    ///
    /// # Errors
    /// Those of the system, with the address.
    pub async fn bind(address: &Address, backlog: u32) -> io::Result<Self> {
        let named =
            |error: io::Error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"));
        match address {
            Address::Tcp { host, port } => {
                let mut found = tokio::net::lookup_host((host.as_str(), *port)).await.map_err(named)?;
                let at = found.next().ok_or_else(|| named(io::ErrorKind::AddrNotAvailable.into()))?;
                let socket =
                    if at.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.map_err(named)?;
                socket.set_reuseaddr(true).map_err(named)?;
                socket.bind(at).map_err(named)?;
                Ok(Self::Tcp(socket.listen(backlog).map_err(named)?))
            }
            Address::Unix(path) => {
                if std::os::unix::net::UnixStream::connect(path).is_err() {
                    let _ = std::fs::remove_file(path);
                }
                Ok(Self::Unix(UnixListener::bind(path).map_err(named)?, path.clone()))
            }
        }
    }

    async fn accept(&self, keepalive: &KeepAlive) -> io::Result<Stream> {
        match self {
            Self::Tcp(listener) => {
                let (tcp, _) = listener.accept().await?;
                let _ = tune(&tcp, keepalive);
                Ok(Stream::Tcp(tcp))
            }
            Self::Unix(listener, _) => Ok(Stream::Unix(listener.accept().await?.0)),
        }
    }

    /// Accepts until told to stop. `places` bounds the clients of the whole process.
    pub async fn run<P: Protocol>(
        self,
        gate: Arc<Gate<P>>,
        manners: watch::Receiver<Manners>,
        places: Arc<Places>,
        mut stop: watch::Receiver<bool>,
    ) {
        loop {
            let now = manners.borrow().clone();
            let accepted = tokio::select! {
                accepted = self.accept(&now.keepalive) => accepted,
                _ = stop.wait_for(|stop| *stop) => break,
            };
            let stream = match accepted {
                Ok(stream) => stream,
                Err(error) => {
                    // Out of descriptors, most likely: those we have are served on meanwhile.
                    tracing::warn!(%error, "cannot accept a client");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let now = manners.borrow().clone();
            let Some(place) = places.enter() else {
                tokio::spawn(turn_away::<P>(stream, now.terms));
                continue;
            };
            let gate = Arc::clone(&gate);
            tokio::spawn(async move {
                serve(gate, stream, now.tls, now.terms, now.login_timeout).await;
                drop(place);
            });
        }
        if let Self::Unix(_, path) = &self {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Tells a client that there are too many, once it has named itself. Encryption is declined, so
/// that the client can read why it must go.
async fn turn_away<P: Protocol>(mut stream: Stream, terms: Arc<LoginTerms>) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let terms = LoginTerms { tls_offered: false, tls_required: false, ..(*terms).clone() };
    let answer = async {
        let mut login = P::Login::new(Arc::new(terms));
        let (mut input, mut out) = (Vec::new(), Vec::new());
        login.start(&mut out);
        loop {
            stream.write_all(&out).await?;
            out.clear();
            if stream.read_buf(&mut input).await? == 0 || input.len() > GREETING_MAX {
                return Ok(());
            }
            match login.feed(&input, &mut out) {
                Ok((used, LoginStep::More)) => drop(input.drain(..used.min(input.len()))),
                Ok((_, LoginStep::Cancel(_))) => return Ok(()),
                Ok(_) => {
                    let full = Fault::fatal(Cause::TooManyConnections, "sorry, too many clients already");
                    login.refuse(&full, &mut out);
                    break;
                }
                Err(fault) => {
                    login.refuse(&fault, &mut out);
                    break;
                }
            }
        }
        stream.write_all(&out).await?;
        stream.shutdown().await
    };
    let _: Result<io::Result<()>, _> = tokio::time::timeout(Duration::from_secs(2), Box::pin(answer)).await;
}

/// Bytes by which a client may name itself.
const GREETING_MAX: usize = 16 * 1024;
