//! What takes too long: statements, transactions, clients that say nothing.
//!
//! One timer a session; a request costs a comparison, and nothing where no bound is configured.

use pool::Timer;
use protocol::Fault;
use protocol::fault::Cause;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// The bounds in force; `None` is no bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// From a request to the end of its reply.
    pub(crate) query: Option<Duration>,
    /// From a transaction's first request to its end.
    pub(crate) transaction: Option<Duration>,
    /// Between two requests of a transaction.
    pub(crate) idle_transaction: Option<Duration>,
    /// Between two requests outside of one.
    pub(crate) idle_client: Option<Duration>,
}

/// What took too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Late {
    Query,
    /// A statement was cancelled and does not end.
    Cancel,
    Transaction,
    IdleTransaction,
    IdleClient,
}

/// How long a cancelled statement may take to end.
const CANCEL_MAX: Duration = Duration::from_secs(5);

/// See the file's head.
#[derive(Debug, Default)]
pub(super) struct Alarm {
    due: Option<(Instant, Late)>,
    /// When the transaction that is open began.
    began: Option<Instant>,
    timer: Timer,
}

impl Late {
    /// What the client is told.
    pub(super) fn fault(self) -> Fault {
        let (code, message) = match self {
            Self::Query | Self::Cancel => ("57014", "canceling statement due to the proxy's query_timeout"),
            Self::Transaction => ("25P04", "terminating connection due to the proxy's transaction_timeout"),
            Self::IdleTransaction => {
                ("25P03", "terminating connection due to the proxy's idle_transaction_timeout")
            }
            Self::IdleClient => ("57P05", "terminating connection due to the proxy's client_idle_timeout"),
        };
        Fault::fatal(Cause::Timeout, message).code(code)
    }
}

impl Alarm {
    /// A request begins.
    pub(super) fn busy(&mut self, bounds: &Bounds, now: Instant) {
        let query = bounds.query.map(|most| (now + most, Late::Query));
        if bounds.transaction.is_some() && self.began.is_none() {
            self.began = Some(now);
        }
        self.due = earlier(query, self.transaction_end(bounds));
    }

    /// A request was answered; `open` says whether a transaction is.
    pub(super) fn idle(&mut self, bounds: &Bounds, now: Instant, open: bool) {
        if !open {
            self.began = None;
            self.due = bounds.idle_client.map(|most| (now + most, Late::IdleClient));
            return;
        }
        let idle = bounds.idle_transaction.map(|most| (now + most, Late::IdleTransaction));
        self.due = earlier(idle, self.transaction_end(bounds));
    }

    /// The statement under way was cancelled: it has a moment to end.
    pub(super) fn canceled(&mut self, now: Instant) {
        self.due = Some((now + CANCEL_MAX, Late::Cancel));
    }

    fn transaction_end(&self, bounds: &Bounds) -> Option<(Instant, Late)> {
        Some((self.began? + bounds.transaction?, Late::Transaction))
    }

    /// Ready when something took too long.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Late> {
        let Some((due, late)) = self.due else { return Poll::Pending };
        let rung = self.timer.poll(cx, due);
        if rung.is_ready() {
            self.due = None;
        }
        rung.map(|()| late)
    }

    /// The session's timer, for whatever else it waits for meanwhile.
    pub(super) fn timer(&mut self) -> &mut Timer {
        &mut self.timer
    }
}

fn earlier(one: Option<(Instant, Late)>, two: Option<(Instant, Late)>) -> Option<(Instant, Late)> {
    one.into_iter().chain(two).min_by_key(|(at, _)| *at)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    async fn next(alarm: &mut Alarm) -> Late {
        std::future::poll_fn(|cx| alarm.poll(cx)).await
    }

    #[tokio::test(start_paused = true)]
    async fn the_earliest_bound_counts() {
        let bounds = Bounds {
            query: Some(5 * SECOND),
            transaction: Some(12 * SECOND),
            idle_transaction: Some(4 * SECOND),
            idle_client: Some(60 * SECOND),
        };
        let mut alarm = Alarm::default();
        let begun = tokio::time::Instant::now().into_std();
        let passed = |alarm: &Alarm, wanted: Duration| {
            assert!(alarm.due.is_none());
            let passed = tokio::time::Instant::now().into_std() - begun;
            assert!(passed >= wanted && passed < wanted + SECOND / 10, "{passed:?}, not {wanted:?}");
        };
        alarm.busy(&bounds, begun);
        assert_eq!(next(&mut alarm).await, Late::Query);
        passed(&alarm, 5 * SECOND);
        alarm.idle(&bounds, begun + 5 * SECOND, true);
        assert_eq!(next(&mut alarm).await, Late::IdleTransaction);
        passed(&alarm, 9 * SECOND);
        alarm.busy(&bounds, begun + 9 * SECOND);
        assert_eq!(next(&mut alarm).await, Late::Transaction);
        passed(&alarm, 12 * SECOND);
        alarm.idle(&bounds, begun + 12 * SECOND, false);
        assert_eq!(next(&mut alarm).await, Late::IdleClient);
        passed(&alarm, 72 * SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn without_bounds_there_is_no_timer() {
        let mut alarm = Alarm::default();
        alarm.busy(&Bounds::default(), Instant::now());
        let polled = std::future::poll_fn(|cx| Poll::Ready(alarm.poll(cx).is_pending())).await;
        assert!(polled && format!("{:?}", alarm.timer) == "Timer(None)");
    }
}
