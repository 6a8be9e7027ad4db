//! Plans: what the text of a statement tells.
//!
//! A plan depends on the text alone. It is small and cheap to clone; names are kept aside, behind an `Arc`,
//! and only for texts in which something must be looked up by name. Joining plans never makes anything more
//! permissive: a batch is a read only if every part of it is.

use std::sync::Arc;

use crate::{Effects, Hint, Reason};

/// Where a statement runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// On the primary, and nowhere else.
    Primary,
    /// On a replica; the primary may stand in.
    Replica,
    /// On whichever backend is at hand.
    Any,
}

/// What kind of statement a text is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Nothing but white space, comments and semicolons.
    Empty,
    /// Provably changes nothing, as far as text can prove it.
    Read,
    /// Everything else.
    Write,
    /// `BEGIN` or `START TRANSACTION`.
    Begin {
        /// Declared `READ ONLY`.
        read_only: bool,
        /// Declared serializable or deferrable, which no replica offers.
        serializable: bool,
    },
    /// `COMMIT` or `END`.
    Commit,
    /// `ROLLBACK` or `ABORT` of the whole transaction.
    Rollback,
    /// Savepoints, `SET TRANSACTION`, `SET CONSTRAINTS`.
    TransactionOther,
    /// Reads or changes the state of the session: `SET`, `SHOW`, `DISCARD`, `LISTEN`, `PREPARE`, cursors.
    Session,
    /// `COPY`; a read if its reason is [`Reason::Read`].
    Copy,
}

impl Kind {
    /// Whether the statement begins, ends or divides a transaction.
    pub const fn is_transaction_control(self) -> bool {
        matches!(self, Self::Begin { .. } | Self::Commit | Self::Rollback | Self::TransactionOther)
    }
}

/// A name as PostgreSQL understands it: unquoted parts folded to lower case, quoted parts as written.
#[derive(Clone, PartialEq, Eq, Debug, Hash)]
pub struct Name {
    /// The schema, if the text names one.
    pub schema: Option<String>,
    /// The object.
    pub name: String,
}

/// The names in a text that must be looked up before it may run on a replica.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Detail {
    /// Every function that is called.
    pub functions: Vec<Name>,
    /// Every relation that is read or written; complete only if `complete`.
    pub relations: Vec<Name>,
    /// Names taken from an expression, as in `(a).b`: fields, or functions of one argument.
    pub fields: Vec<String>,
    /// Operators that are not built in.
    pub operators: Vec<String>,
    /// Settings with a dot in their name that the text sets: `pg_settings` does not show them.
    pub settings: Vec<String>,
    /// Whether none of the functions is built in.
    pub user_functions: bool,
    /// Whether functions and relations were read by the parser rather than guessed by the lexer.
    pub complete: bool,
}

/// What the text of a statement tells.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// What kind of statement it is.
    pub kind: Kind,
    /// Where the text alone sends it. `Replica` still depends on the catalog.
    pub target: Target,
    /// Why.
    pub reason: Reason,
    /// What it may leave behind; [`crate::Route::effects`] adds what the catalog knows.
    pub effects: Effects,
    /// What its author asks for.
    pub hint: Hint,
    /// Where the operator's first matching rule sends it.
    pub rule: Option<Target>,
    /// Whether transaction control is among several statements.
    pub has_transaction_control: bool,
    /// Whether it asks what the statement before it left (`LAST_INSERT_ID()`, `SHOW WARNINGS`): only the backend
    /// that ran that statement knows. Never for PostgreSQL.
    pub reads_last: bool,
    /// How many statements the text or batch holds.
    pub statements: u32,
    /// The number of its digest, if that was found together with the plan; 0 otherwise. See
    /// [`crate::Router::digest`].
    pub digest: u64,
    /// Names to look up, if there are any.
    pub detail: Option<Arc<Detail>>,
}

impl Plan {
    /// A plan without hints, rules and names.
    pub(crate) const fn new(kind: Kind, target: Target, reason: Reason, effects: Effects) -> Self {
        Self {
            kind,
            target,
            reason,
            effects,
            hint: Hint { target: None, max_lag_ms: None, consistency: None },
            rule: None,
            has_transaction_control: false,
            reads_last: false,
            statements: 1,
            digest: 0,
            detail: None,
        }
    }

    /// The plan of no statement at all: the neutral element of [`Plan::join`].
    pub const fn empty() -> Self {
        let mut plan = Self::new(Kind::Empty, Target::Any, Reason::Empty, Effects::empty());
        plan.statements = 0;
        plan
    }

    pub(crate) const fn read() -> Self {
        Self::new(Kind::Read, Target::Replica, Reason::Read, Effects::empty())
    }

    pub(crate) const fn write(reason: Reason, effects: Effects) -> Self {
        Self::new(Kind::Write, Target::Primary, reason, effects)
    }

    /// Whether the text alone would let it run on a replica.
    pub const fn may_read(&self) -> bool {
        matches!(self.target, Target::Replica)
    }

    /// [`Plan::join`] by value: the first statement of a text is not copied.
    pub(crate) fn add(&mut self, other: Self) {
        if self.statements == 0 { *self = other } else { self.join(&other) }
    }

    /// Adds another statement of the same text or batch. It is a read only if all parts are; effects unite;
    /// the reason is the strictest part's.
    pub fn join(&mut self, other: &Self) {
        let hint = self.hint.join(other.hint);
        if self.statements == 0 {
            self.clone_from(other);
        } else if other.statements > 0 {
            self.join_parts(other);
        }
        self.hint = hint;
    }

    fn join_parts(&mut self, other: &Self) {
        self.effects |= other.effects;
        self.reads_last |= other.reads_last;
        self.detail = join_details(self.detail.take(), other.detail.as_ref());
        self.statements = self.statements.saturating_add(other.statements);
        self.has_transaction_control |= other.has_transaction_control
            || self.kind.is_transaction_control()
            || other.kind.is_transaction_control();
        // A rule's word covers what it matched, so a batch follows a rule only if all its parts do.
        self.rule = match (self.rule, other.rule) {
            (one, two) if one == two => one,
            (Some(Target::Primary), _) | (_, Some(Target::Primary)) => Some(Target::Primary),
            _ => None,
        };
        self.join_kind(other);
    }

    fn join_kind(&mut self, other: &Self) {
        let both_read = self.may_read() && other.may_read();
        let same = self.kind == other.kind && !self.kind.is_transaction_control();
        if strictness(other) > strictness(self) {
            self.reason = other.reason;
        }
        if !same {
            self.kind = if both_read { Kind::Read } else { Kind::Write };
        }
        if !both_read {
            let anywhere = same && self.target == Target::Any && other.target == Target::Any;
            self.target = if anywhere { Target::Any } else { Target::Primary };
            if matches!(self.reason, Reason::Read | Reason::Empty | Reason::TransactionControl) {
                self.reason = Reason::MultiStatement;
            }
        }
    }
}

fn strictness(plan: &Plan) -> u8 {
    match plan.target {
        Target::Replica => 0,
        Target::Any => 1,
        Target::Primary => 2,
    }
}

fn join_details(one: Option<Arc<Detail>>, two: Option<&Arc<Detail>>) -> Option<Arc<Detail>> {
    let (Some(mut one), Some(two)) = (one.clone(), two) else {
        return one.or_else(|| two.cloned()).map(partial);
    };
    let joined = Arc::make_mut(&mut one);
    joined.functions.extend_from_slice(&two.functions);
    joined.relations.extend_from_slice(&two.relations);
    joined.fields.extend_from_slice(&two.fields);
    joined.operators.extend_from_slice(&two.operators);
    joined.settings.extend_from_slice(&two.settings);
    joined.user_functions &= two.user_functions;
    joined.complete &= two.complete;
    Some(one)
}

/// The names of one part are not all the names of the whole.
fn partial(mut detail: Arc<Detail>) -> Arc<Detail> {
    if detail.complete {
        Arc::make_mut(&mut detail).complete = false;
    }
    detail
}
