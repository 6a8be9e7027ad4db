//! SQL text and context in, a route out.
//!
//! A statement's [`Plan`] depends on its text alone and is computed in two levels: a lexer that never allocates
//! settles what is plain, a parser resolves the names in the rest. [`Router::decide`] makes a [`Route`] of it
//! with what the database's [`Catalog`] knows and what the session demands. The one rule behind everything:
//! what cannot be proven to be a read is a write.
//!
//! No IO, no clock, no hosts, no frames; nothing here waits or fails. Who is bound by an open transaction, a
//! pin, a fence or lag is decided elsewhere.

mod builtins;
mod catalog;
mod closure;
mod control;
mod decide;
mod digest;
mod effects;
mod fingerprint;
mod functions;
mod hint;
mod lexer;
mod list;
mod lookahead;
mod memory;
pub mod mysql;
mod names;
mod parse;
mod piece;
mod plan;
mod reason;
mod router;
mod rule;
mod scan;
mod shape;
mod source;
mod statement;
mod table;
mod touch;
mod words;

pub use catalog::{Catalog, CatalogBuilder, FunctionKind, Judgement, Volatility};
pub use closure::Owner;
pub use decide::{Context, Route, decide};
pub use effects::Effects;
pub use hint::{Consistency, Hint, HintTarget};
pub use mysql::Mention;
pub use plan::{Detail, Kind, Name, Plan, Target};
pub use reason::Reason;
pub use router::{Dialect, Lexing, Limits, Router};
pub use rule::{Rule, RuleError};
pub use source::{changes_schema, redefines, spelled_settings};
