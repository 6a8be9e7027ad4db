//! Shapes: a text without the literals that cannot change its plan, byte for byte otherwise.
//!
//! A short cut past the lexer for texts that differ in values only. Texts of one shape have the same tokens but
//! for digits and what stands in quotes, so they share every plan that does not look into literals; which plans
//! those are is for the memory to know. What would need the lexer to find a string's end (backslashes, dollar
//! quotes, comments) has no shape. Takes a few instructions a byte, does not allocate.

use std::cell::Cell;

use crate::Lexing;

/// The longest text that has a shape, in bytes. Longer texts are looked up as they are.
const TEXT_MAX: usize = 4096;

/// Bytes in front of the shape that tell whose it is.
const OWNER: usize = 8;

thread_local! {
    // Holds nothing between two texts: it is working space, not state.
    static SPACE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A shape, and the catalog under which it is known.
pub(crate) struct Shape(Vec<u8>);

impl Shape {
    /// The shape of `text` under the catalog `owner`, if it has one.
    pub(crate) fn of(text: &[u8], owner: u64) -> Option<Self> {
        Self::made::<false>(text, owner)
    }

    fn made<const MYSQL: bool>(text: &[u8], owner: u64) -> Option<Self> {
        if text.len() > TEXT_MAX {
            return None;
        }
        let mut shape = Self(SPACE.take());
        shape.0.clear();
        shape.0.reserve(OWNER + text.len());
        shape.0.extend_from_slice(&owner.to_le_bytes());
        write::<MYSQL>(text, &mut shape.0).map(|()| shape)
    }

    /// As `of`, of a text in MySQL's dialect: double quotes may hold values, names may begin with digits, and names
    /// in quotes of their own must be such that they need none.
    pub(crate) fn of_mysql(text: &[u8], lexing: Lexing, owner: u64) -> Option<Self> {
        if lexing.trusted { Self::made::<true>(text, owner) } else { None }
    }

    /// Its bytes, the owner included.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Shape {
    fn drop(&mut self) {
        SPACE.set(std::mem::take(&mut self.0));
    }
}

/// Whether no digit in it would be taken for a number.
fn is_plain_name(name: &[u8]) -> bool {
    name.first().is_none_or(|byte| !byte.is_ascii_digit())
        && name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

/// Appends the shape of `text`. Nothing if only the lexer knows where something in it ends.
fn write<const MYSQL: bool>(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut rest = text;
    let mut before = b' ';
    loop {
        let (run, special) = rest.split_at(plain::<MYSQL>(rest));
        out.extend_from_slice(run);
        let Some((&byte, behind)) = special.split_first() else { return Some(()) };
        let length = match byte {
            b'0'..=b'9' => {
                let digits = digits(special);
                let of_a_name = is_of_name(*run.last().unwrap_or(&before));
                let goes_on = || special.get(digits).is_some_and(|next| is_of_name(*next) || *next == b'$');
                if MYSQL && !of_a_name && goes_on() {
                    return None;
                }
                out.extend_from_slice(if of_a_name { &special[..digits] } else { b"0" });
                digits
            }
            b'\'' => {
                let length = behind.iter().position(|byte| matches!(byte, b'\'' | b'\\' | 0))?;
                if behind[length] != byte {
                    return None;
                }
                out.extend_from_slice(b"''");
                length + 2
            }
            b'`' if MYSQL => {
                let length = behind.iter().position(|next| *next == byte)?;
                if !is_plain_name(&behind[..length]) {
                    return None;
                }
                out.extend_from_slice(&special[..length + 2]);
                length + 2
            }
            b'"' if !MYSQL => {
                let length = behind.iter().position(|next| *next == byte)? + 2;
                out.extend_from_slice(&special[..length]);
                length
            }
            // Digits behind a dollar are a parameter's number; anything else may be a quote.
            b'$' => {
                let digits = digits(behind);
                if digits == 0 {
                    return None;
                }
                out.extend_from_slice(&special[..=digits]);
                digits + 1
            }
            b'-' | b'/' if !is_comment(byte, behind.first().copied()) => {
                out.push(byte);
                1
            }
            _ => return None,
        };
        before = special[length - 1];
        rest = &special[length..];
    }
}

/// How many bytes simply stay. By sixteen, which the machine compares at once: most texts are mostly words.
fn plain<const MYSQL: bool>(text: &[u8]) -> usize {
    let (chunks, _) = text.as_chunks::<16>();
    let far = chunks.iter().take_while(|chunk| !holds_special::<MYSQL>(chunk)).count() * 16;
    let near = &text[far..];
    let table = &SPECIAL[usize::from(MYSQL)];
    far + near.iter().position(|byte| table[usize::from(*byte)]).unwrap_or(near.len())
}

/// Adds up without a branch, so that the compiler makes it a few vector instructions.
fn holds_special<const MYSQL: bool>(chunk: &[u8; 16]) -> bool {
    chunk.iter().fold(0, |found, byte| found | is_special(*byte, MYSQL)) != 0
}

/// 1 for a byte that does not simply stay.
const fn is_special(byte: u8, mysql: bool) -> u8 {
    let of_mysql = mysql && (byte == b'`' || byte == b'#');
    (byte.wrapping_sub(b'0') < 10) as u8
        | (byte == b'\'') as u8
        | (byte == b'"') as u8
        | (byte == b'$') as u8
        | (byte == b'-') as u8
        | (byte == b'/') as u8
        | (byte == b'\\') as u8
        | (byte == 0) as u8
        | of_mysql as u8
}

/// The same, looked up; MySQL's is the second.
static SPECIAL: [[bool; 256]; 2] = {
    let mut table = [[false; 256]; 2];
    let mut byte = 0;
    while byte < 256 {
        table[0][byte] = is_special(byte as u8, false) != 0;
        table[1][byte] = is_special(byte as u8, true) != 0;
        byte += 1;
    }
    table
};

/// Whether a digit beside this byte may be of the same name.
fn is_of_name(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'_' | 0x80..)
}

fn digits(text: &[u8]) -> usize {
    text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len())
}

fn is_comment(byte: u8, next: Option<u8>) -> bool {
    matches!((byte, next), (b'-', Some(b'-')) | (b'/', Some(b'*')))
}

#[cfg(test)]
mod tests {
    use super::{Lexing, Shape};

    fn shape(text: &str) -> Option<String> {
        Shape::of(text.as_bytes(), 0).map(|shape| String::from_utf8(shape.bytes()[8..].to_vec()).unwrap())
    }

    #[test]
    fn values_are_left_out_and_names_are_kept() {
        for (text, expected) in [
            ("SELECT a1 FROM t2 WHERE b = 123", "SELECT a1 FROM t2 WHERE b = 0"),
            ("SELECT 1.25, -17, 1e5, $12", "SELECT 0.0, -0, 0e5, $12"),
            ("SELECT 'it''s', ''", "SELECT '''', ''"),
            (r#"SELECT "my 1", 'a "b" 2', 3"#, r#"SELECT "my 1", '', 0"#),
            ("SELECT 1into2", "SELECT 0into2"),
            ("", ""),
        ] {
            assert_eq!(shape(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_needs_the_lexer_has_no_shape() {
        for text in [
            "SELECT 1 -- x",
            "SELECT /* x */ 1",
            r"SELECT E'a\'b'",
            "SELECT $$a$$",
            "SELECT $a$a$a$",
            "SELECT 'a",
            "SELECT \"a",
            "a$b",
        ] {
            assert_eq!(shape(text), None, "{text}");
        }
        let mysql = |text: &str| Shape::of_mysql(text.as_bytes(), Lexing::TRUSTED, 0).is_some();
        for text in
            ["SELECT 1 FROM 2x", "SELECT 1e5", "SELECT 0x41", "SELECT 1$", "SELECT # 1", r#"SELECT "1""#]
        {
            assert!(!mysql(text), "{text}");
        }
        assert!(mysql("SELECT 1.5, `t1`.x2 FROM t1 WHERE a='1x'"));
        assert_eq!(shape(&"x".repeat(4097)), None);
        assert!(shape(&"x".repeat(4096)).is_some());
    }
}
