--: a quote inside a string
SELECT 'it''s; delete from t'
--> replica read

--: a backslash is no escape in a plain string
SELECT 'a\'; DELETE FROM t --'
--> primary write

--: but in E'' it is
SELECT E'a\'; DELETE FROM t --'
--> replica read

SELECT e'\\'; DELETE FROM t
--> primary write

--: E only at the beginning of a word
SELECT type'a\'; DELETE FROM t --'
--> primary write

--: a continued string keeps its escapes, so the lexer does not vouch for it
SELECT E'a'
 '\'; SELECT 1 --'
--> primary write unknown @unparseable

SELECT E'a' -- comment
 '\'; SELECT 1 --'
--> primary write unknown @unparseable

SELECT 'a'
 'b'
--> replica read

SELECT B'0101', X'1F', N'a'
--> replica read

SELECT U&'\0441'
--> primary write unknown

SELECT $1$$; DELETE FROM t$$
--> replica read

SELECT a$b$ FROM t; DELETE FROM t --$b$
--> primary write

SELECT $a$ $b$ $a$, $b$ $a$ $b$
--> replica read

SELECT $a b$
--> primary write unknown

--: nested comments end where PostgreSQL ends them
SELECT 1 /* /* */ ; DELETE FROM t */
--> replica read

SELECT 1 /* /* */ */ ; DELETE FROM t
--> primary write

SELECT 1 /*/ ; DELETE FROM t */
--> replica read

SELECT 1 /**/; DELETE FROM t
--> primary write

--: an unfinished anything
SELECT 'abc
--> primary write unknown

SELECT "abc
--> primary write unknown

SELECT $$abc
--> primary write unknown

SELECT 1 /* abc
--> primary write unknown

SELECT b'01
--> primary write unknown

--: a comment may begin inside what looks like an operator
SELECT 1 +-- INTO
 2
--> replica read

SELECT 1 +/* ; DELETE FROM t */ 2
--> replica read

SELECT 4*-1, 2-+1, a||-b FROM t
--> replica read

SELECT 1.5, .5, 1e10, 1.e-5, 1_000, 0x1F
--> replica read

SELECT 1.into t
--> primary write ddl

SELECT 1..5
--> replica read

--: unbalanced
SELECT (1
--> primary write @unparseable

SELECT 1)
--> primary write @unparseable

SELECT 1); DELETE FROM t; (SELECT 1
--> primary write

SELECT \ 1
--> primary write unknown

SELECT {fn now()}
--> primary write unknown

SELECT "a""b", """" FROM "x;y"
--> replica read

SELECT "a"";delete from t" FROM t
--> replica read

--: names are not ASCII only
SELECT größe, 名前 FROM tablé
--> replica read

SELECT größe(1)
--> primary read unknown

SELECT a FROM t WHERE b = :name
--> replica read
