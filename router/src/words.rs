//! What words mean to the router: which open a statement, which may stand before a parenthesis.
//!
//! All comparisons ignore ASCII case and allocate nothing.

use crate::table::{NameHash, Names};

/// What the first word of a statement makes of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verb {
    /// `SELECT`, `VALUES`, `TABLE`, `WITH`, or a parenthesis.
    Query,
    /// `INSERT`, `UPDATE`, `DELETE`, `MERGE`.
    Change,
    Begin,
    Start,
    Commit,
    Rollback,
    Savepoint,
    Prepare,
    Execute,
    Deallocate,
    Set,
    Reset,
    Show,
    Discard,
    Listen,
    Unlisten,
    Notify,
    Declare,
    Close,
    /// `FETCH` and `MOVE`.
    Fetch,
    Copy,
    Explain,
    /// `DO`, `CALL`.
    Procedure,
    Load,
    Create,
    /// `ALTER`, `IMPORT`, `REASSIGN`.
    Alter,
    Drop,
    Truncate,
    Lock,
    /// `VACUUM`, `ANALYZE`, `GRANT` and others without effects on the session.
    Maintenance,
    Unknown,
}

const VERBS: [(&[u8], Verb); 52] = [
    (b"select", Verb::Query),
    (b"with", Verb::Query),
    (b"insert", Verb::Change),
    (b"update", Verb::Change),
    (b"delete", Verb::Change),
    (b"begin", Verb::Begin),
    (b"commit", Verb::Commit),
    (b"set", Verb::Set),
    (b"rollback", Verb::Rollback),
    (b"values", Verb::Query),
    (b"table", Verb::Query),
    (b"merge", Verb::Change),
    (b"start", Verb::Start),
    (b"end", Verb::Commit),
    (b"abort", Verb::Rollback),
    (b"savepoint", Verb::Savepoint),
    (b"release", Verb::Savepoint),
    (b"prepare", Verb::Prepare),
    (b"execute", Verb::Execute),
    (b"deallocate", Verb::Deallocate),
    (b"reset", Verb::Reset),
    (b"show", Verb::Show),
    (b"discard", Verb::Discard),
    (b"listen", Verb::Listen),
    (b"unlisten", Verb::Unlisten),
    (b"notify", Verb::Notify),
    (b"declare", Verb::Declare),
    (b"close", Verb::Close),
    (b"fetch", Verb::Fetch),
    (b"move", Verb::Fetch),
    (b"copy", Verb::Copy),
    (b"explain", Verb::Explain),
    (b"do", Verb::Procedure),
    (b"call", Verb::Procedure),
    (b"load", Verb::Load),
    (b"create", Verb::Create),
    (b"alter", Verb::Alter),
    (b"import", Verb::Alter),
    (b"reassign", Verb::Alter),
    (b"drop", Verb::Drop),
    (b"truncate", Verb::Truncate),
    (b"lock", Verb::Lock),
    (b"vacuum", Verb::Maintenance),
    (b"analyze", Verb::Maintenance),
    (b"analyse", Verb::Maintenance),
    (b"cluster", Verb::Maintenance),
    (b"reindex", Verb::Maintenance),
    (b"checkpoint", Verb::Maintenance),
    (b"refresh", Verb::Maintenance),
    (b"comment", Verb::Maintenance),
    (b"grant", Verb::Maintenance),
    (b"revoke", Verb::Maintenance),
];

/// The meaning of a statement's first word.
pub(crate) fn verb(word: &[u8]) -> Verb {
    if is(word, b"security") {
        return Verb::Maintenance;
    }
    VERBS.iter().find(|(name, _)| is(word, name)).map_or(Verb::Unknown, |(_, verb)| *verb)
}

/// Whether a word is this keyword, which is given in lower case.
#[inline]
pub(crate) fn is(word: &[u8], keyword: &[u8]) -> bool {
    word.len() == keyword.len() && word.eq_ignore_ascii_case(keyword)
}

/// Whether a word is one of these keywords.
pub(crate) fn is_any(word: &[u8], keywords: &[&[u8]]) -> bool {
    keywords.iter().any(|keyword| is(word, keyword))
}

/// Words that can stand before a parenthesis without being a function's name: PostgreSQL's reserved words and
/// those that can only be column names. A user cannot call a function by such a word unless it is
/// quoted or qualified.
#[rustfmt::skip]
const RESERVED_WORDS: [&str; 118] = [
    "all", "and", "any", "array", "as", "asc", "asymmetric", "between", "bigint", "bit", "boolean", "both",
    "case", "cast", "char", "character", "check", "coalesce", "collate", "column", "constraint", "create",
    "current_catalog", "current_date", "current_role", "current_time", "current_timestamp", "current_user",
    "dec", "decimal", "default", "desc", "distinct", "do", "else", "end", "except", "exists", "extract",
    "false", "fetch", "float", "for", "foreign", "from", "grant", "greatest", "group", "grouping", "having",
    "in", "inout", "int", "integer", "intersect", "interval", "into", "lateral", "leading", "least", "limit",
    "localtime", "localtimestamp", "national", "nchar", "none", "normalize", "not", "null", "nullif",
    "numeric", "offset", "on", "only", "or", "order", "out", "overlay", "placing", "position", "precision",
    "primary", "real", "references", "returning", "row", "select", "session_user", "setof", "smallint",
    "some", "substring", "symmetric", "table", "then", "time", "timestamp", "to", "trailing", "treat", "trim",
    "true", "union", "unique", "user", "using", "values", "varchar", "variadic", "when", "where", "with",
    "xmlattributes", "xmlconcat", "xmlelement", "xmlexists", "xmlforest", "xmlparse",
];

static RESERVED: Names<256> = Names::new(&RESERVED_WORDS);

/// Whether an unquoted, unqualified word before a parenthesis cannot be a call. `before` is the keyword that
/// stands before it, if one does; `closed` says that a parenthesis closes there.
pub(crate) fn precedes_parenthesis(folded: &[u8], before: Option<&[u8]>, closed: bool) -> bool {
    if RESERVED.contains(NameHash::of(folded), folded) {
        return true;
    }
    let after = |keywords: &[&[u8]]| before.is_some_and(|word| is_any(word, keywords));
    match folded {
        b"over" | b"filter" => closed,
        b"by" => after(&[b"group", b"order", b"partition"]),
        b"sets" => after(&[b"grouping"]),
        b"materialized" => after(&[b"as"]),
        b"xmlnamespaces" | b"xmlpi" | b"xmlroot" | b"xmlserialize" | b"xmltable" => true,
        _ => false,
    }
}

/// Whether a word of a statement that changes data stands before a list of columns: `ON CONFLICT (..)`, and
/// `THEN INSERT (..)` in a `MERGE`. In a query the same words may be calls.
pub(crate) fn precedes_columns(folded: &[u8], before: Option<&[u8]>) -> bool {
    let after = |keyword: &[u8]| before.is_some_and(|word| is(word, keyword));
    (folded == b"conflict" && after(b"on")) || (folded == b"insert" && after(b"then"))
}

/// A name folded as PostgreSQL folds it: lower case unless quoted, at most 63 bytes.
pub(crate) struct Folded {
    bytes: [u8; NAME_MAX],
    length: usize,
}

/// The longest name PostgreSQL keeps, in bytes.
const NAME_MAX: usize = 63;

impl Folded {
    /// Folds an unquoted word.
    pub(crate) fn word(word: &[u8]) -> Self {
        let mut folded = Self::quoted(word);
        folded.bytes[..folded.length].make_ascii_lowercase();
        folded
    }

    /// Keeps a quoted name as it is. A doubled quote inside is left doubled: no name in any table has one.
    pub(crate) fn quoted(name: &[u8]) -> Self {
        let mut length = name.len().min(NAME_MAX);
        // A longer name is cut before the character that does not fit, never inside one.
        while length < name.len() && length > 0 && name[length] & 0xc0 == 0x80 {
            length -= 1;
        }
        let mut bytes = [0; NAME_MAX];
        bytes[..length].copy_from_slice(&name[..length]);
        Self { bytes, length }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// The name as text, or nothing if it is not UTF-8.
    pub(crate) fn text(&self) -> Option<&str> {
        std::str::from_utf8(self.bytes()).ok()
    }
}
