//! What keeps a session on its backend although the backend cannot be asked about it.
//!
//! Decides only. What can be asked (locks, temporary tables, channels, cursors) is asked in
//! `settle.rs`; here stands what must be remembered: names to ask for, what nothing shows, and
//! whether anybody can say what the backend was left with.

use super::kept::Kept;
use protocol::{Held, Settings};
use router::Effects;

/// Names of settings that a session may have spelled in its statements. More count as hidden.
const SPELLED_MAX: usize = 256;

/// Names that a text may contribute without being understood.
pub(super) const HEARD_MAX: usize = 64;

/// See the file's head.
#[derive(Debug, Default)]
pub(super) struct Hold {
    /// Settings that statements have set by name.
    spelled: Vec<Box<str>>,
    /// What looked like a setting's name since the backend was last asked.
    heard: Vec<Box<str>>,
    /// What nothing shows.
    pub(super) kept: Held,
    /// What shows to who asks for it by its name.
    pub(super) named: Kept,
    /// The last request was answered with an error.
    pub(super) failed: bool,
    /// The schema is being changed: the transaction's end shows that to others.
    pub(super) schema_changes: bool,
    /// Perhaps what functions do.
    pub(super) redefines: bool,
    /// Nobody can say what the backend was left with: it is reset before another gets it.
    pub(super) must_reset: bool,
}

/// Whether the backend must be asked what is left of these.
pub(super) const fn is_asked(effects: Effects) -> bool {
    // What the last result was shows only as long as nothing else is asked.
    let last = Effects::FOUND_ROWS.union(Effects::LAST_INSERT_ID);
    let silent = Effects::DDL
        .union(Effects::SEQUENCE)
        .union(Effects::SEQUENCE_ASKED)
        .union(Effects::TOKEN)
        .union(Effects::LOCKS)
        .union(last);
    !effects.without(silent).is_empty()
}

/// Whether names of settings in the request's bytes matter.
pub(super) const fn hears(effects: Effects) -> bool {
    effects.intersects(
        Effects::SETTINGS.union(Effects::UNKNOWN).union(Effects::STATE).union(Effects::HIDDEN_SETTING),
    )
}

/// What a statement with these effects would bind its session by, if it does what it says.
pub(super) fn would_hold(effects: Effects) -> Held {
    let pairs = [
        (Effects::TEMP_TABLE, Held::TEMP_TABLE),
        (Effects::ADVISORY_LOCK, Held::SESSION_LOCK),
        (Effects::LISTEN, Held::LISTEN),
        (Effects::HOLD_CURSOR, Held::HOLD_CURSOR),
        (Effects::SEQUENCE_ASKED, Held::SEQUENCE),
        (Effects::TABLE_LOCK, Held::SESSION_LOCK),
        (Effects::HANDLER, Held::HOLD_CURSOR),
        (Effects::USER_VARIABLES, Held::USER_VARIABLE),
        (Effects::NEXT_TRANSACTION, Held::NEXT_TRANSACTION),
        (Effects::FOUND_ROWS, Held::LAST_RESULT),
        (Effects::LAST_INSERT_ID, Held::LAST_RESULT),
    ];
    let of = |sum: Held, (effect, held): (Effects, Held)| {
        if effects.contains(effect) { sum.union(held) } else { sum }
    };
    let prepares = effects.contains(Effects::SQL_PREPARE) && !effects.contains(Effects::DISCARD);
    let prepared = if prepares { Held::SQL_PREPARE } else { Held::empty() };
    pairs.into_iter().fold(kept(effects).union(prepared), of)
}

/// What these bind a session by although nothing shows it.
fn kept(effects: Effects) -> Held {
    let pairs = [
        (Effects::HIDDEN_SETTING, Held::HIDDEN_SETTING),
        (Effects::LIBRARY, Held::LIBRARY),
        (Effects::SEED, Held::SEED),
        (Effects::EXTENSION_STATE, Held::EXTENSION_STATE),
    ];
    let of = |sum: Held, (effect, held): (Effects, Held)| {
        if effects.contains(effect) { sum.union(held) } else { sum }
    };
    pairs.into_iter().fold(Held::empty(), of)
}

impl Hold {
    /// A statement with these effects was run.
    pub(super) fn note(&mut self, effects: Effects) {
        self.kept = self.kept.union(kept(effects));
        self.must_reset |= effects.contains(Effects::UNKNOWN);
    }

    /// A sequence was used, and somebody may ask what it told.
    pub(super) fn note_sequence(&mut self) {
        self.kept = self.kept.union(Held::SEQUENCE);
    }

    /// A statement sets this setting.
    pub(super) fn spell(&mut self, name: String) {
        if self.spelled.iter().any(|have| **have == *name) {
            return;
        }
        if self.spelled.len() < SPELLED_MAX {
            self.spelled.push(name.into_boxed_str());
        } else {
            self.kept = self.kept.union(Held::HIDDEN_SETTING);
        }
    }

    /// A statement holds what may be a setting's name.
    pub(super) fn hear(&mut self, name: String) {
        if self.heard.iter().any(|have| **have == *name) {
            return;
        }
        if self.heard.len() < SPELLED_MAX {
            self.heard.push(name.into_boxed_str());
        } else {
            self.kept = self.kept.union(Held::HIDDEN_SETTING);
        }
    }

    /// The settings to ask for by name: those of the session and of its backend, and whatever
    /// the database's functions may have set.
    pub(super) fn names(&self, own: &Settings, backend: &Settings, functions: &[Box<str>]) -> Vec<Box<str>> {
        let dotted = |settings: &Settings| -> Vec<Box<str>> {
            settings.iter().map(|(name, _)| name).filter(|name| name.contains('.')).map(Into::into).collect()
        };
        let mut names: Vec<Box<str>> =
            self.spelled.iter().chain(&self.heard).chain(functions).cloned().collect();
        names.extend(dotted(own));
        names.extend(dotted(backend));
        names.sort_unstable();
        names.dedup();
        names
    }

    /// What was found, without names that are empty only because PostgreSQL has once seen them.
    /// A value of the sign-in that is gone was reset, and comes back.
    pub(super) fn found(&mut self, settings: Settings, own: &Settings, startup: &Settings) -> Settings {
        self.heard.clear();
        let is_ghost = |name: &str, value: &str| {
            value.is_empty()
                && name.contains('.')
                && match startup.value(name) {
                    Some(value) => !value.is_empty(),
                    None => {
                        own.value(name).is_none() && !self.spelled.iter().any(|spelled| **spelled == *name)
                    }
                }
        };
        if !settings.iter().any(|(name, value)| is_ghost(name, value)) {
            return settings;
        }
        let real = settings.iter().filter(|(name, value)| !is_ghost(name, value));
        Settings::new(real.map(|(name, value)| (name.into(), value.into())).collect())
    }

    /// The client returned its session to a fresh state itself.
    pub(super) fn discarded(&mut self) {
        self.kept = self.kept.without(Held::HIDDEN_SETTING.union(Held::SEQUENCE));
        self.must_reset = false;
    }

    /// The backend is gone, and all that it held.
    pub(super) fn lost(&mut self) {
        self.kept = Held::empty();
        self.named = Kept::default();
        self.must_reset = false;
    }

    /// Whether the backend can be returned to a fresh state once the session has left, which may also have
    /// run something with these effects.
    pub(super) fn may_be_reused(&self, effects: Effects) -> bool {
        !self.kept.union(kept(effects)).intersects(Held::LASTING)
    }
}
