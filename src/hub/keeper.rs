//! Keeps the connection of a hub: makes it when somebody listens, says what the hub wants said, and passes on what it
//! hears.

use super::{Hub, Note};
use pool::Cluster;
use protocol::Protocol;
use std::collections::HashSet;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio_postgres::{AsyncMessage, Client};

/// Between two attempts to connect.
const PAUSE: Duration = Duration::from_millis(200);
/// How often the hub looks whether its connection still goes to the primary.
const LOOK: Duration = Duration::from_secs(1);

/// Connects whenever somebody listens, as long as there is a hub.
pub(super) async fn keep<P: Protocol>(cluster: Weak<Cluster<P>>, database: String, hub: Weak<Hub>) {
    loop {
        {
            let (Some(hub), Some(cluster)) = (hub.upgrade(), cluster.upgrade()) else { return };
            if !hub.is_idle() {
                let primary = cluster.view().primary;
                match cluster.control(&database).await {
                    Ok((client, connection)) => {
                        let mut connection = Box::pin(connection);
                        let is_primary = || cluster.view().primary == primary;
                        let next = move |cx: &mut Context<'_>| connection.as_mut().get_mut().poll_message(cx);
                        serve(&hub, client, next, is_primary).await;
                        hub.lose();
                    }
                    Err(error) => {
                        tracing::debug!(database, %error, "the hub of notifications cannot connect")
                    }
                }
            } else {
                // Looked at again soon: whoever drops the hub does not wake it.
                let _ = tokio::time::timeout(LOOK, hub.work.notified()).await;
                continue;
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Serves on one connection until it is lost, the primary changes, or nobody listens.
async fn serve(
    hub: &Hub,
    client: Client,
    mut next: impl FnMut(&mut Context<'_>) -> Poll<Option<Result<AsyncMessage, tokio_postgres::Error>>>,
    is_primary: impl Fn() -> bool,
) {
    type Saying<'a> = Pin<Box<dyn Future<Output = Result<(), tokio_postgres::Error>> + Send + 'a>>;
    let mut saying: Option<(Saying<'_>, HashSet<Arc<str>>)> = None;
    loop {
        if saying.is_none()
            && let Some((text, then)) = hub.next()
        {
            let client = &client;
            saying = Some((Box::pin(async move { client.batch_execute(&text).await }), then));
        }
        if saying.is_none() && hub.is_idle() {
            return;
        }
        let said = poll_fn(|cx| match &mut saying {
            Some((saying, _)) => saying.as_mut().poll(cx),
            None => Poll::Pending,
        });
        tokio::select! {
            message = poll_fn(&mut next) => match message {
                Some(Ok(AsyncMessage::Notification(note))) => hub.deliver(&Note {
                    process: note.process_id(),
                    channel: note.channel().into(),
                    payload: note.payload().into(),
                }),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return,
            },
            said = said => match (said, saying.take()) {
                (Ok(()), Some((_, heard))) => hub.confirm(heard),
                _ => return,
            },
            () = hub.work.notified() => {}
            () = tokio::time::sleep(LOOK) => if !is_primary() { return },
        }
    }
}
