use super::{Applied, Ledger, Place};
use crate::gtid::Gtids;
use crate::lag::{History, Position};
use std::sync::Arc;

fn place(text: &str) -> Place {
    let set = Arc::new(
        Gtids::mysql(&text.replace('A', &"a".repeat(36)).replace('B', &"b".repeat(36))).expect("a set"),
    );
    Place::Gtids { written: Arc::clone(&set), applied: set, in_order: true }
}

fn ledger(sets: &[&str]) -> Ledger {
    let mut ledger = Ledger::default();
    for set in sets {
        ledger.written(&place(set), &History::default());
    }
    ledger
}

#[test]
fn numbers_follow_the_primary() {
    let trail = History::default();
    let mut ledger = Ledger::default();
    let steps = [
        ("A:1-5", 1),
        ("A:1-5", 1),
        ("A:1-9", 2),
        ("A:1-9,B:1", 3),
        // A crash lost the end of the log.
        ("A:1-9", 2),
        ("A:1-7", 4),
        ("A:1-8", 5),
        // Rebuilt from nothing.
        ("B:1", 6),
    ];
    for (set, number) in steps {
        assert_eq!(ledger.written(&place(set), &trail), Position(number), "{set}");
    }
}

#[test]
fn what_a_replica_has_and_what_it_showed() {
    let ledger = ledger(&["A:1-5", "A:1-9", "A:1-12"]);
    let cases = [
        ("A:1-4", None, 1),
        ("A:1-5", Some(1), 1),
        ("A:1-7", Some(1), 2),
        ("A:1-9", Some(2), 2),
        ("A:1-12", Some(3), 3),
        // Ahead of what the primary was last seen at: its next set will hold this.
        ("A:1-14", Some(3), 4),
        ("A:1-3:5-12", None, 3),
    ];
    for (set, has, shown) in cases {
        assert_eq!(ledger.has(&place(set)), has.map(Position), "{set}");
        assert_eq!(ledger.shown(&place(set), &mut Applied::default()), Some(Position(shown)), "{set}");
    }
}

#[test]
fn what_a_replica_alone_has_is_left_out_of_account() {
    let ledger = ledger(&["A:1-5", "A:1-9"]);
    let mut applied = Applied::default();
    assert_eq!(ledger.shown(&place("A:1-7,B:1-2"), &mut applied), Some(Position(3)));
    assert_eq!(ledger.find_errant(&mut applied), Some(2), "the primary was asked later and has it not");
    assert_eq!(ledger.find_errant(&mut applied), None, "that is no news");
    assert_eq!(applied.errant(), 2);
    assert_eq!(ledger.shown(&place("A:1-7,B:1-2"), &mut applied), Some(Position(2)));
    assert_eq!(ledger.has(&place("A:1-7,B:1-2")), Some(Position(1)));
    assert_eq!(ledger.count_lacking(&applied), Some(2));
    assert_eq!(ledger.shown(&place("A:1-7,B:1-3"), &mut applied), Some(Position(3)), "more of it");
}

#[test]
fn a_new_primary_shares_what_it_had() {
    let mut ledger = ledger(&["A:1-5", "A:1-9", "A:1-12"]);
    ledger.cut(Position(2));
    assert_eq!(ledger.written(&place("A:1-10,B:1"), &History::default()), Position(4));
    assert_eq!(ledger.has(&place("A:1-12")), Some(Position(2)), "what was lost proves nothing");
    assert!(ledger.is_held_by(&place("A:1-10,B:1-2")));
    assert!(!ledger.is_held_by(&place("A:1-12")), "the old primary");
}

#[test]
fn it_does_not_grow_without_bound() {
    let mut ledger = Ledger::default();
    for number in 1..5000 {
        ledger.written(&place(&format!("A:1-{number}")), &History::default());
    }
    assert!(ledger.sets.len() <= super::SPARE + 1, "{}", ledger.sets.len());
    assert_eq!(ledger.has(&place("A:1-4999")), Some(Position(4999)));
}
