//! Judges what a PostgreSQL backend sends.
//!
//! Sees headers, and bodies only where a decision hangs on them. Never buffers, never knows
//! a host. Every answer is matched with what is owed; one that nobody asked for is nonsense,
//! because after it nobody knows whose the next one is.

use super::PgMemory;
use super::frame::{self, split_text};
use super::statements::PREFIX;
use super::tracker::{Owed, PgTracker};
use crate::tracker::{Memory, TxnStatus, Verdict};
use crate::{Head, ProtocolError};

/// ParameterStatus and ErrorResponse above this are judged by their beginning.
const SEEN_MAX: usize = 8192;

/// See `Tracker::needs`.
pub(super) fn needs(head: Head) -> usize {
    match head.tag {
        b'Z' => head.body.min(1),
        b'C' => head.body.min(32),
        b'E' => head.body.min(SEEN_MAX),
        b'S' => head.body.min(SEEN_MAX),
        _ => 0,
    }
}

const UNASKED: ProtocolError = ProtocolError("the backend answered what nobody asked");

impl PgTracker {
    #[inline]
    pub(super) fn judge_reply(
        &mut self,
        head: Head,
        seen: &[u8],
        memory: &mut PgMemory,
        instead: &mut Vec<u8>,
    ) -> Result<Verdict, ProtocolError> {
        match head.tag {
            b'A' if memory.is_deaf() => Ok(Verdict::Swallow),
            b'N' | b'A' => Ok(Verdict::Relay),
            b'D' | b'd' | b'c' | b't' | b'V' | b'H' if self.owed.is_empty() => Err(UNASKED),
            b'D' | b'd' | b'c' | b't' | b'V' | b'H' => Ok(Verdict::Relay),
            b'C' => self.complete(seen, memory),
            b'Z' => self.ready(head, seen),
            b'1' => self.parsed(),
            b'2' => self.answered(|owed| matches!(owed, Owed::Bind { .. })),
            b'3' => self.closed(),
            b'T' | b'n' => self.described(head.tag),
            b'I' | b's' => self.executed(),
            b'E' => Ok(self.failed(seen, memory, instead)),
            b'S' => Ok(self.report(head, seen, memory)),
            b'G' => self.copy_begins(),
            _ => Err(ProtocolError("the backend sent a message of unknown type")),
        }
    }

    fn answered(&mut self, is: impl Fn(&Owed) -> bool) -> Result<Verdict, ProtocolError> {
        match self.owed.pop_front() {
            Some(owed) if is(&owed) => Ok(Verdict::Relay),
            _ => Err(UNASKED),
        }
    }

    fn parsed(&mut self) -> Result<Verdict, ProtocolError> {
        match self.owed.pop_front() {
            Some(Owed::Parse { ours: true, .. }) => Ok(Verdict::Swallow),
            Some(Owed::Parse { unnamed, .. }) => {
                if unnamed {
                    self.keep_unnamed();
                }
                Ok(Verdict::Relay)
            }
            _ => Err(UNASKED),
        }
    }

    fn closed(&mut self) -> Result<Verdict, ProtocolError> {
        match self.owed.pop_front() {
            Some(Owed::Close { ours: true, .. }) => Ok(Verdict::Swallow),
            Some(Owed::Close { unnamed, .. }) => {
                if unnamed {
                    self.keep_unnamed();
                }
                Ok(Verdict::Relay)
            }
            _ => Err(UNASKED),
        }
    }

    /// A row description answers Describe, or is part of the answer to a simple query.
    fn described(&mut self, tag: u8) -> Result<Verdict, ProtocolError> {
        match self.owed.front() {
            Some(Owed::Describe { .. }) => {
                self.owed.pop_front();
                Ok(Verdict::Relay)
            }
            Some(Owed::Query) if tag == b'T' => Ok(Verdict::Relay),
            _ => Err(UNASKED),
        }
    }

    fn executed(&mut self) -> Result<Verdict, ProtocolError> {
        self.tally.results = self.tally.results.wrapping_add(1);
        match self.owed.front() {
            Some(Owed::Execute { .. }) => {
                self.owed.pop_front();
                if matches!(self.owed.front(), Some(Owed::CopyEnd)) {
                    self.owed.pop_front();
                }
                Ok(Verdict::Relay)
            }
            Some(Owed::Query) => Ok(Verdict::Relay),
            _ => Err(UNASKED),
        }
    }

    fn complete(&mut self, seen: &[u8], memory: &mut PgMemory) -> Result<Verdict, ProtocolError> {
        self.tally.rows = self.tally.rows.saturating_add(rows(seen));
        // Both also destroy the statements that were prepared through the protocol, under a name.
        if matches!(seen, b"DEALLOCATE ALL\0" | b"DISCARD ALL\0") {
            self.discarded |= seen == b"DISCARD ALL\0";
            memory.deallocated();
            self.named.clear();
            self.unkept = 0;
        }
        if let Some(Owed::Execute { frees: Some(name) }) = self.owed.front_mut() {
            let freed = self.named.remove(&std::mem::take(name));
            freed.into_iter().for_each(|named| memory.forgets(named.statement.number));
        }
        self.executed()
    }

    fn ready(&mut self, head: Head, seen: &[u8]) -> Result<Verdict, ProtocolError> {
        let txn = match (head.body, seen.first()) {
            (1, Some(b'I')) => TxnStatus::Idle,
            (1, Some(b'T')) => TxnStatus::Open,
            (1, Some(b'E')) => TxnStatus::Failed,
            _ => return Err(ProtocolError("the backend sent a malformed ReadyForQuery")),
        };
        let owed = self.owed.pop_front();
        self.txn = txn;
        match owed {
            Some(Owed::Query) => {
                self.keep_unnamed();
                Ok(Verdict::Relay)
            }
            Some(Owed::Sync | Owed::Function) => Ok(Verdict::Relay),
            Some(Owed::Flush) => Ok(Verdict::Swallow),
            _ => Err(UNASKED),
        }
    }

    fn failed(&mut self, seen: &[u8], memory: &mut PgMemory, instead: &mut Vec<u8>) -> Verdict {
        let code = code(seen);
        self.tally.error.get_or_insert(code);
        self.heed_stale(code, seen, memory);
        match self.owed.front() {
            Some(Owed::Sync | Owed::Query | Owed::Function | Owed::Flush) | None => self.copy_in = false,
            Some(_) => self.fail_batch(memory),
        }
        if matches!(&code, b"26000" | b"42P05" | b"08P01") && self.reword(seen, instead) {
            return Verdict::Reworded(code);
        }
        Verdict::Failed(code)
    }

    /// A statement that a change of schema has overtaken, or that is not there although it should be, is
    /// prepared anew before its next use.
    fn heed_stale(&mut self, code: [u8; 5], seen: &[u8], memory: &mut PgMemory) {
        let Some(Owed::Bind { number } | Owed::Describe { number }) = self.owed.front() else { return };
        let overtaken = &code == b"0A000" && field(seen, b'R') == Some(b"RevalidateCachedQuery");
        let (number, missing) = (*number, &code == b"26000");
        if number != 0 && (overtaken || missing) {
            memory.spoils(number);
            // A client that is not told the new shape of its rows would take them for what they were.
            let binds = matches!(self.owed.front(), Some(Owed::Bind { .. }));
            self.stale = missing || !binds || matches!(self.owed.get(1), Some(Owed::Describe { .. }));
            if overtaken {
                self.registry.schema_changed();
            }
        }
    }

    /// Appends the error with the client's names of statements in place of ours, if it has any.
    fn reword(&self, fields: &[u8], out: &mut Vec<u8>) -> bool {
        let Some(message) = field(fields, b'M') else { return false };
        let prefix = PREFIX.as_bytes();
        let Some(at) = message.windows(prefix.len()).position(|window| window == prefix) else {
            return false;
        };
        let (front, ours) = message.split_at(at);
        let digits = ours.get(prefix.len()..).unwrap_or_default();
        let length = digits.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len());
        let (digits, behind) = digits.split_at(length);
        let number = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse::<u64>().ok());
        let name = if number == Some(0) {
            Some(self.stranger.clone())
        } else {
            self.named
                .iter()
                .find(|(_, of)| Some(of.statement.number) == number)
                .map(|(name, _)| name.clone())
        };
        let Some(name) = name else { return false };
        let start = frame::begin(out, b'E');
        let mut left = fields;
        while let Some((&kind, rest)) = left.split_first().filter(|(kind, _)| **kind != 0) {
            let Some((value, next)) = split_text(rest) else { break };
            out.push(kind);
            if kind == b'M' {
                frame::text(out, &[front, &name, behind].concat());
            } else {
                frame::text(out, value);
            }
            left = next;
        }
        out.push(0);
        frame::end(out, start);
        true
    }

    /// The backend wants COPY data. In the extended protocol it ignores a Sync that was sent
    /// before the data ended, and the client sends another ("COPY Operations").
    fn copy_begins(&mut self) -> Result<Verdict, ProtocolError> {
        match self.owed.front() {
            Some(Owed::Query) => self.copy_in = true,
            Some(Owed::Execute { .. }) => {
                let ends = self.owed.iter().position(|owed| matches!(owed, Owed::CopyEnd));
                let eaten = ends.unwrap_or(self.owed.len());
                let mut at = 0;
                self.owed.retain(|owed| {
                    at += 1;
                    at > eaten || !matches!(owed, Owed::Sync)
                });
                if ends.is_none() {
                    self.copy_in = true;
                    self.open = true;
                }
            }
            _ => return Err(UNASKED),
        }
        Ok(Verdict::Relay)
    }
}

/// The rows in a CommandComplete, `INSERT 0 5`: what its last word says, if that is a number.
fn rows(tag: &[u8]) -> u64 {
    let (mut rows, mut unit) = (0, 1_u64);
    for byte in tag.iter().rev().skip(1).take(19) {
        match byte {
            b'0'..=b'9' => rows += u64::from(byte - b'0') * unit,
            b' ' => return rows,
            _ => return 0,
        }
        unit *= 10;
    }
    rows
}

/// The SQLSTATE of an ErrorResponse: field `C`.
fn code(fields: &[u8]) -> [u8; 5] {
    field(fields, b'C').and_then(|code| code.try_into().ok()).unwrap_or(*b"XX000")
}

/// A field of an ErrorResponse.
fn field(mut fields: &[u8], wanted: u8) -> Option<&[u8]> {
    while let Some((&kind, behind)) = fields.split_first() {
        let (value, next) = split_text(behind)?;
        if kind == wanted {
            return Some(value);
        }
        fields = next;
    }
    None
}
