INSERT INTO t VALUES (1)
--> primary write

UPDATE t SET a = 1
--> primary write

DELETE FROM t
--> primary write

MERGE INTO t USING s ON (t.id = s.id) WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT (a) VALUES (1)
--> primary write

--: data-modifying CTEs, first, second, nested
WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x
--> primary write @write_in_query

WITH a AS (SELECT 1), b AS (UPDATE t SET a = 1 RETURNING a) SELECT * FROM a, b
--> primary write

WITH a AS (WITH b AS (INSERT INTO t VALUES (1) RETURNING 1) SELECT * FROM b) SELECT * FROM a
--> primary write

SELECT * FROM (WITH b AS (DELETE FROM t RETURNING 1) SELECT * FROM b) x
--> primary write

WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x
--> primary write

WITH x AS (SELECT 1) UPDATE t SET a = 1 FROM x
--> primary write

WITH x AS (SELECT 1) DELETE FROM t USING x
--> primary write

WITH x AS (SELECT 1) MERGE INTO t USING x ON true WHEN MATCHED THEN DO NOTHING
--> primary write

INSERT INTO t VALUES (1) ON CONFLICT (a) DO UPDATE SET (a, b) = (1, stable_fn(2)) WHERE t.c = excluded.c
--> primary write

--: SELECT INTO, the parser's blind spot
SELECT * INTO t FROM s
--> primary write ddl @select_into

SELECT INTO t FROM s
--> primary write ddl @select_into

SELECT a INTO TEMP t FROM s
--> primary write ddl temp_table

SELECT a INTO TEMPORARY TABLE t FROM s
--> primary write ddl temp_table

SELECT a INTO LOCAL TEMP t FROM s
--> primary write ddl temp_table

SELECT a INTO UNLOGGED t FROM s
--> primary write ddl

--: up to PostgreSQL 14 a number may touch the next word
SELECT 1INTO t
--> primary write ddl

--: a column named like a keyword does not hide the word after it
SELECT t.as INTO x FROM t
--> primary write ddl

SELECT x AS as INTO y FROM t
--> primary write ddl

WITH x AS (SELECT 1 AS a) SELECT a INTO t FROM x
--> primary write ddl

SELECT 1 UNION SELECT 2 INTO t
--> primary write ddl

CREATE TABLE t AS SELECT 1
--> primary write ddl

CREATE TABLE t AS SELECT volatile_fn()
--> primary write ddl unknown

CREATE TABLE t AS SELECT stable_fn()
--> primary write ddl

CREATE TABLE t AS EXECUTE p
--> primary write ddl unknown

CREATE TABLE t (id serial PRIMARY KEY, a numeric(10, 2) DEFAULT 0, CHECK (some_fn(a)))
--> primary write ddl

CREATE TEMP TABLE t (a int)
--> primary write ddl temp_table

create temporary table t as select 1
--> primary write ddl temp_table

CREATE LOCAL TEMPORARY VIEW v AS SELECT 1
--> primary write ddl temp_table

CREATE OR REPLACE TEMP VIEW v AS SELECT 1
--> primary write ddl temp_table

CREATE TABLE pg_temp.t (a int)
--> primary write ddl temp_table

CREATE UNLOGGED TABLE t (a int)
--> primary write ddl

CREATE INDEX CONCURRENTLY i ON t (lower(a))
--> primary write ddl

CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $$ SELECT 1; DELETE FROM t $$
--> primary write ddl

CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; SELECT 2; END
--> primary write ddl

CREATE RULE r AS ON INSERT TO t DO ALSO (DELETE FROM u; DELETE FROM v)
--> primary write ddl

ALTER TABLE t ADD COLUMN b int DEFAULT random()
--> primary write ddl

DROP TABLE t
--> primary write ddl discard

TRUNCATE t
--> primary write

--: locking clauses, anywhere
SELECT * FROM t FOR UPDATE
--> primary write @locking

SELECT * FROM t FOR NO KEY UPDATE
--> primary write @locking

SELECT * FROM t FOR SHARE
--> primary write @locking

SELECT * FROM t FOR KEY SHARE
--> primary write @locking

SELECT * FROM t for /* x */ update of t nowait
--> primary write @locking

SELECT * FROM (SELECT * FROM t FOR UPDATE SKIP LOCKED LIMIT 1) x
--> primary write @locking

SELECT * FROM t WHERE id IN (SELECT id FROM u FOR KEY SHARE)
--> primary write @locking

WITH x AS (SELECT * FROM t FOR UPDATE) SELECT * FROM x
--> primary write @locking

SELECT a AS for FROM t FOR SHARE
--> primary write @locking

LOCK TABLE t IN EXCLUSIVE MODE
--> primary write @locking

--: EXPLAIN ANALYZE does what it explains
EXPLAIN ANALYZE DELETE FROM t
--> primary write

EXPLAIN (ANALYZE) INSERT INTO t VALUES (1)
--> primary write

EXPLAIN (BUFFERS, ANALYZE true, VERBOSE) UPDATE t SET a = 1
--> primary write

EXPLAIN (ANALYZE false, ANALYZE on) UPDATE t SET a = 1
--> primary write

EXPLAIN ("analyze") DELETE FROM t
--> primary write

EXPLAIN ANALYZE VERBOSE WITH x AS (DELETE FROM t RETURNING 1) SELECT 1
--> primary write

EXPLAIN ANALYZE SELECT nextval('s')
--> primary write sequence

EXPLAIN ANALYZE SELECT volatile_fn()
--> primary read unknown @volatile_function

EXPLAIN ANALYZE CREATE TABLE t AS SELECT 1
--> primary write ddl unknown

EXPLAIN ANALYZE EXECUTE p
--> primary write ddl unknown

EXPLAIN EXECUTE p
--> primary write

COPY t FROM STDIN
--> primary copy

COPY t (a, b) FROM STDIN WITH (FORMAT csv, FORCE_NOT_NULL (a))
--> primary copy

COPY t FROM STDIN WHERE some_fn(a)
--> primary copy unknown

COPY t TO '/tmp/x'
--> primary copy

COPY t TO PROGRAM 'cat'
--> primary copy

COPY (SELECT 1) TO '/tmp/x'
--> primary copy

COPY (INSERT INTO t VALUES (1) RETURNING 1) TO STDOUT
--> primary copy

COPY (DELETE FROM t RETURNING *) TO STDOUT
--> primary copy

COPY (WITH x AS (UPDATE t SET a = 1 RETURNING 1) SELECT * FROM x) TO STDOUT
--> primary copy

COPY (SELECT nextval('s')) TO STDOUT
--> primary copy sequence

COPY (SELECT volatile_fn()) TO STDOUT
--> primary copy unknown

COPY (SELECT * FROM t FOR UPDATE) TO STDOUT
--> primary copy

--: several statements: a read only if all are
SELECT 1; INSERT INTO t VALUES (1)
--> primary write

INSERT INTO t VALUES (1); SELECT 1
--> primary write

SELECT 1; SELECT 2; DROP TABLE t; SELECT 3
--> primary write ddl discard

SELECT 1;;DELETE FROM t
--> primary write

/* SELECT */ DELETE FROM t -- SELECT
--> primary write

SELECT 1; BEGIN; SELECT 2
--> primary write

BEGIN READ ONLY; SELECT 1; COMMIT
--> primary write

SELECT 1; SET a = 1
--> primary write settings

VACUUM t
--> primary write @maintenance

ANALYZE
--> primary write @maintenance

CLUSTER t
--> primary write

REINDEX TABLE t
--> primary write

CHECKPOINT
--> primary write

REFRESH MATERIALIZED VIEW CONCURRENTLY v
--> primary write

SECURITY LABEL ON TABLE t IS 'x'
--> primary write

COMMENT ON TABLE t IS 'x'
--> primary write

GRANT SELECT ON t TO u
--> primary write

REVOKE ALL ON t FROM u
--> primary write

IMPORT FOREIGN SCHEMA s FROM SERVER r INTO l
--> primary write ddl

REASSIGN OWNED BY a TO b
--> primary write ddl

NOTIFY c, 'x'
--> primary write @notify

DO $$ BEGIN PERFORM 1; END $$
--> primary write state @procedure

CALL p(1)
--> primary write unknown @procedure

LOAD 'auto_explain'
--> primary write library settings

EXECUTE p(1)
--> primary write unknown

--: a word nobody knows
FROBNICATE t
--> primary write unknown @unparseable

--: temporary objects by their schema
SELECT * FROM pg_temp.t
--> primary write temp_table @temporary

SELECT * FROM "pg_temp_3".t
--> primary write temp_table

INSERT INTO pg_temp.t VALUES (1)
--> primary write temp_table

SELECT pg_temp.f()
--> primary write temp_table unknown

--: questions about this server, which a client means for the primary
SELECT * FROM pg_stat_replication
--> primary write @server_state

SELECT count(*) FROM pg_locks
--> primary write

SELECT * FROM pg_catalog.pg_stat_activity
--> primary write

SELECT * FROM pg_prepared_statements
--> primary write

COPY (SELECT 1 TO STDOUT
--> primary copy unknown
