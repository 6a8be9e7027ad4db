//! A primary and its streaming replicas.

use std::collections::BTreeMap;
use std::fs;
use std::thread;

use crate::paths::{self, Scratch};
use crate::server::Server;
use crate::until::{PATIENCE, until};
use crate::wire::{Login, Wire};
use crate::{PASSWORD, template};

/// What a cluster is made with.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many streaming replicas.
    pub replicas: usize,
    /// `log_statement` of every server: `none`, `ddl`, `mod` or `all`.
    pub log_statement: &'static str,
    /// Further settings of every server.
    pub settings: Vec<(&'static str, String)>,
}

impl Default for Options {
    fn default() -> Self {
        Self { replicas: 2, log_statement: "all", settings: Vec::new() }
    }
}

/// A primary and its replicas; everything ends and is removed with this value.
#[derive(Debug)]
pub struct Cluster {
    /// The server that takes writes, until a test promotes another.
    pub primary: Server,
    /// Its replicas, in the order they were made.
    pub replicas: Vec<Server>,
    // Declared last: the directory goes after the servers in it.
    scratch: Scratch,
}

/// A place in each server's log; see [`Cluster::servers_that_ran`].
#[derive(Clone, Debug)]
pub struct Mark(BTreeMap<u16, u64>);

impl Cluster {
    /// A primary with this many replicas, every statement logged.
    pub fn start(replicas: usize) -> Self {
        Self::with(&Options { replicas, ..Options::default() })
    }

    /// A cluster made to order.
    pub fn with(options: &Options) -> Self {
        let scratch = Scratch::new("cluster");
        let primary = make(&scratch, "primary", None, options);
        let replicas: Vec<Server> = (1..=options.replicas)
            .map(|number| make(&scratch, &format!("replica{number}"), Some(primary.port()), options))
            .collect();
        primary.start();
        thread::scope(|scope| {
            for replica in &replicas {
                scope.spawn(|| replica.start());
            }
        });
        let cluster = Self { primary, replicas, scratch };
        cluster.settle();
        cluster
    }

    /// A further replica of the primary, not started.
    pub fn make_replica(&self, name: &str) -> Server {
        make(&self.scratch, name, Some(self.primary.port()), &Options::default())
    }

    /// Every server, the primary first.
    pub fn servers(&self) -> impl Iterator<Item = &Server> {
        std::iter::once(&self.primary).chain(&self.replicas)
    }

    /// Waits until every replica has applied what the primary has written by now.
    pub fn settle(&self) {
        let position = self.primary.value("SELECT pg_current_wal_insert_lsn()");
        for replica in &self.replicas {
            let mut admin = replica.admin();
            let ask = format!("SELECT pg_last_wal_replay_lsn() >= '{position}'");
            until(&format!("{} has applied {position}", replica.name()), PATIENCE, || {
                (admin.value(&ask) == "t").then_some(())
            });
        }
    }

    /// Runs statements on the primary as the role `app`, which then owns what they make.
    pub fn prepare(&self, sql: &str) {
        let login = Login::new(self.primary.port(), "app", PASSWORD, "app");
        Wire::login(&login).expect("the role app may sign in").query(sql).ok();
        self.settle();
    }

    /// Marks where every log stands.
    pub fn mark(&self) -> Mark {
        Mark(self.servers().map(|server| (server.port(), server.log_mark())).collect())
    }

    /// The names of the servers whose logs have this text since the mark: who ran it, by the databases' own
    /// record. Needs `log_statement = all`, and a text that no other statement has.
    pub fn servers_that_ran(&self, text: &str, since: &Mark) -> Vec<&str> {
        self.servers()
            .filter(|server| {
                let mark = since.0.get(&server.port()).copied().unwrap_or(0);
                server.log_since(mark).contains(text)
            })
            .map(Server::name)
            .collect()
    }
}

fn make(scratch: &Scratch, name: &str, primary: Option<u16>, options: &Options) -> Server {
    let data = scratch.path().join(name);
    let port = paths::free_port();
    template::copy(&data, port);
    let server = Server::over(name, data, port);
    server.configure("cluster_name", name);
    server.configure("log_statement", options.log_statement);
    for (setting, value) in &options.settings {
        server.configure(setting, value);
    }
    if let Some(primary) = primary {
        let conninfo = format!(
            "host=127.0.0.1 port={primary} user=replicator password={PASSWORD} application_name={name} sslmode=disable"
        );
        server.configure("primary_conninfo", &conninfo);
        fs::write(server.data().join("standby.signal"), "").expect("our own directory");
        paths::hand_over(&server.data().join("standby.signal"));
    }
    server
}
