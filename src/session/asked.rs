//! What a session's settings ask of routing: read once when they change, not with every request.

use pool::Consistency;
use protocol::{Protocol, Settings};

/// See the file's head.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    /// `splitpool.consistency`, in place of the service's.
    pub(super) consistency: Option<Consistency>,
    /// Even a plain read opens a transaction, or is of a kind that no replica offers.
    pub(super) strict: bool,
}

impl Asked {
    pub(super) fn by<P: Protocol>(settings: &Settings) -> Self {
        let consistency = match settings.value("splitpool.consistency") {
            Some("eventual") => Some(Consistency::Eventual),
            Some("bounded") => Some(Consistency::Bounded),
            Some("session") => Some(Consistency::Session),
            Some("token") => Some(Consistency::Token),
            Some("strong") => Some(Consistency::Strong),
            _ => None,
        };
        Self { consistency, strict: P::reads_strictly(settings) }
    }
}
