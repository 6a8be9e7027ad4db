//! A client of MySQL's protocol that sends what it is told and shows what came, packet by packet.
//!
//! For what no driver does: odd abilities, cursors, packets that are wrong.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use mysql_common::scramble::{scramble_native, scramble_sha256};

use crate::{PASSWORD, PATIENCE};

/// Abilities, by their bits.
pub mod cap {
    /// `CLIENT_CONNECT_WITH_DB`.
    pub const CONNECT_WITH_DB: u64 = 1 << 3;
    /// `CLIENT_LOCAL_FILES`.
    pub const LOCAL_FILES: u64 = 1 << 7;
    /// `CLIENT_MULTI_STATEMENTS`.
    pub const MULTI_STATEMENTS: u64 = 1 << 16;
    /// `CLIENT_SESSION_TRACK`.
    pub const SESSION_TRACK: u64 = 1 << 23;
    /// `CLIENT_DEPRECATE_EOF`.
    pub const DEPRECATE_EOF: u64 = 1 << 24;
    /// `CLIENT_QUERY_ATTRIBUTES`.
    pub const QUERY_ATTRIBUTES: u64 = 1 << 27;
    /// MariaDB's `MARIADB_CLIENT_PROGRESS`.
    pub const PROGRESS: u64 = 1 << 32;
    /// MariaDB's `MARIADB_CLIENT_STMT_BULK_OPERATIONS`.
    pub const BULK: u64 = 1 << 34;
    /// MariaDB's `MARIADB_CLIENT_EXTENDED_METADATA`.
    pub const EXTENDED_METADATA: u64 = 1 << 35;
    /// MariaDB's `MARIADB_CLIENT_CACHE_METADATA`.
    pub const CACHE_METADATA: u64 = 1 << 36;
    /// Protocol 4.1, transactions, plugins, several results, and the rest that every client has.
    pub const USUAL: u64 = 1 | 1 << 2 | 1 << 9 | 1 << 13 | 1 << 15 | 1 << 17 | 1 << 18 | 1 << 19 | 1 << 21;
}

/// The payload of a packet that is continued by another.
pub const FULL: usize = 0xff_ffff;

/// One result: the rows' payloads as they came, and how it ended.
#[derive(Debug, Default, Clone)]
pub struct Outcome {
    /// Names of the columns; none for a result without rows.
    pub columns: Vec<String>,
    /// What MariaDB says of the columns' types beyond the protocol's, to who asked for it.
    pub types: Vec<String>,
    /// Reports of progress, as they came.
    pub progress: Vec<Vec<u8>>,
    /// Rows, in text or binary.
    pub rows: Vec<Vec<u8>>,
    /// Rows that it changed.
    pub affected: u64,
    /// The id that it made.
    pub insert_id: u64,
    /// What the end said of the session.
    pub status: u16,
    /// Warnings.
    pub warnings: u16,
    /// Errno and sentence.
    pub error: Option<(u16, String)>,
    /// The end, as it came.
    pub end: Vec<u8>,
}

impl Outcome {
    /// A row of a text result.
    pub fn cells(&self, row: usize) -> Vec<Option<String>> {
        let mut rest = self.rows.get(row).map(Vec::as_slice).unwrap_or_default();
        let mut cells = Vec::new();
        while let Some((first, more)) = rest.split_first() {
            if *first == 0xfb {
                (rest, _) = (more, cells.push(None));
                continue;
            }
            let text = text(&mut rest);
            cells.push(Some(String::from_utf8_lossy(text).into_owned()));
        }
        cells
    }

    /// The first cell of the first row; panics with the error if there is none.
    #[track_caller]
    pub fn value(&self) -> String {
        assert!(self.error.is_none() && !self.rows.is_empty(), "{self:?}");
        self.cells(0)[0].clone().unwrap_or_else(|| "NULL".to_owned())
    }

    /// The errno; 0 for none.
    pub fn code(&self) -> u16 {
        self.error.as_ref().map_or(0, |(code, _)| *code)
    }
}

/// A statement that was prepared.
#[derive(Debug, Clone, Copy)]
pub struct Prepared {
    /// Its number.
    pub id: u32,
    /// Columns of its result.
    pub columns: u16,
    /// Its parameters.
    pub params: u16,
}

/// One connection.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    /// What both sides agreed on.
    pub abilities: u64,
    /// The number that the greeting told.
    pub number: u32,
    /// Bytes that came so far.
    pub heard: u64,
    sequence: u8,
}

impl Wire {
    /// Connects and reads nothing.
    ///
    /// # Errors
    /// When nobody listens.
    pub fn connect(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, abilities: 0, number: 0, heard: 0, sequence: 0 })
    }

    /// Signs in as the user `app` to the schema `app` with these abilities and this collation.
    ///
    /// # Errors
    /// When the connection fails, or the sign-in is refused.
    pub fn login(port: u16, abilities: u64, collation: u8) -> io::Result<Self> {
        let mut wire = Self::connect(port)?;
        wire.sign_in(abilities, collation)?;
        Ok(wire)
    }

    /// Signs in on a connection on which nothing was read, as [`Wire::login`].
    ///
    /// # Errors
    /// When the connection fails, or the sign-in is refused.
    pub fn sign_in(&mut self, abilities: u64, collation: u8) -> io::Result<()> {
        let wire = self;
        let greeting = wire.packet()?;
        let version = greeting.iter().skip(1).position(|byte| *byte == 0).unwrap_or(0) + 2;
        wire.number = u32::from_le_bytes(greeting[version..version + 4].try_into().expect("four bytes"));
        let nonce = [&greeting[version + 4..version + 12], &greeting[version + 31..version + 43]].concat();
        let low = u16::from_le_bytes(greeting[version + 13..version + 15].try_into().expect("two bytes"));
        let high = u16::from_le_bytes(greeting[version + 18..version + 20].try_into().expect("two bytes"));
        let plugin = &greeting[version + 44..greeting.len() - 1];
        let common = u64::from(low) | u64::from(high) << 16;
        let more = u32::from_le_bytes(greeting[version + 27..version + 31].try_into().expect("four bytes"));
        // MariaDB's own, where the lowest bit is not set.
        let more = if common & 1 == 0 { u64::from(more) << 32 } else { 0 };
        wire.abilities = (common | more) & (abilities | cap::USUAL);
        let halves = wire.abilities.to_le_bytes();
        let mut answer = halves[..4].to_vec();
        answer.extend_from_slice(&(1u32 << 24).to_le_bytes());
        answer.push(collation);
        answer.extend_from_slice(&[0; 19]);
        answer.extend_from_slice(&halves[4..]);
        answer.extend_from_slice(b"app\0");
        let proof = proof(plugin, &nonce);
        answer.push(u8::try_from(proof.len()).expect("a short proof"));
        answer.extend_from_slice(&proof);
        if wire.abilities & cap::CONNECT_WITH_DB != 0 {
            answer.extend_from_slice(b"app\0");
        }
        answer.extend_from_slice(plugin);
        answer.push(0);
        wire.send(&answer)?;
        wire.prove()
    }

    /// The connection, for who reads or ends it in a way of its own.
    ///
    /// # Panics
    /// When no descriptor is free.
    pub fn stream(&self) -> TcpStream {
        self.stream.try_clone().expect("a socket can be shared")
    }

    /// The port of our own end.
    pub fn local_port(&self) -> u16 {
        self.stream.local_addr().map_or(0, |address| address.port())
    }

    /// Goes on with a sign-in until it is over.
    ///
    /// # Errors
    /// When it is refused.
    pub fn prove(&mut self) -> io::Result<()> {
        loop {
            let packet = self.packet()?;
            match packet.first() {
                Some(0) => return Ok(()),
                Some(1) if packet.get(1) == Some(&3) => {}
                // The password itself is wanted, which only a wrong or unknown one comes to here: it gets none.
                Some(1) if packet.get(1) == Some(&4) => self.send(&[0])?,
                Some(0xfe) => {
                    let end = packet.iter().position(|byte| *byte == 0).unwrap_or(packet.len());
                    let nonce = packet.get(end + 1..end + 21).unwrap_or_default().to_vec();
                    let proof = proof(&packet[1..end], &nonce);
                    self.send(&proof)?;
                }
                _ => return Err(io::Error::other(String::from_utf8_lossy(&packet).into_owned())),
            }
        }
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// When the connection fails.
    pub fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends a payload, in as many packets as it takes.
    ///
    /// # Errors
    /// When the connection fails.
    pub fn send(&mut self, payload: &[u8]) -> io::Result<()> {
        let mut rest = payload;
        loop {
            let (now, later) = rest.split_at(rest.len().min(FULL));
            let length = u32::try_from(now.len()).expect("a packet's length").to_le_bytes();
            self.stream.write_all(&[length[0], length[1], length[2], self.sequence])?;
            self.stream.write_all(now)?;
            self.sequence = self.sequence.wrapping_add(1);
            if now.len() < FULL {
                return Ok(());
            }
            rest = later;
        }
    }

    /// Begins a command.
    ///
    /// # Errors
    /// When the connection fails.
    pub fn command(&mut self, tag: u8, rest: &[u8]) -> io::Result<()> {
        self.sequence = 0;
        self.send(&[&[tag], rest].concat())
    }

    /// The next payload, whose packets must be numbered on.
    ///
    /// # Errors
    /// When the connection fails, or a packet has the wrong number.
    pub fn packet(&mut self) -> io::Result<Vec<u8>> {
        let mut payload = Vec::new();
        loop {
            let mut header = [0; 4];
            self.stream.read_exact(&mut header)?;
            let length = u32::from_le_bytes([header[0], header[1], header[2], 0]) as usize;
            if header[3] != self.sequence {
                return Err(io::Error::other(format!("packet {} instead of {}", header[3], self.sequence)));
            }
            self.sequence = self.sequence.wrapping_add(1);
            self.heard += 4 + length as u64;
            let from = payload.len();
            payload.resize(from + length, 0);
            self.stream.read_exact(&mut payload[from..])?;
            if length < FULL {
                return Ok(payload);
            }
        }
    }

    fn has(&self, ability: u64) -> bool {
        self.abilities & ability != 0
    }

    /// Rows up to their end.
    fn rows(&mut self, outcome: &mut Outcome) -> io::Result<()> {
        loop {
            let packet = self.packet()?;
            match packet.first() {
                Some(0xfe) if packet.len() < if self.has(cap::DEPRECATE_EOF) { FULL } else { 9 } => {
                    self.end(outcome, packet);
                    return Ok(());
                }
                Some(0xff) => {
                    outcome.error = Some(error(&packet));
                    return Ok(());
                }
                _ => outcome.rows.push(packet),
            }
        }
    }

    fn end(&self, outcome: &mut Outcome, packet: Vec<u8>) {
        let mut rest = &packet[1..];
        if packet[0] == 0xfe && !self.has(cap::DEPRECATE_EOF) {
            (outcome.warnings, outcome.status) = (short(&mut rest), short(&mut rest));
        } else {
            (outcome.affected, outcome.insert_id) = (number(&mut rest), number(&mut rest));
            (outcome.status, outcome.warnings) = (short(&mut rest), short(&mut rest));
        }
        outcome.end = packet;
    }

    /// One result.
    ///
    /// # Errors
    /// When the connection fails.
    pub fn result(&mut self) -> io::Result<Outcome> {
        let mut outcome = Outcome::default();
        let mut first = self.packet()?;
        while self.has(cap::PROGRESS) && first.starts_with(&[0xff; 3]) {
            outcome.progress.push(std::mem::replace(&mut first, self.packet()?));
        }
        match first.first() {
            Some(0) => self.end(&mut outcome, first),
            Some(0xfe) if first.len() < 9 => self.end(&mut outcome, first),
            Some(0xff) => outcome.error = Some(error(&first)),
            Some(0xfb) => outcome.end = first,
            _ => {
                let columns = number(&mut first.as_slice());
                for _ in 0..columns {
                    let definition = self.packet()?;
                    if definition.first() == Some(&0xff) {
                        outcome.error = Some(error(&definition));
                        return Ok(outcome);
                    }
                    let mut rest = definition.as_slice();
                    let texts = 6 + usize::from(self.has(cap::EXTENDED_METADATA));
                    let texts: Vec<&[u8]> = (0..texts).map(|_| text(&mut rest)).collect();
                    let shown =
                        |at: usize| texts.get(at).map(|text| String::from_utf8_lossy(text).into_owned());
                    outcome.columns.extend(shown(4));
                    outcome.types.extend(shown(6));
                    if rest.len() != 13 || rest[0] != 12 {
                        return Err(io::Error::other(format!("a definition ends with {rest:?}")));
                    }
                }
                if !self.has(cap::DEPRECATE_EOF) {
                    let eof = self.packet()?;
                    if eof.first() == Some(&0xff) {
                        outcome.error = Some(error(&eof));
                        return Ok(outcome);
                    }
                    self.end(&mut outcome, eof);
                    if outcome.status & 0x1008 == 0x1008 {
                        // OUT parameters: MySQL does not repeat behind the rows that there is more.
                        self.rows(&mut outcome)?;
                        outcome.status |= 8;
                        return Ok(outcome);
                    }
                    // An open cursor: rows come when they are fetched.
                    if outcome.status & 64 != 0 {
                        return Ok(outcome);
                    }
                }
                self.rows(&mut outcome)?;
            }
        }
        Ok(outcome)
    }

    /// Every result of a command.
    ///
    /// # Errors
    /// When the connection fails.
    pub fn results(&mut self) -> io::Result<Vec<Outcome>> {
        let mut all = Vec::new();
        loop {
            let outcome = self.result()?;
            let more = outcome.status & 8 != 0 && outcome.error.is_none();
            all.push(outcome);
            if !more {
                return Ok(all);
            }
        }
    }

    /// Asks in text; the last result.
    ///
    /// # Panics
    /// When the connection fails.
    #[track_caller]
    pub fn query(&mut self, sql: &str) -> Outcome {
        self.query_with(sql, &[])
    }

    /// As [`Wire::query`], with attributes; those that were not agreed on are left out.
    ///
    /// # Panics
    /// When the connection fails.
    #[track_caller]
    pub fn query_with(&mut self, sql: &str, attributes: &[(&str, &str)]) -> Outcome {
        let mut bytes = Vec::new();
        if self.has(cap::QUERY_ATTRIBUTES) {
            bytes.extend_from_slice(&[u8::try_from(attributes.len()).expect("a few"), 1]);
            put_attributes(attributes, &mut bytes);
        }
        bytes.extend_from_slice(sql.as_bytes());
        let asked = self.command(3, &bytes).and_then(|()| self.results());
        asked.unwrap_or_else(|error| panic!("{error}: {sql}")).pop().expect("a result")
    }

    /// Prepares.
    ///
    /// # Errors
    /// When the connection fails, or the statement is refused.
    pub fn prepare(&mut self, sql: &str) -> io::Result<Prepared> {
        self.command(0x16, sql.as_bytes())?;
        let told = self.packet()?;
        if told.first() != Some(&0) {
            return Err(io::Error::other(error(&told).1));
        }
        let mut rest = &told[5..];
        let id = u32::from_le_bytes(told[1..5].try_into().expect("four bytes"));
        let prepared = Prepared { id, columns: short(&mut rest), params: short(&mut rest) };
        for count in [prepared.params, prepared.columns] {
            let eof = u16::from(count > 0 && !self.has(cap::DEPRECATE_EOF));
            for _ in 0..count + eof {
                self.packet()?;
            }
        }
        Ok(prepared)
    }

    /// Runs a prepared statement; `cursor` asks for one. A parameter that is None was or will be sent as long data.
    ///
    /// # Errors
    /// When the connection fails.
    pub fn execute(
        &mut self,
        statement: Prepared,
        cursor: bool,
        params: &[Option<&str>],
    ) -> io::Result<Outcome> {
        let mut bytes = statement.id.to_le_bytes().to_vec();
        bytes.push(u8::from(cursor));
        bytes.extend_from_slice(&1u32.to_le_bytes());
        if !params.is_empty() {
            bytes.extend(std::iter::repeat_n(0, params.len().div_ceil(8)));
            bytes.push(1);
            bytes.extend(params.iter().flat_map(|_| [253, 0]));
            for param in params.iter().flatten() {
                let length = (param.len() as u64).to_le_bytes();
                if param.len() <= FULL {
                    bytes.push(0xfd);
                    bytes.extend_from_slice(&length[..3]);
                } else {
                    bytes.push(0xfe);
                    bytes.extend_from_slice(&length);
                }
                bytes.extend_from_slice(param.as_bytes());
            }
        }
        self.command(0x17, &bytes)?;
        self.result()
    }

    /// Runs a prepared statement with texts as its parameters and with attributes, which must have been agreed on. Types
    /// are told if `typed`, which they must be with attributes.
    ///
    /// # Errors
    /// When the connection fails.
    pub fn execute_with(
        &mut self,
        statement: Prepared,
        params: &[&str],
        attributes: &[(&str, &str)],
        typed: bool,
    ) -> io::Result<Outcome> {
        let mut bytes = statement.id.to_le_bytes().to_vec();
        bytes.push(8);
        bytes.extend_from_slice(&1u32.to_le_bytes());
        let all: Vec<(&str, &str)> =
            params.iter().map(|param| ("", *param)).chain(attributes.iter().copied()).collect();
        bytes.push(u8::try_from(all.len()).expect("a few"));
        if typed {
            put_attributes(&all, &mut bytes);
        } else {
            bytes.extend(std::iter::repeat_n(0, all.len().div_ceil(8) + 1));
            for (_, value) in all {
                bytes.push(u8::try_from(value.len()).expect("a short text"));
                bytes.extend_from_slice(value.as_bytes());
            }
        }
        self.command(0x17, &bytes)?;
        self.result()
    }

    /// Runs a prepared statement for many rows of texts, NULL for None; the types of its parameters are told if `typed`.
    ///
    /// # Errors
    /// When the connection fails.
    pub fn execute_bulk(
        &mut self,
        statement: Prepared,
        rows: &[Vec<Option<String>>],
        typed: bool,
    ) -> io::Result<Outcome> {
        let mut bytes = statement.id.to_le_bytes().to_vec();
        bytes.extend_from_slice(&[if typed { 128 } else { 0 }, 0]);
        if typed {
            bytes.extend((0..statement.params).flat_map(|_| [253, 0]));
        }
        for cell in rows.iter().flatten() {
            bytes.push(u8::from(cell.is_none()));
            if let Some(text) = cell {
                let length = u32::try_from(text.len()).expect("a length");
                bytes.push(0xfd);
                bytes.extend_from_slice(&length.to_le_bytes()[..3]);
                bytes.extend_from_slice(text.as_bytes());
            }
        }
        self.command(0xfa, &bytes)?;
        self.result()
    }

    /// Sends part of a parameter, which is not answered.
    ///
    /// # Errors
    /// When the connection fails.
    pub fn long_data(&mut self, statement: Prepared, param: u16, data: &[u8]) -> io::Result<()> {
        self.command(0x18, &[&statement.id.to_le_bytes()[..], &param.to_le_bytes(), data].concat())
    }

    /// Fetches rows of an open cursor.
    ///
    /// # Errors
    /// When the connection fails.
    pub fn fetch(&mut self, statement: Prepared, rows: u32) -> io::Result<Outcome> {
        self.command(0x1c, &[statement.id.to_le_bytes(), rows.to_le_bytes()].concat())?;
        let mut outcome = Outcome::default();
        self.rows(&mut outcome)?;
        Ok(outcome)
    }

    /// A command that is answered by OK, EOF or an error.
    ///
    /// # Errors
    /// When the connection fails.
    pub fn simple(&mut self, tag: u8, rest: &[u8]) -> io::Result<Outcome> {
        self.command(tag, rest)?;
        self.result()
    }

    /// Becomes another user; empty proofs make the other side ask for one.
    ///
    /// # Errors
    /// When it is refused.
    pub fn change_user(&mut self, user: &str, database: &str, collation: u16) -> io::Result<()> {
        let mut bytes = [user.as_bytes(), &[0, 0], database.as_bytes(), &[0]].concat();
        bytes.extend_from_slice(&collation.to_le_bytes());
        bytes.extend_from_slice(b"caching_sha2_password\0");
        self.command(0x11, &bytes)?;
        self.prove()
    }
}

/// Attributes with the marks of what is NULL, their types and their values, all texts.
fn put_attributes(attributes: &[(&str, &str)], bytes: &mut Vec<u8>) {
    if attributes.is_empty() {
        return;
    }
    let text = |bytes: &mut Vec<u8>, text: &str| {
        bytes.push(u8::try_from(text.len()).ok().filter(|len| *len < 251).expect("a short text"));
        bytes.extend_from_slice(text.as_bytes());
    };
    bytes.extend(std::iter::repeat_n(0, attributes.len().div_ceil(8)));
    bytes.push(1);
    for (name, _) in attributes {
        bytes.extend_from_slice(&[253, 0]);
        text(bytes, name);
    }
    for (_, value) in attributes {
        text(bytes, value);
    }
}

fn proof(plugin: &[u8], nonce: &[u8]) -> Vec<u8> {
    let password = PASSWORD.as_bytes();
    match plugin {
        b"mysql_native_password" => scramble_native(nonce, password).map(|proof| proof.to_vec()),
        _ => scramble_sha256(nonce, password).map(|proof| proof.to_vec()),
    }
    .unwrap_or_default()
}

fn error(packet: &[u8]) -> (u16, String) {
    let mut rest = packet.get(1..).unwrap_or_default();
    let code = short(&mut rest);
    (code, String::from_utf8_lossy(rest.get(6..).unwrap_or_default()).into_owned())
}

fn short(rest: &mut &[u8]) -> u16 {
    let (now, later) = rest.split_at(2);
    *rest = later;
    u16::from_le_bytes([now[0], now[1]])
}

fn number(rest: &mut &[u8]) -> u64 {
    let (first, later) = rest.split_first().expect("a number");
    let width = match first {
        0xfc => 2,
        0xfd => 3,
        0xfe => 8,
        small => {
            *rest = later;
            return u64::from(*small);
        }
    };
    let (now, later) = later.split_at(width);
    *rest = later;
    now.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

fn text<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let length = usize::try_from(number(rest)).expect("a length");
    let (now, later) = rest.split_at(length);
    *rest = later;
    now
}
