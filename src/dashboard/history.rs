//! How far replicas were behind over the last minutes, and what changed from look to look.
//!
//! Bounded by `SAMPLES_MAX` for each endpoint that is there; whoever is gone is forgotten.

use pool::{Role, View};
use std::collections::{BTreeMap, VecDeque};

/// Looks that are kept: five minutes of one a second.
const SAMPLES_MAX: usize = 300;

/// What is kept of the looks.
#[derive(Default)]
pub(super) struct History {
    /// By cluster and address.
    endpoints: BTreeMap<(String, String), Track>,
}

#[derive(Default)]
struct Track {
    /// Seconds; `None` is not known.
    lags: VecDeque<Option<f32>>,
    last: Option<Last>,
}

#[derive(Clone, PartialEq)]
struct Last {
    role: Role,
    out: Option<&'static str>,
}

impl History {
    /// Takes a look. Returns what changed since the one before, with how good that is.
    pub fn look(&mut self, views: &[View]) -> Vec<(&'static str, String)> {
        let mut changes = Vec::new();
        let mut now = BTreeMap::new();
        for (view, seen) in views.iter().flat_map(|view| view.endpoints.iter().map(move |seen| (view, seen)))
        {
            let key = (view.name.clone(), seen.endpoint.address.to_string());
            let mut track = self.endpoints.remove(&key).unwrap_or_default();
            if track.lags.len() >= SAMPLES_MAX {
                track.lags.pop_front();
            }
            track.lags.push_back(seen.lag.map(|lag| lag.as_secs_f32()));
            let last = Last { role: seen.role, out: seen.why_not.map(pool::Why::name) };
            changes.extend(change(&key, track.last.as_ref(), &last));
            track.last = Some(last);
            now.insert(key, track);
        }
        for (cluster, address) in self.endpoints.keys() {
            changes.push(("warn", format!("{cluster}: {address} is no endpoint any more")));
        }
        self.endpoints = now;
        changes
    }

    /// The lags of an endpoint, the oldest first.
    pub fn lags(&self, cluster: &str, address: &str) -> Vec<Option<f32>> {
        let track = self.endpoints.get(&(cluster.to_owned(), address.to_owned()));
        track.map_or(Vec::new(), |track| track.lags.iter().copied().collect())
    }
}

/// What is said of an endpoint that was `before` and is `now`.
fn change(
    (cluster, address): &(String, String),
    before: Option<&Last>,
    now: &Last,
) -> Option<(&'static str, String)> {
    let Some(before) = before else { return Some(("good", format!("{cluster}: {address} is an endpoint"))) };
    if before == now {
        return None;
    }
    if before.role != now.role {
        let level = if now.role == Role::Primary || now.role == Role::Replica { "good" } else { "bad" };
        return Some((
            level,
            format!("{cluster}: {address} is {} now, was {}", now.role.name(), before.role.name()),
        ));
    }
    match now.out {
        None => Some(("good", format!("{cluster}: {address} takes reads"))),
        Some(why) => {
            Some(("warn", format!("{cluster}: {address} takes no reads, {}", why.replace('_', " "))))
        }
    }
}
