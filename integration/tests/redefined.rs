//! A function that is made anew is judged by what it does now, from the moment its change shows: if it takes a lock,
//! the lock is never taken on a replica, where it would lock nothing.

use std::thread;
use std::time::Duration;

use integration::{Stage, Wire, frame, until};

const PATIENCE: Duration = Duration::from_secs(60);

/// The function as it was, and as it is then. It tells where it takes its lock.
const READS: &str =
    "CREATE OR REPLACE FUNCTION f() RETURNS text STABLE LANGUAGE plpgsql AS 'BEGIN RETURN ''nothing''; END'";
const LOCKS: &str = "CREATE OR REPLACE FUNCTION f() RETURNS text STABLE LANGUAGE plpgsql \
    AS 'BEGIN PERFORM pg_try_advisory_lock(4711); RETURN current_setting(''cluster_name''); END'";

/// A session whose calls of `f` run on the replica.
fn reader(stage: &Stage) -> Wire {
    let mut wire = stage.proxy.session();
    wire.query("SET splitpool.consistency = 'eventual'").ok();
    wire.query(READS).ok();
    stage.cluster.settle();
    until("f is known to read", PATIENCE, || {
        (wire.value("SELECT current_setting('cluster_name') FROM f()") != "primary").then_some(())
    });
    wire
}

/// Calls `f`, which locks by now, again and again: it must do so on the primary.
#[track_caller]
fn locks_on_the_primary_alone(wire: &mut Wire) {
    for _ in 0..100 {
        assert_eq!(wire.value("SELECT f()"), "primary", "a lock that locks nothing");
        // Nothing keeps the session where it is.
        wire.query("BEGIN; SELECT pg_advisory_unlock_all(); COMMIT").ok();
    }
}

/// Waits until a change waits for the administrator, and functions are known to all as they still are.
fn await_change_that_waits(admin: &mut Wire, wire: &mut Wire) {
    until("the change waits, and the functions are known as they were", PATIENCE, || {
        let waits = admin.value("SELECT count(*) FROM pg_locks WHERE NOT granted") == "1";
        let known = wire.value("SELECT current_setting('cluster_name') FROM f()") != "primary";
        (waits && known).then_some(())
    });
}

fn stage() -> Stage {
    Stage::new(1, |config| config.text("consistency", "eventual").text("catalog_refresh", "1h"))
}

#[test]
fn by_a_statement_that_had_to_wait() {
    let stage = stage();
    let mut wire = reader(&stage);
    let mut admin = stage.cluster.primary.admin();
    // Functions can be read, and not be changed: longer than it takes to read them.
    admin.query("BEGIN; LOCK TABLE pg_proc IN SHARE ROW EXCLUSIVE MODE").ok();
    thread::scope(|scope| {
        let change = scope.spawn(|| stage.proxy.session().query(LOCKS));
        await_change_that_waits(&mut admin, &mut wire);
        admin.query("COMMIT").ok();
        change.join().expect("the change is made").ok();
    });
    stage.cluster.settle();
    locks_on_the_primary_alone(&mut wire);
}

#[test]
fn while_functions_are_being_read() {
    let stage = stage();
    let mut wire = reader(&stage);
    let mut admin = stage.cluster.primary.admin();
    // Policies are read when everything is known of functions.
    admin.query("BEGIN; LOCK TABLE pg_policy IN ACCESS EXCLUSIVE MODE").ok();
    wire.query("SELECT nobody_knows_this()");
    until("the functions are read", PATIENCE, || {
        (admin.value("SELECT count(*) FROM pg_locks WHERE NOT granted") == "1").then_some(())
    });
    stage.proxy.session().query(LOCKS).ok();
    stage.cluster.settle();
    admin.query("COMMIT").ok();
    locks_on_the_primary_alone(&mut wire);
}

#[test]
fn in_a_transaction_that_ends_later() {
    let stage = stage();
    let mut wire = reader(&stage);
    let mut other = stage.proxy.session();
    other.query("BEGIN").ok();
    other.query(LOCKS).ok();
    until("the functions are known as they are to others", PATIENCE, || {
        (wire.value("SELECT current_setting('cluster_name') FROM f()") != "primary").then_some(())
    });
    other.query("COMMIT").ok();
    stage.cluster.settle();
    locks_on_the_primary_alone(&mut wire);
}

#[test]
fn inside_a_block_of_code() {
    let stage = stage();
    let mut wire = reader(&stage);
    let block = format!("DO $do$ BEGIN EXECUTE $x${LOCKS}$x$; END $do$");
    stage.proxy.session().query(&block).ok();
    stage.cluster.settle();
    locks_on_the_primary_alone(&mut wire);
}

#[test]
fn by_a_client_that_did_not_wait() {
    let stage = stage();
    let mut wire = reader(&stage);
    let mut admin = stage.cluster.primary.admin();
    admin.query("BEGIN; LOCK TABLE pg_proc IN SHARE ROW EXCLUSIVE MODE").ok();
    let mut other = stage.proxy.session();
    other.send(&frame::query(LOCKS)).unwrap();
    await_change_that_waits(&mut admin, &mut wire);
    drop(other);
    admin.query("COMMIT").ok();
    until("its backend is gone", PATIENCE, || {
        (stage.count("query LIKE 'CREATE OR REPLACE%' AND state = 'active'") == 0).then_some(())
    });
    // Whether it was made or cancelled: what locks runs where locks are locks.
    stage.cluster.settle();
    for _ in 0..100 {
        let place = wire.value("SELECT f()");
        assert!(["nothing", "primary"].contains(&place.as_str()), "a lock that locks nothing, on {place}");
        wire.query("BEGIN; SELECT pg_advisory_unlock_all(); COMMIT").ok();
    }
}
