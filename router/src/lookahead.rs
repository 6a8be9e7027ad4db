//! Looks a few tokens ahead, where the meaning of a parenthesis depends on what stands in it.
//!
//! Works on a copy of the lexer and is bounded in tokens, so that looking again and again stays linear.

use crate::lexer::{Lexer, Token};
use crate::words::{is, is_any};

/// Tokens read for the arguments of `set_config`.
const ARGUMENT_TOKENS_MAX: usize = 64;

/// The arguments of a call of `set_config`.
pub(crate) struct SetConfig<'a> {
    /// The setting's name, if it is a plain literal.
    pub(crate) name: Option<&'a [u8]>,
    /// The third argument is literally `true`: the value ends with the transaction.
    pub(crate) local: bool,
}

/// Reads `(name, value, is_local)` behind its parenthesis.
pub(crate) fn set_config(ahead: Lexer<'_>) -> SetConfig<'_> {
    let mut first = ahead.clone();
    let name = match (first.token(), first.token()) {
        (Some(Token::Text(name)), Some(Token::Comma)) => Some(name),
        _ => None,
    };
    SetConfig { name, local: ends_in_true(ahead) }
}

/// Whether the last argument is the word `true` alone. Arguments by name do not count: their order is free.
fn ends_in_true(mut ahead: Lexer<'_>) -> bool {
    let mut depth = 0;
    let mut comma = false;
    let mut last_is_true = false;
    for _ in 0..ARGUMENT_TOKENS_MAX {
        let Some(token) = ahead.token() else { return false };
        match token {
            Token::Close if depth == 0 => return last_is_true,
            Token::Open => depth += 1,
            Token::Close => depth -= 1,
            _ => {}
        }
        last_is_true = comma && matches!(token, Token::Word(word) if is(word, b"true"));
        comma = depth == 0 && token == Token::Comma;
    }
    false
}

/// `OPERATOR(pg_catalog.=)`, as psql writes it, behind its parenthesis: the operator is a built-in one.
pub(crate) fn is_builtin_operator(mut ahead: Lexer<'_>) -> bool {
    matches!(ahead.token(), Some(Token::Word(word)) if is(word, b"pg_catalog"))
        && ahead.token() == Some(Token::Dot)
        && matches!(ahead.token(), Some(Token::Operator(_)))
        && ahead.token() == Some(Token::Close)
}

/// The symbol in `OPERATOR(schema.+)`, behind its parenthesis.
pub(crate) fn operator<'a>(mut ahead: Lexer<'a>) -> Option<&'a [u8]> {
    loop {
        match ahead.token()? {
            Token::Operator(symbol) => return Some(symbol),
            Token::Word(_) | Token::Quoted(_) | Token::Dot => {}
            _ => return None,
        }
    }
}

/// Whether a query begins behind a parenthesis.
pub(crate) fn opens_query(mut ahead: Lexer<'_>) -> bool {
    matches!(ahead.token(), Some(Token::Word(word)) if is_any(word, &[b"select", b"values", b"with", b"table"]))
}
