//! What a session of MariaDB or MySQL reads after it wrote, while its replicas lag in every way they can.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use integration::mysql::{Cluster, Make, Session};
use integration::{Config, PASSWORD, Proxy, Raise, until};

const PATIENCE: Duration = Duration::from_secs(120);

struct Stage {
    proxy: Proxy,
    cluster: Cluster,
}

impl Stage {
    fn start(make: Make, configure: impl FnOnce(Config) -> Config) -> Self {
        let cluster = Cluster::start(make, 2);
        cluster.prepare("CREATE TABLE kv (k int PRIMARY KEY, v int)");
        // To name transactions as some of these tests do.
        let rights = match make {
            Make::MariaDb => "BINLOG REPLAY, BINLOG ADMIN",
            Make::MySql => "TRANSACTION_GTID_TAG, SESSION_VARIABLES_ADMIN, REPLICATION_APPLIER",
        };
        cluster.primary.sql(&format!("GRANT {rights} ON *.* TO app@'%'")).ok();
        for key in 0..64 {
            cluster.primary.sql(&format!("INSERT INTO kv VALUES ({key}, 0)")).ok();
        }
        cluster.settle();
        let proxy = Proxy::start(configure(Config::of_mysql(&cluster)));
        let stage = Self { proxy, cluster };
        stage.await_reads_on_both();
        stage
    }

    fn session(&self) -> Session {
        Session::login(self.proxy.port(), "app", PASSWORD, "app")
            .unwrap_or_else(|error| panic!("{error}\n{}", self.proxy.log()))
    }

    fn replica_ports(&self) -> BTreeSet<String> {
        self.cluster.replicas.iter().map(|replica| replica.port().to_string()).collect()
    }

    /// Waits until sessions that wrote nothing read from each replica.
    fn await_reads_on_both(&self) {
        let wanted = self.replica_ports();
        let mut seen = BTreeSet::new();
        until("each replica serves", Duration::from_secs(60), || {
            let mut session = Session::login(self.proxy.port(), "app", PASSWORD, "app").ok()?;
            seen.insert(session.try_query("SELECT @@port").ok()?.value());
            wanted.is_subset(&seen).then_some(())
        });
    }
}

/// What a run of write-then-read pairs showed.
#[derive(Debug, Default)]
struct Seen {
    pairs: usize,
    stale: usize,
    on_replicas: usize,
}

/// Writes in every way a session can, and reads it back as a text or a prepared statement.
fn pair(session: &mut Session, key: usize, value: usize, replicas: &BTreeSet<String>, seen: &mut Seen) {
    let write = format!("UPDATE kv SET v = {value} WHERE k = {key}");
    let (key, value) = (key.to_string(), value.to_string());
    match seen.pairs % 4 {
        0 => drop(session.query(&write).ok()),
        1 => drop(session.execute("UPDATE kv SET v = ? WHERE k = ?", &[&value, &key]).ok()),
        2 => {
            for sql in ["BEGIN", &write, "COMMIT"] {
                session.query(sql).ok();
            }
        }
        _ => {
            for sql in ["SET autocommit = 0", &write, "COMMIT", "SET autocommit = 1"] {
                session.query(sql).ok();
            }
        }
    }
    let reply = if seen.pairs.is_multiple_of(3) {
        session.execute("SELECT v, @@port FROM kv WHERE k = ?", &[&key]).ok()
    } else {
        session.query(&format!("SELECT v, @@port FROM kv WHERE k = {key}")).ok()
    };
    let cell = |column: usize| reply.rows[0][column].clone().unwrap_or_default();
    seen.stale += usize::from(cell(0) != value);
    seen.on_replicas += usize::from(replicas.contains(&cell(1)));
    seen.pairs += 1;
}

/// Pairs in several sessions at a time, until `over`; `done` counts them meanwhile.
fn pairs(stage: &Stage, over: &AtomicBool, done: &AtomicUsize) -> Seen {
    let replicas = stage.replica_ports();
    thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|worker| {
                let replicas = &replicas;
                scope.spawn(move || {
                    let mut session = stage.session();
                    let mut seen = Seen::default();
                    while !over.load(Ordering::Relaxed) {
                        // Each worker has keys of its own.
                        let key = worker * 16 + seen.pairs % 16;
                        let value = seen.pairs + 1;
                        pair(&mut session, key, value, replicas, &mut seen);
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                    seen
                })
            })
            .collect();
        let mut all = Seen::default();
        for worker in workers {
            let seen = worker.join().expect("a worker ends");
            all.pairs += seen.pairs;
            all.stale += seen.stale;
            all.on_replicas += seen.on_replicas;
        }
        all
    })
}

fn own_writes_are_read_whatever_replicas_do(make: Make) {
    // Replicas far behind still count: only the session's own demand keeps reads off them.
    let stage = Stage::start(make, |config| config.text("max_lag", "60s"));
    let (over, done) = (AtomicBool::new(false), AtomicUsize::new(0));
    let seen = thread::scope(|scope| {
        let running = scope.spawn(|| pairs(&stage, &over, &done));
        let _over = Raise(&over);
        let [one, two] = [&stage.cluster.replicas[0], &stage.cluster.replicas[1]];
        let begun = Instant::now();
        // A busy machine takes longer for enough of them.
        let enough = || done.load(Ordering::Relaxed) > 100 || begun.elapsed() > PATIENCE;
        while begun.elapsed() < Duration::from_secs(6) || !enough() {
            one.pause_replay();
            thread::sleep(Duration::from_millis(300));
            two.pause_receiving();
            thread::sleep(Duration::from_millis(300));
            one.resume_replay();
            two.resume_receiving();
            two.freeze();
            thread::sleep(Duration::from_millis(200));
            two.thaw();
            one.delay_replay(1);
            thread::sleep(Duration::from_millis(500));
            one.delay_replay(0);
            thread::sleep(Duration::from_millis(500));
        }
        over.store(true, Ordering::Relaxed);
        running.join().expect("the pairs end")
    });
    println!("{}: {seen:?}", make.name());
    assert_eq!(seen.stale, 0, "{seen:?}");
    assert!(seen.pairs > 100, "{seen:?}");
}

fn reads_after_writes_reach_replicas_that_keep_up(make: Make) {
    let stage = Stage::start(make, |config| config.text("causal_wait", "50s"));
    let replicas = stage.replica_ports();
    let mut session = stage.session();
    let mut seen = Seen::default();
    for value in 1..=60 {
        pair(&mut session, value % 64, value, &replicas, &mut seen);
    }
    println!("{}: {seen:?}", make.name());
    assert_eq!(seen.stale, 0, "{seen:?}");
    assert!(seen.on_replicas > 30, "{seen:?}\n{}", stage.proxy.log());
}

fn nobody_goes_back_in_time(make: Make) {
    let stage = Stage::start(make, |config| config.text("max_lag", "60s"));
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut writer = stage.cluster.primary.admin();
            let mut value = 0;
            while !over.load(Ordering::Relaxed) {
                value += 1;
                writer.query(&format!("UPDATE kv SET v = {value} WHERE k = 0")).ok();
            }
        });
        let _over = Raise(&over);
        // One replica is always a second behind: whoever read from the other must not come here.
        stage.cluster.replicas[0].delay_replay(1);
        let begun = Instant::now();
        let mut reads = 0;
        while begun.elapsed() < Duration::from_secs(4) || (reads <= 200 && begun.elapsed() < PATIENCE) {
            let mut session = stage.session();
            let mut last = 0;
            for _ in 0..50 {
                let value: u64 = session.value("SELECT v FROM kv WHERE k = 0").parse().expect("a number");
                assert!(value >= last, "{value} after {last}");
                last = value;
                reads += 1;
            }
        }
        over.store(true, Ordering::Relaxed);
        assert!(reads > 200, "{reads}");
    });
}

/// Positions of every kind: tagged transactions of MySQL, several domains of MariaDB, and a replica that has one
/// of its own. Each is a part of what the session must find again.
fn positions_of_every_kind(make: Make) {
    let stage = Stage::start(make, |config| config.text("max_lag", "60s").text("causal_wait", "200ms"));
    let [one, two] = [&stage.cluster.replicas[0], &stage.cluster.replicas[1]];
    let settings = match make {
        Make::MariaDb => ["SET gtid_domain_id = 0", "SET gtid_domain_id = 7", "SET gtid_domain_id = 9"],
        Make::MySql => [
            "SET gtid_next = 'AUTOMATIC'",
            "SET gtid_next = 'AUTOMATIC:splitpool'",
            "SET gtid_next = 'AUTOMATIC:another'",
        ],
    };
    // One replica has a transaction that nobody else has.
    one.set_read_only(false);
    // MariaDB's strict mode takes none into a domain of the primary's.
    let domain = if make == Make::MariaDb { "SET gtid_domain_id = 99; " } else { "" };
    one.sql(&format!("{domain}CREATE DATABASE errant")).ok();
    one.set_read_only(true);
    stage.cluster.settle();
    stage.await_reads_on_both();
    let replicas = stage.replica_ports();
    for (round, set) in settings.iter().cycle().take(6).enumerate() {
        let mut writer = stage.session();
        writer.query(set).ok();
        let (key, value) = (round.to_string(), (round + 1).to_string());
        one.pause_replay();
        two.pause_receiving();
        writer.query(&format!("UPDATE kv SET v = {value} WHERE k = {key}")).ok();
        let read = format!("SELECT v, @@port FROM kv WHERE k = {key}");
        for _ in 0..3 {
            assert_eq!(writer.query(&read).ok().rows[0][0].as_deref(), Some(value.as_str()), "{set}");
            assert_eq!(writer.execute("SELECT v FROM kv WHERE k = ?", &[&key]).value(), value, "{set}");
        }
        one.resume_replay();
        two.resume_receiving();
        // As soon as replicas have it, they serve it: the tag, the domain and the stray transaction are understood.
        // What sets the next transaction's name binds MySQL's session to the primary; another session reads then.
        let mut reader = stage.session();
        reader.query(&format!("UPDATE kv SET v = v WHERE k = {key}")).ok();
        let mut served = BTreeSet::new();
        until("both replicas serve it", Duration::from_secs(60), || {
            let session = if make == Make::MariaDb { &mut writer } else { &mut reader };
            let row = session.query(&read).ok().rows.remove(0);
            assert_eq!(row[0].as_deref(), Some(value.as_str()), "{set}");
            served.extend(row[1].clone().filter(|port| replicas.contains(port)));
            (served.len() == 2).then_some(())
        });
    }
    let written = stage.cluster.primary.position();
    let kinds = match make {
        Make::MariaDb => ["0-", "7-", "9-"],
        Make::MySql => [":1-", ":splitpool:", ":another:"],
    };
    for kind in kinds {
        assert!(written.contains(kind), "{written} without {kind}");
    }
}

#[test]
fn mariadb_positions() {
    positions_of_every_kind(Make::MariaDb);
}

#[test]
fn mysql_positions() {
    positions_of_every_kind(Make::MySql);
}

#[test]
fn mariadb_own_writes() {
    own_writes_are_read_whatever_replicas_do(Make::MariaDb);
}

#[test]
fn mysql_own_writes() {
    own_writes_are_read_whatever_replicas_do(Make::MySql);
}

#[test]
fn mariadb_reads_reach_replicas() {
    reads_after_writes_reach_replicas_that_keep_up(Make::MariaDb);
}

#[test]
fn mysql_reads_reach_replicas() {
    reads_after_writes_reach_replicas_that_keep_up(Make::MySql);
}

#[test]
fn mariadb_monotonic_reads() {
    nobody_goes_back_in_time(Make::MariaDb);
}

#[test]
fn mysql_monotonic_reads() {
    nobody_goes_back_in_time(Make::MySql);
}
