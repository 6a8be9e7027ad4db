//! Where a frame begins and ends. Does not know what a frame means.

/// The header of one frame: its tag and its two lengths, nothing of its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The message's type (PostgreSQL) or command (MySQL).
    pub tag: u8,
    /// Bytes of the header itself.
    pub header: usize,
    /// Bytes of the body that follow the header. At most 2 GiB.
    pub body: usize,
}

impl Head {
    /// Bytes of the whole frame.
    pub fn len(&self) -> usize {
        self.header + self.body
    }

    /// A frame always has a header, so this is never true; it keeps `len` company.
    pub fn is_empty(&self) -> bool {
        false
    }
}

/// A peer broke the protocol. The text is for our log and for the peer; it never quotes its bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ProtocolError(pub &'static str);
