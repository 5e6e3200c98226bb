//! Unsigned 256-bit integers: just enough of them for products and quotients of 38-digit decimals.

/// `hi * 2^128 + lo`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Wide {
    hi: u128,
    lo: u128,
}

impl Wide {
    /// `a * b`, by four 64-bit products.
    pub(crate) fn product(a: u128, b: u128) -> Wide {
        const LOW: u128 = u64::MAX as u128;
        let (a_hi, a_lo) = (a >> 64, a & LOW);
        let (b_hi, b_lo) = (b >> 64, b & LOW);
        let low = a_lo * b_lo;
        let middle = a_hi * b_lo + (low >> 64);
        let cross = a_lo * b_hi + (middle & LOW);
        Wide { hi: a_hi * b_hi + (middle >> 64) + (cross >> 64), lo: (cross << 64) | (low & LOW) }
    }

    /// `self + other`; the callers' operands are below 2^254, so nothing is lost.
    pub(crate) fn plus(self, other: Wide) -> Wide {
        let (lo, carry) = self.lo.overflowing_add(other.lo);
        Wide { hi: self.hi.wrapping_add(other.hi).wrapping_add(u128::from(carry)), lo }
    }

    /// `|self - other|`.
    pub(crate) fn distance(self, other: Wide) -> Wide {
        let (large, small) = if self >= other { (self, other) } else { (other, self) };
        let (lo, borrow) = large.lo.overflowing_sub(small.lo);
        Wide { hi: large.hi.wrapping_sub(small.hi).wrapping_sub(u128::from(borrow)), lo }
    }

    /// Quotient and remainder of a division by `divisor`, which is not 0 and below 2^127. School division, bit by
    /// bit: it is only reached by numbers that do not fit 128 bits.
    pub(crate) fn div_rem(self, divisor: u128) -> (Wide, u128) {
        let hi = self.hi / divisor;
        let mut rest = self.hi % divisor;
        if rest == 0 {
            return (Wide { hi, lo: self.lo / divisor }, self.lo % divisor);
        }
        let mut lo = 0u128;
        for bit in (0..128).rev() {
            rest = (rest << 1) | ((self.lo >> bit) & 1);
            lo <<= 1;
            if rest >= divisor {
                rest -= divisor;
                lo |= 1;
            }
        }
        (Wide { hi, lo }, rest)
    }

    /// The number if it fits 128 bits.
    pub(crate) fn narrow(self) -> Option<u128> {
        (self.hi == 0).then_some(self.lo)
    }
}

impl From<u128> for Wide {
    fn from(lo: u128) -> Wide {
        Wide { hi: 0, lo }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_divide_back() {
        for a in [0, 1, 7, u128::from(u64::MAX), 10u128.pow(38) - 1, u128::MAX] {
            for b in [1, 3, u128::from(u64::MAX) + 1, 10u128.pow(38) - 1] {
                let product = Wide::product(a, b);
                assert_eq!(product.div_rem(b), (Wide::from(a), 0), "{a} * {b}");
                assert_eq!(product.plus(Wide::from(b - 1)).div_rem(b), (Wide::from(a), b - 1), "{a} * {b} + {b} - 1");
                assert_eq!(product.plus(Wide::from(5)).distance(product), Wide::from(5));
            }
        }
    }
}
