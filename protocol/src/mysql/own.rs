//! What Splitpool itself asks a MySQL backend: settings, inspection, clean-up.
//!
//! Several commands go out at once and are answered in turn. Values are those that the database
//! gave us; texts among them travel as hexadecimal literals, so that neither their bytes nor the
//! session's SQL mode can make them anything else. Names are checked to be plain words. A value
//! is kept as the database writes it: a number as it stands, a text behind one quote, `NULL`.

use super::attributes::NONE;
use super::flags::{capability as cap, command, mark, status};
use super::frame::{self, Reader};
use super::memory::{self, MyMemory};
use super::messages::{self, Done};
use super::named::{self, Variable};
use crate::own::{Errand, Named, Outcome, OwnReply, OwnStep};
use crate::settings::{Change, TOKEN};
use crate::tracker::Memory;
use crate::{Head, Held, ProtocolError, Settings};
use std::collections::VecDeque;
use std::fmt::Write;

/// The default schema, among the settings.
pub const SCHEMA: &str = "splitpool.schema";
/// Whether a query may hold several statements: `1` or `0`.
pub const MULTI_STATEMENTS: &str = "splitpool.multi_statements";
/// The number of the collation that a client asked for when it signed in.
pub const COLLATION_ID: &str = "splitpool.collation_id";

/// The fence that an application carries: there are no settings of one's own here, but variables.
const TOKEN_VARIABLE: &str = "@splitpool_token";

/// The time that statements are run at. Where nobody has set it, it goes on between two questions.
const TIMESTAMP: &str = "timestamp";

/// Makes the database tell what changes, and which transactions it commits: MariaDB by a variable, MySQL apart. A new
/// connection has it told first of all.
pub const fn track(is_mariadb: bool) -> &'static str {
    if is_mariadb {
        "SET SESSION session_track_system_variables = '*', session_track_schema = 1, \
         session_track_state_change = 1, session_track_transaction_info = 'CHARACTERISTICS'"
    } else {
        "SET SESSION session_track_system_variables = '*', session_track_schema = 1, \
         session_track_state_change = 1, session_track_transaction_info = 'CHARACTERISTICS', \
         session_track_gtids = 'OWN_GTID'"
    }
}

const USER_VARIABLES_MARIADB: &str = "SELECT COUNT(*) FROM information_schema.USER_VARIABLES \
    WHERE VARIABLE_VALUE IS NOT NULL AND VARIABLE_NAME <> 'splitpool_token'";
const USER_VARIABLES_MYSQL: &str = "SELECT COUNT(*) FROM performance_schema.user_variables_by_thread \
    WHERE THREAD_ID = PS_CURRENT_THREAD_ID() AND VARIABLE_VALUE IS NOT NULL AND VARIABLE_NAME <> 'splitpool_token'";

/// See `Protocol::encode_errand`.
pub(super) fn encode(errand: &Errand<'_>, memory: &MyMemory, out: &mut Vec<u8>) -> MyOwnReply {
    let mut reply = MyOwnReply::new(memory.capabilities);
    let attributes = memory.takes_attributes();
    match errand {
        Errand::Rollback => {
            query("ROLLBACK", attributes, out);
            reply.simple(1);
        }
        Errand::Snapshot => {
            query(&format!("SELECT @@session.{}", memory::isolation(memory.is_mariadb)), attributes, out);
            reply.waits.push_back(Waits::Isolation);
        }
        Errand::Say(text) => {
            put_query(text, attributes, out);
            reply.simple(1);
        }
        // There is nothing of the kind to forget.
        Errand::DiscardSequences if !memory.is_mariadb => {
            put(out, &[command::PING], b"");
            reply.simple(1);
        }
        // The databases have no smaller way back to their own settings, or to sequences that told nothing.
        Errand::Discard | Errand::ResetSettings | Errand::DiscardSequences => {
            put(out, &[command::RESET_CONNECTION], b"");
            put(out, &[command::SET_OPTION, 1, 0], b"");
            if memory.schema.is_some() {
                put(out, &[command::INIT_DB], memory.database.as_bytes());
            }
            query(track(memory.is_mariadb), attributes, out);
            reply.simple(3 + usize::from(memory.schema.is_some()));
        }
        Errand::Apply(changes) => {
            let answers = apply(changes, memory, out);
            if answers == 0 {
                put(out, &[command::PING], b"");
            }
            reply.simple(answers.max(1));
        }
        Errand::Inspect { things, .. } => {
            let mut text = "SELECT ".to_owned();
            let names = memory.asked();
            for (at, name) in names.iter().enumerate() {
                let _ = write!(text, "{}@@session.{}", if at == 0 { "" } else { ", " }, word(name));
            }
            query(&text, attributes, out);
            let has_time = names.iter().any(|name| **name == *TIMESTAMP);
            reply.waits.push_back(Waits::Values(names));
            if memory.narrowed {
                query(track(memory.is_mariadb), attributes, out);
                reply.simple(1);
            }
            reply.ask_by_name(things, memory, out);
            let users = if memory.is_mariadb { USER_VARIABLES_MARIADB } else { USER_VARIABLES_MYSQL };
            query(users, attributes, out);
            reply.waits.push_back(Waits::UserVariables);
            if has_time {
                query("SELECT @@session.timestamp", attributes, out);
                reply.waits.push_back(Waits::Time);
            }
        }
    }
    reply
}

/// Appends what makes the changes. Returns how many answers that brings.
pub(super) fn apply(changes: &[Change<'_>], memory: &MyMemory, out: &mut Vec<u8>) -> usize {
    let mut answers = 0;
    let mut text = String::new();
    for change in changes {
        match change {
            Change::Set(MULTI_STATEMENTS, value) => {
                put(out, &[command::SET_OPTION, u8::from(*value != "1"), 0], b"");
                answers += 1;
            }
            Change::Reset(MULTI_STATEMENTS) => {
                put(out, &[command::SET_OPTION, 1, 0], b"");
                answers += 1;
            }
            Change::Set(SCHEMA, schema) => {
                put(out, &[command::INIT_DB], schema.as_bytes());
                answers += 1;
            }
            Change::Reset(SCHEMA) => {
                put(out, &[command::INIT_DB], memory.database.as_bytes());
                answers += 1;
            }
            Change::Set(COLLATION_ID, id) => {
                for (name, value) in memory.collations.values(id) {
                    assign(name, &value, &mut text);
                }
            }
            Change::Reset(COLLATION_ID) => {}
            Change::Set(TOKEN, token) => {
                put_assignment(TOKEN_VARIABLE, &literal(&format!("'{token}")), &mut text);
            }
            Change::Reset(TOKEN) => put_assignment(TOKEN_VARIABLE, "NULL", &mut text),
            Change::Set(name, value) if named::is_variable(name) => {
                put_assignment(&named::reference(name), &named::literal(value), &mut text);
            }
            Change::Reset(name) if named::is_variable(name) => {
                put_assignment(&named::reference(name), "NULL", &mut text);
            }
            Change::Set(name, value) => assign(name, &literal(value), &mut text),
            // MySQL takes DEFAULT for off with these, whatever the server's own value is.
            Change::Reset(name @ ("foreign_key_checks" | "unique_checks")) => {
                assign(name, &format!("@@global.{name}"), &mut text);
            }
            Change::Reset(name) => assign(name, "DEFAULT", &mut text),
        }
    }
    if !text.is_empty() {
        query(&text, memory.takes_attributes(), out);
        answers += 1;
    }
    answers
}

fn assign(name: &str, value: &str, text: &mut String) {
    put_assignment(&format!("@@session.{}", word(name)), value, text);
}

fn put_assignment(target: &str, value: &str, text: &mut String) {
    let glue = if text.is_empty() { "SET " } else { ", " };
    let _ = write!(text, "{glue}{target} = {value}");
}

/// A name as it may stand in a statement. One that is no plain word names nothing there is.
fn word(name: &str) -> &str {
    let plain = name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_');
    if plain && !name.is_empty() && name.len() <= 128 { name } else { "no_such_variable" }
}

/// A value as it may stand in a statement.
fn literal(value: &str) -> String {
    let Some(text) = value.strip_prefix('\'') else {
        let number = !value.is_empty() && value.bytes().all(|c| c.is_ascii_digit() || b"+-.eE".contains(&c));
        return if number { value.to_owned() } else { "NULL".to_owned() };
    };
    if text.is_empty() {
        return "''".to_owned();
    }
    let mut literal = "_utf8mb4 x'".to_owned();
    for byte in text.bytes() {
        let _ = write!(literal, "{byte:02x}");
    }
    literal.push('\'');
    literal
}

fn put(out: &mut Vec<u8>, front: &[u8], rest: &[u8]) {
    let at = frame::begin(out, 0);
    out.extend_from_slice(front);
    out.extend_from_slice(rest);
    frame::end(out, at);
}

/// Appends a query. `attributes`: whether the backend expects to be told that there are none.
pub(super) fn query(text: &str, attributes: bool, out: &mut Vec<u8>) {
    put_query(text.as_bytes(), attributes, out);
}

fn put_query(text: &[u8], attributes: bool, out: &mut Vec<u8>) {
    let at = frame::begin(out, 0);
    out.push(command::QUERY);
    if attributes {
        out.extend_from_slice(&NONE);
    }
    out.extend_from_slice(text);
    frame::end(out, at);
}

/// One answer that is still to come.
#[derive(Debug)]
enum Waits {
    /// OK or EOF.
    Simple,
    /// One row with the values of these variables.
    Values(Vec<Box<str>>),
    /// One row with the values of these user variables.
    Variables(Vec<Box<str>>),
    /// What a temporary table was made by, the thing at this place; an error if there is none.
    Table(usize),
    /// One row that tells of each lock, the things at these places, whether it is held.
    Locks(Vec<usize>),
    /// One row with how many user variables there are.
    UserVariables,
    /// One row with the time, which was told among the values before.
    Time,
    /// One row with the isolation of the session's transactions.
    Isolation,
}

/// How much of the answer under way has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    First,
    Columns(usize),
    ColumnsEnd,
    Rows,
}

/// Reads the reply to one errand.
#[derive(Debug)]
pub struct MyOwnReply {
    /// What was agreed on with the backend.
    abilities: u64,
    waits: VecDeque<Waits>,
    part: Part,
    /// The type of each column of the row to come, and whether it is unsigned.
    kinds: Vec<(u8, bool)>,
    rows: usize,
    failed: bool,
    outcome: Outcome,
}

/// Columns of an answer: more than any errand asks for.
const COLUMNS_MAX: u64 = 1024;

impl MyOwnReply {
    fn new(abilities: u64) -> Self {
        Self {
            abilities,
            waits: VecDeque::new(),
            part: Part::First,
            kinds: Vec::new(),
            rows: 0,
            failed: false,
            outcome: Outcome::default(),
        }
    }

    /// Whether replies are written without EOF packets.
    fn deprecates_eof(&self) -> bool {
        self.abilities & cap::DEPRECATE_EOF != 0
    }

    /// So many plain answers are to come.
    fn simple(&mut self, answers: usize) {
        self.waits.extend(std::iter::repeat_with(|| Waits::Simple).take(answers));
    }
}

impl OwnReply for MyOwnReply {
    fn frame(&mut self, head: Head, body: &[u8]) -> Result<OwnStep, ProtocolError> {
        const MALFORMED: ProtocolError = ProtocolError("malformed answer to an errand");
        if self.waits.is_empty() {
            return Err(ProtocolError("an answer to no errand"));
        }
        let over = match (self.part, head.tag) {
            (_, mark::ERROR) if !body.is_empty() => {
                self.error(body);
                true
            }
            (Part::First, mark::OK) => {
                let done = messages::read_ok(body).ok_or(MALFORMED)?;
                self.done(&done)
            }
            (Part::First, mark::EOF) => {
                let done = messages::read_eof(body).ok_or(MALFORMED)?;
                self.done(&done)
            }
            (Part::First, _) => {
                let columns =
                    Reader(body).number().filter(|n| (1..=COLUMNS_MAX).contains(n)).ok_or(MALFORMED)?;
                self.kinds.clear();
                self.rows = 0;
                self.part = Part::Columns(columns as usize);
                false
            }
            (Part::Columns(left), _) => {
                self.kinds.push(kind(body, self.abilities).ok_or(MALFORMED)?);
                self.part = match left {
                    0 | 1 if self.deprecates_eof() => Part::Rows,
                    0 | 1 => Part::ColumnsEnd,
                    _ => Part::Columns(left - 1),
                };
                false
            }
            (Part::ColumnsEnd, _) => {
                self.part = Part::Rows;
                false
            }
            (Part::Rows, mark::EOF) if body.len() < 9 || self.deprecates_eof() => {
                let read = if self.deprecates_eof() { messages::read_ok } else { messages::read_eof };
                let done = read(body).ok_or(MALFORMED)?;
                self.done(&done)
            }
            (Part::Rows, _) => {
                self.rows += 1;
                self.row(body).ok_or(MALFORMED)?;
                false
            }
        };
        if over {
            self.end_of_answer();
        }
        if self.waits.is_empty() {
            return Ok(OwnStep::Over(Box::new(std::mem::take(&mut self.outcome))));
        }
        Ok(OwnStep::More)
    }
}

impl MyOwnReply {
    fn error(&mut self, body: &[u8]) {
        let fields = messages::read_error(body);
        match self.waits.front() {
            // The list may be out of reach.
            Some(Waits::UserVariables) => return,
            Some(Waits::Table(at)) => return self.is_there(*at, !named::is_no_table(fields.errno)),
            _ => {}
        }
        self.failed = true;
        self.outcome.error.get_or_insert((fields.code(), fields.message));
    }

    /// Returns whether the answer ends here.
    fn done(&mut self, done: &Done<'_>) -> bool {
        self.outcome.idle = done.status & status::IN_TRANSACTION == 0;
        self.part = Part::First;
        done.status & status::MORE_RESULTS == 0
    }

    fn end_of_answer(&mut self) {
        self.part = Part::First;
        let waits = self.waits.pop_front();
        // A session that lets queries return nothing cannot be asked.
        if self.rows == 0 && !self.failed && matches!(waits, Some(Waits::Values(_))) {
            self.outcome.error.get_or_insert(("1105/HY000".to_owned(), "no values were returned".to_owned()));
        }
    }

    fn hold(&mut self, held: Held) {
        self.outcome.inspection.held = self.outcome.inspection.held.union(held);
    }

    /// Asks for what statements have named, and for the variables that the backend was given.
    fn ask_by_name(&mut self, things: &[Named<'_>], memory: &MyMemory, out: &mut Vec<u8>) {
        self.outcome.inspection.there = vec![true; things.len()];
        let given = memory.settings().iter().map(|(name, _)| name).filter(|name| named::is_variable(name));
        let mut variables: Vec<Box<str>> = given.map(Into::into).collect();
        let mut locks = Vec::new();
        for (at, thing) in things.iter().enumerate() {
            match thing {
                Named::Variable(name) => variables.push(named::setting_of(name)),
                Named::Lock(name) => locks.push((at, *name)),
                Named::TempTable { schema, name } => {
                    query(&named::ask_table(schema, name), memory.takes_attributes(), out);
                    self.waits.push_back(Waits::Table(at));
                }
            }
        }
        variables.sort_unstable();
        variables.dedup();
        if !variables.is_empty() {
            query(&named::ask_variables(&variables), memory.takes_attributes(), out);
            self.waits.push_back(Waits::Variables(variables));
        }
        if !locks.is_empty() {
            query(&named::ask_locks(locks.iter().map(|(_, name)| *name)), memory.takes_attributes(), out);
            self.waits.push_back(Waits::Locks(locks.into_iter().map(|(at, _)| at).collect()));
        }
    }

    fn is_there(&mut self, at: usize, there: bool) {
        if let Some(told) = self.outcome.inspection.there.get_mut(at) {
            *told = there;
        }
    }

    fn row(&mut self, body: &[u8]) -> Option<()> {
        let mut reader = Reader(body);
        let mut next = || {
            if reader.0.first() == Some(&mark::LOCAL_FILE) {
                reader.byte();
                return Some(None);
            }
            reader.text().map(Some)
        };
        let mut pairs: Vec<(Box<str>, Box<str>)> = Vec::new();
        let mut there: Vec<(usize, bool)> = Vec::new();
        let mut held = Held::empty();
        match self.waits.front() {
            Some(Waits::Values(names)) => {
                for (name, (kind, _)) in names.iter().zip(&self.kinds) {
                    let value = match next()? {
                        None => "NULL".into(),
                        Some(value) if is_numeric(*kind) => std::str::from_utf8(value).ok()?.into(),
                        Some(value) => format!("'{}", std::str::from_utf8(value).ok()?).into(),
                    };
                    pairs.push((name.clone(), value));
                }
            }
            Some(Waits::Variables(names)) => {
                for (name, kinds) in names.iter().zip(self.kinds.chunks(3)) {
                    let (kind, unsigned) = *kinds.first()?;
                    match named::variable(kind, unsigned, next()?, next()?, next()?)? {
                        Variable::None => {}
                        Variable::Value(value) => pairs.push((name.clone(), value)),
                        Variable::Long => held = Held::USER_VARIABLE,
                    }
                }
            }
            Some(Waits::Table(at)) => there.push((*at, named::is_temporary(body)?)),
            Some(Waits::Locks(places)) => {
                for at in places {
                    there.push((*at, next()? == Some(&b"1"[..])));
                }
            }
            Some(Waits::UserVariables) => {
                let settings = &self.outcome.inspection.settings;
                let carried = settings.iter().filter(|(name, _)| named::is_variable(name)).count();
                let all: usize = std::str::from_utf8(next()??).ok()?.parse().ok()?;
                self.outcome.inspection.sure = Held::USER_VARIABLE;
                if all > carried {
                    held = Held::USER_VARIABLE;
                }
            }
            Some(Waits::Time) => {
                let now = next()?.unwrap_or_default();
                let settings = &self.outcome.inspection.settings;
                if settings.value(TIMESTAMP).is_none_or(|before| before.as_bytes() != now) {
                    self.outcome.inspection.settings = settings.without(TIMESTAMP);
                }
            }
            Some(Waits::Isolation) => {
                self.outcome.snapshot = !matches!(next()?, Some(b"READ-COMMITTED" | b"READ-UNCOMMITTED"));
            }
            Some(Waits::Simple) | None => {}
        }
        self.hold(held);
        there.into_iter().for_each(|(at, there)| self.is_there(at, there));
        if !pairs.is_empty() {
            let settings = &self.outcome.inspection.settings;
            self.outcome.inspection.settings = settings.overlaid(&Settings::new(pairs));
        }
        Some(())
    }
}

/// The type that a column definition tells, and whether it is unsigned.
fn kind(definition: &[u8], abilities: u64) -> Option<(u8, bool)> {
    const UNSIGNED: u16 = 32;
    let mut reader = Reader(definition);
    let texts = if abilities & cap::EXTENDED_METADATA == 0 { 6 } else { 7 };
    for _ in 0..texts {
        reader.text()?;
    }
    reader.number()?;
    reader.take(6)?;
    Some((reader.byte()?, reader.u16()? & UNSIGNED != 0))
}

/// Whether a type is written as a number.
fn is_numeric(kind: u8) -> bool {
    matches!(kind, 0..=5 | 8 | 9 | 13 | 16 | 246)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_cannot_be_more_than_values() {
        assert_eq!(literal("42"), "42");
        assert_eq!(literal("3.5e-1"), "3.5e-1");
        assert_eq!(literal("'"), "''");
        assert_eq!(literal("'a'b"), "_utf8mb4 x'612762'");
        for odd in ["NULL", "", "1;x", "sleep(1)"] {
            assert_eq!(literal(odd), "NULL", "{odd}");
        }
        assert_eq!(word("sql_mode"), "sql_mode");
        for odd in ["", "a b", "a=1,b", "a.b", "`a`"] {
            assert_eq!(word(odd), "no_such_variable", "{odd}");
        }
    }
}
