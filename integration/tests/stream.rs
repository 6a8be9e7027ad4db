//! What is larger than any buffer runs through, and memory stays flat.

use std::io::Read;
use std::thread;
use std::time::{Duration, Instant};

use integration::{Stage, Wire, frame, meter};

const MB: usize = 1 << 20;

/// A database on a busy machine takes minutes before it sends the first byte of what is so large.
const PATIENCE: Duration = Duration::from_secs(240);

fn stage() -> Stage {
    Stage::new(0, |config| config)
}

fn session(stage: &Stage) -> Wire {
    let wire = stage.proxy.session();
    wire.patience(PATIENCE);
    wire
}

/// How many kilobytes the proxy grew over a run, at its highest.
fn growth(stage: &Stage, run: impl FnOnce()) -> u64 {
    let id = stage.proxy.process().id();
    stage.proxy.session().query("SELECT 1").ok();
    let before = meter::resident_kb(id);
    run();
    meter::peak_kb(id).saturating_sub(before)
}

#[test]
fn a_large_result_runs_through_a_slow_reader() {
    let stage = stage();
    let total = 2000 * MB;
    let grown = growth(&stage, || {
        let mut wire = session(&stage);
        wire.send(&frame::query("SELECT n, repeat('x', 1000) FROM generate_series(1, 2000000) n")).unwrap();
        // Reads by pieces straight from the socket, with a pause now and then: the proxy must wait, not store.
        let mut socket = wire.sender();
        let mut buffer = vec![0; 256 * 1024];
        let (mut seen, mut tail, begun) = (0, Vec::new(), Instant::now());
        while begun.elapsed() < PATIENCE {
            let read = socket.read(&mut buffer).unwrap();
            assert!(read > 0, "the result ends after {seen} bytes");
            seen += read;
            if seen % (32 * MB) < read {
                thread::sleep(Duration::from_millis(20));
            }
            tail.extend_from_slice(&buffer[..read]);
            let keep = tail.len().saturating_sub(64);
            tail.drain(..keep);
            if tail.ends_with(&frame::message(b'Z', b"I")) && seen > total / 2 {
                break;
            }
        }
        assert!(seen > 1900 * MB, "{seen} bytes");
        assert!(String::from_utf8_lossy(&tail).contains("SELECT 2000000"));
    });
    assert!(grown < 16 * 1024, "the proxy grew by {grown} KB");
}

#[test]
fn a_row_of_five_hundred_megabytes_runs_through() {
    let stage = stage();
    let grown = growth(&stage, || {
        let mut wire = session(&stage);
        let reply = wire.query("SELECT repeat('y', 500 * 1024 * 1024)").ok();
        assert_eq!(reply.rows[0][0].as_ref().map(String::len), Some(500 * MB));
        let reply = wire.execute("SELECT repeat('y', 500 * 1024 * 1024)", &[]).ok();
        assert_eq!(reply.rows[0][0].as_ref().map(String::len), Some(500 * MB));
        assert_eq!(wire.value("SELECT 1"), "1");
    });
    assert!(grown < 16 * 1024, "the proxy grew by {grown} KB");
}

#[test]
fn a_parameter_of_a_hundred_megabytes_runs_through() {
    let stage = stage();
    let grown = growth(&stage, || {
        let mut wire = session(&stage);
        let big = "z".repeat(100 * MB);
        assert_eq!(wire.execute("SELECT length($1::text)", &[&big]).value(), (100 * MB).to_string());
        assert_eq!(wire.value("SELECT 1"), "1");
    });
    assert!(grown < 24 * 1024, "the proxy grew by {grown} KB");
}

#[test]
fn a_copy_of_a_hundred_megabytes_runs_both_ways() {
    let stage = stage();
    stage.cluster.prepare("CREATE UNLOGGED TABLE bulk (line text)");
    let grown = growth(&stage, || {
        let mut wire = session(&stage);
        wire.send(&frame::query("COPY bulk FROM STDIN")).unwrap();
        wire.read_to(b'G').unwrap();
        let line = format!("{}\n", "c".repeat(1023));
        let piece = frame::copy_data(line.repeat(64).as_bytes());
        for _ in 0..1600 {
            wire.send(&piece).unwrap();
        }
        wire.send(&frame::copy_done()).unwrap();
        assert_eq!(wire.reply().unwrap().ok().tags, ["COPY 102400"]);
        wire.send(&frame::query("COPY bulk TO STDOUT")).unwrap();
        let mut lines = 0;
        loop {
            match wire.read().unwrap().tag {
                b'd' => lines += 1,
                b'Z' => break,
                _ => {}
            }
        }
        assert_eq!(lines, 102_400);
    });
    assert!(grown < 16 * 1024, "the proxy grew by {grown} KB");
}

#[test]
fn many_slow_readers_at_once_cost_little() {
    let stage = stage();
    let grown = growth(&stage, || {
        thread::scope(|scope| {
            for _ in 0..10 {
                scope.spawn(|| {
                    let mut wire = session(&stage);
                    wire.send(&frame::query("SELECT repeat('x', 1000) FROM generate_series(1, 30000)"))
                        .unwrap();
                    thread::sleep(Duration::from_secs(1));
                    assert_eq!(wire.reply().unwrap().ok().rows.len(), 30_000);
                });
            }
        });
    });
    assert!(grown < 32 * 1024, "the proxy grew by {grown} KB");
}
