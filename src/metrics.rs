//! What is counted, and how Prometheus is told.
//!
//! Counters of the data path are resolved once a cluster, so that counting costs an atomic
//! addition. What others know already (lag, roles, pools) is asked when metrics are read,
//! and kept nowhere. Labels are bounded: names from the configuration and words of the code.

use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use protocol::{Fault, Held};
use router::Reason;
use std::collections::HashMap;
use std::sync::Arc;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StatementLabels {
    cluster: String,
    target: &'static str,
    reason: &'static str,
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
    registry: Mutex<Registry>,
    statements: Family<StatementLabels, Counter>,
    second_chances: Family<ClusterLabels, Counter>,
    pinned: Family<PinLabels, Gauge>,
    pins: Family<PinLabels, Counter>,
    refused_pins: Family<PinLabels, Counter>,
    faults: Family<FaultLabels, Counter>,
    discoveries: Family<DiscoveryLabels, Counter>,
    discovery_stale: Family<ClusterLabels, Gauge>,
    clusters: Mutex<HashMap<String, Arc<ClusterCounters>>>,
    sessions: Gauge,
    generation: Gauge,
    reloads: Family<OutcomeLabels, Counter>,
    spans: Family<OutcomeLabels, Counter>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

/// The counters of one cluster.
pub struct ClusterCounters {
    cluster: String,
    /// By target (replica, primary) and reason.
    statements: [Vec<Counter>; 2],
    second_chances: Counter,
    pinned: Vec<(Held, Gauge, Counter)>,
    refused_pins: Vec<(Held, Counter)>,
    faults: Family<FaultLabels, Counter>,
    discoveries: Family<DiscoveryLabels, Counter>,
    discovery_stale: Family<ClusterLabels, Gauge>,
}

impl ClusterCounters {
    /// A request was answered.
    pub fn statement(&self, on_primary: bool, reason: Reason) {
        if let Some(counter) =
            self.statements.get(usize::from(on_primary)).and_then(|of| of.get(reason.index()))
        {
            counter.inc();
        }
    }

    /// How many requests ran where and why, those that there were.
    pub fn statements(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        ["replica", "primary"].into_iter().zip(&self.statements).flat_map(|(target, of)| {
            let count =
                move |(reason, counter): (&Reason, &Counter)| (target, reason.as_str(), counter.get());
            Reason::ALL.iter().zip(of).map(count).filter(|(_, _, count)| *count > 0)
        })
    }

    /// How many sessions keep their backend now, and ever did, by what for; those that there were.
    pub fn pins(&self) -> impl Iterator<Item = (&'static str, i64, u64)> {
        let count = |((_, reason), (_, now, ever)): ((Held, _), &(Held, Gauge, Counter))| {
            (reason, now.get(), ever.get())
        };
        Held::ALL.into_iter().zip(&self.pinned).map(count).filter(|(_, _, ever)| *ever > 0)
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

    /// Endpoints were looked for; `outcome` is one of a few words of the code. Not `is_well`: those
    /// in use are of an earlier answer.
    pub fn discovered(&self, outcome: &'static str, is_well: bool) {
        let cluster = self.cluster.clone();
        self.discovery_stale
            .get_or_create(&ClusterLabels { cluster: cluster.clone() })
            .set(i64::from(!is_well));
        self.discoveries.get_or_create(&DiscoveryLabels { cluster, outcome }).inc();
    }

    /// A client was told of a fault of ours.
    pub fn fault(&self, fault: &Fault) {
        let sqlstate = fault.cause.sqlstate().to_owned();
        self.faults.get_or_create(&FaultLabels { cluster: self.cluster.clone(), sqlstate }).inc();
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("splitpool");
        let new = Self {
            statements: Family::default(),
            second_chances: Family::default(),
            pinned: Family::default(),
            pins: Family::default(),
            refused_pins: Family::default(),
            faults: Family::default(),
            discoveries: Family::default(),
            discovery_stale: Family::default(),
            clusters: Mutex::default(),
            sessions: Gauge::default(),
            generation: Gauge::default(),
            reloads: Family::default(),
            spans: Family::default(),
            registry: Mutex::default(),
        };
        registry.register("statements", "Requests by where they ran and why", new.statements.clone());
        registry.register(
            "second_chances",
            "Requests that a replica refused and the primary ran",
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
        registry.register("spans", "Spans of traces by what became of them", new.spans.clone());
        Self { registry: Mutex::new(registry), ..new }
    }
}

impl Metrics {
    /// The counters of a cluster; the same ones for the same name.
    pub fn cluster(&self, name: &str) -> Arc<ClusterCounters> {
        let mut clusters = self.clusters.lock();
        let make = || Arc::new(self.counters(name));
        Arc::clone(clusters.entry(name.to_owned()).or_insert_with(make))
    }

    fn counters(&self, name: &str) -> ClusterCounters {
        let of = |target: &'static str| {
            let labels = |reason: &Reason| StatementLabels {
                cluster: name.to_owned(),
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
        ClusterCounters {
            cluster: name.to_owned(),
            statements: [of("replica"), of("primary")],
            second_chances: self
                .second_chances
                .get_or_create_owned(&ClusterLabels { cluster: name.to_owned() }),
            pinned: Held::ALL.into_iter().map(pin).collect(),
            refused_pins: Held::ALL.into_iter().map(refused).collect(),
            faults: self.faults.clone(),
            discoveries: self.discoveries.clone(),
            discovery_stale: self.discovery_stale.clone(),
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
