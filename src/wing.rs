//! All that serves the clients of one database: its clusters, its sessions, its doors.
//!
//! Here the protocol is a type; whoever holds a wing as a `Site` need not know it. Where the
//! database speaks first, what it would say is learned by signing in to one.

use crate::config::{General, Snapshot, TlsMode};
use crate::http::Site;
use crate::listener::{Listener, Manners};
use crate::metrics::Metrics;
use crate::peers::Peers;
use crate::places::Places;
use crate::service::{self, Directory, Trade, auth_method};
use crate::session::Registry;
use crate::session::login::Gate;
use crate::sockets::{Inherited, Opening, Socket};
use pool::View;
use pool::net::{Address, ServerTls, server_tls};
use protocol::Protocol;
use protocol::handshake::LoginTerms;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Between two attempts to learn what databases say.
const LEARN_PAUSE: Duration = Duration::from_secs(1);

/// See the file's head.
pub struct Wing<P: Protocol> {
    /// Its clusters.
    pub directory: Arc<Directory<P>>,
    /// Its clients.
    pub sessions: Arc<Registry<P>>,
    peers: Arc<Peers>,
    manners: watch::Sender<Manners>,
    next_number: Arc<AtomicU32>,
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
    ) -> Result<Arc<Self>, String> {
        let directory = Arc::new(Directory::start(trade, Arc::clone(snapshot), Arc::clone(metrics))?);
        let next_number = Arc::default();
        let manners = watch::Sender::new(manners(snapshot, &directory, &next_number)?);
        let (sessions, peers) = (Arc::new(Registry::new(peers.own)), Arc::clone(peers));
        Ok(Arc::new(Self { directory, sessions, peers, manners, next_number }))
    }

    /// Listens on `addresses`, as far as possible by `inherited` sockets. Returns them, for people.
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
    ) -> Result<Vec<String>, String> {
        let gate = Arc::new(Gate {
            directory: Arc::clone(&self.directory),
            sessions: Arc::clone(&self.sessions),
            registry: Arc::default(),
            peers: Arc::clone(&self.peers),
            crowd: Arc::default(),
        });
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
        let manners = manners(snapshot, &self.directory, &self.next_number)?;
        self.directory.apply(Arc::clone(snapshot))?;
        self.manners.send_replace(manners);
        Ok(())
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

/// TLS towards clients, if it is offered.
///
/// # Errors
/// Keys and certificates that cannot be used, as a sentence.
pub fn tls(snapshot: &Snapshot) -> Result<Option<Arc<ServerTls>>, String> {
    let Some(tls) = &snapshot.listen.tls else { return Ok(None) };
    let ready = server_tls(&tls.cert, &tls.key, tls.client_ca.as_deref());
    Ok(Some(Arc::new(ready.map_err(|error| format!("listen.tls: {error}"))?)))
}

/// What listeners tell each client.
fn manners<P: Protocol>(
    snapshot: &Snapshot,
    directory: &Directory<P>,
    next_number: &Arc<AtomicU32>,
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
            mock_secret: Arc::clone(&directory.mock_secret),
            announced: directory.announced(),
            next_number: Arc::clone(next_number),
        }),
        tls,
        login_timeout: general.client_login_timeout,
        keepalive: service::keepalive(general),
    })
}
