//! A cluster that is played: what its monitors hear, what its sessions do, and what these are owed.

use super::super::{Access, Sight, SoFar};
use super::databases::{Answer, Databases, Kind, Set};
use crate::board::Report;
use crate::choose::{Choice, Scene};
use crate::freshness::Demand;
use crate::net::Address;
use crate::settings::{ClusterSettings, EndpointSettings, Identity, PoolSettings, ProbeUser, RoleSetting};
use crate::topology::Role;
use crate::{Cluster, Consistency, EndpointId, Freshness, Landed, Need, Want};
use fastrand::Rng;
use protocol::Gtid;
use protocol::postgres::Postgres;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(super) const SESSIONS: usize = 4;
const CAUSAL_WAIT: Duration = Duration::from_millis(50);

/// A question to an endpoint that is under way.
struct Question {
    started: Instant,
    answer: Option<Answer>,
}

/// What was last heard of an endpoint.
struct Heard {
    started: Instant,
    at: Instant,
    has: Set,
}

/// The monitor of one endpoint.
#[derive(Default)]
struct Monitor {
    question: Option<Question>,
    connected: bool,
    /// Samples since it was last in doubt whether the endpoint went on without a break.
    heard: Vec<Heard>,
}

#[derive(Default)]
pub(super) struct Session {
    pub freshness: Freshness,
    saw: Set,
    /// When it last used a backend, or was told something.
    used: Option<Instant>,
    /// The replica that has all it saw.
    home: Option<usize>,
    /// The reign that all it saw was seen under; `None` if there were several.
    reign: Option<u64>,
    pub errand: Errand,
}

#[derive(Default)]
pub(super) enum Errand {
    #[default]
    None,
    Waits {
        want: Want,
        consistency: Consistency,
        ends: Option<Instant>,
    },
    Runs {
        at: usize,
        want: Want,
        consistency: Consistency,
        landed: Landed,
        reign: Option<u64>,
        /// What it read or wrote there.
        outcome: Option<(Set, Option<Gtid>)>,
    },
}

pub(super) struct World {
    pub seed: String,
    pub rng: Rng,
    now: Instant,
    databases: Databases,
    monitors: Vec<Monitor>,
    /// Whose answers take long at present.
    slow: usize,
    cluster: Arc<Cluster<Postgres>>,
    access: Arc<Access<Postgres>>,
    pub sessions: Vec<Session>,
}

impl World {
    pub fn new(kind: Kind, seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let count = rng.usize(2..=4);
        let probe = ProbeUser { user: String::new(), password: None, database: String::new() };
        let endpoint = |port| EndpointSettings {
            address: Address::Tcp { host: "db".to_owned(), port },
            role: RoleSetting::Auto,
            weight: 1,
        };
        let endpoints = (0..count as u16).map(endpoint).collect();
        let settings = ClusterSettings {
            max_lag: Duration::from_secs(600),
            probe_interval: Duration::from_secs(100),
            causal_wait: CAUSAL_WAIT,
            return_after: 1,
            ..ClusterSettings::new("main", endpoints, probe)
        };
        let cluster = Cluster::unwatched(&settings);
        cluster.rebuild(settings, false);
        let identity = Identity {
            database: "app".to_owned(),
            user: "app".to_owned(),
            password: None,
            flavour: 0,
            pool: PoolSettings::default(),
        };
        let access = cluster.access(identity);
        let databases = Databases::new(kind, count, &mut rng);
        let mut world = Self {
            seed: format!("{kind:?} {seed}"),
            rng,
            now: Instant::now() + Duration::from_secs(1),
            databases,
            monitors: (0..count).map(|_| Monitor::default()).collect(),
            slow: 0,
            cluster,
            access,
            sessions: (0..SESSIONS).map(|_| Session::default()).collect(),
        };
        world.sample_all();
        world
    }

    fn id(at: usize) -> EndpointId {
        EndpointId(at as u32 + 1)
    }

    pub fn tick(&mut self) {
        self.now += Duration::from_micros(self.rng.u64(1..3000));
    }

    fn count(&self) -> usize {
        self.monitors.len()
    }

    /// One thing happens.
    pub fn step(&mut self) {
        self.tick();
        let at = self.rng.usize(..self.count());
        let who = self.rng.usize(..SESSIONS);
        match self.rng.u32(..200) {
            0..60 if at == self.slow && self.rng.u8(..8) > 0 => {}
            0..60 => self.ask(at),
            60..90 => _ = self.databases.apply(at, &mut self.rng),
            90..102 => _ = self.databases.commit(&mut self.rng),
            102 => self.slow = self.rng.usize(..=self.count()),
            103 => self.databases.go_astray(at, &mut self.rng),
            104 if at != self.databases.primary => self.stop(at),
            105..108 => self.start(at),
            108 if at != self.databases.primary => self.refuse(at),
            109 if self.rng.u8(..4) == 0 => self.fail_over(),
            110 => self.hand_on(who),
            111..200 => self.go_on(who),
            _ => {}
        }
    }

    /// The monitor of an endpoint goes one step on.
    fn ask(&mut self, at: usize) {
        let up = self.databases.is_up(at);
        let started = self.now;
        let monitor = &mut self.monitors[at];
        let report = match monitor.question.take() {
            None if up => {
                monitor.question = Some(Question { started, answer: None });
                return;
            }
            Some(Question { started, answer: None }) if up => {
                let answer = Some(self.databases.answer(at));
                monitor.question = Some(Question { started, answer });
                return;
            }
            Some(Question { started, answer: Some(answer) }) => {
                let sample = answer.sample(started, !std::mem::replace(&mut monitor.connected, true));
                monitor.heard.push(Heard { started, at: self.now, has: answer.has });
                Report::Sample(sample)
            }
            _ => {
                monitor.connected = false;
                monitor.heard.clear();
                Report::Failed("it is down".to_owned())
            }
        };
        self.cluster.outlook().report(Self::id(at), report, self.now);
        for who in 0..SESSIONS {
            if matches!(self.sessions[who].errand, Errand::Waits { .. }) {
                self.choose(who);
            }
        }
    }

    fn stop(&mut self, at: usize) {
        self.databases.stop(at);
        self.monitors[at].question = None;
        for session in &mut self.sessions {
            if matches!(session.errand, Errand::Runs { at: there, .. } if there == at) {
                session.errand = Errand::None;
            }
        }
        // That it is gone is seen before it is back.
        self.ask(at);
    }

    /// It refuses one session, and nobody else notices.
    fn refuse(&mut self, at: usize) {
        self.monitors[at].heard.clear();
        let (id, now) = (Self::id(at), self.now);
        self.cluster.outlook().update(|board| board.refused(id, "refused".to_owned(), now));
    }

    fn start(&mut self, at: usize) {
        if !self.databases.is_up(at) {
            self.databases.start(at, &mut self.rng);
        }
    }

    fn fail_over(&mut self) {
        let old = self.databases.primary;
        // One that was not seen to follow another is not taken for promoted.
        let lanes = self.access.lanes.load();
        let follows = |at: &usize| lanes.lanes[*at].door.endpoint.role() == Role::Replica;
        let up: Vec<_> =
            (0..self.count()).filter(|at| *at != old && self.databases.is_up(*at) && follows(at)).collect();
        let most = |at: &usize| self.databases.has(*at).len();
        let Some(next) = up.iter().copied().max_by_key(most) else { return };
        self.stop(old);
        let strays = self.databases.promote(next);
        // Where numbers are given again, replication from the new one stops, and they are made anew.
        if self.databases.kind != Kind::MySql {
            strays.into_iter().for_each(|at| self.stop(at));
        }
    }

    /// A session goes one step on.
    pub fn go_on(&mut self, who: usize) {
        match std::mem::take(&mut self.sessions[who].errand) {
            Errand::None => {
                let want = if self.rng.u8(..4) == 0 { Want::Primary } else { Want::Replica };
                let consistency = match self.rng.u8(..12) {
                    0 => Consistency::Eventual,
                    1 => Consistency::Strong,
                    _ => Consistency::Session,
                };
                self.sessions[who].errand = Errand::Waits { want, consistency, ends: None };
                self.choose(who);
            }
            Errand::Waits { want, consistency, ends } => {
                self.sessions[who].errand = Errand::Waits { want, consistency, ends };
                if ends.is_some_and(|ends| ends <= self.now) {
                    self.choose(who);
                }
            }
            Errand::Runs { at, want, consistency, landed, reign, outcome: None } => {
                let outcome = Some(self.run(who, at, want, consistency, landed));
                self.sessions[who].errand = Errand::Runs { at, want, consistency, landed, reign, outcome };
            }
            Errand::Runs { at, consistency, landed, reign, outcome: Some((has, written)), .. } => {
                let stays = consistency == Consistency::Session && landed == Landed::Replica;
                self.finish(who, at, stays, reign, has, written);
            }
        }
    }

    /// The session's errand is chosen a place for.
    pub fn choose(&mut self, who: usize) {
        let Errand::Waits { want, consistency, ends } = self.sessions[who].errand else { return };
        let served = want == Want::Replica && consistency == Consistency::Session && self.is_owed(who);
        let reign = self.reign();
        let session = &mut self.sessions[who];
        let mut need = Need {
            want,
            consistency,
            max_lag: None,
            freshness: &mut session.freshness,
            exclude: None,
            now: self.now,
            deadline: self.now + Duration::from_secs(20),
        };
        let patient = ends.is_none_or(|ends| self.now < ends);
        let so_far = SoFar { excluded: &[], patient, looked: false };
        let lanes = self.access.lanes.load();
        let choice = self.access.choose(&lanes, &mut need, so_far, self.now);
        let lands = matches!(choice, Choice::Take { landed: Landed::Replica, .. });
        let (seed, freshness) = (&self.seed, &session.freshness);
        assert!(lands || !served, "seed {seed}: it waits in vain: {choice:?} {freshness:?}");
        session.errand = match choice {
            Choice::Take { at, landed, others } => {
                let places: Vec<_> = (0..64).filter(|at| others >> at & 1 == 1).collect();
                let at = self.rng.choice(places).unwrap_or(at);
                Errand::Runs { at, want, consistency, landed, reign, outcome: None }
            }
            Choice::Sample { .. } => {
                let ends = ends.or(Some(self.now + CAUSAL_WAIT));
                Errand::Waits { want, consistency, ends }
            }
            Choice::AwaitPrimary => Errand::Waits { want, consistency, ends },
            Choice::NoReplica => panic!("seed {seed}: reads may fall back"),
        };
    }

    /// Whether a read of the session's must be served by a replica now.
    fn is_owed(&self, who: usize) -> bool {
        let session = &self.sessions[who];
        let outlook = self.cluster.outlook();
        let Some(reign) = outlook.board().incarnation else { return false };
        let lanes = self.access.lanes.load();
        let sight = Sight::new(outlook, &lanes, self.now);
        let serves = |at: usize| {
            let facts = sight.facts(at, false);
            facts.serves && facts.fit
        };
        let mut replicas = (0..self.count()).filter(|at| *at != reign.primary.0 as usize - 1 && serves(*at));
        let Some(used) = session.used else { return replicas.next().is_some() };
        if session.reign != Some(reign.number) {
            return false;
        }
        // A monitor that has heard nothing of the connection that was read on has seen a restart.
        let steady = |at: usize| self.monitors[at].heard.first().is_some_and(|first| first.started < used);
        if session.home.is_some_and(|at| serves(at) && steady(at)) {
            return true;
        }
        let since = |at: usize, moment: Instant| {
            self.monitors[at].heard.iter().find(move |heard| heard.started >= moment)
        };
        let mut latest = used;
        for at in 0..self.count() {
            match since(at, used) {
                Some(heard) if steady(at) => latest = latest.max(heard.at),
                _ => return false,
            }
        }
        let Some(known) = since(reign.primary.0 as usize - 1, latest) else { return false };
        let has_all = |at: usize| {
            self.monitors[at]
                .heard
                .last()
                .is_some_and(|heard| self.databases.valid(&known.has).is_subset(&heard.has))
        };
        replicas.any(has_all)
    }

    /// The statement runs on the database.
    fn run(
        &mut self,
        who: usize,
        at: usize,
        want: Want,
        consistency: Consistency,
        landed: Landed,
    ) -> (Set, Option<Gtid>) {
        let mut written = None;
        if want == Want::Primary && at == self.databases.primary && self.rng.bool() {
            let txn = self.databases.commit(&mut self.rng);
            // Not every reply tells what it wrote.
            written = self.databases.gtid(txn).filter(|_| self.rng.u8(..4) > 0);
        }
        let has = self.databases.has(at).clone();
        let saw = self.databases.valid(&self.sessions[who].saw);
        if consistency == Consistency::Session && (!landed.is_primary() || at == self.databases.primary) {
            let lacks: Vec<_> = saw.difference(&has).collect();
            assert!(lacks.is_empty(), "seed {}: endpoint {at} lacks {lacks:?}", self.seed);
        }
        (has, written)
    }

    fn finish(
        &mut self,
        who: usize,
        at: usize,
        stays: bool,
        reign: Option<u64>,
        has: Set,
        written: Option<Gtid>,
    ) {
        let reign = reign.filter(|_| reign == self.reign());
        let lanes = self.access.lanes.load();
        let endpoint = &lanes.lanes[at].door.endpoint;
        let session = &mut self.sessions[who];
        if endpoint.role() == Role::Replica {
            session.freshness.used_replica(endpoint.id, |gtid| endpoint.is_known_to_have(gtid), self.now);
            session.home = stays.then_some(at);
            session.reign = reign.filter(|_| session.used.is_none() || session.reign == reign);
        } else {
            session.freshness.used_primary(endpoint.id, written.as_ref(), self.now);
            // Whoever does not answer at present counts as a primary that is none any more.
            let reigns = self.cluster.outlook().primary() == endpoint.id.0;
            (session.home, session.reign) = (None, reign.filter(|_| reigns));
        }
        session.saw.extend(has);
        session.used = Some(self.now);
    }

    /// A session tells another one what it has seen, if that is known.
    fn hand_on(&mut self, who: usize) {
        let other = self.rng.usize(..SESSIONS);
        if other == who || !matches!(self.sessions[other].errand, Errand::None) {
            return;
        }
        let outlook = self.cluster.outlook();
        let lanes = self.access.lanes.load();
        let sight = Sight::new(outlook, &lanes, self.now);
        let freshness = &mut self.sessions[who].freshness;
        if freshness.is_blank() {
            return;
        }
        let Demand::Floor(position) = sight.demand(freshness) else { return };
        let reign = outlook.incarnation(&mut freshness.reign);
        let Some(token) = reign.and_then(|reign| outlook.token(reign, position)) else { return };
        let saw = self.sessions[who].saw.clone();
        let session = &mut self.sessions[other];
        session.freshness.tell(Some(token), self.now);
        session.saw.extend(saw);
        let blank = session.used.is_none();
        (session.used, session.home) = (Some(self.now), None);
        let reign = reign.map(|reign| reign.number);
        session.reign = reign.filter(|_| blank || session.reign == reign);
    }

    fn reign(&self) -> Option<u64> {
        self.cluster.outlook().board().incarnation.map(|reign| reign.number)
    }

    /// Everyone is asked and answers.
    pub fn sample_all(&mut self) {
        for at in 0..self.count() {
            for _ in 0..4 {
                self.tick();
                self.ask(at);
            }
            if self.monitors[at].question.is_some() {
                self.tick();
                self.ask(at);
                self.tick();
                self.ask(at);
            }
        }
    }

    /// Nobody writes any more, and everybody comes back.
    pub fn calm_down(&mut self) {
        for who in 0..SESSIONS {
            self.sessions[who].errand = Errand::None;
        }
        for at in 0..self.count() {
            self.start(at);
            while self.databases.apply(at, &mut self.rng) {}
        }
        (0..3).for_each(|_| self.sample_all());
    }
}
