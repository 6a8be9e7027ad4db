//! What a session reads after it wrote, and where reads go when replicas fall behind.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use integration::{Cluster, Config, PATIENCE, Proxy, Raise, Stage, Wire, frame, holds, until};

const SCHEMA: &str =
    "CREATE TABLE kv (k int PRIMARY KEY, v int); INSERT INTO kv SELECT n, 0 FROM generate_series(1, 64) n";

/// Asks a server for its name.
const WHERE: &str = "SELECT current_setting('cluster_name')";

/// What a run of write-then-read pairs showed.
#[derive(Debug, Default)]
struct Seen {
    pairs: usize,
    misses: usize,
    /// Misses after each kind of write: simple, extended, transaction, transaction in one text.
    by_kind: [usize; 4],
    on_replicas: usize,
}

fn pair(wire: &mut Wire, key: usize, value: usize, seen: &mut Seen) {
    let (key, value) = (key.to_string(), value.to_string());
    // Every kind of write that a session can end: alone, by either protocol, in a transaction, in one text.
    let write = format!("UPDATE kv SET v = {value} WHERE k = {key}");
    match seen.pairs % 4 {
        0 => drop(wire.query(&write).ok()),
        1 => drop(wire.execute("UPDATE kv SET v = $1 WHERE k = $2", &[&value, &key]).ok()),
        2 => {
            for sql in ["BEGIN", &write, "COMMIT"] {
                wire.query(sql).ok();
            }
        }
        _ => drop(wire.query(&format!("BEGIN; {write}; COMMIT")).ok()),
    }
    let read = "SELECT v, current_setting('cluster_name') FROM kv WHERE k = ";
    let reply = if seen.pairs.is_multiple_of(3) {
        wire.execute(&format!("{read} $1"), &[&key]).ok()
    } else {
        wire.query(&format!("{read} {key}")).ok()
    };
    let cell = |n: usize| reply.rows[0][n].clone().unwrap_or_default();
    let missed = usize::from(cell(0) != value);
    seen.by_kind[seen.pairs % 4] += missed;
    seen.pairs += 1;
    seen.misses += missed;
    seen.on_replicas += usize::from(cell(1) != "primary");
}

fn pairs(stage: &Stage, sessions: usize, each: usize) -> Seen {
    let runs: Vec<Seen> = thread::scope(|scope| {
        let run = |key: usize| {
            move || {
                let mut wire = stage.proxy.session();
                let mut seen = Seen::default();
                for value in 1..=each {
                    pair(&mut wire, key, value, &mut seen);
                }
                seen
            }
        };
        let threads: Vec<_> = (1..=sessions).map(|key| scope.spawn(run(key))).collect();
        threads.into_iter().map(|thread| thread.join().expect("a session's thread ends")).collect()
    });
    runs.iter().fold(Seen::default(), |sum, run| Seen {
        pairs: sum.pairs + run.pairs,
        misses: sum.misses + run.misses,
        by_kind: std::array::from_fn(|kind| sum.by_kind[kind] + run.by_kind[kind]),
        on_replicas: sum.on_replicas + run.on_replicas,
    })
}

/// A stage whose replicas apply commits late: the first by 15 ms, the second by 40 ms.
fn late(consistency: &str) -> Stage {
    let stage = Stage::new(2, |config| config.text("consistency", consistency).text("max_lag", "30s"));
    stage.cluster.prepare(SCHEMA);
    stage.cluster.replicas[0].set("recovery_min_apply_delay", "15ms");
    stage.cluster.replicas[1].set("recovery_min_apply_delay", "40ms");
    stage
}

#[test]
fn a_session_reads_its_own_writes() {
    let stage = late("session");
    let seen = pairs(&stage, 6, 500);
    println!("{seen:?}");
    assert_eq!((seen.pairs, seen.misses), (3000, 0));
    stage.cluster.replicas.iter().for_each(|replica| replica.set("recovery_min_apply_delay", "0"));
    let seen = pairs(&stage, 2, 300);
    println!("{seen:?}");
    assert_eq!(seen.misses, 0);
    // A session that has not written reads on replicas, however many it has seen written.
    let mut wire = stage.proxy.session();
    let on_replicas = (0..50).filter(|_| wire.value(WHERE) != "primary").count();
    assert!(on_replicas > 25, "{on_replicas} of 50 reads reached a replica");
}

/// What is committed reaches the replicas only when the writer of the log comes round, every 200 ms.
#[test]
fn a_session_reads_its_own_writes_without_synchronous_commit() {
    let stage = Stage::new(2, |config| config.text("consistency", "session"));
    stage.cluster.prepare(SCHEMA);
    stage.cluster.primary.set("synchronous_commit", "off");
    let begun = Instant::now();
    let seen = pairs(&stage, 4, 500);
    println!("{seen:?} in {:?}", begun.elapsed());
    assert_eq!((seen.pairs, seen.misses), (2000, 0));
    // Other sessions still read on replicas.
    let mut wire = stage.proxy.session();
    assert!((0..50).any(|_| wire.value(WHERE) != "primary"));
}

#[test]
fn a_session_reads_its_own_writes_while_replay_is_paused() {
    let stage = Stage::new(2, |config| config.text("consistency", "session").text("causal_wait", "50ms"));
    stage.cluster.prepare(SCHEMA);
    stage.cluster.replicas.iter().for_each(|replica| replica.pause_replay());
    let seen = pairs(&stage, 4, 40);
    println!("{seen:?}");
    assert_eq!((seen.misses, seen.on_replicas), (0, 0));
    stage.cluster.replicas.iter().for_each(|replica| replica.resume_replay());
    until("reads return to the replicas", PATIENCE, || (pairs(&stage, 1, 5).on_replicas > 0).then_some(()));
}

/// Who asks whether a write of unknown outcome took effect must not be told by a replica that it did not.
#[test]
fn a_write_whose_reply_was_lost_is_looked_for_on_the_primary() {
    let stage = Stage::new(2, |config| config.text("consistency", "session").text("causal_wait", "50ms"));
    stage.cluster.prepare(SCHEMA);
    stage.cluster.replicas.iter().for_each(|replica| replica.pause_replay());
    let mut wire = stage.proxy.session();
    assert_eq!(wire.value("SELECT v FROM kv WHERE k = 1"), "0");
    let write =
        "BEGIN; UPDATE kv SET v = 7 WHERE k = 1; COMMIT; SELECT pg_terminate_backend(pg_backend_pid())";
    let lost = wire.try_query(write).expect("the session goes on");
    assert!(lost.error.is_some(), "{lost:?}");
    assert_eq!(wire.value("SELECT v FROM kv WHERE k = 1"), "7");
    stage.cluster.replicas.iter().for_each(|replica| replica.resume_replay());
}

#[test]
fn eventual_does_not_wait() {
    let stage = late("eventual");
    // Longer than it takes to read what was just written, on however busy a machine.
    stage.cluster.replicas.iter().for_each(|replica| replica.set("recovery_min_apply_delay", "5s"));
    let seen = pairs(&stage, 4, 100);
    println!("{seen:?}");
    assert!(seen.misses > 0, "a late replica never showed: {seen:?}");
}

#[test]
fn a_session_never_goes_back_in_time() {
    let stage = late("session");
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let _end = Raise(&over);
        scope.spawn(|| {
            let mut wire = stage.proxy.session();
            while !over.load(Ordering::Relaxed) {
                wire.query("UPDATE kv SET v = v + 1 WHERE k = 1").ok();
                thread::sleep(Duration::from_millis(2));
            }
        });
        let mut wire = stage.proxy.session();
        let mut newest = 0;
        let begun = Instant::now();
        let mut back = 0;
        while begun.elapsed() < Duration::from_secs(4) {
            let now: i32 = wire.value("SELECT v FROM kv WHERE k = 1").parse().unwrap();
            back += u32::from(now < newest);
            newest = newest.max(now);
        }
        assert!(newest > 10 && back == 0, "went back {back} times on the way to {newest}");
    });
}

#[test]
fn strong_reads_on_the_primary() {
    let stage = Stage::new(1, |config| config.text("consistency", "session"));
    let mut wire = stage.proxy.session();
    // A word that nobody knows may have meant as much.
    for word in ["strong", "STRONG", "stronk"] {
        wire.query(&format!("SET splitpool.consistency = '{word}'")).ok();
        for _ in 0..20 {
            assert_eq!(wire.value(WHERE), "primary", "{word}");
        }
    }
    wire.query("SET splitpool.consistency = 'eventual'").ok();
    holds("who reads", PATIENCE, "replica1".to_owned(), || wire.value(WHERE));
}

fn lag(stage: &Stage, replica: usize) -> Option<f64> {
    let address = stage.cluster.replicas[replica].address();
    let metrics = stage.proxy.metrics();
    let labels = [("endpoint", address.as_str())];
    metrics.of("splitpool_endpoint_lag_seconds", &labels).next().map(|sample| sample.value)
}

#[test]
fn an_idle_primary_has_replicas_without_lag() {
    let stage = Stage::new(2, |config| config.text("max_lag", "1s").text("consistency", "eventual"));
    let worst_after = |what: &str| {
        if !what.is_empty() {
            stage.cluster.primary.sql(what).ok();
        }
        let begun = Instant::now();
        let mut worst: f64 = 0.0;
        while begun.elapsed() < Duration::from_secs(2) {
            for replica in 0..2 {
                worst = worst.max(lag(&stage, replica).expect("the lag is known"));
            }
            thread::sleep(Duration::from_millis(50));
        }
        worst
    };
    stage.cluster.settle();
    for what in ["", "SELECT pg_switch_wal()", "CHECKPOINT"] {
        // A machine that stands still for a second has a lag of a second: a fault has one every time.
        let mut worst = Vec::new();
        while worst.last().is_none_or(|worst| *worst >= 1.0) {
            assert!(worst.len() < 20, "{what:?}: {worst:?} s");
            worst.push(worst_after(what));
        }
    }
    stage.proxy.await_reads_on(&[stage.cluster.replicas[0].port(), stage.cluster.replicas[1].port()]);
}

/// Ports that reads reach from now on, over a while, one session each, while something is written.
fn ports_of_reads(stage: &Stage, count: usize) -> BTreeSet<String> {
    let mut writer = stage.proxy.session();
    (0..count)
        .map(|n| {
            writer.query(&format!("UPDATE kv SET v = {n} WHERE k = 2")).ok();
            stage.proxy.session().query("SELECT inet_server_port() FROM kv WHERE k = 2").value()
        })
        .collect()
}

fn falls_behind_and_returns(hold: impl Fn(&Stage), release: impl Fn(&Stage)) {
    let stage = Stage::new(2, |config| {
        config.text("consistency", "eventual").text("max_lag", "1s").text("probe_interval", "100ms")
    });
    stage.cluster.prepare(SCHEMA);
    let late = stage.cluster.replicas[0].port().to_string();
    hold(&stage);
    stage.proxy.session().query("UPDATE kv SET v = -1 WHERE k = 2").ok();
    // From then on it is too late, and was so before only if the machine stood still.
    thread::sleep(Duration::from_secs(1));
    stage.proxy.await_no_reads_on(&stage.cluster.replicas[0].address());
    // As seldom as it may be asked, the other one is read from as well.
    let mut ports = BTreeSet::new();
    until("the other replica is read from", PATIENCE, || {
        ports.extend(ports_of_reads(&stage, 40));
        ports.contains(&stage.cluster.replicas[1].port().to_string()).then_some(())
    });
    assert!(!ports.contains(&late), "a replica over max_lag is read from: {ports:?}");
    release(&stage);
    until("the replica is read from again", PATIENCE, || {
        ports_of_reads(&stage, 10).contains(&late).then_some(())
    });
}

#[test]
fn a_replica_with_paused_replay_leaves_and_returns() {
    falls_behind_and_returns(
        |stage| stage.cluster.replicas[0].pause_replay(),
        |stage| stage.cluster.replicas[0].resume_replay(),
    );
}

#[test]
fn a_replica_that_receives_nothing_leaves_and_returns() {
    falls_behind_and_returns(
        |stage| stage.cluster.replicas[0].freeze_receiver(),
        |stage| stage.cluster.replicas[0].thaw(),
    );
}

#[test]
fn when_all_replicas_are_late_the_fallback_decides() {
    let cluster = Cluster::start(1);
    cluster.prepare(SCHEMA);
    let [primary, stale, error] = ["primary", "stale", "error"].map(|fallback| {
        let config = Config::of(&cluster).text("consistency", "eventual").text("max_lag", "300ms");
        let proxy = Proxy::start(config.text("fallback", fallback));
        proxy.await_cluster(&cluster);
        proxy
    });
    cluster.replicas[0].pause_replay();
    cluster.primary.sql("UPDATE kv SET v = 1 WHERE k = 1").ok();
    thread::sleep(Duration::from_millis(300));
    for proxy in [&primary, &stale, &error] {
        proxy.await_no_reads_on(&cluster.replicas[0].address());
    }
    let ask = "SELECT current_setting('cluster_name') FROM kv WHERE k = 1";
    assert_eq!(primary.session().value(ask), "primary");
    assert_eq!(stale.session().value(ask), "replica1");
    let reply = error.session().query(ask);
    assert!(reply.error.is_some() && reply.status == b'I', "{reply:?}");
}

#[test]
fn a_pipeline_reads_its_own_write() {
    let stage = late("session");
    let mut wire = stage.proxy.session();
    for value in 1..=200 {
        let (value, key) = (value.to_string(), "7".to_owned());
        let write = frame::unnamed(
            "UPDATE kv SET v = $1 WHERE k = $2",
            &[Some(value.as_bytes()), Some(key.as_bytes())],
        );
        let read = frame::unnamed("SELECT v FROM kv WHERE k = 7", &[]);
        wire.send(&[write, frame::sync(), read, frame::sync()].concat()).unwrap();
        wire.reply().unwrap().ok();
        assert_eq!(wire.reply().unwrap().value(), value);
    }
}
