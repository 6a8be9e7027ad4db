//! What a statement may leave behind in the session that ran it.
//!
//! A set of a few bits, `Copy`, without names of objects: whoever keeps a backend for its session asks the
//! database what is really there. An effect is named when it *may* happen; nothing here proves that it did.

/// A set of effects on the session.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Effects(u32);

impl Effects {
    /// Settings, role or user of the session may have changed: ask the backend for their values.
    pub const SETTINGS: Self = Self(1);
    /// A temporary table (or another object of `pg_temp`) may exist.
    pub const TEMP_TABLE: Self = Self(1 << 1);
    /// A session-level advisory lock may be held.
    pub const ADVISORY_LOCK: Self = Self(1 << 2);
    /// The session may listen on a channel.
    pub const LISTEN: Self = Self(1 << 3);
    /// The set of SQL-level prepared statements may have changed (`PREPARE`, `DEALLOCATE`).
    pub const SQL_PREPARE: Self = Self(1 << 4);
    /// A cursor declared `WITH HOLD` may be open.
    pub const HOLD_CURSOR: Self = Self(1 << 5);
    /// Anything, also what no question to the backend shows: functions nobody knows, text nobody could read.
    pub const UNKNOWN: Self = Self(1 << 6);
    /// An object was created, altered or dropped: what is known of the catalog may be out of date.
    pub const DDL: Self = Self(1 << 7);
    /// State may be gone (`DISCARD`, `UNLISTEN`, `DEALLOCATE`, `CLOSE`, `DROP`, an unlock): look again.
    pub const DISCARD: Self = Self(1 << 8);

    /// Something that a question to the backend shows, as far as is known from the sources of functions.
    pub const STATE: Self = Self(1 << 9);
    /// A setting under a name that nobody can know, so that it cannot be asked for.
    pub const HIDDEN_SETTING: Self = Self(1 << 10);
    /// A library is loaded, for as long as the backend lives.
    pub const LIBRARY: Self = Self(1 << 11);
    /// The random numbers of the session follow a seed.
    pub const SEED: Self = Self(1 << 12);
    /// Extensions or languages keep something in the session, such as connections or variables.
    pub const EXTENSION_STATE: Self = Self(1 << 13);
    /// A sequence was used: `currval` and `lastval` may be asked for it.
    pub const SEQUENCE: Self = Self(1 << 14);
    /// `currval` or `lastval` is asked.
    pub const SEQUENCE_ASKED: Self = Self(1 << 15);
    /// A user variable may have been assigned (MySQL).
    pub const USER_VARIABLES: Self = Self(1 << 16);
    /// Tables, or the whole server, may be locked for the session (MySQL).
    pub const TABLE_LOCK: Self = Self(1 << 17);
    /// A table may be open for `HANDLER` (MySQL).
    pub const HANDLER: Self = Self(1 << 18);
    /// The next transaction alone has characteristics of its own (MySQL).
    pub const NEXT_TRANSACTION: Self = Self(1 << 19);
    /// The next statement may ask for the number of rows that `LIMIT` hid (MySQL).
    pub const FOUND_ROWS: Self = Self(1 << 20);
    /// A branch of a distributed transaction may be open (MySQL).
    pub const XA: Self = Self(1 << 21);
    /// `LAST_INSERT_ID(value)` was set by hand (MySQL).
    pub const LAST_INSERT_ID: Self = Self(1 << 22);

    /// Nothing is left: it asks for the session's fence, or gives one.
    pub const TOKEN: Self = Self(1 << 23);

    /// Nothing is left that is not told by another effect: a function takes an advisory lock, of the session or of
    /// the transaction; or a query locks rows (MySQL).
    pub const LOCKS: Self = Self(1 << 24);

    const NAMES: [(Self, &'static str); 25] = [
        (Self::SETTINGS, "settings"),
        (Self::TEMP_TABLE, "temp_table"),
        (Self::ADVISORY_LOCK, "advisory_lock"),
        (Self::LISTEN, "listen"),
        (Self::SQL_PREPARE, "sql_prepare"),
        (Self::HOLD_CURSOR, "hold_cursor"),
        (Self::UNKNOWN, "unknown"),
        (Self::DDL, "ddl"),
        (Self::DISCARD, "discard"),
        (Self::STATE, "state"),
        (Self::HIDDEN_SETTING, "hidden_setting"),
        (Self::LIBRARY, "library"),
        (Self::SEED, "seed"),
        (Self::EXTENSION_STATE, "extension_state"),
        (Self::SEQUENCE, "sequence"),
        (Self::SEQUENCE_ASKED, "sequence_asked"),
        (Self::USER_VARIABLES, "user_variables"),
        (Self::TABLE_LOCK, "table_lock"),
        (Self::HANDLER, "handler"),
        (Self::NEXT_TRANSACTION, "next_transaction"),
        (Self::FOUND_ROWS, "found_rows"),
        (Self::XA, "xa"),
        (Self::LAST_INSERT_ID, "last_insert_id"),
        (Self::TOKEN, "token"),
        (Self::LOCKS, "locks"),
    ];

    /// No effect.
    pub const fn empty() -> Self {
        Self(0)
    }

    /// Whether nothing is left behind.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether every effect of `other` is in this set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any effect of `other` is in this set.
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// The effects of either set.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The effects of this set that are not in `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Each effect in the set, with its name in snake case.
    pub fn iter(self) -> impl Iterator<Item = (Self, &'static str)> {
        Self::NAMES.into_iter().filter(move |(effect, _)| self.contains(*effect))
    }
}

impl std::ops::BitOr for Effects {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.union(other)
    }
}

impl std::ops::BitOrAssign for Effects {
    fn bitor_assign(&mut self, other: Self) {
        *self = self.union(other);
    }
}

impl std::fmt::Debug for Effects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.iter().map(|(_, name)| name)).finish()
    }
}
