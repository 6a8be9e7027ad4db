use super::{Demand, Freshness, Incarnation, Sampled};
use crate::endpoint::EndpointId;
use crate::lag::Position;
use protocol::Gtid;
use std::time::{Duration, Instant};

const PRIMARY: EndpointId = EndpointId(1);
const X: EndpointId = EndpointId(2);
const Y: EndpointId = EndpointId(3);

/// A session, a cluster whose primary is sampled at every multiple of 100 ms at position = time,
/// whose replica X at every multiple of 100 ms at position = time - 10, and a clock.
struct Story {
    base: Instant,
    reign: Incarnation,
    session: Freshness,
    /// Up to here samples are in.
    sampled_to: u64,
}

impl Story {
    fn new() -> Self {
        let base = Instant::now();
        let reign = Incarnation { number: 1, since: base, primary: PRIMARY };
        Self { base, reign, session: Freshness::default(), sampled_to: 0 }
    }

    fn at(&self, ms: u64) -> Instant {
        self.base + Duration::from_millis(ms)
    }

    fn demand(&mut self, now: u64) -> Demand {
        let (base, sampled_to, reign) = (self.base, self.sampled_to, self.reign);
        let now = self.at(now);
        self.session.demand(Some(reign), now, |id, at| {
            let at = (at - base).as_millis() as u64;
            let sample = at.next_multiple_of(100);
            match id {
                _ if sample > sampled_to => Sampled::NotYet,
                id if id == reign.primary => Sampled::At(Position(sample)),
                X => Sampled::At(Position(sample - 10)),
                _ => Sampled::Never,
            }
        })
    }
}

#[test]
fn a_session_that_saw_nothing_asks_for_nothing() {
    let mut story = Story::new();
    assert!(story.session.is_blank());
    assert_eq!(story.demand(5), Demand::Anything);
}

#[test]
fn a_write_asks_for_a_sample_taken_after_it_and_then_for_its_position() {
    let mut story = Story::new();
    let now = story.at(150);
    story.session.used_primary(PRIMARY, None, now);
    story.sampled_to = 100;
    assert_eq!(story.demand(151), Demand::Sample(PRIMARY), "the sample at 100 ms was before the write");
    story.sampled_to = 400;
    assert_eq!(story.demand(400), Demand::Floor(Position(200)), "the first since is enough");
    assert_eq!(story.demand(900), Demand::Floor(Position(200)), "and it is resolved once");
}

#[test]
fn a_read_sticks_to_its_replica_until_its_position_is_known() {
    let mut story = Story::new();
    for at in (110..=1250).step_by(20) {
        let now = story.at(at);
        story.session.used_replica(X, |_| false, now);
        let long = at - 110 > 1000;
        assert_eq!(story.demand(at), Demand::Stick { on: X, long }, "at {at} ms");
    }
    story.sampled_to = 1300;
    assert_eq!(story.demand(1300), Demand::Floor(Position(1290)));
}

#[test]
fn a_floor_only_rises() {
    let mut story = Story::new();
    let (write, read) = (story.at(150), story.at(160));
    story.session.used_primary(PRIMARY, None, write);
    story.sampled_to = 300;
    assert_eq!(story.demand(300), Demand::Floor(Position(200)));
    story.session.used_replica(X, |_| false, read);
    assert_eq!(story.demand(300), Demand::Floor(Position(200)), "the replica's 190 lies below the write");
}

#[test]
fn a_careless_read_does_not_wash_a_write_away() {
    let mut story = Story::new();
    let (write, read) = (story.at(150), story.at(250));
    story.session.used_primary(PRIMARY, None, write);
    story.session.used_replica(X, |_| false, read);
    assert_eq!(story.demand(260), Demand::Sample(PRIMARY));
    story.sampled_to = 300;
    assert_eq!(
        story.demand(300),
        Demand::Floor(Position(300)),
        "both are covered by the primary since the read"
    );
}

#[test]
fn careless_reads_on_two_replicas_are_covered_by_the_primary() {
    let mut story = Story::new();
    let (first, second) = (story.at(150), story.at(250));
    story.session.used_replica(X, |_| false, first);
    story.session.used_replica(Y, |_| false, second);
    assert_eq!(story.demand(260), Demand::Sample(PRIMARY));
    story.sampled_to = 300;
    assert_eq!(story.demand(300), Demand::Floor(Position(300)));
}

#[test]
fn after_a_failover_only_the_primary_proves_anything() {
    let failover = |story: &mut Story| {
        story.reign = Incarnation { number: 2, since: story.at(500), primary: X };
        story.sampled_to = 1000;
    };
    let mut floor = Story::new();
    let now = floor.at(150);
    floor.session.used_primary(PRIMARY, None, now);
    floor.sampled_to = 200;
    assert_eq!(floor.demand(200), Demand::Floor(Position(200)));
    failover(&mut floor);
    assert_eq!(floor.demand(600), Demand::PrimaryOnly, "a floor of another reign");
    let now = floor.at(610);
    floor.session.used_primary(X, None, now);
    assert_eq!(floor.demand(700), Demand::Floor(Position(700)), "is replaced by a use of the new primary");

    let mut mark = Story::new();
    let now = mark.at(150);
    mark.session.used_primary(PRIMARY, None, now);
    failover(&mut mark);
    assert_eq!(mark.demand(600), Demand::PrimaryOnly, "a mark of another reign");

    let mut late = Story::new();
    failover(&mut late);
    let now = late.at(600);
    late.session.used_primary(PRIMARY, None, now);
    assert_eq!(late.demand(700), Demand::PrimaryOnly, "a transaction that ended on the old primary");

    let mut replica = Story::new();
    let now = replica.at(400);
    replica.session.used_replica(Y, |_| false, now);
    failover(&mut replica);
    assert_eq!(replica.demand(600), Demand::PrimaryOnly, "a replica may have been rewound");
}

#[test]
fn a_replica_that_restarted_proves_nothing() {
    let mut story = Story::new();
    let now = story.at(150);
    story.sampled_to = 1000;
    story.session.used_replica(Y, |_| false, now);
    assert_eq!(story.demand(160), Demand::PrimaryOnly);
}

#[test]
fn without_a_primary_ever_a_session_stays_where_it_is() {
    let now = Instant::now();
    let mut session = Freshness::default();
    assert_eq!(session.demand(None, now, |_, _| Sampled::Never), Demand::Anything);
    session.used_replica(X, |_| false, now);
    assert_eq!(session.demand(None, now, |_, _| Sampled::Never), Demand::Stick { on: X, long: false });
}

const WRITTEN: Gtid = Gtid::Domain { domain: 0, server: 1, number: 7 };

#[test]
fn a_transaction_of_its_own_proves_a_replica_until_more_is_seen() {
    let mut story = Story::new();
    let (write, read, again) = (story.at(150), story.at(160), story.at(250));
    story.session.used_primary(PRIMARY, Some(&WRITTEN), write);
    story.sampled_to = 100;
    assert_eq!(story.demand(151), Demand::Sample(PRIMARY), "the moment still stands beside it");
    assert_eq!(story.session.written(), Some(&WRITTEN));
    // A replica that has it stands for all that was seen.
    let mut moved = story.session.clone();
    moved.used_replica(X, |gtid| *gtid == WRITTEN, read);
    story.session.used_primary(PRIMARY, Some(&WRITTEN), write);
    let mut other = Story { session: moved, ..Story::new() };
    assert_eq!(other.demand(170), Demand::Stick { on: X, long: false });
    assert_eq!(other.session.written(), None, "the replica may have shown more");
    // One that has it not was read without care: the primary, from then on, covers both.
    story.session.used_replica(X, |_| false, read);
    assert_eq!((story.demand(170), story.session.written()), (Demand::Sample(PRIMARY), None));
    // So does whatever is seen on the primary later.
    story.session.used_primary(PRIMARY, Some(&WRITTEN), write);
    story.session.used_primary(PRIMARY, None, again);
    assert_eq!(story.session.written(), None);
    // And what another session has seen is no part of it.
    story.session.used_primary(PRIMARY, Some(&WRITTEN), write);
    story.session.tell(None, again);
    assert_eq!(story.session.written(), None);
}

#[test]
fn a_replica_may_have_the_transaction_before_it_has_the_sample() {
    let mut story = Story::new();
    let (write, read) = (story.at(150), story.at(310));
    story.session.used_primary(PRIMARY, Some(&WRITTEN), write);
    story.sampled_to = 300;
    assert_eq!(story.demand(300), Demand::Floor(Position(200)));
    assert_eq!(story.session.written(), Some(&WRITTEN), "either is proof");
    story.session.used_replica(X, |_| true, read);
    assert_eq!(story.session.floor(), None, "X showed what it had, which may lie below the sample");
    assert_eq!(story.demand(311), Demand::Stick { on: X, long: false });
}

#[test]
fn after_a_failover_a_transaction_proves_nothing() {
    let mut story = Story::new();
    let now = story.at(150);
    story.session.used_primary(PRIMARY, Some(&WRITTEN), now);
    story.reign = Incarnation { number: 2, since: story.at(500), primary: X };
    story.sampled_to = 1000;
    assert_eq!(story.demand(600), Demand::PrimaryOnly);
}
