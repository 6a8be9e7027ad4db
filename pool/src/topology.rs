//! Who is the primary.
//!
//! Only our own probe grants a role. The higher timeline wins; two endpoints that accept
//! writes on one timeline make none the primary, and so does one that accepts writes without
//! a newer timeline than the primary before it. Pure. This narrows the window of a split
//! brain; it is no consensus and cannot close it.

use crate::endpoint::EndpointId;
use crate::settings::RoleSetting;
use std::fmt;

/// What a probe found an endpoint to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// It replays a log and takes no writes.
    pub recovering: bool,
    /// It takes writes, yet replays another's log as well. It is a replica if another takes
    /// writes and follows nobody.
    pub follows: bool,
    /// The timeline that it writes on; `None` while recovering, and if the database counts none.
    pub timeline: Option<u32>,
    /// Names the cluster it was made from, if the probe may ask.
    pub identity: Option<u64>,
}

/// One endpoint as the election sees it.
#[derive(Debug, Clone, Copy)]
pub struct Candidate {
    /// Which.
    pub id: EndpointId,
    /// What the operator says.
    pub setting: RoleSetting,
    /// Whether any probe has come to an end.
    pub reported: bool,
    /// What it was found to be, while it answers.
    pub seen: Option<Seen>,
}

/// What past elections leave behind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Past {
    /// The cluster's identity, once a primary had one.
    pub identity: Option<u64>,
    /// The last primary, and its timeline.
    pub primary: Option<(EndpointId, u32)>,
}

/// What an endpoint is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// It does not answer.
    Unknown,
    /// All writes go here.
    Primary,
    /// It replays the primary's log.
    Replica,
    /// It accepts writes, but is not the primary.
    Rival,
    /// It belongs to another cluster.
    Stranger,
    /// It is not what the configuration says.
    Misplaced,
}

impl Role {
    /// One word for metrics and the console.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Primary => "primary",
            Self::Replica => "replica",
            Self::Rival => "rival",
            Self::Stranger => "stranger",
            Self::Misplaced => "misplaced",
        }
    }
}

/// Why there is no primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NoPrimary {
    /// Not every endpoint has been asked yet.
    NotProbed,
    /// No endpoint answers.
    AllSilent,
    /// The last primary does not answer and no other has taken over.
    Lost,
    /// Every endpoint that answers is a replica.
    AllReplicas,
    /// Two endpoints accept writes on the same timeline.
    Two,
    /// An endpoint accepts writes on a timeline that is not newer than the last primary's.
    StaleTimeline,
    /// What accepts writes is not allowed to be the primary.
    Misplaced,
}

impl fmt::Display for NoPrimary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotProbed => "the endpoints have not been probed yet",
            Self::AllSilent => "no endpoint answers",
            Self::Lost => "the primary does not answer and no replica was promoted",
            Self::AllReplicas => "every endpoint that answers is a replica",
            Self::Two => "two endpoints accept writes on the same timeline",
            Self::StaleTimeline => "what accepts writes is on an old timeline",
            Self::Misplaced => "what accepts writes is configured as a replica or belongs to another cluster",
        })
    }
}

/// The outcome: the primary, and what the past is from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Election {
    /// The primary, or why there is none.
    pub primary: Result<EndpointId, NoPrimary>,
    /// To be handed to the next election.
    pub past: Past,
}

/// Elects the primary. `settled` says that waiting for endpoints that never reported is over.
pub fn elect(candidates: &[Candidate], past: Past, settled: bool) -> Election {
    let none = |why| Election { primary: Err(why), past };
    if past.primary.is_none() && !settled && candidates.iter().any(|candidate| !candidate.reported) {
        return none(NoPrimary::NotProbed);
    }
    let writable = candidates.iter().filter_map(|candidate| {
        let seen = candidate.seen.filter(|seen| !seen.recovering)?;
        let allowed = candidate.setting != RoleSetting::Replica && !is_stranger(seen, past);
        allowed.then(|| (candidate.id, seen.timeline.unwrap_or(0), seen.identity))
    });
    let highest = writable.clone().map(|(_, timeline, _)| timeline).max();
    let mut best = writable.filter(|(_, timeline, _)| Some(*timeline) == highest);
    let Some((id, timeline, identity)) = best.next() else { return none(why_none(candidates, past)) };
    if best.next().is_some() {
        return none(NoPrimary::Two);
    }
    if let Some((last, last_timeline)) = past.primary {
        let known = candidates.iter().any(|candidate| candidate.id == last);
        if timeline < last_timeline || (timeline == last_timeline && id != last && known) {
            return none(NoPrimary::StaleTimeline);
        }
    }
    let past = Past { identity: past.identity.or(identity), primary: Some((id, timeline)) };
    Election { primary: Ok(id), past }
}

/// What each endpoint is after an election.
pub fn role(candidate: &Candidate, election: &Election) -> Role {
    let Some(seen) = candidate.seen else { return Role::Unknown };
    match candidate.setting {
        _ if election.primary == Ok(candidate.id) => Role::Primary,
        _ if is_stranger(seen, election.past) => Role::Stranger,
        RoleSetting::Primary if seen.recovering => Role::Misplaced,
        RoleSetting::Replica if !seen.recovering => Role::Misplaced,
        _ if seen.recovering => Role::Replica,
        _ if election.primary == Err(NoPrimary::NotProbed) => Role::Unknown,
        _ => Role::Rival,
    }
}

fn is_stranger(seen: Seen, past: Past) -> bool {
    matches!((seen.identity, past.identity), (Some(own), Some(ours)) if own != ours)
}

fn why_none(candidates: &[Candidate], past: Past) -> NoPrimary {
    let answering = || candidates.iter().filter_map(|candidate| candidate.seen);
    if answering().next().is_none() {
        let reported = candidates.iter().any(|candidate| candidate.reported);
        return if reported { NoPrimary::AllSilent } else { NoPrimary::NotProbed };
    }
    if answering().any(|seen| !seen.recovering) {
        return NoPrimary::Misplaced;
    }
    let lost = past.primary.is_some_and(|(last, _)| {
        candidates.iter().any(|candidate| candidate.id == last && candidate.seen.is_none())
    });
    if lost || candidates.iter().any(|candidate| candidate.seen.is_none()) {
        NoPrimary::Lost
    } else {
        NoPrimary::AllReplicas
    }
}

#[cfg(test)]
mod tests;
