// mysql2 on the console: texts, prepared statements, a pool, several statements at once.
const mysql = require("mysql2/promise");
const assert = require("assert");

const [port, password] = [Number(process.argv[2]), process.argv[3]];
const options = { host: "127.0.0.1", port, password };

async function main() {
  const boss = await mysql.createConnection({ ...options, user: "boss", database: "splitpool", multipleStatements: true });
  const [rows, fields] = await boss.query("SHOW DATABASES");
  assert.strictEqual(fields.length, 17);
  const [prepared] = await boss.execute("SHOW DATABASES");
  assert.deepStrictEqual(prepared, rows);
  assert.strictEqual(typeof rows[0].paused, "number");
  const [both] = await boss.query("SHOW STATE; SHOW VERSION");
  assert.ok(both.length === 2 && both[1][0].version.includes("Splitpool"));
  await assert.rejects(boss.query("FROBNICATE"), { errno: 1064 });
  await assert.rejects(boss.execute("SELECT * FROM stats_mysql_users WHERE username = ?", ["app"]), { errno: 1235 });
  const [changed] = await boss.execute("SET general.query_wait_timeout = '32s'");
  assert.ok(changed.info.includes("30s -> 32s"), changed.info);
  await boss.ping();
  await boss.end();

  const pool = mysql.createPool({ ...options, user: "agent", connectionLimit: 3 });
  const asked = Array.from({ length: 20 }, () => pool.query("SELECT username FROM stats_mysql_users ORDER BY 1"));
  for (const [users] of await Promise.all(asked)) {
    assert.strictEqual(users[0].username, "agent");
  }
  await pool.end();
  console.log("ok");
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
