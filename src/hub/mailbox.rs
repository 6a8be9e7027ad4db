//! What waits for one session to hear it. Bounded: who does not listen for long misses something, and is told so.

use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// Bytes of notifications that wait for one session. Beyond, they are dropped and the session is told.
const WAITING_MAX: usize = 1 << 20;

/// What somebody said on a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The number of the database's process that said it.
    pub process: i32,
    /// Where.
    pub channel: Arc<str>,
    /// What.
    pub payload: Arc<str>,
}

/// What waits for one session.
#[derive(Debug, Default)]
pub struct Mailbox(Mutex<Mail>);

#[derive(Debug, Default)]
struct Mail {
    notes: VecDeque<Note>,
    bytes: usize,
    missing: bool,
    waker: Option<Waker>,
}

impl Mailbox {
    /// Adds what was said, if there is room.
    pub(super) fn put(&self, note: &Note) {
        let mut mail = self.0.lock();
        let bytes = note.channel.len() + note.payload.len() + size_of::<Note>();
        if mail.bytes + bytes > WAITING_MAX {
            mail.missing = true;
        } else {
            mail.bytes += bytes;
            mail.notes.push_back(note.clone());
        }
        wake(mail);
    }

    /// Something may be missing from here on.
    pub(super) fn miss(&self) {
        let mut mail = self.0.lock();
        mail.missing = true;
        wake(mail);
    }

    /// Takes what waits, and whether something may be missing before it. Pending, and to be woken, if there is
    /// nothing.
    pub fn poll_take(&self, cx: &Context<'_>) -> Poll<(VecDeque<Note>, bool)> {
        let mut mail = self.0.lock();
        if mail.notes.is_empty() && !mail.missing {
            if mail.waker.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
                mail.waker = Some(cx.waker().clone());
            }
            return Poll::Pending;
        }
        mail.bytes = 0;
        Poll::Ready((std::mem::take(&mut mail.notes), std::mem::take(&mut mail.missing)))
    }
}

fn wake(mut mail: parking_lot::MutexGuard<'_, Mail>) {
    let waker = mail.waker.take();
    drop(mail);
    if let Some(waker) = waker {
        waker.wake();
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn note(payload: &str) -> Note {
        Note { process: 1, channel: "c".into(), payload: payload.into() }
    }

    pub(in super::super) fn take(mailbox: &Mailbox) -> Option<(Vec<String>, bool)> {
        match mailbox.poll_take(&Context::from_waker(Waker::noop())) {
            Poll::Pending => None,
            Poll::Ready((notes, missing)) => {
                Some((notes.iter().map(|note| note.payload.to_string()).collect(), missing))
            }
        }
    }

    #[test]
    fn mail_is_in_order_and_bounded() {
        let mailbox = Mailbox::default();
        assert_eq!(take(&mailbox), None);
        mailbox.put(&note("1"));
        mailbox.put(&note("2"));
        assert_eq!(take(&mailbox), Some((vec!["1".into(), "2".into()], false)));
        let long = "x".repeat(WAITING_MAX / 2);
        (0..3).for_each(|_| mailbox.put(&note(&long)));
        let (notes, missing) = take(&mailbox).expect("something waits");
        assert_eq!((notes.len(), missing), (1, true));
        assert_eq!(take(&mailbox), None);
    }
}
