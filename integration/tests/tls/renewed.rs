//! Our own certificate is renewed while clients come and go.

use std::path::Path;
use std::time::Duration;

use integration::load::{self, Progress};
use integration::paths::Scratch;
use integration::{Stage, Wire, until};
use rustix::process::Signal;

use crate::tunnel::Tunnel;
use crate::{papers, psql, stage};

/// Puts a file in place of another, whole at once.
fn put(directory: &Path, from: &str, to: &str) {
    std::fs::copy(directory.join(from), directory.join("next")).expect("a copy");
    std::fs::rename(directory.join("next"), directory.join(to)).expect("our own directory");
}

/// Whether new clients are shown the certificate by this authority.
fn shows(stage: &Stage, directory: &Path, name: &str) -> bool {
    let ca = directory.join(format!("{name}.ca"));
    psql(stage, &format!("host=localhost sslmode=verify-full sslrootcert={}", ca.display())).is_ok()
}

fn rejected(stage: &Stage) -> f64 {
    stage.proxy.metrics().sum("splitpool_config_reloads_total", &[("outcome", "rejected")])
}

/// Runs statements in old and new encrypted sessions while `change` runs; returns what failed.
fn under_load(tunnel: &Tunnel, change: impl FnOnce(&Progress)) -> Vec<String> {
    let round = |old: &mut Wire| {
        let mut new = tunnel.session().map_err(|error| format!("sign-in: {error}"))?;
        load::went_well(new.try_query("SELECT 1"), "SELECT 1")?;
        let slow = "SELECT pg_sleep(0.002)";
        load::went_well(old.try_query(slow), slow)
    };
    load::under_load(4, |_| tunnel.session().expect("signs in"), round, change)
}

#[test]
fn certificates_are_swapped_under_load_and_a_broken_pair_changes_nothing() {
    let scratch = Scratch::new("renewed");
    let directory = scratch.path();
    for name in ["one", "two"] {
        papers::issue(directory, name);
    }
    put(directory, "one.cert", "live.cert");
    put(directory, "one.key", "live.key");
    let stage = stage("prefer", &directory.join("live.cert"), &directory.join("live.key"));
    let tunnel = Tunnel::to(stage.proxy.port(), &[directory.join("one.ca"), directory.join("two.ca")]);
    let await_shown = |name: &str| {
        until(&format!("{name} is shown"), Duration::from_secs(60), || {
            shows(&stage, directory, name).then_some(())
        });
    };
    assert!(shows(&stage, directory, "one") && !shows(&stage, directory, "two"));
    let failed = under_load(&tunnel, |progress| {
        // Each step lasts as long as every client needs for some statements.
        for (old, new) in [("one", "two"), ("two", "one"), ("one", "two")] {
            // A certificate without its key, as it is between two steps of whoever renews them.
            let before = (rejected(&stage), stage.proxy.log().len());
            put(directory, &format!("{new}.cert"), "live.cert");
            until("the half pair is refused", Duration::from_secs(60), || {
                (rejected(&stage) > before.0).then_some(())
            });
            let log = stage.proxy.log();
            assert!(log[before.1..].contains("listen.tls: the certificate or key is not usable"), "{log}");
            assert!(shows(&stage, directory, old), "new clients are shown the old pair meanwhile");
            progress.await_more(8);
            put(directory, &format!("{new}.key"), "live.key");
            await_shown(new);
            assert!(!shows(&stage, directory, old));
            progress.await_more(8);
        }
        for (file, why) in [("live.cert", "holds no certificate"), ("live.key", "cannot read")] {
            let before = (rejected(&stage), stage.proxy.log().len());
            std::fs::write(directory.join(file), "nothing of use").expect("our own directory");
            stage.proxy.signal(Signal::HUP);
            until(&format!("a broken {file} is refused"), Duration::from_secs(60), || {
                (rejected(&stage) > before.0).then_some(())
            });
            let log = stage.proxy.log();
            assert!(log[before.1..].contains(why), "{file}: {log}");
            assert!(shows(&stage, directory, "two"));
            put(directory, &format!("two.{}", &file[5..]), file);
        }
        put(directory, "one.cert", "live.cert");
        put(directory, "one.key", "live.key");
        stage.proxy.signal(Signal::HUP);
        await_shown("one");
    });
    assert!(failed.is_empty(), "{failed:#?}");
    assert_eq!(tunnel.failures(), [""; 0]);
}
