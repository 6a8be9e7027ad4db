//! What a pgbouncer.ini and its userlist.txt say, as keys and values. Knows no key.

/// `key = value` below `[section]`, in the order of the file; names in lower case.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub section: String,
    pub key: String,
    pub value: String,
}

/// Reads a file of sections. Returns the entries, and the lines that are none.
pub(super) fn entries(text: &str) -> (Vec<Entry>, Vec<String>) {
    let (mut found, mut rest) = (Vec::new(), Vec::new());
    let mut section = String::new();
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with([';', '#']) && !line.is_empty()) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name.trim().to_ascii_lowercase();
        } else if let Some((key, value)) = line.split_once('=').filter(|_| !line.starts_with('%')) {
            let is_name = section != "pgbouncer";
            let key = key.trim().trim_matches('"');
            let key = if is_name { key.to_owned() } else { key.to_ascii_lowercase() };
            found.push(Entry { section: section.clone(), key, value: value.trim().to_owned() });
        } else {
            rest.push(line.to_owned());
        }
    }
    (found, rest)
}

/// Reads `key=value key='quoted value'`; a quote in quotes is written twice.
pub(super) fn connection(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = text.trim();
    while let Some((key, value)) = rest.split_once('=') {
        let (value, after) = match value.trim_start().strip_prefix('\'') {
            Some(quoted) => unquote(quoted, '\''),
            None => {
                let value = value.trim_start();
                let (value, after) = value.split_once(char::is_whitespace).unwrap_or((value, ""));
                (value.to_owned(), after)
            }
        };
        found.push((key.trim().to_ascii_lowercase(), value));
        rest = after.trim_start();
    }
    found
}

/// Reads `"user" "secret"` lines.
pub(super) fn users(text: &str) -> Vec<(String, String)> {
    let line = |line: &str| {
        let (user, rest) = unquote(line.trim().strip_prefix('"')?, '"');
        let (secret, _) = unquote(rest.trim().strip_prefix('"')?, '"');
        Some((user, secret))
    };
    text.lines().filter_map(line).collect()
}

/// Up to the closing quote, and what is behind it.
fn unquote(text: &str, quote: char) -> (String, &str) {
    let mut value = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(quote) {
        value.push_str(before);
        let Some(more) = after.strip_prefix(quote) else { return (value, after) };
        value.push(quote);
        rest = more;
    }
    value.push_str(rest);
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_comments_and_strange_lines() {
        let (found, rest) =
            entries("; a\n[Databases]\nApp = host=x\n%include y\n[pgbouncer]\nLISTEN_PORT = 1\n");
        let entry = |section: &str, key: &str, value: &str| Entry {
            section: section.to_owned(),
            key: key.to_owned(),
            value: value.to_owned(),
        };
        assert_eq!(found, [entry("databases", "App", "host=x"), entry("pgbouncer", "listen_port", "1")]);
        assert_eq!(rest, ["%include y"]);
    }

    #[test]
    fn quotes_in_quotes() {
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let read = connection("host=a password='it''s = b'  port = 1");
        assert_eq!(read, [pair("host", "a"), pair("password", "it's = b"), pair("port", "1")]);
        assert_eq!(users("\"a\"\"b\" \"c d\" x\nnot a user\n"), [pair("a\"b", "c d")]);
    }
}
