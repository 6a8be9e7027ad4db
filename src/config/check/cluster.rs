//! `[clusters.NAME]`: a primary, its replicas, and how they are used.

use std::path::PathBuf;
use std::time::Duration;

use protocol::Held;
use router::{Rule, Target};

use super::{DAY, HOUR, MILLISECOND, MINUTE, SECOND, database, discovery, user};
use crate::config::file::Table;
use crate::config::snapshot::*;

/// More backends than one database server stands.
pub(super) const POOL_SIZE_MAX: u32 = 10_000;

pub(super) fn read(
    name: String,
    mut table: Table<'_>,
    general: &General,
    databases: &[database::Draft<'_>],
    users: &[user::Draft<'_>],
) -> ClusterConfig {
    let engine = table.need("engine").unwrap_or(Engine::Postgres);
    let probe_interval = table.or_in("probe_interval", 200 * MILLISECOND, 10 * MILLISECOND..=MINUTE);
    let probe_timeout = table.or_in("probe_timeout", SECOND, 10 * MILLISECOND..=MINUTE);
    let probe_age = 2 * probe_interval + probe_timeout;
    let discovery = discovery::read(table.table("discovery"));
    let cluster = ClusterConfig {
        engine,
        consistency: table.or("consistency", Consistency::Session),
        max_lag: table.or_in("max_lag", 5 * SECOND, MILLISECOND..=DAY),
        causal_wait: table.or_in("causal_wait", 50 * MILLISECOND, Duration::ZERO..=MINUTE),
        fallback: table.or("fallback", Fallback::Primary),
        pool_mode: table.or("pool_mode", PoolMode::Transaction),
        pool_size: table.or_in("pool_size", 20, 1..=POOL_SIZE_MAX),
        min_pool_size: table.or_in("min_pool_size", 0, 0..=POOL_SIZE_MAX),
        server_lifetime: table.or_off("server_lifetime", HOUR, SECOND..=30 * DAY),
        server_idle_timeout: table.or_off("server_idle_timeout", 10 * MINUTE, SECOND..=30 * DAY),
        connect_timeout: table.or_in("connect_timeout", 5 * SECOND, 10 * MILLISECOND..=10 * MINUTE),
        max_concurrent_logins: table.or_in("max_concurrent_logins", 4, 1..=1000),
        query_wait_timeout: table.or_in("query_wait_timeout", general.query_wait_timeout, MILLISECOND..=DAY),
        query_timeout: table.or_off("query_timeout", Duration::ZERO, MILLISECOND..=DAY),
        transaction_timeout: table.or_off("transaction_timeout", Duration::ZERO, MILLISECOND..=DAY),
        idle_transaction_timeout: table.or_off("idle_transaction_timeout", Duration::ZERO, MILLISECOND..=DAY),
        client_idle_timeout: table.or_off("client_idle_timeout", Duration::ZERO, MILLISECOND..=30 * DAY),
        probe_interval,
        probe_timeout,
        max_probe_age: table.or_in("max_probe_age", probe_age, probe_interval..=HOUR),
        return_after: table.or_in("return_after", 3, 1..=1000),
        slow_start: table.or_in("slow_start", 5 * SECOND, Duration::ZERO..=HOUR),
        probe: probe(&mut table, &name, engine, databases, users),
        catalog_refresh: table.or_off("catalog_refresh", MINUTE, SECOND..=DAY),
        share_listeners: table.or("share_listeners", true),
        pins: pins(table.table("pins")),
        tls: tls(table.table("tls")),
        endpoints: endpoints(&mut table, discovery.is_some()),
        discovery,
        rules: table.tables("rules").into_iter().flatten().filter_map(rule).collect(),
        name,
    };
    if cluster.name.is_empty() {
        table.refuse("a cluster needs a name");
    }
    if cluster.min_pool_size > cluster.pool_size {
        table.wrong("min_pool_size", &format!("is more than pool_size, {}", cluster.pool_size));
    }
    table.close();
    cluster
}

/// What the file says, else the first user that fits and has a password, and the first database here.
fn probe(
    table: &mut Table<'_>,
    cluster: &str,
    engine: Engine,
    databases: &[database::Draft<'_>],
    users: &[user::Draft<'_>],
) -> ProbeLogin {
    let user: Option<String> = table.get("probe_user");
    let password = table.secret("probe_password", "probe_password_file");
    if user.is_none() {
        for key in ["probe_password", "probe_password_file"] {
            if table.has(key) {
                table.lacks(key, "needs probe_user as well");
            }
        }
    }
    let (user, password) = match user {
        Some(user) => (user, password),
        None => {
            let unfit = |user: &UserConfig| match engine {
                Engine::Postgres => user.mysql_cluster.is_some(),
                Engine::Mysql => user.mysql_cluster.as_deref() != Some(cluster),
            };
            let order = |user: &UserConfig| (unfit(user), user.backend_password.is_none());
            match users.iter().min_by_key(|draft| order(&draft.user)) {
                Some(draft) => (draft.user.backend_user.clone(), draft.user.backend_password.clone()),
                None => (String::new(), None),
            }
        }
    };
    let here = |draft: &&database::Draft<'_>| draft.cluster.as_deref() == Some(cluster);
    let first = databases.iter().filter(here).find_map(|draft| draft.dbname.clone());
    let default = if engine == Engine::Postgres { "postgres" } else { "" };
    let dbname = table.get("probe_dbname").or(first).unwrap_or_else(|| default.to_owned());
    ProbeLogin { user, password: password.filter(|password| !password.expose().is_empty()), dbname }
}

fn pins(mut table: Table<'_>) -> Pins {
    let mut pins = Pins::default();
    for (feature, name) in Held::ALL.into_iter().filter(|(feature, _)| *feature != Held::SESSION_MODE) {
        match table.or(name, PinChoice::Pin) {
            PinChoice::Pin => {}
            PinChoice::Error => pins.refused = pins.refused.union(feature),
            PinChoice::Allow => pins.allowed = pins.allowed.union(feature),
        }
    }
    table.close();
    pins
}

fn tls(mut table: Table<'_>) -> BackendTls {
    let mode = table.or("mode", BackendTlsMode::Prefer);
    let ca = table.file("ca");
    if table.has("ca") && !matches!(mode, BackendTlsMode::VerifyCa | BackendTlsMode::VerifyFull) {
        table.lacks("ca", "has no effect unless mode is verify-ca or verify-full");
    }
    let pair: (Option<PathBuf>, Option<PathBuf>) = (table.file("cert"), table.file("key"));
    for (one, other) in [("cert", "key"), ("key", "cert")] {
        if table.has(one) && !table.has(other) {
            table.lacks(one, &format!("needs {other} as well"));
        }
        if table.has(one) && mode == BackendTlsMode::Off {
            table.lacks(one, "has no effect while mode is off");
        }
    }
    table.close();
    let identity = match pair {
        (Some(cert), Some(key)) => Some(TlsIdentity { cert, key }),
        _ => None,
    };
    BackendTls { mode, ca, identity }
}

fn endpoints(table: &mut Table<'_>, more_are_found: bool) -> Vec<EndpointConfig> {
    let Some(tables) = table.tables("endpoints") else {
        if !table.has("endpoints") && !more_are_found {
            table.lacks("endpoints", "is missing: a cluster needs at least one endpoint, or discovery");
        }
        return Vec::new();
    };
    let mut endpoints: Vec<EndpointConfig> = Vec::new();
    let mut roles = Vec::new();
    for mut one in tables {
        let address: Option<Address> = one.need("address");
        let role = one.or("role", Role::Auto);
        let weight = one.or_in("weight", 1, 0..=100);
        if role == Role::Primary && roles.contains(&Role::Primary) {
            one.wrong("role", "is the second primary; with role = \"auto\" the probe finds it");
        }
        roles.push(role);
        match address {
            Some(address) if endpoints.iter().any(|other| other.address == address) => {
                one.wrong("address", &format!("{address} is an endpoint of this cluster already"));
            }
            Some(Address::Tcp { port: 0, .. }) => one.wrong("address", "nothing listens on port 0"),
            Some(address) => endpoints.push(EndpointConfig { address, role, weight }),
            None => {}
        }
        one.close();
    }
    if roles.iter().all(|role| *role == Role::Replica) && !more_are_found {
        table.lacks("endpoints", "at least one must be able to be the primary: role primary or auto");
    }
    endpoints
}

fn rule(mut table: Table<'_>) -> Option<RuleConfig> {
    let pattern: Option<String> = table.need("pattern");
    if let Some(Err(error)) = pattern.as_ref().map(|pattern| Rule::new(pattern, Target::Primary)) {
        // The library draws a picture of several lines and says what is wrong in the last one.
        let text = error.to_string();
        let last = text.lines().last().unwrap_or(&text);
        table.wrong("pattern", last.strip_prefix("error: ").unwrap_or(last));
    }
    let route = table.need("route");
    table.close();
    Some(RuleConfig { pattern: pattern?, route: route? })
}
