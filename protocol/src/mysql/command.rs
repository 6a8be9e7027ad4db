//! What a client's packets are, taken together: one command each.

use super::frame::{self, FULL, HEADER};
use std::borrow::Cow;

/// One command: all its packets, or as much of them as is here.
#[derive(Clone, Copy)]
pub struct Command<'a> {
    pub tag: u8,
    pub frames: &'a [u8],
    /// The payload of its first packet.
    pub front: &'a [u8],
    /// Whether it is here to its end.
    pub whole: bool,
    /// Whether its last packet here is continued by another.
    pub goes_on: bool,
    /// The number of its last packet here.
    pub sequence: u8,
}

impl<'a> Command<'a> {
    /// The command at the start of `bytes`.
    pub fn first(bytes: &'a [u8]) -> Option<Self> {
        let head = frame::head(bytes).ok()??;
        let front = bytes.get(HEADER..bytes.len().min(head.len()))?;
        let (mut at, mut goes_on, mut sequence) = (0, true, 0);
        let mut whole = true;
        while goes_on {
            let left = bytes.get(at..).unwrap_or_default();
            let Ok(Some(head)) = frame::head(left) else {
                whole = false;
                break;
            };
            (goes_on, sequence) = (head.body == FULL, frame::sequence(left));
            at += head.len();
            if at > bytes.len() {
                whole = false;
                break;
            }
        }
        let frames = bytes.get(..at.min(bytes.len()))?;
        Some(Self { tag: head.tag, frames, front, whole, goes_on, sequence })
    }

    /// The payload, as much of it as is here.
    pub fn payload(&self) -> Cow<'a, [u8]> {
        if self.frames.len() <= HEADER + self.front.len() {
            return Cow::Borrowed(self.front);
        }
        let mut joined = Vec::with_capacity(self.frames.len());
        let mut left = self.frames;
        while let Ok(Some(head)) = frame::head(left) {
            joined.extend_from_slice(left.get(HEADER..left.len().min(head.len())).unwrap_or_default());
            left = left.get(head.len()..).unwrap_or_default();
        }
        Cow::Owned(joined)
    }

    /// The text that it runs or prepares; `attributes` as they were agreed on. What nobody could read is shown as
    /// what no database can.
    pub fn text(&self, attributes: bool) -> Cow<'a, [u8]> {
        const NOTHING: &[u8] = b"?";
        let has_attributes = attributes && self.tag == super::flags::command::QUERY;
        let behind = |payload: &[u8]| {
            let rest = payload.get(1..)?;
            let text = if has_attributes { super::attributes::text(rest)? } else { rest };
            Some(payload.len() - text.len())
        };
        match self.payload() {
            Cow::Borrowed(payload) => {
                Cow::Borrowed(behind(payload).and_then(|at| payload.get(at..)).unwrap_or(NOTHING))
            }
            Cow::Owned(mut payload) => match behind(&payload) {
                Some(at) => {
                    payload.drain(..at);
                    Cow::Owned(payload)
                }
                None => Cow::Borrowed(NOTHING),
            },
        }
    }

    /// The statement that it names.
    pub fn statement(&self) -> u32 {
        let bytes = self.front.get(1..5).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
        bytes.map_or(0, u32::from_le_bytes)
    }

    /// Appends it with another statement in its place.
    pub fn put_renamed(&self, id: u32, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(self.frames);
        if let Some(place) = out.get_mut(start + HEADER + 1..start + HEADER + 5) {
            place.copy_from_slice(&id.to_le_bytes());
        }
    }
}

pub fn commands(mut bytes: &[u8]) -> impl Iterator<Item = Command<'_>> {
    std::iter::from_fn(move || {
        let command = Command::first(bytes)?;
        bytes = bytes.get(command.frames.len()..).unwrap_or_default();
        Some(command)
    })
}
