//! What a request amounts to, for whoever asks which statements run: opened when it is judged, closed with its reply.
//!
//! A session that runs the same statement again has its entry at hand, so that counting it costs a comparison and
//! some additions.

use super::Session;
use super::judge::Judgement;
use crate::digests::{Digest, Ran};
use crate::statement_log::Record;
use crate::traces::Parent;
use protocol::Protocol;
use protocol::tracker::{Tracker, TxnStatus};
use router::Reason;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

/// See the file's head.
#[derive(Default)]
pub(super) struct Account {
    /// The entry of what ran last.
    digest: Option<Arc<Digest>>,
    /// Whether a request is under way that is to be counted there.
    is_open: bool,
    began: Option<Instant>,
    statements: u32,
    on_primary: bool,
    reason: Option<Reason>,
    /// What else is told of it, if statements are logged.
    notes: Option<Box<Notes>>,
}

/// What a line of the statement log tells beside.
struct Notes {
    /// Where it stood in its transaction.
    transaction: TxnStatus,
    /// The trace that it is part of.
    trace: Option<[u8; 16]>,
    /// What was sent, if that is wanted.
    text: Vec<u8>,
    /// Draws samples; never 0.
    luck: u32,
}

impl Account {
    /// Whether a request is under way that is to be counted.
    pub(super) fn is_open(&self) -> bool {
        self.is_open
    }

    /// It runs there.
    pub(super) fn route(&mut self, on_primary: bool, reason: Reason) {
        (self.on_primary, self.reason) = (on_primary, Some(reason));
    }

    /// The session may be served by something else from now on.
    pub(super) fn forget(&mut self) {
        self.digest = None;
    }
}

impl<P: Protocol> Session<P> {
    /// A request that is `judged` began then; it is the first `len` bytes of the inbox.
    pub(super) fn open_account(&mut self, judged: &Judgement, len: usize, began: Instant) {
        self.account.began = Some(began);
        let number = judged.digest.number;
        let is_known = |digest: &Arc<Digest>| digest.number == number && !digest.is_gone();
        if !self.account.digest.as_ref().is_some_and(is_known) {
            self.account.digest = self.find_digest(number, len);
            // What came before was nobody's.
            self.tracker.take_tally();
        }
        self.account.is_open = self.account.digest.is_some();
        self.account.statements = judged.statements;
        if self.service.statement_log.is_some() {
            self.take_notes(len);
        }
        // What is refused before it is sent would have gone there.
        self.account.route(judged.target != router::Target::Replica, judged.reason);
    }

    /// The entry of a digest that one of the request's texts has.
    fn find_digest(&self, number: u64, len: usize) -> Option<Arc<Digest>> {
        let (digests, router) = (self.service.digests.as_ref()?, &self.service.router);
        if number == 0 {
            return None;
        }
        if let Some(found) = digests.find(&self.service.counters, number) {
            return Some(found);
        }
        let bytes = self.client.inbox.get(..len).unwrap_or_default();
        let lexing = super::judge::lexing(self.tracker.quoting());
        let mut found = None;
        self.tracker.texts(bytes, &mut |text| {
            let is_meant = || router.digest_number(text, lexing) == number;
            if found.is_none() && is_meant() {
                let make = |most| router.digest_text(text, lexing, most);
                found = Some(digests.entry(&self.service.counters, number, make));
            }
        });
        found
    }

    /// The request is over, after so many microseconds; `sent` bytes went to the client.
    pub(super) fn settle_account(&mut self, micros: u32, sent: u64, failed: bool, now: Instant) {
        self.account.is_open = false;
        let tally = self.tracker.take_tally();
        let Some(digest) = &self.account.digest else { return };
        let failed = failed || tally.error.is_some();
        if tally.results == 0 && !failed {
            // It was only prepared.
            return;
        }
        let ran = Ran {
            on_primary: self.account.on_primary,
            reason: self.account.reason.unwrap_or(Reason::Empty),
            statements: self.account.statements,
            micros,
            rows: tally.rows,
            bytes: sent,
            failed,
        };
        digest.count(&ran, now);
        if self.service.statement_log.is_some() {
            self.log_statement(&ran, tally.error);
        }
    }

    /// Keeps what will not be there any more when the request is over.
    fn take_notes(&mut self, len: usize) {
        let Some(log) = &self.service.statement_log else { return };
        let seed = self.slot.about.id.wrapping_mul(0x9e37_79b9) | 1;
        let new =
            || Box::new(Notes { transaction: TxnStatus::Idle, trace: None, text: Vec::new(), luck: seed });
        let notes = self.account.notes.get_or_insert_with(new);
        notes.transaction = self.tracker.txn();
        notes.trace = None;
        notes.text.clear();
        let most = log.literals();
        let bytes = self.client.inbox.get(..len).unwrap_or_default();
        self.tracker.texts(bytes, &mut |text| {
            // Most have no comment, which is soon seen.
            if notes.trace.is_none() && memchr::memchr(b'*', text).is_some() {
                notes.trace = Parent::in_comment(text).map(|parent| parent.trace);
            }
            if let Some(most) = most.filter(|_| !text.is_empty()) {
                if !notes.text.is_empty() {
                    notes.text.extend_from_slice(b"; ");
                }
                let room = most.saturating_sub(notes.text.len());
                notes.text.extend_from_slice(text.get(..room).unwrap_or(text));
                notes.text.truncate(most);
            }
        });
    }

    /// Logs what ran, if it is one of those that are logged.
    fn log_statement(&mut self, ran: &Ran, error: Option<[u8; 5]>) {
        let (Some(log), Some(digest)) = (&self.service.statement_log, &self.account.digest) else { return };
        let Some(notes) = &mut self.account.notes else { return };
        // Marsaglia's xorshift.
        notes.luck ^= notes.luck << 13;
        notes.luck ^= notes.luck >> 17;
        notes.luck ^= notes.luck << 5;
        let Some(because) = log.wants(ran.micros, notes.luck) else { return };
        let text = match log.literals() {
            Some(_) => String::from_utf8_lossy(&notes.text).into_owned(),
            None => digest.text.to_string(),
        };
        log.log(Record {
            at: SystemTime::now(),
            because,
            user: self.user.to_string(),
            cluster: digest.of.cluster().to_owned(),
            database: self.service.domain.to_string(),
            client: super::peer(&self.client),
            on_primary: ran.on_primary,
            endpoint: self
                .lease
                .as_ref()
                .map(|lease| lease.endpoint().address.to_string())
                .unwrap_or_default(),
            reason: ran.reason,
            transaction: match notes.transaction {
                TxnStatus::Idle => "idle",
                TxnStatus::Open => "open",
                TxnStatus::Failed => "failed",
            },
            micros: ran.micros,
            statements: ran.statements,
            rows: ran.rows,
            bytes: ran.bytes,
            error: error.map(|code| String::from_utf8_lossy(&code).into_owned()),
            trace: notes.trace,
            digest: digest.number,
            text,
        });
    }

    /// The request ended without a reply from a backend that could be told of.
    pub(super) fn fail_account(&mut self) {
        let now = Instant::now();
        let began = self.account.began.unwrap_or(now);
        let micros = now.saturating_duration_since(began).as_micros();
        let sent = self.count_traffic();
        self.settle_account(u32::try_from(micros).unwrap_or(u32::MAX), sent, true, now);
    }

    /// Counts the bytes that came and went. Returns how many went.
    pub(super) fn count_traffic(&mut self) -> u64 {
        let (received, sent) = self.client.take_traffic();
        self.service.counters.moved(received, sent);
        sent
    }
}
