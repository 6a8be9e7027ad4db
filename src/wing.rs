//! All that serves the clients of one database: its clusters, its sessions, its doors.
//!
//! Here the protocol is a type; whoever holds a wing as a `Site` need not know it. Where the
//! database speaks first, what it would say is learned by signing in to one.

use crate::config::{Credential, Engine, General, Snapshot, TlsMode, UserConfig};
use crate::console::Console;
use crate::listener::Listener;
use crate::manners::Manners;
use crate::metrics::Metrics;
use crate::peers::Peers;
use crate::places::Places;
use crate::service::{self, Directory, Latches, Running, Trade, auth_method};
use crate::session::login::Gate;
use crate::session::{Registry, Slot};
use crate::site::{Client, Site, Wanted, Whom};
use crate::sockets::{Inherited, Opening, Socket};
use pool::net::{Address, ServerTls, server_tls};
use pool::{Card, Duty, View};
use protocol::handshake::LoginTerms;
use protocol::key_pair::KeyPair;
use protocol::{Protocol, Secret};
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Between two attempts to learn what databases say.
const LEARN_PAUSE: Duration = Duration::from_secs(1);

/// What the wings of a process share.
#[derive(Debug, Default)]
pub struct Shared {
    /// Which databases are paused or disabled.
    pub latches: Arc<Latches>,
    /// The number of the next session.
    pub next_session: Arc<AtomicU32>,
}

/// See the file's head.
pub struct Wing<P: Protocol> {
    /// Its clusters.
    pub directory: Arc<Directory<P>>,
    /// Its clients.
    pub sessions: Arc<Registry<P>>,
    peers: Arc<Peers>,
    manners: watch::Sender<Manners>,
    own_key: OnceLock<Arc<KeyPair>>,
    next_number: Arc<AtomicU64>,
}

impl<P: Protocol> Wing<P> {
    /// Starts the clusters.
    ///
    /// # Errors
    /// What of the configuration cannot be put to work, as a sentence.
    pub fn start(
        trade: Trade,
        snapshot: &Arc<Snapshot>,
        metrics: &Arc<Metrics>,
        peers: &Arc<Peers>,
        shared: &Shared,
    ) -> Result<Arc<Self>, String> {
        let (metrics, latches) = (Arc::clone(metrics), Arc::clone(&shared.latches));
        let directory = Arc::new(Directory::start(trade, Arc::clone(snapshot), metrics, latches)?);
        let next_number = Arc::default();
        let own_key = OnceLock::new();
        let manners = watch::Sender::new(manners(snapshot, &directory, &next_number, &own_key)?);
        let (sessions, peers) =
            (Arc::new(Registry::new(peers.own, Arc::clone(&shared.next_session))), Arc::clone(peers));
        Ok(Arc::new(Self { directory, sessions, peers, manners, own_key, next_number }))
    }

    /// Listens on `addresses`, as far as possible by `inherited` sockets; operators are received by
    /// `console`. Returns them, for people.
    ///
    /// # Errors
    /// The address that cannot be had.
    pub async fn open(
        &self,
        addresses: impl IntoIterator<Item = Address>,
        snapshot: &Snapshot,
        inherited: &mut Inherited,
        places: &Arc<Places>,
        stop: &watch::Sender<bool>,
        console: &Arc<Console>,
    ) -> Result<Vec<String>, String> {
        let gate = Arc::new(Gate {
            directory: Arc::clone(&self.directory),
            sessions: Arc::clone(&self.sessions),
            registry: Arc::default(),
            peers: Arc::clone(&self.peers),
            crowd: Arc::default(),
            console: Arc::clone(console),
        });
        self.prepare_verifiers();
        let mut bound = Vec::new();
        for at in addresses {
            let opening = opening(snapshot);
            let socket = Socket::open(&at, opening, inherited).await.map_err(|error| error.to_string())?;
            let listener = Listener { socket, shared: opening.reuse_port };
            bound.push(at.to_string());
            let (gate, manners) = (Arc::clone(&gate), self.manners.subscribe());
            tokio::spawn(listener.run(gate, manners, Arc::clone(places), stop.subscribe()));
        }
        Ok(bound)
    }

    /// Puts another configuration to work.
    ///
    /// # Errors
    /// What of it cannot be, as a sentence; nothing changes then.
    pub fn apply(&self, snapshot: &Arc<Snapshot>) -> Result<(), String> {
        let manners = manners(snapshot, &self.directory, &self.next_number, &self.own_key)?;
        self.directory.apply(Arc::clone(snapshot))?;
        self.manners.send_replace(manners);
        self.prepare_verifiers();
        Ok(())
    }

    /// Beside all else: many passwords take a while. An ordinary thread, because the end of the process must not wait
    /// for it.
    fn prepare_verifiers(&self) {
        let listen = &self.directory.snapshot().listen;
        let (postgres, mysql) = (listen.postgres.is_some() || listen.unix.is_some(), listen.mysql.is_some());
        if matches!((self.engine(), postgres, mysql), (Engine::Postgres, true, _) | (Engine::Mysql, _, true))
        {
            let directory = Arc::clone(&self.directory);
            let thread = std::thread::Builder::new().name("verifiers".to_owned());
            // Without it each is made when its user comes.
            let _ = thread.spawn(move || directory.prepare_verifiers());
        }
    }

    /// Learns what a database says to a client that has just connected. What cannot be learned
    /// in `patience` is learned later.
    pub async fn learn(self: &Arc<Self>, patience: Duration) {
        let deadline = Instant::now() + patience;
        for running in self.directory.clusters() {
            running.cluster.wait_ready(deadline).await;
        }
        if !self.try_learn(deadline).await {
            tokio::spawn(keep_learning(Arc::downgrade(self)));
        }
    }

    async fn try_learn(&self, deadline: Instant) -> bool {
        let learned = self.directory.learn(deadline).await;
        if learned {
            self.manners.send_modify(|manners| {
                let announced = self.directory.announced();
                manners.terms = Arc::new(LoginTerms { announced, ..(*manners.terms).clone() });
            });
        }
        learned
    }
}

async fn keep_learning<P: Protocol>(wing: Weak<Wing<P>>) {
    loop {
        let Some(wing) = wing.upgrade() else { return };
        if wing.try_learn(Instant::now() + LEARN_PAUSE).await {
            return;
        }
        drop(wing);
        tokio::time::sleep(LEARN_PAUSE).await;
    }
}

impl<P: Protocol> Site for Wing<P> {
    fn engine(&self) -> Engine {
        self.directory.engine()
    }

    fn roll(&self) -> Vec<Client> {
        let engine = self.engine();
        self.sessions.all().iter().map(|slot| client(slot, engine)).collect()
    }

    fn backends(&self) -> Vec<(String, Arc<Card>)> {
        let of = |running: &Arc<Running<P>>| {
            let name = running.config.name.clone();
            running.cluster.backends().into_iter().map(move |card| (name.clone(), card))
        };
        self.directory.clusters().iter().flat_map(of).collect()
    }

    fn latched(&self) {
        self.directory.restamp();
        self.sessions.all().iter().for_each(|slot| slot.wake());
    }

    fn is_busy(&self, domain: Option<&str>) -> bool {
        let meant = |slot: &Slot<P>| domain.is_none_or(|domain| *slot.about.domain == *domain);
        self.sessions.all().iter().any(|slot| meant(slot) && slot.is_busy())
    }

    fn reconnect(&self, wanted: &Wanted<'_>) {
        for running in self.directory.clusters() {
            running.cluster.reconnect(&|database, user| wanted(&running.config.name, database, user));
        }
    }

    fn rest(&self, wanted: &Wanted<'_>, rests: bool) {
        for running in self.directory.clusters() {
            running.cluster.rest(&|database, user| wanted(&running.config.name, database, user), rests);
        }
    }

    fn closing(&self, wanted: &Wanted<'_>) -> usize {
        let of = |running: &Arc<Running<P>>| {
            running.cluster.closing(&|database, user| wanted(&running.config.name, database, user))
        };
        self.directory.clusters().iter().map(of).sum()
    }

    fn kill(&self, whom: Whom<'_>) -> usize {
        let mut slots = self.sessions.all();
        slots.retain(|slot| match whom {
            Whom::Number(id) => slot.about.id == id,
            Whom::Of(domain) => *slot.about.domain == *domain,
        });
        let count = slots.len();
        for slot in slots {
            tokio::spawn(async move { slot.kill().await });
        }
        count
    }

    fn assign(&self, cluster: Option<&str>, address: &str, duty: Duty) -> Result<(), Option<&'static str>> {
        let mut outcome = Err(None);
        for running in self.directory.clusters() {
            let has =
                |view: View| view.endpoints.iter().any(|seen| seen.endpoint.address.to_string() == address);
            let named = cluster.is_none_or(|cluster| running.config.name == cluster);
            if named && has(running.cluster.view()) {
                outcome = Ok(running.cluster.assign(address, duty).map_err(Some)?);
            }
        }
        outcome
    }

    fn views(&self) -> Vec<View> {
        self.directory.clusters().iter().map(|running| running.cluster.view()).collect()
    }

    fn clients(&self) -> usize {
        self.sessions.len()
    }

    fn stop_all(&self) {
        self.sessions.stop_all();
    }
}

/// How the sockets of a configuration are opened.
pub fn opening(snapshot: &Snapshot) -> Opening {
    Opening { backlog: snapshot.listen.backlog, reuse_port: snapshot.listen.reuse_port }
}

/// A session, as operators see it.
fn client<P: Protocol>(slot: &Slot<P>, engine: Engine) -> Client {
    let about = &slot.about;
    Client {
        id: about.id,
        user: about.user.to_string(),
        engine,
        database: about.database.to_string(),
        domain: about.domain.to_string(),
        application: about.application.to_string(),
        peer: about.peer,
        local: about.local,
        tls: about.tls,
        since: about.since,
        waiting: slot.waiting(),
        backend: slot.backend(),
        pins: slot.pins(),
    }
}

/// TLS towards clients, if it is offered.
///
/// # Errors
/// Keys and certificates that cannot be used, as a sentence.
pub fn tls(snapshot: &Snapshot) -> Result<Option<Arc<ServerTls>>, String> {
    let Some(tls) = &snapshot.listen.tls else { return Ok(None) };
    let ready = server_tls(&tls.cert, &tls.key, tls.client_ca.as_deref());
    Ok(Some(Arc::new(ready.map_err(|error| format!("listen.tls: {error}"))?)))
}

/// The key pair of a file, if one is named.
///
/// # Errors
/// A file that cannot be used, as a sentence.
pub fn kept_key_pair(snapshot: &Snapshot) -> Result<Option<Arc<KeyPair>>, String> {
    let Some(path) = &snapshot.listen.mysql_rsa_key else { return Ok(None) };
    let unusable = |error: String| format!("listen.mysql_rsa_key: {}: {error}", path.display());
    let pem = std::fs::read_to_string(path).map(Secret::new).map_err(|error| unusable(error.to_string()))?;
    let kept = KeyPair::from_pem(pem.expose()).map_err(|error| unusable(error.to_string()))?;
    Ok(Some(Arc::new(kept)))
}

/// The key pair of a file, or else one that is made when it is first needed and lasts as long as the process: where
/// some user is known by a hash alone. Drivers tell a wrong password from worse more easily without.
fn key_pair(snapshot: &Snapshot, own: &OnceLock<Arc<KeyPair>>) -> Result<Option<Arc<KeyPair>>, String> {
    if let Some(kept) = kept_key_pair(snapshot)? {
        return Ok(Some(kept));
    }
    let is_hashed =
        |user: &Arc<UserConfig>| !matches!(user.credential, Credential::Password(_) | Credential::Trust);
    if !snapshot.users.values().any(is_hashed) {
        return Ok(None);
    }
    if let Some(own) = own.get() {
        return Ok(Some(Arc::clone(own)));
    }
    let made = Arc::new(KeyPair::generate().map_err(|error| error.to_string())?);
    Ok(Some(Arc::clone(own.get_or_init(|| made))))
}

/// What listeners tell each client.
fn manners<P: Protocol>(
    snapshot: &Snapshot,
    directory: &Directory<P>,
    next_number: &Arc<AtomicU64>,
    own_key: &OnceLock<Arc<KeyPair>>,
) -> Result<Manners, String> {
    let listen = &snapshot.listen;
    let tls = tls(snapshot)?;
    let required = listen.tls.as_ref().is_some_and(|tls| tls.mode == TlsMode::Require);
    let general: &General = &snapshot.general;
    Ok(Manners {
        terms: Arc::new(LoginTerms {
            tls_offered: tls.is_some(),
            tls_required: required,
            method: auth_method(listen.auth),
            key_pair: match directory.engine() {
                Engine::Mysql if listen.mysql.is_some() => key_pair(snapshot, own_key)?,
                _ => None,
            },
            mock_secret: Arc::clone(&directory.mock_secret),
            announced: directory.announced(),
            next_number: Arc::clone(next_number),
        }),
        tls,
        login_timeout: general.client_login_timeout,
        keepalive: service::keepalive(general),
        proxies: listen.proxies.as_slice().into(),
    })
}
