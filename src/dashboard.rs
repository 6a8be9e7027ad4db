//! What the dashboard shows: everything at one moment, as JSON, and the page that asks for it.
//!
//! A task looks every `PACE` and keeps what cannot be asked for later: how far replicas were
//! behind over the last minutes, and what changed. Both are bounded. No secret is in any of it:
//! names, addresses, counts, and what our own probe was told.

mod history;
mod verdict;

use crate::config::Snapshot;
use crate::digests::{self, Digest, Digests, Sum};
use crate::http::Facts;
use history::History;
use parking_lot::Mutex;
use pool::{EndpointView, View};
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The page. It asks `/api/status` for all it shows.
pub const PAGE: &str = include_str!("dashboard/page.html");

/// Between two looks.
const PACE: Duration = Duration::from_secs(1);

/// Events that are kept.
const EVENTS_MAX: usize = 100;

/// Statements of a cluster that are shown.
const SLOWEST_MAX: usize = 10;

/// What the dashboard remembers.
pub struct Dashboard {
    begun: Instant,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    history: History,
    events: VecDeque<Event>,
    /// Why the file on the disk is not in force.
    rejected: Option<String>,
}

struct Event {
    at: SystemTime,
    /// `good`, `warn` or `bad`.
    level: &'static str,
    text: String,
}

impl Default for Dashboard {
    fn default() -> Self {
        Self { begun: Instant::now(), state: Mutex::default() }
    }
}

impl Dashboard {
    /// Something happened. `level` is `good`, `warn` or `bad`.
    pub fn event(&self, level: &'static str, text: String) {
        self.state.lock().event(level, text);
    }

    /// A configuration was put to work, or, with what is wrong with it, was not.
    pub fn reloaded(&self, outcome: Result<String, String>) {
        let mut state = self.state.lock();
        match outcome {
            Ok(text) => {
                state.rejected = None;
                state.event("good", text);
            }
            Err(mistakes) => {
                let mut lines = mistakes.lines();
                let (first, more) = (lines.next().unwrap_or_default(), lines.count());
                let more = if more > 0 { format!(", and {more} more") } else { String::new() };
                state.event("bad", format!("the configuration file was refused: {first}{more}"));
                state.rejected = Some(mistakes);
            }
        }
    }

    /// Looks at `facts` for as long as the process lives.
    pub async fn watch(self: Arc<Self>, facts: Arc<Facts>) {
        let mut every = tokio::time::interval(PACE);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            let views = facts.views();
            let mut state = self.state.lock();
            for (level, text) in state.history.look(&views) {
                state.event(level, text);
            }
        }
    }

    /// Everything, at this moment.
    pub fn status(&self, facts: &Facts) -> Value {
        let snapshot = facts.live.current();
        let views = facts.views();
        let stopping = *facts.stopping.borrow();
        let state = self.state.lock();
        let verdict = verdict::of(&views, state.rejected.is_some(), stopping);
        let events: Vec<_> = state.events.iter().rev().map(Event::show).collect();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "verdict": { "level": verdict.level, "text": verdict.text },
            "uptime": self.begun.elapsed().as_secs(),
            "clients": { "now": facts.clients(), "most": snapshot.general.max_clients },
            "config": {
                "generation": snapshot.generation,
                "hash": format!("{:016x}", snapshot.hash),
                "rejected": state.rejected,
            },
            "pace": PACE.as_secs(),
            "clusters": views.iter().map(|view| cluster(view, facts, &snapshot, &state.history)).collect::<Vec<_>>(),
            "events": events,
        })
    }
}

impl State {
    fn event(&mut self, level: &'static str, text: String) {
        if self.events.len() >= EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(Event { at: SystemTime::now(), level, text });
    }
}

impl Event {
    fn show(&self) -> Value {
        let at = self.at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        json!({ "at": at, "level": self.level, "text": self.text })
    }
}

fn cluster(view: &View, facts: &Facts, snapshot: &Snapshot, history: &History) -> Value {
    let config = snapshot.clusters.get(&view.name);
    let counters = facts.metrics.of_cluster(&view.name);
    let mut routes: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for (target, reason, count) in counters.iter().flat_map(|of| of.routes()) {
        *routes.entry((target, reason.as_str())).or_default() += count;
    }
    let statements: Vec<_> = routes
        .iter()
        .map(|((target, reason), count)| json!({ "target": target, "reason": reason, "count": count }))
        .collect();
    // Databases of one cluster share the counters of pins.
    let pins: Vec<_> = counters
        .iter()
        .take(1)
        .flat_map(|of| of.pins())
        .filter(|pin| pin.ever > 0)
        .map(|pin| json!({ "reason": pin.reason, "now": pin.now, "ever": pin.ever }))
        .collect();
    let pools: Vec<_> = view
        .pools
        .iter()
        .map(|pool| {
            json!({
                "database": pool.database, "user": pool.user, "endpoint": pool.address.to_string(),
                "size": pool.size, "open": pool.open, "idle": pool.idle, "in_use": pool.in_use,
                "waiting": pool.waiting,
            })
        })
        .collect();
    let endpoints: Vec<_> = view.endpoints.iter().map(|seen| endpoint(&view.name, seen, history)).collect();
    json!({
        "name": view.name,
        "engine": config.map(|config| config.engine.to_string()),
        "consistency": config.map(|config| config.consistency.to_string()),
        "max_lag": config.map(|config| config.max_lag.as_secs_f64()),
        "endpoints": endpoints, "pools": pools, "statements": statements, "pins": pins,
        "digests": slowest(&view.name, &facts.metrics.digests),
        "digests_kept": facts.metrics.digests.are_kept(),
    })
}

/// Those of a cluster's statements that took the most time, without their values.
fn slowest(cluster: &str, digests: &Digests) -> Vec<Value> {
    let mut all = digests.all();
    all.retain(|digest| digest.of.cluster() == cluster);
    let one = |(digest, target, sum): (&Digest, &str, Sum)| {
        json!({
            "digest": format!("{:016x}", digest.number), "text": digest.text, "database": digest.of.database(),
            "target": target, "reasons": sum.reasons().collect::<Vec<_>>(), "calls": sum.calls, "errors": sum.errors,
            "rows": sum.rows, "bytes": sum.bytes, "total_us": sum.total_us, "max_us": sum.max_us,
        })
    };
    digests::by_time(&all).into_iter().take(SLOWEST_MAX).map(one).collect()
}

fn endpoint(cluster: &str, seen: &EndpointView, history: &History) -> Value {
    let address = seen.endpoint.address.to_string();
    let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
    let load = |counter: &std::sync::atomic::AtomicU64| counter.load(std::sync::atomic::Ordering::Relaxed);
    let counters = &seen.endpoint.counters;
    json!({
        "address": address,
        "role": seen.role.name(),
        "up": seen.up,
        "out": seen.why_not.map(pool::Why::name),
        "lag": seconds(seen.lag),
        "lag_bytes": seen.lag_bytes,
        "lag_transactions": seen.lag_transactions,
        "probe_age": seconds(seen.probe_age),
        "weight": seen.weight,
        "in_use": seen.endpoint.in_flight(),
        "statements": counters.latencies.count(),
        "lost": load(&counters.lost),
        "login_failures": load(&counters.login_failures),
        "error": seen.error,
        "history": history.lags(cluster, &address),
    })
}
