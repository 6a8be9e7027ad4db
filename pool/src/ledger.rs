//! Puts positions that are sets of transactions in an order: the order in which the primary reached them.
//!
//! Each set that the primary was seen at gets a number. What a replica *has* is the number of
//! the newest of them within its own set; what it may have *shown* is the first that holds
//! its own set. So everything that compares positions compares numbers, whatever database.
//! Invariant: each set holds the sets before it, and numbers are never given twice.

use crate::gtid::Gtids;
use crate::lag::{History, Position};
use std::collections::VecDeque;
use std::sync::Arc;

/// How far an endpoint has come, in its database's own words.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// A position in the log, which has an order.
    Log(Position),
    /// Sets of transactions, which have none.
    Gtids {
        /// What it has written to its own log: what replicas of it will get.
        written: Arc<Gtids>,
        /// What it has applied of another's.
        applied: Arc<Gtids>,
        /// Whether it applies transactions in the order in which the other committed them, so that who finds one of
        /// them there finds all that came before.
        in_order: bool,
    },
}

/// What is known of a replica's set.
#[derive(Debug, Default)]
pub(crate) struct Applied {
    set: Option<Arc<Gtids>>,
    /// Whether one transaction in it proves those before it.
    in_order: bool,
    /// What the primary lacked although it was asked later: this replica alone has it.
    errant: Option<Gtids>,
}

/// Sets that the primary was seen at, in order.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    sets: VecDeque<(Position, Arc<Gtids>)>,
    last: u64,
}

/// Sets kept at most beside those that the trail keeps.
const SPARE: usize = 64;

impl Ledger {
    /// Where the primary stands.
    pub fn written(&mut self, place: &Place, trail: &History) -> Position {
        let set = match place {
            Place::Log(position) => return *position,
            Place::Gtids { written, .. } => written,
        };
        // What is not in the newest set was lost in a crash or a failover.
        while self.sets.back().is_some_and(|(_, newest)| !newest.is_within(set)) {
            self.sets.pop_back();
        }
        match self.sets.back() {
            Some((position, newest)) if set.is_within(newest) => *position,
            _ => {
                self.last += 1;
                self.sets.push_back((Position(self.last), Arc::clone(set)));
                if self.sets.len() > trail.len() + SPARE {
                    self.sets.retain(|(position, _)| position.0 == self.last || trail.has(*position));
                }
                Position(self.last)
            }
        }
    }

    /// A replica was sampled: what it may have shown.
    pub fn shown(&self, place: &Place, applied: &mut Applied) -> Option<Position> {
        let set = match place {
            Place::Log(position) => return Some(*position),
            Place::Gtids { applied: set, in_order, .. } => {
                applied.in_order = *in_order;
                set
            }
        };
        applied.set = Some(Arc::clone(set));
        Some(self.shown_by(set, applied))
    }

    /// What a replica may have shown, as far as can be told now that another set of the primary is known: the answer
    /// that told it may be older than the replica's.
    pub fn shown_now(&self, applied: &Applied) -> Option<Position> {
        applied.set.as_ref().map(|set| self.shown_by(set, applied))
    }

    fn shown_by(&self, set: &Gtids, applied: &Applied) -> Position {
        let next = Position(self.last + 1);
        let own = applied.errant.as_ref().map(|errant| set.beyond(errant));
        let own = own.as_ref().unwrap_or(set);
        // Most replicas are near the end.
        match self.sets.back() {
            Some((_, newest)) if own.is_within(newest) => {
                let at = self.sets.partition_point(|(_, set)| !own.is_within(set));
                self.sets.get(at).map_or(next, |(position, _)| *position)
            }
            // The primary's next set will hold it, unless its answer is on its way already.
            _ => next,
        }
    }

    /// What a replica has.
    pub fn has(&self, place: &Place) -> Option<Position> {
        match place {
            Place::Log(position) => Some(*position),
            Place::Gtids { applied, .. } => self.newest_within(applied),
        }
    }

    /// What a replica has that was sampled before the primary's last set was known; `before` is
    /// what was thought then.
    pub fn has_now(&self, applied: &Applied, before: Option<Position>) -> Option<Position> {
        applied.set.as_ref().map_or(before, |set| self.newest_within(set))
    }

    /// The first set that the primary was seen at which holds `set`.
    pub fn first_holding(&self, set: &Gtids) -> Option<Position> {
        self.sets.back().filter(|(_, newest)| set.is_within(newest))?;
        let at = self.sets.partition_point(|(_, of)| !set.is_within(of));
        self.sets.get(at).map(|(position, _)| *position)
    }

    /// A set that holds all that `position` stands for.
    pub fn set_at(&self, position: Position) -> Option<&Gtids> {
        let at = self.sets.partition_point(|(have, _)| *have < position);
        self.sets.get(at).map(|(_, set)| &**set)
    }

    fn newest_within(&self, own: &Gtids) -> Option<Position> {
        if let Some((position, _)) = self.sets.back().filter(|(_, newest)| newest.is_within(own)) {
            return Some(*position);
        }
        let beyond = self.sets.partition_point(|(_, set)| set.is_within(own));
        self.sets.get(beyond.checked_sub(1)?).map(|(position, _)| *position)
    }

    /// The primary was sampled after the replica: whatever it lacks is the replica's own. Says
    /// how many transactions that are, if this is news.
    pub fn find_errant(&self, applied: &mut Applied) -> Option<u64> {
        let (set, (_, newest)) = applied.set.as_ref().zip(self.sets.back())?;
        let errant = (!set.is_within(newest)).then(|| set.beyond(newest));
        let news = errant.is_some() && errant != applied.errant;
        applied.errant = errant;
        news.then(|| set.count_beyond(newest))
    }

    /// How many transactions of the primary a replica lacks.
    pub fn count_lacking(&self, applied: &Applied) -> Option<u64> {
        let (set, (_, newest)) = applied.set.as_ref().zip(self.sets.back())?;
        Some(newest.count_beyond(set))
    }

    /// Whether an endpoint that takes writes has all that the primary was ever seen to have.
    pub fn is_held_by(&self, place: &Place) -> bool {
        match (place, self.sets.back()) {
            (Place::Gtids { written, .. }, Some((_, newest))) => newest.is_within(written),
            _ => false,
        }
    }

    /// Whether positions are numbers given here.
    pub fn is_in_use(&self) -> bool {
        self.last > 0
    }

    /// Another primary reigns, which shares what it had replayed: the rest never was.
    pub fn cut(&mut self, shared: Position) {
        self.sets.retain(|(position, _)| *position <= shared);
    }
}

impl Applied {
    /// The set, if one transaction in it proves those before it.
    pub fn proof(&self) -> Option<&Arc<Gtids>> {
        self.set.as_ref().filter(|_| self.in_order)
    }

    /// How many transactions only this replica has.
    pub fn errant(&self) -> u64 {
        let nothing = |errant: &Gtids| match errant {
            Gtids::Domains(_) => Gtids::Domains(Default::default()),
            Gtids::Sources(_) => Gtids::Sources(Default::default()),
        };
        self.errant.as_ref().map_or(0, |errant| errant.count_beyond(&nothing(errant)))
    }
}

#[cfg(test)]
mod tests;
