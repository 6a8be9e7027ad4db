//! Broken dialogues of PostgreSQL's protocol, in both directions: the tracker may refuse them,
//! and must neither panic nor claim more bytes than there are.
//!
//! The seed of a run is shown when it fails. Repeat it with `SEED=<seed>`.

#![allow(clippy::unwrap_used)]

use fastrand::Rng;
use protocol::handshake::Greeting;
use protocol::postgres::{PgMemory, PgTracker, Postgres, Registry};
use protocol::tracker::{Intake, Tracker};
use protocol::{Protocol, Reported};
use std::sync::Arc;

const GATHER_MAX: usize = 512;

fn frame(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap();
    [&[tag], length.to_be_bytes().as_slice(), body].concat()
}

/// What clients send, one at random.
fn request(random: &mut Rng) -> Vec<u8> {
    let name = *random.choice(&["", "s1", "s2", "\u{7f}"]).unwrap();
    let named = |tag, what: &str| frame(tag, format!("{what}{name}\0").as_bytes());
    match random.u8(..14) {
        0 => frame(b'Q', b"SELECT 1\0"),
        1 => frame(b'Q', b"COPY t FROM STDIN\0"),
        2 => frame(b'P', format!("{name}\0SELECT $1\0\0\0").as_bytes()),
        3 => frame(b'B', format!("\0{name}\0\0\0\0\0\0\0").as_bytes()),
        4 => named(b'D', "S"),
        5 => named(b'D', "P"),
        6 => frame(b'E', b"\0\0\0\0\0"),
        7 => named(b'C', "S"),
        8 => frame(b'H', b""),
        9 => frame(b'd', &vec![b'x'; random.usize(..2 * GATHER_MAX)]),
        10 => frame(*random.choice(b"cF").unwrap(), b"\0\0\0\0\0\0\0\0\0\0"),
        11 => frame(b'f', b"no\0"),
        12 => frame(b'Q', b"DEALLOCATE ALL\0"),
        _ => frame(b'S', b""),
    }
}

/// What databases send, one at random: mostly not what is owed.
fn reply(random: &mut Rng) -> Vec<u8> {
    match random.u8(..12) {
        0 => frame(b'Z', random.choice([b"I", b"T", b"E", b"?"]).unwrap()),
        1 => frame(b'C', random.choice(["SELECT 1\0", "DISCARD ALL\0", "COPY 1\0", ""]).unwrap().as_bytes()),
        2 => frame(b'E', b"SERROR\0VERROR\0C26000\0Mno statement \"s1\"\0\0"),
        3 => frame(b'S', b"standard_conforming_strings\0off\0"),
        4 => frame(b'G', &[0, 0, 0]),
        5 => frame(b'H', &[0, 0, 0]),
        6 => frame(b'D', &[0, 1, 0, 0, 0, 1, b'1']),
        7 => frame(b'T', &[0, 0]),
        8 => frame(b't', &[0, 0]),
        _ => frame(*random.choice(b"123nIscdNAvRK").unwrap(), b""),
    }
}

/// What is owed, in an order that fits the simplest dialogues.
fn likely(sent: &[u8]) -> Vec<u8> {
    let mut replies = Vec::new();
    let mut at = 0;
    while let Ok(Some(head)) = Postgres::head(sent.get(at..).unwrap_or_default()) {
        replies.extend(match head.tag {
            b'Q' => [frame(b'C', b"SELECT 1\0"), frame(b'Z', b"I")].concat(),
            b'P' => frame(b'1', b""),
            b'B' => frame(b'2', b""),
            b'C' => frame(b'3', b""),
            b'D' => frame(b'n', b""),
            b'E' => frame(b'C', b"SELECT 1\0"),
            b'S' => frame(b'Z', b"I"),
            _ => Vec::new(),
        });
        at += head.len();
    }
    replies
}

fn spoil(random: &mut Rng, bytes: &mut Vec<u8>) {
    if bytes.is_empty() {
        return;
    }
    let at = random.usize(..bytes.len());
    match random.u8(..4) {
        0 => bytes.truncate(at),
        1 => bytes.insert(at, random.u8(..)),
        2 => drop(bytes.remove(at)),
        _ => bytes[at] = *random.choice(&[0, 1, 0x7f, 0x80, 0xff]).unwrap(),
    }
}

/// One session: `tracker` and `memory` as long as neither side breaks the protocol. Returns how
/// many requests and replies were accepted.
fn session(random: &mut Rng) -> (u32, u32) {
    let key = Postgres::new_cancel_key([7; 36], false, 0);
    let mut memory = PgMemory::signed_in(key, Vec::new());
    let mut tracker =
        PgTracker::new(Arc::new(Registry::default()), &Greeting::default(), Reported::default());
    let (mut inbox, mut rest_of_frame) = (Vec::new(), 0);
    let (mut requests, mut replies) = (0, 0);
    for _ in 0..random.usize(1..40) {
        let mut bytes: Vec<u8> = (0..random.usize(1..5)).flat_map(|_| request(random)).collect();
        if random.u8(..4) == 0 {
            spoil(random, &mut bytes);
        }
        inbox.extend(bytes);
        let passed = rest_of_frame.min(inbox.len());
        inbox.drain(..passed);
        rest_of_frame -= passed;
        let mut sent = Vec::new();
        while rest_of_frame == 0 && (tracker.is_over() || tracker.is_open()) {
            match tracker.intake(&inbox, GATHER_MAX) {
                Err(_) | Ok(Intake::Terminate | Intake::SignIn { .. }) => return (requests, replies),
                Ok(Intake::More) => break,
                Ok(Intake::Drop(len)) => {
                    assert!(0 < len && len <= inbox.len(), "{len} of {} dropped", inbox.len());
                    inbox.drain(..len);
                }
                Ok(Intake::Ready { len, rest, .. }) => {
                    assert!(0 < len && len <= inbox.len(), "{len} of {} ready", inbox.len());
                    let request: Vec<u8> = inbox.drain(..len).collect();
                    tracker.texts(&request, &mut |_| {});
                    if tracker.forward(&request, rest, &mut memory, &mut sent, &mut Vec::new()).is_err() {
                        return (requests, replies);
                    }
                    requests += 1;
                    let passed = rest.min(inbox.len());
                    inbox.drain(..passed);
                    rest_of_frame = rest - passed;
                }
            }
        }
        let mut answer = if random.u8(..8) == 0 { reply(random) } else { likely(&sent) };
        if random.u8(..8) == 0 {
            spoil(random, &mut answer);
        }
        let mut at = 0;
        while let Ok(Some(head)) = Postgres::head(answer.get(at..).unwrap_or_default()) {
            let needs = tracker.needs(head);
            assert!(needs <= 8192 && needs <= head.body, "{needs} of {} needed", head.body);
            let body = answer.get(at + head.header..).unwrap_or_default();
            let seen = body.get(..head.body).unwrap_or(body);
            if seen.len() < needs || tracker.on_backend(head, seen, &mut memory, &mut Vec::new()).is_err() {
                return (requests, replies);
            }
            replies += 1;
            at = at.saturating_add(head.len());
        }
    }
    (requests, replies)
}

#[test]
fn broken_dialogues_do_not_panic() {
    let given = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| fastrand::u64(..));
    eprintln!("SEED={seed}");
    let mut random = Rng::with_seed(seed);
    let (mut requests, mut replies) = (0, 0);
    for _ in 0..20_000 {
        let (sent, answered) = session(&mut random);
        requests += sent;
        replies += answered;
    }
    // Else nothing past the first message was tried.
    assert!(requests > 20_000 && replies > 20_000, "{requests} requests, {replies} replies");
}
