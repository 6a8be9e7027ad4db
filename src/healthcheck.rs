//! `splitpool healthcheck`: asks a running process how it is, for images without a shell.
//!
//! Speaks as little HTTP as that takes, within one deadline, and trusts nothing that it reads.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

/// How long everything together may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Bytes of an answer that are read.
const ANSWER_MAX: u64 = 4096;

/// Asks `path` of the process that serves HTTP on `host:port`. An address that stands for all of
/// this machine's is asked on loopback. Returns what it says.
///
/// # Errors
/// What it says, or why it does not, as a sentence.
pub fn ask(host: &str, port: u16, path: &str) -> Result<String, String> {
    let (status, body) = get(host, port, path).map_err(|error| format!("{host}:{port}: {error}"))?;
    if status == 200 { Ok(body) } else { Err(format!("{host}:{port}{path}: {status}, {body}")) }
}

fn get(host: &str, port: u16, path: &str) -> io::Result<(u16, String)> {
    let deadline = Instant::now() + PATIENCE;
    let left = || deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    let at = (host, port).to_socket_addrs()?.next().ok_or(io::ErrorKind::AddrNotAvailable)?;
    let mut stream = TcpStream::connect_timeout(&reachable(at), left())?;
    stream.set_write_timeout(Some(left()))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    let mut limited = stream.take(ANSWER_MAX);
    let mut some = [0; 1024];
    loop {
        if Instant::now() >= deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
        limited.get_ref().set_read_timeout(Some(left()))?;
        let read = limited.read(&mut some)?;
        let Some(read @ [_, ..]) = some.get(..read) else { break };
        answer.extend_from_slice(read);
    }
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "answers with no HTTP"))?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok((status, body.trim().to_owned()))
}

fn reachable(at: SocketAddr) -> SocketAddr {
    let ip = match at.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, at.port())
}
