//! Reads the tokens of one statement for everything that speaks against a replica.
//!
//! Knows no grammar, only that certain words cannot be absent from certain dangers. Whatever it cannot place before
//! a parenthesis is a call of an unknown function, for the catalog to judge. Allocates only where names are asked
//! for.

use super::builtins;
use super::lexer::{Lexer, Token};
use crate::table::{NameHash, Names};
use crate::words::{is, is_any};
use crate::{Effects, Name, Reason};

static READ_ONLY: Names<1024> = Names::new(&builtins::READ_ONLY);
static PRIMARY_ONLY: Names<128> = Names::new(&builtins::PRIMARY_ONLY);
static RESERVED: Names<256> = Names::new(&builtins::RESERVED);

/// The longest built-in name or keyword, in bytes.
const LISTED_MAX: usize = 64;
/// Tokens read ahead to tell the columns of a common table expression from the arguments of a function.
const COLUMNS_MAX: usize = 64;

/// What the tokens of one statement came to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Findings {
    /// What speaks against a replica, the first that was found.
    pub(super) danger: Option<Reason>,
    pub(super) effects: Effects,
    /// It asks what the statement before it left.
    pub(super) reads_last: bool,
    /// Some name before a parenthesis is no keyword and no listed function.
    pub(super) unknown_calls: bool,
    pub(super) strange: bool,
    pub(super) unbalanced: bool,
    into: bool,
    /// It names a user variable.
    pub(super) variable: bool,
    json_table: bool,
    pub(super) selects: bool,
}

/// The token before the current one, as far as it matters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Last<'a> {
    Start,
    /// A word that may be a keyword.
    Word(&'a [u8]),
    /// A word or quoted text that can only be a name.
    Label,
    Dot,
    Close,
    Operator,
    Other,
}

/// A name, possibly qualified, that was just read.
#[derive(Clone, Copy, Debug)]
struct Chain<'a> {
    name: &'a [u8],
    schema: Option<&'a [u8]>,
    /// The word before the whole name; empty if something else stands there.
    before: &'a [u8],
}

/// A walk over the tokens of one statement.
pub(super) struct Scan<'a> {
    pub(super) lexer: Lexer<'a>,
    pub(super) found: Findings,
    pub(super) last: Last<'a>,
    chain: Chain<'a>,
    pub(super) depth: i32,
    ended: bool,
    /// The name that is being read is a table's, with columns behind it.
    target: bool,
    /// It is the body of a stored function that is read, not a statement.
    body: bool,
    /// Unknown functions, if anybody wants to know them.
    pub(super) names: Option<Vec<Name>>,
}

impl<'a> Scan<'a> {
    pub(super) fn new(lexer: Lexer<'a>, names: Option<Vec<Name>>) -> Self {
        Self {
            lexer,
            found: Findings::default(),
            last: Last::Start,
            chain: Chain { name: b"", schema: None, before: b"" },
            depth: 0,
            ended: false,
            target: false,
            body: false,
            names,
        }
    }

    /// The next token of the statement, judged; none at its end, or at something strange.
    pub(super) fn step(&mut self) -> Option<Token<'a>> {
        if self.found.strange || self.ended {
            return None;
        }
        let token = self.lexer.token();
        if token.is_none() || (token == Some(Token::Semicolon) && self.depth <= 0) {
            self.ended = true;
            self.found.unbalanced |= self.depth != 0;
            return None;
        }
        token.inspect(|token| self.take(*token))
    }

    /// The word that comes next, judged; none if it is no word.
    pub(super) fn word(&mut self) -> Option<&'a [u8]> {
        match self.step() {
            Some(Token::Word(word)) => Some(word),
            _ => None,
        }
    }

    /// Reads on to the end of the statement.
    pub(super) fn run(&mut self) {
        while self.step().is_some() {}
    }

    /// The name that was just begun is that of a table: a parenthesis behind it holds columns.
    pub(super) fn columns_of_target(&mut self) {
        self.target = true;
    }

    /// Reads to the end of the text: a body whose semicolons end nothing.
    pub(super) fn swallow(&mut self) {
        while let Some(token) = self.lexer.token() {
            self.found.strange |= token == Token::Strange;
        }
        self.ended = true;
    }

    /// Reads the body of a stored function, which is many statements, to its end.
    pub(super) fn read_body(&mut self) {
        const ACTS: [&[u8]; 12] = [
            b"call",
            b"execute",
            b"prepare",
            b"truncate",
            b"create",
            b"drop",
            b"alter",
            b"load",
            b"outfile",
            b"dumpfile",
            b"lock",
            b"handler",
        ];
        self.body = true;
        while let Some(token) = self.lexer.token() {
            self.take(token);
            match token {
                // `SET @a`, and `SET` of anything that is no local variable, cannot be told apart from here.
                Token::Word(word) if is(word, b"set") => self.assignment(),
                Token::Word(word) if self.last != Last::Label && is_any(word, &ACTS) => {
                    self.danger(Reason::Procedure);
                }
                Token::Strange => return,
                _ => {}
            }
        }
    }

    /// `SET name =` may name a local variable; anything else changes the session.
    fn assignment(&mut self) {
        let mut ahead = self.lexer.clone();
        let local = matches!(ahead.token(), Some(Token::Word(word) | Token::Quoted(word))
            if !is_any(word, &[b"session", b"global", b"local", b"persist", b"names", b"transaction", b"role",
                b"sql_mode", b"autocommit", b"time_zone", b"insert_id", b"last_insert_id", b"timestamp"]));
        if !local {
            self.found.effects |= Effects::SETTINGS;
            self.danger(Reason::Session);
        }
    }

    fn take(&mut self, token: Token<'a>) {
        self.last = match token {
            Token::Word(word) => self.take_word(word),
            Token::Quoted(name) => self.take_name(name),
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
            Token::Dot => {
                self.schema();
                Last::Dot
            }
            Token::Variable(name) => {
                if is(name, b"splitpool_token") {
                    self.found.effects |= Effects::TOKEN;
                }
                self.found.variable = true;
                self.variable_into();
                Last::Other
            }
            Token::SystemVariable(name) => {
                self.system_variable(name);
                Last::Other
            }
            Token::Assign => {
                self.found.effects |= Effects::USER_VARIABLES;
                self.danger(Reason::UserVariable);
                Last::Operator
            }
            Token::Operator(_) => Last::Operator,
            Token::Strange => {
                self.found.strange = true;
                Last::Other
            }
            Token::Semicolon => {
                self.found.unbalanced = true;
                Last::Other
            }
            Token::Text | Token::Number | Token::Parameter | Token::Comma => Last::Other,
        };
    }

    pub(super) fn danger(&mut self, reason: Reason) {
        self.found.danger = self.found.danger.or(Some(reason));
    }

    /// On a replica such a lock would be given, and lock nothing.
    fn locks_rows(&mut self) {
        self.found.effects |= Effects::LOCKS;
        self.danger(Reason::Locking);
    }

    fn take_name(&mut self, name: &'a [u8]) -> Last<'a> {
        let before = if let Last::Word(word) = self.last { word } else { b"" };
        self.target &= self.last == Last::Dot;
        self.chain = match self.last {
            Last::Dot => Chain { name, schema: Some(self.chain.name), before: self.chain.before },
            _ => Chain { name, schema: None, before },
        };
        if self.last == Last::Dot {
            self.server_table(name);
        }
        Last::Label
    }

    fn take_word(&mut self, word: &'a [u8]) -> Last<'a> {
        let before = if let Last::Word(before) = self.last { before } else { b"" };
        // A keyword behind a dot is a name only if nothing stands between them.
        let label = self.last == Last::Dot && self.lexer.adjacent;
        self.take_name(word);
        if label {
            return Last::Label;
        }
        match word.len() {
            4 if is(word, b"into") => {
                self.found.into = true;
                // In a body it names local variables; files and other variables are seen by themselves.
                if !self.body {
                    self.danger(Reason::SelectInto);
                }
                if self.found.variable {
                    self.variable_into();
                }
            }
            4 if is(word, b"lock") && self.precedes(b"in") => self.locks_rows(),
            4 if is(word, b"lock") => self.danger(Reason::Locking),
            5 if is(word, b"share") && is(before, b"for") => self.locks_rows(),
            5 if is(word, b"value") && is_any(before, &[b"next", b"previous"]) => {
                let asks = is(before, b"previous");
                self.found.reads_last |= asks;
                self.found.effects |= if asks { Effects::SEQUENCE_ASKED } else { Effects::SEQUENCE };
                self.danger(Reason::SideEffect);
            }
            6 if is(word, b"select") => {
                // What stands before the query of a CREATE TABLE is no call.
                self.found.unknown_calls &= self.found.selects;
                self.found.selects = true;
            }
            6 if is_any(word, &[b"update", b"delete"]) => {
                if is(before, b"for") {
                    self.locks_rows();
                } else {
                    self.danger(Reason::WriteInQuery);
                }
            }
            6 | 7 if is_any(word, &[b"insert", b"replace"]) && !self.opens() => {
                self.danger(Reason::WriteInQuery);
            }
            9 if is(word, b"procedure") => self.danger(Reason::Procedure),
            19 if is(word, b"sql_calc_found_rows") => {
                self.found.effects |= Effects::FOUND_ROWS;
                self.danger(Reason::LastResult);
            }
            _ => {}
        }
        Last::Word(word)
    }

    /// Whether this word comes next.
    fn precedes(&self, next: &[u8]) -> bool {
        matches!(self.lexer.clone().token(), Some(Token::Word(word)) if is(word, next))
    }

    /// Whether a parenthesis comes next.
    fn opens(&self) -> bool {
        self.lexer.clone().token() == Some(Token::Open)
    }

    fn variable_into(&mut self) {
        if self.found.into {
            self.found.effects |= Effects::USER_VARIABLES;
        }
    }

    /// A schema whose tables show the state of the server that is asked.
    fn schema(&mut self) {
        let is_name = matches!(self.last, Last::Word(_) | Last::Label);
        if is_name && is_any(self.chain.name, &[b"performance_schema", b"sys"]) {
            self.danger(Reason::ServerState);
        }
    }

    /// Tables of the information schema that do the same.
    fn server_table(&mut self, name: &[u8]) {
        let own = self.chain.schema.is_some_and(|schema| is(schema, b"information_schema"));
        let prefix = |prefix: &[u8]| {
            name.split_at_checked(prefix.len()).is_some_and(|(head, _)| head.eq_ignore_ascii_case(prefix))
        };
        if own
            && (is(name, b"processlist") || prefix(b"innodb_") || prefix(b"global_") || prefix(b"session_"))
        {
            self.danger(Reason::ServerState);
        }
    }

    fn system_variable(&mut self, name: &[u8]) {
        let name = name.rsplit(|byte| *byte == b'.').next().unwrap_or(name);
        let prefix = |prefix: &[u8]| {
            name.split_at_checked(prefix.len()).is_some_and(|(head, _)| head.eq_ignore_ascii_case(prefix))
        };
        const OF_LAST: [&[u8]; 7] = [
            b"last_insert_id",
            b"identity",
            b"insert_id",
            b"warning_count",
            b"error_count",
            b"last_gtid",
            b"in_transaction",
        ];
        const OF_SERVER: [&[u8]; 6] =
            [b"gtid_", b"rpl_", b"slave_", b"replica_", b"wsrep_", b"innodb_read_only"];
        if is_any(name, &OF_LAST) {
            self.found.reads_last = true;
            self.danger(Reason::LastResult);
        } else if is_any(name, &[b"read_only", b"super_read_only"]) || OF_SERVER.into_iter().any(prefix) {
            self.danger(Reason::ServerState);
        }
    }

    /// A parenthesis opened: behind a name it may be a call.
    fn open(&mut self) {
        let Chain { name, schema, before } = self.chain;
        if std::mem::take(&mut self.target) {
            return;
        }
        let is_word = match self.last {
            Last::Word(_) => true,
            Last::Label => false,
            _ => return,
        };
        // `AS name (..)` is a type or columns; a table's name has its columns behind it.
        if is_any(before, &[b"as", b"into", b"table", b"with", b"recursive", b"references", b"view"]) {
            return;
        }
        if schema.is_some() {
            return self.unknown();
        }
        let mut buffer = [0; LISTED_MAX];
        let Some(folded) = buffer.get_mut(..name.len()) else { return self.unknown() };
        folded.copy_from_slice(name);
        folded.make_ascii_lowercase();
        let hash = NameHash::of(folded);
        if is_word && (RESERVED.contains(hash, folded) || self.is_keyword(folded)) {
            return;
        }
        self.found.json_table |= folded == b"json_table";
        if READ_ONLY.contains(hash, folded) {
            return;
        }
        if PRIMARY_ONLY.contains(hash, folded) {
            return self.primary_only(folded);
        }
        if !self.names_columns() {
            self.unknown();
        }
    }

    /// Words that are reserved nowhere, where they are no call.
    fn is_keyword(&self, folded: &[u8]) -> bool {
        match folded {
            b"columns" => self.found.json_table,
            b"any" | b"some" => self.chain.before.is_empty(),
            b"against" => true,
            b"return" | b"while" | b"until" | b"elseif" => self.body,
            _ => false,
        }
    }

    fn primary_only(&mut self, name: &[u8]) {
        let (reason, effects) = match name {
            b"get_lock"
            | b"service_get_read_locks"
            | b"service_get_write_locks"
            | b"version_tokens_lock_exclusive"
            | b"version_tokens_lock_shared" => (Reason::AdvisoryLock, Effects::ADVISORY_LOCK),
            b"release_lock" | b"release_all_locks" | b"service_release_locks" | b"version_tokens_unlock" => {
                (Reason::AdvisoryLock, Effects::DISCARD)
            }
            b"is_free_lock" | b"is_used_lock" => (Reason::AdvisoryLock, Effects::empty()),
            b"found_rows" | b"row_count" => {
                self.found.reads_last = true;
                (Reason::LastResult, Effects::empty())
            }
            b"last_insert_id" => {
                self.found.reads_last = true;
                let sets = self.lexer.clone().token() != Some(Token::Close);
                (Reason::LastResult, if sets { Effects::LAST_INSERT_ID } else { Effects::empty() })
            }
            b"lastval" => {
                self.found.reads_last = true;
                (Reason::SideEffect, Effects::SEQUENCE_ASKED)
            }
            b"nextval" | b"setval" => (Reason::SideEffect, Effects::SEQUENCE),
            b"uuid_short" => (Reason::SideEffect, Effects::empty()),
            b"spider_direct_sql" | b"spider_bg_direct_sql" => (Reason::SideEffect, Effects::UNKNOWN),
            _ => (Reason::ServerState, Effects::empty()),
        };
        self.found.effects |= effects;
        self.danger(reason);
    }

    /// Whether the parenthesis is a common table expression's list of columns: `name (a, b) AS (`.
    fn names_columns(&self) -> bool {
        let mut ahead = self.lexer.clone();
        for _ in 0..COLUMNS_MAX {
            match ahead.token() {
                Some(Token::Word(_) | Token::Quoted(_) | Token::Comma) => {}
                Some(Token::Close) => {
                    return matches!(ahead.token(), Some(Token::Word(word)) if is(word, b"as"))
                        && ahead.token() == Some(Token::Open);
                }
                _ => return false,
            }
        }
        false
    }

    fn unknown(&mut self) {
        self.found.unknown_calls = true;
        let Chain { name, schema, .. } = self.chain;
        if let Some(names) = &mut self.names {
            let fold = |name: &[u8]| String::from_utf8_lossy(name).to_lowercase();
            names.push(Name { schema: schema.map(fold), name: fold(name) });
        }
    }
}
