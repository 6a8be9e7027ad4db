//! Notices that the configuration file, or a file that it names, changed.
//!
//! Watches directories, not files: editors rename, and a ConfigMap swaps the symbolic link
//! `..data`, which arrives as a create, a write, a rename or a delete. Events are only hints;
//! the contents decide. It also looks every 30 s, for file systems that tell nothing.
//! It does not reload: the callback does.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use tracing::warn;

use super::Live;

/// Between an event and the look at the files, so that a save of several steps is one change.
const DEBOUNCE: Duration = Duration::from_millis(200);
/// Between two looks without an event.
const POLL: Duration = Duration::from_secs(30);

/// Calls `changed` whenever the files differ from what `live` last tried to load, once for each
/// new state of theirs; it is to see that [`Live::reload`] is called, now or soon.
///
/// Never returns: drop the future to stop.
pub async fn watch(live: Arc<Live>, mut changed: impl FnMut()) {
    // Held here too, so that the channel stays open if there is no watcher.
    let (hint, mut hints) = mpsc::channel(1);
    let mut directories = Directories::new(hint.clone());
    let mut told = None;
    loop {
        // Watched first, so that what changes during the look is a hint for the next one.
        directories.follow(&live.files());
        let looked_at = live.clone();
        let news = spawn_blocking(move || looked_at.news()).await.unwrap_or(None);
        let is_new = news.is_some() && news != told;
        told = news;
        if is_new {
            changed();
        }
        // The new file may name others, so after a change the next look comes soon.
        let wait = if is_new { DEBOUNCE } else { POLL };
        if timeout(wait, hints.recv()).await.is_ok() {
            sleep(DEBOUNCE).await;
            while hints.try_recv().is_ok() {}
        }
    }
}

/// The directories that are watched.
struct Directories {
    /// `None` where the system gives none; looking every 30 s has to do then.
    watcher: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
}

impl Directories {
    fn new(hint: mpsc::Sender<()>) -> Self {
        let on_event = move |event: notify::Result<Event>| {
            if !event.is_ok_and(|event| is_only_a_look(event.kind)) {
                // A full channel holds a hint already.
                let _ = hint.try_send(());
            }
        };
        let watcher = notify::recommended_watcher(on_event)
            .inspect_err(|error| warn!(%error, "cannot watch the configuration, looking every 30 s instead"))
            .ok();
        Self { watcher, watched: BTreeSet::new() }
    }

    /// Watches the directories that matter for `files`, and no others.
    fn follow(&mut self, files: &[PathBuf]) {
        let Some(watcher) = &mut self.watcher else { return };
        let wanted: BTreeSet<_> = files.iter().flat_map(|file| directories_of(file)).collect();
        for gone in self.watched.difference(&wanted) {
            // It may be gone from the disk as well.
            let _ = watcher.unwatch(gone);
        }
        for directory in &wanted {
            // Also those that are watched: a new directory may have come under the old name.
            if let Err(error) = watcher.watch(directory, RecursiveMode::NonRecursive)
                && !self.watched.contains(directory)
            {
                warn!(%error, directory = %directory.display(), "cannot watch, looking every 30 s instead");
            }
        }
        self.watched = wanted;
    }
}

/// Where `file` is named, and where each symbolic link on the way to it leads.
fn directories_of(file: &Path) -> Vec<PathBuf> {
    let parent = |path: &Path| match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => PathBuf::from("."),
        Some(parent) => parent.to_owned(),
        None => path.to_owned(),
    };
    let mut directories = vec![parent(file)];
    let mut path = file.to_owned();
    // As many links as Linux follows.
    for _ in 0..40 {
        let Ok(target) = std::fs::read_link(&path) else { break };
        path = parent(&path).join(target);
        directories.push(parent(&path));
    }
    directories.extend(std::fs::canonicalize(file).iter().map(|file| parent(file)));
    directories.retain(|directory| directory.is_dir());
    directories
}

/// Our own reading makes events too, and must not make us read again.
fn is_only_a_look(kind: EventKind) -> bool {
    matches!(kind, EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write))
}

#[cfg(test)]
mod tests;
