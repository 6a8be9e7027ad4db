//! Shapes: a text without the literals that cannot change its plan, byte for byte otherwise.
//!
//! A short cut past the lexer for texts that differ in values only. Texts of one shape have the same tokens but
//! for digits and what stands in quotes, so they share every plan that does not look into literals; which plans
//! those are is for the memory to know. What would need the lexer to find a string's end (backslashes, dollar
//! quotes, comments) has no shape. Takes a few instructions a byte, does not allocate.

/// The longest shape, in bytes. Longer texts are looked up as they are.
pub(crate) const SHAPE_MAX: usize = 512;

/// Bytes in front of the shape that tell whose it is.
const OWNER: usize = 8;

/// A shape, and the catalog under which it is known.
pub(crate) struct Shape {
    bytes: [u8; SHAPE_MAX + OWNER],
    len: usize,
}

/// What a byte means to a shape.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Stays.
    Plain,
    /// Stays, and digits behind it belong to a name or a parameter.
    Name,
    Digit,
    /// Begins a plain string.
    Quote,
    /// Begins a quoted name.
    Double,
    /// May begin a dollar quote or a parameter.
    Dollar,
    /// Begins a comment if the next byte says so.
    Comment,
    /// Only the lexer knows.
    Unclear,
}

static CLASSES: [Class; 256] = classes();

const fn classes() -> [Class; 256] {
    let mut table = [Class::Plain; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = match byte as u8 {
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | 0x80..=0xff => Class::Name,
            b'0'..=b'9' => Class::Digit,
            b'\'' => Class::Quote,
            b'"' => Class::Double,
            b'$' => Class::Dollar,
            b'-' | b'/' => Class::Comment,
            b'\\' | 0 => Class::Unclear,
            _ => Class::Plain,
        };
        byte += 1;
    }
    table
}

impl Shape {
    /// The shape of `text` under the catalog `owner`, if it has one.
    pub(crate) fn of(text: &[u8], owner: u64) -> Option<Self> {
        if text.len() > SHAPE_MAX {
            return None;
        }
        let mut bytes = [0; SHAPE_MAX + OWNER];
        let (head, body) = bytes.split_at_mut(OWNER);
        head.copy_from_slice(&owner.to_le_bytes());
        let len = OWNER + write(text, body)?;
        Some(Self { bytes, len })
    }

    /// Its bytes, the owner included.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Writes the shape of `text` into `out`, which is no shorter. Returns its length.
fn write(text: &[u8], out: &mut [u8]) -> Option<usize> {
    let mut out = out.iter_mut();
    let room = out.len();
    let mut rest = text.iter();
    let mut in_name = false;
    while let Some(&byte) = rest.next() {
        let class = CLASSES[usize::from(byte)];
        let follows = in_name;
        in_name = class == Class::Name;
        match class {
            Class::Plain | Class::Name => {}
            Class::Digit if follows => in_name = true,
            Class::Digit => {
                let digits = rest.as_slice().iter().take_while(|byte| byte.is_ascii_digit()).count();
                rest = rest.as_slice().get(digits..)?.iter();
            }
            Class::Quote => {
                let within = rest.as_slice();
                let length = within.iter().position(|byte| matches!(byte, b'\'' | b'\\' | 0))?;
                if within.get(length) != Some(&b'\'') {
                    return None;
                }
                rest = within.get(length + 1..)?.iter();
                *out.next()? = byte;
            }
            Class::Double => {
                let within = rest.as_slice();
                let length = within.iter().position(|byte| *byte == b'"')?;
                *out.next()? = byte;
                for &byte in within.get(..length)? {
                    *out.next()? = byte;
                }
                rest = within.get(length + 1..)?.iter();
            }
            // Digits behind a dollar are a parameter's number; anything else may be a quote.
            Class::Dollar => {
                if !rest.as_slice().first()?.is_ascii_digit() {
                    return None;
                }
                in_name = true;
            }
            Class::Comment => {
                let next = rest.as_slice().first().copied();
                if matches!((byte, next), (b'-', Some(b'-')) | (b'/', Some(b'*'))) {
                    return None;
                }
            }
            Class::Unclear => return None,
        }
        *out.next()? = byte_of(byte, class, follows);
    }
    Some(room - out.len())
}

/// What stands in the shape for a byte: the first digit of a number stands for all of them.
const fn byte_of(byte: u8, class: Class, follows: bool) -> u8 {
    if matches!(class, Class::Digit) && !follows { b'0' } else { byte }
}

#[cfg(test)]
mod tests {
    use super::Shape;

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
        assert_eq!(shape(&"x".repeat(513)), None);
        assert!(shape(&"x".repeat(512)).is_some());
    }
}
