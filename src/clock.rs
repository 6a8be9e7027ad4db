//! Moments as people and tools read them, in UTC.

use chrono::{DateTime, SecondsFormat, Utc};
use std::time::SystemTime;

/// `YYYY-MM-DDTHH:MM:SS.mmmZ`, as RFC 3339 has it.
pub(crate) fn rfc3339_ms(at: SystemTime) -> String {
    DateTime::<Utc>::from(at).to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// `YYYY-MM-DD HH:MM:SS UTC`, as PgBouncer has it: tools take the first two words.
pub(crate) fn words(at: SystemTime) -> String {
    DateTime::<Utc>::from(at).format("%Y-%m-%d %H:%M:%S UTC").to_string()
}

#[cfg(test)]
mod tests {
    use super::{rfc3339_ms, words};
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn moments_as_text() {
        let at = UNIX_EPOCH + Duration::from_millis(951_782_400_007);
        assert_eq!(words(at), "2000-02-29 00:00:00 UTC");
        assert_eq!(rfc3339_ms(at), "2000-02-29T00:00:00.007Z");
    }
}
