//! Prepared statements: the client's names, the texts they stand for, the backends' names.
//!
//! Clients prepare under names of their own; two clients may use one name for two texts.
//! A backend is lent to many clients, so on it a statement goes by a name that stands for
//! its text and parameter types: `splitpool_` and a number. The registry hands out the
//! numbers; a session maps its client's names to statements; a backend's memory knows
//! which numbers it has.
//!
//! The text is kept exactly as the client sent it, behind the name of its Parse message.

use hashbrown::HashMap;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// Names beginning like this are ours on every backend.
pub const PREFIX: &str = "splitpool_";

/// A text with its parameter types, under the number that stands for it.
#[derive(Debug)]
pub struct Statement {
    /// Never 0.
    pub number: u64,
    /// The body of its Parse message behind the name: text, zero byte, parameter types.
    pub tail: Box<[u8]>,
    /// What must be there when it is run, because its text is an EXECUTE of it.
    pub about: Option<Arc<Self>>,
}

impl Statement {
    /// The SQL text, without the terminator.
    pub fn text(&self) -> &[u8] {
        super::frame::split_text(&self.tail).map_or(&[], |(text, _)| text)
    }
}

/// How many distinct texts are remembered before dead ones are swept out.
const SWEEP_AT: usize = 4096;

/// The statements of a process. Locked when a client prepares, never when it executes.
#[derive(Debug, Default)]
pub struct Registry {
    numbers: AtomicU64,
    schema: AtomicU64,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    by_tail: HashMap<Box<[u8]>, Weak<Statement>, foldhash::fast::RandomState>,
    sweep_at: usize,
}

impl Registry {
    /// A number that nothing has had before.
    pub fn fresh_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The number of the schema that statements are prepared under. It need not be that of one database: a
    /// statement that is prepared once too often is no mistake.
    pub fn schema(&self) -> u64 {
        self.schema.load(Ordering::Relaxed)
    }

    /// Some schema has changed: what was prepared before is prepared anew where it is used again.
    pub fn schema_changed(&self) {
        self.schema.fetch_add(1, Ordering::Relaxed);
    }

    /// The statement for `tail`, as long as `flavour`, the encoding and quoting its bytes
    /// are to be read by, is the same.
    pub fn intern(&self, tail: &[u8], flavour: &[u8], about: Option<Arc<Statement>>) -> Arc<Statement> {
        let mut key = Vec::with_capacity(tail.len() + flavour.len());
        key.extend_from_slice(tail);
        key.extend_from_slice(flavour);
        let mut known = self.known.lock();
        if let Some(statement) = known.by_tail.get(key.as_slice()).and_then(Weak::upgrade) {
            return statement;
        }
        if known.by_tail.len() >= known.sweep_at.max(SWEEP_AT) {
            known.by_tail.retain(|_, statement| statement.strong_count() > 0);
            known.sweep_at = known.by_tail.len() * 2;
        }
        let statement = Arc::new(Statement { number: self.fresh_number(), tail: tail.into(), about });
        known.by_tail.insert(key.into_boxed_slice(), Arc::downgrade(&statement));
        statement
    }
}

/// Appends the name that a statement has on backends, with its terminator.
pub fn put_name(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(PREFIX.as_bytes());
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    let mut left = number;
    while left > 0 || at == digits.len() {
        at -= 1;
        if let Some(digit) = digits.get_mut(at) {
            *digit = b'0' + (left % 10) as u8;
        }
        left /= 10;
    }
    out.extend_from_slice(digits.get(at..).unwrap_or_default());
    out.push(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_number_for_one_text() {
        let registry = Registry::default();
        let one = registry.intern(b"select 1\0\0\0", b"", None);
        assert_eq!(one.number, registry.intern(b"select 1\0\0\0", b"", None).number);
        assert_ne!(one.number, registry.intern(b"select 2\0\0\0", b"", None).number);
        assert_ne!(one.number, registry.intern(b"select 1\0\0\0", b"LATIN1", None).number);
        assert_eq!(one.text(), b"select 1");
    }

    #[test]
    fn dead_texts_are_swept() {
        let registry = Registry::default();
        for i in 0..3 * SWEEP_AT {
            registry.intern(format!("select {i}\0\0\0").as_bytes(), b"", None);
        }
        assert!(registry.known.lock().by_tail.len() <= SWEEP_AT);
    }

    #[test]
    fn names() {
        let mut out = Vec::new();
        put_name(&mut out, 0);
        put_name(&mut out, 1234567890);
        assert_eq!(out, b"splitpool_0\0splitpool_1234567890\0");
    }
}
