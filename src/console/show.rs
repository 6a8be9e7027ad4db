//! The rows of PgBouncer's own SHOW commands. Decides only: facts in, rows out.

use super::averages::{Averaged, totals};
use super::commands::Show;
use super::facts::{Domain, Facts, OWN, domains, pool_mode};
use crate::config::Choice;
use crate::metrics::Sums;
use pool::net::Address;
use protocol::answer::Cell;
use std::collections::BTreeMap;
use std::time::Duration;

/// How replicas are chosen, in PgBouncer's word for several hosts.
const BALANCE: &str = "round-robin";

/// One row.
pub(super) type Row = Vec<Cell>;

macro_rules! row {
    ($($cell:expr),* $(,)?) => {
        vec![$(protocol::answer::Cell::from($cell)),*]
    };
}
pub(super) use row;

/// The version that is spoken, as tools look for it.
pub(super) fn version() -> String {
    format!("PgBouncer 1.24.1 compatible (Splitpool {})", env!("CARGO_PKG_VERSION"))
}

/// The rows of `show`; `None` if it is one of our own.
pub(super) fn rows(show: Show, facts: &Facts) -> Option<Vec<Row>> {
    Some(match show {
        Show::Databases => databases(facts),
        Show::DatabasesOfOld => databases(facts).into_iter().map(|row| pick(row, &OLD_DATABASE)).collect(),
        Show::DnsHosts | Show::DnsZones | Show::Fds | Show::PeerPools => Vec::new(),
        Show::Lists => lists(facts),
        Show::Mem => vec![row!["resident", 1_u32, facts.resident, 0_u32, facts.resident]],
        Show::Peers => peers(facts),
        Show::Pools => pools(facts),
        Show::State => state(facts),
        Show::Stats => per_database(facts, |totals, averages| [totals, averages].concat()),
        Show::StatsOfOld => per_database(facts, |totals, averages| {
            [totals, averages]
                .iter()
                .flat_map(|of| [2, 3, 4, 6].map(|at| of.get(at).copied().unwrap_or(0)))
                .collect()
        }),
        Show::StatsTotals => per_database(facts, |totals, _| totals.to_vec()),
        Show::StatsAverages => per_database(facts, |_, averages| averages.to_vec()),
        Show::Totals => all_totals(facts),
        Show::Users => users(facts),
        Show::Version => vec![row![version()]],
        _ => return None,
    })
}

/// Where the columns that PgBouncer 1.7 had of a database are among those of today.
const OLD_DATABASE: [usize; 10] = [0, 1, 2, 3, 4, 5, 7, 9, 11, 12];

fn pick(row: Row, columns: &[usize]) -> Row {
    columns.iter().map(|at| row.get(*at).cloned().unwrap_or(Cell::Null)).collect()
}

pub(super) fn host_and_port(address: &Address) -> (String, u32) {
    match address {
        Address::Tcp { host, port } => (host.clone(), (*port).into()),
        Address::Unix(path) => (path.display().to_string(), 0),
    }
}

fn databases(facts: &Facts) -> Vec<Row> {
    let own_port = match &facts.snapshot.listen.postgres {
        Some(Address::Tcp { port, .. }) => u32::from(*port),
        _ => 0,
    };
    let own_clients = facts.clients.iter().filter(|client| client.domain == OWN).count();
    let own = row![
        OWN,
        Cell::Null,
        own_port,
        OWN,
        OWN,
        2_u32,
        0_u32,
        0_u32,
        0_u32,
        "statement",
        BALANCE,
        0_u32,
        0_u32,
        0_u32,
        own_clients,
        false,
        false
    ];
    let all = domains(&facts.snapshot);
    all.iter().map(|domain| database(domain, facts)).chain([own]).collect()
}

fn database(domain: &Domain<'_>, facts: &Facts) -> Row {
    let cluster = facts.snapshot.clusters.get(domain.cluster);
    let view = facts.view(domain.cluster);
    let primary = view.and_then(|view| {
        let id = view.primary.ok();
        let mut all = view.endpoints.iter();
        all.clone().find(|seen| Some(seen.endpoint.id) == id).or_else(|| all.next())
    });
    let (host, port) = primary.map(|seen| host_and_port(&seen.endpoint.address)).unwrap_or_default();
    let lifetime = cluster.and_then(|cluster| cluster.server_lifetime).unwrap_or_default();
    let counts = |name: &str| facts.counted_as(name) == domain.name;
    row![
        domain.name,
        host,
        port,
        domain.dbname.unwrap_or(domain.name),
        Cell::Null,
        domain.pool_size,
        cluster.map_or(0, |cluster| cluster.min_pool_size),
        0_u32,
        lifetime.as_secs(),
        domain.pool_mode.word(),
        BALANCE,
        0_u32,
        facts.backends.iter().filter(|backend| counts(&backend.domain)).count(),
        0_u32,
        facts.clients.iter().filter(|client| counts(&client.domain)).count(),
        facts.latches.is_paused(domain.name),
        facts.latches.is_disabled(domain.name),
    ]
}

fn peers(facts: &Facts) -> Vec<Row> {
    let one = |(at, peer): (usize, &Address)| {
        let (host, port) = host_and_port(peer);
        row![at + 1, host, port, 0_u32]
    };
    facts.snapshot.general.peers.iter().enumerate().map(one).collect()
}

fn state(facts: &Facts) -> Vec<Row> {
    let yes = |flag: bool| if flag { "yes" } else { "no" };
    let paused = facts.latches.are_all_paused();
    vec![row!["active", yes(!paused)], row!["paused", yes(paused)], row!["suspended", "no"]]
}

fn lists(facts: &Facts) -> Vec<Row> {
    let all = [
        ("databases", domains(&facts.snapshot).len() + 1),
        ("users", facts.snapshot.users.len()),
        ("peers", facts.snapshot.general.peers.len()),
        ("pools", pools(facts).len()),
        ("peer_pools", 0),
        ("free_clients", 0),
        ("used_clients", facts.clients.len()),
        ("login_clients", 0),
        ("free_servers", 0),
        ("used_servers", facts.backends.len()),
        ("dns_names", 0),
        ("dns_zones", 0),
        ("dns_queries", 0),
        ("dns_pending", 0),
    ];
    all.into_iter().map(|(name, count)| row![name, count]).collect()
}

fn users(facts: &Facts) -> Vec<Row> {
    let one = |user: &std::sync::Arc<crate::config::UserConfig>| {
        let own = &user.overrides;
        row![
            user.name.as_str(),
            own.pool_size.map(|size| size.to_string()).unwrap_or_default(),
            "",
            own.pool_mode.map(|mode| mode.word().to_owned()),
            0_u32,
            facts.backends.iter().filter(|backend| backend.user == user.name).count(),
            user.max_connections.unwrap_or(0),
            facts.clients.iter().filter(|client| client.user == user.name).count(),
        ]
    };
    facts.snapshot.users.values().map(one).collect()
}

/// What one pool amounts to.
#[derive(Default)]
struct Pool {
    clients: usize,
    waiting: usize,
    active: usize,
    idle: usize,
    longest: Duration,
}

fn pools(facts: &Facts) -> Vec<Row> {
    let mut pools: BTreeMap<(&str, &str), Pool> = BTreeMap::new();
    for client in &facts.clients {
        let pool = pools.entry((&client.domain, &client.user)).or_default();
        match client.waiting {
            Some(waited) => {
                pool.waiting += 1;
                pool.longest = pool.longest.max(waited);
            }
            None => pool.clients += 1,
        }
    }
    for backend in &facts.backends {
        let pool = pools.entry((&backend.domain, &backend.user)).or_default();
        *(if backend.client.is_some() { &mut pool.active } else { &mut pool.idle }) += 1;
    }
    pools.entry((OWN, OWN)).or_default();
    let one = |((domain, user), pool): ((&str, &str), Pool)| {
        let mode = if domain == OWN { "statement" } else { pool_mode(&facts.snapshot, user, domain).word() };
        row![
            domain,
            user,
            pool.clients,
            pool.waiting,
            0_u32,
            0_u32,
            pool.active,
            0_u32,
            0_u32,
            pool.idle,
            0_u32,
            0_u32,
            0_u32,
            pool.longest.as_secs(),
            pool.longest.subsec_micros(),
            mode,
            BALANCE,
        ]
    };
    pools.into_iter().map(one).collect()
}

/// A row for every database that is configured or was counted, and the console's own.
fn per_database(facts: &Facts, cells: fn(Averaged, Averaged) -> Vec<u64>) -> Vec<Row> {
    let row = |name: &str, totals: Averaged, averages: Averaged| {
        let numbers = cells(totals, averages).into_iter().map(Cell::from);
        std::iter::once(Cell::from(name)).chain(numbers).collect::<Row>()
    };
    let all = domains(&facts.snapshot);
    let one = |domain: &Domain<'_>| {
        let same = |of: &&std::sync::Arc<crate::metrics::Counters>| {
            of.cluster() == domain.cluster && of.database() == domain.name
        };
        let sums = facts.counters.iter().find(same).map(|of| of.sums()).unwrap_or_default();
        row(domain.name, totals(&sums), facts.averages.of(domain.cluster, domain.name))
    };
    all.iter().map(one).chain([row(OWN, totals(&Sums::default()), [0; 11])]).collect()
}

fn all_totals(facts: &Facts) -> Vec<Row> {
    const NAMES: [&str; 11] = [
        "server_assignment_count",
        "xact_count",
        "query_count",
        "client_bytes",
        "server_bytes",
        "xact_time",
        "query_time",
        "wait_time",
        "ps_client_parse_count",
        "ps_server_parse_count",
        "ps_bind_count",
    ];
    let mut sums = [[0_u64; 11]; 2];
    for of in &facts.counters {
        let [total, average] = &mut sums;
        let now = totals(&of.sums());
        let mean = facts.averages.of(of.cluster(), of.database());
        total.iter_mut().zip(now).chain(average.iter_mut().zip(mean)).for_each(|(sum, more)| *sum += more);
    }
    let named = ["total", "avg"].into_iter().zip(sums);
    let rows = named.flat_map(|(prefix, sums)| {
        NAMES.into_iter().zip(sums).map(move |(name, sum)| row![format!("{prefix}_{name}"), sum])
    });
    rows.collect()
}
