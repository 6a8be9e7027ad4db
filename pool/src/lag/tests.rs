use super::{History, Lag, Position, RUNS_MAX};
use std::time::{Duration, Instant};

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A history of samples, each a time in milliseconds and a position.
fn history(base: Instant, samples: &[(u64, u64)]) -> History {
    let mut history = History::default();
    for (at, position) in samples {
        history.record(Position(*position), base + ms(*at));
    }
    history
}

#[test]
fn lag_is_the_age_of_the_newest_sample_that_is_covered() {
    let base = Instant::now();
    let busy: &[(u64, u64)] = &[(0, 100), (200, 200), (400, 300)];
    let idle: &[(u64, u64)] = &[(0, 100), (200, 100), (400, 100)];
    let crashed: &[(u64, u64)] = &[(0, 100), (200, 300), (400, 200)];
    let cases = [
        ("caught up with a busy primary", busy, 300, 500, Lag::Known(ms(100))),
        ("between two samples", busy, 299, 500, Lag::Known(ms(300))),
        ("exactly the first", busy, 100, 500, Lag::Known(ms(500))),
        ("behind all that is known", busy, 99, 500, Lag::Unknown),
        ("ahead of all that is known", busy, 1000, 500, Lag::Known(ms(100))),
        ("an idle primary, caught up for long", idle, 100, 500, Lag::Known(ms(100))),
        ("the primary was never sampled", &[], 100, 500, Lag::Unknown),
        ("log lost in a crash does not count", crashed, 200, 500, Lag::Known(ms(100))),
        ("behind a primary that crashed", crashed, 199, 500, Lag::Known(ms(500))),
        ("a clock that stands still", busy, 300, 400, Lag::Known(ms(0))),
    ];
    for (name, samples, replayed, now, expected) in cases {
        let covered_at = history(base, samples).covered_at(Position(replayed));
        assert_eq!(Lag::since(covered_at, base + ms(now)), expected, "{name}");
    }
}

#[test]
fn a_floor_is_the_first_position_sampled_since() {
    let base = Instant::now();
    let history = history(base, &[(0, 100), (200, 100), (400, 300), (600, 400)]);
    let cases =
        [(0, Some(100)), (1, Some(100)), (200, Some(100)), (201, Some(300)), (600, Some(400)), (601, None)];
    for (at, expected) in cases {
        assert_eq!(history.first_since(base + ms(at)), expected.map(Position), "at {at} ms");
    }
}

#[test]
fn a_promoted_replica_keeps_what_it_had_replayed() {
    let base = Instant::now();
    let mut trail = history(base, &[(0, 100), (200, 200), (400, 300)]).up_to(Position(250));
    trail.record(Position(260), base + ms(900));
    assert_eq!(trail.covered_at(Position(200)), Some(base + ms(200)));
    assert_eq!(trail.covered_at(Position(300)), Some(base + ms(900)));
}

#[test]
fn a_long_history_stays_small_and_precise() {
    let base = Instant::now();
    let mut history = History::default();
    // A day of samples, some bursts of a thousand a second among them.
    let (mut at, mut position) = (ms(0), 0);
    let mut times = Vec::new();
    while at < Duration::from_secs(86_400) {
        at += if position % 100_000 < 20_000 { ms(1) } else { ms(200) };
        position += 1;
        times.push(at);
        history.record(Position(position), base + at);
        assert!(history.runs.len() <= RUNS_MAX);
    }
    let now = base + at;
    for back in [1u64, 10, 100, 1_000, 10_000, 40_000] {
        let taken = base + times[(position - back - 1) as usize];
        let covered = history.covered_at(Position(position - back)).expect("the history reaches that far");
        let (truth, found) = (now - taken, now - covered);
        assert!(found >= truth, "lag is never less than it is");
        assert!(found <= truth + truth / 20 + ms(200), "{back} samples ago: {truth:?} found as {found:?}");
    }
}
