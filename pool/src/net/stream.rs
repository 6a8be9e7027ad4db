//! One byte stream: TCP, Unix, or TLS over TCP.
//!
//! Invariant: a TCP stream never delays small writes (nodelay) and notices a vanished
//! peer while idle (keepalive). Does not buffer.

use super::Address;
use super::coded::CodedLink;
use protocol::codec::Codec;
use rustix::net::{RecvFlags, SendFlags};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsStream;

/// How a vanished peer is noticed. Kernel options of a TCP socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeepAlive {
    /// Silence before the first probe. Zero turns probes off.
    pub idle: Duration,
    /// Time between probes.
    pub interval: Duration,
    /// Probes without an answer until the connection counts as dead.
    pub probes: u32,
    /// How long sent bytes may stay unacknowledged or, which Linux counts alike, unread by the
    /// peer. Zero leaves the kernel's own limit (about 15 minutes). A COPY that waits for a
    /// lock reads nothing, so a low value kills it.
    pub user_timeout: Duration,
}

impl Default for KeepAlive {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(60),
            interval: Duration::from_secs(10),
            probes: 3,
            user_timeout: Duration::ZERO,
        }
    }
}

/// A connection to a client or a backend.
#[derive(Debug)]
pub enum Stream {
    /// Plain TCP.
    Tcp(TcpStream),
    /// A Unix socket.
    Unix(UnixStream),
    /// TLS over TCP.
    Tls(Box<TlsLink>),
    /// Any of them, with a codec between it and its messages.
    Coded(Box<CodedLink>),
}

/// A stream inside TLS, with the certificate that binds it.
#[derive(Debug)]
pub struct TlsLink {
    pub(super) stream: TlsStream<TcpStream>,
    /// The server's certificate: the peer's if we are the client, else our own.
    pub(super) certificate: Option<Arc<[u8]>>,
}

impl Stream {
    /// Whether bytes are encrypted on their way.
    pub fn is_tls(&self) -> bool {
        match self {
            Self::Tls(_) => true,
            Self::Coded(link) => link.stream.is_tls(),
            Self::Tcp(_) | Self::Unix(_) => false,
        }
    }

    /// Whether nobody between both ends can listen: bytes are encrypted, or stay on this machine.
    pub fn is_private(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Coded(link) => link.stream.is_private(),
            Self::Tcp(_) | Self::Tls(_) => self.is_tls(),
        }
    }

    /// Whether bytes that were taken may wait in it, and must be flushed.
    pub fn is_buffered(&self) -> bool {
        matches!(self, Self::Tls(_) | Self::Coded(_))
    }

    /// Whether bytes that were taken wait in it because the socket was full: a flush sends them.
    pub fn is_behind(&self) -> bool {
        match self {
            Self::Tcp(_) | Self::Unix(_) => false,
            Self::Tls(link) => link.stream.get_ref().1.wants_write(),
            Self::Coded(link) => link.is_behind(),
        }
    }

    /// This stream behind `codec`, unless it has one; `begun` has come already.
    #[must_use]
    pub fn coded(self, codec: Box<dyn Codec>, begun: Vec<u8>) -> Self {
        match self {
            Self::Coded(link) => Self::Coded(link),
            stream => Self::Coded(Box::new(CodedLink::new(stream, codec, begun))),
        }
    }

    /// Reads what is here, and asks for no waking. `None` if nothing has come since a read found the socket empty: a
    /// waking that was asked for since then still stands. `WouldBlock` if that cannot be said without polling.
    pub fn read_now(&self, space: &mut [u8]) -> Option<io::Result<usize>> {
        let Self::Tcp(tcp) = self else { return Some(Err(io::ErrorKind::WouldBlock.into())) };
        let mut got = None;
        let outcome = tcp.try_io(Interest::READABLE, || {
            let most = space.len();
            let read = rustix::net::recv(tcp, space, RecvFlags::empty()).map(|(read, _)| read);
            drained(&mut got, read.map_err(io::Error::from), most)
        });
        got.or_else(|| outcome.ok().map(Ok))
    }

    /// Writes what the socket takes, and asks for no waking. `None` if it takes nothing, or that cannot be said
    /// without polling.
    pub fn write_now(&self, bytes: &[u8]) -> Option<io::Result<usize>> {
        let Self::Tcp(tcp) = self else { return None };
        let mut put = None;
        let outcome = tcp.try_io(Interest::WRITABLE, || {
            let written = rustix::net::send(tcp, bytes, SendFlags::NOSIGNAL);
            drained(&mut put, written.map_err(io::Error::from), bytes.len())
        });
        put.or_else(|| outcome.ok().map(Ok)).filter(|put| !is_full(put))
    }

    /// The other side's address; `None` on a Unix socket.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.tcp()?.peer_addr().ok()
    }

    /// This side's address; `None` on a Unix socket.
    pub fn local(&self) -> Option<SocketAddr> {
        self.tcp()?.local_addr().ok()
    }

    fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Tcp(tcp) => Some(tcp),
            Self::Unix(_) => None,
            Self::Tls(link) => Some(link.stream.get_ref().0),
            Self::Coded(link) => link.stream.tcp(),
        }
    }

    /// The certificate (DER) of the server side of this connection, which channel binding
    /// hashes: the database's on a backend's stream, our own on a client's.
    pub fn server_certificate(&self) -> Option<&[u8]> {
        match self {
            Self::Tls(link) => link.certificate.as_deref(),
            Self::Coded(link) => link.stream.server_certificate(),
            _ => None,
        }
    }

    /// The certificate (DER) that the peer showed, if it did.
    pub fn peer_certificate(&self) -> Option<&[u8]> {
        match self {
            Self::Tls(link) => Some(link.stream.get_ref().1.peer_certificates()?.first()?.as_ref()),
            Self::Coded(link) => link.stream.peer_certificate(),
            _ => None,
        }
    }

    /// Whether the peer is still there and has said nothing: an idle backend's duty. Costs no
    /// system call unless something arrived. What arrived is lost: discard the stream on `false`.
    pub fn is_quiet(&mut self) -> bool {
        let mut byte = [0u8; 1];
        let outcome = match self {
            Self::Tcp(tcp) => tcp.try_read(&mut byte).map(drop),
            Self::Unix(unix) => unix.try_read(&mut byte).map(drop),
            Self::Coded(link) => return link.stream.is_quiet(),
            // Tickets of TLS 1.3 come after the handshake and are no data: only rustls can tell.
            Self::Tls(link) => {
                let mut cx = Context::from_waker(Waker::noop());
                return Pin::new(&mut link.stream)
                    .poll_read(&mut cx, &mut ReadBuf::new(&mut byte))
                    .is_pending();
            }
        };
        matches!(outcome, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

/// Tells the runtime, by `WouldBlock`, that the socket has no more than what `moved` says of `most`; who called finds
/// it in `kept`. Nothing moved is the end of the stream, and no reason to wait.
fn drained(kept: &mut Option<io::Result<usize>>, moved: io::Result<usize>, most: usize) -> io::Result<usize> {
    match moved {
        Ok(moved) if moved == 0 || moved == most => Ok(moved),
        moved => {
            *kept = Some(moved);
            Err(io::ErrorKind::WouldBlock.into())
        }
    }
}

fn is_full(put: &io::Result<usize>) -> bool {
    put.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

/// Sets what every TCP socket of ours has: no delay for small writes, and `keepalive`.
///
/// # Errors
/// What the kernel says, if it refuses an option.
pub fn tune(tcp: &TcpStream, keepalive: &KeepAlive) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let socket = socket2::SockRef::from(tcp);
    if !keepalive.idle.is_zero() {
        let probes = socket2::TcpKeepalive::new().with_time(keepalive.idle).with_interval(keepalive.interval);
        socket.set_tcp_keepalive(&probes.with_retries(keepalive.probes))?;
    }
    #[cfg(target_os = "linux")]
    if !keepalive.user_timeout.is_zero() {
        socket.set_tcp_user_timeout(Some(keepalive.user_timeout))?;
    }
    Ok(())
}

/// Connects within `timeout`, the resolving of a name included; every address of a name is tried.
///
/// # Errors
/// `TimedOut` after `timeout`, or what the last address tried said.
pub async fn connect(address: &Address, timeout: Duration, keepalive: &KeepAlive) -> io::Result<Stream> {
    let reach = async {
        match address {
            Address::Tcp { host, port } => {
                let tcp = TcpStream::connect((host.as_str(), *port)).await?;
                tune(&tcp, keepalive)?;
                Ok(Stream::Tcp(tcp))
            }
            Address::Unix(path) => Ok(Stream::Unix(UnixStream::connect(path).await?)),
        }
    };
    tokio::time::timeout(timeout, reach).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Self::Unix(unix) => Pin::new(unix).poll_read(cx, buf),
            Self::Tls(link) => Pin::new(&mut link.stream).poll_read(cx, buf),
            Self::Coded(link) => Pin::new(&mut **link).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Self::Unix(unix) => Pin::new(unix).poll_write(cx, bytes),
            Self::Tls(link) => Pin::new(&mut link.stream).poll_write(cx, bytes),
            Self::Coded(link) => Pin::new(&mut **link).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_write_vectored(cx, bytes),
            Self::Unix(unix) => Pin::new(unix).poll_write_vectored(cx, bytes),
            Self::Tls(link) => Pin::new(&mut link.stream).poll_write_vectored(cx, bytes),
            Self::Coded(link) => {
                let first = bytes.iter().find(|slice| !slice.is_empty());
                Pin::new(&mut **link).poll_write(cx, first.map_or(&[], |slice| slice))
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_flush(cx),
            Self::Unix(unix) => Pin::new(unix).poll_flush(cx),
            Self::Tls(link) => Pin::new(&mut link.stream).poll_flush(cx),
            Self::Coded(link) => Pin::new(&mut **link).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Unix(unix) => Pin::new(unix).poll_shutdown(cx),
            Self::Tls(link) => Pin::new(&mut link.stream).poll_shutdown(cx),
            Self::Coded(link) => Pin::new(&mut **link).poll_shutdown(cx),
        }
    }
}
