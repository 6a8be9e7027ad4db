use super::{Load, SHARE_ONE, Strength, choose, is_worth_a_move, share};
use std::time::Duration;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn strength(weight: u32) -> Strength {
    Strength { weight, ramp: None, lag: (ms(0), ms(1000)), latency_us: (0, 0) }
}

#[test]
fn shares() {
    let plain = strength(2);
    let cases = [
        ("full strength", plain, 2 * SHARE_ONE),
        ("weight 0 has no share", strength(0), 0),
        ("just returned", Strength { ramp: Some((ms(0), ms(1000))), ..plain }, SHARE_ONE / 4),
        ("half of the slow start", Strength { ramp: Some((ms(500), ms(1000))), ..plain }, SHARE_ONE),
        ("after the slow start", Strength { ramp: Some((ms(5000), ms(1000))), ..plain }, 2 * SHARE_ONE),
        ("no slow start", Strength { ramp: Some((ms(0), ms(0))), ..plain }, 2 * SHARE_ONE / 8),
        ("half of the bound behind", Strength { lag: (ms(500), ms(1000)), ..plain }, SHARE_ONE),
        ("at the bound", Strength { lag: (ms(1000), ms(1000)), ..plain }, SHARE_ONE / 4),
        ("a little slower is noise", Strength { latency_us: (190, 100), ..plain }, 2 * SHARE_ONE),
        ("four times as slow", Strength { latency_us: (400, 100), ..plain }, SHARE_ONE),
        ("much slower", Strength { latency_us: (1_000_000, 100), ..plain }, SHARE_ONE / 4),
    ];
    for (name, strength, expected) in cases {
        assert_eq!(share(strength), expected, "{name}");
    }
}

/// How often each of the loads is chosen, in percent.
fn percentages(loads: &[Load]) -> Vec<u32> {
    let mut random = fastrand::Rng::with_seed(7);
    let mut counts = vec![0u32; loads.len()];
    let all = (1 << loads.len()) - 1;
    for _ in 0..100_000 {
        counts[choose(all, random.u64(..), |at| loads[at]).expect("somebody qualifies")] += 1;
    }
    counts.iter().map(|count| (count + 500) / 1000).collect()
}

#[test]
fn an_idle_cluster_splits_by_share_and_a_busy_one_by_work() {
    let load = |in_flight, share| Load { in_flight, share, latency_us: 100 };
    assert_eq!(percentages(&[load(0, 256), load(0, 256)]), [50, 50]);
    assert_eq!(percentages(&[load(0, 256), load(0, 768)]), [25, 75]);
    assert_eq!(percentages(&[load(9, 256), load(1, 256)]), [25, 75], "both draws must hit the busy one");
    assert_eq!(percentages(&[load(2, 256), load(4, 512)]), [33, 67], "equal work for its share");
    let slow = Load { latency_us: 1000, ..load(2, 256) };
    assert_eq!(percentages(&[slow, load(4, 256)]), [25, 75], "slow work weighs more");
}

/// How long requests take on a replica is learnt from requests: one that was slow must go on getting some, or nobody
/// will see that it no longer is. Latency takes no more than seven eighths of a share, and nothing else counts
/// against a replica that has no work.
#[test]
fn a_replica_that_was_slow_is_tried_again() {
    let mut random = fastrand::Rng::with_seed(11);
    for (in_flight, others) in [(0, 1), (4, 1), (0, 4)] {
        // Seconds, while the others answer in 100 us; now it is as fast as they are.
        let mut slow_us = 5_000_000;
        let mut reads = 0_u32;
        let requests = (0..100_000).find(|_| {
            let load = |at: usize| {
                let latency_us = if at == 0 { slow_us } else { 100 };
                let share = share(Strength { latency_us: (latency_us, slow_us.min(100)), ..strength(1) });
                Load { in_flight: if at == 0 { 0 } else { in_flight }, share, latency_us }
            };
            if choose((2 << others) - 1, random.u64(..), load) == Some(0) {
                // As `Endpoint::finished` averages.
                slow_us = slow_us - slow_us / 8 + 100 / 8;
                reads += 1;
            }
            slow_us < 200
        });
        let requests = requests.expect("it recovers");
        assert!(
            requests < 10_000 && reads > 20,
            "{others} others with {in_flight} each: {requests}, {reads}"
        );
    }
}

#[test]
fn only_who_qualifies() {
    let load = |_: usize| Load { in_flight: 0, share: 1, latency_us: 0 };
    assert_eq!(choose(0, 1, load), None);
    assert_eq!(choose(1 << 63, 1, load), Some(63));
    for random in [0, u64::MAX, 0x8000_0000_0000_0000, 0xffff_ffff] {
        let chosen = choose(0b101_0000, random, load).expect("two qualify");
        assert!(chosen == 4 || chosen == 6);
    }
}

#[test]
fn moving_must_pay() {
    let load = |in_flight| Load { in_flight, share: 256, latency_us: 100 };
    for (from, to, expected) in [(0, 0, false), (1, 0, false), (2, 0, true), (5, 3, false), (9, 3, true)] {
        assert_eq!(is_worth_a_move(load(from), load(to)), expected, "{from} to {to}");
    }
}
