//! TLS on both sides, with certificates made on the spot.

use crate::net::{
    Address, KeepAlive, Stream, TlsMode, accept_direct_tls, accept_tls, backend_tls, connect, server_tls,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// An authority, and a certificate for a host by it, as files.
struct Papers {
    directory: PathBuf,
}

impl Drop for Papers {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

impl Papers {
    fn new(name: &str, host: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("splitpool-tls-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("our own directory");
        let mut params = CertificateParams::new(Vec::new()).expect("no names are good names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let authority = CertifiedIssuer::self_signed(params, key).expect("an authority");
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![host.to_owned()]).expect("a good name");
        let certificate = params.signed_by(&key, &authority).expect("a certificate");
        let papers = Self { directory };
        std::fs::write(papers.file("ca"), authority.pem()).expect("our own directory");
        std::fs::write(papers.file("cert"), certificate.pem()).expect("our own directory");
        std::fs::write(papers.file("key"), key.serialize_pem()).expect("our own directory");
        papers
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

/// Whether a handshake in this mode with this authority succeeds against a certificate for `host`.
async fn shakes_hands(host: &str, mode: TlsMode, authority: Option<&Papers>) -> bool {
    let papers = Papers::new(&format!("{host}-{mode:?}-{}", authority.is_some()), host);
    let server = server_tls(&papers.file("cert"), &papers.file("key"), None).expect("good papers");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has ports");
    let port = listener.local_addr().expect("it is bound").port();
    let echo = tokio::spawn(async move {
        let (tcp, _) = listener.accept().await?;
        let mut stream = accept_tls(Stream::Tcp(tcp), &server).await?;
        let certificate = stream.server_certificate().map(<[u8]>::to_vec);
        let byte = stream.read_u8().await?;
        stream.write_u8(byte).await?;
        stream.flush().await?;
        std::io::Result::Ok(certificate)
    });
    let own = authority.is_none().then(|| papers.file("ca"));
    let ca = authority.map(|other| other.file("ca")).or(own);
    let tls = backend_tls(mode, ca.as_deref(), None).expect("good papers");
    let address = Address::Tcp { host: "127.0.0.1".to_owned(), port };
    let tcp = connect(&address, Duration::from_secs(5), &KeepAlive::default()).await.expect("it listens");
    let Ok(mut stream) = tls.upgrade(tcp, "db.example").await else { return false };
    let round_trip = async {
        stream.write_u8(7).await?;
        stream.flush().await?;
        stream.read_u8().await
    };
    assert_eq!(round_trip.await.expect("the echo answers"), 7);
    assert!(stream.is_tls());
    let shown = stream.server_certificate().map(<[u8]>::to_vec);
    assert!(shown.is_some());
    assert_eq!(
        shown,
        echo.await.expect("no panic").expect("no error"),
        "both sides bind to the same certificate"
    );
    // The echo's end has closed: whatever is idle here is dead.
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(!stream.is_quiet());
    true
}

#[tokio::test]
async fn modes_check_what_they_say() {
    let stranger = Papers::new("stranger", "db.example");
    assert!(shakes_hands("db.example", TlsMode::VerifyFull, None).await);
    assert!(!shakes_hands("other.example", TlsMode::VerifyFull, None).await, "the name");
    assert!(shakes_hands("other.example", TlsMode::VerifyCa, None).await);
    assert!(!shakes_hands("db.example", TlsMode::VerifyCa, Some(&stranger)).await, "the chain");
    assert!(
        !shakes_hands("db.example", TlsMode::Require, Some(&stranger)).await,
        "given an authority, it counts"
    );
    let papers = Papers::new("lenient", "db.example");
    let lenient = backend_tls(TlsMode::Require, None, None).expect("needs no papers");
    assert_eq!(lenient, backend_tls(TlsMode::Require, None, None).expect("needs no papers"));
    assert_ne!(lenient, backend_tls(TlsMode::Require, Some(&papers.file("ca")), None).expect("good papers"));
    assert!(backend_tls(TlsMode::Require, Some(&papers.file("missing")), None).is_err());
    assert!(server_tls(&papers.file("key"), &papers.file("cert"), None).is_err());
}

/// Whether a client that begins TLS unasked is served, if the first `most` bytes it sends are
/// taken off the socket before the handshake.
async fn begins_directly(most: usize, alpn: &'static [u8]) -> bool {
    let papers = Papers::new(&format!("direct-{most}-{}", alpn.len()), "db.example");
    let server = server_tls(&papers.file("cert"), &papers.file("key"), None).expect("good papers");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has ports");
    let port = listener.local_addr().expect("it is bound").port();
    let echo = tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await?;
        let mut begun = vec![0; most];
        let length = tcp.read(&mut begun).await?;
        begun.truncate(length);
        let mut stream = accept_direct_tls(Stream::Tcp(tcp), &server, &begun, Some(alpn)).await?;
        let byte = stream.read_u8().await?;
        stream.write_u8(byte).await?;
        stream.flush().await
    });
    let tls = backend_tls(TlsMode::VerifyFull, Some(&papers.file("ca")), None).expect("good papers");
    let address = Address::Tcp { host: "127.0.0.1".to_owned(), port };
    let tcp = connect(&address, Duration::from_secs(5), &KeepAlive::default()).await.expect("it listens");
    let round_trip = async {
        let mut stream = tls.upgrade(tcp, "db.example").await?;
        stream.write_u8(7).await?;
        stream.flush().await?;
        stream.read_u8().await
    };
    let heard = round_trip.await;
    let served = echo.await.expect("no panic").is_ok();
    assert_eq!(served, matches!(heard, Ok(7)));
    served
}

#[tokio::test]
async fn tls_that_begins_unasked() {
    for most in [1, 4, 5, 6, 100, 16_384] {
        assert!(begins_directly(most, b"postgresql").await, "{most} bytes ahead");
    }
    assert!(!begins_directly(16_384, b"another").await, "the application protocol");
}
