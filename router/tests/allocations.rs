//! Counts allocations where there must be none: texts that the lexer settles, and texts that memory holds.

use allocation_counter::measure;
use router::{Catalog, CatalogBuilder, Context, Dialect, Lexing, Limits, Router, Target};

const TRUSTED: Lexing = Lexing::TRUSTED;

fn check(catalog: &Catalog, text: &[u8], expected: Target) {
    let router = Router::new(Dialect::Postgres, Limits::default(), Vec::new());
    let context = Context { catalog, strong: false };
    let route = || router.route(text, TRUSTED, &context).1.target;
    assert_eq!(route(), expected);
    let count = measure(|| assert_eq!(route(), expected)).count_total;
    assert_eq!(count, 0, "{}", String::from_utf8_lossy(text));
}

#[test]
fn settled_and_remembered_texts_do_not_allocate() {
    let mut catalog = CatalogBuilder::new();
    catalog.add_unsafe_relation("public", "some_view");
    let catalog = catalog.build();
    for text in [
        "SELECT abalance FROM pgbench_accounts WHERE aid = 12345;",
        "SELECT lower(a), count(*) FROM t WHERE b = 'x' /* c */",
        "SELECT * FROM unnest(ARRAY[1]) AS u(a)",
        "SELECT 1; SELECT 2",
    ] {
        check(&catalog, text.as_bytes(), Target::Replica);
    }
    for text in
        ["UPDATE t SET a = 1 WHERE b = 2", "SELECT unknown_fn(1)", "BEGIN", "INSERT INTO t (a) VALUES (f(1))"]
    {
        check(&catalog, text.as_bytes(), Target::Primary);
    }
    check(&catalog, b"COMMIT", Target::Any);
    let long = format!("SELECT {} FROM t", vec!["column_of_some_length"; 150].join(", "));
    check(&catalog, long.as_bytes(), Target::Replica);
}

#[test]
fn the_first_look_at_a_settled_text_does_not_allocate() {
    let router = Router::new(Dialect::Postgres, Limits::default(), Vec::new());
    let count = measure(|| drop(router.plan(b"SELECT a FROM t WHERE id = 1", TRUSTED))).count_total;
    assert_eq!(count, 0);
}
