//! A relay on loopback that misbehaves on request: a network one can break.
//!
//! One thread for each direction of each connection. Rules hold for all connections of a link, from the
//! next piece of bytes on.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// A direction through a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From who connected to who was connected to.
    Up,
    /// Back.
    Down,
}

/// What a link says in place of the other end.
#[derive(Clone, Debug)]
pub struct Lie {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// What comes after them.
    pub then: Then,
}

/// How a [`Lie`] goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// The connection ends.
    Close,
    /// Silence.
    Hang,
    /// The same bytes over and over, as long as somebody takes them.
    Repeat,
}

#[derive(Debug, Default)]
struct Rules {
    delay: Duration,
    frozen: bool,
    refusing: bool,
    drip: Option<(usize, Duration)>,
    cut: Option<(Way, u64)>,
    mark: Option<(Vec<u8>, u64)>,
    lie: Option<(Vec<u8>, Lie)>,
    lied: u64,
    bytes: [u64; 2],
    counted: Option<Vec<u8>>,
    said: (u64, u64),
    accepted: u64,
}

#[derive(Debug)]
struct Shared {
    to: u16,
    rules: Mutex<Rules>,
    changed: Condvar,
    over: AtomicBool,
    ends: Mutex<Vec<[TcpStream; 2]>>,
}

impl Shared {
    fn rules(&self) -> MutexGuard<'_, Rules> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ends(&self) -> MutexGuard<'_, Vec<[TcpStream; 2]>> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A relay from a port of its own to another; it ends with this value.
#[derive(Debug)]
pub struct Link {
    port: u16,
    shared: Arc<Shared>,
}

impl Link {
    /// A relay to a loopback port.
    pub fn to(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has a free port");
        let own = listener.local_addr().expect("a bound socket has an address").port();
        let shared = Arc::new(Shared {
            to: port,
            rules: Mutex::default(),
            changed: Condvar::new(),
            over: AtomicBool::new(false),
            ends: Mutex::default(),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || accept(&listener, &accepting));
        Self { port: own, shared }
    }

    /// The port to connect to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Holds each piece back for this long.
    pub fn delay(&self, delay: Duration) {
        self.shared.rules().delay = delay;
    }

    /// Passes nothing on, keeps everything open: a network that drops packets.
    pub fn freeze(&self) {
        self.shared.rules().frozen = true;
    }

    /// Passes on what was held.
    pub fn thaw(&self) {
        self.shared.rules().frozen = false;
        self.shared.changed.notify_all();
    }

    /// Accepts and closes at once, from now on or no longer.
    pub fn refuse(&self, refusing: bool) {
        self.shared.rules().refusing = refusing;
    }

    /// Passes on at most this many bytes at a time, with a pause after each.
    pub fn drip(&self, bytes: usize, pause: Duration) {
        self.shared.rules().drip = Some((bytes, pause));
    }

    /// Ends the connection after this many further bytes in one direction.
    pub fn cut_after(&self, way: Way, bytes: u64) {
        let mut rules = self.shared.rules();
        rules.cut = Some((way, rules.bytes[way as usize] + bytes));
    }

    /// Ends the connection that next passes this text up, after this many bytes of what comes back on it.
    pub fn cut_behind(&self, text: &str, bytes: u64) {
        self.shared.rules().mark = Some((text.as_bytes().to_vec(), bytes));
    }

    /// Answers who next says this text up, in place of the other end, which does not hear it.
    pub fn lie_behind(&self, text: &str, lie: Lie) {
        self.shared.rules().lie = Some((text.as_bytes().to_vec(), lie));
    }

    /// How often it has lied so far.
    pub fn lied(&self) -> u64 {
        self.shared.rules().lied
    }

    /// Resets every connection that is open.
    pub fn reset(&self) {
        for pair in self.shared.ends().drain(..) {
            for stream in pair {
                // With no time to linger, the end of the connection is a reset.
                rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).ok();
                stream.shutdown(Shutdown::Both).ok();
            }
        }
    }

    /// Bytes passed on so far in one direction.
    pub fn bytes(&self, way: Way) -> u64 {
        self.shared.rules().bytes[way as usize]
    }

    /// From now on [`Link::said`] counts what follows this text on its connection.
    pub fn count_behind(&self, text: &[u8]) {
        self.shared.rules().counted = Some(text.to_vec());
    }

    /// Bytes and pieces that came up over the connections that count. Where each side waits for the other, pieces
    /// tell how often it spoke.
    pub fn said(&self) -> (u64, u64) {
        self.shared.rules().said
    }

    /// Connections accepted so far.
    pub fn accepted(&self) -> u64 {
        self.shared.rules().accepted
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        self.thaw();
        self.reset();
        // Wakes the thread that accepts, which then sees that it is over.
        TcpStream::connect(("127.0.0.1", self.port)).ok();
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for client in listener.incoming() {
        if shared.over.load(Ordering::SeqCst) {
            return;
        }
        let refusing = {
            let mut rules = shared.rules();
            rules.accepted += 1;
            rules.refusing
        };
        let Ok(client) = client else { continue };
        if refusing {
            continue;
        }
        let Ok(other) = TcpStream::connect(("127.0.0.1", shared.to)) else { continue };
        client.set_nodelay(true).ok();
        other.set_nodelay(true).ok();
        let share = |stream: &TcpStream| stream.try_clone().expect("a socket can be shared");
        let left = Arc::new(AtomicU64::new(u64::MAX));
        shared.ends().push([share(&client), share(&other)]);
        for (from, to, way) in [(share(&client), share(&other), Way::Up), (other, client, Way::Down)] {
            let (shared, left) = (Arc::clone(shared), Arc::clone(&left));
            thread::spawn(move || relay(from, to, way, &left, &shared));
        }
    }
}

/// Passes on one direction of one connection, of which `left` bytes may still come down.
fn relay(mut from: TcpStream, mut to: TcpStream, way: Way, left: &AtomicU64, shared: &Shared) {
    let mut buffer = vec![0; 65_536];
    let mut counts = false;
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        let piece = &buffer[..read];
        let holds = |text: &[u8]| piece.windows(text.len()).any(|window| window == text);
        if way == Way::Up {
            let mut rules = shared.rules();
            if counts {
                rules.said = (rules.said.0 + read as u64, rules.said.1 + 1);
            }
            counts = counts || rules.counted.as_deref().is_some_and(holds);
        }
        let may = match way {
            Way::Up => {
                let lie = shared.rules().lie.take_if(|(text, _)| holds(text));
                if let Some((_, lie)) = lie {
                    shared.rules().lied += 1;
                    tell(&mut from, &lie);
                    0
                } else {
                    let marked = shared.rules().mark.take_if(|(text, _)| holds(text));
                    marked.into_iter().for_each(|(_, bytes)| left.store(bytes, Ordering::SeqCst));
                    read
                }
            }
            Way::Down => {
                let may = usize::try_from(left.load(Ordering::SeqCst)).unwrap_or(usize::MAX).min(read);
                if left.load(Ordering::SeqCst) != u64::MAX {
                    left.fetch_sub(may as u64, Ordering::SeqCst);
                }
                may
            }
        };
        if !pass(&mut to, &piece[..may], way, shared) || may < read {
            to.shutdown(Shutdown::Both).ok();
            from.shutdown(Shutdown::Both).ok();
            break;
        }
    }
    to.shutdown(Shutdown::Write).ok();
}

/// Says what is not so, until it is over or nobody listens.
fn tell(to: &mut TcpStream, lie: &Lie) {
    if to.write_all(&lie.bytes).is_err() {
        return;
    }
    match lie.then {
        Then::Close => {}
        Then::Hang => drop(std::io::copy(&mut &*to, &mut std::io::sink())),
        Then::Repeat => while !lie.bytes.is_empty() && to.write_all(&lie.bytes).is_ok() {},
    }
}

/// Passes a piece on as the rules say; whether the connection goes on.
fn pass(to: &mut TcpStream, mut piece: &[u8], way: Way, shared: &Shared) -> bool {
    while !piece.is_empty() {
        let (take, pause, cut) = {
            let mut rules = shared.rules();
            while rules.frozen {
                rules = shared.changed.wait(rules).unwrap_or_else(PoisonError::into_inner);
            }
            let (most, pause) = rules.drip.unwrap_or((piece.len(), rules.delay));
            let left = rules.cut.filter(|(at, _)| *at == way).map(|(_, end)| end - rules.bytes[way as usize]);
            let take =
                most.min(piece.len()).min(usize::try_from(left.unwrap_or(u64::MAX)).unwrap_or(usize::MAX));
            rules.bytes[way as usize] += take as u64;
            (take, pause, left == Some(take as u64))
        };
        if !pause.is_zero() {
            thread::sleep(pause);
        }
        let (now, later) = piece.split_at(take);
        if to.write_all(now).is_err() {
            return false;
        }
        if cut {
            shared.rules().cut = None;
            to.shutdown(Shutdown::Both).ok();
            return false;
        }
        piece = later;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn echo() -> u16 {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || std::io::copy(&mut &stream, &mut &stream));
            }
        });
        port
    }

    #[test]
    fn passes_and_cuts_after_a_count() {
        let link = Link::to(echo());
        let mut stream = TcpStream::connect(("127.0.0.1", link.port())).unwrap();
        stream.write_all(b"hello").unwrap();
        let mut back = [0; 5];
        stream.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"hello");
        link.cut_after(Way::Down, 3);
        stream.write_all(b"hello").unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).ok();
        assert_eq!(rest, b"hel");
        assert_eq!(link.bytes(Way::Down), 8);
    }

    #[test]
    fn holds_while_frozen() {
        let link = Link::to(echo());
        let mut stream = TcpStream::connect(("127.0.0.1", link.port())).unwrap();
        link.freeze();
        stream.write_all(b"x").unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let mut back = [0; 1];
        assert!(stream.read_exact(&mut back).is_err());
        link.thaw();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream.read_exact(&mut back).unwrap();
    }
}
