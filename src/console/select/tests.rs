use super::*;
use protocol::Fault;

/// Rows as `runtime_mysql_servers` has them: hostgroup, host, port, and so on.
fn rows() -> Vec<Row> {
    let one = |group: i64, host: Option<&str>, weight: i64, comment: &str| {
        let mut row = vec![Cell::Int(0); 12];
        row[0] = Cell::Int(group);
        row[1] = host.into();
        row[4] = "ONLINE".into();
        row[5] = Cell::Int(weight);
        row[11] = comment.into();
        row
    };
    vec![
        one(0, Some("a"), 10, "main"),
        one(1, Some("b"), 9, "main"),
        one(1, Some("c_d"), 100, "Other"),
        one(3, None, 1, "other%"),
    ]
}

fn shown(text: &str) -> Result<String, Fault> {
    let select = read(text)?;
    let rows = select.run(if select.table().is_some() { rows() } else { Vec::new() }, "me");
    let cell = |cell: &Cell| if *cell == Cell::Null { "NULL".to_owned() } else { super::text(cell) };
    let line = |row: &Row| row.iter().map(cell).collect::<Vec<_>>().join(",");
    Ok(rows.iter().map(line).collect::<Vec<_>>().join(" "))
}

#[test]
fn queries() {
    for (text, wanted) in [
        ("SELECT hostname FROM runtime_mysql_servers", "a b c_d NULL"),
        (
            "select HostName, main.runtime_mysql_servers.weight from main.runtime_mysql_servers limit 1",
            "a,10",
        ),
        ("SELECT hostname FROM runtime_mysql_servers WHERE hostgroup_id = 1 AND weight > 9", "c_d"),
        ("SELECT hostname FROM runtime_mysql_servers WHERE hostgroup_id='1' or weight<=1", "b c_d NULL"),
        (
            "SELECT hostname FROM runtime_mysql_servers WHERE status=\"ONLINE\" and (weight>99 or weight=1)",
            "c_d NULL",
        ),
        ("SELECT weight FROM runtime_mysql_servers WHERE hostname IS NULL", "1"),
        ("SELECT weight FROM runtime_mysql_servers WHERE NOT hostname = 'a'", "9 100"),
        ("SELECT weight FROM runtime_mysql_servers WHERE hostname NOT IN ('a', 'b')", "100"),
        ("SELECT weight FROM runtime_mysql_servers WHERE hostname NOT IN ('a', NULL)", ""),
        ("SELECT weight FROM runtime_mysql_servers WHERE comment LIKE 'OTH%'", "100 1"),
        (
            "SELECT weight FROM runtime_mysql_servers WHERE hostname LIKE '__d' OR hostname LIKE '%b%'",
            "9 100",
        ),
        ("SELECT weight FROM runtime_mysql_servers ORDER BY weight DESC", "100 10 9 1"),
        ("SELECT hostname h FROM runtime_mysql_servers ORDER BY h LIMIT 2", "NULL a"),
        ("SELECT hostname FROM runtime_mysql_servers ORDER BY hostgroup_id DESC, 1 LIMIT 1, 2", "b c_d"),
        ("SELECT hostname FROM runtime_mysql_servers LIMIT 1 OFFSET 3", "NULL"),
        ("SELECT COUNT(*) FROM runtime_mysql_servers", "4"),
        (
            "SELECT COUNT(hostname) n, SUM(weight), MIN(weight), MAX(hostname) FROM runtime_mysql_servers",
            "3,120,1,c_d",
        ),
        ("SELECT COUNT(*), MAX(weight) FROM runtime_mysql_servers WHERE port = 7", "0,NULL"),
        (
            "SELECT comment, COUNT(*) AS count FROM runtime_mysql_servers group by comment ORDER BY count DESC",
            "main,2 Other,1 other%,1",
        ),
        (
            "SELECT hostgroup_id, weight, count(*) FROM runtime_mysql_servers GROUP BY hostgroup_id, weight",
            "0,10,1 1,9,1 1,100,1 3,1,1",
        ),
        ("/* x */ select @@version_comment limit 1", concat!("Splitpool ", env!("CARGO_PKG_VERSION"))),
        ("SELECT @@max_allowed_packet, @@session.autocommit AS a", "65536,1"),
        ("SELECT DATABASE(), USER() LIMIT 1", "splitpool,me"),
        ("SELECT current_user()", "me"),
    ] {
        assert_eq!(shown(text).as_deref(), Ok(wanted), "{text}");
    }
    let wide =
        read("SELECT hostgroup_id, hostname, * FROM runtime_mysql_servers").expect("a query").columns();
    assert_eq!((wide.len(), wide[1].name.as_ref(), wide[3].name.as_ref()), (14, "hostname", "hostname"));
    let named =
        read("SELECT COUNT(*), weight w, HOSTNAME FROM runtime_mysql_servers").expect("a query").columns();
    let names: Vec<&str> = named.iter().map(|column| column.name.as_ref()).collect();
    assert_eq!(names, ["COUNT(*)", "w", "hostname"]);
}

#[test]
fn what_agents_do_not_use_is_refused() {
    use protocol::fault::Cause::{InvalidParameter, NotSupported, Syntax, UnknownColumn, UnknownTable};
    for (text, wanted) in [
        ("SELECT * FROM", Syntax),
        ("SELECT * FROM nothing", UnknownTable),
        ("SELECT * FROM mysql.user", UnknownTable),
        ("SELECT * FROM monitor.stats_mysql_global", UnknownTable),
        ("SELECT nothing FROM stats_mysql_global", UnknownColumn),
        ("SELECT * FROM stats_mysql_global WHERE nothing = 1", UnknownColumn),
        ("SELECT * FROM stats_mysql_global ORDER BY nothing", UnknownColumn),
        ("SELECT other.status FROM runtime_mysql_servers", UnknownColumn),
        ("SELECT @@nothing", InvalidParameter),
        ("SELECT 1 + 1", NotSupported),
        ("SELECT 'x'", NotSupported),
        ("SELECT SLEEP(1)", NotSupported),
        ("SELECT weight * 2 FROM runtime_mysql_servers", NotSupported),
        ("SELECT DISTINCT status FROM runtime_mysql_servers", NotSupported),
        ("SELECT COUNT(DISTINCT status) FROM runtime_mysql_servers", NotSupported),
        ("SELECT * FROM stats_mysql_global, stats_mysql_users", NotSupported),
        ("SELECT * FROM stats_mysql_global JOIN stats_mysql_users", NotSupported),
        ("SELECT * FROM (SELECT * FROM stats_mysql_global) x", NotSupported),
        ("SELECT * FROM stats_mysql_global UNION SELECT * FROM stats_mysql_global", NotSupported),
        ("SELECT * FROM stats_mysql_global WHERE Variable_Name IN (SELECT 1)", NotSupported),
        ("SELECT * FROM stats_mysql_global WHERE Variable_Value + 1 = 2", NotSupported),
        ("SELECT * FROM stats_mysql_global LIMIT -1", NotSupported),
        ("SELECT * FROM stats_mysql_global FOR UPDATE", NotSupported),
        ("SELECT * INTO OUTFILE '/tmp/x' FROM stats_mysql_global", Syntax),
        ("WITH x AS (SELECT 1) SELECT * FROM stats_mysql_global", NotSupported),
        ("INSERT INTO stats_mysql_global VALUES (1)", NotSupported),
        ("DELETE FROM stats_mysql_global", NotSupported),
    ] {
        let refused = read(text).map(|_| ()).expect_err(text);
        assert_eq!(refused.cause, wanted, "{text}: {refused:?}");
    }
}

#[test]
fn a_text_of_any_kind_is_answered() {
    let deep = |open: &str, close: &str| format!("SELECT * FROM stats_mysql_global WHERE {}1{}", open, close);
    for text in [
        deep(&"(".repeat(1_000), &")".repeat(1_000)),
        deep(&"NOT ".repeat(490), ""),
        format!("SELECT * FROM stats_mysql_global WHERE 1=1{}", " AND 1=1".repeat(240)),
        format!("SELECT * FROM stats_mysql_global WHERE 1=1{}", " AND 1=1".repeat(100_000)),
        format!("SELECT {}1", "-".repeat(1_500)),
    ] {
        if let Ok(select) = read(&text) {
            select.run(vec![vec![Cell::Null, Cell::Null]], "me");
        }
    }
    assert!(!like(&format!("{}b", "a".repeat(30)), &"%a".repeat(12)));
    assert!(like("", "%") && !like("", "_") && like("a%b", "a%b") && like("ab", "a%b") && !like("ab", "a_b"));
}
