//! What a session's settings ask of routing: read once when they change, not with every request.

use pool::Consistency;
use protocol::{Protocol, Settings};
use std::time::{Duration, Instant};

/// A replica that has refused a session's settings is asked again after this long: each time costs a connection.
const SHUN: Duration = Duration::from_secs(1);

/// See the file's head.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    /// `splitpool.consistency`, in place of the service's.
    pub(super) consistency: Option<Consistency>,
    /// Even a plain read opens a transaction, or is of a kind that no replica offers.
    pub(super) strict: bool,
    /// A replica has refused the settings: until then reads run on the primary.
    shuns_until: Option<Instant>,
}

impl Asked {
    pub(super) fn by<P: Protocol>(settings: &Settings) -> Self {
        let consistency = settings.value("splitpool.consistency").and_then(consistency);
        Self { consistency, strict: P::reads_strictly(settings), shuns_until: None }
    }

    /// A replica does not know what is set, a role that was made a moment ago perhaps.
    pub(super) fn refused(&mut self, now: Instant) {
        self.shuns_until = Some(now + SHUN);
    }

    /// Whether reads run on the primary for that.
    pub(super) fn shuns_replicas(&self, now: Instant) -> bool {
        self.shuns_until.is_some_and(|until| now < until)
    }
}

/// What a word asks for, in whatever case. Nobody knows how fresh reads must be under one that is none of these: as
/// fresh as can be.
fn consistency(word: &str) -> Option<Consistency> {
    let known = [
        ("eventual", Consistency::Eventual),
        ("bounded", Consistency::Bounded),
        ("session", Consistency::Session),
        ("token", Consistency::Token),
    ];
    let named = known.into_iter().find(|(name, _)| word.trim().eq_ignore_ascii_case(name));
    let other = (!word.is_empty()).then_some(Consistency::Strong);
    named.map(|(_, consistency)| consistency).or(other)
}
