//! The tracker of one MySQL session: its state, and what is owed.
//!
//! `intake.rs` judges what the client sends, `requests.rs` translates it for a backend and
//! notes what that backend now owes, `replies.rs` judges what comes back. This file holds the
//! state they share and ends what went wrong.
//!
//! Invariant: `owed` holds, in order, one entry for each command that was sent and is answered
//! and whose answer has not ended, so that what we slip in can be told from what the client
//! asked. A statement's number on a backend is known only when its preparation was answered, so
//! what needs it waits in `pending`.

use super::command::Command;
use super::count::Counts;
use super::diagnosis::{Diagnosis, QUESTION};
use super::flags::{capability as cap, command, mark, status};
use super::last::{Asks, Last};
use super::memory::{AUTOCOMMIT, MyMemory, is_on};
use super::messages::{self, Done};
use super::replies::Part;
use super::statements::{Registry, Statement};
use super::written::Written;
use crate::handshake::Greeting;
use crate::tracker::{Intake, Quoting, Tally, Tracker, TxnStatus, Verdict};
use crate::{Fault, Gtid, Head, Held, ProtocolError, Reported};
use hashbrown::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;

/// One answer that is still to come.
#[derive(Debug)]
pub(super) enum Owed {
    /// Results of a query (`statement` is 0) or of a prepared statement of the client's.
    Results { statement: u32 },
    /// The answer to a preparation. `ours`: the client did not ask for it.
    Prepare { statement: Arc<Statement>, ours: bool },
    /// One OK, EOF or ERR packet. `ours`: it answers what we slipped in.
    Simple { ours: bool, option: Option<bool> },
    /// One packet of text.
    Text,
    /// Column definitions up to EOF.
    Fields,
    /// Rows of an open cursor of a statement.
    Fetch { statement: u32 },
    /// The warnings of the statement before, which we ask for.
    Warnings,
    /// What LAST_INSERT_ID() gives, which we ask for.
    InsertId,
}

impl Owed {
    pub(super) fn is_ours(&self) -> bool {
        matches!(
            self,
            Self::Prepare { ours: true, .. }
                | Self::Simple { ours: true, .. }
                | Self::Warnings
                | Self::InsertId
        )
    }
}

/// One of the client's prepared statements.
#[derive(Debug)]
pub(super) struct Slot {
    pub statement: Arc<Statement>,
    pub params: u16,
    /// The parameters' types as the client last sent them; empty if it never did.
    pub types: Vec<u8>,
    /// A cursor is open on the backend.
    pub cursor: bool,
    /// The same with counts written into it, as it was last run.
    pub counted: Option<(Counts, Arc<Statement>)>,
    /// Long data was sent to the backend and not used yet.
    pub long: bool,
}

/// See the file's head.
#[derive(Debug)]
pub struct MyTracker {
    pub(super) registry: Arc<Registry>,
    pub(super) abilities: u64,
    initial: Reported,
    /// Bytes of the inbox that hold whole commands of the batch being gathered.
    pub(super) scanned: usize,
    pub(super) slots: HashMap<u32, Slot, foldhash::fast::RandomState>,
    pub(super) next_slot: u32,
    /// The statement that was prepared last, if that worked.
    pub(super) last_slot: u32,
    pub(super) owed: VecDeque<Owed>,
    /// How much of the first owed answer has come.
    pub(super) part: Part,
    /// The backend's last packet goes on in the next one.
    pub(super) goes_on: bool,
    /// The rows are OUT parameters: there is more, which MySQL says only ahead of them.
    pub(super) out: bool,
    pub(super) went: Verdict,
    /// The number of the next packet to the client.
    pub(super) sequence: u8,
    /// The number of the first packet of the answer under way, or of the last one.
    pub(super) first: u8,
    /// Whether the client waits for nothing.
    pub(super) answered: bool,
    /// The database reads a file of the client's.
    pub(super) file: bool,
    /// The client's last packet goes on in the next one.
    pub(super) more_frames: bool,
    /// Commands were sent that are not answered, and the one that they prepare was not.
    pub(super) open: bool,
    /// What waits for a preparation: commands as the client sent them, and how many bytes of
    /// the last one are still to come.
    pub(super) pending: Option<(Vec<u8>, usize)>,
    /// Statements whose text was too long to keep: they live on one backend only.
    pub(super) unkept: u32,
    /// Tables are locked.
    pub(super) locked: bool,
    /// The next transaction is to have characteristics of its own.
    pub(super) one_shot: bool,
    pub(super) touched: bool,
    pub(super) muted: bool,
    pub(super) txn: TxnStatus,
    pub(super) tally: Tally,
    pub(super) autocommit: bool,
    pub(super) insert_id: u64,
    /// Tells this session from others; never 0.
    pub(super) number: u64,
    /// Counts the statements of this session.
    pub(super) count: u64,
    pub(super) last: Last,
    pub(super) diagnosis: Diagnosis,
    pub(super) written: Written,
    /// The warnings are still to be asked for.
    pub(super) warned: bool,
    /// What the statement under way may ask and do.
    pub(super) asks: Asks,
    /// Rows may have been given numbers that no reply has told.
    pub(super) unnumbered: bool,
    /// The transaction in which they were is over: the last of them is still to be asked for.
    pub(super) asks_number: bool,
    /// The variables that the statement under way sets, if the list of what is told is among them.
    pub(super) narrows: Option<Vec<Box<str>>>,
    /// Every COMMIT and ROLLBACK ends the connection that does not say otherwise.
    pub(super) always_releases: bool,
    /// The client has had the connection ended.
    pub(super) released: bool,
    /// A transaction is open in which nothing may be written.
    pub(super) read_only: bool,
    /// How texts are read by the session's SQL mode.
    pub(super) quoting: Quoting,
    pub(super) charset_trusted: bool,
}

/// Asks for the number that a row was given last.
const NUMBER: &str = "SELECT LAST_INSERT_ID()";

/// Client character sets in which a byte of ASCII may be the tail of another character.
const UNSAFE_CHARSETS: [&str; 5] = ["sjis", "cp932", "gbk", "gb18030", "big5"];

impl MyTracker {
    /// Takes note of a variable by which texts are read.
    pub(super) fn note(&mut self, name: &str, value: &str) {
        match name {
            "sql_mode" => {
                self.quoting = Quoting::USUAL;
                for mode in value.trim_start_matches('\'').split(',') {
                    match mode {
                        "ANSI_QUOTES" => self.quoting.names_in_double_quotes = true,
                        "NO_BACKSLASH_ESCAPES" => self.quoting.backslash_escapes = false,
                        // Another language, which nobody here reads.
                        "ORACLE" | "MSSQL" => self.quoting.trusted = false,
                        _ => {}
                    }
                }
            }
            "completion_type" => {
                let value = value.trim_start_matches('\'');
                self.always_releases = value == "2" || value.eq_ignore_ascii_case("release");
            }
            "character_set_client" => {
                self.charset_trusted = !UNSAFE_CHARSETS.contains(&value.trim_start_matches('\''));
            }
            _ => {}
        }
    }

    pub(super) fn has(&self, capability: u64) -> bool {
        self.abilities & capability != 0
    }

    /// What a packet of ours says of the session.
    pub(super) fn status(&self) -> u16 {
        let open = if self.txn == TxnStatus::Idle { 0 } else { status::IN_TRANSACTION };
        let autocommit = if self.autocommit { status::AUTOCOMMIT } else { 0 };
        open | autocommit
    }

    /// Answers a command with OK ourselves.
    pub(super) fn say_ok(&mut self, sequence: u8, out: &mut Vec<u8>) {
        let done = Done { status: self.status(), ..Done::default() };
        messages::put_ok(out, sequence, mark::OK, &done);
    }
}

impl Tracker for MyTracker {
    type Memory = MyMemory;
    type Registry = Registry;

    fn new(registry: Arc<Registry>, greeting: &Greeting, reported: Reported) -> Self {
        let number = registry.next_number();
        let mut tracker = Self {
            registry,
            abilities: greeting.abilities,
            initial: reported.clone(),
            scanned: 0,
            slots: HashMap::default(),
            next_slot: 0,
            last_slot: 0,
            owed: VecDeque::new(),
            part: Part::First,
            goes_on: false,
            out: false,
            went: Verdict::Relay,
            sequence: 0,
            first: 0,
            answered: true,
            file: false,
            more_frames: false,
            open: false,
            pending: None,
            unkept: 0,
            locked: false,
            one_shot: false,
            touched: false,
            muted: false,
            txn: TxnStatus::Idle,
            tally: Tally::default(),
            autocommit: reported.value(AUTOCOMMIT).is_none_or(is_on),
            insert_id: 0,
            number,
            count: 0,
            last: Last::default(),
            diagnosis: Diagnosis::Nothing,
            written: Written::default(),
            warned: false,
            asks: Asks::default(),
            unnumbered: false,
            asks_number: false,
            narrows: None,
            always_releases: false,
            released: false,
            read_only: false,
            quoting: Quoting::USUAL,
            charset_trusted: true,
        };
        for (name, value) in reported.iter() {
            tracker.note(name, value);
        }
        tracker
    }

    #[inline]
    fn intake(&mut self, inbox: &[u8], gather_max: usize) -> Result<Intake, Fault> {
        self.judge_inbox(inbox, gather_max)
    }

    #[inline]
    fn texts(&self, request: &[u8], visit: &mut dyn FnMut(&[u8])) {
        self.show_texts(request, visit);
    }

    #[inline]
    fn answer(&mut self, request: &[u8], out: &mut Vec<u8>) -> bool {
        self.answer_alone(request, out)
    }

    #[inline]
    fn forward(
        &mut self,
        request: &[u8],
        rest: usize,
        memory: &mut MyMemory,
        out: &mut Vec<u8>,
        client: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        self.scanned = 0;
        self.translate(request, rest, memory, out, client)?;
        self.answered = self.is_over();
        Ok(())
    }

    #[inline]
    fn needs(&self, head: Head) -> usize {
        self.needed(head)
    }

    #[inline]
    fn on_backend(
        &mut self,
        head: Head,
        seen: &[u8],
        memory: &mut MyMemory,
        after: &mut Vec<u8>,
    ) -> Result<Verdict, ProtocolError> {
        let before = after.len();
        let verdict = self.judge_reply(head, seen, memory, after)?;
        self.answered = self.is_over();
        if self.muted {
            after.truncate(before);
            return Ok(Verdict::Swallow);
        }
        Ok(verdict)
    }

    fn resume(
        &mut self,
        memory: &mut MyMemory,
        out: &mut Vec<u8>,
        client: &mut Vec<u8>,
    ) -> Result<(), ProtocolError> {
        if std::mem::take(&mut self.warned) && self.owed.is_empty() && !self.muted {
            memory.last_by = (0, 0);
            super::own::query(QUESTION, memory.takes_attributes(), out);
            self.owed.push_back(Owed::Warnings);
            self.diagnosis = Diagnosis::fetching();
        }
        if std::mem::take(&mut self.asks_number) && self.owed.iter().all(Owed::is_ours) && !self.muted {
            memory.last_by = (0, 0);
            super::own::query(NUMBER, memory.takes_attributes(), out);
            self.owed.push_back(Owed::InsertId);
        }
        if self.pending.is_none() || self.owed.iter().any(|owed| matches!(owed, Owed::Prepare { .. })) {
            return Ok(());
        }
        let (request, rest) = self.pending.take().unwrap_or_default();
        match self.translate(&request, rest, memory, out, client) {
            Err(fault) if rest == 0 => {
                messages::fault(&fault, self.sequence, true, client);
                Ok(())
            }
            Err(_) => Err(ProtocolError("a request could not be sent on")),
            Ok(()) => Ok(()),
        }
    }

    fn is_stalled(&self) -> bool {
        self.pending.is_some()
    }

    fn is_touched(&mut self) -> bool {
        std::mem::take(&mut self.touched)
    }

    fn note_idle(&mut self, idle: bool) {
        self.txn = if idle { TxnStatus::Idle } else { TxnStatus::Open };
        self.unnumbered &= !idle;
    }

    fn is_reset(&self, request: &[u8]) -> bool {
        super::requests::is_reset(request)
    }

    fn reset(&mut self, out: &mut Vec<u8>) {
        let sequence = self.sequence;
        let (registry, initial) = (Arc::clone(&self.registry), self.initial.clone());
        let greeting = Greeting { abilities: self.abilities, ..Greeting::default() };
        *self = Self::new(registry, &greeting, initial);
        self.say_ok(sequence, out);
    }

    fn is_query(&self, request: &[u8]) -> bool {
        Command::first(request).is_some_and(|command| command.tag == command::QUERY)
    }

    fn carried_out(&mut self, outcome: Result<&str, &Fault>, out: &mut Vec<u8>) {
        self.scanned = 0;
        match outcome {
            Ok(_) => self.say_ok(self.sequence, out),
            Err(fault) => messages::fault(fault, self.sequence, true, out),
        }
        self.answered = true;
    }

    fn fault(&mut self, fault: &Fault, ready: bool, out: &mut Vec<u8>) {
        // Nobody's question has the number 0: it is the database that begins to speak.
        let sequence = match (self.answered, ready) {
            (false, _) => self.sequence,
            (true, true) => self.first,
            (true, false) => 0,
        };
        messages::fault(fault, sequence, true, out);
        self.answered = true;
    }

    fn mute(&mut self) {
        self.muted = true;
    }

    fn rewind(&mut self) -> bool {
        let waits = self.owed.iter().any(|owed| !owed.is_ours()) || self.pending.is_some();
        self.owed.clear();
        self.part = Part::First;
        self.pending = None;
        self.scanned = 0;
        (self.goes_on, self.out, self.file, self.more_frames, self.open, self.muted) =
            (false, false, false, false, false, false);
        (self.locked, self.one_shot, self.warned) = (false, false, false);
        (self.unnumbered, self.asks_number, self.read_only) = (false, false, false);
        self.narrows = None;
        for slot in self.slots.values_mut() {
            (slot.cursor, slot.long) = (false, false);
        }
        self.txn = TxnStatus::Idle;
        self.tally = Tally::default();
        self.last.rows = 0;
        waits
    }

    fn is_over(&self) -> bool {
        self.owed.is_empty() && !self.is_open() && self.pending.is_none() && !self.warned && !self.asks_number
    }

    fn is_open(&self) -> bool {
        self.file || self.more_frames || self.open
    }

    fn txn(&self) -> TxnStatus {
        self.txn
    }

    fn may_be_stale(&self, _: &[u8]) -> bool {
        false
    }

    fn take_stale(&mut self) -> bool {
        // The server prepares a statement anew by itself when a table has changed.
        false
    }

    /// An error leaves a transaction as it is, and the error itself was all that the client waits for.
    fn fail(&mut self, _: &mut Vec<u8>) {}

    fn schema_changed(&self) {}

    fn runs(&self, request: &[u8]) -> bool {
        super::requests::runs(request)
    }

    fn take_discarded(&mut self) -> bool {
        false
    }

    fn held(&self) -> Held {
        let mut held = Held::empty();
        if self.locked {
            held = held.union(Held::SESSION_LOCK);
        }
        if self.one_shot {
            held = held.union(Held::NEXT_TRANSACTION);
        }
        if self.released {
            held = held.union(Held::UNKNOWN);
        }
        if self.slots.values().any(|slot| slot.cursor) {
            held = held.union(Held::HOLD_CURSOR);
        }
        if self.unkept > 0 || self.slots.values().any(|slot| slot.long) {
            held = held.union(Held::UNKNOWN);
        }
        held
    }

    fn take_tally(&mut self) -> Tally {
        std::mem::take(&mut self.tally)
    }

    fn written(&self) -> Option<&Gtid> {
        self.written.gtid()
    }

    fn quoting(&self) -> Quoting {
        Quoting { trusted: self.quoting.trusted && self.charset_trusted, ..self.quoting }
    }

    /// Nothing is reported: by what a text is read is carried, as a setting.
    fn knows(&self, _: &MyMemory) -> bool {
        true
    }

    fn reads_as(&self, _: &MyMemory) -> bool {
        true
    }

    fn heed(&mut self, _: &mut MyMemory, _: &mut Vec<u8>) -> bool {
        false
    }
}

impl MyTracker {
    /// The client has asked something; the last packet of it had this number.
    pub(super) fn asked(&mut self, sequence: u8) {
        self.sequence = sequence.wrapping_add(1);
        self.first = self.sequence;
        self.answered = false;
        self.written.forget();
    }

    /// Whether the client reads changes of the session's state.
    pub(super) fn is_told_changes(&self) -> bool {
        self.has(cap::SESSION_TRACK)
    }
}
