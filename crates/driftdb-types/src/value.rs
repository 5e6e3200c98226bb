//! One SQL value.

use std::cmp::Ordering;

use crate::civil::{DATE_INFINITY, DATE_MINUS_INFINITY, DAY_US, TIMESTAMP_INFINITY, TIMESTAMP_MINUS_INFINITY};
use crate::{DataType, Decimal, Interval};

/// One SQL value. Comparison between values for keys goes through the key codec; `PartialEq` here is identity of
/// representation (so `NaN != NaN`, and `1.0` and `1.00` differ as decimals).
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// SQL NULL, of any type.
    Null,
    /// `boolean`
    Bool(bool),
    /// `smallint`
    Int2(i16),
    /// `integer`
    Int4(i32),
    /// `bigint`
    Int8(i64),
    /// `real`
    Float4(f32),
    /// `double precision`
    Float8(f64),
    /// `numeric`
    Numeric(Decimal),
    /// `text`, `varchar`, and `char` without its trailing blanks
    Text(String),
    /// `bytea`
    Bytea(Vec<u8>),
    /// Days since 1970-01-01.
    Date(i32),
    /// Microseconds since midnight.
    Time(i64),
    /// Microseconds since 1970-01-01 00:00:00, in no time zone.
    Timestamp(i64),
    /// Microseconds since 1970-01-01 00:00:00 UTC.
    TimestampTz(i64),
    /// `interval`
    Interval(Interval),
    /// `uuid`
    Uuid([u8; 16]),
    /// `json`, the text as given
    Json(String),
    /// `jsonb`, normalised text
    Jsonb(String),
}

impl Value {
    /// Whether this is SQL NULL.
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// The value's type, without modifiers; `None` for NULL. All kinds of text are `text`.
    pub fn data_type(&self) -> Option<DataType> {
        Some(match self {
            Value::Null => return None,
            Value::Bool(_) => DataType::Bool,
            Value::Int2(_) => DataType::Int2,
            Value::Int4(_) => DataType::Int4,
            Value::Int8(_) => DataType::Int8,
            Value::Float4(_) => DataType::Float4,
            Value::Float8(_) => DataType::Float8,
            Value::Numeric(_) => DataType::Numeric(None),
            Value::Text(_) => DataType::Text,
            Value::Bytea(_) => DataType::Bytea,
            Value::Date(_) => DataType::Date,
            Value::Time(_) => DataType::Time,
            Value::Timestamp(_) => DataType::Timestamp,
            Value::TimestampTz(_) => DataType::TimestampTz,
            Value::Interval(_) => DataType::Interval,
            Value::Uuid(_) => DataType::Uuid,
            Value::Json(_) => DataType::Json,
            Value::Jsonb(_) => DataType::Jsonb,
        })
    }

    /// SQL's order of two values: `None` if one is NULL, or their types have no common order. Numbers of any two types
    /// compare by value (a `numeric` with a floating-point number as PostgreSQL does, as `double precision`), NaN is equal to
    /// itself and greater than all else, text goes by its bytes, dates compare with timestamps, intervals by estimated
    /// length. Within a type the order is that of its keys.
    pub fn compare(&self, other: &Value) -> Option<Ordering> {
        use Value as V;
        match (self, other) {
            (V::Bool(a), V::Bool(b)) => Some(a.cmp(b)),
            (V::Text(a), V::Text(b)) | (V::Json(a), V::Json(b)) | (V::Jsonb(a), V::Jsonb(b)) => Some(a.cmp(b)),
            (V::Bytea(a), V::Bytea(b)) => Some(a.cmp(b)),
            (V::Uuid(a), V::Uuid(b)) => Some(a.cmp(b)),
            (V::Date(a), V::Date(b)) => Some(a.cmp(b)),
            (V::Time(a), V::Time(b)) | (V::Timestamp(a), V::Timestamp(b)) | (V::TimestampTz(a), V::TimestampTz(b)) => {
                Some(a.cmp(b))
            }
            (V::Date(a), V::Timestamp(b)) => Some(compare_date_with_timestamp(*a, *b)),
            (V::Timestamp(a), V::Date(b)) => Some(compare_date_with_timestamp(*b, *a).reverse()),
            (V::Interval(a), V::Interval(b)) => Some(a.cmp_value(b)),
            (V::Numeric(a), V::Numeric(b)) => Some(a.cmp_value(b)),
            (V::Numeric(a), b) if let Some(b) = b.integer() => Some(a.cmp_value(&Decimal::from(b))),
            (a, V::Numeric(b)) if let Some(a) = a.integer() => Some(Decimal::from(a).cmp_value(b)),
            _ => match (self.integer(), other.integer()) {
                (Some(a), Some(b)) => Some(a.cmp(&b)),
                _ => Some(compare_floats(self.float()?, other.float()?)),
            },
        }
    }

    /// The value of an integer of any width.
    fn integer(&self) -> Option<i64> {
        match self {
            Value::Int2(value) => Some(i64::from(*value)),
            Value::Int4(value) => Some(i64::from(*value)),
            Value::Int8(value) => Some(*value),
            _ => None,
        }
    }

    /// The value of a number of any type, as `double precision`.
    fn float(&self) -> Option<f64> {
        match self {
            Value::Float4(value) => Some(f64::from(*value)),
            Value::Float8(value) => Some(*value),
            Value::Numeric(value) => Some(value.to_f64()),
            other => other.integer().map(|value| value as f64),
        }
    }
}

/// NaN is equal to itself and greater than all else; -0 equals 0.
fn compare_floats(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

fn compare_date_with_timestamp(days: i32, us: i64) -> Ordering {
    let date_us = match days {
        DATE_INFINITY => i128::from(TIMESTAMP_INFINITY),
        DATE_MINUS_INFINITY => i128::from(TIMESTAMP_MINUS_INFINITY),
        // A date beyond the last timestamp is before infinity all the same.
        days => i128::from(days) * i128::from(DAY_US),
    };
    match us {
        TIMESTAMP_INFINITY if days != DATE_INFINITY => Ordering::Less,
        us => date_us.cmp(&i128::from(us)),
    }
}
