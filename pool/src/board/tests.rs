use super::{Board, Change, Entry, Report, Sample};
use crate::endpoint::{Clock, Endpoint, EndpointId};
use crate::freshness::Sampled;
use crate::gtid::Gtids;
use crate::health::Why;
use crate::lag::{Lag, Position};
use crate::ledger::Place;
use crate::net::Address;
use crate::settings::{ClusterSettings, ProbeUser, RoleSetting};
use crate::topology::{NoPrimary, Role, Seen};
use std::sync::Arc;
use std::time::{Duration, Instant};

struct Story {
    base: Instant,
    board: Board,
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

impl Story {
    /// A cluster of `count` endpoints, 1 to `count`; lag bound 1 s, three probes to return.
    fn new(count: u32) -> Self {
        let base = Instant::now();
        let probe = ProbeUser { user: String::new(), password: None, database: String::new() };
        let settings =
            ClusterSettings { max_lag: ms(1000), ..ClusterSettings::new("main", Vec::new(), probe) };
        let mut board = Board::new(&settings, base);
        let entry = |number| {
            let address = Address::Tcp { host: "db".to_owned(), port: number as u16 };
            let endpoint = Endpoint::new(EndpointId(number), address, Clock(base));
            Entry::new(Arc::new(endpoint), RoleSetting::Auto, 1)
        };
        board.apply(&settings, (1..=count).map(entry).collect(), base);
        Self { base, board }
    }

    fn primary(&mut self, at: u64, id: u32, timeline: u32, position: u64) {
        let seen = Seen { recovering: false, follows: false, timeline: Some(timeline), identity: Some(7) };
        self.sample(at, id, seen, position);
    }

    fn replica(&mut self, at: u64, id: u32, position: u64) {
        self.sample(
            at,
            id,
            Seen { recovering: true, follows: false, timeline: None, identity: Some(7) },
            position,
        );
    }

    fn sample(&mut self, at: u64, id: u32, seen: Seen, position: u64) {
        let started = self.base + ms(at);
        let place = Some(Place::Log(Position(position)));
        let sample = Sample { seen, place, seconds_behind: None, started, first: false };
        self.board.observe(EndpointId(id), Report::Sample(sample), started);
    }

    /// An answer that came `at`, to a question sent when `started`, with MariaDB's words for a position.
    fn domains(&mut self, started: u64, at: u64, id: u32, text: &str) {
        let seen = Seen { recovering: id != 1, follows: id != 1, timeline: None, identity: None };
        let set = Arc::new(Gtids::mariadb(text).expect("a set"));
        let place = Some(Place::Gtids { written: Arc::clone(&set), applied: set, in_order: true });
        let (first, began) = (started < 5, self.base + ms(started));
        let sample = Sample { seen, place, seconds_behind: None, started: began, first };
        self.board.observe(EndpointId(id), Report::Sample(sample), self.base + ms(at));
    }

    fn fails(&mut self, at: u64, id: u32) {
        self.board.observe(EndpointId(id), Report::Failed("refused".to_owned()), self.base + ms(at));
    }

    fn entry(&self, id: u32) -> &Entry {
        self.board.entries.iter().find(|entry| entry.endpoint.id.0 == id).expect("it is configured")
    }

    fn lag(&self, at: u64, id: u32) -> Lag {
        self.board.lag(self.entry(id), self.base + ms(at))
    }

    fn why_not(&self, id: u32) -> Option<Why> {
        self.entry(id).why_not()
    }
}

#[test]
fn a_replica_serves_once_its_lag_is_known() {
    let mut story = Story::new(2);
    story.replica(0, 2, 100);
    assert_eq!(story.why_not(2), Some(Why::LagUnknown), "no primary was sampled yet");
    story.primary(10, 1, 1, 100);
    story.replica(20, 2, 100);
    assert_eq!(story.why_not(2), None);
    assert_eq!(story.why_not(1), Some(Why::Primary));
    assert_eq!(story.lag(60, 2), Lag::Known(ms(50)));
}

#[test]
fn a_frozen_receiver_grows_behind_a_busy_primary_and_not_behind_an_idle_one() {
    let mut story = Story::new(2);
    story.primary(0, 1, 1, 100);
    for at in (10..=2000).step_by(100) {
        story.replica(at, 2, 100);
        story.primary(at + 1, 1, 1, 100);
    }
    assert_eq!(story.why_not(2), None, "an idle primary");
    for at in (2010..=4000).step_by(100) {
        story.replica(at, 2, 100);
        story.primary(at + 1, 1, 1, 100 + at);
    }
    assert_eq!(story.why_not(2), Some(Why::Lagging));
    assert_eq!(story.lag(4000, 2), Lag::Known(ms(4000 - 1911)));
}

#[test]
fn reads_go_on_when_the_primary_is_lost() {
    let mut story = Story::new(2);
    story.primary(0, 1, 1, 100);
    story.replica(10, 2, 100);
    story.fails(100, 1);
    assert_eq!(story.board.primary, Err(NoPrimary::Lost));
    for at in (200..=60_000).step_by(200) {
        story.replica(at, 2, 100);
    }
    assert_eq!(story.why_not(2), None, "lag counts up to when the primary was last seen");
    assert_eq!(story.lag(60_000, 2), Lag::Known(ms(0)));
}

#[test]
fn a_failover_keeps_what_both_reigns_share() {
    let mut story = Story::new(3);
    story.primary(0, 1, 1, 100);
    story.replica(5, 2, 100);
    story.replica(5, 3, 100);
    story.primary(200, 1, 1, 200);
    story.replica(210, 2, 200);
    story.fails(300, 1);
    let before = story.board.incarnation.expect("there was a primary");
    story.primary(500, 2, 2, 250);
    let after = story.board.incarnation.expect("there is one again");
    assert_eq!((after.number, after.primary), (before.number + 1, EndpointId(2)));
    story.replica(510, 3, 150);
    assert_eq!(story.lag(600, 3), Lag::Known(ms(600)), "the old primary's first sample still tells");
    assert_eq!(story.why_not(3), None);
    assert_eq!(story.entry(2).role, Role::Primary);
}

#[test]
fn the_first_election_waits_for_all_but_not_for_ever() {
    let mut story = Story::new(2);
    story.primary(0, 1, 1, 100);
    assert_eq!(story.board.primary, Err(NoPrimary::NotProbed));
    story.primary(1100, 1, 1, 100);
    assert_eq!(story.board.primary, Ok(EndpointId(1)));
}

#[test]
fn two_primaries_stop_writes_until_one_gives_way() {
    let mut story = Story::new(2);
    story.primary(0, 1, 1, 100);
    story.replica(1, 2, 100);
    story.primary(200, 2, 1, 100);
    assert_eq!(story.board.primary, Err(NoPrimary::Two));
    story.fails(300, 2);
    story.primary(400, 1, 1, 100);
    assert_eq!(story.board.primary, Ok(EndpointId(1)));
    assert_eq!(story.board.incarnation.map(|reign| reign.number), Some(1), "the same reign goes on");
}

#[test]
fn a_reload_keeps_what_is_known() {
    let mut story = Story::new(3);
    story.primary(0, 1, 1, 100);
    story.replica(5, 2, 100);
    story.replica(5, 3, 100);
    story.replica(10, 2, 100);
    let probe = ProbeUser { user: String::new(), password: None, database: String::new() };
    let settings = ClusterSettings::new("main", Vec::new(), probe);
    let kept = [1, 2].map(|id| Entry::new(story.entry(id).endpoint.clone(), RoleSetting::Auto, 5));
    story.board.apply(&settings, kept.into(), story.base + ms(20));
    assert_eq!(story.board.entries.len(), 2);
    assert_eq!(story.board.primary, Ok(EndpointId(1)));
    assert_eq!((story.why_not(2), story.entry(2).weight), (None, 5));
}

#[test]
fn why_an_endpoint_is_down_is_told_once_for_each_reason() {
    let mut story = Story::new(1);
    let told = |story: &mut Story, at: u64, error: &str| {
        let report = Report::Failed(error.to_owned());
        let changes = story.board.observe(EndpointId(1), report, story.base + ms(at));
        let is = |wanted: &Change| changes.contains(wanted);
        let endpoint = EndpointId(1);
        (is(&Change::Down { endpoint }), is(&Change::StillDown { endpoint }))
    };
    assert_eq!(told(&mut story, 0, "refused"), (false, true), "it never answered");
    assert_eq!(told(&mut story, 1, "refused"), (false, false));
    assert_eq!(told(&mut story, 2, "starting up"), (false, true));
    story.primary(3, 1, 1, 100);
    assert_eq!(told(&mut story, 4, "starting up"), (true, false));
    assert_eq!(told(&mut story, 5, "starting up"), (false, false));
}

#[test]
fn an_answer_that_is_older_does_not_cover_what_a_replica_showed() {
    let mut story = Story::new(3);
    (1..=3).for_each(|id| story.domains(0, 1, id, "0-1-5"));
    let seen = story.base + ms(15);
    let showed = |story: &Story| story.entry(2).endpoint.replayed_since(seen);
    // The primary's answer is on its way when it writes, and the replica's overtakes it.
    story.domains(20, 21, 2, "0-1-9");
    story.domains(10, 22, 1, "0-1-7");
    story.domains(23, 24, 3, "0-1-7");
    assert_eq!(showed(&story), Sampled::NotYet, "nobody knows yet who else has that");
    story.domains(30, 31, 1, "0-1-12");
    story.domains(32, 33, 3, "0-1-8");
    assert_eq!(showed(&story), Sampled::NotYet, "the replica has no set that is known to hold it");
    story.domains(34, 35, 2, "0-1-12");
    let Sampled::At(position) = showed(&story) else { panic!("it is known") };
    assert!(story.entry(3).replayed < Some(position), "one that has less is not enough");
    story.domains(36, 37, 3, "0-1-12");
    assert_eq!(story.entry(3).replayed, Some(position));
}

#[test]
fn a_replica_that_refused_a_session_proves_what_it_shows_from_then_on() {
    let mut story = Story::new(2);
    (1..=2).for_each(|id| story.domains(0, 1, id, "0-1-5"));
    let showed = |story: &Story, at| story.entry(2).endpoint.replayed_since(story.base + ms(at));
    story.board.refused(EndpointId(2), "refused".to_owned(), story.base + ms(10));
    // The connection of its monitor is as it was.
    [20, 30].into_iter().for_each(|at| story.domains(at, at, 2, "0-1-5"));
    assert_eq!(showed(&story, 5), Sampled::Never, "it may have restarted");
    assert_eq!(showed(&story, 25), Sampled::At(Position(1)));
}
