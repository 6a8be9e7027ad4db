//! Proofs of a password: what a client computes of it and how the other side checks that.
//!
//! `mysql_native_password` rests on SHA-1, `caching_sha2_password` on SHA-256; both send the
//! hash of the password, masked by a hash of a nonce and the double hash. Whoever has the
//! password, or its double hash, can check the mask. "Authentication Methods".

use crate::Secret;
use aws_lc_rs::digest::{self, Algorithm, SHA1_FOR_LEGACY_USE_ONLY, SHA256};
use aws_lc_rs::hmac;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Bytes of a nonce.
pub const NONCE: usize = 20;

/// A way to sign in, by its name on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plugin {
    /// `mysql_native_password`.
    Native,
    /// `caching_sha2_password`.
    Sha2,
}

impl Plugin {
    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "mysql_native_password",
            Self::Sha2 => "caching_sha2_password",
        }
    }

    /// The plugin of this name.
    pub fn named(name: &[u8]) -> Option<Self> {
        [Self::Native, Self::Sha2].into_iter().find(|plugin| plugin.name().as_bytes() == name)
    }

    fn algorithm(self) -> &'static Algorithm {
        match self {
            Self::Native => &SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha2 => &SHA256,
        }
    }

    fn mask(self, double: &[u8], nonce: &[u8]) -> digest::Digest {
        let mut context = digest::Context::new(self.algorithm());
        // The one puts the nonce first, the other last.
        let (one, two) = if self == Self::Native { (nonce, double) } else { (double, nonce) };
        context.update(one);
        context.update(two);
        context.finish()
    }

    /// What a client that knows `password` answers to `nonce`. Nothing for the empty password.
    pub fn prove(self, password: &Secret, nonce: &[u8]) -> Vec<u8> {
        if password.expose().is_empty() {
            return Vec::new();
        }
        let single = digest::digest(self.algorithm(), password.expose().as_bytes());
        let double = self.double_hash(password);
        let mask = self.mask(&double, nonce);
        single.as_ref().iter().zip(mask.as_ref()).map(|(one, two)| one ^ two).collect()
    }

    /// The hash of the hash of a password.
    pub fn double_hash(self, password: &Secret) -> Vec<u8> {
        let single = digest::digest(self.algorithm(), password.expose().as_bytes());
        digest::digest(self.algorithm(), single.as_ref()).as_ref().to_vec()
    }

    /// Whether `proof` was made of the password with this double hash.
    pub fn is_right(self, double: &[u8], nonce: &[u8], proof: &[u8]) -> bool {
        let mask = self.mask(double, nonce);
        if proof.len() != mask.as_ref().len() {
            return false;
        }
        let single: Zeroizing<Vec<u8>> =
            Zeroizing::new(proof.iter().zip(mask.as_ref()).map(|(one, two)| one ^ two).collect());
        let again = digest::digest(self.algorithm(), &single);
        again.as_ref().ct_eq(double).into()
    }
}

/// The double hash that MySQL and MariaDB store for `mysql_native_password`: `*` and 40 digits.
pub fn stored_native(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix('*').filter(|digits| digits.len() == 40 && digits.is_ascii())?;
    (0..20).map(|at| u8::from_str_radix(digits.get(2 * at..2 * at + 2)?, 16).ok()).collect()
}

/// The nonce of a number, as the protocol wants it: without the bytes 0 and `$`, seven bits each. Who does not know
/// `secret` can foretell none, and as long as it stays the same every number has its own.
pub fn nonce(secret: &[u8; 32], number: u64) -> [u8; NONCE] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), &number.to_le_bytes());
    let mut nonce = [0; NONCE];
    for (byte, random) in nonce.iter_mut().zip(tag.as_ref()) {
        *byte = random & 0x7f;
        if matches!(*byte, 0 | b'$') {
            *byte += 1;
        }
    }
    nonce
}

/// The password and a zero byte, hidden under the nonce, as it is sealed for the other side.
pub fn hidden(password: &Secret, nonce: &[u8; NONCE]) -> Zeroizing<Vec<u8>> {
    let clear = password.expose().bytes().chain([0]);
    Zeroizing::new(clear.zip(nonce.iter().cycle()).map(|(one, two)| one ^ two).collect())
}

/// The password that was hidden so; `None` if there is none.
pub fn uncovered(hidden: &[u8], nonce: &[u8; NONCE]) -> Option<Secret> {
    let clear: Zeroizing<Vec<u8>> =
        Zeroizing::new(hidden.iter().zip(nonce.iter().cycle()).map(|(one, two)| one ^ two).collect());
    told(&clear)
}

/// A password with the zero byte that ends it.
pub fn told(clear: &[u8]) -> Option<Secret> {
    let text = clear.strip_suffix(b"\0")?;
    Some(Secret::new(std::str::from_utf8(text).ok()?.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proofs_are_checked() {
        let (right, wrong) = (Secret::new("secret".into()), Secret::new("Secret".into()));
        let nonce = nonce(&[7; 32], 1);
        for plugin in [Plugin::Native, Plugin::Sha2] {
            let double = plugin.double_hash(&right);
            let proof = plugin.prove(&right, &nonce);
            assert!(plugin.is_right(&double, &nonce, &proof));
            assert!(!plugin.is_right(&double, &nonce, &plugin.prove(&wrong, &nonce)));
            assert!(!plugin.is_right(&double, &[1; NONCE], &proof));
            assert!(!plugin.is_right(&double, &nonce, b""));
            assert!(plugin.prove(&Secret::new(String::new()), &nonce).is_empty());
        }
    }

    #[test]
    fn every_number_has_a_nonce() {
        let one = nonce(&[7; 32], 1);
        assert_eq!(one, nonce(&[7; 32], 1));
        for (secret, number) in [([7; 32], 2), ([7; 32], 1 << 32 | 1), ([8; 32], 1)] {
            assert_ne!(one, nonce(&secret, number));
        }
        assert!(
            (0..1000).flat_map(|n| nonce(&[7; 32], n)).all(|byte| byte < 128 && !matches!(byte, 0 | b'$'))
        );
    }

    #[test]
    fn what_is_hidden_is_uncovered() {
        let nonce = nonce(&[7; 32], 1);
        for text in ["", "secret", &"\u{e9}".repeat(100)] {
            let password = Secret::new(text.to_owned());
            let hidden = hidden(&password, &nonce);
            assert_eq!(hidden.len(), text.len() + 1);
            assert_eq!(uncovered(&hidden, &nonce).unwrap().expose(), text);
            assert!(uncovered(&hidden[..text.len()], &nonce).is_none());
        }
        assert!(told(b"").is_none() && told(b"\xff\0").is_none());
    }

    #[test]
    fn stored_hashes() {
        // SELECT PASSWORD('secret')
        let stored = stored_native("*14E65567ABDB5135D0CFD9A70B3032C179A49EE7").unwrap();
        assert_eq!(stored, Plugin::Native.double_hash(&Secret::new("secret".into())));
        for bad in [
            "",
            "*14",
            "14E65567ABDB5135D0CFD9A70B3032C179A49EE7*",
            "*ZZE65567ABDB5135D0CFD9A70B3032C179A49EE7",
        ] {
            assert!(stored_native(bad).is_none(), "{bad}");
        }
    }
}
