//! Many clients over few backends, and nothing of one to be seen by another.

use std::ops::Deref;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use integration::{PATIENCE, Stage, Wire, frame, holds};

/// Two backends for everyone: whoever comes next gets what the last one left. One test at a time, because two
/// that each hold one backend and wait for another would wait for each other.
fn narrow() -> Narrow {
    static STAGE: OnceLock<Stage> = OnceLock::new();
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let stage = STAGE.get_or_init(|| {
        let stage = Stage::new(1, |config| config.raw("pool_size", "2").text("query_wait_timeout", "10s"));
        stage.cluster.prepare("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t SELECT n, 0 FROM generate_series(1, 20) n");
        stage
    });
    Narrow { stage, _turn: turn }
}

struct Narrow {
    stage: &'static Stage,
    _turn: MutexGuard<'static, ()>,
}

impl Deref for Narrow {
    type Target = Stage;

    fn deref(&self) -> &Stage {
        self.stage
    }
}

#[test]
fn a_hundred_clients_share_ten_backends() {
    let stage = Stage::new(0, |config| config.raw("pool_size", "10").text("query_wait_timeout", "30s"));
    stage.cluster.prepare("CREATE TABLE hits (n int); INSERT INTO hits VALUES (0)");
    let most = thread::scope(|scope| {
        let run = |client: usize| {
            let stage = &stage;
            move || {
                let mut wire = stage.proxy.session();
                for round in 0..20 {
                    match (client + round) % 3 {
                        0 => drop(wire.query("BEGIN; SELECT pg_sleep(0.002); COMMIT").ok()),
                        1 => drop(wire.execute("SELECT $1::int", &["1"]).ok()),
                        _ => drop(wire.query("INSERT INTO hits VALUES (1)").ok()),
                    }
                }
            }
        };
        let clients: Vec<_> = (0..100).map(|client| scope.spawn(run(client))).collect();
        let mut most = 0;
        while clients.iter().any(|client| !client.is_finished()) {
            most = most.max(stage.count("usename = 'app'"));
            thread::sleep(Duration::from_millis(20));
        }
        most
    });
    // The proxy's own probes sign in beside the pool.
    assert!((2..=13).contains(&most), "{most} sessions on the primary for 100 clients");
    assert_eq!(stage.proxy.session().query("BEGIN; SELECT sum(n) FROM hits; COMMIT").value(), "666");
}

#[test]
fn settings_stay_with_who_made_them() {
    let stage = narrow();
    let clients: Vec<usize> = (1..=6).collect();
    let mut sessions: Vec<Wire> = clients.iter().map(|_| stage.proxy.session()).collect();
    for (wire, n) in sessions.iter_mut().zip(&clients) {
        wire.query(&format!("SET work_mem = '{n}MB'")).ok();
        wire.query(&format!("SET application_name = 'client {n}'")).ok();
        wire.query(&format!("SELECT set_config('app.tenant', 'tenant {n}', false)")).ok();
        wire.execute(&format!("SET search_path = s{n}, public"), &[]).ok();
        if n % 2 == 0 {
            wire.query("SET enable_seqscan = off; SET TIME ZONE 'Asia/Tokyo'").ok();
        }
    }
    for _ in 0..10 {
        for (wire, n) in sessions.iter_mut().zip(&clients) {
            let ask = "SELECT concat_ws('|', current_setting('work_mem'), current_setting('application_name'), \
                       current_setting('app.tenant'), current_setting('search_path'), current_setting('enable_seqscan'), \
                       current_setting('TimeZone'))";
            let (scan, zone) = if n % 2 == 0 { ("off", "Asia/Tokyo") } else { ("on", "UTC") };
            let expected = format!("{n}MB|client {n}|tenant {n}|s{n}, public|{scan}|{zone}");
            assert_eq!(wire.value(ask), expected);
            let in_transaction = wire.query(&format!("BEGIN; {ask}; COMMIT"));
            assert_eq!(in_transaction.value(), expected);
        }
    }
    let mut fresh = stage.proxy.session();
    for _ in 0..10 {
        let seen = "SELECT current_setting('work_mem') || coalesce(current_setting('app.tenant', true), '') || current_setting('search_path')";
        assert_eq!(fresh.value(seen), "4MB\"$user\", public");
        assert_eq!(fresh.query(&format!("BEGIN; {seen}; COMMIT")).value(), "4MB\"$user\", public");
    }
}

#[test]
fn a_setting_made_and_undone_in_a_transaction_is_undone() {
    let stage = narrow();
    let mut wire = stage.proxy.session();
    let show = |wire: &mut Wire| wire.value("SELECT current_setting('work_mem')");
    for sql in ["SET work_mem = '7MB'", "BEGIN", "SET work_mem = '9MB'", "ROLLBACK"] {
        wire.query(sql).ok();
    }
    assert_eq!(show(&mut wire), "7MB");
    for sql in ["BEGIN", "SAVEPOINT a", "SET work_mem = '9MB'", "ROLLBACK TO a", "COMMIT"] {
        wire.query(sql).ok();
    }
    assert_eq!(show(&mut wire), "7MB");
    for sql in ["BEGIN", "SET LOCAL work_mem = '9MB'", "COMMIT"] {
        wire.query(sql).ok();
    }
    assert_eq!(show(&mut wire), "7MB");
    wire.query("BEGIN; SET work_mem = '8MB'; COMMIT").ok();
    assert_eq!(show(&mut wire), "8MB");
    wire.query("RESET work_mem").ok();
    assert_eq!(show(&mut wire), "4MB");
    wire.query("SET work_mem = '6MB'").ok();
    wire.query("DISCARD ALL").ok();
    assert_eq!(show(&mut wire), "4MB");
    assert_eq!(wire.query("SET work_mem = 'nonsense'").code(), "22023");
    assert_eq!(show(&mut wire), "4MB");
}

#[test]
fn a_setting_that_forbids_writing_stays_with_who_made_it() {
    let stage = narrow();
    let mut careful = stage.proxy.session();
    careful.query("SET default_transaction_read_only = on").ok();
    careful.query("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE").ok();
    assert_eq!(careful.query("UPDATE t SET v = 1 WHERE id = 1").code(), "25006");
    let mut bold = stage.proxy.session();
    for _ in 0..10 {
        bold.query("UPDATE t SET v = v + 1 WHERE id = 1").ok();
        assert_eq!(bold.query("BEGIN; SHOW transaction_isolation; COMMIT").value(), "read committed");
        assert_eq!(careful.query("UPDATE t SET v = 1 WHERE id = 1").code(), "25006");
    }
}

#[test]
fn parameters_of_the_sign_in_are_settings() {
    let stage = narrow();
    let login = stage
        .proxy
        .login()
        .with("options", "-c statement_timeout=4321 -c app.who=me")
        .with("TimeZone", "Asia/Tokyo");
    let mut wire = Wire::login(&login).unwrap();
    let mut plain = stage.proxy.session();
    let ask = "SELECT concat_ws(' ', current_setting('statement_timeout'), current_setting('app.who', true), current_setting('TimeZone'))";
    for _ in 0..5 {
        assert_eq!(wire.value(ask), "4321ms me Asia/Tokyo");
        // A name that PostgreSQL has once seen is empty, not unknown, ever after: that much is not undone.
        assert_eq!(plain.value(ask).replace("  ", " "), "0 UTC");
        assert_eq!(wire.query(&format!("BEGIN; {ask}; COMMIT")).value(), "4321ms me Asia/Tokyo");
    }
    wire.query("SET statement_timeout = 1000; RESET statement_timeout").ok();
    assert_eq!(wire.value("SHOW statement_timeout"), "4321ms");
    assert_eq!(wire.parameters["TimeZone"], "Asia/Tokyo");
}

#[test]
fn what_a_session_made_is_its_own() {
    let stage = narrow();
    let mut one = stage.proxy.session();
    let mut two = stage.proxy.session();
    one.query("CREATE TEMP TABLE private (n int); INSERT INTO private VALUES (1)").ok();
    one.query("PREPARE mine AS SELECT 41 + $1").ok();
    for _ in 0..5 {
        assert_eq!(two.query("SELECT * FROM private").code(), "42P01");
        assert_eq!(two.query("EXECUTE mine(1)").code(), "26000");
        assert_eq!(one.value("SELECT n FROM private"), "1");
        assert_eq!(one.query("EXECUTE mine(1)").value(), "42");
    }
    drop(one);
    holds("a second session's table of that name", PATIENCE, String::new(), || {
        let mut three = stage.proxy.session();
        let made = three.query("CREATE TEMP TABLE private (n int)").code().to_owned();
        three.query("DROP TABLE IF EXISTS private").ok();
        made
    });
}

#[test]
fn a_session_lock_is_held_by_one_and_freed_with_it() {
    let stage = narrow();
    let mut one = stage.proxy.session();
    let mut two = stage.proxy.session();
    one.query("SELECT pg_advisory_lock(77)").ok();
    for _ in 0..5 {
        assert_eq!(two.value("SELECT pg_try_advisory_lock(77)"), "f");
    }
    assert_eq!(one.value("SELECT pg_advisory_unlock(77)"), "t");
    assert_eq!(two.value("SELECT pg_try_advisory_lock(77)"), "t");
    drop(two);
    holds("the lock of one who left", PATIENCE, "t".to_owned(), || {
        one.value("SELECT pg_try_advisory_xact_lock(77)")
    });
}

#[test]
fn notifications_reach_who_listens() {
    let stage = narrow();
    let mut listener = stage.proxy.session();
    let mut speaker = stage.proxy.session();
    listener.query("LISTEN news").ok();
    for n in 0..3 {
        speaker.query(&format!("NOTIFY news, 'number {n}'")).ok();
        listener.patience(PATIENCE);
        let message = listener.read_to(b'A').expect("a notification comes while the listener is idle");
        assert!(String::from_utf8_lossy(&message.body).contains(&format!("number {n}")));
    }
}

#[test]
fn a_role_stays_with_who_took_it() {
    let stage = narrow();
    stage.cluster.primary.sql("GRANT other TO app").ok();
    let mut one = stage.proxy.session();
    let mut two = stage.proxy.session();
    one.query("SET ROLE other").ok();
    for _ in 0..5 {
        assert_eq!(one.value("SELECT current_user"), "other");
        assert_eq!(two.value("SELECT current_user"), "app");
        assert_eq!(two.query("BEGIN; SELECT current_user; COMMIT").value(), "app");
    }
    one.query("RESET ROLE").ok();
    assert_eq!(one.value("SELECT current_user"), "app");
}

#[test]
fn prepared_statements_follow_their_client() {
    let stage = narrow();
    let mut sessions: Vec<Wire> = (0..5).map(|_| stage.proxy.session()).collect();
    for (n, wire) in sessions.iter_mut().enumerate() {
        // The same name for another text in each session.
        wire.ask(&[frame::parse("s", &format!("SELECT {n} + $1::int")), frame::sync()].concat())
            .unwrap()
            .ok();
    }
    for _ in 0..10 {
        for (n, wire) in sessions.iter_mut().enumerate() {
            let run = [frame::bind("", "s", &[Some(b"100")]), frame::execute("", 0), frame::sync()].concat();
            assert_eq!(wire.ask(&run).unwrap().value(), (100 + n).to_string());
        }
    }
    let wire = &mut sessions[0];
    wire.ask(&[frame::close_statement("s"), frame::sync()].concat()).unwrap().ok();
    let run = [frame::bind("", "s", &[Some(b"1")]), frame::execute("", 0), frame::sync()].concat();
    assert_eq!(wire.ask(&run).unwrap().code(), "26000");
    let again = [frame::parse("s", "SELECT 1"), frame::parse("s", "SELECT 2"), frame::sync()].concat();
    assert_eq!(wire.ask(&again).unwrap().code(), "42P05");
}

#[test]
fn a_prepared_statement_survives_a_change_of_its_table() {
    let stage = narrow();
    stage.cluster.prepare("CREATE TABLE changing (a int); INSERT INTO changing VALUES (1)");
    let mut wire = stage.proxy.session();
    let mut ddl = stage.proxy.session();
    wire.ask(&[frame::parse("c", "SELECT * FROM changing"), frame::sync()].concat()).unwrap().ok();
    let run = [frame::bind("", "c", &[]), frame::execute("", 0), frame::sync()].concat();
    wire.ask(&run).unwrap().ok();
    ddl.query("ALTER TABLE changing ADD COLUMN b int").ok();
    stage.cluster.settle();
    // A database says `cached plan must not change result type` here. A client that closes and prepares
    // again must get the new shape.
    wire.ask(&run).unwrap();
    let again =
        [frame::close_statement("c"), frame::parse("c", "SELECT * FROM changing"), frame::sync()].concat();
    wire.ask(&again).unwrap().ok();
    for _ in 0..5 {
        assert_eq!(wire.ask(&run).unwrap().ok().rows[0].len(), 2);
    }
}

#[test]
fn a_transaction_keeps_its_backend() {
    let stage = narrow();
    let mut wire = stage.proxy.session();
    let mut other = stage.proxy.session();
    for _ in 0..10 {
        wire.query("BEGIN").ok();
        let backend = wire.value("SELECT pg_backend_pid()");
        for _ in 0..3 {
            assert_ne!(other.query("BEGIN; SELECT pg_backend_pid(); COMMIT").value(), backend);
            assert_eq!(wire.execute("SELECT pg_backend_pid()", &[]).value(), backend);
        }
        wire.query("COMMIT").ok();
    }
}

#[test]
fn a_killed_proxy_leaves_nothing_open() {
    let stage = Stage::new(0, |config| config);
    stage
        .cluster
        .prepare("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 0), (2, 0), (3, 0)");
    let mut sessions: Vec<Wire> = (1..=3).map(|_| stage.proxy.session()).collect();
    for (n, wire) in sessions.iter_mut().enumerate() {
        wire.query(&format!("BEGIN; UPDATE t SET v = 1 WHERE id = {}", n + 1)).ok();
    }
    assert_eq!(stage.open_transactions(), 3);
    stage.proxy.kill();
    stage.await_none(PATIENCE, "usename = 'app'");
    assert_eq!(stage.cluster.primary.value("SELECT sum(v) FROM t"), "0");
}

#[test]
fn a_client_that_vanishes_in_a_transaction_is_rolled_back() {
    let stage = narrow();
    let mut wire = stage.proxy.session();
    wire.query("BEGIN; UPDATE t SET v = 99 WHERE id = 11").ok();
    drop(wire);
    stage.await_none(PATIENCE, "state LIKE 'idle in transaction%' AND query LIKE '%id = 11%'");
    let mut other = stage.proxy.session();
    other.query("SET lock_timeout = '5s'").ok();
    other.query("UPDATE t SET v = v + 1 WHERE id = 11").ok();
    assert_eq!(stage.cluster.primary.value("SELECT v FROM t WHERE id = 11"), "1");
}

#[test]
fn a_client_that_vanishes_in_a_statement_keeps_no_locks() {
    let stage = narrow();
    let mut wire = stage.proxy.session();
    wire.query("BEGIN; UPDATE t SET v = 99 WHERE id = 12").ok();
    wire.send(&frame::query("SELECT pg_sleep(600)")).unwrap();
    let sleeping = "query = 'SELECT pg_sleep(600)' AND state = 'active'";
    holds("sleeping statements", PATIENCE, 1, || stage.count(sleeping));
    drop(wire);
    stage.await_none(PATIENCE, sleeping);
    stage.proxy.session().query("UPDATE t SET v = v + 1 WHERE id = 12").ok();
}

#[test]
fn a_transaction_that_failed_is_the_clients_to_end() {
    let stage = narrow();
    let mut wire = stage.proxy.session();
    wire.query("BEGIN").ok();
    assert_eq!(wire.query("SELECT 1/0").status, b'E');
    assert_eq!(wire.query("SELECT 1").code(), "25P02");
    // An empty query is answered even here: drivers ask it to see whether the session lives.
    assert_eq!(wire.query("").order, "IZ");
    let end = wire.query("COMMIT").ok();
    assert_eq!((end.tags[0].as_str(), end.status), ("ROLLBACK", b'I'));
    assert_eq!(wire.value("SELECT 1"), "1");
}

#[test]
fn sigterm_lets_a_transaction_end() {
    let stage = Stage::new(0, |config| config);
    stage.cluster.prepare("CREATE TABLE t (v int)");
    let mut busy = stage.proxy.session();
    let mut idle = stage.proxy.session();
    busy.query("BEGIN; INSERT INTO t VALUES (1)").ok();
    stage.proxy.signal(rustix::process::Signal::TERM);
    assert!(idle.ends_within(PATIENCE), "an idle client is let go");
    busy.query("INSERT INTO t VALUES (2)").ok();
    busy.query("COMMIT").ok();
    let status = stage.proxy.await_end(Duration::from_secs(20));
    assert_eq!(status.and_then(|status| status.code()), Some(0));
    assert_eq!(stage.cluster.primary.value("SELECT count(*) FROM t"), "2");
}
