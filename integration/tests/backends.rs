//! How many backends there are, for how long, and how long a client keeps one.

use std::time::{Duration, Instant};

use integration::{Cluster, Config, Login, PASSWORD, Proxy, Stage, Wire, frame, holds, until};

/// Longer than anything here takes, on however busy a machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Backends for who is neither the probes' user nor the reader of catalogs.
const OF_OTHER: &str = "usename = 'other'";

fn other(stage: &Stage) -> Wire {
    Wire::login(&Login::new(stage.proxy.port(), "other", PASSWORD, "app")).expect("may sign in")
}

#[test]
fn a_full_pool_says_so_while_the_database_is_well() {
    let stage = Stage::new(0, |config| config.raw("pool_size", "2").text("query_wait_timeout", "3s"));
    let mut holders = [stage.proxy.session(), stage.proxy.session()];
    for wire in &mut holders {
        wire.query("BEGIN; SELECT 1").ok();
    }
    let mut waiting = stage.proxy.session();
    let begun = Instant::now();
    let reply = waiting.try_query("SELECT 1");
    let waited = begun.elapsed();
    let code = reply.as_ref().map_or_else(|error| error.code().to_owned(), |reply| reply.code().to_owned());
    assert_eq!(code, "53300");
    assert!(waited > Duration::from_millis(2700) && waited < PATIENCE / 2, "{waited:?}");
    assert_eq!(stage.cluster.primary.value("SELECT 1"), "1");
    let up: Vec<f64> =
        stage.proxy.metrics().of("splitpool_endpoint_up", &[]).map(|sample| sample.value).collect();
    assert_eq!(up, [1.0], "a full pool is not a dead host");
    for wire in &mut holders {
        wire.query("COMMIT").ok();
    }
    let mut after = stage.proxy.session();
    assert_eq!(after.value("SELECT 1"), "1");
}

#[test]
fn a_minimum_is_kept_warm_and_what_is_more_goes_when_it_is_idle() {
    let stage = Stage::new(0, |config| {
        config.raw("pool_size", "6").raw("min_pool_size", "2").text("server_idle_timeout", "1s")
    });
    let mut busy: Vec<Wire> = (0..6).map(|_| other(&stage)).collect();
    busy.iter_mut().for_each(|wire| drop(wire.query("BEGIN; SELECT 1").ok()));
    assert_eq!(stage.count(OF_OTHER), 6);
    busy.iter_mut().for_each(|wire| drop(wire.query("COMMIT").ok()));
    holds("the backends that are left", PATIENCE, 2, || stage.count(OF_OTHER));
}

#[test]
fn a_backend_that_is_old_is_replaced_between_two_requests() {
    let stage = Stage::new(0, |config| config.raw("pool_size", "1").text("server_lifetime", "1s"));
    let mut wire = other(&stage);
    wire.query("SET application_name = 'carried'").ok();
    let first = wire.value("SELECT pg_backend_pid()");
    holds("it is another one", PATIENCE, false, || wire.value("SELECT pg_backend_pid()") == first);
    assert_eq!(wire.value("SHOW application_name"), "carried");
    // The database takes its time to let go of the old one.
    holds("backends", PATIENCE, 1, || stage.count(OF_OTHER));
}

#[test]
fn session_mode_gives_a_backend_for_life() {
    let stage = Stage::new(0, |config| config.text("pool_mode", "session"));
    let mut wire = stage.proxy.session();
    let backend = wire.value("SELECT pg_backend_pid()");
    for _ in 0..10 {
        assert_eq!(stage.proxy.session().query("SELECT 1").value(), "1");
        assert_eq!(wire.value("SELECT pg_backend_pid()"), backend);
    }
}

#[test]
fn statement_mode_has_no_transactions() {
    let cluster = Cluster::start(0);
    cluster.prepare("CREATE TABLE t (v int)");
    let proxy = Proxy::start(Config::of(&cluster).text("pool_mode", "statement").raw("pool_size", "1"));
    proxy.await_ready();
    let stage = Stage { proxy, cluster };
    let (mut one, mut two) = (stage.proxy.session(), stage.proxy.session());
    for refused in ["BEGIN", "START TRANSACTION READ ONLY"] {
        assert_eq!(one.query(refused).code(), "0A000", "{refused}");
        assert_eq!(one.execute("SELECT $1::int", &["7"]).value(), "7", "its session goes on");
        two.query("INSERT INTO t VALUES (2)").ok();
    }
    // A transaction that is over with its text holds no backend.
    one.query("BEGIN; INSERT INTO t VALUES (1); COMMIT").ok();
    one.query("BEGIN; INSERT INTO t VALUES (3); ROLLBACK").ok();
    two.query("INSERT INTO t VALUES (2)").ok();
    // What it leaves open is rolled back, and ends the session.
    one.send(&frame::query("BEGIN; INSERT INTO t VALUES (4)")).unwrap();
    until("the session ends", PATIENCE, || match one.reply() {
        Ok(reply) => (reply.code() == "0A000").then_some(()),
        Err(error) => (error.code() == "0A000").then_some(()),
    });
    two.query("INSERT INTO t VALUES (2)").ok();
    assert_eq!(stage.cluster.primary.value("SELECT string_agg(v::text, ' ') FROM t"), "2 2 1 2 2");
    assert_eq!(stage.open_transactions(), 0);
}
