//! Random choices that can be made again: every run has its seeds, says them when it fails, and takes them back.

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
