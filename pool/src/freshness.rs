//! What a session has seen, and what a replica must therefore have.
//!
//! A use of an endpoint leaves a mark: the endpoint and the moment. The first position of that
//! endpoint sampled at or after the moment covers all that was seen there: the floor. So a
//! write costs no round trip, and a sample serves every session that waits for one. Pure.
//!
//! Where the database told the session which transaction was its last, that transaction is proof as well, and no sample
//! of the primary is needed.
//!
//! Invariant: whatever was seen is covered by the mark or the floor, whichever is later. After
//! a change of primary or timeline neither proves anything: only the primary serves, once.

use crate::endpoint::EndpointId;
use crate::lag::Position;
use crate::token::Token;
use protocol::Gtid;
use std::time::{Duration, Instant};

/// A session that stays on one replica because its mark is not resolved is free to move after this.
const STICK_MAX: Duration = Duration::from_secs(1);

/// One reign of one primary on one timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Incarnation {
    /// Counts up with each change.
    pub number: u64,
    /// When it was first seen.
    pub since: Instant,
    /// The primary.
    pub primary: EndpointId,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// A primary; `None` is whoever was it at the time.
    Primary(Option<EndpointId>),
    Replica(EndpointId),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    source: Source,
    at: Instant,
    /// When a session that stays on this replica is free to move.
    free_at: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Floor {
    incarnation: u64,
    position: Position,
}

/// What the session was told that another one has seen.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Told {
    /// `None` can be proven by nobody.
    token: Option<Token>,
    at: Instant,
}

/// What one session has seen. Owned by the session, and told of each use of a backend.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Freshness {
    mark: Option<Mark>,
    floor: Option<Floor>,
    /// A transaction of the session's own: whoever has it, and with it those before it, has all that the session has
    /// seen. It is told with the mark, and holds until more is seen.
    written: Option<Gtid>,
    /// Boxed, because few sessions are told anything.
    told: Option<Box<Told>>,
    /// The reign that was in force when this was last asked.
    pub(crate) reign: Option<Incarnation>,
}

/// What the samples of an endpoint tell of a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sampled {
    /// Whoever has come this far has all that the endpoint showed at that moment.
    At(Position),
    /// No sample began since.
    NotYet,
    /// The endpoint may have gone back since: it can prove nothing.
    Never,
}

/// What a read of the session needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Demand {
    /// Any replica will do.
    Anything,
    /// A replica that has come this far.
    Floor(Position),
    /// This replica needs no proof. `long` says that the session has stayed there for long.
    Stick {
        /// The replica.
        on: EndpointId,
        /// Whether it is worth a sample to be free again.
        long: bool,
    },
    /// A sample of this endpoint must be taken before it can be told.
    Sample(EndpointId),
    /// Only the primary will do.
    PrimaryOnly,
}

impl Freshness {
    /// A request or transaction on the primary is over. `written`: the transaction that its reply told, if that
    /// comes after all that was seen.
    pub fn used_primary(&mut self, endpoint: EndpointId, written: Option<&Gtid>, now: Instant) {
        // The primary has all that any replica ever showed, so this replaces mark and floor.
        self.mark = Some(Mark { source: Source::Primary(Some(endpoint)), at: now, free_at: now });
        self.floor = None;
        self.told = None;
        if written.is_some() || self.written.is_some() {
            self.written = written.cloned();
        }
    }

    /// From now on the session's reads show what `token` stands for as well; without a token they show what the
    /// primary has.
    pub fn tell(&mut self, token: Option<Token>, now: Instant) {
        // Of two that were told and not looked at yet only the primary has both for certain.
        let token = if self.told.is_some() { None } else { token };
        self.told = Some(Box::new(Told { token, at: now }));
        self.written = None;
    }

    /// The session begins anew, as if it had seen nothing.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// Makes what the session was told part of what it has seen. `place` tells where a token given at a moment
    /// lies. Returns what is needed first, if it cannot be told yet.
    pub(crate) fn heed(
        &mut self,
        reign: Option<Incarnation>,
        place: impl FnOnce(Incarnation, &Token, Instant) -> Sampled,
    ) -> Option<Demand> {
        let told = self.told.as_deref()?;
        let (Some(reign), Some(token)) = (reign, &told.token) else { return Some(Demand::PrimaryOnly) };
        match place(reign, token, told.at) {
            Sampled::At(position) => {
                self.told = None;
                self.floor = match self.floor {
                    // A floor of another incarnation leaves only the primary as it is.
                    Some(floor) if floor.incarnation != reign.number => Some(floor),
                    Some(floor) => Some(Floor { position: floor.position.max(position), ..floor }),
                    None => Some(Floor { incarnation: reign.number, position }),
                };
                None
            }
            Sampled::NotYet => Some(Demand::Sample(reign.primary)),
            Sampled::Never => Some(Demand::PrimaryOnly),
        }
    }

    /// A read on a replica is over. `has` tells whether the replica is known to have a transaction, and with it those
    /// before it.
    pub fn used_replica(&mut self, endpoint: EndpointId, has: impl FnOnce(&Gtid) -> bool, now: Instant) {
        if let Some(written) = &self.written {
            if has(written) {
                // All that was seen before is there: the replica stands for it from now on.
                (self.mark, self.floor) = (None, None);
            }
            self.written = None;
        }
        let here = Source::Replica(endpoint);
        self.mark = Some(match self.mark {
            None => Mark { source: here, at: now, free_at: now + STICK_MAX },
            Some(mark) if mark.source == here => Mark { at: now, ..mark },
            // Two places were seen without proof (a read that asked for less consistency): the
            // primary, from now on, has what both showed.
            Some(Mark { source: Source::Replica(_), .. }) => {
                Mark { source: Source::Primary(None), at: now, free_at: now }
            }
            Some(mark) => Mark { at: now, ..mark },
        });
    }

    /// Whether nothing was seen yet, so that any replica will do.
    pub fn is_blank(&self) -> bool {
        self.mark.is_none() && self.floor.is_none() && self.told.is_none()
    }

    /// What the next read needs. `sampled` tells of the first sample of an endpoint that began
    /// at or after a moment; for the primary, in this incarnation.
    pub fn demand(
        &mut self,
        incarnation: Option<Incarnation>,
        now: Instant,
        sampled: impl FnOnce(EndpointId, Instant) -> Sampled,
    ) -> Demand {
        let Some(reign) = incarnation else { return self.demand_without_primary() };
        if self.floor.is_some_and(|floor| floor.incarnation != reign.number) {
            return Demand::PrimaryOnly;
        }
        if let Some(mark) = self.mark {
            let endpoint = match mark.source {
                _ if mark.at < reign.since => return Demand::PrimaryOnly,
                Source::Primary(Some(id)) if id != reign.primary => return Demand::PrimaryOnly,
                Source::Primary(_) => reign.primary,
                Source::Replica(id) => id,
            };
            match sampled(endpoint, mark.at) {
                Sampled::At(position) => self.rise(reign.number, position),
                Sampled::Never => return Demand::PrimaryOnly,
                Sampled::NotYet if mark.source == Source::Replica(endpoint) => {
                    let long = now > mark.free_at;
                    return Demand::Stick { on: endpoint, long };
                }
                Sampled::NotYet => return Demand::Sample(endpoint),
            }
        }
        self.floor.map_or(Demand::Anything, |floor| Demand::Floor(floor.position))
    }

    /// There never was a primary: a session can but stay where it is.
    fn demand_without_primary(&self) -> Demand {
        match self.mark {
            None => Demand::Anything,
            Some(mark) => match mark.source {
                Source::Replica(id) => Demand::Stick { on: id, long: false },
                Source::Primary(_) => Demand::PrimaryOnly,
            },
        }
    }

    /// The transaction of the session's own that proves as much as mark and floor together.
    pub fn written(&self) -> Option<&Gtid> {
        self.written.as_ref()
    }

    /// The floor that holds beside an unresolved mark.
    pub fn floor(&self) -> Option<Position> {
        self.floor.map(|floor| floor.position)
    }

    fn rise(&mut self, incarnation: u64, position: Position) {
        let position = self.floor.map_or(position, |floor| floor.position.max(position));
        self.floor = Some(Floor { incarnation, position });
        self.mark = None;
    }
}

#[cfg(test)]
mod tests;
