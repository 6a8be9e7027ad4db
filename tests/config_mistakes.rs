//! Every mistake of a configuration is reported, all at once, at its line.
//!
//! Each file in `config_mistakes/` is wrong, and ends with the mistakes that must be found in it,
//! no more and no fewer, as `#! line:column key: text`. A new case is a new file; run the
//! test with `SHOW_MISTAKES=1` to see what is found in each.

use std::path::{Path, PathBuf};

use splitpool::config::{Mistakes, load_str};

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config_mistakes")
}

fn cases() -> Vec<(String, String)> {
    let files = std::fs::read_dir(directory()).expect("the directory of cases");
    let mut cases: Vec<_> = files
        .map(|file| file.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .map(|path| {
            let text = std::fs::read_to_string(&path).expect("a case");
            (path.file_name().expect("a name").to_string_lossy().into_owned(), text)
        })
        .collect();
    cases.sort();
    cases
}

fn mistakes(text: &str) -> Option<Mistakes> {
    let env = |name: &str| (name == "DB_HOST").then(|| "db.internal".to_owned());
    load_str(text, &directory(), &env).err()
}

fn found(text: &str) -> Vec<String> {
    let list = mistakes(text).map_or(Vec::new(), |mistakes| mistakes.list);
    let dir = format!("{}/", directory().display());
    list.iter()
        .map(|mistake| format!("{}:{} {mistake}", mistake.line, mistake.column).replace(&dir, ""))
        .collect()
}

#[test]
fn every_case_has_exactly_its_mistakes() {
    let cases = cases();
    assert!(cases.len() >= 30, "only {} cases", cases.len());
    let mut wrong = Vec::new();
    for (name, text) in cases {
        let expected: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("#! ")).collect();
        let found = found(&text);
        if std::env::var_os("SHOW_MISTAKES").is_some() {
            println!("{name}\n  {}", found.join("\n  "));
        }
        if expected.is_empty() || found != expected {
            wrong.push(format!(
                "{name}\n  found\n    {}\n  expected\n    {}",
                found.join("\n    "),
                expected.join("\n    ")
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn mistakes_print_as_file_line_key_and_text() {
    let text = "[listen]\npostgres = \"127.0.0.1:6432\"\nbacklog = 0\nauht = \"md5\"\n";
    let printed = mistakes(text).expect("mistakes").to_string();
    let lines: Vec<_> = printed.lines().collect();
    assert_eq!(lines[3], "config.toml:3: listen.backlog: must be from 1 to 65535");
    assert_eq!(lines[4], "config.toml:4: listen.auht: unknown key, did you mean auth?");
}

/// The files hold the words `s3cret` and `123456` in the place of passwords.
#[test]
fn no_mistake_shows_a_secret() {
    for (name, text) in cases() {
        if let Some(mistakes) = mistakes(&text) {
            let shown = format!("{mistakes} {mistakes:?}");
            assert!(!shown.contains("s3cret") && !shown.contains("123456"), "{name}: {shown}");
        }
    }
}

/// Cuts and garbles every case: whatever the text, there is an answer and no panic.
#[test]
fn no_text_makes_the_reader_panic() {
    for (_, text) in cases() {
        let whole: Vec<char> = text.chars().collect();
        for cut in (0..whole.len()).step_by(7) {
            let head: String = whole[..cut].iter().collect();
            let garbled: String =
                whole.iter().enumerate().map(|(at, c)| if at == cut { 'é' } else { *c }).collect();
            for text in [head, garbled] {
                let lines = 1 + text.matches('\n').count();
                for mistake in mistakes(&text).map_or(Vec::new(), |mistakes| mistakes.list) {
                    assert!((1..=lines).contains(&mistake.line), "{mistake:?} in {text}");
                }
            }
        }
    }
}
