//! What a client of MariaDB or MySQL is told of the statement before it, and how its connection ends: as if it had the
//! database for itself. In texts and in prepared statements, while another session spoils what backends remember.

use std::sync::OnceLock;
use std::time::Duration;

use integration::mysql::wire::{Wire, cap};
use integration::mysql::{Cluster, Make, Reply, Session};
use integration::{Config, PASSWORD, Proxy, holds, until};

struct Stage {
    proxy: Proxy,
    cluster: Cluster,
}

const PATIENCE: Duration = Duration::from_secs(30);

/// One for all tests of a make: each has tables of its own.
fn stage(make: Make) -> &'static Stage {
    static STAGES: [OnceLock<Stage>; 2] = [OnceLock::new(), OnceLock::new()];
    STAGES[usize::from(make == Make::MySql)].get_or_init(|| {
        let cluster = Cluster::start(make, 1);
        let proxy = Proxy::start(Config::of_mysql(&cluster).raw("pool_size", "4").text("max_lag", "60s"));
        let stage = Stage { proxy, cluster };
        stage.reads_on_replica(&mut until("it serves", PATIENCE, || {
            let mut session = Session::login(stage.proxy.port(), "app", PASSWORD, "app").ok()?;
            session.try_query("BEGIN").ok().filter(|reply| reply.error.is_none())?;
            session.query("COMMIT").ok();
            Some(session)
        }));
        stage
    })
}

impl Stage {
    fn session(&self) -> Session {
        Session::login(self.proxy.port(), "app", PASSWORD, "app").expect("a sign-in")
    }

    fn wire(&self, abilities: u64) -> Wire {
        Wire::login(self.proxy.port(), abilities | cap::CONNECT_WITH_DB, 45).expect("a sign-in")
    }

    /// Reads of this session reach the replica: nothing binds it.
    #[track_caller]
    fn reads_on_replica(&self, session: &mut Session) {
        let primary = self.cluster.primary.port().to_string();
        until("reads on the replica", PATIENCE, || (session.value("SELECT @@port") != primary).then_some(()));
    }

    /// Another session runs what a backend remembers instead of what it ran before.
    fn between(&self) -> impl FnMut() {
        let mut other = self.session();
        let spoiled = "CREATE TABLE IF NOT EXISTS spoiled (id int auto_increment primary key, v int)";
        other.query(spoiled).ok();
        move || {
            other.query("INSERT INTO spoiled (v) VALUES (1), (2)").ok();
            other.query("SELECT nothing");
            other.query("SELECT v FROM spoiled LIMIT 3").ok();
        }
    }
}

/// As a text, or as a prepared statement.
fn run(session: &mut Session, is_prepared: bool, sql: &str) -> Reply {
    if is_prepared { session.execute(sql, &[]) } else { session.query(sql) }
}

/// A test of its own for each make.
macro_rules! on_both {
    ($($name:ident)*) => {
        mod mariadb { $(#[test] fn $name() { super::$name(super::stage(super::Make::MariaDb)); })* }
        mod mysql { $(#[test] fn $name() { super::$name(super::stage(super::Make::MySql)); })* }
    };
}

on_both! {
    warnings_one_by_one
    names_of_counts
    numbers_that_no_reply_tells
    connections_that_end_with_a_transaction
    shortened_lists_of_what_is_told
    checks_that_another_has_switched_off
    writes_in_a_read_only_transaction
}

fn warnings_one_by_one(stage: &Stage) {
    stage.cluster.prepare("CREATE TABLE shown (n int)");
    let mut between = stage.between();
    // MySQL does not prepare these.
    let ways: &[bool] = if stage.cluster.primary.make() == Make::MySql { &[false] } else { &[false, true] };
    for &is_prepared in ways {
        let mut session = stage.session();
        session.query("SET sql_mode = ''").ok();
        let warn = "INSERT INTO shown VALUES ('1x'), (99999999999), ('z')";
        let note = "DROP TABLE IF EXISTS shown_never";
        let mut ask = |warn: &str, sql: &str| {
            run(&mut session, is_prepared, warn);
            between();
            let rows = run(&mut session, is_prepared, sql).ok().rows;
            let cells =
                rows.into_iter().map(|row| row.into_iter().take(2).flatten().collect::<Vec<_>>().join(" "));
            cells.collect::<Vec<_>>().join(", ")
        };
        let all = ask(warn, "SHOW WARNINGS");
        let [one, two, three]: [&str; 3] =
            all.split(", ").collect::<Vec<_>>().try_into().expect("three warnings");
        assert!(one.starts_with("Warning ") && two == "Warning 1264", "{all}");
        for (sql, shown) in [
            ("SHOW WARNINGS LIMIT 1", one.to_owned()),
            ("SHOW WARNINGS LIMIT 1, 1", two.to_owned()),
            ("show warnings limit 5 offset 1", format!("{two}, {three}")),
            ("SHOW WARNINGS LIMIT 9, 9", String::new()),
            ("SHOW ERRORS", String::new()),
            ("SHOW COUNT(*) WARNINGS", "3".to_owned()),
            ("SHOW COUNT(*) ERRORS", "0".to_owned()),
        ] {
            assert_eq!(ask(warn, sql), shown, "{sql}, prepared: {is_prepared}");
        }
        for sql in ["SHOW WARNINGS", "SHOW WARNINGS LIMIT 1"] {
            assert_eq!(ask(note, sql), "Note 1051", "{sql}, prepared: {is_prepared}");
        }
        for sql in ["SHOW ERRORS LIMIT 1", "SHOW WARNINGS LIMIT 1"] {
            assert_eq!(ask("SELECT nothing FROM shown", sql), "Error 1054", "{sql}, prepared: {is_prepared}");
        }
    }
    // What the proxy has asked for itself is told without what a client has not asked to be told.
    for abilities in [0, cap::DEPRECATE_EOF] {
        let mut wire = stage.wire(abilities);
        assert_eq!(wire.query("DROP TABLE IF EXISTS shown_never").warnings, 1);
        between();
        let shown = wire.query("SHOW WARNINGS");
        assert_eq!((shown.rows.len(), shown.status & 0x4000), (1, 0));
        assert!(shown.end.len() <= 7, "{:?}", shown.end);
    }
}

fn names_of_counts(stage: &Stage) {
    stage.cluster.prepare("CREATE TABLE named (id int auto_increment primary key, v int)");
    let mut between = stage.between();
    let mut wire = stage.wire(cap::DEPRECATE_EOF);
    for (sql, names) in [
        ("SELECT LAST_INSERT_ID(), ROW_COUNT()", &["LAST_INSERT_ID()", "ROW_COUNT()"][..]),
        ("SELECT ROW_COUNT() > 0 , found_rows()", &["ROW_COUNT() > 0", "found_rows()"]),
        ("SELECT IF(ROW_COUNT() > 0, 1, 0)", &["IF(ROW_COUNT() > 0, 1, 0)"]),
        ("SELECT ROW_COUNT() AS n, row_count() m FROM named LIMIT 1", &["n", "m"]),
    ] {
        assert_eq!(wire.query("INSERT INTO named (v) VALUES (1)").code(), 0);
        between();
        let counted = wire.query(sql);
        assert_eq!(counted.columns, names, "{sql}: {:?}", counted.error);
        // A row of a prepared statement is read by the types that were told with the statement.
        let statement = wire.prepare(sql).expect("a statement");
        assert_eq!(wire.query("INSERT INTO named (v) VALUES (1)").code(), 0);
        between();
        let counted = wire.execute(statement, false, &[]).expect("an answer");
        assert_eq!(counted.columns, names, "{sql}: {:?}", counted.error);
    }
}

fn numbers_that_no_reply_tells(stage: &Stage) {
    stage.cluster.prepare(
        "CREATE TABLE numbered (id int auto_increment primary key, v int) AUTO_INCREMENT = 700001; \
         CREATE PROCEDURE numbers() BEGIN SELECT 1; INSERT INTO numbered (v) VALUES (1); SELECT 2; END",
    );
    let mut between = stage.between();
    let newest = || stage.cluster.primary.value("SELECT max(id) FROM app.numbered");
    for is_prepared in [false, true] {
        let mut session = stage.session();
        let mut insert = vec!["CALL numbers()"];
        if stage.cluster.primary.make() == Make::MariaDb {
            insert.push("INSERT INTO numbered (v) VALUES (7) RETURNING v");
            insert.push("REPLACE INTO numbered (v) VALUES (7) RETURNING v");
        }
        for sql in insert {
            for in_transaction in [false, true] {
                if in_transaction {
                    session.query("BEGIN").ok();
                }
                run(&mut session, is_prepared, sql).ok();
                if in_transaction {
                    session.query("COMMIT").ok();
                }
                between();
                let told = run(&mut session, is_prepared, "SELECT LAST_INSERT_ID()").value();
                assert_eq!(
                    told,
                    newest(),
                    "{sql}, prepared: {is_prepared}, in a transaction: {in_transaction}"
                );
                assert_ne!(stage.session().value("SELECT LAST_INSERT_ID()"), told);
            }
        }
        stage.reads_on_replica(&mut session);
    }
}

fn connections_that_end_with_a_transaction(stage: &Stage) {
    stage.cluster.prepare("CREATE TABLE released (n int primary key)");
    let count = || stage.cluster.primary.value("SELECT count(*) FROM app.released");
    for (before, end, stays, rows) in [
        ("", "COMMIT RELEASE", false, "1"),
        ("", "ROLLBACK WORK RELEASE", false, "0"),
        ("", "COMMIT AND NO CHAIN NO RELEASE", true, "1"),
        ("SET completion_type = 'RELEASE'", "COMMIT", false, "1"),
        ("SET completion_type = 2", "ROLLBACK", false, "0"),
        ("SET completion_type = 2", "COMMIT NO RELEASE", true, "1"),
    ] {
        for abilities in [0, cap::DEPRECATE_EOF | cap::SESSION_TRACK] {
            let mut wire = stage.wire(abilities);
            if !before.is_empty() {
                assert_eq!(wire.query(before).code(), 0, "{before}");
            }
            for sql in ["BEGIN", "INSERT INTO released VALUES (1)", end] {
                assert_eq!(wire.query(sql).code(), 0, "{sql}");
            }
            assert_eq!(count(), rows, "{before}; {end}");
            let pong = wire.simple(0x0e, &[]);
            assert_eq!(pong.as_ref().is_ok_and(|pong| pong.code() == 0), stays, "{before}; {end}: {pong:?}");
            stage.session().query("DELETE FROM released").ok();
        }
    }
}

/// MySQL takes DEFAULT for off with some.
fn checks_that_another_has_switched_off(stage: &Stage) {
    for name in ["foreign_key_checks", "unique_checks"] {
        let (mut one, mut two) = (stage.session(), stage.session());
        let look = format!("SELECT @@{name} + 0");
        one.query(&format!("SET {name} = 0")).ok();
        for begin in ["DO 1", "BEGIN"] {
            one.query(begin).ok();
            two.query(begin).ok();
            for _ in 0..4 {
                assert_eq!(one.value(&look), "0", "{name}, {begin}");
                assert_eq!(two.value(&look), "1", "{name}, {begin}");
            }
            one.query("COMMIT").ok();
            two.query("COMMIT").ok();
        }
    }
}

/// MariaDB's connector for Java does so where it writes batches as one statement.
fn shortened_lists_of_what_is_told(stage: &Stage) {
    for is_prepared in [false, true] {
        let (mut session, mut other) = (stage.session(), stage.session());
        let sql = "set autocommit=1, session_track_system_variables='auto_increment_increment' , \
                   foreign_key_checks = 0, sql_mode = concat(@@sql_mode,',PIPES_AS_CONCAT')";
        run(&mut session, is_prepared, sql).ok();
        stage.reads_on_replica(&mut session);
        let look = "SELECT concat('a' || 'b', @@foreign_key_checks + 0)";
        for _ in 0..4 {
            assert_eq!(run(&mut session, is_prepared, look).value(), "ab0");
            assert_eq!(other.value(look), "01");
        }
        // What is set from now on is followed.
        run(&mut session, is_prepared, "SET unique_checks = 0").ok();
        for _ in 0..4 {
            assert_eq!(session.value("SELECT @@unique_checks + 0"), "0");
            assert_eq!(other.value("SELECT @@unique_checks + 0"), "1");
        }
        stage.reads_on_replica(&mut session);
        // So it is where nobody can tell what else has changed: that one keeps its backend.
        let mut unclear = stage.session();
        let sql = "SET session_track_system_variables = ''; SET foreign_key_checks = 0";
        assert_eq!(unclear.query(sql).code(), 0);
        for _ in 0..4 {
            assert_eq!(unclear.value("SELECT @@foreign_key_checks + 0"), "0");
            assert_eq!(stage.session().value("SELECT @@foreign_key_checks + 0"), "1");
        }
    }
}

fn writes_in_a_read_only_transaction(stage: &Stage) {
    stage.cluster.prepare("CREATE TABLE unwritten (n int)");
    for is_prepared in [false, true] {
        let mut session = stage.session();
        holds("whether it runs on the replica", PATIENCE, true, || {
            session.query("ROLLBACK").ok();
            session.query("START TRANSACTION READ ONLY").ok();
            session.value("SELECT @@port") != stage.cluster.primary.port().to_string()
        });
        for _ in 0..2 {
            let refused = run(&mut session, is_prepared, "INSERT INTO unwritten VALUES (1)").error;
            let refused = refused.expect("nothing may be written");
            assert_eq!((refused.code, refused.state.as_str()), (1792, "25006"), "prepared: {is_prepared}");
            assert_eq!(session.value("SELECT count(*) FROM unwritten"), "0");
        }
        session.query("COMMIT").ok();
        session.query("INSERT INTO unwritten VALUES (1)").ok();
        session.query("DELETE FROM unwritten").ok();
    }
}

/// Somebody who has drawn nothing is told nothing; from then on, who draws keeps what is told.
#[test]
fn mariadb_sequences_tell_who_drew() {
    let stage = stage(Make::MariaDb);
    stage.cluster.prepare("CREATE SEQUENCE told");
    let mut ours: Vec<_> = (0..3).map(|_| stage.session()).collect();
    for one in &mut ours {
        assert_eq!(one.query("SET SESSION max_sort_length = 77").error, None);
        one.query("SELECT NEXTVAL(told)").ok();
        one.query("SELECT NEXT VALUE FOR told").ok();
    }
    for is_prepared in [false, true] {
        let mut other = stage.session();
        for ask in ["SELECT LASTVAL(told)", "SELECT PREVIOUS VALUE FOR told"] {
            let reply = run(&mut other, is_prepared, ask);
            assert_eq!(reply.rows, vec![vec![None::<String>]], "{ask}: another client's value is seen");
        }
        assert_eq!(other.value("SELECT @@max_sort_length"), "1024");
    }
    for is_prepared in [false, true] {
        let drawn: Vec<String> = ours.iter_mut().map(|one| one.value("SELECT NEXTVAL(told)")).collect();
        for (one, drawn) in ours.iter_mut().zip(&drawn) {
            for ask in ["SELECT LASTVAL(told)", "SELECT PREVIOUS VALUE FOR told"] {
                let reply = run(one, is_prepared, ask);
                assert_eq!(reply.rows, vec![vec![Some(drawn.clone())]], "{ask}");
            }
            assert_eq!(one.value("SELECT @@max_sort_length"), "77");
        }
    }
}
