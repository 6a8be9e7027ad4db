//! What a client may say before anything else: the packets that have a length but no type.
//!
//! "Message Flow", sections Start-up, SSL Session Encryption, Canceling Requests in Progress.
//! Lengths and layout are held to the rules of PostgreSQL's own server. Nothing here knows
//! what was said before; `login` does. No packet makes more than its own length to be kept.

use super::messages;
use crate::fault::{Cause, Fault};
use crate::handshake::Greeting;
use std::fmt;

/// Bytes of a packet behind its length field, at least and at most.
const BODY: std::ops::RangeInclusive<usize> = 4..=10_000;

/// Bytes of the secret half of a cancel key.
const SECRET: std::ops::RangeInclusive<usize> = 4..=256;

/// How many settings one client may ask for.
const SETTINGS_MAX: usize = 256;

/// The newest version we speak.
const NEWEST: u32 = 3 << 16 | 2;

const CANCEL_REQUEST: u32 = 1234 << 16 | 5678;
const SSL_REQUEST: u32 = 1234 << 16 | 5679;
const GSS_REQUEST: u32 = 1234 << 16 | 5680;

/// A TLS record that begins a handshake. As a length it would be far beyond `BODY`.
const TLS_HANDSHAKE: u8 = 0x16;

/// Names one connection to whoever wants to cancel what runs on it (BackendKeyData).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct CancelKey {
    pid: u32,
    secret: Box<[u8]>,
}

impl CancelKey {
    /// A key as it came over the wire, or `None` if the secret is not 4 to 256 bytes long.
    pub fn new(pid: u32, secret: &[u8]) -> Option<Self> {
        SECRET.contains(&secret.len()).then(|| Self { pid, secret: secret.into() })
    }

    /// The process's number; the database's own, or made up by `new_key`.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The secret half, 4 to 256 bytes.
    pub fn secret(&self) -> &[u8] {
        &self.secret
    }
}

impl fmt::Debug for CancelKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancelKey").field("pid", &self.pid).finish_non_exhaustive()
    }
}

/// A new key: a positive number, and a secret of 32 bytes if `long` (protocol 3.2) or else 4. The upper half of
/// the number is `owner`, unless that is 0.
pub fn new_key(random: [u8; 36], long: bool, owner: u16) -> CancelKey {
    let [a, b, c, d, secret @ ..] = random;
    let [a, b] = if owner == 0 { [a, b] } else { owner.to_be_bytes() };
    let pid = (u32::from_be_bytes([a, b, c, d]) & 0x7fff_ffff).max(1);
    let [e, f, g, h, ..] = secret;
    CancelKey { pid, secret: if long { secret.into() } else { [e, f, g, h].into() } }
}

/// The CancelRequest for a key. The length of the key tells the versions apart.
pub fn cancel_request(key: &CancelKey) -> Vec<u8> {
    // A key is at most 256 bytes long, so the length is known to fit.
    let length = u32::try_from(12 + key.secret.len()).unwrap_or(u32::MAX);
    let mut out = Vec::with_capacity(12 + key.secret.len());
    for number in [length, CANCEL_REQUEST, key.pid] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    out.extend_from_slice(&key.secret);
    out
}

/// One packet without a type.
#[derive(Debug)]
pub enum Packet {
    /// SSLRequest.
    Tls,
    /// GSSENCRequest.
    Gss,
    /// Not a packet at all: the client began TLS without asking. Nothing is consumed.
    DirectTls,
    /// CancelRequest.
    Cancel(CancelKey),
    /// StartupMessage.
    Hello(Hello),
}

/// A StartupMessage.
#[derive(Debug)]
pub struct Hello {
    /// Who the client is and what it wants.
    pub greeting: Greeting,
    /// What must be said of the version: the one we grant, and the options we do not know.
    pub negotiate: Option<(u32, Vec<String>)>,
}

/// The packet at the start of `input` and its length, or `None` if it is cut.
pub fn packet(input: &[u8]) -> Result<Option<(usize, Packet)>, Fault> {
    if input.first() == Some(&TLS_HANDSHAKE) {
        return Ok(Some((0, Packet::DirectTls)));
    }
    let Some((&length, rest)) = input.split_first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_be_bytes(length) as usize;
    let body_len = length.saturating_sub(4);
    if !BODY.contains(&body_len) {
        return Err(violation("invalid length of startup packet"));
    }
    let Some(body) = rest.get(..body_len) else { return Ok(None) };
    let Some((&code, payload)) = body.split_first_chunk::<4>() else { return Ok(None) };
    let packet = match u32::from_be_bytes(code) {
        SSL_REQUEST if payload.is_empty() => Packet::Tls,
        GSS_REQUEST if payload.is_empty() => Packet::Gss,
        CANCEL_REQUEST => Packet::Cancel(cancel_key(payload)?),
        version if version >> 16 == 3 => Packet::Hello(hello(version, payload)?),
        version => {
            let (major, minor) = (version >> 16, version & 0xffff);
            let text = format!("unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.2");
            return Err(Fault::fatal(Cause::NotSupported, text));
        }
    };
    Ok(Some((length, packet)))
}

fn cancel_key(payload: &[u8]) -> Result<CancelKey, Fault> {
    let key = payload.split_first_chunk::<4>();
    key.and_then(|(pid, secret)| CancelKey::new(u32::from_be_bytes(*pid), secret))
        .ok_or_else(|| violation("invalid length of cancel request packet"))
}

fn hello(version: u32, payload: &[u8]) -> Result<Hello, Fault> {
    let granted = version.min(NEWEST);
    let mut unknown = Vec::new();
    let mut asked = Asked::default();
    for pair in pairs(payload)? {
        let (name, value) = pair;
        if name.starts_with("_pq_.") {
            unknown.push(name.to_owned());
        } else {
            asked.parameter(name, value)?;
        }
    }
    let negotiate = (granted != version || !unknown.is_empty()).then_some((granted, unknown));
    Ok(Hello { greeting: asked.greeting(granted >= NEWEST)?, negotiate })
}

/// Names and values up to the terminator, which must be the last byte.
fn pairs(payload: &[u8]) -> Result<Vec<(&str, &str)>, Fault> {
    let layout = || violation("invalid startup packet layout: expected terminator as last byte");
    let mut pairs = Vec::new();
    let mut rest = payload;
    loop {
        let (name, after) = super::frame::split_text(rest).ok_or_else(layout)?;
        if name.is_empty() {
            return if after.is_empty() { Ok(pairs) } else { Err(layout()) };
        }
        let (value, next) = super::frame::split_text(after).ok_or_else(layout)?;
        let (Ok(name), Ok(value)) = (std::str::from_utf8(name), std::str::from_utf8(value)) else {
            return Err(violation("startup packet is not valid UTF-8"));
        };
        pairs.push((name, value));
        rest = next;
    }
}

/// What a StartupMessage has asked for so far.
#[derive(Default)]
struct Asked<'a> {
    user: Option<&'a str>,
    database: Option<&'a str>,
    replication: Option<&'a str>,
    options: Option<&'a str>,
    settings: Vec<(String, String)>,
}

impl<'a> Asked<'a> {
    fn parameter(&mut self, name: &'a str, value: &'a str) -> Result<(), Fault> {
        let place = match name {
            "user" => &mut self.user,
            "database" => &mut self.database,
            "replication" => &mut self.replication,
            "options" => &mut self.options,
            _ => {
                let name = setting_name(name)?;
                if self.settings.iter().any(|(have, _)| *have == name) {
                    return Err(repeated());
                }
                return push_setting(&mut self.settings, name, value.to_owned());
            }
        };
        if place.replace(value).is_some() { Err(repeated()) } else { Ok(()) }
    }

    fn greeting(self, long_keys: bool) -> Result<Greeting, Fault> {
        let Some(user) = self.user.filter(|user| !user.is_empty()) else {
            return Err(Fault::fatal(
                Cause::NotAllowed,
                "no PostgreSQL user name specified in startup packet",
            ));
        };
        if self.replication.is_some_and(|value| !is_false(value)) {
            return Err(Fault::fatal(Cause::NotSupported, "replication connections are not supported"));
        }
        // As in PostgreSQL, a parameter of the packet counts more than the same in `options`.
        let mut settings = self.settings;
        let mut earlier = Vec::new();
        for (name, value) in options(self.options.unwrap_or_default())? {
            match earlier.iter_mut().find(|(have, _): &&mut (String, String)| *have == name) {
                Some(place) => place.1 = value,
                None => push_setting(&mut earlier, name, value)?,
            }
        }
        for (name, value) in earlier {
            if !settings.iter().any(|(have, _)| *have == name) {
                push_setting(&mut settings, name, value)?;
            }
        }
        let database = self.database.filter(|database| !database.is_empty()).unwrap_or(user);
        Ok(Greeting {
            user: user.to_owned(),
            database: database.to_owned(),
            settings,
            long_keys,
            ..Greeting::default()
        })
    }
}

fn push_setting(settings: &mut Vec<(String, String)>, name: String, value: String) -> Result<(), Fault> {
    if settings.len() >= SETTINGS_MAX {
        return Err(violation("too many settings in startup packet"));
    }
    settings.push((name, value));
    Ok(())
}

/// The lower-case form of a name that could be a setting's: any other is refused here, so
/// that whoever sends it on need not wonder what it might do inside a statement.
fn setting_name(name: &str) -> Result<String, Fault> {
    let formed = !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit() || c == '.' || c == '$')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '$') || !c.is_ascii());
    if formed {
        Ok(name.to_ascii_lowercase())
    } else {
        let shown = messages::printable(name.as_bytes(), 63);
        Err(violation(format!("invalid configuration parameter name \"{shown}\"")))
    }
}

/// The switches in `options`: `-c name=value`, `-cname=value` and `--name=value`.
fn options(text: &str) -> Result<Vec<(String, String)>, Fault> {
    let mut found = Vec::new();
    let mut words = split_options(text).into_iter();
    while let Some(word) = words.next() {
        let assignment = match (word.strip_prefix("--"), word.strip_prefix("-c")) {
            (Some(long), _) => long.to_owned(),
            (None, Some("")) => words.next().ok_or_else(|| violation("option -c requires an argument"))?,
            (None, Some(short)) => short.to_owned(),
            (None, None) => {
                return Err(Fault::fatal(
                    Cause::NotSupported,
                    "only -c name=value and --name=value are supported in the startup parameter \"options\"",
                ));
            }
        };
        let Some((name, value)) = assignment.split_once('=') else {
            return Err(violation("a setting in the startup parameter \"options\" requires a value"));
        };
        found.push((setting_name(&name.replace('-', "_"))?, value.to_owned()));
    }
    Ok(found)
}

/// Words between white space, where a backslash takes the meaning from what follows it.
/// Each character is looked at once, so this ends whatever the text is.
fn split_options(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut escaped = false;
    for c in text.chars() {
        if !escaped && matches!(c, ' ' | '\t' | '\n' | '\x0b' | '\x0c' | '\r') {
            words.extend(word.take());
            continue;
        }
        let word = word.get_or_insert_default();
        escaped = !escaped && c == '\\';
        if !escaped {
            word.push(c);
        }
    }
    words.extend(word);
    words
}

/// Whether PostgreSQL's parse_bool takes this for false.
fn is_false(value: &str) -> bool {
    let value = value.to_ascii_lowercase();
    matches!(value.as_str(), "0" | "of" | "off" | "n" | "no" | "f" | "fa" | "fal" | "fals" | "false")
}

fn repeated() -> Fault {
    violation("a parameter is repeated in the startup packet")
}

fn violation(text: impl Into<std::borrow::Cow<'static, str>>) -> Fault {
    Fault::fatal(Cause::ProtocolViolation, text)
}

#[cfg(test)]
mod tests;
