//! The last resort: a shell that outlives this process and ends what it left.
//!
//! A handle that is dropped cleans up after itself. Statics are never dropped, and neither is anything after
//! a SIGKILL; so a small shell reads what was started over a pipe, and when the pipe ends, it ends them.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::process::Process;

/// The pipe to the shell, opened with the first thing worth keeping. It is a global because it stands for
/// the process as a whole: its end is the end of the process.
static PIPE: OnceLock<Mutex<std::process::ChildStdin>> = OnceLock::new();

#[expect(clippy::zombie_processes, reason = "the keeper outlives this process, nobody here can wait for it")]
fn tell(line: &str) {
    let pipe = PIPE.get_or_init(|| {
        let mut shell = Command::new("bash")
            .args(["-c", include_str!("keeper.sh"), "splitpool-keeper"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir("/")
            .process_group(0)
            .spawn()
            .expect("bash is installed");
        Mutex::new(shell.stdin.take().expect("its input is a pipe"))
    });
    let mut pipe = pipe.lock().unwrap_or_else(PoisonError::into_inner);
    pipe.write_all(format!("{line}\n").as_bytes()).expect("the keeper reads until we are gone");
}

/// This process, and its children at that time, are ended when we are gone.
pub fn keep(process: Process) {
    tell(&format!("pid {} {}", process.id(), process.started()));
}

/// It has ended.
pub fn forget(process: Process) {
    tell(&format!("gone {}", process.id()));
}

/// This directory is removed when we are gone.
pub fn keep_dir(path: &Path) {
    tell(&format!("dir {}", path.display()));
}

/// It was removed.
pub fn forget_dir(path: &Path) {
    tell(&format!("kept {}", path.display()));
}
