//! A database that dies in the middle of a reply, at every byte of it: its client is told or served, nobody else
//! notices, nothing is done twice and nothing stays behind.

use std::io::{ErrorKind, Read};
use std::time::Duration;

use integration::wire::Error;
use integration::{Cluster, Linked, Reply, Wire, frame, until};

/// Type and length of a message.
const HEADER: u64 = 5;

/// What the link looks for.
const MARK: &str = "/* here it dies */";

struct Scene(Linked);

fn scene() -> Scene {
    let cluster = Cluster::start(0);
    cluster.prepare(
        "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t SELECT n, 0 FROM generate_series(1, 9) n;
         CREATE TABLE copied (n int)",
    );
    Scene(Linked::over(cluster, |config| config.text("query_wait_timeout", "20s")))
}

/// What came of a request whose backend died after `bytes` bytes of its reply.
enum End {
    /// It was answered as if nothing had happened.
    Served(Reply),
    /// The client was told that it was not.
    Told,
}

impl Scene {
    /// The session, up to the request that is to be cut.
    fn session(&self, first: &str) -> Wire {
        let mut wire = self.0.proxy.session();
        if !first.is_empty() {
            wire.query(first).ok();
        }
        wire
    }

    fn cut(&self, first: &str, request: &[u8], bytes: u64) -> End {
        let mut wire = self.session(first);
        self.0.link.cut_behind(MARK, bytes);
        match wire.ask(request) {
            Ok(reply) if reply.error.is_none() => End::Served(reply),
            // The session may go on, and then it must.
            Ok(reply) => {
                assert_eq!(&reply.code()[..2], "08", "after {bytes} bytes: {}", reply.code());
                assert_eq!(wire.value("SELECT 1"), "1", "after {bytes} bytes");
                End::Told
            }
            Err(Error::Refused(failure)) => {
                assert_eq!(&failure.code()[..2], "08", "after {bytes} bytes: {failure:?}");
                End::Told
            }
            // In the middle of a message there is no room for another one: the connection ends, and nothing is said
            // that would be taken for the rest of the message.
            Err(Error::Io(error)) if bytes >= HEADER => {
                let is_end = matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset);
                assert!(is_end, "after {bytes} bytes: {error}");
                End::Told
            }
            Err(error) => panic!("after {bytes} bytes nobody said why: {error}"),
        }
    }

    /// Every byte of the reply to `request`, which is `length` bytes long.
    fn every_byte(&self, first: &str, request: &[u8], mut judge: impl FnMut(u64, End)) {
        let mut bystander = self.0.proxy.session();
        let length = length(&mut self.session(first), request);
        for bytes in 0..length {
            judge(bytes, self.cut(first, request, bytes));
            assert_eq!(bystander.value("SELECT 2"), "2", "another session, after {bytes} bytes");
        }
    }
}

/// The length of the whole reply to a request.
fn length(wire: &mut Wire, request: &[u8]) -> u64 {
    wire.send(request).expect("it is open");
    let mut length = 0;
    loop {
        let message = wire.read().expect("a message");
        assert_ne!(message.tag, b'E');
        length += 5 + message.body.len() as u64;
        if message.tag == b'Z' {
            return length;
        }
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let Linked { proxy, cluster, .. } = &self.0;
        if std::thread::panicking() {
            eprintln!("{}", proxy.log());
            return;
        }
        proxy.assert_sound();
        let held = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND xact_start IS NOT NULL";
        until("nothing is left open", Duration::from_secs(60), || {
            (cluster.primary.value(held) == "0").then_some(())
        });
        proxy.await_no_leases();
        // Whatever was lost, the pool has no more than it may.
        let backends = "SELECT count(*) <= 20 FROM pg_stat_activity WHERE usename = 'app'";
        assert_eq!(cluster.primary.value(backends), "t");
    }
}

#[test]
fn in_a_read() {
    let scene = scene();
    let sql = format!("SELECT id, v FROM t WHERE id < 3 ORDER BY id {MARK}");
    for request in [frame::query(&sql), [frame::unnamed(&sql, &[]), frame::sync()].concat()] {
        scene.every_byte("", &request, |bytes, end| match end {
            // As long as no message has begun, nothing was relayed: it is read again, and nobody notices.
            End::Served(reply) => {
                assert_eq!(reply.rows.len(), 2, "after {bytes} bytes");
                assert!(bytes < HEADER, "after {bytes} bytes the client has had a part of the reply");
            }
            End::Told => assert!(bytes >= HEADER, "after {bytes} bytes the client has had nothing"),
        });
    }
}

#[test]
fn in_the_middle_of_a_row_nothing_else_is_said() {
    let scene = scene();
    for first in ["SELECT 1", "BEGIN"] {
        let mut wire = scene.session(first);
        scene.0.link.cut_behind(MARK, 5_000);
        wire.send(&frame::query(&format!("SELECT repeat('x', 10000) {MARK}"))).expect("it is open");
        let mut heard = Vec::new();
        wire.sender().read_to_end(&mut heard).expect("an end");
        // It would be taken for a part of the row.
        let row = heard.iter().position(|byte| *byte == b'x').expect("a part of the row");
        assert!(heard[row..].iter().all(|byte| *byte == b'x'), "{}", heard[row..].escape_ascii());
    }
}

#[test]
fn in_a_transaction() {
    let scene = scene();
    let request = frame::query(&format!("SELECT id, v FROM t WHERE id < 3 ORDER BY id {MARK}"));
    let mut told = 0;
    scene.every_byte("BEGIN; UPDATE t SET v = v + 1 WHERE id = 5", &request, |_, end| {
        told += u32::from(matches!(end, End::Told));
    });
    assert!(told > 50, "only {told}");
    assert_eq!(scene.0.cluster.primary.value("SELECT v FROM t WHERE id = 5"), "0", "nothing was committed");
}

#[test]
fn in_a_write() {
    let scene = scene();
    let request = frame::query(&format!("UPDATE t SET v = v + 1 WHERE id = 1 RETURNING v {MARK}"));
    let mut done = 1;
    scene.every_byte("", &request, |bytes, end| {
        let now: i32 =
            scene.0.cluster.primary.value("SELECT v FROM t WHERE id = 1").parse().expect("a number");
        // Whether a write took effect whose answer was lost is not known, but never twice.
        assert!((done..=done + 1).contains(&now), "after {bytes} bytes: from {done} to {now}");
        assert!(now == done + 1 || matches!(end, End::Told), "after {bytes} bytes: answered and not done");
        done = now;
    });
}

#[test]
fn in_a_copy() {
    let scene = scene();
    let sql = format!("COPY copied FROM STDIN {MARK}");
    let whole = [frame::query(&sql), frame::copy_data(b"1\n2\n"), frame::copy_done()].concat();
    let count =
        || scene.0.cluster.primary.value("SELECT count(*) FROM copied").parse::<i32>().expect("a number");
    let mut rows = 2;
    scene.every_byte("", &whole, |bytes, end| {
        let now = count();
        assert!(now == rows || now == rows + 2, "after {bytes} bytes: from {rows} to {now}");
        assert!(now == rows + 2 || matches!(end, End::Told), "after {bytes} bytes: answered and not done");
        rows = now;
    });
}
