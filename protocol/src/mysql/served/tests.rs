use super::*;
use crate::answer::{Cell, Column, Columns, Kind};

const COLUMNS: &[Column] = &[Column::of("name", Kind::Text), Column::of("count", Kind::Numeric)];

fn columns(text: &str) -> Result<Option<Columns>, Fault> {
    match text {
        "rows" => Ok(Some(COLUMNS.into())),
        "none" | "" | "USE `a``b`" => Ok(None),
        _ => Err(Fault::error(Cause::Syntax, "what?")),
    }
}

fn run(text: &str) -> (Vec<Answer>, Option<Fault>) {
    let rows = || Answer::table(COLUMNS, vec![vec![Cell::from("a"), Cell::Int(1)]; 2]);
    match text {
        "rows" => (vec![rows()], None),
        "none" => (vec![Answer::done("DONE").notice("so be it")], None),
        "both" => (vec![rows(), Answer::done("DONE")], None),
        "half" => (vec![rows()], Some(Fault::error(Cause::Syntax, "what?"))),
        "" => (Vec::new(), None),
        _ => (Vec::new(), columns(text).err()),
    }
}

fn packet(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let at = frame::begin(&mut out, 0);
    out.push(tag);
    out.extend_from_slice(body);
    frame::end(&mut out, at);
    out
}

fn query(text: &str) -> Vec<u8> {
    packet(command::QUERY, text.as_bytes())
}

/// What a client that says all this is told: of each packet its number and how it begins (K ok, E eof, X error,
/// a number otherwise). Fed in pieces of `step` bytes.
fn told(input: &[u8], abilities: u64, step: usize) -> String {
    let (mut served, mut inbox, mut out) = (MyServed::new(abilities), Vec::new(), Vec::new());
    for piece in input.chunks(step) {
        inbox.extend_from_slice(piece);
        loop {
            let (used, step) = served.feed(&inbox, &columns, &mut out).expect("nothing ends it");
            inbox.drain(..used);
            match step {
                Step::Run(text) => {
                    let (answers, fault) = run(&text);
                    served.ran(answers, fault.as_ref(), &mut out);
                }
                Step::More => break,
                Step::Bye => return heads(&out) + ".",
            }
        }
    }
    heads(&out)
}

fn heads(mut out: &[u8]) -> String {
    let mut heads = Vec::new();
    while let Some(head) = frame::head(out).expect("whole packets") {
        let name = match head.tag {
            mark::OK => "K".to_owned(),
            mark::EOF => "E".to_owned(),
            mark::ERROR => "X".to_owned(),
            other => other.to_string(),
        };
        heads.push(format!("{}{name}", frame::sequence(out)));
        out = &out[head.len()..];
    }
    heads.join(" ")
}

#[test]
fn dialogues() {
    let prepare = |text: &str| packet(command::STMT_PREPARE, text.as_bytes());
    let execute =
        |id: u32| packet(command::STMT_EXECUTE, &[&id.to_le_bytes()[..], &[0, 1, 0, 0, 0]].concat());
    let close = |id: u32| packet(command::STMT_CLOSE, &id.to_le_bytes());
    let (new, many) = (cap::DEPRECATE_EOF, cap::MULTI_STATEMENTS);
    let rows = "1 2 3 4E 5 6 7E".replace("1 2 3", "12 23 33").replace(" 5 6 ", " 51 61 ");
    for (abilities, input, wanted) in [
        (0, query("rows"), rows.as_str()),
        (new, query("rows"), "12 23 33 41 51 6E"),
        (0, query("none"), "1K"),
        (0, query(""), "1X"),
        (0, query("what"), "1X"),
        (0, query("both"), "1X"),
        (many, query("both"), "12 23 33 4E 51 61 7E 8K"),
        (many | new, query("half"), "12 23 33 41 51 6E 7X"),
        (0, packet(command::INIT_DB, b"a`b"), "1X"),
        (0, packet(command::PING, b""), "1K"),
        (0, [packet(command::SET_OPTION, &[0, 0]), query("both")].concat(), "1E 12 23 33 4E 51 61 7E 8K"),
        (0, packet(command::FIELD_LIST, b"t\0"), "1X"),
        (0, packet(command::STATISTICS, b""), "183"),
        (
            0,
            [prepare("rows"), execute(1), close(1), execute(1)].concat(),
            "1K 23 33 4E 12 23 33 4E 5K 6K 7E 1X",
        ),
        (new, [prepare("rows"), execute(u32::MAX)].concat(), "1K 23 33 12 23 33 4K 5K 6E"),
        (0, [prepare("none"), execute(1)].concat(), "1K 1K"),
        (0, prepare("rows ?"), "1X"),
        (
            0,
            [prepare("rows"), packet(command::RESET_CONNECTION, b""), execute(1)].concat(),
            "1K 23 33 4E 1K 1X",
        ),
        (0, [query("none"), packet(command::QUIT, b"")].concat(), "1K."),
    ] {
        assert_eq!(told(&input, abilities, input.len()), wanted);
        assert_eq!(told(&input, abilities, 1), wanted, "byte by byte");
    }
}

#[test]
fn what_is_said_beside_an_answer_is_in_its_sentence() {
    let (mut served, mut out) = (MyServed::new(0), Vec::new());
    served.feed(&query("none"), &columns, &mut out).expect("nothing ends it");
    let (answers, fault) = run("none");
    served.ran(answers, fault.as_ref(), &mut out);
    assert_eq!(messages::read_ok(&out[HEADER..]).expect("it is one").info, b"so be it");
}

#[test]
fn what_cannot_be_a_command_ends_it() {
    let ends = |input: &[u8]| MyServed::new(0).feed(input, &columns, &mut Vec::new()).is_err();
    assert!(ends(b"\0\0\0\0") && ends(b"\xff\xff\xff\0\x03") && ends(b"\x01\0\0\x01\x0e"));
    for tag in [command::STMT_EXECUTE, command::STMT_CLOSE, command::STMT_RESET] {
        assert!(ends(&packet(tag, b"\x01\0\0")), "{tag}");
    }
    assert!(ends(&packet(command::CHANGE_USER, b"other\0")));
}

#[test]
fn statements_are_bounded() {
    let (mut served, mut out) = (MyServed::new(0), Vec::new());
    for _ in 0..2 * KEPT_MAX {
        served.feed(&packet(command::STMT_PREPARE, b"rows"), &columns, &mut out).expect("nothing ends it");
    }
    assert_eq!(served.statements.len(), KEPT_MAX);
    assert!(heads(&out).ends_with("1X"));
}

#[test]
fn question_marks_in_quotes_are_no_parameters() {
    for (text, wanted) in
        [("a = ?", true), ("'?' \"?\" `?`", false), ("'it''s' ?", true), ("SHOW POOLS", false)]
    {
        assert_eq!(has_placeholder(text), wanted, "{text}");
    }
}
