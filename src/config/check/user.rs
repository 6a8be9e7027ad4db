//! `[users.NAME]`: who may sign in, and whom we sign in as.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::file::Table;
use crate::config::snapshot::*;

/// A user whose cluster, if it names one, was not looked up yet.
pub(super) struct Draft<'d> {
    pub user: UserConfig,
    table: Table<'d>,
}

pub(super) fn read(name: String, mut table: Table<'_>, auth: AuthMethod) -> Draft<'_> {
    let secret = table.secret("password", "password_file");
    let wrote = if table.has("password") { "password" } else { "password_file" };
    let is_set = table.has(wrote);
    let credential = match secret {
        Some(secret) => credential(secret).unwrap_or_else(|text| {
            table.wrong(wrote, text);
            Credential::Trust
        }),
        None => {
            if !is_set && auth != AuthMethod::Trust {
                table.lacks("password", "give password or password_file, or set listen.auth = \"trust\"");
            }
            Credential::Trust
        }
    };
    if matches!(credential, Credential::Md5(_)) && auth == AuthMethod::ScramSha256 {
        table.lacks(wrote, "an md5 hash cannot prove anything while listen.auth is scram-sha-256");
    }
    let own = table.secret("backend_password", "backend_password_file");
    let gave_own = table.has("backend_password") || table.has("backend_password_file");
    if matches!(credential, Credential::Verifier(_) | Credential::Md5(_) | Credential::Native(_)) && !gave_own
    {
        table.lacks(
            wrote,
            "nobody can sign in to a database with a verifier: give backend_password too, \
             empty if the database asks for none",
        );
    }
    let backend_password = match (own, &credential) {
        (Some(own), _) => Some(own).filter(|own| !own.expose().is_empty()),
        (None, Credential::Password(password)) if !gave_own => Some(password.clone()),
        (None, _) => None,
    };
    let user = UserConfig {
        backend_user: table.or("backend_user", name.clone()),
        backend_password,
        admin: table.or("admin", false),
        stats: table.or("stats", false),
        console: table.or("console", false),
        max_connections: table.get_in("max_connections", 1..=1_000_000),
        mysql_cluster: table.get("mysql_cluster"),
        overrides: super::overrides(&mut table),
        name,
        credential,
    };
    if user.console && !user.admin && !user.stats {
        table.lacks("console", "needs admin or stats as well");
    }
    if user.name.is_empty() {
        table.refuse("a user needs a name");
    }
    Draft { user, table }
}

/// Checks what the user says of a cluster.
pub(super) fn link(draft: Draft<'_>, clusters: &BTreeMap<String, Arc<ClusterConfig>>) -> UserConfig {
    let Draft { user, table } = draft;
    if let Some(name) = &user.mysql_cluster {
        match clusters.get(name) {
            None => table.lacks("mysql_cluster", &super::no_such_cluster(name, clusters)),
            Some(cluster) if cluster.engine != Engine::Mysql => {
                table.lacks("mysql_cluster", &format!("[clusters.{name}] does not have engine = \"mysql\""));
            }
            Some(_) => {}
        }
    }
    table.close();
    user
}

/// Tells a password from what only proves that somebody knows it.
fn credential(secret: Secret) -> Result<Credential, &'static str> {
    let text = secret.expose();
    if text.is_empty() {
        return Err("must not be empty");
    }
    if text.starts_with("SCRAM-SHA-256$") {
        return if is_verifier(text) {
            Ok(Credential::Verifier(secret))
        } else {
            Err("is not a SCRAM verifier: SCRAM-SHA-256$ITERATIONS:SALT$STORED_KEY:SERVER_KEY")
        };
    }
    let digits = text.strip_prefix("md5").filter(|digits| digits.len() == 32);
    if digits.is_some_and(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit())) {
        return Ok(Credential::Md5(secret));
    }
    let digits = text.strip_prefix('*').filter(|digits| digits.len() == 40);
    if digits.is_some_and(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit())) {
        return Ok(Credential::Native(secret));
    }
    Ok(Credential::Password(secret))
}

/// `SCRAM-SHA-256$ITERATIONS:SALT$STORED:SERVER`, the form of `pg_authid.rolpassword`; both
/// keys are 32 bytes in base64.
fn is_verifier(text: &str) -> bool {
    let base64 = |text: &str| {
        let body = text.trim_end_matches('=');
        let sound = body.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'+' || c == b'/');
        sound && !body.is_empty() && text.len().is_multiple_of(4) && text.len() - body.len() <= 2
    };
    let key = |text: &str| base64(text) && text.len() == 44 && text.ends_with('=') && !text.ends_with("==");
    let parts: Vec<_> = text.split(['$', ':']).collect();
    let [_, iterations, salt, stored, server] = parts[..] else { return false };
    let separators: Vec<_> = text.matches(['$', ':']).collect();
    separators == ["$", ":", "$", ":"]
        && iterations.parse::<u32>().is_ok_and(|iterations| iterations > 0)
        && base64(salt)
        && key(stored)
        && key(server)
}
