//! `[clusters.NAME.discovery]`: where endpoints are found that the file does not name.

use std::net::SocketAddr;
use std::time::Duration;

use super::SECOND;
use crate::config::file::Table;
use crate::config::snapshot::*;

pub(super) fn read(mut table: Table<'_>) -> Option<DiscoveryConfig> {
    let dns: Option<Address> = table.get("dns");
    let srv: Option<String> = table.get("srv");
    let patroni = super::web_addresses(&mut table, "patroni", 16);
    let nameserver = table.get("nameserver").and_then(|text: String| {
        let at: Option<SocketAddr> = text.parse().ok();
        if at.is_none() {
            table.wrong("nameserver", "expected an IP address and a port, such as 10.0.0.10:53");
        }
        at
    });
    let interval = table.or_in("interval", 10 * SECOND, SECOND..=Duration::from_secs(3600));
    let given: Vec<_> = ["dns", "srv", "patroni"].into_iter().filter(|key| table.has(key)).collect();
    if let [_, second, ..] = given[..] {
        table.wrong(second, &format!("give {} or {second}, not both", given[0]));
    }
    if table.has("nameserver") && !table.has("dns") && !table.has("srv") {
        table.lacks("nameserver", "has no effect without dns or srv");
    }
    if matches!(dns, Some(Address::Unix(_) | Address::Tcp { port: 0, .. })) {
        table.wrong("dns", "expected host:port");
    }
    table.close();
    let source = match (dns, srv) {
        (Some(Address::Tcp { host, port }), _) => Source::Dns { host, port },
        (_, Some(name)) => Source::Srv(name),
        _ if !patroni.is_empty() => Source::Patroni(patroni),
        _ => return None,
    };
    Some(DiscoveryConfig { source, nameserver, interval })
}
