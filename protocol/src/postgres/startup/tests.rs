use super::*;
use crate::postgres::fixtures::{mutate, seeded};

/// A packet of this code.
pub fn framed(code: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(8 + payload.len()).unwrap();
    [&length.to_be_bytes(), &code.to_be_bytes(), payload].concat()
}

fn read(input: &[u8]) -> Result<Option<(usize, Packet)>, Fault> {
    packet(input)
}

fn hello_of(version: u32, payload: &[u8]) -> Result<Hello, Fault> {
    match read(&framed(version, payload))? {
        Some((_, Packet::Hello(hello))) => Ok(hello),
        other => panic!("{other:?}"),
    }
}

fn cause(result: Result<Hello, Fault>) -> Cause {
    result.expect_err("it should be refused").cause
}

const V3: u32 = 3 << 16;

#[test]
fn lengths() {
    for bad in [0u32, 1, 3, 4, 7, 10_005, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff] {
        assert!(read(&bad.to_be_bytes()).is_err(), "{bad:#x}");
    }
    assert!(read(&8u32.to_be_bytes()).unwrap().is_none());
    assert!(read(&10_004u32.to_be_bytes()).unwrap().is_none());
    let mut longest = b"user\0u\0a\0".to_vec();
    longest.resize(10_000 - 4 - 2, b'x');
    longest.extend_from_slice(b"\0\0");
    let hello = hello_of(V3, &longest).unwrap();
    assert_eq!(hello.greeting.settings[0].1.len(), 10_000 - 4 - 2 - 9);
}

#[test]
fn codes() {
    assert!(matches!(read(&framed(SSL_REQUEST, b"")), Ok(Some((8, Packet::Tls)))));
    assert!(matches!(read(&framed(GSS_REQUEST, b"")), Ok(Some((8, Packet::Gss)))));
    assert!(matches!(read(b"\x16\x03\x01"), Ok(Some((0, Packet::DirectTls)))));
    assert!(read(&framed(SSL_REQUEST, b"\0")).is_err());
    for old in [2 << 16, 4 << 16, 0, 1234 << 16 | 5677] {
        assert_eq!(read(&framed(old, b"user\0u\0\0")).unwrap_err().cause, Cause::NotSupported);
    }
    // What follows a packet is not looked at.
    let two = [framed(SSL_REQUEST, b""), b"x".to_vec()].concat();
    assert!(matches!(read(&two), Ok(Some((8, Packet::Tls)))));
}

#[test]
fn cancel_keys() {
    for length in [4, 5, 32, 256] {
        let key = CancelKey::new(4_000_000_000, &vec![9; length]).unwrap();
        let request = cancel_request(&key);
        assert_eq!(request.len(), 12 + length);
        for cut in 0..request.len() {
            assert!(read(&request[..cut]).unwrap().is_none());
        }
        match read(&request).unwrap() {
            Some((len, Packet::Cancel(read))) => assert_eq!((len, read), (request.len(), key)),
            other => panic!("{other:?}"),
        }
    }
    for length in [0, 1, 3, 257, 1000] {
        assert_eq!(CancelKey::new(1, &vec![9; length]), None);
        assert!(read(&framed(CANCEL_REQUEST, &vec![0; 4 + length])).is_err());
    }
    assert!(read(&framed(CANCEL_REQUEST, b"")).is_err());
    let mut random = [0xff; 36];
    assert_eq!(new_key(random, true, 0), CancelKey::new(0x7fff_ffff, &[0xff; 32]).unwrap());
    random[..4].fill(0);
    random[0] = 0x80;
    assert_eq!(new_key(random, false, 0), CancelKey::new(1, &[0xff; 4]).unwrap());
    assert_eq!(format!("{:?}", new_key(random, false, 0)), "CancelKey { pid: 1, .. }");
}

#[test]
fn versions() {
    let payload = b"user\0u\0\0";
    for (version, long_keys, granted) in [
        (V3, false, None),
        (V3 | 1, false, None),
        (V3 | 2, true, None),
        (V3 | 3, true, Some(V3 | 2)),
        (V3 | 9999, true, Some(V3 | 2)),
    ] {
        let hello = hello_of(version, payload).unwrap();
        assert_eq!(hello.greeting.long_keys, long_keys);
        assert_eq!(hello.negotiate, granted.map(|version| (version, vec![])));
    }
    let hello = hello_of(V3, b"_pq_.a\0x\0user\0u\0_pq_.b\0y\0\0").unwrap();
    assert_eq!(hello.negotiate, Some((V3, vec!["_pq_.a".to_owned(), "_pq_.b".to_owned()])));
    assert!(hello.greeting.settings.is_empty());
}

#[test]
fn parameters() {
    let greeting =
        hello_of(V3, b"user\0u\0DateStyle\0ISO, MDY\0database\0\0application_name\0\0\0").unwrap().greeting;
    assert_eq!((greeting.user.as_str(), greeting.database.as_str()), ("u", "u"));
    let settings =
        [("datestyle".to_owned(), "ISO, MDY".to_owned()), ("application_name".to_owned(), String::new())];
    assert_eq!(greeting.settings, settings);
    let named = hello_of(V3, b"database\0d\0user\0u\0replication\0FALSE\0\0").unwrap().greeting;
    assert_eq!(named.database, "d");

    for layout in [
        b"".as_slice(),
        b"user\0u\0",
        b"user\0u",
        b"user\0",
        b"user",
        b"user\0u\0\0x",
        b"user\0u\0\0\0",
        b"\0user\0u\0\0",
        b"user\0u\0user\0u\0\0",
        b"user\0u\0A\0b\0a\0c\0\0",
        b"user\0u\0database\0a\0database\0a\0\0",
        b"user\0u\0options\0\0options\0\0\0",
        b"user\0\xff\0\0",
        b"user\0u\0a b\0c\0\0",
        b"user\0u\0a'\0c\0\0",
        b"user\0u\x001a\0c\0\0",
    ] {
        assert_eq!(cause(hello_of(V3, layout)), Cause::ProtocolViolation, "{}", layout.escape_ascii());
    }
    for nameless in [b"\0".as_slice(), b"user\0\0\0", b"database\0d\0\0"] {
        assert_eq!(cause(hello_of(V3, nameless)), Cause::NotAllowed);
    }
    for replication in ["true", "database", "1", "on", "", "o", "nonsense"] {
        let payload = format!("user\0u\0replication\0{replication}\0\0");
        assert_eq!(cause(hello_of(V3, payload.as_bytes())), Cause::NotSupported);
    }
    let many = |count: usize| {
        let settings: String = (0..count).map(|n| format!("a{n}\0\0")).collect();
        hello_of(V3, format!("user\0u\0{settings}\0").as_bytes())
    };
    assert_eq!(many(SETTINGS_MAX).unwrap().greeting.settings.len(), SETTINGS_MAX);
    assert_eq!(cause(many(SETTINGS_MAX + 1)), Cause::ProtocolViolation);
}

#[test]
fn options_as_postgresql_splits_them() {
    let settings = |options: &str| {
        let payload = format!("user\0u\0options\0{options}\0lock_timeout\0packet\0\0");
        let greeting = hello_of(V3, payload.as_bytes())?.greeting;
        let shown: Vec<String> =
            greeting.settings.iter().map(|(name, value)| format!("{name}={value}")).collect();
        Ok::<_, Fault>(shown.join(";"))
    };
    for (options, expected) in [
        ("", "lock_timeout=packet"),
        (" \t\n ", "lock_timeout=packet"),
        ("-c a=1", "lock_timeout=packet;a=1"),
        ("-ca=1", "lock_timeout=packet;a=1"),
        ("--a=1", "lock_timeout=packet;a=1"),
        ("  -c   a=1  --b-c=2 ", "lock_timeout=packet;a=1;b_c=2"),
        ("-c A=1 -c a=2", "lock_timeout=packet;a=2"),
        ("-c lock_timeout=5", "lock_timeout=packet"),
        (r"-c a=b\ c\\d\e", r"lock_timeout=packet;a=b c\de"),
        (r"-c a=b\", "lock_timeout=packet;a=b"),
        ("-c a==", "lock_timeout=packet;a=="),
        ("-c a=", "lock_timeout=packet;a="),
        ("-c search_path=a,b", "lock_timeout=packet;search_path=a,b"),
        ("-c s.x=ü", "lock_timeout=packet;s.x=ü"),
    ] {
        assert_eq!(settings(options).unwrap(), expected, "{options:?}");
    }
    // The first of these sent PgBouncer into an endless loop (CVE-2026-107349).
    for malformed in ["-c=", "-c =", "-c", "-c a", "--", "--=", "--a", "-c 'a'=1", "-c -c a=1"] {
        assert_eq!(settings(malformed).unwrap_err().cause, Cause::ProtocolViolation, "{malformed:?}");
    }
    for other in ["-e", "a=1", "-d 5", "-", r"\-c a=1 x"] {
        assert_eq!(settings(other).unwrap_err().cause, Cause::NotSupported, "{other:?}");
    }
}

#[test]
fn cut_packets_are_incomplete() {
    let whole = framed(V3 | 2, b"user\0u\0options\0-c a=b\0DateStyle\0ISO\0_pq_.x\0y\0\0");
    for cut in 0..whole.len() {
        assert!(read(&whole[..cut]).unwrap().is_none(), "{cut}");
    }
    assert_eq!(read(&whole).unwrap().unwrap().0, whole.len());
}

#[test]
fn nothing_panics() {
    let seeds = [
        framed(V3 | 2, b"user\0u\0options\0-c a=b\\ c --x=y\0DateStyle\0ISO\0_pq_.x\0y\0replication\0no\0\0"),
        framed(SSL_REQUEST, b""),
        cancel_request(&new_key([1; 36], true, 0)),
    ];
    seeded(|random| {
        for round in 0..60_000 {
            let mut input = seeds[round % seeds.len()].clone();
            mutate(random, &mut input);
            if random.bool() {
                let length = u32::try_from(input.len()).unwrap().to_be_bytes();
                input.iter_mut().zip(length).for_each(|(place, byte)| *place = byte);
            }
            if let Ok(Some((len, _))) = read(&input) {
                assert!(len <= input.len());
            }
        }
    });
}
