//! A cancel ends the statement it was meant for, or nothing.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use integration::{Config, PATIENCE, Proxy, Raise, Stage, Wire, frame, holds, seeds};

/// Asks the proxy to cancel what the owner of this key runs, and waits until it has been dealt with.
fn cancel(stage: &Stage, key: &(u32, Vec<u8>)) {
    let mut wire = Wire::connect(stage.proxy.port()).expect("the proxy accepts");
    wire.send(&frame::cancel(key.0, &key.1)).expect("the proxy reads");
    assert!(wire.ends_within(PATIENCE), "a cancel's connection stays open");
}

fn key(wire: &Wire) -> (u32, Vec<u8>) {
    wire.key.clone().expect("the proxy gave a key")
}

fn running(stage: &Stage, text: &str) -> usize {
    let ask = format!("SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query = '{text}'");
    stage.cluster.servers().map(|server| server.value(&ask).parse::<usize>().unwrap_or(0)).sum()
}

#[test]
fn ends_a_statement_wherever_it_runs() {
    let stage = Stage::new(1, |config| config.text("consistency", "eventual"));
    let mut wire = stage.proxy.session();
    let key = key(&wire);
    for (begin, sql) in [
        ("", "SELECT pg_sleep(61)"),
        ("", "SELECT count(*) FROM generate_series(1, 4000000000) n"),
        ("BEGIN", "SELECT pg_sleep(62)"),
    ] {
        wire.query(begin);
        wire.send(&frame::query(sql)).unwrap();
        holds("running statements", PATIENCE, 1, || running(&stage, sql));
        let begun = Instant::now();
        cancel(&stage, &key);
        assert_eq!(wire.reply().unwrap().code(), "57014", "{sql}");
        assert!(begun.elapsed() < PATIENCE / 2);
        wire.query("ROLLBACK").ok();
        assert_eq!(wire.value("SELECT 1"), "1");
    }
    wire.send(&[frame::unnamed("SELECT pg_sleep(63)", &[]), frame::sync()].concat()).unwrap();
    holds("running statements", PATIENCE, 1, || running(&stage, "SELECT pg_sleep(63)"));
    cancel(&stage, &key);
    assert_eq!(wire.reply().unwrap().code(), "57014");
}

#[test]
fn a_wrong_key_does_nothing() {
    let stage = Stage::new(0, |config| config);
    let mut wire = stage.proxy.session();
    let (process, mut secret) = key(&wire);
    // It runs for as long as another holds a lock, and a while longer.
    let mut holder = stage.cluster.primary.admin();
    holder.query("SELECT pg_advisory_lock(7)").ok();
    let sql = "SELECT pg_advisory_xact_lock(7), pg_sleep(1)";
    wire.send(&frame::query(sql)).unwrap();
    holds("running statements", PATIENCE, 1, || running(&stage, sql));
    secret[0] ^= 1;
    cancel(&stage, &(process, secret.clone()));
    cancel(&stage, &(process, Vec::new()));
    cancel(&stage, &(process, vec![0; 256]));
    cancel(&stage, &(process.wrapping_add(1), secret));
    drop(holder);
    assert_eq!(wire.reply().unwrap().code(), "");
}

#[test]
fn every_client_has_a_key_of_its_own() {
    let stage = Stage::new(0, |config| config);
    let sessions: Vec<Wire> = (0..50).map(|_| stage.proxy.session()).collect();
    let mut keys: Vec<_> = sessions.iter().map(key).collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), sessions.len());
}

#[test]
fn a_late_cancel_does_not_hit_the_next_client() {
    let stage = Stage::new(0, |config| config.raw("pool_size", "1"));
    let mut early = stage.proxy.session();
    let mut late = stage.proxy.session();
    let key = key(&early);
    for _ in 0..20 {
        early.query("BEGIN; SELECT 1; COMMIT").ok();
        late.send(&frame::query("BEGIN; SELECT pg_sleep(0.05); COMMIT")).unwrap();
        cancel(&stage, &key);
        assert_eq!(late.reply().unwrap().code(), "", "hit by the cancel of a client that was done");
    }
}

#[test]
fn a_storm_of_cancels_hits_only_its_own_client() {
    let stage = Stage::new(0, |config| config.raw("pool_size", "2"));
    let over = AtomicBool::new(false);
    let mut target = stage.proxy.session();
    let key = key(&target);
    thread::scope(|scope| {
        let end = Raise(&over);
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                cancel(&stage, &key);
            }
        });
        let bystanders: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let mut wire = stage.proxy.session();
                    let mut hits = 0;
                    while !over.load(Ordering::Relaxed) {
                        hits += usize::from(!wire.query("SELECT pg_sleep(0.003)").code().is_empty());
                        hits += usize::from(!wire.execute("SELECT 1", &[]).code().is_empty());
                    }
                    hits
                })
            })
            .collect();
        let begun = Instant::now();
        let mut own = 0;
        while begun.elapsed() < Duration::from_secs(4) {
            let code = target.query("SELECT pg_sleep(0.002)").code().to_owned();
            assert!(["", "57014"].contains(&code.as_str()), "{code}");
            own += usize::from(code == "57014");
        }
        drop(end);
        let hits: usize = bystanders.into_iter().map(|thread| thread.join().expect("a bystander ends")).sum();
        println!("{own} own statements were cancelled");
        assert_eq!(hits, 0, "statements of others were cancelled");
    });
}

#[test]
fn a_client_that_waits_for_a_backend_can_cancel() {
    let stage = Stage::new(0, |config| config.raw("pool_size", "1").text("query_wait_timeout", "10m"));
    let mut holder = stage.proxy.session();
    holder.query("BEGIN; SELECT 1").ok();
    let mut waiting = stage.proxy.session();
    let key = key(&waiting);
    waiting.send(&frame::query("SELECT 2")).unwrap();
    holds("who waits", PATIENCE, 1.0, || stage.proxy.metrics().sum("splitpool_endpoint_waiting", &[]));
    cancel(&stage, &key);
    assert_eq!(waiting.reply().unwrap().code(), "57014");
    assert_eq!(holder.query("COMMIT").code(), "");
    assert_eq!(waiting.value("SELECT 3"), "3");
}

#[test]
fn a_copy_can_be_cancelled() {
    let stage = Stage::new(0, |config| config);
    stage.cluster.prepare("CREATE TABLE t (n int)");
    let mut wire = stage.proxy.session();
    let key = key(&wire);
    wire.send(&frame::query("COPY t FROM STDIN")).unwrap();
    wire.read_to(b'G').unwrap();
    wire.send(&frame::copy_data(b"1\n")).unwrap();
    cancel(&stage, &key);
    // The database has the cancel, and sees it with the next piece of data.
    wire.send(&frame::copy_data(b"2\n")).ok();
    wire.send(&frame::copy_done()).ok();
    assert_eq!(wire.reply().unwrap().code(), "57014");
    assert_eq!(wire.value("SELECT count(*) FROM t"), "0");
}

#[test]
fn a_cancel_that_arrives_at_another_process_is_passed_on() {
    let stage = Stage::new(0, |config| config);
    let mut configs = [Config::of(&stage.cluster), Config::of(&stage.cluster), Config::of(&stage.cluster)];
    let ports = configs.each_ref().map(|config| config.port);
    for config in &mut configs {
        let own = config.port;
        let peers = ports.map(|port| format!("localhost:{port}")).join(", ");
        config.extra = format!("\n[general]\npeer_address = \"127.0.0.1:{own}\"\npeers = \"{peers}\"\n");
    }
    let proxies = configs.map(Proxy::start);
    for (at, owner) in proxies.iter().enumerate() {
        let mut wire = owner.session();
        let (process, secret) = key(&wire);
        let sql = format!("SELECT pg_sleep({})", 60 + at);
        for (other, proxy) in proxies.iter().enumerate() {
            wire.send(&frame::query(&sql)).unwrap();
            holds("running statements", PATIENCE, 1, || running(&stage, &sql));
            // A wrong secret does nothing there either.
            for wrong in [true, false] {
                let mut messenger = Wire::connect(proxy.port()).expect("it accepts");
                let secret = if wrong { vec![0; secret.len()] } else { secret.clone() };
                messenger.send(&frame::cancel(process, &secret)).expect("it reads");
                assert!(messenger.ends_within(PATIENCE));
                if wrong {
                    assert_eq!(running(&stage, &sql), 1, "cancelled with a wrong secret");
                }
            }
            assert_eq!(wire.reply().unwrap().code(), "57014", "{at} by {other}");
        }
    }
}

#[test]
fn ten_thousand_races_between_cancelling_finishing_and_reusing() {
    let stage = Stage::new(0, |config| config.raw("pool_size", "3"));
    let rounds = std::env::var("SPLITPOOL_RACES").ok().and_then(|text| text.parse().ok()).unwrap_or(2_500);
    let strangers: u32 = thread::scope(|scope| {
        let race = |client: u64| {
            let stage = &stage;
            move || {
                let mut random = client.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
                let mut wire = stage.proxy.session();
                let key = key(&wire);
                let mut strange = 0;
                for _ in 0..rounds {
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    let sql = [
                        "SELECT 1",
                        "SELECT pg_sleep(0.001)",
                        "BEGIN; SELECT 1; COMMIT",
                        "SELECT set_config('app.x', '1', false)",
                    ];
                    let sql = sql[(random % 4) as usize];
                    let cancels = random >> 8 & 1 == 1;
                    wire.send(&frame::query(sql)).unwrap();
                    if cancels {
                        let mut messenger = Wire::connect(stage.proxy.port()).expect("the proxy accepts");
                        messenger.send(&frame::cancel(key.0, &key.1)).expect("the proxy reads");
                        if random >> 9 & 1 == 1 {
                            messenger.ends_within(PATIENCE);
                        } else {
                            // It may arrive at any time: what it hits must be this client's.
                            drop(messenger);
                        }
                    }
                    let code = wire.reply().expect("the session goes on").code().to_owned();
                    strange += u32::from(!code.is_empty() && code != "57014");
                    if code == "57014" {
                        wire.query("ROLLBACK");
                    }
                }
                strange
            }
        };
        // Clients that cancel themselves, and two that never do.
        let racers: Vec<_> = (1..=4).map(|client| scope.spawn(race(client))).collect();
        let over = AtomicBool::new(false);
        thread::scope(|inner| {
            let bystanders: Vec<_> = (0..2)
                .map(|_| {
                    inner.spawn(|| {
                        let mut wire = stage.proxy.session();
                        let mut hits = 0;
                        while !over.load(Ordering::Relaxed) {
                            hits += u32::from(!wire.query("SELECT pg_sleep(0.001)").code().is_empty());
                            hits += u32::from(!wire.execute("SELECT 1", &[]).code().is_empty());
                        }
                        hits
                    })
                })
                .collect();
            let end = Raise(&over);
            let strange: u32 = racers.into_iter().map(|racer| racer.join().expect("a racer ends")).sum();
            drop(end);
            strange
                + bystanders.into_iter().map(|thread| thread.join().expect("a bystander ends")).sum::<u32>()
        })
    });
    assert_eq!(strangers, 0, "errors that nobody asked for");
    assert_eq!(stage.open_transactions(), 0);
}

/// A client, and the number of its statement.
type Tag = (usize, u32);

/// Statements of a client that can be told apart in a database's log, each with one that is quick and one that is not.
fn tagged(rng: &mut Rng, (client, round): Tag) -> String {
    let pause = [0.0, 0.001, 0.004][rng.usize(..3)];
    let tag = format!("/* tag {client} {round} */");
    match rng.u8(..5) {
        0 => format!("SELECT pg_sleep({pause}) {tag}"),
        1 => format!("BEGIN; SELECT pg_sleep({pause}) {tag}; COMMIT"),
        2 => format!("UPDATE hit SET n = n + 1 WHERE id = {client} {tag}"),
        3 => format!("SELECT set_config('app.x', '{round}', false), pg_sleep({pause}) {tag}"),
        _ => format!("SELECT count(*) FROM generate_series(1, 3000) {tag}"),
    }
}

/// What databases have cancelled, by their own logs.
fn cancelled(stage: &Stage, since: &[u64]) -> Vec<Tag> {
    let mut found = Vec::new();
    for (server, mark) in stage.cluster.servers().zip(since) {
        let log = server.log_since(*mark);
        let mut lines =
            log.lines().filter(|line| line.contains("due to user request") || line.contains("STATEMENT:"));
        while let Some(line) = lines.next() {
            if !line.contains("due to user request") {
                continue;
            }
            let statement = lines.next().unwrap_or_default();
            let tag = statement.split_once("/* tag ").and_then(|(_, rest)| rest.split_once(" */"));
            // What has none is the proxy's own question, on behalf of the session whose cancel came late.
            let Some((client, round)) = tag.and_then(|(tag, _)| tag.split_once(' ')) else { continue };
            found.push((client.parse().expect("a number"), round.parse().expect("a number")));
        }
    }
    found
}

#[test]
fn random_cancels_end_a_statement_of_their_own_client_by_the_databases_own_record() {
    const CLIENTS: usize = 8;
    const CANCELS: usize = 400;
    let stage = Stage::new(1, |config| {
        config.raw("pool_size", "2").text("consistency", "eventual").text("max_lag", "1h")
    });
    stage.cluster.prepare(
        "CREATE TABLE hit (id int PRIMARY KEY, n int); INSERT INTO hit SELECT generate_series(0, 9), 0",
    );
    seeds::each(1..4, |seed, rng| {
        let since: Vec<u64> = stage.cluster.servers().map(integration::Server::log_mark).collect();
        let mut sessions: Vec<Wire> = (0..CLIENTS).map(|_| stage.proxy.session()).collect();
        let keys: Vec<_> = sessions.iter().map(key).collect();
        // The statement that each client sends or has sent last.
        let rounds: Vec<AtomicU32> = (0..CLIENTS).map(|_| AtomicU32::new(0)).collect();
        // Which statements each cancel may have met: those between its first byte and its end.
        let allowed = Mutex::new(Vec::new());
        let told = Mutex::new(BTreeSet::new());
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let end = Raise(&over);
            for (client, mut wire) in sessions.drain(..).enumerate() {
                let (mut rng, round, told, over) = (rng.fork(), &rounds[client], &told, &over);
                scope.spawn(move || {
                    for number in 1.. {
                        if over.load(Ordering::Relaxed) {
                            return;
                        }
                        let sql = tagged(&mut rng, (client, number));
                        let extended = rng.bool() && !sql.starts_with("BEGIN");
                        round.store(number, Ordering::SeqCst);
                        let reply = if extended { wire.execute(&sql, &[]) } else { wire.query(&sql) };
                        match reply.code() {
                            "" => {}
                            "57014" => {
                                told.lock().expect("nobody panics with it").insert((client, number));
                            }
                            code => panic!("{code}: {sql}"),
                        }
                        if reply.status != b'I' {
                            wire.query("ROLLBACK").ok();
                        }
                    }
                });
            }
            let cancelers: Vec<_> = (0..3)
                .map(|_| {
                    let (mut rng, keys, rounds, allowed, stage) =
                        (rng.fork(), &keys, &rounds, &allowed, &stage);
                    scope.spawn(move || {
                        for _ in 0..CANCELS {
                            // Some are never cancelled.
                            let client = rng.usize(..CLIENTS - 2);
                            let from = rounds[client].load(Ordering::SeqCst);
                            cancel(stage, &keys[client]);
                            let to = rounds[client].load(Ordering::SeqCst);
                            allowed.lock().expect("nobody panics with it").push((client, from..=to));
                        }
                    })
                })
                .collect();
            cancelers.into_iter().for_each(|canceler| canceler.join().expect("a canceler ends"));
            drop(end);
        });
        let (allowed, told) = (allowed.into_inner().expect("unused"), told.into_inner().expect("unused"));
        let may =
            |(client, round): &Tag| allowed.iter().any(|(of, when)| of == client && when.contains(round));
        let hit = cancelled(&stage, &since);
        println!(
            "seed {seed}: {} of {} cancels have hit, {} clients were told",
            hit.len(),
            3 * CANCELS,
            told.len()
        );
        for tag in hit.iter().chain(&told) {
            assert!(may(tag), "the statement {tag:?} was cancelled, and nobody had asked for it");
        }
        // What a database has cancelled its client was told of.
        for tag in &hit {
            assert!(told.contains(tag), "{tag:?} was cancelled, and its client does not know");
        }
        assert!(!told.is_empty(), "cancels came to nothing");
    });
    assert_eq!(stage.open_transactions(), 0);
    stage.proxy.await_no_leases();
}
