//! One client, one task: from its first request to its goodbye.
//!
//! A session gathers a request, asks where it goes, leases a backend, brings it to its own
//! settings, exchanges bytes until the reply is over, and gives the backend back unless a
//! transaction is open or something on it cannot be carried. Simple and extended protocol,
//! first and later requests take this one way.
//!
//! This file holds the state and the loop. What a request amounts to is judged in `judge.rs`,
//! one request is run in `request.rs`, bytes move in `relay.rs`, and what Splitpool asks a
//! backend on the session's behalf is in `errand.rs`.

mod account;
mod acquire;
pub(crate) mod alarm;
mod asked;
mod crowd;
mod ears;
mod errand;
mod exchange;
mod fence;
mod heed;
mod hold;
pub(crate) mod introduction;
mod judge;
mod kept;
mod kill;
pub mod login;
mod moving;
mod pause;
mod reception;
mod refuse;
mod relay;
mod request;
mod settle;
mod slot;
mod trace;
mod welcome;
pub(crate) mod wire;

pub use slot::{About, Registry, Slot};

use crate::service::{Directory, Service};
use crate::violations::{Side, Way, constant};
use asked::Asked;
use pool::{Freshness, Lease};
use protocol::fault::Cause;
use protocol::tracker::{Intake, Tracker, TxnStatus};
use protocol::{Fault, Held, Protocol, Settings};
use relay::{Relay, Stop};
use router::Effects;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Instant, SystemTime};
use wire::Client;

/// Why a session ends.
#[derive(Debug)]
enum End {
    /// The client said goodbye.
    Goodbye,
    /// The client wants to be somebody else on this connection; see `Intake::SignIn`.
    SignIn(u64),
    /// The client went without a word.
    ClientGone,
    /// The client must be told.
    Fault(Fault),
}

impl From<Fault> for End {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// Where a client comes from, for people.
fn peer(client: &Client) -> String {
    client.address().map_or_else(|| "unix".to_owned(), |peer| peer.to_string())
}

/// See the file's head.
pub struct Session<P: Protocol> {
    client: Client,
    tracker: P::Tracker,
    service: Arc<Service<P>>,
    directory: Arc<Directory<P>>,
    slot: Arc<Slot<P>>,
    sessions: Arc<Registry<P>>,
    freshness: Freshness,
    user: Box<str>,
    database: Box<str>,
    flavour: u64,
    /// What the client asked for when it signed in.
    startup: Settings,
    /// What must hold on whichever backend serves it.
    settings: Settings,
    /// What they ask of routing.
    asked: Asked,
    /// What it listens on.
    ears: ears::Ears,
    /// What may take how long.
    alarm: alarm::Alarm,
    /// Whether its backend was the primary when it was leased.
    on_primary: bool,
    lease: Option<Lease<P>>,
    /// It has a transaction open, in which it has seen what is no part of its freshness yet.
    saw: bool,
    /// Whether a sequence may have been used since the lease was taken.
    drew: bool,
    /// What the requests since the lease was taken may have left on the backend.
    effects: Effects,
    /// What is known to be left there: while it is not empty, the session is pinned.
    held: Held,
    /// What binds it that the backend cannot be asked about.
    hold: hold::Hold,
    /// What opened a transaction that runs on a replica.
    opening: moving::Opening,
    /// What operators were last told about that.
    shown: Held,
    /// The statement that is traced, while it runs.
    trace: Option<Box<crate::traces::Open>>,
    /// What the request under way is counted as.
    account: account::Account,
    _place: crowd::Place,
}

impl<P: Protocol> Session<P> {
    /// Serves the client until one of both goes, or until the client wants to sign in anew: then returns
    /// what was agreed on with it.
    async fn run(&mut self) -> Option<u64> {
        self.await_client();
        let end = loop {
            let next = match self.next_request().await {
                Ok(next) => next,
                Err(end) => break end,
            };
            let ran = self.request(next).await;
            if self.trace.is_some() {
                self.close_trace(ran.is_err());
            }
            if self.account.is_open() {
                self.fail_account();
            }
            if let Err(end) = ran {
                break end;
            }
            self.await_client();
        };
        let again = if let End::SignIn(abilities) = end { Some(abilities) } else { None };
        Box::pin(self.finish(end)).await;
        again
    }

    /// From now on it is the client's turn.
    fn await_client(&mut self) {
        if self.service.bounds != alarm::Bounds::default() {
            let open = self.tracker.txn() != TxnStatus::Idle;
            self.alarm.idle(&self.service.bounds, Instant::now(), open);
        }
    }

    /// Between transactions a session takes up the configuration in force.
    fn renew_service(&mut self) -> Result<(), End> {
        match self.directory.service(&self.user, &self.database, self.flavour) {
            Ok(service) => {
                if !service.access.is_beside(&self.service.access) {
                    // What was seen of another cluster says nothing of this one.
                    self.freshness.forget();
                }
                self.service = service;
                self.account.forget();
            }
            Err(_) => {
                let message = "terminating connection: its user or database is no longer configured";
                return Err(End::Fault(Fault::fatal(Cause::Terminated, message)));
            }
        }
        Ok(())
    }

    /// Waits for a whole request, or as much of one as is gathered.
    async fn next_request(&mut self) -> Result<request::Request, End> {
        loop {
            match self.tracker.intake(&self.client.inbox, self.service.gather_max)? {
                Intake::Ready { len, rest, whole } => return Ok(request::Request { len, rest, whole }),
                Intake::Drop(len) => self.client.consume(len),
                Intake::Terminate => return Err(End::Goodbye),
                Intake::SignIn { abilities } => return Err(End::SignIn(abilities)),
                Intake::More if self.client.ended => return Err(End::ClientGone),
                Intake::More => poll_fn(|cx| self.poll_idle(cx)).await?,
            }
        }
    }

    /// Waits for the client, and hears what a backend that it keeps says by itself.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        if let Some(fault) = self.slot.last_word(|| self.may_stop()) {
            return Poll::Ready(Err(End::Fault(fault)));
        }
        if let Some(lease) = &mut self.lease {
            let stop = Relay::default().poll_unasked::<P>(cx, &mut self.client, lease, &mut self.tracker);
            match stop {
                Poll::Pending => {}
                Poll::Ready(Stop::ClientGone) => return Poll::Ready(Err(End::ClientGone)),
                Poll::Ready(stop) => {
                    lease.endpoint().report_lost();
                    if let Stop::Nonsense(error) = stop {
                        self.note_violation(Side::Backend, error.0);
                    }
                    self.lease = None;
                    let fault = Fault::fatal(
                        Cause::BackendLost,
                        "the database closed the connection of this session",
                    );
                    return Poll::Ready(Err(End::Fault(fault)));
                }
            }
        }
        self.poll_heard(cx);
        if let Poll::Ready(late) = self.alarm.poll(cx) {
            return Poll::Ready(Err(End::Fault(late.fault())));
        }
        // What the socket did not take when it was written.
        if self.client.is_behind() && matches!(self.client.poll_flush(cx), Poll::Ready(Err(_))) {
            return Poll::Ready(Err(End::ClientGone));
        }
        match self.client.poll_receive(cx) {
            Poll::Ready(Ok(_)) => Poll::Ready(Ok(())),
            Poll::Ready(Err(_)) => Poll::Ready(Err(End::ClientGone)),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Whether the session is between transactions and nothing of a request has come.
    fn may_stop(&self) -> bool {
        self.client.inbox.is_empty() && self.tracker.is_over() && self.tracker.txn() == TxnStatus::Idle
    }

    /// Tells the client why, if it is still there, and leaves its backend clean or closed.
    async fn finish(&mut self, end: End) {
        self.count_traffic();
        if let End::Fault(fault) = &end
            && fault.cause == Cause::ProtocolViolation
        {
            self.note_violation(Side::Client, constant(fault));
        }
        if let End::Fault(fault) = &end {
            let fatal = Fault { severity: protocol::Severity::Fatal, ..fault.clone() };
            self.tracker.fault(&fatal, false, self.client.outbox.space());
            self.say_goodbye().await;
        }
        self.abandon_lease(matches!(end, End::Goodbye | End::SignIn(_))).await;
    }

    /// Somebody broke the protocol.
    fn note_violation(&self, side: Side, error: &'static str) {
        let address = match (side, &self.lease) {
            (Side::Backend, Some(lease)) => lease.endpoint().address.to_string(),
            (Side::Backend, None) => String::new(),
            (Side::Client, _) => peer(&self.client),
        };
        let way = Way { protocol: P::NAME, side, error };
        self.directory.metrics.violations.note(way, address, SystemTime::now());
    }

    /// Sends what is left for the client and closes, all within a moment.
    async fn say_goodbye(&mut self) {
        let said = async {
            if self.client.flush().await.is_ok() {
                let _ = tokio::io::AsyncWriteExt::shutdown(&mut self.client.stream).await;
            }
        };
        let _ = tokio::time::timeout(std::time::Duration::from_secs(2), said).await;
    }
}
