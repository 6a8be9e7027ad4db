//! What is different between two snapshots, in lines that an operator reads.
//!
//! Sections that came or went are one line each, endpoints go by their address, and of a
//! secret it is only said that it changed. It decides nothing: whether two snapshots differ
//! is for `==` to say.

use std::collections::BTreeMap;

use super::file::quoted;
use super::{ClusterConfig, EndpointConfig, Snapshot, UserConfig};

/// A line for each difference, sorted.
pub(super) fn changes(old: &Snapshot, new: &Snapshot) -> Vec<String> {
    let mut lines = Vec::new();
    // Keys under these prefixes are told of otherwise than one by one.
    let mut told = Vec::new();
    names(("clusters", &old.clusters, &new.clusters), &mut told, &mut lines);
    names(("databases", &old.databases, &new.databases), &mut told, &mut lines);
    names(("users", &old.users, &new.users), &mut told, &mut lines);
    wildcard(old, new, &mut told, &mut lines);
    for (name, cluster) in &new.clusters {
        if let Some(was) = old.clusters.get(name) {
            let path = format!("clusters.{}", quoted(name));
            told.extend([format!("{path}.endpoints["), format!("{path}.rules[")]);
            cluster_changes(&path, was, cluster, &mut lines);
        }
    }
    for (name, user) in &new.users {
        if let Some(was) = old.users.get(name) {
            user_changes(&format!("users.{}", quoted(name)), was, user, &mut lines);
        }
    }
    for (key, value) in &new.settings {
        let was = old.settings.get(key).map_or("none", String::as_str);
        if was != value && !told.iter().any(|prefix| key.starts_with(prefix)) {
            lines.push(format!("{key}: {was} -> {value}"));
        }
    }
    if old.listen.http_token != new.listen.http_token
        && old.settings.get("listen.http_token") == new.settings.get("listen.http_token")
    {
        lines.push("listen.http_token: changed".to_owned());
    }
    for (path, print) in &new.files {
        if old.files.get(path).is_some_and(|was| was != print) {
            lines.push(format!("{}: new contents", path.display()));
        }
    }
    lines.sort();
    lines
}

fn names<T>(
    (section, old, new): (&str, &BTreeMap<String, T>, &BTreeMap<String, T>),
    told: &mut Vec<String>,
    lines: &mut Vec<String>,
) {
    let mut tell = |name: &String, what: &str| {
        let path = format!("{section}.{}", quoted(name));
        lines.push(format!("{path}: {what}"));
        told.push(format!("{path}."));
    };
    new.keys().filter(|name| !old.contains_key(*name)).for_each(|name| tell(name, "added"));
    old.keys().filter(|name| !new.contains_key(*name)).for_each(|name| tell(name, "removed"));
}

fn wildcard(old: &Snapshot, new: &Snapshot, told: &mut Vec<String>, lines: &mut Vec<String>) {
    let what = match (&old.wildcard, &new.wildcard) {
        (None, Some(_)) => "added",
        (Some(_), None) => "removed",
        _ => return,
    };
    let path = format!("databases.{}", quoted("*"));
    lines.push(format!("{path}: {what}"));
    told.push(format!("{path}."));
}

fn cluster_changes(path: &str, old: &ClusterConfig, new: &ClusterConfig, lines: &mut Vec<String>) {
    let find = |all: &[EndpointConfig], one: &EndpointConfig| {
        all.iter().find(|other| other.address == one.address).cloned()
    };
    for now in &new.endpoints {
        let EndpointConfig { address, role, weight } = now;
        match find(&old.endpoints, now) {
            None => lines.push(format!("{path}.endpoints: {address} added")),
            Some(was) if was != *now => lines.push(format!(
                "{path}.endpoints: {address} from {} with weight {} to {role} with weight {weight}",
                was.role, was.weight
            )),
            Some(_) => {}
        }
    }
    for was in &old.endpoints {
        if find(&new.endpoints, was).is_none() {
            lines.push(format!("{path}.endpoints: {} removed", was.address));
        }
    }
    if old.rules != new.rules {
        lines.push(format!("{path}.rules: changed"));
    }
    if old.probe.password != new.probe.password {
        lines.push(format!("{path}: the password of the probes changed"));
    }
    if (&old.probe.user, &old.probe.dbname) != (&new.probe.user, &new.probe.dbname) {
        let (user, dbname) = (&new.probe.user, &new.probe.dbname);
        lines.push(format!("{path}: probes sign in as {user} to {dbname}"));
    }
}

fn user_changes(path: &str, old: &UserConfig, new: &UserConfig, lines: &mut Vec<String>) {
    if old.credential != new.credential {
        lines.push(format!("{path}: the client's password changed"));
    }
    if old.backend_password != new.backend_password {
        lines.push(format!("{path}: the password towards backends changed"));
    }
}
