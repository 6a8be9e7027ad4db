//! Tagged frames: one byte of type, four bytes of length that count themselves.
//!
//! "Message Flow" and "Message Formats". The same in both directions once start-up is over.

use crate::{Head, ProtocolError};

/// Bytes of type and length.
pub const HEADER: usize = 5;

/// The header at the start of `bytes`, or `None` if fewer than five bytes are here.
/// A length below 4 or above 2 GiB - 1 is an error: nothing is reserved for it.
#[inline]
pub fn head(bytes: &[u8]) -> Result<Option<Head>, ProtocolError> {
    let Some((tag, rest)) = bytes.split_first() else { return Ok(None) };
    // All four at once: taken apart, they would be shifted together one by one.
    let Some(length) = rest.first_chunk() else { return Ok(None) };
    let length = u32::from_be_bytes(*length);
    if !(4..=0x7fff_ffff).contains(&length) {
        return Err(ProtocolError("invalid message length"));
    }
    Ok(Some(Head { tag: *tag, header: HEADER, body: length as usize - 4 }))
}

/// Starts a frame in `out`; `end` fills in its length.
pub fn begin(out: &mut Vec<u8>, tag: u8) -> usize {
    out.extend_from_slice(&[tag, 0, 0, 0, 0]);
    out.len() - 4
}

/// Ends the frame that `begin` started.
pub fn end(out: &mut [u8], at: usize) {
    let length = u32::try_from(out.len() - at).unwrap_or(u32::MAX).to_be_bytes();
    if let Some(place) = out.get_mut(at..at + 4) {
        place.copy_from_slice(&length);
    }
}

/// Appends `text` and its terminator.
pub fn text(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(text);
    out.push(0);
}

/// Splits `bytes` at the first zero byte: the text before it, and what follows it.
pub fn split_text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    // Most names are empty.
    if let Some((0, behind)) = bytes.split_first() {
        return Some((&[], behind));
    }
    let at = memchr::memchr(0, bytes)?;
    Some((bytes.get(..at)?, bytes.get(at + 1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths() {
        assert_eq!(head(b"Q\0\0\0").unwrap(), None);
        assert_eq!(head(b"Q\0\0\0\x04").unwrap(), Some(Head { tag: b'Q', header: 5, body: 0 }));
        for bad in [0u32, 1, 3, 0x8000_0000, 0xffff_ffff] {
            let mut bytes = vec![b'Q'];
            bytes.extend_from_slice(&bad.to_be_bytes());
            assert!(head(&bytes).is_err(), "{bad:#x}");
        }
        let longest = [b'Q', 0x7f, 0xff, 0xff, 0xff];
        assert_eq!(head(&longest).unwrap().unwrap().len(), 0x7fff_ffff + 1);
    }
}
