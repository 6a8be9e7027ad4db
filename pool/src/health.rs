//! Whether one endpoint answers, and whether it is fit to serve reads.
//!
//! Leaves fast, returns slowly: one refused connect or two silent probes take it out, so does
//! too much lag; `return_after` good probes in a row bring it back. Pure: time comes as an
//! argument. Does not know what the endpoint's role is.

use crate::lag::Lag;
use std::time::{Duration, Instant};

/// Probes in a row that may go unanswered before an endpoint counts as down.
const SILENT_MAX: u32 = 2;

/// A replica that was too far behind returns below this share (in percent) of the bound.
const RETURN_BELOW: u32 = 70;

/// Why an endpoint takes no reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Why {
    /// No probe has come back yet.
    NotProbed,
    /// It refuses connections, or closed ours.
    Unreachable,
    /// Its probes go unanswered.
    Silent,
    /// It is further behind than `max_lag`.
    Lagging,
    /// How far it is behind is not known.
    LagUnknown,
    /// It is well again, and must stay so for some probes.
    Returning,
    /// It is the primary: reads go there only as fallback.
    Primary,
    /// Its role is not what the configuration says.
    WrongRole,
    /// It accepts writes but is not the primary.
    Rival,
    /// It belongs to another cluster.
    Stranger,
    /// Its weight is 0.
    NoWeight,
    /// The configuration no longer has it.
    Removed,
    /// An operator wants it to take no reads.
    Draining,
    /// An operator has taken it out of service.
    Maintenance,
}

/// What an operator wants of an endpoint, whatever its health.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Duty {
    /// It serves as its health and role allow.
    #[default]
    Ready,
    /// It takes no new reads; what runs ends in peace. Should it become the primary, it serves writes.
    Drain,
    /// As `Drain`; its backends are closed, and it is not probed, so it is not elected either.
    Maintenance,
}

impl Duty {
    /// One word for metrics and the console.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Drain => "drain",
            Self::Maintenance => "maintenance",
        }
    }

    /// Why an endpoint takes no reads by its operator's word.
    pub const fn why_not(self) -> Option<Why> {
        match self {
            Self::Ready => None,
            Self::Drain => Some(Why::Draining),
            Self::Maintenance => Some(Why::Maintenance),
        }
    }
}

impl Why {
    /// All, in an order that never changes.
    pub const ALL: [Self; 14] = [
        Self::NotProbed,
        Self::Unreachable,
        Self::Silent,
        Self::Lagging,
        Self::LagUnknown,
        Self::Returning,
        Self::Primary,
        Self::WrongRole,
        Self::Rival,
        Self::Stranger,
        Self::NoWeight,
        Self::Removed,
        Self::Draining,
        Self::Maintenance,
    ];

    /// One word for metrics and the console.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotProbed => "not_probed",
            Self::Unreachable => "unreachable",
            Self::Silent => "silent",
            Self::Lagging => "lagging",
            Self::LagUnknown => "lag_unknown",
            Self::Returning => "returning",
            Self::Primary => "primary",
            Self::WrongRole => "wrong_role",
            Self::Rival => "rival",
            Self::Stranger => "stranger",
            Self::NoWeight => "no_weight",
            Self::Removed => "removed",
            Self::Draining => "draining",
            Self::Maintenance => "maintenance",
        }
    }
}

/// What the health of a replica is judged by.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// The lag above which it takes no reads.
    pub max_lag: Duration,
    /// Good probes in a row until it returns.
    pub return_after: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fitness {
    /// Never was fit: the first good probe is enough.
    New(Why),
    /// Takes reads; `Some` since when, if it was out before.
    Fit(Option<Instant>),
    /// Was fit, is out, and had `good` good probes since.
    Out { why: Why, good: u32 },
}

/// The health of one endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Health {
    answering: bool,
    silent: u32,
    fitness: Fitness,
}

impl Default for Health {
    fn default() -> Self {
        Self { answering: false, silent: 0, fitness: Fitness::New(Why::NotProbed) }
    }
}

impl Health {
    /// A probe came back.
    pub fn answered(&mut self) {
        self.answering = true;
        self.silent = 0;
    }

    /// A probe came back from a replica that is `lag` behind.
    pub fn measured(&mut self, lag: Lag, bounds: Bounds, now: Instant) {
        let excuse = match lag {
            Lag::Unknown => Some(Why::LagUnknown),
            Lag::Known(lag) if lag > bounds.max_lag => Some(Why::Lagging),
            Lag::Known(_) => None,
        };
        let low = matches!(lag, Lag::Known(lag) if lag <= bounds.max_lag * RETURN_BELOW / 100);
        self.fitness = match (self.fitness, excuse) {
            (Fitness::New(_), Some(why)) => Fitness::New(why),
            (Fitness::New(_), None) => Fitness::Fit(None),
            (Fitness::Fit(since), None) => Fitness::Fit(since),
            (Fitness::Fit(_) | Fitness::Out { .. }, Some(why)) => Fitness::Out { why, good: 0 },
            (Fitness::Out { good, .. }, None) if low && good + 1 >= bounds.return_after => {
                Fitness::Fit(Some(now))
            }
            (Fitness::Out { good, .. }, None) if low => Fitness::Out { why: Why::Returning, good: good + 1 },
            (Fitness::Out { why, .. }, None) => Fitness::Out { why, good: 0 },
        };
    }

    /// Whether it never served: then it need not wait for its own next probe once its lag is known.
    pub fn is_new(&self) -> bool {
        matches!(self.fitness, Fitness::New(_))
    }

    /// A probe was not answered in time. One may be an accident.
    pub fn silent(&mut self) {
        self.silent += 1;
        if self.silent >= SILENT_MAX {
            self.leave(Why::Silent);
        }
    }

    /// It refused a connect or closed the connection of the probe.
    pub fn failed(&mut self) {
        self.leave(Why::Unreachable);
    }

    /// Its role changed: it begins anew, as if just found.
    pub fn reborn(&mut self) {
        self.fitness = Fitness::New(Why::LagUnknown);
    }

    fn leave(&mut self, why: Why) {
        self.answering = false;
        self.fitness = match self.fitness {
            Fitness::New(_) => Fitness::New(why),
            Fitness::Fit(_) | Fitness::Out { .. } => Fitness::Out { why, good: 0 },
        };
    }

    /// Whether it answers at all.
    pub fn is_answering(&self) -> bool {
        self.answering
    }

    /// Why it takes no reads, or `None` if it does.
    pub fn why_not(&self) -> Option<Why> {
        match self.fitness {
            Fitness::Fit(_) => None,
            Fitness::New(why) | Fitness::Out { why, .. } => Some(why),
        }
    }

    /// Since when it serves again, if it was out before.
    pub fn returned_at(&self) -> Option<Instant> {
        match self.fitness {
            Fitness::Fit(since) => since,
            Fitness::New(_) | Fitness::Out { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests;
