//! What planning costs, in nanoseconds per text. `cargo bench -p router`; for instructions, run the binary with
//! the number of one text under `valgrind --tool=callgrind` and divide by its rounds.

use std::hint::black_box;
use std::time::Instant;

use router::{Catalog, Context, Dialect, Lexing, Limits, Router};

const ROUNDS: u32 = 20_000;

fn texts() -> Vec<(&'static str, String)> {
    let columns = vec!["\"orders\".\"some_column\" AS t0_r0"; 40].join(", ");
    let list = (0..1000).map(|n| n.to_string()).collect::<Vec<_>>().join(", ");
    vec![
        ("BEGIN", "BEGIN".into()),
        ("point select", "SELECT abalance FROM pgbench_accounts WHERE aid = 12345;".into()),
        ("ORM select", "SELECT \"users\".\"id\", \"users\".\"email\", \"users\".\"name\" FROM \"users\" WHERE \"users\".\"id\" = $1 AND \"users\".\"state\" = 'x' LIMIT 1".into()),
        ("functions", "SELECT lower(a), count(*), date_trunc('day', b), coalesce(c, 0) FROM t WHERE d IN (1, 2) GROUP BY 1".into()),
        ("update", "UPDATE pgbench_accounts SET abalance = abalance + 5 WHERE aid = 12345".into()),
        ("unknown function, remembered", "SELECT some_fn(a) FROM t WHERE id = 5".into()),
        ("1.5 KB, remembered", format!("SELECT {columns} FROM orders")),
        ("list of 1000", format!("SELECT a FROM t WHERE id IN ({list})")),
    ]
}

fn main() {
    let only = std::env::args().nth(1).and_then(|number| number.parse::<usize>().ok());
    let router = Router::new(Dialect::Postgres, Limits::default(), Vec::new());
    let catalog = Catalog::unknown();
    let context = Context { catalog: &catalog, strong: false };
    for (number, (name, text)) in texts().iter().enumerate() {
        if only.is_some_and(|only| only != number) {
            continue;
        }
        let start = Instant::now();
        for _ in 0..ROUNDS {
            let text = black_box(text.as_bytes());
            black_box(router.route(text, Lexing::TRUSTED, &context));
        }
        println!("{number} {name:<30} {:>8} ns", start.elapsed().as_nanos() / u128::from(ROUNDS));
    }
}
