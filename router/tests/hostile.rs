//! Texts made to hurt: deep, long, broken. Each is planned on a stack of 256 KiB, and none is a read unless it
//! really is one.
//!
//! Time is not measured against a clock but by families of growing size: what is not linear would not end.

use std::thread;

use router::{Catalog, Context, Dialect, Kind, Lexing, Limits, Plan, Reason, Router, Target};

const STACK: usize = 256 << 10;
const TRUSTED: Lexing = Lexing::TRUSTED;

/// Plans and routes every text on a small stack, and hands the plans to the check.
fn check(texts: impl FnOnce() -> Vec<Vec<u8>> + Send + 'static, expect: fn(&Plan, Target, usize)) {
    let body = move || {
        let router = Router::new(Dialect::Postgres, Limits::default(), Vec::new());
        let catalog = Catalog::unknown();
        for text in texts() {
            let plan = router.plan(&text, TRUSTED);
            let route = router.decide(&text, &plan, &Context { catalog: &catalog, strong: false });
            expect(&plan, route.target, text.len());
        }
    };
    thread::Builder::new().stack_size(STACK).spawn(body).expect("a thread").join().expect("no panic");
}

fn repeat(head: &str, unit: &str, times: usize, tail: &str) -> Vec<u8> {
    [head, &unit.repeat(times), tail].concat().into_bytes()
}

const UNITS: [&str; 16] = [
    "1 + ",
    "a OR ",
    "a AND ",
    "NOT ",
    "- ",
    "a || ",
    "f(",
    "(",
    "(SELECT ",
    "a.b.",
    "x::int::",
    "a[1] - ",
    "CASE WHEN ",
    "1 UNION ALL SELECT ",
    "$$",
    "E'\\' || ",
];

#[test]
fn deep_and_long_chains_are_writes_or_reads_but_never_end_the_thread() {
    for unit in UNITS {
        check(
            move || {
                let mut texts = Vec::new();
                // Below, at and far above the limits of tokens and of text.
                for times in [30, 60, 500, 1_000, 1_360, 2_000, 2_047, 4_000, 30_000, 100_000] {
                    texts.push(repeat("SELECT ", unit, times, "1"));
                    // An unknown function sends it to the parser.
                    texts.push(repeat("SELECT unknown_fn(1), ", unit, times, "1"));
                    texts.push(repeat("INSERT INTO t SELECT unknown_fn(1), ", unit, times, "1"));
                }
                texts
            },
            |plan, target, length| {
                assert!(length <= 256 << 10 || target == Target::Primary, "{plan:?}");
            },
        );
    }
}

#[test]
fn nested_parentheses_are_bounded() {
    check(
        || {
            [10, 1_000, 100_000]
                .into_iter()
                .map(|depth| [&b"SELECT "[..], &b"(".repeat(depth), b"f(1)", &b")".repeat(depth)].concat())
                .collect()
        },
        |plan, target, _| {
            assert_eq!(target, Target::Primary);
            assert!(matches!(plan.kind, Kind::Read | Kind::Write));
        },
    );
}

#[test]
fn huge_texts_are_writes() {
    for unit in [
        "1 + ",
        "(",
        "/* ",
        "'' ",
        "-- x\n",
        "$a$ ",
        "E'x'\n--\n",
        "\"",
        "SELECT 1; ",
        "a ",
        "/*/",
        "set_config('a', ",
    ] {
        check(
            move || vec![repeat("SELECT ", unit, (10 << 20) / unit.len(), ""), repeat("", unit, 1 << 18, "")],
            |plan, target, length| {
                let empty = plan.kind == Kind::Empty || plan.reason == Reason::Unparseable;
                assert!(target == Target::Primary || empty || length <= 256 << 10, "{plan:?}");
            },
        );
    }
    check(
        || vec![b"SELECT 1 ".repeat((64 << 20) / 9)],
        |plan, _, _| assert_eq!(plan.reason, Reason::TooLong),
    );
}

#[test]
fn scanning_ahead_is_linear() {
    // Each of these makes some look-ahead start anew at every unit, just below the limit.
    for unit in [
        "set_config(",
        "OPERATOR(",
        "join (",
        "E'' --\n",
        "set_config('a.b', ((((((((",
        "splitpool: /* splitpool: ",
    ] {
        check(
            move || {
                vec![
                    repeat("SELECT ", unit, (255 << 10) / unit.len(), ""),
                    repeat("INSERT ", unit, (1 << 20) / unit.len(), ""),
                ]
            },
            |_, _, _| {},
        );
    }
}

#[test]
fn broken_bytes_are_writes() {
    check(
        || {
            vec![
                b"SELECT \x00 1".to_vec(),
                b"SELECT 1\x00; DELETE FROM t".to_vec(),
                b"SELECT 'abc".to_vec(),
                b"SELECT \"abc".to_vec(),
                b"SELECT $x$ abc $y$".to_vec(),
                b"SELECT /* /* */".to_vec(),
                b"SELECT \xff\xfe(1)".to_vec(),
                b"\xc0\x80SELECT 1".to_vec(),
                b"\xef\xbb\xbfSELECT 1".to_vec(),
                b"SELECT \x01".to_vec(),
                b"SELECT \\".to_vec(),
                b"SELECT E'\\".to_vec(),
                b"SELECT $".to_vec(),
                b"SELECT b'".to_vec(),
                b"SELECT U&\"".to_vec(),
            ]
        },
        |plan, target, _| assert_eq!(target, Target::Primary, "{plan:?}"),
    );
}

#[test]
fn every_cut_of_a_write_is_planned() {
    let text = "WITH x AS (DELETE FROM \"t\" WHERE a = E'\\'' RETURNING $q$;$q$) /* c */ SELECT * FROM x -- e\n; COMMIT";
    check(
        move || (0..=text.len()).map(|end| text.as_bytes()[..end].to_vec()).collect(),
        |plan, target, length| {
            // From the word DELETE on nothing makes it a read.
            assert!(length < 18 || target != Target::Replica, "{plan:?}");
        },
    );
}

#[test]
fn untrusted_quotes_make_everything_a_write() {
    let router = Router::new(Dialect::Postgres, Limits::default(), Vec::new());
    let plan = router.plan(b"SELECT 1", Lexing::trusted(false));
    assert_eq!((plan.kind, plan.reason), (Kind::Write, Reason::UntrustedLexing));
}

#[test]
fn a_long_change_is_read_for_its_effects() {
    let router = Router::new(Dialect::Postgres, Limits::default(), Vec::new());
    let plain = repeat("INSERT INTO t VALUES (0)", ", (1)", 60_000, "");
    assert!(plain.len() > Limits::default().text_max);
    assert!(router.plan(&plain, TRUSTED).effects.is_empty());
    let locking = repeat("INSERT INTO t VALUES (0)", ", (1)", 60_000, ", (pg_advisory_lock(1))");
    assert!(router.plan(&locking, TRUSTED).effects.contains(router::Effects::ADVISORY_LOCK));
}
