//! The pool against real PostgreSQL clusters: what it measures, whom it trusts, where reads land.

mod watch;

use integration::{Cluster as Databases, PASSWORD, Server};
use pool::{
    Access, Cluster, ClusterSettings, Consistency, EndpointSettings, EndpointView, Freshness, Identity,
    Landed, Lease, Leased, Need, PoolSettings, ProbeUser, Role, RoleSetting, Want, Why,
};
use protocol::Secret;
use protocol::postgres::Postgres;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

// On a busy machine an answer takes its time: what is late by these bounds is late for another reason.
const MAX_LAG: Duration = Duration::from_secs(3);
const INTERVAL: Duration = Duration::from_millis(50);
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// Longer than anything takes that is not late for ever.
const PATIENCE: Duration = Duration::from_secs(60);

fn endpoint(server: &Server) -> EndpointSettings {
    EndpointSettings {
        address: server.address().parse().expect("an address"),
        role: RoleSetting::Auto,
        weight: 1,
    }
}

fn settings<'a>(servers: impl Iterator<Item = &'a Server>) -> ClusterSettings {
    let password = Some(Secret::new(PASSWORD.to_owned()));
    let probe = ProbeUser { user: "app".to_owned(), password, database: "app".to_owned() };
    ClusterSettings {
        max_lag: MAX_LAG,
        probe_interval: INTERVAL,
        probe_timeout: PROBE_TIMEOUT,
        connect_timeout: Duration::from_secs(10),
        causal_wait: PATIENCE,
        slow_start: Duration::ZERO,
        ..ClusterSettings::new("main", servers.map(endpoint).collect(), probe)
    }
}

/// A watched cluster and one session on it.
struct World {
    databases: Databases,
    cluster: Arc<Cluster<Postgres>>,
    access: Arc<Access<Postgres>>,
    session: Freshness,
}

impl World {
    async fn start(replicas: usize) -> Self {
        let databases = Databases::start(replicas);
        databases.prepare("CREATE TABLE t (n int); INSERT INTO t VALUES (0)");
        let cluster = Cluster::new(settings(databases.servers()));
        assert!(cluster.wait_ready(Instant::now() + PATIENCE).await);
        let password = Some(Secret::new(PASSWORD.to_owned()));
        let pool = PoolSettings::default();
        let access = cluster.access(Identity {
            database: "app".to_owned(),
            user: "app".to_owned(),
            password,
            flavour: 0,
            pool,
        });
        let world = Self { databases, cluster, access, session: Freshness::default() };
        world
            .until("all replicas serve", |endpoints| endpoints[1..].iter().all(|seen| seen.why_not.is_none()))
            .await;
        world
    }

    fn view(&self) -> Vec<EndpointView> {
        self.cluster.view().endpoints
    }

    /// How long it takes until something holds.
    async fn until(&self, what: &str, holds: impl Fn(&[EndpointView]) -> bool) -> Duration {
        watch::until(&self.cluster, what, holds).await
    }

    async fn throughout(&self, time: Duration, what: &str, holds: impl Fn(&[EndpointView]) -> bool) {
        watch::throughout(&self.cluster, time, what, holds).await;
    }

    async fn throughout_once(&self, time: Duration, what: &str, holds: impl Fn(&[EndpointView]) -> bool) {
        watch::throughout_once(&self.cluster, time, what, holds).await;
    }

    async fn lease(&mut self, want: Want) -> Leased<Postgres> {
        let need = Need {
            want,
            consistency: Consistency::Session,
            max_lag: None,
            freshness: &mut self.session,
            exclude: None,
            now: Instant::now(),
            deadline: Instant::now() + PATIENCE,
        };
        self.access.lease(need).await.expect("a lease")
    }

    /// Runs one statement; says where, and what it answered.
    async fn run(&mut self, want: Want, sql: &str) -> (Landed, String) {
        let Leased { mut lease, landed } = self.lease(want).await;
        let answer = ask(&mut lease, sql).await;
        let (id, now) = (lease.endpoint().id, Instant::now());
        lease.release();
        if landed.is_primary() {
            self.session.used_primary(id, None, now)
        } else {
            self.session.used_replica(id, |_| false, now)
        }
        (landed, answer)
    }
}

/// The first value of the answer to a simple query.
async fn ask(lease: &mut Lease<Postgres>, sql: &str) -> String {
    let mut request = vec![b'Q'];
    request.extend((sql.len() as u32 + 5).to_be_bytes());
    request.extend(sql.as_bytes());
    request.push(0);
    lease.stream.write_all(&request).await.expect("it is connected");
    let mut value = String::new();
    loop {
        let tag = lease.stream.read_u8().await.expect("it answers");
        let length = lease.stream.read_u32().await.expect("it answers") as usize;
        let mut body = vec![0; length - 4];
        lease.stream.read_exact(&mut body).await.expect("it answers");
        match tag {
            b'D' => value = String::from_utf8_lossy(&body[6..]).into_owned(),
            b'E' => panic!("{sql}: {}", String::from_utf8_lossy(&body)),
            b'Z' => return value,
            _ => {}
        }
    }
}

fn lag_is_low(seen: &EndpointView) -> bool {
    seen.lag.is_some_and(|lag| lag < MAX_LAG / 2)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_cluster_has_no_lag_even_after_a_switch_of_the_log() {
    let world = World::start(2).await;
    let roles: Vec<_> = world.view().iter().map(|seen| seen.role).collect();
    assert_eq!(roles, [Role::Primary, Role::Replica, Role::Replica]);
    assert_eq!(world.view()[0].timeline, Some(1));
    world.throughout_once(Duration::from_secs(1), "low lag", |seen| seen[1..].iter().all(lag_is_low)).await;
    world.databases.primary.sql("SELECT pg_switch_wal()").ok();
    world.databases.settle();
    world
        .until("the switch is replayed", |seen| seen[1..].iter().all(|seen| seen.lag_bytes == Some(0)))
        .await;
    world
        .throughout_once(Duration::from_secs(2), "low lag behind an empty segment", |seen| {
            seen[1..].iter().all(|seen| lag_is_low(seen) && seen.why_not.is_none())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paused_replay_is_lag_and_resumed_replay_returns() {
    let mut world = World::start(1).await;
    world.databases.replicas[0].pause_replay();
    world.throughout_once(MAX_LAG * 2, "nothing is missed yet", |seen| lag_is_low(&seen[1])).await;
    let before = Instant::now();
    world.databases.primary.sql("INSERT INTO t VALUES (1)").ok();
    let written = Instant::now();
    world.until("it lags", |seen| seen[1].why_not == Some(Why::Lagging)).await;
    let noticed = written.elapsed();
    assert!(noticed >= MAX_LAG - INTERVAL && noticed < PATIENCE, "{noticed:?}");
    assert_eq!(world.run(Want::Replica, "SELECT 1").await.0, Landed::PrimaryForLag);
    // The row was committed between two moments; lag is never less than the truth.
    let least = written.elapsed();
    let lag = world.view()[1].lag.expect("it is known");
    let most = before.elapsed() + Duration::from_secs(5);
    assert!(lag + INTERVAL >= least && lag <= most, "{lag:?}, not {least:?} to {most:?}");
    world.databases.replicas[0].resume_replay();
    world.until("it returns", |seen| seen[1].why_not.is_none()).await;
    assert_eq!(world.run(Want::Replica, "SELECT 1").await.0, Landed::Replica);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_receiver_lags_once_something_is_written() {
    let world = World::start(1).await;
    world.databases.replicas[0].freeze_receiver();
    world.databases.primary.sql("INSERT INTO t VALUES (1)").ok();
    world.until("it lags", |seen| seen[1].why_not == Some(Why::Lagging)).await;
    world.databases.replicas[0].thaw();
    world.until("it returns", |seen| seen[1].why_not.is_none()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_replica_takes_no_reads_within_the_bound_and_two_probes() {
    let mut world = World::start(1).await;
    assert_eq!(world.run(Want::Replica, "SELECT 1").await.0, Landed::Replica);
    world.databases.replicas[0].freeze();
    let frozen = Instant::now();
    let bound = MAX_LAG + 2 * (INTERVAL + PROBE_TIMEOUT);
    // The statement would hang on the frozen replica, so only the choice is looked at.
    let landed = loop {
        let Leased { lease, landed } = world.lease(Want::Replica).await;
        lease.release();
        if landed != Landed::Replica || frozen.elapsed() > PATIENCE {
            break landed;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    };
    let noticed = frozen.elapsed();
    assert!(landed.is_primary() && noticed < bound + PATIENCE / 3, "{landed:?} after {noticed:?}");
    world.until("it is down", |seen| !seen[1].up).await;
    world.databases.replicas[0].thaw();
    world.until("it returns", |seen| seen[1].why_not.is_none()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_reads_what_it_wrote_on_replicas() {
    let mut world = World::start(2).await;
    let (mut on_replica, mut worst, mut total) = (0, Duration::ZERO, Duration::ZERO);
    const ROUNDS: u32 = 300;
    for round in 1..=ROUNDS {
        world.run(Want::Primary, &format!("UPDATE t SET n = {round}")).await;
        let began = Instant::now();
        let (landed, seen) = world.run(Want::Replica, "SELECT n FROM t").await;
        let took = began.elapsed();
        assert_eq!(seen, round.to_string(), "on {landed:?}");
        if landed == Landed::Replica {
            on_replica += 1;
            (worst, total) = (worst.max(took), total + took);
        }
    }
    println!("{on_replica} of {ROUNDS} on a replica, mean {:?}, worst {worst:?}", total / on_replica.max(1));
    assert!(
        on_replica > ROUNDS * 9 / 10,
        "only {on_replica} of {ROUNDS} reads found a replica that had caught up"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_of_many_sessions_never_go_back_in_time() {
    let world = World::start(2).await;
    world.databases.replicas[1].set("recovery_min_apply_delay", "40ms");
    let writer = tokio::spawn({
        let port = world.databases.primary.port();
        async move {
            tokio::task::spawn_blocking(move || {
                let login = integration::Login::new(port, "app", PASSWORD, "app");
                let mut wire = integration::Wire::login(&login).expect("app may sign in");
                for n in 1..=400 {
                    wire.query(&format!("UPDATE t SET n = {n}")).ok();
                    std::thread::sleep(Duration::from_millis(5));
                }
            })
            .await
        }
    });
    let mut readers = Vec::new();
    for _ in 0..8 {
        let access = world.access.clone();
        readers.push(tokio::spawn(async move {
            let mut session = Freshness::default();
            let (mut last, mut moves, mut replica) = (0, 0, None);
            let began = Instant::now();
            while began.elapsed() < Duration::from_secs(2) {
                let need = Need {
                    want: Want::Replica,
                    consistency: Consistency::Session,
                    max_lag: None,
                    freshness: &mut session,
                    exclude: None,
                    now: Instant::now(),
                    deadline: Instant::now() + PATIENCE,
                };
                let Leased { mut lease, landed } = access.lease(need).await.expect("a lease");
                let n: i64 = ask(&mut lease, "SELECT n FROM t").await.parse().expect("a number");
                let (id, now) = (lease.endpoint().id, Instant::now());
                lease.release();
                if landed.is_primary() {
                    session.used_primary(id, None, now)
                } else {
                    session.used_replica(id, |_| false, now)
                }
                assert!(n >= last, "{n} after {last} on {landed:?}");
                last = n;
                moves += u32::from(replica.replace(id) != Some(id));
                tokio::time::sleep(Duration::from_millis(n as u64 * 7 % 90)).await;
            }
            moves
        }));
    }
    let mut moves = 0;
    for reader in readers {
        moves += reader.await.expect("no reader panics");
    }
    println!("{moves} moves");
    writer.await.expect("no panic").expect("no panic");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_is_followed_and_the_old_primary_is_not_trusted() {
    let mut world = World::start(2).await;
    world.run(Want::Primary, "UPDATE t SET n = 1").await;
    world.databases.settle();
    world.databases.primary.kill();
    let killed = Instant::now();
    world.until("the primary is gone", |seen| !seen[0].up).await;
    println!("the loss was noticed after {:?}", killed.elapsed());
    let (cluster, ports) = (world.cluster.clone(), world.databases.replicas[0].address());
    let reads = world.run(Want::Any, "SELECT pg_is_in_recovery()").await;
    assert_eq!(reads, (Landed::Replica, "t".to_owned()));
    world.databases.replicas[0].promote();
    assert_eq!(world.run(Want::Primary, "UPDATE t SET n = 2").await.0, Landed::Primary);
    let view = cluster.view();
    let primary = view.endpoints.iter().find(|seen| seen.role == Role::Primary).expect("there is one");
    assert_eq!((primary.endpoint.address.to_string(), primary.timeline), (ports, Some(2)));
    assert_eq!(view.incarnation, 2);
    assert_eq!(world.run(Want::Replica, "SELECT n FROM t").await.1, "2");
    world.databases.primary.start();
    world.until("the old one is back", |seen| seen[0].up).await;
    world
        .throughout(Duration::from_millis(500), "and is a rival", |seen| {
            seen[0].role == Role::Rival && seen[1].role == Role::Primary
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_and_restarted_replica_costs_nobody_an_error() {
    let mut world = World::start(2).await;
    for round in 0..200 {
        match round {
            50 => world.databases.replicas[0].stop_immediately(),
            120 => world.databases.replicas[0].start(),
            _ => {}
        }
        let Leased { lease, landed } = world.lease(Want::Replica).await;
        assert_eq!(landed, Landed::Replica);
        lease.release();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    world.until("it returns", |seen| seen[1].why_not.is_none()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_primaries_on_one_timeline_stop_writes() {
    let world = World::start(1).await;
    // Made from the same template: the same identity, the same timeline, and it accepts writes.
    let twin = Databases::start(0);
    let mut settings = settings(world.databases.servers());
    settings.endpoints.push(endpoint(&twin.primary));
    world.cluster.apply(settings);
    world.until("writes stop", |seen| seen.len() == 3 && seen[2].up && seen[0].role == Role::Rival).await;
    assert_eq!(world.cluster.view().primary, Err(pool::NoPrimary::Two));
    twin.primary.stop();
    world.until("writes go on", |seen| seen[0].role == Role::Primary).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_probe_password_shows_and_a_reload_mends_it() {
    let databases = Databases::start(0);
    let good = settings(databases.servers());
    let mut bad = good.clone();
    bad.probe.password = Some(Secret::new("wrong".to_owned()));
    let cluster = Cluster::<Postgres>::new(bad);
    assert!(cluster.wait_ready(Instant::now() + PATIENCE).await);
    let seen = cluster.view().endpoints.remove(0);
    assert!(!seen.up && seen.error.is_some_and(|error| error.contains("28P01")));
    cluster.apply(good);
    let began = Instant::now();
    while cluster.view().endpoints[0].role != Role::Primary {
        assert!(began.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let (client, connection) = cluster.control("app").await.expect("it may sign in");
    let driver = tokio::spawn(connection);
    let row = client.query_one("SELECT pg_catalog.current_database()", &[]).await.expect("it answers");
    assert_eq!(row.get::<_, &str>(0), "app");
    drop(client);
    driver.await.expect("no panic").expect("no error");
}
