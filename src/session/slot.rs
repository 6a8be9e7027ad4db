//! The sessions of a process, by the keys their clients may cancel with.
//!
//! A slot knows the backend that works for its session now. A cancel holds on to it: the
//! backend is not given back before every cancel on its way to it has arrived, so none can
//! hit the statement of the next session.

use parking_lot::Mutex;
use pool::CancelTarget;
use protocol::fault::Cause;
use protocol::{Fault, Held, Protocol};
use std::collections::HashMap;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, AtomicU64, Ordering};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::Notify;

/// How long the database may take to acknowledge a cancel.
const CANCEL_MAX: Duration = Duration::from_secs(5);

/// Whose session it is, for operators. Written once, when the client has signed in.
#[derive(Debug)]
pub struct About {
    /// Its number; no other session of the process has it.
    pub id: u32,
    /// The user, as the client gave it.
    pub user: Box<str>,
    /// The database, likewise.
    pub database: Box<str>,
    /// What operators call the database that it is served by.
    pub domain: Box<str>,
    /// What the client calls itself.
    pub application: Box<str>,
    /// The client's address; `None` on a Unix socket.
    pub peer: Option<SocketAddr>,
    /// This side's address, likewise.
    pub local: Option<SocketAddr>,
    /// Whether it is encrypted.
    pub tls: bool,
    /// When it signed in.
    pub since: SystemTime,
}

/// One session, as others see it.
pub struct Slot<P: Protocol> {
    key: P::CancelKey,
    /// Whose it is.
    pub about: About,
    born: Instant,
    /// Since when its request waits, in microseconds since it was born; 0 if none does.
    waiting: AtomicU64,
    /// Whether it waits in line for a backend, not for an operator.
    in_line: AtomicBool,
    /// What it is pinned for.
    pins: AtomicU16,
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

    /// From now on the calling task is the session's: it is woken when somebody wants something of the session.
    pub async fn adopt(&self) {
        let waker = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
        self.state.lock().waker = Some(waker);
    }

    /// Why the session is to end now, as its client is told. `may_stop` says whether it is at an edge where a
    /// shutdown may end it.
    pub(crate) fn last_word(&self, may_stop: impl FnOnce() -> bool) -> Option<Fault> {
        if self.is_killed() {
            return Some(Fault::fatal(Cause::Terminated, "Connection was killed"));
        }
        let message = "terminating connection: the proxy is shutting down";
        (self.is_stopping() && may_stop()).then(|| Fault::fatal(Cause::Shutdown, message))
    }

    /// A request waits for a backend since then, in line or for its database to be resumed.
    pub(super) fn wait(&self, in_line: bool, since: Instant) {
        let micros = since.saturating_duration_since(self.born).as_micros();
        let micros = u64::try_from(micros).unwrap_or(u64::MAX);
        self.in_line.store(in_line, Ordering::Relaxed);
        self.waiting.store(micros.max(1), Ordering::Release);
    }

    /// It waits no more.
    pub(super) fn end_wait(&self) {
        self.waiting.store(0, Ordering::Release);
        self.in_line.store(false, Ordering::Release);
    }

    /// How long its request has waited for a backend; `None` if none waits.
    pub fn waiting(&self) -> Option<Duration> {
        let since = self.waiting.load(Ordering::Acquire);
        let waited = || self.born.elapsed().saturating_sub(Duration::from_micros(since));
        (since > 0).then(waited)
    }

    /// The number of the backend that works for it.
    pub fn backend(&self) -> Option<u32> {
        self.state.lock().target.as_ref().map(|target| target.backend())
    }

    /// Whether it has a backend or stands in line for one.
    pub fn is_busy(&self) -> bool {
        self.in_line.load(Ordering::Acquire) || self.state.lock().target.is_some()
    }

    /// What it is pinned for.
    pub fn pins(&self) -> Held {
        Held::from_bits(self.pins.load(Ordering::Relaxed))
    }

    pub(super) fn show_pins(&self, held: Held) {
        self.pins.store(held.bits(), Ordering::Relaxed);
    }

    /// Ends the session, and what runs for it.
    pub async fn kill(&self) {
        self.killed.store(true, Ordering::Release);
        self.wake();
        self.cancel().await;
    }

    /// The session is to end as soon as it may.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.wake();
    }

    /// Whether somebody has ended the session as such.
    pub(crate) fn is_killed(&self) -> bool {
        self.killed.load(Ordering::Acquire)
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Whether the client cancelled while no backend worked for it. Asking clears it.
    pub(crate) fn is_canceled(&self) -> bool {
        self.canceled.swap(false, Ordering::AcqRel)
    }

    /// The session's task looks what has changed.
    pub fn wake(&self) {
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
    /// The number of the next session; shared by all registries of a process.
    next: Arc<AtomicU32>,
    /// What keys call this process.
    owner: u16,
}

impl<P: Protocol> Registry<P> {
    /// No sessions yet. Keys will name the process `owner`, or none if that is 0; `next` numbers
    /// the sessions.
    pub fn new(owner: u16, next: Arc<AtomicU32>) -> Self {
        Self { slots: Mutex::new(HashMap::new()), next, owner }
    }

    /// A slot under a key that no other session has: the one that the client was `told` already,
    /// or a new one. `None` if that key is taken, or there is no randomness to be had.
    pub fn enter(
        &self,
        told: Option<P::CancelKey>,
        long_keys: bool,
        mut about: About,
    ) -> Option<Arc<Slot<P>>> {
        about.id = self.next.fetch_add(1, Ordering::Relaxed);
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
                about,
                born: Instant::now(),
                waiting: AtomicU64::new(0),
                in_line: AtomicBool::new(false),
                pins: AtomicU16::new(0),
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
            Some(slot) if *slot.about.user != *user => Killed::NotTheirs,
            Some(slot) => {
                if all {
                    slot.kill().await;
                } else {
                    slot.cancel().await;
                }
                Killed::Yes
            }
        }
    }

    /// Every session, in the order of their numbers.
    pub fn all(&self) -> Vec<Arc<Slot<P>>> {
        let mut all: Vec<_> = self.slots.lock().values().cloned().collect();
        all.sort_by_key(|slot| slot.about.id);
        all
    }

    /// Tells every session that is older than `YOUNG` to end as soon as it may.
    pub fn stop_all(&self) {
        self.all().iter().filter(|slot| slot.born.elapsed() > YOUNG).for_each(|slot| slot.stop());
    }
}
