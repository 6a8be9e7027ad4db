//! Gets a backend for what was judged: at once where one is warm, else in line, hearing the client meanwhile.

use super::Session;
use super::judge::Judgement;
use pool::{Consistency, Declined, EndpointId, Freshness, Landed, LeaseError, Leased, Need, Want};
use protocol::Protocol;
use router::{Reason, Target};
use std::future::poll_fn;
use std::task::Poll;
use std::time::Instant;

/// Why there is no lease.
pub(super) enum LeaseFailed {
    Canceled,
    ClientGone,
    /// Its database was paused meanwhile.
    Paused,
    Pool(LeaseError),
}

impl<P: Protocol> Session<P> {
    /// Gets a backend if nothing must be waited for.
    pub(super) fn take_lease_now(
        &mut self,
        judged: &Judgement,
        exclude: Option<EndpointId>,
        now: Instant,
        deadline: Instant,
    ) -> Result<Landed, Declined<P>> {
        let consistency = judged.consistency.unwrap_or(self.consistency());
        let mut need = need(judged, consistency, &mut self.freshness, exclude, (now, deadline));
        self.service.access.lease_now(&mut need).map(|leased| self.hold_lease(leased))
    }

    /// Gets a backend, waiting where it was `declined` if that was just now. The client, whose request is the first
    /// `len` bytes of its inbox, may cancel or go while it waits.
    pub(super) async fn take_lease(
        &mut self,
        judged: &Judgement,
        exclude: Option<EndpointId>,
        declined: Option<Declined<P>>,
        len: usize,
        (now, deadline): (Instant, Instant),
    ) -> Result<Landed, LeaseFailed> {
        let consistency = judged.consistency.unwrap_or(self.consistency());
        let (slot, client) = (&self.slot, &mut self.client);
        // A cancel that came while nothing ran means nothing.
        slot.is_canceled();
        let need = need(judged, consistency, &mut self.freshness, exclude, (now, deadline));
        let (access, timer) = (&self.service.access, self.alarm.timer());
        // What belongs to a transaction that is open does not heed a pause.
        let heeds = judged.reason != Reason::Transaction;
        let mut waits = false;
        let leased = {
            let mut lease = std::pin::pin!(async {
                match declined {
                    Some(declined) => access.lease_after(declined, need, timer).await,
                    None => access.lease(need).await,
                }
            });
            let leased = poll_fn(|cx| match lease.as_mut().poll(cx) {
                Poll::Ready(leased) => Poll::Ready(leased.map_err(LeaseFailed::Pool)),
                Poll::Pending if slot.is_canceled() => Poll::Ready(Err(LeaseFailed::Canceled)),
                Poll::Pending if heeds && self.directory.latches.is_paused(&self.service.domain) => {
                    Poll::Ready(Err(LeaseFailed::Paused))
                }
                Poll::Pending => {
                    if !std::mem::replace(&mut waits, true) {
                        slot.wait(true, now);
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
    Need { want, consistency, max_lag: judged.max_lag, freshness, exclude, now, deadline }
}
