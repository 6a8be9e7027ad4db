//! One request on the backend that works for it, from its first byte to the end of its reply.
//!
//! Decides what a stop of the relay means; whoever runs it awaits. What the client goes on to send belongs to it
//! while a batch or COPY data is open.

use super::alarm::Late;
use super::judge::{Seen, judge};
use super::relay::{Relay, Stop};
use super::request::Request;
use super::{End, Session};
use crate::violations::Side;
use protocol::fault::Cause;
use protocol::tracker::{Intake, Tracker};
use protocol::{Fault, Protocol};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

/// How one attempt went.
pub(super) enum Attempt {
    Done,
    /// The backend refused it, and the client has seen nothing.
    Refused([u8; 5]),
    /// The backend was lost, the client has seen nothing, and it may be sent again.
    LostUnseen,
    /// The backend was lost. `torn`: in the middle of a message.
    Lost {
        torn: bool,
    },
}

/// What may be done with a request that fails before the client has seen anything of it.
#[derive(Clone, Copy, Default)]
pub(super) struct Chances {
    /// Errors with these codes are not shown.
    pub(super) retry: Option<fn(&[u8; 5]) -> bool>,
    /// It may be sent again where its backend is lost.
    pub(super) repeats: bool,
}

/// See the file's head.
pub(super) struct Exchange {
    request: Request,
    chances: Chances,
    relay: Relay,
}

impl<P: Protocol> Session<P> {
    /// Whether the endpoint of the leased backend has changed its role or left, so that the next request is not for it.
    pub(super) fn is_overtaken(&self) -> bool {
        self.lease.as_ref().is_some_and(|lease| {
            lease.is_outdated()
                && (self.txn_idle() || (self.on_primary && lease.endpoint().role() != pool::Role::Primary))
        })
    }

    /// Sends a request, which is at the front of the inbox, to the leased backend.
    pub(super) fn open_exchange(
        &mut self,
        request: Request,
        chances: Chances,
        started: Instant,
    ) -> Result<Exchange, End> {
        self.alarm.busy(&self.service.bounds, started);
        // Outside a transaction, all that a failed batch did is undone: it may be sent again.
        let bytes = self.client.inbox.get(..request.len).unwrap_or_default();
        let heals = request.whole && self.txn_idle() && self.tracker.may_be_stale(bytes);
        let keeps = heals || chances.repeats || chances.retry.is_some();
        let mut relay = Relay::new(request.rest, chances.retry, heals);
        relay.kept = if keeps { request.len } else { 0 };
        relay.said = self.client.outbox.mark();
        self.tell_news();
        self.send(request.len, request.rest)?;
        if !keeps {
            self.client.consume(request.len);
        }
        Ok(Exchange { request, chances, relay })
    }

    /// The first `len` bytes of the inbox go to the backend; `rest` more of their last frame will come.
    fn send(&mut self, len: usize, rest: usize) -> Result<(), End> {
        if let Some(lease) = &mut self.lease {
            let bytes = self.client.inbox.get(..len).unwrap_or_default();
            let (backend, client) = (&mut **lease, self.client.outbox.space());
            self.tracker.forward(bytes, rest, &mut backend.memory, &mut backend.outbox, client)?;
        }
        Ok(())
    }

    /// Relays until the reply is over.
    pub(super) fn poll_exchange(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &mut Exchange,
    ) -> Poll<Result<Attempt, End>> {
        loop {
            let Some(lease) = &mut self.lease else { return Poll::Ready(Ok(Attempt::LostUnseen)) };
            let relay = &mut exchange.relay;
            let stop = match self.alarm.poll(cx) {
                Poll::Ready(late) => Stop::Late(late),
                Poll::Pending => match relay.poll::<P>(cx, &mut self.client, lease, &mut self.tracker) {
                    Poll::Ready(Ok(())) => {
                        self.hold.failed = relay.failed;
                        self.client.consume(relay.kept);
                        return Poll::Ready(Ok(Attempt::Done));
                    }
                    Poll::Ready(Err(stop)) => stop,
                    Poll::Pending => return Poll::Pending,
                },
            };
            if let Some(attempt) = self.stopped(stop, exchange).transpose() {
                return Poll::Ready(attempt);
            }
        }
    }

    /// The relay stopped short of the reply's end. Says what came of the attempt, if it does not go on.
    #[cold]
    fn stopped(&mut self, stop: Stop, exchange: &mut Exchange) -> Result<Option<Attempt>, End> {
        let relay = &mut exchange.relay;
        match stop {
            Stop::Heard => {
                self.client.consume(std::mem::take(&mut relay.kept));
                let heard = self.hear(relay);
                // What is said in the middle of a message would be taken for its rest.
                heard.map_err(|end| if relay.is_torn() { End::ClientGone } else { end })?;
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
                let (kept, said) = (relay.kept, relay.said);
                *relay = Relay::new(exchange.request.rest, exchange.chances.retry, false);
                (relay.kept, relay.said) = (kept, said);
                self.tell_news();
                self.send(exchange.request.len, exchange.request.rest)?;
            }
            Stop::Refused(code) => {
                self.tracker.rewind();
                return Ok(Some(Attempt::Refused(code)));
            }
            Stop::BackendLost { relayed: false, .. } if exchange.chances.repeats && self.txn_idle() => {
                self.client.outbox.unsay(relay.said);
                self.tracker.rewind();
                return Ok(Some(Attempt::LostUnseen));
            }
            Stop::BackendLost { torn, .. } => return Ok(Some(Attempt::Lost { torn })),
            Stop::Nonsense(error) => {
                tracing::error!(%error, "a backend broke the protocol");
                self.note_violation(Side::Backend, error.0);
                self.lose_lease();
                let fault = Fault::fatal(Cause::BackendNonsense, "the database broke its protocol");
                return Err(End::Fault(fault));
            }
            Stop::ClientGone => return Err(End::ClientGone),
        }
        Ok(None)
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
                    self.send(len, rest)?;
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
    pub(super) async fn report_loss(&mut self, torn: bool, exchange: &Exchange) -> Result<(), End> {
        let in_transaction = !self.txn_idle() || !self.held.is_empty();
        let open = self.tracker.is_open();
        // It may have taken effect, and part of the reply may have been seen.
        self.mark_freshness(false, Instant::now());
        self.lose_lease();
        let waits = self.tracker.rewind();
        self.client.consume(exchange.relay.kept);
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
        if in_transaction || open || !waits || !exchange.request.whole {
            return Err(End::Fault(fault));
        }
        self.tracker.fault(&fault, true, self.client.outbox.space());
        self.client.flush().await.map_err(|_| End::ClientGone)
    }
}
