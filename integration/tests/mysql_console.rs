//! The console on MySQL's port: what operators command there, and the tables of ProxySQL's that agents read.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use integration::mysql::{Cluster, Make, Server, Session};
use integration::paths::{in_path, target};
use integration::{Config, PASSWORD, Proxy, holds, until};
use mysql_async::prelude::Queryable;

const SOON: Duration = Duration::from_secs(60);

/// What must not be seen anywhere.
const CANARY: &str = "canary-51c9";

struct Stage {
    cluster: Cluster,
    proxy: Proxy,
}

impl Stage {
    fn start(make: Make) -> Self {
        let cluster = Cluster::start(make, 1);
        let mut config = Config::of_mysql(&cluster).text("consistency", "eventual").text("max_lag", "60s");
        for (name, right) in
            [("boss", "admin = true"), ("viewer", "stats = true"), ("agent", "stats = true\nconsole = true")]
        {
            config.extra.push_str(&format!("\n[users.{name}]\npassword = \"{PASSWORD}\"\n{right}\n"));
        }
        let proxy = Proxy::start(config);
        let stage = Self { cluster, proxy };
        until("both serve reads", Duration::from_secs(60), || {
            let mut session = stage.session("viewer", "splitpool");
            let rows = table(&mut session, "SHOW REPLICAS");
            rows.iter().all(|row| row["eligible"] == "1" || row["reason"] == "primary").then_some(())
        });
        stage
    }

    fn session(&self, user: &str, database: &str) -> Session {
        Session::login(self.proxy.port(), user, PASSWORD, database)
            .unwrap_or_else(|error| panic!("{error}\n{}", self.proxy.log()))
    }
}

type Row = BTreeMap<String, String>;

/// Runs a query and returns its rows by the names of their columns; `NULL` for NULL.
#[track_caller]
fn table(session: &mut Session, sql: &str) -> Vec<Row> {
    let rows = session.with_driver(async |conn| conn.query::<mysql_async::Row, _>(sql).await);
    let rows = rows.unwrap_or_else(|error| panic!("{error}\n{sql}"));
    let cells = |row: &mysql_async::Row| {
        let cell = |at: usize| row.get_opt::<Option<String>, _>(at).expect("a cell").expect("a text");
        let columns = row.columns_ref().iter().enumerate();
        columns
            .map(|(at, column)| (column.name_str().into_owned(), cell(at).unwrap_or("NULL".into())))
            .collect()
    };
    rows.iter().map(cells).collect()
}

#[track_caller]
fn row<'a>(rows: &'a [Row], column: &str, value: &str) -> &'a Row {
    let found = rows.iter().find(|row| row.get(column).is_some_and(|cell| cell == value));
    found.unwrap_or_else(|| panic!("no {column} = {value} in {rows:#?}"))
}

#[test]
fn operators_look_and_command() {
    let stage = Stage::start(Make::MariaDb);
    let mut boss = stage.session("boss", "splitpool");
    let version = boss.value("SHOW VERSION");
    assert!(version.starts_with("PgBouncer 1.24.1 compatible (Splitpool "), "{version}");
    let replicas = table(&mut boss, "SHOW REPLICAS");
    for server in stage.cluster.servers() {
        assert_eq!(row(&replicas, "endpoint", &server.address())["state"], "up");
    }
    // Text and binary say the same, and several statements are several results.
    for sql in
        ["SHOW DATABASES", "SHOW CONFIG", "SHOW COMMANDS", "SELECT variable_name FROM global_variables"]
    {
        let (text, binary) = (boss.query(sql).ok().rows, boss.execute(sql, &[]).ok().rows);
        assert!(!text.is_empty() && text == binary, "{sql}: {text:?} {binary:?}");
    }
    let both = boss.query("SHOW STATE; SHOW VERSION").ok().rows;
    assert_eq!(both.len(), 4, "{both:?}");
    // PAUSE holds clients at the edge of their statements, RESUME lets them go on.
    let mut client = stage.session("app", "app");
    assert_eq!(client.value("SELECT 1"), "1");
    boss.query("PAUSE main").ok();
    assert_eq!(row(&table(&mut boss, "SHOW DATABASES"), "name", "main")["paused"], "1");
    assert_eq!(boss.query("PAUSE main").code(), 1105, "it is paused");
    let waits = std::thread::spawn(move || {
        assert_eq!(client.value("SELECT 2"), "2");
        client
    });
    until("the client waits", SOON, || {
        let pools = table(&mut boss, "SHOW POOLS");
        (row(&pools, "user", "app")["cl_waiting"] == "1").then_some(())
    });
    boss.query("RESUME main").ok();
    let mut client = waits.join().expect("it was served");
    // A client is ended.
    let clients = table(&mut boss, "SHOW CLIENTS");
    boss.query(&format!("KILL_CLIENT {}", row(&clients, "user", "app")["id"])).ok();
    until("it is ended", SOON, || {
        client.try_query("SELECT 3").map_or(true, |reply| reply.code() != 0).then_some(())
    });
    assert_eq!(boss.query("KILL_CLIENT 4000000000").code(), 1231);
    // Other values for keys hold until a restart; what is said beside an answer comes with it.
    boss.query("SET general.query_wait_timeout = '31s'").ok();
    let settings = table(&mut boss, "SHOW SETTINGS");
    let changed = row(&settings, "key", "general.query_wait_timeout");
    assert_eq!((changed["value"].as_str(), changed["source"].as_str()), ("31s", "console"));
    let info = boss.with_driver(async |conn| {
        conn.query_drop("RESET general.query_wait_timeout").await?;
        Ok(conn.info().into_owned())
    });
    let info = info.expect("it is answered");
    assert!(info.lines().any(|line| line == "general.query_wait_timeout: 31s -> 30s"), "{info}");
    boss.query("RELOAD").ok();
    assert_eq!(boss.query("SET general.max_clients = 'none'").code(), 1105);
    boss.query("USE stats").ok();
    assert_eq!(boss.query("USE app").code(), 1049);
    assert_eq!(boss.query("FROBNICATE").code(), 1064);
    assert_eq!(boss.value("SHOW VERSION"), version, "it goes on");
}

#[test]
fn nobody_does_what_is_not_theirs() {
    let stage = Stage::start(Make::MariaDb);
    let Err(mysql_async::Error::Server(refused)) =
        Session::login(stage.proxy.port(), "app", PASSWORD, "splitpool")
    else {
        panic!("let in")
    };
    assert_eq!(refused.code, 1227);
    assert!(Session::login(stage.proxy.port(), "boss", "wrong", "splitpool").is_err());
    let mut boss = stage.session("boss", "pgbouncer");
    let commands = table(&mut boss, "SHOW COMMANDS");
    assert!(commands.len() > 40, "{commands:#?}");
    for user in ["viewer", "agent"] {
        let mut session = stage.session(user, if user == "agent" { "" } else { "splitpool" });
        for command in &commands {
            let code = session.query(&command["example"]).code();
            assert_eq!(code == 1227, command["right"] == "admin", "{code} {command:?}");
            let code = session.execute(&command["example"], &[]).code();
            assert_eq!(code == 1227, command["right"] == "admin", "{code} {command:?}");
        }
    }
    // Secrets are neither set nor shown, and a typed one is not repeated.
    let mut said = String::new();
    for key in
        ["listen.http_token", "users.app.password", "clusters.main.probe_password", "users.app.pasword"]
    {
        let reply = boss.query(&format!("SET {key} = '{CANARY}'"));
        assert_eq!(reply.code(), 1105, "{key}");
        said.push_str(&format!("{reply:?}"));
    }
    for sql in
        ["SHOW CONFIG", "SHOW SETTINGS", "SHOW GENERATIONS", "SELECT * FROM global_variables", "SHOW USERS"]
    {
        said.push_str(&format!("{:?}", boss.query(sql).ok()));
    }
    said.push_str(&stage.proxy.log());
    assert!(
        said.contains("***") && !said.contains(CANARY) && !said.contains(&format!("\"{PASSWORD}\"")),
        "{said}"
    );
    assert_eq!(boss.execute("SELECT * FROM stats_mysql_global WHERE Variable_Name = ?", &["x"]).code(), 1235);
}

/// Connections of the user `app` on a server, as it counts them; probes are another user's.
fn connections(server: &Server) -> String {
    server.value("SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE USER = 'app'")
}

#[test]
fn agents_for_proxysql_find_what_they_select() {
    let stage = Stage::start(Make::MariaDb);
    let mut agent = stage.session("agent", "");
    let mut clients: Vec<Session> = (0..3).map(|_| stage.session("app", "app")).collect();
    for client in &mut clients {
        client.query("BEGIN").ok();
        assert_eq!(client.value("SELECT 1"), "1");
    }
    // As they write them: names, schemas, stars behind names, groups.
    let pool = "SELECT hostgroup, srv_host, srv_port, status, ConnUsed, ConnFree, ConnOK, ConnERR, Queries, \
                Bytes_data_sent, Bytes_data_recv, Latency_us FROM stats.stats_mysql_connection_pool";
    let port = |server: &Server| server.port().to_string();
    let (primary, replica) = (port(&stage.cluster.primary), port(&stage.cluster.replicas[0]));
    for server in stage.cluster.servers() {
        until("connections are counted as the database counts them", SOON, || {
            let rows = table(&mut agent, pool);
            let found = row(&rows, "srv_port", &port(server));
            let number = |name: &str| found[name].parse::<u64>().expect("a number");
            ((number("ConnUsed") + number("ConnFree")).to_string() == connections(server)).then_some(())
        });
    }
    let rows = table(&mut agent, pool);
    let (first, second) = (row(&rows, "srv_port", &primary), row(&rows, "srv_port", &replica));
    assert_eq!((first["hostgroup"].as_str(), second["hostgroup"].as_str()), ("0", "1"));
    assert_eq!((first["ConnUsed"].as_str(), first["status"].as_str()), ("3", "ONLINE"));
    let wide = table(&mut agent, "SELECT hostgroup, srv_host, srv_port, * FROM stats_mysql_connection_pool");
    assert!(wide.len() == 2 && wide[0].contains_key("MaxConnUsed"));
    assert!(
        wide.iter().all(|row| row.values().all(|cell| cell != "NULL")),
        "exporters cannot read NULL: {wide:#?}"
    );
    let of_app = "SELECT username, frontend_connections FROM stats_mysql_users WHERE username = 'app'";
    assert_eq!(table(&mut agent, of_app)[0]["frontend_connections"], "3");
    let grouped = "SELECT user, db, cli_host, hostgroup, COUNT(*) as count from stats_mysql_processlist \
                   group by user, db, cli_host, hostgroup";
    let grouped = table(&mut agent, grouped);
    let app = row(&grouped, "user", "app");
    assert_eq!(
        (app["db"].as_str(), app["cli_host"].as_str(), app["hostgroup"].as_str()),
        ("app", "127.0.0.1", "0")
    );
    assert_eq!(app["count"], "3");
    // Counts grow with what is done.
    let global = |agent: &mut Session, name: &str| -> u64 {
        let rows = table(agent, "SELECT Variable_Name, Variable_Value FROM stats_mysql_global");
        row(&rows, "Variable_Name", name)["Variable_Value"].parse().expect("a number")
    };
    let before = global(&mut agent, "Questions");
    for value in 0..10 {
        clients[0].query(&format!("SELECT {value} AS a_digest")).ok();
    }
    let digests = "SELECT hostgroup, digest_text, count_star, sum_rows_sent FROM stats_mysql_query_digest";
    holds("ten calls of a digest", SOON, Some("0 10 10".to_owned()), || {
        let rows = table(&mut agent, digests);
        let one = rows.iter().find(|row| row["digest_text"].to_lowercase() == "select ? as a_digest")?;
        Some(format!("{} {} {}", one["hostgroup"], one["count_star"], one["sum_rows_sent"]))
    });
    holds("ten questions more", SOON, before + 10, || global(&mut agent, "Questions"));
    holds("clients, the agent one of them", SOON, 4, || global(&mut agent, "Client_Connections_connected"));
    // The operator's word and the endpoint's health.
    let status = |agent: &mut Session| {
        let sql = format!(
            "SELECT status FROM runtime_mysql_servers WHERE port={replica} and comment LIKE \"MAIN\""
        );
        table(agent, &sql)[0]["status"].clone()
    };
    let mut boss = stage.session("boss", "splitpool");
    for (command, wanted) in [("DRAIN", "OFFLINE_SOFT"), ("MAINTENANCE", "OFFLINE_HARD"), ("READY", "ONLINE")]
    {
        boss.query(&format!("{command} {}", stage.cluster.replicas[0].address())).ok();
        holds(wanted, SOON, wanted.to_owned(), || status(&mut agent));
    }
    stage.cluster.replicas[0].kill();
    holds("a dead replica", SOON, "SHUNNED".to_owned(), || status(&mut agent));
    // All else is refused, with a number that says why.
    for (sql, code) in [
        ("SELECT * FROM stats_mysql_nothing", 1146),
        ("SELECT nothing FROM stats_mysql_global", 1054),
        ("SELECT @@nothing", 1193),
        ("SELECT * FROM stats_mysql_global a JOIN stats_mysql_users b", 1235),
        ("DELETE FROM stats_mysql_global", 1064),
    ] {
        assert_eq!(agent.query(sql).code(), code, "{sql}");
    }
}

#[track_caller]
fn said(out: &Output) -> String {
    let errors = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{}: {errors}", out.status);
    String::from_utf8_lossy(&out.stdout).into_owned()
}

fn shell(make: Make, name: &str) {
    let stage = Stage::start(make);
    let run = |user: &str, more: &[&str], input: &str| {
        let mut command = make.program(name);
        command.args(["--no-defaults", "--host=127.0.0.1", "--protocol=tcp"]).args(more);
        command.arg(format!("--port={}", stage.proxy.port()));
        command.arg(format!("--user={user}")).arg(format!("--password={PASSWORD}"));
        said(&command.args(["-e", input]).stdin(Stdio::null()).output().expect("a shell"))
    };
    // What a shell asks by itself, and its own commands.
    let mut own = vec!["--database=splitpool", "--table"];
    // From 9 on the shell has to be told that it may have commands of its own.
    own.extend((make == Make::MySql).then_some("--commands"));
    let status = run("boss", &own, "status; use main; show tables; select user()");
    assert!(status.contains("Splitpool") && status.contains("stats_mysql_global"), "{status}");
    assert!(status.contains("| boss"), "{status}");
    for more in [&["--compress"][..], &["--skip-auto-rehash"], &["--auto-rehash"]] {
        let rows = run("agent", &[&["--batch", "--skip-column-names"], more].concat(), "SHOW REPLICAS");
        assert_eq!(rows.lines().count(), 2, "{rows}");
    }
    let info = run("boss", &["-vvv", "--database=splitpool"], "SET general.query_wait_timeout = '33s'");
    assert!(info.contains("general.query_wait_timeout: 30s -> 33s"), "{info}");
}

#[test]
fn mariadb_shell() {
    shell(Make::MariaDb, "mariadb");
}

#[test]
fn mysql_shell() {
    shell(Make::MySql, "mysql");
}

/// Runs a program against the console; it says `ok` in the end. `missing` installs what it needs.
fn script(interpreter: PathBuf, missing: &str, file: &str) {
    let stage = Stage::start(Make::MariaDb);
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/drivers").join(file);
    let out = Command::new(interpreter)
        .arg(path)
        .arg(stage.proxy.port().to_string())
        .arg(PASSWORD)
        .env("NODE_PATH", target().join("node/node_modules"))
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{error}; this installs it: {missing}"));
    assert_eq!(said(&out).trim(), "ok", "If a module is missing: {missing}");
}

#[test]
fn pymysql() {
    let venv = target().join("venv");
    let missing = format!("python3 -m venv {0} && {0}/bin/pip install PyMySQL", venv.display());
    script(venv.join("bin/python"), &missing, "pymysql_console.py");
}

#[test]
fn mysql2() {
    let node = target().join("node");
    let missing = format!("apt-get install -y nodejs npm && npm install --prefix {} mysql2", node.display());
    let program = in_path("node").unwrap_or_else(|| panic!("no node; this installs it: {missing}"));
    script(program, &missing, "mysql2_console.js");
}
