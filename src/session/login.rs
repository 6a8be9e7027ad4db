//! From an accepted connection to a session: TLS, proof, and the database's welcome.
//!
//! Everything before the proof has a deadline and a bound on bytes. Who fails learns the same
//! whether or not the user exists.

use super::Session;
use super::asked::Asked;
use super::crowd::Crowd;
use super::introduction::introduce;
use super::reception::{about, receive};
use super::slot::{Registry, Slot};
use super::welcome::{told, welcome};
use super::wire::Client;
use crate::console::{self, Console};
use crate::manners::Manners;
use crate::peers::Peers;
use crate::service::Directory;
use crate::violations::{Side, Way, constant};
use pool::net::{ServerTls, Stream, accept_direct_tls, accept_tls};
use protocol::fault::Cause;
use protocol::handshake::{Login, LoginStep};
use protocol::tracker::Tracker;
use protocol::{Fault, Held, Protocol};
use router::Effects;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// What all logins of a listener share.
pub struct Gate<P: Protocol> {
    /// Where sessions find what serves them.
    pub directory: Arc<Directory<P>>,
    /// The sessions of this process.
    pub sessions: Arc<Registry<P>>,
    /// Texts that all sessions share.
    pub registry: Arc<P::Registry>,
    /// Who may be meant by cancels that are not for our sessions.
    pub peers: Arc<Peers>,
    /// How many sessions each user has.
    pub crowd: Arc<Crowd>,
    /// Where operators are received.
    pub console: Arc<Console>,
}

/// Time to tell a client that it was too slow.
const GRACE: Duration = Duration::from_secs(1);

/// Bytes that may come before the proof.
const BEFORE_PROOF_MAX: usize = 32 * 1024;

/// Serves one connection from its first byte to its last. In a `spare` place only operators are.
pub async fn serve<P: Protocol>(gate: Arc<Gate<P>>, stream: Stream, manners: Manners, spare: bool) {
    let until = Instant::now() + manners.login_timeout;
    let introduced = manners.expects_introduction(&stream);
    let mut client = Client::new(stream);
    if introduced && !Box::pin(introduce(&mut client, until)).await {
        return;
    }
    let Manners { tls, terms, login_timeout, .. } = manners;
    let login = P::Login::new(Arc::clone(&terms));
    // Boxed, because a session lasts longer than its beginning and should not keep its room.
    let admitted = Box::pin(admit(&gate, client, login, tls.as_ref(), until, spare)).await;
    let Some((mut session, mut guard)) = admitted else { return };
    loop {
        guard.slot.adopt().await;
        let Some(abilities) = session.run().await else { return };
        let Some(login) = P::Login::again(Arc::clone(&terms), abilities, guard.slot.key()) else { return };
        // All else that the session had goes with it, its place too.
        let client = session.client;
        drop(guard);
        let until = Instant::now() + login_timeout;
        match Box::pin(admit(&gate, client, login, tls.as_ref(), until, false)).await {
            Some(admitted) => (session, guard) = admitted,
            None => return,
        }
    }
}

/// Makes a session of a connection until `until`. `None` if the client came for something else,
/// could not prove itself, or was told why not.
async fn admit<P: Protocol>(
    gate: &Arc<Gate<P>>,
    client: Client,
    mut login: P::Login,
    tls: Option<&Arc<ServerTls>>,
    until: Instant,
    spare: bool,
) -> Option<(Session<P>, Leave<P>)> {
    if client.stream.is_private() {
        login.in_private();
    }
    let login = sign_in(gate, client, login, tls, until, spare);
    let (client, login) = tokio::time::timeout_at((until + GRACE).into(), login).await.ok()??;
    let session = open(gate, client, login).await?;
    let guard = Leave { sessions: Arc::clone(&gate.sessions), slot: Arc::clone(&session.slot) };
    Some((session, guard))
}

/// Takes the session off the list however it ends.
pub(super) struct Leave<P: Protocol> {
    pub(super) sessions: Arc<Registry<P>>,
    pub(super) slot: Arc<Slot<P>>,
}

impl<P: Protocol> Drop for Leave<P> {
    fn drop(&mut self) {
        self.sessions.leave(&self.slot);
    }
}

/// Has the client prove who it is. `None` if it did not, or only came to cancel.
async fn sign_in<P: Protocol>(
    gate: &Gate<P>,
    mut client: Client,
    mut login: P::Login,
    tls: Option<&Arc<ServerTls>>,
    until: Instant,
    spare: bool,
) -> Option<(Client, P::Login)> {
    login.start(client.outbox.space());
    let mut received = 0;
    let mut fed_behind = false;
    loop {
        let step = match login.feed(&client.inbox, client.outbox.space()) {
            Ok((consumed, step)) => {
                client.consume(consumed);
                step
            }
            Err(fault) => return turn_down(gate, client, login, &fault).await,
        };
        let step = match step {
            LoginStep::Identify => {
                // What the client sent ahead of this answer has not been looked at yet.
                fed_behind = true;
                if spare && !console::is_named(&login.greeting().database) {
                    let full = Fault::fatal(Cause::TooManyConnections, "sorry, too many clients already");
                    return tell(client, login, &full).await;
                }
                let verifier = gate.directory.verifier(&login.greeting().user);
                match login.credential(verifier.as_deref(), client.outbox.space()) {
                    Ok(step) => step,
                    Err(fault) => return turn_down(gate, client, login, &fault).await,
                }
            }
            step => step,
        };
        client.flush().await.ok()?;
        match step {
            LoginStep::Identify => return None,
            LoginStep::Done => return Some((client, login)),
            LoginStep::Cancel(key) => {
                // The client waits for the end of the connection, which must mean that the
                // cancel has arrived.
                if !gate.sessions.cancel(&key).await {
                    gate.peers.pass_on::<P>(&gate.directory.snapshot(), &key).await;
                }
                return None;
            }
            // What came in clear behind the request must not be taken for what comes in TLS.
            LoginStep::UpgradeTls if !client.inbox.is_empty() => {
                let fault =
                    Fault::fatal(Cause::ProtocolViolation, "received unencrypted data after SSL request");
                return turn_down(gate, client, login, &fault).await;
            }
            LoginStep::UpgradeTls => {
                let stream = accept_tls(client.stream, tls?).await.ok()?;
                login.tls_started(stream.server_certificate());
                client.stream = stream;
                continue;
            }
            LoginStep::DirectTls { alpn } => {
                let begun = std::mem::take(&mut client.inbox);
                let stream = accept_direct_tls(client.stream, tls?, &begun, alpn).await.ok()?;
                login.tls_started(stream.server_certificate());
                client.stream = stream;
                continue;
            }
            LoginStep::More => {}
        }
        if matches!(step, LoginStep::More) && fed_behind && !client.inbox.is_empty() {
            fed_behind = false;
            continue;
        }
        let receive = poll_fn(|cx| client.poll_receive(cx));
        let Ok(read) = tokio::time::timeout_at(until.into(), receive).await else {
            if received == 0 {
                return None;
            }
            let fault = Fault::fatal(Cause::Timeout, "canceling authentication due to timeout");
            return tell(client, login, &fault).await;
        };
        let n = read.ok()?;
        received += n;
        if n == 0 || received > BEFORE_PROOF_MAX {
            return None;
        }
    }
}

/// Tells a client why it may not come in, and remembers if it broke the protocol.
async fn turn_down<P: Protocol>(
    gate: &Gate<P>,
    client: Client,
    login: P::Login,
    fault: &Fault,
) -> Option<(Client, P::Login)> {
    if fault.cause == Cause::ProtocolViolation {
        let way = Way { protocol: P::NAME, side: Side::Client, error: constant(fault) };
        gate.directory.metrics.violations.note(way, super::peer(&client), SystemTime::now());
    }
    tell(client, login, fault).await
}

/// Tells a client why it may not come in.
pub(super) async fn tell<L: Login>(mut client: Client, mut login: L, fault: &Fault) -> Option<(Client, L)> {
    login.refuse(fault, client.outbox.space());
    let _ = client.flush().await;
    let _ = tokio::io::AsyncWriteExt::shutdown(&mut client.stream).await;
    None
}

/// Makes a session of a client that has proven itself.
async fn open<P: Protocol>(gate: &Gate<P>, mut client: Client, mut login: P::Login) -> Option<Session<P>> {
    let greeting = login.greeting().clone();
    let snapshot = gate.directory.snapshot();
    let user = snapshot.users.get(&greeting.user);
    if console::is_named(&greeting.database) || user.is_some_and(|user| user.console) {
        receive(gate, client, login).await;
        return None;
    }
    let most = user.and_then(|user| user.max_connections);
    let Some(place) = gate.crowd.enter(&greeting.user, most) else {
        let fault = Fault::fatal(Cause::TooManyConnections, "too many connections for this user");
        tell(client, login, &fault).await;
        return None;
    };
    let (service, welcome) = match welcome(gate, &greeting).await {
        Ok(found) => found,
        Err(fault) => {
            let fault = Fault { severity: protocol::Severity::Fatal, ..fault };
            tell(client, login, &fault).await;
            return None;
        }
    };
    let about = about(&client, &greeting, &service.domain);
    let slot = gate.sessions.enter(login.key(), greeting.long_keys, about)?;
    login.welcome(&welcome.reported, slot.key(), client.outbox.space());
    if client.flush().await.is_err() {
        gate.sessions.leave(&slot);
        return None;
    }
    if let Some(codec) = P::codec(greeting.abilities) {
        client.stream = client.stream.coded(codec, std::mem::take(&mut client.inbox));
    }
    let freshness = told(&greeting);
    Some(Session {
        client,
        tracker: P::Tracker::new(Arc::clone(&gate.registry), &greeting, welcome.reported.clone()),
        service,
        directory: Arc::clone(&gate.directory),
        slot,
        sessions: Arc::clone(&gate.sessions),
        freshness,
        user: greeting.user.into_boxed_str(),
        database: greeting.database.into_boxed_str(),
        flavour: greeting.flavour,
        startup: welcome.settings.clone(),
        asked: Asked::by::<P>(&welcome.settings),
        settings: welcome.settings.clone(),
        hold: super::hold::Hold::default(),
        opening: super::moving::Opening::default(),
        ears: super::ears::Ears::default(),
        alarm: super::alarm::Alarm::default(),
        on_primary: false,
        lease: None,
        saw: false,
        drew: false,
        effects: Effects::empty(),
        held: Held::empty(),
        shown: Held::empty(),
        trace: None,
        account: super::account::Account::default(),
        _place: place,
    })
}
