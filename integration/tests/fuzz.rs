//! Clients that send anything at any stage, from seeds that a failure tells: the process lives, others notice
//! nothing, and nothing stays behind in the database or the pool.

use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use fastrand::Rng;
use integration::seeds::{self, one_of};
use integration::{Cluster, Raise, Stage, Wire, frame, meter, until};

const SCHEMA: &str = "CREATE TABLE t (id int PRIMARY KEY, v text);
    INSERT INTO t SELECT n, 'v' FROM generate_series(1, 50) n;
    CREATE TABLE kept (n int); INSERT INTO kept SELECT generate_series(1, 10)";

const TEXTS: &[&str] = &[
    "",
    ";",
    "BEGIN",
    "BEGIN READ ONLY",
    "COMMIT",
    "ROLLBACK",
    "COMMIT AND CHAIN",
    "SAVEPOINT s",
    "ROLLBACK TO s",
    "SELECT 1",
    "SELECT 1; SELECT 2; SELECT 3",
    "BEGIN; SELECT 1; COMMIT; SELECT 1/0",
    "SELECT $1::text",
    "SELECT * FROM t",
    "SELECT n, repeat('x', 500) FROM generate_series(1, 2000) n",
    "SELECT * FROM t WHERE id = $1 FOR UPDATE",
    "SELECT pg_sleep(0.01)",
    "SELECT pg_sleep(30)",
    "SELECT 1/0",
    "INSERT INTO t VALUES (1, 'taken')",
    "INSERT INTO t SELECT max(id) + 1, 'new' FROM t",
    "UPDATE t SET v = $1 WHERE id = 3",
    "DELETE FROM t WHERE id > 60",
    "COPY t FROM STDIN",
    "COPY t TO STDOUT",
    "COPY (SELECT generate_series(1, 3000)) TO STDOUT",
    "DECLARE c CURSOR FOR SELECT * FROM t",
    "DECLARE h CURSOR WITH HOLD FOR SELECT * FROM t",
    "FETCH 3 FROM c",
    "PREPARE p AS SELECT 1",
    "EXECUTE p",
    "DEALLOCATE ALL",
    "DISCARD ALL",
    "SET work_mem = '1MB'",
    "SET LOCAL work_mem = '1MB'",
    "SET search_path = nowhere",
    "RESET ALL",
    "LISTEN a",
    "NOTIFY a, 'b'",
    "UNLISTEN *",
    "CREATE TEMP TABLE x (n int)",
    "SELECT pg_advisory_lock(7)",
    "SELECT pg_advisory_unlock_all()",
    "LOCK TABLE t",
    "DO $$ BEGIN PERFORM set_config('a.b', 'c', false); END $$",
    "not SQL at all",
    "SELECT '\u{1F980}\u{0301}'",
];

const NAMES: &[&str] = &[
    "",
    "",
    "",
    "s1",
    "s2",
    "splitpool_1",
    "a name that is longer than any identifier of the database may be",
];

/// A message as it should be, in a place where it may not.
fn right(rng: &mut Rng) -> Vec<u8> {
    let text = one_of(rng, TEXTS);
    let (name, portal) = (one_of(rng, NAMES), one_of(rng, NAMES));
    let values: Vec<Option<&[u8]>> = (0..rng.usize(..3)).map(|n| (n < 2).then_some(&b"1"[..])).collect();
    match rng.u8(..18) {
        0..=2 => frame::query(text),
        3 | 4 => frame::parse(name, text),
        5 | 6 => frame::bind(portal, name, &values),
        7 => frame::describe_statement(name),
        8 => frame::describe_portal(portal),
        9 | 10 => frame::execute(portal, rng.u32(..3)),
        11 => frame::close_statement(name),
        12 => frame::close_portal(portal),
        13 | 14 => frame::sync(),
        15 => frame::flush(),
        16 => match rng.u8(..3) {
            0 => frame::copy_data(b"1001\tcopied\n"),
            1 => frame::copy_done(),
            _ => frame::copy_fail("no more"),
        },
        _ => frame::function_call(rng.u32(..2000), &[b"1"]),
    }
}

fn wrong(rng: &mut Rng) -> Vec<u8> {
    let whole = right(rng);
    match rng.u8(..6) {
        0 => seeds::bytes(rng, 200),
        1 => whole[..rng.usize(..whole.len())].to_vec(),
        2 => {
            let length = *one_of(rng, &[0, 1, 3, 4, 5, 6, 100, 70_000, 0x7fff_ffff, 0x8000_0000, u32::MAX]);
            frame::message_of_length(whole[0], length, &whole[5..])
        }
        3 => {
            let mut whole = whole;
            let at = rng.usize(..whole.len());
            whole[at] = rng.u8(..);
            whole
        }
        4 => frame::message(rng.u8(..), &seeds::bytes(rng, 60)),
        _ => {
            let tag = *one_of(rng, b"QPBDECSHFdcfpX");
            frame::message(tag, &seeds::bytes(rng, 60))
        }
    }
}

/// Brings a session somewhere.
fn prelude(rng: &mut Rng) -> Vec<u8> {
    let unfinished = |sql| [frame::parse("", sql), frame::bind("", "", &[]), frame::execute("", 1)].concat();
    match rng.u8(..9) {
        0 => Vec::new(),
        1 => frame::query("BEGIN; UPDATE t SET v = 'open' WHERE id = 5"),
        2 => frame::query("BEGIN; SELECT 1/0"),
        3 => frame::query("COPY t FROM STDIN"),
        4 => unfinished("COPY t FROM STDIN"),
        5 => [frame::query("BEGIN"), unfinished("SELECT * FROM t"), frame::flush()].concat(),
        6 => [frame::parse("s1", "SELECT $1::text"), frame::flush()].concat(),
        7 => [unfinished("SELECT 1/0"), frame::flush()].concat(),
        _ => frame::query("COPY (SELECT n, repeat('x', 900) FROM generate_series(1, 9000) n) TO STDOUT"),
    }
}

/// One client from its sign-in to whatever end it comes to.
fn client(stage: &Stage, rng: &mut Rng) {
    let mut wire = stage.proxy.session();
    wire.patience(Duration::from_millis(15));
    let begun = wire.send(&prelude(rng));
    let read = |wire: &mut Wire| wire.read().is_ok();
    if begun.and_then(|()| seeds::talk(rng, &mut wire, [right, wrong], Wire::send, read)).is_err() {
        return;
    }
    let sender = wire.sender();
    match rng.u8(..5) {
        0 => drop(wire.send(&frame::terminate())),
        1 => drop(sender.shutdown(Shutdown::Write)),
        2 => drop(sender.shutdown(Shutdown::Both)),
        3 => {
            // A reset instead of an end.
            rustix::net::sockopt::set_socket_linger(&sender, Some(Duration::ZERO)).ok();
        }
        _ => {
            drop(wire.send(&frame::sync()));
            while wire.read().is_ok() {}
        }
    }
}

/// A session in a transaction of its own must find it as it left it.
fn bystander(stage: &Stage, over: &AtomicBool, rounds: &AtomicU64) {
    let mut wire = stage.proxy.session();
    while !over.load(Ordering::Relaxed) {
        wire.query("SET app.whose = 'mine'").ok();
        wire.query("BEGIN; INSERT INTO kept VALUES (11)").ok();
        assert_eq!(wire.value("SELECT count(*) FROM kept"), "11");
        wire.query("ROLLBACK").ok();
        assert_eq!(wire.value("SELECT count(*), current_setting('app.whose') FROM kept"), "10");
        assert_eq!(wire.value("SELECT current_setting('app.whose')"), "mine");
        let mut new = stage.proxy.session();
        let state =
            new.value("SELECT concat_ws(',', current_setting('work_mem'), current_setting('search_path'))");
        assert_eq!(state, "4MB,\"$user\", public", "a new session sees what another has set");
        rounds.fetch_add(1, Ordering::Relaxed);
    }
}

/// What clients have sent is carried out also when they have gone; each may leave a backend that is closed.
fn await_room(stage: &Stage) {
    until("few sessions are left", Duration::from_secs(60), || {
        (stage.proxy.metrics().sum("splitpool_sessions", &[]) < 12.0).then_some(())
    });
}

#[test]
fn anything_at_any_stage() {
    let cluster = Cluster::start(1);
    cluster.prepare(SCHEMA);
    cluster.primary.set("lock_timeout", "300ms");
    // Whoever sends more behind a statement, and goes, wants it carried out: by the database as well.
    cluster.servers().for_each(|server| server.set("statement_timeout", "4s"));
    let stage = Stage::over(cluster, |mut config| {
        config.listen = "auth = \"trust\"\n".to_owned();
        config.raw("pool_size", "12").text("query_wait_timeout", "20s")
    });
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
                    seeds::each(n * 150..(n + 1) * 150, |seed, rng| {
                        client(stage, rng);
                        if seed % 10 == 0 {
                            await_room(stage);
                        }
                    });
                })
            })
            .collect();
        let failed = fuzzers.into_iter().map(|fuzzer| fuzzer.join().is_err()).filter(|failed| *failed);
        let failed = failed.count();
        drop(end);
        assert_eq!(failed, 0, "clients could not sign in");
    });
    let rounds = rounds.into_inner();
    assert!(rounds > 3, "the bystander had its turn {rounds} times");
    stage.proxy.assert_sound();
    for server in stage.cluster.servers() {
        let ask = "SELECT coalesce(string_agg(state || ': ' || query, E'\\n'), '') FROM pg_stat_activity
             WHERE usename = 'app' AND (xact_start IS NOT NULL OR state <> 'idle')";
        integration::holds(
            &format!("what is open on {}", server.name()),
            Duration::from_secs(60),
            String::new(),
            || server.value(ask),
        );
        let locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'";
        assert_eq!(server.value(locks), "0");
    }
    stage.proxy.await_no_leases();
    until("no session is left pinned", Duration::from_secs(60), || {
        (stage.proxy.metrics().sum("splitpool_pinned_sessions", &[]) == 0.0).then_some(())
    });
    // All places in the pool can be had at once.
    let mut sessions: Vec<Wire> = (0..12).map(|_| stage.proxy.session()).collect();
    for session in &mut sessions {
        session.query("BEGIN; SELECT count(*) FROM kept").ok();
    }
    let grown = meter::resident_kb(id).saturating_sub(before);
    assert!(grown < 32 * 1024, "{grown} kB more");
}

#[test]
fn who_has_gone_takes_nobodys_place() {
    let stage = Stage::new(0, |config| config.raw("pool_size", "1").text("query_wait_timeout", "60s"));
    let mark = stage.cluster.mark();
    let mut holder = stage.proxy.session();
    let mut waiting: Vec<Wire> = (0..20).map(|_| stage.proxy.session()).collect();
    let mut last = stage.proxy.session();
    holder.query("BEGIN").ok();
    for (n, wire) in waiting.iter_mut().enumerate() {
        let request = match n % 2 {
            0 => frame::query("SELECT 1 /* of a ghost */"),
            _ => [frame::unnamed("SELECT 1 /* of a ghost */", &[]), frame::sync()].concat(),
        };
        wire.send(&request).expect("it is open");
    }
    let sessions = |count: f64| {
        let what = format!("{count} sessions");
        until(&what, Duration::from_secs(60), || {
            (stage.proxy.metrics().sum("splitpool_sessions", &[]) == count).then_some(())
        });
    };
    sessions(22.0);
    drop(waiting);
    sessions(2.0);
    last.send(&frame::query("SELECT 'served'")).expect("it is open");
    holder.query("COMMIT").ok();
    assert_eq!(last.reply().expect("an answer").value(), "served");
    assert!(stage.cluster.servers_that_ran("/* of a ghost */", &mark).is_empty());
}

#[test]
fn what_a_vanished_client_began_is_ended() {
    let stage = Stage::new(1, |config| config.raw("pool_size", "10"));
    for n in 0..60 {
        // Gone at once, so that the cancel may come before the statement has begun; on either server.
        let sql = ["SELECT pg_sleep(300)", "SELECT pg_sleep(300), txid_current()"][n % 2];
        let request = match n % 3 {
            0 => frame::query(sql),
            1 => [frame::unnamed(sql, &[]), frame::sync()].concat(),
            _ => frame::unnamed(sql, &[]),
        };
        stage.proxy.session().send(&request).expect("it is open");
    }
    for server in stage.cluster.servers() {
        let running = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(300)%'";
        integration::holds(server.name(), Duration::from_secs(60), "0".to_owned(), || server.value(running));
    }
    stage.proxy.await_no_leases();
}
