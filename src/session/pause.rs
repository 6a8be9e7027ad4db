//! Waits at the edge of a transaction for a database that an operator has paused.
//!
//! Comes into play only when the number of the configuration is not the one that the session
//! knows, or when it stands in line: nothing is asked per request.

use super::acquire::LeaseFailed;
use super::judge::Judgement;
use super::request::canceled;
use super::{End, Session};
use pool::{Declined, EndpointId, Landed};
use protocol::{Fault, Protocol};
use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

impl<P: Protocol> Session<P> {
    /// Gets a backend for the request in the first `len` bytes of the inbox by `deadline`, which moves by as long as the database is paused. Returns why the request
    /// is not served, if it is not.
    pub(super) async fn take_lease_in_time(
        &mut self,
        judged: &Judgement,
        exclude: Option<EndpointId>,
        declined: Declined<P>,
        len: usize,
        mut now: Instant,
        deadline: &mut Instant,
    ) -> Result<Result<Landed, Fault>, End> {
        let mut declined = Some(declined);
        loop {
            match self.take_lease(judged, exclude, declined.take(), len, (now, *deadline)).await {
                Ok(landed) => return Ok(Ok(landed)),
                Err(LeaseFailed::Canceled) => return Ok(Err(canceled())),
                Err(LeaseFailed::ClientGone) => return Err(End::ClientGone),
                Err(LeaseFailed::Pool(error)) => return Ok(Err(error.fault())),
                Err(LeaseFailed::Paused) => {
                    if let Some(fault) = Box::pin(self.await_resume(len)).await? {
                        return Ok(Err(fault));
                    }
                    now = Instant::now();
                    *deadline = now + self.service.query_wait_timeout;
                }
            }
        }
    }

    /// Something has changed: waits while the database is paused, then takes up the configuration
    /// in force. Returns why the request is not served, if it is not.
    pub(super) async fn look_closer(&mut self, len: usize) -> Result<Option<Fault>, End> {
        if self.directory.latches.is_paused(&self.service.domain)
            && let Some(fault) = self.await_resume(len).await?
        {
            return Ok(Some(fault));
        }
        if self.service.generation != self.directory.generation() {
            self.renew_service()?;
        }
        Ok(None)
    }

    /// Waits until the database is resumed, or the client, of whose inbox the first `len` bytes are its
    /// request, is gone. Returns why the request is not served, if it is not.
    pub(super) async fn await_resume(&mut self, len: usize) -> Result<Option<Fault>, End> {
        let (latches, slot) = (Arc::clone(&self.directory.latches), Arc::clone(&self.slot));
        let (domain, client) = (self.service.domain.clone(), &mut self.client);
        let mut resumed = std::pin::pin!(latches.resumed(&domain));
        // A cancel that came before means nothing.
        slot.is_canceled();
        slot.wait(false, Instant::now());
        let outcome = poll_fn(|cx| {
            if resumed.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Ok(None));
            }
            if let Some(fault) = slot.last_word(|| true) {
                return Poll::Ready(Err(End::Fault(fault)));
            }
            if slot.is_canceled() {
                return Poll::Ready(Ok(Some(canceled())));
            }
            client.poll_gone(cx, len).map(|()| Err(End::ClientGone))
        })
        .await;
        slot.end_wait();
        outcome
    }
}
