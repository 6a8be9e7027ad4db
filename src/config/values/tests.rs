use super::*;
use crate::config::{Consistency, PoolMode};

fn text<V: Value>(text: &str) -> Result<V, String> {
    V::parse(&Scalar::Text(text.to_owned()))
}

#[test]
fn a_duration_is_shown_as_it_can_be_written() {
    let cases = [("200ms", 200), ("5s", 5_000), ("1m", 60_000), ("90s", 90_000), ("1h", 3_600_000)];
    for (written, millis) in cases {
        let read = text::<Duration>(written).expect(written);
        assert_eq!((read, read.show().as_str()), (Duration::from_millis(millis), written));
    }
    assert_eq!(text::<Duration>("60s").expect("60s").show(), "1m");
    assert_eq!(text::<Duration>("0").expect("0").show(), "0");
    assert_eq!(text::<Duration>("0s").expect("0s").show(), "0");
}

#[test]
fn what_is_not_a_duration_is_refused() {
    for written in
        ["", "5", "s", "5 s", " 5s", "5S", "1.5s", "-1s", "1m30s", "99999999999999999h", "+5s", "٣s"]
    {
        assert!(text::<Duration>(written).is_err(), "{written}");
    }
    assert!(Duration::parse(&Scalar::Integer(5)).is_err());
}

#[test]
fn a_size_is_shown_as_it_can_be_written() {
    for (written, bytes) in [("512B", 512), ("64KiB", 65_536), ("8MiB", 8 << 20), ("1GiB", 1 << 30)] {
        let read = text::<Size>(written).expect(written);
        assert_eq!((read.0, read.show().as_str()), (bytes, written));
    }
    for written in ["", "64", "64KB", "64kib", "KiB", "-1KiB", "99999999999GiB"] {
        assert!(text::<Size>(written).is_err(), "{written}");
    }
}

#[test]
fn a_wrong_word_gets_the_right_one() {
    assert_eq!(text::<PoolMode>("session"), Ok(PoolMode::Session));
    let refused = text::<Consistency>("sesion").expect_err("misspelt");
    assert_eq!(refused, "expected one of eventual, bounded, session, token, strong, did you mean session?");
    let refused = text::<Consistency>("zzz").expect_err("no word");
    assert_eq!(refused, "expected one of eventual, bounded, session, token, strong");
}

#[test]
fn numbers_and_flags_may_be_strings() {
    assert_eq!(text::<u32>("20"), Ok(20));
    assert_eq!(text::<bool>("true"), Ok(true));
    for written in ["", "x", "-1", "4294967296", "1.5"] {
        assert!(text::<u32>(written).is_err(), "{written}");
    }
    assert!(u32::parse(&Scalar::Flag(true)).is_err());
}

#[test]
fn variables_are_replaced_once() {
    let env = |name: &str| match name {
        "HOST" => Some("db".to_owned()),
        "EMPTY" => Some(String::new()),
        "TRICK" => Some("${HOST}".to_owned()),
        _ => None,
    };
    let cases = [
        ("plain", "plain"),
        ("${HOST}:5432", "db:5432"),
        ("${HOST}${HOST}", "dbdb"),
        ("${NONE:-local}", "local"),
        ("${EMPTY:-local}", "local"),
        ("${EMPTY}", ""),
        ("${NONE:-}", ""),
        ("${TRICK}", "${HOST}"),
        ("$${HOST}", "${HOST}"),
        ("a$b$", "a$b$"),
        ("SCRAM-SHA-256$4096:x$y:z", "SCRAM-SHA-256$4096:x$y:z"),
    ];
    for (written, meant) in cases {
        assert_eq!(expand(written, &env).as_deref(), Ok(meant), "{written}");
    }
    for written in ["${NONE}", "${", "${HOST", "${}", "${A B}", "${1X}", "${:-x}"] {
        assert!(expand(written, &env).is_err(), "{written}");
    }
}
