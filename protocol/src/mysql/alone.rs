//! Answers what needs no backend: pings, what the statement before left, and what is wrong at first sight.

use super::command::Command;
use super::diagnosis::Diagnosis;
use super::flags::{capability as cap, command};
use super::last::{self, Last, Question};
use super::messages;
use super::tracker::MyTracker;
use crate::Fault;
use crate::fault::Cause;
use crate::tracker::TxnStatus;
use std::sync::Arc;

impl MyTracker {
    /// Answers what needs no backend, if it is all of the request.
    pub(super) fn answer_alone(&mut self, request: &[u8], out: &mut Vec<u8>) -> bool {
        let Some(command) = Command::first(request) else { return false };
        if !command.whole || command.frames.len() < request.len() {
            return false;
        }
        let slot = self.slots.get(&self.named(&command));
        let known = slot.is_some();
        let cursor = slot.is_some_and(|slot| slot.cursor);
        // What a backend holds for this session alone only the backend can let go.
        let bound = slot.is_some_and(|slot| slot.cursor || slot.long || slot.statement.text.is_empty());
        self.asked(command.sequence);
        match command.tag {
            command::PING => self.say_ok(self.sequence, out),
            // In a transaction the backend is this session's and knows by itself.
            command::QUERY if self.txn == TxnStatus::Idle => {
                let text = command.text(self.has(cap::QUERY_ATTRIBUTES));
                let Some(question) = Question::of(&text) else { return false };
                if !self.answer_question(question, false, out) {
                    return false;
                }
            }
            command::STMT_EXECUTE if self.txn == TxnStatus::Idle && known && !bound => {
                let statement = self.slots.get(&self.named(&command)).map(|slot| Arc::clone(&slot.statement));
                let question = statement.as_ref().and_then(|statement| Question::of(&statement.text));
                let Some(question) = question else { return false };
                if !self.answer_question(question, true, out) {
                    return false;
                }
            }
            command::STMT_CLOSE if !bound => drop(self.slots.remove(&self.named(&command))),
            command::STMT_RESET if known && !bound => self.say_ok(self.sequence, out),
            command::STMT_BULK_EXECUTE if !self.has(cap::BULK) => self.say(&unknown_command(), out),
            command::STMT_RESET
            | command::STMT_EXECUTE
            | command::STMT_BULK_EXECUTE
            | command::STMT_FETCH
                if !known =>
            {
                self.say(&unknown_statement(command.statement()), out);
            }
            command::STMT_FETCH if !cursor => self.say(&no_cursor(), out),
            tag if !is_known(tag) => self.say(&unknown_command(), out),
            _ => return false,
        }
        self.scanned = 0;
        self.answered = true;
        true
    }

    /// Answers what the statement before left, if that is known here.
    fn answer_question(&mut self, question: (Question, &str), is_binary: bool, out: &mut Vec<u8>) -> bool {
        let (abilities, status) = (self.abilities, self.status());
        let (asked, column) = question;
        let number = match asked {
            Question::Conditions(which) => {
                return self.diagnosis.answer(which, is_binary, abilities, status, out);
            }
            Question::Count { errors } => {
                let Some(count) = self.diagnosis.count(errors) else { return false };
                let count = i64::try_from(count).unwrap_or(i64::MAX);
                last::put_number_result(column, count, is_binary, abilities, status, self.sequence, out);
                self.last = Last { row_count: -1, found_rows: 1, ..Last::default() };
                return true;
            }
            Question::FoundRows if self.last.counted => return false,
            Question::FoundRows => i64::try_from(self.last.found_rows).unwrap_or(i64::MAX),
            Question::RowCount => self.last.row_count,
        };
        last::put_number_result(column, number, is_binary, abilities, status, self.sequence, out);
        // The answer is a result with a row itself.
        self.last = Last { row_count: -1, found_rows: 1, ..Last::default() };
        self.diagnosis = Diagnosis::Nothing;
        true
    }

    pub(super) fn say(&mut self, fault: &Fault, out: &mut Vec<u8>) {
        messages::fault(fault, self.sequence, true, out);
    }
}

fn is_known(tag: u8) -> bool {
    matches!(
        tag,
        command::INIT_DB
            | command::QUERY
            | command::FIELD_LIST
            | command::REFRESH
            | command::STATISTICS
            | command::PROCESS_KILL
            | command::PING
            | command::STMT_PREPARE
            | command::STMT_EXECUTE
            | command::STMT_SEND_LONG_DATA
            | command::STMT_CLOSE
            | command::STMT_RESET
            | command::SET_OPTION
            | command::STMT_FETCH
            | command::RESET_CONNECTION
            | command::STMT_BULK_EXECUTE
    )
}

pub(super) fn unknown_command() -> Fault {
    Fault::error(Cause::NotSupported, "Unknown command").code("1047/08S01")
}

pub(super) fn unknown_statement(id: u32) -> Fault {
    let text = format!("Unknown prepared statement handler ({id}) given");
    Fault::error(Cause::InvalidParameter, text).code("1243/HY000")
}

pub(super) fn no_cursor() -> Fault {
    Fault::error(Cause::InvalidParameter, "The statement has no open cursor").code("1421/HY000")
}
