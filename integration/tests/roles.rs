//! Roles that change or go while sessions and warm backends use them: who is concerned gets the database's own error,
//! the others notice nothing, and nothing is tried without end.

use integration::wire::Error;
use integration::{Cluster, Config, Login, PASSWORD, PATIENCE, Proxy, Reply, Server, Stage, Wire, until};

/// Severity, code and message of what ended the session or failed its statement.
fn told(outcome: Result<Reply, Error>) -> String {
    match outcome {
        Ok(reply) => reply.error.map_or_else(|| "no error".to_owned(), |error| error.to_string()),
        Err(error) => error.to_string(),
    }
}

/// Runs a text by one of the two protocols.
fn ask(wire: &mut Wire, extended: bool, sql: &str) -> Result<Reply, Error> {
    if extended { wire.try_execute(sql, &[]) } else { wire.try_query(sql) }
}

fn session_of(proxy: &Proxy, user: &str) -> Wire {
    Wire::login(&Login::new(proxy.port(), user, PASSWORD, "app")).expect("it may sign in")
}

/// What a busy machine takes long for is no fault here.
fn patient(config: Config) -> Config {
    config.text("probe_timeout", "30s").text("query_wait_timeout", "5m").text("connect_timeout", "2m")
}

/// One backend an endpoint, so that whoever comes in between takes it over and leaves it with other settings.
fn narrow(config: Config) -> Config {
    let mut config =
        patient(config).raw("pool_size", "1").text("consistency", "eventual").text("max_lag", "60s");
    config.users.push(("boss".to_owned(), PASSWORD.to_owned()));
    config
}

const WHO: &str = "SELECT current_user || ' on ' || current_setting('cluster_name')";

#[test]
fn a_session_whose_role_is_gone_for_good_ends_with_the_databases_error() {
    let cluster = Cluster::start(1);
    cluster.primary.sql(&format!("CREATE ROLE boss SUPERUSER LOGIN PASSWORD '{PASSWORD}'")).ok();
    cluster.settle();
    let stage = Stage::over(cluster, narrow);
    let primary = &stage.cluster.primary;
    for (number, extended) in [false, true].into_iter().enumerate() {
        let role = format!("gone{number}");
        primary.sql(&format!("CREATE ROLE {role}; GRANT {role} TO app")).ok();
        stage.cluster.settle();
        let mut wire = session_of(&stage.proxy, "boss");
        let mut neighbour = session_of(&stage.proxy, "boss");
        wire.query(&format!("SET ROLE {role}")).ok();
        until("it reads on the replica", PATIENCE, || {
            let place = ask(&mut wire, extended, WHO).expect("the session goes on").value();
            (place == format!("{role} on replica1")).then_some(())
        });
        // The neighbour takes both backends over.
        until("the neighbour has had the replica's", PATIENCE, || {
            (neighbour.value(WHO) == "boss on replica1").then_some(())
        });
        neighbour.query("BEGIN; SELECT 1; COMMIT").ok();
        primary.sql(&format!("DROP ROLE {role}")).ok();
        stage.cluster.settle();
        let mark = stage.cluster.mark();
        let sql = format!("SELECT current_user /* after {role} was dropped */");
        let ended = told(ask(&mut wire, extended, &sql));
        assert_eq!(ended, format!("FATAL 22023: role \"{role}\" does not exist"));
        assert!(wire.ends_within(PATIENCE), "the session goes on");
        // It ran nowhere, as nobody else either.
        assert_eq!(stage.cluster.servers_that_ran("/* after ", &mark), Vec::<&str>::new());
        // The others are served, and whoever signs in anew.
        assert!(neighbour.value(WHO).starts_with("boss on "));
        assert!(session_of(&stage.proxy, "boss").value(WHO).starts_with("boss on "));
    }
}

#[test]
fn a_session_that_may_not_take_its_role_any_more_ends() {
    let stage = Stage::new(0, narrow);
    let primary = &stage.cluster.primary;
    primary.sql("CREATE ROLE tenant; GRANT tenant TO app").ok();
    let mut wire = stage.proxy.session();
    wire.query("SET ROLE tenant").ok();
    stage.proxy.session().query("SELECT 1").ok();
    primary.sql("REVOKE tenant FROM app").ok();
    let ended = told(wire.try_query("SELECT 1"));
    assert_eq!(ended, "FATAL 42501: permission denied to set role \"tenant\"");
    // What an application sets up anew is refused as the database does it, and the session goes on.
    let mut next = stage.proxy.session();
    assert_eq!(next.query("SET ROLE tenant").code(), "42501");
    assert_eq!(next.value("SELECT current_user"), "app");
}

/// Backends of a user that sign in from now on, by the database's log.
fn refusals(server: &Server, since: u64, text: &str) -> usize {
    server.log_since(since).lines().filter(|line| line.contains("FATAL") && line.contains(text)).count()
}

#[test]
fn who_may_not_sign_in_any_more_keeps_what_is_warm_and_is_told_why_there_is_no_more() {
    for (change, undo, error) in [
        (
            "ALTER ROLE app VALID UNTIL '2001-01-01'",
            "ALTER ROLE app VALID UNTIL 'infinity'",
            "28P01: the database refused Splitpool's connection: password authentication failed for user \"app\"",
        ),
        (
            "ALTER ROLE app NOLOGIN",
            "ALTER ROLE app LOGIN",
            "28000: the database refused Splitpool's connection: role \"app\" is not permitted to log in",
        ),
        (
            "ALTER ROLE app PASSWORD 'another'",
            "ALTER ROLE app PASSWORD 'secret'",
            "28P01: the database refused Splitpool's connection: password authentication failed for user \"app\"",
        ),
    ] {
        let stage = Stage::new(0, |config| {
            patient(config)
                .raw("pool_size", "3")
                .raw("min_pool_size", "2")
                .text("probe_user", "other")
                .text("probe_password", PASSWORD)
        });
        let primary = &stage.cluster.primary;
        let mut first = stage.proxy.session();
        first.query("BEGIN").ok();
        let mut second = stage.proxy.session();
        second.query("BEGIN").ok();
        let warm = "usename = 'app' AND backend_type = 'client backend'";
        let had = stage.count(warm);
        assert!((2..=3).contains(&had), "{had}");
        let mark = primary.log_mark();
        primary.sql(change).ok();

        // What is open goes on: the transaction, and who comes after it.
        assert_eq!(first.query("SELECT 1; COMMIT").code(), "", "{change}");
        for _ in 0..5 {
            assert_eq!(stage.proxy.session().value("SELECT current_user"), "app", "{change}");
        }
        assert_eq!(second.query("COMMIT").code(), "", "{change}");

        // Without a backend there is no more.
        let ended = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'app'";
        primary.sql(ended).ok();
        stage.await_none(PATIENCE, "usename = 'app'");
        for extended in [false, true] {
            let mut wire = stage.proxy.session();
            let said = until("no backend is left", PATIENCE, || {
                let said = told(ask(&mut wire, extended, "SELECT 1"));
                // A backend whose end was not heard of yet is lost.
                (!said.contains("08006")).then_some(said)
            });
            assert_eq!(said, format!("ERROR {error}"), "{change}");
            // It may ask again.
            assert_eq!(told(ask(&mut wire, extended, "SELECT 1")), format!("ERROR {error}"), "{change}");
        }

        // Others are served all the while, also in new sessions.
        for _ in 0..5 {
            assert_eq!(session_of(&stage.proxy, "other").value("SELECT current_user"), "other");
        }
        // Warm ones are tried for, but not without end: each of our own requests may have caused a few.
        let tried = refusals(primary, mark, "app");
        assert!((1..200).contains(&tried), "{change}: {tried} sign-ins were tried");

        primary.sql(undo).ok();
        until("it is served again", PATIENCE, || {
            let mut wire = stage.proxy.try_session().ok()?;
            wire.try_query("SELECT 1").ok().filter(|reply| reply.error.is_none())
        });
    }
}

/// The probe of a cluster may be one of those who cannot sign in: then nothing is known of its endpoints, and operators
/// are told why. What runs goes on, and all is well as soon as the probe may sign in again.
#[test]
fn a_probe_that_may_not_sign_in_any_more_is_told_of() {
    let stage = Stage::new(0, patient);
    let primary = &stage.cluster.primary;
    let mut other = session_of(&stage.proxy, "other");
    other.query("BEGIN").ok();
    primary.sql("ALTER ROLE app NOLOGIN").ok();
    primary.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'").ok();
    until("the log tells why", PATIENCE, || {
        stage.proxy.log().contains("is not permitted to log in").then_some(())
    });
    assert_eq!(other.query("SELECT 1; COMMIT").code(), "");
    primary.sql("ALTER ROLE app LOGIN").ok();
    until("it is served again", PATIENCE, || {
        let login = Login::new(stage.proxy.port(), "other", PASSWORD, "app");
        let reply = Wire::login(&login).ok()?.try_query("SELECT 1").ok()?;
        reply.error.is_none().then_some(())
    });
}
