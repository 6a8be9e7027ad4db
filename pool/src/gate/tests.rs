use super::{Entry, Gate};
use crate::timer::Timer;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::time::{Duration, Instant};
use tokio::task::yield_now;

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

async fn enter(gate: &Gate, deadline: Instant) -> bool {
    gate.enter(deadline, &mut Timer::default(), || false).await == Entry::In
}

#[tokio::test]
async fn first_come_first_served_and_nobody_overtakes() {
    let gate = Arc::new(Gate::new(1));
    assert!(gate.try_enter());
    let order = Arc::new(AtomicU32::new(0));
    let mut waiters = Vec::new();
    for number in 0..20 {
        let (entrance, order) = (gate.clone(), order.clone());
        waiters.push(tokio::spawn(async move {
            assert!(enter(&entrance, soon()).await);
            assert_eq!(order.fetch_add(1, SeqCst), number);
            yield_now().await;
            entrance.leave();
        }));
        while gate.waiting() <= number {
            yield_now().await;
        }
    }
    gate.leave();
    assert!(!gate.try_enter(), "a place that was given to a waiter is not free");
    for waiter in waiters {
        waiter.await.expect("no waiter panics");
    }
    assert_eq!((gate.inside(), gate.waiting()), (0, 0));
}

#[tokio::test]
async fn a_deadline_ends_the_wait_and_leaves_no_trace() {
    let gate = Gate::new(1);
    assert!(gate.try_enter());
    assert!(!enter(&gate, Instant::now() + Duration::from_millis(20)).await);
    assert_eq!((gate.inside(), gate.waiting()), (1, 0));
    gate.leave();
    assert!(gate.try_enter());
}

#[tokio::test]
async fn grows_and_shrinks_while_in_use() {
    let gate = Gate::new(3);
    assert!(gate.try_enter() && gate.try_enter() && gate.try_enter());
    gate.resize(1);
    assert_eq!((gate.size(), gate.inside()), (1, 3), "nobody is thrown out");
    gate.leave();
    gate.leave();
    assert!(!gate.try_enter(), "places go as their holders leave");
    gate.resize(2);
    assert!(gate.try_enter());
    assert!(!gate.try_enter());
    gate.resize(1);
    gate.resize(4);
    assert_eq!(gate.inside(), 2, "what was owed is forgiven first");
    assert!(gate.try_enter() && gate.try_enter());
    assert!(!gate.try_enter());
    for _ in 0..4 {
        gate.leave();
    }
    assert_eq!(gate.inside(), 0);
    gate.resize(0);
    assert_eq!(gate.size(), 1, "a pool without a place would wait for ever");
}

#[tokio::test]
async fn a_waiter_that_gives_up_passes_its_place_on() {
    let gate = Arc::new(Gate::new(1));
    assert!(gate.try_enter());
    let quitter = tokio::spawn({
        let gate = gate.clone();
        async move { enter(&gate, soon()).await }
    });
    while gate.waiting() == 0 {
        yield_now().await;
    }
    let patient = tokio::spawn({
        let gate = gate.clone();
        async move { enter(&gate, soon()).await }
    });
    while gate.waiting() < 2 {
        yield_now().await;
    }
    quitter.abort();
    assert!(quitter.await.is_err());
    gate.leave();
    assert!(patient.await.expect("the patient one does not panic"));
}

#[tokio::test]
async fn who_is_stirred_asks_whether_waiting_is_called_off() {
    let gate = Arc::new(Gate::new(1));
    let off = Arc::new(AtomicBool::new(false));
    assert!(gate.try_enter());
    let waiters: Vec<_> = (0..3)
        .map(|_| {
            let (gate, off) = (gate.clone(), off.clone());
            tokio::spawn(async move { gate.enter(soon(), &mut Timer::default(), || off.load(SeqCst)).await })
        })
        .collect();
    while gate.waiting() < 3 {
        yield_now().await;
    }
    gate.stir();
    yield_now().await;
    assert_eq!(gate.waiting(), 3, "nothing was called off");
    off.store(true, SeqCst);
    gate.stir();
    for waiter in waiters {
        assert_eq!(waiter.await.expect("no waiter panics"), Entry::Off);
    }
    assert_eq!((gate.inside(), gate.waiting()), (1, 0));
}

/// No place is lost and none is given twice, whoever meets whom.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_come_and_go_at_once() {
    let gate = Arc::new(Gate::new(2));
    let inside = Arc::new(AtomicU32::new(0));
    let visitors: Vec<_> = (0..8)
        .map(|visitor| {
            let (gate, inside) = (gate.clone(), inside.clone());
            tokio::spawn(async move {
                for turn in 0..2_000 {
                    // Some come only if there is room, some give up at once.
                    let entered = match (visitor + turn) % 3 {
                        0 => gate.try_enter(),
                        1 => enter(&gate, Instant::now()).await,
                        _ => enter(&gate, soon()).await,
                    };
                    if entered {
                        assert!(inside.fetch_add(1, SeqCst) < 2);
                        yield_now().await;
                        inside.fetch_sub(1, SeqCst);
                        gate.leave();
                    } else {
                        assert_ne!((visitor + turn) % 3, 2, "who waits gets in");
                    }
                }
            })
        })
        .collect();
    for visitor in visitors {
        visitor.await.expect("no visitor panics");
    }
    assert_eq!((gate.inside(), gate.waiting()), (0, 0));
    assert!(gate.try_enter() && gate.try_enter() && !gate.try_enter());
}
