//! The rows of `SHOW CONFIG`: the keys that PgBouncer's tools look for, then our own. Decides only.

use super::show::{Row, row};
use crate::config::{Choice, PoolMode, Snapshot, needs_restart};
use std::time::Duration;

/// Key, value, default, and whether it can be changed without a restart.
pub(super) fn rows(snapshot: &Snapshot) -> Vec<Row> {
    let theirs = theirs(snapshot).into_iter().map(|(key, value)| row![key, value, "", "no"]);
    let ours = snapshot.settings.iter().map(|(key, value)| {
        let usual = snapshot.sources.0.get(key).map_or("none", |source| source.usual.as_str());
        row![key.as_str(), value.as_str(), usual, if needs_restart(key) { "no" } else { "yes" }]
    });
    theirs.chain(ours).collect()
}

/// What PgBouncer would say of the same, as far as it has a word for it. Where clusters differ it
/// is of the first: the keys with a dot tell all.
fn theirs(snapshot: &Snapshot) -> Vec<(&'static str, String)> {
    let seconds = |duration: Option<Duration>| duration.unwrap_or_default().as_secs().to_string();
    let general = &snapshot.general;
    let (host, port) = match &snapshot.listen.postgres {
        Some(crate::config::Address::Tcp { host, port }) => (host.clone(), port.to_string()),
        _ => (String::new(), "0".to_owned()),
    };
    let with = |admin: bool| {
        let users = snapshot.users.values().filter(|user| if admin { user.admin } else { user.stats });
        users.map(|user| user.name.as_str()).collect::<Vec<_>>().join(", ")
    };
    let first = snapshot.clusters.values().next();
    vec![
        ("listen_addr", host),
        ("listen_port", port),
        ("auth_type", snapshot.listen.auth.word().to_owned()),
        ("admin_users", with(true)),
        ("stats_users", with(false)),
        ("max_client_conn", general.max_clients.to_string()),
        ("max_db_connections", "0".to_owned()),
        ("max_user_connections", "0".to_owned()),
        ("default_pool_size", first.map_or(0, |cluster| cluster.pool_size).to_string()),
        ("min_pool_size", first.map_or(0, |cluster| cluster.min_pool_size).to_string()),
        ("reserve_pool_size", "0".to_owned()),
        ("pool_mode", first.map_or(PoolMode::Transaction, |cluster| cluster.pool_mode).word().to_owned()),
        ("query_wait_timeout", general.query_wait_timeout.as_secs().to_string()),
        ("client_login_timeout", general.client_login_timeout.as_secs().to_string()),
        ("query_timeout", seconds(first.and_then(|cluster| cluster.query_timeout))),
        ("client_idle_timeout", seconds(first.and_then(|cluster| cluster.client_idle_timeout))),
        ("idle_transaction_timeout", seconds(first.and_then(|cluster| cluster.idle_transaction_timeout))),
        ("server_lifetime", seconds(first.and_then(|cluster| cluster.server_lifetime))),
        ("server_idle_timeout", seconds(first.and_then(|cluster| cluster.server_idle_timeout))),
        ("stats_period", super::averages::PERIOD.as_secs().to_string()),
    ]
}
