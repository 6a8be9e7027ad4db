//! What operators change on the console takes hold, and harms nobody else.

use std::thread;
use std::time::Duration;

use integration::console::{configured, console, row, table};
use integration::load::{self, Progress};
use integration::{Proxy, Server, Stage, Wire, frame, holds, until};

const SOON: Duration = Duration::from_secs(60);

const SCHEMA: &str =
    "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t SELECT n, 0 FROM generate_series(1, 20) n";

fn stage(replicas: usize) -> Stage {
    let stage = Stage::new(replicas, configured);
    stage.cluster.prepare(SCHEMA);
    stage
}

/// Reads, writes and runs transactions in some sessions while `change` runs; returns what failed.
fn under_load(proxy: &Proxy, change: impl FnOnce(&Progress)) -> Vec<String> {
    let round = |client: &mut (usize, Wire)| load::read_and_write(&mut client.1, client.0);
    load::under_load(6, |id| (id, proxy.session()), round, change)
}

/// The backends of the role `app` on a server, by their process, the one that asks and the proxy's probes left out.
fn backends(server: &Server) -> Vec<String> {
    let ask = "SELECT coalesce(string_agg(pid::text, ' ' ORDER BY pid), '') FROM pg_stat_activity \
               WHERE usename = 'app' AND application_name NOT LIKE 'splitpool%' AND pid <> pg_backend_pid()";
    server.value(ask).split_whitespace().map(str::to_owned).collect()
}

#[test]
fn pause_waits_at_the_edge_of_transactions_and_costs_no_client_an_error() {
    let stage = stage(1);
    let mut admin = console(&stage.proxy, "app");
    let mut watcher = console(&stage.proxy, "viewer");
    let failed = under_load(&stage.proxy, |progress| {
        for how in ["app", "", "app"] {
            progress.await_more(10);
            assert_eq!(admin.query(&format!("PAUSE {how}")).ok().tags, ["PAUSE"]);
            let paused = table(&mut watcher, "SHOW DATABASES");
            assert_eq!(row(&paused, "name", "app")["paused"], "1");
            // All connections for clients are closed, and none is made.
            for server in stage.cluster.servers() {
                holds("backends while paused", SOON, Vec::new(), || backends(server));
            }
            until("every client waits", SOON, || {
                let pools = table(&mut watcher, "SHOW POOLS");
                let app = pools.iter().find(|row| row["database"] == "app" && row["user"] == "app")?;
                (app["cl_waiting"] == "6" && app["cl_active"] == "0").then_some(())
            });
            let waits = table(&mut watcher, "SHOW CLIENTS");
            assert!(waits.iter().filter(|client| client["state"] == "waiting").count() == 6, "{waits:#?}");
            assert_eq!(admin.query(&format!("PAUSE {how}")).code(), "55000", "paused already");
            assert!(stage.cluster.servers().all(|server| backends(server).is_empty()));
            assert_eq!(admin.query(&format!("RESUME {how}")).ok().tags, ["RESUME"]);
            until("work goes on", SOON, || (!backends(&stage.cluster.primary).is_empty()).then_some(()));
            progress.await_more(10);
        }
    });
    assert!(failed.is_empty(), "{failed:#?}");
    assert_eq!(admin.query("RESUME").code(), "55000", "nothing is paused");
}

#[test]
fn pause_waits_for_open_transactions_and_is_undone_when_its_operator_goes() {
    let stage = stage(0);
    let mut holder = stage.proxy.session();
    holder.query("BEGIN; SELECT 1").ok();
    let mut admin = console(&stage.proxy, "app");
    admin.send(&frame::query("PAUSE")).expect("sent");
    let mut watcher = console(&stage.proxy, "viewer");
    until("it is paused", SOON, || (table(&mut watcher, "SHOW STATE")[1]["value"] == "yes").then_some(()));
    admin.patience(Duration::from_millis(300));
    assert!(admin.read().is_err(), "it waits for the transaction");
    assert_eq!(holder.value("SELECT 2"), "2", "which goes on");
    drop(admin);
    until("it is undone", SOON, || (table(&mut watcher, "SHOW STATE")[1]["value"] == "no").then_some(()));
    holder.query("COMMIT").ok();
    assert_eq!(holder.value("SELECT 3"), "3");
    // A client that waits can cancel, and goes on afterwards.
    let mut admin = console(&stage.proxy, "app");
    admin.query("PAUSE app").ok();
    let mut waits = stage.proxy.session();
    waits.send(&frame::query("SELECT 4")).expect("sent");
    until("it waits", SOON, || {
        table(&mut watcher, "SHOW CLIENTS").iter().any(|client| client["state"] == "waiting").then_some(())
    });
    let (pid, secret) = waits.key.clone().expect("a key");
    let mut cancel = Wire::connect(stage.proxy.port()).expect("connects");
    cancel.send(&frame::cancel(pid, &secret)).expect("sent");
    assert_eq!(waits.reply().expect("an answer").code(), "57014");
    admin.query("RESUME app").ok();
    assert_eq!(waits.value("SELECT 5"), "5");
}

#[test]
fn reconnect_replaces_every_backend_without_an_error() {
    let stage = stage(1);
    let mut admin = console(&stage.proxy, "app");
    let failed = under_load(&stage.proxy, |progress| {
        progress.await_more(10);
        until("backends are there", SOON, || (backends(&stage.cluster.primary).len() > 2).then_some(()));
        let before: Vec<Vec<String>> = stage.cluster.servers().map(backends).collect();
        assert_eq!(admin.query("RECONNECT app").ok().tags, ["RECONNECT"]);
        assert_eq!(admin.query("WAIT_CLOSE").ok().tags, ["WAIT_CLOSE"]);
        for (server, before) in stage.cluster.servers().zip(before) {
            until("all are new", SOON, || {
                backends(server).iter().all(|pid| !before.contains(pid)).then_some(())
            });
        }
        until("work goes on", SOON, || (!backends(&stage.cluster.primary).is_empty()).then_some(()));
        progress.await_more(10);
    });
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn kill_ends_whom_it_names_and_nobody_else() {
    let stage = stage(0);
    let mut admin = console(&stage.proxy, "app");
    let (mut victim, mut other) = (stage.proxy.session(), stage.proxy.session());
    victim.query("SET application_name = 'victim'; BEGIN; UPDATE t SET v = -1 WHERE id = 1").ok();
    let clients = table(&mut admin, "SHOW CLIENTS");
    let port = victim.local_port().to_string();
    let client = row(&clients, "port", &port);
    assert_eq!((client["state"].as_str(), client["database"].as_str()), ("active", "app"));
    let servers = table(&mut admin, "SHOW SERVERS");
    let server = row(&servers, "ptr", &client["link"]);
    assert_eq!((server["state"].as_str(), &server["link"]), ("active", &client["ptr"]));
    let pid = &server["remote_pid"];
    let active = stage.count(&format!("pid = {pid} AND state = 'idle in transaction'"));
    assert_eq!(active, 1, "the database knows the backend by the same number");
    admin.query(&format!("KILL_CLIENT {}", client["id"])).ok();
    assert!(victim.ends_within(SOON));
    assert_eq!(other.value("SELECT v FROM t WHERE id = 1"), "0", "rolled back, and the other lives");
    // A query that runs is cancelled.
    other.send(&frame::query("SELECT pg_sleep(600)")).expect("sent");
    until("it runs", SOON, || {
        (stage.count("query LIKE '%pg_sleep(600)%' AND state = 'active'") == 1).then_some(())
    });
    admin.query("KILL app").ok();
    assert!(other.ends_within(SOON));
    stage.await_none(SOON, "query LIKE '%pg_sleep(600)%' AND state = 'active'");
    assert_eq!(
        table(&mut admin, "SHOW CLIENTS").iter().filter(|client| client["database"] == "app").count(),
        0
    );
    assert_eq!(row(&table(&mut admin, "SHOW DATABASES"), "name", "app")["paused"], "1", "until RESUME");
    admin.query("RESUME app").ok();
    assert_eq!(stage.proxy.session().value("SELECT 1"), "1");
    assert_eq!(admin.query("KILL_CLIENT 999999999").code(), "22023");
}

#[test]
fn a_disabled_database_takes_no_new_clients_and_keeps_those_it_has() {
    let stage = stage(0);
    let mut admin = console(&stage.proxy, "app");
    let mut old = stage.proxy.session();
    admin.query("DISABLE app").ok();
    assert_eq!(stage.proxy.try_session().expect_err("it is disabled").code(), "55000");
    assert_eq!(old.value("SELECT 1"), "1");
    assert_eq!(row(&table(&mut admin, "SHOW DATABASES"), "name", "app")["disabled"], "1");
    admin.query("ENABLE app").ok();
    assert_eq!(stage.proxy.session().value("SELECT 1"), "1");
    assert_eq!(admin.query("DISABLE pgbouncer").code(), "0A000");
}

#[test]
fn a_replica_is_drained_and_put_into_maintenance() {
    let mut stage = stage(2);
    let mut admin = console(&stage.proxy, "app");
    let ports: Vec<u16> = stage.cluster.replicas.iter().map(Server::port).collect();
    let address = format!("127.0.0.1:{}", ports[0]);
    let seen = |wire: &mut Wire| row(&table(wire, "SHOW REPLICAS"), "endpoint", &address).clone();
    let reads_reach = |proxy: &Proxy| {
        let mut wire = proxy.session();
        (0..40).any(|_| wire.value("SELECT inet_server_port()") == ports[0].to_string())
    };
    assert_eq!(seen(&mut admin)["eligible"], "1");
    let failed = under_load(&stage.proxy, |progress| {
        progress.await_more(10);
        admin.query(&format!("DRAIN {address}")).ok();
        let drained = seen(&mut admin);
        let shown = [&drained["duty"], &drained["reason"], &drained["state"], &drained["eligible"]];
        assert_eq!(shown, ["drain", "draining", "up", "0"]);
        assert!(!reads_reach(&stage.proxy));
        progress.await_more(10);
    });
    assert!(failed.is_empty(), "{failed:#?}");
    // A reload does not bring it back; another endpoint is not concerned.
    let config = stage.proxy.config().clone().text("max_lag", "6s");
    stage.proxy.rewrite(config);
    until("the reload is done", SOON, || (table(&mut admin, "SHOW GENERATIONS").len() == 2).then_some(()));
    assert_eq!(seen(&mut admin)["duty"], "drain");
    assert!(!reads_reach(&stage.proxy));
    stage.proxy.await_reads_on(&ports[1..]);
    admin.query(&format!("READY main/{address}")).ok();
    stage.proxy.await_reads_on(&ports);
    // Maintenance closes the connections, probes included.
    admin.query(&format!("MAINTENANCE {address}")).ok();
    let replica = &stage.cluster.replicas[0];
    holds("connections in maintenance", SOON, "0".to_owned(), || {
        replica.value("SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'")
    });
    assert_eq!(seen(&mut admin)["reason"], "maintenance");
    assert!(!reads_reach(&stage.proxy));
    replica.stop();
    replica.start();
    admin.query(&format!("READY {address}")).ok();
    stage.proxy.await_reads_on(&ports);
    let primary = format!("DRAIN 127.0.0.1:{}", stage.cluster.primary.port());
    assert_eq!(admin.query(&primary).code(), "22023", "writes have nowhere else to go");
    assert_eq!(admin.query("DRAIN 127.0.0.1:1").code(), "22023");
    assert_eq!(admin.query(&format!("DRAIN nowhere/{address}")).code(), "22023");
}

#[test]
fn settings_are_changed_until_a_restart_and_show_where_they_come_from() {
    let mut stage = stage(0);
    let mut admin = console(&stage.proxy, "app");
    let setting = |wire: &mut Wire, key: &str| {
        let found = row(&table(wire, "SHOW SETTINGS"), "key", key).clone();
        (found["value"].clone(), found["source"].clone())
    };
    let is = |value: &str, source: &str| (value.to_owned(), source.to_owned());
    assert_eq!(setting(&mut admin, "clusters.main.pool_size"), is("20", "file"));
    assert_eq!(setting(&mut admin, "clusters.main.causal_wait"), is("50ms", "default"));
    admin.query("SET clusters.main.pool_size = 2").ok();
    assert_eq!(setting(&mut admin, "clusters.main.pool_size"), is("2", "console"));
    assert_eq!(row(&table(&mut admin, "SHOW CONFIG"), "key", "clusters.main.pool_size")["value"], "2");
    assert_eq!(row(&table(&mut admin, "SHOW CONFIG"), "key", "max_client_conn")["value"], "10000");
    let mut open = [stage.proxy.session(), stage.proxy.session()];
    open.iter_mut().for_each(|wire| drop(wire.query("BEGIN; SELECT 1").ok()));
    let mut third = stage.proxy.session();
    third.send(&frame::query("BEGIN; SELECT 1")).expect("sent");
    until("the third waits", SOON, || {
        let pools = table(&mut admin, "SHOW POOLS");
        (row(&pools, "database", "app")["cl_waiting"] == "1").then_some(())
    });
    // What the file says otherwise is taken over, what an operator set stays.
    let config = stage.proxy.config().clone().text("causal_wait", "70ms");
    stage.proxy.rewrite(config);
    admin.query("RELOAD").ok();
    assert_eq!(setting(&mut admin, "clusters.main.causal_wait"), is("70ms", "file"));
    assert_eq!(setting(&mut admin, "clusters.main.pool_size"), is("2", "console"));
    admin.query("RESET clusters.main.pool_size").ok();
    assert_eq!(setting(&mut admin, "clusters.main.pool_size"), is("20", "file"));
    third.reply().expect("its place is there").ok();
    for (sql, part) in [
        ("SET clusters.main.pool_size = 'many'", "pool_size"),
        ("SET clusters.main.pool_size = 0", "1 to 10000"),
        ("SET clusters.main.no_such = 1", "no such key"),
        ("SET listen.backlog = 5", "restart"),
        ("SET users.app.password = 'x'", "secret"),
        ("SET users.app.password_file = '/etc/passwd'", "secret"),
    ] {
        let reply = admin.query(sql);
        let error = reply.error.unwrap_or_else(|| panic!("{sql} was taken"));
        assert!(error.message().contains(part), "{sql}: {error}");
    }
    let generations = table(&mut admin, "SHOW GENERATIONS");
    assert!(generations.iter().any(|line| line["outcome"] == "rejected"), "{generations:#?}");
    // A wrong file is told to whoever reloads it.
    stage.proxy.rewrite_text("this is no TOML [");
    assert!(admin.query("RELOAD").error.is_some());
    assert_eq!(stage.proxy.session().value("SELECT 1"), "1");
}

#[test]
fn operators_come_in_when_all_places_are_taken() {
    let mut stage = Stage::new(0, |mut config| {
        config.extra.push_str("\n[general]\nmax_clients = 2\n");
        configured(config).raw("min_pool_size", "2")
    });
    let _two = [stage.proxy.session(), stage.proxy.session()];
    for _ in 0..20 {
        assert_eq!(stage.proxy.try_session().expect_err("it is full").code(), "53300");
    }
    let mut admin = console(&stage.proxy, "app");
    assert_eq!(row(&table(&mut admin, "SHOW LISTS"), "list", "used_clients")["items"], "3");
    // A pause keeps no minimum of backends, a resume does.
    holds("a minimum of backends", SOON, 2, || backends(&stage.cluster.primary).len());
    admin.query("PAUSE").ok();
    holds("backends while paused", SOON, 0, || backends(&stage.cluster.primary).len());
    thread::sleep(Duration::from_millis(1200));
    assert!(backends(&stage.cluster.primary).is_empty(), "the pool is tended twice a second");
    admin.query("RESUME").ok();
    holds("a minimum of backends", SOON, 2, || backends(&stage.cluster.primary).len());
    // A right that is taken away is gone at once.
    let mut config = stage.proxy.config().clone();
    config.admins.clear();
    stage.proxy.rewrite(config);
    let code = until("a former operator is sent away", SOON, || match admin.try_query("SHOW LISTS") {
        Ok(_) => None,
        Err(error) => Some(error.code().to_owned()),
    });
    assert_eq!(code, "42501");
}

#[test]
fn shutdown_waits_for_whom_it_says() {
    let stage = stage(0);
    let mut admin = console(&stage.proxy, "app");
    let mut holder = stage.proxy.session();
    holder.query("BEGIN; UPDATE t SET v = 5 WHERE id = 3").ok();
    assert_eq!(admin.query("SHUTDOWN WAIT_FOR_SERVERS").ok().tags, ["SHUTDOWN"]);
    assert_eq!(holder.value("SELECT v FROM t WHERE id = 3"), "5", "a transaction goes on");
    holder.query("COMMIT").ok();
    assert!(stage.proxy.await_end(SOON).is_some_and(|status| status.success()));
    assert_eq!(stage.cluster.primary.value("SELECT v FROM t WHERE id = 3"), "5");

    let stage = Stage::over(stage.cluster, configured);
    let mut stays = stage.proxy.session();
    let mut admin = console(&stage.proxy, "app");
    admin.query("SHUTDOWN WAIT_FOR_CLIENTS").ok();
    until("nobody new comes in", SOON, || stage.proxy.try_session().is_err().then_some(()));
    assert_eq!(stays.value("SELECT 1"), "1", "whoever is there stays");
    drop(stays);
    assert!(stage.proxy.await_end(SOON).is_some_and(|status| status.success()));

    let stage = Stage::over(stage.cluster, configured);
    let mut holder = stage.proxy.session();
    holder.query("BEGIN; UPDATE t SET v = 6 WHERE id = 3").ok();
    let mut admin = console(&stage.proxy, "app");
    admin.send(&frame::query("SHUTDOWN")).expect("sent");
    assert!(stage.proxy.await_end(SOON).is_some_and(|status| status.success()), "at once");
    assert_eq!(stage.cluster.primary.value("SELECT v FROM t WHERE id = 3"), "5", "rolled back");
}
