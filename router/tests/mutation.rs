//! Mutates the texts of the case files and holds the router to what must be true of any text.
//!
//! The generator is deterministic; its seed is printed with a failure, and `ROUTER_SEED` sets another.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use fastrand::Rng;
use router::{Catalog, Context, Dialect, Kind, Lexing, Limits, Router, Target};

fn corpus() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/postgres");
    let mut files: Vec<_> = fs::read_dir(folder)
        .expect("the folder of cases")
        .map(|entry| entry.expect("a file").path())
        .collect();
    files.sort();
    let texts = files.iter().map(|file| fs::read_to_string(file).expect("a file of cases"));
    texts
        .flat_map(|text| {
            let blocks = text.split("\n\n").filter_map(|block| block.trim().rsplit_once("\n--> "));
            let statement = |(body, _): (&str, &str)| {
                body.lines()
                    .filter(|line| !line.starts_with("--:"))
                    .collect::<Vec<_>>()
                    .join("\n")
                    .into_bytes()
            };
            blocks.map(statement).collect::<Vec<_>>()
        })
        .collect()
}

const PIECES: [&str; 24] = [
    "'",
    "\"",
    "$$",
    "/*",
    "*/",
    "--",
    "\n",
    "(",
    ")",
    ";",
    "\\",
    "E'",
    "U&\"",
    "$a$",
    "INTO ",
    "FOR UPDATE ",
    "DELETE ",
    " AS ",
    ".",
    "::",
    "f(",
    "pg_temp",
    "\0",
    "\u{e9}",
];

fn mutate(random: &mut Rng, text: &mut Vec<u8>, corpus: &[Vec<u8>]) {
    for _ in 0..=random.usize(..4) {
        let at = random.usize(..text.len() + 1);
        match random.usize(..8) {
            0 => text.truncate(at),
            1 if !text.is_empty() => {
                text.remove(at.min(text.len() - 1));
            }
            2 if !text.is_empty() => {
                let at = at.min(text.len() - 1);
                text[at] = random.u8(..);
            }
            3 => {
                let other = &corpus[random.usize(..corpus.len())];
                let from = random.usize(..other.len());
                text.splice(at..at, other[from..].iter().copied());
            }
            // Another value of the same shape, or nearly so.
            4 | 5 => {
                let Some(at) = text
                    .iter()
                    .skip(at)
                    .position(|byte| matches!(byte, b'0'..=b'9' | b'\'' | b'"'))
                    .map(|step| step + at)
                else {
                    continue;
                };
                let value: &[u8] = if text[at].is_ascii_digit() { b"40" } else { b" 7'' x\" " };
                let length = random.usize(..value.len() + 1);
                text.splice(at + 1..at + 1, value[..length].iter().copied());
            }
            _ => {
                text.splice(at..at, PIECES[random.usize(..PIECES.len())].bytes());
            }
        }
    }
}

/// Whether the text may run on a replica.
fn is_read(router: &Router, catalog: &Catalog, text: &[u8]) -> bool {
    let plan = router.plan(text, Lexing::TRUSTED);
    let again = router.plan(text, Lexing::TRUSTED);
    assert_eq!(plan, again, "memory must not change a plan");
    let context = Context { catalog, strong: false };
    let route = router.decide(text, &plan, &context);
    // The short cut has seen thousands of texts like this one.
    assert_eq!(router.route(text, Lexing::TRUSTED, &context), (plan.clone(), route));
    assert!(
        route.target != Target::Replica || matches!(plan.kind, Kind::Read | Kind::Copy | Kind::Begin { .. })
    );
    route.target == Target::Replica && !matches!(plan.kind, Kind::Begin { .. })
}

fn check(router: &Router, catalog: &Catalog, text: &[u8]) {
    let read = is_read(router, catalog, text);
    let followed = [text, b"; DELETE FROM t"].concat();
    let wrapped = [b"WITH x AS (DELETE FROM t RETURNING 1) ", text].concat();
    let inner = [b"SELECT * FROM (WITH x AS (UPDATE t SET a = 1 RETURNING 1) ", text, b") y"].concat();
    assert!(!is_read(router, catalog, &wrapped), "DML in front");
    assert!(!is_read(router, catalog, &inner), "DML inside");
    // If the text is whole, what follows it is a statement; if not, nothing is claimed about it.
    if read && !ends_in_comment(text) {
        assert!(!is_read(router, catalog, &followed), "DML behind");
    }
}

/// A line comment at the end swallows what is appended, and rightly so.
fn ends_in_comment(text: &[u8]) -> bool {
    let line = text.rsplit(|byte| matches!(byte, b'\n' | b'\r')).next().unwrap_or(text);
    line.windows(2).any(|pair| pair == b"--")
}

#[test]
fn no_mutation_makes_a_change_a_read() {
    let seed = std::env::var("ROUTER_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0x5eed);
    let mut random = Rng::with_seed(seed);
    let corpus = corpus();
    assert!(corpus.len() >= 220);
    let router = Router::new(Dialect::Postgres, Limits::default(), Vec::new());
    let catalog = Catalog::unknown();
    for round in 0..20_000 {
        let mut text = corpus[random.usize(..corpus.len())].clone();
        mutate(&mut random, &mut text, &corpus);
        let outcome = catch_unwind(AssertUnwindSafe(|| check(&router, &catalog, &text)));
        assert!(outcome.is_ok(), "seed {seed}, round {round}: {:?}", String::from_utf8_lossy(&text));
    }
}
