//! SCRAM with every kind of salt, iteration count, password and channel binding, towards clients and towards
//! databases: it comes to what PostgreSQL itself comes to.

use std::process::{Command, Stdio};

use integration::paths::postgres_program;
use integration::wire::Error;
use integration::{Cluster, Config, Login, PASSWORD, Proxy, Wire};

/// Makes what a database keeps of a password, with any salt and count; the password is not prepared. Slow in the
/// database, and not ours: it is what we are measured by.
const VERIFIER: &str = "
    CREATE EXTENSION pgcrypto;
    CREATE FUNCTION verifier(password text, salt bytea, count int) RETURNS text LANGUAGE plpgsql AS $$
    DECLARE
        key bytea := convert_to(password, 'UTF8');
        block bytea := hmac(salt || '\\x00000001'::bytea, key, 'sha256');
        sum bit(256) := ('x' || encode(block, 'hex'))::bit(256);
        salted bytea;
    BEGIN
        FOR n IN 2..count LOOP
            block := hmac(block, key, 'sha256');
            sum := sum # ('x' || encode(block, 'hex'))::bit(256);
        END LOOP;
        salted := substr(bit_send(sum), 5);
        RETURN format('SCRAM-SHA-256$%s:%s$%s:%s', count,
            translate(encode(salt, 'base64'), E'\\n', ''),
            encode(digest(hmac('Client Key'::bytea, salted, 'sha256'), 'sha256'), 'base64'),
            encode(hmac('Server Key'::bytea, salted, 'sha256'), 'base64'));
    END $$";

/// A string of TOML that holds just this.
fn toml(text: &str) -> String {
    let escaped: String = text.chars().map(|c| format!("\\U{:08X}", u32::from(c))).collect();
    format!("\"{escaped}\"")
}

/// A user that proves itself by `secret`, and whom we sign in as the role of the same name with `password`.
fn user(name: &str, secret: &str, password: &str) -> String {
    format!(
        "\n[users.{name}]\npassword = {}\nbackend_user = \"{name}\"\nbackend_password = {}\n",
        toml(secret),
        toml(password)
    )
}

fn proxy(cluster: &Cluster, users: &str) -> Proxy {
    let mut config = Config::of(cluster);
    config.extra = users.to_owned();
    let proxy = Proxy::start(config);
    proxy.await_ready();
    proxy
}

/// Whom the database takes it for, or the code of the refusal.
fn sign_in(port: u16, user: &str, password: &str) -> Result<String, String> {
    match Wire::login(&Login::new(port, user, password, "app")) {
        Ok(mut wire) => Ok(wire.value("SELECT current_user")),
        Err(Error::Refused(failure)) => Err(failure.code().to_owned()),
        Err(error) => panic!("{user}: {error}"),
    }
}

/// A hundred thousand are in `sign_in.rs`: here the database would stretch them for too long.
#[test]
fn salts_of_every_length_and_counts_of_every_size() {
    let cluster = Cluster::start(0);
    let mut admin = cluster.primary.admin();
    admin.query(VERIFIER).ok();
    let many = [(1, 16), (2, 1), (4096, 16), (4096, 64), (4097, 33), (15_000, 24)];
    let cases: Vec<(u32, u32)> = (1..=64).map(|length| (1, length)).chain(many).chain([(3, 1024)]).collect();
    let (mut users, mut names) = (String::new(), Vec::new());
    for (number, (count, length)) in cases.iter().enumerate() {
        let name = format!("r{number}");
        // Every byte occurs in some salt, zero, comma and equals sign included.
        let salt = format!(
            "(SELECT string_agg(set_byte('\\x00', 0, (n * 37 + {number} * 11) % 256), '' ORDER BY n) \
             FROM generate_series(0, {} - 1) n)",
            length
        );
        let verifier = admin.value(&format!("SELECT verifier('{PASSWORD}', {salt}, {count})"));
        admin.query(&format!("CREATE ROLE {name} LOGIN PASSWORD '{verifier}'")).ok();
        // It is the database's own, as it was given.
        let kept = admin.value(&format!("SELECT rolpassword FROM pg_authid WHERE rolname = '{name}'"));
        assert_eq!(kept, verifier);
        users.push_str(&user(&name, &verifier, PASSWORD));
        names.push(name);
    }
    let proxy = proxy(&cluster, &users);
    for (name, case) in names.iter().zip(&cases) {
        for password in [PASSWORD, "wrong"] {
            let direct = sign_in(cluster.primary.port(), name, password);
            assert_eq!(direct.is_ok(), password == PASSWORD, "{case:?}: the oracle is wrong: {direct:?}");
            assert_eq!(sign_in(proxy.port(), name, password), direct, "count and bytes of salt: {case:?}");
        }
    }
}

/// What psql says, which prepares passwords by PostgreSQL's own tables.
fn psql(port: u16, user: &str, password: &str, parameters: &str) -> Result<String, String> {
    let info = format!("host=127.0.0.1 port={port} user={user} dbname=app gssencmode=disable {parameters}");
    let mut command = Command::new(postgres_program("psql"));
    command.args(["-X", "-At", &info, "-c", "SELECT current_user"]);
    let out = command.env("PGPASSWORD", password).stdin(Stdio::null()).output().expect("psql starts");
    if out.status.success() {
        return Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned());
    }
    let error = String::from_utf8_lossy(&out.stderr).into_owned();
    Err(error.rsplit_once("FATAL:").map_or(error.clone(), |(_, why)| why.trim().to_owned()))
}

#[test]
fn passwords_are_prepared_as_postgresql_prepares_them() {
    let long = "x".repeat(5_000);
    let wide = "пароль ".repeat(300);
    // What is kept, and what is given.
    let pairs = [
        ("it's a \\ \"quoted\" $password=,", "it's a \\ \"quoted\" $password=,"),
        (long.as_str(), long.as_str()),
        (wide.as_str(), wide.as_str()),
        // Mapped to nothing, to a space, and to another form.
        ("pass\u{ad}word", "password"),
        ("password", "pass\u{ad}word"),
        ("a\u{a0}b", "a b"),
        ("a\u{1680}b", "a b"),
        ("\u{2168}", "IX"),
        ("IX", "\u{2168}"),
        ("\u{aa}", "a"),
        ("\u{ff41}\u{ff42}", "ab"),
        ("e\u{301}", "\u{e9}"),
        ("stra\u{df}e", "strasse"),
        ("A", "a"),
        // Not to be prepared: taken as they are.
        ("tab\tbell\u{7}", "tab\tbell\u{7}"),
        ("tab\tbell\u{7}\u{ad}", "tab\tbell\u{7}"),
        ("\u{e9}\u{7}\u{ad}", "\u{e9}\u{7}"),
        ("a\u{5d0}b", "a\u{5d0}b"),
        ("a\u{5d0}b\u{ad}", "a\u{5d0}b"),
        ("\u{627}1", "\u{627}1"),
        ("\u{627}1\u{627}", "\u{627}1\u{ad}\u{627}"),
        ("\u{e000}\u{ad}", "\u{e000}"),
        ("\u{1f600}", "\u{1f600}"),
        ("\u{1f600}\u{ad}", "\u{1f600}"),
        ("\u{fdd0}\u{2168}", "\u{fdd0}IX"),
        ("\u{200b}x\u{feff}", "x"),
    ];
    let cluster = Cluster::start(0);
    let mut admin = cluster.primary.admin();
    let mut users = String::new();
    for (number, (kept, _)) in pairs.iter().enumerate() {
        let literal = kept.replace('\'', "''");
        admin.query(&format!("CREATE ROLE p{number} LOGIN PASSWORD '{literal}'")).ok();
        // By the password, and by what the database keeps of it.
        users.push_str(&user(&format!("p{number}"), kept, kept));
        let verifier = admin.value(&format!("SELECT rolpassword FROM pg_authid WHERE rolname = 'p{number}'"));
        let by_verifier = user(&format!("v{number}"), &verifier, kept);
        users.push_str(
            &by_verifier
                .replace(&format!("backend_user = \"v{number}\""), &format!("backend_user = \"p{number}\"")),
        );
    }
    let proxy = proxy(&cluster, &users);
    for (number, (kept, given)) in pairs.iter().enumerate() {
        let name = format!("p{number}");
        let direct = psql(cluster.primary.port(), &name, given, "");
        assert_eq!(psql(proxy.port(), &name, given, ""), direct, "{kept:?} with {given:?}");
        let by_verifier = psql(proxy.port(), &format!("v{number}"), given, "")
            .map_err(|error| error.replace(&format!("\"v{number}\""), &format!("\"{name}\"")));
        assert_eq!(by_verifier, direct, "{kept:?} with {given:?}, by what the database keeps of it");
    }
}
