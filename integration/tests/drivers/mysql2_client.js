// What an application with mysql2 does, against the port in argv[2], on MariaDB and on MySQL.
const assert = require("assert");
const mysql = require("mysql2/promise");

const where = { host: "127.0.0.1", port: Number(process.argv[2]), user: "app", password: "secret", database: "app" };

async function main() {
  const one = await mysql.createConnection({ ...where, multipleStatements: true });
  await one.query("DROP TABLE IF EXISTS njs");
  await one.query("CREATE TABLE njs (id int auto_increment primary key, v varchar(40), d datetime(3))");
  const [added] = await one.execute("INSERT INTO njs (v) VALUES (?), (?)", ["a", "b"]);
  assert.strictEqual(added.affectedRows, 2);
  const [[asked]] = await one.query("SELECT last_insert_id() AS id");
  assert.strictEqual(asked.id, added.insertId);
  for (let n = 0; n < 20; n++) {
    const [rows] = await one.execute("SELECT v FROM njs WHERE id = ?", [added.insertId]);
    assert.strictEqual(rows[0].v, "a");
  }
  const [results] = await one.query("SELECT 1 AS n; SELECT 2 AS n; UPDATE njs SET v = 'c' WHERE v = 'b'");
  assert.deepStrictEqual([results[0][0].n, results[1][0].n, results[2].affectedRows], [1, 2, 1]);
  await assert.rejects(one.query("SELECT nothing"), { errno: 1054, sqlState: "42S22" });
  await assert.rejects(one.execute("SELECT nothing"), { errno: 1054 });
  const when = new Date(Date.UTC(2024, 1, 29, 12, 30, 15, 125));
  await one.execute("UPDATE njs SET d = ? WHERE v = ?", [when, "c"]);
  const [[dated]] = await one.execute("SELECT d, ? AS text, ? AS nothing FROM njs WHERE v = 'c'", ["\u00e9\u4e00", null]);
  assert.strictEqual(dated.d.getTime(), when.getTime());
  assert.deepStrictEqual([dated.text, dated.nothing], ["\u00e9\u4e00", null]);

  await one.beginTransaction();
  await one.execute("DELETE FROM njs");
  await one.rollback();
  assert.strictEqual((await one.query("SELECT count(*) AS n FROM njs"))[0][0].n, 2);

  await one.query("SET @x = 5, time_zone = '+03:00'");
  assert.strictEqual((await one.query("SELECT @x AS x"))[0][0].x, 5);
  await one.changeUser({ user: "other", password: "secret", database: "app" });
  assert.strictEqual((await one.query("SELECT @x AS x"))[0][0].x, null);
  assert.match((await one.query("SELECT current_user() AS who"))[0][0].who, /^other@/);
  await one.ping();
  await one.end();

  const packed = await mysql.createConnection({ ...where, compress: true });
  assert.strictEqual((await packed.query("SELECT repeat('x', 300000) AS long_one"))[0][0].long_one.length, 300000);
  assert.strictEqual((await packed.query(`SELECT length('${"y".repeat(200000)}') AS n`))[0][0].n, 200000);
  await packed.end();

  const pool = mysql.createPool({ ...where, connectionLimit: 20 });
  await Promise.all(
    Array.from({ length: 200 }, async (_, n) => {
      const leased = await pool.getConnection();
      try {
        await leased.beginTransaction();
        await leased.execute("INSERT INTO njs (id, v) VALUES (?, 'pooled')", [1000 + n]);
        await leased.commit();
        const [[row]] = await leased.execute("SELECT count(*) AS c FROM njs WHERE id = ?", [1000 + n]);
        assert.strictEqual(row.c, 1);
      } finally {
        leased.release();
      }
    }),
  );
  await pool.query("DROP TABLE njs");
  await pool.end();
  console.log("ok");
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
