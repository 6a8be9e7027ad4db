//! Servers die, freeze and return; clients notice as little as can be.

use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use integration::load::{self, Progress};
use integration::{Cluster, Linked, PATIENCE, Proxy, Stage, Wire, frame, holds, until};

const SCHEMA: &str =
    "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t SELECT n, n FROM generate_series(1, 1000) n";
const READ: &str = "SELECT v FROM t WHERE id = 5";

fn stage(replicas: usize) -> Stage {
    let stage = Stage::new(replicas, |config| {
        config.text("consistency", "eventual").text("query_wait_timeout", "10s").text("probe_timeout", "3s")
    });
    stage.cluster.prepare(SCHEMA);
    stage
}

/// Reads in some sessions while `change` runs: what failed, and the longest wait.
fn read_while(proxy: &Proxy, change: impl FnOnce(&Progress)) -> (Vec<String>, Duration) {
    let longest = Mutex::new(Duration::ZERO);
    let round = |(number, wire): &mut (usize, Wire)| {
        let begun = Instant::now();
        let reply = if number.is_multiple_of(2) { wire.try_query(READ) } else { wire.try_execute(READ, &[]) };
        let mut longest = longest.lock().expect("no reader panics");
        *longest = begun.elapsed().max(*longest);
        load::went_well(reply, READ)
    };
    let failed = load::under_load(6, |number| (number, proxy.session()), round, change);
    (failed, longest.into_inner().expect("no reader panics"))
}

fn wait(time: Duration) {
    // The load runs meanwhile: the time itself is what is wanted here.
    thread::sleep(time);
}

#[test]
fn a_killed_replica_costs_a_reader_nothing() {
    let stage = stage(2);
    let (failed, longest) = read_while(&stage.proxy, |progress| {
        for replica in &stage.cluster.replicas {
            progress.await_more(50);
            wait(Duration::from_millis(300));
            replica.kill();
            wait(Duration::from_millis(700));
            replica.start();
            stage.proxy.await_reads_on(&[replica.port()]);
            progress.await_more(50);
        }
    });
    assert!(failed.is_empty(), "{failed:#?}");
    assert!(longest < PATIENCE / 2, "{longest:?}");
}

#[test]
fn a_replica_that_is_shut_down_costs_a_reader_nothing() {
    let stage = stage(2);
    let (failed, _) = read_while(&stage.proxy, |_| {
        wait(Duration::from_millis(300));
        // 57P01 to every session, then refused connections.
        stage.cluster.replicas[0].stop();
        wait(Duration::from_millis(700));
        stage.cluster.replicas[0].start();
        stage.proxy.await_reads_on(&[stage.cluster.replicas[0].port()]);
    });
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn without_replicas_the_primary_is_read_from() {
    let stage = stage(1);
    let (failed, _) = read_while(&stage.proxy, |_| {
        wait(Duration::from_millis(200));
        stage.cluster.replicas[0].kill();
        holds("who reads", PATIENCE, "primary".to_owned(), || {
            stage.proxy.session().value("SELECT current_setting('cluster_name')")
        });
    });
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn a_dead_primary_stops_writes_only_until_it_returns() {
    let stage = stage(2);
    let mut writer = stage.proxy.session();
    writer.query("UPDATE t SET v = 0 WHERE id = 1").ok();
    let (failed, _) = read_while(&stage.proxy, |_| {
        stage.cluster.primary.kill();
        for _ in 0..2 {
            let begun = Instant::now();
            let mut session = stage.proxy.session();
            let reply = session.try_query("UPDATE t SET v = 1 WHERE id = 1");
            let code = reply.map_or_else(|error| error.code().to_owned(), |reply| reply.code().to_owned());
            // A connection exception, or the database's own words about its shutdown.
            assert!(code.starts_with("08") || code.starts_with("57P"), "{code:?}");
            assert!(begun.elapsed() < PATIENCE / 2, "{:?}", begun.elapsed());
        }
        stage.cluster.primary.start();
        until("writes are served again", PATIENCE, || {
            let reply = stage.proxy.try_session().ok()?.try_query("UPDATE t SET v = 2 WHERE id = 1").ok()?;
            reply.error.is_none().then_some(())
        });
    });
    assert!(failed.is_empty(), "reads while the primary was down: {failed:#?}");
    assert_eq!(stage.cluster.primary.value("SELECT v FROM t WHERE id = 1"), "2");
}

#[test]
fn a_write_that_waits_is_served_when_the_primary_is_back_in_time() {
    let stage = Stage::new(0, |config| config.text("query_wait_timeout", "20s"));
    stage.cluster.prepare(SCHEMA);
    stage.cluster.primary.stop();
    let mut late = thread::scope(|scope| {
        let write = scope.spawn(|| stage.proxy.session().query("UPDATE t SET v = -7 WHERE id = 7"));
        wait(Duration::from_millis(700));
        stage.cluster.primary.start();
        vec![write.join().expect("the writer ends")]
    });
    late.remove(0).ok();
    assert_eq!(stage.cluster.primary.value("SELECT v FROM t WHERE id = 7"), "-7");
}

#[test]
fn a_frozen_replica_is_left_alone_until_it_thaws() {
    let stage = stage(2);
    let frozen = &stage.cluster.replicas[0];
    frozen.freeze();
    stage.proxy.await_no_reads_on(&frozen.address());
    let mark = stage.cluster.mark();
    let mut session = stage.proxy.session();
    for _ in 0..50 {
        session.query("SELECT 1 /* while it is frozen */").ok();
    }
    frozen.thaw();
    stage.proxy.await_reads_on(&[frozen.port()]);
    // Had one of them been sent to it, to wait or to be tried elsewhere, it would have run by now.
    let ran = stage.cluster.servers_that_ran("/* while it is frozen */", &mark);
    assert_eq!(ran, ["replica2"]);
}

#[test]
fn a_promoted_replica_takes_the_writes() {
    let stage = stage(2);
    let (old, new) = (&stage.cluster.primary, &stage.cluster.replicas[0]);
    let mut session = stage.proxy.session();
    session.query("UPDATE t SET v = 1 WHERE id = 2").ok();
    stage.cluster.settle();
    old.stop();
    new.promote();
    until("writes reach the new primary", PATIENCE, || {
        let reply = stage.proxy.try_session().ok()?.try_query("UPDATE t SET v = 2 WHERE id = 2").ok()?;
        reply.error.is_none().then_some(())
    });
    assert_eq!(new.value("SELECT v FROM t WHERE id = 2"), "2");
    // The old one returns on its old timeline: it must not get a single write.
    old.start();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(3) {
        drop(stage.proxy.session().try_query("UPDATE t SET v = v + 1 WHERE id = 2"));
    }
    assert_eq!(old.value("SELECT v FROM t WHERE id = 2"), "1", "the old primary was written to");
}

#[test]
fn the_result_of_a_lost_commit_is_not_made_up() {
    let cluster = Cluster::start(0);
    cluster.prepare(SCHEMA);
    let Linked { proxy, link, cluster } = &Linked::over(cluster, |config| config);
    proxy.await_cluster(cluster);
    for round in 0..5 {
        let mut wire = proxy.session();
        wire.query(&format!("BEGIN; UPDATE t SET v = v + 1000 WHERE id = {}", 100 + round)).ok();
        link.freeze();
        wire.send(&frame::query("COMMIT")).unwrap();
        wait(Duration::from_millis(50));
        link.reset();
        link.thaw();
        let code = match wire.reply() {
            Ok(reply) => reply.code().to_owned(),
            Err(error) => error.code().to_owned(),
        };
        assert!(code.starts_with("08"), "a commit without an answer is reported as {code:?}");
        until("the proxy serves again", PATIENCE, || {
            proxy.try_session().ok()?.try_query("SELECT 1").ok().filter(|reply| reply.error.is_none())
        });
        let value: i32 =
            cluster.primary.value(&format!("SELECT v FROM t WHERE id = {}", 100 + round)).parse().unwrap();
        assert!(value <= 1100 + round, "the transaction ran twice: {value}");
    }
}

#[test]
fn a_write_cut_off_is_never_sent_twice() {
    let cluster = Cluster::start(0);
    cluster.prepare("CREATE TABLE once (n int); CREATE SEQUENCE s");
    let Linked { proxy, link, cluster } =
        &Linked::over(cluster, |config| config.text("query_wait_timeout", "5s"));
    proxy.await_cluster(cluster);
    for n in 0..20 {
        let mut wire = proxy.session();
        wire.query("SELECT 1").ok();
        let cutter = thread::scope(|scope| {
            let cut = scope.spawn(|| {
                wait(Duration::from_micros(n * 300));
                link.reset();
            });
            drop(wire.try_query(&format!("INSERT INTO once VALUES ({n})")));
            cut.join()
        });
        cutter.expect("the link is cut");
    }
    let twice = "SELECT count(*) FROM (SELECT n FROM once GROUP BY n HAVING count(*) > 1) x";
    assert_eq!(cluster.primary.value(twice), "0");
}

#[test]
fn live_never_depends_on_a_database_and_ready_does() {
    let stage = stage(0);
    assert_eq!((stage.proxy.http("/live").0, stage.proxy.http("/ready").0), (200, 200));
    stage.cluster.primary.kill();
    until("not ready", PATIENCE, || (stage.proxy.http("/ready").0 != 200).then_some(()));
    assert_eq!(stage.proxy.http("/live").0, 200);
    stage.cluster.primary.start();
    holds("ready", PATIENCE, 200, || stage.proxy.http("/ready").0);
}
