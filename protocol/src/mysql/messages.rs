//! OK, EOF and ERR packets: read, written, and stripped of what a client did not ask for.
//!
//! "Generic Response Packets". Values quoted from a packet are bounded and made printable.

use super::flags::{mark, status};
use super::frame::{self, Reader, put_number, put_text};
use crate::fault::Cause;
use crate::{Fault, Severity};

/// What an OK packet says, or an EOF packet in its place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Done<'a> {
    pub affected: u64,
    pub insert_id: u64,
    pub status: u16,
    pub warnings: u16,
    /// The sentence, such as `Rows matched: 1`.
    pub info: &'a [u8],
    /// Changes of the session's state, not yet read.
    pub changes: &'a [u8],
    /// Whether the packet ended before its end.
    pub cut: bool,
}

/// Reads an OK packet, or as much of a long one as is here. Both marks are taken: the one of
/// OK, and that of EOF where EOF packets are OK packets.
pub fn read_ok(body: &[u8]) -> Option<Done<'_>> {
    let mut reader = Reader(body);
    reader.byte()?;
    let (affected, insert_id) = (reader.number()?, reader.number()?);
    let (status, warnings) = (reader.u16()?, reader.u16()?);
    let mut done = Done { affected, insert_id, status, warnings, ..Done::default() };
    if reader.0.is_empty() {
        return Some(done);
    }
    let Some(info) = reader.text() else {
        // Before 5.7 the sentence had no length; what is cut has no end either.
        done.cut = status & status::STATE_CHANGED != 0;
        return Some(done);
    };
    done.info = info;
    if status & status::STATE_CHANGED != 0 {
        let mut rest = reader;
        match rest.text() {
            Some(changes) => done.changes = changes,
            None => done.cut = true,
        }
    }
    Some(done)
}

/// Reads a classic EOF packet: status and warnings.
pub fn read_eof(body: &[u8]) -> Option<Done<'_>> {
    let mut reader = Reader(body);
    reader.byte()?;
    let (warnings, status) = (reader.u16()?, reader.u16()?);
    Some(Done { status, warnings, ..Done::default() })
}

/// Appends an OK packet without changes of state; `head` is its first byte.
pub fn put_ok(out: &mut Vec<u8>, sequence: u8, head: u8, done: &Done<'_>) {
    let at = frame::begin(out, sequence);
    put_front(out, head, done.status & !status::STATE_CHANGED, done);
    if !done.info.is_empty() {
        put_text(out, done.info);
    }
    frame::end(out, at);
}

/// Appends an OK packet with its changes of state, but for those that tell which transactions were committed.
pub fn put_ok_unwritten(out: &mut Vec<u8>, sequence: u8, head: u8, done: &Done<'_>) {
    let len: usize = unwritten(done.changes).map(<[u8]>::len).sum();
    if len == 0 {
        return put_ok(out, sequence, head, done);
    }
    let at = frame::begin(out, sequence);
    put_front(out, head, done.status, done);
    put_text(out, done.info);
    put_number(out, len as u64);
    unwritten(done.changes).for_each(|change| out.extend_from_slice(change));
    frame::end(out, at);
}

fn put_front(out: &mut Vec<u8>, head: u8, status: u16, done: &Done<'_>) {
    out.push(head);
    put_number(out, done.affected);
    put_number(out, done.insert_id);
    out.extend_from_slice(&status.to_le_bytes());
    out.extend_from_slice(&done.warnings.to_le_bytes());
}

/// What an ERR packet says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorFields {
    pub errno: u16,
    /// `HY000` where the packet has none.
    pub state: [u8; 5],
    pub message: String,
}

impl ErrorFields {
    /// The database's code as faults carry it: `1064/42000`.
    pub fn code(&self) -> String {
        format!("{}/{}", self.errno, String::from_utf8_lossy(&self.state))
    }
}

/// Bytes of an error's sentence that are kept.
const MESSAGE_MAX: usize = 512;

/// Reads an ERR packet, or as much of it as is here.
pub fn read_error(body: &[u8]) -> ErrorFields {
    let mut reader = Reader(body);
    reader.byte();
    let errno = reader.u16().unwrap_or(0);
    let mut state = *b"HY000";
    if reader.0.first() == Some(&b'#')
        && let Some(given) = reader.0.get(1..6).and_then(|given| <[u8; 5]>::try_from(given).ok())
    {
        state = given;
        reader.take(6);
    }
    ErrorFields { errno, state, message: printable(reader.0, MESSAGE_MAX) }
}

/// At most `max` bytes of what a peer sent, without control characters.
pub fn printable(bytes: &[u8], max: usize) -> String {
    let text = String::from_utf8_lossy(bytes.get(..bytes.len().min(max)).unwrap_or_default());
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The errno and SQLSTATE of a fault.
fn codes(fault: &Fault) -> (u16, [u8; 5]) {
    if let Some((errno, state)) = fault.code.as_deref().and_then(|code| code.split_once('/'))
        && let (Ok(errno), Ok(state)) = (errno.parse(), <[u8; 5]>::try_from(state.as_bytes()))
    {
        return (errno, state);
    }
    let (errno, state) = match fault.cause {
        Cause::TooManyConnections => (1040, b"08004"),
        Cause::NoBackend => (2003, b"HY000"),
        Cause::BackendLost => (2013, b"HY000"),
        Cause::OutcomeUnknown => (1180, b"HY000"),
        Cause::BackendNonsense => (2027, b"HY000"),
        Cause::Shutdown => (1053, b"08S01"),
        Cause::Terminated => (1927, b"70100"),
        Cause::WrongPassword | Cause::NotAllowed => (1045, b"28000"),
        Cause::UnknownDatabase => (1049, b"42000"),
        Cause::ProtocolViolation => (1835, b"HY000"),
        Cause::NotSupported => (1235, b"42000"),
        Cause::Timeout => (3024, b"HY000"),
        Cause::Canceled => (1317, b"70100"),
        Cause::InvalidParameter => (1231, b"42000"),
        Cause::Syntax => (1064, b"42000"),
        Cause::NotPermitted => (1227, b"42000"),
        Cause::WrongState | Cause::BadConfiguration => (1105, b"HY000"),
        Cause::UnknownTable => (1146, b"42S02"),
        Cause::UnknownColumn => (1054, b"42S22"),
        Cause::UnknownStatement => (1243, b"HY000"),
        Cause::TooMany => (1461, b"42000"),
        Cause::Internal => (1105, b"HY000"),
    };
    (errno, *state)
}

/// Appends `fault` as an ERR packet. A client that has not said which protocol it speaks yet
/// is told no SQLSTATE.
pub fn fault(fault: &Fault, sequence: u8, with_state: bool, out: &mut Vec<u8>) {
    let (errno, state) = codes(fault);
    let at = frame::begin(out, sequence);
    out.push(mark::ERROR);
    out.extend_from_slice(&errno.to_le_bytes());
    if with_state {
        out.push(b'#');
        out.extend_from_slice(&state);
    }
    let mut text = printable(fault.message.as_bytes(), 400);
    if let Some(hint) = &fault.hint {
        text.push_str(". ");
        text.push_str(hint);
    }
    if fault.severity == Severity::Fatal && matches!(fault.cause, Cause::Shutdown | Cause::Terminated) {
        text.push_str(" (the connection is closed)");
    }
    out.extend_from_slice(text.as_bytes());
    frame::end(out, at);
}

/// The variable by which MariaDB tells which transaction the session committed last.
pub const LAST_GTID: &[u8] = b"last_gtid";

/// One change of the session's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changed<'a> {
    /// A system variable has this value now.
    Variable(&'a [u8], &'a [u8]),
    /// The default schema is this one now.
    Schema(&'a [u8]),
    /// Something changed that may be no variable.
    Something,
    /// The statements that would begin the next transaction as it was asked for.
    Characteristics(&'a [u8]),
    /// Where the session stands in its transaction, as eight letters.
    Transaction(&'a [u8]),
    /// The transactions that the command has committed.
    Written(&'a [u8]),
}

/// Shows each change in the tail of an OK packet. Returns false if they cannot be read.
pub fn changes(bytes: &[u8], mut visit: impl FnMut(Changed<'_>)) -> bool {
    let mut reader = Reader(bytes);
    while let Some(kind) = reader.byte() {
        let Some(data) = reader.text() else { return false };
        let mut data = Reader(data);
        match kind {
            0 => {
                while !data.0.is_empty() {
                    let (Some(name), Some(value)) = (data.text(), data.text()) else { return false };
                    visit(Changed::Variable(name, value));
                }
            }
            1 | 4 | 5 => {
                let Some(text) = data.text() else { return false };
                visit(match kind {
                    1 => Changed::Schema(text),
                    4 => Changed::Characteristics(text),
                    _ => Changed::Transaction(text),
                });
            }
            2 => visit(Changed::Something),
            3 => {
                // A byte says how they are written. There is but one way.
                if let (Some(0), Some(text)) = (data.byte(), data.text()) {
                    visit(Changed::Written(text));
                }
            }
            _ => {}
        }
    }
    true
}

/// Each change in the tail of an OK packet that tells something else than which transactions were committed, as it
/// stands there. Ends where they cannot be read.
fn unwritten(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Reader(bytes);
    let next = move || {
        let begun = rest.0;
        let kind = rest.byte()?;
        let data = rest.text()?;
        let tells = match kind {
            0 => Reader(data).text() == Some(LAST_GTID),
            kind => kind == 3,
        };
        Some(begun.get(..begun.len() - rest.0.len()).filter(|_| !tells).unwrap_or_default())
    };
    std::iter::from_fn(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ok_packets() {
        // As MariaDB 10.11 sends it after SET sql_mode.
        let body = b"\0\0\0\x02\xc0\0\0\0\x1a\0\x15\x08sql_mode\x0bANSI_QUOTES\x02\x011";
        let done = read_ok(body).unwrap();
        assert_eq!((done.status, done.warnings, done.info, done.cut), (0xc002, 0, &b""[..], false));
        let mut seen = Vec::new();
        assert!(changes(done.changes, |change| seen.push(format!("{change:?}").len())));
        assert_eq!(seen.len(), 2);
        for cut in 0..body.len() {
            if let Some(done) = read_ok(&body[..cut]) {
                assert!(done.cut || done.changes.is_empty(), "{cut}");
            }
        }
    }

    #[test]
    fn transactions_are_taken_out_and_the_rest_stays() {
        let state = b"\0\x0e\x0aautocommit\x02ON";
        let last = b"\0\x11\x09last_gtid\x060-1-26";
        let list = b"\x03\x05\0\x03U:7";
        let something = b"\x02\x011";
        let put = |changes: &[u8]| {
            let mut out = Vec::new();
            let done = Done { status: 0x4002, info: b"info", changes, ..Done::default() };
            put_ok_unwritten(&mut out, 1, mark::OK, &done);
            out.split_off(4)
        };
        let mixed = put(&[&state[..], last, list, something].concat());
        let read = read_ok(&mixed).unwrap();
        assert_eq!(read.changes, [&state[..], something].concat());
        assert_eq!((read.status, read.info), (0x4002, &b"info"[..]));
        let alone = put(&[&last[..], list].concat());
        let read = read_ok(&alone).unwrap();
        assert_eq!((read.changes, read.status, read.info), (&b""[..], 2, &b"info"[..]));
        // Whatever they say of their length, nothing is made up.
        let all = [&state[..], last, list, something].concat();
        for cut in 0..all.len() {
            assert!(put(&all[..cut]).len() <= put(&all).len());
        }
    }

    #[test]
    fn changes_that_lie_about_their_length() {
        for bad in
            [&b"\0\x05"[..], b"\0\x02\x09a", b"\x01\x01\x09", b"\x05\xfe\xff\xff\xff\xff\xff\xff\xff\xff"]
        {
            assert!(!changes(bad, |_| {}), "{bad:?}");
        }
    }

    #[test]
    fn errors() {
        let fields = read_error(b"\xff\x15\x04#28000Access denied\n");
        assert_eq!((fields.errno, fields.state, fields.code().as_str()), (1045, *b"28000", "1045/28000"));
        assert_eq!(fields.message, "Access denied ");
        assert_eq!(read_error(b"\xff\x10\x04Too many").state, *b"HY000");
        for cut in 0..6 {
            read_error(&b"\xff\x10\x04#280"[..cut]);
        }
    }

    #[test]
    fn faults() {
        let mut out = Vec::new();
        let told = Fault::error(Cause::NoBackend, "no primary").code("1290/HY000");
        fault(&told, 1, true, &mut out);
        assert_eq!(out, b"\x13\0\0\x01\xff\x0a\x05#HY000no primary");
    }
}
