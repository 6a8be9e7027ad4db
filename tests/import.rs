//! A configuration of PgBouncer becomes one of Splitpool that Splitpool takes.

use std::fs;
use std::path::{Path, PathBuf};

use splitpool::config::{AuthMethod, Credential, PoolMode, Role, Snapshot, load_str};
use splitpool::import::pgbouncer;

/// A directory of its own, gone with this value.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str, files: &[(&str, &str)]) -> Self {
        let path = std::env::temp_dir().join(format!("splitpool-import-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).expect("a directory");
        for (name, text) in files {
            fs::write(path.join(name), text).expect("a file");
        }
        Self(path)
    }

    /// Our file for the `pgbouncer.ini` here, as text and as Splitpool reads it.
    fn import(&self) -> (String, Snapshot) {
        let text = pgbouncer(&self.0.join("pgbouncer.ini")).unwrap_or_else(|error| panic!("{error}"));
        let read = load_str(&text, Path::new("/nowhere"), &|_| None);
        let snapshot = read.unwrap_or_else(|mistakes| panic!("{mistakes}\n{text}"));
        (text, snapshot)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).expect("it is ours");
    }
}

const FULL: &str = "
;; what a pgbouncer.ini of some years looks like
[databases]
app = host=10.0.0.1 port=5432 dbname=app_prod pool_size=7
reports = host=10.0.0.2 dbname=app_prod connect_query='select 1'
* = host=10.0.0.1 port=5432

[users]
batch = pool_mode=session

[pgbouncer]
listen_addr = *
listen_port = 6543
unix_socket_dir = /run/pgbouncer
auth_type = scram-sha-256
auth_file = userlist.txt
auth_query = SELECT 1
admin_users = root, app
stats_users = monitor
pool_mode = transaction
default_pool_size = 25
min_pool_size = 2
max_client_conn = 500
server_idle_timeout = 90
server_lifetime = 0
query_timeout = 2.5
idle_transaction_timeout = 60
client_login_timeout = 0
max_prepared_statements = 100
server_reset_query = DISCARD ALL
client_tls_sslmode = require
client_tls_cert_file = /no/such.crt
client_tls_key_file = /no/such.key
so_reuseport = 1
no_such_key = 1
";

const USERS: &str = r#""app" "it's ${SECRET} \ ""quoted"""
"monitor" "SCRAM-SHA-256$4096:c2FsdHNhbHQ=$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
"old" "md5aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
"#;

#[test]
fn what_both_know_carries_over_and_the_rest_is_told() {
    let folder = Folder::new("full", &[("pgbouncer.ini", FULL), ("userlist.txt", USERS)]);
    let (text, read) = folder.import();
    let listen = &read.listen;
    assert_eq!(listen.postgres.as_ref().map(ToString::to_string).as_deref(), Some("0.0.0.0:6543"));
    assert_eq!((listen.auth, listen.reuse_port, &listen.tls), (AuthMethod::ScramSha256, true, &None));
    assert_eq!(read.general.max_clients, 500);
    let (one, two) = (&read.clusters["main"], &read.clusters["cluster2"]);
    assert_eq!(one.endpoints[0].address.to_string(), "10.0.0.1:5432");
    assert_eq!(two.endpoints[0].address.to_string(), "10.0.0.2:5432");
    assert_eq!(one.endpoints[0].role, Role::Auto);
    assert_eq!((one.pool_size, one.min_pool_size, one.pool_mode), (25, 2, PoolMode::Transaction));
    assert_eq!(one.server_lifetime, None);
    assert_eq!(one.server_idle_timeout.map(|time| time.as_secs()), Some(90));
    assert_eq!(one.query_timeout.map(|time| time.as_millis()), Some(2500));
    let app = read.database("app").expect("it is there");
    assert_eq!((app.dbname.as_deref(), app.overrides.pool_size), (Some("app_prod"), Some(7)));
    assert_eq!(read.database("reports").expect("it is there").cluster.name, "cluster2");
    assert_eq!(read.database("other").expect("by the wildcard").cluster.name, "main");
    let app = &read.users["app"];
    let Credential::Password(password) = &app.credential else { panic!("{:?}", app.credential) };
    assert_eq!(password.expose(), r#"it's ${SECRET} \ "quoted""#);
    assert!(app.admin && !read.users["monitor"].admin);
    assert!(!read.users.contains_key("old"));
    let comments: Vec<_> = text.lines().filter(|line| line.starts_with("# - ")).collect();
    for told in [
        "no_such_key",
        "auth_query",
        "[users] batch",
        "connect_query",
        "client_tls_sslmode",
        "client_login_timeout",
        "max_prepared_statements",
        "stats_users",
        "users.old",
        "users.monitor",
        "each server is a cluster",
    ] {
        assert!(comments.iter().any(|line| line.contains(told)), "{told} is not told of:\n{text}");
    }
    // What is a secret stands where it belongs and nowhere else.
    assert_eq!(text.matches("quoted").count(), 1, "{text}");
}

#[test]
fn the_least_there_can_be() {
    let ini = "[databases]\n* =\n[pgbouncer]\nauth_file = missing.txt\n";
    let (text, read) = Folder::new("least", &[("pgbouncer.ini", ini)]).import();
    assert_eq!(read.listen.unix.as_deref(), Some(Path::new("/tmp/.s.PGSQL.6432")));
    let endpoint = &read.clusters["main"].endpoints[0];
    assert_eq!(endpoint.address.to_string(), "unix:/var/run/postgresql/.s.PGSQL.5432");
    assert!(text.contains("# - auth_file: ") && text.contains("# - no user was found"), "{text}");
    assert!(text.contains("# - pool_mode was PgBouncer's default"), "{text}");
}

#[test]
fn md5_hashes_need_md5() {
    let ini = "[databases]\nb = host=::1 user=all password='p''w'\n[pgbouncer]\nlisten_addr=127.0.0.1\nauth_file=u\n";
    let users = "\"a b\" \"md5aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"\n";
    let (_, read) = Folder::new("md5", &[("pgbouncer.ini", ini), ("u", users)]).import();
    assert_eq!(read.listen.auth, AuthMethod::Md5);
    assert_eq!(read.clusters["main"].endpoints[0].address.to_string(), "[::1]:5432");
    let user = &read.users["a b"];
    assert_eq!(user.backend_user, "all");
    assert_eq!(user.backend_password.as_ref().map(|secret| secret.expose()), Some("p'w"));
}

#[test]
fn what_is_no_configuration_is_an_error_and_no_panic() {
    for text in
        ["", "[pgbouncer]\nlisten_port = x\n", "[databases]\na = host=a,b\nsplitpool = host=c\n", "=\n[]\n"]
    {
        let folder = Folder::new("none", &[("pgbouncer.ini", text)]);
        if let Ok(made) = pgbouncer(&folder.0.join("pgbouncer.ini")) {
            load_str(&made, Path::new("/nowhere"), &|_| None).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        }
    }
}
