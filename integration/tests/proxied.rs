//! Clients behind a proxy that tells who they are by the PROXY protocol: both versions, on both listeners.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use integration::console::{console, table};
use integration::mysql::wire::{Wire as MyWire, cap};
use integration::mysql::{self, Make};
use integration::{Cluster, Config, PASSWORD, Proxy, Wire, frame, paths, until};

const LINE: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 6432\r\n";
const UNKNOWN: &[u8] = b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n";
const MAGIC: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// How long a condition may take under load.
const PATIENCE: Duration = Duration::from_secs(60);

/// A header of version 2, with an extension that means nothing to anybody.
fn block(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
    let told = [addresses, b"\xe0\0\x03xyz"].concat();
    let len = u16::try_from(told.len()).expect("short").to_be_bytes();
    [MAGIC, &[command, family], &len, &told].concat()
}

fn six() -> Vec<u8> {
    let address = [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];
    block(0x21, 0x21, &[&address[..], &[0; 16], &[0x12, 0x34, 0, 1]].concat())
}

/// Host and port; nothing for where the connection itself comes from.
type Whence = Option<(&'static str, &'static str)>;

/// What proxies say, and where the client is then.
fn introductions() -> [(Vec<u8>, Whence); 5] {
    [
        (LINE.to_vec(), Some(("192.0.2.7", "56324"))),
        (six(), Some(("2001:db8::9", "4660"))),
        (UNKNOWN.to_vec(), None),
        (block(0x20, 0x11, &[192, 0, 2, 7, 192, 0, 2, 8, 0, 1, 0, 2]), None),
        (block(0x20, 0, b""), None),
    ]
}

fn startup() -> Vec<u8> {
    frame::startup(&[("user", "app"), ("database", "app")])
}

/// A session behind a header that comes in one piece with what follows it, or byte by byte.
fn signed_in(port: u16, header: &[u8], in_pieces: bool) -> Wire {
    let mut wire = Wire::connect(port).expect("the proxy accepts");
    let bytes = [header, &startup()].concat();
    if in_pieces {
        for byte in &bytes {
            wire.send(&[*byte]).expect("it is open");
        }
    } else {
        wire.send(&bytes).expect("it is open");
    }
    wire.sign_in("app", PASSWORD).expect("it may sign in");
    wire
}

/// Whether a connection that sent this is closed; nothing else may come on it.
fn is_closed(port: u16, sent: &[u8]) -> bool {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the proxy accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
    stream.write_all(sent).expect("it is open");
    let mut said = Vec::new();
    match stream.read_to_end(&mut said) {
        Ok(_) => said.is_empty(),
        // Reset, because not all was read.
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset && said.is_empty(),
    }
}

fn await_log(proxy: &Proxy, text: &str) {
    until(text, PATIENCE, || proxy.log().contains(text).then_some(()));
}

/// Operators see the client whose own port this is where the proxy says that it is, and nowhere else.
#[track_caller]
fn check_seen(operator: &mut Wire, proxy: &Proxy, address: Whence, own: &str) {
    let (host, port) = address.unwrap_or(("127.0.0.1", own));
    let mut rows = table(operator, "SHOW CLIENTS");
    // The operator may have the same port towards another one.
    rows.retain(|row| row["database"] != "pgbouncer" && row["local_port"] == proxy.port().to_string());
    assert!(rows.iter().any(|row| row["addr"] == host && row["port"] == port), "{host}:{port} in {rows:#?}");
    assert!(address.is_none() || rows.iter().all(|row| row["port"] != own), "{own} in {rows:#?}");
}

#[test]
fn postgres_clients_are_where_the_proxy_says() {
    let cluster = Cluster::start(0);
    let mut config = Config::of(&cluster);
    // The console itself must be reached without a header: not from this address.
    config.listen = "proxy_protocol_networks = \"192.0.2.0/24\"\n".to_owned();
    let mut proxy = Proxy::start(config.clone());
    proxy.await_cluster(&cluster);
    let mut operator = console(&proxy, "app");
    // From elsewhere a header is no header.
    assert!(!is_introduced(&proxy, LINE));
    config.listen = "proxy_protocol_networks = \"10.0.0.0/8, 127.0.0.1\"\n".to_owned();
    proxy.rewrite(config);
    until("the header is expected", PATIENCE, || is_introduced(&proxy, LINE).then_some(()));
    for (header, address) in introductions() {
        for in_pieces in [false, true] {
            let mut wire = signed_in(proxy.port(), &header, in_pieces);
            assert_eq!(wire.value("SELECT current_user"), "app");
            check_seen(&mut operator, &proxy, address, &wire.local_port().to_string());
        }
    }
    // A cancel comes on a connection of its own, which the proxy introduces as well.
    let mut wire = signed_in(proxy.port(), LINE, false);
    let (process, key) = wire.key.clone().expect("a key");
    wire.send(&frame::query("SELECT pg_sleep(120)")).expect("it is open");
    until("it sleeps", PATIENCE, || {
        let asleep =
            "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active'";
        (cluster.primary.value(asleep) == "1").then_some(())
    });
    assert!(is_closed(proxy.port(), &[LINE, &frame::cancel(process, &key)].concat()));
    assert_eq!(wire.reply().expect("an answer").code(), "57014");
}

/// Whether a client behind this header may sign in.
fn is_introduced(proxy: &Proxy, header: &[u8]) -> bool {
    let mut wire = Wire::connect(proxy.port()).expect("the proxy accepts");
    wire.send(&[header, &startup()].concat()).is_ok() && wire.sign_in("app", PASSWORD).is_ok()
}

#[test]
fn without_a_right_header_nobody_is_heard() {
    let cluster = Cluster::start(0);
    let mut config = Config::of(&cluster);
    config.listen = "proxy_protocol_networks = \"127.0.0.0/8\"\n".to_owned();
    config.extra = "\n[general]\nclient_login_timeout = \"4s\"\nmax_clients = 2\n".to_owned();
    let proxy = Proxy::start(config);
    until("it serves", PATIENCE, || is_introduced(&proxy, LINE).then_some(()));
    for (sent, logged) in [
        (startup(), "no PROXY header came first"),
        (frame::ssl_request(), "no PROXY header came first"),
        (b"PROXY TCP4 192.0.2.7 198.51.100.1 56324\r\n".to_vec(), "malformed PROXY header"),
        (block(0x31, 0x11, &[0; 12]), "unknown version or command"),
        (block(0x21, 0x21, &[0; 12]), "without the addresses"),
        ([MAGIC, &[0x21, 0, 0xff, 0xff]].concat(), "the PROXY header is too long"),
        (LINE[..20].to_vec(), "no PROXY header came in time"),
        (Vec::new(), "no PROXY header came in time"),
    ] {
        assert!(is_closed(proxy.port(), &sent), "{logged}");
        await_log(&proxy, logged);
    }
    let mut cut = TcpStream::connect(("127.0.0.1", proxy.port())).expect("the proxy accepts");
    cut.write_all(&LINE[..20]).expect("it is open");
    drop(cut);
    await_log(&proxy, "ended within its PROXY header");
    // Who is one too many is told so behind the header.
    let kept: Vec<Wire> = (0..2).map(|_| signed_in(proxy.port(), LINE, false)).collect();
    let mut late = Wire::connect(proxy.port()).expect("the proxy accepts");
    late.send(&[LINE, &startup()].concat()).expect("it is open");
    let error = late.sign_in("app", PASSWORD).expect_err("two are enough");
    assert_eq!(error.code(), "53300");
    drop(kept);
}

fn mysql_clients_are_where_the_proxy_says(make: Make) {
    let cluster = mysql::Cluster::start(make, 0);
    let mut config = Config::of_mysql(&cluster);
    config.admins = vec!["app".to_owned()];
    let operators = paths::free_port();
    config.listen = format!("postgres = \"127.0.0.1:{operators}\"\n");
    // Operators come as PostgreSQL clients, which need a database that somebody might serve.
    config.extra = format!(
        "\n[clusters.nobody]\nengine = \"postgres\"\n[[clusters.nobody.endpoints]]\n\
        address = \"127.0.0.1:{}\"\n[databases.nothing]\ncluster = \"nobody\"\n",
        paths::free_port()
    );
    let mut proxy = Proxy::start(config.clone());
    until("it serves", PATIENCE, || MyWire::login(proxy.port(), cap::CONNECT_WITH_DB, 45).ok());
    let login = integration::Login::new(operators, "app", PASSWORD, "splitpool");
    let mut operator = Wire::login(&login).expect("a console");
    // From elsewhere a header is no header.
    let mut wire = MyWire::connect(proxy.port()).expect("the proxy accepts");
    wire.raw(LINE).expect("it is open");
    assert!(wire.sign_in(cap::CONNECT_WITH_DB, 45).is_err());
    config.listen.push_str("proxy_protocol_networks = \"127.0.0.0/8\"\n");
    proxy.rewrite(config);
    until("the header is expected", PATIENCE, || {
        let mut wire = MyWire::connect(proxy.port()).expect("the proxy accepts");
        wire.raw(LINE).expect("it is open");
        wire.sign_in(cap::CONNECT_WITH_DB, 45).ok()
    });
    for (header, address) in introductions() {
        let mut wire = MyWire::connect(proxy.port()).expect("the proxy accepts");
        wire.raw(&header).expect("it is open");
        wire.sign_in(cap::CONNECT_WITH_DB, 45).expect("a sign-in");
        assert_eq!(wire.query("SELECT 1").value(), "1");
        check_seen(&mut operator, &proxy, address, &wire.local_port().to_string());
    }
    // The greeting waits for the header: what is none is never greeted.
    assert!(is_closed(proxy.port(), b"\x20\0\0\x01"));
    await_log(&proxy, "no PROXY header came first");
}

#[test]
fn mariadb_clients_are_where_the_proxy_says() {
    mysql_clients_are_where_the_proxy_says(Make::MariaDb);
}

#[test]
fn mysql9_clients_are_where_the_proxy_says() {
    mysql_clients_are_where_the_proxy_says(Make::MySql);
}
