//! Lag by position: what the primary's position was, and when.
//!
//! A replica lags by the age of the newest sample of the primary that it has replayed. No
//! clock of a database is read. Pure: time comes as an argument. Invariant: runs are in
//! order, by time and by position; every answer errs towards more lag, never towards less.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How far a database has come, in an order that holds within one incarnation of a cluster.
/// For PostgreSQL the byte position of the log; for others a number that the ledger gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position(pub u64);

/// Runs kept at most. Old ones are thinned out so that this covers hours.
const RUNS_MAX: usize = 1024;

/// After thinning, neighbours are apart by their age over this: lag is known to within 1.6 %.
const RESOLUTION: u32 = 64;

/// Samples in a row that found the same position, and when the last of them began. An idle
/// primary leaves but one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    position: Position,
    last: Instant,
}

/// The positions that one endpoint was seen at. At most 1,024 entries of 24 bytes.
#[derive(Debug, Clone, Default)]
pub struct History {
    runs: VecDeque<Run>,
}

impl History {
    /// A sample found `position`; it began at `started`. Samples come in the order they began.
    pub fn record(&mut self, position: Position, started: Instant) {
        // Log that was never flushed is lost in a crash: what lay beyond is no longer true.
        while self.runs.back().is_some_and(|run| run.position > position) {
            self.runs.pop_back();
        }
        match self.runs.back_mut() {
            Some(run) if run.position == position => run.last = run.last.max(started),
            _ => self.runs.push_back(Run { position, last: started }),
        }
        if self.runs.len() >= RUNS_MAX {
            self.thin(started);
        }
    }

    /// The newest samples turn out to have found `position`, if that lies further.
    pub fn raise(&mut self, position: Position) {
        if let Some(run) = self.runs.back_mut() {
            run.position = run.position.max(position);
        }
    }

    /// When the newest sample began that `replayed` covers: everything that was committed
    /// before that moment is there. `None` if no sample is covered.
    pub fn covered_at(&self, replayed: Position) -> Option<Instant> {
        let beyond = self.runs.partition_point(|run| run.position <= replayed);
        self.runs.get(beyond.checked_sub(1)?).map(|run| run.last)
    }

    /// The position of the first sample that began at `at` or later: what was there at `at`
    /// is there for whoever has come that far.
    pub fn first_since(&self, at: Instant) -> Option<Position> {
        let earlier = self.runs.partition_point(|run| run.last < at);
        self.runs.get(earlier).map(|run| run.position)
    }

    /// How many runs there are.
    pub fn len(&self) -> usize {
        self.runs.len()
    }

    /// Whether some sample found this very position.
    pub fn has(&self, position: Position) -> bool {
        self.runs.binary_search_by_key(&position, |run| run.position).is_ok()
    }

    /// The newest sample: its position and when it began.
    pub fn latest(&self) -> Option<(Position, Instant)> {
        self.runs.back().map(|run| (run.position, run.last))
    }

    /// What a promoted replica shares with the primary before it: the samples that it had replayed.
    #[must_use]
    pub fn up_to(&self, replayed: Position) -> Self {
        Self { runs: self.runs.iter().copied().take_while(|run| run.position <= replayed).collect() }
    }

    /// Drops runs that are closer to their neighbour than their age asks for.
    fn thin(&mut self, now: Instant) {
        let newest = self.runs.back().copied();
        let mut kept: Option<Instant> = None;
        self.runs.retain(|run| {
            let gap = kept.map(|last| run.last.saturating_duration_since(last));
            let keep = gap.is_none_or(|gap| gap >= now.saturating_duration_since(run.last) / RESOLUTION);
            if keep || Some(*run) == newest {
                kept = Some(run.last);
            }
            keep || Some(*run) == newest
        });
        let excess = self.runs.len().saturating_sub(RUNS_MAX * 3 / 4);
        self.runs.drain(..excess);
    }
}

/// How far a replica is behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lag {
    /// Not known: never the same as none.
    Unknown,
    /// At most this far.
    Known(Duration),
}

impl Lag {
    /// The lag of a replica whose newest covered sample began at `covered_at`, seen at `reference`.
    pub fn since(covered_at: Option<Instant>, reference: Instant) -> Self {
        covered_at.map_or(Self::Unknown, |at| Self::Known(reference.saturating_duration_since(at)))
    }
}

#[cfg(test)]
mod tests;
