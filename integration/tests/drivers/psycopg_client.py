"""What an application with psycopg 3 does, against the port in argv[1]."""
import sys

import psycopg
from psycopg.rows import dict_row

DSN = f"host=127.0.0.1 port={sys.argv[1]} user=app password=secret dbname=app"

with psycopg.connect(DSN, autocommit=True) as conn:
    conn.execute("DROP TABLE IF EXISTS py; CREATE TABLE py (id serial PRIMARY KEY, name text, data jsonb)")
    # Past the threshold after which psycopg prepares on the server.
    for n in range(20):
        conn.execute("INSERT INTO py (name, data) VALUES (%s, %s)", (f"n{n}", psycopg.types.json.Json({"n": n})))
        assert conn.execute("SELECT count(*) FROM py WHERE id > %s", (0,)).fetchone()[0] == n + 1
    with conn.cursor(row_factory=dict_row) as cur:
        assert cur.execute("SELECT name FROM py WHERE id = %s", (3,)).fetchone()["name"] == "n2"
    with conn.cursor(binary=True) as cur:
        assert cur.execute("SELECT 5::int8, 'x'::text, true").fetchone() == (5, "x", True)
    with conn.transaction():
        conn.execute("UPDATE py SET name = 'changed' WHERE id = 1")
        try:
            with conn.transaction():
                conn.execute("SELECT 1/0")
        except psycopg.errors.DivisionByZero:
            pass
        assert conn.execute("SELECT name FROM py WHERE id = 1").fetchone()[0] == "changed"
    with conn.pipeline():
        results = [conn.execute("SELECT %s::int", (n,)) for n in range(50)]
        conn.execute("INSERT INTO py (name) VALUES ('piped')")
        after = conn.execute("SELECT count(*) FROM py")
    assert [r.fetchone()[0] for r in results] == list(range(50)) and after.fetchone()[0] == 21
    with conn.cursor() as cur:
        with cur.copy("COPY py (name) FROM STDIN") as copy:
            for n in range(1000):
                copy.write_row((f"copied {n}",))
        with cur.copy("COPY (SELECT name FROM py ORDER BY id) TO STDOUT") as copy:
            assert sum(1 for _ in copy.rows()) == 1021
        cur.executemany("INSERT INTO py (name) VALUES (%s)", [(str(n),) for n in range(300)])
    with conn.transaction(), conn.cursor(name="server_side") as cur:
        cur.itersize = 100
        cur.execute("SELECT id FROM py ORDER BY id")
        assert sum(1 for _ in cur) == 1321
    conn.execute("LISTEN ding")
    conn.execute("NOTIFY ding, 'dong'")
    assert next(conn.notifies(timeout=60, stop_after=1)).payload == "dong"
    conn.execute("DROP TABLE py")
print("ok")
