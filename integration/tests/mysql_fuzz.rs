//! Clients of MariaDB and MySQL that send anything at any stage, from seeds that a failure tells: the process lives,
//! others notice nothing, and nothing stays behind in the database or the pool. Then what is wrong in a known way, and
//! must be answered as the database would.

use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use fastrand::Rng;
use integration::mysql::wire::{Wire, cap};
use integration::mysql::{Cluster, Make};
use integration::seeds::{self, one_of};
use integration::{Config, Proxy, Raise, holds, meter, until};

const PATIENCE: Duration = Duration::from_secs(60);

const TEXTS: &[&str] = &[
    "",
    ";",
    "BEGIN",
    "START TRANSACTION READ ONLY",
    "COMMIT",
    "ROLLBACK",
    "SAVEPOINT s",
    "ROLLBACK TO s",
    "SET autocommit = 0",
    "SET autocommit = 1",
    "SELECT 1",
    "SELECT 1; SELECT 2; SELECT 3",
    "BEGIN; SELECT 1; COMMIT; SELECT nothing",
    "SELECT ?",
    "SELECT ?, ?",
    "SELECT * FROM t",
    "SELECT a.id, repeat('x', 500) FROM t a, t b LIMIT 2000",
    "SELECT * FROM t WHERE id = ? FOR UPDATE",
    "SELECT sleep(0.01)",
    "SELECT sleep(30)",
    "INSERT INTO t VALUES (1, 'taken')",
    "INSERT INTO t SELECT max(id) + 1, 'new' FROM t",
    "UPDATE t SET v = ? WHERE id = 3",
    "DELETE FROM t WHERE id > 60",
    "LOAD DATA LOCAL INFILE 'x' INTO TABLE t",
    "PREPARE p FROM 'SELECT 1'",
    "EXECUTE p",
    "DEALLOCATE PREPARE p",
    "SET sql_mode = 'ANSI_QUOTES'",
    "SET time_zone = '+05:00'",
    "SET NAMES latin1",
    "SET @a = 5, @b = 'x'",
    "USE nowhere",
    "CREATE TEMPORARY TABLE x (n int)",
    "DROP TABLE IF EXISTS never_there",
    "SHOW WARNINGS",
    "SELECT ROW_COUNT()",
    "SELECT SQL_CALC_FOUND_ROWS id FROM t LIMIT 1",
    "SELECT GET_LOCK('a', 0)",
    "LOCK TABLES t READ",
    "UNLOCK TABLES",
    "HANDLER t OPEN",
    "XA START 'x'",
    "not SQL at all",
    "SELECT '\u{1F980}\u{0301}'",
];

fn packet(sequence: u8, payload: &[u8]) -> Vec<u8> {
    of_length(payload.len(), sequence, payload)
}

fn of_length(length: usize, sequence: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(length).expect("a packet's length").to_le_bytes();
    [&length[..3], &[sequence], payload].concat()
}

fn statement(rng: &mut Rng) -> [u8; 4] {
    (*one_of(rng, &[1, 1, 1, 2, 3, 0, 77, u32::MAX])).to_le_bytes()
}

/// A command as it should be, in a place where it may not.
fn right(rng: &mut Rng) -> Vec<u8> {
    let text = one_of(rng, TEXTS).as_bytes();
    let id = statement(rng);
    let payload = match rng.u8(..20) {
        0..=5 => [&[3], text].concat(),
        6 | 7 => [&[0x16], text].concat(),
        8..=10 => {
            let flags = *one_of(rng, &[0, 0, 0, 1]);
            let values: &[u8] = if rng.bool() { b"\0\x01\xfd\0\x011" } else { b"" };
            [&[0x17][..], &id, &[flags, 1, 0, 0, 0], values].concat()
        }
        11 => [&[0x18][..], &id, &[0, 0], &seeds::bytes(rng, 100)].concat(),
        12 => [&[0x19][..], &id].concat(),
        13 => [&[0x1a][..], &id].concat(),
        14 => [&[0x1c][..], &id, &[2, 0, 0, 0]].concat(),
        15 => vec![0x1b, rng.u8(..2), 0],
        16 => vec![*one_of(rng, &[0x0e, 0x09, 0x1f])],
        17 => [&[4][..], b"t\0"].concat(),
        18 => [&[2], *one_of(rng, &[&b"app"[..], b"nowhere"])].concat(),
        _ => b"\x11app\0\0app\0\x2d\0caching_sha2_password\0".to_vec(),
    };
    packet(0, &payload)
}

fn wrong(rng: &mut Rng) -> Vec<u8> {
    // Numbers of the database's own are the database's: nobody else's connection is to be killed by chance.
    const KILL: u8 = 0x0c;
    let whole = right(rng);
    match rng.u8(..6) {
        0 => seeds::bytes(rng, 200),
        1 => whole[..rng.usize(..whole.len())].to_vec(),
        2 => of_length(*one_of(rng, &[0, 1, 3, 5, 100, 70_000, 0xff_fffe, 0xff_ffff]), 0, &whole[4..]),
        3 => {
            let mut whole = whole;
            let at = rng.usize(..whole.len());
            whole[at] = Some(rng.u8(..)).filter(|byte| *byte != KILL).unwrap_or_default();
            whole
        }
        4 => packet(rng.u8(..), &whole[4..]),
        _ => {
            let tag = Some(rng.u8(..)).filter(|byte| *byte != KILL).unwrap_or_default();
            packet(0, &[&[tag], &seeds::bytes(rng, 60)[..]].concat())
        }
    }
}

/// Brings a session somewhere.
fn prelude(rng: &mut Rng) -> Vec<u8> {
    let query = |sql: &str| packet(0, &[&[3], sql.as_bytes()].concat());
    match rng.u8(..7) {
        0 => Vec::new(),
        1 => [query("BEGIN"), query("UPDATE t SET v = 'open' WHERE id = 5")].concat(),
        2 => query("LOAD DATA LOCAL INFILE 'x' INTO TABLE t"),
        3 => packet(0, b"\x16SELECT ?"),
        // A cursor, with long data for another statement behind it.
        4 => {
            let open = [&[0x17, 1, 0, 0, 0, 1, 1, 0, 0, 0][..]].concat();
            [packet(0, b"\x16SELECT id FROM t"), packet(0, &open), packet(0, b"\x16SELECT ?")].concat()
        }
        5 => [packet(0, b"\x16SELECT ?"), packet(0, b"\x18\x01\0\0\0\0\0abc")].concat(),
        _ => query("SELECT a.id, repeat('x', 900) FROM t a, t b, t c LIMIT 9000"),
    }
}

struct Stage {
    cluster: Cluster,
    proxy: Proxy,
}

impl Stage {
    fn new(make: Make, size: &str) -> Self {
        let cluster = Cluster::start(make, 1);
        cluster.prepare(
            "CREATE TABLE t (id int PRIMARY KEY, v varchar(20)); CREATE TABLE kept (n int);
             INSERT INTO kept VALUES (1), (2), (3), (4), (5), (6), (7), (8), (9), (10)",
        );
        for n in 1..=50 {
            cluster.primary.sql(&format!("INSERT INTO app.t VALUES ({n}, 'v')")).ok();
        }
        cluster.settle();
        for server in cluster.servers() {
            for (name, value) in
                [("lock_wait_timeout", "2"), ("innodb_lock_wait_timeout", "2"), ("local_infile", "ON")]
            {
                server.set(name, value);
            }
            match make {
                Make::MariaDb => server.set("max_statement_time", "4"),
                Make::MySql => server.set("max_execution_time", "4000"),
            }
        }
        let config = Config::of_mysql(&cluster).raw("pool_size", size).text("query_wait_timeout", "20s");
        let stage = Self { cluster, proxy: Proxy::start(config.text("max_lag", "60s")) };
        until("it serves", PATIENCE, || {
            let mut wire = stage.wire(0)?;
            (wire.query("BEGIN").code() == 0).then_some(())
        });
        stage
    }

    fn wire(&self, abilities: u64) -> Option<Wire> {
        Wire::login(self.proxy.port(), abilities | cap::CONNECT_WITH_DB, 45).ok()
    }

    /// What clients have sent is carried out also when they have gone; each may leave a backend that is closed.
    fn await_room(&self) {
        until("few sessions are left", PATIENCE, || {
            (self.proxy.metrics().sum("splitpool_sessions", &[]) < 12.0).then_some(())
        });
    }

    fn await_nothing_left(&self) {
        self.proxy.assert_sound();
        for server in self.cluster.servers() {
            let open =
                "SELECT count(*) FROM information_schema.innodb_trx t JOIN information_schema.processlist p
                 ON t.trx_mysql_thread_id = p.id WHERE p.user = 'app'";
            holds(&format!("what is open on {}", server.name()), PATIENCE, "0".to_owned(), || {
                server.value(open)
            });
            let busy = "SELECT count(*) FROM information_schema.processlist WHERE user = 'app' AND command <> 'Sleep'";
            holds(&format!("what runs on {}", server.name()), PATIENCE, "0".to_owned(), || {
                server.value(busy)
            });
            assert_eq!(server.value("SELECT is_free_lock('a')"), "1");
        }
        self.proxy.await_no_leases();
        let pinned = "splitpool_pinned_sessions";
        holds(pinned, PATIENCE, 0.0, || self.proxy.metrics().sum(pinned, &[]));
    }
}

/// One client from its sign-in to whatever end it comes to.
fn client(stage: &Stage, rng: &mut Rng) {
    let all = [0, cap::MULTI_STATEMENTS, cap::DEPRECATE_EOF, cap::LOCAL_FILES, cap::SESSION_TRACK, cap::BULK];
    let abilities = *one_of(rng, &all) | *one_of(rng, &all);
    let Some(mut wire) = stage.wire(abilities) else { panic!("a client could not sign in") };
    let stream = wire.stream();
    stream.set_read_timeout(Some(Duration::from_millis(15))).expect("a timeout can be set");
    let begun = wire.raw(&prelude(rng));
    let read = |wire: &mut Wire| wire.packet().is_ok();
    if begun.and_then(|()| seeds::talk(rng, &mut wire, [right, wrong], Wire::raw, read)).is_err() {
        return;
    }
    match rng.u8(..4) {
        0 => drop(wire.raw(&packet(0, &[1]))),
        1 => drop(stream.shutdown(Shutdown::Write)),
        2 => drop(stream.shutdown(Shutdown::Both)),
        _ => {
            // A reset instead of an end.
            rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).ok();
        }
    }
}

/// One client that never signs in.
fn stranger(stage: &Stage, rng: &mut Rng) {
    let Ok(mut wire) = Wire::connect(stage.proxy.port()) else { panic!("nobody listens") };
    wire.packet().expect("a greeting");
    let mut answer = (cap::USUAL as u32 | 1 << 3).to_le_bytes().to_vec();
    answer.extend_from_slice(&[0, 0, 0, 1, 45]);
    answer.extend_from_slice(&[0; 23]);
    answer.extend_from_slice(b"app\0\x20");
    answer.extend_from_slice(&[7; 32]);
    answer.extend_from_slice(b"app\0caching_sha2_password\0");
    for _ in 0..rng.usize(..4) {
        let at = rng.usize(..answer.len());
        answer[at] = rng.u8(..);
    }
    let mut bytes = match rng.u8(..4) {
        0 => seeds::bytes(rng, 300),
        // A request for TLS that is not offered.
        1 => packet(1, &answer[..32]),
        _ => packet(one_of(rng, &[1, 1, 1, 0, 2]).to_owned(), &answer),
    };
    if rng.u8(..4) == 0 {
        bytes.truncate(rng.usize(..bytes.len().max(1)));
    }
    // What may follow: a request for the key, a password, an empty proof, nonsense.
    for sequence in [3, 5] {
        let said = one_of(rng, &[vec![2], b"secret\0".to_vec(), Vec::new(), vec![9; 256]]).clone();
        bytes.extend(packet(sequence, &said));
    }
    wire.raw(&bytes).ok();
    wire.stream().shutdown(Shutdown::Write).ok();
    while let Ok(said) = wire.packet() {
        assert_ne!(said.first(), Some(&0), "it was let in");
    }
}

/// A session in a transaction of its own must find it as it left it.
fn bystander(stage: &Stage, over: &AtomicBool, rounds: &AtomicU64) {
    let mut wire = stage.wire(0).expect("a sign-in");
    while !over.load(Ordering::Relaxed) {
        for sql in ["SET @whose = 'mine', time_zone = '+11:00'", "BEGIN", "INSERT INTO kept VALUES (11)"] {
            assert_eq!(wire.query(sql).code(), 0, "{sql}");
        }
        assert_eq!(wire.query("SELECT count(*) FROM kept").value(), "11");
        assert_eq!(wire.query("ROLLBACK").code(), 0);
        let seen = wire.query("SELECT count(*), @whose, @@time_zone FROM kept").cells(0);
        assert_eq!(seen, ["10", "mine", "+11:00"].map(|text| Some(text.to_owned())));
        let mut new = stage.wire(0).expect("a sign-in");
        let ask =
            "SELECT @@sql_mode LIKE '%ANSI_QUOTES%', @@character_set_client, @a, database(), @@autocommit";
        let state = [Some("0"), Some("utf8mb4"), None, Some("app"), Some("1")];
        assert_eq!(new.query(ask).cells(0), state.map(|text| text.map(str::to_owned)));
        rounds.fetch_add(1, Ordering::Relaxed);
    }
}

fn anything_at_any_stage(make: Make) {
    let stage = Stage::new(make, "12");
    let id = stage.proxy.process().id();
    let before = meter::resident_kb(id);
    let (over, rounds) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let end = Raise(&over);
        scope.spawn(|| bystander(&stage, &over, &rounds));
        let fuzzers: Vec<_> = (0..4)
            .map(|n| {
                let stage = &stage;
                scope.spawn(move || {
                    seeds::each(n * 100..(n + 1) * 100, |seed, rng| {
                        if rng.u8(..5) == 0 {
                            stranger(stage, rng)
                        } else {
                            client(stage, rng)
                        }
                        if seed % 10 == 0 {
                            stage.await_room();
                        }
                    });
                })
            })
            .collect();
        let ends: Vec<bool> = fuzzers.into_iter().map(|fuzzer| fuzzer.join().is_ok()).collect();
        drop(end);
        assert!(ends.iter().all(|good| *good), "a client was treated in a wrong way");
    });
    assert!(rounds.into_inner() > 3, "the bystander had too few turns");
    stage.await_nothing_left();
    // All places in the pool can be had at once.
    let mut sessions: Vec<Wire> = (0..12).map(|_| stage.wire(0).expect("a sign-in")).collect();
    for session in &mut sessions {
        assert_eq!(session.query("BEGIN").code(), 0);
        assert_eq!(session.query("SELECT count(*) FROM kept").value(), "10");
    }
    let grown = meter::resident_kb(id).saturating_sub(before);
    assert!(grown < 32 * 1024, "{grown} kB more");
}

/// Payloads of 16 MB and more of which the rest never comes, or comes under a wrong number: nothing of them is run.
fn long_payloads_cut_short(make: Make) {
    const FULL: usize = 0xff_ffff;
    let stage = Stage::new(make, "4");
    let mark = stage.cluster.mark();
    let id = stage.proxy.process().id();
    let before = meter::resident_kb(id);
    let mut bystander = stage.wire(0).expect("a sign-in");
    let insert = "INSERT INTO kept VALUES (99) /* never whole ";
    for tag in [3, 0x16] {
        let payload = [&[tag], insert.as_bytes(), &vec![b'x'; FULL - insert.len() - 1]].concat();
        for (length, more) in [
            (5, None),
            (70_000, None),
            (FULL, None),
            (FULL, Some(of_length(10, 7, b"*/"))),
            (FULL, Some(of_length(10, 1, b"*/"))),
            (FULL, Some(of_length(FULL, 1, b"*/"))),
        ] {
            let mut wire = stage.wire(0).expect("a sign-in");
            wire.raw(&of_length(FULL, 0, &payload[..length])).ok();
            wire.raw(&more.unwrap_or_default()).ok();
            drop(wire);
            assert_eq!(bystander.query("SELECT 2").value(), "2");
        }
    }
    // An EXECUTE and long data, likewise.
    for long in [true, false] {
        let mut wire = stage.wire(0).expect("a sign-in");
        let statement =
            wire.prepare("INSERT INTO kept SELECT length(?) /* never whole */").expect("prepared");
        let front = if long {
            [&[0x18][..], &statement.id.to_le_bytes(), &[0, 0]].concat()
        } else {
            [
                &[0x17][..],
                &statement.id.to_le_bytes(),
                &[0, 1, 0, 0, 0, 0, 1, 253, 0, 0xfe, 0, 0, 0, 2, 0, 0, 0, 0],
            ]
            .concat()
        };
        let payload = [&front[..], &vec![b'y'; FULL - front.len()]].concat();
        wire.raw(&of_length(FULL, 0, &payload)).ok();
        drop(wire);
    }
    stage.await_nothing_left();
    assert_eq!(stage.cluster.primary.value("SELECT count(*) FROM app.kept"), "10");
    assert!(stage.cluster.servers_that_ran("VALUES (99) /* never whole", &mark).is_empty());
    let grown = meter::resident_kb(id).saturating_sub(before);
    assert!(grown < 48 * 1024, "{grown} kB more");
}

/// What came of bytes: an errno, 0 for anything else, or nothing because the connection ended.
fn outcome(wire: &mut Wire, bytes: &[u8]) -> Option<u16> {
    wire.raw(bytes).ok()?;
    // It answers packet 1, or ends.
    wire.stream().set_read_timeout(Some(PATIENCE)).ok()?;
    let mut header = [0; 4];
    std::io::Read::read_exact(&mut wire.stream(), &mut header).ok()?;
    let length = u32::from_le_bytes([header[0], header[1], header[2], 0]) as usize;
    let mut payload = vec![0; length];
    std::io::Read::read_exact(&mut wire.stream(), &mut payload).ok()?;
    match payload.as_slice() {
        [0xff, low, high, ..] => Some(u16::from_le_bytes([*low, *high])),
        _ => Some(0),
    }
}

/// Makes a payload that is about a statement with two parameters.
type Case = Box<dyn Fn(u32) -> Vec<u8>>;

/// What is wrong in a known way is answered as the database itself would.
fn wrong_as_in_the_database(make: Make) {
    let stage = Stage::new(make, "4");
    let direct_port = stage.cluster.primary.port();
    let sql = "SELECT ?, ?";
    let execute = |id: u32, rest: &[u8]| [&[0x17][..], &id.to_le_bytes(), &[0, 1, 0, 0, 0], rest].concat();
    let cases: Vec<(&str, Case)> = vec![
        ("no bitmap", Box::new(move |id| execute(id, b""))),
        ("no types", Box::new(move |id| execute(id, b"\0\x01"))),
        ("one type of two", Box::new(move |id| execute(id, b"\0\x01\xfd\0"))),
        (
            "a value that is longer than all",
            Box::new(move |id| execute(id, b"\0\x01\xfd\0\xfd\0\xfd\xff\xff\x00ab")),
        ),
        ("one value of two", Box::new(move |id| execute(id, b"\0\x01\xfd\0\xfd\0\x01a"))),
        ("a statement that is not", Box::new(move |_| execute(4711, b"\0\x01\xfd\0\xfd\0\x01a\x01b"))),
        ("rows of no cursor", Box::new(|id| [&[0x1c][..], &id.to_le_bytes(), &[1, 0, 0, 0]].concat())),
        ("rows of nothing", Box::new(|_| [&[0x1c][..], &4711_u32.to_le_bytes(), &[1, 0, 0, 0]].concat())),
        ("a reset of nothing", Box::new(|_| [&[0x1a][..], &4711_u32.to_le_bytes()].concat())),
        ("no such command", Box::new(|_| vec![0x7f])),
        ("no such option", Box::new(|_| vec![0x1b, 9, 9])),
        ("no text", Box::new(|_| vec![3])),
        ("nothing to prepare", Box::new(|_| vec![0x16])),
        ("no such schema", Box::new(|_| b"\x02nowhere".to_vec())),
        ("a file of nobody's", Box::new(|_| b"\x03LOAD DATA LOCAL INFILE 'x' INTO TABLE t".to_vec())),
        ("all that is right", Box::new(move |id| execute(id, b"\0\x01\xfd\0\xfd\0\x01a\x01b"))),
    ];
    let mut differences = Vec::new();
    for (name, case) in &cases {
        let answers: Vec<(Option<u16>, Option<String>)> = [stage.proxy.port(), direct_port]
            .into_iter()
            .map(|port| {
                let mut wire = Wire::login(port, cap::CONNECT_WITH_DB, 45).expect("a sign-in");
                let statement = wire.prepare(sql).expect("a preparation");
                let told = outcome(&mut wire, &packet(0, &case(statement.id)));
                // Then it goes on, or has ended.
                let next = (told.is_some_and(|errno| errno > 0))
                    .then(|| wire.command(3, b"SELECT 7").and_then(|()| wire.result()).ok())
                    .flatten();
                (told, next.map(|next| next.value()))
            })
            .collect();
        if answers[0] != answers[1] {
            differences.push(format!("{name}: {:?} instead of {:?}", answers[0], answers[1]));
        }
    }
    assert!(differences.is_empty(), "{differences:#?}");
    // A command under a wrong number, and one without a payload, end the session with a word.
    for bytes in [packet(5, b"\x03SELECT 1"), packet(0, b"")] {
        let mut wire = stage.wire(0).expect("a sign-in");
        assert!(outcome(&mut wire, &bytes).is_some_and(|errno| errno > 0), "{bytes:?}");
        assert!(wire.command(3, b"SELECT 7").and_then(|()| wire.packet()).is_err(), "{bytes:?}");
    }
    stage.await_nothing_left();
}

/// A test of its own for each make.
macro_rules! on_both {
    ($($name:ident)*) => {
        mod mariadb { use super::Make; $(#[test] fn $name() { super::$name(Make::MariaDb); })* }
        mod mysql { use super::Make; $(#[test] fn $name() { super::$name(Make::MySql); })* }
    };
}

on_both! { anything_at_any_stage long_payloads_cut_short wrong_as_in_the_database }
