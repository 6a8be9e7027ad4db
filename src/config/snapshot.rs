//! What the configuration means: one immutable, checked value.
//!
//! Invariants, kept by `check.rs`, which alone builds it: every cluster has an endpoint
//! that may be a primary; every database has its cluster; every user has a credential
//! unless all clients are trusted; every number lies within its bounds. It does not know
//! the file's syntax, and no `Debug` of anything in here shows a secret.

mod cluster;
mod general;
mod listen;
mod user;

pub use super::fingerprint::Fingerprint;
pub use cluster::*;
pub use general::*;
pub use listen::*;
pub use pool::net::Address;
pub use protocol::Secret;
pub use user::*;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// One configuration in force. A session holds one for a transaction or longer.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// 1 for the first, one more for each reload that changed something; 0 until `Live` has it.
    pub generation: u64,
    /// Equal for equal settings, on every machine. Covers no secret, so it may be published.
    pub hash: u64,
    /// Where clients are awaited, and how they prove who they are.
    pub listen: Listen,
    /// What concerns the whole process.
    pub general: General,
    /// By name.
    pub clusters: BTreeMap<String, Arc<ClusterConfig>>,
    /// By the name that a PostgreSQL client asks for.
    pub databases: BTreeMap<String, DatabaseConfig>,
    /// `[databases."*"]`: serves every name that `databases` lacks.
    pub wildcard: Option<DatabaseConfig>,
    /// By the name that a client gives.
    pub users: BTreeMap<String, Arc<UserConfig>>,
    /// Every key with the value in force, as text; secrets as `***`, what is unset as `none`.
    pub settings: BTreeMap<String, String>,
    /// Where each of them comes from.
    pub sources: Provenances,
    /// The files whose contents are part of this configuration, itself not included; so a new
    /// certificate under an old name is a change.
    pub files: BTreeMap<PathBuf, Fingerprint>,
}

/// What stands for a secret wherever settings are shown.
pub const MASK: &str = "***";

/// Where the values come from, by key. Makes no difference: two configurations with the same values
/// are the same.
#[derive(Clone, Debug, Default)]
pub struct Provenances(pub BTreeMap<String, Provenance>);

impl PartialEq for Provenances {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// Where the value of a key comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provenance {
    /// Who gave it.
    pub origin: Origin,
    /// What it would be if nobody had; `none` if nothing.
    pub usual: String,
    /// Whether it is a secret, or names the file of one: neither is given where others look on.
    pub is_hidden: bool,
}

/// Who gave a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody.
    Default,
    /// The file.
    File,
    /// An operator, until the process ends.
    Console,
}

impl Origin {
    /// One word for the console.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::File => "file",
            Self::Console => "console",
        }
    }
}

impl Snapshot {
    /// The database that serves a client which asks for `name`.
    pub fn database(&self, name: &str) -> Option<&DatabaseConfig> {
        self.databases.get(name).or(self.wildcard.as_ref())
    }

    /// The cluster that serves a MySQL client signed in as `user`: its own, or the only one.
    pub fn mysql_cluster(&self, user: &UserConfig) -> Option<&Arc<ClusterConfig>> {
        if let Some(name) = &user.mysql_cluster {
            return self.clusters.get(name);
        }
        let mut all = self.clusters.values().filter(|cluster| cluster.engine == Engine::Mysql);
        all.next().filter(|_| all.next().is_none())
    }
}

/// `[databases.NAME]`: what a PostgreSQL client may ask for.
#[derive(Clone, Debug, PartialEq)]
pub struct DatabaseConfig {
    /// As in the file; `*` for the wildcard.
    pub name: String,
    /// Who serves it; a PostgreSQL cluster.
    pub cluster: Arc<ClusterConfig>,
    /// Its name in the cluster; `None` (only for `*`) is the name that the client asked for.
    pub dbname: Option<String>,
    /// What differs from the cluster.
    pub overrides: Overrides,
}

impl DatabaseConfig {
    /// Its name in the cluster, for a client that asked for `asked`.
    pub fn dbname_for<'a>(&'a self, asked: &'a str) -> &'a str {
        self.dbname.as_deref().unwrap_or(asked)
    }
}

/// What a database or a user has otherwise than its cluster; the user's word goes first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overrides {
    /// In place of the cluster's.
    pub consistency: Option<Consistency>,
    /// In place of the cluster's.
    pub pool_mode: Option<PoolMode>,
    /// In place of the cluster's.
    pub pool_size: Option<u32>,
}
