//! A cluster in operation, and what of it serves a user on a database.

use super::directory::Edition;
use super::trade::Place;
use super::{Service, Trade, translate, welcome};
use crate::catalog::Catalogs;
use crate::config::{self, ClusterConfig, PoolMode, UserConfig};
use crate::discovery::Members;
use crate::hub::Hubs;
use crate::metrics::{Metrics, Searches};
use crate::session::alarm::Bounds;
use pool::{Cluster, Identity, PoolSettings};
use protocol::{Held, Protocol};
use router::{Limits, Router, Rule, Target};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

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

impl<P: Protocol> Running<P> {
    /// Starts a cluster.
    pub(super) fn start(
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
    pub(super) fn under(
        &self,
        config: &Arc<ClusterConfig>,
        settings: pool::ClusterSettings,
        rules: Vec<Rule>,
    ) -> Self {
        self.members.apply(config, settings, &self.searches);
        let router = if self.config.rules == config.rules {
            Arc::clone(&self.router)
        } else {
            Arc::new(Router::new(Trade::of(config).dialect, Limits::default(), rules))
        };
        Self {
            config: Arc::clone(config),
            cluster: Arc::clone(&self.cluster),
            members: Arc::clone(&self.members),
            router,
            catalogs: Arc::clone(&self.catalogs),
            hubs: Arc::clone(&self.hubs),
            searches: Arc::clone(&self.searches),
            metrics: Arc::clone(&self.metrics),
        }
    }

    /// What serves a `user` at a `place`: `asked` is the database that the client named, `flavour` as in a
    /// `Greeting`.
    pub(super) fn service(
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

/// The operator's rules of a cluster.
///
/// # Errors
/// The rule that is none, as a sentence.
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
