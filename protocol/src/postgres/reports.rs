//! What a PostgreSQL database reports of a session, and what its client knows of that ("Asynchronous Operations").
//!
//! Values change by the client's own statements, and by the database's configuration. A backend says so once, to
//! whoever it serves then; its memory keeps it, and whoever comes next is told ahead of the first reply. A client
//! thus knows what holds on the backend that runs its statement, whichever that is.

use super::frame::split_text;
use super::memory::{PgMemory, STANDBY};
use super::messages;
use super::tracker::PgTracker;
use crate::tracker::Verdict;
use crate::{Head, Reported};

/// Client encodings in which a byte of ASCII may be the tail of another character.
const UNSAFE_ENCODINGS: [&str; 8] =
    ["SJIS", "SHIFT_JIS_2004", "BIG5", "GBK", "GB18030", "UHC", "JOHAB", "SQL_ASCII_UNKNOWN"];

/// Whether the default rules of quoting hold, so that a text may be judged without asking.
pub(super) fn trusted(reported: &Reported) -> bool {
    reported.iter().all(|(name, value)| match name {
        "standard_conforming_strings" => value == "on",
        "client_encoding" => !UNSAFE_ENCODINGS.contains(&value),
        _ => true,
    })
}

impl PgTracker {
    /// Judges a ParameterStatus.
    pub(super) fn report(&mut self, head: Head, seen: &[u8], memory: &mut PgMemory) -> Verdict {
        if head.body > seen.len() {
            return Verdict::Relay;
        }
        let Some((name, value)) = split_text(seen) else { return Verdict::Relay };
        let value = split_text(value).map_or(value, |(value, _)| value);
        let (Ok(name), Ok(value)) = (std::str::from_utf8(name), std::str::from_utf8(value)) else {
            return Verdict::Relay;
        };
        if name == STANDBY {
            return Verdict::Swallow;
        }
        let knew = self.reported.is(&memory.reported);
        memory.reported.note(name, value);
        if self.muted {
            return Verdict::Swallow;
        }
        let mut now = if knew { memory.reported.clone() } else { self.reported.clone() };
        now.note(name, value);
        self.told(now);
        Verdict::Relay
    }

    /// The client is being told.
    fn told(&mut self, now: Reported) {
        if self.reported.is(&now) {
            return;
        }
        let before = std::mem::replace(&mut self.reported, now);
        self.certain.get_or_insert_with(|| before.clone());
        self.changed.get_or_insert(before);
        self.trusted = trusted(&self.reported);
    }

    /// Appends what the client does not know of what a backend reports. Returns whether there was anything.
    pub(super) fn learn(&mut self, reported: &mut Reported, out: &mut Vec<u8>) -> bool {
        if self.reported.unite(reported) {
            return false;
        }
        let mut told = false;
        for (name, value) in reported.iter().filter(|(name, value)| self.reported.value(name) != Some(value))
        {
            messages::parameter_status(name, value, out);
            told = true;
        }
        let before = std::mem::replace(&mut self.reported, reported.clone());
        self.certain.get_or_insert(before);
        self.trusted = trusted(&self.reported);
        told
    }

    /// Whether the database has reported changes that are still there.
    pub(super) fn has_changed(&mut self) -> bool {
        self.changed.take().is_some_and(|mut before| !before.unite(&mut self.reported))
    }

    /// The client has had nothing of the reply, nor of what was to be told ahead of it.
    pub(super) fn unsay(&mut self) {
        self.changed = None;
        if let Some(certain) = self.certain.take() {
            self.reported = certain;
            self.trusted = trusted(&self.reported);
        }
    }

    /// How the bytes of a statement are to be read, where that is not the usual way.
    pub(super) fn flavour(&self) -> &[u8] {
        match self.reported.value("client_encoding") {
            Some("UTF8") | None if self.trusted => b"",
            Some(encoding) => encoding.as_bytes(),
            None => b"?",
        }
    }
}
