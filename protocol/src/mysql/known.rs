//! Whether a password is the one that the configuration knows something of.
//!
//! The fast ways to sign in prove that somebody has a password, or its double hash. Where the
//! configuration has another hash of it, the client must tell the password itself.

use super::proof::{Plugin, stored_native};
use crate::Secret;
use crate::handshake::Credential;
use crate::postgres::is_stored_for;
use subtle::ConstantTimeEq;

/// Whether `given` is the password of `user` that `known` tells of. The empty one signs nobody in.
/// Takes as long as the stored form is slow: some milliseconds for a SCRAM verifier.
pub fn is_password(known: &Credential, user: &str, given: &Secret) -> bool {
    if given.expose().is_empty() {
        return false;
    }
    match known {
        Credential::Password(password) => {
            Plugin::Sha2.double_hash(password).ct_eq(&Plugin::Sha2.double_hash(given)).into()
        }
        Credential::Verifier(stored) => match stored_native(stored.expose()) {
            Some(double) => double.ct_eq(&Plugin::Native.double_hash(given)).into(),
            None => is_stored_for(stored, user, given),
        },
        Credential::Trust => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stored_form() {
        let secret = |text: &str| Secret::new(text.to_owned());
        for stored in [
            // SELECT PASSWORD('secret'); then pg_authid.rolpassword.
            "*14E65567ABDB5135D0CFD9A70B3032C179A49EE7",
            "SCRAM-SHA-256$4096:AQIDBAUGBwgJCgsMDQ4PEA==$8rrDg00OqaiWXJ7p\
             +sCgHEIaBSHY89ZJl3mfIsf32oY=:05L1f+yZbiN8O0AnO40Og85NNRhvzTS57naKRWCcsIA=",
            // SELECT 'md5' || md5('secretapp')
            "md56a422f785c9e20873908ce25d1736ae2",
        ] {
            let known = Credential::Verifier(secret(stored));
            assert!(is_password(&known, "app", &secret("secret")), "{stored}");
            for wrong in ["", "Secret", "secret ", stored] {
                assert!(!is_password(&known, "app", &secret(wrong)), "{stored} {wrong}");
            }
        }
        let known = Credential::Password(secret("secret"));
        assert!(is_password(&known, "app", &secret("secret")));
        assert!(!is_password(&known, "app", &secret("secret\0")));
        assert!(!is_password(&Credential::Password(secret("")), "app", &secret("")));
    }
}
