//! Query attributes: named values that a client sends with a statement, ahead of its text or among
//! its parameters.
//!
//! "COM_QUERY", "COM_STMT_EXECUTE", "Binary Protocol Value". They go to backends as they are, for a
//! client is served by backends that agreed on the same. So they are not read here, but measured:
//! where the text begins, and where the types of parameters stand. Whether there are any in a packet depends
//! on the ability alone; all of this is about connections that have it.

use super::frame::Reader;

/// What stands between command and text where there are none: no parameters, in one set.
pub const NONE: [u8; 2] = [0, 1];

/// Bit of an EXECUTE's flags: it tells the number of its parameters though the statement has none.
const COUNT_TOLD: u8 = 8;

/// Bytes of an EXECUTE before its parameters: command, statement, flags, iterations.
const FIXED: usize = 10;

/// Parameters and attributes of one statement: more than a statement may have.
const COUNT_MAX: u64 = 0x1_0000;

/// The text behind the attributes, in the payload of a query without its first byte. `None` if that is malformed
/// or cut within the attributes.
pub fn text(rest: &[u8]) -> Option<&[u8]> {
    let mut reader = Reader(rest);
    let count = reader.number().filter(|count| *count <= COUNT_MAX)? as usize;
    if reader.number()? != 1 {
        return None;
    }
    if count == 0 {
        return Some(reader.0);
    }
    let nulls = reader.take(count.div_ceil(8))?;
    if reader.byte()? != 1 {
        return None;
    }
    let mut types = reader;
    for _ in 0..count {
        reader.take(2)?;
        reader.text()?;
    }
    for at in 0..count {
        let kind = types.byte()?;
        types.byte()?;
        types.text()?;
        let is_null = nulls.get(at / 8).is_some_and(|byte| byte >> (at % 8) & 1 == 1);
        if !is_null {
            skip_value(kind, &mut reader)?;
        }
    }
    Some(reader.0)
}

/// Skips a value of a type.
fn skip_value(kind: u8, reader: &mut Reader<'_>) -> Option<()> {
    let len = match kind {
        // NULL.
        6 => 0,
        // TINY, BOOL.
        1 | 244 => 1,
        // SHORT, YEAR.
        2 | 13 => 2,
        // LONG, FLOAT, INT24.
        3 | 4 | 9 => 4,
        // DOUBLE, LONGLONG.
        5 | 8 => 8,
        // TIMESTAMP, DATE, TIME, DATETIME: their length is in front of them.
        7 | 10..=12 => usize::from(reader.byte()?),
        _ => return reader.text().map(drop),
    };
    reader.take(len).map(drop)
}

/// Where an EXECUTE says what of its parameters. Offsets into its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Parameters and, behind them, attributes.
    pub count: usize,
    /// Whether their types follow: one byte, 1 or 0.
    pub flag_at: usize,
    /// Where the types of the parameters end, if they are told and here.
    pub types_end: Option<usize>,
}

/// Where things stand in an EXECUTE of a statement with `params` parameters, of which `front` is here. `None` if it has
/// no parameters, or what tells of them is cut.
pub fn layout(front: &[u8], params: usize, attributes: bool) -> Option<Layout> {
    let (mut count, mut at) = (params, FIXED);
    if attributes {
        let told = front.get(5).is_some_and(|flags| flags & COUNT_TOLD != 0);
        if params > 0 || told {
            let mut reader = Reader(front.get(FIXED..)?);
            let before = reader.0.len();
            count = reader.number().filter(|count| *count <= COUNT_MAX)? as usize;
            at += before - reader.0.len();
        }
    }
    if count == 0 {
        return None;
    }
    let flag_at = at + count.div_ceil(8);
    let is_told = front.get(flag_at)? == &1;
    let types_end = || {
        let mut reader = Reader(front.get(flag_at + 1..)?);
        for _ in 0..count.min(params) {
            reader.take(2)?;
            if attributes {
                reader.text()?;
            }
        }
        Some(front.len() - reader.0.len())
    };
    Some(Layout { count, flag_at, types_end: if is_told { types_end() } else { None } })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever is cut is not taken for whole.
    #[track_caller]
    fn check(rest: &[u8], wanted: Option<&[u8]>) {
        assert_eq!(text(rest), wanted);
        let end = rest.len() - wanted.map_or(0, <[u8]>::len);
        for cut in 0..end {
            assert_eq!(text(&rest[..cut]), None, "{cut}");
        }
    }

    #[test]
    fn texts_behind_attributes() {
        check(b"\0\x01SELECT 1", Some(b"SELECT 1"));
        check(b"\0\x01", Some(b""));
        check(b"\x01\x01\0\x01\xfe\0\x01n\x05valueSELECT 2", Some(b"SELECT 2"));
        // Two, the second of which is NULL, then a short and a time.
        let four = b"\x04\x01\x02\x01\xfd\0\x01a\xfe\0\x01b\x02\x80\x01c\x0c\0\x01d\x01x\x07\0\x04\xea\x07\x0b\x15SELECT 3";
        check(four, Some(b"SELECT 3"));
        check(b"\x01\x01\0\x01\x06\0\x01nSELECT 4", Some(b"SELECT 4"));
        for bad in [
            &b"\0\x02SELECT 1"[..],
            b"\x01\x01\0\0\x01xSELECT 1",
            b"\xfb\x01",
            b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        ] {
            assert_eq!(text(bad), None);
        }
    }

    #[test]
    fn where_types_stand() {
        let head = |flags: u8| [&[0x17, 1, 0, 0, 0, flags][..], &[1, 0, 0, 0]].concat();
        let typed = [&head(0), &b"\0\x01\x03\0\xfe\0values"[..]].concat();
        assert_eq!(layout(&typed, 2, false), Some(Layout { count: 2, flag_at: 11, types_end: Some(16) }));
        let untyped = [&head(0), &b"\0\0values"[..]].concat();
        assert_eq!(layout(&untyped, 2, false), Some(Layout { count: 2, flag_at: 11, types_end: None }));
        assert_eq!(layout(&head(0), 0, false), None);
        assert_eq!(layout(&head(8), 0, false), None, "a bit that means nothing without the ability");
        // One parameter and one attribute; then an attribute alone.
        let two = [&head(8), &b"\x02\0\x01\x03\0\0\xfe\0\x01nvalues"[..]].concat();
        assert_eq!(layout(&two, 1, true), Some(Layout { count: 2, flag_at: 12, types_end: Some(16) }));
        let one = [&head(8), &b"\x01\0\x01\xfe\0\x01n\x01v"[..]].concat();
        assert_eq!(layout(&one, 0, true), Some(Layout { count: 1, flag_at: 12, types_end: Some(13) }));
        assert_eq!(layout(&head(0), 0, true), None);
        assert_eq!(layout(&[&head(8), &b"\0"[..]].concat(), 0, true), None);
        for cut in 0..16 {
            assert!(layout(&two[..cut], 1, true).is_none_or(|layout| layout.types_end.is_none()), "{cut}");
        }
    }
}
