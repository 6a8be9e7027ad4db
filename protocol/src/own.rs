//! What Splitpool itself asks a backend, between two requests of clients.
//!
//! An errand is only run on an idle backend (nothing owed, no transaction), so its
//! reply cannot be mixed up with a client's. Messages that come by themselves
//! (notices, notifications) belong to the session and are handed on.

use crate::settings::Change;
use crate::{Head, Held, ProtocolError, Settings};

/// One thing to ask.
#[derive(Debug, Clone, Copy)]
pub enum Errand<'a> {
    /// Give the backend these settings.
    Apply(&'a [Change<'a>]),
    /// What does this session leave behind? `names` are settings that a listing does not show.
    Inspect {
        /// Custom settings to ask for one by one.
        names: &'a [Box<str>],
        /// What statements have named, of which the database gives no list.
        things: &'a [Named<'a>],
    },
    /// Return all settings, and the role, to those of a fresh connection.
    ResetSettings,
    /// Forget what sequences told.
    DiscardSequences,
    /// A statement that the client has said before, in the database's text.
    Say(&'a [u8]),
    /// Asked inside a transaction: do all its reads see one snapshot?
    Snapshot,
    /// End an open transaction without its effects.
    Rollback,
    /// Return to the state of a fresh connection.
    Discard,
}

/// What a statement has named and its session may hold. A database that lists such things is not asked by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named<'a> {
    /// A temporary table, in the schema where it was made.
    TempTable {
        /// The schema.
        schema: &'a str,
        /// The table.
        name: &'a str,
    },
    /// A lock that lives as long as the session.
    Lock(&'a str),
    /// A variable of the session's own, in lower case. Its value is found among the settings, behind a sign.
    Variable(&'a str),
}

/// What to do with one frame of the reply to an errand.
#[derive(Debug)]
pub enum OwnStep {
    /// More frames follow.
    More,
    /// The frame is not part of the reply: the client must have it.
    Pass,
    /// The same, of a notification: unless the client hears of it in another way.
    Note,
    /// The reply is over.
    Over(Box<Outcome>),
}

/// What became of an errand.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// The database's code and sentence, if the errand failed.
    pub error: Option<(String, String)>,
    /// What `Errand::Inspect` found.
    pub inspection: Inspection,
    /// What `Errand::Snapshot` was answered.
    pub snapshot: bool,
    /// Values that the database reported while it ran.
    pub reported: Vec<(String, String)>,
    /// Whether the backend is outside a transaction now.
    pub idle: bool,
}

/// What a session has left on its backend.
#[derive(Debug, Clone, Default)]
pub struct Inspection {
    /// Its settings, as values that can be carried.
    pub settings: Settings,
    /// What cannot be carried.
    pub held: Held,
    /// The channels that it listens on.
    pub channels: Vec<Box<str>>,
    /// Whether it holds each of the things that were asked for by name, in their order.
    pub there: Vec<bool>,
    /// Of these kinds the database has told that there is nothing beyond what was found.
    pub sure: Held,
}

/// Reads the reply to one errand.
pub trait OwnReply: Send {
    /// Judges one whole frame.
    fn frame(&mut self, head: Head, body: &[u8]) -> Result<OwnStep, ProtocolError>;
}
