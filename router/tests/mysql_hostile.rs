//! MySQL's dialect and texts made to hurt: mutations of the corpus, deep and long texts, on a stack of 256 KiB.
//!
//! The generator is deterministic; its seed is printed with a failure, and `ROUTER_SEED` sets another. Time is not
//! measured against a clock but by texts that would never end if reading them were not linear.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::thread;

use fastrand::Rng;
use router::{Catalog, Context, Dialect, Kind, Lexing, Limits, Router, Target};

fn corpus() -> Vec<Vec<u8>> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../integration/tests/routing/mysql_corpus.txt");
    let text = fs::read_to_string(file).expect("the corpus");
    let statement = |line: &str| Some(line.split_once(' ')?.1.as_bytes().to_vec());
    text.lines().filter(|line| line.starts_with(['R', 'P', 'E'])).filter_map(statement).collect()
}

const PIECES: [&str; 24] = [
    "'",
    "\"",
    "`",
    "/*",
    "*/",
    "/*!50000 ",
    "/*!",
    "/*M!",
    "-- ",
    "#",
    "\n",
    "(",
    ")",
    ";",
    "\\",
    "INTO ",
    "FOR UPDATE ",
    "DELETE ",
    " AS ",
    ".",
    "@",
    ":=",
    "f(",
    "\0",
];

const LEXINGS: [Lexing; 3] = [
    Lexing::TRUSTED,
    Lexing { trusted: true, ansi_quotes: true, backslash_escapes: true },
    Lexing { trusted: true, ansi_quotes: false, backslash_escapes: false },
];

fn mutate(random: &mut Rng, text: &mut Vec<u8>, corpus: &[Vec<u8>]) {
    for _ in 0..=random.usize(..4) {
        let at = random.usize(..text.len() + 1);
        match random.usize(..6) {
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
            _ => {
                text.splice(at..at, PIECES[random.usize(..PIECES.len())].bytes());
            }
        }
    }
}

/// Whether the text may run on a replica.
fn is_read(router: &Router, text: &[u8], lexing: Lexing) -> bool {
    let catalog = Catalog::unknown();
    let (plan, route) = router.route(text, lexing, &Context { catalog: &catalog, strong: false });
    assert_eq!(router.plan(text, lexing), plan, "memory must not change a plan");
    assert!(route.target != Target::Replica || matches!(plan.kind, Kind::Read | Kind::Begin { .. }));
    route.target == Target::Replica && !matches!(plan.kind, Kind::Begin { .. })
}

fn check(router: &Router, text: &[u8], lexing: Lexing) {
    let read = is_read(router, text, lexing);
    assert!(!is_read(router, &[b"WITH x AS (SELECT 1) DELETE FROM t; ", text].concat(), lexing), "in front");
    assert!(!is_read(router, &[b"SELECT 1 INTO @a; ", text].concat(), lexing), "in front");
    // If the text is whole, what follows it is a statement; if not, nothing is claimed about it.
    let line = text.rsplit(|byte| *byte == b'\n').next().unwrap_or(text);
    let in_comment = line.contains(&b'#') || line.windows(2).any(|pair| pair == b"--");
    if read && !in_comment {
        assert!(!is_read(router, &[text, b"; DELETE FROM t"].concat(), lexing), "behind");
        assert!(!is_read(router, &[text, b" FOR UPDATE"].concat(), lexing), "locking behind");
        assert!(!is_read(router, &[text, b" /*!50000 INTO OUTFILE 'x' */"].concat(), lexing), "into behind");
    }
}

#[test]
fn no_mutation_makes_a_change_a_read() {
    let seed = std::env::var("ROUTER_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0x5eed);
    let mut random = Rng::with_seed(seed);
    let corpus = corpus();
    assert!(corpus.len() >= 200);
    let router = Router::new(Dialect::Mysql, Limits::default(), Vec::new());
    for round in 0..20_000 {
        let mut text = corpus[random.usize(..corpus.len())].clone();
        mutate(&mut random, &mut text, &corpus);
        let lexing = LEXINGS[random.usize(..LEXINGS.len())];
        let outcome = catch_unwind(AssertUnwindSafe(|| check(&router, &text, lexing)));
        assert!(
            outcome.is_ok(),
            "seed {seed}, round {round}, {lexing:?}: {:?}",
            String::from_utf8_lossy(&text)
        );
    }
}

#[test]
fn deep_and_long_texts_end_and_are_judged() {
    const UNITS: [&str; 18] = [
        "1 + ",
        "(",
        "(SELECT ",
        "f(",
        "a (",
        "a (b, ",
        "'' ",
        "`",
        "/* ",
        "/*!50000 ",
        "/*!50000 1 */ ",
        "-- x\n",
        "# ",
        "SELECT 1; ",
        "@a ",
        "EXPLAIN ",
        "SET STATEMENT a = 1 FOR ",
        "last_insert_id(",
    ];
    let body = || {
        let router = Router::new(Dialect::Mysql, Limits::default(), Vec::new());
        for unit in UNITS {
            for length in [100, 10_000, 255 << 10, 1 << 20, 20 << 20] {
                for head in ["", "SELECT ", "INSERT INTO t VALUES "] {
                    let text = [head, &unit.repeat(length / unit.len())].concat().into_bytes();
                    let read = is_read(&router, &text, Lexing::TRUSTED);
                    assert!(!read || length <= 256 << 10, "{unit} {length}");
                }
            }
        }
    };
    thread::Builder::new().stack_size(256 << 10).spawn(body).expect("a thread").join().expect("no panic");
}
