//! A key pair that clients without TLS seal their password with: RSA, OAEP with SHA-1.
//!
//! MySQL, "Caching_sha2_password information". The private half opens what was sealed and leaves
//! this file in no other way.

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rsa::{
    KeyPair as AnyRsa, KeySize, OAEP_SHA1_MGF1SHA1, OaepPrivateDecryptingKey, OaepPublicEncryptingKey,
    PrivateDecryptingKey, PublicEncryptingKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::fmt;
use zeroize::Zeroizing;

/// Bytes of a line of PEM.
const LINE: usize = 64;

/// Bits of a key that is generated: what databases generate for themselves.
const SIZE: KeySize = KeySize::Rsa2048;

/// See the file's head.
pub struct KeyPair {
    private: OaepPrivateDecryptingKey,
    public: String,
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyPair(***)")
    }
}

/// Why a key pair cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct KeyPairError(&'static str);

impl KeyPair {
    /// A new one of 2048 bits. Takes some hundredths of a second.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn generate() -> Result<Self, KeyPairError> {
        let none = |_| KeyPairError("no key could be generated");
        Self::of(PrivateDecryptingKey::generate(SIZE).map_err(none)?)
    }

    /// One that is kept in a file, as PEM: `PRIVATE KEY` (PKCS#8) or `RSA PRIVATE KEY`, which is
    /// what MySQL writes; of 2048 to 8192 bits, not encrypted.
    ///
    /// # Errors
    /// When it is anything else.
    pub fn from_pem(pem: &str) -> Result<Self, KeyPairError> {
        const NONE: KeyPairError =
            KeyPairError("it holds no RSA private key of 2048 bits or more as plain PEM");
        let der = |label| unwrapped(pem, label).map(Zeroizing::new);
        let key = if let Some(der) = der("PRIVATE KEY") {
            PrivateDecryptingKey::from_pkcs8(&der).map_err(|_| NONE)?
        } else {
            let der = der("RSA PRIVATE KEY").ok_or(NONE)?;
            let key = AnyRsa::from_der(&der).and_then(|key| Ok(key.as_der()?)).map_err(|_| NONE)?;
            PrivateDecryptingKey::from_pkcs8(key.as_ref()).map_err(|_| NONE)?
        };
        Self::of(key)
    }

    fn of(key: PrivateDecryptingKey) -> Result<Self, KeyPairError> {
        let unusable = |_| KeyPairError("the key cannot be used");
        let public: PublicKeyX509Der<'_> = key.public_key().as_der().map_err(unusable)?;
        let digits = STANDARD.encode(public.as_ref());
        let mut pem = "-----BEGIN PUBLIC KEY-----\n".to_owned();
        for line in digits.as_bytes().chunks(LINE) {
            pem.extend(line.iter().map(|digit| char::from(*digit)));
            pem.push('\n');
        }
        pem.push_str("-----END PUBLIC KEY-----\n");
        Ok(Self { private: OaepPrivateDecryptingKey::new(key).map_err(unusable)?, public: pem })
    }

    /// The public half, as PEM.
    pub fn public(&self) -> &str {
        &self.public
    }

    /// What was sealed with the public half; `None` if this was not.
    pub fn open(&self, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let mut space = Zeroizing::new(vec![0; self.private.min_output_size()]);
        let len = self.private.decrypt(&OAEP_SHA1_MGF1SHA1, sealed, &mut space, None).ok()?.len();
        space.truncate(len);
        Some(space)
    }
}

/// Seals `clear` with a public key (PEM). `None` if that is none, or too small for so much.
pub fn seal(clear: &[u8], public: &[u8]) -> Option<Vec<u8>> {
    let der = unwrapped(std::str::from_utf8(public).ok()?, "PUBLIC KEY")?;
    let key = OaepPublicEncryptingKey::new(PublicEncryptingKey::from_der(&der).ok()?).ok()?;
    let mut sealed = vec![0; key.ciphertext_size()];
    let len = key.encrypt(&OAEP_SHA1_MGF1SHA1, clear, &mut sealed, None).ok()?.len();
    sealed.truncate(len);
    Some(sealed)
}

/// What stands between the marks of `label` in a text that holds nothing else.
fn unwrapped(pem: &str, label: &str) -> Option<Vec<u8>> {
    let inner = pem.trim().strip_prefix(&format!("-----BEGIN {label}-----"))?;
    let inner = inner.strip_suffix(&format!("-----END {label}-----"))?;
    let digits: Zeroizing<String> =
        Zeroizing::new(inner.chars().filter(|c| !c.is_ascii_whitespace()).collect());
    STANDARD.decode(&*digits).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_is_opened_by_the_other_half_alone() {
        let (one, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let sealed = seal(b"secret", one.public().as_bytes()).unwrap();
        assert_eq!(one.open(&sealed).unwrap().as_slice(), b"secret");
        assert!(other.open(&sealed).is_none());
        for wrong in [&sealed[1..], &[], &[0; 256], &[0xff; 256], &[7; 10_000]] {
            assert!(one.open(wrong).is_none());
        }
        assert!(seal(&[0; 215], one.public().as_bytes()).is_none(), "more than fits");
        assert!(one.public().lines().all(|line| line.len() <= LINE));
        assert_eq!(format!("{one:?}"), "KeyPair(***)");
    }

    #[test]
    fn keys_of_both_forms_and_none_other() {
        let key = AnyRsa::generate(SIZE).unwrap();
        let pem = |label: &str, der: &[u8]| {
            format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
        };
        let pkcs8 = key.as_der().unwrap();
        let kept = KeyPair::from_pem(&pem("PRIVATE KEY", pkcs8.as_ref())).unwrap();
        // The same key without what PKCS#8 puts around it: 26 bytes for a key of this size.
        let again = KeyPair::from_pem(&pem("RSA PRIVATE KEY", &pkcs8.as_ref()[26..])).unwrap();
        assert_eq!(kept.public(), again.public());
        for bad in ["", "nonsense", &pem("PUBLIC KEY", b"x"), &pem("PRIVATE KEY", b"x"), kept.public()] {
            assert!(KeyPair::from_pem(bad).is_err(), "{bad}");
        }
    }
}
