//! Judges what a MySQL backend sends.
//!
//! Sees headers, and bodies only where a decision hangs on them: the ends of results, errors,
//! the number of columns. Rows are never looked into. "Text Resultset", "COM_STMT_PREPARE
//! Response", "Binary Protocol Resultset". Every answer is matched with what is owed.

use super::diagnosis::{self, Diagnosis};
use super::flags::{capability as cap, mark, status};
use super::frame::{self, FULL, Reader};
use super::last::{Last, Numbers};
use super::memory::MyMemory;
use super::messages::{self, Changed, Done, ErrorFields};
use super::requests::put_close;
use super::tracker::{MyTracker, Owed, Slot};
use super::written::Told;
use crate::fault::Cause;
use crate::tracker::{TxnStatus, Verdict};
use crate::{Fault, Head, ProtocolError};
use std::sync::Arc;

/// OK packets above this are judged by their beginning.
const SEEN_MAX: usize = 8192;

/// How much of an answer has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Nothing.
    First,
    /// So many column definitions are still to come.
    Columns(u64),
    /// EOF behind them.
    ColumnsEnd,
    /// Rows, and what ends them.
    Rows,
    /// Definitions of parameters and then of columns, and EOF behind either.
    Params(u64, u64),
    ParamsEnd(u64),
    Results(u64),
    ResultsEnd,
}

const UNASKED: ProtocolError = ProtocolError("the backend answered what nobody asked");
const MALFORMED: ProtocolError = ProtocolError("the backend sent a malformed packet");

impl MyTracker {
    /// See `Tracker::needs`.
    pub(super) fn needed(&self, head: Head) -> usize {
        if self.goes_on {
            return 0;
        }
        if matches!(self.owed.front(), Some(Owed::Warnings | Owed::InsertId)) {
            return head.body.min(SEEN_MAX);
        }
        match (self.place(), head.tag) {
            (_, mark::ERROR) => head.body.min(512),
            (Part::First | Part::ColumnsEnd, _) => head.body.min(SEEN_MAX),
            (Part::Rows, mark::EOF) if self.ends_rows(head) => head.body.min(SEEN_MAX),
            _ => 0,
        }
    }

    /// Where the first owed answer stands. The rows of a cursor have nothing in front of them.
    fn place(&self) -> Part {
        match (self.part, self.owed.front()) {
            (Part::First, Some(Owed::Fetch { .. } | Owed::Fields)) => Part::Rows,
            (part, _) => part,
        }
    }

    fn ends_rows(&self, head: Head) -> bool {
        head.tag == mark::EOF && head.body < if self.has(cap::DEPRECATE_EOF) { FULL } else { 9 }
    }

    #[inline]
    pub(super) fn judge_reply(
        &mut self,
        head: Head,
        seen: &[u8],
        memory: &mut MyMemory,
        after: &mut Vec<u8>,
    ) -> Result<Verdict, ProtocolError> {
        if self.is_row(head) {
            self.last.rows += 1;
            self.sequence = self.sequence.wrapping_add(1);
            self.went = Verdict::Relay;
            return Ok(Verdict::Relay);
        }
        let continued = std::mem::replace(&mut self.goes_on, head.body == FULL);
        if !continued {
            self.went = match self.packet(head, seen, memory, after)? {
                Verdict::Failed(code) => {
                    self.sequence = self.sequence.wrapping_add(1);
                    return Ok(Verdict::Failed(code));
                }
                verdict => verdict,
            };
        }
        if self.went == Verdict::Relay {
            self.sequence = self.sequence.wrapping_add(1);
        }
        Ok(self.went)
    }

    /// Whether this is a whole row of the client's. Rows are most of what comes, and nothing hangs on them.
    fn is_row(&self, head: Head) -> bool {
        self.part == Part::Rows
            && !self.goes_on
            && head.body < FULL
            && !matches!(head.tag, mark::EOF | mark::ERROR)
            && matches!(self.owed.front(), Some(Owed::Results { .. }))
    }

    fn packet(
        &mut self,
        head: Head,
        seen: &[u8],
        memory: &mut MyMemory,
        after: &mut Vec<u8>,
    ) -> Result<Verdict, ProtocolError> {
        let place = self.place();
        let Some(front) = self.owed.front() else { return Err(UNASKED) };
        let ours = front.is_ours();
        let relayed = if ours { Verdict::Swallow } else { Verdict::Relay };
        if matches!(front, Owed::Warnings) {
            self.diagnosis.take(seen, seen.len() == head.body);
        }
        if head.tag == mark::ERROR && head.body > 0 {
            if self.has(cap::PROGRESS) && seen.starts_with(&mark::PROGRESS) {
                return Ok(relayed);
            }
            return self.failed(seen, after);
        }
        match (front, place) {
            (Owed::Text, _) => {
                self.end();
                Ok(relayed)
            }
            (Owed::Prepare { .. }, Part::First) => self.prepared(seen, memory, after),
            (_, Part::First) => self.first(head, seen, memory, after),
            (_, Part::Columns(left)) => {
                self.part = match left {
                    0 | 1 if self.has(cap::DEPRECATE_EOF) => Part::Rows,
                    0 | 1 => Part::ColumnsEnd,
                    _ => Part::Columns(left - 1),
                };
                Ok(relayed)
            }
            (_, Part::ColumnsEnd) => {
                let done = messages::read_eof(seen).filter(|_| head.tag == mark::EOF).ok_or(MALFORMED)?;
                self.part = Part::Rows;
                self.out = done.status & status::OUT_PARAMETERS != 0;
                if done.status & status::CURSOR_EXISTS != 0 {
                    return self.done(head, &done, memory, after);
                }
                Ok(relayed)
            }
            (_, Part::Rows) if self.ends_rows(head) => {
                let done = read_end(head, seen).ok_or(MALFORMED)?;
                self.done(head, &done, memory, after)
            }
            (Owed::InsertId, Part::Rows) => {
                let told = Reader(seen).text().and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
                if let Some(number) = told {
                    (self.insert_id, memory.insert_id) = (number, number);
                }
                Ok(relayed)
            }
            (_, Part::Rows) => {
                self.last.rows += u64::from(!ours);
                Ok(relayed)
            }
            (_, Part::Params(left, columns)) => {
                self.part = match left {
                    0 | 1 if self.has(cap::DEPRECATE_EOF) => Part::Results(columns),
                    0 | 1 => Part::ParamsEnd(columns),
                    _ => Part::Params(left - 1, columns),
                };
                self.end_if_described();
                Ok(relayed)
            }
            (_, Part::ParamsEnd(columns)) => {
                self.part = Part::Results(columns);
                self.end_if_described();
                Ok(relayed)
            }
            (_, Part::Results(left)) => {
                self.part = match left {
                    0 | 1 if self.has(cap::DEPRECATE_EOF) => Part::Results(0),
                    0 | 1 => Part::ResultsEnd,
                    _ => Part::Results(left - 1),
                };
                self.end_if_described();
                Ok(relayed)
            }
            (_, Part::ResultsEnd) => {
                self.end();
                Ok(relayed)
            }
        }
    }

    /// The first owed answer is over.
    fn end(&mut self) {
        self.owed.pop_front();
        self.part = Part::First;
    }

    fn end_if_described(&mut self) {
        if self.part == Part::Results(0) {
            self.end();
        }
    }

    /// The first packet of a result: OK, a request for a file, or the number of columns.
    fn first(
        &mut self,
        head: Head,
        seen: &[u8],
        memory: &mut MyMemory,
        after: &mut Vec<u8>,
    ) -> Result<Verdict, ProtocolError> {
        let is_query = matches!(self.owed.front(), Some(Owed::Results { statement: 0 }));
        match (head.tag, self.owed.front()) {
            (mark::OK, _) | (mark::EOF, Some(Owed::Simple { .. })) => {
                let done = read_end(head, seen).ok_or(MALFORMED)?;
                self.done(head, &done, memory, after)
            }
            (mark::LOCAL_FILE, _) if is_query && self.has(cap::LOCAL_FILES) => {
                self.file = true;
                Ok(Verdict::Relay)
            }
            (_, Some(Owed::Results { .. } | Owed::Warnings | Owed::InsertId)) => {
                let columns = Reader(seen).number().filter(|n| *n > 0 && head.body <= 9).ok_or(MALFORMED)?;
                self.part = Part::Columns(columns);
                let ours = self.owed.front().is_some_and(Owed::is_ours);
                Ok(if ours { Verdict::Swallow } else { Verdict::Relay })
            }
            _ => Err(UNASKED),
        }
    }

    /// A result is over, and with it the answer unless another result follows.
    fn done(
        &mut self,
        head: Head,
        done: &Done<'_>,
        memory: &mut MyMemory,
        after: &mut Vec<u8>,
    ) -> Result<Verdict, ProtocolError> {
        let is_ours = self.owed.front().is_some_and(Owed::is_ours);
        let place = self.place();
        match self.owed.front() {
            Some(Owed::Simple { option: Some(on), .. }) => {
                memory.option_set(*on);
                self.touched = true;
            }
            Some(Owed::Results { statement } | Owed::Fetch { statement }) => {
                if let Some(slot) = self.slots.get_mut(statement) {
                    slot.cursor =
                        done.status & status::CURSOR_EXISTS != 0 && done.status & status::LAST_ROW_SENT == 0;
                }
            }
            _ => {}
        }
        if std::mem::take(&mut self.out) || done.status & status::MORE_RESULTS != 0 {
            self.part = Part::First;
        } else {
            self.end();
        }
        if is_ours {
            return Ok(Verdict::Swallow);
        }
        self.note_result(place, done);
        let unasked = self.note_done(place, done, memory);
        self.note_end(place, done, memory);
        memory.last_by = (self.number, self.count);
        self.warned = diagnosis::is_due(done);
        let told = !done.changes.is_empty() || done.cut;
        if told && !self.is_told_changes() {
            messages::put_ok(after, self.sequence, head.tag, done);
            self.sequence = self.sequence.wrapping_add(1);
            return Ok(Verdict::Swallow);
        }
        if unasked && !done.cut {
            messages::put_ok_unwritten(after, self.sequence, head.tag, done);
            self.sequence = self.sequence.wrapping_add(1);
            return Ok(Verdict::Swallow);
        }
        Ok(Verdict::Relay)
    }

    /// Takes note of what a result of the client's was.
    fn note_result(&mut self, place: Part, done: &Done<'_>) {
        let rows = if place == Part::First { done.affected } else { self.last.rows };
        self.tally.rows = self.tally.rows.saturating_add(rows);
        self.tally.results = self.tally.results.wrapping_add(1);
        if place == Part::First {
            self.last.row_count = i64::try_from(done.affected).unwrap_or(-1);
        } else {
            (self.last.row_count, self.last.found_rows) = (-1, self.last.rows);
        }
        self.last.rows = 0;
    }

    /// Takes note of what the statement has done by what it is.
    fn note_end(&mut self, place: Part, done: &Done<'_>, memory: &mut MyMemory) {
        self.unnumbered |= match self.asks.numbers {
            Numbers::Never => false,
            Numbers::ByRows => place != Part::First,
            Numbers::Within => true,
        };
        if let Some(names) = self.narrows.take() {
            memory.narrowed_with(names);
        }
        self.released |= self.asks.ends.is_some_and(|says| says.unwrap_or(self.always_releases));
        self.read_only = done.status & status::READ_ONLY_TRANSACTION != 0;
        if self.unnumbered && self.txn == TxnStatus::Idle && done.status & status::MORE_RESULTS == 0 {
            (self.unnumbered, self.asks_number) = (false, true);
        }
    }

    /// Takes note of what the end of a result says of the session. Returns whether it tells which transaction was
    /// committed to a client that has not asked for it.
    fn note_done(&mut self, place: Part, done: &Done<'_>, memory: &mut MyMemory) -> bool {
        let open = done.status & status::IN_TRANSACTION != 0;
        self.txn = if open { TxnStatus::Open } else { TxnStatus::Idle };
        self.autocommit = done.status & status::AUTOCOMMIT != 0;
        if done.insert_id != 0 {
            (self.insert_id, memory.insert_id) = (done.insert_id, done.insert_id);
            self.touched |= memory.numbered();
        }
        let (mut touched, mut explained, mut something) = (false, false, false);
        let mut told = Told::default();
        let read = messages::changes(done.changes, |change| {
            self.written.hear(change, &mut told);
            match change {
                Changed::Variable(b"last_insert_id" | b"identity", value) => {
                    let id = std::str::from_utf8(value).ok().and_then(|value| value.parse().ok());
                    (self.insert_id, memory.insert_id) = (id.unwrap_or(0), id.unwrap_or(0));
                    return;
                }
                Changed::Variable(name, value) => {
                    if let (Ok(name), Ok(value)) = (std::str::from_utf8(name), std::str::from_utf8(value)) {
                        self.note(name, value);
                    }
                }
                Changed::Transaction(letters) => self.locked = letters.get(7) == Some(&b'L'),
                Changed::Characteristics(text) => self.one_shot = !text.is_empty(),
                Changed::Schema(_) | Changed::Written(_) => {}
                Changed::Something => {
                    something = true;
                    return;
                }
            }
            explained |= memory.told(change);
        });
        touched |= explained | something;
        memory.said |= something;
        // It is said of every change. What is told by name needs no other explanation.
        if something && !explained {
            memory.told(Changed::Something);
        }
        // A wish for the next transaction has come true once one is open.
        self.one_shot &= !open;
        if !read || done.cut {
            touched = true;
            (memory.something, memory.said) = (true, true);
        }
        self.touched |= touched;
        let unasked = told.unasked && !memory.listens;
        self.written.end(told, done, place != Part::First, &mut memory.untold);
        unasked
    }

    /// The backend has prepared a statement under a number of its own.
    fn prepared(
        &mut self,
        seen: &[u8],
        memory: &mut MyMemory,
        after: &mut Vec<u8>,
    ) -> Result<Verdict, ProtocolError> {
        let mut reader = Reader(seen);
        let (Some(mark::OK), Some(id), Some(columns), Some(params)) =
            (reader.byte(), reader.u32(), reader.u16(), reader.u16())
        else {
            return Err(MALFORMED);
        };
        let Some(Owed::Prepare { statement, ours }) = self.owed.front() else { return Err(UNASKED) };
        let (statement, ours) = (Arc::clone(statement), *ours);
        if let Some(before) = memory.prepared(statement.number, id) {
            put_close(before, &mut memory.chores);
        }
        if !ours {
            if statement.text.is_empty() {
                self.unkept += 1;
            }
            let name = self.free_name();
            self.last_slot = name;
            let slot =
                Slot { statement, params, types: Vec::new(), cursor: false, counted: None, long: false };
            self.slots.insert(name, slot);
            let at = frame::begin(after, self.sequence);
            after.push(mark::OK);
            after.extend_from_slice(&name.to_le_bytes());
            after.extend_from_slice(seen.get(5..).unwrap_or_default());
            frame::end(after, at);
            self.sequence = self.sequence.wrapping_add(1);
        }
        self.part = match (params, columns) {
            (0, columns) => Part::Results(columns.into()),
            (params, columns) => Part::Params(params.into(), columns.into()),
        };
        self.end_if_described();
        Ok(Verdict::Swallow)
    }

    /// A number that none of the client's statements has.
    fn free_name(&mut self) -> u32 {
        loop {
            self.next_slot = self.next_slot.wrapping_add(1).max(1);
            if !self.slots.contains_key(&self.next_slot) {
                return self.next_slot;
            }
        }
    }

    /// A command failed. If it was a preparation of ours, the command that needed it has failed
    /// with it.
    fn failed(&mut self, seen: &[u8], after: &mut Vec<u8>) -> Result<Verdict, ProtocolError> {
        let owed = self.owed.pop_front();
        (self.part, self.out) = (Part::First, false);
        self.written.forget();
        let mut fields = messages::read_error(seen);
        // A replica refuses all writes before it looks at the transaction, which would not take them anywhere.
        let reworded = self.read_only && matches!(fields.errno, 1290 | 1836);
        if reworded {
            let message = "Cannot execute statement in a READ ONLY transaction";
            fields = ErrorFields { errno: 1792, state: *b"25006", message: message.to_owned() };
        }
        // An error does not tell of the transaction. Where statements begin one by themselves,
        // this one may have.
        if !self.autocommit {
            self.txn = TxnStatus::Open;
        }
        let code = code(fields.errno);
        match owed {
            Some(Owed::Simple { ours: true, .. }) => return Ok(Verdict::Swallow),
            Some(Owed::Warnings) => {
                self.diagnosis = Diagnosis::Nothing;
                return Ok(Verdict::Swallow);
            }
            Some(Owed::InsertId) => return Ok(Verdict::Swallow),
            _ => {
                if reworded {
                    let fault = Fault::error(Cause::NotPermitted, fields.message.clone()).code(fields.code());
                    messages::fault(&fault, self.sequence, true, after);
                }
                self.narrows = None;
                self.unnumbered |= self.asks.numbers == Numbers::Within && self.txn != TxnStatus::Idle;
                self.tally.error.get_or_insert(code);
                self.last = Last { row_count: -1, rows: 0, ..self.last };
                self.diagnosis = Diagnosis::Failed(fields);
            }
        }
        match owed {
            Some(Owed::Prepare { ours: true, .. }) => {
                let (_, rest) = self.pending.take().unwrap_or_default();
                if rest > 0 {
                    return Err(ProtocolError("a statement could not be prepared for what was on its way"));
                }
                if self.sequence == 1 {
                    return Ok(Verdict::Failed(code));
                }
                let at = frame::begin(after, self.sequence);
                after.extend_from_slice(seen);
                frame::end(after, at);
                Ok(Verdict::Swallow)
            }
            _ if reworded => Ok(Verdict::Reworded(code)),
            _ => Ok(Verdict::Failed(code)),
        }
    }
}

/// The end of a result, whichever way it is written: only a classic EOF has five bytes.
fn read_end(head: Head, seen: &[u8]) -> Option<Done<'_>> {
    if head.tag == mark::EOF && head.body == 5 { messages::read_eof(seen) } else { messages::read_ok(seen) }
}

/// An errno as five digits.
fn code(errno: u16) -> [u8; 5] {
    let mut code = *b"00000";
    let mut left = errno;
    for digit in code.iter_mut().rev() {
        *digit += (left % 10) as u8;
        left /= 10;
    }
    code
}
