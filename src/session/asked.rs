//! What a session's settings ask of routing: read once when they change, not with every request.

use pool::Consistency;
use protocol::Settings;

/// See the file's head.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    /// `splitpool.consistency`, in place of the service's.
    pub(super) consistency: Option<Consistency>,
    /// Transactions are serializable by default, which no replica offers.
    pub(super) serializable: bool,
}

impl From<&Settings> for Asked {
    fn from(settings: &Settings) -> Self {
        let consistency = match settings.value("splitpool.consistency") {
            Some("eventual") => Some(Consistency::Eventual),
            Some("bounded") => Some(Consistency::Bounded),
            Some("session") => Some(Consistency::Session),
            Some("strong") => Some(Consistency::Strong),
            _ => None,
        };
        let serializable = settings.value("default_transaction_isolation") == Some("serializable");
        Self { consistency, serializable }
    }
}
