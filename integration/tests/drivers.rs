//! The drivers and tools that people use find nothing amiss.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::{OnceLock, PoisonError, RwLock};

use integration::paths::{in_path, postgres_program, target};
use integration::{PASSWORD, PATIENCE, Stage, until};

const SCHEMA: &str = "
    CREATE TABLE parent (id int PRIMARY KEY, name text NOT NULL DEFAULT 'x', CHECK (id > 0));
    CREATE TABLE child (id serial, parent int REFERENCES parent, at timestamptz DEFAULT now());
    CREATE INDEX child_parent ON child (parent);
    INSERT INTO parent SELECT n, 'parent ' || n FROM generate_series(1, 50) n;
    INSERT INTO child (parent) SELECT 1 + n % 50 FROM generate_series(1, 500) n;
    CREATE VIEW both_of_them AS SELECT p.name, c.at FROM parent p JOIN child c ON c.parent = p.id;
    CREATE FUNCTION twice(n int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT n * 2';
    CREATE SCHEMA side;
    CREATE TABLE side.table_there (n int)";

fn stage() -> &'static Stage {
    static STAGE: OnceLock<Stage> = OnceLock::new();
    STAGE.get_or_init(|| {
        let stage = Stage::new(2, |config| config);
        stage.cluster.prepare(SCHEMA);
        stage
    })
}

/// Held for reading by who makes tables, for writing by who compares what there is.
static TABLES: RwLock<()> = RwLock::new(());

fn run(command: &mut Command) -> Output {
    command.env("PGPASSWORD", PASSWORD).env("PGTZ", "UTC").stdin(Stdio::null()).output().expect("it starts")
}

#[track_caller]
fn must_succeed(out: &Output) -> String {
    let said = [out.stdout.clone(), out.stderr.clone()].concat();
    assert!(out.status.success(), "{}: {}", out.status, String::from_utf8_lossy(&said));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

fn script(interpreter: PathBuf, missing: &str, file: &str) {
    let _making = TABLES.read().unwrap_or_else(PoisonError::into_inner);
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/drivers").join(file);
    let out = Command::new(&interpreter)
        .arg(path)
        .arg(stage().proxy.port().to_string())
        .env("NODE_PATH", target().join("node/node_modules"))
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}; this installs it: {missing}", interpreter.display()));
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    let absent = said.contains("ModuleNotFoundError") || said.contains("Cannot find module");
    assert!(!absent, "{said}\nThis installs it: {missing}");
    assert_eq!(must_succeed(&out).trim(), "ok");
}

fn python() -> (PathBuf, String) {
    let venv = target().join("venv");
    let missing =
        format!("python3 -m venv {0} && {0}/bin/pip install 'psycopg[binary]' asyncpg", venv.display());
    (venv.join("bin/python"), missing)
}

#[test]
fn psycopg() {
    let (python, missing) = python();
    script(python, &missing, "psycopg_client.py");
}

#[test]
fn asyncpg() {
    let (python, missing) = python();
    script(python, &missing, "asyncpg_client.py");
}

#[test]
fn node_postgres() {
    let missing = format!(
        "apt-get install -y nodejs npm && npm install --prefix {} pg",
        target().join("node").display()
    );
    let node = in_path("node").unwrap_or_else(|| panic!("no node; this installs it: {missing}"));
    script(node, &missing, "node_client.js");
}

#[test]
fn tokio_postgres() {
    let _making = TABLES.read().unwrap_or_else(PoisonError::into_inner);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let config =
            format!("host=127.0.0.1 port={} user=app password={PASSWORD} dbname=app", stage().proxy.port());
        let (mut client, connection) = tokio_postgres::connect(&config, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        client.batch_execute("CREATE TABLE IF NOT EXISTS tp (n int)").await.unwrap();
        let insert = client.prepare("INSERT INTO tp VALUES ($1)").await.unwrap();
        let count = client.prepare("SELECT count(*) FROM tp WHERE n = $1").await.unwrap();
        for n in 0..50_i32 {
            client.execute(&insert, &[&n]).await.unwrap();
            assert_eq!(client.query_one(&count, &[&n]).await.unwrap().get::<_, i64>(0), 1);
        }
        // Its futures are sent as they are first polled, before the answers of the earlier ones.
        let sums = (0..20_i32).map(|n| {
            let client = &client;
            async move { client.query_one("SELECT $1::int * 2", &[&n]).await.unwrap().get::<_, i32>(0) }
        });
        let mut running: Vec<_> = sums.map(Box::pin).collect();
        for (n, sum) in running.iter_mut().enumerate() {
            assert_eq!(sum.await, i32::try_from(n).unwrap() * 2);
        }
        drop(running);
        let transaction = client.transaction().await.unwrap();
        let portal = transaction.bind("SELECT n FROM tp ORDER BY n", &[]).await.unwrap();
        assert_eq!(transaction.query_portal(&portal, 20).await.unwrap().len(), 20);
        assert_eq!(transaction.query_portal(&portal, 0).await.unwrap().len(), 30);
        transaction.rollback().await.unwrap();
        let token = client.cancel_token();
        let sleeping = client.batch_execute("SELECT pg_sleep(30)");
        let cancelling = async {
            let running = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query = 'SELECT pg_sleep(30)'";
            let runs = || stage().cluster.servers().any(|server| server.value(running) == "1");
            let begun = tokio::task::spawn_blocking(move || until("it runs", PATIENCE, || runs().then_some(())));
            begun.await.expect("it runs");
            token.cancel_query(tokio_postgres::NoTls).await
        };
        let (slept, cancelled) = tokio::join!(sleeping, cancelling);
        cancelled.unwrap();
        assert_eq!(slept.unwrap_err().code(), Some(&tokio_postgres::error::SqlState::QUERY_CANCELED));
        client.batch_execute("DROP TABLE tp").await.unwrap();
    });
}

fn psql(port: u16, commands: &[&str]) -> String {
    let mut command = Command::new(postgres_program("psql"));
    command.args(["-X", "-h", "127.0.0.1", "-p", &port.to_string(), "-U", "app", "-v", "ON_ERROR_STOP=1"]);
    for text in commands {
        command.args(["-c", text]);
    }
    must_succeed(&run(command.arg("app")))
}

#[test]
fn psql_describes_everything_as_the_database_does() {
    let stage = stage();
    let _still = TABLES.write().unwrap_or_else(PoisonError::into_inner);
    stage.cluster.settle();
    let commands = [
        r"\d",
        r"\dt",
        r"\d parent",
        r"\d+ child",
        r"\d both_of_them",
        r"\dv",
        r"\df twice",
        r"\sf twice",
        r"\di",
        r"\ds",
        r"\dn",
        r"\du",
        r"\dp parent",
        r"\l",
        r"\dx",
        r"\dT",
        r"\dC",
        r"\d side.table_there",
        r"\encoding",
        r"\dt *.*",
    ];
    for command in commands {
        let direct = psql(stage.cluster.primary.port(), &[command]);
        assert_eq!(psql(stage.proxy.port(), &[command]), direct, "{command}");
    }
    let out = psql(
        stage.proxy.port(),
        &["BEGIN", "SELECT 1 AS one", r"\gdesc", "COMMIT", r"\copy parent TO /dev/null"],
    );
    assert!(out.contains("COPY 50"), "{out}");
}

#[test]
fn psql_fetches_by_cursor_and_watches() {
    let out = psql(stage().proxy.port(), &[r"\set FETCH_COUNT 100", "SELECT id FROM child ORDER BY id"]);
    assert!(out.contains("(500 rows)") || out.lines().count() >= 500, "{out}");
}

fn dump(port: u16, arguments: &[&str]) -> String {
    let mut command = Command::new(postgres_program("pg_dump"));
    command.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-U", "app"]).args(arguments);
    let text = must_succeed(&run(command.arg("app")));
    // Newer releases write a random word to keep psql from being misled.
    text.lines()
        .filter(|line| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict"))
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn pg_dump_is_the_same_and_leaves_nothing_behind() {
    let stage = stage();
    let _still = TABLES.write().unwrap_or_else(PoisonError::into_inner);
    stage.cluster.settle();
    for arguments in
        [&["--schema=side", "--table=parent", "--table=child"][..], &["-t", "parent", "--inserts"]]
    {
        let direct = dump(stage.cluster.primary.port(), arguments);
        assert_eq!(dump(stage.proxy.port(), arguments), direct);
    }
    let mut session = stage.proxy.session();
    for _ in 0..20 {
        assert_eq!(session.value("SELECT current_setting('search_path')"), "\"$user\", public");
        assert_eq!(session.query("BEGIN; SHOW search_path; COMMIT").value(), "\"$user\", public");
    }
}

#[test]
fn pgbench_in_every_mode() {
    let _making = TABLES.read().unwrap_or_else(PoisonError::into_inner);
    let stage = stage();
    let pgbench = |arguments: &[&str]| {
        let mut command = Command::new(postgres_program("pgbench"));
        command.args(["-h", "127.0.0.1", "-p", &stage.proxy.port().to_string(), "-U", "app"]).args(arguments);
        let out = run(command.arg("app"));
        let said = must_succeed(&out);
        assert!(!said.contains("aborted"), "{said}");
        said
    };
    pgbench(&["-i", "-q", "-s", "1"]);
    for mode in ["simple", "extended", "prepared"] {
        for script in ["tpcb-like", "simple-update", "select-only"] {
            let said = pgbench(&["-n", "-M", mode, "-b", script, "-c", "8", "-j", "1", "-t", "60"]);
            assert!(said.contains("480/480") || said.contains("processed: 480"), "{mode} {script}: {said}");
        }
    }
    let reply = stage
        .cluster
        .primary
        .sql("SELECT sum(tbalance) = (SELECT sum(bbalance) FROM pgbench_branches) FROM pgbench_tellers");
    assert_eq!(reply.value(), "t");
}
