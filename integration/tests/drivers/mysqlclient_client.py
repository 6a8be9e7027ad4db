"""What mysqlclient, Django's driver on MariaDB's C connector, does for an application."""

import sys
import time

import MySQLdb
from MySQLdb.cursors import SSCursor


def connect(**more):
    options = {"host": "127.0.0.1", "port": int(sys.argv[1]), "user": "app", "password": "secret"}
    return MySQLdb.connect(**{**options, "database": "app", "charset": "utf8mb4", "autocommit": True, **more})


def rows(connection, sql, values=None):
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return cursor.fetchall()


def refused(code, act):
    try:
        act()
    except MySQLdb.Error as error:
        assert error.args[0] in (code if isinstance(code, tuple) else (code,)), error
    else:
        raise AssertionError(f"expected {code}")


one = connect()
rows(one, "CREATE TABLE myc (id int auto_increment primary key, v text)")
with one.cursor() as cursor:
    assert cursor.executemany("INSERT INTO myc (v) VALUES (%s)", [("a",), ("b",), ("\u4e00",)]) == 3
    first = cursor.lastrowid
assert rows(one, "SELECT last_insert_id()") == ((first,),)

# What was written is there at once, and reads run on replicas.
one.begin()
primary = rows(one, "SELECT @@port")
one.commit()
for n in range(20):
    rows(one, "INSERT INTO myc (v) VALUES (%s)", (f"own {n}",))
    assert rows(one, "SELECT count(*) FROM myc WHERE v = %s", (f"own {n}",)) == ((1,),)
until = time.monotonic() + 60
while rows(one, "SELECT @@port") == primary:
    assert time.monotonic() < until, "no read left the primary"
rows(one, "DELETE FROM myc WHERE v LIKE 'own %'")

# As Django does it: no autocommit inside of a block, savepoints, and back.
one.autocommit(False)
rows(one, "INSERT INTO myc (v) VALUES ('c')")
rows(one, "SAVEPOINT s1")
rows(one, "DELETE FROM myc")
rows(one, "ROLLBACK TO SAVEPOINT s1")
rows(one, "RELEASE SAVEPOINT s1")
one.commit()
rows(one, "DELETE FROM myc")
one.rollback()
one.autocommit(True)
assert rows(one, "SELECT group_concat(v ORDER BY id) FROM myc") == (("a,b,\u4e00,c",),)
rows(one, "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED; SET sql_mode = 'STRICT_TRANS_TABLES'")
for _ in range(5):
    assert rows(one, "SELECT @@sql_mode") == (("STRICT_TRANS_TABLES",),)

with one.cursor() as cursor:
    cursor.execute("SELECT 1; SELECT 2; UPDATE myc SET v = 'd' WHERE v = 'c'")
    seen = [cursor.fetchall()]
    while cursor.nextset() == 1:
        seen.append(cursor.fetchall() if cursor.description else cursor.rowcount)
assert seen == [((1,),), ((2,),), 1], seen
rows(one, "CREATE PROCEDURE myc_two(a int) BEGIN SELECT a; SELECT a * 2; END")
with one.cursor() as cursor:
    cursor.callproc("myc_two", (4,))
    seen = [cursor.fetchall()]
    while cursor.nextset() == 1:
        seen.append(cursor.fetchall())
assert seen[:2] == [((4,),), ((8,),)], seen

refused(1146, lambda: rows(one, "SELECT * FROM no_such_table"))
refused(1062, lambda: rows(one, "INSERT INTO myc (id) VALUES (%s)", (first,)))
refused(1045, lambda: connect(password="wrong"))
one.query("DROP TABLE IF EXISTS myc_never")
one.store_result()
assert one.warning_count() == 1
assert rows(one, "SHOW WARNINGS")[0][1] == 1051

rows(one, "SET @x = 5")
assert rows(one, "SELECT @x") == ((5,),)
one.change_user("other", "secret", "app")
assert rows(one, "SELECT @x, substring_index(current_user(), '@', 1)") == ((None, "other"),)
one.ping()
one.select_db("information_schema")
assert rows(one, "SELECT database()") == (("information_schema",),)
assert "Uptime" in one.stat()
one.set_character_set("latin1")
assert rows(one, "SELECT hex(%s)", ("\u00e9",)) == (("E9",),)

packed = connect(compress=True)
assert rows(packed, "SELECT repeat('x', 300000)") == (("x" * 300_000,),)
assert rows(packed, "SELECT length(%s)", ("y" * 20_000_000,)) == ((20_000_000,),)
with packed.cursor(SSCursor) as cursor:
    cursor.execute("SELECT a.id FROM myc a, myc b, myc c")
    assert sum(1 for _ in cursor) == 64
# Another connection ends what this one runs.
killer = connect()
killer.kill(packed.thread_id())
refused((1927, 2006, 2013), lambda: rows(packed, "SELECT sleep(5)"))
rows(killer, "DROP TABLE myc")
killer.close()
print("ok")
