//! Packets: three bytes of length, one of sequence, and the payload.
//!
//! "MySQL Packets" and "Basic Types". A payload of 2^24 - 1 bytes or more goes over several
//! packets, each but the last of that length; each packet is one frame here, and whoever
//! judges frames must know that one may go on where the last one ended.

use crate::{Head, ProtocolError};

/// Bytes of length and sequence.
pub const HEADER: usize = 4;

/// The length of a packet that another one continues.
pub const FULL: usize = 0xff_ffff;

/// The header at the start of `bytes`, or `None` if it, or the first byte of the payload,
/// is not here. That byte is the tag; an empty packet has the tag 0.
#[inline]
pub fn head(bytes: &[u8]) -> Result<Option<Head>, ProtocolError> {
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() else { return Ok(None) };
    // The fourth byte is the sequence number.
    let body = (u32::from_le_bytes(*header) & 0xff_ffff) as usize;
    match rest.first() {
        _ if body == 0 => Ok(Some(Head { tag: 0, header: HEADER, body })),
        Some(tag) => Ok(Some(Head { tag: *tag, header: HEADER, body })),
        None => Ok(None),
    }
}

/// The sequence number of the packet at the start of `bytes`.
pub fn sequence(bytes: &[u8]) -> u8 {
    bytes.get(3).copied().unwrap_or(0)
}

/// Starts a packet in `out`; `end` fills in its length.
pub fn begin(out: &mut Vec<u8>, sequence: u8) -> usize {
    out.extend_from_slice(&[0, 0, 0, sequence]);
    out.len()
}

/// Ends the packet that `begin` started. Packets made here are shorter than `FULL`.
pub fn end(out: &mut [u8], at: usize) {
    let length = u32::try_from(out.len() - at).unwrap_or(u32::MAX).min(FULL as u32).to_le_bytes();
    if let (Some(place), Some(length)) = (out.get_mut(at - HEADER..at - 1), length.get(..3)) {
        place.copy_from_slice(length);
    }
}

/// Appends `payload` as one packet or several, numbered from `sequence`. Returns the next number.
pub fn put(out: &mut Vec<u8>, mut sequence: u8, payload: &[u8]) -> u8 {
    let mut rest = payload;
    loop {
        let (now, later) = rest.split_at(rest.len().min(FULL));
        let at = begin(out, sequence);
        out.extend_from_slice(now);
        end(out, at);
        sequence = sequence.wrapping_add(1);
        if now.len() < FULL {
            return sequence;
        }
        rest = later;
    }
}

/// Reads a payload from its front. Every method returns `None` where the payload ends too early.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    /// The next byte.
    pub fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// The next `n` bytes.
    pub fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }

    /// A two-byte number.
    pub fn u16(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes(self.take(2)?.try_into().ok()?))
    }

    /// A four-byte number.
    pub fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    /// A length-encoded number. NULL (0xfb) and the error mark (0xff) are none.
    pub fn number(&mut self) -> Option<u64> {
        let wide = |bytes: &[u8]| bytes.iter().rev().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
        match self.byte()? {
            0xfc => self.take(2).map(wide),
            0xfd => self.take(3).map(wide),
            0xfe => self.take(8).map(wide),
            0xfb | 0xff => None,
            small => Some(small.into()),
        }
    }

    /// A length-encoded text.
    pub fn text(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        self.take(length)
    }

    /// A text up to a zero byte, which is taken as well.
    pub fn zero_text(&mut self) -> Option<&'a [u8]> {
        let at = memchr::memchr(0, self.0)?;
        let text = self.take(at)?;
        self.byte()?;
        Some(text)
    }
}

/// Appends a length-encoded number.
pub fn put_number(out: &mut Vec<u8>, number: u64) {
    let bytes = number.to_le_bytes();
    let (mark, len) = match number {
        0..=250 => return out.push(number as u8),
        251..=0xffff => (0xfc, 2),
        0x1_0000..=0xff_ffff => (0xfd, 3),
        _ => (0xfe, 8),
    };
    out.push(mark);
    out.extend_from_slice(bytes.get(..len).unwrap_or_default());
}

/// Appends a length-encoded text.
pub fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    put_number(out, text.len() as u64);
    out.extend_from_slice(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads() {
        assert_eq!(head(b"\x01\0\0").unwrap(), None);
        assert_eq!(head(b"\x01\0\0\0").unwrap(), None);
        assert_eq!(head(b"\0\0\0\x05").unwrap(), Some(Head { tag: 0, header: 4, body: 0 }));
        assert_eq!(head(b"\x02\0\0\0\x0e").unwrap(), Some(Head { tag: 14, header: 4, body: 2 }));
        assert_eq!(head(b"\xff\xff\xff\0\x03").unwrap().unwrap().body, FULL);
    }

    #[test]
    fn numbers_survive() {
        for number in [0, 250, 251, 0xffff, 0x1_0000, 0xff_ffff, 0x100_0000, u64::MAX] {
            let mut out = Vec::new();
            put_number(&mut out, number);
            assert_eq!(Reader(&out).number(), Some(number));
            for cut in 0..out.len() {
                assert_eq!(Reader(&out[..cut]).number(), None);
            }
        }
    }

    #[test]
    fn long_payloads_are_split() {
        for (len, packets) in [(0, 1), (FULL - 1, 1), (FULL, 2), (FULL + 1, 2), (2 * FULL, 3)] {
            let mut out = Vec::new();
            assert_eq!(put(&mut out, 0, &vec![7; len]), packets, "{len}");
            assert_eq!(out.len(), len + usize::from(packets) * HEADER);
        }
    }
}
