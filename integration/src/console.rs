//! The proxy's console, as a test asks it.

use std::collections::BTreeMap;

use crate::config::Config;
use crate::proxy::Proxy;
use crate::wire::{Login, Reply, Wire};
use crate::{PASSWORD, frame};

/// A configuration in which `app` may do anything on the console and `viewer` may look.
pub fn configured(mut config: Config) -> Config {
    config.extra.push_str(&format!("\n[users.viewer]\npassword = \"{PASSWORD}\"\nstats = true\n"));
    config.text("consistency", "eventual")
}

/// A session on the console.
///
/// # Panics
/// When the user is refused.
#[track_caller]
pub fn console(proxy: &Proxy, user: &str) -> Wire {
    let login = Login::new(proxy.port(), user, PASSWORD, "splitpool");
    Wire::login(&login).unwrap_or_else(|error| panic!("{error}\n{}", proxy.log()))
}

/// Runs a statement and returns its rows by the names of its columns.
///
/// # Panics
/// When it fails.
#[track_caller]
pub fn table(wire: &mut Wire, sql: &str) -> Vec<BTreeMap<String, String>> {
    wire.send(&frame::query(sql)).expect("it is sent");
    let mut names = Vec::new();
    let mut reply = Reply::default();
    loop {
        let message = wire.read().expect("an answer");
        match message.tag {
            b'T' => names = columns(&message.body).into_iter().map(|(name, ..)| name).collect(),
            b'Z' => break,
            _ => reply.take(message),
        }
    }
    let reply = reply.ok();
    let cell = |value: &Option<String>| value.clone().unwrap_or_else(|| "NULL".to_owned());
    reply.rows.iter().map(|row| names.iter().cloned().zip(row.iter().map(cell)).collect()).collect()
}

/// Name, type, size and format of each column of a RowDescription.
///
/// # Panics
/// When it is none.
pub fn columns(body: &[u8]) -> Vec<(String, u32, i16, u16)> {
    let mut rest = &body[2..];
    let mut all = Vec::new();
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| *byte == 0).expect("a name ends");
        let name = String::from_utf8_lossy(&rest[..end]).into_owned();
        let fixed: &[u8; 18] = rest[end + 1..].first_chunk().expect("fields");
        let oid = u32::from_be_bytes(fixed[6..10].try_into().expect("four bytes"));
        let size = i16::from_be_bytes([fixed[10], fixed[11]]);
        all.push((name, oid, size, u16::from_be_bytes([fixed[16], fixed[17]])));
        rest = &rest[end + 19..];
    }
    all
}

/// The row whose column has this value.
///
/// # Panics
/// When there is none.
#[track_caller]
pub fn row<'a>(
    rows: &'a [BTreeMap<String, String>],
    column: &str,
    value: &str,
) -> &'a BTreeMap<String, String> {
    let found = rows.iter().find(|row| row.get(column).is_some_and(|cell| cell == value));
    found.unwrap_or_else(|| panic!("no {column} = {value} in {rows:#?}"))
}
