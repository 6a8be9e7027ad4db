//! The columns of everything that is shown.
//!
//! Those of PgBouncer's own commands are those of PgBouncer 1.24, in name, order and type: tools
//! read them by position and count them. They never change; what more there is to show gets a
//! command of its own.

use super::commands::Show;
use protocol::answer::{Column, Kind};

/// A name as it is, where the language would read a word of its own.
pub(super) const fn plain(name: &'static str) -> &'static str {
    match name.as_bytes() {
        [b'r', b'#', ..] => name.split_at(2).1,
        _ => name,
    }
}

macro_rules! shape {
    ($($kind:ident: $($name:ident)*),* $(,)?) => {
        const { &[$($(Column::of($crate::console::shapes::plain(stringify!($name)), Kind::$kind),)*)*] }
    };
}

pub(super) use shape;

const SOCKETS: &[Column] = shape![
    Text: r#type user database replication state addr, Int4: port, Text: local_addr, Int4: local_port,
    Text: connect_time request_time, Int4: wait wait_us close_needed, Text: ptr link, Int4: remote_pid,
    Text: tls application_name, Int4: prepared_statements id,
    Int4: recv_pos pkt_pos pkt_remain send_pos send_remain pkt_avail send_avail,
];

/// What a socket has without the seven columns on buffers.
const SOCKET_COLUMNS: usize = 21;

/// The columns of `show`; `None` if it has no rows.
pub(super) fn columns(show: Show) -> Option<&'static [Column]> {
    Some(match show {
        Show::Help => return None,
        Show::ActiveSockets | Show::Sockets => SOCKETS,
        Show::Clients | Show::Servers => SOCKETS.split_at(SOCKET_COLUMNS).0,
        Show::Config => shape![Text: key value default changeable],
        Show::Databases => shape![
            Text: name host, Int4: port, Text: database force_user,
            Int4: pool_size min_pool_size reserve_pool_size server_lifetime, Text: pool_mode load_balance_hosts,
            Int4: max_connections current_connections max_client_connections current_client_connections,
            Int4: paused disabled,
        ],
        Show::DnsHosts => shape![Text: hostname, Int8: ttl, Text: addrs],
        Show::DnsZones => shape![Text: zonename, Int8: serial, Int4: count],
        Show::Fds => shape![
            Int4: fd, Text: task user database addr, Int4: port, Int8: cancel, Int4: link,
            Text: client_encoding std_strings datestyle timezone password,
            Bytes: scram_client_key scram_server_key,
        ],
        Show::Lists => shape![Text: list, Int4: items],
        Show::Mem => shape![Text: name, Int4: size used free memtotal],
        Show::PeerPools => {
            shape![Int4: peer_id cl_active_cancel_req cl_waiting_cancel_req sv_active_cancel sv_login]
        }
        Show::Peers => shape![Int4: peer_id, Text: host, Int4: port pool_size],
        Show::Pools => shape![
            Text: database user, Int4: cl_active cl_waiting cl_active_cancel_req cl_waiting_cancel_req,
            Int4: sv_active sv_active_cancel sv_being_canceled sv_idle sv_used sv_tested sv_login maxwait maxwait_us,
            Text: pool_mode load_balance_hosts,
        ],
        Show::State => shape![Text: key value],
        Show::Stats => shape![
            Text: database,
            Numeric: total_server_assignment_count total_xact_count total_query_count total_received total_sent,
            Numeric: total_xact_time total_query_time total_wait_time,
            Numeric: total_client_parse_count total_server_parse_count total_bind_count,
            Numeric: avg_server_assignment_count avg_xact_count avg_query_count avg_recv avg_sent,
            Numeric: avg_xact_time avg_query_time avg_wait_time,
            Numeric: avg_client_parse_count avg_server_parse_count avg_bind_count,
        ],
        Show::StatsTotals => shape![
            Text: database,
            Numeric: server_assignment_count xact_count query_count bytes_received bytes_sent,
            Numeric: xact_time query_time wait_time client_parse_count server_parse_count bind_count,
        ],
        Show::StatsAverages => shape![
            Text: database,
            Numeric: server_assignment_count xact_count query_count bytes_received bytes_sent,
            Numeric: xact_time query_time wait_time avg_client_parse_count avg_server_parse_count avg_bind_count,
        ],
        Show::Totals => shape![Text: name, Numeric: value],
        Show::Users => shape![
            Text: name pool_size reserve_pool_size pool_mode,
            Int4: max_user_connections current_connections max_user_client_connections current_client_connections,
        ],
        Show::Version => shape![Text: version],
        // Only for who asks for them, see `session.rs`.
        Show::DatabasesOfOld => shape![
            Text: name host, Int4: port, Text: database force_user, Int4: pool_size reserve_pool, Text: pool_mode,
            Int4: max_connections current_connections,
        ],
        Show::StatsOfOld => shape![
            Text: database,
            Int8: total_requests total_received total_sent total_query_time avg_req avg_recv avg_sent avg_query,
        ],
        // From here on they are ours.
        Show::Commands => shape![Text: command right form example],
        Show::Digests => shape![
            Text: cluster database digest target reasons, Numeric: calls statements errors rows bytes,
            Numeric: total_us mean_us max_us, Text: first_seen last_seen text,
        ],
        Show::Generations => shape![Int8: generation, Text: hash outcome time, Text: detail],
        Show::Lag => shape![
            Text: cluster endpoint role, Numeric: lag_ms lag_bytes lag_transactions errant_transactions,
            Numeric: seconds_behind probe_age_ms,
        ],
        Show::Pins => shape![
            Text: cluster reason, Int4: sessions, Numeric: pins refused, Text: clients,
        ],
        Show::ProtocolErrors => shape![
            Text: protocol side error, Numeric: count, Text: first_seen last_seen last_addresses,
        ],
        Show::Replicas => shape![
            Text: cluster endpoint role state duty, Int4: eligible, Text: reason, Int4: weight share,
            Numeric: lag_ms lag_bytes probe_age_ms, Int4: timeline in_flight, Numeric: latency_us requests,
            Text: error,
        ],
        Show::Routes => shape![Text: cluster database target reason, Numeric: requests],
        Show::Settings => shape![Text: key value default source],
        Show::Tables => shape![Text: tables],
        // As MySQL has them.
        Show::Warnings => shape![Text: Level, Int4: Code, Text: Message],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As PgBouncer 1.24 writes them: names, and a letter for the type (s text, i int4, q int8, N numeric, b bytea).
    const FROZEN: &[(Show, &str, &str)] = &[
        (
            Show::Pools,
            "ssiiiiiiiiiiiiiss",
            "database user cl_active cl_waiting cl_active_cancel_req cl_waiting_cancel_req sv_active sv_active_cancel \
             sv_being_canceled sv_idle sv_used sv_tested sv_login maxwait maxwait_us pool_mode load_balance_hosts",
        ),
        (
            Show::Stats,
            "sNNNNNNNNNNNNNNNNNNNNNN",
            "database total_server_assignment_count total_xact_count total_query_count total_received total_sent \
             total_xact_time total_query_time total_wait_time total_client_parse_count total_server_parse_count \
             total_bind_count avg_server_assignment_count avg_xact_count avg_query_count avg_recv avg_sent \
             avg_xact_time avg_query_time avg_wait_time avg_client_parse_count avg_server_parse_count avg_bind_count",
        ),
        (
            Show::StatsTotals,
            "sNNNNNNNNNNN",
            "database server_assignment_count xact_count query_count bytes_received bytes_sent xact_time query_time \
             wait_time client_parse_count server_parse_count bind_count",
        ),
        (
            Show::StatsAverages,
            "sNNNNNNNNNNN",
            "database server_assignment_count xact_count query_count bytes_received bytes_sent xact_time query_time \
             wait_time avg_client_parse_count avg_server_parse_count avg_bind_count",
        ),
        (
            Show::StatsOfOld,
            "sqqqqqqqq",
            "database total_requests total_received total_sent total_query_time avg_req avg_recv avg_sent avg_query",
        ),
        (
            Show::DatabasesOfOld,
            "ssissiisii",
            "name host port database force_user pool_size reserve_pool pool_mode max_connections current_connections",
        ),
        (Show::Totals, "sN", "name value"),
        (
            Show::Databases,
            "ssissiiiissiiiiii",
            "name host port database force_user pool_size min_pool_size reserve_pool_size server_lifetime pool_mode \
             load_balance_hosts max_connections current_connections max_client_connections \
             current_client_connections paused disabled",
        ),
        (
            Show::Clients,
            "ssssssisissiiississii",
            "type user database replication state addr port local_addr local_port connect_time request_time wait \
             wait_us close_needed ptr link remote_pid tls application_name prepared_statements id",
        ),
        (
            Show::Servers,
            "ssssssisissiiississii",
            "type user database replication state addr port local_addr local_port connect_time request_time wait \
             wait_us close_needed ptr link remote_pid tls application_name prepared_statements id",
        ),
        (
            Show::Sockets,
            "ssssssisissiiississiiiiiiiii",
            "type user database replication state addr port local_addr local_port connect_time request_time wait \
             wait_us close_needed ptr link remote_pid tls application_name prepared_statements id recv_pos pkt_pos \
             pkt_remain send_pos send_remain pkt_avail send_avail",
        ),
        (
            Show::ActiveSockets,
            "ssssssisissiiississiiiiiiiii",
            "type user database replication state addr port local_addr local_port connect_time request_time wait \
             wait_us close_needed ptr link remote_pid tls application_name prepared_statements id recv_pos pkt_pos \
             pkt_remain send_pos send_remain pkt_avail send_avail",
        ),
        (Show::Lists, "si", "list items"),
        (Show::Config, "ssss", "key value default changeable"),
        (
            Show::Users,
            "ssssiiii",
            "name pool_size reserve_pool_size pool_mode max_user_connections current_connections \
             max_user_client_connections current_client_connections",
        ),
        (Show::Peers, "isii", "peer_id host port pool_size"),
        (
            Show::PeerPools,
            "iiiii",
            "peer_id cl_active_cancel_req cl_waiting_cancel_req sv_active_cancel sv_login",
        ),
        (Show::Mem, "siiii", "name size used free memtotal"),
        (Show::DnsHosts, "sqs", "hostname ttl addrs"),
        (Show::DnsZones, "sqi", "zonename serial count"),
        (Show::State, "ss", "key value"),
        (Show::Version, "s", "version"),
        (
            Show::Fds,
            "issssiqisssssbb",
            "fd task user database addr port cancel link client_encoding std_strings datestyle timezone password \
             scram_client_key scram_server_key",
        ),
    ];

    #[test]
    fn pgbouncers_columns_never_change() {
        for (show, kinds, names) in FROZEN {
            let columns = columns(*show).expect("they have rows");
            let letter = |column: &Column| match column.kind {
                Kind::Text => 's',
                Kind::Int4 => 'i',
                Kind::Int8 => 'q',
                Kind::Numeric => 'N',
                Kind::Bytes => 'b',
            };
            assert_eq!(columns.iter().map(letter).collect::<String>(), *kinds, "{show:?}");
            let found: Vec<&str> = columns.iter().map(|column| column.name.as_ref()).collect();
            assert_eq!(found.join(" "), *names, "{show:?}");
        }
    }
}
