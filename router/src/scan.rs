//! Reads the tokens of one statement for everything that speaks against a replica.
//!
//! This is the first level's judge: it knows no grammar, only that certain words cannot be absent from certain
//! dangers. Whatever it cannot place is counted as a call of an unknown function, for the second level to
//! resolve. It never allocates.

use crate::functions::{self, Builtin};
use crate::lexer::{Lexer, Token};
use crate::lookahead;
use crate::words::{self, Folded, is, is_any};
use crate::{Effects, Reason};

/// What the tokens of one statement came to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Findings {
    /// What speaks against a replica, the first that was found.
    pub(crate) danger: Option<Reason>,
    pub(crate) effects: Effects,
    /// Some name before a parenthesis is no keyword and no listed function.
    pub(crate) unknown_calls: bool,
    /// `(expression).name` may be a call of a function of one argument.
    pub(crate) unknown_fields: bool,
    /// Some operator is not built in.
    pub(crate) unknown_operators: bool,
    /// `set_config` names a setting with a dot.
    pub(crate) custom_settings: bool,
    /// The lexer does not vouch for the text.
    pub(crate) strange: bool,
    /// More was closed than opened, or less.
    pub(crate) unbalanced: bool,
    pub(crate) tokens: usize,
}

/// The token before the current one, as far as it matters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Last<'a> {
    Start,
    /// A word that may be a keyword.
    Word(&'a [u8]),
    /// A word or quoted text that can only be a name.
    Label,
    /// A dot within a qualified name.
    Dot,
    /// A dot behind an expression: what follows is a field, or a function of one argument in disguise.
    FieldDot,
    Close,
    /// A parameter or a subscript, of which a field may be taken.
    Value,
    Other,
}

/// A name, possibly qualified, that was just read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chain<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) quoted: bool,
    pub(crate) schema: Option<(&'a [u8], bool)>,
    /// What stands before the whole name.
    pub(crate) before: Last<'a>,
    /// It is taken from an expression.
    pub(crate) field: bool,
}

impl Chain<'_> {
    /// The last part of the name, folded.
    pub(crate) fn folded(&self) -> Folded {
        if self.quoted { Folded::quoted(self.name) } else { Folded::word(self.name) }
    }
}

/// What a parenthesis after a name opens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Call {
    /// Not a call at all.
    None,
    Builtin(Builtin),
    Unknown,
}

/// A walk over the tokens of one statement.
pub(crate) struct Scan<'a> {
    pub(crate) lexer: Lexer<'a>,
    pub(crate) found: Findings,
    pub(crate) last: Last<'a>,
    pub(crate) chain: Chain<'a>,
    /// The statement is known to change data, so columns after a name are no danger.
    pub(crate) changes: bool,
    /// Behind `DISTINCT ON (..)` a name before a parenthesis may be any function.
    distinct_on: bool,
    pub(crate) depth: i32,
    ended: bool,
}

impl<'a> Scan<'a> {
    pub(crate) fn new(lexer: Lexer<'a>) -> Self {
        let chain = Chain { name: b"", quoted: false, schema: None, before: Last::Start, field: false };
        Self {
            lexer,
            found: Findings::default(),
            last: Last::Start,
            chain,
            changes: false,
            distinct_on: false,
            depth: 0,
            ended: false,
        }
    }

    /// The next token of the statement, judged; none at its end, or at something strange.
    #[inline]
    pub(crate) fn step(&mut self) -> Option<Token<'a>> {
        if self.found.strange || self.ended {
            return None;
        }
        let token = self.lexer.token();
        if token.is_none() || (matches!(token, Some(Token::Semicolon)) && self.depth <= 0) {
            self.ended = true;
            self.found.unbalanced |= self.depth != 0;
            return None;
        }
        token.inspect(|token| self.take(*token))
    }

    /// Reads on to the end of the statement.
    pub(crate) fn run(&mut self) {
        while self.step().is_some() {}
    }

    /// Judges one token.
    pub(crate) fn take(&mut self, token: Token<'a>) {
        self.found.tokens += 1;
        self.last = match token {
            Token::Word(word) => self.word(word),
            Token::Quoted(name) => self.quoted(name),
            Token::Open => {
                self.depth += 1;
                self.open();
                Last::Other
            }
            Token::Close => {
                self.depth -= 1;
                self.found.unbalanced |= self.depth < 0;
                Last::Close
            }
            Token::Dot => self.dot(),
            Token::Operator(symbol) => {
                self.found.unknown_operators |=
                    !plain_operator(symbol) && !functions::is_builtin_operator(symbol);
                Last::Other
            }
            Token::Strange => {
                self.found.strange = true;
                Last::Other
            }
            Token::Semicolon => {
                self.found.unbalanced = true;
                Last::Other
            }
            Token::Parameter | Token::Punctuation => Last::Value,
            Token::Text(_) | Token::OtherText | Token::Number | Token::Comma => Last::Other,
        };
    }

    fn dot(&self) -> Last<'a> {
        match self.last {
            Last::Close | Last::Value => Last::FieldDot,
            Last::Label if self.chain.field => Last::FieldDot,
            _ => Last::Dot,
        }
    }

    /// Begins a name, or goes on with a qualified one.
    fn extend(&mut self, name: &'a [u8], quoted: bool) {
        let before = self.last;
        let field = before == Last::FieldDot;
        self.chain = match before {
            Last::Dot => {
                let schema = Some((self.chain.name, self.chain.quoted));
                Chain { name, quoted, schema, before: self.chain.before, field }
            }
            _ => Chain { name, quoted, schema: None, before, field },
        };
        if field {
            self.field();
        }
    }

    /// `(1).f` calls `f(1)`, if it is no field.
    fn field(&mut self) {
        match functions::builtin(self.chain.folded().bytes()) {
            Builtin::ReadOnly | Builtin::SetConfig => {}
            Builtin::Primary(reason, effects) => {
                self.danger(reason);
                self.found.effects |= effects;
            }
            Builtin::Unlisted => self.found.unknown_fields = true,
        }
    }

    fn quoted(&mut self, name: &'a [u8]) -> Last<'a> {
        self.extend(name, true);
        if name.len() >= 7 {
            self.temporary(name);
            self.settings_view(name);
        }
        Last::Label
    }

    fn word(&mut self, word: &'a [u8]) -> Last<'a> {
        let label = match self.last {
            Last::Dot | Last::FieldDot => true,
            Last::Word(before) => is(before, b"as") && !is_any(word, &[b"materialized", b"not"]),
            _ => false,
        };
        let before = self.last;
        self.extend(word, false);
        if word.len() >= 7 && word[2] == b'_' {
            self.temporary(word);
            self.settings_view(word);
            if !label || before == Last::Dot {
                self.server_state(word);
            }
        }
        if label {
            return Last::Label;
        }
        match word.len() {
            2 if is(word, b"no") => self.after_for(before),
            2 if is(word, b"on") => {
                self.distinct_on |= matches!(before, Last::Word(word) if is(word, b"distinct"))
            }
            3 if is(word, b"key") => self.after_for(before),
            4 if is(word, b"into") => self.danger(Reason::SelectInto),
            4 if is(word, b"temp") => self.temporary_target(before),
            5 if is(word, b"share") => self.after_for(before),
            5 if is(word, b"merge") => self.danger(Reason::WriteInQuery),
            6 if is_any(word, &[b"update", b"insert", b"delete"]) => {
                self.after_for(before);
                self.danger(Reason::WriteInQuery);
            }
            9 if is(word, b"temporary") => self.temporary_target(before),
            _ => {}
        }
        Last::Word(word)
    }

    pub(crate) fn danger(&mut self, reason: Reason) {
        self.found.danger = self.found.danger.or(Some(reason));
    }

    fn after_for(&mut self, before: Last<'_>) {
        if matches!(before, Last::Word(word) if is(word, b"for")) {
            self.danger(Reason::Locking);
        }
    }

    fn temporary_target(&mut self, before: Last<'_>) {
        if matches!(before, Last::Word(word) if is_any(word, &[b"into", b"local", b"global"])) {
            self.found.effects |= Effects::TEMP_TABLE;
        }
    }

    fn temporary(&mut self, name: &[u8]) {
        let prefix = |prefix: &[u8]| {
            name.split_at_checked(prefix.len()).is_some_and(|(head, tail)| {
                head.eq_ignore_ascii_case(prefix) && matches!(tail.first(), None | Some(b'_'))
            })
        };
        if prefix(b"pg_temp") || prefix(b"pg_toast_temp") {
            self.found.effects |= Effects::TEMP_TABLE;
            self.danger(Reason::Temporary);
        }
    }

    /// An update of `pg_settings` sets what it updates.
    fn settings_view(&mut self, name: &[u8]) {
        if self.changes && is(name, b"pg_settings") {
            self.found.effects |= Effects::SETTINGS;
        }
    }

    /// Views that show the state of the server or session that is asked.
    fn server_state(&mut self, name: &[u8]) {
        const PREFIXES: [&[u8]; 6] =
            [b"pg_stat_", b"pg_statio_", b"pg_locks", b"pg_cursors", b"pg_prepared_", b"pg_replication_"];
        let server = PREFIXES.iter().any(|prefix| {
            name.split_at_checked(prefix.len()).is_some_and(|(head, _)| head.eq_ignore_ascii_case(prefix))
        });
        if server {
            self.danger(Reason::ServerState);
        }
    }

    fn open(&mut self) {
        match self.call() {
            Call::None | Call::Builtin(Builtin::ReadOnly) => {}
            Call::Builtin(Builtin::Primary(reason, effects)) => {
                self.danger(reason);
                self.found.effects |= effects;
            }
            Call::Builtin(Builtin::SetConfig) => self.set_config(),
            Call::Builtin(Builtin::Unlisted) | Call::Unknown => self.found.unknown_calls = true,
        }
    }

    /// What the parenthesis that just opened makes of the name before it.
    pub(crate) fn call(&mut self) -> Call {
        let Chain { quoted, schema, before, .. } = self.chain;
        match (self.last, schema) {
            (Last::Word(_) | Last::Label, _) => {}
            _ => return Call::None,
        }
        if matches!(before, Last::Word(word) if is(word, b"into")) {
            return Call::None;
        }
        let folded = self.chain.folded();
        if let Some((schema, chain_quoted)) = schema {
            return if is_pg_catalog(schema, chain_quoted) { listed(folded.bytes()) } else { Call::Unknown };
        }
        if !quoted && matches!(self.last, Last::Word(_)) {
            let keyword = if let Last::Word(word) = before { Some(word) } else { None };
            if self.changes && words::precedes_columns(folded.bytes(), keyword) {
                return Call::None;
            }
            if words::precedes_parenthesis(
                folded.bytes(),
                keyword,
                before == Last::Close && !self.distinct_on,
            ) {
                return Call::None;
            }
            match folded.bytes() {
                b"operator" => {
                    self.found.unknown_operators |= !lookahead::is_builtin_operator(self.lexer.clone());
                    return Call::None;
                }
                b"join" if lookahead::opens_query(self.lexer.clone()) => return Call::None,
                _ => {}
            }
        }
        listed(folded.bytes())
    }

    /// `set_config(name, value, is_local)`: only a literal `true` says that nothing is left behind.
    fn set_config(&mut self) {
        self.danger(Reason::Session);
        let call = lookahead::set_config(self.lexer.clone());
        if call.local {
            return;
        }
        self.found.effects |= Effects::SETTINGS;
        match call.name {
            Some(name) => self.found.custom_settings |= name.contains(&b'.'),
            None => self.found.effects |= Effects::UNKNOWN,
        }
    }
}

fn is_pg_catalog(schema: &[u8], quoted: bool) -> bool {
    if quoted { schema == b"pg_catalog" } else { is(schema, b"pg_catalog") }
}

fn listed(name: &[u8]) -> Call {
    match functions::builtin(name) {
        Builtin::Unlisted => Call::Unknown,
        builtin => Call::Builtin(builtin),
    }
}

/// The operators of nearly all texts, without a look into the table.
fn plain_operator(symbol: &[u8]) -> bool {
    matches!(symbol, b"=" | b"*" | b"<" | b">" | b"+" | b"-" | b"/" | b"||" | b">=" | b"<=" | b"<>")
}
