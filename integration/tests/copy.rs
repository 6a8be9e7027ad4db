//! COPY in its bad moments, by many at once: who stops in the middle, who goes on after an error, who is cancelled
//! or killed. What counts is in the tables, and that nothing is left open.

use std::net::Shutdown;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use fastrand::Rng;
use integration::paths::postgres_program;
use integration::seeds;
use integration::wire::Error;
use integration::{Login, PASSWORD, Stage, Wire, frame, holds, until};

const SCHEMA: &str = "CREATE TABLE rows (who int, n int CHECK (n >= 0));
    CREATE TABLE one (who int PRIMARY KEY)";

/// One for all tests: they know their rows by `who`.
fn stage() -> &'static Stage {
    static STAGE: OnceLock<Stage> = OnceLock::new();
    STAGE.get_or_init(|| {
        let stage = Stage::new(0, |mut config| {
            config.listen = "auth = \"trust\"\n".to_owned();
            config.raw("pool_size", "8").text("query_wait_timeout", "60s")
        });
        stage.cluster.prepare(SCHEMA);
        stage
    })
}

fn count(who: u64) -> u64 {
    let ask = format!("SELECT count(*) FROM rows WHERE who = {who}");
    stage().cluster.primary.value(&ask).parse().expect("a count is a number")
}

/// No session of the role `app` works, waits for data, or is in a transaction.
fn is_quiet() {
    let busy = "usename = 'app' AND (state <> 'idle' OR xact_start IS NOT NULL)";
    stage().await_none(Duration::from_secs(60), busy);
    stage().proxy.await_no_leases();
}

fn data(who: u64, rows: std::ops::Range<u64>) -> Vec<u8> {
    rows.flat_map(|n| frame::copy_data(format!("{who}\t{n}\n").as_bytes())).collect()
}

/// COPY by either protocol, up to its data. The extended one is ended by a Sync behind the data, and asks to be heard
/// before that.
fn begin(rng: &mut Rng) -> (Vec<u8>, Vec<u8>) {
    let sql = "COPY rows FROM STDIN";
    if rng.bool() {
        return (frame::query(sql), Vec::new());
    }
    let batch = [frame::parse("", sql), frame::bind("", "", &[]), frame::execute("", 0)].concat();
    // Many drivers send a Sync at once, which the database does not heed.
    ([batch, if rng.bool() { frame::sync() } else { frame::flush() }].concat(), frame::sync())
}

/// What a client does with a COPY.
#[derive(Clone, Copy, Debug)]
enum Way {
    Whole,
    Fails,
    BadRow,
    Vanishes,
    HalfCloses,
    SaysGoodbye,
    InTransaction,
    Ahead,
    Cancelled,
}

const WAYS: [Way; 9] = [
    Way::Whole,
    Way::Fails,
    Way::BadRow,
    Way::Vanishes,
    Way::HalfCloses,
    Way::SaysGoodbye,
    Way::InTransaction,
    Way::Ahead,
    Way::Cancelled,
];

/// Runs one COPY of `who`; returns how many rows it must have left.
fn copy(way: Way, who: u64, rng: &mut Rng) -> u64 {
    let rows = rng.u64(1..400);
    let (begin, end) = begin(rng);
    let mut wire = stage().proxy.session();
    let done = [frame::copy_done(), end.clone()].concat();
    let code = |wire: &mut Wire| wire.reply().expect("an answer").code().to_owned();
    match way {
        Way::Whole | Way::Ahead => {
            if matches!(way, Way::Ahead) {
                wire.send(&[begin, data(who, 0..rows), done].concat()).expect("it is open");
            } else {
                wire.send(&begin).expect("it is open");
                wire.read_to(b'G').expect("it may copy");
                wire.send(&data(who, 0..rows)).expect("it is open");
                wire.send(&done).expect("it is open");
            }
            assert_eq!(code(&mut wire), "");
            assert_eq!(wire.value("SELECT 1"), "1");
            return rows;
        }
        Way::Fails => {
            let fail = [frame::copy_fail("no more"), end].concat();
            wire.send(&[begin, data(who, 0..rows), fail].concat()).expect("it is open");
            assert_eq!(code(&mut wire), "57014");
            assert_eq!(wire.value("SELECT 1"), "1");
        }
        Way::BadRow => {
            // The client has not heard of the error yet, and goes on for a while; large frames, and their cuts.
            let wrong = frame::copy_data(format!("{who}\t-1\n").as_bytes());
            let long = frame::copy_data(format!("{who}\t{}1\n", " ".repeat(200_000)).as_bytes());
            wire.send(&[begin, data(who, 0..rows), wrong].concat()).expect("it is open");
            wire.send(&[data(who, 0..rows), long].concat()).expect("it is open");
            wire.send(&done).expect("it is open");
            let code = code(&mut wire);
            assert!(code == "23514" || code == "22P02", "{code}");
            assert_eq!(wire.value("SELECT 1"), "1");
        }
        Way::Vanishes | Way::HalfCloses | Way::SaysGoodbye => {
            wire.send(&begin).expect("it is open");
            if rng.bool() {
                wire.read_to(b'G').expect("it may copy");
            }
            let data = data(who, 0..rows);
            // In the middle of a message, as often as not.
            let cut = if rng.bool() { data.len() } else { rng.usize(..data.len()) };
            wire.send(&data[..cut]).expect("it is open");
            match way {
                Way::HalfCloses => drop(wire.sender().shutdown(Shutdown::Write)),
                Way::SaysGoodbye if cut == data.len() => wire.send(&frame::terminate()).expect("it is open"),
                _ => {}
            }
        }
        Way::InTransaction => {
            wire.query("BEGIN").ok();
            wire.send(&[begin, data(who, 0..rows), done].concat()).expect("it is open");
            assert_eq!(code(&mut wire), "");
            assert_eq!(wire.value(&format!("SELECT count(*) FROM rows WHERE who = {who}")), rows.to_string());
            let keeps = rng.bool();
            wire.query(if keeps { "COMMIT" } else { "ROLLBACK" }).ok();
            return if keeps { rows } else { 0 };
        }
        Way::Cancelled => {
            wire.send(&begin).expect("it is open");
            wire.read_to(b'G').expect("it may copy");
            wire.send(&data(who, 0..rows)).expect("it is open");
            let (process, key) = wire.key.clone().expect("a key");
            let mut canceler = Wire::connect(stage().proxy.port()).expect("the proxy accepts");
            canceler.send(&frame::cancel(process, &key)).expect("it is open");
            assert!(canceler.ends_within(Duration::from_secs(60)));
            // A database that waits for data hears of it with the next message.
            wire.send(&[data(who, 0..rows), done].concat()).expect("it is open");
            assert_eq!(code(&mut wire), "57014");
            assert_eq!(wire.value("SELECT 1"), "1");
        }
    }
    0
}

#[test]
fn by_many_at_once() {
    let stage = stage();
    let mut expected = Vec::new();
    thread::scope(|scope| {
        let clients: Vec<_> = (0..6_u64)
            .map(|client| {
                scope.spawn(move || {
                    let mut left = Vec::new();
                    seeds::each(client * 27..(client + 1) * 27, |seed, rng| {
                        let who = 1_000 + seed;
                        let way = WAYS[(seed % WAYS.len() as u64) as usize];
                        left.push((way, who, copy(way, who, rng)));
                    });
                    left
                })
            })
            .collect();
        for client in clients {
            expected.extend(client.join().expect("a client's thread ends"));
        }
    });
    is_quiet();
    for (way, who, rows) in expected {
        assert_eq!(count(who), rows, "{way:?} {who}");
    }
    // The next ones find their backends as new.
    for who in 2_000..2_016 {
        let rows = copy(Way::Whole, who, &mut Rng::with_seed(who));
        assert_eq!(count(who), rows);
    }
    stage.proxy.assert_sound();
}

#[test]
fn in_pipelines() {
    let mut wire = stage().proxy.session();
    let batch = |sql: &str| [frame::parse("", sql), frame::bind("", "", &[]), frame::execute("", 0)].concat();
    for round in 0..20_u64 {
        let who = 3_000 + round;
        let insert = batch(&format!("INSERT INTO rows VALUES ({who}, 0)"));
        let copied = [batch("COPY rows FROM STDIN"), data(who, 0..50), frame::copy_done()].concat();
        // Before and behind other statements, in one batch and over several Syncs, with an error at the end.
        wire.send(&[insert.clone(), copied.clone(), insert.clone(), frame::sync()].concat()).expect("open");
        wire.send(&[copied.clone(), frame::sync(), frame::query("SELECT 'between'")].concat()).expect("open");
        wire.send(&[copied, batch("SELECT 1/0"), insert, frame::sync()].concat()).expect("open");
        assert_eq!(wire.reply().expect("an answer").ok().tags, ["INSERT 0 1", "COPY 50", "INSERT 0 1"]);
        assert_eq!(wire.reply().expect("an answer").ok().tags, ["COPY 50"]);
        assert_eq!(wire.reply().expect("an answer").value(), "between");
        assert_eq!(wire.reply().expect("an answer").code(), "22012");
        assert_eq!(count(who), 102);
    }
    // Out and in by turns.
    for _ in 0..20 {
        let reply = wire.query("COPY (SELECT generate_series(1, 500)) TO STDOUT; SELECT 'behind'").ok();
        assert_eq!(reply.order.matches('d').count(), 500);
        assert_eq!(reply.rows.len(), 1);
    }
}

/// The database says that it wants data as soon as the statement is executed, whether or not the batch has ended.
#[test]
fn before_the_batch_has_ended() {
    let cluster = &stage().cluster;
    let direct = Login::new(cluster.primary.port(), "app", PASSWORD, "app");
    let dialogue = |login: &Login, who: u64| {
        let mut wire = Wire::login(login).expect("it signs in");
        wire.patience(Duration::from_secs(60));
        let insert = format!("INSERT INTO rows VALUES ({who}, 0)");
        let ahead = [frame::parse("", &insert), frame::bind("", "", &[]), frame::execute("", 0)].concat();
        let prepare = [frame::parse("c", "COPY rows FROM STDIN"), frame::sync()].concat();
        wire.ask(&prepare).expect("an answer").ok();
        let mut orders = Vec::new();
        for (name, ahead) in [("", &b""[..]), ("c", b""), ("", &ahead), ("c", &ahead)] {
            let parse = if name.is_empty() { frame::parse("", " copy rows from stdin") } else { Vec::new() };
            let copy = [parse, frame::bind("", name, &[]), frame::execute("", 0)].concat();
            wire.send(&[ahead, &copy].concat()).expect("it is open");
            let mut order = String::new();
            while !order.ends_with('G') {
                order.push(char::from(wire.read().expect("it wants data").tag));
            }
            wire.send(&[data(who, 0..10), frame::copy_done(), frame::sync()].concat()).expect("it is open");
            orders.push(order + &wire.reply().expect("an answer").ok().order);
        }
        assert_eq!(wire.value("SELECT 1"), "1");
        orders
    };
    let (proxied, directly) = (dialogue(&stage().proxy.login(), 5_001), dialogue(&direct, 5_002));
    assert_eq!(proxied, directly);
    assert_eq!((count(5_001), count(5_002)), (42, 42));
    is_quiet();
}

#[test]
fn by_a_client_that_is_killed() {
    let stage = stage();
    for round in 0..8_u64 {
        let who = 4_000 + round;
        let info = format!("host=127.0.0.1 port={} user=app dbname=app sslmode=disable", stage.proxy.port());
        let mut command = Command::new(postgres_program("psql"));
        command.args(["-X", "-q", &info, "-c", "COPY rows FROM STDIN"]).env("PGPASSWORD", PASSWORD);
        let mut child = command.stdin(Stdio::piped()).spawn().expect("psql starts");
        let mut pipe = child.stdin.take().expect("it is piped");
        let lines: String = (0..20_000).map(|n| format!("{who}\t{n}\n")).collect();
        std::io::Write::write_all(&mut pipe, lines.as_bytes()).expect("it reads");
        until("it copies", Duration::from_secs(60), || {
            (stage.count("usename = 'app' AND query = 'COPY rows FROM STDIN' AND state = 'active'") > 0)
                .then_some(())
        });
        child.kill().expect("it is ours");
        child.wait().expect("it ends");
        drop(pipe);
        assert_eq!(count(who), 0);
    }
    is_quiet();
}

#[test]
fn out_to_a_client_that_stops_reading() {
    let stage = stage();
    let sql = "COPY (SELECT repeat('x', 1000) FROM generate_series(1, 200000)) TO STDOUT";
    let mut stopped: Vec<Wire> = (0..4).map(|_| stage.proxy.session()).collect();
    for wire in &mut stopped {
        wire.send(&frame::query(sql)).expect("it is open");
        wire.read_to(b'd').expect("data comes");
    }
    // Others are served meanwhile; then one is cancelled, one reads on, two go.
    assert_eq!(stage.proxy.session().value("SELECT 1"), "1");
    let (process, key) = stopped[0].key.clone().expect("a key");
    let mut canceler = Wire::connect(stage.proxy.port()).expect("the proxy accepts");
    canceler.send(&frame::cancel(process, &key)).expect("it is open");
    match stopped[0].reply() {
        Ok(reply) => assert_eq!(reply.code(), "57014"),
        Err(Error::Refused(failure)) => panic!("{failure}"),
        Err(Error::Io(error)) => panic!("{error}"),
    }
    assert_eq!(stopped[0].value("SELECT 1"), "1");
    assert_eq!(stopped[1].reply().expect("an answer").ok().tags, ["COPY 200000"]);
    stopped.truncate(2);
    holds("COPY that still runs", Duration::from_secs(60), 0, || {
        stage.count("usename = 'app' AND query LIKE 'COPY (SELECT repeat%' AND state = 'active'")
    });
}
