//! The protocol, message by message: what is wrong is refused, what is rare is relayed.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use integration::wire::Error;
use integration::{Login, PASSWORD, PATIENCE, Stage, Wire, frame, holds, until};

fn stage() -> &'static Stage {
    static STAGE: OnceLock<Stage> = OnceLock::new();
    STAGE.get_or_init(|| {
        let stage = Stage::new(1, |config| config.text("consistency", "session"));
        stage.cluster.prepare(
            "CREATE TABLE t (id int PRIMARY KEY, v text);
             INSERT INTO t SELECT n, 'v' || n FROM generate_series(1, 100) n;
             CREATE TABLE sink (n int);
             CREATE TABLE copied (n int);
             CREATE SEQUENCE counter;
             CREATE FUNCTION talks() RETURNS int LANGUAGE plpgsql AS 'BEGIN RAISE NOTICE ''hear, hear''; RETURN 1; END';
             CREATE FUNCTION posing() RETURNS bigint STABLE LANGUAGE plpgsql AS 'BEGIN RETURN nextval(''counter''); END'",
        );
        stage
    })
}

fn session() -> Wire {
    stage().proxy.session()
}

fn raw() -> Wire {
    let wire = Wire::connect(stage().proxy.port()).expect("the proxy accepts");
    wire.patience(PATIENCE);
    wire
}

/// The proxy still serves others, at once.
#[track_caller]
fn still_serves() {
    let begun = Instant::now();
    assert_eq!(session().value("SELECT 1"), "1");
    assert!(begun.elapsed() < PATIENCE / 2);
    assert!(stage().proxy.is_running());
}

const LENGTHS: [u32; 9] = [0, 1, 3, 4, 5, 0x7fff_ffff, 0x8000_0000, 0xffff_fffb, 0xffff_ffff];

// Before the sign-in.

#[test]
fn a_first_message_of_any_length_is_refused() {
    for length in LENGTHS {
        for code in [frame::VERSION, 80_877_102, 80_877_103, 80_877_104, 0, u32::MAX, 131_072] {
            let mut wire = raw();
            let bytes = [length.to_be_bytes(), code.to_be_bytes()].concat();
            wire.send(&bytes).unwrap();
            // A length that promises more is waited for, but not beyond its end.
            wire.shut();
            assert!(wire.ends_within(PATIENCE), "length {length:#x} code {code}");
        }
    }
    still_serves();
}

#[test]
fn a_startup_without_sense_is_refused() {
    let unended = frame::untyped(frame::VERSION, b"user\0app");
    let half = frame::untyped(frame::VERSION, b"user\0app\0database\0");
    let empty = frame::untyped(frame::VERSION, &[]);
    let nobody = frame::startup(&[("database", "app")]);
    let huge = frame::startup(&[("user", "app"), ("options", &"x".repeat(20_000))]);
    let many = frame::startup(&vec![("a", "b"); 5000]);
    let looping = frame::startup(&[("user", "app"), ("options", "-c=")]);
    let http = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec();
    for bytes in [unended, half, empty, nobody, huge, many, http] {
        let mut wire = raw();
        wire.send(&bytes).ok();
        wire.shut();
        assert!(wire.ends_within(PATIENCE), "{:?}", &bytes[..bytes.len().min(40)]);
    }
    // Options that a careless reader spins on.
    for options in ["-c=", "-c", "-", "--", "-c a", "\\", "-c a=\\", "--=", "  -c   =x"] {
        let mut wire = raw();
        wire.send(&frame::startup(&[("user", "app"), ("database", "app"), ("options", options)])).unwrap();
        let end = wire.sign_in("app", PASSWORD);
        assert!(
            !matches!(&end, Err(Error::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock),
            "{options}: {end:?}"
        );
    }
    drop(looping);
    still_serves();
}

#[test]
fn a_later_minor_version_is_negotiated() {
    let mut wire = raw();
    let body = b"user\0app\0database\0app\0_pq_.unknown\x001\0\0";
    wire.send(&frame::untyped(frame::VERSION + 99, body)).unwrap();
    let first = wire.read().unwrap();
    assert_eq!(first.tag, b'v', "NegotiateProtocolVersion");
    wire.sign_in("app", PASSWORD).unwrap();
    assert_eq!(wire.value("SELECT 1"), "1");
    let mut wire = raw();
    wire.send(&frame::untyped(4 << 16, b"user\0app\0\0")).unwrap();
    assert_eq!(wire.read().unwrap().tag, b'E');
}

#[test]
fn encryption_is_declined_and_the_sign_in_goes_on() {
    let mut wire = raw();
    for request in [frame::gss_request(), frame::ssl_request()] {
        wire.send(&request).unwrap();
        assert_eq!(wire.read_bytes(1).unwrap(), b"N");
    }
    wire.send(&frame::startup(&[("user", "app"), ("database", "app")])).unwrap();
    wire.sign_in("app", PASSWORD).unwrap();
    assert_eq!(wire.value("SELECT 1"), "1");
}

#[test]
fn what_is_stuffed_behind_a_request_for_encryption_is_never_run() {
    let mark = stage().cluster.mark();
    let mut wire = raw();
    let startup = frame::startup(&[("user", "app"), ("database", "app")]);
    wire.send(&[frame::ssl_request(), startup, frame::query("SELECT 1 /* stuffed */")].concat()).unwrap();
    wire.patience(Duration::from_secs(2));
    // Declining, asking for a password, or ending it are all right; running it is not.
    while wire.read_bytes(1).is_ok() {}
    assert!(stage().cluster.servers_that_ran("/* stuffed */", &mark).is_empty());
}

#[test]
fn a_wrong_password_tells_nothing() {
    let port = stage().proxy.port();
    let refusal = |user: &str, password: &str| {
        let mut wire = raw();
        wire.send(&frame::startup(&[("user", user), ("database", "app")])).unwrap();
        let first = wire.read().unwrap();
        drop(wire);
        match Wire::login(&Login::new(port, user, password, "app")) {
            Ok(_) => panic!("{user} is let in with {password}"),
            Err(Error::Refused(failure)) => {
                let message = failure.message().replace(user, "USER");
                (first.tag, first.body, failure.code().to_owned(), message, failure.severity().to_owned())
            }
            Err(Error::Io(error)) => panic!("{error}"),
        }
    };
    let known = refusal("app", "wrong");
    assert_eq!(known.2, "28P01");
    for user in ["nobody", "app ", "APP", "postgres", "a'b\"c", "ünïcode"] {
        assert_eq!(refusal(user, "wrong"), known, "{user}");
    }
    assert_eq!(refusal("app", ""), known);
}

#[test]
fn a_message_out_of_turn_during_the_sign_in_is_refused() {
    let startup = frame::startup(&[("user", "app"), ("database", "app")]);
    let scram = |first: &[u8]| {
        let length = u32::try_from(first.len()).unwrap().to_be_bytes();
        frame::message(b'p', &[b"SCRAM-SHA-256\0", &length[..], first].concat())
    };
    let wrong: Vec<Vec<u8>> = vec![
        frame::query("SELECT 1"),
        startup.clone(),
        frame::sync(),
        frame::terminate(),
        frame::message(b'p', b""),
        frame::message(b'p', b"SCRAM-SHA-256"),
        frame::message(b'p', b"SCRAM-SHA-256\0"),
        frame::message(b'p', b"SCRAM-SHA-256\0\xff\xff\xff\xff"),
        frame::message(b'p', b"SCRAM-SHA-256\0\x7f\xff\xff\xff"),
        frame::message(b'p', b"SCRAM-SHA-999\0\0\0\0\0"),
        frame::message(b'p', b"SCRAM-SHA-256-PLUS\0\0\0\0\x09n,,n=,r=abc"),
        scram(b""),
        scram(b"n,,"),
        scram(b"n,,n=,r="),
        scram(b"n,,n=app"),
        scram(b"p=tls-unique,,n=,r=abcdefabcdef"),
        scram(b"y,,n=,r=\xff\xfe"),
        frame::message_of_length(b'p', 0, b""),
        frame::message_of_length(b'p', 3, b""),
        frame::message_of_length(b'p', 0x7fff_ffff, b"x"),
        frame::message_of_length(b'p', 0xffff_ffff, b"x"),
        frame::message(b'p', &vec![b'x'; 70_000]),
    ];
    for bytes in wrong {
        let mut wire = raw();
        wire.send(&startup).unwrap();
        assert_eq!(wire.read().unwrap().tag, b'R');
        wire.send(&bytes).ok();
        wire.shut();
        assert!(wire.ends_within(PATIENCE), "{:?}", String::from_utf8_lossy(&bytes[..bytes.len().min(50)]));
        assert!(
            wire.key.is_none(),
            "signed in by {:?}",
            String::from_utf8_lossy(&bytes[..bytes.len().min(50)])
        );
    }
    still_serves();
}

#[test]
fn a_slow_sign_in_is_given_up() {
    let wires: Vec<Wire> = (0..3)
        .map(|stage| {
            let mut wire = raw();
            match stage {
                0 => {}
                1 => wire.send(&frame::startup(&[("user", "app")])[..9]).unwrap(),
                _ => wire.send(&frame::startup(&[("user", "app"), ("database", "app")])).unwrap(),
            }
            wire
        })
        .collect();
    // A deadline that every byte put off would be none.
    let mut slow = raw();
    let startup = frame::startup(&[("user", "app"), ("database", "app"), ("options", &" ".repeat(9000))]);
    let dripped = startup.iter().take_while(|byte| {
        std::thread::sleep(Duration::from_millis(20));
        slow.send(&[**byte]).is_ok()
    });
    assert!(dripped.count() < startup.len(), "it had as long as it liked");
    // PostgreSQL's own limit is a minute; nobody may take longer.
    for mut wire in wires {
        assert!(wire.ends_within(Duration::from_secs(75)), "a sign-in may take for ever");
    }
    still_serves();
}

#[test]
fn many_half_open_sign_ins_do_not_keep_others_out() {
    let held: Vec<Wire> = (0..200)
        .map(|_| {
            let mut wire = raw();
            wire.send(&frame::startup(&[("user", "app"), ("database", "app")])).unwrap();
            wire
        })
        .collect();
    still_serves();
    drop(held);
}

#[test]
fn an_unknown_database_is_named() {
    let failed =
        Wire::login(&Login::new(stage().proxy.port(), "app", PASSWORD, "no_such_database")).unwrap_err();
    assert_eq!(failed.code(), "3D000");
}

// After the sign-in.

#[test]
fn a_message_of_any_type_and_length_is_survived() {
    for tag in *b"QPBEDCHSFdcfpX\x00\x01z~\xff" {
        for length in LENGTHS {
            let mut wire = session();
            wire.send(&frame::message_of_length(tag, length, b"x")).ok();
            wire.shut();
            assert!(wire.ends_within(PATIENCE), "type {:?} length {length:#x}", char::from(tag));
        }
        still_serves();
    }
}

#[test]
fn a_message_that_ends_too_soon_is_an_error() {
    let bodies: [(u8, &[u8]); 14] = [
        (b'Q', b""),
        (b'Q', b"SELECT 1"),
        (b'Q', b"SELECT 1\0SELECT 2\0"),
        (b'P', b""),
        (b'P', b"s\0SELECT 1"),
        (b'P', b"s\0SELECT 1\0\0\x09"),
        (b'B', b"\0\0\0\0\0\x01\xff\xff\xff"),
        (b'B', b"\0\0\xff\xff"),
        (b'B', b"\0\0\0\0\0\x01\x7f\xff\xff\xff\0\0"),
        (b'D', b""),
        (b'D', b"Xs\0"),
        (b'E', b"\0\0\0"),
        (b'C', b"S"),
        (b'S', b"x"),
    ];
    for (tag, body) in bodies {
        let mark = stage().cluster.mark();
        let mut wire = session();
        wire.patience(PATIENCE);
        // A statement for Bind to mean, so that nothing but its length is wrong.
        let statement = [frame::parse("", "SELECT $1::int"), frame::flush()].concat();
        wire.send(&[statement, frame::message(tag, body), frame::sync()].concat()).unwrap();
        let reply = wire.reply();
        let code =
            reply.as_ref().map_or_else(|error| error.code().to_owned(), |reply| reply.code().to_owned());
        assert!(code.starts_with("08") || code == "io", "{:?} {body:?}: {code:?}", char::from(tag));
        assert!(
            stage().cluster.servers_that_ran("SELECT 2", &mark).is_empty(),
            "a second text in one message ran"
        );
    }
    still_serves();
}

#[test]
fn one_byte_at_a_time_is_as_good_as_all_at_once() {
    let mut wire = session();
    let bytes =
        [frame::query("SELECT 'slow'"), frame::unnamed("SELECT $1::text", &[Some(b"byte")]), frame::sync()]
            .concat();
    for byte in bytes {
        wire.send(&[byte]).unwrap();
    }
    assert_eq!(wire.reply().unwrap().value(), "slow");
    assert_eq!(wire.reply().unwrap().value(), "byte");
}

#[test]
fn sql_that_kills_parsers_does_not_kill_the_proxy() {
    let n = 100_000;
    let deep = [
        format!("SELECT {}1{}", "(".repeat(n), ")".repeat(n)),
        format!("SELECT {}1", "(".repeat(n)),
        format!("SELECT {}", "1 + ".repeat(n)),
        format!("SELECT 1{}", " + 1".repeat(30_000)),
        format!("SELECT {}1", "NOT ".repeat(n)),
        format!("SELECT {}1", "- ".repeat(n)),
        format!("{} SELECT 1", "/*".repeat(n / 10)),
        format!("SELECT 1{}", " UNION SELECT 1".repeat(20_000)),
        format!("SELECT {}1{}", "CASE WHEN true THEN ".repeat(20_000), " END".repeat(20_000)),
        format!("SELECT {}1{}", "ARRAY[".repeat(n), "]".repeat(n)),
        "SELECT 1;".repeat(20_000),
        format!("SELECT '{}", "'".repeat(n)),
        format!("SELECT ${}$", "a".repeat(n)),
        format!("WITH {} SELECT 1", "a AS (SELECT 1), ".repeat(20_000)),
    ];
    for sql in &deep {
        let begun = Instant::now();
        let mut wire = session();
        wire.patience(PATIENCE);
        // An error of the database is as right as a result: it decides.
        wire.try_query(sql).unwrap_or_else(|error| panic!("{error} at {sql:.40}"));
        assert_eq!(wire.value("SELECT 1"), "1");
        assert!(begun.elapsed() < PATIENCE / 2, "{:?} for {sql:.40}", begun.elapsed());
    }
    still_serves();
}

#[test]
fn a_text_of_64_megabytes_runs() {
    let mut wire = session();
    let long = "m".repeat(64 << 20);
    assert_eq!(wire.value(&format!("SELECT length('{long}')")), long.len().to_string());
    assert_eq!(wire.execute(&format!("SELECT length('{long}')"), &[]).value(), long.len().to_string());
    assert_eq!(wire.value("SELECT 1"), "1");
}

#[test]
fn bytes_that_are_no_utf8_are_the_databases_to_judge() {
    let mut wire = session();
    let bad = [b"SELECT '\xe9\xff'".as_slice(), b"\0"].concat();
    assert_eq!(wire.ask(&frame::message(b'Q', &bad)).unwrap().code(), "22021");
    wire.query("SET client_encoding = 'LATIN1'").ok();
    let latin = [b"SELECT length('\xe9'), 'caf\xe9'".as_slice(), b"\0"].concat();
    wire.send(&frame::message(b'Q', &latin)).unwrap();
    let row = wire.read_to(b'D').unwrap();
    assert!(row.body.ends_with(b"caf\xe9"), "{row:?}");
    wire.reply().unwrap();
    assert_eq!(wire.parameters["client_encoding"], "LATIN1");
    let other = session();
    assert_eq!(other.parameters["client_encoding"], "UTF8");
}

// What drivers rarely do.

#[test]
fn several_requests_in_flight_are_answered_in_order() {
    let mut wire = session();
    let mut bytes = Vec::new();
    for n in 0..200 {
        let text = n.to_string();
        match n % 4 {
            0 => bytes.extend(frame::query(&format!("SELECT {n}"))),
            1 => bytes
                .extend([frame::unnamed("SELECT $1::int", &[Some(text.as_bytes())]), frame::sync()].concat()),
            2 => bytes.extend(frame::query(&format!("INSERT INTO sink VALUES (0); SELECT {n}"))),
            _ => bytes.extend(
                [frame::unnamed("SELECT 1/0", &[]), frame::unnamed("SELECT 1", &[]), frame::sync()].concat(),
            ),
        }
    }
    wire.send(&bytes).unwrap();
    for n in 0..200 {
        let reply = wire.reply().unwrap();
        if n % 4 == 3 {
            assert_eq!((reply.code(), reply.rows.len()), ("22012", 0));
        } else {
            assert_eq!(reply.value(), n.to_string());
        }
    }
    wire.query("TRUNCATE sink").ok();
}

#[test]
fn a_flush_brings_answers_before_the_sync() {
    let mut wire = session();
    wire.patience(PATIENCE);
    wire.send(
        &[frame::parse("f", "SELECT $1::int"), frame::describe_statement("f"), frame::flush()].concat(),
    )
    .unwrap();
    let tags: String = (0..3).map(|_| char::from(wire.read().unwrap().tag)).collect();
    assert_eq!(tags, "1tT");
    wire.send(&[frame::bind("", "f", &[Some(b"7")]), frame::execute("", 0), frame::flush()].concat())
        .unwrap();
    let tags: String = (0..3).map(|_| char::from(wire.read().unwrap().tag)).collect();
    assert_eq!(tags, "2DC");
    assert_eq!(wire.ask(&frame::sync()).unwrap().order, "Z");
    wire.send(&[frame::parse("g", "SELECT nonsense"), frame::flush()].concat()).unwrap();
    assert_eq!(wire.read().unwrap().tag, b'E');
    assert_eq!(wire.ask(&[frame::bind("", "f", &[Some(b"7")]), frame::sync()].concat()).unwrap().order, "Z");
    assert_eq!(wire.value("SELECT 1"), "1");
}

/// A database sends an error at once, and with it all that it had to say before: a client may wait for it, and not have
/// ended its batch.
#[test]
fn an_error_in_a_transaction_comes_before_the_sync() {
    let mut wire = session();
    wire.patience(Duration::from_secs(60));
    wire.query("BEGIN").ok();
    let good = frame::unnamed("INSERT INTO sink VALUES (1) RETURNING n", &[]);
    let bad = frame::unnamed("SELECT 1 / (n - 1) FROM sink", &[]);
    wire.send(&[&good[..], &bad, &good].concat()).unwrap();
    let tags: String = (0..9).map(|_| char::from(wire.read().unwrap().tag)).collect();
    assert_eq!(tags, "12TDC12TE", "{tags}");
    assert_eq!(wire.ask(&frame::sync()).unwrap().order, "Z");
    assert_eq!(wire.query("ROLLBACK").tags, ["ROLLBACK"]);
    assert_eq!(wire.value("SELECT count(*) FROM sink"), "0");
}

#[test]
fn a_portal_gives_its_rows_in_pieces() {
    let mut wire = session();
    wire.query("BEGIN").ok();
    let open = [frame::parse("", "SELECT id FROM t ORDER BY id"), frame::bind("p", "", &[])].concat();
    let reply = wire.ask(&[open, frame::execute("p", 30), frame::sync()].concat()).unwrap();
    assert_eq!((reply.rows.len(), reply.order.ends_with("sZ"), reply.status), (30, true, b'T'));
    let other = [frame::unnamed("SELECT 1", &[]), frame::sync()].concat();
    assert_eq!(wire.ask(&other).unwrap().value(), "1");
    let reply = wire.ask(&[frame::execute("p", 30), frame::execute("p", 0), frame::sync()].concat()).unwrap();
    assert_eq!(reply.rows.len(), 70);
    assert_eq!(reply.rows[0][0].as_deref(), Some("31"));
    wire.ask(&[frame::close_portal("p"), frame::sync()].concat()).unwrap().ok();
    assert_eq!(wire.ask(&[frame::execute("p", 0), frame::sync()].concat()).unwrap().code(), "34000");
    wire.query("ROLLBACK").ok();
    // Outside a transaction a portal ends with its Sync.
    let open = [
        frame::parse("", "SELECT id FROM t"),
        frame::bind("p", "", &[]),
        frame::execute("p", 1),
        frame::sync(),
    ];
    assert_eq!(wire.ask(&open.concat()).unwrap().rows.len(), 1);
    assert_eq!(wire.ask(&[frame::execute("p", 1), frame::sync()].concat()).unwrap().code(), "34000");
}

#[test]
fn descriptions_closes_and_empty_texts_are_relayed() {
    let mut wire = session();
    let describe = [
        frame::parse("d", "SELECT id, v FROM t WHERE id = $1"),
        frame::describe_statement("d"),
        frame::sync(),
    ];
    assert_eq!(wire.ask(&describe.concat()).unwrap().order, "1tTZ");
    assert_eq!(wire.ask(&[frame::describe_statement("d"), frame::sync()].concat()).unwrap().order, "tTZ");
    assert_eq!(
        wire.ask(&[frame::describe_statement("missing"), frame::sync()].concat()).unwrap().code(),
        "26000"
    );
    assert_eq!(
        wire.ask(&[frame::close_statement("missing"), frame::close_portal("x"), frame::sync()].concat())
            .unwrap()
            .order,
        "33Z"
    );
    assert_eq!(wire.query("").order, "IZ");
    assert_eq!(wire.query(" -- nothing").order, "IZ");
    assert_eq!(wire.query(";;").order, "IZ");
    assert_eq!(wire.execute("", &[]).order, "12nIZ");
    assert_eq!(wire.ask(&frame::sync()).unwrap().order, "Z");
    assert_eq!(wire.ask(&[frame::flush(), frame::flush(), frame::sync()].concat()).unwrap().order, "Z");
    let write =
        [frame::parse("w", "INSERT INTO sink VALUES ($1)"), frame::describe_statement("w"), frame::sync()];
    assert_eq!(wire.ask(&write.concat()).unwrap().order, "1tnZ");
    let failed = [frame::parse("bad", "SELEC 1"), frame::close_statement("bad"), frame::sync()].concat();
    assert_eq!(wire.ask(&failed).unwrap().code(), "42601");
    assert_eq!(wire.value("SELECT 1"), "1");
}

#[test]
fn a_bind_and_a_simple_query_in_one_batch_end() {
    let mut wire = session();
    wire.patience(PATIENCE);
    // No Sync between: the simple query ends the batch as a Sync would.
    let mixed = [frame::unnamed("SELECT 1", &[]), frame::query("SELECT 2")].concat();
    let reply = wire.ask(&mixed).unwrap();
    assert_eq!(reply.rows, [[Some("1".to_owned())], [Some("2".to_owned())]]);
    // After an error everything up to the next Sync is skipped, the simple query too.
    let mixed = [frame::unnamed("SELECT 1/0", &[]), frame::query("SELECT 2"), frame::sync()].concat();
    let reply = wire.ask(&mixed).unwrap();
    assert_eq!((reply.code(), reply.rows.len()), ("22012", 0));
    assert_eq!(wire.value("SELECT 3"), "3");
}

#[test]
fn copies_run_fail_and_are_given_up() {
    let mut wire = session();
    let start = |wire: &mut Wire, sql: &str| {
        wire.send(&frame::query(sql)).unwrap();
        wire.read_to(b'G').unwrap();
    };
    start(&mut wire, "COPY copied FROM STDIN");
    // A Sync or Flush within is ignored.
    wire.send(
        &[
            frame::copy_data(b"1\n2"),
            frame::flush(),
            frame::sync(),
            frame::copy_data(b"\n3\n"),
            frame::copy_done(),
        ]
        .concat(),
    )
    .unwrap();
    assert_eq!(wire.reply().unwrap().ok().tags, ["COPY 3"]);
    start(&mut wire, "COPY copied FROM STDIN");
    wire.send(&[frame::copy_data(b"1\n"), frame::copy_fail("changed my mind")].concat()).unwrap();
    assert_eq!(wire.reply().unwrap().code(), "57014");
    start(&mut wire, "COPY copied FROM STDIN");
    // The database fails first and then reads and drops what still comes.
    wire.send(&frame::copy_data(b"not a number\n")).unwrap();
    assert_eq!(wire.reply().unwrap().code(), "22P02");
    wire.send(&[frame::copy_data(b"4\n"), frame::copy_done()].concat()).unwrap();
    assert_eq!(wire.value("SELECT count(*) FROM copied"), "3");
    let extended = [frame::unnamed("COPY copied FROM STDIN", &[]), frame::sync()].concat();
    wire.send(&extended).unwrap();
    wire.read_to(b'G').unwrap();
    wire.send(&[frame::copy_data(b"9\n"), frame::copy_done(), frame::sync()].concat()).unwrap();
    assert_eq!(wire.reply().unwrap().ok().tags, ["COPY 1"]);
    let out = wire.query("COPY copied TO STDOUT").ok();
    assert_eq!((out.order.as_str(), out.tags[0].as_str()), ("HddddcCZ", "COPY 4"));
    assert_eq!(wire.query("COPY (SELECT 1/(id - 50) FROM t ORDER BY id) TO STDOUT").code(), "22012");
    assert_eq!(wire.value("SELECT 1"), "1");
    wire.query("TRUNCATE copied").ok();
    // Many of them do not use up the pool.
    for _ in 0..40 {
        let mut other = session();
        start(&mut other, "COPY copied FROM STDIN");
        other.send(&frame::copy_data(b"1\n")).unwrap();
    }
    until("copies of clients that left are rolled back", PATIENCE, || {
        (stage().count("query LIKE 'COPY copied%' AND state = 'active'") == 0).then_some(())
    });
    assert_eq!(wire.value("SELECT count(*) FROM copied"), "0");
}

#[test]
fn a_copy_whose_data_comes_along_at_once_ends() {
    stage().cluster.prepare("CREATE TABLE basin (n int)");
    let copy = [frame::query("COPY basin FROM STDIN"), frame::copy_data(b"1\n"), frame::copy_done()].concat();
    let unended =
        [frame::parse("", "SELECT * FROM basin"), frame::describe_statement(""), frame::flush()].concat();
    for round in 0..30 {
        let mut wire = session();
        wire.patience(PATIENCE);
        // As asyncpg does it: a description asked for with Flush, no Sync, and then the copy in one piece.
        if round % 3 == 1 {
            wire.send(&unended).unwrap();
            assert_eq!(wire.read_to(b'T').unwrap().tag, b'T');
        }
        let reply = if round % 3 == 2 {
            wire.ask(&[unended.clone(), copy.clone()].concat())
        } else {
            wire.ask(&copy)
        };
        let reply = reply.unwrap_or_else(|error| panic!("round {round}: {error}")).ok();
        assert_eq!(reply.tags, ["COPY 1"], "round {round}");
        assert_eq!(wire.value("SELECT 1"), "1");
    }
}

#[test]
fn a_function_call_runs_on_the_primary() {
    let mut wire = session();
    let oid: u32 =
        stage().cluster.primary.value("SELECT 'nextval(regclass)'::regprocedure::oid").parse().unwrap();
    let before: i64 = stage().cluster.primary.value("SELECT nextval('counter')").parse().unwrap();
    wire.send(&frame::function_call(oid, &[b"counter"])).unwrap();
    let result = wire.read_to(b'V').expect("FunctionCallResponse");
    let value: i64 = String::from_utf8_lossy(&result.body[4..]).parse().unwrap();
    assert!(value > before);
    assert_eq!(wire.reply().unwrap().status, b'I');
    assert_eq!(wire.value("SELECT 1"), "1");
}

#[test]
fn notices_are_heard() {
    let mut wire = session();
    let reply = wire.query("SELECT talks()");
    assert_eq!(reply.notices.len(), 1);
    assert_eq!(reply.notices[0].message(), "hear, hear");
    let reply = wire.execute("SELECT talks()", &[]);
    assert_eq!((reply.notices.len(), reply.order.as_str()), (1, "12TNDCZ"));
    assert_eq!(wire.query("COMMIT").notices[0].code(), "25P01");
}

#[test]
fn what_the_database_reports_by_itself_is_heard() {
    let stage = Stage::new(0, |config| config.raw("pool_size", "1"));
    let mut wire = stage.proxy.session();
    assert_eq!(wire.value("SELECT 1"), "1");
    assert_eq!(wire.parameters["TimeZone"], "UTC");
    // A reload of the database's own configuration.
    stage.cluster.primary.set("timezone", "Asia/Tokyo");
    let now = || wire.value("SHOW TimeZone");
    holds("the value in force", PATIENCE, "Asia/Tokyo".to_owned(), now);
    assert_eq!(wire.parameters["TimeZone"], "Asia/Tokyo");
}

#[test]
fn a_write_a_replica_refuses_runs_on_the_primary() {
    for _ in 0..5 {
        let mut wire = session();
        wire.query("SELECT posing()").ok();
        wire.execute("SELECT posing() + $1::int", &["1"]).ok();
        wire.ask(&[frame::parse("p", "SELECT posing()"), frame::sync()].concat()).unwrap().ok();
        wire.ask(&[frame::bind("", "p", &[]), frame::execute("", 0), frame::sync()].concat()).unwrap().ok();
    }
}

#[test]
fn sixty_five_thousand_parameters_are_bound() {
    let mut wire = session();
    let count = 65_535;
    let values = vec![Some(b"1".as_slice()); count];
    let list = (1..=count).map(|n| format!("${n}::int")).collect::<Vec<_>>().join(",");
    let sql = format!("SELECT count(*) FROM unnest(ARRAY[{list}])");
    let reply = wire.ask(&[frame::unnamed(&sql, &values), frame::sync()].concat()).unwrap();
    assert_eq!(reply.value(), count.to_string());
}

#[test]
fn a_client_that_hangs_up_at_any_byte_leaves_nothing() {
    let bytes = [
        frame::parse("s", "SELECT $1::int"),
        frame::bind("", "s", &[Some(b"1")]),
        frame::execute("", 0),
        frame::sync(),
        frame::query("BEGIN; SELECT 1"),
    ]
    .concat();
    for end in (0..bytes.len()).step_by(3) {
        let mut wire = session();
        wire.send(&bytes[..end]).unwrap();
    }
    until("no transaction is left open", PATIENCE, || (stage().open_transactions() == 0).then_some(()));
    still_serves();
}
