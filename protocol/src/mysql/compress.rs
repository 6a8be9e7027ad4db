//! Packets of packets: zlib or zstd between a client and us.
//!
//! "Compressed Packet". Seven bytes of header: the length as sent, a number, and the length of what it stands for, or 0
//! where that is sent as it is. Numbers go on from one side to the other and begin anew with each command. Neither
//! length can be 16 MB or more, so what one packet unfolds to is bounded.
//!
//! Nobody looks at the numbers of the packets inside, and some clients of MariaDB's begin a command with any, or do not
//! count on where a payload goes over several. Whom they go to unfolded looks, so they are numbered here.

use super::flags::capability as cap;
use super::frame::{FULL, HEADER as INNER};
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
    /// The number of the client's last packet.
    last: u8,
    inside: Inside,
}

/// Where the client's stream of packets stands, inside.
#[derive(Debug, Default)]
struct Inside {
    /// The header under way, and how much of it has come.
    header: [u8; INNER],
    came: usize,
    /// Bytes of the payload that are still to come.
    left: usize,
    /// The number of the next packet, if it begins a command or continues the payload of the last one.
    next: Option<u8>,
}

impl Inside {
    /// What follows begins a command, unless a packet is under way.
    fn begin(&mut self) {
        if self.came == 0 && self.left == 0 {
            self.next = self.next.or(Some(0));
        }
    }

    /// Gives packets that continue a payload their numbers.
    fn number(&mut self, mut bytes: &mut [u8]) {
        while !bytes.is_empty() {
            let (passed, rest) = bytes.split_at_mut(self.left.min(bytes.len()));
            self.left -= passed.len();
            bytes = rest;
            let Some((byte, rest)) = bytes.split_first_mut() else { return };
            if self.came == INNER - 1 {
                *byte = self.next.unwrap_or(*byte);
            }
            if let Some(place) = self.header.get_mut(self.came) {
                *place = *byte;
            }
            self.came += 1;
            bytes = rest;
            if self.came == INNER {
                self.came = 0;
                self.left = length(&self.header).unwrap_or(0);
                let [.., number] = self.header;
                self.next = (self.left == FULL).then(|| number.wrapping_add(1));
            }
        }
    }
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
        Some(Self { method, sequence: 0, last: 0, inside: Inside::default() })
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
        let number = header.get(3).copied().unwrap_or(0);
        // A file may take so many packets that their numbers begin anew.
        if number == 0 && self.last != u8::MAX {
            self.inside.begin();
        }
        self.last = number;
        self.sequence = number.wrapping_add(1);
        let before = out.len();
        if meant == 0 {
            out.extend_from_slice(body);
        } else {
            self.unfold(body, meant, out).ok_or(ProtocolError("a compressed packet cannot be read"))?;
        }
        self.inside.number(out.get_mut(before..).unwrap_or_default());
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
                // No command begins with it.
                let mut codec = Compression { sequence: 1, ..Compression::agreed(abilities).unwrap() };
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

    /// Whether a codec hands `stream` on as `wanted`, in packets of this many bytes, numbered from `first`.
    fn decodes(stream: &[u8], wanted: &[u8], piece: usize, first: u8) -> bool {
        let mut codec = Compression::agreed(cap::COMPRESS).unwrap();
        let mut read = Vec::new();
        for (piece, at) in stream.chunks(piece).zip(0_usize..) {
            let mut packet = (piece.len() as u32).to_le_bytes()[..3].to_vec();
            packet.push(first.wrapping_add(at as u8));
            packet.extend_from_slice(&[0; 3]);
            packet.extend_from_slice(piece);
            assert_eq!(codec.decode(&packet, &mut read).unwrap(), packet.len());
        }
        read == wanted
    }

    #[test]
    fn packets_that_continue_are_numbered_on() {
        let full = [&[0xff; 3], &[0][..], &[7; FULL]].concat();
        let packet = |number: u8, body: &[u8]| [&[body.len() as u8, 0, 0, number], body].concat();
        // What stands alone keeps its number: the packets of a file begin with a number that the database gave.
        let alone = [packet(0, b"one"), packet(5, b"file"), packet(6, b""), packet(3, b"two")].concat();
        for piece in 1..20 {
            assert!(decodes(&alone, &alone, piece, 0), "{piece}");
        }
        // So do those of a file that takes many, and a command gets its own.
        let file =
            (0..=255).flat_map(|n: u8| packet(n.wrapping_add(3), b"four")).collect::<Vec<u8>>().repeat(2);
        assert!(decodes(&file, &file, 8, 2));
        let odd = packet(7, b"ping");
        assert!(decodes(&odd, &packet(0, b"ping"), 8, 0) && decodes(&odd, &odd, 8, 1));
        let sent =
            [&full[..], &full, &packet(0, b"end"), &packet(0, b"next"), &full, &packet(9, b"")].concat();
        let mut wanted = sent.clone();
        let width = full.len();
        wanted[width + 3] = 1;
        wanted[2 * width + 3] = 2;
        wanted[3 * width + 7 + 8 + 3] = 1;
        for piece in [FULL, FULL - 1, 1 << 20, 4_097] {
            assert!(decodes(&sent, &wanted, piece, 1), "{piece}");
        }
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
