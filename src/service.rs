//! What a session is served by, made of a configuration: clusters, routers, catalogs, pools.
//!
//! A directory is built for each configuration and swapped as a whole; clusters are carried
//! over from the one before, so that their pools and what is known of their endpoints
//! survive a reload. A session looks when it is between transactions.

use crate::catalog::Catalogs;
use crate::config::{self, ClusterConfig, PoolMode, Snapshot, UserConfig};
use crate::digests::Digests;
use crate::discovery::Members;
use crate::hub::{Hub, Hubs};
use crate::metrics::{Counters, Metrics, Searches};
use crate::session::alarm::Bounds;
use crate::statement_log::StatementLog;
use crate::traces::Tracer;
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use pool::{Access, Cluster, Consistency, Freshness, Identity, Need, PoolSettings};
use protocol::handshake::{AuthMethod, Credential, Verifier};
use protocol::tracker::Memory;
use protocol::{Held, Protocol};
use router::{Limits, Router, Rule, Target};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use trade::Place;

mod latch;
mod trade;
mod translate;
mod welcome;

pub use latch::Latches;
pub use trade::Trade;
pub use translate::{auth_method, cluster_settings, keepalive};
pub use welcome::Welcome;

/// What serves the sessions of one user on one database.
pub struct Service<P: Protocol> {
    pub(crate) generation: u64,
    pub(crate) access: Arc<Access<P>>,
    pub(crate) router: Arc<Router>,
    pub(crate) catalog: Arc<crate::catalog::Slot>,
    /// Hears notifications for sessions, where they need not listen themselves.
    pub(crate) hub: Option<Arc<Hub>>,
    pub(crate) counters: Arc<Counters>,
    /// What operators call the database that it serves.
    pub(crate) domain: Box<str>,
    pub(crate) consistency: Consistency,
    pub(crate) mode: PoolMode,
    pub(crate) query_wait_timeout: Duration,
    pub(crate) bounds: Bounds,
    pub(crate) pins: config::Pins,
    pub(crate) gather_max: usize,
    pub(crate) welcomes: welcome::Welcomes,
    pub(crate) tracer: Option<Arc<Tracer>>,
    /// Which statements run, if that is kept.
    pub(crate) digests: Option<Arc<Digests>>,
    pub(crate) statement_log: Option<Arc<StatementLog>>,
    /// Some session has asked for `currval` or `lastval` in another transaction than it used a sequence in.
    pub(crate) sequences_asked: AtomicBool,
}

impl<P: Protocol> Service<P> {
    /// Whether a transaction may not outlive its statement.
    pub(crate) fn refuses_transactions(&self) -> bool {
        self.mode == PoolMode::Statement
    }

    /// What binds every session to its backend.
    pub(crate) fn always_held(&self) -> Held {
        if self.mode == PoolMode::Session { Held::SESSION_MODE } else { Held::empty() }
    }
}

/// A cluster in operation.
pub struct Running<P: Protocol> {
    pub(crate) config: Arc<ClusterConfig>,
    pub(crate) cluster: Arc<Cluster<P>>,
    members: Arc<Members<P>>,
    router: Arc<Router>,
    catalogs: Arc<Catalogs>,
    hubs: Arc<Hubs>,
    searches: Arc<Searches>,
    metrics: Arc<Metrics>,
}

/// By user, database and what was agreed on.
type Services<P> = HashMap<(String, String, u64), Arc<Service<P>>>;

/// One configuration in operation.
struct Edition<P: Protocol> {
    snapshot: Arc<Snapshot>,
    clusters: BTreeMap<String, Arc<Running<P>>>,
    tracer: Option<Arc<Tracer>>,
    statement_log: Option<Arc<StatementLog>>,
    services: Mutex<Services<P>>,
    verifiers: Mutex<HashMap<String, Arc<Verifier>>>,
}

/// Where sessions find what serves them.
pub struct Directory<P: Protocol> {
    trade: Trade,
    edition: ArcSwap<Edition<P>>,
    generation: AtomicU64,
    /// What sessions compare with the number of the configuration that they know.
    stamp: AtomicU64,
    pub(crate) latches: Arc<Latches>,
    pub(crate) metrics: Arc<Metrics>,
    /// Seeds the salts of users, so that unknown ones look like known ones.
    pub(crate) mock_secret: Arc<[u8; 32]>,
    /// What a database reported when it was signed in to.
    announced: ArcSwap<Vec<(String, String)>>,
}

/// Why there is no service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unserved {
    /// The user is not, or no longer, configured.
    User,
    /// Nor is the database.
    Database,
}

impl<P: Protocol> Directory<P> {
    /// Starts the clusters of a configuration that are of this `trade`.
    ///
    /// # Errors
    /// What of it cannot be put to work, as a sentence.
    pub fn start(
        trade: Trade,
        snapshot: Arc<Snapshot>,
        metrics: Arc<Metrics>,
        latches: Arc<Latches>,
    ) -> Result<Self, String> {
        let edition = Edition::build(trade, snapshot, None, &metrics)?;
        let generation = edition.snapshot.generation;
        let (stamp, generation) = (AtomicU64::new(generation), AtomicU64::new(generation));
        let mock_secret = Arc::new(crate::random::bytes().ok_or("the system gives no randomness")?);
        let (edition, announced) = (ArcSwap::from_pointee(edition), ArcSwap::default());
        Ok(Self { trade, edition, generation, stamp, latches, metrics, mock_secret, announced })
    }

    /// Puts another configuration to work. Nothing changes if it cannot be.
    ///
    /// # Errors
    /// What of it cannot be put to work, as a sentence.
    pub fn apply(&self, snapshot: Arc<Snapshot>) -> Result<(), String> {
        let edition = Edition::build(self.trade, snapshot, Some(&self.edition.load()), &self.metrics)?;
        let generation = edition.snapshot.generation;
        // Whoever stands in line stands in the lines of services that are in use: new sizes are theirs at once.
        let old = self.edition.load();
        // The directory and the cluster hold an access once each, and whoever else does is a session.
        let used = |(_, service): &(&_, &Arc<Service<P>>)| {
            Arc::strong_count(service) > 1 || Arc::strong_count(&service.access) > 2
        };
        let keys: Vec<_> = old.services.lock().iter().filter(used).map(|(key, _)| key.clone()).collect();
        for (user, database, flavour) in keys {
            // One that is gone is told so when it looks.
            let _ = edition.service(self.trade, &user, &database, flavour);
        }
        self.edition.store(Arc::new(edition));
        self.generation.store(generation, Ordering::Release);
        self.restamp();
        Ok(())
    }

    /// Something was paused or resumed.
    pub fn restamp(&self) {
        self.latches.stamp(&self.stamp, &self.generation);
    }

    /// What a session compares with its service's generation: equal if nothing needs a closer look.
    pub fn stamp(&self) -> u64 {
        self.stamp.load(Ordering::Acquire)
    }

    /// The number of the configuration in force.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The configuration in force.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.edition.load().snapshot)
    }

    /// Which database it is for.
    pub fn engine(&self) -> config::Engine {
        self.trade.engine
    }

    /// The clusters in operation.
    pub fn clusters(&self) -> Vec<Arc<Running<P>>> {
        self.edition.load().clusters.values().cloned().collect()
    }

    /// What a user's proof is checked against, made ready. `None` if there is no such user.
    pub fn verifier(&self, user: &str) -> Option<Arc<Verifier>> {
        let edition = self.edition.load();
        let config = edition.snapshot.users.get(user)?;
        if let Some(ready) = edition.verifiers.lock().get(user) {
            return Some(Arc::clone(ready));
        }
        let ready = Arc::new(verifier::<P>(config, &edition.snapshot, &self.mock_secret));
        edition.verifiers.lock().insert(user.to_owned(), Arc::clone(&ready));
        Some(ready)
    }

    /// What serves `user` on `database`; `flavour` as in a `Greeting`.
    pub fn service(&self, user: &str, database: &str, flavour: u64) -> Result<Arc<Service<P>>, Unserved> {
        self.edition.load().service(self.trade, user, database, flavour)
    }

    /// What a database reported when it was signed in to; empty as long as none was.
    pub fn announced(&self) -> Arc<Vec<(String, String)>> {
        self.announced.load_full()
    }

    /// Signs in to some database, to learn what databases report. Returns whether that worked
    /// until `deadline`.
    pub async fn learn(&self, deadline: Instant) -> bool {
        let edition = self.edition.load_full();
        for running in edition.clusters.values() {
            let probe = &running.config.probe;
            let serves = |user: &&Arc<UserConfig>| {
                let place = self.trade.place(&edition.snapshot, user, &probe.dbname);
                place.is_ok_and(|place| place.cluster.name == running.config.name)
            };
            // Who only comes to the console need not have an account anywhere.
            let users = edition.snapshot.users.values().filter(|user| !user.console).filter(serves);
            for user in users {
                let Ok(service) = edition.service(self.trade, &user.name, &probe.dbname, 0) else { continue };
                let mut freshness = Freshness::default();
                let need = Need::of_anybody(&mut freshness, Instant::now(), deadline);
                if let Ok(leased) = service.access.lease(need).await {
                    self.announced.store(Arc::new(leased.lease.memory.reported().to_vec()));
                    leased.lease.release();
                    return true;
                }
            }
        }
        false
    }
}

impl<P: Protocol> Edition<P> {
    fn build(
        trade: Trade,
        snapshot: Arc<Snapshot>,
        before: Option<&Self>,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, String> {
        let mut plans = Vec::new();
        for config in snapshot.clusters.values().filter(|config| config.engine == trade.engine) {
            let settings = cluster_settings(config, &snapshot.general)?;
            plans.push((config, settings, rules(config)?));
        }
        let mut clusters = BTreeMap::new();
        for (config, settings, rules) in plans {
            let running = match before.and_then(|before| before.clusters.get(&config.name)) {
                Some(running) => {
                    running.members.apply(config, settings, &running.searches);
                    Arc::new(Running::over(running, config, rules))
                }
                None => Arc::new(Running::start(config, settings, rules, metrics)),
            };
            clusters.insert(config.name.clone(), running);
        }
        let tracer = before.and_then(|before| before.tracer.as_ref());
        let tracer = Tracer::start(&snapshot.general.traces, tracer, metrics);
        let log = before.and_then(|before| before.statement_log.as_ref());
        let statement_log = match clusters.is_empty() {
            true => None,
            false => StatementLog::start(&snapshot.general.statement_log, log, metrics),
        };
        Ok(Self {
            snapshot,
            clusters,
            tracer,
            statement_log,
            services: Mutex::default(),
            verifiers: Mutex::default(),
        })
    }

    fn service(
        &self,
        trade: Trade,
        user: &str,
        database: &str,
        flavour: u64,
    ) -> Result<Arc<Service<P>>, Unserved> {
        let config = self.snapshot.users.get(user).ok_or(Unserved::User)?;
        let place = trade.place(&self.snapshot, config, database)?;
        let running = self.clusters.get(&place.cluster.name).ok_or(Unserved::Database)?;
        let key = (user.to_owned(), database.to_owned(), flavour);
        if let Some(service) = self.services.lock().get(&key) {
            return Ok(Arc::clone(service));
        }
        let service = Arc::new(running.service(config, &place, (database, flavour), self));
        let mut services = self.services.lock();
        // The wildcard lets clients name databases at will: the memory of them is bounded.
        if services.len() >= 4096 {
            services.clear();
        }
        services.insert(key, Arc::clone(&service));
        Ok(service)
    }
}

impl<P: Protocol> Running<P> {
    fn start(
        config: &Arc<ClusterConfig>,
        settings: pool::ClusterSettings,
        rules: Vec<Rule>,
        metrics: &Arc<Metrics>,
    ) -> Self {
        let cluster = Cluster::new(settings.clone());
        let searches = metrics.searches(&config.name);
        Self {
            members: Members::start(&cluster, config, settings, &searches),
            catalogs: Arc::new(Catalogs::new(cluster.clone(), config)),
            hubs: Arc::new(Hubs::new(&cluster)),
            router: Arc::new(Router::new(Trade::of(config).dialect, Limits::default(), rules)),
            searches,
            metrics: Arc::clone(metrics),
            config: Arc::clone(config),
            cluster,
        }
    }

    /// The same cluster under another configuration. The router starts anew only if its rules did.
    fn over(before: &Self, config: &Arc<ClusterConfig>, rules: Vec<Rule>) -> Self {
        let same = before.config.rules == config.rules;
        let router = if same {
            Arc::clone(&before.router)
        } else {
            Arc::new(Router::new(Trade::of(config).dialect, Limits::default(), rules))
        };
        Self {
            config: Arc::clone(config),
            cluster: Arc::clone(&before.cluster),
            members: Arc::clone(&before.members),
            router,
            catalogs: Arc::clone(&before.catalogs),
            hubs: Arc::clone(&before.hubs),
            searches: Arc::clone(&before.searches),
            metrics: Arc::clone(&before.metrics),
        }
    }

    fn service(
        &self,
        user: &UserConfig,
        place: &Place<'_>,
        (asked, flavour): (&str, u64),
        edition: &Edition<P>,
    ) -> Service<P> {
        let snapshot = &edition.snapshot;
        let own = &user.overrides;
        let mode = own.pool_mode.or(place.overrides.pool_mode).unwrap_or(self.config.pool_mode);
        let size = own.pool_size.or(place.overrides.pool_size).unwrap_or(self.config.pool_size);
        let consistency = own.consistency.or(place.overrides.consistency).unwrap_or(self.config.consistency);
        let identity = Identity {
            database: place.dbname.to_owned(),
            user: user.backend_user.clone(),
            password: user.backend_password.clone(),
            flavour,
            pool: PoolSettings {
                size,
                min: self.config.min_pool_size.min(size),
                lifetime: self.config.server_lifetime.unwrap_or_default(),
                idle_timeout: self.config.server_idle_timeout.unwrap_or_default(),
            },
        };
        let listens = self.config.engine == config::Engine::Postgres && mode == PoolMode::Transaction;
        let shares = listens
            && self.config.share_listeners
            && self.config.pins == self.config.pins.without(Held::LISTEN);
        Service {
            generation: snapshot.generation,
            access: self.cluster.access(identity),
            router: Arc::clone(&self.router),
            catalog: self.catalogs.slot(place.dbname),
            hub: shares.then(|| self.hubs.hub(place.dbname)),
            counters: self.metrics.counters(&self.config.name, place.name),
            domain: if place.name == "*" { asked } else { place.name }.into(),
            consistency: translate::consistency(consistency),
            mode,
            query_wait_timeout: self.config.query_wait_timeout,
            bounds: Bounds {
                query: self.config.query_timeout,
                transaction: self.config.transaction_timeout,
                idle_transaction: self.config.idle_transaction_timeout,
                idle_client: self.config.client_idle_timeout,
            },
            pins: self.config.pins,
            gather_max: snapshot.general.request_buffer_max,
            welcomes: welcome::Welcomes::default(),
            tracer: edition.tracer.clone(),
            digests: (snapshot.general.digests.max > 0).then(|| Arc::clone(&self.metrics.digests)),
            statement_log: edition.statement_log.clone(),
            sequences_asked: AtomicBool::new(false),
        }
    }
}

pub(crate) fn rules(config: &ClusterConfig) -> Result<Vec<Rule>, String> {
    let one = |(at, rule): (usize, &config::RuleConfig)| {
        let target = match rule.route {
            config::RuleRoute::Primary => Target::Primary,
            config::RuleRoute::Replica => Target::Replica,
        };
        Rule::new(&rule.pattern, target)
            .map_err(|error| format!("clusters.{}.rules[{at}]: {error}", config.name))
    };
    config.rules.iter().enumerate().map(one).collect()
}

fn verifier<P: Protocol>(user: &UserConfig, snapshot: &Snapshot, mock_secret: &[u8; 32]) -> Verifier {
    let known = match &user.credential {
        config::Credential::Password(secret) => Credential::Password(secret.clone()),
        config::Credential::Verifier(text)
        | config::Credential::Md5(text)
        | config::Credential::Native(text) => Credential::Verifier(text.clone()),
        config::Credential::Trust => Credential::Trust,
    };
    let method = match known {
        Credential::Trust => AuthMethod::Trust,
        _ => auth_method(snapshot.listen.auth),
    };
    P::verifier(method, known, &user.name, mock_secret)
}
