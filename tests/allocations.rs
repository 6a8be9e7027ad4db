//! What a request costs in memory: no allocation in steady state. Alone in its process, because it counts
//! everything; probes go on meanwhile, so a few are allowed, but never one a request.

use integration::{Cluster, Config, Login, PASSWORD, Wire, frame, until};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;

#[global_allocator]
static GLOBAL: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const ROUNDS: usize = 4000;

/// Sends each request and takes its whole reply, again and again, without allocating.
fn rounds(socket: &mut TcpStream, requests: &[(Vec<u8>, usize)], count: usize) {
    let mut reply = [0; 1024];
    for (request, length) in requests.iter().cycle().take(count) {
        socket.write_all(request).expect("the proxy takes it");
        socket.read_exact(&mut reply[..*length]).expect("the whole reply");
        assert_eq!(reply[length - 6], b'Z', "a reply of the same length as before");
    }
}

/// The length of the reply to a request.
fn length(wire: &mut Wire, request: &[u8]) -> usize {
    wire.send(request).expect("the proxy takes it");
    let mut length = 0;
    loop {
        let message = wire.read().expect("a message");
        assert_ne!(message.tag, b'E', "{request:?}");
        length += 5 + message.body.len();
        if message.tag == b'Z' {
            return length;
        }
    }
}

#[test]
fn requests_allocate_nothing_in_steady_state() {
    let cluster = Cluster::start(2);
    cluster.prepare(
        "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t SELECT n, 7 FROM generate_series(1, 9) n",
    );
    // What probes allocate is no part of a request, however long that takes: there is hardly one.
    let config = Config::of(&cluster).text("probe_interval", "1m");
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let file = directory.join("allocations.toml");
    std::fs::write(&file, config.to_string()).expect("our own directory");
    std::thread::spawn(move || splitpool::program::run(&file));
    let login = Login::new(config.port, "app", PASSWORD, "app");
    let replicas: Vec<String> = cluster.replicas.iter().map(|replica| replica.port().to_string()).collect();
    let mut wire = until("reads reach a replica", Duration::from_secs(60), || {
        let mut wire = Wire::login(&login).ok()?;
        let port = wire.try_query("SELECT inet_server_port()").ok()?.ok().value();
        replicas.contains(&port).then_some(wire)
    });
    wire.send(&[frame::parse("s", "SELECT v FROM t WHERE id = $1"), frame::sync()].concat()).expect("sent");
    wire.read_to(b'Z').expect("prepared");
    let bound =
        |name: &str| [frame::bind("", name, &[Some(b"3")]), frame::execute("", 0), frame::sync()].concat();
    let kinds: [(&str, Vec<Vec<u8>>); 5] = [
        (
            "simple reads",
            (1..9).map(|id| frame::query(&format!("SELECT v FROM t WHERE id = {id}"))).collect(),
        ),
        ("unnamed statements", vec![[frame::parse("", "SELECT v FROM t WHERE id = $1"), bound("")].concat()]),
        ("prepared statements", vec![bound("s")]),
        ("writes", vec![frame::query("UPDATE t SET v = 7 WHERE id = 1")]),
        (
            "transactions",
            ["BEGIN", "SELECT v FROM t WHERE id = 1", "UPDATE t SET v = 7 WHERE id = 2", "COMMIT"]
                .map(frame::query)
                .to_vec(),
        ),
    ];
    for (kind, requests) in kinds {
        let requests: Vec<_> =
            requests.into_iter().map(|request| (request.clone(), length(&mut wire, &request))).collect();
        let mut socket = wire.sender();
        rounds(&mut socket, &requests, ROUNDS);
        let region = Region::new(GLOBAL);
        rounds(&mut socket, &requests, ROUNDS);
        let change = region.change();
        let count = change.allocations + change.reallocations;
        println!("{kind}: {count} allocations in {ROUNDS} requests");
        assert!(count < ROUNDS / 4, "{kind}: {count} allocations in {ROUNDS} requests");
    }
}
