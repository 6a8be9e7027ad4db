//! What serves a session: the way to its backends, the router, the catalog, the counters.

use crate::config::{self, PoolMode};
use crate::digests::Digests;
use crate::hub::Hub;
use crate::metrics::Counters;
use crate::session::alarm::Bounds;
use crate::statement_log::StatementLog;
use crate::traces::Tracer;
use pool::{Access, Consistency};
use protocol::{Held, Protocol};
use router::Router;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

mod directory;
mod latch;
mod running;
mod trade;
mod translate;
mod welcome;

pub use directory::{Directory, Unserved};
pub use latch::Latches;
pub use running::Running;
pub(crate) use running::rules;
pub use trade::Trade;
pub use translate::{auth_method, cluster_settings, keepalive};
pub use welcome::Welcome;

/// What serves the sessions of one user on one database.
pub struct Service<P: Protocol> {
    pub(crate) generation: u64,
    pub(crate) access: Arc<Access<P>>,
    pub(crate) router: Arc<Router>,
    pub(crate) catalog: Arc<crate::catalog::Slot>,
    /// Hears notifications for sessions, where they need not listen themselves.
    pub(crate) hub: Option<Arc<Hub>>,
    pub(crate) counters: Arc<Counters>,
    /// What operators call the database that it serves.
    pub(crate) domain: Box<str>,
    pub(crate) consistency: Consistency,
    pub(crate) mode: PoolMode,
    pub(crate) query_wait_timeout: Duration,
    pub(crate) bounds: Bounds,
    pub(crate) pins: config::Pins,
    pub(crate) gather_max: usize,
    pub(crate) welcomes: welcome::Welcomes,
    pub(crate) tracer: Option<Arc<Tracer>>,
    /// Which statements run, if that is kept.
    pub(crate) digests: Option<Arc<Digests>>,
    pub(crate) statement_log: Option<Arc<StatementLog>>,
    /// Some session has asked for `currval` or `lastval` in another transaction than it used a sequence in.
    pub(crate) sequences_asked: AtomicBool,
}

impl<P: Protocol> Service<P> {
    /// Whether a transaction may not outlive its statement.
    pub(crate) fn refuses_transactions(&self) -> bool {
        self.mode == PoolMode::Statement
    }

    /// What binds every session to its backend.
    pub(crate) fn always_held(&self) -> Held {
        if self.mode == PoolMode::Session { Held::SESSION_MODE } else { Held::empty() }
    }
}
