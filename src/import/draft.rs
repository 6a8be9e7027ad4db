//! A configuration that is being put together, and what is to be said of it.
//!
//! What our own check refuses is taken out again and told of, so that what is printed is valid.

use crate::config::{self, Mistakes};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

/// Rounds of taking out what is refused; each takes out something or is the last.
const ROUNDS_MAX: usize = 64;

/// Keys with their TOML values, each with where it comes from.
type Keys = BTreeMap<&'static str, (String, String)>;

/// See the file's head.
#[derive(Default)]
pub(super) struct Draft {
    /// By the table's header, in the order in which they came.
    tables: Vec<(String, Keys)>,
    notes: Vec<String>,
}

impl Draft {
    /// Sets a key to a string, a number or a flag, `value` as TOML writes it.
    pub fn set(&mut self, table: &str, key: &'static str, value: String, origin: &str) {
        let at = match self.tables.iter().position(|(name, _)| name == table) {
            Some(at) => at,
            None => {
                self.tables.push((table.to_owned(), BTreeMap::new()));
                self.tables.len() - 1
            }
        };
        if let Some((_, keys)) = self.tables.get_mut(at) {
            keys.insert(key, (value, origin.to_owned()));
        }
    }

    /// Says something of what was read.
    pub fn note(&mut self, text: String) {
        if !self.notes.contains(&text) {
            self.notes.push(text);
        }
    }

    fn text(&self) -> String {
        let mut out = String::new();
        for (name, keys) in &self.tables {
            let _ = writeln!(out, "\n{name}");
            for (key, (value, _)) in keys {
                let _ = writeln!(out, "{key} = {value}");
            }
        }
        out
    }

    /// The file, its notes as comments on top. Relative paths start at `dir`.
    ///
    /// # Errors
    /// What is wrong with it that taking keys out does not mend.
    pub fn finish(mut self, dir: &Path) -> Result<String, String> {
        for _ in 0..ROUNDS_MAX {
            match config::load_str(&self.text(), dir, &|_| None) {
                Ok(_) => return Ok(self.print()),
                Err(mistakes) => {
                    if !self.take_out(&mistakes) {
                        return Err(mistakes.to_string());
                    }
                }
            }
        }
        Err("too much of it is wrong".to_owned())
    }

    /// Takes out each key that is refused; false if there was none to take out.
    fn take_out(&mut self, mistakes: &Mistakes) -> bool {
        let mut told = Vec::new();
        for mistake in &mistakes.list {
            let lines = self.text();
            let line = lines.lines().nth(mistake.line.saturating_sub(1)).unwrap_or_default();
            let mut table =
                lines.lines().take(mistake.line).filter(|line| line.starts_with('[')).collect::<Vec<_>>();
            let (Some(table), Some((key, _))) = (table.pop(), line.split_once(" = ")) else { continue };
            told.push((table.to_owned(), key.to_owned(), mistake.text.clone()));
        }
        let mut is_less = false;
        for (table, key, text) in told {
            let keys = self.tables.iter_mut().find(|(name, _)| *name == table).map(|(_, keys)| keys);
            if let Some((_, origin)) = keys.and_then(|keys| keys.remove(key.as_str())) {
                self.note(format!("{origin}: left out, {text}"));
                is_less = true;
            }
        }
        is_less
    }

    fn print(&self) -> String {
        let mut out = "# Made from a configuration of PgBouncer.\n".to_owned();
        if !self.notes.is_empty() {
            out.push_str("# What does not carry over, or wants a look:\n");
        }
        for note in &self.notes {
            let _ = writeln!(out, "# - {}", note.replace('\n', " "));
        }
        out + &self.text()
    }
}
