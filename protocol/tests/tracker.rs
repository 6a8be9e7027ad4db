//! Dialogues between a client, the tracker and a backend, as text; each is also delivered cut
//! at every byte of the client's input.
//!
//! `C>` is what the client sends, `>B` what must reach the backend for it, `B>` what the backend
//! says and `>C` what must reach the client. A message is a tag and its fields; see `message`.

#![allow(clippy::unwrap_used)]

use protocol::handshake::Greeting;
use protocol::postgres::{CancelKey, PgMemory, PgTracker, Postgres, Registry};
use protocol::tracker::{Intake, Memory, Tracker, TxnStatus, Verdict};
use protocol::{Protocol, Reported};
use std::sync::Arc;

fn frame(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    bytes.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// `Q:text`, `P:name:text`, `B:portal:name`, `DS:name`, `DP:name`, `E:portal`, `CS:name`, `CP:name`, `S`,
/// `H`, `X`, `d:data`, `c`, `f:why`; from the backend `Z:I`, `1`, `2`, `3`, `n`, `T`, `D`, `CC:tag`, `I`,
/// `s`, `E!:code`, `G`, `H!`, `S!:name:value`.
fn message(text: &str) -> Vec<u8> {
    let mut parts = text.split(':');
    let tag = parts.next().unwrap();
    let field: Vec<&str> = parts.collect();
    let zero = |text: &str| [text.as_bytes(), &[0]].concat();
    match tag {
        "Q" => frame(b'Q', &zero(field[0])),
        "P" => frame(b'P', &[zero(field[0]), zero(field[1]), vec![0, 0]].concat()),
        "B" => frame(b'B', &[zero(field[0]), zero(field[1]), vec![0; 6]].concat()),
        "DS" | "DP" => frame(b'D', &[vec![tag.as_bytes()[1]], zero(field[0])].concat()),
        "CS" | "CP" => frame(b'C', &[vec![tag.as_bytes()[1]], zero(field[0])].concat()),
        "E" => frame(b'E', &[zero(field[0]), vec![0; 4]].concat()),
        "Z" | "d" => frame(tag.as_bytes()[0], field[0].as_bytes()),
        "f" => frame(b'f', &zero(field[0])),
        "CC" => frame(b'C', &zero(field[0])),
        "E!" => frame(b'E', &[b"SERROR\0VERROR\0C".to_vec(), zero(field[0]), b"Mno\0\0".to_vec()].concat()),
        "H!" => frame(b'H', &[0, 0, 0]),
        "S!" => frame(b'S', &[zero(field[0]), zero(field[1])].concat()),
        _ => frame(tag.as_bytes()[0], b""),
    }
}

fn messages(line: &str) -> Vec<u8> {
    line.split('|').map(str::trim).filter(|text| !text.is_empty()).flat_map(message).collect()
}

struct Stage {
    tracker: PgTracker,
    memory: PgMemory,
    inbox: Vec<u8>,
    to_backend: Vec<u8>,
    to_client: Vec<u8>,
}

impl Stage {
    fn new() -> Self {
        let key = Postgres::new_cancel_key([7; 36], false, 0);
        Self {
            tracker: PgTracker::new(Arc::new(Registry::default()), &Greeting::default(), Reported::default()),
            memory: fresh(key),
            inbox: Vec::new(),
            to_backend: Vec::new(),
            to_client: Vec::new(),
        }
    }

    fn client(&mut self, bytes: &[u8]) {
        self.inbox.extend_from_slice(bytes);
        while self.tracker.is_over() || self.tracker.is_open() {
            match self.tracker.intake(&self.inbox, 1 << 16).unwrap() {
                Intake::Ready { len, rest, .. } => {
                    assert_eq!(rest, 0, "nothing here is large");
                    let request = self.inbox.drain(..len).collect::<Vec<_>>();
                    let (memory, out) = (&mut self.memory, &mut self.to_backend);
                    if !self.tracker.knows(memory) {
                        self.tracker.heed(memory, &mut self.to_client);
                    }
                    self.tracker.forward(&request, rest, memory, out, &mut self.to_client).unwrap();
                }
                Intake::Drop(len) => drop(self.inbox.drain(..len)),
                Intake::More | Intake::Terminate | Intake::SignIn { .. } => return,
            }
        }
    }

    fn backend(&mut self, bytes: &[u8]) {
        let mut at = 0;
        while let Some(head) = Postgres::head(&bytes[at..]).unwrap() {
            let frame = &bytes[at..at + head.len()];
            let mut after = Vec::new();
            match self.tracker.on_backend(head, &frame[head.header..], &mut self.memory, &mut after).unwrap()
            {
                Verdict::Relay | Verdict::Failed(_) => self.to_client.extend_from_slice(frame),
                Verdict::Swallow | Verdict::Reworded(_) => {}
            }
            self.to_client.extend_from_slice(&after);
            at += head.len();
        }
        // What the client sent ahead may have become part of the request under way.
        self.client(&[]);
    }

    /// Plays a dialogue. `cut` delivers the client's bytes in two parts.
    fn play(&mut self, dialogue: &str, cut: usize) {
        for line in dialogue.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (who, what) = line.split_at(2);
            let bytes = messages(what);
            match who {
                "C>" => {
                    let (one, two) = bytes.split_at(cut.min(bytes.len()));
                    self.client(one);
                    self.client(two);
                }
                "B>" => self.backend(&bytes),
                ">B" => {
                    assert_eq!(show(&std::mem::take(&mut self.to_backend)), show(&bytes), "cut {cut}: {line}")
                }
                ">C" => {
                    assert_eq!(show(&std::mem::take(&mut self.to_client)), show(&bytes), "cut {cut}: {line}")
                }
                _ => panic!("{line}"),
            }
        }
    }
}

fn fresh(key: CancelKey) -> PgMemory {
    PgMemory::signed_in(key, Vec::new())
}

fn show(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).escape_debug().to_string()
}

/// Plays `dialogue` whole and cut at every byte; afterwards nothing may be owed.
fn check(dialogue: &str) {
    for cut in 0..160 {
        let mut stage = Stage::new();
        stage.play(dialogue, cut);
        assert!(stage.tracker.is_over(), "cut {cut}: something is still owed");
        assert_eq!(stage.tracker.txn(), TxnStatus::Idle);
        assert!(stage.to_backend.is_empty() && stage.to_client.is_empty(), "cut {cut}: unexpected bytes");
    }
}

#[test]
fn simple_query() {
    check("C> Q:select 1\n>B Q:select 1\nB> T | D | CC:SELECT 1 | Z:I\n>C T | D | CC:SELECT 1 | Z:I");
}

#[test]
fn unnamed_statement_passes_as_it_is() {
    check(
        "C> P::select 1 | B:: | DP: | E: | S\n>B P::select 1 | B:: | DP: | E: | S
         B> 1 | 2 | T | D | CC:SELECT 1 | Z:I\n>C 1 | 2 | T | D | CC:SELECT 1 | Z:I",
    );
}

#[test]
fn named_statements_are_renamed_and_prepared_once() {
    check(
        "C> P:s1:select 1 | DS:s1 | S\n>B P:splitpool_1:select 1 | DS:splitpool_1 | S
         B> 1 | T | Z:I\n>C 1 | T | Z:I
         C> B::s1 | E: | S\n>B B::splitpool_1 | E: | S
         B> 2 | CC:SELECT 1 | Z:I\n>C 2 | CC:SELECT 1 | Z:I
         C> P:s2:select 1 | B::s2 | E: | S\n>C 1\n>B B::splitpool_1 | E: | S
         B> 2 | CC:SELECT 1 | Z:I\n>C 2 | CC:SELECT 1 | Z:I
         C> CS:s1 | B::s2 | E: | S\n>C 3\n>B B::splitpool_1 | E: | S
         B> 2 | CC:SELECT 1 | Z:I\n>C 2 | CC:SELECT 1 | Z:I",
    );
}

#[test]
fn a_backend_that_lacks_a_statement_is_told_first() {
    let mut stage = Stage::new();
    stage.play("C> P:s1:select 1 | S\n>B P:splitpool_1:select 1 | S\nB> 1 | Z:I\n>C 1 | Z:I", 0);
    stage.memory = fresh(Postgres::new_cancel_key([1; 36], false, 0));
    stage.play(
        "C> B::s1 | E: | S\n>B P:splitpool_1:select 1 | B::splitpool_1 | E: | S
         B> 1 | 2 | CC:SELECT 1 | Z:I\n>C 2 | CC:SELECT 1 | Z:I",
        0,
    );
}

#[test]
fn the_unnamed_statement_survives_a_change_of_backend() {
    let mut stage = Stage::new();
    stage.play("C> P::select 1 | DS: | S\n>B P::select 1 | DS: | S\nB> 1 | T | Z:I\n>C 1 | T | Z:I", 0);
    stage.memory = fresh(Postgres::new_cancel_key([1; 36], false, 0));
    stage.play(
        "C> B:: | E: | S\n>B P::select 1 | B:: | E: | S\nB> 1 | 2 | CC:SELECT 1 | Z:I\n>C 2 | CC:SELECT 1 | Z:I
         C> Q:select 2\n>B Q:select 2\nB> CC:SELECT 1 | Z:I\n>C CC:SELECT 1 | Z:I
         C> B:: | S\n>B B:: | S\nB> E!:26000 | Z:I\n>C E!:26000 | Z:I",
        0,
    );
}

/// Whatever a batch would have made of the unnamed statement behind its error, it is what it was before that.
#[test]
fn the_unnamed_statement_is_what_it_was_when_a_batch_failed() {
    let first = "C> P::a | S\n>B P::a | S\nB> 1 | Z:I\n>C 1 | Z:I\n";
    let again = |text: &str| format!("C> B:: | S\n>B P::{text} | B:: | S\nB> 1 | 2 | Z:I\n>C 2 | Z:I\n");
    let gone = "C> B:: | S\n>B CS: | B:: | S\nB> 3 | E!:26000 | Z:I\n>C E!:26000 | Z:I\n";
    let failed = "B> E!:42601 | Z:I\n>C E!:42601 | Z:I\n";
    for (batch, answered, left) in [
        ("B::none | P::b | P::c", "", again("a")),
        ("B::none | P::b | P::c | P::d | CS:", "", again("a")),
        ("B::none | CS: | P::b", "", again("a")),
        ("P::b | B::none | P::c | P::d", "1", again("b")),
        ("P::b | P::c | B::none | P::d | P::e", "1 | 1", again("c")),
        ("P::b | CS: | B::none | P::d | P::e", "1 | 3", gone.to_owned()),
        ("P::b | P::c", "", gone.to_owned()),
        ("P::b | P::c | P::d", "1", gone.to_owned()),
    ] {
        let answers =
            if answered.is_empty() { String::new() } else { format!("B> {answered}\n>C {answered}\n") };
        check(&format!("{first}C> {batch} | S\n>B {batch} | S\n{answers}{failed}{left}"));
    }
    // A simple query behind the error is skipped as well.
    check(&format!(
        "{first}C> B::none | H\n>B B::none | H\nC> Q:select 1 | S\nB> E!:26000\n>C E!:26000\n>B Q:select 1 | S\nB> Z:I\n>C Z:I\n{}",
        again("a")
    ));
}

#[test]
fn commands_of_sql_about_statements_of_the_protocol() {
    let first = "C> P:s:select 1 | S\n>B P:splitpool_1:select 1 | S\nB> 1 | Z:I\n>C 1 | Z:I\n";
    // PREPARE under a name that is taken is the database's error.
    check(&format!(
        "{first}C> Q:PREPARE s AS select 2\n>B Q:PREPARE splitpool_1 AS select 2\nB> E!:42P05 | Z:I\n>C E!:42P05 | Z:I"
    ));
    check(&format!(
        "{first}C> P::prepare S as select 2 | B:: | E: | S
         >B P::PREPARE splitpool_1 as select 2 | B:: | E: | S\nB> 1 | 2 | E!:42P05 | Z:I\n>C 1 | 2 | E!:42P05 | Z:I"
    ));
    // EXECUTE, prepared itself with a name and without.
    check(&format!(
        "{first}C> P::execute s | DS: | B:: | E: | S\n>B P::EXECUTE splitpool_1 | DS: | B:: | E: | S
         B> 1 | T | 2 | D | CC:SELECT 1 | Z:I\n>C 1 | T | 2 | D | CC:SELECT 1 | Z:I
         C> P:x:execute s | S\n>B P:splitpool_3:EXECUTE splitpool_1 | S\nB> 1 | Z:I\n>C 1 | Z:I
         C> B::x | E: | S\n>B B::splitpool_3 | E: | S\nB> 2 | D | CC:SELECT 1 | Z:I\n>C 2 | D | CC:SELECT 1 | Z:I"
    ));
    // DEALLOCATE frees it once it has been run, not before and not if it fails.
    let deallocate = "C> P::deallocate s | B:: | E: | S\n>B P::DEALLOCATE splitpool_1 | B:: | E: | S\n";
    check(&format!(
        "{first}{deallocate}B> 1 | 2 | CC:DEALLOCATE | Z:I\n>C 1 | 2 | CC:DEALLOCATE | Z:I
         C> B::s | S\n>B B::s | S\nB> E!:26000 | Z:I\n>C E!:26000 | Z:I
         C> P:s:select 1 | S\n>B P:splitpool_1:select 1 | S\nB> 1 | Z:I\n>C 1 | Z:I"
    ));
    check(&format!(
        "{first}{deallocate}B> 1 | 2 | E!:57014 | Z:I\n>C 1 | 2 | E!:57014 | Z:I
         C> B::s | S\n>B B::splitpool_1 | S\nB> 2 | Z:I\n>C 2 | Z:I"
    ));
    // Where nothing was prepared through the protocol the text is the database's own affair.
    check("C> Q:PREPARE s AS select 1\n>B Q:PREPARE s AS select 1\nB> CC:PREPARE | Z:I\n>C CC:PREPARE | Z:I");
}

/// The other backend has none of the statements that a command is about.
#[test]
fn what_a_command_is_about_is_prepared_first() {
    let mut stage = Stage::new();
    stage.play(
        "C> P:s:select 1 | P:x:execute s | P::execute s | S
         >B P:splitpool_1:select 1 | P:splitpool_2:EXECUTE splitpool_1 | P::EXECUTE splitpool_1 | S
         B> 1 | 1 | 1 | Z:I\n>C 1 | 1 | 1 | Z:I",
        0,
    );
    stage.memory = fresh(Postgres::new_cancel_key([1; 36], false, 0));
    stage.play(
        "C> B:: | E: | S\n>B P:splitpool_1:select 1 | P::EXECUTE splitpool_1 | B:: | E: | S
         B> 1 | 1 | 2 | D | CC:SELECT 1 | Z:I\n>C 2 | D | CC:SELECT 1 | Z:I",
        0,
    );
    stage.memory = fresh(Postgres::new_cancel_key([1; 36], false, 0));
    stage.play(
        "C> B::x | E: | S\n>B P:splitpool_1:select 1 | P:splitpool_2:EXECUTE splitpool_1 | B::splitpool_2 | E: | S
         B> 1 | 1 | 2 | D | CC:SELECT 1 | Z:I\n>C 2 | D | CC:SELECT 1 | Z:I",
        0,
    );
}

#[test]
fn another_clients_unnamed_statement_is_not_ours() {
    let mut stage = Stage::new();
    stage.play("C> P::select 1 | S\n>B P::select 1 | S\nB> 1 | Z:I\n>C 1 | Z:I", 0);
    stage.tracker = PgTracker::new(Arc::new(Registry::default()), &Greeting::default(), Reported::default());
    stage.play("C> B:: | S\n>B CS: | B:: | S\nB> 3 | E!:26000 | Z:I\n>C E!:26000 | Z:I", 0);
}

#[test]
fn a_failed_parse_prepares_nothing() {
    check(
        "C> P:s1:selec | B::s1 | E: | S\n>B P:splitpool_1:selec | B::splitpool_1 | E: | S
         B> E!:42601 | Z:I\n>C E!:42601 | Z:I
         C> P:s1:select 1 | S\n>B P:splitpool_2:select 1 | S\nB> 1 | Z:I\n>C 1 | Z:I",
    );
}

#[test]
fn an_error_in_the_middle_ends_what_is_owed_up_to_sync() {
    check(
        "C> P:a:select 1 | B::a | E: | P:b:select 2 | B::b | E: | S
         >B P:splitpool_1:select 1 | B::splitpool_1 | E: | P:splitpool_2:select 2 | B::splitpool_2 | E: | S
         B> 1 | 2 | E!:22012 | Z:I\n>C 1 | 2 | E!:22012 | Z:I
         C> B::b | S\n>B B::b | S\nB> E!:26000 | Z:I\n>C E!:26000 | Z:I",
    );
}

#[test]
fn flush_keeps_the_batch_open() {
    check(
        "C> P::select 1 | B:: | E: | H\n>B P::select 1 | B:: | E: | H\nB> 1 | 2 | CC:SELECT 1\n>C 1 | 2 | CC:SELECT 1
         C> S\n>B S\nB> Z:I\n>C Z:I",
    );
}

#[test]
fn flush_behind_preparing_alone_holds_nothing() {
    check(
        "C> P::select 1 | DS: | H\n>B P::select 1 | DS: | S\nB> 1 | T | Z:I\n>C 1 | T
         C> B:: | E: | S\n>B B:: | E: | S\nB> 2 | CC:SELECT 1 | Z:I\n>C 2 | CC:SELECT 1 | Z:I",
    );
}

#[test]
fn an_error_after_flush_skips_to_sync() {
    check(
        "C> P::selec | H\n>B P::selec | S\nB> E!:42601 | Z:I\n>C E!:42601
         C> B:: | E: | S\n>B S\nB> Z:I\n>C Z:I",
    );
}

#[test]
fn a_simple_query_behind_a_failed_batch_is_skipped_too() {
    check(
        "C> B::nope | Q:select 1\n>B B::nope | Q:select 1\nB> E!:26000\n>C E!:26000
         C> S\n>B S\nB> Z:I\n>C Z:I",
    );
}

#[test]
fn portals_are_suspended() {
    check(
        "C> B:c: | E:c | E:c | S\n>B B:c: | E:c | E:c | S
         B> 2 | D | s | D | CC:SELECT 1 | Z:I\n>C 2 | D | s | D | CC:SELECT 1 | Z:I",
    );
}

#[test]
fn copy_in_simple() {
    check(
        "C> Q:copy t from stdin\n>B Q:copy t from stdin\nB> G\n>C G
         C> d:1 | d:2 | c\n>B d:1 | d:2 | c\nB> CC:COPY 2 | Z:I\n>C CC:COPY 2 | Z:I",
    );
}

#[test]
fn copy_data_sent_ahead_is_part_of_its_copy() {
    check(
        "C> Q:copy t from stdin | d:1 | c\n>B Q:copy t from stdin\nB> G\n>C G\n>B d:1 | c
         B> CC:COPY 1 | Z:I\n>C CC:COPY 1 | Z:I",
    );
}

#[test]
fn copy_data_after_an_error_is_dropped() {
    check(
        "C> Q:copy nope from stdin | d:1 | d:2 | c | Q:select 1\n>B Q:copy nope from stdin
         B> E!:42P01 | Z:I\n>C E!:42P01 | Z:I\n>B Q:select 1\nB> CC:SELECT 1 | Z:I\n>C CC:SELECT 1 | Z:I",
    );
}

#[test]
fn copy_in_extended_eats_a_sync() {
    check(
        "C> P::copy t from stdin | B:: | E: | S\n>B P::copy t from stdin | B:: | E: | S
         B> 1 | 2 | G\n>C 1 | 2 | G
         C> d:1 | c | S\n>B d:1 | c | S\nB> CC:COPY 1 | Z:I\n>C CC:COPY 1 | Z:I",
    );
}

#[test]
fn copy_pipelined_in_one_batch() {
    check(
        "C> P::copy t from stdin | B:: | E: | d:1 | c | S\n>B P::copy t from stdin | B:: | E: | d:1 | c | S
         B> 1 | 2 | G | CC:COPY 1 | Z:I\n>C 1 | 2 | G | CC:COPY 1 | Z:I",
    );
}

#[test]
fn copy_fails_in_the_middle() {
    check(
        "C> P::copy t from stdin | B:: | E: | S\n>B P::copy t from stdin | B:: | E: | S
         B> 1 | 2 | G\n>C 1 | 2 | G\nC> d:x\n>B d:x\nB> E!:22P02\n>C E!:22P02
         C> d:y | c | S\n>B S\nB> Z:I\n>C Z:I",
    );
}

#[test]
fn two_requests_sent_at_once_are_answered_in_turn() {
    check(
        "C> Q:select 1 | P::select 2 | S\n>B Q:select 1\nB> CC:SELECT 1 | Z:I\n>C CC:SELECT 1 | Z:I
         >B P::select 2 | S\nB> 1 | Z:I\n>C 1 | Z:I",
    );
}

#[test]
fn deallocate_all_forgets_names_and_statements() {
    check(
        "C> P:s:select 1 | S\n>B P:splitpool_1:select 1 | S\nB> 1 | Z:I\n>C 1 | Z:I
         C> Q:deallocate all\n>B Q:deallocate all\nB> CC:DEALLOCATE ALL | Z:I\n>C CC:DEALLOCATE ALL | Z:I
         C> P:s:select 1 | S\n>B P:splitpool_2:select 1 | S\nB> 1 | Z:I\n>C 1 | Z:I",
    );
}

#[test]
fn a_name_that_is_taken_is_the_databases_error() {
    check(
        "C> P:s:select 1 | S\n>B P:splitpool_1:select 1 | S\nB> 1 | Z:I\n>C 1 | Z:I
         C> P:s:select 2 | S\n>B P:splitpool_1:select 2 | S\nB> E!:42P05 | Z:I\n>C E!:42P05 | Z:I",
    );
}

#[test]
fn names_like_ours_are_out_of_reach() {
    check(
        "C> P:s:select 1 | S\n>B P:splitpool_1:select 1 | S\nB> 1 | Z:I\n>C 1 | Z:I
         C> B::splitpool_1 | S\n>B B::splitpool_0 | S\nB> E!:26000 | Z:I\n>C E!:26000 | Z:I",
    );
}

#[test]
fn a_muted_reply_leaves_no_trace_and_can_be_asked_again() {
    let mut stage = Stage::new();
    stage.play("C> P:s:select f() | B::s | E: | S\n>B P:splitpool_1:select f() | B::splitpool_1 | E: | S\nB> 1 | 2\n>C 1 | 2", 0);
    stage.tracker.mute();
    stage.play("B> E!:25006 | Z:I", 0);
    assert!(stage.tracker.is_over() && stage.to_client.is_empty());
    stage.tracker.rewind();
    stage.memory = fresh(Postgres::new_cancel_key([1; 36], false, 0));
    stage.play("C> P:s:select f() | B::s | S\n>B P:splitpool_2:select f() | B::splitpool_2 | S\nB> 1 | 2 | Z:I\n>C 1 | 2 | Z:I", 0);
}

#[test]
fn answers_that_nobody_asked_for_are_nonsense() {
    for unasked in ["1", "2", "3", "CC:SELECT 1", "Z:I", "n", "s", "G", "W", "R", "K", "v"] {
        let mut stage = Stage::new();
        let bytes = messages(unasked);
        let head = Postgres::head(&bytes).unwrap().unwrap();
        let seen = &bytes[head.header..];
        assert!(
            stage.tracker.on_backend(head, seen, &mut stage.memory, &mut Vec::new()).is_err(),
            "{unasked}"
        );
    }
}

#[test]
fn standby_is_nobodys_business() {
    check(
        "C> Q:set x to 1\n>B Q:set x to 1\nB> S!:in_hot_standby:on | S!:application_name:me | CC:SET | Z:I
         >C S!:application_name:me | CC:SET | Z:I",
    );
}

#[test]
fn quoting_rules_that_change_are_noticed() {
    let mut stage = Stage::new();
    assert!(stage.tracker.quoting().trusted);
    stage.play("C> Q:set\n>B Q:set\nB> S!:standard_conforming_strings:off | CC:SET | Z:I", 0);
    assert!(!stage.tracker.quoting().trusted);
}

/// What follows is played by another session on the same backend.
fn hand_over(stage: &mut Stage) {
    stage.tracker = PgTracker::new(Arc::new(Registry::default()), &Greeting::default(), Reported::default());
}

#[test]
fn what_one_session_was_told_the_next_is_told_first() {
    let mut stage = Stage::new();
    stage.play("C> Q:one\n>B Q:one\nB> CC:SELECT 1 | S!:TimeZone:Asia/Tokyo | Z:I\n>C CC:SELECT 1 | S!:TimeZone:Asia/Tokyo | Z:I", 0);
    hand_over(&mut stage);
    stage
        .play("C> Q:two\n>C S!:TimeZone:Asia/Tokyo\n>B Q:two\nB> CC:SELECT 1 | Z:I\n>C CC:SELECT 1 | Z:I", 0);
    stage.play("C> Q:two\n>C\n>B Q:two\nB> CC:SELECT 1 | Z:I\n>C CC:SELECT 1 | Z:I", 0);
    // What an errand hears, in the order in which it came; who takes writes is nobody's business.
    let heard = [("TimeZone", "Asia/Seoul"), ("DateStyle", "ISO"), ("in_hot_standby", "on")];
    stage.memory.note_reported(&heard.map(|(name, value)| (name.to_owned(), value.to_owned())));
    stage.play("C> Q:two\n>C S!:TimeZone:Asia/Seoul | S!:DateStyle:ISO\n>B Q:two\nB> CC:SELECT 1 | Z:I\n>C CC:SELECT 1 | Z:I", 0);
}

#[test]
fn what_was_unsaid_is_said_again() {
    let mut stage = Stage::new();
    stage.memory.note_reported(&[("TimeZone".to_owned(), "Asia/Tokyo".to_owned())]);
    stage.play("C> Q:two\n>C S!:TimeZone:Asia/Tokyo\n>B Q:two\nB> S!:DateStyle:ISO\n>C S!:DateStyle:ISO", 0);
    stage.tracker.rewind();
    assert!(!stage.tracker.is_touched(), "nobody knows of a change");
    stage.play("C> Q:two\n>C S!:TimeZone:Asia/Tokyo | S!:DateStyle:ISO\n>B Q:two\nB> CC:SELECT 1 | Z:I", 0);
    // A reply that the client does not see is heard by the backend's memory.
    stage.play("C> Q:two\n>B Q:two", 0);
    stage.to_client.clear();
    stage.tracker.mute();
    stage.play("B> S!:TimeZone:Asia/Seoul | CC:SELECT 1 | Z:I\n>C", 0);
    stage.tracker.rewind();
    stage.play("C> Q:two\n>C S!:TimeZone:Asia/Seoul\n>B Q:two\nB> CC:SELECT 1 | Z:I", 0);
}

#[test]
fn a_change_that_is_taken_back_touches_nothing() {
    let mut stage = Stage::new();
    stage.memory.note_reported(&[("TimeZone".to_owned(), "UTC".to_owned())]);
    stage.play("C> Q:one\n>C S!:TimeZone:UTC\n>B Q:one\nB> CC:SELECT 1 | Z:I", 0);
    assert!(!stage.tracker.is_touched(), "it was told, not changed");
    stage.play("C> Q:two\n>B Q:two\nB> CC:SET | S!:TimeZone:Asia/Tokyo | Z:T", 0);
    stage.play("C> Q:end\n>B Q:end\nB> CC:COMMIT | S!:TimeZone:UTC | Z:I", 0);
    assert!(!stage.tracker.is_touched());
    stage.play("C> Q:two\n>B Q:two\nB> CC:SELECT 1 | S!:TimeZone:Asia/Tokyo | Z:I", 0);
    assert!(stage.tracker.is_touched() && !stage.tracker.is_touched());
}

#[test]
fn a_backend_may_read_texts_in_another_way() {
    let mut stage = Stage::new();
    let reports = |stage: &mut Stage, name: &str, value: &str| {
        stage.memory.note_reported(&[(name.to_owned(), value.to_owned())]);
    };
    reports(&mut stage, "TimeZone", "UTC");
    assert!(!stage.tracker.knows(&stage.memory) && stage.tracker.reads_as(&stage.memory));
    reports(&mut stage, "standard_conforming_strings", "off");
    assert!(!stage.tracker.reads_as(&stage.memory));
    stage.tracker.heed(&mut stage.memory, &mut Vec::new());
    assert!(stage.tracker.knows(&stage.memory) && stage.tracker.reads_as(&stage.memory));
    assert!(!stage.tracker.quoting().trusted);
    // Who does not trust its own reading is not led astray.
    reports(&mut stage, "standard_conforming_strings", "on");
    assert!(stage.tracker.reads_as(&stage.memory) && !stage.tracker.quoting().trusted);
    reports(&mut stage, "client_encoding", "SJIS");
    stage.tracker.heed(&mut stage.memory, &mut Vec::new());
    assert!(!stage.tracker.quoting().trusted);
}

#[test]
fn large_frames_are_handed_on_in_parts() {
    let mut stage = Stage::new();
    let text = "x".repeat(1 << 20);
    let bytes = frame(b'Q', text.as_bytes());
    assert_eq!(stage.tracker.intake(&bytes[..100], 4096).unwrap(), Intake::More);
    let ready = stage.tracker.intake(&bytes[..5000], 4096).unwrap();
    assert_eq!(ready, Intake::Ready { len: 5000, rest: bytes.len() - 5000, whole: false });
}
