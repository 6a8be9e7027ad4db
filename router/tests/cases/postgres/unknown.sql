--: without a catalog the lists still hold
SELECT lower(a) FROM t
--> replica read

SELECT stable_fn(a) FROM t
--> primary read unknown @unknown_function

SELECT pg_advisory_lock(1)
--> primary write advisory_lock

INSERT INTO t VALUES (f(1))
--> primary write unknown

SELECT a <%> b FROM t
--> primary read @unsafe_operator

WITH RECURSIVE t(n) AS (VALUES (1)) SELECT n FROM t
--> replica read

SELECT (a).b FROM t
--> primary read unknown @unknown_function
