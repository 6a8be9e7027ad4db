//! What sysbench is told, for those who put its load on MariaDB and MySQL.

use std::error::Error;
use std::process::{Command, Stdio};

use crate::PASSWORD;
use crate::paths::in_path;

/// Rows of its table.
const ROWS: u32 = 10_000;

/// The script for a workload (`point-text`, `read-prepared`, `write-text`, ...), and how it is to run it.
///
/// # Errors
/// On a workload that nobody knows.
pub fn script(workload: &str) -> Result<Vec<&'static str>, Box<dyn Error>> {
    let (name, mode) = workload.split_once('-').ok_or("a workload is SCRIPT-MODE")?;
    let script = match name {
        "point" => "oltp_point_select",
        "read" => "oltp_read_only",
        "write" => "oltp_read_write",
        _ => return Err(format!("unknown workload {workload}").into()),
    };
    let mode = if mode == "text" { "--db-ps-mode=disable" } else { "--db-ps-mode=auto" };
    Ok(if name == "read" { vec![script, mode, "--skip-trx"] } else { vec![script, mode] })
}

/// The program with a script's `words`, to `verb` (`prepare`, `run`) on a port for so many seconds. It is quiet.
///
/// # Errors
/// If it is not installed.
pub fn command(
    port: u16,
    clients: usize,
    seconds: u64,
    words: &[&str],
    verb: &str,
) -> Result<Command, Box<dyn Error>> {
    let program = in_path("sysbench").ok_or("no sysbench: apt-get install -y sysbench")?;
    let mut command = Command::new(program);
    command.args(words).arg("--db-driver=mysql").arg("--mysql-host=127.0.0.1");
    command.arg(format!("--mysql-port={port}")).arg("--mysql-user=app").arg("--mysql-db=app");
    command.arg(format!("--mysql-password={PASSWORD}")).arg("--tables=1").arg(format!("--table-size={ROWS}"));
    command.arg(format!("--threads={clients}")).arg(format!("--time={seconds}")).arg(verb);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
    Ok(command)
}
