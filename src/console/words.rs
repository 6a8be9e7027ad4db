//! Splits what an operator types: into statements, and statements into words.
//!
//! Double quotes make a name of anything, single quotes a value; comments mean nothing. It does
//! not know any command.

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

/// The statements of a text, as words. Empty ones are left out. `None` if a quote is not closed.
pub(super) fn statements(text: &str) -> Option<Vec<Vec<Word>>> {
    let mut all = vec![Vec::new()];
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
            ';' => {
                all.push(Vec::new());
                rest = &rest[1..];
            }
            '"' | '\'' => {
                let (text, behind) = quoted(rest, first)?;
                all.last_mut()?.push(Word::Quoted(text));
                rest = behind;
            }
            '=' | ',' | '(' | ')' | '*' => {
                all.last_mut()?.push(Word::Sign(first));
                rest = &rest[1..];
            }
            space if space.is_whitespace() => rest = rest.trim_start(),
            _ => {
                let ends =
                    |c: char| c.is_whitespace() || matches!(c, ';' | '"' | '\'' | '=' | ',' | '(' | ')');
                let (word, behind) = rest.split_at(rest.find(ends).unwrap_or(rest.len()));
                all.last_mut()?.push(Word::Bare(word.to_owned()));
                rest = behind;
            }
        }
    }
    all.retain(|words| !words.is_empty());
    Some(all)
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
        let line = |words: &Vec<Word>| words.iter().map(word).collect::<Vec<_>>().join(" ");
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
            ("PAUSE 'open", None),
            ("/* open", None),
        ] {
            assert_eq!(shown(text).as_deref(), wanted, "{text}");
        }
    }
}
