//! Replicas that recover: what they cut off for it is read elsewhere, and those behind another replica are measured
//! against the primary.

use std::thread;
use std::time::{Duration, Instant};

use integration::config::Endpoint;
use integration::{Cluster, Config, PASSWORD, Proxy, Stage, until};

const PATIENCE: Duration = Duration::from_secs(60);

/// Reads for a while, and tells where.
const SLOW: &str = "SELECT current_setting('cluster_name'), (SELECT count(*) FROM generate_series(1, 8000000)) FROM t WHERE id = 1";

/// Runs `SLOW`, and `disturb` once it runs on the replica. Returns where it ran to its end.
fn disturbed(stage: &Stage, extended: bool, disturb: impl FnOnce()) -> String {
    let replica = &stage.cluster.replicas[0];
    stage.proxy.await_reads_on(&[replica.port()]);
    thread::scope(|scope| {
        let reading = scope.spawn(|| {
            let mut wire = stage.proxy.session();
            wire.patience(PATIENCE);
            let reply = if extended { wire.execute(SLOW, &[]) } else { wire.query(SLOW) };
            let value = reply.value();
            assert_eq!(wire.value("SELECT 1"), "1", "its session goes on");
            value
        });
        let mut admin = replica.admin();
        let runs = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'SELECT current_setting(%generate_series%'";
        until("it runs on the replica", PATIENCE, || (admin.value(runs) == "1").then_some(()));
        disturb();
        reading.join().expect("the reader gets its answer")
    })
}

#[test]
fn a_read_that_is_in_the_way_of_recovery_runs_elsewhere() {
    let cluster = Cluster::start(1);
    cluster.prepare("CREATE TABLE t (id int); INSERT INTO t VALUES (1)");
    cluster.replicas[0].set("max_standby_streaming_delay", "0");
    let stage = Stage::over(cluster, |config| config.text("consistency", "eventual").text("max_lag", "60s"));
    for extended in [false, true] {
        let mark = stage.cluster.replicas[0].log_mark();
        let place = disturbed(&stage, extended, || {
            // Its lock must be taken on the replica as well, where the reader has one.
            stage.cluster.primary.sql("BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE; COMMIT").ok();
        });
        assert_eq!(place, "primary", "extended: {extended}");
        let log = stage.cluster.replicas[0].log_since(mark);
        assert!(log.contains("due to conflict with recovery"), "nothing was cut off:\n{log}");
    }
}

#[test]
fn a_read_whose_backend_is_ended_runs_elsewhere() {
    let cluster = Cluster::start(1);
    cluster.prepare("CREATE TABLE t (id int); INSERT INTO t VALUES (1)");
    let stage = Stage::over(cluster, |config| config.text("consistency", "eventual").text("max_lag", "60s"));
    for extended in [false, true] {
        disturbed(&stage, extended, || {
            let ended = stage.cluster.replicas[0].value(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                 WHERE state = 'active' AND query LIKE 'SELECT current_setting(%generate_series%'",
            );
            assert_eq!(ended, "1");
        });
    }
}

#[test]
fn a_replica_of_a_replica_is_measured_against_the_primary() {
    let cluster = Cluster::start(1);
    cluster.prepare("CREATE TABLE t (id int, v int); INSERT INTO t VALUES (1, 0)");
    let far = cluster.make_replica("far");
    let near = &cluster.replicas[0];
    let source = format!(
        "host=127.0.0.1 port={} user=replicator password={PASSWORD} application_name=far sslmode=disable",
        near.port()
    );
    far.configure("primary_conninfo", &source);
    far.start();
    let endpoints = [&cluster.primary, near, &far].map(|server| Endpoint::auto(server.address()));
    let config = Config::over(endpoints.to_vec()).text("max_lag", "1s").text("consistency", "session");
    let proxy = Proxy::start(config);
    proxy.await_reads_on(&[near.port(), far.port()]);
    assert_eq!(
        cluster.primary.value("SELECT string_agg(application_name, ' ') FROM pg_stat_replication"),
        "replica1"
    );
    // The far one hears nothing new, and believes that it has replayed all there is.
    far.freeze_receiver();
    let mut writer = proxy.session();
    let mut value = 0;
    until("the far replica takes no reads", PATIENCE, || {
        value += 1;
        writer.query(&format!("UPDATE t SET v = {value}")).ok();
        assert_eq!(writer.value("SELECT v FROM t"), value.to_string(), "its own write");
        let up = proxy.metrics().sum("splitpool_endpoint_lag_seconds", &[("endpoint", &far.address())]);
        (up > 1.0).then_some(())
    });
    for _ in 0..50 {
        let place = proxy.session().value("SELECT inet_server_port()");
        assert_ne!(place, far.port().to_string(), "a replica over max_lag is read from");
    }
    far.thaw();
    proxy.await_reads_on(&[far.port()]);
}

/// What a session has set must be set wherever it reads, and a replica may not know of it yet.
#[test]
fn a_role_that_has_not_come_to_the_replicas_yet_reads_on_the_primary() {
    let stage = Stage::new(2, |config| config.text("consistency", "eventual").text("max_lag", "60s"));
    let mut wire = stage.proxy.session();
    stage.cluster.replicas.iter().for_each(integration::Server::pause_replay);
    stage.cluster.primary.sql("CREATE ROLE late; GRANT late TO app").ok();
    wire.query("SET ROLE late").ok();
    let ask = "SELECT current_user || ' on ' || current_setting('cluster_name')";
    let logs = || stage.cluster.replicas.iter().map(integration::Server::log_mark).collect::<Vec<_>>();
    let marks = logs();
    let begun = Instant::now();
    for _ in 0..30 {
        assert_eq!(wire.value(ask), "late on primary");
        assert_eq!(wire.execute(ask, &[]).value(), "late on primary");
    }
    // A backend that was asked in vain is closed: that happens to each of them once a second, not with every read.
    let most = 2 * (begun.elapsed().as_secs() as usize + 2);
    let refusals = stage
        .cluster
        .replicas
        .iter()
        .zip(marks)
        .map(|(replica, mark)| replica.log_since(mark).matches("role \"late\" does not exist").count());
    let refusals: usize = refusals.sum();
    assert!((1..=most).contains(&refusals), "{refusals} refusals, more than {most}");
    // Whoever has set nothing reads on the replicas all the while.
    assert_ne!(stage.proxy.session().value(ask), "app on primary");
    stage.cluster.replicas.iter().for_each(integration::Server::resume_replay);
    until("it reads on a replica", PATIENCE, || wire.value(ask).starts_with("late on replica").then_some(()));
}
