//! What a session's last statement was warned of, for the client that asks next.
//!
//! A database answers SHOW WARNINGS for the last statement of its connection, which on a shared
//! backend may be another client's. So the answer is fetched while the backend is still this
//! session's, kept as it came, and given when it is asked for. Errors tell enough by themselves.

use super::columns::Definition;
use super::flags::{capability as cap, mark, status};
use super::frame::{self, put_text};
use super::last::put_eof;
use super::messages::{self, Done, ErrorFields};

/// What is fetched.
pub const QUESTION: &str = "SHOW WARNINGS";

/// Bytes of an answer that are kept. Longer ones are not.
const KEPT_MAX: usize = 64 * 1024;

/// The warnings of the last statement.
#[derive(Debug, Default)]
pub enum Diagnosis {
    /// There are none.
    #[default]
    Nothing,
    /// It failed like this.
    Failed(ErrorFields),
    /// The database's own answer, packet by packet.
    Fetched { bytes: Vec<u8>, sequence: u8 },
    /// It was too long to keep.
    Lost,
}

impl Diagnosis {
    /// Takes one packet of the database's answer.
    pub fn take(&mut self, body: &[u8], whole: bool) {
        if let Self::Fetched { bytes, sequence } = self {
            if !whole || bytes.len() + body.len() > KEPT_MAX {
                *self = Self::Lost;
                return;
            }
            *sequence = frame::put(bytes, *sequence, body);
        }
    }

    /// An answer of which nothing has come.
    pub fn fetching() -> Self {
        Self::Fetched { bytes: Vec::new(), sequence: 1 }
    }

    /// Appends the answer to a client with these abilities.
    pub fn answer(&self, abilities: u64, status: u16, out: &mut Vec<u8>) {
        const UTF8: u16 = 33;
        let deprecates_eof = abilities & cap::DEPRECATE_EOF != 0;
        let failed = match self {
            Self::Fetched { bytes, .. } => return out.extend_from_slice(bytes),
            Self::Failed(fields) => Some(fields),
            Self::Nothing | Self::Lost => None,
        };
        let done = Done { status, ..Done::default() };
        let mut sequence = frame::put(out, 1, &[3]);
        for (name, kind, width) in [("Level", 253, 28), ("Code", 3, 4), ("Message", 253, 2048)] {
            let column = Definition { name, collation: UTF8, width, kind, flags: 1 };
            sequence = frame::put(out, sequence, &column.payload(abilities));
        }
        if !deprecates_eof {
            sequence = put_eof(status, sequence, out);
        }
        if let Some(fields) = failed {
            let mut row = Vec::new();
            for text in ["Error", &fields.errno.to_string(), &fields.message] {
                put_text(&mut row, text.as_bytes());
            }
            sequence = frame::put(out, sequence, &row);
        }
        if deprecates_eof {
            messages::put_ok(out, sequence, mark::EOF, &done);
        } else {
            put_eof(status, sequence, out);
        }
    }
}

/// Whether a result with this end leaves something to be fetched.
pub fn is_due(done: &Done<'_>) -> bool {
    done.warnings > 0 && done.status & (status::IN_TRANSACTION | status::MORE_RESULTS) == 0
}
