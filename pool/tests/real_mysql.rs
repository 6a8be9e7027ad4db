//! The pool's monitor against real MariaDB and MySQL clusters: whom it trusts, what it measures.

mod watch;

use integration::PASSWORD;
use integration::mysql::{Cluster as Databases, Make, Server};
use pool::net::{TlsMode, backend_tls};
use pool::{
    Cluster, ClusterSettings, EndpointSettings, EndpointView, Engine, NoPrimary, ProbeUser, Role,
    RoleSetting, Why,
};
use protocol::Secret;
use protocol::postgres::Postgres;
use std::sync::Arc;
use std::time::{Duration, Instant};

const MAX_LAG: Duration = Duration::from_secs(2);

fn endpoint(server: &Server) -> EndpointSettings {
    let address = server.address().parse().expect("an address");
    EndpointSettings { address, role: RoleSetting::Auto, weight: 1 }
}

fn settings<'a>(user: &str, servers: impl Iterator<Item = &'a Server>) -> ClusterSettings {
    let password = Some(Secret::new(PASSWORD.to_owned()));
    let probe = ProbeUser { user: user.to_owned(), password, database: String::new() };
    ClusterSettings {
        engine: Engine::Mysql,
        max_lag: MAX_LAG,
        probe_interval: Duration::from_millis(50),
        probe_timeout: Duration::from_secs(5),
        connect_timeout: Duration::from_secs(10),
        slow_start: Duration::ZERO,
        ..ClusterSettings::new("main", servers.map(endpoint).collect(), probe)
    }
}

/// A watched cluster. Only the monitor is asked here, so any protocol will do.
struct World {
    databases: Databases,
    cluster: Arc<Cluster<Postgres>>,
}

impl World {
    async fn start(make: Make, user: &str) -> Self {
        let databases = tokio::task::spawn_blocking(move || {
            let databases = Databases::start(make, 2);
            databases.prepare("CREATE TABLE t (n int primary key auto_increment, v int)");
            databases
        });
        let databases = databases.await.expect("a cluster");
        let cluster = Cluster::new(settings(user, databases.servers()));
        let world = Self { databases, cluster };
        world
            .until("all serve", |seen| seen[0].role == Role::Primary && serves(&seen[1]) && serves(&seen[2]))
            .await;
        world
    }

    fn view(&self) -> Vec<EndpointView> {
        self.cluster.view().endpoints
    }

    /// Runs statements on a server as its administrator, while the monitor goes on.
    async fn sql(&self, server: usize, sql: &str) {
        let server = self.databases.servers().nth(server).expect("a server");
        tokio::task::block_in_place(|| server.sql(sql).ok());
    }

    async fn until(&self, what: &str, holds: impl Fn(&[EndpointView]) -> bool) {
        watch::until(&self.cluster, what, holds).await;
    }

    async fn throughout(&self, time: Duration, what: &str, holds: impl Fn(&[EndpointView]) -> bool) {
        watch::throughout(&self.cluster, time, what, holds).await;
    }

    async fn throughout_once(&self, time: Duration, what: &str, holds: impl Fn(&[EndpointView]) -> bool) {
        watch::throughout_once(&self.cluster, time, what, holds).await;
    }
}

fn serves(seen: &EndpointView) -> bool {
    seen.role == Role::Replica && seen.why_not.is_none() && seen.lag.is_some()
}

fn blocking<T>(work: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(work)
}

/// One test for each make: `$name::mariadb` and `$name::mysql`.
macro_rules! on_both {
    ($($name:ident($make:ident) $body:block)*) => {
        $(mod $name {
            use super::*;

            async fn run($make: Make) $body

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn mariadb() {
                run(Make::MariaDb).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn mysql() {
                run(Make::MySql).await;
            }
        })*
    };
}

on_both! {
    lag_is_measured_by_position(make) {
        let world = World::start(make, "probe").await;
        // An idle primary's replicas are not behind, however long nothing happens.
        world.throughout_once(MAX_LAG + Duration::from_millis(300), "no lag while idle", |seen| {
            serves(&seen[1]) && serves(&seen[2])
        }).await;

        // What is not even received: the replica's own clock says that all is well.
        blocking(|| world.databases.replicas[0].pause_receiving());
        world.sql(0, "INSERT INTO t (v) VALUES (1)").await;
        world.until("the cut replica is behind, and the other one is not", |seen| {
            seen[1].why_not == Some(Why::Lagging) && serves(&seen[2])
        }).await;
        assert_ne!(world.view()[1].lag_transactions, Some(0));
        assert!(world.view()[1].seconds_behind.is_none_or(|seconds| seconds == 0), "its clock is wrong");
        blocking(|| world.databases.replicas[0].resume_receiving());
        world.until("it is back", |seen| serves(&seen[1])).await;

        // What is received and not applied.
        blocking(|| world.databases.replicas[1].pause_replay());
        world.sql(0, "INSERT INTO t (v) VALUES (2)").await;
        world.until("the paused replica is behind", |seen| seen[2].why_not == Some(Why::Lagging)).await;
        blocking(|| world.databases.replicas[1].resume_replay());
        world.until("it is back", |seen| serves(&seen[2]) && seen[2].lag_transactions == Some(0)).await;
    }

    a_failover_is_followed_and_the_old_primary_kept_out(make) {
        let world = World::start(make, "probe").await;
        let before = world.cluster.view().incarnation;
        let [new, other] = [&world.databases.replicas[0], &world.databases.replicas[1]];
        blocking(|| world.databases.primary.kill());
        world.until("no primary", |seen| seen[0].role == Role::Unknown).await;
        assert!(world.cluster.view().primary.is_err());
        blocking(|| new.promote());
        world.until("the promoted replica reigns", |seen| seen[1].role == Role::Primary).await;
        assert!(world.cluster.view().incarnation > before);
        blocking(|| other.follow(new));
        world.sql(1, "INSERT INTO t (v) VALUES (7)").await;
        world.until("the other replica follows", |seen| serves(&seen[2])).await;
        // It comes back as it went: it takes writes.
        blocking(|| world.databases.primary.start());
        world.until("the old primary is seen", |seen| seen[0].role == Role::Rival).await;
        world.throughout(Duration::from_millis(500), "and kept out", |seen| {
            seen[0].role == Role::Rival && seen[1].role == Role::Primary
        }).await;
        blocking(|| world.databases.primary.follow(new));
        world.until("it is a replica now", |seen| serves(&seen[0])).await;
    }

    a_switchover_moves_the_primary_and_back(make) {
        let world = World::start(make, "probe").await;
        let [old, new] = [&world.databases.primary, &world.databases.replicas[0]];
        for (from, to, at) in [(old, new, 1), (new, old, 0)] {
            blocking(|| {
                from.set_read_only(true);
                world.databases.replicas[1].await_position(&from.position());
                to.await_position(&from.position());
                to.promote();
                from.follow(to);
                world.databases.replicas[1].follow(to);
            });
            world.until("the new primary reigns", |seen| {
                seen[at].role == Role::Primary && serves(&seen[1 - at]) && serves(&seen[2])
            }).await;
            world.sql(at, "INSERT INTO t (v) VALUES (3)").await;
        }
    }

    a_replica_that_takes_writes_is_still_a_replica(make) {
        let world = World::start(make, "probe").await;
        blocking(|| world.databases.replicas[0].set_read_only(false));
        world.throughout(Duration::from_millis(1500), "one primary", |seen| {
            seen[0].role == Role::Primary && seen[1].role == Role::Replica
        }).await;
    }

    two_that_take_writes_stop_writes(make) {
        let world = World::start(make, "probe").await;
        blocking(|| world.databases.replicas[0].promote());
        world.until("nobody is the primary", |_| world.cluster.view().primary == Err(NoPrimary::Two)).await;
        blocking(|| world.databases.replicas[0].follow(&world.databases.primary));
        world.until("the primary again", |seen| seen[0].role == Role::Primary && serves(&seen[1])).await;
    }

    a_user_without_rights_will_do(make) {
        let world = World::start(make, "plain").await;
        blocking(|| world.databases.replicas[0].pause_replay());
        world.sql(0, "INSERT INTO t (v) VALUES (4)").await;
        world.until("lag is measured", |seen| seen[1].why_not == Some(Why::Lagging)).await;
    }

    a_frozen_server_is_noticed(make) {
        let world = World::start(make, "probe").await;
        world.databases.replicas[0].freeze();
        world.until("the replica is out", |seen| !seen[1].up && seen[0].role == Role::Primary).await;
        world.databases.replicas[0].thaw();
        world.until("and back", |seen| serves(&seen[1])).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_domain_of_mariadb_counts() {
    let world = World::start(Make::MariaDb, "probe").await;
    world
        .sql(
            0,
            "SET SESSION gtid_domain_id = 7; INSERT INTO t (v) VALUES (5); SET SESSION gtid_domain_id = 0",
        )
        .await;
    // Both replicas have it before one of them is stopped.
    blocking(|| world.databases.settle());
    world
        .until("two domains are covered", |seen| serves(&seen[1]) && seen[1].lag_transactions == Some(0))
        .await;
    blocking(|| world.databases.replicas[0].pause_replay());
    world.sql(0, "SET SESSION gtid_domain_id = 7; INSERT INTO t (v) VALUES (6)").await;
    world.until("the second domain alone lags", |seen| seen[1].why_not == Some(Why::Lagging)).await;
    assert_eq!(world.view()[1].lag_transactions, Some(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tagged_and_errant_transactions_of_mysql_count() {
    let world = World::start(Make::MySql, "probe").await;
    world.sql(0, "SET gtid_next = 'AUTOMATIC:splitpool'; INSERT INTO t (v) VALUES (5)").await;
    world.until("tags are read", |seen| serves(&seen[1]) && seen[1].lag_transactions == Some(0)).await;
    // A replica alone has a transaction: it is counted, and measured all the same.
    world.sql(1, "SET GLOBAL read_only = OFF; CREATE DATABASE errant; SET GLOBAL super_read_only = ON").await;
    world.until("it is counted", |seen| seen[1].errant_transactions == 1 && serves(&seen[1])).await;
    world.sql(0, "INSERT INTO t (v) VALUES (6)").await;
    world.until("and keeps up", |seen| serves(&seen[1]) && seen[1].lag_transactions == Some(0)).await;
    blocking(|| world.databases.replicas[0].pause_replay());
    world.sql(0, "SET gtid_next = 'AUTOMATIC:splitpool'; INSERT INTO t (v) VALUES (7)").await;
    world.until("or not", |seen| seen[1].why_not == Some(Why::Lagging)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_probe_speaks_tls_as_it_is_told() {
    let [mysql, mariadb] = [Make::MySql, Make::MariaDb].map(|make| blocking(|| Databases::start(make, 0)));
    // MySQL makes itself certificates; MariaDB offers no TLS unless it is given some.
    let ca = mysql.primary.data().join("ca.pem");
    let foreign = mysql.primary.data().join("client-cert.pem");
    let tls = |mode, ca: Option<&std::path::Path>| backend_tls(mode, ca, None).expect("usable files");
    let cases = [
        (&mysql, tls(TlsMode::Require, None), true),
        (&mysql, tls(TlsMode::Prefer, None), true),
        // The library checks a chain only together with the name, and MySQL's own certificate has none.
        (&mysql, tls(TlsMode::VerifyCa, Some(&ca)), false),
        (&mysql, tls(TlsMode::VerifyCa, Some(&foreign)), false),
        (&mariadb, tls(TlsMode::Prefer, None), true),
        (&mariadb, tls(TlsMode::Require, None), false),
    ];
    // Who signs in without TLS is told from who does not.
    blocking(|| mysql.primary.sql("ALTER USER probe@'%' REQUIRE SSL").ok());
    for (databases, tls, answers) in cases {
        let mode = tls.mode;
        let cluster: Arc<Cluster<Postgres>> =
            Cluster::new(ClusterSettings { tls, ..settings("probe", databases.servers()) });
        assert!(cluster.wait_ready(Instant::now() + Duration::from_secs(30)).await);
        let began = Instant::now();
        while cluster.view().endpoints[0].up != answers && began.elapsed() < Duration::from_secs(30) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let seen = cluster.view().endpoints.remove(0);
        assert_eq!(seen.up, answers, "{mode:?}: {:?}", seen.error);
    }
}
