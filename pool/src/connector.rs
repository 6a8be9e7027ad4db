//! What bb8 asks of us: to sign in to an endpoint, and whether a backend may be kept.
//!
//! bb8 does not tell whoever waits why a sign-in failed. The desk does: each failure goes to
//! the one who has waited longest, unless the sign-ins still under way suffice for all.

use crate::backend::Backend;
use crate::dial::{self, DialFailure, Route};
use crate::endpoint::Endpoint;
use crate::gate::Gate;
use crate::roster::Roster;
use crate::settings::Identity;
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use protocol::Protocol;
use protocol::tracker::Memory;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Backends of one lane do not all reach their end at once: the last tenth is drawn.
const LIFETIME_JITTER: u32 = 10;

/// How one endpoint is reached, shared by all identities.
#[derive(Debug)]
pub(crate) struct Door {
    pub endpoint: Arc<Endpoint>,
    pub route: ArcSwap<Route>,
    /// Sign-ins at one time.
    pub logins: Gate,
    /// Where who has signed in is entered.
    pub roster: Arc<Roster>,
}

/// Where those who wait for a sign-in are told that it failed.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    queue: Mutex<Queue>,
    /// Tickets out, for whoever must not lock the queue.
    tickets: AtomicU32,
}

#[derive(Debug, Default)]
struct Queue {
    under_way: usize,
    next: u64,
    waiting: VecDeque<(u64, oneshot::Sender<DialFailure>)>,
}

/// A place at the desk, given up when dropped.
pub(crate) struct Ticket<'a> {
    desk: &'a Desk,
    number: u64,
    pub bad_news: oneshot::Receiver<DialFailure>,
}

impl Desk {
    pub fn wait(&self) -> Ticket<'_> {
        let (sender, bad_news) = oneshot::channel();
        self.tickets.fetch_add(1, Relaxed);
        let mut queue = self.queue.lock();
        queue.next += 1;
        let number = queue.next;
        queue.waiting.push_back((number, sender));
        Ticket { desk: self, number, bad_news }
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.tickets.load(Relaxed) == 0
    }

    fn began(&self) {
        self.queue.lock().under_way += 1;
    }

    pub fn ended(&self, failure: Option<DialFailure>) {
        let mut queue = self.queue.lock();
        queue.under_way = queue.under_way.saturating_sub(1);
        let Some(failure) = failure else { return };
        if queue.waiting.len() > queue.under_way {
            let Some((_, waiter)) = queue.waiting.pop_front() else { return };
            // Whoever just got a backend from elsewhere does not need to know.
            let _ = waiter.send(failure);
        }
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.desk.tickets.fetch_sub(1, Relaxed);
        let mut queue = self.desk.queue.lock();
        if let Some(at) = queue.waiting.iter().position(|(number, _)| *number == self.number) {
            queue.waiting.remove(at);
        }
    }
}

/// bb8 hands failures over only after it has counted them, so that whoever hears of one and
/// asks again is given a new sign-in.
pub(crate) struct Sink(pub Arc<Desk>);

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sink")
    }
}

impl bb8::ErrorSink<DialFailure> for Sink {
    fn sink(&self, failure: DialFailure) {
        self.0.ended(Some(failure));
    }

    fn boxed_clone(&self) -> Box<dyn bb8::ErrorSink<DialFailure>> {
        Box::new(Self(self.0.clone()))
    }
}

/// Signs one identity in to one endpoint.
pub(crate) struct Connector<P> {
    pub door: Arc<Door>,
    pub identity: Arc<Identity>,
    pub desk: Arc<Desk>,
    pub lifetime: Duration,
    /// Nothing is kept any more.
    pub closed: Arc<AtomicBool>,
    pub protocol: PhantomData<fn() -> P>,
}

impl<P: Protocol> Connector<P> {
    async fn sign_in(&self) -> Result<Backend<P>, DialFailure> {
        let Door { endpoint, route, logins, .. } = &*self.door;
        let generation = endpoint.generation();
        let route = route.load_full();
        let late = || io::Error::new(io::ErrorKind::TimedOut, "too many sign-ins at one time");
        let slot = logins.place(Instant::now() + route.timeout).await.ok_or_else(late)?;
        if endpoint.is_removed() {
            return Err(io::Error::new(io::ErrorKind::ConnectionRefused, "no longer configured").into());
        }
        let signed_in = dial::sign_in::<P>(endpoint, &route, &self.identity).await?;
        drop(slot);
        let now = Instant::now();
        let dial::SignedIn { stream, memory, rest } = signed_in;
        let number = P::connection_number(memory.cancel_key());
        let card = self.door.roster.enter(endpoint.clone(), &self.identity, &stream, number);
        let origin = (endpoint.clone(), generation, card);
        Ok(Backend::new(stream, memory, rest, origin, now, self.expiry(now)))
    }

    fn expiry(&self, now: Instant) -> Option<Instant> {
        let jitter = self.lifetime / LIFETIME_JITTER;
        let lifetime = self.lifetime - jitter + jitter.mul_f64(fastrand::f64());
        (!self.lifetime.is_zero()).then(|| now + lifetime)
    }
}

impl<P: Protocol> bb8::ManageConnection for Connector<P> {
    // Boxed because bb8 moves a connection several times per lease.
    type Connection = Box<Backend<P>>;
    type Error = DialFailure;

    async fn connect(&self) -> Result<Self::Connection, DialFailure> {
        self.desk.began();
        let outcome = self.sign_in().await;
        let counters = &self.door.endpoint.counters;
        match outcome {
            Ok(backend) => {
                counters.logins.fetch_add(1, Relaxed);
                self.desk.ended(None);
                Ok(Box::new(backend))
            }
            Err(failure) => {
                counters.login_failures.fetch_add(1, Relaxed);
                tracing::debug!(endpoint = %self.door.endpoint.address, %failure, "sign-in failed");
                Err(failure)
            }
        }
    }

    async fn is_valid(&self, _: &mut Self::Connection) -> Result<(), DialFailure> {
        Ok(())
    }

    fn has_broken(&self, backend: &mut Self::Connection) -> bool {
        let reusable = backend.is_reusable() && !self.closed.load(Relaxed);
        if !reusable {
            self.door.endpoint.counters.discarded.fetch_add(1, Relaxed);
        }
        !reusable
    }
}
