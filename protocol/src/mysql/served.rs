//! A MySQL client whose statements Splitpool itself answers.
//!
//! "Command Phase". Statements take no parameters; prepared ones are answered in binary. What is
//! said beside an answer goes into the sentence of its OK packet. Cursors are not opened: a client
//! that asks for one is sent all rows, as the protocol allows.

use super::attributes;
use super::flags::{capability as cap, command, mark, status};
use super::frame::{self, HEADER};
use super::messages::{self, Done};
use super::rows::{self, Form};
use crate::Severity;
use crate::answer::Answer;
use crate::fault::{Cause, Fault};
use crate::served::{Describe, Served, Step};
use std::collections::HashMap;

/// Bytes of one command. Nothing that is said to a console is longer.
const MESSAGE_MAX: usize = 64 * 1024;

/// Statements that a client may keep prepared.
const KEPT_MAX: usize = 256;

/// See the file's head.
#[derive(Debug)]
pub struct MyServed {
    abilities: u64,
    statements: HashMap<u32, String>,
    next_statement: u32,
    /// Whether the text that is being run is answered in binary.
    running: Option<bool>,
    /// The number of the next packet.
    sequence: u8,
}

impl Served for MyServed {
    fn new(abilities: u64) -> Self {
        Self { abilities, statements: HashMap::new(), next_statement: 1, running: None, sequence: 0 }
    }

    fn message(
        &mut self,
        input: &[u8],
        describe: Describe<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Option<(usize, Step)>, Fault> {
        if self.running.is_some() {
            return Ok(None);
        }
        let Some(head) = frame::head(input)? else { return Ok(None) };
        if head.body == 0 || head.body > MESSAGE_MAX {
            return Err(violation("a command without a payload, or too long a one"));
        }
        if frame::sequence(input) != 0 {
            return Err(violation("packets are out of order").code("1156/08S01"));
        }
        let Some(body) = input.get(HEADER + 1..head.len()) else { return Ok(None) };
        self.sequence = 1;
        let step = match self.command(head.tag, body, describe, out) {
            Ok(step) => step,
            Err(fault) if fault.severity == Severity::Fatal => return Err(fault),
            Err(fault) => {
                self.ran_none(&fault, out);
                Step::More
            }
        };
        if step == Step::More {
            self.sequence = 0;
        }
        Ok(Some((head.len(), step)))
    }

    fn ran(&mut self, answers: Vec<Answer>, fault: Option<&Fault>, out: &mut Vec<u8>) {
        let Some(binary) = self.running.take() else { return };
        let mut left = answers.len() + usize::from(fault.is_some());
        for answer in &answers {
            left -= 1;
            let form = Form { binary, ..self.form(left > 0) };
            match &answer.columns {
                Some(columns) => {
                    self.sequence = rows::result(columns, &answer.rows, form, self.sequence, out);
                }
                None => self.done(&answer.notices, form.status, out),
            }
        }
        match fault {
            Some(fault) => self.ran_none(fault, out),
            None if answers.is_empty() => {
                let empty = Fault::error(Cause::Syntax, "Query was empty").code("1065/42000");
                self.ran_none(&empty, out);
            }
            None => self.sequence = 0,
        }
    }

    fn refuse(&mut self, fault: &Fault, out: &mut Vec<u8>) {
        self.ran_none(fault, out);
    }
}

impl MyServed {
    fn form(&self, more: bool) -> Form {
        let more = if more { status::MORE_RESULTS } else { 0 };
        Form { binary: false, abilities: self.abilities, status: status::AUTOCOMMIT | more }
    }

    fn ran_none(&mut self, fault: &Fault, out: &mut Vec<u8>) {
        messages::fault(fault, self.sequence, true, out);
        self.sequence = 0;
    }

    fn done(&mut self, notices: &[String], status: u16, out: &mut Vec<u8>) {
        let info = notices.join("\n");
        let done = Done { status, info: info.as_bytes(), ..Done::default() };
        messages::put_ok(out, self.sequence, mark::OK, &done);
        self.sequence = self.sequence.wrapping_add(1);
    }

    fn command(
        &mut self,
        tag: u8,
        body: &[u8],
        describe: Describe<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Step, Fault> {
        match tag {
            command::QUIT => return Ok(Step::Bye),
            command::QUERY => {
                // Attributes mean nothing here.
                let has_attributes = self.abilities & cap::QUERY_ATTRIBUTES != 0;
                let bare = if has_attributes { attributes::text(body) } else { Some(body) };
                let text = text(bare.ok_or_else(|| violation("malformed query attributes"))?)?;
                if self.abilities & cap::MULTI_STATEMENTS == 0 {
                    describe(&text)?;
                }
                self.running = Some(false);
                return Ok(Step::Run(text));
            }
            command::INIT_DB => {
                self.running = Some(false);
                return Ok(Step::Run(format!("USE `{}`", text(body)?.replace('`', "``"))));
            }
            command::STMT_PREPARE => self.prepare(text(body)?, describe, out)?,
            command::STMT_EXECUTE => {
                let text = self.statements.get(&self.named(body)?).ok_or_else(no_statement)?.clone();
                self.running = Some(true);
                return Ok(Step::Run(text));
            }
            command::STMT_CLOSE => {
                let id = self.named(body)?;
                self.statements.remove(&id);
            }
            command::STMT_SEND_LONG_DATA => {}
            command::STMT_RESET => {
                self.statements.get(&self.named(body)?).ok_or_else(no_statement)?;
                self.done(&[], status::AUTOCOMMIT, out);
            }
            command::PING => self.done(&[], status::AUTOCOMMIT, out),
            command::RESET_CONNECTION => {
                self.statements.clear();
                self.done(&[], status::AUTOCOMMIT, out);
            }
            command::SET_OPTION => {
                match body.first_chunk::<2>() {
                    Some([0, 0]) => self.abilities |= cap::MULTI_STATEMENTS,
                    Some([1, 0]) => self.abilities &= !cap::MULTI_STATEMENTS,
                    _ => return Err(unknown()),
                }
                rows::end(self.form(false), self.sequence, out);
            }
            command::STATISTICS => {
                let at = frame::begin(out, self.sequence);
                out.extend_from_slice(b"Splitpool's console: SHOW HELP lists what it can tell");
                frame::end(out, at);
            }
            command::CHANGE_USER => {
                return Err(Fault::fatal(Cause::NotSupported, "the console serves one user a connection"));
            }
            _ => return Err(unknown()),
        }
        Ok(Step::More)
    }

    /// The statement that a command names; all bits stand for the one prepared last, as MariaDB has it.
    fn named(&self, body: &[u8]) -> Result<u32, Fault> {
        let id = body.first_chunk::<4>().ok_or_else(|| violation("malformed command"))?;
        match u32::from_le_bytes(*id) {
            u32::MAX => Ok(self.next_statement.wrapping_sub(1)),
            id => Ok(id),
        }
    }

    fn prepare(&mut self, text: String, describe: Describe<'_>, out: &mut Vec<u8>) -> Result<(), Fault> {
        if has_placeholder(&text) {
            return Err(Fault::error(Cause::NotSupported, "statements to the console take no parameters"));
        }
        let columns = describe(&text)?.unwrap_or_default();
        if self.statements.len() >= KEPT_MAX {
            return Err(Fault::error(Cause::TooMany, "too many prepared statements"));
        }
        let id = self.next_statement;
        self.next_statement = id.wrapping_add(1);
        self.statements.insert(id, text);
        let at = frame::begin(out, self.sequence);
        out.push(mark::OK);
        out.extend_from_slice(&id.to_le_bytes());
        out.extend_from_slice(&u16::try_from(columns.len()).unwrap_or(u16::MAX).to_le_bytes());
        out.extend_from_slice(&[0; 5]);
        frame::end(out, at);
        if !columns.is_empty() {
            rows::definitions(&columns, self.form(false), self.sequence.wrapping_add(1), out);
        }
        Ok(())
    }
}

fn text(body: &[u8]) -> Result<String, Fault> {
    String::from_utf8(body.to_vec())
        .map_err(|_| Fault::error(Cause::Syntax, "the statement is not UTF-8").code("1300/HY000"))
}

/// Whether a question mark stands outside of quotes.
fn has_placeholder(text: &str) -> bool {
    let mut quote = None;
    for sign in text.chars() {
        match (quote, sign) {
            (None, '?') => return true,
            (None, '\'' | '"' | '`') => quote = Some(sign),
            (Some(open), sign) if open == sign => quote = None,
            _ => {}
        }
    }
    false
}

fn no_statement() -> Fault {
    Fault::error(Cause::UnknownStatement, "the prepared statement does not exist")
}

fn unknown() -> Fault {
    Fault::error(Cause::NotSupported, "the console does not know this command").code("1047/08S01")
}

fn violation(text: &'static str) -> Fault {
    Fault::fatal(Cause::ProtocolViolation, text)
}

#[cfg(test)]
mod tests;
