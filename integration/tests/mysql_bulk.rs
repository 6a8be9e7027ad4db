//! MariaDB's own abilities: a prepared statement for many rows at once, and the one that was prepared last.

use std::time::Duration;

use integration::mysql::wire::{Prepared, Wire, cap};
use integration::mysql::{Cluster, Make};
use integration::{Config, Proxy, until};

const PATIENCE: Duration = Duration::from_secs(60);
const ABILITIES: u64 = cap::CONNECT_WITH_DB | cap::BULK | cap::DEPRECATE_EOF;

fn stage(make: Make) -> (Cluster, Proxy) {
    let cluster = Cluster::start(make, 1);
    for server in cluster.servers() {
        server.set("max_allowed_packet", "67108864");
    }
    let proxy = Proxy::start(Config::of_mysql(&cluster));
    until("it serves", PATIENCE, || {
        let mut wire = Wire::login(proxy.port(), ABILITIES, 45).ok()?;
        (wire.query("BEGIN").code() == 0).then_some(())
    });
    (cluster, proxy)
}

fn rows(from: usize, count: usize, width: usize) -> Vec<Vec<Option<String>>> {
    let text = |n: usize| (!n.is_multiple_of(3)).then(|| "x".repeat(width));
    (from..from + count).map(|n| vec![Some(n.to_string()), text(n)]).collect()
}

#[test]
fn many_rows_at_once() {
    let (cluster, proxy) = stage(Make::MariaDb);
    cluster.prepare("CREATE TABLE bulk (id int PRIMARY KEY, v longtext)");
    let mut wire = Wire::login(proxy.port(), ABILITIES, 45).expect("a sign-in");
    assert!(wire.abilities & cap::BULK != 0);
    let insert = "INSERT INTO bulk VALUES (?, ?) /* in bulk */";
    let statement = wire.prepare(insert).expect("a preparation");
    let mark = cluster.mark();
    let outcome = wire.execute_bulk(statement, &rows(0, 1000, 10), true).expect("an answer");
    assert_eq!((outcome.code(), outcome.affected), (0, 1000), "{outcome:?}");
    assert_eq!(cluster.servers_that_ran("in bulk", &mark), ["primary"]);
    let count = |sql: &str| cluster.primary.value(&format!("SELECT count(*) FROM app.bulk {sql}"));
    assert_eq!((count("").as_str(), count("WHERE v IS NULL").as_str()), ("1000", "334"));
    // Types that were told once go with it to backends that have not seen them.
    let mut others: Vec<Wire> = Vec::new();
    for round in 1..4 {
        let outcome = wire.execute_bulk(statement, &rows(round * 1000, 10, 10), false).expect("an answer");
        assert_eq!((outcome.code(), outcome.affected), (0, 10), "{outcome:?}");
        let mut other = Wire::login(proxy.port(), ABILITIES, 45).expect("a sign-in");
        other.query("BEGIN");
        assert_eq!(other.query("SELECT 1 FROM bulk LIMIT 1").code(), 0);
        others.push(other);
    }
    assert_eq!(count(""), "1030");
    drop(others);
    // Gathered, streamed, and in several packets.
    for (from, width) in [(10_000, 5_000), (20_000, 170_000)] {
        let outcome = wire.execute_bulk(statement, &rows(from, 150, width), true).expect("an answer");
        assert_eq!((outcome.code(), outcome.affected), (0, 150), "{width}: {:?}", outcome.error);
        let long = format!("WHERE id >= {from} AND length(v) = {width}");
        assert_eq!(count(&long), "100");
    }
    // It fails as it does in the database, and the session goes on.
    let outcome = wire.execute_bulk(statement, &rows(0, 5, 10), true).expect("an answer");
    assert_eq!(outcome.code(), 1062, "{outcome:?}");
    let nobody = Prepared { id: 77, ..statement };
    assert_eq!(wire.execute_bulk(nobody, &rows(0, 5, 10), true).expect("an answer").code(), 1243);
    assert_eq!(wire.query("SELECT 7").value(), "7");
    // In a transaction, and rolled back.
    wire.query("BEGIN");
    let outcome = wire.execute_bulk(statement, &rows(50_000, 20, 10), true).expect("an answer");
    assert_eq!(outcome.affected, 20);
    wire.query("ROLLBACK");
    assert_eq!(count("WHERE id >= 50000"), "0");
}

#[test]
fn the_one_prepared_last() {
    let (_cluster, proxy) = stage(Make::MariaDb);
    let mut wire = Wire::login(proxy.port(), ABILITIES, 45).expect("a sign-in");
    let value = |row: &[u8]| String::from_utf8_lossy(&row[3..]).into_owned();
    for text in ["one", "two"] {
        let prepared = wire.prepare(&format!("SELECT concat('{text}', ?)")).expect("a preparation");
        let last = Prepared { id: u32::MAX, ..prepared };
        let outcome = wire.execute(last, false, &[Some("!")]).expect("an answer");
        assert_eq!(outcome.rows.first().map(|row| value(row)), Some(format!("{text}!")), "{outcome:?}");
    }
    // A preparation that failed leaves none.
    assert!(wire.prepare("SELECT nonsense FROM nowhere").is_err());
    let last = Prepared { id: u32::MAX, params: 0, columns: 1 };
    assert_eq!(wire.execute(last, false, &[]).expect("an answer").code(), 1243);
}

#[test]
fn where_databases_have_no_such_abilities_none_are_agreed_on() {
    let (_cluster, proxy) = stage(Make::MySql);
    let mut wire = Wire::login(proxy.port(), ABILITIES, 45).expect("a sign-in");
    assert!(wire.abilities & cap::BULK == 0);
    let statement = wire.prepare("SELECT ?").expect("a preparation");
    assert_eq!(wire.execute_bulk(statement, &rows(0, 1, 1), true).expect("an answer").code(), 1047);
    assert_eq!(wire.query("SELECT 7").value(), "7");
}
