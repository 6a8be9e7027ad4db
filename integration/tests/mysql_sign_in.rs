//! Signing in, on both sides of the proxy: with TLS and without, by each plugin, with secrets of every length.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use integration::mysql::{Cluster, Make, Options, Session};
use integration::paths::{Scratch, hand_over};
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
