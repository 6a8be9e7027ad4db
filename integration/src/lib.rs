//! Real database clusters on loopback, and everything a test needs around them.
//!
//! * [`Cluster`]: a PostgreSQL primary and its streaming replicas, each a [`Server`] that can be
//!   stopped, killed, frozen, promoted and held back;
//! * [`mysql::Cluster`]: the same of MariaDB or MySQL;
//! * [`Proxy`]: the Splitpool binary with a [`Config`] written for it;
//! * [`Link`]: a relay that delays, cuts, freezes, drips and falsifies what runs through it;
//! * [`load`]: clients that work while something changes under them;
//! * [`Wire`]: a PostgreSQL client that sends exactly the bytes it is told to.
//!
//! Invariant: what was started is ended, those processes by their ids and no others, when its handle is
//! dropped or, at the latest, when the process that started it is gone (see [`keeper`]).
//!
//! Nothing here knows how the proxy works inside: it is judged by its bytes and by the databases' own
//! record of who ran what.

pub mod cluster;
pub mod config;
pub mod console;
mod daemon;
pub mod footprint;
pub mod frame;
pub mod http;
pub mod keeper;
pub mod link;
pub mod load;
pub mod meter;
pub mod mysql;
pub mod paths;
pub mod plan;
pub mod process;
pub mod proxy;
pub mod seeds;
pub mod server;
pub mod stage;
pub mod sysbench;
mod template;
pub mod until;
pub mod wire;

pub use cluster::{Cluster, Options};
pub use config::Config;
pub use link::{Lie, Link, Then, Way};
pub use proxy::Proxy;
pub use server::Server;
pub use stage::{Linked, Stage};
pub use until::{PATIENCE, Raise, holds, until};
pub use wire::{Failure, Login, Reply, Wire};

/// The password of every role the clusters are made with, unless a test changes it.
pub const PASSWORD: &str = "secret";
