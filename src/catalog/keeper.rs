//! Has a catalog read when it is wanted and on a timer, as long as anybody holds it.

use super::{Slot, mysql, postgres};
use crate::config::Engine;
use pool::{Backoff, Cluster};
use protocol::Protocol;
use router::Catalog;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Between two attempts to read one, at first and at most: whoever may name any database may name many that are none.
const PAUSE: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// From a change of the schema to the next reading: changes come in lots.
const GATHER: Duration = Duration::from_millis(20);
/// From a call of an unknown function to the next reading: names that nobody knows are called again and again.
const WONDER: Duration = Duration::from_secs(1);
/// How long reading may take.
const READ_MAX: Duration = Duration::from_secs(30);
/// How often it is read where it is to be read only after changes: they may be made elsewhere.
const SELDOM: Duration = Duration::from_secs(3600);

/// Keeps the catalog of `database` up to date, for ever if nobody lets go of it.
pub(super) async fn keep<P: Protocol>(
    cluster: Weak<Cluster<P>>,
    engine: Engine,
    database: String,
    slot: Weak<Slot>,
    refresh: Option<Duration>,
) {
    let mut backoff = Backoff::new(PAUSE, PAUSE_MAX);
    loop {
        let (Some(held), Some(alive)) = (slot.upgrade(), cluster.upgrade()) else { return };
        let begun = held.doubts();
        let reading = async {
            match engine {
                Engine::Postgres => postgres::read(&alive, &database).await,
                Engine::Mysql => read_mysql(&alive).await,
            }
        };
        match tokio::time::timeout(READ_MAX, Box::pin(reading)).await {
            Ok(Ok(catalog)) => {
                held.learn(begun, catalog);
                backoff.reset();
            }
            Ok(Err(error)) => tracing::debug!(database, error, "the catalog cannot be read yet"),
            Err(_) => tracing::warn!(database, "reading the catalog takes too long"),
        }
        drop(alive);
        let pause = match held.current().is_settled() {
            true => refresh.unwrap_or(SELDOM),
            false => backoff.next(fastrand::f64()),
        };
        tokio::select! {
            () = held.doubted_since(begun) => tokio::time::sleep(GATHER).await,
            () = held.wondered.notified() => tokio::time::sleep(WONDER).await,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// One catalog serves all databases of a MySQL cluster.
async fn read_mysql<P: Protocol>(cluster: &Arc<Cluster<P>>) -> Result<Catalog, String> {
    let mut conn = cluster.control_mysql("").await.map_err(|error| error.to_string())?;
    let catalog = mysql::read(&mut conn).await.map_err(|error| error.to_string())?;
    let _ = conn.disconnect().await;
    Ok(catalog)
}
