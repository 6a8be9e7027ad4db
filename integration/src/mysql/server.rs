//! One MariaDB or MySQL, from its data directory to its last process.
//!
//! Invariant: the configuration is one file that only grows, so the last line for a name is in force.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::Write;
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use rustix::process::Signal;

use super::make::Make;
use super::session::{Reply, Session};
use crate::daemon::{self, Daemon};
use crate::process::Process;
use crate::until::{PATIENCE, until};
use crate::{PASSWORD, paths};

/// A server that this process started.
#[derive(Debug)]
pub struct Server {
    make: Make,
    port: u16,
    data: PathBuf,
    general_log: PathBuf,
    daemon: Daemon,
}

impl Server {
    /// A server over a data directory that is already there; configuration and logs are written beside it.
    pub(super) fn over(make: Make, name: &str, data: PathBuf, port: u16) -> Self {
        let daemon = Daemon::new(name, data.with_extension("log"), Signal::KILL);
        let general_log = data.with_extension("general");
        let server = Self { make, port, general_log, daemon, data };
        std::fs::write(server.configuration(), make.settings()).expect("our own directory");
        std::fs::write(&server.general_log, "").expect("our own directory");
        paths::hand_over(&server.general_log);
        // A server that starts deletes every temporary table it finds in this directory, those of others too.
        let temporary = server.data.with_extension("tmp");
        std::fs::create_dir_all(&temporary).expect("our own directory");
        paths::hand_over(&temporary);
        server.configure("port", &port.to_string());
        server.configure("server_id", &port.to_string());
        server.configure("datadir", &server.data.display().to_string());
        server.configure("tmpdir", &temporary.display().to_string());
        server.configure("general_log_file", &server.general_log.display().to_string());
        server
    }

    fn configuration(&self) -> PathBuf {
        self.data.with_extension("cnf")
    }

    /// MariaDB or MySQL.
    pub fn make(&self) -> Make {
        self.make
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

    /// The data directory; its Unix socket is the file `socket` in it.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The process that serves, if it was started and not stopped.
    pub fn process(&self) -> Option<Process> {
        self.daemon.process()
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
        let mut command = self.make.server_program();
        command.arg(format!("--defaults-file={}", self.configuration().display()));
        self.daemon.spawn(command, &self.data);
    }

    /// Waits until it takes connections.
    pub fn await_ready(&self) {
        self.await_sign_in(|| self.try_admin("").is_ok());
    }

    /// Waits until a sign-in succeeds.
    pub(super) fn await_sign_in(&self, sign_in: impl Fn() -> bool) {
        self.daemon.await_ready(|| TcpStream::connect(("127.0.0.1", self.port)).is_ok() && sign_in());
    }

    /// Ends it as its manual recommends.
    pub fn stop(&self) {
        self.daemon.end(Signal::TERM);
    }

    /// Kills it with SIGKILL.
    pub fn kill(&self) {
        self.daemon.kill();
    }

    /// Stops it if it runs, and starts it.
    pub fn restart(&self) {
        self.stop();
        self.start();
    }

    /// Whether its process runs.
    pub fn is_running(&self) -> bool {
        self.daemon.is_running()
    }

    /// Stops the time for it: connections stay open, nothing answers.
    pub fn freeze(&self) {
        self.daemon.freeze();
    }

    /// Lets the time go on.
    pub fn thaw(&self) {
        self.daemon.thaw();
    }

    /// Adds a setting to its configuration file; in force after a restart.
    pub fn configure(&self, name: &str, value: &str) {
        let file = OpenOptions::new().append(true).open(self.configuration());
        let mut file = file.expect("its configuration is ours");
        writeln!(file, "{name}={value}").expect("its configuration is ours");
    }

    /// Changes a setting of the running server, until it restarts.
    pub fn set(&self, name: &str, value: &str) {
        self.sql(&format!("SET GLOBAL {name} = {value}")).ok();
    }

    fn try_admin(&self, database: &str) -> Result<Session, mysql_async::Error> {
        Session::login(self.port, "admin", PASSWORD, database)
    }

    /// An administrator's session in the database `app`, straight to this server.
    pub fn admin(&self) -> Session {
        self.try_admin("app")
            .unwrap_or_else(|error| panic!("admin on {}: {error}\n{}", self.name(), self.daemon.log_tail()))
    }

    /// Runs a statement as the administrator in a session of its own.
    #[track_caller]
    pub fn sql(&self, sql: &str) -> Reply {
        self.admin().query(sql)
    }

    /// The first value of a statement's result, run as the administrator in a session of its own.
    #[track_caller]
    pub fn value(&self, sql: &str) -> String {
        self.admin().value(sql)
    }

    /// A status word of a replica, by any of its names, as `SHOW REPLICA STATUS` has it; empty on a primary.
    pub fn replica_status(&self, names: &[&str]) -> String {
        let show = format!("SHOW {} STATUS", self.make.replica());
        let found = self.admin().with_driver(async |conn| {
            use mysql_async::prelude::Queryable;
            let row: Option<mysql_async::Row> = conn.query_first(&show).await?;
            Ok(row
                .and_then(|row| names.iter().find_map(|name| row.get::<Option<String>, _>(*name)).flatten()))
        });
        found.expect("an administrator may ask").unwrap_or_default()
    }

    /// Stops applying what arrives; receiving goes on.
    pub fn pause_replay(&self) {
        self.sql(&format!("STOP {} SQL_THREAD", self.make.replica())).ok();
    }

    /// Goes on applying.
    pub fn resume_replay(&self) {
        self.sql(&format!("START {} SQL_THREAD", self.make.replica())).ok();
    }

    /// Stops receiving; what arrived is applied.
    pub fn pause_receiving(&self) {
        self.sql(&format!("STOP {} IO_THREAD", self.make.replica())).ok();
    }

    /// Goes on receiving.
    pub fn resume_receiving(&self) {
        self.sql(&format!("START {} IO_THREAD", self.make.replica())).ok();
    }

    /// Applies everything this many seconds late, from now on.
    pub fn delay_replay(&self, seconds: u32) {
        let replica = self.make.replica();
        let mut admin = self.admin();
        admin.query(&format!("STOP {replica}")).ok();
        admin
            .query(&match self.make {
                Make::MariaDb => format!("CHANGE MASTER TO MASTER_DELAY={seconds}"),
                Make::MySql => format!("CHANGE REPLICATION SOURCE TO SOURCE_DELAY={seconds}"),
            })
            .ok();
        admin.query(&format!("START {replica}")).ok();
    }

    /// Makes it a replica of another server, which refuses writes.
    pub fn follow(&self, primary: &Self) {
        let replica = self.make.replica();
        let mut admin = self.admin();
        admin.query(&format!("STOP {replica}"));
        admin.query(&self.make.follow(primary.port, "replicator", PASSWORD)).ok();
        admin.query(&format!("SET GLOBAL {} = ON", self.read_only())).ok();
        admin.query(&format!("START {replica}")).ok();
    }

    /// Makes a replica a primary.
    pub fn promote(&self) {
        let replica = self.make.replica();
        let mut admin = self.admin();
        admin.query(&format!("STOP {replica}")).ok();
        admin.query(&format!("RESET {replica} ALL")).ok();
        admin.query("SET GLOBAL read_only = OFF").ok();
    }

    /// Refuses writes from now on, or no longer.
    pub fn set_read_only(&self, on: bool) {
        let mut admin = self.admin();
        if on {
            admin.query(&format!("SET GLOBAL {} = ON", self.read_only())).ok();
        } else {
            admin.query("SET GLOBAL read_only = OFF").ok();
        }
    }

    /// The setting that refuses writes to everybody it can.
    pub(super) fn read_only(&self) -> &'static str {
        match self.make {
            Make::MariaDb => "read_only",
            Make::MySql => "super_read_only",
        }
    }

    /// How far it has come as a primary.
    pub fn position(&self) -> String {
        self.value(self.make.position())
    }

    /// Waits until a replica has applied everything up to a position.
    pub fn await_position(&self, position: &str) {
        let mut admin = self.admin();
        until(&format!("{} has applied {position}", self.name()), PATIENCE, || {
            self.make.has_reached(&mut admin, position).then_some(())
        });
    }

    /// How much its general log holds by now; see [`Server::log_since`].
    pub fn log_mark(&self) -> u64 {
        daemon::length(&self.general_log)
    }

    /// What clients have run on it since a mark, as its general log has it: a line for each command. What its own
    /// threads replicate is not in it, nor what was only prepared.
    pub fn log_since(&self, mark: u64) -> String {
        // A client's commands carry the number that its sign-in was logged with.
        let whole = daemon::since(&self.general_log, 0);
        let clients: BTreeSet<&str> =
            whole.lines().filter_map(entry).filter(|(_, rest)| is_sign_in(rest)).map(|(id, _)| id).collect();
        let tail = daemon::since(&self.general_log, mark);
        let mut ours = false;
        let mut out = String::new();
        for line in tail.lines() {
            // A text of several lines goes on without a number.
            if let Some((id, rest)) = entry(line) {
                ours = clients.contains(id) && !rest.starts_with("Prepare");
            }
            if ours {
                out.push_str(line);
                out.push('\n');
            }
        }
        out
    }
}

fn is_sign_in(rest: &str) -> bool {
    rest.strip_prefix("Connect\t").is_some_and(|who| !who.contains("replicator@"))
}

/// The number of the connection and the rest of a line that begins a command: `[time] \t<spaces>id command\t..`.
fn entry(line: &str) -> Option<(&str, &str)> {
    const COMMANDS: [&str; 22] = [
        "Query",
        "Connect",
        "Quit",
        "Prepare",
        "Execute",
        "Close stmt",
        "Reset stmt",
        "Fetch",
        "Init DB",
        "Field List",
        "Ping",
        "Statistics",
        "Change user",
        "Reset connection",
        "Set option",
        "Kill",
        "Long Data",
        "Binlog Dump",
        "Register",
        "Connect Out",
        "Bulk_execute",
        "Processlist",
    ];
    let (head, _) = line.split_once('\t').map(|(head, _)| (head, ())).unwrap_or((line, ()));
    let rest = line.get(head.len()..)?.trim_start();
    // MySQL separates time, number and command by tabs, MariaDB pads the number with spaces.
    let (id, rest) = rest.split_once(' ')?;
    let is_number = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit());
    let known = COMMANDS.iter().any(|command| {
        rest.strip_prefix(command).is_some_and(|rest| rest.is_empty() || rest.starts_with('\t'))
    });
    (is_number && known).then_some((id, rest))
}
