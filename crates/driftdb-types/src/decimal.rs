//! Exact decimal numbers.

use std::cmp::Ordering;

use crate::Result;

/// A `numeric`: `unscaled / 10^scale`, at most 38 decimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Decimal {
    unscaled: i128,
    scale: u8,
}
#[expect(missing_docs)]
impl Decimal {
    pub const DIGITS_MAX: u8 = 38;
    pub const ZERO: Decimal = Decimal { unscaled: 0, scale: 0 };
    pub fn new(unscaled: i128, scale: u8) -> Result<Decimal> { Ok(Decimal { unscaled, scale }) }
    pub fn unscaled(self) -> i128 { self.unscaled }
    pub fn scale(self) -> u8 { self.scale }
    pub fn parse(_text: &str) -> Result<Decimal> { soon() }
    pub fn rescale(self, _scale: u8) -> Result<Decimal> { soon() }
    pub fn constrain(self, _precision: u8, _scale: u8) -> Result<Decimal> { soon() }
    pub fn add(self, _other: Decimal) -> Result<Decimal> { soon() }
    pub fn sub(self, _other: Decimal) -> Result<Decimal> { soon() }
    pub fn mul(self, _other: Decimal) -> Result<Decimal> { soon() }
    pub fn div(self, _other: Decimal) -> Result<Decimal> { soon() }
    pub fn rem(self, _other: Decimal) -> Result<Decimal> { soon() }
    #[must_use]
    pub fn neg(self) -> Decimal { self }
    #[must_use]
    pub fn abs(self) -> Decimal { self }
    #[must_use]
    pub fn normalized(self) -> Decimal { self }
    pub fn cmp_value(&self, _other: &Decimal) -> Ordering { Ordering::Equal }
    pub fn from_f64(_value: f64) -> Result<Decimal> { soon() }
    pub fn from_f32(_value: f32) -> Result<Decimal> { soon() }
    pub fn to_f64(self) -> f64 { 0.0 }
    pub fn to_i64(self) -> Result<i64> { soon() }
}
impl From<i64> for Decimal { fn from(v: i64) -> Decimal { Decimal { unscaled: v.into(), scale: 0 } } }
impl std::fmt::Display for Decimal { fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { self.unscaled.fmt(f) } }
fn soon<T>() -> Result<T> { Err(crate::Error::internal("not written yet")) }
