//! A reload that moves a database to another cluster, under sessions that go on: what they saw of the old one says
//! nothing of the new one.

use std::time::Duration;

use integration::{Cluster, Config, Proxy, Server, Wire, until};

const PATIENCE: Duration = Duration::from_secs(60);

/// A cluster with a table whose one row tells which cluster it is.
fn cluster(v: u32) -> Cluster {
    let cluster = Cluster::start(1);
    cluster.prepare(&format!("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, {v})"));
    cluster
}

/// Sends a cluster's log far ahead.
fn write_much(cluster: &Cluster) {
    for _ in 0..4 {
        cluster.prepare("UPDATE t SET v = v");
        cluster.primary.value("SELECT pg_switch_wal()");
    }
    cluster.settle();
}

/// Reads until that is done on this server.
fn await_read_on(wire: &mut Wire, server: &Server) {
    until("it reads on the replica", PATIENCE, || {
        (wire.value("SELECT inet_server_port()") == server.port().to_string()).then_some(())
    });
}

#[test]
fn what_was_seen_of_one_cluster_is_not_asked_of_another() {
    let (one, two) = (cluster(100), cluster(200));
    write_much(&one);
    let position = |cluster: &Cluster| cluster.primary.value("SELECT pg_current_wal_insert_lsn()");
    let ask = format!("SELECT '{}'::pg_lsn > '{}'::pg_lsn + 33554432", position(&one), position(&two));
    assert_eq!(one.primary.value(&ask), "t", "the old cluster's positions are far ahead");

    let config = Config::of(&one).text("causal_wait", "1s").text("max_lag", "60s");
    let mut second =
        "[clusters.second]\nengine = \"postgres\"\ncausal_wait = \"1s\"\nmax_lag = \"60s\"\n".to_owned();
    for server in two.servers() {
        second += &format!("[[clusters.second.endpoints]]\naddress = \"{}\"\n", server.address());
    }
    let proxy = Proxy::start(Config { extra: second, ..config });
    proxy.await_cluster(&one);

    // One session knows a position, the other only when it wrote, a third has read alone.
    let [mut knows, mut wrote, mut read] = std::array::from_fn(|_| proxy.session());
    knows.query("UPDATE t SET v = 101").ok();
    await_read_on(&mut knows, &one.replicas[0]);
    await_read_on(&mut read, &one.replicas[0]);
    wrote.query("UPDATE t SET v = 102").ok();

    let old = "[databases.app]\ncluster = \"main\"";
    let text = proxy.config().to_string();
    assert!(text.contains(old));
    proxy.rewrite_text(&text.replace(old, "[databases.app]\ncluster = \"second\""));
    proxy.await_reads_on(&[two.replicas[0].port()]);
    let fenced = || proxy.metrics().sum("splitpool_statements_total", &[("reason", "fence")]);
    let before = fenced();
    for wire in [&mut knows, &mut wrote, &mut read] {
        assert_eq!(wire.value("SELECT v FROM t"), "200");
    }
    assert_eq!(fenced(), before, "the new cluster was asked for what the old one has");

    // The session's writes of the new one are its own again.
    two.replicas[0].pause_replay();
    for v in [201, 202] {
        knows.query(&format!("UPDATE t SET v = {v}")).ok();
        assert_eq!(knows.value("SELECT v FROM t"), v.to_string());
    }
    assert!(fenced() > before, "reads behind a write waited for the replica");
    two.replicas[0].resume_replay();
    await_read_on(&mut knows, &two.replicas[0]);
    assert_eq!(knows.value("SELECT v FROM t"), "202");
    assert_eq!(one.primary.value("SELECT v FROM t"), "102");
    proxy.assert_sound();
}
