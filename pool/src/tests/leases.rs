//! Leases over a whole cluster: roles, fallback, failures, waits, reloads.

use super::fake::{Fake, Mood, until};
use crate::board::{Report, Sample};
use crate::lag::Position;
use crate::ledger::Place;
use crate::settings::{
    ClusterSettings, Consistency, EndpointSettings, Fallback, Identity, PoolSettings, ProbeUser, RoleSetting,
};
use crate::topology::Seen;
use crate::{Access, Cluster, EndpointId, Freshness, Landed, LeaseError, Leased, Need, NoPrimary, Want};
use protocol::postgres::Postgres;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A cluster whose probes the test plays.
pub(super) struct World {
    pub(super) fakes: Vec<Fake>,
    pub(super) cluster: Arc<Cluster<Postgres>>,
    pub(super) access: Arc<Access<Postgres>>,
    session: Freshness,
}

fn settings(fakes: &[Fake]) -> ClusterSettings {
    let probe = ProbeUser { user: String::new(), password: None, database: String::new() };
    let endpoint =
        |fake: &Fake| EndpointSettings { address: fake.address.clone(), role: RoleSetting::Auto, weight: 1 };
    // Time passes while a test runs: nothing here goes stale by itself.
    ClusterSettings {
        max_lag: Duration::from_secs(600),
        probe_interval: Duration::from_secs(100),
        causal_wait: Duration::from_millis(200),
        ..ClusterSettings::new("main", fakes.iter().map(endpoint).collect(), probe)
    }
}

fn identity(size: u32) -> Identity {
    let pool = PoolSettings { size, ..PoolSettings::default() };
    Identity { database: "app".to_owned(), user: "app".to_owned(), password: None, flavour: 0, pool }
}

impl World {
    pub(super) async fn with(count: usize, change: impl FnOnce(&mut ClusterSettings)) -> Self {
        let mut fakes = Vec::new();
        for _ in 0..count {
            fakes.push(Fake::start().await);
        }
        let mut settings = settings(&fakes);
        change(&mut settings);
        let cluster = Cluster::unwatched(&settings);
        cluster.rebuild(settings, false);
        let access = cluster.access(identity(2));
        Self { fakes, cluster, access, session: Freshness::default() }
    }

    /// Endpoint 1 is the primary, the others follow it closely.
    pub(super) async fn healthy(count: usize) -> Self {
        Self::healthy_with(count, |_| {}).await
    }

    async fn healthy_with(count: usize, change: impl FnOnce(&mut ClusterSettings)) -> Self {
        let world = Self::with(count, change).await;
        world.replicas(100);
        world.primary(1, 1, 100);
        world.replicas(100);
        world
    }

    fn report(&self, id: u32, report: Report) {
        self.cluster.outlook().report(EndpointId(id), report, Instant::now());
    }

    pub(super) fn primary(&self, id: u32, timeline: u32, position: u64) {
        let seen = Seen { recovering: false, follows: false, timeline: Some(timeline), identity: None };
        self.report(id, sample(seen, position));
    }

    pub(super) fn replica(&self, id: u32, position: u64) {
        self.report(
            id,
            sample(Seen { recovering: true, follows: false, timeline: None, identity: None }, position),
        );
    }

    /// The same on a connection that has told of it before.
    pub(super) fn replays_on(&self, id: u32, position: u64) {
        let Report::Sample(sample) =
            sample(Seen { recovering: true, follows: false, timeline: None, identity: None }, position)
        else {
            return;
        };
        self.report(id, Report::Sample(Sample { first: false, ..sample }));
    }

    fn replicas(&self, position: u64) {
        (2..=self.fakes.len() as u32).for_each(|id| self.replica(id, position));
    }

    pub(super) fn fails(&self, id: u32) {
        self.report(id, Report::Failed("refused".to_owned()));
    }

    pub(super) async fn lease(&mut self, want: Want) -> Result<Leased<Postgres>, LeaseError> {
        self.lease_until(want, Duration::from_secs(20)).await
    }

    async fn lease_until(&mut self, want: Want, wait: Duration) -> Result<Leased<Postgres>, LeaseError> {
        let need = Need {
            want,
            consistency: Consistency::Session,
            max_lag: None,
            freshness: &mut self.session,
            exclude: None,
            now: Instant::now(),
            deadline: Instant::now() + wait,
        };
        self.access.lease(need).await
    }

    /// Leases, releases, and says where it landed.
    pub(super) async fn lands(&mut self, want: Want) -> (u32, Landed) {
        let Leased { lease, landed } = self.lease(want).await.expect("a lease");
        let id = lease.endpoint().id;
        lease.release();
        (id.0, landed)
    }
}

fn sample(seen: Seen, position: u64) -> Report {
    let started = Instant::now();
    let place = Some(Place::Log(Position(position)));
    Report::Sample(Sample { seen, place, seconds_behind: None, started, first: true })
}

#[tokio::test]
async fn writes_go_to_the_primary_and_reads_to_replicas() {
    let mut world = World::healthy(3).await;
    assert_eq!(world.lands(Want::Primary).await, (1, Landed::Primary));
    assert_eq!(world.lands(Want::Any).await, (1, Landed::Primary));
    let mut seen = [0; 4];
    for _ in 0..200 {
        let (id, landed) = world.lands(Want::Replica).await;
        assert_eq!(landed, Landed::Replica);
        seen[id as usize] += 1;
    }
    assert!(seen[2] > 50 && seen[3] > 50 && seen[1] == 0, "{seen:?}");
}

#[tokio::test]
async fn a_stopped_replica_costs_a_reader_nothing() {
    let mut world = World::healthy(3).await;
    world.fakes[1].stop().await;
    for _ in 0..50 {
        assert_eq!(world.lands(Want::Replica).await, (3, Landed::Replica));
    }
    world.fakes[2].stop().await;
    until("its backends are cut", || world.fakes[2].open() == 0).await;
    // The news of it is on its way through the kernel.
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(world.lands(Want::Replica).await, (1, Landed::PrimaryForNoReplica));
    let view = world.cluster.view();
    assert!(view.endpoints[1..].iter().all(|endpoint| !endpoint.up && endpoint.error.is_some()));
}

#[tokio::test]
async fn a_full_database_is_not_a_dead_one() {
    let mut world = World::healthy(3).await;
    world.fakes[1].mood.send_replace(Mood::Refuses("53300"));
    for _ in 0..20 {
        assert_eq!(world.lands(Want::Replica).await, (3, Landed::Replica));
    }
    assert!(world.cluster.view().endpoints[1].up);
    world.fakes[0].mood.send_replace(Mood::Refuses("53300"));
    let error = world.lease(Want::Primary).await.err().expect("refused");
    assert_eq!(error.fault().sqlstate(), "53300");
}

#[tokio::test]
async fn a_wrong_password_is_passed_on() {
    let mut world = World::healthy(2).await;
    world.fakes[0].mood.send_replace(Mood::Refuses("28P01"));
    world.fakes[1].mood.send_replace(Mood::Refuses("28P01"));
    for want in [Want::Primary, Want::Replica] {
        let error = world.lease(want).await.err().expect("refused");
        assert_eq!(error.fault().sqlstate(), "28P01");
        assert!(error.fault().message.contains("not today"));
    }
}

#[tokio::test]
async fn a_full_pool_says_so() {
    let mut world = World::healthy(1).await;
    let held = [world.lease(Want::Primary).await, world.lease(Want::Primary).await];
    let error = world.lease_until(Want::Primary, Duration::from_millis(30)).await.err().expect("full");
    assert!(matches!(error, LeaseError::Full { size: 2, in_use: 2, .. }), "{error:?}");
    assert_eq!(error.fault().sqlstate(), "53300");
    assert_eq!(world.cluster.view().endpoints[0].endpoint.in_flight(), 2);
    drop(held);
    assert_eq!(world.cluster.view().endpoints[0].endpoint.in_flight(), 0);
}

#[tokio::test]
async fn a_read_does_not_wait_in_line_while_another_replica_has_room() {
    let mut world = World::healthy(3).await;
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(world.lease(Want::Replica).await.expect("four places on two replicas"));
    }
    let waiting = world.lease_until(Want::Replica, Duration::from_millis(30)).await;
    assert!(matches!(waiting, Err(LeaseError::Full { .. })));
}

#[tokio::test]
async fn writes_wait_for_a_primary_and_say_why_there_is_none() {
    let mut world = World::healthy(2).await;
    world.fails(1);
    let error = world.lease_until(Want::Primary, Duration::from_millis(30)).await.err().expect("no primary");
    assert!(matches!(error, LeaseError::NoPrimary(NoPrimary::Lost)), "{error:?}");
    assert_eq!(error.fault().sqlstate(), "08006");
    assert_eq!(world.lands(Want::Replica).await, (2, Landed::Replica), "reads go on");
    assert_eq!(world.lands(Want::Any).await, (2, Landed::Replica));
    let cluster = world.cluster.clone();
    let promotion = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let seen = Seen { recovering: false, follows: false, timeline: Some(2), identity: None };
        cluster.outlook().report(EndpointId(2), sample(seen, 200), Instant::now());
    });
    assert_eq!(world.lands(Want::Primary).await, (2, Landed::Primary), "and writes after a failover");
    promotion.await.expect("the promotion does not panic");
}

#[tokio::test]
async fn a_primary_that_refuses_connections_is_waited_for() {
    let mut world = World::healthy(2).await;
    world.fakes[0].mood.send_replace(Mood::Refuses("57P03"));
    let (mood, cluster) = (world.fakes[0].mood.clone(), world.cluster.clone());
    let recovery = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(50)).await;
        mood.send_replace(Mood::Kind);
        let seen = Seen { recovering: false, follows: false, timeline: Some(1), identity: None };
        cluster.outlook().report(EndpointId(1), sample(seen, 200), Instant::now());
    });
    assert_eq!(world.lands(Want::Primary).await, (1, Landed::Primary));
    recovery.await.expect("the recovery does not panic");
}

#[tokio::test]
async fn a_role_change_closes_the_backends() {
    let mut world = World::healthy(2).await;
    let lease = world.lease(Want::Primary).await.expect("a lease").lease;
    world.fails(1);
    world.primary(2, 2, 200);
    world.replica(1, 200);
    assert!(lease.is_outdated());
    lease.release();
    assert_eq!(world.lands(Want::Primary).await, (2, Landed::Primary));
    until("the old primary's backend is closed", || world.fakes[0].open() == 0).await;
}

#[tokio::test]
async fn a_session_sees_its_own_writes() {
    let mut world = World::healthy(2).await;
    assert_eq!(world.lands(Want::Replica).await, (2, Landed::Replica));
    world.session.used_primary(EndpointId(1), None, Instant::now());
    let began = Instant::now();
    assert_eq!(
        world.lands(Want::Replica).await,
        (1, Landed::PrimaryForFence),
        "nobody answers for the replica"
    );
    assert!(began.elapsed() >= Duration::from_millis(200), "it waits as long as it may");

    world.session.used_primary(EndpointId(1), None, Instant::now());
    world.primary(1, 1, 300);
    world.replicas(299);
    assert_eq!(world.lands(Want::Replica).await, (1, Landed::PrimaryForFence), "one byte short");

    // Longer than it takes on a busy machine until the replica is there.
    let mut world = World::healthy_with(2, |settings| settings.causal_wait = Duration::from_secs(20)).await;
    world.session.used_primary(EndpointId(1), None, Instant::now());
    let cluster = world.cluster.clone();
    let replay = tokio::spawn(async move {
        let primary = Seen { recovering: false, follows: false, timeline: Some(1), identity: None };
        let replica = Seen { recovering: true, follows: false, timeline: None, identity: None };
        tokio::time::sleep(Duration::from_millis(20)).await;
        cluster.outlook().report(EndpointId(1), sample(primary, 400), Instant::now());
        tokio::time::sleep(Duration::from_millis(20)).await;
        cluster.outlook().report(EndpointId(2), sample(replica, 400), Instant::now());
    });
    assert_eq!(world.lands(Want::Replica).await, (2, Landed::Replica), "it waits until the replica is there");
    replay.await.expect("the replay does not panic");
    assert_eq!(world.lands(Want::Replica).await, (2, Landed::Replica), "and then no more");
}

#[tokio::test]
async fn fallback_error_and_stale() {
    for (fallback, expected) in [
        (Fallback::Error, None),
        (Fallback::Stale, Some(Landed::ReplicaStale)),
        (Fallback::Primary, Some(Landed::PrimaryForLag)),
    ] {
        let mut world = World::with(2, |settings| settings.fallback = fallback).await;
        world.replica(2, 50);
        world.primary(1, 1, 100);
        world.replica(2, 50);
        match (world.lease(Want::Replica).await, expected) {
            (Ok(leased), Some(landed)) => assert_eq!(leased.landed, landed),
            (Err(LeaseError::NoReplica), None) => {}
            (Ok(leased), None) => panic!("{:?}", leased.landed),
            (Err(error), _) => panic!("{fallback:?}: {error}"),
        }
    }
}

#[tokio::test]
async fn a_reload_drains_what_is_gone_and_keeps_what_stays() {
    let mut world = World::healthy(3).await;
    world.lands(Want::Primary).await;
    let held = loop {
        let leased = world.lease(Want::Replica).await.expect("a lease");
        if leased.lease.endpoint().id == EndpointId(3) {
            break leased;
        }
        leased.lease.release();
    };
    let idle = loop {
        let leased = world.lease(Want::Replica).await.expect("a lease");
        if leased.lease.endpoint().id == EndpointId(2) {
            break leased.lease;
        }
    };
    idle.release();
    world.cluster.rebuild(settings(&world.fakes[..2]), false);
    for _ in 0..20 {
        assert_eq!(world.lands(Want::Replica).await, (2, Landed::Replica));
    }
    // What was idle there is closed in the background, what is lent stays.
    until("only what is lent is left", || world.fakes[2].open() == 1).await;
    held.lease.release();
    until("and is closed then", || world.fakes[2].open() == 0).await;
    assert_eq!(world.lands(Want::Primary).await, (1, Landed::Primary));
    assert_eq!((world.fakes[0].logins(), world.fakes[1].logins()), (1, 1), "the others keep their pools");

    world.cluster.rebuild(settings(&world.fakes), false);
    assert_eq!(world.lands(Want::Replica).await.0, 2, "a new endpoint must be probed first");
    world.replica(4, 100);
    let mut seen = false;
    for _ in 0..100 {
        seen |= world.lands(Want::Replica).await.0 == 4;
    }
    assert!(seen, "the same address, a new endpoint");
}

#[tokio::test]
async fn a_pool_is_resized_in_place() {
    let mut world = World::healthy(1).await;
    let one = world.lease(Want::Primary).await.expect("one");
    let two = world.lease(Want::Primary).await.expect("two");
    let again = world.cluster.access(identity(3));
    assert!(Arc::ptr_eq(&again, &world.access));
    let three = world.lease(Want::Primary).await.expect("three");
    world.cluster.access(identity(1));
    [one, two, three].into_iter().for_each(|leased| leased.lease.release());
    let held = world.lease(Want::Primary).await.expect("one");
    assert!(world.lease_until(Want::Primary, Duration::from_millis(30)).await.is_err());
    drop(held);
    let other = Identity { user: "other".to_owned(), ..identity(1) };
    assert!(!Arc::ptr_eq(&world.cluster.access(other), &world.access));
}

#[tokio::test]
async fn a_shutdown_ends_every_wait() {
    let mut world = World::healthy(1).await;
    let held = [world.lease(Want::Primary).await, world.lease(Want::Primary).await];
    let cluster = world.cluster.clone();
    let shutdown = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(30)).await;
        cluster.shut_down();
    });
    let error = world.lease(Want::Primary).await.err().expect("no more");
    assert!(matches!(error, LeaseError::Shutdown), "{error:?}");
    shutdown.await.expect("the shutdown does not panic");
    drop(held);
    until("all is closed", || world.fakes[0].open() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn cancelled_waits_leave_no_trace() {
    let world = Arc::new(World::healthy(2).await);
    let mut tasks = Vec::new();
    for number in 0..200u64 {
        let world = world.clone();
        tasks.push(tokio::spawn(async move {
            let mut session = Freshness::default();
            let want = if number % 2 == 0 { Want::Primary } else { Want::Replica };
            for round in 0..20 {
                let need = Need {
                    want,
                    consistency: Consistency::Session,
                    max_lag: None,
                    freshness: &mut session,
                    exclude: None,
                    now: Instant::now(),
                    deadline: Instant::now() + Duration::from_secs(20),
                };
                let patience = Duration::from_micros((number * 37 + round * 101) % 3000);
                if let Ok(leased) = tokio::time::timeout(patience, world.access.lease(need)).await {
                    tokio::task::yield_now().await;
                    leased.expect("a lease").lease.release();
                }
            }
        }));
    }
    for task in tasks {
        task.await.expect("no task panics");
    }
    for pool in world.cluster.view().pools {
        assert_eq!((pool.in_use, pool.waiting), (0, 0), "{pool:?}");
    }
    // A sign-in that nobody waited for any more may have made one too many: it goes when the lanes are tended.
    world.access.lanes.load().lanes.iter().for_each(|lane| lane.tidy(Instant::now()));
    assert!(world.cluster.view().pools.iter().all(|pool| pool.open <= 2), "{:?}", world.cluster.view().pools);
    assert!(world.cluster.view().endpoints.iter().all(|endpoint| endpoint.endpoint.in_flight() == 0));
}
