# PyMySQL on the console, as monitoring agents use it: cursors of dictionaries, no database named.
import sys

import pymysql
import pymysql.cursors

port, password = int(sys.argv[1]), sys.argv[2]


def connect(user, **more):
    return pymysql.connect(host="127.0.0.1", port=port, user=user, password=password, **more)


with connect("agent", cursorclass=pymysql.cursors.DictCursor) as conn:
    with conn.cursor() as cursor:
        assert cursor.execute("SELECT * FROM stats.stats_mysql_global") > 5
        values = {row["Variable_Name"]: row["Variable_Value"] for row in cursor.fetchall()}
        assert float(values["ProxySQL_Uptime"]) >= 0 and float(values["Questions"]) >= 0, values
        cursor.execute(
            "SELECT srv_port FROM stats_mysql_connection_pool WHERE hostgroup=%s and status=%s", (0, "ONLINE")
        )
        (primary,) = cursor.fetchall()
        assert isinstance(primary["srv_port"], int), primary
        cursor.execute("SHOW POOLS")
        assert len(cursor.description) == 17, cursor.description
        try:
            cursor.execute("PAUSE")
            raise AssertionError("an agent paused")
        except pymysql.err.OperationalError as error:
            assert error.args[0] == 1227, error
    conn.ping(reconnect=False)
    conn.commit()
    conn.rollback()
    conn.select_db("stats")

with connect("boss", database="splitpool", autocommit=True, charset="utf8mb4") as conn:
    with conn.cursor() as cursor:
        cursor.execute("RELOAD")
        try:
            cursor.execute("SELECT nothing FROM stats_mysql_users")
            raise AssertionError("a column that is not there")
        except pymysql.err.OperationalError as error:
            assert error.args[0] == 1054, error
        cursor.execute("SELECT 1")
        assert cursor.fetchall() == ((1,),)
print("ok")
