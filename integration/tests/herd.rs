//! Hundreds of clients come at the same instant, to a proxy and a database that have just begun: nobody is turned
//! away, and the database sees no more sign-ins at a time, and no more backends, than it was promised.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use integration::cluster::Options;
use integration::wire::Error;
use integration::{
    Cluster, Config, PASSWORD, PATIENCE, Proxy, Raise, Server, Stage, Wire, frame, holds, until,
};

const CLIENTS: usize = 300;
const POOL: usize = 5;
const LOGINS: usize = 2;

/// Longer than a herd takes to be served on however busy a machine.
const LONG: Duration = Duration::from_secs(300);

fn cluster() -> Cluster {
    let settings = [("log_connections", "on"), ("log_disconnections", "on")];
    let settings = settings.map(|(name, value)| (name, value.to_owned())).to_vec();
    let cluster = Cluster::with(&Options { replicas: 1, settings, ..Options::default() });
    cluster.prepare("CREATE TABLE herd (who int, what text)");
    cluster
}

fn configure(cluster: &Cluster) -> Config {
    let mut config = Config::of(cluster)
        .raw("pool_size", &POOL.to_string())
        .raw("max_concurrent_logins", &LOGINS.to_string())
        .text("consistency", "eventual")
        .text("max_lag", "60s")
        .text("query_wait_timeout", "10m")
        .text("connect_timeout", "5m")
        .text("probe_timeout", "30s")
        .text("probe_user", "other")
        .text("probe_password", PASSWORD);
    // How clients prove themselves is not what this is about, and stretching passwords would be most of the time.
    config.listen = "auth = \"trust\"\n".to_owned();
    config.extra.push_str("\n[general]\nclient_login_timeout = \"5m\"\n");
    config
}

fn session(proxy: &Proxy) -> Result<Wire, Error> {
    let mut wire = Wire::connect(proxy.port())?;
    wire.patience(LONG);
    wire.send(&frame::startup(&[("user", "app"), ("database", "app")]))?;
    wire.sign_in("app", PASSWORD)?;
    Ok(wire)
}

/// A client of the herd: a write and a read of its own. What went wrong, if anything.
fn one(proxy: &Proxy, who: usize, start: &Barrier) -> Option<String> {
    start.wait();
    let mut wire = match session(proxy) {
        Ok(wire) => wire,
        Err(error) => return Some(format!("{who} signs in: {error}")),
    };
    let write = format!("INSERT INTO herd VALUES ({who}, 'came')");
    let wrote = match who % 2 {
        0 => wire.try_query(&write),
        _ => wire.try_execute(&write, &[]),
    };
    let read = wrote.and_then(|wrote| {
        drop(wrote.ok());
        wire.try_query("SELECT count(*) FROM pg_class")
    });
    match read {
        Ok(reply) => reply.error.map(|error| format!("{who}: {error}")),
        Err(error) => Some(format!("{who}: {error}")),
    }
}

/// All come at once. What failed.
fn herd(proxy: &Proxy) -> Vec<String> {
    let start = Barrier::new(CLIENTS);
    thread::scope(|scope| {
        let all: Vec<_> = (0..CLIENTS).map(|who| (who, &start)).collect();
        let all: Vec<_> =
            all.into_iter().map(|(who, start)| scope.spawn(move || one(proxy, who, start))).collect();
        all.into_iter().filter_map(|client| client.join().expect("a client ends")).collect()
    })
}

/// The most sign-ins of `app` under way at one time, and the most of its backends, by the server's own log.
fn most(server: &Server, since: u64) -> (usize, usize) {
    let log = server.log_since(since);
    let lines = || log.lines().filter_map(|line| line.split_once("| "));
    let process = |head: &str| head.split('|').nth(1).map(str::to_owned);
    // Who came is told by a later line.
    let ours: BTreeSet<_> = lines()
        .filter(|(_, text)| text.contains("connection authorized: user=app "))
        .filter_map(|(head, _)| process(head))
        .collect();
    let (mut coming, mut open) = (BTreeSet::new(), BTreeSet::new());
    let mut most = (0, 0);
    for (head, text) in lines() {
        let Some(process) = process(head).filter(|process| ours.contains(process)) else { continue };
        if text.contains("connection received") {
            coming.insert(process);
        } else if text.contains("connection authorized") {
            coming.remove(&process);
            open.insert(process);
        } else if text.contains("disconnection:") {
            open.remove(&process);
        }
        most = (most.0.max(coming.len()), most.1.max(open.len()));
    }
    most
}

/// Looks at the databases' sessions while `work` runs: the most of `app` that any of them had at a time.
fn watched<T>(cluster: &Cluster, work: impl FnOnce() -> T) -> (T, usize) {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut most = 0;
            while !over.load(Ordering::Relaxed) {
                for server in cluster.servers().filter(|server| server.is_running()) {
                    let login = integration::Login::new(server.port(), "postgres", PASSWORD, "app");
                    let Ok(mut admin) = Wire::login(&login) else { continue };
                    let ask = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'";
                    if let Ok(reply) = admin.try_query(ask) {
                        most = most.max(reply.value().parse().unwrap_or(0));
                    }
                }
                thread::sleep(Duration::from_millis(20));
            }
            most
        });
        let end = Raise(&over);
        let done = work();
        drop(end);
        (done, watcher.join().expect("the watcher ends"))
    })
}

#[track_caller]
fn judge(cluster: &Cluster, marks: &BTreeMap<u16, u64>, (failed, seen): (Vec<String>, usize), served: usize) {
    assert!(failed.is_empty(), "{} failed: {:#?}", failed.len(), &failed[..failed.len().min(5)]);
    let rows = cluster.primary.value("SELECT count(DISTINCT who) || ' ' || count(*) FROM herd");
    assert_eq!(rows, format!("{CLIENTS} {served}"), "each has written once");
    assert!(seen <= POOL, "{seen} backends at a time");
    for server in cluster.servers() {
        let (coming, open) = most(server, marks[&server.port()]);
        assert!(coming <= LOGINS, "{}: {coming} sign-ins at a time", server.name());
        assert!((1..=POOL).contains(&open), "{}: {open} backends", server.name());
    }
}

fn marks(cluster: &Cluster) -> BTreeMap<u16, u64> {
    cluster.servers().map(|server| (server.port(), server.log_mark())).collect()
}

#[test]
fn at_a_proxy_that_has_just_begun() {
    let cluster = cluster();
    let config = configure(&cluster);
    // One that was there before: what it held must not count against the new one.
    drop(Proxy::start(config.clone()));
    let away = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'";
    holds("backends of the old one", PATIENCE, "0".to_owned(), || cluster.primary.value(away));
    let marks = marks(&cluster);
    let proxy = Proxy::start(config);
    let came = watched(&cluster, || herd(&proxy));
    judge(&cluster, &marks, came, CLIENTS);
    proxy.assert_sound();
}

#[test]
fn at_a_primary_that_has_just_begun() {
    let cluster = cluster();
    let proxy = Proxy::start(configure(&cluster));
    proxy.await_cluster(&cluster);
    cluster.primary.stop();
    let address = cluster.primary.address();
    until("the primary is missed", PATIENCE, || {
        let up = proxy.metrics().sum("splitpool_endpoint_up", &[("endpoint", &address)]);
        (up == 0.0).then_some(())
    });
    let marks = marks(&cluster);
    cluster.primary.spawn();
    let came = watched(&cluster, || herd(&proxy));
    judge(&cluster, &marks, came, CLIENTS);
    proxy.assert_sound();
}

#[test]
fn who_came_first_is_served_first() {
    let stage = Stage::over(cluster(), |config| {
        config.raw("pool_size", "1").text("query_wait_timeout", "10m").text("probe_timeout", "30s")
    });
    let mut holder = stage.proxy.session();
    holder.query("BEGIN; SELECT 1").ok();
    let mut line = Vec::new();
    for who in 0..30 {
        let mut wire = stage.proxy.session();
        let write = format!("INSERT INTO herd VALUES ({who}, clock_timestamp()::text)");
        let request = match who % 2 {
            0 => frame::query(&write),
            _ => [frame::unnamed(&write, &[]), frame::sync()].concat(),
        };
        wire.send(&request).expect("it is open");
        let waiting = || stage.proxy.metrics().sum("splitpool_endpoint_waiting", &[]);
        holds("who waits", PATIENCE, f64::from(who + 1), waiting);
        line.push(wire);
    }
    holder.query("COMMIT").ok();
    for wire in &mut line {
        wire.reply().expect("an answer").ok();
    }
    let order = stage.cluster.primary.value("SELECT string_agg(who::text, ' ' ORDER BY what) FROM herd");
    assert_eq!(order, (0..30).map(|who| who.to_string()).collect::<Vec<_>>().join(" "));
}
