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
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use integration::http::Samples;
use integration::mysql::{self, Make, Session};
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

/// A cluster of either kind, as the demonstration needs it.
trait Show {
    /// Name and address of each server, the primary first.
    fn servers(&self) -> Vec<(String, String)>;
    /// What each has run of the load so far.
    fn served(&mut self) -> Vec<Served>;
    /// What joins in by hand.
    fn shell(&self, port: u16) -> String;
    /// Begins to load the proxy.
    fn load(&mut self, port: u16, seconds: u64) -> Result<(), Box<dyn Error>>;
    /// Whether the load has ended by itself, and what went wrong with it.
    fn ended(&mut self) -> Option<Result<(), String>>;
    /// Ends the load.
    fn stop(&mut self);
}

struct Postgres {
    admins: Vec<Wire>,
    load: Option<Child>,
    scratch: Scratch,
    cluster: Cluster,
}

impl Postgres {
    fn start() -> (Self, Proxy) {
        let cluster = Cluster::with(&Options { log_statement: "none", ..Options::default() });
        cluster.prepare(SCHEMA);
        let proxy = Proxy::start(Config::of(&cluster));
        proxy.await_cluster(&cluster);
        let admins = cluster.servers().map(Server::admin).collect();
        (Self { admins, load: None, scratch: Scratch::new("load"), cluster }, proxy)
    }
}

impl Show for Postgres {
    fn servers(&self) -> Vec<(String, String)> {
        self.cluster.servers().map(|server| (server.name().to_owned(), server.address())).collect()
    }

    fn served(&mut self) -> Vec<Served> {
        self.admins.iter_mut().map(served).collect()
    }

    fn shell(&self, port: u16) -> String {
        format!("PGPASSWORD={PASSWORD} psql -h 127.0.0.1 -p {port} -U app app")
    }

    fn load(&mut self, port: u16, seconds: u64) -> Result<(), Box<dyn Error>> {
        self.load = Some(load(port, seconds, &self.scratch)?);
        Ok(())
    }

    fn ended(&mut self) -> Option<Result<(), String>> {
        let status = self.load.as_mut()?.try_wait().ok()??;
        let why = || fs::read_to_string(self.scratch.path().join("load.err")).unwrap_or_default();
        Some(if status.success() { Ok(()) } else { Err(why()) })
    }

    fn stop(&mut self) {
        if let Some(load) = &mut self.load {
            load.kill().ok();
            load.wait().ok();
        }
    }
}

/// MariaDB or MySQL: the load is ours, and servers count by user.
struct Mysql {
    admins: Vec<Session>,
    load: Vec<JoinHandle<Result<(), String>>>,
    over: Arc<AtomicBool>,
    cluster: mysql::Cluster,
}

impl Mysql {
    fn start(make: Make) -> (Self, Proxy) {
        let cluster = mysql::Cluster::start(make, 2);
        for server in cluster.servers() {
            server.set("general_log", "OFF");
            if make == Make::MariaDb {
                server.set("userstat", "ON");
            }
        }
        cluster.prepare("CREATE TABLE shop_items (id int PRIMARY KEY, name text, stock int)");
        let rows: Vec<String> = (1..=10_000).map(|n| format!("({n}, 'item {n}', 1000)")).collect();
        cluster.prepare(&format!("INSERT INTO shop_items VALUES {}", rows.join(",")));
        let proxy = Proxy::start(Config::of_mysql(&cluster));
        proxy.await_ready();
        let admins = cluster.servers().map(mysql::Server::admin).collect();
        (Self { admins, load: Vec::new(), over: Arc::default(), cluster }, proxy)
    }
}

impl Show for Mysql {
    fn servers(&self) -> Vec<(String, String)> {
        self.cluster.servers().map(|server| (server.name().to_owned(), server.address())).collect()
    }

    fn served(&mut self) -> Vec<Served> {
        let ask = match self.cluster.primary.make() {
            Make::MariaDb => {
                "SELECT select_commands, update_commands FROM information_schema.user_statistics WHERE user = 'app'"
            }
            Make::MySql => {
                "SELECT sum(if(event_name = 'statement/sql/select', count_star, 0)), \
                 sum(if(event_name = 'statement/sql/update', count_star, 0)) \
                 FROM performance_schema.events_statements_summary_by_user_by_event_name WHERE user = 'app'"
            }
        };
        let one = |admin: &mut Session| {
            let rows = admin.query(ask).ok().rows;
            let number = |column: usize| {
                let cell = rows.first().and_then(|row| row.get(column)?.as_deref()?.parse().ok());
                cell.unwrap_or(0)
            };
            Served { reads: number(0), writes: number(1) }
        };
        self.admins.iter_mut().map(one).collect()
    }

    fn shell(&self, port: u16) -> String {
        format!("mariadb -h 127.0.0.1 -P {port} -u app -p{PASSWORD} app")
    }

    fn load(&mut self, port: u16, seconds: u64) -> Result<(), Box<dyn Error>> {
        const CLIENTS: u32 = 8;
        let deadline = Instant::now() + Duration::from_secs(seconds);
        for client in 0..CLIENTS {
            let over = Arc::clone(&self.over);
            self.load.push(thread::spawn(move || {
                let mut session =
                    Session::login(port, "app", PASSWORD, "app").map_err(|error| error.to_string())?;
                let mut next = Instant::now();
                for n in client.. {
                    if over.load(Ordering::Relaxed) || Instant::now() > deadline {
                        break;
                    }
                    let id = n.wrapping_mul(2_654_435_761) % 10_000 + 1;
                    let sql = if n % 10 == 0 {
                        format!("UPDATE shop_items SET stock = stock - 1 WHERE id = {id}")
                    } else {
                        format!("SELECT name, stock FROM shop_items WHERE id = {id}")
                    };
                    let reply = session.try_query(&sql).map_err(|error| error.to_string())?;
                    if let Some(error) = reply.error {
                        return Err(error.to_string());
                    }
                    next += Duration::from_secs(1) * CLIENTS / RATE;
                    thread::sleep(next.saturating_duration_since(Instant::now()));
                }
                Ok(())
            }));
        }
        Ok(())
    }

    fn ended(&mut self) -> Option<Result<(), String>> {
        let at = self.load.iter().position(JoinHandle::is_finished)?;
        Some(
            self.load
                .swap_remove(at)
                .join()
                .unwrap_or_else(|_| Err("a client of the load failed".to_owned())),
        )
    }

    fn stop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        self.load.drain(..).for_each(|client| drop(client.join()));
    }
}

/// The table of one moment.
fn table(servers: &[(String, String)], now: &[Served], before: &[Served], metrics: &Samples) -> String {
    let mut out = format!(
        "{:<10} {:<16} {:<8} {:>8} {:>10} {:>8} {:>10} {:>8} {:>10}\n",
        "SERVER", "ADDRESS", "ROLE", "LAG", "READS", "/s", "WRITES", "/s", "BY PROXY"
    );
    for (((name, address), now), before) in servers.iter().zip(now).zip(before) {
        let labels = [("endpoint", address.as_str())];
        let role = metrics.of("splitpool_endpoint_role", &labels).find(|sample| sample.value > 0.0);
        let role = role.and_then(|sample| sample.labels.get("role")).map_or("-", String::as_str);
        let lag = metrics.of("splitpool_endpoint_lag_seconds", &labels).next();
        let lag = lag.map_or_else(|| "-".to_owned(), |sample| format!("{:.0} ms", sample.value * 1000.0));
        writeln!(
            out,
            "{:<10} {address:<16} {role:<8} {lag:>8} {:>10} {:>8} {:>10} {:>8} {:>10}",
            name,
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

fn run(once: bool, engine: &str, over: &AtomicBool) -> Result<Vec<String>, Box<dyn Error>> {
    println!("Starting a primary and two replicas ...");
    let make = Make::ALL.into_iter().find(|make| make.name() == engine);
    let (mut show, proxy): (Box<dyn Show>, Proxy) = match (engine, make) {
        ("postgres", _) => {
            let (show, proxy) = Postgres::start();
            (Box::new(show), proxy)
        }
        (_, Some(make)) => {
            let (show, proxy) = Mysql::start(make);
            (Box::new(show), proxy)
        }
        _ => return Err(format!("unknown engine {engine}").into()),
    };
    let shell = show.shell(proxy.port());
    println!("{}\n\nPaste this to join in:\n  {shell}\n", proxy.ready_line());

    let longest = if once { ONCE } else { LONGEST };
    let servers = show.servers();
    let mut before = show.served();
    show.load(proxy.port(), longest.as_secs())?;
    let begun = Instant::now();
    let mut ended = None;
    while !over.load(Ordering::Relaxed) && begun.elapsed() < longest && ended.is_none() {
        let now = show.served();
        let table = table(&servers, &now, &before, &proxy.metrics());
        let clear = if std::io::stdout().is_terminal() { "\x1b[H\x1b[2J" } else { "" };
        print!("{clear}Splitpool, {} s. Ctrl-C ends it.\n\n{table}\n  {shell}\n", begun.elapsed().as_secs());
        std::io::stdout().flush()?;
        before = now;
        for _ in 0..20 {
            thread::sleep(Duration::from_millis(50));
            ended = show.ended();
            if over.load(Ordering::Relaxed) || ended.is_some() {
                break;
            }
        }
    }
    let all = show.served();
    show.stop();
    let mut wrong = faults(&all);
    if let Some(Err(why)) = ended {
        wrong.push(format!("the load failed: {why}"));
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
    let engine = std::env::args().skip_while(|argument| argument != "--engine").nth(1);
    let engine = engine.unwrap_or_else(|| "postgres".to_owned());
    let wrong = run(once, &engine, &over).unwrap_or_else(|error| vec![error.to_string()]);
    println!("\nEverything that was started is ended and removed.");
    for line in &wrong {
        eprintln!("demo: {line}");
    }
    // A look that a person ended says nothing about the whole.
    let is_bad = !wrong.is_empty() && (once || !over.load(Ordering::Relaxed));
    ExitCode::from(u8::from(is_bad))
}
