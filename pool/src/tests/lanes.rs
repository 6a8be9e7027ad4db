//! One lane: places, order, errors, resizes, and what is never lent again.

use super::fake::{Fake, Mood, until};
use crate::connector::Door;
use crate::dial::{DialFailure, Route};
use crate::endpoint::{Clock, Endpoint, EndpointId};
use crate::gate::Gate;
use crate::lane::{Admitted, Lane, TakeError};
use crate::lease::Lease;
use crate::net::{BackendTls, KeepAlive};
use crate::settings::{Identity, PoolSettings};
use crate::timer::Timer;
use arc_swap::ArcSwap;
use protocol::handshake::DialError;
use protocol::postgres::Postgres;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

type TestLane = Arc<Lane<Postgres>>;

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

fn identity(pool: PoolSettings) -> Arc<Identity> {
    Arc::new(Identity {
        database: "app".to_owned(),
        user: "app".to_owned(),
        password: None,
        flavour: 0,
        pool,
    })
}

fn lane(fake: &Fake, pool: PoolSettings) -> TestLane {
    let endpoint = Arc::new(Endpoint::new(EndpointId(1), fake.address.clone(), Clock(Instant::now())));
    let timeout = Duration::from_secs(10);
    let route = Route { tls: BackendTls::default(), keepalive: KeepAlive::default(), timeout };
    let (route, roster) = (ArcSwap::from_pointee(route), Arc::default());
    let door = Arc::new(Door { endpoint, route, logins: Gate::new(4), roster });
    Arc::new(Lane::new(door, &identity(pool), pool, None))
}

fn sized(fake: &Fake, size: u32) -> TestLane {
    lane(fake, PoolSettings { size, ..PoolSettings::default() })
}

/// A backend, waiting in line for a place and then until one is released or made.
async fn take(lane: &TestLane, deadline: Instant) -> Result<Lease<Postgres>, TakeError> {
    match lane.admit(Instant::now(), deadline, &mut Timer::default()).await? {
        Admitted::Lease(lease) => Ok(lease),
        Admitted::Unserved(unserved) => lane.await_backend(unserved, deadline).await,
    }
}

fn is_full(error: &TakeError) -> bool {
    matches!(error, TakeError::Full)
}

#[tokio::test]
async fn released_is_reused_and_dropped_is_closed() {
    let fake = Fake::start().await;
    let lane = sized(&fake, 1);
    assert!(lane.try_take(Instant::now()).is_none(), "nothing is idle yet");
    take(&lane, soon()).await.expect("it signs in").release();
    for _ in 0..100 {
        lane.try_take(Instant::now()).expect("the released one is idle").release();
    }
    assert_eq!(fake.logins(), 1);
    drop(take(&lane, soon()).await.expect("still the first"));
    take(&lane, soon()).await.expect("a second").release();
    assert_eq!(fake.logins(), 2);
    let mut lease = take(&lane, soon()).await.expect("still the second");
    lease.retire();
    lease.release();
    take(&lane, soon()).await.expect("a third").release();
    assert_eq!(fake.logins(), 3);
    let task = tokio::spawn({
        let lane = lane.clone();
        async move {
            let _lease = take(&lane, soon()).await.expect("still the third");
            panic!("on purpose");
        }
    });
    assert!(task.await.is_err());
    take(&lane, soon()).await.expect("a fourth").release();
    assert_eq!(fake.logins(), 4);
    assert_eq!(lane.door.endpoint.in_flight(), 0);
    until("all but one are closed", || fake.open() == 1).await;
}

#[tokio::test]
async fn a_dead_idle_backend_is_replaced_unseen() {
    let fake = Fake::start().await;
    let lane = sized(&fake, 3);
    let leases = [take(&lane, soon()).await, take(&lane, soon()).await, take(&lane, soon()).await];
    leases.into_iter().for_each(|lease| lease.expect("it signs in").release());
    fake.massacre.send_modify(|count| *count += 1);
    until("all are cut", || fake.open() == 0).await;
    take(&lane, soon()).await.expect("a new one").release();
    assert_eq!(fake.logins(), 4);
}

#[tokio::test]
async fn the_size_bounds_and_the_line_is_in_order() {
    let fake = Fake::start().await;
    let lane = sized(&fake, 2);
    let first = take(&lane, soon()).await.expect("one");
    let second = take(&lane, soon()).await.expect("two");
    let late = take(&lane, Instant::now() + Duration::from_millis(30)).await.err().expect("no third");
    assert!(is_full(&late));
    let order = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let mut waiters = Vec::new();
    for number in 0..10 {
        let (line, order) = (lane.clone(), order.clone());
        waiters.push(tokio::spawn(async move {
            let lease = take(&line, soon()).await.expect("a turn");
            order.lock().push(number);
            lease.release();
        }));
        until("it waits in line", || lane.gate.waiting() == number + 1).await;
    }
    first.release();
    for waiter in waiters {
        waiter.await.expect("no waiter panics");
    }
    assert_eq!(*order.lock(), (0..10).collect::<Vec<_>>());
    second.release();
    assert_eq!(fake.counts.most.load(SeqCst), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn never_more_than_the_size_under_load() {
    let fake = Fake::start().await;
    let lane = sized(&fake, 3);
    let mut tasks = Vec::new();
    for number in 0..64u32 {
        let lane = lane.clone();
        tasks.push(tokio::spawn(async move {
            for round in 0..50 {
                let lease = take(&lane, soon()).await.expect("a turn");
                assert!(lane.door.endpoint.in_flight() <= 3);
                match (number + round) % 17 {
                    0 => drop(lease),
                    1 => {
                        tokio::task::yield_now().await;
                        lease.release();
                    }
                    _ => lease.release(),
                }
            }
        }));
    }
    for task in tasks {
        task.await.expect("no task panics");
    }
    assert_eq!(lane.door.endpoint.in_flight(), 0);
    assert_eq!(lane.gate.inside(), 0);
    // What was dropped is closed on the other side a moment later.
    assert!(fake.counts.most.load(SeqCst) <= 3 + 64 * 50 / 17, "{:?}", fake.counts);
    until("what is idle fits", || fake.open() <= 3).await;
}

#[tokio::test]
async fn a_refusal_reaches_the_waiter_at_once() {
    let fake = Fake::start().await;
    fake.mood.send_replace(Mood::Refuses("28P01"));
    let lane = sized(&fake, 5);
    let began = Instant::now();
    let waits = (0..5).map(|_| {
        let lane = lane.clone();
        tokio::spawn(async move { take(&lane, soon()).await })
    });
    for wait in waits.collect::<Vec<_>>() {
        let Err(error) = wait.await.expect("no waiter panics") else { panic!("it was refused") };
        let TakeError::Dial(DialFailure::Refused(DialError::Refused { code, .. })) = error else {
            panic!("{error:?}")
        };
        assert_eq!(code, "28P01");
    }
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    assert_eq!(lane.gate.inside(), 0);
    fake.mood.send_replace(Mood::Kind);
    take(&lane, soon()).await.expect("and it recovers").release();
}

#[tokio::test]
async fn a_closed_port_reaches_the_waiter_at_once() {
    let mut fake = Fake::start().await;
    let lane = sized(&fake, 5);
    fake.stop().await;
    let began = Instant::now();
    let error = take(&lane, soon()).await.err().expect("nobody listens");
    let TakeError::Dial(failure) = error else { panic!("{error:?}") };
    assert!(failure.is_down() && failure.is_endpoints());
    assert!(began.elapsed() < Duration::from_secs(15));
}

#[tokio::test]
async fn one_failure_among_many_hits_one_waiter() {
    let fake = Fake::start().await;
    fake.mood.send_replace(Mood::Slow(Duration::from_secs(2)));
    let lane = sized(&fake, 4);
    let waits: Vec<_> = (0..3)
        .map(|_| {
            let lane = lane.clone();
            tokio::spawn(async move { take(&lane, soon()).await })
        })
        .collect();
    until("three sign in", || fake.counts.signing_in.load(SeqCst) == 3).await;
    fake.mood.send_replace(Mood::Refuses("53300"));
    let fourth = take(&lane, soon()).await;
    assert!(matches!(fourth, Err(TakeError::Dial(_))) || fourth.is_ok());
    let mut good = usize::from(fourth.is_ok());
    for wait in waits {
        let outcome = wait.await.expect("no waiter panics");
        good += usize::from(outcome.is_ok());
        if let Ok(lease) = outcome {
            std::mem::forget(lease);
        }
    }
    assert_eq!(good, 3, "three signed in, one was refused");
}

#[tokio::test]
async fn a_released_backend_ends_the_wait_for_a_slow_sign_in() {
    let fake = Fake::start().await;
    let lane = sized(&fake, 2);
    let lease = take(&lane, soon()).await.expect("it signs in");
    fake.mood.send_replace(Mood::Hangs);
    let waiter = tokio::spawn({
        let lane = lane.clone();
        async move { take(&lane, soon()).await.map(|lease| lease.release()) }
    });
    until("it tries to sign in", || fake.counts.signing_in.load(SeqCst) == 1).await;
    lease.release();
    waiter.await.expect("the waiter does not panic").expect("it is given the released one");
}

#[tokio::test]
async fn sign_ins_at_one_time_are_bounded() {
    let fake = Fake::start().await;
    fake.mood.send_replace(Mood::Slow(Duration::from_millis(20)));
    let lane = sized(&fake, 30);
    let waits: Vec<_> = (0..30)
        .map(|_| {
            let lane = lane.clone();
            tokio::spawn(async move { take(&lane, soon()).await })
        })
        .collect();
    let mut leases = Vec::new();
    for wait in waits {
        leases.push(wait.await.expect("no waiter panics").expect("it signs in"));
    }
    assert_eq!(fake.logins(), 30);
    assert!(fake.counts.most_signing_in.load(SeqCst) <= 4, "{:?}", fake.counts);
}

#[tokio::test]
async fn a_setback_ends_the_wait_and_old_backends_are_closed() {
    let fake = Fake::start().await;
    let lane = sized(&fake, 1);
    let lease = take(&lane, soon()).await.expect("it signs in");
    let waiter = tokio::spawn({
        let lane = lane.clone();
        async move { take(&lane, soon()).await.map(drop) }
    });
    until("it waits in line", || lane.gate.waiting() == 1).await;
    lane.door.endpoint.retire_backends();
    let outcome = waiter.await.expect("the waiter does not panic");
    assert!(matches!(outcome, Err(TakeError::SetBack)), "{outcome:?}");
    assert!(lease.is_outdated());
    lease.release();
    take(&lane, soon()).await.expect("a new one").release();
    assert_eq!(fake.logins(), 2);
    lane.door.endpoint.retire_backends();
    lane.tidy(Instant::now());
    until("what was idle is closed", || fake.open() == 0).await;
}

#[tokio::test]
async fn idle_ones_are_closed_in_time_and_old_ones_when_they_come_back() {
    let fake = Fake::start().await;
    let short = Duration::from_millis(50);
    let idle = lane(&fake, PoolSettings { idle_timeout: Duration::from_secs(1), ..PoolSettings::default() });
    take(&idle, soon()).await.expect("it signs in").release();
    idle.tidy(Instant::now());
    assert_eq!((idle.open(), fake.open()), ((1, 1), 1), "it is still warm");
    idle.tidy(Instant::now() + Duration::from_secs(2));
    until("it is closed for idleness", || fake.open() == 0).await;

    let old = lane(&fake, PoolSettings { lifetime: short, ..PoolSettings::default() });
    take(&old, soon()).await.expect("it signs in").release();
    tokio::time::sleep(short).await;
    old.try_take(Instant::now()).expect("nobody waits for a sign-in because of age").release();
    until("it is closed for age", || fake.open() == 0).await;
}

#[tokio::test]
async fn a_minimum_is_kept_warm() {
    let fake = Fake::start().await;
    let warm = lane(&fake, PoolSettings { min: 2, ..PoolSettings::default() });
    while warm.is_cold() {
        warm.warm().await;
    }
    assert_eq!((fake.logins(), warm.open()), (2, (2, 2)));
    take(&warm, soon()).await.expect("one is ready").release();
    assert_eq!(fake.logins(), 2, "nobody signed in for it");
}

#[tokio::test]
async fn a_cancel_reaches_the_database() {
    let fake = Fake::start().await;
    let lane = sized(&fake, 1);
    let mut lease = take(&lane, soon()).await.expect("it signs in");
    let target = lease.cancel_target();
    crate::cancel(&target, Duration::from_secs(5)).await.expect("it is taken");
    assert_eq!(fake.counts.cancels.load(SeqCst), 1);
}
