//! What users of other proxies for MySQL and MariaDB complain of, a test each, as text and as prepared statements.
//!
//! | Case | What | Where, if not here |
//! |---|---|---|
//! | 1 | temporary tables, however they are made | |
//! | 2 | `sql_mode` decides how a text is read | |
//! | 3, 4 | SET: wrong values, several at once, expressions, versioned comments | |
//! | 5 | transactions and questions through SQL's own PREPARE | |
//! | 6 | autocommit, implicit commits | and `mysql_routing.rs` |
//! | 7 | SET TRANSACTION for one transaction | |
//! | 8 | a table that changes under a prepared statement | `statements` in `mysql_wire.rs`; 1615: `mysql_nonsense.rs` |
//! | 9 | how many statements a backend keeps prepared | |
//! | 10 | long data, packets of 16 MB | and `results` in `mysql_wire.rs` |
//! | 11 | character sets and collations | |
//! | 12 | ways to sign in | `mysql_sign_in.rs` |
//! | 13 | what only looks like a read | `routing/mysql_corpus.txt`, run by `mysql_routing.rs` |
//! | 14 | batches of Entity Framework | |
//! | 15, 16, 17 | servers that die, change roles, fall behind | `mysql_faults.rs` |
//! | 18 | a session reads what it wrote | `mysql_freshness.rs`, and rows that an INSERT returns here |
//! | 19 | KILL | `kills` in `mysql_wire.rs`; COM_PROCESS_KILL, and of what moves, here |
//! | 20 | COM_RESET_CONNECTION, COM_CHANGE_USER | `mysql_state.rs`; tokens: `token.rs` |
//! | 21 | warnings, errors, counts of the statement before | |
//! | 22 | malformed packets | and `protocol/tests/hostile.rs` |
//! | 23, 24 | slow readers, full pools | `mysql_faults.rs` |
//! | 25 | cursors, files, OUT parameters, compression | compression and files: `mysql_drivers.rs` |

use std::collections::BTreeSet;
use std::io::Read;
use std::net::TcpStream;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use integration::mysql::wire::{Wire, cap};
use integration::mysql::{Cluster, Make, Session};
use integration::{Config, PASSWORD, Proxy, holds, until};

struct Stage {
    proxy: Proxy,
    cluster: Cluster,
}

const PATIENCE: Duration = Duration::from_secs(60);

/// One for all tests of a make: each has tables of its own.
fn stage(make: Make) -> &'static Stage {
    static STAGES: [OnceLock<Stage>; 2] = [OnceLock::new(), OnceLock::new()];
    STAGES[usize::from(make == Make::MySql)].get_or_init(|| Stage::start(make))
}

impl Stage {
    fn start(make: Make) -> Self {
        let cluster = Cluster::start(make, 1);
        let proxy = Proxy::start(Config::of_mysql(&cluster).raw("pool_size", "4").text("max_lag", "60s"));
        let stage = Self { proxy, cluster };
        until("the replica serves", PATIENCE, || {
            let mut session = Session::login(stage.proxy.port(), "app", PASSWORD, "app").ok()?;
            session.try_query("BEGIN").ok().filter(|reply| reply.error.is_none())?;
            session.query("COMMIT").ok();
            (session.value("SELECT @@port") != stage.primary()).then_some(())
        });
        stage
    }

    fn session(&self) -> Session {
        Session::login(self.proxy.port(), "app", PASSWORD, "app").expect("a sign-in")
    }

    fn wire(&self, abilities: u64) -> Wire {
        Wire::login(self.proxy.port(), abilities | cap::CONNECT_WITH_DB, 45).expect("a sign-in")
    }

    fn primary(&self) -> String {
        self.cluster.primary.port().to_string()
    }

    fn make(&self) -> Make {
        self.cluster.primary.make()
    }

    /// Reads of this session reach the replica again: nothing binds it.
    #[track_caller]
    fn reads_on_replica(&self, session: &mut Session) {
        until("reads on the replica", PATIENCE, || {
            (session.value("SELECT @@port") != self.primary()).then_some(())
        });
    }
}

/// As a text, or as a prepared statement.
#[derive(Clone, Copy, PartialEq, Eq)]
enum As {
    Text,
    Prepared,
}

const BOTH: [As; 2] = [As::Text, As::Prepared];

impl As {
    #[track_caller]
    fn run(self, session: &mut Session, sql: &str) -> integration::mysql::Reply {
        match self {
            Self::Text => session.query(sql),
            Self::Prepared => session.execute(sql, &[]),
        }
    }

    fn name(self) -> &'static str {
        if self == Self::Text { "text" } else { "prepared" }
    }
}

/// A test of its own for each case and make.
macro_rules! cases {
    ($($name:ident)*) => {
        mod mariadb {
            use super::Make;
            $(#[test] fn $name() { super::$name(super::stage(Make::MariaDb)); })*
        }
        mod mysql {
            use super::Make;
            $(#[test] fn $name() { super::$name(super::stage(Make::MySql)); })*
        }
    };
}

cases! {
    t01_temporary_tables
    t02_sql_modes
    t03_wrong_settings
    t04_many_settings
    t05_prepared_in_sql
    t06_autocommit
    t07_next_transaction
    t08_changed_tables
    t09_many_statements
    t10_long_data
    t11_collations
    t14_batches
    t18_rows_of_an_insert
    t19_process_kill
    t19_kill_of_what_moves
    t20_resets_and_changes_of_the_user
    t21_the_statement_before
    t22_malformed_packets
    t25_cursors
    t25_with_a_cursor_and_without
    t25_out_parameters
    end_of_rows_either_way
}

fn t01_temporary_tables(stage: &Stage) {
    stage.session().query("CREATE PROCEDURE t01() BEGIN CREATE TEMPORARY TABLE t01_proc (n int); END").ok();
    for kind in BOTH {
        let mut ways = vec![
            ("t01_a", "CREATE TEMPORARY TABLE t01_a (n int)"),
            ("t01_b", "/* made */ CREATE /* by */ TEMPORARY TABLE t01_b SELECT 1 AS n"),
            ("t01_c", "CREATE TEMPORARY TABLE IF NOT EXISTS t01_c (n int)"),
            ("t01_proc", "CALL t01()"),
        ];
        if stage.make() == Make::MariaDb {
            ways.push(("t01_d", "CREATE OR REPLACE TEMPORARY TABLE t01_d (n int)"));
        }
        for (table, sql) in ways {
            let (mut one, mut two) = (stage.session(), stage.session());
            kind.run(&mut one, sql).ok();
            one.query(&format!("INSERT INTO {table} VALUES (7)")).ok();
            for _ in 0..5 {
                assert_eq!(kind.run(&mut one, &format!("SELECT max(n) FROM {table}")).value(), "7", "{sql}");
                assert_eq!(kind.run(&mut two, &format!("SELECT n FROM {table}")).code(), 1146, "{sql}");
                assert_eq!(two.query(&format!("INSERT INTO {table} VALUES (1)")).code(), 1146, "{sql}");
            }
            drop(one);
            for _ in 0..5 {
                let mut next = stage.session();
                assert_eq!(next.query(&format!("INSERT INTO {table} VALUES (1)")).code(), 1146, "{sql}");
            }
        }
    }
}

fn t02_sql_modes(stage: &Stage) {
    stage.cluster.prepare("CREATE TABLE t02 (name varchar(40)); INSERT INTO t02 VALUES ('x')");
    for kind in BOTH {
        let name = kind.name();
        let (mut ansi, mut plain, mut usual) = (stage.session(), stage.session(), stage.session());
        ansi.query("SET SESSION sql_mode = 'ANSI_QUOTES'").ok();
        plain.query("SET SESSION sql_mode = 'NO_BACKSLASH_ESCAPES'").ok();
        for _ in 0..5 {
            // Double quotes hold a column's name for one, a text for the others.
            let quoted = "SELECT \"name\" FROM t02";
            assert_eq!(kind.run(&mut ansi, quoted).value(), "x", "{name}");
            assert_eq!(kind.run(&mut usual, quoted).value(), "name", "{name}");
            // A backslash hides the quote, or does not.
            assert_eq!(kind.run(&mut plain, r"SELECT 'a\'").value(), r"a\", "{name}");
            assert_eq!(kind.run(&mut usual, r"SELECT 'a\''").value(), "a'", "{name}");
            // What is a write in one mode is a text in another.
            let mark = stage.cluster.mark();
            let text = r"SELECT 'a\' FROM t02 FOR UPDATE -- '";
            kind.run(&mut plain, &format!("/* t02 locks {name} */ {text}")).ok();
            assert_eq!(
                stage.cluster.servers_that_ran(&format!("/* t02 locks {name} */"), &mark),
                ["primary"]
            );
        }
        // Reads are told from writes in either mode.
        stage.reads_on_replica(&mut ansi);
        stage.reads_on_replica(&mut plain);
        let mark = stage.cluster.mark();
        kind.run(&mut ansi, &format!("SELECT \"name\" FROM t02 /* t02 ansi {name} */")).ok();
        kind.run(&mut plain, &format!(r"SELECT 'a\' FROM t02 /* t02 plain {name} */")).ok();
        for tag in ["ansi", "plain"] {
            let tag = format!("/* t02 {tag} {name} */");
            assert_eq!(stage.cluster.servers_that_ran(&tag, &mark), ["replica1"], "{tag}");
        }
    }
}

fn t03_wrong_settings(stage: &Stage) {
    for kind in BOTH {
        let mut session = stage.session();
        for (sql, code) in [
            ("SET SESSION sql_mode = 'NONSENSE'", 1231),
            ("SET SESSION time_zone = 'Nowhere/Nothing'", 1298),
            ("SET SESSION no_such_variable = 1", 1193),
            ("SET NAMES nonsense", 1115),
        ] {
            assert_eq!(kind.run(&mut session, sql).code(), code, "{sql}");
            assert_eq!(kind.run(&mut session, "SELECT 1").value(), "1", "after {sql}");
        }
        stage.reads_on_replica(&mut session);
    }
}

fn t04_many_settings(stage: &Stage) {
    let mut other = stage.session();
    for kind in BOTH {
        let mut session = stage.session();
        let zone = "SELECT @@session.time_zone";
        let default = session.value(zone);
        // One that is wrong spoils all.
        let wrong = "SET time_zone = '+03:00', group_concat_max_len = 2000, sql_mode = 'NONSENSE'";
        assert_eq!(kind.run(&mut session, wrong).code(), 1231);
        assert_eq!(session.value(zone), default);
        assert_ne!(session.value("SELECT @@group_concat_max_len"), "2000");
        kind.run(&mut session, "SET time_zone = CONCAT('+0', 1 + 3, ':00')").ok();
        kind.run(&mut session, "SET group_concat_max_len = (SELECT max(n) FROM (SELECT 2000 n) x)").ok();
        kind.run(&mut session, "/*!40101 SET SESSION sql_mode = 'PIPES_AS_CONCAT' */").ok();
        for _ in 0..4 {
            assert_eq!(kind.run(&mut session, zone).value(), "+04:00");
            assert_eq!(kind.run(&mut session, "SELECT @@group_concat_max_len").value(), "2000");
            assert_eq!(kind.run(&mut session, "SELECT 'a' || 'b'").value(), "ab");
            assert_eq!(kind.run(&mut other, "SELECT 'a' || 'b'").value(), "0");
        }
        stage.reads_on_replica(&mut session);
        kind.run(&mut session, "SET @a = @b := 1").ok();
        for _ in 0..4 {
            assert_eq!(kind.run(&mut session, "SELECT @a + @b").value(), "2");
            assert_eq!(kind.run(&mut other, "SELECT @a").value(), "NULL");
        }
    }
}

fn t05_prepared_in_sql(stage: &Stage) {
    stage.cluster.prepare("CREATE TABLE t05 (id int auto_increment primary key, v int)");
    let count = || stage.cluster.primary.value("SELECT count(*) FROM app.t05");
    let (mut one, mut two) = (stage.session(), stage.session());
    for (name, sql) in [
        ("begins", "BEGIN"),
        ("commits", "COMMIT"),
        ("quiet", "SET autocommit = 0"),
        ("loud", "SET autocommit = 1"),
        ("found", "SELECT FOUND_ROWS()"),
        ("made", "SELECT LAST_INSERT_ID()"),
        ("adds", "INSERT INTO t05 (v) VALUES (1)"),
    ] {
        if one.query(&format!("PREPARE {name} FROM '{sql}'")).code() == 1295 {
            // MariaDB and MySQL differ in what can be prepared.
            one.query(&format!("PREPARE {name} FROM 'SELECT 1'")).ok();
        }
    }
    assert_eq!(two.query("EXECUTE adds").code(), 1243);
    one.query("EXECUTE begins");
    if one.query("SELECT @@in_transaction").code() == 0 {
        one.query("EXECUTE adds").ok();
        assert_eq!(count(), "0");
        one.query("EXECUTE commits").ok();
    } else {
        one.query("EXECUTE adds").ok();
    }
    assert_eq!(count(), "1");
    one.query("EXECUTE quiet").ok();
    one.query("EXECUTE adds").ok();
    assert_eq!(count(), "1");
    one.query("EXECUTE commits").ok();
    assert_eq!(count(), "2");
    one.query("EXECUTE loud").ok();
    let made = one.query("EXECUTE adds").ok().insert_id;
    two.query("INSERT INTO t05 (v) VALUES (5)").ok();
    assert_eq!(one.value("EXECUTE made"), made.to_string());
    one.query("SELECT SQL_CALC_FOUND_ROWS v FROM t05 LIMIT 1").ok();
    two.query("SELECT 1").ok();
    assert_eq!(one.value("EXECUTE found"), "4");
}

fn t06_autocommit(stage: &Stage) {
    stage.cluster.prepare("CREATE TABLE t06 (n int primary key); INSERT INTO t06 VALUES (1)");
    let sum = || stage.cluster.primary.value("SELECT sum(n) FROM app.t06");
    for (kind, before) in BOTH.into_iter().zip([1, 100]) {
        stage.cluster.primary.sql(&format!("UPDATE app.t06 SET n = {before}")).ok();
        let mut session = stage.session();
        kind.run(&mut session, "SET autocommit = 0").ok();
        kind.run(&mut session, "SELECT n FROM t06").ok();
        kind.run(&mut session, "UPDATE t06 SET n = n + 1").ok();
        assert_eq!(sum(), before.to_string());
        kind.run(&mut session, "SET autocommit = 1").ok();
        assert_eq!(sum(), (before + 1).to_string());
        session.query("BEGIN").ok();
        kind.run(&mut session, "UPDATE t06 SET n = n + 1").ok();
        assert_eq!(sum(), (before + 1).to_string());
        kind.run(&mut session, "CREATE TABLE IF NOT EXISTS t06_more (n int)").ok();
        assert_eq!(sum(), (before + 2).to_string());
        session.query("ROLLBACK").ok();
        assert_eq!(sum(), (before + 2).to_string());
        stage.reads_on_replica(&mut session);
    }
}

fn t07_next_transaction(stage: &Stage) {
    stage.cluster.prepare("CREATE TABLE t07 (n int)");
    for kind in BOTH {
        let (mut one, mut two) = (stage.session(), stage.session());
        kind.run(&mut one, "SET TRANSACTION READ ONLY").ok();
        for _ in 0..4 {
            kind.run(&mut two, "INSERT INTO t07 VALUES (1)").ok();
        }
        one.query("BEGIN").ok();
        assert_eq!(kind.run(&mut one, "INSERT INTO t07 VALUES (2)").code(), 1792);
        one.query("ROLLBACK").ok();
        one.query("BEGIN").ok();
        kind.run(&mut one, "INSERT INTO t07 VALUES (3)").ok();
        one.query("COMMIT").ok();
        // One that is never used goes with its session.
        kind.run(&mut one, "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE").ok();
        drop(one);
        for _ in 0..6 {
            let mut next = stage.session();
            next.query("BEGIN").ok();
            kind.run(&mut next, "INSERT INTO t07 VALUES (4)").ok();
            next.query("ROLLBACK").ok();
        }
    }
}

fn t08_changed_tables(stage: &Stage) {
    stage.cluster.prepare("CREATE TABLE t08 (a int); INSERT INTO t08 VALUES (1)");
    for abilities in [0, cap::DEPRECATE_EOF] {
        let mut wire = stage.wire(abilities);
        let mut other = stage.wire(abilities);
        let all = wire.prepare("SELECT * FROM t08 WHERE a = ?").expect("prepared");
        let theirs = other.prepare("SELECT * FROM t08 WHERE a = ?").expect("prepared");
        let before = wire.execute(all, false, &[Some("1")]).expect("an answer");
        other.execute(theirs, false, &[Some("1")]).expect("an answer");
        let column = format!("added_{abilities}");
        stage.cluster.prepare(&format!("ALTER TABLE t08 ADD COLUMN {column} int DEFAULT 5"));
        for (wire, statement) in [(&mut wire, all), (&mut other, theirs)] {
            let after = wire.execute(statement, false, &[Some("1")]).expect("an answer");
            assert_eq!(after.columns.len(), before.columns.len() + 1, "{after:?}");
            assert_eq!(after.columns.last(), Some(&column));
            assert_eq!(after.rows.len(), 1);
        }
    }
}

fn t09_many_statements(stage: &Stage) {
    // On servers of its own: the limit below is everybody's.
    let stage = &Stage::start(stage.make());
    let mut session = stage.session();
    for n in 0..500 {
        let sql = format!("SELECT {n} + ?");
        assert_eq!(session.execute(&sql, &["1"]).value(), (n + 1).to_string());
    }
    // The driver closes what it has used; we keep at most 200 for each of at most 4 backends, on each server.
    for server in stage.cluster.servers() {
        let kept = server.sql("SHOW GLOBAL STATUS LIKE 'Prepared_stmt_count'").ok().rows;
        let kept: u32 = kept[0][1].as_deref().expect("a number").parse().expect("a number");
        assert!(kept <= 4 * 200 + 20, "{} keeps {kept}", server.name());
    }
    // A client that keeps more open than the database itself would allow.
    for server in stage.cluster.servers() {
        server.set("max_prepared_stmt_count", "1000");
    }
    let mut wire = stage.wire(cap::DEPRECATE_EOF);
    let kept: Vec<_> = (0..3_000)
        .map(|n| wire.prepare(&format!("SELECT concat('{n}-', ?)")).expect("a preparation"))
        .collect();
    for n in [0, 1, 1_499, 2_999, 2_998, 0] {
        for begin in ["BEGIN", "COMMIT"] {
            let answer = wire.execute(kept[n], false, &[Some("x")]).expect("an answer");
            assert_eq!(answer.code(), 0, "{n}: {answer:?}");
            assert!(answer.rows[0].ends_with(format!("{n}-x").as_bytes()), "{n}: {answer:?}");
            assert_eq!(wire.query(begin).code(), 0);
        }
    }
}

fn t10_long_data(stage: &Stage) {
    let mut wire = stage.wire(cap::DEPRECATE_EOF);
    let statement = wire.prepare("SELECT length(?), right(?, 3), ?").expect("prepared");
    for length in [10, (1 << 24) - 8, (1 << 24) - 7, (1 << 24) + 3] {
        let data = vec![b'y'; length];
        // In pieces, and in one command that goes over several packets.
        let (one, two) = data.split_at(length / 3);
        wire.long_data(statement, 0, one).expect("sent");
        wire.long_data(statement, 1, b"abc").expect("sent");
        wire.long_data(statement, 0, two).expect("sent");
        let answer = wire.execute(statement, false, &[None, None, Some("z")]).expect("an answer");
        assert_eq!(answer.code(), 0, "{answer:?}");
        let row = &answer.rows[0];
        // MariaDB's length has four bytes, MySQL's eight.
        assert_eq!(&row[2..6], &(length as u32).to_le_bytes(), "{row:?}");
        assert!(row.ends_with(b"\x03abc\x01z"), "{row:?}");
        // It is used up.
        let again = wire.execute(statement, false, &[Some("1"), Some("2"), Some("3")]).expect("an answer");
        assert_eq!(again.rows[0][2], 1);
    }
    // Sent and taken back.
    wire.long_data(statement, 0, b"gone").expect("sent");
    assert_eq!(wire.simple(0x1a, &statement.id.to_le_bytes()).expect("an answer").code(), 0);
    let answer = wire.execute(statement, false, &[Some("12345"), Some("2"), Some("3")]).expect("an answer");
    assert_eq!(answer.rows[0][2], 5);
}

fn t11_collations(stage: &Stage) {
    let port = stage.proxy.port();
    let ask = "SELECT @@character_set_client, @@collation_connection, @@character_set_results";
    let direct = |id| {
        let mut wire =
            Wire::login(stage.cluster.primary.port(), cap::CONNECT_WITH_DB, id).expect("a sign-in");
        wire.query(ask).cells(0)
    };
    // latin1, utf8mb4_general_ci, utf8mb4_bin, utf8mb4_0900_ai_ci, utf8mb3, and one that nobody has.
    for id in [8, 45, 46, 255, 33, 199] {
        let wanted = direct(id);
        for _ in 0..3 {
            let mut wire = Wire::login(port, cap::CONNECT_WITH_DB, id).expect("a sign-in");
            assert_eq!(wire.query(ask).cells(0), wanted, "{id}");
            wire.query("BEGIN");
            assert_eq!(wire.query(ask).cells(0), wanted, "{id}, in a transaction");
        }
        // The same when the user is changed.
        let mut wire = Wire::login(port, cap::CONNECT_WITH_DB, 8).expect("a sign-in");
        wire.change_user("app", "app", id.into()).expect("a change");
        assert_eq!(wire.query(ask).cells(0), wanted, "{id}, changed");
        // And when it goes back to the beginning.
        wire.query("SET NAMES utf8mb4 COLLATE utf8mb4_unicode_ci");
        assert_eq!(wire.query(ask).cells(0)[1].as_deref(), Some("utf8mb4_unicode_ci"));
    }
    // Numbers of two bytes, of newer databases of either make: utf8mb4_0900_bin, one of uca1400, and nobody's.
    for id in [309, 2304, 0xff00] {
        let mut answers = [stage.cluster.primary.port(), port].into_iter().map(|port| {
            let mut wire = Wire::login(port, cap::CONNECT_WITH_DB, 8).expect("a sign-in");
            wire.change_user("app", "app", id).expect("a change");
            wire.query(ask).cells(0)
        });
        assert_eq!(answers.next(), answers.next(), "{id}");
    }
    if stage.make() == Make::MariaDb {
        // A collation of which the number takes two bytes.
        let uca = stage.cluster.primary.sql(
            "SELECT id, collation_name FROM information_schema.collations WHERE collation_name LIKE 'utf8mb4%nopad%' AND id > 255 LIMIT 1",
        );
        let row = &uca.ok().rows[0];
        let id: u16 = row[0].as_deref().expect("an id").parse().expect("a number");
        let mut wire = stage.wire(0);
        wire.change_user("app", "app", id).expect("a change");
        assert_eq!(wire.query(ask).cells(0)[1], row[1]);
    }
}

fn t14_batches(stage: &Stage) {
    stage.cluster.prepare("CREATE TABLE t14 (id int auto_increment primary key, v int)");
    let mut session = stage.session();
    for n in 1..=5_u64 {
        let mark = stage.cluster.mark();
        let batch = format!(
            "SET time_zone = '+01:00'; INSERT INTO t14 (v) VALUES ({n}) /* t14 batch {n} */; \
             SELECT id FROM t14 WHERE ROW_COUNT() = 1 AND id = LAST_INSERT_ID()"
        );
        let reply = session.query(&batch).ok();
        assert_eq!(reply.rows, [[Some(n.to_string())]]);
        assert_eq!(stage.cluster.servers_that_ran(&format!("/* t14 batch {n} */"), &mark), ["primary"]);
        // What it set holds for the rest of the session.
        assert_eq!(session.value("SELECT @@time_zone"), "+01:00");
    }
    assert_eq!(stage.cluster.primary.value("SELECT count(*) FROM app.t14"), "5");
    // Prepared, each of the three goes its own way, and they are still of one session.
    for n in 6..=10_u64 {
        let mark = stage.cluster.mark();
        session.execute(&format!("SET time_zone = '+0{}:00'", n % 4), &[]).ok();
        let add = "INSERT INTO t14 (v) VALUES (?) /* t14 prepared */";
        assert_eq!(session.execute(add, &[&n.to_string()]).ok().insert_id, n);
        let ask = "SELECT id FROM t14 WHERE ROW_COUNT() = 1 AND id = LAST_INSERT_ID()";
        assert_eq!(session.execute(ask, &[]).ok().rows, [[Some(n.to_string())]]);
        assert_eq!(session.value("SELECT @@time_zone"), format!("+0{}:00", n % 4));
        assert_eq!(stage.cluster.servers_that_ran("/* t14 prepared */", &mark), ["primary"]);
    }
    assert_eq!(stage.cluster.primary.value("SELECT count(*) FROM app.t14"), "10");
}

fn t18_rows_of_an_insert(stage: &Stage) {
    if stage.make() != Make::MariaDb {
        // MySQL has no RETURNING.
        return;
    }
    stage.cluster.prepare("CREATE TABLE t18 (id int auto_increment primary key, v int)");
    stage.cluster.replicas[0].pause_replay();
    let mut session = stage.session();
    for (n, kind) in BOTH.into_iter().cycle().take(6).enumerate() {
        let id = kind.run(&mut session, "INSERT INTO t18 (v) VALUES (1) RETURNING id").value();
        assert_eq!(id, (n + 1).to_string());
        assert_eq!(kind.run(&mut session, "SELECT max(id) FROM t18").value(), id);
        assert_eq!(kind.run(&mut session, "DELETE FROM t18 WHERE id = 0 RETURNING v").ok().rows.len(), 0);
    }
    stage.cluster.replicas[0].resume_replay();
}

fn t19_process_kill(stage: &Stage) {
    let mut killer = stage.wire(0);
    let mut victim = stage.wire(0);
    assert_eq!(killer.simple(0x0c, &victim.number.to_le_bytes()).expect("an answer").code(), 0);
    let gone = victim.command(3, b"SELECT 1").and_then(|()| victim.results());
    assert!(gone.is_err() || gone.is_ok_and(|all| all[0].code() != 0), "it goes on");
    assert_eq!(killer.simple(0x0c, &4_000_000_000_u32.to_le_bytes()).expect("an answer").code(), 1094);
    assert_eq!(killer.query("SELECT 5").value(), "5");
    assert_eq!(killer.query("SELECT connection_id() > 0").value(), "1");
}

/// Who is to be stopped goes from backend to backend meanwhile, and others run on those that it has left.
fn t19_kill_of_what_moves(stage: &Stage) {
    stage.cluster.prepare("CREATE TABLE t19 (n int); INSERT INTO t19 VALUES (0)");
    let ended = AtomicBool::new(false);
    let mut victim = stage.wire(0);
    let number = victim.number;
    let stopped = thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut other = stage.wire(0);
                while !ended.load(Ordering::Relaxed) {
                    for sql in ["SELECT n, sleep(0.002) FROM t19", "UPDATE t19 SET n = n + 1"] {
                        let answer = other.query(sql);
                        assert_eq!(answer.code(), 0, "another session: {answer:?}");
                    }
                }
            });
        }
        let ran = scope.spawn(|| {
            let mut stopped = 0;
            let end = Ends(&ended);
            for n in 0..60 {
                for sql in ["SELECT n, sleep(0.002) FROM t19", "UPDATE t19 SET n = n + 1", "BEGIN", "COMMIT"]
                {
                    let answer = victim.query(sql);
                    assert!(matches!(answer.code(), 0 | 1317), "{n} {sql}: {answer:?}");
                    stopped += u32::from(answer.code() == 1317);
                }
            }
            drop(end);
            stopped
        });
        let mut killer = stage.session();
        while !ended.load(Ordering::Relaxed) {
            assert_eq!(killer.query(&format!("KILL QUERY {number}")).code(), 0);
        }
        ran.join().expect("the victim")
    });
    println!("{stopped} were stopped");
    // Nothing is left that stops what comes next, and a kill of the connection ends it.
    assert_eq!(victim.query("SELECT sleep(0.05)").code(), 0);
    stage.session().query(&format!("KILL {number}")).ok();
    let gone = victim.command(3, b"SELECT 1").and_then(|()| victim.results());
    assert!(gone.is_err() || gone.is_ok_and(|all| all[0].code() != 0), "it goes on");
}

/// Tells others that it is over, also when it panics.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn t20_resets_and_changes_of_the_user(stage: &Stage) {
    stage.cluster.prepare("CREATE TABLE t20 (n int)");
    let changes = |wire: &mut Wire| {
        wire.query("SET @x = 5, time_zone = '+07:00'");
        wire.query("CREATE TEMPORARY TABLE t20_mine (n int)");
        wire.query("DO get_lock('t20', 1)");
        wire.query("LOCK TABLES t20 WRITE");
        wire.query("BEGIN");
        assert_eq!(wire.query("SELECT is_used_lock('t20') IS NULL").value(), "0");
        wire.prepare("SELECT 1 + ?").expect("prepared")
    };
    let is_fresh = |wire: &mut Wire| {
        assert_eq!(wire.query("SELECT @x IS NULL").value(), "1");
        assert_ne!(wire.query("SELECT @@session.time_zone").value(), "+07:00");
        assert_eq!(wire.query("INSERT INTO t20_mine VALUES (1)").code(), 1146);
        assert_eq!(wire.query("SELECT is_free_lock('t20')").value(), "1");
        assert_eq!(wire.query("INSERT INTO t20 VALUES (1)").code(), 0);
    };
    for abilities in [0, cap::DEPRECATE_EOF | cap::SESSION_TRACK] {
        let mut wire = stage.wire(abilities);
        let statement = changes(&mut wire);
        assert_eq!(wire.simple(0x1f, &[]).expect("an answer").code(), 0);
        is_fresh(&mut wire);
        assert_eq!(wire.execute(statement, false, &[Some("1")]).expect("an answer").code(), 1243);

        let statement = changes(&mut wire);
        wire.change_user("app", "app", 45).expect("a change");
        is_fresh(&mut wire);
        assert_eq!(wire.execute(statement, false, &[Some("1")]).expect("an answer").code(), 1243);

        // Another user, and no schema.
        assert!(wire.query("SELECT current_user()").value().starts_with("app@"));
        wire.change_user("other", "", 45).expect("a change");
        assert!(wire.query("SELECT current_user()").value().starts_with("other@"));
        assert_eq!(wire.query("SELECT database() IS NULL").value(), "1");
        wire.change_user("other", "app", 45).expect("a change");
        assert_eq!(wire.query("SELECT database()").value(), "app");
        let number = wire.number;
        let killed = stage.session().query(&format!("KILL {number}")).code();
        assert_eq!(killed, 1095, "its number is the other user's now");
    }
    // Nobody becomes what he is not.
    for (user, database) in [("nobody", "app"), ("app", "no_such_schema")] {
        let mut wire = stage.wire(0);
        let error = wire.change_user(user, database, 45).expect_err("a refusal").to_string();
        assert!(error.contains("denied") || error.contains("no_such_schema"), "{error}");
        assert!(wire.command(3, b"SELECT 1").and_then(|()| wire.results()).is_err());
    }
}

fn t21_the_statement_before(stage: &Stage) {
    stage.cluster.prepare("CREATE TABLE t21 (id int auto_increment primary key, v int)");
    stage.cluster.prepare("INSERT INTO t21 (v) VALUES (1), (2), (3), (4)");
    for kind in BOTH {
        let name = kind.name();
        let (mut one, mut two) = (stage.session(), stage.session());
        // The other spoils what backends remember, each time.
        let mut between = || {
            two.query("UPDATE t21 SET v = v WHERE id = 1").ok();
            two.query("SELECT nothing");
            two.query("SELECT v FROM t21 WHERE id < 3").ok();
        };
        for (sql, rows) in [
            ("UPDATE t21 SET v = v + 1 WHERE id < 4", "3"),
            ("UPDATE t21 SET v = v + 1 WHERE id = 4", "1"),
            ("DELETE FROM t21 WHERE id = 99", "0"),
        ] {
            for ask in ["SELECT ROW_COUNT()", "SELECT row_count() AS n", "select ROW_COUNT( ) ;"] {
                kind.run(&mut one, sql).ok();
                between();
                assert_eq!(kind.run(&mut one, ask).value(), rows, "{name}: {sql}; {ask}");
                assert_eq!(kind.run(&mut one, ask).value(), "-1", "{name}: {sql}; {ask}");
            }
        }
        for (sql, rows) in [
            ("DELETE FROM t21 WHERE id = 99", 0),
            ("UPDATE t21 SET v = v + 1 WHERE id = 4", 1),
            ("UPDATE t21 SET v = v + 1 WHERE id < 4", 3),
            ("SELECT v FROM t21 WHERE id < 3", -1),
            ("SELECT nothing", -1),
        ] {
            for round in 0..2 {
                kind.run(&mut one, sql);
                between();
                let ask = "SELECT concat('rows: ', ROW_COUNT()), 'row_count()' -- row_count()";
                let told = kind.run(&mut one, ask).ok().rows;
                assert_eq!(told[0][0], Some(format!("rows: {rows}")), "{name}: {sql}, {round}");
                assert_eq!(told[0][1].as_deref(), Some("row_count()"));
            }
            kind.run(&mut one, sql);
            between();
            kind.run(&mut one, "SET @told = ROW_COUNT() * 2").ok();
            assert_eq!(kind.run(&mut one, "SELECT @told").value(), (rows * 2).to_string(), "{name}: {sql}");
        }
        for (sql, rows) in [("SELECT v FROM t21", 4), ("SELECT v FROM t21 WHERE id = 1", 1)] {
            kind.run(&mut one, sql).ok();
            between();
            assert_eq!(
                kind.run(&mut one, "SELECT FOUND_ROWS() + 10").value(),
                (rows + 10).to_string(),
                "{name}"
            );
        }
        // What stands before it in the same text is what it asks of.
        let batch = one.query("UPDATE t21 SET v = v + 1 WHERE id < 3; SELECT ROW_COUNT() + 10").ok();
        assert_eq!(batch.rows[0][0].as_deref(), Some("12"), "{name}");
        kind.run(&mut one, "SELECT v FROM t21").ok();
        between();
        assert_eq!(kind.run(&mut one, "SELECT FOUND_ROWS()").value(), "4", "{name}");
        kind.run(&mut one, "SELECT SQL_CALC_FOUND_ROWS v FROM t21 LIMIT 1").ok();
        between();
        assert_eq!(kind.run(&mut one, "SELECT FOUND_ROWS()").value(), "4", "{name}");
        // What an error and a warning told, for those who do not ask by SHOW WARNINGS.
        for (sql, code, state) in [
            ("SELECT nothing FROM t21", "1054", "42S22"),
            ("INSERT INTO t21 (id, v) VALUES (1, 1)", "1062", "23000"),
        ] {
            assert_eq!(kind.run(&mut one, sql).code().to_string(), code);
            between();
            assert_eq!(one.query("SELECT @@error_count").value(), "1", "{name}: {sql}");
            kind.run(&mut one, sql);
            between();
            assert_eq!(one.query("SHOW ERRORS").ok().rows[0][1].as_deref(), Some(code), "{name}");
            kind.run(&mut one, sql);
            between();
            one.query("GET DIAGNOSTICS @n = NUMBER").ok();
            assert_eq!(one.value("SELECT @n"), "1", "{name}");
            kind.run(&mut one, sql);
            between();
            one.query("GET DIAGNOSTICS @n = NUMBER").ok();
            one.query("GET DIAGNOSTICS CONDITION 1 @state = RETURNED_SQLSTATE, @code = MYSQL_ERRNO").ok();
            assert_eq!(one.value("SELECT concat(@state, ' ', @code)"), format!("{state} {code}"), "{name}");
            one.query("SET @state = NULL, @code = NULL, @n = NULL").ok();
        }
        kind.run(&mut one, "DROP TABLE IF EXISTS t21_never").ok();
        between();
        assert_eq!(one.query("SELECT @@warning_count").value(), "1", "{name}");
        kind.run(&mut one, "DROP TABLE IF EXISTS t21_never").ok();
        between();
        let shown = one.query("SHOW WARNINGS").ok().rows;
        assert_eq!(shown[0][1].as_deref(), Some("1051"), "{name}: {shown:?}");
        kind.run(&mut one, "SELECT v FROM t21 WHERE id = 1").ok();
        between();
        assert_eq!(one.query("SHOW WARNINGS").ok().rows.len(), 0);
        assert_eq!(one.query("SELECT @@warning_count + @@error_count").value(), "0", "{name}");
    }
}

fn t22_malformed_packets(stage: &Stage) {
    let port = stage.proxy.port();
    let ends = |bytes: &[u8], signed_in: bool| {
        let mut wire = if signed_in { stage.wire(0) } else { Wire::connect(port).expect("it listens") };
        if !signed_in {
            wire.packet().expect("a greeting");
        }
        wire.raw(bytes).expect("it is open");
        drop(wire);
    };
    let mut seed = 1_u64;
    for round in 0..60 {
        let mut bytes = Vec::new();
        for _ in 0..40 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            bytes.push((seed >> 56) as u8);
        }
        // Lengths and numbers that make sense, before nonsense.
        if round % 2 == 0 {
            bytes[..4].copy_from_slice(&[36, 0, 0, u8::from(round % 4 == 0)]);
        }
        ends(&bytes, false);
        ends(&bytes, true);
    }
    // Every command, with nothing and with too little behind it.
    for tag in 0..=255_u8 {
        ends(&[1, 0, 0, 0, tag], true);
        ends(&[4, 0, 0, 0, tag, 1, 2, 3], true);
    }
    for bytes in [&[0, 0, 0, 0][..], &[1, 0, 0, 7, 3], &[0xff, 0xff, 0xff, 0, 3]] {
        ends(bytes, true);
    }
    // A greeting is all that who says nothing hears.
    let mut silent = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    let mut heard = [0; 4];
    silent.read_exact(&mut heard).expect("a greeting");
    assert_eq!(stage.session().value("SELECT 7"), "7");
    stage.proxy.assert_sound();
}

fn t25_cursors(stage: &Stage) {
    stage
        .cluster
        .prepare("CREATE TABLE t25 (n int primary key); INSERT INTO t25 VALUES (1), (2), (3), (4), (5)");
    for abilities in [0, cap::DEPRECATE_EOF] {
        let mut wire = stage.wire(abilities);
        let mut other = stage.wire(abilities);
        for round in 0..3 {
            let statement = wire.prepare("SELECT n FROM t25 WHERE n > ? ORDER BY n").expect("prepared");
            let opened = wire.execute(statement, true, &[Some("0")]).expect("an answer");
            assert_eq!((opened.rows.len(), opened.status & 64), (0, 64), "a cursor is open: {opened:?}");
            let mut seen = Vec::new();
            loop {
                let fetched = wire.fetch(statement, 2).expect("rows");
                assert_eq!(fetched.code(), 0);
                seen.extend(fetched.rows.iter().map(|row| row[2]));
                // Others go on with the same statement meanwhile.
                let theirs = other.prepare("SELECT n FROM t25 WHERE n > ? ORDER BY n").expect("prepared");
                assert_eq!(other.execute(theirs, false, &[Some("3")]).expect("an answer").rows.len(), 2);
                if fetched.status & 128 != 0 {
                    break;
                }
            }
            assert_eq!(seen, [1, 2, 3, 4, 5], "round {round}");
            assert_eq!(wire.fetch(statement, 2).expect("an answer").code(), 1421);
            // One that is left open, and closed.
            wire.execute(statement, true, &[Some("0")]).expect("an answer");
            wire.fetch(statement, 1).expect("a row");
            wire.command(0x19, &statement.id.to_le_bytes()).expect("sent");
            assert_eq!(wire.query("SELECT 1").value(), "1");
        }
        // Nothing binds it any more.
        until("reads on the replica", PATIENCE, || {
            (wire.query("SELECT @@port").value() != stage.primary()).then_some(())
        });
    }
}

/// MySQL cannot run without a cursor what it ran with one first. Who uses cursors and who does not share a statement.
fn t25_with_a_cursor_and_without(stage: &Stage) {
    stage
        .cluster
        .prepare("CREATE TABLE t25_both (n int primary key); INSERT INTO t25_both VALUES (1), (2), (3)");
    for abilities in [0, cap::DEPRECATE_EOF] {
        let mut wire = stage.wire(abilities);
        let mut other = stage.wire(abilities);
        let sql = "SELECT n FROM t25_both WHERE n > ? ORDER BY n";
        let (mine, theirs) = (wire.prepare(sql).expect("prepared"), other.prepare(sql).expect("prepared"));
        for cursor in [true, false, true, false, false, true, true, false] {
            // In a transaction both turns are the same backend's; the next one's is mostly the one just given back.
            wire.query("BEGIN");
            for fetches in [cursor, !cursor] {
                let opened = wire.execute(mine, fetches, &[Some("1")]).expect("an answer");
                let mut rows = opened.rows;
                if fetches {
                    assert_eq!((rows.len(), opened.status & 64), (0, 64));
                    rows = wire.fetch(mine, 9).expect("rows").rows;
                }
                assert_eq!(rows.iter().map(|row| row[2]).collect::<Vec<_>>(), [2, 3], "{cursor} {fetches}");
            }
            wire.query("COMMIT");
            let answer = other.execute(theirs, false, &[Some("2")]).expect("an answer");
            assert_eq!(answer.rows.len(), 1, "{answer:?}");
        }
    }
}

fn t25_out_parameters(stage: &Stage) {
    stage.session().query("CREATE PROCEDURE t25_out(IN a int, OUT b int) BEGIN SELECT a; SET b = a * 2; SELECT a + 1, 5; END").ok();
    for abilities in [0, cap::DEPRECATE_EOF].into_iter().cycle().take(4) {
        let mut wire = stage.wire(abilities);
        wire.command(3, b"CALL t25_out(4, @b)").expect("sent");
        let results = wire.results().expect("results");
        assert_eq!(results.len(), 3, "{results:?}");
        assert_eq!((results[0].value().as_str(), results[1].value().as_str()), ("4", "5"));
        assert_eq!(wire.query("SELECT @b").value(), "8");
        // In the binary protocol OUT parameters come as a result of their own.
        let statement = wire.prepare("CALL t25_out(?, ?)").expect("prepared");
        let first = wire.execute(statement, false, &[Some("6"), Some("0")]).expect("an answer");
        assert_eq!(first.code(), 0, "{first:?}");
        let rest = wire.results().expect("results");
        let out = &rest[rest.len() - 2];
        assert_eq!(out.rows.len(), 1, "{rest:?}");
        assert_eq!(out.rows[0][2], 12, "{rest:?}");
        assert_eq!(wire.query("SELECT 7").value(), "7");
    }
    let mut other = stage.wire(0);
    assert_eq!(other.query("SELECT @b IS NULL").value(), "1");
    // What a procedure does to the session is the session's, however it was called.
    stage.session().query("CREATE PROCEDURE t25_sets() SET @c = 5, @@session.time_zone = '+06:00'").ok();
    for kind in BOTH {
        let mut session = stage.session();
        kind.run(&mut session, "CALL t25_sets()").ok();
        for _ in 0..4 {
            assert_eq!(kind.run(&mut session, "SELECT @c").value(), "5", "{}", kind.name());
            assert_eq!(kind.run(&mut session, "SELECT @@time_zone").value(), "+06:00", "{}", kind.name());
        }
    }
}

/// Whether a client reads EOF packets or OK packets at the end of rows, and changes of state or none.
fn end_of_rows_either_way(stage: &Stage) {
    stage.cluster.prepare("CREATE TABLE ends (n int); INSERT INTO ends VALUES (1), (2)");
    let mut kinds = BTreeSet::new();
    for abilities in [0, cap::DEPRECATE_EOF, cap::SESSION_TRACK, cap::DEPRECATE_EOF | cap::SESSION_TRACK] {
        let abilities = abilities | cap::MULTI_STATEMENTS;
        let mut wire = stage.wire(abilities);
        assert_eq!(wire.abilities & abilities, abilities);
        let rows = wire.query("SELECT n FROM ends");
        assert_eq!(rows.rows.len(), 2);
        kinds.insert(rows.end.len());
        assert_eq!(wire.query("SELECT n FROM ends WHERE n > 5").rows.len(), 0);
        wire.command(3, b"SELECT 1; SELECT n FROM ends; SELECT 3").expect("sent");
        assert_eq!(wire.results().expect("results").len(), 3);
        let statement = wire.prepare("SELECT n FROM ends WHERE n = ?").expect("prepared");
        assert_eq!(wire.execute(statement, false, &[Some("2")]).expect("an answer").rows.len(), 1);
        let set = wire.query("SET time_zone = '+09:00'");
        let told = set.end.windows(9).any(|bytes| bytes == b"time_zone");
        assert_eq!(told, abilities & cap::SESSION_TRACK != 0, "{set:?}");
        assert_eq!(wire.query("SELECT @@time_zone").value(), "+09:00");
        assert_eq!(wire.query("SHOW WARNINGS").rows.len(), 0);
        assert_eq!(wire.query("SELECT ROW_COUNT()").value(), "-1");
        let moved = wire.simple(2, b"app").expect("an answer");
        assert_eq!(moved.code(), 0);
        holds("an answer", PATIENCE, "4".to_owned(), || wire.query("SELECT 4").value());
    }
    assert!(kinds.len() > 1, "{kinds:?}");
}
