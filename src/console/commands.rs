//! What the console understands, and who may say it. Decides only.
//!
//! A command that is not in `table.rs`, which also says what right it needs, does not exist. Names and forms are PgBouncer's, as far as it has them.

use super::select::{self, Select};
use super::table::{Entry, TABLE, is_call};
use super::words::{Statement, Word, statements};
use protocol::Fault;
use protocol::answer::Column;
use protocol::fault::Cause;

/// What a user may do on the console.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Right {
    /// Look.
    Stats,
    /// Change something, too.
    Admin,
}

impl Right {
    /// Its name in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stats => "stats",
            Self::Admin => "admin",
        }
    }
}

/// What is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Show {
    ActiveSockets,
    Clients,
    Commands,
    Config,
    Databases,
    /// As PgBouncer 1.7 had them.
    DatabasesOfOld,
    Digests,
    DnsHosts,
    DnsZones,
    Fds,
    Generations,
    Help,
    Lag,
    Lists,
    Mem,
    PeerPools,
    Peers,
    Pins,
    Pools,
    ProtocolErrors,
    Replicas,
    Routes,
    Servers,
    Settings,
    Sockets,
    State,
    Stats,
    StatsAverages,
    /// As PgBouncer 1.7 had them.
    StatsOfOld,
    StatsTotals,
    Tables,
    Totals,
    Users,
    Version,
    Warnings,
}

impl Show {
    /// The same as tools expect it that were written for PgBouncer 1.7.
    pub(super) const fn of_old(self) -> Self {
        match self {
            Self::Databases => Self::DatabasesOfOld,
            Self::Stats => Self::StatsOfOld,
            other => other,
        }
    }
}

/// How the process is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// At once.
    Now,
    /// When every client has ended its transaction.
    WaitForServers,
    /// When every client has left by itself.
    WaitForClients,
}

/// A command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    Show(Show),
    /// What a driver asks when it connects, with the answer.
    Fake(&'static [Column], &'static str),
    /// `SELECT 1`
    One,
    /// A query to the tables that monitoring agents read, or to what drivers ask of a session.
    Select(Box<Select>),
    /// Another name for the console itself.
    Use(String),
    /// What concerns a session of a database, and none of the console: done without effect.
    Ignored(&'static str),
    Pause(Option<String>),
    Resume(Option<String>),
    Disable(String),
    Enable(String),
    Reconnect(Option<String>),
    WaitClose(Option<String>),
    Kill(String),
    KillClient(u32),
    Reload,
    Shutdown(Shutdown),
    Suspend,
    /// A key of the configuration gets another value until the process ends; `None` gives the
    /// file's back.
    Set(String, Option<String>),
    Assign(pool::Duty, String),
    /// Digests begin anew.
    ResetDigests,
}

impl Command {
    /// What it does and to whom, for the log. Values that are set are left out: one may be a secret.
    pub(super) fn name(&self) -> String {
        let of = |verb: &str, database: &Option<String>| match database {
            Some(name) => format!("{verb} {name:?}"),
            None => verb.to_owned(),
        };
        match self {
            Self::Show(show) => format!("SHOW {show:?}"),
            Self::Fake(..) | Self::One | Self::Select(_) => "SELECT".to_owned(),
            Self::Use(name) => format!("USE {name:?}"),
            Self::Ignored(tag) => (*tag).to_owned(),
            Self::Pause(database) => of("PAUSE", database),
            Self::Resume(database) => of("RESUME", database),
            Self::Disable(name) => format!("DISABLE {name:?}"),
            Self::Enable(name) => format!("ENABLE {name:?}"),
            Self::Reconnect(database) => of("RECONNECT", database),
            Self::WaitClose(database) => of("WAIT_CLOSE", database),
            Self::Kill(name) => format!("KILL {name:?}"),
            Self::KillClient(id) => format!("KILL_CLIENT {id}"),
            Self::Reload => "RELOAD".to_owned(),
            Self::Shutdown(how) => format!("SHUTDOWN {how:?}"),
            Self::Suspend => "SUSPEND".to_owned(),
            Self::ResetDigests => "RESET DIGESTS".to_owned(),
            Self::Set(key, Some(_)) => format!("SET {key:?}"),
            Self::Set(key, None) => format!("RESET {key:?}"),
            Self::Assign(duty, endpoint) => format!("{} {endpoint:?}", duty.name().to_uppercase()),
        }
    }
}

/// Settings of database sessions that drivers and tools set wherever they connect to.
const OF_SESSIONS: &[&str] = &[
    "application_name",
    "autocommit",
    "bytea_output",
    "character_set_results",
    "client_encoding",
    "client_min_messages",
    "datestyle",
    "default_transaction_isolation",
    "extra_float_digits",
    "idle_in_transaction_session_timeout",
    "intervalstyle",
    "lock_timeout",
    "names",
    "net_write_timeout",
    "search_path",
    "session",
    "sql_mode",
    "sql_safe_updates",
    "sql_select_limit",
    "standard_conforming_strings",
    "statement_timeout",
    "time",
    "timezone",
    "transaction",
];

/// Whether this sets or resets what only means something to a session of a database.
fn is_of_sessions(words: &[Word]) -> bool {
    let [verb, rest @ ..] = words else { return false };
    let rest = match rest {
        [word, rest @ ..] if word.is("LOCAL") || word.is("SESSION") && rest.len() > 1 => rest,
        rest => rest,
    };
    let Some(name) = rest.first() else { return false };
    let text = name.text();
    // MySQL writes its variables so, which no key of ours is.
    let known = text.starts_with('@') || OF_SESSIONS.iter().any(|known| text.eq_ignore_ascii_case(known));
    (verb.is("SET") || verb.is("RESET")) && known
        || verb.is("RESET") && name.is("ALL")
        || verb.is("SET") && name.is("CHARACTERISTICS")
}

/// Reads every statement of a text, with the right that it needs.
///
/// # Errors
/// What is wrong with the first one that is none.
pub(super) fn read(text: &str) -> Result<Vec<(Right, Command)>, Fault> {
    let statements = statements(text).ok_or_else(|| syntax("a quote or comment is not closed"))?;
    statements.iter().map(read_one).collect()
}

fn read_one(Statement { words, text }: &Statement<'_>) -> Result<(Right, Command), Fault> {
    let query = || Ok((Right::Stats, Command::Select(Box::new(select::read(text)?))));
    let is_query = words.first().is_some_and(|verb| verb.is("SELECT"));
    if is_query && words.iter().any(|word| word.is("FROM")) {
        return query();
    }
    if is_of_sessions(words) {
        let tag = if words.first().is_some_and(|verb| verb.is("SET")) { "SET" } else { "RESET" };
        return Ok((Right::Stats, Command::Ignored(tag)));
    }
    let mut said = words.to_vec();
    // As in PgBouncer, what can be shown can be selected.
    if let [verb, Word::Bare(what), rest @ ..] = said.as_mut_slice()
        && verb.is("SELECT")
        && what != "1"
        && !is_call(rest)
    {
        *verb = Word::Bare("SHOW".to_owned());
    }
    let names = |entry: &&Entry| {
        said.len() >= entry.words.len() && entry.words.iter().zip(&said).all(|(word, said)| said.is(word))
    };
    let Some(entry) = TABLE.iter().find(names) else {
        if is_query {
            return query();
        }
        return Err(syntax("unknown command; SHOW HELP lists all"));
    };
    let rest = said.get(entry.words.len()..).unwrap_or_default();
    match (entry.read)(rest) {
        Some(command) => Ok((entry.right, command)),
        None => Err(syntax(format!("bad arguments: {} {}", entry.words.join(" "), entry.form).trim_end())),
    }
}

fn syntax(message: impl Into<String>) -> Fault {
    Fault::error(Cause::Syntax, message.into())
}

/// Whether somebody with `has` may do what needs `needs`.
///
/// # Errors
/// The refusal.
pub(super) fn allow(has: Right, needs: Right) -> Result<(), Fault> {
    if has >= needs {
        return Ok(());
    }
    Err(Fault::error(Cause::NotPermitted, "admin access needed"))
}

/// What `SHOW HELP` says: a headline and the commands below it.
pub(super) fn help() -> String {
    let shows = TABLE.iter().filter(|entry| entry.words.first() == Some(&"SHOW"));
    let names: Vec<&str> = shows.filter_map(|entry| entry.words.get(1).copied()).collect();
    let shown: Vec<&str> = names.into_iter().filter(|name| name.chars().all(|c| !c.is_lowercase())).collect();
    let mut text = format!("Console usage\n\tSHOW {}", shown.join("|"));
    for entry in TABLE.iter().filter(|entry| entry.right == Right::Admin && entry.words.len() == 1) {
        text.push_str(format!("\n\t{} {}", entry.words.join(" "), entry.form).trim_end());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(text: &str) -> Result<(Right, Command), String> {
        let mut all = read(text).map_err(|fault| fault.message.into_owned())?;
        assert_eq!(all.len(), 1, "{text}");
        Ok(all.remove(0))
    }

    #[test]
    fn every_command_has_its_right_and_who_only_looks_can_change_nothing() {
        for entry in TABLE {
            let (right, command) =
                only(entry.example).unwrap_or_else(|error| panic!("{error}: {}", entry.example));
            assert_eq!(right, entry.right, "{}", entry.example);
            assert!(allow(Right::Admin, right).is_ok());
            let looks = matches!(
                command,
                Command::Show(_) | Command::Fake(..) | Command::One | Command::Ignored(_) | Command::Use(_)
            );
            let secret = command == Command::Show(Show::Fds);
            assert_eq!(allow(Right::Stats, right).is_ok(), looks && !secret, "{}", entry.example);
        }
    }

    #[test]
    fn forms() {
        let name = || Some("a b".to_owned());
        for (text, wanted) in [
            ("show pools;", Command::Show(Show::Pools)),
            ("SELECT pools", Command::Show(Show::Pools)),
            ("select 1;", Command::One),
            ("PAUSE", Command::Pause(None)),
            ("pause \"a b\"", Command::Pause(name())),
            ("SHUTDOWN wait_for_clients", Command::Shutdown(Shutdown::WaitForClients)),
            ("KILL_CLIENT 7", Command::KillClient(7)),
            ("SET general.max_clients = 5", Command::Set("general.max_clients".into(), Some("5".into()))),
            ("SET a.b TO 'x y'", Command::Set("a.b".into(), Some("x y".into()))),
            ("SET a.b = DEFAULT", Command::Set("a.b".into(), None)),
            ("SET a.b = 'DEFAULT'", Command::Set("a.b".into(), Some("DEFAULT".into()))),
            ("RESET a.b", Command::Set("a.b".into(), None)),
            ("SET datestyle TO 'ISO'", Command::Ignored("SET")),
            ("SET extra_float_digits = 3", Command::Ignored("SET")),
            ("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", Command::Ignored("SET")),
            ("SET SESSION timezone = 'UTC'", Command::Ignored("SET")),
            ("SET TIME ZONE 'UTC'", Command::Ignored("SET")),
            ("SET NAMES utf8mb4 COLLATE utf8mb4_bin", Command::Ignored("SET")),
            ("SET AUTOCOMMIT = 0", Command::Ignored("SET")),
            ("SET @@session.autocommit = OFF", Command::Ignored("SET")),
            ("SHOW TABLES FROM `stats`", Command::Show(Show::Tables)),
            ("USE `main`", Command::Use("main".into())),
            ("RESET ALL", Command::Ignored("RESET")),
            ("DISCARD ALL", Command::Ignored("DISCARD")),
        ] {
            assert_eq!(only(text).map(|(_, command)| command), Ok(wanted), "{text}");
        }
        for wrong in [
            "FROBNICATE",
            "SHOW",
            "SHOW NOTHING",
            "SHOW POOLS NOW",
            "PAUSE a b",
            "PAUSE =",
            "KILL",
            "KILL_CLIENT x",
            "KILL_CLIENT -1",
            "SHUTDOWN LATER",
            "SET a.b",
            "SET a.b =",
            "SET a.b = 1, 2",
            "SELECT 2",
            "DISABLE",
            "DRAIN",
            "SELECT now()",
            "SELECT * FROM nothing",
            "SHOW TABLES FROM",
            "SHOW 'POOLS'",
            "INSERT INTO t VALUES (1)",
            "PAUSE 'x",
        ] {
            assert!(only(wrong).is_err(), "{wrong}");
        }
        assert!(matches!(only("SHOW DateStyle"), Ok((Right::Stats, Command::Fake(_, "ISO")))));
        assert_eq!(read("").map(|all| all.len()), Ok(0));
        assert_eq!(read("SHOW POOLS; SHOW STATS").map(|all| all.len()), Ok(2));
        assert!(
            help().contains("\tPAUSE [db]\n") && help().contains("|POOLS|") && !help().contains("datestyle")
        );
    }
}
