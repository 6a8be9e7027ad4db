//! However the bytes of a client are cut on their way, the same reaches the backend and the same comes back; and
//! however little is seen of a reply's message, beyond what is needed, it is judged alike.
//!
//! Dialogues come from seeds: a failure shows its own, `SEED=<seed>` repeats it.

#![allow(clippy::unwrap_used)]

use fastrand::Rng;
use protocol::handshake::Greeting;
use protocol::postgres::{PgMemory, PgTracker, Postgres, Registry};
use protocol::tracker::{Intake, Tracker, TxnStatus, Verdict};
use protocol::{Protocol, Reported};
use std::sync::Arc;

fn frame(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap();
    [&[tag], length.to_be_bytes().as_slice(), body].concat()
}

/// A database in a few lines: it answers as the protocol says, and knows no SQL but three words.
#[derive(Default)]
struct Database {
    inbox: Vec<u8>,
    /// What it has obeyed.
    heard: Vec<u8>,
    copying: bool,
    /// In COPY of a simple query, which has its own end.
    simple: bool,
    skipping: bool,
    bound: Vec<u8>,
}

impl Database {
    fn hear(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.inbox.extend_from_slice(bytes);
        let mut replies = Vec::new();
        while let Some(head) = Postgres::head(&self.inbox).unwrap() {
            if self.inbox.len() < head.len() {
                break;
            }
            let whole: Vec<u8> = self.inbox.drain(..head.len()).collect();
            if self.obeys(head.tag) {
                self.heard.extend_from_slice(&whole);
                self.answer(head.tag, &whole[head.header..], &mut replies);
            }
        }
        replies
    }

    /// Whether a message means anything now.
    fn obeys(&self, tag: u8) -> bool {
        match tag {
            b'H' | b'S' if self.copying => false,
            b'd' | b'c' | b'f' => self.copying,
            _ => !self.skipping || tag == b'S',
        }
    }

    fn answer(&mut self, tag: u8, body: &[u8], out: &mut Vec<u8>) {
        let holds = |word: &[u8]| body.windows(word.len()).any(|part| part == word);
        let fails = || frame(b'E', b"SERROR\0VERROR\0C22012\0Mno\0\0");
        if self.copying {
            match tag {
                b'd' => return,
                b'c' => out.extend(frame(b'C', b"COPY 1\0")),
                _ => {
                    out.extend(fails());
                    self.skipping = !self.simple;
                }
            }
            self.copying = false;
            if self.simple {
                out.extend(frame(b'Z', b"I"));
            }
            return;
        }
        match tag {
            b'Q' if holds(b"fail") => out.extend([fails(), frame(b'Z', b"I")].concat()),
            b'Q' if holds(b"copy") => {
                (self.copying, self.simple) = (true, true);
                out.extend(frame(b'G', &[0, 0, 0]));
            }
            b'Q' => {
                let rows = [frame(b'T', &[0, 0]), frame(b'D', &[0, 0]), frame(b'C', b"SELECT 1\0")].concat();
                out.extend([rows, frame(b'Z', b"I")].concat());
            }
            b'P' if holds(b"fail") => {
                out.extend(fails());
                self.skipping = true;
            }
            b'P' => {
                self.bound = body.to_vec();
                out.extend(frame(b'1', b""));
            }
            b'B' => out.extend(frame(b'2', b"")),
            b'D' => out.extend(frame(b'n', b"")),
            b'C' => out.extend(frame(b'3', b"")),
            b'E' if self.bound.windows(4).any(|part| part == b"copy") => {
                (self.copying, self.simple) = (true, false);
                out.extend(frame(b'G', &[0, 0, 0]));
            }
            b'E' => out.extend(frame(b'C', b"SELECT 1\0")),
            b'S' => {
                self.skipping = false;
                self.bound.clear();
                out.extend(frame(b'Z', b"I"));
            }
            _ => {}
        }
    }
}

/// A session between a client and a database.
struct Session {
    tracker: PgTracker,
    memory: PgMemory,
    database: Database,
    inbox: Vec<u8>,
    to_client: Vec<u8>,
    /// Bytes of a streamed message that are still to come.
    rest: usize,
    gather_max: usize,
}

impl Session {
    fn new(gather_max: usize) -> Self {
        let key = Postgres::new_cancel_key([7; 36], false, 0);
        Self {
            tracker: PgTracker::new(Arc::new(Registry::default()), &Greeting::default(), Reported::default()),
            memory: PgMemory::signed_in(key, Vec::new()),
            database: Database::default(),
            inbox: Vec::new(),
            to_client: Vec::new(),
            rest: 0,
            gather_max,
        }
    }

    fn client(&mut self, bytes: &[u8]) {
        self.inbox.extend_from_slice(bytes);
        loop {
            if self.rest > 0 {
                let now = self.rest.min(self.inbox.len());
                let piece: Vec<u8> = self.inbox.drain(..now).collect();
                self.rest -= now;
                self.backend(&piece);
                if self.rest > 0 {
                    return;
                }
            }
            if !self.tracker.is_over() && !self.tracker.is_open() {
                return;
            }
            match self.tracker.intake(&self.inbox, self.gather_max).unwrap() {
                Intake::Ready { len, rest, .. } => {
                    let request: Vec<u8> = self.inbox.drain(..len).collect();
                    let mut out = Vec::new();
                    let (memory, client) = (&mut self.memory, &mut self.to_client);
                    self.tracker.forward(&request, rest, memory, &mut out, client).unwrap();
                    self.rest = rest;
                    self.backend(&out);
                }
                Intake::Drop(len) => drop(self.inbox.drain(..len)),
                Intake::More | Intake::Terminate | Intake::SignIn { .. } => return,
            }
        }
    }

    fn backend(&mut self, bytes: &[u8]) {
        let replies = self.database.hear(bytes);
        let mut left = &replies[..];
        while let Some(head) = Postgres::head(left).unwrap() {
            let (whole, behind) = left.split_at(head.len());
            // No more is shown than is asked for.
            let seen = &whole[head.header..head.header + self.tracker.needs(head)];
            let mut after = Vec::new();
            match self.tracker.on_backend(head, seen, &mut self.memory, &mut after).unwrap() {
                Verdict::Relay | Verdict::Failed(_) => self.to_client.extend_from_slice(whole),
                Verdict::Swallow | Verdict::Reworded(_) => {}
            }
            self.to_client.extend_from_slice(&after);
            left = behind;
        }
    }
}

/// Whole requests, one after the other.
fn dialogue(rng: &mut Rng) -> Vec<u8> {
    let mut bytes = Vec::new();
    let text = |rng: &mut Rng| *rng.choice(&["one", "two", "fail", "copy", ""]).unwrap();
    let copied = |rng: &mut Rng| {
        let data = (0..rng.usize(..3)).flat_map(|_| frame(b'd', &vec![b'x'; rng.usize(..90)]));
        let mut bytes: Vec<u8> = data.collect();
        bytes.extend(if rng.bool() { frame(b'c', b"") } else { frame(b'f', b"no\0") });
        bytes
    };
    for _ in 0..rng.usize(1..5) {
        if rng.bool() {
            let text = text(rng);
            let padding = " ".repeat(rng.usize(..100));
            bytes.extend(frame(b'Q', format!("{text}{padding}\0").as_bytes()));
            if text == "copy" || rng.u8(..6) == 0 {
                bytes.extend(copied(rng));
            }
            continue;
        }
        for _ in 0..rng.usize(..4) {
            let name = *rng.choice(&["", "s"]).unwrap();
            match rng.u8(..7) {
                0 | 1 => {
                    let text = *rng.choice(&["one", "two", "fail"]).unwrap();
                    bytes.extend(frame(b'P', format!("{name}\0{text}\0\0\0").as_bytes()));
                }
                2 => bytes.extend(frame(b'B', format!("\0{name}\0\0\0\0\0\0\0").as_bytes())),
                3 => bytes.extend(frame(b'D', format!("S{name}\0").as_bytes())),
                4 => bytes.extend(frame(b'E', b"\0\0\0\0\0")),
                5 => bytes.extend(frame(b'C', format!("S{name}\0").as_bytes())),
                _ => bytes.extend(frame(b'H', b"")),
            }
        }
        if rng.u8(..4) == 0 {
            bytes.extend(frame(b'P', b"\0copy\0\0\0"));
            bytes.extend(frame(b'B', b"\0\0\0\0\0\0\0\0"));
            bytes.extend(frame(b'E', b"\0\0\0\0\0"));
            bytes.extend(copied(rng));
        }
        bytes.extend(frame(b'S', b""));
    }
    bytes
}

/// What reached the database and the client of a dialogue that came in these parts.
fn play(parts: &[&[u8]], gather_max: usize) -> (Vec<u8>, Vec<u8>, bool, TxnStatus) {
    let mut session = Session::new(gather_max);
    parts.iter().for_each(|part| session.client(part));
    let over = session.tracker.is_over() && session.inbox.is_empty();
    (session.database.heard, session.to_client, over, session.tracker.txn())
}

#[test]
fn of_requests_change_nothing() {
    let one = std::env::var("SEED").ok().and_then(|seed| seed.parse::<u64>().ok());
    for seed in one.map_or(0..400, |seed| seed..seed + 1) {
        let bytes = dialogue(&mut Rng::with_seed(seed));
        for gather_max in [1 << 16, 48] {
            let whole = play(&[&bytes], gather_max);
            assert!(whole.2, "SEED={seed}: something is owed or left\n{}", show(&bytes));
            for at in 0..bytes.len() {
                let (one, two) = bytes.split_at(at);
                let cut = play(&[one, two], gather_max);
                assert_eq!(show(&cut.0), show(&whole.0), "SEED={seed}, cut at {at}, to the database");
                assert_eq!(show(&cut.1), show(&whole.1), "SEED={seed}, cut at {at}, to the client");
                assert_eq!((cut.2, cut.3), (whole.2, whole.3), "SEED={seed}, cut at {at}");
            }
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            let single = play(&single, gather_max);
            assert_eq!(show(&single.0), show(&whole.0), "SEED={seed}, byte by byte, to the database");
            assert_eq!(show(&single.1), show(&whole.1), "SEED={seed}, byte by byte, to the client");
        }
    }
}

/// Bytes for people, without the numbers of statements: what the database skips may take one or not.
fn show(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes).escape_debug().to_string();
    let mut parts = text.split("splitpool_");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |shown, part| {
        shown + "splitpool_N" + part.trim_start_matches(|digit: char| digit.is_ascii_digit())
    })
}

#[test]
fn of_replies_change_no_verdict() {
    let frames = [
        frame(b'C', b"DEALLOCATE ALL\0"),
        frame(b'C', b"DISCARD ALL\0"),
        frame(b'C', &[b"INSERT 0 ", &[b'1'; 60][..], b"\0"].concat()),
        frame(b'S', b"standard_conforming_strings\0off\0"),
        frame(b'S', &[b"application_name\0", &[b'x'; 20_000][..], b"\0"].concat()),
        frame(b'E', b"SERROR\0VERROR\0C26000\0Mprepared statement \"splitpool_1\" does not exist\0\0"),
        frame(b'E', &[b"SERROR\0VERROR\0C42601\0M", &[b'x'; 20_000][..], b"\0\0"].concat()),
        frame(b'D', &[0; 3000]),
        frame(b'Z', b"I"),
    ];
    for bytes in &frames {
        let head = Postgres::head(bytes).unwrap().unwrap();
        let body = &bytes[head.header..];
        let judge = |seen: &[u8]| {
            let mut session = Session::new(1 << 16);
            let mut out = Vec::new();
            let batch = [frame(b'P', b"s\0one\0\0\0"), frame(b'B', b"\0s\0\0\0\0\0\0\0")].concat();
            let request = match head.tag {
                b'E' => [batch, frame(b'S', b"")].concat(),
                _ => frame(b'Q', b"one\0"),
            };
            let (tracker, memory) = (&mut session.tracker, &mut session.memory);
            tracker.intake(&request, 1 << 16).unwrap();
            tracker.forward(&request, 0, memory, &mut out, &mut session.to_client).unwrap();
            let mut after = Vec::new();
            if head.tag == b'E' {
                let parsed = frame(b'1', b"");
                tracker
                    .on_backend(Postgres::head(&parsed).unwrap().unwrap(), b"", memory, &mut after)
                    .unwrap();
            }
            let verdict = tracker.on_backend(head, seen, memory, &mut after).unwrap();
            (verdict, show(&after), tracker.quoting().trusted, tracker.is_over(), tracker.take_discarded())
        };
        let session = Session::new(1 << 16);
        let needed = session.tracker.needs(head);
        let whole = judge(body);
        for seen in needed..=body.len() {
            if seen < needed + 70 || seen + 70 > body.len() {
                assert_eq!(
                    judge(&body[..seen]),
                    whole,
                    "{} of {}",
                    seen,
                    show(&bytes[..bytes.len().min(80)])
                );
            }
        }
    }
}
