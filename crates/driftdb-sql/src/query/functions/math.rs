//! Mathematical functions (PostgreSQL manual, "Mathematical Functions and Operators").

use driftdb_types::{DataType as T, Decimal, Error, Result, SqlState, Value};

use super::arith::{DIVISION_SCALE, div, rem, scale_division, scale_max};
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
const KEEP: Returns = Returns::Scale(scale_max);
const WHOLE: Returns = Returns::Scale(|_| 0);
const FINE: Returns = Returns::Quotient(scale_division);
/// Of a numeric computed as a double the last digits are not shown as zeros.
const ROUGH: Returns = Returns::Trimmed(scale_division);

/// The scale that the constant second argument of `round` and `trunc` asks for.
const ASKED: Returns = Returns::Scale(|scales| match scales {
    [_, asked] => (*asked).clamp(0, DIVISION_SCALE),
    _ => crate::query::types::NUMERIC_SCALE,
});

pub(super) const FUNCTIONS: &[Builtin] = &[
    math!("abs", [
        (T::Int4) => Returns::Is(T::Int4), abs; (T::Int8) => Returns::Is(T::Int8), abs; (T::Int2) => Returns::Is(T::Int2), abs;
        (T::Float8) => F8, abs; (T::Float4) => Returns::Is(T::Float4), abs; (N) => KEEP, abs
    ]),
    math!("ceil", [(T::Float8) => F8, ceil; (N) => WHOLE, ceil]),
    math!("ceiling", [(T::Float8) => F8, ceil; (N) => WHOLE, ceil]),
    math!("floor", [(T::Float8) => F8, floor; (N) => WHOLE, floor]),
    math!("round", [(T::Float8) => F8, round; (N) => WHOLE, round; (N, T::Int4) => ASKED, round]),
    math!("trunc", [(T::Float8) => F8, trunc; (N) => WHOLE, trunc; (N, T::Int4) => ASKED, trunc]),
    math!("sign", [(T::Float8) => F8, sign; (N) => WHOLE, sign]),
    math!("mod", [
        (T::Int4, T::Int4) => Returns::Is(T::Int4), rem; (T::Int8, T::Int8) => Returns::Is(T::Int8), rem;
        (T::Int2, T::Int2) => Returns::Is(T::Int2), rem; (N, N) => KEEP, rem
    ]),
    math!("div", [(N, N) => WHOLE, whole_div]),
    math!("power", [(T::Float8, T::Float8) => F8, power; (N, N) => FINE, power]),
    math!("pow", [(T::Float8, T::Float8) => F8, power; (N, N) => FINE, power]),
    math!("sqrt", [(T::Float8) => F8, sqrt; (N) => ROUGH, sqrt]),
    double!("cbrt", |x| Ok(x.cbrt())),
    math!("exp", [(T::Float8) => F8, exp; (N) => ROUGH, exp]),
    math!("ln", [(T::Float8) => F8, ln; (N) => ROUGH, ln]),
    math!("log", [(T::Float8) => F8, log10; (N) => ROUGH, log10; (N, N) => ROUGH, log]),
    math!("log10", [(T::Float8) => F8, log10; (N) => ROUGH, log10]),
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
    math!("gcd", [(T::Int4, T::Int4) => Returns::Is(T::Int4), gcd; (T::Int8, T::Int8) => Returns::Is(T::Int8), gcd]),
    math!("lcm", [(T::Int4, T::Int4) => Returns::Is(T::Int4), lcm; (T::Int8, T::Int8) => Returns::Is(T::Int8), lcm]),
    math!("factorial", [(T::Int8) => WHOLE, factorial]),
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
                Ok(digits) if digits >= v.scale() => Ok(Value::Numeric(*v)),
                Ok(digits) => v.rescale(digits).map(Value::Numeric),
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
                Ok(digits) if digits >= v.scale() => Ok(Value::Numeric(*v)),
                Ok(digits) => {
                    let drop =
                        10_i128.checked_pow(u32::from(v.scale() - digits)).ok_or_else(|| out_of_range("numeric"))?;
                    Decimal::new(v.unscaled() / drop, digits).map(Value::Numeric)
                }
                Err(_) => to_tens(*v, digits, truncated),
            }
        }
        other => Err(mismatch("trunc", other)),
    }
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

pub(super) fn power(_: &Facts, args: &[Value]) -> Result<Value> {
    let check = |base: f64, exponent: f64| {
        let bad = |message: &str| Err(Error::new(SqlState::INVALID_ARGUMENT_FOR_POWER_FUNCTION, message));
        if base == 0.0 && exponent < 0.0 {
            return bad("zero raised to a negative power is undefined");
        }
        if base < 0.0 && exponent.fract() != 0.0 {
            return bad("a negative number raised to a non-integer power yields a complex result");
        }
        Ok(base.powf(exponent))
    };
    match args {
        [Value::Float8(base), Value::Float8(exponent)] => {
            let result = check(*base, *exponent)?;
            if result.is_infinite() && base.is_finite() && exponent.is_finite() {
                return Err(Error::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "value out of range: overflow"));
            }
            Ok(Value::Float8(result))
        }
        [Value::Numeric(base), Value::Numeric(exponent)] => {
            if let Ok(times @ 0..=128) = exponent.to_i64()
                && truncated(*exponent)?.cmp_value(exponent).is_eq()
            {
                let mut product = Decimal::from(1);
                for _ in 0..times {
                    product = product.checked_mul(*base)?;
                }
                return Ok(Value::Numeric(product));
            }
            Decimal::from_f64(check(base.to_f64(), exponent.to_f64())?).map(Value::Numeric)
        }
        other => Err(mismatch("power", other)),
    }
}

/// The numeric forms are computed as doubles: 15 digits are right, PostgreSQL gives more.
fn through_double(args: &[Value], name: &str, eval: fn(f64) -> Result<f64>) -> Result<Value> {
    match args {
        [Value::Numeric(x)] => Decimal::from_f64(eval(x.to_f64())?).map(Value::Numeric),
        other => one(name, other, eval),
    }
}

fn sqrt(_: &Facts, args: &[Value]) -> Result<Value> {
    through_double(args, "sqrt", |x| {
        if x < 0.0 {
            return Err(Error::new(
                SqlState::INVALID_ARGUMENT_FOR_POWER_FUNCTION,
                "cannot take square root of a negative number",
            ));
        }
        Ok(x.sqrt())
    })
}

fn exp(_: &Facts, args: &[Value]) -> Result<Value> {
    through_double(args, "exp", |x| Ok(x.exp()))
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
    through_double(args, "ln", |x| positive(x).map(f64::ln))
}

fn log10(_: &Facts, args: &[Value]) -> Result<Value> {
    through_double(args, "log", |x| positive(x).map(f64::log10))
}

fn log(_: &Facts, args: &[Value]) -> Result<Value> {
    match args {
        [Value::Numeric(base), Value::Numeric(x)] => {
            let (base, x) = (positive(base.to_f64())?.ln(), positive(x.to_f64())?.ln());
            if base == 0.0 {
                return Err(super::division_by_zero());
            }
            Decimal::from_f64(x / base).map(Value::Numeric)
        }
        other => Err(mismatch("log", other)),
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
