"""What operators' tools do on the console, against the port in argv[1]."""
import asyncio
import sys

import asyncpg
import psycopg
from psycopg.rows import dict_row

PORT = sys.argv[1]
DSN = f"host=127.0.0.1 port={PORT} user=app password=secret"

with psycopg.connect(f"{DSN} dbname=pgbouncer", autocommit=True) as conn:
    shown = [row[0] for row in conn.execute("SHOW COMMANDS") if row[0].startswith("SHOW ") and row[0] != "SHOW HELP"]
    assert len(shown) > 30, shown
    for command in shown:
        with conn.cursor() as cur:
            rows = cur.execute(command).fetchall()
            names = [column.name for column in cur.description]
            assert all(len(row) == len(names) for row in rows), command
        # Prepared, in text and in binary.
        for binary in (False, True):
            with conn.cursor(binary=binary, row_factory=dict_row) as cur:
                prepared = cur.execute(command, prepare=True).fetchall()
                assert len(prepared) > 0 or len(rows) == 0, command
    assert conn.execute("SHOW VERSION").fetchone()[0].startswith("PgBouncer 1.24.1 compatible")
    assert conn.execute("SELECT 1").fetchone() == (1,)
    with conn.cursor(binary=True) as cur:
        stats = dict((row[0], row) for row in cur.execute("SHOW STATS").fetchall())
        assert stats["app"][3] >= 0 and isinstance(int(stats["app"][3]), int)
    try:
        conn.execute("SHOW NOTHING")
        raise AssertionError("it exists")
    except psycopg.errors.SyntaxError:
        pass
    try:
        conn.execute("PAUSE %s", ("app",))
        raise AssertionError("commands take no parameters")
    except psycopg.Error:
        pass
    assert conn.execute("SHOW STATE").fetchone() == ("active", "yes")

# Not in autocommit mode the driver opens transactions by itself.
with psycopg.connect(f"{DSN} dbname=splitpool options='-c extra_float_digits=2'") as conn:
    assert conn.execute("SHOW LISTS").fetchall()[0][0] == "databases"


async def with_asyncpg():
    conn = await asyncpg.connect(host="127.0.0.1", port=PORT, user="app", password="secret", database="splitpool")
    for command in shown:
        await conn.fetch(command)
    rows = await conn.fetch("SHOW STATS")
    assert [row["database"] for row in rows][-1] == "pgbouncer", rows
    assert all(row["total_query_count"] >= 0 for row in rows)
    async with conn.transaction():
        assert (await conn.fetchrow("SHOW POOLS"))["cl_active"] >= 0
    await conn.reset()
    await conn.close()


asyncio.run(with_asyncpg())
print("ok")
