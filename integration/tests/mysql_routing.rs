//! Where statements run on MariaDB and MySQL, by the servers' own general logs.
//!
//! The corpus in `routing/mysql_corpus.txt` is run through the proxy, as texts and as prepared statements: every
//! statement must reach exactly one server, and the right one.

use std::collections::BTreeSet;
use std::time::Duration;

use integration::mysql::{Cluster, Make, Session};
use integration::{Config, PASSWORD, Proxy, until};

const CORPUS: &str = include_str!("routing/mysql_corpus.txt");
const SCHEMA: &str = include_str!("routing/mysql_schema.sql");

struct Stage {
    proxy: Proxy,
    cluster: Cluster,
}

impl Stage {
    fn start(make: Make) -> Self {
        let cluster = Cluster::start(make, 2);
        // A statement a line: bodies have semicolons of their own.
        for statement in SCHEMA.lines().filter(|line| !line.is_empty()) {
            cluster.primary.sql(statement.trim_end_matches(';')).ok();
        }
        // The reader of the catalog may see everything.
        cluster.primary.sql("GRANT SELECT, SHOW VIEW, EXECUTE ON app.* TO probe@'%'").ok();
        if make == Make::MySql {
            cluster.primary.sql("GRANT SHOW_ROUTINE ON *.* TO probe@'%'").ok();
        } else {
            cluster.primary.sql("GRANT SELECT ON mysql.proc TO probe@'%'").ok();
        }
        cluster.settle();
        // Where a statement goes is asked here; when a replica is fresh enough is asked elsewhere.
        let config = Config::of_mysql(&cluster).text("consistency", "eventual").text("max_lag", "60s");
        let proxy = Proxy::start(config);
        let stage = Self { proxy, cluster };
        stage.await_replicas();
        stage
    }

    fn session(&self) -> Session {
        Session::login(self.proxy.port(), "app", PASSWORD, "app")
            .unwrap_or_else(|error| panic!("{error}\n{}", self.proxy.log()))
    }

    /// Waits until each replica serves reads, and until functions are known.
    fn await_replicas(&self) {
        let wanted: BTreeSet<String> =
            self.cluster.replicas.iter().map(|replica| replica.port().to_string()).collect();
        let mut seen = BTreeSet::new();
        until("each replica serves", Duration::from_secs(60), || {
            let mut session = Session::login(self.proxy.port(), "app", PASSWORD, "app").ok()?;
            seen.insert(session.try_query("SELECT @@port").ok()?.value());
            wanted.is_subset(&seen).then_some(())
        });
        until("functions are known", Duration::from_secs(60), || {
            let port = self.session().try_query("SELECT @@port + pure(0) - 1").ok()?.value();
            wanted.contains(&port).then_some(())
        });
    }

    /// The corpus as texts or as prepared statements; what went wrong, a line each.
    fn judge(&self, prepared: bool) -> Vec<String> {
        let name = if prepared { "prepared" } else { "text" };
        let (mut wrong, mut seen) = (Vec::new(), 0);
        for (number, line) in CORPUS.lines().enumerate() {
            let Some((wanted, sql)) =
                line.split_once(' ').filter(|(wanted, _)| matches!(*wanted, "R" | "P" | "E"))
            else {
                continue;
            };
            // What the server does not parse is never run, and so in no log as an execution.
            let has_several = sql.trim_end_matches([';', ' ']).contains(';');
            if prepared && (has_several || number > 0 && wanted == "P" && is_broken(sql)) {
                continue;
            }
            seen += 1;
            let tag = format!("/* case {} {name} */", number + 1);
            // A remark to the end of the line, or a quote that is not closed, would swallow the tag.
            let text = match (sql, wanted) {
                (sql, "R") if sql.starts_with(['#', '-']) => format!("{sql}\nSELECT 1 {tag}"),
                (sql, _) if sql.starts_with(['#', '-']) => format!("{sql}\nDELETE FROM scratchpad {tag}"),
                (sql, _) => format!("{tag} {sql}"),
            };
            let mark = self.cluster.mark();
            let mut session = self.session();
            let ran = if prepared { session.try_execute(&text, &[]) } else { session.try_query(&text) };
            let mut places = self.cluster.servers_that_ran(&tag, &mark);
            let failure = match &ran {
                Ok(reply) => reply.error.as_ref().map(ToString::to_string).unwrap_or_default(),
                Err(_) => String::new(),
            };
            if let Err(error) = ran {
                // `RESET`, `KILL` and the like may end the session; a file asked of the client does.
                places.sort_unstable();
                wrong.push(format!("line {}: no answer ({error}), ran on {places:?}: {sql}", number + 1));
                continue;
            }
            // The driver learns that some cannot be prepared, and nothing is run then.
            if prepared && places.is_empty() {
                continue;
            }
            let right = match (wanted, places.as_slice()) {
                ("P", ["primary"]) => true,
                ("R", [one]) => one.starts_with("replica"),
                ("E", [_]) => true,
                _ => false,
            };
            if !right {
                wrong.push(format!(
                    "line {}: wanted {wanted}, ran on {places:?}: {sql} {failure}",
                    number + 1
                ));
            }
        }
        assert!(seen >= 150, "only {seen} statements");
        wrong
    }
}

/// Ends within a quote or a comment.
fn is_broken(sql: &str) -> bool {
    sql.contains("unterminated")
}

fn check(make: Make, prepared: bool) {
    let stage = Stage::start(make);
    let wrong = stage.judge(prepared);
    assert!(wrong.is_empty(), "{} wrong\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn mariadb_corpus_as_texts() {
    check(Make::MariaDb, false);
}

#[test]
fn mariadb_corpus_prepared() {
    check(Make::MariaDb, true);
}

#[test]
fn mysql_corpus_as_texts() {
    check(Make::MySql, false);
}

#[test]
fn mysql_corpus_prepared() {
    check(Make::MySql, true);
}

/// Runs statements in one session; who ran each, without the number of the replica.
fn places(stage: &Stage, statements: &[&str]) -> Vec<String> {
    let mut session = stage.session();
    let number = session.id();
    let place = |(at, sql): (usize, &&str)| {
        let tag = format!("/* place {number} {at} */");
        let mark = stage.cluster.mark();
        session.query(&format!("{tag} {sql}"));
        let ran = stage.cluster.servers_that_ran(&tag, &mark);
        if let [one] = ran.as_slice() { one.replace(['1', '2'], "") } else { format!("{ran:?}") }
    };
    statements.iter().enumerate().map(place).collect()
}

const READ: &str = "SELECT balance FROM accounts WHERE id = 9";
const WRITE: &str = "UPDATE accounts SET balance = balance + 1 WHERE id = 9";

fn transactions_stay_where_they_belong(make: Make) {
    let stage = Stage::start(make);
    let check = |statements: &[&str], expected: &[(usize, &str)]| {
        let ran = places(&stage, statements);
        for (at, place) in expected {
            assert_eq!(ran[*at], *place, "{statements:?} ran on {ran:?}");
        }
    };
    for begin in ["BEGIN", "begin work", "START TRANSACTION", "START TRANSACTION WITH CONSISTENT SNAPSHOT"] {
        check(
            &[begin, READ, WRITE, READ, "COMMIT", READ],
            &[(1, "primary"), (2, "primary"), (3, "primary"), (5, "replica")],
        );
    }
    check(
        &["START TRANSACTION READ ONLY", READ, READ, "COMMIT", WRITE],
        &[(1, "replica"), (2, "replica"), (4, "primary")],
    );
    // Without autocommit every statement begins a transaction.
    check(
        &["SET autocommit = 0", READ, WRITE, READ, "COMMIT", READ, "COMMIT", "SET autocommit = 1", READ],
        &[(1, "primary"), (2, "primary"), (3, "primary"), (5, "primary"), (8, "replica")],
    );
    // A definition commits what came before it.
    check(
        &["BEGIN", WRITE, "CREATE TABLE implied (n int)", "DROP TABLE implied", READ],
        &[(1, "primary"), (4, "replica")],
    );
    check(
        &["BEGIN", READ, "SAVEPOINT a", WRITE, "ROLLBACK TO a", READ, "ROLLBACK", READ],
        &[(1, "primary"), (5, "primary"), (7, "replica")],
    );
    // What holds for the next transaction does not hold for the one after it.
    let mut session = stage.session();
    session.query("SET TRANSACTION READ ONLY").ok();
    session.query("START TRANSACTION").ok();
    assert_eq!(session.query(WRITE).code(), 1792);
    session.query("ROLLBACK").ok();
    session.query("START TRANSACTION").ok();
    session.query(WRITE).ok();
    session.query("COMMIT").ok();
}

fn functions_are_known_as_they_are_made(make: Make) {
    let stage = Stage::start(make);
    let count = || stage.cluster.primary.value("SELECT count(*) FROM calls");
    let before: u64 = count().parse().expect("a number");
    stage.session().query("CREATE FUNCTION turning() RETURNS int DETERMINISTIC NO SQL RETURN 1").ok();
    until("it is known to read", Duration::from_secs(60), || {
        (places(&stage, &["SELECT turning()"]) == ["replica"]).then_some(())
    });
    let mut session = stage.session();
    session.query("DROP FUNCTION turning").ok();
    session
        .query("CREATE FUNCTION turning() RETURNS int MODIFIES SQL DATA BEGIN INSERT INTO calls VALUES (1); RETURN 1; END")
        .ok();
    for _ in 0..10 {
        assert_eq!(session.query("SELECT turning()").code(), 0);
        assert_eq!(stage.session().query("SELECT turning()").code(), 0);
    }
    assert_eq!(count(), (before + 20).to_string(), "each ran once");
}

#[test]
fn mariadb_transactions() {
    transactions_stay_where_they_belong(Make::MariaDb);
}

#[test]
fn mysql_transactions() {
    transactions_stay_where_they_belong(Make::MySql);
}

#[test]
fn mariadb_functions() {
    functions_are_known_as_they_are_made(Make::MariaDb);
}

#[test]
fn mysql_functions() {
    functions_are_known_as_they_are_made(Make::MySql);
}
