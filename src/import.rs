//! `splitpool import`: a configuration of PgBouncer in our words.
//!
//! Prints a file that `splitpool check` takes, with what does not carry over as comments on top.
//! Reads the ini file and the auth_file that it names; connects to nothing.

mod draft;
mod ini;

use draft::Draft;
use std::collections::BTreeMap;
use std::path::Path;

/// Keys of `[pgbouncer]` that are durations in seconds, and ours.
const DURATIONS: [(&str, &str, &str); 11] = [
    ("client_login_timeout", "[general]", "client_login_timeout"),
    ("query_wait_timeout", "[general]", "query_wait_timeout"),
    ("tcp_keepidle", "[general]", "tcp_keepalive"),
    ("server_lifetime", CLUSTER, "server_lifetime"),
    ("server_idle_timeout", CLUSTER, "server_idle_timeout"),
    ("server_connect_timeout", CLUSTER, "connect_timeout"),
    ("query_timeout", CLUSTER, "query_timeout"),
    ("transaction_timeout", CLUSTER, "transaction_timeout"),
    ("idle_transaction_timeout", CLUSTER, "idle_transaction_timeout"),
    ("client_idle_timeout", CLUSTER, "client_idle_timeout"),
    ("tcp_user_timeout", "[general]", "tcp_user_timeout"),
];

/// Stands for every cluster.
const CLUSTER: &str = "";

/// Keys that hold as they are, and ours.
const PLAIN: [(&str, &str, &str); 5] = [
    ("default_pool_size", CLUSTER, "pool_size"),
    ("min_pool_size", CLUSTER, "min_pool_size"),
    ("max_client_conn", "[general]", "max_clients"),
    ("listen_backlog", "[listen]", "backlog"),
    ("client_tls_ca_file", "[listen.tls]", "client_ca"),
];

/// Keys that need no counterpart, and why.
const NEEDLESS: [(&str, &str); 14] = [
    ("max_prepared_statements", "prepared statements always follow their client"),
    ("server_reset_query", "what a client leaves behind is carried or undone without it"),
    ("server_reset_query_always", "what a client leaves behind is carried or undone without it"),
    ("server_check_query", "endpoints are probed all the time"),
    ("server_check_delay", "endpoints are probed all the time"),
    ("server_login_retry", "sign-ins are retried with a growing pause"),
    ("ignore_startup_parameters", "startup parameters are settings, and carried"),
    ("track_extra_parameters", "all settings are tracked"),
    ("server_fast_close", "a removed endpoint is left at the end of each transaction"),
    ("logfile", "logs go to standard error"),
    ("pidfile", "it runs in the foreground"),
    ("user", "the supervisor says whom it runs as"),
    ("syslog", "logs go to standard error"),
    ("dns_max_ttl", "names are looked up at each connect"),
];

/// Reads the pgbouncer.ini at `path`. Returns our file.
///
/// # Errors
/// Why it cannot be read, or what of it cannot be said in our words, as a sentence.
pub fn pgbouncer(path: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let dir = path.parent().unwrap_or(Path::new(""));
    let (entries, rest) = ini::entries(&text);
    let mut draft = Draft::default();
    rest.into_iter().for_each(|line| draft.note(format!("{line}: not read")));
    let mut own: BTreeMap<&str, &str> = BTreeMap::new();
    let mut databases = Vec::new();
    for entry in &entries {
        match entry.section.as_str() {
            "pgbouncer" => drop(own.insert(&entry.key, &entry.value)),
            "databases" => databases.push((entry.key.as_str(), ini::connection(&entry.value))),
            other => draft.note(format!("[{other}] {}: not carried over", entry.key)),
        }
    }
    listen(&mut draft, &own);
    let clusters = clusters(&mut draft, &databases, &own);
    process(&mut draft, &own, &clusters);
    users(&mut draft, &own, &databases, dir);
    if !own.contains_key("pool_mode") {
        draft.note(
            "pool_mode was PgBouncer's default, session; Splitpool's is transaction, in which clients keep \
             what a session has"
                .to_owned(),
        );
    }
    draft.note(
        "only one host of each cluster is known here: add its other servers as [[endpoints]]".to_owned(),
    );
    draft.finish(dir)
}

fn listen(draft: &mut Draft, own: &BTreeMap<&str, &str>) {
    let port = own.get("listen_port").copied().unwrap_or("6432");
    let mut hosts = own.get("listen_addr").into_iter().flat_map(|hosts| hosts.split(',')).map(str::trim);
    match hosts.next().filter(|host| !host.is_empty()) {
        Some(host) => {
            let host = match host {
                "*" => "0.0.0.0".to_owned(),
                v6 if v6.contains(':') => format!("[{v6}]"),
                other => other.to_owned(),
            };
            draft.set("[listen]", "postgres", quoted(&format!("{host}:{port}")), "listen_addr");
        }
        None => {
            let folder = own.get("unix_socket_dir").copied().unwrap_or("/tmp");
            draft.set("[listen]", "unix", quoted(&format!("{folder}/.s.PGSQL.{port}")), "unix_socket_dir");
        }
    }
    hosts.for_each(|other| draft.note(format!("listen_addr: {other} is not served, there is one address")));
    draft.set("[listen]", "http", quoted("127.0.0.1:9432"), "metrics");
    if own.get("so_reuseport") == Some(&"1") {
        draft.set("[listen]", "reuse_port", "true".to_owned(), "so_reuseport");
    }
    let mode = match own.get("client_tls_sslmode").copied() {
        None | Some("disable") => return,
        Some("allow" | "prefer") => "prefer",
        Some(_) => "require",
    };
    draft.set("[listen.tls]", "mode", quoted(mode), "client_tls_sslmode");
    for (theirs, ours) in [("client_tls_cert_file", "cert"), ("client_tls_key_file", "key")] {
        if let Some(file) = own.get(theirs) {
            draft.set("[listen.tls]", ours, quoted(file), theirs);
        }
    }
}

/// A cluster for each server, and the databases. Returns the clusters' tables.
fn clusters(
    draft: &mut Draft,
    databases: &[(&str, Vec<(String, String)>)],
    own: &BTreeMap<&str, &str>,
) -> Vec<String> {
    let mut servers: Vec<String> = Vec::new();
    let mut tables = Vec::new();
    for (name, settings) in databases {
        let find = |key: &str| settings.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
        let (hosts, port) = (find("host").unwrap_or("/var/run/postgresql"), find("port").unwrap_or("5432"));
        let server = format!("{hosts} {port}");
        let at = servers.iter().position(|known| *known == server).unwrap_or_else(|| {
            servers.push(server);
            servers.len() - 1
        });
        let cluster = if at == 0 { "main".to_owned() } else { format!("cluster{}", at + 1) };
        let table = format!("[clusters.{cluster}]");
        if !tables.contains(&table) {
            draft.set(&table, "engine", quoted("postgres"), "databases");
            for (number, host) in hosts.split(',').enumerate() {
                let address = match host.trim() {
                    folder if folder.starts_with('/') => format!("unix:{folder}/.s.PGSQL.{port}"),
                    v6 if v6.contains(':') => format!("[{v6}]:{port}"),
                    host => format!("{host}:{port}"),
                };
                // A table each: the comment tells them apart and TOML does not see it.
                let table = format!("[[clusters.{cluster}.endpoints]] # {}", number + 1);
                draft.set(&table, "address", quoted(&address), name);
            }
            tables.push(table);
        }
        let table = format!("[databases.{}]", if *name == "*" { "\"*\"".to_owned() } else { key(name) });
        draft.set(&table, "cluster", quoted(&cluster), name);
        for (theirs, value) in settings {
            match theirs.as_str() {
                "dbname" => draft.set(&table, "dbname", quoted(value), name),
                "pool_mode" => draft.set(&table, "pool_mode", quoted(value), name),
                "pool_size" => draft.set(&table, "pool_size", value.clone(), name),
                "host" | "port" | "user" | "password" => {}
                other => draft.note(format!("{name}: {other} is not carried over")),
            }
        }
    }
    if servers.len() > 1 {
        draft.note(
            "each server is a cluster of its own here: where one is the replica of another, make both endpoints \
             of one cluster, and reads are spread by themselves"
                .to_owned(),
        );
    }
    if let Some(mode) = own.get("pool_mode") {
        tables.iter().for_each(|table| draft.set(table, "pool_mode", quoted(mode), "pool_mode"));
    }
    tables
}

/// The keys of `[pgbouncer]` that say the same with us.
fn process(draft: &mut Draft, own: &BTreeMap<&str, &str>, clusters: &[String]) {
    const DONE: [&str; 14] = [
        "listen_addr",
        "listen_port",
        "unix_socket_dir",
        "so_reuseport",
        "client_tls_sslmode",
        "client_tls_cert_file",
        "client_tls_key_file",
        "pool_mode",
        "auth_type",
        "auth_file",
        "admin_users",
        "stats_users",
        "server_tls_sslmode",
        "server_tls_ca_file",
    ];
    let set = |draft: &mut Draft, table: &str, ours: &'static str, value: &str, theirs: &str| {
        let tables = if table == CLUSTER { clusters.to_vec() } else { vec![table.to_owned()] };
        tables.iter().for_each(|table| draft.set(table, ours, value.to_owned(), theirs));
    };
    for (theirs, value) in own {
        if let Some((_, table, ours)) = DURATIONS.iter().find(|(name, _, _)| name == theirs) {
            match milliseconds(theirs, value) {
                Some(text) => set(draft, table, ours, &quoted(&text), theirs),
                None => draft.note(format!("{theirs}: {value} is no number of seconds")),
            }
        } else if let Some((_, table, ours)) = PLAIN.iter().find(|(name, _, _)| name == theirs) {
            let text = if value.parse::<u32>().is_ok() { (*value).to_owned() } else { quoted(value) };
            set(draft, table, ours, &text, theirs);
        } else if let Some((_, why)) = NEEDLESS.iter().find(|(name, _)| name == theirs) {
            draft.note(format!("{theirs}: not needed, {why}"));
        } else if !DONE.contains(theirs) {
            draft.note(format!("{theirs}: not carried over"));
        }
    }
    for cluster in clusters {
        let table = cluster.replace(']', ".tls]");
        for (theirs, ours) in [("server_tls_sslmode", "mode"), ("server_tls_ca_file", "ca")] {
            let Some(value) = own.get(theirs) else { continue };
            let value = match *value {
                "disable" => "off",
                "allow" => "prefer",
                other => other,
            };
            draft.set(&table, ours, quoted(value), theirs);
        }
    }
}

fn users(
    draft: &mut Draft,
    own: &BTreeMap<&str, &str>,
    databases: &[(&str, Vec<(String, String)>)],
    dir: &Path,
) {
    let file = own.get("auth_file").map(|file| dir.join(file));
    let read = file.as_ref().map(std::fs::read_to_string);
    let mut users = match &read {
        Some(Ok(text)) => ini::users(text),
        Some(Err(error)) => {
            draft.note(format!("auth_file: {error}"));
            Vec::new()
        }
        None => Vec::new(),
    };
    if users.is_empty() {
        draft.note("no user was found: replace [users.app] by those who connect".to_owned());
        users.push(("app".to_owned(), "change-me".to_owned()));
    }
    let is_md5 = |secret: &str| secret.starts_with("md5") && secret.len() == 35;
    let auth = match own.get("auth_type").copied() {
        Some("trust" | "any") => "trust",
        Some("scram-sha-256") => "scram-sha-256",
        None | Some("md5") if users.iter().any(|(_, secret)| is_md5(secret)) => "md5",
        None | Some("md5" | "plain") => "scram-sha-256",
        Some(other) => {
            draft.note(format!("auth_type: {other} is not there, clients prove themselves by SCRAM"));
            "scram-sha-256"
        }
    };
    draft.set("[listen]", "auth", quoted(auth), "auth_type");
    let list = |key: &str| own.get(key).map_or(Vec::new(), |names| names.split(',').map(str::trim).collect());
    let (admins, readers): (Vec<&str>, Vec<&str>) = (list("admin_users"), list("stats_users"));
    let forced = forced(draft, databases);
    for (user, secret) in &users {
        let table = format!("[users.{}]", key(user));
        if is_md5(secret) && auth == "scram-sha-256" {
            draft.note(format!("users.{user}: left out, an md5 hash proves nothing under scram-sha-256"));
            continue;
        }
        if secret.is_empty() && auth != "trust" {
            draft.note(format!("users.{user}: left out, it has no password"));
            continue;
        }
        if !secret.is_empty() {
            draft.set(&table, "password", quoted(secret), user);
        }
        if admins.contains(&user.as_str()) {
            draft.set(&table, "admin", "true".to_owned(), "admin_users");
        } else if readers.contains(&user.as_str()) {
            draft.note(format!("stats_users: {user} has no rights of its own in the console here"));
        }
        if let Some((backend_user, backend_password)) = &forced {
            draft.set(&table, "backend_user", quoted(backend_user), "databases");
            draft.set(&table, "backend_password", quoted(backend_password), "databases");
        } else if is_md5(secret) || secret.starts_with("SCRAM-SHA-256$") {
            draft.set(&table, "backend_password", quoted(""), user);
            draft.note(format!(
                "users.{user}: nobody can sign in to a database with a verifier alone; fill in backend_password, \
                 unless the database asks for none"
            ));
        }
    }
}

/// Whom all databases are signed in to as, if they say so and agree.
fn forced(draft: &mut Draft, databases: &[(&str, Vec<(String, String)>)]) -> Option<(String, String)> {
    let find = |settings: &[(String, String)], key: &str| {
        settings.iter().find(|(name, _)| name == key).map(|(_, value)| value.clone())
    };
    let mut found = databases.iter().map(|(_, settings)| {
        find(settings, "user").map(|user| (user, find(settings, "password").unwrap_or_default()))
    });
    let first = found.next().flatten();
    if found.all(|other| other == first) {
        return first;
    }
    draft.note("databases are signed in to as different users: with us that is a key of [users]".to_owned());
    None
}

/// Seconds, or for one key milliseconds, as a duration of ours.
fn milliseconds(key: &str, value: &str) -> Option<String> {
    let number =
        value.parse::<f64>().ok().filter(|number| number.is_finite() && (0.0..1e9).contains(number))?;
    let millis = if key == "tcp_user_timeout" { number } else { number * 1000.0 };
    if millis == 0.0 { Some("0".to_owned()) } else { Some(format!("{millis:.0}ms")) }
}

/// As a TOML string; what would be a variable is not one.
fn quoted(text: &str) -> String {
    let mut out = "\"".to_owned();
    for c in text.replace("${", "$${").chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out + "\""
}

/// As TOML wants a name.
fn key(name: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !name.is_empty() && name.chars().all(is_bare) {
        name.to_owned()
    } else {
        quoted(name).replace("$${", "${")
    }
}
