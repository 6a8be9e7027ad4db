//! Our own certificate is renewed while clients come and go.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use integration::paths::Scratch;
use integration::{Raise, Stage, until};
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

/// Runs statements in old and new encrypted sessions while `change` runs, which is shown how many were answered;
/// returns what failed.
fn under_load(tunnel: &Tunnel, change: impl FnOnce(&AtomicUsize)) -> Vec<String> {
    let (over, done) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|_| {
                let (over, done) = (&over, &done);
                scope.spawn(move || {
                    let mut failed = Vec::new();
                    let mut old = tunnel.session().expect("signs in");
                    while !over.load(Ordering::Relaxed) && failed.len() < 5 {
                        let new = tunnel.session().and_then(|mut new| new.try_query("SELECT 1"));
                        let kept = old.try_query("SELECT pg_sleep(0.002)");
                        for reply in [new, kept] {
                            match reply {
                                Ok(reply) => failed.extend(reply.error.map(|error| error.to_string())),
                                Err(error) => failed.push(error.to_string()),
                            }
                            done.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                    failed
                })
            })
            .collect();
        let end = Raise(&over);
        change(&done);
        drop(end);
        clients.into_iter().flat_map(|client| client.join().expect("a client's thread ends")).collect()
    })
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
        until(&format!("{name} is shown"), Duration::from_secs(20), || {
            shows(&stage, directory, name).then_some(())
        });
    };
    assert!(shows(&stage, directory, "one") && !shows(&stage, directory, "two"));
    let failed = under_load(&tunnel, |done| {
        // Each step lasts as long as every client needs for some statements.
        let await_load = || {
            let before = done.load(Ordering::Relaxed);
            until("the load goes on", Duration::from_secs(60), || {
                (done.load(Ordering::Relaxed) > before + 16).then_some(())
            });
        };
        for (old, new) in [("one", "two"), ("two", "one"), ("one", "two")] {
            // A certificate without its key, as it is between two steps of whoever renews them.
            let before = (rejected(&stage), stage.proxy.log().len());
            put(directory, &format!("{new}.cert"), "live.cert");
            until("the half pair is refused", Duration::from_secs(20), || {
                (rejected(&stage) > before.0).then_some(())
            });
            let log = stage.proxy.log();
            assert!(log[before.1..].contains("listen.tls: the certificate or key is not usable"), "{log}");
            assert!(shows(&stage, directory, old), "new clients are shown the old pair meanwhile");
            await_load();
            put(directory, &format!("{new}.key"), "live.key");
            await_shown(new);
            assert!(!shows(&stage, directory, old));
            await_load();
        }
        for (file, why) in [("live.cert", "holds no certificate"), ("live.key", "cannot read")] {
            let before = (rejected(&stage), stage.proxy.log().len());
            std::fs::write(directory.join(file), "nothing of use").expect("our own directory");
            stage.proxy.signal(Signal::HUP);
            until(&format!("a broken {file} is refused"), Duration::from_secs(20), || {
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
