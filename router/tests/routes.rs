//! Checks the routes of the statements in `cases/`.
//!
//! A case is a block between blank lines: lines that begin with `--:` say why, the last line `--> target kind
//! [effects]` says what is expected, all between is the statement, byte for byte. `@reason` and `:setting` may
//! follow in any order. Cases in `catalog.sql` see a catalog with things that make names suspect.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use router::{
    Catalog, CatalogBuilder, Context, Dialect, FunctionKind, Kind, Lexing, Limits, Plan, Router, Target,
    Volatility,
};

fn functions() -> CatalogBuilder {
    let mut catalog = CatalogBuilder::new();
    let mut add = |schema: &str, name: &str, volatility, may_set_state| {
        catalog.add_function(schema, name, volatility, FunctionKind::Function, may_set_state);
    };
    add("public", "stable_fn", Volatility::Stable, false);
    add("public", "immutable_fn", Volatility::Immutable, false);
    add("public", "volatile_fn", Volatility::Volatile, true);
    add("public", "quiet_fn", Volatility::Volatile, false);
    add("public", "setting_fn", Volatility::Stable, true);
    add("public", "mixed_fn", Volatility::Stable, false);
    add("app", "mixed_fn", Volatility::Volatile, true);
    add("app", "only_app_fn", Volatility::Stable, false);
    add("public", "Quoted_Fn", Volatility::Stable, false);
    add("pg_catalog", "any_value", Volatility::Immutable, false);
    add("pg_catalog", "random", Volatility::Volatile, true);
    catalog
}

fn suspicious() -> Catalog {
    let mut catalog = functions();
    catalog.add_function("public", "md5", Volatility::Volatile, FunctionKind::Function, true);
    catalog.add_unsafe_relation("public", "unsafe_view");
    catalog.add_volatile_operator("<%%>");
    catalog.add_volatile_attribute("touched");
    catalog.build()
}

fn kind(plan: &Plan) -> String {
    match plan.kind {
        Kind::Empty => "empty",
        Kind::Read => "read",
        Kind::Write => "write",
        Kind::Begin { read_only: true, serializable: true } => "begin_read_only_serializable",
        Kind::Begin { read_only: true, .. } => "begin_read_only",
        Kind::Begin { serializable: true, .. } => "begin_serializable",
        Kind::Begin { .. } => "begin",
        Kind::Commit => "commit",
        Kind::Rollback => "rollback",
        Kind::TransactionOther => "transaction_other",
        Kind::Session => "session",
        Kind::Copy => "copy",
    }
    .into()
}

const fn target(target: Target) -> &'static str {
    match target {
        Target::Primary => "primary",
        Target::Replica => "replica",
        Target::Any => "any",
    }
}

/// Runs one case and says what is wrong with it.
fn run(router: &Router, catalog: &Catalog, text: &str, expected: &str) -> Result<(), String> {
    let (lexing, context) = (Lexing::TRUSTED, Context { catalog, strong: false });
    let plan = router.plan(text.as_bytes(), lexing);
    let route = router.decide(text.as_bytes(), &plan, &context);
    if router.route(text.as_bytes(), lexing, &context) != (plan.clone(), route) {
        return Err("the short cut says something else".to_owned());
    }
    let mut words = expected.split_whitespace();
    let mut effects = BTreeSet::new();
    let expected_target = words.next().unwrap_or("");
    let expected_kind = words.next().unwrap_or("");
    let settings: Vec<&str> =
        plan.detail.iter().flat_map(|detail| &detail.settings).map(String::as_str).collect();
    for word in words {
        if let Some(reason) = word.strip_prefix('@') {
            if route.reason.as_str() != reason {
                return Err(format!("reason is {}, not {reason}", route.reason));
            }
        } else if let Some(setting) = word.strip_prefix(':') {
            if !settings.contains(&setting) {
                return Err(format!("settings are {settings:?}"));
            }
        } else {
            effects.insert(word.to_owned());
        }
    }
    let found: BTreeSet<String> = route.effects.iter().map(|(_, name)| name.to_owned()).collect();
    if target(route.target) == expected_target && kind(&plan) == expected_kind && found == effects {
        return Ok(());
    }
    Err(format!("is {} {} {found:?} @{}", target(route.target), kind(&plan), route.reason))
}

fn check(file: &str, catalog: &Catalog) -> usize {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/postgres").join(file);
    let cases = fs::read_to_string(&path).expect("a file of cases");
    let router = Router::new(Dialect::Postgres, Limits::default(), Vec::new());
    let mut failures = Vec::new();
    let mut count = 0;
    for block in cases.split("\n\n").map(str::trim).filter(|block| !block.is_empty()) {
        let (body, expected) =
            block.rsplit_once("\n--> ").unwrap_or_else(|| panic!("{file}: no verdict in\n{block}"));
        let text = body.lines().filter(|line| !line.starts_with("--:")).collect::<Vec<_>>().join("\n");
        assert!(!text.is_empty(), "{file}: no statement in\n{block}");
        count += 1;
        // The second time the answer may come from memory: it must be the same.
        for round in ["first", "second"] {
            if let Err(error) = run(&router, catalog, &text, expected) {
                failures.push(format!("{text}\n    expected {expected}\n    {error} ({round} round)"));
            }
        }
    }
    assert!(failures.is_empty(), "{file}: {} failures\n{}", failures.len(), failures.join("\n"));
    count
}

#[test]
fn cases_hold() {
    let catalog = functions().build();
    let files =
        ["reads.sql", "orm.sql", "psql.sql", "dangers.sql", "functions.sql", "session.sql", "lexical.sql"];
    let count: usize = files.iter().map(|file| check(file, &catalog)).sum();
    assert!(count >= 220, "{count} cases");
}

#[test]
fn cases_with_suspects_hold() {
    check("catalog.sql", &suspicious());
}

#[test]
fn cases_without_a_catalog_hold() {
    check("unknown.sql", &Catalog::unknown());
}
