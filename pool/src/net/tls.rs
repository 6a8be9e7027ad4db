//! TLS towards backends and towards clients, with one provider named explicitly.
//!
//! The modes mean what libpq's sslmode means: `Require` encrypts and checks nothing
//! unless an authority is given, `VerifyCa` checks the chain, `VerifyFull` the name too.
//! Does not decide when TLS is asked for: that is the protocol's first exchange.

use super::stream::{Stream, TlsLink};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

/// How far a backend connection goes for TLS. The names and meanings are libpq's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum TlsMode {
    /// Never.
    #[default]
    Off,
    /// If the database offers it; nothing is checked.
    Prefer,
    /// Or no connection; the chain is checked only if an authority is given.
    Require,
    /// And the certificate's chain must lead to the authority.
    VerifyCa,
    /// And the certificate must name the host.
    VerifyFull,
}

/// A file of keys or certificates is not usable.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// It cannot be read, or is not PEM.
    #[error("cannot read {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rustls_pki_types::pem::Error,
    },
    /// It holds no certificate.
    #[error("{0} holds no certificate")]
    NoCertificate(PathBuf),
    /// A certificate comes without its key, or a key without its certificate.
    #[error("a certificate and its key must both be given")]
    HalfPair,
    /// The system has no certificate authorities and none was given.
    #[error("the system has no certificate authorities: give one")]
    NoAuthorities,
    /// rustls does not take them.
    #[error("the certificate or key is not usable: {0}")]
    Unusable(#[from] rustls::Error),
    /// An authority is not usable.
    #[error("the certificate authority is not usable: {0}")]
    Authority(#[from] rustls::server::VerifierBuilderError),
}

/// What TLS towards a cluster's endpoints needs. Equal if built from equal files in one mode.
#[derive(Debug, Clone)]
pub struct BackendTls {
    /// How far to go.
    pub mode: TlsMode,
    config: Option<Arc<ClientConfig>>,
    /// Who may have signed the peer's certificate (DER); none if nothing is checked.
    authorities: Arc<[CertificateDer<'static>]>,
    /// Files of our own certificate and its key.
    pair: Option<(PathBuf, PathBuf)>,
    digest: u64,
}

impl Default for BackendTls {
    fn default() -> Self {
        Self { mode: TlsMode::Off, config: None, authorities: Arc::default(), pair: None, digest: 0 }
    }
}

impl PartialEq for BackendTls {
    fn eq(&self, other: &Self) -> bool {
        self.mode == other.mode && self.digest == other.digest
    }
}

impl BackendTls {
    /// Who may have signed the peer's certificate; none if nothing is checked.
    pub(crate) fn authorities(&self) -> &[CertificateDer<'static>] {
        &self.authorities
    }

    /// The files of our own certificate and of its key.
    pub(crate) fn pair(&self) -> Option<(&Path, &Path)> {
        self.pair.as_ref().map(|(certificate, key)| (certificate.as_path(), key.as_path()))
    }

    /// The same for another application protocol (ALPN) than PostgreSQL's.
    #[must_use]
    pub fn speaking(mut self, protocol: &[u8]) -> Self {
        if let Some(config) = &mut self.config {
            Arc::make_mut(config).alpn_protocols = vec![protocol.to_vec()];
        }
        self
    }

    /// Shakes hands as a client. `host` is what the certificate must name, if anything must.
    ///
    /// # Errors
    /// Of the handshake; `Unsupported` on a Unix socket or if the mode is `Off`.
    pub async fn upgrade(&self, stream: Stream, host: &str) -> io::Result<Stream> {
        let (Stream::Tcp(tcp), Some(config)) = (stream, &self.config) else {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "TLS is only spoken over TCP"));
        };
        let name = ServerName::try_from(host.to_owned()).map_err(|_| {
            io::Error::new(io::ErrorKind::InvalidInput, "the host cannot be in a certificate")
        })?;
        let stream = TlsConnector::from(config.clone()).connect(name, tcp).await?;
        let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let certificate = shown.map(|certificate| Arc::from(certificate.as_ref()));
        Ok(Stream::Tls(Box::new(TlsLink { stream: TlsStream::Client(stream), certificate })))
    }
}

/// Reads what TLS towards backends needs. `ca` is the authority (PEM); without it `VerifyCa`
/// and `VerifyFull` use the system's. `pair` is our own certificate and its key, for databases that ask.
///
/// # Errors
/// If a file cannot be read or used.
pub fn backend_tls(
    mode: TlsMode,
    ca: Option<&Path>,
    pair: Option<(&Path, &Path)>,
) -> Result<BackendTls, NetError> {
    if mode == TlsMode::Off {
        return Ok(BackendTls::default());
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut digest = DefaultHasher::new();
    mode.hash(&mut digest);
    let roots = match (ca, mode) {
        (Some(path), _) => roots_from(path, &mut digest)?,
        (None, TlsMode::VerifyCa | TlsMode::VerifyFull) => system_roots()?,
        (None, _) => Vec::new(),
    };
    let verifier: Arc<dyn ServerCertVerifier> = match roots.as_slice() {
        [] => Arc::new(Lenient { chain: None, provider: provider.clone() }),
        roots => {
            let roots = store_of(roots)?;
            let strict =
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build()?;
            match mode {
                TlsMode::VerifyFull => strict,
                _ => Arc::new(Lenient { chain: Some(strict), provider: provider.clone() }),
            }
        }
    };
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    let mut config = match pair {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = chain_from(certificate)?;
            chain.hash(&mut digest);
            builder.with_client_auth_cert(chain, key_from(key)?)?
        }
    };
    config.alpn_protocols = vec![b"postgresql".to_vec()];
    let pair = pair.map(|(certificate, key)| (certificate.to_owned(), key.to_owned()));
    let config = Some(Arc::new(config));
    Ok(BackendTls { mode, config, authorities: roots.into(), pair, digest: digest.finish() })
}

/// What TLS towards clients needs.
#[derive(Debug, Clone)]
pub struct ServerTls {
    config: Arc<ServerConfig>,
    certificate: Arc<[u8]>,
}

/// Reads what TLS towards clients needs: our chain and key, and the authority that clients'
/// certificates must come from. With an authority, a client without a certificate is refused.
///
/// # Errors
/// If a file cannot be read or used.
pub fn server_tls(certificate: &Path, key: &Path, client_ca: Option<&Path>) -> Result<ServerTls, NetError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let chain = chain_from(certificate)?;
    let own = chain.first().ok_or_else(|| NetError::NoCertificate(certificate.into()))?;
    let own: Arc<[u8]> = Arc::from(own.as_ref());
    let builder =
        ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let roots = Arc::new(store_of(&roots_from(path, &mut DefaultHasher::new())?)?);
            let verifier =
                rustls::server::WebPkiClientVerifier::builder_with_provider(roots, provider).build()?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_single_cert(chain, key_from(key)?)?;
    config.alpn_protocols = vec![b"postgresql".to_vec()];
    Ok(ServerTls { config: Arc::new(config), certificate: own })
}

/// Shakes hands with a client. The caller has made sure that nothing came in clear behind the request.
///
/// # Errors
/// Of the handshake; `Unsupported` unless the stream is plain TCP.
pub async fn accept_tls(stream: Stream, tls: &ServerTls) -> io::Result<Stream> {
    accept(stream, tls, &[]).await.map(|link| Stream::Tls(Box::new(link)))
}

/// Shakes hands with a client that began without waiting for an answer, and sent `begun` so far. Both sides must
/// agree on `alpn`, if there is one, so that nobody's other TLS is led here.
///
/// # Errors
/// Of the handshake; `InvalidData` without that agreement; `Unsupported` unless the stream is plain TCP.
pub async fn accept_direct_tls(
    stream: Stream,
    tls: &ServerTls,
    begun: &[u8],
    alpn: Option<&[u8]>,
) -> io::Result<Stream> {
    let link = accept(stream, tls, begun).await?;
    if alpn.is_some() && link.stream.get_ref().1.alpn_protocol() != alpn {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "TLS without the application protocol"));
    }
    Ok(Stream::Tls(Box::new(link)))
}

async fn accept(stream: Stream, tls: &ServerTls, mut begun: &[u8]) -> io::Result<TlsLink> {
    let Stream::Tcp(tcp) = stream else {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "TLS is only spoken over TCP"));
    };
    let handshake = TlsAcceptor::from(tls.config.clone()).accept_with(tcp, |connection| {
        // Reading at the end of `begun` would be taken for the end of the connection.
        while !begun.is_empty() && matches!(connection.read_tls(&mut begun), Ok(1..)) {
            // What is wrong with it is met again, and told to the client, in the handshake.
            let _ = connection.process_new_packets();
        }
    });
    let certificate = Some(tls.certificate.clone());
    Ok(TlsLink { stream: TlsStream::Server(handshake.await?), certificate })
}

fn chain_from(path: &Path) -> Result<Vec<CertificateDer<'static>>, NetError> {
    let failed = |source| NetError::File { path: path.into(), source };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(failed)?.collect();
    let chain = chain.map_err(failed)?;
    if chain.is_empty() { Err(NetError::NoCertificate(path.into())) } else { Ok(chain) }
}

fn key_from(path: &Path) -> Result<PrivateKeyDer<'static>, NetError> {
    PrivateKeyDer::from_pem_file(path).map_err(|source| NetError::File { path: path.into(), source })
}

fn roots_from(path: &Path, digest: &mut DefaultHasher) -> Result<Vec<CertificateDer<'static>>, NetError> {
    let chain = chain_from(path)?;
    chain.hash(digest);
    Ok(chain)
}

/// The system's authorities, without those that rustls cannot read.
fn system_roots() -> Result<Vec<CertificateDer<'static>>, NetError> {
    let mut roots = rustls_native_certs::load_native_certs().certs;
    roots.retain(|root| RootCertStore::empty().add(root.clone()).is_ok());
    if roots.is_empty() { Err(NetError::NoAuthorities) } else { Ok(roots) }
}

fn store_of(roots: &[CertificateDer<'static>]) -> Result<RootCertStore, NetError> {
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(root.clone())?;
    }
    Ok(store)
}

/// Checks less than rustls would: the chain without the name, or nothing but that the peer
/// holds the key of the certificate it shows.
#[derive(Debug)]
struct Lenient {
    chain: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(chain) = &self.chain else { return Ok(ServerCertVerified::assertion()) };
        match chain.verify_server_cert(end_entity, intermediates, name, ocsp, now) {
            // The name is the last thing rustls looks at, so the chain is good here.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
