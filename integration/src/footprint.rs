//! What the proxy takes when nobody uses it yet: time until it serves, memory at rest, bytes on disk.

use std::fs;
use std::time::Instant;

use crate::meter::{median, resident_kb};
use crate::{Cluster, Config, Proxy, paths};

/// Medians over several starts.
#[derive(Debug, Clone, Copy)]
pub struct Footprint {
    /// Milliseconds from the start of the process to the line that says it is ready.
    pub ready_ms: f64,
    /// Kilobytes resident at that moment.
    pub resident_kb: f64,
    /// Bytes of the binary.
    pub binary: u64,
}

/// Starts the proxy in front of a cluster whose servers answer, `starts` times.
///
/// # Panics
/// When it does not start, or is not ready when it says so.
pub fn measure(cluster: &Cluster, starts: usize) -> Footprint {
    let (mut ready, mut resident) = (Vec::new(), Vec::new());
    for _ in 0..starts {
        let begun = Instant::now();
        let proxy = Proxy::start(Config::of(cluster));
        ready.push(begun.elapsed().as_secs_f64() * 1000.0);
        assert_eq!(proxy.http("/ready").0, 200, "it says that it is ready and is not");
        resident.push(resident_kb(proxy.process().id()) as f64);
    }
    let binary = fs::metadata(paths::splitpool()).map_or(0, |binary| binary.len());
    Footprint { ready_ms: median(&ready), resident_kb: median(&resident), binary }
}
