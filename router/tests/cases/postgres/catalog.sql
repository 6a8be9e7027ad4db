--: nothing suspected
SELECT lower(a) FROM t
--> replica read

--: a view over a volatile function
SELECT * FROM unsafe_view
--> primary read @unsafe_relation

SELECT * FROM public.unsafe_view v
--> primary read @unsafe_relation

SELECT * FROM "unsafe_view"
--> primary read @unsafe_relation

SELECT * FROM Unsafe_View
--> primary read @unsafe_relation

SELECT * FROM t WHERE a IN (SELECT a FROM unsafe_view)
--> primary read @unsafe_relation

--: another schema's relation of that name
SELECT * FROM other.unsafe_view
--> replica read

--: a column of that name
SELECT t.unsafe_view FROM t
--> replica read

TABLE unsafe_view
--> primary read @unsafe_relation

COPY unsafe_view TO STDOUT
--> primary copy @unsafe_relation

COPY (SELECT * FROM unsafe_view) TO STDOUT
--> primary copy @unsafe_relation

--: with a function the parser has seen the relations already
SELECT stable_fn(a) FROM unsafe_view
--> primary read @unsafe_relation

SELECT stable_fn(a) FROM t
--> replica read

--: a user's function by the name of a built-in one
SELECT md5(a) FROM t
--> primary read unknown @volatile_function

SELECT pg_catalog.md5(a) FROM t
--> replica read

SELECT md5 FROM t
--> replica read

--: an operator whose function writes
SELECT a <%%> b FROM t
--> primary read @unsafe_operator

SELECT a OPERATOR(public.<%%>) b FROM t
--> primary read @unsafe_operator

SELECT a <%> b FROM t
--> replica read

--: a function of a row, called like a column
SELECT t.touched FROM t
--> primary read @volatile_function

SELECT (t).touched FROM t
--> primary read @volatile_function

SELECT touched FROM t
--> replica read

SELECT 1; SELECT * FROM unsafe_view
--> primary read @unsafe_relation

WITH x(a) AS (SELECT 1) SELECT * FROM x, unsafe_view
--> primary read @unsafe_relation
