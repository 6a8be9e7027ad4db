//! What a process costs: time on a CPU and memory, as the kernel counts them.

use std::fs;

/// Nanoseconds on a CPU so far, of all living threads of these processes.
///
/// The scheduler's own figure: finer than the clock tick of `/proc/ID/stat`.
pub fn cpu_ns(ids: &[u32]) -> u64 {
    let threads =
        ids.iter().filter_map(|id| fs::read_dir(format!("/proc/{id}/task")).ok()).flatten().flatten();
    threads
        .filter_map(|thread| fs::read_to_string(thread.path().join("schedstat")).ok())
        .filter_map(|text| text.split(' ').next()?.parse::<u64>().ok())
        .sum()
}

/// Kilobytes that are this process's own share of memory.
pub fn memory_kb(id: u32) -> u64 {
    field(id, "smaps_rollup", "Pss:")
}

/// Kilobytes of memory that a process holds now.
pub fn resident_kb(id: u32) -> u64 {
    field(id, "status", "VmRSS:")
}

/// Kilobytes of memory that a process ever held at once.
pub fn peak_kb(id: u32) -> u64 {
    field(id, "status", "VmHWM:")
}

fn field(id: u32, file: &str, name: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{id}/{file}")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// The middle of some values; 0 when there are none.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        count if count % 2 == 1 => sorted[count / 2],
        count => f64::midpoint(sorted[count / 2 - 1], sorted[count / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(&[]), 0.0);
    }

    #[test]
    fn counts_this_process() {
        let own = [std::process::id()];
        let before = cpu_ns(&own);
        let sum: u64 = (0..5_000_000_u64).map(|n| n ^ (n << 3)).fold(0, u64::wrapping_add);
        assert!(sum > 0 && cpu_ns(&own) > before);
        assert!(memory_kb(own[0]) > 0 && resident_kb(own[0]) > 0);
    }
}
