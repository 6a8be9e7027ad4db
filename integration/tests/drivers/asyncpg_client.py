"""What an application with asyncpg does, against the port in argv[1]."""
import asyncio
import sys

import asyncpg

WHERE = dict(host="127.0.0.1", port=int(sys.argv[1]), user="app", password="secret", database="app")


async def one(pool, n):
    async with pool.acquire() as conn:
        assert await conn.fetchval("SELECT $1::int + 1", n) == n + 1
        async with conn.transaction():
            await conn.execute("INSERT INTO apg (n) VALUES ($1)", n)
            assert await conn.fetchval("SELECT count(*) FROM apg WHERE n = $1", n) == 1
        assert await conn.fetchval("SELECT count(*) FROM apg WHERE n = $1", n) == 1


async def main():
    conn = await asyncpg.connect(**WHERE)
    await conn.execute("DROP TABLE IF EXISTS apg; DROP TYPE IF EXISTS feeling")
    await conn.execute("CREATE TABLE apg (n int); CREATE TYPE feeling AS ENUM ('good', 'bad')")
    # Types that asyncpg does not know cost it a query of the catalog, which must see them.
    assert await conn.fetchval("SELECT 'good'::feeling") == "good"
    assert await conn.fetch("SELECT array_agg(n) FROM generate_series(1, 3) n") == [([1, 2, 3],)]
    statement = await conn.prepare("SELECT $1::text || 'x'")
    for n in range(20):
        assert await statement.fetchval(str(n)) == f"{n}x"
    await conn.executemany("INSERT INTO apg VALUES ($1)", [(-n - 1,) for n in range(500)])
    async with conn.transaction():
        assert len([r async for r in conn.cursor("SELECT n FROM apg", prefetch=50)]) == 500
    await conn.copy_records_to_table("apg", records=[(-1000 - n,) for n in range(1000)])
    assert await conn.fetchval("SELECT count(*) FROM apg") == 1500
    try:
        await asyncio.wait_for(conn.execute("SELECT pg_sleep(30)"), 0.3)
        raise AssertionError("no timeout")
    except asyncio.TimeoutError:
        pass
    assert await conn.fetchval("SELECT 1") == 1
    heard = asyncio.get_running_loop().create_future()
    await conn.add_listener("ding", lambda *a: heard.done() or heard.set_result(a[3]))
    await conn.execute("NOTIFY ding, 'dong'")
    assert await asyncio.wait_for(heard, 5) == "dong"
    # Its reset of a pooled connection: advisory unlock, CLOSE ALL, UNLISTEN *, RESET ALL.
    pool = await asyncpg.create_pool(min_size=5, max_size=20, **WHERE)
    await asyncio.gather(*(one(pool, n) for n in range(200)))
    await pool.close()
    await conn.close()
    conn = await asyncpg.connect(**WHERE)
    await conn.execute("DROP TABLE apg; DROP TYPE feeling")
    await conn.close()


asyncio.run(asyncio.wait_for(main(), 60))
print("ok")
