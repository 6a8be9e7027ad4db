//! Reads from MySQL or MariaDB which stored functions only read, and which views call others.
//!
//! What a user may not see is not there, and what is not there counts as writing; so the user of the probes
//! wants to see routines and views (SHOW VIEW, and SELECT or SHOW_ROUTINE). A function is believed to read if it
//! is declared so and nothing in its body speaks against that; one that declares nothing only if its body can be
//! read. What a body calls must read as well.

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error};
use router::mysql::Body;
use router::{Catalog, CatalogBuilder, Context, Dialect, Lexing, Limits, Router, Target};
use std::collections::BTreeSet;

const ROUTINES: &str = "SELECT routine_schema, routine_name, sql_data_access, routine_definition, sql_mode \
    FROM information_schema.routines WHERE routine_type = 'FUNCTION' \
    AND routine_schema NOT IN ('mysql', 'sys', 'information_schema', 'performance_schema')";
const VIEWS: &str = "SELECT table_name, view_definition FROM information_schema.views \
    WHERE table_schema NOT IN ('mysql', 'sys', 'information_schema', 'performance_schema')";

/// Views over views over views: deeper than this they are not followed, and none of them is trusted.
const DEPTH_MAX: usize = 32;

/// A stored function.
struct Routine {
    schema: String,
    name: String,
    reads: bool,
    body: Option<Body>,
}

struct View {
    name: String,
    definition: String,
}

/// Reads a catalog. Names of schemas do not matter: a name is as safe as the worst that has it.
pub(super) async fn read(conn: &mut Conn) -> Result<Catalog, Error> {
    let routine = |(schema, name, access, text, mode): (String, String, String, Option<String>, String)| {
        let body = text.map(|text| router::mysql::body(text.as_bytes(), lexing(&mode)));
        let reads = match access.as_str() {
            "MODIFIES SQL DATA" => false,
            "NO SQL" | "READS SQL DATA" => body.as_ref().is_none_or(|body| !body.writes),
            _ => body.as_ref().is_some_and(|body| !body.writes),
        };
        Routine { schema, name, reads, body }
    };
    let mut routines = conn.query_map(ROUTINES, routine).await?;
    let view = |(name, definition): (String, Option<String>)| View {
        name,
        definition: definition.unwrap_or_default(),
    };
    let views = conn.query_map(VIEWS, view).await?;
    distrust_callers(&mut routines);
    Ok(judge_views(&routines, &views))
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

/// A function that calls one which is not known to read does not read either.
fn distrust_callers(routines: &mut [Routine]) {
    loop {
        let safe: BTreeSet<String> = routines
            .iter()
            .filter(|routine| routine.reads)
            .map(|routine| routine.name.to_lowercase())
            .collect();
        let unsafe_too: BTreeSet<String> = routines
            .iter()
            .filter(|routine| !routine.reads)
            .map(|routine| routine.name.to_lowercase())
            .collect();
        let is_safe = |name: &str| safe.contains(name) && !unsafe_too.contains(name);
        let mut changed = false;
        for routine in routines.iter_mut().filter(|routine| routine.reads) {
            let calls = routine.body.as_ref().map_or(&[][..], |body| &body.calls);
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

/// A view is as safe as the query that it stands for.
fn judge_views(routines: &[Routine], views: &[View]) -> Catalog {
    let router = Router::new(Dialect::Mysql, Limits { cache_bytes: 0, ..Limits::default() }, Vec::new());
    let mut suspects: BTreeSet<usize> = BTreeSet::new();
    for _ in 0..DEPTH_MAX {
        let catalog = build(routines, views, &suspects);
        let context = Context { catalog: &catalog, strong: false };
        let reads = |view: &View| {
            let text = view.definition.as_bytes();
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
    build(routines, views, &(0..views.len()).collect())
}

fn build(routines: &[Routine], views: &[View], suspects: &BTreeSet<usize>) -> Catalog {
    let mut catalog = CatalogBuilder::new();
    for Routine { schema, name, reads, body } in routines {
        let may_set_state = body.as_ref().is_none_or(|body| body.may_set_state);
        catalog.add_routine(schema, name, *reads, may_set_state);
    }
    for view in suspects.iter().filter_map(|at| views.get(*at)) {
        catalog.add_suspect(&view.name);
    }
    catalog.build()
}

#[cfg(test)]
mod tests;
