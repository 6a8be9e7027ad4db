//! Where something listens: `host:port`, `[v6]:port` or `unix:/path`.
//!
//! Parsed once, here. It does not resolve names and opens nothing.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// The address of an endpoint, or one that Splitpool listens on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// A TCP port. `host` is a name or an IP address, IPv6 without its brackets.
    Tcp {
        /// Name or IP address, never empty.
        host: String,
        /// Port; 0 only to listen on any free one.
        port: u16,
    },
    /// A Unix domain socket: the path of the socket itself, not of its directory.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.starts_with('/') {
                Ok(Self::Unix(PathBuf::from(path)))
            } else {
                Err("a Unix socket needs an absolute path: unix:/run/postgresql/.s.PGSQL.5432".into())
            };
        }
        let (host, port) = text.rsplit_once(':').ok_or("expected host:port or unix:/path")?;
        let host = match host.strip_prefix('[').map(|inner| inner.strip_suffix(']')) {
            Some(Some(inner)) => inner,
            Some(None) => return Err("a bracket is not closed: [::1]:5432".into()),
            None if host.contains(':') => return Err("an IPv6 address needs brackets: [::1]:5432".into()),
            None => host,
        };
        if host.is_empty() || host.contains(|c: char| c.is_whitespace() || c == '/' || c == '[' || c == ']') {
            return Err("the host is empty or holds a character that no host has".into());
        }
        let port = port.parse().map_err(|_| "the port must be a number from 0 to 65535")?;
        Ok(Self::Tcp { host: host.to_owned(), port })
    }
}

#[cfg(test)]
mod tests {
    use super::Address;

    #[test]
    fn every_address_prints_as_it_is_read() {
        for text in ["db.example:5432", "127.0.0.1:0", "[::1]:6432", "unix:/run/pg/.s.PGSQL.5432"] {
            assert_eq!(text.parse::<Address>().expect(text).to_string(), text);
        }
    }

    #[test]
    fn what_is_not_an_address_is_refused() {
        for text in [
            "",
            "db",
            "db:",
            ":5432",
            "db:65536",
            "db:-1",
            "::1:5432",
            "[::1:5432",
            "unix:pg",
            "a b:1",
            "/a:1",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
