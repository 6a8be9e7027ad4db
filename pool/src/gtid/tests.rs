use super::Gtids;

const A: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
const B: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429563";

/// `A` and `B` stand for two UUIDs; a text with a UUID is MySQL's.
fn set(text: &str) -> Gtids {
    let text = text.replace('A', A).replace('B', B);
    let set = if text.contains(':') { Gtids::mysql(&text) } else { Gtids::mariadb(&text) };
    set.unwrap_or_else(|| panic!("{text}"))
}

#[test]
fn order_is_partial() {
    let cases = [
        ("A:1-5", "A:1-5", true),
        ("A:1-5", "A:1-6", true),
        ("A:1-6", "A:1-5", false),
        ("A:1-3:5-7", "A:1-7", true),
        ("A:1-7", "A:1-3:5-7", false),
        ("A:4", "A:1-3:5-7", false),
        ("A:1-5", "A:1-5,B:1", true),
        ("A:1-5,B:1", "A:1-5", false),
        ("A:1-5,B:1-2", "A:1-9", false),
        ("A:1-2:x:1-3", "A:1-2", false),
        ("A:1-2", "A:1-2:x:1-3", true),
        ("A:x:1-3", "A:X:1-4", true),
        ("A:x:1-3", "A:1-3", false),
        ("0-1-5", "0-2-5", true),
        ("0-1-5", "0-1-4", false),
        ("0-1-5,1-1-2", "0-1-5", false),
        ("0-1-5", "0-1-5,1-1-2", true),
    ];
    for (one, two, within) in cases {
        assert_eq!(set(one).is_within(&set(two)), within, "{one} within {two}");
        assert_eq!(set(one).beyond(&set(two)).is_empty(), within, "{one} beyond {two}");
        assert_eq!(set(one).count_beyond(&set(two)) == 0, within, "{one} counted beyond {two}");
    }
}

#[test]
fn what_is_beyond() {
    let cases = [
        ("A:1-10", "A:3-4:8", "A:1-2:5-7:9-10", 7),
        ("A:1-10,B:5", "A:1-10", "B:5", 1),
        ("A:5-6:9", "A:1-5:9-20", "A:6", 1),
        ("A:1-3:tag:1-4", "A:1-3:tag:2-3", "A:tag:1:4", 2),
        ("0-1-9,1-1-3", "0-1-9,1-1-1", "1-1-3", 2),
        ("0-1-9,7-1-3", "0-1-9", "7-1-3", 3),
    ];
    for (one, two, left, count) in cases {
        assert_eq!(set(one).beyond(&set(two)), set(left), "{one} beyond {two}");
        assert_eq!(set(one).count_beyond(&set(two)), count, "{one} beyond {two}");
    }
}

#[test]
fn spellings_of_one_set() {
    assert_eq!(set("A:1-3:4-5:2"), set("A:1-5"));
    assert_eq!(Gtids::mysql(&format!("{A}:1-5,\n{B}:1")), Some(set("A:1-5,B:1")));
    assert_eq!(Gtids::mysql(&A.to_uppercase()).map(|set| set.is_empty()), Some(true));
    assert_eq!(Gtids::mysql(""), Gtids::mysql(" "));
    assert_eq!(Gtids::mariadb("1-2-3,0-1-2"), Gtids::mariadb("0-7-2, 1-9-3"));
    assert_eq!(set("0-1-5,1-1-2").with(&set("0-1-7,3-1-1")), set("0-1-7,1-1-2,3-1-1"));
}

#[test]
fn what_is_no_set() {
    for text in ["x", "1-2", "0-1-x", "-", "0-1--5", "99999999999-1-1"] {
        assert_eq!(Gtids::mariadb(text), None, "{text}");
    }
    for text in ["x", "1-2", &format!("{A}:1-x"), &format!("{A}:-1"), &format!("{A}:99999999999999999999")] {
        // A word that begins with no digit is a tag, and a tag without numbers is nothing.
        assert!(Gtids::mysql(text).is_none_or(|set| set.is_empty()), "{text}");
    }
    let many = format!("{A}{}", (0..70_000).map(|n| format!(":{}", n * 2)).collect::<String>());
    assert_eq!(Gtids::mysql(&many), None);
    assert_eq!(Gtids::mysql("").map(|empty| empty.is_within(&set("0-1-1"))), Some(true));
}

#[test]
fn one_transaction_in_a_set() {
    let cases = [
        ("A:1-5", "A:5", true),
        ("A:1-5", "A:6", false),
        ("A:1-3:5-7", "A:4", false),
        ("A:1-3:5-7", "A:6", true),
        ("A:1-5", "B:5", false),
        ("A:1-5:x:1-3", "A:x:3", true),
        ("A:1-5:x:1-3", "A:x:4", false),
        ("A:1-5:x:1-3", "A:y:1", false),
        ("0-1-5,7-1-2", "0-2-5", true),
        ("0-1-5,7-1-2", "0-1-6", false),
        ("0-1-5,7-1-2", "7-1-2", true),
        ("0-1-5,7-1-2", "9-1-1", false),
        // Of another make.
        ("0-1-5", "A:5", false),
        ("A:1-5", "0-1-5", false),
    ];
    for (own, one, has) in cases {
        let text = one.replace('A', A).replace('B', B);
        let gtid = protocol::Gtid::mysql(text.as_bytes()).or(protocol::Gtid::mariadb(text.as_bytes()));
        assert_eq!(set(own).has(&gtid.expect("one transaction")), has, "{own} has {one}");
    }
}
