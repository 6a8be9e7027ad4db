//! What a session asks for, and what it is given.

use crate::endpoint::EndpointId;
use crate::freshness::Freshness;
use crate::lease::Lease;
use crate::settings::Consistency;
use protocol::Protocol;
use std::time::{Duration, Instant};

/// Which kind of endpoint a request needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// The primary: it may write.
    Primary,
    /// A replica: it only reads.
    Replica,
    /// The primary if there is one, else any replica: it touches no data.
    Any,
}

/// What a lease must meet.
#[derive(Debug)]
pub struct Need<'a> {
    /// Which kind of endpoint.
    pub want: Want,
    /// How fresh a replica must be.
    pub consistency: Consistency,
    /// A bound on lag in place of the cluster's.
    pub max_lag: Option<Duration>,
    /// What the session has seen.
    pub freshness: &'a mut Freshness,
    /// A replica that just failed this request.
    pub exclude: Option<EndpointId>,
    /// The present moment, or one just before it: a request needs no second look at the clock.
    pub now: Instant,
    /// When waiting ends.
    pub deadline: Instant,
}

impl<'a> Need<'a> {
    /// Any endpoint that answers, for who has seen nothing yet.
    pub fn of_anybody(freshness: &'a mut Freshness, now: Instant, deadline: Instant) -> Self {
        Self {
            want: Want::Any,
            consistency: Consistency::Eventual,
            max_lag: None,
            freshness,
            exclude: None,
            now,
            deadline,
        }
    }
}

/// Where a request landed, and why not on a replica if it asked for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Landed {
    /// On the primary, as asked for.
    Primary,
    /// On a replica that qualifies.
    Replica,
    /// On the primary: no replica had caught up with the session in time.
    PrimaryForFence,
    /// On the primary: every replica that answers is too far behind.
    PrimaryForLag,
    /// On the primary: no replica answers, or there is none.
    PrimaryForNoReplica,
    /// On a replica that is too far behind, as the configuration allows.
    ReplicaStale,
}

impl Landed {
    /// Whether it is the primary.
    pub fn is_primary(self) -> bool {
        !matches!(self, Self::Replica | Self::ReplicaStale)
    }

    /// One word for metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Replica => "replica",
            Self::PrimaryForFence => "primary_for_fence",
            Self::PrimaryForLag => "primary_for_lag",
            Self::PrimaryForNoReplica => "primary_for_no_replica",
            Self::ReplicaStale => "replica_stale",
        }
    }
}

/// A backend on loan, and how it was chosen.
pub struct Leased<P: Protocol> {
    /// The backend.
    pub lease: Lease<P>,
    /// Where it is and why.
    pub landed: Landed,
}
