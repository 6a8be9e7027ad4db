//! Random choices that can be made again: every run has its seeds, says them when it fails, and takes them back.

use std::io;

use fastrand::Rng;

/// Names the one seed to run with: `SPLITPOOL_SEED=7 cargo test ...`.
pub const VARIABLE: &str = "SPLITPOOL_SEED";

/// Runs `work` once a seed, with that seed and the choices it leads to. What fails says which it was.
pub fn each(seeds: std::ops::Range<u64>, mut work: impl FnMut(u64, &mut Rng)) {
    let one = std::env::var(VARIABLE).ok().and_then(|seed| seed.parse::<u64>().ok());
    for seed in one.map_or(seeds, |seed| seed..seed + 1) {
        let told = Told(seed);
        work(seed, &mut Rng::with_seed(seed));
        std::mem::forget(told);
    }
}

/// Says the seed when a panic drops it.
struct Told(u64);

impl Drop for Told {
    fn drop(&mut self) {
        eprintln!("this was {VARIABLE}={}", self.0);
    }
}

/// What a client says at random: a message.
pub type Say = fn(&mut Rng) -> Vec<u8>;

/// Sends some messages over a connection, right ones and, in half of the talks, wrong ones; some in two pieces. Now and
/// then it reads for as long as `read` finds something.
///
/// # Errors
/// When `send` fails: the other side has ended it.
pub fn talk<W>(
    rng: &mut Rng,
    wire: &mut W,
    [right, wrong]: [Say; 2],
    send: impl Fn(&mut W, &[u8]) -> io::Result<()>,
    read: impl Fn(&mut W) -> bool,
) -> io::Result<()> {
    let is_good = rng.bool();
    for _ in 0..rng.usize(1..12) {
        let bytes = if is_good || rng.u8(..4) > 0 { right(rng) } else { wrong(rng) };
        let cut = if rng.u8(..5) == 0 { rng.usize(..=bytes.len()) } else { 0 };
        let (one, two) = bytes.split_at(cut);
        send(wire, one)?;
        send(wire, two)?;
        if rng.u8(..3) == 0 {
            while read(wire) {}
        }
    }
    Ok(())
}

/// Bytes of any value.
pub fn bytes(rng: &mut Rng, most: usize) -> Vec<u8> {
    let length = rng.usize(..=most);
    std::iter::repeat_with(|| rng.u8(..)).take(length).collect()
}

/// One of some values.
///
/// # Panics
/// When there are none.
pub fn one_of<'a, T>(rng: &mut Rng, of: &'a [T]) -> &'a T {
    &of[rng.usize(..of.len())]
}
