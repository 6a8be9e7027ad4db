//! Metrics: what Prometheus reads is well formed, bounded, and what the databases know to be true.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use integration::paths::in_path;
use integration::{Login, PASSWORD, Stage, Wire, holds, until};

const SOON: Duration = Duration::from_secs(60);

fn stage(replicas: usize) -> Stage {
    let stage = Stage::new(replicas, |config| config);
    stage.cluster.prepare("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 0)");
    stage
}

/// A little of everything: reads, writes, an error, a pin, a pool that is too small for a moment.
fn work(stage: &Stage) {
    let mut wire = stage.proxy.session();
    for sql in [
        "SELECT v FROM t",
        "UPDATE t SET v = v + 1",
        "BEGIN; SELECT 1; COMMIT",
        "CREATE TEMP TABLE x (n int)",
    ] {
        wire.query(sql).ok();
    }
    assert!(wire.query("SELECT nothing FROM t").error.is_some());
}

/// The body of `/metrics` for a scraper that accepts this.
fn scrape(stage: &Stage, accept: &str) -> (String, String) {
    let port = stage.proxy.config().http;
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    let head = format!("GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("sent");
    let answer = std::io::read_to_string(stream).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a body");
    (head.to_ascii_lowercase(), body.to_owned())
}

#[test]
fn promtool_finds_nothing_amiss() {
    let missing = "apt-get install -y --no-install-recommends prometheus";
    let promtool = in_path("promtool").unwrap_or_else(|| panic!("no promtool; this installs it: {missing}"));
    let stage = stage(1);
    work(&stage);
    let (head, text) = scrape(&stage, "text/plain");
    assert!(head.contains("text/plain; version=0.0.4"), "{head}");
    let mut child = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    child.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("it reads");
    let out = child.wait_with_output().expect("it ends");
    let said = [out.stdout, out.stderr].concat();
    assert!(out.status.success() && said.is_empty(), "{}\n{text}", String::from_utf8_lossy(&said));
    let (head, open) = scrape(&stage, "application/openmetrics-text; version=1.0.0");
    assert!(head.contains("application/openmetrics-text"), "{head}");
    assert!(open.ends_with("# EOF\n") && open.contains("# TYPE splitpool_statements counter\n"), "{open}");
    let samples = |text: &str| text.lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!(samples(&open), samples(&text), "both tell the same");
}

#[test]
fn no_statement_makes_a_series() {
    let stage = stage(1);
    work(&stage);
    let mut wire = stage.proxy.session();
    let series = || scrape(&stage, "text/plain").1.lines().filter(|line| !line.starts_with('#')).count();
    let run = |wire: &mut Wire, from: usize| {
        for n in from..from + 200 {
            wire.query(&format!("SELECT v AS a{n} FROM t WHERE id = {n}")).ok();
            wire.execute(&format!("SELECT v AS b{n} FROM t WHERE id = $1"), &["1"]).ok();
            wire.query(&format!("UPDATE t SET v = {n}")).ok();
            assert!(wire.query(&format!("SELECT no_such_{n} FROM t")).error.is_some());
        }
    };
    run(&mut wire, 0);
    let before = series();
    run(&mut wire, 1000);
    assert_eq!(series(), before);
    assert!(Wire::login(&Login::new(stage.proxy.port(), "app", PASSWORD, "no_such_database")).is_err());
    assert!(Wire::login(&Login::new(stage.proxy.port(), "no_such_user", PASSWORD, "app")).is_err());
    assert_eq!(series(), before);
}

#[test]
fn what_is_told_is_so() {
    let mut stage = stage(1);
    let replica = format!("127.0.0.1:{}", stage.cluster.replicas[0].port());
    let at_replica = [("endpoint", replica.as_str())];
    let metric = |stage: &Stage, name: &str, labels: &[(&str, &str)]| stage.proxy.metrics().sum(name, labels);
    // The latency of every request that a replica served.
    let served = |stage: &Stage| metric(stage, "splitpool_endpoint_latency_seconds_count", &at_replica);
    let mut wire = stage.proxy.session();
    wire.query("SET splitpool.consistency = 'eventual'").ok();
    let before = served(&stage);
    for _ in 0..10 {
        assert_eq!(wire.value("SELECT inet_server_port()"), stage.cluster.replicas[0].port().to_string());
    }
    holds("requests on the replica", SOON, before + 10.0, || served(&stage));
    let slow = [("endpoint", replica.as_str()), ("le", "0.262144")];
    let quick = metric(&stage, "splitpool_endpoint_latency_seconds_bucket", &slow);
    wire.query("SELECT pg_sleep(0.3)").ok();
    holds("a slow one", SOON, before + 11.0, || served(&stage));
    assert!(metric(&stage, "splitpool_endpoint_latency_seconds_bucket", &slow) <= quick);
    assert!(metric(&stage, "splitpool_endpoint_latency_seconds_sum", &at_replica) >= 0.3);
    // Reads that wait for a replica that does not replay.
    let waits = |stage: &Stage| metric(stage, "splitpool_fence_waits_total", &[("outcome", "fell_back")]);
    let (before, mut own) = (waits(&stage), stage.proxy.session());
    stage.cluster.replicas[0].admin().query("SELECT pg_wal_replay_pause()").ok();
    until("a read falls back", SOON, || {
        own.query("UPDATE t SET v = v + 1").ok();
        own.query("SELECT v FROM t").ok();
        (waits(&stage) > before).then_some(())
    });
    stage.cluster.replicas[0].admin().query("SELECT pg_wal_replay_resume()").ok();
    // What operators do.
    let login = Login::new(stage.proxy.port(), "app", PASSWORD, "splitpool");
    let mut console = Wire::login(&login).expect("signs in");
    console.query(&format!("DRAIN {replica}")).ok();
    assert_eq!(metric(&stage, "splitpool_endpoint_duty", &[("endpoint", &replica), ("duty", "drain")]), 1.0);
    let eligible = [("endpoint", replica.as_str()), ("reason", "draining")];
    assert!(
        stage.proxy.metrics().of("splitpool_endpoint_eligible", &eligible).all(|sample| sample.value == 0.0)
    );
    assert_eq!(stage.proxy.metrics().of("splitpool_endpoint_eligible", &eligible).count(), 1);
    console.query("DISABLE app").ok();
    assert_eq!(metric(&stage, "splitpool_database_disabled", &[("database", "app")]), 1.0);
    console.query("ENABLE app").ok();
    console.query("PAUSE app").ok();
    assert_eq!(metric(&stage, "splitpool_database_paused", &[("database", "app")]), 1.0);
    assert_eq!(metric(&stage, "splitpool_endpoint_backends", &[]), 0.0);
    console.query("RESUME app").ok();
    // The hash of the settings, and the reloads.
    let hash = |stage: &Stage| {
        let metrics = stage.proxy.metrics();
        let found =
            metrics.of("splitpool_config_info", &[]).next().map(|sample| sample.labels["hash"].clone());
        found.expect("there is one")
    };
    let old = hash(&stage);
    let config = stage.proxy.config().clone().text("max_lag", "9s");
    stage.proxy.rewrite(config);
    until("another hash", SOON, || (hash(&stage) != old).then_some(()));
    assert_eq!(metric(&stage, "splitpool_config_generation", &[]), 2.0);
    stage.proxy.rewrite_text("[");
    until("a rejected one", SOON, || {
        (metric(&stage, "splitpool_config_reloads_total", &[("outcome", "rejected")]) >= 1.0).then_some(())
    });
}
