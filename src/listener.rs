//! Accepts clients and gives each a task of its own.
//!
//! Refuses politely above `max_clients`, keeps going when descriptors run out, and stops
//! accepting, without dropping whom it has, when told to.

use crate::manners::Manners;
use crate::places::Places;
use crate::session::introduction::introduce;
use crate::session::login::{Gate, serve};
use crate::session::wire::Client;
use crate::sockets::{Socket, send_elsewhere};
use pool::net::{KeepAlive, Stream, tune};
use protocol::fault::Cause;
use protocol::handshake::{Login, LoginStep, LoginTerms};
use protocol::{Fault, Protocol};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// A socket, and who comes to it.
pub struct Listener {
    /// The socket.
    pub socket: Socket,
    /// Whether other processes may share its address.
    pub shared: bool,
}

/// How long a listener that is told to stop still takes what the kernel has queued for it,
/// where its address is shared: longer than a handshake that is under way.
const LAST_CALL: Duration = Duration::from_millis(200);

impl Listener {
    async fn accept(&self, keepalive: &KeepAlive) -> io::Result<Stream> {
        match &self.socket {
            Socket::Tcp(listener) => {
                let (tcp, _) = listener.accept().await?;
                let _ = tune(&tcp, keepalive);
                Ok(Stream::Tcp(tcp))
            }
            Socket::Unix(listener, _) => Ok(Stream::Unix(listener.accept().await?.0)),
        }
    }

    /// Accepts until told to stop, and then, where the address is shared, whom the kernel has
    /// queued for this process. `places` bounds the clients of the whole process.
    pub async fn run<P: Protocol>(
        self,
        gate: Arc<Gate<P>>,
        manners: watch::Receiver<Manners>,
        places: Arc<Places>,
        mut stop: watch::Receiver<bool>,
    ) {
        let over = async {
            let _ = stop.wait_for(|stop| *stop).await;
            if let (true, Socket::Tcp(listener)) = (self.shared, &self.socket) {
                if let Err(error) = send_elsewhere(listener) {
                    tracing::warn!(%error, "new connections cannot be sent to the other process");
                }
                tokio::time::sleep(LAST_CALL).await;
            }
        };
        tokio::pin!(over);
        // Kept free for operators, who must come in also when all places are taken.
        let spares = Arc::new(Places::new(SPARES));
        loop {
            let now = manners.borrow().clone();
            let accepted = tokio::select! {
                biased;
                accepted = self.accept(&now.keepalive) => accepted,
                () = &mut over => break,
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
            let place = places.enter();
            let spare = place.is_none();
            let Some(place) = place.or_else(|| spares.enter()) else {
                tokio::spawn(turn_away::<P>(stream, now));
                continue;
            };
            let gate = Arc::clone(&gate);
            tokio::spawn(async move {
                serve(gate, stream, now, spare).await;
                drop(place);
            });
        }
        if let Socket::Unix(_, Some(path)) = &self.socket {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Tells a client that there are too many, once it has named itself. Encryption is declined, so
/// that the client can read why it must go.
async fn turn_away<P: Protocol>(stream: Stream, manners: Manners) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let terms = LoginTerms { tls_offered: false, tls_required: false, ..(*manners.terms).clone() };
    let answer = async {
        let introduced = manners.expects_introduction(&stream);
        let mut client = Client::new(stream);
        if introduced && !introduce(&mut client, Instant::now() + TURNING_MAX).await {
            return Ok(());
        }
        let Client { mut stream, inbox: mut input, .. } = client;
        let mut login = P::Login::new(Arc::new(terms));
        let mut out = Vec::new();
        login.start(&mut out);
        loop {
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
            stream.write_all(&out).await?;
            out.clear();
            if stream.read_buf(&mut input).await? == 0 || input.len() > GREETING_MAX {
                return Ok(());
            }
        }
        stream.write_all(&out).await?;
        stream.shutdown().await
    };
    let _: Result<io::Result<()>, _> = tokio::time::timeout(TURNING_MAX, Box::pin(answer)).await;
}

/// Places beyond `max_clients` that only operators are served in.
const SPARES: usize = 8;

/// How long it may take to turn a client away.
const TURNING_MAX: Duration = Duration::from_secs(2);

/// Bytes by which a client may name itself.
const GREETING_MAX: usize = 16 * 1024;
