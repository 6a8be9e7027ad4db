//! What operators do: drain, maintenance, reconnect.

use super::fake::until;
use super::leases::World;
use crate::{Duty, Landed, Want, Why};

#[tokio::test]
async fn a_drained_replica_takes_no_reads_and_keeps_what_runs() {
    let mut world = World::healthy(3).await;
    let address = world.fakes[1].address.to_string();
    let held = loop {
        let leased = world.lease(Want::Replica).await.expect("a lease");
        if leased.lease.endpoint().id.0 == 2 {
            break leased.lease;
        }
        leased.lease.release();
    };
    world.cluster.assign(&address, Duty::Drain).expect("a replica can be drained");
    for _ in 0..50 {
        assert_eq!(world.lands(Want::Replica).await, (3, Landed::Replica));
    }
    assert!(!held.is_outdated(), "what runs ends in peace");
    held.release();
    let view = world.cluster.view();
    assert_eq!((view.endpoints[1].why_not, view.endpoints[1].duty), (Some(Why::Draining), Duty::Drain));
    assert!(view.endpoints[1].up, "its health is another matter");
    world.cluster.assign(&address, Duty::Ready).expect("it returns");
    let mut seen = 0;
    for _ in 0..100 {
        seen += u32::from(world.lands(Want::Replica).await.0 == 2);
    }
    assert!(seen > 10, "{seen}");
}

#[tokio::test]
async fn with_every_replica_drained_reads_go_to_the_primary() {
    let mut world = World::healthy(2).await;
    world.cluster.assign(&world.fakes[1].address.to_string(), Duty::Drain).expect("drained");
    assert_eq!(world.lands(Want::Replica).await, (1, Landed::PrimaryForNoReplica));
    let primary = world.fakes[0].address.to_string();
    assert!(world.cluster.assign(&primary, Duty::Drain).is_err(), "writes have nowhere else to go");
    assert!(world.cluster.assign("nobody:1", Duty::Drain).is_err());
}

#[tokio::test]
async fn maintenance_closes_the_backends() {
    let mut world = World::healthy(2).await;
    assert_eq!(world.lands(Want::Replica).await, (2, Landed::Replica));
    assert_eq!(world.fakes[1].open(), 1);
    world.cluster.assign(&world.fakes[1].address.to_string(), Duty::Maintenance).expect("out of service");
    assert_eq!(world.lands(Want::Replica).await, (1, Landed::PrimaryForNoReplica));
    let view = world.cluster.view();
    assert_eq!((view.endpoints[1].up, view.endpoints[1].why_not), (false, Some(Why::Maintenance)));
}

#[tokio::test]
async fn reconnect_replaces_idle_backends_at_once_and_lent_ones_later() {
    let mut world = World::healthy(1).await;
    let everyone = |_: &str, _: &str| true;
    let held = world.lease(Want::Primary).await.expect("a lease").lease;
    assert_eq!(world.lands(Want::Primary).await, (1, Landed::Primary));
    let before: Vec<u32> = world.cluster.backends().iter().map(|card| card.id).collect();
    assert_eq!(before.len(), 2);
    world.cluster.reconnect(&|database, _| database == "another");
    assert_eq!(world.cluster.closing(&everyone), 0);
    world.cluster.reconnect(&|database, user| database == "app" && user == "app");
    until("the idle one is closed", || world.fakes[0].open() == 1).await;
    assert_eq!(world.cluster.closing(&everyone), 1);
    assert!(!held.is_outdated());
    held.release();
    until("the lent one is closed", || world.fakes[0].open() == 0).await;
    assert_eq!(world.cluster.closing(&everyone), 0);
    assert_eq!(world.lands(Want::Primary).await, (1, Landed::Primary));
    let after: Vec<u32> = world.cluster.backends().iter().map(|card| card.id).collect();
    assert!(after.len() == 1 && !before.contains(&after[0]));
}
