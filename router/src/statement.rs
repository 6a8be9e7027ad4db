//! Judges one statement after another by its tokens: the first level.
//!
//! The first word says what a statement is; for queries the tokens after it say whether it may run on a
//! replica. Statements of transactions and sessions are read in `control`. A statement whose names must be
//! looked up says so, and where its query stands in the text.

use std::ops::Range;

use crate::control;
use crate::lexer::{Lexer, Token};
use crate::lookahead::opens_query;
use crate::scan::{Findings, Scan};
use crate::words::{self, Verb, is, is_any};
use crate::{Effects, Kind, Plan, Reason, Target};

/// What the first level found out about one statement.
pub(crate) struct Statement {
    pub(crate) plan: Plan,
    /// Names or settings in `body` must be collected.
    pub(crate) needs_names: bool,
    /// What the parser has to read, if it is asked.
    pub(crate) body: Range<usize>,
    pub(crate) tokens: usize,
    /// Nothing after this point can be trusted.
    pub(crate) strange: bool,
}

/// What a statement's words came to, before its tokens' findings are added.
pub(crate) struct Judged {
    pub(crate) plan: Plan,
    /// Calls of unknown functions in it are really run.
    pub(crate) runs_calls: bool,
    /// Where the query begins, if not at the statement's first word, and where it ends.
    pub(crate) body: Option<Range<usize>>,
}

impl From<Plan> for Judged {
    fn from(plan: Plan) -> Self {
        Self { plan, runs_calls: false, body: None }
    }
}

/// Judges the next statement that is not empty and leaves the lexer behind its end.
pub(crate) fn next(lexer: &mut Lexer<'_>) -> Option<Statement> {
    let first = loop {
        match lexer.token()? {
            Token::Semicolon => {}
            token => break token,
        }
    };
    let mut scan = Scan::new(lexer.clone());
    let start = scan.lexer.start();
    let verb = match first {
        Token::Word(word) => words::verb(word),
        Token::Open => Verb::Query,
        _ => Verb::Unknown,
    };
    scan.changes = verb == Verb::Change;
    scan.take(first);
    let judged = judge(verb, &mut scan);
    scan.run();
    let end = scan.lexer.end();
    *lexer = scan.lexer;
    Some(conclude(judged, &scan.found, start..end))
}

fn conclude(judged: Judged, found: &Findings, whole: Range<usize>) -> Statement {
    let mut plan = judged.plan;
    plan.effects |= found.effects;
    if found.strange {
        plan = Plan::write(Reason::Unparseable, plan.effects | Effects::UNKNOWN);
    }
    if found.unbalanced && plan.may_read() {
        plan = Plan::write(Reason::Unparseable, plan.effects);
    }
    let calls = judged.runs_calls
        && (found.unknown_calls || found.unknown_fields || (plan.may_read() && found.unknown_operators));
    Statement {
        plan,
        needs_names: calls || found.custom_settings,
        body: judged.body.unwrap_or(whole),
        tokens: found.tokens,
        strange: found.strange,
    }
}

fn judge(verb: Verb, scan: &mut Scan<'_>) -> Judged {
    match verb {
        Verb::Query => query(scan),
        Verb::Change => {
            scan.run();
            Judged { plan: Plan::write(Reason::Write, Effects::empty()), runs_calls: true, body: None }
        }
        Verb::Explain => explain(scan),
        Verb::Copy => copy(scan),
        Verb::Create => create(scan),
        Verb::Alter => write(Reason::Ddl, Effects::DDL),
        Verb::Drop => write(Reason::Ddl, Effects::DDL | Effects::DISCARD),
        Verb::Truncate => write(Reason::Write, Effects::empty()),
        Verb::Lock => write(Reason::Locking, Effects::empty()),
        Verb::Maintenance => write(Reason::Maintenance, Effects::empty()),
        Verb::Procedure => write(Reason::Procedure, Effects::UNKNOWN),
        Verb::Load => write(Reason::Session, Effects::LIBRARY | Effects::SETTINGS),
        Verb::Notify => write(Reason::Notify, Effects::empty()),
        Verb::Execute => write(Reason::SqlPrepared, Effects::UNKNOWN),
        Verb::Unknown => write(Reason::Unparseable, Effects::UNKNOWN),
        _ => control::judge(verb, scan),
    }
}

fn write(reason: Reason, effects: Effects) -> Judged {
    Plan::write(reason, effects).into()
}

/// A query is a read unless some token speaks against it.
fn query(scan: &mut Scan<'_>) -> Judged {
    scan.run();
    Judged { plan: verdict(&scan.found), runs_calls: true, body: None }
}

fn verdict(found: &Findings) -> Plan {
    match found.danger {
        Some(Reason::SelectInto) => Plan::write(Reason::SelectInto, Effects::DDL),
        Some(reason) => Plan::write(reason, Effects::empty()),
        None => Plan::read(),
    }
}

/// `EXPLAIN` runs nothing and is a read of the plan; `EXPLAIN ANALYZE` is what it explains.
fn explain(scan: &mut Scan<'_>) -> Judged {
    let mut analyze = false;
    let (start, verb) = loop {
        match scan.step() {
            Some(Token::Word(word)) if is_any(word, &[b"analyze", b"analyse"]) => analyze = true,
            Some(Token::Word(word)) if is(word, b"verbose") => {}
            Some(Token::Word(word)) => break (scan.lexer.start(), words::verb(word)),
            Some(Token::Open) if opens_query(scan.lexer.clone()) => break (scan.lexer.start(), Verb::Query),
            Some(Token::Open) => analyze |= explain_options(scan),
            _ => return write(Reason::Unparseable, Effects::UNKNOWN),
        }
    };
    // What opens behind the word EXPLAIN is no call.
    scan.found.unknown_calls = false;
    let before = scan.found.effects;
    scan.run();
    let plan = match verb {
        Verb::Query | Verb::Change if !analyze => {
            scan.found.effects = before;
            return Plan::read().into();
        }
        Verb::Query => verdict(&scan.found),
        Verb::Change => Plan::write(Reason::Write, Effects::empty()),
        // `CREATE TABLE AS`, `DECLARE`, `EXECUTE`, or something new.
        _ => Plan::write(
            Reason::Write,
            if analyze { Effects::UNKNOWN | Effects::DDL } else { Effects::empty() },
        ),
    };
    Judged { plan, runs_calls: true, body: Some(start..scan.lexer.end()) }
}

/// Reads `(ANALYZE, BUFFERS, ..)` behind its parenthesis and says whether the statement is run.
fn explain_options(scan: &mut Scan<'_>) -> bool {
    let mut analyze = false;
    let mut token = scan.step();
    while let Some(current) = token {
        if current == Token::Close {
            break;
        }
        token = scan.step();
        if matches!(current, Token::Word(word) if is_any(word, &[b"analyze", b"analyse"])) {
            analyze |= !matches!(token, Some(Token::Word(word)) if is_any(word, &[b"false", b"off"]));
        }
        // An option may be spelled as a quoted name as well.
        analyze |= matches!(current, Token::Quoted(_));
    }
    analyze
}

/// `COPY (query) TO STDOUT` and `COPY table TO STDOUT` read; everything else about `COPY` writes somewhere.
fn copy(scan: &mut Scan<'_>) -> Judged {
    let primary = |effects| Plan::new(Kind::Copy, Target::Primary, Reason::Copy, effects);
    let mut body = None;
    let mut token = scan.step();
    if token == Some(Token::Open) {
        scan.found.unknown_calls = false;
        let start = scan.lexer.end();
        while scan.depth > 0 && token.is_some() {
            token = scan.step();
        }
        body = Some(start..scan.lexer.start());
    }
    let direction = loop {
        match scan.step() {
            Some(Token::Word(word)) if scan.depth == 0 && is_any(word, &[b"to", b"from"]) => break word,
            Some(_) => {}
            None => return primary(Effects::UNKNOWN).into(),
        }
    };
    let inner = scan.found;
    let place = scan.step();
    let stdout = matches!(place, Some(Token::Word(word)) if is(word, b"stdout")) && is(direction, b"to");
    // What looks like a call in the options is none, but `FROM .. WHERE` may hold one.
    scan.found.unknown_calls = false;
    let filtered = run_to_where(scan);
    scan.found.unknown_calls &= filtered;
    if stdout {
        scan.found.unknown_calls = inner.unknown_calls && body.is_some();
        let mut plan = if body.is_some() { verdict(&inner) } else { verdict(&Findings::default()) };
        if inner.danger == Some(Reason::Temporary) {
            plan = primary(Effects::TEMP_TABLE);
        }
        plan.kind = Kind::Copy;
        return Judged { plan, runs_calls: true, body };
    }
    let unknown = scan.found.unknown_calls || (body.is_some() && inner.unknown_calls);
    primary(if unknown { Effects::UNKNOWN } else { Effects::empty() }).into()
}

/// Reads to the end of the statement, forgetting unknown calls before `WHERE`.
fn run_to_where(scan: &mut Scan<'_>) -> bool {
    let mut found = false;
    while let Some(token) = scan.step() {
        if matches!(token, Token::Word(word) if is(word, b"where")) {
            scan.found.unknown_calls = false;
            found = true;
        }
    }
    found
}

/// `CREATE ..`: temporary or not, and whether it runs a query (`CREATE TABLE .. AS`).
fn create(scan: &mut Scan<'_>) -> Judged {
    const MODIFIERS: [&[u8]; 8] =
        [b"or", b"replace", b"global", b"local", b"unlogged", b"recursive", b"temp", b"temporary"];
    let mut effects = Effects::DDL;
    let mut runs_calls = false;
    let mut leading = true;
    let mut previous: &[u8] = b"";
    while let Some(token) = scan.step() {
        let Token::Word(word) = token else {
            leading = false;
            continue;
        };
        if leading && is_any(word, &[b"temp", b"temporary"]) {
            effects |= Effects::TEMP_TABLE;
        }
        leading &= is_any(word, &MODIFIERS);
        if is(previous, b"as") && is_any(word, &[b"select", b"with", b"values", b"table"]) {
            runs_calls = true;
        }
        if is(previous, b"as") && is(word, b"execute") {
            effects |= Effects::UNKNOWN;
        }
        if is(previous, b"begin") && is(word, b"atomic") {
            // The body of an SQL function holds semicolons at the top level.
            swallow(scan);
        }
        previous = word;
    }
    Judged { plan: Plan::write(Reason::Ddl, effects), runs_calls, body: None }
}

fn swallow(scan: &mut Scan<'_>) {
    while let Some(token) = scan.lexer.token() {
        scan.take(token);
        if scan.found.strange {
            return;
        }
    }
}
