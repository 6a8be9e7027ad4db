"""What tools with psycopg2 do on the console, against the port in argv[1]."""
import sys

import psycopg2

DSN = f"host=127.0.0.1 port={sys.argv[1]} user=app password=secret"
conn = psycopg2.connect(f"{DSN} dbname=pgbouncer")
conn.set_session(autocommit=True)
conn.set_client_encoding("UTF8")
cur = conn.cursor()
for command in ["SHOW STATS", "SHOW POOLS", "SHOW DATABASES", "SHOW LISTS", "SHOW CLIENTS", "SHOW SERVERS", "SHOW CONFIG;"]:
    cur.execute(command)
    assert cur.description and cur.fetchall(), command
cur.execute("SET datestyle TO 'ISO'")
cur.execute("SHOW client_encoding")
assert cur.fetchone() == ("UTF8",)
conn.close()
# With transactions of its own making.
conn = psycopg2.connect(f"{DSN} dbname=splitpool")
cur = conn.cursor()
cur.execute("SHOW USERS")
assert ("app" in [row[0] for row in cur.fetchall()])
conn.commit()
conn.close()
print("ok")
