//! The tools of these tests do what the other tests take for granted, for MariaDB and MySQL; no proxy is involved.

use std::time::{Duration, Instant};

use integration::mysql::{Cluster, Make, Server, Session};
use integration::{PASSWORD, holds};

fn replicates_breaks_and_heals(make: Make) {
    let begun = Instant::now();
    let cluster = Cluster::start(make, 2);
    println!("a cluster of {} takes {:?}", make.name(), begun.elapsed());
    cluster.prepare("CREATE TABLE t (n int primary key)");
    cluster.prepare("INSERT INTO t VALUES (1)");
    let count = "SELECT count(*) FROM t";
    let replica = &cluster.replicas[0];
    assert_eq!(replica.value(count), "1");
    let mut app = Session::login(replica.port(), "app", PASSWORD, "app").expect("a sign-in");
    assert_eq!(app.query("INSERT INTO t VALUES (99)").code(), 1290);

    replica.pause_replay();
    cluster.primary.sql("INSERT INTO t VALUES (2)").ok();
    assert_eq!(replica.value(count), "1");
    replica.resume_replay();
    cluster.settle();
    assert_eq!(replica.value(count), "2");

    replica.pause_receiving();
    cluster.primary.sql("INSERT INTO t VALUES (3)").ok();
    assert_eq!(replica.value(count), "2");
    replica.resume_receiving();
    cluster.settle();

    replica.delay_replay(3600);
    cluster.primary.sql("INSERT INTO t VALUES (4)").ok();
    assert_eq!(replica.value(count), "3");
    replica.delay_replay(0);
    cluster.settle();

    replica.freeze();
    let asking = std::thread::spawn(move || app.value("SELECT 1"));
    assert!(!asking.is_finished());
    replica.thaw();
    assert_eq!(asking.join().expect("an answer"), "1");

    replica.kill();
    assert!(Session::login(replica.port(), "app", PASSWORD, "app").is_err());
    replica.start();
    cluster.settle();

    cluster.primary.stop();
    replica.promote();
    let mut app = Session::login(replica.port(), "app", PASSWORD, "app").expect("a sign-in");
    assert_eq!(app.query("INSERT INTO t VALUES (5)").ok().affected, 1);
    cluster.replicas[1].follow(replica);
    cluster.replicas[1].await_position(&replica.position());
    holds("rows", Duration::from_secs(60), "5".to_owned(), || cluster.replicas[1].value(count));
}

fn the_log_tells_who_ran_what(make: Make) {
    let cluster = Cluster::start(make, 1);
    let mark = cluster.mark();
    cluster.primary.sql("SELECT 1 /* tag one */").ok();
    cluster.replicas[0].sql("SELECT 1 /* tag two */").ok();
    cluster.primary.admin().execute("SELECT ? /* tag three */", &["1"]).ok();
    // What a replica repeats is not what a client asked it.
    cluster.primary.sql("CREATE TABLE /* tag four */ t (n int)").ok();
    cluster.settle();
    // Who starts deletes the temporary tables in its directory, those of others too.
    let temporary = |server: &Server| server.value("SELECT @@tmpdir");
    assert_ne!(temporary(&cluster.primary), temporary(&cluster.replicas[0]));
    for (tag, server) in [("one", "primary"), ("two", "replica1"), ("three", "primary"), ("four", "primary")]
    {
        assert_eq!(cluster.servers_that_ran(&format!("/* tag {tag} */"), &mark), [server]);
    }
    assert!(cluster.servers_that_ran("/* tag five */", &mark).is_empty());
}

#[test]
fn mariadb_replicates_breaks_and_heals() {
    replicates_breaks_and_heals(Make::MariaDb);
}

#[test]
fn mysql_replicates_breaks_and_heals() {
    replicates_breaks_and_heals(Make::MySql);
}

#[test]
fn mariadb_logs_tell_who_ran_what() {
    the_log_tells_who_ran_what(Make::MariaDb);
}

#[test]
fn mysql_logs_tell_who_ran_what() {
    the_log_tells_who_ran_what(Make::MySql);
}
