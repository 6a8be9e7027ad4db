//! What the body of a stored routine or trigger, or the query of a view, tells.
//!
//! Any word of it may begin a statement, and every statement of it may run or not; so what it leaves in the session
//! is what any of them may leave, and nothing is taken away. What it calls and fires is the catalog's to follow.

use super::lexer::{Lexer, Token, Versioned};
use super::mentions::{self, Made, Mention, Reading};
use super::scan::Scan;
use crate::words::{is, is_any};
use crate::{Effects, Lexing, Name};

/// See the file's head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// Something in it writes, locks, or runs what cannot be read from here.
    pub writes: bool,
    /// What it may leave in the session, without what it calls.
    pub effects: Effects,
    /// The same by its names; a temporary table without a schema is in the body's own.
    pub leaves: Vec<Mention>,
    /// The functions and procedures that it calls and that are not built in.
    pub calls: Vec<Name>,
}

/// Reads a body as `information_schema` has it. `lexing` is that of its own `SQL_MODE`.
pub fn body(text: &[u8], lexing: Lexing) -> Body {
    let unknown = if lexing.trusted { Effects::empty() } else { Effects::UNKNOWN };
    let mut body = Body { writes: !lexing.trusted, effects: unknown, leaves: Vec::new(), calls: Vec::new() };
    for reading in [Versioned::Code, Versioned::Comment] {
        let mut scan = Scan::new(Lexer::new(text, lexing, reading), Some(Vec::new()));
        scan.read_body();
        body.writes |= scan.found.danger.is_some() || scan.found.strange || scan.found.variable;
        body.effects |= scan.found.effects.without(Effects::LOCKS | Effects::TOKEN);
        if scan.found.strange {
            body.effects |= Effects::UNKNOWN;
        }
        body.calls.extend(scan.names.unwrap_or_default());
    }
    leaves(text, lexing, &mut body);
    for mention in &body.leaves {
        body.effects |= mention.what.without(Effects::DDL);
    }
    body.writes |= !body.effects.is_empty();
    body
}

/// Finds what is left by name, and which procedures are called.
fn leaves(text: &[u8], lexing: Lexing, body: &mut Body) {
    let mut reading = Reading::new(text, lexing);
    let mut variables: Vec<Mention> = Vec::new();
    let (mut assigns, mut before): (bool, &[u8]) = (false, b"");
    while let Some(token) = reading.lexer.token() {
        match token {
            Token::Word(word) => {
                assigns |= is_any(word, &[b"set", b"into", b"call", b"diagnostics"]);
                if is(word, b"call") {
                    body.calls.extend(called(&mut reading.lexer.clone()));
                }
                if let Some(mention) = begun(&reading, word) {
                    reading.add_mention(mention);
                }
            }
            Token::Assign => assigns = true,
            Token::Variable(name) => {
                let mention = Mention::of(Effects::USER_VARIABLES, mentions::variable(name));
                if !variables.contains(&mention) {
                    variables.push(mention);
                }
            }
            Token::Open => reading.add_lock(before),
            _ => {}
        }
        before = if let Token::Word(word) = token { word } else { b"" };
    }
    body.leaves = reading.found;
    if assigns {
        body.leaves.append(&mut variables);
    }
    body.leaves.retain(|mention| !mention.gone);
}

/// What a statement that begins with this word leaves.
fn begun(reading: &Reading<'_>, word: &[u8]) -> Option<Mention> {
    let mut head = reading.lexer.clone();
    match word.len() {
        6 if is(word, b"create") => match reading.created(&mut head) {
            Made::Mention(mention) => Some(mention),
            Made::Body | Made::Other => None,
        },
        7 if is_any(word, &[b"prepare", b"execute"]) => Some(Mention::of(Effects::UNKNOWN, None)),
        5 | 6 if is_any(word, &[b"alter", b"rename"]) => Some(Mention::of(Effects::DDL, None)),
        4..=7 if is_any(word, &[b"lock", b"flush", b"backup", b"handler"]) => mentions::held(word, &mut head),
        _ => None,
    }
}

/// The name of the procedure behind `CALL`.
pub(super) fn called(head: &mut Lexer<'_>) -> Option<Name> {
    let fold = |name: Box<str>| name.to_lowercase();
    let first = mentions::name(head)?;
    Some(match mentions::dotted(head) {
        Some(second) => Name { schema: Some(fold(first)), name: fold(second?) },
        None => Name { schema: None, name: fold(first) },
    })
}
