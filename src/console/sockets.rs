//! The rows that are one connection each: clients and servers. Decides only.

use super::commands::Show;
use super::facts::{Backend, Facts, OWN};
use super::show::{Row, row};
use crate::clock;
use crate::site::Client;
use std::net::SocketAddr;
use std::time::SystemTime;

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
        clock::words(client.since),
        clock::words(requested.unwrap_or(client.since)),
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
        clock::words(card.since),
        clock::words(card.since),
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
