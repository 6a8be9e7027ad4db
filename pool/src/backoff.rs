//! How long to wait before the next try: twice as long each time, up to a bound, and never in
//! step with others. Pure: chance comes as an argument.

use std::time::Duration;

/// See the file's head.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    first: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    /// Begins with `first` and ends with `max`.
    pub fn new(first: Duration, max: Duration) -> Self {
        Self { first, max, next: first }
    }

    /// The next pause: between half and all of what it could be. `chance` is from 0 to 1.
    pub fn next(&mut self, chance: f64) -> Duration {
        let whole = self.next;
        self.next = (whole * 2).min(self.max);
        whole / 2 + (whole / 2).mul_f64(chance.clamp(0.0, 1.0))
    }

    /// It worked: the next pause is the first again.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::Backoff;
    use std::time::Duration;

    #[test]
    fn doubles_up_to_its_bound() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(350));
        let pauses: Vec<_> = (0..4).map(|_| backoff.next(1.0).as_millis()).collect();
        assert_eq!(pauses, [100, 200, 350, 350]);
        assert_eq!(backoff.next(0.0).as_millis(), 175);
        backoff.reset();
        assert_eq!(backoff.next(0.5).as_millis(), 75);
    }
}
