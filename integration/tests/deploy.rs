//! What `deploy/` holds is taken by the tools that will read it.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use integration::config::Endpoint;
use integration::paths::{self, Scratch};
use integration::process::Process;
use integration::{Cluster, Config, Proxy, footprint, http, keeper, until};

/// Where the folders of `deploy/` start.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

/// A tool that `integration/test` installs under the target directory.
fn tool(path: &str) -> PathBuf {
    let tool = paths::target().join(path);
    assert!(tool.exists(), "{} is missing: integration/test installs it", tool.display());
    tool
}

#[track_caller]
fn run(command: &mut Command) -> Output {
    let out = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&[&out.stdout[..], &out.stderr[..]].concat()).into_owned();
    assert!(out.status.success(), "{command:?}\n{said}");
    out
}

fn python() -> Command {
    Command::new(tool("venv/bin/python"))
}

/// Runs `deploy/check.py`, with `input`.
#[track_caller]
fn check(what: &str, files: &[&Path], input: &[u8]) {
    let mut command = python();
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/deploy/check.py"));
    command.arg(what).arg(paths::splitpool()).args(files);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("python runs");
    child.stdin.take().expect("a pipe").write_all(input).expect("it reads");
    let out = child.wait_with_output().expect("it ends");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}

#[track_caller]
fn validate(files: &[&Path]) {
    run(python().args(["-m", "kubernetes_validate", "--strict"]).args(files));
}

#[test]
fn manifests_are_valid_and_say_what_they_must() {
    let folder = root().join("deploy/kubernetes");
    validate(&[&folder.join("sidecar.yaml"), &folder.join("service.yaml")]);
    check("manifests", &[], b"");
}

#[test]
fn the_chart_renders_both_shapes() {
    let (helm, chart) = (tool("helm/helm"), root().join("deploy/helm/splitpool"));
    run(Command::new(&helm).args(["lint", "--strict"]).arg(&chart));
    let scratch = Scratch::new("helm");
    let service = ["podMonitor.enabled=true", "prometheusRule.enabled=true", "networkPolicy.enabled=true"];
    let sidecar = ["mode=sidecar", "sidecar.containers[0].name=shop", "sidecar.containers[0].image=shop"];
    for (name, values) in [("service", service), ("sidecar", sidecar)] {
        let values = values.iter().flat_map(|value| ["--set", value]);
        let out = run(Command::new(&helm).args(["template", "test"]).arg(&chart).args(values));
        let file = scratch.path().join(format!("{name}.yaml"));
        fs::write(&file, out.stdout).expect("our own directory");
        validate(&[&file]);
        check("chart", &[&file], b"");
    }
    let wrong = Command::new(&helm).args(["template", "test", "--set", "mode=other"]).arg(&chart).output();
    assert!(!wrong.expect("helm runs").status.success());
}

#[test]
fn compose_units_and_the_image_are_sound() {
    let compose = Command::new("docker-compose")
        .args(["--file", "docker-compose.yml", "config"])
        .current_dir(root())
        .output()
        .expect("apt-get install --no-install-recommends docker-compose");
    assert!(compose.status.success(), "{}", String::from_utf8_lossy(&compose.stderr));
    check("compose", &[], &compose.stdout);
    check("units", &[], b"");
    check("image", &[], b"");
}

#[test]
fn the_static_binary_serves_from_an_empty_root() {
    let binary = tool("x86_64-unknown-linux-musl/debug/splitpool");
    let scratch = Scratch::new("root");
    let config = Config::over(vec![Endpoint::auto("127.0.0.1:1".to_owned())]);
    let place = |name: &str| scratch.path().join(name);
    fs::copy(&binary, place("splitpool")).expect("our own directory");
    fs::write(place("splitpool.toml"), config.to_string()).expect("our own directory");
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o555)).expect("our own directory");
    // As in the image: nobody in particular, and nothing else there.
    let inside = |arguments: &[&str]| {
        let mut command = if rustix::process::geteuid().is_root() {
            let mut chroot = Command::new("chroot");
            chroot.arg("--userspec=65532:65532");
            chroot
        } else {
            let mut unshare = Command::new("unshare");
            unshare.args(["--map-root-user", "chroot"]);
            unshare
        };
        command.arg(scratch.path()).arg("/splitpool").args(arguments).env_clear();
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").stdin(Stdio::null());
        command
    };
    let config_file = ["--config", "/splitpool.toml"];
    run(inside(&["check"]).args(config_file));
    let mut process =
        inside(&config_file).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it runs");
    keeper::keep(Process::of(process.id()).expect("it was not waited for"));
    until("it is live", Duration::from_secs(60), || {
        http::read(config.http, "/live").ok().filter(|(status, _)| *status == 200)
    });
    let alive = inside(&["healthcheck", "--live"]).args(config_file).status();
    process.kill().expect("our own child");
    process.wait().expect("our own child");
    assert!(alive.expect("it runs").success());
    let mut left: Vec<_> =
        fs::read_dir(scratch.path()).expect("ours").flatten().map(|e| e.file_name()).collect();
    left.sort();
    assert_eq!(left, ["splitpool", "splitpool.toml"], "it wrote something");
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o755)).expect("our own directory");
}

/// The names of metrics in a text.
fn named(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let starts = text.match_indices("splitpool_").map(|(at, _)| at);
    starts.map(|at| text[at..].chars().take_while(|c| is_part(*c)).collect()).collect()
}

#[test]
fn every_metric_of_the_rules_and_the_dashboard_exists() {
    let cluster = Cluster::start(0);
    let extra = "\n[clusters.main.discovery]\npatroni = \"127.0.0.1:1\"\n".to_owned();
    let proxy = Proxy::start(Config { extra, ..Config::of(&cluster).text("pool_mode", "statement") });
    proxy.await_reads_on(&[cluster.primary.port()]);
    // One error that a client is told: what has no series yet is not there at all.
    assert!(proxy.session().query("BEGIN").error.is_some());
    let metrics = until("endpoints are looked for", Duration::from_secs(60), || {
        let text = proxy.http("/metrics").1;
        text.contains("splitpool_discovery_stale{").then_some(text)
    });
    // What is counted by events that have not been is there by name alone.
    let mut known: BTreeSet<String> = BTreeSet::new();
    for line in metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').expect("a name and a kind");
        match kind {
            "histogram" => {
                ["_bucket", "_sum", "_count"].iter().all(|end| known.insert(format!("{name}{end}")))
            }
            _ => known.insert(name.to_owned()),
        };
    }
    let root = root();
    for file in ["deploy/prometheus/alerts.yml", "deploy/grafana/dashboards/splitpool.json"] {
        let text = fs::read_to_string(root.join(file)).expect(file);
        let wanted = named(&text);
        assert!(wanted.len() > 5, "{file} names {wanted:?}");
        let missing: Vec<_> = wanted.difference(&known).collect();
        assert!(missing.is_empty(), "{file} names what /metrics has not: {missing:?}\n{known:?}");
    }
    run(Command::new("promtool").args(["check", "rules"]).arg(root.join("deploy/prometheus/alerts.yml")));
    run(Command::new("promtool")
        .args(["check", "config"])
        .arg(root.join("deploy/prometheus/prometheus.yml")));
    run(python().args(["-m", "json.tool"]).arg(root.join("deploy/grafana/dashboards/splitpool.json")));
}

#[test]
fn it_is_small_and_ready_when_it_says_so() {
    // How soon that is, is for `integration/bench` to find out.
    let found = footprint::measure(&Cluster::start(2), 1);
    assert!(found.resident_kb > 0.0 && found.binary > 0, "{found:?}");
    // Debug builds are not small.
    if paths::splitpool().components().any(|part| part.as_os_str() == "release") {
        assert!(found.resident_kb < 15.0 * 1024.0, "{found:?}");
        assert!(found.binary < 25 << 20, "{found:?}");
    }
}
