//! Where something listens: `host:port`, `[v6]:port` or `unix:/path`.
//!
//! Parsed once at the edge, so that inside an address always has a port. Names are not
//! resolved here: each connect resolves anew.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// The address of an endpoint, or one that Splitpool listens on. Two endpoints of a cluster never share one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    /// A host's name or number, and a port.
    Tcp {
        /// A DNS name, an IPv4 address, or an IPv6 address without brackets; never empty.
        host: String,
        /// The port; 0 only to listen on any free one.
        port: u16,
    },
    /// The full path of a Unix socket, `/run/postgresql/.s.PGSQL.5432`.
    Unix(PathBuf),
}

/// Why a text is not an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// There is neither a port nor a path.
    #[error("expected host:port or unix:/path")]
    Shape,
    /// The host is empty or holds a character that no host has.
    #[error("the host is empty or holds a character that no host has")]
    Host,
    /// The port is no number from 0 to 65535.
    #[error("the port must be a number from 0 to 65535")]
    Port,
    /// An IPv6 address without brackets.
    #[error("an IPv6 address needs brackets: [::1]:5432")]
    Brackets,
    /// A bracket that is not closed.
    #[error("a bracket is not closed: [::1]:5432")]
    Unclosed,
    /// The path of a Unix socket is not absolute.
    #[error("a Unix socket needs an absolute path: unix:/run/postgresql/.s.PGSQL.5432")]
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
        let (host, port) = text.rsplit_once(':').ok_or(AddressError::Shape)?;
        let host = match host.strip_prefix('[').map(|inner| inner.strip_suffix(']')) {
            Some(Some(inner)) => inner,
            Some(None) => return Err(AddressError::Unclosed),
            None if host.contains(':') => return Err(AddressError::Brackets),
            None => host,
        };
        if host.is_empty() || host.contains(|c: char| c.is_whitespace() || c == '/' || c == '[' || c == ']') {
            return Err(AddressError::Host);
        }
        let port = port.parse().map_err(|_| AddressError::Port)?;
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
            ("[::1:5432", Err(AddressError::Unclosed)),
            ("", Err(AddressError::Shape)),
            ("host", Err(AddressError::Shape)),
            ("host:0", Ok("host:0")),
            ("host:", Err(AddressError::Port)),
            ("host:-1", Err(AddressError::Port)),
            ("host:65536", Err(AddressError::Port)),
            (":5432", Err(AddressError::Host)),
            ("a b:1", Err(AddressError::Host)),
            ("/a:1", Err(AddressError::Host)),
        ];
        for (text, expected) in cases {
            let found = text.parse::<Address>().map(|address| address.to_string());
            assert_eq!(found, expected.map(str::to_owned), "{text}");
        }
    }
}
