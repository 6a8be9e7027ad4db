//! One identity's way to a cluster's backends: choose, take, try the next.
//!
//! The common case (fresh enough, a backend idle) is over at the first poll, without an
//! allocation or a system call; all that waits is boxed. Invariant: a lease fails only at its
//! deadline, or because the database or the configuration said no.

use crate::backoff::Backoff;
use crate::choose::{Choice, Scene, Terms, choose};
use crate::dial::DialFailure;
use crate::endpoint::{EndpointId, Facts};
use crate::error::LeaseError;
use crate::freshness::{Demand, Freshness};
use crate::lane::{Admitted, Lane, TakeError, Unserved};
use crate::need::{Landed, Leased, Need};
use crate::outlook::Outlook;
use crate::settings::{ClusterSettings, Fallback};
use crate::timer::Timer;
use crate::token::Token;
use crate::{balance::Load, topology::NoPrimary};
use arc_swap::{ArcSwap, Guard};
use protocol::{Gtid, Protocol};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::timeout_at;

mod doubt;
mod tokens;

/// What a cluster's settings mean to a choice.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Policy {
    max_lag_ns: u64,
    probe_age_max_ns: u64,
    pace_ns: u64,
    causal_wait: Duration,
    /// A replica that lags more will not catch up within that.
    hopeless_ns: u64,
    fallback: Fallback,
}

impl From<&ClusterSettings> for Policy {
    fn from(settings: &ClusterSettings) -> Self {
        Self {
            max_lag_ns: nanos(settings.max_lag),
            probe_age_max_ns: nanos(settings.probe_age_max()),
            pace_ns: nanos(settings.pace()),
            causal_wait: settings.causal_wait,
            hopeless_ns: nanos(settings.causal_wait).saturating_add(3 * nanos(settings.pace())),
            fallback: settings.fallback,
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX - 1)
}

/// One identity's lanes, one per endpoint. Replaced as a whole by a reload.
pub(crate) struct Lanes<P: Protocol> {
    pub policy: Policy,
    pub lanes: Vec<Arc<Lane<P>>>,
}

/// One identity's way to the backends of a cluster. Shared by all sessions of that identity.
pub struct Access<P: Protocol> {
    pub(crate) outlook: Arc<Outlook>,
    pub(crate) lanes: ArcSwap<Lanes<P>>,
}

/// What was chosen where no backend was at hand, for `Access::lease_after`.
pub struct Declined<P: Protocol> {
    lanes: Arc<Lanes<P>>,
    /// The lane's place, how it was landed there, and the places that would do as well.
    chosen: Option<(usize, Landed, u64)>,
}

/// The lanes at one moment, as a choice sees them.
struct Sight<'a, P: Protocol> {
    outlook: &'a Outlook,
    lanes: &'a Lanes<P>,
    now: Instant,
    ticks: u64,
    reference: u64,
}

impl<'a, P: Protocol> Sight<'a, P> {
    fn new(outlook: &'a Outlook, lanes: &'a Lanes<P>, now: Instant) -> Self {
        let ticks = outlook.clock.ticks(now);
        Self { outlook, lanes, now, ticks, reference: outlook.reference(ticks) }
    }
}

impl<P: Protocol> Scene for Sight<'_, P> {
    fn len(&self) -> usize {
        self.lanes.lanes.len()
    }

    fn id(&self, at: usize) -> EndpointId {
        self.lanes.lanes[at].door.endpoint.id
    }

    fn facts(&self, at: usize, strict: bool) -> Facts {
        let reference = if strict { self.ticks } else { self.reference };
        self.lanes.lanes[at].door.endpoint.facts(self.ticks, reference, self.lanes.policy.probe_age_max_ns)
    }

    fn load(&self, at: usize) -> Load {
        self.lanes.lanes[at].door.endpoint.load()
    }

    fn share(&self, at: usize) -> u32 {
        self.lanes.lanes[at].door.endpoint.share()
    }

    fn primary(&self) -> Option<usize> {
        let primary = self.outlook.primary();
        self.lanes.lanes.iter().position(|lane| lane.door.endpoint.id.0 == primary)
    }

    fn has(&self, at: usize, gtid: &Gtid) -> Option<bool> {
        self.lanes.lanes[at].door.endpoint.has(gtid)
    }

    fn demand(&self, freshness: &mut Freshness) -> Demand {
        let reign = self.outlook.incarnation(&mut freshness.reign);
        let place = |reign, token: &Token, at| self.outlook.placed(reign, token, at);
        if let Some(first) = freshness.heed(reign, place) {
            return first;
        }
        freshness.demand(reign, self.now, |id, at| {
            let lane = self.lanes.lanes.iter().find(|lane| lane.door.endpoint.id == id);
            match (lane, reign) {
                (Some(lane), Some(reign)) => self.outlook.sampled(reign, &lane.door.endpoint, at),
                _ => crate::freshness::Sampled::Never,
            }
        })
    }

    fn random(&self) -> u64 {
        fastrand::u64(..)
    }
}

/// What a choice must know of the search it belongs to.
#[derive(Debug, Clone, Copy)]
struct SoFar<'a> {
    /// Who failed it.
    excluded: &'a [EndpointId],
    /// Whether it may still wait for a replica to catch up.
    patient: bool,
    /// Whether it has seen samples taken since it began.
    looked: bool,
}

/// How long one lease has waited and for what, and who failed it.
struct Search {
    began: Instant,
    patience_ends: Option<Instant>,
    /// Waiting is not worth it at present.
    in_vain: bool,
    excluded: Vec<EndpointId>,
    backoff: Backoff,
    primary_failed: bool,
}

impl<P: Protocol> Access<P> {
    /// A backend that meets `need`. Waits, until the deadline, for a place in the pool, for a
    /// primary, and up to `causal_wait` for a replica that has caught up.
    ///
    /// # Errors
    /// See `LeaseError`. One endpoint's failure is none as long as another will do.
    pub async fn lease(&self, mut need: Need<'_>) -> Result<Leased<P>, LeaseError> {
        match self.lease_now(&mut need) {
            Ok(leased) => Ok(leased),
            Err(declined) => self.lease_after(declined, need, &mut Timer::default()).await,
        }
    }

    /// The same as `lease` where nothing must be waited for.
    ///
    /// # Errors
    /// Where something must.
    pub fn lease_now(&self, need: &mut Need<'_>) -> Result<Leased<P>, Declined<P>> {
        let lanes = self.lanes.load();
        let now = need.now;
        let so_far = SoFar { excluded: &[], patient: true, looked: false };
        let mut chosen = None;
        if let Choice::Take { at, landed, others } = self.choose(&lanes, need, so_far, now)
            && !self.outlook.is_shut()
        {
            if let Some(lease) = lanes.lanes[at].try_take(now) {
                return Ok(Leased { lease, landed });
            }
            chosen = Some((at, landed, others));
        }
        Err(Declined { lanes: Guard::into_inner(lanes), chosen })
    }

    /// `lease` for what `lease_now` has just declined. What was drawn is not drawn again: an endpoint that is
    /// seldom drawn would nearly always be passed over then, and so stay without backends. `timer` is one that
    /// the caller keeps.
    ///
    /// # Errors
    /// See `LeaseError`.
    pub async fn lease_after(
        &self,
        declined: Declined<P>,
        need: Need<'_>,
        timer: &mut Timer,
    ) -> Result<Leased<P>, LeaseError> {
        let Declined { lanes, chosen } = declined;
        let Some((at, landed, others)) = chosen else {
            return Box::pin(self.search(need, None, timer)).await;
        };
        let lane = roomiest(&lanes.lanes, at, others);
        match lane.admit(need.now, need.deadline, timer).await {
            Ok(Admitted::Lease(lease)) => Ok(Leased { lease, landed }),
            Ok(Admitted::Unserved(unserved)) => {
                Box::pin(self.search(need, Some((unserved, landed)), timer)).await
            }
            Err(TakeError::Full) => Err(lane.full(need.now.elapsed())),
            Err(_) => Box::pin(self.search(need, None, timer)).await,
        }
    }

    /// Whether both lead to the same cluster, so that what was seen through one holds for the other.
    pub fn is_beside(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.outlook, &other.outlook)
    }

    fn choose(&self, lanes: &Lanes<P>, need: &mut Need<'_>, so_far: SoFar<'_>, now: Instant) -> Choice {
        let policy = &lanes.policy;
        let max_lag_ns = need.max_lag.map_or(policy.max_lag_ns, nanos);
        let terms = Terms {
            want: need.want,
            consistency: need.consistency,
            max_lag_ns,
            own_bound: need.max_lag.is_some(),
            tight: max_lag_ns < 4 * policy.pace_ns && !so_far.looked,
            hopeless_ns: policy.hopeless_ns,
            fallback: policy.fallback,
            exclude: need.exclude,
            excluded: so_far.excluded,
            patient: so_far.patient,
        };
        choose(&Sight::new(&self.outlook, lanes, now), &terms, need.freshness)
    }

    /// Whether every endpoint that counts was sampled since a search began.
    fn is_sampled_since(&self, lanes: &Lanes<P>, began: Instant) -> bool {
        let began = self.outlook.clock.ticks(began);
        lanes.lanes.iter().all(|lane| lane.door.endpoint.is_sampled_since(began))
    }

    fn may_wait(&self, lanes: &Lanes<P>, now: Instant) -> bool {
        self.outlook.patience.is_worth(self.outlook.clock.ticks(now), lanes.policy.causal_wait)
    }

    /// All that may wait for more than a place. With `unserved` it begins where a backend is waited for.
    async fn search(
        &self,
        mut need: Need<'_>,
        mut unserved: Option<(Unserved<P>, Landed)>,
        timer: &mut Timer,
    ) -> Result<Leased<P>, LeaseError> {
        let mut pulse = self.outlook.pulse.subscribe();
        let mut search = Search::new(need.now);
        loop {
            if let Some((unserved, landed)) = unserved.take() {
                let lane = unserved.lane();
                match lane.await_backend(unserved, need.deadline).await {
                    Ok(lease) => return Ok(Leased { lease, landed }),
                    Err(error) => search.failed(self, &lane, landed, error, need.deadline).await?,
                }
            }
            if self.outlook.is_shut() {
                return Err(LeaseError::Shutdown);
            }
            let lanes = self.lanes.load_full();
            let now = Instant::now();
            let so_far = SoFar {
                excluded: &search.excluded,
                patient: search.is_patient(now) && now < need.deadline,
                looked: search.patience_ends.is_some() && self.is_sampled_since(&lanes, search.began),
            };
            let _ = pulse.borrow_and_update();
            match self.choose(&lanes, &mut need, so_far, now) {
                Choice::Take { at, landed, others } => {
                    if search.patience_ends.is_some() {
                        let waited = now.saturating_duration_since(search.began);
                        self.outlook.patience.note(waited);
                        self.outlook.fences.note(waited, !landed.is_primary());
                    }
                    let lane = roomiest(&lanes.lanes, at, others);
                    match lane.admit(now, need.deadline, timer).await {
                        Ok(Admitted::Lease(lease)) => return Ok(Leased { lease, landed }),
                        Ok(Admitted::Unserved(admitted)) => unserved = Some((admitted, landed)),
                        Err(error) => search.failed(self, lane, landed, error, need.deadline).await?,
                    }
                }
                Choice::Sample { .. } if search.patience_ends.is_none() && !self.may_wait(&lanes, now) => {
                    search.in_vain = true;
                }
                Choice::Sample { which, primary } => {
                    ask_for_samples(&self.outlook, &lanes, which, primary, need.freshness.written());
                    let end = *search.patience_ends.get_or_insert(now + lanes.policy.causal_wait);
                    // Sampled or out of time: the next choice decides.
                    let _ = timeout_at(end.min(need.deadline).into(), pulse.changed()).await;
                }
                Choice::AwaitPrimary => {
                    if timeout_at(need.deadline.into(), pulse.changed()).await.is_err() {
                        return Err(search.no_primary(&self.outlook));
                    }
                }
                Choice::NoReplica => return Err(LeaseError::NoReplica),
            }
        }
    }
}

/// The lane chosen, or if all its places are taken another one that would do and has room.
fn roomiest<P: Protocol>(lanes: &[Arc<Lane<P>>], at: usize, others: u64) -> &Arc<Lane<P>> {
    let has_room = |lane: &Arc<Lane<P>>| lane.gate.inside() < lane.gate.size();
    if has_room(&lanes[at]) {
        return &lanes[at];
    }
    let mut rest = lanes.iter().enumerate().filter(|(other, _)| others >> other & 1 == 1);
    rest.find(|(_, lane)| has_room(lane)).map_or(&lanes[at], |(_, lane)| lane)
}

/// Has endpoints sampled: replicas as soon as they have what a session has `written`, if that is known.
fn ask_for_samples<P: Protocol>(
    outlook: &Outlook,
    lanes: &Lanes<P>,
    which: u64,
    primary: bool,
    written: Option<&Gtid>,
) {
    for (at, lane) in lanes.lanes.iter().enumerate() {
        let endpoint = &lane.door.endpoint;
        if which >> at & 1 == 1 || (primary && endpoint.id.0 == outlook.primary()) {
            endpoint.want(written);
        }
    }
}

impl Search {
    fn new(now: Instant) -> Self {
        Self {
            began: now,
            patience_ends: None,
            in_vain: false,
            excluded: Vec::new(),
            backoff: Backoff::new(Duration::from_millis(20), Duration::from_secs(1)),
            primary_failed: false,
        }
    }

    /// Whether a replica may still be waited for.
    fn is_patient(&self, now: Instant) -> bool {
        !self.in_vain && self.patience_ends.is_none_or(|end| now < end)
    }

    /// Decides whether a lane's failure ends the search; if not, the search goes on elsewhere.
    async fn failed<P: Protocol>(
        &mut self,
        access: &Access<P>,
        lane: &Lane<P>,
        landed: Landed,
        error: TakeError,
        deadline: Instant,
    ) -> Result<(), LeaseError> {
        let endpoint = &lane.door.endpoint;
        let which = if landed.is_primary() { "primary" } else { "replica" };
        let failure = match error {
            TakeError::SetBack => return Ok(()),
            TakeError::Full => return Err(lane.full(self.began.elapsed())),
            TakeError::Late => return Err(LeaseError::Unreachable(which)),
            TakeError::Dial(failure) => failure,
        };
        if failure.is_down() {
            let (error, now) = (failure.to_string(), Instant::now());
            access.outlook.update(|board| board.refused(endpoint.id, error, now));
        }
        // Another replica would say the same, and so would the primary a moment later.
        let final_word = if landed.is_primary() { !failure.is_down() } else { !failure.is_endpoints() };
        match failure {
            DialFailure::Refused(error) if final_word => return Err(LeaseError::Login(error)),
            _ => endpoint.probe_wanted.notify_one(),
        }
        if landed.is_primary() {
            self.primary_failed = true;
            let pause = Instant::now() + self.backoff.next(fastrand::f64());
            if pause >= deadline {
                return Err(LeaseError::Unreachable(which));
            }
            tokio::time::sleep_until(pause.into()).await;
        } else {
            self.excluded.push(endpoint.id);
        }
        Ok(())
    }

    fn no_primary(&self, outlook: &Outlook) -> LeaseError {
        match outlook.board().primary {
            Err(why) => LeaseError::NoPrimary(why),
            Ok(_) if self.primary_failed => LeaseError::Unreachable("primary"),
            Ok(_) => LeaseError::NoPrimary(NoPrimary::Lost),
        }
    }
}

#[cfg(test)]
mod tests;
