//! Asks a PostgreSQL endpoint for its role, its timeline and its position in the log.
//!
//! Every name in the questions is qualified and the search path is fixed, so that nothing a
//! user created can answer in place of the system's own functions. Works for any role that
//! may connect, on PostgreSQL 12 and newer.

use crate::board::Sample;
use crate::dial::Route;
use crate::lag::Position;
use crate::ledger::Place;
use crate::net::{self, Address, Stream, TlsMode};
use crate::settings::ProbeUser;
use crate::topology::Seen;
use std::io;
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::NoTlsStream;
use tokio_postgres::types::PgLsn;
use tokio_postgres::{Client, Config, Connection, NoTls, Row, Statement};

/// The insert position is asked for, not the flushed one: with synchronous_commit off a commit
/// is visible before it is flushed.
const QUESTION: &str = "\
SELECT r.recovering, \
 CASE WHEN r.recovering THEN pg_catalog.pg_last_wal_replay_lsn() \
  ELSE pg_catalog.pg_current_wal_insert_lsn() END, \
 CASE WHEN NOT r.recovering THEN \
  pg_catalog.left(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 8) END \
FROM (SELECT pg_catalog.pg_is_in_recovery() AS recovering) AS r";

const LAYOUT: &str = "\
SELECT pg_catalog.current_setting('wal_block_size')::pg_catalog.int8, \
 pg_catalog.pg_size_bytes(pg_catalog.current_setting('wal_segment_size'))";

/// Fails where the operator took the right to ask away.
const IDENTITY: &str = "SELECT system_identifier FROM pg_catalog.pg_control_system()";

/// What SSLRequest looks like. Section "Message Formats".
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// The size of the headers that a page of the log begins with, and the first of a segment.
const SHORT_HEADER: u64 = 24;
const LONG_HEADER: u64 = 40;

/// Where pages and segments of the log begin.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    block: u64,
    segment: u64,
}

impl Layout {
    /// The end of what was written. On a fresh page the insert position points behind the page's
    /// header, which a replica counts only with the record that follows: an idle primary would
    /// look ahead of its replicas for ever.
    fn end_of_data(self, insert: u64) -> u64 {
        if insert % self.segment == LONG_HEADER {
            insert - LONG_HEADER
        } else if insert % self.block == SHORT_HEADER {
            insert - SHORT_HEADER
        } else {
            insert
        }
    }
}

/// What must be polled for a client of the library to move.
type LinkConnection = Connection<Stream, NoTlsStream>;

/// A signed-in connection of the library's, and what must be polled for it to move.
pub type Link = (Client, LinkConnection);

/// Connects and signs in, with settings that no user of the database can bend.
pub(crate) async fn connect(address: &Address, route: &Route, user: &ProbeUser) -> io::Result<Link> {
    let stream = net::connect(address, route.timeout, &route.keepalive).await?;
    let stream = encrypted(stream, address, route).await?;
    let mut config = Config::new();
    config.user(&user.user).dbname(&user.database).application_name("splitpool probe");
    config.options("-c search_path=pg_catalog -c statement_timeout=0").ssl_mode(SslMode::Disable);
    if let Some(password) = &user.password {
        config.password(password.expose());
    }
    config.connect_raw(stream, NoTls).await.map_err(into_io)
}

/// A signed-in connection that is asked over and over.
pub(crate) struct Control {
    client: Client,
    connection: LinkConnection,
    question: Statement,
    layout: Layout,
    identity: Option<u64>,
    first: bool,
}

impl Control {
    /// Connects and signs in.
    pub async fn open(address: &Address, route: &Route, user: &ProbeUser) -> io::Result<Self> {
        let (client, mut connection) = connect(address, route, user).await?;
        let prepare = async {
            let question = client.prepare(QUESTION).await?;
            let layout = client.query_one(LAYOUT, &[]).await?;
            let layout = Layout { block: positive(&layout, 0)?, segment: positive(&layout, 1)? };
            // Without the right to ask, strangers are not told from friends.
            let identity = client.query_one(IDENTITY, &[]).await.ok();
            let identity = identity.and_then(|row| row.try_get::<_, i64>(0).ok()).map(i64::cast_unsigned);
            Ok((question, layout, identity))
        };
        let (question, layout, identity) = driving(&mut connection, prepare).await?;
        Ok(Self { client, connection, question, layout, identity, first: true })
    }

    /// Asks once.
    pub async fn sample(&mut self) -> io::Result<Sample> {
        let started = Instant::now();
        let row = driving(&mut self.connection, self.client.query_one(&self.question, &[])).await?;
        let recovering = row.try_get(0).map_err(into_io)?;
        let position = row.try_get::<_, Option<PgLsn>>(1).map_err(into_io)?.map(u64::from);
        let timeline = row.try_get::<_, Option<&str>>(2).map_err(into_io)?;
        let end = |position| if recovering { position } else { self.layout.end_of_data(position) };
        let seen = Seen {
            recovering,
            follows: false,
            timeline: timeline.and_then(|hex| u32::from_str_radix(hex, 16).ok()),
            identity: self.identity,
        };
        let first = std::mem::replace(&mut self.first, false);
        let place = position.map(end).map(|position| Place::Log(Position(position)));
        Ok(Sample { seen, place, seconds_behind: None, started, first })
    }

    /// Ends when the endpoint closes the connection.
    pub async fn closed(&mut self) -> io::Error {
        match (&mut self.connection).await {
            Ok(()) => io::Error::new(io::ErrorKind::UnexpectedEof, "the connection was closed"),
            Err(error) => into_io(error),
        }
    }
}

/// Awaits `answer` while the connection does its part; one that ends has no answer.
async fn driving<T>(
    connection: &mut LinkConnection,
    answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> io::Result<T> {
    let mut answer = std::pin::pin!(answer);
    tokio::select! {
        biased;
        answer = &mut answer => answer.map_err(into_io),
        ended = connection => match ended {
            Ok(()) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the connection was closed")),
            Err(error) => Err(into_io(error)),
        },
    }
}

/// Brings TLS up as the route asks.
async fn encrypted(mut stream: Stream, address: &Address, route: &Route) -> io::Result<Stream> {
    let Some(host) = address.host().filter(|_| route.tls.mode != TlsMode::Off) else { return Ok(stream) };
    stream.write_all(&SSL_REQUEST).await?;
    // One byte and no more: what follows in clear must not count as said within TLS.
    match stream.read_u8().await? {
        b'S' => route.tls.upgrade(stream, host).await,
        b'N' if route.tls.mode == TlsMode::Prefer => Ok(stream),
        _ => Err(io::Error::other("the database does not offer TLS")),
    }
}

fn positive(row: &Row, at: usize) -> Result<u64, tokio_postgres::Error> {
    Ok(row.try_get::<_, i64>(at)?.max(1).cast_unsigned())
}

/// The database's own sentence, where there is one: the library's says only "db error".
fn into_io(error: tokio_postgres::Error) -> io::Error {
    match error.as_db_error() {
        Some(refusal) => io::Error::other(format!("{} ({})", refusal.message(), refusal.code().code())),
        None => io::Error::other(error),
    }
}

#[cfg(test)]
mod tests;
