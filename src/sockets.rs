//! The sockets that clients come to: opened here, or before us by a supervisor.
//!
//! A supervisor that keeps the sockets over our restarts (systemd's socket activation) loses no
//! connection: the kernel queues them meanwhile. Two processes may also share an address
//! (`listen.reuse_port`); the one that goes sends what is new to the other and takes what the
//! kernel has queued for it already. Accepts nothing itself.

use listenfd::ListenFd;
use nix::sys::socket::{setsockopt, sockopt::AttachReusePortCbpf};
use pool::net::Address;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::PathBuf;
use tokio::net::{TcpListener, TcpSocket, UnixListener};

/// A socket that connections come to.
pub enum Socket {
    /// On TCP.
    Tcp(TcpListener),
    /// On a Unix socket. Its file, if that is ours to remove.
    Unix(UnixListener, Option<PathBuf>),
}

/// How sockets are opened.
#[derive(Debug, Clone, Copy)]
pub struct Opening {
    /// Connections that the kernel holds until they are accepted.
    pub backlog: u32,
    /// Whether other processes of the same user may have the same address.
    pub reuse_port: bool,
}

/// What a supervisor opened for us and we have not used yet.
#[derive(Default)]
pub struct Inherited {
    tcp: Vec<(SocketAddr, std::net::TcpListener)>,
    unix: Vec<(Option<PathBuf>, std::os::unix::net::UnixListener)>,
}

impl Inherited {
    /// Takes what the environment names (`LISTEN_FDS`). To be called once, before there are threads.
    ///
    /// # Errors
    /// What was handed over is no listening stream socket.
    pub fn take() -> io::Result<Self> {
        let mut handed = ListenFd::from_env();
        let mut all = Self::default();
        for index in 0..handed.len() {
            if let Ok(Some(listener)) = handed.take_tcp_listener(index) {
                listener.set_nonblocking(true)?;
                all.tcp.push((listener.local_addr()?, listener));
            } else if let Some(listener) = handed.take_unix_listener(index)? {
                listener.set_nonblocking(true)?;
                let path = listener.local_addr()?.as_pathname().map(PathBuf::from);
                all.unix.push((path, listener));
            }
        }
        Ok(all)
    }

    /// The one for `address`: on that very address, else on that port.
    fn find(&mut self, address: &Address) -> io::Result<Option<Socket>> {
        match address {
            Address::Tcp { host, port } => {
                let exact = |at: &SocketAddr| host.parse() == Ok(at.ip()) && at.port() == *port;
                let found = self.tcp.iter().position(|(at, _)| exact(at));
                let found = found.or_else(|| self.tcp.iter().position(|(at, _)| at.port() == *port));
                let taken = found.map(|index| self.tcp.swap_remove(index).1);
                taken.map(|listener| TcpListener::from_std(listener).map(Socket::Tcp)).transpose()
            }
            Address::Unix(path) => {
                let found = self.unix.iter().position(|(at, _)| at.as_ref() == Some(path));
                let taken = found.map(|index| self.unix.swap_remove(index).1);
                taken
                    .map(|listener| UnixListener::from_std(listener).map(|it| Socket::Unix(it, None)))
                    .transpose()
            }
        }
    }

    /// Where sockets are that nobody asked for.
    pub fn rest(&self) -> Vec<String> {
        let tcp = self.tcp.iter().map(|(at, _)| at.to_string());
        let unix = self.unix.iter().map(|(path, _)| match path {
            Some(path) => format!("unix:{}", path.display()),
            None => "a Unix socket without a name".to_owned(),
        });
        tcp.chain(unix).collect()
    }
}

impl Socket {
    /// The inherited socket for `address`, or a new one. The leftover file of a Unix socket is
    /// removed if nobody listens on it.
    ///
    /// # Errors
    /// Those of the system, with the address.
    pub async fn open(address: &Address, opening: Opening, inherited: &mut Inherited) -> io::Result<Self> {
        let named =
            |error: io::Error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"));
        if let Some(socket) = inherited.find(address).map_err(named)? {
            return Ok(socket);
        }
        match address {
            Address::Tcp { host, port } => {
                let mut found = tokio::net::lookup_host((host.as_str(), *port)).await.map_err(named)?;
                let at = found.next().ok_or_else(|| named(io::ErrorKind::AddrNotAvailable.into()))?;
                tcp(at, opening).map(Self::Tcp).map_err(named)
            }
            Address::Unix(path) => {
                if std::os::unix::net::UnixStream::connect(path).is_err() {
                    let _ = std::fs::remove_file(path);
                }
                Ok(Self::Unix(UnixListener::bind(path).map_err(named)?, Some(path.clone())))
            }
        }
    }
}

fn tcp(at: SocketAddr, opening: Opening) -> io::Result<TcpListener> {
    let socket = if at.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    if opening.reuse_port {
        socket.set_reuseport(true)?;
    }
    socket.bind(at)?;
    socket.listen(opening.backlog)
}

/// Has the kernel give new connections to the process that shares this address and came after
/// us; without one nothing changes. See socket(7), `SO_ATTACH_REUSEPORT_CBPF`.
///
/// # Errors
/// Those of the system; connections are then spread over all who share the address.
pub fn send_elsewhere(listener: &TcpListener) -> io::Result<()> {
    // BPF_RET | BPF_K: always the second of those who listen. Where there is none, the kernel
    // takes its own choice.
    let mut program = [nix::libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: 1 }];
    let program = nix::libc::sock_fprog { len: 1, filter: program.as_mut_ptr() };
    setsockopt(&listener.as_fd(), AttachReusePortCbpf, &program).map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_leaves_a_shared_address_gets_nobody_new() {
        let opening = Opening { backlog: 128, reuse_port: true };
        let mut none = Inherited::default();
        let any = Address::Tcp { host: "127.0.0.1".to_owned(), port: 0 };
        let Ok(Socket::Tcp(old)) = Socket::open(&any, opening, &mut none).await else { panic!("not TCP") };
        let at = old.local_addr().expect("it is bound");
        let same = Address::Tcp { host: at.ip().to_string(), port: at.port() };
        let Ok(Socket::Tcp(new)) = Socket::open(&same, opening, &mut none).await else { panic!("not TCP") };
        send_elsewhere(&old).expect("the kernel can do that");
        for _ in 0..40 {
            let client = tokio::net::TcpStream::connect(at).await.expect("somebody listens");
            tokio::select! {
                biased;
                _ = old.accept() => panic!("the one that leaves got a connection"),
                accepted = new.accept() => drop(accepted.expect("a connection")),
            }
            drop(client);
        }
        // Alone again, the newer one gets everybody, also if it is the next to leave.
        drop(old);
        send_elsewhere(&new).expect("the kernel can do that");
        let client = tokio::net::TcpStream::connect(at).await.expect("somebody listens");
        new.accept().await.expect("a connection");
        drop(client);
    }
}
