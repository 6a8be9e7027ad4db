//! Splits what an operator types: into statements, and statements into words.
//!
//! Double quotes and backticks make a name of anything, single quotes a value; comments mean
//! nothing. It does not know any command.

/// One word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Word {
    /// As it was typed, without quotes.
    Bare(String),
    /// What stood in quotes.
    Quoted(String),
    /// `=`, `,` or another single sign.
    Sign(char),
}

impl Word {
    /// Its text.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Bare(text) | Self::Quoted(text) => text.clone(),
            Self::Sign(sign) => sign.to_string(),
        }
    }

    /// Whether it is this word, in any case, without quotes.
    pub(super) fn is(&self, word: &str) -> bool {
        matches!(self, Self::Bare(text) if text.eq_ignore_ascii_case(word))
    }
}

/// One statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Statement<'a> {
    /// Its words.
    pub(super) words: Vec<Word>,
    /// The same as it was typed.
    pub(super) text: &'a str,
}

/// The statements of a text. Empty ones are left out. `None` if a quote is not closed.
pub(super) fn statements(text: &str) -> Option<Vec<Statement<'_>>> {
    let mut all = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (words, behind) = one(rest)?;
        let text = rest.get(..rest.len() - behind.len()).unwrap_or_default().trim_end_matches(';');
        if !words.is_empty() {
            all.push(Statement { words, text });
        }
        rest = behind;
    }
    Some(all)
}

/// The words of the first statement, and what follows its semicolon.
fn one(text: &str) -> Option<(Vec<Word>, &str)> {
    let mut words = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if let Some(comment) = rest.strip_prefix("--") {
            rest = comment.split_once('\n').map_or("", |(_, rest)| rest);
            continue;
        }
        if let Some(comment) = rest.strip_prefix("/*") {
            rest = comment.split_once("*/")?.1;
            continue;
        }
        match first {
            ';' => return Some((words, &rest[1..])),
            '"' | '\'' | '`' => {
                let (text, behind) = quoted(rest, first)?;
                words.push(Word::Quoted(text));
                rest = behind;
            }
            '=' | ',' | '(' | ')' | '*' => {
                words.push(Word::Sign(first));
                rest = &rest[1..];
            }
            space if space.is_whitespace() => rest = rest.trim_start(),
            _ => {
                let ends = |c: char| {
                    c.is_whitespace() || matches!(c, ';' | '"' | '\'' | '`' | '=' | ',' | '(' | ')')
                };
                let (word, behind) = rest.split_at(rest.find(ends).unwrap_or(rest.len()));
                words.push(Word::Bare(word.to_owned()));
                rest = behind;
            }
        }
    }
    Some((words, ""))
}

/// What stands between two quotes, of which a doubled one is one, and what follows.
fn quoted(text: &str, quote: char) -> Option<(String, &str)> {
    let mut inside = String::new();
    let mut rest = text.strip_prefix(quote)?;
    loop {
        let (part, behind) = rest.split_once(quote)?;
        inside.push_str(part);
        match behind.strip_prefix(quote) {
            Some(more) => {
                inside.push(quote);
                rest = more;
            }
            None => return Some((inside, behind)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Option<String> {
        let word = |word: &Word| match word {
            Word::Bare(text) => text.clone(),
            Word::Quoted(text) => format!("<{text}>"),
            Word::Sign(sign) => format!("[{sign}]"),
        };
        let line = |of: &Statement<'_>| of.words.iter().map(word).collect::<Vec<_>>().join(" ");
        Some(statements(text)?.iter().map(line).collect::<Vec<_>>().join(" | "))
    }

    #[test]
    fn splits() {
        for (text, wanted) in [
            ("", Some("")),
            (" ; ;", Some("")),
            ("SHOW POOLS;", Some("SHOW POOLS")),
            ("show\tpools ; pause \"a \"\"b\"", Some("show pools | pause <a \"b>")),
            ("SET a.b='1s'", Some("SET a.b [=] <1s>")),
            ("SET a = it''s", Some("SET a [=] it <> s")),
            ("DRAIN 127.0.0.1:5432", Some("DRAIN 127.0.0.1:5432")),
            ("-- ping", Some("")),
            ("/* ping */ SELECT 1 -- one\n;SELECT 2", Some("SELECT 1 | SELECT 2")),
            ("SELECT version()", Some("SELECT version [(] [)]")),
            ("PAUSE ünï", Some("PAUSE ünï")),
            ("USE `a ``b`", Some("USE <a `b>")),
            ("PAUSE 'open", None),
            ("/* open", None),
        ] {
            assert_eq!(shown(text).as_deref(), wanted, "{text}");
        }
    }

    #[test]
    fn a_statement_keeps_its_text() {
        let found = statements("SELECT ';' ; /* x */ SHOW POOLS;;").expect("quotes are closed");
        let texts: Vec<&str> = found.iter().map(|one| one.text.trim()).collect();
        assert_eq!(texts, ["SELECT ';'", "/* x */ SHOW POOLS"]);
    }
}
