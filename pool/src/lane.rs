//! The backends of one identity on one endpoint: bb8 keeps and makes them, the gate bounds them.
//!
//! Invariant: whoever holds a backend, or waits for one to be made, holds a place at the gate;
//! so bb8 never has more than the gate has places, and nobody overtakes who waits at the gate.

use crate::connector::{Connector, Desk, Door, Sink};
use crate::dial::DialFailure;
use crate::error::LeaseError;
use crate::gate::{Entry, Gate};
use crate::lease::{Lease, Seat};
use crate::settings::{Identity, PoolSettings};
use crate::shelf::{Held, Shelf};
use crate::timer::Timer;
use protocol::Protocol;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// The gate bounds; bb8's own limits only must not be hit.
const NO_LIMIT: u32 = u32::MAX;
const NO_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

/// How often bb8 looks for idle backends to close, at most.
const REAP_MAX: Duration = Duration::from_secs(30);

pub(crate) struct Lane<P: Protocol> {
    pub door: Arc<Door>,
    pub identity: Arc<Identity>,
    pub gate: Arc<Gate>,
    pub settings: PoolSettings,
    desk: Arc<Desk>,
    closed: Arc<AtomicBool>,
    warming: AtomicBool,
    /// The endpoint's generation when outdated backends were last closed.
    swept: AtomicU32,
    shelf: Shelf<P>,
    store: bb8::Pool<Connector<P>>,
}

/// Whom the gate has let in.
pub(crate) enum Admitted<P: Protocol> {
    /// With a backend that was warm.
    Lease(Lease<P>),
    /// Without one: until one is released or made.
    Unserved(Unserved<P>),
}

/// Whom the gate has let in, and who has no backend yet.
pub(crate) struct Unserved<P: Protocol> {
    seat: Seat<P>,
    /// The endpoint's setbacks, and the time, when it came to wait.
    setbacks: u32,
    began: Instant,
}

impl<P: Protocol> Unserved<P> {
    /// Where it is.
    pub fn lane(&self) -> Arc<Lane<P>> {
        self.seat.lane()
    }
}

/// Why a lane gave no backend.
#[derive(Debug)]
pub(crate) enum TakeError {
    /// Nobody left in time.
    Full,
    /// No backend was made in time.
    Late,
    /// The sign-in failed.
    Dial(DialFailure),
    /// The endpoint went down, changed its role or was removed meanwhile.
    SetBack,
}

impl<P: Protocol> Lane<P> {
    /// Must be called within a tokio runtime. `gate` is taken over from the lane before it.
    pub fn new(
        door: Arc<Door>,
        identity: &Arc<Identity>,
        settings: PoolSettings,
        gate: Option<Arc<Gate>>,
    ) -> Self {
        let desk = Arc::<Desk>::default();
        let closed = Arc::<AtomicBool>::default();
        let connector = Connector {
            door: door.clone(),
            identity: identity.clone(),
            desk: desk.clone(),
            lifetime: settings.lifetime,
            closed: closed.clone(),
            protocol: PhantomData,
        };
        let idle_timeout = (!settings.idle_timeout.is_zero()).then_some(settings.idle_timeout);
        let store = bb8::Pool::builder()
            .max_size(NO_LIMIT)
            .test_on_check_out(false)
            .retry_connection(false)
            .connection_timeout(NO_TIMEOUT)
            .queue_strategy(bb8::QueueStrategy::Lifo)
            .max_lifetime(None)
            .idle_timeout(idle_timeout)
            .reaper_rate((settings.idle_timeout / 4).clamp(Duration::from_millis(10), REAP_MAX))
            .error_sink(Box::new(Sink(desk.clone())))
            .build_unchecked(connector);
        let gate = gate.unwrap_or_else(|| Arc::new(Gate::new(settings.size)));
        door.endpoint.adopt(&gate);
        let swept = AtomicU32::new(door.endpoint.generation());
        Self {
            door,
            identity: identity.clone(),
            gate,
            settings,
            desk,
            closed,
            warming: AtomicBool::new(false),
            swept,
            shelf: Shelf::new(),
            store,
        }
    }

    /// A backend, if one is warm and the gate has a place. Never waits, makes no system call. Does not ask
    /// bb8, which would begin to make one although one may be put on the shelf a moment later.
    pub fn try_take(self: &Arc<Self>, now: Instant) -> Option<Lease<P>> {
        if !self.gate.try_enter() {
            return None;
        }
        self.shelved(Seat::new(self.clone()), now).ok()
    }

    /// Takes a clean backend back.
    pub fn keep(&self, backend: Held<P>) {
        if backend.is_reusable() && !self.closed.load(Relaxed) {
            self.shelf.put(backend, &self.desk);
        }
    }

    /// A backend from the shelf that is alive.
    fn shelved(&self, seat: Seat<P>, now: Instant) -> Result<Lease<P>, Seat<P>> {
        while let Some(mut backend) = self.shelf.take() {
            if backend.lend(now) {
                return Ok(Lease::new(backend, seat));
            }
        }
        Err(seat)
    }

    /// An idle backend that is alive; else bb8 has begun to make one. For whoever is at the desk: what is
    /// released from then on goes to bb8, so that none is made beyond the size.
    fn pop(&self, seat: Seat<P>, now: Instant) -> Result<Lease<P>, Seat<P>> {
        let seat = match self.shelved(seat, now) {
            Ok(lease) => return Ok(lease),
            Err(seat) => seat,
        };
        loop {
            let mut cx = Context::from_waker(Waker::noop());
            match pin!(self.store.get_owned()).poll(&mut cx) {
                Poll::Ready(Ok(mut backend)) => {
                    if backend.lend(now) {
                        return Ok(Lease::new(backend, seat));
                    }
                }
                Poll::Ready(Err(_)) | Poll::Pending => return Err(seat),
            }
        }
    }

    /// Waits in line for a place, which as a rule somebody leaves together with a backend. It is `began` now.
    pub async fn admit(
        self: &Arc<Self>,
        began: Instant,
        deadline: Instant,
        timer: &mut Timer,
    ) -> Result<Admitted<P>, TakeError> {
        let endpoint = &self.door.endpoint;
        let setbacks = endpoint.setbacks();
        if endpoint.is_removed() {
            return Err(TakeError::SetBack);
        }
        let entry = self.gate.enter(deadline, timer, || endpoint.setbacks() != setbacks).await;
        let now = Instant::now();
        let admitted = match entry {
            Entry::In => match self.shelved(Seat::new(self.clone()), now) {
                Ok(lease) => Ok(Admitted::Lease(lease)),
                Err(seat) => return Ok(Admitted::Unserved(Unserved { seat, setbacks, began })),
            },
            Entry::Late => Err(TakeError::Full),
            Entry::Off => Err(TakeError::SetBack),
        };
        endpoint.count_wait(now.saturating_duration_since(began));
        admitted
    }

    /// What is said to who has waited so long for a place.
    pub fn full(&self, waited: Duration) -> LeaseError {
        LeaseError::Full { waited, size: self.gate.size(), in_use: self.gate.inside() }
    }

    /// A backend for who was admitted and has none: whatever is first, one that is released or one that is made.
    pub async fn await_backend(
        &self,
        unserved: Unserved<P>,
        deadline: Instant,
    ) -> Result<Lease<P>, TakeError> {
        let Unserved { seat, setbacks, began } = unserved;
        let outcome = self.backend_for(seat, setbacks, deadline).await;
        self.door.endpoint.count_wait(began.elapsed());
        outcome
    }

    async fn backend_for(
        &self,
        mut seat: Seat<P>,
        setbacks: u32,
        deadline: Instant,
    ) -> Result<Lease<P>, TakeError> {
        let endpoint = &self.door.endpoint;
        loop {
            let mut setback = pin!(endpoint.setback.notified());
            setback.as_mut().enable();
            if endpoint.setbacks() != setbacks {
                return Err(TakeError::SetBack);
            }
            let mut ticket = pin!(self.desk.wait());
            seat = match self.pop(seat, Instant::now()) {
                Ok(lease) => return Ok(lease),
                Err(seat) => seat,
            };
            tokio::select! {
                biased;
                got = self.store.get_owned() => {
                    let mut backend = got.map_err(|_| TakeError::Late)?;
                    if backend.lend(Instant::now()) {
                        return Ok(Lease::new(backend, seat));
                    }
                }
                failure = &mut ticket.bad_news => {
                    if let Ok(failure) = failure {
                        return Err(TakeError::Dial(failure));
                    }
                }
                () = setback => return Err(TakeError::SetBack),
                () = tokio::time::sleep_until(deadline.into()) => return Err(TakeError::Late),
            }
        }
    }

    /// Gives what is no longer warm to bb8, and closes what must not be lent again or exceeds the size:
    /// whoever gives up waiting leaves a sign-in behind that may come to nobody's use.
    pub fn tidy(&self, now: Instant) {
        let surplus = self.store.state().connections.saturating_sub(self.gate.size());
        self.shelf.clear(now, surplus > 0);
        self.shed(surplus);
        let generation = self.door.endpoint.generation();
        if self.swept.swap(generation, Relaxed) != generation {
            self.sift();
        }
    }

    /// Closes all that is idle; what is lent is closed when it comes back.
    pub fn close(&self) {
        self.closed.store(true, Relaxed);
        self.shelf.clear(Instant::now(), true);
        self.sift();
    }

    /// Closes up to `count` idle backends.
    fn shed(&self, count: u32) {
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..count.min(self.store.state().idle_connections) {
            if let Poll::Ready(Ok(mut backend)) = pin!(self.store.get_owned()).poll(&mut cx) {
                backend.retire();
            }
        }
    }

    /// Pops all that bb8 keeps and puts it back, so that it closes what is no longer good.
    fn sift(&self) {
        let idle = self.store.state().idle_connections;
        let mut cx = Context::from_waker(Waker::noop());
        // All are popped before any is dropped: a good one goes back to where it would be popped again.
        let popped: Vec<_> = (0..idle).map(|_| pin!(self.store.get_owned()).poll(&mut cx)).collect();
        drop(popped);
    }

    /// Whether fewer backends are open than the minimum.
    pub fn is_cold(&self) -> bool {
        let min = self.settings.min.min(self.gate.size());
        min > 0 && self.store.state().connections < min && !self.closed.load(Relaxed)
    }

    /// Makes one backend, one at a time. Failures wait for the next call.
    pub async fn warm(&self) {
        if self.warming.swap(true, Relaxed) {
            return;
        }
        match self.store.dedicated_connection().await {
            Ok(backend) => drop(self.store.add(backend)),
            Err(failure) => self.desk.ended(Some(failure)),
        }
        self.warming.store(false, Relaxed);
    }

    /// Open backends, and those of them that are idle.
    pub fn open(&self) -> (u32, u32) {
        let state = self.store.state();
        (state.connections, state.idle_connections + self.shelf.len() as u32)
    }

    pub fn note_lease(&self) {
        self.door.endpoint.counters.leases.fetch_add(1, Relaxed);
    }
}
