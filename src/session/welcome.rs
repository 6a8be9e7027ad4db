//! What a client that has proven itself begins with: its service, and what the database makes of its settings.
//!
//! Settings that the client asks for are tried on a backend, so that what is wrong with them is said at once and by
//! the database. What was asked lately is not asked again.

use super::login::Gate;
use super::{errand, fence};
use crate::service::{Service, Unserved, Welcome};
use pool::{Consistency, Freshness, Need};
use protocol::fault::Cause;
use protocol::handshake::Greeting;
use protocol::own::Errand;
use protocol::settings::{Change, TOKEN};
use protocol::tracker::Memory;
use protocol::{Fault, Protocol, Settings};
use std::sync::Arc;
use std::time::Instant;

/// What the client says at sign-in of what other sessions have seen.
pub(super) fn told(greeting: &Greeting) -> Freshness {
    let mut freshness = Freshness::default();
    let token = greeting.settings.iter().find(|(name, _)| name.eq_ignore_ascii_case(TOKEN));
    if let Some((_, text)) = token {
        fence::tell(&mut freshness, Consistency::Session, text, Instant::now());
    }
    freshness
}

/// What serves the client, and what it is told of its session.
///
/// # Errors
/// Why it may not come in.
pub(super) async fn welcome<P: Protocol>(
    gate: &Gate<P>,
    greeting: &Greeting,
) -> Result<(Arc<Service<P>>, Arc<Welcome>), Fault> {
    let service =
        gate.directory.service(&greeting.user, &greeting.database, greeting.flavour).map_err(|unserved| {
            match unserved {
                Unserved::User => Fault::fatal(
                    Cause::NotAllowed,
                    "no cluster is configured for this user, or the user no longer is",
                ),
                Unserved::Database => Fault::fatal(
                    Cause::UnknownDatabase,
                    format!("database \"{}\" does not exist", greeting.database),
                ),
            }
        })?;
    let latches = &gate.directory.latches;
    if latches.is_disabled(&service.domain) {
        let message = format!("database \"{}\" is not accepting connections", greeting.database);
        return Err(Fault::fatal(Cause::NotAllowed, message).code("55000"));
    }
    let boxed = |(name, value): &(String, String)| (name.as_str().into(), value.as_str().into());
    // What a session is told of others is its own, and no setting of its backends.
    let settings = greeting.settings.iter().filter(|(name, _)| !name.eq_ignore_ascii_case(TOKEN));
    let asked = Settings::new(settings.map(boxed).collect());
    let now = Instant::now();
    let kept = service.welcomes.find(&asked, now);
    if latches.is_paused(&service.domain) {
        // Nothing may be asked now: an old answer is better than a wait.
        if let Some((welcome, _)) = kept {
            return Ok((service, welcome));
        }
        let resumed = latches.resumed(&service.domain);
        let message = "the database is paused";
        let late = |_| Fault::fatal(Cause::Timeout, message);
        tokio::time::timeout(service.query_wait_timeout, resumed).await.map_err(late)?;
    } else if let Some((welcome, true)) = kept {
        return Ok((service, welcome));
    }
    match (ask(&service, &asked).await, kept) {
        (Ok(welcome), _) => {
            let welcome = Arc::new(welcome);
            service.welcomes.keep(asked, Arc::clone(&welcome), Instant::now());
            Ok((service, welcome))
        }
        (Err(fault), Some((welcome, _))) if fault.cause != Cause::InvalidParameter => Ok((service, welcome)),
        (Err(fault), _) => Err(fault),
    }
}

/// Asks a backend what it makes of the settings that a client wants.
async fn ask<P: Protocol>(service: &Service<P>, asked: &Settings) -> Result<Welcome, Fault> {
    let now = Instant::now();
    let mut freshness = Freshness::default();
    let deadline = now + service.query_wait_timeout;
    let need = Need::of_anybody(&mut freshness, now, deadline);
    let mut lease = service.access.lease(need).await.map_err(|error| error.fault())?.lease;
    let lost = |_| Fault::fatal(Cause::BackendLost, "the database was lost while a client signed in");
    let have = lease.memory.settings().clone();
    let changes: Vec<Change<'_>> = have.changes(asked);
    let applied = errand::run(&mut lease, &Errand::Apply(&changes), &mut Vec::new()).await.map_err(lost)?;
    if let Some((code, message)) = applied.error {
        return Err(Fault::fatal(Cause::InvalidParameter, message).code(code));
    }
    lease.memory.set_settings(asked.clone());
    let names: Vec<Box<str>> =
        asked.iter().map(|(name, _)| name).filter(|name| name.contains('.')).map(Into::into).collect();
    let inspected = errand::run(&mut lease, &Errand::Inspect { names: &names, things: &[] }, &mut Vec::new())
        .await
        .map_err(lost)?;
    if inspected.error.is_some() {
        return Err(Fault::fatal(Cause::Internal, "the session's settings could not be read back"));
    }
    let found = lease.memory.difference(inspected.inspection);
    let heard = lease.memory.reported().clone();
    let mut reported = heard.clone();
    // What a database does not report by itself.
    for (name, value) in found.settings.iter().filter(|(name, _)| heard.value(name).is_some()) {
        reported.note(name, value);
    }
    lease.memory.set_settings(found.settings.clone());
    lease.release();
    Ok(Welcome { reported, heard, settings: found.settings })
}
