//! `splitpool healthcheck`: asks a running process how it is, for images without a shell.

use crate::config::WebAddress;
use crate::web::{self, Question};
use hyper::body::Bytes;
use hyper::{Method, StatusCode};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;
use tokio::runtime;

/// How long everything together may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Asks `path` of the process that serves HTTP on `host:port`. An address that stands for all of
/// this machine's is asked on loopback. Returns what it says.
///
/// # Errors
/// What it says, or why it does not, as a sentence.
pub fn ask(host: &str, port: u16, path: &str) -> Result<String, String> {
    let whom = WebAddress { host: reachable(host), port, https: None };
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let asked = runtime.block_on(async {
        let question = Question { whom: &whom, method: Method::GET, path, body: Bytes::new() };
        tokio::time::timeout(PATIENCE, web::exchange(question)).await
    });
    // A name that is still looked for is not waited for.
    runtime.shutdown_background();
    let asked = asked.unwrap_or_else(|_| Err("no answer in time".to_owned()));
    let (status, body) = asked.map_err(|error| format!("{whom}: {error}"))?;
    let said = String::from_utf8_lossy(&body).trim().to_owned();
    match status {
        StatusCode::OK => Ok(said),
        _ => Err(format!("{whom}{path}: {}, {said}", status.as_u16())),
    }
}

/// Where a process that listens on `host` is reached from this machine.
fn reachable(host: &str) -> String {
    match host.parse() {
        Ok(IpAddr::V4(ip)) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.to_string(),
        Ok(IpAddr::V6(ip)) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.to_string(),
        _ => host.to_owned(),
    }
}
