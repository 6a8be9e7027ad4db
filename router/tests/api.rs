//! What the case files cannot say: rules, joins of batches, what is learned, strong consistency, limits.

use router::{
    Catalog, CatalogBuilder, Context, Dialect, Effects, Kind, Lexing, Limits, Plan, Reason, Route, Router,
    Rule, Target,
};

const TRUSTED: Lexing = Lexing::TRUSTED;

fn router(rules: Vec<Rule>) -> Router {
    Router::new(Dialect::Postgres, Limits::default(), rules)
}

fn route(router: &Router, text: &str) -> Route {
    let catalog = Catalog::unknown();
    let plan = router.plan(text.as_bytes(), TRUSTED);
    router.decide(text.as_bytes(), &plan, &Context { catalog: &catalog, strong: false })
}

fn batch(texts: &[&str]) -> Plan {
    let router = router(Vec::new());
    let mut plan = Plan::empty();
    for text in texts {
        plan.join(&router.plan(text.as_bytes(), TRUSTED));
    }
    plan
}

#[test]
fn a_rule_is_the_operators_word() {
    let router = router(vec![
        Rule::new(r"(?i)\breports\b", Target::Replica).unwrap(),
        Rule::new(r"accounts", Target::Primary).unwrap(),
    ]);
    assert_eq!(route(&router, "INSERT INTO reports VALUES (1)").target, Target::Replica);
    let read = route(&router, "SELECT * FROM accounts");
    assert_eq!((read.target, read.reason), (Target::Primary, Reason::Rule));
    // The first rule that matches wins, also over a hint.
    assert_eq!(
        route(&router, "/* splitpool: primary */ SELECT 1 FROM reports, accounts").target,
        Target::Replica
    );
    // Transaction control is never moved, and what may stay behind is still told.
    assert_eq!(route(&router, "BEGIN /* reports */").target, Target::Primary);
    assert!(
        route(&router, "SELECT pg_advisory_lock(1) FROM reports").effects.contains(Effects::ADVISORY_LOCK)
    );
    assert!(Rule::new("(", Target::Primary).is_err());
}

#[test]
fn a_batch_is_a_read_only_if_all_its_parts_are() {
    let reads = batch(&["SELECT 1", "SELECT 2", ""]);
    assert_eq!((reads.kind, reads.target, reads.reason), (Kind::Read, Target::Replica, Reason::Read));
    let mixed = batch(&["SELECT 1", "SELECT nextval('s')", "SELECT 2"]);
    assert_eq!((mixed.kind, mixed.target, mixed.reason), (Kind::Write, Target::Primary, Reason::SideEffect));
    let control = batch(&["BEGIN", "SELECT 1"]);
    assert!(control.has_transaction_control);
    assert_eq!(control.target, Target::Primary);
    let effects = batch(&["SET a.b = 1", "LISTEN c"]).effects;
    assert!(effects.contains(Effects::SETTINGS | Effects::LISTEN));
    assert_eq!(batch(&["SET a = 1", "SET b = 2"]).target, Target::Any);
    assert_eq!(batch(&["SELECT 1", "COPY t TO STDOUT"]).target, Target::Replica);
    assert!(!batch(&["BEGIN"]).has_transaction_control);
    let single = batch(&["BEGIN READ ONLY"]);
    assert_eq!(single.kind, Kind::Begin { read_only: true, serializable: false });
}

#[test]
fn joining_is_never_more_permissive() {
    let texts = [
        "SELECT 1",
        "DELETE FROM t",
        "BEGIN READ ONLY",
        "COMMIT",
        "SET a = 1",
        "",
        "SHOW a",
        "COPY t TO STDOUT",
    ];
    for one in texts {
        for two in texts {
            let joined = batch(&[one, two]);
            let parts = [batch(&[one]), batch(&[two])];
            let all_read = parts.iter().all(|part| part.may_read() || part.kind == Kind::Empty);
            assert!(all_read || !joined.may_read(), "{one}; {two}");
        }
    }
}

#[test]
fn what_a_replica_refused_is_a_write_from_then_on() {
    let router = router(Vec::new());
    assert_eq!(route(&router, "SELECT a FROM v WHERE id = 1").target, Target::Replica);
    router.learn(b"SELECT a FROM v WHERE id = 1");
    for text in [
        "SELECT a FROM v WHERE id = 1",
        "select  a from v /* c */ where id = 'x'",
        "SELECT a FROM v WHERE id = $1",
    ] {
        let learned = route(&router, text);
        assert_eq!((learned.target, learned.reason), (Target::Primary, Reason::Learned), "{text}");
    }
    assert_eq!(route(&router, "SELECT b FROM v WHERE id = 1").target, Target::Replica);
    router.learn(b"SELECT a FROM w WHERE id IN (1, 2, 3)");
    assert_eq!(route(&router, "SELECT a FROM w WHERE id IN (7)").target, Target::Primary);
    for number in 0..20_000 {
        router.learn(format!("SELECT c{number} FROM t").as_bytes());
    }
}

#[test]
fn strong_consistency_keeps_reads_on_the_primary() {
    let router = router(Vec::new());
    let catalog = Catalog::unknown();
    let context = Context { catalog: &catalog, strong: true };
    for (text, reason) in [
        ("SELECT 1", Reason::Consistency),
        ("/* splitpool: consistency=eventual */ SELECT 1", Reason::Consistency),
        ("BEGIN READ ONLY", Reason::Consistency),
        ("DELETE FROM t", Reason::Write),
    ] {
        let plan = router.plan(text.as_bytes(), TRUSTED);
        let route = router.decide(text.as_bytes(), &plan, &context);
        assert_eq!((route.target, route.reason), (Target::Primary, reason), "{text}");
    }
}

#[test]
fn hints_carry_their_values() {
    let router = router(Vec::new());
    let route = route(
        &router,
        "SELECT 1 /* splitpool: max_lag=200ms, replica */ -- splitpool: max_lag=3s, unheard=of",
    );
    assert_eq!(route.max_lag_ms, Some(200));
    assert_eq!((route.target, route.reason), (Target::Replica, Reason::Hint));
    let minutes = router.plan(b"SELECT 1 --splitpool:max_lag=2min", TRUSTED);
    assert_eq!(minutes.hint.max_lag_ms, Some(120_000));
    let endless = router.plan(b"SELECT 1 --splitpool:max_lag=99999999999999999999s", TRUSTED);
    assert_eq!(endless.hint.max_lag_ms, Some(u32::MAX));
}

#[test]
fn without_the_text_a_suspicious_catalog_sends_settled_reads_to_the_primary() {
    let mut builder = CatalogBuilder::new();
    builder.add_unsafe_relation("public", "v");
    let catalog = builder.build();
    let context = Context { catalog: &catalog, strong: false };
    let router = router(Vec::new());
    let plan = router.plan(b"SELECT 1", TRUSTED);
    assert_eq!(router::decide(&plan, &context).target, Target::Primary);
    assert_eq!(router.decide(b"SELECT 1", &plan, &context).target, Target::Replica);
}

#[test]
fn limits_make_writes() {
    let limits = Limits { text_max: 64, parse_max: 32, tokens_max: 8, ..Limits::default() };
    let router = Router::new(Dialect::Postgres, limits, Vec::new());
    let reason = |text: &str| router.plan(text.as_bytes(), TRUSTED).reason;
    assert_eq!(reason("SELECT 1"), Reason::Read);
    assert_eq!(reason(&format!("SELECT '{}'", "x".repeat(64))), Reason::TooLong);
    assert_eq!(reason(&format!("INSERT INTO t VALUES ('{}')", "x".repeat(64))), Reason::Write);
    assert_eq!(reason("SELECT f(1), 2, 3, 4, 5, 6"), Reason::TooComplex);
}

#[test]
fn reasons_count_themselves() {
    for (position, reason) in Reason::ALL.iter().enumerate() {
        assert_eq!(reason.index(), position);
        assert!(reason.as_str().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'));
    }
    assert_eq!(Reason::COUNT, Reason::ALL.len());
}
