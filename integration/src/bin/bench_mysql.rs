//! The benchmark for MariaDB and MySQL: the server alone, a byte forwarder, MySQL Router where it is installed, and
//! Splitpool under sysbench, side by side in one run, one make after the other.
//!
//! Started by `integration/bench --engine mariadb,mysql`. The order of targets turns every round, and what is printed is
//! the median over rounds. CPU and statements are taken over a window inside each run, after the sign-ins and a moment of
//! warming up; statements are counted by the servers themselves.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use integration::meter::{cpu_ns, median, memory_kb};
use integration::mysql::wire::{Wire, cap};
use integration::mysql::{Cluster, Make, Session};
use integration::paths::{self, Scratch, in_path};
use integration::plan::{Plan, list};
use integration::process::Process;
use integration::{Config, PASSWORD, Proxy, keeper, sysbench, until};

const WARM_UP: Duration = Duration::from_millis(1000);

/// What clients connect to, and the process whose cost is its own.
struct Target {
    name: String,
    port: u16,
    process: Option<Process>,
    /// Kept for its end: a program that is not Splitpool.
    child: Option<Child>,
}

impl Target {
    /// Starts a program and returns when clients are served on its port.
    fn serve(name: &str, command: &mut Command, port: u16) -> Result<Self, Box<dyn Error>> {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let process = Process::of(child.id());
        process.into_iter().for_each(keeper::keep);
        let target = Self { name: name.to_owned(), port, process, child: Some(child) };
        target.await_service();
        Ok(target)
    }

    fn await_service(&self) {
        until(&format!("{} serves", self.name), Duration::from_secs(30), || {
            let mut session = Session::login(self.port, "app", PASSWORD, "app").ok()?;
            session.try_query("SELECT 1").ok().filter(|reply| reply.error.is_none())
        });
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

fn forward(cluster: &Cluster) -> Result<Target, Box<dyn Error>> {
    let port = paths::free_port();
    let program = std::env::current_exe()?.with_file_name("forward");
    let to = cluster.primary.port().to_string();
    Target::serve("forward", Command::new(program).args([port.to_string(), to]), port)
}

/// MySQL Router as it is without the metadata of an InnoDB Cluster: everything goes to the primary.
fn router(cluster: &Cluster, scratch: &Scratch) -> Result<Option<Target>, Box<dyn Error>> {
    let Some(program) = in_path("mysqlrouter") else { return Ok(None) };
    let port = paths::free_port();
    let dir = scratch.path().join(format!("router-{port}"));
    fs::create_dir(&dir)?;
    let file = dir.join("mysqlrouter.conf");
    let (folder, to) = (dir.display(), cluster.primary.port());
    fs::write(
        &file,
        format!(
            "[DEFAULT]\nlogging_folder={folder}\nruntime_folder={folder}\ndata_folder={folder}\n[logger]\nlevel=WARNING\n\
             [routing:primary]\nbind_address=127.0.0.1\nbind_port={port}\ndestinations=127.0.0.1:{to}\n\
             routing_strategy=first-available\nprotocol=classic\nclient_ssl_mode=PASSTHROUGH\nserver_ssl_mode=AS_CLIENT\n"
        ),
    )?;
    Target::serve("mysqlrouter", Command::new(program).arg("-c").arg(&file), port).map(Some)
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
    let words = sysbench::script(workload)?;
    let mut running = sysbench::command(target.port, clients, plan.seconds + 2, &words, "run")?.spawn()?;
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

fn run(plan: &Plan, make: Make) -> Result<(), Box<dyn Error>> {
    let scratch = Scratch::new("bench-mysql");
    let cluster = Cluster::start(make, 1);
    for server in cluster.servers() {
        server.set("general_log", "OFF");
    }
    let prepared =
        sysbench::command(cluster.primary.port(), 1, 0, &["oltp_point_select"], "prepare")?.status()?;
    if !prepared.success() {
        return Err("sysbench could not prepare its table".into());
    }
    cluster.settle();
    let mut proxy = None;
    let mut targets = Vec::new();
    for name in &plan.targets {
        match name.as_str() {
            "direct" => {
                let port = cluster.primary.port();
                targets.push(Target { name: name.clone(), port, process: None, child: None });
            }
            "forward" => targets.push(forward(&cluster)?),
            "mysqlrouter" => match router(&cluster, &scratch)? {
                Some(target) => targets.push(target),
                None => eprintln!("mysqlrouter is left out: it is not installed"),
            },
            "splitpool" => {
                // What goes past the proxy is not encrypted either: sysbench does not ask for it.
                let config = Config::of_mysql(&cluster).raw("tls", "{ mode = \"off\" }");
                let started = Proxy::start(config.text("max_lag", "60s"));
                let (port, process) = (started.port(), Some(started.process()));
                let target = Target { name: name.clone(), port, process, child: None };
                target.await_service();
                targets.push(target);
                proxy = Some(started);
            }
            _ => return Err(format!("unknown target {name}").into()),
        }
    }
    let mut admins: Vec<Session> = cluster.servers().map(integration::mysql::Server::admin).collect();
    println!("\n### {}, {} rounds of {} s\n", make.name(), plan.rounds, plan.seconds);
    println!("| workload | clients | target | statements/s | CPU, us/statement | to forwarder |");
    println!("|---|---|---|---|---|---|");
    for workload in &plan.workloads {
        for clients in &plan.clients {
            let mut found: BTreeMap<String, Vec<Figures>> = BTreeMap::new();
            for round in 0..plan.rounds {
                for at in 0..targets.len() {
                    let target = &targets[(at + round) % targets.len()];
                    let figures = measure(target, &mut admins, plan, workload, *clients)?;
                    found.entry(target.name.clone()).or_default().push(figures);
                }
            }
            let middle = |name: &str, of: fn(&Figures) -> f64| {
                median(&found.get(name).into_iter().flatten().map(of).collect::<Vec<f64>>())
            };
            for target in &targets {
                let (rate, cpu) = (middle(&target.name, |f| f.rate), middle(&target.name, |f| f.cpu_us));
                let ratio = cpu / middle("forward", |f| f.cpu_us);
                println!("| {workload} | {clients} | {} | {rate:.0} | {cpu:.2} | {ratio:.2} |", target.name);
            }
        }
    }
    match &proxy {
        Some(proxy) if plan.idle > 0 => tell_idle_memory(proxy, plan.idle),
        _ => Ok(()),
    }
}

fn tell_idle_memory(proxy: &Proxy, clients: usize) -> Result<(), Box<dyn Error>> {
    let before = memory_kb(proxy.process().id());
    let sign_in = || Wire::login(proxy.port(), cap::CONNECT_WITH_DB | cap::DEPRECATE_EOF, 45);
    let mut idle = (0..clients).map(|_| sign_in()).collect::<Result<Vec<_>, _>>()?;
    // Each has done something once, as clients of pools have.
    for wire in &mut idle {
        wire.query("SELECT c FROM sbtest1 WHERE id = 5");
    }
    let each = memory_kb(proxy.process().id()).saturating_sub(before) as f64 / clients as f64;
    println!("\n{clients} idle clients: {each:.1} kB each");
    Ok(())
}

fn main() -> ExitCode {
    let workloads = "point-text,point-prepared,read-text,read-prepared,write-text,write-prepared";
    let mut plan = Plan::new("direct,forward,mysqlrouter,splitpool", workloads, 3, 2000);
    let mut makes = Make::ALL.to_vec();
    let engines = |flag: &str, value: &str| {
        if flag != "--engine" {
            return Ok(false);
        }
        let known = |name: &String| Make::ALL.into_iter().find(|make| make.name() == name);
        makes =
            list(value).iter().map(known).collect::<Option<_>>().ok_or("engines are mariadb and mysql")?;
        Ok(true)
    };
    let read = plan.read(std::env::args().skip(1), engines);
    match read.and_then(|()| makes.iter().try_for_each(|make| run(&plan, *make))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}
