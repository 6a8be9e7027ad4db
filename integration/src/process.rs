//! Processes by id and start time, as `/proc` shows them.
//!
//! Invariant: a signal goes to the process that was meant. An id that was used again has another start
//! time, and is not signalled.

use std::fs;

use rustix::process::{Pid, Signal, kill_process};

/// One process: its id, and when it was started (clock ticks since boot).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    id: u32,
    started: u64,
}

/// What `/proc/ID/stat` says after the name of the program.
struct Stat {
    state: char,
    parent: u32,
    started: u64,
}

fn stat(id: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let mut fields = text.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    let started = fields.nth(17)?.parse().ok()?;
    Some(Stat { state, parent, started })
}

impl Process {
    /// The process that has this id now.
    pub fn of(id: u32) -> Option<Self> {
        stat(id).map(|stat| Self { id, started: stat.started })
    }

    /// Its id.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// When it was started, in clock ticks since boot.
    pub fn started(&self) -> u64 {
        self.started
    }

    /// Whether it runs or could; a zombie does not.
    pub fn is_alive(&self) -> bool {
        stat(self.id).is_some_and(|stat| stat.started == self.started && !matches!(stat.state, 'Z' | 'X'))
    }

    /// Signals it; whether it was there to be signalled.
    pub fn signal(&self, signal: Signal) -> bool {
        let pid = i32::try_from(self.id).ok().and_then(Pid::from_raw);
        self.is_alive() && pid.is_some_and(|pid| kill_process(pid, signal).is_ok())
    }

    /// Its direct children.
    pub fn children(&self) -> Vec<Self> {
        let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
        entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
            .filter_map(|id| {
                let stat = stat(id)?;
                (stat.parent == self.id).then_some(Self { id, started: stat.started })
            })
            .collect()
    }

    /// Its command line, or the title it gave itself.
    pub fn title(&self) -> String {
        let bytes = fs::read(format!("/proc/{}/cmdline", self.id)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).replace('\0', " ").trim().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sees_itself_and_not_a_namesake() {
        let me = Process::of(std::process::id()).expect("this process has an entry");
        assert!(me.is_alive());
        assert!(me.title().contains("integration"));
        assert!(!Process { started: me.started + 1, ..me }.is_alive());
    }
}
