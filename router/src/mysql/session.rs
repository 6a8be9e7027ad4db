//! Statements of transactions and sessions: `BEGIN`, `SET`, `LOCK TABLES`, `PREPARE`, `HANDLER` and their like.
//!
//! What changes a setting may run on any backend, since its value follows the session; what only the backend itself
//! can keep, or what needs the primary, says so.

use super::lexer::Token;
use super::scan::Scan;
use crate::words::{is, is_any};
use crate::{Effects, Kind, Plan, Reason, Target};

/// Judges a statement by its first word, in lower case; nothing if it is not one of these.
pub(super) fn judge(verb: &[u8], scan: &mut Scan<'_>) -> Option<Plan> {
    Some(match verb {
        b"begin" => begin(scan),
        b"start" => start(scan),
        b"commit" => finish(scan, Kind::Commit),
        b"rollback" => finish(scan, Kind::Rollback),
        b"savepoint" | b"release" => transaction(Kind::TransactionOther),
        b"xa" => xa(scan),
        b"use" => anywhere(Effects::SETTINGS),
        b"lock" => primary(Reason::Locking, Effects::TABLE_LOCK),
        b"unlock" => primary(Reason::Locking, Effects::DISCARD),
        b"flush" => flush(scan),
        b"backup" => primary(Reason::Maintenance, Effects::TABLE_LOCK),
        b"handler" => handler(scan),
        b"prepare" => primary(Reason::SqlPrepared, Effects::SQL_PREPARE),
        // Whatever was prepared, or is given as a text.
        b"execute" => Plan::write(Reason::SqlPrepared, Effects::UNKNOWN),
        b"deallocate" => deallocate(),
        b"get" => of_last(),
        b"signal" | b"resignal" => primary(Reason::Session, Effects::empty()),
        _ => return None,
    })
}

/// A statement of the session that only the primary may run.
fn primary(reason: Reason, effects: Effects) -> Plan {
    Plan::new(Kind::Session, Target::Primary, reason, effects)
}

/// A statement of the session that any backend may run.
fn anywhere(effects: Effects) -> Plan {
    Plan::new(Kind::Session, Target::Any, Reason::Session, effects)
}

fn transaction(kind: Kind) -> Plan {
    Plan::new(kind, Target::Any, Reason::TransactionControl, Effects::empty())
}

fn of_last() -> Plan {
    Plan { reads_last: true, ..primary(Reason::LastResult, Effects::USER_VARIABLES) }
}

pub(super) fn deallocate() -> Plan {
    Plan::new(Kind::Session, Target::Any, Reason::SqlPrepared, Effects::SQL_PREPARE.union(Effects::DISCARD))
}

/// `BEGIN [WORK]`; anything else behind it is a block of statements.
fn begin(scan: &mut Scan<'_>) -> Plan {
    match scan.step() {
        None => {}
        Some(Token::Word(word)) if is(word, b"work") && scan.step().is_none() => {}
        Some(_) => {
            scan.swallow();
            return Plan::write(Reason::Procedure, Effects::UNKNOWN);
        }
    }
    let kind = Kind::Begin { read_only: false, serializable: false };
    Plan::new(kind, Target::Primary, Reason::TransactionControl, Effects::empty())
}

/// `START TRANSACTION` with its modes; any other `START` is replication's.
fn start(scan: &mut Scan<'_>) -> Plan {
    if !scan.word().is_some_and(|word| is(word, b"transaction")) {
        return Plan::write(Reason::Maintenance, Effects::empty());
    }
    let (mut read_only, mut read_write) = (false, false);
    let mut previous: &[u8] = b"";
    while let Some(token) = scan.step() {
        let Token::Word(word) = token else { continue };
        read_only |= is(previous, b"read") && is(word, b"only");
        read_write |= is(previous, b"read") && is(word, b"write");
        previous = word;
    }
    let kind = Kind::Begin { read_only: read_only && !read_write, serializable: false };
    Plan::new(kind, Target::Primary, Reason::TransactionControl, Effects::empty())
}

/// `COMMIT` and `ROLLBACK`, unless they speak of a savepoint.
fn finish(scan: &mut Scan<'_>, kind: Kind) -> Plan {
    while let Some(token) = scan.step() {
        match token {
            Token::Word(word) if is(word, b"to") => return transaction(Kind::TransactionOther),
            _ => {}
        }
    }
    transaction(kind)
}

/// Distributed transactions: the branch stays on its backend until it is prepared.
fn xa(scan: &mut Scan<'_>) -> Plan {
    let effects = match scan.word() {
        Some(word) if is_any(word, &[b"start", b"begin", b"end"]) => Effects::XA,
        _ => Effects::XA | Effects::DISCARD,
    };
    Plan { has_transaction_control: true, ..Plan::write(Reason::TransactionControl, effects) }
}

/// `FLUSH TABLES .. WITH READ LOCK` and `FOR EXPORT` lock; everything else is maintenance.
fn flush(scan: &mut Scan<'_>) -> Plan {
    let mut effects = Effects::empty();
    while let Some(token) = scan.step() {
        if matches!(token, Token::Word(word) if is_any(word, &[b"lock", b"export"])) {
            effects |= Effects::TABLE_LOCK;
        }
    }
    Plan::write(Reason::Maintenance, effects)
}

/// `HANDLER t OPEN`, `READ`, `CLOSE`.
fn handler(scan: &mut Scan<'_>) -> Plan {
    let mut effects = Effects::HANDLER;
    while let Some(token) = scan.step() {
        if matches!(token, Token::Word(word) if is(word, b"close")) {
            effects |= Effects::DISCARD;
        }
    }
    primary(Reason::Cursor, effects)
}

/// `SET`, one assignment after another.
pub(super) fn set(scan: &mut Scan<'_>) -> Plan {
    let mut plan = anywhere(Effects::empty());
    loop {
        let more = assignment(scan, &mut plan);
        if !more {
            break;
        }
    }
    // A value that is asked of a table or a function is asked of the primary.
    if plan.target == Target::Any
        && (scan.found.selects || scan.found.unknown_calls || scan.found.danger.is_some())
    {
        plan.target = Target::Primary;
    }
    plan
}

/// Reads one assignment; whether another follows.
fn assignment(scan: &mut Scan<'_>, plan: &mut Plan) -> bool {
    let found = (scan.found.effects, scan.found.danger);
    let Some(first) = scan.step() else { return false };
    match first {
        Token::Variable(_) => plan.effects |= Effects::USER_VARIABLES,
        Token::SystemVariable(name) => {
            // What is assigned to is not read.
            (scan.found.effects, scan.found.danger) = found;
            scan.found.reads_last = false;
            if is_global(name.split(|byte| *byte == b'.').next().unwrap_or_default()) {
                to_primary(plan, Effects::empty());
            } else {
                plan.effects |= Effects::SETTINGS;
            }
        }
        Token::Word(word) if is_global(word) => {
            let transaction = next_is(scan, b"transaction");
            to_primary(plan, Effects::empty());
            if transaction {
                scan.run();
                return false;
            }
        }
        Token::Word(word) if is_any(word, &[b"session", b"local"]) => {
            plan.effects |= Effects::SETTINGS;
            if next_is(scan, b"transaction") {
                scan.run();
                return false;
            }
        }
        Token::Word(word) if is(word, b"transaction") => {
            scan.run();
            *plan = transaction(Kind::TransactionOther);
            plan.effects = Effects::NEXT_TRANSACTION;
            return false;
        }
        Token::Word(word) if is_any(word, &[b"password", b"default", b"resource"]) && !next_assigns(scan) => {
            to_primary(plan, Effects::UNKNOWN);
            scan.run();
            return false;
        }
        Token::Word(word) if is(word, b"role") && !next_assigns(scan) => {
            to_primary(plan, Effects::UNKNOWN | Effects::SETTINGS);
            scan.run();
            return false;
        }
        _ => plan.effects |= Effects::SETTINGS,
    }
    // An assignment may be written with `:=`, which sets no variable of the user's here.
    let sets = scan.found.effects.contains(Effects::USER_VARIABLES);
    let danger = scan.found.danger;
    let mut assigned = false;
    while let Some(token) = scan.step() {
        if !assigned && matches!(token, Token::Assign | Token::Operator(b'=')) {
            assigned = true;
            if !sets {
                scan.found.effects = scan.found.effects.without(Effects::USER_VARIABLES);
            }
            scan.found.danger = danger;
        }
        if token == Token::Comma && scan.depth == 0 {
            return true;
        }
    }
    false
}

fn to_primary(plan: &mut Plan, effects: Effects) {
    let effects = plan.effects | effects;
    *plan = Plan::write(Reason::Maintenance, effects);
}

fn is_global(scope: &[u8]) -> bool {
    is_any(scope, &[b"global", b"persist", b"persist_only"])
}

fn next_is(scan: &Scan<'_>, keyword: &[u8]) -> bool {
    matches!(scan.lexer.clone().token(), Some(Token::Word(word)) if is(word, keyword))
}

fn next_assigns(scan: &Scan<'_>) -> bool {
    matches!(scan.lexer.clone().token(), Some(Token::Assign | Token::Operator(b'=')))
}
