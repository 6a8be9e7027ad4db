//! What a supervisor sees of a process, and that a restart loses no connection attempt.

use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Output};
use std::thread;
use std::time::Duration;

use integration::load::{self, Progress};
use integration::paths::{self, Scratch};
use integration::{Cluster, Config, Login, PASSWORD, Proxy, Stage, Wire, until};
use rustix::process::Signal;

const PATIENCE: Duration = Duration::from_secs(20);

/// Proofs would only slow down how fast clients come.
const TRUST: &str = "auth = \"trust\"\n";

/// A supervisor's ear.
struct Ear {
    socket: UnixDatagram,
    path: String,
    _scratch: Scratch,
}

impl Ear {
    fn new() -> Self {
        let scratch = Scratch::new("notify");
        let path = scratch.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("our own directory");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        Self { socket, path: path.to_str().expect("our own name").to_owned(), _scratch: scratch }
    }

    /// The next message that is no sign of life.
    fn next(&self) -> Vec<String> {
        loop {
            let mut message = [0; 4096];
            let read = self.socket.recv(&mut message).expect("a message of the process");
            let text = String::from_utf8_lossy(&message[..read]).into_owned();
            if text.trim() != "WATCHDOG=1" {
                return text.lines().map(str::to_owned).collect();
            }
        }
    }

    /// Waits for a sign of life.
    fn await_watchdog(&self) {
        let mut message = [0; 4096];
        until("a sign of life", PATIENCE, || {
            let read = self.socket.recv(&mut message).expect("a message of the process");
            message[..read].starts_with(b"WATCHDOG=1").then_some(())
        });
    }
}

#[test]
fn the_supervisor_hears_ready_reloading_and_stopping_in_order() {
    let cluster = Cluster::start(0);
    let ear = Ear::new();
    let environment = [("NOTIFY_SOCKET", ear.path.as_str()), ("WATCHDOG_USEC", "200000")];
    let proxy = Proxy::start_with(Config::of(&cluster), &environment);
    let first = ear.next();
    assert_eq!(first[0], "READY=1");
    assert!(first[1].starts_with("STATUS=serving on 127.0.0.1:"), "{first:?}");
    ear.await_watchdog();
    proxy.signal(Signal::HUP);
    let reloading = ear.next();
    assert_eq!(reloading[0], "RELOADING=1");
    let stamp = reloading[1].strip_prefix("MONOTONIC_USEC=").expect("the time of the reload");
    assert!(stamp.parse::<u64>().expect("a number") > 0);
    assert_eq!(ear.next()[0], "READY=1");
    assert!(proxy.terminate(PATIENCE).is_some_and(|status| status.success()));
    let stopping = ear.next();
    assert_eq!(stopping[0], "STOPPING=1");
    assert!(stopping[1].starts_with("STATUS=stopping"), "{stopping:?}");
}

fn healthcheck(arguments: &[&str]) -> Output {
    Command::new(paths::splitpool()).arg("healthcheck").args(arguments).output().expect("splitpool runs")
}

#[test]
fn healthcheck_tells_ready_from_live_from_gone() {
    let stage = Stage::new(0, |config| config.raw("return_after", "1"));
    let at = format!("127.0.0.1:{}", stage.proxy.config().http);
    let file = stage.proxy.config_file();
    let said =
        |out: &Output| String::from_utf8_lossy(&[&out.stdout[..], &out.stderr[..]].concat()).into_owned();
    let ready = healthcheck(&["--address", &at]);
    assert_eq!((ready.status.code(), said(&ready).trim()), (Some(0), "ready"));
    // The address is found in a file that has gone wrong since, too.
    let broken = stage.proxy.config().to_string().replace("[clusters.main]", "[clusters.main]\nwrong = 1");
    stage.proxy.rewrite_text(&broken);
    assert_eq!(healthcheck(&["--config", &file]).status.code(), Some(0));
    stage.cluster.primary.kill();
    until("the process is not ready", PATIENCE, || {
        (healthcheck(&["--address", &at]).status.code() == Some(1)).then_some(())
    });
    assert_eq!(healthcheck(&["--live", "--address", &at]).status.code(), Some(0));
    stage.proxy.kill();
    let gone = healthcheck(&["--live", "--address", &at]);
    assert_eq!(gone.status.code(), Some(1), "{}", said(&gone));
}

/// Connects, reads and leaves, over and over, while `change` runs; returns what went wrong.
fn under_connections(port: u16, change: impl FnOnce(&Progress)) -> Vec<String> {
    let round = |(): &mut ()| {
        let mut wire = Wire::login(&Login::new(port, "app", PASSWORD, "app"))
            .map_err(|error| format!("sign-in: {error}"))?;
        load::went_well(wire.try_query("SELECT 1"), "SELECT 1")
    };
    load::under_load(16, |_| (), round, change)
}

#[test]
fn a_restart_under_socket_activation_loses_no_connection() {
    let cluster = Cluster::start(0);
    let config = Config { listen: TRUST.to_owned(), ..Config::of(&cluster) };
    let bind = |port| TcpListener::bind(("127.0.0.1", port)).expect("a free port");
    let sockets = [bind(config.port), bind(config.http)];
    let start = || Proxy::start_activated(config.clone(), &[&sockets[0], &sockets[1]], &[]);
    let mut proxy = start();
    let failed = under_connections(config.port, |progress| {
        for _ in 0..4 {
            progress.await_more(300);
            let ended = proxy.terminate(PATIENCE);
            assert!(ended.is_some_and(|status| status.success()), "{ended:?}\n{}", proxy.log());
            proxy = start();
            assert_eq!(proxy.http("/live").0, 200);
        }
        progress.await_more(300);
    });
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn a_socket_that_no_key_names_is_refused() {
    let config = Config::over(vec![integration::config::Endpoint::auto("127.0.0.1:1".to_owned())]);
    let stranger = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let started = std::panic::catch_unwind(|| Proxy::start_activated(config, &[&stranger], &[]));
    let said = started.err().and_then(|panic| panic.downcast::<String>().ok()).expect("it does not start");
    let port = stranger.local_addr().expect("it is bound").port();
    assert!(said.contains(&format!("127.0.0.1:{port}")), "{said}");
}

#[test]
fn two_processes_share_an_address_and_the_old_one_leaves_without_a_loss() {
    let cluster = Cluster::start(0);
    let config = Config { listen: format!("{TRUST}reuse_port = true\n"), ..Config::of(&cluster) };
    let mut old = Proxy::start(config.clone());
    let failed = under_connections(config.port, |progress| {
        for _ in 0..4 {
            progress.await_more(300);
            let new = Proxy::start(config.clone());
            // Frozen for a moment while clients come, it has connections in the kernel's queue when it is told to go.
            old.signal(Signal::STOP);
            thread::sleep(Duration::from_millis(100));
            old.signal(Signal::TERM);
            old.signal(Signal::CONT);
            // Not told again: that would end it at once.
            let ended = old.await_end(PATIENCE);
            assert!(ended.is_some_and(|status| status.success()), "{ended:?}\n{}", old.log());
            old = new;
        }
        progress.await_more(300);
    });
    assert!(failed.is_empty(), "{failed:#?}");
}
