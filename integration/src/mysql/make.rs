//! MariaDB or MySQL: their programs, and the words in which they differ.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::session::Session;
use crate::paths;

/// What fetches MySQL's programs.
const FETCH: &str =
    "run integration/test once, or: source integration/needs.sh; need_mysql \"$(target_dir)\"";
/// What installs MariaDB's.
const INSTALL: &str = "apt-get install -y mariadb-server";

/// The make of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Make {
    /// MariaDB, as the system has it installed.
    MariaDb,
    /// MySQL, as `integration/needs.sh` unpacks it under the target directory.
    MySql,
}

impl Make {
    /// Both, for tests that must hold on either.
    pub const ALL: [Self; 2] = [Self::MariaDb, Self::MySql];

    /// Its name in messages and paths.
    pub fn name(self) -> &'static str {
        match self {
            Self::MariaDb => "mariadb",
            Self::MySql => "mysql",
        }
    }

    /// A program of its installation, ready for arguments: `mariadbd`, `mysqldump`, ...
    ///
    /// # Panics
    /// When it is missing, with the line that installs it.
    pub fn program(self, name: &str) -> Command {
        match self {
            Self::MariaDb => {
                Command::new(paths::in_path(name).unwrap_or_else(|| panic!("no {name}: {INSTALL}")))
            }
            Self::MySql => {
                let root = mysql_root();
                let usr = root.join("usr");
                let found = ["sbin", "bin"].map(|dir| usr.join(dir).join(name)).into_iter();
                let program = found.into_iter().find(|path| path.exists());
                // Its own loader and libraries: those of the system may be too old for it.
                let mut command = Command::new(usr.join("lib64/ld-linux-x86-64.so.2"));
                command.arg("--library-path").arg(usr.join("lib/x86_64-linux-gnu"));
                command.arg(program.unwrap_or_else(|| panic!("no {name} in {}", usr.display())));
                command
            }
        }
    }

    /// The program that serves.
    pub(super) fn server_program(self) -> Command {
        self.program(match self {
            Self::MariaDb => "mariadbd",
            Self::MySql => "mysqld",
        })
    }

    /// What it says of its version: part of the template's name.
    pub(super) fn version(self) -> String {
        let mut command = self.server_program();
        let out = command.args(["--no-defaults", "--version"]).output().expect("the server's program runs");
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        let words = text.split_whitespace().skip_while(|word| *word != "Ver").nth(1);
        words.unwrap_or("unknown").chars().filter(|c| c.is_ascii_alphanumeric() || *c == '.').collect()
    }

    /// The settings of every server: no more durability than a SIGKILL asks for, everything logged, and no memory for
    /// what a test never asks, which a start would have to touch.
    pub(super) fn settings(self) -> String {
        let own = match self {
            Self::MariaDb => {
                "binlog_format=ROW\ngtid_strict_mode=ON\ngtid_domain_id=0\nlog_slave_updates=ON\n\
                 innodb_log_file_size=8M\nperformance_schema=OFF\nslave_max_allowed_packet=1G\n\
                 replicate_annotate_row_events=OFF\nbinlog_annotate_row_events=OFF\n"
                    .to_owned()
            }
            Self::MySql => {
                let usr = mysql_root().join("usr");
                let at = |path: &str| usr.join(path).display().to_string();
                format!(
                    "basedir={}\nplugin_dir={}\nlc_messages_dir={}\ncharacter_sets_dir={}\nmysqlx=OFF\n\
                     gtid_mode=ON\nenforce_gtid_consistency=ON\nlog_raw=ON\nbinlog_rows_query_log_events=OFF\n\
                     innodb_redo_log_capacity=16M\nsecure_file_priv=\nreplica_max_allowed_packet=1G\n\
                     performance_schema_consumer_events_statements_history_long=ON\n\
                     innodb_log_buffer_size=1M\ntable_open_cache=400\ntable_definition_cache=400\n\
                     performance_schema_digests_size=200\nperformance_schema_error_size=1\n",
                    usr.display(),
                    at("lib/mysql/plugin"),
                    at("share/mysql"),
                    at("share/mysql/charsets")
                )
            }
        };
        format!(
            "[server]\nbind_address=127.0.0.1\nsocket=socket\npid_file=pid\nskip_name_resolve=ON\n\
             character_set_server=utf8mb4\nmax_connections=300\nmax_allowed_packet=256M\n\
             innodb_buffer_pool_size=32M\ninnodb_flush_log_at_trx_commit=2\nsync_binlog=0\n\
             innodb_use_native_aio=OFF\n\
             log_bin=binlog\nrelay_log=relay\nlog_bin_trust_function_creators=ON\nlog_output=FILE\ngeneral_log=ON\n{own}"
        )
    }

    /// Makes the server a replica that follows whoever listens on `port`.
    pub(super) fn follow(self, port: u16, user: &str, password: &str) -> String {
        match self {
            Self::MariaDb => format!(
                "CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT={port}, MASTER_USER='{user}', \
                 MASTER_PASSWORD='{password}', MASTER_CONNECT_RETRY=1, MASTER_USE_GTID=slave_pos"
            ),
            Self::MySql => format!(
                "CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT={port}, \
                 SOURCE_USER='{user}', SOURCE_PASSWORD='{password}', SOURCE_CONNECT_RETRY=1, \
                 SOURCE_RETRY_COUNT=86400, SOURCE_AUTO_POSITION=1, GET_SOURCE_PUBLIC_KEY=1"
            ),
        }
    }

    /// `SLAVE` or `REPLICA`.
    pub(super) fn replica(self) -> &'static str {
        match self {
            Self::MariaDb => "SLAVE",
            Self::MySql => "REPLICA",
        }
    }

    /// Asks a primary how far it has come.
    pub(super) fn position(self) -> &'static str {
        match self {
            Self::MariaDb => "SELECT @@global.gtid_binlog_pos",
            Self::MySql => "SELECT REPLACE(@@global.gtid_executed, '\\n', '')",
        }
    }

    /// Whether a replica has come as far as a primary's position.
    pub(super) fn has_reached(self, replica: &mut Session, position: &str) -> bool {
        match self {
            // Has no function that compares: the last number of each domain tells.
            Self::MariaDb => {
                let own = replica.value("SELECT @@global.gtid_slave_pos");
                gtids(position).all(|(domain, wanted)| {
                    gtids(&own).any(|(other, number)| other == domain && number >= wanted)
                })
            }
            Self::MySql => {
                let ask = format!("SELECT GTID_SUBSET('{position}', @@global.gtid_executed)");
                replica.value(&ask) == "1"
            }
        }
    }
}

/// The domains of a MariaDB position, each with its last number.
fn gtids(position: &str) -> impl Iterator<Item = (&str, u64)> {
    fn gtid(text: &str) -> Option<(&str, u64)> {
        let (domain, rest) = text.trim().split_once('-')?;
        Some((domain, rest.rsplit('-').next()?.parse().ok()?))
    }
    position.split(',').filter_map(gtid)
}

/// Where MySQL is unpacked, in a place that the account of the databases can reach.
fn mysql_root() -> PathBuf {
    let unpacked = paths::target().join("mysql/root");
    let unpacked =
        fs::canonicalize(&unpacked).unwrap_or_else(|_| panic!("no {}: {FETCH}", unpacked.display()));
    let open = |dir: &Path| fs::metadata(dir).is_ok_and(|meta| meta.mode() & 0o001 != 0);
    if paths::account().is_none() || unpacked.ancestors().all(open) {
        return unpacked;
    }
    let copy = paths::shared_dir("mysql").join("root");
    if !copy.exists() {
        let draft = paths::shared_dir("mysql").join(format!("draft-{}", std::process::id()));
        let out = Command::new("cp").arg("-a").arg(&unpacked).arg(&draft).output().expect("cp runs");
        assert!(out.status.success(), "cp: {}", String::from_utf8_lossy(&out.stderr));
        // Two processes may copy at once: whoever comes second finds it done.
        fs::rename(&draft, &copy).or_else(|_| fs::remove_dir_all(&draft)).expect("our own directory");
    }
    copy
}
