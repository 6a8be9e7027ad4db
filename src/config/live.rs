//! The configuration in force, and its replacement.
//!
//! A reload is atomic: a file with a mistake changes nothing, a good one is swapped in whole,
//! and whoever holds the old snapshot keeps it. What a reload may not change keeps its old
//! value, with a warning. It reads files, so it does not belong on a path that is hot; it
//! starts nothing and closes nothing: others compare snapshots and act.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use arc_swap::{ArcSwap, Guard};

use super::changes::changes;
use super::{Fingerprint, Mistakes, Snapshot, hash, load, load_over};

/// Keys that keep their value until a restart.
const FIXED: [&str; 9] = [
    "listen.postgres",
    "listen.unix",
    "listen.mysql",
    "listen.http",
    "listen.backlog",
    "listen.reuse_port",
    "general.worker_threads",
    "general.peer_address",
    "general.watch_config",
];

/// Whether another value of this key needs a restart.
pub fn needs_restart(key: &str) -> bool {
    FIXED.contains(&key)
}

/// The configuration in force.
pub struct Live {
    path: PathBuf,
    current: ArcSwap<Snapshot>,
    /// What the last attempt to load read; also keeps two reloads apart.
    read: Mutex<Read>,
}

#[derive(Default)]
struct Read {
    files: Files,
    /// Values in place of the file's, until the process ends.
    overrides: BTreeMap<String, String>,
    /// The last attempts, the newest last.
    outcomes: VecDeque<Outcome>,
}

/// Attempts to load that are remembered.
const OUTCOMES_MAX: usize = 20;

/// How an attempt to load ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The generation in force afterwards.
    pub generation: u64,
    /// The hash of the settings in force afterwards.
    pub hash: u64,
    /// When it was.
    pub at: SystemTime,
    /// Whether it was put in force.
    pub applied: bool,
    /// What is different now, or what was wrong.
    pub detail: String,
}

pub(super) type Files = BTreeMap<PathBuf, Fingerprint>;

/// What a reload did. The lines name keys and values, never a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReloadReport {
    /// The generation now in force.
    pub generation: u64,
    /// A line for each thing that is different now; empty if nothing is.
    pub changed: Vec<String>,
    /// A line for each key whose new value needs a restart.
    pub kept: Vec<String>,
}

impl Live {
    /// Loads the file at `path` as generation 1.
    ///
    /// # Errors
    /// Everything that is wrong with it, at once.
    pub fn load(path: &Path) -> Result<Self, Mistakes> {
        let own = fingerprint(path);
        let snapshot = load(path)?;
        let read = snapshot.files.clone().into_iter().chain([own]).collect();
        let first = Snapshot { generation: 1, ..snapshot };
        let outcome = Outcome {
            generation: 1,
            hash: first.hash,
            at: SystemTime::now(),
            applied: true,
            detail: "started".to_owned(),
        };
        let read = Read { files: read, outcomes: [outcome].into(), ..Read::default() };
        let current = ArcSwap::from_pointee(first);
        Ok(Self { path: path.to_owned(), current, read: Mutex::new(read) })
    }

    /// The snapshot in force, to keep.
    pub fn current(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// The snapshot in force, for a look. Cheaper than `current`, not to be held while waiting.
    pub fn peek(&self) -> Guard<Arc<Snapshot>> {
        self.current.load()
    }

    /// The file that this configuration comes from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the file again and puts it in force.
    ///
    /// # Errors
    /// Everything that is wrong with it; then nothing has changed.
    pub fn reload(&self) -> Result<ReloadReport, Mistakes> {
        self.reload_if(|_| Ok(())).map(|(report, ())| report)
    }

    /// As [`Live::reload`], where `accept` has the last word on the checked snapshot, for what no
    /// check of the text can tell: whether a key fits its certificate. What it made is handed back.
    /// It runs between the check and the swap, and must not reload itself.
    ///
    /// # Errors
    /// Everything that is wrong with the file, or why it was not accepted; then nothing has changed.
    pub fn reload_if<T>(
        &self,
        accept: impl FnOnce(&Arc<Snapshot>) -> Result<T, String>,
    ) -> Result<(ReloadReport, T), Mistakes> {
        let mut read = self.read();
        let overrides = read.overrides.clone();
        self.load_into(&mut read, overrides, accept)
    }

    /// As [`Live::reload_if`], with another value in place of the file's for one key, until the
    /// process ends; `None` gives the file's back.
    ///
    /// # Errors
    /// As there, or if the key is not known, is secret, or needs a restart.
    pub fn set_if<T>(
        &self,
        key: &str,
        value: Option<&str>,
        accept: impl FnOnce(&Arc<Snapshot>) -> Result<T, String>,
    ) -> Result<(ReloadReport, T), Mistakes> {
        let mut read = self.read();
        let refused = |why: &str| Mistakes::whole(&self.path, format!("{key}: {why}"));
        let current = self.current();
        match current.sources.0.get(key) {
            None => return Err(refused("no such key")),
            Some(source) if source.is_hidden => {
                return Err(refused("a secret is not set here, where it would be shown to others"));
            }
            Some(_) if needs_restart(key) => {
                return Err(refused("needs a restart"));
            }
            Some(_) => {}
        }
        let mut overrides = read.overrides.clone();
        match value {
            Some(value) => drop(overrides.insert(key.to_owned(), value.to_owned())),
            None => drop(overrides.remove(key)),
        }
        self.load_into(&mut read, overrides, accept)
    }

    /// The last attempts to load, the newest last.
    pub fn outcomes(&self) -> Vec<Outcome> {
        self.read().outcomes.iter().cloned().collect()
    }

    fn load_into<T>(
        &self,
        read: &mut Read,
        overrides: BTreeMap<String, String>,
        accept: impl FnOnce(&Arc<Snapshot>) -> Result<T, String>,
    ) -> Result<(ReloadReport, T), Mistakes> {
        let outcome = self.try_load(read, overrides, accept);
        let (applied, detail) = match &outcome {
            Ok((report, _)) => (true, report.changed.join("; ")),
            Err(mistakes) => (false, mistakes.to_string()),
        };
        let current = self.peek();
        if read.outcomes.len() >= OUTCOMES_MAX {
            read.outcomes.pop_front();
        }
        read.outcomes.push_back(Outcome {
            generation: current.generation,
            hash: current.hash,
            at: SystemTime::now(),
            applied,
            detail,
        });
        outcome
    }

    fn try_load<T>(
        &self,
        read: &mut Read,
        overrides: BTreeMap<String, String>,
        accept: impl FnOnce(&Arc<Snapshot>) -> Result<T, String>,
    ) -> Result<(ReloadReport, T), Mistakes> {
        let own = fingerprint(&self.path);
        let loaded = load_over(&self.path, &overrides);
        let files = match &loaded {
            Ok(snapshot) => &snapshot.files,
            Err(mistakes) => &mistakes.files,
        };
        read.files = files.clone().into_iter().chain([own]).collect();
        let mut next = loaded?;
        let old = self.current();
        let kept = keep_fixed(&old, &mut next);
        next.generation = old.generation;
        let changed = changes(&old, &next);
        if next != *old {
            next.generation += 1;
        }
        let report = ReloadReport { generation: next.generation, changed, kept };
        let next = Arc::new(next);
        let made = accept(&next).map_err(|text| Mistakes::whole(&self.path, text))?;
        // What was set for a section that is gone is not kept for one of the same name.
        read.overrides = overrides.into_iter().filter(|(key, _)| next.settings.contains_key(key)).collect();
        // Where values come from may be news although they are the same.
        self.current.store(next);
        Ok((report, made))
    }

    /// What the file, and those that it names, hold now, if the last attempt to load read
    /// something else.
    pub(super) fn news(&self) -> Option<Files> {
        let read = self.read().files.clone();
        let now: Files = read.keys().map(|path| fingerprint(path)).collect();
        Some(now).filter(|now| *now != read)
    }

    /// The file and those that it names.
    pub fn files(&self) -> Vec<PathBuf> {
        self.read().files.keys().cloned().collect()
    }

    /// A panic elsewhere leaves what it holds whole: each part is replaced in one assignment.
    fn read(&self) -> MutexGuard<'_, Read> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn fingerprint(path: &Path) -> (PathBuf, Fingerprint) {
    (path.to_owned(), Fingerprint::of(path).unwrap_or_default())
}

/// Puts back what needs a restart, and says so.
fn keep_fixed(old: &Snapshot, next: &mut Snapshot) -> Vec<String> {
    let mut kept = Vec::new();
    for key in FIXED {
        let (Some(was), Some(wanted)) = (old.settings.get(key), next.settings.get_mut(key)) else { continue };
        if was != wanted {
            kept.push(format!("{key}: {wanted} needs a restart, {was} stays"));
            wanted.clone_from(was);
        }
    }
    next.listen.postgres.clone_from(&old.listen.postgres);
    next.listen.unix.clone_from(&old.listen.unix);
    next.listen.mysql.clone_from(&old.listen.mysql);
    next.listen.http.clone_from(&old.listen.http);
    next.listen.backlog = old.listen.backlog;
    next.listen.reuse_port = old.listen.reuse_port;
    next.general.peer_address.clone_from(&old.general.peer_address);
    next.general.worker_threads = old.general.worker_threads;
    next.general.watch_config = old.general.watch_config;
    next.hash = hash(&next.settings);
    kept
}

#[cfg(test)]
mod tests;
