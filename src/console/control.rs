//! Carries an operator's commands out.
//!
//! What waits here (for transactions to end, for backends to be closed) waits as long as its
//! operator does. Invariant: a PAUSE that was not waited for is undone.

use super::commands::Command;
use super::facts::{OWN, domains};
use super::{Console, Order, Outcome};
use crate::config::Snapshot;
use crate::site::Whom;
use pool::Duty;
use protocol::Fault;
use protocol::answer::Answer;
use protocol::fault::Cause;
use std::time::Duration;
use tokio::sync::oneshot;

/// Between two looks at whether what is waited for has come.
const LOOK: Duration = Duration::from_millis(5);

/// Looks in a row that must find nobody busy: a session may be just between its look at the
/// latches and its lease.
const QUIET_LOOKS: u32 = 3;

/// A pause that is undone when this is dropped, unless it was waited for.
struct Pausing<'a> {
    console: &'a Console,
    database: Option<&'a str>,
    done: bool,
}

impl Drop for Pausing<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.console.latches.resume(self.database);
            self.console.latched();
        }
    }
}

impl Console {
    /// Carries out a command that changes something.
    ///
    /// # Errors
    /// Why it was not.
    pub(super) async fn carry_out(&self, command: Command) -> Result<Answer, Fault> {
        match command {
            Command::Pause(database) => self.pause(self.known(database.as_deref())?).await,
            Command::Resume(database) => self.resume(self.known(database.as_deref())?),
            Command::Disable(database) => self.disable(&database, true),
            Command::Enable(database) => self.disable(&database, false),
            Command::Reconnect(database) => {
                self.reconnect(self.known(database.as_deref())?);
                Ok(Answer::done("RECONNECT"))
            }
            Command::WaitClose(database) => self.wait_close(self.known(database.as_deref())?).await,
            Command::Kill(database) => self.kill(&database),
            Command::KillClient(id) => self.kill_client(id),
            Command::Reload => {
                let (reply, outcome) = oneshot::channel();
                self.order(Order::Reload(reply)).await?;
                told("RELOAD", outcome).await
            }
            Command::Set(key, value) => {
                let (reply, outcome) = oneshot::channel();
                let tag = if value.is_some() { "SET" } else { "RESET" };
                self.order(Order::Set { key, value, reply }).await?;
                told(tag, outcome).await
            }
            Command::Shutdown(how) => {
                let now = how == super::Shutdown::Now;
                self.order(Order::Shutdown(how)).await?;
                if now {
                    // The connection ends with the process.
                    std::future::pending::<()>().await;
                }
                Ok(Answer::done("SHUTDOWN"))
            }
            Command::Suspend => Err(Fault::error(Cause::NotSupported, "SUSPEND is not supported")
                .hint("PAUSE stops all work between transactions; no client is dropped.")),
            Command::Assign(duty, endpoint) => self.assign(duty, &endpoint),
            Command::ResetDigests => {
                self.metrics.digests.reset();
                Ok(Answer::done("RESET"))
            }
            Command::Show(_)
            | Command::Fake(..)
            | Command::One
            | Command::Ignored(_)
            | Command::Select(_)
            | Command::Use(_) => Err(Fault::error(Cause::Internal, "nothing to carry out")),
        }
    }

    /// The database that is meant, if there is one by this name.
    fn known<'a>(&self, database: Option<&'a str>) -> Result<Option<&'a str>, Fault> {
        let Some(name) = database else { return Ok(None) };
        if name == OWN || super::is_named(name) {
            return Err(Fault::error(Cause::NotSupported, "the console itself has no backends"));
        }
        let snapshot = self.live.peek();
        let configured = domains(&snapshot).iter().any(|domain| domain.name == name);
        if configured || (snapshot.wildcard.is_some() && name != "*") {
            return Ok(Some(name));
        }
        Err(Fault::error(Cause::UnknownDatabase, format!("no such database: {name}")))
    }

    /// Every session looks at the latches.
    fn latched(&self) {
        self.sites.iter().for_each(|site| site.latched());
    }

    async fn pause(&self, database: Option<&str>) -> Result<Answer, Fault> {
        if !self.latches.pause(database) {
            return Err(Fault::error(Cause::WrongState, "already suspended/paused"));
        }
        let mut pausing = Pausing { console: self, database, done: false };
        self.latched();
        let mut quiet = 0;
        while quiet < QUIET_LOOKS {
            tokio::time::sleep(LOOK).await;
            let busy = self.sites.iter().any(|site| site.is_busy(database));
            quiet = if busy { 0 } else { quiet + 1 };
        }
        self.rest(database, true);
        self.reconnect(database);
        pausing.done = true;
        Ok(Answer::done("PAUSE"))
    }

    fn resume(&self, database: Option<&str>) -> Result<Answer, Fault> {
        let was = self.latches.resume(database);
        self.rest(database, false);
        self.latched();
        if !was {
            return Err(Fault::error(Cause::WrongState, "not suspended/paused"));
        }
        Ok(Answer::done("RESUME"))
    }

    fn disable(&self, database: &str, disabled: bool) -> Result<Answer, Fault> {
        self.known(Some(database))?;
        self.latches.disable(database, disabled);
        Ok(Answer::done(if disabled { "DISABLE" } else { "ENABLE" }))
    }

    fn reconnect(&self, database: Option<&str>) {
        let snapshot = self.live.current();
        let wanted = backends_of(&snapshot, database);
        self.sites.iter().for_each(|site| site.reconnect(&wanted));
    }

    /// Whether backends are kept ready for nobody.
    fn rest(&self, database: Option<&str>, rests: bool) {
        let snapshot = self.live.current();
        let wanted = backends_of(&snapshot, database);
        self.sites.iter().for_each(|site| site.rest(&wanted, rests));
    }

    async fn wait_close(&self, database: Option<&str>) -> Result<Answer, Fault> {
        let snapshot = self.live.current();
        let wanted = backends_of(&snapshot, database);
        while self.sites.iter().any(|site| site.closing(&wanted) > 0) {
            tokio::time::sleep(LOOK).await;
        }
        Ok(Answer::done("WAIT_CLOSE"))
    }

    /// Ends every client of a database. New ones wait until it is resumed.
    fn kill(&self, database: &str) -> Result<Answer, Fault> {
        self.known(Some(database))?;
        self.latches.pause(Some(database));
        self.latched();
        let killed: usize = self.sites.iter().map(|site| site.kill(Whom::Of(database))).sum();
        self.rest(Some(database), true);
        self.reconnect(Some(database));
        tracing::warn!(database, killed, "clients killed");
        Ok(Answer::done("KILL"))
    }

    fn kill_client(&self, id: u32) -> Result<Answer, Fault> {
        let killed: usize = self.sites.iter().map(|site| site.kill(Whom::Number(id))).sum();
        if killed == 0 {
            return Err(Fault::error(Cause::InvalidParameter, format!("client not found: {id}")));
        }
        Ok(Answer::done("KILL_CLIENT"))
    }

    fn assign(&self, duty: Duty, endpoint: &str) -> Result<Answer, Fault> {
        let split = if endpoint.starts_with("unix:") { None } else { endpoint.split_once('/') };
        let (cluster, address) =
            split.map_or((None, endpoint), |(cluster, address)| (Some(cluster), address));
        let mut why_not = format!("no such endpoint: {endpoint}");
        let mut done = false;
        for site in &self.sites {
            match site.assign(cluster, address, duty) {
                Ok(()) => done = true,
                Err(Some(why)) => why.clone_into(&mut why_not),
                Err(None) => {}
            }
        }
        let tag = match duty {
            Duty::Ready => "READY",
            Duty::Drain => "DRAIN",
            Duty::Maintenance => "MAINTENANCE",
        };
        if done { Ok(Answer::done(tag)) } else { Err(Fault::error(Cause::InvalidParameter, why_not)) }
    }

    async fn order(&self, order: Order) -> Result<(), Fault> {
        self.orders.send(order).await.map_err(|_| stopping())
    }
}

fn stopping() -> Fault {
    Fault::error(Cause::Shutdown, "the proxy is shutting down")
}

/// Picks the backends of a database, which may be any of several clusters; all without one.
fn backends_of<'a>(
    snapshot: &'a Snapshot,
    database: Option<&'a str>,
) -> impl Fn(&str, &str, &str) -> bool + 'a {
    let all = domains(snapshot);
    move |cluster, name, _| {
        let Some(wanted) = database else { return true };
        let of = |domain: &str| all.iter().find(|known| known.name == domain && known.cluster == cluster);
        match (of(wanted), of("*")) {
            (Some(domain), _) => domain.dbname.is_none_or(|dbname| dbname == name),
            (None, Some(_)) => name == wanted,
            (None, None) => false,
        }
    }
}

async fn told(tag: &str, outcome: oneshot::Receiver<Outcome>) -> Result<Answer, Fault> {
    match outcome.await.map_err(|_| stopping())? {
        Ok(report) => {
            let lines = report.changed.into_iter().chain(report.kept);
            Ok(lines.fold(Answer::done(tag), |answer, line| answer.notice(line)))
        }
        Err(mistakes) => Err(Fault::error(Cause::BadConfiguration, mistakes)),
    }
}
