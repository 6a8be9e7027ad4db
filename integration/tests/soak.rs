//! Everything at once for a while: statements of all kinds, cancels, clients that vanish, reloads, a replica that
//! stands still and goes on, a role that may not sign in for a moment. Sessions see their own writes all the while, and
//! at the end nothing is left: no backend too many, no lease, no pin, no transaction, no memory.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use integration::meter::resident_kb;
use integration::{Config, Login, PASSWORD, PATIENCE, Proxy, Raise, Reply, Stage, Wire, frame, holds, seeds};
use rustix::process::Signal;

const CLIENTS: usize = 8;
const POOL: usize = 4;
/// Backends that a user may have left: as many as the pool was ever allowed here, and one that listens for all.
const MOST: usize = POOL + 2 + 1;
/// How much the process may hold more at the end than when it had warmed up.
const GROWTH_KB: u64 = 16 * 1024;

fn configure(config: Config) -> Config {
    config
        .raw("pool_size", &POOL.to_string())
        .text("max_lag", "1h")
        .text("query_wait_timeout", "10m")
        .text("connect_timeout", "1m")
        .text("probe_user", "open")
}

/// A client: its session, what it has counted up to, and whether that is certain.
struct Client<'a> {
    proxy: &'a Proxy,
    rng: Rng,
    user: &'static str,
    id: usize,
    wire: Wire,
    count: u64,
}

/// Whether an error is one that this client has to expect.
fn is_expected(user: &str, code: &str) -> bool {
    code == "57014" || (user == "other" && code == "28000")
}

fn session(proxy: &Proxy, user: &str) -> Wire {
    let login = Login::new(proxy.port(), user, PASSWORD, "app");
    let mut wire = Wire::login(&login).unwrap_or_else(|error| panic!("{user}: {error}"));
    wire.patience(PATIENCE * 2);
    drop(wire.try_query(&format!("SET application_name = 'soak {user}'")));
    wire
}

impl Client<'_> {
    /// Runs one, by either protocol; the reply if there was no error.
    fn run(&mut self, sql: &str) -> Option<Reply> {
        let extended = self.rng.bool() && !sql.contains(';');
        let reply = if extended { self.wire.execute(sql, &[]) } else { self.wire.query(sql) };
        let Some(error) = &reply.error else { return Some(reply) };
        assert!(is_expected(self.user, error.code()), "{}: {error}: {sql}", self.user);
        if reply.status != b'I' {
            self.wire.query("ROLLBACK").ok();
        }
        None
    }

    /// Counts its row up; afterwards it knows what is there.
    fn write(&mut self, sql: &str) {
        if self.run(sql).is_some() {
            self.count += 1;
            return;
        }
        // Nobody knows whether it has taken effect, but the primary.
        let ask = format!("/* splitpool: primary */ SELECT n FROM tally WHERE id = {}", self.id);
        if let Some(reply) = self.run(&ask) {
            self.count = reply.value().parse().expect("a number");
        } else {
            self.begin_anew();
        }
    }

    /// Another session in place of its own, and what it finds there.
    fn begin_anew(&mut self) {
        self.wire = session(self.proxy, self.user);
        let ask = format!("/* splitpool: primary */ SELECT n FROM tally WHERE id = {}", self.id);
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(reply) = self.run(&ask) {
                self.count = reply.value().parse().expect("a number");
                return;
            }
            assert!(Instant::now() < deadline, "{} is not served again", self.user);
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn step(&mut self) {
        let id = self.id;
        match self.rng.u8(..16) {
            0..4 => {
                // Wherever it is read, nothing older than what it wrote itself.
                if let Some(reply) = self.run(&format!("SELECT n FROM tally WHERE id = {id}")) {
                    assert_eq!(
                        reply.value(),
                        self.count.to_string(),
                        "{} {id} misses its own writes",
                        self.user
                    );
                }
            }
            4 | 5 => self.write(&format!("UPDATE tally SET n = n + 1 WHERE id = {id}")),
            6 => self.write(&format!("BEGIN; UPDATE tally SET n = n + 1 WHERE id = {id}; COMMIT")),
            7 => drop(self.run(&format!("BEGIN; UPDATE tally SET n = n + 7 WHERE id = {id}; ROLLBACK"))),
            8 => {
                if self.run("CREATE TEMPORARY TABLE mine (n int)").is_some() {
                    self.run("INSERT INTO mine VALUES (1)");
                    self.wire.query("DROP TABLE mine");
                }
            }
            9 => {
                self.run(&format!("SELECT pg_advisory_lock({id})"));
                self.wire.query("SELECT pg_advisory_unlock_all()");
            }
            10 => {
                let role = ["none", "soaked"][self.rng.usize(..2)];
                if self.run(&format!("SET ROLE {role}")).is_some() {
                    self.run(&format!("SELECT n FROM tally WHERE id = {id}"));
                    self.wire.query("RESET ROLE");
                }
            }
            11 => {
                self.wire.send(&frame::query("COPY heap FROM STDIN")).expect("it is open");
                self.wire.send(&[frame::copy_data(b"1\n"), frame::copy_done()].concat()).expect("it is open");
                let reply = self.wire.reply().expect("the session goes on");
                assert!(reply.code().is_empty() || is_expected(self.user, reply.code()), "{}", reply.code());
            }
            12 => drop(self.wire.query("SELECT 1/0")),
            13 => {
                self.wire.send(&frame::query("SELECT pg_sleep(0.02)")).expect("it is open");
                let (process, key) = self.wire.key.clone().expect("a key");
                let mut canceler = Wire::connect(self.proxy.port()).expect("it accepts");
                canceler.send(&frame::cancel(process, &key)).expect("it is open");
                let reply = self.wire.reply().expect("the session goes on");
                assert!(reply.code().is_empty() || is_expected(self.user, reply.code()), "{}", reply.code());
                assert!(canceler.ends_within(PATIENCE));
            }
            14 => {
                // It vanishes, in the middle of something.
                let sql = [
                    "SELECT pg_sleep(0.05)",
                    "BEGIN; INSERT INTO heap VALUES (2)",
                    "SELECT repeat('x', 3000000)",
                    "CREATE TEMPORARY TABLE mine (n int)",
                    "SELECT pg_advisory_lock(7)",
                    "LISTEN soak",
                ];
                let sql = sql[self.rng.usize(..sql.len())];
                self.wire.send(&frame::query(sql)).expect("it is open");
                self.begin_anew();
            }
            _ => {
                drop(self.run(&format!("SELECT count(*) FROM heap, generate_series(1, 100) WHERE {id} > 0")))
            }
        }
    }
}

/// Lets all clients work while `change` runs.
fn work(stage: &Stage, rng: &mut Rng, change: impl FnOnce(&Stage, &mut Rng)) -> u64 {
    let (over, steps) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for id in 0..CLIENTS {
            let (over, steps, rng) = (&over, &steps, rng.fork());
            let user = if id % 4 == 3 { "other" } else { "app" };
            scope.spawn(move || {
                let wire = session(&stage.proxy, user);
                let mut client = Client { proxy: &stage.proxy, rng, user, id, wire, count: 0 };
                client.begin_anew();
                while !over.load(Ordering::Relaxed) {
                    client.step();
                    steps.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let end = Raise(&over);
        change(stage, rng);
        drop(end);
    });
    steps.into_inner()
}

/// Something that happens to everybody.
fn happen(stage: &Stage, rng: &mut Rng) {
    let replica = &stage.cluster.replicas[rng.usize(..2)];
    match rng.u8(..4) {
        0 => {
            let size = POOL + rng.usize(0..3);
            let config = stage.proxy.config().clone().raw("pool_size", &size.to_string());
            stage.proxy.rewrite_text(&config.to_string());
            stage.proxy.signal(Signal::HUP);
        }
        1 => {
            replica.freeze();
            thread::sleep(Duration::from_millis(rng.u64(100..3_000)));
            replica.thaw();
        }
        2 => {
            stage.cluster.primary.sql("ALTER ROLE other NOLOGIN").ok();
            thread::sleep(Duration::from_millis(rng.u64(100..1_000)));
            stage.cluster.primary.sql("ALTER ROLE other LOGIN").ok();
        }
        _ => {
            let conninfo = stage.proxy.config().clone();
            stage.proxy.rewrite_text(&format!("{conninfo}\nthis is no configuration"));
            stage.proxy.signal(Signal::HUP);
        }
    }
}

#[test]
fn everything_at_once_leaves_nothing_behind() {
    seeds::each(1..2, |seed, rng| {
        let stage = Stage::new(2, configure);
        stage.cluster.primary.sql("CREATE ROLE soaked; GRANT soaked TO app, other").ok();
        stage.cluster.prepare(&format!(
            "CREATE TABLE tally (id int PRIMARY KEY, n int); CREATE TABLE heap (n int); \
             INSERT INTO tally SELECT generate_series(0, {CLIENTS}), 0; \
             GRANT ALL ON tally, heap TO other, soaked"
        ));
        let resident = || resident_kb(stage.proxy.process().id());
        work(&stage, rng, |_, _| thread::sleep(Duration::from_secs(8)));
        let before = resident();
        let steps = work(&stage, rng, |stage, rng| {
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_secs(24) {
                happen(stage, rng);
                thread::sleep(Duration::from_millis(rng.u64(..500)));
            }
        });
        let config = stage.proxy.config().to_string();
        stage.proxy.rewrite_text(&config);
        stage.proxy.signal(Signal::HUP);

        // All clients have gone.
        stage.proxy.await_no_leases();
        for name in ["splitpool_sessions", "splitpool_endpoint_waiting", "splitpool_pinned_sessions"] {
            holds(name, PATIENCE, 0.0, || stage.proxy.metrics().sum(name, &[]));
        }
        stage.await_none(PATIENCE, "usename IN ('app', 'other') AND state <> 'idle'");
        for server in stage.cluster.servers() {
            for user in ["app", "other"] {
                let count =
                    format!("SELECT count(*) <= {MOST} FROM pg_stat_activity WHERE usename = '{user}'");
                holds("no more backends than there may be", PATIENCE, "t".to_owned(), || {
                    server.value(&count)
                });
            }
            let locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'";
            holds("advisory locks", PATIENCE, "0".to_owned(), || server.value(locks));
        }
        let temporary = "SELECT count(*) FROM pg_class WHERE relpersistence = 't' AND relkind = 'r'";
        holds("temporary tables", PATIENCE, "0".to_owned(), || stage.cluster.primary.value(temporary));
        let after = resident();
        println!("seed {seed}: {steps} steps, {before} kB before, {after} kB after");
        assert!(after < before + GROWTH_KB, "{before} kB became {after} kB");
        stage.proxy.assert_sound();
        // It serves as on the first day.
        stage.proxy.await_cluster(&stage.cluster);
    });
}
