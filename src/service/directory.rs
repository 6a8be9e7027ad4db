//! Where sessions find what serves them, under the configuration in force.
//!
//! An edition is built for each configuration and swapped as a whole; clusters are carried
//! over from the one before, so that their pools and what is known of their endpoints
//! survive a reload. A session looks when it is between transactions.

use super::running::{Running, rules};
use super::{Latches, Service, Trade, auth_method, cluster_settings};
use crate::config::{self, Snapshot, UserConfig};
use crate::metrics::Metrics;
use crate::statement_log::StatementLog;
use crate::traces::Tracer;
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use pool::{Freshness, Need};
use protocol::handshake::{AuthMethod, Credential, Verifier};
use protocol::tracker::Memory;
use protocol::{Protocol, Reported};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Services that are remembered. The wildcard lets clients name databases at will.
const SERVICES_MAX: usize = 4096;

/// By user, database and what was agreed on.
type Services<P> = HashMap<(String, String, u64), Arc<Service<P>>>;

/// One configuration in operation.
pub(super) struct Edition<P: Protocol> {
    pub(super) snapshot: Arc<Snapshot>,
    clusters: BTreeMap<String, Arc<Running<P>>>,
    pub(super) tracer: Option<Arc<Tracer>>,
    pub(super) statement_log: Option<Arc<StatementLog>>,
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
    announced: ArcSwap<Reported>,
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

    /// Makes ready what proofs are checked against. A password takes some milliseconds: nobody who signs in should
    /// wait for that, nor learn by it who is known. Takes that long for each user whose secret is new.
    pub fn prepare_verifiers(&self) {
        let snapshot = self.snapshot();
        for user in snapshot.users.keys() {
            if self.generation() != snapshot.generation {
                return;
            }
            self.verifier(user);
        }
    }

    /// What serves `user` on `database`; `flavour` as in a `Greeting`.
    ///
    /// # Errors
    /// Why nothing does.
    pub fn service(&self, user: &str, database: &str, flavour: u64) -> Result<Arc<Service<P>>, Unserved> {
        self.edition.load().service(self.trade, user, database, flavour)
    }

    /// What a database reported when it was signed in to; empty as long as none was.
    pub fn announced(&self) -> Reported {
        Reported::clone(&self.announced.load())
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
                    self.announced.store(Arc::new(leased.lease.memory.reported().clone()));
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
                Some(running) => running.under(config, settings, rules),
                None => Running::start(config, settings, rules, metrics),
            };
            clusters.insert(config.name.clone(), Arc::new(running));
        }
        let tracer = before.and_then(|before| before.tracer.as_ref());
        let tracer = Tracer::start(&snapshot.general.traces, tracer, metrics);
        let log = before.and_then(|before| before.statement_log.as_ref());
        let statement_log = match clusters.is_empty() {
            true => None,
            false => StatementLog::start(&snapshot.general.statement_log, log, metrics),
        };
        let verifiers =
            Mutex::new(before.map(|before| before.verifiers_under(&snapshot)).unwrap_or_default());
        Ok(Self { snapshot, clusters, tracer, statement_log, services: Mutex::default(), verifiers })
    }

    /// The verifiers that hold under another configuration as well.
    fn verifiers_under(&self, snapshot: &Snapshot) -> HashMap<String, Arc<Verifier>> {
        if self.snapshot.listen.auth != snapshot.listen.auth {
            return HashMap::new();
        }
        let secret = |of: &Snapshot, user: &str| of.users.get(user).map(|user| user.credential.clone());
        let ready = self.verifiers.lock();
        let same = ready.iter().filter(|(user, _)| secret(&self.snapshot, user) == secret(snapshot, user));
        same.map(|(user, verifier)| (user.clone(), Arc::clone(verifier))).collect()
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
        if services.len() >= SERVICES_MAX {
            services.retain(|_, service| Arc::strong_count(service) > 1);
        }
        services.insert(key, Arc::clone(&service));
        Ok(service)
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::postgres::Postgres;
    use std::path::Path;

    fn snapshot(generation: u64, auth: &str, password: &str) -> Arc<Snapshot> {
        let text = format!(
            "[listen]\npostgres = \"127.0.0.1:0\"\nauth = \"{auth}\"\n\
             [clusters.main]\nengine = \"postgres\"\n[[clusters.main.endpoints]]\naddress = \"127.0.0.1:1\"\n\
             [databases.app]\ncluster = \"main\"\n\
             [users.one]\npassword = \"{password}\"\n[users.two]\npassword = \"same\"\n"
        );
        let read = config::load_str(&text, Path::new(""), &|_| None).expect("it is right");
        Arc::new(Snapshot { generation, ..read })
    }

    // Clusters are watched by tasks.
    #[tokio::test]
    async fn a_reload_keeps_the_verifiers_of_secrets_that_stay() {
        let (metrics, latches) = (Arc::default(), Arc::default());
        let first = snapshot(1, "scram-sha-256", "old");
        let directory: Directory<Postgres> =
            Directory::start(Trade::POSTGRES, first, metrics, latches).expect("there is randomness");
        directory.prepare_verifiers();
        let verifiers = || ["one", "two"].map(|user| directory.verifier(user).expect("it is known"));
        let before = verifiers();
        directory.apply(snapshot(2, "scram-sha-256", "new")).expect("it is right");
        let after = verifiers();
        assert!(!Arc::ptr_eq(&before[0], &after[0]), "a password that was changed still holds");
        assert!(Arc::ptr_eq(&before[1], &after[1]));
        directory.apply(snapshot(3, "md5", "new")).expect("it is right");
        assert!(!Arc::ptr_eq(&after[1], &verifiers()[1]), "a method that was changed still holds");
        assert!(directory.verifier("nobody").is_none());
    }
}
