//! What a request amounts to: where it goes and what it may leave behind.
//!
//! Decides only. A request may hold several statements; it goes where the strictest of them
//! must go, and leaves behind what any of them may.

use super::kill::{self, Kill};
use super::{fence, hold, kept};
use crate::service::Service;
use pool::Consistency;
use protocol::Protocol;
use protocol::tracker::{Quoting, Tracker};
use router::{Context, Effects, Kind, Lexing, Mention, Plan, Reason, Route, Target};
use std::time::Duration;

/// The verdict on one request.
#[derive(Debug, Clone)]
pub(super) struct Judgement {
    pub(super) target: Target,
    pub(super) reason: Reason,
    pub(super) effects: Effects,
    pub(super) max_lag: Option<Duration>,
    pub(super) consistency: Option<Consistency>,
    /// Whether it may be sent again when its backend is lost before it answered.
    pub(super) repeatable: bool,
    /// Whether it would open a transaction.
    pub(super) begins: bool,
    /// Statements in it.
    pub(super) statements: u32,
    /// Settings it sets that no listing shows.
    pub(super) names: Vec<String>,
    /// What in it may be the name of such a setting.
    pub(super) heard: Vec<String>,
    /// What its statements name of what they leave in the session, where the database does not list it.
    pub(super) mentions: Option<Vec<Mention>>,
    /// Whether it may write, and set off what neither its text nor the catalog tells.
    pub(super) writes: bool,
    /// Whether it may change what functions do.
    pub(super) redefines: bool,
    /// Whether it may draw from a sequence without saying so: by a default, or in a procedure.
    pub(super) may_use_sequence: bool,
    /// What it wants ended on another connection.
    pub(super) kill: Option<Kill>,
    /// The fence that it gives the session.
    pub(super) given: Option<Box<str>>,
    /// What it is counted as.
    pub(super) digest: Counted,
}

/// Which digest a request is counted under: that of its first statement that does something by itself.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counted {
    /// 0 if it is not counted.
    pub(super) number: u64,
    /// It only controls a transaction so far.
    only_control: bool,
}

impl Counted {
    fn add(&mut self, number: u64, plan: &Plan) {
        if number != 0 && (self.number == 0 || self.only_control) {
            *self = Self { number, only_control: plan.kind.is_transaction_control() };
        }
    }
}

impl Judgement {
    /// Of nothing at all.
    fn nothing() -> Self {
        Self {
            target: Target::Any,
            reason: Reason::Empty,
            effects: Effects::empty(),
            max_lag: None,
            consistency: None,
            repeatable: true,
            begins: false,
            statements: 0,
            names: Vec::new(),
            heard: Vec::new(),
            mentions: None,
            writes: false,
            redefines: false,
            may_use_sequence: false,
            kill: None,
            given: None,
            digest: Counted::default(),
        }
    }

    /// Of something that only the primary may run.
    pub(super) fn for_primary() -> Self {
        Self { target: Target::Primary, reason: Reason::Transaction, ..Self::nothing() }
    }

    /// It was judged by rules that do not hold where it would run: these bytes may mean anything.
    pub(super) fn distrust(&mut self, bytes: &[u8]) {
        (self.target, self.reason) = (Target::Primary, Reason::UntrustedLexing);
        self.effects |= Effects::UNKNOWN;
        self.repeatable = false;
        self.heard = router::spelled_settings(bytes, hold::HEARD_MAX);
    }

    /// Whether a refusal leaves nothing of it done: one statement that calls nothing which might have committed a part.
    pub(super) fn is_all_or_nothing(&self) -> bool {
        self.statements == 1
            && !self.begins
            && self.reason != Reason::Procedure
            && !self.effects.contains(Effects::UNKNOWN)
    }

    /// Takes one more statement in.
    fn add(&mut self, plan: &Plan, route: &Route) {
        let strict = |target| match target {
            Target::Any => 0,
            Target::Replica => 1,
            Target::Primary => 2,
        };
        if self.statements == 0 || strict(route.target) > strict(self.target) {
            (self.target, self.reason) = (route.target, route.reason);
        }
        let begins = matches!(plan.kind, Kind::Begin { .. });
        self.repeatable &= plan.may_read() || begins || plan.kind == Kind::Empty;
        self.begins |= begins || plan.has_transaction_control;
        self.effects |= route.effects;
        self.max_lag = min_some(self.max_lag, route.max_lag_ms.map(|ms| Duration::from_millis(ms.into())));
        self.consistency = route.consistency.map(consistency).or(self.consistency);
        self.statements += plan.statements.max(1);
        if let Some(detail) = plan.detail.as_ref().filter(|detail| !detail.settings.is_empty()) {
            self.names.extend(detail.settings.iter().cloned());
        }
    }

    /// A batch that controls transactions among other things is not one transaction's part.
    fn close(&mut self) {
        if self.begins && self.statements > 1 {
            self.repeatable = false;
            if self.target == Target::Replica {
                (self.target, self.reason) = (Target::Primary, Reason::MultiStatement);
            }
        }
    }
}

/// Rows that are added may take a default; those that are changed or removed take none.
fn may_use_sequence(plan: &Plan, text: &[u8]) -> bool {
    let adds = || {
        let text = text.trim_ascii_start();
        let is = |verb: &[u8]| text.get(..verb.len()).is_some_and(|word| word.eq_ignore_ascii_case(verb));
        !is(b"update") && !is(b"delete") && !is(b"truncate")
    };
    matches!(plan.reason, Reason::Write | Reason::WriteInQuery | Reason::Procedure | Reason::Copy) && adds()
}

fn min_some(one: Option<Duration>, two: Option<Duration>) -> Option<Duration> {
    one.into_iter().chain(two).min()
}

fn consistency(asked: router::Consistency) -> Consistency {
    match asked {
        router::Consistency::Eventual => Consistency::Eventual,
        router::Consistency::Bounded => Consistency::Bounded,
        router::Consistency::Session => Consistency::Session,
        router::Consistency::Token => Consistency::Token,
        router::Consistency::Strong => Consistency::Strong,
    }
}

/// As much of a request as is here.
pub(super) struct Seen<'a> {
    pub(super) bytes: &'a [u8],
    /// Whether it is here to its end.
    pub(super) whole: bool,
    /// Whether the text of its last statement is cut.
    pub(super) cut: bool,
}

/// How quotes are to be read, in the router's words.
pub(super) fn lexing(quoting: Quoting) -> Lexing {
    Lexing {
        trusted: quoting.trusted,
        ansi_quotes: quoting.names_in_double_quotes,
        backslash_escapes: quoting.backslash_escapes,
    }
}

/// Judges `request`. One that is not whole may go on in any way: it is a write.
pub(super) fn judge<P: Protocol>(
    service: &Service<P>,
    tracker: &P::Tracker,
    request: &Seen<'_>,
    strong: bool,
) -> Judgement {
    let lexing = lexing(tracker.quoting());
    let catalog = service.catalog.current();
    let context = Context { catalog: &catalog, strong };
    let mut judgement = Judgement::nothing();
    tracker.texts(request.bytes, &mut |text| {
        let (plan, route) = service.router.route(text, lexing, &context);
        judgement.add(&plan, &route);
        if service.digests.is_some() {
            judgement.digest.add(service.router.digest(text, lexing, &plan), &plan);
        }
        judgement.may_use_sequence |= may_use_sequence(&plan, text);
        judgement.writes |=
            matches!(plan.reason, Reason::Write | Reason::WriteInQuery) && !catalog.has_triggers();
        if kept::reads(route.effects)
            && let Some(mentions) = service.router.mentions(text, lexing, &catalog, route.effects)
        {
            judgement.mentions.get_or_insert_default().extend(mentions);
        }
        if plan.reason == Reason::Procedure && router::changes_schema(text) {
            judgement.effects |= Effects::DDL;
        }
        judgement.redefines |= judgement.effects.contains(Effects::DDL) && router::redefines(text);
        if route.effects.intersects(Effects::SETTINGS.union(Effects::TOKEN)) {
            judgement.given = fence::given(text).map(Into::into);
        }
        if matches!(text.trim_ascii_start().first(), Some(b'k' | b'K')) {
            judgement.kill = kill::read(text);
        }
    });
    judgement.close();
    if !request.whole {
        (judgement.target, judgement.reason) = (Target::Primary, Reason::LargeRequest);
        judgement.repeatable = false;
    }
    if request.cut {
        judgement.effects |= Effects::UNKNOWN;
        judgement.mentions.iter_mut().for_each(Vec::clear);
    }
    if !judgement.effects.is_empty() && request.whole && !tracker.runs(request.bytes) {
        // Preparing leaves nothing behind. But what is described must be there.
        let token = judgement.effects.contains(Effects::TOKEN);
        judgement.effects = if token { Effects::TOKEN } else { Effects::empty() };
        judgement.mentions = None;
    }
    if hold::hears(judgement.effects) {
        judgement.heard = router::spelled_settings(request.bytes, hold::HEARD_MAX);
    }
    judgement
}
