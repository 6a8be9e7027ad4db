//! What a session's last statement was warned of, for the client that asks next.
//!
//! A database answers SHOW WARNINGS for the last statement of its connection, which on a shared
//! backend may be another client's. So the answer is fetched while the backend is still this
//! session's, kept as it came, and given when it is asked for. Errors tell enough by themselves.

use super::columns::{BINARY, Definition};
use super::flags::{capability as cap, mark, status};
use super::frame::{self, Reader, put_text};
use super::last::{Which, put_eof};
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

    /// The conditions, each with its level, number and sentence; `None` if they are not known here.
    fn rows(&self) -> Option<Vec<[Vec<u8>; 3]>> {
        let mut rows = Vec::new();
        match self {
            Self::Nothing => {}
            Self::Lost => return None,
            Self::Failed(fields) => {
                rows.push([
                    b"Error".to_vec(),
                    fields.errno.to_string().into(),
                    fields.message.as_bytes().into(),
                ]);
            }
            Self::Fetched { bytes, .. } => {
                for payload in payloads(bytes) {
                    let mut row = Reader(payload);
                    let mut cell = || row.text().map(<[u8]>::to_vec);
                    if let (Some(level), Some(code), Some(sentence)) = (cell(), cell(), cell())
                        && [&b"Note"[..], b"Warning", b"Error"].contains(&level.as_slice())
                    {
                        rows.push([level, code, sentence]);
                    }
                }
            }
        }
        Some(rows)
    }

    /// How many conditions there are, or errors among them; `None` if that is not known here.
    pub fn count(&self, errors: bool) -> Option<usize> {
        Some(self.rows()?.iter().filter(|[level, ..]| !errors || level == b"Error").count())
    }

    /// Appends those of the conditions that are asked for. False if they are not known here.
    pub fn answer(
        &self,
        which: Which,
        is_binary: bool,
        abilities: u64,
        status: u16,
        out: &mut Vec<u8>,
    ) -> bool {
        const UTF8: u16 = 33;
        /// NOT NULL; with UNSIGNED and BINARY.
        const TEXT: u16 = 1;
        const NUMBER: u16 = 0xa1;
        let Some(rows) = self.rows() else { return false };
        let deprecates_eof = abilities & cap::DEPRECATE_EOF != 0;
        let mut sequence = frame::put(out, 1, &[3]);
        if let Self::Fetched { bytes, .. } = self {
            for column in payloads(bytes).skip(1).take(3) {
                sequence = frame::put(out, sequence, column);
            }
        } else {
            for (name, kind, width, collation, flags) in [
                ("Level", 253, 28, UTF8, TEXT),
                ("Code", 3, 4, BINARY, NUMBER),
                ("Message", 253, 2048, UTF8, TEXT),
            ] {
                let column = Definition { name, collation, width, kind, flags };
                sequence = frame::put(out, sequence, &column.payload(abilities));
            }
        }
        if !deprecates_eof {
            sequence = put_eof(status, sequence, out);
        }
        let (skip, take) =
            (which.skip.try_into().unwrap_or(usize::MAX), which.take.try_into().unwrap_or(usize::MAX));
        let asked = rows.iter().filter(|[level, ..]| !which.errors || level == b"Error");
        for [level, code, sentence] in asked.skip(skip).take(take) {
            let mut row = Vec::new();
            if is_binary {
                let code: u32 =
                    std::str::from_utf8(code).ok().and_then(|code| code.parse().ok()).unwrap_or(0);
                row.extend_from_slice(&[0, 0]);
                put_text(&mut row, level);
                row.extend_from_slice(&code.to_le_bytes());
            } else {
                put_text(&mut row, level);
                put_text(&mut row, code);
            }
            put_text(&mut row, sentence);
            sequence = frame::put(out, sequence, &row);
        }
        if deprecates_eof {
            messages::put_ok(out, sequence, mark::EOF, &Done { status, ..Done::default() });
        } else {
            put_eof(status, sequence, out);
        }
        true
    }
}

/// The payloads of packets that are here to their ends.
fn payloads(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let head = frame::head(bytes).ok()??;
        let payload = bytes.get(frame::HEADER..head.len())?;
        bytes = bytes.get(head.len()..)?;
        Some(payload)
    })
}

/// Whether a result with this end leaves something to be fetched.
pub fn is_due(done: &Done<'_>) -> bool {
    done.warnings > 0 && done.status & (status::IN_TRANSACTION | status::MORE_RESULTS) == 0
}
