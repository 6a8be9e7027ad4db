//! What statements name of the things that they leave in their session, or take from it: temporary tables, locks,
//! statements of SQL's own PREPARE, tables open for HANDLER, user variables.
//!
//! Whoever keeps a backend for its session asks the database about them by these names, since it lists few of them.
//! What is left without a name that can be read here is told as nameless; a name too many does no harm.

use super::lexer::{Lexer, Token, Versioned};
use crate::words::{is, is_any};
use crate::{Effects, Lexing};

/// Bytes of a name that is read. The databases allow 64 characters.
const NAME_MAX: usize = 64;

/// One thing of a session's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mention {
    /// What kind of thing: `TEMP_TABLE`, `ADVISORY_LOCK`, `SQL_PREPARE`, `HANDLER`, `TABLE_LOCK`, `USER_VARIABLES`;
    /// `DDL` if tables may have got other names; `UNKNOWN` if it may be anything, at any later time.
    pub what: Effects,
    /// The schema, where one is given.
    pub schema: Option<Box<str>>,
    /// The name, in lower case where neither database cares; `None` if it cannot be told.
    pub name: Option<Box<str>>,
    /// It is gone if the statement succeeds: that one, or all of its kind if there is no name.
    pub gone: bool,
}

impl Mention {
    pub(super) fn of(what: Effects, name: Option<Box<str>>) -> Self {
        Self { what, schema: None, name, gone: false }
    }

    fn gone(what: Effects, name: Option<Box<str>>) -> Self {
        Self { gone: true, ..Self::of(what, name) }
    }
}

/// Reads a text, which may be several statements. Allocates for what it finds.
pub fn mentions(text: &[u8], lexing: Lexing) -> Vec<Mention> {
    let mut reading = Reading::new(text, lexing);
    while let Some(token) = reading.lexer.token() {
        let goes_on = match token {
            Token::Semicolon => true,
            Token::Word(verb) => reading.statement(verb),
            _ => {
                reading.rest();
                true
            }
        };
        if !goes_on {
            break;
        }
    }
    if !lexing.trusted {
        reading.found.push(Mention::of(Effects::DDL, None));
    }
    if reading.lexer.versioned || !lexing.trusted {
        // Not every version takes it away.
        reading.found.retain(|mention| !mention.gone);
    }
    reading.found
}

/// A walk over a text.
pub(super) struct Reading<'a> {
    pub(super) lexer: Lexer<'a>,
    pub(super) found: Vec<Mention>,
    /// Another schema was chosen in the same text.
    moved: bool,
}

impl<'a> Reading<'a> {
    pub(super) fn new(text: &'a [u8], lexing: Lexing) -> Self {
        Self { lexer: Lexer::new(text, lexing, Versioned::Code), found: Vec::new(), moved: false }
    }

    /// Reads one statement behind its first word. False if what follows is not run now.
    fn statement(&mut self, verb: &[u8]) -> bool {
        let mut head = self.lexer.clone();
        let found = match verb.len() {
            3 if is(verb, b"use") => {
                self.moved = true;
                None
            }
            4..=7 if is_any(verb, &[b"lock", b"flush", b"backup", b"handler"]) => held(verb, &mut head),
            4 if is(verb, b"drop") => next_is(&mut head, b"prepare").then(|| dropped(&mut head)),
            6 if is(verb, b"unlock") => {
                Some(lock(if next_is(&mut head, b"instance") { "instance" } else { "tables" }, true))
            }
            6 if is(verb, b"rename") => Some(Mention::of(Effects::DDL, None)),
            6 if is(verb, b"create") => match self.created(&mut head) {
                Made::Body => return false,
                Made::Mention(mention) => Some(mention),
                Made::Other => None,
            },
            5 if is(verb, b"alter") => has_word(head, &[b"rename"]).then(|| Mention::of(Effects::DDL, None)),
            7 if is(verb, b"prepare") => {
                let prepared = Mention::of(Effects::SQL_PREPARE, name(&mut head).as_deref().map(lower));
                if next_is(&mut head, b"from") && !is_plain_source(&mut head) {
                    self.found.push(Mention::of(Effects::UNKNOWN, None));
                }
                Some(prepared)
            }
            7 if is(verb, b"execute") => {
                let hides = next_is(&mut head, b"immediate") && !is_plain_source(&mut head);
                hides.then(|| Mention::of(Effects::UNKNOWN, None))
            }
            10 if is(verb, b"deallocate") => next_is(&mut head, b"prepare").then(|| dropped(&mut head)),
            _ if is_any(
                verb,
                &[b"call", b"begin", b"if", b"loop", b"while", b"repeat", b"for", b"declare"],
            ) =>
            {
                Some(Mention::of(Effects::DDL, None))
            }
            _ if is_any(verb, &[b"select", b"do"]) && releases_all(head) => {
                Some(Mention::gone(Effects::ADVISORY_LOCK, None))
            }
            _ => None,
        };
        self.found.extend(found);
        self.rest();
        true
    }

    /// Reads to the end of the statement, for user variables and locks.
    fn rest(&mut self) {
        let mut before: &[u8] = b"";
        while let Some(token) = self.lexer.token() {
            match token {
                Token::Semicolon => return,
                Token::Variable(name) => self.add(Effects::USER_VARIABLES, variable(name)),
                Token::Open => self.add_lock(before),
                _ => {}
            }
            before = if let Token::Word(word) = token { word } else { b"" };
        }
    }

    /// A parenthesis opened behind this word.
    pub(super) fn add_lock(&mut self, before: &[u8]) {
        if is(before, b"get_lock") {
            let name = literal_before_comma(self.lexer.clone());
            self.add(Effects::ADVISORY_LOCK, name);
        } else if takes_other_locks(before) {
            self.add(Effects::ADVISORY_LOCK, None);
        }
    }

    fn add(&mut self, what: Effects, name: Option<Box<str>>) {
        self.add_mention(Mention::of(what, name));
    }

    pub(super) fn add_mention(&mut self, mention: Mention) {
        if !self.found.contains(&mention) {
            self.found.push(mention);
        }
    }

    /// `CREATE [OR REPLACE] TEMPORARY TABLE [IF NOT EXISTS] name`.
    pub(super) fn created(&self, head: &mut Lexer<'a>) -> Made {
        const BODIES: [&[u8]; 6] = [b"procedure", b"function", b"trigger", b"event", b"package", b"library"];
        const OBJECTS: [&[u8]; 8] =
            [b"table", b"view", b"index", b"database", b"schema", b"user", b"role", b"sequence"];
        let mut temporary = false;
        let object = loop {
            match head.token() {
                Some(Token::Word(word)) if is(word, b"temporary") => temporary = true,
                Some(Token::Word(word)) if is_any(word, &BODIES) => return Made::Body,
                Some(Token::Word(word)) if is_any(word, &OBJECTS) => break word,
                Some(Token::Semicolon) | None => return Made::Other,
                Some(_) => {}
            }
        };
        if !temporary {
            return Made::Other;
        }
        let nameless = Mention::of(Effects::TEMP_TABLE, None);
        if !is(object, b"table") {
            return Made::Mention(nameless);
        }
        let mut after = head.clone();
        if next_is(&mut after, b"if") && next_is(&mut after, b"not") && next_is(&mut after, b"exists") {
            *head = after;
        }
        let first = name(head);
        let (schema, name) = match dotted(head) {
            Some(second) => (first, second),
            None => (None, first),
        };
        if schema.is_none() && self.moved {
            return Made::Mention(nameless);
        }
        Made::Mention(Mention { schema, ..Mention::of(Effects::TEMP_TABLE, name) })
    }
}

/// What a CREATE makes.
pub(super) enum Made {
    /// Something with statements in it, to the end of the text.
    Body,
    Mention(Mention),
    Other,
}

/// What `LOCK`, `FLUSH`, `BACKUP` and `HANDLER` keep or end.
pub(super) fn held(verb: &[u8], head: &mut Lexer<'_>) -> Option<Mention> {
    match verb.len() {
        4 => next_is(head, b"instance").then(|| lock("instance", false)),
        5 => has_word(head.clone(), &[b"lock", b"export"]).then(|| lock("tables", false)),
        6 => backup(head),
        _ => handler(head),
    }
}

fn lock(name: &str, gone: bool) -> Mention {
    Mention { gone, ..Mention::of(Effects::TABLE_LOCK, Some(name.into())) }
}

fn dropped(head: &mut Lexer<'_>) -> Mention {
    match name(head) {
        Some(name) => Mention::gone(Effects::SQL_PREPARE, Some(lower(&name))),
        // Not known to be any of those that are known.
        None => Mention::of(Effects::SQL_PREPARE, None),
    }
}

/// `BACKUP STAGE ..`, `BACKUP LOCK t`, `BACKUP UNLOCK`.
fn backup(head: &mut Lexer<'_>) -> Option<Mention> {
    match head.token()? {
        Token::Word(word) if is(word, b"stage") => Some(lock("stage", next_is(head, b"end"))),
        Token::Word(word) if is(word, b"lock") => Some(lock("backup", false)),
        Token::Word(word) if is(word, b"unlock") => Some(lock("backup", true)),
        _ => None,
    }
}

/// `HANDLER [schema.]t OPEN [[AS] a]`, `HANDLER a CLOSE`.
fn handler(head: &mut Lexer<'_>) -> Option<Mention> {
    let first = name(head);
    let mut table = dotted(head).unwrap_or(first);
    let Some(Token::Word(verb)) = head.token() else { return None };
    let gone = is(verb, b"close");
    if is(verb, b"open") {
        let mut after = head.clone();
        if next_is(&mut after, b"as") {
            *head = after;
        }
        if let Some(Token::Word(_) | Token::Quoted(_)) = head.clone().token() {
            table = name(head);
        }
    } else if !gone {
        return None;
    }
    match table {
        None if gone => None,
        table => Some(Mention { gone, ..Mention::of(Effects::HANDLER, table.as_deref().map(lower)) }),
    }
}

/// Whether a text behind PREPARE or EXECUTE IMMEDIATE is here, and can leave nothing in the session when it is run.
fn is_plain_source(head: &mut Lexer<'_>) -> bool {
    const RISKS: [&[u8]; 12] = [
        b"lock",
        b"temporary",
        b"into",
        b":=",
        b"set",
        b"call",
        b"handler",
        b"execute",
        b"prepare",
        b"rename",
        b"use",
        b"begin",
    ];
    let Some(Token::Text) = head.token() else { return false };
    let source = head.slice().to_ascii_lowercase();
    !RISKS.iter().any(|risk| memchr::memmem::find(&source, risk).is_some())
}

/// `SELECT RELEASE_ALL_LOCKS()` and nothing else, so that nothing decides whether it is called.
fn releases_all(mut head: Lexer<'_>) -> bool {
    matches!(head.token(), Some(Token::Word(word)) if is(word, b"release_all_locks"))
        && head.token() == Some(Token::Open)
        && head.token() == Some(Token::Close)
        && matches!(head.token(), None | Some(Token::Semicolon))
}

fn takes_other_locks(function: &[u8]) -> bool {
    is_any(
        function,
        &[
            b"service_get_read_locks",
            b"service_get_write_locks",
            b"version_tokens_lock_exclusive",
            b"version_tokens_lock_shared",
        ],
    )
}

/// The text that is the first of several arguments, if it is written out in plain characters.
fn literal_before_comma(mut lexer: Lexer<'_>) -> Option<Box<str>> {
    if lexer.token()? != Token::Text {
        return None;
    }
    let quoted = lexer.slice();
    let inner = quoted.get(1..quoted.len().checked_sub(1)?)?;
    let plain = inner.iter().all(|byte| matches!(byte, b' '..=b'~') && !b"'\"\\".contains(byte));
    let quoted_here = matches!(quoted.first(), Some(b'\'' | b'"'));
    let name =
        std::str::from_utf8(inner).ok().filter(|name| plain && quoted_here && name.len() <= NAME_MAX)?;
    (lexer.token()? == Token::Comma).then(|| name.into())
}

pub(super) fn variable(name: &[u8]) -> Option<Box<str>> {
    let plain = name.iter().all(|c| c.is_ascii_alphanumeric() || b"_$.".contains(c));
    let name = std::str::from_utf8(name).ok()?;
    (plain && !name.is_empty() && name.len() <= NAME_MAX).then(|| name.to_ascii_lowercase().into())
}

/// The name that comes next, as it is written.
pub(super) fn name(lexer: &mut Lexer<'_>) -> Option<Box<str>> {
    let name = match lexer.token()? {
        Token::Word(name) => name,
        Token::Quoted(name) if !name.iter().any(|byte| b"`\"".contains(byte)) => name,
        _ => return None,
    };
    let name = std::str::from_utf8(name).ok()?;
    (!name.is_empty() && name.len() <= 4 * NAME_MAX).then(|| name.into())
}

/// The name behind a dot, if there is a dot.
pub(super) fn dotted(lexer: &mut Lexer<'_>) -> Option<Option<Box<str>>> {
    let mut ahead = lexer.clone();
    if ahead.token() != Some(Token::Dot) {
        return None;
    }
    let second = name(&mut ahead);
    *lexer = ahead;
    Some(second)
}

fn lower(name: &str) -> Box<str> {
    name.to_lowercase().into()
}

/// Takes the next token if it is this word.
fn next_is(lexer: &mut Lexer<'_>, word: &[u8]) -> bool {
    let mut ahead = lexer.clone();
    let found = matches!(ahead.token(), Some(Token::Word(next)) if is(next, word));
    if found {
        *lexer = ahead;
    }
    found
}

/// Whether one of these words is in the rest of the statement.
fn has_word(mut lexer: Lexer<'_>, words: &[&[u8]]) -> bool {
    while let Some(token) = lexer.token() {
        match token {
            Token::Semicolon => return false,
            Token::Word(word) if is_any(word, words) => return true,
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One line a mention: kind, `+` or `-`, name.
    fn told(text: &str) -> String {
        let mentions = mentions(text.as_bytes(), Lexing::TRUSTED);
        let line = |mention: &Mention| {
            let kind = mention.what.iter().next().map_or("", |(_, name)| name);
            let sign = if mention.gone { '-' } else { '+' };
            let schema = mention.schema.as_ref().map(|schema| format!("{schema}.")).unwrap_or_default();
            format!("{kind} {sign}{schema}{}", mention.name.as_deref().unwrap_or("?"))
        };
        mentions.iter().map(line).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn what_is_named() {
        for (text, expected) in [
            ("SELECT 1", ""),
            ("CREATE TABLE t (n int)", ""),
            ("CREATE TEMPORARY TABLE t (n int)", "temp_table +t"),
            (
                "/* a */ CREATE OR REPLACE TEMPORARY TABLE IF NOT EXISTS `S`.`T t` SELECT 1",
                "temp_table +S.T t",
            ),
            ("CREATE TEMPORARY TABLE `a``b` (n int)", "temp_table +?"),
            ("CREATE TEMPORARY SEQUENCE s", "temp_table +?"),
            ("USE x; CREATE TEMPORARY TABLE t (n int)", "temp_table +?"),
            ("USE x; CREATE TEMPORARY TABLE x.t (n int)", "temp_table +x.t"),
            ("RENAME TABLE a TO b", "ddl +?"),
            ("ALTER TABLE a RENAME TO b", "ddl +?"),
            ("ALTER TABLE a ADD COLUMN b int", ""),
            ("CALL p(@x)", "ddl +?; user_variables +x"),
            ("SELECT GET_LOCK('My lock', 10)", "advisory_lock +My lock"),
            ("SELECT get_lock (\"a\",1), get_lock('b', 1)", "advisory_lock +a; advisory_lock +b"),
            ("SELECT GET_LOCK(?, 1)", "advisory_lock +?"),
            ("SELECT GET_LOCK('a' 'b', 1)", "advisory_lock +?"),
            ("SELECT GET_LOCK(concat('a'), 1)", "advisory_lock +?"),
            (r"SELECT GET_LOCK('a\n', 1)", "advisory_lock +?"),
            ("SELECT GET_LOCK(x'61', 1)", "advisory_lock +?"),
            ("SELECT RELEASE_LOCK('a')", ""),
            ("SELECT RELEASE_ALL_LOCKS();", "advisory_lock -?"),
            ("DO release_all_locks()", "advisory_lock -?"),
            ("SELECT IF(0, RELEASE_ALL_LOCKS(), 1)", ""),
            ("SELECT service_get_write_locks('a', 'b', 1)", "advisory_lock +?"),
            ("PREPARE S FROM 'SELECT 1'", "sql_prepare +s"),
            ("PREPARE s FROM 'SELECT 1 INTO @a'", "unknown +?; sql_prepare +s"),
            ("PREPARE s FROM @text", "unknown +?; sql_prepare +s; user_variables +text"),
            ("DEALLOCATE PREPARE `S`", "sql_prepare -s"),
            ("DROP PREPARE s", "sql_prepare -s"),
            ("/*!50001 DROP PREPARE s */", ""),
            ("EXECUTE s USING @a", "user_variables +a"),
            ("EXECUTE IMMEDIATE 'DO get_lock(1, 1)'", "unknown +?"),
            ("HANDLER t OPEN", "handler +t"),
            ("HANDLER s.T OPEN AS A", "handler +a"),
            ("HANDLER t OPEN b", "handler +b"),
            ("HANDLER t READ FIRST", ""),
            ("HANDLER T CLOSE; SELECT 1", "handler -t"),
            ("LOCK TABLES a READ", ""),
            ("UNLOCK TABLES", "table_lock -tables"),
            ("FLUSH TABLES WITH READ LOCK", "table_lock +tables"),
            ("FLUSH TABLES", ""),
            ("LOCK INSTANCE FOR BACKUP", "table_lock +instance"),
            ("UNLOCK INSTANCE", "table_lock -instance"),
            ("BACKUP STAGE START", "table_lock +stage"),
            ("BACKUP STAGE END", "table_lock -stage"),
            ("SET @a = 1, @B := @a", "user_variables +a; user_variables +b"),
            ("SELECT 1 INTO @`a b`", "user_variables +?"),
            ("CREATE PROCEDURE p() BEGIN SET @a = 1; DO get_lock('a', 1); END", ""),
            ("SELECT 1; SET @a = 1; DROP PREPARE p", "user_variables +a; sql_prepare -p"),
        ] {
            assert_eq!(told(text), expected, "{text}");
        }
        let unsure = Lexing { trusted: false, ..Lexing::TRUSTED };
        let found = mentions(b"DROP PREPARE s", unsure);
        assert!(found.iter().all(|mention| !mention.gone) && !found.is_empty(), "{found:?}");
    }
}
