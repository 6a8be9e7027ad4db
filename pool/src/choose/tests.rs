use super::{Choice, Scene, Terms, choose};
use crate::balance::Load;
use crate::endpoint::{EndpointId, Facts};
use crate::freshness::{Demand, Freshness};
use crate::lag::Position;
use crate::need::{Landed, Want};
use crate::settings::{Consistency, Fallback};
use protocol::Gtid;
use std::time::Instant;

/// Endpoints in words: `P` the primary; `R` a replica, then its lag in ms (`u` unknown) and its position,
/// as in `R10@300`, and the transaction it has come to, as in `R10@300#7`; `!` behind it says that it was out lately; `-` does not answer.
struct Stage {
    words: Vec<&'static str>,
    demand: Demand,
    vanished: bool,
    busy: u32,
}

impl Stage {
    fn replica(&self, at: usize) -> Option<(u64, u64, bool)> {
        let word = self.words[at].strip_prefix('R')?;
        let word = word.split_once('#').map_or(word, |(word, _)| word);
        let (word, fit) = word.strip_suffix('!').map_or((word, true), |word| (word, false));
        let (lag, position) = word.split_once('@').unwrap_or((word, "0"));
        let lag = lag.parse().map_or(u64::MAX, |ms: u64| ms * 1_000_000);
        Some((lag, position.parse().expect("a position"), fit))
    }
}

impl Scene for Stage {
    fn len(&self) -> usize {
        self.words.len()
    }
    fn id(&self, at: usize) -> EndpointId {
        EndpointId(at as u32 + 1)
    }
    fn facts(&self, at: usize, strict: bool) -> Facts {
        let replica = self.replica(at);
        let (lag, position, fit) = replica.unwrap_or((u64::MAX, 0, false));
        // A primary away for a minute makes lag counted up to now a minute longer.
        let lag_ns = if strict && self.vanished { lag.saturating_add(60_000_000_000) } else { lag };
        Facts { serves: replica.is_some(), fit, lag_ns, replayed: Position(position) }
    }
    fn load(&self, at: usize) -> Load {
        Load { in_flight: if at == 1 { self.busy } else { 0 }, share: 256, latency_us: 100 }
    }
    fn share(&self, at: usize) -> u32 {
        if self.words[at] == "0" { 0 } else { 256 }
    }
    fn primary(&self) -> Option<usize> {
        self.words.iter().position(|word| *word == "P")
    }
    fn has(&self, at: usize, gtid: &Gtid) -> Option<bool> {
        let word = self.words[at];
        let Gtid::Domain { number, .. } = gtid else { return None };
        word.split_once('#').map(|(_, last)| last.parse::<u64>().expect("a number") >= *number)
    }
    fn demand(&self, _: &mut Freshness) -> Demand {
        self.demand
    }
    fn random(&self) -> u64 {
        // The lowest that qualifies is drawn first, the highest second.
        0x0000_0000_ffff_ffff
    }
}

const TERMS: Terms<'_> = Terms {
    want: Want::Replica,
    consistency: Consistency::Session,
    max_lag_ns: 100_000_000,
    own_bound: false,
    tight: false,
    hopeless_ns: 60_000_000,
    fallback: Fallback::Primary,
    exclude: None,
    excluded: &[],
    patient: true,
};

/// What is chosen: `R2` replica at place 2 (`stale` if so), `P:why`, `wait:place`, or what it waits for.
fn outcome(words: &'static str, demand: Demand, terms: Terms<'_>) -> String {
    outcome_of(words, demand, None, terms)
}

fn outcome_of(words: &'static str, demand: Demand, written: Option<u64>, terms: Terms<'_>) -> String {
    let stage = Stage { words: words.split(' ').collect(), demand, vanished: !words.contains('P'), busy: 5 };
    let mut freshness = Freshness::default();
    if demand != Demand::Anything {
        freshness.used_replica(EndpointId(2), |_| false, Instant::now());
    }
    if let Some(number) = written {
        let gtid = Gtid::Domain { domain: 0, server: 1, number };
        freshness.used_primary(EndpointId(1), Some(&gtid), Instant::now());
    }
    match choose(&stage, &terms, &mut freshness) {
        Choice::Take { at, landed: Landed::Replica, .. } => format!("R{at}"),
        Choice::Take { at, landed: Landed::ReplicaStale, .. } => format!("stale R{at}"),
        Choice::Take { landed, .. } => landed.name().to_owned(),
        Choice::Sample { which, primary } => {
            format!("sample {which:b}{}", if primary { " and primary" } else { "" })
        }
        Choice::AwaitPrimary => "await primary".to_owned(),
        Choice::NoReplica => "no replica".to_owned(),
    }
}

#[test]
fn without_a_demand() {
    let error = Terms { fallback: Fallback::Error, ..TERMS };
    let stale = Terms { fallback: Fallback::Stale, ..TERMS };
    let tight = Terms { tight: true, ..TERMS };
    let bounded = Terms { consistency: Consistency::Bounded, ..TERMS };
    let cases = [
        ("P R5 R5", TERMS, "R2", "the one with less work"),
        ("P R5 R101", TERMS, "R1", "over the bound"),
        ("P R5 Ru", TERMS, "R1", "unknown lag is not zero lag"),
        ("P R5 R5!", TERMS, "R1", "out lately"),
        ("P R5 -", TERMS, "R1", "down"),
        ("P R101 R102", TERMS, "primary_for_lag", ""),
        ("P - -", TERMS, "primary_for_no_replica", ""),
        ("P", TERMS, "primary_for_no_replica", "a cluster of one"),
        ("P", error, "primary_for_no_replica", "which may not fall back, has nowhere else to go"),
        ("P 0", error, "primary_for_no_replica", "nor with a replica that takes no reads"),
        ("P - R101", error, "no replica", ""),
        ("P R300 R200", stale, "stale R2", "the least lagged"),
        ("P - -", stale, "primary_for_no_replica", "nobody is left"),
        ("P R101 R102", tight, "sample 110 and primary", "a tight bound is worth a look"),
        ("P R101 R102", Terms { patient: false, ..tight }, "primary_for_lag", "but only one"),
        ("- R5", TERMS, "R1", "reads go on without a primary"),
        ("- R5", bounded, "await primary", "unless they are bounded"),
        ("- R101", TERMS, "await primary", ""),
        ("P R5 R5", Terms { consistency: Consistency::Strong, ..TERMS }, "primary", ""),
        ("P R5 R5", Terms { exclude: Some(EndpointId(3)), ..TERMS }, "R1", "it just failed this request"),
        (
            "P R5 R5",
            Terms { excluded: &[EndpointId(2), EndpointId(3)], ..TERMS },
            "primary_for_no_replica",
            "",
        ),
        ("P R50! -", Terms { own_bound: true, ..TERMS }, "R1", "a bound of its own needs no record"),
        ("P R5", Terms { want: Want::Primary, ..TERMS }, "primary", ""),
        ("- R5", Terms { want: Want::Primary, ..TERMS }, "await primary", ""),
        ("P R5", Terms { want: Want::Any, ..TERMS }, "primary", ""),
        ("- R900", Terms { want: Want::Any, ..TERMS }, "R1", "anyone that answers"),
        ("- -", Terms { want: Want::Any, ..TERMS }, "await primary", ""),
    ];
    for (words, terms, expected, name) in cases {
        assert_eq!(outcome(words, Demand::Anything, terms), expected, "{words}: {name}");
    }
}

#[test]
fn with_a_demand() {
    let spent = Terms { patient: false, ..TERMS };
    let stale = Terms { fallback: Fallback::Stale, ..TERMS };
    let eventual = Terms { consistency: Consistency::Eventual, ..TERMS };
    let floor = Demand::Floor(Position(300));
    let stick = |long| Demand::Stick { on: EndpointId(2), long };
    let cases = [
        ("P R5@299 R5@300", floor, TERMS, "R2", "only one has come that far"),
        ("P R5@299 R5@298", floor, TERMS, "sample 110", "nobody has: look again"),
        ("P R5@299 R5@298", floor, spent, "primary_for_fence", "but not for ever"),
        ("P R5@299 R5@298", floor, eventual, "R2", "nobody asked"),
        ("P R101@299", floor, TERMS, "primary_for_lag", "nobody is near: do not wait"),
        ("P R61@299 R62@1", floor, TERMS, "primary_for_fence", "nobody will be there soon"),
        ("P R61@299 R9@1", floor, TERMS, "sample 100", "one might"),
        ("P R61@300", floor, TERMS, "R1", "far behind, but far enough"),
        ("P R61", Demand::Sample(EndpointId(1)), TERMS, "primary_for_fence", ""),
        ("P R101@300 R102@300", floor, stale, "stale R1", "too old for the cluster, not for the session"),
        ("P R101@299", floor, stale, "primary_for_lag", "never too old for the session"),
        ("P R5 R5", stick(false), TERMS, "R1", "stays, though busier"),
        ("P R5 R5", stick(true), TERMS, "sample 10 and primary", "long enough: it pays to move"),
        ("P R5 R5", stick(true), spent, "R1", ""),
        ("P R101 R5", stick(false), TERMS, "sample 10 and primary", "its replica is out: proof for another"),
        ("P - R5", stick(false), spent, "primary_for_fence", "no proof to be had"),
        ("P R101 -", stick(false), stale, "stale R1", ""),
        ("P R5 R5", Demand::Sample(EndpointId(1)), TERMS, "sample 1 and primary", ""),
        ("P R5 R5", Demand::Sample(EndpointId(1)), spent, "primary_for_fence", ""),
        (
            "P - -",
            Demand::Sample(EndpointId(1)),
            TERMS,
            "primary_for_no_replica",
            "nobody would use the sample",
        ),
        ("P R5 R5", Demand::PrimaryOnly, TERMS, "primary_for_fence", ""),
        ("- R5 R5", Demand::PrimaryOnly, TERMS, "await primary", ""),
    ];
    for (words, demand, terms, expected, name) in cases {
        assert_eq!(outcome(words, demand, terms), expected, "{words} {demand:?}: {name}");
    }
}

#[test]
fn with_a_transaction_of_its_own() {
    let spent = Terms { patient: false, ..TERMS };
    let stale = Terms { fallback: Fallback::Stale, ..TERMS };
    let sample = Demand::Sample(EndpointId(1));
    let floor = Demand::Floor(Position(300));
    let cases = [
        ("P R5@1#6 R5@1#7", sample, TERMS, "R2", "it has the transaction, whatever the primary has come to"),
        ("P R5@1#6 R5@1#6", sample, TERMS, "sample 110", "they can tell themselves"),
        ("P R5@1 R5@1#6", sample, TERMS, "sample 110 and primary", "one cannot"),
        ("P R61@1 R5@1#6", sample, TERMS, "sample 100", "but it is too far behind to ask"),
        ("P R5@1#6 R5@1#6", sample, spent, "primary_for_fence", ""),
        ("P R61@1#6", sample, TERMS, "primary_for_fence", "nobody will be there soon"),
        ("P R5@299#7 R5@299#6", floor, TERMS, "R1", "either is proof"),
        ("P R5@299#6 R5@300#6", floor, TERMS, "R2", ""),
        ("P R5@299#6 R5@299#6", floor, TERMS, "sample 110", ""),
        ("P R101@1#7 R102@1#7", sample, stale, "stale R1", "too old for the cluster, not for the session"),
        ("P R101@1#6", sample, stale, "primary_for_lag", "never too old for the session"),
        ("P R5@1#7", Demand::PrimaryOnly, TERMS, "primary_for_fence", "after a failover it proves nothing"),
    ];
    for (words, demand, terms, expected, name) in cases {
        assert_eq!(outcome_of(words, demand, Some(7), terms), expected, "{words}: {name}");
    }
}
