//! What Splitpool itself answers to a query: columns, rows, and what is said beside them.
//!
//! Values only; each protocol has its own way to write them.

use std::borrow::Cow;

/// What the values of a column are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Text,
    /// An integer of 32 bits; larger values are cut to its bounds.
    Int4,
    /// An integer of 64 bits.
    Int8,
    /// An integer that the client is told is a number of any length.
    Numeric,
    /// Bytes. No answer of ours has any: the columns stay empty.
    Bytes,
}

/// A column of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: Cow<'static, str>,
    /// What its values are.
    pub kind: Kind,
}

impl Column {
    /// A column whose name the code has.
    pub const fn of(name: &'static str, kind: Kind) -> Self {
        Self { name: Cow::Borrowed(name), kind }
    }
}

/// The columns of an answer: those of a table that the code has, or some that a query chose.
pub type Columns = Cow<'static, [Column]>;

/// One value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell {
    /// There is none.
    Null,
    /// A text.
    Text(String),
    /// A number.
    Int(i64),
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Cell {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<u64> for Cell {
    fn from(number: u64) -> Self {
        Self::Int(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<u32> for Cell {
    fn from(number: u32) -> Self {
        Self::Int(number.into())
    }
}

impl From<usize> for Cell {
    fn from(number: usize) -> Self {
        Self::Int(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<bool> for Cell {
    fn from(flag: bool) -> Self {
        Self::Int(flag.into())
    }
}

impl<T: Into<Self>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// The answer to one statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// What is said beside it, each as a sentence.
    pub notices: Vec<String>,
    /// Its columns; `None` if it has no rows by nature.
    pub columns: Option<Columns>,
    /// Its rows, each as long as the columns.
    pub rows: Vec<Vec<Cell>>,
    /// What the database would call the command that was carried out.
    pub tag: String,
}

impl Answer {
    /// A command was carried out.
    pub fn done(tag: impl Into<String>) -> Self {
        Self { notices: Vec::new(), columns: None, rows: Vec::new(), tag: tag.into() }
    }

    /// Rows.
    pub fn table(columns: impl Into<Columns>, rows: Vec<Vec<Cell>>) -> Self {
        Self { notices: Vec::new(), columns: Some(columns.into()), rows, tag: "SHOW".to_owned() }
    }

    /// The same, with a remark.
    #[must_use]
    pub fn notice(mut self, text: impl Into<String>) -> Self {
        self.notices.push(text.into());
        self
    }
}
