BEGIN
--> primary begin @transaction_control

begin work
--> primary begin

START TRANSACTION
--> primary begin

BEGIN READ ONLY
--> replica begin_read_only @read_only_transaction

START TRANSACTION READ ONLY
--> replica begin_read_only

BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY
--> replica begin_read_only

BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY NOT DEFERRABLE
--> replica begin_read_only

START TRANSACTION READ WRITE
--> primary begin

--: the careful one of two modes counts
BEGIN READ ONLY, READ WRITE
--> primary begin

BEGIN ISOLATION LEVEL SERIALIZABLE
--> primary begin_serializable @consistency

BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY
--> primary begin_read_only_serializable @consistency

BEGIN ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE
--> primary begin_read_only_serializable

BEGIN /* splitpool: primary */ READ ONLY
--> primary begin_read_only @hint

START
--> primary write unknown

COMMIT
--> any commit @transaction_control

END TRANSACTION
--> any commit

COMMIT AND CHAIN
--> any commit

ROLLBACK
--> any rollback

ABORT WORK
--> any rollback

ROLLBACK TO SAVEPOINT a
--> any transaction_other

ROLLBACK WORK TO a
--> any transaction_other

SAVEPOINT a
--> any transaction_other

RELEASE SAVEPOINT a
--> any transaction_other

SET TRANSACTION READ WRITE
--> any transaction_other

SET TRANSACTION ISOLATION LEVEL SERIALIZABLE
--> any transaction_other

SET LOCAL TRANSACTION READ ONLY
--> any transaction_other

SET CONSTRAINTS ALL DEFERRED
--> any transaction_other

PREPARE TRANSACTION 'x'
--> primary write @transaction_control

COMMIT PREPARED 'x'
--> primary write @transaction_control

ROLLBACK PREPARED 'x'
--> primary write @transaction_control

SET work_mem = '1MB'
--> any session settings

SET SESSION statement_timeout TO 0
--> any session settings

SET search_path TO a, public
--> any session settings

SET app.tenant_id = '42'
--> any session settings :app.tenant_id

SET SESSION "App"."Tenant" TO DEFAULT
--> any session settings :app.tenant

SET LOCAL app.tenant_id = '42'
--> any session

SET LOCAL work_mem = '1MB'
--> any session

SET ROLE admin
--> any session settings

SET SESSION AUTHORIZATION bob
--> any session settings

SET LOCAL ROLE admin
--> any session

SET TIME ZONE 'UTC'
--> any session settings

SET NAMES 'utf8'
--> any session settings

SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY
--> any session settings

SET seed TO 0.5
--> any session seed settings

SET search_path = pg_temp
--> any session settings temp_table

SET search_path = 'pg_temp', 'public'
--> any session settings temp_table

RESET work_mem
--> any session settings

RESET app.tenant_id
--> any session settings :app.tenant_id

RESET ALL
--> any session settings

RESET ROLE
--> any session settings

SHOW work_mem
--> primary session

SHOW ALL
--> primary session

DISCARD ALL
--> any session settings discard

DISCARD TEMP
--> any session discard

DISCARD PLANS
--> any session discard

LISTEN c
--> primary session listen

UNLISTEN *
--> any session discard

PREPARE p AS SELECT 1
--> primary session sql_prepare

PREPARE p (int) AS INSERT INTO t VALUES ($1)
--> primary session sql_prepare

DEALLOCATE p
--> any session sql_prepare discard

DEALLOCATE ALL
--> any session sql_prepare discard

DECLARE c CURSOR FOR SELECT * FROM t
--> primary session @cursor

DECLARE c CURSOR WITH HOLD FOR SELECT * FROM t
--> primary session hold_cursor

DECLARE c SCROLL CURSOR WITHOUT HOLD FOR SELECT volatile_fn(1)
--> primary session unknown

FETCH ALL FROM c
--> primary session

MOVE FORWARD 5 IN c
--> primary session

CLOSE c
--> primary session discard

CLOSE ALL
--> primary session discard

--: statements of the session only
SET a = 1; SET b.c = 2
--> any session settings :b.c

BEGIN; COMMIT
--> primary write @multi_statement

COMMIT; BEGIN
--> primary write

--: nothing at all
;
--> any empty

-- only a comment
--> any empty

/* a /* nested */ comment */ ; ;
--> any empty

--: hints
/* splitpool: primary */ SELECT 1
--> primary read @hint

SELECT 1 /* splitpool: primary, max_lag=200ms */
--> primary read @hint

SELECT 1 -- splitpool: replica
--> replica read @hint

--: a hint to a replica moves no write
/* splitpool: replica */ DELETE FROM t
--> primary write @write

/* splitpool: replica */ SELECT nextval('s')
--> primary write sequence

/* splitpool: replica */ SELECT volatile_fn(1)
--> primary read unknown

--: but vouches for what nobody knows
/* splitpool: replica */ SELECT unheard_of(1)
--> replica read @hint

/* splitpool: consistency=strong */ SELECT 1
--> primary read @consistency

/* splitpool: consistency=eventual, max_lag=5s */ SELECT 1
--> replica read

--: not a hint
SELECT '/* splitpool: primary */'
--> replica read
