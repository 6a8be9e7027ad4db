//! After a request: what it left behind, and whether the backend may go.
//!
//! The database is asked rather than believed to be known: settings are read back as values,
//! and a session is pinned for what is really there and as long as it is there.

use super::asked::Asked;
use super::errand::{self, Trouble};
use super::judge::Judgement;
use super::{End, Session, fence, hold};
use pool::{CancelTarget, Consistency, EndpointId, Lease};
use protocol::fault::Cause;
use protocol::own::Errand;
use protocol::settings::{Change, TOKEN};
use protocol::tracker::{Memory, Tracker, TxnStatus};
use protocol::{Fault, Held, Protocol};
use router::{Effects, Reason};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;

/// How long a vanished client's backend may take to end its transaction.
const CLEANUP_MAX: Duration = Duration::from_secs(5);

/// How long a cancel may take to show.
const CANCEL_AGAIN: Duration = Duration::from_millis(200);

/// What is left to do behind a request whose reply is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    Nothing,
    /// It opened a transaction, and must not have.
    Refusal,
    /// A RESET in a transaction may have taken what the client asked for when it signed in.
    Startup,
    /// The backend must be asked what the session left on it.
    Questions,
    /// The backend may be given back, which may take a moment.
    Parting,
}

/// How often a backend is asked what a session has left on it: a late cancel may hit the question.
const INSPECTIONS: u32 = 3;

impl<P: Protocol> Session<P> {
    /// The reply is over: gives the backend back, unless something binds it. Says what it must be waited for.
    pub(super) fn settle_now(&mut self, started: Instant, judged: &Judgement) -> Left {
        let Some(lease) = &mut self.lease else { return Left::Nothing };
        let now = Instant::now();
        let took_us = lease.endpoint().finished(now.saturating_duration_since(started));
        self.service.counters.took(took_us);
        let doubt = lease.memory.take_doubt();
        if !doubt.is_empty() {
            self.hold.named.doubt(doubt, judged.effects, judged.writes);
        }
        if let Some(mentions) = &judged.mentions
            && let Some(place) = lease.memory.place()
        {
            self.hold.named.note(mentions, judged.effects, self.hold.failed, place);
        }
        let sent = self.count_traffic();
        if self.account.is_open() {
            self.settle_account(took_us, sent, false, now);
        }
        if self.tracker.txn() != TxnStatus::Idle {
            self.saw = true;
            if self.service.refuses_transactions() {
                return Left::Refusal;
            }
            let may_reset =
                judged.effects.contains(Effects::SETTINGS) && self.tracker.txn() == TxnStatus::Open;
            return if may_reset { Left::Startup } else { Left::Nothing };
        }
        self.opening.forget();
        // SET and its kin touch no data: the session has seen nothing new, unless one ended a transaction.
        let ended = std::mem::take(&mut self.saw) || self.tracker.written().is_some();
        if ended || judged.reason != Reason::Session || judged.statements > 1 {
            // Code that goes on after its commit may keep what it saw then in places that no reply shows.
            self.mark_freshness(!judged.effects.contains(Effects::UNKNOWN), now);
        }
        let touched = self.tracker.is_touched();
        if touched && !self.tracker.quoting().trusted {
            // The rules changed under the text, which may have meant anything.
            self.effects |= Effects::UNKNOWN;
        }
        self.note_effects(judged);
        if touched | hold::is_asked(self.effects) {
            return Left::Questions;
        }
        let effects = std::mem::replace(&mut self.effects, Effects::empty());
        let held = self.bound_by(effects);
        if !held.is_empty() || self.hold.must_reset || !self.has_folded_ears() || !self.slot.take_back_now() {
            self.effects = effects;
            return Left::Parting;
        }
        self.lease.take().into_iter().for_each(Lease::release);
        self.show_pin(held);
        Left::Nothing
    }

    /// Does what `settle_now` has left.
    pub(super) async fn settle(&mut self, left: Left, judged: &Judgement) -> Result<(), End> {
        match left {
            Left::Nothing => return Ok(()),
            Left::Refusal => {
                self.drop_lease();
                let message = "transactions are not allowed in statement pool mode";
                return Err(End::Fault(Fault::fatal(Cause::NotSupported, message)));
            }
            Left::Startup => return self.keep_startup().await,
            Left::Questions | Left::Parting => {}
        }
        let effects = std::mem::replace(&mut self.effects, Effects::empty());
        if left == Left::Questions {
            let told_alone = judged.reason == Reason::Session && judged.statements == 1;
            self.inspect(told_alone).await?;
            if self.tracker.txn() != TxnStatus::Idle {
                return Ok(());
            }
        }
        let held = self.bound_by(effects);
        if held.is_empty() {
            if self.hold.must_reset {
                self.reset_unsure().await;
            }
            if !self.has_folded_ears() && !self.fold_ears().await {
                self.drop_lease();
            }
            self.effects = Effects::empty();
            self.give_back_late().await;
        } else {
            // What a RESET took of the values of the sign-in.
            self.restore().await.map_err(|_| lost())?;
            self.heed();
        }
        self.show_pin(held);
        Ok(())
    }

    /// What binds the session to its backend, after requests with these effects.
    fn bound_by(&self, effects: Effects) -> Held {
        // What the next statement may ask of this one only this backend knows.
        let asked_next = effects.intersects(Effects::FOUND_ROWS.union(Effects::LAST_INSERT_ID));
        let last = if asked_next { Held::LAST_RESULT } else { Held::empty() };
        let held = self.held.union(self.hold.kept).union(last).without(self.service.pins.allowed);
        held.union(self.tracker.held()).union(self.service.always_held())
    }

    /// Remembers what nothing will show.
    fn note_effects(&mut self, judged: &Judgement) {
        if !self.effects.is_empty() {
            self.hold.note(self.effects);
        }
        self.doubt_schema();
        self.hold.redefines = false;
        if std::mem::take(&mut self.hold.schema_changes) {
            self.tracker.schema_changed();
        }
        if self.tracker.take_discarded() {
            self.hold.discarded();
        }
        if self.effects.contains(Effects::SEQUENCE_ASKED) {
            self.service.sequences_asked.store(true, Relaxed);
        }
        if (judged.may_use_sequence || self.effects.contains(Effects::SEQUENCE))
            && self.service.sequences_asked.load(Relaxed)
        {
            self.hold.note_sequence();
        }
    }

    /// If the schema was changed, that may show to others from now on: what was read of it while the change was under
    /// way is what was there before.
    fn doubt_schema(&self) {
        if self.hold.schema_changes {
            self.service.catalog.doubt(self.hold.redefines);
        }
    }

    /// Whether it asks, in a transaction say, for what the session's own sequences cannot have told on this backend.
    pub(super) fn may_hear_of_others_sequences(&self, judged: &Judgement) -> bool {
        judged.effects.contains(Effects::SEQUENCE_ASKED)
            && !self.drew
            && !self.hold.kept.contains(Held::SEQUENCE)
            && self.lease.as_ref().is_some_and(|lease| lease.memory.discards_sequences_alone())
    }

    /// Makes the backend forget what sequences told to others. False if it is lost.
    pub(super) async fn forget_sequences(&mut self) -> bool {
        self.service.sequences_asked.store(true, Relaxed);
        let Some(lease) = &mut self.lease else { return false };
        let done = errand::run(lease, &Errand::DiscardSequences, self.client.outbox.space()).await;
        if !lease.memory.discards_sequences_alone() {
            lease.memory.wiped();
        }
        done.is_ok()
    }

    /// Nobody can say which settings were left: all are reset before another gets the backend.
    async fn reset_unsure(&mut self) {
        self.hold.must_reset = false;
        let Some(lease) = &mut self.lease else { return };
        let done = errand::run(lease, &Errand::ResetSettings, &mut Vec::new()).await;
        if done.is_ok_and(|outcome| outcome.idle && outcome.error.is_none()) {
            lease.memory.settings_reset();
        } else {
            self.drop_lease();
        }
    }

    /// Lets operators see what the session is pinned for.
    fn show_pin(&mut self, held: Held) {
        if held != self.shown {
            self.service.counters.pinned(self.shown, held);
            self.slot.show_pins(held);
            self.shown = held;
        }
    }

    /// What the backend has shown, or was made to change, is part of what the session has seen. `proven`: the
    /// transaction that the reply told stands for all of it.
    pub(super) fn mark_freshness(&mut self, proven: bool, now: Instant) {
        let Some(lease) = &self.lease else { return };
        let endpoint = lease.endpoint();
        if endpoint.role() == pool::Role::Replica {
            return self.freshness.used_replica(endpoint.id, |gtid| endpoint.is_known_to_have(gtid), now);
        }
        let written = self.tracker.written().filter(|_| proven);
        self.freshness.used_primary(endpoint.id, written, now);
    }

    /// RESET in a transaction returns to the values of the sign-in, which on a backend are settings like
    /// any other: those that are gone are given back at once.
    async fn keep_startup(&mut self) -> Result<(), End> {
        let (Some(lease), false) = (&mut self.lease, self.startup.is_empty()) else { return Ok(()) };
        let names = self.hold.names(&self.startup, lease.memory.settings(), &[]);
        let client = self.client.outbox.space();
        let found = errand::run(lease, &Errand::Inspect { names: &names, things: &[] }, client).await;
        let found = lease.memory.difference(found.map_err(|_| lost())?.inspection).settings;
        let gone = |(name, value): &(&str, &str)| {
            found.value(name).is_none_or(|now| now.is_empty() && !value.is_empty())
        };
        let changes: Vec<Change<'_>> =
            self.startup.iter().filter(gone).map(|(name, value)| Change::Set(name, value)).collect();
        if !changes.is_empty() {
            errand::run(lease, &Errand::Apply(&changes), client).await.map_err(|_| lost())?;
            self.heed();
        }
        Ok(())
    }

    /// Asks the backend what this session has left on it. A fence that was given replaces what the session has seen
    /// if it was `told_alone`, not in a transaction that did more.
    async fn inspect(&mut self, told_alone: bool) -> Result<(), End> {
        let Some(lease) = &mut self.lease else { return Ok(()) };
        let functions = self.service.catalog.current();
        let names = self.hold.names(&self.settings, lease.memory.settings(), functions.settings());
        let things = self.hold.named.asked();
        let errand = Errand::Inspect { names: &names, things: &things };
        let mut tries = 1..INSPECTIONS;
        let outcome = loop {
            match errand::run(lease, &errand, self.client.outbox.space()).await {
                Ok(outcome) if outcome.error.is_some() && tries.next().is_some() => {}
                Ok(outcome) => break outcome,
                Err(Trouble::Refused(_) | Trouble::Lost) => {
                    self.lose_lease();
                    return Err(lost());
                }
            }
        };
        if let Some((code, _)) = outcome.error {
            // A cancel that came late, or a statement_timeout too short for the question.
            if !self.on_primary {
                // What comes next may be a write or take a lock: a replica's backend is kept for nobody.
                tracing::debug!(code, "a session could not be inspected; its backend is closed");
                self.drop_lease();
                return Ok(());
            }
            tracing::debug!(code, "a session could not be inspected; it stays pinned");
            self.held = Held::UNKNOWN;
            self.effects = Effects::UNKNOWN;
            return Ok(());
        }
        self.tracker.note_idle(outcome.idle);
        self.hold.named.found(&outcome.inspection);
        let mut found = lease.memory.difference(outcome.inspection);
        let channels = std::mem::take(&mut found.channels);
        found.settings = self.hold.found(found.settings, &self.settings, &self.startup);
        let own = found.settings.without(TOKEN);
        self.settings = self.startup.overlaid(&own);
        self.asked = Asked::by::<P>(&self.settings);
        let token = found.settings.value(TOKEN).map(str::to_owned);
        lease.memory.set_settings(found.settings);
        self.service.welcomes.doubt(&self.settings, lease.memory.reported());
        let held = found.held.union(self.hold.named.held());
        if let Some(token) = token {
            let consistency = if told_alone { self.consistency() } else { Consistency::Session };
            fence::tell(&mut self.freshness, consistency, &token, Instant::now());
        }
        self.held = self.hand_over(held, channels).await;
        Ok(())
    }

    /// The backend may serve others as soon as no cancel is on its way to it any more.
    async fn give_back_late(&mut self) {
        if self.slot.take_back().await
            && let Some(lease) = self.lease.take()
        {
            lease.release();
        }
        self.lease = None;
    }

    /// Gives a backend back that did nothing for this request. Returns which endpoint it was.
    pub(super) fn give_back(&mut self) -> Option<EndpointId> {
        let lease = self.lease.take()?;
        let endpoint = lease.endpoint().id;
        if self.slot.take_back_now() {
            lease.release();
        }
        Some(endpoint)
    }

    /// The backend is lost. Returns which endpoint it was.
    pub(super) fn lose_lease(&mut self) -> Option<EndpointId> {
        if let Some(lease) = &self.lease {
            lease.endpoint().report_lost();
        }
        self.drop_lease()
    }

    /// Closes the backend. Returns which endpoint it was.
    pub(super) fn drop_lease(&mut self) -> Option<EndpointId> {
        self.slot.take_back_now();
        let endpoint = self.lease.take().map(|lease| lease.endpoint().id);
        self.effects = Effects::empty();
        self.held = Held::empty();
        self.opening.forget();
        self.ears.lost();
        self.doubt_schema();
        self.hold.lost();
        endpoint
    }

    /// The client wants to be as if it had just signed in: the backend that it holds is wiped,
    /// and what it had set is forgotten.
    pub(super) async fn reset(&mut self, len: usize) -> Result<(), End> {
        self.client.consume(len);
        let reusable = std::mem::take(&mut self.hold).may_be_reused(self.effects);
        self.opening.forget();
        if std::mem::take(&mut self.saw) {
            self.mark_freshness(false, Instant::now());
        }
        if let Some(mut lease) = self.lease.take() {
            let wiped = wipe::<P>(&mut lease, self.tracker.txn() != TxnStatus::Idle).await;
            if self.slot.take_back().await && wiped && reusable {
                lease.release();
            }
        }
        self.settings = self.startup.clone();
        self.asked = Asked::by::<P>(&self.settings);
        if self.consistency() == Consistency::Token {
            // The connection was another user's before.
            self.freshness.forget();
        }
        self.effects = Effects::empty();
        self.held = Held::empty();
        self.show_pin(Held::empty());
        self.tracker.reset(self.client.outbox.space());
        self.client.flush().await.map_err(|_| End::ClientGone)
    }

    /// The client is gone. What it left running is cancelled, what it left open is rolled back,
    /// and what it left behind is wiped off; a backend that does not obey is closed.
    pub(super) async fn abandon_lease(&mut self, polite: bool) {
        self.show_pin(Held::empty());
        let Some(mut lease) = self.lease.take() else { return };
        if !self.tracker.is_over() || lease.is_behind() {
            let target = lease.cancel_target();
            self.slot.take_back_now();
            if !polite {
                let _ = tokio::time::timeout(CLEANUP_MAX, Box::pin(interrupt(&mut lease, &target))).await;
            }
            // It may have been too late for the cancel.
            self.doubt_schema();
            return;
        }
        let in_transaction = self.tracker.txn() != TxnStatus::Idle;
        let clean = wipe::<P>(&mut lease, in_transaction).await;
        if self.slot.take_back().await && clean && self.hold.may_be_reused(self.effects) {
            lease.release();
        }
    }
}

/// Ends what runs on a backend, and the backend. A cancel that arrives before the statement has begun hits nothing,
/// so it is repeated until the database has closed the connection that we have closed.
async fn interrupt<P: Protocol>(lease: &mut Lease<P>, target: &CancelTarget<P>) {
    let _ = lease.stream.shutdown().await;
    loop {
        let _ = pool::cancel::<P>(target, CLEANUP_MAX).await;
        // A database that waits for us to take its reply does not hear the cancel.
        if tokio::time::timeout(CANCEL_AGAIN, tokio::io::copy(&mut lease.stream, &mut tokio::io::sink()))
            .await
            .is_ok()
        {
            return;
        }
    }
}

/// Brings a backend back to the state of a fresh connection. Returns whether that worked.
async fn wipe<P: Protocol>(lease: &mut Lease<P>, in_transaction: bool) -> bool {
    let clean = tokio::time::timeout(CLEANUP_MAX, async {
        if in_transaction {
            let outcome = errand::run(lease, &Errand::Rollback, &mut Vec::new()).await.ok()?;
            outcome.idle.then_some(())?;
        }
        let outcome = errand::run(lease, &Errand::Discard, &mut Vec::new()).await.ok()?;
        lease.memory.wiped();
        (outcome.idle && outcome.error.is_none()).then_some(())
    });
    matches!(clean.await, Ok(Some(())))
}

pub(super) fn lost() -> End {
    End::Fault(Fault::fatal(Cause::BackendLost, "the database was lost after the statement had ended"))
}
