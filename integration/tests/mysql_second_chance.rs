//! A replica that refuses a statement as a write has it run on the primary instead, once; the next of its
//! kind goes there at once. What the client is told is the primary's answer.

use std::time::Duration;

use integration::mysql::{Cluster, Make, Server, Session};
use integration::{Config, PASSWORD, Proxy, until};

const PATIENCE: Duration = Duration::from_secs(60);

struct Stage {
    cluster: Cluster,
    proxy: Proxy,
}

/// A cluster with functions that do otherwise than they say: nothing but running them tells.
fn stage(make: Make) -> Stage {
    let cluster = Cluster::start(make, 1);
    // Who may not SUPER may not write a function that is replicated, unless trusted to.
    for server in cluster.servers() {
        server.set("log_bin_trust_function_creators", "ON");
    }
    cluster.prepare("CREATE TABLE told (code int)");
    let function = |name: &str, body: &str| {
        cluster.prepare(&format!(
            "CREATE FUNCTION {name}(code int) RETURNS int READS SQL DATA BEGIN {body} RETURN code; END"
        ));
    };
    function("harmless", "");
    function("writer", "INSERT INTO told VALUES (code);");
    // A server whose engine only reads (1836) is no replica that could keep up: the error is made where
    // the server is read-only, and is the same packet.
    let signal =
        "SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 1836, MESSAGE_TEXT = 'Running in read-only mode';";
    function("moody", &format!("IF @@global.read_only THEN {signal} END IF;"));
    // Who sees that there is a function, but not what is in it, can only believe what it says of itself.
    let right = if make == Make::MariaDb { "SLAVE MONITOR" } else { "REPLICATION CLIENT" };
    let mut admin = cluster.primary.admin();
    admin.query(&format!("CREATE USER blind@'%' IDENTIFIED BY '{PASSWORD}'")).ok();
    admin.query(&format!("GRANT {right} ON *.* TO blind@'%'")).ok();
    admin.query("GRANT EXECUTE ON app.* TO blind@'%'").ok();
    cluster.settle();
    let proxy = Proxy::start(config(&cluster));
    let stage = Stage { cluster, proxy };
    stage.await_reads();
    stage
}

fn config(cluster: &Cluster) -> Config {
    Config::of_mysql(cluster).text("probe_user", "blind")
}

impl Stage {
    fn session(&self) -> Session {
        Session::login(self.proxy.port(), "app", PASSWORD, "app").expect("a sign-in")
    }

    fn replica(&self) -> &Server {
        &self.cluster.replicas[0]
    }

    /// Waits until the replica takes reads, and those that call the functions: their rights to read are known.
    fn await_reads(&self) {
        let replica = self.replica().port().to_string();
        until("the replica takes reads", PATIENCE, || {
            let mut session = Session::login(self.proxy.port(), "app", PASSWORD, "app").ok()?;
            let read =
                session.try_query("SELECT @@port FROM (SELECT harmless(count(*)) FROM told) t").ok()?;
            (read.error.is_none() && read.value() == replica).then_some(())
        });
    }

    fn chances(&self) -> f64 {
        self.proxy.metrics().of("splitpool_second_chances_total", &[]).map(|sample| sample.value).sum()
    }

    /// Runs a statement twice: refused by the replica and run by the primary, then by the primary alone.
    fn check(&self, function: &str, code: u16, prepared: bool) {
        let told = u32::from(code) * 2 + u32::from(prepared);
        let mut session = self.session();
        let before = self.chances();
        // In a read-only transaction even its preparation is refused, which no log of statements has.
        let refused =
            if prepared && code == 1792 { &["primary"][..] } else { &["primary", self.replica().name()] };
        for (round, wanted) in [refused, &["primary"]].into_iter().enumerate() {
            let tag = format!("/* {function} {told} {round} */");
            // Of another shape than the text: a shape that is known to write gets no second chance.
            let name = if prepared { "AS again " } else { "" };
            let sql = format!("SELECT {function}({told}) {name}{tag}");
            let mark = self.cluster.mark();
            let reply = if prepared { session.execute(&sql, &[]) } else { session.query(&sql) };
            assert_eq!(reply.value(), told.to_string(), "{sql}");
            let mut ran = self.cluster.servers_that_ran(&tag, &mark);
            ran.sort_unstable();
            assert_eq!(ran, wanted, "{sql}");
        }
        assert!((self.chances() - before - 1.0).abs() < 0.5, "{} after {before}", self.chances());
        // Each ran once, by what the primary has and the replica got from it.
        let wrote = if function == "writer" { "2" } else { "0" };
        let count = format!("SELECT count(*) FROM app.told WHERE code = {told}");
        assert_eq!(self.cluster.primary.value(&count), wrote);
        assert_eq!(session.value(&count), wrote);
        self.cluster.settle();
        assert_eq!(self.replica().value(&count), wrote);
    }
}

fn the_error_is(stage: &Stage, function: &str, code: u16) {
    let mut straight = Session::login(stage.replica().port(), "app", PASSWORD, "app").expect("a sign-in");
    assert_eq!(straight.query(&format!("SELECT {function}(0)")).code(), code);
}

fn a_read_only_server(make: Make) {
    let stage = stage(make);
    the_error_is(&stage, "writer", 1290);
    stage.check("writer", 1290, false);
    stage.check("writer", 1290, true);
}

fn a_read_only_transaction(make: Make) {
    let stage = stage(make);
    // Every transaction is one there, unless it says otherwise.
    let name = if make == Make::MariaDb { "tx_read_only" } else { "transaction_read_only" };
    stage.replica().set(name, "ON");
    the_error_is(&stage, "writer", 1792);
    // What was signed in before is not.
    stage.replica().admin().query("SELECT 1").ok();
    let proxy = Proxy::start(config(&stage.cluster));
    let stage = Stage { proxy, ..stage };
    stage.await_reads();
    stage.check("writer", 1792, false);
    stage.check("writer", 1792, true);
    // Where the client itself asked for it, it is the client's error, and nothing ran anywhere.
    let mut session = stage.session();
    session.query("START TRANSACTION READ ONLY").ok();
    assert_eq!(session.query("SELECT writer(7)").code(), 1792);
    session.query("ROLLBACK").ok();
    assert_eq!(stage.cluster.primary.value("SELECT count(*) FROM app.told WHERE code = 7"), "0");
}

fn a_read_only_engine(make: Make) {
    let stage = stage(make);
    the_error_is(&stage, "moody", 1836);
    stage.check("moody", 1836, false);
    stage.check("moody", 1836, true);
}

/// A test of its own for each make.
macro_rules! on_both {
    ($($name:ident)*) => {
        mod mariadb { use super::Make; $(#[test] fn $name() { super::$name(Make::MariaDb); })* }
        mod mysql { use super::Make; $(#[test] fn $name() { super::$name(Make::MySql); })* }
    };
}

on_both! { a_read_only_server a_read_only_transaction a_read_only_engine }
