//! What is counted, and how Prometheus is told.
//!
//! Counters of the data path are resolved once a cluster, so that counting costs an atomic
//! addition. What others know already (lag, roles, pools) is asked when metrics are read,
//! and kept nowhere. Labels are bounded: names from the configuration and words of the code.

mod counters;

pub use counters::{Counters, PinCount, Sums, TARGETS};

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
use std::collections::BTreeMap;
use std::sync::Arc;

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
        let make = || Arc::new(Counters::new(self, cluster, database, number));
        Arc::clone(databases.entry((cluster.to_owned(), database.to_owned())).or_insert_with(make))
    }

    /// The counters of every database, by name of the cluster and the database.
    pub fn all(&self) -> Vec<Arc<Counters>> {
        self.databases.lock().values().cloned().collect()
    }

    /// The counters of every database of a cluster.
    pub fn of_cluster(&self, name: &str) -> Vec<Arc<Counters>> {
        self.databases.lock().values().filter(|of| of.cluster() == name).cloned().collect()
    }

    /// The counters of the looks for a cluster's endpoints.
    pub fn searches(&self, cluster: &str) -> Arc<Searches> {
        Arc::new(Searches {
            cluster: cluster.to_owned(),
            discoveries: self.discoveries.clone(),
            discovery_stale: self.discovery_stale.clone(),
        })
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
