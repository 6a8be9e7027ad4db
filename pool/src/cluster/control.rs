//! Connections for questions about a database, away from the data path.

use super::{Cluster, Watched};
use crate::connector::Door;
use crate::probe::mysql;
use crate::probe::postgres::{self, Link};
use crate::settings::ProbeUser;
use crate::topology::Role;
use protocol::Protocol;
use std::io;
use std::sync::Arc;
use std::time::Duration;

impl<P: Protocol> Cluster<P> {
    /// A connection for questions about `database` of a PostgreSQL cluster, away from the data path: to
    /// the primary if there is one, else to any endpoint that answers.
    ///
    /// # Errors
    /// If no endpoint answers, or it cannot be signed in to.
    pub async fn control(&self, database: &str) -> io::Result<Link> {
        let (door, user) = self.control_door(database)?;
        let route = door.route.load_full();
        let opening = Box::pin(postgres::connect(&door.endpoint.address, &route, &user));
        within(route.timeout, opening).await
    }

    /// As [`Cluster::control`], of a MySQL or MariaDB cluster.
    ///
    /// # Errors
    /// If no endpoint answers, or it cannot be signed in to.
    pub async fn control_mysql(&self, database: &str) -> io::Result<mysql_async::Conn> {
        let (door, user) = self.control_door(database)?;
        let route = door.route.load_full();
        let opening = Box::pin(mysql::connect(&door.endpoint.address, &route, &user));
        within(route.timeout, opening).await
    }

    /// Whom to ask about `database`, and as whom.
    fn control_door(&self, database: &str) -> io::Result<(Arc<Door>, ProbeUser)> {
        let (door, user) = {
            let state = self.state.lock();
            let role = |watched: &&Watched| watched.door.endpoint.role();
            let of = |wanted: Role| state.watched.iter().find(|watched| role(watched) == wanted);
            let watched = of(Role::Primary).or_else(|| of(Role::Replica));
            let door = watched.map(|watched| Arc::clone(&watched.door));
            (door, ProbeUser { database: database.to_owned(), ..state.settings.probe.clone() })
        };
        Ok((door.ok_or_else(|| io::Error::other("no endpoint answers"))?, user))
    }
}

/// What takes longer has timed out.
async fn within<T>(limit: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(limit, work).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}
