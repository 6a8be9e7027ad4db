//! What the tests of several modules are made of.

use super::scram;
use crate::Secret;
use crate::handshake::{AuthMethod, Credential, LoginTerms, Verifier};
use fastrand::Rng;
use std::sync::Arc;

/// Runs `test` with randomness whose seed is shown when it fails. Repeat it with `SEED=<seed>`.
pub fn seeded(test: impl FnOnce(&mut Rng)) {
    let given = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| fastrand::u64(..));
    eprintln!("SEED={seed}");
    test(&mut Rng::with_seed(seed));
}

/// Breaks `bytes` in one to four places.
pub fn mutate(random: &mut Rng, bytes: &mut Vec<u8>) {
    for _ in 0..random.usize(1..=4) {
        let at = random.usize(..=bytes.len());
        match random.u8(..6) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, random.u8(..)),
            2 if at < bytes.len() => drop(bytes.remove(at)),
            3 if at < bytes.len() => bytes[at] ^= 1 << random.u8(..8),
            4 if at < bytes.len() => bytes[at] = random.choice([0, 1, 0x7f, 0x80, 0xff, b',', b'=']).unwrap(),
            _ => {
                let piece: Vec<u8> = bytes.iter().skip(at).take(random.usize(..20)).copied().collect();
                let to = random.usize(..=bytes.len());
                bytes.splice(to..to, piece);
            }
        }
    }
}

/// A message of this type.
pub fn framed(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
    [&[tag], length.as_slice(), body].concat()
}

pub fn terms(method: AuthMethod) -> LoginTerms {
    LoginTerms {
        tls_offered: true,
        tls_required: false,
        method,
        mock_secret: Arc::new([5; 32]),
        announced: crate::Reported::default(),
        key_pair: None,
        next_number: Arc::default(),
    }
}

pub fn known(method: AuthMethod, credential: Credential) -> Verifier {
    let stretched = match &credential {
        Credential::Password(password) => Some(scram::stretch(password, 16, [1; 16])),
        _ => None,
    };
    Verifier { method, credential, stretched }
}

pub fn password(text: &str) -> Credential {
    Credential::Password(Secret::new(text.to_owned()))
}

/// The two forms in which PostgreSQL stores the password of the user `u`.
pub fn stored(text: &str) -> [Credential; 2] {
    let scram = scram::stretch(&Secret::new(text.to_owned()), 16, [1; 16]);
    let md5 = Secret::new(postgres_protocol::password::md5(text.as_bytes(), "u"));
    [Credential::Verifier(scram), Credential::Verifier(md5)]
}
