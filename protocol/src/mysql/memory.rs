//! What one MySQL connection holds between two leases, and what the database told of it.
//!
//! The database tells which variables a statement changed, but not always to what (the
//! collation of SET NAMES is left out, a variable set for one statement is told and taken
//! back in silence). So names are noted here, and their values asked for.

use super::CancelKey;
use super::collations::Collations;
use super::flags::capability as cap;
use super::hello::Hello;
use super::messages::Changed;
use super::named;
use super::own::{COLLATION_ID, MULTI_STATEMENTS, SCHEMA};
use crate::own::Inspection;
use crate::settings::TOKEN;
use crate::{Held, Reported, Settings};
use hashbrown::HashMap;

/// How many statements are kept prepared on one connection. The oldest use goes first.
pub const PREPARED_MAX: usize = 200;

/// How many variables a session may change.
const CHANGED_MAX: usize = 256;

/// By what a text is read. Always asked for: SET NAMES does not tell all of them.
const READING: [&str; 4] =
    ["character_set_client", "character_set_results", "collation_connection", "sql_mode"];

/// What a session keeps from its sign-in to its end, however the defaults of the database change meanwhile, beside
/// the isolation of its transactions: a backend that is younger than the session has others. Always asked for.
const LASTING: [&str; 2] = [AUTOCOMMIT, "time_zone"];

/// Whether a statement outside a transaction is one of its own.
pub(super) const AUTOCOMMIT: &str = "autocommit";

/// What the isolation of transactions is called.
pub(super) const fn isolation(is_mariadb: bool) -> &'static str {
    if is_mariadb { "tx_isolation" } else { "transaction_isolation" }
}

/// The variables whose changes are told. Who shortens the list may do so untold, so it is always looked at.
const TRACKED: &str = "session_track_system_variables";

/// Told, and nothing to carry: positions, counts, and what follows from something else that is carried.
const IDLE: [&str; 12] = [
    "statement_id",
    "error_count",
    "gtid_owned",
    "last_insert_id",
    "identity",
    "last_gtid",
    "gtid_binlog_pos",
    "gtid_current_pos",
    "character_set_connection",
    "character_set_database",
    "collation_database",
    "warning_count",
];

/// Values that stand for one statement, or that decide what we are told: no other backend can be
/// given them, so the session stays where they are.
const ODD: [&str; 14] = [
    INSERT_ID,
    "rand_seed1",
    "rand_seed2",
    "gtid_seq_no",
    "gtid_next",
    "pseudo_thread_id",
    "pseudo_slave_mode",
    "pseudo_replica_mode",
    TRACKED,
    "session_track_schema",
    "session_track_state_change",
    "session_track_transaction_info",
    "session_track_gtids",
    "debug_dbug",
];

/// The next row that is given a number is given this one.
const INSERT_ID: &str = "insert_id";

/// Whether an odd variable is by this value as if it had never been set.
fn is_back(name: &str, value: &[u8]) -> bool {
    match name {
        "gtid_next" => value == b"AUTOMATIC",
        INSERT_ID | "gtid_seq_no" => value == b"0",
        "pseudo_slave_mode" | "pseudo_replica_mode" => matches!(value, b"OFF" | b"0"),
        // What happened meanwhile was not told.
        _ => false,
    }
}

/// Whether a switch is on, as its value is asked for or told; so it is as long as nobody has said.
pub(super) fn is_on(value: &str) -> bool {
    !matches!(value.trim_start_matches('\''), "0" | "OFF")
}

#[derive(Debug, Clone, Copy)]
struct Prepared {
    id: u32,
    used: u64,
    /// Whether it was run with a cursor first, if it was run.
    fetched_first: Option<bool>,
}

/// The state of one signed-in connection.
#[derive(Debug)]
pub struct MyMemory {
    key: CancelKey,
    reported: Reported,
    pub(super) capabilities: u64,
    pub(super) is_mariadb: bool,
    /// How it looks up a collation by number.
    pub(super) collations: Collations,
    /// The schema that it signed in with; empty for none.
    pub(super) database: Box<str>,
    settings: Settings,
    prepared: HashMap<u64, Prepared, foldhash::fast::RandomState>,
    clock: u64,
    /// What LAST_INSERT_ID() is on it.
    pub(super) insert_id: u64,
    /// The session whose statement was the last on it, and which of its statements; zeros if that was none of a
    /// session's.
    pub(super) last_by: (u64, u64),
    /// What is to be sent ahead of the next request and is not answered.
    pub(super) chores: Vec<u8>,
    /// Variables that changed since `settings` was true.
    changed: Vec<Box<str>>,
    pub(super) schema: Option<Box<str>>,
    multi_statements: Option<bool>,
    /// Something changed that is neither a variable nor the schema.
    pub(super) something: bool,
    /// The same, or something that was told by name as well.
    pub(super) said: bool,
    /// Something changed that no packet has told yet.
    pub(super) untold: bool,
    /// Something is set that cannot be carried: these variables, and what has no name that could be kept.
    odd: Vec<&'static str>,
    nameless: bool,
    /// What is told is what the client has asked for, not what we have.
    pub(super) listens: bool,
    /// The list of what is told was shortened, and what may have changed with it is known: it can be set back.
    pub(super) narrowed: bool,
}

impl MyMemory {
    /// The memory of a connection that has just signed in.
    pub(super) fn signed_in(hello: &Hello, capabilities: u64, database: &str) -> Self {
        let version = String::from_utf8_lossy(&hello.version).into_owned();
        let reported = [
            ("version", version.as_str()),
            ("capabilities", &hello.capabilities.to_string()),
            ("default_authentication_plugin", &String::from_utf8_lossy(&hello.plugin)),
            ("sql_mode", ""),
            ("character_set_client", ""),
            (AUTOCOMMIT, ""),
        ];
        Self {
            key: CancelKey(hello.thread),
            is_mariadb: hello.is_mariadb(),
            collations: Collations::of(&version),
            reported: Reported::new(
                reported.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
            ),
            capabilities,
            database: database.into(),
            settings: Settings::default(),
            prepared: HashMap::default(),
            clock: 0,
            insert_id: 0,
            last_by: (0, 0),
            chores: Vec::new(),
            changed: Vec::new(),
            schema: None,
            multi_statements: None,
            something: false,
            said: false,
            untold: false,
            odd: Vec::new(),
            nameless: false,
            listens: false,
            narrowed: false,
        }
    }

    /// Whether queries have attributes in front of them, if only none.
    pub(super) fn takes_attributes(&self) -> bool {
        self.capabilities & cap::QUERY_ATTRIBUTES != 0
    }

    /// The number of a statement here; if it has one it counts as used now.
    pub(super) fn uses(&mut self, number: u64) -> Option<u32> {
        self.clock += 1;
        let prepared = self.prepared.get_mut(&number)?;
        prepared.used = self.clock;
        Some(prepared.id)
    }

    /// The statement is prepared here under `id`. Returns the id that it had before.
    pub(super) fn prepared(&mut self, number: u64, id: u32) -> Option<u32> {
        self.clock += 1;
        self.prepared
            .insert(number, Prepared { id, used: self.clock, fetched_first: None })
            .map(|before| before.id)
    }

    /// The statement is about to be run, with a cursor or without. Returns the id that it had if it must be prepared
    /// anew for that: MySQL cannot run without a cursor what it ran with one first, its reply has no end then.
    pub(super) fn runs(&mut self, number: u64, fetches: bool) -> Option<u32> {
        let prepared = self.prepared.get_mut(&number)?;
        let fetched_first = *prepared.fetched_first.get_or_insert(fetches);
        if fetched_first && !fetches && !self.is_mariadb { self.forgets(number) } else { None }
    }

    /// The statement is here no more. Returns the id that it had.
    pub(super) fn forgets(&mut self, number: u64) -> Option<u32> {
        self.prepared.remove(&number).map(|before| before.id)
    }

    /// The id of the statement that must go before another is prepared, if the connection is full.
    pub(super) fn evicts(&mut self) -> Option<u32> {
        if self.prepared.len() < PREPARED_MAX {
            return None;
        }
        let oldest =
            self.prepared.iter().min_by_key(|(_, prepared)| prepared.used).map(|(number, _)| *number)?;
        self.forgets(oldest)
    }

    /// Takes note of one change that the database told. Returns whether it must be looked at.
    pub(super) fn told(&mut self, change: Changed<'_>) -> bool {
        match change {
            Changed::Variable(name, value) => {
                let Ok(name) = std::str::from_utf8(name) else {
                    self.nameless = true;
                    return true;
                };
                if IDLE.contains(&name) {
                    return name == "character_set_connection";
                }
                if let Some(odd) = ODD.into_iter().find(|odd| *odd == name) {
                    self.odd.retain(|have| *have != odd);
                    if !is_back(odd, value) {
                        self.odd.push(odd);
                    }
                } else if self.changed.len() >= CHANGED_MAX {
                    self.nameless = true;
                } else if !self.changed.iter().any(|have| **have == *name) {
                    self.changed.push(name.into());
                }
                true
            }
            Changed::Schema(name) => {
                match std::str::from_utf8(name) {
                    Ok(name) => self.schema = Some(name.into()),
                    Err(_) => self.nameless = true,
                }
                true
            }
            Changed::Something => {
                self.something = true;
                true
            }
            Changed::Characteristics(_) | Changed::Transaction(_) | Changed::Written(_) => false,
        }
    }

    /// The list of what is told was changed, together with these variables and no others.
    pub(super) fn narrowed_with(&mut self, mut names: Vec<Box<str>>) {
        names.retain(|name| **name != *TRACKED);
        let cannot_be_asked = |name: &str| ODD.contains(&name) || IDLE.contains(&name);
        let may_be = !names.iter().any(|name| cannot_be_asked(name));
        let new: Vec<Box<str>> = names.into_iter().filter(|name| !self.changed.contains(name)).collect();
        if may_be && self.changed.len() + new.len() <= CHANGED_MAX {
            self.changed.extend(new);
            self.narrowed = true;
            // It is these that something was said of.
            (self.something, self.said) = (false, false);
        }
    }

    /// A row was given a number. Returns whether that was a number which had been set for it.
    pub(super) fn numbered(&mut self) -> bool {
        let before = self.odd.len();
        self.odd.retain(|odd| *odd != INSERT_ID);
        self.odd.len() < before
    }

    /// COM_SET_OPTION has been obeyed.
    pub(super) fn option_set(&mut self, multi_statements: bool) {
        self.multi_statements = Some(multi_statements);
    }

    /// The variables whose values must be asked for.
    pub(super) fn asked(&self) -> Vec<Box<str>> {
        let set = self.settings.iter().map(|(name, _)| name);
        let changed = self.changed.iter().map(AsRef::as_ref);
        let always = READING.into_iter().chain(LASTING).chain([isolation(self.is_mariadb), TRACKED]);
        let mut names: Vec<Box<str>> = always.chain(set).chain(changed).map(Into::into).collect();
        names.retain(|name| {
            ![COLLATION_ID, MULTI_STATEMENTS, SCHEMA, TOKEN].contains(&name.as_ref())
                && !named::is_variable(name)
        });
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Of these settings those by which a statement is bound when it is prepared.
    pub(super) fn birth(settings: &Settings, database: &str) -> Settings {
        let mut pairs: Vec<(Box<str>, Box<str>)> = Vec::with_capacity(READING.len() + 1);
        for name in READING {
            if let Some(value) = settings.value(name) {
                pairs.push((name.into(), value.into()));
            }
        }
        pairs.push((SCHEMA.into(), settings.value(SCHEMA).unwrap_or(database).into()));
        Settings::new(pairs)
    }
}

impl crate::tracker::Memory for MyMemory {
    type CancelKey = CancelKey;

    fn cancel_key(&self) -> &CancelKey {
        &self.key
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn set_settings(&mut self, settings: Settings) {
        // One that signed in without a schema and got one never is without again.
        if !self.database.is_empty() || self.schema.is_none() {
            self.schema = settings.value(SCHEMA).map(Into::into);
        }
        self.multi_statements = settings.value(MULTI_STATEMENTS).map(|value| value == "1");
        self.changed.clear();
        (self.something, self.said) = (false, false);
        self.settings = settings;
    }

    fn difference(&mut self, found: Inspection) -> Inspection {
        let mut held = found.held;
        self.listens = found.settings.value(TRACKED).is_some_and(|list| list != "'*");
        if std::mem::take(&mut self.narrowed) {
            // It was set back in the same breath.
            self.listens = false;
            self.odd.retain(|odd| *odd != TRACKED);
        }
        if self.listens {
            // Changes may go untold from now on.
            held = held.union(Held::UNKNOWN);
        }
        let carried = found.settings.iter().filter(|(name, _)| *name != TRACKED);
        let mut pairs: Vec<(Box<str>, Box<str>)> =
            carried.map(|(name, value)| (name.into(), value.into())).collect();
        let many = u8::from(self.multi_statements.unwrap_or(false)).to_string();
        pairs.push((MULTI_STATEMENTS.into(), many.into()));
        if let Some(token) = self.settings.value(TOKEN) {
            pairs.push((TOKEN.into(), token.into()));
        }
        match &self.schema {
            // There is no way back to no schema at all.
            Some(_) if self.database.is_empty() => held = held.union(Held::UNKNOWN),
            Some(schema) => pairs.push((SCHEMA.into(), schema.clone())),
            None => {}
        }
        if self.nameless || !self.odd.is_empty() {
            held = held.union(Held::UNKNOWN);
        }
        Inspection { settings: Settings::new(pairs), held, ..found }
    }

    fn deafen(&mut self, _: bool) {}

    fn is_deaf(&self) -> bool {
        false
    }

    fn ran_errand(&mut self) {
        self.last_by = (0, 0);
    }

    fn settings_reset(&mut self) {
        self.wiped();
    }

    fn discards_sequences_alone(&self) -> bool {
        !self.is_mariadb
    }

    fn wiped(&mut self) {
        self.settings = Settings::default();
        self.prepared.clear();
        (self.insert_id, self.last_by) = (0, (0, 0));
        self.chores.clear();
        self.changed.clear();
        (self.schema, self.multi_statements) = (None, None);
        (self.something, self.said, self.nameless) = (false, false, false);
        (self.untold, self.listens, self.narrowed) = (false, false, false);
        self.odd.clear();
    }

    fn reported(&self) -> &Reported {
        &self.reported
    }

    fn note_reported(&mut self, _: &[(String, String)]) {}

    fn place(&self) -> Option<&str> {
        Some(self.schema.as_deref().unwrap_or(&self.database))
    }

    fn take_doubt(&mut self) -> Held {
        // Where nobody knows what ran, the one change that was told by name may not have been the only one.
        let said = if std::mem::take(&mut self.said) { Held::UNKNOWN } else { Held::empty() };
        let something = if std::mem::take(&mut self.something) { Held::USER_VARIABLE } else { Held::empty() };
        said.union(something)
    }
}
