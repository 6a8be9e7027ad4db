//! The tracker of one PostgreSQL session: its state, and what is owed.
//!
//! `intake.rs` judges what the client sends, `requests.rs` translates it for a backend and
//! notes what that backend now owes, `replies.rs` judges what comes back. This file holds
//! the state they share and ends what went wrong.
//!
//! Invariant: `owed` holds, in order, one entry for each message that was sent and whose
//! answer has not been seen, so that what we slip in can be told from what the client asked.

use super::memory::UNKNOWN;
use super::reports::trusted;
use super::statements::{Registry, Statement};
use super::{PgMemory, messages};
use crate::handshake::Greeting;
use crate::tracker::{Intake, Quoting, Tally, Tracker, TxnStatus, Verdict};
use crate::{Fault, Gtid, Head, Held, ProtocolError, Reported};
use hashbrown::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;

/// A Parse message longer than this is not kept once it is replaced.
const UNNAMED_KEPT: usize = 2048;

/// How many that were replaced in one batch are kept at once.
const UNNAMED_BEFORE_MAX: usize = 64;

/// How many answers may be owed at once. A backend flushes long before this many are due.
pub(super) const OWED_MAX: usize = 131_072;

/// One answer that is still to come.
#[derive(Debug)]
pub(super) enum Owed {
    /// ParseComplete. `number` is what the backend's memory was told it would have.
    Parse { number: u64, unnamed: bool, ours: bool, name: Option<Box<[u8]>> },
    /// BindComplete, of the statement of this number; 0 is none of ours.
    Bind { number: u64 },
    /// RowDescription or NoData.
    Describe { number: u64 },
    /// CommandComplete, EmptyQueryResponse or PortalSuspended.
    Execute {
        /// The client's name of the statement that is gone if it succeeds.
        frees: Option<Box<[u8]>>,
    },
    /// CloseComplete.
    Close { ours: bool, unnamed: bool },
    /// ParseComplete that we say ourselves: the backend has the statement already.
    LocalParse { name: Box<[u8]> },
    /// CloseComplete that we say ourselves: the backend keeps the statement for others.
    LocalClose { name: Box<[u8]>, statement: Option<Named> },
    /// Nothing: the end of COPY data that was sent ahead of its CopyInResponse.
    CopyEnd,
    /// ReadyForQuery after Sync.
    Sync,
    /// ReadyForQuery after a Sync of ours, where the client sent Flush.
    Flush,
    /// ReadyForQuery after a simple query.
    Query,
    /// ReadyForQuery after a function call.
    Function,
}

impl Owed {
    /// Whether what this answers replaces or destroys the backend's unnamed statement.
    fn changes_unnamed(&self) -> bool {
        matches!(self, Self::Parse { unnamed: true, .. } | Self::Close { unnamed: true, .. } | Self::Query)
    }

    /// Whether this ends with ReadyForQuery.
    fn ends_ready(&self) -> bool {
        matches!(self, Self::Sync | Self::Query | Self::Function | Self::Flush)
    }
}

/// The client's unnamed statement.
#[derive(Debug, Default)]
pub(super) struct Unnamed {
    /// 0 while there is none.
    pub number: u64,
    /// Its Parse message behind the name; empty if it was too large to keep.
    pub tail: Vec<u8>,
    /// The statement that it is about, if it is an EXECUTE or DEALLOCATE of one prepared through the protocol.
    pub about: Option<Box<About>>,
}

/// A statement that a command names.
#[derive(Debug)]
pub(super) struct About {
    pub statement: Arc<Statement>,
    /// The client's name of it, if the command is to free it.
    pub frees: Option<Box<[u8]>>,
}

/// What a client means by a name.
#[derive(Debug, Clone)]
pub(super) struct Named {
    pub(super) statement: Arc<Statement>,
    /// The schema under which the client was told what the statement's result looks like.
    pub(super) told: u64,
}

/// See the file's head.
#[derive(Debug)]
pub struct PgTracker {
    pub(super) registry: Arc<Registry>,
    /// Bytes of the inbox that hold whole frames of the batch being gathered.
    pub(super) scanned: usize,
    /// Bytes of a meaningless frame that are still to come.
    pub(super) dropping: usize,
    pub(super) named: HashMap<Box<[u8]>, Named, foldhash::fast::RandomState>,
    pub(super) unnamed: Unnamed,
    /// The one before it, which is still there if the message that replaced it is skipped.
    pub(super) unnamed_before: VecDeque<Unnamed>,
    /// Room for the next one.
    unnamed_spare: Unnamed,
    /// Changes of nothing to nothing, which came before those of `unnamed_before`: all there are, where only simple
    /// queries are sent.
    unnamed_never: usize,
    /// What the statement that was bound last frees, when it is run.
    pub(super) frees: Option<Box<[u8]>>,
    /// Names that the request under way has prepared: void if it must be sent once more.
    pub(super) fresh_names: Vec<Box<[u8]>>,
    /// Statements whose text was too large to keep: they live on one backend only.
    pub(super) unkept: u32,
    pub(super) owed: VecDeque<Owed>,
    /// The backend waits for COPY data.
    pub(super) copy_in: bool,
    /// Messages were sent that no Sync has closed.
    pub(super) open: bool,
    /// The backend discards everything up to the next Sync.
    pub(super) skipping: bool,
    pub(super) muted: bool,
    /// The batch being gathered only prepares, so that a Flush may end it as a Sync would.
    pub(super) only_prepares: bool,
    pub(super) ends_by_flush: bool,
    /// Such a batch failed: what the client sends before its Sync means nothing.
    pub(super) flush_failed: bool,
    /// A statement was refused only because its preparation is out of date, and would not be if it were sent again.
    pub(super) stale: bool,
    /// Behind the message that is being translated comes a Describe.
    pub(super) describes: bool,
    /// The client's name for a statement that there is not, although it is named like ours.
    pub(super) stranger: Box<[u8]>,
    /// DISCARD ALL was run.
    pub(super) discarded: bool,
    pub(super) txn: TxnStatus,
    pub(super) tally: Tally,
    /// What the client was told of what the database reports.
    pub(super) reported: Reported,
    /// What it knows for certain, if what it was told since may be unsaid with the reply under way.
    pub(super) certain: Option<Reported>,
    /// What it was told before the database reported a change, since that was last asked.
    pub(super) changed: Option<Reported>,
    /// Whether the usual rules of quoting hold.
    pub(super) trusted: bool,
}

impl PgTracker {
    /// The client replaces its unnamed statement, or closes it, by a message for which an answer is owed.
    pub(super) fn set_unnamed(&mut self, number: u64, tail: &[u8]) {
        if number == 0 && self.unnamed.number == 0 && self.unnamed_before.is_empty() {
            self.unnamed_never += 1;
            return;
        }
        let mut before = std::mem::replace(&mut self.unnamed, std::mem::take(&mut self.unnamed_spare));
        self.unnamed.number = number;
        self.unnamed.tail.clear();
        self.unnamed.tail.extend_from_slice(tail);
        self.unnamed.about = None;
        // Large ones, and very many, are not kept for the case that never comes.
        if before.tail.len() > UNNAMED_KEPT || self.unnamed_before.len() > UNNAMED_BEFORE_MAX {
            before = Unnamed::default();
        }
        self.unnamed_before.push_back(before);
    }

    /// What changed the unnamed statement has been answered: what was before is of no more use.
    pub(super) fn keep_unnamed(&mut self) {
        if self.unnamed_never > 0 {
            self.unnamed_never -= 1;
            return;
        }
        let before = self.unnamed_before.pop_front();
        self.spare_unnamed(before);
    }

    /// The last message that changed the unnamed statement was not heeded: one that was `skipped` has not destroyed
    /// the one before it either.
    fn unset_unnamed(&mut self, skipped: bool) {
        let Some(before) = self.unnamed_before.pop_back() else {
            self.unnamed_never = self.unnamed_never.saturating_sub(1);
            return;
        };
        if skipped {
            let unheeded = std::mem::replace(&mut self.unnamed, before);
            self.spare_unnamed(Some(unheeded));
        } else {
            self.unnamed.number = 0;
            self.spare_unnamed(Some(before));
        }
    }

    /// Its room serves the next one, so that a session that uses only the unnamed statement allocates nothing.
    fn spare_unnamed(&mut self, old: Option<Unnamed>) {
        if let Some(old) = old.filter(|old| old.tail.capacity() <= UNNAMED_KEPT) {
            self.unnamed_spare = old;
        }
    }

    /// An answer will never come: takes back what was believed when the question was sent. A message may have
    /// been `skipped`, or be the one that failed.
    pub(super) fn undo(&mut self, owed: Owed, memory: Option<&mut PgMemory>, skipped: bool) {
        match owed {
            Owed::Parse { number, unnamed, name, ours } => {
                if let Some(memory) = memory {
                    memory.forgets(number);
                }
                if unnamed && !ours {
                    self.unset_unnamed(skipped);
                }
                if let Some(name) = name {
                    self.named.remove(&name);
                }
            }
            Owed::Close { unnamed: true, ours: false } | Owed::Query => self.unset_unnamed(skipped),
            Owed::LocalParse { name } => {
                self.named.remove(&name);
            }
            Owed::LocalClose { name, statement: Some(statement) } => {
                self.named.insert(name, statement);
            }
            _ => {}
        }
    }

    /// A message of a batch failed: the backend answers nothing more up to the next Sync.
    pub(super) fn fail_batch(&mut self, memory: &mut PgMemory) {
        self.copy_in = false;
        let ends = |owed: &Owed| matches!(owed, Owed::Sync | Owed::Flush);
        let end = self.owed.iter().position(ends);
        // The last is taken back first: what it did, it did to what those before it had done.
        for at in (0..end.unwrap_or(self.owed.len())).rev() {
            let Some(owed) = self.owed.remove(at) else { continue };
            // What was sent to replace or close it may have been skipped.
            if owed.changes_unnamed() {
                memory.unnamed = UNKNOWN;
            }
            self.undo(owed, Some(memory), at > 0);
        }
        if let Some(front) = self.owed.front() {
            self.flush_failed = matches!(front, Owed::Flush);
            return;
        }
        self.skipping = true;
        self.open = true;
    }

    /// Says ourselves what is due and needs no backend.
    pub(super) fn pour(&mut self, out: &mut Vec<u8>) {
        loop {
            match self.owed.front() {
                Some(Owed::LocalParse { .. }) if !self.muted => messages::parse_complete(out),
                Some(Owed::LocalClose { .. }) if !self.muted => messages::close_complete(out),
                Some(Owed::LocalParse { .. } | Owed::LocalClose { .. }) => {}
                _ => return,
            }
            self.owed.pop_front();
        }
    }
}

impl Tracker for PgTracker {
    type Memory = PgMemory;
    type Registry = Registry;

    fn new(registry: Arc<Registry>, _greeting: &Greeting, reported: Reported) -> Self {
        Self {
            registry,
            scanned: 0,
            dropping: 0,
            named: HashMap::default(),
            unnamed: Unnamed::default(),
            unnamed_before: VecDeque::new(),
            unnamed_spare: Unnamed::default(),
            unnamed_never: 0,
            frees: None,
            fresh_names: Vec::new(),
            unkept: 0,
            owed: VecDeque::new(),
            copy_in: false,
            open: false,
            skipping: false,
            muted: false,
            only_prepares: false,
            ends_by_flush: false,
            flush_failed: false,
            stale: false,
            describes: false,
            stranger: Box::default(),
            discarded: false,
            txn: TxnStatus::Idle,
            tally: Tally::default(),
            trusted: trusted(&reported),
            reported,
            certain: None,
            changed: None,
        }
    }

    #[inline]
    fn intake(&mut self, inbox: &[u8], gather_max: usize) -> Result<Intake, Fault> {
        if self.certain.is_some() && self.is_over() {
            self.certain = None;
        }
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
        memory: &mut PgMemory,
        out: &mut Vec<u8>,
        client: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        if self.is_over() {
            self.fresh_names.clear();
            // Begins at its front again, which is in the processor's cache.
            self.owed.clear();
            self.close_stale(memory, out);
        }
        self.translate(request, rest, memory, out)?;
        self.scanned = 0;
        self.pour(client);
        Ok(())
    }

    #[inline]
    fn needs(&self, head: Head) -> usize {
        super::replies::needs(head)
    }

    #[inline]
    fn on_backend(
        &mut self,
        head: Head,
        seen: &[u8],
        memory: &mut PgMemory,
        after: &mut Vec<u8>,
    ) -> Result<Verdict, ProtocolError> {
        // Rows are most of what comes, and nothing hangs on them.
        if head.tag == b'D' && !self.muted && !self.owed.is_empty() {
            return Ok(Verdict::Relay);
        }
        let verdict = self.judge_reply(head, seen, memory, after)?;
        if matches!(self.owed.front(), Some(Owed::LocalParse { .. } | Owed::LocalClose { .. })) {
            self.pour(after);
        }
        Ok(if self.muted { Verdict::Swallow } else { verdict })
    }

    fn resume(&mut self, _: &mut PgMemory, _: &mut Vec<u8>, _: &mut Vec<u8>) -> Result<(), ProtocolError> {
        Ok(())
    }

    fn is_stalled(&self) -> bool {
        false
    }

    fn is_touched(&mut self) -> bool {
        self.changed.is_some() && self.has_changed()
    }

    fn note_idle(&mut self, idle: bool) {
        if !idle {
            self.txn = TxnStatus::Open;
        }
    }

    fn is_reset(&self, _request: &[u8]) -> bool {
        false
    }

    fn reset(&mut self, _out: &mut Vec<u8>) {}

    fn is_query(&self, request: &[u8]) -> bool {
        request.first() == Some(&b'Q')
    }

    fn carried_out(&mut self, outcome: Result<&str, &Fault>, out: &mut Vec<u8>) {
        self.scanned = 0;
        self.unnamed.number = 0;
        match outcome {
            Ok(command) => messages::command_complete(command.as_bytes(), out),
            Err(fault) => messages::fault(fault, out),
        }
        messages::ready(out, self.status());
    }

    fn fault(&mut self, fault: &Fault, ready: bool, out: &mut Vec<u8>) {
        messages::fault(fault, out);
        if ready {
            messages::ready(out, b'I');
        }
    }

    fn mute(&mut self) {
        self.muted = true;
    }

    fn rewind(&mut self) -> bool {
        let waits = self.owed.iter().any(Owed::ends_ready);
        while let Some(owed) = self.owed.pop_back() {
            self.undo(owed, None, true);
        }
        for name in self.fresh_names.drain(..) {
            self.named.remove(&name);
        }
        self.scanned = 0;
        self.copy_in = false;
        self.open = false;
        self.skipping = false;
        self.muted = false;
        self.txn = TxnStatus::Idle;
        self.tally = Tally::default();
        self.unsay();
        waits
    }

    fn is_over(&self) -> bool {
        self.owed.is_empty() && !self.open && !self.copy_in
    }

    fn is_open(&self) -> bool {
        self.open || self.copy_in
    }

    fn txn(&self) -> TxnStatus {
        self.txn
    }

    fn held(&self) -> Held {
        if self.unkept > 0 { Held::UNKNOWN } else { Held::empty() }
    }

    fn may_be_stale(&self, request: &[u8]) -> bool {
        request.first() != Some(&b'Q')
    }

    fn take_stale(&mut self) -> bool {
        std::mem::take(&mut self.stale)
    }

    fn fail(&mut self, out: &mut Vec<u8>) {
        self.txn = TxnStatus::Failed;
        messages::ready(out, b'E');
    }

    fn schema_changed(&self) {
        self.registry.schema_changed();
    }

    fn runs(&self, request: &[u8]) -> bool {
        super::requests::runs(request)
    }

    fn take_discarded(&mut self) -> bool {
        std::mem::take(&mut self.discarded)
    }

    fn take_tally(&mut self) -> Tally {
        std::mem::take(&mut self.tally)
    }

    /// No reply tells a position in the log.
    fn written(&self) -> Option<&Gtid> {
        None
    }

    fn quoting(&self) -> Quoting {
        Quoting { trusted: self.trusted, ..Quoting::USUAL }
    }

    #[inline]
    fn knows(&self, memory: &PgMemory) -> bool {
        self.reported.is(&memory.reported)
    }

    #[inline]
    fn reads_as(&self, memory: &PgMemory) -> bool {
        self.knows(memory) || !self.trusted || trusted(&memory.reported)
    }

    fn heed(&mut self, memory: &mut PgMemory, out: &mut Vec<u8>) -> bool {
        self.learn(&mut memory.reported, out)
    }
}
