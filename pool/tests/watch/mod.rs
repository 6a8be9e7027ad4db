//! Waits for what a cluster's monitor finds, and for what it must not find.

use pool::{Cluster, EndpointView};
use protocol::postgres::Postgres;
use std::time::{Duration, Instant};

/// How long it takes until something holds.
pub async fn until(
    cluster: &Cluster<Postgres>,
    what: &str,
    holds: impl Fn(&[EndpointView]) -> bool,
) -> Duration {
    let began = Instant::now();
    loop {
        let view = cluster.view().endpoints;
        if holds(&view) {
            return began.elapsed();
        }
        assert!(began.elapsed() < Duration::from_secs(60), "never: {what}: {view:#?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// What stays true for a while.
pub async fn throughout(
    cluster: &Cluster<Postgres>,
    time: Duration,
    what: &str,
    holds: impl Fn(&[EndpointView]) -> bool,
) {
    let began = Instant::now();
    while began.elapsed() < time {
        let view = cluster.view().endpoints;
        assert!(holds(&view), "not so after {:?}: {what}: {view:#?}", began.elapsed());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What stays true for a while, at one of twenty attempts: a machine that stands still is late for a moment, what is wrong
/// is late every time.
pub async fn throughout_once(
    cluster: &Cluster<Postgres>,
    time: Duration,
    what: &str,
    holds: impl Fn(&[EndpointView]) -> bool,
) {
    for _ in 0..20 {
        until(cluster, what, &holds).await;
        let began = Instant::now();
        while began.elapsed() < time && holds(&cluster.view().endpoints) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if began.elapsed() >= time {
            return;
        }
    }
    panic!("never for {time:?}: {what}: {:#?}", cluster.view().endpoints);
}
