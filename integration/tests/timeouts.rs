//! What takes too long is ended in time, with a code that says why, and leaves nothing open.

use std::io;
use std::time::{Duration, Instant};

use integration::{PATIENCE, Stage, Wire, frame, wire::Error};

/// Not before the bound, by more than a tenth, and long before what was asked for would have ended by itself. A machine
/// under load adds to what it takes, so `begun` is before whatever the bound begins with.
#[track_caller]
fn on_time(begun: Instant, bound: Duration) {
    let taken = begun.elapsed();
    let most = bound + Duration::from_secs(20);
    assert!(taken >= bound - bound / 10 && taken < most, "{taken:?}, not {bound:?}");
}

/// The session ends with an error; its code.
fn end_of(wire: &mut Wire) -> String {
    match wire.reply() {
        Err(Error::Refused(failure)) => format!("{} {}", failure.severity(), failure.code()),
        other => panic!("the session goes on: {other:?}"),
    }
}

#[test]
fn a_long_statement_is_cancelled_and_the_session_goes_on() {
    let stage = Stage::new(1, |config| config.text("query_timeout", "1500ms"));
    let bound = Duration::from_millis(1500);
    let mut wire = stage.proxy.session();
    for sql in [
        "SELECT pg_sleep(30)",
        "BEGIN; SELECT pg_sleep(31)",
        "SELECT count(*) FROM generate_series(1, 4000000000)",
    ] {
        let begun = Instant::now();
        let reply = wire.query(sql);
        on_time(begun, bound);
        assert_eq!(reply.code(), "57014", "{sql}");
        wire.query("ROLLBACK").ok();
        assert_eq!(wire.value("SELECT 1"), "1");
    }
    let begun = Instant::now();
    assert_eq!(wire.execute("SELECT pg_sleep($1::int)", &["32"]).code(), "57014");
    on_time(begun, bound);
    stage.await_none(PATIENCE, "usename = 'app' AND state <> 'idle'");
    // A statement within its time is none of the timeout's business, however many there are.
    for _ in 0..9 {
        let begun = Instant::now();
        let code = wire.query("SELECT pg_sleep(0.2)").code().to_owned();
        assert!(code.is_empty() || begun.elapsed() >= bound, "{code} after {:?}", begun.elapsed());
    }
}

#[test]
fn a_long_transaction_ends_its_session() {
    let stage = Stage::new(0, |config| config.text("transaction_timeout", "4s"));
    stage.cluster.prepare("CREATE TABLE t (n int); GRANT ALL ON t TO app");
    let bound = Duration::from_secs(4);
    for keep_busy in [false, true] {
        let mut wire = stage.proxy.session();
        let begun = Instant::now();
        wire.query("BEGIN; INSERT INTO t VALUES (1)").ok();
        if keep_busy {
            wire.query("SELECT pg_sleep(0.3)").ok();
            wire.send(&frame::query("SELECT pg_sleep(30)")).unwrap();
        }
        assert_eq!(end_of(&mut wire), "FATAL 25P04");
        on_time(begun, bound);
        stage.await_none(PATIENCE, "usename = 'app' AND state <> 'idle'");
    }
    assert_eq!(stage.cluster.primary.value("SELECT count(*) FROM t"), "0");
    // Many short ones may take longer together.
    let mut wire = stage.proxy.session();
    for _ in 0..9 {
        wire.query("BEGIN; SELECT pg_sleep(0.5); COMMIT").ok();
    }
}

#[test]
fn a_transaction_that_waits_for_its_client_ends() {
    let stage = Stage::new(0, |config| config.text("idle_transaction_timeout", "3s"));
    stage.cluster.prepare("CREATE TABLE t (n int); GRANT ALL ON t TO app");
    let mut wire = stage.proxy.session();
    wire.query("BEGIN; INSERT INTO t VALUES (1)").ok();
    let begun = Instant::now();
    wire.query("SELECT pg_sleep(3.5)").ok();
    assert_eq!(end_of(&mut wire), "FATAL 25P03");
    on_time(begun, Duration::from_millis(6500));
    stage.await_none(PATIENCE, "usename = 'app' AND state <> 'idle'");
    assert_eq!(stage.cluster.primary.value("SELECT count(*) FROM t"), "0");
}

#[test]
fn a_client_that_says_nothing_is_cut_off() {
    let stage = Stage::new(0, |config| config.text("client_idle_timeout", "3s"));
    let bound = Duration::from_secs(3);
    let begun = Instant::now();
    let mut silent = stage.proxy.session();
    assert_eq!(end_of(&mut silent), "FATAL 57P05");
    on_time(begun, bound);
    let mut wire = stage.proxy.session();
    wire.query("SELECT 1").ok();
    // In a transaction another bound counts.
    wire.query("BEGIN").ok();
    wire.patience(bound + Duration::from_secs(1));
    assert!(matches!(wire.reply(), Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock));
    wire.patience(PATIENCE);
    let begun = Instant::now();
    wire.query("COMMIT").ok();
    assert_eq!(end_of(&mut wire), "FATAL 57P05");
    on_time(begun, bound);
}

#[test]
fn a_slow_sign_in_is_ended() {
    let stage = Stage::new(0, |mut config| {
        config.extra.push_str("\n[general]\nclient_login_timeout = \"3s\"\n");
        config
    });
    let begun = Instant::now();
    let mut wire = Wire::connect(stage.proxy.port()).unwrap();
    wire.send(&frame::startup(&[("user", "app"), ("database", "app")])).unwrap();
    assert_eq!(wire.read().unwrap().tag, b'R');
    assert_eq!(end_of(&mut wire), "FATAL 57014");
    on_time(begun, Duration::from_secs(3));
}

#[test]
fn a_wait_for_a_backend_ends_in_time() {
    let stage = Stage::new(0, |config| config.raw("pool_size", "1").text("query_wait_timeout", "3s"));
    let mut holder = stage.proxy.session();
    holder.query("BEGIN").ok();
    let mut waiting = stage.proxy.session();
    let begun = Instant::now();
    let code = waiting
        .try_query("SELECT 1")
        .map_or_else(|error| error.code().to_owned(), |reply| reply.code().to_owned());
    assert_eq!(code, "53300");
    on_time(begun, Duration::from_secs(3));
    holder.query("COMMIT").ok();
    assert_eq!(stage.proxy.session().value("SELECT 1"), "1");
}
