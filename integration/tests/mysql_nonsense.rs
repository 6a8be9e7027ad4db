//! A MariaDB or MySQL that talks nonsense: its client is told, the others notice nothing, and nothing grows.
//!
//! The sign-in and the probes reach a real server; what it is asked next is answered by a link that makes the answer
//! up, from a seed that a failure tells. In one test a server greets everybody with nonsense.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use fastrand::Rng;
use integration::config::Endpoint;
use integration::mysql::wire::{Wire, cap};
use integration::mysql::{Cluster, Make, Session};
use integration::seeds::{self, one_of};
use integration::{Config, Lie, Link, PASSWORD, Proxy, Then, holds, meter, until};

/// What the link lies behind.
const MARK: &str = "/* here it lies */";

/// What a process may grow by, in kilobytes, whatever it is told. A debug build needs some room by itself.
const GROWTH_MAX_KB: u64 = 24 * 1024;

const PATIENCE: Duration = Duration::from_secs(60);

const ABILITIES: u64 = cap::CONNECT_WITH_DB | cap::MULTI_STATEMENTS | cap::LOCAL_FILES;

struct Scene {
    proxy: Proxy,
    link: Link,
    cluster: Cluster,
}

fn scene(make: Make) -> Scene {
    scene_with(make, &[])
}

/// With further users.
fn scene_with(make: Make, users: &[String]) -> Scene {
    let cluster = Cluster::start(make, 0);
    cluster.prepare("CREATE TABLE t (n int)");
    for user in users {
        cluster.primary.sql(&format!("CREATE USER {user}@'%' IDENTIFIED BY '{PASSWORD}'")).ok();
        cluster.primary.sql(&format!("GRANT ALL ON app.* TO {user}@'%'")).ok();
    }
    let link = Link::to(cluster.primary.port());
    // In clear, so that the link can read along.
    let mut config = Config::of_mysql(&cluster)
        .raw("tls", "{ mode = \"off\" }")
        .text("query_wait_timeout", "20s")
        .text("connect_timeout", "10s");
    config.endpoints = vec![Endpoint::auto(link.address())];
    config.users.extend(users.iter().map(|user| (user.clone(), PASSWORD.to_owned())));
    let proxy = Proxy::start(config);
    until("it serves", PATIENCE, || {
        let mut wire = Wire::login(proxy.port(), ABILITIES, 45).ok()?;
        (wire.query("BEGIN").code() == 0).then_some(())
    });
    Scene { proxy, link, cluster }
}

impl Scene {
    fn session(&self, abilities: u64) -> Wire {
        Wire::login(self.proxy.port(), ABILITIES | abilities, 45).expect("a sign-in")
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if thread::panicking() {
            return;
        }
        self.proxy.assert_sound();
        holds("what is left open", PATIENCE, "0".to_owned(), || {
            self.cluster.primary.value("SELECT count(*) FROM information_schema.innodb_trx")
        });
        self.proxy.await_no_leases();
    }
}

fn packet(sequence: u8, payload: &[u8]) -> Vec<u8> {
    of_length(payload.len(), sequence, payload)
}

/// A packet that claims a length.
fn of_length(length: usize, sequence: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(length).expect("a packet's length").to_le_bytes();
    [&length[..3], &[sequence], payload].concat()
}

fn definition(name: &str) -> Vec<u8> {
    let name = [&[u8::try_from(name.len()).expect("a short name")], name.as_bytes()].concat();
    [b"\x03def\0\0\0", &name[..], b"\0\x0c\x3f\0\x15\0\0\0\x08\x81\0\0\0\0"].concat()
}

/// An OK packet with these changes of the session's state.
fn changed(changes: &[u8]) -> Vec<u8> {
    let status = (2_u16 | 0x4000).to_le_bytes();
    let length = u8::try_from(changes.len()).expect("a few");
    [&[0, 0, 0][..], &status, &[0, 0, 0, length], changes].concat()
}

/// What a database may say, though not here.
fn payloads() -> Vec<Vec<u8>> {
    vec![
        vec![0, 0, 0, 2, 0, 0, 0],
        vec![0, 0, 0, 10, 0, 0, 0],
        vec![0, 0, 0, 3, 0, 5, 0],
        vec![0, 0xfe, 1, 2],
        vec![0xfe, 0, 0, 2, 0],
        vec![0xfe, 0, 0, 66, 0],
        vec![0xfe, 0, 0, 2, 0, 0, 0],
        vec![0xfe],
        vec![1],
        vec![2],
        vec![0xfc, 0xff, 0xff],
        vec![0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        vec![0],
        Vec::new(),
        definition("v"),
        b"\x017".to_vec(),
        vec![0xff, 0x28, 0x04, b'#', b'4', b'2', b'0', b'0', b'0', b'n', b'o'],
        vec![0xff],
        vec![0xff, 0x28],
        b"\xff\xff\xff\x01\x01\x02\0\0\0\x04copy".to_vec(),
        vec![0xff, 0x0a, 0x05, b'#', b'H', b'Y'],
        [&[0xfb][..], b"/etc/passwd"].concat(),
        // Prepared, with columns and parameters that never come.
        vec![0, 1, 0, 0, 0, 2, 0, 1, 0, 0, 0, 0],
        vec![0, 1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0],
        // Changes of state: right, cut, of unknown kinds, longer than they are, of what cannot be.
        changed(b"\0\x0c\x09time_zone\x01Z"),
        changed(b"\0\x0c\x09time_z"),
        changed(b"\x01\x04\x03app\x03"),
        changed(b"\x77\x01\x41"),
        changed(b"\0\xfe\xff\xff\xff\xff\xff\xff\xff\xff"),
        changed(b"\0\x06\x02\xff\xfe\x02\xff\xfe"),
        changed(b"\x05\x09\x08T_______"),
        changed(b"\x03\x03\x00\x01\xff"),
        [&[0, 0, 0, 2, 0x40, 0, 0][..], &[0xfd, 0xff, 0xff, 0xff]].concat(),
        // A sign-in's: another plugin, its questions, a key.
        [&[0xfe][..], b"mysql_clear_password\0"].concat(),
        [&[0xfe][..], b"mysql_native_password\0short"].concat(),
        [&[0xfe][..], b"sha256_password\0abcdefghijklmnopqrst\0"].concat(),
        [&[0xfe][..], b"client_ed25519\0abcd"].concat(),
        [&[0xfe][..], b"no_such_plugin\0abcdefghijklmnopqrst\0"].concat(),
        vec![1, 3],
        vec![1, 4],
        vec![1, 77],
        [&[1][..], b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"].concat(),
    ]
}

/// What a database may answer, and more that it may not.
fn nonsense(rng: &mut Rng) -> Vec<u8> {
    let right = payloads();
    let mut said = Vec::new();
    let mut sequence = one_of(rng, &[1, 1, 1, 2, 3, 0, 255]).to_owned();
    let mut number = |rng: &mut Rng| {
        let now = if rng.u8(..12) == 0 { rng.u8(..) } else { sequence };
        sequence = sequence.wrapping_add(1);
        now
    };
    for _ in 0..rng.usize(..5) {
        let payload = one_of(rng, &right);
        said.extend(packet(number(rng), payload));
    }
    let payload = if rng.bool() { one_of(rng, &right).clone() } else { seeds::bytes(rng, 80) };
    match rng.u8(..4) {
        0 => said.extend(seeds::bytes(rng, 300)),
        1 => said.extend(packet(number(rng), &payload)),
        2 => {
            let right = payload.len();
            let lengths = [0, 1, right.saturating_sub(1), right + 1, right + 77, 0xff_fffe, 0xff_ffff];
            let length = *one_of(rng, &lengths);
            said.extend(of_length(length, number(rng), &payload));
        }
        _ => {
            let whole = packet(number(rng), &payload);
            said.extend_from_slice(&whole[..rng.usize(..whole.len())]);
        }
    }
    said
}

/// Sends bytes that end with COM_QUIT and reads to the end, which must come. What was heard.
fn hear(wire: &mut Wire, what: &str) -> Vec<u8> {
    let mut heard = Vec::new();
    wire.raw(&packet(0, &[1])).ok();
    if let Err(error) = wire.stream().read_to_end(&mut heard) {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{what}: {error}");
    }
    heard
}

/// How a conversation ended: with the last packet's errno, if it is an error.
fn verdict(mut heard: &[u8]) -> String {
    let mut last: &[u8] = &[];
    while heard.len() >= 4 {
        let length = u32::from_le_bytes([heard[0], heard[1], heard[2], 0]) as usize;
        let Some(payload) = heard.get(4..4 + length) else { return "torn".to_owned() };
        (last, heard) = (payload, &heard[4 + length..]);
    }
    match last {
        [0xff, low, high, ..] => u16::from_le_bytes([*low, *high]).to_string(),
        [] => "ended".to_owned(),
        _ => "served".to_owned(),
    }
}

fn requests() -> Vec<(&'static str, Vec<u8>)> {
    let text = |sql: &str| [&[3], format!("{sql} {MARK}").as_bytes()].concat();
    vec![
        ("a read", packet(0, &text("SELECT 1 AS v"))),
        ("a write", packet(0, &text("INSERT INTO t VALUES (1)"))),
        ("two", packet(0, &text("SELECT 1; SELECT 2"))),
        ("a setting", packet(0, &text("SET time_zone = '+01:00'"))),
        ("a file", packet(0, &text("LOAD DATA LOCAL INFILE 'x' INTO TABLE t"))),
        ("a preparation", packet(0, &[&[0x16], format!("SELECT ? {MARK}").as_bytes()].concat())),
        ("fields", packet(0, &[&[4], format!("t\0{MARK}").as_bytes()].concat())),
        ("a schema", packet(0, &[&[2], format!("app {MARK}").as_bytes()].concat())),
    ]
}

/// EXECUTE of a statement with one parameter, in which the mark is.
fn execute(id: u32, cursor: bool) -> Vec<u8> {
    let front = [&[0x17][..], &id.to_le_bytes(), &[u8::from(cursor), 1, 0, 0, 0, 0, 1, 253, 0]].concat();
    let mark = [&[u8::try_from(MARK.len()).expect("a short mark")], MARK.as_bytes()].concat();
    packet(0, &[front, mark].concat())
}

fn in_place_of_a_reply(make: Make) {
    let scene = scene(make);
    let mut bystander = scene.session(0);
    let mut told = BTreeMap::<String, u32>::new();
    let before = meter::resident_kb(scene.proxy.process().id());
    seeds::each(0..150, |seed, rng| {
        let abilities = *one_of(rng, &[0, cap::DEPRECATE_EOF, cap::SESSION_TRACK, cap::PROGRESS]);
        let mut wire = scene.session(abilities);
        if rng.bool() {
            assert_eq!(wire.query("BEGIN").code(), 0);
        }
        let (name, request) = if rng.u8(..3) == 0 {
            let statement = wire.prepare("SELECT 1, ?").expect("a preparation");
            ("an execution", execute(statement.id, rng.u8(..4) == 0))
        } else {
            one_of(rng, &requests()).clone()
        };
        let lied = scene.link.lied();
        scene.link.lie_behind(MARK, Lie { bytes: nonsense(rng), then: Then::Close });
        wire.raw(&request).expect("it is open");
        let heard = hear(&mut wire, name);
        assert!(scene.link.lied() > lied, "{name}: the link was not asked");
        *told.entry(verdict(&heard)).or_default() += 1;
        assert_eq!(bystander.query("SELECT 2").value(), "2", "another session, seed {seed}");
        assert_eq!(scene.session(abilities).query("SELECT 3").value(), "3", "the next session, seed {seed}");
    });
    println!("{told:?}");
    let grown = meter::resident_kb(scene.proxy.process().id()).saturating_sub(before);
    assert!(grown < GROWTH_MAX_KB, "{grown} kB more");
    assert!(told.len() > 3 || std::env::var_os(seeds::VARIABLE).is_some(), "{told:?}");
}

/// What we say comes behind what the database has said, and is numbered on from it.
fn in_the_middle_of_a_reply(make: Make) {
    let scene = scene(make);
    let head = [packet(1, &[1]), packet(2, &definition("v")), packet(3, &[0xfe, 0, 0, 2, 0])].concat();
    let row = |number: u8| packet(number, b"\x017");
    let broken = |number: u8| packet(number, &[0xfe, 0, 0]);
    for (bytes, said) in [
        (packet(1, &[0, 0]), 0),
        ([head.clone(), broken(4)].concat(), 3),
        ([head.clone(), row(4), row(5), broken(6)].concat(), 5),
        ([head, row(4), of_length(0xff_ffff, 5, &[0xff])].concat(), 4),
    ] {
        for open in [false, true] {
            let mut wire = scene.session(0);
            if open {
                assert_eq!(wire.query("BEGIN").code(), 0);
            }
            scene.link.lie_behind(MARK, Lie { bytes: bytes.clone(), then: Then::Close });
            wire.raw(&packet(0, &[&[3], format!("SELECT 1 AS v {MARK}").as_bytes()].concat()))
                .expect("it is open");
            let heard = hear(&mut wire, "a read");
            let (mut left, mut numbers) = (heard.as_slice(), Vec::new());
            while let [a, b, c, number, rest @ ..] = left {
                numbers.push(*number);
                left = rest.get(u32::from_le_bytes([*a, *b, *c, 0]) as usize..).expect("whole packets");
            }
            let wanted: Vec<u8> = (1..=said + 1).collect();
            assert_eq!(numbers, wanted, "{heard:?}");
        }
    }
}

/// A database that no longer knows how to run what it has prepared (1615). Its client is told, and may run it again.
fn in_place_of_an_execution(make: Make) {
    let scene = scene(make);
    let mut bystander = scene.session(0);
    for abilities in [0, cap::DEPRECATE_EOF] {
        let mut wire = scene.session(abilities);
        let statement = wire.prepare("SELECT 1, ?").expect("a preparation");
        let theirs = bystander.prepare("SELECT 1, ?").expect("a preparation");
        let error =
            [&[0xff], &1615_u16.to_le_bytes()[..], b"#HY000Prepared statement needs to be re-prepared"];
        scene.link.lie_behind(MARK, Lie { bytes: packet(1, &error.concat()), then: Then::Close });
        assert_eq!(wire.execute(statement, false, &[Some(MARK)]).expect("an answer").code(), 1615);
        for (wire, statement) in [(&mut wire, statement), (&mut bystander, theirs)] {
            let row = wire.execute(statement, false, &[Some("x")]).expect("an answer").rows;
            assert!(row[0].ends_with(b"\x01x"), "{row:?}");
        }
    }
}

/// Answers to what the proxy itself asks: what it brings a backend to, what it looks at, how it cleans up.
fn in_place_of_an_answer_to_us(make: Make) {
    let scene = scene(make);
    let mut bystander = scene.session(0);
    let before = meter::resident_kb(scene.proxy.process().id());
    let mut lies = 0;
    seeds::each(0..80, |seed, rng| {
        let mut wire = scene.session(0);
        let asked = *one_of(rng, &["SELECT @@session.", "SET @@session.", "session_track_", "SHOW WARNINGS"]);
        let lied = scene.link.lied();
        scene.link.lie_behind(asked, Lie { bytes: nonsense(rng), then: Then::Close });
        let texts = ["SET time_zone = '+02:00'", "DROP TABLE IF EXISTS never_there", "SELECT @@time_zone"];
        for sql in texts {
            wire.raw(&packet(0, &[&[3], sql.as_bytes()].concat())).ok();
        }
        // COM_RESET_CONNECTION, then a temporary table for which the backend is cleaned at the end.
        wire.raw(&packet(0, &[0x1f])).ok();
        wire.raw(&packet(0, b"\x03CREATE TEMPORARY TABLE mine (n int)")).ok();
        hear(&mut wire, asked);
        lies += scene.link.lied() - lied;
        assert_eq!(bystander.query("SELECT 2").value(), "2", "another session, seed {seed}");
        let mut next = scene.session(0);
        assert_ne!(next.query("SELECT @@session.time_zone").value(), "+02:00", "seed {seed}");
        assert_eq!(next.query("SELECT n FROM mine").code(), 1146, "seed {seed}");
    });
    assert!(lies > 30 || std::env::var_os(seeds::VARIABLE).is_some(), "only {lies} lies");
    let grown = meter::resident_kb(scene.proxy.process().id()).saturating_sub(before);
    assert!(grown < GROWTH_MAX_KB, "{grown} kB more");
}

fn in_place_of_a_sign_in(make: Make) {
    // A user each: who is refused is not tried again at once.
    let users: Vec<String> = (0..40).map(|n| format!("user{n:02}")).collect();
    let scene = scene_with(make, &users);
    let mut bystander = scene.session(0);
    let sign_in = |user: &str| Session::login(scene.proxy.port(), user, PASSWORD, "app");
    let (mut lies, mut refused) = (0, 0);
    seeds::each(0..40, |seed, rng| {
        let user = &users[usize::try_from(seed).expect("a small seed") % users.len()];
        scene.link.lie_behind(&format!("{user}\0"), Lie { bytes: nonsense(rng), then: Then::Close });
        let lied = scene.link.lied();
        // It fails, or another sign-in was tried and succeeded.
        let told = sign_in(user).map(|mut session| session.try_query("SELECT 1").map(|reply| reply.code()));
        refused += u32::from(!matches!(told, Ok(Ok(0))));
        lies += scene.link.lied() - lied;
        assert_eq!(bystander.query("SELECT 2").value(), "2", "another session, seed {seed}");
    });
    assert!(lies > 30 || std::env::var_os(seeds::VARIABLE).is_some(), "{lies} lies, {refused} refused");
    for user in [&users[0], &users[39]] {
        until("it may sign in again", PATIENCE, || {
            sign_in(user).ok()?.try_query("SELECT 1").ok().filter(|reply| reply.error.is_none())
        });
    }
}

/// Greets with nonsense, another each time, and answers with more.
fn greet(mut stream: TcpStream, greeting: &[u8], greeted: &AtomicUsize) {
    let n = greeted.fetch_add(1, Ordering::SeqCst);
    let mut rng = Rng::with_seed(n as u64);
    let said = if n < greeting.len() {
        // Cut, or with a byte that is another.
        let mut said = greeting.to_vec();
        said[n] = rng.u8(..);
        if n.is_multiple_of(2) { said[..n].to_vec() } else { said }
    } else {
        nonsense(&mut rng)
    };
    stream.write_all(&said).ok();
    stream.set_read_timeout(Some(Duration::from_millis(100))).ok();
    // Until nothing more comes, for a moment.
    stream.read_to_end(&mut Vec::new()).ok();
    stream.write_all(&nonsense(&mut rng)).ok();
}

/// Servers of the cluster that greet everybody with nonsense, but for one.
fn in_place_of_a_greeting(make: Make) {
    let cluster = Cluster::start(make, 0);
    let mut real = TcpStream::connect(("127.0.0.1", cluster.primary.port())).expect("it listens");
    let mut greeting = vec![0; 2048];
    let length = real.read(&mut greeting).expect("a greeting");
    greeting.truncate(length);
    drop(real);
    let greeted = Arc::new(AtomicUsize::new(0));
    let wanted = greeting.len() + 40;
    // Several, as each is asked less and less often.
    let listeners: Vec<TcpListener> =
        (0..20).map(|_| TcpListener::bind("127.0.0.1:0").expect("loopback has a free port")).collect();
    let ports = listeners.iter().map(|listener| listener.local_addr().expect("it is bound").port());
    let ports: Vec<u16> = ports.collect();
    for listener in listeners {
        let (greeting, greeted) = (greeting.clone(), Arc::clone(&greeted));
        thread::spawn(move || {
            listener.incoming().flatten().for_each(|stream| greet(stream, &greeting, &greeted))
        });
    }
    let mut config = Config::of_mysql(&cluster).text("probe_interval", "50ms").text("connect_timeout", "3s");
    config.endpoints.extend(ports.iter().map(|port| Endpoint::auto(format!("127.0.0.1:{port}"))));
    let proxy = Proxy::start(config);
    let mut session = until("it serves", PATIENCE, || {
        let mut session = Session::login(proxy.port(), "app", PASSWORD, "app").ok()?;
        session.try_query("BEGIN; COMMIT").ok().filter(|reply| reply.error.is_none()).map(|_| session)
    });
    let before = meter::resident_kb(proxy.process().id());
    until("it has heard them all", Duration::from_secs(120), || {
        assert_eq!(session.value("SELECT 2"), "2");
        (greeted.load(Ordering::SeqCst) > wanted).then_some(())
    });
    proxy.assert_sound();
    let grown = meter::resident_kb(proxy.process().id()).saturating_sub(before);
    assert!(grown < GROWTH_MAX_KB, "{grown} kB more");
    assert_eq!(session.value("SELECT @@port"), cluster.primary.port().to_string());
}

/// Runs a request that is answered for ever, and reads on until enough bytes or the end.
fn endless(scene: &Scene, name: &str, abilities: u64, request: &[u8], mark: &str, piece: Vec<u8>) {
    const ENOUGH: usize = 32 << 20;
    let id = scene.proxy.process().id();
    let mut bystander = scene.session(0);
    assert_eq!(bystander.query("SELECT 1").value(), "1");
    let mut wire = scene.session(abilities);
    let before = meter::resident_kb(id);
    let lied = scene.link.lied();
    scene.link.lie_behind(mark, Lie { bytes: piece, then: Then::Repeat });
    wire.raw(request).expect("it is open");
    // Whoever asks something that ends is not kept waiting.
    wire.raw(&packet(0, &[1])).expect("it is open");
    let mut stream = wire.stream();
    let (mut heard, mut peak, mut buffer) = (0, before, vec![0; 1 << 20]);
    while heard < ENOUGH {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => heard += n,
            Err(error) => {
                let waits = matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
                assert!(!waits, "{name}: it waits");
                break;
            }
        }
        peak = peak.max(meter::resident_kb(id));
    }
    assert!(scene.link.lied() > lied, "{name}: the link was not asked");
    drop((stream, wire));
    assert_eq!(bystander.query("SELECT 2").value(), "2", "{name}: another session");
    assert_eq!(scene.session(0).query("SELECT 3").value(), "3", "{name}: the next session");
    let grown = peak.saturating_sub(before);
    println!("{name}: {heard} bytes heard, {grown} kB more");
    assert!(grown < GROWTH_MAX_KB, "{name}: {grown} kB more");
}

fn without_end(make: Make) {
    let scene = scene(make);
    let query = |sql: &str| packet(0, &[&[3], sql.as_bytes()].concat());
    let read = query(&format!("SELECT 1 AS v {MARK}"));
    let prepare = packet(0, &[&[0x16], format!("SELECT ? {MARK}").as_bytes()].concat());
    let row = packet(3, &[b'x'; 4096]);
    let head = [packet(1, &[1]), packet(2, &definition("v"))].concat();
    let many = |payload: &[u8]| (0..200).flat_map(|n| packet(n, payload)).collect::<Vec<u8>>();
    let huge =
        |payload: &[u8]| of_length(0xff_ffff, 1, &[payload, &vec![b'x'; 0xff_ffff - payload.len()]].concat());
    let eof = cap::DEPRECATE_EOF;
    for (name, abilities, request, piece) in [
        ("rows", eof, &read, [head.clone(), row].concat()),
        ("results", eof, &read, many(&[0, 0, 0, 10, 0, 0, 0])),
        ("definitions", eof, &read, [packet(1, &[0xfd, 0xff, 0xff, 0xff]), many(&definition("v"))].concat()),
        ("changes", cap::SESSION_TRACK, &read, {
            let mut ok = changed(b"\0\x0c\x09time_zone\x01Z");
            ok[3] |= 8;
            many(&ok)
        }),
        ("one row", eof, &read, huge(b"x")),
        ("one OK", 0, &read, huge(&[0, 0, 0, 2, 0, 0, 0])),
        ("one error", 0, &read, huge(&[0xff, 0x28, 0x04])),
        ("one end of rows", 0, &read, [head, huge(&[0xfe, 0, 0, 2, 0])].concat()),
        ("parameters", 0, &prepare, {
            let counts = packet(1, &[0, 1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0]);
            [counts, many(&definition("v"))].concat()
        }),
        ("progress", cap::PROGRESS, &read, many(b"\xff\xff\xff\x01\x01\x02\0\0\0\x04copy")),
    ] {
        endless(&scene, name, abilities, request, MARK, piece);
    }
    // The answers to what the proxy itself asks.
    let (set, warned) = (query("SET time_zone = '+03:00'"), query("DROP TABLE IF EXISTS never_there"));
    let rows = [packet(1, &[1]), packet(2, &definition("v")), packet(3, &[0xfe, 0, 0, 2, 0])].concat();
    for (name, request, mark) in
        [("what a session has set", &set, "SELECT @@session."), ("warnings", &warned, "SHOW WARNINGS")]
    {
        for (kind, piece) in [
            ("rows", [rows.clone(), many(&[b'x'; 4096])].concat()),
            ("one row", [rows.clone(), huge(b"x")].concat()),
            ("definitions", many(&definition("v"))),
        ] {
            endless(&scene, &format!("{name}, {kind}"), 0, request, mark, piece);
        }
    }
}

/// A test of its own for each make.
macro_rules! on_both {
    ($($name:ident)*) => {
        mod mariadb { use super::Make; $(#[test] fn $name() { super::$name(Make::MariaDb); })* }
        mod mysql { use super::Make; $(#[test] fn $name() { super::$name(Make::MySql); })* }
    };
}

on_both! {
    in_place_of_a_reply in_the_middle_of_a_reply in_place_of_an_execution in_place_of_an_answer_to_us in_place_of_a_sign_in in_place_of_a_greeting without_end
}
