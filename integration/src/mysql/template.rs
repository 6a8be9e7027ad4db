//! Data directories made once for each make and copied for every server: making one takes seconds.
//!
//! The template never wrote a binary log and holds no server's name, so a copy of it is a server of its own
//! with an empty history: a primary, or a replica that begins where its primary does.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::make::Make;
use super::server::Server;
use super::session::Session;
use crate::{PASSWORD, paths};

/// Who there is. `app` and `other` own the database `app`; `probe` may look at replication and nothing else;
/// `plain` may nothing at all.
const USERS: &str = "
    CREATE DATABASE app;
    CREATE USER admin@'%' IDENTIFIED BY 'secret';
    GRANT ALL ON *.* TO admin@'%' WITH GRANT OPTION;
    CREATE USER app@'%' IDENTIFIED BY 'secret';
    CREATE USER other@'%' IDENTIFIED BY 'secret';
    CREATE USER plain@'%' IDENTIFIED BY 'secret';
    CREATE USER replicator@'%' IDENTIFIED BY 'secret';
    CREATE USER probe@'%' IDENTIFIED BY 'secret';
    GRANT REPLICATION SLAVE ON *.* TO replicator@'%';
    GRANT ALL ON app.* TO app@'%';
    GRANT ALL ON app.* TO other@'%'";

/// What differs in who there is: other ways to sign in, rights by other names.
fn own_users(make: Make) -> &'static str {
    match make {
        Make::MariaDb => {
            "
            INSTALL SONAME 'auth_ed25519';
            CREATE USER ed@'%' IDENTIFIED VIA ed25519 USING PASSWORD('secret');
            GRANT ALL ON app.* TO ed@'%';
            GRANT SLAVE MONITOR ON *.* TO probe@'%'"
        }
        Make::MySql => {
            "
            CREATE USER sha@'%' IDENTIFIED WITH sha256_password BY 'secret';
            GRANT ALL ON app.* TO sha@'%';
            GRANT REPLICATION CLIENT ON *.* TO probe@'%'"
        }
    }
}

/// The template's data directory, made now if it was not there.
fn data(make: Make) -> PathBuf {
    // Whatever it is made of is part of its name: a change here never meets an older template.
    let seed = [USERS, own_users(make), &make.settings()].concat();
    let hash = seed.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let base = paths::shared_dir("templates");
    let done = base.join(format!("{}-{}-{hash:016x}", make.name(), make.version()));
    let lock = File::create(base.join(format!("lock-{}", make.name()))).expect("our own directory");
    lock.lock().expect("files can be locked here");
    if !done.exists() {
        build(make, &base, &done);
    }
    done
}

fn build(make: Make, base: &Path, done: &Path) {
    let draft = base.join(format!("draft-{}", make.name()));
    let data = draft.join("data");
    fs::remove_dir_all(&draft).ok();
    fs::create_dir(&draft).expect("our own directory");
    if make == Make::MariaDb {
        fs::create_dir(&data).expect("our own directory");
    }
    paths::hand_over(&draft);
    let mut command = match make {
        Make::MariaDb => {
            let mut command = make.program("mariadb-install-db");
            let user = if paths::account().is_some() { "postgres" } else { "" };
            command.args(["--no-defaults", "--skip-test-db", "--auth-root-authentication-method=normal"]);
            command.args(["--skip-name-resolve", "--innodb-log-file-size=8M"]);
            if !user.is_empty() {
                command.arg(format!("--user={user}"));
            }
            command
        }
        Make::MySql => {
            let mut command = make.server_program();
            let usr = make.settings();
            let own = ["basedir", "plugin_dir", "lc_messages_dir", "character_sets_dir"];
            command.arg("--no-defaults");
            command.args(
                usr.lines()
                    .filter(|line| own.iter().any(|name| line.starts_with(name)))
                    .map(|line| format!("--{line}")),
            );
            command.args(["--initialize-insecure", "--innodb-redo-log-capacity=16M"]);
            command
        }
    };
    command.arg(format!("--datadir={}", data.display())).arg(format!("--tmpdir={}", draft.display()));
    command.current_dir(&draft).stdin(Stdio::null());
    if let Some((user, group)) = paths::account() {
        command.uid(user).gid(group);
    }
    let out = command.output().expect("the program that makes a data directory runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));

    let server = Server::over(make, "template", data.clone(), paths::free_port());
    server.configure("skip_log_bin", "1");
    server.spawn();
    // The first account is for the Unix socket alone.
    let sign_in = || {
        let socket = data.join("socket").display().to_string();
        Session::with(mysql_async::OptsBuilder::default().socket(Some(socket)).user(Some("root")))
    };
    server.await_sign_in(|| sign_in().is_ok());
    let mut root = sign_in().expect("root has no password yet");
    for statement in USERS.split(';').chain(own_users(make).split(';')) {
        root.query(statement.trim()).ok();
    }
    root.query(&format!("ALTER USER root@localhost IDENTIFIED BY '{PASSWORD}'")).ok();
    drop(root);
    server.stop();
    drop(server);
    // A server that finds no name of its own gives itself one.
    fs::remove_file(data.join("auto.cnf")).ok();
    fs::rename(&data, done).expect("our own directory");
    fs::remove_dir_all(&draft).ok();
}

/// Copies the template to a new data directory.
pub(super) fn copy(make: Make, to: &Path) {
    // Most of it is zeros, which need not be written.
    let mut copy = Command::new("cp");
    let out = copy.args(["-a", "--sparse=always"]).arg(data(make)).arg(to).output().expect("cp runs");
    assert!(out.status.success(), "cp: {}", String::from_utf8_lossy(&out.stderr));
}
