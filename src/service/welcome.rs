//! What a client is told when it has signed in: the values that its database reports.
//!
//! They depend on the settings that the client asked for, and only the database knows which
//! of these are valid and how it spells them. So a backend is asked, and the answer is kept
//! for a while: most clients of an application ask for the same.

use parking_lot::Mutex;
use protocol::{Reported, Settings};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Answers kept per user and database.
const KEPT: usize = 64;
/// How long an answer holds: a database may be upgraded or reconfigured.
const FRESH: Duration = Duration::from_secs(30);

/// The database's answer to a client's settings.
#[derive(Debug)]
pub struct Welcome {
    /// The values that it reports.
    pub reported: Reported,
    /// Those that the backend reported which was asked.
    pub heard: Reported,
    /// The settings as it spells them.
    pub settings: Settings,
}

/// The answers that are kept.
#[derive(Debug, Default)]
pub(crate) struct Welcomes(Mutex<Vec<(Instant, Settings, Arc<Welcome>)>>);

impl Welcomes {
    /// The answer to `asked`, and whether it is fresh. A stale one is better than none, while no
    /// backend can be asked.
    pub(crate) fn find(&self, asked: &Settings, now: Instant) -> Option<(Arc<Welcome>, bool)> {
        let kept = self.0.lock();
        let (at, _, welcome) = kept.iter().find(|(_, settings, _)| settings == asked)?;
        Some((Arc::clone(welcome), now.duration_since(*at) < FRESH))
    }

    /// A session with these settings, spelled as the database does, has seen what is reported with them: if another
    /// answer was kept, the database has changed, and no answer holds any longer.
    pub(crate) fn doubt(&self, settings: &Settings, reported: &Reported) {
        let mut kept = self.0.lock();
        let other = |(_, _, welcome): &(Instant, Settings, Arc<Welcome>)| {
            welcome.settings == *settings && welcome.heard != *reported
        };
        if kept.iter().any(other) {
            kept.clear();
        }
    }

    /// Keeps an answer.
    pub(crate) fn keep(&self, asked: Settings, welcome: Arc<Welcome>, now: Instant) {
        let mut kept = self.0.lock();
        kept.retain(|(_, settings, _)| *settings != asked);
        if kept.len() >= KEPT {
            kept.remove(0);
        }
        kept.push((now, asked, welcome));
    }
}
