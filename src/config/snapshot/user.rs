//! `[users.NAME]`: who may sign in, by what, and as whom.

use super::{Overrides, Secret};
use std::fmt;

/// `[users.NAME]`: who may sign in.
#[derive(Clone, Debug, PartialEq)]
pub struct UserConfig {
    /// As the client gives it.
    pub name: String,
    /// What the client must prove.
    pub credential: Credential,
    /// Whom we sign in as for it.
    pub backend_user: String,
    /// With what; `None` where the database asks for nothing.
    pub backend_password: Option<Secret>,
    /// Whether it may use the console's commands that change something.
    pub admin: bool,
    /// Whether it may use those that only show something.
    pub stats: bool,
    /// Whether whatever it connects to is the console.
    pub console: bool,
    /// Clients at a time; `None` is bounded by `max_clients` alone.
    pub max_connections: Option<u32>,
    /// The cluster that serves its MySQL clients; exists, and runs MySQL.
    pub mysql_cluster: Option<String>,
    /// What differs from the database and the cluster.
    pub overrides: Overrides,
}

/// What a client must prove.
#[derive(Clone, PartialEq)]
pub enum Credential {
    /// That it knows this password.
    Password(Secret),
    /// The same, where we know only `SCRAM-SHA-256$...`.
    Verifier(Secret),
    /// The same, where we know only `md5` and 32 hexadecimal digits.
    Md5(Secret),
    /// The same, where we know only `*` and 40 hexadecimal digits, as MySQL and MariaDB keep it.
    Native(Secret),
    /// Nothing. Only where `listen.auth` is `trust`.
    Trust,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Password(_) => "Password(***)",
            Self::Verifier(_) => "Verifier(***)",
            Self::Md5(_) => "Md5(***)",
            Self::Native(_) => "Native(***)",
            Self::Trust => "Trust",
        })
    }
}
