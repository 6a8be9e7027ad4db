//! Refuses what the operator does not want sessions to be bound by, and what would only seem to be done.
//!
//! Inside a transaction the database must fail it as well, so that both sides agree on its end.

use super::errand;
use super::judge::Judgement;
use super::request::Request;
use super::{End, Session};
use protocol::fault::Cause;
use protocol::own::Errand;
use protocol::tracker::{Tracker, TxnStatus};
use protocol::{Fault, Held, Protocol};
use router::{Effects, Reason};

impl<P: Protocol> Session<P> {
    /// The operator does not want a session to be bound by this.
    pub(super) async fn refuse_pin(&mut self, features: Held, request: Request) -> Result<(), End> {
        let (_, name) = Held::ALL
            .into_iter()
            .find(|(held, _)| features.contains(*held) && self.service.pins.refused.contains(*held))
            .unwrap_or_default();
        self.service.counters.refused_pin(features);
        let message = format!("the proxy's configuration does not allow this in pooled sessions: {name}");
        let fault = Fault::error(Cause::NotSupported, message).hint(
            "The statement would tie a session to one database connection; see pins in the configuration.",
        );
        self.refuse_as_failed(fault, request).await
    }

    /// Whether a lock would be taken where it locks nothing: on a replica, in a transaction that cannot be moved.
    pub(super) fn locks_in_vain(&self, judged: &Judgement) -> bool {
        let locking = Effects::ADVISORY_LOCK.union(Effects::LOCKS);
        let locks = judged.reason == Reason::AdvisoryLock || judged.effects.intersects(locking);
        let stays = self.tracker.txn() == TxnStatus::Open && !self.on_primary && !self.opening.is_open();
        locks && stays && self.lease.is_some()
    }

    /// See `locks_in_vain`.
    pub(super) async fn refuse_lock(&mut self, request: Request) -> Result<(), End> {
        let fault = Fault::error(
            Cause::NotSupported,
            "this read-only transaction runs on a replica, where locks lock nothing",
        )
        .hint("Begin it without READ ONLY, or with READ COMMITTED: then it is moved to the primary.");
        self.refuse_as_failed(fault, request).await
    }

    /// As `refuse`; an open transaction fails by it.
    pub(super) async fn refuse_as_failed(&mut self, fault: Fault, request: Request) -> Result<(), End> {
        if self.tracker.txn() != TxnStatus::Open || !request.whole {
            return self.refuse(fault, request).await;
        }
        // An error fails the transaction, so it must fail in the database as well.
        let Some(lease) = &mut self.lease else { return Err(End::ClientGone) };
        let failed = errand::run(
            lease,
            &Errand::Say(b"ROLLBACK TO SAVEPOINT splitpool_refused_this"),
            &mut Vec::new(),
        )
        .await;
        if !failed.is_ok_and(|outcome| outcome.error.is_some()) {
            return Err(End::Fault(fault));
        }
        self.tracker.rewind();
        self.client.consume(request.len);
        self.service.counters.fault(&fault);
        self.tracker.fault(&fault, false, self.client.outbox.space());
        self.tracker.fail(self.client.outbox.space());
        self.client.flush().await.map_err(|_| End::ClientGone)
    }
}
