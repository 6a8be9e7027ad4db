//! A stream behind a codec: what is read is decoded, what is written is encoded.
//!
//! Invariant: at most one unit of the codec waits in each direction, decoded or encoded.

use super::Stream;
use protocol::codec::{Codec, UNIT_MAX};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes of one read from the socket.
const PIECE: usize = 16 * 1024;

/// Buffers that grew beyond this are given back when they are empty.
const KEEP: usize = 4096;

/// See the file's head.
#[derive(Debug)]
pub struct CodedLink {
    pub(super) stream: Stream,
    codec: Box<dyn Codec>,
    /// What came and was not decoded yet.
    raw: Vec<u8>,
    /// What was decoded; the first `read` bytes were read.
    plain: Vec<u8>,
    read: usize,
    /// What was encoded; the first `sent` bytes were sent.
    out: Vec<u8>,
    sent: usize,
}

impl CodedLink {
    pub(super) fn new(stream: Stream, codec: Box<dyn Codec>, begun: Vec<u8>) -> Self {
        Self { stream, codec, raw: begun, plain: Vec::new(), read: 0, out: Vec::new(), sent: 0 }
    }

    /// Whether what was encoded waits to be sent.
    pub(super) fn is_behind(&self) -> bool {
        !self.out.is_empty() || self.stream.is_behind()
    }

    /// Sends what was encoded.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(left) = self.out.get(self.sent..).filter(|left| !left.is_empty()) {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, left))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => self.sent += n,
            }
        }
        self.out.clear();
        self.out.shrink_to(KEEP);
        self.sent = 0;
        Poll::Ready(Ok(()))
    }

    /// Decodes one unit, if it is here. Whether it was.
    fn decode(&mut self) -> io::Result<bool> {
        let used = self.codec.decode(&self.raw, &mut self.plain);
        let used = used.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.0))?;
        self.raw.drain(..used.min(self.raw.len()));
        if self.raw.is_empty() {
            self.raw.shrink_to(KEEP);
        }
        Ok(used > 0)
    }
}

impl AsyncRead for CodedLink {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let link = self.get_mut();
        loop {
            if let Some(plain) = link.plain.get(link.read..).filter(|plain| !plain.is_empty()) {
                let n = plain.len().min(buf.remaining());
                buf.put_slice(plain.get(..n).unwrap_or_default());
                link.read += n;
                return Poll::Ready(Ok(()));
            }
            link.plain.clear();
            link.plain.shrink_to(KEEP);
            link.read = 0;
            if link.decode()? {
                continue;
            }
            let mut space = [0; PIECE];
            let mut piece = ReadBuf::new(&mut space);
            ready!(Pin::new(&mut link.stream).poll_read(cx, &mut piece))?;
            if piece.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            link.raw.extend_from_slice(piece.filled());
        }
    }
}

impl AsyncWrite for CodedLink {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let link = self.get_mut();
        ready!(link.poll_send(cx))?;
        let now = bytes.get(..bytes.len().min(UNIT_MAX)).unwrap_or_default();
        if now.is_empty() {
            return Poll::Ready(Ok(0));
        }
        link.codec.encode(now, &mut link.out);
        // What the socket does not take now is sent by the next write, or by a flush.
        if let Poll::Ready(Err(error)) = link.poll_send(cx) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(now.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let link = self.get_mut();
        ready!(link.poll_send(cx))?;
        Pin::new(&mut link.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let link = self.get_mut();
        ready!(link.poll_send(cx))?;
        Pin::new(&mut link.stream).poll_shutdown(cx)
    }
}
