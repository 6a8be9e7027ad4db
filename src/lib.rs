//! Splitpool.
