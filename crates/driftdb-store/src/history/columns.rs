//! How versions become columns and columns versions again.
//!
//! Every segment has the system columns first, then (for the rows of a table) one column for each column the table
//! ever had. Their types are chosen so that other engines read them as what they are. With what `_layout` says of the
//! definition it was stored under, a row becomes the very bytes again that it was: commits are verified by them for ever. Where
//! it would not (a row that cannot be decoded or has more columns, a `numeric(p,s)` of another scale), the stored bytes stand in
//! `_payload`, and reading takes them from there. The table's definition is in the file's metadata, so a segment explains
//! itself.

use std::collections::{HashMap, HashSet};
use std::ops::Bound;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type, Time64MicrosecondType,
    TimestampMicrosecondType,
};
use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, FixedSizeBinaryArray, Float32Array,
    Float64Array, Int16Array, Int32Array, Int64Array, RecordBatch, StringArray, StructArray, Time64MicrosecondArray,
    TimestampMicrosecondArray,
};
use arrow_buffer::NullBuffer;
use arrow_schema::{ArrowError, DataType as ArrowType, Field, Fields, Schema, SchemaRef, TimeUnit};
use bytes::Bytes;
use driftdb_types::{
    CommitSeq, DataType, Decimal, Interval, KeyRange, RowLayout, Stamp, TableSchema, Value, decode_row, encode_row_as,
};

use crate::{TreeSchema, Version};

/// The system columns' places.
pub(crate) const KEY: usize = 0;
pub(crate) const FROM_SEQ: usize = 1;
pub(crate) const FROM_TIME: usize = 2;
pub(crate) const TO_SEQ: usize = 3;
pub(crate) const TO_TIME: usize = 4;
pub(crate) const DELETED: usize = 5;
pub(crate) const PAYLOAD: usize = 6;
const LAYOUT: usize = 7;
const SYSTEM_COLUMNS: [&str; 8] =
    ["_key", "_from_seq", "_from_time", "_to_seq", "_to_time", "_deleted", "_payload", "_layout"];

/// The metadata's key for the table's definition.
pub(crate) const SCHEMA_KEY: &str = "driftdb.schema";
const FIELD_ID_KEY: &str = "PARQUET:field_id";
/// A table's column has this plus its id as its field id; the system columns have 1, 2, …
const COLUMN_FIELD_ID: usize = 1000;
const UTC: &str = "UTC";

/// The columns of a segment.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    /// `None`: payloads are bytes.
    pub(crate) table: Option<Arc<TableSchema>>,
    pub(crate) arrow: SchemaRef,
}

impl Layout {
    pub(crate) fn new(schema: Option<TreeSchema>) -> Layout {
        let table = match schema {
            Some(TreeSchema::Rows(table)) => Some(table),
            Some(TreeSchema::Opaque) | None => None,
        };
        let types = [
            ArrowType::Binary,
            ArrowType::Int64,
            timestamp(true),
            ArrowType::Int64,
            timestamp(true),
            ArrowType::Boolean,
            ArrowType::Binary,
            ArrowType::Int64,
        ];
        let mut fields: Vec<Field> = SYSTEM_COLUMNS
            .iter()
            .zip(types)
            .enumerate()
            .map(|(place, (name, ty))| field(*name, ty, place == PAYLOAD || place == LAYOUT, place + 1))
            .collect();
        let mut names: HashSet<String> = SYSTEM_COLUMNS.iter().map(|name| (*name).to_owned()).collect();
        let columns = table.iter().flat_map(|table| &table.columns);
        // Live columns keep their names; a dropped one gives way to a live one that took its name.
        let live: HashSet<&str> =
            table.iter().flat_map(|table| table.live_columns()).map(|column| column.name.as_str()).collect();
        for (id, column) in columns.enumerate() {
            let taken = names.contains(&column.name) || (column.dropped && live.contains(column.name.as_str()));
            let name = if taken { format!("{}__{id}", column.name) } else { column.name.clone() };
            names.insert(name.clone());
            fields.push(field(name, arrow_type(column.data_type), true, COLUMN_FIELD_ID + id));
        }
        Layout { table, arrow: Arc::new(Schema::new(fields)) }
    }

    /// About how many bytes the columns take of a payload: what it has, and what is written out in place of the columns
    /// it lacks.
    pub(crate) fn bytes_of(&self, payload: &[u8]) -> usize {
        let count = RowLayout::of(payload).map(|layout| usize::from(layout.columns));
        let lacking = self.table.as_ref().zip(count.ok()).and_then(|(table, count)| table.columns.get(count..));
        let missing = lacking.unwrap_or_default().iter().filter_map(|column| column.missing.as_ref());
        payload.len() + missing.map(String::len).sum::<usize>()
    }

    /// The columns of these versions. All of them must be closed.
    pub(crate) fn batch(&self, versions: &[Version]) -> Result<RecordBatch, ArrowError> {
        let mut payloads: Vec<Option<&[u8]>> = vec![None; versions.len()];
        let mut layouts: Vec<Option<i64>> = vec![None; versions.len()];
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.arrow.fields().len());
        let closed = |stamp: fn(&Stamp) -> i64| versions.iter().map(move |version| version.to.as_ref().map(stamp));
        let mut user_columns = Vec::new();
        match &self.table {
            Some(table) => {
                let rows: Vec<Vec<Value>> = versions
                    .iter()
                    .zip(payloads.iter_mut().zip(&mut layouts))
                    .map(|(version, (payload, layout))| match row_of(table, &version.payload) {
                        Some((of, row)) => {
                            *layout = Some(layout_column(of));
                            row
                        }
                        None => {
                            *payload = Some(&version.payload);
                            Vec::new()
                        }
                    })
                    .collect();
                for (id, column) in table.columns.iter().enumerate() {
                    let values = rows.iter().map(|row| row.get(id).unwrap_or(&Value::Null));
                    user_columns.push(build(column.data_type, values)?);
                }
            }
            None => payloads = versions.iter().map(|version| Some(version.payload.as_ref())).collect(),
        }
        columns.push(Arc::new(BinaryArray::from_iter_values(versions.iter().map(|version| &version.key))));
        columns.push(Arc::new(Int64Array::from_iter_values(versions.iter().map(|version| seq_column(&version.from)))));
        columns.push(times(versions.iter().map(|version| Some(version.from.time_us))));
        columns.push(Arc::new(Int64Array::from_iter(closed(seq_column))));
        columns.push(times(closed(|stamp| stamp.time_us)));
        columns.push(Arc::new(BooleanArray::from_iter(versions.iter().map(|version| Some(version.deleted)))));
        columns.push(Arc::new(BinaryArray::from_iter(payloads)));
        columns.push(Arc::new(Int64Array::from_iter(layouts)));
        columns.extend(user_columns);
        RecordBatch::try_new(Arc::clone(&self.arrow), columns)
    }
}

/// The values of a row that the table's columns hold exactly, so that the same bytes can be made of them again; `None` when
/// they do not, or there are more.
fn row_of(table: &TableSchema, payload: &[u8]) -> Option<(RowLayout, Vec<Value>)> {
    let layout = RowLayout::of(payload).ok()?;
    let row = decode_row(table, payload).ok()?;
    let exact = row.iter().zip(&table.columns).all(|(value, column)| fits(value, column.data_type))
        && encode_row_as(layout, table, &row).is_ok_and(|bytes| bytes == payload);
    exact.then_some((layout, row))
}

fn layout_column(RowLayout { version, columns }: RowLayout) -> i64 {
    i64::from(version) << 16 | i64::from(columns)
}

fn layout_of(column: i64) -> Option<RowLayout> {
    Some(RowLayout { version: u32::try_from(column >> 16).ok()?, columns: u16::try_from(column & 0xFFFF).ok()? })
}

fn seq_column(stamp: &Stamp) -> i64 {
    stamp.seq.0.cast_signed()
}

fn times(values: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from_iter(values).with_timezone(UTC))
}

fn field(name: impl Into<String>, ty: ArrowType, nullable: bool, id: usize) -> Field {
    Field::new(name, ty, nullable).with_metadata(HashMap::from([(FIELD_ID_KEY.to_owned(), id.to_string())]))
}

fn timestamp(utc: bool) -> ArrowType {
    ArrowType::Timestamp(TimeUnit::Microsecond, utc.then(|| UTC.into()))
}

fn interval_fields() -> Fields {
    Fields::from(vec![
        Field::new("months", ArrowType::Int32, false),
        Field::new("days", ArrowType::Int32, false),
        Field::new("micros", ArrowType::Int64, false),
    ])
}

/// The precision and scale of a `numeric` that is kept as one; others are kept as text, which loses nothing.
fn decimal_type(ty: DataType) -> Option<(u8, i8)> {
    match ty {
        DataType::Numeric(Some((precision, scale))) if (1..=38).contains(&precision) && scale <= precision => {
            Some((precision, i8::try_from(scale).ok()?))
        }
        _ => None,
    }
}

fn arrow_type(ty: DataType) -> ArrowType {
    match ty {
        DataType::Bool => ArrowType::Boolean,
        DataType::Int2 => ArrowType::Int16,
        DataType::Int4 => ArrowType::Int32,
        DataType::Int8 => ArrowType::Int64,
        DataType::Float4 => ArrowType::Float32,
        DataType::Float8 => ArrowType::Float64,
        DataType::Numeric(_) => {
            decimal_type(ty).map_or(ArrowType::Utf8, |(precision, scale)| ArrowType::Decimal128(precision, scale))
        }
        DataType::Text | DataType::Varchar(_) | DataType::Char(_) | DataType::Json | DataType::Jsonb => ArrowType::Utf8,
        DataType::Bytea => ArrowType::Binary,
        DataType::Date => ArrowType::Date32,
        DataType::Time => ArrowType::Time64(TimeUnit::Microsecond),
        DataType::Timestamp => timestamp(false),
        DataType::TimestampTz => timestamp(true),
        DataType::Interval => ArrowType::Struct(interval_fields()),
        DataType::Uuid => ArrowType::FixedSizeBinary(16),
    }
}

/// Whether a column of this type holds the value exactly.
fn fits(value: &Value, ty: DataType) -> bool {
    match (value, ty) {
        (Value::Null, _)
        | (Value::Bool(_), DataType::Bool)
        | (Value::Int2(_), DataType::Int2)
        | (Value::Int4(_), DataType::Int4)
        | (Value::Int8(_), DataType::Int8)
        | (Value::Float4(_), DataType::Float4)
        | (Value::Float8(_), DataType::Float8)
        | (Value::Text(_), DataType::Text | DataType::Varchar(_) | DataType::Char(_))
        | (Value::Bytea(_), DataType::Bytea)
        | (Value::Date(_), DataType::Date)
        | (Value::Time(_), DataType::Time)
        | (Value::Timestamp(_), DataType::Timestamp)
        | (Value::TimestampTz(_), DataType::TimestampTz)
        | (Value::Interval(_), DataType::Interval)
        | (Value::Uuid(_), DataType::Uuid)
        | (Value::Json(_), DataType::Json)
        | (Value::Jsonb(_), DataType::Jsonb) => true,
        (Value::Numeric(decimal), DataType::Numeric(_)) => match decimal_type(ty) {
            Some((precision, scale)) => {
                i8::try_from(decimal.scale()).is_ok_and(|found| found == scale)
                    && 10u128
                        .checked_pow(precision.into())
                        .is_none_or(|limit| decimal.unscaled().unsigned_abs() < limit)
            }
            // The text form keeps the scale, so it comes back the same.
            None => true,
        },
        _ => false,
    }
}

/// The values of one column; a value of another type becomes NULL (see [`fits`]).
fn build<'a>(ty: DataType, values: impl Iterator<Item = &'a Value>) -> Result<ArrayRef, ArrowError> {
    macro_rules! array {
        ($array:ty, $($pattern:pat => $value:expr),+) => {
            Arc::new(<$array>::from_iter(values.map(|value| match value { $($pattern => Some($value),)+ _ => None })))
        };
    }
    Ok(match ty {
        DataType::Bool => array!(BooleanArray, Value::Bool(value) => *value),
        DataType::Int2 => array!(Int16Array, Value::Int2(value) => *value),
        DataType::Int4 => array!(Int32Array, Value::Int4(value) => *value),
        DataType::Int8 => array!(Int64Array, Value::Int8(value) => *value),
        DataType::Float4 => array!(Float32Array, Value::Float4(value) => *value),
        DataType::Float8 => array!(Float64Array, Value::Float8(value) => *value),
        DataType::Numeric(_) => match decimal_type(ty) {
            Some((precision, scale)) => {
                let unscaled = values.map(|value| match value {
                    Value::Numeric(decimal) => Some(decimal.unscaled()),
                    _ => None,
                });
                Arc::new(Decimal128Array::from_iter(unscaled).with_precision_and_scale(precision, scale)?)
            }
            None => array!(StringArray, Value::Numeric(decimal) => decimal.to_string()),
        },
        DataType::Text | DataType::Varchar(_) | DataType::Char(_) | DataType::Json | DataType::Jsonb => {
            array!(StringArray, Value::Text(text) | Value::Json(text) | Value::Jsonb(text) => text.as_str())
        }
        DataType::Bytea => array!(BinaryArray, Value::Bytea(bytes) => bytes.as_slice()),
        DataType::Date => array!(Date32Array, Value::Date(days) => *days),
        DataType::Time => array!(Time64MicrosecondArray, Value::Time(micros) => *micros),
        DataType::Timestamp => array!(TimestampMicrosecondArray, Value::Timestamp(micros) => *micros),
        DataType::TimestampTz => times(values.map(|value| match value {
            Value::TimestampTz(micros) => Some(*micros),
            _ => None,
        })),
        DataType::Interval => build_intervals(values)?,
        DataType::Uuid => {
            let values = values.map(|value| match value {
                Value::Uuid(bytes) => Some(bytes.as_slice()),
                _ => None,
            });
            Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(values, 16)?)
        }
    })
}

fn build_intervals<'a>(values: impl Iterator<Item = &'a Value>) -> Result<ArrayRef, ArrowError> {
    let intervals: Vec<Option<Interval>> = values
        .map(|value| match value {
            Value::Interval(interval) => Some(*interval),
            _ => None,
        })
        .collect();
    let nulls: NullBuffer = intervals.iter().map(Option::is_some).collect();
    let parts = || intervals.iter().map(|interval| interval.unwrap_or_default());
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int32Array::from_iter_values(parts().map(|interval| interval.months))),
        Arc::new(Int32Array::from_iter_values(parts().map(|interval| interval.days))),
        Arc::new(Int64Array::from_iter_values(parts().map(|interval| interval.micros))),
    ];
    Ok(Arc::new(StructArray::try_new(interval_fields(), columns, Some(nulls))?))
}

/// The rows of one batch read from a segment.
pub(crate) struct Rows<'b> {
    table: Option<&'b TableSchema>,
    batch: &'b RecordBatch,
}

impl<'b> Rows<'b> {
    pub(crate) fn new(layout: &'b Layout, batch: &'b RecordBatch) -> Rows<'b> {
        Rows { table: layout.table.as_deref(), batch }
    }

    pub(crate) fn len(&self) -> usize {
        self.batch.num_rows()
    }

    fn column(&self, place: usize) -> Option<&'b ArrayRef> {
        self.batch.columns().get(place)
    }

    fn i64(&self, place: usize, row: usize) -> Option<i64> {
        let array = self.column(place)?.as_primitive_opt::<Int64Type>()?;
        (row < array.len()).then(|| array.value(row))
    }

    fn stamp(&self, seq: usize, time: usize, row: usize) -> Option<Stamp> {
        let array = self.column(time)?.as_primitive_opt::<TimestampMicrosecondType>()?;
        let time_us = (row < array.len()).then(|| array.value(row))?;
        Some(Stamp { seq: CommitSeq(self.i64(seq, row)?.cast_unsigned()), time_us })
    }

    pub(crate) fn key(&self, row: usize) -> Option<&'b [u8]> {
        binary(self.column(KEY)?, row)
    }

    /// The first row whose key is not before the range; `None` when there are no keys. Rows are in key order.
    pub(crate) fn first_in(&self, range: &KeyRange) -> Option<usize> {
        let keys = self.column(KEY)?.as_binary_opt::<i32>()?;
        let before = |key: &[u8]| match &range.start {
            Bound::Included(start) => key < start.as_slice(),
            Bound::Excluded(start) => key <= start.as_slice(),
            Bound::Unbounded => false,
        };
        let (mut low, mut high) = (0, keys.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if before(keys.value(middle)) { low = middle + 1 } else { high = middle }
        }
        Some(low)
    }

    /// The commit a row's version began with.
    pub(crate) fn began(&self, row: usize) -> Option<CommitSeq> {
        self.i64(FROM_SEQ, row).map(|seq| CommitSeq(seq.cast_unsigned()))
    }

    /// The commit that closed a row's version.
    pub(crate) fn ended(&self, row: usize) -> Option<CommitSeq> {
        self.i64(TO_SEQ, row).map(|seq| CommitSeq(seq.cast_unsigned()))
    }

    /// The version in a row; what is wrong with it if it is none.
    pub(crate) fn version(&self, row: usize) -> Result<Version, String> {
        let missing = |what: &str| format!("{what} of row {row} is missing or has another type");
        let key = self.key(row).ok_or_else(|| missing("_key"))?;
        let from = self.stamp(FROM_SEQ, FROM_TIME, row).ok_or_else(|| missing("_from"))?;
        let to = self.stamp(TO_SEQ, TO_TIME, row).ok_or_else(|| missing("_to"))?;
        let deleted =
            self.column(DELETED).and_then(|array| array.as_boolean_opt()).ok_or_else(|| missing("_deleted"))?;
        let payload = match binary(self.column(PAYLOAD).ok_or_else(|| missing("_payload"))?, row) {
            Some(payload) => Bytes::copy_from_slice(payload),
            None => self.encode(row)?.into(),
        };
        let deleted = row < deleted.len() && deleted.value(row);
        Ok(Version { key: Bytes::copy_from_slice(key), from, to: Some(to), deleted, payload })
    }

    /// The payload, from the table's columns.
    fn encode(&self, row: usize) -> Result<Vec<u8>, String> {
        let table = self.table.ok_or_else(|| format!("row {row} has neither columns nor a payload"))?;
        let layout = self.i64(LAYOUT, row).and_then(layout_of);
        let layout = layout.ok_or_else(|| format!("_layout of row {row} is missing"))?;
        let values: Option<Vec<Value>> = table
            .columns
            .iter()
            .enumerate()
            .map(|(id, column)| read(column.data_type, self.column(SYSTEM_COLUMNS.len() + id)?, row))
            .collect();
        let values = values.ok_or_else(|| format!("row {row} lacks a column or has one of another type"))?;
        encode_row_as(layout, table, &values).map_err(|error| format!("row {row}: {error}"))
    }
}

fn binary(array: &ArrayRef, row: usize) -> Option<&[u8]> {
    let array = array.as_binary_opt::<i32>()?;
    (row < array.len() && array.is_valid(row)).then(|| array.value(row))
}

/// One value; `None` when the array is not of the column's type.
fn read(ty: DataType, array: &ArrayRef, row: usize) -> Option<Value> {
    if row >= array.len() {
        return None;
    }
    if array.is_null(row) {
        return Some(Value::Null);
    }
    Some(match ty {
        DataType::Bool => Value::Bool(array.as_boolean_opt()?.value(row)),
        DataType::Int2 => Value::Int2(array.as_primitive_opt::<Int16Type>()?.value(row)),
        DataType::Int4 => Value::Int4(array.as_primitive_opt::<Int32Type>()?.value(row)),
        DataType::Int8 => Value::Int8(array.as_primitive_opt::<Int64Type>()?.value(row)),
        DataType::Float4 => Value::Float4(array.as_primitive_opt::<Float32Type>()?.value(row)),
        DataType::Float8 => Value::Float8(array.as_primitive_opt::<Float64Type>()?.value(row)),
        DataType::Numeric(_) => Value::Numeric(match decimal_type(ty) {
            Some((_, scale)) => {
                let unscaled = array.as_primitive_opt::<Decimal128Type>()?.value(row);
                Decimal::new(unscaled, scale.cast_unsigned()).ok()?
            }
            None => Decimal::parse(array.as_string_opt::<i32>()?.value(row)).ok()?,
        }),
        DataType::Text | DataType::Varchar(_) | DataType::Char(_) => Value::Text(text(array, row)?),
        DataType::Json => Value::Json(text(array, row)?),
        DataType::Jsonb => Value::Jsonb(text(array, row)?),
        DataType::Bytea => Value::Bytea(array.as_binary_opt::<i32>()?.value(row).to_vec()),
        DataType::Date => Value::Date(array.as_primitive_opt::<Date32Type>()?.value(row)),
        DataType::Time => Value::Time(array.as_primitive_opt::<Time64MicrosecondType>()?.value(row)),
        DataType::Timestamp => Value::Timestamp(array.as_primitive_opt::<TimestampMicrosecondType>()?.value(row)),
        DataType::TimestampTz => Value::TimestampTz(array.as_primitive_opt::<TimestampMicrosecondType>()?.value(row)),
        DataType::Interval => {
            let parts = array.as_struct_opt()?;
            Value::Interval(Interval {
                months: parts.columns().first()?.as_primitive_opt::<Int32Type>()?.value(row),
                days: parts.columns().get(1)?.as_primitive_opt::<Int32Type>()?.value(row),
                micros: parts.columns().get(2)?.as_primitive_opt::<Int64Type>()?.value(row),
            })
        }
        DataType::Uuid => Value::Uuid(array.as_fixed_size_binary_opt()?.value(row).try_into().ok()?),
    })
}

fn text(array: &ArrayRef, row: usize) -> Option<String> {
    Some(array.as_string_opt::<i32>()?.value(row).to_owned())
}
