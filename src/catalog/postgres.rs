//! Reads from PostgreSQL which functions, operators and relations may write.

use pool::Cluster;
use protocol::Protocol;
use router::{Catalog, FunctionKind, Volatility};
use std::sync::Arc;

use super::sources;

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

/// Reads the catalog of a database on a connection of its own.
///
/// # Errors
/// When the database cannot be reached, or does not answer.
pub(super) async fn read<P: Protocol>(cluster: &Arc<Cluster<P>>, database: &str) -> Result<Catalog, String> {
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
