//! From the file to the snapshot: which keys there are, their defaults, and what must agree.
//!
//! Each section has a file that reads it; this one puts them together and checks what
//! spans sections. It goes on after a mistake, with the default in place of the wrong value,
//! to find the others; `mod.rs` throws the snapshot away if there was any. It does not load
//! certificates and does not ask a database anything.

mod cluster;
mod database;
mod discovery;
mod process;
mod user;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::file::{Document, Table};
use super::mistakes::meant;
use super::snapshot::*;

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Reads all of `document`. What is returned is right only if the document has no mistake.
pub(super) fn snapshot(document: &Document<'_>) -> Snapshot {
    let mut root = document.root();
    let listen = process::listen(root.table("listen"));
    let general = process::general(root.table("general"));
    let users: Vec<_> =
        root.named("users").into_iter().map(|(name, table)| user::read(name, table, listen.auth)).collect();
    let drafts: Vec<_> =
        root.named("databases").into_iter().map(|(name, table)| database::read(name, table)).collect();
    let clusters: Vec<_> = root
        .named("clusters")
        .into_iter()
        .map(|(name, table)| cluster::read(name, table, &general, &drafts, &users))
        .collect();
    let clusters: BTreeMap<_, _> =
        clusters.into_iter().map(|cluster| (cluster.name.clone(), Arc::new(cluster))).collect();

    check_presence(&mut root, &listen);
    let users = users.into_iter().map(|draft| user::link(draft, &clusters)).collect::<Vec<_>>();
    let mut databases: BTreeMap<_, _> = drafts
        .into_iter()
        .filter_map(|draft| database::link(draft, &clusters))
        .map(|database| (database.name.clone(), database))
        .collect();
    root.close();
    Snapshot {
        generation: 0,
        hash: 0,
        listen,
        general,
        wildcard: databases.remove("*"),
        databases,
        clusters,
        users: users.into_iter().map(|user| (user.name.clone(), Arc::new(user))).collect(),
        settings: BTreeMap::new(),
        sources: Provenances::default(),
        files: BTreeMap::new(),
    }
}

/// Something to serve, somebody to serve it to, and something to serve it from.
fn check_presence(root: &mut Table<'_>, listen: &Listen) {
    let table = root.table("listen");
    if !["postgres", "unix", "mysql"].iter().any(|key| table.has(key)) {
        root.lacks("listen", "serves nobody: set postgres, unix or mysql");
    }
    if root.is_empty("clusters") {
        root.lacks("clusters", "there must be at least one [clusters.NAME]");
    }
    if root.is_empty("users") {
        root.lacks("users", "there must be at least one [users.NAME]");
    }
    if (listen.postgres.is_some() || listen.unix.is_some()) && root.is_empty("databases") {
        root.lacks("databases", "PostgreSQL clients need at least one [databases.NAME]");
    }
}

/// What to say where `name` names no cluster.
fn no_such_cluster(name: &str, clusters: &BTreeMap<String, Arc<ClusterConfig>>) -> String {
    match meant(name, clusters.keys().map(String::as_str)) {
        Some(word) => format!("there is no [clusters.{name}], did you mean {word}?"),
        None => format!("there is no [clusters.{name}]"),
    }
}

/// Addresses on TCP, separated by commas.
fn addresses(table: &mut Table<'_>, key: &'static str) -> Vec<Address> {
    let text: Option<String> = table.get(key);
    let mut found = Vec::new();
    for one in text.iter().flat_map(|text| text.split(',')) {
        match one.trim().parse() {
            Ok(address @ Address::Tcp { .. }) => found.push(address),
            _ => table.wrong(key, "expected host:port, or several separated by commas"),
        }
    }
    found
}

/// Whom to ask by HTTP: `host:port` or `https://host:port`, as many as `most`, separated by commas. The keys `ca`, `cert`
/// and `key` beside it say how HTTPS is spoken.
fn web_addresses(table: &mut Table, key: &'static str, most: usize) -> Vec<WebAddress> {
    let text: Option<String> = table.get(key);
    let (ca, cert, own_key) = (table.file("ca"), table.file("cert"), table.file("key"));
    for (one, other) in [("cert", "key"), ("key", "cert")] {
        if !table.has(one) && table.has(other) {
            table.lacks(other, &format!("needs {one} as well"));
        }
    }
    let https = Https { ca, pair: cert.zip(own_key) };
    let read = |one: &str| {
        let (rest, is_https) = one.strip_prefix("https://").map_or((one, false), |rest| (rest, true));
        match rest.trim_end_matches('/').parse() {
            Ok(Address::Tcp { host, port }) if port != 0 => {
                Some(WebAddress { host, port, https: is_https.then(|| https.clone()) })
            }
            _ => None,
        }
    };
    let parts = text.iter().flat_map(|text| text.split(','));
    let found: Option<Vec<_>> = parts.map(|one| read(one.trim())).collect();
    match found {
        Some(found) if found.len() <= most => {
            for key in ["ca", "cert"] {
                if table.has(key) && found.iter().all(|web| web.https.is_none()) {
                    table.lacks(key, "has no effect without an https:// address");
                }
            }
            found
        }
        _ => {
            let many = if most > 1 { ", or several separated by commas" } else { "" };
            table.wrong(key, &format!("expected host:port or https://host:port{many}"));
            Vec::new()
        }
    }
}

/// The keys that a database and a user share.
fn overrides(table: &mut Table<'_>) -> Overrides {
    Overrides {
        consistency: table.get("consistency"),
        pool_mode: table.get("pool_mode"),
        pool_size: table.get_in("pool_size", 1..=cluster::POOL_SIZE_MAX),
    }
}
