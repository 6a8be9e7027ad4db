//! The console shows what there is, as tools expect it, to whom it may.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use integration::console::{columns, configured, console, row, table};
use integration::paths::{free_port, in_path, postgres_program, target};
use integration::{Cluster, Config, Login, PASSWORD, Proxy, Stage, Wire, frame, holds, until};

const SOON: Duration = Duration::from_secs(60);

const SCHEMA: &str =
    "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t SELECT n, 0 FROM generate_series(1, 20) n";

/// What no answer may contain.
const CANARY: &str = "canary-3f7a";

fn stage(replicas: usize) -> Stage {
    let stage = Stage::new(replicas, configured);
    stage.cluster.prepare(SCHEMA);
    stage
}

#[test]
fn columns_on_the_wire_are_pgbouncers() {
    let stage = Stage::new(0, configured);
    let mut wire = console(&stage.proxy, "viewer");
    let mut shape = |sql: &str| {
        wire.send(&frame::query(sql)).expect("it is sent");
        let described = wire.read_to(b'T').expect("a description");
        wire.reply().expect("the rest").ok();
        columns(&described.body)
    };
    let oids = |found: &[(String, u32, i16, u16)]| -> String {
        let letter = |(_, oid, size, format): &(String, u32, i16, u16)| match (oid, size, format) {
            (25, -1, 0) => 's',
            (23, 4, 0) => 'i',
            (20, 8, 0) => 'q',
            (1700, -1, 0) => 'N',
            _ => '?',
        };
        found.iter().map(letter).collect()
    };
    for (sql, wanted, first, last) in [
        ("SHOW POOLS", "ssiiiiiiiiiiiiiss", "database", "load_balance_hosts"),
        ("SHOW STATS", "sNNNNNNNNNNNNNNNNNNNNNN", "database", "avg_bind_count"),
        ("SHOW DATABASES", "ssissiiiissiiiiii", "name", "disabled"),
        ("SHOW CLIENTS", "ssssssisissiiississii", "type", "id"),
        ("SHOW SERVERS", "ssssssisissiiississii", "type", "id"),
        ("SHOW LISTS", "si", "list", "items"),
        ("SHOW CONFIG", "ssss", "key", "changeable"),
        ("SHOW DNS_HOSTS", "sqs", "hostname", "addrs"),
    ] {
        let found = shape(sql);
        assert_eq!(oids(&found), wanted, "{sql}");
        assert_eq!(found.first().map(|(name, ..)| name.as_str()), Some(first));
        assert_eq!(found.last().map(|(name, ..)| name.as_str()), Some(last));
    }
}

#[test]
fn who_only_looks_can_change_nothing_and_others_do_not_come_in() {
    let stage = Stage::new(0, configured);
    let login = |user: &str, password: &str| {
        let login = Login::new(stage.proxy.port(), user, password, "pgbouncer");
        Wire::login(&login).map(drop).map_err(|error| error.code().to_owned())
    };
    assert_eq!(login("other", PASSWORD), Err("42501".to_owned()), "without a right");
    assert_eq!(login("viewer", "wrong"), Err("28P01".to_owned()));
    assert_eq!(login("nobody", PASSWORD), Err("28P01".to_owned()));
    let (mut admin, mut viewer) = (console(&stage.proxy, "app"), console(&stage.proxy, "viewer"));
    let commands = table(&mut viewer, "SHOW COMMANDS");
    assert!(commands.len() > 50);
    let (mut refused, mut shown) = (0, 0);
    for command in &commands {
        let example = &command["example"];
        // By the simple and by the extended protocol.
        for reply in [viewer.query(example), viewer.execute(example, &[])] {
            if command["right"] == "admin" {
                assert_eq!(reply.code(), "42501", "{example}");
                refused += 1;
            } else {
                reply.ok();
                shown += 1;
            }
        }
        let harmless = command["command"] != "SHUTDOWN";
        if harmless && command["right"] == "admin" {
            assert_ne!(admin.query(example).code(), "42501", "{example}");
        }
    }
    assert!(refused > 30 && shown > 60, "{refused} refused, {shown} shown");
    assert!(stage.proxy.is_running());
    // A right that is taken away holds for whoever comes next; who is unknown does not learn of it.
    assert_eq!(viewer.query("FROBNICATE").code(), "42601");
}

fn script(interpreter: PathBuf, missing: &str, file: &str, port: u16) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/drivers").join(file);
    let out = Command::new(&interpreter).arg(path).arg(port.to_string()).stdin(Stdio::null()).output();
    let out =
        out.unwrap_or_else(|error| panic!("{}: {error}; this installs it: {missing}", interpreter.display()));
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(!said.contains("ModuleNotFoundError"), "{said}\nThis installs it: {missing}");
    assert!(out.status.success(), "{said}");
    assert_eq!(String::from_utf8_lossy(&out.stdout).trim(), "ok");
}

#[test]
fn python_drivers() {
    let stage = Stage::new(1, configured);
    let venv = target().join("venv");
    let missing =
        format!("python3 -m venv {0} && {0}/bin/pip install 'psycopg[binary]' asyncpg", venv.display());
    script(venv.join("bin/python"), &missing, "console_client.py", stage.proxy.port());
    let python = PathBuf::from("/usr/bin/python3");
    script(python, "apt-get install -y python3-psycopg2", "console_psycopg2.py", stage.proxy.port());
}

#[test]
fn tokio_postgres_simple_and_extended() {
    let stage = Stage::new(0, configured);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let config = format!(
            "host=127.0.0.1 port={} user=app password={PASSWORD} dbname=splitpool",
            stage.proxy.port()
        );
        let (client, connection) =
            tokio_postgres::connect(&config, tokio_postgres::NoTls).await.expect("connects");
        tokio::spawn(connection);
        let commands = client.query("SHOW COMMANDS", &[]).await.expect("rows");
        let shows = commands.iter().map(|row| row.get::<_, &str>("command"));
        for show in shows.filter(|name| name.starts_with("SHOW ") && *name != "SHOW HELP") {
            let simple = client.simple_query(show).await.expect("an answer");
            let rows =
                simple.iter().filter(|message| matches!(message, tokio_postgres::SimpleQueryMessage::Row(_)));
            let statement = client.prepare(show).await.expect("it is prepared");
            assert!(!statement.columns().is_empty(), "{show}");
            let extended = client.query(&statement, &[]).await.expect("rows");
            assert!(extended.is_empty() == (rows.count() == 0), "{show}");
        }
        let pools = client.query("SHOW POOLS", &[]).await.expect("rows");
        assert!(
            pools
                .iter()
                .any(|row| row.get::<_, &str>("user") == "app" && row.get::<_, i32>("cl_active") >= 1)
        );
    });
}

fn run(command: &mut Command) -> Output {
    command.env("PGPASSWORD", PASSWORD).stdin(Stdio::null()).output().expect("it starts")
}

#[test]
fn psql_and_its_help() {
    let stage = Stage::new(0, configured);
    let port = stage.proxy.port().to_string();
    let psql = |text: &str| {
        let mut command = Command::new(postgres_program("psql"));
        command.args([
            "-X",
            "-A",
            "-t",
            "-h",
            "127.0.0.1",
            "-p",
            &port,
            "-U",
            "app",
            "-c",
            text,
            "pgbouncer",
        ]);
        let out = run(&mut command);
        (String::from_utf8_lossy(&out.stdout).into_owned(), String::from_utf8_lossy(&out.stderr).into_owned())
    };
    assert!(psql("SHOW VERSION;").0.starts_with("PgBouncer 1.24.1 compatible (Splitpool "));
    let (out, notice) = psql("SHOW HELP");
    assert!(out.trim().is_empty() || out.trim() == "SHOW", "{out}");
    assert!(notice.contains("Console usage") && notice.contains("KILL_CLIENT id"), "{notice}");
    assert_eq!(psql("SHOW STATE; SELECT 1").0.lines().last(), Some("1"));
    assert!(psql("PAUSE nowhere").1.contains("no such database: nowhere"));
    assert!(psql("SUSPEND").1.contains("not supported"));
}

#[test]
fn pins_and_routes_are_shown_by_reason() {
    let stage = stage(1);
    let mut admin = console(&stage.proxy, "viewer");
    let mut pinned = stage.proxy.session();
    pinned.query("CREATE TEMP TABLE mine (n int)").ok();
    let pin = until("the pin is shown", SOON, || {
        let pins = table(&mut admin, "SHOW PINS");
        pins.into_iter().find(|pin| pin["reason"] == "temp_table" && pin["sessions"] == "1")
    });
    let clients = table(&mut admin, "SHOW CLIENTS");
    let client = row(&clients, "port", &pinned.local_port().to_string());
    assert_eq!((&pin["clients"], pin["cluster"].as_str()), (&client["id"], "main"));
    assert_eq!(client["state"], "active", "a pinned session keeps its backend");
    pinned.query("DROP TABLE mine").ok();
    until("the pin has ended", SOON, || {
        let pins = table(&mut admin, "SHOW PINS");
        let pin = row(&pins, "reason", "temp_table");
        (pin["sessions"] == "0" && pin["pins"] == "1" && pin["clients"].is_empty()).then_some(())
    });
    let count = |wire: &mut Wire, target: &str, reason: &str| {
        let routes = table(wire, "SHOW ROUTES");
        let mut found = routes.iter().filter(|route| route["target"] == target && route["reason"] == reason);
        found.next().map_or(0, |route| route["requests"].parse::<u64>().expect("a number"))
    };
    let before = (count(&mut admin, "replica", "read"), count(&mut admin, "primary", "write"));
    let totals = |wire: &mut Wire| {
        let stats = table(wire, "SHOW STATS");
        let app = row(&stats, "database", "app");
        let number = |name: &str| app[name].parse::<u64>().expect("a number");
        (number("total_query_count"), number("total_xact_count"), number("total_query_time"))
    };
    let sums = totals(&mut admin);
    for _ in 0..5 {
        pinned.query("SELECT v FROM t WHERE id = 2").ok();
        pinned.query("UPDATE t SET v = v + 1 WHERE id = 2").ok();
    }
    pinned.query("BEGIN").ok();
    pinned.query("UPDATE t SET v = v + 1 WHERE id = 2").ok();
    pinned.query("COMMIT").ok();
    // The reply comes before it is counted.
    holds("reads on replicas", SOON, before.0 + 5, || count(&mut admin, "replica", "read"));
    holds("writes", SOON, before.1 + 5, || count(&mut admin, "primary", "write"));
    holds("requests and transactions", SOON, (13, 11), || {
        let now = totals(&mut admin);
        (now.0 - sums.0, now.1 - sums.1)
    });
    assert!(totals(&mut admin).2 > sums.2, "they took time");
    let lag = table(&mut admin, "SHOW LAG");
    assert_eq!(lag.len(), 2);
    assert!(
        lag.iter().all(|line| line["probe_age_ms"].parse::<u64>().is_ok_and(|age| age < 5_000)),
        "{lag:#?}"
    );
}

#[test]
fn no_answer_contains_a_secret() {
    let cluster = Cluster::start(1);
    let mut config =
        configured(Config::of(&cluster)).text("probe_user", "app").text("probe_password", PASSWORD);
    let canary = |name: &str| format!("{CANARY}-{name}");
    config.extra.push_str(&format!(
        "\n[users.front]\npassword = \"{}\"\nbackend_user = \"app\"\nbackend_password = \"{}\"\nadmin = true\n",
        canary("front"),
        canary("back")
    ));
    config.extra.push_str(&format!(
        "\n[users.hashed]\npassword = \"SCRAM-SHA-256$4096:{0}aaaaaaaaaaaa=${1}={2}:{1}=\"\nbackend_password = \"{3}\"\n",
        "", "", "", canary("hashed")
    ).replace("SCRAM-SHA-256$4096:aaaaaaaaaaaa=$=:=", &canary("plain")));
    let proxy = Proxy::start(config);
    proxy.await_cluster(&cluster);
    let login = Login::new(proxy.port(), "front", &canary("front"), "splitpool");
    let mut wire = Wire::login(&login).expect("signs in");
    // What is signed in to with a wrong password fails, and says so somewhere.
    let _ = Wire::login(&Login::new(proxy.port(), "front", &canary("front"), "app"));
    let mut said = String::new();
    let commands = table(&mut wire, "SHOW COMMANDS");
    let mut ask = |wire: &mut Wire, sql: &str| {
        let reply = wire.query(sql);
        said.push_str(&format!("{:?} {:?} {:?}\n", reply.rows, reply.error, reply.notices));
    };
    for command in commands.iter().filter(|command| !["SHUTDOWN"].contains(&command["command"].as_str())) {
        ask(&mut wire, &command["example"]);
    }
    for sql in [
        "SET users.front.password = 'canary-3f7a-set'",
        "SET users.front.pasword = canary-3f7a-typo",
        "SET listen.http_token = 'canary-3f7a-token'",
        "SET general.max_clients = 'canary-3f7a-number'",
        "RESET users.front.backend_password",
        "RELOAD",
        "SHOW GENERATIONS",
    ] {
        ask(&mut wire, sql);
    }
    said.push_str(&proxy.log());
    said.push_str(&proxy.http("/metrics").1);
    assert!(said.contains("users.front.password") && said.contains("***"));
    assert!(!said.contains(CANARY), "{said}");
    assert!(!said.contains(&format!("\"{PASSWORD}\"")), "{said}");
}

#[test]
fn pgbouncers_exporter_runs_unchanged() {
    let missing = "apt-get install -y --no-install-recommends prometheus-pgbouncer-exporter";
    let exporter = in_path("prometheus-pgbouncer-exporter")
        .unwrap_or_else(|| panic!("no prometheus-pgbouncer-exporter; this installs it: {missing}"));
    let stage = stage(1);
    let mut wire = stage.proxy.session();
    wire.query("SELECT v FROM t WHERE id = 1").ok();
    let port = free_port();
    let log = target().join(format!("exporter-{}.log", std::process::id()));
    let file = std::fs::File::create(&log).expect("our own directory");
    let mut child = Command::new(exporter)
        .args(["--host", "127.0.0.1", "--port", &port.to_string(), "--pgbouncer-host", "127.0.0.1"])
        .args(["--pgbouncer-port", &stage.proxy.port().to_string(), "--pgbouncer-user", "viewer"])
        .env("PGPASSWORD", PASSWORD)
        // Debian's release reads columns that PgBouncer has renamed since 1.7: it fails with Debian's own PgBouncer.
        .env("PGOPTIONS", "-c splitpool.pgbouncer=1.7")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(file)
        .spawn()
        .expect("it starts");
    let scraped = std::panic::catch_unwind(|| {
        until("a scrape", SOON, || {
            integration::http::read(port, "/metrics").ok().filter(|(status, _)| *status == 200)
        })
    });
    let again = integration::http::read(port, "/metrics");
    let _ = child.kill();
    let _ = child.wait();
    let said = std::fs::read_to_string(&log).unwrap_or_default();
    let _ = std::fs::remove_file(&log);
    let Ok((_, text)) = scraped else { panic!("no scrape: {said}") };
    assert!(again.is_ok_and(|(status, _)| status == 200), "{said}");
    let lower = said.to_ascii_lowercase();
    assert!(!lower.contains("traceback") && !lower.contains("error"), "{said}");
    for series in [
        "pgbouncer_databases ",
        "pgbouncer_pools ",
        "pgbouncer_used_clients ",
        "pgbouncer_active_clients{",
        "pgbouncer_pool_size{",
        "pgbouncer_requests_total{",
    ] {
        assert!(text.lines().any(|line| line.starts_with(series)), "{series} is not in {text}");
    }
    assert!(text.lines().any(|line| line.contains("database=\"app\"")), "{text}");
}
