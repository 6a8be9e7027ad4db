//! A change of the configuration costs no query, and a wrong one changes nothing.

use std::time::Duration;

use integration::config::Endpoint;
use integration::load::{self, Progress};
use integration::{
    Cluster, Config, Linked, Login, PASSWORD, PATIENCE, Proxy, Stage, Wire, frame, holds, until,
};
use rustix::process::Signal;

const SCHEMA: &str =
    "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t SELECT n, 0 FROM generate_series(1, 20) n";

/// Works in some sessions, and in new ones all the time, while `change` runs; returns what failed.
fn under_load(port: u16, change: impl FnOnce(&Progress)) -> Vec<String> {
    let sign_in = || Wire::login(&Login::new(port, "app", PASSWORD, "app"));
    let round = |(id, wire): &mut (usize, Wire)| {
        load::read_and_write(wire, *id)?;
        let slow = "SELECT count(*), pg_sleep(0.002) FROM t";
        load::went_well(wire.try_query(slow), slow)?;
        let mut other = sign_in().map_err(|error| format!("sign-in: {error}"))?;
        load::went_well(other.try_query("SELECT 1"), "SELECT 1")
    };
    load::under_load(6, |id| (id, sign_in().expect("signs in")), round, change)
}

fn with(config: &Config, servers: &[&integration::Server]) -> Config {
    let endpoints = servers.iter().map(|server| Endpoint::auto(server.address())).collect();
    Config { endpoints, ..config.clone() }
}

#[test]
fn a_replica_leaves_and_returns_under_load_without_a_failed_query() {
    let mut stage = Stage::new(2, |config| config.text("consistency", "eventual"));
    stage.cluster.prepare(SCHEMA);
    let Stage { proxy, cluster } = &mut stage;
    let (one, two) = (&cluster.replicas[0], &cluster.replicas[1]);
    let all = proxy.config().clone();
    let port = proxy.port();
    let clients = |server: &integration::Server| {
        server.value("SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'")
    };
    let failed = under_load(port, |progress| {
        for _ in 0..3 {
            progress.await_more(6);
            proxy.rewrite(with(&all, &[&cluster.primary, one]));
            holds("sessions on the removed replica", PATIENCE, "0".to_owned(), || clients(two));
            proxy.rewrite(all.clone());
            proxy.await_reads_on(&[one.port(), two.port()]);
            progress.await_more(6);
        }
    });
    assert!(failed.is_empty(), "{failed:#?}");
}

/// A backend is brought to its session's settings when its endpoint leaves: the request, of which nothing was sent yet,
/// runs on the next one, and leaves there what it leaves.
#[test]
fn an_endpoint_that_leaves_takes_no_request_along() {
    let cluster = Cluster::start(0);
    cluster.prepare(SCHEMA);
    let Linked { proxy, link, cluster } = &mut Linked::over(cluster, |config| config.raw("pool_size", "1"));
    let (mut one, mut two) = (proxy.session(), proxy.session());
    one.query("SET work_mem = '3MB'").ok();
    two.query("SET work_mem = '5MB'").ok();
    assert_eq!(two.value("SHOW work_mem"), "5MB");
    link.freeze();
    one.send(&frame::query("UPDATE t SET v = 7 WHERE id = 7; SET work_mem = '7MB'")).expect("it is open");
    holds("backends lent", PATIENCE, 1.0, || proxy.metrics().sum("splitpool_endpoint_leases", &[]));
    // The same database, by another address.
    proxy.rewrite(with(proxy.config(), &[&cluster.primary]));
    let new = cluster.primary.address();
    holds("the next endpoint", PATIENCE, 1.0, || {
        proxy.metrics().sum("splitpool_endpoint_up", &[("endpoint", &new)])
    });
    link.thaw();
    one.reply().expect("the session goes on").ok();
    for _ in 0..2 {
        assert_eq!(two.value("SHOW work_mem"), "5MB");
        assert_eq!(one.value("SHOW work_mem"), "7MB");
    }
    assert_eq!(cluster.primary.value("SELECT v FROM t WHERE id = 7"), "7");
}

#[test]
fn a_wrong_file_changes_nothing() {
    let stage =
        Stage::new(2, |config| config.text("consistency", "eventual").text("query_wait_timeout", "3s"));
    stage.cluster.prepare(SCHEMA);
    let proxy = &stage.proxy;
    let good = proxy.config().to_string();
    let ports: Vec<u16> = stage.cluster.replicas.iter().map(integration::Server::port).collect();
    let wrong = [
        "this is not TOML [".to_owned(),
        String::new(),
        good.replace("[clusters.main]", "[clusters.main]\nno_such_key = 1"),
        good.replace("engine = \"postgres\"", "engine = \"oracle\""),
        good.replace("cluster = \"main\"", "cluster = \"missing\""),
        good.replace("probe_interval = \"100ms\"", "probe_interval = \"soon\""),
    ];
    let failed = under_load(proxy.port(), |_| {
        for text in &wrong {
            let before = proxy.log().len();
            proxy.rewrite_text(text);
            until(&format!("the log speaks of {text:.40}"), PATIENCE, || {
                (proxy.log().len() > before).then_some(())
            });
            proxy.await_reads_on(&ports);
        }
    });
    assert!(failed.is_empty(), "{failed:#?}");
    assert!(proxy.is_running());
    // The next good file is taken as if nothing had been.
    proxy.rewrite_text(&good.replace("pool_size = 20", "pool_size = 3"));
    most_backends(&stage, 3);
}

/// Waits until this many transactions run at once and one more does not.
fn most_backends(stage: &Stage, count: usize) {
    until(&format!("the pool has {count} backends"), PATIENCE, || {
        let mut sessions: Vec<Wire> = Vec::new();
        for _ in 0..=count {
            // A sign-in may need a backend, too.
            let Ok(mut wire) = stage.proxy.try_session() else { break };
            wire.patience(Duration::from_millis(500));
            match wire.try_query("BEGIN") {
                Ok(reply) if reply.error.is_none() => sessions.push(wire),
                _ => break,
            }
        }
        (sessions.len() == count).then_some(())
    });
}

#[test]
fn sighup_reloads() {
    let mut stage = Stage::new(0, |config| config);
    let config = stage.proxy.config().clone();
    stage.proxy.rewrite(config.clone().raw("pool_size", "2"));
    stage.proxy.signal(Signal::HUP);
    most_backends(&stage, 2);
    stage.proxy.rewrite(config.raw("pool_size", "4"));
    stage.proxy.signal(Signal::HUP);
    most_backends(&stage, 4);
}

#[test]
fn a_configmaps_swap_of_links_is_seen() {
    let cluster = Cluster::start(2);
    let all = Config::of(&cluster).text("consistency", "eventual");
    let one = with(&all, &[&cluster.primary, &cluster.replicas[0]]);
    let mut proxy = Proxy::start_in_volume(one.clone());
    proxy.await_reads_on(&[cluster.replicas[0].port()]);
    for _ in 0..2 {
        proxy.swap_volume(all.clone());
        proxy.await_reads_on(&[cluster.replicas[0].port(), cluster.replicas[1].port()]);
        proxy.swap_volume(one.clone());
        let other = &cluster.replicas[1];
        holds("sessions on the removed replica", PATIENCE, "0".to_owned(), || {
            other.value("SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'")
        });
    }
}

#[test]
fn a_user_comes_changes_and_goes() {
    let mut stage = Stage::new(0, |config| config);
    let port = stage.proxy.port();
    let code = |password: &str| match Wire::login(&Login::new(port, "other", password, "app")) {
        Ok(_) => "in".to_owned(),
        Err(error) => error.code().to_owned(),
    };
    assert_eq!(code(PASSWORD), "in");
    let mut config = stage.proxy.config().clone();
    config.users.retain(|(name, _)| name != "other");
    stage.proxy.rewrite(config);
    holds("the sign-in of a removed user", PATIENCE, "28P01".to_owned(), || code(PASSWORD));
    let mut config = stage.proxy.config().clone();
    config.users.push(("other".to_owned(), "changed".to_owned()));
    stage.proxy.rewrite(config);
    stage.cluster.primary.sql("ALTER ROLE other PASSWORD 'changed'").ok();
    holds("the sign-in with the new password", PATIENCE, "in".to_owned(), || code("changed"));
    assert_eq!(code(PASSWORD), "28P01");
}

#[test]
fn check_reports_every_mistake_at_once() {
    let cluster = Cluster::start(0);
    let good = Config::of(&cluster).to_string();
    let out = Proxy::run(&good, &["check"]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let bad = good
        .replace("probe_interval = \"100ms\"", "probe_intervall = \"100ms\"")
        .replace("cluster = \"main\"", "cluster = \"missing\"")
        .replace("weight = 1", "weight = \"heavy\"");
    let out = Proxy::run(&bad, &["check"]);
    let said = [out.stdout, out.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert_eq!(out.status.code(), Some(1), "{said}");
    for part in ["probe_intervall", "probe_interval", "missing", "weight"] {
        assert!(said.contains(part), "{part} is not in: {said}");
    }
}

#[test]
fn how_many_clients_and_which_log_lines_change_without_a_restart() {
    let mut stage = Stage::new(0, |mut config| {
        config.extra = "\n[general]\nmax_clients = 3\n".to_owned();
        config
    });
    let general = |most: usize, format: &str, level: &str| {
        format!(
            "\n[general]\nmax_clients = {most}\n\n[general.log]\nformat = \"{format}\"\nlevel = \"{level}\"\n"
        )
    };
    let change = |stage: &mut Stage, extra: String| {
        let config = Config { extra, ..stage.proxy.config().clone() };
        stage.proxy.rewrite(config);
    };
    let mut sessions: Vec<Wire> = Vec::new();
    let fill = |stage: &Stage, sessions: &mut Vec<Wire>, most: usize| {
        until(&format!("{most} clients are let in"), PATIENCE, || {
            while sessions.len() <= most {
                match stage.proxy.try_session() {
                    Ok(wire) => sessions.push(wire),
                    Err(error) => {
                        assert_eq!(error.code(), "53300");
                        break;
                    }
                }
            }
            assert!(sessions.len() <= most, "more than {most}");
            (sessions.len() == most).then_some(())
        });
        assert_eq!(stage.proxy.try_session().expect_err("it is full").code(), "53300");
    };
    fill(&stage, &mut sessions, 3);
    // More, and the log as JSON with lines that were not written before.
    change(&mut stage, general(5, "json", "debug"));
    fill(&stage, &mut sessions, 5);
    until("lines are JSON", PATIENCE, || stage.proxy.log().contains("{\"timestamp\"").then_some(()));
    // Fewer: those who are in stay, and as one leaves nobody follows.
    change(&mut stage, general(2, "text", "error"));
    holds("the generation", PATIENCE, 3.0, || stage.proxy.metrics().sum("splitpool_config_generation", &[]));
    let written = stage.proxy.log().len();
    for wire in &mut sessions {
        assert_eq!(wire.value("SELECT 1"), "1");
    }
    while sessions.len() > 2 {
        sessions.pop();
        holds("sessions", PATIENCE, sessions.len() as f64, || {
            stage.proxy.metrics().sum("splitpool_sessions", &[])
        });
        assert_eq!(stage.proxy.try_session().expect_err("it is full").code(), "53300");
    }
    sessions.pop();
    fill(&stage, &mut sessions, 2);
    // What is no error is no longer written; what is one is, as text.
    stage.proxy.rewrite_text("this is not TOML [");
    until("the mistake is written", PATIENCE, || {
        stage.proxy.log()[written..].contains("ERROR the configuration is not valid").then_some(())
    });
    assert!(!stage.proxy.log()[written..].contains("INFO"), "{}", &stage.proxy.log()[written..]);
}

#[test]
fn a_thousand_swaps_under_load_cost_no_client_an_error() {
    let cluster = Cluster::start(1);
    cluster.prepare(SCHEMA);
    let config = Config { listen: "auth = \"trust\"\n".to_owned(), ..Config::of(&cluster) };
    let mut proxy = Proxy::start_in_volume(config.clone());
    proxy.await_cluster(&cluster);
    // Each swap changes something: a pool's size, an endpoint, a secret, a user who comes and goes.
    let swapped = |round: usize| {
        let mut next = config.clone().raw("pool_size", &(10 + round % 7).to_string());
        if round.is_multiple_of(5) {
            next.endpoints.pop();
        }
        if round.is_multiple_of(3) {
            next.users.push((format!("guest{round}"), format!("canary-{round}")));
        }
        next.listen += &format!("http_token = \"canary-token-{round}\"\n");
        next
    };
    let port = proxy.port();
    let failed = under_load(port, |progress| {
        for round in 1..=1000 {
            if round % 100 == 0 {
                progress.await_more(20);
            }
            proxy.swap_volume(swapped(round));
            // Asked for, so that none is skipped; the watch on the volume reloads besides.
            let (status, said) = integration::http::post(proxy.config().http, "/reload").expect("it answers");
            assert_eq!(status, 200, "{said}");
        }
    });
    assert!(failed.is_empty(), "{failed:#?}");
    // The last one is in force, every one had a number, and what changed was told without its secrets.
    let generation = proxy.metrics().sum("splitpool_config_generation", &[]);
    assert_eq!(generation, 1001.0);
    let log = proxy.log();
    assert!(log.contains("changed: clusters.main.pool_size: 15 -> 16"), "no diff in the log");
    assert!(
        log.contains("changed: users.guest999: added") && log.contains("changed: users.guest999: removed")
    );
    assert!(log.contains("changed: listen.http_token: changed"));
    assert!(!log.contains("canary"), "a secret is in the log");
}
