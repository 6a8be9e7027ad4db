//! The benchmark: the database alone, a byte forwarder, PgBouncer and Splitpool, side by side in one run.
//!
//! Started by `integration/bench`. The order of targets turns every round; a ratio is formed inside a round,
//! and what is printed is the median over rounds. CPU and transactions are taken over a window inside each run,
//! after the sign-ins and a moment of warming up, so no SCRAM work counts.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use integration::meter::{cpu_ns, median, memory_kb};
use integration::paths::{self, Scratch, in_path, postgres_program};
use integration::plan::Plan;
use integration::process::Process;
use integration::{Cluster, Config, Login, Options, PASSWORD, Proxy, Server, Wire, footprint, keeper, until};
use rustix::process::Signal;

const SCALE: u32 = 10;
const WARM_UP: Duration = Duration::from_millis(700);
/// Splitpool in front of the primary and one replica: as many databases are at work as behind the others.
const ONE_REPLICA: &str = "splitpool-1";
/// Backends of each pooler, per server: the same for all.
const POOL_SIZE: u32 = 20;

/// What clients connect to, and the processes whose cost is its own.
struct Target {
    name: String,
    port: u16,
    process: Option<Process>,
    /// Kept for its end: a program of someone else's.
    child: Option<Child>,
}

impl Drop for Target {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

/// Starts a program and returns when its port takes connections.
fn serve(name: &str, command: &mut Command, port: u16) -> Result<Target, Box<dyn Error>> {
    let child =
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0).spawn()?;
    let process = Process::of(child.id());
    process.into_iter().for_each(keeper::keep);
    let target = Target { name: name.to_owned(), port, process, child: Some(child) };
    until(&format!("{name} serves"), Duration::from_secs(10), || Wire::connect(port).ok());
    Ok(target)
}

fn pgbouncer(cluster: &Cluster, scratch: &Scratch, idle: usize) -> Result<Target, Box<dyn Error>> {
    let program = in_path("pgbouncer").ok_or("no pgbouncer: apt-get install -y pgbouncer")?;
    let port = paths::free_port();
    let dir = scratch.path().join("pgbouncer");
    fs::create_dir(&dir)?;
    let users = dir.join("users.txt");
    fs::write(&users, format!("\"app\" \"{PASSWORD}\"\n"))?;
    let file = dir.join("pgbouncer.ini");
    fs::write(
        &file,
        format!(
            "[databases]\napp = host=127.0.0.1 port={} dbname=app\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = scram-sha-256\nauth_file = {}\npool_mode = transaction\n\
             default_pool_size = {POOL_SIZE}\nmax_client_conn = {}\nserver_tls_sslmode = disable\n\
             log_connections = 0\nlog_disconnections = 0\nlog_stats = 0\nignore_startup_parameters = extra_float_digits\n",
            cluster.primary.port(),
            users.display(),
            idle + 1000,
        ),
    )?;
    let mut command = Command::new(program);
    command.arg("-q").arg(&file);
    if let Some((user, group)) = paths::account() {
        // It refuses root, as the databases do.
        paths::hand_over(&dir);
        command.uid(user).gid(group);
    }
    serve("pgbouncer", &mut command, port)
}

fn forward(cluster: &Cluster) -> Result<Target, Box<dyn Error>> {
    let port = paths::free_port();
    let program = std::env::current_exe()?.with_file_name("forward");
    let to = cluster.primary.port().to_string();
    serve("forward", Command::new(program).args([port.to_string(), to]), port)
}

/// Arguments of pgbench for a workload.
fn arguments(workload: &str, scratch: &Path) -> Result<Vec<String>, Box<dyn Error>> {
    let script = |name: &str, share: u32| format!("{}@{share}", scratch.join(name).display());
    let words: Vec<String> = match workload {
        "simple" | "extended" | "prepared" => vec!["-S".into(), "-M".into(), workload.into()],
        "mixed" => [
            "-M",
            "simple",
            "-s",
            &SCALE.to_string(),
            "-f",
            &script("read.sql", 9),
            "-f",
            &script("write.sql", 1),
        ]
        .map(str::to_owned)
        .to_vec(),
        _ => return Err(format!("unknown workload {workload}").into()),
    };
    Ok(words)
}

/// What one run showed.
#[derive(Clone, Copy)]
struct Run {
    tps: f64,
    p50_us: f64,
    p99_us: f64,
    cpu_us: Option<f64>,
}

fn unix_time() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

fn logs(scratch: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(scratch).into_iter().flatten().flatten().map(|entry| entry.path());
    entries
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("log.")))
        .collect()
}

/// One run; None when the target fails clients, whose speed then means nothing.
fn measure(
    target: &Target,
    workload: &str,
    clients: usize,
    seconds: u64,
    scratch: &Path,
) -> Result<Option<Run>, Box<dyn Error>> {
    logs(scratch).into_iter().try_for_each(fs::remove_file)?;
    let begun = Instant::now();
    // Long enough for the sign-ins, whatever they cost; it is ended when the window is over.
    let mut load = Command::new(postgres_program("pgbench"))
        .args(["-h", "127.0.0.1", "-U", "app", "-n", "-j", "1", "-T", "60", "--log"])
        .args(["-p", &target.port.to_string(), "-c", &clients.to_string()])
        .arg(format!("--log-prefix={}", scratch.join("log").display()))
        .args(arguments(workload, scratch)?)
        .arg("app")
        .env("PGPASSWORD", PASSWORD)
        .env("PGSSLMODE", "disable")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(scratch.join("load.err"))?)
        .spawn()?;
    let process = Process::of(load.id());
    process.into_iter().for_each(keeper::keep);
    // The log has bytes once every client has signed in and the first thousand transactions are done.
    let has_begun = || logs(scratch).iter().any(|path| fs::metadata(path).is_ok_and(|meta| meta.len() > 0));
    while !has_begun() && begun.elapsed() < Duration::from_secs(30) && load.try_wait()?.is_none() {
        thread::sleep(Duration::from_millis(10));
    }
    thread::sleep(WARM_UP);
    let ids: Vec<u32> = target.process.iter().map(Process::id).collect();
    let (from, cpu) = (unix_time(), cpu_ns(&ids));
    thread::sleep(Duration::from_secs(seconds));
    let (to, cpu) = (unix_time(), cpu_ns(&ids) - cpu);
    // pgbench writes its log by blocks: what it holds back must be out before it is ended.
    thread::sleep(Duration::from_millis(500));
    if let Some(process) = process {
        process.signal(Signal::INT);
    }
    thread::sleep(Duration::from_millis(100));
    load.kill().ok();
    load.wait()?;
    process.into_iter().for_each(keeper::forget);

    let said = fs::read_to_string(scratch.join("load.err"))?;
    if let Some(line) = said.lines().find(|line| line.contains("aborted") || line.contains("ERROR")) {
        eprintln!("{} fails: {line}", target.name);
        return Ok(None);
    }
    let mut waits: Vec<f64> = Vec::new();
    let mut last: f64 = 0.0;
    for path in logs(scratch) {
        for line in fs::read_to_string(path)?.lines() {
            // client, transaction, time in us, script, second, microsecond
            let fields: Vec<f64> = line.split(' ').filter_map(|field| field.parse().ok()).collect();
            let [_, _, wait, _, second, micro, ..] = fields[..] else { continue };
            let at = second + micro / 1e6;
            if at >= from && at < to {
                waits.push(wait);
                last = last.max(at);
            }
        }
    }
    if waits.is_empty() {
        return Err(format!(
            "{} {workload} {clients}: {}",
            target.name,
            fs::read_to_string(scratch.join("load.err"))?
        )
        .into());
    }
    waits.sort_by(f64::total_cmp);
    let at = |share: f64| waits[(((waits.len() - 1) as f64) * share) as usize];
    let count = waits.len() as f64;
    // What the log held back at its end is missing from the count and from the window alike.
    let window = (last - from) / (to - from);
    let cpu_us = target.process.map(|_| cpu as f64 * window / 1000.0 / count);
    Ok(Some(Run { tps: count / (last - from), p50_us: at(0.5), p99_us: at(0.99), cpu_us }))
}

/// Kilobytes for each of many signed-in clients that do nothing, and how many there were.
fn idle_memory(target: &Target, wanted: usize) -> Result<(f64, usize), Box<dyn Error>> {
    let process = target.process.ok_or("no process of its own")?;
    let login = Login::new(target.port, "app", PASSWORD, "app");
    // One goes first, so that what the first client brings along is not counted.
    let _first = Wire::login(&login)?;
    let before = memory_kb(process.id());
    let mut held = Vec::with_capacity(wanted);
    for number in 0..wanted {
        match Wire::login(&login) {
            Ok(wire) => held.push(wire),
            Err(error) => {
                eprintln!("{}: {error} at client {number}", target.name);
                break;
            }
        }
        if number % 200 == 199 {
            thread::sleep(Duration::from_millis(50));
        }
    }
    thread::sleep(Duration::from_secs(2));
    let grown = memory_kb(process.id()).saturating_sub(before);
    Ok((grown as f64 / held.len().max(1) as f64, held.len()))
}

type Runs = BTreeMap<(usize, String, usize, String), Run>;

/// Median over rounds of a figure, and of its ratio to another target's in the same round.
fn summary(
    runs: &Runs,
    cell: (&str, usize, &str),
    base: &str,
    figure: impl Fn(&Run) -> Option<f64>,
) -> (f64, f64) {
    let (workload, clients, target) = cell;
    let of = |round: usize, name: &str| {
        runs.get(&(round, workload.to_owned(), clients, name.to_owned())).and_then(&figure)
    };
    let rounds = runs.keys().map(|key| key.0).max().map_or(0, |last| last + 1);
    let values: Vec<f64> = (0..rounds).filter_map(|round| of(round, target)).collect();
    let ratios: Vec<f64> =
        (0..rounds).filter_map(|round| Some(of(round, target)? / of(round, base)?)).collect();
    (median(&values), median(&ratios))
}

fn print_tables(plan: &Plan, runs: &Runs) {
    let cpu = |run: &Run| run.cpu_us;
    for workload in &plan.workloads {
        println!("\n### {workload}\n");
        println!(
            "| clients | target | TPS | x direct | p50 us | p99 us | CPU us/txn | x forward | x pgbouncer |"
        );
        println!("|--:|---|--:|--:|--:|--:|--:|--:|--:|");
        for clients in &plan.clients {
            for target in &plan.targets {
                let cell = (workload.as_str(), *clients, target.as_str());
                let (tps, of_direct) = summary(runs, cell, "direct", |run| Some(run.tps));
                let p50 = summary(runs, cell, "direct", |run| Some(run.p50_us)).0;
                let p99 = summary(runs, cell, "direct", |run| Some(run.p99_us)).0;
                let (own, of_forward) = summary(runs, cell, "forward", cpu);
                let of_pgbouncer = summary(runs, cell, "pgbouncer", cpu).1;
                if tps == 0.0 {
                    println!("| {clients} | {target} | fails | | | | | | |");
                    continue;
                }
                let shown = |value: f64, digits: usize| {
                    if value == 0.0 { "-".to_owned() } else { format!("{value:.digits$}") }
                };
                println!(
                    "| {clients} | {target} | {tps:.0} | {} | {p50:.0} | {p99:.0} | {} | {} | {} |",
                    shown(of_direct, 2),
                    shown(own, 1),
                    shown(of_forward, 2),
                    shown(of_pgbouncer, 2),
                );
            }
        }
    }
}

/// Beside what is promised. The machine should do nothing else meanwhile.
fn print_footprint(cluster: &Cluster, starts: usize) {
    let found = footprint::measure(cluster, starts);
    println!("\n### At rest, in front of three endpoints, medians of {starts} starts\n");
    println!("| | found | bound |\n|---|--:|--:|");
    println!("| ready after | {:.0} ms | 100 ms |", found.ready_ms);
    println!("| resident | {:.1} MiB | 15 MiB |", found.resident_kb / 1024.0);
    println!("| binary | {:.1} MiB | 25 MiB |", found.binary as f64 / f64::from(1 << 20));
}

fn run(plan: &Plan, starts: usize) -> Result<(), Box<dyn Error>> {
    let scratch = Scratch::new("bench");
    let settings = vec![("shared_buffers", "256MB".to_owned())];
    let cluster = Cluster::with(&Options { replicas: 2, log_statement: "none", settings });
    let made = Command::new(postgres_program("pgbench"))
        .args([
            "-h",
            "127.0.0.1",
            "-U",
            "app",
            "-i",
            "-q",
            "-s",
            &SCALE.to_string(),
            "-p",
            &cluster.primary.port().to_string(),
        ])
        .arg("app")
        .env("PGPASSWORD", PASSWORD)
        .output()?;
    if !made.status.success() {
        return Err(String::from_utf8_lossy(&made.stderr).into());
    }
    cluster.settle();
    let read =
        "\\set aid random(1, 100000 * :scale)\nSELECT abalance FROM pgbench_accounts WHERE aid = :aid;\n";
    let write = "\\set aid random(1, 100000 * :scale)\n\\set d random(-5000, 5000)\n\
                 UPDATE pgbench_accounts SET abalance = abalance + :d WHERE aid = :aid;\n";
    fs::write(scratch.path().join("read.sql"), read)?;
    fs::write(scratch.path().join("write.sql"), write)?;

    let mut proxies = Vec::new();
    let mut targets = Vec::new();
    for name in &plan.targets {
        targets.push(match name.as_str() {
            "direct" => {
                Target { name: name.clone(), port: cluster.primary.port(), process: None, child: None }
            }
            "forward" => forward(&cluster)?,
            "pgbouncer" => pgbouncer(&cluster, &scratch, plan.idle)?,
            "splitpool" | ONE_REPLICA => {
                let mut config = Config::of(&cluster).raw("pool_size", &POOL_SIZE.to_string());
                let replicas = if name == ONE_REPLICA { 1 } else { cluster.replicas.len() };
                config.endpoints.truncate(1 + replicas);
                let started = Proxy::start(config);
                let ports: Vec<u16> = cluster.replicas.iter().take(replicas).map(Server::port).collect();
                started.await_ready();
                started.await_reads_on(&ports);
                let (port, process) = (started.port(), Some(started.process()));
                proxies.push(started);
                Target { name: name.clone(), port, process, child: None }
            }
            _ => return Err(format!("unknown target {name}").into()),
        });
    }

    let mut runs = Runs::new();
    for round in 0..plan.rounds {
        for workload in &plan.workloads {
            for clients in &plan.clients {
                for turn in 0..targets.len() {
                    let target = &targets[(turn + round) % targets.len()];
                    let run = measure(target, workload, *clients, plan.seconds, scratch.path())?;
                    let Some(run) = run else { continue };
                    eprintln!(
                        "round {round} {workload:<9} {clients:>3} clients {:<10} {:>8.0} tps  p50 {:>6.0}  p99 {:>6.0}  cpu {:>6.1}",
                        target.name,
                        run.tps,
                        run.p50_us,
                        run.p99_us,
                        run.cpu_us.unwrap_or(0.0)
                    );
                    runs.insert((round, workload.clone(), *clients, target.name.clone()), run);
                }
            }
        }
    }
    if plan.rounds > 0 {
        println!(
            "PostgreSQL, two replicas, {POOL_SIZE} backends per server, {} rounds of {} s, medians.",
            plan.rounds, plan.seconds
        );
        println!(
            "Ratios of TPS to direct, and of CPU to forward and to pgbouncer, are formed within a round."
        );
        print_tables(plan, &runs);
    }
    if plan.idle > 0 {
        println!("\n### Memory per idle client\n\n| target | clients | KB each |\n|---|--:|--:|");
        for target in
            targets.iter().filter(|target| matches!(target.name.as_str(), "pgbouncer" | "splitpool"))
        {
            let (each, held) = idle_memory(target, plan.idle)?;
            println!("| {} | {held} | {each:.1} |", target.name);
        }
    }
    drop(targets);
    drop(proxies);
    if starts > 0 {
        print_footprint(&cluster, starts);
    }
    Ok(())
}

fn main() -> ExitCode {
    let mut plan = Plan::new("direct,forward,pgbouncer,splitpool", "simple,extended,prepared,mixed", 5, 5000);
    let mut starts = 9;
    let own = |flag: &str, value: &str| match flag {
        "--starts" => Ok(value.parse().map(|asked| starts = asked).map(|()| true)?),
        _ => Ok(false),
    };
    match plan.read(std::env::args().skip(1), own).and_then(|()| run(&plan, starts)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}
