use std::collections::BTreeSet;
use std::path::PathBuf;

use super::*;
use crate::config::Provenance;

const GOOD: &str = r#"
[listen]
postgres = "127.0.0.1:6432"
[clusters.main]
engine = "postgres"
max_lag = "5s"
[[clusters.main.endpoints]]
address = "10.0.0.1:5432"
[databases.app]
cluster = "main"
[users.app]
password = "first-secret"
[users.cert]
password_file = "password"
"#;

/// A file of its own with `GOOD` in it, removed at the end.
struct Scene {
    dir: PathBuf,
    live: Live,
}

impl Scene {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("splitpool-live-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a directory");
        std::fs::write(dir.join("password"), "from-a-file\n").expect("a file");
        std::fs::write(dir.join("config.toml"), GOOD).expect("a file");
        let live = Live::load(&dir.join("config.toml")).expect("a good file");
        Self { dir, live }
    }

    fn replace(&self, from: &str, to: &str) {
        assert!(GOOD.contains(from), "{from}");
        std::fs::write(self.dir.join("config.toml"), GOOD.replace(from, to)).expect("a file");
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn check(name: &str, from: &str, to: &str, changed: &[&str], kept: &[&str]) {
    let scene = Scene::new(name);
    scene.replace(from, to);
    assert!(scene.live.news().is_some());
    let report = scene.live.reload().expect("a good file");
    assert_eq!((report.changed, report.kept), (owned(changed), owned(kept)), "{name}");
    assert!(scene.live.news().is_none());
    assert_eq!(scene.live.current().generation, if changed.is_empty() { 1 } else { 2 });
    assert_eq!(report.generation, scene.live.current().generation);
}

fn owned(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|line| (*line).to_owned()).collect()
}

#[test]
fn a_reload_says_what_changed() {
    check("comment", "[listen]", "# nothing\n[listen]", &[], &[]);
    check("value", "\"5s\"", "\"2s\"", &["clusters.main.max_lag: 5s -> 2s"], &[]);
    check(
        "endpoint",
        "[[clusters.main.endpoints]]",
        "[[clusters.main.endpoints]]\naddress = \"10.0.0.2:5432\"\n[[clusters.main.endpoints]]",
        &["clusters.main.endpoints: 10.0.0.2:5432 added"],
        &[],
    );
    check(
        "weight",
        ".1:5432\"",
        ".1:5432\"\nweight = 3",
        &["clusters.main.endpoints: 10.0.0.1:5432 from auto with weight 1 to auto with weight 3"],
        &[],
    );
    let both = ["databases.app: removed", "databases.b: added"];
    check("database", "[databases.app]\n", "[databases.b]\ndbname = \"app\"\n", &both, &[]);
    check(
        "user",
        "[users.cert]",
        "[users.\"new.one\"]",
        &["users.\"new.one\": added", "users.cert: removed"],
        &[],
    );
}

#[test]
fn a_password_changes_without_being_shown() {
    let lines = [
        "clusters.main: the password of the probes changed",
        "users.app: the client's password changed",
        "users.app: the password towards backends changed",
    ];
    check("password", "first-secret", "second-secret", &lines, &[]);
}

#[test]
fn what_needs_a_restart_keeps_its_value() {
    let kept = ["listen.postgres: 127.0.0.1:7777 needs a restart, 127.0.0.1:6432 stays"];
    check("listen", "127.0.0.1:6432", "127.0.0.1:7777", &[], &kept);
    let scene = Scene::new("listen-kept");
    let before = scene.live.current();
    scene.replace("127.0.0.1:6432\"", "127.0.0.1:7777\"\nhttp = \"127.0.0.1:1\"\nauth = \"md5\"");
    let report = scene.live.reload().expect("a good file");
    assert_eq!((report.changed, report.kept.len()), (owned(&["listen.auth: scram-sha-256 -> md5"]), 2));
    let after = scene.live.current();
    assert_eq!((&after.listen.postgres, &after.listen.http), (&before.listen.postgres, &None));
}

#[test]
fn a_bad_file_changes_nothing_until_it_is_mended() {
    let scene = Scene::new("bad");
    let before = scene.live.current();
    scene.replace("max_lag", "max_lga");
    let mistakes = scene.live.reload().expect_err("a bad file");
    assert_eq!(mistakes.list.len(), 1, "{mistakes}");
    assert!(Arc::ptr_eq(&before, &scene.live.current()));
    assert!(scene.live.news().is_none(), "the same bad file is not tried again");
    scene.replace("\"5s\"", "\"3s\"");
    assert!(scene.live.news().is_some());
    assert_eq!(scene.live.reload().expect("a good file").generation, 2);
    std::fs::remove_file(scene.dir.join("config.toml")).expect("it is there");
    assert!(scene.live.news().is_some());
    scene.live.reload().expect_err("no file");
    assert_eq!(scene.live.current().generation, 2);
}

#[test]
fn a_file_that_is_named_counts_as_part_of_the_configuration() {
    let scene = Scene::new("named");
    let password = scene.dir.join("password");
    std::fs::remove_file(&password).expect("it is there");
    assert!(scene.live.news().is_some());
    scene.live.reload().expect_err("no password");
    assert!(scene.live.news().is_none());
    std::fs::write(&password, "another\n").expect("a file");
    assert!(scene.live.news().is_some(), "its return may mend the configuration");
    let report = scene.live.reload().expect("a good file");
    assert_eq!(report.generation, 2);
    assert!(report.changed.contains(&"users.cert: the client's password changed".to_owned()));
    assert!(!format!("{:?} {report:?}", scene.live.current()).contains("another"));
}

#[test]
fn what_is_not_accepted_changes_nothing() {
    let scene = Scene::new("refused");
    scene.replace("\"5s\"", "\"2s\"");
    let refused =
        scene.live.reload_if(|_| Err::<(), _>("the key does not fit".to_owned())).expect_err("refused");
    assert!(refused.to_string().ends_with("config.toml: the key does not fit"), "{refused}");
    assert!(scene.live.news().is_none(), "it was an attempt");
    assert_eq!(scene.live.current().generation, 1);
    let lag = |snapshot: &Arc<Snapshot>| Ok(snapshot.clusters["main"].max_lag.as_secs());
    assert_eq!(scene.live.reload_if(lag).expect("accepted").1, 2);
    assert_eq!(scene.live.current().generation, 2);
}

#[test]
fn no_secret_is_set_from_outside_whether_the_file_has_one_or_not() {
    let scene = Scene::new("secrets");
    let mut names = vec!["listen.http_token".to_owned(), "clusters.main.probe_password".to_owned()];
    for user in ["app", "cert"] {
        names.extend([format!("users.{user}.password"), format!("users.{user}.backend_password")]);
    }
    names.extend(names.clone().iter().map(|name| format!("{name}_file")));
    for name in &names {
        for value in [Some("canary"), None] {
            let refused = scene.live.set_if(name, value, |_| Ok(())).expect_err(name);
            assert!(refused.to_string().contains("a secret is not set here"), "{name}: {refused}");
            assert!(!refused.to_string().contains("canary"), "{name}");
        }
    }
    let snapshot = scene.live.current();
    assert_eq!((snapshot.generation, &snapshot.listen.http_token), (1, &None));
    let secret = |(key, source): (&String, &Provenance)| source.is_hidden.then(|| key.clone());
    let marked: BTreeSet<String> = snapshot.sources.0.iter().filter_map(secret).collect();
    assert_eq!(marked, names.into_iter().collect());
}
