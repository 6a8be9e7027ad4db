//! What the TOML says: tables whose keys are asked for one by one.
//!
//! Whoever asks names the key, its kind, its default and its bounds; the table answers with a
//! value that is right, and keeps the mistake otherwise, so that all are found in one pass.
//! What nobody asked for is an unknown key. Each value in force is also noted as text, which
//! is what `SHOW CONFIG`, the report of a reload and the test of the example file read.
//! It knows no key and no meaning.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::DeTable;

use super::mistakes::Mistake;
use super::snapshot::{Fingerprint, Provenance};
pub(super) use table::Table;

mod table;

/// The text of a configuration file, and what was found in it so far.
pub(super) struct Document<'a> {
    text: &'a str,
    root: Spanned<DeTable<'a>>,
    dir: &'a Path,
    env: &'a dyn Fn(&str) -> Option<String>,
    /// Values in place of the file's, by key.
    overrides: &'a BTreeMap<String, String>,
    found: RefCell<Found>,
}

/// What reading a document yields besides the values.
#[derive(Default)]
pub(super) struct Found {
    /// In the order of the file once `finish` returns them.
    pub mistakes: Vec<Mistake>,
    /// Each known key with its value in force.
    pub settings: BTreeMap<String, String>,
    /// Where each comes from.
    pub sources: BTreeMap<String, Provenance>,
    /// The files that the document names.
    pub files: BTreeMap<PathBuf, Fingerprint>,
    /// Each key that was asked for, and what for.
    pub keys: BTreeMap<String, Asked>,
    syntax_lines: BTreeSet<usize>,
}

/// What a key may hold.
#[derive(Default)]
pub(super) struct Asked {
    /// In words.
    pub kind: String,
    /// In words.
    pub bounds: Option<String>,
    /// As the file would spell it, without quotes.
    pub default: Option<String>,
    /// That it is not there is a mistake.
    pub is_needed: bool,
}

impl<'a> Document<'a> {
    /// Parses `text`; relative paths in it start at `dir`.
    pub fn parse(
        text: &'a str,
        dir: &'a Path,
        env: &'a dyn Fn(&str) -> Option<String>,
        overrides: &'a BTreeMap<String, String>,
    ) -> Self {
        let (root, errors) = DeTable::parse_recoverable(text);
        let document = Self { text, root, dir, env, overrides, found: RefCell::default() };
        for error in errors {
            let at = error.span().map_or(0, |span| span.start);
            let line = document.mistake(at, String::new(), syntax(text, &error));
            document.found.borrow_mut().syntax_lines.insert(line);
        }
        document
    }

    /// The table that holds all others.
    pub fn root(&self) -> Table<'_> {
        Table::root(self, self.root.get_ref())
    }

    /// What was found, the mistakes sorted. Where TOML itself was violated, a line may have been
    /// misread, so nothing else is said of such a line.
    pub fn finish(self) -> Found {
        let mut found = self.found.into_inner();
        let broken = std::mem::take(&mut found.syntax_lines);
        let settings = &found.settings;
        for mistake in found.mistakes.iter_mut().filter(|mistake| mistake.text == UNKNOWN) {
            let name = mistake.key.rsplit('.').next().unwrap_or("");
            let elsewhere = settings.keys().find(|key| key.rsplit('.').next() == Some(name));
            if let Some(key) = elsewhere {
                mistake.text = format!("{UNKNOWN}, did you mean {key}?");
            }
        }
        found.mistakes.retain(|mistake| mistake.key.is_empty() || !broken.contains(&mistake.line));
        found.mistakes.sort();
        found.mistakes.dedup();
        found
    }

    fn mistake(&self, at: usize, key: String, text: String) -> usize {
        let before = self.text.get(..at).unwrap_or(self.text);
        let line = 1 + before.matches('\n').count();
        let column = 1 + before.rsplit('\n').next().unwrap_or("").chars().count();
        self.found.borrow_mut().mistakes.push(Mistake { line, column, key, text });
        line
    }

    /// Whether the text is TOML at all; if not, what is missing may only have been misread.
    fn is_toml(&self) -> bool {
        self.found.borrow().syntax_lines.is_empty()
    }
}

/// What is said of a key that nobody asked for, until a better one is found.
const UNKNOWN: &str = "unknown key";

/// What the parser says, and of which key where it leaves that out.
fn syntax(text: &str, error: &toml::de::Error) -> String {
    match (error.message(), error.span().and_then(|span| text.get(span))) {
        ("duplicate key", Some(key)) => format!("duplicate key {key}"),
        (message, _) => message.to_owned(),
    }
}

/// As TOML wants a key written.
pub(super) fn quoted(key: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !key.is_empty() && key.chars().all(bare) { key.to_owned() } else { format!("{key:?}") }
}
