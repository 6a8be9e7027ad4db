//! MariaDB and MySQL that die, change roles and fall behind; clients that do not read, and pools that are full.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use integration::config::Endpoint;
use integration::meter::resident_kb;
use integration::mysql::wire::{Wire, cap};
use integration::mysql::{Cluster, Make, Session};
use integration::{Config, Link, PASSWORD, Proxy, Raise, holds, until};

const PATIENCE: Duration = Duration::from_secs(60);

fn session(proxy: &Proxy) -> Session {
    Session::login(proxy.port(), "app", PASSWORD, "app").expect("a sign-in")
}

/// Waits until writes are served, and reads on the replicas if there are any.
fn await_service(proxy: &Proxy, cluster: &Cluster) {
    until("it serves", PATIENCE, || {
        let mut session = Session::login(proxy.port(), "app", PASSWORD, "app").ok()?;
        session.try_query("BEGIN").ok().filter(|reply| reply.error.is_none())?;
        session.query("COMMIT").ok();
        let port = session.try_query("SELECT @@port").ok()?.value();
        (cluster.replicas.is_empty() || port != cluster.primary.port().to_string()).then_some(())
    });
}

/// What became of a statement whose connection to the primary was cut when it was sent, or answered up to there.
fn lost_answers(make: Make) {
    let cluster = Cluster::start(make, 0);
    cluster.prepare("CREATE TABLE t (n int)");
    cluster.prepare("CREATE TABLE w (tag varchar(40))");
    let link = Link::to(cluster.primary.port());
    // In clear, so that the link can read along.
    let mut config = Config::of_mysql(&cluster).raw("tls", "{ mode = \"off\" }");
    config.endpoints = vec![Endpoint::auto(link.address())];
    let proxy = Proxy::start(config);
    await_service(&proxy, &cluster);
    let ran = |tag: &str, mark: u64| cluster.primary.log_since(mark).matches(tag).count();
    for bytes in [0, 1, 5] {
        // A write: never sent twice, and the client is told that nobody knows.
        let mut one = session(&proxy);
        let mark = cluster.primary.log_mark();
        let tag = format!("/* write {bytes} */");
        link.cut_behind(&tag, bytes);
        let told = one.try_query(&format!("INSERT INTO t VALUES (1) {tag}"));
        assert!(told.as_ref().map_or(true, |reply| reply.code() == 1180), "{tag}: {told:?}");
        assert_eq!(ran(&tag, mark), 1, "{tag}");
        // The end of a transaction: the same, and the session with it.
        let mut two = session(&proxy);
        two.query("BEGIN").ok();
        two.query("INSERT INTO t VALUES (2)").ok();
        let tag = format!("/* commit {bytes} */");
        link.cut_behind(&tag, bytes);
        match two.try_query(&format!("COMMIT {tag}")) {
            Ok(reply) => assert!(reply.error.expect("an error").message.contains("nobody knows"), "{tag}"),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
        assert_eq!(ran(&tag, mark), 1, "{tag}");
        // A read of which nothing was told is answered as if nothing had happened.
        let mut three = session(&proxy);
        let tag = format!("/* read {bytes} */");
        link.cut_behind(&tag, bytes);
        let read = three.try_query(&format!("SELECT 5 {tag}"));
        if bytes == 0 {
            assert_eq!(read.expect("an answer").value(), "5");
        }
        // The same with prepared statements, whose tags are values.
        let mut four = session(&proxy);
        let tag = format!("prepared write {bytes}");
        link.cut_behind(&tag, bytes);
        let told = four.try_execute("INSERT INTO w VALUES (?)", &[&tag]);
        assert!(told.as_ref().map_or(true, |reply| reply.code() == 1180), "{tag}: {told:?}");
        assert_eq!(ran(&tag, mark), 1, "{tag}");
        let mut five = session(&proxy);
        let tag = format!("prepared read {bytes}");
        link.cut_behind(&tag, bytes);
        let read = five.try_execute("SELECT ?", &[&tag]);
        if bytes == 0 {
            assert_eq!(read.expect("an answer").value(), tag);
        }
    }
}

/// The primary is killed and comes back: who is idle goes on, who is not is told, and nothing is done twice.
fn primary_dies(make: Make) {
    let cluster = Cluster::start(make, 0);
    cluster.prepare("CREATE TABLE t (n int)");
    let proxy = Proxy::start(Config::of_mysql(&cluster).text("query_wait_timeout", "60s"));
    await_service(&proxy, &cluster);
    let mut idle = session(&proxy);
    let mut open = session(&proxy);
    let mut busy = session(&proxy);
    idle.query("SET time_zone = '+04:00'").ok();
    open.query("BEGIN").ok();
    open.query("INSERT INTO t VALUES (1)").ok();
    let mark = cluster.primary.log_mark();
    thread::scope(|scope| {
        let writing = scope.spawn(|| busy.try_query("INSERT INTO t SELECT sleep(30) /* busy */"));
        until("it runs", PATIENCE, || cluster.primary.log_since(mark).contains("/* busy */").then_some(()));
        cluster.primary.kill();
        let told = writing.join().expect("an end");
        assert!(told.is_err() || told.is_ok_and(|reply| reply.error.is_some()));
    });
    let told = open.try_query("INSERT INTO t VALUES (2)");
    assert!(told.is_err() || told.is_ok_and(|reply| reply.error.is_some()));
    cluster.primary.start();
    assert_eq!(idle.value("SELECT @@time_zone"), "+04:00");
    idle.query("INSERT INTO t VALUES (3)").ok();
    assert_eq!(cluster.primary.value("SELECT group_concat(n) FROM app.t"), "3");
    assert_eq!(cluster.primary.log_since(mark).matches("/* busy */").count(), 1);
}

/// The roles change hands in the middle of writes.
fn switchover(make: Make) {
    let mut cluster = Cluster::start(make, 1);
    cluster.prepare("CREATE TABLE t (n int PRIMARY KEY)");
    let proxy = Proxy::start(Config::of_mysql(&cluster).text("max_lag", "60s"));
    await_service(&proxy, &cluster);
    let over = AtomicBool::new(false);
    let (written, refused) = thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let (mut written, mut refused) = (Vec::new(), 0);
            let mut one = session(&proxy);
            for n in 0.. {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                match one.try_query(&format!("INSERT INTO t VALUES ({n})")) {
                    Ok(reply) if reply.error.is_none() => written.push(n),
                    // The old one refuses, is left, or was asked to be quiet.
                    Ok(reply) => {
                        assert_ne!(reply.code(), 1062, "it was sent twice");
                        refused += 1;
                    }
                    Err(_) => one = session(&proxy),
                }
            }
            (written, refused)
        });
        let _over = Raise(&over);
        let replica = cluster.replicas.first().expect("a replica");
        cluster.primary.set_read_only(true);
        replica.await_position(&cluster.primary.position());
        replica.promote();
        cluster.primary.follow(replica);
        let new = replica.port().to_string();
        until("writes reach the new primary", PATIENCE, || {
            let mut probe = Session::login(proxy.port(), "app", PASSWORD, "app").ok()?;
            probe.try_query("BEGIN").ok().filter(|reply| reply.error.is_none())?;
            (probe.try_query("SELECT @@port").ok()?.value() == new).then_some(())
        });
        let begun = replica.value("SELECT count(*) FROM app.t");
        until("further writes", PATIENCE, || {
            (replica.value("SELECT count(*) FROM app.t") != begun).then_some(())
        });
        over.store(true, Ordering::Relaxed);
        writing.join().expect("the writer ends")
    });
    let new = cluster.replicas.remove(0);
    let kept = new.sql("SELECT n FROM app.t ORDER BY n").ok().rows;
    let kept: Vec<u32> =
        kept.iter().map(|row| row[0].as_deref().expect("a number").parse().expect("a number")).collect();
    assert!(written.iter().all(|n| kept.contains(n)), "a write that was confirmed is lost");
    println!("{}: {} written, {refused} refused", make.name(), written.len());
}

/// A replica falls behind while it serves a long read: the read ends in peace, new ones go elsewhere.
fn lag_in_the_middle(make: Make) {
    let cluster = Cluster::start(make, 1);
    cluster.prepare("CREATE TABLE t (n int)");
    let config = Config::of_mysql(&cluster).text("max_lag", "2s").text("consistency", "bounded");
    let proxy = Proxy::start(config);
    await_service(&proxy, &cluster);
    let (mut long, mut prepared, mut short) = (session(&proxy), session(&proxy), session(&proxy));
    let replica = cluster.replicas[0].port().to_string();
    thread::scope(|scope| {
        let reading = scope.spawn(|| long.query("SELECT @@port, sleep(15) /* long */").value());
        let executing =
            scope.spawn(|| prepared.execute("SELECT @@port, sleep(?) /* long prepared */", &["15"]).value());
        for tag in ["/* long */", "sleep('15') /* long prepared */"] {
            until(tag, PATIENCE, || cluster.replicas[0].log_since(0).contains(tag).then_some(()));
        }
        cluster.replicas[0].pause_replay();
        cluster.primary.sql("INSERT INTO app.t VALUES (1)").ok();
        until("new reads go elsewhere", PATIENCE, || (short.value("SELECT @@port") != replica).then_some(()));
        assert!(!reading.is_finished() && !executing.is_finished(), "the long reads were over before");
        assert_eq!(reading.join().expect("an end"), replica);
        assert_eq!(executing.join().expect("an end"), replica);
    });
    cluster.replicas[0].resume_replay();
    until("it serves again", PATIENCE, || (short.value("SELECT @@port") == replica).then_some(()));
}

/// A result that its client does not read is not gathered; what the client reads at last is all of it.
fn slow_reader(make: Make) {
    let cluster = Cluster::start(make, 0);
    let proxy = Proxy::start(Config::of_mysql(&cluster));
    await_service(&proxy, &cluster);
    let mut wire = Wire::login(proxy.port(), cap::CONNECT_WITH_DB, 45).expect("a sign-in");
    let before = resident_kb(proxy.process().id());
    let rows = "SELECT repeat('x', 1000000) FROM (SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 UNION \
        SELECT 5 UNION SELECT 6 UNION SELECT 7 UNION SELECT 8) a, (SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION \
        SELECT 4 UNION SELECT 5 UNION SELECT 6 UNION SELECT 7 UNION SELECT 8) b /* slow */";
    let mark = cluster.primary.log_mark();
    wire.command(3, rows.as_bytes()).expect("sent");
    until("it runs", PATIENCE, || cluster.primary.log_since(mark).contains("/* slow */").then_some(()));
    // Others are served meanwhile, and what waits does not grow.
    let mut other = session(&proxy);
    for n in 0..200 {
        assert_eq!(other.value(&format!("SELECT {n}")), n.to_string());
    }
    let during = resident_kb(proxy.process().id());
    assert!(during < before + 16_384, "{before} kB before, {during} kB while 64 MB wait");
    let result = wire.result().expect("a result");
    assert_eq!((result.rows.len(), result.code()), (64, 0));
    assert!(result.rows.iter().all(|row| row.len() > 1_000_000));
}

/// Sessions that keep their backends fill a pool: who finds no place is told so, in time, and reads go on.
fn full_pool(make: Make) {
    let cluster = Cluster::start(make, 1);
    cluster.prepare("CREATE TABLE t (n int)");
    let config = Config::of_mysql(&cluster)
        .raw("pool_size", "2")
        .text("query_wait_timeout", "4s")
        .text("consistency", "eventual")
        .text("max_lag", "60s");
    let proxy = Proxy::start(config);
    await_service(&proxy, &cluster);
    let mut late = session(&proxy);
    late.execute("DELETE FROM t", &[]).ok();
    let mut pinned: Vec<Session> = (0..2).map(|_| session(&proxy)).collect();
    for one in &mut pinned {
        one.query("CREATE TEMPORARY TABLE mine (n int)").ok();
    }
    for prepared in [false, true] {
        let begun = Instant::now();
        let told = if prepared {
            late.execute("DELETE FROM t", &[])
        } else {
            late.query("INSERT INTO t VALUES (1)")
        };
        assert_eq!(told.code(), 1040, "{told:?}");
        let waited = begun.elapsed();
        assert!(waited > Duration::from_millis(3600) && waited < PATIENCE / 2, "{waited:?}");
        assert_eq!(late.query("SELECT n FROM t").ok().rows.len(), 0);
    }
    for one in &mut pinned {
        one.query("INSERT INTO mine VALUES (1)").ok();
    }
    let backends = || {
        // One more has no schema: by it the proxy has learned what the server says of itself.
        let ask = "SELECT count(*) FROM information_schema.processlist WHERE user = 'app' AND db = 'app'";
        cluster.primary.value(ask).parse::<u32>().expect("a number")
    };
    assert_eq!(backends(), 2);
    pinned.pop();
    holds("a place", PATIENCE, 0, || late.query("INSERT INTO t VALUES (2)").code());
    assert!(backends() <= 2, "{}", backends());
}

/// A test of its own for each make.
macro_rules! on_both {
    ($($name:ident)*) => {
        mod mariadb { use super::Make; $(#[test] fn $name() { super::$name(Make::MariaDb); })* }
        mod mysql { use super::Make; $(#[test] fn $name() { super::$name(Make::MySql); })* }
    };
}

on_both! { lost_answers primary_dies switchover lag_in_the_middle slow_reader full_pool }
