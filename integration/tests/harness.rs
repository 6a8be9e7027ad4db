//! The tools of these tests do what the other tests take for granted; no proxy is involved.

use std::time::{Duration, Instant};

use integration::{Cluster, Link, Login, PASSWORD, PATIENCE, Way, Wire, frame, until};

#[test]
fn a_cluster_replicates_breaks_and_heals() {
    let begun = Instant::now();
    let cluster = Cluster::start(2);
    println!("a cluster takes {:?}", begun.elapsed());
    cluster.prepare("CREATE TABLE t (n int); INSERT INTO t VALUES (1)");
    let replica = &cluster.replicas[0];
    assert_eq!(replica.value("SELECT count(*) FROM t"), "1");
    assert_eq!(replica.value("SELECT pg_is_in_recovery()"), "t");

    replica.pause_replay();
    cluster.primary.sql("INSERT INTO t VALUES (2)").ok();
    assert_eq!(replica.value("SELECT count(*) FROM t"), "1");
    replica.resume_replay();
    cluster.settle();
    assert_eq!(replica.value("SELECT count(*) FROM t"), "2");

    replica.freeze_receiver();
    cluster.primary.sql("INSERT INTO t VALUES (3)").ok();
    assert_eq!(replica.value("SELECT count(*) FROM t"), "2");
    replica.thaw();
    cluster.settle();

    let mut session = replica.admin();
    session.patience(Duration::from_millis(300));
    replica.freeze();
    assert!(session.try_query("SELECT 1").is_err(), "a frozen server answers");
    replica.thaw();
    session.patience(PATIENCE);
    assert_eq!(session.reply().unwrap().value(), "1");

    replica.set("recovery_min_apply_delay", "1h");
    assert_eq!(replica.value("SHOW recovery_min_apply_delay"), "1h");
    replica.set("recovery_min_apply_delay", "0");

    replica.kill();
    assert!(Wire::connect(replica.port()).is_err());
    replica.start();
    cluster.settle();

    cluster.primary.stop();
    replica.promote();
    assert_eq!(replica.value("SELECT pg_is_in_recovery()"), "f");
    replica.sql("INSERT INTO t VALUES (4)").ok();
}

#[test]
fn the_log_tells_who_ran_what() {
    let cluster = Cluster::start(1);
    let mark = cluster.mark();
    cluster.primary.sql("SELECT 1 /* tag one */").ok();
    cluster.replicas[0].sql("SELECT 1 /* tag two */").ok();
    assert_eq!(cluster.servers_that_ran("/* tag one */", &mark), ["primary"]);
    assert_eq!(cluster.servers_that_ran("/* tag two */", &mark), ["replica1"]);
    assert!(cluster.servers_that_ran("/* tag three */", &mark).is_empty());
}

#[test]
fn wire_signs_in_every_way_and_speaks_both_protocols() {
    let cluster = Cluster::start(0);
    let port = cluster.primary.port();
    for user in ["app", "old", "open"] {
        let mut wire = Wire::login(&Login::new(port, user, PASSWORD, "app")).unwrap();
        assert_eq!(wire.value("SELECT current_user"), user);
    }
    let wrong = Wire::login(&Login::new(port, "app", "wrong", "app")).unwrap_err();
    assert_eq!(wrong.code(), "28P01");

    let mut wire =
        Wire::login(&Login::new(port, "app", PASSWORD, "app").with("application_name", "x")).unwrap();
    assert_eq!(wire.parameters["application_name"], "x");
    assert_eq!(wire.execute("SELECT $1::int + $2::int", &["20", "22"]).value(), "42");
    let failed = wire.query("SELECT 1/0");
    assert_eq!((failed.code(), failed.status), ("22012", b'I'));
    assert_eq!(wire.query("BEGIN").status, b'T');
    assert_eq!(wire.query("SELECT 1; SELECT NULL").rows, [[Some("1".to_owned())], [None]]);

    let order = [frame::parse("s", "SELECT generate_series(1,3)"), frame::bind("p", "s", &[])].concat();
    wire.send(&[order, frame::execute("p", 2), frame::execute("p", 2), frame::sync()].concat()).unwrap();
    let reply = wire.reply().unwrap();
    assert_eq!(reply.order, "12DDsDCZ");
}

#[test]
fn a_link_stands_between() {
    let cluster = Cluster::start(0);
    let link = Link::to(cluster.primary.port());
    let mut wire = Wire::login(&Login::new(link.port(), "app", PASSWORD, "app")).unwrap();
    link.delay(Duration::from_millis(60));
    let begun = Instant::now();
    wire.query("SELECT 1").ok();
    assert!(begun.elapsed() >= Duration::from_millis(120));
    link.delay(Duration::ZERO);
    link.drip(1, Duration::from_millis(1));
    wire.query("SELECT 1").ok();
    link.cut_after(Way::Down, 10);
    assert!(wire.try_query("SELECT 1").is_err());
    until("the database notices", PATIENCE, || {
        (cluster.primary.value("SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'") == "0")
            .then_some(())
    });
}
