//! One PostgreSQL, from its data directory to its last process.
//!
//! Invariant: the configuration is one file that only grows, so the last line for a name is in force.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;

use crate::daemon::{self, Daemon};
use crate::process::Process;
use crate::until::{PATIENCE, until};
use crate::wire::{Login, Reply, Wire};
use crate::{PASSWORD, paths};

/// A PostgreSQL server that this process started.
#[derive(Debug)]
pub struct Server {
    port: u16,
    data: PathBuf,
    log: PathBuf,
    daemon: Daemon,
}

impl Server {
    /// A server over a data directory that is already there; its log is written beside it.
    pub fn over(name: &str, data: PathBuf, port: u16) -> Self {
        let log = data.with_extension("log");
        let daemon = Daemon::new(name, log.clone(), Signal::QUIT);
        Self { port, data, log, daemon }
    }

    /// Its name: `primary`, `replica1`, ...
    pub fn name(&self) -> &str {
        self.daemon.name()
    }

    /// The loopback port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The data directory.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The process that leads it, if it was started and not stopped.
    pub fn process(&self) -> Option<Process> {
        self.daemon.process()
    }

    /// The process that leads it and all that serve under it.
    pub fn processes(&self) -> Vec<Process> {
        self.daemon.processes()
    }

    /// Starts it and returns when it takes connections.
    ///
    /// # Panics
    /// When it does not; the message ends with its log.
    pub fn start(&self) {
        self.spawn();
        self.await_ready();
    }

    /// Starts it and returns at once.
    pub fn spawn(&self) {
        let mut command = Command::new(paths::postgres_program("postgres"));
        command.arg("-D").arg(&self.data);
        self.daemon.spawn(command, &self.data);
    }

    /// Waits until it takes connections.
    pub fn await_ready(&self) {
        self.daemon.await_ready(|| self.says_ready());
    }

    fn says_ready(&self) -> bool {
        let text = fs::read_to_string(self.data.join("postmaster.pid")).unwrap_or_default();
        let mut lines = text.lines();
        let own =
            lines.next().and_then(|id| id.trim().parse().ok()) == self.process().map(|process| process.id());
        own && lines.nth(6).is_some_and(|status| status.trim() == "ready")
    }

    /// Ends it as its manual recommends: sessions are cut, all that was written is kept.
    pub fn stop(&self) {
        self.daemon.end(Signal::INT);
    }

    /// Ends it without a shutdown, as a failing operator would; it recovers at the next start.
    pub fn stop_immediately(&self) {
        self.daemon.end(Signal::QUIT);
    }

    /// Kills every process of it at once with SIGKILL.
    pub fn kill(&self) {
        self.daemon.kill();
    }

    /// Stops it if it runs, and starts it.
    pub fn restart(&self) {
        self.stop();
        self.start();
    }

    /// Whether its leading process runs.
    pub fn is_running(&self) -> bool {
        self.daemon.is_running()
    }

    /// How it ended by itself: the signal, if it did and if it was one.
    pub fn ended_by(&self) -> Option<i32> {
        self.daemon.ended_by()
    }

    /// Stops the time for all of its processes: connections stay open, nothing answers.
    pub fn freeze(&self) {
        self.daemon.freeze();
    }

    /// Stops the time for the process that receives the write-ahead log, on a replica.
    ///
    /// # Panics
    /// When there is none.
    pub fn freeze_receiver(&self) {
        let receiver = until("a process that receives the log", PATIENCE, || {
            self.processes().into_iter().find(|process| process.title().contains("walreceiver"))
        });
        self.daemon.freeze_these(vec![receiver]);
    }

    /// Lets the time go on for whatever was frozen.
    pub fn thaw(&self) {
        self.daemon.thaw();
    }

    /// Adds a setting to its configuration file; in force after a restart; [`Server::set`] does not need one.
    pub fn configure(&self, name: &str, value: &str) {
        let path = self.data.join("postgresql.conf");
        let mut file = OpenOptions::new().append(true).open(path).expect("its configuration is ours");
        writeln!(file, "{name} = '{}'", value.replace('\'', "''")).expect("its configuration is ours");
    }

    /// Changes a setting that needs no restart and returns when new sessions see it.
    pub fn set(&self, name: &str, value: &str) {
        // The value may be what it was, or be spelled in another way than it was given.
        let loaded = || self.value("SELECT pg_conf_load_time()");
        let before = loaded();
        self.configure(name, value);
        if let Some(process) = self.process() {
            process.signal(Signal::HUP);
        }
        until("the configuration is read again", PATIENCE, || (loaded() != before).then_some(()));
    }

    /// A superuser's session in the database `app`, straight to this server.
    pub fn admin(&self) -> Wire {
        self.admin_of("app")
    }

    /// A superuser's session in a database, straight to this server.
    pub fn admin_of(&self, database: &str) -> Wire {
        Wire::login(&Login::new(self.port, "postgres", PASSWORD, database)).unwrap_or_else(|error| {
            panic!("superuser on {}: {error}\n{}", self.name(), self.daemon.log_tail())
        })
    }

    /// Runs a statement as the superuser in a session of its own.
    pub fn sql(&self, sql: &str) -> Reply {
        self.admin().query(sql)
    }

    /// The first value of a statement's result, run as the superuser in a session of its own.
    pub fn value(&self, sql: &str) -> String {
        self.admin().value(sql)
    }

    /// Stops applying what arrives; receiving goes on.
    pub fn pause_replay(&self) {
        let mut admin = self.admin();
        admin.query("SELECT pg_wal_replay_pause()").ok();
        until("replay is paused", PATIENCE, || {
            (admin.value("SELECT pg_get_wal_replay_pause_state()") == "paused").then_some(())
        });
    }

    /// Goes on applying.
    pub fn resume_replay(&self) {
        // Replay may go on, and cancel this very statement, before it is answered: ask until it has.
        until("replay goes on", PATIENCE, || {
            let mut admin = self.admin();
            admin.query("SELECT pg_wal_replay_resume()");
            let state = admin.query("SELECT pg_get_wal_replay_pause_state() = 'not paused'");
            state.error.is_none().then(|| state.value()).filter(|resumed| resumed == "t")
        });
    }

    /// Makes a replica a primary.
    pub fn promote(&self) {
        assert_eq!(self.value("SELECT pg_promote(true, 30)"), "t", "{} is not promoted", self.name());
    }

    /// How much its log holds by now; see [`Server::log_since`].
    pub fn log_mark(&self) -> u64 {
        daemon::length(&self.log)
    }

    /// What was logged since a mark.
    pub fn log_since(&self, mark: u64) -> String {
        daemon::since(&self.log, mark)
    }
}
