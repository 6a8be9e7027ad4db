//! MariaDB and MySQL clients through the proxy: what runs where, what a session keeps and what
//! it must not leave behind, in texts and in prepared statements.

use std::thread;
use std::time::Duration;

use integration::mysql::{Cluster, Make, Session};
use integration::{Config, PASSWORD, PATIENCE, Proxy, holds, until};
use mysql_async::OptsBuilder;
use mysql_async::prelude::Queryable;

struct Stage {
    cluster: Cluster,
    proxy: Proxy,
}

impl Stage {
    fn new(make: Make, replicas: usize, change: impl FnOnce(Config) -> Config) -> Self {
        let cluster = Cluster::start(make, replicas);
        let proxy = Proxy::start(change(Config::of_mysql(&cluster)));
        let stage = Self { cluster, proxy };
        let mut missing: Vec<String> =
            stage.cluster.servers().map(|server| server.port().to_string()).collect();
        until("every server serves", PATIENCE, || {
            let mut session = Session::login(stage.proxy.port(), "app", PASSWORD, "app").ok()?;
            let read = session.try_query("SELECT @@port").ok()?.value();
            session.try_query("BEGIN").ok()?;
            let written = session.try_query("SELECT @@port").ok()?.value();
            missing.retain(|port| *port != read && *port != written);
            missing.is_empty().then_some(())
        });
        stage
    }

    fn session(&self) -> Session {
        Session::login(self.proxy.port(), "app", PASSWORD, "app").expect("a sign-in")
    }

    fn options(&self) -> OptsBuilder {
        OptsBuilder::default()
            .ip_or_hostname("127.0.0.1")
            .tcp_port(self.proxy.port())
            .user(Some("app"))
            .pass(Some(PASSWORD))
            .db_name(Some("app"))
            .prefer_socket(false)
    }

    fn primary_port(&self) -> String {
        self.cluster.primary.port().to_string()
    }
}

/// A test of its own for each make.
macro_rules! on_both {
    ($($name:ident, $mariadb:ident, $mysql:ident;)*) => {
        $(
            #[test]
            fn $mariadb() {
                $name(Make::MariaDb);
            }
            #[test]
            fn $mysql() {
                $name(Make::MySql);
            }
        )*
    };
}

on_both! {
    reads_and_writes, mariadb_reads_and_writes, mysql_reads_and_writes;
    settings, mariadb_settings, mysql_settings;
    what_a_session_leaves, mariadb_what_a_session_leaves, mysql_what_a_session_leaves;
    statements, mariadb_statements, mysql_statements;
    transactions, mariadb_transactions, mysql_transactions;
    results, mariadb_results, mysql_results;
    kills, mariadb_kills, mysql_kills;
    sign_ins, mariadb_sign_ins, mysql_sign_ins;
}

fn reads_and_writes(make: Make) {
    let stage = Stage::new(make, 2, |config| config.text("consistency", "eventual"));
    stage.cluster.prepare("CREATE TABLE t (n int primary key)");
    let mark = stage.cluster.mark();
    let mut session = stage.session();
    for n in 0..20 {
        session.query(&format!("INSERT INTO t VALUES ({n}) /* tag write */")).ok();
        session.execute("INSERT INTO t VALUES (? + 100) /* tag prepared write */", &[&n.to_string()]).ok();
        session.query("SELECT * FROM t /* tag read */").ok();
        session.execute("SELECT * FROM t WHERE n = ? /* tag prepared read */", &[&n.to_string()]).ok();
    }
    for tag in ["/* tag write */", "/* tag prepared write */"] {
        assert_eq!(stage.cluster.servers_that_ran(tag, &mark), ["primary"], "{tag}");
    }
    for tag in ["/* tag read */", "/* tag prepared read */"] {
        // Which of the replicas, load decides.
        let servers = stage.cluster.servers_that_ran(tag, &mark);
        assert!(!servers.is_empty() && !servers.contains(&"primary"), "{tag}: {servers:?}");
    }
    assert_eq!(stage.cluster.primary.value("SELECT count(*) FROM app.t"), "40");
    // By default a session sees what it wrote.
    let stage = Stage::new(make, 1, |config| config);
    stage.cluster.prepare("CREATE TABLE t (n int primary key)");
    stage.cluster.replicas[0].pause_replay();
    let mut session = stage.session();
    for n in 0..5 {
        session.query(&format!("INSERT INTO t VALUES ({n})")).ok();
        assert_eq!(session.value("SELECT max(n) FROM t"), n.to_string());
        assert_eq!(session.execute("SELECT max(n) FROM t WHERE n >= ?", &["0"]).value(), n.to_string());
    }
    stage.cluster.replicas[0].resume_replay();
}

fn settings(make: Make) {
    let stage = Stage::new(make, 1, |config| config.raw("pool_size", "2"));
    let (mut one, mut two) = (stage.session(), stage.session());
    let zone = "SELECT @@session.time_zone";
    one.query("SET time_zone = '+03:00', group_concat_max_len = 4321").ok();
    let default = two.value(zone);
    assert_ne!(default, "+03:00");
    for _ in 0..10 {
        assert_eq!(one.value(zone), "+03:00");
        assert_eq!(one.value("SELECT @@group_concat_max_len"), "4321");
        assert_eq!(two.value(zone), default);
    }
    // On the primary as well.
    one.query("BEGIN").ok();
    assert_eq!(one.value(zone), "+03:00");
    one.query("COMMIT").ok();
    // What is wrong is wrong at once, and changes nothing.
    assert_eq!(one.query("SET time_zone = '+04:00', sql_mode = 'nonsense'").code(), 1231);
    assert_eq!(one.value(zone), "+03:00");
    one.query("SET time_zone = DEFAULT").ok();
    assert_eq!(one.value(zone), default);
    // Character set and collation go with the session, and a text between them survives.
    one.query("SET NAMES latin1 COLLATE latin1_bin").ok();
    for _ in 0..5 {
        assert_eq!(one.value("SELECT @@collation_connection"), "latin1_bin");
        assert_eq!(one.value("SELECT hex(convert('\u{e9}' using utf8mb4))"), "C383C2A9");
        assert_eq!(two.value("SELECT hex('\u{e9}')"), "C3A9");
    }
    // Nothing binds the session afterwards: it reads on replicas again.
    let seen = until("reads on the replica", PATIENCE, || {
        let port = one.value("SELECT @@port");
        (port != stage.primary_port()).then_some(port)
    });
    assert_eq!(seen, stage.cluster.replicas[0].port().to_string());
    // The way back to the beginning.
    one.with_driver(async |conn| conn.reset().await).expect("a reset");
    assert_eq!(one.value("SELECT @@character_set_client"), "utf8mb4");
}

fn what_a_session_leaves(make: Make) {
    let stage = Stage::new(make, 1, |config| config.raw("pool_size", "3").text("consistency", "eventual"));
    stage.cluster.prepare("CREATE TABLE ids (id int auto_increment primary key, v int)");
    let (mut one, mut two) = (stage.session(), stage.session());
    one.query("CREATE TEMPORARY TABLE mine (n int)").ok();
    one.query("INSERT INTO mine VALUES (7)").ok();
    assert_eq!(one.value("SELECT n FROM mine"), "7");
    one.query("SET @x = 5").ok();
    assert_eq!(one.value("SELECT @x"), "5");
    one.query("DO get_lock('a', 1)").ok();
    for _ in 0..6 {
        assert_eq!(two.value("SELECT @x"), "NULL");
        assert_eq!(two.query("SELECT n FROM mine").code(), 1146);
        assert_eq!(two.query("INSERT INTO mine VALUES (1)").code(), 1146);
        assert_eq!(one.value("SELECT n + @x FROM mine"), "12");
    }
    // Who goes leaves nothing, whoever gets the backend.
    drop(one);
    holds("the lock", PATIENCE, "1".to_owned(), || two.value("SELECT is_free_lock('a')"));
    for _ in 0..6 {
        let mut next = stage.session();
        next.query("BEGIN").ok();
        assert_eq!(next.value("SELECT @x"), "NULL");
        assert_eq!(next.query("SELECT n FROM mine").code(), 1146);
        next.query("ROLLBACK").ok();
    }
    // Warnings are told to whom they were meant for, and to nobody else.
    let mut warned = stage.session();
    for _ in 0..3 {
        warned.query("DROP TABLE IF EXISTS never_there").ok();
        two.query("SELECT 1").ok();
        assert_eq!(two.query("SHOW WARNINGS").ok().rows.len(), 0);
        assert_eq!(two.query("SELECT nothing").code(), 1054);
        assert_eq!(warned.query("SHOW WARNINGS").ok().rows[0][1], Some("1051".to_owned()));
        assert_eq!(two.query("SHOW WARNINGS").ok().rows[0][1], Some("1054".to_owned()));
    }
    // Each session's last insert id, wherever it asks.
    let mut three = stage.session();
    let mine = two.query("INSERT INTO ids (v) VALUES (1)").ok().insert_id;
    let theirs = three.query("INSERT INTO ids (v) VALUES (2)").ok().insert_id;
    assert_ne!(mine, theirs);
    for _ in 0..5 {
        assert_eq!(two.value("SELECT last_insert_id()"), mine.to_string());
        assert_eq!(three.execute("SELECT last_insert_id() + ?", &["0"]).value(), theirs.to_string());
    }
}

fn statements(make: Make) {
    let stage = Stage::new(make, 2, |config| config.raw("pool_size", "2").text("consistency", "eventual"));
    let mut sessions: Vec<Session> = (0..6).map(|_| stage.session()).collect();
    // One text, many sessions, values of different types, on every backend there is.
    for round in 0..10 {
        for (at, session) in sessions.iter_mut().enumerate() {
            let value = round * 10 + at;
            let sql = "SELECT concat(?, '-', ?)";
            assert_eq!(session.execute(sql, &[&value.to_string(), "x"]).value(), format!("{value}-x"));
            let number = session.with_driver(async |conn| {
                conn.exec_first::<i64, _, _>("SELECT ? + 1", (value as i64,)).await
            });
            assert_eq!(number.expect("a number"), Some(value as i64 + 1));
            if round % 3 == 0 {
                session.query("BEGIN").ok();
                assert_eq!(session.execute("SELECT concat(?, ?)", &["a", "b"]).value(), "ab");
                session.query("COMMIT").ok();
            }
        }
    }
    // More than a backend keeps.
    let mut session = stage.session();
    for n in 0..450 {
        assert_eq!(session.execute(&format!("SELECT {n} + ?"), &["0"]).value(), n.to_string());
    }
    assert_eq!(session.execute("SELECT 0 + ?", &["0"]).value(), "0");
    // A table that changes under a statement.
    stage.cluster.prepare("CREATE TABLE t (a int); INSERT INTO t VALUES (1)");
    let all = "SELECT * FROM t WHERE a = ?";
    assert_eq!(session.execute(all, &["1"]).ok().rows[0].len(), 1);
    stage.cluster.prepare("ALTER TABLE t ADD COLUMN b int DEFAULT 2");
    let mut again = stage.session();
    assert_eq!(again.execute(all, &["1"]).ok().rows[0].len(), 2);
    assert_eq!(session.execute("SELECT no_such_column FROM t WHERE a = ?", &["1"]).code(), 1054);
    assert_eq!(session.execute("SELECT ?", &["after an error"]).value(), "after an error");
}

fn transactions(make: Make) {
    let stage = Stage::new(make, 1, |config| config.raw("pool_size", "2"));
    stage.cluster.prepare("CREATE TABLE t (n int primary key)");
    let primary = stage.primary_port();
    let (mut one, mut two) = (stage.session(), stage.session());
    one.query("START TRANSACTION").ok();
    one.query("INSERT INTO t VALUES (1)").ok();
    assert_eq!(one.value("SELECT @@port"), primary);
    assert_eq!(two.value("SELECT count(*) FROM t"), "0");
    one.query("ROLLBACK").ok();
    assert_eq!(two.value("SELECT count(*) FROM t"), "0");
    // Without autocommit every statement belongs to a transaction, reads too.
    one.query("SET autocommit = 0").ok();
    assert_eq!(one.value("SELECT @@port"), primary);
    one.query("INSERT INTO t VALUES (2)").ok();
    assert_eq!(two.value("SELECT count(*) FROM t"), "0");
    one.query("COMMIT").ok();
    assert_eq!(stage.cluster.primary.value("SELECT count(*) FROM app.t"), "1");
    one.query("INSERT INTO t VALUES (3)").ok();
    one.query("SET autocommit = 1").ok();
    assert_eq!(stage.cluster.primary.value("SELECT count(*) FROM app.t"), "2");
    // Whoever goes in the middle leaves nothing open.
    one.query("BEGIN").ok();
    one.query("UPDATE t SET n = 30 WHERE n = 3").ok();
    drop(one);
    two.query("UPDATE t SET n = 31 WHERE n = 3").ok();
    assert_eq!(stage.cluster.primary.value("SELECT max(n) FROM app.t"), "31");
    // Tables that are locked stay locked for their session alone.
    let mut three = stage.session();
    two.query("LOCK TABLES t WRITE").ok();
    three.query("SET lock_wait_timeout = 1").ok();
    assert_eq!(three.query("INSERT INTO t VALUES (9)").code(), 1205);
    two.query("UNLOCK TABLES").ok();
    three.query("INSERT INTO t VALUES (9)").ok();
}

fn results(make: Make) {
    let stage = Stage::new(make, 1, |config| config);
    let mut session = stage.session();
    let reply = session.query("SELECT 1; SELECT 2; SELECT 3").ok();
    let rows: Vec<_> = reply.rows.iter().flatten().flatten().map(String::as_str).collect();
    assert_eq!(rows, ["1", "2", "3"]);
    session.query("CREATE PROCEDURE p() BEGIN SELECT 4; SELECT 5, 6; END").ok();
    assert_eq!(session.query("CALL p()").ok().rows.len(), 2);
    assert_eq!(session.execute("CALL p()", &[]).ok().rows.len(), 2);
    assert_eq!(session.query("SELECT nothing").code(), 1054);
    assert_eq!(session.value("SELECT 7"), "7");
    // How many rows there were without LIMIT, each session's own.
    session.query("CREATE TABLE r (n int); INSERT INTO r VALUES (1), (2), (3)").ok();
    let mut other = stage.session();
    for _ in 0..3 {
        session.query("SELECT SQL_CALC_FOUND_ROWS n FROM r LIMIT 1").ok();
        other.query("SELECT SQL_CALC_FOUND_ROWS n FROM r WHERE n > 1 LIMIT 1").ok();
        assert_eq!(session.value("SELECT found_rows()"), "3");
        assert_eq!(other.value("SELECT found_rows()"), "2");
    }
    // Texts and rows around the length at which a packet is continued by another.
    for length in [(1 << 24) - 200, (1 << 24) - 1, 1 << 24, (1 << 25) + 5] {
        let text = "x".repeat(length);
        assert_eq!(session.value(&format!("SELECT length('{text}')")), length.to_string());
        let row = session.execute("SELECT concat('', ?)", &[&text]).value();
        assert!(row == text, "{} bytes came back of {length}", row.len());
    }
    let rows = "SELECT a.n * 100 + b.n FROM (SELECT 1 n UNION SELECT 2 UNION SELECT 3) a, \
        (SELECT 1 n UNION SELECT 2) b";
    assert_eq!(session.query(rows).ok().rows.len(), 6);
}

fn kills(make: Make) {
    let stage = Stage::new(make, 1, |config| config.text("consistency", "eventual"));
    let running = |tag: &str| {
        let ask = format!(
            "SELECT count(*) FROM information_schema.processlist WHERE info LIKE '%sleep(%{tag}%' AND info NOT LIKE '%count(%'"
        );
        stage.cluster.servers().map(|server| server.value(&ask).parse::<u32>().unwrap_or(0)).sum::<u32>()
    };
    let patience = Duration::from_secs(60);
    let mut killer = stage.session();
    for (tag, verb) in [("kill query", "KILL QUERY"), ("kill", "KILL")] {
        let mut victim = stage.session();
        let id = victim.id();
        let sleeper = thread::spawn(move || {
            let reply = victim.try_query(&format!("SELECT sleep(100) /* {} */", tag));
            (reply, victim)
        });
        holds("sleeping", patience, 1, || running(tag));
        killer.query(&format!("{verb} {id}")).ok();
        holds("sleeping", patience, 0, || running(tag));
        let (reply, mut victim) = sleeper.join().expect("an end");
        // MariaDB and MySQL let sleep() return 1, or end it with an error.
        if let Ok(reply) = reply {
            assert!(reply.error.is_some() || reply.rows.len() == 1, "{reply:?}");
        }
        assert_eq!(victim.try_query("SELECT 1").is_ok(), verb == "KILL QUERY");
    }
    assert_eq!(killer.query("KILL 4000000000").code(), 1094);
    // Another's is another's.
    let other = Session::login(stage.proxy.port(), "other", PASSWORD, "app").expect("a sign-in");
    assert_eq!(killer.query(&format!("KILL {}", other.id())).code(), 1095);
    drop(other);
    // A client that goes away does not leave its statement behind.
    let mut gone = stage.session();
    let _: Result<(), _> = gone.with_driver(async |conn| {
        let asked = conn.query_drop("SELECT sleep(100) /* gone */");
        let _ = tokio::time::timeout(Duration::from_millis(500), asked).await;
        Ok(())
    });
    holds("sleeping", patience, 1, || running("gone"));
    drop(gone);
    holds("sleeping", patience, 0, || running("gone"));
}

fn sign_ins(make: Make) {
    let stage = Stage::new(make, 0, |config| config);
    let code = |user: &str, password: &str, database: &str| match Session::login(
        stage.proxy.port(),
        user,
        password,
        database,
    ) {
        Ok(_) => 0,
        Err(mysql_async::Error::Server(error)) => error.code,
        Err(error) => panic!("{error}"),
    };
    assert_eq!(code("app", PASSWORD, "app"), 0);
    assert_eq!(code("app", PASSWORD, ""), 0);
    assert_eq!(code("app", "wrong", "app"), 1045);
    assert_eq!(code("app", "", "app"), 1045);
    assert_eq!(code("nobody", PASSWORD, "app"), 1045);
    assert!([1044, 1049].contains(&code("app", PASSWORD, "no_such_schema")));
    // Without a schema none is chosen, whoever had the backend before.
    let mut chosen = Session::login(stage.proxy.port(), "app", PASSWORD, "").expect("a sign-in");
    assert_eq!(chosen.value("SELECT database()"), "NULL");
    chosen.query("USE app").ok();
    assert_eq!(chosen.value("SELECT database()"), "app");
    drop(chosen);
    for _ in 0..5 {
        let mut next = Session::login(stage.proxy.port(), "app", PASSWORD, "").expect("a sign-in");
        assert_eq!(next.value("SELECT database()"), "NULL");
    }
    // Rows that matched are counted for those who asked for that alone.
    stage.cluster.prepare("CREATE TABLE t (n int); INSERT INTO t VALUES (1)");
    let same = "UPDATE t SET n = 1";
    let mut matched = Session::with(stage.options().client_found_rows(true)).expect("a sign-in");
    let mut changed = stage.session();
    for _ in 0..3 {
        assert_eq!(matched.query(same).ok().affected, 1);
        assert_eq!(changed.query(same).ok().affected, 0);
    }
}
