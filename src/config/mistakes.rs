//! What is wrong with a configuration: all of it, in the order of the file.
//!
//! It never shows the value of a secret: whoever reports a mistake sees to that.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::fingerprint::Fingerprint;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    /// Line in the file, from 1; 0 where the file as a whole is meant.
    pub line: usize,
    /// Column in that line, in characters, from 1; 0 likewise.
    pub column: usize,
    /// The path of the key, such as `clusters.main.max_lag`; empty where no key is concerned.
    pub key: String,
    /// What is wrong and, where it is known, what to do.
    pub text: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.key.is_empty() { f.write_str(&self.text) } else { write!(f, "{}: {}", self.key, self.text) }
    }
}

/// Everything that is wrong with one file; printed, a line for each.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Mistakes {
    /// The file as the operator named it.
    pub file: String,
    /// At least one, sorted by line.
    pub list: Vec<Mistake>,
    /// The other files that it names: a change of one of them may mend it.
    pub files: BTreeMap<PathBuf, Fingerprint>,
}

impl Mistakes {
    /// One mistake that concerns the file as a whole.
    pub(super) fn whole(file: &Path, text: String) -> Self {
        let mistake = Mistake { line: 0, column: 0, key: String::new(), text };
        Self { file: file.display().to_string(), list: vec![mistake], files: BTreeMap::new() }
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.list.iter().enumerate() {
            let end = if index == 0 { "" } else { "\n" };
            match mistake.line {
                0 => write!(f, "{end}{}: {mistake}", self.file)?,
                line => write!(f, "{end}{}:{line}: {mistake}", self.file)?,
            }
        }
        Ok(())
    }
}

/// Of `known`, the word that somebody who wrote `written` most likely meant.
pub(super) fn meant<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = 1 + written.len() / 4;
    known
        .into_iter()
        .map(|word| (strsim::damerau_levenshtein(written, word), word))
        .filter(|(distance, word)| *distance <= allowed && *distance < word.len())
        .min()
        .map(|(_, word)| word)
}
