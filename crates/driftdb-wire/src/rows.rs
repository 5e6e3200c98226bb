//! Values to and from the bytes of messages: results in text or binary, parameters likewise.

use bytes::{BufMut, Bytes, BytesMut};
use driftdb_sql::ResultColumn;
use driftdb_types::{DataType, Error, Result, SqlState, TimeZone, Value, format_value, parse_value};
use pgwire::messages::data::{FORMAT_CODE_BINARY, FORMAT_CODE_TEXT, FieldDescription, RowDescription};
use std::fmt::Write;

use crate::frontend::utf8;

/// In which format each column goes out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Formats {
    /// All in this one.
    All(Format),
    /// Column by column.
    Each(Vec<Format>),
}

/// One of the two formats a value can have on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Text,
    Binary,
}

impl Format {
    fn from_code(code: i16) -> Result<Format> {
        match code {
            FORMAT_CODE_TEXT => Ok(Format::Text),
            FORMAT_CODE_BINARY => Ok(Format::Binary),
            other => Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, format!("unsupported format code: {other}"))),
        }
    }

    fn code(self) -> i16 {
        match self {
            Format::Text => FORMAT_CODE_TEXT,
            Format::Binary => FORMAT_CODE_BINARY,
        }
    }
}

impl Formats {
    pub(crate) const TEXT: Formats = Formats::All(Format::Text);

    /// From the codes of a message: none means text, one is for all. `values` is how many there are, `what` names
    /// them in the error.
    pub(crate) fn from_codes(codes: &[i16], values: usize, what: &str) -> Result<Formats> {
        match codes {
            [] => Ok(Formats::TEXT),
            [code] => Format::from_code(*code).map(Formats::All),
            codes if codes.len() == values => {
                codes.iter().map(|&code| Format::from_code(code)).collect::<Result<_>>().map(Formats::Each)
            }
            codes => Err(Error::new(
                SqlState::PROTOCOL_VIOLATION,
                format!("bind message has {} {what} formats but there are {values} {what}s", codes.len()),
            )),
        }
    }

    fn of(&self, index: usize) -> Format {
        match self {
            Formats::All(format) => *format,
            Formats::Each(formats) => formats.get(index).copied().unwrap_or(Format::Text),
        }
    }
}

/// Describes the columns of a result.
pub(crate) fn row_description(columns: &[ResultColumn], formats: &Formats) -> RowDescription {
    let field = |(index, column): (usize, &ResultColumn)| {
        let (table, number) = column.table.unwrap_or((0, 0));
        let data_type = column.data_type;
        FieldDescription::new(
            column.name.replace('\0', ""),
            // Oids are unsigned; the field of the message type is not.
            table.cast_signed(),
            number,
            data_type.oid(),
            data_type.type_len(),
            data_type.typmod(),
            formats.of(index).code(),
        )
    };
    RowDescription::new(columns.iter().enumerate().map(field).collect())
}

/// Adds one row to `out` as a DataRow message, or nothing if that fails.
pub(crate) fn encode_row(
    out: &mut BytesMut,
    columns: &[ResultColumn],
    formats: &Formats,
    values: &[Value],
    tz: &TimeZone,
) -> Result<()> {
    let start = out.len();
    let encoded = encode_row_at(out, start, columns, formats, values, tz);
    if encoded.is_err() {
        out.truncate(start);
    }
    encoded
}

fn encode_row_at(
    out: &mut BytesMut,
    start: usize,
    columns: &[ResultColumn],
    formats: &Formats,
    values: &[Value],
    tz: &TimeZone,
) -> Result<()> {
    if values.len() != columns.len() {
        let (got, described) = (values.len(), columns.len());
        return Err(Error::internal(format!("a row has {got} values where {described} columns were described")));
    }
    let count = u16::try_from(values.len()).map_err(|_| too_large("row"))?;
    out.put_u8(b'D');
    out.put_i32(0);
    out.put_u16(count);
    for (index, (value, column)) in values.iter().zip(columns).enumerate() {
        if value.is_null() {
            out.put_i32(-1);
            continue;
        }
        let length_at = out.len();
        out.put_i32(0);
        match formats.of(index) {
            Format::Text => encode_text(out, value, column.data_type, tz)?,
            Format::Binary => out.put_slice(&value.to_binary(column.data_type)?),
        }
        let length = out.len() - length_at - 4;
        put_length(out, length_at, length, "value")?;
    }
    let length = out.len() - start - 1;
    put_length(out, start + 1, length, "row")
}

/// Fills in the length field at `at`.
fn put_length(out: &mut BytesMut, at: usize, length: usize, what: &str) -> Result<()> {
    let length = i32::try_from(length).map_err(|_| too_large(what))?;
    match out.get_mut(at..at + 4) {
        Some(field) => field.copy_from_slice(&length.to_be_bytes()),
        None => return Err(Error::internal("a length field lies outside its buffer")),
    }
    Ok(())
}

fn too_large(what: &str) -> Error {
    Error::new(SqlState::PROGRAM_LIMIT_EXCEEDED, format!("a {what} is too large for a message"))
}

/// The text form; what is most common goes without a string in between.
fn encode_text(out: &mut BytesMut, value: &Value, data_type: DataType, tz: &TimeZone) -> Result<()> {
    let written = match (value, data_type) {
        (Value::Int2(number), _) => write!(out, "{number}"),
        (Value::Int4(number), _) => write!(out, "{number}"),
        (Value::Int8(number), _) => write!(out, "{number}"),
        (Value::Bool(truth), _) => out.write_str(if *truth { "t" } else { "f" }),
        (Value::Text(text), DataType::Text | DataType::Varchar(_)) => {
            out.put_slice(text.as_bytes());
            Ok(())
        }
        (value, data_type) => {
            out.put_slice(format_value(value, data_type, tz).as_bytes());
            Ok(())
        }
    };
    // Only a full buffer can fail, and this one grows.
    written.map_err(|_| Error::internal("a value could not be written to the buffer"))
}

/// The parameters of a Bind as values of the statement's types.
pub(crate) fn decode_params(
    params: &[Option<Bytes>],
    types: &[DataType],
    formats: &Formats,
    tz: &TimeZone,
) -> Result<Vec<Value>> {
    let decode = |(index, (param, &data_type)): (usize, (&Option<Bytes>, &DataType))| {
        let Some(bytes) = param else { return Ok(Value::Null) };
        match formats.of(index) {
            Format::Text => parse_value(data_type, utf8(bytes)?, tz),
            Format::Binary => Value::from_binary(data_type, bytes),
        }
    };
    params.iter().zip(types).enumerate().map(decode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_none_one_or_each() {
        assert_eq!(Formats::from_codes(&[], 3, "result").unwrap(), Formats::TEXT);
        assert_eq!(Formats::from_codes(&[1], 3, "result").unwrap(), Formats::All(Format::Binary));
        let each = Formats::from_codes(&[0, 1], 2, "result").unwrap();
        assert_eq!((each.of(0), each.of(1)), (Format::Text, Format::Binary));
        assert_eq!(Formats::from_codes(&[0, 1], 3, "result").unwrap_err().state, SqlState::PROTOCOL_VIOLATION);
        assert_eq!(Formats::from_codes(&[2], 1, "result").unwrap_err().state, SqlState::INVALID_PARAMETER_VALUE);
    }

    #[test]
    fn a_row_is_one_message_or_nothing() {
        let columns = [ResultColumn::new("a", DataType::Int4), ResultColumn::new("b", DataType::Text)];
        let (mut out, tz) = (BytesMut::new(), TimeZone::utc());
        let row = [Value::Int4(-7), Value::Null];
        encode_row(&mut out, &columns, &Formats::TEXT, &row, &tz).unwrap();
        assert_eq!(&out[..], b"D\x00\x00\x00\x10\x00\x02\x00\x00\x00\x02-7\xff\xff\xff\xff");
        let before = out.len();
        assert!(encode_row(&mut out, &columns, &Formats::TEXT, &[Value::Null], &tz).is_err());
        assert_eq!(out.len(), before);
    }
}
