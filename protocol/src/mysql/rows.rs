//! Results of Splitpool's own, as MySQL sends them: "Text Resultset", "Binary Protocol Resultset".

use super::columns::{BINARY, Definition};
use super::flags::{capability as cap, mark};
use super::frame::{self, put_number, put_text};
use super::hello::COLLATION;
use super::messages::{self, Done};
use crate::answer::{Cell, Column, Columns, Kind};

/// The text of a cell has no bound that is known beforehand: clients only make room by it.
const TEXT_WIDTH: u32 = 65_535;

const LONG: u8 = 3;
const LONGLONG: u8 = 8;
const BLOB: u8 = 0xfc;
const VAR_STRING: u8 = 0xfd;

/// How a client wants results.
#[derive(Debug, Clone, Copy)]
pub(super) struct Form {
    /// Values as the binary protocol has them.
    pub binary: bool,
    /// What was agreed on with the client.
    pub abilities: u64,
    /// What the end says of the session.
    pub status: u16,
}

impl Form {
    /// EOF packets are OK packets, and none stands between columns and rows.
    fn deprecates_eof(self) -> bool {
        self.abilities & cap::DEPRECATE_EOF != 0
    }
}

/// Appends one packet and returns the next number.
fn packet(out: &mut Vec<u8>, sequence: u8, write: impl FnOnce(&mut Vec<u8>)) -> u8 {
    let at = frame::begin(out, sequence);
    write(out);
    frame::end(out, at);
    sequence.wrapping_add(1)
}

/// Appends a result, numbered from `sequence`. Returns the next number.
pub(super) fn result(
    columns: &Columns,
    rows: &[Vec<Cell>],
    form: Form,
    sequence: u8,
    out: &mut Vec<u8>,
) -> u8 {
    let mut next = packet(out, sequence, |out| put_number(out, columns.len() as u64));
    next = definitions(columns, form, next, out);
    for row in rows {
        next = packet(out, next, |out| if form.binary { binary(columns, row, out) } else { text(row, out) });
    }
    end(form, next, out)
}

/// Appends what the columns are, and the packet behind them if there is one.
pub(super) fn definitions(columns: &[Column], form: Form, sequence: u8, out: &mut Vec<u8>) -> u8 {
    let next = columns
        .iter()
        .fold(sequence, |next, column| frame::put(out, next, &definition(column).payload(form.abilities)));
    if form.deprecates_eof() { next } else { packet(out, next, |out| eof(form.status, out)) }
}

/// Appends the end of a result, or the answer to a command that is answered like one.
pub(super) fn end(form: Form, sequence: u8, out: &mut Vec<u8>) -> u8 {
    if !form.deprecates_eof() {
        return packet(out, sequence, |out| eof(form.status, out));
    }
    messages::put_ok(out, sequence, mark::EOF, &Done { status: form.status, ..Done::default() });
    sequence.wrapping_add(1)
}

fn eof(status: u16, out: &mut Vec<u8>) {
    out.extend_from_slice(&[mark::EOF, 0, 0]);
    out.extend_from_slice(&status.to_le_bytes());
}

fn definition(column: &Column) -> Definition<'_> {
    const NOT_NULL_NUMBER: u16 = 128;
    let (kind, width, collation, flags) = match column.kind {
        Kind::Text => (VAR_STRING, TEXT_WIDTH, COLLATION.into(), 0),
        Kind::Int4 => (LONG, 11, BINARY, NOT_NULL_NUMBER),
        Kind::Int8 | Kind::Numeric => (LONGLONG, 20, BINARY, NOT_NULL_NUMBER),
        Kind::Bytes => (BLOB, TEXT_WIDTH, BINARY, NOT_NULL_NUMBER),
    };
    Definition { name: column.name.as_ref(), collation, width, kind, flags }
}

fn text(row: &[Cell], out: &mut Vec<u8>) {
    for cell in row {
        match cell {
            Cell::Null => out.push(mark::LOCAL_FILE),
            Cell::Text(text) => put_text(out, text.as_bytes()),
            Cell::Int(number) => put_text(out, number.to_string().as_bytes()),
        }
    }
}

/// "Binary Protocol Resultset Row": a bit for each NULL, from the third on, then the values.
fn binary(columns: &[Column], row: &[Cell], out: &mut Vec<u8>) {
    out.push(0);
    let nulls = out.len();
    out.resize(nulls + (columns.len() + 9) / 8, 0);
    for (at, (column, cell)) in columns.iter().zip(row).enumerate() {
        let number = match cell {
            Cell::Null => {
                if let Some(byte) = out.get_mut(nulls + (at + 2) / 8) {
                    *byte |= 1 << ((at + 2) % 8);
                }
                continue;
            }
            Cell::Int(number) => Some(*number),
            Cell::Text(text) => text.parse().ok(),
        };
        match (column.kind, cell) {
            (Kind::Int4, _) => {
                let bounded = number.unwrap_or_default().clamp(i32::MIN.into(), i32::MAX.into());
                out.extend_from_slice(&i32::try_from(bounded).unwrap_or_default().to_le_bytes());
            }
            (Kind::Int8 | Kind::Numeric, _) => {
                out.extend_from_slice(&number.unwrap_or_default().to_le_bytes());
            }
            (Kind::Text | Kind::Bytes, Cell::Text(text)) => put_text(out, text.as_bytes()),
            (Kind::Text | Kind::Bytes, _) => {
                put_text(out, number.unwrap_or_default().to_string().as_bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nulls_are_bits_from_the_third_on() {
        let columns: Vec<Column> =
            ["a", "b", "c", "d", "e", "f", "g"].map(|name| Column::of(name, Kind::Int4)).into();
        let mut row = vec![Cell::Null; 7];
        row[1] = Cell::Int(-2);
        let mut out = Vec::new();
        binary(&columns, &row, &mut out);
        assert_eq!(out, [0, 0b1111_0100, 1, 0xfe, 0xff, 0xff, 0xff]);
    }

    #[test]
    fn values_are_of_their_columns_types() {
        let columns =
            [Column::of("t", Kind::Text), Column::of("n", Kind::Numeric), Column::of("i", Kind::Int4)];
        let mut out = Vec::new();
        binary(&columns, &[Cell::Int(7), Cell::Text("8".to_owned()), Cell::Int(i64::MAX)], &mut out);
        assert_eq!(out, [0, 0, 1, b'7', 8, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0x7f]);
        out.clear();
        text(&[Cell::Null, Cell::Int(-1), Cell::Text(String::new())], &mut out);
        assert_eq!(out, [0xfb, 2, b'-', b'1', 0]);
    }
}
