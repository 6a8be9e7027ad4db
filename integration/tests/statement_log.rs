//! The statement log: which statements it tells of, what it tells, and that no value is in it unless that is asked for.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use integration::mysql::{self, Make, Session};
use integration::paths::Scratch;
use integration::{Config, PASSWORD, Proxy, Stage, until};

const SOON: Duration = Duration::from_secs(60);

/// What is to be logged only where that is asked for.
const CANARY: &str = "canary77e";

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

struct Scene {
    stage: Stage,
    file: PathBuf,
    _scratch: Scratch,
}

fn table(file: &Path, keys: &str) -> String {
    format!("\n[general.statement_log]\nto = \"{}\"\n{keys}\n", file.display())
}

fn scene(keys: &str) -> Scene {
    let scratch = Scratch::new("statements");
    let file = scratch.path().join("statements.log");
    let extra = table(&file, keys);
    let stage = Stage::new(0, |config| Config { extra, ..config });
    stage.cluster.prepare("CREATE TABLE t (id int, v text)");
    Scene { stage, file, _scratch: scratch }
}

impl Scene {
    fn said(&self) -> String {
        fs::read_to_string(&self.file).unwrap_or_default()
    }

    /// The line that tells of this statement; they are written behind the reply.
    #[track_caller]
    fn line(&self, text: &str) -> String {
        until(&format!("a line of {text}"), SOON, || {
            self.said().lines().find(|line| line.contains(text)).map(str::to_owned)
        })
    }
}

/// The fields of a line of LTSV.
fn fields(line: &str) -> BTreeMap<String, String> {
    let field = |field: &str| field.split_once(':').map(|(name, value)| (name.to_owned(), value.to_owned()));
    line.split('\t').map(|text| field(text).unwrap_or_else(|| panic!("{text} is no field"))).collect()
}

#[test]
fn every_statement_is_told_of_with_where_it_ran_and_what_it_took() {
    let scene = scene("sample_every = 1\nformat = \"ltsv\"");
    let mut wire = scene.stage.proxy.session();
    wire.query(&format!(
        "INSERT INTO t VALUES (1, '{CANARY}'), (2, 'b') /*traceparent='00-{TRACE}-b7ad6b7169203331-01'*/"
    ))
    .ok();
    let said = fields(&scene.line("insert into t"));
    let primary = scene.stage.cluster.primary.address();
    for (name, value) in [
        ("because", "sample"),
        ("user", "app"),
        ("cluster", "main"),
        ("database", "app"),
        ("target", "primary"),
        ("endpoint", primary.as_str()),
        ("reason", "write"),
        ("transaction", "idle"),
        ("statements", "1"),
        ("rows", "2"),
        ("trace", TRACE),
        ("text", "insert into t values (?, ?)"),
    ] {
        assert_eq!(said[name], value, "{name} in {said:?}");
    }
    assert_eq!(said["client"], format!("127.0.0.1:{}", wire.local_port()));
    assert!(said["micros"].parse::<u32>().is_ok_and(|micros| micros > 0), "{said:?}");
    assert!(!said.contains_key("error"));
    // Parameters, transactions, errors, secrets.
    wire.query("BEGIN").ok();
    wire.execute("UPDATE t SET v = $1", &[CANARY]).ok();
    assert_eq!(fields(&scene.line("update t set v"))["transaction"], "open");
    assert_eq!(wire.query("SELECT 1/0").code(), "22012");
    let said = fields(&scene.line("select ? / ?"));
    assert_eq!((said["error"].as_str(), said["reason"].as_str()), ("22012", "transaction"));
    wire.query("ROLLBACK").ok();
    wire.query(&format!("ALTER ROLE nobody PASSWORD '{CANARY}'"));
    wire.query(&format!("ALTER ROLE nobody PASSWORD {CANARY}"));
    wire.query(&format!("SELECT '{CANARY}")).code();
    scene.line("select ...");
    assert!(!scene.said().contains(CANARY), "{}", scene.said());
    // The file may be moved away at any time.
    let moved = scene.file.with_extension("1");
    fs::rename(&scene.file, &moved).expect("our own directory");
    wire.query("SELECT 'behind it' AS moved").ok();
    scene.line("as moved");
    let lines =
        fs::read_to_string(&moved).expect("it is there").lines().count() + scene.said().lines().count();
    until("all lines are counted", SOON, || {
        let written =
            scene.stage.proxy.metrics().sum("splitpool_statement_log_lines_total", &[("outcome", "written")]);
        (written >= lines as f64).then_some(())
    });
}

#[test]
fn slow_statements_are_told_of_and_fast_ones_are_not() {
    let scene = scene("slow = \"300ms\"\nformat = \"json\"");
    let mut wire = scene.stage.proxy.session();
    wire.query(&format!("SELECT pg_sleep(0.5), '{CANARY}'")).ok();
    let line = scene.line("pg_sleep");
    assert!(line.starts_with("{\"time\":\"20") && line.ends_with('}'), "{line}");
    assert!(
        line.contains("\"because\":\"slow\"") && line.contains("\"text\":\"select pg_sleep(?), ?\""),
        "{line}"
    );
    // With another limit nothing is slow; what is logged at all is taken up at once.
    let text = scene.stage.proxy.config().to_string();
    scene.stage.proxy.rewrite_text(&text.replace("\"300ms\"", "\"1d\""));
    until("it is in force", SOON, || {
        scene.stage.proxy.http("/api/status").1.contains("\"generation\":2").then_some(())
    });
    wire.query("SELECT pg_sleep(0.5) AS unseen").ok();
    let literally = text.replace("slow = \"300ms\"", "slow = \"1ms\"\nliterals = true\ntext_max = \"64B\"");
    scene.stage.proxy.rewrite_text(&literally);
    until("it is in force", SOON, || {
        scene.stage.proxy.http("/api/status").1.contains("\"generation\":3").then_some(())
    });
    wire.query(&format!("SELECT pg_sleep(0.1), '{CANARY}' AS {}", "long".repeat(10))).ok();
    let line = scene.line(CANARY);
    let sent = format!("SELECT pg_sleep(0.1), '{CANARY}' AS {}", "long".repeat(10));
    assert!(line.contains(&format!("\"text\":\"{}\"}}", &sent[..64])), "{line}");
    assert!(!scene.said().contains("unseen"), "{}", scene.said());
}

#[test]
fn a_log_that_cannot_be_written_costs_only_its_lines() {
    let extra = table(Path::new("/nowhere/at/all"), "sample_every = 1");
    let stage = Stage::new(0, |config| Config { extra, ..config });
    let mut wire = stage.proxy.session();
    for _ in 0..50 {
        wire.query("SELECT 1").ok();
    }
    until("they are counted", SOON, || {
        let lines = |outcome| {
            stage.proxy.metrics().sum("splitpool_statement_log_lines_total", &[("outcome", outcome)])
        };
        (lines("failed") + lines("dropped") >= 50.0).then_some(())
    });
    assert_eq!(stage.proxy.log().matches("the statement log cannot be written").count(), 1);
}

#[test]
fn the_log_itself_and_mysql() {
    let cluster = mysql::Cluster::start(Make::MariaDb, 0);
    cluster.prepare("CREATE TABLE t (id int, v text)");
    let mut config = Config::of_mysql(&cluster);
    config.extra = "\n[general.statement_log]\nsample_every = 1\n".to_owned();
    let proxy = Proxy::start(config);
    let login = || Session::login(proxy.port(), "app", PASSWORD, "app");
    let mut session = until("somebody serves", SOON, || login().ok());
    session.query(&format!("INSERT INTO t VALUES (1, '{CANARY}')")).ok();
    session.execute("INSERT INTO t VALUES (?, ?)", &["2", CANARY]).ok();
    assert!(session.try_query("SELECT nothing FROM t").is_ok_and(|reply| reply.code() == 1054));
    let said = until("three lines", SOON, || {
        let log = proxy.log();
        let inserts = log.matches("insert into t values (?, ?)").count();
        (inserts == 2 && log.contains("select nothing from t")).then_some(log)
    });
    assert!(said.contains("\"error\":\"01054\"") && !said.contains(CANARY), "{said}");
}
