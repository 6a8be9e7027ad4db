//! Patroni's API and collectors of traces by HTTPS: only who shows the right certificate is asked anything.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use integration::{Cluster, Config, Proxy, until};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

#[path = "tls/papers.rs"]
mod papers;

const PATIENCE: Duration = Duration::from_secs(60);

/// A server on this machine that wants a certificate of its clients by our authority, and keeps what it is asked.
struct Server {
    port: u16,
    asked: Arc<Mutex<String>>,
}

impl Server {
    fn start(answer: String) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        let authority = CertificateDer::from_pem_file(papers::of("ours.ca")).expect("an authority");
        roots.add(authority).expect("an authority");
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let chain = vec![CertificateDer::from_pem_file(papers::of("ours.cert")).expect("a certificate")];
        let key = PrivateKeyDer::from_pem_file(papers::of("ours.key")).expect("a key");
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_client_cert_verifier(clients.build().expect("authorities"))
            .with_single_cert(chain, key)
            .expect("a pair");
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let asked = Arc::new(Mutex::new(String::new()));
        let heard = Arc::clone(&asked);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                stream.set_read_timeout(Some(PATIENCE)).expect("a socket can be told");
                let connection = ServerConnection::new(Arc::clone(&config)).expect("a sound configuration");
                serve(StreamOwned::new(connection, stream), &answer, &heard);
            }
        });
        Self { port, asked }
    }

    fn asked(&self) -> String {
        self.asked.lock().expect("nobody panics with it").clone()
    }
}

fn serve(
    mut stream: StreamOwned<ServerConnection, std::net::TcpStream>,
    answer: &str,
    heard: &Mutex<String>,
) {
    let (mut request, mut some) = (String::new(), [0; 4096]);
    loop {
        // Who shows no certificate, or is shown one it does not trust, says nothing that could be read.
        let Ok(read @ 1..) = stream.read(&mut some) else { return };
        request.push_str(&String::from_utf8_lossy(&some[..read]));
        let Some((head, body)) = request.split_once("\r\n\r\n") else { continue };
        let head = head.to_ascii_lowercase();
        let length = head.split_once("content-length: ").map_or(0, |(_, rest)| {
            rest.lines().next().and_then(|length| length.trim().parse().ok()).unwrap_or(0)
        });
        if body.len() >= length {
            break;
        }
    }
    heard.lock().expect("nobody panics with it").push_str(&request);
    let length = answer.len();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    stream.write_all(format!("{head}{answer}").as_bytes()).ok();
    stream.conn.send_close_notify();
    stream.flush().ok();
}

/// The keys that say how HTTPS is spoken: an authority, and whose certificate is ours.
fn papers_of(authority: &str, own: Option<&str>) -> String {
    let file = |name: String| papers::of(&name).display().to_string();
    let mut keys = format!("ca = {:?}\n", file(format!("{authority}.ca")));
    if let Some(own) = own {
        keys +=
            &format!("cert = {:?}\nkey = {:?}\n", file(format!("{own}.cert")), file(format!("{own}.key")));
    }
    keys
}

#[test]
fn patronis_members_are_found() {
    let cluster = Cluster::start(0);
    let port = cluster.primary.port();
    let members = format!("{{\"members\": [{{\"host\": \"127.0.0.1\", \"port\": {port}}}]}}");
    for (authority, own, trusted) in [
        ("ours", Some("ours"), true),
        ("stranger", Some("ours"), false),
        ("ours", Some("stranger"), false),
        ("ours", None, false),
    ] {
        let server = Server::start(members.clone());
        let keys = papers_of(authority, own);
        let address = format!("https://localhost:{}", server.port);
        let extra =
            format!("\n[clusters.main.discovery]\npatroni = \"{address}\"\n{keys}interval = \"1s\"\n");
        let proxy = Proxy::start(Config { endpoints: Vec::new(), extra, ..Config::of(&cluster) });
        let outcome = if trusted { "good" } else { "failed" };
        until(&format!("{authority}, {own:?}: {outcome}"), PATIENCE, || {
            let counted = proxy.metrics().sum("splitpool_discoveries_total", &[("outcome", outcome)]);
            (counted > 0.0).then_some(())
        });
        let asked = server.asked();
        assert_eq!(asked.starts_with("GET /cluster HTTP/1.1"), trusted, "{authority}, {own:?}: {asked}");
        if trusted {
            proxy.await_reads_on(&[port]);
        } else {
            assert_eq!(proxy.metrics().sum("splitpool_discoveries_total", &[("outcome", "good")]), 0.0);
        }
    }
}

#[test]
fn spans_arrive() {
    let cluster = Cluster::start(0);
    let server = Server::start("{}".to_owned());
    let keys = papers_of("ours", Some("ours"));
    let endpoint = format!("https://localhost:{}/", server.port);
    let extra = format!("\n[general.traces]\nendpoint = \"{endpoint}\"\n{keys}");
    let proxy = Proxy::start(Config { extra, ..Config::of(&cluster) });
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let text = format!("SELECT 1 /*traceparent='00-{trace}-b7ad6b7169203331-01'*/");
    proxy.session().query(&text).ok();
    until("a span", PATIENCE, || server.asked().contains(trace).then_some(()));
    assert!(server.asked().starts_with("POST /v1/traces HTTP/1.1"), "{}", server.asked());
}
