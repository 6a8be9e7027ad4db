//! Prepared statements: the numbers that clients have, the texts they stand for, and what else
//! a statement means something by.
//!
//! A database numbers the statements of each connection by itself, so a client's number means
//! nothing on another backend. The registry gives each text a number of its own, a session maps
//! its client's numbers to texts, and a backend's memory maps texts to its own numbers. A text
//! is bound when it is prepared: to the schema, the SQL mode and the character set of that
//! moment, which therefore belong to it.

use super::last::Asks;
use crate::Settings;
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// A text with what it was bound to, under the number that stands for both.
#[derive(Debug)]
pub struct Statement {
    /// Never 0.
    pub number: u64,
    /// The text; empty if it was too long to keep.
    pub text: Box<[u8]>,
    /// The settings that it was prepared under, as far as they matter to it.
    pub birth: Settings,
    /// What it may ask of the statement before it.
    pub asks: Asks,
}

/// How many distinct texts are remembered before dead ones are swept out.
const SWEEP_AT: usize = 4096;

/// The statements of a process. Locked when a client prepares, never when it executes.
#[derive(Debug, Default)]
pub struct Registry {
    numbers: AtomicU64,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    by_key: HashMap<Box<[u8]>, Weak<Statement>, foldhash::fast::RandomState>,
    sweep_at: usize,
}

impl Registry {
    /// The statement for `text` under `birth`.
    pub fn intern(&self, text: &[u8], birth: &Settings) -> Arc<Statement> {
        let mut key = text.to_vec();
        for (name, value) in birth.iter() {
            for part in [name, value] {
                key.push(0);
                key.extend_from_slice(part.as_bytes());
            }
        }
        let mut known = self.known.lock();
        if let Some(statement) = known.by_key.get(key.as_slice()).and_then(Weak::upgrade) {
            return statement;
        }
        if known.by_key.len() >= known.sweep_at.max(SWEEP_AT) {
            known.by_key.retain(|_, statement| statement.strong_count() > 0);
            known.sweep_at = known.by_key.len() * 2;
        }
        let statement = self.unkept(text, birth);
        known.by_key.insert(key.into_boxed_slice(), Arc::downgrade(&statement));
        statement
    }

    /// A number that no other session and no statement has.
    pub fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A statement that nobody shares.
    pub fn unkept(&self, text: &[u8], birth: &Settings) -> Arc<Statement> {
        Arc::new(Statement {
            number: self.next_number(),
            text: text.into(),
            birth: birth.clone(),
            asks: Asks::of(text),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_number_for_one_text_and_birth() {
        let registry = Registry::default();
        let births: Vec<Settings> =
            ["a", "b"].map(|schema| Settings::new(vec![("schema".into(), schema.into())])).into();
        let one = registry.intern(b"select 1", &births[0]);
        assert_eq!(one.number, registry.intern(b"select 1", &births[0]).number);
        assert_ne!(one.number, registry.intern(b"select 2", &births[0]).number);
        assert_ne!(one.number, registry.intern(b"select 1", &births[1]).number);
        for i in 0..3 * SWEEP_AT {
            registry.intern(format!("select {i}").as_bytes(), &births[0]);
        }
        assert!(registry.known.lock().by_key.len() <= SWEEP_AT);
    }
}
