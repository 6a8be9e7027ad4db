//! The parser behind its fence: the only module that knows `sqlparser`.
//!
//! It is asked only about texts of bounded length and a bounded number of tokens, because the drop of a long
//! chain of operators recurses once per link; its panics are caught; a tree is never printed. It collects names
//! and judges nothing. What it cannot see (`SELECT INTO` without columns, locking clauses, most statements of
//! the session) the lexer has settled before.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use sqlparser::ast::{
    DataType, Expr, Ident, ObjectName, ObjectNamePart, Query, Statement, TableAlias, TableFactor, Visit,
    Visitor,
};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;

use crate::Name;
use crate::words::Folded;

/// The names in a statement, as the parser sees them.
#[derive(Debug, Default)]
pub(crate) struct Parsed {
    pub(crate) functions: Vec<Name>,
    pub(crate) relations: Vec<Name>,
    /// What stands before a parenthesis and is no function: aliases and CTEs with columns, types.
    pub(crate) others: Vec<String>,
}

/// Parses one statement; nothing if it fails for whatever reason.
pub(crate) fn names(text: &[u8]) -> Option<Parsed> {
    let text = std::str::from_utf8(text).ok()?;
    catch_unwind(AssertUnwindSafe(|| {
        let statements = Parser::parse_sql(&PostgreSqlDialect {}, text).ok()?;
        let [statement] = statements.as_slice() else { return None };
        if !is_walked_whole(statement) {
            return None;
        }
        let mut collector = Collector::default();
        match statement.visit(&mut collector) {
            ControlFlow::Continue(()) => Some(collector.parsed),
            ControlFlow::Break(()) => None,
        }
    }))
    .ok()
    .flatten()
}

/// Whether the visitor reaches every relation of such a statement. It does not for `COPY`, among others.
fn is_walked_whole(statement: &Statement) -> bool {
    matches!(
        statement,
        Statement::Query(_)
            | Statement::Explain { .. }
            | Statement::Insert(_)
            | Statement::Update(_)
            | Statement::Delete(_)
            | Statement::Merge(_)
            | Statement::CreateTable(_)
    )
}

#[derive(Default)]
struct Collector {
    parsed: Parsed,
}

impl Collector {
    /// A name of more than two parts, or one that is computed, breaks the walk: nobody can judge it.
    fn function(&mut self, name: &ObjectName) -> ControlFlow<()> {
        match plain(name) {
            Some(name) => self.parsed.functions.push(name),
            None => return ControlFlow::Break(()),
        }
        ControlFlow::Continue(())
    }

    /// A keyword that a function could be named by stands before a parenthesis.
    fn other(&mut self, keyword: &str) {
        self.parsed.others.push(keyword.to_owned());
    }

    fn alias(&mut self, alias: Option<&TableAlias>) {
        self.parsed.others.extend(alias.map(|alias| fold(&alias.name)));
    }
}

impl Visitor for Collector {
    type Break = ();

    fn pre_visit_statement(&mut self, statement: &Statement) -> ControlFlow<()> {
        if let Statement::Insert(insert) = statement {
            self.parsed.others.extend(insert.table_alias.iter().map(|alias| fold(&alias.alias)));
        }
        if matches!(statement, Statement::Insert(_) | Statement::Update(_) | Statement::Merge(_)) {
            self.other("set");
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        if let Some(with) = &query.with {
            self.parsed.others.extend(with.cte_tables.iter().map(|cte| fold(&cte.alias.name)));
            if with.cte_tables.iter().any(|cte| cte.materialized.is_some()) {
                self.other("materialized");
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        match plain(relation) {
            Some(name) => self.parsed.relations.push(name),
            None => return ControlFlow::Break(()),
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        match factor {
            TableFactor::Table { name, args, alias, sample, .. } => {
                self.alias(alias.as_ref());
                if sample.is_some() {
                    self.other("system");
                    self.other("bernoulli");
                }
                if args.is_some() {
                    return self.function(name);
                }
            }
            TableFactor::Function { name, alias, .. } => {
                self.alias(alias.as_ref());
                return self.function(name);
            }
            TableFactor::Derived { alias, .. }
            | TableFactor::TableFunction { alias, .. }
            | TableFactor::UNNEST { alias, .. }
            | TableFactor::NestedJoin { alias, .. } => self.alias(alias.as_ref()),
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        match expr {
            Expr::Function(function) => {
                if function.over.is_some() || function.filter.is_some() {
                    self.other("over");
                    self.other("filter");
                }
                return self.function(&function.name);
            }
            Expr::Cast { data_type: DataType::Custom(name, _), .. } => {
                self.parsed.others.extend(plain(name).map(|name| name.name));
            }
            Expr::Rollup(_) => self.other("rollup"),
            Expr::Cube(_) => self.other("cube"),
            Expr::GroupingSets(_) => self.other("sets"),
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

fn plain(name: &ObjectName) -> Option<Name> {
    match name.0.as_slice() {
        [ObjectNamePart::Identifier(name)] => Some(Name { schema: None, name: fold(name) }),
        [ObjectNamePart::Identifier(schema), ObjectNamePart::Identifier(name)] => {
            Some(Name { schema: Some(fold(schema)), name: fold(name) })
        }
        _ => None,
    }
}

fn fold(ident: &Ident) -> String {
    let bytes = ident.value.as_bytes();
    let folded = if ident.quote_style.is_some() { Folded::quoted(bytes) } else { Folded::word(bytes) };
    String::from_utf8_lossy(folded.bytes()).into_owned()
}
