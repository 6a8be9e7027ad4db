//! The benchmark for MariaDB and MySQL: the server alone, a byte forwarder and Splitpool under sysbench, side by side in
//! one run.
//!
//! Started by `integration/bench --engine mariadb|mysql`. The order of targets turns every round, and what is printed is
//! the median over rounds. CPU and statements are taken over a window inside each run, after the sign-ins and a moment of
//! warming up; statements are counted by the servers themselves.

use std::collections::BTreeMap;
use std::error::Error;
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use integration::meter::{cpu_ns, median, memory_kb};
use integration::mysql::wire::{Wire, cap};
use integration::mysql::{Cluster, Make, Session};
use integration::paths::{self, in_path};
use integration::process::Process;
use integration::{Config, PASSWORD, Proxy, keeper, until};

const WARM_UP: Duration = Duration::from_millis(1000);
const ROWS: u32 = 10_000;

/// What to measure.
struct Plan {
    make: Make,
    workloads: Vec<String>,
    clients: Vec<usize>,
    rounds: usize,
    seconds: u64,
    idle: usize,
}

impl Plan {
    fn of(mut arguments: impl Iterator<Item = String>) -> Result<Self, Box<dyn Error>> {
        let list = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
        let mut plan = Self {
            make: Make::MariaDb,
            workloads: list("point-text,point-prepared,read-text,write-text"),
            clients: vec![1, 16, 64],
            rounds: 3,
            seconds: 3,
            idle: 2000,
        };
        while let Some(flag) = arguments.next() {
            let value = arguments.next().ok_or_else(|| format!("{flag} wants a value"))?;
            match flag.as_str() {
                "--engine" => {
                    let known = Make::ALL.into_iter().find(|make| make.name() == value);
                    plan.make = known.ok_or_else(|| format!("unknown engine {value}"))?;
                }
                "--workloads" => plan.workloads = list(&value),
                "--clients" => {
                    plan.clients = list(&value).iter().map(|text| text.parse()).collect::<Result<_, _>>()?
                }
                "--rounds" => plan.rounds = value.parse()?,
                "--seconds" => plan.seconds = value.parse()?,
                "--idle" => plan.idle = value.parse()?,
                _ => return Err(format!("unknown flag {flag}").into()),
            }
        }
        Ok(plan)
    }
}

/// The script of sysbench for a workload, and how it is to run it.
fn script(workload: &str) -> Result<Vec<&'static str>, Box<dyn Error>> {
    let (name, mode) = workload.split_once('-').ok_or("a workload is SCRIPT-MODE")?;
    let script = match name {
        "point" => "oltp_point_select",
        "read" => "oltp_read_only",
        "write" => "oltp_read_write",
        _ => return Err(format!("unknown workload {workload}").into()),
    };
    let mode = if mode == "text" { "--db-ps-mode=disable" } else { "--db-ps-mode=auto" };
    Ok(if name == "read" { vec![script, mode, "--skip-trx"] } else { vec![script, mode] })
}

/// What clients connect to, and the process whose cost is its own.
struct Target {
    name: &'static str,
    port: u16,
    process: Option<Process>,
}

fn sysbench(
    port: u16,
    clients: usize,
    seconds: u64,
    words: &[&str],
    verb: &str,
) -> Result<Command, Box<dyn Error>> {
    let program = in_path("sysbench").ok_or("no sysbench: apt-get install -y sysbench")?;
    let mut command = Command::new(program);
    command.args(words).arg("--db-driver=mysql").arg("--mysql-host=127.0.0.1");
    command.arg(format!("--mysql-port={port}")).arg("--mysql-user=app").arg("--mysql-db=app");
    command.arg(format!("--mysql-password={PASSWORD}")).arg("--tables=1").arg(format!("--table-size={ROWS}"));
    command.arg(format!("--threads={clients}")).arg(format!("--time={seconds}")).arg(verb);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
    Ok(command)
}

/// Statements of clients so far, on all servers.
fn statements(admins: &mut [Session]) -> u64 {
    let count = |admin: &mut Session| {
        let rows = admin.query("SHOW GLOBAL STATUS LIKE 'Questions'").ok().rows;
        rows.first().and_then(|row| row.get(1)?.as_deref()?.parse::<u64>().ok()).unwrap_or(0)
    };
    admins.iter_mut().map(count).sum()
}

/// What one run came to.
#[derive(Clone, Copy)]
struct Figures {
    /// Statements a second.
    rate: f64,
    /// Microseconds on a CPU for one statement; 0 where nothing stands in between.
    cpu_us: f64,
}

fn measure(
    target: &Target,
    admins: &mut [Session],
    plan: &Plan,
    workload: &str,
    clients: usize,
) -> Result<Figures, Box<dyn Error>> {
    let words = script(workload)?;
    let mut running = sysbench(target.port, clients, plan.seconds + 2, &words, "run")?.spawn()?;
    thread::sleep(WARM_UP);
    let cpu = || target.process.map_or(0, |process| cpu_ns(&[process.id()]));
    let (begun, cpu_before, before) = (Instant::now(), cpu(), statements(admins));
    thread::sleep(Duration::from_secs(plan.seconds));
    let (after, cpu_after, took) = (statements(admins), cpu(), begun.elapsed());
    let ended = running.wait()?;
    if !ended.success() {
        return Err(format!("sysbench through {}: {ended}", target.name).into());
    }
    let ran = (after - before) as f64;
    Ok(Figures { rate: ran / took.as_secs_f64(), cpu_us: (cpu_after - cpu_before) as f64 / 1000.0 / ran })
}

fn run(plan: &Plan) -> Result<(), Box<dyn Error>> {
    let cluster = Cluster::start(plan.make, 1);
    for server in cluster.servers() {
        server.set("general_log", "OFF");
    }
    let prepared = sysbench(cluster.primary.port(), 1, 0, &["oltp_point_select"], "prepare")?.status()?;
    if !prepared.success() {
        return Err("sysbench could not prepare its table".into());
    }
    cluster.settle();
    let proxy = Proxy::start(Config::of_mysql(&cluster).text("max_lag", "60s"));
    let port = paths::free_port();
    let forward = std::env::current_exe()?.with_file_name("forward");
    let mut forwarding = Command::new(forward);
    forwarding.args([port.to_string(), cluster.primary.port().to_string()]);
    let mut forwarding = forwarding.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
    let forwarder = Process::of(forwarding.id());
    forwarder.into_iter().for_each(keeper::keep);
    for port in [port, proxy.port()] {
        until("it serves", Duration::from_secs(30), || {
            let mut session = Session::login(port, "app", PASSWORD, "app").ok()?;
            session.try_query("SELECT 1").ok().filter(|reply| reply.error.is_none())
        });
    }
    let targets = [
        Target { name: "direct", port: cluster.primary.port(), process: None },
        Target { name: "forward", port, process: forwarder },
        Target { name: "splitpool", port: proxy.port(), process: Some(proxy.process()) },
    ];
    let mut admins: Vec<Session> = cluster.servers().map(integration::mysql::Server::admin).collect();
    println!("{}, {} rounds of {} s\n", plan.make.name(), plan.rounds, plan.seconds);
    println!("| workload | clients | target | statements/s | CPU, us/statement | to forwarder |");
    println!("|---|---|---|---|---|---|");
    for workload in &plan.workloads {
        for clients in &plan.clients {
            let mut found: BTreeMap<&str, Vec<Figures>> = BTreeMap::new();
            for round in 0..plan.rounds {
                for at in 0..targets.len() {
                    let target = &targets[(at + round) % targets.len()];
                    let figures = measure(target, &mut admins, plan, workload, *clients)?;
                    found.entry(target.name).or_default().push(figures);
                }
            }
            let middle = |name: &str, of: fn(&Figures) -> f64| {
                median(&found.get(name).into_iter().flatten().map(of).collect::<Vec<f64>>())
            };
            for target in &targets {
                let (rate, cpu) = (middle(target.name, |f| f.rate), middle(target.name, |f| f.cpu_us));
                let ratio = cpu / middle("forward", |f| f.cpu_us);
                println!("| {workload} | {clients} | {} | {rate:.0} | {cpu:.2} | {ratio:.2} |", target.name);
            }
        }
    }
    let before = memory_kb(proxy.process().id());
    let sign_in = || Wire::login(proxy.port(), cap::CONNECT_WITH_DB | cap::DEPRECATE_EOF, 45);
    let mut idle = (0..plan.idle).map(|_| sign_in()).collect::<Result<Vec<_>, _>>()?;
    // Each has done something once, as clients of pools have.
    for wire in &mut idle {
        wire.query("SELECT c FROM sbtest1 WHERE id = 5");
    }
    let after = memory_kb(proxy.process().id());
    let each = (after - before) as f64 / plan.idle as f64;
    println!("\n{} idle clients: {each:.1} kB each", plan.idle);
    drop(idle);
    forwarding.kill()?;
    forwarding.wait()?;
    Ok(())
}

fn main() -> ExitCode {
    match Plan::of(std::env::args().skip(1)).and_then(|plan| run(&plan)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}
