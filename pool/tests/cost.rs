//! What a lease costs: no allocation in the common case. Alone in its process, because it counts.
//!
//! `LEASES=100000` repeats it that often, to be run twice under callgrind: the difference is the cost.

use integration::{Cluster as Databases, PASSWORD};
use pool::{
    Cluster, ClusterSettings, Consistency, EndpointSettings, Freshness, Identity, Landed, Need, PoolSettings,
    ProbeUser, RoleSetting, Timer, Want,
};
use protocol::Secret;
use protocol::postgres::Postgres;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use std::time::{Duration, Instant};

#[global_allocator]
static GLOBAL: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[tokio::test]
async fn a_lease_and_its_release_allocate_nothing() {
    let databases = Databases::start(2);
    let password = || Some(Secret::new(PASSWORD.to_owned()));
    let probe = ProbeUser { user: "app".to_owned(), password: password(), database: "app".to_owned() };
    let endpoints = databases.servers().map(|server| EndpointSettings {
        address: server.address().parse().expect("an address"),
        role: RoleSetting::Auto,
        weight: 1,
    });
    let settings = ClusterSettings {
        max_lag: Duration::from_secs(3600),
        ..ClusterSettings::new("main", endpoints.collect(), probe)
    };
    let cluster = Cluster::<Postgres>::new(settings);
    let deadline = Instant::now() + Duration::from_secs(600);
    while !cluster.view().endpoints[1..].iter().all(|seen| seen.why_not.is_none()) {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let identity = |flavour, pool| Identity {
        flavour,
        database: "app".to_owned(),
        user: "app".to_owned(),
        password: password(),
        pool,
    };
    let access = cluster.access(identity(0, PoolSettings::default()));
    let mut session = Freshness::default();
    let rounds = std::env::var("LEASES").ok().and_then(|count| count.parse().ok()).unwrap_or(1000u32);
    for (want, expected, sticks) in [
        (Want::Primary, Landed::Primary, false),
        (Want::Replica, Landed::Replica, false),
        (Want::Replica, Landed::Replica, true),
    ] {
        let mut lease = async |rounds: u32| {
            for _ in 0..rounds {
                let need = Need {
                    want,
                    consistency: Consistency::Session,
                    max_lag: None,
                    freshness: &mut session,
                    exclude: None,
                    now: Instant::now(),
                    deadline,
                };
                let leased = access.lease(need).await.expect("a lease");
                assert_eq!(leased.landed, expected);
                let id = leased.lease.endpoint().id;
                leased.lease.release();
                if sticks {
                    session.used_replica(id, |_| false, Instant::now());
                }
            }
        };
        lease(100).await;
        // A probe whose time has come allocates, and so may another thread: not every time.
        let mut change = (1, 1);
        for _ in 0..5 {
            let region = Region::new(GLOBAL);
            let began = Instant::now();
            lease(rounds).await;
            println!("{want:?} sticks={sticks}: {:?} a round", began.elapsed() / rounds);
            change = (region.change().allocations, region.change().reallocations);
            if change == (0, 0) {
                break;
            }
        }
        assert_eq!(change, (0, 0), "{want:?}");
    }

    // Nor does who must wait for a place, once there is room in the line and a timer.
    let narrow = cluster.access(identity(1, PoolSettings { size: 1, ..PoolSettings::default() }));
    let mut timer = Timer::default();
    fn need(session: &mut Freshness, deadline: Instant) -> Need<'_> {
        Need { want: Want::Primary, ..Need::of_anybody(session, Instant::now(), deadline) }
    }
    let mut held = narrow.lease(need(&mut session, deadline)).await.expect("a lease").lease;
    let mut change = (1, 1);
    for round in 0..6 {
        let region = Region::new(GLOBAL);
        for _ in 0..rounds {
            let mut need = need(&mut session, deadline);
            let Err(declined) = narrow.lease_now(&mut need) else { panic!("there is one place") };
            let (leased, ()) = tokio::join!(narrow.lease_after(declined, need, &mut timer), async {
                tokio::task::yield_now().await;
                held.release();
            });
            held = leased.expect("its turn").lease;
        }
        change = (region.change().allocations, region.change().reallocations);
        if round > 0 && change == (0, 0) {
            break;
        }
    }
    held.release();
    assert_eq!(change, (0, 0), "waiting in line");
}
