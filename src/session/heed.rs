//! What the leased backend reports and the session does not know yet: the client is told ahead of the reply, and a
//! text that was judged by rules which do not hold there is not run as what it seemed to be.
//!
//! A database changes values by itself, by its configuration, and says so once, to whoever it serves then. It may
//! also differ from the others of its cluster.

use super::Session;
use super::errand;
use super::judge::Judgement;
use pool::EndpointId;
use protocol::Protocol;
use protocol::own::Errand;
use protocol::tracker::{Memory, Tracker};
use router::Effects;

impl<P: Protocol> Session<P> {
    /// Ahead of a request: its reply is read by what the client knows.
    #[inline]
    pub(super) fn tell_news(&mut self) {
        if self.lease.as_ref().is_some_and(|lease| !self.tracker.knows(&lease.memory)) {
            self.heed();
        }
    }

    /// Tells the client what it does not know of what its backend reports.
    pub(super) fn heed(&mut self) {
        let Some(lease) = &mut self.lease else { return };
        if self.tracker.heed(&mut lease.memory, self.client.outbox.space()) {
            self.service.welcomes.doubt(&self.settings, lease.memory.reported());
        }
    }

    /// Whether a text was judged by rules that do not hold on the leased backend, as far as is known of it.
    pub(super) fn may_be_misread(&self) -> bool {
        self.lease.as_ref().is_some_and(|lease| !self.tracker.reads_as(&lease.memory))
    }

    /// The session keeps its backend, where the text may mean anything.
    pub(super) fn note_misread(&mut self) {
        if self.may_be_misread() {
            self.effects |= Effects::UNKNOWN;
        }
    }

    /// The request, the first `len` bytes of the inbox, may have been misread. The backend is asked, because what is
    /// known of it may be old: it tells of a change only who makes it speak.
    ///
    /// # Errors
    /// The request must run on another backend. If this one was lost, which endpoint it was.
    pub(super) async fn reread(
        &mut self,
        judged: &mut Judgement,
        len: usize,
    ) -> Result<(), Option<EndpointId>> {
        let Some(lease) = &mut self.lease else { return Ok(()) };
        let client = self.client.outbox.space();
        if errand::run(lease, &Errand::Apply(&[]), client).await.is_err() {
            return Err(self.lose_lease());
        }
        if !self.may_be_misread() {
            return Ok(());
        }
        judged.distrust(self.client.inbox.get(..len).unwrap_or_default());
        self.remember(judged);
        if self.on_primary {
            return Ok(());
        }
        // Known to the session from now on: the next backend finds the text judged strictly.
        self.heed();
        self.give_back();
        Err(None)
    }
}
