//! All that is shown, gathered at one moment. Values only; nothing is asked of a database.

use super::averages::Averages;
use crate::config::{DatabaseConfig, Engine, Outcome, PoolMode, Snapshot};
use crate::digests::{Digest, Sum};
use crate::metrics::Counters;
use crate::service::Latches;
use crate::site::Client;
use crate::violations::{Cases, Way};
use pool::{Card, View};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// What the console's own database is called where databases are listed, as in PgBouncer, so that
/// tools that leave that one out leave ours out.
pub const OWN: &str = "pgbouncer";

/// See the file's head.
pub(super) struct Facts {
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) latches: Arc<Latches>,
    pub(super) views: Vec<(Engine, View)>,
    pub(super) clients: Vec<Client>,
    pub(super) backends: Vec<Backend>,
    pub(super) counters: Vec<Arc<Counters>>,
    pub(super) averages: Averages,
    pub(super) digests: Vec<Arc<Digest>>,
    /// What is not kept apart, on replicas and on the primary.
    pub(super) other_digests: [Sum; 2],
    pub(super) violations: Vec<(Way, Cases)>,
    pub(super) outcomes: Vec<Outcome>,
    /// Bytes of memory that the process occupies.
    pub(super) resident: u64,
    /// How long it has served.
    pub(super) uptime: Duration,
}

/// An open backend, and whom it works for.
pub(super) struct Backend {
    pub(super) card: Arc<Card>,
    /// The client's number, if it works for one.
    pub(super) client: Option<u32>,
    /// What operators call the database that it is of.
    pub(super) domain: String,
    /// The user whose pool it is in, as clients give it.
    pub(super) user: String,
}

/// A database that clients are served by, as operators see it.
pub(crate) struct Domain<'a> {
    pub(crate) name: &'a str,
    pub(crate) cluster: &'a str,
    /// Its name in the cluster; `None` if clients choose.
    pub(crate) dbname: Option<&'a str>,
    pub(crate) pool_mode: PoolMode,
    pub(crate) pool_size: u32,
}

impl Facts {
    /// Joins clients and backends. What else there is to know is handed in.
    pub(super) fn backends(
        snapshot: &Snapshot,
        clients: &[Client],
        cards: Vec<(String, Arc<Card>)>,
    ) -> Vec<Backend> {
        let working: BTreeMap<u32, &Client> =
            clients.iter().filter_map(|client| Some((client.backend?, client))).collect();
        let domains = domains(snapshot);
        let join = |(cluster, card): (String, Arc<Card>)| {
            let client = working.get(&card.id);
            let home = domains.iter().find(|domain| is_home(domain, &cluster, &card.database));
            let domain = match (client, home) {
                (Some(client), _) => client.domain.clone(),
                (None, Some(domain)) if domain.name != "*" => domain.name.to_owned(),
                _ => card.database.clone(),
            };
            let signs_in = snapshot.users.values().find(|user| user.backend_user == card.user);
            let user = match (client, signs_in) {
                (Some(client), _) => client.user.clone(),
                (None, Some(user)) => user.name.clone(),
                _ => card.user.clone(),
            };
            Backend { client: client.map(|client| client.id), domain, user, card }
        };
        cards.into_iter().map(join).collect()
    }

    /// The client of this number.
    pub(super) fn client(&self, id: u32) -> Option<&Client> {
        self.clients.iter().find(|client| client.id == id)
    }

    /// The cluster of this name.
    pub(super) fn view(&self, cluster: &str) -> Option<&View> {
        self.views.iter().map(|(_, view)| view).find(|view| view.name == cluster)
    }

    /// The name under which a database is counted.
    pub(super) fn counted_as<'a>(&'a self, domain: &'a str) -> &'a str {
        match self.snapshot.databases.get(domain) {
            None if self.snapshot.wildcard.is_some() && domain != OWN => "*",
            _ => domain,
        }
    }
}

fn is_home(domain: &Domain<'_>, cluster: &str, database: &str) -> bool {
    domain.cluster == cluster && domain.dbname.is_none_or(|dbname| dbname == database)
}

/// Every database that is configured, the wildcard last; a MySQL cluster is one.
pub(crate) fn domains(snapshot: &Snapshot) -> Vec<Domain<'_>> {
    let named = snapshot.databases.values().map(of_database);
    let mysql = snapshot.clusters.values().filter(|cluster| cluster.engine == Engine::Mysql);
    let mysql = mysql.map(|cluster| Domain {
        name: &cluster.name,
        cluster: &cluster.name,
        dbname: None,
        pool_mode: cluster.pool_mode,
        pool_size: cluster.pool_size,
    });
    named.chain(mysql).chain(snapshot.wildcard.iter().map(of_database)).collect()
}

fn of_database(config: &DatabaseConfig) -> Domain<'_> {
    let (cluster, own) = (&config.cluster, &config.overrides);
    Domain {
        name: &config.name,
        cluster: &cluster.name,
        dbname: config.dbname.as_deref(),
        pool_mode: own.pool_mode.unwrap_or(cluster.pool_mode),
        pool_size: own.pool_size.unwrap_or(cluster.pool_size),
    }
}

/// The user's own pool mode, or that of the database.
pub(super) fn pool_mode(snapshot: &Snapshot, user: &str, domain: &str) -> PoolMode {
    let own = snapshot.users.get(user).and_then(|user| user.overrides.pool_mode);
    let all = domains(snapshot);
    let found =
        all.iter().find(|known| known.name == domain).or_else(|| all.iter().find(|known| known.name == "*"));
    own.or(found.map(|domain| domain.pool_mode)).unwrap_or(PoolMode::Transaction)
}
