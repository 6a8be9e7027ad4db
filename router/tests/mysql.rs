//! MySQL's and MariaDB's dialect: the routes of the corpus that the end-to-end tests run, and what quotes, modes and
//! comments make of a text.

use std::fs;
use std::path::Path;

use router::{
    Catalog, CatalogBuilder, Context, Dialect, Effects, Kind, Lexing, Limits, Reason, Route, Router, Target,
};

const ANSI: Lexing = Lexing { trusted: true, ansi_quotes: true, backslash_escapes: true };
const PLAIN_BACKSLASH: Lexing = Lexing { trusted: true, ansi_quotes: false, backslash_escapes: false };

fn router() -> Router {
    Router::new(Dialect::Mysql, Limits::default(), Vec::new())
}

/// What the reader of the catalog finds in the corpus's schema.
fn catalog() -> Catalog {
    let mut catalog = CatalogBuilder::new();
    catalog.add_routine("app", "pure", true, false);
    catalog.add_routine("app", "Counted", true, false);
    catalog.add_routine("app", "Writes", false, true);
    catalog.add_routine("app", "proc", false, true);
    catalog.add_suspect("calling");
    catalog.add_suspect("calling_deeper");
    catalog.add_suspect("odd-view name");
    // A name that one version has as a built-in function.
    catalog.add_routine("app", "UUID_TO_BIN", false, false);
    catalog.build()
}

fn route(text: &str, lexing: Lexing, catalog: &Catalog) -> Route {
    let router = router();
    let (plan, first) = router.route(text.as_bytes(), lexing, &Context { catalog, strong: false });
    let (again, second) = router.route(text.as_bytes(), lexing, &Context { catalog, strong: false });
    assert_eq!((plan, first), (again, second), "memory must not change a route: {text}");
    first
}

#[test]
fn the_corpus_holds() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../integration/tests/routing/mysql_corpus.txt");
    let corpus = fs::read_to_string(file).expect("the corpus");
    let catalog = catalog();
    let (mut wrong, mut count) = (Vec::new(), 0);
    for (number, line) in corpus.lines().enumerate() {
        let Some((wanted, sql)) =
            line.split_once(' ').filter(|(wanted, _)| matches!(*wanted, "R" | "P" | "E"))
        else {
            continue;
        };
        count += 1;
        // A remark to the end of the line is tried with a statement behind it.
        let text = match wanted {
            "R" if sql.starts_with(['#', '-']) => format!("{sql}\nSELECT 1"),
            "P" if sql.starts_with(['#', '-']) => format!("{sql}\nDELETE FROM scratchpad"),
            _ => sql.to_owned(),
        };
        let route = route(&text, Lexing::TRUSTED, &catalog);
        let right = match wanted {
            "R" => route.target == Target::Replica,
            "P" => route.target != Target::Replica,
            _ => true,
        };
        if !right {
            wrong.push(format!(
                "line {}: wanted {wanted}, is {:?} @{}: {sql}",
                number + 1,
                route.target,
                route.reason
            ));
        }
    }
    assert!(count >= 200, "{count} statements");
    assert!(wrong.is_empty(), "{} wrong\n{}", wrong.len(), wrong.join("\n"));
}

/// `text`, where it goes, and what it may leave behind, in the order of the set.
fn check(cases: &[(&str, Target, Reason, &str)]) {
    let catalog = catalog();
    for (text, target, reason, effects) in cases {
        let route = route(text, Lexing::TRUSTED, &catalog);
        let found: Vec<&str> = route.effects.iter().map(|(_, name)| name).collect();
        assert_eq!(
            (route.target, route.reason, found.join(" ").as_str()),
            (*target, *reason, *effects),
            "{text}"
        );
    }
}

#[test]
fn what_statements_leave_behind() {
    use Reason::*;
    use Target::{Any, Primary, Replica};
    check(&[
        ("SELECT 1", Replica, Read, ""),
        ("SET @a = 1", Any, Session, "user_variables"),
        ("SET @a := 1, @b = 2", Any, Session, "user_variables"),
        ("SET sql_mode = ''", Any, Session, "settings"),
        ("SET sql_mode := ''", Any, Session, "settings"),
        ("SET @@session.time_zone = '+00:00', @a = 1", Any, Session, "settings user_variables"),
        ("SET time_zone = (SELECT @a := 'x')", Primary, Session, "settings user_variables"),
        ("SET @a = (SELECT MAX(id) FROM accounts)", Primary, Session, "user_variables"),
        ("SET @a = writes(1)", Primary, Session, "unknown user_variables"),
        ("SET autocommit = 0", Any, Session, "settings"),
        ("SET NAMES utf8mb4 COLLATE utf8mb4_bin", Any, Session, "settings"),
        ("SET CHARACTER SET latin1", Any, Session, "settings"),
        ("SET GLOBAL max_connections = 5", Primary, Maintenance, ""),
        ("SET @@global.max_connections = 5, sql_mode = ''", Primary, Maintenance, "settings"),
        ("SET PERSIST max_connections = 5", Primary, Maintenance, ""),
        ("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED", Any, Session, "settings"),
        ("SET GLOBAL TRANSACTION READ ONLY", Primary, Maintenance, ""),
        ("SET TRANSACTION READ ONLY", Any, TransactionControl, "next_transaction"),
        ("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", Any, TransactionControl, "next_transaction"),
        ("SET ROLE admin", Primary, Maintenance, "settings unknown"),
        ("USE app", Any, Session, "settings"),
        ("SELECT @a := 1", Primary, UserVariable, "user_variables"),
        ("SELECT id INTO @a FROM accounts", Primary, SelectInto, "user_variables"),
        ("SELECT 1 INTO OUTFILE '/x'", Primary, SelectInto, ""),
        ("SELECT @a", Replica, Read, ""),
        ("SELECT GET_LOCK('a', 1)", Primary, AdvisoryLock, "advisory_lock"),
        ("SELECT RELEASE_LOCK('a')", Primary, AdvisoryLock, "discard"),
        ("SELECT SQL_CALC_FOUND_ROWS 1", Primary, LastResult, "found_rows"),
        ("SELECT LAST_INSERT_ID(7)", Primary, LastResult, "last_insert_id"),
        ("SELECT id FROM accounts FOR UPDATE", Primary, Locking, "locks"),
        ("SELECT id FROM accounts LOCK IN SHARE MODE", Primary, Locking, "locks"),
        ("LOCK TABLES a READ", Primary, Locking, "table_lock"),
        ("UNLOCK TABLES", Primary, Locking, "discard"),
        ("FLUSH TABLES WITH READ LOCK", Primary, Maintenance, "table_lock"),
        ("CREATE TEMPORARY TABLE t (n int)", Primary, Ddl, "temp_table ddl"),
        ("CREATE OR REPLACE TEMPORARY TABLE t SELECT 1", Primary, Ddl, "temp_table ddl"),
        ("/* x */ CREATE /* y */ TEMPORARY TABLE t (n int)", Primary, Ddl, "temp_table ddl"),
        ("CREATE TABLE t (n int, KEY k (n))", Primary, Ddl, "ddl"),
        ("CREATE TABLE t AS SELECT other(1)", Primary, Ddl, "unknown ddl"),
        ("DROP TEMPORARY TABLE t", Primary, Ddl, "ddl discard"),
        ("INSERT INTO t (a, b) VALUES (1, NOW())", Primary, Write, ""),
        ("INSERT t (a) VALUES (1)", Primary, Write, ""),
        ("INSERT INTO db.t (a) VALUES (other(1))", Primary, Write, "unknown"),
        ("INSERT INTO t SELECT other(1)", Primary, Write, "unknown"),
        ("INSERT INTO t (a) SELECT 1 FROM u WHERE b IN (1)", Primary, Write, ""),
        ("UPDATE t SET a = (@x := 1)", Primary, Write, "user_variables"),
        ("PREPARE s FROM 'x'", Primary, SqlPrepared, "sql_prepare"),
        ("DEALLOCATE PREPARE s", Any, SqlPrepared, "sql_prepare discard"),
        ("DROP PREPARE s", Any, SqlPrepared, "sql_prepare discard"),
        ("EXECUTE s", Primary, SqlPrepared, "unknown"),
        ("HANDLER t OPEN", Primary, Cursor, "handler"),
        ("HANDLER t CLOSE", Primary, Cursor, "discard handler"),
        ("CALL p(1)", Primary, Procedure, "unknown"),
        ("XA START 'a'", Primary, TransactionControl, "xa"),
        ("XA COMMIT 'a'", Primary, TransactionControl, "discard xa"),
        ("EXPLAIN DELETE FROM t", Primary, Write, ""),
        ("SELECT other(1)", Primary, UnknownFunction, "unknown"),
        ("SELECT writes(1)", Primary, VolatileFunction, "unknown"),
        ("SELECT UUID_TO_BIN('x')", Primary, UnsafeRelation, ""),
        ("SELECT * FROM `odd-view name`", Primary, UnsafeRelation, ""),
    ]);
}

#[test]
fn transactions_are_told_apart() {
    let router = router();
    let catalog = Catalog::unknown();
    let cases = [
        ("BEGIN", Kind::Begin { read_only: false, serializable: false }, Target::Primary),
        ("begin work", Kind::Begin { read_only: false, serializable: false }, Target::Primary),
        ("START TRANSACTION", Kind::Begin { read_only: false, serializable: false }, Target::Primary),
        (
            "START TRANSACTION READ ONLY",
            Kind::Begin { read_only: true, serializable: false },
            Target::Replica,
        ),
        (
            "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
            Kind::Begin { read_only: true, serializable: false },
            Target::Replica,
        ),
        (
            "START TRANSACTION READ WRITE",
            Kind::Begin { read_only: false, serializable: false },
            Target::Primary,
        ),
        ("COMMIT AND CHAIN", Kind::Commit, Target::Any),
        ("ROLLBACK", Kind::Rollback, Target::Any),
        ("ROLLBACK WORK TO SAVEPOINT a", Kind::TransactionOther, Target::Any),
        ("SAVEPOINT a", Kind::TransactionOther, Target::Any),
        ("RELEASE SAVEPOINT a", Kind::TransactionOther, Target::Any),
        ("START SLAVE", Kind::Write, Target::Primary),
        ("BEGIN NOT ATOMIC SELECT 1; END", Kind::Write, Target::Primary),
        ("/*!40101 COMMIT */", Kind::Commit, Target::Any),
    ];
    for (text, kind, target) in cases {
        let (plan, route) =
            router.route(text.as_bytes(), Lexing::TRUSTED, &Context { catalog: &catalog, strong: false });
        assert_eq!((plan.kind, route.target), (kind, target), "{text}");
    }
}

#[test]
fn what_the_statement_before_left_is_asked_for() {
    let router = router();
    for (text, asks) in [
        ("SELECT LAST_INSERT_ID()", true),
        ("SELECT 1; SELECT ROW_COUNT()", true),
        ("INSERT INTO t VALUES (LAST_INSERT_ID())", true),
        ("SHOW WARNINGS LIMIT 5", true),
        ("GET DIAGNOSTICS CONDITION 1 @a = MESSAGE_TEXT", true),
        ("SELECT @@identity", true),
        ("SELECT FOUND_ROWS()", true),
        ("SET @a = LAST_INSERT_ID()", true),
        ("SET @@last_insert_id = 5", false),
        ("SELECT last_insert_id FROM t", false),
        ("SHOW TABLES", false),
    ] {
        assert_eq!(router.plan(text.as_bytes(), Lexing::TRUSTED).reads_last, asks, "{text}");
    }
}

#[test]
fn modes_change_what_quotes_are() {
    let catalog = catalog();
    // The text, and whether it is a read by default, with ANSI_QUOTES, and with NO_BACKSLASH_ESCAPES.
    let cases = [
        (r#"SELECT "writes"(1)"#, false, false, false),
        (r#"SELECT "a" FROM accounts"#, true, true, true),
        (r#"SELECT "it\"; DELETE FROM t; -- ""#, true, false, false),
        (r"SELECT 'a\'; DELETE FROM t; -- '", true, true, false),
        (r"SELECT 'a\', 'b; DELETE FROM t; -- '", false, false, true),
        (r"SELECT '\\'", true, true, true),
        (r#"SELECT "a`", 1 FOR UPDATE -- `""#, false, false, false),
    ];
    for (text, usual, ansi, plain) in cases {
        for (lexing, read) in [(Lexing::TRUSTED, usual), (ANSI, ansi), (PLAIN_BACKSLASH, plain)] {
            assert_eq!(route(text, lexing, &catalog).target == Target::Replica, read, "{text} {lexing:?}");
        }
        assert_eq!(route(text, Lexing::trusted(false), &catalog).target, Target::Primary, "{text}");
    }
}

#[test]
fn comments_that_some_versions_run_are_read_both_ways() {
    let catalog = Catalog::unknown();
    for (text, read) in [
        ("SELECT /*!40001 SQL_NO_CACHE */ 1", true),
        ("SELECT 1 /*!50000 FOR UPDATE */", false),
        ("/*!99999 SELECT 1 */ DELETE FROM t", false),
        ("DELETE /*!99999 */ FROM t", false),
        ("SELECT 1 /*!99999 -- */ DELETE", false),
        ("SELECT 1 /*!99999 # */ FOR UPDATE", false),
        ("SELECT 1 /*!99999 ' */ FOR UPDATE -- '", false),
        ("SELECT 1 /*!99999 /* */ FOR UPDATE /* */ */", false),
        ("SELECT /*!99999 'a', */ 1", true),
        ("SELECT /*!99999 ( */ 1 )", false),
        ("SELECT 1 /*!1234 1 */", false),
        ("SELECT f/*!50000 ( */ 1 /*!50000 ) */", false),
        ("SELECT 1 /*!50000 */", true),
        ("SELECT 1 /*!*/", true),
        ("SELECT 1 /*!", false),
        ("SELECT 1 /*/ FOR UPDATE */", true),
        ("SELECT 1 /**/ FOR UPDATE", false),
    ] {
        assert_eq!(route(text, Lexing::TRUSTED, &catalog).target == Target::Replica, read, "{text}");
    }
}

#[test]
fn hints_count() {
    let catalog = catalog();
    for (text, target, reason) in [
        ("/* splitpool: primary */ SELECT 1", Target::Primary, Reason::Hint),
        ("SELECT 1 -- splitpool: primary", Target::Primary, Reason::Hint),
        ("SELECT 1 # splitpool: primary", Target::Primary, Reason::Hint),
        ("/* splitpool: replica */ SELECT other(1)", Target::Replica, Reason::Hint),
        ("/* splitpool: replica */ SELECT writes(1)", Target::Primary, Reason::VolatileFunction),
        ("/* splitpool: replica */ DELETE FROM t", Target::Primary, Reason::Write),
    ] {
        let route = route(text, Lexing::TRUSTED, &catalog);
        assert_eq!((route.target, route.reason), (target, reason), "{text}");
    }
}

#[test]
fn what_a_replica_refused_is_a_write_from_then_on() {
    let router = router();
    let catalog = catalog();
    let target = |text: &str| {
        router.route(text.as_bytes(), Lexing::TRUSTED, &Context { catalog: &catalog, strong: false }).1.target
    };
    assert_eq!(target("SELECT counted(1)"), Target::Replica);
    router.learn(b"SELECT counted(1)");
    assert_eq!(target("select  counted( 25 ) # x"), Target::Primary);
    assert_eq!(target("SELECT pure(1)"), Target::Replica);
}

#[test]
fn an_unknown_effect_is_never_nothing() {
    let catalog = Catalog::unknown();
    for text in ["FROBNICATE", "SELECT 'a", "SELECT f(1)", "CALL x", "EXECUTE s", "'"] {
        assert!(route(text, Lexing::TRUSTED, &catalog).effects.contains(Effects::UNKNOWN), "{text}");
    }
}
