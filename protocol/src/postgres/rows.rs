//! Rows of Splitpool's own, as PostgreSQL sends them: "Message Formats".

use super::{frame, messages};
use crate::answer::{Answer, Cell, Column, Kind};
use std::collections::VecDeque;

/// Appends what is said beside an answer. What follows a line break is detail.
pub(super) fn notices(answer: &Answer, out: &mut Vec<u8>) {
    for text in &answer.notices {
        let at = frame::begin(out, b'N');
        let (message, detail) = text.split_once('\n').map_or((text.as_str(), None), |(m, d)| (m, Some(d)));
        let fields = [(b'S', Some("NOTICE")), (b'V', Some("NOTICE")), (b'C', Some("00000"))];
        for (kind, value) in fields.into_iter().chain([(b'M', Some(message)), (b'D', detail)]) {
            let Some(value) = value else { continue };
            out.push(kind);
            frame::text(out, messages::until_zero(value).as_bytes());
        }
        out.push(0);
        frame::end(out, at);
    }
}

/// Type, size and the way to write it.
fn type_of(kind: Kind) -> (u32, i16) {
    match kind {
        Kind::Text => (25, -1),
        Kind::Int4 => (23, 4),
        Kind::Int8 => (20, 8),
        Kind::Numeric => (1700, -1),
        Kind::Bytes => (17, -1),
    }
}

/// The format of a column: none given is text, one given is for all.
fn format(formats: &[u16], at: usize) -> u16 {
    match formats {
        [] => 0,
        [one] => *one,
        many => many.get(at).copied().unwrap_or(0),
    }
}

/// Appends RowDescription; no `formats` are all text, one is for all columns.
pub(super) fn row_description(columns: &[Column], formats: &[u16], out: &mut Vec<u8>) {
    let frame = frame::begin(out, b'T');
    out.extend_from_slice(&count(columns.len()));
    for (at, column) in columns.iter().enumerate() {
        let (oid, size) = type_of(column.kind);
        frame::text(out, column.name.as_bytes());
        out.extend_from_slice(&[0; 6]);
        out.extend_from_slice(&oid.to_be_bytes());
        out.extend_from_slice(&size.to_be_bytes());
        out.extend_from_slice(&(-1_i32).to_be_bytes());
        out.extend_from_slice(&format(formats, at).to_be_bytes());
    }
    frame::end(out, frame);
}

/// Appends DataRow, in the formats of the description.
pub(super) fn data_row(columns: &[Column], row: &[Cell], formats: &[u16], out: &mut Vec<u8>) {
    let frame = frame::begin(out, b'D');
    out.extend_from_slice(&count(row.len()));
    for (at, (column, cell)) in columns.iter().zip(row).enumerate() {
        let binary = format(formats, at) == 1;
        let value = match cell {
            Cell::Null => {
                out.extend_from_slice(&(-1_i32).to_be_bytes());
                continue;
            }
            Cell::Text(text) => messages::until_zero(text).as_bytes().to_vec(),
            Cell::Int(number) if binary => binary_number(column.kind, *number),
            Cell::Int(number) => number.to_string().into_bytes(),
        };
        out.extend_from_slice(&u32::try_from(value.len()).unwrap_or_default().to_be_bytes());
        out.extend_from_slice(&value);
    }
    frame::end(out, frame);
}

fn count(count: usize) -> [u8; 2] {
    u16::try_from(count).unwrap_or(u16::MAX).to_be_bytes()
}

fn binary_number(kind: Kind, number: i64) -> Vec<u8> {
    match kind {
        Kind::Int4 => {
            let bounded = number.clamp(i32::MIN.into(), i32::MAX.into());
            i32::try_from(bounded).unwrap_or_default().to_be_bytes().to_vec()
        }
        Kind::Int8 => number.to_be_bytes().to_vec(),
        Kind::Numeric => numeric(number),
        Kind::Text | Kind::Bytes => number.to_string().into_bytes(),
    }
}

/// An integer as `numeric_send` writes it: digits of base 10000, the weight of the first, the
/// sign, and no digit behind the point.
fn numeric(number: i64) -> Vec<u8> {
    let mut digits = VecDeque::new();
    let mut left = number.unsigned_abs();
    while left > 0 {
        digits.push_front(u16::try_from(left % 10_000).unwrap_or_default());
        left /= 10_000;
    }
    let weight = u16::try_from(digits.len().saturating_sub(1)).unwrap_or_default();
    while digits.back() == Some(&0) {
        digits.pop_back();
    }
    let sign = if number < 0 { 0x4000_u16 } else { 0 };
    let length = u16::try_from(digits.len()).unwrap_or_default();
    [length, weight, sign, 0].into_iter().chain(digits).flat_map(u16::to_be_bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_binary() {
        assert_eq!(numeric(0), [0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(numeric(7), [0, 1, 0, 0, 0, 0, 0, 0, 0, 7]);
        assert_eq!(numeric(-10_000), [0, 1, 0, 1, 0x40, 0, 0, 0, 0, 1]);
        assert_eq!(numeric(123_456_789), [0, 3, 0, 2, 0, 0, 0, 0, 0, 1, 0x09, 0x29, 0x1a, 0x85]);
        assert_eq!(binary_number(Kind::Int4, i64::MAX), [0x7f, 0xff, 0xff, 0xff]);
    }
}
