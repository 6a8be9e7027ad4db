//! Who may hold a backend: as many as the pool is large, first come first served.
//!
//! Invariant: those inside never exceed the size, except that a size that shrinks waits for
//! those already inside. Whoever leaves lets in whoever has waited longest.
//!
//! Going in and out where nobody waits is one atomic step each, in `free`. Whoever comes to wait looks at `free`
//! after it is counted, and whoever leaves looks for who waits after its place is free, so that one of both sees
//! the other. Who is let in finds itself no longer in line.

use crate::timer::Timer;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

#[derive(Debug)]
pub(crate) struct Gate {
    /// Places that are free.
    free: AtomicU32,
    size: AtomicU32,
    /// Places to be taken away as their holders leave.
    debt: AtomicU32,
    /// As many as stand in line.
    waiting: AtomicU32,
    line: Mutex<Line>,
}

/// Those who wait, by ascending numbers.
#[derive(Debug, Default)]
struct Line {
    last: u64,
    waiting: VecDeque<(u64, Waker)>,
}

/// One who comes to wait. Leaves the line when dropped, and passes on a place that it was given and did not take.
struct Guest<'a> {
    gate: &'a Gate,
    number: Option<u64>,
}

/// How waiting ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    /// With a place.
    In,
    /// It was time.
    Late,
    /// It was called off.
    Off,
}

/// A place inside, given back when dropped.
pub(crate) struct Place<'a>(&'a Gate);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

impl Drop for Guest<'_> {
    fn drop(&mut self) {
        let Some(number) = self.number else { return };
        let mut line = self.gate.line.lock();
        if let Ok(at) = line.place_of(number) {
            line.waiting.remove(at);
            self.gate.waiting.fetch_sub(1, SeqCst);
        } else {
            drop(line);
            self.gate.leave();
        }
    }
}

impl Guest<'_> {
    /// Ready when it is in.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut line = self.gate.line.lock();
        let Some(number) = self.number else {
            if line.waiting.is_empty() && self.gate.take() {
                return Poll::Ready(());
            }
            line.last += 1;
            let number = line.last;
            line.waiting.push_back((number, cx.waker().clone()));
            self.number = Some(number);
            self.gate.waiting.fetch_add(1, SeqCst);
            drop(line);
            if self.gate.free.load(SeqCst) > 0 {
                self.gate.hand_over();
            }
            return Poll::Pending;
        };
        let Ok(at) = line.place_of(number) else {
            self.number = None;
            return Poll::Ready(());
        };
        if let Some((_, waker)) = line.waiting.get_mut(at) {
            waker.clone_from(cx.waker());
        }
        Poll::Pending
    }
}

impl Line {
    fn place_of(&self, number: u64) -> Result<usize, usize> {
        self.waiting.binary_search_by_key(&number, |(number, _)| *number)
    }
}

impl Gate {
    /// A gate for `size` places, at least one.
    pub fn new(size: u32) -> Self {
        let size = size.max(1);
        Self {
            free: AtomicU32::new(size),
            size: AtomicU32::new(size),
            debt: AtomicU32::new(0),
            waiting: AtomicU32::new(0),
            line: Mutex::default(),
        }
    }

    /// Goes in if there is room and nobody waits. Whoever is in must `leave`.
    pub fn try_enter(&self) -> bool {
        self.waiting.load(SeqCst) == 0 && self.take()
    }

    fn take(&self) -> bool {
        self.free.fetch_update(SeqCst, Relaxed, |free| free.checked_sub(1)).is_ok()
    }

    /// Waits in line, until `deadline` or until `is_off` says so; that is asked anew when the line is stirred.
    /// Whoever is in must `leave`.
    pub async fn enter(&self, deadline: Instant, timer: &mut Timer, is_off: impl Fn() -> bool) -> Entry {
        let mut guest = Guest { gate: self, number: None };
        let entry = |cx: &mut Context<'_>| {
            if guest.poll(cx).is_ready() {
                return Poll::Ready(Entry::In);
            }
            if is_off() {
                return Poll::Ready(Entry::Off);
            }
            timer.poll(cx, deadline).map(|()| Entry::Late)
        };
        poll_fn(entry).await
    }

    /// Waits in line until `deadline` for a place that gives itself back.
    pub async fn place(&self, deadline: Instant) -> Option<Place<'_>> {
        let entry = self.enter(deadline, &mut Timer::default(), || false).await;
        (entry == Entry::In).then_some(Place(self))
    }

    /// Whoever stands in line asks whether that is called off.
    pub fn stir(&self) {
        self.line.lock().waiting.iter().for_each(|(_, waker)| waker.wake_by_ref());
    }

    /// Gives a place back.
    pub fn leave(&self) {
        let owed = self.debt.load(Relaxed) > 0
            && self.debt.fetch_update(Relaxed, Relaxed, |debt| debt.checked_sub(1)).is_ok();
        if !owed {
            self.give(1);
        }
    }

    /// So many places are free.
    fn give(&self, places: u32) {
        self.free.fetch_add(places, SeqCst);
        if self.waiting.load(SeqCst) > 0 {
            self.hand_over();
        }
    }

    /// What is free goes to those who wait.
    fn hand_over(&self) {
        while let Some(waker) = self.call_next() {
            waker.wake();
        }
    }

    fn call_next(&self) -> Option<Waker> {
        let mut line = self.line.lock();
        if line.waiting.is_empty() || !self.take() {
            return None;
        }
        self.waiting.fetch_sub(1, SeqCst);
        line.waiting.pop_front().map(|(_, waker)| waker)
    }

    /// Changes the number of places. Called by one task at a time.
    pub fn resize(&self, size: u32) {
        let size = size.max(1);
        let old = self.size.swap(size, Relaxed);
        if size > old {
            // What is still owed is forgiven first.
            let grown = size - old;
            let mut forgiven = 0;
            let _ = self.debt.fetch_update(Relaxed, Relaxed, |debt| {
                forgiven = debt.min(grown);
                Some(debt - forgiven)
            });
            self.give(grown - forgiven);
        } else {
            let excess = old - size;
            let mut taken = 0;
            let _ = self.free.fetch_update(SeqCst, Relaxed, |free| {
                taken = free.min(excess);
                Some(free - taken)
            });
            self.debt.fetch_add(excess - taken, Relaxed);
        }
    }

    pub fn size(&self) -> u32 {
        self.size.load(Relaxed)
    }

    /// How many wait in line.
    pub fn waiting(&self) -> u32 {
        self.waiting.load(Relaxed)
    }

    /// How many are inside.
    pub fn inside(&self) -> u32 {
        (self.size() + self.debt.load(Relaxed)).saturating_sub(self.free.load(Relaxed))
    }
}

#[cfg(test)]
mod tests;
