//! Collects the names in a statement, for the second level and for a second look at a settled text.
//!
//! The lexer's candidates are a superset of the functions that a text calls: whatever stands before a
//! parenthesis and is no keyword. The parser says which of them are functions, and its answer counts only if it
//! accounts for every candidate.

use crate::catalog::Catalog;
use crate::functions;
use crate::lexer::{Lexer, Token};
use crate::lookahead;
use crate::parse::Parsed;
use crate::scan::{Call, Chain, Last, Scan};
use crate::words::{Folded, is};
use crate::{Detail, Name, Reason};

/// The names that the lexer sees in one statement.
#[derive(Debug, Default)]
pub(crate) struct Candidates {
    /// Listed built-in functions.
    pub(crate) listed: Vec<Name>,
    /// Whatever else stands before a parenthesis.
    pub(crate) unlisted: Vec<Name>,
    /// What is taken from an expression by a dot.
    pub(crate) fields: Vec<String>,
    pub(crate) operators: Vec<String>,
    pub(crate) settings: Vec<String>,
}

impl Candidates {
    /// What is known of a text that nobody parsed.
    pub(crate) fn into_detail(self) -> Detail {
        let Self { mut listed, unlisted, fields, operators, settings } = self;
        listed.extend(unlisted);
        Detail {
            functions: listed,
            relations: Vec::new(),
            fields,
            operators,
            settings,
            user_functions: false,
            complete: false,
        }
    }

    /// What is known of a text with the parser's help; nothing if the parser overlooked a candidate.
    pub(crate) fn resolve(&self, parsed: Parsed) -> Option<Detail> {
        let accounted = |name: &Name| parsed.functions.contains(name) || parsed.others.contains(&name.name);
        if !self.unlisted.iter().all(accounted) {
            return None;
        }
        let mut functions = self.listed.clone();
        functions.extend(parsed.functions);
        Some(Detail {
            functions,
            relations: parsed.relations,
            fields: self.fields.clone(),
            operators: self.operators.clone(),
            settings: self.settings.clone(),
            user_functions: false,
            complete: true,
        })
    }
}

/// Collects what the lexer sees in `text`, which is one statement or a part of one.
pub(crate) fn collect(text: &[u8], changes: bool) -> Candidates {
    let mut found = Candidates::default();
    let mut scan = Scan::new(Lexer::new(text));
    scan.changes = changes;
    settings_of_set(text, &mut found.settings);
    while let Some(token) = scan.lexer.token() {
        match token {
            Token::Strange => break,
            Token::Open => candidate(&mut scan, &mut found),
            Token::Operator(symbol) if !functions::is_builtin_operator(symbol) => {
                found.operators.push(String::from_utf8_lossy(symbol).into_owned());
            }
            _ => {}
        }
        scan.take(token);
        if scan.chain.field && scan.last == Last::Label {
            found.fields.push(fold(scan.chain.name, scan.chain.quoted));
        }
    }
    found
}

fn candidate(scan: &mut Scan<'_>, found: &mut Candidates) {
    let name = name_of(&scan.chain);
    match scan.call() {
        Call::None => foreign_operator(scan, found),
        Call::Unknown => found.unlisted.push(name),
        Call::Builtin(functions::Builtin::SetConfig) => {
            let setting = lookahead::set_config(scan.lexer.clone()).name;
            found.settings.extend(setting.filter(|name| name.contains(&b'.')).map(lower));
            found.listed.push(name);
        }
        Call::Builtin(_) => found.listed.push(name),
    }
}

/// `OPERATOR(schema.+)` of another schema than `pg_catalog`.
fn foreign_operator(scan: &Scan<'_>, found: &mut Candidates) {
    if !matches!(scan.last, Last::Word(word) if is(word, b"operator")) {
        return;
    }
    if !lookahead::is_builtin_operator(scan.lexer.clone()) {
        let symbol = lookahead::operator(scan.lexer.clone()).unwrap_or_default();
        found.operators.push(String::from_utf8_lossy(symbol).into_owned());
    }
}

fn name_of(chain: &Chain<'_>) -> Name {
    let schema = chain.schema.map(|(schema, quoted)| fold(schema, quoted));
    Name { schema, name: fold(chain.name, chain.quoted) }
}

fn fold(name: &[u8], quoted: bool) -> String {
    let folded = if quoted { Folded::quoted(name) } else { Folded::word(name) };
    String::from_utf8_lossy(folded.bytes()).into_owned()
}

fn lower(name: &[u8]) -> String {
    String::from_utf8_lossy(name).to_ascii_lowercase()
}

/// `SET [SESSION] a.b = ..` and `RESET a.b`.
fn settings_of_set(text: &[u8], settings: &mut Vec<String>) {
    let mut lexer = Lexer::new(text);
    if !matches!(lexer.token(), Some(Token::Word(word)) if is(word, b"set") || is(word, b"reset")) {
        return;
    }
    let mut name = String::new();
    loop {
        let part = match lexer.token() {
            Some(Token::Word(word)) if name.is_empty() && is(word, b"session") => continue,
            Some(Token::Word(part) | Token::Quoted(part)) => lower(part),
            _ => return,
        };
        name.push_str(&part);
        match lexer.token() {
            Some(Token::Dot) => name.push('.'),
            _ if name.contains('.') => return settings.push(name),
            _ => return,
        }
    }
}

/// Why a settled text deserves a closer look.
pub(crate) enum Suspicion {
    /// A word in it is the name of something unsafe, or of a column.
    Name,
    /// Something that no parser could clear up.
    Certain(Reason),
}

/// Looks a settled text through for names that the catalog suspects. Does not allocate.
pub(crate) fn suspect(text: &[u8], catalog: &Catalog) -> Option<Suspicion> {
    let mut lexer = Lexer::new(text);
    let mut found = None;
    let mut qualified = false;
    while let Some(token) = lexer.token() {
        let folded = match token {
            Token::Word(word) => Folded::word(word),
            Token::Quoted(name) => Folded::quoted(name),
            Token::Operator(symbol) if volatile(symbol, catalog) => {
                return Some(Suspicion::Certain(Reason::UnsafeOperator));
            }
            other => {
                qualified = other == Token::Dot;
                continue;
            }
        };
        // A name that is not UTF-8 cannot be compared, so it is suspect.
        let Some(name) = folded.text() else { return Some(Suspicion::Certain(Reason::Unparseable)) };
        if qualified && catalog.is_unsafe_attribute(name) {
            return Some(Suspicion::Certain(Reason::VolatileFunction));
        }
        if catalog.is_suspect(name) {
            found = Some(Suspicion::Name);
        }
        qualified = false;
    }
    found
}

fn volatile(symbol: &[u8], catalog: &Catalog) -> bool {
    std::str::from_utf8(symbol).is_ok_and(|symbol| catalog.is_volatile_operator(symbol))
}
