//! Judges what a MySQL client sends: where a request ends.
//!
//! Looks at headers and at the first byte of a payload only. A request is one command, with the
//! long data of its parameters in front of it, which is not answered. A payload may go over
//! several packets.

use super::flags::command;
use super::frame::{self, FULL};
use super::tracker::MyTracker;
use crate::fault::Cause;
use crate::tracker::Intake;
use crate::{Fault, ProtocolError};

/// How much of a command is in the inbox.
enum Extent {
    /// Its header is not here.
    Unknown,
    /// Its last packet ends here.
    Whole { end: usize, sequence: u8 },
    /// Its first `len` bytes are here, to the end or to the middle of a packet of which `rest`
    /// bytes are missing.
    Cut { len: usize, rest: usize },
}

impl MyTracker {
    pub(super) fn judge_inbox(&mut self, inbox: &[u8], gather_max: usize) -> Result<Intake, Fault> {
        if self.file || self.more_frames {
            return Ok(self.as_it_comes(inbox)?);
        }
        if self.released {
            return Ok(Intake::Terminate);
        }
        loop {
            let left = inbox.get(self.scanned..).unwrap_or_default();
            let Some(head) = frame::head(left)? else { return Ok(self.so_far(gather_max)) };
            if head.body == 0 {
                return Err(Fault::fatal(Cause::ProtocolViolation, "a command without a payload"));
            }
            if frame::sequence(left) != 0 {
                return Err(
                    Fault::fatal(Cause::ProtocolViolation, "packets are out of order").code("1156/08S01")
                );
            }
            if head.tag == command::QUIT {
                return Ok(Intake::Terminate);
            }
            match extent(left)? {
                Extent::Whole { .. } if head.tag == command::CHANGE_USER => {
                    // What was gathered in front of it was not answered and concerns nobody any more.
                    return Ok(if self.scanned > 0 {
                        Intake::Drop(std::mem::take(&mut self.scanned))
                    } else {
                        Intake::SignIn { abilities: self.abilities }
                    });
                }
                Extent::Whole { end, sequence } => {
                    let alone = self.scanned == 0;
                    self.scanned += end;
                    self.asked(sequence);
                    let silent = match head.tag {
                        command::STMT_SEND_LONG_DATA => true,
                        command::STMT_CLOSE => !alone,
                        _ => false,
                    };
                    if silent && !self.open && self.scanned < gather_max {
                        continue;
                    }
                    return Ok(Intake::Ready { len: self.scanned, rest: 0, whole: !silent && !self.open });
                }
                Extent::Cut { len, rest } if inbox.len() >= gather_max => {
                    return Ok(Intake::Ready { len: self.scanned + len, rest, whole: false });
                }
                Extent::Cut { .. } | Extent::Unknown => return Ok(self.so_far(gather_max)),
            }
        }
    }

    /// What is gathered waits for the command that it belongs to, unless it is too much.
    fn so_far(&self, gather_max: usize) -> Intake {
        if self.scanned > 0 && (self.open || self.scanned >= gather_max) {
            return Intake::Ready { len: self.scanned, rest: 0, whole: false };
        }
        Intake::More
    }

    /// Packets of a file, or of a payload that has begun, are sent on as they come.
    fn as_it_comes(&self, inbox: &[u8]) -> Result<Intake, ProtocolError> {
        let Some(head) = frame::head(inbox)? else { return Ok(Intake::More) };
        let len = head.len().min(inbox.len());
        Ok(Intake::Ready { len, rest: head.len() - len, whole: false })
    }
}

fn extent(bytes: &[u8]) -> Result<Extent, ProtocolError> {
    let mut at = 0;
    let mut goes_on = false;
    loop {
        let left = bytes.get(at..).unwrap_or_default();
        let Some(head) = frame::head(left)? else {
            return Ok(if goes_on { Extent::Cut { len: at, rest: 0 } } else { Extent::Unknown });
        };
        goes_on = head.body == FULL;
        if head.len() > left.len() {
            return Ok(Extent::Cut { len: bytes.len(), rest: head.len() - left.len() });
        }
        at += head.len();
        if !goes_on {
            return Ok(Extent::Whole { end: at, sequence: frame::sequence(left) });
        }
    }
}
