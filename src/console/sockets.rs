//! The rows that are one connection each: clients and servers. Decides only.

use super::commands::Show;
use super::facts::{Backend, Facts, OWN};
use super::show::{Row, row};
use crate::site::Client;
use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

/// The columns on buffers that sockets have and clients and servers have not.
const BUFFER_COLUMNS: usize = 7;

/// The rows of `show`; `None` if it shows no connections.
pub(super) fn rows(show: Show, facts: &Facts) -> Option<Vec<Row>> {
    let clients = || facts.clients.iter().map(|of| client(of, facts));
    let servers = || facts.backends.iter().map(|of| server(of, facts));
    let buffers = |mut row: Row| {
        row.extend([0_u32; BUFFER_COLUMNS].map(protocol::answer::Cell::from));
        row
    };
    let works = |of: &&Client| of.backend.is_some() || of.waiting.is_some();
    let busy = || facts.clients.iter().filter(works).map(|of| client(of, facts));
    let used = || facts.backends.iter().filter(|of| of.client.is_some()).map(|of| server(of, facts));
    Some(match show {
        Show::Clients => clients().collect(),
        Show::Servers => servers().collect(),
        Show::Sockets => clients().chain(servers()).map(buffers).collect(),
        Show::ActiveSockets => busy().chain(used()).map(buffers).collect(),
        _ => return None,
    })
}

/// Host and port; PgBouncer's word for a Unix socket, which has neither.
fn split(address: Option<SocketAddr>) -> (String, u32) {
    match address {
        Some(address) => (address.ip().to_canonical().to_string(), address.port().into()),
        None => ("unix".to_owned(), 0),
    }
}

fn tls(encrypted: bool) -> &'static str {
    if encrypted { "TLS" } else { "" }
}

fn client(client: &Client, facts: &Facts) -> Row {
    let (addr, port) = split(client.peer);
    let (local_addr, local_port) = split(client.local);
    let waited = client.waiting.unwrap_or_default();
    let state = match (client.waiting, client.backend) {
        (Some(_), _) => "waiting",
        (None, None) if client.domain != OWN => "idle",
        _ => "active",
    };
    // When its last request came is not noted, unless it waits.
    let requested = client.waiting.and_then(|waited| SystemTime::now().checked_sub(waited));
    let link = client.backend.filter(|id| facts.backends.iter().any(|backend| backend.card.id == *id));
    row![
        "C",
        client.user.as_str(),
        client.domain.as_str(),
        "none",
        state,
        addr,
        port,
        local_addr,
        local_port,
        clock(client.since),
        clock(requested.unwrap_or(client.since)),
        waited.as_secs(),
        waited.subsec_micros(),
        0_u32,
        format!("c{}", client.id),
        link.map(|id| format!("s{id}")).unwrap_or_default(),
        0_u32,
        tls(client.tls),
        client.application.as_str(),
        0_u32,
        client.id,
    ]
}

fn server(backend: &Backend, facts: &Facts) -> Row {
    let card = &backend.card;
    let (addr, port) = split(card.peer);
    let (local_addr, local_port) = split(card.local);
    let client = backend.client.and_then(|id| facts.client(id));
    row![
        "S",
        backend.user.as_str(),
        backend.domain.as_str(),
        "none",
        if client.is_some() { "active" } else { "idle" },
        addr,
        port,
        local_addr,
        local_port,
        clock(card.since),
        clock(card.since),
        0_u32,
        0_u32,
        card.endpoint.is_removed(),
        format!("s{}", card.id),
        backend.client.map(|id| format!("c{id}")).unwrap_or_default(),
        card.number,
        tls(card.tls),
        client.map(|client| client.application.clone()).unwrap_or_default(),
        0_u32,
        card.id,
    ]
}

/// `YYYY-MM-DDTHH:MM:SS.mmmZ`, as RFC 3339 has it.
pub(crate) fn clock_millis(at: SystemTime) -> String {
    let millis = at.duration_since(UNIX_EPOCH).unwrap_or_default().subsec_millis();
    let clock = clock(at);
    let (date, time) = clock.trim_end_matches(" UTC").split_once(' ').unwrap_or_default();
    format!("{date}T{time}.{millis:03}Z")
}

/// `YYYY-MM-DD HH:MM:SS UTC`: tools take the first two words.
pub(super) fn clock(at: SystemTime) -> String {
    let seconds = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Days since 1 March of the year 0, in cycles of 400 years: the leap day comes last.
    let days = days + 719_468;
    let (cycle, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = cycle * 400 + year + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn dates() {
        for (seconds, wanted) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_399, "2000-02-28 23:59:59 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (951_868_800, "2000-03-01 00:00:00 UTC"),
            (1_798_761_599, "2026-12-31 23:59:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(clock(UNIX_EPOCH + Duration::from_secs(seconds)), wanted);
        }
    }
}
