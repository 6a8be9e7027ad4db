//! Dialogues between a MySQL client, the tracker and a backend, as text; each is also delivered
//! with the client's bytes and the backend's cut at every byte.
//!
//! `C>` is what the client sends, `>B` what must reach the backend for it, `B>` what the backend
//! says and `>C` what must reach the client. A packet is a name and its fields, see `payload`;
//! a number behind `@` is its sequence number.

#![allow(clippy::unwrap_used)]

use protocol::handshake::{Dial, DialStep, DialTerms, DialTls, Greeting};
use protocol::mysql::{MyDial, MyMemory, MySql, MyTracker, Registry};
use protocol::tracker::{Intake, Memory, Tracker, TxnStatus, Verdict};
use protocol::{Held, Protocol, Reported, Settings};
use std::sync::Arc;

const SESSION_TRACK: u64 = 1 << 23;
const DEPRECATE_EOF: u64 = 1 << 24;
const LOCAL_FILES: u64 = 1 << 7;
const PROGRESS: u64 = 1 << 32;

fn packet(sequence: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_le_bytes()[..3].to_vec();
    bytes.push(sequence);
    bytes.extend_from_slice(payload);
    bytes
}

/// `query:text`, `prepare:text`, `execute:id[:flag:type:value]`, `long:id:data`, `close:id`, `reset:id`,
/// `fetch:id`, `db:name`, `option:0`, `ping`, `wipe`, `data:bytes`; from the backend `ok[:status[:id]]`, `warned`,
/// `moved:status:variable:value`, `wrote:status:transactions`, `eof[:status]`, `okeof`, `columns:n`, `def`, `row:bytes`,
/// `error:errno`, `progress`, `prepared:id:columns:params`, `file:name`.
fn payload(text: &str) -> Vec<u8> {
    let mut fields = text.split(':');
    let name = fields.next().unwrap();
    let fields: Vec<&str> = fields.collect();
    let number = |at: usize| fields.get(at).map_or(0, |text| text.parse::<u32>().unwrap());
    let id = |tag: u8| [vec![tag], number(0).to_le_bytes().to_vec()].concat();
    let status = |at: usize| if fields.len() > at { number(at) as u16 } else { 2 }.to_le_bytes();
    match name {
        "query" => [b"\x03", fields[0].as_bytes()].concat(),
        "prepare" => [b"\x16", fields[0].as_bytes()].concat(),
        "execute" => {
            let mut bytes = [id(0x17), vec![0, 1, 0, 0, 0]].concat();
            if fields.len() > 1 {
                bytes.extend_from_slice(&[0, number(1) as u8]);
                if number(1) == 1 {
                    bytes.extend_from_slice(&[number(2) as u8, 0]);
                }
                bytes.push(number(3) as u8);
            }
            bytes
        }
        "long" => [id(0x18), vec![0, 0], fields[1].as_bytes().to_vec()].concat(),
        "close" => id(0x19),
        "reset" => id(0x1a),
        "fetch" => [id(0x1c), vec![1, 0, 0, 0]].concat(),
        "db" => [b"\x02", fields[0].as_bytes()].concat(),
        "option" => vec![0x1b, number(0) as u8, 0],
        "ping" => vec![0x0e],
        "wipe" => vec![0x1f],
        "data" => fields[0].as_bytes().to_vec(),
        "ok" => [vec![0, 0, number(1) as u8], status(0).to_vec(), vec![0, 0]].concat(),
        "warned" => vec![0, 0, 0, 2, 0, 1, 0],
        "okeof" => [vec![0xfe, 0, 0], status(0).to_vec(), vec![0, 0]].concat(),
        "moved" => {
            let text = |text: &str| [vec![text.len() as u8], text.as_bytes().to_vec()].concat();
            let pair = [text(fields[1]), text(fields[2])].concat();
            let change = [vec![0, pair.len() as u8], pair].concat();
            let state = (number(0) as u16 | 0x4000).to_le_bytes().to_vec();
            [vec![0, 0, 0], state, vec![0, 0, 0, change.len() as u8], change].concat()
        }
        "wrote" => {
            let list = fields[1..].join(":").into_bytes();
            let list = [vec![0, list.len() as u8], list].concat();
            let change = [vec![3, list.len() as u8], list].concat();
            let state = (number(0) as u16 | 0x4000).to_le_bytes().to_vec();
            [vec![0, 0, 0], state, vec![0, 0, 0, change.len() as u8], change].concat()
        }
        "eof" => [vec![0xfe, 0, 0], status(0).to_vec()].concat(),
        "columns" => vec![number(0) as u8],
        "def" => b"\x03def and so on".to_vec(),
        "row" => fields[0].as_bytes().to_vec(),
        "error" => [vec![0xff], (number(0) as u16).to_le_bytes().to_vec(), b"#HY000no".to_vec()].concat(),
        "prepared" => {
            let (columns, params) = (number(1) as u16, number(2) as u16);
            let counts = [columns.to_le_bytes(), params.to_le_bytes()].concat();
            [id(0), counts, vec![0, 0, 0]].concat()
        }
        "progress" => b"\xff\xff\xff\x01\x01\x02\0\0\0\x04copy".to_vec(),
        "file" => [b"\xfb", fields[0].as_bytes()].concat(),
        other => panic!("no packet {other}"),
    }
}

fn packets(line: &str) -> Vec<u8> {
    let one = |text: &str| {
        let (text, sequence) = text.split_once('@').unwrap_or((text, "0"));
        packet(sequence.parse().unwrap(), &payload(text))
    };
    line.split('|').map(str::trim).filter(|text| !text.is_empty()).flat_map(one).collect()
}

/// A memory as a sign-in leaves it.
fn memory() -> MyMemory {
    let terms = DialTerms {
        user: "u".to_owned(),
        password: None,
        database: "app".to_owned(),
        tls: DialTls::Off,
        flavour: 0,
    };
    let mut dial = MyDial::new(terms);
    let mut greeting = b"\x0a10.11.1-MariaDB\0\x05\0\0\0abcdefgh\0".to_vec();
    greeting.extend_from_slice(&[0xff, 0xff, 45, 2, 0, 0xff, 0xff, 21]);
    greeting.extend_from_slice(&[0; 10]);
    greeting.extend_from_slice(b"ijklmnopqrst\0mysql_native_password\0");
    let mut out = Vec::new();
    dial.feed(&packet(0, &greeting), &mut out).unwrap();
    dial.feed(&packets("ok@2"), &mut out).unwrap();
    match dial.feed(&packets("ok@1"), &mut out).unwrap().1 {
        DialStep::Done(memory) => memory,
        other => panic!("{other:?}"),
    }
}

struct Stage {
    tracker: MyTracker,
    memory: MyMemory,
    inbox: Vec<u8>,
    carry: Vec<u8>,
    pass: usize,
    to_backend: Vec<u8>,
    to_client: Vec<u8>,
    after: Vec<u8>,
    passes: bool,
    upload: usize,
}

impl Stage {
    fn new(abilities: u64) -> Self {
        let greeting = Greeting { abilities, ..Greeting::default() };
        Self {
            tracker: MyTracker::new(Arc::new(Registry::default()), &greeting, Reported::default()),
            memory: memory(),
            inbox: Vec::new(),
            carry: Vec::new(),
            pass: 0,
            to_backend: Vec::new(),
            to_client: Vec::new(),
            after: Vec::new(),
            passes: false,
            upload: 0,
        }
    }

    fn client(&mut self, bytes: &[u8]) {
        self.inbox.extend_from_slice(bytes);
        // What was missing goes the same way as it comes.
        let more = self.upload.min(self.inbox.len());
        self.to_backend.extend(self.inbox.drain(..more));
        self.upload -= more;
        while self.upload == 0
            && (self.tracker.is_over() || self.tracker.is_open())
            && !self.tracker.is_stalled()
        {
            match self.tracker.intake(&self.inbox, 1 << 16).unwrap() {
                Intake::Ready { len, rest, .. } => {
                    let request = self.inbox.drain(..len).collect::<Vec<_>>();
                    let (memory, out) = (&mut self.memory, &mut self.to_backend);
                    self.tracker.forward(&request, rest, memory, out, &mut self.to_client).unwrap();
                    self.upload = rest;
                }
                Intake::Drop(len) => drop(self.inbox.drain(..len)),
                Intake::More | Intake::Terminate | Intake::SignIn { .. } => return,
            }
        }
    }

    /// As the relay does it: frames are judged by their heads and passed as they come.
    fn backend(&mut self, bytes: &[u8]) {
        self.carry.extend_from_slice(bytes);
        loop {
            let now = self.pass.min(self.carry.len());
            let passed = self.carry.drain(..now).collect::<Vec<_>>();
            self.pass -= now;
            if self.passes {
                self.to_client.extend_from_slice(&passed);
            }
            if self.pass > 0 {
                break;
            }
            self.to_client.append(&mut self.after);
            let Some(head) = MySql::head(&self.carry).unwrap() else { break };
            let seen = &self.carry[head.header..self.carry.len().min(head.len())];
            if seen.len() < self.tracker.needs(head) {
                break;
            }
            let verdict = self.tracker.on_backend(head, seen, &mut self.memory, &mut self.after).unwrap();
            self.passes = verdict != Verdict::Swallow;
            self.pass = head.len();
        }
        self.tracker.resume(&mut self.memory, &mut self.to_backend, &mut self.to_client).unwrap();
        self.client(&[]);
    }

    fn play(&mut self, dialogue: &str, cut: usize) {
        for line in dialogue.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (who, what) = line.split_at(2);
            let bytes = packets(what);
            let (one, two) = bytes.split_at(cut.min(bytes.len()));
            match who {
                "C>" => {
                    self.client(one);
                    self.client(two);
                }
                "B>" => {
                    self.backend(one);
                    self.backend(two);
                }
                ">B" => {
                    assert_eq!(show(&std::mem::take(&mut self.to_backend)), show(&bytes), "cut {cut}: {line}")
                }
                ">C" => {
                    assert_eq!(show(&std::mem::take(&mut self.to_client)), show(&bytes), "cut {cut}: {line}")
                }
                other => panic!("who is {other}?"),
            }
        }
        assert!(self.to_backend.is_empty(), "cut {cut}: {}", show(&self.to_backend));
        assert!(self.to_client.is_empty(), "cut {cut}: {}", show(&self.to_client));
    }
}

fn show(mut bytes: &[u8]) -> String {
    let mut text = String::new();
    while bytes.len() > 4 {
        let len = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], 0]) as usize;
        let (now, rest) = bytes.split_at((4 + len).min(bytes.len()));
        text.push_str(&format!("@{} {}\n", now[3], now[4..].escape_ascii()));
        bytes = rest;
    }
    text.push_str(&bytes.escape_ascii().to_string());
    text
}

/// Plays a dialogue whole and cut at every byte; `check` judges how it ended.
fn play(abilities: u64, dialogue: &str, check: impl Fn(&mut Stage)) {
    for cut in (0..160).rev() {
        let mut stage = Stage::new(abilities);
        stage.play(dialogue, cut);
        assert!(stage.tracker.is_over(), "cut {cut}: something is owed");
        check(&mut stage);
    }
}

fn idle(stage: &mut Stage) {
    assert_eq!(stage.tracker.txn(), TxnStatus::Idle);
    assert_eq!(stage.tracker.held(), Held::empty());
}

#[test]
fn results() {
    play(
        0,
        "C> query:select 1
         >B query:select 1
         B> columns:2@1 | def@2 | def@3 | eof@4 | row:x@5 | row:yz@6 | eof@7
         >C columns:2@1 | def@2 | def@3 | eof@4 | row:x@5 | row:yz@6 | eof@7
         C> query:several
         >B query:several
         B> columns:1@1 | def@2 | eof@3 | eof:10@4 | columns:1@5 | def@6 | eof@7 | eof:10@8 | ok@9
         >C columns:1@1 | def@2 | eof@3 | eof:10@4 | columns:1@5 | def@6 | eof@7 | eof:10@8 | ok@9
         C> query:no
         >B query:no
         B> error:1064@1
         >C error:1064@1
         C> query:select 1
         >B query:select 1
         B> columns:1@1 | def@2 | eof@3 | row:x@4 | error:1317@5
         >C columns:1@1 | def@2 | eof@3 | row:x@4 | error:1317@5",
        idle,
    );
    play(
        DEPRECATE_EOF,
        "C> query:select 1
         >B query:select 1
         B> columns:1@1 | def@2 | row:x@3 | okeof@4
         >C columns:1@1 | def@2 | row:x@3 | okeof@4",
        idle,
    );
}

/// MySQL tells what follows OUT parameters only ahead of them, MariaDB on either side.
#[test]
fn out_parameters() {
    let out = "B> columns:1@1 | def@2 | eof:4106@3 | row:x@4 | eof:{end}@5 | ok@6
         >C columns:1@1 | def@2 | eof:4106@3 | row:x@4 | eof:{end}@5 | ok@6
         C> query:select 1
         >B query:select 1
         B> columns:1@1 | def@2 | eof@3 | row:x@4 | eof@5
         >C columns:1@1 | def@2 | eof@3 | row:x@4 | eof@5";
    for end in ["2", "4106"] {
        let answer = out.replace("{end}", end);
        play(0, &format!("C> query:several\n>B query:several\n{answer}"), idle);
    }
}

#[test]
fn reports_of_progress_are_no_errors() {
    play(
        PROGRESS,
        "C> query:alter table
         >B query:alter table
         B> progress@1 | progress@2 | ok@3
         >C progress@1 | progress@2 | ok@3
         C> query:check table
         >B query:check table
         B> progress@1 | columns:1@2 | def@3 | eof@4 | row:x@5 | eof@6
         >C progress@1 | columns:1@2 | def@3 | eof@4 | row:x@5 | eof@6
         C> query:alter table
         >B query:alter table
         B> progress@1 | error:1062@2
         >C progress@1 | error:1062@2",
        idle,
    );
    // Nobody reports to who did not ask: there it is an error with an odd code.
    play(
        0,
        "C> query:alter table
         >B query:alter table
         B> progress@1
         >C progress@1",
        idle,
    );
}

#[test]
fn transactions_are_followed() {
    let opened = "C> query:begin
         >B query:begin
         B> ok:3@1
         >C ok:3@1";
    play(0, opened, |stage| assert_eq!(stage.tracker.txn(), TxnStatus::Open));
    let failed = format!(
        "{opened}
         C> query:no
         >B query:no
         B> error:1064@1
         >C error:1064@1"
    );
    play(0, &failed, |stage| assert_eq!(stage.tracker.txn(), TxnStatus::Open));
    // An error does not tell whether a transaction has begun by itself.
    play(
        0,
        "C> query:set autocommit=0
         >B query:set autocommit=0
         B> ok:0@1
         >C ok:0@1
         C> query:no
         >B query:no
         B> error:1064@1
         >C error:1064@1",
        |stage| assert_eq!(stage.tracker.txn(), TxnStatus::Open),
    );
}

#[test]
fn changes_reach_those_who_asked() {
    let told = |stage: &mut Stage| assert!(stage.tracker.is_touched());
    play(
        SESSION_TRACK,
        "C> query:set x
         >B query:set x
         B> moved:2:sql_mode:ANSI_QUOTES@1
         >C moved:2:sql_mode:ANSI_QUOTES@1",
        |stage| {
            told(stage);
            assert!(stage.tracker.quoting().names_in_double_quotes);
        },
    );
    play(
        0,
        "C> query:set x
         >B query:set x
         B> moved:2:time_zone:UTC@1
         >C ok:2@1",
        told,
    );
    // Positions are no state.
    play(
        0,
        "C> query:insert
         >B query:insert
         B> moved:2:last_gtid:0-1-9@1
         >C ok:2@1",
        |stage| assert!(!stage.tracker.is_touched()),
    );
}

const SOURCE: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

fn written(stage: &Stage) -> Option<String> {
    stage.tracker.written().map(ToString::to_string)
}

#[test]
fn a_reply_tells_which_transaction_was_the_sessions() {
    let is = |gtid: &str| {
        let gtid = gtid.replace('U', SOURCE);
        move |stage: &mut Stage| assert_eq!(written(stage).as_deref(), Some(gtid.as_str()))
    };
    let none = |stage: &mut Stage| assert_eq!(written(stage), None);
    let play = |dialogue: &str, check: &dyn Fn(&mut Stage)| {
        play(DEPRECATE_EOF, &dialogue.replace('U', SOURCE), |stage| check(stage));
    };
    play("C> query:i\n>B query:i\nB> wrote:2:U:7@1\n>C ok:2@1", &is("U:7"));
    play("C> query:i\n>B query:i\nB> wrote:2:U:tag:7-9@1\n>C ok:2@1", &is("U:tag:9"));
    play("C> query:i\n>B query:i\nB> moved:2:last_gtid:0-1-9@1\n>C ok:2@1", &is("0-1-9"));
    play("C> query:i\n>B query:i\nB> moved:2:last_gtid:@1\n>C ok:2@1", &none);
    // The last of several results; and a read behind a write may show more than it.
    let rows = "columns:1@2 | def@3 | row:r@4";
    play("C> query:i\n>B query:i\nB> wrote:10:U:7@1 | wrote:2:U:7-8@2\n>C ok:10@1 | ok:2@2", &is("U:8"));
    play(
        &format!(
            "C> query:i\n>B query:i\nB> wrote:10:U:7@1 | {rows} | okeof:2@5\n>C ok:10@1 | {rows} | okeof:2@5"
        ),
        &none,
    );
    // A procedure commits, shows rows, and tells the transaction behind them.
    let rows = "columns:1@1 | def@2 | row:r@3 | okeof:10@4";
    play(&format!("C> query:c\n>B query:c\nB> {rows} | wrote:2:U:7@5\n>C {rows} | ok:2@5"), &none);
    // The next command has nothing to do with it, nor has an error behind it.
    play(
        "C> query:i\n>B query:i\nB> wrote:2:U:7@1\n>C ok:2@1\nC> query:u\n>B query:u\nB> ok:2@1\n>C ok:2@1",
        &none,
    );
    play("C> query:i\n>B query:i\nB> wrote:10:U:7@1 | error:1064@2\n>C ok:10@1 | error:1064@2", &none);
}

#[test]
fn what_is_told_late_is_nobodys() {
    // Bit 14 says that something changed, and a classic EOF packet has no place for what.
    let returning = "columns:1@1 | def@2 | eof@3 | row:r@4 | eof:16386@5";
    let dialogue = format!(
        "C> query:i\n>B query:i\nB> {returning}\n>C {returning}
         C> query:u\n>B query:u\nB> moved:2:last_gtid:0-1-9@1\n>C ok:2@1"
    );
    play(0, &dialogue, |stage| assert_eq!(written(stage), None));
    let dialogue = format!("{dialogue}\nC> query:u\n>B query:u\nB> moved:2:last_gtid:0-1-10@1\n>C ok:2@1");
    play(0, &dialogue, |stage| assert_eq!(written(stage).as_deref(), Some("0-1-10")));
    // Rows in a transaction change its state, and commit nothing.
    let rows = "columns:1@1 | def@2 | eof@3 | row:r@4 | eof:16387@5";
    let dialogue = format!(
        "C> query:s\n>B query:s\nB> {rows}\n>C {rows}
         C> query:c\n>B query:c\nB> moved:2:last_gtid:0-1-9@1\n>C ok:2@1"
    );
    play(0, &dialogue, |stage| assert_eq!(written(stage).as_deref(), Some("0-1-9")));
}

#[test]
fn transactions_are_told_to_those_who_asked() {
    let wrote = format!("wrote:2:{SOURCE}:7@1");
    for (asked, set) in [
        (false, "moved:2:autocommit:ON@1"),
        (true, "moved:2:session_track_gtids:OWN_GTID@1"),
        (false, "moved:2:session_track_gtids:OFF@1"),
    ] {
        let seen = if asked { &wrote } else { "ok:2@1" };
        let dialogue = format!(
            "C> query:s\n>B query:s\nB> {set}\n>C {set}
             C> query:i\n>B query:i\nB> {wrote}\n>C {seen}"
        );
        play(SESSION_TRACK, &dialogue, |_| {});
    }
    for (asked, list) in [(false, "autocommit,time_zone"), (true, "*"), (true, "autocommit, last_gtid")] {
        let set = format!("moved:2:session_track_system_variables:{list}@1");
        let wrote = "moved:2:last_gtid:0-1-9@1";
        let seen = if asked { wrote } else { "ok:2@1" };
        let dialogue = format!(
            "C> query:s\n>B query:s\nB> {set}\n>C {set}
             C> query:i\n>B query:i\nB> {wrote}\n>C {seen}"
        );
        play(SESSION_TRACK, &dialogue, |_| {});
    }
}

const PREPARED: &str = "C> prepare:select ?
         >B prepare:select ?
         B> prepared:77:1:1@1 | def@2 | eof@3 | def@4 | eof@5
         >C prepared:1:1:1@1 | def@2 | eof@3 | def@4 | eof@5
         C> execute:1:1:8:5
         >B execute:77:1:8:5
         B> columns:1@1 | def@2 | eof@3 | row:r@4 | eof@5
         >C columns:1@1 | def@2 | eof@3 | row:r@4 | eof@5
         C> execute:1:0:0:6
         >B execute:77:1:8:6
         B> columns:1@1 | def@2 | eof@3 | eof@4
         >C columns:1@1 | def@2 | eof@3 | eof@4
";

#[test]
fn statements_go_by_the_backends_numbers() {
    play(0, PREPARED, idle);
    // Prepared once more, the metadata is fresh and the number on the backend another.
    let again = "C> prepare:select ?
         >B prepare:select ?
         B> prepared:78:1:1@1 | def@2 | eof@3 | def@4 | eof@5
         >C prepared:2:1:1@1 | def@2 | eof@3 | def@4 | eof@5
         C> query:x
         >B close:77 | query:x
         B> ok@1
         >C ok@1
         C> execute:1:0:0:6
         >B execute:78:1:8:6
         B> ok@1
         >C ok@1";
    play(0, &format!("{PREPARED}\n{again}"), idle);
}

#[test]
fn a_backend_that_lacks_a_statement_is_given_it() {
    for cut in 0..60 {
        let mut stage = Stage::new(0);
        stage.play(PREPARED, 0);
        stage.memory = memory();
        stage.play(
            "C> execute:1:0:0:7
             >B prepare:select ?
             B> prepared:3:1:1@1 | def@2 | eof@3 | def@4 | eof@5
             >B execute:3:1:8:7
             B> columns:1@1 | def@2 | eof@3 | eof@4
             >C columns:1@1 | def@2 | eof@3 | eof@4
             C> long:1:abc | long:1:def | execute:1:1:8:7
             >B long:3:abc | long:3:def | execute:3:1:8:7
             B> ok@1
             >C ok@1",
            cut,
        );
        stage.memory = memory();
        stage.play(
            "C> long:1:abc | execute:1:0:0:7
             >B prepare:select ?
             B> error:1146@1
             >C error:1146@1
             C> ping
             >C ok:2@1",
            cut,
        );
        assert!(stage.tracker.is_over());
        idle(&mut stage);
    }
}

#[test]
fn cursors_and_long_data_hold_the_backend() {
    let open = format!(
        "{PREPARED}
         C> execute:1:0:0:1
         >B execute:77:1:8:1
         B> columns:1@1 | def@2 | eof:66@3
         >C columns:1@1 | def@2 | eof:66@3
         C> fetch:1
         >B fetch:77
         B> row:a@1 | eof:66@2
         >C row:a@1 | eof:66@2"
    );
    play(0, &open, |stage| {
        assert_eq!(stage.tracker.held(), Held::HOLD_CURSOR);
        for request in ["fetch:1", "reset:1", "close:1"] {
            assert!(!stage.tracker.answer(&packets(request), &mut Vec::new()), "{request}");
        }
    });
    let end = "C> fetch:1
         >B fetch:77
         B> eof:194@1
         >C eof:194@1";
    play(0, &format!("{open}\n{end}"), idle);
    // Closing the client's number closes the cursor; the statement stays for others.
    let close = "C> close:1
         >B reset:77
         B> ok@1";
    play(0, &format!("{open}\n{close}"), idle);
    let long = format!(
        "{PREPARED}
         C> long:1:abc | query:x
         >B long:77:abc | query:x
         B> ok@1
         >C ok@1"
    );
    play(0, &long, |stage| assert_eq!(stage.tracker.held(), Held::UNKNOWN));
}

#[test]
fn the_last_insert_id_travels() {
    let mut stage = Stage::new(0);
    stage.play(
        "C> query:insert
         >B query:insert
         B> ok:2:9@1
         >C ok:2:9@1",
        0,
    );
    stage.memory = memory();
    stage.play(
        "C> query:select 1
         >B query:select 1
         B> ok@1
         >C ok@1
         C> query:select LAST_INSERT_ID()
         >B query:SET last_insert_id = 9 | query:select LAST_INSERT_ID()
         B> ok@1 | columns:1@1 | def@2 | eof@3 | row:9@4 | eof@5
         >C columns:1@1 | def@2 | eof@3 | row:9@4 | eof@5
         C> query:select LAST_INSERT_ID()
         >B query:select LAST_INSERT_ID()
         B> ok@1
         >C ok@1",
        0,
    );
}

#[test]
fn warnings_are_fetched_before_the_backend_goes() {
    play(
        0,
        "C> query:insert
         >B query:insert
         B> warned@1
         >C warned@1
         >B query:SHOW WARNINGS
         B> columns:3@1 | def@2 | def@3 | def@4 | eof@5 | row:\x07Warning\x041051\x02no@6 | eof@7",
        |stage| {
            let mut out = Vec::new();
            let told =
                "columns:3@1 | def@2 | def@3 | def@4 | eof@5 | row:\x07Warning\x041051\x02no@6 | eof@7";
            for ask in ["query: Show Warnings ;", "query:SHOW WARNINGS LIMIT 1"] {
                out.clear();
                assert!(stage.tracker.answer(&packets(ask), &mut out));
                assert_eq!(show(&out), show(&packets(told)));
            }
            for ask in ["query:SHOW WARNINGS LIMIT 1, 1", "query:SHOW ERRORS"] {
                out.clear();
                assert!(stage.tracker.answer(&packets(ask), &mut out));
                assert_eq!(show(&out).lines().count(), 6);
            }
            assert!(!stage.tracker.answer(&packets("query:SHOW WARNINGS LIMIT x"), &mut out));
            // The next statement is warned of nothing, or fails.
            stage.play("C> query:x\n>B query:x\nB> ok@1\n>C ok@1", 0);
            out.clear();
            assert!(stage.tracker.answer(&packets("query:SHOW WARNINGS"), &mut out));
            assert_eq!(show(&out).lines().count(), 6);
            stage.play("C> query:x\n>B query:x\nB> error:1062@1\n>C error:1062@1", 0);
            out.clear();
            assert!(stage.tracker.answer(&packets("query:SHOW WARNINGS"), &mut out));
            assert_eq!(show(&out).lines().count(), 7);
            assert!(show(&out).contains("1062"), "{}", show(&out));
        },
    );
    // In a transaction the backend knows by itself.
    play(
        0,
        "C> query:begin
         >B query:begin
         B> ok:3@1
         >C ok:3@1",
        |stage| assert!(!stage.tracker.answer(&packets("query:show warnings"), &mut Vec::new())),
    );
}

#[test]
fn numbers_that_no_reply_tells_are_asked_for() {
    play(
        0,
        "C> query:call p()
         >B query:call p()
         B> columns:1@1 | def@2 | eof@3 | row:9@4 | eof:10@5
         >C columns:1@1 | def@2 | eof@3 | row:9@4 | eof:10@5
         B> ok@6
         >C ok@6
         >B query:SELECT LAST_INSERT_ID()
         B> columns:1@1 | def@2 | eof@3 | row:\x0277@4 | eof@5
         C> query:select 1
         >B query:select 1
         B> error:1062@1
         >C error:1062@1",
        |stage| {
            stage.memory.ran_errand();
            stage.play("C> query:select LAST_INSERT_ID()\n>B query:select LAST_INSERT_ID()", 0);
        },
    );
    // Within a transaction the backend knows, and is asked behind it.
    play(
        0,
        "C> query:call p()
         >B query:call p()
         B> ok:3@1
         >C ok:3@1
         C> query:commit
         >B query:commit
         B> ok@1
         >C ok@1
         >B query:SELECT LAST_INSERT_ID()
         B> columns:1@1 | def@2 | eof@3 | row:\x0277@4 | eof@5",
        |_| {},
    );
}

#[test]
fn a_connection_ends_with_a_transaction_if_that_is_asked() {
    for (text, ends) in
        [("commit release", true), ("rollback and chain no release", false), ("commit", false)]
    {
        play(0, &format!("C> query:{text}\n>B query:{text}\nB> ok@1\n>C ok@1"), |stage| {
            let next = stage.tracker.intake(&packets("query:x"), 1 << 16).unwrap();
            assert_eq!(matches!(next, Intake::Terminate), ends, "{text}");
        });
    }
}

#[test]
fn files_only_for_those_who_offer_them() {
    play(
        LOCAL_FILES,
        "C> query:load data
         >B query:load data
         B> file:a.csv@1
         >C file:a.csv@1
         C> data:one@2 | data:two@3 | data:@4
         >B data:one@2 | data:two@3 | data:@4
         B> ok@5
         >C ok@5",
        idle,
    );
    let mut stage = Stage::new(0);
    stage.play("C> query:load data\n>B query:load data", 0);
    let bytes = packets("file:/etc/passwd@1");
    let head = MySql::head(&bytes).unwrap().unwrap();
    let told = stage.tracker.on_backend(head, &bytes[4..], &mut stage.memory, &mut Vec::new());
    assert!(told.is_err(), "a database must not read a client's files unasked");
}

#[test]
fn what_needs_no_backend_is_answered() {
    let mut stage = Stage::new(0);
    let mut out = Vec::new();
    for (request, answer) in
        [("ping", "ok@1"), ("execute:5", "error:1243@1"), ("reset:5", "error:1243@1"), ("close:5", "")]
    {
        out.clear();
        assert!(stage.tracker.answer(&packets(request), &mut out), "{request}");
        assert_eq!(out.get(4..7), packets(answer).get(4..7), "{request}");
    }
    assert!(!stage.tracker.answer(&packets("query:select 1"), &mut out));
    assert!(stage.tracker.is_reset(&packets("wipe")));
    assert!(!stage.tracker.is_reset(&packets("ping")));
}

#[test]
fn a_refused_request_is_sent_once_more() {
    let mut stage = Stage::new(0);
    stage.play(PREPARED, 0);
    stage.client(&packets("execute:1:0:0:6"));
    stage.to_backend.clear();
    let bytes = packets("error:1290@1");
    let head = MySql::head(&bytes).unwrap().unwrap();
    let verdict = stage.tracker.on_backend(head, &bytes[4..], &mut stage.memory, &mut Vec::new()).unwrap();
    assert_eq!(verdict, Verdict::Failed(*b"01290"));
    stage.tracker.mute();
    stage.tracker.rewind();
    stage.memory = memory();
    stage.play(
        "C> execute:1:0:0:6
         >B prepare:select ?
         B> prepared:1:1:1@1 | def@2 | eof@3 | def@4 | eof@5
         >B execute:1:1:8:6
         B> ok@1
         >C ok@1",
        0,
    );
}

#[test]
fn a_statement_is_prepared_under_the_settings_of_its_birth() {
    let mut stage = Stage::new(0);
    stage.play(PREPARED, 0);
    stage.memory = memory();
    stage.memory.set_settings(Settings::new(vec![("splitpool.schema".into(), "other".into())]));
    stage.play(
        "C> execute:1:0:0:6
         >B db:app | prepare:select ? | db:other
         B> ok@1 | prepared:1:0:1@1 | def@2 | eof@3 | ok@1
         >B execute:1:1:8:6
         B> ok@1
         >C ok@1",
        0,
    );
}

#[test]
fn nonsense_is_an_error_and_never_more() {
    let dialogue = packets("columns:2@1 | def@2 | def@3 | eof@4 | row:x@5 | eof@6");
    let prepared = packets("prepared:7:1:1@1 | def@2 | eof@3 | def@4 | eof@5");
    let mut random = fastrand::Rng::with_seed(5);
    for round in 0..20_000 {
        let (request, mut bytes) =
            if round % 2 == 0 { ("query:x", dialogue.clone()) } else { ("prepare:x", prepared.clone()) };
        for _ in 0..random.usize(1..4) {
            let at = random.usize(..bytes.len());
            bytes[at] = random.u8(..);
        }
        let mut stage = Stage::new(0);
        stage.client(&packets(request));
        let (mut at, mut after) = (0, Vec::new());
        while let Ok(Some(head)) = MySql::head(&bytes[at..]) {
            let Some(seen) = bytes.get(at + 4..(at + head.len()).min(bytes.len())) else { break };
            if seen.len() < stage.tracker.needs(head)
                || stage.tracker.on_backend(head, seen, &mut stage.memory, &mut after).is_err()
            {
                break;
            }
            at = (at + head.len()).min(bytes.len());
        }
    }
    for round in 0..20_000 {
        let mut bytes =
            packets("long:1:abc | execute:1:1:8:5 | query:x | prepare:y | fetch:1 | reset:1 | close:1");
        for _ in 0..random.usize(1..6) {
            let at = random.usize(..bytes.len());
            bytes[at] = random.u8(..);
        }
        let mut stage = Stage::new(round);
        stage.tracker.texts(&bytes, &mut |_| {});
        stage.tracker.answer(&bytes, &mut Vec::new());
        while let Ok(Intake::Ready { len, rest, .. }) = stage.tracker.intake(&bytes, 1 << 10) {
            let request = bytes.drain(..len).collect::<Vec<_>>();
            let (memory, out) = (&mut stage.memory, &mut stage.to_backend);
            if stage.tracker.forward(&request, rest, memory, out, &mut stage.to_client).is_err() || len == 0 {
                break;
            }
        }
    }
}

#[test]
fn long_payloads_go_over_several_packets() {
    let full = vec![b'x'; 0xff_ffff];
    let mut bytes = packet(0, &[b"\x03".as_slice(), &full[1..]].concat());
    bytes.extend_from_slice(&packet(1, b""));
    let mut stage = Stage::new(0);
    stage.client(&bytes);
    assert_eq!(stage.to_backend, bytes);
    stage.to_backend.clear();
    assert!(!stage.tracker.is_open());
    stage.play(
        "B> columns:1@2 | def@3 | eof@4
         >C columns:1@2 | def@3 | eof@4",
        0,
    );
    // A row of the same length, whose second packet looks like the end of a result.
    let mut row = packet(5, &full);
    row.extend_from_slice(&packet(6, b"\xfe\0\0\x02\0"));
    stage.backend(&row);
    assert_eq!(stage.to_client, row);
    stage.to_client.clear();
    assert!(!stage.tracker.is_over());
    stage.play("B> eof@7\n>C eof@7", 0);
    assert!(stage.tracker.is_over());
}
