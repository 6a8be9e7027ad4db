//! Queries to tables of the console's own, as monitoring agents write them. Decides only.
//!
//! `read` makes a query of a text, or refuses it; here it is run over rows. There is one table or
//! none, and no joins, subqueries or arithmetic: what agents do not use is not here. Invariant:
//! a query names only columns that its table has.

mod read;
mod variables;

pub(super) use read::read;

use super::proxysql::Table;
use super::show::Row;
use protocol::answer::{Cell, Column};
use std::cmp::Ordering;

/// See the file's head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Select {
    table: Option<Table>,
    items: Vec<(Column, Item)>,
    filter: Option<Test>,
    /// The columns that rows are gathered by; by none of them all rows are one.
    group: Option<Vec<usize>>,
    /// What is sorted by, and whether downwards.
    order: Vec<(Item, bool)>,
    skip: usize,
    most: usize,
}

/// What an output column holds. Numbers are those of the table's columns.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Item {
    Column(usize),
    Value(Cell),
    /// Who asks.
    User,
    /// Rows, or those in which a column is not NULL.
    Count(Option<usize>),
    Sum(usize),
    Least(usize),
    Most(usize),
}

/// A condition. What is compared with NULL is neither true nor false.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
    Not(Box<Self>),
    Compare(Term, Comparison, Term),
    Like(Term, String),
    In(Term, Vec<Term>),
    Null(Term),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Term {
    Column(usize),
    Value(Cell),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Equal,
    Unequal,
    Less,
    AtMost,
    More,
    AtLeast,
}

impl Select {
    /// The table that it reads, if any.
    pub(super) fn table(&self) -> Option<Table> {
        self.table
    }

    /// The columns of its answer.
    pub(super) fn columns(&self) -> Vec<Column> {
        self.items.iter().map(|(column, _)| column.clone()).collect()
    }

    /// The rows of its answer, made of the table's `rows`, for `user`.
    pub(super) fn run(&self, rows: Vec<Row>, user: &str) -> Vec<Row> {
        // Without a table there is one row, of nothing.
        let mut rows = if self.table.is_some() { rows } else { vec![Vec::new()] };
        rows.retain(|row| self.filter.as_ref().is_none_or(|test| test.holds(row) == Some(true)));
        let groups = match &self.group {
            None => rows.into_iter().map(|row| vec![row]).collect(),
            Some(by) => gather(rows, by),
        };
        let mut made: Vec<(Row, Row)> = groups
            .iter()
            .map(|group| {
                let keys = self.order.iter().map(|(key, _)| key.of(group, user)).collect();
                (keys, self.items.iter().map(|(_, item)| item.of(group, user)).collect())
            })
            .collect();
        made.sort_by(|(left, _), (right, _)| {
            let each = self.order.iter().zip(left.iter().zip(right));
            let each = each.map(|((_, down), (left, right))| {
                let order = sorted(left, right);
                if *down { order.reverse() } else { order }
            });
            each.fold(Ordering::Equal, Ordering::then)
        });
        made.into_iter().map(|(_, row)| row).skip(self.skip).take(self.most).collect()
    }
}

/// Rows that are equal in the columns `by`, in the order of the first of each.
fn gather(rows: Vec<Row>, by: &[usize]) -> Vec<Vec<Row>> {
    let mut groups: Vec<(Row, Vec<Row>)> = Vec::new();
    if by.is_empty() {
        return vec![rows];
    }
    for row in rows {
        let key: Row = by.iter().map(|at| cell(&row, *at)).collect();
        match groups.iter_mut().find(|(known, _)| *known == key) {
            Some((_, group)) => group.push(row),
            None => groups.push((key, vec![row])),
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

fn cell(row: &[Cell], at: usize) -> Cell {
    row.get(at).cloned().unwrap_or(Cell::Null)
}

impl Item {
    fn of(&self, group: &[Row], user: &str) -> Cell {
        let values =
            |at: usize| group.iter().map(move |row| cell(row, at)).filter(|cell| *cell != Cell::Null);
        match self {
            Self::Column(at) => group.first().map_or(Cell::Null, |row| cell(row, *at)),
            Self::Value(value) => value.clone(),
            Self::User => user.into(),
            Self::Count(None) => group.len().into(),
            Self::Count(Some(at)) => values(*at).count().into(),
            Self::Sum(at) => {
                let numbers = values(*at).filter_map(|cell| number(&cell));
                numbers.reduce(i64::saturating_add).into()
            }
            Self::Least(at) => values(*at).min_by(sorted).into(),
            Self::Most(at) => values(*at).max_by(sorted).into(),
        }
    }
}

impl Test {
    fn holds(&self, row: &Row) -> Option<bool> {
        match self {
            Self::And(left, right) => match (left.holds(row), right.holds(row)) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (left, right) => Some(left? && right?),
            },
            Self::Or(left, right) => match (left.holds(row), right.holds(row)) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (left, right) => Some(left? || right?),
            },
            Self::Not(test) => test.holds(row).map(|holds| !holds),
            Self::Compare(left, how, right) => {
                let order = compared(&left.of(row), &right.of(row))?;
                Some(match how {
                    Comparison::Equal => order.is_eq(),
                    Comparison::Unequal => order.is_ne(),
                    Comparison::Less => order.is_lt(),
                    Comparison::AtMost => order.is_le(),
                    Comparison::More => order.is_gt(),
                    Comparison::AtLeast => order.is_ge(),
                })
            }
            Self::Like(term, pattern) => match term.of(row) {
                Cell::Null => None,
                value => Some(like(&text(&value), pattern)),
            },
            Self::In(term, list) => {
                let value = term.of(row);
                let each: Vec<_> = list.iter().map(|one| compared(&value, &one.of(row))).collect();
                match each.iter().any(|order| order.is_some_and(Ordering::is_eq)) {
                    true => Some(true),
                    false if each.contains(&None) => None,
                    false => Some(false),
                }
            }
            Self::Null(term) => Some(term.of(row) == Cell::Null),
        }
    }
}

impl Term {
    fn of(&self, row: &Row) -> Cell {
        match self {
            Self::Column(at) => cell(row, *at),
            Self::Value(value) => value.clone(),
        }
    }
}

fn number(cell: &Cell) -> Option<i64> {
    match cell {
        Cell::Null => None,
        Cell::Int(number) => Some(*number),
        Cell::Text(text) => text.parse().ok(),
    }
}

fn text(cell: &Cell) -> String {
    match cell {
        Cell::Null => String::new(),
        Cell::Int(number) => number.to_string(),
        Cell::Text(text) => text.clone(),
    }
}

/// As numbers where both are such, as texts otherwise. `None` if either is NULL.
fn compared(left: &Cell, right: &Cell) -> Option<Ordering> {
    if *left == Cell::Null || *right == Cell::Null {
        return None;
    }
    Some(match (number(left), number(right)) {
        (Some(left), Some(right)) => left.cmp(&right),
        _ => text(left).cmp(&text(right)),
    })
}

/// A total order: NULL, numbers, texts.
fn sorted(left: &Cell, right: &Cell) -> Ordering {
    match (left, right) {
        (Cell::Null, Cell::Null) => Ordering::Equal,
        (Cell::Null, _) | (Cell::Int(_), Cell::Text(_)) => Ordering::Less,
        (_, Cell::Null) | (Cell::Text(_), Cell::Int(_)) => Ordering::Greater,
        (Cell::Int(left), Cell::Int(right)) => left.cmp(right),
        (Cell::Text(left), Cell::Text(right)) => left.cmp(right),
    }
}

/// Whether a text fits a pattern in which `%` is anything and `_` one sign, in any case. A `%` that did not fit is
/// only ever stretched, so that it takes no more steps than the product of the lengths.
fn like(text: &str, pattern: &str) -> bool {
    let fold = |of: &str| of.chars().flat_map(char::to_lowercase).collect::<Vec<char>>();
    let (text, pattern) = (fold(text), fold(pattern));
    let (mut at, mut in_pattern) = (0, 0);
    let mut anything: Option<(usize, usize)> = None;
    while let Some(sign) = text.get(at) {
        match pattern.get(in_pattern) {
            Some('%') => {
                anything = Some((at, in_pattern));
                in_pattern += 1;
            }
            Some(wanted) if *wanted == '_' || wanted == sign => {
                at += 1;
                in_pattern += 1;
            }
            _ => {
                let Some((from, percent)) = &mut anything else { return false };
                *from += 1;
                (at, in_pattern) = (*from, *percent + 1);
            }
        }
    }
    pattern.get(in_pattern..).unwrap_or_default().iter().all(|sign| *sign == '%')
}

#[cfg(test)]
mod tests;
