//! Finds the application's place in a trace: `traceparent` in a comment of a statement.
//!
//! As W3C's Trace Context and SQLCommenter write it: `/*traceparent='00-TRACE-SPAN-FLAGS'*/`.

use memchr::memmem;

/// A span of the application's, whose child a statement is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parent {
    /// The whole trace.
    pub trace: [u8; 16],
    /// The span.
    pub span: [u8; 8],
}

impl Parent {
    /// The one that a comment of `text` names, if that trace is sampled.
    pub fn in_comment(text: &[u8]) -> Option<Self> {
        let at = memmem::rfind(text, b"traceparent=")?;
        let (before, rest) = text.split_at_checked(at)?;
        let begins = memmem::rfind(before, b"/*")?;
        if memmem::rfind(before, b"*/").is_some_and(|ends| ends > begins) {
            return None;
        }
        let value = rest.get(b"traceparent=".len()..)?;
        Self::read(value.strip_prefix(b"'").unwrap_or(value).get(..55)?)
    }

    fn read(value: &[u8]) -> Option<Self> {
        let mut parts = value.split(|byte| *byte == b'-');
        let (version, trace, span) = (parts.next()?, hex::<16>(parts.next()?)?, hex::<8>(parts.next()?)?);
        let [flags] = hex::<1>(parts.next()?)?;
        let is_sound = version == b"00" && parts.next().is_none() && trace != [0; 16] && span != [0; 8];
        (is_sound && flags & 1 == 1).then_some(Self { trace, span })
    }
}

fn hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut bytes = [0; N];
    let pairs = text.chunks_exact(2);
    if text.len() != 2 * N {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(pairs) {
        let [high, low] = pair else { return None };
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::Parent;

    const ID: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn found(text: &str) -> bool {
        Parent::in_comment(text.as_bytes()).is_some()
    }

    #[test]
    fn a_sampled_parent_in_a_comment_is_found() {
        assert!(found(&format!("SELECT 1 /*traceparent='{ID}'*/")));
        assert!(found(&format!("/* route='/a',traceparent={ID} */ SELECT 1")));
        let read = Parent::in_comment(format!("/*traceparent='{ID}'*/").as_bytes()).expect("it is there");
        assert_eq!((read.trace[0], read.trace[15], read.span[0], read.span[7]), (0x0a, 0x9c, 0xb7, 0x31));
    }

    #[test]
    fn what_is_no_sampled_parent_is_not() {
        assert!(!found(&format!("SELECT 'traceparent={ID}'")));
        assert!(!found(&format!("SELECT 1 /* a */ + traceparent={ID}")));
        for wrong in [
            ID.replace("-01", "-00"),
            ID.replace("00-0", "ff-0"),
            ID.replace("-b7", "-zz"),
            ID.replace("b7ad6b7169203331", "0000000000000000"),
            ID[..54].to_owned(),
            String::new(),
        ] {
            assert!(!found(&format!("SELECT 1 /*traceparent='{wrong}'*/")), "{wrong}");
            assert!(!found(&format!("/*traceparent={wrong}")), "{wrong}");
        }
    }
}
