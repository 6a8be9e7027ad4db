//! Waiting for a condition with a deadline, instead of sleeping and hoping.

use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Longer than anything takes that a test waits for, on however busy a machine: whoever waits for so long waits in vain.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How long one question is left before it is asked again.
const PAUSE: Duration = Duration::from_millis(10);

/// Asks until the answer is there and returns it.
///
/// # Panics
/// When there is none `within` this time; the message says `what` was waited for.
pub fn until<T>(what: &str, within: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begun.elapsed() < within, "after {within:?} still not: {what}");
        thread::sleep(PAUSE);
    }
}

/// Asks for a value until it equals what is expected.
///
/// # Panics
/// When it does not `within` this time, with the value last seen.
pub fn holds<T: PartialEq + Debug>(what: &str, within: Duration, expected: T, mut ask: impl FnMut() -> T) {
    let begun = Instant::now();
    loop {
        let seen = ask();
        if seen == expected {
            return;
        }
        assert!(begun.elapsed() < within, "after {within:?} {what} is {seen:?}, not {expected:?}");
        thread::sleep(PAUSE);
    }
}

/// Raises a flag when it goes, also when a panic takes it: threads that run until then always end.
#[derive(Debug)]
pub struct Raise<'a>(pub &'a AtomicBool);

impl Drop for Raise<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
