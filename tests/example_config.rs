//! `config.example.toml` says what the code does: every key is in it, with its real default.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use splitpool::config::{Snapshot, load, load_str};

/// What the example must say because the code has no default for it.
const MINIMAL: &str = r#"
[listen]
postgres = "127.0.0.1:6432"
mysql = "127.0.0.1:6433"
http = "127.0.0.1:9432"
[clusters.main]
engine = "postgres"
[[clusters.main.endpoints]]
address = "127.0.0.1:5432"
[databases.app]
cluster = "main"
[users.app]
password = "secret"
"#;

/// The contract of DESIGN.md, section 8, as it stands there.
const CONTRACT: &str = r#"
[listen]
postgres = "127.0.0.1:6432"       # omit what is not served
mysql    = "127.0.0.1:6433"
http     = "127.0.0.1:9432"

[clusters.main]
engine       = "postgres"          # or "mysql" (MariaDB too)
consistency  = "session"
max_lag      = "5s"
pool_mode    = "transaction"
pool_size    = 20                  # per endpoint and user
probe_interval = "200ms"
[[clusters.main.endpoints]]
address = "127.0.0.1:5432"
role    = "auto"                   # primary | replica | auto
weight  = 1

[databases.app]                    # what a PostgreSQL client names; "*" = any other name, passed through
cluster = "main"                   # MySQL clients: by user, or the only mysql cluster
dbname  = "app"

[users.app]
password = "secret"                # or password_file, or a SCRAM verifier; what the client must prove
# backend_user / backend_password  # if the proxy logs in to the database as someone else
admin    = false
"#;

fn example() -> (&'static Path, String) {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/config.example.toml"));
    (path, std::fs::read_to_string(path).expect("config.example.toml"))
}

fn read(text: &str) -> Snapshot {
    load_str(text, Path::new("/nowhere"), &|_| None).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

/// One key as the example writes it.
struct Line {
    /// `[clusters.main]`, or `[[clusters.main.endpoints]]` with its brackets.
    section: String,
    key: String,
    written: String,
    is_comment: bool,
}

impl Line {
    /// As in `Snapshot::settings`.
    fn path(&self) -> String {
        match self.section.strip_prefix("[[") {
            Some(list) => format!("{}[0].{}", list.trim_end_matches(']'), self.key),
            None => format!("{}.{}", self.section.trim_matches(['[', ']']), self.key),
        }
    }
}

/// The keys of the example, commented out or not: any line that is `key = value` or `# key = value`.
fn lines(text: &str) -> Vec<Line> {
    let mut section = String::new();
    let mut lines = Vec::new();
    for line in text.lines() {
        let (is_comment, content) = match line.strip_prefix("# ") {
            Some(content) => (true, content),
            None => (false, line),
        };
        if content.starts_with('[') && !content.starts_with("[databases.\"*\"]") {
            section = content.split_inclusive(']').take_while(|part| part.ends_with(']')).collect();
        } else if let Some((key, _)) = content.split_once(" = ")
            && key.chars().all(|c| c.is_ascii_lowercase() || c == '_')
        {
            let (key, written) = (key.to_owned(), content.to_owned());
            lines.push(Line { section: section.clone(), key, written, is_comment });
        }
    }
    lines
}

#[test]
fn the_contract_loads_as_it_is() {
    let contract = read(CONTRACT);
    assert_eq!(contract, read(MINIMAL), "all that it adds are defaults");
    let shown = format!("{contract:?}");
    assert!(!shown.contains("\"secret\"") && shown.contains("***"), "{shown}");
}

#[test]
fn the_example_holds_exactly_the_keys_of_the_code() {
    let (path, text) = example();
    let mut known: BTreeSet<String> =
        load(path).unwrap_or_else(|m| panic!("{m}")).settings.into_keys().collect();
    let rule = format!("{MINIMAL}[[clusters.main.rules]]\npattern = \"x\"\nroute = \"primary\"\n");
    known.extend(read(&rule).settings.into_keys());
    let written: Vec<_> = lines(&text).iter().map(Line::path).collect();
    let once: BTreeSet<_> = written.iter().cloned().collect();
    assert_eq!(once.len(), written.len(), "no key stands there twice");
    assert_eq!(once, known);
}

#[test]
fn what_the_example_says_is_the_default() {
    let (path, text) = example();
    let example = load(path).unwrap_or_else(|m| panic!("{m}"));
    assert_eq!(example, read(MINIMAL));
    // And the other way: what is commented out has no default.
    let none: BTreeMap<_, _> =
        read(MINIMAL).settings.into_iter().filter(|(_, value)| value == "none").collect();
    for line in lines(&text).iter().filter(|line| !line.path().contains(".rules[")) {
        assert_eq!(line.is_comment, none.contains_key(&line.path()), "{}", line.path());
    }
}

#[test]
fn what_is_commented_out_may_be_switched_on() {
    let dir = std::env::temp_dir().join(format!("splitpool-example-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a directory");
    let (_, text) = example();
    for line in lines(&text).iter().filter(|line| line.is_comment && !line.path().contains(".rules[")) {
        let commented = format!("# {}", line.written);
        assert!(text.contains(&commented), "{commented}");
        // Twice the same line may stand in two sections: take the one in this section.
        let start = text.find(&format!("\n{}", line.section)).expect("its section");
        let (before, after) = text.split_at(start);
        let switched = format!("{before}{}", after.replacen(&commented, &line.written, 1));
        if let Some(name) = line.written.split('"').nth(1).filter(|value| !value.contains('/')) {
            std::fs::write(dir.join(name), "contents\n").expect("a file");
        }
        let mistakes = load_str(&switched, &dir, &|_| None).err();
        for mistake in mistakes.map_or(Vec::new(), |mistakes| mistakes.list) {
            let hangs_together = ["not both", "as well", "no effect", "there is no [clusters.orders]"];
            assert!(hangs_together.iter().any(|text| mistake.text.contains(text)), "{mistake}");
        }
    }
    std::fs::remove_dir_all(&dir).expect("it is ours");
}
