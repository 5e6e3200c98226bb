//! Exact decimal numbers.
//!
//! A decimal is `unscaled / 10^scale` with at most 38 decimal digits, so it fits 128 bits (and Arrow's Decimal128).
//! PostgreSQL's `numeric` has up to 131,072 digits. What is *entered* must therefore fit, or is refused with 22003; the
//! result of *arithmetic* keeps PostgreSQL's scale where it fits, and where it does not, loses digits at its end,
//! rounded half away from zero, before it is refused as too large.

mod powers;

use std::cmp::Ordering;
use std::fmt;

use crate::wide::Wide;
use crate::{Error, Result, SqlState};

/// A `numeric`: `unscaled / 10^scale`, at most 38 decimal digits. Equality and hash are those of the representation
/// (`1.0` is not `1.00`); [`Decimal::cmp_value`] compares by value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Decimal {
    unscaled: i128,
    scale: u8,
}

/// Powers of ten from 10^0 to 10^38.
const POWERS: [u128; 39] = {
    let mut powers = [1u128; 39];
    let mut at = 1;
    while at < powers.len() {
        #[expect(clippy::indexing_slicing, reason = "evaluated by the compiler, bounds are the loop's")]
        {
            powers[at] = powers[at - 1] * 10;
        }
        at += 1;
    }
    powers
};

/// Smaller than this is every decimal's magnitude.
const LIMIT: u128 = POWERS[38];

/// `10^exponent` for 0 to 38.
pub(crate) fn power_of_ten(exponent: u32) -> Option<u128> {
    POWERS.get(usize::try_from(exponent).ok()?).copied()
}

/// How many decimal digits `magnitude` has; 0 for 0.
pub(crate) fn digit_count(magnitude: u128) -> u32 {
    magnitude.checked_ilog10().map_or(0, |log| log + 1)
}

fn overflow() -> Error {
    Error::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "value overflows numeric format")
        .detail("A numeric holds at most 38 digits.")
}

/// Why a text is no decimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unreadable {
    Syntax,
    TooManyDigits,
}

impl Decimal {
    /// The most digits a decimal has.
    pub const DIGITS_MAX: u8 = 38;
    /// 0.
    pub const ZERO: Decimal = Decimal { unscaled: 0, scale: 0 };

    /// `unscaled / 10^scale`; 22003 beyond 38 digits on either side of the point.
    pub fn new(unscaled: i128, scale: u8) -> Result<Decimal> {
        if unscaled.unsigned_abs() >= LIMIT || scale > Decimal::DIGITS_MAX {
            return Err(overflow());
        }
        Ok(Decimal { unscaled, scale })
    }

    /// The digits as an integer.
    pub fn unscaled(self) -> i128 {
        self.unscaled
    }

    /// How many of the digits are behind the point.
    pub fn scale(self) -> u8 {
        self.scale
    }

    /// Whether it is 0.
    pub fn is_zero(self) -> bool {
        self.unscaled == 0
    }

    /// Whether it is below 0.
    pub fn is_negative(self) -> bool {
        self.unscaled < 0
    }

    /// Reads PostgreSQL's text form (`-12.50`, `.5`, `1e-3`), blanks around it allowed. 22P02 if it is no number, 22003
    /// if it has more than 38 digits; `NaN` and `Infinity` are refused with 0A000.
    pub fn parse(text: &str) -> Result<Decimal> {
        read(text, None).map_err(|unreadable| Decimal::input_error(text, unreadable))
    }

    /// Reads as [`Decimal::parse`] for a column of type `numeric(precision, scale)`, rounding surplus fractional digits
    /// however many there are.
    pub fn parse_constrained(text: &str, precision: u8, scale: u8) -> Result<Decimal> {
        match read(text, Some(scale)) {
            Ok(decimal) => decimal.constrain(precision, scale),
            Err(Unreadable::TooManyDigits) => Err(field_overflow(precision, scale)),
            Err(unreadable) => Err(Decimal::input_error(text, unreadable)),
        }
    }

    fn input_error(text: &str, unreadable: Unreadable) -> Error {
        if unreadable == Unreadable::TooManyDigits {
            return overflow();
        }
        let word = text.trim().trim_start_matches(['+', '-']);
        if ["nan", "inf", "infinity"].iter().any(|name| word.eq_ignore_ascii_case(name)) {
            return Error::unsupported(format_args!("numeric value {:?}", text.trim()));
        }
        Error::new(SqlState::INVALID_TEXT_REPRESENTATION, format!("invalid input syntax for type numeric: \"{text}\""))
    }

    /// From sign, magnitude and scale, giving up fractional digits beyond 38.
    fn fit(negative: bool, magnitude: Wide, scale: u32) -> Result<Decimal> {
        const SCALE_MAX: u32 = Decimal::DIGITS_MAX as u32;
        let mut drop = scale.saturating_sub(SCALE_MAX);
        loop {
            let divisor = power_of_ten(drop).ok_or_else(overflow)?;
            let (quotient, rest) = magnitude.div_rem(divisor);
            let rounded = if rest >= divisor - rest && rest != 0 { quotient.plus(Wide::from(1)) } else { quotient };
            match rounded.narrow() {
                Some(unscaled) if unscaled < LIMIT => {
                    let unscaled = i128::try_from(unscaled).map_err(|_| overflow())?;
                    let scale = u8::try_from(scale - drop).map_err(|_| overflow())?;
                    return Ok(Decimal { unscaled: if negative { -unscaled } else { unscaled }, scale });
                }
                _ if drop < scale => drop += 1,
                _ => return Err(overflow()),
            }
        }
    }

    /// The same number with `scale` fractional digits, rounded half away from zero; 22003 if that takes more than 38
    /// digits.
    pub fn rescale(self, scale: u8) -> Result<Decimal> {
        match scale.cmp(&self.scale) {
            Ordering::Equal => Ok(self),
            Ordering::Greater => {
                let factor = power_of_ten(u32::from(scale - self.scale)).ok_or_else(overflow)?;
                let factor = i128::try_from(factor).map_err(|_| overflow())?;
                Decimal::new(self.unscaled.checked_mul(factor).ok_or_else(overflow)?, scale)
            }
            Ordering::Less => {
                let divisor = power_of_ten(u32::from(self.scale - scale)).ok_or_else(overflow)?;
                let magnitude = self.unscaled.unsigned_abs();
                let (quotient, rest) = (magnitude / divisor, magnitude % divisor);
                let rounded = if rest >= divisor - rest { quotient + 1 } else { quotient };
                let rounded = i128::try_from(rounded).map_err(|_| overflow())?;
                Decimal::new(if self.unscaled < 0 { -rounded } else { rounded }, scale)
            }
        }
    }

    /// The number as a column of type `numeric(precision, scale)` stores it; 22003 if it does not fit.
    pub fn constrain(self, precision: u8, scale: u8) -> Result<Decimal> {
        let rescaled = self.rescale(scale).map_err(|_| field_overflow(precision, scale))?;
        match power_of_ten(u32::from(precision)) {
            Some(limit) if rescaled.unscaled.unsigned_abs() < limit => Ok(rescaled),
            _ => Err(field_overflow(precision, scale)),
        }
    }

    /// `self + other`, with the larger scale.
    pub fn checked_add(self, other: Decimal) -> Result<Decimal> {
        let scale = self.scale.max(other.scale);
        if let (Some(a), Some(b)) = (self.aligned(scale), other.aligned(scale))
            && let Some(sum) = a.checked_add(b)
            && sum.unsigned_abs() < LIMIT
        {
            return Ok(Decimal { unscaled: sum, scale });
        }
        let (a, b) = (self.aligned_wide(scale)?, other.aligned_wide(scale)?);
        if (self.unscaled < 0) == (other.unscaled < 0) {
            return Decimal::fit(self.unscaled < 0, a.plus(b), u32::from(scale));
        }
        let negative = if a >= b { self.unscaled < 0 } else { other.unscaled < 0 };
        Decimal::fit(negative, a.distance(b), u32::from(scale))
    }

    /// `self - other`, with the larger scale.
    pub fn checked_sub(self, other: Decimal) -> Result<Decimal> {
        self.checked_add(-other)
    }

    /// `self * other`, with the sum of the scales.
    pub fn checked_mul(self, other: Decimal) -> Result<Decimal> {
        let magnitude = Wide::product(self.unscaled.unsigned_abs(), other.unscaled.unsigned_abs());
        let negative = (self.unscaled < 0) != (other.unscaled < 0);
        Decimal::fit(negative, magnitude, u32::from(self.scale) + u32::from(other.scale))
    }

    /// `self / other`, with PostgreSQL's scale: at least 16 significant digits and no fewer fractional digits than
    /// either operand. 22012 by zero.
    pub fn checked_div(self, other: Decimal) -> Result<Decimal> {
        if other.unscaled == 0 {
            return Err(division_by_zero());
        }
        let scale = quotient_scale(self, other).min(u32::from(Decimal::DIGITS_MAX));
        let negative = (self.unscaled < 0) != (other.unscaled < 0);
        let (dividend, divisor) = (self.unscaled.unsigned_abs(), other.unscaled.unsigned_abs());
        // The quotient of the unscaled numbers has `self.scale - other.scale` fractional digits; this many are to come.
        let mut wanting = (scale + u32::from(other.scale)).saturating_sub(u32::from(self.scale));
        let mut scale = scale;
        let (mut quotient, mut rest) = (dividend / divisor, dividend % divisor);
        while wanting > 0 {
            // The largest step that neither the remainder nor the quotient outgrows.
            let step = wanting
                .min(37u32.saturating_sub(digit_count(rest)))
                .min(u32::from(Decimal::DIGITS_MAX).saturating_sub(digit_count(quotient)))
                .max(1);
            let factor = power_of_ten(step).ok_or_else(overflow)?;
            let (digits, next_rest) = Wide::product(rest, factor).div_rem(divisor);
            let Some(longer) = quotient
                .checked_mul(factor)
                .zip(digits.narrow())
                .and_then(|(quotient, digits)| quotient.checked_add(digits))
                .filter(|longer| *longer < LIMIT)
            else {
                // No room for more digits: the result has a smaller scale.
                scale = scale.checked_sub(wanting).ok_or_else(overflow)?;
                break;
            };
            (quotient, rest) = (longer, next_rest);
            wanting -= step;
        }
        let rounded = if rest >= divisor - rest { quotient + 1 } else { quotient };
        Decimal::fit(negative, Wide::from(rounded), scale)
    }

    /// The remainder of `self / other` truncated, with the sign of `self` and the larger scale. 22012 by zero.
    pub fn checked_rem(self, other: Decimal) -> Result<Decimal> {
        if other.unscaled == 0 {
            return Err(division_by_zero());
        }
        let scale = self.scale.max(other.scale);
        let Some(divisor) = other.aligned(scale) else {
            // Aligned to this number's scale the divisor is beyond any decimal, so the remainder is the number itself.
            return Ok(self);
        };
        let (_, rest) = self.aligned_wide(scale)?.div_rem(divisor.unsigned_abs());
        Decimal::fit(self.unscaled < 0, Wide::from(rest), u32::from(scale))
    }

    /// `|self|`.
    #[must_use]
    pub fn abs(self) -> Decimal {
        Decimal { unscaled: self.unscaled.abs(), scale: self.scale }
    }

    /// The same number with the fewest fractional digits.
    #[must_use]
    pub fn normalized(self) -> Decimal {
        let Decimal { mut unscaled, mut scale } = self;
        while scale > 0 && unscaled % 10 == 0 {
            unscaled /= 10;
            scale -= 1;
        }
        Decimal { unscaled, scale }
    }

    /// Compares by value: `1.0` and `1.00` are equal.
    pub fn cmp_value(&self, other: &Decimal) -> Ordering {
        if self.scale == other.scale {
            return self.unscaled.cmp(&other.unscaled);
        }
        let scale = self.scale.max(other.scale);
        match (self.aligned(scale), other.aligned(scale)) {
            (Some(a), Some(b)) => a.cmp(&b),
            // The one that cannot be aligned is beyond any decimal of that scale.
            (None, _) => self.unscaled.cmp(&0),
            (_, None) => 0.cmp(&other.unscaled),
        }
    }

    /// The unscaled number at a larger scale, if it fits 128 bits.
    fn aligned(self, scale: u8) -> Option<i128> {
        let factor = power_of_ten(u32::from(scale.checked_sub(self.scale)?))?;
        self.unscaled.checked_mul(i128::try_from(factor).ok()?)
    }

    /// The magnitude at a larger scale.
    fn aligned_wide(self, scale: u8) -> Result<Wide> {
        let factor = power_of_ten(u32::from(scale.saturating_sub(self.scale))).ok_or_else(overflow)?;
        Ok(Wide::product(self.unscaled.unsigned_abs(), factor))
    }

    /// The decimal of a `double precision`'s 15 significant digits, as PostgreSQL's cast; 22003 if it is too large, 0A000
    /// if it is no number.
    pub fn from_f64(value: f64) -> Result<Decimal> {
        Decimal::from_scientific(value.is_finite(), &format!("{value:.14e}"))
    }

    /// The decimal of a `real`'s 6 significant digits, as PostgreSQL's cast; errors as [`Decimal::from_f64`].
    pub fn from_f32(value: f32) -> Result<Decimal> {
        Decimal::from_scientific(value.is_finite(), &format!("{value:.5e}"))
    }

    fn from_scientific(finite: bool, text: &str) -> Result<Decimal> {
        if !finite {
            return Err(Error::unsupported(format_args!("numeric value {text:?}")));
        }
        // Below 10^-38 nothing is left of it.
        let decimal =
            read(text, Some(Decimal::DIGITS_MAX)).map_err(|unreadable| Decimal::input_error(text, unreadable));
        decimal.map(Decimal::normalized)
    }

    /// The nearest `double precision`.
    pub fn to_f64(self) -> f64 {
        const EXACT: u128 = 1 << 53;
        if self.unscaled.unsigned_abs() <= EXACT && self.scale <= 22 {
            // Both are exact doubles, so one division rounds once.
            return self.unscaled as f64 / 10f64.powi(i32::from(self.scale));
        }
        self.to_string().parse().unwrap_or(f64::NAN)
    }

    /// The nearest `real`.
    pub fn to_f32(self) -> f32 {
        self.to_string().parse().unwrap_or(f32::NAN)
    }

    /// The nearest `bigint`, halves away from zero; 22003 if it is out of range.
    pub fn to_i64(self) -> Result<i64> {
        let rounded = self.rescale(0)?.unscaled;
        i64::try_from(rounded).map_err(|_| Error::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "bigint out of range"))
    }
}

fn field_overflow(precision: u8, scale: u8) -> Error {
    let integer_digits = precision.saturating_sub(scale);
    let bound = if integer_digits == 0 { "1".to_owned() } else { format!("10^{integer_digits}") };
    Error::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "numeric field overflow").detail(format!(
        "A field with precision {precision}, scale {scale} must round to an absolute value less than {bound}."
    ))
}

fn division_by_zero() -> Error {
    Error::new(SqlState::DIVISION_BY_ZERO, "division by zero")
}

/// PostgreSQL's `select_div_scale` (numeric.c): the fractional digits that give a quotient 16 significant digits,
/// estimated from the operands' first base-10000 digits and their weights.
fn quotient_scale(dividend: Decimal, divisor: Decimal) -> u32 {
    let (weight_a, first_a) = leading_group(dividend);
    let (weight_b, first_b) = leading_group(divisor);
    let mut weight = weight_a - weight_b;
    if first_a <= first_b {
        weight -= 1;
    }
    let significant = u32::try_from(16 - weight * 4).unwrap_or(0);
    significant.max(u32::from(dividend.scale)).max(u32::from(divisor.scale))
}

/// Weight (as a power of 10000) and value of the first group of four digits, groups counted from the point.
fn leading_group(decimal: Decimal) -> (i32, u128) {
    let magnitude = decimal.unscaled.unsigned_abs();
    if magnitude == 0 {
        return (0, 0);
    }
    let digits = i32::try_from(digit_count(magnitude)).unwrap_or(0);
    // The first digit stands for 10^top.
    let top = digits - 1 - i32::from(decimal.scale);
    let weight = top.div_euclid(4);
    // The group ends at 10^(4 * weight): this many digits of the magnitude follow it.
    let below = i32::from(decimal.scale) + weight * 4;
    let group = match u32::try_from(below) {
        Ok(below) => power_of_ten(below).map_or(0, |power| magnitude / power),
        Err(_) => power_of_ten(below.unsigned_abs()).map_or(0, |power| magnitude * power),
    };
    (weight, group)
}

/// Reads a decimal; with `scale_max`, digits after so many fractional ones are rounded away.
fn read(text: &str, scale_max: Option<u8>) -> Result<Decimal, Unreadable> {
    let text = text.trim_ascii();
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, read_exponent(exponent)?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && fraction.is_empty() {
        return Err(Unreadable::Syntax);
    }
    if !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
        return Err(Unreadable::Syntax);
    }
    let length = |part: &str| i64::try_from(part.len()).map_err(|_| Unreadable::TooManyDigits);
    let scale = (length(fraction)? - exponent).max(0);
    let kept_scale = scale.min(scale_max.map_or(i64::from(Decimal::DIGITS_MAX) + 1, i64::from));
    // Digits before the point once the exponent is applied, and how many digits are kept in all.
    let kept = length(whole)? + exponent + kept_scale;
    let mut magnitude = 0u128;
    let mut digits = whole.bytes().chain(fraction.bytes());
    let mut taken = 0i64;
    while taken < kept {
        let Some(digit) = digits.next() else { break };
        // A 39th digit might be beyond 128 bits.
        if magnitude >= LIMIT / 10 {
            return Err(Unreadable::TooManyDigits);
        }
        magnitude = magnitude * 10 + u128::from(digit - b'0');
        taken += 1;
    }
    if taken < kept && magnitude != 0 {
        // An exponent that moves the point past the last digit.
        let factor = u32::try_from(kept - taken).ok().and_then(power_of_ten).ok_or(Unreadable::TooManyDigits)?;
        magnitude = magnitude.checked_mul(factor).ok_or(Unreadable::TooManyDigits)?;
    }
    // `kept < 0`: the first digit is already more than one place behind the last that is kept.
    if kept >= 0 && digits.next().is_some_and(|digit| digit >= b'5') {
        magnitude += 1;
    }
    let scale = u8::try_from(kept_scale).map_err(|_| Unreadable::TooManyDigits)?;
    let magnitude = i128::try_from(magnitude).map_err(|_| Unreadable::TooManyDigits)?;
    Decimal::new(if negative { -magnitude } else { magnitude }, scale).map_err(|_| Unreadable::TooManyDigits)
}

fn read_exponent(text: &str) -> Result<i64, Unreadable> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Unreadable::Syntax);
    }
    text.parse::<i32>().map(i64::from).map_err(|_| Unreadable::TooManyDigits)
}

impl std::ops::Neg for Decimal {
    type Output = Decimal;

    fn neg(self) -> Decimal {
        Decimal { unscaled: -self.unscaled, scale: self.scale }
    }
}

impl From<i64> for Decimal {
    fn from(value: i64) -> Decimal {
        Decimal { unscaled: i128::from(value), scale: 0 }
    }
}

impl From<i32> for Decimal {
    fn from(value: i32) -> Decimal {
        Decimal { unscaled: i128::from(value), scale: 0 }
    }
}

impl From<i16> for Decimal {
    fn from(value: i16) -> Decimal {
        Decimal { unscaled: i128::from(value), scale: 0 }
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let magnitude = self.unscaled.unsigned_abs();
        let sign = if self.unscaled < 0 { "-" } else { "" };
        if self.scale == 0 {
            return write!(f, "{sign}{magnitude}");
        }
        let divisor = power_of_ten(u32::from(self.scale)).unwrap_or(1);
        let (whole, fraction) = (magnitude / divisor, magnitude % divisor);
        write!(f, "{sign}{whole}.{fraction:0width$}", width = usize::from(self.scale))
    }
}

#[cfg(test)]
mod tests;
