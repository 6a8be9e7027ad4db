//! Clients that work while a test changes something under them.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use crate::{PATIENCE, Raise, Reply, Wire, until, wire};

/// Failures after which a client stops.
const FAILURES_MAX: usize = 5;

/// How many rounds the clients of a load have ended well.
#[derive(Debug, Default)]
pub struct Progress(AtomicUsize);

impl Progress {
    /// Waits for so many more rounds. A slow machine takes its time; a load that stands still fails the test.
    ///
    /// # Panics
    /// When they are not done within a minute.
    pub fn await_more(&self, rounds: usize) {
        let from = self.0.load(Ordering::Relaxed);
        until("the load goes on", PATIENCE, || {
            (self.0.load(Ordering::Relaxed) >= from + rounds).then_some(())
        });
    }
}

/// Runs `round` over and over in so many threads while `change` runs, each on what `begin` made for it and its
/// number. Returns what failed.
///
/// # Panics
/// When `begin`, `round` or `change` does.
pub fn under_load<S>(
    clients: usize,
    begin: impl Fn(usize) -> S + Sync,
    round: impl Fn(&mut S) -> Result<(), String> + Sync,
    change: impl FnOnce(&Progress),
) -> Vec<String> {
    let (over, progress) = (AtomicBool::new(false), Progress::default());
    thread::scope(|scope| {
        let clients: Vec<_> = (1..=clients)
            .map(|number| {
                let (over, progress, begin, round) = (&over, &progress, &begin, &round);
                scope.spawn(move || {
                    let (mut client, mut failed) = (begin(number), Vec::new());
                    while !over.load(Ordering::Relaxed) && failed.len() < FAILURES_MAX {
                        match round(&mut client) {
                            Ok(()) => drop(progress.0.fetch_add(1, Ordering::Relaxed)),
                            Err(error) => failed.push(error),
                        }
                    }
                    failed
                })
            })
            .collect();
        let end = Raise(&over);
        change(&progress);
        drop(end);
        clients.into_iter().flat_map(|client| client.join().expect("a client's thread ends")).collect()
    })
}

/// Whether a statement went well, as a round of a load tells it.
///
/// # Errors
/// What went wrong, with the statement.
pub fn went_well(reply: Result<Reply, wire::Error>, sql: &str) -> Result<(), String> {
    match reply {
        Ok(reply) => reply.error.map_or(Ok(()), |error| Err(format!("{error}: {sql}"))),
        Err(error) => Err(format!("{error}: {sql}")),
    }
}

/// A read, a write and a transaction on one row of `t (id, v)`.
///
/// # Errors
/// What went wrong, with the statement.
pub fn read_and_write(wire: &mut Wire, id: usize) -> Result<(), String> {
    for sql in [
        format!("SELECT v FROM t WHERE id = {id}"),
        format!("UPDATE t SET v = v + 1 WHERE id = {id}"),
        format!("BEGIN; SELECT v FROM t WHERE id = {id}; COMMIT"),
    ] {
        went_well(wire.try_query(&sql), &sql)?;
    }
    Ok(())
}
