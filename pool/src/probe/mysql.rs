//! Asks a MySQL or MariaDB endpoint for its role and for the transactions that it has.
//!
//! Any user may ask for the position. Whether an endpoint replicates is told by its replication
//! status, for which MySQL wants REPLICATION CLIENT and MariaDB SLAVE MONITOR (or the same);
//! without the right, `read_only` alone decides. A user's tables and functions have no part in
//! any answer. Its own word about its lag is passed on to be shown.

use crate::board::Sample;
use crate::dial::Route;
use crate::gtid::Gtids;
use crate::ledger::Place;
use crate::net::{Address, TlsMode};
use crate::settings::ProbeUser;
use crate::topology::Seen;
use mysql_async::prelude::Queryable;
use mysql_async::{ClientIdentity, Conn, DriverError, Error, OptsBuilder, Row, SslOpts};
use protocol::Gtid;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

const MAKE: &str = "SELECT VERSION()";

/// Several threads commit in order within a domain only.
const MARIADB: &str = "SELECT @@global.read_only, @@global.log_bin, @@global.slave_parallel_threads < 1, \
 CONVERT(@@global.gtid_slave_pos USING utf8), CONVERT(@@global.gtid_binlog_pos USING utf8)";

/// `super_read_only` is never on without `read_only`.
const MYSQL: &str = "SELECT @@global.read_only, @@global.gtid_mode LIKE 'ON%', ";

/// Whether a replica commits in the order of its source, as the versions spell it: the names changed in 8.0.26.
const IN_ORDER: [&str; 2] = [
    "@@global.replica_preserve_commit_order OR @@global.replica_parallel_workers < 2",
    "@@global.slave_preserve_commit_order OR @@global.slave_parallel_workers < 2",
];

/// How often the status of replication is asked for at most, unless it decides about the role.
const STATUS_EVERY: Duration = Duration::from_secs(1);

/// An answer may be this long: a set of transactions with many gaps.
const ANSWER_MAX: usize = 16 << 20;

/// The numbers of errors that say that a right is missing.
const DENIED: [u16; 3] = [1044, 1142, 1227];

/// Connects and signs in.
pub(crate) async fn connect(address: &Address, route: &Route, user: &ProbeUser) -> io::Result<Conn> {
    let tls = ssl_options(route);
    match Box::pin(Conn::new(options(address, route, user, tls.clone()))).await {
        // It offers no TLS, and nobody insists.
        Err(Error::Driver(DriverError::NoClientSslFlagFromServer)) if route.tls.mode == TlsMode::Prefer => {
            Box::pin(Conn::new(options(address, route, user, None))).await.map_err(into_io)
        }
        other => other.map_err(into_io),
    }
}

fn options(address: &Address, route: &Route, user: &ProbeUser, tls: Option<SslOpts>) -> OptsBuilder {
    let password = user.password.as_ref().map(|password| password.expose().to_owned());
    let options = OptsBuilder::default()
        .user(Some(&user.user))
        .pass(password)
        .db_name((!user.database.is_empty()).then_some(&user.database))
        .prefer_socket(false)
        .tcp_keepalive((!route.keepalive.idle.is_zero()).then_some(route.keepalive.idle))
        .stmt_cache_size(0)
        // Told here, so that the library does not ask.
        .max_allowed_packet(Some(ANSWER_MAX))
        .wait_timeout(Some(28_800))
        .ssl_opts(tls);
    match address {
        Address::Tcp { host, port } => options.ip_or_hostname(host).tcp_port(*port),
        Address::Unix(path) => options.socket(path.to_str()),
    }
}

/// What the route asks of TLS, in the library's words. It checks a chain only together with the name (0.37 looks for
/// a word in an error that rustls no longer writes), so `VerifyCa` is as strict as `VerifyFull` here: it fails closed.
fn ssl_options(route: &Route) -> Option<SslOpts> {
    let options = match route.tls.mode {
        TlsMode::Off => return None,
        _ if route.tls.authorities().is_empty() => SslOpts::default().with_danger_accept_invalid_certs(true),
        _ => {
            let authorities = route.tls.authorities().iter().map(|der| der.to_vec().into());
            SslOpts::default().with_disable_built_in_roots(true).with_root_certs(authorities.collect())
        }
    };
    let identity = route
        .tls
        .pair()
        .map(|(certificate, key)| ClientIdentity::new(certificate.to_owned().into(), key.to_owned().into()));
    Some(options.with_client_identity(identity))
}

/// A signed-in connection that is asked over and over.
pub(crate) struct Control {
    conn: Conn,
    is_mariadb: bool,
    question: String,
    /// Whether it can be made to wait for a transaction for less than a second.
    awaits: bool,
    status: Status,
    asked_at: Option<Instant>,
    first: bool,
}

/// What the status of replication says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Status {
    /// Some part of it runs.
    follows: bool,
    seconds_behind: Option<u64>,
}

impl Control {
    /// Connects and signs in.
    pub async fn open(address: &Address, route: &Route, user: &ProbeUser) -> io::Result<Self> {
        let mut conn = connect(address, route, user).await?;
        let version: Option<String> = conn.query_first(MAKE).await.map_err(into_io)?;
        let is_mariadb = version.is_some_and(|version| version.contains("MariaDB"));
        let question = if is_mariadb { MARIADB.to_owned() } else { question_of_mysql(&mut conn).await? };
        let awaits = is_mariadb || question.contains(IN_ORDER[0]);
        Ok(Self {
            conn,
            is_mariadb,
            question,
            awaits,
            status: Status::default(),
            asked_at: None,
            first: true,
        })
    }

    /// Whether it can be asked to answer no sooner than it has a transaction.
    pub fn awaits(&self) -> bool {
        self.awaits
    }

    /// Asks once, and is answered as soon as the endpoint has applied the transaction that is `awaited`, or after the
    /// time given with it.
    pub async fn sample(&mut self, awaited: Option<(&Gtid, Duration)>) -> io::Result<Sample> {
        let started = Instant::now();
        let row = match awaited {
            Some((gtid, most)) => self.ask_behind(gtid, most).await,
            None => self.conn.query_first(self.question.as_str()).await,
        };
        let row = row.map_err(into_io)?;
        let row = row.ok_or_else(|| io::Error::other("no answer to the question for the position"))?;
        let read_only = is_on(&text(&row, 0));
        let due = self.asked_at.is_none_or(|at| started.saturating_duration_since(at) >= STATUS_EVERY);
        if due || (!read_only && self.status.follows) {
            self.status = self.ask_status().await?;
            self.asked_at = Some(started);
        }
        let Status { follows, seconds_behind } = self.status;
        let logs = is_on(&text(&row, 1));
        let in_order = is_on(&text(&row, 2));
        let place = if self.is_mariadb {
            // Without a log of its own it can be a replica, but nobody's primary.
            let place = place_of_mariadb(&text(&row, 4), &text(&row, 3), in_order);
            place.filter(|_| logs || read_only || follows)
        } else {
            Gtids::mysql(&text(&row, 3)).filter(|_| logs).map(|set| {
                let set = Arc::new(set);
                Place::Gtids { written: Arc::clone(&set), applied: set, in_order }
            })
        };
        let seen = Seen { recovering: read_only, follows, timeline: None, identity: None };
        let first = std::mem::replace(&mut self.first, false);
        Ok(Sample { seen, place, seconds_behind, started, first })
    }

    /// Asks for the position behind a transaction, in one turn.
    async fn ask_behind(&mut self, gtid: &Gtid, most: Duration) -> Result<Option<Row>, Error> {
        let wait = if self.is_mariadb { "MASTER_GTID_WAIT" } else { "WAIT_FOR_EXECUTED_GTID_SET" };
        let text = format!("DO {wait}('{gtid}', {}); {}", most.as_secs_f64(), self.question);
        let answer = async {
            let mut results = self.conn.query_iter(text).await?;
            results.collect::<Row>().await?;
            Ok(results.collect::<Row>().await?.pop())
        };
        match answer.await {
            // One that cannot be waited for is looked for.
            Err(Error::Server(_)) => {
                self.awaits = false;
                self.conn.query_first(self.question.as_str()).await
            }
            answer => answer,
        }
    }

    async fn ask_status(&mut self) -> io::Result<Status> {
        let questions: &[&str] = if self.is_mariadb {
            &["SHOW ALL SLAVES STATUS"]
        } else {
            &["SHOW REPLICA STATUS", "SHOW SLAVE STATUS"]
        };
        for question in questions {
            match self.conn.query::<Row, _>(*question).await {
                Ok(rows) => return Ok(status_of(rows.iter().map(|row| |name: &str| word(row, name)))),
                Err(Error::Server(error)) if DENIED.contains(&error.code) => {
                    return self.count_running().await;
                }
                // Older versions know only the older word.
                Err(Error::Server(_)) => {}
                Err(error) => return Err(into_io(error)),
            }
        }
        Ok(Status::default())
    }

    /// How many replications run: what MariaDB tells everybody.
    async fn count_running(&mut self) -> io::Result<Status> {
        if !self.is_mariadb {
            return Ok(Status::default());
        }
        let question = "SHOW GLOBAL STATUS LIKE 'Slaves_running'";
        let row: Option<(String, u64)> = self.conn.query_first(question).await.map_err(into_io)?;
        Ok(Status { follows: row.is_some_and(|(_, running)| running > 0), seconds_behind: None })
    }
}

/// Asks for a position in a way that this version understands.
async fn question_of_mysql(conn: &mut Conn) -> io::Result<String> {
    for in_order in IN_ORDER {
        match conn.query_first::<Row, _>(format!("SELECT {in_order}")).await {
            Ok(_) => return Ok(format!("{MYSQL}{in_order}, @@global.gtid_executed")),
            Err(Error::Server(_)) => {}
            Err(error) => return Err(into_io(error)),
        }
    }
    Ok(format!("{MYSQL}0, @@global.gtid_executed"))
}

/// `serial`: it applies one transaction at a time.
fn place_of_mariadb(binlog: &str, replicated: &str, serial: bool) -> Option<Place> {
    let (binlog, applied) = (Gtids::mariadb(binlog)?, Gtids::mariadb(replicated)?);
    let in_order = serial || applied.streams() < 2;
    // What a promoted replica had applied before is part of what it hands on.
    Some(Place::Gtids { written: Arc::new(binlog.with(&applied)), applied: Arc::new(applied), in_order })
}

/// A column of this name as text.
fn word(row: &Row, name: &str) -> Option<String> {
    row.get_opt::<Option<String>, _>(name)?.ok().flatten()
}

/// Reads the rows of replication's status, each a function from a column's name to its value. MySQL renamed the columns
/// in 8.0.22, and the statement with them; MariaDB never did.
fn status_of<F: Fn(&str) -> Option<String>>(rows: impl Iterator<Item = F>) -> Status {
    let mut status = Status::default();
    for row in rows {
        let word = |names: [&str; 2]| names.into_iter().find_map(&row);
        let runs = |names| word(names).is_some_and(|word| word != "No");
        status.follows |= runs(["Replica_IO_Running", "Slave_IO_Running"]);
        status.follows |= runs(["Replica_SQL_Running", "Slave_SQL_Running"]);
        let seconds = word(["Seconds_Behind_Source", "Seconds_Behind_Master"]);
        let seconds = seconds.and_then(|seconds| seconds.parse().ok());
        status.seconds_behind = status.seconds_behind.max(seconds);
    }
    status
}

/// A column as text; nothing if it is NULL or no text.
fn text(row: &Row, at: usize) -> String {
    let bytes = row.get_opt::<Option<Vec<u8>>, _>(at).and_then(Result::ok).flatten();
    bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

fn is_on(value: &str) -> bool {
    !matches!(value, "" | "0" | "OFF")
}

/// The database's own sentence, where there is one.
fn into_io(error: Error) -> io::Error {
    match error {
        Error::Server(refusal) => io::Error::other(format!("{} ({})", refusal.message, refusal.code)),
        Error::Io(mysql_async::IoError::Io(error)) => error,
        other => io::Error::other(other.to_string()),
    }
}

#[cfg(test)]
mod tests;
