//! Query attributes reach the statement that they were sent with, on whichever server it runs.

use std::process::Stdio;
use std::time::Duration;

use integration::mysql::wire::{Wire, cap};
use integration::mysql::{Cluster, Make};
use integration::{Config, PASSWORD, Proxy, until};

const PATIENCE: Duration = Duration::from_secs(60);

const ABILITIES: u64 =
    cap::CONNECT_WITH_DB | cap::QUERY_ATTRIBUTES | cap::MULTI_STATEMENTS | cap::DEPRECATE_EOF;

struct Stage {
    cluster: Cluster,
    proxy: Proxy,
}

/// A cluster whose servers can show attributes, where they have any.
fn stage(make: Make, replicas: usize) -> Stage {
    let cluster = Cluster::start(make, replicas);
    if make == Make::MySql {
        // Each server has components of its own, and no history of them.
        for server in cluster.servers() {
            server.set_read_only(false);
            let installed = server
                .admin()
                .query("SET sql_log_bin = 0; INSTALL COMPONENT 'file://component_query_attributes'");
            assert_eq!(installed.code(), 0, "{installed:?}");
            server.set_read_only(server.name() != "primary");
        }
    }
    let proxy = Proxy::start(Config::of_mysql(&cluster));
    let mut missing: Vec<String> = cluster.servers().map(|server| server.port().to_string()).collect();
    until("every server serves", PATIENCE, || {
        let mut wire = Wire::login(proxy.port(), ABILITIES, 45).ok()?;
        for sql in ["SELECT @@port", "BEGIN", "SELECT @@port"] {
            let outcome = wire.query(sql);
            (outcome.code() == 0).then_some(())?;
            missing.retain(|port| outcome.rows.is_empty() || *port != outcome.value());
        }
        missing.is_empty().then_some(())
    });
    Stage { cluster, proxy }
}

impl Stage {
    fn wire(&self, abilities: u64) -> Wire {
        Wire::login(self.proxy.port(), abilities, 45).expect("a sign-in")
    }
}

const WHO: &str = "SELECT mysql_query_attribute_string('who')";

#[test]
fn attributes_reach_their_statement() {
    let stage = stage(Make::MySql, 1);
    let mut wire = stage.wire(ABILITIES);
    assert!(wire.abilities & cap::QUERY_ATTRIBUTES != 0);
    assert_eq!(wire.query_with(WHO, &[("who", "me")]).value(), "me");
    assert_eq!(wire.query_with(WHO, &[("other", "x"), ("who", ""), ("", "y")]).value(), "");
    // Those of one statement are not those of the next, nor of another client.
    assert_eq!(wire.query(WHO).value(), "NULL");
    let mut plain = stage.wire(ABILITIES & !cap::QUERY_ATTRIBUTES);
    assert!(plain.abilities & cap::QUERY_ATTRIBUTES == 0);
    assert_eq!(plain.query(WHO).value(), "NULL");
    // A read with attributes is a read.
    let mark = stage.cluster.mark();
    let replica = stage.cluster.replicas[0].port().to_string();
    let read = "SELECT @@port /* a read with attributes */";
    assert_eq!(wire.query_with(read, &[("who", "me")]).value(), replica);
    assert_eq!(
        stage.cluster.servers_that_ran("a read with attributes", &mark),
        [stage.cluster.replicas[0].name()]
    );
    let mark = stage.cluster.mark();
    stage.cluster.prepare("CREATE TABLE t (id int AUTO_INCREMENT PRIMARY KEY, v varchar(100))");
    let insert = format!("INSERT INTO t (v) {WHO} /* a write with attributes */");
    assert_eq!(wire.query_with(&insert, &[("who", "writer")]).insert_id, 1);
    assert_eq!(stage.cluster.servers_that_ran("a write with attributes", &mark), ["primary"]);
    assert_eq!(wire.query("SELECT v FROM t").value(), "writer");
    // What is asked on the session's behalf has none, and is understood: settings, temporary tables, ids, warnings.
    wire.query("SET sql_mode = 'ANSI', @mine = 5; CREATE TEMPORARY TABLE mine (n int)");
    let own = "SELECT concat(@@sql_mode LIKE '%ANSI%', @mine, LAST_INSERT_ID(), (SELECT count(*) FROM mine))";
    assert_eq!(wire.query_with(own, &[("who", "me")]).value(), "1510");
    wire.query_with("SELECT 1 / 0, CAST('x' AS SIGNED)", &[("who", "me")]);
    assert!(wire.query_with("SHOW WARNINGS", &[("who", "me")]).cells(0)[1].is_some());
    assert_eq!(wire.query_with("SELECT nothing", &[("who", "me")]).code(), 1054);
    assert_eq!(wire.query_with("SELECT row_count()", &[("who", "me")]).value(), "-1");
    // Texts of every length: gathered, streamed, and in several packets.
    for len in [1_000, 300_000, (1 << 24) - 1, 17 << 20] {
        let text = format!("SELECT length('{}'), mysql_query_attribute_string('who')", "x".repeat(len));
        let outcome = wire.query_with(&text, &[("who", "me")]);
        assert_eq!(outcome.value(), len.to_string());
        assert_eq!(outcome.cells(0)[1].as_deref(), Some("me"), "{len}");
    }
    // What is malformed is the database's to refuse; others are served on.
    for bad in [&b"\x03\x01\x05\0SELECT 1"[..], b"\xfb\x01SELECT 1", b"\0\x07SELECT 1", b"\x01"] {
        let mut wire = stage.wire(ABILITIES);
        wire.command(3, bad).expect("it is open");
        if let Ok(outcome) = wire.result() {
            assert_ne!(outcome.code(), 0, "{bad:?}");
        }
    }
    assert_eq!(plain.query("SELECT 7").value(), "7");
}

#[test]
fn attributes_of_prepared_statements() {
    let stage = stage(Make::MySql, 1);
    let mut wire = stage.wire(ABILITIES);
    let value = |row: &[u8]| String::from_utf8_lossy(&row[2..]).into_owned();
    let bare = wire.prepare(WHO).expect("a preparation");
    let both = wire.prepare("SELECT concat(?, mysql_query_attribute_string('who'))").expect("a preparation");
    for round in ["a", "b"] {
        let outcome = wire.execute_with(bare, &[], &[("who", round)], true).expect("an answer");
        assert_eq!(value(&outcome.rows[0]), format!("\u{1}{round}"));
        let outcome = wire.execute_with(both, &["p"], &[("who", round)], true).expect("an answer");
        assert_eq!(value(&outcome.rows[0]), format!("\u{2}p{round}"));
    }
    // Types may be left out once they were told, also on a server that has not seen them, and also
    // where attributes were told with them.
    let read = wire.prepare("SELECT concat(?, '/', @@port)").expect("a preparation");
    let told = wire.execute_with(read, &["first"], &[("who", "me")], true).expect("an answer");
    assert_eq!(told.code(), 0, "{told:?}");
    let replica = stage.cluster.replicas[0].port().to_string();
    let primary = stage.cluster.primary.port().to_string();
    for on in [&replica, &primary, &replica] {
        if *on == primary {
            wire.query("BEGIN");
        }
        let outcome = wire.execute_with(read, &["again"], &[], false).expect("an answer");
        assert_eq!(outcome.code(), 0, "{outcome:?}");
        assert_eq!(value(&outcome.rows[0])[1..], format!("again/{on}"));
        if *on == primary {
            wire.query("COMMIT");
        }
    }
}

#[test]
fn mysqls_own_shell_sends_them() {
    let stage = stage(Make::MySql, 0);
    let mut command = Make::MySql.program("mysql");
    command.args(["--no-defaults", "--host=127.0.0.1", "--protocol=tcp", "--user=app", "-N", "-B"]);
    command.arg(format!("--port={}", stage.proxy.port())).arg(format!("--password={PASSWORD}"));
    let sql =
        format!("query_attributes who me and_more x\n{WHO};\n{WHO};\nquery_attributes who you\n{WHO};\n");
    let mut child = command
        .arg("--commands")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a shell");
    std::io::Write::write_all(&mut child.stdin.take().expect("a pipe"), sql.as_bytes()).expect("it reads");
    let out = child.wait_with_output().expect("a shell");
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    // It forgets them with each statement.
    assert_eq!(said, "me\nNULL\nyou\n", "{}", String::from_utf8_lossy(&out.stderr));
}

#[test]
fn where_databases_have_none_none_are_agreed_on() {
    let stage = stage(Make::MariaDb, 0);
    let mut wire = stage.wire(ABILITIES);
    assert!(wire.abilities & cap::QUERY_ATTRIBUTES == 0);
    assert_eq!(wire.query_with("SELECT 5", &[("who", "me")]).value(), "5");
}
