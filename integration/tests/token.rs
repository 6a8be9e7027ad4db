//! A fence that the application carries from one session to another, through two processes before one cluster.

use std::time::Duration;

use integration::mysql::{self, Make, Session};
use integration::{Cluster, Config, PASSWORD, Proxy, Wire, frame, until};

const SCHEMA: &str =
    "CREATE TABLE kv (k int PRIMARY KEY, v int); INSERT INTO kv SELECT n, 0 FROM generate_series(1, 64) n";

/// What a replica shows, and which.
const READ: &str = "SELECT v, current_setting('cluster_name') FROM kv WHERE k = 1";

/// Two processes before one cluster.
struct Pair {
    writes: Proxy,
    reads: Proxy,
    cluster: Cluster,
}

impl Pair {
    fn new(replicas: usize, configure: impl Fn(Config) -> Config) -> Self {
        let cluster = Cluster::start(replicas);
        cluster.prepare(SCHEMA);
        let [writes, reads] = [(), ()].map(|()| {
            let proxy = Proxy::start(configure(Config::of(&cluster)));
            proxy.await_cluster(&cluster);
            proxy
        });
        Self { writes, reads, cluster }
    }
}

fn tokens(config: Config) -> Config {
    config.text("consistency", "token").text("max_lag", "60s")
}

/// Asks for the token by one of the ways there are.
fn ask(wire: &mut Wire, way: usize) -> String {
    match way % 2 {
        0 => wire.value("SHOW splitpool.token"),
        _ => wire.execute("SHOW splitpool.token", &[]).value(),
    }
}

/// Gives it by one of the ways there are.
fn give(wire: &mut Wire, token: &str, way: usize) {
    let set = format!("SET splitpool.token = '{token}'");
    match way % 4 {
        0 => drop(wire.query(&set).ok()),
        1 => drop(wire.execute(&set, &[]).ok()),
        2 => drop(wire.execute("SELECT set_config('splitpool.token', $1, false)", &[token]).ok()),
        _ => ["BEGIN", &set, "COMMIT"].iter().for_each(|sql| drop(wire.execute(sql, &[]).ok())),
    }
}

/// Writes through one process and reads through the other. Returns how many reads missed the write, and how many
/// ran on replicas.
fn pairs(pair: &Pair, count: usize, carried: bool) -> (usize, usize) {
    let (mut writer, mut reader) = (pair.writes.session(), pair.reads.session());
    let (mut misses, mut on_replicas) = (0, 0);
    let offset: usize = writer.value("SELECT v FROM kv WHERE k = 1").parse().expect("a number");
    for round in offset + 1..=offset + count {
        writer.query(&format!("UPDATE kv SET v = {round} WHERE k = 1")).ok();
        let token = ask(&mut writer, round);
        if carried {
            give(&mut reader, &token, round);
        }
        let rows = reader.query(READ).ok().rows;
        let cell = |n: usize| rows[0][n].clone().unwrap_or_default();
        misses += usize::from(cell(0) != round.to_string());
        on_replicas += usize::from(cell(1) != "primary");
    }
    (misses, on_replicas)
}

#[test]
fn who_is_told_misses_nothing() {
    let pair = Pair::new(2, |config| tokens(config).text("causal_wait", "300ms"));
    // Otherwise both wait for the log to be sent.
    pair.cluster.replicas[0].set("recovery_min_apply_delay", "30ms");
    pair.cluster.replicas[1].set("recovery_min_apply_delay", "60ms");
    let (misses, on_replicas) = pairs(&pair, 120, true);
    assert_eq!(misses, 0, "{on_replicas} of 120 reads ran on replicas");
    assert!(on_replicas > 0, "what is told must not keep reads from replicas that have caught up");
    pair.cluster.replicas.iter().for_each(|replica| replica.set("recovery_min_apply_delay", "5s"));
    let (misses, _) = pairs(&pair, 120, false);
    assert!(misses > 0, "who is told nothing misses what replicas have not replayed");
}

#[test]
fn who_is_told_misses_nothing_while_replay_is_paused() {
    let pair = Pair::new(1, tokens);
    pair.cluster.replicas[0].pause_replay();
    let (misses, on_replicas) = pairs(&pair, 24, true);
    assert_eq!((misses, on_replicas), (0, 0));
    let (misses, on_replicas) = pairs(&pair, 24, false);
    assert_eq!((misses, on_replicas), (24, 24), "who is told nothing reads what was there before");
    pair.cluster.replicas[0].resume_replay();
    until("reads that are told return to the replica", Duration::from_secs(60), || {
        (pairs(&pair, 4, true).1 > 0).then_some(())
    });
}

/// One backend an endpoint: whoever kept it would keep everybody else out.
#[test]
fn tokens_are_told_and_taken_as_any_setting() {
    let pair = Pair::new(1, |config| tokens(config).raw("pool_size", "1"));
    pair.cluster.replicas[0].pause_replay();
    let (mut one, mut two) = (pair.writes.session(), pair.writes.session());
    assert_eq!(one.value("SHOW splitpool.token"), "none", "nothing was seen");
    one.query("UPDATE kv SET v = 7 WHERE k = 1").ok();
    let token = one.value("show Splitpool.Token;");
    assert!(token.starts_with("pg."), "{token}");
    assert_eq!(two.value("SHOW splitpool.token"), "none", "another's is not shown");
    let left = "SELECT coalesce(nullif(current_setting('splitpool.token', true), ''), 'nothing')";
    for wire in [&mut two, &mut one] {
        assert_eq!(wire.value(left), "nothing", "it does not stay on the backend");
        wire.query("BEGIN").ok();
        assert_eq!(wire.value(left), "nothing");
        wire.query("COMMIT").ok();
    }
    // A statement that is described before it is run.
    let asked = [frame::parse("s", "SHOW splitpool.token"), frame::describe_statement("s"), frame::sync()];
    one.ask(&asked.concat()).unwrap().ok();
    let run = [frame::bind("", "s", &[]), frame::execute("", 0), frame::sync()];
    let described = one.ask(&run.concat()).unwrap().value();
    assert!(described >= token, "{described}");

    give(&mut two, &token, 0);
    assert_eq!(two.value(READ), "7");
    // Whose next request is another user's: it knows nothing, and then what it did itself.
    give(&mut two, "none", 0);
    assert_eq!(two.value(READ), "0");
    two.query("UPDATE kv SET v = 8 WHERE k = 1").ok();
    assert_eq!(two.value(READ), "8");
    // In a transaction nobody knows yet where it will end.
    two.query("BEGIN").ok();
    two.query("UPDATE kv SET v = 9 WHERE k = 1").ok();
    assert_eq!(two.query("SHOW splitpool.token").code(), "25001");
    assert_eq!(two.query("SELECT 1").code(), "25P02");
    two.query("ROLLBACK").ok();
    assert_eq!(two.value("SELECT v FROM kv WHERE k = 1 FOR UPDATE"), "8");
    // What is no token.
    give(&mut two, "none", 0);
    assert_eq!(two.query("SET splitpool.token = 'pg.1.2'").code(), "22023");
    assert_eq!(two.value(READ), "0", "and it changes nothing");
    two.execute("SELECT set_config('splitpool.token', $1, false)", &["nonsense"]).ok();
    assert_eq!(two.value(READ), "8", "what cannot be judged before is proven by the primary alone");
    // At sign-in.
    let options = format!("-c splitpool.token={token}");
    let mut three = Wire::login(&pair.reads.login().with("options", &options)).expect("it signs in");
    assert_eq!(three.value(READ), "8");
}

#[test]
fn under_session_a_token_adds_to_what_was_seen() {
    let pair = Pair::new(1, |config| config.text("consistency", "session").text("max_lag", "60s"));
    pair.cluster.replicas[0].pause_replay();
    let (mut one, mut two) = (pair.writes.session(), pair.reads.session());
    one.query("UPDATE kv SET v = 7 WHERE k = 1").ok();
    let token = ask(&mut one, 0);
    assert_eq!(two.value(READ), "0");
    give(&mut two, &token, 0);
    assert_eq!(two.value(READ), "7");
    give(&mut one, "none", 0);
    assert_eq!(one.value(READ), "7");
    one.query("SET splitpool.consistency = 'token'").ok();
    give(&mut one, "none", 0);
    assert_eq!(one.value(READ), "0");
}

fn mysql_session(proxy: &Proxy) -> Session {
    Session::login(proxy.port(), "app", PASSWORD, "app")
        .unwrap_or_else(|error| panic!("{error}\n{}", proxy.log()))
}

fn a_token_is_carried(make: Make) {
    let cluster = mysql::Cluster::start(make, 1);
    cluster.prepare("CREATE TABLE kv (k int PRIMARY KEY, v int)");
    cluster.primary.sql("INSERT INTO kv VALUES (1, 0)").ok();
    cluster.settle();
    let replica = &cluster.replicas[0];
    let [writes, reads] =
        [(), ()].map(|()| Proxy::start(tokens(Config::of_mysql(&cluster)).raw("pool_size", "1")));
    let on_replica = |proxy: &Proxy| {
        until("reads reach the replica", Duration::from_secs(60), || {
            let mut session = Session::login(proxy.port(), "app", PASSWORD, "app").ok()?;
            (session.try_query("SELECT @@port").ok()?.value() == replica.port().to_string()).then_some(())
        });
    };
    on_replica(&writes);
    on_replica(&reads);
    replica.pause_replay();
    let (mut writer, mut reader) = (mysql_session(&writes), mysql_session(&reads));
    assert_eq!(writer.value("SELECT @splitpool_token"), "none");
    let read = "SELECT v FROM kv WHERE k = 1";
    for round in 1..=12 {
        writer.query(&format!("UPDATE kv SET v = {round} WHERE k = 1")).ok();
        let token = match round % 2 {
            0 => writer.value("SELECT @splitpool_token"),
            _ => writer.execute("SELECT @splitpool_token", &[]).value(),
        };
        assert!(token.starts_with(make.name().to_lowercase().as_str()), "{token}");
        reader.query("SET @splitpool_token = 'none'").ok();
        assert_eq!(reader.value(read), "0", "who is told nothing");
        reader.query(&format!("SET @splitpool_token = '{token}'")).ok();
        assert_eq!(reader.value(read), round.to_string());
    }
    // A connection that is reset, or changes its user, is another's.
    reader.with_driver(async |conn| conn.reset().await).expect("a reset");
    assert_eq!(reader.value("SELECT @splitpool_token"), "none");
    assert_eq!(reader.value(read), "0");
    reader.query(&format!("SET @splitpool_token = '{}'", writer.value("SELECT @splitpool_token"))).ok();
    assert_eq!(reader.value(read), "12");
    let again = mysql_async::ChangeUserOpts::default();
    reader.with_driver(async |conn| conn.change_user(again).await).expect("the same user again");
    assert_eq!(reader.value("SELECT @splitpool_token"), "none");
    assert_eq!(reader.value(read), "0");
    // Nobody keeps the one backend, and nothing stays on it.
    let mut other = mysql_session(&writes);
    assert_eq!(other.value("SELECT @splitpool_token"), "none");
    other.query("BEGIN").ok();
    assert_ne!(other.query("SELECT @splitpool_token").code(), 0, "in a transaction it is not known");
    other.query("ROLLBACK").ok();
    other.query("SET @splitpool_token = 'none'").ok();
    assert_ne!(other.query("SET @splitpool_token = 'nonsense'").code(), 0);
    assert_ne!(other.query("SET @splitpool_token = CONCAT('mysql', '.')").code(), 0);
    assert_eq!(other.value(read), "0");
    replica.resume_replay();
    let token = writer.value("SELECT @splitpool_token");
    until("the replica is read from again", Duration::from_secs(60), || {
        reader.query(&format!("SET @splitpool_token = '{token}'")).ok();
        assert_eq!(reader.value(read), "12");
        (reader.value("SELECT @@port") == replica.port().to_string()).then_some(())
    });
}

#[test]
fn mariadb_carries_a_token() {
    a_token_is_carried(Make::MariaDb);
}

#[test]
fn mysql_carries_a_token() {
    a_token_is_carried(Make::MySql);
}
