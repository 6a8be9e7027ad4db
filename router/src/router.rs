//! The router: text in, plan out; plan and context in, route out.
//!
//! A text whose shape was settled before is not read at all. The lexer settles what it can, without allocating.
//! What is left goes to the parser, once per text as long as the cache holds it. Long texts that the lexer
//! settles are kept as well, because finding one costs less than reading it. Nothing here waits, and nothing is
//! shared but the memory.

use std::sync::Arc;

use crate::catalog::Catalog;
use crate::lexer::Lexer;
use crate::memory::Memory;
use crate::names::{self, Suspicion};
use crate::shape::Shape;
use crate::statement::{self, Statement};
use crate::touch;
use crate::words::{self, Verb};
use crate::{
    Context, Effects, Kind, Mention, Plan, Reason, Route, Rule, Target, decide, digest, mysql, parse,
};

/// Whose SQL is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Dialect {
    /// PostgreSQL's.
    Postgres,
    /// MySQL's and MariaDB's.
    Mysql,
}

/// Whether quotes mean what they seem to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lexing {
    /// False if `standard_conforming_strings` is off, or if `client_encoding` is SJIS, BIG5, GBK, GB18030, UHC
    /// or JOHAB: then every text is a write. On MySQL false if `character_set_client` is one of those, or if
    /// `sql_mode` has ORACLE or MSSQL.
    pub trusted: bool,
    /// MySQL: `sql_mode` has ANSI_QUOTES, so that double quotes hold names.
    pub ansi_quotes: bool,
    /// MySQL: `sql_mode` lacks NO_BACKSLASH_ESCAPES.
    pub backslash_escapes: bool,
}

impl Lexing {
    /// As a server does it that was not told otherwise.
    pub const TRUSTED: Self = Self::trusted(true);

    /// Quotes as they are by default, if they are to be trusted.
    pub const fn trusted(trusted: bool) -> Self {
        Self { trusted, ansi_quotes: false, backslash_escapes: true }
    }
}

/// What the router spends at most.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Bytes of remembered plans, texts included.
    pub cache_bytes: usize,
    /// The longest text that may be a read, in bytes.
    pub text_max: usize,
    /// The longest text that is handed to the parser, in bytes.
    pub parse_max: usize,
    /// The most tokens that are handed to the parser.
    pub tokens_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { cache_bytes: 8 << 20, text_max: 256 << 10, parse_max: 32 << 10, tokens_max: 4096 }
    }
}

/// Texts from this length on are looked up before they are read.
const LOOK_UP_MIN: usize = 256;
/// How many times `text_max` a plain change of data may be and still be read for its effects.
const CHANGE_FACTOR: usize = 4;

/// Plans and routes statements of one dialect.
#[derive(Debug)]
pub struct Router {
    dialect: Dialect,
    limits: Limits,
    rules: Vec<Rule>,
    memory: Memory,
}

impl Router {
    /// A router with an empty memory. Rules are tried in their order.
    pub fn new(dialect: Dialect, limits: Limits, rules: Vec<Rule>) -> Self {
        Self { dialect, limits, rules, memory: Memory::new(limits.cache_bytes) }
    }

    /// What the text tells and where it goes: [`Router::plan`] and [`Router::decide`] in one, and much cheaper
    /// for a text that differs from an earlier one in literals only.
    pub fn route(&self, text: &[u8], lexing: Lexing, context: &Context<'_>) -> (Plan, Route) {
        // A rule may look at literals, so with rules every text is read.
        let short_cut = lexing.trusted && self.rules.is_empty() && text.len() <= self.limits.text_max;
        let shape = if short_cut { self.shape(text, lexing, context.catalog.verdicts()) } else { None };
        if let Some(plan) = shape.as_ref().and_then(|shape| self.memory.shape(shape)) {
            let route = decide::route(&plan, context, None);
            return (plan, route);
        }
        let plan = self.plan(text, lexing);
        let doubt = self.doubt(text, &plan, context);
        let settled = matches!(doubt, Doubt::None);
        let mut route = Self::resolve(&plan, doubt, context);
        match self.dialect {
            Dialect::Postgres => touch::add(text, &plan, context.catalog, &mut route.effects),
            Dialect::Mysql => touch::add_mysql(text, &plan, lexing, context.catalog, &mut route.effects),
        }
        let plain = settled && route.effects.is_empty() && plan.effects.is_empty();
        if let Some(shape) = shape.as_ref().filter(|_| plain) {
            let wanted = self.memory.wants_digests();
            let digest = if wanted { digest::number(text, self.dialect, lexing) } else { 0 };
            self.memory.keep_shape(shape, Plan { digest, ..plan.clone() });
        }
        (plan, route)
    }

    /// The number of the text's digest, the same in all processes; 0 if there is no statement. `plan` is what
    /// [`Router::route`] said of it. Finds it with the plan, or by the text's shape, or reads the text; does not
    /// allocate for a text of a known shape.
    pub fn digest(&self, text: &[u8], lexing: Lexing, plan: &Plan) -> u64 {
        if plan.digest != 0 {
            return plan.digest;
        }
        self.memory.want_digests();
        let shape = if lexing.trusted { self.shape(text, lexing, 0) } else { None };
        if let Some(digest) = shape.as_ref().and_then(|shape| self.memory.digest(shape)) {
            return digest;
        }
        let digest = digest::number(text, self.dialect, lexing);
        if let Some(shape) = &shape {
            self.memory.keep_digest(shape, digest);
        }
        digest
    }

    /// The text's shape under the catalog `owner`.
    fn shape(&self, text: &[u8], lexing: Lexing, owner: u64) -> Option<Shape> {
        match self.dialect {
            Dialect::Postgres => Shape::of(text, owner),
            Dialect::Mysql => Shape::of_mysql(text, lexing, owner),
        }
    }

    /// The same number as [`Router::digest`] finds, read from the text.
    pub fn digest_number(&self, text: &[u8], lexing: Lexing) -> u64 {
        digest::number(text, self.dialect, lexing)
    }

    /// The text's digest, of about `most` bytes at most: what is left of it without values, comments and white
    /// space. See `digest.rs`.
    pub fn digest_text(&self, text: &[u8], lexing: Lexing, most: usize) -> String {
        digest::text(text, self.dialect, lexing, most)
    }

    /// What the text tells. Does not allocate for a short text that the lexer settles, nor for one that the
    /// memory holds.
    pub fn plan(&self, text: &[u8], lexing: Lexing) -> Plan {
        if !lexing.trusted {
            return self.ruled(text, Plan::write(Reason::UntrustedLexing, Effects::UNKNOWN));
        }
        let plan = match self.dialect {
            Dialect::Postgres => self.judge(text),
            Dialect::Mysql => self.judge_mysql(text, lexing),
        };
        if plan.may_read() && self.memory.is_learned(self.dialect, text) {
            let kind = if plan.kind == Kind::Read { Kind::Write } else { plan.kind };
            return Plan { kind, target: Target::Primary, reason: Reason::Learned, ..plan };
        }
        plan
    }

    /// What the text names of the things that it leaves in its session, and what it may leave by the routines,
    /// triggers and views in it; `None` where the database lists them all. `effects` are those of its route.
    pub fn mentions(
        &self,
        text: &[u8],
        lexing: Lexing,
        catalog: &Catalog,
        effects: Effects,
    ) -> Option<Vec<Mention>> {
        match self.dialect {
            Dialect::Postgres => None,
            Dialect::Mysql => {
                let mut mentions = mysql::mentions(text, lexing);
                if !effects.intersects(Effects::UNKNOWN | Effects::DDL) {
                    // What it calls is known, and renames nothing but what is told below.
                    mentions.retain(|mention| mention.what != Effects::DDL);
                }
                mentions.extend(catalog.leaves(text));
                Some(mentions)
            }
        }
    }

    /// A replica refused this text as a write: from now on it is one, and so is each text that differs in
    /// literals only.
    pub fn learn(&self, text: &[u8]) {
        self.memory.learn(self.dialect, text);
    }

    /// Decides where a statement goes. `text` is what `plan` was made of; it is read again only if the plan
    /// may be a read and the catalog suspects some name.
    pub fn decide(&self, text: &[u8], plan: &Plan, context: &Context<'_>) -> Route {
        let mut route = Self::resolve(plan, self.doubt(text, plan, context), context);
        match self.dialect {
            Dialect::Postgres => touch::add(text, plan, context.catalog, &mut route.effects),
            Dialect::Mysql => {
                touch::add_mysql(text, plan, Lexing::TRUSTED, context.catalog, &mut route.effects);
            }
        }
        route
    }

    /// What the catalog has against a text that looks like a read.
    fn doubt(&self, text: &[u8], plan: &Plan, context: &Context<'_>) -> Doubt {
        if !plan.may_read() || !context.catalog.has_suspects() {
            return Doubt::None;
        }
        if self.dialect == Dialect::Mysql {
            let suspect = mysql::suspect(text, context.catalog);
            return if suspect { Doubt::Certain(Reason::UnsafeRelation) } else { Doubt::None };
        }
        match names::suspect(text, context.catalog) {
            None => Doubt::None,
            Some(Suspicion::Certain(reason)) => Doubt::Certain(reason),
            Some(Suspicion::Name) if is_complete(plan) => Doubt::Names(None),
            Some(Suspicion::Name) => Doubt::Names(Some(Box::new(self.detailed(text)))),
        }
    }

    fn resolve(plan: &Plan, doubt: Doubt, context: &Context<'_>) -> Route {
        match doubt {
            Doubt::None => decide::route(plan, context, None),
            Doubt::Certain(reason) => decide::route(plan, context, Some(reason)),
            Doubt::Names(detailed) => {
                let plan = detailed.as_deref().unwrap_or(plan);
                decide::route(plan, context, (!is_complete(plan)).then_some(Reason::UnsafeRelation))
            }
        }
    }

    fn judge(&self, text: &[u8]) -> Plan {
        let long = text.len() >= LOOK_UP_MIN;
        if long && let Some(plan) = self.memory.plan(text) {
            return plan;
        }
        if text.len() > self.limits.text_max && !self.is_readable_change(text) {
            return self.ruled(text, too_long(text));
        }
        if let Some(plan) = self.settle(text) {
            let plan = self.ruled(text, plan);
            if long {
                self.memory.keep(text, &plan);
            }
            return plan;
        }
        if !long && let Some(plan) = self.memory.plan(text) {
            return plan;
        }
        let plan = self.ruled(text, self.read_names(text, false));
        self.memory.keep(text, &plan);
        plan
    }

    /// Only a text that calls unknown functions is remembered, and only with quotes as they are by default.
    fn judge_mysql(&self, text: &[u8], lexing: Lexing) -> Plan {
        if text.len() > self.limits.text_max.saturating_mul(CHANGE_FACTOR) {
            return self.ruled(text, Plan::write(Reason::TooLong, Effects::UNKNOWN));
        }
        let told = mysql::plan(text, lexing, false);
        if text.len() > self.limits.text_max && told.plan.may_read() {
            return self.ruled(text, Plan::write(Reason::TooLong, Effects::UNKNOWN));
        }
        if !told.needs_names {
            return self.ruled(text, told.plan);
        }
        let usual = lexing == Lexing::TRUSTED;
        if usual && let Some(plan) = self.memory.plan(text) {
            return plan;
        }
        let plan = self.ruled(text, mysql::plan(text, lexing, true).plan);
        if usual {
            self.memory.keep(text, &plan);
        }
        plan
    }

    /// The first level alone; nothing if some statement needs its names looked up.
    fn settle(&self, text: &[u8]) -> Option<Plan> {
        let mut plan = Plan::empty();
        let mut lexer = Lexer::new(text);
        while let Some(statement) = statement::next(&mut lexer) {
            if statement.needs_names {
                return None;
            }
            plan.add(statement.plan);
            if statement.strange {
                break;
            }
        }
        plan.hint = lexer.hint;
        Some(plan)
    }

    /// Both levels. `all` asks for the names of every statement, needed or not.
    fn read_names(&self, text: &[u8], all: bool) -> Plan {
        let mut plan = Plan::empty();
        let mut lexer = Lexer::new(text);
        while let Some(mut statement) = statement::next(&mut lexer) {
            if statement.needs_names || all {
                self.add_names(text, &mut statement);
            }
            plan.add(statement.plan);
            if statement.strange {
                break;
            }
        }
        plan.hint = lexer.hint;
        plan
    }

    fn add_names(&self, text: &[u8], statement: &mut Statement) {
        let body = &text[statement.body.clone()];
        let candidates = names::collect(body, !statement.plan.may_read());
        let small = statement.tokens <= self.limits.tokens_max && body.len() <= self.limits.parse_max;
        // Only settings, no calls: there is nothing to ask the parser.
        let wanted = statement.plan.kind != Kind::Session || statement.plan.reason == Reason::Cursor;
        let parsed = if small && wanted { parse::names(body) } else { None };
        let detail = match parsed.and_then(|parsed| candidates.resolve(parsed)) {
            Some(detail) => detail,
            None => {
                // Without a call to resolve, the first level's word stands.
                if statement.plan.may_read() && !candidates.unlisted.is_empty() {
                    let reason = if small { Reason::Unparseable } else { Reason::TooComplex };
                    statement.plan = Plan::write(reason, statement.plan.effects);
                }
                candidates.into_detail()
            }
        };
        statement.plan.detail = Some(Arc::new(detail));
    }

    /// The plan of a settled text with all its names.
    fn detailed(&self, text: &[u8]) -> Plan {
        if let Some(plan) = self.memory.plan(text).filter(is_complete) {
            return plan;
        }
        let plan = self.ruled(text, self.read_names(text, true));
        self.memory.keep(text, &plan);
        plan
    }

    fn ruled(&self, text: &[u8], mut plan: Plan) -> Plan {
        if !self.rules.is_empty() && !plan.kind.is_transaction_control() {
            let head = &text[..text.len().min(self.limits.text_max)];
            plan.rule = self.rules.iter().find_map(|rule| rule.judge(head));
        }
        plan
    }

    fn is_readable_change(&self, text: &[u8]) -> bool {
        first_verb(text) == Verb::Change && text.len() <= self.limits.text_max.saturating_mul(CHANGE_FACTOR)
    }
}

/// What the catalog has against a read.
enum Doubt {
    None,
    /// It is no read.
    Certain(Reason),
    /// Its names decide; with the plan that has them, if the first one has not.
    Names(Option<Box<Plan>>),
}

fn is_complete(plan: &Plan) -> bool {
    plan.detail.as_ref().is_some_and(|detail| detail.complete)
}

fn first_verb(text: &[u8]) -> Verb {
    match Lexer::new(&text[..text.len().min(LOOK_UP_MIN)]).token() {
        Some(crate::lexer::Token::Word(word)) => words::verb(word),
        _ => Verb::Unknown,
    }
}

/// A text that nobody reads: by its first word it may still be known to change the catalog.
fn too_long(text: &[u8]) -> Plan {
    let ddl = matches!(first_verb(text), Verb::Create | Verb::Alter | Verb::Drop);
    let effects = if ddl { Effects::UNKNOWN | Effects::DDL } else { Effects::UNKNOWN };
    Plan::write(Reason::TooLong, effects)
}
