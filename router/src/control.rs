//! Statements of transactions and sessions: `BEGIN`, `SET`, `PREPARE`, cursors and their like.
//!
//! They are read by their words alone, because the parser knows only some of them. What changes the session
//! may run on any backend, since its value follows the session; what needs the primary says so.

use crate::lexer::Token;
use crate::scan::Scan;
use crate::statement::Judged;
use crate::words::{Verb, is, is_any};
use crate::{Effects, Kind, Plan, Reason, Target};

/// Judges a statement of a transaction or a session behind its first word.
pub(crate) fn judge(verb: Verb, scan: &mut Scan<'_>) -> Judged {
    match verb {
        Verb::Begin => begin(scan).into(),
        Verb::Start => match word(scan) {
            Some(word) if is(word, b"transaction") => begin(scan).into(),
            _ => Plan::write(Reason::Unparseable, Effects::UNKNOWN).into(),
        },
        Verb::Commit => finish(scan, Kind::Commit).into(),
        Verb::Rollback => finish(scan, Kind::Rollback).into(),
        Verb::Savepoint => transaction(Kind::TransactionOther).into(),
        Verb::Prepare => prepare(scan).into(),
        Verb::Deallocate => anywhere(Reason::SqlPrepared, Effects::SQL_PREPARE | Effects::DISCARD).into(),
        Verb::Set => set(scan).into(),
        Verb::Reset => reset(scan).into(),
        Verb::Discard => discard(scan).into(),
        Verb::Listen => session(Reason::Notify, Effects::LISTEN).into(),
        Verb::Unlisten => anywhere(Reason::Notify, Effects::DISCARD).into(),
        Verb::Declare => declare(scan),
        Verb::Close => session(Reason::Cursor, Effects::DISCARD).into(),
        Verb::Show => show(scan).into(),
        Verb::Fetch => session(Reason::Cursor, Effects::empty()).into(),
        _ => session(Reason::Session, Effects::empty()).into(),
    }
}

/// A statement of the session that only the primary may run.
fn session(reason: Reason, effects: Effects) -> Plan {
    Plan::new(Kind::Session, Target::Primary, reason, effects)
}

/// A statement of the session that any backend may run.
fn anywhere(reason: Reason, effects: Effects) -> Plan {
    Plan::new(Kind::Session, Target::Any, reason, effects)
}

fn transaction(kind: Kind) -> Plan {
    Plan::new(kind, Target::Any, Reason::TransactionControl, Effects::empty())
}

fn word<'a>(scan: &mut Scan<'a>) -> Option<&'a [u8]> {
    match scan.step() {
        Some(Token::Word(word)) => Some(word),
        _ => None,
    }
}

/// The modes of `BEGIN`. Of contradicting ones the careful one counts, though PostgreSQL takes the last.
fn begin(scan: &mut Scan<'_>) -> Plan {
    let (mut read_only, mut read_write, mut serializable) = (false, false, false);
    let mut previous: &[u8] = b"";
    while let Some(token) = scan.step() {
        let Token::Word(word) = token else { continue };
        let after_read = is(previous, b"read");
        read_only |= after_read && is(word, b"only");
        read_write |= after_read && is(word, b"write");
        serializable |= is(word, b"serializable") || (is(word, b"deferrable") && !is(previous, b"not"));
        previous = word;
    }
    let kind = Kind::Begin { read_only: read_only && !read_write, serializable };
    Plan::new(kind, Target::Primary, Reason::TransactionControl, Effects::empty())
}

/// `COMMIT` and `ROLLBACK`, unless they speak of a prepared transaction or of a savepoint.
fn finish(scan: &mut Scan<'_>, kind: Kind) -> Plan {
    while let Some(token) = scan.step() {
        match token {
            Token::Word(word) if is(word, b"prepared") => {
                return Plan::write(Reason::TransactionControl, Effects::empty());
            }
            Token::Word(word) if is(word, b"to") => return transaction(Kind::TransactionOther),
            _ => {}
        }
    }
    transaction(kind)
}

/// `PREPARE TRANSACTION 'x'` ends a transaction; any other `PREPARE` names a statement.
fn prepare(scan: &mut Scan<'_>) -> Plan {
    let two_phase = word(scan).is_some_and(|word| is(word, b"transaction"));
    if two_phase && matches!(scan.step(), Some(Token::Text(_) | Token::OtherText)) {
        let mut plan = Plan::write(Reason::TransactionControl, Effects::empty());
        plan.has_transaction_control = true;
        return plan;
    }
    session(Reason::SqlPrepared, Effects::SQL_PREPARE)
}

/// `SHOW`. The session's fence is the proxy's to tell.
fn show(scan: &mut Scan<'_>) -> Plan {
    let names = [scan.step(), scan.step(), scan.step()];
    let fence = matches!(names, [Some(Token::Word(first)), Some(Token::Dot), Some(Token::Word(second))]
        if is(first, b"splitpool") && is(second, b"token"));
    session(Reason::Session, if fence { Effects::TOKEN } else { Effects::empty() })
}

fn set(scan: &mut Scan<'_>) -> Plan {
    let Some(mut name) = first_name(scan) else { return anywhere(Reason::Session, Effects::SETTINGS) };
    if name.is_any(&[b"transaction", b"constraints"]) {
        return transaction(Kind::TransactionOther);
    }
    let local = name.is_any(&[b"local"]);
    if local || name.is_any(&[b"session"]) {
        match first_name(scan) {
            Some(next) if next.is_any(&[b"transaction"]) => return transaction(Kind::TransactionOther),
            // `SET LOCAL = 1` and the like: a setting of that name, which does not exist.
            None => return anywhere(Reason::Session, Effects::SETTINGS),
            Some(next) => name = next,
        }
    }
    if local {
        return anywhere(Reason::Session, Effects::empty());
    }
    let mut effects = Effects::SETTINGS;
    if name.is_any(&[b"seed"]) {
        effects |= Effects::SEED;
    }
    // The value may make temporary objects reachable without their schema's name.
    let custom = rest_of_setting(scan, &mut effects);
    scan.found.custom_settings |= custom;
    anywhere(Reason::Session, effects)
}

/// A word or a quoted name.
struct FirstName<'a>(&'a [u8]);

impl FirstName<'_> {
    fn is_any(&self, keywords: &[&[u8]]) -> bool {
        is_any(self.0, keywords)
    }
}

fn first_name<'a>(scan: &mut Scan<'a>) -> Option<FirstName<'a>> {
    match scan.step() {
        Some(Token::Word(word)) => Some(FirstName(word)),
        Some(Token::Quoted(_)) => Some(FirstName(b"")),
        _ => None,
    }
}

/// Reads on behind a setting's first name and says whether a dot follows it.
fn rest_of_setting(scan: &mut Scan<'_>, effects: &mut Effects) -> bool {
    let mut token = scan.step();
    let custom = token == Some(Token::Dot);
    while let Some(current) = token {
        if matches!(current, Token::Text(text) if memchr::memmem::find(text, b"pg_temp").is_some()) {
            *effects |= Effects::TEMP_TABLE;
        }
        token = scan.step();
    }
    custom
}

fn reset(scan: &mut Scan<'_>) -> Plan {
    let mut effects = Effects::SETTINGS;
    if first_name(scan).is_some() {
        scan.found.custom_settings |= rest_of_setting(scan, &mut effects);
    }
    anywhere(Reason::Session, effects)
}

fn discard(scan: &mut Scan<'_>) -> Plan {
    let all = word(scan).is_some_and(|word| is(word, b"all"));
    let effects = if all { Effects::DISCARD | Effects::SETTINGS } else { Effects::DISCARD };
    anywhere(Reason::Session, effects)
}

/// `DECLARE .. CURSOR [WITH HOLD] FOR query`: the query is run by and by.
fn declare(scan: &mut Scan<'_>) -> Judged {
    let mut effects = Effects::empty();
    let mut previous: &[u8] = b"";
    while let Some(token) = scan.step() {
        let Token::Word(word) = token else { continue };
        if is(word, b"hold") && is(previous, b"with") {
            effects |= Effects::HOLD_CURSOR;
        }
        if is(word, b"for") {
            break;
        }
        previous = word;
    }
    let start = scan.lexer.end();
    scan.run();
    let body = Some(start..scan.lexer.end());
    Judged { plan: session(Reason::Cursor, effects), runs_calls: true, body }
}
