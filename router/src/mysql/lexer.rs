//! Cuts MySQL's and MariaDB's SQL into tokens: bytes in, one token at a time out, no allocation, no recursion.
//!
//! Follows `sql_lex.cc` in all that decides where a string, a comment or a name ends. What it does not follow it
//! calls `Strange`, and a text with anything strange in it is a write. A comment that some versions run
//! (`/*!50001 .. */`) is read as code or as a comment, as the caller says; who wants to be sure reads twice. Valid
//! only in character sets that keep ASCII bytes for ASCII characters.

use crate::{Hint, Lexing};

/// One token. Slices point into the text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Token<'a> {
    /// An unquoted name or keyword.
    Word(&'a [u8]),
    /// A quoted name, without its outer quotes.
    Quoted(&'a [u8]),
    /// A string.
    Text,
    Number,
    /// `?`.
    Parameter,
    /// `@name`, without the sign; empty if the name is quoted.
    Variable(&'a [u8]),
    /// `@@name` or `@@scope.name`, without the signs.
    SystemVariable(&'a [u8]),
    Open,
    Close,
    Comma,
    Dot,
    Semicolon,
    /// `:=`.
    Assign,
    /// One byte of any operator, or a brace.
    Operator(u8),
    /// Something this lexer does not vouch for.
    Strange,
}

/// How comments that some versions run are read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Versioned {
    Code,
    Comment,
}

/// The tokens of a text, and the hints in its comments.
#[derive(Clone)]
pub(crate) struct Lexer<'a> {
    text: &'a [u8],
    at: usize,
    start: usize,
    lexing: Lexing,
    reading: Versioned,
    /// Where the comment ends whose content is being read as code.
    inside_until: Option<usize>,
    /// Nothing stands between the last token and the one before it.
    pub(crate) adjacent: bool,
    /// Some comment depends on the version.
    pub(crate) versioned: bool,
    pub(crate) hint: Hint,
}

/// What a name consists of; digits may begin one.
const fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | 0x80..=0xff)
}

const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

impl<'a> Lexer<'a> {
    pub(crate) fn new(text: &'a [u8], lexing: Lexing, reading: Versioned) -> Self {
        Self {
            text,
            at: 0,
            start: 0,
            lexing,
            reading,
            inside_until: None,
            adjacent: true,
            versioned: false,
            hint: Hint::default(),
        }
    }

    /// Where the last token begins.
    pub(crate) const fn start(&self) -> usize {
        self.start
    }

    /// The last token as it is written.
    pub(crate) fn slice(&self) -> &'a [u8] {
        self.since(self.start)
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.text.get(self.at + ahead).copied()
    }

    fn skip(&mut self, wanted: impl Fn(u8) -> bool) {
        let rest = self.text.get(self.at..).unwrap_or_default();
        self.at += rest.iter().position(|byte| !wanted(*byte)).unwrap_or(rest.len());
    }

    fn since(&self, from: usize) -> &'a [u8] {
        self.text.get(from..self.at).unwrap_or_default()
    }

    fn one(&mut self, token: Token<'a>) -> Token<'a> {
        self.at += 1;
        token
    }

    fn strange(&mut self) -> Token<'a> {
        self.at = self.text.len();
        Token::Strange
    }

    /// The next token, or none at the end.
    pub(crate) fn token(&mut self) -> Option<Token<'a>> {
        self.adjacent = true;
        loop {
            if self.inside_until == Some(self.at) {
                self.adjacent = false;
                self.inside_until = None;
                self.at += 2;
            }
            let byte = self.peek(0)?;
            self.start = self.at;
            let trivia = match (byte, self.peek(1)) {
                (byte, _) if is_space(byte) => {
                    self.at += 1;
                    true
                }
                (b'#', _) => self.line_comment(1),
                // Without a space behind it, it is a sign before a sign.
                (b'-', Some(b'-')) if self.peek(2).is_none_or(|next| is_space(next) || next < b' ') => {
                    self.line_comment(2)
                }
                (b'/', Some(b'*')) => self.block_comment(),
                _ => return Some(self.solid(byte)),
            };
            self.adjacent = false;
            if !trivia {
                return Some(self.strange());
            }
        }
    }

    /// A token that is no comment and no space.
    fn solid(&mut self, byte: u8) -> Token<'a> {
        match byte {
            b'(' => self.one(Token::Open),
            b')' => self.one(Token::Close),
            b',' => self.one(Token::Comma),
            b';' => self.one(Token::Semicolon),
            b'?' => self.one(Token::Parameter),
            b'\'' => self.string(b'\''),
            b'"' if self.lexing.ansi_quotes => self.quoted_name(b'"'),
            b'"' => self.string(b'"'),
            b'`' => self.quoted_name(b'`'),
            b'@' => self.variable(),
            b':' if self.peek(1) == Some(b'=') => {
                self.at += 2;
                Token::Assign
            }
            b'.' if self.peek(1).is_some_and(|next| next.is_ascii_digit()) => {
                self.at += 1;
                self.skip(|byte| byte.is_ascii_digit());
                self.exponent();
                Token::Number
            }
            b'.' => self.one(Token::Dot),
            b'0'..=b'9' => self.number(),
            byte if is_name(byte) => self.word(byte),
            b'\\' if self.peek(1) == Some(b'N') => {
                self.at += 2;
                Token::Number
            }
            b'+' | b'-' | b'*' | b'/' | b'%' | b'=' | b'<' | b'>' | b'!' | b'|' | b'&' | b'^' | b'~'
            | b'{' | b'}' | b':' => self.one(Token::Operator(byte)),
            _ => self.strange(),
        }
    }

    fn word(&mut self, first: u8) -> Token<'a> {
        if matches!((first | 0x20, self.peek(1)), (b'x' | b'b' | b'n', Some(b'\''))) {
            self.at += 1;
            return self.string(b'\'');
        }
        self.skip(is_name);
        Token::Word(self.since(self.start))
    }

    /// A number, or a name that begins with digits. `1e5` ends where its exponent ends, `1into` is a name.
    fn number(&mut self) -> Token<'a> {
        self.skip(|byte| byte.is_ascii_digit());
        match self.peek(0) {
            Some(b'.') => {
                self.at += 1;
                self.skip(|byte| byte.is_ascii_digit());
                self.exponent();
                Token::Number
            }
            Some(b'e' | b'E') if self.exponent() => Token::Number,
            Some(byte) if is_name(byte) => {
                self.skip(is_name);
                let name = self.since(self.start);
                if is_prefixed_number(name) { Token::Number } else { Token::Word(name) }
            }
            _ => Token::Number,
        }
    }

    /// `e5`, `e+5`: whether there was one.
    fn exponent(&mut self) -> bool {
        if !matches!(self.peek(0), Some(b'e' | b'E')) {
            return false;
        }
        let sign = usize::from(matches!(self.peek(1), Some(b'+' | b'-')));
        let is_exponent = self.peek(1 + sign).is_some_and(|digit| digit.is_ascii_digit());
        if is_exponent {
            self.at += 1 + sign;
            self.skip(|byte| byte.is_ascii_digit());
        }
        is_exponent
    }

    fn string(&mut self, quote: u8) -> Token<'a> {
        let mut at = self.at + 1;
        loop {
            let rest = self.text.get(at..).unwrap_or_default();
            let found = if self.lexing.backslash_escapes {
                memchr::memchr2(quote, b'\\', rest)
            } else {
                memchr::memchr(quote, rest)
            };
            let Some(step) = found else { return self.strange() };
            at += step;
            let is_quote = self.text.get(at) == Some(&quote);
            if is_quote && self.text.get(at + 1) != Some(&quote) {
                return self.end_at(at + 1, Token::Text);
            }
            at += 2;
        }
    }

    /// Only a doubled quote is part of a name.
    fn quoted_name(&mut self, quote: u8) -> Token<'a> {
        let from = self.at + 1;
        let mut at = from;
        loop {
            let rest = self.text.get(at..).unwrap_or_default();
            let Some(step) = memchr::memchr(quote, rest) else { return self.strange() };
            at += step;
            if self.text.get(at + 1) != Some(&quote) {
                let name = self.text.get(from..at).unwrap_or_default();
                return self.end_at(at + 1, Token::Quoted(name));
            }
            at += 2;
        }
    }

    /// Ends a token that may not reach beyond the comment it is in.
    fn end_at(&mut self, end: usize, token: Token<'a>) -> Token<'a> {
        if self.inside_until.is_some_and(|until| end > until) {
            return self.strange();
        }
        self.at = end;
        token
    }

    /// `@a`, `@'a b'`, `@@global.a`.
    fn variable(&mut self) -> Token<'a> {
        self.at += 1;
        if self.peek(0) == Some(b'@') {
            self.at += 1;
            let from = self.at;
            self.skip(|byte| is_name(byte) || byte == b'.');
            // A space or a quote within the name is rare, and its scope would be misread.
            return if self.at == from { self.strange() } else { Token::SystemVariable(self.since(from)) };
        }
        match self.peek(0) {
            Some(quote @ (b'\'' | b'"' | b'`')) => {
                let token = if quote == b'`' { self.quoted_name(quote) } else { self.string(quote) };
                if token == Token::Strange { token } else { Token::Variable(b"") }
            }
            _ => {
                let from = self.at;
                self.skip(|byte| is_name(byte) || byte == b'.');
                Token::Variable(self.since(from))
            }
        }
    }

    /// Up to the end of the line. False if the servers would not agree where that is.
    fn line_comment(&mut self, sign: usize) -> bool {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let length = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        let comment = rest.get(sign..length).unwrap_or_default();
        let end = self.at + length;
        if memchr::memchr(0, comment).is_some() || self.inside_until.is_some_and(|until| end > until) {
            return false;
        }
        self.hint.read(comment);
        self.at = end;
        true
    }

    /// A comment, which is not nested. False if it is not closed, or may mean more than one thing.
    fn block_comment(&mut self) -> bool {
        let from = self.at + 2;
        let rest = self.text.get(from..).unwrap_or_default();
        // `/*/` does not close itself.
        let Some(length) = memchr::memmem::find(rest, b"*/") else { return false };
        let content = rest.get(..length).unwrap_or_default();
        let end = from + length;
        if self.inside_until.is_some() {
            return false;
        }
        let mark = match content {
            [b'!', ..] => 1,
            [b'M', b'!', ..] => 2,
            _ => {
                self.hint.read(content);
                self.at = end + 2;
                return true;
            }
        };
        self.versioned = true;
        let digits = content.iter().skip(mark).take(6).take_while(|byte| byte.is_ascii_digit()).count();
        // Five digits or six: a sixth that belongs to the code would be read in two ways.
        let is_plain = matches!(digits, 0 | 5 | 6);
        let code = content.get(mark + digits..).unwrap_or_default();
        if !is_plain || !reads_alike(code, self.lexing) {
            return false;
        }
        match self.reading {
            Versioned::Comment => self.at = end + 2,
            Versioned::Code => {
                self.at = from + mark + digits;
                self.inside_until = Some(end);
            }
        }
        true
    }
}

/// `0x1f` and `0b01`.
fn is_prefixed_number(name: &[u8]) -> bool {
    match name {
        [b'0', b'x', digits @ ..] => digits.iter().all(u8::is_ascii_hexdigit),
        [b'0', b'b', digits @ ..] => digits.iter().all(|digit| matches!(digit, b'0' | b'1')),
        _ => false,
    }
}

/// Whether the content of a comment is the same piece of text for a server that runs it as for one that skips it:
/// nothing in it reaches over its end, begins another comment, or another statement.
fn reads_alike(code: &[u8], lexing: Lexing) -> bool {
    let starts_comment = memchr::memchr(b'#', code).is_some()
        || memchr::memmem::find(code, b"--").is_some()
        || memchr::memmem::find(code, b"/*").is_some();
    if starts_comment {
        return false;
    }
    let mut lexer = Lexer::new(code, lexing, Versioned::Comment);
    let mut depth = 0i32;
    while let Some(token) = lexer.token() {
        match token {
            Token::Strange | Token::Semicolon => return false,
            Token::Open => depth += 1,
            Token::Close => depth -= 1,
            _ => {}
        }
        if depth < 0 {
            return false;
        }
    }
    depth == 0
}
