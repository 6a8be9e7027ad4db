//! What is known of one endpoint.

use crate::endpoint::Endpoint;
use crate::health::{Duty, Health, Why};
use crate::lag::Position;
use crate::ledger::{Applied, Place};
use crate::settings::RoleSetting;
use crate::topology::{Candidate, Role, Seen};
use std::sync::Arc;
use std::time::Instant;

/// One line of the board.
#[derive(Debug)]
pub(crate) struct Entry {
    pub endpoint: Arc<Endpoint>,
    pub setting: RoleSetting,
    pub weight: u32,
    /// What an operator wants of it.
    pub duty: Duty,
    pub health: Health,
    pub role: Role,
    /// The last role that was not `Unknown`.
    pub(super) known_as: Role,
    pub reported: bool,
    pub(super) seen: Option<Seen>,
    pub replayed: Option<Position>,
    pub covered_at: Option<Instant>,
    pub probed_at: Option<Instant>,
    pub(super) steady_since: Option<Instant>,
    /// Where it wrote, when it was sampled without being the primary.
    pub(super) written: Option<(Place, Instant)>,
    /// The set that it has replayed, if its database counts in sets.
    pub applied: Applied,
    /// When its last sample had come.
    pub(super) sampled_at: Option<Instant>,
    /// It was a replica since it last reigned.
    pub(super) followed: bool,
    /// What its own clock says of its lag, in seconds.
    pub seconds_behind: Option<u64>,
    pub error: Option<String>,
}

impl Entry {
    pub fn new(endpoint: Arc<Endpoint>, setting: RoleSetting, weight: u32) -> Self {
        Self {
            endpoint,
            setting,
            weight,
            duty: Duty::default(),
            health: Health::default(),
            role: Role::Unknown,
            known_as: Role::Unknown,
            reported: false,
            seen: None,
            replayed: None,
            covered_at: None,
            probed_at: None,
            steady_since: None,
            written: None,
            applied: Applied::default(),
            sampled_at: None,
            followed: false,
            seconds_behind: None,
            error: None,
        }
    }

    pub(super) fn candidate(&self) -> Candidate {
        Candidate { id: self.endpoint.id, setting: self.setting, reported: self.reported, seen: self.seen }
    }

    pub fn timeline(&self) -> Option<u32> {
        self.seen.and_then(|seen| seen.timeline)
    }

    pub fn why_not(&self) -> Option<Why> {
        match self.role {
            Role::Unknown | Role::Replica if self.duty != Duty::Ready => self.duty.why_not(),
            Role::Unknown => self.health.why_not().or(Some(Why::Unreachable)),
            Role::Primary => Some(Why::Primary),
            Role::Rival => Some(Why::Rival),
            Role::Stranger => Some(Why::Stranger),
            Role::Misplaced => Some(Why::WrongRole),
            Role::Replica if self.weight == 0 => Some(Why::NoWeight),
            Role::Replica => self.health.why_not(),
        }
    }
}
