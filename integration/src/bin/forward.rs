//! The floor of the benchmark: one thread that copies bytes, and knows no protocol.
//!
//! `forward LISTEN_PORT TO_PORT`: one connection to the server for each client's, level-triggered epoll, and a
//! `recv` and a `send` for each piece. What a proxy costs on top of this is what its work costs.

use std::collections::HashMap;
use std::error::Error;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::event::epoll::{self, EventData, EventFlags};

/// One end of a relayed connection.
struct End {
    stream: TcpStream,
    peer: u64,
    /// Bytes this end could not take yet; its peer is not read meanwhile.
    pending: Vec<u8>,
}

struct Forwarder {
    epoll: OwnedFd,
    ends: HashMap<u64, End>,
    buffer: Vec<u8>,
}

fn name_of(stream: &TcpStream) -> u64 {
    u64::try_from(stream.as_raw_fd()).expect("a descriptor is not negative")
}

impl Forwarder {
    fn accept(&mut self, client: TcpStream, to: u16) -> Result<(), Box<dyn Error>> {
        let server = TcpStream::connect(("127.0.0.1", to))?;
        let names = (name_of(&client), name_of(&server));
        for (stream, peer) in [(client, names.1), (server, names.0)] {
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            epoll::add(&self.epoll, &stream, EventData::new_u64(name_of(&stream)), EventFlags::IN)?;
            self.ends.insert(name_of(&stream), End { stream, peer, pending: Vec::new() });
        }
        Ok(())
    }

    fn watch(&self, name: u64, flags: EventFlags) {
        if let Some(end) = self.ends.get(&name) {
            epoll::modify(&self.epoll, &end.stream, EventData::new_u64(name), flags).ok();
        }
    }

    /// Sends what an end could not take before.
    fn drain(&mut self, name: u64) {
        let Some(end) = self.ends.get_mut(&name) else { return };
        if let Ok(sent) = end.stream.write(&end.pending) {
            end.pending.drain(..sent);
        }
        if end.pending.is_empty() {
            let peer = end.peer;
            self.watch(name, EventFlags::IN);
            self.watch(peer, EventFlags::IN);
        }
    }

    /// Moves one piece from an end to its peer; whether the connection goes on.
    fn relay(&mut self, name: u64) -> bool {
        let Some(end) = self.ends.get_mut(&name) else { return true };
        let peer = end.peer;
        let read = match end.stream.read(&mut self.buffer) {
            Ok(0) => return false,
            Ok(read) => read,
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        };
        let Some(other) = self.ends.get_mut(&peer) else { return false };
        let sent = match other.stream.write(&self.buffer[..read]) {
            Ok(sent) => sent,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(_) => return false,
        };
        if sent < read {
            other.pending.extend_from_slice(&self.buffer[sent..read]);
            self.watch(peer, EventFlags::OUT);
            self.watch(name, EventFlags::empty());
        }
        true
    }

    fn end(&mut self, name: u64) {
        if let Some(end) = self.ends.remove(&name) {
            self.ends.remove(&end.peer);
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let ports: Vec<u16> = std::env::args().skip(1).map(|port| port.parse()).collect::<Result<_, _>>()?;
    let [listen, to] = ports[..] else { return Err("usage: forward LISTEN_PORT TO_PORT".into()) };
    let listener = TcpListener::bind(("127.0.0.1", listen))?;
    listener.set_nonblocking(true)?;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, &listener, EventData::new_u64(u64::MAX), EventFlags::IN)?;
    let mut forwarder = Forwarder { epoll, ends: HashMap::new(), buffer: vec![0; 65_536] };
    println!("forward: ready");
    let mut events = Vec::with_capacity(256);
    loop {
        events.clear();
        match epoll::wait(&forwarder.epoll, rustix::buffer::spare_capacity(&mut events), None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            let (name, flags) = (event.data.u64(), event.flags);
            if name == u64::MAX {
                while let Ok((client, _)) = listener.accept() {
                    if let Err(error) = forwarder.accept(client, to) {
                        eprintln!("forward: {error}");
                    }
                }
                continue;
            }
            if flags.contains(EventFlags::OUT) {
                forwarder.drain(name);
            }
            if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) && !forwarder.relay(name)
            {
                forwarder.end(name);
            }
        }
    }
}
