//! Which transaction of the session's own a reply has told, so that the session can be found to have it elsewhere.
//!
//! What is told counts only if it covers all that the reply showed: it is told with the reply's last result, and no
//! earlier result had rows, which may come from after that transaction (a procedure that commits and goes on to
//! read). MariaDB cannot tell it in a classic EOF packet and does so in the next OK packet, which may be another
//! session's: what is told late is nobody's.

use super::flags::status;
use super::messages::{Changed, Done, LAST_GTID};
use crate::Gtid;

/// See the file's head.
#[derive(Debug, Default)]
pub struct Written {
    gtid: Option<Gtid>,
    /// A result of the reply had rows.
    rows: bool,
    /// The client wants to be told: MariaDB's variable, MySQL's list.
    wants: (bool, bool),
}

/// What one OK packet tells of it.
#[derive(Debug, Default)]
pub struct Told {
    gtid: Option<Gtid>,
    /// It is told in a way that the client has not asked for.
    pub unasked: bool,
}

impl Written {
    /// The transaction that the last reply told, and that covers all it showed.
    pub fn gtid(&self) -> Option<&Gtid> {
        self.gtid.as_ref()
    }

    /// The client has asked something, or it has failed.
    pub fn forget(&mut self) {
        (self.gtid, self.rows) = (None, false);
    }

    /// One change of an OK packet.
    pub fn hear(&mut self, change: Changed<'_>, told: &mut Told) {
        match change {
            Changed::Written(list) => {
                told.gtid = Gtid::mysql(list);
                told.unasked |= !self.wants.1;
            }
            Changed::Variable(LAST_GTID, value) => {
                told.gtid = Gtid::mariadb(value);
                told.unasked |= !self.wants.0;
            }
            Changed::Variable(b"session_track_system_variables", list) => {
                let mut names = list.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
                self.wants.0 = names.any(|name| name == b"*" || name.eq_ignore_ascii_case(LAST_GTID));
            }
            Changed::Variable(b"session_track_gtids", value) => {
                self.wants.1 = !value.eq_ignore_ascii_case(b"OFF");
            }
            _ => {}
        }
    }

    /// A result is over, with rows or without. `late`: whether the backend still has something to tell that an
    /// earlier reply could not.
    pub fn end(&mut self, told: Told, done: &Done<'_>, rows: bool, late: &mut bool) {
        let stale = *late && told.gtid.is_some();
        if !done.changes.is_empty() || done.cut {
            *late = false;
        } else {
            // Rows in a transaction commit nothing: what changed is the transaction's state.
            *late |= done.status & (status::STATE_CHANGED | status::IN_TRANSACTION) == status::STATE_CHANGED;
        }
        if told.gtid.is_some() || self.gtid.is_some() {
            self.gtid = told.gtid.filter(|_| !self.rows && !stale);
        }
        self.rows |= rows;
    }
}
