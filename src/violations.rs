//! Who broke a protocol: how often, in which way, when and from where last.
//!
//! Ways are sentences of the code, never what was sent. Bounded: so many ways, and of each the last few.

use parking_lot::Mutex;
use protocol::Fault;
use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::time::SystemTime;

/// Ways that are told apart.
const WAYS_MAX: usize = 200;

/// Cases of each that are remembered.
const LAST_MAX: usize = 5;

/// Who broke it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// A client, or whatever came to a port of ours.
    Client,
    /// A database.
    Backend,
}

impl Side {
    /// Its name in metrics and on the console.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Backend => "backend",
        }
    }
}

/// One way of breaking a protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Way {
    /// The protocol's name.
    pub protocol: &'static str,
    /// Who did it.
    pub side: Side,
    /// What was wrong, as a sentence of the code.
    pub error: &'static str,
}

/// How often it was done.
#[derive(Debug, Clone)]
pub struct Cases {
    /// All of them.
    pub count: u64,
    /// When it was first done.
    pub first: SystemTime,
    /// The last few, the newest first: when, and by whom.
    pub last: VecDeque<(SystemTime, String)>,
}

/// See the file's head.
#[derive(Debug, Default)]
pub struct Violations(Mutex<BTreeMap<Way, Cases>>);

impl Violations {
    /// Somebody at `address` did it now.
    pub fn note(&self, mut way: Way, address: String, now: SystemTime) {
        let mut ways = self.0.lock();
        if ways.len() >= WAYS_MAX && !ways.contains_key(&way) {
            way.error = "something else";
        }
        let new = || Cases { count: 0, first: now, last: VecDeque::with_capacity(LAST_MAX) };
        let cases = ways.entry(way).or_insert_with(new);
        cases.count += 1;
        cases.last.truncate(LAST_MAX - 1);
        cases.last.push_front((now, address));
    }

    /// All ways that were seen.
    pub fn all(&self) -> Vec<(Way, Cases)> {
        self.0.lock().iter().map(|(way, cases)| (*way, cases.clone())).collect()
    }

    /// How often all in all, by protocol and side.
    pub fn sums(&self) -> BTreeMap<(&'static str, &'static str), u64> {
        let mut sums = BTreeMap::new();
        for (way, cases) in self.0.lock().iter() {
            *sums.entry((way.protocol, way.side.name())).or_default() += cases.count;
        }
        sums
    }
}

/// The fault's sentence if it is part of the code; one that was made up may hold anything.
pub fn constant(fault: &Fault) -> &'static str {
    match fault.message {
        Cow::Borrowed(message) => message,
        Cow::Owned(_) => "a sign-in that is not understood",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_few_of_each_way_are_kept() {
        let violations = Violations::default();
        let way = Way { protocol: "postgres", side: Side::Client, error: "it is wrong" };
        for n in 0..7 {
            violations.note(way, format!("[::1]:{n}"), SystemTime::UNIX_EPOCH);
        }
        violations.note(Way { side: Side::Backend, ..way }, String::new(), SystemTime::UNIX_EPOCH);
        let all = violations.all();
        let (found, cases) = all.first().expect("it was noted");
        assert_eq!((all.len(), *found, cases.count), (2, way, 7));
        let last: Vec<&str> = cases.last.iter().map(|(_, address)| address.as_str()).collect();
        assert_eq!(last, ["[::1]:6", "[::1]:5", "[::1]:4", "[::1]:3", "[::1]:2"]);
        assert_eq!(violations.sums()[&("postgres", "client")], 7);
    }
}
