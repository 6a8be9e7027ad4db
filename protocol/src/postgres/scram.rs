//! SCRAM-SHA-256 as the database plays it (RFC 5802, RFC 7677), around pgwire's exchange.
//!
//! pgwire checks proofs against a stored verifier, so a sign-in stretches no password. What it
//! leaves open is decided here: the form and bounds of a verifier, whether the mechanism fits
//! the channel binding flag, how long a nonce may be, and what an unknown user is shown. The
//! hash that it compares at the end is keyed with a secret of ours, so the time the comparison
//! takes tells an attacker nothing that he could steer.

use crate::Secret;
use aws_lc_rs::{digest, hmac};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pgwire::api::auth::sasl::scram::{
    ScramSecret, ScramServerAuth, ScramServerAuthWaitingForClientFinal, gen_salted_password,
};
use pgwire::error::PgWireError;
use subtle::ConstantTimeEq;
use x509_certificate::{CapturedX509Certificate, SignatureAlgorithm};
use zeroize::Zeroizing;

/// The mechanism without channel binding.
pub const PLAIN: &str = "SCRAM-SHA-256";
/// The mechanism bound to the TLS certificate.
pub const PLUS: &str = "SCRAM-SHA-256-PLUS";

/// How often PostgreSQL stretches a password unless told otherwise.
pub const ITERATIONS: u32 = 4096;

/// The most stretching that is asked of a client.
const ITERATIONS_MAX: u32 = 1_000_000;
/// Bytes of a salt.
const SALT_MAX: usize = 1024;
/// Bytes of a client's nonce.
const NONCE_MAX: usize = 256;
/// Bytes of a verifier's text; a salt of `SALT_MAX` bytes fits.
const VERIFIER_MAX: usize = 2048;

/// Stretches a password into the form that PostgreSQL stores:
/// `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`. Slow by design (some
/// milliseconds for 4096 iterations): once a user, not once a sign-in. `iterations` is brought
/// into 1 to 1,000,000.
pub fn stretch(password: &Secret, iterations: u32, salt: [u8; 16]) -> Secret {
    let iterations = iterations.clamp(1, ITERATIONS_MAX);
    let salted = Zeroizing::new(gen_salted_password(password.expose(), &salt, iterations as usize));
    let made =
        ScramSecret::verifier_from_salted_password(salt.to_vec(), salted.to_vec(), iterations as usize);
    let ScramSecret::Verifier { stored_key, server_key, .. } = made else {
        unreachable!("a verifier was asked for")
    };
    let (stored_key, server_key) = (Zeroizing::new(stored_key), Zeroizing::new(server_key));
    Secret::new(format!(
        "{PLAIN}${iterations}:{}${}:{}",
        STANDARD.encode(salt),
        STANDARD.encode(&*stored_key),
        STANDARD.encode(&*server_key)
    ))
}

/// The salt of a user, known or not, as long as `mock_secret` stays the same. Stretching known
/// users with it keeps them from being told apart by a salt that changes at a restart.
pub fn salt(mock_secret: &[u8; 32], user: &str) -> [u8; 16] {
    let [salt @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = mock(mock_secret, "salt", user);
    salt
}

/// 32 bytes that look random and are always the same for a user.
pub(super) fn mock(mock_secret: &[u8; 32], purpose: &str, user: &str) -> [u8; 32] {
    let key = hmac::Key::new(hmac::HMAC_SHA256, mock_secret);
    let mut context = hmac::Context::with_key(&key);
    context.update(purpose.as_bytes());
    context.update(b"\0");
    context.update(user.as_bytes());
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.sign().as_ref());
    bytes
}

/// A stored verifier, taken apart.
pub struct Stored {
    iterations: u32,
    salt: Vec<u8>,
    stored_key: Zeroizing<[u8; 32]>,
    server_key: Zeroizing<[u8; 32]>,
}

impl Stored {
    /// Reads PostgreSQL's stored form, or `None` if it is malformed or out of bounds.
    pub fn read(text: &str) -> Option<Self> {
        if text.len() > VERIFIER_MAX {
            return None;
        }
        let (scheme, rest) = text.split_once('$')?;
        let (stretching, keys) = rest.split_once('$')?;
        let (iterations, salt) = stretching.split_once(':')?;
        let (stored_key, server_key) = keys.split_once(':')?;
        let iterations = iterations.parse().ok().filter(|count| (1..=ITERATIONS_MAX).contains(count))?;
        let salt = STANDARD.decode(salt).ok().filter(|salt| (1..=SALT_MAX).contains(&salt.len()))?;
        (scheme == PLAIN).then_some(())?;
        Some(Self { iterations, salt, stored_key: key(stored_key)?, server_key: key(server_key)? })
    }

    /// Whether it was made of this password. As slow as `stretch`.
    pub fn is_of(&self, password: &Secret) -> bool {
        let iterations = self.iterations as usize;
        let salted = Zeroizing::new(gen_salted_password(password.expose(), &self.salt, iterations));
        match ScramSecret::verifier_from_salted_password(self.salt.clone(), salted.to_vec(), iterations) {
            ScramSecret::Verifier { stored_key, .. } => {
                Zeroizing::new(stored_key).ct_eq(self.stored_key.as_slice()).into()
            }
            ScramSecret::SaltedPassword { .. } => false,
        }
    }

    fn mock(mock_secret: &[u8; 32], user: &str) -> Self {
        Self {
            iterations: ITERATIONS,
            salt: salt(mock_secret, user).to_vec(),
            stored_key: Zeroizing::new(mock(mock_secret, "stored key", user)),
            server_key: Zeroizing::new(mock(mock_secret, "server key", user)),
        }
    }
}

fn key(text: &str) -> Option<Zeroizing<[u8; 32]>> {
    let bytes = Zeroizing::new(STANDARD.decode(text).ok()?);
    bytes.as_slice().try_into().ok().map(Zeroizing::new)
}

/// Why an exchange failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScramError {
    /// The client's message is not what the mechanism allows here.
    Malformed,
    /// The proof is wrong, or the user has none that could be right.
    WrongProof,
}

/// What all exchanges on one connection share: the certificate that we showed.
#[derive(Default)]
pub struct Channel(ScramServerAuth);

impl Channel {
    /// A connection inside TLS. A certificate that channel binding is not defined for (such as
    /// Ed25519) is as good as none.
    pub fn tls(certificate: Option<&[u8]>) -> Self {
        let mut server = ScramServerAuth::new();
        if let Some(der) = certificate {
            let text = STANDARD.encode(der);
            let pem = format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n");
            // Without the certificate the mechanism is just not offered.
            let _ = server.configure_certificate(pem.as_bytes());
        }
        Self(server)
    }

    /// The mechanisms to offer, best first.
    pub fn mechanisms(&self) -> &'static [&'static str] {
        if self.0.supports_channel_binding() { &[PLUS, PLAIN] } else { &[PLAIN] }
    }

    /// An exchange with a user. `None` is one that no proof can be right for: it goes the same
    /// way as any other up to its end.
    pub fn exchange(&self, stored: Option<Stored>, mock_secret: &[u8; 32], user: &str) -> Exchange {
        let doomed = stored.is_none();
        // Made for every user, so that it takes a known one no less time.
        let mock = Stored::mock(mock_secret, user);
        let stored = stored.unwrap_or(mock);
        let secret = ScramSecret::Verifier {
            salt: stored.salt,
            iterations: stored.iterations as usize,
            stored_key: stored.stored_key.to_vec(),
            server_key: stored.server_key.to_vec(),
        };
        Exchange { server: self.0.clone(), secret, doomed }
    }
}

/// An exchange that waits for the client's first message.
pub struct Exchange {
    server: ScramServerAuth,
    secret: ScramSecret,
    doomed: bool,
}

impl Exchange {
    /// Judges client-first-message. Returns server-first-message.
    pub fn first(self, mechanism: &[u8], message: &[u8]) -> Result<(String, Pending), ScramError> {
        let plus = mechanism == PLUS.as_bytes() && self.server.supports_channel_binding();
        if !plus && mechanism != PLAIN.as_bytes() {
            return Err(ScramError::Malformed);
        }
        // gs2-cbind-flag "," [ authzid ] "," username "," nonce ["," extensions]
        let mut parts = message.split(|byte| *byte == b',');
        let bound = parts.next().is_some_and(|flag| flag.starts_with(b"p="));
        let nonce = parts.nth(2).and_then(|part| part.strip_prefix(b"r="));
        let sound =
            |nonce: &[u8]| (1..=NONCE_MAX).contains(&nonce.len()) && nonce.iter().all(u8::is_ascii_graphic);
        if bound != plus || !nonce.is_some_and(sound) {
            return Err(ScramError::Malformed);
        }
        let (reply, waiting) = self
            .server
            .on_client_first_message_with_secret(message, self.secret)
            .map_err(|_| ScramError::Malformed)?;
        Ok((reply, Pending { waiting: Box::new(waiting), doomed: self.doomed }))
    }
}

/// An exchange that waits for the client's proof.
pub struct Pending {
    waiting: Box<ScramServerAuthWaitingForClientFinal>,
    doomed: bool,
}

impl Pending {
    /// Judges client-final-message. Returns server-final-message.
    pub fn last(self, message: &[u8]) -> Result<String, ScramError> {
        match self.waiting.on_client_final_message(message) {
            Ok(_) if self.doomed => Err(ScramError::WrongProof),
            Ok(reply) => Ok(reply),
            Err(PgWireError::InvalidPassword(_)) => Err(ScramError::WrongProof),
            Err(_) => Err(ScramError::Malformed),
        }
    }
}

/// What `tls-server-end-point` binds to (RFC 5929, section 4.1): the hash of the certificate, or
/// `None` where none is defined for it. pgwire does the same for itself, but does not hand it out.
pub fn end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    let parsed = CapturedX509Certificate::from_der(certificate).ok()?;
    let algorithm = match parsed.signature_algorithm()? {
        SignatureAlgorithm::RsaSha1 | SignatureAlgorithm::RsaSha256 | SignatureAlgorithm::EcdsaSha256 => {
            &digest::SHA256
        }
        SignatureAlgorithm::RsaSha384 | SignatureAlgorithm::EcdsaSha384 => &digest::SHA384,
        SignatureAlgorithm::RsaSha512 => &digest::SHA512,
        _ => return None,
    };
    Some(digest::digest(algorithm, certificate).as_ref().to_vec())
}

#[cfg(test)]
mod tests;
