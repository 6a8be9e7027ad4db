//! A primary and its replicas by GTID.

use std::collections::BTreeMap;
use std::thread;

use super::make::Make;
use super::server::Server;
use super::session::Session;
use super::template;
use crate::PASSWORD;
use crate::paths::{self, Scratch};

/// What a cluster is made with.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many replicas.
    pub replicas: usize,
    /// Further settings of every server.
    pub settings: Vec<(&'static str, String)>,
}

impl Default for Options {
    fn default() -> Self {
        Self { replicas: 2, settings: Vec::new() }
    }
}

/// A primary and its replicas; everything ends and is removed with this value.
#[derive(Debug)]
pub struct Cluster {
    /// The server that takes writes, until a test promotes another.
    pub primary: Server,
    /// Its replicas, in the order they were made. They refuse writes.
    pub replicas: Vec<Server>,
    // Declared last: the directory goes after the servers in it.
    scratch: Scratch,
}

/// A place in each server's log; see [`Cluster::servers_that_ran`].
#[derive(Clone, Debug)]
pub struct Mark(BTreeMap<u16, u64>);

impl Cluster {
    /// A primary with this many replicas.
    pub fn start(make: Make, replicas: usize) -> Self {
        Self::with(make, &Options { replicas, ..Options::default() })
    }

    /// A cluster made to order.
    pub fn with(make: Make, options: &Options) -> Self {
        let scratch = Scratch::new(make.name());
        let primary = new_server(make, &scratch, "primary", options);
        let names = (1..=options.replicas).map(|number| format!("replica{number}"));
        let replicas: Vec<Server> = names.map(|name| new_server(make, &scratch, &name, options)).collect();
        thread::scope(|scope| {
            for server in std::iter::once(&primary).chain(&replicas) {
                scope.spawn(|| server.start());
            }
        });
        for replica in &replicas {
            replica.configure(replica.read_only(), "ON");
            replica.follow(&primary);
        }
        let cluster = Self { primary, replicas, scratch };
        cluster.settle();
        cluster
    }

    /// A further server with an empty history, not started.
    pub fn make_server(&self, name: &str) -> Server {
        new_server(self.primary.make(), &self.scratch, name, &Options::default())
    }

    /// Every server, the primary first.
    pub fn servers(&self) -> impl Iterator<Item = &Server> {
        std::iter::once(&self.primary).chain(&self.replicas)
    }

    /// Waits until every replica has applied what the primary has written by now.
    pub fn settle(&self) {
        let position = self.primary.position();
        for replica in &self.replicas {
            replica.await_position(&position);
        }
    }

    /// Runs statements on the primary as the user `app`, and waits for the replicas.
    #[track_caller]
    pub fn prepare(&self, sql: &str) {
        let mut session =
            Session::login(self.primary.port(), "app", PASSWORD, "app").expect("app may sign in");
        session.query(sql).ok();
        self.settle();
    }

    /// Marks where every log stands.
    pub fn mark(&self) -> Mark {
        Mark(self.servers().map(|server| (server.port(), server.log_mark())).collect())
    }

    /// The names of the servers to which a client has sent this text since the mark, by their general logs.
    /// Needs a text that no other statement has.
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

fn new_server(make: Make, scratch: &Scratch, name: &str, options: &Options) -> Server {
    let data = scratch.path().join(name);
    template::copy(make, &data);
    let server = Server::over(make, name, data, paths::free_port());
    for (setting, value) in &options.settings {
        server.configure(setting, value);
    }
    server
}
