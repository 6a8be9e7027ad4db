//! Judges what a PostgreSQL client sends: where a request ends, and which bytes mean nothing.
//!
//! Looks at headers only. A request is a simple query, a function call, or a batch of the
//! extended protocol up to its Sync; while the backend is in the middle of a batch or of
//! COPY, whatever comes belongs to it and is sent on at once.

use super::frame;
use super::tracker::PgTracker;
use crate::fault::Cause;
use crate::tracker::{Intake, TxnStatus};
use crate::{Fault, Head};

impl PgTracker {
    #[inline]
    pub(super) fn judge_inbox(&mut self, inbox: &[u8], gather_max: usize) -> Result<Intake, Fault> {
        if self.dropping > 0 {
            return Ok(self.drop_some(self.dropping, inbox.len()));
        }
        let mut executes = false;
        loop {
            let Some(head) = frame::head(inbox.get(self.scanned..).unwrap_or_default())? else {
                // The database answers an Execute of COPY at once, and one that fails, so its client may wait before
                // it ends the batch. In a transaction there is nothing to decide on that the rest could change.
                let pauses = executes && inbox.len() == self.scanned;
                let at_once = pauses && (self.txn != TxnStatus::Idle || self.asks_to_copy(inbox));
                return Ok(self.so_far(if at_once { 0 } else { gather_max }));
            };
            let end = self.scanned + head.len();
            // After an error the database discards everything up to a Sync, and so do we: a frame that is only
            // here in part would leave a rest that belongs to nothing.
            if self.flush_failed || (self.skipping && self.scanned == 0) {
                match head.tag {
                    b'X' => return Ok(Intake::Terminate),
                    b'S' => self.flush_failed = false,
                    _ => return Ok(self.drop_some(head.len(), inbox.len())),
                }
            }
            match head.tag {
                b'X' if self.scanned == 0 || !self.open => return Ok(Intake::Terminate),
                b'd' | b'c' | b'f' if !self.is_mid_batch() => {
                    return Ok(self.drop_some(head.len(), inbox.len()));
                }
                // The database would skip what follows up to a Sync, and nothing owed would tell.
                b'H' if head.body > 0 => {
                    return Err(Fault::fatal(Cause::ProtocolViolation, "invalid message format"));
                }
                b'Q' | b'F' | b'S' | b'H' | b'P' | b'B' | b'D' | b'E' | b'C' | b'd' | b'c' | b'f' => {}
                b'X' => return Ok(Intake::Ready { len: self.scanned, rest: 0, whole: false }),
                _ => return Err(Fault::fatal(Cause::ProtocolViolation, "invalid frontend message type")),
            }
            if end > inbox.len() {
                return Ok(self.cut(head, inbox.len(), gather_max));
            }
            let of_statement = || inbox.get(self.scanned + head.header) == Some(&b'S');
            self.only_prepares = match head.tag {
                b'P' | b'H' => self.only_prepares || self.scanned == 0,
                b'D' | b'C' => (self.only_prepares || self.scanned == 0) && of_statement(),
                _ => false,
            };
            self.scanned = end;
            executes = head.tag == b'E';
            if self.is_boundary(head.tag) {
                // Nothing has run yet: what is prepared lasts beyond a Sync as well as beyond a Flush.
                self.ends_by_flush =
                    head.tag == b'H' && self.only_prepares && !self.open && self.txn == TxnStatus::Idle;
                let whole = matches!(head.tag, b'Q' | b'F' | b'S') || self.ends_by_flush;
                return Ok(Intake::Ready { len: end, rest: 0, whole });
            }
        }
    }

    /// Whether COPY data has a meaning here: its COPY may be among what was sent or gathered.
    fn is_mid_batch(&self) -> bool {
        self.copy_in || self.open || self.scanned > 0
    }

    fn is_boundary(&self, tag: u8) -> bool {
        match tag {
            b'c' | b'f' => self.copy_in,
            b'S' | b'H' => !self.copy_in,
            tag => matches!(tag, b'Q' | b'F'),
        }
    }

    /// The next header is not here yet.
    fn so_far(&self, gather_max: usize) -> Intake {
        let eager = self.copy_in || self.open || self.scanned >= gather_max;
        if eager && self.scanned > 0 {
            return Intake::Ready { len: self.scanned, rest: 0, whole: false };
        }
        Intake::More
    }

    /// A frame is here in part only: large ones are sent on as they come.
    fn cut(&self, head: Head, here: usize, gather_max: usize) -> Intake {
        let end = self.scanned + head.len();
        let streams = if head.tag == b'd' { here > self.scanned + head.header } else { here >= gather_max };
        // Names are translated where they stand, so they must be here: what came before them goes first.
        if streams && end > gather_max && head.tag != b'd' && self.scanned > 0 {
            return Intake::Ready { len: self.scanned, rest: 0, whole: false };
        }
        if streams && (end > gather_max || head.tag == b'd') {
            return Intake::Ready { len: here, rest: end - here, whole: false };
        }
        self.so_far(gather_max)
    }

    /// Drops as much of a meaningless frame of `len` bytes as is here.
    fn drop_some(&mut self, len: usize, here: usize) -> Intake {
        let dropped = len.min(here);
        self.dropping = len - dropped;
        if dropped == 0 { Intake::More } else { Intake::Drop(dropped) }
    }
}
