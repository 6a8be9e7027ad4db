//! A MariaDB or MySQL that dies in the middle of a reply, and a client that goes in the middle of a command, at every
//! byte: the client is told or served, nobody else notices, nothing is done twice and nothing stays behind.

use std::io::{self, ErrorKind, Read};
use std::time::Duration;

use integration::config::Endpoint;
use integration::mysql::wire::{Outcome, Prepared, Wire, cap};
use integration::mysql::{Cluster, Make};
use integration::{Config, Link, Proxy, holds, until};

/// Length and number of a packet.
const HEADER: u64 = 4;

/// What the link looks for.
const MARK: &str = "/* here it dies */";

const PATIENCE: Duration = Duration::from_secs(60);

/// Nothing is taken out of replies to who asked for all.
const ABILITIES: u64 = cap::CONNECT_WITH_DB | cap::SESSION_TRACK;

struct Scene {
    proxy: Proxy,
    link: Link,
    cluster: Cluster,
}

fn scene(make: Make) -> Scene {
    let cluster = Cluster::start(make, 0);
    cluster
        .prepare("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 0), (2, 0), (5, 0)");
    let link = Link::to(cluster.primary.port());
    // In clear, so that the link can read along.
    let mut config =
        Config::of_mysql(&cluster).raw("tls", "{ mode = \"off\" }").text("query_wait_timeout", "20s");
    config.endpoints = vec![Endpoint::auto(link.address())];
    let proxy = Proxy::start(config);
    until("it is ready", PATIENCE, || (proxy.http("/ready").0 == 200).then_some(()));
    Scene { proxy, link, cluster }
}

/// What came of a request whose backend died after some bytes of its reply.
enum End {
    /// It was answered as if nothing had happened.
    Served(Outcome),
    /// The client was told that it was not.
    Told,
}

/// A request, as a text or as a prepared statement with one parameter.
#[derive(Clone, Copy)]
enum Request<'a> {
    Text(&'a str),
    Prepared(&'a str),
}

impl Request<'_> {
    /// All that goes before it.
    fn begin(self, wire: &mut Wire) -> Option<Prepared> {
        match self {
            Self::Text(_) => None,
            Self::Prepared(sql) => Some(wire.prepare(sql).expect("a preparation")),
        }
    }

    fn ask(self, wire: &mut Wire, statement: Option<Prepared>) -> io::Result<Outcome> {
        match (self, statement) {
            (Self::Prepared(_), Some(statement)) => wire.execute(statement, false, &[Some(MARK)]),
            (Self::Prepared(sql) | Self::Text(sql), _) => {
                wire.command(3, format!("{sql} {MARK}").as_bytes())?;
                wire.result()
            }
        }
    }
}

impl Scene {
    fn session(&self, first: &[&str]) -> Wire {
        let mut wire = Wire::login(self.proxy.port(), ABILITIES, 45).expect("a sign-in");
        for sql in first {
            assert_eq!(wire.query(sql).code(), 0, "{sql}");
        }
        wire
    }

    fn cut(&self, first: &[&str], request: Request<'_>, bytes: u64) -> End {
        let mut wire = self.session(first);
        let statement = request.begin(&mut wire);
        self.link.cut_behind(MARK, bytes);
        match request.ask(&mut wire, statement) {
            Ok(outcome) if outcome.code() == 0 => End::Served(outcome),
            Ok(outcome) => {
                assert!([1180, 2013].contains(&outcome.code()), "after {bytes} bytes: {:?}", outcome.error);
                // The session goes on with another backend, or ends.
                if let Ok(next) = wire.command(3, b"SELECT 1").and_then(|()| wire.result()) {
                    assert_eq!(next.value(), "1", "after {bytes} bytes");
                }
                End::Told
            }
            // In the middle of a packet there is no room for another one: the connection ends, and nothing is said
            // that would be taken for the rest of the packet.
            Err(error) if bytes >= HEADER => {
                let is_end = matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset);
                assert!(is_end, "after {bytes} bytes: {error}");
                End::Told
            }
            Err(error) => panic!("after {bytes} bytes nobody said why: {error}"),
        }
    }

    /// Every byte of the reply to `request`.
    fn every_byte(&self, first: &[&str], request: Request<'_>, mut judge: impl FnMut(u64, End)) {
        let mut bystander = self.session(&[]);
        let mut wire = self.session(first);
        let statement = request.begin(&mut wire);
        let before = wire.heard;
        assert_eq!(request.ask(&mut wire, statement).expect("an answer").code(), 0);
        let length = wire.heard - before;
        drop(wire);
        for bytes in 0..length {
            judge(bytes, self.cut(first, request, bytes));
            assert_eq!(bystander.query("SELECT 2").value(), "2", "another session, after {bytes} bytes");
        }
    }

    fn v(&self, id: u32) -> i32 {
        let value = self.cluster.primary.value(&format!("SELECT v FROM app.t WHERE id = {id}"));
        value.parse().expect("a number")
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        self.proxy.assert_sound();
        holds("what is left open", PATIENCE, "0".to_owned(), || {
            self.cluster.primary.value("SELECT count(*) FROM information_schema.innodb_trx")
        });
        self.proxy.await_no_leases();
        // Whatever was lost, the pool has no more than it may.
        let backends =
            "SELECT count(*) <= 20 FROM information_schema.processlist WHERE user = 'app' AND db = 'app'";
        assert_eq!(self.cluster.primary.value(backends), "1");
    }
}

fn in_a_read(make: Make) {
    let scene = scene(make);
    for request in [
        Request::Text("SELECT id, v FROM t WHERE id < 3 ORDER BY id"),
        Request::Prepared("SELECT id, v FROM t WHERE id < 3 AND ? <> '' ORDER BY id"),
    ] {
        let mut again = 0;
        scene.every_byte(&[], request, |bytes, end| match end {
            // As long as no packet was passed on, it is read again, and nobody notices.
            End::Served(outcome) => {
                assert_eq!(outcome.rows.len(), 2, "after {bytes} bytes");
                assert!(bytes <= HEADER, "after {bytes} bytes the client has had a part of the reply");
                again += 1;
            }
            End::Told => assert!(bytes >= HEADER, "after {bytes} bytes the client has had nothing"),
        });
        assert!(again >= HEADER, "only {again} were read again");
    }
}

/// What were said there would be taken for a part of the row.
fn in_the_middle_of_a_row_nothing_else_is_said(make: Make) {
    let scene = scene(make);
    for first in ["SELECT 1", "BEGIN"] {
        let mut wire = scene.session(&[first]);
        scene.link.cut_behind(MARK, 5_000);
        wire.command(3, format!("SELECT repeat('x', 10000) {MARK}").as_bytes()).expect("sent");
        let mut heard = Vec::new();
        wire.stream().read_to_end(&mut heard).expect("an end");
        let row = heard.windows(9).position(|bytes| bytes == b"xxxxxxxxx").expect("a part of the row");
        assert!(heard[row..].iter().all(|byte| *byte == b'x'), "{}", heard[row..].escape_ascii());
    }
}

fn in_a_transaction(make: Make) {
    let scene = scene(make);
    let first = ["BEGIN", "UPDATE t SET v = v + 1 WHERE id = 5"];
    let (mut cuts, mut told) = (0, 0);
    scene.every_byte(&first, Request::Prepared("SELECT id, v FROM t WHERE id < 3 AND ? <> ''"), |_, end| {
        cuts += 1;
        told += u32::from(matches!(end, End::Told));
    });
    assert_eq!(told, cuts, "a transaction that was lost went on");
    assert_eq!(scene.v(5), 0, "nothing was committed");
}

fn in_a_write(make: Make) {
    let scene = scene(make);
    for request in [
        Request::Text("UPDATE t SET v = v + 1 WHERE id = 1"),
        Request::Prepared("UPDATE t SET v = v + 1 WHERE id = 1 AND ? <> ''"),
    ] {
        let before = scene.v(1);
        let mut done = before + 1;
        scene.every_byte(&[], request, |bytes, end| {
            let now = scene.v(1);
            // The database has heard it each time. Its answer is lost, and it is not sent again.
            assert_eq!(now, done + 1, "after {bytes} bytes");
            assert!(matches!(end, End::Told), "after {bytes} bytes: nobody can know");
            done = now;
        });
        assert!(done > before + 5);
    }
}

fn in_a_commit(make: Make) {
    let scene = scene(make);
    let first = ["BEGIN", "UPDATE t SET v = v + 1 WHERE id = 2"];
    let mut done = 1;
    scene.every_byte(&first, Request::Text("COMMIT"), |bytes, end| {
        let now = scene.v(2);
        assert!((done..=done + 1).contains(&now), "after {bytes} bytes: from {done} to {now}");
        assert!(matches!(end, End::Told), "after {bytes} bytes: nobody can know");
        done = now;
    });
}

/// What is cut is not run, and holds nothing.
fn clients_that_go(make: Make) {
    let scene = scene(make);
    let mark = scene.cluster.primary.log_mark();
    let packet = |payload: &[u8]| {
        let length = u32::try_from(payload.len()).expect("a short payload").to_le_bytes();
        [&length[..3], &[0], payload].concat()
    };
    let insert = b"INSERT INTO t VALUES (77, 1) /* cut */";
    let mut wire = scene.session(&[]);
    let statement = wire.prepare("INSERT INTO t SELECT ?, 1 /* cut execute */").expect("a preparation");
    let mut execute = [&[0x17][..], &statement.id.to_le_bytes(), &[0, 1, 0, 0, 0, 0, 1, 253, 0]].concat();
    execute.extend_from_slice(b"\x0277");
    let long = [&[0x18][..], &statement.id.to_le_bytes(), &[0, 0], b"77"].concat();
    drop(wire);
    let mut bystander = scene.session(&[]);
    for (prepares, bytes) in [
        (false, packet(&[&[3], &insert[..]].concat())),
        (false, packet(&[&[0x16], &insert[..]].concat())),
        (true, packet(&execute)),
        (true, [packet(&long), packet(&execute)].concat()),
        (false, packet(b"\x02app")),
        (false, packet(b"\x11app\0\0app\0\x2d\0caching_sha2_password\0")),
    ] {
        for cut in 0..bytes.len() {
            let mut wire = scene.session(&["BEGIN", "SELECT v FROM t WHERE id = 1 FOR UPDATE"]);
            if prepares {
                let here =
                    wire.prepare("INSERT INTO t SELECT ?, 1 /* cut execute */").expect("a preparation");
                assert_eq!(here.id, statement.id);
            }
            wire.raw(&bytes[..cut]).expect("it is open");
            drop(wire);
            assert_eq!(bystander.query("SELECT 2").value(), "2", "another session, after {cut} bytes");
        }
    }
    // Nobody has kept the row that all of them had locked.
    assert_eq!(bystander.query("UPDATE t SET v = 0 WHERE id = 1").code(), 0);
    assert_eq!(scene.cluster.primary.value("SELECT count(*) FROM app.t WHERE id = 77"), "0");
    let log = scene.cluster.primary.log_since(mark);
    assert!(!log.contains("(77, 1) /* cut */"), "half a statement was run");
}

/// A test of its own for each make.
macro_rules! on_both {
    ($($name:ident)*) => {
        mod mariadb { use super::Make; $(#[test] fn $name() { super::$name(Make::MariaDb); })* }
        mod mysql { use super::Make; $(#[test] fn $name() { super::$name(Make::MySql); })* }
    };
}

on_both! { in_a_read in_the_middle_of_a_row_nothing_else_is_said in_a_transaction in_a_write in_a_commit clients_that_go }
