//! Pools and leases over loopback sockets, against a database that only signs clients in.
//!
//! The probes of these clusters are played by the test: it reports what it likes.

mod admin;
mod draws;
mod fake;
mod lanes;
mod leases;
mod tls;
mod tokens;
