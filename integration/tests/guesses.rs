//! Who guesses passwords learns nothing, and harms nobody: not by who exists, not by how many guesses there are.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use integration::meter::resident_kb;
use integration::wire::{Failure, Message, Reply};
use integration::{Cluster, Config, Login, PASSWORD, PATIENCE, Proxy, Wire, frame};

const NONCE: &str = "fyko+d2lbbFgONRv9qkxdawL";

/// A proxy that knows `app` by its password and `kept` by what the database keeps of one.
fn proxy(cluster: &Cluster) -> Proxy {
    let verifier = cluster.primary.value("SELECT rolpassword FROM pg_authid WHERE rolname = 'app'");
    let mut config = Config::of(cluster).text("probe_timeout", "30s").text("query_wait_timeout", "5m");
    config.extra = format!(
        "\n[users.kept]\npassword = '{verifier}'\nbackend_user = \"app\"\nbackend_password = \"{PASSWORD}\"\n\
         \n[general]\nclient_login_timeout = \"60s\"\n"
    );
    let proxy = Proxy::start(config);
    proxy.await_ready();
    proxy
}

/// What is said to a guess, without the work that a right password takes.
struct Guess {
    mechanisms: String,
    salt: String,
    iterations: String,
    /// Types of the messages, and the error with the name left out.
    end: String,
}

fn text(message: &Message) -> String {
    String::from_utf8_lossy(message.body.get(4..).unwrap_or_default()).into_owned()
}

fn guess(port: u16, user: &str) -> Guess {
    let mut wire = Wire::connect(port).expect("it accepts");
    wire.send(&frame::startup(&[("user", user), ("database", "app")])).expect("it is open");
    let mut order = String::new();
    let mut next = |wire: &mut Wire| {
        let message = wire.read().expect("an answer");
        order.push(char::from(message.tag));
        message
    };
    let mechanisms = text(&next(&mut wire));
    let first = format!("n,,n=,r={NONCE}");
    let length = u32::try_from(first.len()).expect("it is short").to_be_bytes();
    let body = [&frame::text("SCRAM-SHA-256"), &length[..], first.as_bytes()].concat();
    wire.send(&frame::message(b'p', &body)).expect("it is open");
    let server_first = text(&next(&mut wire));
    let part = |letter: &str| {
        let found = server_first.split(',').find_map(|part| part.strip_prefix(letter));
        found.unwrap_or_else(|| panic!("no {letter} in {server_first}")).to_owned()
    };
    let proof = "0".repeat(43);
    let last = format!("c=biws,r={},p={proof}=", part("r="));
    wire.send(&frame::message(b'p', last.as_bytes())).expect("it is open");
    let end = next(&mut wire);
    assert!(wire.ends_within(PATIENCE), "{user} may go on");
    let fields: Vec<_> = String::from_utf8_lossy(&end.body)
        .split('\0')
        .filter(|field| !field.starts_with(['F', 'L', 'R']))
        .map(|field| field.replace(&format!("\"{user}\""), "\"?\""))
        .collect();
    Guess {
        mechanisms,
        salt: part("s="),
        iterations: part("i="),
        end: format!("{order} {}", fields.join("|")),
    }
}

#[test]
fn who_exists_cannot_be_told_from_who_does_not() {
    let cluster = Cluster::start(0);
    let proxy = proxy(&cluster);
    let model = guess(cluster.primary.port(), "app");
    let mut salts = BTreeSet::new();
    for user in ["app", "kept", "nobody", "somebody", "postgres", "a\u{fc}\"x"] {
        let (first, second) = (guess(proxy.port(), user), guess(proxy.port(), user));
        for guess in [&first, &second] {
            assert_eq!(guess.mechanisms, model.mechanisms, "{user}");
            assert_eq!(guess.iterations, model.iterations, "{user}");
            assert_eq!(guess.salt.len(), model.salt.len(), "{user}");
            assert_eq!(guess.end, model.end, "{user}");
        }
        assert_eq!(first.salt, second.salt, "the salt of {user} changes");
        // The database does the same for those whom it does not know.
        assert_eq!(guess(cluster.primary.port(), user).salt, guess(cluster.primary.port(), user).salt);
        assert!(salts.insert(first.salt), "{user} shares a salt");
    }
}

/// Guesses, all in all.
const GUESSES: usize = 10_000;
/// After so many the memory that sign-ins need is there.
const WARM: usize = 2_000;
/// How much the process may grow after that.
const GROWTH_KB: u64 = 8 * 1024;

fn refused(proxy: &Proxy, user: &str, password: &str) -> Failure {
    match Wire::login(&Login::new(proxy.port(), user, password, "app")) {
        Err(integration::wire::Error::Refused(failure)) => failure,
        other => panic!("{user} is not refused: {:?}", other.map(|_| ())),
    }
}

#[test]
fn ten_thousand_guesses_cost_nobody_else_anything() {
    let cluster = Cluster::start(0);
    let proxy = proxy(&cluster);
    let mark = cluster.primary.log_mark();
    let done = AtomicUsize::new(0);
    let resident = || resident_kb(proxy.process().id());
    let warm = AtomicUsize::new(0);
    thread::scope(|scope| {
        let guessers: Vec<_> = (0..4)
            .map(|number| {
                let (done, warm, proxy) = (&done, &warm, &proxy);
                scope.spawn(move || {
                    loop {
                        let at = done.fetch_add(1, Ordering::Relaxed);
                        if at >= GUESSES {
                            return;
                        }
                        if at == WARM {
                            let now = resident_kb(proxy.process().id());
                            warm.store(usize::try_from(now).expect("it fits"), Ordering::Relaxed);
                        }
                        // Each unknown name is another one.
                        let user = ["app", "kept", &format!("nobody{at}")][(at + number) % 3].to_owned();
                        let end = guess(proxy.port(), &user).end;
                        assert!(end.contains("C28P01|Mpassword authentication failed for user"), "{end}");
                    }
                })
            })
            .collect();
        let mut served = 0;
        while !guessers.iter().all(thread::ScopedJoinHandle::is_finished) || served == 0 {
            let user = ["app", "kept"][served % 2];
            let mut wire = Wire::login(&Login::new(proxy.port(), user, PASSWORD, "app"))
                .unwrap_or_else(|error| panic!("the right password of {user}: {error}"));
            let reply: Reply = wire.query("SELECT 1 /* by the right one */");
            assert_eq!(reply.value(), "1");
            served += 1;
        }
        println!("{served} right ones were let in meanwhile");
        guessers.into_iter().for_each(|guesser| guesser.join().expect("a guesser ends"));
    });
    let (before, after) = (warm.load(Ordering::Relaxed) as u64, resident());
    println!("{before} kB before, {after} kB after");
    assert!(after < before + GROWTH_KB, "{before} kB became {after} kB");
    // None of it is the database's business.
    let log = cluster.primary.log_since(mark);
    assert!(!log.contains("nobody") && !log.contains("password authentication failed"), "{log}");
    assert_eq!(refused(&proxy, "app", "wrong").code(), "28P01");
    proxy.assert_sound();
}
