//! TLS towards the databases: which we talk to, and which we do not and why.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use integration::config::Endpoint;
use integration::paths::{Scratch, hand_over};
use integration::wire::Error;
use integration::{Cluster, Config, Linked, Login, PASSWORD, PATIENCE, Proxy, Wire, until};

use crate::papers;

/// A proxy in front of a database, told to reach it at `host` and to check `tls`; clients wait for it for so long.
fn towards(cluster: &Cluster, host: &str, tls: &str, wait: &str) -> Proxy {
    let address = format!("{host}:{}", cluster.primary.port());
    let mut config = Config::over(vec![Endpoint::auto(address)]).text("query_wait_timeout", wait);
    config.extra = format!("\n[clusters.main.tls]\n{tls}\n");
    Proxy::start(config)
}

/// A database that offers TLS with the certificate `ours`.
pub(crate) fn encrypted() -> Cluster {
    let cluster = Cluster::start(0);
    let data = cluster.primary.data();
    for kind in ["cert", "key"] {
        let place = data.join(format!("server.{kind}"));
        std::fs::copy(papers::of(&format!("ours.{kind}")), &place).expect("a copy");
        std::fs::set_permissions(&place, PermissionsExt::from_mode(0o600)).expect("our own file");
    }
    hand_over(data);
    for (name, value) in [("ssl_cert_file", "server.cert"), ("ssl_key_file", "server.key"), ("ssl", "on")] {
        cluster.primary.set(name, value);
    }
    cluster
}

/// Whether the database sees the proxy's sessions encrypted.
#[track_caller]
fn is_served(proxy: &Proxy, encrypted: bool) {
    proxy.await_ready();
    let ssl = proxy.session().value("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()");
    assert_eq!(ssl == "t", encrypted);
}

#[test]
fn that_ask_for_a_password_in_clear() {
    let cluster = encrypted();
    let mut config = Config::of(&cluster);
    config.users.push(("plain".to_owned(), PASSWORD.to_owned()));
    config.extra = "\n[clusters.main.tls]\nmode = \"require\"\n".to_owned();
    let proxy = Proxy::start(config);
    let login = Login::new(proxy.port(), "plain", PASSWORD, "app");
    let mut session = Wire::login(&login).expect("what is in clear is in TLS");
    assert_eq!(session.value("SELECT current_user"), "plain");
}

/// Clients are told that there is no database, operators why.
#[track_caller]
fn is_not_served(cluster: &Cluster, proxy: &Proxy, why: &str) {
    let Err(Error::Refused(failure)) = proxy.try_session() else { panic!("it was not refused") };
    assert_eq!(failure.code(), "08006", "{failure}");
    assert_ne!(proxy.http("/ready").0, 200);
    until(&format!("the log speaks of {why:?}"), PATIENCE, || proxy.log().contains(why).then_some(()));
    let seen = cluster.primary.value("SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'");
    assert_eq!(seen, "0");
}

#[test]
fn that_offer_it() {
    let cluster = encrypted();
    let ca = |name: &str| format!("ca = {:?}", papers::of(&format!("{name}.ca")));
    let (ours, stranger) = (ca("ours"), ca("stranger"));
    for (host, tls, encrypted) in [
        ("127.0.0.1", "mode = \"off\"".to_owned(), false),
        ("127.0.0.1", "mode = \"prefer\"".to_owned(), true),
        ("127.0.0.1", "mode = \"require\"".to_owned(), true),
        ("127.0.0.1", format!("mode = \"verify-ca\"\n{ours}"), true),
        ("localhost", format!("mode = \"verify-full\"\n{ours}"), true),
    ] {
        is_served(&towards(&cluster, host, &tls, "30s"), encrypted);
    }
    // The name is not the certificate's; the authority is not the one that signed it.
    for (host, tls, why) in [
        ("127.0.0.1", format!("mode = \"verify-full\"\n{ours}"), "not valid for name"),
        ("localhost", format!("mode = \"verify-full\"\n{stranger}"), "UnknownIssuer"),
        ("localhost", format!("mode = \"verify-ca\"\n{stranger}"), "UnknownIssuer"),
    ] {
        is_not_served(&cluster, &towards(&cluster, host, &tls, "1s"), why);
    }
}

#[test]
fn that_do_not_offer_it() {
    let cluster = Cluster::start(0);
    is_served(&towards(&cluster, "127.0.0.1", "mode = \"prefer\"", "30s"), false);
    for tls in [
        "mode = \"require\"".to_owned(),
        format!("mode = \"verify-ca\"\nca = {:?}", papers::of("ours.ca")),
        format!("mode = \"verify-full\"\nca = {:?}", papers::of("ours.ca")),
    ] {
        let proxy = towards(&cluster, "127.0.0.1", &tls, "1s");
        is_not_served(&cluster, &proxy, "the database does not offer TLS");
    }
}

#[test]
fn whose_authority_is_renewed() {
    let cluster = encrypted();
    let scratch = Scratch::new("authority");
    let ca = scratch.path().join("live.ca");
    let trust = |name: &str| {
        let next = scratch.path().join("next");
        std::fs::copy(papers::of(&format!("{name}.ca")), &next).expect("a copy");
        std::fs::rename(&next, &ca).expect("our own directory");
    };
    trust("stranger");
    let trusting = |ca: &Path| format!("mode = \"verify-full\"\nca = {ca:?}");
    let proxy = towards(&cluster, "localhost", &trusting(&ca), "5s");
    is_not_served(&cluster, &proxy, "UnknownIssuer");
    // The same configuration, word for word: what it names is new.
    trust("ours");
    is_served(&proxy, true);
}

#[test]
fn that_read_slowly_get_requests_whole() {
    let cluster = encrypted();
    let Linked { proxy, link, .. } = &Linked::over(cluster, |mut config| {
        config.extra = "\n[clusters.main.tls]\nmode = \"require\"\n".to_owned();
        config
    });
    let mut session = proxy.session();
    // The socket is full for most of the time, so what TLS has taken and not sent is the end of the request, too.
    link.drip(65_536, Duration::from_millis(1));
    for length in (6..16).map(|n| n * 1_000_000 + n) {
        let text = "x".repeat(length);
        assert_eq!(session.value(&format!("SELECT length('{text}')")), length.to_string());
        assert_eq!(session.execute("SELECT length($1)", &[&text]).value(), length.to_string());
    }
}
