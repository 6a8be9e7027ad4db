//! The proof of MariaDB's plugin `ed25519`: the nonce, signed.
//!
//! RFC 8032, section 5.1.6, with the password in the place of the seed, of whatever length it is. No library signs
//! with such a key, so the steps are here and the arithmetic is `curve25519-dalek`'s.

use crate::Secret;
use aws_lc_rs::digest::{Context, SHA512};
use curve25519_dalek::scalar::clamp_integer;
use curve25519_dalek::{EdwardsPoint, Scalar};
use zeroize::Zeroizing;

/// Bytes of its nonce.
pub const NONCE: usize = 32;

fn hash(parts: &[&[u8]]) -> Zeroizing<[u8; 64]> {
    let mut context = Context::new(&SHA512);
    parts.iter().for_each(|part| context.update(part));
    let mut hash = Zeroizing::new([0; 64]);
    for (place, byte) in hash.iter_mut().zip(context.finish().as_ref()) {
        *place = *byte;
    }
    hash
}

/// The signature of `nonce` by whoever knows `password`.
pub fn sign(password: &Secret, nonce: &[u8]) -> Vec<u8> {
    let expanded = hash(&[password.expose().as_bytes()]);
    let (seed, prefix) = expanded.split_at(32);
    let mut key = Zeroizing::new([0; 32]);
    key.copy_from_slice(seed);
    let key = Zeroizing::new(Scalar::from_bytes_mod_order(clamp_integer(*key)));
    let public = EdwardsPoint::mul_base(&key).compress();
    let once = Zeroizing::new(Scalar::from_bytes_mod_order_wide(&hash(&[prefix, nonce])));
    let point = EdwardsPoint::mul_base(&once).compress();
    let challenge = Scalar::from_bytes_mod_order_wide(&hash(&[point.as_bytes(), public.as_bytes(), nonce]));
    let proof = challenge * *key + *once;
    [*point.as_bytes(), proof.to_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};

    #[test]
    fn another_library_finds_the_signature_right() {
        for password in ["", "secret", &"long".repeat(100)] {
            let nonce = [7; NONCE];
            let expanded = hash(&[password.as_bytes()]);
            let mut key = [0; 32];
            key.copy_from_slice(&expanded[..32]);
            let public = EdwardsPoint::mul_base(&Scalar::from_bytes_mod_order(clamp_integer(key))).compress();
            let key = UnparsedPublicKey::new(&ED25519, public.as_bytes());
            let signature = sign(&Secret::new(password.into()), &nonce);
            key.verify(&nonce, &signature).unwrap();
            assert!(key.verify(&[8; NONCE], &signature).is_err());
        }
    }
}
