//! Reads from MySQL or MariaDB which stored functions only read, which views call others, and what routines, triggers
//! and views leave in the session that runs them.
//!
//! What a user may not see is not there, and what is not there counts as writing; so the user of the probes
//! wants to see routines, triggers and views (SHOW VIEW, TRIGGER, and SELECT or SHOW_ROUTINE). A function is believed to
//! read if it is declared so and nothing in its body speaks against that; one that declares nothing only if its body
//! can be read. What a body calls must read as well.

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error};
use router::mysql::Body;
use router::{Catalog, CatalogBuilder, Context, Dialect, Effects, Lexing, Limits, Owner, Router, Target};
use std::collections::BTreeSet;

const ROUTINES: &str = "SELECT routine_schema, routine_name, sql_data_access, routine_definition, sql_mode, \
    routine_type = 'FUNCTION' FROM information_schema.routines WHERE routine_type IN ('FUNCTION', 'PROCEDURE') \
    AND routine_schema NOT IN ('mysql', 'sys', 'information_schema', 'performance_schema')";
const VIEWS: &str = "SELECT table_schema, table_name, view_definition FROM information_schema.views \
    WHERE table_schema NOT IN ('mysql', 'sys', 'information_schema', 'performance_schema')";
const TRIGGERS: &str = "SELECT event_object_schema, event_object_table, action_statement, sql_mode \
    FROM information_schema.triggers WHERE trigger_schema NOT IN ('mysql', 'sys')";
/// Whether we see all triggers.
const SEES_TRIGGERS: &str = "SELECT COUNT(*) FROM information_schema.user_privileges WHERE privilege_type = 'TRIGGER' \
    AND grantee = CONCAT('''', REPLACE(CURRENT_USER(), '@', '''@'''), '''')";

/// Views over views over views: deeper than this they are not followed, and none of them is trusted.
const DEPTH_MAX: usize = 32;

/// A stored function or procedure.
struct Routine {
    schema: String,
    name: String,
    is_function: bool,
    reads: bool,
    source: Option<Source>,
}

struct View {
    schema: String,
    name: String,
    source: Source,
}

/// A trigger, by the table that fires it.
struct Trigger {
    schema: String,
    table: String,
    source: Source,
}

struct Source {
    text: String,
    body: Body,
}

impl Source {
    fn new(text: String, mode: &str) -> Self {
        Self { body: router::mysql::body(text.as_bytes(), lexing(mode)), text }
    }
}

/// All that was read.
struct Known {
    routines: Vec<Routine>,
    views: Vec<View>,
    triggers: Vec<Trigger>,
    sees_triggers: bool,
}

/// Reads a catalog. Names of schemas do not matter: a name is as safe as the worst that has it.
pub(super) async fn read(conn: &mut Conn) -> Result<Catalog, Error> {
    type Row = (String, String, String, Option<String>, String, bool);
    let routine = |(schema, name, access, text, mode, is_function): Row| {
        let source = text.map(|text| Source::new(text, &mode));
        let writes = source.as_ref().map(|source| source.body.writes);
        let reads = match access.as_str() {
            "MODIFIES SQL DATA" => false,
            "NO SQL" | "READS SQL DATA" => writes != Some(true),
            _ => writes == Some(false),
        };
        Routine { schema, name, is_function, reads, source }
    };
    let mut routines = conn.query_map(ROUTINES, routine).await?;
    let view = |(schema, name, text): (String, String, Option<String>)| View {
        schema,
        name,
        source: Source::new(text.unwrap_or_default(), ""),
    };
    let views = conn.query_map(VIEWS, view).await?;
    let trigger = |(schema, table, text, mode): (String, String, Option<String>, String)| Trigger {
        schema,
        table,
        source: Source::new(text.unwrap_or_default(), &mode),
    };
    let triggers = conn.query_map(TRIGGERS, trigger).await?;
    let sees_triggers = conn.query_first::<u64, _>(SEES_TRIGGERS).await?.unwrap_or(0) > 0;
    distrust_callers(&mut routines);
    Ok(judge_views(&Known { routines, views, triggers, sees_triggers }))
}

/// How the texts of a routine were read when it was made.
fn lexing(mode: &str) -> Lexing {
    let has = |word: &str| mode.split(',').any(|own| own.eq_ignore_ascii_case(word));
    Lexing {
        trusted: !has("ORACLE") && !has("MSSQL"),
        ansi_quotes: has("ANSI_QUOTES"),
        backslash_escapes: !has("NO_BACKSLASH_ESCAPES"),
    }
}

/// The names of those that `wanted` says, without case.
fn names(routines: &[Routine], wanted: impl Fn(&Routine) -> bool) -> BTreeSet<String> {
    routines.iter().filter(|routine| wanted(routine)).map(|routine| routine.name.to_lowercase()).collect()
}

/// A function that calls one which is not known to read does not read either.
fn distrust_callers(routines: &mut [Routine]) {
    loop {
        let safe = names(routines, |routine| routine.is_function && routine.reads);
        let unsafe_too = names(routines, |routine| routine.is_function && !routine.reads);
        let is_safe = |name: &str| safe.contains(name) && !unsafe_too.contains(name);
        let mut changed = false;
        for routine in routines.iter_mut().filter(|routine| routine.reads) {
            let calls = routine.source.as_ref().map_or(&[][..], |source| &source.body.calls);
            // A function may call itself.
            let own = routine.name.to_lowercase();
            if !calls.iter().all(|call| call.name == own || is_safe(&call.name)) {
                (routine.reads, changed) = (false, true);
            }
        }
        if !changed {
            return;
        }
    }
}

/// The names of routines of which everything is known: their bodies, and those of all that they call.
fn readable(routines: &[Routine]) -> BTreeSet<String> {
    let is_plain = |name: &str| name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_' || c == b'$');
    let mut known = names(routines, |_| true);
    loop {
        let is_known = |routine: &Routine| {
            let calls = routine.source.as_ref().map(|source| &source.body.calls);
            let follows = calls.is_some_and(|calls| calls.iter().all(|call| known.contains(&call.name)));
            follows && is_plain(&routine.name)
        };
        let unknown = names(routines, |routine| !is_known(routine));
        let before = known.len();
        known.retain(|name| !unknown.contains(name));
        if known.len() == before {
            return known;
        }
    }
}

/// A view is as safe as the query that it stands for.
fn judge_views(known: &Known) -> Catalog {
    let router = Router::new(Dialect::Mysql, Limits { cache_bytes: 0, ..Limits::default() }, Vec::new());
    let views = &known.views;
    let mut suspects: BTreeSet<usize> = BTreeSet::new();
    for _ in 0..DEPTH_MAX {
        let catalog = build(known, &suspects);
        let context = Context { catalog: &catalog, strong: false };
        let reads = |view: &View| {
            let text = view.source.text.as_bytes();
            router.route(text, Lexing::TRUSTED, &context).1.target == Target::Replica
        };
        let found: Vec<usize> = (0..views.len())
            .filter(|at| !suspects.contains(at) && !views.get(*at).is_some_and(&reads))
            .collect();
        if found.is_empty() {
            return catalog;
        }
        suspects.extend(found);
    }
    build(known, &(0..views.len()).collect())
}

fn build(known: &Known, suspects: &BTreeSet<usize>) -> Catalog {
    let mut catalog = CatalogBuilder::new();
    let readable = readable(&known.routines);
    let read_only = names(&known.routines, |routine| routine.reads);
    for Routine { schema, name, is_function, reads, source } in &known.routines {
        let is_readable = readable.contains(&name.to_lowercase());
        if *is_function {
            catalog.add_routine(schema, name, *reads, !is_readable);
        }
        match source {
            Some(Source { text, body }) if is_readable => {
                catalog.add_readable(name).add_body(Owner::Function, schema, name, text, body);
            }
            _ if *reads => {}
            _ => {
                catalog.add_opaque(name);
            }
        }
    }
    // What they run by themselves may be what nobody can see.
    let heeded = |body: &Body| {
        let is_known = |name: &str| readable.contains(name) || read_only.contains(name);
        let unknown = !body.calls.iter().all(|call| is_known(&call.name));
        Body { effects: if unknown { body.effects | Effects::UNKNOWN } else { body.effects }, ..body.clone() }
    };
    for Trigger { schema, table, source: Source { text, body } } in &known.triggers {
        catalog.add_body(Owner::Write, schema, table, text, &heeded(body));
    }
    for View { schema, name, source: Source { text, body } } in &known.views {
        for owner in [Owner::Read, Owner::Write] {
            catalog.add_body(owner, schema, name, text, &heeded(body));
        }
    }
    if known.sees_triggers {
        catalog.has_triggers();
    }
    for view in suspects.iter().filter_map(|at| known.views.get(*at)) {
        catalog.add_suspect(&view.name);
    }
    catalog.build()
}

#[cfg(test)]
mod tests;
