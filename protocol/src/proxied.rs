//! The PROXY protocol: what a proxy in front of us says of the client that it connects.
//!
//! Both versions of HAProxy's "The PROXY protocol", sections 2.1 and 2.2. Reads one header at the
//! very start of a connection and nothing behind it. Extensions of version 2 are skipped. Sends
//! no header and knows nothing of who may send one.

use crate::ProtocolError;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// Bytes of a header of version 1, its line end included.
const LINE_MAX: usize = 107;

/// Bytes of a header of version 2 with all its extensions, which may hold parts of certificates.
pub const HEADER_MAX: usize = 4096;

const WORD: &[u8] = b"PROXY ";
const MAGIC: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Bytes of a header of version 2 before its addresses.
const FIXED: usize = 16;

/// A header that is here to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Introduction {
    /// Its bytes.
    pub len: usize,
    /// The client's address; `None` where none is told: the proxy speaks for itself, or does
    /// not know, or the client did not come by TCP.
    pub client: Option<SocketAddr>,
}

/// The header at the start of `bytes`, or `None` if it is cut.
///
/// # Errors
/// There is none, or it is malformed, or longer than [`HEADER_MAX`]; told as early as it shows.
pub fn read(bytes: &[u8]) -> Result<Option<Introduction>, ProtocolError> {
    if agree(bytes, WORD) {
        line(bytes)
    } else if agree(bytes, MAGIC) {
        block(bytes)
    } else {
        Err(ProtocolError("no PROXY header came first"))
    }
}

/// Whether one begins with the other.
fn agree(bytes: &[u8], start: &[u8]) -> bool {
    bytes.iter().zip(start).all(|(one, two)| one == two)
}

/// Version 1.
fn line(bytes: &[u8]) -> Result<Option<Introduction>, ProtocolError> {
    const MALFORMED: ProtocolError = ProtocolError("malformed PROXY header");
    let Some(end) = bytes.iter().take(LINE_MAX).position(|byte| *byte == b'\n') else {
        return if bytes.len() < LINE_MAX { Ok(None) } else { Err(MALFORMED) };
    };
    let text = bytes.get(WORD.len()..end).and_then(|text| text.strip_suffix(b"\r")).ok_or(MALFORMED)?;
    let text = std::str::from_utf8(text).map_err(|_| MALFORMED)?;
    let mut words = text.split(' ');
    let client = match words.next() {
        // Whatever follows must be ignored.
        Some("UNKNOWN") => None,
        Some("TCP4") => Some(addresses::<Ipv4Addr>(words).ok_or(MALFORMED)?),
        Some("TCP6") => Some(addresses::<Ipv6Addr>(words).ok_or(MALFORMED)?),
        _ => return Err(MALFORMED),
    };
    Ok(Some(Introduction { len: end + 1, client }))
}

/// Both addresses, then both ports, and nothing more. Returns the client's.
fn addresses<'a, A: FromStr + Into<IpAddr>>(mut words: impl Iterator<Item = &'a str>) -> Option<SocketAddr> {
    let (client, _own): (A, A) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let mut port = || words.next().filter(|word| !word.starts_with('+'))?.parse::<u16>().ok();
    let (client_port, _own_port) = (port()?, port()?);
    words.next().is_none().then(|| SocketAddr::new(client.into(), client_port))
}

/// Version 2.
fn block(bytes: &[u8]) -> Result<Option<Introduction>, ProtocolError> {
    let Some((fixed, rest)) = bytes.split_first_chunk::<FIXED>() else { return Ok(None) };
    let &[.., command, family, high, low] = fixed;
    let len = FIXED + usize::from(u16::from_be_bytes([high, low]));
    if len > HEADER_MAX {
        return Err(ProtocolError("the PROXY header is too long"));
    }
    let is_local = match command {
        0x20 => true,
        0x21 => false,
        _ => return Err(ProtocolError("a PROXY header of an unknown version or command")),
    };
    let Some(told) = rest.get(..len - FIXED) else { return Ok(None) };
    let client = match family {
        // The proxy's own connection, a check of our health: the rest must be ignored.
        _ if is_local => None,
        0x11 => Some(pair::<4, Ipv4Addr>(told)?),
        0x21 => Some(pair::<16, Ipv6Addr>(told)?),
        _ => None,
    };
    Ok(Some(Introduction { len, client }))
}

/// The first of two addresses of `N` bytes, with the first of the two ports behind them.
fn pair<const N: usize, A: From<[u8; N]> + Into<IpAddr>>(told: &[u8]) -> Result<SocketAddr, ProtocolError> {
    const SHORT: ProtocolError = ProtocolError("a PROXY header without the addresses that it promises");
    let client = told.first_chunk::<N>().ok_or(SHORT)?;
    let &[high, low, _, _] = told.get(2 * N..).and_then(|ports| ports.first_chunk::<4>()).ok_or(SHORT)?;
    Ok(SocketAddr::new(A::from(*client).into(), u16::from_be_bytes([high, low])))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v2(command: u8, family: u8, told: &[u8]) -> Vec<u8> {
        let len = u16::try_from(told.len()).unwrap().to_be_bytes();
        [MAGIC, &[command, family], &len, told].concat()
    }

    /// Whole at its last byte, at none before, and what follows is left alone.
    #[track_caller]
    fn check(header: &[u8], client: Option<&str>) {
        for cut in 0..header.len() {
            assert_eq!(read(&header[..cut]), Ok(None), "{cut}");
        }
        let client = client.map(|client| client.parse().unwrap());
        let wanted = Ok(Some(Introduction { len: header.len(), client }));
        assert_eq!(read(header), wanted);
        assert_eq!(read(&[header, b"\r\nmore"].concat()), wanted);
    }

    #[test]
    fn lines() {
        check(b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 6432\r\n", Some("192.0.2.7:56324"));
        check(b"PROXY TCP6 2001:db8::7 2001:db8::1 1 65535\r\n", Some("[2001:db8::7]:1"));
        let long = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
        check(
            format!("PROXY TCP6 {long} {long} 65535 65535\r\n").as_bytes(),
            Some(&format!("[{long}]:65535")),
        );
        check(b"PROXY UNKNOWN\r\n", None);
        let longest = format!("PROXY UNKNOWN {}\r\n", "x".repeat(LINE_MAX - 16));
        assert_eq!(longest.len(), LINE_MAX);
        check(longest.as_bytes(), None);
    }

    #[test]
    fn malformed_lines() {
        assert!(read(&[0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f]).is_err(), "a request for TLS");
        for bad in [
            "PROXY TCP4 192.0.2.7 198.51.100.1 56324 6432\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 56324\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 56324 6432 1\r\n",
            "PROXY TCP4 192.0.2.7  198.51.100.1 56324 6432\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 65536 6432\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 +1 6432\r\n",
            "PROXY TCP4 2001:db8::7 2001:db8::1 1 2\r\n",
            "PROXY TCP6 192.0.2.7 198.51.100.1 1 2\r\n",
            "PROXY TCP4 a.example b.example 1 2\r\n",
            "PROXY UNKNOWNS\r\n",
            "PROXY UDP4 192.0.2.7 198.51.100.1 1 2\r\n",
            "PROXY \r\n",
            "PROXX",
            &format!("PROXY UNKNOWN {}\r\n", "x".repeat(LINE_MAX - 15)),
        ] {
            assert!(read(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert!(read(&[b'P'; 2]).is_err());
        assert!(read(format!("PROXY UNKNOWN{}", " ".repeat(LINE_MAX)).as_bytes()).is_err());
    }

    #[test]
    fn blocks() {
        let four = [192, 0, 2, 7, 198, 51, 100, 1, 0xdc, 4, 0x19, 0x20];
        check(&v2(0x21, 0x11, &four), Some("192.0.2.7:56324"));
        check(&v2(0x21, 0x11, &[&four[..], b"\x04\0\x01\0"].concat()), Some("192.0.2.7:56324"));
        let six: Vec<u8> =
            [Ipv6Addr::LOCALHOST.octets().as_slice(), &Ipv6Addr::UNSPECIFIED.octets(), &[0, 1, 0, 2]]
                .concat();
        check(&v2(0x21, 0x21, &six), Some("[::1]:1"));
        // The proxy itself; an unknown family; datagrams; a Unix socket.
        check(&v2(0x20, 0x11, &four), None);
        check(&v2(0x20, 0, b""), None);
        check(&v2(0x20, 0x11, b""), None);
        check(&v2(0x21, 0, b""), None);
        check(&v2(0x21, 0x12, &four), None);
        check(&v2(0x21, 0x31, &[0; 216]), None);
        check(&v2(0x21, 0, &[0; HEADER_MAX - FIXED]), None);
    }

    #[test]
    fn malformed_blocks() {
        for bad in [
            v2(0x11, 0x11, &[0; 12]),
            v2(0x22, 0x11, &[0; 12]),
            v2(0x21, 0x11, &[0; 11]),
            v2(0x21, 0x11, b""),
            v2(0x21, 0x21, &[0; 35]),
            v2(0x21, 0, &[0; HEADER_MAX - FIXED + 1]),
        ] {
            assert!(read(&bad).is_err(), "{bad:?}");
        }
    }
}
