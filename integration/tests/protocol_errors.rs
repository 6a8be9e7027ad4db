//! Who breaks a protocol is shown: how, how often, when, and from where.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use integration::console::{configured, console, table};
use integration::paths::free_port;
use integration::{Cluster, Lie, Linked, Stage, Then, frame, until};

const SOON: Duration = Duration::from_secs(60);

/// What an answer of the database's is made up behind.
const MARK: &str = "/* here it lies */";

#[test]
fn clients_and_databases_that_break_a_protocol_are_shown() {
    let cluster = Cluster::start(0);
    let mysql = free_port();
    let Linked { proxy, link, .. } = &Linked::over(cluster, |config| {
        let mut config = configured(config);
        config.listen = format!("mysql = \"127.0.0.1:{mysql}\"\n");
        config.extra +=
            "\n[clusters.none]\nengine = \"mysql\"\n[[clusters.none.endpoints]]\naddress = \"127.0.0.1:1\"\n";
        config
    });
    let mut operator = console(proxy, "viewer");
    let mut shown = || table(&mut operator, "SHOW PROTOCOL_ERRORS");
    assert!(shown().is_empty());

    // In a session, twice.
    let mut ports = Vec::new();
    for _ in 0..2 {
        let mut wire = proxy.session();
        ports.push(wire.local_port());
        wire.send(&frame::message(b'!', b"canary")).expect("it is sent");
        assert!(wire.ends_within(SOON));
    }
    let found = until("both are counted", SOON, || {
        let all = shown();
        all.into_iter().find(|row| row["error"] == "invalid frontend message type" && row["count"] == "2")
    });
    assert_eq!((found["protocol"].as_str(), found["side"].as_str()), ("postgres", "client"));
    let (newest, older) = found["last_addresses"].split_once(", ").expect("two addresses");
    assert!(newest.starts_with(&format!("127.0.0.1:{} at 20", ports[1])), "{newest}");
    assert!(older.starts_with(&format!("127.0.0.1:{} at 20", ports[0])), "{older}");
    assert!(found["first_seen"] <= found["last_seen"] && found["last_seen"].ends_with(" UTC"), "{found:?}");

    // Before a sign-in, to either port.
    for (protocol, port) in [("postgres", proxy.port()), ("mysql", mysql)] {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
        stream.set_read_timeout(Some(SOON)).expect("a timeout can be set");
        stream.write_all(b"GET / HTTP/1.1\r\nHost: canary\r\n\r\n").expect("it is sent");
        let mut said = Vec::new();
        let _ = stream.read_to_end(&mut said);
        until("it is counted", SOON, || {
            let is_it = |row: &std::collections::BTreeMap<String, String>| {
                row["protocol"] == protocol && row["count"] == "1" && row["side"] == "client"
            };
            shown().iter().any(is_it).then_some(())
        });
    }

    // The database.
    link.lie_behind(MARK, Lie { bytes: frame::message(b'?', b"canary"), then: Then::Close });
    let mut wire = proxy.session();
    let _ = wire.ask(&frame::query(&format!("SELECT 1 {MARK}")));
    let found = until("it is counted", SOON, || shown().into_iter().find(|row| row["side"] == "backend"));
    assert_eq!(found["error"], "the backend sent a message of unknown type");
    assert!(found["last_addresses"].starts_with(&link.address()), "{found:?}");

    let all = shown();
    let sum = |protocol: &str, side: &str| -> f64 {
        let of = all.iter().filter(|row| row["protocol"] == protocol && row["side"] == side);
        of.map(|row| row["count"].parse::<f64>().expect("a count")).sum()
    };
    let metrics = proxy.metrics();
    for (protocol, side) in [("postgres", "client"), ("postgres", "backend"), ("mysql", "client")] {
        let labels = [("protocol", protocol), ("side", side)];
        let counted = metrics.sum("splitpool_protocol_errors_total", &labels);
        assert!(counted >= 1.0 && counted == sum(protocol, side), "{protocol} {side}: {counted} of {all:?}");
    }
    assert!(!format!("{all:?}").contains("canary"), "{all:?}");
}

/// What is said in the middle of a row would be taken for a part of it.
#[test]
fn who_breaks_the_protocol_in_the_middle_of_a_row_is_not_told() {
    let stage = Stage::new(0, |config| config);
    let mut wire = stage.proxy.session();
    let length = 64 << 20;
    let ask = frame::unnamed(&format!("SELECT repeat('x', {length})"), &[]);
    wire.send(&[ask, frame::flush()].concat()).expect("it is sent");
    // The row has begun, and its client takes no more of it than this.
    let mut socket = wire.sender();
    socket.set_read_timeout(Some(SOON)).expect("a timeout can be set");
    let mut said = Vec::new();
    while said.iter().filter(|byte| **byte == b'x').count() < 1000 {
        let mut piece = [0; 512];
        let read = socket.read(&mut piece).expect("the row begins");
        said.extend_from_slice(&piece[..read]);
    }
    wire.send(&frame::message(b'!', b"canary")).expect("it is sent");
    // It is over, by an end or a reset: all that came is of the row.
    let _ = socket.read_to_end(&mut said);
    assert!(said.len() < length, "the row went on to its end");
    let row = said.iter().position(|byte| *byte == b'x').expect("it has begun");
    assert!(said[row..].iter().all(|byte| *byte == b'x'), "something else was said");
    stage.proxy.await_no_leases();
    assert_eq!(stage.proxy.session().value("SELECT 1"), "1");
}
