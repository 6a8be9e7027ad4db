//! Bytes on a client's socket that are not yet those of the protocol, because they are compressed.

use crate::ProtocolError;

/// Turns one into the other, in both directions of one connection.
pub trait Codec: std::fmt::Debug + Send {
    /// Appends to `out` what the first whole unit of `input` stands for. Returns how many bytes that unit had, or 0
    /// if it is not here to its end.
    ///
    /// # Errors
    /// What is wrong with it; nothing behind it can be read.
    fn decode(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<usize, ProtocolError>;

    /// Appends to `out` what stands for `bytes`, of which there are at most `UNIT_MAX`.
    fn encode(&mut self, bytes: &[u8], out: &mut Vec<u8>);
}

/// Bytes that are encoded at a time.
pub const UNIT_MAX: usize = 64 * 1024;
