//! The Splitpool binary as a process under test.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::config::Config;
use crate::http::{self, Samples};
use crate::paths::{self, Scratch};
use crate::process::Process;
use crate::until::{PATIENCE, until};
use crate::wire::{Error, Login, Wire};
use crate::{PASSWORD, keeper};

/// A running proxy; it is killed with this value.
#[derive(Debug)]
pub struct Proxy {
    config: Config,
    child: Mutex<Child>,
    process: Process,
    scratch: Scratch,
    ready: String,
}

impl Proxy {
    /// Writes the configuration, starts the binary, and returns when it says that it serves.
    ///
    /// # Panics
    /// When it does not; the message has what it logged.
    pub fn start(config: Config) -> Self {
        Self::start_with(config, &[])
    }

    /// As [`Proxy::start`], with variables in its environment.
    pub fn start_with(config: Config, environment: &[(&str, &str)]) -> Self {
        let scratch = Scratch::new("proxy");
        let file = scratch.path().join("splitpool.toml");
        fs::write(&file, config.to_string()).expect("our own directory");
        Self::launch(config, scratch, file, environment)
    }

    /// As [`Proxy::start_with`], with sockets handed over as systemd does (`LISTEN_FDS`).
    pub fn start_activated(config: Config, sockets: &[&TcpListener], environment: &[(&str, &str)]) -> Self {
        let scratch = Scratch::new("proxy");
        let file = scratch.path().join("splitpool.toml");
        fs::write(&file, config.to_string()).expect("our own directory");
        let mut handed = Vec::new();
        for socket in sockets {
            // A duplicate stays open in the child, where those that Rust makes are closed. Its number
            // is none of those that the child is to find them under.
            let fd = rustix::io::fcntl_dupfd_cloexec(socket, 32).expect("a descriptor is free");
            rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::empty()).expect("a flag can be cleared");
            handed.push(fd);
        }
        // Only a shell can put them where they belong, from 3 on, and name its own process.
        let moves = handed.iter().enumerate().map(|(index, fd)| format!("{}<&{}", index + 3, fd.as_raw_fd()));
        let closes = handed.iter().map(|fd| format!("{}<&-", fd.as_raw_fd()));
        let redirected: Vec<_> = moves.chain(closes).collect();
        let script =
            format!("LISTEN_PID=$$ LISTEN_FDS={} exec \"$0\" \"$@\" {}", handed.len(), redirected.join(" "));
        let mut command = Command::new("bash");
        command.arg("-c").arg(script).arg(paths::splitpool());
        Self::launch_as(command, config, scratch, file, environment)
    }

    /// As [`Proxy::start`], with the configuration behind the chain of links that a ConfigMap's volume has:
    /// `splitpool.toml -> ..data/splitpool.toml`, `..data -> ..N`. See [`Proxy::swap_volume`].
    pub fn start_in_volume(config: Config) -> Self {
        let scratch = Scratch::new("proxy");
        let root = scratch.path();
        fs::create_dir(root.join("..1")).expect("our own directory");
        fs::write(root.join("..1/splitpool.toml"), config.to_string()).expect("our own directory");
        std::os::unix::fs::symlink("..1", root.join("..data")).expect("our own directory");
        let file = root.join("splitpool.toml");
        std::os::unix::fs::symlink("..data/splitpool.toml", &file).expect("our own directory");
        Self::launch(config, scratch, file, &[])
    }

    fn launch(config: Config, scratch: Scratch, file: PathBuf, environment: &[(&str, &str)]) -> Self {
        Self::launch_as(Command::new(paths::splitpool()), config, scratch, file, environment)
    }

    fn launch_as(
        mut command: Command,
        config: Config,
        scratch: Scratch,
        file: PathBuf,
        environment: &[(&str, &str)],
    ) -> Self {
        let log = File::create(scratch.path().join("log")).expect("our own directory");
        let mut child = command
            .arg("--config")
            .arg(file)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start splitpool: {error}"));
        let process = Process::of(child.id()).expect("a child that was not waited for has an entry");
        keeper::keep(process);
        let out = child.stdout.take().expect("its output is a pipe");
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                sender.send(line).ok();
            }
        });
        let mut proxy = Self { config, child: Mutex::new(child), process, scratch, ready: String::new() };
        proxy.ready = lines.recv_timeout(PATIENCE).unwrap_or_default();
        assert!(
            proxy.ready.starts_with("splitpool: ready"),
            "{:?} is not ready:\n{}",
            proxy.ready,
            proxy.log()
        );
        proxy
    }

    /// The line it printed when it served.
    pub fn ready_line(&self) -> &str {
        &self.ready
    }

    /// The port that clients connect to.
    pub fn port(&self) -> u16 {
        self.config.port
    }

    /// Its process.
    pub fn process(&self) -> Process {
        self.process
    }

    /// The configuration it was given last.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The path of its configuration.
    pub fn config_file(&self) -> String {
        self.scratch.path().join("splitpool.toml").display().to_string()
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.scratch.path().join("log")).unwrap_or_default()
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A sign-in of the role `app` to the database `app`.
    pub fn login(&self) -> Login {
        Login::new(self.port(), "app", PASSWORD, "app")
    }

    /// A session of the role `app` in the database `app`.
    ///
    /// # Panics
    /// When it is refused.
    #[track_caller]
    pub fn session(&self) -> Wire {
        self.try_session().unwrap_or_else(|error| panic!("{error}\n{}", self.log()))
    }

    /// As [`Proxy::session`].
    ///
    /// # Errors
    /// When it is refused.
    pub fn try_session(&self) -> Result<Wire, Error> {
        Wire::login(&self.login())
    }

    /// Waits until reads have reached each of these ports, in sessions of their own.
    pub fn await_reads_on(&self, ports: &[u16]) {
        let mut missing = ports.to_vec();
        until(&format!("reads reach {ports:?}"), PATIENCE, || {
            let port = self.session().query("SELECT inet_server_port()").ok().value().parse().unwrap_or(0);
            missing.retain(|wanted| *wanted != port);
            missing.is_empty().then_some(())
        });
    }

    /// Waits until it lends no backend of this endpoint to reads: a replica that is late, or that does not answer.
    pub fn await_no_reads_on(&self, address: &str) {
        until(&format!("{address} takes no reads"), PATIENCE, || {
            let eligible = self.metrics().sum("splitpool_endpoint_eligible", &[("endpoint", address)]);
            (eligible == 0.0).then_some(())
        });
    }

    /// Waits until it is ready: some cluster has an endpoint that answers.
    pub fn await_ready(&self) {
        until("it is ready", PATIENCE, || (self.http("/ready").0 == 200).then_some(()));
    }

    /// Waits until every backend is given back.
    pub fn await_no_leases(&self) {
        until("every backend is given back", PATIENCE, || {
            (self.metrics().sum("splitpool_endpoint_leases", &[]) == 0.0).then_some(())
        });
    }

    /// It still runs, and nothing in it has panicked.
    ///
    /// # Panics
    /// With its log.
    #[track_caller]
    pub fn assert_sound(&self) {
        assert!(self.is_running() && !self.log().contains("panicked"), "{}", self.log());
    }

    /// Waits until it serves writes and every replica takes reads.
    pub fn await_cluster(&self, cluster: &crate::Cluster) {
        let ports: Vec<u16> = cluster.replicas.iter().map(crate::Server::port).collect();
        until("writes are served", PATIENCE, || {
            let mut session = self.try_session().ok()?;
            session.try_query("BEGIN; SELECT 1; COMMIT").ok().filter(|reply| reply.error.is_none())
        });
        self.await_reads_on(&ports);
    }

    /// Writes another configuration over the old one, whole at once; the proxy sees it by itself.
    pub fn rewrite(&mut self, config: Config) {
        self.rewrite_text(&config.to_string());
        self.config = config;
    }

    /// Writes any text over the configuration file, whole at once.
    pub fn rewrite_text(&self, text: &str) {
        let next = self.scratch.path().join("splitpool.next");
        fs::write(&next, text).expect("our own directory");
        fs::rename(&next, self.scratch.path().join("splitpool.toml")).expect("our own directory");
    }

    /// Replaces the volume of [`Proxy::start_in_volume`] as Kubernetes does: a new directory, and one link
    /// that is swapped.
    pub fn swap_volume(&mut self, config: Config) {
        let root = self.scratch.path();
        let old = fs::read_link(root.join("..data")).expect("the volume's link");
        let number =
            old.to_string_lossy().trim_start_matches("..").parse::<u32>().expect("a number after two dots");
        let new = format!("..{}", number + 1);
        fs::create_dir(root.join(&new)).expect("our own directory");
        fs::write(root.join(&new).join("splitpool.toml"), config.to_string()).expect("our own directory");
        std::os::unix::fs::symlink(&new, root.join("..data_tmp")).expect("our own directory");
        fs::rename(root.join("..data_tmp"), root.join("..data")).expect("our own directory");
        fs::remove_dir_all(root.join(old)).ok();
        self.config = config;
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Asks it to drain, and returns how it ended; None if it does not within this time.
    pub fn terminate(&self, within: Duration) -> Option<ExitStatus> {
        self.signal(Signal::TERM);
        self.await_end(within)
    }

    /// How it ended; None if it does not within this time.
    pub fn await_end(&self, within: Duration) -> Option<ExitStatus> {
        let begun = Instant::now();
        loop {
            match self.child().try_wait() {
                Ok(None) if begun.elapsed() < within => thread::sleep(Duration::from_millis(5)),
                other => return other.ok().flatten(),
            }
        }
    }

    /// Kills it with SIGKILL.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
        self.child().wait().ok();
    }

    /// Whether it still runs.
    pub fn is_running(&self) -> bool {
        self.process.is_alive()
    }

    /// Status and body of a GET on its HTTP port.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn http(&self, path: &str) -> (u16, String) {
        http::read(self.config.http, path).unwrap_or_else(|error| panic!("{path}: {error}\n{}", self.log()))
    }

    /// Its metrics.
    pub fn metrics(&self) -> Samples {
        Samples::parse(&self.http("/metrics").1)
    }

    /// Runs the binary with other arguments, for `check` and `route`, on a configuration of its own.
    pub fn run(config_text: &str, arguments: &[&str]) -> Output {
        let scratch = Scratch::new("run");
        let file = scratch.path().join("splitpool.toml");
        fs::write(&file, config_text).expect("our own directory");
        let (command, rest) = arguments.split_first().expect("a command");
        Command::new(paths::splitpool())
            .args([command, "--config"])
            .arg(&file)
            .args(rest)
            .stdin(Stdio::null())
            .output()
            .expect("splitpool runs")
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if thread::panicking() {
            // The one place where a failing test shows what the proxy had to say.
            let log = self.log();
            let from = log.lines().count().saturating_sub(25);
            eprintln!("--- the end of the proxy's log");
            log.lines().skip(from).for_each(|line| eprintln!("{line}"));
        }
        self.kill();
        keeper::forget(self.process);
    }
}
