//! What is counted, and how Prometheus is told.
//!
//! Counters of the data path are resolved once a cluster, so that counting costs an atomic
//! addition. What others know already (lag, roles, pools) is asked when metrics are read,
//! and kept nowhere. Labels are bounded: names from the configuration and words of the code.

use crate::digests::Digests;
use crate::violations::Violations;
use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use protocol::{Fault, Held};
use router::Reason;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StatementLabels {
    cluster: String,
    database: String,
    target: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct DatabaseLabels {
    cluster: String,
    database: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ClusterLabels {
    cluster: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PinLabels {
    cluster: String,
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct FaultLabels {
    cluster: String,
    sqlstate: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct DiscoveryLabels {
    cluster: String,
    outcome: &'static str,
}

/// The counters of the process.
pub struct Metrics {
    /// Which statements run.
    pub digests: Arc<Digests>,
    /// Who broke a protocol.
    pub violations: Violations,
    registry: Mutex<Registry>,
    statements: Family<StatementLabels, Counter>,
    second_chances: Family<ClusterLabels, Counter>,
    pinned: Family<PinLabels, Gauge>,
    pins: Family<PinLabels, Counter>,
    refused_pins: Family<PinLabels, Counter>,
    faults: Family<FaultLabels, Counter>,
    discoveries: Family<DiscoveryLabels, Counter>,
    discovery_stale: Family<ClusterLabels, Gauge>,
    waits: Family<DatabaseLabels, Histogram, fn() -> Histogram>,
    databases: Mutex<BTreeMap<(String, String), Arc<Counters>>>,
    sessions: Gauge,
    generation: Gauge,
    reloads: Family<OutcomeLabels, Counter>,
    spans: Family<OutcomeLabels, Counter>,
    logged: Family<OutcomeLabels, Counter>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

/// The counters of one database of a cluster. Those that are not of statements, requests and waits
/// are shared by all databases of the cluster.
pub struct Counters {
    cluster: String,
    database: String,
    number: u32,
    /// Bytes that came from clients, and went to them.
    received: AtomicU64,
    sent: AtomicU64,
    /// Microseconds that requests took.
    busy_us: AtomicU64,
    /// Requests that waited for a backend, and for how many microseconds.
    waits: AtomicU64,
    waited_us: AtomicU64,
    wait: Histogram,
    /// By target (replica, primary) and reason.
    statements: [Vec<Counter>; 2],
    second_chances: Counter,
    pinned: Vec<(Held, Gauge, Counter)>,
    refused_pins: Vec<(Held, Counter)>,
    faults: Family<FaultLabels, Counter>,
}

/// The counters of the looks for a cluster's endpoints.
pub struct Searches {
    cluster: String,
    discoveries: Family<DiscoveryLabels, Counter>,
    discovery_stale: Family<ClusterLabels, Gauge>,
}

impl Searches {
    /// Endpoints were looked for; `outcome` is one of a few words of the code. Not `is_well`: those
    /// in use are of an earlier answer.
    pub fn discovered(&self, outcome: &'static str, is_well: bool) {
        let cluster = self.cluster.clone();
        self.discovery_stale
            .get_or_create(&ClusterLabels { cluster: cluster.clone() })
            .set(i64::from(!is_well));
        self.discoveries.get_or_create(&DiscoveryLabels { cluster, outcome }).inc();
    }
}

/// Sums over all requests of a database.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sums {
    /// Requests.
    pub requests: u64,
    /// Those of them that took a backend.
    pub leases: u64,
    /// Those of them that were not inside an open transaction.
    pub transactions: u64,
    /// Microseconds that requests took.
    pub busy_us: u64,
    /// Requests that waited for a backend.
    pub waits: u64,
    /// Microseconds that they waited.
    pub waited_us: u64,
    /// Bytes that came from clients.
    pub received: u64,
    /// Bytes that went to clients.
    pub sent: u64,
}

/// What one reason to be pinned amounts to in a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PinCount {
    /// The reason's name.
    pub reason: &'static str,
    /// Sessions that are pinned by it.
    pub now: i64,
    /// How often a session was.
    pub ever: u64,
    /// Statements refused because they would have been a reason.
    pub refused: u64,
}

impl Counters {
    /// The cluster's name.
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// The database's name: as in the configuration, the cluster's own on MySQL.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// Tells a database's counters from others of this process.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// So many bytes came from a client and went to it.
    pub fn moved(&self, received: u64, sent: u64) {
        self.received.fetch_add(received, Relaxed);
        self.sent.fetch_add(sent, Relaxed);
    }

    /// A request was answered after this many microseconds.
    pub fn took(&self, micros: u32) {
        self.busy_us.fetch_add(micros.into(), Relaxed);
    }

    /// A request waited for a backend.
    pub fn waited(&self, waited: Duration) {
        self.waits.fetch_add(1, Relaxed);
        self.waited_us.fetch_add(u64::try_from(waited.as_micros()).unwrap_or(u64::MAX), Relaxed);
        self.wait.observe(waited.as_secs_f64());
    }

    /// How many requests ran where and why: those that any did.
    pub fn routes(&self) -> impl Iterator<Item = (&'static str, Reason, u64)> {
        let targets = ["replica", "primary"].into_iter().zip(&self.statements);
        let all =
            targets.flat_map(|(target, of)| Reason::ALL.into_iter().zip(of).map(move |it| (target, it)));
        all.map(|(target, (reason, count))| (target, reason, count.get())).filter(|(_, _, count)| *count > 0)
    }

    /// Sums over all requests.
    pub fn sums(&self) -> Sums {
        let count = |wanted: &dyn Fn(Reason) -> bool| -> u64 {
            self.routes().filter(|(_, reason, _)| wanted(*reason)).map(|(_, _, count)| count).sum()
        };
        Sums {
            requests: count(&|_| true),
            leases: count(&|reason| reason != Reason::Transaction && reason != Reason::Pinned),
            transactions: count(&|reason| reason != Reason::Transaction),
            busy_us: self.busy_us.load(Relaxed),
            waits: self.waits.load(Relaxed),
            waited_us: self.waited_us.load(Relaxed),
            received: self.received.load(Relaxed),
            sent: self.sent.load(Relaxed),
        }
    }

    /// What sessions of the cluster are and were pinned for, by reason.
    pub fn pins(&self) -> impl Iterator<Item = PinCount> {
        self.pinned.iter().zip(&self.refused_pins).map(|((held, now, ever), (_, refused))| PinCount {
            reason: held.names().next().unwrap_or_default(),
            now: now.get(),
            ever: ever.get(),
            refused: refused.get(),
        })
    }

    /// A request was answered.
    pub fn statement(&self, on_primary: bool, reason: Reason) {
        if let Some(counter) =
            self.statements.get(usize::from(on_primary)).and_then(|of| of.get(reason.index()))
        {
            counter.inc();
        }
    }

    /// A replica refused a statement, which ran on the primary then.
    pub fn second_chance(&self) {
        self.second_chances.inc();
    }

    /// A session's pins changed.
    pub fn pinned(&self, before: Held, now: Held) {
        for (held, gauge, pins) in &self.pinned {
            match (before.contains(*held), now.contains(*held)) {
                (false, true) => {
                    gauge.inc();
                    pins.inc();
                }
                (true, false) => {
                    gauge.dec();
                }
                _ => {}
            }
        }
    }

    /// A statement was refused because it would have bound its session.
    pub fn refused_pin(&self, feature: Held) {
        for (held, counter) in &self.refused_pins {
            if feature.contains(*held) {
                counter.inc();
            }
        }
    }

    /// A client was told of a fault of ours.
    pub fn fault(&self, fault: &Fault) {
        let sqlstate = fault.cause.sqlstate().to_owned();
        self.faults.get_or_create(&FaultLabels { cluster: self.cluster.clone(), sqlstate }).inc();
    }
}

/// From a tenth of a millisecond to half a minute.
fn wait_histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.000_1, 4.0, 10))
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("splitpool");
        let new = Self {
            digests: Arc::default(),
            violations: Violations::default(),
            statements: Family::default(),
            second_chances: Family::default(),
            pinned: Family::default(),
            pins: Family::default(),
            refused_pins: Family::default(),
            faults: Family::default(),
            discoveries: Family::default(),
            discovery_stale: Family::default(),
            waits: Family::new_with_constructor(wait_histogram),
            databases: Mutex::default(),
            sessions: Gauge::default(),
            generation: Gauge::default(),
            reloads: Family::default(),
            spans: Family::default(),
            logged: Family::default(),
            registry: Mutex::default(),
        };
        registry.register("statements", "Requests by where they ran and why", new.statements.clone());
        registry.register(
            "second_chances",
            "Requests that a server refused as read-only and that were sent to the primary, or to the next one",
            new.second_chances.clone(),
        );
        registry.register(
            "pinned_sessions",
            "Sessions that keep their backend, by what for",
            new.pinned.clone(),
        );
        registry.register("pins", "Sessions that began to keep their backend, by what for", new.pins.clone());
        registry.register(
            "refused_pins",
            "Statements refused because they would have bound their session",
            new.refused_pins.clone(),
        );
        registry.register_with_unit(
            "wait",
            "How long requests waited for a backend that was not at hand",
            Unit::Seconds,
            new.waits.clone(),
        );
        registry.register("faults", "Errors of the proxy's own that clients were told", new.faults.clone());
        registry.register("discoveries", "Looks for endpoints, by outcome", new.discoveries.clone());
        registry.register(
            "discovery_stale",
            "Whether the endpoints in use are of an earlier answer than the last",
            new.discovery_stale.clone(),
        );
        registry.register("sessions", "Clients that are signed in", new.sessions.clone());
        registry.register(
            "config_generation",
            "The number of the configuration in force",
            new.generation.clone(),
        );
        registry.register("config_reloads", "Reloads by outcome", new.reloads.clone());
        registry.register(
            "statement_log_lines",
            "Lines of the statement log by what became of them",
            new.logged.clone(),
        );
        registry.register("spans", "Spans of traces by what became of them", new.spans.clone());
        Self { registry: Mutex::new(registry), ..new }
    }
}

impl Metrics {
    /// The counters of a database of a cluster; the same ones for the same names.
    pub fn counters(&self, cluster: &str, database: &str) -> Arc<Counters> {
        let mut databases = self.databases.lock();
        let number = u32::try_from(databases.len()).unwrap_or(u32::MAX);
        let make = || Arc::new(self.make(cluster, database, number));
        Arc::clone(databases.entry((cluster.to_owned(), database.to_owned())).or_insert_with(make))
    }

    /// The counters of every database, by name of the cluster and the database.
    pub fn all(&self) -> Vec<Arc<Counters>> {
        self.databases.lock().values().cloned().collect()
    }

    /// The counters of every database of a cluster.
    pub fn of_cluster(&self, name: &str) -> Vec<Arc<Counters>> {
        self.databases.lock().values().filter(|of| of.cluster == name).cloned().collect()
    }

    /// The counters of the looks for a cluster's endpoints.
    pub fn searches(&self, cluster: &str) -> Arc<Searches> {
        Arc::new(Searches {
            cluster: cluster.to_owned(),
            discoveries: self.discoveries.clone(),
            discovery_stale: self.discovery_stale.clone(),
        })
    }

    fn make(&self, name: &str, database: &str, number: u32) -> Counters {
        let of_database = DatabaseLabels { cluster: name.to_owned(), database: database.to_owned() };
        let of = |target: &'static str| {
            let labels = |reason: &Reason| StatementLabels {
                cluster: name.to_owned(),
                database: database.to_owned(),
                target,
                reason: reason.as_str(),
            };
            Reason::ALL.iter().map(|reason| self.statements.get_or_create_owned(&labels(reason))).collect()
        };
        let pin = |(held, reason): (Held, &'static str)| {
            let labels = PinLabels { cluster: name.to_owned(), reason };
            (held, self.pinned.get_or_create_owned(&labels), self.pins.get_or_create_owned(&labels))
        };
        let refused = |(held, reason): (Held, &'static str)| {
            let labels = PinLabels { cluster: name.to_owned(), reason };
            (held, self.refused_pins.get_or_create_owned(&labels))
        };
        Counters {
            cluster: name.to_owned(),
            database: database.to_owned(),
            number,
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            busy_us: AtomicU64::new(0),
            waits: AtomicU64::new(0),
            waited_us: AtomicU64::new(0),
            wait: self.waits.get_or_create_owned(&of_database),
            statements: [of("replica"), of("primary")],
            second_chances: self
                .second_chances
                .get_or_create_owned(&ClusterLabels { cluster: name.to_owned() }),
            pinned: Held::ALL.into_iter().map(pin).collect(),
            refused_pins: Held::ALL.into_iter().map(refused).collect(),
            faults: self.faults.clone(),
        }
    }

    /// A reload was tried.
    pub fn reloaded(&self, outcome: &'static str, generation: u64) {
        self.reloads.get_or_create(&OutcomeLabels { outcome }).inc();
        self.generation.set(i64::try_from(generation).unwrap_or(i64::MAX));
    }

    /// Spans were sent, or dropped.
    pub fn spans(&self, outcome: &'static str, count: usize) {
        self.spans.get_or_create(&OutcomeLabels { outcome }).inc_by(count as u64);
    }

    /// Lines of the statement log were written, or not.
    pub fn logged(&self, outcome: &'static str, count: usize) {
        self.logged.get_or_create(&OutcomeLabels { outcome }).inc_by(count as u64);
    }

    /// Everything, as Prometheus reads it. `sessions` are the clients now; `rest` is appended
    /// and must be lines of the same format.
    pub fn text(&self, sessions: usize, rest: &str) -> String {
        self.sessions.set(i64::try_from(sessions).unwrap_or(i64::MAX));
        let mut text = String::new();
        if encode(&mut text, &self.registry.lock()).is_err() {
            text.clear();
        }
        // The format ends with a line of its own, behind which nothing may follow.
        let body = text.strip_suffix("# EOF\n").unwrap_or(&text);
        format!("{body}{rest}# EOF\n")
    }
}
