//! Why a lease was not given, and what the client is told.
//!
//! A full pool, a missing primary and a refused sign-in are three different things, and the
//! client's sentence says which. It names no host.

use crate::topology::NoPrimary;
use protocol::Fault;
use protocol::fault::Cause;
use protocol::handshake::DialError;
use std::time::Duration;

/// Why a lease was not given.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LeaseError {
    /// All backends of the identity stayed in use.
    #[error("no backend came free within {waited:?}: {in_use} of {size} are in use")]
    Full {
        /// How long this waited.
        waited: Duration,
        /// Backends at most.
        size: u32,
        /// Backends in use.
        in_use: u32,
    },
    /// There was no primary until the deadline.
    #[error("no primary: {0}")]
    NoPrimary(NoPrimary),
    /// The endpoint could not be signed in to until the deadline.
    #[error("the {0} could not be reached in time")]
    Unreachable(&'static str),
    /// No replica qualifies, and reads may not fall back.
    #[error("no replica qualifies and reads may not fall back")]
    NoReplica,
    /// The database refused the sign-in.
    #[error("{0}")]
    Login(DialError),
    /// Splitpool is shutting down.
    #[error("shutting down")]
    Shutdown,
}

impl LeaseError {
    /// What the client is told. The session goes on, except at a shutdown.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Full { waited, size, in_use } => {
                let text = format!(
                    "no backend connection came free within {} ms: {in_use} of {size} are in use",
                    waited.as_millis()
                );
                Fault::error(Cause::TooManyConnections, text)
                    .hint("pool_size bounds them; the database itself is up")
            }
            Self::NoPrimary(why) => {
                Fault::error(Cause::NoBackend, format!("no primary to send this to: {why}"))
            }
            Self::Unreachable(which) => {
                Fault::error(Cause::NoBackend, format!("the {which} could not be connected to in time"))
            }
            Self::NoReplica => Fault::error(
                Cause::NoBackend,
                "no replica is fresh enough, and reads may not fall back to the primary",
            ),
            Self::Login(DialError::Refused { code, message, .. }) => {
                let text = format!("the database refused Splitpool's connection: {message}");
                Fault::error(Cause::NoBackend, text).code(code.clone())
            }
            Self::Login(DialError::Insufficient(what)) => {
                Fault::error(Cause::NoBackend, format!("the database cannot be signed in to: {what}"))
            }
            Self::Login(DialError::Nonsense(what)) => {
                Fault::error(Cause::BackendNonsense, format!("the database broke its protocol: {what}"))
            }
            Self::Shutdown => Fault::fatal(Cause::Shutdown, "Splitpool is shutting down"),
        }
    }
}
