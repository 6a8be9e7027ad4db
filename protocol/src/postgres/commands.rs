//! The SQL commands that name prepared statements: PREPARE, EXECUTE and DEALLOCATE.
//!
//! Drivers prepare through the protocol and deallocate by SQL. On backends a statement goes by another name, so
//! these commands, where they begin a text, are read for the name they give. Everything else about SQL is not
//! known here.

/// A command with the name it gives.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command<'a> {
    /// `PREPARE name ..`: what follows the name.
    Prepare(Vec<u8>, &'a [u8]),
    /// `EXECUTE name ..`: what follows the name.
    Execute(Vec<u8>, &'a [u8]),
    /// `DEALLOCATE [PREPARE] name`.
    Deallocate(Vec<u8>),
}

/// Reads `text`, which is the whole text of a query.
pub(super) fn read(text: &[u8]) -> Option<Command<'_>> {
    if !may_be(text) {
        return None;
    }
    let (verb, rest) = word(text)?;
    if verb.eq_ignore_ascii_case(b"prepare") {
        let (name, rest) = name(rest)?;
        // PREPARE TRANSACTION 'x' is another matter.
        let two_phase = name == b"transaction" && rest.trim_ascii_start().first() == Some(&b'\'');
        return (!two_phase).then_some(Command::Prepare(name, rest));
    }
    if verb.eq_ignore_ascii_case(b"execute") {
        let (name, rest) = name(rest)?;
        return Some(Command::Execute(name, rest));
    }
    if !verb.eq_ignore_ascii_case(b"deallocate") {
        return None;
    }
    let (mut first, mut rest) = name(rest)?;
    if first == b"prepare" && !rest.trim_ascii().is_empty() {
        (first, rest) = name(rest)?;
    }
    let ends = rest.iter().all(|byte| byte.is_ascii_whitespace() || *byte == b';');
    (ends && first != b"all").then_some(Command::Deallocate(first))
}

/// Whether a text that begins like this may be one of them. Most are not, by their first letter.
pub(super) fn may_be(text: &[u8]) -> bool {
    matches!(text.trim_ascii_start().first(), Some(b'p' | b'P' | b'e' | b'E' | b'd' | b'D'))
}

fn word(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = text.trim_ascii_start();
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | 0x80..);
    let length = text.iter().position(|byte| !is_name(byte)).unwrap_or(text.len());
    (length > 0).then(|| text.split_at(length))
}

/// A name as PostgreSQL understands it: folded unless it is quoted.
fn name(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let text = text.trim_ascii_start();
    let Some(quoted) = text.strip_prefix(b"\"") else {
        return word(text).map(|(name, rest)| (name.to_ascii_lowercase(), rest));
    };
    let mut name = Vec::new();
    let mut rest = quoted;
    loop {
        let end = rest.iter().position(|byte| *byte == b'"')?;
        name.extend_from_slice(rest.get(..end)?);
        rest = rest.get(end + 1..)?;
        match rest.strip_prefix(b"\"") {
            Some(more) => {
                name.push(b'"');
                rest = more;
            }
            None => return Some((name, rest)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let execute = |name: &str, rest| Some(Command::Execute(name.into(), rest));
        assert_eq!(read(b"EXECUTE s1(1, 'x')"), execute("s1", b"(1, 'x')".as_slice()));
        assert_eq!(read(b" execute \"S \"\"1\" ;"), execute("S \"1", b" ;".as_slice()));
        let prepare = |name: &str, rest| Some(Command::Prepare(name.into(), rest));
        assert_eq!(read(b"PREPARE S1(int) AS SELECT $1"), prepare("s1", b"(int) AS SELECT $1".as_slice()));
        assert_eq!(read(b"prepare transaction as select 1"), prepare("transaction", b" as select 1"));
        assert_eq!(read(b"DEALLOCATE PREPARE S1;"), Some(Command::Deallocate(b"s1".to_vec())));
        assert_eq!(read(b"deallocate prepare"), Some(Command::Deallocate(b"prepare".to_vec())));
        for other in [
            "DEALLOCATE ALL",
            "DEALLOCATE a; SELECT 1",
            "SELECT 1",
            "PREPARE TRANSACTION 'x'",
            "EXECUTE",
            "EXECUTE \"x",
            "",
            "-- EXECUTE x",
        ] {
            assert_eq!(read(other.as_bytes()), None, "{other}");
        }
    }
}
