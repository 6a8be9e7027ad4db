//! Sets of global transaction ids, as MySQL and MariaDB tell how far they have come.
//!
//! A MySQL set has intervals for each source (a server's UUID, with a tag or without), a
//! MariaDB position the last number of each domain. Sets are only partly ordered: of two,
//! neither may hold the other. Pure.

use protocol::Gtid;
use std::collections::BTreeMap;
use std::fmt;

/// A set with more intervals than this is not read.
const INTERVALS_MAX: usize = 65_536;

/// An interval of numbers, both ends included.
type Interval = (u64, u64);

/// What a server has written or applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Gtids {
    /// MariaDB: in a domain, everything up to a number.
    Domains(BTreeMap<u32, u64>),
    /// MySQL: sorted intervals that neither touch nor overlap, by source.
    Sources(BTreeMap<Box<str>, Vec<Interval>>),
}

impl Gtids {
    /// Reads `0-1-7,2-1-3`. `None` if it is nothing of the kind.
    pub fn mariadb(text: &str) -> Option<Self> {
        let mut domains: BTreeMap<u32, u64> = BTreeMap::new();
        for gtid in parts(text, ',') {
            let (domain, rest) = gtid.split_once('-')?;
            let (_, number) = rest.split_once('-')?;
            let (domain, number) = (domain.parse().ok()?, number.parse::<u64>().ok()?);
            let last = domains.entry(domain).or_insert(number);
            *last = number.max(*last);
            if domains.len() > INTERVALS_MAX {
                return None;
            }
        }
        Some(Self::Domains(domains))
    }

    /// Reads `UUID:1-5:7,UUID:tag:1-3`. `None` if it is nothing of the kind.
    pub fn mysql(text: &str) -> Option<Self> {
        let mut sources: BTreeMap<Box<str>, Vec<Interval>> = BTreeMap::new();
        let mut count = 0;
        for source in parts(text, ',') {
            let mut words = source.split(':').map(str::trim);
            let uuid = words.next().filter(|uuid| uuid.len() >= 32)?.to_ascii_lowercase();
            let mut name = uuid.clone();
            for word in words {
                // A tag begins with a letter, and holds for the intervals behind it.
                if !word.starts_with(|first: char| first.is_ascii_digit()) {
                    name = format!("{uuid}:{}", word.to_ascii_lowercase());
                    continue;
                }
                let (from, to) = word.split_once('-').unwrap_or((word, word));
                let (from, to) = (from.trim().parse().ok()?, to.trim().parse().ok()?);
                sources.entry(name.as_str().into()).or_default().push((from, to));
                count += 1;
                if count > INTERVALS_MAX {
                    return None;
                }
            }
        }
        for intervals in sources.values_mut() {
            *intervals = merged(std::mem::take(intervals));
        }
        Some(Self::Sources(sources))
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Domains(domains) => domains.is_empty(),
            Self::Sources(sources) => sources.is_empty(),
        }
    }

    /// Whether one transaction is in it.
    pub fn has(&self, gtid: &Gtid) -> bool {
        match (self, gtid) {
            (Self::Domains(domains), Gtid::Domain { domain, number, .. }) => {
                domains.get(domain).is_some_and(|last| last >= number)
            }
            (Self::Sources(sources), Gtid::Source { source, number }) => {
                sources.get(source.as_str()).is_some_and(|have| holds(have, (*number, *number)))
            }
            _ => false,
        }
    }

    /// How many domains or sources there are.
    pub fn streams(&self) -> usize {
        match self {
            Self::Domains(domains) => domains.len(),
            Self::Sources(sources) => sources.len(),
        }
    }

    /// Whether `other` has all of it. Sets of different makes have nothing of one another.
    pub fn is_within(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Domains(own), Self::Domains(other)) => {
                own.iter().all(|(domain, number)| other.get(domain).is_some_and(|last| last >= number))
            }
            (Self::Sources(own), Self::Sources(other)) => own.iter().all(|(source, intervals)| {
                let other = other.get(source).map_or(&[][..], Vec::as_slice);
                intervals.iter().all(|interval| holds(other, *interval))
            }),
            _ => self.is_empty(),
        }
    }

    /// What `other` has not. Of a MariaDB domain that is the whole domain or nothing.
    #[must_use]
    pub fn beyond(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Domains(own), Self::Domains(other)) => {
                let ahead = |domain: &u32, number: u64| other.get(domain).is_none_or(|last| *last < number);
                let rest = own.iter().filter(|(domain, number)| ahead(domain, **number));
                Self::Domains(rest.map(|(domain, number)| (*domain, *number)).collect())
            }
            (Self::Sources(own), Self::Sources(other)) => {
                let rest = own.iter().filter_map(|(source, intervals)| {
                    let other = other.get(source).map_or(&[][..], Vec::as_slice);
                    let left = subtract(intervals, other);
                    (!left.is_empty()).then(|| (source.clone(), left))
                });
                Self::Sources(rest.collect())
            }
            _ => self.clone(),
        }
    }

    /// How many transactions it has that `other` lacks.
    pub fn count_beyond(&self, other: &Self) -> u64 {
        match (self, other) {
            (Self::Domains(own), Self::Domains(other)) => {
                let lacks = |(domain, number): (&u32, &u64)| {
                    number.saturating_sub(other.get(domain).copied().unwrap_or(0))
                };
                own.iter().map(lacks).fold(0, u64::saturating_add)
            }
            _ => match self.beyond(other) {
                Self::Domains(_) => 0,
                Self::Sources(rest) => {
                    let length = |(from, to): &Interval| (to - from).saturating_add(1);
                    rest.values().flatten().map(length).fold(0, u64::saturating_add)
                }
            },
        }
    }

    /// What either has. Only of one make.
    #[must_use]
    pub fn with(mut self, other: &Self) -> Self {
        if let (Self::Domains(own), Self::Domains(other)) = (&mut self, other) {
            for (domain, number) in other {
                let last = own.entry(*domain).or_insert(*number);
                *last = (*last).max(*number);
            }
        }
        self
    }
}

/// As the databases write them; a MariaDB position without its servers.
impl fmt::Display for Gtids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut glue = "";
        match self {
            Self::Domains(domains) => {
                for (domain, number) in domains {
                    write!(f, "{glue}{domain}-0-{number}")?;
                    glue = ",";
                }
            }
            Self::Sources(sources) => {
                for (source, intervals) in sources {
                    write!(f, "{glue}{source}")?;
                    for (from, to) in intervals {
                        if from == to { write!(f, ":{from}") } else { write!(f, ":{from}-{to}") }?;
                    }
                    glue = ",";
                }
            }
        }
        Ok(())
    }
}

fn parts(text: &str, separator: char) -> impl Iterator<Item = &str> {
    text.split(separator).map(str::trim).filter(|part| !part.is_empty())
}

/// Sorted, without overlaps and gaps of nothing.
fn merged(mut intervals: Vec<Interval>) -> Vec<Interval> {
    intervals.retain(|(from, to)| from <= to);
    intervals.sort_unstable();
    let mut out: Vec<Interval> = Vec::with_capacity(intervals.len());
    for (from, to) in intervals {
        match out.last_mut() {
            Some((_, end)) if from <= end.saturating_add(1) => *end = (*end).max(to),
            _ => out.push((from, to)),
        }
    }
    out
}

/// Whether one of the intervals has all of `wanted`.
fn holds(intervals: &[Interval], wanted: Interval) -> bool {
    let at = intervals.partition_point(|(_, to)| *to < wanted.0);
    intervals.get(at).is_some_and(|(from, to)| *from <= wanted.0 && wanted.1 <= *to)
}

/// What is left of `own` without `other`, in one pass over both.
fn subtract(own: &[Interval], other: &[Interval]) -> Vec<Interval> {
    let mut left = Vec::new();
    let mut other = other.iter().copied().peekable();
    for &(mut from, to) in own {
        while other.next_if(|(_, end)| *end < from).is_some() {}
        let mut ended = false;
        while let Some(&(start, end)) = other.peek() {
            if start > to {
                break;
            }
            if start > from {
                left.push((from, start - 1));
            }
            if end >= to {
                ended = true;
                break;
            }
            from = end + 1;
            other.next();
        }
        if !ended && from <= to {
            left.push((from, to));
        }
    }
    left
}

#[cfg(test)]
mod tests;
