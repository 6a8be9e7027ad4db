//! Reads the sources that may change a session behind the text of a statement.
//!
//! Bodies of functions, and whatever a relation runs by itself: triggers, defaults, checks, indexes, rules,
//! views and policies, and the relations whose writes reach others. What they come to is the router's to say.

use router::{CatalogBuilder, Owner};
use tokio_postgres::Client;

/// Functions in languages whose source is text, with what their arguments default to.
const FUNCTIONS: &str = "SELECT p.proname::text, pg_catalog.left(p.prosrc || ' ' || pg_catalog.pg_get_function_arguments(p.oid), 262144) \
    FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid = p.prolang \
    JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace \
    WHERE p.oid >= 16384 AND p.prokind <> 'a' AND n.nspname <> 'information_schema' AND l.lanname NOT IN ('c', 'internal')";
/// Bodies in the notation of the SQL standard, which are kept elsewhere since PostgreSQL 14.
const SQL_BODIES: &str = "SELECT p.proname::text, pg_catalog.pg_get_function_sqlbody(p.oid) \
    FROM pg_catalog.pg_proc p WHERE p.oid >= 16384 AND p.prosqlbody IS NOT NULL";
/// An aggregate calls what it is made of.
const AGGREGATES: &str = "SELECT DISTINCT p.proname::text, s.proname::text FROM pg_catalog.pg_proc p \
    JOIN pg_catalog.pg_aggregate a ON a.aggfnoid = p.oid \
    JOIN pg_catalog.pg_proc s ON s.oid IN (a.aggtransfn, a.aggfinalfn, a.aggcombinefn, a.aggmtransfn, a.aggminvtransfn, a.aggmfinalfn) \
    WHERE p.oid >= 16384 AND s.oid >= 16384";
/// Volatile functions in machine code, without those of common extensions that are known to keep nothing.
const OPAQUE: &str = "SELECT DISTINCT p.proname::text FROM pg_catalog.pg_proc p \
    JOIN pg_catalog.pg_language l ON l.oid = p.prolang AND l.lanname IN ('c', 'internal') \
    WHERE p.oid >= 16384 AND p.provolatile = 'v' AND p.prokind <> 'a' \
    AND p.proname NOT IN ('uuid_generate_v1', 'uuid_generate_v1mc', 'uuid_generate_v4', 'gen_random_uuid', \
        'gen_random_bytes', 'gen_salt', 'crypt', 'moddatetime', 'autoinc', 'insert_username', 'lo_manage', \
        'timetravel', 'check_primary_key', 'check_foreign_key', 'pg_stat_statements', 'pg_stat_statements_info', \
        'pg_stat_statements_reset', 'plpgsql_call_handler', 'plpgsql_inline_handler', 'plpgsql_validator')";
/// By relation: whether it runs when the relation is read or when it is written, and its text.
const RELATIONS: &str = "SELECT c.relname::text, 'w', pg_catalog.pg_get_triggerdef(t.oid) \
      FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid WHERE NOT t.tgisinternal \
    UNION ALL SELECT c.relname::text, 'w', pg_catalog.pg_get_expr(d.adbin, d.adrelid) \
      FROM pg_catalog.pg_attrdef d JOIN pg_catalog.pg_class c ON c.oid = d.adrelid \
      WHERE c.oid >= 16384 AND pg_catalog.pg_get_expr(d.adbin, d.adrelid) LIKE '%(%' \
    UNION ALL SELECT c.relname::text, 'w', pg_catalog.pg_get_constraintdef(k.oid) \
      FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_class c ON c.oid = k.conrelid \
      WHERE k.contype IN ('c', 'x') AND k.oid >= 16384 \
    UNION ALL SELECT c.relname::text, 'w', pg_catalog.pg_get_constraintdef(k.oid) \
      FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_attribute a ON a.atttypid = k.contypid \
      JOIN pg_catalog.pg_class c ON c.oid = a.attrelid WHERE k.contype = 'c' AND k.contypid <> 0 AND k.oid >= 16384 \
    UNION ALL SELECT p.relname::text, 'w', c.relname::text FROM pg_catalog.pg_constraint k \
      JOIN pg_catalog.pg_class p ON p.oid = k.confrelid JOIN pg_catalog.pg_class c ON c.oid = k.conrelid WHERE k.contype = 'f' \
    UNION ALL SELECT p.relname::text, 'w', c.relname::text FROM pg_catalog.pg_inherits i \
      JOIN pg_catalog.pg_class p ON p.oid = i.inhparent JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid WHERE p.relkind IN ('r', 'p') \
    UNION ALL SELECT c.relname::text, 'w', pg_catalog.pg_get_indexdef(x.indexrelid) \
      FROM pg_catalog.pg_index x JOIN pg_catalog.pg_class c ON c.oid = x.indrelid \
      WHERE c.oid >= 16384 AND (x.indexprs IS NOT NULL OR x.indpred IS NOT NULL) \
    UNION ALL SELECT c.relname::text, 'w', pg_catalog.pg_get_ruledef(r.oid) \
      FROM pg_catalog.pg_rewrite r JOIN pg_catalog.pg_class c ON c.oid = r.ev_class WHERE c.oid >= 16384 \
    UNION ALL SELECT c.relname::text, 'r', pg_catalog.pg_get_ruledef(r.oid) \
      FROM pg_catalog.pg_rewrite r JOIN pg_catalog.pg_class c ON c.oid = r.ev_class WHERE c.oid >= 16384 AND r.ev_type = '1' \
    UNION ALL SELECT c.relname::text, 'r', pg_catalog.concat_ws(' ', pg_catalog.pg_get_expr(y.polqual, y.polrelid), \
        pg_catalog.pg_get_expr(y.polwithcheck, y.polrelid)) \
      FROM pg_catalog.pg_policy y JOIN pg_catalog.pg_class c ON c.oid = y.polrelid";

/// Adds the sources of a database to its catalog.
pub(super) async fn read(client: &Client, catalog: &mut CatalogBuilder) -> Result<(), tokio_postgres::Error> {
    let version =
        client.query_one("SELECT pg_catalog.current_setting('server_version_num')::int", &[]).await?;
    let version: i32 = version.get(0);
    let mut queries = vec![FUNCTIONS, AGGREGATES];
    if version >= 140_000 {
        queries.push(SQL_BODIES);
    }
    for query in queries {
        for row in client.query(query, &[]).await? {
            let text: Option<&str> = row.get(1);
            catalog.add_source(Owner::Function, row.get(0), text.unwrap_or_default());
        }
    }
    for row in client.query(OPAQUE, &[]).await? {
        catalog.add_opaque(row.get(0));
    }
    for row in client.query(RELATIONS, &[]).await? {
        let owner = if row.get::<_, &str>(1) == "r" { Owner::Read } else { Owner::Write };
        let text: Option<&str> = row.get(2);
        catalog.add_source(owner, row.get(0), text.unwrap_or_default());
    }
    Ok(())
}
