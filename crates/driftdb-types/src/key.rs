//! Keys: values as byte strings whose order is the values' order.
//!
//! The encoding is *memcomparable*: comparing two keys of the same types byte by byte gives the order of the value lists,
//! so the store needs to know nothing of types. The idea is the tuple encoding of FoundationDB (`design/tuple.md`), the
//! numbers' that of SQLite 4 ("Varint and key encoding"). One value is
//!
//! ```text
//! NULL                     FF                            the last of every type, as PostgreSQL sorts it
//! integers, dates, times   80+n  n bytes of v            v > 0: big-endian, as few bytes as it takes
//!                          80                            v = 0
//!                          80-n  n bytes of !|v|         v < 0
//! boolean                  01 | 02                       false | true
//! real, double             01  4 or 8 bytes              sign bit flipped, negative ones complemented; -0 is 0, NaN the
//!                                                        greatest, as in PostgreSQL
//! numeric                  C0+e  pairs+1 ... 00          v > 0: v = 0.d1d2.. * 10^e, pairs of digits, no trailing zeros
//!                          80                            v = 0
//!                          complement of |v|             v < 0
//! text, bytea, json        01  bytes, 00 as 00 FF  00 00
//! interval                 01  16 bytes                  its length with 30-day months and 24-hour days, sign flipped
//! uuid                     01  16 bytes
//! ```
//!
//! All integer types share one form, as do `date`, `time` and the timestamps, so a wider column keeps its keys. `numeric`
//! and `interval` compare by value (`1.0` = `1.00`, `1 mon` = `30 days`), so equal values have one key and decoding gives
//! an equal value, not always the one that was encoded. A key is self-delimiting: keys of more values begin with
//! the key of their first ones.

use std::ops::Bound;

use crate::civil::time_in_range;
use crate::decimal::{digit_count, power_of_ten};
use crate::{CodecError, DataType, Decimal, Interval, Value};

/// NULL.
const NULL: u8 = 0xFF;
/// Introduces a value whose bytes have no first byte to tell them from NULL.
const PLAIN: u8 = 0x01;
const FALSE: u8 = 0x01;
const TRUE: u8 = 0x02;
/// The integer 0; other integers' tags are this plus or minus their length.
const INT_ZERO: u8 = 0x80;
/// The decimal 0.
const NUMERIC_ZERO: u8 = 0x80;
/// A positive decimal's tag is this plus its exponent, which is -37 to 38.
const NUMERIC_EXPONENT_ZERO: u8 = 0xC0;
/// Ends the digits of a positive decimal.
const NUMERIC_END: u8 = 0x00;
/// Stands for, and ends, byte strings together with a second byte.
const ESCAPE: u8 = 0x00;
const ESCAPED_ZERO: u8 = 0xFF;
const STRING_END: u8 = 0x00;

/// A range of keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyRange {
    /// Where it begins.
    pub start: Bound<Vec<u8>>,
    /// Where it ends.
    pub end: Bound<Vec<u8>>,
}

impl KeyRange {
    /// Every key.
    pub fn all() -> KeyRange {
        KeyRange { start: Bound::Unbounded, end: Bound::Unbounded }
    }

    /// The keys that begin with `prefix`.
    pub fn prefix(prefix: &[u8]) -> KeyRange {
        let end = next_key(prefix).map_or(Bound::Unbounded, Bound::Excluded);
        KeyRange { start: Bound::Included(prefix.to_vec()), end }
    }

    /// The one key `key`.
    pub fn point(key: &[u8]) -> KeyRange {
        KeyRange { start: Bound::Included(key.to_vec()), end: Bound::Included(key.to_vec()) }
    }

    /// Whether `key` is in the range.
    pub fn contains(&self, key: &[u8]) -> bool {
        let started = match &self.start {
            Bound::Unbounded => true,
            Bound::Included(start) => key >= start.as_slice(),
            Bound::Excluded(start) => key > start.as_slice(),
        };
        started
            && match &self.end {
                Bound::Unbounded => true,
                Bound::Included(end) => key <= end.as_slice(),
                Bound::Excluded(end) => key < end.as_slice(),
            }
    }

    /// Whether it is plain from its ends that no key is in the range; ordered containers refuse to be asked for some of
    /// these.
    pub fn is_empty(&self) -> bool {
        match (&self.start, &self.end) {
            (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
            (Bound::Included(start), Bound::Included(end)) => start > end,
            (Bound::Included(start) | Bound::Excluded(start), Bound::Included(end) | Bound::Excluded(end)) => {
                start >= end
            }
        }
    }

    /// The ends, borrowed, as ordered containers take them.
    pub fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        (self.start.as_ref().map(Vec::as_slice), self.end.as_ref().map(Vec::as_slice))
    }
}

/// The smallest byte string greater than every one that begins with `prefix`; `None` if there is none (all bytes are FF).
pub fn next_key(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut next = prefix.get(..=last)?.to_vec();
    let end = next.last_mut()?;
    *end += 1;
    Some(next)
}

/// The key of a list of values.
pub fn encode_key(values: &[Value]) -> Vec<u8> {
    let capacity = values.iter().map(encoded_len_max).sum();
    let mut out = Vec::with_capacity(capacity);
    for value in values {
        encode_key_value(&mut out, value);
    }
    out
}

/// An upper bound of a value's encoded length (but for zero bytes in it, which are rare).
fn encoded_len_max(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) => 1,
        Value::Text(text) | Value::Json(text) | Value::Jsonb(text) => text.len() + 3,
        Value::Bytea(bytes) => bytes.len() + 3,
        Value::Numeric(_) => 21,
        Value::Interval(_) | Value::Uuid(_) => 17,
        _ => 9,
    }
}

/// Appends one value to a key.
pub fn encode_key_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => out.push(NULL),
        Value::Bool(value) => out.push(if *value { TRUE } else { FALSE }),
        Value::Int2(value) => encode_int(out, i64::from(*value)),
        Value::Int4(value) | Value::Date(value) => encode_int(out, i64::from(*value)),
        Value::Int8(value) | Value::Time(value) | Value::Timestamp(value) | Value::TimestampTz(value) => {
            encode_int(out, *value);
        }
        Value::Float4(value) => {
            out.push(PLAIN);
            out.extend_from_slice(&ordered_f32(*value).to_be_bytes());
        }
        Value::Float8(value) => {
            out.push(PLAIN);
            out.extend_from_slice(&ordered_f64(*value).to_be_bytes());
        }
        Value::Numeric(value) => encode_numeric(out, *value),
        Value::Text(text) | Value::Json(text) | Value::Jsonb(text) => encode_bytes(out, text.as_bytes()),
        Value::Bytea(bytes) => encode_bytes(out, bytes),
        Value::Interval(interval) => {
            out.push(PLAIN);
            out.extend_from_slice(&(interval.estimated_us() ^ i128::MIN).to_be_bytes());
        }
        Value::Uuid(uuid) => {
            out.push(PLAIN);
            out.extend_from_slice(uuid);
        }
    }
}

fn encode_int(out: &mut Vec<u8>, value: i64) {
    let magnitude = value.unsigned_abs();
    // At most 8, so neither tag nor offset leaves its range.
    let length = (u64::BITS - magnitude.leading_zeros()).div_ceil(8);
    let (tag, bytes) = if value < 0 {
        (INT_ZERO - length as u8, (!magnitude).to_be_bytes())
    } else {
        (INT_ZERO + length as u8, magnitude.to_be_bytes())
    };
    out.push(tag);
    out.extend_from_slice(bytes.get(8 - length as usize..).unwrap_or_default());
}

fn ordered_f32(value: f32) -> u32 {
    let bits = if value.is_nan() { f32::NAN.to_bits() & !(1 << 31) } else { (value + 0.0).to_bits() };
    if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }
}

fn ordered_f64(value: f64) -> u64 {
    let bits = if value.is_nan() { f64::NAN.to_bits() & !(1 << 63) } else { (value + 0.0).to_bits() };
    if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
}

fn encode_numeric(out: &mut Vec<u8>, value: Decimal) {
    let mut magnitude = value.unscaled().unsigned_abs();
    if magnitude == 0 {
        out.push(NUMERIC_ZERO);
        return;
    }
    let digits = digit_count(magnitude);
    let exponent = digits as i8 - value.scale() as i8;
    if digits % 2 == 1 {
        // Pairs are counted from the first digit. 37 digits become 38 here: it fits.
        magnitude *= 10;
    }
    let mut pairs = [0u8; 19];
    let mut used = 0;
    // From the last pair to the first; pairs of zeros at the end are left out.
    while magnitude > 0 {
        let pair = (magnitude % 100) as u8;
        magnitude /= 100;
        if (pair > 0 || used > 0)
            && let Some(slot) = pairs.get_mut(used)
        {
            *slot = pair + 1;
            used += 1;
        }
    }
    let mask = if value.is_negative() { u8::MAX } else { 0 };
    out.push(NUMERIC_EXPONENT_ZERO.wrapping_add_signed(exponent) ^ mask);
    out.extend(pairs.iter().take(used).rev().map(|pair| pair ^ mask));
    out.push(NUMERIC_END ^ mask);
}

fn encode_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(PLAIN);
    if bytes.contains(&ESCAPE) {
        for (part, run) in bytes.split(|byte| *byte == ESCAPE).enumerate() {
            if part > 0 {
                out.extend_from_slice(&[ESCAPE, ESCAPED_ZERO]);
            }
            out.extend_from_slice(run);
        }
    } else {
        out.extend_from_slice(bytes);
    }
    out.extend_from_slice(&[ESCAPE, STRING_END]);
}

/// The values of a key that holds exactly one of each of `types`.
pub fn decode_key(bytes: &[u8], types: &[DataType]) -> Result<Vec<Value>, CodecError> {
    let (values, rest) = decode_key_prefix(bytes, types)?;
    if rest.is_empty() { Ok(values) } else { Err(CodecError::Malformed { what: "key" }) }
}

/// The values of `types` at the start of a key, and the bytes after them.
pub fn decode_key_prefix<'a>(bytes: &'a [u8], types: &[DataType]) -> Result<(Vec<Value>, &'a [u8]), CodecError> {
    let mut reader = Reader { rest: bytes, len: bytes.len() };
    let mut values = Vec::with_capacity(types.len());
    for ty in types {
        values.push(reader.value(*ty)?);
    }
    Ok((values, reader.rest))
}

/// The part of a key not read yet.
struct Reader<'a> {
    rest: &'a [u8],
    /// Length of the whole key, for errors.
    len: usize,
}

const MALFORMED: CodecError = CodecError::Malformed { what: "key" };

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], CodecError> {
        let (taken, rest) =
            self.rest.split_at_checked(count).ok_or(CodecError::Truncated { what: "key", len: self.len })?;
        self.rest = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, CodecError> {
        self.take(1)?.first().copied().ok_or(MALFORMED)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], CodecError> {
        self.take(N)?.try_into().map_err(|_| MALFORMED)
    }

    fn plain<const N: usize>(&mut self, tag: u8) -> Result<[u8; N], CodecError> {
        if tag == PLAIN { self.array() } else { Err(MALFORMED) }
    }

    fn value(&mut self, ty: DataType) -> Result<Value, CodecError> {
        let tag = self.byte()?;
        if tag == NULL {
            return Ok(Value::Null);
        }
        Ok(match ty {
            DataType::Bool => match tag {
                FALSE => Value::Bool(false),
                TRUE => Value::Bool(true),
                _ => return Err(MALFORMED),
            },
            DataType::Int2 => Value::Int2(self.narrow_int(tag)?),
            DataType::Int4 => Value::Int4(self.narrow_int(tag)?),
            DataType::Int8 => Value::Int8(self.int(tag)?),
            DataType::Date => Value::Date(self.narrow_int(tag)?),
            DataType::Time => match self.int(tag)? {
                us if time_in_range(us) => Value::Time(us),
                _ => return Err(MALFORMED),
            },
            DataType::Timestamp => Value::Timestamp(self.int(tag)?),
            DataType::TimestampTz => Value::TimestampTz(self.int(tag)?),
            DataType::Float4 => {
                let bits = u32::from_be_bytes(self.plain(tag)?);
                Value::Float4(f32::from_bits(if bits >> 31 == 1 { bits & !(1 << 31) } else { !bits }))
            }
            DataType::Float8 => {
                let bits = u64::from_be_bytes(self.plain(tag)?);
                Value::Float8(f64::from_bits(if bits >> 63 == 1 { bits & !(1 << 63) } else { !bits }))
            }
            DataType::Numeric(modifier) => {
                let decimal = self.numeric(tag)?;
                let shown = modifier
                    .and_then(|(_, scale)| if scale >= decimal.scale() { decimal.rescale(scale).ok() } else { None });
                Value::Numeric(shown.unwrap_or(decimal))
            }
            DataType::Text | DataType::Varchar(_) | DataType::Char(_) => Value::Text(self.string(tag)?),
            DataType::Json => Value::Json(self.string(tag)?),
            DataType::Jsonb => Value::Jsonb(self.string(tag)?),
            DataType::Bytea => Value::Bytea(self.bytes(tag)?),
            DataType::Interval => {
                let estimate = i128::from_be_bytes(self.plain(tag)?) ^ i128::MIN;
                Value::Interval(Interval::from_estimated_us(estimate).ok_or(MALFORMED)?)
            }
            DataType::Uuid => Value::Uuid(self.plain(tag)?),
        })
    }

    fn narrow_int<T: TryFrom<i64>>(&mut self, tag: u8) -> Result<T, CodecError> {
        T::try_from(self.int(tag)?).map_err(|_| MALFORMED)
    }

    fn int(&mut self, tag: u8) -> Result<i64, CodecError> {
        let length = usize::from(tag.abs_diff(INT_ZERO));
        if length > 8 {
            return Err(MALFORMED);
        }
        let bytes = self.take(length)?;
        let folded = bytes.iter().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
        if tag >= INT_ZERO {
            return i64::try_from(folded).map_err(|_| MALFORMED);
        }
        let mask = u64::MAX >> (64 - 8 * length as u32);
        let magnitude = !folded & mask;
        0i64.checked_sub_unsigned(magnitude).ok_or(MALFORMED)
    }

    fn numeric(&mut self, tag: u8) -> Result<Decimal, CodecError> {
        if tag == NUMERIC_ZERO {
            return Ok(Decimal::ZERO);
        }
        let negative = tag < NUMERIC_ZERO;
        let mask = if negative { u8::MAX } else { 0 };
        let exponent = i32::from(tag ^ mask) - i32::from(NUMERIC_EXPONENT_ZERO);
        let (mut magnitude, mut digits) = (0u128, 0i32);
        loop {
            let byte = self.byte()? ^ mask;
            if byte == NUMERIC_END {
                break;
            }
            let pair = byte - 1;
            if pair > 99 || digits >= 38 {
                return Err(MALFORMED);
            }
            magnitude = magnitude * 100 + u128::from(pair);
            digits += 2;
        }
        if magnitude > 0 && magnitude % 10 == 0 {
            magnitude /= 10;
            digits -= 1;
        }
        let mut scale = digits - exponent;
        if scale < 0 {
            let factor = power_of_ten(scale.unsigned_abs()).ok_or(MALFORMED)?;
            magnitude = magnitude.checked_mul(factor).ok_or(MALFORMED)?;
            scale = 0;
        }
        let unscaled = i128::try_from(magnitude).map_err(|_| MALFORMED)?;
        let scale = u8::try_from(scale).map_err(|_| MALFORMED)?;
        Decimal::new(if negative { -unscaled } else { unscaled }, scale).map_err(|_| MALFORMED)
    }

    fn string(&mut self, tag: u8) -> Result<String, CodecError> {
        String::from_utf8(self.bytes(tag)?).map_err(|_| CodecError::Malformed { what: "text in key" })
    }

    fn bytes(&mut self, tag: u8) -> Result<Vec<u8>, CodecError> {
        if tag != PLAIN {
            return Err(MALFORMED);
        }
        let mut out = Vec::new();
        loop {
            let run = self.rest.iter().position(|byte| *byte == ESCAPE).unwrap_or(self.rest.len());
            out.extend_from_slice(self.take(run)?);
            match self.array()? {
                [ESCAPE, STRING_END] => return Ok(out),
                [ESCAPE, ESCAPED_ZERO] => out.push(0),
                _ => return Err(MALFORMED),
            }
        }
    }
}

#[cfg(test)]
mod tests;
