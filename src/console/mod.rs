//! Where operators look and command: the database `splitpool`, or `pgbouncer`, on either port.
//!
//! `table` holds every command with the right it needs, `commands` reads what is said, `shapes` which columns there are,
//! `facts` what is known at a moment; `show`, `sockets`, `own`, `config_rows` and `proxysql` make
//! rows of that; `select` reads queries to the tables of the last. All of these decide. `session` listens and answers, `control` carries commands out.
//! What is shown is gathered when somebody asks: nothing is kept up for it while queries run.

mod averages;
mod commands;
mod config_rows;
mod control;
mod facts;
mod own;
mod proxysql;
mod select;
mod session;
mod shapes;
mod show;
mod sockets;
mod table;
mod words;

pub use commands::{Right, Shutdown};
pub use facts::OWN as DOMAIN;
pub(crate) use facts::domains;
pub(crate) use session::{Manner, serve};

use crate::config::{Live, ReloadReport};
use crate::metrics::Metrics;
use crate::service::Latches;
use crate::site::Site;
pub use averages::Averages;
use averages::PERIOD;
use facts::Facts;
use parking_lot::Mutex;
use protocol::fault::Cause;
use protocol::{Fault, Reported};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{mpsc, oneshot};

/// How a change of the configuration ended: what is different, or all that is wrong.
pub type Outcome = Result<ReloadReport, String>;

/// What only the program itself can carry out.
pub enum Order {
    /// Read the file again.
    Reload(oneshot::Sender<Outcome>),
    /// Another value for a key until a restart; `None` gives the file's back.
    Set {
        /// The key's path.
        key: String,
        /// Its value, as text.
        value: Option<String>,
        /// How it ended.
        reply: oneshot::Sender<Outcome>,
    },
    /// Stop.
    Shutdown(Shutdown),
}

/// See the file's head.
pub struct Console {
    /// The configuration.
    pub live: Arc<Live>,
    /// One for each database that is served.
    pub sites: Vec<Arc<dyn Site>>,
    /// The counters.
    pub metrics: Arc<Metrics>,
    /// Which databases are paused or disabled.
    pub latches: Arc<Latches>,
    /// To the program.
    pub orders: mpsc::Sender<Order>,
    /// What happened in the last period.
    pub averages: Mutex<Averages>,
    /// When the process began to serve.
    pub since: Instant,
}

/// What the console calls itself.
const NAME: &str = "splitpool";

/// Whether a client that asks for this database is an operator.
pub fn is_named(database: &str) -> bool {
    matches!(database, NAME | "pgbouncer")
}

/// Whether an operator may call the console so: by its names, or by those of ProxySQL's schemas.
fn is_known_as(name: &str) -> bool {
    is_named(name) || matches!(name, "main" | "stats")
}

/// The setting by which a client asks for the columns of another version of PgBouncer.
pub const COLUMNS_OF: &str = "splitpool.pgbouncer";

/// What an operator's client is told when it has signed in. Drivers look for these.
pub fn reported() -> Reported {
    let all = [
        ("server_version", "1.24.1/splitpool"),
        ("client_encoding", "UTF8"),
        ("server_encoding", "UTF8"),
        ("DateStyle", "ISO"),
        ("TimeZone", "GMT"),
        ("standard_conforming_strings", "on"),
        ("is_superuser", "on"),
        ("integer_datetimes", "on"),
    ];
    Reported::new(all.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec())
}

impl Console {
    /// What a user who has signed in may do here.
    ///
    /// # Errors
    /// The refusal, if nothing.
    pub fn right(&self, user: &str) -> Result<Right, Fault> {
        let snapshot = self.live.peek();
        match snapshot.users.get(user) {
            Some(user) if user.admin => Ok(Right::Admin),
            Some(user) if user.stats => Ok(Right::Stats),
            _ => Err(Fault::fatal(Cause::NotPermitted, "this user may not use the console")
                .hint("Users with admin = true or stats = true may.")),
        }
    }

    /// Takes the averages at the end of each period, for ever.
    pub async fn keep_averages(self: Arc<Self>) {
        loop {
            self.averages.lock().turn(&self.metrics.all(), Instant::now());
            tokio::time::sleep(PERIOD).await;
        }
    }

    /// All that can be shown, at this moment.
    fn facts(&self) -> Facts {
        let snapshot = self.live.current();
        let clients: Vec<_> = self.sites.iter().flat_map(|site| site.roll()).collect();
        let cards = self.sites.iter().flat_map(|site| site.backends()).collect();
        let views = |site: &Arc<dyn Site>| {
            let engine = site.engine();
            site.views().into_iter().map(move |view| (engine, view))
        };
        Facts {
            backends: Facts::backends(&snapshot, &clients, cards),
            views: self.sites.iter().flat_map(views).collect(),
            latches: Arc::clone(&self.latches),
            counters: self.metrics.all(),
            averages: self.averages.lock().clone(),
            digests: self.metrics.digests.all(),
            other_digests: self.metrics.digests.others(),
            violations: self.metrics.violations.all(),
            outcomes: self.live.outcomes(),
            resident: resident(),
            uptime: self.since.elapsed(),
            snapshot,
            clients,
        }
    }
}

/// Bytes of memory that this process occupies; 0 where the system does not say.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0).saturating_mul(1024)
}
