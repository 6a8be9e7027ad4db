//! TLS towards clients: whom we serve, and whom we turn away and why.

use std::io::{ErrorKind, Write};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use integration::paths::{in_path, postgres_program};
use integration::{Config, PASSWORD, PATIENCE, Proxy, Stage, Wire, frame};

use crate::tunnel::Tunnel;
use crate::{is_refused, is_served, papers, stage};

fn ours(mode: &str) -> Stage {
    stage(mode, &papers::of("ours.cert"), &papers::of("ours.key"))
}

/// One for all tests that only talk to it.
fn requiring() -> &'static Stage {
    static STAGE: OnceLock<Stage> = OnceLock::new();
    STAGE.get_or_init(|| ours("require"))
}

#[test]
fn required_by_us() {
    let stage = requiring();
    let ours = format!("host=localhost sslrootcert={}", papers::of("ours.ca").display());
    let stranger = format!("host=localhost sslrootcert={}", papers::of("stranger.ca").display());
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
    let stage = ours("prefer");
    is_served(&stage, "sslmode=require", true);
    is_served(&stage, "sslmode=disable", false);
    is_refused(&stage, "sslmode=disable channel_binding=require", "channel binding");
}

/// How psql signs in: whether it is served, or why not.
fn binding(port: u16, user: &str, parameters: &str) -> Result<(), String> {
    let info = format!("host=localhost port={port} user={user} dbname=app gssencmode=disable {parameters}");
    let mut command = Command::new(postgres_program("psql"));
    command.args(["-X", "-At", &info, "-c", "SELECT 1"]).env("PGPASSWORD", PASSWORD);
    let out = command.stdin(Stdio::null()).output().expect("psql starts");
    let error = String::from_utf8_lossy(&out.stderr).into_owned();
    if out.status.success() { Ok(()) } else { Err(error.replace(&port.to_string(), "PORT")) }
}

#[test]
fn channel_binding_comes_to_what_it_comes_to_with_the_database() {
    let cluster = crate::databases::encrypted();
    let verifier = cluster.primary.value("SELECT rolpassword FROM pg_authid WHERE rolname = 'app'");
    let mut config = Config::of(&cluster);
    config.extra = format!(
        "\n[clusters.main.tls]\nmode = \"require\"\n\n[listen.tls]\nmode = \"prefer\"\ncert = {:?}\nkey = {:?}\n\
         \n[users.kept]\npassword = '{verifier}'\nbackend_user = \"app\"\nbackend_password = \"{PASSWORD}\"\n",
        papers::of("ours.cert"),
        papers::of("ours.key")
    );
    let proxy = Proxy::start(config);
    proxy.await_ready();
    let mut served = 0;
    for mode in ["disable", "prefer", "require"] {
        for bound in ["disable", "prefer", "require"] {
            let parameters = format!("sslmode={mode} channel_binding={bound}");
            let direct = binding(cluster.primary.port(), "app", &parameters);
            for user in ["app", "kept"] {
                assert_eq!(binding(proxy.port(), user, &parameters), direct, "{user}: {parameters}");
            }
            served += u32::from(direct.is_ok());
        }
    }
    assert_eq!(served, 8, "binding may be required only in TLS");
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
    let end = loop {
        match wire.read_bytes(1) {
            Ok(byte) => heard.extend(byte),
            Err(error) => break error.kind(),
        }
    };
    assert!(matches!(end, ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset), "it was not closed: {end}");
    let heard = String::from_utf8_lossy(&heard);
    assert!(heard.contains("C08P01\0Mreceived unencrypted data after SSL request\0"), "{heard:?}");
    assert!(!heard.contains("SCRAM"), "the sign-in went on in clear: {heard:?}");
    assert!(stage.cluster.servers_that_ran("/* stuffed */", &mark).is_empty());
    is_served(stage, "sslmode=require", true);
}

#[test]
fn a_handshake_that_does_not_come_is_given_up() {
    let stage = requiring();
    let mut wire = Wire::connect(stage.proxy.port()).expect("the proxy accepts");
    wire.send(&frame::ssl_request()).expect("it is open");
    assert_eq!(wire.read_bytes(1).expect("an answer"), b"S");
    // The beginning of a ClientHello, and no more.
    wire.send(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01]).expect("it is open");
    assert!(wire.ends_within(PATIENCE), "a handshake may take for ever");
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

#[test]
fn a_whole_session_begun_unasked() {
    let stage = requiring();
    let tunnel = Tunnel::to(stage.proxy.port(), &[papers::of("ours.ca")]);
    let mark = stage.cluster.mark();
    let mut wire = tunnel.session().expect("signs in");
    wire.query("CREATE TABLE direct (id int, v text)").ok();
    for id in 0..100 {
        let id = id.to_string();
        let reply =
            wire.execute("INSERT INTO direct VALUES ($1::int, repeat('x', $1::int)) RETURNING v", &[&id]);
        assert_eq!(reply.value().len().to_string(), id);
    }
    wire.query("BEGIN; DELETE FROM direct; ROLLBACK").ok();
    let copied =
        [frame::query("COPY direct FROM STDIN"), frame::copy_data(b"100\tcopied\n"), frame::copy_done()];
    wire.ask(&copied.concat()).expect("an answer").ok();
    assert_eq!(wire.query("SELECT 1/0").code(), "22012");
    // Larger than any buffer on the way.
    assert_eq!(wire.value("SELECT repeat('y', 3000000)").len(), 3_000_000);
    assert_eq!(wire.value("SELECT count(*) FROM direct /* by direct TLS */"), "101");
    assert_eq!(stage.cluster.servers_that_ran("/* by direct TLS */", &mark), ["primary"]);
    let (process, key) = wire.key.clone().expect("a key");
    wire.send(&frame::query("SELECT pg_sleep(60) /* canceled */")).expect("it is open");
    let sleeps = "query LIKE '%/* canceled */' AND state = 'active'";
    integration::until("it sleeps", PATIENCE, || (stage.count(sleeps) == 1).then_some(()));
    let mut canceler = tunnel.connect();
    canceler.send(&frame::cancel(process, &key)).expect("it is open");
    assert_eq!(wire.reply().expect("an answer").code(), "57014");
    wire.send(&frame::terminate()).expect("it is open");
    assert!(wire.ends_within(PATIENCE));
    assert_eq!(tunnel.failures(), [""; 0]);
}

#[test]
fn begun_unasked_without_trust_in_us() {
    let stage = requiring();
    let tunnel = Tunnel::to(stage.proxy.port(), &[papers::of("stranger.ca")]);
    assert!(tunnel.session().is_err());
    integration::until("the handshake fails", PATIENCE, || {
        tunnel.failures().first().map(|error| assert!(error.contains("UnknownIssuer"), "{error}"))
    });
}
