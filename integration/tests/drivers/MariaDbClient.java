// What an application with MariaDB Connector/J does, against the port in the first argument.

import java.sql.*;
import java.util.*;

class MariaDbClient {
    static String url;

    static Connection connect(String more) throws SQLException {
        return DriverManager.getConnection(url + more, "app", "secret");
    }

    static void require(boolean holds, Object told) {
        if (!holds) throw new AssertionError(String.valueOf(told));
    }

    static String value(Connection connection, String sql, Object... values) throws SQLException {
        try (PreparedStatement statement = connection.prepareStatement(sql)) {
            for (int n = 0; n < values.length; n++) statement.setObject(n + 1, values[n]);
            try (ResultSet rows = statement.executeQuery()) {
                rows.next();
                return rows.getString(1);
            }
        }
    }

    static int change(Connection connection, String sql, Object... values) throws SQLException {
        try (PreparedStatement statement = connection.prepareStatement(sql)) {
            for (int n = 0; n < values.length; n++) statement.setObject(n + 1, values[n]);
            return statement.executeUpdate();
        }
    }

    static void refused(int code, String state, Connection connection, String sql) throws SQLException {
        try {
            change(connection, sql);
        } catch (SQLException error) {
            require(error.getErrorCode() == code && state.equals(error.getSQLState()), error);
            return;
        }
        throw new AssertionError("expected " + code + ": " + sql);
    }

    static void run(String options, String table) throws SQLException {
        Connection one = connect(options);
        change(one, "CREATE TABLE " + table + " (id int auto_increment primary key, v varchar(100), t timestamp(6) NULL)");
        long first;
        try (PreparedStatement added =
                one.prepareStatement("INSERT INTO " + table + " (v) VALUES (?)", Statement.RETURN_GENERATED_KEYS)) {
            added.setString(1, "x'\\y \u4e00");
            require(added.executeUpdate() == 1, "one row");
            ResultSet keys = added.getGeneratedKeys();
            keys.next();
            first = keys.getLong(1);
        }
        require(value(one, "SELECT last_insert_id()").equals(Long.toString(first)), first);
        require(value(one, "SELECT v FROM " + table + " WHERE id = ?", first).equals("x'\\y \u4e00"), "a text");

        // What was written is there at once, and reads run on replicas.
        one.setAutoCommit(false);
        String primary = value(one, "SELECT @@port");
        one.commit();
        one.setAutoCommit(true);
        for (int n = 0; n < 20; n++) {
            change(one, "INSERT INTO " + table + " (v) VALUES (?)", "own " + n);
            String seen = value(one, "SELECT count(*) FROM " + table + " WHERE v = ?", "own " + n);
            require(seen.equals("1"), n + ": " + seen);
        }
        long until = System.nanoTime() + 60_000_000_000L;
        while (value(one, "SELECT @@port").equals(primary)) {
            require(System.nanoTime() < until, "no read left the primary");
        }
        change(one, "DELETE FROM " + table + " WHERE v LIKE 'own %'");

        try (PreparedStatement many = one.prepareStatement("INSERT INTO " + table + " (v) VALUES (?)")) {
            for (int n = 0; n < 1000; n++) {
                many.setString(1, n % 4 == 0 ? null : "row " + n);
                many.addBatch();
            }
            require(many.executeBatch().length == 1000, "a batch");
        }
        require(value(one, "SELECT count(*) - count(v) FROM " + table).equals("250"), "NULLs of a batch");
        try (Statement statement = one.createStatement(ResultSet.TYPE_FORWARD_ONLY, ResultSet.CONCUR_READ_ONLY)) {
            statement.setFetchSize(10);
            int seen = 0;
            try (ResultSet rows = statement.executeQuery("SELECT id FROM " + table)) {
                while (rows.next()) seen++;
            }
            require(seen == 1001, seen);
        }

        // Transactions, savepoints, and one that only reads.
        one.setAutoCommit(false);
        change(one, "DELETE FROM " + table + " WHERE v IS NULL");
        Savepoint point = one.setSavepoint("p");
        change(one, "DELETE FROM " + table);
        one.rollback(point);
        one.commit();
        change(one, "DELETE FROM " + table);
        one.rollback();
        one.setAutoCommit(true);
        require(value(one, "SELECT count(*) FROM " + table).equals("751"), "what was rolled back");
        one.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
        require(one.getTransactionIsolation() == Connection.TRANSACTION_SERIALIZABLE, "its isolation");
        one.setTransactionIsolation(Connection.TRANSACTION_REPEATABLE_READ);

        try (Statement statement = one.createStatement()) {
            statement.execute("CREATE PROCEDURE " + table + "_both(IN a int, OUT b int) BEGIN SELECT a; SET b = a * 2; END");
        }
        try (CallableStatement call = one.prepareCall("{call " + table + "_both(?, ?)}")) {
            call.setInt(1, 4);
            call.registerOutParameter(2, Types.INTEGER);
            call.execute();
            require(call.getInt(2) == 8, call.getInt(2));
        }

        refused(1146, "42S02", one, "DELETE FROM no_such_table");
        refused(1062, "23000", one, "INSERT INTO " + table + " (id) VALUES (" + first + ")");
        require(value(one, "SELECT 1").equals("1"), "after errors");
        try (Statement statement = one.createStatement()) {
            statement.execute("DROP TABLE IF EXISTS " + table + "_never");
            SQLWarning warning = statement.getWarnings();
            require(warning != null && warning.getErrorCode() == 1051, warning);
        }
        change(one, "SET @x = 5");
        require(value(one, "SELECT @x").equals("5"), "a variable");
        one.setCatalog("information_schema");
        require(value(one, "SELECT database()").equals("information_schema"), "its schema");
        one.setCatalog("app");
        require(one.isValid(60), "it lives");

        // What runs too long is ended by another connection of the driver's.
        try (Statement statement = one.createStatement()) {
            statement.setQueryTimeout(1);
            statement.executeQuery("SELECT sleep(20) FROM " + table);
            throw new AssertionError("it was not ended");
        } catch (SQLTimeoutException error) {
            require(value(one, "SELECT 2").equals("2"), "after the end");
        }
        change(one, "DROP PROCEDURE " + table + "_both");
        change(one, "DROP TABLE " + table);
        one.close();
    }

    public static void main(String[] args) throws Exception {
        // The password may be sealed where the server's key is asked for.
        url = "jdbc:mariadb://127.0.0.1:" + args[0] + "/app?allowPublicKeyRetrieval=true";
        run("", "jdbc_text");
        run("&useServerPrepStmts=true", "jdbc_prepared");
        run("&useServerPrepStmts=true&useCompression=true", "jdbc_packed");
        run("&useServerPrepStmts=true&useCompression=true&rewriteBatchedStatements=true", "jdbc_rewritten");
        try {
            DriverManager.getConnection(url, "app", "wrong").close();
            throw new AssertionError("a wrong password");
        } catch (SQLException error) {
            require(error.getErrorCode() == 1045, error);
        }
        System.out.println("ok");
    }
}
