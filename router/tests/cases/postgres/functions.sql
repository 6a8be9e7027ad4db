SELECT nextval('s'), currval('s'), lastval()
--> primary write sequence sequence_asked @side_effect

SELECT setval('s', 1)
--> primary write sequence @side_effect

SELECT currval('s')
--> primary write sequence_asked

SELECT lastval()
--> primary write sequence_asked

SELECT * FROM t WHERE id = nextval('s')
--> primary write sequence

--: locks succeed silently on a replica
SELECT pg_advisory_lock(1)
--> primary write advisory_lock @advisory_lock

SELECT pg_advisory_lock_shared(1, 2)
--> primary write advisory_lock

SELECT pg_try_advisory_lock(1)
--> primary write advisory_lock

SELECT pg_try_advisory_lock_shared(hashtext('x'))
--> primary write advisory_lock

SELECT pg_advisory_xact_lock(1)
--> primary write @advisory_lock

SELECT pg_try_advisory_xact_lock_shared(1)
--> primary write @advisory_lock

SELECT pg_advisory_unlock(1), pg_advisory_unlock_all()
--> primary write discard

SELECT pg_catalog.pg_advisory_lock(1)
--> primary write advisory_lock

SELECT "pg_advisory_lock"(1)
--> primary write advisory_lock

SELECT "pg_catalog"."pg_advisory_lock"(1)
--> primary write advisory_lock

SELECT PG_Advisory_LOCK(1)
--> primary write advisory_lock

SELECT pg_advisory_lock/* x */ -- y
 (1)
--> primary write advisory_lock

SELECT pg_catalog . /* x */ pg_advisory_lock (1)
--> primary write advisory_lock

--: escapes in a name
SELECT U&"pg\005fadvisory_lock"(1)
--> primary write unknown @unparseable

SELECT * FROM t WHERE pg_try_advisory_lock(id) LIMIT 1
--> primary write advisory_lock

SELECT 1 FROM t ORDER BY pg_advisory_lock(1)
--> primary write advisory_lock

INSERT INTO t SELECT pg_advisory_lock(1)
--> primary write advisory_lock

WITH x(a) AS (SELECT pg_advisory_lock(1)) SELECT * FROM x
--> primary write advisory_lock

--: set_config: only a literal true leaves nothing behind
SELECT set_config('app.tenant_id', '42', false)
--> primary write settings :app.tenant_id

SELECT set_config('app.tenant_id', '42', true)
--> primary write

SELECT set_config('work_mem', '1MB', FALSE)
--> primary write settings

SELECT set_config('App.Tenant', $1, $2)
--> primary write settings :app.tenant

SELECT set_config($1, $2, false)
--> primary write settings unknown

SELECT set_config('a' || '.b', 'x', false)
--> primary write settings unknown

SELECT pg_catalog.set_config('search_path', '', false)
--> primary write settings

SELECT set_config('a.b', f(1, true), false)
--> primary write settings unknown :a.b

SELECT set_config('a.b', (SELECT x FROM t), true), set_config('c.d', 'x', false)
--> primary write settings :c.d

INSERT INTO t VALUES (set_config('a.b', 'x', false))
--> primary write settings :a.b

SELECT txid_current(), pg_current_xact_id()
--> primary write

SELECT txid_current_if_assigned()
--> primary write

SELECT pg_current_xact_id_if_assigned()
--> primary write

SELECT pg_export_snapshot()
--> primary write

SELECT pg_notify('c', 'x')
--> primary write

SELECT pg_logical_emit_message(true, 'a', 'b')
--> primary write

SELECT pg_stat_reset()
--> primary write

SELECT pg_stat_reset_shared('bgwriter')
--> primary write

SELECT pg_cancel_backend(1), pg_terminate_backend(2)
--> primary write

SELECT lo_creat(-1), lo_open(1, 2), lo_get(3), loread(1, 2), lowrite(1, 'x'), lo_import('/x')
--> primary write

SELECT lo_unlink(loid) FROM t
--> primary write

SELECT pg_is_in_recovery()
--> primary write @server_state

SELECT pg_current_wal_lsn(), pg_last_wal_replay_lsn(), pg_last_xact_replay_timestamp()
--> primary write @server_state

SELECT pg_switch_wal(), pg_create_restore_point('x'), pg_reload_conf(), pg_promote()
--> primary write

SELECT pg_read_file('x')
--> primary write

SELECT pg_ls_dir('.'), pg_stat_file('x')
--> primary write

SELECT setseed(0.5)
--> primary write seed

SELECT * FROM dblink('dbname=x', 'delete from t') AS x(a int)
--> primary write extension_state unknown

SELECT query_to_xml('select set_config(1,2,3)', true, true, '')
--> primary write unknown

SELECT ts_stat('select 1')
--> primary write unknown

--: user functions are the catalog's matter
SELECT stable_fn(1)
--> replica read

SELECT immutable_fn(1), stable_fn(2)
--> replica read

SELECT STABLE_FN(1)
--> replica read

SELECT public.stable_fn(1)
--> replica read

SELECT "public"."stable_fn"(1)
--> replica read

SELECT * FROM stable_fn(1) AS f(a, b)
--> replica read

SELECT * FROM t, LATERAL stable_fn(t.a) f WHERE t.b = immutable_fn(2)
--> replica read

SELECT volatile_fn(1)
--> primary read unknown @volatile_function

--: the catalog knows that its body changes no state
SELECT quiet_fn(1)
--> primary read @volatile_function

SELECT setting_fn(1)
--> primary read unknown @volatile_function

SELECT unheard_of(1)
--> primary read unknown @unknown_function

SELECT "Quoted_Fn"(1)
--> replica read

--: unquoted it is another name
SELECT Quoted_Fn(1)
--> primary read unknown @unknown_function

--: one bad overload spoils the name
SELECT mixed_fn(1)
--> primary read unknown @volatile_function

SELECT public.mixed_fn(1)
--> replica read

SELECT app.mixed_fn(1)
--> primary read unknown

SELECT only_app_fn(1)
--> replica read

SELECT public.only_app_fn(1)
--> primary read unknown @unknown_function

--: a built-in function of a later version, known from the catalog
SELECT any_value(a) FROM t
--> replica read

--: hidden in an argument, a default, a subquery, a CTE, an ORDER BY, a LIMIT
SELECT lower(volatile_fn(1))
--> primary read unknown

SELECT * FROM t WHERE a IN (SELECT volatile_fn(b) FROM u)
--> primary read unknown

WITH x AS (SELECT volatile_fn(1)) SELECT 1
--> primary read unknown

SELECT 1 ORDER BY volatile_fn(1)
--> primary read unknown

SELECT 1 LIMIT volatile_fn(1)
--> primary read unknown

SELECT * FROM generate_series(1, volatile_fn(1))
--> primary read unknown

SELECT * FROM ROWS FROM (volatile_fn(1), stable_fn(2)) AS x
--> primary write unknown @unparseable

SELECT sum(volatile_fn(1)) OVER (PARTITION BY volatile_fn(2)) FROM t
--> primary read unknown

SELECT CASE WHEN volatile_fn(1) THEN 1 END
--> primary read unknown

SELECT ARRAY[volatile_fn(1)], (volatile_fn(2)).x, volatile_fn(3)::int
--> primary read unknown

VALUES (volatile_fn(1))
--> primary read unknown

--: an alias that looks like a call hides none
SELECT * FROM (SELECT 1) AS volatile_fn(a)
--> replica read

WITH volatile_fn(a) AS (SELECT 1) SELECT volatile_fn(1) FROM volatile_fn
--> primary read unknown

--: named and variadic arguments
SELECT stable_fn(a => 1, b => ARRAY[1])
--> replica read

--: what the parser does not know is no read, however harmless
SELECT stable_fn(1, VARIADIC ARRAY[1])
--> primary write @unparseable

--: DML and functions
INSERT INTO t VALUES (volatile_fn(1))
--> primary write unknown

INSERT INTO t (a, b) SELECT stable_fn(a), b FROM s
--> primary write

UPDATE t SET a = quiet_fn(a)
--> primary write

UPDATE t SET (a, b) = (1, 2) WHERE c = 3
--> primary write

DELETE FROM t WHERE unheard_of(a)
--> primary write unknown

INSERT INTO t VALUES (nextval('s'), now(), gen_random_uuid())
--> primary write sequence

--: keywords that users may call functions by
SELECT next(1)
--> primary read unknown

SELECT "coalesce"(1)
--> primary read unknown

SELECT public.coalesce(1)
--> primary read unknown

SELECT NOT over(1)
--> primary read unknown

--: operators that are not built in
SELECT a <%> b FROM t
--> replica read

SELECT a OPERATOR(public.<%>) b FROM t
--> replica read

SELECT a OPERATOR(pg_catalog.+) b FROM t
--> replica read

--: a function of one argument can be called like a field: PostgreSQL takes the lock
SELECT (1::bigint).pg_advisory_lock
--> primary write advisory_lock

SELECT (x.a)."pg_advisory_lock" FROM (SELECT 1::bigint a) x
--> primary write advisory_lock

SELECT ('s'::regclass) . /* c */ NextVal
--> primary write sequence @side_effect

SELECT a[1].nextval, $1.lo_unlink FROM t
--> primary write sequence @side_effect

SELECT (x).volatile_fn FROM t x
--> primary read unknown @volatile_function

SELECT (x).a.volatile_fn FROM t x
--> primary read unknown @volatile_function

SELECT (1).stable_fn, (x).lower, (x).street, (x).*, ((x).a).b FROM t x
--> replica read

--: names that stand before a parenthesis as keywords, and as functions where nothing closes before them
SELECT DISTINCT ON (a) over(b) FROM t
--> primary read unknown @unknown_function

SELECT DISTINCT ON (a) filter(b) FROM t
--> primary read unknown @unknown_function

SELECT DISTINCT ON (a) a, sum(b) FILTER (WHERE c) OVER (ORDER BY d) FROM t
--> replica read

SELECT 1 ORDER BY cube(1)
--> primary read unknown @unknown_function

SELECT join((SELECT 1))
--> primary read unknown @unknown_function

--: pg_settings is SET in disguise
UPDATE pg_settings SET setting = 'x' WHERE name = 'search_path'
--> primary write settings

UPDATE pg_catalog."pg_settings" SET setting = 'x'
--> primary write settings

--: local, whatever the name
SELECT set_config($1, $2, true)
--> primary write

SELECT set_config('a' || $1, coalesce($2, ('x')), true), 1
--> primary write

SELECT set_config(setting_name => 'a.b', new_value => 'x', is_local => true)
--> primary write settings unknown

SELECT set_config('a.b', 'true', NOT true)
--> primary write settings :a.b
