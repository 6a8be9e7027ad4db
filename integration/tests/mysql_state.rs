//! What one client of MariaDB or MySQL does to its session, another never sees: random changes of state, seeded, and
//! a look at everything that a fresh connection can be asked about, on both kinds of server.

use std::collections::BTreeMap;
use std::time::Duration;

use integration::mysql::{Cluster, Make, Session};
use integration::{Config, PASSWORD, Proxy, until};
use mysql_async::ChangeUserOpts;

/// Numbers of this sequence are all that the test's choices depend on.
struct Dice(u64);

impl Dice {
    fn next(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }
}

/// Variables that differ between any two connections or servers, and those by which Splitpool is told of changes.
fn is_own(name: &str) -> bool {
    const OWN: [&str; 22] = [
        "error_count",
        "external_user",
        "gtid_executed",
        "gtid_purged",
        "identity",
        "insert_id",
        "last_gtid",
        "last_insert_id",
        "hostname",
        "port",
        "proxy_user",
        "pseudo_thread_id",
        "rand_seed1",
        "rand_seed2",
        "server_id",
        "server_uuid",
        "server_uid",
        "statement_id",
        "timestamp",
        "warning_count",
        "read_only",
        "in_transaction",
    ];
    OWN.contains(&name)
        || ["session_track", "gtid_", "super_read", "innodb_", "general_log", "slow_query", "datadir", "pid_file"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
        || ["socket", "tmpdir", "log_bin_basename", "log_bin_index", "relay_log_basename", "relay_log_index"]
            .contains(&name)
        // The text of a setting that only a directory differs in.
        || name.ends_with("_dir") || name.ends_with("_file") || name.ends_with("_path") || name.contains("log_error")
        || name.starts_with("ssl_") || name.contains("_key") || name.starts_with("build")
}

/// Everything a client can ask its session about.
fn look(session: &mut Session) -> BTreeMap<String, String> {
    let mut seen = BTreeMap::new();
    for ask in [
        "SELECT @a",
        "SELECT @b",
        "SELECT @c",
        "SELECT unix_timestamp() < 5000",
        "SELECT database()",
        "SELECT last_insert_id()",
        "SELECT found_rows()",
        "SELECT row_count()",
        "SELECT @@warning_count",
        "SELECT @@error_count",
        "SELECT count(*) FROM mine",
        "SELECT count(*) FROM mine_too",
        "EXECUTE named",
        "HANDLER kept READ FIRST",
        "SELECT 'a' = 'A', length('\u{e9}'), \"x\"",
        "SELECT count(*) FROM kept WHERE n = 'x'",
        "SELECT @@session.transaction_isolation IS NULL",
        "SELECT @@session.tx_isolation IS NULL",
    ] {
        let reply = session.query(ask);
        let rows: Vec<String> =
            reply.rows.iter().flatten().map(|cell| cell.clone().unwrap_or("NULL".into())).collect();
        seen.insert(ask.to_owned(), format!("{rows:?} {}", reply.code()));
    }
    let lasting = session.query("INSERT INTO counted (v) SELECT 1 FROM counted WHERE v = -1").ok().affected;
    seen.insert("INSERT".to_owned(), lasting.to_string());
    // MariaDB forgets what it has warned of at the next statement that uses a table.
    let warned = session.query("SHOW WARNINGS").ok().rows.len();
    seen.insert("SHOW WARNINGS".to_owned(), warned.to_string());
    for row in session.query("SHOW SESSION VARIABLES").ok().rows {
        let [Some(name), value] = row.as_slice() else { continue };
        if !is_own(name) {
            seen.insert(name.clone(), value.clone().unwrap_or_default());
        }
    }
    seen
}

const ACTIONS: [&str; 71] = [
    "SET @a = 5",
    "SET @b := 'text', @c = NULL",
    "SELECT 7 INTO @a",
    "SELECT @b := 9",
    "SET time_zone = '+05:00'",
    "SET sql_mode = 'ANSI_QUOTES'",
    "SET sql_mode = 'NO_BACKSLASH_ESCAPES'",
    "SET sql_mode = CONCAT(@@sql_mode, ',PIPES_AS_CONCAT')",
    "SET NAMES latin1",
    "SET NAMES utf8mb4 COLLATE utf8mb4_bin",
    "SET character_set_results = NULL",
    "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE",
    "SET TRANSACTION ISOLATION LEVEL READ COMMITTED",
    "SET TRANSACTION READ ONLY",
    "SET SESSION TRANSACTION READ ONLY",
    "SET autocommit = 0",
    "BEGIN",
    "INSERT INTO counted (v) VALUES (1)",
    "UPDATE counted SET v = v WHERE id = 1",
    "CREATE TEMPORARY TABLE mine (n int)",
    "/* first */ CREATE TEMPORARY TABLE mine_too SELECT 1 AS n",
    "CALL leaves()",
    "LOCK TABLES kept READ, counted WRITE",
    "UNLOCK TABLES",
    "DO get_lock('mine', 1)",
    "PREPARE named FROM 'SELECT 1'",
    "HANDLER kept OPEN",
    "DROP TABLE IF EXISTS nowhere",
    "SELECT nothing",
    "SELECT 1/0, 'x' + 1",
    "SET sql_select_limit = 1",
    "SET SESSION max_error_count = 3, group_concat_max_len = 100",
    "SET foreign_key_checks = 0, unique_checks = 0",
    "SET lc_time_names = 'de_DE'",
    "USE other_schema",
    "SET timestamp = 1000",
    "SET last_insert_id = 77, insert_id = 99",
    "SET sql_safe_updates = 1",
    "SELECT SQL_CALC_FOUND_ROWS 1 UNION SELECT 2 LIMIT 1",
    "SET default_storage_engine = 'MyISAM'",
    // What ends what others began, and what hides what it does.
    "DROP TEMPORARY TABLE IF EXISTS mine",
    "DROP TABLE IF EXISTS mine, mine_too",
    "ALTER TABLE mine RENAME TO mine_too",
    "DO release_lock('mine')",
    "DO get_lock(concat('mi', 'ne'), 1)",
    "SELECT release_all_locks()",
    "DEALLOCATE PREPARE named",
    "PREPARE named FROM 'SELECT 7 INTO @a'",
    "PREPARE named FROM 'CREATE TEMPORARY TABLE mine (n int)'",
    "EXECUTE named",
    "HANDLER kept CLOSE",
    "SET @a = repeat('x', 600), @b = 1.50, @c = CONVERT('x' USING latin1)",
    "SET @a = NULL, @b = NULL",
    "INSERT INTO fires VALUES (1)",
    "INSERT INTO fires SELECT @a := 3",
    "SELECT concat(row_count(), found_rows())",
    "FLUSH TABLES",
    // What no text tells: only the sources of what is called, fired and read do.
    "SELECT takes()",
    "UPDATE counted SET v = v WHERE id = 1 AND takes() = 1",
    "CALL takes_too()",
    "CALL hides()",
    "INSERT INTO locked VALUES (1)",
    "SELECT got FROM locking",
    "INSERT INTO chosen VALUES (2)",
    "INSERT INTO app.`chosen` SELECT chooses()",
    "INSERT INTO tabled VALUES (1)",
    "CALL tidy()",
    // What is over by itself, or when it is said.
    "SET timestamp = DEFAULT",
    "SET insert_id = 4711",
    "SET rand_seed1 = 1, rand_seed2 = 2",
    "SET timestamp = unix_timestamp()",
];

fn nothing_leaks(make: Make, seed: u64) {
    let cluster = Cluster::start(make, 1);
    cluster.primary.sql("CREATE DATABASE other_schema").ok();
    cluster.primary.sql("GRANT ALL ON other_schema.* TO app@'%'").ok();
    cluster.prepare(
        "CREATE TABLE counted (id int auto_increment primary key, v int); INSERT INTO counted (v) VALUES (0); \
         CREATE TABLE kept (n varchar(10)); INSERT INTO kept VALUES ('X'); CREATE TABLE fires (n int)",
    );
    cluster
        .primary
        .sql("CREATE TRIGGER app.sets BEFORE INSERT ON app.fires FOR EACH ROW SET @b = NEW.n")
        .ok();
    cluster
        .primary
        .sql("CREATE PROCEDURE app.leaves() BEGIN CREATE TEMPORARY TABLE IF NOT EXISTS app.mine (n int); SET @c = 3; SET time_zone = '+02:00'; END")
        .ok();
    for made in [
        "CREATE TABLE locked (n int)",
        "CREATE TABLE chosen (n int)",
        "CREATE TABLE tabled (n int)",
        "CREATE FUNCTION takes() RETURNS int READS SQL DATA RETURN get_lock('mine', 1)",
        "CREATE FUNCTION chooses() RETURNS int READS SQL DATA BEGIN SELECT 4 INTO @b; RETURN 4; END",
        "CREATE PROCEDURE takes_too() SET @c = takes()",
        "CREATE PROCEDURE hides() BEGIN PREPARE named FROM 'DO get_lock(''mine'', 1)'; EXECUTE named; END",
        "CREATE PROCEDURE tidy() BEGIN CREATE TEMPORARY TABLE mine_too (n int); DROP TEMPORARY TABLE mine_too; END",
        "CREATE TRIGGER locks_by BEFORE INSERT ON locked FOR EACH ROW DO get_lock('mine', NEW.n)",
        "CREATE TRIGGER chooses_by BEFORE INSERT ON chosen FOR EACH ROW SELECT NEW.n INTO @a",
        "CREATE TRIGGER tables_by BEFORE INSERT ON tabled FOR EACH ROW \
            CREATE TEMPORARY TABLE IF NOT EXISTS app.mine (n int)",
        "CREATE VIEW locking AS SELECT get_lock('mine', 1) AS got",
    ] {
        cluster.primary.sql(made).ok();
    }
    cluster.settle();
    let fresh = |port: u16| Session::login(port, "app", PASSWORD, "app");
    let clean = look(&mut fresh(cluster.primary.port()).expect("a sign-in"));
    let proxy = Proxy::start(
        Config::of_mysql(&cluster)
            .raw("pool_size", "2")
            .text("max_lag", "60s")
            // Who may read what routines and triggers do.
            .text("probe_user", "admin"),
    );
    until("clients are served", Duration::from_secs(60), || {
        let mut session = fresh(proxy.port()).ok()?;
        session.try_query("BEGIN").ok().filter(|reply| reply.error.is_none())
    });
    let mut dice = Dice(seed);
    for round in 0..60 {
        let mut one = fresh(proxy.port()).expect("a sign-in");
        let mut done = Vec::new();
        for _ in 0..=dice.next(4) {
            let action = ACTIONS[dice.next(ACTIONS.len())];
            done.push(action);
            // Many can be prepared as well; those that cannot say so.
            if dice.next(2) == 0 || one.try_execute(action, &[]).is_err() {
                one.query(action);
            }
        }
        let mut end = ["goes", "resets", "changes the user", "stays"][dice.next(4)];
        // What it has locked would make others wait.
        if done.iter().any(|action| ["BEGIN", "LOCK", "autocommit"].iter().any(|word| action.contains(word)))
        {
            end = end.strip_prefix("stays").map_or(end, |_| "goes");
        }
        done.push(end);
        let stays = end == "stays";
        let mut stayed = None;
        let mut next = match end {
            "goes" => {
                drop(one);
                fresh(proxy.port()).expect("a sign-in")
            }
            "stays" => {
                stayed = Some(one);
                fresh(proxy.port()).expect("a sign-in")
            }
            "resets" => {
                assert!(one.with_driver(async |conn| conn.reset().await).expect("a reset"));
                one
            }
            _ => {
                one.with_driver(async |conn| conn.change_user(ChangeUserOpts::default()).await)
                    .expect("a change");
                one
            }
        };
        // As it is served between transactions, then on the primary alone.
        for place in ["outside", "inside"] {
            if place == "inside" {
                next.query("BEGIN").ok();
            }
            let seen = look(&mut next);
            let differs = |(name, value): (&String, &String)| {
                let now = seen.get(name).map(String::as_str).unwrap_or_default();
                (now != value).then(|| format!("{name}: {now} instead of {value}"))
            };
            let differences: Vec<String> = clean.iter().filter_map(differs).collect();
            assert!(
                differences.is_empty(),
                "seed {seed}, round {round}, {place}: {done:?} left {differences:#?}"
            );
        }
        next.query("COMMIT").ok();
        let free = next.value("SELECT is_free_lock('mine')");
        drop(stayed);
        assert!(stays || free == "1", "seed {seed}, round {round}: {done:?} left the lock");
    }
}

/// `SPLITPOOL_SEED` repeats a run, or tries another.
fn seed(usual: u64) -> u64 {
    std::env::var("SPLITPOOL_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(usual)
}

#[test]
fn mariadb_nothing_leaks() {
    nothing_leaks(Make::MariaDb, seed(20_261_121));
}

#[test]
fn mysql_nothing_leaks() {
    nothing_leaks(Make::MySql, seed(20_261_122));
}
