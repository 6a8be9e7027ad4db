//! The drivers and tools that people use with MariaDB and MySQL find nothing amiss.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use integration::mysql::{Cluster, Make, Session};
use integration::paths::{in_path, target};
use integration::{Config, PASSWORD, Proxy, until};

struct Stage {
    cluster: Cluster,
    proxy: Proxy,
}

fn stage(make: Make) -> Stage {
    let cluster = Cluster::start(make, 1);
    for server in cluster.servers() {
        server.set("local_infile", "ON");
    }
    let proxy = Proxy::start(Config::of_mysql(&cluster));
    until("clients are served", Duration::from_secs(30), || {
        let mut session = Session::login(proxy.port(), "app", PASSWORD, "app").ok()?;
        session.try_query("BEGIN").ok().filter(|reply| reply.error.is_none())
    });
    Stage { cluster, proxy }
}

#[track_caller]
fn said(out: &Output) -> String {
    let errors = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{}: {errors}", out.status);
    String::from_utf8_lossy(&out.stdout).into_owned()
}

fn pymysql(make: Make) {
    let stage = stage(make);
    let venv = target().join("venv");
    let missing = format!("python3 -m venv {0} && {0}/bin/pip install PyMySQL", venv.display());
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/drivers/pymysql_client.py");
    let out = Command::new(venv.join("bin/python"))
        .arg(path)
        .arg(stage.proxy.port().to_string())
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{error}; this installs it: {missing}"));
    let errors = String::from_utf8_lossy(&out.stderr);
    assert!(!errors.contains("ModuleNotFoundError"), "{errors}\nThis installs it: {missing}");
    assert_eq!(said(&out).trim(), "ok");
}

#[test]
fn mariadb_pymysql() {
    pymysql(Make::MariaDb);
}

#[test]
fn mysql_pymysql() {
    pymysql(Make::MySql);
}

/// The shell and the dump of MariaDB, with what they need to connect to the proxy.
fn tool(name: &str, stage: &Stage) -> Command {
    let program = in_path(name).unwrap_or_else(|| panic!("no {name}: apt-get install -y mariadb-client"));
    let mut command = Command::new(program);
    command.arg("--no-defaults").arg("--host=127.0.0.1").arg("--protocol=tcp");
    command.arg(format!("--port={}", stage.proxy.port())).arg("--user=app");
    command.arg(format!("--password={PASSWORD}")).stdin(Stdio::null());
    command
}

#[test]
fn mariadb_shell_and_dump() {
    let stage = stage(Make::MariaDb);
    let shell = |sql: &str| {
        let mut command = tool("mariadb", &stage);
        said(&command.args(["--batch", "--skip-column-names", "-e", sql, "app"]).output().expect("a shell"))
    };
    let mark = stage.cluster.mark();
    shell(
        "CREATE TABLE t (id int primary key, v varchar(100)); INSERT INTO t VALUES (1, 'one'), (2, NULL); \
         CREATE VIEW seen AS SELECT v FROM t; USE app; SELECT 1 /* tag shell read */",
    );
    assert_eq!(stage.cluster.servers_that_ran("INSERT INTO t VALUES (1", &mark), ["primary"]);
    stage.cluster.settle();
    assert_eq!(shell("SELECT * FROM t ORDER BY id; SELECT count(*) FROM seen"), "1\tone\n2\tNULL\n2\n");
    assert_eq!(
        shell("SET @a = 5; SELECT @a + 1; SET NAMES latin1; SELECT @@character_set_client"),
        "6\nlatin1\n"
    );
    let dump = |port: Option<u16>| {
        let mut command = tool("mariadb-dump", &stage);
        if let Some(port) = port {
            command.arg(format!("--port={port}"));
        }
        let out =
            command.args(["--single-transaction", "--skip-dump-date", "--no-tablespaces", "app"]).output();
        let dumped = said(&out.expect("a dump"));
        // The one line that names the address.
        dumped.lines().filter(|line| !line.starts_with("-- Host")).collect::<Vec<_>>().join("\n")
    };
    let through = dump(None);
    assert!(through.contains("INSERT INTO `t` VALUES"), "{through}");
    assert_eq!(through, dump(Some(stage.cluster.primary.port())));
}
