//! The definitions of columns in results of Splitpool's own. "Column Definition Packet".

use super::flags::capability as cap;
use super::frame::put_text;

/// The collation of what is no text.
pub const BINARY: u16 = 63;

/// One column.
#[derive(Debug, Clone, Copy)]
pub struct Definition<'a> {
    pub name: &'a str,
    pub collation: u16,
    /// Bytes of a value at most, or what clients make of it.
    pub width: u32,
    pub kind: u8,
    pub flags: u16,
}

impl Definition<'_> {
    /// The payload for a client with these abilities.
    pub fn payload(&self, abilities: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        for text in ["def", "", "", "", self.name, ""] {
            put_text(&mut bytes, text.as_bytes());
        }
        if abilities & cap::EXTENDED_METADATA != 0 {
            // There is no more to say of a plain type.
            put_text(&mut bytes, b"");
        }
        bytes.push(12);
        bytes.extend_from_slice(&self.collation.to_le_bytes());
        bytes.extend_from_slice(&self.width.to_le_bytes());
        bytes.push(self.kind);
        bytes.extend_from_slice(&self.flags.to_le_bytes());
        bytes.extend_from_slice(&[0, 0, 0]);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asked_for_it_gets_one_text_more() {
        let column = Definition { name: "n", collation: BINARY, width: 21, kind: 8, flags: 0x81 };
        let fixed = b"\x0c\x3f\0\x15\0\0\0\x08\x81\0\0\0\0";
        assert_eq!(column.payload(0), [&b"\x03def\0\0\0\x01n\0"[..], fixed].concat());
        assert_eq!(column.payload(cap::EXTENDED_METADATA), [&b"\x03def\0\0\0\x01n\0\0"[..], fixed].concat());
    }
}
