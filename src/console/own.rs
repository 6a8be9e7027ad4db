//! The rows of our own SHOW commands. Decides only: facts in, rows out.

use super::commands::Show;
use super::facts::Facts;
use super::proxysql::Table;
use super::show::{Row, row};
use super::table::{Entry, TABLE};
use crate::clock;
use crate::digests::{self, Digest, Sum};
use crate::metrics::TARGETS;
use crate::violations::{Cases, Way};
use pool::{EndpointView, View};
use std::collections::BTreeSet;
use std::time::Duration;

/// Clients that are named beside a reason to be pinned.
const NAMED_MAX: usize = 10;

/// The rows of `show`; `None` if it is one of PgBouncer's.
pub(super) fn rows(show: Show, facts: &Facts) -> Option<Vec<Row>> {
    let endpoints = || {
        let views = facts.views.iter().map(|(_, view)| view);
        views.flat_map(|view| view.endpoints.iter().map(move |seen| (view, seen)))
    };
    Some(match show {
        Show::Commands => commands(),
        Show::Digests => digests(facts),
        Show::Generations => generations(facts),
        Show::Lag => endpoints().map(|(view, seen)| lag(view, seen)).collect(),
        Show::Pins => pins(facts),
        Show::ProtocolErrors => facts.violations.iter().map(violation).collect(),
        Show::Replicas => endpoints().map(|(view, seen)| replica(view, seen)).collect(),
        Show::Routes => routes(facts),
        Show::Settings => settings(facts),
        Show::Tables => Table::ALL.iter().map(|table| row![table.name()]).collect(),
        // What there is to say is said in the answer itself.
        Show::Warnings => Vec::new(),
        _ => return None,
    })
}

fn commands() -> Vec<Row> {
    let one = |entry: &Entry| row![entry.words.join(" "), entry.right.name(), entry.form, entry.example];
    TABLE.iter().map(one).collect()
}

fn generations(facts: &Facts) -> Vec<Row> {
    let one = |outcome: &crate::config::Outcome| {
        row![
            outcome.generation,
            format!("{:016x}", outcome.hash),
            if outcome.applied { "applied" } else { "rejected" },
            clock::words(outcome.at),
            outcome.detail.as_str(),
        ]
    };
    facts.outcomes.iter().map(one).collect()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn lag(view: &View, seen: &EndpointView) -> Row {
    row![
        view.name.as_str(),
        seen.endpoint.address.to_string(),
        seen.role.name(),
        seen.lag.map(millis),
        seen.lag_bytes,
        seen.lag_transactions,
        seen.errant_transactions,
        seen.seconds_behind,
        seen.probe_age.map(millis),
    ]
}

fn replica(view: &View, seen: &EndpointView) -> Row {
    row![
        view.name.as_str(),
        seen.endpoint.address.to_string(),
        seen.role.name(),
        if seen.up { "up" } else { "down" },
        seen.duty.name(),
        seen.why_not.is_none(),
        seen.why_not.map(|why| why.name()),
        seen.weight,
        seen.share,
        seen.lag.map(millis),
        seen.lag_bytes,
        seen.probe_age.map(millis),
        seen.timeline,
        seen.endpoint.in_flight(),
        u64::from(seen.endpoint.latency_us()),
        seen.endpoint.counters.latencies.count(),
        seen.error.as_deref(),
    ]
}

fn pins(facts: &Facts) -> Vec<Row> {
    let mut told = BTreeSet::new();
    let mut rows = Vec::new();
    // The counters of pins are shared by all databases of a cluster.
    for of in facts.counters.iter().filter(|of| told.insert(of.cluster())) {
        for pin in of.pins().filter(|pin| pin.ever > 0 || pin.refused > 0) {
            let pinned = |client: &&crate::site::Client| client.pins.names().any(|name| name == pin.reason);
            let of_cluster = |client: &&crate::site::Client| {
                let domain = facts.counted_as(&client.domain);
                facts
                    .counters
                    .iter()
                    .any(|other| other.cluster() == of.cluster() && other.database() == domain)
            };
            let clients = facts.clients.iter().filter(pinned).filter(of_cluster);
            let ids: Vec<String> = clients.take(NAMED_MAX).map(|client| client.id.to_string()).collect();
            rows.push(row![of.cluster(), pin.reason, pin.now, pin.ever, pin.refused, ids.join(" ")]);
        }
    }
    rows
}

fn routes(facts: &Facts) -> Vec<Row> {
    let one = |of: &std::sync::Arc<crate::metrics::Counters>| -> Vec<Row> {
        let routes = of.routes();
        routes
            .map(|(target, reason, count)| row![of.cluster(), of.database(), target, reason.as_str(), count])
            .collect()
    };
    facts.counters.iter().flat_map(one).collect()
}

/// Those that took the most time first, what is not kept apart last.
fn digests(facts: &Facts) -> Vec<Row> {
    let one = |(digest, target, sum): (&Digest, &str, Sum)| {
        let (of, number) = (&digest.of, format!("{:016x}", digest.number));
        let times = [clock::words(digest.first), clock::words(digest.last(&sum))];
        digest_row([of.cluster(), of.database(), &number, target], &sum, times, &digest.text)
    };
    let others = TARGETS.into_iter().zip(facts.other_digests).filter(|(_, sum)| sum.calls > 0);
    let others =
        others.map(|(target, sum)| digest_row(["", "", "", target], &sum, Default::default(), "(others)"));
    digests::by_time(&facts.digests).into_iter().map(one).chain(others).collect()
}

fn digest_row(of: [&str; 4], sum: &Sum, [first, last]: [String; 2], text: &str) -> Row {
    let [cluster, database, number, target] = of;
    row![
        cluster,
        database,
        number,
        target,
        sum.reasons().collect::<Vec<_>>().join(" "),
        sum.calls,
        sum.statements,
        sum.errors,
        sum.rows,
        sum.bytes,
        sum.total_us,
        sum.total_us / sum.calls.max(1),
        sum.max_us,
        first,
        last,
        text,
    ]
}

/// Addresses are the last few, the newest first, each with its time.
fn violation((way, cases): &(Way, Cases)) -> Row {
    let last = cases.last.iter().map(|(at, address)| format!("{address} at {}", clock::words(*at)));
    row![
        way.protocol,
        way.side.name(),
        way.error,
        cases.count,
        clock::words(cases.first),
        cases.last.front().map(|(at, _)| clock::words(*at)),
        last.collect::<Vec<_>>().join(", "),
    ]
}

fn settings(facts: &Facts) -> Vec<Row> {
    let one = |(key, value): (&String, &String)| {
        let source = facts.snapshot.sources.0.get(key);
        let usual = source.map(|source| source.usual.as_str());
        row![key.as_str(), value.as_str(), usual, source.map(|source| source.origin.name())]
    };
    facts.snapshot.settings.iter().map(one).collect()
}
