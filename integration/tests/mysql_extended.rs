//! MariaDB's own abilities that are not of the parameters: what a type is beyond the protocol's, and reports of how
//! far a statement is.

use std::time::Duration;

use integration::mysql::wire::{Outcome, Wire, cap};
use integration::mysql::{Cluster, Make};
use integration::{Config, Proxy, until};

const PATIENCE: Duration = Duration::from_secs(60);
const ASKED: u64 = cap::PROGRESS | cap::EXTENDED_METADATA | cap::CACHE_METADATA;

struct Stage {
    cluster: Cluster,
    proxy: Proxy,
}

fn stage(make: Make) -> Stage {
    let cluster = Cluster::start(make, 1);
    let proxy = Proxy::start(Config::of_mysql(&cluster).raw("pool_size", "3").text("max_lag", "60s"));
    let stage = Stage { cluster, proxy };
    until("both serve", PATIENCE, || {
        let mut wire = Wire::login(stage.proxy.port(), cap::CONNECT_WITH_DB, 45).ok()?;
        (wire.query("BEGIN").code() == 0).then_some(())?;
        wire.query("COMMIT");
        (wire.query("SELECT @@port").value() != stage.cluster.primary.port().to_string()).then_some(())
    });
    stage
}

impl Stage {
    fn wire(&self, abilities: u64) -> Wire {
        Wire::login(self.proxy.port(), abilities | cap::CONNECT_WITH_DB, 45).expect("a sign-in")
    }

    fn direct(&self, abilities: u64) -> Wire {
        let port = self.cluster.primary.port();
        Wire::login(port, abilities | cap::CONNECT_WITH_DB, 45).expect("a sign-in")
    }
}

#[test]
fn types_beyond_the_protocols() {
    let stage = stage(Make::MariaDb);
    stage.cluster.prepare(
        "CREATE TABLE odd (id int PRIMARY KEY, j json, u uuid, i inet6, p point);
         INSERT INTO odd VALUES (1, '{}', uuid(), '::1', point(1, 2))",
    );
    let all = "SELECT * FROM odd WHERE id < 5";
    let told = |outcome: &Outcome| {
        let types: Vec<&str> = outcome.types.iter().map(String::as_str).collect();
        assert_eq!(outcome.rows.len(), 1, "{outcome:?}");
        let holds = |at: usize, word: &str| types.get(at).is_some_and(|text| text.contains(word));
        assert!(types[0].is_empty() && holds(1, "json") && holds(2, "uuid"), "{types:?}");
        assert!(holds(3, "inet6") && holds(4, "point"), "{types:?}");
    };
    for eof in [0, cap::DEPRECATE_EOF] {
        let abilities = cap::EXTENDED_METADATA | eof;
        let (mut wire, mut direct) = (stage.wire(abilities), stage.direct(abilities));
        assert!(wire.abilities & cap::EXTENDED_METADATA != 0);
        told(&wire.query(all));
        assert_eq!(wire.query(all).types, direct.query(all).types);
        let statement = wire.prepare(all).expect("a preparation");
        // What the proxy itself asks such a backend is understood: settings that it carries, warnings that it keeps.
        wire.query("SET time_zone = '+03:00', @mine = 'kept'");
        for begin in ["BEGIN", "COMMIT"] {
            wire.query(begin);
            told(&wire.execute(statement, false, &[]).expect("an answer"));
            let set = wire.query("SELECT @@time_zone, @mine");
            assert_eq!(set.cells(0), ["+03:00", "kept"].map(|text| Some(text.to_owned())), "{set:?}");
        }
        wire.query("DROP TABLE IF EXISTS never_there");
        let warned = wire.query("SHOW WARNINGS");
        assert_eq!(warned.cells(0).get(1), Some(&Some("1051".to_owned())), "{warned:?}");
        // So is what it answers by itself.
        wire.query("SELECT nothing");
        let failed = wire.query("SHOW WARNINGS");
        assert_eq!(failed.cells(0).get(1), Some(&Some("1054".to_owned())), "{failed:?}");
        assert_eq!(failed.types, ["", "", ""]);
        wire.query("UPDATE odd SET id = id + 1");
        assert_eq!(wire.query("SELECT ROW_COUNT()").value(), "1");
        // Who did not ask is not told.
        let plain = stage.wire(eof).query(all);
        assert_eq!((plain.rows.len(), plain.types.len()), (1, 0), "{plain:?}");
    }
}

#[test]
fn progress_is_no_error() {
    let stage = stage(Make::MariaDb);
    stage.cluster.prepare(
        "CREATE TABLE grown (id int PRIMARY KEY, v int); INSERT INTO grown SELECT seq, 5 FROM seq_1_to_2000",
    );
    let rebuild = "ALTER TABLE grown FORCE, ALGORITHM=COPY";
    for eof in [0, cap::DEPRECATE_EOF] {
        let mut wire = stage.wire(cap::PROGRESS | cap::MULTI_STATEMENTS | eof);
        let mut direct = stage.direct(cap::PROGRESS | eof);
        assert!(!direct.query(rebuild).progress.is_empty(), "this statement does not report");
        let mark = stage.cluster.mark();
        let altered = wire.query(&format!("{rebuild} /* in text */"));
        assert!(altered.code() == 0 && !altered.progress.is_empty(), "{altered:?}");
        // The code that no error has, how many texts follow, the stage and of how many.
        assert_eq!(altered.progress[0][..4], [0xff, 0xff, 0xff, 1], "{altered:?}");
        let statement = wire.prepare(rebuild).expect("a preparation");
        let altered = wire.execute(statement, false, &[]).expect("an answer");
        assert!(altered.code() == 0 && !altered.progress.is_empty(), "{altered:?}");
        // Among others, and in front of rows.
        let sql = format!("SELECT 1; {rebuild}; OPTIMIZE TABLE grown; SELECT 2");
        wire.command(3, sql.as_bytes()).expect("sent");
        let results = wire.results().expect("results");
        assert_eq!(results.len(), 4, "{results:?}");
        assert_eq!((results[0].value().as_str(), results[3].value().as_str()), ("1", "2"));
        assert!(!results[1].progress.is_empty() && !results[2].rows.is_empty(), "{results:?}");
        // An error behind a report is one, and is told once.
        let failed = wire.query("ALTER TABLE grown ADD UNIQUE one (v), ALGORITHM=COPY /* refused */");
        assert!(failed.code() == 1062 && !failed.progress.is_empty(), "{failed:?}");
        assert_eq!(wire.query("SHOW WARNINGS").cells(0)[1].as_deref(), Some("1062"));
        assert_eq!(wire.query("SELECT count(*) FROM grown").value(), "2000");
        for tag in ["in text", "refused"] {
            assert_eq!(stage.cluster.servers_that_ran(tag, &mark), ["primary"], "{tag}");
            assert_eq!(stage.cluster.primary.log_since(0).matches(tag).count(), 1 + usize::from(eof != 0));
        }
        // Who did not ask hears nothing but the end.
        let mut plain = stage.wire(eof);
        assert_eq!(plain.query(rebuild).code(), 0);
        assert_eq!(plain.query("SELECT 3").value(), "3");
    }
}

#[test]
fn what_cannot_be_shared_is_not_agreed_on() {
    // Definitions of columns that are left out because the connection has sent them, to whomever.
    let stage = stage(Make::MariaDb);
    assert!(stage.direct(ASKED).abilities & cap::CACHE_METADATA != 0, "the database would");
    let wire = stage.wire(ASKED);
    assert_eq!(wire.abilities & ASKED, cap::PROGRESS | cap::EXTENDED_METADATA);
}

#[test]
fn where_databases_have_no_such_abilities_none_are_agreed_on() {
    let stage = stage(Make::MySql);
    let mut wire = stage.wire(ASKED);
    assert_eq!(wire.abilities & ASKED, 0);
    assert_eq!(wire.query("ALTER TABLE mysql.none FORCE").code(), 1142);
    assert_eq!(wire.query("SELECT 7").value(), "7");
}
