//! Authorities, certificates and keys, made on the spot.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use integration::paths::Scratch;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};

/// An authority, a certificate for `localhost` by it, and its key: `<name>.ca`, `<name>.cert`, `<name>.key`.
pub fn issue(directory: &Path, name: &str) {
    let mut params = CertificateParams::new(Vec::new()).expect("no names are good names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    // With one name for both, the certificate would look signed by itself.
    params.distinguished_name.push(DnType::CommonName, format!("{name}, an authority"));
    let authority =
        CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority");
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a good name");
    let certificate = params.signed_by(&key, &authority).expect("a certificate");
    let write = |kind: &str, text: &str| {
        std::fs::write(directory.join(format!("{name}.{kind}")), text).expect("our own directory");
    };
    write("ca", &authority.pem());
    write("cert", &certificate.pem());
    write("key", &key.serialize_pem());
}

/// A file of papers that all tests share: `ours` and a `stranger`'s.
pub fn of(file: &str) -> PathBuf {
    static DIRECTORY: OnceLock<Scratch> = OnceLock::new();
    let scratch = DIRECTORY.get_or_init(|| {
        let scratch = Scratch::new("tls");
        issue(scratch.path(), "ours");
        issue(scratch.path(), "stranger");
        scratch
    });
    scratch.path().join(file)
}
