//! What a backend holds for one session and cannot be carried to another backend.
//!
//! While any of these is set the session keeps its backend: it is *pinned*.

/// A set of reasons to keep a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Held(u16);

impl Held {
    /// Temporary tables, or anything else in a temporary schema.
    pub const TEMP_TABLE: Self = Self(1);
    /// A lock that lives as long as the session.
    pub const SESSION_LOCK: Self = Self(1 << 1);
    /// A subscription to notifications.
    pub const LISTEN: Self = Self(1 << 2);
    /// A statement prepared by an SQL command.
    pub const SQL_PREPARE: Self = Self(1 << 3);
    /// A cursor that outlives its transaction.
    pub const HOLD_CURSOR: Self = Self(1 << 4);
    /// Something ran whose effect on the session could not be established.
    pub const UNKNOWN: Self = Self(1 << 5);
    /// The pool mode keeps one backend for the whole session.
    pub const SESSION_MODE: Self = Self(1 << 6);

    /// User variables.
    pub const USER_VARIABLE: Self = Self(1 << 7);
    /// A wish for the next transaction only.
    pub const NEXT_TRANSACTION: Self = Self(1 << 8);

    /// A setting that cannot be asked for, because nobody knows its name.
    pub const HIDDEN_SETTING: Self = Self(1 << 9);
    /// A library was loaded into the backend.
    pub const LIBRARY: Self = Self(1 << 10);
    /// The session's random numbers follow a seed.
    pub const SEED: Self = Self(1 << 11);
    /// Something that extensions or languages keep, such as connections or variables.
    pub const EXTENSION_STATE: Self = Self(1 << 12);
    /// What `currval` and `lastval` tell.
    pub const SEQUENCE: Self = Self(1 << 13);

    /// What the last statement's result was, for the next statement to ask about.
    pub const LAST_RESULT: Self = Self(1 << 14);

    /// What no question shows and no command undoes: the backend is closed after it.
    pub const LASTING: Self = Self::LIBRARY.union(Self::SEED).union(Self::EXTENSION_STATE);

    /// Every member with its name in metrics and logs.
    pub const ALL: [(Self, &'static str); 15] = [
        (Self::TEMP_TABLE, "temp_table"),
        (Self::SESSION_LOCK, "session_lock"),
        (Self::LISTEN, "listen"),
        (Self::SQL_PREPARE, "sql_prepare"),
        (Self::HOLD_CURSOR, "hold_cursor"),
        (Self::UNKNOWN, "unknown_effect"),
        (Self::SESSION_MODE, "session_mode"),
        (Self::USER_VARIABLE, "user_variable"),
        (Self::NEXT_TRANSACTION, "next_transaction"),
        (Self::HIDDEN_SETTING, "hidden_setting"),
        (Self::LIBRARY, "library"),
        (Self::SEED, "random_seed"),
        (Self::EXTENSION_STATE, "extension_state"),
        (Self::SEQUENCE, "sequence"),
        (Self::LAST_RESULT, "last_result"),
    ];

    /// Nothing is held.
    pub const fn empty() -> Self {
        Self(0)
    }

    /// Whether nothing is held.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether all of `other` is held.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets together.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What of this set is in `other` as well.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether anything of `other` is held.
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// What is in this set and not in `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The set as a number, for an atomic.
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// The set that `bits` gave.
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits)
    }

    /// The names of what is held, for an operator.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::ALL.into_iter().filter(move |(held, _)| self.contains(*held)).map(|(_, name)| name)
    }
}
