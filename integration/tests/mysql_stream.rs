//! What is larger than a packet or than any buffer runs through, by texts and prepared statements, and memory stays flat.

use std::io::Read;
use std::time::Duration;

use integration::mysql::wire::{FULL, Wire, cap};
use integration::mysql::{Cluster, Make};
use integration::{Config, Proxy, meter, until};

const MB: usize = 1 << 20;
/// A database on a busy machine takes minutes before it sends the first byte of what is so large.
const PATIENCE: Duration = Duration::from_secs(240);

struct Stage {
    _cluster: Cluster,
    proxy: Proxy,
}

impl Stage {
    fn new(make: Make) -> Self {
        let cluster = Cluster::start(make, 0);
        let proxy = Proxy::start(Config::of_mysql(&cluster));
        until("it serves", PATIENCE, || {
            let mut wire = Wire::login(proxy.port(), cap::CONNECT_WITH_DB, 45).ok()?;
            (wire.query("BEGIN").code() == 0).then_some(())
        });
        Self { _cluster: cluster, proxy }
    }

    fn wire(&self) -> Wire {
        let wire = Wire::login(self.proxy.port(), cap::CONNECT_WITH_DB | cap::DEPRECATE_EOF, 45);
        let wire = wire.expect("a sign-in");
        wire.stream().set_read_timeout(Some(PATIENCE)).expect("a socket can be told");
        wire
    }

    /// How many kilobytes the proxy grew over a run, at its highest.
    fn growth(&self, run: impl FnOnce(&mut Wire)) -> u64 {
        let id = self.proxy.process().id();
        let mut wire = self.wire();
        assert_eq!(wire.query("SELECT 1").value(), "1");
        let before = meter::resident_kb(id);
        run(&mut wire);
        assert_eq!(wire.query("SELECT 2").value(), "2");
        meter::peak_kb(id).saturating_sub(before)
    }
}

/// Payloads of exactly one and two full packets, a byte less and a byte more, in every kind of packet that can be so
/// long, in both directions.
fn payloads_of_full_packets(make: Make) {
    let stage = Stage::new(make);
    let mut wire = stage.wire();
    let length = wire.prepare("SELECT concat('', length(?), ' ', right(?, 1))").expect("prepared");
    let echo = wire.prepare("SELECT repeat('r', ?)").expect("prepared");
    for payload in [1, 2].iter().flat_map(|times| [FULL * times - 1, FULL * times, FULL * times + 1]) {
        // A text, its command in front.
        let front = "\x03SELECT 5 /* ";
        let text = format!("{front}{}*/", "x".repeat(payload - front.len() - 2));
        assert_eq!(text.len(), payload);
        assert_eq!(wire.query(&text[1..]).value(), "5", "a text of {payload}");
        // A row in text: its length, in three bytes or eight behind a mark, and the cell.
        let mark = if payload - 4 <= FULL { 4 } else { 9 };
        let row = wire.query(&format!("SELECT repeat('r', {})", payload - mark));
        assert_eq!((row.rows.len(), row.rows[0].len()), (1, payload), "a row of {payload}");
        // A row in binary has two bytes in front.
        let asked = (payload - mark - 2).to_string();
        let row = wire.execute(echo, false, &[Some(&asked)]).expect("an answer");
        assert_eq!((row.rows.len(), row.rows[0].len()), (1, payload), "a binary row of {payload}");
        // Two parameters: number, flags, iterations, bitmap, types, two lengths, and one byte for the second.
        let front = 1 + 4 + 1 + 4 + 1 + 1 + 4 + mark + 4 + 1;
        let value = "v".repeat(payload - front);
        let told = wire.execute(length, false, &[Some(&value), Some("z")]).expect("an answer");
        assert!(told.code() == 0 && told.rows[0].ends_with(&wanted(value.as_bytes())), "{payload}: {told:?}");
        // Long data: command, statement, parameter.
        let value = vec![b'l'; payload - 7];
        wire.long_data(length, 0, &value).expect("sent");
        let told = wire.execute(length, false, &[None, Some("z")]).expect("an answer");
        assert!(told.code() == 0 && told.rows[0].ends_with(&wanted(&value)), "{payload}: {told:?}");
    }
}

/// What is answered of a value and a `z` behind it.
fn wanted(value: &[u8]) -> Vec<u8> {
    format!("{} z", value.len()).into_bytes()
}

/// A result that is read by and by: the database waits, nothing is stored.
fn a_large_result_runs_through_a_slow_reader(make: Make) {
    const SQL: &str = "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 990)
        SELECT repeat('x', 1000) FROM n a, n b LIMIT 130000";
    let stage = Stage::new(make);
    for prepared in [false, true] {
        let grown = stage.growth(|wire| {
            if prepared {
                let statement = wire.prepare(SQL).expect("prepared");
                let bytes = [&statement.id.to_le_bytes()[..], &[0, 1, 0, 0, 0]].concat();
                wire.command(0x17, &bytes).expect("sent");
            } else {
                wire.command(3, SQL.as_bytes()).expect("sent");
            }
            // With all the rows of it behind: whoever reads the end has read all.
            let mut stream = wire.stream();
            let (mut buffer, mut pauses, mut seen) = (vec![0; 64 * 1024], 0, 0);
            let mut others = stage.wire();
            while seen < 120 * MB {
                let read = stream.read(&mut buffer).expect("more of it");
                assert!(read > 0, "the result ends after {seen} bytes");
                seen += read;
                if seen / (5 * MB) > pauses {
                    pauses += 1;
                    // Others are served while this one does not read.
                    assert_eq!(others.query("SELECT 3").value(), "3");
                }
            }
            drop((stream, others));
            // Somewhere in the middle of a row its client has enough.
            let old = std::mem::replace(wire, stage.wire());
            drop(old);
        });
        assert!(grown < 16 * 1024, "the proxy grew by {grown} kB, prepared: {prepared}");
    }
}

fn a_row_and_a_parameter_of_a_hundred_megabytes(make: Make) {
    let stage = Stage::new(make);
    let grown = stage.growth(|wire| {
        let asked = (100 * MB).to_string();
        assert_eq!(wire.query(&format!("SELECT repeat('y', {asked})")).rows[0].len(), 100 * MB + 9);
        let echo = wire.prepare("SELECT repeat('y', ?)").expect("prepared");
        let row = wire.execute(echo, false, &[Some(&asked)]).expect("an answer");
        assert_eq!(row.rows[0].len(), 100 * MB + 11);
        drop(row);
        let length = wire.prepare("SELECT concat('', length(?))").expect("prepared");
        let big = "z".repeat(100 * MB);
        let told = wire.execute(length, false, &[Some(&big)]).expect("an answer");
        assert!(told.rows[0].ends_with(asked.as_bytes()), "{told:?}");
        for piece in big.as_bytes().chunks(7 * MB) {
            wire.long_data(length, 0, piece).expect("sent");
        }
        let told = wire.execute(length, false, &[None]).expect("an answer");
        assert!(told.rows[0].ends_with(asked.as_bytes()), "{told:?}");
        let text = format!("SELECT length('{big}')");
        assert_eq!(wire.query(&text).value(), asked);
    });
    assert!(grown < 24 * 1024, "the proxy grew by {grown} kB");
}

/// A test of its own for each make.
macro_rules! on_both {
    ($($name:ident)*) => {
        mod mariadb { use super::Make; $(#[test] fn $name() { super::$name(Make::MariaDb); })* }
        mod mysql { use super::Make; $(#[test] fn $name() { super::$name(Make::MySql); })* }
    };
}

on_both! {
    payloads_of_full_packets
    a_large_result_runs_through_a_slow_reader
    a_row_and_a_parameter_of_a_hundred_megabytes
}
