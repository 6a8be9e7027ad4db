//! The proxy's configuration file, as a value that a test changes and writes.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use crate::cluster::Cluster;
use crate::{PASSWORD, mysql, paths};

/// One server of the cluster, as the proxy is told of it.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// `host:port`.
    pub address: String,
    /// `primary`, `replica` or `auto`.
    pub role: &'static str,
    /// Weight in balancing.
    pub weight: u32,
}

impl Endpoint {
    /// An endpoint whose role the proxy finds out.
    pub fn auto(address: String) -> Self {
        Self { address, role: "auto", weight: 1 }
    }
}

/// A configuration with one cluster, `main`, that serves the database `app`.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where clients of either database connect.
    pub port: u16,
    /// Where they connect instead, if it is a Unix socket.
    pub socket: Option<PathBuf>,
    /// Metrics and probes.
    pub http: u16,
    /// Keys of `[clusters.main]`, as TOML values.
    pub cluster: BTreeMap<&'static str, String>,
    /// Its endpoints.
    pub endpoints: Vec<Endpoint>,
    /// Role and password of those who may sign in.
    pub users: Vec<(String, String)>,
    /// Roles that may use the console.
    pub admins: Vec<String>,
    /// Further lines of `[listen]`, as they are.
    pub listen: String,
    /// Appended as it is.
    pub extra: String,
}

impl Config {
    /// Free ports, and the servers of a cluster.
    pub fn of(cluster: &Cluster) -> Self {
        Self::over(cluster.servers().map(|server| Endpoint::auto(server.address())).collect())
    }

    /// Free ports, and the servers of a cluster of MariaDB or MySQL.
    pub fn of_mysql(cluster: &mysql::Cluster) -> Self {
        let endpoints = cluster.servers().map(|server| Endpoint::auto(server.address())).collect();
        Self { admins: Vec::new(), ..Self::over(endpoints) }
            .text("engine", "mysql")
            .text("probe_user", "probe")
            .text("probe_password", PASSWORD)
    }

    /// Free ports, and these endpoints.
    pub fn over(endpoints: Vec<Endpoint>) -> Self {
        let users = ["app", "other"].map(|name| (name.to_owned(), PASSWORD.to_owned()));
        let config = Self {
            port: paths::free_port(),
            socket: None,
            http: paths::free_port(),
            cluster: BTreeMap::new(),
            endpoints,
            users: users.to_vec(),
            admins: vec!["app".to_owned()],
            listen: String::new(),
            extra: String::new(),
        };
        // A busy machine answers no probe for seconds, and has lags of as long: whoever tests these bounds sets them.
        let config =
            config.text("probe_timeout", "10s").text("connect_timeout", "20s").text("max_lag", "60s");
        config.text("engine", "postgres").text("probe_interval", "100ms").raw("pool_size", "20")
    }

    /// Sets a key of the cluster to a string: `.text("max_lag", "1s")`.
    pub fn text(self, key: &'static str, value: &str) -> Self {
        self.raw(key, &format!("{value:?}"))
    }

    /// Sets a key of the cluster to a TOML value: `.raw("pool_size", "5")`.
    pub fn raw(mut self, key: &'static str, value: &str) -> Self {
        self.cluster.insert(key, value.to_owned());
        self
    }
}

impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "[listen]")?;
        let is_mysql = self.cluster.get("engine").is_some_and(|engine| engine.contains("mysql"));
        let listen = if is_mysql { "mysql" } else { "postgres" };
        match &self.socket {
            Some(path) => writeln!(f, "{listen} = \"unix:{}\"", path.display())?,
            None => writeln!(f, "{listen} = \"127.0.0.1:{}\"", self.port)?,
        }
        writeln!(f, "http = \"127.0.0.1:{}\"", self.http)?;
        f.write_str(&self.listen)?;
        writeln!(f, "\n[clusters.main]")?;
        for (key, value) in &self.cluster {
            writeln!(f, "{key} = {value}")?;
        }
        for Endpoint { address, role, weight } in &self.endpoints {
            writeln!(f, "[[clusters.main.endpoints]]")?;
            writeln!(f, "address = \"{address}\"\nrole = \"{role}\"\nweight = {weight}")?;
        }
        if !is_mysql {
            writeln!(f, "\n[databases.app]\ncluster = \"main\"\ndbname = \"app\"")?;
        }
        for (name, password) in &self.users {
            writeln!(f, "\n[users.{name}]\npassword = \"{password}\"")?;
            if self.admins.contains(name) {
                writeln!(f, "admin = true")?;
            }
        }
        write!(f, "{}", self.extra)
    }
}
