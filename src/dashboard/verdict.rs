//! The dashboard's first sentence: is all well, and if not, what is wrong.
//!
//! The worst comes first. Decides from what is seen at one moment and remembers nothing.

use pool::{EndpointView, Role, View};

/// How things stand.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// `good`, `warn` or `bad`.
    pub level: &'static str,
    pub text: String,
}

/// The verdict on these clusters.
pub(super) fn of(views: &[View], is_rejected: bool, is_stopping: bool) -> Verdict {
    let (mut bad, mut warn) = (Vec::new(), Vec::new());
    if is_stopping {
        warn.push("Shutting down: clients end at their transactions' boundaries".to_owned());
    }
    let (mut serving, mut all) = (0, 0);
    for view in views {
        let name = &view.name;
        if view.primary.is_err() {
            bad.push(format!("{name} has no primary: writes wait"));
        }
        let replicas: Vec<_> = view.endpoints.iter().filter(|seen| !is_primary(seen)).collect();
        let out: Vec<_> = replicas.iter().filter(|seen| seen.why_not.is_some()).collect();
        all += replicas.len();
        serving += replicas.len() - out.len();
        if let [first, rest @ ..] = &out[..] {
            let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
            let (took, of) = (replicas.len() - out.len(), replicas.len());
            warn.push(format!(
                "{name}: {took} of {of} replicas take reads, {} is out: {}{more}",
                first.endpoint.address,
                why(first)
            ));
        }
        let waiting: u32 = view.pools.iter().map(|pool| pool.waiting).sum();
        if waiting > 0 {
            warn.push(format!("{name}: {waiting} requests wait for a backend"));
        }
    }
    if is_rejected {
        warn.push("The configuration file is not valid: the one before is in force".to_owned());
    }
    let level = match (bad.is_empty(), warn.is_empty()) {
        (false, _) => "bad",
        (true, false) => "warn",
        (true, true) => "good",
    };
    if level == "good" {
        let clusters =
            if views.len() == 1 { "1 cluster".to_owned() } else { format!("{} clusters", views.len()) };
        let text = format!("All is well: {clusters}, {serving} of {all} replicas take reads.");
        return Verdict { level, text };
    }
    Verdict { level, text: bad.into_iter().chain(warn).collect::<Vec<_>>().join(". ") + "." }
}

fn is_primary(seen: &EndpointView) -> bool {
    seen.role == Role::Primary
}

fn why(seen: &EndpointView) -> String {
    let word = seen.why_not.map_or("", pool::Why::name).replace('_', " ");
    match (seen.why_not, seen.lag) {
        (Some(pool::Why::Lagging), Some(lag)) => format!("{word}, {:.1} s behind", lag.as_secs_f64()),
        _ => word,
    }
}
