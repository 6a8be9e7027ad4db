//! A session that listens, without a backend of its own.
//!
//! LISTEN and UNLISTEN run on a backend, whose word is final on errors and rollbacks; what is listened on
//! after the transaction is then handed to the hub of the database, and the backend goes back. While a transaction
//! or a statement that may change it is under way, the backend listens as well, deaf to the client: the hub
//! delivers. A hub that cannot be had leaves the session pinned, as if there were none.

use super::errand;
use super::judge::Judgement;
use super::{End, Session};
use crate::hub::{Mailbox, quoted};
use protocol::fault::Cause;
use protocol::own::Errand;
use protocol::tracker::{Memory, Tracker, TxnStatus};
use protocol::{Fault, Held, Protocol};
use router::Effects;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// How long the hub may take to listen on a channel.
const HUB_MAX: Duration = Duration::from_secs(3);

/// See the file's head.
#[derive(Debug, Default)]
pub(super) struct Ears {
    mailbox: Option<Arc<Mailbox>>,
    channels: Vec<Box<str>>,
    /// The leased backend listens as well.
    here: bool,
}

/// Whether a request may change or show what is listened on.
fn matters(judged: &Judgement) -> bool {
    let effects = Effects::LISTEN | Effects::DISCARD | Effects::UNKNOWN | Effects::STATE;
    judged.begins || judged.effects.intersects(effects)
}

/// The channel of `LISTEN channel`.
fn named(text: &[u8]) -> Option<Box<str>> {
    let text = std::str::from_utf8(text).ok()?.trim_start();
    let (verb, rest) = text.split_at_checked(6)?;
    let rest = rest.trim().trim_end_matches(';').trim_end();
    if !verb.eq_ignore_ascii_case("listen") {
        return None;
    }
    if let Some(name) = rest.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        return Some(name.replace("\"\"", "\"").into());
    }
    let plain = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
    (!rest.is_empty() && rest.chars().all(plain)).then(|| rest.to_ascii_lowercase().into())
}

impl Ears {
    /// The backend is gone.
    pub(super) fn lost(&mut self) {
        self.here = false;
    }
}

impl<P: Protocol> Session<P> {
    /// Whether a request has to do with what the session listens on, or will.
    pub(super) fn is_concerned(&self, judged: &Judgement) -> bool {
        let listens = !self.ears.channels.is_empty() || judged.effects.contains(Effects::LISTEN);
        listens && self.tracker.txn() == TxnStatus::Idle && matters(judged)
    }

    /// Before a request that is concerned runs on the leased backend: the backend listens where the session
    /// does, and the hub where the request says.
    pub(super) async fn prick_ears(&mut self, judged: &Judgement, len: usize) -> Result<(), End> {
        let Some(hub) = self.service.hub.clone() else { return Ok(()) };
        if judged.effects.contains(Effects::LISTEN) {
            let mut channels = self.ears.channels.clone();
            let bytes = self.client.inbox.get(..len).unwrap_or_default();
            self.tracker.texts(bytes, &mut |text| channels.extend(named(text)));
            let mailbox = Arc::clone(self.ears.mailbox.get_or_insert_default());
            // What is said between the hub's LISTEN and the session's own reaches the session early, not twice.
            if hub.listen(&mailbox, &channels, Instant::now() + HUB_MAX).await
                && let Some(lease) = &mut self.lease
            {
                lease.memory.deafen(true);
            }
        }
        if self.ears.channels.is_empty() || self.ears.here || !self.on_primary {
            return Ok(());
        }
        let Some(lease) = &mut self.lease else { return Ok(()) };
        lease.memory.deafen(true);
        let text: String =
            self.ears.channels.iter().map(|channel| format!("LISTEN {};", quoted(channel))).collect();
        let said = errand::run(lease, &Errand::Say(text.as_bytes()), &mut Vec::new()).await;
        if !said.is_ok_and(|outcome| outcome.error.is_none()) {
            let message = "the database was lost before the statement was sent";
            self.lose_lease();
            return Err(End::Fault(Fault::fatal(Cause::BackendLost, message)));
        }
        self.ears.here = true;
        Ok(())
    }

    /// The backend was asked which channels it listens on. Returns what still binds the session.
    pub(super) async fn hand_over(&mut self, held: Held, channels: Vec<Box<str>>) -> Held {
        let Some(hub) = self.service.hub.clone() else { return held };
        if channels.is_empty() && !self.ears.here {
            // A LISTEN that was rolled back.
            if let Some(mailbox) = self.ears.mailbox.take_if(|_| self.ears.channels.is_empty()) {
                hub.listen(&mailbox, &[], Instant::now()).await;
            }
            return held;
        }
        if channels.is_empty() {
            if let Some(mailbox) = self.ears.mailbox.take() {
                hub.listen(&mailbox, &[], Instant::now()).await;
            }
            self.ears.channels.clear();
            return held;
        }
        let mailbox = Arc::clone(self.ears.mailbox.get_or_insert_default());
        self.ears.here = true;
        if hub.listen(&mailbox, &channels, Instant::now() + HUB_MAX).await {
            self.ears.channels = channels;
            return held.without(Held::LISTEN);
        }
        // Nobody else hears for the session: the backend must.
        self.ears = Ears::default();
        if let Some(lease) = &mut self.lease {
            lease.memory.deafen(false);
        }
        held
    }

    /// Whether the leased backend listens on nothing of this session's.
    pub(super) fn has_folded_ears(&self) -> bool {
        !self.ears.here && self.lease.as_ref().is_none_or(|lease| !lease.memory.is_deaf())
    }

    /// Before the backend goes back. False if it is lost.
    pub(super) async fn fold_ears(&mut self) -> bool {
        let here = std::mem::take(&mut self.ears.here);
        let Some(lease) = &mut self.lease else { return true };
        if here {
            let said = errand::run(lease, &Errand::Say(b"UNLISTEN *"), &mut Vec::new()).await;
            if !said.is_ok_and(|outcome| outcome.error.is_none() && outcome.idle) {
                return false;
            }
        }
        lease.memory.deafen(false);
        true
    }

    /// Tells the client what was heard; only between transactions, as the database does.
    pub(super) fn poll_heard(&mut self, cx: &Context<'_>) {
        let Some(mailbox) = &self.ears.mailbox else { return };
        if self.tracker.txn() != TxnStatus::Idle || self.ears.channels.is_empty() {
            return;
        }
        let Poll::Ready((notes, missing)) = mailbox.poll_take(cx) else { return };
        let out = self.client.outbox.space();
        if missing {
            P::encode_notice("notifications may be missing: the proxy's listening connection was lost", out);
        }
        let channels = &self.ears.channels;
        for note in notes.iter().filter(|note| channels.iter().any(|channel| **channel == *note.channel)) {
            P::encode_note(note.process, &note.channel, &note.payload, out);
        }
        // More may come while these are sent.
        cx.waker().wake_by_ref();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels() {
        assert_eq!(named(b"LISTEN News;").as_deref(), Some("news"));
        assert_eq!(named(b" listen \"My \"\"own\"").as_deref(), Some("My \"own"));
        assert_eq!(named(b"LISTEN a; SELECT 1"), None);
        assert_eq!(named(b"UNLISTEN a"), None);
    }
}
