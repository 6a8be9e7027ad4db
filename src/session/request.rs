//! Runs one request, from its lease to its last reply.
//!
//! Retries only what cannot have taken effect: a read, or a BEGIN, of which the client has
//! had no byte. A replica that refuses a statement as a write is answered by running it on
//! the primary, once, and remembering its shape; a primary that has just turned read-only, by
//! waiting for the next one.

use super::errand::Trouble;
use super::exchange::{Attempt, Chances};
use super::hold;
use super::judge::{Judgement, Seen, judge};
use super::settle::{Left, lost};
use super::slot::Killed;
use super::{End, Session};
use crate::violations::{Side, constant};
use pool::{Consistency, Landed};
use protocol::fault::Cause;
use protocol::tracker::{Refusal, Tracker, TxnStatus};
use protocol::{Fault, Protocol};
use router::{Reason, Target};
use std::future::poll_fn;
use std::time::{Duration, Instant};

/// A request at the front of the client's inbox.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request {
    /// Its bytes that are here.
    pub(super) len: usize,
    /// Bytes of its last frame that are still to come.
    pub(super) rest: usize,
    /// Whether it is here from its first byte to its last.
    pub(super) whole: bool,
}

/// How often one request may be sent, all in all.
const ATTEMPTS: u32 = 4;

/// What is to be done before a request is judged.
enum Before {
    /// The session is to be as if it had just begun.
    Reset,
    /// It is answered already.
    Answered,
    /// The configuration has changed, or its database is paused.
    Changed,
}

impl<P: Protocol> Session<P> {
    pub(super) async fn request(&mut self, request: Request) -> Result<(), End> {
        let mut started = Instant::now();
        if let Some(before) = self.look_over(request) {
            if Box::pin(self.do_before(before, request)).await? {
                return Ok(());
            }
            started = Instant::now();
        }
        let bytes = self.client.inbox.get(..request.len).unwrap_or_default();
        let seen = Seen { bytes, whole: request.whole, cut: request.rest > 0 };
        let mut judged = judge(&self.service, &self.tracker, &seen, self.is_strong(started));
        if self.service.tracer.is_some() {
            self.open_trace(request.len);
        }
        if self.service.digests.is_some() {
            self.open_account(&judged, request.len, started);
        }
        let fences = self.is_about_fences(&judged);
        if (fences || !self.is_plain(&judged))
            && Box::pin(self.consider(request, &mut judged, fences)).await?
        {
            return Ok(());
        }
        self.remember(&mut judged);
        let ran = if self.lease.is_some() {
            self.run_bound(request, &judged, started).await
        } else {
            self.run_leased(request, &mut judged, started).await
        };
        if fences {
            self.end_fence();
        }
        ran
    }

    /// Does what comes before the request is judged. Returns whether that was all.
    async fn do_before(&mut self, before: Before, request: Request) -> Result<bool, End> {
        match before {
            Before::Reset => self.reset(request.len).await?,
            Before::Answered => self.client.flush().await.map_err(|_| End::ClientGone)?,
            Before::Changed => match self.look_closer(request.len).await? {
                Some(fault) => self.refuse(fault, request).await?,
                None => return Ok(false),
            },
        }
        Ok(true)
    }

    /// Whether something comes before the request is judged.
    fn look_over(&mut self, request: Request) -> Option<Before> {
        let bytes = self.client.inbox.get(..request.len).unwrap_or_default();
        if request.whole && self.tracker.is_reset(bytes) {
            return Some(Before::Reset);
        }
        if (self.lease.is_none() || self.tracker.is_over())
            && self.tracker.answer(bytes, self.client.outbox.space())
        {
            self.client.consume(request.len);
            return Some(Before::Answered);
        }
        let changed = self.lease.is_none() && self.service.generation != self.directory.stamp();
        changed.then_some(Before::Changed)
    }

    /// Whether `consider` has nothing to say of it but for fences: so it is with most.
    fn is_plain(&self, judged: &Judgement) -> bool {
        judged.kill.is_none()
            && self.service.pins.refused.is_empty()
            && !self.opening.is_open()
            && !self.locks_in_vain(judged)
            && !self.refuses_to_begin(judged)
    }

    /// Whether it would open a transaction where there are to be none. One that begins and ends in the same text is
    /// over when its backend is given back, so several statements are let pass; what they leave open ends the session.
    fn refuses_to_begin(&self, judged: &Judgement) -> bool {
        judged.begins && judged.statements == 1 && self.service.refuses_transactions() && self.lease.is_none()
    }

    /// What may keep a request from being run, or send it elsewhere. True if it is answered.
    async fn consider(
        &mut self,
        request: Request,
        judged: &mut Judgement,
        fences: bool,
    ) -> Result<bool, End> {
        if let Some(kill) = judged.kill.filter(|_| request.whole && judged.statements == 1)
            && let Some(key) = P::numbered(kill.number)
        {
            self.kill(&key, kill.connection, request).await?;
            return Ok(true);
        }
        if fences && Box::pin(self.mind_fence(judged, request)).await? {
            return Ok(true);
        }
        let pins = hold::would_hold(judged.effects);
        if self.tracker.txn() != TxnStatus::Failed && pins.intersects(self.service.pins.refused) {
            self.refuse_pin(pins, request).await?;
            return Ok(true);
        }
        if self.opening.is_open() {
            self.consider_move(judged, request.len).await;
        }
        if self.locks_in_vain(judged) {
            self.refuse_lock(request).await?;
            return Ok(true);
        }
        if self.refuses_to_begin(judged) {
            let message = "transactions are not allowed in statement pool mode";
            self.refuse(Fault::error(Cause::NotSupported, message), request).await?;
            return Ok(true);
        }
        Ok(false)
    }

    /// Ends what another session runs, as its client asked under the number it was given.
    async fn kill(&mut self, key: &P::CancelKey, all: bool, request: Request) -> Result<(), End> {
        let fault = match self.sessions.kill(key, all, &self.user).await {
            Killed::Yes => None,
            Killed::Nobody => {
                Some(Fault::error(Cause::InvalidParameter, "Unknown thread id").code("1094/HY000"))
            }
            Killed::NotTheirs => {
                Some(Fault::error(Cause::NotAllowed, "You are not owner of this thread").code("1095/HY000"))
            }
        };
        self.client.consume(request.len);
        self.tracker.carried_out(fault.as_ref().map_or(Ok("KILL"), Err), self.client.outbox.space());
        self.client.flush().await.map_err(|_| End::ClientGone)
    }

    /// On the backend that the session has already.
    async fn run_bound(&mut self, request: Request, judged: &Judgement, started: Instant) -> Result<(), End> {
        self.count(true, self.bound_reason());
        if self.is_concerned(judged) {
            self.prick_ears(judged, request.len).await?;
        }
        self.note_misread();
        let note = if self.opening.is_open() { self.follow(judged, request.len).await? } else { None };
        if self.is_overtaken() {
            let message = "the database server of this session has changed its role or left";
            self.drop_lease();
            return Err(End::Fault(Fault::fatal(Cause::BackendLost, message)));
        }
        if self.may_hear_of_others_sequences(judged) && !self.forget_sequences().await {
            return Err(lost());
        }
        self.drew |= !judged.repeatable;
        let mut exchange = self.open_exchange(request, Chances::default(), started)?;
        match poll_fn(|cx| self.poll_exchange(cx, &mut exchange)).await? {
            Attempt::Done => {}
            Attempt::Lost { torn } => self.report_loss(torn, &exchange).await?,
            Attempt::Refused(_) | Attempt::LostUnseen => {
                let message = "the database closed the connection of this session";
                return Err(End::Fault(Fault::fatal(Cause::BackendLost, message)));
            }
        }
        let left = self.settle_now(started, judged);
        if left != Left::Nothing {
            self.settle(left, judged).await?;
        }
        self.note_opening(note);
        Ok(())
    }

    /// On a backend leased for it, or several in turn.
    async fn run_leased(
        &mut self,
        request: Request,
        judged: &mut Judgement,
        started: Instant,
    ) -> Result<(), End> {
        let mut deadline = started + self.service.query_wait_timeout;
        let (mut exclude, mut now) = (None, started);
        let mut may_turn = P::TURNS_READ_ONLY && request.whole && judged.is_all_or_nothing();
        for _ in 0..ATTEMPTS {
            // What a backend that was given up takes with it, the next one may be left with.
            self.effects |= judged.effects;
            let landed = match self.take_lease_now(judged, exclude, now, deadline) {
                Ok(landed) => landed,
                Err(declined) => {
                    let taken =
                        self.take_lease_in_time(judged, exclude, declined, request.len, now, &mut deadline);
                    match taken.await? {
                        Ok(landed) => landed,
                        Err(fault) => return self.refuse(fault, request).await,
                    }
                }
            };
            let on_replica = matches!(landed, Landed::Replica | Landed::ReplicaStale);
            // Settings come after: MariaDB forgets them as well.
            if judged.effects.contains(router::Effects::SEQUENCE_ASKED) && !self.forget_sequences().await {
                exclude = self.lose_lease();
                continue;
            }
            let restored = if self.is_restored() { Ok(()) } else { self.restore().await };
            match restored {
                Ok(()) => {}
                Err(Trouble::Refused(_)) if on_replica => {
                    // A role, say, that has not come there yet.
                    self.drop_lease();
                    (judged.target, judged.reason) = (Target::Primary, Reason::SecondChance);
                    now = Instant::now();
                    self.asked.refused(now);
                    continue;
                }
                Err(Trouble::Refused(fault)) => {
                    self.drop_lease();
                    return self.refuse(fault, request).await;
                }
                Err(Trouble::Lost) => {
                    // Nothing of the client's was sent yet.
                    exclude = self.lose_lease();
                    now = Instant::now();
                    continue;
                }
            }
            if self.may_be_misread()
                && let Err(lost) = Box::pin(self.reread(judged, request.len)).await
            {
                exclude = lost;
                continue;
            }
            if self.is_concerned(judged) {
                self.prick_ears(judged, request.len).await?;
            }
            if self.is_overtaken() {
                // Since it was lent. Nothing of the client's was sent yet.
                self.drop_lease();
                now = Instant::now();
                continue;
            }
            self.drew = !judged.repeatable;
            let bytes = self.client.inbox.get(..request.len).unwrap_or_default();
            let opening = if on_replica { self.opening_text(judged, bytes) } else { None };
            let retry: Option<fn(&[u8; 5]) -> bool> = match on_replica {
                true => request.whole.then_some(is_refusal::<P>),
                false => may_turn.then_some(has_turned::<P>),
            };
            let chances = Chances { retry, repeats: request.whole && (on_replica || judged.repeatable) };
            let mut exchange = self.open_exchange(request, chances, started)?;
            let attempt = poll_fn(|cx| self.poll_exchange(cx, &mut exchange)).await?;
            if let Attempt::Lost { torn } = attempt {
                self.report_loss(torn, &exchange).await?;
            }
            match attempt {
                Attempt::Done | Attempt::Lost { .. } => {
                    self.count(!on_replica, reason(judged, landed));
                    self.note_opening(opening);
                    let left = self.settle_now(started, judged);
                    return if left == Left::Nothing { Ok(()) } else { self.settle(left, judged).await };
                }
                Attempt::Refused(_) if !on_replica => {
                    may_turn = false;
                    self.service.counters.second_chance();
                    if let Some(endpoint) = self.drop_lease() {
                        self.service.access.look_again(endpoint, deadline).await;
                    }
                }
                Attempt::Refused(code) => {
                    self.service.counters.second_chance();
                    self.learn(request, code);
                    exclude = self.give_back();
                    (judged.target, judged.reason) = (Target::Primary, Reason::SecondChance);
                }
                Attempt::LostUnseen => exclude = self.lose_lease(),
            }
            now = Instant::now();
        }
        self.refuse(Fault::error(Cause::BackendLost, "the database was lost several times in a row"), request)
            .await
    }

    /// Answers a request that was not sent with a fault.
    pub(super) async fn refuse(&mut self, fault: Fault, request: Request) -> Result<(), End> {
        if !request.whole || fault.severity == protocol::Severity::Fatal {
            return Err(End::Fault(fault));
        }
        if fault.cause == Cause::BackendNonsense {
            self.note_violation(Side::Backend, constant(&fault));
        }
        self.tracker.rewind();
        self.client.consume(request.len);
        self.service.counters.fault(&fault);
        self.tracker.fault(&fault, true, self.client.outbox.space());
        self.client.flush().await.map_err(|_| End::ClientGone)
    }

    /// A replica refused the request as a write: its shape is a write from now on.
    fn learn(&self, request: Request, code: [u8; 5]) {
        if !matches!(P::refusal(&code), Refusal::Write | Refusal::ReadOnlyServer) {
            return;
        }
        let bytes = self.client.inbox.get(..request.len).unwrap_or_default();
        let router = &self.service.router;
        self.tracker.texts(bytes, &mut |text| router.learn(text));
    }

    pub(super) fn remember(&mut self, judged: &mut Judgement) {
        self.effects |= judged.effects;
        // What is temporary is this session's alone.
        let own = judged.statements == 1 && judged.effects.contains(router::Effects::TEMP_TABLE);
        if judged.effects.contains(router::Effects::DDL) && !own {
            self.service.catalog.doubt(judged.redefines);
            self.hold.redefines |= judged.redefines;
            self.hold.schema_changes = true;
        }
        if judged.reason == Reason::UnknownFunction {
            self.service.catalog.wonder();
        }
        if !judged.names.is_empty() || !judged.heard.is_empty() {
            judged.names.drain(..).for_each(|name| self.hold.spell(name));
            judged.heard.drain(..).for_each(|name| self.hold.hear(name));
        }
    }

    pub(super) fn txn_idle(&self) -> bool {
        self.tracker.txn() == TxnStatus::Idle
    }

    /// Whether reads must go to the primary, whatever their text.
    fn is_strong(&self, now: Instant) -> bool {
        self.asked.strict || self.consistency() == Consistency::Strong || self.asked.shuns_replicas(now)
    }

    pub(super) fn consistency(&self) -> Consistency {
        self.asked.consistency.unwrap_or(self.service.consistency)
    }

    fn bound_reason(&self) -> Reason {
        if self.txn_idle() { Reason::Pinned } else { Reason::Transaction }
    }

    fn count(&mut self, on_primary: bool, reason: Reason) {
        self.service.counters.statement(on_primary, reason);
        self.account.route(on_primary, reason);
        if self.trace.is_some() {
            self.trace_route(on_primary, reason);
        }
    }
}

pub(super) fn canceled() -> Fault {
    Fault::error(Cause::Canceled, "canceling statement due to user request")
}

/// Whether a replica gave an error that the primary would not, or that another backend may not.
fn is_refusal<P: Protocol>(code: &[u8; 5]) -> bool {
    P::refusal(code) != Refusal::None
}

/// Whether a primary takes no writes any more.
fn has_turned<P: Protocol>(code: &[u8; 5]) -> bool {
    P::refusal(code) == Refusal::ReadOnlyServer
}

/// The reason to count: where the request landed may overrule why it was sent.
fn reason(judged: &Judgement, landed: Landed) -> Reason {
    match landed {
        Landed::Primary | Landed::Replica | Landed::ReplicaStale => judged.reason,
        Landed::PrimaryForFence => Reason::Fence,
        Landed::PrimaryForLag => Reason::Lag,
        Landed::PrimaryForNoReplica => Reason::NoReplica,
    }
}

/// How long an exchange of our own may take.
pub(super) const ERRAND_MAX: Duration = Duration::from_secs(10);
