//! One PostgreSQL, from its data directory to its last process.
//!
//! Invariant: the configuration is one file that only grows, so the last line for a name is in force.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::process::Process;
use crate::until::until;
use crate::wire::{Login, Reply, Wire};
use crate::{PASSWORD, keeper, paths};

/// How long a server may take to start, to stop, or to change its role.
const PATIENCE: Duration = Duration::from_secs(30);

/// A PostgreSQL server that this process started.
#[derive(Debug)]
pub struct Server {
    name: String,
    port: u16,
    data: PathBuf,
    log: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    child: Option<Child>,
    frozen: Vec<Process>,
}

impl Server {
    /// A server over a data directory that is already there; its log is written beside it.
    pub fn over(name: &str, data: PathBuf, port: u16) -> Self {
        let log = data.with_extension("log");
        Self { name: name.to_owned(), port, data, log, state: Mutex::default() }
    }

    /// Its name: `primary`, `replica1`, ...
    pub fn name(&self) -> &str {
        &self.name
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

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The process that leads it, if it was started and not stopped.
    pub fn process(&self) -> Option<Process> {
        self.state().child.as_ref().and_then(|child| Process::of(child.id()))
    }

    /// The process that leads it and all that serve under it.
    pub fn processes(&self) -> Vec<Process> {
        let Some(leader) = self.process() else { return Vec::new() };
        let mut all = vec![leader];
        all.extend(leader.children());
        all
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
        let log = OpenOptions::new().create(true).append(true).open(&self.log).expect("its log is ours");
        let mut command = Command::new(paths::postgres_program("postgres"));
        command
            .arg("-D")
            .arg(&self.data)
            .env_clear()
            .env("TZ", "UTC")
            .current_dir(&self.data)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file can be shared"))
            .stderr(log)
            .process_group(0);
        if let Some((user, group)) = paths::account() {
            command.uid(user).gid(group);
        }
        let child = command.spawn().unwrap_or_else(|error| panic!("cannot start {}: {error}", self.name));
        if let Some(process) = Process::of(child.id()) {
            keeper::keep(process);
        }
        let mut state = self.state();
        assert!(state.child.is_none(), "{} is started already", self.name);
        state.child = Some(child);
    }

    /// Waits until it takes connections.
    pub fn await_ready(&self) {
        let begun = Instant::now();
        while !self.says_ready() {
            let ended = self.state().child.as_mut().is_none_or(|child| !matches!(child.try_wait(), Ok(None)));
            assert!(
                !ended && begun.elapsed() < PATIENCE,
                "{} does not start:\n{}",
                self.name,
                self.log_tail()
            );
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn says_ready(&self) -> bool {
        let text = fs::read_to_string(self.data.join("postmaster.pid")).unwrap_or_default();
        let mut lines = text.lines();
        let own =
            lines.next().and_then(|id| id.trim().parse().ok()) == self.process().map(|process| process.id());
        own && lines.nth(6).is_some_and(|status| status.trim() == "ready")
    }

    fn log_tail(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let from = log.lines().count().saturating_sub(20);
        log.lines().skip(from).collect::<Vec<_>>().join("\n")
    }

    /// Ends it as its manual recommends: sessions are cut, all that was written is kept.
    pub fn stop(&self) {
        self.end(Signal::INT);
    }

    /// Ends it without a shutdown, as a failing operator would; it recovers at the next start.
    pub fn stop_immediately(&self) {
        self.end(Signal::QUIT);
    }

    fn end(&self, signal: Signal) {
        self.thaw();
        let leader = self.process();
        if let Some(leader) = leader {
            leader.signal(signal);
        }
        self.reap();
    }

    /// Kills every process of it at once with SIGKILL.
    pub fn kill(&self) {
        let all = self.processes();
        for process in &all {
            process.signal(Signal::KILL);
        }
        self.state().frozen.clear();
        self.reap();
        for process in &all {
            until("a killed process is gone", PATIENCE, || (!process.is_alive()).then_some(()));
        }
    }

    /// Waits for the end of the process that leads it; kills it when it takes too long.
    fn reap(&self) {
        let Some(mut child) = self.state().child.take() else { return };
        let process = Process::of(child.id());
        let begun = Instant::now();
        while matches!(child.try_wait(), Ok(None)) {
            if begun.elapsed() > PATIENCE {
                child.kill().ok();
            }
            thread::sleep(Duration::from_millis(5));
        }
        if let Some(process) = process {
            keeper::forget(process);
        }
    }

    /// Stops it if it runs, and starts it.
    pub fn restart(&self) {
        self.stop();
        self.start();
    }

    /// Whether its leading process runs.
    pub fn is_running(&self) -> bool {
        self.state().child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// How it ended by itself: the signal, if it did and if it was one.
    pub fn ended_by(&self) -> Option<i32> {
        self.state().child.as_mut()?.try_wait().ok()??.signal()
    }

    /// Stops the time for all of its processes: connections stay open, nothing answers.
    pub fn freeze(&self) {
        let all = self.processes();
        self.freeze_these(all);
        // A process forked meanwhile is caught by the second look.
        let again = self.processes();
        self.freeze_these(again);
    }

    /// Stops the time for the process that receives the write-ahead log, on a replica.
    ///
    /// # Panics
    /// When there is none.
    pub fn freeze_receiver(&self) {
        let receiver = until("a process that receives the log", PATIENCE, || {
            self.processes().into_iter().find(|process| process.title().contains("walreceiver"))
        });
        self.freeze_these(vec![receiver]);
    }

    fn freeze_these(&self, processes: Vec<Process>) {
        let mut state = self.state();
        for process in processes {
            if !state.frozen.contains(&process) && process.signal(Signal::STOP) {
                state.frozen.push(process);
            }
        }
    }

    /// Lets the time go on for whatever was frozen.
    pub fn thaw(&self) {
        for process in self.state().frozen.drain(..) {
            process.signal(Signal::CONT);
        }
    }

    /// Adds a setting to its configuration file; in force after a restart; [`Server::set`] does not need one.
    pub fn configure(&self, name: &str, value: &str) {
        let path = self.data.join("postgresql.conf");
        let mut file = OpenOptions::new().append(true).open(path).expect("its configuration is ours");
        writeln!(file, "{name} = '{}'", value.replace('\'', "''")).expect("its configuration is ours");
    }

    /// Changes a setting that needs no restart and returns when new sessions see it.
    pub fn set(&self, name: &str, value: &str) {
        let mut admin = self.admin();
        let shown = |admin: &mut Wire| admin.value(&format!("SHOW {name}"));
        let before = shown(&mut admin);
        self.configure(name, value);
        if let Some(process) = self.process() {
            process.signal(Signal::HUP);
        }
        // A value may be spelled in another way than it was given; wait for a change, not for a spelling.
        let begun = Instant::now();
        while shown(&mut admin) == before && begun.elapsed() < Duration::from_secs(2) {
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// A superuser's session in the database `app`, straight to this server.
    pub fn admin(&self) -> Wire {
        self.admin_of("app")
    }

    /// A superuser's session in a database, straight to this server.
    pub fn admin_of(&self, database: &str) -> Wire {
        Wire::login(&Login::new(self.port, "postgres", PASSWORD, database))
            .unwrap_or_else(|error| panic!("superuser on {}: {error}\n{}", self.name, self.log_tail()))
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
        assert_eq!(self.value("SELECT pg_promote(true, 30)"), "t", "{} is not promoted", self.name);
    }

    /// How much its log holds by now; see [`Server::log_since`].
    pub fn log_mark(&self) -> u64 {
        fs::metadata(&self.log).map_or(0, |meta| meta.len())
    }

    /// What was logged since a mark.
    pub fn log_since(&self, mark: u64) -> String {
        let mut bytes = Vec::new();
        let read = File::open(&self.log).and_then(|mut file| {
            file.seek(SeekFrom::Start(mark))?;
            file.read_to_end(&mut bytes)
        });
        read.unwrap_or_else(|error| panic!("{}: {error}", self.log.display()));
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.thaw();
        let all = self.processes();
        if let Some(leader) = all.first() {
            leader.signal(Signal::QUIT);
        }
        self.reap();
        for process in all {
            process.signal(Signal::KILL);
        }
    }
}
