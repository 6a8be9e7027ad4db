//! Commands in a client's texts that Splitpool must understand: those that name a statement of the protocol, which goes
//! by another name on backends, and COPY, which is answered before its batch ends.
//!
//! The text is changed only where the name stands. What else is in it is the database's affair.

use super::commands::{self, Command};
use super::frame::{self, split_text};
use super::requests::{Part, parts};
use super::statements::put_name;
use super::tracker::{About, Owed, PgTracker};
use super::{PgMemory, messages};
use crate::tracker::TxnStatus;
use std::sync::Arc;

impl PgTracker {
    /// DEALLOCATE of a statement that was prepared through the protocol.
    pub(super) fn deallocate(&mut self, request: &[u8], out: &mut Vec<u8>) -> bool {
        let Some(part) = parts(request).next().filter(|part| part.head.tag == b'Q') else { return false };
        let verb = part.body.trim_ascii_start();
        if !matches!(verb.first(), Some(b'd' | b'D')) {
            return false;
        }
        let Some(Command::Deallocate(name)) = split_text(verb).and_then(|(text, _)| commands::read(text))
        else {
            return false;
        };
        if self.txn == TxnStatus::Failed || self.unkept > 0 || self.named.remove(name.as_slice()).is_none() {
            return false;
        }
        self.unnamed.number = 0;
        messages::command_complete(b"DEALLOCATE", out);
        messages::ready(out, self.status());
        self.scanned = 0;
        true
    }

    /// `text` with the backend's name in place of the client's, if it is a command about a statement that was
    /// prepared through the protocol.
    fn renamed(&self, text: &[u8]) -> Option<(Vec<u8>, About)> {
        // Where nothing was prepared there is nothing to name.
        if self.named.is_empty() {
            return None;
        }
        let command = commands::read(text)?;
        let (verb, name, rest): (&[u8], _, &[u8]) = match &command {
            Command::Prepare(name, rest) => (b"PREPARE ", name, *rest),
            Command::Execute(name, rest) => (b"EXECUTE ", name, *rest),
            Command::Deallocate(name) => (b"DEALLOCATE ", name, b""),
        };
        let statement = Arc::clone(&self.named.get(name.as_slice())?.statement);
        let mut renamed = verb.to_vec();
        put_name(&mut renamed, statement.number);
        renamed.pop();
        renamed.extend_from_slice(rest);
        let frees = matches!(command, Command::Deallocate(_)).then(|| name.as_slice().into());
        Some((renamed, About { statement, frees }))
    }

    /// EXECUTE of a statement that was prepared through the protocol, or PREPARE under its name, as a simple query.
    pub(super) fn query_by_name(
        &mut self,
        part: &Part<'_>,
        memory: &mut PgMemory,
        out: &mut Vec<u8>,
    ) -> bool {
        let Some((text, about)) = split_text(part.body).and_then(|(text, _)| self.renamed(text)) else {
            return false;
        };
        if about.frees.is_some() {
            return false;
        }
        self.require(&about.statement, memory, out);
        self.owed.push_back(Owed::Query);
        let at = frame::begin(out, b'Q');
        frame::text(out, &text);
        frame::end(out, at);
        true
    }

    /// The same where such a text is itself prepared, as `name`: what stands behind the name in its Parse message.
    pub(super) fn parsed_by_name(&self, name: &[u8], tail: &[u8]) -> Option<(Box<[u8]>, About)> {
        if !commands::may_be(tail) {
            return None;
        }
        let (text, types) = split_text(tail)?;
        let (text, about) = self.renamed(text)?;
        // A text that clients share cannot say whose name it frees.
        let keeps = name.is_empty() || about.frees.is_none();
        keeps.then(|| ([&text, &[0][..], types].concat().into_boxed_slice(), about))
    }

    /// Whether the last statement that `batch` binds is a COPY. A long batch is not looked through.
    pub(super) fn asks_to_copy(&self, batch: &[u8]) -> bool {
        const LOOKED_THROUGH_MAX: usize = 64 * 1024;
        if batch.len() > LOOKED_THROUGH_MAX {
            return false;
        }
        let (mut copies, mut unnamed) = (false, is_copy(&self.unnamed.tail));
        for part in parts(batch) {
            match (part.head.tag, split_text(part.body)) {
                (b'P', Some((b"", tail))) => unnamed = is_copy(tail),
                (b'B', Some((_, behind))) => {
                    copies = match split_text(behind) {
                        Some((b"", _)) => unnamed,
                        Some((name, _)) => {
                            self.named.get(name).is_some_and(|named| is_copy(&named.statement.tail))
                        }
                        None => false,
                    };
                }
                _ => {}
            }
        }
        copies
    }
}

/// Whether what stands behind the name in a Parse message is a COPY.
fn is_copy(tail: &[u8]) -> bool {
    tail.trim_ascii_start().get(..4).is_some_and(|verb| verb.eq_ignore_ascii_case(b"copy"))
}
