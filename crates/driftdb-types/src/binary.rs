//! PostgreSQL's binary formats: what the `…send` and `…recv` functions of its types write and read.

use crate::civil::{
    DATE_INFINITY, DATE_MINUS_INFINITY, DAY_US, TIMESTAMP_INFINITY, TIMESTAMP_MINUS_INFINITY, date_in_range,
    time_in_range, timestamp_in_range,
};
use crate::decimal::power_of_ten;
use crate::text::{TooLong, check_encoding, fit_text};
use crate::{DataType, Decimal, Error, Interval, Result, SqlState, TimeZone, Value, format_value, parse_value};

/// Days from 1970-01-01 to 2000-01-01, where PostgreSQL counts from.
const EPOCH_DAYS: i32 = 10_957;
/// The same in microseconds.
const EPOCH_US: i64 = EPOCH_DAYS as i64 * DAY_US;
/// The version of jsonb's format.
const JSONB_VERSION: u8 = 1;
/// A numeric's sign words.
const NUMERIC_POSITIVE: u16 = 0x0000;
const NUMERIC_NEGATIVE: u16 = 0x4000;
/// NaN and the infinities.
const NUMERIC_SPECIAL: [u16; 3] = [0xC000, 0xD000, 0xF000];

impl Value {
    /// The value in the binary format of `ty`, which is its type. NULL has no bytes, but a length of -1 that the protocol
    /// writes: an internal error here.
    pub fn to_binary(&self, ty: DataType) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        self.write_binary(&mut out, ty)?;
        Ok(out)
    }

    /// As [`Value::to_binary`], onto the end of `out`.
    pub fn write_binary(&self, out: &mut Vec<u8>, ty: DataType) -> Result<()> {
        match self {
            Value::Null => return Err(Error::internal("NULL has no binary form")),
            Value::Bool(value) => out.push(u8::from(*value)),
            Value::Int2(value) => out.extend_from_slice(&value.to_be_bytes()),
            Value::Int4(value) => out.extend_from_slice(&value.to_be_bytes()),
            Value::Int8(value) | Value::Time(value) => out.extend_from_slice(&value.to_be_bytes()),
            Value::Float4(value) => out.extend_from_slice(&value.to_be_bytes()),
            Value::Float8(value) => out.extend_from_slice(&value.to_be_bytes()),
            Value::Numeric(value) => write_numeric(out, *value),
            Value::Text(text) if matches!(ty, DataType::Char(_)) => {
                out.extend_from_slice(format_value(&Value::Text(text.clone()), ty, &TimeZone::utc()).as_bytes());
            }
            Value::Text(text) | Value::Json(text) => out.extend_from_slice(text.as_bytes()),
            Value::Jsonb(text) => {
                out.push(JSONB_VERSION);
                out.extend_from_slice(text.as_bytes());
            }
            Value::Bytea(bytes) => out.extend_from_slice(bytes),
            Value::Date(days) => {
                let days = match *days {
                    DATE_INFINITY | DATE_MINUS_INFINITY => *days,
                    days => days.saturating_sub(EPOCH_DAYS),
                };
                out.extend_from_slice(&days.to_be_bytes());
            }
            Value::Timestamp(us) | Value::TimestampTz(us) => {
                let us = match *us {
                    TIMESTAMP_INFINITY | TIMESTAMP_MINUS_INFINITY => *us,
                    us => us.saturating_sub(EPOCH_US),
                };
                out.extend_from_slice(&us.to_be_bytes());
            }
            Value::Interval(interval) => {
                out.extend_from_slice(&interval.micros.to_be_bytes());
                out.extend_from_slice(&interval.days.to_be_bytes());
                out.extend_from_slice(&interval.months.to_be_bytes());
            }
            Value::Uuid(uuid) => out.extend_from_slice(uuid),
        }
        Ok(())
    }

    /// Reads a value in the binary format of `ty`, applying its modifiers as [`parse_value`] does. 22P03 if the bytes have
    /// not that format, 22021 for text that is not UTF-8, 22003 or 22008 for values that DriftDB cannot hold.
    pub fn from_binary(ty: DataType, bytes: &[u8]) -> Result<Value> {
        let malformed = || malformed(ty);
        Ok(match ty {
            DataType::Bool => match bytes {
                [byte] => Value::Bool(*byte != 0),
                _ => return Err(malformed()),
            },
            DataType::Int2 => Value::Int2(i16::from_be_bytes(exact(ty, bytes)?)),
            DataType::Int4 => Value::Int4(i32::from_be_bytes(exact(ty, bytes)?)),
            DataType::Int8 => Value::Int8(i64::from_be_bytes(exact(ty, bytes)?)),
            DataType::Float4 => Value::Float4(f32::from_be_bytes(exact(ty, bytes)?)),
            DataType::Float8 => Value::Float8(f64::from_be_bytes(exact(ty, bytes)?)),
            DataType::Numeric(modifier) => {
                let text = read_numeric(bytes)?;
                Value::Numeric(match modifier {
                    Some((precision, scale)) => Decimal::parse_constrained(&text, precision, scale)?,
                    None => Decimal::parse(&text)?,
                })
            }
            DataType::Text | DataType::Varchar(_) | DataType::Char(_) => {
                Value::Text(fit_text(ty, utf8(bytes)?.to_owned(), TooLong::Refuse)?)
            }
            DataType::Json => parse_value(ty, utf8(bytes)?, &TimeZone::utc())?,
            DataType::Jsonb => match bytes.split_first() {
                Some((&JSONB_VERSION, text)) => parse_value(ty, utf8(text)?, &TimeZone::utc())?,
                _ => return Err(malformed()),
            },
            DataType::Bytea => Value::Bytea(bytes.to_vec()),
            DataType::Date => Value::Date(read_date(i32::from_be_bytes(exact(ty, bytes)?))?),
            DataType::Time => match i64::from_be_bytes(exact(ty, bytes)?) {
                us if time_in_range(us) => Value::Time(us),
                _ => return Err(out_of_range("time")),
            },
            DataType::Timestamp => Value::Timestamp(read_timestamp(i64::from_be_bytes(exact(ty, bytes)?))?),
            DataType::TimestampTz => Value::TimestampTz(read_timestamp(i64::from_be_bytes(exact(ty, bytes)?))?),
            DataType::Interval => {
                let (micros, rest) = bytes.split_first_chunk().ok_or_else(malformed)?;
                let (days, months) = rest.split_first_chunk().ok_or_else(malformed)?;
                Value::Interval(Interval {
                    micros: i64::from_be_bytes(*micros),
                    days: i32::from_be_bytes(*days),
                    months: i32::from_be_bytes(exact(ty, months)?),
                })
            }
            DataType::Uuid => Value::Uuid(exact(ty, bytes)?),
        })
    }
}

fn malformed(ty: DataType) -> Error {
    let message = format!("incorrect binary data format for type {}", ty.without_modifiers().sql_name());
    Error::new(SqlState::INVALID_BINARY_REPRESENTATION, message)
}

fn exact<const N: usize>(ty: DataType, bytes: &[u8]) -> Result<[u8; N]> {
    bytes.try_into().map_err(|_| malformed(ty))
}

fn utf8(bytes: &[u8]) -> Result<&str> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let byte = bytes.get(error.valid_up_to()).copied().unwrap_or_default();
        Error::new(
            SqlState::CHARACTER_NOT_IN_REPERTOIRE,
            format!("invalid byte sequence for encoding \"UTF8\": 0x{byte:02x}"),
        )
    })?;
    check_encoding(text)?;
    Ok(text)
}

fn out_of_range(what: &str) -> Error {
    Error::new(SqlState::DATETIME_FIELD_OVERFLOW, format!("{what} out of range"))
}

fn read_date(days: i32) -> Result<i32> {
    match days {
        DATE_INFINITY | DATE_MINUS_INFINITY => Ok(days),
        days => days
            .checked_add(EPOCH_DAYS)
            .filter(|days| date_in_range(i64::from(*days)))
            .ok_or_else(|| out_of_range("date")),
    }
}

fn read_timestamp(us: i64) -> Result<i64> {
    match us {
        TIMESTAMP_INFINITY | TIMESTAMP_MINUS_INFINITY => Ok(us),
        us => us.checked_add(EPOCH_US).filter(|us| timestamp_in_range(*us)).ok_or_else(|| out_of_range("timestamp")),
    }
}

/// Number of groups, weight of the first, sign, display scale; then groups of four digits, none of zeros at either end.
fn write_numeric(out: &mut Vec<u8>, value: Decimal) {
    let scale = u32::from(value.scale());
    let magnitude = value.unscaled().unsigned_abs();
    let one = power_of_ten(scale).unwrap_or(1);
    let (mut whole, mut fraction) = (magnitude / one, magnitude % one);
    // At most ten groups on each side of the point.
    let mut groups: Vec<u16> = Vec::with_capacity(20);
    while whole > 0 {
        groups.push((whole % 10_000) as u16);
        whole /= 10_000;
    }
    groups.reverse();
    let mut weight = groups.len() as i16 - 1;
    let mut left = scale;
    while left > 0 && fraction > 0 {
        let taken = left.min(4);
        let unit = power_of_ten(left - taken).unwrap_or(1);
        let group = (fraction / unit) as u16 * 10u16.pow(4 - taken);
        fraction %= unit;
        left -= taken;
        if group == 0 && groups.is_empty() {
            weight -= 1;
        } else {
            groups.push(group);
        }
    }
    while groups.last() == Some(&0) {
        groups.pop();
    }
    if groups.is_empty() {
        weight = 0;
    }
    let sign = if value.is_negative() { NUMERIC_NEGATIVE } else { NUMERIC_POSITIVE };
    out.extend_from_slice(&(groups.len() as i16).to_be_bytes());
    out.extend_from_slice(&weight.to_be_bytes());
    out.extend_from_slice(&sign.to_be_bytes());
    out.extend_from_slice(&u16::from(value.scale()).to_be_bytes());
    for group in groups {
        out.extend_from_slice(&group.to_be_bytes());
    }
}

/// The number in text form: whether DriftDB can hold it is for the reader of that to say.
fn read_numeric(bytes: &[u8]) -> Result<String> {
    let malformed = || malformed(DataType::Numeric(None));
    let (header, mut rest) = bytes.split_first_chunk::<8>().ok_or_else(malformed)?;
    let [count_hi, count_lo, weight_hi, weight_lo, sign_hi, sign_lo, scale_hi, scale_lo] = *header;
    let count = usize::from(u16::from_be_bytes([count_hi, count_lo]));
    let weight = i32::from(i16::from_be_bytes([weight_hi, weight_lo]));
    let sign = u16::from_be_bytes([sign_hi, sign_lo]);
    let scale = usize::from(u16::from_be_bytes([scale_hi, scale_lo]));
    if NUMERIC_SPECIAL.contains(&sign) {
        return Err(Error::unsupported("NaN or Infinity as numeric"));
    }
    if rest.len() != count * 2 || !matches!(sign, NUMERIC_POSITIVE | NUMERIC_NEGATIVE) || scale > 0x3FFF {
        return Err(malformed());
    }
    let mut groups = Vec::with_capacity(count);
    while let Some((group, after)) = rest.split_first_chunk() {
        let group = u16::from_be_bytes(*group);
        if group > 9999 {
            return Err(malformed());
        }
        groups.push(group);
        rest = after;
    }
    let group_at = |at: i32| usize::try_from(at).ok().and_then(|at| groups.get(at)).copied().unwrap_or(0);
    let mut text = String::from(if sign == NUMERIC_NEGATIVE { "-" } else { "" });
    if weight < 0 {
        text.push('0');
    }
    let mut fraction = String::new();
    for at in 0..=weight {
        text.push_str(&format!("{:04}", group_at(at)));
    }
    for at in (weight + 1).. {
        if fraction.len() >= scale {
            break;
        }
        fraction.push_str(&format!("{:04}", group_at(at)));
    }
    // Digits beyond the display scale are hidden, and dropped as PostgreSQL does.
    fraction.truncate(scale);
    if !fraction.is_empty() {
        text.push('.');
        text.push_str(&fraction);
    }
    Ok(text)
}
