//! A request goes to the endpoint that was drawn for it, also where it must wait for a backend there.

use super::leases::World;
use crate::settings::Consistency;
use crate::{EndpointId, Freshness, Need, Timer, Want};
use std::time::{Duration, Instant};

/// Endpoint 1 is the primary; of two replicas the second is drawn a thousand times as often.
async fn lopsided() -> World {
    let world = World::with(3, |settings| settings.endpoints[2].weight = 1000).await;
    for _ in 0..2 {
        world.replica(2, 100);
        world.replica(3, 100);
        world.primary(1, 1, 100);
    }
    world
}

fn read(freshness: &mut Freshness) -> Need<'_> {
    let now = Instant::now();
    Need {
        want: Want::Replica,
        consistency: Consistency::Session,
        max_lag: None,
        freshness,
        exclude: None,
        now,
        deadline: now + Duration::from_secs(20),
    }
}

#[tokio::test]
async fn a_replica_that_is_seldom_drawn_gets_its_reads() {
    let world = lopsided().await;
    let mut freshness = Freshness::default();
    while world.fakes[2].logins() == 0 {
        world.access.lease(read(&mut freshness)).await.expect("a lease").lease.release();
        freshness = Freshness::default();
    }
    if world.fakes[1].logins() > 0 {
        // Once in a thousand runs it is drawn first, and has its backend.
        return;
    }
    // The heavy replica has a backend at hand: what cannot be had at once was drawn on the light one.
    let mut need = read(&mut freshness);
    let declined = (0..1_000_000).find_map(|_| match world.access.lease_now(&mut need) {
        Ok(leased) => {
            leased.lease.release();
            None
        }
        Err(declined) => Some(declined),
    });
    let declined = declined.expect("the light one is drawn within a million draws");
    let leased = world.access.lease_after(declined, need, &mut Timer::default()).await.expect("a lease");
    assert_eq!(leased.lease.endpoint().id, EndpointId(2), "it is not drawn again");
    leased.lease.release();
    assert_eq!(world.fakes[1].logins(), 1);
}
