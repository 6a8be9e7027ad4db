//! Digests: a text without its values, comments and white space, for people to read.
//!
//! Texts that differ in values only have one digest, whether a value stands in the text or comes as a parameter:
//! all are `?`. Lists behind IN and VALUES keep one of several equal members. Words are in lower case, names in
//! quotes as they are. Invariant: nothing of a value is left, whatever the text: what cannot be read ends the
//! digest, what stands behind PASSWORD in a statement about users is left out, and so is all of a statement of
//! no known verb.

use crate::list::Lists;
use crate::piece::{Piece, Pieces};
use crate::table::{NameHash, Names};
use crate::words::{Verb, is, is_any, verb};
use crate::{Dialect, Lexing};
use std::cell::Cell;

/// Bytes of a text that are read. What is behind them does not count.
const READ_MAX: usize = 32 * 1024;

/// Stands for what is left out.
const CUT: &[u8] = b" ...";

thread_local! {
    // Holds nothing between two texts: it is working space, not state.
    static SPACE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// The number of a text's digest: the same in every process of every version. 0 if there is no statement.
pub(crate) fn number(text: &[u8], dialect: Dialect, lexing: Lexing) -> u64 {
    let mut space = SPACE.take();
    space.clear();
    write(text, dialect, lexing, &mut space);
    let number = hash(&space);
    SPACE.set(space);
    number
}

/// The digest of a text, of at most `most` bytes and a mark that something is left out.
pub(crate) fn text(text: &[u8], dialect: Dialect, lexing: Lexing, most: usize) -> String {
    let mut out = Vec::new();
    write(text, dialect, lexing, &mut out);
    let cut = out.len() > most;
    if cut {
        while most < out.len() && out.get(most).is_some_and(|byte| byte & 0xc0 == 0x80) {
            out.pop();
        }
        out.truncate(most);
        out.extend_from_slice(CUT);
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// FNV-1a: what a digest is called must not change from one version to the next.
fn hash(bytes: &[u8]) -> u64 {
    if bytes.is_empty() {
        return 0;
    }
    let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, mix).max(1)
}

fn write(text: &[u8], dialect: Dialect, lexing: Lexing, out: &mut Vec<u8>) {
    let mut digest = Digest {
        dialect,
        out,
        lists: Lists::default(),
        last: Last::Start,
        sign: None,
        words: 0,
        verb: Verb::Unknown,
        mode: Mode::Plain,
    };
    if !lexing.trusted {
        // Where a value ends, nobody here can say.
        let first = text.trim_ascii_start();
        let length = first.iter().position(|byte| !byte.is_ascii_alphabetic()).unwrap_or(first.len());
        digest.add(Piece::Word(first.get(..length).unwrap_or_default()));
        digest.out.extend_from_slice(CUT);
        return;
    }
    let mut pieces = Pieces::new(text, dialect, lexing);
    while let Some(piece) = pieces.next() {
        if pieces.start() > READ_MAX || piece == Piece::Strange {
            digest.give_up();
            return;
        }
        digest.add(piece);
    }
    digest.end_statement();
    while digest.out.last() == Some(&b';') {
        digest.out.pop();
    }
}

/// What was written last.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    Start,
    /// A keyword behind which a value may stand.
    Keyword,
    Name,
    Value,
    Open,
    Close,
    Comma,
    /// A dot, a colon or an opening bracket: nothing but the next belongs behind it.
    Tie,
    Operator,
    Semicolon,
}

/// How the rest of a statement is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Plain,
    /// What is assigned is a value, though it may be a word.
    Setting {
        assigned: bool,
    },
    /// Nothing of it.
    Hidden,
}

struct Digest<'o> {
    dialect: Dialect,
    out: &'o mut Vec<u8>,
    lists: Lists,
    last: Last,
    /// A sign that may belong to a value.
    sign: Option<u8>,
    /// Words of the statement so far.
    words: u32,
    verb: Verb,
    mode: Mode,
}

impl Digest<'_> {
    fn add(&mut self, piece: Piece<'_>) {
        if let Some(sign) = self.sign.take()
            && piece != Piece::Value
        {
            self.operator(&[sign], false);
        }
        if self.mode == Mode::Hidden && piece != Piece::Semicolon {
            return;
        }
        self.lists.see(piece, self.out);
        let begins = matches!(piece, Piece::Word(_) | Piece::Open | Piece::Semicolon);
        if self.words == 0 && !begins {
            return self.hide_unknown();
        }
        match piece {
            Piece::Word(word) => self.word(word),
            Piece::Name(name, quote) => self.quoted(name, quote),
            Piece::Variable(signs, name) => {
                self.words += 1;
                self.space(Last::Name);
                self.out.extend_from_slice(signs);
                self.out.extend(name.iter().map(u8::to_ascii_lowercase));
            }
            Piece::Value => self.value(),
            Piece::Open => {
                if !matches!(self.last, Last::Name | Last::Open | Last::Tie | Last::Start | Last::Semicolon) {
                    self.out.push(b' ');
                }
                self.put(b"(", Last::Open);
                self.lists.open(self.out.len());
            }
            Piece::Close => self.put(b")", Last::Close),
            Piece::Comma => {
                self.put(b",", Last::Comma);
                self.lists.comma(self.out.len());
                self.end_assignment(self.dialect == Dialect::Mysql);
            }
            Piece::Tie(sign @ b"]") => self.put(sign, Last::Close),
            Piece::Tie(sign @ b"[") => {
                self.put(sign, Last::Tie);
                self.lists.open(self.out.len());
            }
            Piece::Tie(sign) => self.put(sign, Last::Tie),
            Piece::Operator(symbol, joined) => self.operators(symbol, joined),
            Piece::Semicolon => {
                self.end_statement();
                // Empty statements are none.
                if !matches!(self.last, Last::Start | Last::Semicolon) {
                    self.put(b";", Last::Semicolon);
                }
                (self.words, self.mode) = (0, Mode::Plain);
            }
            Piece::Strange => {}
        }
    }

    fn put(&mut self, bytes: &[u8], last: Last) {
        self.out.extend_from_slice(bytes);
        self.last = last;
    }

    /// Sets what comes next apart from what stands before it.
    fn space(&mut self, last: Last) {
        if !matches!(self.last, Last::Start | Last::Open | Last::Tie) {
            self.out.push(b' ');
        }
        self.last = last;
    }

    fn word(&mut self, word: &[u8]) {
        self.words += 1;
        if self.words == 1 {
            self.begin(word);
            return;
        }
        if matches!(self.mode, Mode::Setting { assigned: true }) {
            return self.value();
        }
        let literal = matches!(self.last, Last::Operator | Last::Open | Last::Comma);
        if literal && is_any(word, &[b"null", b"true", b"false"]) {
            return self.value();
        }
        self.space(Last::Name);
        let from = self.out.len();
        self.out.extend(word.iter().map(u8::to_ascii_lowercase));
        let folded = self.out.get(from..).unwrap_or_default();
        if KEYWORDS.contains(NameHash::of(folded), folded) {
            self.last = Last::Keyword;
        }
        self.lists.word(word, self.out.len());
        self.heed(word);
    }

    /// Behind some words there is something to hide.
    fn heed(&mut self, word: &[u8]) {
        if self.words == 2 && is_any(word, OF_NO_USER) && matches!(self.verb, Verb::Create | Verb::Alter) {
            self.verb = Verb::Drop;
        }
        let of_users = matches!(
            self.verb,
            Verb::Create | Verb::Alter | Verb::Set | Verb::Maintenance | Verb::Start | Verb::Unknown
        );
        if of_users && is_any(word, &[b"password", b"identified"]) {
            self.out.extend_from_slice(b" ?");
            (self.mode, self.last) = (Mode::Hidden, Last::Value);
        } else if is(word, b"to") {
            self.begin_assignment();
        } else if self.verb == Verb::Alter && is(word, b"set") {
            self.mode = Mode::Setting { assigned: false };
        }
    }

    /// The first word of a statement.
    fn begin(&mut self, word: &[u8]) {
        self.verb = verb(word);
        if self.verb == Verb::Unknown && !is_any(word, MORE_VERBS) {
            return self.hide_unknown();
        }
        self.space(Last::Keyword);
        self.out.extend(word.iter().map(u8::to_ascii_lowercase));
        self.lists.word(word, self.out.len());
        if self.verb == Verb::Set {
            self.mode = Mode::Setting { assigned: false };
        }
    }

    /// What is no statement may be anything, a password in the wrong window included.
    fn hide_unknown(&mut self) {
        self.space(Last::Name);
        self.out.extend_from_slice(b"(unknown statement)");
        self.mode = Mode::Hidden;
    }

    fn quoted(&mut self, name: &[u8], quote: u8) {
        self.words += 1;
        if matches!(self.mode, Mode::Setting { assigned: true }) {
            return self.value();
        }
        self.space(Last::Name);
        self.out.push(quote);
        self.out.extend_from_slice(name);
        self.out.push(quote);
    }

    /// Values side by side are one: a string may go on in the next.
    fn value(&mut self) {
        if self.last != Last::Value {
            self.space(Last::Value);
            self.out.push(b'?');
        }
    }

    fn operators(&mut self, symbol: &[u8], joined: bool) {
        let begins = matches!(
            self.last,
            Last::Start | Last::Keyword | Last::Open | Last::Comma | Last::Operator | Last::Tie
        );
        match symbol {
            [sign @ (b'-' | b'+')] if begins => self.sign = Some(*sign),
            _ => self.operator(symbol, joined),
        }
        if matches!(symbol, b"=" | b":=") {
            self.begin_assignment();
        }
    }

    fn operator(&mut self, symbol: &[u8], joined: bool) {
        if !(joined && self.last == Last::Operator) {
            self.space(Last::Operator);
        }
        self.put(symbol, Last::Operator);
    }

    fn begin_assignment(&mut self) {
        if let Mode::Setting { assigned } = &mut self.mode {
            *assigned = true;
        }
    }

    fn end_assignment(&mut self, ends: bool) {
        if let (Mode::Setting { assigned }, true) = (&mut self.mode, ends) {
            *assigned = false;
        }
    }

    fn end_statement(&mut self) {
        if let Some(sign) = self.sign.take() {
            self.operator(&[sign], false);
        }
        self.lists.end(self.out);
    }

    /// What follows is not read: a member of a list that is not whole does not count.
    fn give_up(&mut self) {
        self.lists.cut(self.out);
        self.out.extend_from_slice(CUT);
    }
}

/// Behind these a sign belongs to a value, and a parenthesis is no call.
static KEYWORDS: Names<128> = Names::new(&KEYWORD_NAMES);

#[rustfmt::skip]
const KEYWORD_NAMES: [&str; 38] = [
    "select", "where", "and", "or", "not", "limit", "offset", "then", "else", "when", "values", "value",
    "in", "between", "returning", "by", "set", "like", "ilike", "from", "join", "on", "as", "using",
    "over", "union", "all", "into", "with", "exists", "is", "case", "distinct", "having", "filter", "to",
    "except", "intersect",
];

/// Objects whose definitions have nothing to do with users.
const OF_NO_USER: &[&[u8]] = &[
    b"table",
    b"temp",
    b"temporary",
    b"unlogged",
    b"view",
    b"materialized",
    b"index",
    b"unique",
    b"type",
    b"schema",
    b"domain",
];

/// Verbs of MySQL, and PostgreSQL's that mean nothing to routing.
const MORE_VERBS: &[&[u8]] = &[
    b"use",
    b"replace",
    b"desc",
    b"describe",
    b"handler",
    b"kill",
    b"flush",
    b"optimize",
    b"check",
    b"checksum",
    b"repair",
    b"rename",
    b"unlock",
    b"xa",
    b"signal",
    b"resignal",
    b"get",
    b"purge",
    b"change",
    b"stop",
    b"install",
    b"uninstall",
    b"help",
    b"binlog",
    b"cache",
    b"shutdown",
    b"clone",
    b"security",
    b"wait",
];
