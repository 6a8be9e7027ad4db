//! One table of the file: answers what it is asked, and keeps the mistakes.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::{Asked, Document, UNKNOWN, quoted};
use crate::config::mistakes::meant;
use crate::config::snapshot::{Fingerprint, MASK, Origin, Provenance, Secret};
use crate::config::values::{Scalar, Value, expand};

/// One table of a document; an empty one where the file has none.
pub(in crate::config) struct Table<'d> {
    document: &'d Document<'d>,
    path: String,
    at: usize,
    entries: Option<&'d DeTable<'d>>,
    asked: Vec<&'static str>,
}

impl<'d> Table<'d> {
    pub(super) fn root(document: &'d Document<'d>, entries: &'d DeTable<'d>) -> Self {
        Self { document, path: String::new(), at: 0, entries: Some(entries), asked: Vec::new() }
    }

    /// The value of `key`, if it is there and right.
    pub fn get<V: Value>(&mut self, key: &'static str) -> Option<V> {
        self.ask(key, Asked { kind: V::kind(), ..Asked::default() });
        let value = self.read(key, V::parse);
        self.note(key, value.as_ref().map(Value::show), None);
        value
    }

    /// As `get`, where the value must also lie within `bounds`.
    pub fn get_in<V: Value + PartialOrd>(
        &mut self,
        key: &'static str,
        bounds: RangeInclusive<V>,
    ) -> Option<V> {
        self.ask(key, Asked { kind: V::kind(), bounds: Some(from_to(&bounds)), ..Asked::default() });
        let value = self.read(key, |scalar| within(scalar, &bounds));
        self.note(key, value.as_ref().map(Value::show), None);
        value
    }

    /// As `get`; `default` where the key is not there.
    pub fn or<V: Value>(&mut self, key: &'static str, default: V) -> V {
        self.ask(key, Asked { kind: V::kind(), default: Some(default.show()), ..Asked::default() });
        let usual = default.show();
        let value = self.read(key, V::parse).unwrap_or(default);
        self.note(key, Some(value.show()), Some(usual));
        value
    }

    /// As `or`, where the value must also lie within `bounds`.
    pub fn or_in<V: Value + PartialOrd>(
        &mut self,
        key: &'static str,
        default: V,
        bounds: RangeInclusive<V>,
    ) -> V {
        let (bounds_text, default_text) = (Some(from_to(&bounds)), Some(default.show()));
        self.ask(
            key,
            Asked { kind: V::kind(), bounds: bounds_text, default: default_text, is_needed: false },
        );
        let usual = default.show();
        let value = self.read(key, |scalar| within(scalar, &bounds)).unwrap_or(default);
        self.note(key, Some(value.show()), Some(usual));
        value
    }

    /// As `or_in` for a duration that `"0"` switches off.
    pub fn or_off(
        &mut self,
        key: &'static str,
        default: Duration,
        bounds: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        let (bounds_text, default_text) =
            (format!("{}, or 0 for off", from_to(&bounds)), Some(default.show()));
        let kind = Duration::kind();
        self.ask(key, Asked { kind, bounds: Some(bounds_text), default: default_text, is_needed: false });
        let value = self.read(key, |scalar| match Duration::parse(scalar) {
            Ok(Duration::ZERO) => Ok(Duration::ZERO),
            _ => within(scalar, &bounds).map_err(|text| format!("{text}, or \"0\" for off")),
        });
        let value = value.unwrap_or(default);
        self.note(key, Some(value.show()), Some(default.show()));
        Some(value).filter(|value| !value.is_zero())
    }

    /// As `get`; that the key is not there is a mistake.
    pub fn need<V: Value>(&mut self, key: &'static str) -> Option<V> {
        if !self.has(key) {
            self.lacks(key, "is missing");
        }
        let value = self.get(key);
        self.ask(key, Asked { kind: V::kind(), is_needed: true, ..Asked::default() });
        value
    }

    /// A secret: in place under `key`, or the contents of the file that `key_file` names.
    pub fn secret(&mut self, key: &'static str, key_file: &'static str) -> Option<Secret> {
        self.ask(key, Asked { kind: "secret".to_owned(), ..Asked::default() });
        let direct = self.read(key, |scalar| match scalar {
            Scalar::Text(text) if text.contains('\0') => Err("must not hold a NUL character".into()),
            Scalar::Text(text) => Ok(Secret::new(text.clone())),
            _ => Err("expected a string".into()),
        });
        self.note(key, direct.as_ref().map(|_| MASK.to_owned()), None);
        let path = self.file(key_file);
        self.mark_secret([key, key_file]);
        if self.has(key) && self.has(key_file) {
            self.wrong(key_file, &format!("give {key} or {key_file}, not both"));
        }
        let Some(path) = path else { return direct };
        match read_secret(&path) {
            Ok(secret) => Some(secret),
            Err(text) => {
                self.wrong(key_file, &text);
                None
            }
        }
    }

    /// The path of a file that exists.
    pub fn file(&mut self, key: &'static str) -> Option<PathBuf> {
        let dir = self.document.dir;
        let name = self.get::<String>(key);
        self.ask(key, Asked { kind: "path of a file".to_owned(), ..Asked::default() });
        let path = dir.join(name?);
        let print = Fingerprint::of(&path);
        let known = *print.as_ref().unwrap_or(&Fingerprint::default());
        self.document.found.borrow_mut().files.insert(path.clone(), known);
        match print {
            Ok(_) => Some(path),
            Err(error) => {
                self.wrong(key, &format!("cannot read {}: {error}", path.display()));
                None
            }
        }
    }

    /// The table `key`; an empty one if there is none.
    pub fn table(&mut self, key: &'static str) -> Self {
        let at = self.position(key);
        let entries = match self.find(key).map(Spanned::get_ref) {
            None => None,
            Some(DeValue::Table(entries)) => Some(entries),
            Some(other) => {
                self.wrong(key, &format!("expected a table, found {}", a(other)));
                None
            }
        };
        self.below(key, at, entries)
    }

    /// The tables of `[key.NAME]`, in the order of the file.
    pub fn named(&mut self, key: &'static str) -> Vec<(String, Self)> {
        let table = self.table(key);
        let mut entries: Vec<_> = table.entries.into_iter().flatten().collect();
        entries.sort_by_key(|(name, _)| name.span().start);
        let mut named = Vec::new();
        for (name, value) in entries {
            let at = name.span().start;
            match value.get_ref() {
                DeValue::Table(entries) => {
                    named.push((name.get_ref().to_string(), table.below(name.get_ref(), at, Some(entries))));
                }
                other => {
                    let path = table.path_of(name.get_ref());
                    self.document.mistake(at, path, format!("expected a table, found {}", a(other)));
                }
            }
        }
        named
    }

    /// The tables of `[[key]]`; `None` if the file has none or something else there.
    pub fn tables(&mut self, key: &'static str) -> Option<Vec<Self>> {
        let items = match self.find(key)?.get_ref() {
            DeValue::Array(items) => items,
            other => {
                self.wrong(key, &format!("expected [[{}]], found {}", self.path_of(key), a(other)));
                return None;
            }
        };
        let mut tables = Vec::new();
        for (index, item) in items.iter().enumerate() {
            match item.get_ref() {
                DeValue::Table(entries) => {
                    let path = format!("{}[{index}]", self.path_of(key));
                    let at = item.span().start;
                    tables.push(Self { path, ..self.below(key, at, Some(entries)) });
                }
                other => self.wrong(key, &format!("expected a table as item {index}, found {}", a(other))),
            }
        }
        Some(tables)
    }

    /// Whether the file has `key`, right or wrong.
    pub fn has(&self, key: &str) -> bool {
        self.entry(key).is_some()
    }

    /// Whether the file has no `[key.NAME]`, nor anything else there.
    pub fn is_empty(&self, key: &str) -> bool {
        self.entry(key)
            .is_none_or(|(_, value)| matches!(value.get_ref(), DeValue::Table(entries) if entries.is_empty()))
    }

    /// Reports what is wrong with this table as a whole.
    pub fn refuse(&self, text: &str) {
        self.document.mistake(self.at, self.path.clone(), text.to_owned());
    }

    /// Reports what is wrong with the value of `key`.
    pub fn wrong(&self, key: &str, text: &str) {
        let at = self.entry(key).map_or(self.at, |(_, value)| value.span().start);
        self.document.mistake(at, self.path_of(key), text.to_owned());
    }

    /// Reports that something is not there, or does not fit what stands elsewhere. Not said of a
    /// text that is not TOML: it may only have been misread.
    pub fn lacks(&self, key: &str, text: &str) {
        if self.document.is_toml() {
            self.wrong(key, text);
        }
    }

    /// Reports each key that nobody asked for. Call it last.
    pub fn close(self) {
        for name in self.entries.into_iter().flat_map(DeTable::keys) {
            let written: &str = name.get_ref();
            if !self.asked.contains(&written) {
                let text = match meant(written, self.asked.iter().copied()) {
                    Some(word) => format!("unknown key, did you mean {word}?"),
                    None => UNKNOWN.to_owned(),
                };
                self.document.mistake(name.span().start, self.path_of(written), text);
            }
        }
    }

    fn entry(&self, key: &str) -> Option<(&'d Spanned<DeString<'d>>, &'d Spanned<DeValue<'d>>)> {
        self.entries?.iter().find(|(name, _)| name.get_ref() == key)
    }

    fn find(&mut self, key: &'static str) -> Option<&'d Spanned<DeValue<'d>>> {
        self.asked.push(key);
        self.entry(key).map(|(_, value)| value)
    }

    fn position(&self, key: &str) -> usize {
        self.entry(key).map_or(self.at, |(name, _)| name.span().start)
    }

    fn below(&self, key: &str, at: usize, entries: Option<&'d DeTable<'d>>) -> Self {
        Table { document: self.document, path: self.path_of(key), at, entries, asked: Vec::new() }
    }

    fn path_of(&self, key: &str) -> String {
        format!("{}{}", prefix(&self.path), quoted(key))
    }

    fn note(&self, key: &str, shown: Option<String>, usual: Option<String>) {
        let none = || "none".to_owned();
        let path = self.path_of(key);
        let origin = match self.entry(key) {
            _ if self.document.overrides.contains_key(&path) => Origin::Console,
            Some(_) => Origin::File,
            None => Origin::Default,
        };
        let source = Provenance { origin, usual: usual.unwrap_or_else(none), is_hidden: false };
        let mut found = self.document.found.borrow_mut();
        found.sources.insert(path.clone(), source);
        found.settings.insert(path, shown.unwrap_or_else(none));
    }

    /// After `note`, which knows nothing of it.
    fn mark_secret(&self, keys: [&str; 2]) {
        let mut found = self.document.found.borrow_mut();
        for key in keys {
            if let Some(source) = found.sources.get_mut(&self.path_of(key)) {
                source.is_hidden = true;
            }
        }
    }

    fn ask(&self, key: &str, asked: Asked) {
        self.document.found.borrow_mut().keys.insert(self.path_of(key), asked);
    }

    fn read<V>(&mut self, key: &'static str, parse: impl FnOnce(&Scalar) -> Result<V, String>) -> Option<V> {
        let value = self.find(key);
        let given = self.document.overrides.get(&self.path_of(key));
        let read = match (given, value) {
            (Some(text), _) => Ok(Scalar::Text(text.clone())),
            (None, Some(value)) => scalar(value.get_ref(), self.document.env),
            (None, None) => return None,
        };
        match read.and_then(|scalar| parse(&scalar)) {
            Ok(value) => Some(value),
            Err(text) => {
                self.wrong(key, &text);
                None
            }
        }
    }
}

fn scalar(value: &DeValue<'_>, env: &dyn Fn(&str) -> Option<String>) -> Result<Scalar, String> {
    match value {
        DeValue::String(text) => Ok(Scalar::Text(expand(text, env)?)),
        DeValue::Boolean(flag) => Ok(Scalar::Flag(*flag)),
        DeValue::Integer(digits) => i64::from_str_radix(digits.as_str(), digits.radix())
            .map(Scalar::Integer)
            .map_err(|_| "the number is too large".to_owned()),
        other => Err(format!("expected a single value, found {}", a(other))),
    }
}

fn within<V: Value + PartialOrd>(scalar: &Scalar, bounds: &RangeInclusive<V>) -> Result<V, String> {
    match V::parse(scalar) {
        Ok(value) if bounds.contains(&value) => Ok(value),
        Ok(_) => Err(format!("must be {}", from_to(bounds))),
        Err(text) => Err(format!("{text}, {}", from_to(bounds))),
    }
}

fn from_to<V: Value>(bounds: &RangeInclusive<V>) -> String {
    format!("from {} to {}", bounds.start().show(), bounds.end().show())
}

/// The contents without the line end that editors add.
fn read_secret(path: &Path) -> Result<Secret, String> {
    let cannot = |error| format!("cannot read {}: {error}", path.display());
    let contents = Secret::new(std::fs::read_to_string(path).map_err(cannot)?);
    let text = contents.expose().trim_end_matches(['\r', '\n']);
    if text.is_empty() || text.contains(['\0', '\n']) {
        return Err(format!("{} must hold one line and no NUL character", path.display()));
    }
    Ok(Secret::new(text.to_owned()))
}

fn prefix(path: &str) -> String {
    if path.is_empty() { String::new() } else { format!("{path}.") }
}

fn a(value: &DeValue<'_>) -> String {
    let kind = value.type_str();
    let article = if kind.starts_with(['a', 'i']) { "an" } else { "a" };
    format!("{article} {kind}")
}
