//! Writes what ROW_COUNT() and FOUND_ROWS() give into a text that asks for them.
//!
//! No statement without an effect on data leaves just any count, so a backend where the session's last statement did
//! not run cannot be brought to it. The calls are found outside quotes and comments, in the first statement of the
//! text alone: what stands behind asks of that one. Each gives way to its number. A definition is left as it is, since
//! what it says is run later.

use crate::tracker::Quoting;

/// What the last statement counted; `None` if that is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    pub row_count: i64,
    pub found_rows: Option<u64>,
}

impl Counts {
    fn of(self, function: &[u8]) -> Option<String> {
        if function.eq_ignore_ascii_case(b"row_count") {
            return Some(format!("({})", self.row_count));
        }
        let found = self.found_rows.filter(|_| function.eq_ignore_ascii_case(b"found_rows"))?;
        Some(format!("({found})"))
    }
}

/// The text with numbers in place of every call; `None` if there is none, or if nobody can tell how the text is to be
/// read.
pub fn with_counts(text: &[u8], counts: Counts, quoting: Quoting) -> Option<Vec<u8>> {
    if !quoting.trusted || !asks_now(text) {
        return None;
    }
    let mut out = Vec::with_capacity(text.len());
    let (mut at, mut from) = (0, 0);
    while let Some(byte) = text.get(at).copied() {
        let rest = text.get(at..).unwrap_or_default();
        at += match byte {
            b';' => break,
            b'\'' | b'"' | b'`' => quoted(rest, byte, quoting.backslash_escapes && byte != b'`'),
            c if is_name(c) => {
                let length = rest.iter().position(|byte| !is_name(*byte)).unwrap_or(rest.len());
                let own = !matches!(text.get(..at).and_then(<[u8]>::last), Some(b'@' | b'.'));
                let call = rest.get(length..).and_then(empty_call).filter(|_| own);
                let number = call.and_then(|_| counts.of(rest.get(..length).unwrap_or_default()));
                match (call, number) {
                    (Some(call), Some(number)) => {
                        out.extend_from_slice(text.get(from..at)?);
                        out.extend_from_slice(number.as_bytes());
                        from = at + length + call;
                        length + call
                    }
                    _ => length,
                }
            }
            _ => comment(rest).unwrap_or(1),
        };
    }
    (from > 0).then(|| {
        out.extend_from_slice(text.get(from..).unwrap_or_default());
        out
    })
}

/// Whether the text begins with a statement that evaluates what it says when it is run.
fn asks_now(mut text: &[u8]) -> bool {
    const VERBS: [&[u8]; 9] =
        [b"select", b"set", b"do", b"insert", b"update", b"delete", b"replace", b"with", b"call"];
    loop {
        text = text.trim_ascii_start();
        match comment(text).or_else(|| text.starts_with(b"(").then_some(1)) {
            Some(length) => text = text.get(length..).unwrap_or_default(),
            None => break,
        }
    }
    let length = text.iter().position(|byte| !is_name(*byte)).unwrap_or(text.len());
    VERBS.iter().any(|verb| text.get(..length).is_some_and(|word| word.eq_ignore_ascii_case(verb)))
}

/// The length of a comment, if one begins here. What only some versions run is code.
fn comment(rest: &[u8]) -> Option<usize> {
    match rest {
        [b'#', ..] => Some(line(rest)),
        [b'-', b'-', c, ..] if c.is_ascii_whitespace() => Some(line(rest)),
        [b'/', b'*', b'!', ..] | [b'/', b'*', b'M', b'!', ..] => None,
        [b'/', b'*', after @ ..] => {
            Some(memchr::memmem::find(after, b"*/").map_or(rest.len(), |length| length + 4))
        }
        _ => None,
    }
}

const fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | 0x80..=0xff)
}

/// The length of parentheses with nothing in them, and of the space before them.
fn empty_call(rest: &[u8]) -> Option<usize> {
    let spaces = |from: usize| {
        let rest = rest.get(from..).unwrap_or_default();
        from + rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count()
    };
    let open = spaces(0);
    let close = spaces(open + 1);
    (rest.get(open) == Some(&b'(') && rest.get(close) == Some(&b')')).then_some(close + 1)
}

/// The length of what is quoted; to the end if it is not closed.
fn quoted(rest: &[u8], quote: u8, escapes: bool) -> usize {
    let mut at = 1;
    while let Some(byte) = rest.get(at) {
        at += match byte {
            b'\\' if escapes => 2,
            byte if *byte == quote && rest.get(at + 1) == Some(&quote) => 2,
            byte if *byte == quote => return at + 1,
            _ => 1,
        };
    }
    rest.len()
}

fn line(rest: &[u8]) -> usize {
    memchr::memchr(b'\n', rest).unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_give_way_to_numbers() {
        let counts = Counts { row_count: 3, found_rows: Some(9) };
        for (text, expected) in [
            ("SELECT concat('n: ', ROW_COUNT())", Some("SELECT concat('n: ', (3))")),
            ("SELECT row_count ( ) + FOUND_ROWS(\n)", Some("SELECT (3) + (9)")),
            ("(SELECT 1 /*!50001 + row_count()*/)", Some("(SELECT 1 /*!50001 + (3)*/)")),
            ("/* why */ SET @n = row_count()", Some("/* why */ SET @n = (3)")),
            ("SELECT 'row_count()', ROW_COUNT()", Some("SELECT 'row_count()', (3)")),
            (r"SELECT 'it\'s row_count()', row_count()", Some(r"SELECT 'it\'s row_count()', (3)")),
            ("SELECT row_count(); SELECT row_count()", Some("SELECT (3); SELECT row_count()")),
            ("UPDATE t SET n = 1; SELECT row_count()", None),
            ("CREATE PROCEDURE p() SELECT row_count()", None),
            ("/*!50003 CREATE*/ /*!50020 DEFINER=a*/ PROCEDURE p() SELECT row_count()", None),
            ("SELECT 'it''s row_count()'", None),
            ("SELECT \"row_count()\", `row_count`()", None),
            ("SELECT 1 -- row_count()", None),
            ("SELECT 1 # row_count()\n, ROW_COUNT()", Some("SELECT 1 # row_count()\n, (3)")),
            ("SELECT 1 /* row_count() */", None),
            ("SELECT a.row_count(), @row_count, my_row_count(), row_count(1), row_count", None),
            ("SELECT 'open row_count()", None),
            ("", None),
        ] {
            let found = with_counts(text.as_bytes(), counts, Quoting::USUAL);
            assert_eq!(
                found.map(|text| String::from_utf8(text).expect("text")).as_deref(),
                expected,
                "{text}"
            );
        }
        let plain = Quoting { backslash_escapes: false, ..Quoting::USUAL };
        assert!(with_counts(br"SELECT 'a\', row_count()", counts, plain).is_some());
        assert!(with_counts(br"SELECT 'a\', row_count()", counts, Quoting::USUAL).is_none());
        assert!(with_counts(b"SELECT row_count()", counts, Quoting { trusted: false, ..plain }).is_none());
        let unknown = Counts { found_rows: None, ..counts };
        assert!(with_counts(b"SELECT 1 + found_rows()", unknown, plain).is_none());
    }
}
