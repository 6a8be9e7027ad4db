//! What Splitpool asks a backend on a session's behalf, between two requests.
//!
//! The backend is idle and leased, so the reply cannot be mixed up with a client's. Each
//! errand has a deadline; a backend that fails one is not used again.

use super::Session;
use super::request::ERRAND_MAX;
use pool::Backend;
use protocol::fault::Cause;
use protocol::own::{Errand, Outcome, OwnReply, OwnStep};
use protocol::tracker::Memory;
use protocol::{Fault, Protocol, Severity};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A reply to an errand longer than this is nonsense, and so is a frame of it.
const REPLY_MAX: usize = 4 << 20;
const FRAME_MAX: usize = 1 << 20;

/// Why an errand did not succeed.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The database said no.
    Refused(Fault),
    /// The backend is gone, slow, or talks nonsense.
    Lost,
}

/// Runs one errand. What is not part of its reply is appended to `client`.
pub(super) async fn run<P: Protocol>(
    backend: &mut Backend<P>,
    errand: &Errand<'_>,
    client: &mut Vec<u8>,
) -> Result<Outcome, Trouble> {
    let work = exchange(backend, errand, client);
    match tokio::time::timeout(ERRAND_MAX, Box::pin(work)).await {
        Ok(outcome) => outcome.ok_or(Trouble::Lost),
        Err(_) => Err(Trouble::Lost),
    }
}

async fn exchange<P: Protocol>(
    backend: &mut Backend<P>,
    errand: &Errand<'_>,
    client: &mut Vec<u8>,
) -> Option<Outcome> {
    let mut request = Vec::new();
    let mut reply = P::encode_errand(errand, &backend.memory, &mut request);
    backend.stream.write_all(&request).await.ok()?;
    backend.stream.flush().await.ok()?;
    backend.memory.ran_errand();
    let mut bytes = std::mem::take(&mut backend.carry);
    let mut seen = 0;
    loop {
        let mut at = 0;
        while let Some(head) = P::head(bytes.get(at..)?).ok()? {
            if head.len() > FRAME_MAX {
                return None;
            }
            let Some(frame) = bytes.get(at..at + head.len()) else { break };
            match reply.frame(head, frame.get(head.header..)?).ok()? {
                OwnStep::More => {}
                OwnStep::Note if backend.memory.is_deaf() => {}
                OwnStep::Pass | OwnStep::Note => client.extend_from_slice(frame),
                OwnStep::Over(outcome) => {
                    backend.carry = bytes.split_off(at + head.len());
                    backend.memory.note_reported(&outcome.reported);
                    return Some(*outcome);
                }
            }
            at += head.len();
        }
        bytes.drain(..at);
        seen += at;
        if seen > REPLY_MAX {
            return None;
        }
        if backend.stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

/// A session's settings cannot be set, for this reason of the database's. A value that it does not take (a role that was
/// dropped, or is not to be taken any more) it will not take next time: such a session is of no use to its client, whose
/// pool makes another when it hears that it has ended. What may pass (a cancel, memory, locks) fails the request alone.
fn refused(code: String, message: String) -> Fault {
    let fault = Fault::error(Cause::InvalidParameter, message).code(code);
    let state = fault.sqlstate().rsplit('/').next().unwrap_or_default();
    let lasts = state.starts_with("22") || state.starts_with("42");
    if lasts { Fault { severity: Severity::Fatal, ..fault } } else { fault }
}

impl<P: Protocol> Session<P> {
    /// Whether the leased backend has this session's settings.
    pub(super) fn is_restored(&self) -> bool {
        self.lease.as_ref().is_some_and(|lease| *lease.memory.settings() == self.settings)
    }

    /// Brings the leased backend to this session's settings.
    pub(super) async fn restore(&mut self) -> Result<(), Trouble> {
        if self.is_restored() {
            return Ok(());
        }
        let Some(lease) = &mut self.lease else { return Err(Trouble::Lost) };
        let have = lease.memory.settings().clone();
        let changes = have.changes(&self.settings);
        let outcome = run(lease, &Errand::Apply(&changes), self.client.outbox.space()).await?;
        if let Some((code, message)) = outcome.error {
            return Err(Trouble::Refused(refused(code, message)));
        }
        lease.memory.set_settings(self.settings.clone());
        Ok(())
    }
}
