//! What is known of a cluster: every report of a probe goes in, roles and standings come out.
//!
//! Asks the deciders (topology, health, lag, balance) and publishes what they say on the
//! endpoints. Never waits; the time is an argument. Invariant: the trail holds positions of one
//! incarnation's primary, and those of the primary before that it is known to share.

mod entry;
mod report;

pub(crate) use entry::Entry;
pub(crate) use report::{Change, Report, Sample};

use crate::balance::{self, Strength};
use crate::endpoint::{EndpointId, Standing};
use crate::freshness::Incarnation;
use crate::health::{Bounds, Duty};
use crate::lag::{History, Lag};
use crate::ledger::{Applied, Ledger};
use crate::reign::{self, Writer};
use crate::settings::ClusterSettings;
use crate::topology::{self, Candidate, Election, NoPrimary, Past, Role};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The first election waits this long at most for endpoints that have not reported.
const GRACE: Duration = Duration::from_secs(1);

/// All that is known of one cluster.
#[derive(Debug)]
pub(crate) struct Board {
    pub entries: Vec<Entry>,
    pub primary: Result<EndpointId, NoPrimary>,
    pub incarnation: Option<Incarnation>,
    /// When the primary was last seen, while there is none.
    pub vanished_at: Option<Instant>,
    pub past: Past,
    started: Instant,
    bounds: Bounds,
    slow_start: Duration,
    pace: Duration,
    pub ledger: Ledger,
    pub trail: Arc<Mutex<History>>,
}

impl Board {
    pub fn new(settings: &ClusterSettings, now: Instant) -> Self {
        Self {
            entries: Vec::new(),
            primary: Err(NoPrimary::NotProbed),
            incarnation: None,
            vanished_at: None,
            past: Past::default(),
            started: now,
            bounds: Bounds { max_lag: settings.max_lag, return_after: settings.return_after },
            slow_start: settings.slow_start,
            pace: settings.pace(),
            ledger: Ledger::default(),
            trail: Arc::default(),
        }
    }

    /// Takes new bounds and new entries over. What is known of endpoints that stay is kept.
    pub fn apply(
        &mut self,
        settings: &ClusterSettings,
        mut entries: Vec<Entry>,
        now: Instant,
    ) -> Vec<Change> {
        for entry in &mut entries {
            let old = self.entries.iter().position(|old| Arc::ptr_eq(&old.endpoint, &entry.endpoint));
            if let Some(at) = old {
                let old = self.entries.swap_remove(at);
                *entry = Entry { setting: entry.setting, weight: entry.weight, ..old };
            }
        }
        self.bounds = Bounds { max_lag: settings.max_lag, return_after: settings.return_after };
        self.slow_start = settings.slow_start;
        self.pace = settings.pace();
        self.entries = entries;
        // A cluster rebuilt from nothing has another identity; a reload is the operator's word for it.
        let identities = || self.entries.iter().filter_map(|entry| entry.seen.and_then(|seen| seen.identity));
        if identities().next().is_some() && !identities().any(|identity| Some(identity) == self.past.identity)
        {
            self.past = Past::default();
        }
        self.judge(now)
    }

    /// Takes one report in.
    pub fn observe(&mut self, id: EndpointId, report: Report, now: Instant) -> Vec<Change> {
        let Some(at) = self.entries.iter().position(|entry| entry.endpoint.id == id) else {
            return Vec::new();
        };
        let entry = &mut self.entries[at];
        let (answered_before, error_before) = (entry.health.is_answering(), entry.error.clone());
        entry.reported = true;
        let sample = match report {
            Report::Sample(sample) => {
                entry.health.answered();
                entry.error = None;
                entry.seen = Some(sample.seen);
                entry.seconds_behind = sample.seconds_behind;
                entry.sampled_at = Some(now);
                if !sample.seen.recovering {
                    entry.written = sample.place.clone().map(|place| (place, sample.started));
                }
                entry.probed_at = Some(sample.started);
                // One that refused a session may answer on as if nothing had been.
                if sample.first || entry.steady_since.is_none() {
                    entry.steady_since = Some(sample.started);
                }
                Some(sample)
            }
            Report::Silent => {
                entry.health.silent();
                entry.error = Some("no answer in time".to_owned());
                None
            }
            Report::Failed(error) => {
                entry.health.failed();
                entry.error = Some(error);
                None
            }
        };
        let mut changes = Vec::new();
        if !entry.health.is_answering() {
            entry.seen = None;
            entry.steady_since = None;
            entry.written = None;
            entry.seconds_behind = None;
            if answered_before {
                changes.push(Change::Down { endpoint: id });
            } else if entry.error != error_before {
                changes.push(Change::StillDown { endpoint: id });
            }
        }
        changes.extend(self.judge(now));
        if let Some(sample) = sample {
            self.measure(at, sample, now);
        }
        changes.extend(self.publish(now));
        changes
    }

    /// An operator wants something else of `id`.
    pub fn assign(&mut self, id: EndpointId, duty: Duty, now: Instant) -> Vec<Change> {
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.endpoint.id == id) {
            entry.duty = duty;
        }
        if duty == Duty::Maintenance {
            return self.refused(id, "an operator has taken it out of service".to_owned(), now);
        }
        self.publish(now)
    }

    /// A session found that `id` refuses connections.
    pub fn refused(&mut self, id: EndpointId, error: String, now: Instant) -> Vec<Change> {
        self.observe(id, Report::Failed(error), now)
    }

    /// Elects, and gives everyone its role.
    fn judge(&mut self, now: Instant) -> Vec<Change> {
        let mut changes = Vec::new();
        let candidates = self.candidates();
        let settled = now.saturating_duration_since(self.started) >= GRACE;
        let election = topology::elect(&candidates, self.past, settled);
        if election.primary != self.primary {
            changes.push(Change::Primary(election.primary));
        }
        let reigns = self.incarnation.map(|incarnation| incarnation.number);
        self.enthrone(&election, now);
        for (entry, candidate) in self.entries.iter_mut().zip(&candidates) {
            let role = topology::role(candidate, &election);
            if role == entry.role {
                continue;
            }
            changes.push(Change::Role { endpoint: candidate.id, from: entry.known_as, to: role });
            entry.role = role;
            entry.followed = match role {
                Role::Replica => true,
                Role::Primary => false,
                _ => entry.followed,
            };
            if role != Role::Unknown && role != entry.known_as {
                if entry.known_as != Role::Unknown {
                    entry.health.reborn();
                }
                entry.known_as = role;
                entry.replayed = None;
                entry.covered_at = None;
                entry.applied = Applied::default();
                entry.endpoint.replays.lock().clone_from(&History::default());
            }
        }
        if reigns != self.incarnation.map(|incarnation| incarnation.number) {
            self.cover(now);
        }
        changes
    }

    /// Takes an election's outcome over; a new primary or timeline begins an incarnation.
    fn enthrone(&mut self, election: &Election, now: Instant) {
        let reign = election.past.primary;
        if let (Ok(primary), true) = (election.primary, reign != self.past.primary) {
            let number = self.incarnation.map_or(1, |incarnation| incarnation.number + 1);
            self.incarnation = Some(Incarnation { number, since: now, primary });
            let entry = self.entries.iter_mut().find(|entry| entry.endpoint.id == primary);
            let (shared, written) =
                entry.map_or((None, None), |entry| (entry.replayed, entry.written.take()));
            let mut trail = self.trail.lock();
            *trail = trail.up_to(shared.unwrap_or_default());
            self.ledger.cut(shared.unwrap_or_default());
            if let Some((place, started)) = written {
                let position = self.ledger.written(&place, &trail);
                trail.record(position, started);
            }
        }
        self.vanished_at = match election.primary {
            Ok(_) => None,
            Err(_) => self.vanished_at.or_else(|| self.trail.lock().latest().map(|(_, at)| at)),
        };
        self.past = election.past;
        self.primary = election.primary;
    }

    /// Takes a sample's position in, and judges lag by it.
    fn measure(&mut self, at: usize, sample: Sample, now: Instant) {
        let reference = self.vanished_at.unwrap_or(now);
        let Some(entry) = self.entries.get_mut(at) else { return };
        match (entry.role, sample.place) {
            (Role::Primary, Some(place)) => {
                let mut trail = self.trail.lock();
                let position = self.ledger.written(&place, &trail);
                trail.record(position, sample.started);
                drop(trail);
                self.find_errant(sample.started);
                self.place_shown();
                self.cover(now);
            }
            (Role::Replica, place) => {
                if let Some(place) = place {
                    if let Some(shown) = self.ledger.shown(&place, &mut entry.applied) {
                        entry.endpoint.replays.lock().record(shown, sample.started);
                    }
                    entry.replayed = self.ledger.has(&place);
                    let covered_at = |position| self.trail.lock().covered_at(position);
                    entry.covered_at = entry.replayed.and_then(covered_at);
                }
                let before = entry.health.returned_at();
                entry.health.measured(Lag::since(entry.covered_at, reference), self.bounds, now);
                if entry.health.returned_at() != before {
                    entry.endpoint.forget_latency();
                }
            }
            _ => {}
        }
    }

    /// The primary's set is known: what replicas showed beyond it only the one after it holds.
    fn place_shown(&self) {
        for entry in self.entries.iter().filter(|entry| entry.role == Role::Replica) {
            if let Some(shown) = self.ledger.shown_now(&entry.applied) {
                entry.endpoint.replays.lock().raise(shown);
            }
        }
    }

    /// The trail grew: what replicas are known to have replayed may now cover more.
    fn cover(&mut self, now: Instant) {
        let trail = self.trail.lock();
        for entry in &mut self.entries {
            entry.replayed = self.ledger.has_now(&entry.applied, entry.replayed);
            entry.covered_at = entry.replayed.and_then(|replayed| trail.covered_at(replayed));
            if entry.role == Role::Replica && entry.health.is_answering() && entry.health.is_new() {
                entry.health.measured(Lag::since(entry.covered_at, now), self.bounds, now);
            }
        }
    }

    /// Writes everyone's standing onto the endpoints.
    pub fn publish(&mut self, now: Instant) -> Vec<Change> {
        let mut changes = Vec::new();
        let known = |entry: &&Entry| entry.role == Role::Replica && entry.endpoint.latency_us() > 0;
        let best = self.entries.iter().filter(known).map(|entry| entry.endpoint.latency_us()).min();
        for entry in &self.entries {
            let why_not = entry.why_not();
            if why_not != entry.endpoint.why_not() && !entry.endpoint.is_removed() {
                changes.push(Change::Reads { endpoint: entry.endpoint.id, why_not });
            }
            entry.endpoint.publish(&Standing {
                role: entry.role,
                answering: entry.health.is_answering(),
                why_not,
                covered_at: entry.covered_at,
                probed_at: entry.probed_at,
                steady_since: entry.steady_since,
                replayed: entry.replayed,
                applied: entry.applied.proof().filter(|_| entry.role == Role::Replica).cloned(),
                share: balance::share(self.strength(entry, best.unwrap_or(0), now)),
            });
        }
        changes
    }

    fn strength(&self, entry: &Entry, best_us: u32, now: Instant) -> Strength {
        let lag = match self.lag(entry, now) {
            Lag::Known(lag) => lag.saturating_sub(2 * self.pace),
            Lag::Unknown => Duration::ZERO,
        };
        let served = entry.health.returned_at().map(|at| now.saturating_duration_since(at));
        Strength {
            weight: if entry.duty == Duty::Ready { entry.weight } else { 0 },
            ramp: served.map(|served| (served, self.slow_start)),
            lag: (lag, self.bounds.max_lag),
            latency_us: (entry.endpoint.latency_us(), best_us),
        }
    }

    /// Everyone as an election sees them.
    fn candidates(&self) -> Vec<Candidate> {
        let mut candidates: Vec<_> = self.entries.iter().map(Entry::candidate).collect();
        let free =
            |candidate: &Candidate| candidate.seen.is_some_and(|seen| !seen.recovering && !seen.follows);
        if candidates.iter().any(free) {
            for seen in candidates.iter_mut().filter_map(|candidate| candidate.seen.as_mut()) {
                seen.recovering |= seen.follows;
            }
        }
        let last = self.past.primary.map(|(last, _)| last);
        let reigns = |candidate: &Candidate| {
            Some(candidate.id) == last && candidate.seen.is_some_and(|seen| !seen.recovering)
        };
        let reigning = candidates.iter().any(reigns);
        let known = candidates.iter().any(|candidate| Some(candidate.id) == last);
        for (candidate, entry) in candidates.iter_mut().zip(&self.entries) {
            let Some(seen) = &mut candidate.seen else { continue };
            if seen.recovering || seen.timeline.is_some() {
                continue;
            }
            let holds_all = entry.written.as_ref().is_some_and(|(place, _)| self.ledger.is_held_by(place));
            let writer = Writer { id: candidate.id, followed: entry.followed, holds_all };
            seen.timeline = Some(reign::timeline(writer, self.past, reigning, known));
        }
        candidates
    }

    /// The primary was asked at `started`: what replicas showed before and it lacks is theirs alone.
    fn find_errant(&mut self, started: Instant) {
        for entry in &mut self.entries {
            if entry.role != Role::Replica || entry.sampled_at.is_none_or(|at| at > started) {
                continue;
            }
            if let Some(transactions) = self.ledger.find_errant(&mut entry.applied) {
                let endpoint = &entry.endpoint.address;
                tracing::warn!(%endpoint, transactions, "the replica has transactions that the primary lacks");
            }
        }
    }

    /// How many transactions an endpoint lacks that the primary was last seen to have, if its
    /// database counts them.
    pub fn lag_transactions(&self, entry: &Entry) -> Option<u64> {
        self.ledger.count_lacking(&entry.applied)
    }

    /// How many bytes of log an endpoint is behind what the primary was last seen at, if its
    /// database counts them.
    pub fn lag_bytes(&self, entry: &Entry) -> Option<u64> {
        if self.ledger.is_in_use() {
            return None;
        }
        if entry.role == Role::Primary {
            return Some(0);
        }
        let (newest, _) = self.trail.lock().latest()?;
        Some(newest.0.saturating_sub(entry.replayed?.0))
    }

    /// How far an endpoint is behind; while the primary is away, behind what it was last seen at.
    pub fn lag(&self, entry: &Entry, now: Instant) -> Lag {
        match entry.role {
            Role::Primary => Lag::Known(Duration::ZERO),
            Role::Replica => Lag::since(entry.covered_at, self.vanished_at.unwrap_or(now)),
            _ => Lag::Unknown,
        }
    }
}

#[cfg(test)]
mod tests;
