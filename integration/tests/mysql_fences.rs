//! What MariaDB and MySQL tell of a write in its reply is the session's fence: a replica that has just that transaction
//! serves the session, and the primary is not asked how far it has come.
//!
//! Probes of the monitor are seen in the servers' general logs. Its interval is so long that it asks nobody unless a
//! session waits.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use integration::mysql::wire::{Wire, cap};
use integration::mysql::{Cluster, Make, Options};
use integration::{Config, Proxy, Raise, holds, until};

const PATIENCE: Duration = Duration::from_secs(60);

/// How every question of the monitor begins.
const PROBE: &str = "SELECT @@global.read_only, @@global.";

const USUAL: u64 = cap::CONNECT_WITH_DB | cap::MULTI_STATEMENTS | cap::BULK;

struct Stage {
    proxy: Proxy,
    cluster: Cluster,
    replicas: BTreeSet<String>,
}

impl Stage {
    fn start(make: Make, configure: impl FnOnce(Config) -> Config) -> Self {
        Self::with(make, &Options::default(), configure)
    }

    fn with(make: Make, options: &Options, configure: impl FnOnce(Config) -> Config) -> Self {
        let cluster = Cluster::with(make, options);
        cluster.prepare("CREATE TABLE kv (k int PRIMARY KEY, v int)");
        cluster.prepare("CREATE TABLE other (k int PRIMARY KEY, v int)");
        let keys: Vec<String> = (0..64).map(|key| format!("({key}, 0)")).collect();
        cluster.prepare(&format!("INSERT INTO kv VALUES {}", keys.join(", ")));
        for code in [
            "CREATE PROCEDURE writes(key_ int, value_ int) UPDATE kv SET v = value_ WHERE k = key_",
            "CREATE PROCEDURE shows(key_ int, value_ int) BEGIN SELECT count(*) FROM kv; \
             UPDATE kv SET v = value_ WHERE k = key_; SELECT v FROM kv WHERE k = key_; END",
            "CREATE FUNCTION writes(key_ int, value_ int) RETURNS int MODIFIES SQL DATA \
             BEGIN UPDATE kv SET v = value_ WHERE k = key_; RETURN value_; END",
        ] {
            cluster.prepare(code);
        }
        let rights = match make {
            Make::MariaDb => "BINLOG REPLAY, BINLOG ADMIN",
            Make::MySql => {
                "TRANSACTION_GTID_TAG, SESSION_VARIABLES_ADMIN, REPLICATION_APPLIER, XA_RECOVER_ADMIN"
            }
        };
        cluster.primary.sql(&format!("GRANT {rights} ON *.* TO app@'%'")).ok();
        cluster.settle();
        let replicas = cluster.replicas.iter().map(|replica| replica.port().to_string()).collect();
        let proxy = Proxy::start(configure(Config::of_mysql(&cluster).text("max_lag", "10h")));
        let stage = Self { proxy, cluster, replicas };
        let mut seen = BTreeSet::new();
        until("each replica serves", PATIENCE, || {
            let mut wire = Wire::login(stage.proxy.port(), USUAL, 45).ok()?;
            seen.insert(wire.query("SELECT @@port").value());
            stage.replicas.is_subset(&seen).then_some(())
        });
        stage
    }

    fn wire(&self, abilities: u64) -> Wire {
        Wire::login(self.proxy.port(), USUAL | abilities, 45)
            .unwrap_or_else(|error| panic!("{error}\n{}", self.proxy.log()))
    }

    /// Whether the monitor has asked the primary since.
    fn sampled_primary(&self, mark: &integration::mysql::Mark) -> bool {
        self.cluster.servers_that_ran(PROBE, mark).contains(&"primary")
    }
}

/// A way to write `value` under `key`.
struct Kind {
    name: &'static str,
    /// Whether its reply tells the transaction: to clients that read OK packets behind rows, and to the others.
    told: (bool, bool),
    write: fn(&mut Wire, i32, i32),
}

fn all(wire: &mut Wire, texts: &[String]) {
    for text in texts {
        wire.command(3, text.as_bytes()).expect("sent");
        for result in wire.results().expect("an answer") {
            assert_eq!(result.code(), 0, "{text}: {result:?}");
        }
    }
}

fn update(key: i32, value: i32) -> String {
    format!("UPDATE kv SET v = {value} WHERE k = {key}")
}

/// Those that both databases know.
const KINDS: [Kind; 14] = [
    Kind { name: "text", told: (true, true), write: |wire, k, v| all(wire, &[update(k, v)]) },
    Kind {
        name: "prepared",
        told: (true, true),
        write: |wire, k, v| {
            let statement = wire.prepare("UPDATE kv SET v = ? WHERE k = ?").expect("a preparation");
            let row = [Some(&*v.to_string()), Some(&*k.to_string())].map(|text| text.map(str::to_owned));
            let row: Vec<Option<&str>> = row.iter().map(Option::as_deref).collect();
            assert_eq!(wire.execute(statement, false, &row).expect("an answer").code(), 0);
        },
    },
    Kind {
        name: "several statements",
        told: (true, true),
        write: |wire, k, v| all(wire, &[format!("{}; {}", update(k, v - 1), update(k, v))]),
    },
    Kind {
        name: "a write and a read",
        told: (false, false),
        write: |wire, k, v| all(wire, &[format!("{}; SELECT v FROM kv WHERE k = {k}", update(k, v))]),
    },
    Kind {
        name: "a transaction",
        told: (true, true),
        write: |wire, k, v| {
            all(wire, &["BEGIN".into(), update(k, v), "SELECT * FROM kv".into(), "COMMIT".into()])
        },
    },
    Kind {
        name: "no autocommit",
        told: (true, true),
        write: |wire, k, v| {
            all(
                wire,
                &["SET autocommit = 0".into(), update(k, v), "COMMIT".into(), "SET autocommit = 1".into()],
            );
        },
    },
    Kind {
        name: "autocommit again",
        told: (true, true),
        write: |wire, k, v| {
            all(wire, &["SET autocommit = 0".into(), update(k, v), "SET autocommit = 1".into()])
        },
    },
    Kind {
        name: "an implicit commit",
        told: (true, true),
        write: |wire, k, v| {
            let ddl = format!("CREATE OR REPLACE VIEW seen AS SELECT {v} AS v");
            all(wire, &["BEGIN".into(), update(k, v), ddl]);
        },
    },
    Kind {
        name: "XA",
        told: (true, true),
        write: |wire, k, v| {
            let xa = |verb: &str| format!("XA {verb} 'fence{k}'");
            all(wire, &[xa("START"), update(k, v), xa("END"), xa("PREPARE"), xa("COMMIT")]);
        },
    },
    Kind {
        name: "a pinned session",
        told: (true, true),
        write: |wire, k, v| {
            all(
                wire,
                &[
                    "CREATE TEMPORARY TABLE mine (n int)".into(),
                    "DROP TEMPORARY TABLE mine".into(),
                    update(k, v),
                ],
            );
        },
    },
    Kind {
        name: "locked tables",
        told: (false, false),
        write: |wire, k, v| all(wire, &["LOCK TABLES kv WRITE".into(), update(k, v), "UNLOCK TABLES".into()]),
    },
    // What code of the database's own saw after it committed, it may keep where no reply shows it.
    Kind {
        name: "a procedure",
        told: (false, false),
        write: |wire, k, v| all(wire, &[format!("CALL writes({k}, {v})")]),
    },
    Kind {
        name: "a procedure with results",
        told: (false, false),
        write: |wire, k, v| all(wire, &[format!("CALL shows({k}, {v})")]),
    },
    Kind {
        name: "a function",
        told: (false, false),
        write: |wire, k, v| all(wire, &[format!("SELECT writes({k}, {v})")]),
    },
];

const MARIADBS: [Kind; 3] = [
    Kind {
        name: "returning",
        told: (true, false),
        write: |wire, k, v| all(wire, &[format!("REPLACE INTO kv VALUES ({k}, {v}) RETURNING v")]),
    },
    Kind {
        name: "in bulk",
        told: (true, true),
        write: |wire, k, v| {
            let statement = wire.prepare("REPLACE INTO kv VALUES (?, ?)").expect("a preparation");
            let rows = [v - 1, v].map(|v| vec![Some(k.to_string()), Some(v.to_string())]);
            assert_eq!(wire.execute_bulk(statement, &rows, true).expect("an answer").code(), 0);
        },
    },
    Kind {
        name: "another domain",
        told: (true, true),
        write: |wire, k, v| {
            all(wire, &["SET gtid_domain_id = 7".into(), update(k, v), "SET gtid_domain_id = 0".into()]);
        },
    },
];

const MYSQLS: [Kind; 1] = [Kind {
    name: "a tag",
    told: (true, true),
    write: |wire, k, v| {
        all(wire, &["SET gtid_next = 'AUTOMATIC:splitpool'".into(), update(k, v)]);
        // What names the next transaction binds the session to the primary until it is as new.
        assert_eq!(wire.simple(0x1f, &[]).expect("an answer").code(), 0);
    },
}];

fn kinds(make: Make) -> Vec<&'static Kind> {
    let own: &[Kind] = if make == Make::MariaDb { &MARIADBS } else { &MYSQLS };
    KINDS.iter().chain(own).collect()
}

fn read(wire: &mut Wire, key: i32, prepared: bool) -> (String, String) {
    if !prepared {
        let outcome = wire.query(&format!("SELECT v, @@port FROM kv WHERE k = {key}"));
        assert_eq!(outcome.code(), 0, "{outcome:?}");
        let cells = outcome.cells(0);
        return (cells[0].clone().unwrap_or_default(), cells[1].clone().unwrap_or_default());
    }
    let sql = "SELECT concat(v, ''), concat(@@port, '') FROM kv WHERE k = ?";
    let statement = wire.prepare(sql).expect("a preparation");
    let outcome = wire.execute(statement, false, &[Some(&key.to_string())]).expect("an answer");
    // A binary row: a zero, a byte of NULLs, and texts with their lengths.
    let row = outcome.rows.first().unwrap_or_else(|| panic!("{outcome:?}"));
    let (v, rest) = row[3..].split_at(row[2].into());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(v), text(&rest[1..]))
}

fn every_kind_of_write_is_told(make: Make) {
    let stage = Stage::start(make, |config| config.text("probe_interval", "1m").text("causal_wait", "50s"));
    let mut value = 0;
    for (abilities, classic) in
        [(cap::DEPRECATE_EOF, false), (cap::DEPRECATE_EOF | cap::SESSION_TRACK, false), (0, true)]
    {
        for kind in kinds(make) {
            let told = if classic { kind.told.1 } else { kind.told.0 };
            // A probe that is due may come in between.
            let asked = |value: i32| {
                let mut wire = stage.wire(abilities);
                let mark = stage.cluster.mark();
                (kind.write)(&mut wire, value % 64, value);
                stage.cluster.settle();
                let (found, port) = read(&mut wire, value % 64, value % 2 == 0);
                assert_eq!(found, value.to_string(), "{} on {port}", kind.name);
                assert!(stage.replicas.contains(&port), "{}: {}", kind.name, stage.proxy.log());
                // Once it has been there, it needs no proof to go on.
                assert_eq!(read(&mut wire, value % 64, false).0, value.to_string(), "{}", kind.name);
                stage.sampled_primary(&mark)
            };
            let mut tries = 0..10;
            let right = tries.any(|_| {
                value += 2 + i32::from(value % 3 == 0);
                asked(value) != told
            });
            assert!(right, "{} with {abilities:x}: told {told}", kind.name);
        }
    }
}

/// Writes in every way and reads, while replicas stop, freeze and lag.
fn no_read_misses_its_write(make: Make) {
    let stage = Stage::start(make, |config| config);
    let (over, done) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (pairs, stale) = thread::scope(|scope| {
        let (stage, over, done) = (&stage, &over, &done);
        let workers: Vec<_> = (0..3i32)
            .map(|worker| {
                scope.spawn(move || {
                    let mut wire = stage.wire(if worker == 0 { 0 } else { cap::DEPRECATE_EOF });
                    let (mut pairs, mut stale) = (0, Vec::new());
                    let kinds = kinds(make);
                    while !over.load(Ordering::Relaxed) {
                        for kind in &kinds {
                            pairs += 1;
                            done.fetch_add(1, Ordering::Relaxed);
                            // Each worker has keys of its own, and tables are locked by one.
                            if worker > 0 && matches!(kind.name, "locked tables" | "an implicit commit") {
                                continue;
                            }
                            let key = worker * 16 + pairs % 16;
                            (kind.write)(&mut wire, key, pairs);
                            for prepared in [false, true] {
                                let (found, port) = read(&mut wire, key, prepared);
                                if found != pairs.to_string() {
                                    stale.push(format!("{}: {found} for {pairs} on {port}", kind.name));
                                }
                            }
                        }
                    }
                    (pairs, stale)
                })
            })
            .collect();
        let _over = Raise(over);
        let [one, two] = [&stage.cluster.replicas[0], &stage.cluster.replicas[1]];
        let begun = Instant::now();
        // A busy machine takes longer for enough of them.
        let enough = || done.load(Ordering::Relaxed) > 30 || begun.elapsed() > PATIENCE;
        while begun.elapsed() < Duration::from_secs(6) || !enough() {
            one.pause_replay();
            thread::sleep(Duration::from_millis(200));
            two.freeze();
            thread::sleep(Duration::from_millis(200));
            two.thaw();
            one.resume_replay();
            two.delay_replay(1);
            thread::sleep(Duration::from_millis(400));
            two.delay_replay(0);
            thread::sleep(Duration::from_millis(200));
        }
        over.store(true, Ordering::Relaxed);
        let seen = workers.into_iter().map(|worker| worker.join().expect("a worker ends"));
        seen.fold((0, Vec::new()), |(pairs, mut stale), (more, some)| {
            stale.extend(some);
            (pairs + more, stale)
        })
    });
    println!("{}: {pairs} pairs", make.name());
    assert!(stale.is_empty(), "{stale:?}");
    assert!(pairs > 30, "{pairs}");
}

/// Replicas are asked once a minute; who waits for one is served by it as soon as it has the write.
fn a_read_is_let_go_by_the_replica_itself(make: Make) {
    let stage = Stage::start(make, |config| config.text("probe_interval", "1m").text("causal_wait", "50s"));
    let waits = ["MASTER_GTID_WAIT('", "WAIT_FOR_EXECUTED_GTID_SET('"][usize::from(make == Make::MySql)];
    for (round, replica) in stage.cluster.replicas.iter().enumerate() {
        stage.cluster.settle();
        stage.cluster.replicas.iter().for_each(integration::mysql::Server::pause_replay);
        let mark = stage.cluster.mark();
        let value = i32::try_from(round).expect("small") + 1;
        let mut wires = [stage.wire(cap::DEPRECATE_EOF), stage.wire(0)];
        for (key, wire) in (0..).zip(&mut wires) {
            all(wire, &[update(key, value)]);
        }
        let reads = thread::scope(|scope| {
            let reads: Vec<_> = (0..)
                .zip(&mut wires)
                .map(|(key, wire)| scope.spawn(move || read(wire, key, key % 2 == 0)))
                .collect();
            until("both replicas are waited for", PATIENCE, || {
                (stage.cluster.servers_that_ran(waits, &mark) == ["replica1", "replica2"]).then_some(())
            });
            assert!(reads.iter().all(|read| !read.is_finished()));
            replica.resume_replay();
            reads.into_iter().map(|read| read.join().expect("a row")).collect::<Vec<_>>()
        });
        assert_eq!(reads, vec![(value.to_string(), replica.port().to_string()); 2]);
        stage.cluster.replicas.iter().for_each(integration::mysql::Server::resume_replay);
    }
}

/// A replica that others have had sampled since, ahead of all that the primary was seen at, still serves who read there.
fn a_replica_ahead_of_the_primarys_sample_is_kept(make: Make) {
    let stage = Stage::start(make, |config| config.text("probe_interval", "1m").text("causal_wait", "50s"));
    let mut wires = [stage.wire(cap::DEPRECATE_EOF), stage.wire(0)];
    for value in 1..4 {
        let mut places = [const { String::new() }; 2];
        for (key, (wire, place)) in (0..).zip(wires.iter_mut().zip(&mut places)) {
            all(wire, &[update(key, value)]);
            *place = read(wire, key, false).1;
            assert!(stage.replicas.contains(place), "{place}");
        }
        // The second session has had the replicas sampled while it waited for them.
        for (key, (wire, place)) in (0..).zip(wires.iter_mut().zip(places)) {
            assert_eq!(read(wire, key, false), (value.to_string(), place), "it stays where it is");
        }
    }
}

/// A transaction that has only looked, and that a setting ends, is seen as well.
fn what_a_setting_ends_was_seen(make: Make) {
    let stage = Stage::start(make, |config| config.text("causal_wait", "50ms"));
    stage.cluster.replicas.iter().for_each(integration::mysql::Server::pause_replay);
    stage.cluster.primary.sql(&update(1, 7)).ok();
    until("a replica shows what was before", PATIENCE, || {
        (read(&mut stage.wire(cap::DEPRECATE_EOF), 1, false).0 == "0").then_some(())
    });
    let mut wire = stage.wire(cap::DEPRECATE_EOF);
    let look = "SELECT v FROM kv WHERE k = 1 FOR UPDATE".to_owned();
    all(&mut wire, &["SET autocommit = 0".into(), look, "SET autocommit = 1".into()]);
    assert_eq!(read(&mut wire, 1, false).0, "7");
    stage.cluster.replicas.iter().for_each(integration::mysql::Server::resume_replay);
}

/// What Splitpool has backends tell it for its own use, clients are told only if they ask.
fn transactions_are_told_to_those_who_ask(make: Make) {
    let stage = Stage::start(make, |config| config);
    let ask = match make {
        Make::MariaDb => "SET session_track_system_variables = 'autocommit,last_gtid'",
        Make::MySql => "SET session_track_gtids = OWN_GTID",
    };
    let sign = match make {
        Make::MariaDb => "last_gtid".to_owned(),
        Make::MySql => stage.cluster.primary.value("SELECT @@server_uuid"),
    };
    for abilities in [cap::SESSION_TRACK, cap::SESSION_TRACK | cap::DEPRECATE_EOF] {
        let mut wire = stage.wire(abilities);
        let wrote = |wire: &mut Wire, value: i32| {
            let end = wire.query(&update(1, value)).end;
            end.windows(sign.len()).any(|bytes| bytes == sign.as_bytes())
        };
        for round in 0..2 {
            assert!(!wrote(&mut wire, 10 + round), "nobody asked");
            assert_eq!(wire.query(ask).code(), 0);
            assert!(wrote(&mut wire, 20 + round), "it was asked for");
            assert_eq!(wire.simple(0x1f, &[]).expect("an answer").code(), 0);
        }
    }
}

/// Who shortens the list of variables whose changes are told, in a statement that is not easily read, keeps its backend:
/// others' settings would go unseen.
fn a_shortened_list_stays_where_it_is(make: Make) {
    let stage = Stage::start(make, |config| config.raw("pool_size", "2"));
    if make == Make::MySql {
        // With this right it can be seen that there are no user variables that bind the session.
        stage.cluster.primary.sql("GRANT SELECT ON performance_schema.* TO app@'%'").ok();
    }
    for list in ["autocommit", ""] {
        let mut one = stage.wire(cap::SESSION_TRACK);
        assert_eq!(one.query(&format!("SET session_track_system_variables = '{list}' /* s */")).code(), 0);
        holds("sessions that nothing can be carried of", PATIENCE, "1".to_owned(), || {
            let metrics = stage.proxy.metrics();
            metrics.sum("splitpool_pinned_sessions", &[("reason", "unknown_effect")]).to_string()
        });
        let mut two = stage.wire(cap::SESSION_TRACK);
        assert_eq!(two.query("BEGIN").code(), 0);
        assert_eq!(two.query("SELECT @@session_track_system_variables").value(), "*");
        assert_eq!(two.query("COMMIT").code(), 0);
        assert_eq!(one.query("SELECT @@session_track_system_variables").value(), list);
        // Which it does to the end of its session.
        assert_eq!(one.simple(0x1f, &[]).expect("an answer").code(), 0);
        assert_eq!(one.query("SELECT @@session_track_system_variables").value(), "*");
        drop((one, two));
    }
}

/// Where a transaction does not prove those before it, the primary is asked how far it has come.
fn a_replica_out_of_order_is_not_taken_at_its_word(make: Make) {
    let settings = match make {
        Make::MariaDb => vec![("slave_parallel_threads", "4".to_owned())],
        Make::MySql => {
            let workers = ("replica_parallel_workers", "4".to_owned());
            vec![workers, ("replica_preserve_commit_order", "OFF".to_owned())]
        }
    };
    let options = Options { settings, ..Options::default() };
    let stage =
        Stage::with(make, &options, |config| config.text("probe_interval", "1m").text("causal_wait", "50s"));
    let mut told = false;
    for value in 1..6 {
        // With MariaDB two domains are out of order, one is not.
        if make == Make::MariaDb && value == 3 {
            assert!(told, "one domain alone is in order");
            all(&mut stage.wire(0), &["SET gtid_domain_id = 7".into(), update(5, value)]);
            told = false;
        }
        let mut wire = stage.wire(cap::DEPRECATE_EOF);
        stage.cluster.settle();
        let mark = stage.cluster.mark();
        all(&mut wire, &[update(4, value)]);
        stage.cluster.settle();
        let (found, port) = read(&mut wire, 4, false);
        assert_eq!(found, value.to_string());
        assert!(stage.replicas.contains(&port));
        told |= !stage.sampled_primary(&mark);
        // What a replica was sampled at before the second domain began is still in order.
        if make == Make::MariaDb && value == 3 {
            told = false;
        }
    }
    assert!(!told, "the primary was not asked");
}

#[test]
fn mariadb_out_of_order() {
    a_replica_out_of_order_is_not_taken_at_its_word(Make::MariaDb);
}

#[test]
fn mysql_out_of_order() {
    a_replica_out_of_order_is_not_taken_at_its_word(Make::MySql);
}

#[test]
fn mariadb_keeps_a_shortened_list() {
    a_shortened_list_stays_where_it_is(Make::MariaDb);
}

#[test]
fn mysql_keeps_a_shortened_list() {
    a_shortened_list_stays_where_it_is(Make::MySql);
}

#[test]
fn mariadb_tells_those_who_ask() {
    transactions_are_told_to_those_who_ask(Make::MariaDb);
}

#[test]
fn mysql_tells_those_who_ask() {
    transactions_are_told_to_those_who_ask(Make::MySql);
}

#[test]
fn mariadb_has_shown_what_a_setting_ends() {
    what_a_setting_ends_was_seen(Make::MariaDb);
}

#[test]
fn mysql_has_shown_what_a_setting_ends() {
    what_a_setting_ends_was_seen(Make::MySql);
}

#[test]
fn mariadb_keeps_a_replica_that_is_ahead() {
    a_replica_ahead_of_the_primarys_sample_is_kept(Make::MariaDb);
}

#[test]
fn mysql_keeps_a_replica_that_is_ahead() {
    a_replica_ahead_of_the_primarys_sample_is_kept(Make::MySql);
}

#[test]
fn mariadb_lets_reads_go() {
    a_read_is_let_go_by_the_replica_itself(Make::MariaDb);
}

#[test]
fn mysql_lets_reads_go() {
    a_read_is_let_go_by_the_replica_itself(Make::MySql);
}

#[test]
fn mariadb_tells_every_kind_of_write() {
    every_kind_of_write_is_told(Make::MariaDb);
}

#[test]
fn mysql_tells_every_kind_of_write() {
    every_kind_of_write_is_told(Make::MySql);
}

#[test]
fn mariadb_reads_what_it_wrote() {
    no_read_misses_its_write(Make::MariaDb);
}

#[test]
fn mysql_reads_what_it_wrote() {
    no_read_misses_its_write(Make::MySql);
}
