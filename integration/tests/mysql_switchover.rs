//! A primary is told to take no more writes while clients write: what it refuses and cannot have run waits for the new
//! primary and runs there, once. What may have run in part, or is refused for another reason, is the client's to know.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use integration::mysql::{Cluster, Make, Options, Reply, Session};
use integration::{Config, PASSWORD, Proxy, Raise, until};

const PATIENCE: Duration = Duration::from_secs(60);

struct Stage {
    proxy: Proxy,
    cluster: Cluster,
}

impl Stage {
    fn new(make: Make, wait: &str, options: &Options) -> Self {
        let cluster = Cluster::with(make, options);
        for server in cluster.servers() {
            server.set("log_bin_trust_function_creators", "ON");
        }
        cluster.prepare("CREATE TABLE t (who varchar(20), n int)");
        let config = Config::of_mysql(&cluster)
            .text("max_lag", "60s")
            .text("query_wait_timeout", wait)
            // Who may read the bodies of functions.
            .text("probe_user", "admin");
        let stage = Self { proxy: Proxy::start(config), cluster };
        until("it serves", PATIENCE, || {
            let mut session = Session::login(stage.proxy.port(), "app", PASSWORD, "app").ok()?;
            session.try_query("BEGIN").ok().filter(|reply| reply.error.is_none())
        });
        stage
    }

    fn session(&self) -> Session {
        Session::login(self.proxy.port(), "app", PASSWORD, "app").expect("a sign-in")
    }

    fn chances(&self) -> f64 {
        self.proxy.metrics().sum("splitpool_second_chances_total", &[])
    }

    /// How often the primary's log has a text.
    fn ran(&self, tag: &str) -> usize {
        self.cluster.primary.log_since(0).matches(tag).count()
    }
}

fn one_replica() -> Options {
    Options { replicas: 1, ..Options::default() }
}

/// Clients of several kinds write all the time; how they do it, and what they may be told in the middle of it.
const WRITERS: [(&str, &str); 5] = [
    ("text", "SELECT 1"),
    ("prepared", "SELECT 1"),
    ("changes", "SET time_zone = '+03:00', @mine = 7"),
    ("manual", "SET autocommit = 0"),
    ("function", "SELECT 1"),
];

/// Writes row after row until it is over. Returns how many, each without an error.
fn write(stage: &Stage, who: &str, setup: &str, over: &AtomicBool) -> u32 {
    let mut session = stage.session();
    session.query(setup).ok();
    let mut n = 0;
    while !over.load(Ordering::Relaxed) {
        n += 1;
        let told = match who {
            "prepared" => session.execute("INSERT INTO t VALUES (?, ?)", &[who, &n.to_string()]),
            "changes" => session.query(&format!(
                "INSERT INTO t SELECT '{who}', {n} WHERE @mine = 7 AND @@time_zone = '+03:00'"
            )),
            "function" => session.query(&format!("SELECT adds('{who}', {n})")),
            _ => session.query(&format!("INSERT INTO t VALUES ('{who}', {n})")),
        };
        assert!(told.error.is_none(), "{who}, {n}: {told:?}");
        if who == "manual" {
            let told = session.query("COMMIT");
            // What was written before the old primary was told may be refused now, and then it is known to be undone.
            // Who has seen by then that it is a primary no more refuses it as well, and ends the session.
            let ended = |told: &Reply| {
                told.error.as_ref().is_some_and(|error| error.message.contains("has changed its role"))
            };
            if told.code() == 1290 || ended(&told) {
                n -= 1;
                if ended(&told) || ended(&session.query("ROLLBACK")) {
                    session = stage.session();
                    session.query(setup).ok();
                }
            } else {
                told.ok();
            }
        }
    }
    n
}

fn writes_wait_for_the_next_primary(make: Make) {
    let stage = Stage::new(make, "60s", &one_replica());
    stage.cluster.prepare(
        "CREATE FUNCTION adds(who varchar(20), n int) RETURNS int MODIFIES SQL DATA BEGIN INSERT INTO t VALUES (who, n); RETURN n; END",
    );
    until("the function is known", PATIENCE, || {
        // An unknown one binds its session.
        stage.session().query("SELECT adds('warm', 0)").ok();
        (stage.proxy.metrics().sum("splitpool_statements_total", &[("reason", "volatile_function")]) > 0.5)
            .then_some(())
    });
    let over = AtomicBool::new(false);
    let (old, new) = (&stage.cluster.primary, &stage.cluster.replicas[0]);
    let counts = || -> BTreeMap<String, (u32, u32)> {
        let ask = "SELECT who, count(*), count(DISTINCT n) FROM app.t GROUP BY who";
        let number = |cell: &Option<String>| cell.as_deref().expect("a number").parse().expect("a number");
        let rows = new.sql(ask).ok().rows;
        rows.iter().map(|row| (row[0].clone().expect("a name"), (number(&row[1]), number(&row[2])))).collect()
    };
    let written: Vec<(&str, u32)> = thread::scope(|scope| {
        let _over = Raise(&over);
        let writers: Vec<_> = WRITERS
            .iter()
            .map(|(who, setup)| (*who, scope.spawn(|| write(&stage, who, setup, &over))))
            .collect();
        let all_beyond = |what: &str, floor: &BTreeMap<String, (u32, u32)>| {
            until(what, PATIENCE, || {
                let now = counts();
                let of =
                    |counts: &BTreeMap<String, (u32, u32)>, who: &str| counts.get(who).map_or(0, |n| n.0);
                let ahead = WRITERS.iter().all(|(who, _)| of(&now, who) > of(floor, who) + 5);
                // Who has failed will not come further.
                let ended = writers.iter().any(|(_, writer)| writer.is_finished());
                (ahead || ended).then_some(())
            });
        };
        all_beyond("all write", &BTreeMap::new());
        old.set_read_only(true);
        let begun = stage.chances();
        until("writes were refused", PATIENCE, || (stage.chances() > begun - 0.5).then_some(()));
        new.await_position(&old.position());
        new.promote();
        old.follow(new);
        all_beyond("all write again", &counts());
        over.store(true, Ordering::Relaxed);
        writers
            .into_iter()
            .map(|(who, writer)| (who, writer.join().expect("a writer without errors")))
            .collect()
    });
    let counts = counts();
    for (who, rows) in written {
        assert_eq!(counts.get(who), Some(&(rows, rows)), "{who}: each row is there, once");
    }
    assert!(stage.chances() > 0.5, "nothing was refused: the test saw no switchover");
}

/// One write each at a primary that has turned read-only, while no probe can have told: as text and prepared.
fn a_write_is_moved_and_not_repeated(make: Make) {
    let mut stage = Stage::new(make, "60s", &one_replica());
    for round in 0..4 {
        let prepared = round % 2 == 1;
        let mut session = stage.session();
        session.query("SET @mine = 3").ok();
        let (old, new) = (&stage.cluster.primary, &stage.cluster.replicas[0]);
        let tag = format!("/* moved {round} */");
        let sql = format!("INSERT INTO t SELECT 'moved', @mine := @mine + {round} {tag}");
        let before = stage.chances();
        thread::scope(|scope| {
            old.set_read_only(true);
            let writing = scope
                .spawn(|| if prepared { session.execute(&sql, &[]).ok() } else { session.query(&sql).ok() });
            // It waits, or has not come so far: it is not told an error.
            new.await_position(&old.position());
            new.promote();
            old.follow(new);
            writing.join().expect("it runs on the new primary");
        });
        assert!(stage.ran(&tag) <= 1, "{tag} came to the old primary again");
        assert!(stage.chances() < before + 1.5);
        assert_eq!(new.log_since(0).matches(&tag).count(), 1, "{tag}");
        let rows = format!("SELECT count(*) FROM app.t WHERE who = 'moved' AND n = {}", 3 + round);
        assert_eq!(new.value(&rows), "1", "{tag}");
        assert_eq!(session.value("SELECT @mine"), (3 + round).to_string(), "what it set on the way is right");
        let cluster = &mut stage.cluster;
        std::mem::swap(&mut cluster.primary, &mut cluster.replicas[0]);
        cluster.settle();
    }
}

/// What is refused and may have run in part, or runs in a transaction, is told; so is that nobody takes over in time.
fn what_is_not_moved(make: Make) {
    let stage = Stage::new(make, "3s", &one_replica());
    stage.cluster.prepare("CREATE PROCEDURE adds() INSERT INTO t VALUES ('proc', 1)");
    let mut open = stage.session();
    open.query("BEGIN").ok();
    open.query("SELECT count(*) FROM t").ok();
    stage.cluster.primary.set_read_only(true);
    // Whoever is bound learns that it is refused, or that the server has changed its role.
    let told = open.try_query("INSERT INTO t VALUES ('open', 1)");
    assert!(told.as_ref().map_or(true, |reply| reply.error.is_some()), "{told:?}");
    for sql in ["CALL adds()", "INSERT INTO t VALUES ('many', 1); INSERT INTO t VALUES ('many', 2)"] {
        let mut session = stage.session();
        let told = session.try_query(sql);
        assert!(told.as_ref().map_or(true, |reply| reply.error.is_some()), "{sql}: {told:?}");
    }
    for prepared in [false, true] {
        let mut late = stage.session();
        let sql = format!("INSERT INTO t VALUES ('late', 1) /* late {prepared} */");
        let begun = Instant::now();
        let told = if prepared { late.execute(&sql, &[]) } else { late.query(&sql) };
        assert_ne!(told.code(), 0, "{told:?}");
        assert!(begun.elapsed() < PATIENCE, "it waits for longer than it may");
        // Others can be read meanwhile, by the same session.
        assert_eq!(late.value("SELECT count(*) FROM t"), "0");
    }
    stage.cluster.primary.set_read_only(false);
    let mut after = stage.session();
    until("it takes writes again", PATIENCE, || {
        after.try_query("INSERT INTO t VALUES ('after', 1)").ok().filter(|reply| reply.error.is_none())
    });
    assert_eq!(stage.cluster.primary.value("SELECT group_concat(DISTINCT who) FROM app.t"), "after");
}

/// The same errors from a primary that stays one are its own: told at once, and the statement was tried twice at most.
fn errors_of_a_primary_that_stays_one(make: Make) {
    let options = Options { settings: vec![("secure_file_priv", "/var/tmp".to_owned())], ..one_replica() };
    let stage = Stage::new(make, "60s", &options);
    stage.cluster.primary.sql("GRANT FILE ON *.* TO app@'%'").ok();
    stage.cluster.settle();
    stage.cluster.prepare("CREATE TABLE moody (n int)");
    let signal = "SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 1836, MESSAGE_TEXT = 'Running in read-only mode'";
    stage
        .cluster
        .primary
        .sql(&format!("CREATE TRIGGER app.moody BEFORE INSERT ON app.moody FOR EACH ROW {signal}"))
        .ok();
    // Who had signed in before has no new right.
    let proxy = Proxy::start(Config::of_mysql(&stage.cluster).text("query_wait_timeout", "60s"));
    let stage = Stage { proxy, ..stage };
    let mut session = stage.session();
    for (name, sql, code) in [
        ("file", "SELECT 1 INTO OUTFILE '/nowhere/splitpool'", 1290),
        ("engine", "INSERT INTO moody VALUES (1)", 1836),
    ] {
        for prepared in [false, true] {
            let tag = format!("/* {name} {prepared} */");
            let sql = format!("{sql} {tag}");
            let begun = Instant::now();
            let told = if prepared { session.execute(&sql, &[]) } else { session.query(&sql) };
            assert_eq!(told.code(), code, "{tag}: {told:?}");
            assert!(begun.elapsed() < Duration::from_secs(30), "{tag} waited for another primary");
            assert!((1..=2).contains(&stage.ran(&tag)), "{tag} ran {} times", stage.ran(&tag));
        }
    }
    session.query("INSERT INTO t VALUES ('still', 1)").ok();
}

/// A test of its own for each make.
macro_rules! on_both {
    ($($name:ident)*) => {
        mod mariadb { use super::Make; $(#[test] fn $name() { super::$name(Make::MariaDb); })* }
        mod mysql { use super::Make; $(#[test] fn $name() { super::$name(Make::MySql); })* }
    };
}

on_both! {
    writes_wait_for_the_next_primary
    a_write_is_moved_and_not_repeated
    what_is_not_moved
    errors_of_a_primary_that_stays_one
}
