//! Digests: what differs in values only is one, what differs otherwise is not, and no value is left in any.

use allocation_counter::measure;
use router::{Catalog, Context, Dialect, Lexing, Limits, Router};

const TRUSTED: Lexing = Lexing::TRUSTED;

fn router(dialect: Dialect) -> Router {
    Router::new(dialect, Limits::default(), Vec::new())
}

fn check(dialect: Dialect, cases: &[(&str, &str)]) {
    let router = router(dialect);
    for (text, expected) in cases {
        assert_eq!(router.digest_text(text.as_bytes(), TRUSTED, 1024), *expected, "{text}");
    }
}

#[test]
fn postgres() {
    check(
        Dialect::Postgres,
        &[
            ("SELECT  a,b FROM t\n WHERE id=12 -- x", "select a, b from t where id = ?"),
            ("select a, b from T where ID = $1", "select a, b from t where id = ?"),
            ("SELECT count( * ) FROM s.\"T 1\" x", "select count(*) from s.\"T 1\" x"),
            ("SELECT 'a' 'b', E'c\\'d', $$e$$, $x$f$x$, U&'g'", "select ?, ?, ?, ?, ..."),
            ("SELECT 1e-5, 0x1F, 1_000, 1.5e3, .5, -7, a-7, (-1)", "select ?, ?, ?, ?, ?, ?, a - ?, (?)"),
            ("SELECT x::int[], a->>'k', a[1:2] FROM t", "select x::int[], a ->> ?, a[?:?] from t"),
            ("SELECT 1 WHERE a IN (1, 2, 3) AND b IN ($1)", "select ? where a in (?) and b in (?)"),
            ("SELECT 1 WHERE (a,b) IN ((1,2),(3,4))", "select ? where (a, b) in ((?, ?))"),
            (
                "SELECT a WHERE b = ANY (ARRAY[1, 2]) AND c IN (1, x, 2)",
                "select a where b = any(array[?]) and c in (?, x, ?)",
            ),
            ("INSERT INTO t (a, b) VALUES (1, now()), (2, now())", "insert into t(a, b) values (?, now())"),
            (
                "INSERT INTO t VALUES (1, NULL), (2, 'x'), (3, f(1)) RETURNING id",
                "insert into t values (?, ?), (?, f(?)) returning id",
            ),
            (
                "SELECT * FROM (VALUES (1),(2)) v WHERE a IS NULL AND b IS NOT TRUE",
                "select * from (values (?)) v where a is null and b is not true",
            ),
            ("BEGIN; UPDATE t SET a = -1; ; COMMIT;", "begin; update t set a = ?; commit"),
            ("/* only a comment */ ;", ""),
            ("SELECT 1 /* /* nested */ */ + 2", "select ? + ?"),
            ("SELECT 'open", "select ..."),
            ("SELECT f(1, 2), f(1)", "select f(?, ?), f(?)"),
            ("SELECT a FROM t LIMIT 5 OFFSET 7 FOR UPDATE", "select a from t limit ? offset ? for update"),
            ("SET search_path TO canary, public", "set search_path to ?, ?"),
            ("SET app.token = canary; SELECT canary", "set app.token = ?; select canary"),
        ],
    );
}

#[test]
fn mysql() {
    check(
        Dialect::Mysql,
        &[
            ("SELECT `a`, \"x\", 'y' FROM t WHERE id = 7 # z", "select `a`, ?, ? from t where id = ?"),
            (
                "select a from t where id = ? and b >= 1.5e3 and c <=> 0x1f",
                "select a from t where id = ? and b >= ? and c <=> ?",
            ),
            (
                "INSERT INTO t VALUES (1,'a'),(2,'b') ON DUPLICATE KEY UPDATE a = VALUES(a), b = VALUES(b)",
                "insert into t values (?, ?) on duplicate key update a = values (a), b = values (b)",
            ),
            ("INSERT INTO t VALUES ROW(1,2), ROW(3,4)", "insert into t values row(?, ?)"),
            (
                "SET @a := 5, @@session.sql_mode = canary, b = 'x'",
                "set @a := ?, @@session.sql_mode = ?, b = ?",
            ),
            ("SELECT /*!40001 SQL_NO_CACHE */ 1", "select sql_no_cache ?"),
            ("SELECT a FROM t WHERE b = 'it\\'s' AND c = -5", "select a from t where b = ? and c = ?"),
            ("USE shop", "use shop"),
        ],
    );
}

#[test]
fn no_secret_is_left() {
    for dialect in [Dialect::Postgres, Dialect::Mysql] {
        let router = router(dialect);
        for text in [
            "ALTER ROLE bob PASSWORD 'canary' VALID UNTIL 'canary'",
            "ALTER ROLE bob PASSWORD canary",
            "ALTER ROLE bob PASSWORD \"canary\"",
            "ALTER ROLE bob PASSWORD 'canary",
            "CREATE USER bob WITH ENCRYPTED PASSWORD E'\\'canary'",
            "CREATE USER bob IDENTIFIED BY 'canary'",
            "CREATE USER bob@'canary' IDENTIFIED WITH x AS canary",
            "SET PASSWORD FOR bob = PASSWORD(canary)",
            "SET PASSWORD = canary",
            "ALTER SYSTEM SET some.key = canary",
            "GRANT ALL ON *.* TO bob IDENTIFIED BY canary",
            "CHANGE MASTER TO MASTER_PASSWORD = 'canary'",
            "canary",
            "\"canary\"",
            "'canary' 1",
            "SELECT 1; canary 2",
            "(canary)",
            "SELECT 1 -- canary",
            "SELECT $canary$canary$canary$, N'canary', X'ca', B'1'",
            "SELECT 12canary",
            "/* canary */ SELECT 'canary''canary'",
            "CREATE SUBSCRIPTION s CONNECTION 'password=canary' PUBLICATION p",
        ] {
            let told = router.digest_text(text.as_bytes(), TRUSTED, 1024);
            // In MySQL digits may begin a name, and PASSWORD in quotes of PostgreSQL's is a name.
            let is_name = dialect == Dialect::Mysql && text.contains("12canary") || text.contains("$canary$");
            assert!(!told.contains("canary") || is_name && dialect == Dialect::Mysql, "{text}: {told}");
        }
        let untrusted = router.digest_text(b"SELECT 'a\\'canary'", Lexing::trusted(false), 1024);
        assert_eq!(untrusted, "select ...");
    }
}

#[test]
fn length_is_bounded() {
    let router = router(Dialect::Postgres);
    let told = router.digest_text("SELECT ä, b FROM t".as_bytes(), TRUSTED, 8);
    assert!(told.starts_with("select ") && told.ends_with(" ...") && told.len() < 16, "{told}");
    // What is too long to be read is the same whatever its length.
    let rows =
        |n: usize| format!("INSERT INTO t VALUES {}", vec!["(1, 'a text of some length')"; n].join(","));
    for n in [2, 1000, 2000, 5000] {
        let told = router.digest_text(rows(n).as_bytes(), TRUSTED, 1024);
        let cut = if n > 1200 { " ..." } else { "" };
        assert_eq!(told, format!("insert into t values (?, ?){cut}"));
    }
    let deep = format!("SELECT {}1{}", "(".repeat(5000), ")".repeat(5000));
    assert!(router.digest_text(deep.as_bytes(), TRUSTED, 64).len() < 70);
}

#[test]
fn texts_of_one_shape_have_one_number_and_cost_no_allocation() {
    let catalog = Catalog::default();
    let context = Context { catalog: &catalog, strong: false };
    for dialect in [Dialect::Postgres, Dialect::Mysql] {
        let router = router(dialect);
        let number = |text: &str| {
            let (plan, _) = router.route(text.as_bytes(), TRUSTED, &context);
            router.digest(text.as_bytes(), TRUSTED, &plan)
        };
        for (one, other) in [
            ("SELECT a FROM t WHERE b = 1", "SELECT a FROM t WHERE b = 22"),
            ("SELECT a FROM t WHERE b = 1", "select a\nfrom t where b='x' /* c */"),
            ("UPDATE t SET a = 'x'", "UPDATE t SET a = NULL"),
            ("SELECT 1 WHERE 2 IN (1)", "SELECT 1 WHERE 2 IN (1, 2, 3)"),
            ("SET x = 1", "SET x = 2"),
            ("BEGIN", "begin"),
        ] {
            assert_eq!(number(one), number(other), "{one} | {other}");
            for text in [one, other] {
                let settled = number(text);
                let count = measure(|| assert_eq!(number(text), settled)).count_total;
                assert_eq!(count, 0, "{text}");
            }
        }
        assert_ne!(number("SELECT a FROM t"), number("SELECT b FROM t"));
        assert_eq!(number("-- nothing"), 0);
    }
    // It is the same in every process and version: whoever keeps it elsewhere relies on that.
    let router = router(Dialect::Postgres);
    let (plan, _) = router.route(b"SELECT 1", TRUSTED, &context);
    assert_eq!(format!("{:016x}", router.digest(b"SELECT 1", TRUSTED, &plan)), "02fb7a5a1a5a9a58");
}
