//! A session keeps its backend for what no other backend has, as long as it is there, and says why.

use integration::{PATIENCE, Stage, Wire, holds, until};

fn stage(pins: &'static str) -> Stage {
    Stage::new(0, move |mut config| {
        config.extra.push_str(&format!("\n[clusters.main.pins]\n{pins}\n"));
        config
            .raw("pool_size", "2")
            .raw("share_listeners", "false")
            .text("query_wait_timeout", "30s")
            .text("catalog_refresh", "1s")
    })
}

/// Which backend serves the session's next transaction.
fn backend(wire: &mut Wire) -> String {
    wire.query("BEGIN; SELECT pg_backend_pid(); COMMIT").value()
}

/// How many sessions are pinned for a reason.
fn pinned(stage: &Stage, reason: &str) -> usize {
    stage.proxy.metrics().sum("splitpool_pinned_sessions", &[("reason", reason)]).round() as usize
}

/// A reply comes before what it left behind is known.
#[track_caller]
fn await_pinned(stage: &Stage, reason: &str, wanted: usize) {
    holds(&format!("sessions pinned for {reason}"), PATIENCE, wanted, || pinned(stage, reason));
}

#[test]
fn every_pin_has_a_reason_and_ends() {
    let stage = stage("");
    stage.cluster.prepare(
        "CREATE FUNCTION twice(k int) RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_lock(k), pg_advisory_lock(k); END $$;
         CREATE FUNCTION hide(n int) RETURNS text LANGUAGE sql AS $$ SELECT set_config('app.x' || n, 'y', false) $$",
    );
    until("the proxy knows the function", PATIENCE, || {
        let mut first = stage.proxy.session();
        first.query("SELECT hide(0)").ok();
        first.query("BEGIN; COMMIT").ok();
        (pinned(&stage, "hidden_setting") == 1).then_some(())
    });
    let mut wire = stage.proxy.session();
    let mut other = stage.proxy.session();
    for (make, reason, ends) in [
        ("CREATE TEMP TABLE a (n int)", "temp_table", &["DROP TABLE a"][..]),
        ("CREATE TEMP TABLE a (n int)", "temp_table", &["DISCARD ALL"]),
        (
            "SELECT pg_advisory_lock(hashtext('x'))",
            "session_lock",
            &["SELECT pg_advisory_unlock(hashtext('x'))"],
        ),
        ("SELECT pg_advisory_lock(1, 2)", "session_lock", &["SELECT pg_advisory_unlock(1, 2)"]),
        (
            "SELECT pg_catalog.pg_advisory_lock(1), pg_advisory_lock(1)",
            "session_lock",
            &["SELECT pg_advisory_unlock(1)", "SELECT pg_advisory_unlock(1)"],
        ),
        (
            "SELECT twice(9)",
            "session_lock",
            &["SELECT pg_advisory_unlock(9)", "SELECT pg_advisory_unlock_all()"],
        ),
        ("LISTEN here", "listen", &["UNLISTEN *"]),
        ("PREPARE p AS SELECT 1", "sql_prepare", &["DEALLOCATE p"]),
        ("DECLARE c CURSOR WITH HOLD FOR SELECT 1", "hold_cursor", &["CLOSE c"]),
        ("SELECT hide(1)", "hidden_setting", &["DISCARD ALL"]),
    ] {
        holds("pins before", PATIENCE, 0, || pinned(&stage, reason));
        wire.query(make).ok();
        let kept = backend(&mut wire);
        await_pinned(&stage, reason, 1);
        for end in ends {
            await_pinned(&stage, reason, 1);
            // Whatever the other does, the backend is not lent to it.
            for _ in 0..3 {
                assert_ne!(backend(&mut other), kept, "{make}");
                assert_eq!(backend(&mut wire), kept, "{make}");
            }
            wire.query(end).ok();
        }
        await_pinned(&stage, reason, 0);
    }
    for once in [
        "BEGIN; CREATE TEMP TABLE b (n int) ON COMMIT DROP; COMMIT",
        "SELECT pg_advisory_xact_lock(5)",
        "BEGIN; DECLARE d CURSOR FOR SELECT 1; COMMIT",
    ] {
        wire.query(once).ok();
        holds(once, PATIENCE, 0, || stage.proxy.metrics().sum("splitpool_pinned_sessions", &[]) as usize);
    }
    assert!(stage.proxy.metrics().sum("splitpool_pins_total", &[("reason", "session_lock")]) >= 4.0);
}

#[test]
fn what_cannot_be_undone_closes_the_backend() {
    let stage = stage("");
    for (make, reason, ask) in [
        ("SELECT setseed(0.25)", "random_seed", "SELECT random()"),
        ("SET seed TO 0.25", "random_seed", "SELECT random()"),
        (
            "LOAD 'auto_explain'",
            "library",
            "SELECT count(*) FROM pg_settings WHERE name = 'auto_explain.log_analyze'",
        ),
    ] {
        let mut wire = stage.proxy.session();
        let made = wire.query(make);
        if made.code() == "42501" {
            continue;
        }
        made.ok();
        let seen = wire.query(&format!("BEGIN; {ask}; COMMIT")).value();
        await_pinned(&stage, reason, 1);
        let kept = backend(&mut wire);
        drop(wire);
        holds("pins", PATIENCE, 0, || pinned(&stage, reason));
        stage.await_none(PATIENCE, &format!("pid = {kept}"));
        for _ in 0..4 {
            let mut next = stage.proxy.session();
            assert_ne!(next.query(&format!("BEGIN; {ask}; COMMIT")).value(), seen, "{make}");
        }
    }
}

#[test]
fn what_a_sequence_told_is_told_to_nobody_else() {
    let stage = stage("");
    stage
        .cluster
        .prepare("CREATE SEQUENCE s; CREATE TABLE t (id serial, n int); GRANT ALL ON s, t, t_id_seq TO app");
    let mut one = stage.proxy.session();
    let mut two = stage.proxy.session();
    assert_eq!(one.value("SELECT nextval('s')"), "1");
    for _ in 0..4 {
        assert_eq!(two.query("SELECT currval('s')").code(), "55000", "another client's value is seen");
        assert_eq!(two.query("SELECT lastval()").code(), "55000", "another client's value is seen");
    }
    // In a transaction as well; what it has drawn there itself it is told.
    let mut three = stage.proxy.session();
    for ask in ["SELECT lastval()", "SELECT currval('s')"] {
        three.query("BEGIN").ok();
        three.query("SELECT count(*) FROM t").ok();
        assert_eq!(three.execute(ask, &[]).code(), "55000", "another client's value is seen");
        three.query("ROLLBACK").ok();
    }
    three.query("BEGIN; INSERT INTO t (n) VALUES (1)").ok();
    assert_eq!(three.value("SELECT lastval()"), three.value("SELECT currval('t_id_seq')"));
    three.query("ROLLBACK").ok();
    drop(three);
    // Once somebody has asked for what a sequence told, sessions that use one keep their backend.
    assert_eq!(one.value("SELECT nextval('s')"), "2");
    assert_eq!(two.value("SELECT nextval('s')"), "3");
    for _ in 0..3 {
        assert_eq!(one.value("SELECT currval('s')"), "2");
        assert_eq!(two.value("SELECT lastval()"), "3");
    }
    one.query("INSERT INTO t (n) VALUES (1)").ok();
    two.query("INSERT INTO t (n) VALUES (1)").ok();
    assert_eq!(
        (one.value("SELECT lastval()"), two.value("SELECT lastval()")),
        ("2".to_owned(), "3".to_owned())
    );
    await_pinned(&stage, "sequence", 2);
    one.query("DISCARD ALL").ok();
    await_pinned(&stage, "sequence", 1);
    assert_eq!(one.query("SELECT lastval()").code(), "55000");
}

#[test]
fn the_operator_may_refuse() {
    let stage = stage(
        "temp_table = \"error\"\nsession_lock = \"error\"\nlisten = \"error\"\nsql_prepare = \"error\"\nhold_cursor = \"error\"\nrandom_seed = \"error\"",
    );
    let mut wire = stage.proxy.session();
    for (sql, feature) in [
        ("CREATE TEMP TABLE a (n int)", "temp_table"),
        ("SELECT pg_advisory_lock(1)", "session_lock"),
        ("LISTEN here", "listen"),
        ("PREPARE p AS SELECT 1", "sql_prepare"),
        ("DECLARE c CURSOR WITH HOLD FOR SELECT 1", "hold_cursor"),
        ("SELECT setseed(0.5)", "random_seed"),
    ] {
        for reply in [wire.query(sql), wire.execute(sql, &[])] {
            let error = reply.error.expect("it is refused");
            assert_eq!(error.code(), "0A000");
            assert!(error.message().contains(feature) && !error.field(b'H').is_empty(), "{error}");
            assert_eq!(reply.status, b'I');
        }
        assert_eq!(
            stage.proxy.metrics().sum("splitpool_refused_pins_total", &[("reason", feature)]) as usize,
            2
        );
        wire.query("BEGIN").ok();
        let reply = wire.query(sql);
        assert_eq!((reply.code(), reply.status), ("0A000", b'E'));
        assert_eq!(wire.query("SELECT 1").code(), "25P02");
        assert_eq!(wire.query("COMMIT").tags, ["ROLLBACK"]);
    }
    assert_eq!(wire.query("SELECT pg_advisory_xact_lock(1)").code(), "");
    assert_eq!(wire.query("DEALLOCATE ALL").code(), "");
    assert_eq!(stage.cluster.primary.value("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"), "0");
}

#[test]
fn the_operator_may_allow() {
    let stage = stage("session_lock = \"allow\"");
    let mut wire = stage.proxy.session();
    wire.query("SELECT pg_advisory_lock(1)").ok();
    await_pinned(&stage, "session_lock", 0);
    let held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'";
    assert_eq!(stage.cluster.primary.value(held), "1");
    wire.query("CREATE TEMP TABLE a (n int)").ok();
    await_pinned(&stage, "temp_table", 1);
}
