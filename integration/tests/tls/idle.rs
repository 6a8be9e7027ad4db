//! What TLS has taken and the socket has not: it reaches a client that says nothing more.

use std::sync::Arc;
use std::time::{Duration, Instant};

use integration::{PATIENCE, Stage, frame};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::{papers, stage};

/// Sizes of replies grow by this: less than TLS holds back, so that one of them ends in what it holds.
const STEP: usize = 16 * 1024;

/// A reply that takes longer is taken for one that waits for its client.
const SOON: Duration = Duration::from_secs(2);

/// A session of the role `app` whose socket takes little.
async fn session(port: u16) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(papers::of("ours.ca")).expect("an authority")).expect("one");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"postgresql".to_vec()];
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a socket can be told");
    let socket = socket.connect(([127, 0, 0, 1], port).into()).await.expect("the proxy accepts");
    let name = ServerName::try_from("localhost").expect("a name");
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, socket).await.expect("a handshake");
    stream.write_all(&frame::startup(&[("user", "app"), ("database", "app")])).await.expect("it is open");
    read_to_ready(&mut stream).await;
    stream
}

/// Reads to the end of a reply; returns how long it was.
async fn read_to_ready(stream: &mut TlsStream<TcpStream>) -> usize {
    let (mut length, mut tail) = (0, Vec::new());
    let mut space = vec![0; 1 << 16];
    while !tail.ends_with(b"Z\0\0\0\x05I") {
        let count = stream.read(&mut space).await.expect("it is open");
        assert!(count > 0, "the session ended");
        length += count;
        tail.extend_from_slice(&space[..count]);
        tail.drain(..tail.len().saturating_sub(16));
    }
    length
}

/// Whether the proxy is done with a reply of this size, within a time, before the client reads any of it. The client gets
/// it all.
async fn is_done_unread(stage: &Stage, size: usize, round: &mut usize, within: Duration) -> bool {
    *round += 1;
    let mut stream = session(stage.proxy.port()).await;
    let ask = format!("SELECT repeat('x', {size}) /* round {round}. */");
    let asked = format!("usename = 'app' AND query LIKE '%/* round {round}. */'");
    stream.write_all(&frame::query(&ask)).await.expect("it is open");
    stream.flush().await.expect("it is open");
    let began = Instant::now();
    let mut started = false;
    let done = loop {
        let leased = stage.proxy.metrics().sum("splitpool_endpoint_leases", &[]) > 0.0;
        if started && !leased {
            break true;
        }
        started |= stage.count(&asked) > 0;
        if began.elapsed() > within {
            break false;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    let read = tokio::time::timeout(PATIENCE, read_to_ready(&mut stream)).await;
    let length = read.unwrap_or_else(|_| panic!("a reply of {size} bytes does not reach its client"));
    assert!(length > size, "{length} of {size}");
    done
}

#[test]
fn what_the_socket_did_not_take_comes_by_itself() {
    let mut stage = stage("require", &papers::of("ours.cert"), &papers::of("ours.key"));
    let mut config = stage.proxy.config().clone();
    config.listen = "auth = \"trust\"\n".to_owned();
    stage.proxy.terminate(Duration::from_secs(20)).expect("it ends");
    stage.proxy = integration::Proxy::start(config);
    stage.proxy.await_ready();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        // How much the sockets take is the kernel's affair: first roughly, then in small steps beyond it.
        let mut round = 0;
        let mut size = 8 * STEP;
        while is_done_unread(&stage, size, &mut round, SOON).await {
            size += size / 4;
            assert!(size < 1 << 26, "nothing holds the proxy back");
        }
        let mut size = size / 5 * 4 - 4 * STEP;
        // Less than what has been seen to come to its end.
        assert!(
            is_done_unread(&stage, size, &mut round, PATIENCE).await,
            "no reply came to its end with the client's socket full"
        );
        while is_done_unread(&stage, size, &mut round, SOON).await {
            size += STEP;
        }
        // The last of those ended within what TLS holds, unless the kernel changed its mind: once more around it.
        for less in 0..6 {
            is_done_unread(&stage, size - less * STEP / 2, &mut round, SOON).await;
        }
    });
}
