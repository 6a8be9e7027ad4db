use super::{Known, Routine, Source, Trigger, View, build, distrust_callers, judge_views, lexing};
use router::{Catalog, Context, Dialect, Effects, Lexing, Limits, Router, Target};
use std::collections::BTreeSet;

/// A function that declares that it reads, with this body.
fn routine(name: &str, body: &str) -> Routine {
    let source = Source::new(body.to_owned(), "");
    let (schema, name) = ("app".to_owned(), name.to_owned());
    Routine { schema, name, is_function: true, reads: !source.body.writes, source: Some(source) }
}

fn view(name: &str, definition: &str) -> View {
    let source = Source::new(definition.to_owned(), "");
    View { schema: "app".to_owned(), name: name.to_owned(), source }
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
    let routines = vec![routine("leaf", "RETURN 1"), routine("writer", "BEGIN DELETE FROM t; RETURN 1; END")];
    let views = vec![
        view("plain", "select `app`.`t`.`a` AS `a` from `app`.`t`"),
        view("pure", "select `app`.`leaf`(1) AS `a`"),
        view("Writing", "select `app`.`writer`(1) AS `a`"),
        view("deeper", "select `app`.`writing`.`a` AS `a` from `app`.`writing`"),
        view("hidden", ""),
    ];
    let known = Known { routines, views, triggers: Vec::new(), sees_triggers: true };
    let catalog = judge_views(&known);
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
    assert!(reads(&build(&known, &BTreeSet::new()), "SELECT * FROM writing"), "the views alone decide");
}

/// What statements may leave behind by what they call, fire and read.
#[test]
fn what_is_left_is_known_from_bodies() {
    let procedure = |name: &str, body: &str| Routine { is_function: false, ..routine(name, body) };
    let trigger = |table: &str, body: &str| {
        let (schema, table) = ("app".to_owned(), table.to_owned());
        Trigger { schema, table, source: Source::new(body.to_owned(), "") }
    };
    let mut known = Known {
        routines: vec![
            routine("locks", "RETURN GET_LOCK('a', 1)"),
            routine("calls", "RETURN app.Locks() + 1"),
            routine("sets", "BEGIN SELECT 1 INTO @v; RETURN 1; END"),
            routine("plain", "BEGIN INSERT INTO t VALUES (1); RETURN 1; END"),
            routine("foreign", "RETURN udf(1)"),
            procedure("makes", "BEGIN CREATE TEMPORARY TABLE tmp (n int); DROP TEMPORARY TABLE tmp; END"),
            procedure("dynamic", "BEGIN PREPARE s FROM @text; EXECUTE s; END"),
            procedure("nothing", "SELECT 1"),
            procedure("outer_one", "BEGIN CALL makes(); INSERT INTO fires VALUES (1); END"),
            procedure("lost", "CALL elsewhere()"),
            Routine { source: None, reads: false, ..routine("hidden", "") },
        ],
        views: vec![
            view("over_calls", "select `calls`() AS `a`"),
            view("over_fires", "select `fires`.`n` from `fires`"),
        ],
        triggers: vec![
            trigger("fires", "SET @fired = NEW.n"),
            trigger("locked", "DO get_lock(NEW.n, 1)"),
            trigger("t", "INSERT INTO audit VALUES (NEW.n)"),
            trigger("odd", "SET @x = hidden()"),
        ],
        sees_triggers: true,
    };
    distrust_callers(&mut known.routines);
    let catalog = build(&known, &BTreeSet::new());
    let router = Router::new(Dialect::Mysql, Limits::default(), Vec::new());
    let context = Context { catalog: &catalog, strong: false };
    let lock = Effects::ADVISORY_LOCK;
    let variable = Effects::USER_VARIABLES;
    let set = variable | Effects::SETTINGS;
    let cases: [(&str, Effects, &[&str]); 21] = [
        ("SELECT locks()", lock, &["a"]),
        ("SELECT `calls`() FROM t", lock, &["a"]),
        ("UPDATE other SET n = locks()", lock, &["a"]),
        ("SELECT sets()", variable, &["v"]),
        ("SELECT plain()", Effects::empty(), &[]),
        ("INSERT INTO t SELECT plain()", Effects::empty(), &[]),
        ("SELECT foreign_one(1)", Effects::UNKNOWN, &[]),
        ("SELECT foreign(1)", Effects::UNKNOWN, &[]),
        ("SELECT hidden()", Effects::UNKNOWN, &[]),
        ("CALL makes()", Effects::TEMP_TABLE, &["app.tmp"]),
        ("CALL app.Makes", Effects::TEMP_TABLE, &["app.tmp"]),
        ("CALL outer_one()", Effects::TEMP_TABLE | set, &["app.tmp", "fired"]),
        ("CALL nothing()", Effects::empty(), &[]),
        ("CALL nothing(locks())", lock, &["a"]),
        ("CALL dynamic()", Effects::UNKNOWN, &["?"]),
        ("CALL lost()", Effects::UNKNOWN, &[]),
        ("INSERT INTO fires VALUES (1)", set, &["fired"]),
        ("REPLACE INTO app.`Fires` VALUES (1)", set, &["fired"]),
        ("INSERT INTO over_fires VALUES (1)", set, &["fired"]),
        ("INSERT INTO locked VALUES (1)", lock, &["?"]),
        ("SELECT n FROM fires", Effects::empty(), &["fired"]),
    ];
    for (text, effects, names) in cases {
        let route = router.route(text.as_bytes(), Lexing::TRUSTED, &context).1;
        assert_eq!(route.effects, effects, "{text}");
        let mentions =
            router.mentions(text.as_bytes(), Lexing::TRUSTED, &catalog, effects).unwrap_or_default();
        let name = |mention: &router::Mention| {
            let schema = mention.schema.as_ref().filter(|_| mention.what == Effects::TEMP_TABLE);
            let schema = schema.map(|schema| format!("{schema}.")).unwrap_or_default();
            format!("{schema}{}", mention.name.as_deref().unwrap_or("?"))
        };
        let mut found: Vec<String> =
            mentions.iter().filter(|mention| mention.what != Effects::DDL).map(name).collect();
        found.sort_unstable();
        assert_eq!(found, names, "{text}");
    }
    assert_eq!(
        router.route(b"INSERT INTO odd VALUES (1)", Lexing::TRUSTED, &context).1.effects,
        set | Effects::UNKNOWN
    );
}

#[test]
fn a_routine_is_read_as_it_was_written() {
    assert!(!lexing("STRICT_TRANS_TABLES,ORACLE").trusted);
    assert!(lexing("ANSI_QUOTES,NO_BACKSLASH_ESCAPES").ansi_quotes);
    assert!(!lexing("ANSI_QUOTES,NO_BACKSLASH_ESCAPES").backslash_escapes);
    assert_eq!(lexing(""), Lexing::TRUSTED);
}
