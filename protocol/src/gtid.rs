//! The name of one transaction, as MySQL and MariaDB tell it in the reply to who committed it.
//!
//! Of a fixed size, so that a write costs no allocation: what is told comes from a peer, and
//! what fits no such name is not kept. Pure.

use std::fmt;

/// Characters of a UUID.
const UUID: usize = 36;

/// Characters of a MySQL tag at most.
const TAG_MAX: usize = 32;

/// Bytes of a list that are looked at. One command's transactions need less.
const LIST_MAX: usize = 512;

/// One transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gtid {
    /// MariaDB: `domain-server-number`.
    Domain {
        /// Transactions of a domain are in order.
        domain: u32,
        /// Who wrote it.
        server: u32,
        /// Its number in the domain.
        number: u64,
    },
    /// MySQL: `source:number`.
    Source {
        /// Who wrote it, and under which tag.
        source: Source,
        /// Its number there.
        number: u64,
    },
}

/// Who numbers a transaction of MySQL: `uuid`, or `uuid:tag`. In lower case.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Source {
    text: [u8; UUID + 1 + TAG_MAX],
    len: u8,
}

impl Source {
    fn new(uuid: &str, tag: Option<&str>) -> Option<Self> {
        let hexadecimal = uuid.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
        if uuid.len() != UUID || !hexadecimal || tag.is_some_and(|tag| !is_tag(tag)) {
            return None;
        }
        let mut source = Self { text: [0; UUID + 1 + TAG_MAX], len: 0 };
        let glue = if tag.is_some() { ":" } else { "" };
        let bytes = [uuid, glue, tag.unwrap_or_default()].into_iter().flat_map(str::bytes);
        for (place, byte) in source.text.iter_mut().zip(bytes) {
            *place = byte.to_ascii_lowercase();
            source.len += 1;
        }
        Some(source)
    }

    /// As the database writes it.
    pub fn as_str(&self) -> &str {
        let text = self.text.get(..self.len.into()).unwrap_or_default();
        std::str::from_utf8(text).unwrap_or_default()
    }
}

fn is_tag(tag: &str) -> bool {
    let plain = tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    plain
        && tag.len() <= TAG_MAX
        && tag.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
}

/// Digits alone: no sign.
fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

impl Gtid {
    /// Whether both are counted by the same source or domain, and this one comes first.
    pub fn is_before(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Domain { domain, number, .. },
                Self::Domain { domain: other_domain, number: other_number, .. },
            ) => domain == other_domain && number < other_number,
            (Self::Source { source, number }, Self::Source { source: other, number: other_number }) => {
                source == other && number < other_number
            }
            _ => false,
        }
    }

    /// Reads MariaDB's `last_gtid`, such as `0-1-7`. `None` if it is nothing of the kind.
    pub fn mariadb(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text.get(..LIST_MAX.min(text.len()))?).ok()?;
        let mut parts = text.split('-');
        let (domain, server) = (number(parts.next()?)?, number(parts.next()?)?);
        let number = number(parts.next()?).filter(|number| *number > 0)?;
        parts.next().is_none().then_some(Self::Domain { domain, server, number })
    }

    /// Reads the transactions of a command, such as `UUID:7`, `UUID:7-9:12` or `UUID:tag:3`, and gives the last of
    /// them. `None` if they have more than one source, or if it is nothing of the kind.
    pub fn mysql(text: &[u8]) -> Option<Self> {
        if text.len() > LIST_MAX {
            return None;
        }
        let text = std::str::from_utf8(text).ok()?;
        let (uuid, rest) = text.split_once(':')?;
        let (tag, intervals) = match rest.split_once(':') {
            Some((tag, rest)) if is_tag(tag) => (Some(tag), rest),
            _ => (None, rest),
        };
        let source = Source::new(uuid, tag)?;
        let mut last = 0;
        for interval in intervals.split(':') {
            let (from, to) = interval.split_once('-').unwrap_or((interval, interval));
            let (from, to): (u64, u64) = (number(from)?, number(to)?);
            if from <= last || to < from {
                return None;
            }
            last = to;
        }
        Some(Self::Source { source, number: last })
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// As the databases write it.
impl fmt::Display for Gtid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Domain { domain, server, number } => write!(f, "{domain}-{server}-{number}"),
            Self::Source { source, number } => write!(f, "{}:{number}", source.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

    #[test]
    fn what_is_told_is_read() {
        let long = "a".repeat(TAG_MAX);
        let cases = [
            ("U:7", "U:7"),
            ("U:7-9", "U:9"),
            ("U:7:9-12:15", "U:15"),
            ("U:tag:3", "U:tag:3"),
            ("U:_t1:3-4", "U:_t1:4"),
            (&format!("U:{long}:18446744073709551615"), &format!("U:{long}:18446744073709551615")),
        ];
        for (text, last) in cases {
            let text = text.replace('U', UUID);
            let gtid = Gtid::mysql(text.as_bytes()).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(gtid.to_string(), last.replace('U', UUID));
        }
        let upper = Gtid::mysql(format!("{}:TAG:3", UUID.to_uppercase()).as_bytes());
        assert_eq!(upper, Gtid::mysql(format!("{UUID}:tag:3").as_bytes()));
        for text in ["0-1-7", "4294967295-4294967295-18446744073709551615"] {
            assert_eq!(Gtid::mariadb(text.as_bytes()).map(|gtid| gtid.to_string()).as_deref(), Some(text));
        }
    }

    #[test]
    fn one_comes_before_another_where_both_are_counted_together() {
        let of = |text: &str| {
            let text = text.replace('U', UUID);
            Gtid::mysql(text.as_bytes())
                .or(Gtid::mariadb(text.as_bytes()))
                .unwrap_or_else(|| panic!("{text}"))
        };
        for (one, other, before) in [
            ("U:7", "U:8", true),
            ("U:8", "U:8", false),
            ("U:7", "U:tag:8", false),
            ("0-1-7", "0-2-8", true),
            ("0-1-7", "7-1-8", false),
            ("0-1-7", "U:8", false),
        ] {
            assert_eq!(of(one).is_before(&of(other)), before, "{one} {other}");
        }
    }

    #[test]
    fn what_is_no_name_of_one_transaction_is_not_kept() {
        let long = "a".repeat(TAG_MAX + 1);
        let many = format!("U:{}", "1:".repeat(1000));
        for text in [
            "",
            ":",
            "U",
            "U:",
            "U:0",
            "U:x",
            "U:7-",
            "U:-7",
            "U:9-7",
            "U:7:7",
            "U:7-9:8",
            "U:+7",
            "U:18446744073709551616",
            "U:tag",
            "U:tag:",
            "U:t-g:3",
            "U:1tag:3",
            "U:tag:3:other:4",
            "U:7:tag:3",
            "U:7,U:8",
            "U: 7",
            "x:7",
            &many,
            &format!("U:{long}:3"),
        ] {
            let text = text.replace('U', UUID);
            assert_eq!(Gtid::mysql(text.as_bytes()), None, "{text}");
        }
        for text in [
            "",
            "0",
            "0-1",
            "0-1-0",
            "0-1-",
            "-1-7",
            "0-1-7-8",
            "0-1-7,1-1-3",
            "4294967296-1-7",
            "0-1-+7",
            "0--7",
        ] {
            assert_eq!(Gtid::mariadb(text.as_bytes()), None, "{text}");
        }
        assert_eq!(Gtid::mysql(b"\xff\xfe:7"), None);
        assert_eq!(Gtid::mariadb(b"0-1-\xff"), None);
    }

    /// What is read is written the same way and read again, whatever bytes a server sends.
    #[test]
    fn any_bytes_at_all() {
        for seed in 0..20_000 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut text = match seed % 3 {
                0 => format!("{UUID}:tag:{}-{}", random.u64(1..9), random.u64(9..)),
                1 => format!("{}-{}-{}", random.u32(..), random.u32(..), random.u64(..)),
                _ => String::from_utf8_lossy(
                    &(0..random.usize(..64)).map(|_| random.u8(..)).collect::<Vec<_>>(),
                )
                .into_owned(),
            }
            .into_bytes();
            for _ in 0..random.usize(..4) {
                let at = random.usize(..=text.len());
                match random.u8(..3) {
                    0 => text.truncate(at),
                    1 => text.insert(at, b"0123456789abcdefx:-,_ \0\xff"[random.usize(..24)]),
                    _ if at < text.len() => drop(text.remove(at)),
                    _ => {}
                }
            }
            for read in [Gtid::mysql, Gtid::mariadb] {
                if let Some(gtid) = read(&text) {
                    assert_eq!(
                        read(gtid.to_string().as_bytes()).as_ref(),
                        Some(&gtid),
                        "seed {seed}: {text:?}"
                    );
                }
            }
        }
    }
}
