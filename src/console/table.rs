//! The one table of all commands, with the right that each needs. Decides only.

use super::commands::{Command, Right, Show, Shutdown};
use super::words::Word;
use protocol::answer::{Column, Kind};

/// A line of the table.
pub(super) struct Entry {
    /// Its words.
    pub(super) words: &'static [&'static str],
    /// Who may say it.
    pub(super) right: Right,
    /// The form of what follows the words, for people.
    pub(super) form: &'static str,
    /// An example, for people and tests.
    pub(super) example: &'static str,
    pub(super) read: fn(&[Word]) -> Option<Command>,
}

macro_rules! show {
    ($word:literal, $show:ident) => {
        show!($word, $show, Stats)
    };
    ($word:literal, $show:ident, $right:ident) => {
        Entry {
            words: &["SHOW", $word],
            right: Right::$right,
            form: "",
            example: concat!("SHOW ", $word),
            read: |rest| rest.is_empty().then_some(Command::Show(Show::$show)),
        }
    };
}

macro_rules! fake {
    ($name:literal, $value:literal) => {
        Entry {
            words: &["SHOW", $name],
            right: Right::Stats,
            form: "",
            example: concat!("SHOW ", $name),
            read: |rest| {
                const COLUMNS: &[Column] = &[Column::of($name, Kind::Text)];
                rest.is_empty().then_some(Command::Fake(COLUMNS, $value))
            },
        }
    };
}

macro_rules! ignored {
    ($word:literal) => {
        Entry {
            words: &[$word],
            right: Right::Stats,
            form: "",
            example: $word,
            read: |_| Some(Command::Ignored($word)),
        }
    };
}

macro_rules! control {
    ($word:literal, $form:literal, $example:literal, $read:expr) => {
        Entry { words: &[$word], right: Right::Admin, form: $form, example: $example, read: $read }
    };
}

/// Every command.
pub(super) const TABLE: &[Entry] = &[
    show!("ACTIVE_SOCKETS", ActiveSockets),
    show!("CLIENTS", Clients),
    show!("COMMANDS", Commands),
    show!("CONFIG", Config),
    show!("DATABASES", Databases),
    show!("DIGESTS", Digests),
    show!("DNS_HOSTS", DnsHosts),
    show!("DNS_ZONES", DnsZones),
    show!("FDS", Fds, Admin),
    show!("GENERATIONS", Generations),
    show!("HELP", Help),
    show!("LAG", Lag),
    show!("LISTS", Lists),
    show!("MEM", Mem),
    show!("PEER_POOLS", PeerPools),
    show!("PEERS", Peers),
    show!("PINS", Pins),
    show!("POOLS", Pools),
    show!("PROTOCOL_ERRORS", ProtocolErrors),
    show!("REPLICAS", Replicas),
    show!("ROUTES", Routes),
    show!("SERVERS", Servers),
    show!("SETTINGS", Settings),
    show!("SOCKETS", Sockets),
    show!("STATE", State),
    show!("STATS", Stats),
    show!("STATS_AVERAGES", StatsAverages),
    show!("STATS_TOTALS", StatsTotals),
    Entry {
        words: &["SHOW", "TABLES"],
        right: Right::Stats,
        form: "[FROM schema]",
        example: "SHOW TABLES",
        read: |rest| match rest {
            [] => Some(Command::Show(Show::Tables)),
            [from, Word::Bare(_) | Word::Quoted(_)] if from.is("FROM") || from.is("IN") => {
                Some(Command::Show(Show::Tables))
            }
            _ => None,
        },
    },
    show!("TOTALS", Totals),
    show!("USERS", Users),
    show!("VERSION", Version),
    show!("WARNINGS", Warnings),
    fake!("client_encoding", "UTF8"),
    fake!("datestyle", "ISO"),
    fake!("default_transaction_isolation", "read committed"),
    fake!("server_version", "1.24.1/splitpool"),
    fake!("standard_conforming_strings", "on"),
    fake!("timezone", "GMT"),
    fake!("transaction_isolation", "read committed"),
    Entry {
        words: &["SELECT", "1"],
        right: Right::Stats,
        form: "",
        example: "SELECT 1",
        read: |rest| rest.is_empty().then_some(Command::One),
    },
    Entry {
        words: &["SELECT", "pg_advisory_unlock_all"],
        right: Right::Stats,
        form: "()",
        example: "SELECT pg_advisory_unlock_all()",
        read: |rest| is_call(rest).then_some(Command::Ignored("SELECT 0")),
    },
    Entry {
        words: &["SELECT", "version"],
        right: Right::Stats,
        form: "()",
        example: "SELECT version()",
        read: |rest| is_call(rest).then_some(Command::Show(Show::Version)),
    },
    ignored!("BEGIN"),
    ignored!("CLOSE"),
    ignored!("COMMIT"),
    ignored!("DEALLOCATE"),
    ignored!("DISCARD"),
    ignored!("END"),
    ignored!("ROLLBACK"),
    ignored!("START"),
    ignored!("UNLISTEN"),
    Entry {
        words: &["USE"],
        right: Right::Stats,
        form: "name",
        example: "USE splitpool",
        read: |rest| one(rest).map(Command::Use),
    },
    control!("DISABLE", "db", "DISABLE no_such_db", |rest| one(rest).map(Command::Disable)),
    control!("DRAIN", "[cluster/]host:port", "DRAIN 127.0.0.1:1", |rest| assign(rest, pool::Duty::Drain)),
    control!("ENABLE", "db", "ENABLE no_such_db", |rest| one(rest).map(Command::Enable)),
    control!("KILL", "db", "KILL no_such_db", |rest| one(rest).map(Command::Kill)),
    control!("KILL_CLIENT", "id", "KILL_CLIENT 4000000000", |rest| {
        one(rest)?.parse().ok().map(Command::KillClient)
    }),
    control!("MAINTENANCE", "[cluster/]host:port", "MAINTENANCE 127.0.0.1:1", |rest| {
        assign(rest, pool::Duty::Maintenance)
    }),
    control!("PAUSE", "[db]", "PAUSE no_such_db", |rest| maybe(rest).map(Command::Pause)),
    control!("READY", "[cluster/]host:port", "READY 127.0.0.1:1", |rest| assign(rest, pool::Duty::Ready)),
    control!("RECONNECT", "[db]", "RECONNECT no_such_db", |rest| maybe(rest).map(Command::Reconnect)),
    control!("RELOAD", "", "RELOAD", |rest| rest.is_empty().then_some(Command::Reload)),
    control!("RESUME", "[db]", "RESUME no_such_db", |rest| maybe(rest).map(Command::Resume)),
    control!("SHUTDOWN", "[WAIT_FOR_SERVERS|WAIT_FOR_CLIENTS]", "SHUTDOWN", shutdown),
    control!("SUSPEND", "", "SUSPEND", |rest| rest.is_empty().then_some(Command::Suspend)),
    control!("WAIT_CLOSE", "[db]", "WAIT_CLOSE no_such_db", |rest| maybe(rest).map(Command::WaitClose)),
    control!("SET", "key = value | key = DEFAULT", "SET no.such_key = '1'", set),
    Entry {
        words: &["RESET", "DIGESTS"],
        right: Right::Admin,
        form: "",
        example: "RESET DIGESTS",
        read: |rest| rest.is_empty().then_some(Command::ResetDigests),
    },
    control!("RESET", "key", "RESET no.such_key", |rest| {
        let [Word::Bare(key) | Word::Quoted(key)] = rest else { return None };
        Some(Command::Set(key.clone(), None))
    }),
];

/// Whether a function is called without arguments.
pub(super) fn is_call(rest: &[Word]) -> bool {
    *rest == [Word::Sign('('), Word::Sign(')')]
}

fn one(rest: &[Word]) -> Option<String> {
    match rest {
        [Word::Bare(name) | Word::Quoted(name)] => Some(name.clone()),
        _ => None,
    }
}

fn maybe(rest: &[Word]) -> Option<Option<String>> {
    if rest.is_empty() { Some(None) } else { one(rest).map(Some) }
}

fn assign(rest: &[Word], duty: pool::Duty) -> Option<Command> {
    one(rest).map(|endpoint| Command::Assign(duty, endpoint))
}

fn shutdown(rest: &[Word]) -> Option<Command> {
    let mode = match rest {
        [] => Shutdown::Now,
        [word] if word.is("WAIT_FOR_SERVERS") => Shutdown::WaitForServers,
        [word] if word.is("WAIT_FOR_CLIENTS") => Shutdown::WaitForClients,
        _ => return None,
    };
    Some(Command::Shutdown(mode))
}

fn set(rest: &[Word]) -> Option<Command> {
    let [Word::Bare(key) | Word::Quoted(key), sign, value @ ..] = rest else { return None };
    if *sign != Word::Sign('=') && !sign.is("TO") {
        return None;
    }
    match value {
        [word] if word.is("DEFAULT") => Some(Command::Set(key.clone(), None)),
        [word @ (Word::Bare(_) | Word::Quoted(_))] => Some(Command::Set(key.clone(), Some(word.text()))),
        _ => None,
    }
}
