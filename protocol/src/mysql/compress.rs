//! Packets of packets: zlib or zstd between a client and us.
//!
//! "Compressed Packet". Seven bytes of header: the length as sent, a number, and the length of what it stands for, or 0
//! where that is sent as it is. Numbers go on from one side to the other and begin anew with each command. Neither
//! length can be 16 MB or more, so what one packet unfolds to is bounded.

use super::flags::capability as cap;
use crate::ProtocolError;
use crate::codec::Codec;
use std::io::{Read, Write};

const HEADER: usize = 7;

/// Shorter ones are sent as they are, as databases do it.
const WORTH_IT: usize = 50;

/// The usual level of both; a higher one costs the proxy more than it saves the network.
const ZSTD_LEVEL: i32 = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    Zlib,
    Zstd,
}

/// The codec of one connection.
#[derive(Debug)]
pub struct Compression {
    method: Method,
    /// The number of the next packet.
    sequence: u8,
}

impl Compression {
    /// What was agreed on with a client of these abilities. With both, databases take zlib.
    pub fn agreed(abilities: u64) -> Option<Self> {
        let method = if abilities & cap::COMPRESS != 0 {
            Method::Zlib
        } else if abilities & cap::ZSTD != 0 {
            Method::Zstd
        } else {
            return None;
        };
        Some(Self { method, sequence: 0 })
    }

    fn fold(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        match self.method {
            Method::Zlib => {
                let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(bytes).ok()?;
                encoder.finish().ok()
            }
            Method::Zstd => zstd::bulk::compress(bytes, ZSTD_LEVEL).ok(),
        }
    }

    /// Appends what `folded` stands for, which must be `length` bytes.
    fn unfold(&self, folded: &[u8], length: usize, out: &mut Vec<u8>) -> Option<()> {
        let before = out.len();
        match self.method {
            Method::Zlib => {
                let decoder = flate2::read::ZlibDecoder::new(folded);
                decoder.take(length as u64 + 1).read_to_end(out).ok()?;
            }
            Method::Zstd => {
                let decoder = zstd::stream::read::Decoder::with_buffer(folded).ok()?;
                decoder.take(length as u64 + 1).read_to_end(out).ok()?;
            }
        }
        (out.len() - before == length).then_some(())
    }
}

fn length(bytes: &[u8]) -> Option<usize> {
    let &[a, b, c] = bytes.first_chunk::<3>()?;
    Some(u32::from_le_bytes([a, b, c, 0]) as usize)
}

impl Codec for Compression {
    fn decode(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<usize, ProtocolError> {
        let Some((header, rest)) = input.split_at_checked(HEADER) else { return Ok(0) };
        let (Some(sent), Some(meant)) = (length(header), header.get(4..).and_then(length)) else {
            return Ok(0);
        };
        let Some(body) = rest.get(..sent) else { return Ok(0) };
        self.sequence = header.get(3).copied().unwrap_or(0).wrapping_add(1);
        if meant == 0 {
            out.extend_from_slice(body);
        } else {
            self.unfold(body, meant, out).ok_or(ProtocolError("a compressed packet cannot be read"))?;
        }
        Ok(HEADER + sent)
    }

    fn encode(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let folded = if bytes.len() < WORTH_IT { None } else { self.fold(bytes) };
        let folded = folded.filter(|folded| folded.len() < bytes.len());
        let (body, meant) = match &folded {
            Some(folded) => (folded.as_slice(), bytes.len()),
            None => (bytes, 0),
        };
        let put = |length: usize, out: &mut Vec<u8>| {
            out.extend_from_slice((length as u32).to_le_bytes().get(..3).unwrap_or_default());
        };
        put(body.len(), out);
        out.push(self.sequence);
        put(meant, out);
        out.extend_from_slice(body);
        self.sequence = self.sequence.wrapping_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_folded_unfolds() {
        for abilities in [cap::COMPRESS, cap::ZSTD, cap::COMPRESS | cap::ZSTD] {
            for text in [&b""[..], b"x", &[7; 49], &[7; 50], &[9; 60_000]] {
                let mut codec = Compression::agreed(abilities).unwrap();
                let (mut sent, mut read) = (Vec::new(), Vec::new());
                codec.encode(text, &mut sent);
                assert!(sent.len() <= HEADER + text.len());
                for cut in 0..sent.len() {
                    assert_eq!(codec.decode(&sent[..cut], &mut read).unwrap(), 0);
                }
                assert_eq!(codec.decode(&sent, &mut read).unwrap(), sent.len());
                assert_eq!(read, text);
            }
        }
        assert!(Compression::agreed(cap::PROTOCOL_41).is_none());
    }

    #[test]
    fn lies_about_the_length_are_found() {
        for abilities in [cap::COMPRESS, cap::ZSTD] {
            let mut codec = Compression::agreed(abilities).unwrap();
            let mut sent = Vec::new();
            codec.encode(&[0; 60_000], &mut sent);
            for lie in [1u32, 59_999, 60_001, 0xff_ffff] {
                let mut lying = sent.clone();
                lying[4..7].copy_from_slice(&lie.to_le_bytes()[..3]);
                let mut read = Vec::new();
                assert!(codec.decode(&lying, &mut read).is_err(), "{lie}");
                assert!(read.len() <= 60_000);
            }
            for at in HEADER..sent.len() {
                let mut spoiled = sent.clone();
                spoiled[at] ^= 0x55;
                let _ = codec.decode(&spoiled, &mut Vec::new());
            }
        }
    }
}
