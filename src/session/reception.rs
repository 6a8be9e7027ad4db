//! What becomes of an operator who has signed in, and what operators are shown of any client.

use super::login::{Gate, Leave, tell};
use super::slot::About;
use super::wire::Client;
use crate::console;
use protocol::Protocol;
use protocol::handshake::{Greeting, Login};
use std::sync::Arc;
use std::time::SystemTime;

/// Serves an operator, until one of both goes.
pub(super) async fn receive<P: Protocol>(gate: &Gate<P>, mut client: Client, mut login: P::Login) {
    let console = &gate.console;
    let greeting = login.greeting().clone();
    if let Err(fault) = console.right(&greeting.user) {
        tell(client, login, &fault).await;
        return;
    }
    let about = about(&client, &greeting, console::DOMAIN);
    let Some(slot) = gate.sessions.enter(login.key(), greeting.long_keys, about) else { return };
    let _guard = Leave { sessions: Arc::clone(&gate.sessions), slot: Arc::clone(&slot) };
    login.welcome(&console::reported(), slot.key(), client.outbox.space());
    if client.flush().await.is_ok() {
        if let Some(codec) = P::codec(greeting.abilities) {
            client.stream = client.stream.coded(codec, std::mem::take(&mut client.inbox));
        }
        let asks = |(name, value): &(String, String)| name == console::COLUMNS_OF && value == "1.7";
        let manner = console::Manner {
            user: &greeting.user,
            old: greeting.settings.iter().any(asks),
            abilities: greeting.abilities,
        };
        let _ = Box::pin(console::serve(console, client, &slot, manner)).await;
    }
}

/// What operators are shown of a client.
pub(super) fn about(client: &Client, greeting: &Greeting, domain: &str) -> About {
    let named = greeting.settings.iter().find(|(name, _)| name == "application_name");
    About {
        id: 0,
        user: greeting.user.as_str().into(),
        database: greeting.database.as_str().into(),
        domain: domain.into(),
        application: named.map_or("", |(_, name)| name).into(),
        peer: client.address(),
        local: client.stream.local(),
        tls: client.stream.is_tls(),
        since: SystemTime::now(),
    }
}
