//! Folds lists in a digest: of members side by side that read the same, one stays.
//!
//! Lists are those in parentheses behind IN, in brackets behind ARRAY, and the rows behind VALUES. Works on what has been
//! written, by position. Lists that are nested deeper than `DEPTH` stay as they are.

use crate::piece::Piece;
use crate::words::{is, is_any};

/// How deep parentheses may be nested.
const DEPTH: usize = 24;

/// What a pair of parentheses holds, or what stands behind VALUES.
#[derive(Clone, Copy, Default)]
struct Level {
    /// Whether members are folded.
    folds: bool,
    /// Rows without parentheses around all of them.
    rows: bool,
    /// Where the member under way begins.
    member: usize,
    /// Where the one before it that stays begins and ends; nothing if they are equal.
    before: (usize, usize),
}

/// See the file's head.
#[derive(Default)]
pub(crate) struct Lists {
    levels: [Level; DEPTH],
    depth: usize,
    /// The word before was one that a list follows; and whether that is VALUES.
    next: Option<bool>,
}

impl Lists {
    fn top(&mut self) -> Option<&mut Level> {
        self.levels.get_mut(self.depth.checked_sub(1)?)
    }

    fn push(&mut self, level: Level) {
        if let Some(free) = self.levels.get_mut(self.depth) {
            *free = level;
        }
        self.depth += 1;
    }

    /// A word was written that ends at `end`.
    pub(crate) fn word(&mut self, word: &[u8], end: usize) {
        if is(word, b"row") && self.next == Some(true) {
            return;
        }
        self.next = if is_any(word, &[b"values", b"value"]) {
            self.push(Level { folds: true, rows: true, member: end, before: (0, 0) });
            Some(true)
        } else {
            is_any(word, &[b"in", b"array", b"any"]).then_some(false)
        };
    }

    /// Before `piece` is written: what it ends is folded.
    pub(crate) fn see(&mut self, piece: Piece<'_>, out: &mut Vec<u8>) {
        let row = match piece {
            Piece::Open | Piece::Comma => true,
            Piece::Word(word) => is(word, b"row"),
            _ => false,
        };
        if !row && self.top().is_some_and(|level| level.rows) {
            self.fold(out);
            self.depth -= 1;
        }
        match piece {
            Piece::Close | Piece::Tie(b"]") => {
                self.fold(out);
                self.depth = self.depth.saturating_sub(1);
            }
            Piece::Comma => self.fold(out),
            Piece::Open | Piece::Tie(b"[") | Piece::Word(_) => {}
            _ => self.next = None,
        }
    }

    /// A parenthesis or bracket was opened, up to `end`.
    pub(crate) fn open(&mut self, end: usize) {
        let folds = self.next == Some(false);
        self.next = None;
        self.push(Level { folds, rows: false, member: end, before: (0, 0) });
    }

    /// A comma was written, up to `end`.
    pub(crate) fn comma(&mut self, end: usize) {
        if let Some(level) = self.top() {
            level.member = end;
        }
    }

    /// The statement is over.
    pub(crate) fn end(&mut self, out: &mut Vec<u8>) {
        if self.top().is_some_and(|level| level.rows) {
            self.fold(out);
        }
        (self.depth, self.next) = (0, None);
    }

    /// The text is cut off here: the member under way goes, if another stays.
    pub(crate) fn cut(&mut self, out: &mut Vec<u8>) {
        let levels = self.levels.iter().take(self.depth);
        let whole = levels
            .filter(|level| level.folds && level.before.1 > level.before.0)
            .map(|level| level.before.1)
            .min();
        out.truncate(whole.unwrap_or(out.len()));
    }

    /// The member under way is whole: it goes if it reads as the one before it.
    fn fold(&mut self, out: &mut Vec<u8>) {
        let Some(level) = self.top().filter(|level| level.folds) else { return };
        let (from, to) = level.before;
        let member = out.get(level.member..).unwrap_or_default().trim_ascii();
        let before = out.get(from..to).unwrap_or_default().trim_ascii();
        if member.is_empty() {
            return;
        }
        if member == before {
            out.truncate(to);
        } else {
            level.before = (level.member, out.len());
        }
    }
}
