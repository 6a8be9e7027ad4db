//! Prepared statements through few backends: no client can tell that others prepare there too.

use std::sync::OnceLock;

use integration::{Cluster, Login, Options, PASSWORD, PATIENCE, Stage, Wire, frame, holds, meter};

/// Two backends for everyone.
fn narrow() -> &'static Stage {
    static STAGE: OnceLock<Stage> = OnceLock::new();
    STAGE.get_or_init(|| {
        let stage = Stage::new(1, |config| config.raw("pool_size", "2").text("query_wait_timeout", "10s"));
        stage.cluster.prepare("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t SELECT n, 0 FROM generate_series(1, 20) n");
        stage
    })
}

fn prepare(wire: &mut Wire, name: &str, sql: &str) {
    wire.ask(&[frame::parse(name, sql), frame::describe_statement(name), frame::sync()].concat())
        .expect("the session goes on")
        .ok();
}

fn run(name: &str, parameters: &[&str]) -> Vec<u8> {
    let values: Vec<Option<&[u8]>> = parameters.iter().map(|value| Some(value.as_bytes())).collect();
    [frame::bind("", name, &values), frame::describe_portal(""), frame::execute("", 0), frame::sync()]
        .concat()
}

#[test]
fn a_changed_result_is_no_error_outside_a_transaction() {
    let stage = narrow();
    stage
        .cluster
        .prepare("CREATE TABLE shape (a int); INSERT INTO shape VALUES (1); ALTER TABLE shape OWNER TO app");
    let mut ddl = stage.cluster.primary.admin();
    let mut wire = stage.proxy.session();
    prepare(&mut wire, "read", "SELECT * FROM shape");
    prepare(&mut wire, "write", "UPDATE shape SET a = a + 1 RETURNING *");
    // Once on each backend, so that all know the old shape.
    for _ in 0..6 {
        wire.ask(&run("read", &[])).unwrap().ok();
        wire.ask(&run("write", &[])).unwrap().ok();
    }
    for columns in 2..6 {
        ddl.query(&format!("ALTER TABLE shape ADD COLUMN c{columns} int")).ok();
        stage.cluster.settle();
        for _ in 0..4 {
            let reply = wire.ask(&run("read", &[])).unwrap().ok();
            assert_eq!((reply.rows[0].len(), reply.order.as_str()), (columns, "2TDCZ"));
            assert_eq!(wire.ask(&run("write", &[])).unwrap().ok().rows[0].len(), columns);
        }
    }
    assert_eq!(
        stage.cluster.primary.value("SELECT a FROM shape"),
        (1 + 6 + 16).to_string(),
        "each write ran once"
    );
    stage.cluster.primary.sql("DROP TABLE shape; CREATE TABLE shape (a text); INSERT INTO shape VALUES ('new'); ALTER TABLE shape OWNER TO app").ok();
    stage.cluster.settle();
    for _ in 0..4 {
        assert_eq!(wire.ask(&run("read", &[])).unwrap().value(), "new");
    }
    // In a transaction it is the database's error, as without a proxy; after it the statement is good again.
    prepare(&mut wire, "inside", "SELECT * FROM shape");
    wire.ask(&run("inside", &[])).unwrap().ok();
    wire.query("BEGIN").ok();
    wire.ask(&run("inside", &[])).unwrap().ok();
    wire.query("ALTER TABLE shape ADD COLUMN b int").ok();
    assert_eq!(wire.ask(&run("inside", &[])).unwrap().code(), "0A000");
    wire.query("ROLLBACK").ok();
    assert_eq!(wire.ask(&run("inside", &[])).unwrap().ok().rows[0].len(), 1);
}

/// As drivers do that remember what a statement's rows look like: they are told nothing with the rows.
fn run_untold(name: &str) -> Vec<u8> {
    [frame::bind("", name, &[]), frame::execute("", 0), frame::sync()].concat()
}

#[test]
fn a_changed_result_is_an_error_to_who_is_not_told_of_it() {
    let stage = Stage::new(0, |config| config.raw("pool_size", "1"));
    stage.cluster.prepare("CREATE TABLE form (a int); INSERT INTO form VALUES (1)");
    let (mut wire, mut other) = (stage.proxy.session(), stage.proxy.session());
    let mut outside = stage.cluster.primary.admin();
    prepare(&mut wire, "read", "SELECT * FROM form");
    prepare(&mut wire, "write", "UPDATE form SET a = a + 1 RETURNING *");
    let mut writes = 1;
    for columns in 2..6 {
        for name in ["read", "write"] {
            assert_eq!(wire.ask(&run_untold(name)).unwrap().ok().rows[0].len(), columns - 1, "{name}");
        }
        // A change that the proxy sees, and one that it does not.
        let ddl = if columns % 2 == 0 { &mut other } else { &mut outside };
        ddl.query(&format!("ALTER TABLE form ADD COLUMN c{columns} int")).ok();
        for name in ["read", "write"] {
            let reply = wire.ask(&run_untold(name)).unwrap();
            assert_eq!((reply.code(), reply.rows.len(), reply.status), ("0A000", 0, b'I'), "{name}");
        }
        // Who asks is told, and knows from then on.
        for name in ["read", "write"] {
            let told = [frame::describe_statement(name), frame::sync()].concat();
            assert_eq!(wire.ask(&told).unwrap().ok().order, "tTZ");
        }
        writes += 1;
        assert_eq!(
            stage.cluster.primary.value("SELECT a FROM form"),
            writes.to_string(),
            "each write ran once"
        );
    }
    // A client that comes later has never known anything else.
    let mut late = stage.proxy.session();
    prepare(&mut late, "mine", "SELECT * FROM form");
    assert_eq!(late.ask(&run_untold("mine")).unwrap().ok().rows[0].len(), 5);
}

#[test]
fn what_an_execute_gives_is_told_wherever_it_is_parsed() {
    let stage = Stage::new(0, |config| config.raw("pool_size", "1"));
    let (mut wire, mut other) = (stage.proxy.session(), stage.proxy.session());
    prepare(&mut wire, "numbered", "SELECT 41 + 1");
    for name in ["", "by_name"] {
        // The only backend forgets all that it had.
        other.query("DEALLOCATE ALL").ok();
        let parse = [frame::parse(name, "EXECUTE numbered"), frame::describe_statement(name), frame::sync()];
        assert_eq!(wire.ask(&parse.concat()).unwrap().ok().order, "1tTZ");
        assert_eq!(wire.ask(&run_untold(name)).unwrap().value(), "42");
    }
}

#[test]
fn errors_name_the_clients_own_statement() {
    let stage = narrow();
    let mut wire = stage.proxy.session();
    prepare(&mut wire, "mine", "SELECT $1::int");
    let twice = wire.ask(&[frame::parse("mine", "SELECT 2"), frame::sync()].concat()).unwrap();
    let error = twice.error.expect("the name is taken");
    assert_eq!((error.code(), error.message()), ("42P05", "prepared statement \"mine\" already exists"));
    let error = wire.ask(&run("unheard_of", &[])).unwrap().error.expect("there is none");
    assert_eq!(
        (error.code(), error.message()),
        ("26000", "prepared statement \"unheard_of\" does not exist")
    );
    for name in ["splitpool_1", "splitpool_2", "splitpool_0"] {
        let error = wire.ask(&run(name, &[])).unwrap().error.expect("there is none");
        let wanted = format!("prepared statement \"{name}\" does not exist");
        assert_eq!((error.code(), error.message()), ("26000", wanted.as_str()));
    }
    let error = wire.ask(&run("mine", &["1", "2"])).unwrap().error.expect("one parameter too many");
    assert_eq!(error.code(), "08P01");
    assert!(error.message().contains("\"mine\"") && !error.message().contains("splitpool"), "{error}");
    assert_eq!(wire.ask(&run("mine", &["7"])).unwrap().value(), "7");
}

#[test]
fn sql_commands_reach_statements_of_the_protocol() {
    let stage = narrow();
    let mut wire = stage.proxy.session();
    let mut other = stage.proxy.session();
    prepare(&mut wire, "pair", "SELECT $1::int + 1");
    prepare(&mut other, "pair", "SELECT $1::int + 2");
    assert_eq!(wire.query("EXECUTE pair(1)").value(), "2");
    assert_eq!(other.query("EXECUTE pair(1)").value(), "3");
    assert_eq!(wire.query("BEGIN; SELECT 1").status, b'T');
    assert_eq!(wire.query("execute \"pair\" (41)").value(), "42");
    assert_eq!(wire.query("DEALLOCATE pair").tags, ["DEALLOCATE"]);
    assert_eq!(wire.query("COMMIT").status, b'I');
    assert_eq!(wire.ask(&run("pair", &["1"])).unwrap().code(), "26000");
    assert_eq!(wire.query("DEALLOCATE pair").code(), "26000");
    let gone = other.query("DEALLOCATE PREPARE pair");
    assert_eq!((gone.tags, gone.status), (vec!["DEALLOCATE".to_owned()], b'I'));
    assert_eq!(other.ask(&run("pair", &["1"])).unwrap().code(), "26000");
    prepare(&mut other, "pair", "SELECT 5");
    other.query("DEALLOCATE ALL").ok();
    assert_eq!(other.ask(&run("pair", &[])).unwrap().code(), "26000");
    prepare(&mut other, "pair", "SELECT 6");
    other.query("DISCARD ALL").ok();
    assert_eq!(other.ask(&run("pair", &[])).unwrap().code(), "26000");
    assert_eq!(other.query("EXECUTE pair").code(), "26000");
}

#[test]
fn preparing_with_flush_holds_no_backend() {
    let stage = Stage::new(0, |config| config.raw("pool_size", "1").text("query_wait_timeout", "30s"));
    let mut wire = stage.proxy.session();
    let mut other = stage.proxy.session();
    for round in 0..3 {
        let name = format!("s{round}");
        let sent =
            [frame::parse(&name, "SELECT $1::int + 1"), frame::describe_statement(&name), frame::flush()];
        wire.send(&sent.concat()).unwrap();
        for tag in [b'1', b't', b'T'] {
            assert_eq!(wire.read().unwrap().tag, tag);
        }
        assert_eq!(other.query("SELECT 1").value(), "1", "the only backend is free");
        assert_eq!(wire.ask(&run(&name, &["1"])).unwrap().value(), "2");
        // A Sync of its own is answered as well.
        wire.send(&sent.concat()).unwrap();
        assert_eq!(wire.read().unwrap().tag, b'E', "the name is taken");
        assert_eq!(other.query("SELECT 1").value(), "1");
        // What follows an error is nothing up to the Sync.
        wire.send(&frame::query("SELECT 3")).unwrap();
        let reply = wire.ask(&frame::sync()).unwrap();
        assert_eq!((reply.order.as_str(), reply.status), ("Z", b'I'));
    }
}

/// Whether a name was given by SQL or by the protocol, it is one name.
#[test]
fn names_of_both_kinds_are_one() {
    let stage = narrow();
    let direct = Login::new(stage.cluster.primary.port(), "app", PASSWORD, "app");
    let dialogue = |login: &Login| {
        let mut wire = Wire::login(login).expect("it signs in");
        wire.query("SET app.unrelated = 'x'").ok();
        prepare(&mut wire, "s", "SELECT $1::int + 1");
        let mut said = Vec::new();
        let mut note = |reply: integration::Reply| {
            let row = reply.rows.first().and_then(|row| row.first().cloned().flatten());
            let error = reply.error.as_ref().map(|error| error.message().to_owned());
            said.push((reply.order.clone(), reply.code().to_owned(), error, row, reply.status));
        };
        note(wire.query("PREPARE s AS SELECT 2"));
        note(wire.execute("PREPARE s AS SELECT 2", &[]));
        note(wire.execute("EXECUTE s(1)", &[]));
        note(wire.query("EXECUTE s(2)"));
        prepare(&mut wire, "x", "EXECUTE s(3)");
        note(wire.ask(&run("x", &[])).unwrap());
        wire.query("BEGIN").ok();
        note(wire.execute("PREPARE s AS SELECT 2", &[]));
        wire.query("ROLLBACK").ok();
        note(wire.ask(&run("x", &[])).unwrap());
        note(wire.execute("DEALLOCATE s", &[]));
        note(wire.execute("DEALLOCATE s", &[]));
        note(wire.ask(&run("s", &["1"])).unwrap());
        note(wire.query("EXECUTE s(1)"));
        // Now by SQL, and then by the protocol.
        note(wire.query("PREPARE s AS SELECT 7"));
        note(wire.ask(&run("s", &[])).unwrap());
        note(wire.execute("EXECUTE s", &[]));
        note(wire.ask(&[frame::close_statement("s"), frame::sync()].concat()).unwrap());
        note(wire.ask(&run("s", &[])).unwrap());
        said
    };
    assert_eq!(dialogue(&stage.proxy.login()), dialogue(&direct));
}

#[test]
fn a_failed_batch_leaves_the_right_unnamed_statement() {
    let stage = narrow();
    let direct = Login::new(stage.cluster.primary.port(), "app", PASSWORD, "app");
    let dialogue = |login: &Login| {
        let mut wire = Wire::login(login).expect("it signs in");
        let mut said = Vec::new();
        let parse = |n: usize| frame::parse("", &format!("SELECT {n}"));
        let fail = || frame::bind("", "none", &[]);
        let again = [frame::bind("", "", &[]), frame::execute("", 0), frame::sync()].concat();
        for batch in [
            [fail(), parse(1), parse(2)].concat(),
            [parse(3), fail(), parse(4), parse(5)].concat(),
            [parse(6), parse(7), fail(), parse(8), frame::close_statement("")].concat(),
            [parse(9), frame::parse("", "SELEKT"), parse(10)].concat(),
            [fail(), frame::query("SELECT 11"), parse(12)].concat(),
        ] {
            wire.ask(&[parse(0), frame::sync()].concat()).unwrap().ok();
            let failed = wire.ask(&[batch, frame::sync()].concat()).unwrap();
            let after = wire.ask(&again).unwrap();
            said.push((failed.order.clone(), failed.code().to_owned(), after.code().to_owned(), after.rows));
        }
        said
    };
    assert_eq!(dialogue(&stage.proxy.login()), dialogue(&direct));
}

#[test]
fn a_statement_of_a_read_goes_on_in_a_transaction() {
    let stage = narrow();
    let mut wire = stage.proxy.session();
    prepare(&mut wire, "count", "SELECT count(*) FROM t WHERE v = $1::int");
    for round in 0..5 {
        assert_eq!(wire.ask(&run("count", &["-1"])).unwrap().value(), "0");
        wire.query("BEGIN").ok();
        wire.query(&format!("UPDATE t SET v = -1 WHERE id = {}", round + 1)).ok();
        assert_eq!(
            wire.ask(&run("count", &["-1"])).unwrap().value(),
            "1",
            "the transaction sees its own write"
        );
        wire.query("ROLLBACK").ok();
    }
}

#[test]
fn many_statements_are_evicted_and_come_back() {
    let stage = narrow();
    let mut wire = stage.proxy.session();
    for n in 0..700 {
        wire.send(&frame::parse(&format!("n{n}"), &format!("SELECT {n}"))).unwrap();
    }
    wire.ask(&frame::sync()).unwrap().ok();
    for n in (0..700).step_by(7).chain(0..10) {
        assert_eq!(wire.ask(&run(&format!("n{n}"), &[])).unwrap().value(), n.to_string());
    }
    // Evicted and needed again within one batch.
    let batch: Vec<u8> = (0..700)
        .flat_map(|n| [frame::bind("", &format!("n{n}"), &[]), frame::execute("", 0)].concat())
        .collect();
    let reply = wire.ask(&[batch, frame::sync()].concat()).unwrap().ok();
    assert_eq!(reply.rows.len(), 700);
    let most = "SELECT max(n) FROM (SELECT count(*) AS n FROM pg_prepared_statements) AS c";
    let kept: usize = stage.proxy.session().query(&format!("BEGIN; {most}; COMMIT")).value().parse().unwrap();
    assert!(kept <= 200, "{kept} statements are kept on a backend");
}

/// How many distinct texts are prepared; `SPLITPOOL_TEXTS=1000000` for a long look.
fn texts() -> usize {
    std::env::var("SPLITPOOL_TEXTS").ok().and_then(|count| count.parse().ok()).unwrap_or(200_000)
}

#[test]
fn memory_does_not_grow_with_the_texts_prepared() {
    let cluster = Cluster::with(&Options { replicas: 0, log_statement: "none", ..Options::default() });
    let stage = Stage::over(cluster, |config| config.raw("pool_size", "2"));
    let id = stage.proxy.process().id();
    let mut wires = [stage.proxy.session(), stage.proxy.session()];
    let mut churn = |from: usize, to: usize| {
        for first in (from..to).step_by(500) {
            let wire = &mut wires[first / 500 % 2];
            let batch: Vec<u8> = (first..first + 500)
                .flat_map(|n| {
                    let name = format!("s{n}");
                    let text = format!("SELECT {n} AS a_name_that_takes_some_room_{n}, $1::int");
                    let run = [frame::bind("", &name, &[Some(b"7")]), frame::execute("", 0)].concat();
                    // One in ten is run as well.
                    let run = if n % 10 == 0 { run } else { Vec::new() };
                    [frame::parse(&name, &text), run, frame::close_statement(&name)].concat()
                })
                .collect();
            let reply = wire.ask(&[batch, frame::sync()].concat()).unwrap().ok();
            assert_eq!(reply.rows.len(), 50);
        }
    };
    let mut seen = vec![meter::resident_kb(id)];
    churn(0, 20_000);
    let most = texts();
    for step in 1..=10 {
        seen.push(meter::resident_kb(id));
        churn(20_000.max(most / 10 * (step - 1)), most / 10 * step);
    }
    seen.push(meter::resident_kb(id));
    println!("{most} texts, resident kB: {seen:?}");
    let (before, after) = (seen[1], seen[11]);
    assert!(after < before + 12 * 1024, "{before} kB, then {after} kB: {seen:?}");
    let most = "SELECT max(n) FROM (SELECT count(*) AS n FROM pg_prepared_statements) AS c";
    let kept: usize = stage.proxy.session().query(&format!("BEGIN; {most}; COMMIT")).value().parse().unwrap();
    assert!(kept <= 200, "{kept} statements are kept on a backend");
}

#[test]
fn the_unnamed_statement_in_every_order() {
    let stage = narrow();
    let mut one = stage.proxy.session();
    let mut two = stage.proxy.session();
    let again = [frame::bind("", "", &[]), frame::execute("", 0), frame::sync()].concat();
    for round in 0..4 {
        one.ask(&[frame::parse("", &format!("SELECT 'one {round}'")), frame::sync()].concat()).unwrap().ok();
        two.ask(&[frame::parse("", &format!("SELECT 'two {round}'")), frame::sync()].concat()).unwrap().ok();
        for _ in 0..3 {
            assert_eq!(one.ask(&again).unwrap().value(), format!("one {round}"));
            assert_eq!(two.ask(&again).unwrap().value(), format!("two {round}"));
        }
        // A simple query destroys it, as does a Parse that fails, as does its Close.
        one.query("SELECT 1").ok();
        assert_eq!(one.ask(&again).unwrap().code(), "26000");
        two.ask(&[frame::parse("", "SELEKT"), frame::sync()].concat()).unwrap();
        assert_eq!(two.ask(&again).unwrap().code(), "26000");
        one.ask(&[frame::parse("", "SELECT 3"), frame::close_statement(""), frame::sync()].concat())
            .unwrap()
            .ok();
        assert_eq!(one.ask(&again).unwrap().code(), "26000");
    }
    holds("both still serve", PATIENCE, "1".to_owned(), || two.value("SELECT 1"));
}
