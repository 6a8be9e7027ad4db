//! A way for clients without TLS to begin a session with it, as `sslnegotiation=direct` does: the first byte is the
//! handshake's, and both sides agree on `postgresql`.

use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use integration::Wire;
use integration::wire::Error;
use rustls::client::WebPkiServerVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;

/// It ends with this value.
pub struct Tunnel {
    port: u16,
    failed: Arc<Mutex<Vec<String>>>,
    _runtime: Runtime,
}

impl Tunnel {
    /// To a proxy's port, whose certificate one of these authorities must have signed.
    pub fn to(port: u16, authorities: &[std::path::PathBuf]) -> Self {
        let mut roots = RootCertStore::empty();
        for path in authorities {
            roots.add(CertificateDer::from_pem_file(path).expect("an authority")).expect("an authority");
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_webpki_verifier(verifier.build().expect("authorities"))
            .with_no_client_auth();
        config.alpn_protocols = vec![b"postgresql".to_vec()];
        let connector = TlsConnector::from(Arc::new(config));
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has a free port");
        let own = listener.local_addr().expect("a bound socket has an address").port();
        listener.set_nonblocking(true).expect("a socket can be told");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let failed = Arc::new(Mutex::new(Vec::new()));
        let failures = Arc::clone(&failed);
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            while let Ok((client, _)) = listener.accept().await {
                let (connector, failures) = (connector.clone(), Arc::clone(&failures));
                tokio::spawn(async move {
                    if let Err(error) = relay(client, port, connector).await {
                        failures.lock().expect("nobody panics with it").push(error.to_string());
                    }
                });
            }
        });
        Self { port: own, failed, _runtime: runtime }
    }

    /// A session of the role `app`.
    pub fn session(&self) -> Result<Wire, Error> {
        Wire::login(&integration::Login::new(self.port, "app", integration::PASSWORD, "app"))
    }

    /// A connection that has said nothing yet.
    pub fn connect(&self) -> Wire {
        Wire::connect(self.port).expect("the tunnel accepts")
    }

    /// What handshakes failed of.
    pub fn failures(&self) -> Vec<String> {
        self.failed.lock().expect("nobody panics with it").clone()
    }
}

async fn relay(mut client: TcpStream, port: u16, connector: TlsConnector) -> std::io::Result<()> {
    let proxy = TcpStream::connect(("127.0.0.1", port)).await?;
    let _ = (client.set_nodelay(true), proxy.set_nodelay(true));
    let mut proxy = connector.connect(ServerName::try_from("localhost").expect("a name"), proxy).await?;
    // How sessions end is for those on them to judge.
    let _ = tokio::io::copy_bidirectional(&mut client, &mut proxy).await;
    Ok(())
}
