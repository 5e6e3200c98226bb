//! Values as text, read and printed as PostgreSQL does (with `DateStyle` ISO, `IntervalStyle` postgres and `bytea_output`
//! hex). Every type's input accepts what PostgreSQL's input function accepts in practice, and fails with its message and
//! SQLSTATE.

mod bytes;
mod datetime;
mod interval;
mod json;
mod number;

use std::fmt::Write;

pub(crate) use json::{Scalar, push_escaped as push_json_string, scalar};

use crate::civil::{
    DATE_INFINITY, DATE_MINUS_INFINITY, TIMESTAMP_INFINITY, TIMESTAMP_MINUS_INFINITY, push_date, push_offset, push_time,
};
use crate::{DataType, Decimal, Error, Result, SqlState, TimeZone, Value};

/// Reads a value of type `ty`, applying its modifiers: a text too long for `varchar(n)` or `char(n)` is 22001 unless the
/// surplus is blanks, a number is rounded to its `numeric(p,s)`. `tz` is the zone of timestamps that name none. As there
/// is no clock in it, `now`, `today`, `tomorrow` and `yesterday` are refused; see [`parse_value_at`].
pub fn parse_value(ty: DataType, text: &str, tz: &TimeZone) -> Result<Value> {
    parse(ty, text, tz, None)
}

/// Reads a value as [`parse_value`] does, where it is now `now_us` (microseconds since 1970 UTC).
pub fn parse_value_at(ty: DataType, text: &str, tz: &TimeZone, now_us: i64) -> Result<Value> {
    parse(ty, text, tz, Some(now_us))
}

fn parse(ty: DataType, text: &str, tz: &TimeZone, now_us: Option<i64>) -> Result<Value> {
    Ok(match ty {
        DataType::Bool => Value::Bool(parse_bool(text)?),
        DataType::Int2 => Value::Int2(number::parse_int(ty, text)?),
        DataType::Int4 => Value::Int4(number::parse_int(ty, text)?),
        DataType::Int8 => Value::Int8(number::parse_int(ty, text)?),
        DataType::Float4 => number::parse_float4(text)?,
        DataType::Float8 => number::parse_float8(text)?,
        DataType::Numeric(None) => Value::Numeric(Decimal::parse(text)?),
        DataType::Numeric(Some((precision, scale))) => {
            Value::Numeric(Decimal::parse_constrained(text, precision, scale)?)
        }
        DataType::Text | DataType::Varchar(_) | DataType::Char(_) => {
            check_encoding(text)?;
            Value::Text(fit_text(ty, text.to_owned(), TooLong::Refuse)?)
        }
        DataType::Bytea => Value::Bytea(bytes::parse_bytea(text)?),
        DataType::Date => Value::Date(datetime::parse_date(text, tz, now_us)?),
        DataType::Time => Value::Time(datetime::parse_time(text, tz, now_us)?),
        DataType::Timestamp => Value::Timestamp(datetime::parse_timestamp(text, tz, now_us)?),
        DataType::TimestampTz => Value::TimestampTz(datetime::parse_timestamptz(text, tz, now_us)?),
        DataType::Interval => Value::Interval(interval::parse_interval(text)?),
        DataType::Uuid => Value::Uuid(bytes::parse_uuid(text)?),
        DataType::Json => {
            json::validate(text)?;
            Value::Json(text.to_owned())
        }
        DataType::Jsonb => Value::Jsonb(json::normalize(text)?),
    })
}

/// "invalid input syntax for type …", of the class for dates and times or for all others.
fn invalid(ty: DataType, text: &str) -> Error {
    let state = match ty {
        DataType::Date | DataType::Time | DataType::Timestamp | DataType::TimestampTz | DataType::Interval => {
            SqlState::INVALID_DATETIME_FORMAT
        }
        _ => SqlState::INVALID_TEXT_REPRESENTATION,
    };
    // PostgreSQL names the type of a `time` here without its "without time zone".
    let name = match ty {
        DataType::Time => "time".to_owned(),
        DataType::Timestamp => "timestamp".to_owned(),
        _ => ty.without_modifiers().sql_name(),
    };
    Error::new(state, format!("invalid input syntax for type {name}: \"{text}\""))
}

/// Any unambiguous beginning of true, false, yes, no, on, off; or 1, 0.
fn parse_bool(text: &str) -> Result<bool> {
    const WORDS: [(&str, usize, bool); 8] = [
        ("true", 1, true),
        ("false", 1, false),
        ("yes", 1, true),
        ("no", 1, false),
        ("on", 2, true),
        ("off", 2, false),
        ("1", 1, true),
        ("0", 1, false),
    ];
    let word = text.trim_ascii();
    WORDS
        .iter()
        .find(|(full, least, _)| {
            word.len() >= *least && full.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word))
        })
        .map(|(_, _, value)| *value)
        .ok_or_else(|| invalid(DataType::Bool, text))
}

/// Text may hold any character but U+0000.
pub(crate) fn check_encoding(text: &str) -> Result<()> {
    if text.contains('\0') {
        let message = "invalid byte sequence for encoding \"UTF8\": 0x00";
        return Err(Error::new(SqlState::CHARACTER_NOT_IN_REPERTOIRE, message));
    }
    Ok(())
}

/// What becomes of characters beyond a length limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TooLong {
    /// 22001, unless they are blanks: input and assignment.
    Refuse,
    /// Cut off: explicit casts.
    Cut,
}

/// The text as a value of the text type `ty` holds it.
pub(crate) fn fit_text(ty: DataType, mut text: String, too_long: TooLong) -> Result<String> {
    let limit = match ty {
        DataType::Varchar(Some(limit)) => limit,
        DataType::Char(limit) => {
            text.truncate(text.trim_end_matches(' ').len());
            limit
        }
        _ => return Ok(text),
    };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    // No text has more characters than bytes.
    if text.len() <= limit {
        return Ok(text);
    }
    let Some((cut, _)) = text.char_indices().nth(limit) else { return Ok(text) };
    let surplus = text.get(cut..).unwrap_or_default();
    if too_long == TooLong::Refuse && !surplus.bytes().all(|byte| byte == b' ') {
        let message = format!("value too long for type {}", ty.sql_name());
        return Err(Error::new(SqlState::STRING_DATA_RIGHT_TRUNCATION, message));
    }
    text.truncate(cut);
    if matches!(ty, DataType::Char(_)) {
        text.truncate(text.trim_end_matches(' ').len());
    }
    Ok(text)
}

/// A value as PostgreSQL prints it: `char(n)` padded with blanks, `timestamptz` in `tz`. NULL, which has no text, is
/// empty.
pub fn format_value(value: &Value, ty: DataType, tz: &TimeZone) -> String {
    let mut out = String::new();
    write_value(&mut out, value, ty, tz);
    out
}

/// As [`format_value`], onto the end of `out`.
pub fn write_value(out: &mut String, value: &Value, ty: DataType, tz: &TimeZone) {
    // Writing to a string cannot fail.
    match value {
        Value::Null => {}
        Value::Bool(value) => out.push(if *value { 't' } else { 'f' }),
        Value::Int2(value) => drop(write!(out, "{value}")),
        Value::Int4(value) => drop(write!(out, "{value}")),
        Value::Int8(value) => drop(write!(out, "{value}")),
        Value::Float4(value) => number::push_float4(out, *value),
        Value::Float8(value) => number::push_float8(out, *value),
        Value::Numeric(value) => drop(write!(out, "{value}")),
        Value::Text(text) => {
            out.push_str(text);
            if let DataType::Char(length) = ty {
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                let blanks = length.saturating_sub(text.chars().count());
                out.extend(std::iter::repeat_n(' ', blanks));
            }
        }
        Value::Json(text) | Value::Jsonb(text) => out.push_str(text),
        Value::Bytea(value) => bytes::push_bytea(out, value),
        Value::Date(days) => match *days {
            DATE_INFINITY => out.push_str("infinity"),
            DATE_MINUS_INFINITY => out.push_str("-infinity"),
            days => {
                if push_date(out, i64::from(days)) {
                    out.push_str(" BC");
                }
            }
        },
        Value::Time(us) => push_time(out, *us),
        Value::Timestamp(us) => push_timestamp(out, *us, None),
        Value::TimestampTz(us) => push_timestamp(out, *us, Some(tz)),
        Value::Interval(value) => interval::push_interval(out, *value),
        Value::Uuid(value) => bytes::push_uuid(out, value),
    }
}

fn push_timestamp(out: &mut String, us: i64, tz: Option<&TimeZone>) {
    match us {
        TIMESTAMP_INFINITY => return out.push_str("infinity"),
        TIMESTAMP_MINUS_INFINITY => return out.push_str("-infinity"),
        _ => {}
    }
    let offset = tz.map(|tz| tz.offset_at(us));
    // In 128 bits, because the last timestamps are beyond 64 in zones east of UTC.
    let local = i128::from(us) + i128::from(offset.unwrap_or(0)) * 1_000_000;
    let day_us = i128::from(crate::civil::DAY_US);
    let before_christ = push_date(out, local.div_euclid(day_us) as i64);
    out.push(' ');
    push_time(out, local.rem_euclid(day_us) as i64);
    if let Some(offset) = offset {
        push_offset(out, offset);
    }
    if before_christ {
        out.push_str(" BC");
    }
}
