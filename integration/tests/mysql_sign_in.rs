//! Signing in, on both sides of the proxy: with TLS and without, by each plugin, with secrets of every length.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use integration::mysql::{Cluster, Make, Options, Session};
use integration::paths::{Scratch, free_port, hand_over};
use integration::{Config, Link, PASSWORD, Proxy, until};
use mysql_async::ChangeUserOpts;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
    PKCS_RSA_SHA256, RsaKeySize,
};

/// An authority, and a certificate for `localhost` by it with its key: `ca`, `cert`, `key`.
fn papers() -> &'static Path {
    static PAPERS: OnceLock<Scratch> = OnceLock::new();
    let scratch = PAPERS.get_or_init(|| {
        let scratch = Scratch::new("papers");
        let mut params = CertificateParams::new(Vec::new()).expect("no names are good names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(DnType::CommonName, "an authority");
        let authority =
            CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority");
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])
            .expect("a good name");
        let certificate = params.signed_by(&key, &authority).expect("a certificate");
        let texts = [("ca", authority.pem()), ("cert", certificate.pem()), ("key", key.serialize_pem())];
        for (name, text) in texts {
            std::fs::write(scratch.path().join(name), text).expect("our own directory");
        }
        hand_over(scratch.path());
        scratch
    });
    scratch.path()
}

fn paper(name: &str) -> String {
    papers().join(name).display().to_string()
}

/// A cluster of one server that offers TLS.
fn cluster(make: Make) -> Cluster {
    let settings = vec![("ssl_ca", paper("ca")), ("ssl_cert", paper("cert")), ("ssl_key", paper("key"))];
    Cluster::with(make, &Options { replicas: 0, settings })
}

fn await_service(proxy: &Proxy, user: &str) {
    until("it serves", Duration::from_secs(60), || {
        let mut session = Session::login(proxy.port(), user, PASSWORD, "app").ok()?;
        session.try_query("SELECT 1").ok().filter(|reply| reply.error.is_none())
    });
}

/// What a shell shows for a text, or what it complains of.
fn shell(make: Make, port: u16, arguments: &[&str], sql: &str) -> Result<String, String> {
    let mut command = make.program(if make == Make::MariaDb { "mariadb" } else { "mysql" });
    command.args(["--no-defaults", "--host=localhost", "--protocol=tcp", "--user=app"]);
    command.arg(format!("--port={port}")).arg(format!("--password={PASSWORD}")).args(arguments);
    let out = command.args(["-N", "-B", "-e", sql, "app"]).stdin(Stdio::null()).output().expect("a shell");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if out.status.success() {
        Ok(text(&out.stdout))
    } else {
        Err(format!("{}: {}{}", out.status, text(&out.stderr), text(&out.stdout)))
    }
}

fn ours(mode: &str) -> String {
    format!("\n[listen.tls]\nmode = \"{mode}\"\ncert = {:?}\nkey = {:?}\n", paper("cert"), paper("key"))
}

fn tls_of_clients(make: Make) {
    let cluster = cluster(make);
    let mut config = Config::of_mysql(&cluster);
    config.extra = ours("require");
    let proxy = Proxy::start(config);
    let ca = format!("--ssl-ca={}", paper("ca"));
    let (with, without): (Vec<&str>, Vec<&str>) = match make {
        Make::MariaDb => (vec![&ca, "--ssl-verify-server-cert"], vec!["--skip-ssl"]),
        Make::MySql => (vec![&ca, "--ssl-mode=VERIFY_IDENTITY", "--commands"], vec!["--ssl-mode=DISABLED"]),
    };
    let encrypted =
        until("it serves", Duration::from_secs(60), || shell(make, proxy.port(), &with, "\\s").ok());
    assert!(encrypted.contains("Cipher in use is"), "{encrypted}");
    assert_eq!(
        shell(make, proxy.port(), &with, "SELECT 1+1; SELECT repeat('x', 100000) = ''").as_deref(),
        Ok("2\n0\n")
    );
    let refused = shell(make, proxy.port(), &without, "SELECT 1").expect_err("it is in clear");
    assert!(refused.contains("3159"), "{refused}");
    let mut config = Config::of_mysql(&cluster);
    config.extra = ours("prefer");
    let proxy = Proxy::start(config);
    until("it serves", Duration::from_secs(60), || shell(make, proxy.port(), &without, "SELECT 1").ok());
    assert!(shell(make, proxy.port(), &with, "\\s").expect("an answer").contains("Cipher in use is"));
}

/// Towards the database: each plugin, with TLS and without, with secrets of every length.
fn plugins_of_the_database(make: Make) {
    let cluster = cluster(make);
    let long = "p".repeat(200);
    let mut users = vec![("app", PASSWORD), ("lengthy", &long), ("blank", "")];
    for (name, password) in [("lengthy", long.as_str()), ("blank", "")] {
        cluster.primary.sql(&format!("CREATE USER {name}@'%' IDENTIFIED BY '{password}'")).ok();
        cluster.primary.sql(&format!("GRANT ALL ON app.* TO {name}@'%'")).ok();
    }
    users.push(match make {
        Make::MariaDb => ("ed", PASSWORD),
        Make::MySql => ("sha", PASSWORD),
    });
    for mode in ["off", "require", "verify-ca", "prefer"] {
        let ca = if mode == "verify-ca" { format!(", ca = {:?}", paper("ca")) } else { String::new() };
        let mut config = Config::of_mysql(&cluster).raw("tls", &format!("{{ mode = \"{mode}\"{ca} }}"));
        config.users.clear();
        for (name, password) in &users {
            config.extra.push_str(&format!(
                "\n[users.{name}]\npassword = \"{PASSWORD}\"\nbackend_user = \"{name}\"\nbackend_password = \"{password}\"\n"
            ));
        }
        // The full way of caching_sha2_password is gone through when the database has nothing cached.
        if make == Make::MySql {
            cluster.primary.sql("FLUSH PRIVILEGES").ok();
        }
        let proxy = Proxy::start(config);
        for (name, _) in &users {
            await_service(&proxy, name);
            let mut session = Session::login(proxy.port(), name, PASSWORD, "app").expect("a sign-in");
            assert!(session.value("SELECT current_user()").starts_with(&format!("{name}@")), "{mode}");
            let cipher = session.query("SHOW SESSION STATUS LIKE 'Ssl_cipher'").ok().rows;
            let encrypted = cipher[0][1].as_deref().is_some_and(|cipher| !cipher.is_empty());
            assert_eq!(encrypted, mode != "off", "{name}, {mode}");
            // Again, by the fast way.
            session.query("CREATE TEMPORARY TABLE kept (n int)").ok();
            let mut again = Session::login(proxy.port(), name, PASSWORD, "app").expect("a sign-in");
            assert_eq!(again.value("SELECT 1"), "1");
        }
    }
}

/// What a client may have as a password, and that nobody signs in with none.
fn secrets_of_clients(make: Make) {
    let cluster = cluster(make);
    let longest = "q".repeat(400);
    let mut config = Config::of_mysql(&cluster);
    let secrets = [("plain", PASSWORD), ("longest", &longest), ("odd", "'\u{e9}\u{4e00} #\\n")];
    for (name, password) in secrets.iter().skip(1) {
        config.extra.push_str(&format!(
            "\n[users.{name}]\npassword = {password:?}\nbackend_user = \"app\"\nbackend_password = \"{PASSWORD}\"\n"
        ));
    }
    let proxy = Proxy::start(config);
    await_service(&proxy, "app");
    for (name, password) in secrets.iter().skip(1) {
        let mut session = Session::login(proxy.port(), name, password, "app").expect("a sign-in");
        assert_eq!(session.value("SELECT 1"), "1");
        // Not longer than what fits into the seal: drivers do not expect that.
        let cut = password.char_indices().skip(1).nth(200).map_or(password.len(), |(at, _)| at);
        for wrong in ["", &password[1..cut], PASSWORD] {
            assert!(Session::login(proxy.port(), name, wrong, "app").is_err(), "{name}");
        }
    }
}

/// What MySQL and MariaDB keep of the password of these tests.
const HASHED: &str = "*14E65567ABDB5135D0CFD9A70B3032C179A49EE7";

/// The same of 300 times the letter q.
const HASHED_LONG: &str = "*D313AAE58DD88F73A1A1B02EEC54D79D65C18FE1";

/// What PostgreSQL keeps of the password of these tests.
const STRETCHED: &str = "SCRAM-SHA-256$4096:AQIDBAUGBwgJCgsMDQ4PEA==$8rrDg00OqaiWXJ7p+sCgHEIaBS\
    HY89ZJl3mfIsf32oY=:05L1f+yZbiN8O0AnO40Og85NNRhvzTS57naKRWCcsIA=";

/// Users of whom only a hash is known must tell their password: inside TLS, or sealed with our public key.
fn the_full_way(make: Make) {
    let cluster = cluster(make);
    let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).expect("a key");
    let scratch = Scratch::new("sealed");
    let file = |name: &str, text: &str| {
        let path = scratch.path().join(name);
        std::fs::write(&path, text).expect("our own directory");
        path.display().to_string()
    };
    let (private, public) = (file("private", &key.serialize_pem()), file("public", &key.public_key_pem()));
    let mut config = Config::of_mysql(&cluster);
    config.listen = format!("mysql_rsa_key = {private:?}\n");
    config.extra = ours("prefer");
    for (name, stored) in [("hashed", HASHED), ("stretched", STRETCHED)] {
        config.extra.push_str(&format!(
            "\n[users.{name}]\npassword = '{stored}'\nbackend_user = \"app\"\nbackend_password = \"{PASSWORD}\"\n"
        ));
    }
    let proxy = Proxy::start(config.clone());
    await_service(&proxy, "app");
    // MySQL's own shell, which knows no older plugin, with databases of either make.
    let ask = |proxy: &Proxy, user: &str, arguments: &[&str]| {
        let user = format!("--user={user}");
        shell(Make::MySql, proxy.port(), &[&[user.as_str()], arguments].concat(), "SELECT current_user()")
    };
    let ca = format!("--ssl-ca={}", paper("ca"));
    let pinned = format!("--server-public-key-path={public}");
    for user in ["hashed", "stretched"] {
        for way in [
            &["--ssl-mode=DISABLED", "--get-server-public-key"][..],
            &["--ssl-mode=DISABLED", &pinned],
            &["--ssl-mode=VERIFY_IDENTITY", &ca],
        ] {
            assert_eq!(ask(&proxy, user, way).as_deref(), Ok("app@%\n"), "{user} {way:?}");
            let wrong =
                ask(&proxy, user, &[way, &["--password=wrong"]].concat()).expect_err("a wrong password");
            assert!(wrong.contains("ERROR 1045"), "{wrong}");
        }
        // A client that may not ask for the key sends nothing that others could read.
        let refused = ask(&proxy, user, &["--ssl-mode=DISABLED"]).expect_err("there is no way");
        assert!(refused.contains("ERROR 2061"), "{refused}");
        // Drivers ask for it by themselves; also when one of them becomes another user.
        let mut session = Session::login(proxy.port(), user, PASSWORD, "app").expect("a sign-in");
        assert_eq!(session.value("SELECT 1"), "1");
        let other = ChangeUserOpts::new().with_user(Some("app".into())).with_pass(Some(PASSWORD.into()));
        session.with_driver(async |conn| conn.change_user(other).await).expect("another user");
        let again = ChangeUserOpts::new().with_user(Some(user.into())).with_pass(Some(PASSWORD.into()));
        session.with_driver(async |conn| conn.change_user(again).await).expect("the first user");
        assert_eq!(session.value("SELECT 2"), "2");
    }
    // Who has the password has the fast way, and needs neither TLS nor a key; nobody and all others look alike.
    assert_eq!(ask(&proxy, "app", &["--ssl-mode=DISABLED"]).as_deref(), Ok("app@%\n"));
    for user in ["app", "hashed", "nobody"] {
        let wrong =
            ask(&proxy, user, &["--ssl-mode=DISABLED", "--get-server-public-key", "--password=wrong"]);
        assert!(wrong.expect_err("a wrong password").contains("ERROR 1045"), "{user}");
    }
    // Without a file there is a key as well, but another.
    config.listen.clear();
    drop(proxy);
    let proxy = Proxy::start(config);
    await_service(&proxy, "app");
    let way = ["--ssl-mode=DISABLED", "--get-server-public-key"];
    assert_eq!(ask(&proxy, "hashed", &way).as_deref(), Ok("app@%\n"));
    let other = ask(&proxy, "hashed", &["--ssl-mode=DISABLED", &pinned]).expect_err("sealed for another");
    assert!(other.contains("ERROR 1045"), "{other}");
}

/// How a shell comes to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Door {
    Tls,
    /// In clear, with our public key at hand.
    Sealed,
    /// In clear, with no key.
    Open,
    Unix,
}

/// Each way of `caching_sha2_password` through each door, with secrets of each kind, named by the client and switched
/// to: who gets in, and what all others are told.
#[test]
fn who_gets_in_through_which_door() {
    let cluster = cluster(Make::MySql);
    let longest = "q".repeat(300);
    // What is stored as it is has the fast way; of what is stored as a hash the password itself is asked for.
    let stored = [
        ("plain", PASSWORD, PASSWORD.to_owned()),
        ("long", &longest, longest.clone()),
        ("hash", PASSWORD, HASHED.to_owned()),
        ("longhash", &longest, HASHED_LONG.to_owned()),
    ];
    let mut config = Config::of_mysql(&cluster);
    config.extra = ours("prefer");
    for (name, _, stored) in &stored {
        config.extra.push_str(&format!(
            "\n[users.{name}]\npassword = '{stored}'\nbackend_user = \"app\"\nbackend_password = \"{PASSWORD}\"\n"
        ));
    }
    let scratch = Scratch::new("door");
    let socket = scratch.path().join("splitpool.sock");
    let by_tcp = Proxy::start(config.clone());
    let by_unix = Proxy::start(Config { socket: Some(socket.clone()), http: free_port(), ..config });
    await_service(&by_tcp, "app");
    let ca = format!("--ssl-ca={}", paper("ca"));
    let at = format!("--socket={}", socket.display());
    let ask = |door: Door, user: &str, password: &str, plugin: &str| {
        let (user, password) = (format!("--user={user}"), format!("--password={password}"));
        let plugin = format!("--default-auth={plugin}");
        let way: &[&str] = match door {
            Door::Tls => &["--ssl-mode=VERIFY_IDENTITY", &ca],
            Door::Sealed => &["--ssl-mode=DISABLED", "--get-server-public-key"],
            Door::Open => &["--ssl-mode=DISABLED"],
            Door::Unix => &["--protocol=socket", "--ssl-mode=DISABLED", &at],
        };
        let common = [user.as_str(), password.as_str(), plugin.as_str()];
        shell(Make::MySql, by_tcp.port(), &[&common, way].concat(), "SELECT current_user()")
    };
    until("it serves on the Unix socket", Duration::from_secs(60), || {
        ask(Door::Unix, "plain", PASSWORD, "caching_sha2_password").ok()
    });
    for plugin in ["caching_sha2_password", "sha256_password"] {
        for (name, password, stored) in &stored {
            let fast = *password == stored.as_str();
            for door in [Door::Tls, Door::Sealed, Door::Open, Door::Unix] {
                let what = format!("{plugin} {name} {door:?}");
                // A key seals what is shorter than itself.
                let fits = password.len() < 200;
                let good = fast || matches!(door, Door::Tls | Door::Unix) || door == Door::Sealed && fits;
                match ask(door, name, password, plugin) {
                    Ok(said) => assert!(good && said == "app@%\n", "{what}: {said}"),
                    // The client itself refuses to tell its password to everybody, or has no way to seal it.
                    Err(error) => {
                        let refused = ["ERROR 2061", "ERROR 2000"].iter().any(|code| error.contains(code));
                        assert!(!good && refused, "{what}: {error}");
                    }
                }
                let told = ask(door, name, "", plugin).expect_err(&what);
                assert!(told.contains("ERROR 1045") && told.contains("password: NO"), "{what}: {told}");
                let told = ask(door, name, "wrong", plugin).expect_err(&what);
                let code = if door == Door::Open { "ERROR 2061" } else { "ERROR 1045" };
                assert!(told.contains(code), "{what}: {told}");
            }
        }
    }
    // Those of the other make, by another driver's code.
    for (name, password, _) in stored.iter().filter(|(_, password, _)| password.len() < 200) {
        let (user, password) = (format!("--user={name}"), format!("--password={password}"));
        let arguments = [user.as_str(), password.as_str(), "--protocol=socket", "--skip-ssl", &at];
        let said = shell(Make::MariaDb, by_unix.port(), &arguments, "SELECT current_user()");
        assert_eq!(said.as_deref(), Ok("app@%\n"), "{name}");
    }
}

/// The same towards the database: with an empty password and the longest one, in TLS and in clear.
#[test]
fn which_secrets_reach_the_database_in_which_way() {
    let cluster = cluster(Make::MySql);
    let longest = "p".repeat(255);
    let users = [("app", PASSWORD), ("none", ""), ("longest", longest.as_str())];
    for (name, password) in &users[1..] {
        cluster.primary.sql(&format!("CREATE USER {name}@'%' IDENTIFIED BY '{password}'")).ok();
        cluster.primary.sql(&format!("GRANT ALL ON app.* TO {name}@'%'")).ok();
    }
    for mode in ["off", "require"] {
        let mut config = Config::of_mysql(&cluster).raw("tls", &format!("{{ mode = \"{mode}\" }}"));
        config.users = vec![("app".to_owned(), PASSWORD.to_owned())];
        for (name, password) in &users[1..] {
            config.extra.push_str(&format!(
                "\n[users.{name}]\npassword = \"{PASSWORD}\"\nbackend_user = \"{name}\"\nbackend_password = \"{password}\"\n"
            ));
        }
        // Nothing is cached: the full way.
        cluster.primary.sql("FLUSH PRIVILEGES").ok();
        let proxy = Proxy::start(config);
        await_service(&proxy, "app");
        for (name, password) in &users {
            let sealed_too_long = mode == "off" && password.len() > 200;
            let sign_in = || Session::login(proxy.port(), name, PASSWORD, "app");
            if sealed_too_long {
                let told =
                    sign_in().map(|mut session| session.try_query("SELECT 1").map(|reply| reply.code()));
                assert!(!matches!(told, Ok(Ok(0))), "{name}: nothing seals so much");
                continue;
            }
            // Then the fast way, on further backends.
            let mut sessions: Vec<Session> = (0..3).map(|_| sign_in().expect("a sign-in")).collect();
            for session in &mut sessions {
                session.query("BEGIN").ok();
                assert_eq!(session.value("SELECT current_user()"), format!("{name}@%"), "{mode}");
            }
        }
    }
}

/// Compression towards clients, by the bytes that go over the network.
fn compression(make: Make) {
    let cluster = cluster(make);
    let proxy = Proxy::start(Config::of_mysql(&cluster));
    await_service(&proxy, "app");
    let link = Link::to(proxy.port());
    let ways: &[&[&str]] = match make {
        Make::MariaDb => &[&["--compress", "--skip-ssl"]],
        Make::MySql => &[
            &["--compression-algorithms=zlib", "--ssl-mode=DISABLED"],
            &["--compression-algorithms=zstd", "--ssl-mode=DISABLED"],
        ],
    };
    let text = "x".repeat(100_000);
    let sql = format!("SELECT repeat('y', 3000000), length('{text}'); SELECT 5; DO 1; SELECT 6");
    let bytes = || link.bytes(integration::Way::Up) + link.bytes(integration::Way::Down);
    for way in ways {
        let before = bytes();
        let said = shell(make, link.port(), way, &sql).unwrap_or_else(|error| panic!("{way:?}: {error}"));
        assert_eq!(said.len(), 3_000_000 + "\t100000\n5\n6\n".len(), "{way:?}");
        let passed = bytes() - before;
        assert!(passed < 200_000, "{way:?}: {passed} bytes");
    }
}

/// A test of its own for each make.
macro_rules! on_both {
    ($($name:ident)*) => {
        mod mariadb { use super::Make; $(#[test] fn $name() { super::$name(Make::MariaDb); })* }
        mod mysql { use super::Make; $(#[test] fn $name() { super::$name(Make::MySql); })* }
    };
}

on_both! { tls_of_clients plugins_of_the_database secrets_of_clients the_full_way compression }

#[test]
fn shells_are_there() {
    // Whoever reads the list of tests sees what they need.
    for make in Make::ALL {
        let name = if make == Make::MariaDb { "mariadb" } else { "mysql" };
        let mut command: Command = make.program(name);
        assert!(command.arg("--version").output().expect("a shell").status.success());
    }
}
