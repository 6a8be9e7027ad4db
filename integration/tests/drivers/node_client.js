// What an application with node-postgres does, against the port in argv[2].
const assert = require("assert");
const { Client, Pool } = require("pg");

const where = { host: "127.0.0.1", port: Number(process.argv[2]), user: "app", password: "secret", database: "app" };

async function main() {
  const client = new Client(where);
  await client.connect();
  await client.query("DROP TABLE IF EXISTS njs; CREATE TABLE njs (n int, t text)");
  for (let n = 0; n < 20; n++) {
    await client.query("INSERT INTO njs VALUES ($1, $2)", [n, "t" + n]);
    const named = { name: "by-n", text: "SELECT t FROM njs WHERE n = $1", values: [n] };
    assert.strictEqual((await client.query(named)).rows[0].t, "t" + n);
  }
  assert.strictEqual((await client.query("SELECT 1 AS a; SELECT 2 AS a"))[1].rows[0].a, 2);
  await assert.rejects(client.query("SELECT 1/0"), { code: "22012" });
  await assert.rejects(client.query("SELECT $1::int", ["x"]), { code: "22P02" });
  const heard = new Promise((resolve) => client.once("notification", (message) => resolve(message.payload)));
  await client.query("LISTEN ding");
  await client.query("NOTIFY ding, 'dong'");
  assert.strictEqual(await heard, "dong");
  await client.end();

  const pool = new Pool({ ...where, max: 20 });
  await Promise.all(
    Array.from({ length: 200 }, async (_, n) => {
      const one = await pool.connect();
      try {
        await one.query("BEGIN");
        await one.query("INSERT INTO njs VALUES ($1, 'pooled')", [1000 + n]);
        assert.strictEqual((await one.query("SELECT count(*)::int AS c FROM njs WHERE n = $1", [1000 + n])).rows[0].c, 1);
        await one.query("COMMIT");
        assert.strictEqual((await one.query("SELECT count(*)::int AS c FROM njs WHERE n = $1", [1000 + n])).rows[0].c, 1);
      } finally {
        one.release();
      }
    }),
  );
  await pool.query("DROP TABLE njs");
  await pool.end();
}

setTimeout(() => process.exit(3), 60000).unref();
main().then(
  () => console.log("ok"),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
