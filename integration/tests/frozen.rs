//! Machines that stand still without closing anything: what is under way there waits as long as the configuration
//! lets it, everybody else goes on, and nothing is left behind.

use std::fs;
use std::time::{Duration, Instant};

use integration::process::Process;
use integration::{PATIENCE, Server, Stage, Wire, frame, holds, until};
use rustix::process::Signal;

/// Reads that run long enough to be met in the middle. The last column is what tells it apart.
fn slow(tag: &str) -> String {
    format!("SELECT pg_sleep(5), current_setting('cluster_name') /* {tag} */")
}

/// The backend on `server` that runs this now.
fn backend_of(server: &Server, tag: &str) -> Process {
    let ask = format!(
        "SELECT min(pid) FROM pg_stat_activity WHERE state = 'active' AND pid <> pg_backend_pid() AND query LIKE '%/* {tag} */%'"
    );
    let mut admin = server.admin();
    let id = until("it runs", PATIENCE, || admin.value(&ask).parse::<u32>().ok());
    Process::of(id).expect("a backend is a process")
}

/// A process that stands still for as long as this is there.
struct Stopped(Process);

impl Stopped {
    fn at(process: Process) -> Self {
        assert!(process.signal(Signal::STOP));
        Self(process)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        self.0.signal(Signal::CONT);
    }
}

/// A session whose read runs on the replica.
fn reading(stage: &Stage, tag: &str) -> Wire {
    let mut wire = stage.proxy.session();
    until("it reads on the replica", PATIENCE, || {
        (wire.value("SELECT current_setting('cluster_name')") == "replica1").then_some(())
    });
    wire.send(&frame::query(&slow(tag))).expect("it is open");
    wire
}

fn stage(configure: impl FnOnce(integration::Config) -> integration::Config) -> Stage {
    Stage::new(1, |config| configure(config.text("consistency", "eventual").text("max_lag", "1h")))
}

#[test]
fn a_read_on_a_frozen_replica_is_answered_when_it_thaws_and_others_do_not_wait() {
    let stage = stage(|config| config);
    let replica = &stage.cluster.replicas[0];
    let mut wire = reading(&stage, "frozen with its server");
    backend_of(replica, "frozen with its server");
    replica.freeze();
    stage.proxy.await_no_reads_on(&replica.address());
    // New reads, also of sessions that were there, run elsewhere.
    for _ in 0..20 {
        assert_eq!(stage.proxy.session().value("SELECT current_setting('cluster_name')"), "primary");
    }
    wire.patience(Duration::from_millis(500));
    assert!(wire.reply().is_err(), "there is an answer from a server that stands still");
    replica.thaw();
    wire.patience(PATIENCE);
    let reply = wire.reply().expect("the session goes on").ok();
    assert_eq!(reply.rows[0][1].as_deref(), Some("replica1"));
    stage.proxy.await_reads_on(&[replica.port()]);
    stage.proxy.await_no_leases();
}

#[test]
fn a_read_on_a_frozen_replica_ends_with_its_query_timeout() {
    let stage = stage(|config| config.text("query_timeout", "2s").raw("pool_size", "2"));
    let replica = &stage.cluster.replicas[0];
    let mut wire = reading(&stage, "frozen for too long");
    backend_of(replica, "frozen for too long");
    replica.freeze();
    let begun = Instant::now();
    let said = wire.reply().expect_err("the session ends").to_string();
    assert!(said.starts_with("FATAL 57014"), "{said}");
    assert!(begun.elapsed() >= Duration::from_millis(1500), "{:?}", begun.elapsed());
    stage.proxy.await_no_reads_on(&replica.address());
    assert_eq!(stage.proxy.session().value("SELECT current_setting('cluster_name')"), "primary");
    replica.thaw();
    stage.proxy.await_reads_on(&[replica.port()]);
    // Its backend was not given to anybody else, and is gone with the statement.
    let left = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%/* frozen for %' \
                AND pid <> pg_backend_pid()";
    holds("statements left over", PATIENCE, "0".to_owned(), || replica.value(left));
    stage.proxy.await_no_leases();
}

#[test]
fn a_backend_that_stands_still_alone_costs_its_own_client_and_nobody_else() {
    let stage = stage(|config| config.text("query_timeout", "2s").raw("pool_size", "2"));
    let replica = &stage.cluster.replicas[0];
    let mut wire = reading(&stage, "stopped alone");
    let stopped = Stopped::at(backend_of(replica, "stopped alone"));
    let said = wire.reply().expect_err("the session ends").to_string();
    assert!(said.starts_with("FATAL 57014"), "{said}");
    // The server is well: it is read from on, by all that its pool has room for.
    let mut sessions: Vec<_> = (0..4).map(|_| stage.proxy.session()).collect();
    for round in 0..20 {
        let wire = &mut sessions[round % 4];
        assert_eq!(wire.value("SELECT current_setting('cluster_name')"), "replica1");
    }
    stage.proxy.await_no_leases();
    drop(stopped);
    let gone = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%/* stopped alone */%' AND pid <> pg_backend_pid()";
    holds("its backend", PATIENCE, "0".to_owned(), || replica.value(gone));
}

#[test]
fn a_write_on_a_frozen_primary_is_not_sent_again() {
    let stage = stage(|config| config.text("query_timeout", "2s"));
    stage.cluster.prepare("CREATE TABLE once (n int)");
    let primary = &stage.cluster.primary;
    let mut wire = stage.proxy.session();
    wire.query("INSERT INTO once VALUES (1)").ok();
    let text = "INSERT INTO once SELECT 2 FROM pg_sleep(3) /* written slowly */";
    wire.send(&frame::query(text)).expect("it is open");
    let stopped = Stopped::at(backend_of(primary, "written slowly"));
    let said = wire.reply().expect_err("the session ends").to_string();
    assert!(said.starts_with("FATAL 57014"), "{said}");
    drop(stopped);
    stage.await_none(PATIENCE, "usename = 'app' AND state <> 'idle'");
    let times = primary.log_since(0).matches("statement: INSERT INTO once SELECT 2").count();
    assert_eq!(times, 1, "it was sent so often");
    let rows: u32 = primary.value("SELECT count(*) FROM once WHERE n = 2").parse().expect("a number");
    assert!(rows <= 1, "{rows} rows of one write");
}

/// The timers of connections that a process has, by the kernel: its kind (02 is keepalive) and the seconds that are
/// left of it. Only those with this port on this side, or that one on the other.
fn timers(process: Process, local: Option<u16>, remote: Option<u16>) -> Vec<(String, f64)> {
    let own: Vec<String> = fs::read_dir(format!("/proc/{}/fd", process.id()))
        .expect("its descriptors")
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .filter_map(|link| Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    let port = |address: &str| u16::from_str_radix(address.rsplit(':').next().unwrap_or(""), 16).ok();
    let table = fs::read_to_string("/proc/net/tcp").expect("the kernel's table");
    let rows = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| row.len() > 9 && row[3] == "01" && own.iter().any(|inode| inode == row[9]))
        .filter(|row| local.is_none_or(|local| port(row[1]) == Some(local)))
        .filter(|row| remote.is_none_or(|remote| port(row[2]) == Some(remote)))
        .map(|row| {
            let (kind, ticks) = row[5].split_once(':').expect("a timer and its ticks");
            let ticks = u32::from_str_radix(ticks, 16).expect("a number");
            (kind.to_owned(), f64::from(ticks) / 100.0)
        })
        .collect()
}

/// A machine that vanishes says nothing. The kernel asks those that have been silent, and ends what has no answer.
#[test]
fn the_kernel_watches_over_idle_clients_and_idle_backends() {
    let stage = stage(|mut config| {
        config.extra.push_str("\n[general]\ntcp_keepalive = \"20s\"\n");
        config.text("server_idle_timeout", "0")
    });
    let mut clients: Vec<_> = (0..5).map(|_| stage.proxy.session()).collect();
    for wire in &mut clients {
        wire.query("BEGIN; SELECT 1; COMMIT").ok();
    }
    let process = stage.proxy.process();
    // Who has just said something is not watched for as long as its bytes are on their way.
    for (local, remote, least) in
        [(Some(stage.proxy.port()), None, 5), (None, Some(stage.cluster.primary.port()), 1)]
    {
        until("the kernel watches over all", PATIENCE, || {
            let seen = timers(process, local, remote);
            let watched = seen.iter().all(|(kind, seconds)| kind == "02" && *seconds <= 21.0);
            (watched && seen.len() >= least).then_some(())
        });
    }
}
