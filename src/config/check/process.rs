//! `[listen]` and `[general]`: what concerns the whole process.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::{HOUR, MILLISECOND, SECOND};
use crate::config::file::Table;
use crate::config::snapshot::*;
use crate::config::values::Size;

pub(super) fn listen(mut table: Table<'_>) -> Listen {
    let listen = Listen {
        postgres: table.get("postgres"),
        unix: table.get("unix").map(|path: String| path.into()),
        mysql: table.get("mysql"),
        http: table.get("http"),
        http_token: table.secret("http_token", "http_token_file"),
        backlog: table.or_in("backlog", 1024, 1..=65_535),
        reuse_port: table.or("reuse_port", false),
        proxies: networks(&mut table, "proxy_protocol_networks"),
        auth: table.or("auth", AuthMethod::ScramSha256),
        mysql_rsa_key: table.file("mysql_rsa_key"),
        tls: client_tls(table.table("tls")),
    };
    if listen.http_token.as_ref().is_some_and(|token| token.expose().is_empty()) {
        table.wrong("http_token", "must not be empty");
    }
    if listen.unix.as_ref().is_some_and(|path| !path.is_absolute()) {
        table.wrong("unix", "must be an absolute path");
    }
    let unix = listen.unix.clone().map(Address::Unix);
    let named =
        [("postgres", &listen.postgres), ("unix", &unix), ("mysql", &listen.mysql), ("http", &listen.http)];
    for (index, (key, address)) in named.iter().enumerate() {
        let Some(address) = address else { continue };
        let any_port = matches!(address, Address::Tcp { port: 0, .. });
        if let Some((other, _)) = named[..index].iter().find(|(_, other)| other.as_ref() == Some(address))
            && !any_port
        {
            table.wrong(key, &format!("the address is that of listen.{other} too"));
        }
    }
    table.close();
    listen
}

/// Networks, or single addresses, with commas between them.
fn networks(table: &mut Table<'_>, key: &'static str) -> Vec<IpNet> {
    let text: Option<String> = table.get(key);
    let mut found = Vec::new();
    for one in text.iter().flat_map(|text| text.split(',')).map(str::trim) {
        match one.parse().or_else(|_| one.parse().map(|address: IpAddr| address.into())) {
            Ok(network) => found.push(network),
            Err(_) => {
                table.wrong(key, "expected a network such as 10.0.0.0/8, or several separated by commas")
            }
        }
    }
    found
}

fn client_tls(mut table: Table<'_>) -> Option<ClientTls> {
    let mode = table.or("mode", TlsMode::Off);
    let (cert, key) = (table.file("cert"), table.file("key"));
    let client_ca = table.file("client_ca");
    let asked_for = mode != TlsMode::Off;
    for (one, other) in [("cert", "key"), ("key", "cert")] {
        if !table.has(one) && (asked_for || table.has(other)) {
            let why = if table.has(other) { other } else { "mode" };
            table.lacks(why, &format!("needs {one} as well"));
        }
    }
    if mode == TlsMode::Off && table.has("client_ca") {
        table.lacks("client_ca", "has no effect while mode is off");
    }
    table.close();
    match (cert, key) {
        (Some(cert), Some(key)) if asked_for => Some(ClientTls { mode, cert, key, client_ca }),
        _ => None,
    }
}

pub(super) fn general(mut table: Table<'_>) -> General {
    let general = General {
        worker_threads: table.get_in("worker_threads", 1..=1024_u32).map(|threads| threads as usize),
        client_login_timeout: table.or_in("client_login_timeout", 10 * SECOND, 100 * MILLISECOND..=HOUR),
        max_clients: table.or_in("max_clients", 10_000_u32, 1..=1_000_000) as usize,
        query_wait_timeout: table.or_in("query_wait_timeout", 30 * SECOND, MILLISECOND..=24 * HOUR),
        shutdown_timeout: table.or_in("shutdown_timeout", 30 * SECOND, Duration::ZERO..=24 * HOUR),
        shutdown_delay: table.or_in("shutdown_delay", Duration::ZERO, Duration::ZERO..=HOUR),
        request_buffer_max: table
            .or_in("request_buffer_max", Size(256 << 10), Size(8 << 10)..=Size(64 << 20))
            .0 as usize,
        tcp_keepalive: table.or_off("tcp_keepalive", 60 * SECOND, SECOND..=9 * HOUR),
        // Linux also counts the time in which the other side's window is closed: a client that
        // reads slowly, or a backend whose COPY waits for a lock, would be cut off.
        tcp_user_timeout: table.or_off("tcp_user_timeout", Duration::ZERO, SECOND..=HOUR),
        peer_address: table.get("peer_address"),
        peers: super::addresses(&mut table, "peers"),
        watch_config: table.or("watch_config", true),
        log: log(table.table("log")),
        traces: traces(table.table("traces")),
        digests: digests(table.table("digests")),
        statement_log: statement_log(table.table("statement_log")),
    };
    if general.statement_log.is_on() && general.digests.max == 0 {
        table.lacks("statement_log", "needs digests: digests.max must not be 0");
    }
    table.close();
    general
}

fn traces(mut table: Table<'_>) -> Traces {
    let endpoint = super::web_addresses(&mut table, "endpoint", 1).pop();
    let service_name = table.or("service_name", "splitpool".to_owned());
    table.close();
    Traces { endpoint, service_name }
}

fn digests(mut table: Table<'_>) -> Digests {
    let digests = Digests {
        max: table.or_in("max", 1000_u32, 0..=100_000) as usize,
        text_max: table.or_in("text_max", Size(1 << 10), Size(64)..=Size(64 << 10)).0 as usize,
    };
    table.close();
    digests
}

fn statement_log(mut table: Table<'_>) -> StatementLog {
    let to = match table.or("to", "log".to_owned()).as_str() {
        "log" => StatementTarget::Log,
        "stdout" => StatementTarget::Stdout,
        path if path.starts_with('/') => StatementTarget::File(path.into()),
        _ => {
            table.wrong("to", "expected log, stdout, or the absolute path of a file");
            StatementTarget::Log
        }
    };
    let log = StatementLog {
        slow: table.or_off("slow", Duration::ZERO, MILLISECOND..=24 * HOUR),
        sample_every: table.or_in("sample_every", 0_u32, 0..=1_000_000_000),
        to,
        format: table.or("format", StatementFormat::Json),
        literals: table.or("literals", false),
        text_max: table.or_in("text_max", Size(1 << 10), Size(64)..=Size(64 << 10)).0 as usize,
    };
    table.close();
    log
}

fn log(mut table: Table<'_>) -> Log {
    let log = Log { format: table.or("format", LogFormat::Text), level: table.or("level", LogLevel::Info) };
    table.close();
    log
}
