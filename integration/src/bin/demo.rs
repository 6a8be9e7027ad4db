//! The demonstration: a cluster, the proxy, a load of one write to nine reads, and a table of who served
//! what, by the databases' own record as well as the proxy's.
//!
//! Started by `integration/demo`. Everything runs on loopback and ends with it.

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::io::{IsTerminal, Write as _};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use integration::http::Samples;
use integration::paths::{Scratch, postgres_program};
use integration::process::Process;
use integration::{Cluster, Config, Options, PASSWORD, Proxy, Server, Wire, keeper};

/// Transactions a second that the load offers, and how long it lasts at most.
const RATE: u32 = 300;
const LONGEST: Duration = Duration::from_secs(30 * 60);
const ONCE: Duration = Duration::from_secs(8);

const SCHEMA: &str = "
    CREATE TABLE shop_items (id int PRIMARY KEY, name text, stock int);
    INSERT INTO shop_items SELECT n, 'item ' || n, 1000 FROM generate_series(1, 10000) n";
const READ: &str = "\\set id random(1, 10000)\nSELECT name, stock FROM shop_items WHERE id = :id;\n";
const WRITE: &str = "\\set id random(1, 10000)\nUPDATE shop_items SET stock = stock - 1 WHERE id = :id;\n";

/// What one server says it has run of the load.
#[derive(Clone, Copy, Default)]
struct Served {
    reads: u64,
    writes: u64,
}

fn served(admin: &mut Wire) -> Served {
    let count =
        |what: &str| format!("coalesce(sum(calls) FILTER (WHERE query LIKE '{what}%shop_items%'), 0)");
    let reply =
        admin.query(&format!("SELECT {}, {} FROM pg_stat_statements", count("SELECT"), count("UPDATE")));
    let number = |column: usize| {
        let cell = reply.rows.first().and_then(|row| row.get(column)).and_then(Option::as_deref);
        cell.and_then(|text| text.parse().ok()).unwrap_or(0)
    };
    Served { reads: number(0), writes: number(1) }
}

fn load(port: u16, seconds: u64, scratch: &Scratch) -> Result<Child, Box<dyn Error>> {
    let file = |name: &str, text: &str| {
        let path = scratch.path().join(name);
        fs::write(&path, text).map(|()| path)
    };
    let child = Command::new(postgres_program("pgbench"))
        .args(["-h", "127.0.0.1", "-U", "app", "-n", "-c", "8", "-j", "1", "-M", "prepared"])
        .args(["-p", &port.to_string(), "-R", &RATE.to_string(), "-T", &seconds.to_string()])
        .args(["-f", &format!("{}@9", file("read.sql", READ)?.display())])
        .args(["-f", &format!("{}@1", file("write.sql", WRITE)?.display()), "app"])
        .env("PGPASSWORD", PASSWORD)
        .stdin(Stdio::null())
        .stdout(fs::File::create(scratch.path().join("load.txt"))?)
        .stderr(fs::File::create(scratch.path().join("load.err"))?)
        .spawn()?;
    Process::of(child.id()).into_iter().for_each(keeper::keep);
    Ok(child)
}

/// The table of one moment.
fn table(servers: &[&Server], now: &[Served], before: &[Served], metrics: &Samples) -> String {
    let mut out = format!(
        "{:<10} {:<16} {:<8} {:>8} {:>10} {:>8} {:>10} {:>8} {:>10}\n",
        "SERVER", "ADDRESS", "ROLE", "LAG", "READS", "/s", "WRITES", "/s", "BY PROXY"
    );
    for ((server, now), before) in servers.iter().zip(now).zip(before) {
        let address = server.address();
        let labels = [("endpoint", address.as_str())];
        let role = metrics.of("splitpool_endpoint_role", &labels).find(|sample| sample.value > 0.0);
        let role = role.and_then(|sample| sample.labels.get("role")).map_or("-", String::as_str);
        let lag = metrics.of("splitpool_endpoint_lag_seconds", &labels).next();
        let lag = lag.map_or_else(|| "-".to_owned(), |sample| format!("{:.0} ms", sample.value * 1000.0));
        writeln!(
            out,
            "{:<10} {address:<16} {role:<8} {lag:>8} {:>10} {:>8} {:>10} {:>8} {:>10}",
            server.name(),
            now.reads,
            now.reads - before.reads,
            now.writes,
            now.writes - before.writes,
            metrics.sum("splitpool_endpoint_latency_seconds_count", &labels),
        )
        .ok();
    }
    out.push_str("\nWHY STATEMENTS WENT WHERE (the proxy's count)\n");
    for sample in metrics.of("splitpool_statements_total", &[]).filter(|sample| sample.value > 0.0) {
        let label = |name: &str| sample.labels.get(name).map_or("-", String::as_str);
        writeln!(out, "  {:<8} {:<24} {:>10}", label("target"), label("reason"), sample.value).ok();
    }
    out
}

/// What is wrong with what was seen; empty when nothing is.
fn faults(all: &[Served]) -> Vec<String> {
    let Some((primary, replicas)) = all.split_first() else { return vec!["no servers".to_owned()] };
    let read: u64 = replicas.iter().map(|replica| replica.reads).sum();
    let mut wrong = Vec::new();
    for (number, replica) in replicas.iter().enumerate() {
        if replica.reads == 0 {
            wrong.push(format!("replica {} served no read", number + 1));
        }
        if replica.writes > 0 {
            wrong.push(format!("replica {} was sent {} writes", number + 1, replica.writes));
        }
    }
    if primary.writes == 0 {
        wrong.push("the primary served no write".to_owned());
    }
    if read < primary.reads {
        wrong.push(format!("replicas served {read} reads, the primary {}", primary.reads));
    }
    wrong
}

fn run(once: bool, over: &AtomicBool) -> Result<Vec<String>, Box<dyn Error>> {
    println!("Starting a primary and two streaming replicas ...");
    let cluster = Cluster::with(&Options { log_statement: "none", ..Options::default() });
    cluster.prepare(SCHEMA);
    let proxy = Proxy::start(Config::of(&cluster));
    proxy.await_cluster(&cluster);
    let psql = format!("PGPASSWORD={PASSWORD} psql -h 127.0.0.1 -p {} -U app app", proxy.port());
    println!("{}\n\nPaste this to join in:\n  {psql}\n", proxy.ready_line());

    let scratch = Scratch::new("load");
    let longest = if once { ONCE } else { LONGEST };
    let mut load = load(proxy.port(), longest.as_secs(), &scratch)?;
    let servers: Vec<&Server> = cluster.servers().collect();
    let mut admins: Vec<Wire> = servers.iter().map(|server| server.admin()).collect();
    let mut before = vec![Served::default(); servers.len()];
    let begun = Instant::now();
    let mut ended = None;
    while !over.load(Ordering::Relaxed) && begun.elapsed() < longest && ended.is_none() {
        let now: Vec<Served> = admins.iter_mut().map(served).collect();
        let table = table(&servers, &now, &before, &proxy.metrics());
        let clear = if std::io::stdout().is_terminal() { "\x1b[H\x1b[2J" } else { "" };
        print!("{clear}Splitpool, {} s. Ctrl-C ends it.\n\n{table}\n  {psql}\n", begun.elapsed().as_secs());
        std::io::stdout().flush()?;
        before = now;
        for _ in 0..20 {
            thread::sleep(Duration::from_millis(50));
            ended = load.try_wait()?;
            if over.load(Ordering::Relaxed) || ended.is_some() {
                break;
            }
        }
    }
    let all: Vec<Served> = admins.iter_mut().map(served).collect();
    if ended.is_none() {
        load.kill()?;
        load.wait()?;
    }
    let mut wrong = faults(&all);
    if ended.is_some_and(|status| !status.success()) {
        wrong.push(format!("the load failed: {}", fs::read_to_string(scratch.path().join("load.err"))?));
    }
    Ok(wrong)
}

fn main() -> ExitCode {
    let once = std::env::args().any(|argument| argument == "--once");
    let over = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP] {
        if let Err(error) = signal_hook::flag::register(signal, Arc::clone(&over)) {
            eprintln!("signal {signal}: {error}");
        }
    }
    let wrong = run(once, &over).unwrap_or_else(|error| vec![error.to_string()]);
    println!("\nEverything that was started is ended and removed.");
    for line in &wrong {
        eprintln!("demo: {line}");
    }
    // A look that a person ended says nothing about the whole.
    let is_bad = !wrong.is_empty() && (once || !over.load(Ordering::Relaxed));
    ExitCode::from(u8::from(is_bad))
}
