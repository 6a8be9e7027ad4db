use super::*;
use crate::postgres::fixtures::{mutate, seeded};
use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};

const EC256: &[u8] = include_bytes!("ec256.der");
const EC384: &[u8] = include_bytes!("ec384.der");
const RSA512: &[u8] = include_bytes!("rsa512.der");
const ED25519: &[u8] = include_bytes!("ed25519.der");
const MOCK: &[u8; 32] = &[3; 32];

fn secret(text: &str) -> Secret {
    Secret::new(text.to_owned())
}

/// A verifier as `stretch` makes it, with a salt of any length.
fn verifier(password: &str, iterations: usize, salt: &[u8]) -> String {
    let salted = gen_salted_password(password, salt, iterations);
    match ScramSecret::verifier_from_salted_password(salt.to_vec(), salted, iterations) {
        ScramSecret::Verifier { stored_key, server_key, .. } => {
            let [salt, stored_key, server_key] =
                [salt, &stored_key, &server_key].map(|part| STANDARD.encode(part));
            format!("SCRAM-SHA-256${iterations}:{salt}${stored_key}:{server_key}")
        }
        ScramSecret::SaltedPassword { .. } => unreachable!(),
    }
}

fn exchange(channel: &Channel, text: &str) -> Exchange {
    channel.exchange(Some(Stored::read(text).expect("a sound verifier")), MOCK, "u")
}

/// Signs postgres-protocol's client in.
fn sign_in(
    exchange: Exchange,
    mechanism: &str,
    password: &str,
    binding: ChannelBinding,
) -> Result<(), ScramError> {
    let mut client = ScramSha256::new(password.as_bytes(), binding);
    let (reply, pending) = exchange.first(mechanism.as_bytes(), client.message())?;
    client.update(reply.as_bytes()).unwrap();
    let reply = pending.last(client.message())?;
    client.finish(reply.as_bytes()).expect("the server's proof is right");
    Ok(())
}

/// RFC 7677, section 3.
#[test]
fn test_vector() {
    let salt: [u8; 16] = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap().try_into().unwrap();
    let made = stretch(&secret("pencil"), 4096, salt);
    let stored = Stored::read(made.expose()).unwrap();
    let message = b"n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
        s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    let sign = |key: &[u8; 32]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message);
    assert_eq!(STANDARD.encode(sign(&stored.server_key)), "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    let proof = STANDARD.decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=").unwrap();
    let client_key: Vec<u8> =
        proof.iter().zip(sign(&stored.stored_key).as_ref()).map(|(a, b)| a ^ b).collect();
    assert_eq!(digest::digest(&digest::SHA256, &client_key).as_ref(), stored.stored_key.as_slice());
}

#[test]
fn stretching() {
    let other = postgres_protocol::password::scram_sha_256(b"p\xc2\xaa\xc2\xa0ss");
    let salt = Stored::read(&other).unwrap().salt.try_into().unwrap();
    assert_eq!(stretch(&secret("pª\u{a0}ss"), 4096, salt).expose(), other);
    assert!(stretch(&secret("p"), 0, salt).expose().starts_with("SCRAM-SHA-256$1:"));
    assert_eq!(super::salt(MOCK, "u"), super::salt(MOCK, "u"));
    assert_ne!(super::salt(MOCK, "u"), super::salt(MOCK, "v"));
    assert_ne!(super::salt(MOCK, "u"), super::salt(&[4; 32], "u"));
}

#[test]
fn salts_and_iterations() {
    let channel = Channel::default();
    for (iterations, length) in (1..=64).map(|length| (7, length)).chain([(1, 1024), (10_000, 32)]) {
        let text = verifier("pencil", iterations, &vec![0xa5; length]);
        let end = sign_in(exchange(&channel, &text), PLAIN, "pencil", ChannelBinding::unsupported());
        assert_eq!(end, Ok(()), "{iterations} {length}");
    }
    let text = verifier("pencil", 7, b"salt");
    let end = sign_in(exchange(&channel, &text), PLAIN, "Pencil", ChannelBinding::unsupported());
    assert_eq!(end, Err(ScramError::WrongProof));
}

#[test]
fn unknown_users_fail_at_the_end() {
    let channel = Channel::default();
    for password in ["", "pencil"] {
        let unknown = channel.exchange(None, MOCK, "u");
        assert_eq!(
            sign_in(unknown, PLAIN, password, ChannelBinding::unsupported()),
            Err(ScramError::WrongProof)
        );
    }
}

#[test]
fn verifiers() {
    let sound = verifier("p", 4096, b"0123456789abcdef");
    assert!(Stored::read(&sound).is_some());
    let salt = STANDARD.encode(b"0123456789abcdef");
    for (from, to) in [
        ("SCRAM-SHA-256$", "SCRAM-SHA-1$"),
        ("$4096", "$0"),
        ("$4096", "$1000001"),
        ("$4096", "$-1"),
        ("$4096", "$4294967297"),
        ("$4096", "$"),
        ("4096:", "4096"),
        (salt.as_str(), ""),
        (salt.as_str(), "%"),
        ("=:", "=AAAA:"),
        ("=:", ":"),
    ] {
        let broken = sound.replacen(from, to, 1);
        assert_ne!(broken, sound);
        assert!(Stored::read(&broken).is_none(), "{broken}");
    }
    assert!(Stored::read(&verifier("p", 1, &[1; 1025])).is_none());
    assert!(Stored::read("").is_none());
    assert!(Stored::read(&format!("{sound}AAAA")).is_none());
    assert!(Stored::read(&"$".repeat(5000)).is_none());
}

#[test]
fn channel_binding() {
    let text = verifier("pencil", 1, b"salt");
    let bound = |certificate: &[u8]| ChannelBinding::tls_server_end_point(end_point(certificate).unwrap());
    for certificate in [EC256, EC384, RSA512] {
        let channel = Channel::tls(Some(certificate));
        assert_eq!(channel.mechanisms(), [PLUS, PLAIN]);
        assert_eq!(sign_in(exchange(&channel, &text), PLUS, "pencil", bound(certificate)), Ok(()));
        assert_eq!(
            sign_in(exchange(&channel, &text), PLUS, "x", bound(certificate)),
            Err(ScramError::WrongProof)
        );
        // A client that cannot bind may sign in without.
        assert_eq!(
            sign_in(exchange(&channel, &text), PLAIN, "pencil", ChannelBinding::unsupported()),
            Ok(())
        );
        // Another certificate: somebody sits in between.
        let other = if certificate == EC256 { EC384 } else { EC256 };
        for (mechanism, binding) in [
            (PLUS, bound(other)),
            (PLUS, ChannelBinding::unsupported()),
            (PLUS, ChannelBinding::unrequested()),
            (PLAIN, bound(certificate)),
            // A client that could bind was told that we cannot.
            (PLAIN, ChannelBinding::unrequested()),
            ("SCRAM-SHA-1", ChannelBinding::unsupported()),
        ] {
            let failed = sign_in(exchange(&channel, &text), mechanism, "pencil", binding);
            assert_eq!(failed, Err(ScramError::Malformed), "{mechanism}");
        }
    }
    for channel in
        [Channel::default(), Channel::tls(None), Channel::tls(Some(ED25519)), Channel::tls(Some(b"junk"))]
    {
        assert_eq!(channel.mechanisms(), [PLAIN]);
        assert_eq!(
            sign_in(exchange(&channel, &text), PLUS, "pencil", bound(EC256)),
            Err(ScramError::Malformed)
        );
        assert_eq!(
            sign_in(exchange(&channel, &text), PLAIN, "pencil", ChannelBinding::unrequested()),
            Ok(())
        );
    }
    assert_eq!(end_point(ED25519), None);
    assert_eq!(end_point(EC384).unwrap().len(), 48);
    assert_eq!(end_point(RSA512).unwrap().len(), 64);
}

#[test]
fn malformed_messages() {
    let text = verifier("pencil", 1, b"salt");
    let channel = Channel::default();
    let long = format!("n,,n=,r={}", "x".repeat(NONCE_MAX + 1));
    for first in [
        "",
        "n",
        "n,,",
        "n,,n=",
        "n,,n=,",
        "n,,n=,r=",
        "n,,n=,x=abc",
        "n,a=u,n=,r=abc",
        "n,,m=x,r=abc",
        "x,,n=,r=abc",
        "n,,n=,r=a\u{e9}",
        "n,,n=,r=a b",
        "p=tls-unique,,n=,r=abc",
        &long,
    ] {
        let refused = exchange(&channel, &text).first(PLAIN.as_bytes(), first.as_bytes());
        assert_eq!(refused.err(), Some(ScramError::Malformed), "{first}");
    }
    let begin = || exchange(&channel, &text).first(PLAIN.as_bytes(), b"n,,n=,r=abc").unwrap();
    let (reply, _) = begin();
    assert!(reply.starts_with("r=abc"));
    for last in ["", "c=biws", "c=biws,r=abc", "c=biws,r=abc,p=", "c=eSws,r=abc,p=AAAA", "p=AAAA"] {
        assert_eq!(begin().1.last(last.as_bytes()), Err(ScramError::Malformed), "{last}");
    }
    for proof in ["", "AAAA", "=", &STANDARD.encode([0; 31]), &STANDARD.encode([0; 33])] {
        let (reply, pending) = begin();
        let nonce = reply.split(',').next().unwrap();
        let failed = pending.last(format!("c=biws,{nonce},p={proof}").as_bytes());
        assert_eq!(failed, Err(ScramError::Malformed), "{proof}");
    }
}

#[test]
fn nothing_panics() {
    seeded(|random| {
        let text = verifier("pencil", 1, b"salt");
        let channel = Channel::tls(Some(EC256));
        for _ in 0..20_000 {
            let mut first = b"p=tls-server-end-point,,n=u,r=0123456789".to_vec();
            mutate(random, &mut first);
            let _ = exchange(&channel, &text).first(PLUS.as_bytes(), &first);
            let (reply, pending) = exchange(&channel, &text).first(PLAIN.as_bytes(), b"n,,n=,r=abc").unwrap();
            let nonce = reply.split(',').next().unwrap();
            let mut last = format!("c=biws,{nonce},p={}", STANDARD.encode([random.u8(..); 32])).into_bytes();
            mutate(random, &mut last);
            assert!(pending.last(&last).is_err());
            let mut stored = text.clone().into_bytes();
            mutate(random, &mut stored);
            let _ = Stored::read(&String::from_utf8_lossy(&stored));
        }
        for certificate in [EC256, EC384, RSA512, ED25519] {
            for _ in 0..3_000 {
                let mut der = certificate.to_vec();
                mutate(random, &mut der);
                let _ = end_point(&der);
                let _ = Channel::tls(Some(&der));
            }
        }
    });
}
