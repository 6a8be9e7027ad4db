//! The packets of the handshake: the database's greeting and the client's answer.
//!
//! "Protocol::HandshakeV10", "Protocol::HandshakeResponse41", "Protocol::SSLRequest".

use super::flags::capability as cap;
use super::frame::{Reader, put_text};
use super::proof::NONCE;

/// utf8mb4_general_ci, which every server knows.
pub const COLLATION: u8 = 45;

/// The greeting of a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    pub version: Vec<u8>,
    pub thread: u32,
    pub nonce: [u8; NONCE],
    pub capabilities: u64,
    pub collation: u8,
    pub plugin: Vec<u8>,
}

impl Hello {
    /// Whether it is MariaDB that greets.
    pub fn is_mariadb(&self) -> bool {
        memchr::memmem::find(&self.version, b"MariaDB").is_some()
    }

    /// Appends the payload.
    pub fn put(&self, out: &mut Vec<u8>) {
        let (common, more) = halves(self.capabilities);
        let (low, high) = common.split_at(2);
        let (one, two) = self.nonce.split_at(8);
        out.push(10);
        out.extend_from_slice(&self.version);
        out.push(0);
        out.extend_from_slice(&self.thread.to_le_bytes());
        out.extend_from_slice(one);
        out.push(0);
        out.extend_from_slice(low);
        out.push(self.collation);
        out.extend_from_slice(&super::flags::status::AUTOCOMMIT.to_le_bytes());
        out.extend_from_slice(high);
        out.push(NONCE as u8 + 1);
        out.extend_from_slice(&[0; 6]);
        out.extend_from_slice(&more);
        out.extend_from_slice(two);
        out.push(0);
        out.extend_from_slice(&self.plugin);
        out.push(0);
    }

    /// Reads the payload.
    pub fn read(payload: &[u8]) -> Option<Self> {
        let mut reader = Reader(payload);
        if reader.byte()? != 10 {
            return None;
        }
        let version = reader.zero_text()?.to_vec();
        let thread = reader.u32()?;
        let one = reader.take(8)?;
        reader.byte()?;
        let low = reader.u16()?;
        let collation = reader.byte()?;
        reader.u16()?;
        let high = reader.u16()?;
        let nonce_len = usize::from(reader.byte()?);
        reader.take(6)?;
        let capabilities = whole(u32::from(low) | u32::from(high) << 16, reader.u32()?);
        let two = reader.take(nonce_len.saturating_sub(8).max(13))?;
        let mut nonce = [0; NONCE];
        for (place, byte) in nonce.iter_mut().zip(one.iter().chain(two)) {
            *place = *byte;
        }
        let plugin = if capabilities & cap::PLUGIN_AUTH != 0 { rest_text(&mut reader) } else { &[] };
        Some(Self { version, thread, nonce, capabilities, collation, plugin: plugin.to_vec() })
    }
}

/// Capabilities as they go over the wire: those of both databases, and MariaDB's own. The lowest bit, which every
/// client of MySQL has, says that there are none of these.
fn halves(capabilities: u64) -> ([u8; 4], [u8; 4]) {
    let more = (capabilities >> 32) as u32;
    let common = if more == 0 { capabilities } else { capabilities & !cap::LONG_PASSWORD } as u32;
    (common.to_le_bytes(), more.to_le_bytes())
}

/// What `halves` took apart.
fn whole(common: u32, more: u32) -> u64 {
    let common = u64::from(common);
    if common & cap::LONG_PASSWORD == 0 { common | u64::from(more) << 32 } else { common }
}

/// A text up to a zero byte, or to the end where some peers leave the zero out.
fn rest_text<'a>(reader: &mut Reader<'a>) -> &'a [u8] {
    match reader.zero_text() {
        Some(text) => text,
        None => std::mem::take(&mut reader.0),
    }
}

/// What a client says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    pub capabilities: u64,
    /// One byte of it in a handshake, two in a change of the user.
    pub collation: u16,
    pub user: Vec<u8>,
    pub proof: Vec<u8>,
    pub database: Vec<u8>,
    pub plugin: Vec<u8>,
}

/// Bytes of a request for TLS: an answer that stops before the user's name.
pub const TLS_REQUEST: usize = 32;

impl Answer {
    /// Appends the part that a request for TLS consists of.
    pub fn put_front(&self, out: &mut Vec<u8>) {
        let (common, more) = halves(self.capabilities);
        out.extend_from_slice(&common);
        out.extend_from_slice(&(1u32 << 24).to_le_bytes());
        out.push(self.collation as u8);
        out.extend_from_slice(&[0; 19]);
        out.extend_from_slice(&more);
    }

    /// Appends the payload.
    pub fn put(&self, out: &mut Vec<u8>) {
        self.put_front(out);
        out.extend_from_slice(&self.user);
        out.push(0);
        put_text(out, &self.proof);
        if self.capabilities & cap::CONNECT_WITH_DB != 0 {
            out.extend_from_slice(&self.database);
            out.push(0);
        }
        out.extend_from_slice(&self.plugin);
        out.push(0);
    }

    /// Reads the payload; of a request for TLS only capabilities and collation.
    pub fn read(payload: &[u8]) -> Option<Self> {
        let mut reader = Reader(payload);
        let common = reader.u32()?;
        reader.u32()?;
        let collation = reader.byte()?;
        reader.take(19)?;
        let capabilities = whole(common, reader.u32()?);
        let mut answer = Self { capabilities, collation: collation.into(), ..Self::default() };
        if payload.len() == TLS_REQUEST {
            return Some(answer);
        }
        answer.user = reader.zero_text()?.to_vec();
        answer.proof = if capabilities & cap::PLUGIN_AUTH_LENENC != 0 {
            reader.text()?.to_vec()
        } else if capabilities & cap::SECURE_CONNECTION != 0 {
            let length = usize::from(reader.byte()?);
            reader.take(length)?.to_vec()
        } else {
            reader.zero_text()?.to_vec()
        };
        if capabilities & cap::CONNECT_WITH_DB != 0 {
            answer.database = rest_text(&mut reader).to_vec();
        }
        if capabilities & cap::PLUGIN_AUTH != 0 {
            answer.plugin = rest_text(&mut reader).to_vec();
        }
        Some(answer)
    }

    /// Reads the payload of a command to change the user, from a client with these capabilities.
    /// "COM_CHANGE_USER".
    pub fn read_change(payload: &[u8], capabilities: u64) -> Option<Self> {
        let mut reader = Reader(payload);
        reader.byte()?;
        let mut answer = Self { capabilities, ..Self::default() };
        answer.user = reader.zero_text()?.to_vec();
        answer.proof = if capabilities & cap::SECURE_CONNECTION != 0 {
            let length = usize::from(reader.byte()?);
            reader.take(length)?.to_vec()
        } else {
            reader.zero_text()?.to_vec()
        };
        answer.database = rest_text(&mut reader).to_vec();
        // Older clients end here.
        answer.collation = reader.u16().unwrap_or(COLLATION.into());
        if capabilities & cap::PLUGIN_AUTH != 0 {
            answer.plugin = rest_text(&mut reader).to_vec();
        }
        Some(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_survive_and_cuts_do_no_harm() {
        let hello = Hello {
            version: b"8.4.0".to_vec(),
            thread: 77,
            nonce: *b"abcdefghijklmnopqrst",
            capabilities: (cap::OURS | cap::FLAVOUR) & !cap::LONG_PASSWORD,
            collation: 45,
            plugin: b"caching_sha2_password".to_vec(),
        };
        let mut bytes = Vec::new();
        hello.put(&mut bytes);
        assert_eq!(Hello::read(&bytes), Some(hello));
        for cut in 0..bytes.len() {
            let _ = Hello::read(&bytes[..cut]);
        }
        let answer = Answer {
            capabilities: cap::OURS,
            collation: 255,
            user: b"app".to_vec(),
            proof: vec![9; 32],
            database: b"shop".to_vec(),
            plugin: b"mysql_native_password".to_vec(),
        };
        bytes.clear();
        answer.put(&mut bytes);
        assert_eq!(Answer::read(&bytes), Some(answer));
        for cut in 0..bytes.len() {
            let _ = Answer::read(&bytes[..cut]);
        }
    }

    #[test]
    fn changes_of_the_user() {
        let bytes = b"\x11other\0\x02xxshop\0\xff\0caching_sha2_password\0";
        let all = cap::SECURE_CONNECTION | cap::PLUGIN_AUTH;
        let answer = Answer::read_change(bytes, all).unwrap();
        assert_eq!(
            (&*answer.user, &*answer.proof, &*answer.database),
            (&b"other"[..], &b"xx"[..], &b"shop"[..])
        );
        assert_eq!((answer.collation, &*answer.plugin), (255, &b"caching_sha2_password"[..]));
        for cut in 0..bytes.len() {
            let _ = Answer::read_change(&bytes[..cut], all);
        }
        let old = Answer::read_change(b"\x11other\0xx\0shop\0", 0).unwrap();
        assert_eq!(
            (&*old.proof, &*old.database, old.collation),
            (&b"xx"[..], &b"shop"[..], COLLATION.into())
        );
    }
}
