//! Where a request goes, now: to which endpoint, or what it must wait for.
//!
//! Asks the session's freshness what it needs, surveys the endpoints, lets the balancer draw.
//! Pure: facts and time come through a trait. Invariant: a read under `Session` goes to a
//! replica only with proof that it shows all that the session saw.

use crate::balance::{self, Load};
use crate::endpoint::{EndpointId, Facts};
use crate::freshness::{Demand, Freshness};
use crate::lag::Position;
use crate::need::{Landed, Want};
use crate::settings::{Consistency, Fallback};
use protocol::Gtid;

/// The endpoints as a choice sees them, by their place.
pub(crate) trait Scene {
    /// How many there are. At most 64.
    fn len(&self) -> usize;
    /// Who is there.
    fn id(&self, at: usize) -> EndpointId;
    /// How it stands; `strict` counts lag up to now even while the primary is away.
    fn facts(&self, at: usize, strict: bool) -> Facts;
    /// What it has to do.
    fn load(&self, at: usize) -> Load;
    /// Its share by configuration and state; 0 takes no reads.
    fn share(&self, at: usize) -> u32;
    /// The place of the primary, if there is one.
    fn primary(&self) -> Option<usize>;
    /// Whether it is known to have a transaction, and with it those before it; `None` if that cannot be told.
    fn has(&self, at: usize, gtid: &Gtid) -> Option<bool>;
    /// What the session needs now.
    fn demand(&self, freshness: &mut Freshness) -> Demand;
    /// 64 random bits.
    fn random(&self) -> u64;
}

/// What a choice must meet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms<'a> {
    pub want: Want,
    pub consistency: Consistency,
    /// The bound on lag, and whether it is the statement's own.
    pub max_lag_ns: u64,
    pub own_bound: bool,
    /// A bound so low that a sample on demand may show what the last probe could not.
    pub tight: bool,
    /// A replica that lags more will not catch up while the session waits.
    pub hopeless_ns: u64,
    pub fallback: Fallback,
    /// Endpoints that are not to be tried again.
    pub exclude: Option<EndpointId>,
    pub excluded: &'a [EndpointId],
    /// Whether the session may still wait for a replica to catch up.
    pub patient: bool,
}

/// Where to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice {
    /// Here. `others` would do as well.
    Take { at: usize, landed: Landed, others: u64 },
    /// Until these have been sampled; `primary` too.
    Sample { which: u64, primary: bool },
    /// Until there is a primary.
    AwaitPrimary,
    /// Nowhere: no replica qualifies and reads may not fall back.
    NoReplica,
}

/// How the endpoints stand, as sets of places.
#[derive(Debug, Clone, Copy, Default)]
struct Survey {
    /// Replicas that answer.
    serving: u64,
    /// Those of them within the bounds on lag.
    fit: u64,
    /// Those of them that are proven to show what the session saw.
    there: u64,
    /// Those of them that may soon be.
    near: u64,
    /// Those of these of which the session's transaction proves nothing.
    mute: u64,
}

/// What proves that a replica shows what the session saw: either will do. Nothing has to be proven without either.
#[derive(Debug, Clone, Copy, Default)]
struct Proof<'a> {
    floor: Option<Position>,
    written: Option<&'a Gtid>,
}

pub(crate) fn choose(scene: &impl Scene, terms: &Terms<'_>, freshness: &mut Freshness) -> Choice {
    match (terms.want, terms.consistency) {
        (Want::Primary, _) | (Want::Replica, Consistency::Strong) => primary(scene, Landed::Primary),
        (Want::Any, _) => match scene.primary() {
            Some(at) => Choice::Take { at, landed: Landed::Primary, others: 0 },
            None => any_replica(scene, terms),
        },
        (Want::Replica, _) => replica(scene, terms, freshness),
    }
}

fn primary(scene: &impl Scene, landed: Landed) -> Choice {
    scene.primary().map_or(Choice::AwaitPrimary, |at| Choice::Take { at, landed, others: 0 })
}

fn any_replica(scene: &impl Scene, terms: &Terms<'_>) -> Choice {
    let survey = survey(scene, terms, Proof::default());
    let best = if survey.fit == 0 { survey.serving } else { survey.fit };
    draw(scene, best).map_or(Choice::AwaitPrimary, |at| Choice::Take {
        at,
        landed: Landed::Replica,
        others: best,
    })
}

fn replica(scene: &impl Scene, terms: &Terms<'_>, freshness: &mut Freshness) -> Choice {
    let demand = match terms.consistency {
        Consistency::Session | Consistency::Token if !freshness.is_blank() => scene.demand(freshness),
        _ => Demand::Anything,
    };
    let floor = match demand {
        Demand::Floor(position) => Some(position),
        Demand::Stick { .. } => freshness.floor(),
        _ => None,
    };
    let written = match demand {
        Demand::Floor(_) | Demand::Sample(_) => freshness.written(),
        _ => None,
    };
    let proof = Proof { floor, written };
    if let Some(choice) = stay(scene, terms, demand, proof) {
        return choice;
    }
    let survey = survey(scene, terms, proof);
    if survey.fit == 0 {
        return fall_back(scene, terms, demand, proof, survey);
    }
    match demand {
        Demand::Anything | Demand::Floor(_) if survey.there != 0 => take(scene, survey.there),
        Demand::Sample(_) if written.is_some() && survey.there != 0 => take(scene, survey.there),
        Demand::Floor(_) | Demand::Sample(_) if survey.near == 0 => primary(scene, Landed::PrimaryForFence),
        Demand::Anything | Demand::Floor(_) => wait(scene, terms, survey.near, false),
        Demand::Stick { on, long } => stick(scene, terms, on, long, survey),
        // The replicas can tell themselves whether they have the session's transaction.
        Demand::Sample(_) if written.is_some() => wait(scene, terms, survey.near, survey.mute != 0),
        Demand::Sample(id) => {
            wait(scene, terms, place(scene, id), scene.primary().is_some_and(|at| scene.id(at) == id))
        }
        Demand::PrimaryOnly => primary(scene, Landed::PrimaryForFence),
    }
}

/// Stays on a replica that needs no proof, without a look at the others.
fn stay(scene: &impl Scene, terms: &Terms<'_>, demand: Demand, proof: Proof<'_>) -> Option<Choice> {
    let Demand::Stick { on, long: false } = demand else { return None };
    let at = (0..scene.len()).find(|at| scene.id(*at) == on)?;
    let qualifies = judge(scene, terms, proof, at, Survey::default()).there != 0;
    qualifies.then_some(Choice::Take { at, landed: Landed::Replica, others: 0 })
}

/// Stays on a replica that needs no proof, unless it is worth a sample to leave it.
fn stick(scene: &impl Scene, terms: &Terms<'_>, on: EndpointId, long: bool, survey: Survey) -> Choice {
    let here = place(scene, on);
    // Where the replica is ahead of all that the primary was seen at, its own sample tells nothing without one of that.
    if survey.there & here == 0 {
        return wait(scene, terms, here, true);
    }
    let at = here.trailing_zeros() as usize;
    let stay = Choice::Take { at, landed: Landed::Replica, others: 0 };
    let restless = long && terms.patient;
    let better = || {
        draw(scene, survey.fit)
            .is_some_and(|other| balance::is_worth_a_move(scene.load(at), scene.load(other)))
    };
    if restless && better() { Choice::Sample { which: here, primary: true } } else { stay }
}

/// Waits for samples while the session may, then goes to the primary.
fn wait(scene: &impl Scene, terms: &Terms<'_>, which: u64, of_primary: bool) -> Choice {
    if terms.patient {
        Choice::Sample { which, primary: of_primary }
    } else {
        primary(scene, Landed::PrimaryForFence)
    }
}

fn fall_back(
    scene: &impl Scene,
    terms: &Terms<'_>,
    demand: Demand,
    proof: Proof<'_>,
    survey: Survey,
) -> Choice {
    let landed = if survey.serving == 0 { Landed::PrimaryForNoReplica } else { Landed::PrimaryForLag };
    if terms.tight && terms.patient && survey.serving != 0 && scene.primary().is_some() {
        return Choice::Sample { which: survey.serving, primary: true };
    }
    // A cluster without replicas at all serves its reads on the primary, whatever the policy.
    let alone = (0..scene.len()).all(|at| scene.share(at) == 0 || scene.primary() == Some(at));
    match terms.fallback {
        Fallback::Error if !alone => Choice::NoReplica,
        Fallback::Stale => {
            stale(scene, terms, demand, proof, survey).unwrap_or_else(|| primary(scene, landed))
        }
        Fallback::Primary | Fallback::Error => primary(scene, landed),
    }
}

/// The least lagged replica that answers and shows what the session saw: too old for the
/// cluster's bound, never for the session's.
fn stale(
    scene: &impl Scene,
    terms: &Terms<'_>,
    demand: Demand,
    proof: Proof<'_>,
    survey: Survey,
) -> Option<Choice> {
    let allowed = |at: usize, facts: Facts| match demand {
        Demand::Anything => true,
        Demand::Floor(_) | Demand::Sample(_) => is_proven(scene, at, facts, proof),
        Demand::Stick { on, .. } => scene.id(at) == on,
        Demand::PrimaryOnly => false,
    };
    let strict = terms.consistency == Consistency::Bounded;
    let serving = (0..scene.len()).filter(|at| survey.serving >> at & 1 == 1);
    let candidates =
        serving.map(|at| (at, scene.facts(at, strict))).filter(|(at, facts)| allowed(*at, *facts));
    let (at, _) = candidates.min_by_key(|(_, facts)| facts.lag_ns)?;
    Some(Choice::Take { at, landed: Landed::ReplicaStale, others: 0 })
}

fn take(scene: &impl Scene, which: u64) -> Choice {
    draw(scene, which).map_or(Choice::NoReplica, |at| Choice::Take {
        at,
        landed: Landed::Replica,
        others: which,
    })
}

fn draw(scene: &impl Scene, which: u64) -> Option<usize> {
    balance::choose(which, scene.random(), |at| scene.load(at))
}

fn place(scene: &impl Scene, id: EndpointId) -> u64 {
    (0..scene.len()).find(|at| scene.id(*at) == id).map_or(0, |at| 1 << at)
}

fn survey(scene: &impl Scene, terms: &Terms<'_>, proof: Proof<'_>) -> Survey {
    (0..scene.len()).fold(Survey::default(), |survey, at| judge(scene, terms, proof, at, survey))
}

fn is_proven(scene: &impl Scene, at: usize, facts: Facts, proof: Proof<'_>) -> bool {
    proof.floor.is_some_and(|floor| facts.replayed >= floor)
        || proof.written.is_some_and(|gtid| scene.has(at, gtid) == Some(true))
}

/// Adds one endpoint to a survey.
fn judge(scene: &impl Scene, terms: &Terms<'_>, proof: Proof<'_>, at: usize, mut survey: Survey) -> Survey {
    let facts = scene.facts(at, terms.consistency == Consistency::Bounded);
    if !facts.serves || is_excluded(terms, scene.id(at)) {
        return survey;
    }
    let bit = 1 << at;
    survey.serving |= bit;
    // A statement's own bound replaces the cluster's, and with it what the cluster's led to.
    if (facts.fit || terms.own_bound) && facts.lag_ns <= terms.max_lag_ns {
        survey.fit |= bit;
        if facts.lag_ns <= terms.hopeless_ns {
            survey.near |= bit;
            if proof.written.is_some_and(|gtid| scene.has(at, gtid).is_none()) {
                survey.mute |= bit;
            }
        }
        let nothing = proof.floor.is_none() && proof.written.is_none();
        if nothing || is_proven(scene, at, facts, proof) {
            survey.there |= bit;
        }
    }
    survey
}

fn is_excluded(terms: &Terms<'_>, id: EndpointId) -> bool {
    terms.exclude == Some(id) || (!terms.excluded.is_empty() && terms.excluded.contains(&id))
}

#[cfg(test)]
mod tests;
