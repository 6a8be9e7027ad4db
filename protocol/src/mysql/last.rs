//! What a session's last statement did, for the client that asks next: ROW_COUNT(), FOUND_ROWS(), and the
//! diagnostics that are asked for in other words than SHOW WARNINGS.
//!
//! Only the backend that ran the statement knows, and that may be another client's by now. What the replies told is
//! kept here. The plain questions are answered from it. Where a count is asked for in an expression, `count.rs` writes
//! it there; ahead of other questions the backend is brought to the same state, by statements that have no other effect.

use super::columns::{BINARY, Definition};
use super::diagnosis::Diagnosis;
use super::flags::{capability as cap, mark, status};
use super::frame::{self, Reader, put_text};
use super::messages::{self, Done};

/// A question that can be answered without a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// `SHOW WARNINGS`, `SHOW ERRORS`.
    Conditions(Which),
    /// `SHOW COUNT(*) WARNINGS`, or of errors alone.
    Count { errors: bool },
    /// `SELECT ROW_COUNT()`.
    RowCount,
    /// `SELECT FOUND_ROWS()`.
    FoundRows,
}

impl Question {
    /// Whether the first letters say no more than that it may be one. Most texts are none.
    fn may_be(text: &[u8]) -> bool {
        match text {
            [b's' | b'S', b'h' | b'H', ..] => true,
            [b's' | b'S', _, _, _, _, _, rest @ ..] => {
                matches!(rest.trim_ascii_start().first(), Some(b'r' | b'R' | b'f' | b'F'))
            }
            _ => false,
        }
    }

    /// Reads a text as shells and drivers write it, with the name of the column if it has one.
    pub fn of(text: &[u8]) -> Option<(Self, &str)> {
        let text = text.trim_ascii();
        let text = text.strip_suffix(b";").unwrap_or(text);
        if !Self::may_be(text) || text.len() > 128 {
            return None;
        }
        let text = std::str::from_utf8(text).ok()?;
        let (verb, rest) = text.split_at_checked(6)?;
        if text.len() > 4 && text.get(..4)?.eq_ignore_ascii_case("show") {
            return Self::of_conditions(text.get(4..)?);
        }
        if !verb.eq_ignore_ascii_case("select") || !rest.starts_with(|c: char| c.is_ascii_whitespace()) {
            return None;
        }
        let rest = rest.trim_ascii();
        let (call, rest) = rest.split_once(')')?;
        let (name, inside) = call.split_once('(')?;
        let asked = if name.eq_ignore_ascii_case("row_count") {
            Self::RowCount
        } else if name.eq_ignore_ascii_case("found_rows") {
            Self::FoundRows
        } else {
            return None;
        };
        let mut words = rest.split_ascii_whitespace();
        let column = match (words.next(), words.next(), words.next()) {
            _ if !inside.trim_ascii().is_empty() => return None,
            (None, ..) => text.get(text.len() - text.get(6..)?.trim_ascii().len()..)?,
            (Some(word), Some(column), None) if word.eq_ignore_ascii_case("as") => column,
            (Some(column), None, _) => column,
            _ => return None,
        };
        let column = column.trim_matches('`');
        let plain = column.bytes().all(|c| c.is_ascii_alphanumeric() || b"_() ".contains(&c));
        plain.then_some((asked, column))
    }

    /// Reads what stands behind SHOW.
    fn of_conditions(text: &str) -> Option<(Self, &str)> {
        let mut words =
            text.split(|c: char| c.is_ascii_whitespace() || c == ',').filter(|word| !word.is_empty());
        let mut first = words.next()?;
        let counts = first.eq_ignore_ascii_case("count(*)");
        if counts {
            first = words.next()?;
        }
        let errors = first.eq_ignore_ascii_case("errors");
        if !errors && !first.eq_ignore_ascii_case("warnings") {
            return None;
        }
        let limit = [words.next(), words.next(), words.next(), words.next(), words.next()];
        let number = |word: &str| word.parse::<u64>().ok();
        let (skip, take) = match limit {
            [None, ..] if counts => {
                let column = if errors { "@@session.error_count" } else { "@@session.warning_count" };
                return Some((Self::Count { errors }, column));
            }
            [None, ..] => (0, u64::MAX),
            [Some(word), ..] if counts || !word.eq_ignore_ascii_case("limit") => return None,
            [_, Some(take), None, ..] if !text.contains(',') => (0, number(take)?),
            [_, Some(skip), Some(take), None, _] if text.matches(',').count() == 1 => {
                (number(skip)?, number(take)?)
            }
            [_, Some(take), Some(word), Some(skip), None]
                if word.eq_ignore_ascii_case("offset") && !text.contains(',') =>
            {
                (number(skip)?, number(take)?)
            }
            _ => return None,
        };
        Some((Self::Conditions(Which { errors, skip, take }), ""))
    }
}

/// Which conditions are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Which {
    /// Errors alone.
    pub errors: bool,
    /// So many are left out first.
    pub skip: u64,
    /// At most.
    pub take: u64,
}

/// What of the statement before it a text may ask for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Asks {
    pub insert_id: bool,
    /// ROW_COUNT() or FOUND_ROWS().
    pub counts: bool,
    /// Or rather has rows counted that are not sent, for the statement behind it.
    pub counts_rows: bool,
    /// Errors and warnings, in any way but by SHOW WARNINGS alone.
    pub diagnostics: bool,
    /// In a way that leaves them as they are.
    pub keeps: bool,
    /// It may change what the database tells of changes.
    pub narrows: bool,
    /// How it may give rows numbers that no reply tells.
    pub numbers: Numbers,
    /// COMMIT or ROLLBACK, and whether the connection is to end with it if it says so.
    pub ends: Option<Option<bool>>,
}

/// How a statement may make an id that no OK packet tells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Numbers {
    #[default]
    Never,
    /// If it is answered with rows, as with RETURNING.
    ByRows,
    /// In a procedure.
    Within,
}

impl Asks {
    /// Whether one of the names by which it could be asked is in the text at all.
    pub fn of(text: &[u8]) -> Self {
        let mut asks = Self::default();
        let is = |from: Option<usize>, word: &[u8]| {
            from.and_then(|from| text.get(from..from + word.len()))
                .is_some_and(|have| have.eq_ignore_ascii_case(word))
        };
        let mut at = 0;
        while let Some(next) = memchr::memchr2(b'_', b'@', text.get(at..).unwrap_or_default()) {
            at += next;
            // `last_insert_id` is found by its first underscore, `@@identity` by a sign.
            asks.insert_id |= is(at.checked_sub(4), b"last_insert_id") || is(Some(at), b"@@");
            asks.counts |= is(at.checked_sub(3), b"row_count") || is(at.checked_sub(5), b"found_rows");
            asks.counts_rows |= is(at.checked_sub(14), b"sql_calc_found_rows");
            asks.diagnostics |=
                is(at.checked_sub(7), b"warning_count") || is(at.checked_sub(5), b"error_count");
            asks.narrows |= is(at.checked_sub(7), b"session_track_system_variables");
            at += 1;
        }
        let front = text.trim_ascii_start();
        let begins =
            |word: &[u8]| front.get(..word.len()).is_some_and(|have| have.eq_ignore_ascii_case(word));
        if begins(b"get ") || begins(b"show ") {
            let mut words = front.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
            let known: [&[u8]; 3] = [b"diagnostics", b"errors", b"warnings"];
            asks.keeps = words
                .by_ref()
                .take(4)
                .any(|word| known.iter().any(|known| word.trim_ascii_end().eq_ignore_ascii_case(known)));
            asks.diagnostics |= asks.keeps;
        }
        asks.numbers = match front.first() {
            Some(b'c' | b'C') if begins(b"call") => Numbers::Within,
            Some(b'i' | b'I') if begins(b"insert") => Numbers::ByRows,
            Some(b'r' | b'R') if begins(b"replace") => Numbers::ByRows,
            _ => Numbers::Never,
        };
        if matches!(front.first(), Some(b'c' | b'C' | b'r' | b'R'))
            && (begins(b"commit") || begins(b"rollback"))
        {
            asks.ends = ends(front);
        }
        asks
    }
}

/// Reads a COMMIT or ROLLBACK: whether it says what becomes of the connection. `None`: it ends no transaction.
fn ends(text: &[u8]) -> Option<Option<bool>> {
    let text = text.trim_ascii();
    let text = text.strip_suffix(b";").unwrap_or(text);
    let mut words = text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let verb = words.next()?;
    if !verb.eq_ignore_ascii_case(b"commit") && !verb.eq_ignore_ascii_case(b"rollback") {
        return None;
    }
    let (mut releases, mut before): (Option<bool>, &[u8]) = (None, b"");
    for word in words {
        let is = |known: &[u8]| word.eq_ignore_ascii_case(known);
        if is(b"release") {
            releases = Some(!before.eq_ignore_ascii_case(b"no"));
        } else if !is(b"work") && !is(b"and") && !is(b"no") && !is(b"chain") {
            return None;
        }
        before = word;
    }
    Some(releases)
}

/// What the last statement did.
#[derive(Debug, Clone, Copy, Default)]
pub struct Last {
    /// What ROW_COUNT() gives: -1 after rows and after an error.
    pub row_count: i64,
    /// What FOUND_ROWS() gives, if `counted` is false.
    pub found_rows: u64,
    /// The database counted rows that were not sent: only the backend knows.
    pub counted: bool,
    /// Rows of the result under way.
    pub rows: u64,
}

/// The statement that leaves an error or a warning like this one.
fn signal(state: &str, errno: u16, message: &str, backslash_escapes: bool) -> String {
    let mut text = format!("SIGNAL SQLSTATE '{state}' SET MYSQL_ERRNO = {errno}, MESSAGE_TEXT = _utf8mb4'");
    for c in message.chars().take(128) {
        match c {
            '\'' => text.push_str("''"),
            '\\' if backslash_escapes => text.push_str("\\\\"),
            c => text.push(c),
        }
    }
    text.push('\'');
    text
}

/// Leaves no diagnostics. MariaDB forgets those of the statements before only at one that uses a table.
const CLEAR: &str = "DO (SELECT 1 FROM (SELECT 1) AS splitpool)";

/// What brings a backend to the diagnostics that the session had.
pub fn diagnosis_again(diagnosis: &Diagnosis, backslash_escapes: bool) -> String {
    let nothing = || CLEAR.to_owned();
    match diagnosis {
        Diagnosis::Nothing | Diagnosis::Lost => nothing(),
        Diagnosis::Failed(fields) => {
            let state = std::str::from_utf8(&fields.state).ok();
            let state = state
                .filter(|state| state.bytes().all(|c| c.is_ascii_alphanumeric()) && !state.starts_with("00"));
            let errno = fields.errno.max(1);
            state.map_or_else(nothing, |state| signal(state, errno, &fields.message, backslash_escapes))
        }
        Diagnosis::Fetched { bytes, .. } => last_warning(bytes).map_or_else(nothing, |(code, message)| {
            signal("01000", code.max(1), &message, backslash_escapes)
        }),
    }
}

/// Code and sentence of the last row of a kept answer to SHOW WARNINGS.
fn last_warning(mut packets: &[u8]) -> Option<(u16, String)> {
    let mut found = None;
    while let Ok(Some(head)) = frame::head(packets) {
        let mut row = Reader(packets.get(frame::HEADER..head.len())?);
        let mut cell = || row.text().and_then(|text| std::str::from_utf8(text).ok());
        if let (Some("Note" | "Warning" | "Error"), Some(code), Some(message)) = (cell(), cell(), cell()) {
            found = code.parse().ok().map(|code| (code, message.to_owned()));
        }
        packets = packets.get(head.len()..)?;
    }
    found
}

/// Appends a result with one number, for a client with these abilities. Numbered from `sequence`.
pub fn put_number_result(
    column: &str,
    number: i64,
    is_binary: bool,
    abilities: u64,
    status: u16,
    mut sequence: u8,
    out: &mut Vec<u8>,
) {
    const LONGLONG: u8 = 8;
    /// NOT NULL and BINARY.
    const FLAGS: u16 = 0x81;
    let deprecates_eof = abilities & cap::DEPRECATE_EOF != 0;
    sequence = frame::put(out, sequence, &[1]);
    let column = Definition { name: column, collation: BINARY, width: 21, kind: LONGLONG, flags: FLAGS };
    sequence = frame::put(out, sequence, &column.payload(abilities));
    if !deprecates_eof {
        sequence = put_eof(status, sequence, out);
    }
    let mut row = Vec::new();
    if is_binary {
        row.extend_from_slice(&[0, 0]);
        row.extend_from_slice(&number.to_le_bytes());
    } else {
        put_text(&mut row, number.to_string().as_bytes());
    }
    sequence = frame::put(out, sequence, &row);
    if deprecates_eof {
        messages::put_ok(out, sequence, mark::EOF, &Done { status, ..Done::default() });
    } else {
        put_eof(status, sequence, out);
    }
}

/// Appends a classic EOF packet. Returns the next number.
pub fn put_eof(status: u16, sequence: u8, out: &mut Vec<u8>) -> u8 {
    let at = frame::begin(out, sequence);
    out.extend_from_slice(&[mark::EOF, 0, 0]);
    out.extend_from_slice(&(status & !status::STATE_CHANGED).to_le_bytes());
    frame::end(out, at);
    sequence.wrapping_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mysql::messages::ErrorFields;

    #[test]
    fn questions() {
        use Question::{Conditions, Count, FoundRows, RowCount};
        let which = |errors, skip, take| Some((Conditions(Which { errors, skip, take }), ""));
        for (text, question) in [
            ("SHOW WARNINGS", which(false, 0, u64::MAX)),
            (" show\twarnings ; ", which(false, 0, u64::MAX)),
            ("SHOW WARNINGS LIMIT 1", which(false, 0, 1)),
            ("SHOW ERRORS LIMIT 2, 5", which(true, 2, 5)),
            ("show warnings limit 2 offset 1", which(false, 1, 2)),
            ("SHOW COUNT(*) ERRORS", Some((Count { errors: true }, "@@session.error_count"))),
            ("SHOW COUNT(*) WARNINGS", Some((Count { errors: false }, "@@session.warning_count"))),
            ("SHOW WARNINGS LIMIT", None),
            ("SHOW WARNINGS LIMIT ?", None),
            ("SHOW WARNINGS LIMIT 1 2", None),
            ("SHOW WARNINGS, LIMIT 1", None),
            ("SHOW COUNT(*) WARNINGS LIMIT 1", None),
            ("SHOW TABLES", None),
            ("SELECT ROW_COUNT()", Some((RowCount, "ROW_COUNT()"))),
            ("select row_count( ) as n;", Some((RowCount, "n"))),
            ("SELECT FOUND_ROWS() AS `total`", Some((FoundRows, "total"))),
            ("SELECT FOUND_ROWS() total", Some((FoundRows, "total"))),
            ("SELECT ROW_COUNT() + 1", None),
            ("SELECT ROW_COUNT() INTO @x", None),
            ("SELECT ROW_COUNT(), 1", None),
            ("SELECTROW_COUNT()", None),
            ("SELECT", None),
            ("", None),
        ] {
            assert_eq!(Question::of(text.as_bytes()), question, "{text}");
        }
    }

    #[test]
    fn what_texts_ask() {
        let insert_id = Asks { insert_id: true, ..Asks::default() };
        let counts = Asks { counts: true, ..Asks::default() };
        let counts_rows = Asks { counts: true, counts_rows: true, ..Asks::default() };
        let diagnostics = Asks { diagnostics: true, keeps: true, ..Asks::default() };
        for (text, asks) in [
            ("SELECT LAST_INSERT_ID()", insert_id),
            ("last_insert_id", insert_id),
            ("a_b last_insert_ID", insert_id),
            ("select @@identity", insert_id),
            ("x_last_insert_id", insert_id),
            ("SET @n = ROW_COUNT()", counts),
            ("select sql_calc_found_rows 1", counts_rows),
            ("select found_rows()", counts),
            ("GET DIAGNOSTICS CONDITION 1 @m = MESSAGE_TEXT", diagnostics),
            ("show count(*) errors", diagnostics),
            ("SHOW ERRORS LIMIT 1", diagnostics),
            ("", Asks::default()),
            ("insert into t_x values (1)", Asks { numbers: Numbers::ByRows, ..Asks::default() }),
            ("last_insert_i", Asks::default()),
            ("row_", Asks::default()),
            ("select @x", Asks::default()),
            ("_", Asks::default()),
            ("SET session_track_system_variables = ''", Asks { narrows: true, ..Asks::default() }),
            ("CALL p()", Asks { numbers: Numbers::Within, ..Asks::default() }),
            ("COMMIT", Asks { ends: Some(None), ..Asks::default() }),
            ("commit work and no chain release ;", Asks { ends: Some(Some(true)), ..Asks::default() }),
            ("ROLLBACK AND CHAIN NO RELEASE", Asks { ends: Some(Some(false)), ..Asks::default() }),
            ("ROLLBACK TO release", Asks::default()),
            ("COMMIT; SELECT 1", Asks::default()),
        ] {
            assert_eq!(Asks::of(text.as_bytes()), asks, "{text}");
        }
        assert!(Asks::of(b"select @@warning_count").diagnostics);
    }

    #[test]
    fn diagnostics_again() {
        let fields = ErrorFields { errno: 1054, state: *b"42S22", message: "it's \\ odd".into() };
        let failed = Diagnosis::Failed(fields);
        assert_eq!(
            diagnosis_again(&failed, true),
            "SIGNAL SQLSTATE '42S22' SET MYSQL_ERRNO = 1054, MESSAGE_TEXT = _utf8mb4'it''s \\\\ odd'"
        );
        assert!(diagnosis_again(&failed, false).ends_with("_utf8mb4'it''s \\ odd'"));
        let odd = ErrorFields { errno: 0, state: *b"'; --", message: String::new() };
        assert_eq!(diagnosis_again(&Diagnosis::Failed(odd), true), CLEAR);
        assert_eq!(diagnosis_again(&Diagnosis::Nothing, true), CLEAR);
        let mut bytes = Vec::new();
        let mut row = Vec::new();
        for text in ["Warning", "1365", "Division by 0"] {
            put_text(&mut row, text.as_bytes());
        }
        frame::put(&mut bytes, 1, &[3]);
        frame::put(&mut bytes, 2, &row);
        let told = diagnosis_again(&Diagnosis::Fetched { bytes, sequence: 3 }, true);
        assert!(told.contains("'01000'") && told.contains("1365"), "{told}");
    }
}
