//! A primary and its replicas as they really stand, which nobody but the test sees.

use crate::board::Sample;
use crate::gtid::Gtids;
use crate::lag::Position;
use crate::ledger::Place;
use crate::topology::Seen;
use fastrand::Rng;
use protocol::Gtid;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

/// How positions are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Log,
    MySql,
    MariaDb,
}

/// Transactions, by their place in `Databases::txns`.
pub(super) type Set = BTreeSet<usize>;

struct Txn {
    /// Who numbers it: the source, which is twice its endpoint and one more with a tag, or the domain.
    stream: u32,
    number: u64,
    /// Where it ends in the log.
    end: u64,
    /// A failover lost it, or only one replica ever had it.
    stray: bool,
}

#[derive(Default)]
struct Node {
    have: Set,
    /// The same in the order in which it came to have them.
    order: Vec<usize>,
    up: bool,
    /// It applies what does not conflict in any order.
    parallel: bool,
}

/// What a question to a database is answered with.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub seen: Seen,
    pub place: Place,
    pub has: Set,
}

pub(super) struct Databases {
    pub kind: Kind,
    pub primary: usize,
    timeline: u32,
    txns: Vec<Txn>,
    nodes: Vec<Node>,
}

const LOG_BEGINS: u64 = 100;

impl Databases {
    pub fn new(kind: Kind, count: usize, rng: &mut Rng) -> Self {
        let node = |at| Node { up: true, parallel: at > 0 && rng.u8(..4) == 0, ..Node::default() };
        let nodes = (0..count).map(node).collect();
        let mut databases = Self { kind, primary: 0, timeline: 1, txns: Vec::new(), nodes };
        // Every stream is known everywhere from the start.
        let first: Vec<_> = (0..2).map(|stream| databases.write(0, stream, rng)).collect();
        for node in &mut databases.nodes {
            node.have.extend(&first);
            node.order.clone_from(&first);
        }
        databases
    }

    fn write(&mut self, at: usize, stream: u32, rng: &mut Rng) -> usize {
        let number =
            1 + self.txns.iter().filter(|txn| txn.stream == stream && !self.is_forgotten(txn)).count();
        let end = self.end(at) + rng.u64(1..50);
        self.txns.push(Txn { stream, number: number as u64, end, stray: false });
        let txn = self.txns.len() - 1;
        self.nodes[at].have.insert(txn);
        self.nodes[at].order.push(txn);
        txn
    }

    /// MariaDB gives numbers of a domain again that a failover has lost.
    fn is_forgotten(&self, txn: &Txn) -> bool {
        self.kind == Kind::MariaDb && txn.stray
    }

    fn end(&self, at: usize) -> u64 {
        self.nodes[at].order.last().map_or(LOG_BEGINS, |txn| self.txns[*txn].end)
    }

    /// The primary commits one.
    pub fn commit(&mut self, rng: &mut Rng) -> usize {
        let at = self.primary;
        let base = if self.kind == Kind::MySql { 2 * at as u32 } else { 0 };
        self.write(at, base + u32::from(rng.u8(..4) == 0), rng)
    }

    /// A replica is written to.
    pub fn go_astray(&mut self, at: usize, rng: &mut Rng) {
        if self.kind == Kind::MySql && at != self.primary && self.nodes[at].up {
            let txn = self.write(at, 2 * at as u32, rng);
            self.txns[txn].stray = true;
        }
    }

    /// A replica applies one more, if there is one. Returns whether it did.
    pub fn apply(&mut self, at: usize, rng: &mut Rng) -> bool {
        if at == self.primary || !self.nodes[at].up {
            return false;
        }
        let node = &self.nodes[at];
        let lacks = self.nodes[self.primary].order.iter().filter(|txn| !node.have.contains(txn)).copied();
        let mut next: Vec<usize> = match (self.kind, node.parallel) {
            (Kind::MySql, true) => lacks.take(3).collect(),
            (Kind::MariaDb, true) => {
                let mut domains = Set::new();
                lacks.filter(|txn| domains.insert(self.txns[*txn].stream as usize)).collect()
            }
            _ => lacks.take(1).collect(),
        };
        if next.is_empty() {
            return false;
        }
        let txn = next.swap_remove(rng.usize(..next.len()));
        self.nodes[at].have.insert(txn);
        self.nodes[at].order.push(txn);
        true
    }

    pub fn is_up(&self, at: usize) -> bool {
        self.nodes[at].up
    }

    pub fn has(&self, at: usize) -> &Set {
        &self.nodes[at].have
    }

    /// What of `set` is still anywhere to be found.
    pub fn valid(&self, set: &Set) -> Set {
        set.iter().filter(|txn| !self.txns[**txn].stray).copied().collect()
    }

    pub fn stop(&mut self, at: usize) {
        self.nodes[at].up = false;
    }

    /// It comes back; as a replica if it was no primary, with what another may have lost.
    pub fn start(&mut self, at: usize, rng: &mut Rng) {
        self.nodes[at].up = true;
        if at == self.primary {
            return;
        }
        // Whoever has what the primary lacks is made anew from it; and not all that was applied was on disk.
        let of_primary = &self.nodes[self.primary].order;
        let is_stray = self.nodes[at].order.iter().any(|txn| !self.nodes[self.primary].have.contains(txn));
        if is_stray || rng.bool() {
            let from = rng.usize(2.min(of_primary.len())..=of_primary.len());
            let order: Vec<_> = of_primary[..from].to_vec();
            (self.nodes[at].have, self.nodes[at].order) = (order.iter().copied().collect(), order);
        }
    }

    /// The primary is gone for good, and another one takes over. Returns who must be made anew.
    pub fn promote(&mut self, at: usize) -> Vec<usize> {
        let lost: Vec<_> = self.nodes[self.primary].have.difference(&self.nodes[at].have).copied().collect();
        lost.into_iter().for_each(|txn| self.txns[txn].stray = true);
        (self.primary, self.timeline) = (at, self.timeline + 1);
        let ours = &self.nodes[at].have;
        let strays = |node: &Node| !node.have.is_subset(ours);
        (0..self.nodes.len()).filter(|other| *other != at && strays(&self.nodes[*other])).collect()
    }

    pub fn gtid(&self, txn: usize) -> Option<Gtid> {
        let Txn { stream, number, .. } = self.txns[txn];
        match self.kind {
            Kind::Log => None,
            Kind::MySql => Gtid::mysql(format!("{}:{number}", source(stream)).as_bytes()),
            Kind::MariaDb => Some(Gtid::Domain { domain: stream, server: 1, number }),
        }
    }

    /// What it says if it is asked now.
    pub fn answer(&self, at: usize) -> Answer {
        let node = &self.nodes[at];
        let recovering = at != self.primary;
        let log = self.kind == Kind::Log;
        let timeline = (log && !recovering).then_some(self.timeline);
        let place = match self.kind {
            Kind::Log => Place::Log(Position(self.end(at))),
            _ => {
                let set = Arc::new(self.set(&node.have));
                Place::Gtids { written: Arc::clone(&set), applied: set, in_order: !node.parallel }
            }
        };
        let seen = Seen { recovering, follows: recovering && !log, timeline, identity: None };
        Answer { seen, place, has: node.have.clone() }
    }

    fn set(&self, have: &Set) -> Gtids {
        let words = have.iter().map(|txn| {
            let Txn { stream, number, .. } = self.txns[*txn];
            if self.kind == Kind::MySql {
                format!("{}:{number}", source(stream))
            } else {
                format!("{stream}-1-{number}")
            }
        });
        let text = words.collect::<Vec<_>>().join(",");
        let read = if self.kind == Kind::MySql { Gtids::mysql(&text) } else { Gtids::mariadb(&text) };
        read.unwrap_or_else(|| panic!("{text}"))
    }
}

fn source(stream: u32) -> String {
    let tag = if stream % 2 == 1 { ":tag" } else { "" };
    format!("{:08x}-0000-0000-0000-000000000000{tag}", stream / 2)
}

impl Answer {
    pub fn sample(&self, started: Instant, first: bool) -> Sample {
        Sample { seen: self.seen, place: Some(self.place.clone()), seconds_behind: None, started, first }
    }
}
