//! Reads the source of a function for what running it may leave behind in the session.
//!
//! The source may be PL/pgSQL, SQL, any other language, the expression of a default, or the text of a `DO`.
//! Quotes and comments are looked through rather than skipped: what stands in a string may be executed, and what
//! stands in a comment makes the verdict stricter than it need be, never weaker. It knows no grammar; a word
//! counts wherever it could begin a statement.

use crate::Effects;

/// How many names one source may contribute.
const NAMES_MAX: usize = 256;
/// The longest name of a setting that is asked for, in bytes.
const NAME_MAX: usize = 127;

/// What a source tells.
#[derive(Debug, Default)]
pub(crate) struct Source {
    /// What running it may leave behind, the functions that it calls not counted.
    pub(crate) effects: Effects,
    /// Settings with a dot in their name that it may set.
    pub(crate) settings: Vec<Box<str>>,
}

/// One word or one byte that is none, and what stands before it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part<'a> {
    Word(&'a [u8]),
    Byte(u8),
}

/// Cuts a text into words and single bytes. Words hold dots, so that names of settings stay whole.
struct Parts<'a> {
    text: &'a [u8],
    at: usize,
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | 0x80..)
}

impl<'a> Iterator for Parts<'a> {
    type Item = Part<'a>;

    fn next(&mut self) -> Option<Part<'a>> {
        let rest = self.text.get(self.at..)?;
        let blank = rest.iter().position(|byte| !byte.is_ascii_whitespace())?;
        let rest = rest.get(blank..)?;
        let length = rest.iter().position(|byte| !is_word(*byte)).unwrap_or(rest.len());
        self.at += blank + length.max(1);
        match (length, rest.first()) {
            (0, Some(byte)) => Some(Part::Byte(*byte)),
            _ => rest.get(..length).map(Part::Word),
        }
    }
}

fn parts(text: &[u8]) -> Parts<'_> {
    Parts { text, at: 0 }
}

fn is(word: &[u8], keyword: &str) -> bool {
    word.eq_ignore_ascii_case(keyword.as_bytes())
}

/// Visits every name in a source, without its schema and in lower case; names in quotes as well.
pub(crate) fn words(text: &[u8], mut visit: impl FnMut(&str)) {
    let mut folded = String::new();
    for part in parts(text) {
        let Part::Word(word) = part else { continue };
        let Ok(word) = std::str::from_utf8(word) else { continue };
        folded.clear();
        folded.push_str(word.rsplit('.').next().unwrap_or(word));
        folded.make_ascii_lowercase();
        visit(&folded);
    }
}

/// Whether a change of the schema may be one of functions, of what calling one by its name does; or of what a
/// relation of a name sets off.
pub fn redefines(text: &[u8]) -> bool {
    const WORDS: [&str; 14] = [
        "trigger",
        "rename",
        "function",
        "procedure",
        "routine",
        "aggregate",
        "operator",
        "extension",
        "schema",
        "type",
        "domain",
        "cast",
        "language",
        "execute",
    ];
    let mut found = false;
    words(text, |word| found |= WORDS.contains(&word));
    found
}

/// Whether a block of code (`DO`) spells a command that changes the schema.
pub fn changes_schema(text: &[u8]) -> bool {
    let mut found = false;
    words(text, |word| found |= matches!(word, "create" | "alter" | "drop"));
    found
}

/// Names in a text, or in the values bound to it, that a setting could have: identifiers joined by a dot.
pub fn spelled_settings(bytes: &[u8], most: usize) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for part in parts(bytes) {
        let Part::Word(word) = part else { continue };
        let Some(name) = setting(word) else { continue };
        if found.len() < most && !found.contains(&name) {
            found.push(name);
        }
    }
    found
}

fn setting(word: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(word).ok().filter(|name| name.len() <= NAME_MAX && name.contains('.'))?;
    let is_identifier = |part: &str| part.starts_with(|c: char| !c.is_ascii_digit());
    name.split('.').all(is_identifier).then(|| name.to_ascii_lowercase())
}

/// Reads a source.
pub(crate) fn read(text: &[u8]) -> Source {
    let mut source = Source::default();
    let mut before = Part::Byte(b';');
    let mut ahead = parts(text);
    while let Some(part) = ahead.next() {
        if let Part::Word(word) = part {
            let rest = Parts { text, at: ahead.at };
            source.word(word, opens_statement(before), rest);
        }
        before = part;
    }
    source
}

/// Whether a statement may begin behind this.
fn opens_statement(before: Part<'_>) -> bool {
    match before {
        Part::Byte(byte) => matches!(byte, b';' | b'\'' | b'$' | b'"' | b'`' | b'>' | b'{' | b':'),
        Part::Word(word) => ["begin", "then", "else", "loop", "atomic", "do"].iter().any(|w| is(word, w)),
    }
}

impl Source {
    fn word(&mut self, word: &[u8], opens: bool, mut rest: Parts<'_>) {
        let name = word.rsplit(|byte| *byte == b'.').next().unwrap_or(word);
        if is(name, "set_config") {
            self.set_config(rest);
        } else if is(name, "setseed") {
            self.effects |= Effects::SEED;
        } else if starts(name, b"dblink") || starts(name, b"pg_replication_origin_session") {
            self.effects |= Effects::EXTENSION_STATE | Effects::STATE;
        } else if name == b"_SHARED" || name == b"GD" || name == b"SD" || is(name, "plv8") {
            self.effects |= Effects::EXTENSION_STATE;
        } else if contains(name, b"advisory") {
            self.effects |= if contains(name, b"unlock") { Effects::empty() } else { Effects::LOCKS };
            self.effects |= if contains(name, b"xact") { Effects::empty() } else { Effects::STATE };
        } else if is_temporary(word) || is(name, "hold") {
            self.effects |= Effects::STATE;
        } else if is(name, "pg_settings") || is(name, "session_authorization") {
            self.effects |= Effects::UNKNOWN;
        } else if is(name, "execute") || is(name, "spi_exec_query") || is(name, "plpy.execute") {
            self.executes(rest);
        } else if opens {
            self.statement(word, &mut rest);
        }
    }

    /// `set_config(name, ..)`: a name that is no plain literal may be any.
    fn set_config(&mut self, mut rest: Parts<'_>) {
        self.effects |= Effects::STATE;
        let open = rest.next() == Some(Part::Byte(b'('));
        let mut quotes = 0;
        let mut name = None;
        for part in rest {
            match part {
                Part::Byte(b'\'') => quotes += 1,
                Part::Byte(b',') => break,
                // The view of an expression spells a literal with its type behind it.
                Part::Byte(b':') => {}
                Part::Word(word) if quotes > 0 && name.is_none() => name = Some(word),
                Part::Word(word) if is(word, "text") => {}
                _ => return self.effects |= Effects::HIDDEN_SETTING,
            }
        }
        match name {
            Some(name) if open && matches!(quotes, 2 | 4) => self.named(name),
            _ => self.effects |= Effects::HIDDEN_SETTING,
        }
    }

    fn named(&mut self, name: &[u8]) {
        if !name.contains(&b'.') {
            return;
        }
        match setting(name) {
            Some(name) if self.settings.len() < NAMES_MAX => self.settings.push(name.into_boxed_str()),
            _ => self.effects |= Effects::HIDDEN_SETTING,
        }
    }

    /// What opens a statement, in the body or in a string that may be executed.
    fn statement(&mut self, verb: &[u8], rest: &mut Parts<'_>) {
        if is(verb, "set") {
            let mut next = rest.next();
            while matches!(next, Some(Part::Word(word)) if is(word, "session")) {
                next = rest.next();
            }
            match next {
                Some(Part::Word(word)) if is(word, "local") || is(word, "constraints") => {}
                Some(Part::Word(word)) => {
                    self.effects |= Effects::STATE;
                    self.named(word);
                }
                _ => self.effects |= Effects::STATE | Effects::HIDDEN_SETTING,
            }
        } else if is(verb, "load") {
            self.effects |= Effects::LIBRARY;
        } else if ["reset", "discard", "listen", "unlisten", "prepare", "deallocate"]
            .iter()
            .any(|v| is(verb, v))
        {
            self.effects |= Effects::STATE;
        }
    }

    /// `EXECUTE ..`: harmless if the text that is put together begins like a statement that changes data or
    /// schema; what else it says is read as part of this source anyhow.
    fn executes(&mut self, mut rest: Parts<'_>) {
        const WRAPPERS: [&str; 3] = ["format", "concat", "pg_catalog.format"];
        const PLAIN: [&str; 22] = [
            "function",
            "procedure",
            "on",
            "insert",
            "update",
            "delete",
            "merge",
            "create",
            "alter",
            "drop",
            "truncate",
            "grant",
            "revoke",
            "analyze",
            "vacuum",
            "refresh",
            "comment",
            "notify",
            "lock",
            "copy",
            "reindex",
            "cluster",
        ];
        for _ in 0..6 {
            match rest.next() {
                Some(Part::Word(word)) if WRAPPERS.iter().any(|wrapper| is(word, wrapper)) => {}
                // A string with escapes, or with a tag.
                Some(Part::Word(word)) if word.len() <= 2 => {}
                Some(Part::Word(word)) if PLAIN.iter().any(|verb| is(word, verb)) => return,
                Some(Part::Byte(b'(' | b'\'' | b'$')) => {}
                _ => break,
            }
        }
        self.effects |= Effects::UNKNOWN;
    }
}

fn starts(name: &[u8], prefix: &[u8]) -> bool {
    name.get(..prefix.len()).is_some_and(|head| head.eq_ignore_ascii_case(prefix))
}

fn contains(name: &[u8], part: &[u8]) -> bool {
    name.windows(part.len()).any(|window| window.eq_ignore_ascii_case(part))
}

fn is_temporary(word: &[u8]) -> bool {
    is(word, "temp") || is(word, "temporary") || starts(word, b"pg_temp")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, effects: Effects, settings: &[&str]) {
        let source = read(text.as_bytes());
        let found: Vec<&str> = source.settings.iter().map(AsRef::as_ref).collect();
        assert_eq!((source.effects, found.as_slice()), (effects, settings), "{text}");
    }

    #[test]
    fn what_touches_data_only_leaves_nothing() {
        for text in [
            "BEGIN NEW.updated_at := now(); RETURN NEW; END",
            "BEGIN UPDATE t SET a = 1, b = 2 WHERE id = NEW.id; RETURN NULL; END",
            "BEGIN INSERT INTO t VALUES (1) ON CONFLICT (id) DO UPDATE SET n = 2; END",
            "BEGIN EXECUTE format('INSERT INTO %I VALUES ($1.*)', part) USING NEW; END",
            "BEGIN EXECUTE 'CREATE TABLE x' || n; END",
            "BEGIN SET LOCAL work_mem = '1MB'; END",
            "CREATE TRIGGER t BEFORE INSERT ON x FOR EACH ROW EXECUTE FUNCTION f()",
        ] {
            check(text, Effects::empty(), &[]);
        }
    }

    #[test]
    fn what_sets_something_is_asked_for() {
        let state = Effects::STATE;
        check("BEGIN PERFORM set_config('app.x', 'y', false); END", state, &["app.x"]);
        check("set_config('app.x'::text, 'y'::text, false)", state, &["app.x"]);
        check("SELECT pg_catalog.set_config('work_mem', x, false)", state, &[]);
        check("begin set app.x = 'y'; end", state, &["app.x"]);
        check("BEGIN EXECUTE 'SET SESSION app.x = 1'; END", state | Effects::UNKNOWN, &["app.x"]);
        check("BEGIN IF x THEN SET work_mem = '1MB'; END IF; END", state, &[]);
        check("BEGIN CREATE TEMP TABLE t (n int); END", state, &[]);
        check("BEGIN PERFORM pg_try_advisory_lock(1); END", state | Effects::LOCKS, &[]);
        check("BEGIN PERFORM pg_advisory_unlock_all(); END", state, &[]);
        check("BEGIN PERFORM pg_advisory_xact_lock(1); END", Effects::LOCKS, &[]);
        check("BEGIN LISTEN x; END", state, &[]);
    }

    #[test]
    fn what_nobody_can_name_is_said_to_be_hidden() {
        let hidden = Effects::STATE | Effects::HIDDEN_SETTING;
        check("BEGIN PERFORM set_config('app.' || x, 'y', false); END", hidden, &[]);
        check("BEGIN PERFORM set_config(name, 'y', false); END", hidden, &[]);
        check("BEGIN PERFORM set_config($1, 'y', false); END", hidden, &[]);
        check("BEGIN EXECUTE format('SET %I = 1', x); END", hidden | Effects::UNKNOWN, &[]);
        check("BEGIN EXECUTE statement; END", Effects::UNKNOWN, &[]);
        check("BEGIN LOAD 'auto_explain'; END", Effects::LIBRARY, &[]);
        check("BEGIN PERFORM setseed(0.5); END", Effects::SEED, &[]);
    }

    #[test]
    fn spelled() {
        let found = spelled_settings(b"SELECT f('app.a', t.b) \0\0\x05app.c 1.5 a..b x.y.z app.a", 8);
        assert_eq!(found, ["app.a", "t.b", "app.c", "x.y.z"]);
    }
}
