//! The client's socket and what waits on either side of it.
//!
//! Reads go through one scratch buffer a thread, so an idle client holds no buffer: what
//! arrived is copied out, and only that. Writes go straight to the socket; what it does
//! not take waits in `outbox`, and whoever fills it stops reading until it is empty again.

use pool::net::Stream;
use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::coop;

/// Bytes of one read. Measured: 16 to 64 KiB cost the same per row, smaller cost more.
pub(super) const SCRATCH: usize = 32 * 1024;

/// Bytes that a client may send ahead of the replies to what it sent before.
pub(crate) const AHEAD_MAX: usize = 64 * 1024;

/// Buffers of a session that grew beyond this are given back when it is idle.
pub(super) const KEEP: usize = 2048;

thread_local! {
    // Holds nothing between two polls: it is working space, not state.
    static SPACE: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH].into_boxed_slice());
}

/// Lends the thread's working space for the time of one poll.
pub(super) fn with_space<T>(work: impl FnOnce(&mut [u8]) -> T) -> T {
    SPACE.with(|space| match space.try_borrow_mut() {
        Ok(mut space) => work(&mut space),
        // Cannot happen while no poll runs inside another; a fresh buffer is right as well.
        Err(_) => work(&mut vec![0; SCRATCH]),
    })
}

/// One read into `space`. 0 bytes are the end of the stream. `armed` is the caller's note, false at first, of whether
/// this task will be woken when something comes; nothing else may read in between.
pub(super) fn poll_read(
    stream: &mut Stream,
    armed: &mut bool,
    cx: &mut Context<'_>,
    space: &mut [u8],
) -> Poll<io::Result<usize>> {
    // A peer that always has more to say must not keep the thread: then the runtime says when to go on.
    if !coop::has_budget_remaining() {
        drop(ready!(coop::poll_proceed(cx)));
    }
    match stream.read_now(space) {
        None if *armed => return Poll::Pending,
        Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
        Some(read) => {
            if let Poll::Ready(turn) = coop::poll_proceed(cx) {
                turn.made_progress();
            }
            *armed = false;
            return Poll::Ready(read);
        }
        None => {}
    }
    let mut buf = ReadBuf::new(space);
    let read = Pin::new(stream).poll_read(cx, &mut buf);
    *armed = read.is_pending();
    ready!(read)?;
    Poll::Ready(Ok(buf.filled().len()))
}

/// Writes as much of `bytes` as the socket takes now. Returns how much that was, or `Pending` if nothing. TLS and
/// the like are flushed, and may stay behind all the same: see [`Stream::is_behind`].
pub(super) fn poll_write(stream: &mut Stream, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
    let mut written = 0;
    while let Some(left) = bytes.get(written..).filter(|left| !left.is_empty()) {
        let put = match stream.write_now(left) {
            Some(put) => Poll::Ready(put),
            None => Pin::new(&mut *stream).poll_write(cx, left),
        };
        match put {
            Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            Poll::Ready(Ok(n)) => written += n,
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending if written == 0 => return Poll::Pending,
            Poll::Pending => break,
        }
        // A short write means that the socket is full: asking again would cost a system call.
        if written < bytes.len() && !stream.is_buffered() {
            break;
        }
    }
    if stream.is_buffered()
        && let Poll::Ready(Err(error)) = Pin::new(stream).poll_flush(cx)
    {
        return Poll::Ready(Err(error));
    }
    Poll::Ready(Ok(written))
}

/// Bytes on their way to a socket.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    bytes: Vec<u8>,
    sent: usize,
}

impl Outbox {
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes that are still to be sent.
    fn waiting(&self) -> usize {
        self.bytes.len() - self.sent
    }

    /// Where whoever has something to say appends it.
    pub(crate) fn space(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Says what is here by now, for `unsay`.
    pub(super) fn mark(&self) -> usize {
        self.bytes.len()
    }

    /// Forgets what was appended since the mark, unless some of it was sent.
    pub(super) fn unsay(&mut self, mark: usize) {
        if self.sent <= mark {
            self.bytes.truncate(mark);
        }
    }

    /// Forgets everything.
    fn clear(&mut self) {
        self.bytes.clear();
        self.sent = 0;
        if self.bytes.capacity() > KEEP {
            self.bytes = Vec::new();
        }
    }

    /// The first `sent` bytes of `bytes` are sent.
    pub(super) fn trim(bytes: &mut Vec<u8>, sent: usize) {
        if sent < bytes.len() {
            bytes.drain(..sent);
        } else {
            bytes.clear();
            bytes.shrink_to(KEEP);
        }
    }

    /// Sends until everything is sent.
    pub(super) fn poll_flush(&mut self, stream: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(left) = self.bytes.get(self.sent..).filter(|left| !left.is_empty()) {
            self.sent += ready!(poll_write(stream, cx, left))?;
        }
        self.clear();
        if stream.is_behind() { Pin::new(stream).poll_flush(cx) } else { Poll::Ready(Ok(())) }
    }
}

/// A client.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) stream: Stream,
    /// What came and was not yet dealt with.
    pub(crate) inbox: Vec<u8>,
    pub(crate) outbox: Outbox,
    /// The client sends nothing more.
    pub(crate) ended: bool,
    /// See [`poll_read`].
    pub(super) armed: bool,
    /// Its address, where a proxy in front of us told it.
    pub(crate) introduced: Option<Box<SocketAddr>>,
    /// Bytes that came from it, and went to it, since somebody asked.
    pub(super) received: u64,
    pub(super) sent: u64,
}

impl Client {
    pub(crate) fn new(stream: Stream) -> Self {
        Self {
            stream,
            inbox: Vec::new(),
            outbox: Outbox::default(),
            ended: false,
            armed: false,
            introduced: None,
            received: 0,
            sent: 0,
        }
    }

    /// Where the client is, as far as anybody knows; `None` behind a Unix socket.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.introduced.as_deref().copied().or_else(|| self.stream.peer())
    }

    /// Reads what has come into the inbox.
    pub(crate) fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let (stream, armed, inbox) = (&mut self.stream, &mut self.armed, &mut self.inbox);
        let n = with_space(|space| match poll_read(stream, armed, cx, space) {
            Poll::Ready(Ok(n)) => {
                inbox.extend_from_slice(space.get(..n).unwrap_or_default());
                Poll::Ready(Ok(n))
            }
            other => other,
        });
        match n {
            Poll::Ready(Ok(0)) => self.ended = true,
            Poll::Ready(Ok(n)) => self.received += n as u64,
            _ => {}
        }
        n
    }

    /// Ready when the client is gone and has left no more than the first `len` bytes of the inbox.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>, len: usize) -> Poll<()> {
        while !self.ended && self.inbox.len() < len + AHEAD_MAX {
            if ready!(self.poll_receive(cx)).is_err() {
                return Poll::Ready(());
            }
        }
        if self.ended && self.inbox.len() <= len { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Whether something waits to be sent, in the outbox or behind it.
    pub(crate) fn is_behind(&self) -> bool {
        !self.outbox.is_empty() || self.stream.is_behind()
    }

    /// Ready when everything is sent.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let waiting = self.outbox.waiting();
        let polled = self.outbox.poll_flush(&mut self.stream, cx);
        self.sent += (waiting - self.outbox.waiting()) as u64;
        polled
    }

    /// Bytes that came from the client, and went to it, since this was last asked.
    pub(super) fn take_traffic(&mut self) -> (u64, u64) {
        (std::mem::take(&mut self.received), std::mem::take(&mut self.sent))
    }

    /// Waits until everything is sent.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        std::future::poll_fn(|cx| self.poll_flush(cx)).await
    }

    /// The first `len` bytes of the inbox are dealt with.
    pub(crate) fn consume(&mut self, len: usize) {
        if len < self.inbox.len() {
            self.inbox.drain(..len);
        } else {
            self.inbox.clear();
        }
        if self.inbox.capacity() > KEEP && self.inbox.len() < KEEP {
            self.inbox.shrink_to(KEEP.max(self.inbox.len()));
        }
    }
}
