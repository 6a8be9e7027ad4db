//! Prepared statements, named and unnamed, portals and transactions in any order, by several clients through few
//! backends: each gets, message by message, what a connection of its own to the database gives.

use fastrand::Rng;
use integration::seeds::{self, one_of};
use integration::{Login, PASSWORD, Stage, Wire, frame};

/// Names of statements. The empty one is the unnamed.
const STATEMENTS: &[&str] = &["", "", "", "", "a", "b", "Mixed Case", "splitpool_1"];
const PORTALS: &[&str] = &["", "", "", "c", "d"];

/// Few, so that they come again, also to other clients: what drivers repeat under no name.
const TEXTS: &[&str] = &[
    "SELECT 1",
    "SELECT 1",
    "SELECT $1::int + 1",
    "SELECT $1::int + 1",
    "SELECT $1::text, $2::text",
    "SELECT n, repeat('x', n) FROM generate_series(1, 7) n",
    "SELECT n, repeat('x', n) FROM generate_series(1, 7) n",
    "SELECT v FROM t WHERE id = $1::int",
    "SELECT count(*) FROM t",
    "SELECT 1/0",
    "SELECT 1/(2 - $1::int)",
    "SELEKT",
    "SELECT nothing FROM t",
    "",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "SET LOCAL work_mem = '3MB'",
    "SHOW work_mem",
    "SET application_name = 'interleaved'",
    "SHOW application_name",
    "DEALLOCATE ALL",
    "DISCARD ALL",
    "PREPARE q AS SELECT 'by SQL'",
    "EXECUTE q",
    "DECLARE c CURSOR FOR SELECT n FROM generate_series(1, 9) n",
    "FETCH 2 FROM c",
    "CLOSE c",
    "SELECT 1; SELECT 2",
    "BEGIN; SELECT 1; COMMIT",
    "VALUES (1), (2), (3)",
];

/// Only as simple queries: commands on statements of the protocol, which the proxy knows as such, and savepoints,
/// over which the database itself may fall outside a transaction.
const SIMPLE: &[&str] = &["DEALLOCATE a", "EXECUTE a", "EXECUTE a(1)", "SAVEPOINT s", "ROLLBACK TO s"];

fn text(rng: &mut Rng) -> &'static str {
    one_of::<&'static str>(rng, TEXTS)
}

fn one(rng: &mut Rng) -> Vec<u8> {
    let (name, portal): (&str, &str) = (*one_of(rng, STATEMENTS), *one_of(rng, PORTALS));
    let count = rng.usize(..3);
    let values: Vec<Option<&[u8]>> = (0..count).map(|n| [Some(&b"1"[..]), None][n % 2]).collect();
    match rng.u8(..16) {
        0..=3 => frame::parse(name, text(rng)),
        4..=8 => frame::bind(portal, name, &values),
        9 => frame::describe_statement(name),
        10 => frame::describe_portal(portal),
        11 | 12 => frame::execute(portal, rng.u32(..4)),
        13 => frame::close_statement(name),
        14 => frame::close_portal(portal),
        _ => frame::flush(),
    }
}

/// What drivers send: all of it in one go, the statement under no name.
fn usual(rng: &mut Rng) -> Vec<u8> {
    let text = text(rng);
    let values: Vec<Option<&[u8]>> = (0..text.matches('$').count()).map(|_| Some(&b"1"[..])).collect();
    let describe = if rng.bool() { frame::describe_portal("") } else { frame::describe_statement("") };
    [frame::parse("", text), frame::bind("", "", &values), describe, frame::execute("", 0)].concat()
}

/// A request that ends with one ReadyForQuery.
fn request(rng: &mut Rng) -> Vec<u8> {
    match rng.u8(..10) {
        0 if rng.bool() => frame::query(one_of::<&str>(rng, SIMPLE)),
        0..=2 => frame::query(text(rng)),
        3..=5 => [usual(rng), frame::sync()].concat(),
        // As `usual` in two turns: what was prepared before is bound behind a Sync.
        6 => [frame::parse("", text(rng)), frame::describe_statement(""), frame::sync()].concat(),
        7 => [frame::bind("", "", &[Some(b"1")]), frame::execute("", 0), frame::sync()].concat(),
        _ => {
            let mut batch = Vec::new();
            let mut replaces = false;
            for _ in 0..rng.usize(..7) {
                let frame = one(rng);
                // Of several unnamed statements in one batch that fails, the proxy remembers none.
                let again =
                    frame.starts_with(b"P\0") && frame[5] == 0 || frame.starts_with(b"C\0\0\0\x06S\0");
                if !(again && replaces) {
                    batch.extend(frame);
                }
                replaces |= again;
            }
            batch.extend(frame::sync());
            batch
        }
    }
}

/// A reply up to ReadyForQuery, for comparison: of errors what they say, not where in the source they come from.
fn reply(wire: &mut Wire, request: &[u8]) -> Vec<(char, String)> {
    wire.send(request).expect("it is open");
    let mut heard = Vec::new();
    loop {
        let message = wire.read().unwrap_or_else(|error| panic!("{error} after {heard:?}"));
        let text = String::from_utf8_lossy(&message.body).into_owned();
        let text = match message.tag {
            b'E' | b'N' => {
                let fields = text.split('\0').filter(|field| field.starts_with(['S', 'C', 'M', 'D', 'P']));
                fields.collect::<Vec<_>>().join("|")
            }
            _ => text,
        };
        heard.push((char::from(message.tag), text));
        if message.tag == b'Z' {
            return heard;
        }
    }
}

fn play(stage: &Stage, rng: &mut Rng) {
    let own = || {
        let login = Login::new(stage.cluster.primary.port(), "app", PASSWORD, "app");
        Wire::login(&login).expect("the role app may sign in")
    };
    let mut pairs: Vec<(Wire, Wire)> = (0..3).map(|_| (stage.proxy.session(), own())).collect();
    let (mut open, mut failed) = ([false; 3], [false; 3]);
    let mut said = Vec::new();
    for _ in 0..40 {
        let who = rng.usize(..pairs.len());
        // Who waits for a backend that another holds would wait for ever.
        if !open[who] && open.iter().filter(|open| **open).count() > 1 {
            continue;
        }
        let request = request(rng);
        said.push(format!("{who}: {}", String::from_utf8_lossy(&request).escape_debug()));
        let (pooled, direct) = &mut pairs[who];
        let (mut seen, mut expected) = (reply(pooled, &request), reply(direct, &request));
        if failed[who] {
            // What is prepared anew meets the failed transaction earlier than what is there: another error.
            for heard in [&mut seen, &mut expected] {
                heard.iter_mut().filter(|(tag, _)| *tag == 'E').for_each(|(_, text)| text.clear());
            }
        }
        assert_eq!(seen, expected, "of the last request of\n{}", said.join("\n"));
        failed[who] = expected.last().is_some_and(|(_, status)| status == "E");
        open[who] = expected.last().is_some_and(|(_, status)| status != "I");
        // A session that is bound keeps its backend, too.
        if request.windows(9).any(|text| text == b"PREPARE q") {
            let clean = frame::query("ROLLBACK");
            assert_eq!(reply(pooled, &clean).last(), reply(direct, &clean).last());
            let clean = frame::query("DISCARD ALL");
            assert_eq!(reply(pooled, &clean), reply(direct, &clean));
            (open[who], failed[who]) = (false, false);
        }
    }
}

#[test]
fn as_if_alone() {
    let stage = Stage::new(0, |mut config| {
        config.listen = "auth = \"trust\"\n".to_owned();
        config.raw("pool_size", "3").text("query_wait_timeout", "20s")
    });
    stage.cluster.prepare(
        "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t SELECT n, n FROM generate_series(1, 9) n",
    );
    seeds::each(0..80, |_, rng| play(&stage, rng));
}
