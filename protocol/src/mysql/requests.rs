//! Translates what a MySQL client sends for the backend that it was given.
//!
//! Statements go by the backend's numbers; one that the backend lacks is prepared first, and
//! what needs it waits. An EXECUTE that leaves out the types of its parameters, because the
//! server has seen them, has them put in: this server may not have.

use super::alone::{no_cursor, unknown_command, unknown_statement};
use super::attributes;
use super::command::{Command, commands};
use super::count::{self, Counts};
use super::diagnosis::Diagnosis;
use super::flags::{capability as cap, command};
use super::frame::{self, FULL};
use super::last::{self, Asks};
use super::memory::MyMemory;
use super::messages::LAST_GTID;
use super::narrowed;
use super::own;
use super::statements::Statement;
use super::tracker::{MyTracker, Owed};
use crate::fault::Cause;
use crate::settings::Change;
use crate::tracker::{Memory, Tracker, TxnStatus};
use crate::{Fault, Settings};
use std::sync::Arc;

/// Statements that a client may have prepared at a time.
const SLOTS_MAX: usize = 16_384;

/// See `Tracker::is_reset`.
pub(super) fn is_reset(request: &[u8]) -> bool {
    Command::first(request).is_some_and(|command| command.tag == command::RESET_CONNECTION && command.whole)
}

/// Bytes of a bulk EXECUTE before the types of its parameters, and the bit of its flags by which there are any.
const BULK_FIXED: usize = 7;
const BULK_TYPES: u8 = 128;

/// Bits of an EXECUTE's flags that ask for a cursor of some kind.
const CURSOR: u8 = 7;

/// See `Tracker::runs`.
pub(super) fn runs(request: &[u8]) -> bool {
    commands(request).any(|command| command.tag != command::STMT_PREPARE)
}

/// Whether a command could be sent on.
enum Sent {
    Yes,
    /// Not before what it needs is prepared, which was sent.
    NotYet,
}

impl MyTracker {
    pub(super) fn show_texts(&self, request: &[u8], visit: &mut dyn FnMut(&[u8])) {
        for command in commands(request) {
            let rest = |payload: &[u8]| payload.get(1..).unwrap_or_default().to_vec();
            match command.tag {
                command::QUERY | command::STMT_PREPARE => visit(&command.text(self.has_attributes())),
                command::STMT_EXECUTE | command::STMT_BULK_EXECUTE => {
                    if let Some(slot) = self.slots.get(&self.named(&command)) {
                        visit(&slot.statement.text);
                    }
                }
                command::INIT_DB => visit(&quoted(b"USE ", &rest(command.front))),
                command::FIELD_LIST => {
                    let table = rest(command.front);
                    let table = table.split(|byte| *byte == 0).next().unwrap_or_default();
                    visit(&quoted(b"SHOW COLUMNS FROM ", table));
                }
                command::REFRESH => visit(b"FLUSH LOGS"),
                command::PROCESS_KILL => visit(format!("KILL {}", command.statement()).as_bytes()),
                _ => {}
            }
        }
    }

    /// The client's statement that a command is about; all bits stand for the one prepared last, as MariaDB has it.
    pub(super) fn named(&self, command: &Command<'_>) -> u32 {
        match command.statement() {
            u32::MAX if self.has(cap::BULK) => self.last_slot,
            name => name,
        }
    }

    /// Whether what the client runs may have attributes.
    fn has_attributes(&self) -> bool {
        self.has(cap::QUERY_ATTRIBUTES)
    }

    /// See `Tracker::forward`.
    pub(super) fn translate(
        &mut self,
        request: &[u8],
        rest: usize,
        memory: &mut MyMemory,
        out: &mut Vec<u8>,
        client: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        if self.file || self.more_frames {
            self.pass(request, out);
            return Ok(());
        }
        out.append(&mut memory.chores);
        let mut at = 0;
        while let Some(command) = Command::first(request.get(at..).unwrap_or_default()) {
            self.asked(command.sequence);
            match self.command(&command, memory, out, client)? {
                Sent::Yes => at += command.frames.len(),
                Sent::NotYet => {
                    self.pending = Some((request.get(at..).unwrap_or_default().to_vec(), rest));
                    return Ok(());
                }
            }
            self.more_frames = !command.whole && command.goes_on;
        }
        Ok(())
    }

    /// A packet of a file, or of a payload that has begun.
    fn pass(&mut self, request: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(request);
        let Ok(Some(head)) = frame::head(request) else { return };
        self.asked(frame::sequence(request));
        // A packet without a payload ends a file, unless it only ends a long packet of it.
        if self.file && !self.more_frames && head.body == 0 {
            self.file = false;
        }
        self.more_frames = head.body == FULL;
    }

    fn command(
        &mut self,
        command: &Command<'_>,
        memory: &mut MyMemory,
        out: &mut Vec<u8>,
        client: &mut Vec<u8>,
    ) -> Result<Sent, Fault> {
        let owed = match command.tag {
            command::STMT_SEND_LONG_DATA => return Ok(self.long_data(command, memory, out)),
            command::STMT_CLOSE => {
                self.close(self.named(command), memory, out);
                return Ok(Sent::Yes);
            }
            command::QUERY => return Ok(self.query(command, memory, out)),
            command::STMT_PREPARE => {
                self.last_slot = 0;
                return self.prepare(command, memory, out, client);
            }
            command::STMT_EXECUTE => return self.execute(command, memory, out, client),
            command::STMT_BULK_EXECUTE if self.has(cap::BULK) => {
                return self.execute_bulk(command, memory, out, client);
            }
            command::STMT_FETCH | command::STMT_RESET => {
                return self.on_statement(command, memory, out, client);
            }
            command::INIT_DB | command::PROCESS_KILL | command::REFRESH => {
                Owed::Simple { ours: false, option: None }
            }
            command::SET_OPTION => {
                let option = command.front.get(1..3).map(|value| value == [0, 0]);
                Owed::Simple { ours: false, option }
            }
            command::STATISTICS => Owed::Text,
            command::FIELD_LIST => Owed::Fields,
            command::PING if command.whole => {
                self.say_ok(self.sequence, client);
                return Ok(Sent::Yes);
            }
            _ => return self.local(&unknown_command(), command, client),
        };
        self.diagnosis = Diagnosis::Nothing;
        self.asks = Asks::default();
        memory.last_by = (0, 0);
        self.count += 1;
        self.open = false;
        self.owed.push_back(owed);
        out.extend_from_slice(command.frames);
        Ok(Sent::Yes)
    }

    /// Answers a command with a fault. One that is not here to its end cannot be left out.
    fn local(&mut self, fault: &Fault, command: &Command<'_>, client: &mut Vec<u8>) -> Result<Sent, Fault> {
        if !command.whole {
            return Err(Fault { severity: crate::Severity::Fatal, ..fault.clone() });
        }
        self.open = false;
        self.say(fault, client);
        Ok(Sent::Yes)
    }

    fn query(&mut self, command: &Command<'_>, memory: &mut MyMemory, out: &mut Vec<u8>) -> Sent {
        let text = command.text(self.has_attributes());
        let asks = Asks::of(&text);
        let counts = self.counts_elsewhere(asks, memory).filter(|_| command.whole);
        let written = counts.and_then(|counts| count::with_counts(&text, counts, self.quoting()));
        self.bring(asks, memory, out);
        if asks.narrows {
            self.minds_narrowing(&text);
        }
        self.open = false;
        self.owed.push_back(Owed::Results { statement: 0 });
        match written {
            Some(written) => {
                let payload = command.payload();
                let front = payload.get(..payload.len() - text.len()).unwrap_or_default();
                frame::put(out, 0, &[front, written.as_slice()].concat());
            }
            None => out.extend_from_slice(command.frames),
        }
        Sent::Yes
    }

    /// What the session's last statement counted, if that is asked for where the backend has run another one since.
    fn counts_elsewhere(&self, asks: Asks, memory: &MyMemory) -> Option<Counts> {
        let here = self.is_here(asks, memory);
        let found_rows = (!self.last.counted).then_some(self.last.found_rows);
        (asks.counts && !here).then_some(Counts { row_count: self.last.row_count, found_rows })
    }

    /// Whether the backend has in mind what the session's last statement left. MariaDB forgets the diagnostics of
    /// another client's statements only at one that uses a table.
    fn is_here(&self, asks: Asks, memory: &MyMemory) -> bool {
        let stale = memory.is_mariadb && asks.diagnostics && matches!(self.diagnosis, Diagnosis::Nothing);
        memory.last_by == (self.number, self.count) && !stale
    }

    /// Brings the backend to what the session's last statement left, as far as it is asked for, and forgets what
    /// is not.
    fn bring(&mut self, asks: Asks, memory: &mut MyMemory, out: &mut Vec<u8>) {
        self.last.counted = asks.counts_rows;
        (self.asks, self.narrows) = (asks, None);
        let mut here = self.is_here(asks, memory);
        memory.last_by = (0, 0);
        self.count += 1;
        if asks.insert_id && self.insert_id != memory.insert_id {
            self.bring_insert_id(memory, out);
            here = false;
        }
        if !here && asks.diagnostics {
            let again = last::diagnosis_again(&self.diagnosis, self.quoting.backslash_escapes);
            own::query(&again, memory.takes_attributes(), out);
            self.owed.push_back(Owed::Simple { ours: true, option: None });
        }
        if !asks.keeps {
            self.diagnosis = Diagnosis::Nothing;
        }
    }

    /// The list of what is told is shortened. Between transactions what is not told with it can be asked for. Who asks
    /// for transactions keeps its list, which says so.
    fn minds_narrowing(&mut self, text: &[u8]) {
        let listens = text.windows(LAST_GTID.len()).any(|word| word.eq_ignore_ascii_case(LAST_GTID));
        if self.txn == TxnStatus::Idle && !listens {
            self.narrows = narrowed::assigned(text);
        }
    }

    /// LAST_INSERT_ID() is what it was on the backend where the session inserted.
    fn bring_insert_id(&mut self, memory: &mut MyMemory, out: &mut Vec<u8>) {
        own::query(&format!("SET last_insert_id = {}", self.insert_id), memory.takes_attributes(), out);
        self.owed.push_back(Owed::Simple { ours: true, option: None });
        memory.insert_id = self.insert_id;
    }

    fn prepare(
        &mut self,
        command: &Command<'_>,
        memory: &mut MyMemory,
        out: &mut Vec<u8>,
        client: &mut Vec<u8>,
    ) -> Result<Sent, Fault> {
        if self.slots.len() >= SLOTS_MAX {
            let fault =
                Fault::error(Cause::TooManyConnections, "too many prepared statements").code("1461/42000");
            return self.local(&fault, command, client);
        }
        let birth = MyMemory::birth(memory.settings(), &memory.database);
        let statement = if command.whole {
            self.registry.intern(&command.text(false), &birth)
        } else {
            self.registry.unkept(&[], &birth)
        };
        if !statement.asks.diagnostics {
            self.diagnosis = Diagnosis::Nothing;
            memory.last_by = (0, 0);
            self.count += 1;
        }
        make_room(memory, out);
        self.open = false;
        self.owed.push_back(Owed::Prepare { statement, ours: false });
        out.extend_from_slice(command.frames);
        Ok(Sent::Yes)
    }

    /// The number of `statement` on the backend. If it has none, its preparation is sent.
    fn require(
        &mut self,
        statement: &Arc<Statement>,
        memory: &mut MyMemory,
        out: &mut Vec<u8>,
    ) -> Option<u32> {
        if let Some(id) = memory.uses(statement.number) {
            return Some(id);
        }
        make_room(memory, out);
        let now = MyMemory::birth(memory.settings(), &memory.database);
        self.settle_in(&now, &statement.birth, memory, out);
        frame::put(out, 0, &[&[command::STMT_PREPARE], &*statement.text].concat());
        self.owed.push_back(Owed::Prepare { statement: Arc::clone(statement), ours: true });
        self.settle_in(&statement.birth, &now, memory, out);
        None
    }

    /// Takes the backend from one set of settings to another, and will not tell the client.
    fn settle_in(&mut self, from: &Settings, to: &Settings, memory: &MyMemory, out: &mut Vec<u8>) {
        let mut changes = from.changes(to);
        changes.retain(|change| matches!(change, Change::Set(..)));
        for _ in 0..own::apply(&changes, memory, out) {
            self.owed.push_back(Owed::Simple { ours: true, option: None });
        }
    }

    fn execute(
        &mut self,
        command: &Command<'_>,
        memory: &mut MyMemory,
        out: &mut Vec<u8>,
        client: &mut Vec<u8>,
    ) -> Result<Sent, Fault> {
        let name = self.named(command);
        let Some(slot) = self.slots.get(&name) else {
            return self.local(&unknown_statement(name), command, client);
        };
        let mut statement = Arc::clone(&slot.statement);
        // A cursor is fetched from by the number of the statement itself.
        let fetches = command.front.get(5).is_none_or(|flags| flags & CURSOR != 0);
        if let Some(counts) = self.counts_elsewhere(statement.asks, memory).filter(|_| !fetches) {
            statement = self.counted(name, statement, counts);
        }
        if let Some(old) = memory.runs(statement.number, fetches) {
            put_close(old, out);
        }
        let Some(id) = self.require(&statement, memory, out) else { return Ok(Sent::NotYet) };
        self.bring(statement.asks, memory, out);
        if statement.asks.narrows {
            self.minds_narrowing(&statement.text);
        }
        let has_attributes = self.has_attributes();
        let Some(slot) = self.slots.get_mut(&name) else { return Ok(Sent::Yes) };
        (slot.cursor, slot.long) = (false, false);
        let params = usize::from(slot.params);
        let layout = attributes::layout(command.front, params, has_attributes);
        let flag = layout.and_then(|layout| command.front.get(layout.flag_at));
        match (layout, flag) {
            (Some(layout), Some(1)) => {
                let types = command.front.get(layout.flag_at + 1..layout.types_end.unwrap_or(0));
                slot.types.clear();
                slot.types.extend_from_slice(types.unwrap_or_default());
                command.put_renamed(id, out);
            }
            (Some(layout), Some(0)) if layout.count == params && !slot.types.is_empty() => {
                put_with_types(command, id, layout.flag_at, &slot.types, out)?;
            }
            _ => command.put_renamed(id, out),
        }
        self.open = false;
        self.owed.push_back(Owed::Results { statement: name });
        Ok(Sent::Yes)
    }

    /// A statement for many rows of parameters at once. "COM_STMT_BULK_EXECUTE".
    fn execute_bulk(
        &mut self,
        command: &Command<'_>,
        memory: &mut MyMemory,
        out: &mut Vec<u8>,
        client: &mut Vec<u8>,
    ) -> Result<Sent, Fault> {
        let name = self.named(command);
        let Some(slot) = self.slots.get(&name) else {
            return self.local(&unknown_statement(name), command, client);
        };
        let statement = Arc::clone(&slot.statement);
        let Some(id) = self.require(&statement, memory, out) else { return Ok(Sent::NotYet) };
        self.bring(statement.asks, memory, out);
        let Some(slot) = self.slots.get_mut(&name) else { return Ok(Sent::Yes) };
        let types_end = BULK_FIXED + 2 * usize::from(slot.params);
        match command.front.get(5..BULK_FIXED) {
            Some([low, _]) if low & BULK_TYPES != 0 => {
                slot.types.clear();
                let types = command.front.get(BULK_FIXED..types_end);
                slot.types.extend_from_slice(types.unwrap_or_default());
                command.put_renamed(id, out);
            }
            Some([low, high]) if !slot.types.is_empty() => {
                let flags = [low | BULK_TYPES, *high];
                let payload = command.payload();
                let rows = payload.get(BULK_FIXED..).unwrap_or_default();
                let parts: [&[u8]; 5] = [&[command.tag], &id.to_le_bytes(), &flags, &slot.types, rows];
                put_longer(command, &parts, slot.types.len(), out)?;
            }
            _ => command.put_renamed(id, out),
        }
        self.open = false;
        self.owed.push_back(Owed::Results { statement: name });
        Ok(Sent::Yes)
    }

    /// A statement with counts written into it, where it asks for them.
    fn counted(&mut self, name: u32, statement: Arc<Statement>, counts: Counts) -> Arc<Statement> {
        let quoting = self.quoting();
        let Some(slot) = self.slots.get_mut(&name) else { return statement };
        if let Some((_, written)) = slot.counted.as_ref().filter(|(have, _)| *have == counts) {
            return Arc::clone(written);
        }
        let Some(text) = count::with_counts(&statement.text, counts, quoting) else { return statement };
        let written = self.registry.unkept(&text, &statement.birth);
        slot.counted = Some((counts, Arc::clone(&written)));
        written
    }

    fn on_statement(
        &mut self,
        command: &Command<'_>,
        memory: &mut MyMemory,
        out: &mut Vec<u8>,
        client: &mut Vec<u8>,
    ) -> Result<Sent, Fault> {
        let name = self.named(command);
        let Some(slot) = self.slots.get_mut(&name) else {
            return self.local(&unknown_statement(name), command, client);
        };
        let fetches = command.tag == command::STMT_FETCH;
        let there = memory.uses(slot.statement.number);
        self.open = false;
        match there {
            Some(id) if fetches => {
                self.owed.push_back(Owed::Fetch { statement: name });
                command.put_renamed(id, out);
            }
            Some(id) => {
                (slot.cursor, slot.long) = (false, false);
                self.owed.push_back(Owed::Simple { ours: false, option: None });
                command.put_renamed(id, out);
            }
            None if fetches => return self.local(&no_cursor(), command, client),
            None => self.say_ok(self.sequence, client),
        }
        Ok(Sent::Yes)
    }

    fn long_data(&mut self, command: &Command<'_>, memory: &mut MyMemory, out: &mut Vec<u8>) -> Sent {
        let name = self.named(command);
        let Some(slot) = self.slots.get(&name) else {
            // A database says nothing here and complains at the EXECUTE. What is cut must go
            // somewhere: it goes to a statement that there never is.
            command.put_renamed(u32::MAX - 1, out);
            self.open = true;
            return Sent::Yes;
        };
        let statement = Arc::clone(&slot.statement);
        let Some(id) = self.require(&statement, memory, out) else { return Sent::NotYet };
        if let Some(slot) = self.slots.get_mut(&name) {
            slot.long = true;
        }
        command.put_renamed(id, out);
        self.open = true;
        Sent::Yes
    }

    /// The client's number is free again. The backend keeps the statement for others.
    fn close(&mut self, name: u32, memory: &mut MyMemory, out: &mut Vec<u8>) {
        let Some(slot) = self.slots.remove(&name) else { return };
        if slot.statement.text.is_empty() {
            self.unkept = self.unkept.saturating_sub(1);
            if let Some(id) = memory.forgets(slot.statement.number) {
                put_close(id, out);
            }
        } else if (slot.cursor || slot.long)
            && let Some(id) = memory.uses(slot.statement.number)
        {
            let at = frame::begin(out, 0);
            out.push(command::STMT_RESET);
            out.extend_from_slice(&id.to_le_bytes());
            frame::end(out, at);
            self.owed.push_back(Owed::Simple { ours: true, option: None });
        }
    }
}

/// Appends an EXECUTE with the types of its parameters put in.
fn put_with_types(
    command: &Command<'_>,
    id: u32,
    flag_at: usize,
    types: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), Fault> {
    let payload = command.payload();
    let (Some(before), Some(values)) = (payload.get(5..flag_at), payload.get(flag_at + 1..)) else {
        return Err(Fault::fatal(Cause::ProtocolViolation, "malformed EXECUTE"));
    };
    let id = id.to_le_bytes();
    put_longer(command, &[&[command.tag], &id, before, &[1], types, values], types.len(), out)
}

/// Appends a command of which `parts` are here, and which is longer than the client's by so many bytes.
fn put_longer(command: &Command<'_>, parts: &[&[u8]], by: usize, out: &mut Vec<u8>) -> Result<(), Fault> {
    let length = parts.iter().map(|part| part.len()).sum::<usize>();
    if command.whole && length < FULL {
        let at = frame::begin(out, 0);
        parts.iter().for_each(|part| out.extend_from_slice(part));
        frame::end(out, at);
        return Ok(());
    }
    if command.whole {
        frame::put(out, 0, &parts.concat());
        return Ok(());
    }
    let body = frame::head(command.frames).ok().flatten().map_or(FULL, |head| head.body) + by;
    if body >= FULL {
        let message = "an EXECUTE of 16 MB or more must tell the types of its parameters";
        return Err(Fault::fatal(Cause::NotSupported, message));
    }
    out.extend_from_slice(body.to_le_bytes().get(..3).unwrap_or_default());
    out.push(0);
    for part in parts {
        out.extend_from_slice(part);
    }
    Ok(())
}

/// Closes the statement that was not used for longest, where the backend is full.
fn make_room(memory: &mut MyMemory, out: &mut Vec<u8>) {
    if let Some(id) = memory.evicts() {
        put_close(id, out);
    }
}

/// Appends the closing of a statement, which is not answered.
pub(super) fn put_close(id: u32, out: &mut Vec<u8>) {
    let at = frame::begin(out, 0);
    out.push(command::STMT_CLOSE);
    out.extend_from_slice(&id.to_le_bytes());
    frame::end(out, at);
}

fn quoted(verb: &[u8], name: &[u8]) -> Vec<u8> {
    let mut text = [verb, b"`"].concat();
    for byte in name {
        if *byte == b'`' {
            text.push(b'`');
        }
        text.push(*byte);
    }
    text.push(b'`');
    text
}
