//! Which statements ran, by what they read as without their values: counted right, on both databases, and with
//! nothing of a value in them.

use std::collections::BTreeMap;
use std::time::Duration;

use integration::console::{configured, console, row, table};
use integration::mysql::{self, Make, Session};
use integration::paths::free_port;
use integration::{Config, Login, PASSWORD, Proxy, Stage, Wire, frame, until};

const SOON: Duration = Duration::from_secs(60);

/// What nobody may be shown.
const CANARY: &str = "canary9d2";

type Row = BTreeMap<String, String>;

/// The digests of a proxy that begin so, by target.
fn digests(console: &mut Wire, text: &str) -> BTreeMap<String, Row> {
    let rows = table(console, "SHOW DIGESTS");
    let found = rows.into_iter().filter(|row| row["text"] == text);
    found.map(|row| (row["target"].clone(), row)).collect()
}

/// The same when so many requests are counted: that is done when a reply is on its way already.
#[track_caller]
fn counted(console: &mut Wire, text: &str, calls: u64) -> BTreeMap<String, Row> {
    until(&format!("{calls} of {text}"), SOON, || {
        let found = digests(console, text);
        (found.values().map(|row| number(row, "calls")).sum::<u64>() == calls).then_some(found)
    })
}

fn number(row: &Row, column: &str) -> u64 {
    row[column].parse().unwrap_or_else(|_| panic!("{column} of {row:?}"))
}

fn stage(replicas: usize, digests: &str) -> Stage {
    let extra = format!("\n[general.digests]\n{digests}\n");
    let stage = Stage::new(replicas, |config| {
        let mut config = configured(config);
        config.extra += &extra;
        config
    });
    stage.cluster.prepare("CREATE TABLE t (id int, v text)");
    stage
}

#[test]
fn texts_and_prepared_statements_of_postgres_count_as_one() {
    let stage = stage(1, "");
    let mut console = console(&stage.proxy, "app");
    let mut wire = stage.proxy.session();
    // Until the catalog and the replica are known, reads go here and there.
    until("reads reach the replica", SOON, || {
        wire.query("SELECT 1 AS ready").ok();
        digests(&mut console, "select ? as ready").contains_key("replica").then_some(())
    });
    console.query("RESET DIGESTS").ok();
    assert!(table(&mut console, "SHOW DIGESTS").is_empty());

    wire.query("INSERT INTO t VALUES (1, 'a'), (2, NULL), (3, 'c')").ok();
    wire.query("insert  into t -- and a comment\n values (4, 'd')").ok();
    wire.execute("INSERT INTO t VALUES ($1, $2)", &["5", "e"]).ok();
    let rows = &counted(&mut console, "insert into t values (?, ?)", 3)["primary"];
    let inserted = stage.cluster.primary.value("SELECT count(*) FROM t");
    assert_eq!((rows["rows"].as_str(), rows["calls"].as_str()), (inserted.as_str(), "3"), "{rows:?}");
    assert_eq!((rows["cluster"].as_str(), rows["database"].as_str()), ("main", "app"));
    assert_eq!((rows["reasons"].as_str(), rows["errors"].as_str()), ("write", "0"));
    assert!(number(rows, "total_us") >= number(rows, "max_us") && number(rows, "max_us") > 0, "{rows:?}");

    stage.cluster.settle();
    for list in ["1", "1, 2", "1, 2, 3, 99"] {
        wire.query(&format!("SELECT id FROM t WHERE id IN ({list}) AND 'x' <> '{CANARY}'")).ok();
    }
    let reads = counted(&mut console, "select id from t where id in (?) and ? <> ?", 3);
    let sum = |column: &str| reads.values().map(|row| number(row, column)).sum::<u64>();
    assert_eq!((sum("calls"), sum("rows"), sum("errors")), (3, 6, 0), "{reads:?}");
    assert!(sum("bytes") > 100 && reads.keys().all(|target| target == "replica" || target == "primary"));

    // Under the same number on the primary, because a transaction is open; BEGIN counts by itself.
    for sql in ["BEGIN", "SELECT id FROM t WHERE id IN (7) AND 'x' <> 'y'", "SELECT 1/0", "ROLLBACK"] {
        wire.query(sql);
    }
    let inside = &counted(&mut console, "select id from t where id in (?) and ? <> ?", 4)["primary"];
    assert!(inside["reasons"].contains("transaction"), "{inside:?}");
    assert!(reads.values().all(|row| row["digest"] == inside["digest"]));
    assert_eq!(counted(&mut console, "select ? / ?", 1)["primary"]["errors"], "1");
    assert_eq!(counted(&mut console, "begin", 1)["primary"]["calls"], "1");

    // A batch counts under the first that does something.
    let batch = [
        frame::unnamed("BEGIN", &[]),
        frame::unnamed("UPDATE t SET v = $1 WHERE id < 3", &[Some(b"z")]),
        frame::unnamed("COMMIT", &[]),
        frame::sync(),
    ];
    wire.ask(&batch.concat()).expect("an answer").ok();
    let update = &counted(&mut console, "update t set v = ? where id < ?", 1)["primary"];
    assert_eq!([&update["calls"], &update["statements"], &update["rows"]], ["1", "3", "2"], "{update:?}");
    // To prepare is not to run.
    wire.ask(&[frame::parse("p", "DELETE FROM t WHERE id = $1"), frame::sync()].concat())
        .expect("an answer")
        .ok();
    // COPY is counted by its rows, too.
    wire.send(&frame::query("COPY t FROM STDIN")).expect("sent");
    wire.read_to(b'G').expect("it begins");
    wire.send(&[frame::copy_data(b"8\tx\n9\ty\n"), frame::copy_done()].concat()).expect("sent");
    wire.reply().expect("it ends").ok();
    assert_eq!(counted(&mut console, "copy t from stdin", 1)["primary"]["rows"], "2");

    assert!(digests(&mut console, "delete from t where id = ?").is_empty());

    // What is refused before it reaches a database is an error as well; statements that only look may look.
    let mut viewer = integration::console::console(&stage.proxy, "viewer");
    assert!(!table(&mut viewer, "SHOW DIGESTS").is_empty());
    assert_eq!(viewer.query("RESET DIGESTS").code(), "42501");
    let said = format!("{:?}", table(&mut console, "SHOW DIGESTS"));
    assert!(!said.contains(CANARY), "{said}");
}

#[test]
fn no_secret_is_shown_wherever_it_stands() {
    let stage = stage(0, "");
    let mut wire = stage.proxy.session();
    let mut console = console(&stage.proxy, "app");
    for sql in [
        "ALTER ROLE nobody PASSWORD 'X'",
        "ALTER ROLE nobody PASSWORD X",
        "ALTER ROLE nobody PASSWORD 'X",
        "CREATE ROLE nobody_either LOGIN PASSWORD \"X\"",
        "SELECT $X$ X $X$, E'\\'X', N'X', U&'X'",
        "SELECT 1 /* X */ -- X",
        "SET app.token = X",
        "SET app.token = 'X'",
        "SELECT set_config('app.x', 'X', false)",
        "X",
        "'X'",
        "SELECT 'X",
        "NOTIFY c, 'X'",
    ] {
        wire.query(&sql.replace('X', CANARY));
        wire.execute(&sql.replace('X', CANARY), &[]);
        wire.execute("SELECT $1::text", &[CANARY]).ok();
    }
    // Where quotes may mean anything, nothing behind the first word is shown.
    wire.query("SET standard_conforming_strings = off").ok();
    wire.query(&format!("SELECT 'a\\' {CANARY} '")).ok();
    let shown = table(&mut console, "SHOW DIGESTS");
    assert!(shown.len() > 10, "{shown:#?}");
    row(&shown, "text", "alter role nobody password ?");
    row(&shown, "text", "(unknown statement)");
    row(&shown, "text", "select ...");
    let http = ["/metrics", "/api/status", "/"].map(|path| stage.proxy.http(path).1);
    let said = format!("{shown:?} {http:?} {}", stage.proxy.log());
    let at = said.find(CANARY).map(|at| &said[at.saturating_sub(200)..at + 20]);
    assert_eq!(at, None);
}

#[test]
fn their_number_is_bounded_and_what_does_not_fit_is_counted_with_the_others() {
    let stage = stage(0, "max = 40\ntext_max = \"64B\"");
    let mut wire = stage.proxy.session();
    let mut console = console(&stage.proxy, "app");
    console.query("RESET DIGESTS").ok();
    for n in 0..300 {
        wire.query(&format!(
            "SELECT 1 AS column_{n}_of_some_length_and_more_than_sixty_four_bytes_all_in_all"
        ))
        .ok();
    }
    let rows = until("all are counted", SOON, || {
        let rows = table(&mut console, "SHOW DIGESTS");
        (rows.iter().map(|row| number(row, "calls")).sum::<u64>() == 300).then_some(rows)
    });
    assert!(rows.len() <= 41, "{}", rows.len());
    assert!(rows.iter().all(|row| row["text"].len() <= 64 + " ...".len()), "{rows:?}");
    assert!(number(row(&rows, "text", "(others)"), "calls") >= 260);
    // Without them, nothing is kept; with them again, it begins anew.
    let text = stage.proxy.config().to_string();
    stage.proxy.rewrite_text(&text.replace("max = 40", "max = 0"));
    console.query("RELOAD").ok();
    wire.query("SELECT 1 AS unseen").ok();
    assert!(digests(&mut console, "select ? as unseen").is_empty());
    stage.proxy.rewrite_text(&text.replace("max = 40", "max = 50"));
    console.query("RELOAD").ok();
    wire.query("SELECT 1 AS seen, 1/0");
    wire.query("SELECT 1 AS seen_again").ok();
    assert_eq!(counted(&mut console, "select ? as seen_again", 1)["primary"]["errors"], "0");
}

#[test]
fn bytes_are_counted_as_they_pass() {
    let stage = stage(0, "");
    let mut console = console(&stage.proxy, "app");
    let mut wire = stage.proxy.session();
    let mut counted = || {
        let rows = table(&mut console, "SHOW STATS");
        let of = row(&rows, "database", "app").clone();
        (number(&of, "total_received"), number(&of, "total_sent"))
    };
    wire.query("SELECT 1").ok();
    // What a session did is added when its request is over: two of the same tell that it was.
    let before =
        until("the first request is counted", SOON, || Some(counted()).filter(|(received, _)| *received > 0));
    let large = "x".repeat(700_000);
    let requests = [
        frame::query("SELECT repeat('y', 300000) FROM generate_series(1, 5)"),
        [frame::unnamed("SELECT $1::text", &[Some(b"z")]), frame::sync()].concat(),
        // Too large to be gathered: it is streamed.
        frame::query(&format!("SELECT length('{large}')")),
        frame::query("SELECT 1/0"),
    ];
    let (mut received, mut sent) = before;
    for request in requests {
        wire.send(&request).expect("it is sent");
        received += request.len() as u64;
        loop {
            let message = wire.read().expect("an answer");
            sent += 5 + message.body.len() as u64;
            if message.tag == b'Z' {
                break;
            }
        }
        let wanted = (received, sent);
        until("bytes are those that passed", SOON, || (counted() == wanted).then_some(()));
    }
    let rows = table(&mut console, "SHOW STATS_TOTALS");
    let of = row(&rows, "database", "app");
    assert_eq!((number(of, "bytes_received"), number(of, "bytes_sent")), (received, sent));
}

/// A proxy before MariaDB or MySQL, with a console.
fn mysql_stage(make: Make) -> (Proxy, mysql::Cluster, Wire) {
    let cluster = mysql::Cluster::start(make, 1);
    cluster.prepare("CREATE TABLE t (id int, v text)");
    let mut config = Config::of_mysql(&cluster).text("consistency", "eventual").text("max_lag", "60s");
    let port = free_port();
    config.listen = format!("postgres = \"127.0.0.1:{port}\"\n");
    config.admins = vec!["app".to_owned()];
    // The console is where PostgreSQL's clients come in.
    config.extra =
        "\n[clusters.none]\nengine = \"postgres\"\n[[clusters.none.endpoints]]\naddress = \"127.0.0.1:1\"\n\
        [databases.none]\ncluster = \"none\"\n"
            .to_owned();
    let proxy = Proxy::start(config);
    let login = Login::new(port, "app", PASSWORD, "splitpool");
    let console = Wire::login(&login).unwrap_or_else(|error| panic!("{error}\n{}", proxy.log()));
    (proxy, cluster, console)
}

fn mysql_counts(make: Make) {
    let (proxy, cluster, mut console) = mysql_stage(make);
    let session = || Session::login(proxy.port(), "app", PASSWORD, "app");
    let mut session = until("somebody serves", SOON, || session().ok());
    until("reads reach the replica", SOON, || {
        session.query("SELECT 1 AS ready").ok();
        digests(&mut console, "select ? as ready").contains_key("replica").then_some(())
    });
    console.query("RESET DIGESTS").ok();
    session.query("INSERT INTO t VALUES (1, 'a'), (2, NULL), (3, \"c\")").ok();
    session.query("insert into t values (4, 'it\\'s') # what a comment").ok();
    session.execute("INSERT INTO t VALUES (?, ?)", &["5", "e"]).ok();
    let rows = &counted(&mut console, "insert into t values (?, ?)", 3)["primary"];
    let inserted = cluster.primary.sql("SELECT count(*) FROM app.t").ok().value();
    assert_eq!(rows["rows"], inserted, "{rows:?}");
    cluster.settle();
    for list in ["1", "1, 2, 3, 99"] {
        session.query(&format!("SELECT `id` FROM t WHERE id IN ({list}) AND 'x' <> \"{CANARY}\"")).ok();
    }
    let reads = counted(&mut console, "select `id` from t where id in (?) and ? <> ?", 2);
    let sum = |column: &str| reads.values().map(|row| number(row, column)).sum::<u64>();
    assert_eq!((sum("calls"), sum("rows")), (2, 4), "{reads:?}");
    assert!(session.try_query("SELECT nothing FROM t").is_ok_and(|reply| reply.code() == 1054));
    let failed = counted(&mut console, "select nothing from t", 1);
    assert_eq!(failed.values().map(|row| number(row, "errors")).sum::<u64>(), 1, "{failed:?}");
    for sql in [
        "SET @a = 'X'",
        "ALTER USER nobody IDENTIFIED BY 'X'",
        "ALTER USER nobody IDENTIFIED BY X",
        "SELECT 'X",
        "X",
    ] {
        let _ = session.try_query(&sql.replace('X', CANARY));
    }
    let said = format!("{:?}", table(&mut console, "SHOW DIGESTS"));
    assert!(said.contains("alter user nobody identified ?") && !said.contains(CANARY), "{said}");
}

#[test]
fn mariadb_counts_alike() {
    mysql_counts(Make::MariaDb);
}

#[test]
fn mysql_counts_alike() {
    mysql_counts(Make::MySql);
}
