//! A session of MariaDB or MySQL keeps its backend for what no other backend has, as long as it is there, and says why.
//! What a value can stand for is carried instead: user variables.

use std::time::Duration;

use integration::mysql::{Cluster, Make, Session};
use integration::{Config, PASSWORD, Proxy, holds, until};

const PATIENCE: Duration = Duration::from_secs(60);

struct Stage {
    proxy: Proxy,
    cluster: Cluster,
}

impl Stage {
    fn new(make: Make, replicas: usize) -> Self {
        let cluster = Cluster::start(make, replicas);
        let config = Config::of_mysql(&cluster).raw("pool_size", "3").text("max_lag", "60s");
        let stage = Self { proxy: Proxy::start(config), cluster };
        until("every server serves", PATIENCE, || {
            let mut session = Session::login(stage.proxy.port(), "app", PASSWORD, "app").ok()?;
            session.try_query("BEGIN").ok().filter(|reply| reply.error.is_none())?;
            session.query("COMMIT").ok();
            let port = session.value("SELECT @@port");
            (replicas == 0 || port != stage.cluster.primary.port().to_string()).then_some(())
        });
        stage
    }

    fn session(&self) -> Session {
        Session::login(self.proxy.port(), "app", PASSWORD, "app").expect("a sign-in")
    }

    /// A reply comes before what it left behind is known.
    #[track_caller]
    fn await_pinned(&self, reason: &str, wanted: usize) {
        holds(&format!("sessions pinned for {reason}"), PATIENCE, wanted, || {
            self.proxy.metrics().sum("splitpool_pinned_sessions", &[("reason", reason)]).round() as usize
        });
    }

    #[track_caller]
    fn await_no_pin(&self, what: &str) {
        holds(&format!("pins after {what}"), PATIENCE, 0, || {
            self.proxy.metrics().sum("splitpool_pinned_sessions", &[]).round() as usize
        });
    }
}

/// The connection that serves the session's next transaction.
fn backend(session: &mut Session) -> String {
    session.query("BEGIN").ok();
    let id = session.value("SELECT connection_id()");
    session.query("COMMIT").ok();
    id
}

/// What makes a pin, its reason, and what ends it, one after another: all but the last leave it.
fn pins(make: Make) -> Vec<(&'static str, &'static str, Vec<&'static str>)> {
    let mut pins = vec![
        ("CREATE TEMPORARY TABLE a (n int)", "temp_table", vec!["DROP TEMPORARY TABLE a"]),
        (
            "CREATE TEMPORARY TABLE `app`.`b b` SELECT 1 AS n",
            "temp_table",
            vec!["SELECT 1", "DROP TABLE `b b`"],
        ),
        (
            "CREATE TEMPORARY TABLE c (n int)",
            "temp_table",
            vec!["DROP TEMPORARY TABLE IF EXISTS d", "DROP TABLE c, kept"],
        ),
        (
            "SELECT GET_LOCK('Mine', 5)",
            "session_lock",
            vec!["SELECT RELEASE_LOCK('other')", "SELECT RELEASE_LOCK('Mine')"],
        ),
        (
            "SELECT get_lock('a', 5), get_lock('a', 5), get_lock('b', 5)",
            "session_lock",
            vec!["DO RELEASE_LOCK('a')", "DO RELEASE_LOCK('b')", "DO RELEASE_LOCK('a')"],
        ),
        ("SELECT GET_LOCK(concat('a', 'b'), 5)", "session_lock", vec!["SELECT RELEASE_ALL_LOCKS()"]),
        (
            "PREPARE p FROM 'SELECT 1'",
            "sql_prepare",
            vec!["EXECUTE p", "DEALLOCATE PREPARE q", "DEALLOCATE PREPARE P"],
        ),
        (
            "PREPARE p FROM 'SELECT 1'",
            "sql_prepare",
            vec!["PREPARE q FROM 'SELECT 2'", "DROP PREPARE p", "DROP PREPARE q"],
        ),
        ("PREPARE p FROM 'SELECT 1'", "sql_prepare", vec!["PREPARE p FROM 'nonsense'"]),
        ("HANDLER stays OPEN", "hold_cursor", vec!["HANDLER stays READ FIRST", "HANDLER stays CLOSE"]),
        ("HANDLER stays OPEN AS a", "hold_cursor", vec!["HANDLER stays CLOSE", "HANDLER a CLOSE"]),
        ("LOCK TABLES stays READ", "session_lock", vec!["SELECT 1 FROM stays", "UNLOCK TABLES"]),
        ("SET @long = repeat('x', 600)", "user_variable", vec!["SELECT 1", "SET @long = NULL"]),
    ];
    if make == Make::MariaDb {
        pins.push(("SELECT GET_LOCK(concat('a', 'b'), 5)", "session_lock", vec!["DO RELEASE_ALL_LOCKS()"]));
    }
    pins
}

fn every_pin_has_a_reason_and_ends(make: Make) {
    let stage = Stage::new(make, 0);
    stage
        .cluster
        .prepare("CREATE TABLE stays (n int); INSERT INTO stays VALUES (1); CREATE TABLE kept (n int)");
    let mut session = stage.session();
    let mut other = stage.session();
    for (makes, reason, ends) in pins(make) {
        stage.await_no_pin("the pin before");
        session.query("CREATE TABLE IF NOT EXISTS kept (n int)").ok();
        session.query(makes).ok();
        stage.await_pinned(reason, 1);
        let kept = if makes.starts_with("LOCK") {
            session.value("SELECT connection_id()")
        } else {
            backend(&mut session)
        };
        for end in ends {
            stage.await_pinned(reason, 1);
            // Whatever the other does, the backend is not lent to it.
            for _ in 0..2 {
                assert_ne!(backend(&mut other), kept, "{makes}");
            }
            assert_eq!(session.value("SELECT connection_id()"), kept, "{makes}");
            session.query(end);
        }
        stage.await_no_pin(makes);
    }
    // What has no name that could be read goes with the session.
    for (makes, reason) in [
        ("PREPARE p FROM 'DO get_lock(\"hidden\", 5)'", "unknown_effect"),
        ("CREATE TEMPORARY TABLE was (n int)", "temp_table"),
    ] {
        let mut hidden = stage.session();
        hidden.query(makes).ok();
        stage.await_pinned(reason, 1);
        for sql in [
            "EXECUTE p",
            "DEALLOCATE PREPARE p",
            "ALTER TABLE was RENAME TO is_now",
            "DROP TEMPORARY TABLE IF EXISTS was",
        ] {
            hidden.query(sql);
        }
        stage.await_pinned(reason, 1);
        assert_eq!(other.query("SELECT * FROM is_now").code(), 1146);
        drop(hidden);
        stage.await_no_pin(makes);
    }
}

/// Variables that stand for one statement, or for a time: carried, or over when they are.
fn odd_variables(make: Make) {
    let stage = Stage::new(make, 0);
    stage.cluster.prepare("CREATE TABLE odd (id int auto_increment primary key, n int)");
    for prepared in [false, true] {
        let run = |session: &mut Session, sql: &str| {
            if prepared { session.execute(sql, &[]) } else { session.query(sql) }
        };
        let (mut one, mut two) = (stage.session(), stage.session());
        // The time is a value like any other.
        run(&mut one, "SET timestamp = 1000").ok();
        stage.await_no_pin("a time");
        for _ in 0..4 {
            assert_eq!(run(&mut one, "SELECT unix_timestamp()").value(), "1000");
            assert_eq!(run(&mut two, "SELECT unix_timestamp() > 1000000").value(), "1");
        }
        // One that stands still although it is nearly now.
        run(&mut one, "SET timestamp = unix_timestamp(sysdate())").ok();
        let now = run(&mut one, "SELECT unix_timestamp()").value();
        until("time goes on", PATIENCE, || {
            (run(&mut two, "SELECT unix_timestamp()").value() > now).then_some(())
        });
        assert_eq!(run(&mut one, "SELECT unix_timestamp()").value(), now);
        run(&mut one, "SET timestamp = DEFAULT").ok();
        stage.await_no_pin("the usual time");
        until("time goes on again", PATIENCE, || {
            (run(&mut one, "SELECT unix_timestamp()").value() > now).then_some(())
        });
        // A number is used up by the row that gets it.
        let wanted = if prepared { 200 } else { 100 };
        run(&mut one, &format!("SET insert_id = {wanted}")).ok();
        stage.await_pinned("unknown_effect", 1);
        assert_ne!(run(&mut two, "INSERT INTO odd (n) VALUES (1)").ok().insert_id, wanted);
        assert_eq!(run(&mut one, "INSERT INTO odd (n) VALUES (2)").ok().insert_id, wanted);
        stage.await_no_pin("a number for a row");
        assert!(run(&mut two, "INSERT INTO odd (n) VALUES (3)").ok().insert_id > wanted);
    }
    // What nobody can read back stays where it is.
    let mut seeded = stage.session();
    seeded.query("SET rand_seed1 = 1, rand_seed2 = 2").ok();
    stage.await_pinned("unknown_effect", 1);
    drop(seeded);
    stage.await_no_pin("seeds");
}

/// The same by prepared statements, where the database can prepare them.
fn pins_of_prepared_statements(make: Make) {
    let stage = Stage::new(make, 0);
    let mut session = stage.session();
    for (makes, reason, end) in [
        ("CREATE TEMPORARY TABLE a (n int)", "temp_table", "DROP TEMPORARY TABLE a"),
        ("DO GET_LOCK('a', 5)", "session_lock", "DO RELEASE_LOCK('a')"),
        ("SET @long = repeat('x', 600)", "user_variable", "SET @long = NULL"),
    ] {
        session.execute(makes, &[]).ok();
        stage.await_pinned(reason, 1);
        session.execute(end, &[]).ok();
        stage.await_no_pin(makes);
    }
}

/// Every type of value, as text and as a parameter, on whichever backend.
fn user_variables_are_carried(make: Make) {
    let stage = Stage::new(make, 1);
    stage.cluster.prepare("CREATE TABLE seen (a int, b int unsigned, c decimal(10,4), d double, e varchar(50)); INSERT INTO seen VALUES (1, 2, 3.5, 4.5, 'five')");
    let (mut one, mut two) = (stage.session(), stage.session());
    let primary = stage.cluster.primary.port().to_string();
    one.query("SET @i = -5, @u = CAST(7 AS UNSIGNED), @d = 1.50, @whole = CAST(9 AS DECIMAL(10,0)), @f = 1.1e0, @third = 1/3").ok();
    one.query("SET @s = 'it''s \u{e9}', @latin = CONVERT('\u{e9}' USING latin1), @bin = x'00ff', @empty = '', @nothing = NULL").ok();
    one.execute("SET @p = ?, @Mixed.Case$1 = ?", &["param", "x"]).ok();
    one.query("SELECT e, d INTO @e, @dd FROM seen").ok();
    two.query("SET @i = 'mine'").ok();
    stage.await_no_pin("user variables");
    // The same questions, straight to the database.
    let mut direct = Session::login(stage.cluster.primary.port(), "app", PASSWORD, "app").expect("a sign-in");
    direct.query("SET @i = -5, @u = CAST(7 AS UNSIGNED), @d = 1.50, @whole = CAST(9 AS DECIMAL(10,0)), @f = 1.1e0, @third = 1/3").ok();
    direct.query("SET @s = 'it''s \u{e9}', @latin = CONVERT('\u{e9}' USING latin1), @bin = x'00ff', @empty = '', @nothing = NULL").ok();
    direct.query("SET @p = 'param', @Mixed.Case$1 = 'x'").ok();
    direct.query("SELECT e, d INTO @e, @dd FROM seen").ok();
    let asks = [
        "SELECT @i, @u, @d, @whole, @f, @third, @s, @latin, HEX(@bin), @empty, @nothing, @p, @`mixed.case$1`, @e, @dd",
        "SELECT @u - 1, @d * 2, @whole / 4, @f + 1, @third * 3, HEX(@latin), HEX(@s)",
        "SELECT CHARSET(@s), COLLATION(@s), CHARSET(@latin), COLLATION(@latin), CHARSET(@bin), CHARSET(@e), COLLATION(@e)",
    ];
    let mut places = std::collections::BTreeSet::new();
    for ask in asks {
        let wanted = direct.query(ask).ok().rows;
        until("answers from both servers", PATIENCE, || {
            assert_eq!(one.query(ask).ok().rows, wanted, "{ask}");
            assert_eq!(one.execute(ask, &[]).ok().rows.len(), 1);
            places.insert(one.value("SELECT @@port"));
            one.query("BEGIN").ok();
            assert_eq!(one.query(ask).ok().rows, wanted, "{ask}");
            places.insert(one.value("SELECT @@port"));
            one.query("COMMIT").ok();
            assert_eq!(two.value("SELECT @i"), "mine");
            assert_eq!(two.value("SELECT @u"), "NULL");
            (places.len() == 2).then_some(())
        });
    }
    // A counter over many statements, and its end.
    one.query("SET @n = 0").ok();
    for n in 1..=5 {
        assert_eq!(one.value("SELECT @n := @n + 1"), n.to_string());
        assert_eq!(two.value("SELECT @n"), "NULL");
    }
    assert_eq!(one.query("SELECT @n := @n + 1 FROM (SELECT 1 UNION SELECT 2) x").ok().rows.len(), 2);
    assert_eq!(one.value("SELECT @n"), "7");
    // Who comes next finds none of it.
    drop(one);
    for _ in 0..6 {
        let mut next = stage.session();
        assert_eq!(next.value("SELECT concat_ws('', @i, @u, @d, @s, @n, @p)"), "");
        next.query("BEGIN").ok();
        assert_eq!(next.value("SELECT @@port"), primary);
        assert_eq!(next.value("SELECT concat_ws('', @i, @u, @d, @s, @n, @p)"), "");
        next.query("COMMIT").ok();
    }
}

/// Triggers and procedures set variables that no statement names: the session keeps its backend.
fn what_no_statement_names(make: Make) {
    let stage = Stage::new(make, 0);
    stage.cluster.prepare("CREATE TABLE fires (n int)");
    let mut admin = stage.cluster.primary.admin();
    admin.query("CREATE TRIGGER sets BEFORE INSERT ON fires FOR EACH ROW SET @hidden = NEW.n").ok();
    let (mut one, mut two) = (stage.session(), stage.session());
    one.query("INSERT INTO fires VALUES (5)").ok();
    holds("pins", PATIENCE, true, || stage.proxy.metrics().sum("splitpool_pinned_sessions", &[]) >= 1.0);
    // Another look at the session does not end it.
    one.query("SET time_zone = '+03:00'").ok();
    one.query("SET @named = 1").ok();
    for _ in 0..6 {
        assert_eq!(one.value("SELECT @hidden"), "5");
        assert_eq!(two.value("SELECT @hidden"), "NULL");
        let mut three = stage.session();
        assert_eq!(three.value("SELECT @hidden"), "NULL");
    }
    // Set beside one that has a name.
    two.query("INSERT INTO fires SELECT @named := 6").ok();
    two.query("SET time_zone = '+04:00'").ok();
    for _ in 0..6 {
        assert_eq!(two.value("SELECT @hidden"), "6");
        let mut three = stage.session();
        assert_eq!(three.value("SELECT @hidden"), "NULL");
    }
}

/// A test of its own for each make.
macro_rules! on_both {
    ($($name:ident)*) => {
        mod mariadb {
            use super::Make;
            $(#[test] fn $name() { super::$name(Make::MariaDb); })*
        }
        mod mysql {
            use super::Make;
            $(#[test] fn $name() { super::$name(Make::MySql); })*
        }
    };
}

on_both! {
    every_pin_has_a_reason_and_ends
    odd_variables
    pins_of_prepared_statements
    user_variables_are_carried
    what_no_statement_names
}
