//! What the released binary is laid out by: everything that happens often, for a few seconds each, on real databases.
//!
//! Started by `integration/release` with a binary that counts what it runs. It is ended as an operator would end it,
//! because it writes its counts when it ends.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use integration::mysql::{self, Make};
use integration::paths::{Scratch, in_path, postgres_program};
use integration::{Cluster, Config, Options, PASSWORD, Proxy, Server, sysbench};

const SECONDS: u64 = 2;
/// It may have many sessions to end.
const DRAIN: Duration = Duration::from_secs(60);

fn succeed(name: &str, command: &mut Command) -> Result<(), Box<dyn Error>> {
    let ended = command.stdin(Stdio::null()).output()?;
    if !ended.status.success() {
        return Err(format!("{name}: {}", String::from_utf8_lossy(&ended.stderr)).into());
    }
    Ok(())
}

fn pgbench(port: u16, tls: bool, words: &[&str]) -> Result<(), Box<dyn Error>> {
    let mut command = Command::new(postgres_program("pgbench"));
    command.args(["-h", "127.0.0.1", "-U", "app", "-p", &port.to_string()]).args(words).arg("app");
    command.env("PGPASSWORD", PASSWORD).env("PGSSLMODE", if tls { "require" } else { "disable" });
    succeed("pgbench", &mut command)
}

fn certificate(folder: &Path) -> Result<String, Box<dyn Error>> {
    let program = in_path("openssl").ok_or("no openssl: apt-get install -y openssl")?;
    let mut command = Command::new(program);
    command.current_dir(folder).args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
    ]);
    command.args([
        "-nodes",
        "-subj",
        "/CN=localhost",
        "-days",
        "2",
        "-keyout",
        "key.pem",
        "-out",
        "cert.pem",
    ]);
    succeed("openssl", &mut command)?;
    let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    Ok(format!("\n[listen.tls]\nmode = \"prefer\"\ncert = {cert:?}\nkey = {key:?}\n"))
}

fn end(proxy: &Proxy) -> Result<(), Box<dyn Error>> {
    match proxy.terminate(DRAIN) {
        Some(status) if status.success() => Ok(()),
        other => Err(format!("the proxy did not end well: {other:?}\n{}", proxy.log()).into()),
    }
}

fn postgres() -> Result<(), Box<dyn Error>> {
    let scratch = Scratch::new("train");
    let cluster = Cluster::with(&Options { replicas: 2, log_statement: "none", settings: Vec::new() });
    pgbench(cluster.primary.port(), false, &["-i", "-q", "-s", "2"])?;
    cluster.settle();
    let many = scratch.path().join("many.sql");
    fs::write(&many, "SELECT * FROM pgbench_accounts LIMIT 2000;\n")?;
    let config = Config::of(&cluster);
    let proxy = Proxy::start(Config { listen: certificate(scratch.path())?, ..config });
    proxy.await_ready();
    proxy.await_reads_on(&cluster.replicas.iter().map(Server::port).collect::<Vec<_>>());
    let (port, time) = (proxy.port(), SECONDS.to_string());
    let timed = ["-n", "-j", "1", "-T", &time];
    for mode in ["simple", "extended", "prepared"] {
        for (clients, kind, tls) in
            [("16", "-S", false), ("64", "-S", false), ("8", "-N", false), ("8", "-S", true)]
        {
            pgbench(port, tls, &[&timed[..], &["-M", mode, "-c", clients, kind]].concat())?;
        }
    }
    let file = many.display().to_string();
    pgbench(port, false, &[&timed[..], &["-M", "extended", "-c", "2", "-f", &file]].concat())?;
    end(&proxy)
}

fn mariadb() -> Result<(), Box<dyn Error>> {
    let cluster = mysql::Cluster::start(Make::MariaDb, 2);
    for server in cluster.servers() {
        server.set("general_log", "OFF");
    }
    let prepare = sysbench::command(cluster.primary.port(), 1, 0, &["oltp_point_select"], "prepare");
    succeed("sysbench", &mut prepare?)?;
    cluster.settle();
    let proxy = Proxy::start(Config::of_mysql(&cluster));
    proxy.await_ready();
    for kind in ["point", "read", "write"] {
        for mode in ["text", "prepared"] {
            for clients in [16, 64] {
                let words = sysbench::script(&format!("{kind}-{mode}"))?;
                let mut run = sysbench::command(proxy.port(), clients, SECONDS, &words, "run")?;
                // Two of its writers that wait for one another are told so by the database, not by the proxy.
                succeed("sysbench", run.arg("--mysql-ignore-errors=1213,1020,1205"))?;
            }
        }
    }
    end(&proxy)
}

fn main() -> ExitCode {
    match postgres().and_then(|()| mariadb()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("train: {error}");
            ExitCode::FAILURE
        }
    }
}
