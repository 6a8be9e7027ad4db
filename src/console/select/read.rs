//! Makes a query of a text, by sqlparser and MySQL's ways: whatever has no place in a `Select` is refused.
//!
//! The text is bounded, because trees of long chains are walked and dropped link by link; the
//! parser's panics are caught.

use super::variables::{function, variable};
use super::{Comparison, Item, Select, Term, Test};
use crate::console::proxysql::Table;
use protocol::Fault;
use protocol::answer::{Cell, Column, Kind};
use protocol::fault::Cause;
use sqlparser::ast::{
    BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr, Ident,
    LimitClause, ObjectName, OrderBy, OrderByKind, OrderBySort, Query, SelectItem, SetExpr, Statement,
    TableFactor, TableWithJoins, UnaryOperator, Value,
};
use sqlparser::dialect::MySqlDialect;
use sqlparser::parser::Parser;
use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Bytes of a query.
const TEXT_MAX: usize = 2048;

/// Reads a query.
///
/// # Errors
/// What is wrong with it, or not supported.
pub(in crate::console) fn read(text: &str) -> Result<Select, Fault> {
    if text.len() > TEXT_MAX {
        return Err(Fault::error(Cause::NotSupported, format!("a query here has at most {TEXT_MAX} bytes")));
    }
    let parsed = catch_unwind(AssertUnwindSafe(|| Parser::parse_sql(&MySqlDialect {}, text)));
    let mut statements = match parsed {
        Ok(Ok(statements)) => statements,
        _ => return Err(Fault::error(Cause::Syntax, "this is no query; SHOW HELP lists all commands")),
    };
    match (statements.pop(), statements.is_empty()) {
        (Some(Statement::Query(parsed)), true) => query(*parsed),
        _ => Err(unsupported("other than one query")),
    }
}

fn unsupported(what: impl std::fmt::Display) -> Fault {
    let message = format!("not supported in a query to the console: {what}");
    Fault::error(Cause::NotSupported, message)
        .hint("One table, columns or COUNT, SUM, MIN and MAX, WHERE, GROUP BY, ORDER BY and LIMIT")
}

fn query(parsed: Query) -> Result<Select, Fault> {
    let Query { with: None, body, order_by, limit_clause, fetch: None, locks, for_clause: None, .. } = parsed
    else {
        return Err(unsupported("WITH, FETCH or FOR"));
    };
    let SetExpr::Select(select) = *body else { return Err(unsupported("UNION, VALUES and the like")) };
    if !locks.is_empty() || select.distinct.is_some() || select.having.is_some() || select.into.is_some() {
        return Err(unsupported("DISTINCT, HAVING, INTO and locks"));
    }
    let table = match select.from.as_slice() {
        [] => None,
        [TableWithJoins { relation: TableFactor::Table { name, args: None, .. }, joins }]
            if joins.is_empty() =>
        {
            Some(table(name)?)
        }
        _ => return Err(unsupported("joins and subqueries")),
    };
    let scope = Scope { table };
    let mut items = Vec::new();
    for item in &select.projection {
        match item {
            SelectItem::UnnamedExpr(expr) => items.push(scope.item(expr, None)?),
            SelectItem::ExprWithAlias { expr, alias } => items.push(scope.item(expr, Some(alias))?),
            SelectItem::Wildcard(_) if table.is_some() => {
                let all = scope.columns().iter().cloned().enumerate();
                items.extend(all.map(|(at, column)| (column, Item::Column(at))));
            }
            _ => return Err(unsupported("what is selected")),
        }
    }
    let filter = select.selection.as_ref().map(|expr| scope.test(expr)).transpose()?;
    let by = match &select.group_by {
        GroupByExpr::Expressions(by, modifiers) if modifiers.is_empty() => {
            by.iter().map(|expr| scope.column_of(expr)).collect::<Result<Vec<_>, _>>()?
        }
        _ => return Err(unsupported("GROUP BY with more than columns")),
    };
    let gathers = |(_, item): &(Column, Item)| !matches!(item, Item::Column(_) | Item::Value(_) | Item::User);
    let group = (!by.is_empty() || items.iter().any(gathers)).then_some(by);
    let order = order_by.map_or(Ok(Vec::new()), |by| scope.order(by, &items))?;
    let (skip, most) = limits(limit_clause)?;
    Ok(Select { table, items, filter, group, order, skip, most })
}

/// ProxySQL has its tables in the schemas `main` and `stats`, and so have we.
fn table(name: &ObjectName) -> Result<Table, Fault> {
    let parts: Option<Vec<&Ident>> = name.0.iter().map(|part| part.as_ident()).collect();
    let named = match parts.as_deref() {
        Some([name]) => Some(name),
        Some([schema, name])
            if ["main", "stats"].iter().any(|known| schema.value.eq_ignore_ascii_case(known)) =>
        {
            Some(name)
        }
        _ => None,
    };
    let found = named.and_then(|named| {
        Table::ALL.into_iter().find(|table| table.name().eq_ignore_ascii_case(&named.value))
    });
    found.ok_or_else(|| {
        Fault::error(Cause::UnknownTable, format!("the console has no table {name}"))
            .hint("SHOW TABLES lists all")
    })
}

/// What names mean in one query.
struct Scope {
    table: Option<Table>,
}

impl Scope {
    fn columns(&self) -> &'static [Column] {
        self.table.map_or(&[], Table::columns)
    }

    fn column(&self, name: &Ident) -> Result<usize, Fault> {
        let found = self.columns().iter().position(|column| column.name.eq_ignore_ascii_case(&name.value));
        found.ok_or_else(|| Fault::error(Cause::UnknownColumn, format!("there is no column {name}")))
    }

    fn column_of(&self, expr: &Expr) -> Result<usize, Fault> {
        match expr {
            Expr::Identifier(name) => self.column(name),
            Expr::CompoundIdentifier(parts) => match (parts.as_slice(), self.table) {
                ([of, name] | [_, of, name], Some(table)) if of.value.eq_ignore_ascii_case(table.name()) => {
                    self.column(name)
                }
                _ => Err(Fault::error(Cause::UnknownColumn, format!("there is no column {expr}"))),
            },
            _ => Err(unsupported(format_args!("{expr} in the place of a column"))),
        }
    }

    fn item(&self, expr: &Expr, alias: Option<&Ident>) -> Result<(Column, Item), Fault> {
        let kind = |at: usize| self.columns().get(at).map_or(Kind::Text, |column| column.kind);
        let (kind, item) = match expr {
            Expr::Function(function) => match self.aggregate(function)? {
                Some(item) => (
                    match item {
                        Item::Least(at) | Item::Most(at) => kind(at),
                        _ => Kind::Int8,
                    },
                    item,
                ),
                None => (Kind::Text, value_of(function)?),
            },
            Expr::Identifier(name) if name.value.starts_with("@@") => system(&name.value)?,
            Expr::CompoundIdentifier(parts) if parts.iter().any(|part| part.value.starts_with('@')) => {
                let name: Vec<&str> = parts.iter().map(|part| part.value.as_str()).collect();
                system(&name.join("."))?
            }
            _ => {
                let at = self.column_of(expr)?;
                (kind(at), Item::Column(at))
            }
        };
        let name = match (alias, &item) {
            (Some(alias), _) => Cow::Owned(alias.value.clone()),
            (None, Item::Column(at)) => {
                self.columns().get(*at).map_or_else(Cow::default, |of| of.name.clone())
            }
            (None, _) => Cow::Owned(expr.to_string()),
        };
        Ok((Column { name, kind }, item))
    }

    /// `None` if it is a function of another kind.
    fn aggregate(&self, function: &Function) -> Result<Option<Item>, Fault> {
        let name = function.name.to_string().to_ascii_uppercase();
        if !["COUNT", "SUM", "MIN", "MAX"].contains(&name.as_str()) {
            return Ok(None);
        }
        let FunctionArguments::List(list) = &function.args else { return Err(unsupported(function)) };
        if list.duplicate_treatment.is_some() || !list.clauses.is_empty() || function.over.is_some() {
            return Err(unsupported(function));
        }
        let at = match list.args.as_slice() {
            [FunctionArg::Unnamed(FunctionArgExpr::Wildcard)] if name == "COUNT" => {
                return Ok(Some(Item::Count(None)));
            }
            [FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))] => self.column_of(expr)?,
            _ => return Err(unsupported(function)),
        };
        Ok(Some(match name.as_str() {
            "COUNT" => Item::Count(Some(at)),
            "SUM" => Item::Sum(at),
            "MIN" => Item::Least(at),
            _ => Item::Most(at),
        }))
    }

    fn order(&self, by: OrderBy, items: &[(Column, Item)]) -> Result<Vec<(Item, bool)>, Fault> {
        let OrderByKind::Expressions(all) = by.kind else { return Err(unsupported("ORDER BY ALL")) };
        let mut order = Vec::new();
        for one in all {
            let down = match (&one.options.sort, one.options.nulls_first) {
                (None | Some(OrderBySort::Asc), None) => false,
                (Some(OrderBySort::Desc), None) => true,
                _ => return Err(unsupported("ORDER BY with more than ASC or DESC")),
            };
            let named = |name: &str| items.iter().find(|(column, _)| column.name.eq_ignore_ascii_case(name));
            let position = match constant(&one.expr) {
                Some(Cell::Int(at)) => usize::try_from(at).ok().and_then(|at| items.get(at.checked_sub(1)?)),
                _ => None,
            };
            let item = match (&one.expr, position) {
                (_, Some((_, item))) => item.clone(),
                (Expr::Identifier(name), _) if named(&name.value).is_some() => {
                    named(&name.value).map_or(Item::User, |(_, item)| item.clone())
                }
                (expr, _) => self.item(expr, None)?.1,
            };
            order.push((item, down));
        }
        Ok(order)
    }

    fn test(&self, expr: &Expr) -> Result<Test, Fault> {
        let negate = |negated: bool, test: Test| if negated { Test::Not(Box::new(test)) } else { test };
        Ok(match expr {
            Expr::Nested(inner) => self.test(inner)?,
            Expr::UnaryOp { op: UnaryOperator::Not, expr } => Test::Not(Box::new(self.test(expr)?)),
            Expr::IsNull(expr) => Test::Null(self.term(expr)?),
            Expr::IsNotNull(expr) => Test::Not(Box::new(Test::Null(self.term(expr)?))),
            Expr::InList { expr, list, negated } => {
                let list = list.iter().map(|one| self.term(one)).collect::<Result<_, _>>()?;
                negate(*negated, Test::In(self.term(expr)?, list))
            }
            Expr::Like { negated, any: false, expr, pattern, escape_char: None } => match constant(pattern) {
                Some(Cell::Text(pattern)) => negate(*negated, Test::Like(self.term(expr)?, pattern)),
                _ => return Err(unsupported("LIKE with more than a text")),
            },
            Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
                Test::And(Box::new(self.test(left)?), Box::new(self.test(right)?))
            }
            Expr::BinaryOp { left, op: BinaryOperator::Or, right } => {
                Test::Or(Box::new(self.test(left)?), Box::new(self.test(right)?))
            }
            Expr::BinaryOp { left, op, right } => {
                let how = match op {
                    BinaryOperator::Eq => Comparison::Equal,
                    BinaryOperator::NotEq => Comparison::Unequal,
                    BinaryOperator::Lt => Comparison::Less,
                    BinaryOperator::LtEq => Comparison::AtMost,
                    BinaryOperator::Gt => Comparison::More,
                    BinaryOperator::GtEq => Comparison::AtLeast,
                    _ => return Err(unsupported(format_args!("the operator {op}"))),
                };
                Test::Compare(self.term(left)?, how, self.term(right)?)
            }
            _ => return Err(unsupported("such a condition")),
        })
    }

    fn term(&self, expr: &Expr) -> Result<Term, Fault> {
        match expr {
            Expr::Nested(inner) => self.term(inner),
            expr => match constant(expr) {
                Some(value) => Ok(Term::Value(value)),
                None => self.column_of(expr).map(Term::Column),
            },
        }
    }
}

/// A value as it stands; `None` if it is none.
fn constant(expr: &Expr) -> Option<Cell> {
    match expr {
        Expr::Value(value) => Some(match &value.value {
            Value::Number(digits, _) => match digits.parse() {
                Ok(number) => Cell::Int(number),
                Err(_) => Cell::Text(digits.clone()),
            },
            Value::SingleQuotedString(text) | Value::DoubleQuotedString(text) => Cell::Text(text.clone()),
            Value::Boolean(flag) => Cell::from(*flag),
            Value::Null => Cell::Null,
            _ => return None,
        }),
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => match constant(expr)? {
            Cell::Int(number) => Some(Cell::Int(number.checked_neg()?)),
            _ => None,
        },
        _ => None,
    }
}

fn system(name: &str) -> Result<(Kind, Item), Fault> {
    let bare = name.trim_start_matches('@').to_ascii_lowercase();
    let bare =
        ["session.", "global.", "local."].iter().find_map(|scope| bare.strip_prefix(scope)).unwrap_or(&bare);
    let value = variable(bare).ok_or_else(|| {
        Fault::error(Cause::InvalidParameter, format!("Unknown system variable '{bare}'")).code("1193/HY000")
    })?;
    let kind = if matches!(value, Cell::Int(_)) { Kind::Int8 } else { Kind::Text };
    Ok((kind, Item::Value(value)))
}

fn value_of(call: &Function) -> Result<Item, Fault> {
    let bare = match &call.args {
        FunctionArguments::List(list) => list.args.is_empty(),
        FunctionArguments::None => true,
        FunctionArguments::Subquery(_) => false,
    };
    let name = call.name.to_string().to_ascii_lowercase();
    let found = if bare && call.over.is_none() { function(&name) } else { None };
    found.ok_or_else(|| unsupported(format_args!("the function {}", call.name)))
}

fn limits(clause: Option<LimitClause>) -> Result<(usize, usize), Fault> {
    let (most, skip) = match clause {
        None => return Ok((0, usize::MAX)),
        Some(LimitClause::LimitOffset { limit, offset, limit_by }) if limit_by.is_empty() => {
            (limit, offset.map(|offset| offset.value))
        }
        Some(LimitClause::OffsetCommaLimit { offset, limit }) => (Some(limit), Some(offset)),
        Some(_) => return Err(unsupported("LIMIT BY")),
    };
    let count = |expr: Option<Expr>, otherwise: usize| match expr.as_ref().map(constant) {
        None => Ok(otherwise),
        Some(Some(Cell::Int(count))) => usize::try_from(count).map_err(|_| unsupported("a negative LIMIT")),
        Some(_) => Err(unsupported("LIMIT with more than a number")),
    };
    Ok((count(skip, 0)?, count(most, usize::MAX)?))
}
