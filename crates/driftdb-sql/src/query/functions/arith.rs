//! Operators on numbers, dates and times, bits and strings.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, Datum, PrimitiveArray};
use datafusion::arrow::compute::kernels::numeric;
use datafusion::arrow::datatypes::{DataType as ArrowType, Float32Type, Float64Type};
use datafusion::arrow::error::ArrowError;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::ColumnarValue;
use driftdb_types::{DataType as T, Error, Interval, Result, SqlState, Value};

use super::interval::{interval_overflow, scale};
use super::time::{add_interval, add_interval_tz, interval_between, is_infinite};
use super::{Builtin, Facts, Kind, Nulls, Overload, Returns, division_by_zero, mismatch, out_of_range};
use crate::query::errors::from_datafusion;

const fn two(left: T, right: T, returns: T, eval: super::Eval) -> Overload {
    match (left, right) {
        // Overloads live in static tables, so their parameter lists are leaked constants, one for each pair in use.
        (T::Int2, T::Int2) => is(&[Kind::Is(T::Int2), Kind::Is(T::Int2)], returns, eval),
        (T::Int4, T::Int4) => is(&[Kind::Is(T::Int4), Kind::Is(T::Int4)], returns, eval),
        (T::Int8, T::Int8) => is(&[Kind::Is(T::Int8), Kind::Is(T::Int8)], returns, eval),
        (T::Float4, T::Float4) => is(&[Kind::Is(T::Float4), Kind::Is(T::Float4)], returns, eval),
        _ => is(&[Kind::Is(T::Float8), Kind::Is(T::Float8)], returns, eval),
    }
}

const fn is(args: &'static [Kind], returns: T, eval: super::Eval) -> Overload {
    Overload { args, rest: None, returns: Returns::Is(returns), eval }
}

const NUMERICS: &[Kind] = &[Kind::Is(T::Numeric(None)), Kind::Is(T::Numeric(None))];

macro_rules! operator {
    ($name:literal, $($overload:expr),+ $(,)?) => {
        Builtin { name: concat!("\u{1}op:", $name), nulls: Nulls::Strict, volatile: false, overloads: &[$($overload),+] }
    };
}

const COMPARED: &[Overload] = &[is(&[Kind::Any, Kind::Any], T::Bool, unresolved)];

const fn comparison(name: &'static str) -> Builtin {
    let name = match name.as_bytes() {
        b"=" => "\u{1}op:=",
        b"<>" => "\u{1}op:<>",
        b"<" => "\u{1}op:<",
        b"<=" => "\u{1}op:<=",
        b">" => "\u{1}op:>",
        b">=" => "\u{1}op:>=",
        _ => "\u{1}op:is distinct from",
    };
    Builtin { name, nulls: Nulls::Strict, volatile: false, overloads: COMPARED }
}

fn unresolved(_: &Facts, _: &[Value]) -> Result<Value> {
    Err(Error::internal("a comparison was not resolved"))
}

macro_rules! args {
    ($($kind:expr),+) => { &[$(Kind::Is($kind)),+] };
}

pub(super) const OPERATORS: &[Builtin] = &[
    operator!(
        "+",
        two(T::Int4, T::Int4, T::Int4, add),
        two(T::Int8, T::Int8, T::Int8, add),
        two(T::Int2, T::Int2, T::Int2, add),
        two(T::Float8, T::Float8, T::Float8, add),
        two(T::Float4, T::Float4, T::Float4, add),
        is(NUMERICS, T::Numeric(None), add),
        is(args!(T::Date, T::Int4), T::Date, date_plus),
        is(args!(T::Int4, T::Date), T::Date, swap_date_plus),
        is(args!(T::Date, T::Interval), T::Timestamp, plus_interval),
        is(args!(T::Interval, T::Date), T::Timestamp, swap_plus_interval),
        is(args!(T::Date, T::Time), T::Timestamp, date_time),
        is(args!(T::Time, T::Date), T::Timestamp, time_date),
        is(args!(T::Timestamp, T::Interval), T::Timestamp, plus_interval),
        is(args!(T::Interval, T::Timestamp), T::Timestamp, swap_plus_interval),
        is(args!(T::TimestampTz, T::Interval), T::TimestampTz, plus_interval),
        is(args!(T::Interval, T::TimestampTz), T::TimestampTz, swap_plus_interval),
        is(args!(T::Time, T::Interval), T::Time, plus_interval),
        is(args!(T::Interval, T::Time), T::Time, swap_plus_interval),
        is(args!(T::Interval, T::Interval), T::Interval, add_intervals),
    ),
    operator!(
        "-",
        two(T::Int4, T::Int4, T::Int4, sub),
        two(T::Int8, T::Int8, T::Int8, sub),
        two(T::Int2, T::Int2, T::Int2, sub),
        two(T::Float8, T::Float8, T::Float8, sub),
        two(T::Float4, T::Float4, T::Float4, sub),
        is(NUMERICS, T::Numeric(None), sub),
        is(args!(T::Date, T::Int4), T::Date, date_minus),
        is(args!(T::Date, T::Date), T::Int4, date_difference),
        is(args!(T::Date, T::Interval), T::Timestamp, minus_interval),
        is(args!(T::Timestamp, T::Interval), T::Timestamp, minus_interval),
        is(args!(T::TimestampTz, T::Interval), T::TimestampTz, minus_interval),
        is(args!(T::Time, T::Interval), T::Time, minus_interval),
        is(args!(T::Timestamp, T::Timestamp), T::Interval, time_difference),
        is(args!(T::TimestampTz, T::TimestampTz), T::Interval, time_difference),
        is(args!(T::Time, T::Time), T::Interval, time_difference),
        is(args!(T::Interval, T::Interval), T::Interval, sub_intervals),
        is(args!(T::Jsonb, T::Text), T::Jsonb, super::json::without),
        is(args!(T::Jsonb, T::Int4), T::Jsonb, super::json::without),
        is(args!(T::Int4), T::Int4, negate),
        is(args!(T::Int8), T::Int8, negate),
        is(args!(T::Int2), T::Int2, negate),
        is(args!(T::Float8), T::Float8, negate),
        is(args!(T::Float4), T::Float4, negate),
        is(args!(T::Numeric(None)), T::Numeric(None), negate),
        is(args!(T::Interval), T::Interval, negate),
    ),
    operator!(
        "*",
        two(T::Int4, T::Int4, T::Int4, mul),
        two(T::Int8, T::Int8, T::Int8, mul),
        two(T::Int2, T::Int2, T::Int2, mul),
        two(T::Float8, T::Float8, T::Float8, mul),
        two(T::Float4, T::Float4, T::Float4, mul),
        is(NUMERICS, T::Numeric(None), mul),
        is(args!(T::Interval, T::Float8), T::Interval, times),
        is(args!(T::Float8, T::Interval), T::Interval, swap_times),
    ),
    operator!(
        "/",
        two(T::Int4, T::Int4, T::Int4, div),
        two(T::Int8, T::Int8, T::Int8, div),
        two(T::Int2, T::Int2, T::Int2, div),
        two(T::Float8, T::Float8, T::Float8, div),
        two(T::Float4, T::Float4, T::Float4, div),
        is(NUMERICS, T::Numeric(None), div),
        is(args!(T::Interval, T::Float8), T::Interval, over),
    ),
    operator!(
        "%",
        two(T::Int4, T::Int4, T::Int4, rem),
        two(T::Int8, T::Int8, T::Int8, rem),
        two(T::Int2, T::Int2, T::Int2, rem),
        is(NUMERICS, T::Numeric(None), rem),
    ),
    operator!(
        "^",
        two(T::Float8, T::Float8, T::Float8, super::math::power),
        is(NUMERICS, T::Numeric(None), super::math::power),
    ),
    operator!(
        "&",
        two(T::Int4, T::Int4, T::Int4, and),
        two(T::Int8, T::Int8, T::Int8, and),
        two(T::Int2, T::Int2, T::Int2, and)
    ),
    operator!(
        "|",
        two(T::Int4, T::Int4, T::Int4, or),
        two(T::Int8, T::Int8, T::Int8, or),
        two(T::Int2, T::Int2, T::Int2, or)
    ),
    operator!(
        "#",
        two(T::Int4, T::Int4, T::Int4, xor),
        two(T::Int8, T::Int8, T::Int8, xor),
        two(T::Int2, T::Int2, T::Int2, xor)
    ),
    operator!(
        "<<",
        is(args!(T::Int4, T::Int4), T::Int4, shift_left),
        is(args!(T::Int8, T::Int4), T::Int8, shift_left),
        is(args!(T::Int2, T::Int4), T::Int2, shift_left)
    ),
    operator!(
        ">>",
        is(args!(T::Int4, T::Int4), T::Int4, shift_right),
        is(args!(T::Int8, T::Int4), T::Int8, shift_right),
        is(args!(T::Int2, T::Int4), T::Int2, shift_right)
    ),
    operator!(
        "~",
        is(args!(T::Text, T::Text), T::Bool, super::pattern::regex_match),
        is(args!(T::Int4), T::Int4, not),
        is(args!(T::Int8), T::Int8, not),
        is(args!(T::Int2), T::Int2, not)
    ),
    operator!("~*", is(args!(T::Text, T::Text), T::Bool, super::pattern::regex_match_nocase)),
    operator!(
        "~~",
        is(args!(T::Text, T::Text), T::Bool, super::pattern::like),
        is(args!(T::Text, T::Text, T::Text), T::Bool, super::pattern::like)
    ),
    operator!(
        "~~*",
        is(args!(T::Text, T::Text), T::Bool, super::pattern::ilike),
        is(args!(T::Text, T::Text, T::Text), T::Bool, super::pattern::ilike)
    ),
    // The resolver makes DataFusion's operators of these.
    comparison("="),
    comparison("<>"),
    comparison("<"),
    comparison("<="),
    comparison(">"),
    comparison(">="),
    comparison("is distinct from"),
    operator!(
        "similar to",
        is(args!(T::Text, T::Text), T::Bool, super::pattern::similar_to),
        is(args!(T::Text, T::Text, T::Text), T::Bool, super::pattern::similar_to)
    ),
    operator!(
        "||",
        is(args!(T::Text, T::Text), T::Text, concat),
        is(args!(T::Bytea, T::Bytea), T::Bytea, concat),
        is(args!(T::Jsonb, T::Jsonb), T::Jsonb, super::json::concat),
        is(&[Kind::Is(T::Text), Kind::Any], T::Text, concat),
        is(&[Kind::Any, Kind::Is(T::Text)], T::Text, concat),
    ),
];

/// The name of an integer type that overflowed.
fn overflow(value: &Value) -> Error {
    out_of_range(match value {
        Value::Int2(_) => "smallint",
        Value::Int4(_) => "integer",
        _ => "bigint",
    })
}

/// The result of an operator on finite floats must be finite, and that of a multiplication or division of numbers other
/// than 0 is not 0 (`lost`).
macro_rules! checked_float {
    ($name:ident, $float:ty, $make:expr) => {
        fn $name(value: $float, operands_finite: bool, lost: bool) -> Result<Value> {
            let out_of_range =
                |how: &str| Err(Error::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, format!("value out of range: {how}")));
            if value.is_infinite() && operands_finite {
                return out_of_range("overflow");
            }
            if value == 0.0 && lost {
                return out_of_range("underflow");
            }
            Ok($make(value))
        }
    };
}

checked_float!(float4, f32, Value::Float4);
checked_float!(float8, f64, Value::Float8);

macro_rules! arithmetic {
    ($name:ident, $symbol:literal, $checked:ident, $float:tt, $vanishes:literal) => {
        fn $name(_: &Facts, args: &[Value]) -> Result<Value> {
            match args {
                [left @ Value::Int2(a), Value::Int2(b)] => a.$checked(*b).map(Value::Int2).ok_or_else(|| overflow(left)),
                [left @ Value::Int4(a), Value::Int4(b)] => a.$checked(*b).map(Value::Int4).ok_or_else(|| overflow(left)),
                [left @ Value::Int8(a), Value::Int8(b)] => a.$checked(*b).map(Value::Int8).ok_or_else(|| overflow(left)),
                [Value::Float4(a), Value::Float4(b)] => {
                    float4(a $float b, a.is_finite() && b.is_finite(), $vanishes && *a != 0.0 && *b != 0.0)
                }
                [Value::Float8(a), Value::Float8(b)] => {
                    float8(a $float b, a.is_finite() && b.is_finite(), $vanishes && *a != 0.0 && *b != 0.0)
                }
                [Value::Numeric(a), Value::Numeric(b)] => a.$checked(*b).map(Value::Numeric),
                other => Err(mismatch($symbol, other)),
            }
        }
    };
}

arithmetic!(add, "+", checked_add, +, false);
arithmetic!(sub, "-", checked_sub, -, false);
arithmetic!(mul, "*", checked_mul, *, true);

pub(super) fn div(_: &Facts, args: &[Value]) -> Result<Value> {
    match args {
        [Value::Float4(a), Value::Float4(_)] if a.is_nan() => Ok(Value::Float4(*a)),
        [Value::Float8(a), Value::Float8(_)] if a.is_nan() => Ok(Value::Float8(*a)),
        [_, divisor] if is_zero(divisor) => Err(division_by_zero()),
        [left @ Value::Int2(a), Value::Int2(b)] => a.checked_div(*b).map(Value::Int2).ok_or_else(|| overflow(left)),
        [left @ Value::Int4(a), Value::Int4(b)] => a.checked_div(*b).map(Value::Int4).ok_or_else(|| overflow(left)),
        [left @ Value::Int8(a), Value::Int8(b)] => a.checked_div(*b).map(Value::Int8).ok_or_else(|| overflow(left)),
        [Value::Float4(a), Value::Float4(b)] => {
            float4(a / b, a.is_finite() && b.is_finite(), *a != 0.0 && !b.is_infinite())
        }
        [Value::Float8(a), Value::Float8(b)] => {
            float8(a / b, a.is_finite() && b.is_finite(), *a != 0.0 && !b.is_infinite())
        }
        [Value::Numeric(a), Value::Numeric(b)] => a.checked_div(*b).map(Value::Numeric),
        other => Err(mismatch("/", other)),
    }
}

pub(super) fn rem(_: &Facts, args: &[Value]) -> Result<Value> {
    match args {
        [_, divisor] if is_zero(divisor) => Err(division_by_zero()),
        // The smallest number divided by -1 leaves 0, though the quotient would overflow.
        [Value::Int2(a), Value::Int2(b)] => Ok(Value::Int2(a.checked_rem(*b).unwrap_or(0))),
        [Value::Int4(a), Value::Int4(b)] => Ok(Value::Int4(a.checked_rem(*b).unwrap_or(0))),
        [Value::Int8(a), Value::Int8(b)] => Ok(Value::Int8(a.checked_rem(*b).unwrap_or(0))),
        [Value::Numeric(a), Value::Numeric(b)] => a.checked_rem(*b).map(Value::Numeric),
        other => Err(mismatch("%", other)),
    }
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Int2(v) => *v == 0,
        Value::Int4(v) => *v == 0,
        Value::Int8(v) => *v == 0,
        Value::Float4(v) => *v == 0.0,
        Value::Float8(v) => *v == 0.0,
        Value::Numeric(v) => v.unscaled() == 0,
        _ => false,
    }
}

fn negate(_: &Facts, args: &[Value]) -> Result<Value> {
    match args {
        [value @ Value::Int2(a)] => a.checked_neg().map(Value::Int2).ok_or_else(|| overflow(value)),
        [value @ Value::Int4(a)] => a.checked_neg().map(Value::Int4).ok_or_else(|| overflow(value)),
        [value @ Value::Int8(a)] => a.checked_neg().map(Value::Int8).ok_or_else(|| overflow(value)),
        [Value::Float4(a)] => Ok(Value::Float4(-a)),
        [Value::Float8(a)] => Ok(Value::Float8(-a)),
        [Value::Numeric(a)] => Ok(Value::Numeric(-*a)),
        [Value::Interval(a)] => minus(*a).map(Value::Interval),
        other => Err(mismatch("-", other)),
    }
}

macro_rules! bits {
    ($name:ident, $symbol:tt) => {
        fn $name(_: &Facts, args: &[Value]) -> Result<Value> {
            match args {
                [Value::Int2(a), Value::Int2(b)] => Ok(Value::Int2(a $symbol b)),
                [Value::Int4(a), Value::Int4(b)] => Ok(Value::Int4(a $symbol b)),
                [Value::Int8(a), Value::Int8(b)] => Ok(Value::Int8(a $symbol b)),
                other => Err(mismatch(stringify!($symbol), other)),
            }
        }
    };
}

bits!(and, &);
bits!(or, |);
bits!(xor, ^);

fn not(_: &Facts, args: &[Value]) -> Result<Value> {
    match args {
        [Value::Int2(a)] => Ok(Value::Int2(!a)),
        [Value::Int4(a)] => Ok(Value::Int4(!a)),
        [Value::Int8(a)] => Ok(Value::Int8(!a)),
        other => Err(mismatch("~", other)),
    }
}

/// As the hardware does it, which PostgreSQL leaves it to: the distance is taken modulo the width.
fn shift_left(_: &Facts, args: &[Value]) -> Result<Value> {
    match args {
        [Value::Int2(a), Value::Int4(n)] => Ok(Value::Int2(i32::from(*a).wrapping_shl(n.cast_unsigned()) as i16)),
        [Value::Int4(a), Value::Int4(n)] => Ok(Value::Int4(a.wrapping_shl(n.cast_unsigned()))),
        [Value::Int8(a), Value::Int4(n)] => Ok(Value::Int8(a.wrapping_shl(n.cast_unsigned()))),
        other => Err(mismatch("<<", other)),
    }
}

fn shift_right(_: &Facts, args: &[Value]) -> Result<Value> {
    match args {
        [Value::Int2(a), Value::Int4(n)] => Ok(Value::Int2(i32::from(*a).wrapping_shr(n.cast_unsigned()) as i16)),
        [Value::Int4(a), Value::Int4(n)] => Ok(Value::Int4(a.wrapping_shr(n.cast_unsigned()))),
        [Value::Int8(a), Value::Int4(n)] => Ok(Value::Int8(a.wrapping_shr(n.cast_unsigned()))),
        other => Err(mismatch(">>", other)),
    }
}

fn concat(facts: &Facts, args: &[Value]) -> Result<Value> {
    match args {
        [Value::Text(a), Value::Text(b)] => Ok(Value::Text(format!("{a}{b}"))),
        [Value::Bytea(a), Value::Bytea(b)] => Ok(Value::Bytea([a.as_slice(), b].concat())),
        [a, b] => {
            let text = |value: &Value| match value.clone().cast(T::Text, &facts.zone)? {
                Value::Text(text) => Ok(text),
                other => Err(mismatch("||", &[other])),
            };
            Ok(Value::Text(format!("{}{}", text(a)?, text(b)?)))
        }
        other => Err(mismatch("||", other)),
    }
}

fn date_plus(_: &Facts, args: &[Value]) -> Result<Value> {
    match args {
        [Value::Date(date), Value::Int4(days)] => moved(*date, i64::from(*days)),
        other => Err(mismatch("+", other)),
    }
}

fn swap_date_plus(facts: &Facts, args: &[Value]) -> Result<Value> {
    swapped(date_plus, facts, args)
}

fn date_minus(_: &Facts, args: &[Value]) -> Result<Value> {
    match args {
        [Value::Date(date), Value::Int4(days)] => moved(*date, -i64::from(*days)),
        other => Err(mismatch("-", other)),
    }
}

/// A date so many days later. Infinity stays where it is.
fn moved(date: i32, days: i64) -> Result<Value> {
    if infinite_date(date) {
        return Ok(Value::Date(date));
    }
    let moved = i64::from(date) + days;
    let in_range = (DATE_MIN..=DATE_MAX).contains(&moved);
    i32::try_from(moved).ok().filter(|_| in_range).map(Value::Date).ok_or_else(date_overflow)
}

/// The first and the last date there is: 4714-11-24 BC and 5874897-12-31.
const DATE_MIN: i64 = -2_440_588;
const DATE_MAX: i64 = 2_145_042_905;

fn infinite_date(date: i32) -> bool {
    matches!(date, i32::MAX | i32::MIN)
}

fn date_difference(_: &Facts, args: &[Value]) -> Result<Value> {
    match args {
        [Value::Date(a), Value::Date(b)] if infinite_date(*a) || infinite_date(*b) => {
            Err(Error::new(SqlState::DATETIME_FIELD_OVERFLOW, "cannot subtract infinite dates"))
        }
        [Value::Date(a), Value::Date(b)] => a.checked_sub(*b).map(Value::Int4).ok_or_else(date_overflow),
        other => Err(mismatch("-", other)),
    }
}

fn date_overflow() -> Error {
    Error::new(SqlState::DATETIME_FIELD_OVERFLOW, "date out of range")
}

pub(super) fn timestamp_overflow() -> Error {
    Error::new(SqlState::DATETIME_FIELD_OVERFLOW, "timestamp out of range")
}

fn swapped(eval: super::Eval, facts: &Facts, args: &[Value]) -> Result<Value> {
    match args {
        [a, b] => eval(facts, &[b.clone(), a.clone()]),
        other => Err(mismatch("operator", other)),
    }
}

pub(super) const DAY_US: i64 = 86_400_000_000;

pub(super) fn date_to_us(date: i32) -> Result<i64> {
    match date {
        i32::MAX => Ok(i64::MAX),
        i32::MIN => Ok(i64::MIN),
        date => i64::from(date)
            .checked_mul(DAY_US)
            .ok_or_else(|| Error::new(SqlState::DATETIME_FIELD_OVERFLOW, "date out of range for timestamp")),
    }
}

fn date_time(_: &Facts, args: &[Value]) -> Result<Value> {
    match args {
        [Value::Date(date), Value::Time(time)] => {
            let day = date_to_us(*date)?;
            let time = if is_infinite(day) { 0 } else { *time };
            day.checked_add(time).map(Value::Timestamp).ok_or_else(timestamp_overflow)
        }
        other => Err(mismatch("+", other)),
    }
}

fn time_date(facts: &Facts, args: &[Value]) -> Result<Value> {
    swapped(date_time, facts, args)
}

fn plus_interval(facts: &Facts, args: &[Value]) -> Result<Value> {
    match args {
        [Value::Date(date), Value::Interval(by)] => add_interval(date_to_us(*date)?, *by).map(Value::Timestamp),
        [Value::Timestamp(at), Value::Interval(by)] => add_interval(*at, *by).map(Value::Timestamp),
        [Value::TimestampTz(at), Value::Interval(by)] => add_interval_tz(*at, *by, &facts.zone).map(Value::TimestampTz),
        [Value::Time(at), Value::Interval(by)] => at
            .checked_add(by.micros % DAY_US)
            .map(|at| Value::Time(at.rem_euclid(DAY_US)))
            .ok_or_else(timestamp_overflow),
        other => Err(mismatch("+", other)),
    }
}

fn swap_plus_interval(facts: &Facts, args: &[Value]) -> Result<Value> {
    swapped(plus_interval, facts, args)
}

fn minus_interval(facts: &Facts, args: &[Value]) -> Result<Value> {
    match args {
        [at, Value::Interval(by)] => plus_interval(facts, &[at.clone(), Value::Interval(minus(*by)?)]),
        other => Err(mismatch("-", other)),
    }
}

fn minus(interval: Interval) -> Result<Interval> {
    Ok(Interval {
        months: interval.months.checked_neg().ok_or_else(interval_overflow)?,
        days: interval.days.checked_neg().ok_or_else(interval_overflow)?,
        micros: interval.micros.checked_neg().ok_or_else(interval_overflow)?,
    })
}

fn time_difference(_: &Facts, args: &[Value]) -> Result<Value> {
    match args {
        [Value::Timestamp(a), Value::Timestamp(b)] | [Value::TimestampTz(a), Value::TimestampTz(b)] => {
            interval_between(*a, *b).map(Value::Interval)
        }
        [Value::Time(a), Value::Time(b)] => Ok(Value::Interval(Interval { months: 0, days: 0, micros: a - b })),
        other => Err(mismatch("-", other)),
    }
}

fn add_intervals(_: &Facts, args: &[Value]) -> Result<Value> {
    match args {
        [Value::Interval(a), Value::Interval(b)] => Ok(Value::Interval(Interval {
            months: a.months.checked_add(b.months).ok_or_else(interval_overflow)?,
            days: a.days.checked_add(b.days).ok_or_else(interval_overflow)?,
            micros: a.micros.checked_add(b.micros).ok_or_else(interval_overflow)?,
        })),
        other => Err(mismatch("+", other)),
    }
}

fn sub_intervals(facts: &Facts, args: &[Value]) -> Result<Value> {
    match args {
        [a, Value::Interval(b)] => add_intervals(facts, &[a.clone(), Value::Interval(minus(*b)?)]),
        other => Err(mismatch("-", other)),
    }
}

fn times(_: &Facts, args: &[Value]) -> Result<Value> {
    match args {
        [Value::Interval(interval), Value::Float8(factor)] => {
            scale(*interval, |part| part * factor).map(Value::Interval)
        }
        other => Err(mismatch("*", other)),
    }
}

fn swap_times(facts: &Facts, args: &[Value]) -> Result<Value> {
    swapped(times, facts, args)
}

fn over(_: &Facts, args: &[Value]) -> Result<Value> {
    match args {
        [Value::Interval(_), Value::Float8(divisor)] if *divisor == 0.0 => Err(division_by_zero()),
        [Value::Interval(interval), Value::Float8(divisor)] => {
            scale(*interval, |part| part / divisor).map(Value::Interval)
        }
        other => Err(mismatch("/", other)),
    }
}

/// Arithmetic on whole columns of integers and floats with Arrow's checked kernels.
pub(super) fn vectorised(
    name: &str,
    args: &[ColumnarValue],
    rows: usize,
    result: &ArrowType,
) -> Result<Option<ColumnarValue>> {
    let plain = matches!(
        result,
        ArrowType::Int16 | ArrowType::Int32 | ArrowType::Int64 | ArrowType::Float32 | ArrowType::Float64
    );
    let ([left, right], Some(operator)) = (args, name.strip_prefix(crate::query::rewrite::OPERATOR_PREFIX)) else {
        return Ok(None);
    };
    if !plain || left.data_type() != *result || right.data_type() != *result {
        return Ok(None);
    }
    if matches!((left, right), (ColumnarValue::Scalar(_), ColumnarValue::Scalar(_))) {
        return Ok(None);
    }
    let (left, right) = (operand(left)?, operand(right)?);
    let (left, right) = (left.datum(), right.datum());
    let computed = match operator {
        "+" => numeric::add(left, right),
        "-" => numeric::sub(left, right),
        "*" => numeric::mul(left, right),
        "/" if !matches!(result, ArrowType::Float32 | ArrowType::Float64) => numeric::div(left, right),
        _ => return Ok(None),
    };
    match computed {
        // Infinity may come of an infinite operand or of overflow, 0 of a 0 or of underflow, and there is one NaN only: the
        // slow way tells.
        Ok(array) if array.len() == rows && is_finite(&array, operator == "*") => Ok(Some(ColumnarValue::Array(array))),
        Ok(_) => Ok(None),
        Err(ArrowError::DivideByZero) => Err(division_by_zero()),
        Err(_) => Err(out_of_range(match result {
            ArrowType::Int16 => "smallint",
            ArrowType::Int32 => "integer",
            ArrowType::Int64 => "bigint",
            _ => "value",
        })),
    }
}

enum Operand {
    Array(ArrayRef),
    Scalar(datafusion::arrow::array::Scalar<ArrayRef>),
}

impl Operand {
    fn datum(&self) -> &dyn Datum {
        match self {
            Operand::Array(array) => array,
            Operand::Scalar(scalar) => scalar,
        }
    }
}

fn operand(value: &ColumnarValue) -> Result<Operand> {
    Ok(match value {
        ColumnarValue::Array(array) => Operand::Array(Arc::clone(array)),
        ColumnarValue::Scalar(scalar) => Operand::Scalar(ScalarValue::to_scalar(scalar).map_err(from_datafusion)?),
    })
}

fn is_finite(array: &ArrayRef, nonzero: bool) -> bool {
    fn all<P: ArrowPrimitiveType>(array: &PrimitiveArray<P>, good: impl Fn(P::Native) -> bool) -> bool {
        array.iter().flatten().all(good)
    }
    match array.data_type() {
        ArrowType::Float32 => {
            all(array.as_primitive::<Float32Type>(), |v| if nonzero { v.is_normal() } else { v.is_finite() })
        }
        ArrowType::Float64 => {
            all(array.as_primitive::<Float64Type>(), |v| if nonzero { v.is_normal() } else { v.is_finite() })
        }
        _ => true,
    }
}
