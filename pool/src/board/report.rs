//! What goes into the board, and what it says that changed.

use crate::endpoint::EndpointId;
use crate::health::Why;
use crate::ledger::Place;
use crate::topology::{NoPrimary, Role, Seen};
use std::time::Instant;

/// What a probe found.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub seen: Seen,
    /// Where it writes, or what it has replayed.
    pub place: Option<Place>,
    /// What a replica's own clock says; shown, never trusted.
    pub seconds_behind: Option<u64>,
    /// When the question was sent.
    pub started: Instant,
    /// Whether it is the first over its connection: the endpoint may have restarted before.
    pub first: bool,
}

/// How a probe ended.
#[derive(Debug, Clone)]
pub(crate) enum Report {
    Sample(Sample),
    /// No answer in time.
    Silent,
    /// Refused or cut; the text is for the log.
    Failed(String),
}

/// What a report changed, for whoever logs and closes connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    Role {
        endpoint: EndpointId,
        from: Role,
        to: Role,
    },
    /// It no longer answers.
    Down {
        endpoint: EndpointId,
    },
    /// It did not answer before either, and now for another reason.
    StillDown {
        endpoint: EndpointId,
    },
    Reads {
        endpoint: EndpointId,
        why_not: Option<Why>,
    },
    Primary(Result<EndpointId, NoPrimary>),
}
