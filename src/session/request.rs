//! Runs one request, from its lease to its last reply.
//!
//! Retries only what cannot have taken effect: a read, or a BEGIN, of which the client has
//! had no byte. A replica that refuses a statement as a write is answered by running it on
//! the primary, once, and remembering its shape; a primary that has just turned read-only, by
//! waiting for the next one.

use super::alarm::Late;
use super::errand::Trouble;
use super::hold;
use super::judge::{Judgement, Seen, judge};
use super::relay::{Relay, Stop};
use super::settle::Left;
use super::slot::Killed;
use super::{End, Session};
use crate::violations::{Side, constant};
use pool::{Consistency, EndpointId, Freshness, Landed, LeaseError, Leased, Need, Want};
use protocol::fault::Cause;
use protocol::tracker::{Intake, Refusal, Tracker, TxnStatus};
use protocol::{Fault, Protocol};
use router::{Reason, Target};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
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

/// How one attempt went.
enum Attempt {
    Done,
    /// A replica refused it.
    Refused([u8; 5]),
    /// The backend was lost and the client has seen nothing.
    LostUnseen,
}

impl<P: Protocol> Session<P> {
    pub(super) async fn request(&mut self, request: Request) -> Result<(), End> {
        let mut started = Instant::now();
        let bytes = self.client.inbox.get(..request.len).unwrap_or_default();
        if request.whole && self.tracker.is_reset(bytes) {
            return self.reset(request.len).await;
        }
        if (self.lease.is_none() || self.tracker.is_over())
            && self.tracker.answer(bytes, self.client.outbox.space())
        {
            self.client.consume(request.len);
            return self.client.flush().await.map_err(|_| End::ClientGone);
        }
        if self.lease.is_none() && self.service.generation != self.directory.stamp() {
            if let Some(fault) = Box::pin(self.look_closer(request.len)).await? {
                return self.refuse(fault, request).await;
            }
            started = Instant::now();
        }
        let bytes = self.client.inbox.get(..request.len).unwrap_or_default();
        let seen = Seen { bytes, whole: request.whole, cut: request.rest > 0 };
        let mut judged = judge(&self.service, &self.tracker, &seen, self.is_strong());
        if self.service.tracer.is_some() {
            self.open_trace(request.len);
        }
        if self.service.digests.is_some() {
            self.open_account(&judged, request.len, started);
        }
        if let Some(kill) = judged.kill.filter(|_| request.whole && judged.statements == 1)
            && let Some(key) = P::numbered(kill.number)
        {
            return self.kill(&key, kill.connection, request).await;
        }
        if self.is_about_fences(&judged) {
            let answered = Box::pin(self.mind_fence(&mut judged, request)).await?;
            if answered {
                return Ok(());
            }
        }
        let ran = self.run_judged(request, &mut judged, started).await;
        self.end_fence();
        ran
    }

    /// Runs a request wherever it is to run.
    async fn run_judged(
        &mut self,
        request: Request,
        judged: &mut Judgement,
        started: Instant,
    ) -> Result<(), End> {
        let refused = self.service.pins.refused;
        let open = self.tracker.txn() != TxnStatus::Failed;
        if open && !refused.is_empty() && hold::would_hold(judged.effects).intersects(refused) {
            return self.refuse_pin(hold::would_hold(judged.effects), request).await;
        }
        if self.opening.is_open() {
            self.consider_move(judged, request.len).await;
        }
        if self.locks_in_vain(judged) {
            return self.refuse_lock(request).await;
        }
        self.remember(judged);
        if self.lease.is_some() {
            self.count(true, self.bound_reason());
            if self.is_concerned(judged) {
                self.prick_ears(judged, request.len).await?;
            }
            let note = if self.opening.is_open() { self.follow(judged, request.len).await? } else { None };
            let ran = self.run_bound(request, judged, started).await;
            self.note_opening(note);
            return ran;
        }
        if self.service.refuses_transactions() && judged.begins {
            let fault =
                Fault::error(Cause::NotSupported, "transactions are not allowed in statement pool mode");
            return self.refuse(fault, request).await;
        }
        self.run_leased(request, judged, started).await
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
        match self.attempt(request, None, false, started).await? {
            Attempt::Done => {
                let left = self.settle_now(started, judged);
                if left == Left::Nothing { Ok(()) } else { self.settle(left, judged).await }
            }
            Attempt::Refused(_) | Attempt::LostUnseen => {
                let message = "the database closed the connection of this session";
                Err(End::Fault(Fault::fatal(Cause::BackendLost, message)))
            }
        }
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
            let landed = match self.take_lease_now(judged, exclude, now, deadline) {
                Some(landed) => landed,
                None => {
                    let taken = self.take_lease_in_time(judged, exclude, request.len, now, &mut deadline);
                    match taken.await? {
                        Ok(landed) => landed,
                        Err(fault) => return self.refuse(fault, request).await,
                    }
                }
            };
            let restored = if self.is_restored() { Ok(()) } else { self.restore().await };
            match restored {
                Ok(()) => {}
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
            if self.is_concerned(judged) {
                self.prick_ears(judged, request.len).await?;
            }
            if judged.effects.contains(router::Effects::SEQUENCE_ASKED) && !self.forget_sequences().await {
                exclude = self.lose_lease();
                continue;
            }
            let on_replica = matches!(landed, Landed::Replica | Landed::ReplicaStale);
            let bytes = self.client.inbox.get(..request.len).unwrap_or_default();
            let opening = if on_replica { self.opening_text(judged, bytes) } else { None };
            let retry: Option<fn(&[u8; 5]) -> bool> = match on_replica {
                true => request.whole.then_some(is_refusal::<P>),
                false => may_turn.then_some(has_turned::<P>),
            };
            match self.attempt(request, retry, on_replica || judged.repeatable, started).await? {
                Attempt::Done => {
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
                    self.effects |= judged.effects;
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

    /// Gets a backend if nothing must be waited for.
    fn take_lease_now(
        &mut self,
        judged: &Judgement,
        exclude: Option<EndpointId>,
        now: Instant,
        deadline: Instant,
    ) -> Option<Landed> {
        let consistency = judged.consistency.unwrap_or(self.consistency());
        let mut need = need(judged, consistency, &mut self.freshness, exclude, (now, deadline));
        let leased = self.service.access.lease_now(&mut need);
        self.drawn = need.drawn.filter(|_| leased.is_none());
        leased.map(|leased| self.hold_lease(leased))
    }

    /// Gets a backend. The client, whose request is the first `len` bytes of its inbox, may cancel or go while
    /// it waits.
    pub(super) async fn take_lease(
        &mut self,
        judged: &Judgement,
        exclude: Option<EndpointId>,
        len: usize,
        now: Instant,
        deadline: Instant,
    ) -> Result<Landed, LeaseFailed> {
        let consistency = judged.consistency.unwrap_or(self.consistency());
        let (slot, client) = (&self.slot, &mut self.client);
        // A cancel that came while nothing ran means nothing.
        slot.is_canceled();
        let mut need = need(judged, consistency, &mut self.freshness, exclude, (now, deadline));
        need.drawn = self.drawn.take();
        // What belongs to a transaction that is open does not heed a pause.
        let heeds = judged.reason != Reason::Transaction;
        let mut waits = false;
        let leased = {
            let mut lease = std::pin::pin!(self.service.access.lease(need));
            let leased = poll_fn(|cx| match lease.as_mut().poll(cx) {
                Poll::Ready(leased) => Poll::Ready(leased.map_err(LeaseFailed::Pool)),
                Poll::Pending if slot.is_canceled() => Poll::Ready(Err(LeaseFailed::Canceled)),
                Poll::Pending if heeds && self.directory.latches.is_paused(&self.service.domain) => {
                    Poll::Ready(Err(LeaseFailed::Paused))
                }
                Poll::Pending => {
                    if !std::mem::replace(&mut waits, true) {
                        slot.wait(true);
                    }
                    // Who has gone takes nobody's place in the queue.
                    client.poll_gone(cx, len).map(|()| Err(LeaseFailed::ClientGone))
                }
            });
            leased.await
        };
        if waits {
            slot.end_wait();
            self.service.counters.waited(now.elapsed());
        }
        Ok(self.hold_lease(leased?))
    }

    fn hold_lease(&mut self, leased: Leased<P>) -> Landed {
        let mut lease = leased.lease;
        self.slot.lend(lease.cancel_target());
        self.lease = Some(lease);
        self.on_primary = leased.landed.is_primary();
        leased.landed
    }

    /// Sends the request on the leased backend and relays until the reply is over.
    async fn attempt(
        &mut self,
        request: Request,
        retry: Option<fn(&[u8; 5]) -> bool>,
        repeatable: bool,
        started: Instant,
    ) -> Result<Attempt, End> {
        if let Some(lease) = &self.lease
            && lease.is_outdated()
            && (self.txn_idle() || (self.on_primary && lease.endpoint().role() != pool::Role::Primary))
        {
            let message = "the database server of this session has changed its role or left";
            self.drop_lease();
            return Err(End::Fault(Fault::fatal(Cause::BackendLost, message)));
        }
        self.alarm.busy(&self.service.bounds, started);
        let repeats = request.whole && repeatable;
        let keep = request.whole && (retry.is_some() || repeatable);
        // Outside a transaction, all that a failed batch did is undone: it may be sent again.
        let bytes = self.client.inbox.get(..request.len).unwrap_or_default();
        let heals = request.whole && self.txn_idle() && self.tracker.may_be_stale(bytes);
        let mut kept = if keep || heals { request.len } else { 0 };
        let mut relay = self.begin(request, retry, heals, kept)?;
        loop {
            let Some(lease) = &mut self.lease else { return Ok(Attempt::LostUnseen) };
            let stop = poll_fn(|cx| match self.alarm.poll(cx) {
                Poll::Ready(late) => Poll::Ready(Stop::Late(late)),
                Poll::Pending => relay.poll::<P>(cx, &mut self.client, lease, &mut self.tracker),
            })
            .await;
            match stop {
                Stop::Over => {
                    self.hold.failed = relay.failed;
                    self.client.consume(std::mem::take(&mut kept));
                    return Ok(Attempt::Done);
                }
                Stop::Heard => {
                    self.client.consume(std::mem::take(&mut kept));
                    relay.kept = 0;
                    self.hear(&mut relay)?;
                }
                Stop::Late(Late::Query) => {
                    // The database ends the statement with its own error.
                    self.service.counters.fault(&Late::Query.fault());
                    let slot = Arc::clone(&self.slot);
                    tokio::spawn(async move { slot.cancel().await });
                    self.alarm.canceled(Instant::now());
                }
                Stop::Late(late) => {
                    // Part of a message may be on its way: only a client that waits between two is told.
                    return Err(if relay.is_torn() { End::ClientGone } else { End::Fault(late.fault()) });
                }
                Stop::Stale => {
                    self.tracker.rewind();
                    relay = self.begin(request, retry, false, kept)?;
                }
                Stop::Refused(code) => {
                    self.tracker.rewind();
                    return Ok(Attempt::Refused(code));
                }
                Stop::BackendLost { relayed: false, .. } if repeats && self.txn_idle() => {
                    self.client.outbox.clear();
                    self.tracker.rewind();
                    return Ok(Attempt::LostUnseen);
                }
                Stop::BackendLost { torn, .. } => return self.report_loss(torn, request, kept).await,
                Stop::Nonsense(error) => {
                    tracing::error!(%error, "a backend broke the protocol");
                    self.note_violation(Side::Backend, error.0);
                    self.lose_lease();
                    let fault = Fault::fatal(Cause::BackendNonsense, "the database broke its protocol");
                    return Err(End::Fault(fault));
                }
                Stop::ClientGone => return Err(End::ClientGone),
            }
        }
    }

    /// Puts the request on its way to the leased backend, with `kept` bytes of it to be kept.
    fn begin(
        &mut self,
        request: Request,
        retry: Option<fn(&[u8; 5]) -> bool>,
        heals: bool,
        kept: usize,
    ) -> Result<Relay, End> {
        let mut relay = Relay::new(request.rest, retry, heals);
        relay.kept = kept;
        if let Some(lease) = &mut self.lease {
            let bytes = self.client.inbox.get(..request.len).unwrap_or_default();
            let (backend, client) = (&mut **lease, self.client.outbox.space());
            self.tracker.forward(bytes, request.rest, &mut backend.memory, &mut backend.outbox, client)?;
        }
        if kept == 0 {
            self.client.consume(request.len);
        }
        Ok(relay)
    }

    /// The client went on with the request that is under way.
    fn hear(&mut self, relay: &mut Relay) -> Result<(), End> {
        // What is left unjudged below, because it may not belong to this request, is heard again
        // as soon as it does: COPY data behind a query that turns out to be a COPY.
        relay.heard = 0;
        loop {
            match self.tracker.intake(&self.client.inbox, self.service.gather_max)? {
                Intake::Ready { len, rest, .. } => {
                    let bytes = self.client.inbox.get(..len).unwrap_or_default();
                    let seen = Seen { bytes, whole: true, cut: rest > 0 };
                    let mut judged = judge(&self.service, &self.tracker, &seen, false);
                    self.remember(&mut judged);
                    let bytes = self.client.inbox.get(..len).unwrap_or_default();
                    let Some(lease) = &mut self.lease else { return Err(End::ClientGone) };
                    let (backend, client) = (&mut **lease, self.client.outbox.space());
                    self.tracker.forward(bytes, rest, &mut backend.memory, &mut backend.outbox, client)?;
                    self.client.consume(len);
                    relay.upload = rest;
                    if rest > 0 || !self.tracker.is_open() {
                        break;
                    }
                }
                Intake::Drop(len) => self.client.consume(len),
                Intake::Terminate => return Err(End::Goodbye),
                Intake::SignIn { abilities } => return Err(End::SignIn(abilities)),
                Intake::More => {
                    relay.heard = self.client.inbox.len();
                    break;
                }
            }
        }
        Ok(())
    }

    /// The backend went in the middle of something: the client is told, and goes on if it can.
    async fn report_loss(&mut self, torn: bool, request: Request, kept: usize) -> Result<Attempt, End> {
        let in_transaction = !self.txn_idle() || !self.held.is_empty();
        let open = self.tracker.is_open();
        self.lose_lease();
        let waits = self.tracker.rewind();
        self.client.consume(kept);
        if torn {
            // What is said now would be taken for the rest of the message.
            return Err(End::ClientGone);
        }
        let fault = if in_transaction {
            Fault::fatal(Cause::OutcomeUnknown, "the database was lost in the middle of a transaction")
                .hint("If a COMMIT was under way, nobody knows whether it took effect.")
        } else {
            Fault::error(
                Cause::OutcomeUnknown,
                "the database was lost before it answered; the outcome is unknown",
            )
        };
        if in_transaction || open || !waits || !request.whole {
            return Err(End::Fault(fault));
        }
        self.tracker.fault(&fault, true, self.client.outbox.space());
        self.client.flush().await.map_err(|_| End::ClientGone)?;
        Ok(Attempt::Done)
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

    fn remember(&mut self, judged: &mut Judgement) {
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

    fn txn_idle(&self) -> bool {
        self.tracker.txn() == TxnStatus::Idle
    }

    /// Whether reads must go to the primary, whatever their text.
    fn is_strong(&self) -> bool {
        self.asked.strict || self.consistency() == Consistency::Strong
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

/// Why there is no lease.
pub(super) enum LeaseFailed {
    Canceled,
    ClientGone,
    /// Its database was paused meanwhile.
    Paused,
    Pool(LeaseError),
}

/// What `judged` asks of a backend, `when` being now and the deadline.
fn need<'a>(
    judged: &Judgement,
    consistency: Consistency,
    freshness: &'a mut Freshness,
    exclude: Option<EndpointId>,
    when: (Instant, Instant),
) -> Need<'a> {
    let want = match judged.target {
        Target::Primary => Want::Primary,
        Target::Replica => Want::Replica,
        Target::Any => Want::Any,
    };
    let (now, deadline) = when;
    Need { want, consistency, max_lag: judged.max_lag, freshness, exclude, drawn: None, now, deadline }
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
