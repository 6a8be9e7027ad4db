//! What a database's catalog says about names: which functions may write, which relations are no plain tables.
//!
//! Built by whoever can ask the database, immutable afterwards, swapped whole. A name is judged by every
//! overload in every schema, because neither argument types nor the search path are known here: one volatile
//! overload spoils the name. Nothing known is not nothing there: an absent function is unknown.

use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::closure::{Closure, Owner, Sources};
use crate::mysql::{self, Body};
use crate::{Effects, Mention, functions};

type Map<V> = HashMap<Box<str>, V, RandomState>;
type Set = HashSet<Box<str>, RandomState>;

/// `pg_proc.provolatile`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Volatility {
    /// Depends on its arguments only.
    Immutable,
    /// Reads, and changes nothing.
    Stable,
    /// May do anything.
    Volatile,
}

/// `pg_proc.prokind`. An aggregate's own volatility is a dummy in the catalog: give that of its worst support
/// function.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FunctionKind {
    /// An ordinary function.
    Function,
    /// A procedure, which only `CALL` can run.
    Procedure,
    /// An aggregate.
    Aggregate,
    /// A window function.
    Window,
}

/// What is known of a function's name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Judgement {
    /// No function of that name is known.
    Unknown,
    /// Every overload only reads.
    Reads,
    /// Some overload may write.
    Writes {
        /// Some overload's body may change the session's state.
        may_set_state: bool,
    },
}

impl Judgement {
    const fn worse(self, other: Self) -> Self {
        match (self, other) {
            (Self::Unknown, known) | (known, Self::Unknown) => known,
            (Self::Reads, Self::Reads) => Self::Reads,
            (Self::Writes { may_set_state: true }, _) | (_, Self::Writes { may_set_state: true }) => {
                Self::Writes { may_set_state: true }
            }
            _ => Self::Writes { may_set_state: false },
        }
    }
}

/// One loaded state of one database's catalog.
#[derive(Debug, Default)]
pub struct Catalog {
    /// By name; the overloads of one schema are already one judgement.
    functions: Map<Vec<(Box<str>, Judgement)>>,
    relations: Map<Vec<Box<str>>>,
    operators: Set,
    attributes: Set,
    /// Names that make a text worth a second look although the lexer settled it.
    suspects: Set,
    closure: Arc<Closure>,
    /// Routines of MySQL whose source is known, and that of all that they call.
    readable: Set,
    /// It holds every trigger that there is (MySQL).
    has_triggers: bool,
    loaded: bool,
    /// No change of the schema was seen since.
    settled: bool,
    /// Tells it from all others of the process; zero is nobody's.
    id: u64,
}

/// The number of the catalog that was closed last.
static LAST_ID: AtomicU64 = AtomicU64::new(0);

fn next_id() -> u64 {
    LAST_ID.fetch_add(1, Ordering::Relaxed) + 1
}

impl Catalog {
    /// Nothing is known: every user function is unknown, no relation is suspected.
    pub fn unknown() -> Self {
        Self { id: next_id(), ..Self::default() }
    }

    /// The schema has changed: what is known of relations stays, because it can only make a verdict stricter, but
    /// nobody knows what else they do. Where functions or triggers may have changed as well (`redefines`), none is known.
    #[must_use]
    pub fn doubted(&self, redefines: bool) -> Self {
        let functions = if redefines { Map::default() } else { self.functions.clone() };
        Self {
            functions,
            relations: self.relations.clone(),
            operators: self.operators.clone(),
            attributes: self.attributes.clone(),
            suspects: self.suspects.clone(),
            closure: Arc::clone(&self.closure),
            readable: if redefines { Set::default() } else { self.readable.clone() },
            has_triggers: self.has_triggers && !redefines,
            loaded: self.loaded && !redefines,
            settled: false,
            id: next_id(),
        }
    }

    /// Whether everything that relations do is known.
    pub const fn is_settled(&self) -> bool {
        self.settled
    }

    /// Whether a catalog was loaded at all.
    pub const fn is_loaded(&self) -> bool {
        self.loaded
    }

    /// Whether a text settled as a read must be looked through for names all the same.
    pub(crate) fn has_suspects(&self) -> bool {
        !self.suspects.is_empty() || !self.operators.is_empty() || !self.attributes.is_empty()
    }

    /// Under which number verdicts on texts may be remembered: the same for all catalogs that suspect nothing.
    pub(crate) fn verdicts(&self) -> u64 {
        if self.has_suspects() || self.has_touchy() { self.id } else { 0 }
    }

    pub(crate) fn is_suspect(&self, name: &str) -> bool {
        self.suspects.contains(name)
    }

    /// Whether `x.name` may be a call of a volatile function of one composite argument.
    pub(crate) fn is_unsafe_attribute(&self, name: &str) -> bool {
        self.attributes.contains(name)
    }

    pub(crate) fn has_unsafe_attributes(&self) -> bool {
        !self.attributes.is_empty()
    }

    /// What calling a function of this name may do. Without a schema, all schemas must agree.
    pub fn function(&self, schema: Option<&str>, name: &str) -> Judgement {
        let overloads = self.functions.get(name).map_or(&[][..], Vec::as_slice);
        overloads
            .iter()
            .filter(|(of, _)| schema.is_none_or(|schema| **of == *schema))
            .fold(Judgement::Unknown, |sum, (_, judgement)| sum.worse(*judgement))
    }

    /// Whether a relation of this name may be unsafe to read on a replica.
    pub fn is_unsafe_relation(&self, schema: Option<&str>, name: &str) -> bool {
        self.relations
            .get(name)
            .is_some_and(|schemas| schema.is_none_or(|schema| schemas.iter().any(|of| **of == *schema)))
    }

    /// What calling a function of this name may leave behind, as its source and those that it calls tell.
    pub(crate) fn called(&self, name: &str) -> Effects {
        self.closure.called(name)
    }

    /// Whether a statement may leave something behind by the relations that it names.
    pub(crate) fn has_touchy(&self) -> bool {
        !self.settled || !self.closure.is_empty()
    }

    /// What a text may leave behind by the names in it, and by which names of their own.
    pub(crate) fn leaves(&self, text: &[u8]) -> Vec<Mention> {
        let mut found: Vec<Mention> = Vec::new();
        if self.closure.leaves_nothing() {
            return found;
        }
        mysql::parts(text, |name| {
            for mention in self.closure.leaves(name) {
                if !found.contains(mention) {
                    found.push(mention.clone());
                }
            }
        });
        found
    }

    /// Whether no relation leaves anything behind when it is read or written.
    pub(crate) fn is_quiet(&self) -> bool {
        self.closure.is_empty()
    }

    /// Whether everything is known that calling a routine of this name does (MySQL).
    pub(crate) fn is_readable(&self, name: &str) -> bool {
        self.readable.contains(name)
    }

    /// Whether whatever writes set off is known (MySQL).
    pub const fn has_triggers(&self) -> bool {
        self.has_triggers
    }

    /// What a statement that names this relation may leave behind.
    pub(crate) fn touched(&self, name: &str, writes: bool) -> Effects {
        self.closure.touched(name, writes)
    }

    /// Settings with a dot in their name that the database's own functions may set.
    pub fn settings(&self) -> &[Box<str>] {
        &self.closure.settings
    }

    /// Whether some operator of this symbol may write.
    pub fn is_volatile_operator(&self, symbol: &str) -> bool {
        self.operators.contains(symbol)
    }
}

/// Collects what a database says; [`CatalogBuilder::build`] closes it.
#[derive(Debug, Default)]
pub struct CatalogBuilder {
    catalog: Catalog,
    sources: Sources,
}

impl CatalogBuilder {
    /// An empty catalog that counts as loaded.
    pub fn new() -> Self {
        Self {
            catalog: Catalog { loaded: true, settled: true, ..Catalog::default() },
            sources: Sources::default(),
        }
    }

    /// Adds one overload. Names are as `pg_proc` has them. `may_set_state` says that the body could change
    /// settings, take locks or create temporary objects; give `true` unless its language and text rule it out.
    /// Functions of `pg_catalog` may be added too: they count where this crate's own list is silent.
    pub fn add_function(
        &mut self,
        schema: &str,
        name: &str,
        volatility: Volatility,
        kind: FunctionKind,
        may_set_state: bool,
    ) -> &mut Self {
        let builtin = schema == "pg_catalog" && functions::is_listed(name.as_bytes());
        if builtin {
            return self;
        }
        let reads = volatility != Volatility::Volatile && kind != FunctionKind::Procedure && !may_set_state;
        let judgement = if reads { Judgement::Reads } else { Judgement::Writes { may_set_state } };
        let overloads = self.catalog.functions.entry(name.into()).or_default();
        match overloads.iter_mut().find(|(of, _)| **of == *schema) {
            Some((_, sum)) => *sum = sum.worse(judgement),
            None => overloads.push((schema.into(), judgement)),
        }
        if !reads && functions::is_listed(name.as_bytes()) {
            self.catalog.suspects.insert(name.into());
        }
        self
    }

    /// Adds the source of a function, or of what a relation runs by itself: the text of a trigger, a default, a
    /// check, a view, a policy; for a relation that refers to another, the other's name. `name` is the function's
    /// or the relation's. For functions whose effects on the session are read from their source, call
    /// [`CatalogBuilder::add_function`] with `may_set_state` false.
    pub fn add_source(&mut self, owner: Owner, name: &str, text: &str) -> &mut Self {
        self.sources.add(owner, name, text.as_bytes());
        self
    }

    /// Adds a function whose source cannot be read, and that may do anything it likes to its session.
    pub fn add_opaque(&mut self, name: &str) -> &mut Self {
        self.sources.add_known(name, Effects::UNKNOWN);
        self
    }

    /// Adds a stored function of MySQL or MariaDB, whose name no case tells apart. `reads` says that it is
    /// declared to change no data, and that nothing in its body speaks against that.
    pub fn add_routine(&mut self, schema: &str, name: &str, reads: bool, may_set_state: bool) -> &mut Self {
        let (schema, name) = (schema.to_lowercase(), name.to_lowercase());
        let judgement = if reads { Judgement::Reads } else { Judgement::Writes { may_set_state } };
        let overloads = self.catalog.functions.entry(name.as_str().into()).or_default();
        overloads.push((schema.into(), judgement));
        // Some version may have a built-in function of that name.
        if reads { self } else { self.add_suspect(&name) }
    }

    /// Adds what runs when a routine of MySQL is called, a view is read or written, or a table is written. A name counts
    /// in whatever schema it stands; `schema` is where what it makes without a schema is made.
    pub fn add_body(&mut self, owner: Owner, schema: &str, name: &str, text: &str, body: &Body) -> &mut Self {
        let own = |mention: &Mention| {
            let schema = mention.schema.clone().or_else(|| Some(schema.into()));
            Mention { schema, ..mention.clone() }
        };
        let leaves = body.leaves.iter().map(own).collect();
        self.sources.add_body(owner, &searchable(name), text.as_bytes(), body.effects, leaves);
        self
    }

    /// Adds a routine of MySQL of which everything is known: its source was added, and those of all that it calls.
    pub fn add_readable(&mut self, name: &str) -> &mut Self {
        self.catalog.readable.insert(name.to_lowercase().into());
        self
    }

    /// Every trigger that there is was added.
    pub fn has_triggers(&mut self) -> &mut Self {
        self.catalog.has_triggers = true;
        self
    }

    /// Adds a name that no text may have that is to run on a replica, in whatever case: a view over a function
    /// that writes.
    pub fn add_suspect(&mut self, name: &str) -> &mut Self {
        self.catalog.suspects.insert(searchable(name).into());
        self
    }

    /// Adds a relation that must not be read on a replica: a view that reaches a volatile function, a foreign
    /// table, an unlogged or temporary table.
    pub fn add_unsafe_relation(&mut self, schema: &str, name: &str) -> &mut Self {
        self.catalog.relations.entry(name.into()).or_default().push(schema.into());
        self.catalog.suspects.insert(name.into());
        self
    }

    /// Adds the symbol of an operator whose function is volatile.
    pub fn add_volatile_operator(&mut self, symbol: &str) -> &mut Self {
        self.catalog.operators.insert(symbol.into());
        self
    }

    /// Adds a volatile function that `row.name` calls without parentheses: one that can be called with a single
    /// argument of a composite, record or polymorphic type. (`(expression).name` is judged without this.)
    pub fn add_volatile_attribute(&mut self, name: &str) -> &mut Self {
        self.catalog.attributes.insert(name.into());
        self
    }

    /// Closes the catalog.
    pub fn build(mut self) -> Catalog {
        let closure = self.sources.close();
        for (name, overloads) in &mut self.catalog.functions {
            if closure.called(name).is_empty() {
                continue;
            }
            // Whatever its label says: what leaves something behind must not run on a replica.
            for (_, judgement) in overloads {
                *judgement = judgement.worse(Judgement::Writes { may_set_state: false });
            }
            if functions::is_listed(name.as_bytes()) {
                self.catalog.suspects.insert(name.clone());
            }
        }
        self.catalog.closure = Arc::new(closure);
        Catalog { id: next_id(), ..self.catalog }
    }
}

/// A name as it can be found among the parts of a text: one with other characters in it by its longest part.
fn searchable(name: &str) -> String {
    let name = name.to_lowercase();
    let is_part =
        |letter: char| letter.is_alphanumeric() || matches!(letter, '_' | '$') || !letter.is_ascii();
    let part = name.split(|letter| !is_part(letter)).max_by_key(|part| part.len()).unwrap_or_default();
    if part.is_empty() { "select".to_owned() } else { part.to_owned() }
}
