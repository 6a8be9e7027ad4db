//! Moves a read-only transaction from its replica to the primary, where it turns out to want more than to read.
//!
//! A transaction declared READ ONLY runs on a replica. Advisory locks, channels and temporary objects are allowed
//! in it, and a replica would give them silently, in the wrong place. As long as the transaction has done nothing
//! but read and set, what opened it is said again on the primary, and it goes on there.

use super::errand::{self, Trouble};
use super::judge::Judgement;
use super::{End, Session};
use protocol::fault::Cause;
use protocol::own::Errand;
use protocol::tracker::{Tracker, TxnStatus};
use protocol::{Fault, Protocol};
use router::{Reason, Target};
use std::time::Instant;

/// Bytes and statements that are kept to be said again.
const BYTES_MAX: usize = 2048;
const STATEMENTS_MAX: usize = 16;

/// What opened a transaction that can be moved, in order.
#[derive(Debug, Default)]
pub(super) struct Opening {
    texts: Vec<Box<[u8]>>,
    /// It may have read something: if it reads from one snapshot all along, it cannot be moved any more.
    seen: bool,
}

impl Opening {
    /// Whether there is such a transaction.
    pub(super) fn is_open(&self) -> bool {
        !self.texts.is_empty()
    }

    /// The transaction is over, or has done what cannot be said again.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    fn add(&mut self, text: &[u8]) {
        let bytes: usize = self.texts.iter().map(|text| text.len()).sum();
        let plain = !text.is_empty() && !text.contains(&b'$');
        if plain && self.texts.len() < STATEMENTS_MAX && bytes + text.len() < BYTES_MAX {
            self.texts.push(text.into());
        } else {
            self.forget();
        }
    }
}

/// `START TRANSACTION WITH CONSISTENT SNAPSHOT` reads as of now.
fn takes_snapshot(text: &[u8]) -> bool {
    text.windows(8).any(|word| word.eq_ignore_ascii_case(b"snapshot"))
}

/// What a statement means for a transaction that can be moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// It only reads.
    Stay,
    /// It must be said again after a move.
    Note,
    /// It belongs on the primary.
    Move,
}

fn step(judged: &Judgement, text: &[u8]) -> Step {
    let sets = text.trim_ascii_start().get(..4).is_some_and(|word| word.eq_ignore_ascii_case(b"set "));
    match (judged.target, judged.reason) {
        (Target::Primary, _) => Step::Move,
        (_, Reason::TransactionControl) if sets => Step::Move,
        (_, Reason::TransactionControl | Reason::Session) => Step::Note,
        _ if judged.effects.is_empty() => Step::Stay,
        _ => Step::Move,
    }
}

impl<P: Protocol> Session<P> {
    /// A transaction was opened on a replica by this request, or went on there.
    pub(super) fn note_opening(&mut self, texts: Option<Box<[u8]>>) {
        let Some(text) = texts else { return };
        if self.tracker.txn() == TxnStatus::Open {
            self.opening.seen |= takes_snapshot(&text);
            self.opening.add(&text);
        } else {
            self.opening.forget();
        }
    }

    /// The text of a request that opens a transaction, if it may have to be said again.
    pub(super) fn opening_text(&self, judged: &Judgement, bytes: &[u8]) -> Option<Box<[u8]>> {
        if !judged.begins || judged.target != Target::Replica || judged.statements != 1 {
            return None;
        }
        Some(self.text_of(bytes))
    }

    fn text_of(&self, bytes: &[u8]) -> Box<[u8]> {
        let mut found = Vec::new();
        self.tracker.texts(bytes, &mut |text| found.extend_from_slice(text.get(..BYTES_MAX).unwrap_or(text)));
        found.into_boxed_slice()
    }

    /// Before a request runs in a transaction on a replica: one that belongs on the primary, but has read from a
    /// snapshot that only the replica has, stays where it is.
    pub(super) async fn consider_move(&mut self, judged: &Judgement, bytes: usize) {
        let plain = judged.target != Target::Primary
            && judged.reason != Reason::TransactionControl
            && judged.effects.is_empty();
        if !self.opening.seen || plain {
            return;
        }
        let text = self.text_of(self.client.inbox.get(..bytes).unwrap_or_default());
        let Some(lease) = self.lease.as_mut().filter(|_| step(judged, &text) == Step::Move) else { return };
        let asked = errand::run(lease, &Errand::Snapshot, self.client.outbox.space()).await;
        if asked.map_or(true, |outcome| outcome.error.is_some() || outcome.snapshot) {
            self.opening.forget();
        }
    }

    /// Before a request runs in a transaction on a replica: moves it if it must be. Returns what is to be
    /// noted once the request was answered.
    pub(super) async fn follow(
        &mut self,
        judged: &Judgement,
        bytes: usize,
    ) -> Result<Option<Box<[u8]>>, End> {
        let text = self.text_of(self.client.inbox.get(..bytes).unwrap_or_default());
        match step(judged, &text) {
            Step::Stay => {
                self.opening.seen = true;
                Ok(None)
            }
            Step::Note => Ok(Some(text)),
            Step::Move => self.move_to_primary(bytes).await.map(|()| None),
        }
    }

    async fn move_to_primary(&mut self, bytes: usize) -> Result<(), End> {
        let texts = std::mem::take(&mut self.opening).texts;
        let Some(mut old) = self.lease.take() else { return Ok(()) };
        let free = self.slot.take_back_now();
        let deadline = Instant::now() + self.service.query_wait_timeout;
        let gone = || {
            let message = "the transaction could not be moved to the primary";
            End::Fault(Fault::fatal(Cause::NoBackend, message))
        };
        self.take_lease(&Judgement::for_primary(), None, None, bytes, (Instant::now(), deadline))
            .await
            .map_err(|_| gone())?;
        self.restore().await.map_err(|trouble| match trouble {
            Trouble::Refused(fault) => End::Fault(fault),
            Trouble::Lost => gone(),
        })?;
        for text in &texts {
            let Some(lease) = &mut self.lease else { return Err(gone()) };
            let said = errand::run(lease, &Errand::Say(text), &mut Vec::new()).await;
            if !said.is_ok_and(|outcome| outcome.error.is_none() && !outcome.idle) {
                self.drop_lease();
                return Err(gone());
            }
        }
        let ended = errand::run(&mut old, &Errand::Rollback, &mut Vec::new()).await;
        if free && ended.is_ok_and(|outcome| outcome.idle) {
            old.release();
        }
        Ok(())
    }
}
