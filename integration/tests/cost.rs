//! What a lease costs on the wire: nothing, where its backend has the right stamp and the right statements already.
//!
//! A link between the proxy and the database counts what passes. Each request waits for its reply, so a piece is a
//! turn: whatever the proxy asks ahead of a request, and waits for, is one more.

use std::time::Duration;

use integration::{Cluster, Linked, Wire, frame, until};

struct Scene(Linked);

/// One backend for everyone.
fn scene() -> Scene {
    let cluster = Cluster::start(0);
    cluster.prepare(
        "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t SELECT n, 0 FROM generate_series(1, 9) n",
    );
    let scene = Linked::over(cluster, |config| config.raw("pool_size", "1"));
    // Backends, not probes or readers of the catalog: those name more, and before the user.
    scene.link.count_behind(b"\0\x03\0\0user\0app\0database\0app\0\0");
    Scene(scene)
}

impl Scene {
    /// Bytes and pieces that reach the database while this runs on a backend that is there.
    fn costs(&self, mut work: impl FnMut()) -> (u64, u64) {
        for _ in 0..5 {
            let before = (self.0.link.said(), self.logins());
            work();
            let after = (self.0.link.said(), self.logins());
            if after.1 == before.1 {
                return (after.0.0 - before.0.0, after.0.1 - before.0.1);
            }
            // Under load one may be signed in while the other is on its way back.
            eprintln!("{} more backends were signed in: once more", after.1 - before.1);
        }
        panic!("there is always a sign-in");
    }

    fn logins(&self) -> f64 {
        self.0.proxy.metrics().sum("splitpool_endpoint_logins_total", &[])
    }
}

const ROUNDS: usize = 50;

fn set(wire: &mut Wire, name: &str) {
    wire.query(&format!("SET application_name = '{name}'; SET work_mem = '1MB'")).ok();
}

#[test]
fn a_simple_query_passes_as_it_is() {
    let scene = scene();
    let (mut one, mut two) = (scene.0.proxy.session(), scene.0.proxy.session());
    set(&mut one, "same");
    set(&mut two, "same");
    let request = frame::query("SELECT v FROM t WHERE id = 3");
    let run = |wire: &mut Wire| assert_eq!(wire.ask(&request).expect("an answer").value(), "0");
    run(&mut one);
    let (bytes, pieces) = scene.costs(|| {
        for _ in 0..ROUNDS {
            run(&mut one);
            run(&mut two);
        }
    });
    assert_eq!((bytes, pieces), ((2 * ROUNDS * request.len()) as u64, 2 * ROUNDS as u64));
    // This can be seen: where stamps differ, each turn needs one ahead of it.
    set(&mut two, "another");
    // A SET is looked after when it has been answered.
    run(&mut two);
    let (_, pieces) = scene.costs(|| {
        for _ in 0..ROUNDS {
            run(&mut one);
            run(&mut two);
        }
    });
    assert_eq!(pieces, 4 * ROUNDS as u64);
}

#[test]
fn a_prepared_statement_passes_under_another_name() {
    let scene = scene();
    let (mut one, mut two) = (scene.0.proxy.session(), scene.0.proxy.session());
    let sql = "SELECT v + $1::int FROM t WHERE id = 3";
    for (wire, name) in [(&mut one, "mine"), (&mut two, "my own")] {
        wire.ask(&[frame::parse(name, sql), frame::describe_statement(name), frame::sync()].concat())
            .expect("an answer")
            .ok();
    }
    let run = |wire: &mut Wire, name: &str| {
        let request = [frame::bind("", name, &[Some(b"4")]), frame::execute("", 0), frame::sync()].concat();
        assert_eq!(wire.ask(&request).expect("an answer").value(), "4");
        request.len() - name.len()
    };
    let mut expected = 0;
    let (bytes, pieces) = scene.costs(|| {
        expected = 0;
        for _ in 0..ROUNDS {
            expected += run(&mut one, "mine") + run(&mut two, "my own");
        }
    });
    // One statement for both, of one name.
    let name = (bytes as usize - expected) / (2 * ROUNDS);
    assert!("splitpool_1".len() <= name && name < "splitpool_10000".len(), "{name}");
    assert_eq!((bytes as usize - expected) % (2 * ROUNDS), 0);
    assert_eq!(pieces, 2 * ROUNDS as u64);
    // What the backend lacks travels ahead of its first use, in the same turn.
    let new: Vec<String> = (0..20).map(|n| format!("SELECT {n} + $1::int")).collect();
    for sql in &new {
        one.ask(&[frame::parse(sql, sql), frame::sync()].concat()).expect("an answer").ok();
    }
    two.query("DEALLOCATE ALL").ok();
    two.query("SELECT 1").ok();
    let (_, pieces) = scene.costs(|| {
        for sql in &new {
            let request =
                [frame::bind("", sql, &[Some(b"0")]), frame::execute("", 0), frame::sync()].concat();
            assert!(sql.contains(&one.ask(&request).expect("an answer").value()));
        }
    });
    assert_eq!(pieces, new.len() as u64);
}

#[test]
fn transactions_and_unnamed_statements_take_no_more_turns_than_they_have_requests() {
    let scene = scene();
    let (mut one, mut two) = (scene.0.proxy.session(), scene.0.proxy.session());
    let write =
        [frame::unnamed("UPDATE t SET v = v + $1::int WHERE id = 5", &[Some(b"1")]), frame::sync()].concat();
    let turn = |wire: &mut Wire| {
        wire.query("BEGIN").ok();
        wire.ask(&write).expect("an answer").ok();
        wire.query("COMMIT").ok();
        wire.ask(&write).expect("an answer").ok();
    };
    // What triggers and defaults may do is asked as long as the catalog has not been read.
    until("nothing is asked behind a turn", Duration::from_secs(60), || {
        let (_, pieces) = scene.costs(|| {
            turn(&mut one);
            turn(&mut two);
        });
        (pieces == 8).then_some(())
    });
    let (bytes, pieces) = scene.costs(|| {
        for _ in 0..ROUNDS {
            turn(&mut one);
            turn(&mut two);
        }
    });
    let each = 2 * write.len() + frame::query("BEGIN").len() + frame::query("COMMIT").len();
    assert_eq!((bytes, pieces), ((2 * ROUNDS * each) as u64, 8 * ROUNDS as u64));
}
