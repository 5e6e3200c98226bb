//! Roots, powers, exponentials and logarithms of decimals, with the digits PostgreSQL gives.
//!
//! PostgreSQL (numeric.c) picks the scale of such a result from an estimate of its weight, so that it has about 16
//! significant digits, and rounds the true result to that scale. The estimates here are PostgreSQL's; the result is
//! computed in fixed point with [`WORK_DIGITS`] fractional digits, many more than any decimal has, by series:
//! `ln x = 2 artanh((x - 1) / (x + 1))` and Taylor's for `e^x`, both after reducing the argument by powers of ten.

use std::cmp::Ordering;

use num_bigint::{BigInt, BigUint, Sign};

use super::{Decimal, digit_count, division_by_zero, leading_group, overflow};
use crate::{Error, Result, SqlState};

/// Fractional digits that are computed with.
const WORK_DIGITS: u32 = 120;
/// Significant digits that PostgreSQL wants at least.
const SIGNIFICANT_MIN: i32 = 16;
/// PostgreSQL's `NUMERIC_MAX_RESULT_SCALE`; three times this is where e^x overflows.
const RESULT_SCALE_MAX: f64 = 2000.0;
const LOG10_E: f64 = std::f64::consts::LOG10_E;
const LN_10: f64 = std::f64::consts::LN_10;
/// A power is multiplied out keeping so many digits.
const POWER_DIGITS: u64 = 150;

fn ten_to(exponent: u32) -> BigInt {
    BigInt::from(10u8).pow(exponent)
}

/// A number in fixed point, `value / 10^WORK_DIGITS`.
struct Fixed(BigInt);

impl Fixed {
    fn of(decimal: Decimal) -> Fixed {
        Fixed(BigInt::from(decimal.unscaled()) * ten_to(WORK_DIGITS - u32::from(decimal.scale())))
    }

    fn one() -> BigInt {
        ten_to(WORK_DIGITS)
    }

    /// The decimal with `scale` digits after the point, rounded half away from zero.
    fn round(&self, scale: u32) -> Result<Decimal> {
        rounded(&self.0, WORK_DIGITS, scale)
    }

    fn times(&self, other: &Fixed) -> Fixed {
        Fixed(&self.0 * &other.0 / Fixed::one())
    }
}

/// `unscaled / 10^from`, rounded to `scale` digits; digits beyond what a decimal holds are given up.
fn rounded(unscaled: &BigInt, from: u32, scale: u32) -> Result<Decimal> {
    let wanted = scale;
    let mut scale = scale.min(u32::from(Decimal::DIGITS_MAX));
    loop {
        let magnitude = match from.checked_sub(scale) {
            Some(drop) => {
                let divisor = ten_to(drop).magnitude().clone();
                (unscaled.magnitude() + &divisor / 2u8) / divisor
            }
            None => unscaled.magnitude() * ten_to(scale - from).magnitude(),
        };
        let fits = i128::try_from(&magnitude).ok().and_then(|magnitude| {
            let signed = if unscaled.sign() == Sign::Minus { -magnitude } else { magnitude };
            Decimal::new(signed, u8::try_from(scale).ok()?).ok()
        });
        match fits {
            // Digits may be lost, but not all of them.
            Some(decimal) if decimal.is_zero() && wanted > scale && unscaled.sign() != Sign::NoSign => {
                return Err(Error::unsupported("a numeric with more than 38 digits after the point"));
            }
            Some(decimal) => return Ok(decimal),
            None => scale = scale.checked_sub(1).ok_or_else(overflow)?,
        }
    }
}

/// `2 artanh(y)` for `|y|` well below 1, in fixed point.
fn twice_artanh(y: &BigInt) -> BigInt {
    let one = Fixed::one();
    let square = y * y / &one;
    let (mut power, mut sum, mut odd) = (y.clone(), BigInt::ZERO, 1u32);
    while power.sign() != Sign::NoSign {
        sum += &power / odd;
        power = power * &square / &one;
        odd += 2;
    }
    sum * 2
}

/// ln of a positive number in fixed point.
fn ln_fixed(x: &BigInt) -> BigInt {
    let one = Fixed::one();
    let ratio = |x: &BigInt| (x - &one) * &one / (x + &one);
    // Scaled by powers of two into 2/3 to 4/3, where the series is short.
    let (mut x, mut doublings) = (x.clone(), 0i64);
    while &x * 3u8 > &one * 4u8 {
        x /= 2u8;
        doublings += 1;
    }
    while &x * 3u8 < &one * 2u8 {
        x *= 2u8;
        doublings -= 1;
    }
    let ln_two = twice_artanh(&ratio(&(&one * 2u8)));
    twice_artanh(&ratio(&x)) + ln_two * doublings
}

/// e^x, as digits and how many of them are behind the point.
fn exp_fixed(x: &Fixed) -> (BigInt, i64) {
    let one = Fixed::one();
    let ln_ten = ln_fixed(&(&one * 10u8));
    // e^x = e^r * 10^tens, with r from 0 to ln 10; quartered four times for the series.
    let tens = i64::try_from(&x.0 / &ln_ten).unwrap_or(0) - i64::from(x.0.sign() == Sign::Minus);
    let reduced: BigInt = (&x.0 - &ln_ten * tens) / 256u32;
    let (mut term, mut sum, mut n) = (one.clone(), BigInt::ZERO, 1u32);
    while term.sign() != Sign::NoSign {
        sum += &term;
        term = term * &reduced / &one / n;
        n += 1;
    }
    for _ in 0..8 {
        sum = &sum * &sum / &one;
    }
    (sum, i64::from(WORK_DIGITS) - tens)
}

/// PostgreSQL's `estimate_ln_dweight`: the place of the first digit of ln x.
fn ln_weight(x: Decimal) -> i32 {
    let one = Decimal::from(1i64);
    let near = |bound: i128| Decimal { unscaled: bound, scale: 1 };
    if x.cmp_value(&near(9)) != Ordering::Less && x.cmp_value(&near(11)) != Ordering::Greater {
        return match x.checked_sub(one) {
            // The first base-10000 digit is not 0, so its logarithm is that of its own first digit.
            Ok(rest) if !rest.is_zero() => {
                let (weight, first) = leading_group(rest);
                weight * 4 + i32::try_from(digit_count(first)).unwrap_or(1) - 1
            }
            _ => 0,
        };
    }
    let (weight, first) = leading_group(x);
    let (digits, weight) = two_groups(x, weight, first);
    let ln = digits.ln() + f64::from(weight * 4) * LN_10;
    ln.abs().log10() as i32
}

/// The first two base-10000 digits as one number, or the first if it is all, and the weight of the last of them.
fn two_groups(x: Decimal, weight: i32, first: u128) -> (f64, i32) {
    let places = i32::from(x.scale()) + weight * 4;
    let alone = match u32::try_from(places).ok().and_then(super::power_of_ten) {
        Some(power) => x.unscaled().unsigned_abs().is_multiple_of(power),
        None => true,
    };
    if alone {
        return (first as f64, weight);
    }
    let below = places - 4;
    let magnitude = x.unscaled().unsigned_abs();
    let both = match u32::try_from(below) {
        Ok(below) => super::power_of_ten(below).map_or(0, |power| magnitude / power),
        Err(_) => super::power_of_ten(below.unsigned_abs()).map_or(0, |power| magnitude.saturating_mul(power)),
    };
    (both as f64, weight - 1)
}

fn scale_of(significant_place: i32, of: &[Decimal]) -> u32 {
    let wanted = u32::try_from(SIGNIFICANT_MIN.saturating_sub(significant_place)).unwrap_or(0);
    of.iter().fold(wanted, |scale, decimal| scale.max(u32::from(decimal.scale())))
}

fn positive(x: Decimal) -> Result<()> {
    let bad = |message: &str| Err(Error::new(SqlState::INVALID_ARGUMENT_FOR_LOGARITHM, message));
    match x.unscaled().cmp(&0) {
        Ordering::Equal => bad("cannot take logarithm of zero"),
        Ordering::Less => bad("cannot take logarithm of a negative number"),
        Ordering::Greater => Ok(()),
    }
}

impl Decimal {
    /// The square root; 2201F of a negative number.
    pub fn sqrt(self) -> Result<Decimal> {
        if self.is_negative() {
            return Err(Error::new(
                SqlState::INVALID_ARGUMENT_FOR_POWER_FUNCTION,
                "cannot take square root of a negative number",
            ));
        }
        let (weight, _) = leading_group(self);
        let scale = scale_of(weight * 2 + 1, &[self]).min(u32::from(Decimal::DIGITS_MAX));
        // One digit more than wanted, and what is below it cannot make a half of less.
        let magnitude = Fixed::of(self).0.magnitude() * ten_to(WORK_DIGITS).magnitude();
        let root: BigUint = magnitude.sqrt();
        rounded(&BigInt::from(root), WORK_DIGITS, scale)
    }

    /// e to this power; 22003 if that is too large.
    pub fn exp(self) -> Result<Decimal> {
        let weight = (self.to_f64() * LOG10_E).clamp(-RESULT_SCALE_MAX, RESULT_SCALE_MAX);
        exp_of(&Fixed::of(self), scale_of(weight as i32, &[self]))
    }

    /// The natural logarithm; 2201E unless positive.
    pub fn ln(self) -> Result<Decimal> {
        positive(self)?;
        Fixed(ln_fixed(&Fixed::of(self).0)).round(scale_of(ln_weight(self), &[self]))
    }

    /// The logarithm to `base`; 2201E unless both are positive, 22012 to base 1.
    pub fn log(self, base: Decimal) -> Result<Decimal> {
        positive(base)?;
        positive(self)?;
        let scale = scale_of(ln_weight(self) - ln_weight(base), &[base, self]);
        let divisor = ln_fixed(&Fixed::of(base).0);
        if divisor.sign() == Sign::NoSign {
            return Err(division_by_zero());
        }
        Fixed(ln_fixed(&Fixed::of(self).0) * Fixed::one() / divisor).round(scale)
    }

    /// This number to the power of `exponent`; 2201F for what has no real result, 22003 if it is too large.
    pub fn power(self, exponent: Decimal) -> Result<Decimal> {
        let bad = |message: &str| Err(Error::new(SqlState::INVALID_ARGUMENT_FOR_POWER_FUNCTION, message));
        let whole = exponent.normalized();
        if self.is_zero() && exponent.is_negative() {
            return bad("zero raised to a negative power is undefined");
        }
        if self.is_negative() && whole.scale() > 0 {
            return bad("a negative number raised to a non-integer power yields a complex result");
        }
        if let (0, Ok(times)) = (whole.scale(), i32::try_from(whole.unscaled())) {
            return self.whole_power(times, scale_of(0, &[self, exponent]));
        }
        if self.is_zero() {
            return Decimal::ZERO.rescale(16);
        }
        let ln = Fixed(ln_fixed(&Fixed::of(self.abs()).0));
        let product = ln.times(&Fixed::of(exponent));
        // An estimate of the exponent with about 8 digits is all that the scale goes by.
        let estimate = product.0.to_string();
        let estimate = estimate.parse::<f64>().unwrap_or(f64::INFINITY) / 10f64.powi(WORK_DIGITS as i32);
        let weight = (estimate * LOG10_E).clamp(-RESULT_SCALE_MAX, RESULT_SCALE_MAX);
        let result = exp_of(&product, scale_of(weight as i32, &[self, exponent]))?;
        // Only a whole exponent beyond 32 bits comes here with a negative base.
        Ok(if self.is_negative() && whole.unscaled() % 2 != 0 { -result } else { result })
    }

    /// Multiplied out by squaring, with the digits behind [`POWER_DIGITS`] cut off on the way.
    fn whole_power(self, exponent: i32, scale: u32) -> Result<Decimal> {
        let Some(base) = self.nonzero() else {
            let decimal = if exponent == 0 { Decimal::from(1i64) } else { Decimal::ZERO };
            return decimal.rescale(u8::try_from(scale).unwrap_or(Decimal::DIGITS_MAX));
        };
        let (mut square, mut result) = (base, Scientific { digits: BigInt::from(1), exponent: 0 });
        let mut bits = exponent.unsigned_abs();
        while bits > 0 {
            if bits & 1 == 1 {
                result = result.times(&square);
            }
            bits >>= 1;
            if bits > 0 {
                square = square.times(&square);
            }
        }
        if exponent < 0 {
            let digits = result.digits.magnitude().to_string().len();
            let more = u32::try_from(digits).unwrap_or(u32::MAX).saturating_add(WORK_DIGITS);
            result = Scientific { digits: ten_to(more) / &result.digits, exponent: -result.exponent - i64::from(more) };
        }
        result.round(scale)
    }

    fn nonzero(self) -> Option<Scientific> {
        let exponent = -i64::from(self.scale());
        (!self.is_zero()).then(|| Scientific { digits: BigInt::from(self.unscaled()), exponent })
    }
}

/// `digits * 10^exponent`.
struct Scientific {
    digits: BigInt,
    exponent: i64,
}

impl Scientific {
    fn times(&self, other: &Scientific) -> Scientific {
        let mut digits = &self.digits * &other.digits;
        let mut exponent = self.exponent + other.exponent;
        // A decimal digit takes 3.33 bits.
        let surplus = (digits.bits() * 3 / 10).saturating_sub(POWER_DIGITS);
        if surplus > 0 {
            digits /= ten_to(u32::try_from(surplus).unwrap_or(0));
            exponent += i64::try_from(surplus).unwrap_or(0);
        }
        Scientific { digits, exponent }
    }

    fn round(&self, scale: u32) -> Result<Decimal> {
        let place = i64::try_from(self.digits.bits() * 3 / 10).unwrap_or(i64::MAX).saturating_add(self.exponent);
        if place > i64::from(Decimal::DIGITS_MAX) + 8 {
            return Err(overflow());
        }
        match (u32::try_from(self.exponent), u32::try_from(-self.exponent)) {
            (Ok(up), _) => rounded(&(&self.digits * ten_to(up)), 0, scale),
            (_, Ok(from)) if from < 4000 => rounded(&self.digits, from, scale),
            // Nothing is left of it at any scale.
            _ => Decimal::ZERO.rescale(u8::try_from(scale).unwrap_or(Decimal::DIGITS_MAX).min(Decimal::DIGITS_MAX)),
        }
    }
}

fn exp_of(x: &Fixed, scale: u32) -> Result<Decimal> {
    let limit = Fixed::one() * 6000u32;
    if x.0.magnitude() >= limit.magnitude() {
        return match x.0.sign() {
            Sign::Minus => Decimal::ZERO.rescale(Decimal::DIGITS_MAX),
            _ => Err(overflow()),
        };
    }
    let (digits, from) = exp_fixed(x);
    match u32::try_from(from) {
        Ok(from) => rounded(&digits, from, scale),
        Err(_) => Err(overflow()),
    }
}

impl Decimal {
    /// The fewest fractional digits that show all of it: `min_scale`, and what `trim_scale` keeps.
    pub fn min_scale(self) -> u8 {
        self.normalized().scale()
    }
}
