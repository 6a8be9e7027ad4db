//! Moves judged bytes between a client and the backend that works for it.
//!
//! One exchange lasts from a request to its last reply, or to the moment when the client
//! must be heard again. The tracker judges the headers where the bytes lie; what it lets
//! through goes out in one write. Both sides are watched, so that a client that hangs up
//! or goes on with COPY data is noticed while the backend works.
//!
//! It never grows with a reply: what the client does not take stops the reading.

use super::alarm::Late;
use super::wire::{AHEAD_MAX, Client, Outbox, SCRATCH, poll_read, poll_write, with_space};
use pool::Backend;
use protocol::tracker::{Tracker, Verdict};
use protocol::{Protocol, ProtocolError};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::AsyncWrite;

/// Bytes of a message that a backend may send by itself: notifications and notices are much shorter.
const UNASKED_MAX: usize = SCRATCH / 2;

/// Why an exchange stopped short of its end.
#[derive(Debug)]
pub(super) enum Stop {
    /// Part of the request under way has come from the client.
    Heard,
    /// A replica refused the statement with this code, and nothing was relayed.
    Refused([u8; 5]),
    /// It takes too long.
    Late(Late),
    /// A statement must be prepared anew, and nothing was relayed.
    Stale,
    /// The backend is gone. `relayed`: the client has had part of the reply; `torn`: even
    /// part of a message.
    BackendLost { relayed: bool, torn: bool },
    /// The backend broke the protocol.
    Nonsense(ProtocolError),
    /// The client is gone.
    ClientGone,
}

/// The state of one exchange.
#[derive(Debug, Default)]
pub(super) struct Relay {
    /// Bytes of the backend's current frame that are still to come.
    pass: usize,
    /// Whether they are the client's.
    passes: bool,
    /// Bytes of the client's current frame that are still to come.
    pub(super) upload: usize,
    /// Bytes in the client's inbox when it was last heard.
    pub(super) heard: usize,
    /// Bytes at the front of the inbox that were sent and are kept to be sent once more.
    pub(super) kept: usize,
    /// What the client's outbox held before there was an answer to this request: nothing takes that back.
    pub(super) said: usize,
    /// Replies of our own that are due behind the current frame.
    after: Vec<u8>,
    /// Whether the client has had anything of the reply.
    relayed: bool,
    /// Whether the backend's next bytes will wake this task.
    armed: bool,
    /// Codes that are not relayed, because the request can be run elsewhere.
    retry: Option<fn(&[u8; 5]) -> bool>,
    /// A request that failed for a stale statement is not shown either: it is sent once more.
    heals: bool,
    stale: bool,
    refused: Option<[u8; 5]>,
    /// The reply holds an error.
    pub(super) failed: bool,
}

impl Relay {
    /// The exchange of a request of which `upload` bytes are still to come. With `retry`,
    /// errors of these codes end it unseen, as long as nothing was relayed; with `heals`, those of a stale
    /// statement do.
    pub(super) fn new(upload: usize, retry: Option<fn(&[u8; 5]) -> bool>, heals: bool) -> Self {
        Self { upload, retry, heals, ..Self::default() }
    }

    /// Moves bytes until everything owed has been relayed, or something must be decided.
    pub(super) fn poll<P: Protocol>(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Client,
        backend: &mut Backend<P>,
        tracker: &mut P::Tracker,
    ) -> Poll<Result<(), Stop>> {
        loop {
            let mut moved = false;
            // What is ours to say ahead of the first reply waits for it: it may be unsaid.
            let withheld = (self.heals || self.retry.is_some()) && !self.relayed;
            if !withheld && client.is_behind() {
                match client.poll_flush(cx) {
                    Poll::Ready(Ok(())) => moved = true,
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(Stop::ClientGone)),
                    Poll::Pending => {}
                }
            }
            // What was sent whole lets nothing else move: only a rest asks for another turn.
            if backend.is_behind() && poll_send(backend, cx) {
                moved |= backend.is_behind();
            }
            if (withheld || !client.is_behind()) && !tracker.is_over() {
                match self.poll_reply(cx, client, backend, tracker) {
                    Poll::Ready(Err(stop)) => return Poll::Ready(Err(stop)),
                    Poll::Ready(Ok(())) => moved = true,
                    Poll::Pending => {}
                }
            }
            if tracker.is_over() && self.upload == 0 && !backend.is_behind() {
                if let Some(code) = self.refused {
                    let stop = if self.stale { Stop::Stale } else { Stop::Refused(code) };
                    return Poll::Ready(Err(stop));
                }
                if !client.is_behind() {
                    return Poll::Ready(Ok(()));
                }
                if withheld {
                    (self.retry, self.heals) = (None, false);
                } else if !moved {
                    return Poll::Pending;
                }
                continue;
            }
            match self.poll_client(cx, client, backend, tracker) {
                Poll::Ready(Some(stop)) => return Poll::Ready(Err(stop)),
                Poll::Ready(None) => moved = true,
                Poll::Pending => {}
            }
            if !moved {
                return Poll::Pending;
            }
        }
    }

    /// Hears the client while the backend works.
    fn poll_client<P: Protocol>(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Client,
        backend: &mut Backend<P>,
        tracker: &P::Tracker,
    ) -> Poll<Option<Stop>> {
        let wanted = (self.upload > 0 || tracker.is_open()) && !tracker.is_stalled();
        if wanted && self.upload == 0 && !backend.is_behind() && client.inbox.len() != self.heard {
            return Poll::Ready(Some(Stop::Heard));
        }
        if client.ended {
            let gone = wanted || client.inbox.len() <= self.kept;
            return if gone { Poll::Ready(Some(Stop::ClientGone)) } else { Poll::Pending };
        }
        if self.upload > 0 && !tracker.is_stalled() {
            return self.poll_upload(cx, client, backend);
        }
        if wanted && backend.is_behind() || client.inbox.len() >= AHEAD_MAX && !wanted {
            return Poll::Pending;
        }
        match client.poll_receive(cx) {
            Poll::Ready(Err(_)) => Poll::Ready(Some(Stop::ClientGone)),
            Poll::Ready(Ok(0)) => Poll::Ready(None),
            Poll::Ready(Ok(_)) if wanted => Poll::Ready(Some(Stop::Heard)),
            Poll::Ready(Ok(_)) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Sends the rest of a large frame on as it comes.
    fn poll_upload<P: Protocol>(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Client,
        backend: &mut Backend<P>,
    ) -> Poll<Option<Stop>> {
        if backend.is_behind() {
            return Poll::Pending;
        }
        if !client.inbox.is_empty() {
            let n = self.upload.min(client.inbox.len());
            backend.outbox.extend_from_slice(client.inbox.get(..n).unwrap_or_default());
            client.consume(n);
            self.upload -= n;
            return Poll::Ready(None);
        }
        let most = self.upload.min(SCRATCH);
        let read = with_space(|space| {
            let space = space.get_mut(..most).unwrap_or_default();
            match poll_read(&mut client.stream, &mut client.armed, cx, space) {
                Poll::Ready(Ok(n)) => {
                    backend.outbox.extend_from_slice(space.get(..n).unwrap_or_default());
                    Poll::Ready(Ok(n))
                }
                other => other,
            }
        });
        match read {
            Poll::Ready(Ok(n)) if n > 0 => {
                self.upload -= n;
                client.received += n as u64;
                Poll::Ready(None)
            }
            Poll::Ready(_) => Poll::Ready(Some(Stop::ClientGone)),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Passes on what a backend says by itself while nothing is owed. Ready only when it is lost.
    pub(super) fn poll_unasked<P: Protocol>(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Client,
        backend: &mut Backend<P>,
        tracker: &mut P::Tracker,
    ) -> Poll<Stop> {
        loop {
            match self.poll_reply(cx, client, backend, tracker) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(stop)) => return Poll::Ready(stop),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Reads from the backend once, judges, and writes what is the client's.
    fn poll_reply<P: Protocol>(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Client,
        backend: &mut Backend<P>,
        tracker: &mut P::Tracker,
    ) -> Poll<Result<(), Stop>> {
        with_space(|space| {
            let carried = backend.carry.len();
            let Some((front, room)) = space.split_at_mut_checked(carried) else {
                return Poll::Ready(Err(Stop::Nonsense(ProtocolError(
                    "a header of the backend is too large",
                ))));
            };
            front.copy_from_slice(&backend.carry);
            let n = match poll_read(&mut backend.stream, &mut self.armed, cx, room) {
                Poll::Ready(Ok(n)) if n > 0 => n,
                Poll::Ready(_) => return Poll::Ready(Err(self.lost())),
                Poll::Pending => return Poll::Pending,
            };
            backend.carry.clear();
            let bytes = space.get(..carried + n).unwrap_or_default();
            let judged = self.judge(cx, bytes, client, backend, tracker).and_then(|()| {
                let client = client.outbox.space();
                tracker.resume(&mut backend.memory, &mut backend.outbox, client).map_err(Stop::Nonsense)
            });
            Poll::Ready(judged)
        })
    }

    /// Whether the client has had a part of a message whose rest has not come.
    pub(super) fn is_torn(&self) -> bool {
        self.pass > 0 && self.passes && self.relayed
    }

    fn lost(&self) -> Stop {
        Stop::BackendLost { relayed: self.relayed, torn: self.is_torn() }
    }

    /// Judges `bytes`, which begin with a header unless a frame is being passed.
    fn judge<P: Protocol>(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        client: &mut Client,
        backend: &mut Backend<P>,
        tracker: &mut P::Tracker,
    ) -> Result<(), Stop> {
        // `bytes[run..at]` is judged, is the client's, and is not yet on its way.
        let (mut run, mut at) = (0, 0);
        loop {
            if self.pass > 0 {
                let n = self.pass.min(bytes.len() - at);
                self.pass -= n;
                at += n;
                if !self.passes {
                    run = at;
                }
                if self.pass > 0 {
                    break;
                }
                if !self.after.is_empty() {
                    let out = client.outbox.space();
                    out.extend_from_slice(bytes.get(run..at).unwrap_or_default());
                    out.append(&mut self.after);
                    run = at;
                }
            }
            let left = bytes.get(at..).unwrap_or_default();
            let judged = bytes.get(run..at).unwrap_or_default();
            let Some(head) = P::head(left).map_err(|error| nonsense(error, judged, client))? else { break };
            let seen = left.get(head.header..).unwrap_or_default();
            let seen = seen.get(..head.body).unwrap_or(seen);
            // What a backend says by itself is passed whole or not at all: nobody waits for its rest.
            if seen.len() < head.body && tracker.is_over() {
                if head.len() > UNASKED_MAX {
                    let error = ProtocolError("the backend says too much that nobody asked");
                    return Err(nonsense(error, judged, client));
                }
                break;
            }
            if seen.len() < tracker.needs(head) {
                break;
            }
            let verdict = tracker
                .on_backend(head, seen, &mut backend.memory, &mut self.after)
                .map_err(|error| nonsense(error, judged, client))?;
            self.passes = match verdict {
                Verdict::Relay => true,
                Verdict::Swallow => false,
                Verdict::Failed(code) => {
                    self.failed = true;
                    !self.refuses(code, tracker)
                }
                Verdict::Reworded(code) => {
                    self.failed = true;
                    self.refuses(code, tracker);
                    false
                }
            };
            if self.passes && seen.len() == head.body && self.after.is_empty() {
                at += head.len();
                continue;
            }
            if !self.passes {
                if self.refused.is_none() && run < at {
                    client.outbox.space().extend_from_slice(bytes.get(run..at).unwrap_or_default());
                }
                if self.refused.is_some() {
                    client.outbox.unsay(self.said);
                    self.after.clear();
                }
                run = at;
            }
            self.pass = head.len();
        }
        backend.carry.extend_from_slice(bytes.get(at..).unwrap_or_default());
        self.send(cx, bytes.get(run..at).unwrap_or_default(), client)
    }

    /// Whether this error is not shown, because the request will be run elsewhere.
    fn refuses<T: Tracker>(&mut self, code: [u8; 5], tracker: &mut T) -> bool {
        self.stale = tracker.take_stale() && self.heals && !self.relayed;
        let refuses = self.stale || (!self.relayed && self.retry.is_some_and(|retry| retry(&code)));
        if refuses {
            tracker.mute();
            self.refused = Some(code);
        }
        refuses
    }

    /// Puts a run on its way, straight from where it lies if nothing waits before it.
    fn send(&mut self, cx: &mut Context<'_>, run: &[u8], client: &mut Client) -> Result<(), Stop> {
        if run.is_empty() {
            return Ok(());
        }
        self.relayed = true;
        if !client.outbox.is_empty() {
            client.outbox.space().extend_from_slice(run);
            return Ok(());
        }
        let written = match poll_write(&mut client.stream, cx, run) {
            Poll::Ready(Ok(n)) => n,
            Poll::Ready(Err(_)) => return Err(Stop::ClientGone),
            Poll::Pending => 0,
        };
        client.sent += written as u64;
        client.outbox.space().extend_from_slice(run.get(written..).unwrap_or_default());
        Ok(())
    }
}

/// The backend broke the protocol. What was `judged` before is the client's still: what we say comes behind it.
fn nonsense(error: ProtocolError, judged: &[u8], client: &mut Client) -> Stop {
    client.outbox.space().extend_from_slice(judged);
    Stop::Nonsense(error)
}

/// Sends what waits for the backend. An error is not told: the reading side will see the end,
/// and perhaps the backend's last words before it.
fn poll_send<P: Protocol>(backend: &mut Backend<P>, cx: &mut Context<'_>) -> bool {
    if backend.outbox.is_empty() {
        return Pin::new(&mut backend.stream).poll_flush(cx).is_ready();
    }
    match poll_write(&mut backend.stream, cx, &backend.outbox) {
        Poll::Ready(Ok(n)) => {
            Outbox::trim(&mut backend.outbox, n);
            true
        }
        Poll::Ready(Err(_)) => {
            backend.outbox.clear();
            true
        }
        Poll::Pending => false,
    }
}
