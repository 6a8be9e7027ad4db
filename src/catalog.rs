//! Reads from the database which functions may write, so that calls of them can be routed.
//!
//! One reader a database, on a connection of its own, away from the data path. Until a
//! catalog is read, and from the moment a change of it was seen until it is read again, every
//! function that is not built in counts as one that writes.

use crate::config::{ClusterConfig, Engine};
use arc_swap::{ArcSwap, Guard};
use parking_lot::Mutex;
use pool::{Backoff, Cluster};
use protocol::Protocol;
use router::{Catalog, FunctionKind, Volatility};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

mod mysql;
mod sources;

/// Catalogs of one cluster that are kept up to date at a time.
const CATALOGS_MAX: usize = 256;
/// Between two attempts to read one, at first and at most: whoever may name any database may name many that are none.
const PAUSE: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// From a call of an unknown function to the next reading.
const WONDER: Duration = Duration::from_secs(1);
/// How long reading may take.
const READ_MAX: Duration = Duration::from_secs(30);

/// Functions and operators that are not PostgreSQL's own.
/// An aggregate is as volatile as the functions it is made of.
const FUNCTIONS: &str = "SELECT n.nspname::text, p.proname::text, \
    CASE WHEN p.prokind = 'a' AND EXISTS (SELECT FROM pg_catalog.pg_aggregate a JOIN pg_catalog.pg_proc s \
        ON s.oid IN (a.aggtransfn, a.aggfinalfn, a.aggcombinefn, a.aggserialfn, a.aggdeserialfn, \
                     a.aggmtransfn, a.aggminvtransfn, a.aggmfinalfn) \
        WHERE a.aggfnoid = p.oid AND s.provolatile = 'v') THEN 'v' ELSE p.provolatile::text END, p.prokind::text \
    FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace \
    WHERE p.oid >= 16384 OR (n.nspname <> 'pg_catalog' AND n.nspname <> 'information_schema')";
const OPERATORS: &str = "SELECT DISTINCT o.oprname::text FROM pg_catalog.pg_operator o \
    JOIN pg_catalog.pg_proc p ON p.oid = o.oprcode WHERE o.oid >= 16384 AND p.provolatile = 'v'";
/// Volatile functions that `row.name` calls.
const ATTRIBUTES: &str = "SELECT DISTINCT p.proname::text FROM pg_catalog.pg_proc p \
    JOIN pg_catalog.pg_type t ON t.oid = p.proargtypes[0] \
    WHERE p.oid >= 16384 AND p.pronargs = 1 AND p.provolatile = 'v' AND t.typtype IN ('c', 'p')";
/// Foreign, unlogged and temporary tables, and views that reach a volatile function of a user's
/// or a listed built-in, or another such view.
const RELATIONS: &str = "WITH RECURSIVE direct(oid) AS ( \
    SELECT c.oid FROM pg_catalog.pg_class c WHERE c.relkind = 'f' OR c.relpersistence IN ('u', 't') \
    UNION SELECT r.ev_class FROM pg_catalog.pg_rewrite r \
      JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.objid = r.oid \
        AND d.refclassid = 'pg_catalog.pg_proc'::regclass \
      JOIN pg_catalog.pg_proc p ON p.oid = d.refobjid AND p.provolatile = 'v' \
    UNION SELECT c.oid FROM pg_catalog.pg_class c WHERE c.relkind = 'v' AND c.oid >= 16384 \
      AND pg_catalog.pg_get_viewdef(c.oid) ~* \
        '(nextval|setval|currval|lastval|advisory|txid|xact_id|set_config|pg_notify|lo_|for (no key )?(update|share)|dblink)'), \
    tainted(oid) AS (SELECT oid FROM direct UNION \
      SELECT r.ev_class FROM tainted t JOIN pg_catalog.pg_depend d ON d.refobjid = t.oid \
        AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.classid = 'pg_catalog.pg_rewrite'::regclass \
      JOIN pg_catalog.pg_rewrite r ON r.oid = d.objid AND r.ev_class <> t.oid) \
    SELECT n.nspname::text, c.relname::text FROM tainted t JOIN pg_catalog.pg_class c ON c.oid = t.oid \
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'v', 'm', 'f', 'p')";

/// The catalog of one database.
pub struct Slot {
    current: ArcSwap<Catalog>,
    wanted: Notify,
    wondered: Notify,
}

impl Slot {
    /// What is known now.
    pub fn current(&self) -> Guard<Arc<Catalog>> {
        self.current.load()
    }

    /// Somebody called what is not known: it may have been made elsewhere.
    pub fn wonder(&self) {
        self.wondered.notify_one();
    }

    /// Something was created, altered or dropped, perhaps functions: until it is read again little is known.
    pub fn doubt(&self, redefines: bool) {
        self.current.store(Arc::new(self.current.load().doubted(redefines)));
        self.wanted.notify_one();
    }
}

/// The catalogs of a cluster.
pub struct Catalogs {
    slots: Mutex<HashMap<String, Arc<Slot>>>,
    read: Box<dyn Fn(String, Arc<Slot>) + Send + Sync>,
}

impl Catalogs {
    /// No catalog yet; each is read once somebody asks for it.
    pub fn new<P: Protocol>(cluster: Arc<Cluster<P>>, config: &ClusterConfig) -> Self {
        let (engine, refresh) = (config.engine, config.catalog_refresh);
        let read = Box::new(move |database, slot| {
            tokio::spawn(keep(Arc::downgrade(&cluster), engine, database, Arc::downgrade(&slot), refresh));
        });
        Self { slots: Mutex::default(), read }
    }

    /// The catalog of a database.
    pub fn slot(&self, database: &str) -> Arc<Slot> {
        let mut slots = self.slots.lock();
        if let Some(slot) = slots.get(database) {
            return Arc::clone(slot);
        }
        if slots.len() >= CATALOGS_MAX {
            slots.clear();
        }
        let slot = Arc::new(Slot {
            current: ArcSwap::from_pointee(Catalog::unknown()),
            wanted: Notify::new(),
            wondered: Notify::new(),
        });
        slots.insert(database.to_owned(), Arc::clone(&slot));
        (self.read)(database.to_owned(), Arc::clone(&slot));
        slot
    }
}

/// Reads a catalog when it is wanted and on a timer, as long as anybody has it.
async fn keep<P: Protocol>(
    cluster: std::sync::Weak<Cluster<P>>,
    engine: Engine,
    database: String,
    slot: std::sync::Weak<Slot>,
    refresh: Option<Duration>,
) {
    let mut backoff = Backoff::new(PAUSE, PAUSE_MAX);
    loop {
        let (Some(held), Some(alive)) = (slot.upgrade(), cluster.upgrade()) else { return };
        let reading = async {
            match engine {
                Engine::Postgres => read(&alive, &database).await,
                Engine::Mysql => read_mysql(&alive).await,
            }
        };
        match tokio::time::timeout(READ_MAX, Box::pin(reading)).await {
            Ok(Ok(catalog)) => {
                held.current.store(Arc::new(catalog));
                backoff.reset();
            }
            Ok(Err(error)) => tracing::debug!(database, error, "the catalog cannot be read yet"),
            Err(_) => tracing::warn!(database, "reading the catalog takes too long"),
        }
        drop(alive);
        let read = held.current.load().is_settled();
        let pause = match read {
            true => refresh.unwrap_or(Duration::from_secs(3600)),
            false => backoff.next(fastrand::f64()),
        };
        tokio::select! {
            () = held.wanted.notified() => {
                // The transaction that changed something may not have committed yet.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            () = held.wondered.notified() => {
                // Names that nobody knows are called again and again.
                tokio::time::sleep(WONDER).await;
            }
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

async fn read<P: Protocol>(cluster: &Arc<Cluster<P>>, database: &str) -> Result<Catalog, String> {
    let told = |error: tokio_postgres::Error| error.to_string();
    let (client, connection) = cluster.control(database).await.map_err(|error| error.to_string())?;
    let connection = tokio::spawn(connection);
    let mut catalog = router::CatalogBuilder::new();
    for row in client.query(FUNCTIONS, &[]).await.map_err(told)? {
        let (schema, name, volatility, kind): (&str, &str, &str, &str) =
            (row.get(0), row.get(1), row.get(2), row.get(3));
        let volatility = match volatility {
            "i" => Volatility::Immutable,
            "s" => Volatility::Stable,
            _ => Volatility::Volatile,
        };
        let kind = match kind {
            "a" => FunctionKind::Aggregate,
            "w" => FunctionKind::Window,
            "p" => FunctionKind::Procedure,
            _ => FunctionKind::Function,
        };
        // What it does to its session is read from its source.
        catalog.add_function(schema, name, volatility, kind, false);
    }
    for row in client.query(OPERATORS, &[]).await.map_err(told)? {
        catalog.add_volatile_operator(row.get(0));
    }
    for row in client.query(ATTRIBUTES, &[]).await.map_err(told)? {
        catalog.add_volatile_attribute(row.get(0));
    }
    for row in client.query(RELATIONS, &[]).await.map_err(told)? {
        catalog.add_unsafe_relation(row.get(0), row.get(1));
    }
    sources::read(&client, &mut catalog).await.map_err(told)?;
    drop(client);
    let _ = connection.await;
    Ok(catalog.build())
}
