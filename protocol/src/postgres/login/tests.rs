use super::*;
use crate::Secret;
use crate::postgres::fixtures::{framed, known, mutate, password, seeded, stored, terms};
use bytes::BytesMut;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};
use postgres_protocol::message::frontend;

const CERTIFICATE: &[u8] = include_bytes!("../scram/ec256.der");
const SSL_REQUEST: &[u8] = b"\0\0\0\x08\x04\xd2\x16\x2f";
const GSS_REQUEST: &[u8] = b"\0\0\0\x08\x04\xd2\x16\x30";

fn hello(user: &str) -> Vec<u8> {
    let mut buffer = BytesMut::new();
    frontend::startup_message([("user", user), ("database", "d")], &mut buffer).unwrap();
    buffer.to_vec()
}

fn login(terms: LoginTerms) -> PgLogin {
    PgLogin::new(Arc::new(terms))
}

/// A client that answers whatever it is asked.
struct Client {
    password: String,
    scram: Option<ScramSha256>,
    /// Type, code and length of every message that came.
    heard: Vec<(u8, u32, usize)>,
    signed_in: bool,
}

impl Client {
    fn new(password: &str) -> Self {
        Self { password: password.to_owned(), scram: None, heard: Vec::new(), signed_in: false }
    }

    fn hears(&mut self, user: &str, mut input: &[u8]) -> Vec<u8> {
        let mut out = BytesMut::new();
        while let Some(head) = frame::head(input).unwrap() {
            let body = &input[head.header..head.len()];
            let code = u32::from_be_bytes(body[..4].try_into().unwrap());
            self.heard.push((head.tag, code, body.len()));
            assert_eq!(head.tag, b'R');
            match code {
                0 => self.signed_in = true,
                5 => {
                    let hash =
                        md5_hash(user.as_bytes(), self.password.as_bytes(), body[4..].try_into().unwrap());
                    frontend::password_message(hash.as_bytes(), &mut out).unwrap();
                }
                10 => {
                    let scram = ScramSha256::new(self.password.as_bytes(), ChannelBinding::unsupported());
                    frontend::sasl_initial_response(scram::PLAIN, scram.message(), &mut out).unwrap();
                    self.scram = Some(scram);
                }
                11 => {
                    let scram = self.scram.as_mut().unwrap();
                    if scram.update(&body[4..]).is_err() {
                        // Its own nonce was broken on the way, so it says no more.
                        return Vec::new();
                    }
                    frontend::sasl_response(scram.message(), &mut out).unwrap();
                }
                12 => self.scram.as_mut().unwrap().finish(&body[4..]).unwrap(),
                other => panic!("asked for {other}"),
            }
            input = &input[head.len()..];
        }
        assert!(input.is_empty());
        out.to_vec()
    }
}

/// Signs `user` in; `mangle` may change each flight of messages before it is sent.
fn sign_in(
    login: &mut PgLogin,
    verifier: Option<&Verifier>,
    user: &str,
    client: &mut Client,
    mut mangle: impl FnMut(&mut Vec<u8>),
) -> Result<(), Fault> {
    let mut flight = hello(user);
    loop {
        let mut out = Vec::new();
        mangle(&mut flight);
        let (len, mut step) = login.feed(&flight, &mut out)?;
        assert!(len <= flight.len());
        if matches!(step, LoginStep::Identify) {
            assert!(out.is_empty() || out[0] == b'v');
            out.clear();
            step = login.credential(verifier, &mut out)?;
        }
        let answer = client.hears(user, &out);
        match step {
            LoginStep::Done => return Ok(()),
            LoginStep::More if !answer.is_empty() => flight = answer,
            // Cut by `mangle`, or another kind of packet by now.
            _ => return Err(violation("the dialogue stopped")),
        }
    }
}

/// Method and credential decide, the password proves; a wrong one never does.
#[test]
fn every_combination() {
    use AuthMethod::{Md5, Scram, Trust};
    let [scram_hash, md5_hash] = stored("right");
    let garbage = Credential::Verifier(Secret::new("garbage".to_owned()));
    let cases = [
        (Scram, password("right"), Some(10)),
        (Scram, scram_hash.clone(), Some(10)),
        (Md5, password("right"), Some(5)),
        (Md5, md5_hash.clone(), Some(5)),
        (Md5, scram_hash.clone(), Some(10)),
    ];
    for (method, credential, asked) in cases {
        let verifier = known(method, credential);
        for given in ["right", "wrong", "", "Right", "right "] {
            let mut client = Client::new(given);
            let result = sign_in(&mut login(terms(Scram)), Some(&verifier), "u", &mut client, |_| {});
            assert_eq!(result.is_ok(), given == "right", "{verifier:?} {given}");
            assert_eq!(client.signed_in, given == "right");
            assert_eq!(client.heard.first().map(|heard| heard.1), asked);
            if let Err(fault) = result {
                assert_eq!(
                    (fault.cause, fault.message.as_ref()),
                    (Cause::WrongPassword, "password authentication failed for user \"u\"")
                );
            }
        }
    }
    // None of these has a password that could be right.
    for (method, credential) in [
        (Scram, md5_hash),
        (Scram, garbage.clone()),
        (Md5, garbage),
        (Scram, password("")),
        (Md5, password("")),
    ] {
        let verifier = known(method, credential);
        for given in ["right", ""] {
            let mut client = Client::new(given);
            let refused = sign_in(&mut login(terms(Scram)), Some(&verifier), "u", &mut client, |_| {});
            assert_eq!(refused.unwrap_err().cause, Cause::WrongPassword);
        }
    }
    for verifier in
        [known(Trust, password("right")), known(Scram, Credential::Trust), known(Md5, Credential::Trust)]
    {
        let mut client = Client::new("wrong");
        sign_in(&mut login(terms(Scram)), Some(&verifier), "u", &mut client, |_| {}).unwrap();
        assert_eq!(client.heard, [(b'R', 0, 4)]);
    }
    let refused = sign_in(&mut login(terms(Trust)), None, "u", &mut Client::new(""), |_| {});
    assert_eq!(refused.unwrap_err().cause, Cause::WrongPassword);
}

#[test]
fn a_hundred_guesses() {
    for method in [AuthMethod::Scram, AuthMethod::Md5] {
        let verifier = known(method, password("right"));
        for guess in 0..100 {
            let mut client = Client::new(&format!("right{guess}"));
            let refused = sign_in(&mut login(terms(method)), Some(&verifier), "u", &mut client, |_| {});
            assert_eq!(refused.unwrap_err().cause, Cause::WrongPassword);
        }
    }
}

#[test]
fn a_password_that_was_not_stretched_works_too() {
    let verifier = Verifier { method: AuthMethod::Scram, credential: password("right"), stretched: None };
    sign_in(&mut login(terms(AuthMethod::Scram)), Some(&verifier), "u", &mut Client::new("right"), |_| {})
        .unwrap();
}

#[test]
fn unknown_users_look_like_known_ones() {
    for method in [AuthMethod::Scram, AuthMethod::Md5] {
        let credential = password("right");
        let stretched = scram::stretch(&Secret::new("right".to_owned()), scram::ITERATIONS, [1; 16]);
        let verifier = Verifier { method, credential, stretched: Some(stretched) };
        for round in 0..3 {
            let [seen, unseen] = [Some(&verifier), None].map(|verifier| {
                let mut client = Client::new(&format!("wrong{round}"));
                let fault =
                    sign_in(&mut login(terms(method)), verifier, "u", &mut client, |_| {}).unwrap_err();
                (client.heard, fault)
            });
            assert_eq!(seen, unseen);
        }
    }
    // The salt of an unknown user does not change between attempts.
    let salts = [(); 2].map(|()| {
        let mut login = login(terms(AuthMethod::Scram));
        let mut out = Vec::new();
        login.feed(&hello("nobody"), &mut out).unwrap();
        login.credential(None, &mut out).unwrap();
        out.clear();
        login.feed(&initial(b"n,,n=,r=abc"), &mut out).unwrap();
        String::from_utf8_lossy(&out).split(",s=").nth(1).unwrap().to_owned()
    });
    assert_eq!(salts[0], salts[1]);
}

fn initial(message: &[u8]) -> Vec<u8> {
    let mut buffer = BytesMut::new();
    frontend::sasl_initial_response(scram::PLAIN, message, &mut buffer).unwrap();
    buffer.to_vec()
}

/// A login that has asked for a proof.
fn asking(method: AuthMethod) -> PgLogin {
    let mut login = login(terms(method));
    let mut out = Vec::new();
    assert!(matches!(login.feed(&hello("u"), &mut out), Ok((_, LoginStep::Identify))));
    let verifier = known(method, password("right"));
    assert!(matches!(login.credential(Some(&verifier), &mut out), Ok(LoginStep::More)));
    login
}

#[test]
fn only_a_proof_is_heard_while_one_is_awaited() {
    let long = [b"p".as_slice(), &2000u32.to_be_bytes()].concat();
    for method in [AuthMethod::Scram, AuthMethod::Md5] {
        for begun in [false, true] {
            for wrong in [
                hello("admin"),
                SSL_REQUEST.to_vec(),
                b"\0".to_vec(),
                b"Q\0\0\0\x05\0".to_vec(),
                b"X\0\0\0\x04".to_vec(),
                b"p\0\0\0\0".to_vec(),
                b"p\0\0\0\x03".to_vec(),
                b"p\xff\xff\xff\xff".to_vec(),
                b"p\0\0\0\x04".to_vec(),
                long.clone(),
                b"p\0\0\0\x08abcd".to_vec(),
            ] {
                let mut login = asking(method);
                let mut out = Vec::new();
                if begun && method == AuthMethod::Scram {
                    login.feed(&initial(b"n,,n=,r=abc"), &mut out).unwrap();
                }
                let fault = login.feed(&wrong, &mut out).unwrap_err();
                assert_eq!(fault.cause, Cause::ProtocolViolation, "{}", wrong.escape_ascii());
                assert_eq!(login.greeting().user, "u");
                // Refused for good.
                assert!(login.feed(&hello("admin"), &mut out).is_err());
                assert!(login.credential(None, &mut out).is_err());
            }
        }
    }
}

#[test]
fn sasl_responses_that_lie_about_their_length() {
    for body in [
        b"SCRAM-SHA-256\0".as_slice(),
        b"SCRAM-SHA-256\0\xff\xff\xff\xff",
        b"SCRAM-SHA-256\0\0\0\0\x0cn,,n=,r=abc",
        b"SCRAM-SHA-256\0\0\0\0\x0an,,n=,r=abc",
        b"SCRAM-SHA-256",
        b"\0\0\0\0\x0bn,,n=,r=abc",
        b"SCRAM-SHA-256-PLUS\0\0\0\0\x0bn,,n=,r=abc",
    ] {
        let fault = asking(AuthMethod::Scram).feed(&framed(b'p', body), &mut Vec::new()).unwrap_err();
        assert_eq!(fault.cause, Cause::ProtocolViolation, "{}", body.escape_ascii());
    }
}

#[test]
fn encryption_requests() {
    let mut out = Vec::new();
    // Refused one after the other, then in clear.
    let mut plain = login(LoginTerms { tls_offered: false, ..terms(AuthMethod::Scram) });
    assert!(matches!(plain.feed(GSS_REQUEST, &mut out), Ok((8, LoginStep::More))));
    assert!(matches!(plain.feed(SSL_REQUEST, &mut out), Ok((8, LoginStep::More))));
    assert_eq!(out, b"NN");
    assert!(matches!(plain.feed(&hello("u"), &mut out), Ok((_, LoginStep::Identify))));
    assert_eq!(out, b"NN");

    // Accepted, and never asked for again.
    for again in [SSL_REQUEST, GSS_REQUEST, b"\x16\x03\x01\0\0".as_slice()] {
        let mut login = login(terms(AuthMethod::Scram));
        let mut out = Vec::new();
        assert!(matches!(login.feed(SSL_REQUEST, &mut out), Ok((8, LoginStep::UpgradeTls))));
        assert_eq!(out, b"S");
        // Not a byte is judged before TLS is up.
        assert!(matches!(login.feed(&hello("u"), &mut out), Ok((0, LoginStep::More))));
        login.tls_started(Some(CERTIFICATE));
        assert_eq!(login.feed(again, &mut out).unwrap_err().cause, Cause::ProtocolViolation);
    }
    for request in [SSL_REQUEST, GSS_REQUEST] {
        let mut login = login(LoginTerms { tls_offered: false, ..terms(AuthMethod::Scram) });
        login.feed(request, &mut Vec::new()).unwrap();
        assert!(login.feed(request, &mut Vec::new()).is_err());
    }
}

/// CVE-2021-23214: what was sent in clear must not pass for having come through TLS.
#[test]
fn stuffing() {
    for offered in [true, false] {
        for request in [SSL_REQUEST, GSS_REQUEST] {
            let mut login = login(LoginTerms { tls_offered: offered, ..terms(AuthMethod::Trust) });
            let mut out = Vec::new();
            let stuffed = [request.to_vec(), hello("u")].concat();
            let fault = login.feed(&stuffed, &mut out).unwrap_err();
            assert!(fault.message.starts_with("received unencrypted data after"));
            assert_eq!(out, b"");
        }
    }
}

#[test]
fn direct_tls() {
    let mut direct = login(terms(AuthMethod::Scram));
    let mut out = Vec::new();
    match direct.feed(b"\x16\x03\x01\x02\0\x01", &mut out) {
        Ok((0, LoginStep::DirectTls { alpn })) => assert_eq!(alpn, Some(&b"postgresql"[..])),
        other => panic!("{other:?}"),
    }
    assert_eq!(out, b"");
    direct.tls_started(None);
    assert!(matches!(direct.feed(&hello("u"), &mut out), Ok((_, LoginStep::Identify))));

    let mut plain = login(LoginTerms { tls_offered: false, ..terms(AuthMethod::Scram) });
    assert_eq!(plain.feed(b"\x16", &mut out).unwrap_err().cause, Cause::NotSupported);
}

#[test]
fn tls_required() {
    let required = LoginTerms { tls_required: true, ..terms(AuthMethod::Trust) };
    let mut out = Vec::new();
    let fault = login(required.clone()).feed(&hello("u"), &mut out).unwrap_err();
    assert_eq!((fault.cause, out.len()), (Cause::NotAllowed, 0));

    let mut inside = login(required.clone());
    inside.feed(SSL_REQUEST, &mut out).unwrap();
    inside.tls_started(Some(CERTIFICATE));
    assert!(matches!(inside.feed(&hello("u"), &mut out), Ok((_, LoginStep::Identify))));

    // A request to cancel proves itself by its key.
    let request = startup::cancel_request(&startup::new_key([9; 36], true, 0));
    assert!(matches!(login(required).feed(&request, &mut out), Ok((44, LoginStep::Cancel(_)))));
}

#[test]
fn negotiation() {
    let mut login = login(terms(AuthMethod::Trust));
    let mut out = Vec::new();
    let hello = b"\0\0\0\x19\0\x03\x27\x0fuser\0u\0_pq_.x\0\x31\0\0";
    let (len, step) = login.feed(hello, &mut out).unwrap();
    assert!(len == hello.len() && matches!(step, LoginStep::Identify));
    assert_eq!(out, framed(b'v', b"\0\x03\0\x02\0\0\0\x01_pq_.x\0"));
    assert!(login.greeting().long_keys);
}

#[test]
fn names_in_refusals_are_harmless() {
    let user = format!("a\n\x1b\"{}", "x".repeat(200));
    let fault =
        sign_in(&mut login(terms(AuthMethod::Trust)), None, &user, &mut Client::new(""), |_| {}).unwrap_err();
    let shown = format!("password authentication failed for user \"a??\"{}\"", "x".repeat(59));
    assert_eq!(fault.message, shown);
}

#[test]
fn broken_dialogues_neither_panic_nor_sign_in() {
    seeded(|random| {
        let verifiers =
            [known(AuthMethod::Scram, password("right")), known(AuthMethod::Md5, password("right"))];
        for round in 0..20_000 {
            let verifier = &verifiers[round % 2];
            let mut client = Client::new("wrong");
            // The first flight is also sent whole, so that the later ones are reached.
            let mut spared = random.usize(..3);
            let result =
                sign_in(&mut login(terms(AuthMethod::Scram)), Some(verifier), "u", &mut client, |flight| {
                    match spared.checked_sub(1) {
                        Some(left) => spared = left,
                        None => mutate(random, flight),
                    }
                });
            assert!(result.is_err());
            assert!(!client.signed_in);
        }
    });
}
