//! Rows as the store keeps them.
//!
//! ```text
//! format u8 | schema version u32 | columns u16 | null bitmap | end of each column | the columns' bytes
//! ```
//!
//! (little-endian). Each column's bytes end where its entry says, counted from the first column's first byte; the ends
//! are u16, or u32 in a row whose columns take more than 64 KiB (another format byte). So any one column is found without
//! reading the others, and a row says itself how long each value is: a column widened from `integer` to `bigint`, or from
//! `real` to `double precision`, reads its old rows as they are. Values are
//!
//! ```text
//! boolean                  1 byte
//! integers, dates, times   two's complement in as few bytes as it takes, none for 0
//! real, double             4 or 8 bytes
//! numeric                  scale u8, then the unscaled integer as above
//! text, json, bytea        the bytes
//! interval                 months i32, days i32, microseconds i64
//! uuid                     16 bytes
//! NULL                     no bytes, and its bit set
//! ```
//!
//! A row holds every column its table had when it was written. Columns added later are not in it: they read as
//! [`Column::missing`].

use crate::civil::time_in_range;
use crate::{CodecError, Column, ColumnId, DataType, Decimal, Interval, TableSchema, TimeZone, Value, parse_value};

/// Ends are u16.
const FORMAT_NARROW: u8 = 1;
/// Ends are u32.
const FORMAT_WIDE: u8 = 2;
/// Format, schema version and number of columns.
const HEADER_BYTES: usize = 7;

const MALFORMED: CodecError = CodecError::Malformed { what: "row" };

/// The stored form of a row. `values` has one value for each column the table ever had, in their order; 'char' values are
/// without their trailing blanks.
pub fn encode_row(schema: &TableSchema, values: &[Value]) -> Result<Vec<u8>, CodecError> {
    let columns = schema.columns.len();
    if values.len() != columns {
        return Err(CodecError::ColumnCount { columns, values: values.len() });
    }
    let columns = u16::try_from(columns).map_err(|_| CodecError::TooLong(columns))?;
    encode_row_as(RowLayout { version: schema.version, columns }, schema, values)
}

/// Of which definition of its table a stored row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowLayout {
    /// The definition's version.
    pub version: u32,
    /// How many columns the table had then, dropped ones included.
    pub columns: u16,
}

impl RowLayout {
    /// What a stored row says.
    pub fn of(payload: &[u8]) -> Result<RowLayout, CodecError> {
        Parts::of(payload).map(|parts| parts.layout)
    }
}

/// The stored form of a row as an earlier definition of its table had it. `schema` is that one or a later one, of which the
/// first columns and the first of `values` are taken. What [`decode_row`] gave becomes the same bytes again, if they were made
/// by [`encode_row`].
pub fn encode_row_as(layout: RowLayout, schema: &TableSchema, values: &[Value]) -> Result<Vec<u8>, CodecError> {
    let columns = usize::from(layout.columns);
    let (Some(values), Some(definitions)) = (values.get(..columns), schema.columns.get(..columns)) else {
        return Err(CodecError::ColumnCount { columns, values: values.len() });
    };
    let data_max: usize = values.iter().map(encoded_len_max).sum();
    let narrow = data_max <= usize::from(u16::MAX);
    let end_bytes = if narrow { 2 } else { 4 };
    let nulls_at = HEADER_BYTES;
    let ends_at = nulls_at + columns.div_ceil(8);
    let data_at = ends_at + columns * end_bytes;

    let mut out = Vec::with_capacity(data_at + data_max);
    out.push(if narrow { FORMAT_NARROW } else { FORMAT_WIDE });
    out.extend_from_slice(&layout.version.to_le_bytes());
    out.extend_from_slice(&layout.columns.to_le_bytes());
    out.resize(data_at, 0);
    for (at, (value, column)) in values.iter().zip(definitions).enumerate() {
        if value.is_null() {
            if let Some(bits) = out.get_mut(nulls_at + at / 8) {
                *bits |= 1 << (at % 8);
            }
        } else {
            encode_column(&mut out, column, value)?;
        }
        let end = out.len() - data_at;
        let slot = ends_at + at * end_bytes;
        if narrow {
            let end = u16::try_from(end).map_err(|_| CodecError::TooLong(end))?;
            if let Some(slot) = out.get_mut(slot..slot + 2) {
                slot.copy_from_slice(&end.to_le_bytes());
            }
        } else {
            let end = u32::try_from(end).map_err(|_| CodecError::TooLong(end))?;
            if let Some(slot) = out.get_mut(slot..slot + 4) {
                slot.copy_from_slice(&end.to_le_bytes());
            }
        }
    }
    Ok(out)
}

/// An upper bound of a value's encoded length.
fn encoded_len_max(value: &Value) -> usize {
    match value {
        Value::Null => 0,
        Value::Text(text) | Value::Json(text) | Value::Jsonb(text) => text.len(),
        Value::Bytea(bytes) => bytes.len(),
        Value::Numeric(_) => 17,
        Value::Interval(_) | Value::Uuid(_) => 16,
        _ => 8,
    }
}

fn encode_column(out: &mut Vec<u8>, column: &Column, value: &Value) -> Result<(), CodecError> {
    match (column.data_type, value) {
        (DataType::Bool, Value::Bool(value)) => out.push(u8::from(*value)),
        (DataType::Int2, Value::Int2(value)) => encode_int(out, i64::from(*value)),
        (DataType::Int4, Value::Int4(value)) | (DataType::Date, Value::Date(value)) => {
            encode_int(out, i64::from(*value));
        }
        (DataType::Int8, Value::Int8(value))
        | (DataType::Time, Value::Time(value))
        | (DataType::Timestamp, Value::Timestamp(value))
        | (DataType::TimestampTz, Value::TimestampTz(value)) => encode_int(out, *value),
        (DataType::Float4, Value::Float4(value)) => out.extend_from_slice(&value.to_le_bytes()),
        (DataType::Float8, Value::Float8(value)) => out.extend_from_slice(&value.to_le_bytes()),
        (DataType::Numeric(_), Value::Numeric(value)) => {
            out.push(value.scale());
            encode_wide_int(out, value.unscaled());
        }
        (DataType::Text | DataType::Varchar(_) | DataType::Char(_), Value::Text(text))
        | (DataType::Json, Value::Json(text))
        | (DataType::Jsonb, Value::Jsonb(text)) => out.extend_from_slice(text.as_bytes()),
        (DataType::Bytea, Value::Bytea(bytes)) => out.extend_from_slice(bytes),
        (DataType::Interval, Value::Interval(interval)) => {
            out.extend_from_slice(&interval.months.to_le_bytes());
            out.extend_from_slice(&interval.days.to_le_bytes());
            out.extend_from_slice(&interval.micros.to_le_bytes());
        }
        (DataType::Uuid, Value::Uuid(uuid)) => out.extend_from_slice(uuid),
        (expected, found) => return Err(CodecError::wrong_type(expected, found)),
    }
    Ok(())
}

fn encode_int(out: &mut Vec<u8>, value: i64) {
    let used = if value == 0 { 0 } else { (65 - (value ^ (value >> 63)).leading_zeros()).div_ceil(8) };
    out.extend_from_slice(value.to_le_bytes().get(..used as usize).unwrap_or_default());
}

fn encode_wide_int(out: &mut Vec<u8>, value: i128) {
    let used = if value == 0 { 0 } else { (129 - (value ^ (value >> 127)).leading_zeros()).div_ceil(8) };
    out.extend_from_slice(value.to_le_bytes().get(..used as usize).unwrap_or_default());
}

/// The sign of a two's complement number, as the byte that extends it.
fn sign_fill(bytes: &[u8]) -> u8 {
    if bytes.last().is_some_and(|last| last & 0x80 != 0) { u8::MAX } else { 0 }
}

fn decode_int(bytes: &[u8]) -> Result<i64, CodecError> {
    let mut full = [sign_fill(bytes); 8];
    full.get_mut(..bytes.len()).ok_or(MALFORMED)?.copy_from_slice(bytes);
    Ok(i64::from_le_bytes(full))
}

fn decode_wide_int(bytes: &[u8]) -> Result<i128, CodecError> {
    let mut full = [sign_fill(bytes); 16];
    full.get_mut(..bytes.len()).ok_or(MALFORMED)?.copy_from_slice(bytes);
    Ok(i128::from_le_bytes(full))
}

fn decode_narrow_int<T: TryFrom<i64>>(bytes: &[u8]) -> Result<T, CodecError> {
    T::try_from(decode_int(bytes)?).map_err(|_| MALFORMED)
}

fn decode_text(bytes: &[u8]) -> Result<String, CodecError> {
    let text = std::str::from_utf8(bytes).map_err(|_| CodecError::Malformed { what: "text in row" })?;
    Ok(text.to_owned())
}

fn decode_column(ty: DataType, bytes: &[u8]) -> Result<Value, CodecError> {
    let wrong_length = |_| MALFORMED;
    Ok(match ty {
        DataType::Bool => match bytes {
            [0] => Value::Bool(false),
            [1] => Value::Bool(true),
            _ => return Err(MALFORMED),
        },
        DataType::Int2 => Value::Int2(decode_narrow_int(bytes)?),
        DataType::Int4 => Value::Int4(decode_narrow_int(bytes)?),
        DataType::Int8 => Value::Int8(decode_int(bytes)?),
        DataType::Date => Value::Date(decode_narrow_int(bytes)?),
        DataType::Time => match decode_int(bytes)? {
            us if time_in_range(us) => Value::Time(us),
            _ => return Err(MALFORMED),
        },
        DataType::Timestamp => Value::Timestamp(decode_int(bytes)?),
        DataType::TimestampTz => Value::TimestampTz(decode_int(bytes)?),
        DataType::Float4 => Value::Float4(f32::from_le_bytes(bytes.try_into().map_err(wrong_length)?)),
        DataType::Float8 if bytes.len() == 4 => {
            Value::Float8(f64::from(f32::from_le_bytes(bytes.try_into().map_err(wrong_length)?)))
        }
        DataType::Float8 => Value::Float8(f64::from_le_bytes(bytes.try_into().map_err(wrong_length)?)),
        DataType::Numeric(_) => {
            let (scale, unscaled) = bytes.split_first().ok_or(MALFORMED)?;
            Value::Numeric(Decimal::new(decode_wide_int(unscaled)?, *scale).map_err(|_| MALFORMED)?)
        }
        DataType::Text | DataType::Varchar(_) | DataType::Char(_) => Value::Text(decode_text(bytes)?),
        DataType::Json => Value::Json(decode_text(bytes)?),
        DataType::Jsonb => Value::Jsonb(decode_text(bytes)?),
        DataType::Bytea => Value::Bytea(bytes.to_vec()),
        DataType::Interval => {
            let (months, rest) = bytes.split_first_chunk().ok_or(MALFORMED)?;
            let (days, rest) = rest.split_first_chunk().ok_or(MALFORMED)?;
            Value::Interval(Interval {
                months: i32::from_le_bytes(*months),
                days: i32::from_le_bytes(*days),
                micros: i64::from_le_bytes(rest.try_into().map_err(wrong_length)?),
            })
        }
        DataType::Uuid => Value::Uuid(bytes.try_into().map_err(wrong_length)?),
    })
}

/// A payload taken apart.
struct Parts<'a> {
    layout: RowLayout,
    nulls: &'a [u8],
    ends: &'a [u8],
    end_bytes: usize,
    data: &'a [u8],
}

/// What a row has in one column.
enum Field<'a> {
    /// The column is younger than the row.
    Missing,
    Null,
    Bytes(&'a [u8]),
}

impl<'a> Parts<'a> {
    fn of(payload: &'a [u8]) -> Result<Parts<'a>, CodecError> {
        let truncated = CodecError::Truncated { what: "row", len: payload.len() };
        let (header, rest) = payload.split_first_chunk::<HEADER_BYTES>().ok_or_else(|| truncated.clone())?;
        let [format, v0, v1, v2, v3, low, high] = *header;
        let end_bytes = match format {
            FORMAT_NARROW => 2,
            FORMAT_WIDE => 4,
            other => return Err(CodecError::UnknownFormat(other)),
        };
        let layout =
            RowLayout { version: u32::from_le_bytes([v0, v1, v2, v3]), columns: u16::from_le_bytes([low, high]) };
        let columns = usize::from(layout.columns);
        let (nulls, rest) = rest.split_at_checked(columns.div_ceil(8)).ok_or_else(|| truncated.clone())?;
        let (ends, data) = rest.split_at_checked(columns * end_bytes).ok_or(truncated)?;
        Ok(Parts { layout, nulls, ends, end_bytes, data })
    }

    /// Where the column before entry `at` ends, counted from 1.
    fn end(&self, entry: usize) -> Option<usize> {
        let bytes = self.ends.get(entry * self.end_bytes..(entry + 1) * self.end_bytes)?;
        match *bytes {
            [a, b] => Some(usize::from(u16::from_le_bytes([a, b]))),
            [a, b, c, d] => usize::try_from(u32::from_le_bytes([a, b, c, d])).ok(),
            _ => None,
        }
    }

    fn field(&self, at: usize) -> Result<Field<'a>, CodecError> {
        if at >= usize::from(self.layout.columns) {
            return Ok(Field::Missing);
        }
        if self.nulls.get(at / 8).is_some_and(|bits| bits & (1 << (at % 8)) != 0) {
            return Ok(Field::Null);
        }
        let start = match at.checked_sub(1) {
            Some(before) => self.end(before).ok_or(MALFORMED)?,
            None => 0,
        };
        let end = self.end(at).ok_or(MALFORMED)?;
        self.data.get(start..end).map(Field::Bytes).ok_or(MALFORMED)
    }
}

/// What a row older than `column` has in it.
fn missing_value(column: &Column) -> Result<Value, CodecError> {
    let Some(text) = &column.missing else { return Ok(Value::Null) };
    parse_value(column.data_type, text, &TimeZone::utc())
        .map_err(|_| CodecError::MissingValue { column: column.name.clone(), text: text.clone() })
}

/// The values of a stored row, one for each of `schema.columns`, those of dropped columns included.
pub fn decode_row(schema: &TableSchema, payload: &[u8]) -> Result<Vec<Value>, CodecError> {
    let parts = Parts::of(payload)?;
    let mut values = Vec::with_capacity(schema.columns.len());
    for (at, column) in schema.columns.iter().enumerate() {
        values.push(match parts.field(at)? {
            Field::Bytes(bytes) => decode_column(column.data_type, bytes)?,
            Field::Null => Value::Null,
            Field::Missing => missing_value(column)?,
        });
    }
    Ok(values)
}

/// Decodes some columns of many rows of one table.
#[derive(Clone, Debug)]
pub struct RowDecoder {
    columns: Vec<DecodedColumn>,
}

#[derive(Clone, Debug)]
struct DecodedColumn {
    at: usize,
    data_type: DataType,
    missing: Value,
}

impl RowDecoder {
    /// For these columns of `schema`, in this order.
    pub fn new(schema: &TableSchema, columns: &[ColumnId]) -> Result<RowDecoder, CodecError> {
        let columns = columns
            .iter()
            .map(|id| {
                let column = schema.column_by_id(*id).ok_or(CodecError::NoColumn(id.0))?;
                Ok(DecodedColumn {
                    at: usize::from(id.0),
                    data_type: column.data_type,
                    missing: missing_value(column)?,
                })
            })
            .collect::<Result<_, CodecError>>()?;
        Ok(RowDecoder { columns })
    }

    /// How many columns it decodes.
    pub fn len(&self) -> usize {
        self.columns.len()
    }

    /// Whether it decodes none.
    pub fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    /// The columns' values, in the order they were asked for.
    pub fn decode(&self, payload: &[u8]) -> Result<Vec<Value>, CodecError> {
        let mut values = Vec::with_capacity(self.columns.len());
        self.decode_into(payload, &mut values)?;
        Ok(values)
    }

    /// As [`RowDecoder::decode`], onto the end of `values`.
    pub fn decode_into(&self, payload: &[u8], values: &mut Vec<Value>) -> Result<(), CodecError> {
        let parts = Parts::of(payload)?;
        for column in &self.columns {
            values.push(column.value(&parts)?);
        }
        Ok(())
    }

    /// The value of the column that was asked for at `position`.
    pub fn column(&self, payload: &[u8], position: usize) -> Result<Value, CodecError> {
        let column = self.columns.get(position).ok_or(CodecError::NoColumn(position.try_into().unwrap_or(u16::MAX)))?;
        column.value(&Parts::of(payload)?)
    }
}

impl DecodedColumn {
    fn value(&self, parts: &Parts<'_>) -> Result<Value, CodecError> {
        match parts.field(self.at)? {
            Field::Bytes(bytes) => decode_column(self.data_type, bytes),
            Field::Null => Ok(Value::Null),
            Field::Missing => Ok(self.missing.clone()),
        }
    }
}

#[cfg(test)]
mod tests;
