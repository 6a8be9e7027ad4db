//! What is known of clusters and of the process, as lines that Prometheus reads. Decides only.
//!
//! The counters of the data path are `metrics.rs`' own; here is what others know and nobody
//! keeps for metrics' sake. Labels are names from the configuration and words of the code.

use crate::config::Snapshot;
use crate::console::domains;
use crate::metrics::Metrics;
use crate::service::Latches;
use pool::{EndpointView, Histogram, Role, View};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// One metric with its samples.
struct Family {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    samples: Vec<String>,
}

/// Families in the order in which they were first named.
#[derive(Default)]
struct Families(Vec<Family>);

impl Families {
    fn family(&mut self, kind: &'static str, name: &'static str, help: &'static str) -> &mut Vec<String> {
        let at = match self.0.iter().position(|family| family.name == name) {
            Some(at) => at,
            None => {
                self.0.push(Family { name, kind, help, samples: Vec::new() });
                self.0.len() - 1
            }
        };
        &mut self.0[at].samples
    }

    fn gauge(&mut self, name: &'static str, help: &'static str, labels: &str, value: impl ToString) {
        let samples = self.family("gauge", name, help);
        samples.push(format!("splitpool_{name}{{{labels}}} {}", value.to_string()));
    }

    fn counter(&mut self, name: &'static str, help: &'static str, labels: &str, value: impl ToString) {
        let samples = self.family("counter", name, help);
        samples.push(format!("splitpool_{name}_total{{{labels}}} {}", value.to_string()));
    }

    fn histogram(&mut self, name: &'static str, help: &'static str, labels: &str, value: &Histogram) {
        let samples = self.family("histogram", name, help);
        for (bound, count) in &value.buckets {
            let bound = bound.as_secs_f64();
            samples.push(format!("splitpool_{name}_bucket{{{labels},le=\"{bound}\"}} {count}"));
        }
        samples.push(format!("splitpool_{name}_bucket{{{labels},le=\"+Inf\"}} {}", value.count));
        samples.push(format!("splitpool_{name}_sum{{{labels}}} {}", value.sum.as_secs_f64()));
        samples.push(format!("splitpool_{name}_count{{{labels}}} {}", value.count));
    }

    /// As OpenMetrics has it.
    fn text(&self) -> String {
        let mut text = String::new();
        for Family { name, kind, help, samples } in &self.0 {
            let _ = writeln!(text, "# HELP splitpool_{name} {help}.\n# TYPE splitpool_{name} {kind}");
            for sample in samples {
                let _ = writeln!(text, "{sample}");
            }
        }
        text
    }
}

/// What the configuration in force and its clusters come to, in OpenMetrics' format.
pub fn text(snapshot: &Snapshot, latches: &Latches, metrics: &Metrics, views: &[View]) -> String {
    let mut families = Families::default();
    let hash = format!("hash=\"{:016x}\"", snapshot.hash);
    families.gauge("config_info", "1 for the hash of the settings in force, secrets left out", &hash, 1);
    for domain in domains(snapshot) {
        let labels = format!("database=\"{}\"", escape(domain.name));
        let paused = u8::from(latches.is_paused(domain.name));
        families.gauge("database_paused", "Whether an operator has paused the database", &labels, paused);
        let disabled = u8::from(latches.is_disabled(domain.name));
        families.gauge("database_disabled", "Whether an operator lets no new clients in", &labels, disabled);
    }
    for of in &metrics.all() {
        let (cluster, database) = (escape(of.cluster()), escape(of.database()));
        let labels = format!("cluster=\"{cluster}\",database=\"{database}\"");
        let sums = of.sums();
        let taken = Duration::from_micros(sums.busy_us).as_secs_f64();
        families.counter("request_seconds", "How long requests took in all", &labels, taken);
        families.counter("received_bytes", "Bytes that came from clients", &labels, sums.received);
        families.counter("sent_bytes", "Bytes that went to clients", &labels, sums.sent);
    }
    statements(&mut families, metrics);
    for view in views {
        cluster(&mut families, view);
        for seen in &view.endpoints {
            endpoint(&mut families, view, seen);
        }
    }
    families.text()
}

/// How many are told apart, not which they are: texts are no labels.
fn statements(families: &mut Families, metrics: &Metrics) {
    let digests = &metrics.digests;
    families.gauge("digests", "Statements that are told apart", "", digests.len());
    families.counter("digests_evicted", "Statements that made room for others", "", digests.evicted());
    for ((protocol, side), count) in metrics.violations.sums() {
        let labels = format!("protocol=\"{protocol}\",side=\"{side}\"");
        families.counter("protocol_errors", "Breaches of a protocol, by who did it", &labels, count);
    }
}

fn cluster(families: &mut Families, view: &View) {
    let labels = format!("cluster=\"{}\"", escape(&view.name));
    families.gauge(
        "cluster_has_primary",
        "Whether writes have somewhere to go",
        &labels,
        u8::from(view.primary.is_ok()),
    );
    families.gauge(
        "cluster_reigns",
        "How many primaries and timelines there were",
        &labels,
        view.incarnation,
    );
    let (caught_up, fell_back, waited) = view.fence_waits;
    for (outcome, count) in [("caught_up", caught_up), ("fell_back", fell_back)] {
        let labels = format!("{labels},outcome=\"{outcome}\"");
        let help = "Reads that waited for a replica to catch up with their session, by what came of it";
        families.counter("fence_waits", help, &labels, count);
    }
    families.counter("fence_wait_seconds", "How long they waited in all", &labels, waited.as_secs_f64());
}

fn endpoint(families: &mut Families, view: &View, seen: &EndpointView) {
    let address = seen.endpoint.address.to_string();
    let labels = format!("cluster=\"{}\",endpoint=\"{}\"", escape(&view.name), escape(&address));
    let with = |name: &str, value: &str| format!("{labels},{name}=\"{value}\"");
    let counters = &seen.endpoint.counters;
    let reason = seen.why_not.map_or("eligible", |why| why.name());
    let of_it: Vec<_> = view.pools.iter().filter(|pool| pool.endpoint == seen.endpoint.id).collect();
    let sum = |of: fn(&pool::PoolView) -> u32| of_it.iter().map(|pool| u64::from(of(pool))).sum::<u64>();
    let up = u8::from(is_up(seen.role));
    families.gauge("endpoint_up", "Whether the endpoint answers its probes", &labels, up);
    families.gauge("endpoint_role", "1 for the role that it has", &with("role", seen.role.name()), 1);
    families.gauge("endpoint_duty", "1 for what operators want of it", &with("duty", seen.duty.name()), 1);
    let eligible = u8::from(seen.why_not.is_none());
    families.gauge(
        "endpoint_eligible",
        "Whether it takes reads, or why not",
        &with("reason", reason),
        eligible,
    );
    let help = "Age of what the replica has replayed; NaN if unknown";
    families.gauge("endpoint_lag_seconds", help, &labels, seconds(seen.lag));
    let help = "Bytes that the replica has yet to replay; NaN if unknown";
    families.gauge("endpoint_lag_bytes", help, &labels, number(seen.lag_bytes));
    let help = "Transactions of the primary that the replica lacks; NaN if unknown";
    families.gauge("endpoint_lag_transactions", help, &labels, number(seen.lag_transactions));
    let help = "Transactions that the primary lacks";
    families.gauge("endpoint_errant_transactions", help, &labels, seen.errant_transactions);
    let help = "What the replica says of its own lag; nothing follows it";
    families.gauge("endpoint_seconds_behind", help, &labels, number(seen.seconds_behind));
    let help = "Time since the last good probe; NaN if there was none";
    families.gauge("endpoint_probe_age_seconds", help, &labels, seconds(seen.probe_age));
    families.gauge("endpoint_leases", "Backends that are lent now", &labels, seen.endpoint.in_flight());
    families.gauge("endpoint_backends", "Backends that are open", &labels, sum(|pool| pool.open));
    families.gauge("endpoint_backends_idle", "Those of them that are idle", &labels, sum(|pool| pool.idle));
    let help = "Requests that stand in line for a backend";
    families.gauge("endpoint_waiting", help, &labels, sum(|pool| pool.waiting));
    let help = "How long requests took, from their first byte to the last of their reply";
    families.histogram("endpoint_latency_seconds", help, &labels, &counters.latencies.histogram());
    for (name, help, counter) in [
        ("endpoint_logins", "Backends that were signed in", &counters.logins),
        ("endpoint_login_failures", "Backends that could not be signed in", &counters.login_failures),
        ("endpoint_lost", "Backends that were lost", &counters.lost),
        ("endpoint_discarded", "Backends that were closed when they came back", &counters.discarded),
        ("endpoint_waits", "Leases that had to wait for a place or a sign-in", &counters.waits),
    ] as [(_, _, &AtomicU64); 5]
    {
        families.counter(name, help, &labels, counter.load(Relaxed));
    }
}

/// Whether an endpoint of this role can serve clients.
pub fn is_up(role: Role) -> bool {
    matches!(role, Role::Primary | Role::Replica)
}

fn seconds(age: Option<Duration>) -> String {
    age.map_or_else(|| "NaN".to_owned(), |age| format!("{:.6}", age.as_secs_f64()))
}

fn number(number: Option<u64>) -> String {
    number.map_or_else(|| "NaN".to_owned(), |number| number.to_string())
}

fn escape(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// The older text format, for whoever does not ask for OpenMetrics: there a counter is called as its
/// samples are, and units and the end have no lines.
pub fn classic(text: &str) -> String {
    let kind = |line: &'_ str| -> Option<(String, String)> {
        let (name, kind) = line.strip_prefix("# TYPE ")?.split_once(' ')?;
        Some((name.to_owned(), kind.to_owned()))
    };
    let counters: BTreeSet<String> =
        text.lines().filter_map(kind).filter(|(_, kind)| kind == "counter").map(|(name, _)| name).collect();
    let mut classic = String::with_capacity(text.len());
    for line in text.lines().filter(|line| !line.starts_with("# UNIT ") && *line != "# EOF") {
        let described = ["# TYPE ", "# HELP "].into_iter().find_map(|prefix| {
            let (name, rest) = line.strip_prefix(prefix)?.split_once(' ')?;
            counters.contains(name).then(|| format!("{prefix}{name}_total {rest}"))
        });
        classic.push_str(described.as_deref().unwrap_or(line));
        classic.push('\n');
    }
    classic
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_format() {
        let open = "# HELP a_b Words.\n# TYPE a_b counter\n# UNIT a_b seconds\na_b_total{x=\"1\"} 2\n# HELP g G.\n# TYPE g gauge\ng 1\n# EOF\n";
        let wanted = "# HELP a_b_total Words.\n# TYPE a_b_total counter\na_b_total{x=\"1\"} 2\n# HELP g G.\n# TYPE g gauge\ng 1\n";
        assert_eq!(classic(open), wanted);
    }

    #[test]
    fn names_are_escaped() {
        assert_eq!(escape("a\"b\\c\nd"), "a\\\"b\\\\c\\nd");
    }
}
