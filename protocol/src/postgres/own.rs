//! What Splitpool itself asks a PostgreSQL backend: settings, inspection, clean-up.
//!
//! Values travel as parameters of `set_config`, never inside SQL text; the only text that is
//! put together is the name behind RESET, quoted. Everything is qualified with `pg_catalog`, because the session's search_path is its
//! own. "Extended Query" is the section followed.

use super::frame::{self, split_text};
use super::messages;
use crate::own::{Errand, Outcome, OwnReply, OwnStep};
use crate::settings::Change;
use crate::{Head, Held, ProtocolError, Settings};

/// The role is a setting too, but RESET ALL leaves it alone and `pg_settings` does not show it.
const ROLE: &str = "role";
/// The encoding in which a client's texts and the values of settings travel.
const ENCODING: &str = "client_encoding";
/// So is the session's authorization.
pub(super) const AUTHORIZATION: &str = "session_authorization";

const APPLY: &str = "SELECT pg_catalog.set_config($1, $2, false)";

/// What is left of a session, in one statement. The first column says what a row tells.
const INSPECT: &str = "SELECT 's', name, setting FROM pg_catalog.pg_settings \
    WHERE source OPERATOR(pg_catalog.=) 'session' \
    AND name OPERATOR(pg_catalog.<>) ALL ('{transaction_isolation,transaction_read_only,transaction_deferrable}') \
    UNION ALL SELECT 's', 'role', pg_catalog.current_setting('role') \
    UNION ALL SELECT 'a', pg_catalog.current_setting('session_authorization'), '' \
    UNION ALL SELECT 's', name, pg_catalog.current_setting(name, true) \
    FROM pg_catalog.unnest($1::pg_catalog.text[]) AS names(name) WHERE NOT EXISTS ( \
    SELECT FROM pg_catalog.pg_settings AS listed WHERE listed.name OPERATOR(pg_catalog.=) names.name) \
    UNION ALL SELECT 'h', 'temp', '' WHERE EXISTS (SELECT FROM pg_catalog.pg_class \
    WHERE relnamespace OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema()) \
    UNION ALL SELECT 'h', 'lock', '' WHERE EXISTS (SELECT FROM pg_catalog.pg_locks \
    WHERE locktype OPERATOR(pg_catalog.=) 'advisory' AND pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid()) \
    UNION ALL SELECT 'h', 'listen', channel FROM pg_catalog.pg_listening_channels() AS listened(channel) \
    UNION ALL SELECT 'h', 'prepare', '' WHERE EXISTS (SELECT FROM pg_catalog.pg_prepared_statements WHERE from_sql) \
    UNION ALL SELECT 'h', 'cursor', '' WHERE EXISTS (SELECT FROM pg_catalog.pg_cursors WHERE is_holdable)";

/// How isolated the open transaction is.
const ISOLATION: &str = "SELECT 'i', pg_catalog.current_setting('transaction_isolation'), NULL";

/// See `Protocol::encode_errand`.
pub(super) fn encode(errand: &Errand<'_>, out: &mut Vec<u8>) {
    match errand {
        Errand::Say(text) => query(text, out),
        Errand::Snapshot => query(ISOLATION.as_bytes(), out),
        Errand::Rollback => query(b"ROLLBACK", out),
        Errand::Discard => query(b"DISCARD ALL", out),
        Errand::DiscardSequences => query(b"DISCARD SEQUENCES", out),
        Errand::ResetSettings => query(b"RESET ALL; RESET ROLE", out),
        Errand::Inspect { names, .. } => {
            let array = array(names);
            statement(INSPECT, &[array.as_bytes()], out);
            finish(out);
        }
        Errand::Apply(changes) => {
            apply(changes, out);
            finish(out);
        }
    }
}

/// Appends what makes the changes. Who one is decides what one may set, so everything else is
/// set as the user that signed in: a role is left first and taken last.
fn apply(changes: &[Change<'_>], out: &mut Vec<u8>) {
    let role = changes.iter().find(|change| change.name() == ROLE);
    if role.is_some() {
        statement(APPLY, &[ROLE.as_bytes(), b"none"], out);
    }
    // The encoding says how the other values are to be read.
    let (encoding, rest): (Vec<_>, Vec<_>) =
        changes.iter().filter(|change| change.name() != ROLE).partition(|change| change.name() == ENCODING);
    for change in encoding.into_iter().chain(rest) {
        match change {
            Change::Set(name, value) => statement(APPLY, &[name.as_bytes(), value.as_bytes()], out),
            Change::Reset(name) => statement(&format!("RESET {}", quoted(name)), &[], out),
        }
    }
    if let Some(Change::Set(_, role)) = role {
        statement(APPLY, &[ROLE.as_bytes(), role.as_bytes()], out);
    }
}

fn query(text: &[u8], out: &mut Vec<u8>) {
    let at = frame::begin(out, b'Q');
    frame::text(out, text);
    frame::end(out, at);
}

/// Closes the unnamed statement, so that no client finds it, and ends the batch.
fn finish(out: &mut Vec<u8>) {
    out.extend_from_slice(b"C\0\0\0\x06S\0");
    let at = frame::begin(out, b'S');
    frame::end(out, at);
}

/// Parse, Bind and Execute of one statement with text parameters, on the unnamed statement
/// and portal.
fn statement(text: &str, values: &[&[u8]], out: &mut Vec<u8>) {
    let at = frame::begin(out, b'P');
    frame::text(out, b"");
    frame::text(out, text.as_bytes());
    out.extend_from_slice(&[0, 0]);
    frame::end(out, at);
    let at = frame::begin(out, b'B');
    out.extend_from_slice(&[0, 0, 0, 0]);
    out.extend_from_slice(&(values.len() as u16).to_be_bytes());
    for value in values {
        out.extend_from_slice(&(value.len() as u32).to_be_bytes());
        out.extend_from_slice(value);
    }
    out.extend_from_slice(&[0, 0]);
    frame::end(out, at);
    out.extend_from_slice(b"E\0\0\0\x09\0\0\0\0\0");
}

/// A setting's name as RESET takes it: parts may be keywords, so all are quoted.
fn quoted(name: &str) -> String {
    let parts: Vec<String> =
        name.split('.').map(|part| format!("\"{}\"", part.replace('"', "\"\""))).collect();
    parts.join(".")
}

/// A text array in PostgreSQL's notation.
fn array(names: &[Box<str>]) -> String {
    let quoted: Vec<String> =
        names.iter().map(|name| format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))).collect();
    format!("{{{}}}", quoted.join(","))
}

/// Reads the reply to one errand.
#[derive(Debug, Default)]
pub struct PgOwnReply {
    outcome: Outcome,
    settings: Vec<(Box<str>, Box<str>)>,
}

/// How many settings a session may leave behind; a listing has some 350 of them.
const SETTINGS_MAX: usize = 2048;

impl OwnReply for PgOwnReply {
    fn frame(&mut self, head: Head, body: &[u8]) -> Result<OwnStep, ProtocolError> {
        match head.tag {
            b'1' | b'2' | b'3' | b'C' | b'I' | b'n' | b'T' | b't' | b's' => {}
            b'D' => self.row(body).ok_or(ProtocolError("malformed row in the answer to an errand"))?,
            b'E' => {
                let fields = messages::error_fields(body);
                self.outcome.error.get_or_insert((fields.code.to_owned(), fields.message.to_owned()));
            }
            b'S' => {
                let pair = split_text(body).and_then(|(name, value)| Some((name, split_text(value)?.0)));
                if let Some((name, value)) = pair {
                    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
                    self.outcome.reported.push((text(name), text(value)));
                }
            }
            b'N' => return Ok(OwnStep::Pass),
            b'A' => return Ok(OwnStep::Note),
            b'Z' => {
                self.outcome.idle = body == b"I";
                self.outcome.inspection.settings = Settings::new(std::mem::take(&mut self.settings));
                return Ok(OwnStep::Over(Box::new(std::mem::take(&mut self.outcome))));
            }
            _ => return Err(ProtocolError("unexpected message in the answer to an errand")),
        }
        Ok(OwnStep::More)
    }
}

impl PgOwnReply {
    /// A row of the inspection; the rows of other errands have one column and tell nothing.
    fn row(&mut self, body: &[u8]) -> Option<()> {
        let (count, mut left) = body.split_first_chunk::<2>()?;
        if u16::from_be_bytes(*count) != 3 {
            return Some(());
        }
        let mut columns = [None; 3];
        for column in &mut columns {
            let (length, behind) = left.split_first_chunk::<4>()?;
            let length = i32::from_be_bytes(*length);
            if length >= 0 {
                let (value, behind) = behind.split_at_checked(length as usize)?;
                match std::str::from_utf8(value) {
                    Ok(text) => *column = Some(text),
                    // A value in another encoding cannot be carried: only this backend has it.
                    Err(_) => {
                        self.outcome.inspection.held = self.outcome.inspection.held.union(Held::UNKNOWN)
                    }
                }
                left = behind;
            } else {
                left = behind;
            }
        }
        if self.settings.len() > SETTINGS_MAX {
            return None;
        }
        match columns {
            [Some("s"), Some(ROLE), Some("none")] | [Some("s"), _, None] => {}
            [Some("i"), Some(level), _] => {
                self.outcome.snapshot = !matches!(level, "read committed" | "read uncommitted");
            }
            [Some("a"), Some(user), _] => self.settings.push((AUTHORIZATION.into(), user.into())),
            [Some("s"), Some(name), Some(value)] => self.settings.push((name.into(), value.into())),
            [Some("h"), Some("listen"), Some(channel)] => {
                let found = &mut self.outcome.inspection;
                found.held = found.held.union(Held::LISTEN);
                if found.channels.len() > SETTINGS_MAX {
                    return None;
                }
                found.channels.push(channel.into());
            }
            [Some("h"), Some(what), _] => {
                let held = &mut self.outcome.inspection.held;
                *held = held.union(match what {
                    "temp" => Held::TEMP_TABLE,
                    "lock" => Held::SESSION_LOCK,
                    "prepare" => Held::SQL_PREPARE,
                    "cursor" => Held::HOLD_CURSOR,
                    _ => Held::UNKNOWN,
                });
            }
            _ => {}
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted() {
        assert_eq!(quoted("app.default"), r#""app"."default""#);
        assert_eq!(quoted("x\"; DROP TABLE t"), r#""x""; DROP TABLE t""#);
    }

    #[test]
    fn arrays_are_quoted() {
        assert_eq!(array(&["a.b".into(), "x\"y\\".into()]), r#"{"a.b","x\"y\\"}"#);
        assert_eq!(array(&[]), "{}");
    }
}
