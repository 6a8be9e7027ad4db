//! What is counted of one database. Each counter is resolved once, so that counting costs an atomic addition.

use super::{ClusterLabels, DatabaseLabels, FaultLabels, Metrics, PinLabels, StatementLabels};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use protocol::{Fault, Held};
use router::Reason;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Where requests run, in the order in which they are counted.
pub const TARGETS: [&str; 2] = ["replica", "primary"];

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
    /// By target and reason.
    statements: [Vec<Counter>; 2],
    second_chances: Counter,
    pinned: Vec<(Held, Gauge, Counter)>,
    refused_pins: Vec<(Held, Counter)>,
    faults: Family<FaultLabels, Counter>,
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
    /// Those of a database of the cluster `name`; `number` is no other's.
    pub(super) fn new(metrics: &Metrics, name: &str, database: &str, number: u32) -> Self {
        let of_database = DatabaseLabels { cluster: name.to_owned(), database: database.to_owned() };
        let of = |target: &'static str| {
            let labels = |reason: &Reason| StatementLabels {
                cluster: name.to_owned(),
                database: database.to_owned(),
                target,
                reason: reason.as_str(),
            };
            Reason::ALL.iter().map(|reason| metrics.statements.get_or_create_owned(&labels(reason))).collect()
        };
        let pin = |(held, reason): (Held, &'static str)| {
            let labels = PinLabels { cluster: name.to_owned(), reason };
            (held, metrics.pinned.get_or_create_owned(&labels), metrics.pins.get_or_create_owned(&labels))
        };
        let refused = |(held, reason): (Held, &'static str)| {
            let labels = PinLabels { cluster: name.to_owned(), reason };
            (held, metrics.refused_pins.get_or_create_owned(&labels))
        };
        Self {
            cluster: name.to_owned(),
            database: database.to_owned(),
            number,
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            busy_us: AtomicU64::new(0),
            waits: AtomicU64::new(0),
            waited_us: AtomicU64::new(0),
            wait: metrics.waits.get_or_create_owned(&of_database),
            statements: TARGETS.map(of),
            second_chances: metrics
                .second_chances
                .get_or_create_owned(&ClusterLabels { cluster: name.to_owned() }),
            pinned: Held::ALL.into_iter().map(pin).collect(),
            refused_pins: Held::ALL.into_iter().map(refused).collect(),
            faults: metrics.faults.clone(),
        }
    }

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
        let targets = TARGETS.into_iter().zip(&self.statements);
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
