//! A timer for bounds that nearly always come to nothing.
//!
//! It is made when the first bound is, and moved only when it fires too early or is set for too late. So a bound
//! costs a comparison, not a place in the runtime's wheel: each is later than the one before it, as a rule.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;
use tokio::time::Sleep;

/// See the file's head. Its task may be woken for a bound that is not in force any more.
#[derive(Debug, Default)]
pub struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    /// Ready at `due` or later. Must be called within a tokio runtime.
    pub fn poll(&mut self, cx: &mut Context<'_>, due: Instant) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due.into())));
        if sleep.deadline() > due.into() {
            sleep.as_mut().reset(due.into());
        }
        while sleep.as_mut().poll(cx).is_ready() {
            if sleep.deadline() >= due.into() {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(due.into());
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn each_bound_is_kept_whatever_came_before_it() {
        let begun = tokio::time::Instant::now();
        let mut timer = Timer::default();
        let second = Duration::from_secs(1);
        // A later one that nobody waits for to its end, an earlier one, and one that is over already.
        let glance = poll_fn(|cx| Poll::Ready(timer.poll(cx, (begun + 60 * second).into_std()))).await;
        assert!(glance.is_pending());
        for (due, at) in [(5, 5), (7, 7), (3, 7), (100, 100)] {
            poll_fn(|cx| timer.poll(cx, (begun + due * second).into_std())).await;
            let passed = begun.elapsed();
            assert!(passed >= at * second && passed < at * second + second / 10, "{due}: {passed:?}");
        }
    }
}
