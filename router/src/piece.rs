//! The tokens of either dialect as a digest sees them: values are all alike.

use crate::lexer::{self, Token as Pg};
use crate::mysql::lexer::{Lexer as My, Token, Versioned};
use crate::{Dialect, Lexing};

/// One token. Slices point into the text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Piece<'a> {
    /// An unquoted name or keyword.
    Word(&'a [u8]),
    /// A name in these quotes, without them.
    Name(&'a [u8], u8),
    /// A variable behind one or two signs.
    Variable(&'static [u8], &'a [u8]),
    /// A literal or a parameter.
    Value,
    Open,
    Close,
    Comma,
    Semicolon,
    /// A dot, a colon or a bracket.
    Tie(&'a [u8]),
    /// An operator, or a part of it that is `joined` to the one before.
    Operator(&'a [u8], bool),
    /// Something nobody vouches for.
    Strange,
}

/// The pieces of a text.
pub(crate) enum Pieces<'a> {
    /// PostgreSQL's. With the end of what belongs to the last number, though the lexer says otherwise.
    Postgres(lexer::Lexer<'a>, &'a [u8], usize),
    Mysql(My<'a>),
}

impl<'a> Pieces<'a> {
    pub(crate) fn new(text: &'a [u8], dialect: Dialect, lexing: Lexing) -> Self {
        match dialect {
            Dialect::Postgres => Self::Postgres(lexer::Lexer::new(text), text, 0),
            Dialect::Mysql => Self::Mysql(My::new(text, lexing, Versioned::Code)),
        }
    }

    /// Where the last piece begins.
    pub(crate) const fn start(&self) -> usize {
        match self {
            Self::Postgres(lexer, ..) => lexer.start(),
            Self::Mysql(lexer) => lexer.start(),
        }
    }

    pub(crate) fn next(&mut self) -> Option<Piece<'a>> {
        match self {
            Self::Postgres(lexer, text, behind) => loop {
                let token = lexer.token()?;
                // `1e-5`, `0x1f` and `1_000` come as a number and what is no word.
                if lexer.start() < *behind {
                    continue;
                }
                if token == Pg::Number {
                    *behind = number_end(text, lexer.end());
                }
                return Some(of_postgres(token, text.get(lexer.start()..lexer.end()).unwrap_or_default()));
            },
            Self::Mysql(lexer) => {
                let token = lexer.token()?;
                Some(of_mysql(token, lexer.adjacent, lexer.slice()))
            }
        }
    }
}

/// Where a number ends that the lexer ends at `at`.
fn number_end(text: &[u8], at: usize) -> usize {
    let mut end = at;
    while let Some(byte) = text.get(end) {
        let exponent = matches!(byte, b'e' | b'E')
            && matches!(text.get(end + 1), Some(b'+' | b'-'))
            && text.get(end + 2).is_some_and(u8::is_ascii_digit);
        if exponent {
            end += 2;
        } else if !(byte.is_ascii_alphanumeric() || *byte == b'_') {
            break;
        }
        end += 1;
    }
    end
}

fn of_postgres<'a>(token: Pg<'a>, text: &'a [u8]) -> Piece<'a> {
    match token {
        Pg::Word(word) => Piece::Word(word),
        Pg::Quoted(name) => Piece::Name(name, b'"'),
        Pg::Text(_) | Pg::OtherText | Pg::Number | Pg::Parameter => Piece::Value,
        Pg::Open => Piece::Open,
        Pg::Close => Piece::Close,
        Pg::Comma => Piece::Comma,
        Pg::Semicolon => Piece::Semicolon,
        Pg::Dot | Pg::Punctuation => Piece::Tie(text),
        Pg::Operator(symbol) => Piece::Operator(symbol, false),
        Pg::Strange => Piece::Strange,
    }
}

fn of_mysql<'a>(token: Token<'a>, adjacent: bool, text: &'a [u8]) -> Piece<'a> {
    match token {
        Token::Word(word) => Piece::Word(word),
        Token::Quoted(name) => Piece::Name(name, text.first().copied().unwrap_or(b'`')),
        Token::Text | Token::Number | Token::Parameter => Piece::Value,
        // A name in quotes may be one of a user's host, or hold anything.
        Token::Variable(b"") => Piece::Variable(b"@", b"?"),
        Token::Variable(name) => Piece::Variable(b"@", name),
        Token::SystemVariable(name) => Piece::Variable(b"@@", name),
        Token::Open => Piece::Open,
        Token::Close => Piece::Close,
        Token::Comma => Piece::Comma,
        Token::Semicolon => Piece::Semicolon,
        Token::Dot => Piece::Tie(text),
        Token::Assign => Piece::Operator(b":=", false),
        Token::Operator(_) => Piece::Operator(text, adjacent),
        Token::Strange => Piece::Strange,
    }
}
