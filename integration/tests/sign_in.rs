//! Signing in: every method, every kind of stored secret, both versions of the protocol; and who is kept out.

use std::time::{Duration, Instant};

use integration::wire::{Error, Failure};
use integration::{Cluster, Config, Login, PASSWORD, PATIENCE, Proxy, Wire, frame, holds};

/// A proxy that asks for proofs by `method`; `users` goes into the configuration.
fn proxy(cluster: &Cluster, method: &str, users: &str) -> Proxy {
    let mut config = Config::of(cluster);
    config.listen = format!("auth = \"{method}\"\n");
    config.extra = users.to_owned();
    Proxy::start(config)
}

fn sign_in(proxy: &Proxy, user: &str, password: &str) -> Result<String, Failure> {
    match Wire::login(&Login::new(proxy.port(), user, password, "app")) {
        Ok(mut wire) => Ok(wire.value("SELECT current_user")),
        Err(Error::Refused(failure)) => Err(failure),
        Err(error) => panic!("{user}: {error}"),
    }
}

#[test]
fn every_method_with_every_secret() {
    let cluster = Cluster::start(0);
    // What the database itself keeps of a password is good enough to check proofs with.
    let verifier = cluster.primary.value("SELECT rolpassword FROM pg_authid WHERE rolname = 'app'");
    assert!(verifier.starts_with("SCRAM-SHA-256$"), "{verifier}");
    let hash = cluster.primary.value(&format!("SELECT 'md5' || md5('{PASSWORD}hashed')"));
    let user = |name: &str, secret: &str| {
        format!(
            "\n[users.{name}]\npassword = '{secret}'\nbackend_user = \"app\"\nbackend_password = \"{PASSWORD}\"\n"
        )
    };
    let (kept, hashed) = (user("kept", &verifier), user("hashed", &hash));
    for (method, users, served) in [
        ("scram-sha-256", kept.clone(), &["app", "kept"][..]),
        ("md5", hashed.clone(), &["app", "hashed"]),
        ("trust", kept + &hashed, &["app", "kept", "hashed"]),
    ] {
        let proxy = proxy(&cluster, method, &users);
        for user in served {
            assert_eq!(sign_in(&proxy, user, PASSWORD).as_deref().ok(), Some("app"), "{method} {user}");
        }
        let unknown = sign_in(&proxy, "nobody", PASSWORD).expect_err("an unknown user");
        assert_eq!(unknown.code(), "28P01", "{method}");
        if method != "trust" {
            let wrong = sign_in(&proxy, "app", "wrong").expect_err("a wrong password");
            // Who knows no password learns nothing, not even who exists.
            assert_eq!(wrong.code(), unknown.code());
            assert_eq!(wrong.message().replace("\"app\"", ""), unknown.message().replace("\"nobody\"", ""));
        }
    }
}

#[test]
fn the_database_is_signed_in_to_in_the_way_that_it_asks_for() {
    let cluster = Cluster::start(0);
    let user = |name: &str| format!("\n[users.{name}]\npassword = \"{PASSWORD}\"\n");
    let proxy = proxy(&cluster, "scram-sha-256", &["old", "open", "plain"].map(user).concat());
    for role in ["app", "old", "open"] {
        assert_eq!(sign_in(&proxy, role, PASSWORD).as_deref().ok(), Some(role));
    }
    // Without TLS no password leaves as it is, whatever the database asks for.
    let refused = sign_in(&proxy, "plain", PASSWORD).expect_err("the connection is not encrypted");
    assert!(refused.message().contains("in clear, without TLS"), "{}", refused.message());
}

/// What a database keeps of `PASSWORD` that was stretched so often.
const STRETCHED: [(u32, &str); 2] = [
    (
        100_000,
        "SCRAM-SHA-256$100000:MDEyMzQ1Njc4OWFiY2RlZg==$htSjD3IGBVSO1EBgNNGtKv/2/s/R4T06pYKH/uSjVX0=:WCMEL50RZORK28aEWNmQU7HbQkXqPx0PN/xUX+ZKD14=",
    ),
    (
        100_001,
        "SCRAM-SHA-256$100001:MDEyMzQ1Njc4OWFiY2RlZg==$OwbqLICIjdi7Iz+DVtV5RR+2TKE49DTtYPd1tIitg0w=:YwJnnHS2wnEoRevzvw93El95BGAyMszqScw5WPHl2aY=",
    ),
];

#[test]
fn a_database_may_ask_for_a_hundred_thousand_iterations_and_no_more() {
    let cluster = Cluster::start(0);
    let mut users = String::new();
    for (iterations, verifier) in STRETCHED {
        cluster.primary.sql(&format!("CREATE ROLE r{iterations} LOGIN PASSWORD '{verifier}'")).ok();
        users.push_str(&format!("\n[users.r{iterations}]\npassword = \"{PASSWORD}\"\n"));
    }
    let proxy = proxy(&cluster, "scram-sha-256", &users);
    assert_eq!(sign_in(&proxy, "r100000", PASSWORD).as_deref().ok(), Some("r100000"));
    let refused = sign_in(&proxy, "r100001", PASSWORD).expect_err("too many iterations");
    assert!(refused.message().contains("too much key stretching"), "{}", refused.message());
    assert_eq!(sign_in(&proxy, "app", PASSWORD).as_deref().ok(), Some("app"));
}

#[test]
fn protocol_3_2_has_long_keys_that_cancel() {
    let cluster = Cluster::start(0);
    let proxy = proxy(&cluster, "scram-sha-256", "");
    let mut wire = Wire::connect(proxy.port()).expect("the proxy accepts");
    wire.send(&frame::startup_of(3 << 16 | 2, &[("user", "app"), ("database", "app")])).expect("it is open");
    wire.sign_in("app", PASSWORD).expect("it may sign in");
    let (process, key) = wire.key.clone().expect("a key");
    assert_eq!(key.len(), 32);
    wire.send(&frame::query("SELECT pg_sleep(60)")).expect("it is open");
    let begun = Instant::now();
    holds("it sleeps", PATIENCE, 1.to_string(), || {
        cluster.primary.value(
            "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active'",
        )
    });
    // A key that is cut short is another key.
    for key in [&key[..4], &key[..31], &key[..]] {
        let mut canceler = Wire::connect(proxy.port()).expect("the proxy accepts");
        canceler.send(&frame::cancel(process, key)).expect("it is open");
        assert!(canceler.ends_within(PATIENCE));
    }
    assert_eq!(wire.reply().expect("an answer").code(), "57014");
    assert!(begun.elapsed() < Duration::from_secs(50));
}

#[test]
fn an_unknown_version_is_answered_with_the_newest_known() {
    let cluster = Cluster::start(0);
    let proxy = proxy(&cluster, "scram-sha-256", "");
    let mut wire = Wire::connect(proxy.port()).expect("the proxy accepts");
    let asked = [("user", "app"), ("database", "app"), ("_pq_.unheard_of", "1")];
    wire.send(&frame::startup_of(3 << 16 | 9, &asked)).expect("it is open");
    let negotiated = wire.read().expect("an answer");
    assert_eq!(negotiated.tag, b'v');
    assert_eq!(negotiated.body[..4], (3u32 << 16 | 2).to_be_bytes());
    assert!(String::from_utf8_lossy(&negotiated.body).contains("_pq_.unheard_of"));
    wire.sign_in("app", PASSWORD).expect("it may sign in");
    assert_eq!(wire.value("SELECT 1"), "1");
}
