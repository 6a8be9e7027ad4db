//! Asks a backend about what its session's statements have named: user variables, temporary tables, user-level locks.
//!
//! The database lists none of them to everybody, but tells each to whoever knows its name. A user variable that is
//! short is carried as a value, with its type: a literal of the same type, characters as hexadecimal behind their
//! character set. A long one stays where it is. Names are plain words or hexadecimal, so nothing in them can become
//! code.

use super::frame::Reader;
use std::fmt::Write;

/// Bytes of a user variable that are carried.
pub const VALUE_MAX: usize = 512;

/// The sign in front of a user variable's name, among the settings.
const SIGN: char = '@';

/// Types of columns, as "Column Definition" numbers them.
mod kind {
    pub const DOUBLE: u8 = 5;
    pub const FLOAT: u8 = 4;
    pub const DECIMAL: u8 = 0;
    pub const NEW_DECIMAL: u8 = 246;
    pub const INTEGERS: [u8; 6] = [1, 2, 3, 8, 9, 13];
}

/// Whether a setting is a user variable.
pub fn is_variable(setting: &str) -> bool {
    setting.starts_with(SIGN)
}

/// The setting that stands for a user variable.
pub fn setting_of(variable: &str) -> Box<str> {
    format!("{SIGN}{variable}").into()
}

/// A user variable as it may stand in a statement.
pub fn reference(setting: &str) -> String {
    let name = setting.trim_start_matches(SIGN);
    let plain = name.bytes().all(|c| c.is_ascii_alphanumeric() || b"_$.".contains(&c));
    format!("@`{}`", if plain && !name.is_empty() { name } else { "splitpool" })
}

/// Asks for the values of user variables: three columns each.
pub fn ask_variables(settings: &[Box<str>]) -> String {
    let mut text = "SELECT ".to_owned();
    for (at, setting) in settings.iter().enumerate() {
        let glue = if at == 0 { "" } else { ", " };
        let v = reference(setting);
        // The first tells the type, the second what it is made of, the third whether there is more.
        let _ = write!(
            text,
            "{glue}IF(LENGTH({v}) <= {VALUE_MAX}, {v}, NULL), IF(LENGTH({v}) <= {VALUE_MAX}, \
             CONCAT(CHARSET({v}), ' ', COLLATION({v}), ' ', HEX(CONCAT({v}))), NULL), LENGTH({v})"
        );
    }
    text
}

/// What became of a user variable.
#[derive(Debug, PartialEq, Eq)]
pub enum Variable {
    /// It is NULL, which is as good as none.
    None,
    /// It can be carried as this.
    Value(Box<str>),
    /// It is too long.
    Long,
}

/// Reads one variable's three columns; `kind` and `unsigned` are the type of the first. `None` if they are malformed.
pub fn variable(
    kind: u8,
    unsigned: bool,
    value: Option<&[u8]>,
    told: Option<&[u8]>,
    length: Option<&[u8]>,
) -> Option<Variable> {
    if length.is_none() {
        return Some(Variable::None);
    }
    let (Some(value), Some(told)) = (value, told) else { return Some(Variable::Long) };
    let value = std::str::from_utf8(value);
    let told = std::str::from_utf8(told).ok()?;
    Some(Variable::Value(match kind {
        kind::DOUBLE | kind::FLOAT => format!("F{}", value.ok()?).into(),
        // MariaDB would pad it with zeros here: what it is made of does not.
        kind::DECIMAL | kind::NEW_DECIMAL => format!("D{}", unhex(told.rsplit(' ').next()?)?).into(),
        kind if kind::INTEGERS.contains(&kind) => {
            format!("{}{}", if unsigned { "U" } else { "I" }, value.ok()?).into()
        }
        _ => format!("S{told}").into(),
    }))
}

/// ASCII written as hexadecimal.
fn unhex(text: &str) -> Option<String> {
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes: Option<Vec<u8>> = text.as_bytes().chunks(2).map(pair).collect();
    bytes.and_then(|bytes| String::from_utf8(bytes).ok()).filter(|text| text.is_ascii())
}

/// A carried value as it may stand in a statement.
pub fn literal(value: &str) -> String {
    written(value).unwrap_or_else(|| "NULL".to_owned())
}

fn written(value: &str) -> Option<String> {
    let (kind, rest) = value.split_at_checked(1)?;
    let number = !rest.is_empty() && rest.bytes().all(|c| c.is_ascii_digit() || b"+-.eE".contains(&c));
    let has = |c: char| rest.contains(c);
    Some(match kind {
        "I" if number => rest.to_owned(),
        "U" if number => format!("CAST({rest} AS UNSIGNED)"),
        "D" if number => format!("{rest}{}", if has('.') { "" } else { "." }),
        "F" if number => format!("{rest}{}", if has('e') || has('E') { "" } else { "e0" }),
        "S" => {
            let mut parts = rest.split(' ');
            let (charset, collation, digits) = (parts.next()?, parts.next()?, parts.next()?);
            let word =
                |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_');
            let hex = digits.bytes().all(|c| c.is_ascii_hexdigit());
            if !word(charset) || !word(collation) || !hex {
                return None;
            }
            format!("_{charset} x'{digits}' COLLATE `{collation}`")
        }
        _ => return None,
    })
}

/// Asks for a table by its name.
pub fn ask_table(schema: &str, name: &str) -> String {
    let quoted = |name: &str| format!("`{}`", name.replace('`', "``"));
    format!("SHOW CREATE TABLE {}.{}", quoted(schema), quoted(name))
}

/// Whether the answer shows a temporary table.
pub fn is_temporary(row: &[u8]) -> Option<bool> {
    let mut reader = Reader(row);
    reader.text()?;
    Some(reader.text()?.starts_with(b"CREATE TEMPORARY"))
}

/// Whether an error says that there is no such table: `ER_NO_SUCH_TABLE`, `ER_BAD_DB_ERROR`.
pub fn is_no_table(errno: u16) -> bool {
    matches!(errno, 1146 | 1049)
}

/// Asks for locks by their names: a column each.
pub fn ask_locks<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let mut text = "SELECT ".to_owned();
    for (at, name) in names.enumerate() {
        let glue = if at == 0 { "" } else { ", " };
        let _ = write!(text, "{glue}IS_USED_LOCK(_utf8mb4 x'");
        name.bytes().for_each(|byte| {
            let _ = write!(text, "{byte:02x}");
        });
        text.push_str("') = CONNECTION_ID()");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_their_types() {
        let told = |text: &str| format!("utf8mb4 utf8mb4_bin {text}");
        for (kind, unsigned, value, hex, literal_of_it) in [
            (8, false, "-3", "2D33", "-3"),
            (8, true, "5", "35", "CAST(5 AS UNSIGNED)"),
            (246, false, "1.50000000", "312E3530", "1.50"),
            (246, false, "7.000", "37", "7."),
            (5, false, "1.1", "312E31", "1.1e0"),
            (5, false, "1e300", "31", "1e300"),
            (250, false, "it's", "69742773", "_utf8mb4 x'69742773' COLLATE `utf8mb4_bin`"),
            (253, false, "", "", "_utf8mb4 x'' COLLATE `utf8mb4_bin`"),
        ] {
            let told = told(hex);
            let found = variable(kind, unsigned, Some(value.as_bytes()), Some(told.as_bytes()), Some(b"1"));
            let Some(Variable::Value(carried)) = found else { panic!("{value}: {found:?}") };
            assert_eq!(literal(&carried), literal_of_it, "{value}");
        }
        assert_eq!(variable(250, false, None, None, None), Some(Variable::None));
        assert_eq!(variable(250, false, None, None, Some(b"513")), Some(Variable::Long));
    }

    #[test]
    fn nothing_in_a_value_or_a_name_is_code() {
        for odd in ["", "I1;x", "I", "Fsleep(1)", "Sutf8mb4 utf8mb4_bin 41' --", "Sa b", "S' x 41", "X5"] {
            assert_eq!(literal(odd), "NULL", "{odd}");
        }
        assert_eq!(reference("@a.b"), "@`a.b`");
        assert_eq!(reference("@a`, @b"), "@`splitpool`");
        assert_eq!(ask_table("a`b", "c"), "SHOW CREATE TABLE `a``b`.`c`");
        assert_eq!(
            ask_locks(["a'", "b"].into_iter()),
            "SELECT IS_USED_LOCK(_utf8mb4 x'6127') = CONNECTION_ID(), IS_USED_LOCK(_utf8mb4 x'62') = CONNECTION_ID()"
        );
    }
}
