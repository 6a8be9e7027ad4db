//! The configuration: one TOML file, read into one immutable [`Snapshot`].
//!
//! `file` says what the TOML holds and where, `values` what a text means, `check` builds
//! the snapshot or finds every mistake, `live` swaps snapshots, `watch` notices changes.
//! Nothing here opens a socket or decides what to do with a setting.

mod changes;
mod check;
mod choice;
mod file;
mod fingerprint;
mod live;
mod mistakes;
mod reference;
mod snapshot;
mod values;
mod watch;

use std::collections::BTreeMap;
use std::path::Path;

pub use choice::Choice;
pub use live::{Live, Outcome, ReloadReport, needs_restart};
pub use mistakes::{Mistake, Mistakes};
pub use reference::reference;
pub use snapshot::*;
pub use watch::watch;

/// Reads and checks the file at `path`, with the variables of this process.
///
/// # Errors
/// Everything that is wrong with it, at once.
pub fn load(path: &Path) -> Result<Snapshot, Mistakes> {
    load_over(path, &BTreeMap::new())
}

/// As [`load`], with values in place of the file's, by key.
fn load_over(path: &Path, overrides: &BTreeMap<String, String>) -> Result<Snapshot, Mistakes> {
    let cannot = |error| Mistakes::whole(path, format!("cannot read: {error}"));
    let text = std::fs::read_to_string(path).map_err(cannot)?;
    let dir = path.parent().unwrap_or(Path::new(""));
    let env = |name: &str| std::env::var(name).ok();
    load_text(&text, dir, &env, overrides)
        .map_err(|mistakes| Mistakes { file: path.display().to_string(), ..mistakes })
}

/// Where the configuration at `path` serves HTTP, read past every mistake: whoever asks how a
/// process is must not depend on what its file has become meanwhile.
///
/// # Errors
/// Why the file cannot be read.
pub fn http_address(path: &Path) -> std::io::Result<Option<Address>> {
    let text = std::fs::read_to_string(path)?;
    let env = |name: &str| std::env::var(name).ok();
    let overrides = BTreeMap::new();
    let document = file::Document::parse(&text, Path::new(""), &env, &overrides);
    Ok(document.root().table("listen").get("http"))
}

/// As [`load`] for a text that is no file: relative paths in it start at `dir`, variables come
/// from `env`, and mistakes call it `config.toml`.
///
/// # Errors
/// Everything that is wrong with it, at once.
pub fn load_str(text: &str, dir: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Snapshot, Mistakes> {
    load_text(text, dir, env, &BTreeMap::new())
}

fn load_text(
    text: &str,
    dir: &Path,
    env: &dyn Fn(&str) -> Option<String>,
    overrides: &BTreeMap<String, String>,
) -> Result<Snapshot, Mistakes> {
    let document = file::Document::parse(text, dir, env, overrides);
    let snapshot = check::snapshot(&document);
    let found = document.finish();
    if !found.mistakes.is_empty() {
        return Err(Mistakes { file: "config.toml".to_owned(), list: found.mistakes, files: found.files });
    }
    let hash = hash(&found.settings);
    let sources = Provenances(found.sources);
    Ok(Snapshot { hash, settings: found.settings, sources, files: found.files, ..snapshot })
}

/// FNV-1a over the settings, in which secrets are masked: equal wherever they are.
fn hash<'a>(settings: impl IntoIterator<Item = (&'a String, &'a String)>) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for (key, value) in settings {
        for byte in key.bytes().chain([b'=']).chain(value.bytes()).chain([b'\n']) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    hash
}
