//! Casts between types, as in PostgreSQL's `pg_cast`: what is done when a value is assigned to a column, and what more an
//! explicit cast does.

use crate::civil::{
    DATE_INFINITY, DATE_MINUS_INFINITY, DAY_US, TIMESTAMP_INFINITY, TIMESTAMP_MINUS_INFINITY, timestamp_from_parts,
};
use crate::text::{Scalar, TooLong, fit_text, scalar};
use crate::{DataType, Decimal, Error, Interval, Result, SqlState, TimeZone, Value, format_value, parse_value};

/// Who asks for the conversion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Context {
    /// INSERT or UPDATE into a column.
    Assignment,
    /// `CAST(… AS …)` or `::`.
    Explicit,
}

/// Whether a conversion is there, and from where on.
enum Outcome {
    Done(Value),
    /// No such cast in this context.
    None(Value),
}

impl Value {
    /// The explicit cast `self::to`. Text too long for `varchar(n)` or `char(n)` is cut; text is read as the type's input.
    /// 42846 where PostgreSQL has no cast; else the class of what is wrong with the value.
    pub fn cast(self, to: DataType, tz: &TimeZone) -> Result<Value> {
        match convert(self, to, tz, Context::Explicit)? {
            Outcome::Done(value) => Ok(value),
            Outcome::None(value) => Err(Error::new(
                SqlState::CANNOT_COERCE,
                format!("cannot cast type {} to {}", type_name(&value), to.without_modifiers().sql_name()),
            )),
        }
    }

    /// The conversion of a value that is stored in a column of type `to`. Text too long is 22001; 42804 where only an explicit
    /// cast, or none, is there.
    pub fn assign(self, to: DataType, tz: &TimeZone) -> Result<Value> {
        match convert(self, to, tz, Context::Assignment)? {
            Outcome::Done(value) => Ok(value),
            Outcome::None(value) => Err(Error::new(
                SqlState::DATATYPE_MISMATCH,
                format!("a value of type {} cannot be stored as {}", type_name(&value), to.sql_name()),
            )
            .hint("You will need to rewrite or cast the expression.")),
        }
    }
}

fn type_name(value: &Value) -> String {
    value.data_type().map_or_else(|| "unknown".to_owned(), |ty| ty.sql_name())
}

fn convert(value: Value, to: DataType, tz: &TimeZone, context: Context) -> Result<Outcome> {
    let explicit = context == Context::Explicit;
    if to.is_text() {
        return to_text(value, to, tz, context).map(Outcome::Done);
    }
    Ok(Outcome::Done(match (value, to) {
        (Value::Null, _) => Value::Null,
        (Value::Text(text), _) if explicit => parse_value(to, &text, tz)?,
        (Value::Jsonb(text), DataType::Bool) if explicit => Value::Bool(jsonb_bool(&text)?),
        (Value::Jsonb(text), _) if explicit && to.is_number() => jsonb_number(&text, to)?,
        (Value::Bool(value), DataType::Int4) if explicit => Value::Int4(i32::from(value)),
        (Value::Int4(value), DataType::Bool) if explicit => Value::Bool(value != 0),
        (value, _) if to.is_number() => return number_to_number(value, to),
        (value @ Value::Bool(_), DataType::Bool)
        | (value @ Value::Bytea(_), DataType::Bytea)
        | (value @ Value::Uuid(_), DataType::Uuid)
        | (value @ Value::Json(_), DataType::Json)
        | (value @ Value::Jsonb(_), DataType::Jsonb) => value,
        (Value::Json(text), DataType::Jsonb) => parse_value(to, &text, tz)?,
        (Value::Jsonb(text), DataType::Json) => Value::Json(text),
        (value, DataType::Date | DataType::Time | DataType::Timestamp | DataType::TimestampTz | DataType::Interval) => {
            return between_times(value, to, tz);
        }
        (value, _) => return Ok(Outcome::None(value)),
    }))
}

/// Every type can be stored in a text column, as it is printed.
fn to_text(value: Value, to: DataType, tz: &TimeZone, context: Context) -> Result<Value> {
    let text = match value {
        Value::Null => return Ok(Value::Null),
        Value::Text(text) => text,
        Value::Bool(value) => if value { "true" } else { "false" }.to_owned(),
        other => format_value(&other, DataType::Text, tz),
    };
    let too_long = if context == Context::Explicit { TooLong::Cut } else { TooLong::Refuse };
    fit_text(to, text, too_long).map(Value::Text)
}

fn out_of_range(to: DataType) -> Error {
    let message = format!("{} out of range", to.without_modifiers().sql_name());
    Error::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, message)
}

/// All number types convert into each other on assignment: integers by rounding, in range.
fn number_to_number(value: Value, to: DataType) -> Result<Outcome> {
    let converted = match value {
        Value::Int2(value) => int_to_number(i64::from(value), to)?,
        Value::Int4(value) => int_to_number(i64::from(value), to)?,
        Value::Int8(value) => int_to_number(value, to)?,
        Value::Float4(value) => match to {
            DataType::Float4 => Value::Float4(value),
            DataType::Numeric(modifier) => constrained(Decimal::from_f32(value)?, modifier)?,
            _ => float_to_number(f64::from(value), to)?,
        },
        Value::Float8(value) => float_to_number(value, to)?,
        Value::Numeric(value) => match to {
            DataType::Numeric(modifier) => constrained(value, modifier)?,
            DataType::Float4 => Value::Float4(value.to_f32()),
            DataType::Float8 => Value::Float8(value.to_f64()),
            _ => int_to_number(value.to_i64().map_err(|_| out_of_range(to))?, to)?,
        },
        other => return Ok(Outcome::None(other)),
    };
    Ok(Outcome::Done(converted))
}

fn constrained(value: Decimal, modifier: Option<(u8, u8)>) -> Result<Value> {
    Ok(Value::Numeric(match modifier {
        Some((precision, scale)) => value.constrain(precision, scale)?,
        None => value,
    }))
}

fn int_to_number(value: i64, to: DataType) -> Result<Value> {
    let range = |_| out_of_range(to);
    Ok(match to {
        DataType::Int2 => Value::Int2(value.try_into().map_err(range)?),
        DataType::Int4 => Value::Int4(value.try_into().map_err(range)?),
        DataType::Int8 => Value::Int8(value),
        DataType::Float4 => Value::Float4(value as f32),
        DataType::Float8 => Value::Float8(value as f64),
        DataType::Numeric(modifier) => constrained(Decimal::from(value), modifier)?,
        _ => return Err(Error::internal(format!("{} is no number type", to.sql_name()))),
    })
}

fn float_to_number(value: f64, to: DataType) -> Result<Value> {
    match to {
        DataType::Float8 => Ok(Value::Float8(value)),
        DataType::Float4 => {
            let narrow = value as f32;
            let lost =
                |what: &str| Error::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, format!("value out of range: {what}"));
            if narrow.is_infinite() && value.is_finite() {
                return Err(lost("overflow"));
            }
            if narrow == 0.0 && value != 0.0 {
                return Err(lost("underflow"));
            }
            Ok(Value::Float4(narrow))
        }
        DataType::Numeric(modifier) => constrained(Decimal::from_f64(value)?, modifier),
        _ => {
            // Halves to the even neighbour, as the C library's rint(). 2^63 is a double, and the first too large.
            let rounded = value.round_ties_even();
            if !(-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&rounded) {
                return Err(out_of_range(to));
            }
            int_to_number(rounded as i64, to)
        }
    }
}

fn jsonb_mismatch(kind: Scalar<'_>, to: DataType) -> Error {
    let kind = match kind {
        Scalar::Null => "null",
        Scalar::Bool(_) => "boolean",
        Scalar::Number(_) => "numeric",
        Scalar::String => "string",
        Scalar::Array => "array",
        Scalar::Object => "object",
    };
    let message = format!("cannot cast jsonb {kind} to type {}", to.without_modifiers().sql_name());
    Error::new(SqlState::INVALID_PARAMETER_VALUE, message)
}

fn jsonb_bool(text: &str) -> Result<bool> {
    match scalar(text) {
        Scalar::Bool(value) => Ok(value),
        other => Err(jsonb_mismatch(other, DataType::Bool)),
    }
}

fn jsonb_number(text: &str, to: DataType) -> Result<Value> {
    let Scalar::Number(digits) = scalar(text) else { return Err(jsonb_mismatch(scalar(text), to)) };
    match number_to_number(Value::Numeric(Decimal::parse(digits)?), to)? {
        Outcome::Done(value) => Ok(value),
        Outcome::None(_) => Err(Error::internal("a number is no number")),
    }
}

/// Dates, times, timestamps and intervals.
fn between_times(value: Value, to: DataType, tz: &TimeZone) -> Result<Outcome> {
    use DataType as T;
    Ok(Outcome::Done(match (value, to) {
        (value @ Value::Date(_), T::Date)
        | (value @ Value::Time(_), T::Time)
        | (value @ Value::Timestamp(_), T::Timestamp)
        | (value @ Value::TimestampTz(_), T::TimestampTz)
        | (value @ Value::Interval(_), T::Interval) => value,
        (Value::Date(days), T::Timestamp) => Value::Timestamp(date_to_timestamp(days)?),
        (Value::Date(days), T::TimestampTz) => Value::TimestampTz(tz.to_utc(date_to_timestamp(days)?)?),
        (Value::Timestamp(us), T::TimestampTz) => Value::TimestampTz(tz.to_utc(us)?),
        (Value::TimestampTz(us), T::Timestamp) => Value::Timestamp(tz.to_local(us)?),
        (Value::Timestamp(us), T::Date) => Value::Date(timestamp_to_date(us)?),
        (Value::TimestampTz(us), T::Date) => Value::Date(timestamp_to_date(tz.to_local(us)?)?),
        (Value::Timestamp(us), T::Time) => timestamp_to_time(us),
        (Value::TimestampTz(us), T::Time) => timestamp_to_time(tz.to_local(us)?),
        (Value::Time(us), T::Interval) => Value::Interval(Interval { months: 0, days: 0, micros: us }),
        (Value::Interval(interval), T::Time) => Value::Time(interval.micros.rem_euclid(DAY_US)),
        (value, _) => return Ok(Outcome::None(value)),
    }))
}

fn date_to_timestamp(days: i32) -> Result<i64> {
    match days {
        DATE_INFINITY => Ok(TIMESTAMP_INFINITY),
        DATE_MINUS_INFINITY => Ok(TIMESTAMP_MINUS_INFINITY),
        days => timestamp_from_parts(i64::from(days), 0)
            .map_err(|_| Error::new(SqlState::DATETIME_FIELD_OVERFLOW, "date out of range for timestamp")),
    }
}

fn timestamp_to_date(us: i64) -> Result<i32> {
    match us {
        TIMESTAMP_INFINITY => Ok(DATE_INFINITY),
        TIMESTAMP_MINUS_INFINITY => Ok(DATE_MINUS_INFINITY),
        us => i32::try_from(us.div_euclid(DAY_US))
            .map_err(|_| Error::new(SqlState::DATETIME_FIELD_OVERFLOW, "date out of range")),
    }
}

/// There is no time of day at infinity.
fn timestamp_to_time(us: i64) -> Value {
    match us {
        TIMESTAMP_INFINITY | TIMESTAMP_MINUS_INFINITY => Value::Null,
        us => Value::Time(us.rem_euclid(DAY_US)),
    }
}
