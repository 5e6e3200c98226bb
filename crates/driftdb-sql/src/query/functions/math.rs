//! Mathematical functions (PostgreSQL manual, "Mathematical Functions and Operators").

use driftdb_types::{DataType as T, Decimal, Error, Result, SqlState, Value};

use super::arith::{div, rem};
use super::text::int;
use super::{Builtin, Facts, Kind, Nulls, Overload, Returns, mismatch, out_of_range};

macro_rules! overload {
    (($($kind:expr),*) => $returns:expr, $eval:expr) => {
        Overload { args: &[$(Kind::Is($kind)),*], rest: None, returns: $returns, eval: $eval }
    };
}

macro_rules! math {
    ($name:literal, [$(($($kind:expr),*) => $returns:expr, $eval:expr);+ $(;)?]) => {
        Builtin {
            name: $name,
            nulls: Nulls::Strict,
            volatile: false,
            overloads: &[$(overload!(($($kind),*) => $returns, $eval)),+],
        }
    };
}

/// A function of one double.
macro_rules! double {
    ($name:literal, $eval:expr) => {
        math!($name, [(T::Float8) => F8, |_, args| one($name, args, $eval)])
    };
}

const N: T = T::Numeric(None);
const F8: Returns = Returns::Is(T::Float8);
const EXACT: Returns = Returns::Is(N);

pub(super) const FUNCTIONS: &[Builtin] = &[
    math!("abs", [
        (T::Int4) => Returns::Is(T::Int4), abs; (T::Int8) => Returns::Is(T::Int8), abs; (T::Int2) => Returns::Is(T::Int2), abs;
        (T::Float8) => F8, abs; (T::Float4) => Returns::Is(T::Float4), abs; (N) => EXACT, abs
    ]),
    math!("ceil", [(T::Float8) => F8, ceil; (N) => EXACT, ceil]),
    math!("ceiling", [(T::Float8) => F8, ceil; (N) => EXACT, ceil]),
    math!("floor", [(T::Float8) => F8, floor; (N) => EXACT, floor]),
    math!("round", [(T::Float8) => F8, round; (N) => EXACT, round; (N, T::Int4) => EXACT, round]),
    math!("trunc", [(T::Float8) => F8, trunc; (N) => EXACT, trunc; (N, T::Int4) => EXACT, trunc]),
    math!("sign", [(T::Float8) => F8, sign; (N) => EXACT, sign]),
    math!("mod", [
        (T::Int4, T::Int4) => Returns::Is(T::Int4), rem; (T::Int8, T::Int8) => Returns::Is(T::Int8), rem;
        (T::Int2, T::Int2) => Returns::Is(T::Int2), rem; (N, N) => EXACT, rem
    ]),
    math!("div", [(N, N) => EXACT, whole_div]),
    math!("power", [(T::Float8, T::Float8) => F8, power; (N, N) => EXACT, power]),
    math!("pow", [(T::Float8, T::Float8) => F8, power; (N, N) => EXACT, power]),
    math!("sqrt", [(T::Float8) => F8, sqrt; (N) => EXACT, sqrt]),
    double!("cbrt", |x| Ok(x.cbrt())),
    math!("exp", [(T::Float8) => F8, exp; (N) => EXACT, exp]),
    math!("ln", [(T::Float8) => F8, ln; (N) => EXACT, ln]),
    math!("log", [(T::Float8) => F8, log10; (N) => EXACT, log10; (N, N) => EXACT, log]),
    math!("log10", [(T::Float8) => F8, log10; (N) => EXACT, log10]),
    Builtin {
        name: "pi",
        nulls: Nulls::Strict,
        volatile: false,
        overloads: &[overload!(() => F8, |_, _| Ok(Value::Float8(std::f64::consts::PI)))],
    },
    double!("degrees", |x| Ok(x.to_degrees())),
    double!("radians", |x| Ok(x.to_radians())),
    double!("sin", |x| finite(x).map(f64::sin)),
    double!("cos", |x| finite(x).map(f64::cos)),
    double!("tan", |x| finite(x).map(f64::tan)),
    double!("cot", |x| finite(x).map(|x| 1.0 / x.tan())),
    double!("asin", |x| within_one(x).map(f64::asin)),
    double!("acos", |x| within_one(x).map(f64::acos)),
    double!("atan", |x| Ok(x.atan())),
    double!("sinh", |x| Ok(x.sinh())),
    double!("cosh", |x| Ok(x.cosh())),
    double!("tanh", |x| Ok(x.tanh())),
    math!("atan2", [(T::Float8, T::Float8) => F8, |_, args| match args {
        [Value::Float8(y), Value::Float8(x)] => Ok(Value::Float8(y.atan2(*x))),
        other => Err(mismatch("atan2", other)),
    }]),
    math!("scale", [(N) => Returns::Is(T::Int4), |_, a| scale_of(a, Decimal::scale)]),
    math!("min_scale", [(N) => Returns::Is(T::Int4), |_, a| scale_of(a, Decimal::min_scale)]),
    math!("trim_scale", [(N) => EXACT, trim_scale]),
    math!("width_bucket", [
        (T::Float8, T::Float8, T::Float8, T::Int4) => Returns::Is(T::Int4), width_bucket;
        (N, N, N, T::Int4) => Returns::Is(T::Int4), width_bucket
    ]),
    math!("gcd", [(T::Int4, T::Int4) => Returns::Is(T::Int4), gcd; (T::Int8, T::Int8) => Returns::Is(T::Int8), gcd]),
    math!("lcm", [(T::Int4, T::Int4) => Returns::Is(T::Int4), lcm; (T::Int8, T::Int8) => Returns::Is(T::Int8), lcm]),
    math!("factorial", [(T::Int8) => EXACT, factorial]),
];

fn one(name: &str, args: &[Value], eval: fn(f64) -> Result<f64>) -> Result<Value> {
    let [Value::Float8(x)] = args else { return Err(mismatch(name, args)) };
    let result = eval(*x)?;
    if result.is_infinite() && x.is_finite() {
        return Err(Error::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "value out of range: overflow"));
    }
    Ok(Value::Float8(result))
}

fn finite(x: f64) -> Result<f64> {
    if x.is_infinite() { Err(Error::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "input is out of range")) } else { Ok(x) }
}

fn within_one(x: f64) -> Result<f64> {
    if x.abs() > 1.0 { Err(Error::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "input is out of range")) } else { Ok(x) }
}

fn abs(_: &Facts, args: &[Value]) -> Result<Value> {
    Ok(match args {
        [Value::Int2(v)] => Value::Int2(v.checked_abs().ok_or_else(|| out_of_range("smallint"))?),
        [Value::Int4(v)] => Value::Int4(v.checked_abs().ok_or_else(|| out_of_range("integer"))?),
        [Value::Int8(v)] => Value::Int8(v.checked_abs().ok_or_else(|| out_of_range("bigint"))?),
        [Value::Float4(v)] => Value::Float4(v.abs()),
        [Value::Float8(v)] => Value::Float8(v.abs()),
        [Value::Numeric(v)] => Value::Numeric(v.abs()),
        other => return Err(mismatch("abs", other)),
    })
}

/// The whole part towards zero.
fn truncated(value: Decimal) -> Result<Decimal> {
    let divisor = 10_i128.checked_pow(u32::from(value.scale())).ok_or_else(|| out_of_range("numeric"))?;
    Decimal::new(value.unscaled() / divisor, 0)
}

fn stepped(value: Decimal, up: bool) -> Result<Decimal> {
    let whole = truncated(value)?;
    let rest = value.checked_sub(whole)?.unscaled();
    let step = if up { i64::from(rest > 0) } else { -i64::from(rest < 0) };
    whole.checked_add(Decimal::from(step))
}

fn ceil(_: &Facts, args: &[Value]) -> Result<Value> {
    match args {
        [Value::Float8(v)] => Ok(Value::Float8(v.ceil())),
        [Value::Numeric(v)] => stepped(*v, true).map(Value::Numeric),
        other => Err(mismatch("ceil", other)),
    }
}

fn floor(_: &Facts, args: &[Value]) -> Result<Value> {
    match args {
        [Value::Float8(v)] => Ok(Value::Float8(v.floor())),
        [Value::Numeric(v)] => stepped(*v, false).map(Value::Numeric),
        other => Err(mismatch("floor", other)),
    }
}

/// A double is rounded to even at the half, a numeric away from zero.
fn round(_: &Facts, args: &[Value]) -> Result<Value> {
    match args {
        [Value::Float8(v)] => Ok(Value::Float8(v.round_ties_even())),
        [Value::Numeric(v)] => v.rescale(0).map(Value::Numeric),
        [Value::Numeric(v), Value::Int4(_)] => {
            let digits = int(args, 1)?;
            match u8::try_from(digits) {
                Ok(digits) if digits >= v.scale() => Ok(Value::Numeric(filled(*v, digits))),
                Ok(digits) => v.rescale(digits).map(Value::Numeric),
                Err(_) if digits > 0 => Ok(Value::Numeric(filled(*v, u8::MAX))),
                Err(_) => to_tens(*v, digits, |v| v.rescale(0)),
            }
        }
        other => Err(mismatch("round", other)),
    }
}

fn trunc(_: &Facts, args: &[Value]) -> Result<Value> {
    match args {
        [Value::Float8(v)] => Ok(Value::Float8(v.trunc())),
        [Value::Numeric(v)] => truncated(*v).map(Value::Numeric),
        [Value::Numeric(v), Value::Int4(_)] => {
            let digits = int(args, 1)?;
            match u8::try_from(digits) {
                Ok(digits) if digits >= v.scale() => Ok(Value::Numeric(filled(*v, digits))),
                Ok(digits) => {
                    let drop =
                        10_i128.checked_pow(u32::from(v.scale() - digits)).ok_or_else(|| out_of_range("numeric"))?;
                    Decimal::new(v.unscaled() / drop, digits).map(Value::Numeric)
                }
                Err(_) if digits > 0 => Ok(Value::Numeric(filled(*v, u8::MAX))),
                Err(_) => to_tens(*v, digits, truncated),
            }
        }
        other => Err(mismatch("trunc", other)),
    }
}

/// With zeros up to so many digits behind the point, or as many of them as there is room for.
fn filled(value: Decimal, digits: u8) -> Decimal {
    let most = digits.min(Decimal::DIGITS_MAX);
    (value.scale()..=most).rev().find_map(|scale| value.rescale(scale).ok()).unwrap_or(value)
}

/// Rounding before the point: divided by the power of ten, made whole, and multiplied again.
fn to_tens(value: Decimal, digits: i32, whole: fn(Decimal) -> Result<Decimal>) -> Result<Value> {
    let Some(power) = 10_i128.checked_pow(digits.unsigned_abs()) else { return Ok(Value::Numeric(Decimal::ZERO)) };
    let power = Decimal::new(power, 0)?;
    whole(value.checked_div(power)?)?.checked_mul(power).map(Value::Numeric)
}

fn sign(_: &Facts, args: &[Value]) -> Result<Value> {
    match args {
        [Value::Float8(v)] => Ok(Value::Float8(if *v == 0.0 || v.is_nan() { *v } else { v.signum() })),
        [Value::Numeric(v)] => Ok(Value::Numeric(Decimal::from(i64::try_from(v.unscaled().signum()).unwrap_or(0)))),
        other => Err(mismatch("sign", other)),
    }
}

fn whole_div(facts: &Facts, args: &[Value]) -> Result<Value> {
    match div(facts, args)? {
        Value::Numeric(quotient) => truncated(quotient).map(Value::Numeric),
        other => Ok(other),
    }
}

/// The result of a function on finite doubles must be one.
fn fits(result: f64, finite: bool) -> Result<f64> {
    let out_of_range =
        |how: &str| Err(Error::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, format!("value out of range: {how}")));
    match (result.is_infinite(), result == 0.0) {
        (true, _) if finite => out_of_range("overflow"),
        (_, true) if finite => out_of_range("underflow"),
        _ => Ok(result),
    }
}

pub(super) fn power(_: &Facts, args: &[Value]) -> Result<Value> {
    match args {
        [Value::Float8(base), Value::Float8(exponent)] => {
            let bad = |message: &str| Err(Error::new(SqlState::INVALID_ARGUMENT_FOR_POWER_FUNCTION, message));
            if *base == 0.0 && *exponent < 0.0 {
                return bad("zero raised to a negative power is undefined");
            }
            if *base < 0.0 && exponent.is_finite() && exponent.fract() != 0.0 {
                return bad("a negative number raised to a non-integer power yields a complex result");
            }
            let finite = base.is_finite() && exponent.is_finite() && *base != 0.0;
            fits(base.powf(*exponent), finite).map(Value::Float8)
        }
        [Value::Numeric(base), Value::Numeric(exponent)] => base.power(*exponent).map(Value::Numeric),
        other => Err(mismatch("power", other)),
    }
}

fn sqrt(_: &Facts, args: &[Value]) -> Result<Value> {
    match args {
        [Value::Numeric(x)] => x.sqrt().map(Value::Numeric),
        other => one("sqrt", other, |x| {
            if x < 0.0 {
                return Err(Error::new(
                    SqlState::INVALID_ARGUMENT_FOR_POWER_FUNCTION,
                    "cannot take square root of a negative number",
                ));
            }
            Ok(x.sqrt())
        }),
    }
}

fn exp(_: &Facts, args: &[Value]) -> Result<Value> {
    match args {
        [Value::Numeric(x)] => x.exp().map(Value::Numeric),
        other => one("exp", other, |x| fits(x.exp(), x.is_finite())),
    }
}

fn positive(x: f64) -> Result<f64> {
    let bad = |message: &str| Err(Error::new(SqlState::INVALID_ARGUMENT_FOR_LOGARITHM, message));
    if x == 0.0 {
        return bad("cannot take logarithm of zero");
    }
    if x < 0.0 {
        return bad("cannot take logarithm of a negative number");
    }
    Ok(x)
}

fn ln(_: &Facts, args: &[Value]) -> Result<Value> {
    match args {
        [Value::Numeric(x)] => x.ln().map(Value::Numeric),
        other => one("ln", other, |x| positive(x).map(f64::ln)),
    }
}

fn log10(_: &Facts, args: &[Value]) -> Result<Value> {
    match args {
        [Value::Numeric(x)] => x.log(Decimal::from(10i64)).map(Value::Numeric),
        other => one("log", other, |x| positive(x).map(f64::log10)),
    }
}

fn log(_: &Facts, args: &[Value]) -> Result<Value> {
    match args {
        [Value::Numeric(base), Value::Numeric(x)] => x.log(*base).map(Value::Numeric),
        other => Err(mismatch("log", other)),
    }
}

/// `scale`, `min_scale`.
fn scale_of(args: &[Value], scale: fn(Decimal) -> u8) -> Result<Value> {
    match args {
        [Value::Numeric(v)] => Ok(Value::Int4(i32::from(scale(*v)))),
        other => Err(mismatch("scale", other)),
    }
}

fn trim_scale(_: &Facts, args: &[Value]) -> Result<Value> {
    match args {
        [Value::Numeric(v)] => Ok(Value::Numeric(v.normalized())),
        other => Err(mismatch("trim_scale", other)),
    }
}

/// The bucket of `count` equal ones between two bounds that an operand falls into: 0 before, `count + 1` behind.
fn width_bucket(_: &Facts, args: &[Value]) -> Result<Value> {
    let bad = |message: &str| Error::new(SqlState::INVALID_PARAMETER_VALUE, message);
    let count = match args.get(3) {
        Some(Value::Int4(count)) if *count > 0 => *count,
        _ => return Err(bad("count must be greater than zero")),
    };
    let beyond = || count.checked_add(1).map(Value::Int4).ok_or_else(|| out_of_range("integer"));
    match args {
        [Value::Numeric(operand), Value::Numeric(low), Value::Numeric(high), _] => {
            // Counted from the upper bound down where the bounds are in that order.
            let (up, across) = (operand.checked_sub(*low)?, high.checked_sub(*low)?);
            if across.is_zero() {
                return Err(bad("lower bound cannot equal upper bound"));
            }
            let (up, across) = if across.is_negative() { (-up, -across) } else { (up, across) };
            if up.is_negative() {
                return Ok(Value::Int4(0));
            }
            if up.cmp_value(&across).is_ge() {
                return beyond();
            }
            let scaled = up.checked_mul(Decimal::from(count))?;
            let rest = scaled.checked_rem(across)?;
            let bucket = scaled.checked_sub(rest)?.checked_div(across)?.to_i64()?;
            i32::try_from(bucket + 1).map(Value::Int4).map_err(|_| out_of_range("integer"))
        }
        [Value::Float8(operand), Value::Float8(low), Value::Float8(high), _] => {
            if operand.is_nan() || low.is_nan() || high.is_nan() {
                return Err(bad("operand, lower bound, and upper bound cannot be NaN"));
            }
            if low.is_infinite() || high.is_infinite() {
                return Err(bad("lower and upper bounds must be finite"));
            }
            if low == high {
                return Err(bad("lower bound cannot equal upper bound"));
            }
            let (up, across) = if low < high { (operand - low, high - low) } else { (low - operand, low - high) };
            if up < 0.0 {
                return Ok(Value::Int4(0));
            }
            if up >= across {
                return beyond();
            }
            Ok(Value::Int4((f64::from(count) * (up / across)) as i32 + 1))
        }
        other => Err(mismatch("width_bucket", other)),
    }
}

fn euclid(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

fn gcd(_: &Facts, args: &[Value]) -> Result<Value> {
    match args {
        [Value::Int4(a), Value::Int4(b)] => {
            let found = euclid(a.unsigned_abs().into(), b.unsigned_abs().into());
            i32::try_from(found).map(Value::Int4).map_err(|_| out_of_range("integer"))
        }
        [Value::Int8(a), Value::Int8(b)] => i64::try_from(euclid(a.unsigned_abs(), b.unsigned_abs()))
            .map(Value::Int8)
            .map_err(|_| out_of_range("bigint")),
        other => Err(mismatch("gcd", other)),
    }
}

fn lcm(_: &Facts, args: &[Value]) -> Result<Value> {
    let multiple = |a: u64, b: u64| match euclid(a, b) {
        0 => Some(0),
        divisor => (a / divisor).checked_mul(b),
    };
    match args {
        [Value::Int4(a), Value::Int4(b)] => multiple(a.unsigned_abs().into(), b.unsigned_abs().into())
            .and_then(|found| i32::try_from(found).ok())
            .map(Value::Int4)
            .ok_or_else(|| out_of_range("integer")),
        [Value::Int8(a), Value::Int8(b)] => multiple(a.unsigned_abs(), b.unsigned_abs())
            .and_then(|found| i64::try_from(found).ok())
            .map(Value::Int8)
            .ok_or_else(|| out_of_range("bigint")),
        other => Err(mismatch("lcm", other)),
    }
}

fn factorial(_: &Facts, args: &[Value]) -> Result<Value> {
    match args {
        [Value::Int8(n)] if *n < 0 => {
            Err(Error::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "factorial of a negative number is undefined"))
        }
        [Value::Int8(n)] => {
            let mut product = Decimal::from(1);
            for factor in 2..=(*n).min(40) {
                product = product.checked_mul(Decimal::from(factor))?;
            }
            Ok(Value::Numeric(product))
        }
        other => Err(mismatch("factorial", other)),
    }
}
