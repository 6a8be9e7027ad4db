//! A blocking client for tests and for the harness itself: rows as text, errors as values.
//!
//! It is a driver behind a runtime of one thread; whoever wants to send wrong bytes does not use it.

use std::fmt;
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, OptsBuilder, Params, Row, ServerError, Value};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Everything that one text was answered with.
#[derive(Debug, Default)]
pub struct Reply {
    /// Rows of all results, as text; None is NULL.
    pub rows: Vec<Vec<Option<String>>>,
    /// What the last result without rows says.
    pub affected: u64,
    /// The id that the last result says was made.
    pub insert_id: u64,
    /// The error that ended it.
    pub error: Option<ServerError>,
}

impl Reply {
    /// The reply itself, when nothing failed.
    ///
    /// # Panics
    /// With the error.
    #[track_caller]
    pub fn ok(self) -> Self {
        if let Some(error) = &self.error {
            panic!("{error}");
        }
        self
    }

    /// First column of the first row; `NULL` for NULL.
    ///
    /// # Panics
    /// When it failed, or there is none.
    #[track_caller]
    pub fn value(self) -> String {
        let reply = self.ok();
        let cell = reply.rows.first().and_then(|row| row.first()).expect("a row with a column");
        cell.clone().unwrap_or_else(|| "NULL".to_owned())
    }

    /// The number of the error; 0 when there is none.
    pub fn code(&self) -> u16 {
        self.error.as_ref().map_or(0, |error| error.code)
    }
}

/// One connection.
pub struct Session {
    runtime: Runtime,
    conn: Option<Conn>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

impl Session {
    /// Signs in over TCP on loopback; an empty `database` selects none.
    ///
    /// # Errors
    /// When the connection fails, or the other side refuses.
    pub fn login(port: u16, user: &str, password: &str, database: &str) -> Result<Self, Error> {
        let options = OptsBuilder::default()
            .ip_or_hostname("127.0.0.1")
            .tcp_port(port)
            .user(Some(user))
            .pass(Some(password))
            .db_name((!database.is_empty()).then_some(database))
            .prefer_socket(false);
        Self::with(options)
    }

    /// Signs in with the driver's own options.
    ///
    /// # Errors
    /// When the connection fails, or the other side refuses.
    pub fn with(options: OptsBuilder) -> Result<Self, Error> {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime of one thread");
        // Told here, so that the driver does not ask.
        let options = options.max_allowed_packet(Some(256 << 20)).wait_timeout(Some(28_800));
        let conn = runtime.block_on(async { timeout(PATIENCE, Conn::new(options)).await });
        let conn = conn
            .unwrap_or_else(|_| Err(Error::Io(std::io::Error::from(std::io::ErrorKind::TimedOut).into())))?;
        Ok(Self { runtime, conn: Some(conn) })
    }

    /// The number the server knows the connection by.
    pub fn id(&self) -> u32 {
        self.conn.as_ref().map_or(0, Conn::id)
    }

    /// Runs a text, which may be several statements; an error of the database is in the reply.
    ///
    /// # Errors
    /// When the connection fails, or nothing comes in time.
    pub fn try_query(&mut self, sql: &str) -> Result<Reply, Error> {
        self.run(sql, None)
    }

    /// As [`Session::try_query`].
    ///
    /// # Panics
    /// When the connection fails.
    #[track_caller]
    pub fn query(&mut self, sql: &str) -> Reply {
        self.try_query(sql).unwrap_or_else(|error| panic!("{error}\n{sql}"))
    }

    /// First column of the first row.
    ///
    /// # Panics
    /// When it fails, or there is none.
    #[track_caller]
    pub fn value(&mut self, sql: &str) -> String {
        self.query(sql).value()
    }

    /// Prepares a statement, as the binary protocol does, and runs it.
    ///
    /// # Errors
    /// When the connection fails, or nothing comes in time.
    pub fn try_execute(&mut self, sql: &str, parameters: &[&str]) -> Result<Reply, Error> {
        self.run(sql, Some(parameters))
    }

    /// As [`Session::try_execute`].
    ///
    /// # Panics
    /// When the connection fails.
    #[track_caller]
    pub fn execute(&mut self, sql: &str, parameters: &[&str]) -> Reply {
        self.try_execute(sql, parameters).unwrap_or_else(|error| panic!("{error}\n{sql}"))
    }

    /// Uses the driver itself.
    ///
    /// # Errors
    /// What `work` fails with.
    pub fn with_driver<T>(
        &mut self,
        work: impl AsyncFnOnce(&mut Conn) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let conn = self.conn.as_mut().expect("there until dropped");
        self.runtime.block_on(work(conn))
    }

    fn run(&mut self, sql: &str, parameters: Option<&[&str]>) -> Result<Reply, Error> {
        let conn = self.conn.as_mut().expect("there until dropped");
        self.runtime.block_on(async {
            let answer = timeout(PATIENCE, ask(conn, sql, parameters)).await;
            let late = || Error::Io(std::io::Error::from(std::io::ErrorKind::TimedOut).into());
            match answer.unwrap_or_else(|_| Err(late())) {
                Err(Error::Server(error)) => Ok(Reply { error: Some(error), ..Reply::default() }),
                other => other,
            }
        })
    }
}

async fn ask(conn: &mut Conn, sql: &str, parameters: Option<&[&str]>) -> Result<Reply, Error> {
    let mut reply = Reply::default();
    match parameters {
        None => {
            let mut result = conn.query_iter(sql).await?;
            // Each result ends in its own way; an error in a later one leaves the earlier rows.
            while !result.is_empty() {
                (reply.affected, reply.insert_id) =
                    (result.affected_rows(), result.last_insert_id().unwrap_or(0));
                match result.collect::<Row>().await {
                    Ok(rows) => reply.rows.extend(rows.into_iter().map(cells)),
                    Err(Error::Server(error)) => {
                        reply.error = Some(error);
                        return Ok(reply);
                    }
                    Err(error) => return Err(error),
                }
            }
            (reply.affected, reply.insert_id) =
                (result.affected_rows(), result.last_insert_id().unwrap_or(0));
        }
        Some(parameters) => {
            let values: Vec<Value> = parameters.iter().map(|text| Value::from(*text)).collect();
            let parameters = if values.is_empty() { Params::Empty } else { Params::Positional(values) };
            let mut result = conn.exec_iter(sql, parameters).await?;
            while !result.is_empty() {
                reply.rows.extend(result.collect::<Row>().await?.into_iter().map(cells));
            }
            (reply.affected, reply.insert_id) =
                (result.affected_rows(), result.last_insert_id().unwrap_or(0));
        }
    }
    Ok(reply)
}

fn cells(row: Row) -> Vec<Option<String>> {
    let text = |value: Value| match value {
        Value::NULL => None,
        Value::Bytes(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        Value::Int(number) => Some(number.to_string()),
        Value::UInt(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Double(number) => Some(number.to_string()),
        other => Some(other.as_sql(true).trim_matches('\'').to_owned()),
    };
    row.unwrap().into_iter().map(text).collect()
}

impl Drop for Session {
    fn drop(&mut self) {
        // The driver says goodbye in a task, which needs the runtime that is about to go.
        let Some(conn) = self.conn.take() else { return };
        self.runtime.block_on(async {
            timeout(Duration::from_millis(200), conn.disconnect()).await.ok();
        });
    }
}
