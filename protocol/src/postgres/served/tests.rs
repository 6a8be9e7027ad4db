use super::*;
use crate::answer::{Column, Kind};

const COLUMNS: &[Column] = &[Column::of("name", Kind::Text), Column::of("count", Kind::Numeric)];

fn columns(text: &str) -> Result<Option<Columns>, Fault> {
    match text {
        "rows" => Ok(Some(COLUMNS.into())),
        "none" | "" => Ok(None),
        _ => Err(Fault::error(Cause::NotSupported, "what?").code("42601")),
    }
}

fn run(text: &str) -> (Vec<Answer>, Option<Fault>) {
    match text {
        "rows" => {
            let row = |n: i64| vec![Cell::from("a"), Cell::Int(n)];
            (vec![Answer::table(COLUMNS, vec![row(1), row(2), row(3)])], None)
        }
        "none" => (vec![Answer::done("DONE").notice("so be it")], None),
        "" => (Vec::new(), None),
        _ => (Vec::new(), columns(text).err()),
    }
}

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let at = frame::begin(&mut out, tag);
    out.extend_from_slice(body);
    frame::end(&mut out, at);
    out
}

/// What a client that says all this is told, as the tags of the messages. Fed in pieces of `step` bytes.
fn tags(input: &[u8], step: usize) -> String {
    let (mut served, mut inbox, mut out) = (PgServed::default(), Vec::new(), Vec::new());
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
    let mut tags = String::new();
    while let Some(head) = frame::head(out).expect("whole messages") {
        tags.push(head.tag.into());
        out = &out[head.len()..];
    }
    tags
}

#[test]
fn dialogues() {
    let prepare = |text: &str| message(b'P', format!("s\0{text}\0\0\0").as_bytes());
    let bind = || message(b'B', b"p\0s\0\0\0\0\0\0\x01\0\x01");
    let execute = |most: u8| message(b'E', &[b'p', 0, 0, 0, 0, most]);
    let sync = || message(b'S', b"");
    let batch = |parts: &[Vec<u8>]| parts.concat();
    for (input, wanted) in [
        (message(b'Q', b"rows\0"), "TDDDCZ"),
        (message(b'Q', b"none\0"), "NCZ"),
        (message(b'Q', b"\0"), "IZ"),
        (message(b'Q', b"what\0"), "EZ"),
        (message(b'Q', b"\xff\0"), "EZ"),
        (batch(&[prepare("rows"), bind(), message(b'D', b"Pp\0"), execute(0), sync()]), "12TDDDCZ"),
        (batch(&[prepare("rows"), message(b'D', b"Ss\0"), sync(), bind(), execute(0), sync()]), "1tTZ2DDDCZ"),
        (batch(&[prepare("rows"), bind(), execute(2), execute(2), sync()]), "12DDsDCZ"),
        (batch(&[prepare("none"), bind(), message(b'D', b"Pp\0"), execute(0), sync()]), "12nNCZ"),
        (batch(&[prepare("what"), bind(), execute(0), sync(), message(b'Q', b"none\0")]), "EZNCZ"),
        (batch(&[bind(), sync()]), "EZ"),
        (batch(&[prepare("rows"), bind(), sync(), execute(0), sync()]), "12ZEZ"),
        (batch(&[prepare("rows"), message(b'C', b"Ss\0"), bind(), sync()]), "13EZ"),
        (batch(&[message(b'H', b""), message(b'X', b"")]), "."),
        (batch(&[prepare("rows"), message(b'B', b"p\0s\0\0\0\0\x01\0\0\0\x01x\0\0"), sync()]), "1EZ"),
    ] {
        assert_eq!(tags(&input, input.len()), wanted);
        assert_eq!(tags(&input, 1), wanted, "byte by byte");
    }
}

#[test]
fn what_cannot_be_a_message_ends_it() {
    let cut = |tag: u8, body: &[u8]| {
        let input = message(tag, body);
        PgServed::default().feed(&input, &columns, &mut Vec::new()).is_err()
    };
    for tag in [b'P', b'B', b'D', b'E', b'C'] {
        assert!(cut(tag, b""), "{tag}");
        assert!(cut(tag, b"s"), "{tag}");
    }
    assert!(cut(b'?', b"") && cut(b'd', b""));
    assert!(PgServed::default().feed(b"Q\x7f\xff\xff\xff", &columns, &mut Vec::new()).is_err());
    assert!(PgServed::default().feed(b"Q\0\0\0\x03", &columns, &mut Vec::new()).is_err());
}

#[test]
fn statements_are_bounded() {
    let mut served = PgServed::default();
    let mut out = Vec::new();
    for n in 0..2 * KEPT_MAX {
        let input = [message(b'P', format!("s{n}\0rows\0\0\0").as_bytes()), message(b'S', b"")].concat();
        served.feed(&input, &columns, &mut out).expect("nothing ends it");
    }
    assert_eq!(served.statements.len(), KEPT_MAX);
    assert!(heads(&out).ends_with("EZ"));
}
