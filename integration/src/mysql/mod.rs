//! Clusters of MariaDB and MySQL: the same handles as PostgreSQL's, over other programs.
//!
//! * [`Make`]: which of the two, and where its programs are;
//! * [`Server`]: one of them, from its data directory to its last process;
//! * [`Cluster`]: a primary and its replicas by GTID, every statement in the general log;
//! * [`Session`]: a blocking client, for whoever administers or asks;
//! * [`wire::Wire`]: a client that sees every packet.

mod cluster;
mod make;
mod server;
mod session;
mod template;
pub mod wire;

pub use cluster::{Cluster, Mark, Options};
pub use make::Make;
pub use server::Server;
pub use session::{Reply, Session};
