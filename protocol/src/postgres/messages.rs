//! The messages that Splitpool itself sends to clients, and the fields of an error.
//!
//! "Message Formats". pgwire encodes what is sent once a session; what is sent once a request
//! is written straight into the buffer. Text is never rewritten, but it ends at its first zero
//! byte, because a terminator inside a field would let the rest pass for a field of its own.

use super::frame;
use super::startup::CancelKey;
use crate::{Fault, Reported, Severity};
use bytes::{Bytes, BytesMut};
use pgwire::messages::Message;
use pgwire::messages::response::ErrorResponse;
use pgwire::messages::startup::{BackendKeyData, SecretKey};

/// How much of an error's sentence is kept, in bytes.
const MESSAGE_MAX: usize = 1024;

/// How much of an error's severity is kept, in bytes.
const SEVERITY_MAX: usize = 32;

/// The code of an error that names none, or a malformed one.
const NO_CODE: &str = "XX000";

/// What an ErrorResponse or NoticeResponse says. Safe to log: bounded, no control characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorFields {
    /// ERROR, FATAL, PANIC...; empty if missing. Not localised where the database sends both.
    pub severity: String,
    /// SQLSTATE; `XX000` if it is missing or not five digits and upper-case letters.
    pub code: String,
    /// The primary sentence; empty if missing.
    pub message: String,
}

/// Appends a message of pgwire's. For messages whose bounds we keep ourselves.
pub(super) fn push(message: &impl Message, out: &mut Vec<u8>) {
    let mut buffer = BytesMut::new();
    message.encode(&mut buffer).expect("our own messages are within the bounds of their format");
    out.extend_from_slice(&buffer);
}

/// Appends `fault` as an ErrorResponse.
pub fn fault(fault: &Fault, out: &mut Vec<u8>) {
    let severity = match fault.severity {
        Severity::Error => "ERROR",
        Severity::Fatal => "FATAL",
    };
    let mut fields = vec![
        (b'S', severity.to_owned()),
        (b'V', severity.to_owned()),
        (b'C', until_zero(fault.sqlstate()).to_owned()),
        (b'M', until_zero(&fault.message).to_owned()),
    ];
    if let Some(hint) = &fault.hint {
        fields.push((b'H', until_zero(hint).to_owned()));
    }
    push(&ErrorResponse::new(fields), out);
}

/// Appends ReadyForQuery with the transaction's `status`: `I`, `T` or `E`.
pub fn ready(out: &mut Vec<u8>, status: u8) {
    out.extend_from_slice(&[b'Z', 0, 0, 0, 5, status]);
}

/// Appends what follows AuthenticationOk: the reported values, the key, ReadyForQuery.
pub fn welcome(reported: &Reported, key: &CancelKey, out: &mut Vec<u8>) {
    for (name, value) in reported.iter() {
        parameter_status(name, value, out);
    }
    let secret = SecretKey::Bytes(Bytes::copy_from_slice(key.secret()));
    push(&BackendKeyData::new(key.pid().cast_signed(), secret), out);
    ready(out, b'I');
}

/// Appends a ParameterStatus. pgwire's encoder refuses values above 30,000 bytes.
pub fn parameter_status(name: &str, value: &str, out: &mut Vec<u8>) {
    let at = frame::begin(out, b'S');
    frame::text(out, until_zero(name).as_bytes());
    frame::text(out, until_zero(value).as_bytes());
    frame::end(out, at);
}

/// Appends NotificationResponse.
pub fn notification(process: i32, channel: &str, payload: &str, out: &mut Vec<u8>) {
    let at = frame::begin(out, b'A');
    out.extend_from_slice(&process.to_be_bytes());
    frame::text(out, until_zero(channel).as_bytes());
    frame::text(out, until_zero(payload).as_bytes());
    frame::end(out, at);
}

/// Appends NoticeResponse, a warning.
pub fn notice(message: &str, out: &mut Vec<u8>) {
    let at = frame::begin(out, b'N');
    for (kind, value) in [(b'S', "WARNING"), (b'V', "WARNING"), (b'C', "01000"), (b'M', until_zero(message))]
    {
        out.push(kind);
        frame::text(out, value.as_bytes());
    }
    out.push(0);
    frame::end(out, at);
}

/// Appends CommandComplete.
pub fn command_complete(tag: &[u8], out: &mut Vec<u8>) {
    let at = frame::begin(out, b'C');
    frame::text(out, tag);
    frame::end(out, at);
}

/// Appends ParseComplete.
pub fn parse_complete(out: &mut Vec<u8>) {
    out.extend_from_slice(b"1\0\0\0\x04");
}

/// Appends CloseComplete.
pub fn close_complete(out: &mut Vec<u8>) {
    out.extend_from_slice(b"3\0\0\0\x04");
}

/// Reads the body of an ErrorResponse or NoticeResponse. Fields may be missing, repeated (the
/// first counts) or cut: whatever is there is used.
pub fn error_fields(body: &[u8]) -> ErrorFields {
    let (mut severity, mut localised, mut code, mut message) = (None, None, None, None);
    let mut rest = body;
    while let Some((&kind, after)) = rest.split_first() {
        if kind == 0 {
            break;
        }
        let (value, next) = frame::split_text(after).unwrap_or((after, &[]));
        rest = next;
        let field = match kind {
            b'V' => &mut severity,
            b'S' => &mut localised,
            b'C' => &mut code,
            b'M' => &mut message,
            _ => continue,
        };
        field.get_or_insert(value);
    }
    ErrorFields {
        severity: printable(severity.or(localised).unwrap_or_default(), SEVERITY_MAX),
        code: code.and_then(sqlstate).unwrap_or(NO_CODE).to_owned(),
        message: printable(message.unwrap_or_default(), MESSAGE_MAX),
    }
}

fn sqlstate(code: &[u8]) -> Option<&str> {
    let formed = code.len() == 5 && code.iter().all(|c| c.is_ascii_digit() || c.is_ascii_uppercase());
    std::str::from_utf8(code).ok().filter(|_| formed)
}

/// At most `max` bytes of `text` for a log or a client: what is not text or would control a
/// terminal becomes a question mark.
pub(super) fn printable(text: &[u8], max: usize) -> String {
    let cut = text.get(..max).unwrap_or(text);
    let mut shown = String::with_capacity(cut.len());
    for chunk in cut.utf8_chunks() {
        shown.extend(chunk.valid().chars().map(|c| if c.is_control() { '?' } else { c }));
        if !chunk.invalid().is_empty() {
            shown.push('?');
        }
    }
    shown
}

pub(super) fn until_zero(text: &str) -> &str {
    text.split('\0').next().unwrap_or_default()
}

#[cfg(test)]
mod tests;
