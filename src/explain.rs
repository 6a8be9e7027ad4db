//! `splitpool route`: what would be done with a statement, told offline.
//!
//! Without a database nothing is known of its functions, so a call of a user's own function
//! counts as one that writes; the text says so.

use crate::config::Snapshot;
use crate::service::{Trade, rules};
use router::{Catalog, Context, Lexing, Limits, Router, Target};
use std::fmt::Write;

/// Explains the route of `sql` on `cluster`, or on the only one.
///
/// # Errors
/// A cluster that is not configured, or must be named; a rule that is not valid.
pub fn explain(snapshot: &Snapshot, cluster: Option<&str>, sql: &str) -> Result<String, String> {
    let config = match cluster {
        Some(name) => snapshot.clusters.get(name).ok_or_else(|| format!("there is no cluster {name}"))?,
        None if snapshot.clusters.len() == 1 => {
            snapshot.clusters.values().next().ok_or("there is no cluster")?
        }
        None => return Err("there are several clusters: name one with --cluster".to_owned()),
    };
    let router = Router::new(Trade::of(config).dialect, Limits::default(), rules(config)?);
    let plan = router.plan(sql.as_bytes(), Lexing::TRUSTED);
    let catalog = Catalog::unknown();
    let strong = config.consistency == crate::config::Consistency::Strong;
    let route = router.decide(sql.as_bytes(), &plan, &Context { catalog: &catalog, strong });
    let target = match route.target {
        Target::Primary => "primary",
        Target::Replica => "replica",
        Target::Any => "any",
    };
    let mut text = format!("target:  {target}\nreason:  {}\nkind:    {:?}\n", route.reason, plan.kind);
    let effects: Vec<_> = route.effects.iter().map(|(_, name)| name).collect();
    if !effects.is_empty() {
        let _ = writeln!(text, "effects: {}", effects.join(", "));
    }
    if let Some(ms) = route.max_lag_ms {
        let _ = writeln!(text, "max_lag: {ms}ms");
    }
    if let Some(detail) = plan.detail.as_ref().filter(|detail| !detail.functions.is_empty()) {
        let names: Vec<_> = detail.functions.iter().map(|function| function.name.as_str()).collect();
        let _ = writeln!(
            text,
            "calls:   {} (a function of your own is looked up in the database's catalog)",
            names.join(", ")
        );
    }
    Ok(text)
}
