//! Statements that end what runs on another connection, named by its number.
//!
//! Clients are given numbers of Splitpool's own, so a database would not know them, or would
//! take one for somebody else's. Reads `KILL [HARD|SOFT] [CONNECTION|QUERY] number`, as shells
//! and drivers write it; whatever else there is to say stays the database's affair.

/// What a client wants ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kill {
    /// The number of a connection.
    pub(super) number: u32,
    /// The connection itself, not only what runs on it.
    pub(super) connection: bool,
}

/// Reads one statement.
pub(super) fn read(text: &[u8]) -> Option<Kill> {
    let text = std::str::from_utf8(text.get(..text.len().min(128))?).ok()?;
    let text = text.trim().trim_end_matches(';');
    let mut words = text.split_ascii_whitespace();
    if !words.next()?.eq_ignore_ascii_case("kill") {
        return None;
    }
    let mut connection = true;
    let number = loop {
        let word = words.next()?;
        match word.to_ascii_lowercase().as_str() {
            "hard" | "soft" => {}
            "connection" => connection = true,
            "query" => connection = false,
            // Connector/J counts a number of 32 bits as one that may be below zero.
            number => {
                let signed =
                    || number.parse::<i32>().ok().filter(|number| *number < 0).map(i32::cast_unsigned);
                break number.parse().ok().or_else(signed)?;
            }
        }
    };
    words.next().is_none().then_some(Kill { number, connection })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills() {
        let one = |connection| Some(Kill { number: 7, connection });
        for (text, kill) in [
            ("KILL 7", one(true)),
            ("kill query 7;", one(false)),
            (" Kill Hard\tConnection 7 ", one(true)),
            ("KILL QUERY -2147483641", Some(Kill { number: (1 << 31) + 7, connection: false })),
            ("KILL 2147483655", Some(Kill { number: (1 << 31) + 7, connection: true })),
            ("KILL -2147483649", None),
            ("KILL QUERY ID 7", None),
            ("KILL USER bob", None),
            ("KILL 7 8", None),
            ("KILL", None),
            ("KILLER 7", None),
            ("KILL 99999999999", None),
        ] {
            assert_eq!(read(text.as_bytes()), kill, "{text}");
        }
    }
}
