//! Which of the replicas that qualify takes the next read.
//!
//! Two are drawn by their share, the one with less work for its share is taken. So an idle
//! cluster splits by share alone, and a busy one by what its replicas get done. Pure: chance
//! comes as an argument.

use std::time::Duration;

/// The share of weight 1 at full strength: the unit lets a share shrink without vanishing.
pub const SHARE_ONE: u32 = 256;

/// The least that slowness, lag and slow start each leave of a share.
const LEAST: u32 = SHARE_ONE / 8;

/// What the balancer knows of a replica.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Requests and transactions that it works on.
    pub in_flight: u32,
    /// What `share` said. Not 0.
    pub share: u32,
    /// How long a request takes there, in microseconds.
    pub latency_us: u32,
}

impl Load {
    /// Work for its share: the less, the better.
    fn burden(self) -> u64 {
        let work = u64::from(self.in_flight) * u64::from(self.latency_us.clamp(1, 1 << 24));
        work.saturating_mul(1 << 8) / u64::from(self.share.max(1))
    }
}

/// What a replica's share is made of.
#[derive(Debug, Clone, Copy)]
pub struct Strength {
    /// As configured; 0 has no share.
    pub weight: u32,
    /// How long it has served since it returned, and how long its share grows. `None`: it was never out.
    pub ramp: Option<(Duration, Duration)>,
    /// How far it is behind beyond what the probes' pace explains, and how far it may be.
    pub lag: (Duration, Duration),
    /// Its latency and the least of any replica, in microseconds; 0 is not known.
    pub latency_us: (u32, u32),
}

/// A replica's share of the reads: its weight, cut by up to seven eighths for each of slow start,
/// lag and latency above twice the best.
pub fn share(strength: Strength) -> u32 {
    if strength.weight == 0 {
        return 0;
    }
    let ramp = strength.ramp.map_or(SHARE_ONE, |(served, slow_start)| portion(served, slow_start));
    let (lag, max_lag) = strength.lag;
    let lag = portion(max_lag.saturating_sub(lag), max_lag);
    let speed = match strength.latency_us {
        (0, _) | (_, 0) => SHARE_ONE,
        (own, best) => {
            (u64::from(best) * 2 * u64::from(SHARE_ONE) / u64::from(own)).min(SHARE_ONE.into()) as u32
        }
    };
    let cut = [ramp, lag, speed].into_iter().fold(SHARE_ONE, |share, cut| share * cut.max(LEAST) / SHARE_ONE);
    (strength.weight.min(1000) * cut).max(1)
}

/// `part` of `whole`, in units of `SHARE_ONE`.
fn portion(part: Duration, whole: Duration) -> u32 {
    let whole = whole.as_millis().max(1);
    (part.as_millis().min(whole) * u128::from(SHARE_ONE) / whole) as u32
}

/// Chooses one of the replicas whose bit is set in `qualified`. `random` is any 64 random bits.
/// `None` if none is set.
pub fn choose(qualified: u64, random: u64, load: impl Fn(usize) -> Load) -> Option<usize> {
    if qualified & qualified.wrapping_sub(1) == 0 {
        return (qualified != 0).then(|| qualified.trailing_zeros() as usize);
    }
    let total = bits(qualified).map(|at| u64::from(load(at).share)).sum::<u64>();
    let draw = |random: u64| {
        let mut left = (random * total) >> 32;
        bits(qualified).find(|at| {
            let share = u64::from(load(*at).share);
            let here = left < share;
            left = left.saturating_sub(share);
            here
        })
    };
    let (first, second) = (draw(random >> 32)?, draw(random & u64::from(u32::MAX))?);
    let better = first == second || load(first).burden() <= load(second).burden();
    Some(if better { first } else { second })
}

/// Whether a session gains by moving from one replica to another: half the burden, and one request less.
pub fn is_worth_a_move(from: Load, to: Load) -> bool {
    from.burden() > 2 * to.burden() && from.in_flight > to.in_flight + 1
}

/// The places of the set bits, from the lowest.
fn bits(mut mask: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let at = (mask != 0).then(|| mask.trailing_zeros() as usize);
        mask &= mask.wrapping_sub(1);
        at
    })
}

#[cfg(test)]
mod tests;
