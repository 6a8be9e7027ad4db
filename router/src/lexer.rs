//! Cuts PostgreSQL's SQL into tokens: bytes in, one token at a time out, no allocation, no recursion.
//!
//! Follows `scan.l` in all that decides where a string, a comment or a name ends. What it does not follow it
//! calls `Strange`, and a text with anything strange in it is a write. Valid only while
//! `standard_conforming_strings` is on and the encoding keeps ASCII bytes for ASCII characters. Keywords are
//! names here; what a name means is for the reader of the tokens.

use crate::Hint;

/// One token. Slices point into the text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Token<'a> {
    /// An unquoted name or keyword.
    Word(&'a [u8]),
    /// A quoted name, without its outer quotes.
    Quoted(&'a [u8]),
    /// A plain string, without its outer quotes.
    Text(&'a [u8]),
    /// A string with escapes, bits, or a dollar-quoted one.
    OtherText,
    Number,
    Parameter,
    Open,
    Close,
    Comma,
    Dot,
    Semicolon,
    /// `[`, `]`, `:`, `::`, `:=`.
    Punctuation,
    Operator(&'a [u8]),
    /// Something this lexer does not vouch for.
    Strange,
}

/// What a byte may begin.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Space,
    Letter,
    Digit,
    Operator,
    Other,
}

static CLASSES: [Class; 256] = classes();

const fn classes() -> [Class; 256] {
    let mut table = [Class::Other; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = class_of(byte as u8);
        byte += 1;
    }
    table
}

const fn class_of(byte: u8) -> Class {
    match byte {
        b' ' | b'\t' | b'\n' | b'\r' | 0x0c => Class::Space,
        b'a'..=b'z' | b'A'..=b'Z' | b'_' | 0x80..=0xff => Class::Letter,
        b'0'..=b'9' => Class::Digit,
        b'~' | b'!' | b'@' | b'#' | b'^' | b'&' | b'|' | b'`' | b'?' | b'+' | b'-' | b'*' | b'/' | b'%'
        | b'<' | b'>' | b'=' => Class::Operator,
        _ => Class::Other,
    }
}

/// What a name consists of behind its first byte.
static NAME_BYTES: [bool; 256] = name_bytes();

const fn name_bytes() -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = matches!(class_of(byte as u8), Class::Letter | Class::Digit) || byte == b'$' as usize;
        byte += 1;
    }
    table
}

/// The tokens of a text, and the hints in its comments.
#[derive(Clone)]
pub(crate) struct Lexer<'a> {
    text: &'a [u8],
    at: usize,
    start: usize,
    pub(crate) hint: Hint,
}

impl<'a> Lexer<'a> {
    pub(crate) fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0, start: 0, hint: Hint::default() }
    }

    /// Where the last token begins.
    pub(crate) const fn start(&self) -> usize {
        self.start
    }

    /// Where the last token ends.
    pub(crate) const fn end(&self) -> usize {
        self.at
    }

    /// The next token, or none at the end. A byte order mark or any other byte above 127 is a letter.
    #[inline]
    pub(crate) fn token(&mut self) -> Option<Token<'a>> {
        loop {
            let byte = *self.text.get(self.at)?;
            self.start = self.at;
            match CLASSES[usize::from(byte)] {
                Class::Space => self.at += 1,
                Class::Letter => return Some(self.word(byte)),
                Class::Digit => return Some(self.number()),
                Class::Operator => match (byte, self.peek(1)) {
                    (b'-', Some(b'-')) => self.line_comment(),
                    (b'/', Some(b'*')) => {
                        if !self.block_comment() {
                            return Some(Token::Strange);
                        }
                    }
                    _ => return Some(self.operator()),
                },
                Class::Other => return Some(self.other(byte)),
            }
        }
    }

    #[inline(always)]
    fn peek(&self, ahead: usize) -> Option<u8> {
        self.text.get(self.at + ahead).copied()
    }

    /// Skips bytes while they satisfy the condition.
    #[inline]
    fn skip(&mut self, wanted: impl Fn(u8) -> bool) {
        let rest = self.text.get(self.at..).unwrap_or_default();
        self.at += rest.iter().position(|byte| !wanted(*byte)).unwrap_or(rest.len());
    }

    fn one(&mut self, token: Token<'a>) -> Token<'a> {
        self.at += 1;
        token
    }

    fn other(&mut self, byte: u8) -> Token<'a> {
        match byte {
            b'(' => self.one(Token::Open),
            b')' => self.one(Token::Close),
            b',' => self.one(Token::Comma),
            b';' => self.one(Token::Semicolon),
            b'.' if self.peek(1).is_some_and(|next| next.is_ascii_digit()) => self.number(),
            b'.' => self.one(Token::Dot),
            b'[' | b']' | b':' => self.one(Token::Punctuation),
            b'\'' => self.plain_string(),
            b'"' => match self.quoted(b'"') {
                Some(name) => Token::Quoted(name),
                None => self.unterminated(),
            },
            b'$' => self.dollar(),
            _ => self.one(Token::Strange),
        }
    }

    #[inline]
    fn word(&mut self, first: u8) -> Token<'a> {
        match (first | 0x20, self.peek(1)) {
            (b'e', Some(b'\'')) => return self.escape_string(),
            (b'b' | b'x', Some(b'\'')) => {
                self.at += 1;
                return if self.quoted(b'\'').is_some() { Token::OtherText } else { self.unterminated() };
            }
            (b'n', Some(b'\'')) => {
                self.at += 1;
                return self.plain_string();
            }
            (b'u', Some(b'&')) if matches!(self.peek(2), Some(b'\'' | b'"')) => {
                return self.one(Token::Strange);
            }
            _ => {}
        }
        self.skip(|byte| NAME_BYTES[usize::from(byte)]);
        Token::Word(&self.text[self.start..self.at])
    }

    /// Digits and at most one dot. Letters are never part of a number here, so that `1into` is two tokens, as
    /// it is up to PostgreSQL 14; an exponent or a digit separator comes out as a word of no meaning.
    fn number(&mut self) -> Token<'a> {
        self.skip(|byte| byte.is_ascii_digit());
        if self.peek(0) == Some(b'.') && self.peek(1) != Some(b'.') {
            self.at += 1;
            self.skip(|byte| byte.is_ascii_digit());
        }
        Token::Number
    }

    /// Operator characters up to a comment's beginning. A sign at the end is its own token unless one of the
    /// characters before it says otherwise.
    fn operator(&mut self) -> Token<'a> {
        let mut keeps_sign = false;
        while let Some(byte) = self.peek(0) {
            let comment = matches!((byte, self.peek(1)), (b'-', Some(b'-')) | (b'/', Some(b'*')));
            if CLASSES[usize::from(byte)] != Class::Operator || comment {
                break;
            }
            keeps_sign |= matches!(byte, b'~' | b'!' | b'@' | b'#' | b'^' | b'&' | b'|' | b'`' | b'?' | b'%');
            self.at += 1;
        }
        while !keeps_sign && self.at - self.start > 1 && matches!(self.text[self.at - 1], b'+' | b'-') {
            self.at -= 1;
        }
        Token::Operator(&self.text[self.start..self.at])
    }

    /// From the opening quote to the closing one; a doubled quote is part of the text.
    fn quoted(&mut self, quote: u8) -> Option<&'a [u8]> {
        let from = self.at + 1;
        let mut at = from;
        loop {
            at += distance(quote, self.text.get(at..)?)?;
            if self.text.get(at + 1) != Some(&quote) {
                self.at = at + 1;
                return Some(&self.text[from..at]);
            }
            at += 2;
        }
    }

    fn plain_string(&mut self) -> Token<'a> {
        match self.quoted(b'\'') {
            Some(text) => Token::Text(text),
            None => self.unterminated(),
        }
    }

    fn unterminated(&mut self) -> Token<'a> {
        self.at = self.text.len();
        Token::Strange
    }

    /// `E'..'`. If another string follows, it may continue this one with escapes still on: strange.
    fn escape_string(&mut self) -> Token<'a> {
        let mut at = self.at + 2;
        loop {
            let Some(step) = self.text.get(at..).and_then(|rest| memchr::memchr2(b'\'', b'\\', rest)) else {
                return self.unterminated();
            };
            at += step;
            let doubled = self.text.get(at + 1) == Some(&b'\'');
            if self.text[at] == b'\'' && !doubled {
                break;
            }
            at += 2;
        }
        self.at = at + 1;
        if self.is_continued() { Token::Strange } else { Token::OtherText }
    }

    fn is_continued(&self) -> bool {
        let mut rest = self.clone();
        loop {
            rest.skip(|byte| CLASSES[usize::from(byte)] == Class::Space);
            match (rest.peek(0), rest.peek(1)) {
                (Some(b'-'), Some(b'-')) => rest.line_comment(),
                (next, _) => return next == Some(b'\''),
            }
        }
    }

    /// `$1`, `$tag$ .. $tag$`, or a lone dollar.
    fn dollar(&mut self) -> Token<'a> {
        self.at += 1;
        let tag_start = self.at;
        match self.peek(0) {
            Some(b'0'..=b'9') => {
                self.skip(|byte| byte.is_ascii_digit());
                return Token::Parameter;
            }
            Some(b'$') => {}
            Some(byte) if CLASSES[usize::from(byte)] == Class::Letter => {
                self.skip(|byte| matches!(CLASSES[usize::from(byte)], Class::Letter | Class::Digit));
            }
            _ => return Token::Strange,
        }
        if self.peek(0) != Some(b'$') {
            self.at = tag_start;
            return Token::Strange;
        }
        self.at += 1;
        let tag = &self.text[self.start..self.at];
        match memchr::memmem::find(&self.text[self.at..], tag) {
            Some(length) => {
                self.at += length + tag.len();
                Token::OtherText
            }
            None => self.unterminated(),
        }
    }

    /// Up to the end of the line.
    fn line_comment(&mut self) {
        let rest = &self.text[self.at..];
        let length = memchr::memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
        self.hint.read(&rest[2..length]);
        self.at += length;
    }

    /// Nested comments. False if one is not closed.
    fn block_comment(&mut self) -> bool {
        let from = self.at + 2;
        let mut at = from;
        let mut depth = 1usize;
        while let Some(step) = self.text.get(at..).and_then(|rest| memchr::memchr2(b'*', b'/', rest)) {
            at += step;
            match (self.text[at], self.text.get(at + 1)) {
                (b'*', Some(b'/')) => {
                    depth -= 1;
                    at += 2;
                    if depth == 0 {
                        self.hint.read(&self.text[from..at - 2]);
                        self.at = at;
                        return true;
                    }
                }
                (b'/', Some(b'*')) => {
                    depth += 1;
                    at += 2;
                }
                _ => at += 1,
            }
        }
        self.at = self.text.len();
        false
    }
}

/// Bytes looked at one by one before the search for a quote is worth a call.
const NEAR: usize = 24;

/// How far away the quote is. Most names and strings are short.
#[inline]
fn distance(quote: u8, text: &[u8]) -> Option<usize> {
    match text.iter().take(NEAR).position(|byte| *byte == quote) {
        Some(near) => Some(near),
        None => memchr::memchr(quote, text.get(NEAR..)?).map(|far| far + NEAR),
    }
}
