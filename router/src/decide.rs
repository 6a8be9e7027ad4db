//! Routes: a plan, what the catalog knows, and what the session demands, made into a target.
//!
//! The order is: the operator's rule, the hint, the plan with the catalog, consistency. Whether a transaction
//! is open, a session pinned, a replica fresh enough is asked before and after, elsewhere. A hint to a replica
//! never moves a statement that is not provably a read; it may only vouch for functions nobody knows.

use crate::catalog::{Catalog, Judgement};
use crate::functions::{self, Builtin};
use crate::{Consistency, Detail, Effects, HintTarget, Kind, Name, Plan, Reason, Target};

/// What a decision needs beside the plan.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The database's catalog.
    pub catalog: &'a Catalog,
    /// The session reads from the primary only: its consistency is strong, or its transactions are
    /// serializable by default. A hint does not weaken this; a caller that wants hints to override the
    /// consistency looks at `plan.hint` before it asks.
    pub strong: bool,
}

/// Where a statement goes, and why.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Route {
    /// Where it may run.
    pub target: Target,
    /// Why.
    pub reason: Reason,
    /// What it may leave behind: the plan's effects and those of functions the catalog knows or does not know.
    pub effects: Effects,
    /// The greatest lag its author permits, in milliseconds.
    pub max_lag_ms: Option<u32>,
    /// The consistency its author asks for.
    pub consistency: Option<Consistency>,
}

/// Decides where a statement goes. For a read that the lexer settled on its own, use
/// [`crate::Router::decide`], which can look at the text again; without the text such a read goes to the
/// primary as soon as the catalog suspects any name at all.
pub fn decide(plan: &Plan, context: &Context<'_>) -> Route {
    let unseen = plan.detail.as_ref().is_none_or(|detail| !detail.complete);
    let doubt = (plan.may_read() && context.catalog.has_suspects())
        && (unseen || context.catalog.has_unsafe_attributes());
    route(plan, context, doubt.then_some(Reason::UnsafeRelation))
}

/// Decides with a verdict on the text's names that was found elsewhere.
pub(crate) fn route(plan: &Plan, context: &Context<'_>, doubt: Option<Reason>) -> Route {
    let names = plan.detail.as_ref().map_or(Verdict::CLEAN, |detail| look_up(detail, context.catalog));
    let vouched = plan.hint.target == Some(HintTarget::Replica) && plan.may_read();
    let effects = plan.effects | names.effects(vouched);
    let (target, reason) = target(plan, context, names.refusal(vouched).or(doubt));
    Route { target, reason, effects, max_lag_ms: plan.hint.max_lag_ms, consistency: plan.hint.consistency }
}

fn target(plan: &Plan, context: &Context<'_>, refusal: Option<Reason>) -> (Target, Reason) {
    if plan.kind.is_transaction_control() {
        return transaction(plan, context);
    }
    if let Some(target) = plan.rule {
        return (target, Reason::Rule);
    }
    if plan.hint.target == Some(HintTarget::Primary) && plan.target != Target::Any {
        return (Target::Primary, Reason::Hint);
    }
    if !plan.may_read() {
        return (plan.target, plan.reason);
    }
    if let Some(reason) = refusal {
        return (Target::Primary, reason);
    }
    if context.strong || plan.hint.consistency == Some(Consistency::Strong) {
        return (Target::Primary, Reason::Consistency);
    }
    let hinted = plan.hint.target == Some(HintTarget::Replica);
    (Target::Replica, if hinted { Reason::Hint } else { plan.reason })
}

fn transaction(plan: &Plan, context: &Context<'_>) -> (Target, Reason) {
    let Kind::Begin { read_only, serializable } = plan.kind else { return (plan.target, plan.reason) };
    if plan.hint.target == Some(HintTarget::Primary) {
        return (Target::Primary, Reason::Hint);
    }
    let strong = context.strong || plan.hint.consistency == Some(Consistency::Strong);
    match (read_only, serializable || strong) {
        (true, false) => (Target::Replica, Reason::ReadOnlyTransaction),
        (_, true) => (Target::Primary, Reason::Consistency),
        (false, false) => (Target::Primary, Reason::TransactionControl),
    }
}

/// What the names of a text come to.
struct Verdict {
    unknown: bool,
    effects: Effects,
    writes: bool,
    may_set_state: bool,
    /// Something other than a function speaks against a replica.
    unsafe_name: Option<Reason>,
}

impl Verdict {
    const CLEAN: Self = Self {
        unknown: false,
        effects: Effects::empty(),
        writes: false,
        may_set_state: false,
        unsafe_name: None,
    };

    fn call(&mut self, may_set_state: bool) {
        self.writes = true;
        self.may_set_state |= may_set_state;
    }

    fn refusal(&self, vouched: bool) -> Option<Reason> {
        if self.writes {
            Some(Reason::VolatileFunction)
        } else if self.unknown && !vouched {
            Some(Reason::UnknownFunction)
        } else {
            self.unsafe_name
        }
    }

    fn effects(&self, vouched: bool) -> Effects {
        let unknown = self.may_set_state || (self.unknown && !vouched);
        if unknown { self.effects | Effects::UNKNOWN } else { self.effects }
    }
}

fn look_up(detail: &Detail, catalog: &Catalog) -> Verdict {
    let mut verdict = Verdict::CLEAN;
    for name in &detail.functions {
        let called = catalog.called(&name.name);
        verdict.effects |= called;
        // Whatever it is declared to be: on a replica its lock would lock nothing.
        verdict.writes |= called.contains(Effects::LOCKS);
        let judgement = match detail.user_functions {
            true => catalog.function(name.schema.as_deref(), &name.name),
            false => judge(name, catalog),
        };
        match judgement {
            Judgement::Reads => {}
            Judgement::Unknown => verdict.unknown = true,
            Judgement::Writes { may_set_state } => verdict.call(may_set_state),
        }
    }
    for field in &detail.fields {
        verdict.effects |= catalog.called(field);
        // A name that the catalog does not know as a function is a field, once there is a catalog.
        match catalog.function(None, field) {
            Judgement::Writes { may_set_state } => verdict.call(may_set_state),
            Judgement::Unknown => verdict.unknown |= !catalog.is_loaded(),
            Judgement::Reads => {}
        }
    }
    let relation = |name: &Name| catalog.is_unsafe_relation(name.schema.as_deref(), &name.name);
    if detail.relations.iter().any(relation) {
        verdict.unsafe_name = Some(Reason::UnsafeRelation);
    }
    let operator = |symbol: &String| !catalog.is_loaded() || catalog.is_volatile_operator(symbol);
    if detail.operators.iter().any(operator) {
        verdict.unsafe_name = Some(Reason::UnsafeOperator);
    }
    verdict
}

/// A built-in name that the catalog does not know otherwise is judged by this crate's list, which the plan has
/// already heeded; a user's function of the same name makes it the catalog's matter as well.
fn judge(name: &Name, catalog: &Catalog) -> Judgement {
    let schema = name.schema.as_deref();
    let known = catalog.function(schema, &name.name);
    let builtin = schema.is_none_or(|schema| schema == "pg_catalog")
        && functions::builtin(name.name.as_bytes()) != Builtin::Unlisted;
    match known {
        _ if builtin && schema.is_some() => Judgement::Reads,
        Judgement::Unknown if builtin => Judgement::Reads,
        known => known,
    }
}
