//! What one PostgreSQL connection holds between two leases.
//!
//! Its memory is what we believe of it; whenever an error leaves that in doubt the entry is
//! removed, because preparing once more under a new number is cheap and a wrong belief is not.

use super::CancelKey;
use super::own::AUTHORIZATION;
use crate::own::Inspection;
use crate::{Held, Reported, Settings};
use hashbrown::HashMap;

/// Stands for an unnamed statement that may be anybody's: it is closed before a client could reach it.
pub(super) const UNKNOWN: u64 = u64::MAX;

/// Whether the backend is a replica is ours to know: clients see one database, which takes writes.
pub(super) const STANDBY: &str = "in_hot_standby";

/// How many statements are kept prepared on one connection. The oldest use goes first.
pub const PREPARED_MAX: usize = 200;

/// When a statement was last used, and which schema it was prepared under.
#[derive(Debug, Clone, Copy)]
struct Use {
    at: u64,
    schema: u64,
}

/// How a statement is prepared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Here {
    /// As it should be.
    Fresh,
    /// Under a schema that has changed since.
    Old,
}

/// The state of one signed-in connection.
#[derive(Debug)]
pub struct PgMemory {
    key: CancelKey,
    /// Who signed in, as the database reported it.
    signed_in_as: Option<Box<str>>,
    pub(super) reported: Reported,
    settings: Settings,
    prepared: HashMap<u64, Use, foldhash::fast::RandomState>,
    clock: u64,
    /// Statements that are to be closed before they are prepared once more.
    stale: Vec<u64>,
    deaf: bool,
    /// The number of the text that its unnamed statement holds; 0 for none, `UNKNOWN` if nobody can say.
    pub(super) unnamed: u64,
}

impl PgMemory {
    /// The memory of a connection that has just signed in.
    pub fn signed_in(key: CancelKey, reported: Vec<(String, String)>) -> Self {
        let mut reported = Reported::new(reported);
        if reported.value(STANDBY).is_some() {
            reported.note(STANDBY, "off");
        }
        Self {
            key,
            signed_in_as: reported.value(AUTHORIZATION).map(Into::into),
            reported,
            settings: Settings::default(),
            prepared: HashMap::default(),
            clock: 0,
            stale: Vec::new(),
            deaf: false,
            unnamed: 0,
        }
    }

    /// Whether the statement is prepared here under this schema; if so it counts as used now. One that was
    /// prepared under another must be closed first.
    pub(super) fn uses(&mut self, number: u64, schema: u64) -> Option<Here> {
        self.clock += 1;
        let found = self.prepared.get_mut(&number)?;
        found.at = self.clock;
        Some(if found.schema == schema { Here::Fresh } else { Here::Old })
    }

    /// Whether the statement is prepared here, under whatever schema; if so it counts as used now.
    pub(super) fn has(&mut self, number: u64) -> bool {
        self.uses(number, 0).is_some()
    }

    /// The statement is being prepared here.
    pub(super) fn prepares(&mut self, number: u64, schema: u64) {
        self.clock += 1;
        self.prepared.insert(number, Use { at: self.clock, schema });
    }

    /// The statement is not here, or nobody knows.
    pub(super) fn forgets(&mut self, number: u64) {
        self.prepared.remove(&number);
    }

    /// The statement that must go before another is prepared, if the connection is full.
    pub(super) fn evicts(&mut self) -> Option<u64> {
        if self.prepared.len() < PREPARED_MAX {
            return None;
        }
        let oldest = self.prepared.iter().min_by_key(|(_, used)| used.at).map(|(number, _)| *number)?;
        self.prepared.remove(&oldest);
        Some(oldest)
    }

    /// The statement is no good any more, though it may be here.
    pub(super) fn spoils(&mut self, number: u64) {
        self.forgets(number);
        if self.unnamed == number {
            self.unnamed = UNKNOWN;
        } else if !self.stale.contains(&number) {
            self.stale.push(number);
        }
    }

    /// One that is to be closed.
    pub(super) fn take_stale(&mut self) -> Option<u64> {
        self.stale.pop()
    }

    /// All prepared statements that have a name are gone; the unnamed one is no affair of DEALLOCATE ALL.
    pub(super) fn deallocated(&mut self) {
        self.prepared.clear();
        self.stale.clear();
    }
}

impl crate::tracker::Memory for PgMemory {
    type CancelKey = CancelKey;

    fn cancel_key(&self) -> &CancelKey {
        &self.key
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn set_settings(&mut self, settings: Settings) {
        self.settings = settings;
    }

    fn difference(&mut self, found: Inspection) -> Inspection {
        // The session's authorization always shows. It comes with rights that decide what else
        // may be set, so a session that changed it is pinned rather than carried.
        let changed = found.settings.value(AUTHORIZATION) != self.signed_in_as.as_deref();
        Inspection {
            held: if changed { found.held.union(Held::UNKNOWN) } else { found.held },
            settings: found.settings.without(AUTHORIZATION),
            ..found
        }
    }

    fn deafen(&mut self, deaf: bool) {
        self.deaf = deaf;
    }

    fn is_deaf(&self) -> bool {
        self.deaf
    }

    fn ran_errand(&mut self) {
        self.unnamed = 0;
    }

    fn settings_reset(&mut self) {
        self.settings = Settings::default();
    }

    fn discards_sequences_alone(&self) -> bool {
        true
    }

    fn wiped(&mut self) {
        self.settings = Settings::default();
        self.deallocated();
        self.unnamed = 0;
    }

    fn reported(&self) -> &Reported {
        &self.reported
    }

    fn note_reported(&mut self, reported: &[(String, String)]) {
        for (name, value) in reported.iter().filter(|(name, _)| name != STANDBY) {
            self.reported.note(name, value);
        }
    }

    fn place(&self) -> Option<&str> {
        None
    }

    fn take_doubt(&mut self) -> Held {
        Held::empty()
    }
}
