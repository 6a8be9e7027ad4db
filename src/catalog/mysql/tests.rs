use super::{Routine, View, build, distrust_callers, judge_views, lexing};
use router::{Catalog, Context, Dialect, Lexing, Limits, Router, Target};
use std::collections::BTreeSet;

/// A function that declares that it reads, with this body.
fn routine(name: &str, body: &str) -> Routine {
    let body = router::mysql::body(body.as_bytes(), Lexing::TRUSTED);
    Routine { schema: "app".to_owned(), name: name.to_owned(), reads: !body.writes, body: Some(body) }
}

fn reads(catalog: &Catalog, sql: &str) -> bool {
    let router = Router::new(Dialect::Mysql, Limits::default(), Vec::new());
    let context = Context { catalog, strong: false };
    router.route(sql.as_bytes(), Lexing::TRUSTED, &context).1.target == Target::Replica
}

#[test]
fn a_body_tells_what_the_declaration_may_not() {
    let cases = [
        ("RETURN 1", true),
        ("RETURN (SELECT count(*) FROM t)", true),
        (
            "BEGIN DECLARE n DECIMAL(10,2); SELECT sum(a) INTO n FROM t WHERE b = x; SET n = n + 1; RETURN (n); END",
            true,
        ),
        (
            "BEGIN IF (x > 1) THEN RETURN 1; ELSEIF (x > 0) THEN RETURN 2; END IF; WHILE (x > 0) DO SET x = x - 1; END WHILE; RETURN x; END",
            true,
        ),
        ("BEGIN INSERT INTO t VALUES (1); RETURN 1; END", false),
        ("BEGIN DELETE FROM t; RETURN 1; END", false),
        ("BEGIN SET @a = 1; RETURN 1; END", false),
        ("RETURN @a := 1", false),
        ("BEGIN SELECT 1 INTO @a; RETURN 1; END", false),
        ("BEGIN SET SESSION sql_mode = ''; RETURN 1; END", false),
        ("BEGIN SET sql_mode = ''; RETURN 1; END", false),
        ("BEGIN CALL p(); RETURN 1; END", false),
        ("RETURN GET_LOCK('a', 1)", false),
        ("RETURN NEXTVAL(s)", false),
        ("RETURN (SELECT 1 FROM t FOR UPDATE)", false),
        ("RETURN 'unterminated", false),
        ("RETURN 'INSERT INTO t'", true),
    ];
    for (body, reads) in cases {
        assert_eq!(!router::mysql::body(body.as_bytes(), Lexing::TRUSTED).writes, reads, "{body}");
    }
}

#[test]
fn callers_are_as_safe_as_the_called() {
    let mut routines = [
        routine("leaf", "RETURN 1"),
        routine("writer", "BEGIN INSERT INTO t VALUES (1); RETURN 1; END"),
        routine("caller", "RETURN Leaf(1) + lower('x')"),
        routine("bad_caller", "RETURN app.writer(1)"),
        routine("worse_caller", "RETURN bad_caller(1)"),
        routine("caller_of_unknown", "RETURN nowhere(1)"),
        routine("Recursive", "RETURN recursive(1)"),
    ];
    distrust_callers(&mut routines);
    let safe: Vec<&str> =
        routines.iter().filter(|routine| routine.reads).map(|routine| &*routine.name).collect();
    assert_eq!(safe, ["leaf", "caller", "Recursive"]);
}

#[test]
fn views_are_as_safe_as_their_queries() {
    let routines = [routine("leaf", "RETURN 1"), routine("writer", "BEGIN DELETE FROM t; RETURN 1; END")];
    let view =
        |name: &str, definition: &str| View { name: name.to_owned(), definition: definition.to_owned() };
    let views = [
        view("plain", "select `app`.`t`.`a` AS `a` from `app`.`t`"),
        view("pure", "select `app`.`leaf`(1) AS `a`"),
        view("Writing", "select `app`.`writer`(1) AS `a`"),
        view("deeper", "select `app`.`writing`.`a` AS `a` from `app`.`writing`"),
        view("hidden", ""),
    ];
    let catalog = judge_views(&routines, &views);
    for (sql, expected) in [
        ("SELECT * FROM plain", true),
        ("SELECT * FROM pure", true),
        ("SELECT * FROM writing", false),
        ("SELECT * FROM `Writing`", false),
        ("SELECT * FROM deeper", false),
        ("SELECT * FROM hidden", false),
        ("SELECT leaf(1)", true),
        ("SELECT writer(1)", false),
        ("SELECT nowhere(1)", false),
    ] {
        assert_eq!(reads(&catalog, sql), expected, "{sql}");
    }
    assert!(
        reads(&build(&routines, &views, &BTreeSet::new()), "SELECT * FROM writing"),
        "the views alone decide"
    );
}

#[test]
fn a_routine_is_read_as_it_was_written() {
    assert!(!lexing("STRICT_TRANS_TABLES,ORACLE").trusted);
    assert!(lexing("ANSI_QUOTES,NO_BACKSLASH_ESCAPES").ansi_quotes);
    assert!(!lexing("ANSI_QUOTES,NO_BACKSLASH_ESCAPES").backslash_escapes);
    assert_eq!(lexing(""), Lexing::TRUSTED);
}
