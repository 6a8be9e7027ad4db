//! The configuration reference, written from the code.
//!
//! Keys, kinds, bounds and defaults are those that reading a file asks for; what they mean is
//! told by the comments of `config.example.toml`, which a test holds to the same keys.

use std::collections::BTreeMap;
use std::path::Path;

use super::file::{Asked, Document};
use super::{check, live};

/// The example, and what it only mentions.
const EXAMPLE: &str = include_str!("../../config.example.toml");
const REST: &str = "\n[[clusters.main.rules]]\npattern = \"x\"\nroute = \"primary\"\n";

const HEAD: &str = "# Configuration reference

<!-- Written by `splitpool reference`; a test compares. Change the code or config.example.toml, then run it. -->

One TOML file. Unknown keys are errors, and `splitpool check --config FILE` names every mistake with its line.

- Durations: `\"200ms\"`, `\"5s\"`, `\"1m\"`, `\"1h\"`, `\"1d\"`. Sizes: `\"512B\"`, `\"64KiB\"`, `\"8MiB\"`, `\"1GiB\"`.
- `\"${NAME}\"` and `\"${NAME:-default}\"` in a string take a variable of the environment; `\"$${\"` is a plain `\"${\"`.
  Numbers and booleans may be strings, so that a variable can hold them.
- Relative paths start where the file lies.
- A reload (SIGHUP, `RELOAD` in the console, `POST /reload`, a change of the file) applies everything but the keys marked
  *restart*. A file with a mistake changes nothing.
";

/// The reference, as Markdown.
pub fn reference() -> String {
    let text = format!("{EXAMPLE}{REST}");
    let overrides = BTreeMap::new();
    let document = Document::parse(&text, Path::new(""), &|_| None, &overrides);
    check::snapshot(&document);
    let keys = document.finish().keys;
    let mut out = HEAD.to_owned();
    for section in sections(EXAMPLE) {
        out.push_str(&format!("\n## {}\n", section.title));
        if !section.intro.is_empty() {
            out.push_str(&format!("\n{}\n", section.intro));
        }
        if section.keys.is_empty() {
            continue;
        }
        out.push_str("\n| Key | Takes | Default | |\n| --- | --- | --- | --- |\n");
        for (key, comment) in &section.keys {
            let path = format!("{}{key}", section.prefix);
            out.push_str(&row(key, comment, keys.get(&path), live::needs_restart(&path)));
        }
    }
    out
}

/// One line of a section's table.
fn row(key: &str, comment: &str, asked: Option<&Asked>, is_fixed: bool) -> String {
    let kind = asked.map_or("", |asked| &asked.kind);
    let bounds =
        asked.and_then(|asked| asked.bounds.as_deref()).map_or(String::new(), |text| format!(", {text}"));
    let default = match asked {
        Some(Asked { is_needed: true, .. }) => "*required*".to_owned(),
        Some(Asked { default: Some(default), .. }) => format!("`{default}`"),
        _ => String::new(),
    };
    // What other columns say is not said again.
    let range = asked.and_then(|asked| asked.bounds.as_deref()).and_then(|text| text.strip_prefix("from "));
    let range = range.map_or("", |text| text.split_once(',').map_or(text, |(range, _)| range));
    let bare =
        comment.trim_end_matches("; restart").trim_start_matches("required: ").trim_start_matches("required");
    let meaning = match range {
        "" => bare.to_owned(),
        range => bare.replace(&format!(", {range}"), ""),
    };
    let mark = if is_fixed { " *restart*" } else { "" };
    let cell = |text: String| text.replace('|', "\\|").replace('<', "&lt;");
    format!("| `{key}` | {} | {default} | {}{mark} |\n", cell(format!("{kind}{bounds}")), cell(meaning))
}

/// One table of the example.
#[derive(Default)]
struct Section {
    title: String,
    /// What its keys' paths begin with.
    prefix: String,
    intro: String,
    /// In the example's order, with what it says of each.
    keys: Vec<(String, String)>,
}

fn sections(text: &str) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    let mut intro = String::new();
    for line in text.lines() {
        let content = line.strip_prefix("# ").unwrap_or(line);
        let (code, comment) = match content.split_once(" # ") {
            Some((code, comment)) => (code.trim(), comment.trim()),
            None => (content.trim(), ""),
        };
        if code.starts_with('[') && code.ends_with(']') {
            let title = code.replace(".main", ".NAME").replace(".app", ".NAME");
            let prefix = match code.strip_prefix("[[") {
                Some(list) => format!("{}[0].", list.trim_end_matches(']')),
                None => format!("{}.", code.trim_matches(['[', ']'])),
            };
            let said: Vec<_> = [std::mem::take(&mut intro), comment.to_owned()].into_iter().collect();
            let intro = said.join(" ").trim().to_owned();
            sections.push(Section {
                title: format!("`{title}`"),
                prefix,
                intro: sentence(&intro),
                keys: Vec::new(),
            });
        } else if let Some((key, _)) = code.split_once(" = ").filter(|(key, _)| is_key(key)) {
            if let Some(section) = sections.last_mut() {
                section.keys.push((key.to_owned(), comment.to_owned()));
            }
        } else if let Some(more) = line.trim_start().strip_prefix("# ").filter(|_| line.starts_with(' ')) {
            if let Some((_, comment)) = sections.last_mut().and_then(|section| section.keys.last_mut()) {
                comment.push(' ');
                comment.push_str(more);
            }
        } else if line.is_empty() {
            intro.clear();
        } else if line.starts_with("# ") {
            intro.push_str(content);
            intro.push(' ');
        }
    }
    sections
}

fn is_key(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c == '_')
}

/// With a capital and a full stop.
fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    let Some(first) = chars.next() else { return String::new() };
    let dot = if text.ends_with('.') { "" } else { "." };
    format!("{}{}{dot}", first.to_uppercase(), chars.as_str())
}
