//! Starts and stops everything: listeners, HTTP, reloads, signals, the end.
//!
//! SIGHUP and a change of the file reload; SIGTERM or SIGINT drains: readiness fails, after
//! `shutdown_delay` nobody new is let in, each client ends at its transaction's boundary, and
//! after `shutdown_timeout` whoever is left is cut off. A second signal exits at once.

use crate::config::{self, Live, Mistakes, ReloadReport, Snapshot};
use crate::console::{self, Console, Order, Outcome, Shutdown};
use crate::dashboard::Dashboard;
use crate::http::{self, Control, Facts};
use crate::log::Log;
use crate::metrics::Metrics;
use crate::peers::Peers;
use crate::places::Places;
use crate::service::{self, Trade, cluster_settings};
use crate::site::Site;
use crate::sockets::{Inherited, Socket};
use crate::supervisor;
use crate::web;
use crate::wing::{self, Shared, Wing};
use parking_lot::Mutex;
use pool::net::Address;
use protocol::mysql::MySql;
use protocol::postgres::Postgres;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};

/// One thread for two cores. Three quarters of a proxy's time are the kernel's, much of which is spent on other
/// cores, and workers that outnumber the work wake one another: at 16 clients on two cores a second one cost a sixth
/// more for each transaction.
fn usual_threads() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2))
}

/// Runs until told to stop.
pub fn run(path: &Path) -> ExitCode {
    let inherited = match Inherited::take() {
        Ok(inherited) => inherited,
        Err(error) => {
            eprintln!("splitpool: what was handed over as a socket is none: {error}");
            return ExitCode::FAILURE;
        }
    };
    let live = match Live::load(path) {
        Ok(live) => Arc::new(live),
        Err(mistakes) => {
            eprintln!("{mistakes}");
            return ExitCode::FAILURE;
        }
    };
    let snapshot = live.current();
    let log = Log::start(&snapshot.general.log);
    // A single worker needs none of what keeps several from each other's way.
    let mut builder = match snapshot.general.worker_threads.unwrap_or_else(usual_threads) {
        0 | 1 => tokio::runtime::Builder::new_current_thread(),
        threads => {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            builder.worker_threads(threads);
            builder
        }
    };
    let runtime = match builder.enable_all().thread_name("splitpool").build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("cannot start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = match runtime.block_on(Box::pin(serve(live, log, inherited))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("splitpool: {error}");
            ExitCode::FAILURE
        }
    };
    runtime.shutdown_timeout(Duration::from_millis(200));
    code
}

/// Whether everything in a configuration that is more than words can be used.
///
/// # Errors
/// The first that cannot, as a sentence.
pub fn try_out(snapshot: &Snapshot) -> Result<(), String> {
    for cluster in snapshot.clusters.values() {
        cluster_settings(cluster, &snapshot.general)?;
        service::rules(cluster)?;
        let discovery = cluster.discovery.as_ref().map(|discovery| &discovery.source);
        if let Some(config::Source::Patroni(apis)) = discovery {
            try_https(&format!("clusters.{}.discovery", cluster.name), apis)?;
        }
    }
    try_https("general.traces", snapshot.general.traces.endpoint.as_slice())?;
    wing::tls(snapshot)?;
    wing::kept_key_pair(snapshot).map(drop)
}

fn try_https(section: &str, all: &[config::WebAddress]) -> Result<(), String> {
    let mut https = all.iter().filter_map(|web| web.https.as_ref());
    https.try_for_each(|https| web::tls(https).map(drop).map_err(|error| format!("{section}: {error}")))
}

/// Everything that runs.
struct Program {
    live: Arc<Live>,
    postgres: Arc<Wing<Postgres>>,
    mysql: Arc<Wing<MySql>>,
    metrics: Arc<Metrics>,
    places: Arc<Places>,
    log: Log,
    dashboard: Arc<Dashboard>,
    console: Arc<Console>,
    stop: watch::Sender<bool>,
    draining: watch::Sender<bool>,
}

async fn serve(live: Arc<Live>, log: Log, inherited: Inherited) -> Result<(), String> {
    let snapshot = live.current();
    let metrics = Arc::new(Metrics::default());
    keep_digests(&metrics, &snapshot);
    let peers = Arc::new(Peers::new(&snapshot).await);
    let shared = Shared::default();
    let postgres = Wing::start(Trade::POSTGRES, &snapshot, &metrics, &peers, &shared)?;
    let mysql = Wing::start(Trade::MYSQL, &snapshot, &metrics, &peers, &shared)?;
    let (orders, mut ordered) = mpsc::channel(8);
    let console = Console {
        live: Arc::clone(&live),
        sites: vec![Arc::clone(&postgres) as Arc<dyn Site>, Arc::clone(&mysql) as Arc<dyn Site>],
        metrics: Arc::clone(&metrics),
        latches: shared.latches,
        orders,
        averages: Mutex::default(),
        since: Instant::now(),
    };
    let program = Program {
        postgres,
        mysql,
        console: Arc::new(console),
        places: Arc::new(Places::new(snapshot.general.max_clients)),
        log,
        stop: watch::Sender::new(false),
        draining: watch::Sender::new(false),
        live,
        metrics,
        dashboard: Arc::default(),
    };
    let (control, mut asked) = mpsc::channel(1);
    let bound = program.listen(&snapshot, inherited, control).await?;
    let mut signals = Signals::new().map_err(|error| format!("cannot listen to signals: {error}"))?;
    let (changed, mut changes) = mpsc::channel(1);
    if snapshot.general.watch_config {
        tokio::spawn(config::watch(Arc::clone(&program.live), move || {
            let _ = changed.try_send(());
        }));
    }
    // Serving before the first probe is right, but the first clients would wait for it.
    let patience = Duration::from_secs(1);
    for running in program.postgres.directory.clusters() {
        running.cluster.wait_ready(Instant::now() + patience).await;
    }
    if snapshot.listen.mysql.is_some() {
        program.mysql.learn(patience).await;
    }
    program.metrics.reloaded("started", snapshot.generation);
    println!("splitpool: ready on {bound}");
    let status = format!("serving on {bound}");
    supervisor::ready(&status);
    tokio::spawn(supervisor::watchdog());
    tokio::spawn(Arc::clone(&program.console).keep_averages());
    let how = loop {
        tokio::select! {
            _ = signals.hangup.recv() => drop(program.reload(&status)),
            Some(()) = changes.recv() => drop(program.reload(&status)),
            Some(control) = asked.recv() => match control {
                Control::Reload(answer) => drop(answer.send(told(&program.reload(&status)))),
                Control::Shutdown => break Shutdown::WaitForServers,
            },
            Some(order) = ordered.recv() => match order {
                Order::Reload(reply) => drop(reply.send(program.reload(&status))),
                Order::Set { key, value, reply } => drop(reply.send(program.set(&key, value.as_deref()))),
                Order::Shutdown(Shutdown::Now) => return Ok(()),
                Order::Shutdown(how) => break how,
            },
            _ = signals.terminate.recv() => break Shutdown::WaitForServers,
            _ = signals.interrupt.recv() => break Shutdown::WaitForServers,
        }
    };
    tokio::select! {
        () = program.drain(how) => {}
        _ = signals.terminate.recv() => tracing::warn!("told twice to stop: not waiting for clients"),
        _ = signals.interrupt.recv() => tracing::warn!("told twice to stop: not waiting for clients"),
    }
    Ok(())
}

struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }
}

impl Program {
    /// Opens everything that is to be open. Returns where, for people.
    async fn listen(
        &self,
        snapshot: &Snapshot,
        mut inherited: Inherited,
        control: mpsc::Sender<Control>,
    ) -> Result<String, String> {
        let unix = snapshot.listen.unix.clone().map(Address::Unix);
        let postgres = snapshot.listen.postgres.clone().into_iter().chain(unix);
        let mysql = snapshot.listen.mysql.clone();
        let (places, stop, console) = (&self.places, &self.stop, &self.console);
        let mut bound = self.postgres.open(postgres, snapshot, &mut inherited, places, stop, console).await?;
        bound.extend(self.mysql.open(mysql, snapshot, &mut inherited, places, stop, console).await?);
        if let Some(http) = &snapshot.listen.http {
            let opened = Socket::open(http, wing::opening(snapshot), &mut inherited).await;
            bound.push(format!("http {http}"));
            let facts = Facts {
                sites: self.sites().to_vec(),
                metrics: Arc::clone(&self.metrics),
                latches: Arc::clone(&self.console.latches),
                stopping: self.draining.subscribe(),
                live: Arc::clone(&self.live),
                dashboard: Arc::clone(&self.dashboard),
                control,
            };
            let facts = Arc::new(facts);
            tokio::spawn(Arc::clone(&self.dashboard).watch(Arc::clone(&facts)));
            match opened.map_err(|error| error.to_string())? {
                Socket::Tcp(listener) => tokio::spawn(http::run(listener, snapshot.listen.reuse_port, facts)),
                Socket::Unix(..) => return Err("listen.http: HTTP is served on TCP alone".to_owned()),
            };
        }
        match &inherited.rest()[..] {
            [] => Ok(bound.join(", ")),
            rest => {
                Err(format!("sockets were handed over that no key of [listen] names: {}", rest.join(", ")))
            }
        }
    }

    fn sites(&self) -> [Arc<dyn Site>; 2] {
        [Arc::clone(&self.postgres) as Arc<dyn Site>, Arc::clone(&self.mysql) as Arc<dyn Site>]
    }

    fn clients(&self) -> usize {
        self.sites().iter().map(|site| site.clients()).sum()
    }

    /// Puts the file's present contents to work, or says what is wrong with them. `status` is what
    /// the supervisor is told when that is done.
    fn reload(&self, status: &str) -> Outcome {
        supervisor::reloading();
        let outcome = self.loaded(self.live.reload_if(|snapshot| self.put_to_work(snapshot)));
        supervisor::ready(status);
        self.dashboard.reloaded(told(&outcome));
        outcome
    }

    /// Puts another value to work, as an operator asked, or the file's own again.
    fn set(&self, key: &str, value: Option<&str>) -> Outcome {
        let outcome = self.loaded(self.live.set_if(key, value, |snapshot| self.put_to_work(snapshot)));
        if let Some(report) = outcome.as_ref().ok().filter(|report| !report.changed.is_empty()) {
            self.dashboard.event("warn", format!("an operator changed {}", report.changed.join("; ")));
        }
        outcome
    }

    /// Keys and certificates are part of a configuration: nothing changes if they cannot be put
    /// to work.
    fn put_to_work(&self, snapshot: &Arc<Snapshot>) -> Result<(), String> {
        try_out(snapshot)?;
        self.postgres.apply(snapshot)?;
        self.mysql.apply(snapshot)?;
        self.places.resize(snapshot.general.max_clients);
        self.log.apply(&snapshot.general.log);
        keep_digests(&self.metrics, snapshot);
        Ok(())
    }

    fn loaded(&self, outcome: Result<(ReloadReport, ()), Mistakes>) -> Outcome {
        match outcome {
            Ok((report, ())) => {
                let generation = report.generation;
                self.metrics.reloaded("applied", generation);
                for line in &report.changed {
                    tracing::info!(generation, "changed: {line}");
                }
                for kept in &report.kept {
                    tracing::warn!(generation, "{kept}");
                }
                let hash = format!("{:016x}", self.live.peek().hash);
                tracing::info!(generation, hash, changes = report.changed.len(), "reloaded");
                Ok(report)
            }
            Err(mistakes) => {
                self.metrics.reloaded("rejected", self.postgres.directory.generation());
                tracing::error!("the configuration is not valid, the one before stays in force\n{mistakes}");
                Err(mistakes.to_string())
            }
        }
    }

    /// Lets every client end at its transaction's boundary, or when it likes.
    async fn drain(&self, how: Shutdown) {
        let general = self.live.current().general.clone();
        self.draining.send_replace(true);
        self.dashboard.event("warn", "shutting down".to_owned());
        tracing::info!(clients = self.clients(), "stopping");
        supervisor::stopping(self.clients());
        tokio::time::sleep(general.shutdown_delay).await;
        self.stop.send_replace(true);
        if how == Shutdown::WaitForClients {
            while self
                .sites()
                .iter()
                .flat_map(|site| site.roll())
                .any(|client| client.domain != console::DOMAIN)
            {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        let gone = async {
            // A listener holds on to `stop` until it has taken its last client. Those who are signing
            // in have a place, and no session yet.
            while !self.stop.is_closed() || self.places.taken() > 0 {
                self.sites().iter().for_each(|site| site.stop_all());
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        if tokio::time::timeout(general.shutdown_timeout, gone).await.is_err() {
            tracing::warn!(clients = self.clients(), "clients were still in a transaction and are cut off");
        }
    }
}

/// As many statements are told apart as the configuration says.
fn keep_digests(metrics: &Metrics, snapshot: &Snapshot) {
    let digests = &snapshot.general.digests;
    metrics.digests.resize(digests.max, digests.text_max);
}

/// What came of a reload, for people.
fn told(outcome: &Outcome) -> Result<String, String> {
    let report = outcome.as_ref().map_err(Clone::clone)?;
    let nothing = if report.changed.is_empty() { &["nothing changed".to_owned()][..] } else { &[] };
    let lines: Vec<_> =
        nothing.iter().chain(&report.changed).chain(&report.kept).map(String::as_str).collect();
    Ok(format!("generation {}: {}", report.generation, lines.join("; ")))
}
