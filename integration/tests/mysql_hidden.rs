//! What statements do to their session without a word of it in their text: locks, variables and tables of functions,
//! procedures, triggers and views, and names that are bound to parameters. Their client has it, nobody else does.

use std::time::Duration;

use integration::mysql::{Cluster, Make, Session};
use integration::{Config, PASSWORD, Proxy, holds, until};

const PATIENCE: Duration = Duration::from_secs(60);

struct Stage {
    proxy: Proxy,
    _cluster: Cluster,
}

/// What is made for the cases below, by an administrator.
const MADE: [&str; 27] = [
    "CREATE TABLE app.locked (n int)",
    "CREATE TABLE app.called (n int)",
    "CREATE TABLE app.selected (n int)",
    "CREATE TABLE app.set_by (n int)",
    "CREATE TABLE app.tabled (n int)",
    "CREATE TABLE app.plain (n int)",
    "INSERT INTO app.plain VALUES (1)",
    "CREATE FUNCTION app.f_lock() RETURNS int READS SQL DATA RETURN get_lock('hidden', 1)",
    "CREATE FUNCTION app.f_calls() RETURNS int READS SQL DATA RETURN app.f_lock() + 1",
    "CREATE FUNCTION app.f_set() RETURNS int READS SQL DATA BEGIN SET @hidden = 5; RETURN 1; END",
    "CREATE FUNCTION app.f_into() RETURNS int READS SQL DATA BEGIN SELECT 5 INTO @hidden; RETURN 1; END",
    "CREATE FUNCTION app.f_table() RETURNS int MODIFIES SQL DATA BEGIN CREATE TEMPORARY TABLE hidden (n int); RETURN 1; END",
    "CREATE PROCEDURE app.p_lock() DO get_lock('hidden', 1)",
    "CREATE PROCEDURE app.p_calls() CALL app.p_lock()",
    "CREATE PROCEDURE app.p_dynamic() BEGIN PREPARE s FROM 'DO get_lock(''hidden'', 1)'; EXECUTE s; DEALLOCATE PREPARE s; END",
    "CREATE PROCEDURE app.p_set() SET @hidden = 5",
    "CREATE PROCEDURE app.p_into() SELECT 5 INTO @hidden",
    "CREATE PROCEDURE app.p_dynamic_into() BEGIN PREPARE s FROM 'SELECT 5 INTO @hidden'; EXECUTE s; DEALLOCATE PREPARE s; END",
    "CREATE PROCEDURE app.p_table() CREATE TEMPORARY TABLE hidden (n int)",
    "CREATE PROCEDURE app.p_dynamic_table() BEGIN PREPARE s FROM 'CREATE TEMPORARY TABLE hidden (n int)'; EXECUTE s; DEALLOCATE PREPARE s; END",
    "CREATE TRIGGER app.t_lock BEFORE INSERT ON app.locked FOR EACH ROW DO get_lock('hidden', 1)",
    "CREATE TRIGGER app.t_call BEFORE INSERT ON app.called FOR EACH ROW CALL app.p_lock()",
    "CREATE TRIGGER app.t_into BEFORE INSERT ON app.selected FOR EACH ROW SELECT NEW.n INTO @hidden",
    "CREATE TRIGGER app.t_set BEFORE INSERT ON app.set_by FOR EACH ROW SET @hidden = NEW.n",
    "CREATE TRIGGER app.t_table BEFORE INSERT ON app.tabled FOR EACH ROW CREATE TEMPORARY TABLE hidden (n int)",
    "CREATE VIEW app.v_lock AS SELECT get_lock('hidden', 1) AS got",
    "CREATE VIEW app.v_calls AS SELECT app.f_calls() AS got FROM app.plain",
];

/// What a session can be left with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum What {
    Lock,
    Variable,
    Table,
}

/// Statements that leave something, each on its own.
const LEAVE: [(What, &str); 29] = [
    (What::Lock, "SELECT get_lock(?, 1)"),
    (What::Lock, "DO get_lock(?, 1)"),
    (What::Lock, "SELECT get_lock(concat('hid', 'den'), 1)"),
    (What::Lock, "SELECT f_lock()"),
    (What::Lock, "SELECT f_calls() FROM plain"),
    (What::Lock, "UPDATE plain SET n = n WHERE f_lock() = 1"),
    (What::Lock, "CALL p_lock()"),
    (What::Lock, "CALL p_calls()"),
    (What::Lock, "CALL p_dynamic()"),
    (What::Lock, "INSERT INTO locked VALUES (5)"),
    (What::Lock, "INSERT INTO app.`locked` SELECT n FROM plain"),
    (What::Lock, "INSERT INTO called VALUES (5)"),
    (What::Lock, "SELECT got FROM v_lock"),
    (What::Lock, "SELECT got FROM v_calls"),
    (What::Variable, "SELECT f_set()"),
    (What::Variable, "SELECT f_into()"),
    (What::Variable, "INSERT INTO plain SELECT f_into() FROM plain WHERE n = 77 OR f_into() = 2"),
    (What::Variable, "CALL p_set()"),
    (What::Variable, "CALL p_into()"),
    (What::Variable, "CALL p_dynamic_into()"),
    (What::Variable, "INSERT INTO selected VALUES (5)"),
    (What::Variable, "INSERT INTO set_by VALUES (5)"),
    (What::Variable, "INSERT INTO selected SELECT 5 FROM plain"),
    (What::Variable, "SELECT 5 INTO @hidden"),
    (What::Table, "SELECT f_table()"),
    (What::Table, "CALL p_table()"),
    (What::Table, "CALL p_dynamic_table()"),
    (What::Table, "INSERT INTO tabled VALUES (5)"),
    (What::Table, "CREATE TEMPORARY TABLE hidden (n int)"),
];

impl Stage {
    fn new(make: Make) -> Self {
        let cluster = Cluster::start(make, 1);
        for server in cluster.servers() {
            server.set("log_bin_trust_function_creators", "ON");
        }
        for sql in MADE {
            cluster.primary.sql(sql).ok();
        }
        cluster.settle();
        let config = Config::of_mysql(&cluster)
            .raw("pool_size", "3")
            .text("max_lag", "60s")
            // Who may read the bodies of functions, procedures and triggers.
            .text("probe_user", "admin");
        let stage = Self { proxy: Proxy::start(config), _cluster: cluster };
        until("it serves, and knows the functions", PATIENCE, || {
            let mut session = Session::login(stage.proxy.port(), "app", PASSWORD, "app").ok()?;
            session.try_query("SELECT f_set()").ok().filter(|reply| reply.error.is_none())?;
            let known = &[("reason", "volatile_function")];
            (stage.proxy.metrics().sum("splitpool_statements_total", known) > 0.5).then_some(())
        });
        stage.await_no_pin("the beginning");
        stage
    }

    fn session(&self) -> Session {
        Session::login(self.proxy.port(), "app", PASSWORD, "app").expect("a sign-in")
    }

    #[track_caller]
    fn await_no_pin(&self, what: &str) {
        holds(&format!("pins after {what}"), PATIENCE, 0, || {
            self.proxy.metrics().sum("splitpool_pinned_sessions", &[]).round() as usize
        });
    }

    /// Whether a session that has not made it finds it, on the primary.
    fn finds(&self, what: What, other: &mut Session) -> bool {
        let found = match what {
            // One that holds it already is given it again.
            What::Lock => other.query("SELECT get_lock('hidden', 0)").value() == "1",
            What::Variable => {
                other.query("BEGIN").ok();
                let value = other.value("SELECT @hidden");
                other.query("COMMIT").ok();
                value != "NULL"
            }
            What::Table => other.query("INSERT INTO hidden VALUES (1)").code() != 1146,
        };
        if what == What::Lock && found {
            other.query("SELECT release_lock('hidden')").ok();
        }
        found
    }
}

fn what_no_text_tells(make: Make) {
    let stage = Stage::new(make);
    let mut wrong = Vec::new();
    for prepared in [false, true] {
        for (what, sql) in LEAVE {
            let case = format!("{what:?}: {sql} {}", if prepared { "prepared" } else { "as text" });
            if sql.contains('?') && !prepared {
                continue;
            }
            let mut others: Vec<Session> = (0..3).map(|_| stage.session()).collect();
            let mut one = stage.session();
            let parameters: &[&str] = if sql.contains('?') { &["hidden"] } else { &[] };
            let run = |session: &mut Session, sql: &str, parameters: &[&str]| {
                if prepared { session.execute(sql, parameters) } else { session.query(sql) }
            };
            let told = run(&mut one, sql, parameters);
            if told.error.is_some() {
                wrong.push(format!("{case}: {told:?}"));
                continue;
            }
            for round in 0..3 {
                // They come over all other backends.
                for other in &mut others {
                    if stage.finds(what, other) {
                        wrong.push(format!("{case}: another client has it, round {round}"));
                    }
                }
                let own = match what {
                    What::Lock => one.value("SELECT is_used_lock('hidden') = connection_id()"),
                    What::Variable => one.value("SELECT @hidden = 5"),
                    What::Table => (one.query("INSERT INTO hidden VALUES (1)").code() == 0).to_string(),
                };
                if !["1", "true"].contains(&own.as_str()) {
                    wrong.push(format!("{case}: its own client has it no more: {own}, round {round}"));
                }
                one.query("UPDATE plain SET n = n").ok();
            }
            // It ends as it began, and with it what it bound.
            match what {
                What::Lock if sql.contains('?') || sql.contains("concat") => {
                    one.query("SELECT release_all_locks()").ok();
                }
                What::Lock => while run(&mut one, "SELECT release_lock('hidden')", &[]).value() == "1" {},
                What::Variable => drop(one.query("SET @hidden = NULL").ok()),
                What::Table => drop(one.query("DROP TEMPORARY TABLE hidden")),
            }
            // What stands in a text that is put together when it runs, nobody can know.
            if !sql.contains("dynamic") {
                stage.await_no_pin(&case);
            }
            drop(one);
            for other in &mut others {
                // A lock is to be had again.
                if stage.finds(what, other) != (what == What::Lock) {
                    wrong.push(format!("{case}: it outlived its client"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn mariadb_what_no_text_tells() {
    what_no_text_tells(Make::MariaDb);
}

#[test]
fn mysql_what_no_text_tells() {
    what_no_text_tells(Make::MySql);
}
