//! Where an endpoint is: `host:port`, `[v6]:port` or `unix:/path`.
//!
//! Parsed once at the edge, so that inside an address always has a port. Names are not
//! resolved here: each connect resolves anew.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// An endpoint's address. Two endpoints of a cluster never share one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    /// A host's name or number, and a port.
    Tcp {
        /// A DNS name, an IPv4 address, or an IPv6 address without brackets.
        host: String,
        /// The port; never 0.
        port: u16,
    },
    /// The full path of a Unix socket, `/run/postgresql/.s.PGSQL.5432`.
    Unix(PathBuf),
}

/// Why a text is not an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// There is no host.
    #[error("no host: write \"host:port\", \"[v6]:port\" or \"unix:/path\"")]
    NoHost,
    /// There is no port, or it is no number from 1 to 65535.
    #[error("no port from 1 to 65535: write \"host:port\", \"[v6]:port\" or \"unix:/path\"")]
    NoPort,
    /// An IPv6 address without brackets.
    #[error("an IPv6 address is written in brackets: \"[::1]:5432\"")]
    Brackets,
    /// The path of a Unix socket is not absolute.
    #[error("the path of a Unix socket begins with a slash: \"unix:/run/postgresql/.s.PGSQL.5432\"")]
    RelativePath,
}

impl Address {
    /// The host that a certificate must name, or `None` for a Unix socket.
    pub fn host(&self) -> Option<&str> {
        match self {
            Self::Tcp { host, .. } => Some(host),
            Self::Unix(_) => None,
        }
    }
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
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if let Some(path) = text.strip_prefix("unix:") {
            let absolute = path.starts_with('/') && path.len() > 1;
            return if absolute { Ok(Self::Unix(path.into())) } else { Err(AddressError::RelativePath) };
        }
        let (host, port) = text.rsplit_once(':').ok_or(AddressError::NoPort)?;
        let host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(inside) => inside,
            None if host.contains(':') => return Err(AddressError::Brackets),
            None => host,
        };
        if host.is_empty() || host.chars().any(char::is_whitespace) {
            return Err(AddressError::NoHost);
        }
        let port = port.parse().ok().filter(|port| *port != 0).ok_or(AddressError::NoPort)?;
        Ok(Self::Tcp { host: host.to_owned(), port })
    }
}

#[cfg(test)]
mod tests {
    use super::{Address, AddressError};

    #[test]
    fn texts_and_addresses() {
        let cases = [
            ("127.0.0.1:5432", Ok("127.0.0.1:5432")),
            ("db.example:1", Ok("db.example:1")),
            ("[::1]:5432", Ok("[::1]:5432")),
            ("unix:/run/.s.PGSQL.5432", Ok("unix:/run/.s.PGSQL.5432")),
            ("unix:run", Err(AddressError::RelativePath)),
            ("unix:/", Err(AddressError::RelativePath)),
            ("::1:5432", Err(AddressError::Brackets)),
            ("host", Err(AddressError::NoPort)),
            ("host:0", Err(AddressError::NoPort)),
            ("host:65536", Err(AddressError::NoPort)),
            (":5432", Err(AddressError::NoHost)),
            ("a b:1", Err(AddressError::NoHost)),
        ];
        for (text, expected) in cases {
            let found = text.parse::<Address>().map(|address| address.to_string());
            assert_eq!(found, expected.map(str::to_owned), "{text}");
        }
    }
}
