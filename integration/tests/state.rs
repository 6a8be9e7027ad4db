//! Random changes of a session's state: whoever made them sees what a session of its own would show,
//! and whoever comes next on the same backend sees what a fresh connection shows.
//!
//! A client works through the proxy; its twin does the same on a connection straight to the primary, in a
//! database of its own. `SPLITPOOL_SEED` repeats one seed, `SPLITPOOL_SEEDS` says how many are tried.

use std::fmt::Write as _;
use std::time::Duration;

use integration::{Login, Stage, Wire, frame, until};

/// Everything a session can see of itself, a line each.
const DUMP: &str = "SELECT string_agg(line, E'\\n' ORDER BY line) FROM ( \
    SELECT 'setting ' || name || '=' || setting FROM pg_settings WHERE name NOT IN ('transaction_isolation', 'transaction_read_only', \
        'transaction_deferrable', 'cluster_name', 'in_hot_standby', 'port')\
    AND name NOT LIKE 'plpgsql.%' \
    UNION ALL SELECT 'user ' || current_user || ' ' || session_user || ' ' || current_setting('role') \
    UNION ALL SELECT 'custom ' || name || '=' || current_setting(name, true) FROM unnest(ARRAY['app.a', 'app.b', 'app.bound', 'app.hidden', \
        'app.made7', 'app.made8', 'app.done', 'app.trigger', 'app.default', 'app.nested', 'app.called', 'app.start', 'app.cascade', 'app.view', 'app.checked']) AS n(name) \
        WHERE coalesce(current_setting(name, true), '') <> '' \
    UNION ALL SELECT 'prepared ' || name || ' ' || statement FROM pg_prepared_statements WHERE from_sql \
    UNION ALL SELECT 'cursor ' || name || ' ' || is_holdable FROM pg_cursors WHERE is_holdable \
    UNION ALL SELECT 'channel ' || channel FROM pg_listening_channels() AS c(channel) \
    UNION ALL SELECT 'lock ' || classid || ' ' || objid || ' ' || objsubid || ' ' || mode FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory' \
    UNION ALL SELECT 'temporary ' || relname FROM pg_class WHERE relnamespace = pg_my_temp_schema() AND relkind = 'r' \
    ) AS lines(line)";

/// What can change a session behind the text of a statement.
const OBJECTS: &str = "
    CREATE TABLE plain (id int);
    CREATE FUNCTION hidden() RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM set_config('app.hidden', 'yes', false); RETURN 1; END $$;
    CREATE FUNCTION made(n int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM set_config('app.ma' || 'de' || n, 'yes', false); RETURN 1; END $$;
    CREATE FUNCTION given(name text, value text) RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM set_config(name, value, false); RETURN 1; END $$;
    CREATE FUNCTION nested() RETURNS int LANGUAGE sql AS $$ SELECT given('app.nested', 'yes') $$;
    CREATE FUNCTION by_set() RETURNS int LANGUAGE plpgsql AS $$ BEGIN SET work_mem = '11MB'; RETURN 1; END $$;
    CREATE FUNCTION temporary() RETURNS int LANGUAGE plpgsql AS $$ BEGIN CREATE TEMP TABLE IF NOT EXISTS made_inside (n int); RETURN 1; END $$;
    CREATE FUNCTION dropped() RETURNS int LANGUAGE plpgsql AS $$ BEGIN CREATE TEMP TABLE IF NOT EXISTS gone_at_commit (n int) ON COMMIT DROP; RETURN 1; END $$;
    CREATE FUNCTION locked(k int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_lock(k); RETURN 1; END $$;
    CREATE FUNCTION unlocked(k int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_unlock(k); RETURN 1; END $$;
    CREATE PROCEDURE called() LANGUAGE plpgsql AS $$ BEGIN PERFORM set_config('app.called', 'yes', false); END $$;
    CREATE FUNCTION on_write() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM set_config('app.trigger', 'yes', false); RETURN NEW; END $$;
    CREATE TABLE triggered (id int);
    CREATE TRIGGER t BEFORE INSERT ON triggered FOR EACH ROW EXECUTE FUNCTION on_write();
    CREATE FUNCTION default_value() RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM set_config('app.default', 'yes', false); RETURN 1; END $$;
    CREATE TABLE defaulted (id int DEFAULT default_value(), n int);
    CREATE FUNCTION pass_on() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO defaulted (n) VALUES (1); RETURN NULL; END $$;
    CREATE TABLE passing (id int);
    CREATE TRIGGER t AFTER INSERT ON passing FOR EACH ROW EXECUTE FUNCTION pass_on();
    CREATE FUNCTION on_delete() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM set_config('app.cascade', 'yes', false); RETURN OLD; END $$;
    CREATE TABLE parent (id int PRIMARY KEY);
    CREATE TABLE child (id int REFERENCES parent ON DELETE CASCADE);
    CREATE TRIGGER t AFTER DELETE ON child FOR EACH ROW EXECUTE FUNCTION on_delete();
    INSERT INTO parent SELECT generate_series(1, 100); INSERT INTO child SELECT generate_series(1, 100);
    CREATE FUNCTION looked() RETURNS text LANGUAGE sql VOLATILE AS $$ SELECT set_config('app.view', 'yes', false) $$;
    CREATE VIEW seen AS SELECT looked() AS x;
    CREATE FUNCTION is_right(n int) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM set_config('app.checked', 'yes', false); RETURN true; END $$;
    CREATE TABLE checked (n int CHECK (is_right(n)));
    CREATE TABLE parted (n int) PARTITION BY LIST (n);
    CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1);
    CREATE TRIGGER t BEFORE INSERT ON parted_1 FOR EACH ROW EXECUTE FUNCTION on_write();
    CREATE FUNCTION harmless() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN UPDATE plain SET id = 1 WHERE id = -1; NEW.id := NEW.id + 1; RETURN NEW; END $$;
    CREATE TABLE stamped (id int);
    CREATE TRIGGER t BEFORE INSERT ON stamped FOR EACH ROW EXECUTE FUNCTION harmless();
    GRANT ALL ON ALL TABLES IN SCHEMA public TO app, other;
";

/// One change: the simple protocol, or the extended one with parameters.
type Change = (&'static str, &'static [&'static str]);

const CHANGES: &[Change] = &[
    ("SET work_mem = '5MB'", &[]),
    ("SET SESSION work_mem TO '6MB'", &[]),
    ("SET LOCAL work_mem = '7MB'", &[]),
    ("RESET work_mem", &[]),
    ("SET work_mem = DEFAULT", &[]),
    ("SET work_mem = 'nonsense'", &[]),
    ("SET search_path = public, pg_catalog", &[]),
    ("SET search_path TO ''", &[]),
    ("RESET search_path", &[]),
    ("SET TIME ZONE 'Asia/Tokyo'", &[]),
    ("SET TIME ZONE INTERVAL '+02:30' HOUR TO MINUTE", &[]),
    ("SET DateStyle = 'German, YMD'", &[]),
    ("SET IntervalStyle = iso_8601", &[]),
    ("SET client_encoding = 'LATIN1'", &[]),
    ("SET NAMES 'UTF8'", &[]),
    ("SET bytea_output = 'escape'", &[]),
    ("SET extra_float_digits = 0", &[]),
    ("SET statement_timeout = '77s'", &[]),
    ("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ", &[]),
    ("SET default_transaction_read_only = on", &[]),
    ("SET default_transaction_read_only = off", &[]),
    ("SET enable_seqscan = off; SET enable_hashjoin = off", &[]),
    ("SET application_name = 'changing'", &[]),
    ("SET app.a = 'one'", &[]),
    ("SET app.a = 'it''s \"two\" \\ {3}'", &[]),
    ("SET app.a = 'zwölf'", &[]),
    ("SET LOCAL app.b = 'local'", &[]),
    ("RESET app.a", &[]),
    ("RESET ALL", &[]),
    ("DISCARD ALL", &[]),
    ("DISCARD PLANS", &[]),
    ("DISCARD TEMP", &[]),
    ("SELECT set_config('app.b', 'three', false)", &[]),
    ("SELECT set_config('app.b', 'four', true)", &[]),
    ("SELECT set_config('work_mem', $1, false)", &["9MB"]),
    ("SELECT set_config($1, $2, false)", &["app.bound", "yes"]),
    ("SELECT set_config($1, $2, $3::bool)", &["app.bound", "maybe", "true"]),
    ("SELECT set_config(name, '12MB', false) FROM (VALUES ('work_mem')) AS v(name)", &[]),
    ("UPDATE pg_settings SET setting = '13MB' WHERE name = 'work_mem'", &[]),
    ("SET ROLE other", &[]),
    ("SET LOCAL ROLE other", &[]),
    ("SET ROLE NONE", &[]),
    ("RESET ROLE", &[]),
    ("SET SESSION AUTHORIZATION other", &[]),
    ("SET SESSION AUTHORIZATION DEFAULT", &[]),
    ("SELECT hidden()", &[]),
    ("SELECT made(7)", &[]),
    ("SELECT made($1::int)", &["8"]),
    ("SELECT given('app.a', 'five')", &[]),
    ("SELECT given($1, $2)", &["app.a", "six"]),
    ("SELECT nested()", &[]),
    ("SELECT by_set()", &[]),
    ("SELECT temporary()", &[]),
    ("SELECT dropped()", &[]),
    ("SELECT locked(31)", &[]),
    ("SELECT unlocked(31)", &[]),
    ("CALL called()", &[]),
    ("DO $$ BEGIN PERFORM set_config('app.done', 'yes', false); END $$", &[]),
    ("DO 'BEGIN SET work_mem = ''14MB''; PERFORM pg_advisory_lock(32); END'", &[]),
    ("DO $x$ BEGIN EXECUTE 'CREATE TEMP TABLE IF NOT EXISTS by_do (n int)'; END $x$", &[]),
    ("INSERT INTO triggered VALUES (1)", &[]),
    ("INSERT INTO triggered VALUES ($1::int)", &["1"]),
    ("INSERT INTO defaulted (n) VALUES (1)", &[]),
    ("INSERT INTO passing VALUES (1)", &[]),
    ("DELETE FROM parent WHERE id = (SELECT min(id) FROM parent)", &[]),
    ("SELECT x FROM seen", &[]),
    ("INSERT INTO checked VALUES (1)", &[]),
    ("INSERT INTO parted VALUES (1)", &[]),
    ("INSERT INTO stamped VALUES (1)", &[]),
    ("COPY triggered (id) FROM PROGRAM 'true'", &[]),
    ("CREATE TEMP TABLE mine (n int)", &[]),
    ("CREATE TEMP TABLE gone (n int) ON COMMIT DROP", &[]),
    ("CREATE TEMP TABLE one_more AS SELECT 1 AS n", &[]),
    ("SELECT 1 AS n INTO TEMP into_temp", &[]),
    ("CREATE TABLE pg_temp.qualified (n int)", &[]),
    ("DROP TABLE IF EXISTS mine, one_more, into_temp, pg_temp.qualified, by_do, made_inside", &[]),
    ("DECLARE held CURSOR WITH HOLD FOR SELECT generate_series(1, 5)", &[]),
    ("CLOSE held", &[]),
    ("CLOSE ALL", &[]),
    ("LISTEN news", &[]),
    ("LISTEN more_news", &[]),
    ("UNLISTEN news", &[]),
    ("UNLISTEN *", &[]),
    ("SELECT pg_advisory_lock(1)", &[]),
    ("SELECT pg_advisory_lock(hashtext('key')::int, 2)", &[]),
    ("SELECT pg_catalog.pg_try_advisory_lock_shared($1::bigint)", &["3"]),
    ("SELECT pg_advisory_xact_lock(4)", &[]),
    ("SELECT pg_advisory_unlock(1)", &[]),
    ("SELECT pg_advisory_unlock(hashtext('key')::int, 2)", &[]),
    ("SELECT pg_advisory_unlock_all()", &[]),
    ("PREPARE p AS SELECT 1", &[]),
    ("PREPARE q(int) AS SELECT $1", &[]),
    ("EXECUTE p", &[]),
    ("DEALLOCATE p", &[]),
    ("DEALLOCATE ALL", &[]),
    ("SELECT 1", &[]),
    ("SELECT 1/0", &[]),
];

const TRANSACTION: &[&str] = &[
    "BEGIN",
    "BEGIN",
    "BEGIN",
    "START TRANSACTION READ ONLY",
    "COMMIT",
    "COMMIT",
    "ROLLBACK",
    "SAVEPOINT s",
    "ROLLBACK TO s",
    "RELEASE s",
    "COMMIT AND CHAIN",
];

/// Numbers that look random and are the same for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).expect("below a usize")
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}

fn stage() -> Stage {
    let stage = Stage::new(1, |config| {
        let mut config = config
            .raw("pool_size", "2")
            .text("query_wait_timeout", "20s")
            .text("max_lag", "60s")
            .text("catalog_refresh", "1s");
        config.extra.push_str("\n[databases.twin]\ncluster = \"main\"\n");
        config
    });
    stage.cluster.primary.sql("GRANT other TO app").ok();
    stage.cluster.primary.admin_of("postgres").query("CREATE DATABASE twin OWNER app").ok();
    stage
        .cluster
        .primary
        .admin_of("twin")
        .query("CREATE EXTENSION pg_stat_statements; GRANT ALL ON SCHEMA public TO app, other")
        .ok();
    for database in ["app", "twin"] {
        let mut admin = stage.cluster.primary.admin_of(database);
        admin.query("SET ROLE app").ok();
        admin.query(OBJECTS).ok();
        admin.query("RESET ROLE").ok();
    }
    stage.cluster.settle();
    until("the proxy has read what the functions do", Duration::from_secs(60), || {
        let mut wire = stage.proxy.session();
        wire.query("SELECT hidden()").ok();
        (wire.value("SELECT current_setting('app.hidden', true)") == "yes").then_some(())
    });
    stage
}

fn straight(stage: &Stage, database: &str) -> Login {
    Login::new(stage.cluster.primary.port(), "app", integration::PASSWORD, database)
}

fn run(wire: &mut Wire, (sql, parameters): Change) -> String {
    let reply = if parameters.is_empty() { wire.try_query(sql) } else { wire.try_execute(sql, parameters) };
    match reply {
        Ok(reply) => format!("{} {:?} {}", reply.code(), reply.rows, char::from(reply.status)),
        Err(error) => format!("lost: {error}"),
    }
}

/// What the session sees, always asked in the same way: in a transaction of its own unless one is open.
fn dump(wire: &mut Wire, open: bool) -> String {
    let begin = "BEGIN TRANSACTION READ WRITE";
    if !open {
        wire.query(begin).ok();
    }
    let seen = wire.query(DUMP);
    let text =
        seen.error.as_ref().map_or_else(|| seen.rows[0][0].clone().unwrap_or_default(), ToString::to_string);
    if !open {
        wire.query("ROLLBACK").ok();
    }
    text
}

fn differences(have: &str, wanted: &str) -> String {
    let mut out = String::new();
    for line in have.lines().filter(|line| !wanted.lines().any(|other| other == *line)) {
        let _ = writeln!(out, "  has   {line}");
    }
    for line in wanted.lines().filter(|line| !have.lines().any(|other| other == *line)) {
        let _ = writeln!(out, "  lacks {line}");
    }
    out
}

/// One seed: a client and its twin, then whoever comes after it. Returns what was wrong.
fn try_seed(stage: &Stage, seed: u64, fresh: &str) -> Option<String> {
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let options: &[(&str, &str)] = match random.below(4) {
        0 => &[("options", "-c work_mem=3MB -c app.start=here")],
        1 => &[("TimeZone", "Europe/Paris"), ("DateStyle", "SQL, DMY")],
        _ => &[],
    };
    let with = |mut login: Login| {
        for (name, value) in options {
            login = login.with(name, value);
        }
        login
    };
    let mut client = Wire::login(&with(stage.proxy.login())).expect("the proxy lets it in");
    let mut twin = Wire::login(&with(straight(stage, "twin"))).expect("the database lets it in");
    let mut done = format!("seed {seed} with {options:?}\n");
    let mut status = b'I';
    for _ in 0..random.below(25) + 5 {
        let change =
            if random.below(4) == 0 { (random.pick(TRANSACTION), &[][..]) } else { random.pick(CHANGES) };
        let (one, two) = (run(&mut client, change), run(&mut twin, change));
        let _ = writeln!(done, "  {change:?} -> {one}");
        if one != two {
            return Some(format!("{done}the database answers {two}"));
        }
        status = one.bytes().last().unwrap_or(b'I');
        if status == b'E' {
            continue;
        }
        if random.below(3) == 0 {
            let (one, two) = (dump(&mut client, status == b'T'), dump(&mut twin, status == b'T'));
            let wrong = differences(&one, &two);
            if !wrong.is_empty() {
                return Some(format!("{done}its own state:\n{wrong}"));
            }
        }
    }
    if status != b'I' {
        let end = random.pick(&["COMMIT", "ROLLBACK"]);
        let _ = writeln!(done, "  {end}");
        client.query(end);
        twin.query(end);
    }
    let wrong = differences(&dump(&mut client, false), &dump(&mut twin, false));
    if !wrong.is_empty() {
        return Some(format!("{done}its own state in the end:\n{wrong}"));
    }
    let mut next = stage.proxy.session();
    let wrong = differences(&dump(&mut next, false), fresh);
    if !wrong.is_empty() {
        return Some(format!("{done}the next client sees:\n{wrong}"));
    }
    if random.below(2) == 0 {
        client.send(&frame::terminate()).ok();
    }
    drop(client);
    until("the backends are free again", Duration::from_secs(60), || {
        let mut both = [stage.proxy.session(), stage.proxy.session()];
        both.iter_mut().all(|wire| wire.query("BEGIN").error.is_none()).then_some(())
    });
    let mut both = [stage.proxy.session(), stage.proxy.session()];
    both.iter_mut().for_each(|wire| drop(wire.query("BEGIN TRANSACTION READ WRITE").ok()));
    for wire in &mut both {
        let wrong = differences(&dump(wire, true), fresh);
        if !wrong.is_empty() {
            return Some(format!("{done}once it has left, the next client sees:\n{wrong}"));
        }
    }
    None
}

#[test]
fn whatever_a_client_does_stays_its_own() {
    let stage = stage();
    let fresh = dump(&mut Wire::login(&straight(&stage, "app")).expect("the database lets it in"), false);
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds: Vec<u64> = match number("SPLITPOOL_SEED") {
        Some(seed) => vec![seed],
        None => (1..=number("SPLITPOOL_SEEDS").unwrap_or(60)).collect(),
    };
    let wrong: Vec<String> = seeds.iter().filter_map(|seed| try_seed(&stage, *seed, &fresh)).collect();
    assert!(wrong.is_empty(), "{} of {} seeds\n{}", wrong.len(), seeds.len(), wrong.join("\n---\n"));
}
