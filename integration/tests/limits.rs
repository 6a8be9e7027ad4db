//! A process that has no descriptor left serves those whom it has, and others again when there is room.

use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use integration::{Stage, until};

const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn without_descriptors_those_who_are_in_are_served_on() {
    let stage = Stage::new(0, |config| config);
    stage.cluster.prepare("CREATE TABLE t (v int)");
    let mut within = stage.proxy.session();
    within.query("INSERT INTO t VALUES (1)").ok();
    let process = stage.proxy.process().id();
    let open = || std::fs::read_dir(format!("/proc/{process}/fd")).expect("it runs").count();
    let most = open() + 20;
    let limits = ["--pid".to_owned(), process.to_string(), format!("--nofile={most}:{most}")];
    assert!(Command::new("prlimit").args(limits).status().expect("util-linux is there").success());
    let crowd: Vec<TcpStream> = (0..60)
        .map(|_| TcpStream::connect(("127.0.0.1", stage.proxy.port())).expect("the kernel queues it"))
        .collect();
    until("no descriptor is left", PATIENCE, || stage.proxy.log().contains("cannot accept").then_some(()));
    for _ in 0..50 {
        within.query("INSERT INTO t VALUES (2)").ok();
        assert_eq!(within.execute("SELECT $1::int", &["7"]).value(), "7");
    }
    drop(crowd);
    until("others come in again", PATIENCE, || {
        let mut wire = stage.proxy.try_session().ok()?;
        wire.try_query("INSERT INTO t VALUES (3)").ok()?.error.is_none().then_some(())
    });
    assert_eq!(stage.cluster.primary.value("SELECT count(*) FROM t WHERE v < 3"), "51");
    stage.proxy.assert_sound();
}
