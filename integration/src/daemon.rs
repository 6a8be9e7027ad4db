//! A database's process and its log: started, stopped, killed, frozen, whatever database it is.
//!
//! Invariant: only processes that were started here are signalled, those by id and start time.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::process::Process;
use crate::until::{PATIENCE, until};
use crate::{keeper, paths};

/// One process that leads others, and the file that it logs to.
#[derive(Debug)]
pub(crate) struct Daemon {
    name: String,
    log: PathBuf,
    last_word: Signal,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    child: Option<Child>,
    frozen: Vec<Process>,
}

impl Daemon {
    /// Nothing runs yet. What the process prints is appended to `log`; `last_word` ends it where nothing that it
    /// wrote matters any more.
    pub(crate) fn new(name: &str, log: PathBuf, last_word: Signal) -> Self {
        Self { name: name.to_owned(), log, last_word, state: Mutex::default() }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The process that leads, if it was started and not stopped.
    pub(crate) fn process(&self) -> Option<Process> {
        self.state().child.as_ref().and_then(|child| Process::of(child.id()))
    }

    /// The process that leads and all that serve under it.
    pub(crate) fn processes(&self) -> Vec<Process> {
        let Some(leader) = self.process() else { return Vec::new() };
        let mut all = vec![leader];
        all.extend(leader.children());
        all
    }

    /// Starts it in `directory`, as the account that databases run under.
    pub(crate) fn spawn(&self, mut command: Command, directory: &Path) {
        let log = OpenOptions::new().create(true).append(true).open(&self.log).expect("its log is ours");
        command
            .env_clear()
            .env("TZ", "UTC")
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file can be shared"))
            .stderr(log)
            .process_group(0);
        if let Some((user, group)) = paths::account() {
            command.uid(user).gid(group);
        }
        let mut state = self.state();
        assert!(state.child.is_none(), "{} is started already", self.name);
        let child = command.spawn().unwrap_or_else(|error| panic!("cannot start {}: {error}", self.name));
        if let Some(process) = Process::of(child.id()) {
            keeper::keep(process);
        }
        state.child = Some(child);
    }

    /// Waits until it is ready, by whatever tells.
    ///
    /// # Panics
    /// When it ends before, or takes too long; the message ends with its log.
    pub(crate) fn await_ready(&self, mut says_ready: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !says_ready() {
            assert!(
                self.is_running() && begun.elapsed() < PATIENCE,
                "{} does not start:\n{}",
                self.name,
                self.log_tail()
            );
            thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn log_tail(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let from = log.lines().count().saturating_sub(20);
        log.lines().skip(from).collect::<Vec<_>>().join("\n")
    }

    /// Asks it to end and waits until it has; one that is frozen goes on first.
    pub(crate) fn end(&self, signal: Signal) {
        self.thaw();
        if let Some(leader) = self.process() {
            leader.signal(signal);
        }
        self.reap();
    }

    /// Kills every process of it at once with SIGKILL.
    pub(crate) fn kill(&self) {
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

    /// Waits for the end of the process that leads; kills it when it takes too long.
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

    /// Whether its leading process runs.
    pub(crate) fn is_running(&self) -> bool {
        self.state().child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// How it ended by itself: the signal, if it did and if it was one.
    pub(crate) fn ended_by(&self) -> Option<i32> {
        self.state().child.as_mut()?.try_wait().ok()??.signal()
    }

    /// Stops the time for all of its processes: connections stay open, nothing answers.
    pub(crate) fn freeze(&self) {
        self.freeze_these(self.processes());
        // A process forked meanwhile is caught by the second look.
        self.freeze_these(self.processes());
    }

    /// Stops the time for some of its processes.
    pub(crate) fn freeze_these(&self, processes: Vec<Process>) {
        let mut state = self.state();
        for process in processes {
            if !state.frozen.contains(&process) && process.signal(Signal::STOP) {
                state.frozen.push(process);
            }
        }
    }

    /// Lets the time go on for whatever was frozen.
    pub(crate) fn thaw(&self) {
        for process in self.state().frozen.drain(..) {
            process.signal(Signal::CONT);
        }
    }
}

/// How much a file holds by now.
pub(crate) fn length(file: &Path) -> u64 {
    fs::metadata(file).map_or(0, |meta| meta.len())
}

/// What was written to a file since it held this much.
pub(crate) fn since(file: &Path, mark: u64) -> String {
    let mut bytes = Vec::new();
    let read = File::open(file).and_then(|mut file| {
        file.seek(SeekFrom::Start(mark))?;
        file.read_to_end(&mut bytes)
    });
    read.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.thaw();
        let all = self.processes();
        if let Some(leader) = all.first() {
            leader.signal(self.last_word);
        }
        self.reap();
        for process in all {
            process.signal(Signal::KILL);
        }
    }
}
