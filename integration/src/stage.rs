//! A cluster with a proxy before it: what most tests stand on.

use std::time::Duration;

use crate::cluster::Cluster;
use crate::config::{Config, Endpoint};
use crate::link::Link;
use crate::proxy::Proxy;
use crate::until::until;

/// A cluster with a proxy before it.
#[derive(Debug)]
pub struct Stage {
    /// The proxy; it goes first.
    pub proxy: Proxy,
    /// The databases behind it.
    pub cluster: Cluster,
}

/// A primary with a proxy before it, and a link between them that a test can cut, slow and falsify.
#[derive(Debug)]
pub struct Linked {
    /// The proxy; it goes first.
    pub proxy: Proxy,
    /// What it takes for the database.
    pub link: Link,
    /// The database.
    pub cluster: Cluster,
}

impl Linked {
    /// A proxy that reaches the primary of a cluster by a link alone, and is ready.
    pub fn over(cluster: Cluster, configure: impl FnOnce(Config) -> Config) -> Self {
        let link = Link::to(cluster.primary.port());
        let proxy = Proxy::start(configure(Config::over(vec![Endpoint::auto(link.address())])));
        proxy.await_ready();
        Self { proxy, link, cluster }
    }
}

impl Stage {
    /// A new cluster with this many replicas, and a proxy that serves all of it.
    pub fn new(replicas: usize, configure: impl FnOnce(Config) -> Config) -> Self {
        Self::over(Cluster::start(replicas), configure)
    }

    /// A proxy before a cluster that is there.
    pub fn over(cluster: Cluster, configure: impl FnOnce(Config) -> Config) -> Self {
        let proxy = Proxy::start(configure(Config::of(&cluster)));
        proxy.await_cluster(&cluster);
        Self { proxy, cluster }
    }

    /// How many sessions of the role `app` are in a transaction on the primary.
    pub fn open_transactions(&self) -> usize {
        self.count("usename = 'app' AND state LIKE 'idle in transaction%'")
    }

    /// How many sessions on the primary fulfil a condition on `pg_stat_activity`; the one that asks does not
    /// count.
    pub fn count(&self, condition: &str) -> usize {
        let ask =
            format!("SELECT count(*) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND {condition}");
        self.cluster.primary.value(&ask).parse().expect("a count is a number")
    }

    /// Waits until no session on the primary fulfils a condition on `pg_stat_activity`.
    pub fn await_none(&self, within: Duration, condition: &str) {
        until(&format!("no session with {condition}"), within, || (self.count(condition) == 0).then_some(()));
    }
}
