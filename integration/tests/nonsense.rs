//! A database that talks nonsense: its client is told, the others notice nothing, and nothing grows.
//!
//! The sign-in and the probes reach a real server; what it is asked next is answered by a link that makes the
//! answer up, from a seed that a failure tells.

use std::io::ErrorKind;
use std::time::Duration;

use fastrand::Rng;
use integration::seeds::{self, one_of};
use integration::wire::Error;
use integration::{Cluster, Lie, Linked, Login, PASSWORD, Then, Wire, frame, meter, until};

/// What the link lies behind.
const MARK: &str = "/* here it lies */";

/// What a process may grow by, in kilobytes, whatever it is told. A debug build needs some room by itself.
const GROWTH_MAX_KB: u64 = 24 * 1024;

struct Scene(Linked);

fn scene() -> Scene {
    let cluster = Cluster::start(0);
    Scene(Linked::over(cluster, |mut config| {
        // Sessions are many, and proofs take time.
        config.listen = "auth = \"trust\"\n".to_owned();
        config.text("query_wait_timeout", "20s").text("connect_timeout", "10s")
    }))
}

impl Drop for Scene {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let Linked { proxy, cluster, .. } = &self.0;
        proxy.assert_sound();
        let open = "SELECT count(*) FROM pg_stat_activity WHERE usename IN ('app', 'other') AND xact_start IS NOT NULL";
        until("nothing is left open", Duration::from_secs(60), || {
            (cluster.primary.value(open) == "0").then_some(())
        });
        proxy.await_no_leases();
    }
}

/// A message with a length that may be anything.
fn of_any_length(rng: &mut Rng, tag: u8, body: &[u8]) -> Vec<u8> {
    let right = body.len() as u32 + 4;
    let length =
        *one_of(rng, &[0, 1, 3, 4, right - 1, right + 1, right + 77, 0x7fff_ffff, 0x8000_0000, u32::MAX]);
    frame::message_of_length(tag, length, body)
}

/// What a database may answer, and more that it may not.
fn nonsense(rng: &mut Rng) -> Vec<u8> {
    const TAGS: &[u8] = b"RSKZTDCE123nstIGHWVANdcfv\0\xff?";
    let row = frame::message(b'D', &[0, 1, 0, 0, 0, 1, b'1']);
    let columns = [&[0, 1][..], b"v\0", &[0; 6], &23_u32.to_be_bytes(), &[0, 4], &[255; 4], &[0; 2]].concat();
    let right = [
        frame::message(b'T', &columns),
        row,
        frame::message(b'C', b"SELECT 1\0"),
        frame::message(b'Z', b"I"),
        frame::message(b'E', b"SERROR\0C42601\0Mwrong\0\0"),
        frame::message(b'S', b"application_name\0x\0"),
        frame::message(b'N', b"SNOTICE\0C00000\0Mhear\0\0"),
        frame::message(b'1', b""),
        frame::message(b'2', b""),
        frame::message(b'G', &[0, 0, 0]),
        frame::message(b'H', &[0, 0, 0]),
        frame::message(b'A', b"\0\0\0\x01c\0p\0"),
    ];
    let mut said = Vec::new();
    for _ in 0..rng.usize(..5) {
        said.extend_from_slice(one_of(rng, &right).as_slice());
    }
    match rng.u8(..4) {
        0 => said.extend(seeds::bytes(rng, 300)),
        1 => {
            let (tag, body) = (*one_of(rng, TAGS), seeds::bytes(rng, 40));
            said.extend(frame::message(tag, &body));
        }
        2 => {
            let (tag, body) = (*one_of(rng, TAGS), seeds::bytes(rng, 40));
            said.extend(of_any_length(rng, tag, &body));
        }
        _ => {
            let whole = one_of(rng, &right);
            said.extend_from_slice(&whole[..rng.usize(..whole.len())]);
        }
    }
    said
}

/// What a client makes of an answer that was made up: its error's code, or `ended`, or nothing, because it may have
/// been a good one by chance.
fn judge(wire: &mut Wire, request: &[u8], name: &str) -> Option<String> {
    match wire.ask(request) {
        Ok(reply) => reply.error.map(|error| error.code().to_owned()),
        Err(Error::Refused(failure)) => Some(failure.code().to_owned()),
        // In the middle of a message nothing can be said.
        Err(Error::Io(error)) => {
            let ended = matches!(
                error.kind(),
                ErrorKind::UnexpectedEof
                    | ErrorKind::ConnectionReset
                    | ErrorKind::BrokenPipe
                    | ErrorKind::InvalidData
            );
            assert!(ended, "{name}: {error}");
            Some("ended".to_owned())
        }
    }
}

fn requests() -> [(&'static str, Vec<u8>); 4] {
    let sql = format!("SELECT 1 AS v {MARK}");
    [
        ("simple", frame::query(&sql)),
        ("extended", [frame::unnamed(&sql, &[]), frame::sync()].concat()),
        ("copy", frame::query(&format!("COPY t FROM STDIN {MARK}"))),
        ("set", frame::query(&format!("SET application_name = 'x' {MARK}"))),
    ]
}

#[test]
fn in_place_of_a_reply() {
    let scene = scene();
    let mut bystander = scene.0.proxy.session();
    let mut told = std::collections::BTreeMap::<String, u32>::new();
    bystander.query("SELECT 1").ok();
    let before = meter::resident_kb(scene.0.proxy.process().id());
    seeds::each(0..250, |seed, rng| {
        let (name, request) = one_of(rng, &requests()).clone();
        let first = rng.bool().then_some("BEGIN");
        let lie = Lie { bytes: nonsense(rng), then: Then::Close };
        let mut wire = scene.0.proxy.session();
        first.into_iter().for_each(|first| drop(wire.query(first).ok()));
        let lied = scene.0.link.lied();
        scene.0.link.lie_behind(MARK, lie);
        let code = judge(&mut wire, &request, name);
        assert!(scene.0.link.lied() > lied, "{name}: the link was not asked");
        *told.entry(code.unwrap_or_else(|| "served".to_owned())).or_default() += 1;
        // Whatever the client goes on with, it gets what the database says, or is told.
        judge(&mut wire, &frame::query("SELECT 1"), name);
        assert_eq!(bystander.value("SELECT 2"), "2", "another session, seed {seed}");
        assert_eq!(scene.0.proxy.session().value("SELECT 3"), "3", "the next session, seed {seed}");
    });
    println!("{told:?}");
    let grown = meter::resident_kb(scene.0.proxy.process().id()).saturating_sub(before);
    assert!(grown < GROWTH_MAX_KB, "{grown} kB more");
    assert!(
        told.keys()
            .all(|code| ["served", "ended", "42601", ""].contains(&code.as_str()) || code.starts_with("08"))
    );
    assert!(told.len() > 3 || std::env::var_os(seeds::VARIABLE).is_some(), "{told:?}");
}

#[test]
fn in_place_of_a_sign_in() {
    let scene = scene();
    let mut bystander = scene.0.proxy.session();
    let other = Login::new(scene.0.proxy.port(), "other", PASSWORD, "app");
    let greetings = [
        frame::message(b'R', &0_u32.to_be_bytes()),
        frame::message(b'K', &[0, 0, 0, 1, 0, 0, 0, 2]),
        frame::message(b'S', b"server_version\x0015\0"),
        frame::message(b'R', &10_u32.to_be_bytes()),
    ];
    seeds::each(0..60, |seed, rng| {
        let mut bytes = Vec::new();
        for _ in 0..rng.usize(..4) {
            bytes.extend_from_slice(one_of(rng, &greetings).as_slice());
        }
        bytes.extend(nonsense(rng));
        scene.0.link.lie_behind("user\0other\0", Lie { bytes, then: Then::Close });
        // The sign-in fails, or another one was tried and succeeded.
        match Wire::login(&other).and_then(|mut wire| wire.try_query("SELECT 1")) {
            Ok(reply) => {
                assert!(matches!(reply.code(), "" | "08006" | "08P01" | "42601"), "{}", reply.code())
            }
            Err(Error::Refused(failure)) => {
                assert!(
                    failure.code().starts_with("08") || failure.code() == "42601",
                    "seed {seed}: {failure}"
                );
            }
            Err(error) => panic!("seed {seed}: {error}"),
        }
        assert_eq!(bystander.value("SELECT 2"), "2", "another session, seed {seed}");
    });
    until("it may sign in again", Duration::from_secs(60), || {
        Wire::login(&other)
            .and_then(|mut wire| wire.try_query("SELECT 1"))
            .ok()
            .filter(|reply| reply.error.is_none())
    });
}

/// Runs a request that is answered for ever, and reads on until `enough` bytes or the end.
fn endless(
    scene: &Scene,
    name: &str,
    login: &Login,
    first: &str,
    request: &[u8],
    mark: &str,
    piece: Vec<u8>,
) -> u64 {
    const ENOUGH: usize = 32 << 20;
    let id = scene.0.proxy.process().id();
    let mut bystander = scene.0.proxy.session();
    bystander.query("SELECT 1").ok();
    let mut wire = Wire::login(login).expect("signs in");
    wire.query(first).ok();
    let before = meter::resident_kb(id);
    let lied = scene.0.link.lied();
    scene.0.link.lie_behind(mark, Lie { bytes: piece, then: Then::Repeat });
    wire.send(request).expect("it is open");
    let (mut heard, mut peak) = (0, before);
    while heard < ENOUGH {
        match wire.read_bytes(1 << 20) {
            Ok(bytes) => heard += bytes.len(),
            Err(error) => {
                assert!(
                    !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
                    "{name}: it waits"
                );
                break;
            }
        }
        peak = peak.max(meter::resident_kb(id));
        if heard % (16 << 20) == 0 {
            assert_eq!(bystander.value("SELECT 2"), "2", "{name}: another session");
        }
    }
    assert!(scene.0.link.lied() > lied, "{name}: the link was not asked");
    drop(wire);
    assert_eq!(bystander.value("SELECT 2"), "2", "{name}: another session");
    assert_eq!(scene.0.proxy.session().value("SELECT 3"), "3", "{name}: the next session");
    let grown = peak.saturating_sub(before);
    println!("{name}: {heard} bytes heard, {grown} kB more");
    grown
}

#[test]
fn without_end() {
    let scene = scene();
    let login = scene.0.proxy.login();
    let query = frame::query(&format!("SELECT 1 AS v {MARK}"));
    let set = frame::query("SET application_name = 'endless'");
    let row = frame::message(b'D', &[&[0, 1, 0, 0, 0x10, 0][..], &[b'x'; 4096]].concat());
    let notice = frame::message(b'N', &[&b"SNOTICE\0C00000\0M"[..], &[b'x'; 4000], b"\0\0"].concat());
    // So many names that no client has so many parameters.
    let parameters: Vec<u8> =
        (0..2000).flat_map(|n| frame::message(b'S', format!("name_{n}\0value\0").as_bytes())).collect();
    let columns = frame::message(b'T', &[0, 0]);
    let huge = |tag| frame::message_of_length(tag, 0x7fff_ffff, &[b'x'; 65_536]);
    for (name, piece) in [
        ("rows", row.clone()),
        ("notices", notice.clone()),
        ("parameters", parameters.clone()),
        ("descriptions", columns),
        ("one row", huge(b'D')),
        ("one error", huge(b'E')),
        ("one parameter", huge(b'S')),
        ("one completion", huge(b'C')),
        ("one readiness", huge(b'Z')),
        ("one notification", huge(b'A')),
    ] {
        let grown = endless(&scene, name, &login, "SELECT 1", &query, MARK, piece);
        assert!(grown < GROWTH_MAX_KB, "{name}: {grown} kB more");
    }
    // The answers to what the proxy itself asks after a SET.
    for (name, piece) in
        [("rows", row), ("notices", notice), ("parameters", parameters), ("one row", huge(b'D'))]
    {
        let name = format!("asked by us, {name}");
        let grown = endless(&scene, &name, &login, "SELECT 1", &set, "pg_listening_channels", piece);
        assert!(grown < GROWTH_MAX_KB, "{name}: {grown} kB more");
    }
}
