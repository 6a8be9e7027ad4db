//! Randomness that must not be guessed: cancel keys and secrets of this process.

/// `N` random bytes from the operating system.
pub fn bytes<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).ok()?;
    Some(bytes)
}
