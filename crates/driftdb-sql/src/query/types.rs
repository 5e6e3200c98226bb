//! DriftDB's types and values in Arrow's words, and back.
//!
//! | DriftDB | Arrow |
//! |---|---|
//! | boolean, int2/4/8, float4/8 | Boolean, Int16/32/64, Float32/64 |
//! | numeric(p,s), as a column has it | Decimal128(p,s) |
//! | any other numeric | FixedSizeBinary(17): its scale in one byte, then its digits as a big-endian number |
//! | text, varchar, char, json, jsonb | Utf8 |
//! | bytea | Binary |
//! | date, time, timestamp, timestamptz | Date32, Time64(µs), Timestamp(µs), Timestamp(µs, UTC) |
//! | interval | Interval(MonthDayNano) |
//! | uuid | FixedSizeBinary(16) |
//!
//! What Arrow's type alone does not say (`varchar(10)`, `jsonb`, an unconstrained numeric) travels in the field's
//! metadata, which DataFusion carries along with a column. An expression that makes a new value loses it and has the
//! plain type, which is also what PostgreSQL says of it.
//!
//! Each value of an unconstrained numeric has a scale of its own (`1.0` and `1.00` are equal, and shown as they are), which
//! no decimal type of Arrow's allows. Its bytes mean nothing to DataFusion: where such numbers are compared, sorted or
//! grouped, the resolver takes their *key*, a Decimal256(76,38), which holds the value of every numeric there is.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, Decimal256Builder,
    FixedSizeBinaryBuilder, Float32Builder, Float64Builder, Int16Builder, Int32Builder, Int64Builder,
    IntervalMonthDayNanoBuilder, NullArray, RecordBatch, StringBuilder, Time64MicrosecondBuilder,
    TimestampMicrosecondBuilder,
};
use datafusion::arrow::datatypes as arrow_types;
use datafusion::arrow::datatypes::{
    DataType as ArrowType, Date32Type, Decimal128Type, Decimal256Type, Field, Float32Type, Float64Type, Int8Type,
    Int16Type, Int32Type, Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit, TimeUnit, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type, i256,
};
use datafusion::common::ScalarValue;
use driftdb_types::{DataType, Decimal, Error, Interval, Result, SqlState, Value};

/// The field metadata key that holds the exact DriftDB type.
pub(crate) const TYPE_KEY: &str = "driftdb.type";
/// Where a plain column comes from: `table oid,column number`.
pub(crate) const ORIGIN_KEY: &str = "driftdb.origin";
/// Bytes of an unconstrained numeric.
const NUMERIC_BYTES: i32 = 17;
/// The type of an unconstrained numeric.
pub(crate) const NUMERIC: ArrowType = ArrowType::FixedSizeBinary(NUMERIC_BYTES);
/// Digits after the point in the key of a numeric.
const KEY_SCALE: i8 = 38;
/// The type of the key of a numeric.
pub(crate) const NUMERIC_KEY: ArrowType = ArrowType::Decimal256(76, KEY_SCALE);
/// The time zone every Arrow timestamptz carries.
const UTC: &str = "UTC";

/// The Arrow type that holds values of `data_type`.
pub(crate) fn arrow_type(data_type: DataType) -> ArrowType {
    match data_type {
        DataType::Bool => ArrowType::Boolean,
        DataType::Int2 => ArrowType::Int16,
        DataType::Int4 => ArrowType::Int32,
        DataType::Int8 => ArrowType::Int64,
        DataType::Float4 => ArrowType::Float32,
        DataType::Float8 => ArrowType::Float64,
        DataType::Numeric(Some((precision, scale))) => {
            ArrowType::Decimal128(precision.max(1), i8::try_from(scale).unwrap_or(i8::MAX))
        }
        DataType::Numeric(None) => NUMERIC,
        DataType::Text | DataType::Varchar(_) | DataType::Char(_) | DataType::Json | DataType::Jsonb => ArrowType::Utf8,
        DataType::Bytea => ArrowType::Binary,
        DataType::Date => ArrowType::Date32,
        DataType::Time => ArrowType::Time64(TimeUnit::Microsecond),
        DataType::Timestamp => ArrowType::Timestamp(TimeUnit::Microsecond, None),
        DataType::TimestampTz => ArrowType::Timestamp(TimeUnit::Microsecond, Some(UTC.into())),
        DataType::Interval => ArrowType::Interval(IntervalUnit::MonthDayNano),
        DataType::Uuid => ArrowType::FixedSizeBinary(16),
    }
}

/// A field of that name and type, with the exact type in its metadata where Arrow's does not say it.
pub(crate) fn field(name: &str, data_type: DataType, nullable: bool) -> Field {
    let field = Field::new(name, arrow_type(data_type), nullable);
    match metadata_code(data_type) {
        Some(code) => field.with_metadata(HashMap::from([(TYPE_KEY.to_owned(), code)])),
        None => field,
    }
}

/// What the field's metadata must say beside Arrow's type.
fn metadata_code(data_type: DataType) -> Option<String> {
    match data_type {
        DataType::Varchar(_) | DataType::Char(_) | DataType::Json | DataType::Jsonb | DataType::Numeric(Some(_)) => {
            Some(type_code(data_type))
        }
        _ => None,
    }
}

/// A type in one word, with its modifiers behind it.
pub(crate) fn type_code(data_type: DataType) -> String {
    match data_type {
        DataType::Varchar(Some(length)) => format!("varchar {length}"),
        DataType::Char(length) => format!("bpchar {length}"),
        DataType::Numeric(Some((precision, scale))) => format!("numeric {precision} {scale}"),
        other => other.type_name().to_owned(),
    }
}

/// The type that [`type_code`] wrote.
pub(crate) fn type_from_code(code: &str) -> Option<DataType> {
    let mut words = code.split(' ');
    let name = words.next()?;
    let mut number = || words.next().and_then(|word| word.parse::<u32>().ok());
    Some(match name {
        "bool" => DataType::Bool,
        "int2" => DataType::Int2,
        "int4" => DataType::Int4,
        "int8" => DataType::Int8,
        "float4" => DataType::Float4,
        "float8" => DataType::Float8,
        "text" => DataType::Text,
        "varchar" => DataType::Varchar(number()),
        "bpchar" => DataType::Char(number()?),
        "bytea" => DataType::Bytea,
        "date" => DataType::Date,
        "time" => DataType::Time,
        "timestamp" => DataType::Timestamp,
        "timestamptz" => DataType::TimestampTz,
        "interval" => DataType::Interval,
        "uuid" => DataType::Uuid,
        "json" => DataType::Json,
        "jsonb" => DataType::Jsonb,
        "numeric" => match (number(), number()) {
            (Some(precision), Some(scale)) => {
                DataType::Numeric(Some((u8::try_from(precision).ok()?, u8::try_from(scale).ok()?)))
            }
            _ => DataType::Numeric(None),
        },
        _ => return None,
    })
}

/// The DriftDB type of what a field holds.
pub(crate) fn data_type_of(field: &Field) -> Result<DataType> {
    if let Some(data_type) = field.metadata().get(TYPE_KEY).and_then(|code| type_from_code(code)) {
        // The metadata of a column whose values were converted since says nothing of them.
        if arrow_type(data_type) == *field.data_type() {
            return Ok(data_type);
        }
    }
    plain_type(field.data_type())
}

/// The DriftDB type of values of an Arrow type about which nothing else is known.
pub(crate) fn plain_type(arrow: &ArrowType) -> Result<DataType> {
    Ok(match arrow {
        ArrowType::Boolean => DataType::Bool,
        ArrowType::Int8 | ArrowType::Int16 | ArrowType::UInt8 => DataType::Int2,
        ArrowType::Int32 | ArrowType::UInt16 => DataType::Int4,
        ArrowType::Int64 | ArrowType::UInt32 | ArrowType::UInt64 => DataType::Int8,
        ArrowType::Float16 | ArrowType::Float32 => DataType::Float4,
        ArrowType::Float64 => DataType::Float8,
        ArrowType::Decimal128(..) | ArrowType::Decimal256(..) | &NUMERIC => DataType::Numeric(None),
        ArrowType::Utf8 | ArrowType::LargeUtf8 | ArrowType::Utf8View | ArrowType::Null => DataType::Text,
        ArrowType::Binary | ArrowType::LargeBinary | ArrowType::BinaryView => DataType::Bytea,
        ArrowType::Date32 | ArrowType::Date64 => DataType::Date,
        ArrowType::Time32(_) | ArrowType::Time64(_) => DataType::Time,
        ArrowType::Timestamp(_, None) => DataType::Timestamp,
        ArrowType::Timestamp(_, Some(_)) => DataType::TimestampTz,
        ArrowType::Interval(_) | ArrowType::Duration(_) => DataType::Interval,
        ArrowType::FixedSizeBinary(16) => DataType::Uuid,
        ArrowType::List(_) | ArrowType::LargeList(_) | ArrowType::FixedSizeList(..) => {
            return Err(Error::unsupported("a value of an array type"));
        }
        other => return Err(Error::unsupported(format!("a value of type {other}"))),
    })
}

/// A value as a DataFusion literal of exactly `data_type`.
pub(crate) fn scalar_of(value: &Value, data_type: DataType) -> Result<ScalarValue> {
    let mut column = ColumnBuilder::new(data_type, 1);
    column.append(value)?;
    ScalarValue::try_from_array(&column.finish()?, 0).map_err(super::errors::from_datafusion)
}

/// A DataFusion literal as a value.
pub(crate) fn value_of_scalar(scalar: &ScalarValue) -> Result<Value> {
    let array = scalar.to_array().map_err(super::errors::from_datafusion)?;
    let field = Field::new("", array.data_type().clone(), true);
    let mut values = values_of(&array, &field)?;
    values.pop().ok_or_else(|| Error::internal("a scalar without a value"))
}

/// Builds one Arrow column from values of one DriftDB type.
pub(crate) enum ColumnBuilder {
    Null(usize),
    Bool(BooleanBuilder),
    Int2(Int16Builder),
    Int4(Int32Builder),
    Int8(Int64Builder),
    Float4(Float32Builder),
    Float8(Float64Builder),
    /// Of declared precision and scale.
    Decimal(Decimal128Builder, u8, i8),
    /// Each with a scale of its own.
    Numeric(FixedSizeBinaryBuilder),
    NumericKey(Decimal256Builder),
    Text(StringBuilder),
    Bytea(BinaryBuilder),
    Date(Date32Builder),
    Time(Time64MicrosecondBuilder),
    Timestamp(TimestampMicrosecondBuilder),
    TimestampTz(TimestampMicrosecondBuilder),
    Interval(IntervalMonthDayNanoBuilder),
    Uuid(FixedSizeBinaryBuilder),
}

impl ColumnBuilder {
    /// A builder for about `rows` values of `data_type`.
    pub(crate) fn new(data_type: DataType, rows: usize) -> ColumnBuilder {
        ColumnBuilder::for_arrow(&arrow_type(data_type), rows)
    }

    /// A builder for values of that Arrow type, one of those that [`arrow_type`] gives (any scale of a decimal).
    pub(crate) fn for_arrow(arrow: &ArrowType, rows: usize) -> ColumnBuilder {
        match arrow {
            ArrowType::Boolean => ColumnBuilder::Bool(BooleanBuilder::with_capacity(rows)),
            ArrowType::Int16 => ColumnBuilder::Int2(Int16Builder::with_capacity(rows)),
            ArrowType::Int32 => ColumnBuilder::Int4(Int32Builder::with_capacity(rows)),
            ArrowType::Int64 => ColumnBuilder::Int8(Int64Builder::with_capacity(rows)),
            ArrowType::Float32 => ColumnBuilder::Float4(Float32Builder::with_capacity(rows)),
            ArrowType::Float64 => ColumnBuilder::Float8(Float64Builder::with_capacity(rows)),
            ArrowType::Decimal256(..) => {
                ColumnBuilder::NumericKey(Decimal256Builder::with_capacity(rows).with_data_type(NUMERIC_KEY))
            }
            ArrowType::Decimal128(precision, scale) => ColumnBuilder::Decimal(
                Decimal128Builder::with_capacity(rows).with_data_type(arrow.clone()),
                *precision,
                *scale,
            ),
            ArrowType::Utf8 => ColumnBuilder::Text(StringBuilder::with_capacity(rows, rows.saturating_mul(16))),
            ArrowType::Binary => ColumnBuilder::Bytea(BinaryBuilder::with_capacity(rows, rows.saturating_mul(16))),
            ArrowType::Date32 => ColumnBuilder::Date(Date32Builder::with_capacity(rows)),
            ArrowType::Time64(_) => ColumnBuilder::Time(Time64MicrosecondBuilder::with_capacity(rows)),
            ArrowType::Timestamp(_, None) => ColumnBuilder::Timestamp(TimestampMicrosecondBuilder::with_capacity(rows)),
            ArrowType::Timestamp(_, Some(_)) => {
                ColumnBuilder::TimestampTz(TimestampMicrosecondBuilder::with_capacity(rows).with_timezone(UTC))
            }
            ArrowType::Interval(_) => ColumnBuilder::Interval(IntervalMonthDayNanoBuilder::with_capacity(rows)),
            &NUMERIC => ColumnBuilder::Numeric(FixedSizeBinaryBuilder::with_capacity(rows, NUMERIC_BYTES)),
            ArrowType::FixedSizeBinary(_) => ColumnBuilder::Uuid(FixedSizeBinaryBuilder::with_capacity(rows, 16)),
            _ => ColumnBuilder::Null(0),
        }
    }

    /// Appends a value, which must be NULL or of the builder's type.
    pub(crate) fn append(&mut self, value: &Value) -> Result<()> {
        match (self, value) {
            (ColumnBuilder::Null(rows), Value::Null) => *rows += 1,
            (column, Value::Null) => column.append_null(),
            (ColumnBuilder::Bool(column), Value::Bool(v)) => column.append_value(*v),
            (ColumnBuilder::Int2(column), Value::Int2(v)) => column.append_value(*v),
            (ColumnBuilder::Int4(column), Value::Int4(v)) => column.append_value(*v),
            (ColumnBuilder::Int8(column), Value::Int8(v)) => column.append_value(*v),
            (ColumnBuilder::Float4(column), Value::Float4(v)) => {
                column.append_value(if v.is_nan() { f32::NAN } else { *v })
            }
            // There is one NaN; what the processor gives for inf - inf has another sign, which would count.
            (ColumnBuilder::Float8(column), Value::Float8(v)) => {
                column.append_value(if v.is_nan() { f64::NAN } else { *v })
            }
            (ColumnBuilder::Decimal(column, precision, scale), Value::Numeric(v)) => {
                column.append_value(decimal_within(*v, *precision, *scale)?);
            }
            (ColumnBuilder::Numeric(column), Value::Numeric(v)) => column
                .append_value(numeric_bytes(*v))
                .map_err(|error| Error::internal(format!("a numeric does not fit its column: {error}")))?,
            (ColumnBuilder::NumericKey(column), Value::Numeric(v)) => column.append_value(numeric_key(*v)?),
            (ColumnBuilder::Text(column), Value::Text(v) | Value::Json(v) | Value::Jsonb(v)) => column.append_value(v),
            (ColumnBuilder::Bytea(column), Value::Bytea(v)) => column.append_value(v),
            (ColumnBuilder::Date(column), Value::Date(v)) => column.append_value(*v),
            (ColumnBuilder::Time(column), Value::Time(v)) => column.append_value(*v),
            (ColumnBuilder::Timestamp(column), Value::Timestamp(v)) => column.append_value(*v),
            (ColumnBuilder::TimestampTz(column), Value::TimestampTz(v)) => column.append_value(*v),
            (ColumnBuilder::Interval(column), Value::Interval(v)) => column.append_value(arrow_interval(*v)?),
            (ColumnBuilder::Uuid(column), Value::Uuid(v)) => column
                .append_value(v)
                .map_err(|error| Error::internal(format!("a uuid does not fit its column: {error}")))?,
            (_, value) => {
                return Err(Error::internal(format!("a value {value:?} where a query expects another type")));
            }
        }
        Ok(())
    }

    fn append_null(&mut self) {
        match self {
            ColumnBuilder::Null(rows) => *rows += 1,
            ColumnBuilder::Bool(column) => column.append_null(),
            ColumnBuilder::Int2(column) => column.append_null(),
            ColumnBuilder::Int4(column) => column.append_null(),
            ColumnBuilder::Int8(column) => column.append_null(),
            ColumnBuilder::Float4(column) => column.append_null(),
            ColumnBuilder::Float8(column) => column.append_null(),
            ColumnBuilder::Decimal(column, ..) => column.append_null(),
            ColumnBuilder::Numeric(column) | ColumnBuilder::Uuid(column) => column.append_null(),
            ColumnBuilder::NumericKey(column) => column.append_null(),
            ColumnBuilder::Text(column) => column.append_null(),
            ColumnBuilder::Bytea(column) => column.append_null(),
            ColumnBuilder::Date(column) => column.append_null(),
            ColumnBuilder::Time(column) => column.append_null(),
            ColumnBuilder::Timestamp(column) | ColumnBuilder::TimestampTz(column) => column.append_null(),
            ColumnBuilder::Interval(column) => column.append_null(),
        }
    }

    /// The column.
    pub(crate) fn finish(&mut self) -> Result<ArrayRef> {
        Ok(match self {
            ColumnBuilder::Null(rows) => Arc::new(NullArray::new(*rows)),
            ColumnBuilder::Bool(column) => Arc::new(column.finish()),
            ColumnBuilder::Int2(column) => Arc::new(column.finish()),
            ColumnBuilder::Int4(column) => Arc::new(column.finish()),
            ColumnBuilder::Int8(column) => Arc::new(column.finish()),
            ColumnBuilder::Float4(column) => Arc::new(column.finish()),
            ColumnBuilder::Float8(column) => Arc::new(column.finish()),
            ColumnBuilder::Decimal(column, ..) => Arc::new(column.finish()),
            ColumnBuilder::Numeric(column) | ColumnBuilder::Uuid(column) => Arc::new(column.finish()),
            ColumnBuilder::NumericKey(column) => Arc::new(column.finish()),
            ColumnBuilder::Text(column) => Arc::new(column.finish()),
            ColumnBuilder::Bytea(column) => Arc::new(column.finish()),
            ColumnBuilder::Date(column) => Arc::new(column.finish()),
            ColumnBuilder::Time(column) => Arc::new(column.finish()),
            ColumnBuilder::Timestamp(column) | ColumnBuilder::TimestampTz(column) => Arc::new(column.finish()),
            ColumnBuilder::Interval(column) => Arc::new(column.finish()),
        })
    }
}

fn decimal_within(value: Decimal, precision: u8, scale: i8) -> Result<i128> {
    let scale = u8::try_from(scale).map_err(|_| Error::internal("a numeric column of negative scale"))?;
    value.constrain(precision, scale).map(Decimal::unscaled)
}

fn numeric_bytes(value: Decimal) -> [u8; 17] {
    let mut bytes = [value.scale(); 17];
    for (byte, digits) in bytes.iter_mut().skip(1).zip(value.unscaled().to_be_bytes()) {
        *byte = digits;
    }
    bytes
}

/// The numeric in these bytes.
pub(crate) fn numeric_from(bytes: &[u8]) -> Result<Decimal> {
    let digits = bytes.split_first().and_then(|(scale, digits)| Some((*scale, <[u8; 16]>::try_from(digits).ok()?)));
    match digits {
        Some((scale, digits)) => Decimal::new(i128::from_be_bytes(digits), scale),
        None => Err(Error::internal(format!("a numeric of {} bytes", bytes.len()))),
    }
}

/// What numerics are compared by.
fn numeric_key(value: Decimal) -> Result<i256> {
    let missing = u32::from(KEY_SCALE.unsigned_abs()).saturating_sub(u32::from(value.scale()));
    let power = 10_i128.checked_pow(missing).map(i256::from_i128);
    power
        .and_then(|power| i256::from_i128(value.unscaled()).checked_mul(power))
        .ok_or_else(|| Error::internal(format!("numeric {value} has no key")))
}

fn arrow_interval(value: Interval) -> Result<IntervalMonthDayNano> {
    let nanos = value
        .micros
        .checked_mul(1000)
        .ok_or_else(|| Error::new(SqlState::DATETIME_FIELD_OVERFLOW, "interval out of range"))?;
    Ok(IntervalMonthDayNano::new(value.months, value.days, nanos))
}

/// The rows of a batch as values. `fields` are the result's fields, whose metadata is asked before the batch's own.
pub(crate) fn rows_of(batch: &RecordBatch, fields: &[Arc<Field>]) -> Result<Vec<Vec<Value>>> {
    let mut rows: Vec<Vec<Value>> = (0..batch.num_rows()).map(|_| Vec::with_capacity(fields.len())).collect();
    for (array, field) in batch.columns().iter().zip(fields) {
        for (row, value) in rows.iter_mut().zip(values_of(array, field)?) {
            row.push(value);
        }
    }
    Ok(rows)
}

fn seconds_factor(unit: &TimeUnit) -> (i64, i64) {
    match unit {
        TimeUnit::Second => (1_000_000, 1),
        TimeUnit::Millisecond => (1000, 1),
        TimeUnit::Microsecond => (1, 1),
        TimeUnit::Nanosecond => (1, 1000),
    }
}

fn to_micros(value: i64, unit: &TimeUnit) -> Result<i64> {
    let (multiply, divide) = seconds_factor(unit);
    value
        .checked_mul(multiply)
        .map(|v| v.div_euclid(divide))
        .ok_or_else(|| Error::new(SqlState::DATETIME_FIELD_OVERFLOW, "timestamp out of range"))
}

/// The values of one array, of the type that `field` says.
pub(crate) fn values_of(array: &ArrayRef, field: &Field) -> Result<Vec<Value>> {
    macro_rules! primitive {
        ($arrow:ty, $make:expr) => {{
            let make = $make;
            array
                .as_primitive::<$arrow>()
                .iter()
                .map(|v| v.map_or(Ok(Value::Null), &make))
                .collect::<Result<Vec<Value>>>()
        }};
    }
    match array.data_type() {
        ArrowType::Null => Ok(vec![Value::Null; array.len()]),
        ArrowType::Boolean => Ok(array.as_boolean().iter().map(|v| v.map_or(Value::Null, Value::Bool)).collect()),
        ArrowType::Int8 => primitive!(Int8Type, |v: i8| Ok(Value::Int2(v.into()))),
        ArrowType::UInt8 => primitive!(UInt8Type, |v: u8| Ok(Value::Int2(v.into()))),
        ArrowType::Int16 => primitive!(Int16Type, |v| Ok(Value::Int2(v))),
        ArrowType::UInt16 => primitive!(UInt16Type, |v: u16| Ok(Value::Int4(v.into()))),
        ArrowType::Int32 => primitive!(Int32Type, |v| Ok(Value::Int4(v))),
        ArrowType::UInt32 => primitive!(UInt32Type, |v: u32| Ok(Value::Int8(v.into()))),
        ArrowType::Int64 => primitive!(Int64Type, |v| Ok(Value::Int8(v))),
        ArrowType::UInt64 => primitive!(UInt64Type, |v: u64| i64::try_from(v)
            .map(Value::Int8)
            .map_err(|_| Error::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "bigint out of range"))),
        ArrowType::Float32 => primitive!(Float32Type, |v| Ok(Value::Float4(v))),
        ArrowType::Float64 => primitive!(Float64Type, |v| Ok(Value::Float8(v))),
        ArrowType::Decimal128(_, scale) => {
            primitive!(Decimal128Type, |v: i128| decimal_from(v, *scale).map(Value::Numeric))
        }
        ArrowType::Decimal256(_, scale) => primitive!(Decimal256Type, |v: i256| wide_decimal_value(v, *scale)),
        &NUMERIC => array
            .as_fixed_size_binary()
            .iter()
            .map(|v| v.map_or(Ok(Value::Null), |v| numeric_from(v).map(Value::Numeric)))
            .collect(),
        ArrowType::Utf8 | ArrowType::LargeUtf8 | ArrowType::Utf8View => text_values(array, data_type_of(field)?),
        ArrowType::Binary => {
            Ok(array.as_binary::<i32>().iter().map(|v| v.map_or(Value::Null, |v| Value::Bytea(v.to_vec()))).collect())
        }
        ArrowType::LargeBinary => {
            Ok(array.as_binary::<i64>().iter().map(|v| v.map_or(Value::Null, |v| Value::Bytea(v.to_vec()))).collect())
        }
        ArrowType::BinaryView => {
            Ok(array.as_binary_view().iter().map(|v| v.map_or(Value::Null, |v| Value::Bytea(v.to_vec()))).collect())
        }
        ArrowType::FixedSizeBinary(16) => Ok(array
            .as_fixed_size_binary()
            .iter()
            .map(|v| v.and_then(|v| <[u8; 16]>::try_from(v).ok()).map_or(Value::Null, Value::Uuid))
            .collect()),
        ArrowType::Date32 => primitive!(Date32Type, |v| Ok(Value::Date(v))),
        ArrowType::Time64(unit) => match unit {
            TimeUnit::Nanosecond => primitive!(arrow_types::Time64NanosecondType, |v: i64| Ok(Value::Time(v / 1000))),
            _ => primitive!(arrow_types::Time64MicrosecondType, |v| Ok(Value::Time(v))),
        },
        ArrowType::Timestamp(unit, zone) => timestamp_values(array, unit, zone.is_some()),
        ArrowType::Interval(IntervalUnit::MonthDayNano) => {
            primitive!(IntervalMonthDayNanoType, |v: IntervalMonthDayNano| Ok(Value::Interval(Interval {
                months: v.months,
                days: v.days,
                micros: v.nanoseconds / 1000,
            })))
        }
        ArrowType::Dictionary(_, value_type) => {
            let plain = datafusion::arrow::compute::cast(array, value_type)
                .map_err(|error| Error::internal(format!("a dictionary could not be read: {error}")))?;
            values_of(&plain, field)
        }
        other => {
            plain_type(other)?;
            Err(Error::unsupported(format!("a value of type {other}")))
        }
    }
}

/// The numeric in a decimal of Arrow's.
pub(crate) fn decimal_from(unscaled: i128, scale: i8) -> Result<Decimal> {
    let (unscaled, scale) = match u8::try_from(scale) {
        Ok(scale) => (Some(unscaled), scale),
        // The scale of 1e10 is -10.
        Err(_) => (10_i128.checked_pow(u32::from(scale.unsigned_abs())).and_then(|p| unscaled.checked_mul(p)), 0),
    };
    let too_large = || Error::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "value overflows numeric format");
    Decimal::new(unscaled.ok_or_else(too_large)?, scale)
}

/// What is left of a numeric's key: its value, without trailing zeros.
fn wide_decimal_value(mut unscaled: i256, mut scale: i8) -> Result<Value> {
    let ten = i256::from_i128(10);
    while scale > 0 && unscaled.checked_rem(ten) == Some(i256::ZERO) {
        unscaled = unscaled.checked_div(ten).unwrap_or_default();
        scale -= 1;
    }
    let unscaled = unscaled.to_i128().ok_or_else(|| Error::internal(format!("a key {unscaled} of no numeric")))?;
    decimal_from(unscaled, scale).map(Value::Numeric)
}

fn text_values(array: &ArrayRef, data_type: DataType) -> Result<Vec<Value>> {
    let make = |text: &str| match data_type {
        DataType::Json => Value::Json(text.to_owned()),
        DataType::Jsonb => Value::Jsonb(text.to_owned()),
        _ => Value::Text(text.to_owned()),
    };
    Ok(match array.data_type() {
        ArrowType::LargeUtf8 => array.as_string::<i64>().iter().map(|v| v.map_or(Value::Null, make)).collect(),
        ArrowType::Utf8View => array.as_string_view().iter().map(|v| v.map_or(Value::Null, make)).collect(),
        _ => array.as_string::<i32>().iter().map(|v| v.map_or(Value::Null, make)).collect(),
    })
}

fn timestamp_values(array: &ArrayRef, unit: &TimeUnit, with_zone: bool) -> Result<Vec<Value>> {
    macro_rules! values {
        ($arrow:ty) => {
            array
                .as_primitive::<$arrow>()
                .iter()
                .map(|value| {
                    let Some(value) = value else { return Ok(Value::Null) };
                    let micros = to_micros(value, unit)?;
                    Ok(if with_zone { Value::TimestampTz(micros) } else { Value::Timestamp(micros) })
                })
                .collect()
        };
    }
    match unit {
        TimeUnit::Second => values!(arrow_types::TimestampSecondType),
        TimeUnit::Millisecond => values!(arrow_types::TimestampMillisecondType),
        TimeUnit::Microsecond => values!(arrow_types::TimestampMicrosecondType),
        TimeUnit::Nanosecond => values!(arrow_types::TimestampNanosecondType),
    }
}
