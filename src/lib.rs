//! Splitpool.

pub mod config;
