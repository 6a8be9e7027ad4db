use super::{is_on, place_of_mariadb};
use crate::gtid::Gtids;
use crate::ledger::Place;

#[test]
fn what_a_promoted_mariadb_hands_on() {
    let cases = [
        ("0-1-5", "", "0-1-5"),
        // Without a log of what it applied, it still has it.
        ("", "0-1-5", "0-1-5"),
        ("0-2-7", "0-1-5", "0-2-7"),
        ("0-1-5,1-1-2", "0-1-5,2-3-9", "0-1-5,1-1-2,2-3-9"),
    ];
    for (binlog, replicated, written) in cases {
        let Some(Place::Gtids { written: found, applied }) = place_of_mariadb(binlog, replicated) else {
            panic!("{binlog} {replicated}")
        };
        assert_eq!(Some(&*found), Gtids::mariadb(written).as_ref(), "{binlog} {replicated}");
        assert_eq!(Some(&*applied), Gtids::mariadb(replicated).as_ref(), "{binlog} {replicated}");
    }
    assert!(place_of_mariadb("nonsense", "").is_none());
}

#[test]
fn on_by_any_name() {
    for (value, on) in
        [("0", false), ("1", true), ("ON", true), ("OFF", false), ("", false), ("NO_LOCK", true)]
    {
        assert_eq!(is_on(value), on, "{value}");
    }
}
