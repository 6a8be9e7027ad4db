--: the plainest reads
SELECT 1
--> replica read

SELECT 1;
--> replica read

--: a trailing semicolon and comments are no second statement
SELECT 1; -- done
/* really */
--> replica read

--: comments and white space first
   /* a */ -- b
  SELECT 1
--> replica read

SELECT abalance FROM pgbench_accounts WHERE aid = 12345;
--> replica read

SELECT abalance FROM pgbench_accounts WHERE aid = $1
--> replica read

select * from t where id in (1, 2, 3) order by created_at desc limit 10 offset 5
--> replica read

--: upper case, odd spacing
SeLeCt	*
FrOm t
--> replica read

(SELECT 1) UNION ALL (SELECT 2)
--> replica read

((SELECT 1))
--> replica read

VALUES (1, 'a'), (2, 'b')
--> replica read

TABLE users
--> replica read

SELECT count(*), sum(amount), avg(amount), min(a), max(b) FROM t GROUP BY c HAVING count(*) > 1
--> replica read

SELECT lower(name), upper(name), length(name), trim(both ' ' from name), substring(name from 1 for 3) FROM users
--> replica read

--: FOR inside substring and overlay locks nothing
SELECT substring(a for 3), overlay(a placing 'x' from 1 for 2) FROM t
--> replica read

SELECT coalesce(a, 0), nullif(a, b), greatest(a, b), least(a, b) FROM t
--> replica read

SELECT CASE WHEN (a = 1) THEN (b) ELSE (c) END FROM t
--> replica read

SELECT extract(epoch from now()), date_trunc('day', created_at), age(created_at), to_char(created_at, 'YYYY') FROM t
--> replica read

SELECT current_timestamp, current_date, localtime(0), current_user, session_user
--> replica read

SELECT a::int, b::text, cast(c as numeric(10, 2)), d::varchar(20), e::timestamp(3) with time zone FROM t
--> replica read

SELECT 'users'::regclass, 'x'::regtype::oid
--> replica read

SELECT row_number() OVER (PARTITION BY a ORDER BY b), rank() OVER w, sum(x) FILTER (WHERE x > 0) OVER (ORDER BY y) FROM t WINDOW w AS (ORDER BY z)
--> replica read

SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY x) FROM t
--> replica read

SELECT a, b, count(*) FROM t GROUP BY GROUPING SETS ((a), (b), ()), ROLLUP (a)
--> replica read

SELECT a FROM t GROUP BY ROLLUP (a, b)
--> replica read

SELECT * FROM a JOIN b USING (id) LEFT JOIN c ON (c.id = b.id) CROSS JOIN LATERAL (SELECT 1) x
--> replica read

SELECT * FROM a JOIN (SELECT id FROM b) s ON s.id = a.id
--> replica read

SELECT * FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.id = t.id) AND a = ANY (ARRAY[1, 2]) AND b <> ALL ('{1,2}')
--> replica read

SELECT DISTINCT ON (a) a, b FROM t ORDER BY a, b
--> replica read

SELECT * FROM generate_series(1, 10) AS g
--> replica read

SELECT * FROM generate_series(1, 10) AS g(n)
--> replica read

SELECT * FROM generate_series(1, 10) WITH ORDINALITY AS g(n, o)
--> replica read

SELECT * FROM unnest(ARRAY[1, 2], ARRAY['a', 'b']) AS u(id, name)
--> replica read

SELECT * FROM (VALUES (1, 'a')) AS v(id, name)
--> replica read

SELECT data->>'a', data #>> '{a,b}', data @> '{"a": 1}', data ? 'k', data ?| array['a'] FROM t
--> replica read

SELECT json_agg(row_to_json(t)), jsonb_build_object('a', 1), json_object_agg(a, b) FROM t
--> replica read

SELECT * FROM jsonb_to_recordset('[{"a":1}]') AS x(a int, b text)
--> replica read

SELECT to_tsvector('english', body) @@ plainto_tsquery('word') FROM docs
--> replica read

WITH x AS (SELECT 1 AS a) SELECT * FROM x
--> replica read

WITH x AS MATERIALIZED (SELECT 1), y AS NOT MATERIALIZED (SELECT 2) SELECT * FROM x, y
--> replica read

WITH RECURSIVE t(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM t WHERE n < 100) SELECT sum(n) FROM t
--> replica read

WITH a(x, y) AS (SELECT 1, 2), b(z) AS (SELECT x FROM a) SELECT * FROM b
--> replica read

--: words of danger that are only names of columns
SELECT t.update, t.delete, t.into FROM t
--> replica read

SELECT a AS insert, b AS "delete" FROM t
--> replica read

SELECT "update", "insert" FROM "delete"
--> replica read

SELECT updated_at, deleted, inserted_by FROM t
--> replica read

--: and only words of a text
SELECT 'insert into t values (1); delete from t'
--> replica read

SELECT $$update t set a = 1$$, $x$delete $$ from t$x$
--> replica read

--: harmless functions that the catalog calls volatile
SELECT random(), clock_timestamp(), timeofday(), gen_random_uuid()
--> replica read

SELECT pg_sleep(1)
--> replica read

--: questions about the server that any server may answer
SELECT inet_server_port()
--> replica read

SELECT inet_server_addr(), pg_backend_pid(), version(), current_database(), current_setting('a.b', true)
--> replica read

SELECT pg_relation_size('t'), pg_size_pretty(pg_database_size('x'))
--> replica read

--: EXPLAIN runs nothing
EXPLAIN SELECT * FROM t
--> replica read

EXPLAIN (VERBOSE, COSTS off) SELECT * FROM t
--> replica read

EXPLAIN INSERT INTO t VALUES (1)
--> replica read

EXPLAIN (ANALYZE false) DELETE FROM t
--> replica read

EXPLAIN ANALYZE SELECT * FROM t
--> replica read

EXPLAIN (ANALYZE, BUFFERS) SELECT stable_fn(1)
--> replica read

EXPLAIN (SELECT 1)
--> replica read

EXPLAIN SELECT volatile_fn()
--> replica read

COPY t TO STDOUT
--> replica copy

COPY public.t (a, b) TO STDOUT WITH (FORMAT csv, HEADER)
--> replica copy

COPY (SELECT * FROM t WHERE lower(a) = 'x') TO STDOUT
--> replica copy

COPY (SELECT stable_fn(a) FROM t) TO STDOUT CSV
--> replica copy

SELECT * FROM pg_catalog.pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
--> replica read

SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'
--> replica read

--: a batch of reads is a read
SELECT 1; SELECT 2; SELECT lower('A')
--> replica read

SELECT * FROM t TABLESAMPLE SYSTEM (10)
--> replica read

SELECT * FROM t FETCH FIRST 5 ROWS ONLY
--> replica read

SELECT * FROM t FOR READ ONLY
--> replica read

SELECT '2020-01-01'::date + interval '1 day', interval(3) '1 second', timestamp '2020-01-01'
--> replica read

SELECT a[1], a[1:2], (b).c, (b).* FROM t
--> replica read

SELECT xmlelement(name foo, xmlattributes(a AS b)), xmlagg(x) FROM t
--> replica read

SELECT a COLLATE "C", a LIKE 'x%' ESCAPE '!', a ~* 'b', a SIMILAR TO 'c' FROM t
--> replica read

SELECT (a, b) OVERLAPS (c, d), ROW(1, 2) = (1, 2) FROM t
--> replica read

;;; SELECT 1 ;;
--> replica read

SELECT pg_catalog.lower('A'), "lower"('B'), PG_CATALOG.UPPER('c')
--> replica read

--: doubly parenthesised it looks like options; rare enough
EXPLAIN ((SELECT 1))
--> primary write unknown @unparseable
