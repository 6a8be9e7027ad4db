//! Writes what ROW_COUNT() and FOUND_ROWS() give into a text that asks for them.
//!
//! No statement without an effect on data leaves just any count, so a backend where the session's last statement did
//! not run cannot be brought to it. The calls are found outside quotes and comments, in the first statement of the
//! text alone: what stands behind asks of that one. Each gives way to its number, and the column that it stood in keeps
//! its name. A definition is left as it is, since what it says is run later.

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
            return Some(format!("CAST({} AS SIGNED)", self.row_count));
        }
        let found = self.found_rows.filter(|_| function.eq_ignore_ascii_case(b"found_rows"))?;
        Some(format!("CAST({found} AS SIGNED)"))
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
    let mut list = List::default();
    while let Some(byte) = text.get(at).copied() {
        let rest = text.get(at..).unwrap_or_default();
        at += match byte {
            b';' => break,
            b'\'' | b'"' | b'`' => {
                list.plain = false;
                quoted(rest, byte, quoting.backslash_escapes && byte != b'`')
            }
            c if is_name(c) => {
                let length = rest.iter().position(|byte| !is_name(*byte)).unwrap_or(rest.len());
                let own = !matches!(text.get(..at).and_then(<[u8]>::last), Some(b'@' | b'.'));
                let word = rest.get(..length).unwrap_or_default();
                let call = rest.get(length..).and_then(empty_call).filter(|_| own);
                let number = call.and_then(|_| counts.of(word));
                match (call, number) {
                    (Some(call), Some(number)) => {
                        out.extend_from_slice(text.get(from..at)?);
                        out.extend_from_slice(number.as_bytes());
                        from = at + length + call;
                        (list.counts, list.plain) = (true, true);
                        length + call
                    }
                    _ => {
                        list.word(word, at, text, &mut from, &mut out);
                        length
                    }
                }
            }
            _ => match comment(rest) {
                Some(length) => {
                    list.comment(at, length, text);
                    length
                }
                None => {
                    list.sign(byte, at, text, &mut from, &mut out);
                    1
                }
            },
        };
    }
    list.end(at, text, &mut from, &mut out);
    (from > 0).then(|| {
        out.extend_from_slice(text.get(from..).unwrap_or_default());
        out
    })
}

/// The list of columns of a SELECT, as far as it is read.
#[derive(Debug, Default)]
struct List {
    /// Where the column under way begins; `None` outside of the list.
    column: Option<usize>,
    depth: usize,
    /// A count was written into the column.
    counts: bool,
    /// What ends here ends with a parenthesis or a number, which are no names.
    plain: bool,
    /// It has a name of its own.
    named: bool,
}

impl List {
    /// A word begins at `at`.
    fn word(&mut self, word: &[u8], at: usize, text: &[u8], from: &mut usize, out: &mut Vec<u8>) {
        const ENDS: [&[u8]; 13] = [
            b"from",
            b"into",
            b"where",
            b"limit",
            b"order",
            b"group",
            b"having",
            b"union",
            b"for",
            b"lock",
            b"except",
            b"intersect",
            b"window",
        ];
        const AHEAD: [&[u8]; 5] = [b"select", b"distinct", b"distinctrow", b"all", b"high_priority"];
        let is_any = |words: &[&[u8]]| words.iter().any(|known| word.eq_ignore_ascii_case(known));
        let before = text.get(..at).unwrap_or_default().trim_ascii();
        let begins = before.is_empty() && word.eq_ignore_ascii_case(b"select");
        let goes_on = self.column.is_some_and(|column| column >= before.len())
            && (is_any(&AHEAD) || word.get(..4).is_some_and(|front| front.eq_ignore_ascii_case(b"sql_")));
        if begins || goes_on {
            self.column = Some(at + word.len());
        } else if self.depth == 0 && is_any(&ENDS) {
            self.end(at, text, from, out);
        } else {
            self.named |= self.depth == 0 && word.eq_ignore_ascii_case(b"as");
            self.plain = word.iter().all(u8::is_ascii_digit);
        }
    }

    /// What is neither a word nor quoted.
    fn sign(&mut self, byte: u8, at: usize, text: &[u8], from: &mut usize, out: &mut Vec<u8>) {
        match byte {
            b'(' => self.depth += 1,
            b')' => self.depth = self.depth.saturating_sub(1),
            b',' if self.depth == 0 && self.column.is_some() => {
                self.end(at, text, from, out);
                self.column = Some(at + 1);
            }
            _ => {}
        }
        if !byte.is_ascii_whitespace() {
            self.plain = byte == b')';
        }
    }

    /// One in front of a column is no part of its name.
    fn comment(&mut self, at: usize, length: usize, text: &[u8]) {
        let ahead = |column| text.get(column..at).is_some_and(|seen| seen.trim_ascii().is_empty());
        if self.column.is_some_and(ahead) {
            self.column = Some(at + length);
        }
    }

    /// The column under way ends in front of `at`. If a count was written into it, it is named as it would have been.
    fn end(&mut self, at: usize, text: &[u8], from: &mut usize, out: &mut Vec<u8>) {
        /// Longer names are not taken.
        const NAME_MAX: usize = 200;
        let Self { column, counts, plain, named, .. } = std::mem::take(self);
        let Some(whole) = column.and_then(|column| text.get(column..at)) else { return };
        let name = whole.trim_ascii();
        let end = at - (whole.len() - whole.trim_ascii_end().len());
        if !counts || !plain || named || name.len() > NAME_MAX || end < *from {
            return;
        }
        out.extend_from_slice(text.get(*from..end).unwrap_or_default());
        out.extend_from_slice(b" AS `");
        for byte in name {
            out.extend(std::iter::repeat_n(*byte, if *byte == b'`' { 2 } else { 1 }));
        }
        out.push(b'`');
        *from = end;
    }
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
            (
                "SELECT concat('n: ', ROW_COUNT())",
                Some("SELECT concat('n: ', {3}) AS `concat('n: ', ROW_COUNT())`"),
            ),
            (
                "SELECT row_count ( ) + FOUND_ROWS(\n)",
                Some("SELECT {3} + {9} AS `row_count ( ) + FOUND_ROWS(\n)`"),
            ),
            ("(SELECT 1 /*!50001 + row_count()*/)", Some("(SELECT 1 /*!50001 + {3}*/)")),
            ("/* why */ SET @n = row_count()", Some("/* why */ SET @n = {3}")),
            ("SELECT 'row_count()', ROW_COUNT()", Some("SELECT 'row_count()', {3} AS `ROW_COUNT()`")),
            (
                r"SELECT 'it\'s row_count()', row_count()",
                Some(r"SELECT 'it\'s row_count()', {3} AS `row_count()`"),
            ),
            (
                "SELECT row_count(); SELECT row_count()",
                Some("SELECT {3} AS `row_count()`; SELECT row_count()"),
            ),
            (
                "SELECT distinct LAST_INSERT_ID(), ROW_COUNT() , found_rows() > 1 FROM t",
                Some(
                    "SELECT distinct LAST_INSERT_ID(), {3} AS `ROW_COUNT()` , {9} > 1 AS `found_rows() > 1` FROM t",
                ),
            ),
            ("SELECT /*+ mine */ ROW_COUNT()", Some("SELECT /*+ mine */ {3} AS `ROW_COUNT()`")),
            ("SELECT ROW_COUNT() INTO @n", Some("SELECT {3} AS `ROW_COUNT()` INTO @n")),
            ("SELECT `a`(row_count())", Some("SELECT `a`({3}) AS ```a``(row_count())`")),
            // Who has named it is left alone, and who may have.
            ("SELECT ROW_COUNT() n, row_count() AS m, 1", Some("SELECT {3} n, {3} AS m, 1")),
            ("SELECT row_count() 'n'", Some("SELECT {3} 'n'")),
            ("SELECT CASE row_count() WHEN 1 THEN 2 END", Some("SELECT CASE {3} WHEN 1 THEN 2 END")),
            ("INSERT INTO t VALUES (row_count(), 1)", Some("INSERT INTO t VALUES ({3}, 1)")),
            ("INSERT INTO t SELECT row_count() FROM t", Some("INSERT INTO t SELECT {3} FROM t")),
            ("UPDATE t SET n = 1; SELECT row_count()", None),
            ("CREATE PROCEDURE p() SELECT row_count()", None),
            ("/*!50003 CREATE*/ /*!50020 DEFINER=a*/ PROCEDURE p() SELECT row_count()", None),
            ("SELECT 'it''s row_count()'", None),
            ("SELECT \"row_count()\", `row_count`()", None),
            ("SELECT 1 -- row_count()", None),
            ("SELECT 1 # row_count()\n, ROW_COUNT()", Some("SELECT 1 # row_count()\n, {3} AS `ROW_COUNT()`")),
            ("SELECT 1 /* row_count() */", None),
            ("SELECT a.row_count(), @row_count, my_row_count(), row_count(1), row_count", None),
            ("SELECT 'open row_count()", None),
            ("", None),
        ] {
            let found = with_counts(text.as_bytes(), counts, Quoting::USUAL);
            let written = |text: &str| text.replace('{', "CAST(").replace('}', " AS SIGNED)");
            let found = found.map(|text| String::from_utf8(text).expect("text"));
            assert_eq!(found, expected.map(written), "{text}");
        }
        let plain = Quoting { backslash_escapes: false, ..Quoting::USUAL };
        assert!(with_counts(br"SELECT 'a\', row_count()", counts, plain).is_some());
        assert!(with_counts(br"SELECT 'a\', row_count()", counts, Quoting::USUAL).is_none());
        assert!(with_counts(b"SELECT row_count()", counts, Quoting { trusted: false, ..plain }).is_none());
        let unknown = Counts { found_rows: None, ..counts };
        assert!(with_counts(b"SELECT 1 + found_rows()", unknown, plain).is_none());
    }
}
