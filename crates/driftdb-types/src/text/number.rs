//! Integers and floating-point numbers in PostgreSQL's text form.

use std::fmt::Write;

use crate::{DataType, Error, Result, SqlState, Value};

use super::invalid;

/// Reads a `smallint`, `integer` or `bigint`.
pub(super) fn parse_int<T: std::str::FromStr<Err = std::num::ParseIntError>>(ty: DataType, text: &str) -> Result<T> {
    use std::num::IntErrorKind::{NegOverflow, PosOverflow};
    text.trim_ascii().parse().map_err(|error: std::num::ParseIntError| match error.kind() {
        PosOverflow | NegOverflow => Error::new(
            SqlState::NUMERIC_VALUE_OUT_OF_RANGE,
            format!("value \"{text}\" is out of range for type {}", ty.sql_name()),
        ),
        _ => invalid(ty, text),
    })
}

/// Reads a `real`.
pub(super) fn parse_float4(text: &str) -> Result<Value> {
    let word = text.trim_ascii();
    let value: f32 = word.parse().map_err(|_| invalid(DataType::Float4, text))?;
    check_range(DataType::Float4, word, value.is_infinite(), value == 0.0)?;
    Ok(Value::Float4(value))
}

/// Reads a `double precision`.
pub(super) fn parse_float8(text: &str) -> Result<Value> {
    let word = text.trim_ascii();
    let value: f64 = word.parse().map_err(|_| invalid(DataType::Float8, text))?;
    check_range(DataType::Float8, word, value.is_infinite(), value == 0.0)?;
    Ok(Value::Float8(value))
}

/// A number that was read as infinity or zero must have said so.
fn check_range(ty: DataType, word: &str, infinite: bool, zero: bool) -> Result<()> {
    let overflow = infinite && word.bytes().any(|byte| byte.is_ascii_digit());
    let mantissa = word.split(['e', 'E']).next().unwrap_or_default();
    let underflow = zero && mantissa.bytes().any(|byte| matches!(byte, b'1'..=b'9'));
    if overflow || underflow {
        let message = format!("\"{word}\" is out of range for type {}", ty.sql_name());
        return Err(Error::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, message));
    }
    Ok(())
}

/// The shortest text that reads back as the same `real`.
pub(super) fn push_float4(out: &mut String, value: f32) {
    // PostgreSQL changes to the exponent form where a real's digits end to be exact.
    let exact = || format!("{value:.60e}");
    let scientific = even_at_tie(format!("{value:e}"), exact, 7, |text| text.parse() == Ok(value));
    push_float(out, f64::from(value), &scientific, 6);
}

/// The shortest text that reads back as the same `double precision`.
pub(super) fn push_float8(out: &mut String, value: f64) {
    let exact = || format!("{value:.60e}");
    let scientific = even_at_tie(format!("{value:e}"), exact, 16, |text| text.parse() == Ok(value));
    push_float(out, value, &scientific, 15);
}

/// Of two shortest texts that are equally near, PostgreSQL takes the one with the even last digit, and Rust the upper
/// one. Below `digits_min` digits the neighbours are too far away for that to happen.
fn even_at_tie(shortest: String, exact: impl Fn() -> String, digits_min: usize, same: impl Fn(&str) -> bool) -> String {
    let Some((mantissa, exponent)) = shortest.split_once('e') else { return shortest };
    let digits = mantissa.bytes().filter(u8::is_ascii_digit).count();
    let odd = mantissa.bytes().next_back().is_some_and(|digit| digit.is_ascii_digit() && digit % 2 == 1);
    if !odd || digits < digits_min {
        return shortest;
    }
    let (kept, last) = mantissa.split_at_checked(mantissa.len() - 1).unwrap_or((mantissa, ""));
    let Some(even) = last.parse::<u8>().ok().map(|last| last - 1) else { return shortest };
    let lower = format!("{kept}{even}");
    let exact = exact();
    let halfway = exact.split_once('e').is_some_and(|(all, its_exponent)| {
        its_exponent == exponent
            && all
                .strip_prefix(&lower)
                .and_then(|rest| rest.strip_prefix('5'))
                .is_some_and(|rest| rest.bytes().all(|b| b == b'0'))
    });
    let lower = format!("{lower}e{exponent}");
    if halfway && same(&lower) { lower } else { shortest }
}

/// `scientific` is Rust's shortest form, `-1.25e-7`; from 10^`digits` on, and below 10^-4, PostgreSQL keeps an exponent
/// (of two digits at least).
fn push_float(out: &mut String, value: f64, scientific: &str, digits: i32) {
    if value.is_nan() {
        out.push_str("NaN");
        return;
    }
    if value.is_infinite() {
        out.push_str(if value > 0.0 { "Infinity" } else { "-Infinity" });
        return;
    }
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if exponent < -4 || exponent >= digits {
        let sign = if exponent < 0 { '-' } else { '+' };
        // Writing to a string cannot fail.
        let _ = write!(out, "{mantissa}e{sign}{:02}", exponent.abs());
        return;
    }
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
    out.push_str(sign);
    let mut all = mantissa.chars().filter(|c| *c != '.');
    if exponent < 0 {
        out.push_str("0.");
        out.extend(std::iter::repeat_n('0', exponent.unsigned_abs() as usize - 1));
        out.extend(all);
        return;
    }
    for _ in 0..=exponent {
        out.push(all.next().unwrap_or('0'));
    }
    let mut point = Some('.');
    for digit in all {
        out.extend(point.take());
        out.push(digit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::excessive_precision, reason = "numbers exactly between two shortest texts")]
    #[test]
    fn ties_end_even() {
        let float4 = |value| {
            let mut out = String::new();
            push_float4(&mut out, value);
            out
        };
        let float8 = |value| {
            let mut out = String::new();
            push_float8(&mut out, value);
            out
        };
        assert_eq!(float4(1_234_567.25), "1.2345672e+06");
        assert_eq!(float4(1_234_567.75), "1.2345678e+06");
        assert_eq!(float4(2_097_152.25), "2.0971522e+06");
        assert_eq!(float4(-1_234_567.25), "-1.2345672e+06");
        assert_eq!(float4(1_048_576.5), "1.0485765e+06");
        assert_eq!(float8(1_125_899_906_842_624.25), "1.1258999068426242e+15");
        assert_eq!(float8(1_125_899_906_842_624.75), "1.1258999068426248e+15");
        assert_eq!(float8(2_251_799_813_685_249.5), "2.2517998136852495e+15");
        assert_eq!(float8(0.1), "0.1");
    }
}
