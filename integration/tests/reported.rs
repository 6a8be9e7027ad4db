//! Values that the database reports and changes by itself: whoever runs on a backend knows what holds there.

use std::time::Duration;

use integration::{Cluster, Server, Stage, Wire, frame, holds, until};

const PATIENCE: Duration = Duration::from_secs(60);

/// Changes a setting in a server's configuration, and returns when all of its sessions have been told to read it.
fn reconfigure(server: &Server, name: &str, value: &str) {
    server.set(name, value);
    // Who signs in now was let in by a process that had signalled all that were there.
    until("the value is in force", PATIENCE, || {
        (server.value(&format!("SELECT setting FROM pg_settings WHERE name ILIKE '{name}'")) == value)
            .then_some(())
    });
}

/// One backend for everyone.
fn narrow() -> Stage {
    Stage::new(0, |config| config.raw("pool_size", "1"))
}

fn backend(wire: &mut Wire) -> String {
    wire.value("SELECT pg_backend_pid()")
}

/// Whether the client was told a value before the first row.
fn told_before_data(order: &str) -> bool {
    let place = |tag| order.find(tag);
    place('S').is_some_and(|told| place('D').is_none_or(|row| told < row))
}

#[test]
fn a_change_is_told_to_every_session_of_a_backend() {
    let stage = narrow();
    let sessions: [Wire; 4] = std::array::from_fn(|_| stage.proxy.session());
    let [mut one, mut two, mut three, mut four] = sessions;
    let pid = backend(&mut one);
    for wire in [&mut two, &mut three, &mut four] {
        assert_eq!(backend(wire), pid, "all share one backend");
        assert_eq!(
            (wire.parameters["TimeZone"].as_str(), wire.parameters["DateStyle"].as_str()),
            ("UTC", "ISO, MDY")
        );
    }
    stage.cluster.primary.configure("datestyle", "SQL, DMY");
    reconfigure(&stage.cluster.primary, "timezone", "Asia/Tokyo");
    // The database tells whoever it hears first, at the end of that reply.
    assert_eq!(one.value("SHOW TimeZone"), "Asia/Tokyo");
    assert_eq!(one.parameters["TimeZone"], "Asia/Tokyo");
    let prepared =
        [frame::parse("", "SELECT pg_backend_pid()"), frame::bind("", "", &[]), frame::execute("", 0)];
    let ways: [Vec<u8>; 3] = [
        frame::query("SELECT pg_backend_pid()"),
        [prepared.concat(), frame::sync()].concat(),
        frame::query("BEGIN; SELECT pg_backend_pid(); COMMIT"),
    ];
    for (wire, way) in [two, three, four].iter_mut().zip(ways) {
        let reply = wire.ask(&way).expect("an answer").ok();
        assert!(told_before_data(&reply.order), "{}", reply.order);
        assert_eq!(wire.parameters["TimeZone"], "Asia/Tokyo");
        assert_eq!(wire.parameters["DateStyle"], "SQL, DMY");
        assert_eq!(reply.value(), pid, "on the same backend");
        assert!(!wire.query("SELECT 1").order.contains('S'), "it is told once");
    }
}

#[test]
fn who_comes_after_a_change_is_welcomed_with_it() {
    let stage = narrow();
    let mut one = stage.proxy.session();
    assert_eq!(one.value("SELECT 1"), "1");
    reconfigure(&stage.cluster.primary, "timezone", "Asia/Tokyo");
    assert_eq!(one.value("SHOW TimeZone"), "Asia/Tokyo");
    // A reply comes before what it tells of the session's backend is known to others.
    let mut two = until("who comes is welcomed with it", PATIENCE, || {
        Some(stage.proxy.session()).filter(|two| two.parameters["TimeZone"] == "Asia/Tokyo")
    });
    let reply = two.query("SHOW TimeZone");
    assert!(!reply.order.contains('S'), "{}", reply.order);
    assert_eq!(reply.value(), "Asia/Tokyo");
}

#[test]
fn what_a_session_has_set_stays_its_own() {
    let stage = narrow();
    let mut plain = stage.proxy.session();
    let mut sets = stage.proxy.session();
    let mut asks = Wire::login(&stage.proxy.login().with("TimeZone", "Europe/Oslo")).expect("signs in");
    sets.query("SET TimeZone = 'Europe/Paris'").ok();
    assert_eq!(asks.value("SHOW TimeZone"), "Europe/Oslo");
    let pid = backend(&mut plain);
    reconfigure(&stage.cluster.primary, "timezone", "Asia/Tokyo");
    for _ in 0..3 {
        for (wire, zone) in [(&mut sets, "Europe/Paris"), (&mut asks, "Europe/Oslo")] {
            let reply = wire.query("SHOW TimeZone");
            assert!(!reply.order.contains('S'), "told {:?} for nothing", wire.parameters["TimeZone"]);
            assert_eq!(reply.value(), zone);
            assert_eq!(wire.parameters["TimeZone"], zone);
            assert_eq!(backend(wire), pid);
        }
        assert_eq!(plain.value("SHOW TimeZone"), "Asia/Tokyo");
        assert_eq!(plain.parameters["TimeZone"], "Asia/Tokyo");
    }
    // What is taken back is what the configuration says now; for a value of the sign-in, what the client asked.
    sets.query("RESET TimeZone").ok();
    assert_eq!(sets.parameters["TimeZone"], "Asia/Tokyo");
    asks.query("RESET TimeZone").ok();
    assert_eq!(
        (asks.value("SHOW TimeZone"), asks.parameters["TimeZone"].as_str()),
        ("Europe/Oslo".to_owned(), "Europe/Oslo")
    );
}

#[test]
fn a_change_that_an_errand_hears_is_not_lost() {
    let stage = narrow();
    let mut carries = stage.proxy.session();
    carries.query("SET work_mem = '5MB'").ok();
    let mut other = stage.proxy.session();
    let pid = backend(&mut other);
    // The first that the backend runs is what brings it to a session's settings.
    reconfigure(&stage.cluster.primary, "timezone", "Asia/Tokyo");
    let reply = carries.query("SHOW TimeZone");
    assert!(told_before_data(&reply.order), "{}", reply.order);
    assert_eq!(reply.value(), "Asia/Tokyo");
    assert_eq!(carries.parameters["TimeZone"], "Asia/Tokyo");
    let reply = other.query("SELECT pg_backend_pid()");
    assert!(told_before_data(&reply.order), "{}", reply.order);
    assert_eq!((reply.value(), other.parameters["TimeZone"].as_str()), (pid.clone(), "Asia/Tokyo"));

    // Then what wipes off what a client has left.
    let mut leaves = stage.proxy.session();
    leaves.query("CREATE TEMP TABLE kept (n int)").ok();
    reconfigure(&stage.cluster.primary, "timezone", "Asia/Seoul");
    drop(leaves);
    let reply = other.query("SELECT pg_backend_pid()");
    assert!(told_before_data(&reply.order), "{}", reply.order);
    assert_eq!((reply.value(), other.parameters["TimeZone"].as_str()), (pid, "Asia/Seoul"));
    assert_eq!(stage.proxy.session().parameters["TimeZone"], "Asia/Seoul");
}

#[test]
fn a_session_knows_what_holds_where_its_statement_runs() {
    let stage = Stage::over(Cluster::start(1), |config| config.text("consistency", "eventual"));
    let (primary, replica) = (&stage.cluster.primary, &stage.cluster.replicas[0]);
    reconfigure(replica, "timezone", "Asia/Tokyo");
    let mut wire = stage.proxy.session();
    let ask = "SELECT inet_server_port(), current_setting('TimeZone')";
    // The first that a backend runs may be what tells it.
    for _ in 0..4 {
        wire.query(ask).ok();
    }
    for _ in 0..5 {
        for (sql, port, zone) in [
            (ask.to_owned(), replica.port(), "Asia/Tokyo"),
            (format!("/* splitpool: primary */ {ask}"), primary.port(), "UTC"),
        ] {
            until("it runs where it should", PATIENCE, || {
                let reply = wire.query(&sql).ok();
                let row = reply.rows[0].clone();
                assert_eq!(row[1].as_deref(), Some(wire.parameters["TimeZone"].as_str()), "{}", reply.order);
                (row[0] == Some(port.to_string())).then(|| assert_eq!(row[1].as_deref(), Some(zone)))
            });
        }
    }
}

#[test]
fn a_promotion_is_nobodys_business() {
    let stage = Stage::over(Cluster::start(1), |config| config.text("consistency", "eventual"));
    let mut wire = stage.proxy.session();
    assert_eq!(wire.parameters["in_hot_standby"], "off");
    stage.proxy.await_reads_on(&[stage.cluster.replicas[0].port()]);
    until("it reads on the replica", PATIENCE, || {
        (wire.value("SELECT inet_server_port()") == stage.cluster.replicas[0].port().to_string())
            .then_some(())
    });
    stage.cluster.primary.stop_immediately();
    stage.cluster.replicas[0].promote();
    until("writes are served", PATIENCE, || {
        let reply = wire.try_query("SELECT pg_is_in_recovery(), txid_current()").ok()?;
        assert!(!reply.order.contains('S'), "{}", reply.order);
        reply.error.is_none().then(|| assert_eq!(reply.value(), "f"))
    });
    assert_eq!(wire.parameters["in_hot_standby"], "off");
    assert_eq!(stage.proxy.session().parameters["in_hot_standby"], "off");
}

/// A literal if backslashes mean nothing, else two columns, of which the second takes a lock.
const TWOFACED: &str = r"SELECT 'a\'', pg_advisory_lock(7), inet_server_port() --'";

#[test]
fn a_text_is_read_by_the_rules_that_hold_where_it_runs() {
    let stage =
        Stage::over(Cluster::start(1), |config| config.raw("pool_size", "1").text("consistency", "eventual"));
    let (primary, replica) = (&stage.cluster.primary, &stage.cluster.replicas[0]);
    let locks = |server: &Server| server.value("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'");
    let mut one = stage.proxy.session();
    let mut two = stage.proxy.session();
    let before = two.query(TWOFACED).ok();
    assert_eq!(before.rows[0].len(), 1, "a literal: {before:?}");
    assert_eq!(two.parameters["standard_conforming_strings"], "on");
    for server in [primary, replica] {
        reconfigure(server, "standard_conforming_strings", "off");
    }
    // One session hears of it, on each backend; the other does not.
    for sql in
        ["SELECT 1", "/* splitpool: primary */ SELECT 1", "SELECT 1", "/* splitpool: primary */ SELECT 1"]
    {
        one.query(sql).ok();
    }
    assert_eq!(one.parameters["standard_conforming_strings"], "off");
    assert_eq!(two.parameters["standard_conforming_strings"], "on");
    for wire in [&mut two, &mut one] {
        let reply = wire.query(TWOFACED).ok();
        assert_eq!(reply.rows[0].len(), 3, "{reply:?}");
        assert_eq!(reply.rows[0][2], Some(primary.port().to_string()));
        assert_eq!(wire.parameters["standard_conforming_strings"], "off");
        assert_eq!((locks(primary), locks(replica)), ("1".to_owned(), "0".to_owned()));
        wire.query("SELECT pg_advisory_unlock(7)").ok();
        holds("the lock is gone", PATIENCE, "0".to_owned(), || locks(primary));
    }
    // And by the usual ones as soon as those hold again.
    for server in [primary, replica] {
        reconfigure(server, "standard_conforming_strings", "on");
    }
    until("it is a literal, read on the replica", PATIENCE, || {
        let literal = two.query(TWOFACED).ok().rows[0].len() == 1;
        two.query("SELECT pg_advisory_unlock_all()").ok();
        (literal && two.value("SELECT inet_server_port()") == replica.port().to_string()).then_some(())
    });
}

#[test]
fn what_a_text_did_that_was_misread_is_not_left_to_others() {
    let stage = narrow();
    let mut one = stage.proxy.session();
    let mut two = stage.proxy.session();
    let pid = backend(&mut one);
    assert_eq!(backend(&mut two), pid);
    reconfigure(&stage.cluster.primary, "standard_conforming_strings", "off");
    // Nobody can know before the reply: the lock is the session's all the same, and goes with it.
    assert_eq!(one.query(TWOFACED).ok().rows[0].len(), 3);
    let held = || stage.cluster.primary.value("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'");
    assert_eq!(held(), "1");
    two.patience(Duration::from_millis(300));
    assert!(two.try_query("SELECT 1").is_err(), "another session was given the backend with the lock");
    drop(one);
    holds("locks that are left", PATIENCE, "0".to_owned(), held);
}
