//! MySQL's and MariaDB's SQL: what the lexer tells of a text, and which of its names the catalog suspects.
//!
//! One level: there is no parser behind the lexer. A query is a read if nothing in its tokens speaks against it and
//! the catalog knows every function that is not built in. A comment that only some versions run is read both ways,
//! and the stricter reading counts.

mod body;
mod builtins;
pub(crate) mod lexer;
mod mentions;
mod scan;
mod session;
mod statement;

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use crate::catalog::Catalog;
use crate::words::{is, is_any};
use crate::{Detail, Effects, Lexing, Name, Plan, Reason};
pub use body::{Body, body};
use lexer::{Lexer, Token, Versioned};
pub use mentions::{Mention, mentions};

/// What a text tells.
pub(crate) struct Told {
    pub(crate) plan: Plan,
    /// The names of functions are wanted and were not asked for.
    pub(crate) needs_names: bool,
}

/// Reads a text. Allocates only if the names of unknown functions are asked for, and if there are any.
pub(crate) fn plan(text: &[u8], lexing: Lexing, with_names: bool) -> Told {
    let (mut told, versioned) = read(text, lexing, with_names, Versioned::Code);
    if versioned {
        let (other, _) = read(text, lexing, with_names, Versioned::Comment);
        told.needs_names |= other.needs_names;
        let statements = told.plan.statements.max(other.plan.statements);
        let kind = told.plan.kind;
        let same = other.plan.statements == 0 || other.plan.kind == kind;
        told.plan.join(&other.plan);
        told.plan.statements = statements;
        if same {
            // The same statement twice is not two statements.
            told.plan.kind = kind;
            told.plan.has_transaction_control = kind.is_transaction_control();
        }
    }
    told
}

fn read(text: &[u8], lexing: Lexing, with_names: bool, reading: Versioned) -> (Told, bool) {
    let mut lexer = Lexer::new(text, lexing, reading);
    let mut plan = Plan::empty();
    let mut needs_names = false;
    while let Some(mut statement) = statement::next(&mut lexer, with_names) {
        needs_names |= statement.needs_names;
        if statement.needs_names {
            let functions = statement.names.take().unwrap_or_default();
            statement.plan.detail =
                Some(Arc::new(Detail { functions, user_functions: true, ..Detail::default() }));
        }
        plan.add(statement.plan);
        if statement.strange {
            break;
        }
    }
    plan.hint = lexer.hint;
    (Told { plan, needs_names }, lexer.versioned)
}

/// The routines that a statement calls and that are not built in, if nothing but them makes its effects unknown.
pub(crate) fn routines(text: &[u8], plan: &Plan, lexing: Lexing) -> Option<Vec<Name>> {
    let may = matches!(
        plan.reason,
        Reason::Write
            | Reason::WriteInQuery
            | Reason::Procedure
            | Reason::Locking
            | Reason::SelectInto
            | Reason::UserVariable
            | Reason::AdvisoryLock
            | Reason::LastResult
            | Reason::SideEffect
    );
    if !may || plan.statements != 1 || !lexing.trusted {
        return None;
    }
    let mut lexer = Lexer::new(text, lexing, Versioned::Code);
    let first = lexer.token();
    let Some(Token::Word(verb)) = first else { return None };
    const VERBS: [&[u8]; 8] =
        [b"call", b"do", b"insert", b"update", b"delete", b"replace", b"select", b"with"];
    if !is_any(verb, &VERBS) {
        return None;
    }
    let procedure = is(verb, b"call").then(|| body::called(&mut lexer.clone()));
    let mut scan = scan::Scan::new(Lexer::new(text, lexing, Versioned::Code), Some(Vec::new()));
    scan.run();
    let found = scan.found;
    if found.strange || found.unbalanced || scan.lexer.versioned || found.effects.contains(Effects::UNKNOWN) {
        return None;
    }
    let mut names = scan.names.unwrap_or_default();
    if let Some(procedure) = procedure {
        names.push(procedure?);
    }
    Some(names)
}

/// Every part of a text that may be a name, wherever it stands: in quotes of whatever kind, in comments.
fn names(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | 0x80..=0xff);
    text.split(move |byte| !is_part(byte)).filter(|part| !part.is_empty())
}

/// Visits every part of a text that may be a name, in lower case. What no name can be, for its length or because it is
/// not UTF-8, is passed over. Does not allocate for names of ASCII.
pub(crate) fn parts(text: &[u8], mut visit: impl FnMut(&str)) {
    let mut buffer = [0; PART_MAX];
    for part in names(text) {
        let Some(folded) = buffer.get_mut(..part.len()) else { continue };
        folded.copy_from_slice(part);
        folded.make_ascii_lowercase();
        match std::str::from_utf8(folded) {
            Ok(name) if name.is_ascii() => visit(name),
            Ok(name) => visit(&name.to_lowercase()),
            Err(_) => {}
        }
    }
}

/// Bytes of a name: 64 characters.
const PART_MAX: usize = 256;

/// Looks a read through for names that the catalog suspects. What cannot be read is suspect. Does not allocate for names
/// without capitals.
pub(crate) fn suspect(text: &[u8], catalog: &Catalog) -> bool {
    names(text).any(|part| match std::str::from_utf8(part) {
        Ok(name) if name.chars().any(char::is_uppercase) => catalog.is_suspect(&name.to_lowercase()),
        Ok(name) => catalog.is_suspect(name),
        Err(_) => true,
    })
}

/// The fingerprint of a text: its tokens without values and white space.
pub(crate) fn fingerprint(text: &[u8], seed: &impl BuildHasher) -> u64 {
    let mut hash = seed.build_hasher();
    let mut lexer = Lexer::new(text, Lexing::TRUSTED, Versioned::Code);
    // A list of values counts as one value, whatever its length.
    let mut listing = false;
    while let Some(token) = lexer.token() {
        let value = matches!(token, Token::Text | Token::Number | Token::Parameter);
        if listing && (value || token == Token::Comma) {
            continue;
        }
        listing = value;
        match token {
            Token::Word(name) => name.iter().for_each(|byte| hash.write_u8(byte.to_ascii_lowercase())),
            Token::Quoted(name) | Token::Variable(name) | Token::SystemVariable(name) => hash.write(name),
            Token::Operator(symbol) => hash.write_u8(symbol),
            Token::Strange => {
                hash.write(text);
                break;
            }
            _ => {}
        }
        hash.write_u8(kind(token));
    }
    hash.finish()
}

fn kind(token: Token<'_>) -> u8 {
    match token {
        Token::Word(_) => 0,
        Token::Quoted(_) => 1,
        Token::Text | Token::Number | Token::Parameter => 2,
        Token::Open => 3,
        Token::Close => 4,
        Token::Comma => 5,
        Token::Dot => 6,
        Token::Semicolon => 7,
        Token::Assign => 8,
        Token::Operator(_) => 9,
        Token::Strange => 10,
        Token::Variable(_) => 11,
        Token::SystemVariable(_) => 12,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_text() {
        let seen = |text: &[u8]| {
            let mut all = Vec::new();
            parts(text, |name| all.push(name.to_owned()));
            all
        };
        assert_eq!(seen(b"SELECT `My_F$1`(a.b)/* \"X\" */"), ["select", "my_f$1", "a", "b", "x"]);
        assert_eq!(seen("ÄRGER,'ß'".as_bytes()), ["ärger", "ß"]);
        assert!(seen(b"").is_empty() && seen(b" (*); ").is_empty());
        // What cannot be a name is none, and hides no other.
        assert_eq!(seen(b"one \xff\xfe two"), ["one", "two"]);
        let long = [&[b'x'; PART_MAX][..], b" ", &[b'y'; PART_MAX + 1], b" z"].concat();
        assert_eq!(seen(&long), [&"x".repeat(PART_MAX), "z"]);
    }

    #[test]
    fn names_are_suspect_wherever_they_stand() {
        let mut known = crate::catalog::CatalogBuilder::new();
        known.add_suspect("doer");
        let catalog = known.build();
        for text in ["SELECT Doer()", "SELECT `doer`()", "SELECT 1 -- doer", "SELECT \"x doer\""] {
            assert!(suspect(text.as_bytes(), &catalog), "{text}");
        }
        for text in ["SELECT 1", "SELECT doers, _doer, doer$", ""] {
            assert!(!suspect(text.as_bytes(), &catalog), "{text}");
        }
        // What cannot be read may be anything; what is long is read.
        assert!(suspect(b"SELECT '\xff'", &catalog));
        assert!(!suspect(&[b'x'; PART_MAX * 4], &catalog));
    }
}
