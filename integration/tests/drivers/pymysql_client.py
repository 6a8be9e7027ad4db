"""What PyMySQL does for an application, on MariaDB and on MySQL, by a port or by the path of a socket."""

import os
import sys
import tempfile

import pymysql
from pymysql.constants import CLIENT


def connect(**more):
    where = sys.argv[1]
    options = {"user": "app", "password": "secret"}
    options |= {"unix_socket": where} if "/" in where else {"host": "127.0.0.1", "port": int(where)}
    return pymysql.connect(**{**options, "database": "app", "autocommit": True, **more})


def rows(connection, sql, *values):
    with connection.cursor() as cursor:
        cursor.execute(sql, *values)
        return cursor.fetchall()


def refused(code, act):
    try:
        act()
    except pymysql.err.MySQLError as error:
        assert error.args[0] in code, error
    else:
        raise AssertionError(f"expected {code}")


one = connect()
rows(one, "CREATE TABLE py (id int auto_increment primary key, v text)")
with one.cursor() as cursor:
    assert cursor.execute("INSERT INTO py (v) VALUES ('a'), ('b')") == 2
    first = cursor.lastrowid
assert rows(one, "SELECT last_insert_id()") == ((first,),)
assert rows(one, "SELECT v FROM py ORDER BY id") == (("a",), ("b",))
assert rows(one, "SELECT %s, %s", ("x'\\y", None)) == (("x'\\y", None),)

one.begin()
rows(one, "DELETE FROM py")
one.rollback()
assert rows(one, "SELECT count(*) FROM py") == ((2,),)

many = connect(client_flag=CLIENT.MULTI_STATEMENTS)
with many.cursor() as cursor:
    cursor.execute("SELECT 1; SELECT 2; INSERT INTO py (v) VALUES ('c')")
    results = [cursor.fetchall()]
    while cursor.nextset():
        results.append(cursor.fetchall())
assert results[:2] == [((1,),), ((2,),)] and len(results) == 3, results
refused([1064], lambda: rows(connect(client_flag=0), "SELECT 1; SELECT 2"))

with many.cursor() as cursor:
    try:
        cursor.execute("SELECT 1; SELECT nothing; SELECT 3")
        refused([1054], cursor.nextset)
    except pymysql.err.MySQLError as error:
        assert error.args[0] == 1054, error

off = connect(autocommit=False)
rows(off, "INSERT INTO py (v) VALUES ('never')")
off.rollback()
assert rows(off, "SELECT count(*) FROM py WHERE v = 'never'") == ((0,),)
off.close()

with tempfile.NamedTemporaryFile("w", suffix=".csv") as file:
    file.write("".join(f"{n},row {n}\n" for n in range(50_000)))
    file.flush()
    load = f"LOAD DATA LOCAL INFILE '{os.path.realpath(file.name)}' INTO TABLE loaded FIELDS TERMINATED BY ','"
    rows(one, "CREATE TABLE loaded (n int, v text)")
    refused([1148, 2068, 3948, 4166], lambda: rows(one, load))
    offers = connect(local_infile=True)
    with offers.cursor() as cursor:
        assert cursor.execute(load) == 50_000
    assert rows(offers, "SELECT count(*), max(n) FROM loaded") == ((50_000, 49_999),)

two = connect(charset="latin1")
assert rows(two, "SELECT hex(%s)", ("\u00e9",)) == (("E9",),)
assert rows(one, "SELECT hex(%s)", ("\u00e9",)) == (("C3A9",),)
two.select_db("information_schema")
assert rows(two, "SELECT database()") == (("information_schema",),)
assert rows(one, "SELECT database()") == (("app",),)
one.ping(reconnect=False)

refused([1146], lambda: rows(one, "SELECT * FROM no_such_table"))
refused([1062], lambda: rows(one, "INSERT INTO py (id) VALUES (%s)", (first,)))
refused([1045], lambda: connect(password="wrong"))
assert rows(one, "SELECT length(%s)", ("x" * 20_000_000,)) == ((20_000_000,),)

with offers.cursor(pymysql.cursors.SSCursor) as cursor:
    cursor.execute("SELECT a.n, b.n FROM loaded a, (SELECT 1 n UNION SELECT 2) b")
    assert sum(1 for _ in cursor) == 100_000
for connection in (one, two, many):
    connection.close()
print("ok")
