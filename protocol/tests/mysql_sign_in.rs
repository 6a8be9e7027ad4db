//! The two halves of a MySQL handshake, ours, against each other: every way to sign in, right
//! and wrong, delivered in pieces and with bytes changed.

#![allow(clippy::unwrap_used)]

use protocol::handshake::{
    AuthMethod, Credential, Dial, DialError, DialStep, DialTerms, DialTls, Login, LoginStep, LoginTerms,
    Verifier,
};
use protocol::key_pair::KeyPair;
use protocol::mysql::{MyDial, MyLogin, MySql};
use protocol::own::Errand;
use protocol::tracker::Memory;
use protocol::{Fault, Protocol, Secret};
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

/// What PostgreSQL keeps of the password "secret".
const SCRAM: &str = "SCRAM-SHA-256$4096:AQIDBAUGBwgJCgsMDQ4PEA==$8rrDg00OqaiWXJ7p\
             +sCgHEIaBSHY89ZJl3mfIsf32oY=:05L1f+yZbiN8O0AnO40Og85NNRhvzTS57naKRWCcsIA=";

/// One for all tests: making it takes longer than they do.
fn key_pair() -> Arc<KeyPair> {
    static KEY_PAIR: OnceLock<Arc<KeyPair>> = OnceLock::new();
    Arc::clone(KEY_PAIR.get_or_init(|| Arc::new(KeyPair::generate().unwrap())))
}

fn terms(plugin: &str, tls: bool) -> LoginTerms {
    let announced = [("version", "10.11.9-MariaDB"), ("default_authentication_plugin", plugin)];
    LoginTerms {
        tls_offered: tls,
        tls_required: false,
        method: AuthMethod::Scram,
        mock_secret: Arc::new([5; 32]),
        announced: protocol::Reported::new(
            announced.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
        ),
        key_pair: Some(key_pair()),
        next_number: Arc::default(),
    }
}

fn dial(password: Option<&str>, tls: DialTls) -> MyDial {
    MyDial::new(DialTerms {
        user: "u".to_owned(),
        password: password.map(|password| Secret::new(password.to_owned())),
        database: "app".to_owned(),
        tls,
        flavour: 0,
    })
}

fn known(text: &str) -> Verifier {
    let secret = Secret::new(text.to_owned());
    let credential = if text.starts_with(['*', 'S']) && text != "Secret" {
        Credential::Verifier(secret)
    } else {
        Credential::Password(secret)
    };
    Verifier { method: AuthMethod::Scram, credential, stretched: None }
}

#[derive(Debug)]
enum End {
    Both,
    Refused(Fault),
    DialFailed(DialError),
}

/// Lets both talk, at most `piece` bytes at a time; `spoil` changes what the client sends.
fn converse(
    mut login: MyLogin,
    mut dial: MyDial,
    verifier: Option<&Verifier>,
    piece: usize,
    mut spoil: impl FnMut(&mut Vec<u8>),
) -> Option<End> {
    let (mut to_client, mut to_server, mut at_client, mut at_server) = (vec![], vec![], vec![], vec![]);
    login.start(&mut to_client);
    dial.start(&mut to_server);
    let mut welcome = false;
    for _ in 0..2000 {
        let n = piece.min(to_client.len());
        at_client.extend(to_client.drain(..n));
        let mut said = Vec::new();
        let (used, step) = match dial.feed(&at_client, &mut said) {
            Ok(step) => step,
            Err(error) => return Some(End::DialFailed(error)),
        };
        at_client.drain(..used);
        match step {
            DialStep::More => {}
            DialStep::UpgradeTls => {
                spoil(&mut said);
                let (used, step) = match login.feed(&said, &mut to_client) {
                    Ok(step) => step,
                    Err(fault) => return Some(End::Refused(fault)),
                };
                if used != said.len() || !matches!(step, LoginStep::DirectTls { alpn: None }) {
                    return None;
                }
                said.clear();
                login.tls_started(None);
                dial.tls_started(None, &mut said);
            }
            DialStep::Done(memory) => {
                assert!(memory.reported().value("version").is_some());
                return Some(End::Both);
            }
        }
        spoil(&mut said);
        to_server.extend(said);
        let n = piece.min(to_server.len());
        at_server.extend(to_server.drain(..n));
        if welcome {
            // What comes now is the session's: the trackers are switched on.
            if at_server.len() > 4 && to_server.is_empty() {
                to_client.extend_from_slice(b"\x07\0\0\x01\0\0\0\x02\0\0\0");
                at_server.clear();
            }
            continue;
        }
        let (used, mut step) = match login.feed(&at_server, &mut to_client) {
            Ok(step) => step,
            Err(fault) => return Some(End::Refused(fault)),
        };
        at_server.drain(..used);
        if matches!(step, LoginStep::Identify) {
            step = match login.credential(verifier, &mut to_client) {
                Ok(step) => step,
                Err(fault) => return Some(End::Refused(fault)),
            };
        }
        if matches!(step, LoginStep::Done) {
            let key = login.key().unwrap();
            login.welcome(&protocol::Reported::default(), &key, &mut to_client);
            welcome = true;
        }
    }
    None
}

#[test]
fn every_way_in_and_none_other() {
    let stored = "*14E65567ABDB5135D0CFD9A70B3032C179A49EE7";
    for plugin in ["mysql_native_password", "caching_sha2_password"] {
        for piece in [1, 7, 4096] {
            for (known_as, password, good) in [
                (Some("secret"), Some("secret"), true),
                (Some("secret"), Some("Secret"), false),
                (Some("secret"), None, false),
                (Some("secret"), Some(""), false),
                (None, Some("secret"), false),
                (None, None, false),
                (Some(stored), Some("secret"), true),
                (Some(stored), Some("Secret"), false),
                (Some("*nonsense"), Some("secret"), false),
                (Some("SCRAM-SHA-256$4096"), Some("secret"), false),
                (Some(SCRAM), Some("secret"), true),
                (Some(SCRAM), Some("Secret"), false),
                (Some(SCRAM), None, false),
            ] {
                let login = MyLogin::new(Arc::new(terms(plugin, false)));
                let verifier = known_as.map(known);
                let end = converse(login, dial(password, DialTls::Off), verifier.as_ref(), piece, |_| {});
                match end.unwrap() {
                    End::Both => assert!(good, "{plugin} {known_as:?} {password:?} {piece}"),
                    End::Refused(fault) => {
                        assert!(!good, "{plugin} {known_as:?} {password:?} {piece} {fault:?}");
                        assert!(fault.message.starts_with("Access denied"), "{fault:?}");
                    }
                    End::DialFailed(error) => panic!("{error}"),
                }
            }
        }
    }
}

#[test]
fn tls_is_asked_for_before_a_name_is_told() {
    for (offered, wanted, good) in
        [(true, DialTls::Require, true), (true, DialTls::Prefer, true), (false, DialTls::Require, false)]
    {
        let login = MyLogin::new(Arc::new(terms("caching_sha2_password", offered)));
        let end = converse(login, dial(Some("secret"), wanted), Some(&known("secret")), 4096, |_| {});
        match end.unwrap() {
            End::Both => assert!(good),
            End::DialFailed(DialError::Insufficient(_)) => assert!(!good),
            other => panic!("{other:?}"),
        }
    }
    let required = LoginTerms { tls_required: true, ..terms("caching_sha2_password", true) };
    let login = MyLogin::new(Arc::new(required));
    let end = converse(login, dial(Some("secret"), DialTls::Off), Some(&known("secret")), 4096, |_| {});
    let Some(End::Refused(fault)) = end else { panic!("{end:?}") };
    assert!(fault.message.contains("insecure"), "{fault:?}");
}

/// The answer of a client that names `caching_sha2_password` and a proof that is wrong.
fn wrong_proof() -> Vec<u8> {
    with_proof(&[7; 32])
}

fn with_proof(proof: &[u8]) -> Vec<u8> {
    let mut payload = (1u32 << 9 | 1 << 15 | 1 << 19).to_le_bytes().to_vec();
    payload.extend_from_slice(&[0, 0, 0, 1, 45]);
    payload.extend_from_slice(&[0; 23]);
    payload.extend_from_slice(b"u\0");
    payload.push(u8::try_from(proof.len()).unwrap());
    payload.extend_from_slice(proof);
    payload.extend_from_slice(b"caching_sha2_password\0");
    packet(1, &payload)
}

/// Some clients send nothing in the place of a proof, some a zero byte; neither waits to be asked for more.
#[test]
fn who_has_no_password_is_refused_at_once() {
    for proof in [&b""[..], b"\0"] {
        let mut login = MyLogin::new(Arc::new(terms("caching_sha2_password", false)));
        let mut out = Vec::new();
        login.start(&mut out);
        login.feed(&with_proof(proof), &mut out).unwrap();
        out.clear();
        let told = login.credential(Some(&known("secret")), &mut out);
        assert!(told.is_err_and(|fault| fault.message.ends_with("(using password: NO)")), "{proof:?}");
        assert!(out.is_empty(), "{out:?}");
    }
}

fn packet(sequence: u8, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap().to_le_bytes();
    [&len[..3], &[sequence], payload].concat()
}

#[test]
fn a_password_is_taken_only_where_nobody_can_listen() {
    for (private, has_key, said, good) in [
        (false, true, b"secret\0".to_vec(), false),
        (false, true, b"\x02".to_vec(), true),
        (false, false, b"\x02".to_vec(), false),
        (true, true, b"secret\0".to_vec(), true),
        (true, false, b"secret\0".to_vec(), true),
        (true, true, b"secret".to_vec(), false),
        (true, true, b"\x02".to_vec(), false),
        (true, true, b"".to_vec(), false),
    ] {
        let key_pair = has_key.then(key_pair);
        let mut login =
            MyLogin::new(Arc::new(LoginTerms { key_pair, ..terms("caching_sha2_password", false) }));
        if private {
            login.in_private();
        }
        let mut out = Vec::new();
        login.start(&mut out);
        let (_, step) = login.feed(&wrong_proof(), &mut out).unwrap();
        assert!(matches!(step, LoginStep::Identify));
        out.clear();
        // Users of all kinds are asked alike.
        let known = known("secret");
        let step = login.credential(Some(&known), &mut out);
        if !private && !has_key {
            assert!(step.is_err_and(|fault| fault.message.starts_with("Access denied")));
            continue;
        }
        assert!(matches!(step, Ok(LoginStep::More)));
        assert_eq!(out, packet(2, &[1, 4]));
        out.clear();
        let answered = login.feed(&packet(3, &said), &mut out);
        match answered {
            Ok((_, LoginStep::Done)) => assert!(good && private, "{said:?}"),
            Ok((_, LoginStep::More)) => {
                assert!(good && !private && out.starts_with(&packet(4, &out[4..])), "{out:?}");
                assert!(out[5..].starts_with(b"-----BEGIN PUBLIC KEY-----\n"));
                // Once is enough.
                assert!(login.feed(&packet(5, b"\x02"), &mut out).is_err());
            }
            Err(fault) => assert!(!good && fault.message.starts_with("Access denied"), "{said:?} {fault:?}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn changed_bytes_do_no_harm() {
    let mut random = fastrand::Rng::with_seed(9);
    for _ in 0..3_000 {
        let login = MyLogin::new(Arc::new(terms("mysql_native_password", random.bool())));
        let tls = if random.bool() { DialTls::Prefer } else { DialTls::Off };
        let mut changes = random.usize(1..3);
        let spoil = |bytes: &mut Vec<u8>| {
            // The user's name and the schema's stand behind the fixed part and are asserted on.
            let end = bytes.len().min(36);
            if end > 0 && changes > 0 {
                changes -= 1;
                let at = random.usize(..end);
                bytes[at] = random.u8(..);
            }
        };
        let _ = converse(login, dial(Some("secret"), tls), Some(&known("secret")), 4096, spoil);
    }
    for _ in 0..20_000 {
        let mut greeting = b"\x50\0\0\0\x0a10.11.1-MariaDB\0\x05\0\0\0abcdefgh\0".to_vec();
        greeting.extend_from_slice(&[0xff, 0xff, 45, 2, 0, 0xff, 0xff, 21]);
        greeting.extend_from_slice(b"\0\0\0\0\0\0\0\0\0\0ijklmnopqrst\0mysql_native_password\0");
        for _ in 0..random.usize(1..4) {
            let at = random.usize(..greeting.len());
            greeting[at] = random.u8(..);
        }
        let mut dial = dial(Some("secret"), DialTls::Off);
        let _ = dial.feed(&greeting, &mut Vec::new());
    }
}

/// The greetings of servers that cannot be run here: version, abilities, collation and method, as each announces them.
/// What a session leaves is asked for in the words of the family.
#[test]
fn every_version_is_understood_by_what_it_announces() {
    const NATIVE: &str = "mysql_native_password";
    const SHA2: &str = "caching_sha2_password";
    // utf8mb4_0900_ai_ci from 8.0 on, latin1_swedish_ci and utf8mb4_general_ci before and on MariaDB.
    for (version, abilities, collation, plugin, is_mariadb) in [
        ("5.7.44-log", 0xc1ff_ffff_u32, 8, NATIVE, false),
        ("8.0.21", 0xc7ff_ffff, 255, SHA2, false),
        ("8.0.36-28", 0xdfff_ffff, 255, NATIVE, false),
        ("8.4.3", 0xdfff_ffff, 255, SHA2, false),
        ("9.7.0-commercial", 0xdfff_ffff, 255, SHA2, false),
        ("5.5.5-10.4.34-MariaDB-log", 0x81ff_f7fe, 45, NATIVE, true),
        ("11.4.2-MariaDB-ubu2404", 0x81ff_f7fe, 45, NATIVE, true),
    ] {
        let caps = abilities.to_le_bytes();
        let mut payload = [&[10], version.as_bytes(), b"\0\x05\0\0\0abcdefgh\0", &caps[..2]].concat();
        payload.extend_from_slice(&[collation, 2, 0, caps[2], caps[3], 21]);
        payload.extend_from_slice(b"\0\0\0\0\0\0\0\0\0\0ijklmnopqrst\0");
        payload.extend_from_slice(plugin.as_bytes());
        payload.push(0);
        let greeting = [&[u8::try_from(payload.len()).unwrap(), 0, 0, 0], payload.as_slice()].concat();
        let mut dial = dial(None, DialTls::Off);
        let mut said = Vec::new();
        dial.start(&mut said);
        let mut feed =
            |bytes: &[u8]| dial.feed(bytes, &mut said).unwrap_or_else(|e| panic!("{version}: {e}")).1;
        assert!(matches!(feed(&greeting), DialStep::More), "{version}");
        let ok = |sequence: u8| [7, 0, 0, sequence, 0, 0, 0, 2, 0, 0, 0];
        assert!(matches!(feed(&ok(2)), DialStep::More), "{version}: the trackers are switched on");
        let DialStep::Done(memory) = feed(&ok(1)) else { panic!("{version}: not signed in") };
        assert_eq!(memory.reported().value("version"), Some(version));
        let mut asked = Vec::new();
        MySql::encode_errand(&Errand::Inspect { names: &[], things: &[] }, &memory, &mut asked);
        let asks = |words: &str| asked.windows(words.len()).any(|have| have == words.as_bytes());
        assert_eq!(asks("information_schema.USER_VARIABLES"), is_mariadb, "{version}");
        assert_eq!(asks("performance_schema.user_variables_by_thread"), !is_mariadb, "{version}");
    }
}

/// A proof is taken by the nonce of the greeting, as databases do, and by none but this connection's.
#[test]
fn who_becomes_another_proves_it_by_the_greeting_or_by_a_new_nonce() {
    const PLUGIN: &str = "mysql_native_password";
    // The numbers that are told begin again some day.
    for (first, since) in [(0, 0), (5, 1_000), ((1 << 31) - 1, 1), (3 << 31, (1 << 31) - 2)] {
        let terms = Arc::new(terms(PLUGIN, false));
        terms.next_number.store(first, Ordering::Relaxed);
        let mut login = MyLogin::new(Arc::clone(&terms));
        let key = login.key().unwrap();
        let mut greeting = Vec::new();
        login.start(&mut greeting);
        let proof = |greeting: &[u8]| {
            let mut said = Vec::new();
            dial(Some("secret"), DialTls::Off).feed(greeting, &mut said).unwrap();
            let at = said.windows(3).position(|bytes| bytes == b"u\0\x14").unwrap() + 3;
            said[at..at + 20].to_vec()
        };
        let right = proof(&greeting);
        let mut stranger = Vec::new();
        MyLogin::new(Arc::clone(&terms)).start(&mut stranger);
        terms.next_number.fetch_add(since, Ordering::Relaxed);
        for (proof, good) in [(right.clone(), true), (vec![9; 20], false), (proof(&stranger), false)] {
            for known_as in [Some("secret"), Some("Secret"), None] {
                let mut login = MyLogin::again(Arc::clone(&terms), !0, &key).unwrap();
                let mut payload = [b"\x11u\0\x14", &proof[..], b"app\0\x2d\0"].concat();
                payload.extend_from_slice(PLUGIN.as_bytes());
                payload.push(0);
                let packet = [&[payload.len() as u8, 0, 0, 0], &payload[..]].concat();
                let mut out = Vec::new();
                let (used, step) = login.feed(&packet, &mut out).unwrap();
                assert!(used == packet.len() && matches!(step, LoginStep::Identify));
                let step = login.credential(known_as.map(known).as_ref(), &mut out).unwrap();
                if good && known_as == Some("secret") {
                    assert!(matches!(step, LoginStep::Done) && out.is_empty());
                    continue;
                }
                // Everybody else is asked once more, by a nonce of its own.
                assert!(matches!(step, LoginStep::More), "{known_as:?} {good}");
                let switched = &out[5 + PLUGIN.len() + 1..][..20];
                assert!(!greeting.windows(12).any(|bytes| bytes == &switched[8..]));
                let packet = [&[20, 0, 0, 2], &right[..]].concat();
                assert!(login.feed(&packet, &mut out).is_err());
            }
        }
    }
}
