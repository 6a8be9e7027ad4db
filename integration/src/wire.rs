//! A PostgreSQL client with no driver in between: it sends what it is told and shows what came back.
//!
//! Blocking, one socket, no retries, no state beyond the bytes read ahead. It signs in with SCRAM, md5, a
//! clear password or none.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};

use crate::frame;
use crate::until::PATIENCE;

/// Who signs in where.
#[derive(Clone, Debug)]
pub struct Login {
    /// Loopback port.
    pub port: u16,
    /// Role.
    pub user: String,
    /// Its password.
    pub password: String,
    /// Database.
    pub database: String,
    /// Further parameters of the StartupMessage.
    pub parameters: Vec<(String, String)>,
}

impl Login {
    /// A sign-in without further parameters.
    pub fn new(port: u16, user: &str, password: &str, database: &str) -> Self {
        let [user, password, database] = [user, password, database].map(str::to_owned);
        Self { port, user, password, database, parameters: Vec::new() }
    }

    /// With one more parameter in the StartupMessage.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.parameters.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// An ErrorResponse or a NoticeResponse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    fields: BTreeMap<u8, String>,
}

impl Failure {
    fn of(body: &[u8]) -> Self {
        let fields = body
            .split(|byte| *byte == 0)
            .filter_map(|field| field.split_first())
            .map(|(tag, text)| (*tag, String::from_utf8_lossy(text).into_owned()))
            .collect();
        Self { fields }
    }

    /// A field by its letter; empty when it is not there.
    pub fn field(&self, tag: u8) -> &str {
        self.fields.get(&tag).map_or("", String::as_str)
    }

    /// SQLSTATE.
    pub fn code(&self) -> &str {
        self.field(b'C')
    }

    /// The message for a human.
    pub fn message(&self) -> &str {
        self.field(b'M')
    }

    /// ERROR, FATAL, ...
    pub fn severity(&self) -> &str {
        self.field(b'S')
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.severity(), self.code(), self.message())
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Error {
    /// The connection ended, or took too long.
    Io(io::Error),
    /// The other side said no.
    Refused(Failure),
}

impl Error {
    /// SQLSTATE, or `io` when the connection failed.
    pub fn code(&self) -> &str {
        match self {
            Self::Io(_) => "io",
            Self::Refused(failure) => failure.code(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Refused(failure) => failure.fmt(f),
        }
    }
}

impl std::error::Error for Error {}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// One message from the other side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its type.
    pub tag: u8,
    /// What follows its length.
    pub body: Vec<u8>,
}

/// Everything up to and including ReadyForQuery.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    /// Rows of all results, as text; None is NULL.
    pub rows: Vec<Vec<Option<String>>>,
    /// CommandComplete's tags, in order.
    pub tags: Vec<String>,
    /// The first error.
    pub error: Option<Failure>,
    /// Notices.
    pub notices: Vec<Failure>,
    /// The types of all messages, in order.
    pub order: String,
    /// Transaction status: `I`, `T` or `E`; 0 when the connection ended first.
    pub status: u8,
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

    /// First column of the first row.
    ///
    /// # Panics
    /// When it failed, or there is none.
    #[track_caller]
    pub fn value(self) -> String {
        let reply = self.ok();
        let first = reply.rows.first().and_then(|row| row.first()).cloned();
        first.unwrap_or_else(|| panic!("no row in {:?}", reply.order)).unwrap_or_else(|| "NULL".to_owned())
    }

    /// SQLSTATE of the error; empty when there is none.
    pub fn code(&self) -> &str {
        self.error.as_ref().map_or("", Failure::code)
    }

    /// Takes one message in.
    pub(crate) fn take(&mut self, message: Message) {
        self.order.push(char::from(message.tag));
        match message.tag {
            b'D' => self.rows.push(row(&message.body)),
            b'C' => self.tags.push(string(&message.body)),
            b'E' if self.error.is_none() => self.error = Some(Failure::of(&message.body)),
            b'N' => self.notices.push(Failure::of(&message.body)),
            b'Z' => self.status = message.body.first().copied().unwrap_or(0),
            _ => {}
        }
    }
}

fn string(body: &[u8]) -> String {
    String::from_utf8_lossy(body.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
}

fn row(body: &[u8]) -> Vec<Option<String>> {
    let mut rest = body.get(2..).unwrap_or_default();
    let mut cells = Vec::new();
    while let Some((head, tail)) = rest.split_first_chunk::<4>() {
        let length = i32::from_be_bytes(*head);
        let cell = usize::try_from(length).ok().and_then(|length| tail.split_at_checked(length));
        rest = cell.map_or(tail, |(_, tail)| tail);
        cells.push(cell.map(|(bytes, _)| String::from_utf8_lossy(bytes).into_owned()));
    }
    cells
}

/// One connection.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    ahead: Vec<u8>,
    taken: usize,
    /// ParameterStatus, the last value of each.
    pub parameters: BTreeMap<String, String>,
    /// BackendKeyData: the process, and the key.
    pub key: Option<(u32, Vec<u8>)>,
}

impl Wire {
    /// A connection that has sent nothing yet.
    ///
    /// # Errors
    /// When nothing listens there.
    pub fn connect(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream, ahead: Vec::new(), taken: 0, parameters: BTreeMap::new(), key: None })
    }

    /// A connection that has signed in and is ready for a query.
    ///
    /// # Errors
    /// When the connection fails or the other side refuses.
    pub fn login(login: &Login) -> Result<Self, Error> {
        let mut wire = Self::connect(login.port)?;
        let mut parameters = vec![("user", login.user.as_str()), ("database", login.database.as_str())];
        parameters.extend(login.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        wire.send(&frame::startup(&parameters))?;
        wire.sign_in(&login.user, &login.password)?;
        Ok(wire)
    }

    /// Answers what is asked after a StartupMessage, up to ReadyForQuery.
    ///
    /// # Errors
    /// When the connection fails or the other side refuses.
    pub fn sign_in(&mut self, user: &str, password: &str) -> Result<(), Error> {
        let mut scram = ScramSha256::new(password.as_bytes(), ChannelBinding::unsupported());
        loop {
            let message = self.read()?;
            let (kind, rest) = match message.tag {
                b'R' => {
                    message.body.split_first_chunk::<4>().ok_or_else(|| invalid("short authentication"))?
                }
                b'E' => return Err(Error::Refused(Failure::of(&message.body))),
                b'Z' => return Ok(()),
                _ => continue,
            };
            match u32::from_be_bytes(*kind) {
                0 => {}
                3 => self.send(&frame::message(b'p', &frame::text(password)))?,
                5 => {
                    let salt = rest.first_chunk::<4>().ok_or_else(|| invalid("short salt"))?;
                    let hash = md5_hash(user.as_bytes(), password.as_bytes(), *salt);
                    self.send(&frame::message(b'p', &frame::text(&hash)))?;
                }
                10 => {
                    let first = scram.message();
                    let length = u32::try_from(first.len()).unwrap_or(0).to_be_bytes();
                    let body = [&frame::text(SCRAM_SHA_256), &length[..], first].concat();
                    self.send(&frame::message(b'p', &body))?;
                }
                11 => {
                    scram.update(rest)?;
                    self.send(&frame::message(b'p', scram.message()))?;
                }
                12 => scram.finish(rest)?,
                other => return Err(invalid(&format!("authentication {other}")).into()),
            }
        }
    }

    /// How long [`Wire::read`] waits.
    pub fn patience(&self, limit: Duration) {
        self.stream.set_read_timeout(Some(limit)).expect("a limit above zero");
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Ends the sending half.
    pub fn shut(&self) {
        self.stream.shutdown(Shutdown::Write).ok();
    }

    /// A second handle on the socket, to send from another thread.
    pub fn sender(&self) -> TcpStream {
        self.stream.try_clone().expect("a socket can be shared")
    }

    /// The port of our own end.
    pub fn local_port(&self) -> u16 {
        self.stream.local_addr().map_or(0, |address| address.port())
    }

    /// Fills the bytes read ahead up to this many.
    fn fill(&mut self, wanted: usize) -> io::Result<()> {
        while self.ahead.len() - self.taken < wanted {
            if self.taken > 0 && (self.taken == self.ahead.len() || self.taken > 1 << 20) {
                self.ahead.drain(..self.taken);
                self.taken = 0;
            }
            let old = self.ahead.len();
            self.ahead.resize(old + 65_536, 0);
            let read = self.stream.read(&mut self.ahead[old..]);
            self.ahead.truncate(old + *read.as_ref().unwrap_or(&0));
            if read? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }

    /// Reads this many bytes as they come.
    ///
    /// # Errors
    /// When the connection ends or nothing comes in time.
    pub fn read_bytes(&mut self, count: usize) -> io::Result<Vec<u8>> {
        self.fill(count)?;
        let bytes = self.ahead[self.taken..self.taken + count].to_vec();
        self.taken += count;
        Ok(bytes)
    }

    /// Reads one message; ParameterStatus and BackendKeyData are remembered on the way.
    ///
    /// # Errors
    /// When the connection ends or nothing comes in time.
    pub fn read(&mut self) -> io::Result<Message> {
        self.fill(5)?;
        let head = &self.ahead[self.taken..self.taken + 5];
        let (tag, length) = (head[0], [head[1], head[2], head[3], head[4]]);
        let length = u32::from_be_bytes(length).checked_sub(4).ok_or_else(|| invalid("a length below 4"))?;
        self.taken += 5;
        let body = self.read_bytes(usize::try_from(length).expect("32 bits fit"))?;
        match tag {
            b'S' => {
                let mut parts = body.split(|byte| *byte == 0);
                let mut next = || String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
                self.parameters.insert(next(), next());
            }
            b'K' => {
                let (process, key) = body.split_first_chunk::<4>().ok_or_else(|| invalid("a short key"))?;
                self.key = Some((u32::from_be_bytes(*process), key.to_vec()));
            }
            _ => {}
        }
        Ok(Message { tag, body })
    }

    /// Reads messages up to one of this type.
    ///
    /// # Errors
    /// When the connection ends or nothing comes in time.
    pub fn read_to(&mut self, tag: u8) -> io::Result<Message> {
        loop {
            let message = self.read()?;
            if message.tag == tag {
                return Ok(message);
            }
        }
    }

    /// Reads a whole reply.
    ///
    /// # Errors
    /// When the connection ends before ReadyForQuery; an ErrorResponse sent before that is the reason.
    pub fn reply(&mut self) -> Result<Reply, Error> {
        let mut reply = Reply::default();
        loop {
            match self.read() {
                Ok(message) => {
                    let is_last = message.tag == b'Z';
                    reply.take(message);
                    if is_last {
                        return Ok(reply);
                    }
                }
                Err(error) => {
                    return Err(reply.error.map_or(Error::Io(error), Error::Refused));
                }
            }
        }
    }

    /// Sends bytes that end a request and reads the reply to it.
    ///
    /// # Errors
    /// As [`Wire::reply`].
    pub fn ask(&mut self, bytes: &[u8]) -> Result<Reply, Error> {
        self.send(bytes)?;
        self.reply()
    }

    /// Runs a text by the simple protocol.
    ///
    /// # Errors
    /// When the connection ends; an error of the statement is in the reply.
    pub fn try_query(&mut self, sql: &str) -> Result<Reply, Error> {
        self.ask(&frame::query(sql))
    }

    /// Runs a text by the simple protocol.
    ///
    /// # Panics
    /// When the connection ends.
    #[track_caller]
    pub fn query(&mut self, sql: &str) -> Reply {
        self.try_query(sql).unwrap_or_else(|error| panic!("{error} at {sql}"))
    }

    /// First column of the first row, by the simple protocol.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    pub fn value(&mut self, sql: &str) -> String {
        self.query(sql).value()
    }

    /// Runs a text by the extended protocol through the unnamed statement.
    ///
    /// # Errors
    /// When the connection ends; an error of the statement is in the reply.
    pub fn try_execute(&mut self, sql: &str, parameters: &[&str]) -> Result<Reply, Error> {
        let parameters: Vec<Option<&[u8]>> = parameters.iter().map(|value| Some(value.as_bytes())).collect();
        self.ask(&[frame::unnamed(sql, &parameters), frame::sync()].concat())
    }

    /// Runs a text by the extended protocol through the unnamed statement.
    ///
    /// # Panics
    /// When the connection ends.
    #[track_caller]
    pub fn execute(&mut self, sql: &str, parameters: &[&str]) -> Reply {
        self.try_execute(sql, parameters).unwrap_or_else(|error| panic!("{error} at {sql}"))
    }

    /// Whether the other side has ended the connection, or does within this time; what it still sends is read.
    pub fn ends_within(&mut self, limit: Duration) -> bool {
        let begun = std::time::Instant::now();
        self.patience(limit);
        while begun.elapsed() < limit {
            match self.read() {
                Ok(_) => {}
                Err(error) => {
                    return !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
                }
            }
        }
        false
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}
