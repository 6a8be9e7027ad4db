//! What sets the services of one database apart from those of the other: which clusters are
//! its own, how their SQL is read, and where a client's user and database lead.

use super::Unserved;
use crate::config::{self, ClusterConfig, Overrides, Snapshot, UserConfig};
use router::Dialect;
use std::sync::Arc;

/// Where a client is served.
pub(super) struct Place<'a> {
    pub(super) cluster: &'a Arc<ClusterConfig>,
    /// What counters and operators call it: as in the configuration, the cluster's name on MySQL.
    pub(super) name: &'a str,
    /// The database to sign in to.
    pub(super) dbname: &'a str,
    /// What it has otherwise than its cluster.
    pub(super) overrides: Overrides,
}

/// One database's ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trade {
    /// The clusters that are its own.
    pub(super) engine: config::Engine,
    /// How it writes SQL.
    pub(crate) dialect: Dialect,
}

impl Trade {
    /// PostgreSQL's.
    pub const POSTGRES: Self = Self { engine: config::Engine::Postgres, dialect: Dialect::Postgres };
    /// That of MySQL and MariaDB.
    pub const MYSQL: Self = Self { engine: config::Engine::Mysql, dialect: Dialect::Mysql };

    /// The ways of the database that a cluster runs.
    pub fn of(config: &ClusterConfig) -> Self {
        match config.engine {
            config::Engine::Postgres => Self::POSTGRES,
            config::Engine::Mysql => Self::MYSQL,
        }
    }

    /// PostgreSQL's clients name a database that is configured; those of MySQL name a schema, or
    /// none, of the cluster that their user leads to.
    pub(super) fn place<'a>(
        self,
        snapshot: &'a Snapshot,
        user: &UserConfig,
        database: &'a str,
    ) -> Result<Place<'a>, Unserved> {
        match self.engine {
            config::Engine::Postgres => {
                let found = snapshot.database(database).ok_or(Unserved::Database)?;
                let cluster = snapshot.clusters.get(&found.cluster.name).ok_or(Unserved::Database)?;
                let overrides = found.overrides.clone();
                Ok(Place { cluster, name: &found.name, dbname: found.dbname_for(database), overrides })
            }
            config::Engine::Mysql => {
                let cluster = snapshot.mysql_cluster(user).ok_or(Unserved::User)?;
                Ok(Place { cluster, name: &cluster.name, dbname: database, overrides: Overrides::default() })
            }
        }
    }
}
