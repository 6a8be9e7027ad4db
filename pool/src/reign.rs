//! Timelines for databases that have none: which of those that take writes may be the primary.
//!
//! PostgreSQL counts promotions itself. Here they are counted as they are seen: an endpoint
//! that followed another and takes writes now was promoted, one that was away and comes back
//! taking writes was not. Pure.

use crate::endpoint::EndpointId;
use crate::topology::Past;

/// What is known of an endpoint that takes writes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Writer {
    pub id: EndpointId,
    /// It was seen to be a replica since it last was the primary, or ever.
    pub followed: bool,
    /// It has all that the last primary was seen to have.
    pub holds_all: bool,
}

/// The timeline that `writer` counts as being on. `reigning` says that the last primary still
/// takes writes; `known` that the configuration still has it.
pub(crate) fn timeline(writer: Writer, past: Past, reigning: bool, known: bool) -> u32 {
    let Some((last, timeline)) = past.primary else { return 1 };
    let next = timeline.saturating_add(1);
    if last == writer.id {
        return if writer.followed { next } else { timeline };
    }
    match (reigning, writer.followed) {
        // Two that take writes, and nothing says which is right.
        (true, true) => timeline,
        (true, false) => 0,
        (false, true) => next,
        (false, false) if writer.holds_all || !known => next,
        (false, false) => 0,
    }
}

#[cfg(test)]
mod tests;
