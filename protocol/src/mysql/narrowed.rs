//! What a client sets together with the list of variables whose changes are told.
//!
//! Drivers shorten that list to what they read themselves. From then on the database does not tell what else changes,
//! so it is set back at once; what the same statement changed besides may have gone untold and is asked for by name.

/// Names in one statement. Nobody sets more at once.
const NAMES_MAX: usize = 32;

/// The session variables that a SET statement gives values to; `None` if it is another statement, or it cannot be told.
pub fn assigned(text: &[u8]) -> Option<Vec<Box<str>>> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let text = text.strip_suffix(';').unwrap_or(text);
    let (verb, rest) = text.split_at_checked(3)?;
    if !verb.eq_ignore_ascii_case("set") || !rest.starts_with(|c: char| c.is_ascii_whitespace()) {
        return None;
    }
    let mut names = Vec::new();
    for part in parts(rest)? {
        let (target, _) = part.split_once('=')?;
        let target = target.trim_end().strip_suffix(':').unwrap_or(target).trim();
        let target = match target.strip_prefix("@@") {
            Some(target) => {
                ["session.", "local."].iter().find_map(|own| strip(target, own)).unwrap_or(target)
            }
            None if target.starts_with('@') => continue,
            None => ["session ", "local "].iter().find_map(|own| strip(target, own)).unwrap_or(target).trim(),
        };
        let plain = target.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_');
        if !plain || target.is_empty() || names.len() >= NAMES_MAX {
            return None;
        }
        names.push(target.to_ascii_lowercase().into());
    }
    Some(names)
}

fn strip<'a>(text: &'a str, front: &str) -> Option<&'a str> {
    let (head, rest) = text.split_at_checked(front.len())?;
    head.eq_ignore_ascii_case(front).then_some(rest)
}

/// What stands between commas that are neither quoted nor in parentheses. `None` where comments or escapes make that
/// hard to tell.
fn parts(text: &str) -> Option<Vec<&str>> {
    let (mut found, mut from, mut depth, mut quote) = (Vec::new(), 0, 0_u32, None);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (_, '\\' | '#' | ';') => return None,
            (Some(open), c) => quote = Some(open).filter(|open| *open != c),
            (None, '\'' | '"' | '`') => quote = Some(c),
            (None, '(') => depth += 1,
            (None, ')') => depth = depth.checked_sub(1)?,
            (None, '*') if text.get(..at).is_some_and(|before| before.ends_with('/')) => return None,
            (None, '-') if text.get(..at).is_some_and(|before| before.ends_with('-')) => return None,
            (None, ',') if depth == 0 => {
                found.push(text.get(from..at)?);
                from = at + 1;
            }
            _ => {}
        }
    }
    found.push(text.get(from..)?);
    (quote.is_none() && depth == 0).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (text, names) in [
            (
                "set autocommit=1, session_track_system_variables='a,b' , sql_mode = concat(@@sql_mode,',X')",
                Some("autocommit session_track_system_variables sql_mode"),
            ),
            ("SET @@session.A := 5, @x = 7, LOCAL b=(SELECT 1, 2 = 2);", Some("a b")),
            ("SET SESSION a = 'it''s, b = 2'", Some("a")),
            ("SET GLOBAL a = 1", None),
            ("SET @@global.a = 1", None),
            ("SET NAMES latin1, a = 1", None),
            ("SET a = 'x\\', b = '", None),
            ("SET a = 1; SET b = 2", None),
            ("SET a = 1 /* , b = 2 */", None),
            ("SET STATEMENT a = 1 FOR SELECT 1", None),
            ("SELECT a = 1", None),
            ("SETa = 1", None),
            ("SET", None),
            ("", None),
        ] {
            let found = assigned(text.as_bytes()).map(|names| names.join(" "));
            assert_eq!(found.as_deref(), names, "{text}");
        }
    }
}
