//! Hints: what the author of a statement asks for in a comment.
//!
//! `/* splitpool: replica, max_lag=200ms */` or `-- splitpool: primary`. A word that is not known is skipped:
//! a comment must never make a statement fail. A hint to the primary always holds; what a hint to a replica
//! is worth is decided in `decide`.

/// Where a hint asks a statement to run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HintTarget {
    /// On the primary.
    Primary,
    /// On a replica, if nothing known speaks against it.
    Replica,
}

/// How fresh the data of a read must be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Consistency {
    /// Whatever a replica has.
    Eventual,
    /// No older than the permitted lag.
    Bounded,
    /// Own writes, and never backwards in time.
    Session,
    /// The same, of a session whose past the application names.
    Token,
    /// The primary's.
    Strong,
}

/// The hints of one text, united.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Hint {
    /// Where to run.
    pub target: Option<HintTarget>,
    /// The greatest permitted lag in milliseconds.
    pub max_lag_ms: Option<u32>,
    /// How fresh the data must be, instead of the session's own rule.
    pub consistency: Option<Consistency>,
}

impl Hint {
    /// Reads a comment's text, without its delimiters, into this hint.
    pub(crate) fn read(&mut self, comment: &[u8]) {
        let Some(words) = strip_prefix(comment.trim_ascii(), b"splitpool:") else { return };
        for word in words.split(|byte| *byte == b',') {
            self.read_word(word.trim_ascii());
        }
    }

    fn read_word(&mut self, word: &[u8]) {
        if word.eq_ignore_ascii_case(b"primary") {
            self.target = Some(HintTarget::Primary);
        } else if word.eq_ignore_ascii_case(b"replica") {
            // The careful one of two contradicting hints wins.
            self.target = self.target.or(Some(HintTarget::Replica));
        } else if let Some(value) = strip_prefix(word, b"max_lag=") {
            self.max_lag_ms = smaller(self.max_lag_ms, milliseconds(value.trim_ascii()));
        } else if let Some(value) = strip_prefix(word, b"consistency=") {
            self.consistency = consistency(value.trim_ascii()).or(self.consistency);
        }
    }

    /// Unites two hints; where they differ the careful one wins.
    #[must_use]
    pub fn join(self, other: Self) -> Self {
        let target = match (self.target, other.target) {
            (Some(HintTarget::Primary), _) | (_, Some(HintTarget::Primary)) => Some(HintTarget::Primary),
            (one, two) => one.or(two),
        };
        Self {
            target,
            max_lag_ms: smaller(self.max_lag_ms, other.max_lag_ms),
            consistency: strictest(self.consistency, other.consistency),
        }
    }
}

fn strip_prefix<'a>(text: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    let (head, tail) = text.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(tail)
}

fn smaller(one: Option<u32>, two: Option<u32>) -> Option<u32> {
    match (one, two) {
        (Some(one), Some(two)) => Some(one.min(two)),
        (one, two) => one.or(two),
    }
}

fn strictest(one: Option<Consistency>, two: Option<Consistency>) -> Option<Consistency> {
    match (one, two) {
        (Some(one), Some(two)) => Some(if one as u8 >= two as u8 { one } else { two }),
        (one, two) => one.or(two),
    }
}

fn consistency(value: &[u8]) -> Option<Consistency> {
    const NAMES: [(&[u8], Consistency); 5] = [
        (b"eventual", Consistency::Eventual),
        (b"bounded", Consistency::Bounded),
        (b"session", Consistency::Session),
        (b"token", Consistency::Token),
        (b"strong", Consistency::Strong),
    ];
    NAMES.iter().find(|(name, _)| value.eq_ignore_ascii_case(name)).map(|(_, consistency)| *consistency)
}

/// A duration with a unit (`ms`, `s`, `min`); a bare number is milliseconds. Too large a number is the largest.
fn milliseconds(value: &[u8]) -> Option<u32> {
    let digits = value.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, unit) = value.split_at(digits);
    let factor: u64 = match unit {
        b"ms" | b"" => 1,
        b"s" => 1000,
        b"min" | b"m" => 60_000,
        _ => return None,
    };
    if number.is_empty() {
        return None;
    }
    let amount = number.iter().fold(0u64, |sum, digit| {
        sum.saturating_mul(10).saturating_add(u64::from(digit - b'0')).min(u64::from(u32::MAX))
    });
    Some(u32::try_from(amount.saturating_mul(factor)).unwrap_or(u32::MAX))
}
