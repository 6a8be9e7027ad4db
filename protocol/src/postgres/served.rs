//! A PostgreSQL client whose statements Splitpool itself answers.
//!
//! "Message Flow", Simple Query and Extended Query. Statements take no parameters; results are
//! text, or binary if the client asks.

use super::rows::{data_row, notices, row_description};
use super::{frame, messages};
use crate::answer::{Answer, Cell, Columns};
use crate::fault::{Cause, Fault};
use crate::served::{Describe, Served, Step};
use crate::{Head, Severity};
use std::collections::HashMap;
use std::collections::VecDeque;

/// Bytes of one message. Nothing that is said to a console is longer.
const MESSAGE_MAX: usize = 64 * 1024;

/// Statements that a client may keep prepared, and portals open.
const KEPT_MAX: usize = 256;

/// See the file's head.
#[derive(Debug, Default)]
pub struct PgServed {
    statements: HashMap<Vec<u8>, String>,
    portals: HashMap<Vec<u8>, Portal>,
    /// An error was told: all is skipped up to Sync.
    skips: bool,
    running: Option<Running>,
}

#[derive(Debug, Clone)]
struct Portal {
    text: String,
    formats: Vec<u16>,
    /// What is left of its answer, once it was run.
    left: Option<Left>,
}

#[derive(Debug, Clone)]
struct Left {
    columns: Columns,
    rows: VecDeque<Vec<Cell>>,
    tag: String,
}

#[derive(Debug)]
enum Running {
    Simple,
    Portal { name: Vec<u8>, most: usize },
}

/// Reads a message's fields.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn text(&mut self) -> Result<&'a [u8], Fault> {
        let (text, rest) = frame::split_text(self.0).ok_or_else(malformed)?;
        self.0 = rest;
        Ok(text)
    }

    fn string(&mut self) -> Result<String, Fault> {
        String::from_utf8(self.text()?.to_vec())
            .map_err(|_| Fault::error(Cause::ProtocolViolation, "the statement is not UTF-8").code("22021"))
    }

    fn short(&mut self) -> Result<u16, Fault> {
        let (bytes, rest) = self.0.split_first_chunk::<2>().ok_or_else(malformed)?;
        self.0 = rest;
        Ok(u16::from_be_bytes(*bytes))
    }

    fn long(&mut self) -> Result<u32, Fault> {
        let (bytes, rest) = self.0.split_first_chunk::<4>().ok_or_else(malformed)?;
        self.0 = rest;
        Ok(u32::from_be_bytes(*bytes))
    }

    fn byte(&mut self) -> Result<u8, Fault> {
        let (byte, rest) = self.0.split_first().ok_or_else(malformed)?;
        self.0 = rest;
        Ok(*byte)
    }
}

fn malformed() -> Fault {
    Fault::fatal(Cause::ProtocolViolation, "malformed message")
}

impl Served for PgServed {
    fn new(_abilities: u64) -> Self {
        Self::default()
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
        if head.body > MESSAGE_MAX {
            return Err(Fault::fatal(Cause::ProtocolViolation, "the message is too long"));
        }
        let Some(body) = input.get(head.header..head.len()) else { return Ok(None) };
        match self.judge(head, body, describe, out) {
            Ok(step) => Ok(Some((head.len(), step))),
            Err(fault) if fault.severity == Severity::Fatal => Err(fault),
            Err(fault) => {
                messages::fault(&fault, out);
                self.skips = true;
                Ok(Some((head.len(), Step::More)))
            }
        }
    }

    fn refuse(&mut self, fault: &Fault, out: &mut Vec<u8>) {
        messages::fault(fault, out);
    }

    fn ran(&mut self, answers: Vec<Answer>, fault: Option<&Fault>, out: &mut Vec<u8>) {
        match self.running.take() {
            None => {}
            Some(Running::Simple) => {
                if answers.is_empty() && fault.is_none() {
                    out.extend_from_slice(b"I\0\0\0\x04");
                }
                for answer in answers {
                    notices(&answer, out);
                    if let Some(columns) = &answer.columns {
                        row_description(columns, &[], out);
                        answer.rows.iter().for_each(|row| data_row(columns, row, &[], out));
                    }
                    messages::command_complete(answer.tag.as_bytes(), out);
                }
                if let Some(fault) = fault {
                    messages::fault(fault, out);
                }
                messages::ready(out, b'I');
            }
            Some(Running::Portal { name, most }) => {
                if let Some(fault) = fault {
                    messages::fault(fault, out);
                    self.skips = true;
                    return;
                }
                let Some(answer) = answers.into_iter().next() else {
                    out.extend_from_slice(b"I\0\0\0\x04");
                    return;
                };
                notices(&answer, out);
                match (answer.columns, self.portals.get_mut(&name)) {
                    (Some(columns), Some(portal)) => {
                        let left = Left { columns, rows: answer.rows.into(), tag: answer.tag };
                        fetch(portal.left.insert(left), &portal.formats, most, out);
                    }
                    _ => messages::command_complete(answer.tag.as_bytes(), out),
                }
            }
        }
    }
}

impl PgServed {
    fn judge(
        &mut self,
        head: Head,
        body: &[u8],
        describe: Describe<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Step, Fault> {
        let mut fields = Fields(body);
        match head.tag {
            b'X' => return Ok(Step::Bye),
            b'S' => {
                self.skips = false;
                self.portals.clear();
                messages::ready(out, b'I');
            }
            _ if self.skips => {}
            b'Q' => {
                self.running = Some(Running::Simple);
                match fields.string() {
                    Ok(text) => return Ok(Step::Run(text)),
                    Err(fault) => self.ran(Vec::new(), Some(&fault), out),
                }
            }
            b'P' => self.parse(fields, describe, out)?,
            b'B' => self.bind(fields, out)?,
            b'D' => self.describe(fields, describe, out)?,
            b'E' => return self.execute(fields, out),
            b'C' => {
                let (kind, name) = (fields.byte()?, fields.text()?);
                match kind {
                    b'S' => drop(self.statements.remove(name)),
                    _ => drop(self.portals.remove(name)),
                }
                messages::close_complete(out);
            }
            b'H' => {}
            b'F' => {
                return Err(Fault::fatal(Cause::NotSupported, "function calls are not supported here"));
            }
            _ => return Err(Fault::fatal(Cause::ProtocolViolation, "invalid frontend message type")),
        }
        Ok(Step::More)
    }

    fn parse(
        &mut self,
        mut fields: Fields<'_>,
        describe: Describe<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        let (name, text) = (fields.text()?.to_vec(), fields.string()?);
        describe(&text)?;
        if self.statements.len() >= KEPT_MAX && !self.statements.contains_key(&name) {
            return Err(Fault::error(Cause::TooMany, "too many prepared statements"));
        }
        self.statements.insert(name, text);
        messages::parse_complete(out);
        Ok(())
    }

    fn bind(&mut self, mut fields: Fields<'_>, out: &mut Vec<u8>) -> Result<(), Fault> {
        let (portal, statement) = (fields.text()?.to_vec(), fields.text()?);
        let text = self.statements.get(statement).cloned().ok_or_else(no_statement)?;
        for _ in 0..fields.short()? {
            fields.short()?;
        }
        if fields.short()? != 0 {
            let message = "statements to the console take no parameters";
            return Err(Fault::error(Cause::ProtocolViolation, message));
        }
        let formats = (0..fields.short()?).map(|_| fields.short()).collect::<Result<Vec<_>, _>>()?;
        if self.portals.len() >= KEPT_MAX && !self.portals.contains_key(&portal) {
            return Err(Fault::error(Cause::TooMany, "too many portals"));
        }
        self.portals.insert(portal, Portal { text, formats, left: None });
        out.extend_from_slice(b"2\0\0\0\x04");
        Ok(())
    }

    fn describe(
        &mut self,
        mut fields: Fields<'_>,
        describe: Describe<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        let (kind, name) = (fields.byte()?, fields.text()?);
        let (text, formats) = if kind == b'S' {
            out.extend_from_slice(b"t\0\0\0\x06\0\0");
            (self.statements.get(name).ok_or_else(no_statement)?, &[][..])
        } else {
            let portal = self.portals.get(name).ok_or_else(no_portal)?;
            (&portal.text, portal.formats.as_slice())
        };
        match describe(text)? {
            Some(columns) => row_description(&columns, formats, out),
            None => out.extend_from_slice(b"n\0\0\0\x04"),
        }
        Ok(())
    }

    fn execute(&mut self, mut fields: Fields<'_>, out: &mut Vec<u8>) -> Result<Step, Fault> {
        let (name, most) = (fields.text()?.to_vec(), fields.long()? as usize);
        let portal = self.portals.get_mut(&name).ok_or_else(no_portal)?;
        if let Some(left) = &mut portal.left {
            fetch(left, &portal.formats, most, out);
            return Ok(Step::More);
        }
        let text = portal.text.clone();
        self.running = Some(Running::Portal { name, most });
        Ok(Step::Run(text))
    }
}

fn no_statement() -> Fault {
    Fault::error(Cause::UnknownStatement, "the prepared statement does not exist")
}

fn no_portal() -> Fault {
    Fault::error(Cause::ProtocolViolation, "the portal does not exist").code("34000")
}

/// Appends up to `most` rows (0 is all) and how the portal stands.
fn fetch(left: &mut Left, formats: &[u16], most: usize, out: &mut Vec<u8>) {
    let count = if most == 0 { left.rows.len() } else { most.min(left.rows.len()) };
    for row in left.rows.drain(..count) {
        data_row(&left.columns, &row, formats, out);
    }
    if most != 0 && count == most {
        out.extend_from_slice(b"s\0\0\0\x04");
    } else {
        messages::command_complete(left.tag.as_bytes(), out);
    }
}

#[cfg(test)]
mod tests;
