//! Session values that follow the client to any backend.
//!
//! A set of names and values, small, ordered, compared as a whole. What a name means
//! is the database's business; this file only knows what differs.

use std::hash::BuildHasher;
use std::sync::Arc;

/// The fence that an application carries between sessions. It is given to a backend only to be asked for.
pub const TOKEN: &str = "splitpool.token";

/// An immutable set of settings with its fingerprint. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Settings(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    fingerprint: u64,
    pairs: Vec<(Box<str>, Box<str>)>,
}

/// What must change on a backend before it serves a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change<'a> {
    /// Give the setting this value.
    Set(&'a str, &'a str),
    /// Return the setting to the backend's own default.
    Reset(&'a str),
}

impl<'a> Change<'a> {
    /// The setting's name.
    pub fn name(&self) -> &'a str {
        match self {
            Self::Set(name, _) | Self::Reset(name) => name,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl Settings {
    /// Takes names and values in any order; the last value of a name counts.
    pub fn new(pairs: Vec<(Box<str>, Box<str>)>) -> Self {
        let mut sorted: Vec<(Box<str>, Box<str>)> = Vec::with_capacity(pairs.len());
        for (name, value) in pairs {
            match sorted.binary_search_by(|(have, _)| have.as_ref().cmp(&name)) {
                Ok(at) => sorted[at].1 = value,
                Err(at) => sorted.insert(at, (name, value)),
            }
        }
        let fingerprint = foldhash::fast::FixedState::with_seed(0x5eed).hash_one(&sorted);
        Self(Arc::new(Inner { fingerprint, pairs: sorted }))
    }

    /// These settings with `over` on top.
    #[must_use]
    pub fn overlaid(&self, over: &Self) -> Self {
        if over.is_empty() {
            return self.clone();
        }
        Self::new(self.0.pairs.iter().chain(&over.0.pairs).cloned().collect())
    }

    /// The value of a setting.
    pub fn value(&self, name: &str) -> Option<&str> {
        let pairs = &self.0.pairs;
        let at = pairs.binary_search_by(|(have, _)| have.as_ref().cmp(name)).ok()?;
        pairs.get(at).map(|(_, value)| value.as_ref())
    }

    /// Names and values, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.pairs.iter().map(|(name, value)| (name.as_ref(), value.as_ref()))
    }

    /// These settings without the one of this name.
    #[must_use]
    pub fn without(&self, name: &str) -> Self {
        Self::new(self.0.pairs.iter().filter(|(have, _)| have.as_ref() != name).cloned().collect())
    }

    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        self.0.pairs.is_empty()
    }

    /// What turns a backend that has `self` into one that has `wanted`.
    pub fn changes<'a>(&'a self, wanted: &'a Self) -> Vec<Change<'a>> {
        let resets =
            self.iter().filter(|(name, _)| wanted.value(name).is_none()).map(|(name, _)| Change::Reset(name));
        let sets = wanted
            .iter()
            .filter(|(name, value)| self.value(name) != Some(value))
            .map(|(n, v)| Change::Set(n, v));
        resets.chain(sets).collect()
    }
}

impl PartialEq for Settings {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
            || (self.0.fingerprint == other.0.fingerprint && self.0.pairs == other.0.pairs)
    }
}

impl Eq for Settings {}
