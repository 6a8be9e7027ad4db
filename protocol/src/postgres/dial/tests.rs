use super::*;
use crate::handshake::{AuthMethod, Blame, Credential, Login, LoginStep, LoginTerms, Verifier};
use crate::postgres::fixtures::{framed, known, mutate, password, seeded, stored, terms};
use crate::postgres::login::PgLogin;
use crate::postgres::startup::{cancel_request, new_key};
use crate::tracker::Memory;
use std::sync::Arc;

const EC256: &[u8] = include_bytes!("../scram/ec256.der");
const EC384: &[u8] = include_bytes!("../scram/ec384.der");
const ED25519: &[u8] = include_bytes!("../scram/ed25519.der");

fn dial_terms(password: Option<&str>, tls: DialTls) -> DialTerms {
    let password = password.map(|text| Secret::new(text.to_owned()));
    DialTerms { user: "u".to_owned(), password, database: "d".to_owned(), tls, flavour: 0 }
}

/// How a stream of bytes is delivered.
#[derive(Debug, Clone, Copy)]
enum Delivery {
    /// At most so many bytes at a time.
    Pieces(usize),
    /// As it comes, except for a pause behind this byte of either stream.
    Cut(usize),
}

/// One direction between the two machines.
#[derive(Default)]
struct Pipe {
    sent: Vec<u8>,
    delivered: usize,
    inbox: Vec<u8>,
}

impl Pipe {
    /// Delivers some of what was sent. Returns whether anything was.
    fn deliver(&mut self, how: Delivery) -> bool {
        let waiting = self.sent.len() - self.delivered;
        let len = match how {
            Delivery::Pieces(max) => waiting.min(max),
            Delivery::Cut(at) if self.delivered < at => waiting.min(at - self.delivered),
            Delivery::Cut(_) => waiting,
        };
        self.inbox.extend_from_slice(&self.sent[self.delivered..self.delivered + len]);
        self.delivered += len;
        len > 0
    }
}

#[derive(Debug, PartialEq, Eq)]
enum End {
    SignedIn,
    DialFailed(DialError),
    Stuck,
}

struct Meeting {
    end: End,
    memory: Option<PgMemory>,
    to_login: usize,
    to_dial: usize,
}

/// Lets a dial meet a login. The certificates are the one that was shown and the one that was seen.
fn meet(
    dial: DialTerms,
    login: LoginTerms,
    verifier: &Verifier,
    certificates: (Option<&[u8]>, Option<&[u8]>),
    how: Delivery,
) -> Meeting {
    let mut dial = PgDial::new(dial);
    let mut login = PgLogin::new(Arc::new(login));
    let (mut to_login, mut to_dial) = (Pipe::default(), Pipe::default());
    let key = new_key([7; 36], true, 0);
    let reported = [("server_version", "17"), ("TimeZone", "UTC")].map(|(n, v)| (n.to_owned(), v.to_owned()));
    let reported = crate::Reported::new(reported.to_vec());
    dial.start(&mut to_login.sent);
    let mut end = End::Stuck;
    let mut memory = None;
    while end == End::Stuck {
        let mut moved = false;
        if to_login.deliver(how) {
            moved = true;
            let fed = login.feed(&to_login.inbox, &mut to_dial.sent);
            let step = fed.and_then(|(len, step)| {
                to_login.inbox.drain(..len);
                match step {
                    LoginStep::Identify => login.credential(Some(verifier), &mut to_dial.sent),
                    step => Ok(step),
                }
            });
            match step {
                Ok(LoginStep::More) => {}
                Ok(LoginStep::UpgradeTls) => login.tls_started(certificates.0),
                Ok(LoginStep::Done) => messages::welcome(&reported, &key, &mut to_dial.sent),
                Ok(other) => panic!("{other:?}"),
                Err(fault) => messages::fault(&fault, &mut to_dial.sent),
            }
        }
        if to_dial.deliver(how) {
            moved = true;
            match dial.feed(&to_dial.inbox, &mut to_login.sent) {
                Err(error) => end = End::DialFailed(error),
                Ok((len, step)) => {
                    to_dial.inbox.drain(..len);
                    match step {
                        DialStep::More => {}
                        DialStep::UpgradeTls => dial.tls_started(certificates.1, &mut to_login.sent),
                        DialStep::Done(held) => {
                            assert_eq!(held.cancel_key(), &key);
                            assert_eq!(*held.reported(), reported);
                            memory = Some(held);
                            end = End::SignedIn;
                        }
                    }
                }
            }
        }
        if !moved {
            break;
        }
    }
    Meeting { end, memory, to_login: to_login.sent.len(), to_dial: to_dial.sent.len() }
}

const AT_ONCE: Delivery = Delivery::Pieces(usize::MAX);

/// Every way to sign in, right and wrong, in one piece, cut at every byte, and byte by byte.
#[test]
fn dials_meet_logins() {
    let [scram_hash, md5_hash] = stored("right");
    let verifiers = [
        known(AuthMethod::Scram, password("right")),
        known(AuthMethod::Scram, scram_hash),
        known(AuthMethod::Md5, password("right")),
        known(AuthMethod::Md5, md5_hash),
        known(AuthMethod::Trust, Credential::Trust),
    ];
    for verifier in &verifiers {
        for tls in [DialTls::Off, DialTls::Prefer, DialTls::Require] {
            for certificate in [None, Some(EC256), Some(EC384), Some(ED25519)] {
                for given in ["right", "wrong"] {
                    let dialled = |how| {
                        let certificates = (certificate, certificate);
                        meet(
                            dial_terms(Some(given), tls),
                            terms(AuthMethod::Scram),
                            verifier,
                            certificates,
                            how,
                        )
                    };
                    let whole = dialled(AT_ONCE);
                    let right = given == "right" || verifier.method == AuthMethod::Trust;
                    assert_eq!(whole.memory.is_some(), right, "{:?} {verifier:?} {tls:?}", whole.end);
                    if !right {
                        let message = "password authentication failed for user \"u\"".to_owned();
                        let blame = Blame::Identity;
                        let refused = DialError::Refused { code: "28P01".to_owned(), message, blame };
                        assert_eq!(whole.end, End::DialFailed(refused));
                    }
                    // The other combinations differ in the hash that is bound to, or not at all.
                    let distinct =
                        right && tls != DialTls::Prefer && matches!(certificate, None | Some(EC256));
                    let cuts = 1..if distinct { whole.to_login.max(whole.to_dial) } else { 1 };
                    for how in cuts.map(Delivery::Cut).chain([1, 7].map(Delivery::Pieces)) {
                        assert_eq!(dialled(how).end, whole.end, "{how:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn tls_that_is_not_offered() {
    let verifier = known(AuthMethod::Scram, password("right"));
    let plain = || LoginTerms { tls_offered: false, ..terms(AuthMethod::Scram) };
    let end = |tls| meet(dial_terms(Some("right"), tls), plain(), &verifier, (None, None), AT_ONCE).end;
    assert_eq!(end(DialTls::Off), End::SignedIn);
    assert_eq!(end(DialTls::Prefer), End::SignedIn);
    let insufficient = DialError::Insufficient("the database does not offer TLS");
    assert_eq!(end(DialTls::Require), End::DialFailed(insufficient));
}

/// Whoever sits in between shows another certificate.
#[test]
fn another_certificate() {
    let verifier = known(AuthMethod::Scram, password("right"));
    let end = |certificates| {
        let dial = dial_terms(Some("right"), DialTls::Require);
        meet(dial, terms(AuthMethod::Scram), &verifier, certificates, AT_ONCE).end
    };
    for certificates in [(Some(EC256), Some(EC384)), (Some(EC384), Some(EC256))] {
        assert!(matches!(end(certificates), End::DialFailed(DialError::Refused { .. })));
    }
    // The other end cannot bind, or we cannot: without.
    assert_eq!(end((None, Some(EC256))), End::SignedIn);
    assert_eq!(end((Some(EC256), None)), End::SignedIn);
}

/// Feeds a dial a script; returns what it sent in answer to the script and how it ended.
fn script(
    password: Option<&str>,
    tls: bool,
    flights: &[&[u8]],
) -> (Vec<u8>, Result<&'static str, DialError>) {
    let how = if tls { DialTls::Require } else { DialTls::Off };
    let mut dial = PgDial::new(dial_terms(password, how));
    let mut out = Vec::new();
    dial.start(&mut out);
    if tls {
        dial.feed(b"S", &mut out).unwrap();
        dial.tls_started(Some(EC256), &mut out);
    }
    out.clear();
    let mut inbox = Vec::new();
    let mut state = "more";
    for flight in flights {
        inbox.extend_from_slice(flight);
        match dial.feed(&inbox, &mut out) {
            Err(error) => return (out, Err(error)),
            Ok((len, step)) => {
                inbox.drain(..len);
                state = match step {
                    DialStep::More => "more",
                    DialStep::UpgradeTls => "tls",
                    DialStep::Done(_) => "done",
                };
            }
        }
    }
    (out, Ok(state))
}

const OK: &[u8] = b"R\0\0\0\x08\0\0\0\0";
const CLEAR: &[u8] = b"R\0\0\0\x08\0\0\0\x03";
const MD5: &[u8] = b"R\0\0\0\x0c\0\0\0\x05salt";
const SASL: &[u8] = b"R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0";
const KEY: &[u8] = b"K\0\0\0\x0c\0\0\0\x01keys";
const READY: &[u8] = b"Z\0\0\0\x05I";

#[test]
fn the_first_bytes() {
    let mut out = Vec::new();
    PgDial::new(dial_terms(None, DialTls::Prefer)).start(&mut out);
    assert_eq!(out, b"\0\0\0\x08\x04\xd2\x16\x2f");
    out.clear();
    PgDial::new(dial_terms(None, DialTls::Off)).start(&mut out);
    assert_eq!(out, b"\0\0\0\x1b\0\x03\0\0user\0u\0database\0d\0\0");

    let mut zero = PgDial::new(DialTerms { user: "u\0".to_owned(), ..dial_terms(None, DialTls::Off) });
    out.clear();
    zero.start(&mut out);
    assert!(out.is_empty());
    assert!(zero.feed(OK, &mut out).is_err());
}

#[test]
fn answers_to_the_request_for_tls() {
    let check = |tls, answer: &[u8]| {
        let mut dial = PgDial::new(dial_terms(Some("right"), tls));
        let mut out = Vec::new();
        dial.start(&mut out);
        out.clear();
        let result = dial.feed(answer, &mut out).map(|(len, _)| len);
        if result.is_err() {
            assert!(out.is_empty());
            assert!(dial.feed(b"S", &mut out).is_err());
        }
        result
    };
    for tls in [DialTls::Prefer, DialTls::Require] {
        assert_eq!(check(tls, b""), Ok(0));
        assert_eq!(check(tls, b"S"), Ok(1));
        let mut wrong =
            vec![b"SS".to_vec(), b"NE".to_vec(), b"X".to_vec(), b"\0".to_vec(), b"G".to_vec(), b"E".to_vec()];
        wrong.push([b"S", OK].concat());
        wrong.push(framed(b'E', b"C99999\0Mevil\0\0"));
        for answer in wrong {
            let error = check(tls, &answer).unwrap_err();
            assert!(
                matches!(error, DialError::Nonsense(_)) && !error.to_string().contains("evil"),
                "{error}"
            );
        }
    }
    assert_eq!(check(DialTls::Prefer, b"N"), Ok(1));
    assert!(matches!(check(DialTls::Require, b"N"), Err(DialError::Insufficient(_))));
}

#[test]
fn passwords() {
    let (sent, end) = script(Some("right"), true, &[CLEAR, OK, KEY, READY]);
    assert_eq!((sent.as_slice(), end), (b"p\0\0\0\x0aright\0".as_slice(), Ok("done")));
    let (sent, end) = script(Some("right"), false, &[MD5, OK, KEY, READY]);
    let hash = md5_hash(b"u", b"right", *b"salt");
    assert_eq!((&sent[5..40], end), (hash.as_bytes(), Ok("done")));

    for (password, flights, tls) in [
        (Some("right"), CLEAR, false),
        (None, CLEAR, true),
        (None, MD5, true),
        (None, SASL, true),
        (Some("ri\0ght"), CLEAR, true),
        (Some("right"), b"R\0\0\0\x08\0\0\0\x07".as_slice(), true),
        (Some("right"), b"R\0\0\0\x08\0\0\0\x09", true),
        (Some("right"), b"R\0\0\0\x0b\0\0\0\x0aX\0\0", true),
        (Some("right"), b"R\0\0\0\x09\0\0\0\x0a\0", true),
    ] {
        let (sent, end) = script(password, tls, &[flights]);
        assert!(matches!(end, Err(DialError::Insufficient(_))), "{end:?}");
        assert_eq!(sent, b"");
    }
}

#[test]
fn signed_in() {
    let status = &framed(b'S', b"a\0b\0");
    let odd = &framed(b'S', b"a\0\xff\0");
    let long_key = &framed(b'K', &[1; 36]);
    let notice = &framed(b'N', b"Mhello\0\0");
    for flights in [
        [OK, KEY, READY].concat(),
        [OK, status, KEY, status, notice, READY].concat(),
        [notice, OK, status, READY].concat(),
        [b"v\0\0\0\x0c\0\x03\0\0\0\0\0\0", OK, KEY, READY].concat(),
        [OK, odd, long_key, READY].concat(),
    ] {
        assert_eq!(script(None, false, &[&flights]).1, Ok("done"), "{}", flights.escape_ascii());
        let bytes: Vec<&[u8]> = flights.chunks(1).collect();
        assert_eq!(script(None, false, &bytes).1, Ok("done"));
    }
    // Only what was consumed belongs to the handshake.
    let mut dial = PgDial::new(dial_terms(None, DialTls::Off));
    let mut out = Vec::new();
    dial.start(&mut out);
    let more = [OK, KEY, READY, notice].concat();
    match dial.feed(&more, &mut out).unwrap() {
        (len, DialStep::Done(memory)) => {
            assert_eq!(len, more.len() - notice.len());
            assert_eq!(cancel_request(memory.cancel_key()), b"\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\x01keys");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn refusals() {
    for (body, code, message) in [
        (b"SFATAL\0C3D000\0Mno such database\0\0".as_slice(), "3D000", "no such database"),
        (b"Mno\x1b code\0\0", "XX000", "no? code"),
        (b"", "XX000", ""),
        (b"Ccut", "XX000", ""),
    ] {
        let error = framed(b'E', body);
        for before in [b"".as_slice(), OK, MD5] {
            let (code, message, blame) = (code.to_owned(), message.to_owned(), blame(code));
            let refused = DialError::Refused { code, message, blame };
            assert_eq!(script(Some("right"), false, &[before, &error]).1, Err(refused));
        }
    }
}

#[test]
fn nonsense() {
    let huge = |tag: u8, length: u32| [&[tag], length.to_be_bytes().as_slice()].concat();
    let mut many = Vec::new();
    for n in 0..=REPORTED_MAX {
        messages::parameter_status(&format!("a{n}"), "b", &mut many);
    }
    let notices = b"N\0\0\0\x05\0".repeat(2000);
    let cases: Vec<Vec<u8>> = vec![
        huge(b'R', 0),
        huge(b'R', 1),
        huge(b'R', 3),
        huge(b'R', 4),
        huge(b'R', 0x7fff_ffff),
        huge(b'R', 0x8000_0000),
        huge(b'R', 0xffff_ffff),
        huge(b'R', 9000),
        huge(b'E', (1 << 20) + 5),
        huge(b'S', 9000),
        huge(b'D', 8),
        b"H".repeat(20),
        READY.to_vec(),
        KEY.to_vec(),
        b"S\0\0\0\x08a\0b\0".to_vec(),
        b"v\0\0\0\x0c\0\x03\0\x02\0\0\0\0".to_vec(),
        b"v\0\0\0\x0c\0\x03\0\0\0\0\0\x01".to_vec(),
        b"v\0\0\0\x04".to_vec(),
        b"R\0\0\0\x09\0\0\0\0x".to_vec(),
        b"R\0\0\0\x0b\0\0\0\x05sal".to_vec(),
        b"R\0\0\0\x08\0\0\0\x0b".to_vec(),
        b"R\0\0\0\x08\0\0\0\x0c".to_vec(),
        b"R\0\0\0\x08\0\0\0\x63".to_vec(),
        [OK, OK].concat(),
        [OK, MD5].concat(),
        [MD5, MD5].concat(),
        [MD5, SASL].concat(),
        // A server that skips its own proof.
        [SASL, OK].concat(),
        [SASL, SASL].concat(),
        [SASL, MD5].concat(),
        [SASL, b"R\0\0\0\x08\0\0\0\x0c"].concat(),
        [OK, b"Z\0\0\0\x05T"].concat(),
        [OK, b"Z\0\0\0\x06II"].concat(),
        [OK, b"K\0\0\0\x0b\0\0\0\x01key"].concat(),
        [OK, b"S\0\0\0\x06a\0"].concat(),
        [OK, b"S\0\0\0\x07a\0b"].concat(),
        [OK, b"S\0\0\0\x0aa\0b\0c\0"].concat(),
        [OK, b"S\0\0\0\x07\0b\0"].concat(),
        [OK, &many].concat(),
        notices,
        [OK, b"D\0\0\0\x04"].concat(),
        [OK, b"v\0\0\0\x0c\0\x03\0\0\0\0\0\0"].concat(),
    ];
    for case in cases {
        let (_, end) = script(Some("right"), false, &[&case]);
        assert!(
            matches!(end, Err(DialError::Nonsense(_))),
            "{end:?} {}",
            case[..case.len().min(60)].escape_ascii()
        );
    }
}

/// What a server may answer to our first SCRAM message. `nonce` is ours.
fn after_first(reply: impl Fn(&str) -> String) -> Result<&'static str, DialError> {
    let mut dial = PgDial::new(dial_terms(Some("right"), DialTls::Off));
    let mut out = Vec::new();
    dial.start(&mut out);
    out.clear();
    dial.feed(SASL, &mut out).unwrap();
    let text = String::from_utf8_lossy(&out).into_owned();
    let data = reply(text.split_once("r=").unwrap().1);
    let message = framed(b'R', &[b"\0\0\0\x0b", data.as_bytes()].concat());
    dial.feed(&message, &mut out).map(|_| "more")
}

#[test]
fn server_first_messages() {
    assert_eq!(after_first(|nonce| format!("r={nonce}x,s=c2FsdA==,i=1")), Ok("more"));
    let started = std::time::Instant::now();
    for iterations in ["100001", "2147483648", "4294967297", "18446744073709551615"] {
        let end = after_first(|nonce| format!("r={nonce}x,s=c2FsdA==,i={iterations}"));
        assert!(matches!(end, Err(DialError::Insufficient(_))), "{end:?}");
    }
    assert!(started.elapsed() < std::time::Duration::from_secs(20));
    for reply in [
        "",
        "r=",
        "r={},s=c2FsdA==",
        "r={}x,s=c2FsdA==,i=0",
        "r={}x,s=c2FsdA==,i=",
        "r={}x,s=c2FsdA==,i=-1",
        "r={}x,s=c2FsdA==,i=99999999999999999999",
        "r={}x,s=%,i=1",
        "r=other,s=c2FsdA==,i=1",
        "s=c2FsdA==,i=1",
        "m=x,r={}x,s=c2FsdA==,i=1",
        "r={}x,s=c2FsdA==,i=1,x=y",
        "e=other-error",
    ] {
        let end = after_first(|nonce| reply.replace("{}", nonce));
        assert!(matches!(end, Err(DialError::Nonsense(_))), "{end:?} {reply}");
    }
    // Nonces and salts of any length up to the bound of a message.
    for length in [1, 100, 4000] {
        assert_eq!(
            after_first(|nonce| format!("r={nonce}{},s=c2FsdA==,i=1", "x".repeat(length))),
            Ok("more")
        );
    }
    let end = after_first(|nonce| format!("r={nonce}{},s=c2FsdA==,i=1", "x".repeat(64 << 10)));
    assert!(matches!(end, Err(DialError::Nonsense(_))));
}

/// A server that does not know the password cannot say that we are signed in.
#[test]
fn a_wrong_server_proof() {
    let mut dial = PgDial::new(dial_terms(Some("right"), DialTls::Off));
    let mut out = Vec::new();
    dial.start(&mut out);
    out.clear();
    dial.feed(SASL, &mut out).unwrap();
    let nonce = String::from_utf8_lossy(&out).split_once("r=").unwrap().1.to_owned();
    let data = format!("r={nonce}x,s=c2FsdA==,i=1");
    let message = framed(b'R', &[b"\0\0\0\x0b", data.as_bytes()].concat());
    dial.feed(&message, &mut out).unwrap();
    let proof = b"R\0\0\0\x36\0\0\0\x0cv=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    assert!(matches!(dial.feed(proof, &mut out), Err(DialError::Nonsense(_))));
    assert!(dial.feed(OK, &mut out).is_err());
}

#[test]
fn broken_scripts_do_not_panic() {
    let seeds = [
        [OK, b"S\0\0\0\x08a\0b\0", KEY, READY].concat(),
        [MD5, OK, KEY, READY].concat(),
        [CLEAR, OK, KEY, READY].concat(),
        [SASL, b"R\0\0\0\x20\0\0\0\x0br=x,s=c2FsdA==,i=4096"].concat(),
        b"E\0\0\0\x18SFATAL\0C3D000\0Mno\0\0".to_vec(),
        [b"v\0\0\0\x0c\0\x03\0\0\0\0\0\0", OK].concat(),
    ];
    seeded(|random| {
        for round in 0..60_000 {
            let mut input = seeds[round % seeds.len()].clone();
            mutate(random, &mut input);
            let _ = script(Some("right"), random.bool(), &[&input]);
        }
    });
}
