//! A data directory made once and copied for every cluster: initdb takes seconds, a copy does not.
//!
//! The template is stopped cleanly, so a copy of it is a primary, and a copy with a `standby.signal` is a
//! replica of that primary: both stand at the same position of the same log.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::server::Server;
use crate::{PASSWORD, paths};

/// The roles of every cluster. `old` signs in with md5, `open` without a password, and `plain` with one in clear.
const ROLES: &str = "
    CREATE ROLE app LOGIN PASSWORD 'secret';
    CREATE ROLE other LOGIN PASSWORD 'secret';
    CREATE ROLE replicator LOGIN REPLICATION PASSWORD 'secret';
    CREATE ROLE open LOGIN;
    CREATE ROLE plain LOGIN PASSWORD 'secret';
    SET password_encryption = 'md5';
    CREATE ROLE old LOGIN PASSWORD 'secret'";

/// What every cluster's database `app` holds.
const EXTENSIONS: &str =
    "CREATE EXTENSION pg_stat_statements; GRANT ALL ON SCHEMA public TO app, other, old, open, plain";

const ACCESS: &str = "\
host all old 127.0.0.1/32 md5
host all open 127.0.0.1/32 trust
host all plain 127.0.0.1/32 password
host all all 127.0.0.1/32 scram-sha-256
host replication replicator 127.0.0.1/32 scram-sha-256
";

/// The settings of every server. Speed over durability, and nothing that works behind a test's back.
pub fn settings(port: u16) -> String {
    format!(
        "port = {port}
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
password_encryption = 'scram-sha-256'
shared_preload_libraries = 'pg_stat_statements'
pg_stat_statements.track = 'top'
max_connections = 300
shared_buffers = '32MB'
fsync = off
full_page_writes = off
dynamic_shared_memory_type = 'mmap'
max_prepared_transactions = 10
wal_level = 'replica'
wal_keep_size = '512MB'
max_wal_size = '512MB'
max_wal_senders = 12
wal_sender_timeout = 0
wal_receiver_status_interval = '1s'
wal_retrieve_retry_interval = '200ms'
max_standby_streaming_delay = '5s'
hot_standby = on
autovacuum = off
jit = off
timezone = 'UTC'
log_timezone = 'UTC'
lc_messages = 'C'
log_line_prefix = '%m|%p|%u|%a| '
log_destination = 'stderr'
"
    )
}

/// The template's data directory, made now if it was not there.
pub fn data() -> PathBuf {
    let postgres = paths::postgres_program("postgres");
    let version = Command::new(&postgres).arg("--version").output().expect("postgres runs");
    let version: String = String::from_utf8_lossy(&version.stdout)
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || *c == '.')
        .collect();
    // Whatever it is made of is part of its name: a change here never meets an older template.
    let seed = [ROLES, EXTENSIONS, ACCESS, &settings(0)].concat();
    let hash = seed.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let base = paths::shared_dir("templates");
    let done = base.join(format!("{version}-{hash:016x}"));
    let lock = File::create(base.join("lock")).expect("our own directory");
    lock.lock().expect("files can be locked here");
    if !done.exists() {
        make(&base, &done);
    }
    done
}

fn make(base: &Path, done: &Path) {
    let draft = base.join("draft");
    fs::remove_dir_all(&draft).ok();
    fs::create_dir(&draft).expect("our own directory");
    let password = base.join("password");
    fs::write(&password, PASSWORD).expect("our own directory");
    paths::hand_over(&draft);
    paths::hand_over(&password);
    let mut initdb = Command::new(paths::postgres_program("initdb"));
    initdb
        .arg("-D")
        .arg(&draft)
        .arg("--pwfile")
        .arg(&password)
        .args([
            "-U",
            "postgres",
            "-A",
            "scram-sha-256",
            "-E",
            "UTF8",
            "--locale=C",
            "--no-sync",
            "--no-instructions",
        ])
        .current_dir(base)
        .stdin(Stdio::null());
    if let Some((user, group)) = paths::account() {
        initdb.uid(user).gid(group);
    }
    let out = initdb.output().expect("initdb runs");
    assert!(out.status.success(), "initdb: {}", String::from_utf8_lossy(&out.stderr));

    let port = paths::free_port();
    fs::write(draft.join("postgresql.conf"), settings(port)).expect("our own directory");
    fs::write(draft.join("pg_hba.conf"), ACCESS).expect("our own directory");
    let server = Server::over("template", draft.clone(), port);
    server.start();
    let mut admin = server.admin_of("postgres");
    admin.query(ROLES).ok();
    admin.query("CREATE DATABASE app OWNER app").ok();
    server.sql(EXTENSIONS).ok();
    server.sql("CHECKPOINT").ok();
    server.stop();
    drop(server);
    fs::rename(&draft, done).expect("our own directory");
}

/// Copies the template to a new data directory.
pub fn copy(to: &Path, port: u16) {
    let out = Command::new("cp").arg("-a").arg(data()).arg(to).output().expect("cp runs");
    assert!(out.status.success(), "cp: {}", String::from_utf8_lossy(&out.stderr));
    fs::write(to.join("postgresql.conf"), settings(port)).expect("our own directory");
}
