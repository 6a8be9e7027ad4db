//! Fingerprints: a text with its literals, comments and white space taken out, as one number.
//!
//! Texts that differ in values only share a fingerprint. It serves to remember what replicas refused: two
//! texts that share one by accident cost a read on the primary, never a wrong route. Does not allocate.

use std::hash::{BuildHasher, Hasher};

use crate::lexer::{Lexer, Token};
use crate::words::Folded;

/// The fingerprint of a text under this process's seed.
pub(crate) fn of(text: &[u8], seed: &impl BuildHasher) -> u64 {
    let mut hash = seed.build_hasher();
    let mut lexer = Lexer::new(text);
    // A list of values counts as one value, whatever its length.
    let mut listing = false;
    while let Some(token) = lexer.token() {
        let value = matches!(token, Token::Text(_) | Token::OtherText | Token::Number | Token::Parameter);
        if listing && (value || token == Token::Comma) {
            continue;
        }
        listing = value;
        match token {
            Token::Word(word) => hash.write(Folded::word(word).bytes()),
            Token::Quoted(name) => hash.write(name),
            Token::Operator(symbol) => hash.write(symbol),
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
        Token::Text(_) | Token::OtherText | Token::Number | Token::Parameter => 2,
        Token::Open => 3,
        Token::Close => 4,
        Token::Comma => 5,
        Token::Dot => 6,
        Token::Semicolon => 7,
        Token::Punctuation => 8,
        Token::Operator(_) => 9,
        Token::Strange => 10,
    }
}
