"""What MariaDB's C connector does for an application, by MariaDB Connector/Python: texts, prepared statements, rows in
bulk, cursors on the server."""

import sys
import time

import mariadb
from mariadb.constants import CLIENT, CURSOR


def connect(**more):
    options = {"host": "127.0.0.1", "port": int(sys.argv[1]), "user": "app", "password": "secret"}
    return mariadb.connect(**{**options, "database": "app", "autocommit": True, **more})


def rows(connection, sql, values=(), **options):
    with connection.cursor(**options) as cursor:
        cursor.execute(sql, values)
        return cursor.fetchall() if cursor.description else cursor.rowcount


def refused(code, state, act):
    try:
        act()
    except mariadb.Error as error:
        assert (error.errno, error.sqlstate) == (code, state), (error.errno, error.sqlstate, error)
    else:
        raise AssertionError(f"expected {code}")


def on_primary(connection):
    connection.begin()
    port = rows(connection, "SELECT @@port")
    connection.commit()
    return port


one = connect()
rows(one, "CREATE TABLE mpy (id int auto_increment primary key, v text, b blob, d decimal(20, 4), t datetime(6))")
with one.cursor() as cursor:
    cursor.execute("INSERT INTO mpy (v) VALUES ('a'), ('b')")
    assert cursor.rowcount == 2
    first = cursor.lastrowid
assert rows(one, "SELECT last_insert_id()") == [(first,)]

# What was written is there at once, and reads run on replicas, as texts and prepared.
primary = on_primary(one)
for options in ({}, {"prepared": True}):
    for n in range(20):
        rows(one, "INSERT INTO mpy (v) VALUES (?)", (f"own {n}",), **options)
        assert rows(one, "SELECT count(*) FROM mpy WHERE v = ?", (f"own {n}",), **options) == [(1,)], (n, options)
    until = time.monotonic() + 60
    while rows(one, "SELECT @@port, ?", ("x",), **options)[0][:1] == primary[0]:
        assert time.monotonic() < until, f"no read left the primary: {options}"
    rows(one, "DELETE FROM mpy WHERE v LIKE 'own %'", **options)

# One prepared statement, many times.
with one.cursor(prepared=True) as cursor:
    for value in ("x'\\y", None, 5, 2.5, "\u4e00"):
        cursor.execute("SELECT ?, id FROM mpy WHERE id = ?", (value, first))
        told = cursor.fetchall()
        assert told[0][1] == first, (value, told)
        assert told[0][0] in (value, str(value)), (value, told)

# Many rows at once.
many = [(f"row {n}" if n % 3 else None, bytes([n % 256]) * (n % 50)) for n in range(5_000)]
with one.cursor() as cursor:
    cursor.executemany("INSERT INTO mpy (v, b) VALUES (?, ?)", many)
    assert cursor.rowcount == 5_000
assert rows(one, "SELECT count(*), count(v) FROM mpy WHERE b IS NOT NULL") == [(5_000, 3_333)]
with one.cursor() as cursor:
    cursor.executemany("UPDATE mpy SET b = NULL WHERE v = ?", [(f"row {n}",) for n in (1, 2, 4)])
    assert cursor.rowcount == 3

# Rows that wait at the server, with other statements between.
with one.cursor(cursor_type=CURSOR.READ_ONLY, prefetch_size=10, buffered=False) as reader:
    reader.execute("SELECT id FROM mpy WHERE b IS NOT NULL ORDER BY id")
    seen = [reader.fetchone()[0] for _ in range(25)]
    assert rows(one, "SELECT 5") == [(5,)]
    seen += [row[0] for row in reader]
    assert len(seen) == 4_997 and seen == sorted(seen), len(seen)
with one.cursor(buffered=False) as reader:
    reader.execute("SELECT a.id FROM mpy a, (SELECT 1 UNION SELECT 2) b")
    assert sum(1 for _ in reader) == 2 * 5_002

one.begin()
rows(one, "DELETE FROM mpy")
one.rollback()
assert rows(one, "SELECT count(*) FROM mpy") == [(5_002,)]
off = connect(autocommit=False)
for prepared in (False, True):
    rows(off, "INSERT INTO mpy (v) VALUES (?)", ("never",), prepared=prepared)
    off.rollback()
    assert rows(off, "SELECT count(*) FROM mpy WHERE v = 'never'") == [(0,)]
off.close()

with one.cursor() as cursor:
    cursor.execute("CREATE PROCEDURE mpy_both(IN a int, OUT b int, INOUT c int) BEGIN SELECT a, a + 1; SET b = a * 2, c = c * 3; END")
    cursor.callproc("mpy_both", (4, 0, 5))
    assert cursor.fetchall() == [(4, 5)]
    cursor.nextset()
    assert cursor.fetchone() == (8, 15)
multi = connect(client_flag=CLIENT.MULTI_STATEMENTS)
with multi.cursor() as cursor:
    cursor.execute("SELECT 1; SELECT 2; SELECT 3")
    seen = [cursor.fetchall()]
    while cursor.nextset():
        seen.append(cursor.fetchall())
    assert seen == [[(1,)], [(2,)], [(3,)]], seen

refused(1146, "42S02", lambda: rows(one, "SELECT * FROM no_such_table"))
refused(1146, "42S02", lambda: rows(one, "SELECT * FROM no_such_table WHERE a = ?", (1,), prepared=True))
refused(1062, "23000", lambda: rows(one, "INSERT INTO mpy (id) VALUES (?)", (first,), prepared=True))
refused(1045, "28000", lambda: connect(password="wrong"))
assert rows(one, "SELECT 1") == [(1,)]

# What a session holds is its own, and goes with it.
rows(one, "SET @x = 5, time_zone = '+03:00'")
assert rows(one, "SELECT @x, @@time_zone") == [(5, "+03:00")]
one.change_user("other", "secret", "app")
assert rows(one, "SELECT @x, substring_index(current_user(), '@', 1)") == [(None, "other")]
one.reset()
one.ping()
one.select_db("information_schema")
assert rows(one, "SELECT database()") == [("information_schema",)]

packed = connect(compress=True)
assert rows(packed, "SELECT repeat('x', 300000)") == [("x" * 300_000,)]
assert rows(packed, "SELECT length(?)", ("y" * 20_000_000,), prepared=True) == [(20_000_000,)]

# A connection from the driver's pool is reset before it is given again.
pool = mariadb.ConnectionPool(pool_name="p", pool_size=4, host="127.0.0.1", port=int(sys.argv[1]), user="app", password="secret", database="app")
for n in range(20):
    leased = pool.get_connection()
    assert rows(leased, "SELECT @mine") == [(None,)], n
    rows(leased, "SET @mine = 1")
    assert rows(leased, "SELECT @mine") == [(1,)]
    leased.close()
rows(packed, "DROP TABLE mpy")
for connection in (one, multi, packed):
    connection.close()
print("ok")
