//! The sessions of a process, by the keys their clients may cancel with.
//!
//! A slot knows the backend that works for its session now. A cancel holds on to it: the
//! backend is not given back before every cancel on its way to it has arrived, so none can
//! hit the statement of the next session.

use parking_lot::Mutex;
use pool::CancelTarget;
use protocol::Protocol;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// How long the database may take to acknowledge a cancel.
const CANCEL_MAX: Duration = Duration::from_secs(5);

/// One session, as others see it.
pub struct Slot<P: Protocol> {
    key: P::CancelKey,
    user: Box<str>,
    entered: Instant,
    state: Mutex<State<P>>,
    stopping: AtomicBool,
    killed: AtomicBool,
    canceled: AtomicBool,
    arrived: Notify,
}

struct State<P: Protocol> {
    target: Option<Arc<CancelTarget<P>>>,
    /// Cancels on their way to the backend.
    under_way: u32,
    waker: Option<Waker>,
}

impl<P: Protocol> Slot<P> {
    /// The key that the session's client was given.
    pub fn key(&self) -> &P::CancelKey {
        &self.key
    }

    /// Remembers how to wake the session's task.
    pub fn set_waker(&self, waker: Waker) {
        self.state.lock().waker = Some(waker);
    }

    /// The session is to end as soon as it may.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.wake();
    }

    /// Whether somebody has ended the session as such.
    pub(super) fn is_killed(&self) -> bool {
        self.killed.load(Ordering::Acquire)
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Whether the client cancelled while no backend worked for it. Asking clears it.
    pub(super) fn is_canceled(&self) -> bool {
        self.canceled.swap(false, Ordering::AcqRel)
    }

    fn wake(&self) {
        let waker = self.state.lock().waker.clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(super) fn lend(&self, target: Arc<CancelTarget<P>>) {
        self.canceled.store(false, Ordering::Release);
        self.state.lock().target = Some(target);
    }

    /// The backend is no longer this session's. Returns false if a cancel is still on its way.
    pub(super) fn take_back_now(&self) -> bool {
        let mut state = self.state.lock();
        state.target = None;
        state.under_way == 0
    }

    /// The backend is no longer this session's, and no cancel is on its way to it any more.
    /// Returns false if one may still be: the backend must be closed.
    pub(super) async fn take_back(&self) -> bool {
        if self.take_back_now() {
            return true;
        }
        let arrived = async {
            loop {
                let notified = self.arrived.notified();
                if self.state.lock().under_way == 0 {
                    return;
                }
                notified.await;
            }
        };
        tokio::time::timeout(CANCEL_MAX, arrived).await.is_ok()
    }

    /// Cancels what runs for this session, if anything does.
    pub(super) async fn cancel(&self) {
        let target = {
            let mut state = self.state.lock();
            if state.target.is_some() {
                state.under_way += 1;
            }
            state.target.clone()
        };
        let Some(target) = target else {
            self.canceled.store(true, Ordering::Release);
            self.wake();
            return;
        };
        if let Err(error) = pool::cancel::<P>(&target, CANCEL_MAX).await {
            tracing::debug!(%error, "a cancel did not reach the database");
        }
        self.state.lock().under_way -= 1;
        self.arrived.notify_waiters();
    }
}

/// A session younger than this is not told to end: its client has only just been let in, and
/// what it came for would fail.
const YOUNG: Duration = Duration::from_secs(1);

/// What became of a wish to end another's work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Killed {
    Yes,
    /// There is no such session.
    Nobody,
    /// It is another user's.
    NotTheirs,
}

/// All sessions of a process.
pub struct Registry<P: Protocol> {
    slots: Mutex<HashMap<P::CancelKey, Arc<Slot<P>>>>,
    /// What keys call this process.
    owner: u16,
}

impl<P: Protocol> Registry<P> {
    /// No sessions yet. Keys will name the process `owner`, or none if that is 0.
    pub fn new(owner: u16) -> Self {
        Self { slots: Mutex::new(HashMap::new()), owner }
    }

    /// A slot under a key that no other session has: the one that the client was `told` already,
    /// or a new one. `None` if that key is taken, or there is no randomness to be had.
    pub fn enter(&self, told: Option<P::CancelKey>, long_keys: bool, user: &str) -> Option<Arc<Slot<P>>> {
        let mut slots = self.slots.lock();
        for _ in 0..16 {
            let key = match &told {
                Some(key) => key.clone(),
                None => P::new_cancel_key(crate::random::bytes()?, long_keys, self.owner),
            };
            if slots.contains_key(&key) {
                continue;
            }
            let state = State { target: None, under_way: 0, waker: None };
            let slot = Arc::new(Slot {
                key: key.clone(),
                user: user.into(),
                entered: Instant::now(),
                state: Mutex::new(state),
                stopping: AtomicBool::new(false),
                killed: AtomicBool::new(false),
                canceled: AtomicBool::new(false),
                arrived: Notify::new(),
            });
            slots.insert(key, Arc::clone(&slot));
            return Some(slot);
        }
        None
    }

    /// The session is over.
    pub fn leave(&self, slot: &Slot<P>) {
        self.slots.lock().remove(&slot.key);
    }

    /// Sessions now.
    pub fn len(&self) -> usize {
        self.slots.lock().len()
    }

    /// Whether there is no session.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Cancels what runs under `key`. False if that is no session of ours; the client is told nothing either way.
    pub async fn cancel(&self, key: &P::CancelKey) -> bool {
        let slot = self.slots.lock().get(key).cloned();
        let Some(slot) = slot else { return false };
        slot.cancel().await;
        true
    }

    /// Cancels what runs under `key`, and ends that session as well if all of it is meant. A
    /// user's sessions are that user's alone to end.
    pub(super) async fn kill(&self, key: &P::CancelKey, all: bool, user: &str) -> Killed {
        let slot = self.slots.lock().get(key).cloned();
        match slot {
            None => Killed::Nobody,
            Some(slot) if *slot.user != *user => Killed::NotTheirs,
            Some(slot) => {
                if all {
                    slot.killed.store(true, Ordering::Release);
                    slot.wake();
                }
                slot.cancel().await;
                Killed::Yes
            }
        }
    }

    /// Tells every session that is older than `YOUNG` to end as soon as it may.
    pub fn stop_all(&self) {
        let now = Instant::now();
        let is_old = |slot: &&Arc<Slot<P>>| now.saturating_duration_since(slot.entered) > YOUNG;
        let slots: Vec<_> = self.slots.lock().values().filter(is_old).cloned().collect();
        for slot in slots {
            slot.stop();
        }
    }
}
