//! `START TRANSACTION READ ONLY` runs on a replica, in one snapshot if it is to be one: what belongs on the primary is
//! run there only as long as nothing was read that would change by it.

use std::time::Duration;

use integration::mysql::{Cluster, Make, Session};
use integration::{Config, PASSWORD, Proxy, until};

const PATIENCE: Duration = Duration::from_secs(60);

struct Stage {
    proxy: Proxy,
    cluster: Cluster,
}

impl Stage {
    fn new(make: Make) -> Self {
        let cluster = Cluster::start(make, 1);
        cluster.prepare("CREATE TABLE seen (n int primary key, v int); INSERT INTO seen VALUES (1, 1)");
        let proxy =
            Proxy::start(Config::of_mysql(&cluster).text("max_lag", "60s").text("consistency", "eventual"));
        let stage = Self { proxy, cluster };
        until("reads on the replica", PATIENCE, || {
            let mut session = Session::login(stage.proxy.port(), "app", PASSWORD, "app").ok()?;
            let port = session.try_query("SELECT @@port").ok().filter(|reply| reply.error.is_none())?.value();
            (port != stage.primary()).then_some(())
        });
        stage
    }

    fn session(&self) -> Session {
        Session::login(self.proxy.port(), "app", PASSWORD, "app").expect("a sign-in")
    }

    fn primary(&self) -> String {
        self.cluster.primary.port().to_string()
    }

    /// Another client changes what was read, and the replica has it.
    fn change(&self) {
        self.session().query("UPDATE seen SET v = v + 1 WHERE n = 1").ok();
        self.cluster.settle();
    }
}

/// What a client runs that a replica must not run, or may refuse.
const STEPS: [&str; 6] = [
    "SELECT get_lock('in vain', 1)",
    "DO get_lock('in vain', 1)",
    "SELECT v FROM seen WHERE n = 1 FOR UPDATE",
    "SELECT v FROM seen LOCK IN SHARE MODE",
    "INSERT INTO seen VALUES (2, 2)",
    "CREATE TEMPORARY TABLE mine (n int)",
];

fn what_was_read_stays_what_it_was(make: Make) {
    let stage = Stage::new(make);
    let held = || -> Vec<String> {
        stage.cluster.servers().map(|server| server.value("SELECT is_free_lock('in vain')")).collect()
    };
    for prepared in [false, true] {
        let run = |session: &mut Session, sql: &str| {
            if prepared { session.execute(sql, &[]) } else { session.query(sql) }
        };
        for begin in ["START TRANSACTION READ ONLY", "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY"]
        {
            for step in STEPS {
                let what = format!("{begin}; {step}; prepared: {prepared}");
                let mut session = stage.session();
                session.query(begin).ok();
                let before = run(&mut session, "SELECT v FROM seen WHERE n = 1").value();
                assert_ne!(session.value("SELECT @@port"), stage.primary(), "{what}");
                stage.change();
                let told = run(&mut session, step);
                if step.contains("INSERT") {
                    assert!([1290, 1792].contains(&told.code()), "{what}: {told:?}");
                } else if step.contains("lock") || step.contains("LOCK") || step.contains("UPDATE") {
                    // MySQL does not even prepare what locks rows there.
                    assert!([1235, 1792].contains(&told.code()), "{what}: {told:?}");
                }
                assert_eq!(held(), ["1", "1"], "{what}");
                // The transaction is still open, where it was, and sees what it saw.
                assert_eq!(run(&mut session, "SELECT v FROM seen WHERE n = 1").value(), before, "{what}");
                assert_ne!(session.value("SELECT @@port"), stage.primary(), "{what}");
                session.query("COMMIT").ok();
                assert_ne!(run(&mut session, "SELECT v FROM seen WHERE n = 1").value(), before, "{what}");
                session.query("UPDATE seen SET v = v + 1 WHERE n = 1").ok();
                stage.cluster.settle();
            }
        }
        // Nothing was read yet: it goes on where the lock is one.
        let mut session = stage.session();
        session.query("START TRANSACTION READ ONLY").ok();
        assert_eq!(run(&mut session, "SELECT get_lock('in vain', 1)").value(), "1");
        assert_eq!(held(), ["0", "1"]);
        assert_eq!(session.value("SELECT @@port"), stage.primary());
        assert_eq!(run(&mut session, "INSERT INTO seen VALUES (3, 3)").code(), 1792);
        session.query("COMMIT").ok();
        assert_eq!(session.value("SELECT release_lock('in vain')"), "1");
        // So it does if it sees what others commit meanwhile: nothing it has read is to stay.
        session.query("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED").ok();
        session.query("START TRANSACTION READ ONLY").ok();
        let before = run(&mut session, "SELECT v FROM seen WHERE n = 1").value();
        assert_ne!(session.value("SELECT @@port"), stage.primary());
        stage.change();
        assert_eq!(run(&mut session, "SELECT get_lock('in vain', 1)").value(), "1");
        assert_eq!(held(), ["0", "1"]);
        assert_ne!(run(&mut session, "SELECT v FROM seen WHERE n = 1").value(), before);
        session.query("COMMIT").ok();
    }
    assert_eq!(stage.cluster.primary.value("SELECT count(*) FROM app.seen"), "1");
}

#[test]
fn mariadb_what_was_read_stays_what_it_was() {
    what_was_read_stays_what_it_was(Make::MariaDb);
}

#[test]
fn mysql_what_was_read_stays_what_it_was() {
    what_was_read_stays_what_it_was(Make::MySql);
}
