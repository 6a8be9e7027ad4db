use super::*;
use crate::fault::Cause;
use crate::postgres::fixtures::{framed, seeded};

fn bytes(append: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = b"before".to_vec();
    append(&mut out);
    out.split_off(6)
}

#[test]
fn faults() {
    let refused = Fault::fatal(Cause::WrongPassword, "no");
    assert_eq!(bytes(|out| fault(&refused, out)), framed(b'E', b"SFATAL\0VFATAL\0C28P01\0Mno\0\0"));
    let hinted = Fault::error(Cause::Internal, "a\0Cb").hint("h\0").code("4\x002");
    assert_eq!(bytes(|out| fault(&hinted, out)), framed(b'E', b"SERROR\0VERROR\0C4\0Ma\0Hh\0\0"));
    let read = error_fields(&bytes(|out| fault(&refused, out))[5..]);
    assert_eq!(read, ErrorFields { severity: "FATAL".into(), code: "28P01".into(), message: "no".into() });
}

#[test]
fn small_ones() {
    assert_eq!(bytes(|out| ready(out, b'T')), b"Z\0\0\0\x05T");
    assert_eq!(bytes(parse_complete), b"1\0\0\0\x04");
    assert_eq!(bytes(close_complete), b"3\0\0\0\x04");
    assert_eq!(bytes(|out| parameter_status("a", "b\0c", out)), b"S\0\0\0\x08a\0b\0");
    let long = "v".repeat(100_000);
    assert_eq!(bytes(|out| parameter_status("a", &long, out)).len(), 5 + 2 + 100_001);
}

#[test]
fn welcomes() {
    let reported = Reported::new(vec![("server_version".to_owned(), "17".to_owned())]);
    for length in [4, 32, 256] {
        let key = CancelKey::new(0xffff_fffe, &vec![7; length]).unwrap();
        let mut expected = b"S\0\0\0\x16server_version\x0017\0K".to_vec();
        expected.extend_from_slice(&u32::try_from(8 + length).unwrap().to_be_bytes());
        expected.extend_from_slice(b"\xff\xff\xff\xfe");
        expected.extend(vec![7; length]);
        expected.extend_from_slice(b"Z\0\0\0\x05I");
        assert_eq!(bytes(|out| welcome(&reported, &key, out)), expected);
    }
}

#[test]
fn fields_of_errors() {
    let check = |body: &[u8], severity: &str, code: &str, message: &str| {
        let expected = ErrorFields { severity: severity.into(), code: code.into(), message: message.into() };
        assert_eq!(error_fields(body), expected, "{}", body.escape_ascii());
    };
    check(b"SERREUR\0VERROR\0C42P01\0Mgone\0\0", "ERROR", "42P01", "gone");
    check(b"SERREUR\0C42P01\0Mgone\0\0", "ERREUR", "42P01", "gone");
    check(b"Mfirst\0Msecond\0\0", "", "XX000", "first");
    check(b"C42P01\0Mcut", "", "42P01", "cut");
    check(b"C42P01\0\0Mbehind the end\0", "", "42P01", "");
    check(b"C42p01\0", "", "XX000", "");
    check(b"C42P0\0", "", "XX000", "");
    check(b"C42P011\0", "", "XX000", "");
    check(b"M\x1b[2Jx\n\xe9\xff\0", "", "XX000", "?[2Jx???");
    check("Mäö\0".as_bytes(), "", "XX000", "äö");
    check(b"", "", "XX000", "");
    check(b"M", "", "XX000", "");
    let long = error_fields(&[b"M".as_slice(), "ä".repeat(5000).as_bytes()].concat());
    assert!(long.message.len() <= MESSAGE_MAX);
}

#[test]
fn no_fields_panic() {
    seeded(|random| {
        for _ in 0..20_000 {
            let body: Vec<u8> =
                (0..random.usize(..40)).map(|_| *random.choice(b"SVCMH\0\0\0a0\xff\x1b").unwrap()).collect();
            let fields = error_fields(&body);
            assert_eq!(fields.code.len(), 5);
        }
    });
}
