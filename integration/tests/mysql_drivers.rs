//! The drivers and tools that people use with MariaDB and MySQL find nothing amiss.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use integration::mysql::{Cluster, Make, Session};
use integration::paths::{Scratch, in_path, target};
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
    until("clients are served", Duration::from_secs(60), || {
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

/// Runs a program against the proxy; it says `ok` in the end. `missing` installs what it needs.
fn script(interpreter: PathBuf, missing: &str, file: &str, make: Make) {
    let stage = stage(make);
    run(Command::new(interpreter), missing, file, &stage.proxy.port().to_string());
}

/// The program is told where the proxy is.
fn run(mut interpreter: Command, missing: &str, file: &str, place: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/drivers").join(file);
    let out = interpreter
        .arg(path)
        .arg(place)
        .env("NODE_PATH", target().join("node/node_modules"))
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{error}; this installs it: {missing}"));
    let errors = String::from_utf8_lossy(&out.stderr);
    let absent = ["ModuleNotFoundError", "Cannot find module", "No suitable driver"];
    let absent = absent.iter().any(|text| errors.contains(text));
    assert!(!absent, "{errors}\nThis installs it: {missing}");
    assert_eq!(said(&out).trim(), "ok");
}

fn pymysql(make: Make) {
    let venv = target().join("venv");
    let missing = format!("python3 -m venv {0} && {0}/bin/pip install PyMySQL", venv.display());
    script(venv.join("bin/python"), &missing, "pymysql_client.py", make);
}

/// MariaDB's C connector is what these two rest on.
fn on_c_connector(package: &str, make: Make) {
    let venv = target().join("venv");
    let packages = "apt-get install -y libmariadb-dev python3-dev pkg-config build-essential";
    let missing = format!("{packages} && {}/bin/pip install {package}", venv.display());
    script(venv.join("bin/python"), &missing, &format!("{package}_client.py"), make);
}

fn node(package: &str, make: Make) {
    let node = target().join("node");
    let missing =
        format!("apt-get install -y nodejs npm && npm install --prefix {} {package}", node.display());
    let program = in_path("node").unwrap_or_else(|| panic!("no node; this installs it: {missing}"));
    script(program, &missing, &format!("{package}_client.js"), make);
}

fn mysql2(make: Make) {
    node("mysql2", make);
}

fn connector_j(make: Make) {
    let missing = "apt-get install -y --no-install-recommends default-jdk-headless libmariadb-java";
    let stage = stage(make);
    let mut java =
        Command::new(in_path("java").unwrap_or_else(|| panic!("no java; this installs it: {missing}")));
    java.args(["-cp", "/usr/share/java/mariadb-java-client.jar"]);
    run(java, missing, "MariaDbClient.java", &stage.proxy.port().to_string());
}

#[test]
fn mariadb_connector_c() {
    on_c_connector("mariadb", Make::MariaDb);
}

#[test]
fn mysql_connector_c() {
    on_c_connector("mariadb", Make::MySql);
}

#[test]
fn mariadb_mysqlclient() {
    on_c_connector("mysqlclient", Make::MariaDb);
}

#[test]
fn mysql_mysqlclient() {
    on_c_connector("mysqlclient", Make::MySql);
}

#[test]
fn mariadb_connector_node() {
    node("mariadb", Make::MariaDb);
}

#[test]
fn mysql_connector_node() {
    node("mariadb", Make::MySql);
}

#[test]
fn mariadb_connector_j() {
    connector_j(Make::MariaDb);
}

#[test]
fn mysql_connector_j() {
    connector_j(Make::MySql);
}

/// The same by a Unix socket.
#[test]
fn mariadb_pymysql_by_socket() {
    let cluster = Cluster::start(Make::MariaDb, 1);
    for server in cluster.servers() {
        server.set("local_infile", "ON");
    }
    let scratch = Scratch::new("socket");
    let path = scratch.path().join("splitpool.sock");
    let proxy = Proxy::start(Config { socket: Some(path.clone()), ..Config::of_mysql(&cluster) });
    proxy.await_ready();
    let venv = target().join("venv");
    let missing = format!("{}/bin/pip install PyMySQL", venv.display());
    run(Command::new(venv.join("bin/python")), &missing, "pymysql_client.py", &path.display().to_string());
}

#[test]
fn mariadb_mysql2() {
    mysql2(Make::MariaDb);
}

#[test]
fn mysql_mysql2() {
    mysql2(Make::MySql);
}

#[test]
fn mariadb_pymysql() {
    pymysql(Make::MariaDb);
}

#[test]
fn mysql_pymysql() {
    pymysql(Make::MySql);
}

/// A shell or a dump of the server's own make, with what it needs to connect to the proxy.
fn tool(name: &str, stage: &Stage) -> Command {
    let mut command = stage.cluster.primary.make().program(name);
    command.arg("--no-defaults").arg("--host=127.0.0.1").arg("--protocol=tcp");
    command.arg(format!("--port={}", stage.proxy.port())).arg("--user=app");
    command.arg(format!("--password={PASSWORD}")).stdin(Stdio::null());
    command
}

fn shell_and_dump(make: Make, shell_name: &str, dump_name: &str) {
    let stage = stage(make);
    let shell = |sql: &str, more: &[&str]| {
        let mut command = tool(shell_name, &stage);
        command.args(["--batch", "--skip-column-names"]).args(more);
        said(&command.args(["-e", sql, "app"]).output().expect("a shell"))
    };
    let mark = stage.cluster.mark();
    shell(
        "CREATE TABLE t (id int primary key, v varchar(100)); INSERT INTO t VALUES (1, 'one'), (2, NULL); \
         CREATE VIEW seen AS SELECT v FROM t; USE app; SELECT 1 /* tag shell read */",
        &[],
    );
    assert_eq!(stage.cluster.servers_that_ran("INSERT INTO t VALUES (1", &mark), ["primary"]);
    stage.cluster.settle();
    let all = "SELECT * FROM t ORDER BY id; SELECT count(*) FROM seen";
    assert_eq!(shell(all, &[]), "1\tone\n2\tNULL\n2\n");
    assert_eq!(
        shell("SET @a = 5; SELECT @a + 1; SET NAMES latin1; SELECT @@character_set_client", &[]),
        "6\nlatin1\n"
    );
    // A file of the client's, if the client lets the database have it.
    let scratch = Scratch::new("file");
    let file = scratch.path().join("rows.txt");
    let rows: String = (10..20_000).map(|n| format!("{n}\trow {n}\n")).collect();
    std::fs::write(&file, rows).expect("our own directory");
    let load = format!("LOAD DATA LOCAL INFILE '{}' INTO TABLE t; SELECT count(*) FROM t", file.display());
    assert_eq!(shell(&load, &["--local-infile=1"]), "19992\n");
    let mut refused = tool(shell_name, &stage);
    let refused = refused.args(["--local-infile=0", "-e", &load, "app"]).output().expect("a shell");
    assert!(!refused.status.success(), "a file went out that nobody offered");
    shell("DELETE FROM t WHERE id > 9", &[]);
    let dump = |port: Option<u16>| {
        let mut command = tool(dump_name, &stage);
        if let Some(port) = port {
            command.arg(format!("--port={port}"));
        }
        if make == Make::MySql {
            // Who dumps may not ask for positions.
            command.arg("--set-gtid-purged=OFF");
        }
        let options = ["--single-transaction", "--skip-dump-date", "--no-tablespaces", "--routines", "app"];
        let dumped = said(&command.args(options).output().expect("a dump"));
        // The one line that names the address.
        dumped.lines().filter(|line| !line.starts_with("-- Host")).collect::<Vec<_>>().join("\n")
    };
    if make == Make::MariaDb {
        // By a command of the protocol's own, to those with the right.
        stage.cluster.primary.sql("GRANT RELOAD ON *.* TO app@'%'").ok();
        let flushed = tool(dump_name, &stage).args(["--flush-logs", "app"]).output();
        assert!(said(&flushed.expect("a dump")).contains("INSERT INTO `t` VALUES"));
    }
    let through = dump(None);
    assert!(through.contains("INSERT INTO `t` VALUES"), "{through}");
    assert_eq!(through, dump(Some(stage.cluster.primary.port())));
}

#[test]
fn mariadb_shell_and_dump() {
    shell_and_dump(Make::MariaDb, "mariadb", "mariadb-dump");
}

#[test]
fn mysql_shell_and_dump() {
    shell_and_dump(Make::MySql, "mysql", "mysqldump");
}
