//! TLS in both directions: what each mode of the client, of ours and of the database comes to, by libpq and by
//! hand; and what becomes of it when certificates are renewed.

mod clients;
mod databases;
mod idle;
mod papers;
mod renewed;
mod tunnel;

use std::process::{Command, Stdio};

use integration::paths::postgres_program;
use integration::{Cluster, Config, PASSWORD, Proxy, Stage};

/// A cluster of one, and a proxy that offers TLS with a certificate and its key.
fn stage(mode: &str, cert: &std::path::Path, key: &std::path::Path) -> Stage {
    let tls = format!(
        "\n[listen.tls]\nmode = \"{mode}\"\ncert = {cert:?}\nkey = {key:?}\n\n[general]\nclient_login_timeout = \"10s\"\n"
    );
    let cluster = Cluster::start(0);
    let mut config = Config::of(&cluster);
    config.extra = tls;
    let proxy = Proxy::start(config);
    proxy.await_ready();
    Stage { proxy, cluster }
}

/// What psql shows, or what it complains of, when it signs in with these parameters.
fn psql(stage: &Stage, parameters: &str) -> Result<String, String> {
    let port = stage.proxy.port();
    let info = format!("hostaddr=127.0.0.1 port={port} user=app dbname=app gssencmode=disable {parameters}");
    let mut command = Command::new(postgres_program("psql"));
    command.args(["-X", "-At", &info, "-c", "\\conninfo", "-c", "SELECT 'served'"]);
    let out = command.env("PGPASSWORD", PASSWORD).stdin(Stdio::null()).output().expect("psql starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if out.status.success() { Ok(text(&out.stdout)) } else { Err(text(&out.stderr)) }
}

#[track_caller]
fn is_served(stage: &Stage, parameters: &str, encrypted: bool) {
    let said = psql(stage, parameters).unwrap_or_else(|error| panic!("{parameters}: {error}"));
    assert!(said.contains("served"), "{parameters}: {said}");
    assert_eq!(said.contains("SSL connection"), encrypted, "{parameters}: {said}");
}

#[track_caller]
fn is_refused(stage: &Stage, parameters: &str, why: &str) {
    let said = psql(stage, parameters).expect_err(parameters);
    assert!(said.contains(why), "{parameters}: {said}");
}
