//! What the text of a value means: durations, sizes, words, `${ENV}`.
//!
//! Each kind of value says how it is read and how it is shown; the two agree, so what is
//! shown can be written. Mistakes say what was expected and never repeat the value, which
//! may be a secret. Nothing here knows a key or a line.

use std::time::Duration;

use super::address::Address;
use super::choice::Choice;
use super::mistakes::meant;

/// A value of the file that is neither a table nor an array, with `${ENV}` replaced.
pub(super) enum Scalar {
    Text(String),
    Integer(i64),
    Flag(bool),
}

/// A kind of value that a key may hold.
pub(super) trait Value: Sized {
    /// The value, or what was expected in its place.
    fn parse(scalar: &Scalar) -> Result<Self, String>;
    /// What is expected, in words.
    fn kind() -> String;
    /// The value as the file would spell it, without quotes.
    fn show(&self) -> String;
}

impl Value for String {
    fn parse(scalar: &Scalar) -> Result<Self, String> {
        match scalar {
            Scalar::Text(text) if text.contains('\0') => Err("must not hold a NUL character".into()),
            Scalar::Text(text) if text.is_empty() => Err("must not be empty".into()),
            Scalar::Text(text) => Ok(text.clone()),
            _ => Err("expected a string".into()),
        }
    }

    fn kind() -> String {
        "text".to_owned()
    }

    fn show(&self) -> String {
        self.clone()
    }
}

impl Value for bool {
    fn parse(scalar: &Scalar) -> Result<Self, String> {
        match scalar {
            Scalar::Flag(flag) => Ok(*flag),
            Scalar::Text(text) => text.parse().map_err(|_| "expected true or false".into()),
            Scalar::Integer(_) => Err("expected true or false".into()),
        }
    }

    fn kind() -> String {
        "true or false".to_owned()
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// Numbers may be strings, so that `"${POOL_SIZE}"` can be one.
impl Value for u32 {
    fn parse(scalar: &Scalar) -> Result<Self, String> {
        let number = match scalar {
            Scalar::Integer(number) => Some(*number),
            Scalar::Text(text) => text.parse().ok(),
            Scalar::Flag(_) => None,
        };
        number.and_then(|number| Self::try_from(number).ok()).ok_or_else(|| "expected a whole number".into())
    }

    fn kind() -> String {
        "whole number".to_owned()
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for Address {
    fn parse(scalar: &Scalar) -> Result<Self, String> {
        match scalar {
            Scalar::Text(text) => text.parse(),
            _ => Err("expected host:port or unix:/path".into()),
        }
    }

    fn kind() -> String {
        "host:port, [v6]:port or unix:/path".to_owned()
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl<C: Choice> Value for C {
    fn parse(scalar: &Scalar) -> Result<Self, String> {
        let words = || C::WORDS.iter().map(|(word, _)| *word);
        let expected = || format!("expected one of {}", words().collect::<Vec<_>>().join(", "));
        let Scalar::Text(text) = scalar else { return Err(expected()) };
        match C::WORDS.iter().find(|(word, _)| word == text) {
            Some((_, value)) => Ok(*value),
            None => Err(match meant(text, words()) {
                Some(word) => format!("{}, did you mean {word}?", expected()),
                None => expected(),
            }),
        }
    }

    fn kind() -> String {
        C::WORDS.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(" | ")
    }

    fn show(&self) -> String {
        self.word().to_owned()
    }
}

const DURATION: &str = "expected a duration with its unit, such as \"200ms\", \"5s\", \"1m\" or \"1h\"";
const MILLIS: [(&str, u64); 5] =
    [("d", 24 * 60 * 60 * 1000), ("h", 60 * 60 * 1000), ("m", 60 * 1000), ("s", 1000), ("ms", 1)];

/// A whole number of one unit, or `"0"`.
impl Value for Duration {
    fn parse(scalar: &Scalar) -> Result<Self, String> {
        let millis = match scalar {
            Scalar::Text(text) if text == "0" => 0,
            Scalar::Text(text) => with_unit(text, &MILLIS).ok_or(DURATION)?,
            _ => return Err(DURATION.into()),
        };
        Ok(Self::from_millis(millis))
    }

    fn kind() -> String {
        "duration".to_owned()
    }

    fn show(&self) -> String {
        show_with_unit(self.as_millis() as u64, &MILLIS)
    }
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Size(pub u64);

const SIZE: &str = "expected a size with its unit, such as \"512B\", \"64KiB\" or \"8MiB\"";
const BYTES: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

impl Value for Size {
    fn parse(scalar: &Scalar) -> Result<Self, String> {
        match scalar {
            Scalar::Text(text) => Ok(Self(with_unit(text, &BYTES).ok_or(SIZE)?)),
            _ => Err(SIZE.into()),
        }
    }

    fn kind() -> String {
        "size".to_owned()
    }

    fn show(&self) -> String {
        show_with_unit(self.0, &BYTES)
    }
}

/// Digits, then a unit; `None` if it is anything else or too large.
fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// In the largest unit that divides it.
fn show_with_unit(number: u64, units: &[(&str, u64)]) -> String {
    match units.iter().find(|(_, factor)| number > 0 && number.is_multiple_of(*factor)) {
        Some((name, factor)) => format!("{}{name}", number / factor),
        None => "0".to_owned(),
    }
}

/// Replaces `${NAME}` and `${NAME:-default}` by what `env` has; `$${` stands for `${`.
///
/// As in a shell, the default is also taken for a variable that is empty. What was put in
/// is not looked at again.
pub(super) fn expand(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            out.push_str(&rest[..at]);
            out.push('{');
            rest = &rest[at + 2..];
            continue;
        }
        out.push_str(&rest[..at]);
        let (inside, after) =
            rest[at + 2..].split_once('}').ok_or("a ${ is not closed; write $${ for a plain ${")?;
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || !name.chars().all(is_name) || name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err("expected ${NAME} or ${NAME:-default}; write $${ for a plain ${".into());
        }
        match (env(name), default) {
            (Some(value), None) => out.push_str(&value),
            (Some(value), Some(_)) if !value.is_empty() => out.push_str(&value),
            (_, Some(default)) => out.push_str(default),
            (None, None) => return Err(format!("the environment variable {name} is not set")),
        }
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests;
