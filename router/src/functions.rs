//! Judges built-in functions by name: which may run on a replica, and what the others leave behind.
//!
//! The tables in `builtins` say read or not; here stands what matters to the session. A name on neither list
//! is unlisted, which never means harmless. Nothing allocates.

use crate::builtins;
use crate::table::{NameHash, Names};
use crate::{Effects, Reason};

static READ_ONLY: Names<4096> = Names::new(&builtins::READ_ONLY);
static PRIMARY_ONLY: Names<1024> = Names::new(&builtins::PRIMARY_ONLY);
static OPERATORS: Names<256> = Names::new(&builtins::OPERATORS);

/// What calling a built-in function means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Builtin {
    /// May run on a replica.
    ReadOnly,
    /// Belongs on the primary.
    Primary(Reason, Effects),
    /// `set_config`, whose effect depends on its arguments.
    SetConfig,
    /// Not a built-in function that is known here.
    Unlisted,
}

/// Judges a folded name.
pub(crate) fn builtin(name: &[u8]) -> Builtin {
    let hash = NameHash::of(name);
    if READ_ONLY.contains(hash, name) {
        return Builtin::ReadOnly;
    }
    if name == b"set_config" {
        return Builtin::SetConfig;
    }
    if let Some(effects) = advisory(name) {
        return Builtin::Primary(Reason::AdvisoryLock, effects);
    }
    if name == b"pg_listening_channels" {
        return Builtin::Primary(Reason::ServerState, Effects::LISTEN);
    }
    if let Some(effects) = keeps(name) {
        return Builtin::Primary(Reason::SideEffect, effects);
    }
    if runs_text(name) {
        return Builtin::Primary(Reason::SideEffect, Effects::UNKNOWN);
    }
    if PRIMARY_ONLY.contains(hash, name) || name.starts_with(b"lo_") {
        let server = asks_server(name);
        return Builtin::Primary(
            if server { Reason::ServerState } else { Reason::SideEffect },
            Effects::empty(),
        );
    }
    Builtin::Unlisted
}

/// Whether the name is a built-in function's, known here.
pub(crate) fn is_listed(name: &[u8]) -> bool {
    builtin(name) != Builtin::Unlisted
}

/// Whether the symbol is a built-in operator's.
pub(crate) fn is_builtin_operator(symbol: &[u8]) -> bool {
    OPERATORS.contains(NameHash::of(symbol), symbol) || symbol == b"!=" || symbol == b"=>"
}

/// Locks by key. Those of the transaction leave nothing; an unlock may have ended the last reason for a pin.
fn advisory(name: &[u8]) -> Option<Effects> {
    if let Some(rest) = name.strip_prefix(b"pg_advisory_") {
        return match rest {
            b"lock" | b"lock_shared" => Some(Effects::ADVISORY_LOCK),
            b"xact_lock" | b"xact_lock_shared" => Some(Effects::empty()),
            _ => Some(Effects::DISCARD),
        };
    }
    match name.strip_prefix(b"pg_try_advisory_")? {
        b"xact_lock" | b"xact_lock_shared" => Some(Effects::empty()),
        _ => Some(Effects::ADVISORY_LOCK),
    }
}

/// Functions that keep or ask for something in the session that nothing shows.
fn keeps(name: &[u8]) -> Option<Effects> {
    match name {
        b"nextval" | b"setval" => Some(Effects::SEQUENCE),
        b"currval" | b"lastval" => Some(Effects::SEQUENCE_ASKED),
        b"setseed" => Some(Effects::SEED),
        b"pg_replication_origin_session_setup" => Some(Effects::EXTENSION_STATE),
        _ => name.starts_with(b"dblink").then_some(Effects::EXTENSION_STATE.union(Effects::UNKNOWN)),
    }
}

/// Functions that run SQL handed to them as text.
fn runs_text(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 7] = [
        b"query_to_xml",
        b"query_to_xml_and_xmlschema",
        b"query_to_xmlschema",
        b"cursor_to_xml",
        b"cursor_to_xmlschema",
        b"ts_stat",
        b"ts_rewrite",
    ];
    NAMES.contains(&name)
}

/// Functions whose answer depends on which server is asked.
fn asks_server(name: &[u8]) -> bool {
    const PREFIXES: [&[u8]; 8] = [
        b"pg_is_",
        b"pg_current_wal_",
        b"pg_last_",
        b"pg_control_",
        b"pg_get_",
        b"pg_stat_get_",
        b"pg_listening_",
        b"pg_blocking_",
    ];
    PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}
