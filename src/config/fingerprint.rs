//! Tells whether the contents of a file changed.
//!
//! By contents, not by time: a ConfigMap swaps symbolic links, and clocks lie. Not printable,
//! since a guess at a short secret could be checked against it.

use std::fmt;
use std::hash::{DefaultHasher, Hasher};
use std::io;
use std::path::Path;

/// Equal for equal contents, within one process. The default is that of an unreadable file.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Fingerprint(Option<u64>);

impl Fingerprint {
    /// Reads the file at `path`, through symbolic links.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn of(path: &Path) -> io::Result<Self> {
        let mut hasher = DefaultHasher::new();
        hasher.write(&std::fs::read(path)?);
        Ok(Self(Some(hasher.finish())))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "readable" } else { "unreadable" })
    }
}
