//! Rules: the operator's own word on where a text goes.
//!
//! A rule is matched against the text as the client sent it, case and white space included; the first rule
//! that matches wins. Rules never apply to transaction control.

use crate::Target;

/// Why a rule was refused.
#[derive(Debug, thiserror::Error)]
#[error("not a usable pattern: {source}")]
pub struct RuleError {
    #[from]
    source: regex::Error,
}

/// A pattern and where the texts go that match it.
#[derive(Clone, Debug)]
pub struct Rule {
    pattern: regex::bytes::Regex,
    target: Target,
}

impl Rule {
    /// Compiles a pattern. The compiled size is bounded, and matching is linear in the text.
    ///
    /// # Errors
    /// The pattern is not a regular expression, or too large a one.
    pub fn new(pattern: &str, target: Target) -> Result<Self, RuleError> {
        let pattern = regex::bytes::RegexBuilder::new(pattern).size_limit(1 << 20).build()?;
        Ok(Self { pattern, target })
    }

    /// The target, if the text matches.
    pub(crate) fn judge(&self, text: &[u8]) -> Option<Target> {
        self.pattern.is_match(text).then_some(self.target)
    }
}
