//! TLS towards clients: what each mode of theirs and of ours comes to, by libpq and by hand.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use integration::config::Endpoint;
use integration::paths::{Scratch, hand_over, in_path, postgres_program};
use integration::{Cluster, Config, PASSWORD, Proxy, Stage, Wire, frame, until};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};

/// An authority as `<name>.ca`, and a certificate for `localhost` by it with its key.
fn papers(directory: &Path, name: &str) {
    let mut params = CertificateParams::new(Vec::new()).expect("no names are good names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    // With one name for both, the certificate would look signed by itself.
    params.distinguished_name.push(DnType::CommonName, format!("{name}, an authority"));
    let authority =
        CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority");
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a good name");
    let certificate = params.signed_by(&key, &authority).expect("a certificate");
    let write = |kind: &str, text: &str| {
        std::fs::write(directory.join(format!("{name}.{kind}")), text).expect("our own directory");
    };
    write("ca", &authority.pem());
    write("cert", &certificate.pem());
    write("key", &key.serialize_pem());
}

fn directory() -> &'static Path {
    static DIRECTORY: OnceLock<Scratch> = OnceLock::new();
    let scratch = DIRECTORY.get_or_init(|| {
        let scratch = Scratch::new("tls");
        papers(scratch.path(), "ours");
        papers(scratch.path(), "stranger");
        scratch
    });
    scratch.path()
}

fn stage(mode: &str) -> Stage {
    let (cert, key) = (directory().join("ours.cert"), directory().join("ours.key"));
    let tls = format!(
        "\n[listen.tls]\nmode = \"{mode}\"\ncert = {cert:?}\nkey = {key:?}\n\n[general]\nclient_login_timeout = \"3s\"\n"
    );
    let cluster = Cluster::start(0);
    let mut config = Config::of(&cluster);
    config.extra = tls;
    let proxy = Proxy::start(config);
    until("it is ready", Duration::from_secs(60), || (proxy.http("/ready").0 == 200).then_some(()));
    Stage { proxy, cluster }
}

/// One for all tests that only talk to it.
fn requiring() -> &'static Stage {
    static STAGE: OnceLock<Stage> = OnceLock::new();
    STAGE.get_or_init(|| stage("require"))
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

#[test]
fn required_by_us() {
    let stage = requiring();
    let ours = format!("host=localhost sslrootcert={}", directory().join("ours.ca").display());
    let stranger = format!("host=localhost sslrootcert={}", directory().join("stranger.ca").display());
    is_served(stage, "sslmode=prefer", true);
    is_served(stage, "sslmode=require", true);
    is_served(stage, "sslmode=require channel_binding=require", true);
    is_served(stage, &format!("{ours} sslmode=verify-full channel_binding=require"), true);
    is_refused(stage, &format!("{stranger} sslmode=verify-full"), "certificate verify failed");
    is_refused(
        stage,
        &format!("{ours} host=another.example sslmode=verify-full"),
        "does not match host name",
    );
    is_refused(stage, "sslmode=disable", "FATAL");
}

#[test]
fn preferred_by_us() {
    let stage = stage("prefer");
    is_served(&stage, "sslmode=require", true);
    is_served(&stage, "sslmode=disable", false);
    is_refused(&stage, "sslmode=disable channel_binding=require", "channel binding");
}

#[test]
fn bytes_in_clear_ahead_of_the_handshake_end_the_connection() {
    let stage = requiring();
    let mark = stage.cluster.mark();
    let mut wire = Wire::connect(stage.proxy.port()).expect("the proxy accepts");
    let startup = frame::startup(&[("user", "app"), ("database", "app")]);
    wire.send(&[frame::ssl_request(), startup, frame::query("SELECT 1 /* stuffed */")].concat())
        .expect("it is open");
    let mut heard = Vec::new();
    while let Ok(byte) = wire.read_bytes(1) {
        heard.extend(byte);
    }
    assert!(!heard.windows(4).any(|bytes| bytes == b"SCRA"), "the sign-in went on in clear");
    assert!(stage.cluster.servers_that_ran("/* stuffed */", &mark).is_empty());
    is_served(stage, "sslmode=require", true);
}

/// What the proxy says to a StartupMessage in TLS that nobody asked for.
fn directly(stage: &Stage, arguments: &[&str]) -> String {
    let program = in_path("openssl").expect("no openssl: apt-get install -y openssl");
    let address = format!("127.0.0.1:{}", stage.proxy.port());
    let mut command = Command::new(program);
    command.args(["s_client", "-quiet", "-connect", &address]).args(arguments);
    let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut client = pipes.spawn().expect("openssl starts");
    let startup = frame::startup(&[("user", "app"), ("database", "app")]);
    // Refused ones may be gone before all is written.
    let _ = client.stdin.take().expect("it is piped").write_all(&startup);
    // It ends when the proxy gives the sign-in up.
    let out = client.wait_with_output().expect("openssl ends");
    String::from_utf8_lossy(&out.stdout).into_owned()
}

#[test]
fn begun_unasked() {
    let stage = requiring();
    let said = directly(stage, &["-alpn", "postgresql"]);
    assert!(said.contains("SCRAM-SHA-256-PLUS"), "{said:?}");
    assert_eq!(directly(stage, &[]), "", "without an application protocol");
    assert_eq!(directly(stage, &["-alpn", "http/1.1"]), "", "with another one");
    is_served(stage, "sslmode=require", true);
}

/// A proxy in front of a database that speaks TLS, told to reach it at `host` and to check `tls`.
fn towards(cluster: &Cluster, host: &str, tls: &str) -> Proxy {
    let address = format!("{host}:{}", cluster.primary.port());
    let mut config = Config::over(vec![Endpoint::auto(address)]).text("query_wait_timeout", "1s");
    config.extra = format!("\n[clusters.main.tls]\n{tls}\n");
    Proxy::start(config)
}

#[test]
fn towards_the_databases() {
    let cluster = Cluster::start(0);
    let data = cluster.primary.data();
    for kind in ["cert", "key"] {
        let place = data.join(format!("server.{kind}"));
        std::fs::copy(directory().join(format!("ours.{kind}")), &place).expect("a copy");
        std::fs::set_permissions(&place, PermissionsExt::from_mode(0o600)).expect("our own file");
    }
    hand_over(data);
    for (name, value) in [("ssl_cert_file", "server.cert"), ("ssl_key_file", "server.key"), ("ssl", "on")] {
        cluster.primary.set(name, value);
    }
    let ca = |name: &str| format!("ca = {:?}", directory().join(format!("{name}.ca")));
    let (ours, stranger) = (ca("ours"), ca("stranger"));
    for (host, tls, encrypted) in [
        ("127.0.0.1", "mode = \"off\"".to_owned(), "f"),
        ("127.0.0.1", "mode = \"prefer\"".to_owned(), "t"),
        ("127.0.0.1", "mode = \"require\"".to_owned(), "t"),
        ("127.0.0.1", format!("mode = \"verify-ca\"\n{ours}"), "t"),
        ("localhost", format!("mode = \"verify-full\"\n{ours}"), "t"),
    ] {
        let proxy = towards(&cluster, host, &tls);
        until("it is ready", Duration::from_secs(60), || (proxy.http("/ready").0 == 200).then_some(()));
        let mut wire = proxy.session();
        let ssl = wire.value("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()");
        assert_eq!(ssl, encrypted, "{host} {tls}");
    }
    // The name is not the certificate's; the authority is not the one that signed it.
    for (host, tls) in [
        ("127.0.0.1", format!("mode = \"verify-full\"\n{ours}")),
        ("localhost", format!("mode = \"verify-full\"\n{stranger}")),
        ("localhost", format!("mode = \"verify-ca\"\n{stranger}")),
    ] {
        let proxy = towards(&cluster, host, &tls);
        assert!(proxy.try_session().is_err(), "{host} {tls}");
        assert_ne!(proxy.http("/ready").0, 200, "{host} {tls}");
    }
}
