// What an application with MariaDB's own connector for Node does, against the port in argv[2].
const assert = require("assert");
const { Readable } = require("stream");
const mariadb = require("mariadb");

const where = { host: "127.0.0.1", port: Number(process.argv[2]), user: "app", password: "secret", database: "app" };
// Without TLS a password goes sealed, by a key that the server tells.
// It waits a second for a connection unless it is told otherwise: a busy machine takes longer.
const options = { ...where, connectTimeout: 60000, allowPublicKeyRetrieval: true, insertIdAsNumber: true, bigIntAsNumber: true };

async function main() {
  const one = await mariadb.createConnection({ ...options, multipleStatements: true });
  await one.query("CREATE TABLE mjs (id int auto_increment primary key, v varchar(40), d datetime(3))");
  const added = await one.execute("INSERT INTO mjs (v) VALUES (?), (?)", ["a", "b"]);
  assert.strictEqual(added.affectedRows, 2);
  assert.strictEqual((await one.query("SELECT last_insert_id() AS id"))[0].id, added.insertId);

  // What was written is there at once, and reads run on replicas, as texts and prepared.
  await one.beginTransaction();
  const primary = (await one.query("SELECT @@port AS p"))[0].p;
  await one.commit();
  for (const ask of [one.query.bind(one), one.execute.bind(one)]) {
    for (let n = 0; n < 20; n++) {
      await ask("INSERT INTO mjs (v) VALUES (?)", [`own ${n}`]);
      assert.strictEqual((await ask("SELECT count(*) AS c FROM mjs WHERE v = ?", [`own ${n}`]))[0].c, 1);
    }
    const until = Date.now() + 60000;
    while ((await ask("SELECT @@port AS p, ? AS x", ["y"]))[0].p === primary) {
      assert(Date.now() < until, "no read left the primary");
    }
    await ask("DELETE FROM mjs WHERE v LIKE 'own %'", []);
  }

  const prepared = await one.prepare("SELECT v FROM mjs WHERE id = ?");
  for (let n = 0; n < 50; n++) assert.strictEqual((await prepared.execute([added.insertId]))[0].v, "a");
  prepared.close();
  const bulk = await one.batch("INSERT INTO mjs (v) VALUES (?)", Array.from({ length: 3000 }, (_, n) => [n % 5 ? `r${n}` : null]));
  // MySQL knows no rows in bulk: there each has a result of its own.
  assert.strictEqual([].concat(bulk).reduce((sum, result) => sum + result.affectedRows, 0), 3000);
  assert.strictEqual((await one.query("SELECT count(*) - count(v) AS c FROM mjs"))[0].c, 600);
  let streamed = 0;
  for await (const row of one.queryStream("SELECT a.id FROM mjs a, (SELECT 1 UNION SELECT 2) b")) streamed += row.id > 0 ? 1 : 0;
  assert.strictEqual(streamed, 2 * 3002);
  await one.query("DELETE FROM mjs WHERE id > ?", [added.insertId + 1]);

  // Sent without waiting for answers.
  const all = await Promise.all(Array.from({ length: 50 }, (_, n) => one.query("SELECT ? AS n", [n])));
  assert.deepStrictEqual(all.map((rows) => rows[0].n), Array.from({ length: 50 }, (_, n) => n));
  const results = await one.query("SELECT 1 AS n; SELECT 2 AS n; UPDATE mjs SET v = 'c' WHERE v = 'b'");
  assert.deepStrictEqual([results[0][0].n, results[1][0].n, results[2].affectedRows], [1, 2, 1]);
  await assert.rejects(one.query("SELECT nothing"), { errno: 1054, sqlState: "42S22" });
  await assert.rejects(one.execute("SELECT nothing"), { errno: 1054 });
  await assert.rejects(one.execute("INSERT INTO mjs (id) VALUES (?)", [added.insertId]), { errno: 1062, sqlState: "23000" });
  const when = new Date(Date.UTC(2024, 1, 29, 12, 30, 15, 125));
  await one.execute("UPDATE mjs SET d = ? WHERE v = ?", [when, "c"]);
  const [dated] = await one.execute("SELECT d, ? AS text, ? AS nothing FROM mjs WHERE v = 'c'", ["\u00e9\u4e00", null]);
  assert.strictEqual(dated.d.getTime(), when.getTime());
  assert.deepStrictEqual([dated.text, dated.nothing], ["\u00e9\u4e00", null]);

  await one.beginTransaction();
  await one.execute("DELETE FROM mjs");
  await one.rollback();
  assert.strictEqual((await one.query("SELECT count(*) AS n FROM mjs"))[0].n, 2);

  await one.query("CREATE PROCEDURE mjs_both(a int) BEGIN SELECT a AS x; SELECT a + 1 AS y; END");
  for (const call of [one.query.bind(one), one.execute.bind(one)]) {
    const called = await call("CALL mjs_both(?)", [4]);
    assert.deepStrictEqual([called[0][0].x, called[1][0].y], [4, 5]);
  }

  await one.query("SET @x = 5, time_zone = '+03:00'");
  assert.strictEqual((await one.query("SELECT @x AS x"))[0].x, 5);
  // The driver has no such thing for MySQL.
  if (one.serverVersion().includes("MariaDB")) {
    await one.changeUser({ user: "other", password: "secret", database: "app" });
    assert.strictEqual((await one.query("SELECT @x AS x"))[0].x, null);
    assert.match((await one.query("SELECT current_user() AS who"))[0].who, /^other@/);
  }
  await one.ping();
  await one.reset();
  await one.end();

  const packed = await mariadb.createConnection({ ...options, compress: true });
  assert.strictEqual((await packed.query("SELECT repeat('x', 300000) AS long_one"))[0].long_one.length, 300000);
  const sent = [Buffer.alloc(20000000, "y")];
  assert.strictEqual((await packed.query("SELECT length(?) AS n", sent))[0].n, 20000000);
  // Long data goes ahead of the statement, in pieces.
  const stream = Readable.from([Buffer.alloc(70000, "a"), Buffer.alloc(70000, "b")], { objectMode: false });
  assert.strictEqual((await packed.execute("SELECT length(?) AS n", [stream]))[0].n, 140000);
  await packed.end();

  // Nor does it wait for a place for more than ten seconds.
  const pool = mariadb.createPool({ ...options, acquireTimeout: 120000, connectionLimit: 10, resetAfterUse: true });
  await Promise.all(
    Array.from({ length: 100 }, async (_, n) => {
      const leased = await pool.getConnection();
      try {
        // The pool does so by itself for MariaDB alone.
        await leased.reset();
        assert.strictEqual((await leased.query("SELECT @mine AS m"))[0].m, null);
        await leased.query("SET @mine = ?", [n]);
        await leased.beginTransaction();
        await leased.execute("INSERT INTO mjs (id, v) VALUES (?, 'pooled')", [10000 + n]);
        await leased.commit();
        assert.strictEqual((await leased.execute("SELECT count(*) AS c FROM mjs WHERE id = ?", [10000 + n]))[0].c, 1);
        assert.strictEqual((await leased.query("SELECT @mine AS m"))[0].m, n);
      } finally {
        await leased.release();
      }
    }),
  );
  await pool.query("DROP TABLE mjs");
  await pool.end();
  await assert.rejects(mariadb.createConnection({ ...options, password: "wrong" }), { errno: 1045 });
  console.log("ok");
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
