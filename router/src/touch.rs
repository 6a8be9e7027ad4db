//! What a statement leaves behind by what it touches: triggers, defaults, views, and the bodies of `DO`.
//!
//! Looked up by every word of the text, because only the database knows which of them are relations. Done only
//! where the catalog holds anything that could be found.

use crate::catalog::{Catalog, Judgement};
use crate::lexer::{Lexer, Token};
use crate::words::{Folded, is};
use crate::{Effects, Kind, Lexing, Plan, Reason, mysql, source};

/// Adds to `effects` what the names in `text` may leave behind.
pub(crate) fn add(text: &[u8], plan: &Plan, catalog: &Catalog, effects: &mut Effects) {
    if plan.reason != Reason::Procedure && !catalog.has_touchy() {
        return;
    }
    if plan.reason == Reason::Procedure {
        return procedure(text, plan, catalog, effects);
    }
    if plan.kind.is_transaction_control() || plan.kind == Kind::Empty {
        return;
    }
    if !catalog.is_settled() && matches!(plan.reason, Reason::Write | Reason::WriteInQuery | Reason::Copy) {
        // Nobody knows what fires.
        *effects |= Effects::UNKNOWN;
        return;
    }
    let mut lexer = Lexer::new(text);
    while let Some(token) = lexer.token() {
        let (Token::Word(name) | Token::Quoted(name)) = token else { continue };
        if let Some(name) = Folded::word(name).text() {
            *effects |= catalog.touched(name, !plan.may_read());
        }
    }
}

/// The same for MySQL: what the catalog knows of routines, triggers and views takes the place of not knowing. What the
/// session's own trackers tell need not be known.
pub(crate) fn add_mysql(text: &[u8], plan: &Plan, lexing: Lexing, catalog: &Catalog, effects: &mut Effects) {
    if plan.kind.is_transaction_control()
        || matches!(plan.reason, Reason::Empty | Reason::Ddl | Reason::Session)
    {
        return;
    }
    if effects.contains(Effects::UNKNOWN)
        && let Some(routines) = mysql::routines(text, plan, lexing)
        && routines.iter().all(|routine| catalog.is_readable(&routine.name))
    {
        let called = routines.iter().map(|routine| catalog.called(&routine.name));
        *effects = called.fold(effects.without(Effects::UNKNOWN), |sum, found| sum | found);
    }
    if !catalog.is_quiet() {
        mysql::parts(text, |name| *effects |= catalog.touched(name, !plan.may_read()));
    }
}

/// `DO` and `CALL`: the body is in the text, and what it calls is known or not.
fn procedure(text: &[u8], plan: &Plan, catalog: &Catalog, effects: &mut Effects) {
    if !catalog.is_loaded() || plan.statements > 1 || calls_unknown(text, catalog) {
        return;
    }
    let mut found = source::read(text).effects | Effects::STATE;
    source::words(text, |word| found |= catalog.called(word) | catalog.touched(word, true));
    *effects = effects.without(Effects::UNKNOWN) | found;
}

/// Whether the text calls a procedure that the catalog does not know.
fn calls_unknown(text: &[u8], catalog: &Catalog) -> bool {
    let mut lexer = Lexer::new(text);
    if !matches!(lexer.token(), Some(Token::Word(word)) if is(word, b"call")) {
        return false;
    }
    let mut last = None;
    while let Some(token @ (Token::Word(_) | Token::Quoted(_) | Token::Dot)) = lexer.token() {
        last = match token {
            Token::Word(name) => Some(Folded::word(name)),
            Token::Quoted(name) => Some(Folded::quoted(name)),
            _ => last,
        };
    }
    let name = last.as_ref().and_then(Folded::text);
    name.is_none_or(|name| catalog.function(None, name) == Judgement::Unknown)
}
