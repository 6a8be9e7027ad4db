//! Every statement runs where it must, judged by the databases' own logs, through both protocols.

use std::sync::OnceLock;
use std::time::Duration;

use integration::wire::Error;
use integration::{Cluster, Config, Proxy, Stage, Wire, frame, until};

const CORPUS: &str = include_str!("routing/corpus.txt");
const SCHEMA: &str = include_str!("routing/schema.sql");

/// For tests that read and write only: a change of the schema makes functions unknown for a while.
fn stage() -> &'static Stage {
    static STAGE: OnceLock<Stage> = OnceLock::new();
    STAGE.get_or_init(fresh)
}

/// For tests that change the schema.
fn changing() -> &'static Stage {
    static STAGE: OnceLock<Stage> = OnceLock::new();
    STAGE.get_or_init(fresh)
}

fn fresh() -> Stage {
    let cluster = Cluster::start(2);
    cluster.prepare(SCHEMA);
    // Where a statement goes is asked here; when a replica is fresh enough is asked elsewhere.
    Stage::over(cluster, |config| config.text("consistency", "eventual").text("max_lag", "60s"))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Simple,
    Extended,
}

/// Runs a request and ends any COPY it starts; what the database says about it does not matter here.
fn run(wire: &mut Wire, sql: &str, protocol: Protocol) -> Result<(), Error> {
    let bytes = match protocol {
        Protocol::Simple => frame::query(sql),
        Protocol::Extended => [frame::unnamed(sql, &[]), frame::sync()].concat(),
    };
    wire.send(&bytes)?;
    loop {
        match (wire.read()?.tag, protocol) {
            (b'Z', _) => return Ok(()),
            (b'G', Protocol::Simple) => wire.send(&frame::copy_done())?,
            (b'G', Protocol::Extended) => wire.send(&[frame::copy_done(), frame::sync()].concat())?,
            _ => {}
        }
    }
}

/// The corpus through one protocol; returns what went wrong, a line each.
fn judge(protocol: Protocol, name: &str) -> Vec<String> {
    // A stage of its own: what the corpus changes is in nobody's way.
    let Stage { cluster, proxy } = &fresh();
    let mut wrong = Vec::new();
    let mut seen = 0;
    for (number, line) in CORPUS.lines().enumerate() {
        let Some((wanted, sql)) =
            line.split_once(' ').filter(|(wanted, _)| matches!(*wanted, "R" | "P" | "E"))
        else {
            continue;
        };
        let has_several = sql.trim_end_matches([';', ' ']).contains(';');
        if protocol == Protocol::Extended && has_several {
            continue;
        }
        seen += 1;
        let tag = format!("/* case {} {name} */", number + 1);
        // A remark to the end of the line would swallow the tag.
        let text = match (sql, wanted) {
            (sql, "R") if sql.starts_with("--") => format!("{sql}\nSELECT 1 {tag}"),
            (sql, _) if sql.starts_with("--") => format!("{sql}\nDELETE FROM scratchpad {tag}"),
            (sql, _) if sql.contains("--") => format!("{tag} {sql}"),
            (sql, _) => format!("{sql} {tag}"),
        };
        let ask = || -> Result<Vec<&str>, Error> {
            let mark = cluster.mark();
            let mut wire = proxy.session();
            wire.patience(Duration::from_secs(60));
            run(&mut wire, &text, protocol)?;
            Ok(cluster.servers_that_ran(&tag, &mark))
        };
        let mut ran = ask();
        // After a change of the schema functions are unknown until the catalog is read again.
        for _ in 0..100 {
            if wanted != "R" || !matches!(ran.as_deref(), Ok(["primary"])) {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
            ran = ask();
        }
        let ran = match ran {
            Ok(ran) => ran,
            Err(error) => {
                wrong.push(format!("line {}: no answer ({error}): {sql}", number + 1));
                continue;
            }
        };
        let right = match (wanted, ran.as_slice()) {
            ("P", ["primary"]) => true,
            ("R", [one]) => one.starts_with("replica"),
            ("E", [_]) => true,
            _ => false,
        };
        if !right {
            wrong.push(format!("line {}: wanted {wanted}, ran on {ran:?}: {sql}", number + 1));
        }
    }
    assert!(seen >= 150, "only {seen} statements");
    wrong
}

#[test]
fn corpus_by_the_simple_protocol() {
    let wrong = judge(Protocol::Simple, "simple");
    assert!(wrong.is_empty(), "{} wrong\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn corpus_by_the_extended_protocol() {
    let wrong = judge(Protocol::Extended, "extended");
    assert!(wrong.is_empty(), "{} wrong\n{}", wrong.len(), wrong.join("\n"));
}

/// Runs statements in one session and returns who ran the tagged ones, in order.
fn places(statements: &[&str]) -> Vec<String> {
    let Stage { cluster, proxy } = stage();
    let mut wire = proxy.session();
    statements
        .iter()
        .map(|sql| {
            let tag = format!("/* {} {} */", wire.local_port(), sql.len());
            let mark = cluster.mark();
            wire.query(&format!("{sql} {tag}"));
            let ran = cluster.servers_that_ran(&tag, &mark);
            if let [one] = ran.as_slice() { one.replace(['1', '2'], "") } else { format!("{ran:?}") }
        })
        .collect()
}

const READ: &str = "SELECT balance FROM accounts WHERE id = 9";
const WRITE: &str = "UPDATE accounts SET balance = 1 WHERE id = 9";

#[test]
fn a_transaction_stays_on_the_primary() {
    let ran = places(&["BEGIN", READ, WRITE, READ, "COMMIT"]);
    assert_eq!(ran[1..4], ["primary", "primary", "primary"], "{ran:?}");
    let ran = places(&["BEGIN", READ, "SAVEPOINT a", "SELECT 1/0", "ROLLBACK TO a", READ, "ROLLBACK", READ]);
    assert_eq!((&*ran[1], &*ran[5], &*ran[7]), ("primary", "primary", "replica"), "{ran:?}");
}

#[test]
fn every_way_to_begin_is_seen() {
    for begin in [
        "BEGIN",
        "begin work",
        "BEGIN TRANSACTION",
        "START TRANSACTION",
        "BEGIN ISOLATION LEVEL SERIALIZABLE",
        "BEGIN ISOLATION LEVEL REPEATABLE READ, READ WRITE",
        "/* x */ BEGIN",
        "SELECT 1; BEGIN",
    ] {
        let ran = places(&[begin, READ, WRITE, "COMMIT", READ]);
        assert_eq!((&*ran[1], &*ran[2], &*ran[4]), ("primary", "primary", "replica"), "{begin}: {ran:?}");
    }
}

#[test]
fn a_read_only_transaction_stays_in_one_place() {
    let proxy = &stage().proxy;
    let mut replicas = 0;
    for begin in
        ["START TRANSACTION READ ONLY", "BEGIN READ ONLY", "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"]
    {
        let mut wire = proxy.session();
        wire.query(begin).ok();
        let ask =
            "SELECT inet_server_port() || ' ' || pg_backend_pid() || ' ' || current_setting('cluster_name')";
        let first = wire.value(ask);
        assert_eq!(wire.value(ask), first, "{begin}");
        assert_eq!(wire.query(WRITE).code(), "25006", "{begin}");
        wire.query("ROLLBACK").ok();
        replicas += usize::from(!first.ends_with("primary"));
    }
    assert!(replicas > 0, "no read-only transaction reached a replica");
}

#[test]
fn no_lock_is_taken_where_it_locks_nothing() {
    let stage = stage();
    let locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'";
    let held = || -> Vec<String> { stage.cluster.servers().map(|server| server.value(locks)).collect() };
    for lock in
        ["pg_advisory_lock", "pg_advisory_xact_lock", "pg_try_advisory_lock", "pg_try_advisory_xact_lock"]
    {
        let take = format!("SELECT {lock}(4711)");
        // What it has read it cannot read again elsewhere: it stays on its replica, and takes no lock.
        let mut wire = stage.proxy.session();
        wire.query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").ok();
        assert_ne!(wire.value("SELECT inet_server_port()"), stage.cluster.primary.port().to_string());
        let reply = wire.execute(&take, &[]);
        assert_eq!((reply.code(), reply.status), ("0A000", b'E'), "{lock}");
        assert_eq!(held(), ["0", "0", "0"], "{lock}");
        assert_eq!(wire.query("SELECT 1").code(), "25P02");
        assert_eq!(wire.query("COMMIT").tags, ["ROLLBACK"]);
        // A transaction that sees what is committed meanwhile goes on where the lock is one.
        wire.query("BEGIN READ ONLY").ok();
        wire.query("SELECT 1").ok();
        wire.query(&take).ok();
        assert_eq!(held(), ["1", "0", "0"], "{lock}");
        wire.query("COMMIT; SELECT pg_advisory_unlock_all()").ok();
        assert_eq!(held(), ["0", "0", "0"], "{lock}");
    }
}

/// Whoever decides that transactions read from one snapshot: here it is the database, and no session says so.
#[test]
fn a_snapshot_is_not_left_by_default() {
    let stage = Stage::new(1, |config| config);
    stage
        .cluster
        .primary
        .sql("ALTER DATABASE app SET default_transaction_isolation = 'repeatable read'")
        .ok();
    stage.cluster.settle();
    let proxy = Proxy::start(Config::of(&stage.cluster));
    let primary = stage.cluster.primary.port().to_string();
    let mut wire = proxy.session();
    until("it reads on the replica", Duration::from_secs(60), || {
        wire.query("BEGIN READ ONLY").ok();
        let place = wire.query("SELECT inet_server_port()").value();
        let told = wire.query("SELECT pg_advisory_lock(4713)").code() == "0A000";
        wire.query("ROLLBACK; SELECT pg_advisory_unlock_all()").ok();
        (place != primary).then(|| assert!(told, "it was moved"))
    });
    let locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'";
    let held: Vec<String> = stage.cluster.servers().map(|server| server.value(locks)).collect();
    assert_eq!(held, ["0", "0"]);
}

/// Inside functions, whatever they are declared to be.
#[test]
fn no_function_takes_a_lock_where_it_locks_nothing() {
    let stage = Stage::new(1, |config| config);
    stage.cluster.prepare(
        "CREATE FUNCTION locks_session() RETURNS int STABLE LANGUAGE plpgsql
            AS $$ BEGIN PERFORM pg_advisory_lock(4712); RETURN 1; END $$;
        CREATE FUNCTION locks_transaction() RETURNS int LANGUAGE sql
            AS $$ SELECT 1 FROM (SELECT pg_advisory_xact_lock(4712)) l $$;
        CREATE FUNCTION calls(n int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN n + locks_transaction(); END $$",
    );
    let locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'";
    let held = || -> Vec<String> { stage.cluster.servers().map(|server| server.value(locks)).collect() };
    let primary = stage.cluster.primary.port().to_string();
    let whose = "SELECT inet_server_port()";
    let mut wire = stage.proxy.session();
    // The functions are known once a statement has made the catalog wonder.
    until("the functions are known", Duration::from_secs(60), || {
        wire.query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").ok();
        let on_replica = wire.query(whose).value() != primary;
        let refused = wire.query("SELECT locks_session()").code() == "0A000";
        wire.query("ROLLBACK").ok();
        wire.query("SELECT pg_advisory_unlock_all()").ok();
        (on_replica && refused).then_some(())
    });
    for call in ["SELECT locks_session()", "SELECT locks_transaction()", "SELECT calls(1)"] {
        // It has read: it stays, and takes no lock.
        wire.query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").ok();
        assert_ne!(wire.query(whose).value(), primary);
        assert_eq!(wire.query(call).code(), "0A000", "{call}");
        wire.query("ROLLBACK").ok();
        assert_eq!(held(), ["0", "0"], "{call}");
        // It has not: it goes on where the lock is one, in a snapshot of its own.
        for settings in [&[][..], &["SET LOCAL work_mem = '5MB'"]] {
            wire.query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").ok();
            settings.iter().for_each(|sql| drop(wire.query(sql).ok()));
            wire.execute(call, &[]).ok();
            assert_eq!(held(), ["1", "0"], "{call}");
            assert_eq!(wire.query("SHOW transaction_isolation").value(), "repeatable read");
            assert_eq!(wire.query("SHOW work_mem").value() == "5MB", !settings.is_empty());
            wire.query("COMMIT").ok();
            wire.query("SELECT pg_advisory_unlock_all()").ok();
        }
        // On its own.
        wire.query(call).ok();
        assert_eq!(held()[1], "0", "{call}");
        wire.query("SELECT pg_advisory_unlock_all()").ok();
    }
}

#[test]
fn a_batch_is_routed_as_a_whole() {
    let Stage { cluster, proxy } = stage();
    let mut wire = proxy.session();
    let mark = cluster.mark();
    let batch = [
        frame::unnamed("SELECT 1 /* batch read */", &[]),
        frame::unnamed("INSERT INTO scratchpad VALUES (6) /* batch write */", &[]),
        frame::sync(),
    ];
    let reply = wire.ask(&batch.concat()).unwrap().ok();
    assert_eq!(reply.order, "12TDC12nCZ");
    assert_eq!(cluster.servers_that_ran("/* batch read */", &mark), ["primary"]);
    assert_eq!(cluster.servers_that_ran("/* batch write */", &mark), ["primary"]);
}

#[test]
fn a_prepared_read_is_split_and_a_prepared_write_is_not() {
    let Stage { cluster, proxy } = stage();
    let mut wire = proxy.session();
    let prepare = [
        frame::parse("r", "SELECT balance FROM accounts WHERE id = $1 /* prepared read */"),
        frame::parse("w", "UPDATE accounts SET balance = 2 WHERE id = $1 /* prepared write */"),
        frame::sync(),
    ];
    wire.ask(&prepare.concat()).unwrap().ok();
    let mark = cluster.mark();
    for _ in 0..10 {
        for name in ["r", "w"] {
            let run = [frame::bind("", name, &[Some(b"8")]), frame::execute("", 0), frame::sync()];
            wire.ask(&run.concat()).unwrap().ok();
        }
    }
    assert_eq!(cluster.servers_that_ran("/* prepared write */", &mark), ["primary"]);
    let read = cluster.servers_that_ran("/* prepared read */", &mark);
    assert!(!read.is_empty() && !read.contains(&"primary"), "{read:?}");
}

#[test]
fn hints_move_a_read() {
    let Stage { cluster, proxy } = stage();
    let mut wire = proxy.session();
    let mark = cluster.mark();
    wire.query("/* splitpool: primary */ SELECT 1 /* hinted up */").ok();
    wire.query("/* splitpool: replica */ SELECT 1 /* hinted down */").ok();
    assert_eq!(cluster.servers_that_ran("/* hinted up */", &mark), ["primary"]);
    assert_ne!(cluster.servers_that_ran("/* hinted down */", &mark), ["primary"]);
}

#[test]
fn both_replicas_share_the_reads() {
    let Stage { cluster, proxy } = stage();
    let mark = cluster.mark();
    // A session may stay for a second where it is; others begin elsewhere.
    until("both replicas serve reads", Duration::from_secs(60), || {
        let mut wire = proxy.session();
        for _ in 0..20 {
            wire.query("SELECT count(*) FROM accounts /* shared */").ok();
        }
        let mut ran = cluster.servers_that_ran("/* shared */", &mark);
        ran.sort_unstable();
        assert!(!ran.contains(&"primary"));
        (ran == ["replica1", "replica2"]).then_some(())
    });
}

#[test]
fn a_function_made_now_is_known_before_it_is_called() {
    let Stage { cluster, proxy } = changing();
    let mut wire = proxy.session();
    wire.query("CREATE FUNCTION made_now() RETURNS bigint LANGUAGE sql AS 'SELECT nextval(''counter'')'")
        .ok();
    let mark = cluster.mark();
    wire.query("SELECT made_now() /* made now */").ok();
    assert!(cluster.servers_that_ran("/* made now */", &mark).contains(&"primary"));
    // A function that was pure a moment ago and writes now: what was learned must not outlive it.
    wire.query("CREATE FUNCTION turning() RETURNS bigint IMMUTABLE LANGUAGE sql AS 'SELECT 1::bigint'").ok();
    wire.query("SELECT turning()").ok();
    wire.query("CREATE OR REPLACE FUNCTION turning() RETURNS bigint VOLATILE LANGUAGE sql AS 'SELECT nextval(''counter'')'").ok();
    for _ in 0..5 {
        wire.query("SELECT turning()").ok();
    }
    wire.query("DROP FUNCTION made_now(); DROP FUNCTION turning()").ok();
}

#[test]
fn a_write_that_hides_as_stable_gets_a_second_chance() {
    let Stage { cluster, proxy } = changing();
    cluster.prepare(
        "CREATE FUNCTION posing() RETURNS bigint STABLE LANGUAGE plpgsql AS 'BEGIN RETURN nextval(''counter''); END';
         CREATE FUNCTION posing_deeper() RETURNS bigint STABLE LANGUAGE plpgsql AS 'BEGIN RETURN writes(''deep''); END'",
    );
    let drawn = || cluster.primary.value("SELECT nextval('counter')").parse::<i64>().expect("a number");
    for (sql, each) in [
        ("SELECT posing()", 1),
        ("SELECT posing_deeper()", 0),
        ("SELECT id, posing() FROM accounts WHERE id IN (1, 2)", 2),
    ] {
        let (before, mark) = (drawn(), cluster.mark());
        for n in 0..4 {
            let sql = format!("{sql} /* second chance {n} */");
            proxy.session().query(&sql).ok();
            proxy.session().execute(&sql, &[]).ok();
            // The primary ran it each time, and no more than once.
            assert!(cluster.servers_that_ran(&format!("second chance {n} */"), &mark).contains(&"primary"));
        }
        assert_eq!(drawn() - before - 1, 8 * each, "{sql}");
    }
}

#[test]
fn unlogged_and_temporary_tables_are_read_where_they_are() {
    let mut wire = changing().proxy.session();
    assert_eq!(wire.query("SELECT count(*) >= 0 FROM scratchpad").value(), "t");
    wire.query("CREATE TEMP TABLE mine (n int)").ok();
    wire.query("INSERT INTO mine VALUES (1)").ok();
    for _ in 0..20 {
        assert_eq!(wire.value("SELECT count(*) FROM mine"), "1");
    }
    wire.query("DROP TABLE mine").ok();
}

#[test]
fn the_reasons_are_counted() {
    let proxy = &stage().proxy;
    let sum = |target: &str| proxy.metrics().sum("splitpool_statements_total", &[("target", target)]);
    let (replica, primary) = (sum("replica"), sum("primary"));
    let mut wire = proxy.session();
    for _ in 0..10 {
        wire.query(READ).ok();
        wire.query(WRITE).ok();
    }
    assert!(sum("replica") >= replica + 10.0);
    assert!(sum("primary") >= primary + 10.0);
}

#[test]
fn a_decision_is_explained_offline() {
    let text = stage().proxy.config().to_string();
    let said = |sql: &str| {
        let out = Proxy::run(&text, &["route", sql]);
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8_lossy(&out.stdout).to_lowercase()
    };
    assert!(said("SELECT * FROM accounts").contains("replica"));
    assert!(said("DELETE FROM accounts").contains("primary"));
}
