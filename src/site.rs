//! What operators see of, and may do to, all that serves one database, whichever it is.

use crate::config::Engine;
use pool::{Card, Duty, View};
use protocol::Held;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Clusters of one database and their clients.
pub trait Site: Send + Sync {
    /// Which database it is.
    fn engine(&self) -> Engine;
    /// How the clusters stand.
    fn views(&self) -> Vec<View>;
    /// How many clients there are.
    fn clients(&self) -> usize;
    /// Every client, by number.
    fn roll(&self) -> Vec<Client>;
    /// Every open backend, with the name of its cluster.
    fn backends(&self) -> Vec<(String, Arc<Card>)>;
    /// Something was paused or resumed: every session looks.
    fn latched(&self);
    /// Whether a session of this database, or any, has a backend or stands in line for one.
    fn is_busy(&self, domain: Option<&str>) -> bool;
    /// Replaces the backends that are wanted as soon as they are free.
    fn reconnect(&self, wanted: &Wanted<'_>);
    /// Whether the minimum of backends that are wanted is not kept.
    fn rest(&self, wanted: &Wanted<'_>, rests: bool);
    /// How many backends that are wanted are still to be replaced.
    fn closing(&self, wanted: &Wanted<'_>) -> usize;
    /// Ends the client of this number, or every one of a database. Returns how many.
    fn kill(&self, whom: Whom<'_>) -> usize;
    /// Gives an endpoint another duty, in the cluster of this name or in all that have it.
    ///
    /// # Errors
    /// Why not, as a sentence; `None` if there is no such endpoint here.
    fn assign(&self, cluster: Option<&str>, address: &str, duty: Duty) -> Result<(), Option<&'static str>>;
    /// Tells every client's session to end as soon as it may.
    fn stop_all(&self);
}

/// Which backends are meant: by cluster, database and user.
pub type Wanted<'a> = dyn Fn(&str, &str, &str) -> bool + 'a;

/// Which clients are meant.
#[derive(Debug, Clone, Copy)]
pub enum Whom<'a> {
    /// The one of this number.
    Number(u32),
    /// Those of this database.
    Of(&'a str),
}

/// A client at one moment.
#[derive(Debug, Clone)]
pub struct Client {
    /// Its number.
    pub id: u32,
    /// The user, as the client gave it.
    pub user: String,
    /// The database that serves it.
    pub engine: Engine,
    /// The database that it named when it signed in.
    pub database: String,
    /// What operators call the database that it is served by.
    pub domain: String,
    /// What it calls itself.
    pub application: String,
    /// The other side's address; `None` on a Unix socket.
    pub peer: Option<SocketAddr>,
    /// This side's address, likewise.
    pub local: Option<SocketAddr>,
    /// Whether it is encrypted.
    pub tls: bool,
    /// When it signed in.
    pub since: SystemTime,
    /// How long its request has waited for a backend; `None` if none waits.
    pub waiting: Option<Duration>,
    /// The number of the backend that works for it.
    pub backend: Option<u32>,
    /// What it keeps its backend for.
    pub pins: Held,
}
