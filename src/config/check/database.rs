//! `[databases.NAME]`: what a PostgreSQL client may ask for.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::file::Table;
use crate::config::snapshot::*;

/// Names that PostgreSQL clients reach the console under.
const CONSOLE: [&str; 2] = ["splitpool", "pgbouncer"];

/// A database whose cluster was not looked up yet.
pub(super) struct Draft<'d> {
    pub name: String,
    pub cluster: Option<String>,
    pub dbname: Option<String>,
    overrides: Overrides,
    table: Table<'d>,
}

pub(super) fn read(name: String, mut table: Table<'_>) -> Draft<'_> {
    if CONSOLE.contains(&name.as_str()) {
        table.refuse("the name is that of the console");
    }
    if name.is_empty() {
        table.refuse("a database needs a name");
    }
    Draft {
        cluster: table.need("cluster"),
        dbname: if name == "*" { table.get("dbname") } else { Some(table.or("dbname", name.clone())) },
        overrides: super::overrides(&mut table),
        name,
        table,
    }
}

/// Gives the database its cluster; `None` if there is no such cluster.
pub(super) fn link(
    draft: Draft<'_>,
    clusters: &BTreeMap<String, Arc<ClusterConfig>>,
) -> Option<DatabaseConfig> {
    let Draft { name, cluster, dbname, overrides, table } = draft;
    let found = cluster.as_ref().and_then(|name| clusters.get(name));
    match (&cluster, found) {
        (Some(wanted), None) => table.lacks("cluster", &super::no_such_cluster(wanted, clusters)),
        (Some(wanted), Some(cluster)) if cluster.engine != Engine::Postgres => {
            let text = format!("[clusters.{wanted}] is for MySQL clients, who need no [databases.NAME]");
            table.lacks("cluster", &text);
        }
        _ => {}
    }
    if let (Some(cluster), Some(size)) = (found, overrides.pool_size)
        && size < cluster.min_pool_size
    {
        let text = format!("is less than the min_pool_size of its cluster, {}", cluster.min_pool_size);
        table.lacks("pool_size", &text);
    }
    table.close();
    Some(DatabaseConfig { name, cluster: found?.clone(), dbname, overrides })
}
