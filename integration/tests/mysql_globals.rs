//! Defaults of MariaDB and MySQL that change while sessions live: each session keeps those that it began with, on
//! backends that are older and younger than itself, and its texts are read by them.

use std::time::Duration;

use integration::mysql::{Cluster, Make, Session};
use integration::{Config, PASSWORD, Proxy, holds, until};

const PATIENCE: Duration = Duration::from_secs(60);

fn isolation(make: Make) -> &'static str {
    match make {
        Make::MariaDb => "tx_isolation",
        Make::MySql => "transaction_isolation",
    }
}

/// What a session has of what the test changes.
fn defaults(make: Make) -> String {
    let name = isolation(make);
    format!(
        "SELECT @@port, concat_ws(' ', @@session.sql_mode, @@session.autocommit, @@session.time_zone, @@session.{name})"
    )
}

/// Closes every connection of the proxy's pools, so that the next ones begin with the defaults of now.
fn close_backends(cluster: &Cluster) {
    for server in cluster.servers() {
        let mut admin = server.admin();
        let ask = "SELECT id FROM information_schema.processlist WHERE user IN ('app', 'other')";
        let mut ids = || admin.query(ask).ok().rows.into_iter().flatten().flatten().collect::<Vec<String>>();
        let old = ids();
        old.iter().for_each(|id| drop(server.sql(&format!("KILL {id}"))));
        until("no old backend is left", PATIENCE, || {
            (!ids().iter().any(|id| old.contains(id))).then_some(())
        });
    }
}

/// What the session has, seen on every server; all must agree.
fn everywhere(session: &mut Session, make: Make, cluster: &Cluster) -> String {
    let mut missing: Vec<String> = cluster.servers().map(|server| server.port().to_string()).collect();
    let mut seen = Vec::new();
    until("it runs on every server", PATIENCE, || {
        for hint in ["", "/* splitpool: primary */ "] {
            // A backend that was closed is found out by who uses it: a read is repeated.
            let Some(row) = session.query(&format!("{hint}{}", defaults(make))).rows.pop() else { continue };
            let [Some(port), Some(value)] = row.as_slice() else { panic!("{row:?}") };
            missing.retain(|wanted| wanted != port);
            seen.push(value.clone());
        }
        missing.is_empty().then_some(())
    });
    seen.dedup();
    assert_eq!(seen.len(), 1, "{seen:?}");
    seen.remove(0)
}

fn a_session_keeps_its_defaults(make: Make) {
    let cluster = Cluster::start(make, 1);
    cluster.prepare("CREATE TABLE t (n int)");
    let proxy =
        Proxy::start(Config::of_mysql(&cluster).text("consistency", "eventual").raw("pool_size", "4"));
    let login = |user: &str| Session::login(proxy.port(), user, PASSWORD, "app");
    let mut old = until("clients are served", PATIENCE, || {
        let mut session = login("app").ok()?;
        session.try_query("BEGIN; ROLLBACK").ok().filter(|reply| reply.error.is_none())?;
        Some(session)
    });
    let before = everywhere(&mut old, make, &cluster);
    for server in cluster.servers() {
        let mut admin = server.admin();
        admin.query("SET GLOBAL sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES'").ok();
        admin.query("SET GLOBAL autocommit = 0").ok();
        admin.query("SET GLOBAL time_zone = '+05:00'").ok();
        admin.query(&format!("SET GLOBAL {} = 'SERIALIZABLE'", isolation(make))).ok();
    }
    close_backends(&cluster);

    // The old session is as it was, on the new backends: its values, its texts, its writes.
    assert_eq!(everywhere(&mut old, make, &cluster), before);
    assert_eq!(old.value(r#"SELECT "text""#), "text");
    // A text up to its end, of which the other reading makes something else.
    assert_eq!(old.value(r"SELECT 'a\', get_lock(''mine'', 0) -- '"), r"a', get_lock('mine', 0) -- ");
    old.query("INSERT INTO t VALUES (1)").ok();
    // Whoever asks has the new defaults as well, by which a reader waits for writers.
    let rows = |n: u32| {
        let mut admin = cluster.primary.admin();
        admin.query("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED").ok();
        admin.value(&format!("SELECT count(*) FROM app.t WHERE n = {n}"))
    };
    assert_eq!(rows(1), "1", "what was written is not committed");
    let free =
        || cluster.servers().map(|server| server.value("SELECT is_free_lock('mine')")).collect::<String>();
    assert_eq!(free(), "11");

    // A new one has the new ones, as on a connection of its own.
    let mut straight = Session::login(cluster.primary.port(), "other", PASSWORD, "app").expect("a sign-in");
    let after = straight.query(&defaults(make)).ok().rows;
    assert_ne!(after[0][1].as_deref(), Some(before.as_str()));
    let mut new = login("other").expect("a sign-in");
    assert_eq!(new.query(&defaults(make)).ok().rows, after, "which do not read on a replica");
    assert_eq!(new.query(r#"SELECT "text""#).code(), 1054, "a name");
    // Bytes that end later by the other reading.
    let reply = new.query(r"SELECT 'a\', get_lock('mine', 0), @@port -- '").ok();
    let port = cluster.primary.port().to_string();
    assert_eq!(reply.rows, [[r"a\", "1", &port].map(|cell| Some(cell.to_owned()))]);
    assert_eq!(free(), "01", "a lock that is not on the primary alone");
    new.query("DO release_lock('mine')").ok();
    new.query("INSERT INTO t VALUES (2)").ok();
    assert_eq!(rows(2), "0", "the session commits by itself");
    new.query("COMMIT").ok();
    assert_eq!(rows(2), "1");
    assert_eq!(everywhere(&mut old, make, &cluster), before);
    drop((old, new));
    holds("the lock is free", PATIENCE, "11".to_owned(), free);
}

#[test]
fn mariadb_a_session_keeps_its_defaults() {
    a_session_keeps_its_defaults(Make::MariaDb);
}

#[test]
fn mysql_a_session_keeps_its_defaults() {
    a_session_keeps_its_defaults(Make::MySql);
}
