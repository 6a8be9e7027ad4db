//! Judges one statement after another by its tokens.
//!
//! The first word says what a statement is; for queries the tokens after it say whether it may run on a replica.
//! What only asks about objects may run there too; everything else that is not a query is for the primary.

use super::lexer::{Lexer, Token};
use super::scan::{Last, Scan};
use super::session;
use crate::words::{is, is_any};
use crate::{Effects, Kind, Name, Plan, Reason, Target};

/// How often one statement may wrap another: `EXPLAIN`, `SET STATEMENT .. FOR`.
const WRAPPED_MAX: u32 = 4;

/// What was found out about one statement.
pub(super) struct Statement {
    pub(super) plan: Plan,
    /// It would be a read if the catalog knows the functions that it calls.
    pub(super) needs_names: bool,
    /// Those functions, if they were asked for.
    pub(super) names: Option<Vec<Name>>,
    /// Nothing after this point can be trusted.
    pub(super) strange: bool,
}

/// Judges the next statement that is not empty and leaves the lexer behind its end.
pub(super) fn next(lexer: &mut Lexer<'_>, with_names: bool) -> Option<Statement> {
    let first = loop {
        let before = lexer.clone();
        match lexer.token()? {
            Token::Semicolon => {}
            token => {
                // Read again by the scan; the hints and marks of the comments before it stay.
                let (hint, versioned) = (lexer.hint, lexer.versioned);
                *lexer = before;
                (lexer.hint, lexer.versioned) = (hint, versioned);
                break token;
            }
        }
    };
    let mut scan = Scan::new(lexer.clone(), with_names.then(Vec::new));
    let mut plan = if first == Token::Strange { unreadable() } else { judge(&mut scan, 0) };
    scan.run();
    let found = scan.found;
    plan.effects |= found.effects;
    plan.reads_last |= found.reads_last;
    let mut needs_names = false;
    if found.strange || found.unbalanced {
        plan = Plan { effects: plan.effects | Effects::UNKNOWN, ..unreadable() };
    } else if plan.may_read() {
        if let Some(reason) = found.danger {
            let effects = if found.unknown_calls { plan.effects | Effects::UNKNOWN } else { plan.effects };
            let reads_last = plan.reads_last;
            plan = Plan { reads_last, ..Plan::write(reason, effects) };
        } else {
            needs_names = found.unknown_calls;
        }
    } else if found.unknown_calls && runs_calls(&plan, found.selects) {
        plan.effects |= Effects::UNKNOWN;
    }
    lexer.clone_from(&scan.lexer);
    Some(Statement { plan, needs_names, names: scan.names, strange: found.strange })
}

fn unreadable() -> Plan {
    Plan::write(Reason::Unparseable, Effects::UNKNOWN)
}

/// Whether what looks like a call is run: in a definition only the query behind it is.
fn runs_calls(plan: &Plan, selects: bool) -> bool {
    plan.reason != Reason::Ddl || selects
}

fn write(reason: Reason, effects: Effects) -> Plan {
    Plan::write(reason, effects)
}

/// Judges what begins here.
fn judge(scan: &mut Scan<'_>, wrapped: u32) -> Plan {
    let word = match scan.step() {
        Some(Token::Word(word)) => word,
        Some(Token::Open) => return query(scan),
        _ => return unreadable(),
    };
    let mut lower = [0; 16];
    let Some(lower) = lower.get_mut(..word.len()) else { return unreadable() };
    lower.copy_from_slice(word);
    lower.make_ascii_lowercase();
    match &*lower {
        b"select" | b"with" | b"values" | b"table" => query(scan),
        b"insert" | b"update" | b"delete" | b"replace" | b"load" | b"merge" => change(scan),
        b"explain" | b"describe" | b"desc" => explain(scan, wrapped),
        b"analyze" => analyze(scan, wrapped),
        b"show" => show(scan),
        b"help" => Plan::read(),
        b"set" => set(scan, wrapped),
        b"create" => create(scan),
        b"drop" => drop(scan),
        b"alter" | b"rename" | b"truncate" => definition(scan),
        b"do" => write(Reason::Procedure, Effects::empty()),
        b"call" => {
            scan.run();
            // One that takes an OUT parameter is set without a word of it in the reply.
            let sets = if scan.found.variable { Effects::USER_VARIABLES } else { Effects::empty() };
            write(Reason::Procedure, Effects::UNKNOWN.union(sets))
        }
        b"grant" | b"revoke" => write(Reason::Ddl, Effects::empty()),
        // Of a procedure's language: without one, MariaDB runs it as it is.
        b"if" | b"loop" | b"while" | b"repeat" | b"for" | b"declare" => {
            scan.swallow();
            write(Reason::Procedure, Effects::UNKNOWN)
        }
        b"optimize" | b"repair" | b"check" | b"checksum" | b"cache" | b"kill" | b"purge" | b"reset"
        | b"change" | b"stop" | b"install" | b"uninstall" | b"import" | b"binlog" | b"shutdown"
        | b"restart" | b"clone" => write(Reason::Maintenance, Effects::empty()),
        lower => session::judge(lower, scan).unwrap_or_else(unreadable),
    }
}

/// A query: a read unless the scan finds something against it.
fn query(scan: &mut Scan<'_>) -> Plan {
    scan.run();
    Plan::read()
}

fn change(scan: &mut Scan<'_>) -> Plan {
    const MODIFIERS: [&[u8]; 9] = [
        b"low_priority",
        b"high_priority",
        b"delayed",
        b"ignore",
        b"quick",
        b"into",
        b"data",
        b"local",
        b"from",
    ];
    // `INSERT t (a)`: the word before the target's name tells that columns follow.
    let mut leading = true;
    while let Some(token) = scan.step() {
        leading &= matches!(token, Token::Word(word) if is_any(word, &MODIFIERS));
        if !leading {
            break;
        }
    }
    scan.columns_of_target();
    scan.run();
    write(Reason::Write, Effects::empty())
}

/// `EXPLAIN` of a statement, or of a table.
fn explain(scan: &mut Scan<'_>, wrapped: u32) -> Plan {
    let mut ahead = scan.lexer.clone();
    let mut analyze = false;
    loop {
        let before = ahead.clone();
        let word = match ahead.token() {
            Some(Token::Word(word)) => word,
            Some(Token::Open) => {
                scan.lexer = before;
                return explained(scan, wrapped, analyze);
            }
            // `EXPLAIN FORMAT=JSON`, `INTO @v`.
            Some(Token::Operator(b'=')) => continue,
            _ => return Plan::read(),
        };
        if is_any(
            word,
            &[b"select", b"with", b"values", b"table", b"insert", b"update", b"delete", b"replace", b"set"],
        ) {
            scan.lexer = before;
            return explained(scan, wrapped, analyze);
        }
        if is_any(word, &[b"connection", b"into"]) {
            scan.run();
            return write(Reason::ServerState, Effects::UNKNOWN);
        }
        analyze |= is(word, b"analyze");
        let is_modifier = [
            &b"analyze"[..],
            b"extended",
            b"partitions",
            b"format",
            b"json",
            b"tree",
            b"traditional",
            b"for",
        ];
        if !is_any(word, &is_modifier) {
            return Plan::read();
        }
    }
}

fn explained(scan: &mut Scan<'_>, wrapped: u32, analyze: bool) -> Plan {
    if wrapped >= WRAPPED_MAX {
        return unreadable();
    }
    scan.last = Last::Start;
    let inner = judge(scan, wrapped + 1);
    match inner.may_read() {
        true => inner,
        // A change that is only explained leaves nothing behind.
        false => write(Reason::Write, if analyze { inner.effects } else { Effects::empty() }),
    }
}

/// `ANALYZE TABLE`, or MariaDB's way to run a statement and tell how.
fn analyze(scan: &mut Scan<'_>, wrapped: u32) -> Plan {
    let mut ahead = scan.lexer.clone();
    match ahead.token() {
        Some(Token::Word(word)) if is_any(word, &[b"table", b"tables", b"local", b"no_write_to_binlog"]) => {
            scan.run();
            write(Reason::Maintenance, Effects::empty())
        }
        _ => explain(scan, wrapped),
    }
}

/// `SHOW`: of objects on any server, of the last statement where it ran, of the server on the primary.
fn show(scan: &mut Scan<'_>) -> Plan {
    const OBJECTS: [&[u8]; 20] = [
        b"tables",
        b"databases",
        b"schemas",
        b"columns",
        b"fields",
        b"index",
        b"indexes",
        b"keys",
        b"create",
        b"table",
        b"triggers",
        b"events",
        b"procedure",
        b"function",
        b"package",
        b"collation",
        b"character",
        b"charset",
        b"grants",
        b"plugins",
    ];
    const SKIPPED: [&[u8]; 3] = [b"full", b"extended", b"all"];
    let mut word = scan.word().unwrap_or_default();
    while is_any(word, &SKIPPED) {
        word = scan.word().unwrap_or_default();
    }
    let of_last = is_any(word, &[b"warnings", b"errors", b"count"]);
    let objects = is_any(word, &OBJECTS) || is_any(word, &[b"engines", b"privileges", b"storage"]);
    scan.run();
    if of_last {
        let plan = Plan::new(Kind::Session, Target::Primary, Reason::LastResult, Effects::empty());
        return Plan { reads_last: true, ..plan };
    }
    if objects { Plan::read() } else { write(Reason::ServerState, Effects::empty()) }
}

/// `SET`, or MariaDB's `SET STATEMENT .. FOR` around another statement.
fn set(scan: &mut Scan<'_>, wrapped: u32) -> Plan {
    let mut ahead = scan.lexer.clone();
    if !matches!(ahead.token(), Some(Token::Word(word)) if is(word, b"statement")) {
        return session::set(scan);
    }
    while let Some(token) = scan.step() {
        if matches!(token, Token::Word(word) if is(word, b"for")) && scan.depth == 0 {
            if wrapped >= WRAPPED_MAX {
                return unreadable();
            }
            scan.last = Last::Start;
            return judge(scan, wrapped + 1);
        }
    }
    unreadable()
}

/// `CREATE`: temporary or not; a body of statements goes on to the end of the text.
fn create(scan: &mut Scan<'_>) -> Plan {
    const BODIES: [&[u8]; 6] = [b"procedure", b"function", b"trigger", b"event", b"package", b"library"];
    let mut effects = Effects::DDL;
    let mut leading = true;
    while let Some(token) = scan.step() {
        let Token::Word(word) = token else {
            continue;
        };
        if leading && is(word, b"temporary") {
            effects |= Effects::TEMP_TABLE;
        }
        if leading && is_any(word, &BODIES) {
            scan.swallow();
            break;
        }
        // What is made is named last before its own name.
        leading &= !is_any(
            word,
            &[b"table", b"view", b"index", b"database", b"schema", b"user", b"role", b"sequence"],
        );
    }
    write(Reason::Ddl, effects)
}

fn drop(scan: &mut Scan<'_>) -> Plan {
    match scan.word() {
        Some(word) if is(word, b"prepare") => session::deallocate(),
        Some(word) if is_any(word, &[b"temporary", b"table", b"tables"]) => {
            write(Reason::Ddl, Effects::DDL | Effects::DISCARD)
        }
        _ => write(Reason::Ddl, Effects::DDL),
    }
}

fn definition(scan: &mut Scan<'_>) -> Plan {
    let is_event =
        scan.word().is_some_and(|word| is_any(word, &[b"event", b"definer", b"procedure", b"function"]));
    if is_event {
        scan.swallow();
    }
    write(Reason::Ddl, Effects::DDL)
}
