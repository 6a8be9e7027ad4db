//! Translates requests for a backend and notes what it owes for them.
//!
//! Prepared statements go by other names on backends; what a backend lacks is prepared
//! ahead of its use, and what it has already is not prepared again. Everything else passes
//! as the client sent it. "Extended Query" and "Pipelining" are the sections followed.

use super::frame::{self, HEADER, split_text};
use super::memory::Here;
use super::statements::{PREFIX, Statement, put_name};
use super::tracker::{About, Named, OWED_MAX, Owed, PgTracker};
use super::{PgMemory, commands, messages};
use crate::fault::Cause;
use crate::tracker::TxnStatus;
use crate::{Fault, Head};
use std::sync::Arc;

/// How many names a client may have prepared at once.
const NAMES_MAX: usize = 32_768;

/// One frame of a request; its body may be cut.
pub(super) struct Part<'a> {
    pub(super) head: Head,
    pub(super) whole: &'a [u8],
    pub(super) body: &'a [u8],
}

/// The frames of `request`, the last one perhaps cut.
pub(super) fn parts(request: &[u8]) -> impl Iterator<Item = Part<'_>> {
    let mut left = request;
    std::iter::from_fn(move || {
        let head = frame::head(left).ok().flatten()?;
        let (whole, behind) = left.split_at(head.len().min(left.len()));
        left = behind;
        Some(Part { head, whole, body: whole.get(HEADER..)? })
    })
}

/// See `Tracker::runs`.
pub(super) fn runs(request: &[u8]) -> bool {
    parts(request).any(|part| !matches!(part.head.tag, b'P' | b'D' | b'C' | b'S' | b'H'))
}

impl PgTracker {
    /// See `Tracker::texts`.
    pub(super) fn show_texts(&self, request: &[u8], visit: &mut dyn FnMut(&[u8])) {
        let mut unnamed_here = false;
        for part in parts(request) {
            match part.head.tag {
                // A text that a zero byte cuts short is refused by the database.
                b'Q' => visit(part.body.strip_suffix(b"\0").unwrap_or(part.body)),
                b'P' => {
                    let Some((name, tail)) = split_text(part.body) else { continue };
                    unnamed_here |= name.is_empty();
                    visit(split_text(tail).map_or(tail, |(text, _)| text));
                }
                b'B' => {
                    let Some((name, _)) = split_text(part.body).and_then(|(_, rest)| split_text(rest)) else {
                        continue;
                    };
                    if !name.is_empty() {
                        visit(self.named.get(name).map_or(&[], |named| named.statement.text()));
                    } else if !unnamed_here {
                        visit(split_text(&self.unnamed.tail).map_or(&[], |(text, _)| text));
                    }
                }
                // A function is called by its number: nothing tells what it does.
                b'F' => visit(b"CALL a_function_by_number()"),
                _ => {}
            }
        }
    }

    /// Answers a batch of nothing but Sync, Flush and the closing of prepared statements:
    /// what drivers send to see whether the connection lives, and to tidy up.
    pub(super) fn answer_alone(&mut self, request: &[u8], out: &mut Vec<u8>) -> bool {
        if self.deallocate(request, out) {
            return true;
        }
        let alone = parts(request).all(|part| match part.head.tag {
            b'S' => part.body.is_empty() && part.head.body == 0,
            b'C' => {
                let named = part.body.split_first().filter(|(kind, _)| **kind == b'S');
                // One that is not known here may have been prepared by SQL.
                let is_ours = |name: &[u8]| name.is_empty() || self.named.contains_key(name);
                part.head.len() == part.whole.len()
                    && named
                        .and_then(|(_, name)| split_text(name))
                        .is_some_and(|(name, behind)| behind.is_empty() && is_ours(name))
            }
            _ => false,
        });
        if !alone || self.unkept > 0 {
            return false;
        }
        for part in parts(request) {
            if part.head.tag == b'S' {
                messages::ready(out, self.status());
            } else {
                let name = part.body.get(1..).and_then(split_text).map_or(&[][..], |(name, _)| name);
                self.close_named(name);
                if name.is_empty() {
                    self.keep_unnamed();
                }
                messages::close_complete(out);
            }
        }
        self.scanned = 0;
        true
    }

    /// The transaction's status, as ReadyForQuery tells it.
    pub(super) fn status(&self) -> u8 {
        match self.txn {
            TxnStatus::Idle => b'I',
            TxnStatus::Open => b'T',
            TxnStatus::Failed => b'E',
        }
    }

    /// Closes what must be prepared anew.
    pub(super) fn close_stale(&mut self, memory: &mut PgMemory, out: &mut Vec<u8>) {
        while let Some(number) = memory.take_stale() {
            self.close_ours(number, out);
        }
    }

    fn close_named(&mut self, name: &[u8]) -> Option<Named> {
        if name.is_empty() {
            self.set_unnamed(0, &[]);
        }
        self.named.remove(name)
    }

    /// See `Tracker::forward`.
    #[inline]
    pub(super) fn translate(
        &mut self,
        request: &[u8],
        rest: usize,
        memory: &mut PgMemory,
        out: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        // `request[run..at]` goes out as it is, in one piece.
        let (mut run, mut at) = (0, 0);
        for part in parts(request) {
            if self.owed.len() > OWED_MAX {
                return Err(Fault::fatal(Cause::ProtocolViolation, "too many messages without an answer"));
            }
            let cut = rest > 0 && part.whole.len() < part.head.len();
            let passes = self.passes(&part, cut, memory);
            at += part.whole.len();
            if passes {
                continue;
            }
            out.extend_from_slice(request.get(run..at - part.whole.len()).unwrap_or_default());
            run = at;
            if part.head.tag == b'H' && self.ends_by_flush {
                (self.open, self.skipping) = (false, false);
                self.owed.push_back(Owed::Flush);
                out.extend_from_slice(b"S\0\0\0\x04");
            } else if !self.skipping {
                self.describes = request.get(at) == Some(&b'D');
                self.frame(&part, cut, memory, out)?;
            }
        }
        out.extend_from_slice(request.get(run..at).unwrap_or_default());
        Ok(())
    }

    /// Whether a message goes out as it is, with nothing ahead of it: so it is with most. Notes what is owed for it.
    fn passes(&mut self, part: &Part<'_>, cut: bool, memory: &mut PgMemory) -> bool {
        if self.copy_in {
            // The backend ignores Sync and Flush, and everything else is either data or an error that it reports.
            self.copy_in = !matches!(part.head.tag, b'c' | b'f');
            return true;
        }
        if part.head.tag == b'S' {
            (self.open, self.skipping) = (false, false);
            self.owed.push_back(Owed::Sync);
            return true;
        }
        if self.skipping {
            return false;
        }
        let owed = match part.head.tag {
            b'P' if !cut => match split_text(part.body) {
                Some(([], tail)) if !commands::may_be(tail) => self.renew_unnamed(tail, memory),
                _ => return false,
            },
            b'B' => match split_text(part.body).and_then(|(_, behind)| behind.first()) {
                Some(0) if self.has_unnamed(memory) => Owed::Bind { number: self.unnamed.number },
                _ => return false,
            },
            b'D' if part.body.first() != Some(&b'S') => Owed::Describe { number: 0 },
            b'E' => Owed::Execute { frees: self.frees.take() },
            _ => return false,
        };
        if part.head.tag == b'B' {
            self.frees = None;
        }
        self.open = true;
        self.owed.push_back(owed);
        true
    }

    /// Whether the backend has this client's unnamed statement, which needs nothing else.
    fn has_unnamed(&self, memory: &PgMemory) -> bool {
        self.unnamed.number != 0 && self.unnamed.number == memory.unnamed && self.unnamed.about.is_none()
    }

    /// The client prepares a new unnamed statement.
    fn renew_unnamed(&mut self, tail: &[u8], memory: &mut PgMemory) -> Owed {
        let number = self.registry.fresh_number();
        self.set_unnamed(number, tail);
        memory.unnamed = number;
        Owed::Parse { number, unnamed: true, ours: false, name: None }
    }

    fn frame(
        &mut self,
        part: &Part<'_>,
        cut: bool,
        memory: &mut PgMemory,
        out: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        self.open = !matches!(part.head.tag, b'Q' | b'F');
        match part.head.tag {
            b'Q' => {
                // A simple query destroys the unnamed statement.
                self.set_unnamed(0, &[]);
                memory.unnamed = 0;
                if self.query_by_name(part, memory, out) {
                    return Ok(());
                }
                self.owed.push_back(Owed::Query);
            }
            b'F' => self.owed.push_back(Owed::Function),
            b'P' => return self.parse(part, cut, memory, out),
            b'B' => return self.bind(part, memory, out),
            b'D' => return self.describe(part, memory, out),
            b'C' if part.body.first() == Some(&b'S') => return self.close(part, memory, out),
            b'C' => self.owed.push_back(Owed::Close { ours: false, unnamed: false }),
            b'c' | b'f' => self.owed.push_back(Owed::CopyEnd),
            _ => {}
        }
        out.extend_from_slice(part.whole);
        Ok(())
    }

    fn parse(
        &mut self,
        part: &Part<'_>,
        cut: bool,
        memory: &mut PgMemory,
        out: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        let Some((name, own)) = split_text(part.body) else { return Err(malformed()) };
        let by_name = if cut { None } else { self.parsed_by_name(name, own) };
        let (changed, about) = by_name.unzip();
        let tail = changed.as_deref().unwrap_or(own);
        if let Some(About { statement, .. }) = &about {
            // What an EXECUTE gives is found out when it is parsed.
            self.require(statement, memory, out);
        }
        if name.is_empty() {
            let owed = self.renew_unnamed(if cut { &[] } else { tail }, memory);
            self.unnamed.about = about.map(Box::new);
            self.owed.push_back(owed);
            if changed.is_some() {
                put_unnamed(tail, out);
            } else {
                out.extend_from_slice(part.whole);
            }
            return Ok(());
        }
        if let Some(Named { statement: taken, .. }) = self.named.get(name).cloned() {
            // The name is taken: the backend says so if it is asked for its own name of it.
            self.require(&taken, memory, out);
            self.owed.push_back(Owed::Parse { number: 0, unnamed: false, ours: false, name: None });
            rename(part, b"", taken.number, tail, out);
            return Ok(());
        }
        if self.named.len() >= NAMES_MAX {
            return Err(Fault::fatal(Cause::TooManyConnections, "too many prepared statements").code("53200"));
        }
        let statement = if cut {
            self.unkept += 1;
            Arc::new(Statement { number: self.registry.fresh_number(), tail: Box::default(), about: None })
        } else {
            self.registry.intern(tail, self.flavour(), about.map(|about| about.statement))
        };
        let number = statement.number;
        self.named.insert(name.into(), Named { statement, told: self.registry.schema() });
        self.fresh_names.push(name.into());
        if self.is_here(number, memory, out) {
            self.owed.push_back(Owed::LocalParse { name: name.into() });
            return Ok(());
        }
        self.make_room(memory, out);
        memory.prepares(number, self.registry.schema());
        self.owed.push_back(Owed::Parse { number, unnamed: false, ours: false, name: Some(name.into()) });
        rename(part, b"", number, tail, out);
        Ok(())
    }

    fn bind(&mut self, part: &Part<'_>, memory: &mut PgMemory, out: &mut Vec<u8>) -> Result<(), Fault> {
        let Some((portal, behind)) = split_text(part.body) else { return Err(malformed()) };
        let Some((name, behind)) = split_text(behind) else { return Err(malformed()) };
        let before = part.body.get(..=portal.len()).unwrap_or_default();
        let number = self.use_statement(part, before, name, behind, memory, out);
        self.owed.push_back(Owed::Bind { number });
        Ok(())
    }

    fn describe(&mut self, part: &Part<'_>, memory: &mut PgMemory, out: &mut Vec<u8>) -> Result<(), Fault> {
        let Some((name, behind)) = part.body.get(1..).and_then(split_text) else { return Err(malformed()) };
        let number = self.use_statement(part, b"S", name, behind, memory, out);
        self.owed.push_back(Owed::Describe { number });
        Ok(())
    }

    /// Appends a message that names a statement, and ahead of it what the backend lacks.
    /// `before` and `behind` are what stands around the name in the message. Returns its number, or 0.
    fn use_statement(
        &mut self,
        part: &Part<'_>,
        before: &[u8],
        name: &[u8],
        behind: &[u8],
        memory: &mut PgMemory,
        out: &mut Vec<u8>,
    ) -> u64 {
        self.frees = None;
        if name.is_empty() {
            if let Some(about) = self.unnamed.about.take() {
                self.require(&about.statement, memory, out);
                self.frees.clone_from(&about.frees);
                self.unnamed.about = Some(about);
            }
            self.require_unnamed(memory, out);
            out.extend_from_slice(part.whole);
            return self.unnamed.number;
        }
        let schema = self.registry.schema();
        let describes = part.head.tag == b'D' || self.describes;
        let named = self.named.get_mut(name).map(|named| {
            if describes {
                named.told = schema;
            }
            named.clone()
        });
        match named {
            Some(Named { statement, told }) => {
                if let Some(about) = &statement.about {
                    self.require(about, memory, out);
                }
                // To a client that is not told of a new shape the database says that there is one, if it has the
                // statement as it was.
                if told == schema || !memory.has(statement.number) {
                    self.require(&statement, memory, out);
                }
                rename(part, before, statement.number, behind, out);
                return statement.number;
            }
            // Unknown to us is unknown to the database, which says so; but names like ours
            // must not reach a statement of ours.
            None if name.starts_with(PREFIX.as_bytes()) => {
                self.stranger = name.into();
                rename(part, before, 0, behind, out);
            }
            None => out.extend_from_slice(part.whole),
        }
        0
    }

    fn close(&mut self, part: &Part<'_>, memory: &mut PgMemory, out: &mut Vec<u8>) -> Result<(), Fault> {
        let Some((name, behind)) = part.body.get(1..).and_then(split_text) else { return Err(malformed()) };
        let closed = self.close_named(name);
        if name.is_empty() {
            memory.unnamed = 0;
            self.owed.push_back(Owed::Close { ours: false, unnamed: true });
            out.extend_from_slice(part.whole);
        } else if let Some(unkept) =
            closed.as_ref().map(|named| &named.statement).filter(|statement| statement.tail.is_empty())
        {
            self.unkept = self.unkept.saturating_sub(1);
            memory.forgets(unkept.number);
            self.owed.push_back(Owed::Close { ours: false, unnamed: false });
            rename(part, b"S", unkept.number, behind, out);
        } else if closed.is_some() || name.starts_with(PREFIX.as_bytes()) {
            self.owed.push_back(Owed::LocalClose { name: name.into(), statement: closed });
        } else {
            // Perhaps it was prepared by SQL.
            self.owed.push_back(Owed::Close { ours: false, unnamed: false });
            out.extend_from_slice(part.whole);
        }
        Ok(())
    }

    /// Prepares `statement` ahead of its use, where the backend lacks it.
    pub(super) fn require(&mut self, statement: &Statement, memory: &mut PgMemory, out: &mut Vec<u8>) {
        if statement.tail.is_empty() || self.is_here(statement.number, memory, out) {
            return;
        }
        self.make_room(memory, out);
        memory.prepares(statement.number, self.registry.schema());
        self.owed.push_back(Owed::Parse { number: statement.number, unnamed: false, ours: true, name: None });
        let at = frame::begin(out, b'P');
        put_name(out, statement.number);
        out.extend_from_slice(&statement.tail);
        frame::end(out, at);
    }

    /// Whether the backend has the statement as it should be. One that a change of schema may have overtaken
    /// is closed.
    fn is_here(&mut self, number: u64, memory: &mut PgMemory, out: &mut Vec<u8>) -> bool {
        match memory.uses(number, self.registry.schema()) {
            Some(Here::Fresh) => true,
            Some(Here::Old) => {
                memory.forgets(number);
                self.close_ours(number, out);
                false
            }
            None => false,
        }
    }

    /// The backend's unnamed statement may be another client's.
    fn require_unnamed(&mut self, memory: &mut PgMemory, out: &mut Vec<u8>) {
        let number = self.unnamed.number;
        if number == memory.unnamed && number != 0 {
            return;
        }
        if number == 0 || self.unnamed.tail.is_empty() {
            // There is none: make sure that the backend has none either.
            if memory.unnamed != 0 {
                memory.unnamed = 0;
                self.owed.push_back(Owed::Close { ours: true, unnamed: true });
                out.extend_from_slice(b"C\0\0\0\x06S\0");
            }
            return;
        }
        memory.unnamed = number;
        self.owed.push_back(Owed::Parse { number, unnamed: true, ours: true, name: None });
        put_unnamed(&self.unnamed.tail, out);
    }

    /// Closes the statement that was not used for longest, where the backend is full.
    fn make_room(&mut self, memory: &mut PgMemory, out: &mut Vec<u8>) {
        let Some(number) = memory.evicts() else { return };
        self.close_ours(number, out);
    }

    fn close_ours(&mut self, number: u64, out: &mut Vec<u8>) {
        self.owed.push_back(Owed::Close { ours: true, unnamed: false });
        let at = frame::begin(out, b'C');
        out.push(b'S');
        put_name(out, number);
        frame::end(out, at);
    }
}

/// Appends the Parse of an unnamed statement.
fn put_unnamed(tail: &[u8], out: &mut Vec<u8>) {
    let at = frame::begin(out, b'P');
    out.push(0);
    out.extend_from_slice(tail);
    frame::end(out, at);
}

/// Appends `part` with the statement's name replaced. `front` is what stands before the name.
fn rename(part: &Part<'_>, front: &[u8], number: u64, behind: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.push(part.head.tag);
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(front);
    put_name(out, number);
    out.extend_from_slice(behind);
    // The frame may be cut: what is still to come counts as well.
    let missing = part.head.len() - part.whole.len();
    let length = u32::try_from(out.len() - start - 1 + missing).unwrap_or(u32::MAX);
    if let Some(place) = out.get_mut(start + 1..start + 5) {
        place.copy_from_slice(&length.to_be_bytes());
    }
}

fn malformed() -> Fault {
    Fault::fatal(Cause::ProtocolViolation, "invalid message format")
}
