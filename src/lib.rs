//! Splitpool: a read/write-splitting, connection-pooling proxy.
//!
//! A client connects (`listener`), proves who it is (`session::login`) and becomes a session
//! (`session`), which asks the router where each request goes, leases a backend from the
//! pool, and relays. `service` puts the configuration (`config`) to work and swaps it;
//! `catalog` keeps what the router must know of functions; `http`, `metrics` and `exposition` tell
//! operators, `console` also listens to them, and `site` is what they know of a wing; `traces` tells a collector;
//! `discovery` finds endpoints; `supervisor` and `healthcheck` speak with what starts and watches the process;
//! `sockets` opens what clients come to; `wing` binds what serves one database; `program` starts and stops it all.

pub mod catalog;
mod clock;
pub mod config;
pub mod console;
pub mod dashboard;
pub mod digests;
mod discovery;
pub mod explain;
pub mod exposition;
pub mod healthcheck;
pub mod http;
pub mod hub;
pub mod import;
pub mod listener;
pub mod log;
pub mod manners;
pub mod metrics;
pub mod peers;
pub mod places;
pub mod program;
pub mod random;
pub mod service;
pub mod session;
pub mod site;
pub mod sockets;
pub mod statement_log;
pub mod supervisor;
pub mod traces;
pub mod violations;
pub mod web;
pub mod wing;
