//! The tables of ProxySQL's that monitoring agents read, with its columns in its order. Decides only.
//!
//! They tell of MySQL clusters alone. A cluster is two hostgroups, by the order of names: the
//! even number is the primary's, the odd one that of the replicas. A column of which nothing is
//! known is 0, or NULL where agents read no number; `docs/operating.md` says which.

use super::facts::{Backend, Facts};
use super::shapes::shape;
use super::show::{Row, host_and_port, row};
use crate::config::Engine;
use crate::metrics::Sums;
use crate::site::Client;
use pool::{Duty, EndpointView, Role, View};
use protocol::answer::{Cell, Column, Kind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{SystemTime, UNIX_EPOCH};

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Table {
    ConnectionPool,
    Digests,
    Global,
    Memory,
    Processlist,
    Servers,
    Users,
    Variables,
    VariablesInForce,
}

impl Table {
    /// All of them, by name.
    pub(super) const ALL: [Self; 9] = [
        Self::Variables,
        Self::VariablesInForce,
        Self::Servers,
        Self::Memory,
        Self::ConnectionPool,
        Self::Global,
        Self::Processlist,
        Self::Digests,
        Self::Users,
    ];

    /// Its name.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::ConnectionPool => "stats_mysql_connection_pool",
            Self::Digests => "stats_mysql_query_digest",
            Self::Global => "stats_mysql_global",
            Self::Memory => "stats_memory_metrics",
            Self::Processlist => "stats_mysql_processlist",
            Self::Servers => "runtime_mysql_servers",
            Self::Users => "stats_mysql_users",
            Self::Variables => "global_variables",
            Self::VariablesInForce => "runtime_global_variables",
        }
    }

    /// Its columns.
    pub(super) const fn columns(self) -> &'static [Column] {
        match self {
            Self::ConnectionPool => shape![
                Int4: hostgroup, Text: srv_host, Int4: srv_port, Text: status,
                Int8: ConnUsed ConnFree ConnOK ConnERR MaxConnUsed Queries Queries_GTID_sync,
                Int8: Bytes_data_sent Bytes_data_recv Latency_us,
            ],
            Self::Digests => shape![
                Int4: hostgroup, Text: schemaname username client_address digest digest_text,
                Int8: count_star first_seen last_seen sum_time min_time max_time sum_rows_affected sum_rows_sent,
            ],
            Self::Global | Self::Memory => shape![Text: Variable_Name Variable_Value],
            Self::Processlist => shape![
                Int8: ThreadID SessionID, Text: user db cli_host, Int4: cli_port hostgroup,
                Text: l_srv_host, Int4: l_srv_port, Text: srv_host, Int4: srv_port, Text: command,
                Int8: time_ms, Text: info, Int8: status_flags, Text: extended_info,
            ],
            Self::Servers => shape![
                Int4: hostgroup_id, Text: hostname, Int4: port gtid_port, Text: status,
                Int4: weight compression max_connections max_replication_lag use_ssl max_latency_ms, Text: comment,
            ],
            Self::Users => shape![Text: username, Int8: frontend_connections frontend_max_connections],
            Self::Variables | Self::VariablesInForce => shape![Text: variable_name variable_value],
        }
    }

    /// Its rows.
    pub(super) fn rows(self, facts: &Facts) -> Vec<Row> {
        match self {
            Self::ConnectionPool => servers(facts).iter().map(|server| server.pool(facts)).collect(),
            Self::Digests => digests(facts),
            Self::Global => global(facts),
            Self::Memory => vec![row!["resident_bytes", facts.resident.to_string()]],
            Self::Processlist => clients(facts).map(|client| process(client, facts)).collect(),
            Self::Servers => servers(facts).iter().map(|server| server.configured(facts)).collect(),
            Self::Users => users(facts),
            Self::Variables | Self::VariablesInForce => variables(facts),
        }
    }
}

/// An endpoint in its hostgroup.
struct Server<'a> {
    hostgroup: usize,
    view: &'a View,
    seen: &'a EndpointView,
}

fn servers(facts: &Facts) -> Vec<Server<'_>> {
    let views = facts.views.iter().filter(|(engine, _)| *engine == Engine::Mysql).map(|(_, view)| view);
    let mut all = Vec::new();
    for (at, view) in views.enumerate() {
        for seen in &view.endpoints {
            let replica = view.primary.ok() != Some(seen.endpoint.id);
            all.push(Server { hostgroup: 2 * at + usize::from(replica), view, seen });
        }
    }
    all
}

impl Server<'_> {
    /// In ProxySQL's words. The operator's comes first: what is drained serves those that it has.
    fn status(&self) -> &'static str {
        let seen = self.seen;
        let is_primary = self.view.primary.ok() == Some(seen.endpoint.id);
        match seen.duty {
            Duty::Maintenance => "OFFLINE_HARD",
            Duty::Drain => "OFFLINE_SOFT",
            Duty::Ready
                if seen.up && (is_primary || seen.role == Role::Replica && seen.why_not.is_none()) =>
            {
                "ONLINE"
            }
            Duty::Ready => "SHUNNED",
        }
    }

    fn pool(&self, facts: &Facts) -> Row {
        let (host, port) = host_and_port(&self.seen.endpoint.address);
        let counters = &self.seen.endpoint.counters;
        let here = |backend: &&Backend| Arc::ptr_eq(&backend.card.endpoint, &self.seen.endpoint);
        let (used, free): (Vec<_>, Vec<_>) =
            facts.backends.iter().filter(here).partition(|backend| backend.client.is_some());
        row![
            self.hostgroup,
            host,
            port,
            self.status(),
            used.len(),
            free.len(),
            counters.logins.load(Relaxed),
            counters.login_failures.load(Relaxed),
            0_u32,
            counters.latencies.count(),
            0_u32,
            0_u32,
            0_u32,
            self.seen.endpoint.latency_us(),
        ]
    }

    fn configured(&self, facts: &Facts) -> Row {
        let (host, port) = host_and_port(&self.seen.endpoint.address);
        let cluster = facts.snapshot.clusters.get(&self.view.name);
        row![
            self.hostgroup,
            host,
            port,
            0_u32,
            self.status(),
            self.seen.weight,
            0_u32,
            cluster.map_or(0, |cluster| cluster.pool_size),
            cluster.map_or(0, |cluster| cluster.max_lag.as_secs()),
            facts
                .backends
                .iter()
                .any(|of| of.card.tls && Arc::ptr_eq(&of.card.endpoint, &self.seen.endpoint)),
            0_u32,
            self.view.name.as_str(),
        ]
    }
}

/// A digest has a row for each hostgroup in which it ran.
fn digests(facts: &Facts) -> Vec<Row> {
    let views = facts.views.iter().filter(|(engine, _)| *engine == Engine::Mysql).map(|(_, view)| view);
    let mut all = Vec::new();
    for (at, view) in views.enumerate() {
        for digest in facts.digests.iter().filter(|digest| digest.of.cluster() == view.name) {
            let [replicas, primary] = digest.sums();
            for (hostgroup, sum) in [(2 * at, primary), (2 * at + 1, replicas)] {
                if sum.calls > 0 {
                    all.push(row![
                        hostgroup,
                        "",
                        "",
                        "",
                        format!("0x{:016X}", digest.number),
                        &*digest.text,
                        sum.calls,
                        seconds(digest.first),
                        seconds(digest.last(&sum)),
                        sum.total_us,
                        0_u32,
                        sum.max_us,
                        0_u32,
                        sum.rows,
                    ]);
                }
            }
        }
    }
    all
}

fn seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// The clients of MySQL clusters.
fn clients(facts: &Facts) -> impl Iterator<Item = &Client> {
    facts.clients.iter().filter(|client| client.engine == Engine::Mysql)
}

fn global(facts: &Facts) -> Vec<Row> {
    let servers = servers(facts);
    let counters = || servers.iter().map(|server| &server.seen.endpoint.counters);
    let sum = |of: fn(&pool::Counters) -> u64| counters().map(of).sum::<u64>();
    let is_ours =
        |of: &&Arc<crate::metrics::Counters>| servers.iter().any(|server| server.view.name == of.cluster());
    let sums: Vec<Sums> = facts.counters.iter().filter(is_ours).map(|of| of.sums()).collect();
    let ours = |backend: &&Backend| {
        servers.iter().any(|server| Arc::ptr_eq(&backend.card.endpoint, &server.seen.endpoint))
    };
    let (leases, waits) = (sum(|of| of.leases.load(Relaxed)), sum(|of| of.waits.load(Relaxed)));
    let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    let works = |client: &&Client| client.backend.is_some() || client.waiting.is_some();
    let all = [
        ("ProxySQL_Uptime", facts.uptime.as_secs()),
        ("Client_Connections_connected", count(clients(facts).count())),
        ("Client_Connections_non_idle", count(clients(facts).filter(works).count())),
        ("Server_Connections_aborted", sum(|of| of.login_failures.load(Relaxed) + of.lost.load(Relaxed))),
        ("Server_Connections_connected", count(facts.backends.iter().filter(ours).count())),
        ("Server_Connections_created", sum(|of| of.logins.load(Relaxed))),
        ("ConnPool_get_conn_success", leases.saturating_sub(waits)),
        ("ConnPool_get_conn_failure", waits),
        ("Questions", sums.iter().map(|sums| sums.requests).sum()),
    ];
    all.into_iter().map(|(name, value)| row![name, value.to_string()]).collect()
}

fn process(client: &Client, facts: &Facts) -> Row {
    let backend = client.backend.and_then(|id| facts.backends.iter().find(|backend| backend.card.id == id));
    let hostgroup = backend.and_then(|backend| {
        let servers = servers(facts);
        let of = |server: &&Server<'_>| Arc::ptr_eq(&server.seen.endpoint, &backend.card.endpoint);
        servers.iter().find(of).and_then(|server| i64::try_from(server.hostgroup).ok())
    });
    let host = |address: Option<std::net::SocketAddr>| address.map(|at| at.ip().to_canonical().to_string());
    let port = |address: Option<std::net::SocketAddr>| address.map(|at| u32::from(at.port()));
    let card = backend.map(|backend| &backend.card);
    let (local, peer) = (card.and_then(|card| card.local), card.and_then(|card| card.peer));
    let works = client.backend.is_some() || client.waiting.is_some();
    row![
        0_u32,
        client.id,
        client.user.as_str(),
        client.database.as_str(),
        host(client.peer).unwrap_or_default(),
        port(client.peer).unwrap_or_default(),
        hostgroup.unwrap_or(-1),
        host(local),
        port(local),
        host(peer),
        port(peer),
        if works { "Query" } else { "Sleep" },
        client.waiting.map_or(0, |waited| u64::try_from(waited.as_millis()).unwrap_or(u64::MAX)),
        Cell::Null,
        Cell::Null,
        Cell::Null,
    ]
}

fn users(facts: &Facts) -> Vec<Row> {
    let most = u32::try_from(facts.snapshot.general.max_clients).unwrap_or(u32::MAX);
    let one = |user: &Arc<crate::config::UserConfig>| {
        let here = clients(facts).filter(|client| client.user == user.name).count();
        row![user.name.as_str(), here, user.max_connections.unwrap_or(most)]
    };
    facts.snapshot.users.values().map(one).collect()
}

/// Our own keys, secrets masked, and what agents look for beside them.
fn variables(facts: &Facts) -> Vec<Row> {
    let general = &facts.snapshot.general;
    let theirs = [
        ("admin-version", super::show::version()),
        ("mysql-max_connections", general.max_clients.to_string()),
    ];
    let theirs = theirs.into_iter().map(|(name, value)| row![name, value]);
    let ours = facts.snapshot.settings.iter().map(|(key, value)| row![key.as_str(), value.as_str()]);
    theirs.chain(ours).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As ProxySQL 2 writes them.
    #[test]
    fn columns_are_in_proxysqls_order() {
        for (table, names) in [
            (
                Table::ConnectionPool,
                "hostgroup srv_host srv_port status ConnUsed ConnFree ConnOK ConnERR MaxConnUsed Queries \
                 Queries_GTID_sync Bytes_data_sent Bytes_data_recv Latency_us",
            ),
            (
                Table::Digests,
                "hostgroup schemaname username client_address digest digest_text count_star first_seen last_seen \
                 sum_time min_time max_time sum_rows_affected sum_rows_sent",
            ),
            (Table::Global, "Variable_Name Variable_Value"),
            (Table::Memory, "Variable_Name Variable_Value"),
            (
                Table::Processlist,
                "ThreadID SessionID user db cli_host cli_port hostgroup l_srv_host l_srv_port srv_host srv_port \
                 command time_ms info status_flags extended_info",
            ),
            (
                Table::Servers,
                "hostgroup_id hostname port gtid_port status weight compression max_connections \
                 max_replication_lag use_ssl max_latency_ms comment",
            ),
            (Table::Users, "username frontend_connections frontend_max_connections"),
            (Table::Variables, "variable_name variable_value"),
        ] {
            let found: Vec<&str> = table.columns().iter().map(|column| column.name.as_ref()).collect();
            assert_eq!(found.join(" "), names, "{}", table.name());
        }
    }
}
