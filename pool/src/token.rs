//! Fences that leave the session: what an application carries from one session to another.
//!
//! A token says in the database's own words how far a cluster had come, so that another session, also of another
//! process, knows what its replicas must show: PostgreSQL's cluster, timeline and position, MySQL's and MariaDB's
//! set of transactions. What a session is told is text from a client: it is bounded, and what it claims is
//! believed only as far as samples of the primary bear it out. Pure.

use crate::gtid::Gtids;
use std::fmt;

/// How far a cluster had come. Written with `Display`, read with `read`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token(pub(crate) Reached);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reached {
    /// A position in the log of a cluster.
    Log {
        /// Names the cluster; 0 if that is not known.
        cluster: u64,
        timeline: u32,
        position: u64,
    },
    /// A set of transactions, which is one whatever the cluster.
    Gtids(Gtids),
}

impl Token {
    /// The longest text that is read, in bytes. Sets of transactions with more gaps than fit have no token.
    pub const TEXT_MAX: usize = 4096;

    /// Reads what `Display` wrote. `None` if it is nothing of the kind, or too long.
    pub fn read(text: &str) -> Option<Self> {
        if text.len() > Self::TEXT_MAX {
            return None;
        }
        let (make, rest) = text.split_once('.')?;
        let token = Self(match make {
            "pg" => {
                let mut parts = rest.split('.');
                let cluster = hexadecimal(parts.next()?)?;
                let timeline = u32::try_from(hexadecimal(parts.next()?)?).ok()?;
                let position = hexadecimal(parts.next()?)?;
                if parts.next().is_some() {
                    return None;
                }
                Reached::Log { cluster, timeline, position }
            }
            "mysql" => Reached::Gtids(Gtids::mysql(rest)?),
            "mariadb" => Reached::Gtids(Gtids::mariadb(rest)?),
            _ => return None,
        });
        // Whatever is not written like this may have lost a part on its way.
        (token.to_string() == text).then_some(token)
    }
}

/// Sixteen digits at most, and no sign.
fn hexadecimal(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if digits { u64::from_str_radix(text, 16).ok() } else { None }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Reached::Log { cluster, timeline, position } => {
                write!(f, "pg.{cluster:016x}.{timeline:x}.{position:x}")
            }
            Reached::Gtids(set @ Gtids::Sources(_)) => write!(f, "mysql.{set}"),
            Reached::Gtids(set @ Gtids::Domains(_)) => write!(f, "mariadb.{set}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for text in [
            "pg.00c0ffee00c0ffee.3.16b3748",
            "pg.0000000000000000.1.0",
            "mysql.3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5:7,3e11fa47-71ca-11e1-9e33-c80aa9429563:tag:1",
            "mariadb.0-0-7,2-0-3",
            "mysql.",
        ] {
            let token = Token::read(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(token.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_token_is_not_read() {
        let long = format!("mariadb.{}", "0-1-7,".repeat(1000));
        for text in [
            "",
            "pg",
            "pg.",
            "pg.1.2",
            "pg.1.2.3.4",
            "pg.+1.2.3",
            "pg.1.123456789.3",
            "pg.1.2.10000000000000000",
            "pg.1.2.-3",
            "my.1.2.3",
            "mysql.1-2-3",
            "mysql.3e11fa47-71ca-11e1-9e33-c80aa9429562:x-",
            "mariadb.3e11fa47:1",
            "none",
            &long,
        ] {
            assert_eq!(Token::read(text), None, "{text}");
        }
    }
}
