--: Django: get
SELECT "auth_user"."id", "auth_user"."password", "auth_user"."last_login", "auth_user"."is_superuser" FROM "auth_user" WHERE "auth_user"."id" = 1 LIMIT 21
--> replica read

--: Django: exists
SELECT 1 AS "a" FROM "shop_order" WHERE ("shop_order"."state" = 'open' AND NOT ("shop_order"."total" IS NULL)) LIMIT 1
--> replica read

--: Django: count of a subquery
SELECT COUNT(*) FROM (SELECT DISTINCT "a"."id" AS "col1" FROM "a" INNER JOIN "b" ON ("a"."id" = "b"."a_id") WHERE "b"."x" IN (1, 2, 3)) subquery
--> replica read

--: Django: annotations
SELECT "t"."id", COUNT("u"."id") FILTER (WHERE "u"."ok") AS "n", COALESCE(SUM("u"."x"), 0) AS "s" FROM "t" LEFT OUTER JOIN "u" ON ("t"."id" = "u"."t_id") GROUP BY "t"."id" ORDER BY "n" DESC
--> replica read

--: Django: date functions and case-insensitive match
SELECT DATE_TRUNC('month', "t"."at" AT TIME ZONE 'UTC') AS "m" FROM "t" WHERE UPPER("t"."name"::text) LIKE UPPER('%x%')
--> replica read

--: Django: full text
SELECT "d"."id", ts_rank(to_tsvector(COALESCE("d"."body", '')), plainto_tsquery('word')) AS "rank" FROM "d"
--> replica read

--: Django: session look-up with a parameter
SELECT "django_session"."session_key", "django_session"."session_data" FROM "django_session" WHERE ("django_session"."expire_date" > '2024-01-01 00:00:00+00:00'::timestamptz AND "django_session"."session_key" = 'abc') LIMIT 21
--> replica read

--: Django: introspection
SELECT c.relname, CASE WHEN c.relispartition THEN 'p' WHEN c.relkind IN ('m', 'v') THEN 'v' ELSE 't' END, obj_description(c.oid, 'pg_class') FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('f', 'm', 'p', 'r', 'v') AND n.nspname NOT IN ('pg_catalog', 'pg_toast') AND pg_catalog.pg_table_is_visible(c.oid)
--> replica read

--: Django: select_for_update
SELECT "t"."id" FROM "t" WHERE "t"."id" = 1 FOR UPDATE
--> primary write @locking

--: Django: insert, update, delete
INSERT INTO "t" ("a", "b") VALUES (1, 'x') RETURNING "t"."id"
--> primary write

UPDATE "t" SET "a" = 1, "at" = CURRENT_TIMESTAMP WHERE "t"."id" IN (1, 2)
--> primary write

DELETE FROM "t" WHERE "t"."id" IN (SELECT U0."id" FROM "t" U0)
--> primary write

--: Rails: find
SELECT "users".* FROM "users" WHERE "users"."id" = $1 LIMIT $2
--> replica read

--: Rails: with the annotation of a query log
SELECT "posts".* FROM "posts" WHERE "posts"."user_id" = $1 ORDER BY "posts"."created_at" DESC LIMIT $2 /*application:Blog,controller:posts,action:index*/
--> replica read

--: Rails: eager load
SELECT "posts"."id" AS t0_r0, "posts"."title" AS t0_r1, "comments"."id" AS t1_r0 FROM "posts" LEFT OUTER JOIN "comments" ON "comments"."post_id" = "posts"."id"
--> replica read

--: Rails: exists
SELECT 1 AS one FROM "users" WHERE "users"."email" = $1 LIMIT $2
--> replica read

--: Rails: the schema cache asks for columns
SELECT a.attname, format_type(a.atttypid, a.atttypmod), pg_get_expr(d.adbin, d.adrelid), a.attnotnull, a.atttypid, a.atttypmod, c.collname, col_description(a.attrelid, a.attnum) AS comment, attidentity AS identity, attgenerated as attgenerated FROM pg_attribute a LEFT JOIN pg_attrdef d ON a.attrelid = d.adrelid AND a.attnum = d.adnum LEFT JOIN pg_type t ON a.atttypid = t.oid LEFT JOIN pg_collation c ON a.attcollation = c.oid AND a.attcollation <> t.typcollation WHERE a.attrelid = '"users"'::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
--> replica read

--: Rails: migrations take a lock by a computed key
SELECT pg_try_advisory_lock(2543987259384759345)
--> primary write advisory_lock @advisory_lock

--: Rails: insert_all
INSERT INTO "t" ("a","b") VALUES (1, 2), (3, 4) ON CONFLICT ("a") DO UPDATE SET "b"=excluded."b" RETURNING "id"
--> primary write

INSERT INTO t (a) VALUES (1) ON CONFLICT (lower(a)) DO NOTHING
--> primary write

--: Hibernate: aliases with underscores
select u1_0.id,u1_0.email,u1_0.name from users u1_0 where u1_0.id=?
--> replica read

select o1_0.id,l1_0.order_id,l1_0.id,l1_0.qty from orders o1_0 left join order_line l1_0 on o1_0.id=l1_0.order_id where o1_0.customer_id=$1 and upper(o1_0.state)=upper($2) order by o1_0.created_at fetch first $3 rows only
--> replica read

--: Hibernate: sequence
select nextval('users_seq')
--> primary write sequence @side_effect

--: Hibernate: pessimistic locks
select a1_0.id from a a1_0 where a1_0.id=$1 for no key update
--> primary write @locking

select a1_0.id from a a1_0 where a1_0.id=$1 for share skip locked
--> primary write @locking

--: SQLAlchemy
SELECT users.id AS users_id, users.name AS users_name FROM users WHERE users.name = %(name_1)s AND users.id IN (%(id_1)s)
--> replica read

SELECT anon_1.id, count(anon_1.x) AS count_1 FROM (SELECT t.id AS id, t.x AS x FROM t WHERE t.x > 5) AS anon_1 GROUP BY anon_1.id
--> replica read

SELECT EXTRACT(year FROM t.at) AS y, CAST(t.amount AS FLOAT) AS f, t.data ->> 'k' AS k FROM t ORDER BY t.id ASC NULLS LAST LIMIT 10
--> replica read

--: SQLAlchemy asks for a table
SELECT pg_catalog.pg_class.relname FROM pg_catalog.pg_class JOIN pg_catalog.pg_namespace ON pg_catalog.pg_namespace.oid = pg_catalog.pg_class.relnamespace WHERE pg_catalog.pg_class.relname = %(table_name)s AND pg_catalog.pg_class.relkind = ANY (ARRAY['r', 'p', 'f', 'v', 'm']) AND pg_catalog.pg_table_is_visible(pg_catalog.pg_class.oid) AND pg_catalog.pg_namespace.nspname != 'pg_catalog'
--> replica read

select pg_catalog.version()
--> replica read

show standard_conforming_strings
--> primary session

select current_schema()
--> replica read

--: Prisma
SELECT "public"."User"."id", "public"."User"."email" FROM "public"."User" WHERE ("public"."User"."email" = $1 AND 1=1) LIMIT $2 OFFSET $3
--> replica read

--: Ecto
SELECT u0."id", u0."name" FROM "users" AS u0 WHERE (u0."age" > $1) AND (u0."deleted_at" IS NULL)
--> replica read

SELECT d0."id" FROM "docs" AS d0 WHERE (d0."name" ILIKE $1) AND d0."id" = ANY($2)
--> replica read

--: a report
WITH monthly AS (SELECT date_trunc('month', o.at) AS m, sum(o.total) AS s FROM orders o GROUP BY 1), ranked AS (SELECT m, s, lag(s) OVER (ORDER BY m) AS p FROM monthly) SELECT m, s, round(100.0 * (s - p) / nullif(p, 0), 2) FROM ranked ORDER BY m
--> replica read

SELECT string_agg(DISTINCT name, ', ' ORDER BY name), array_agg(id), bool_and(ok), jsonb_agg(x ORDER BY y) FROM t
--> replica read

SELECT regexp_replace(a, 'x', 'y', 'g'), split_part(b, ',', 1), concat_ws(' ', c, d), md5(e), encode(f, 'hex') FROM t
--> replica read
