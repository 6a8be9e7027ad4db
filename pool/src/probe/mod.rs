//! One probe per database: asks an endpoint what it is and how far it has come.
//!
//! A probe signs in with a library of its own, as a role without privileges, and asks one
//! question. It judges nothing.

pub(crate) mod postgres;
