//! SQL intervals.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use crate::civil::{civil_from_days, days_from_civil, month_days};

/// Microseconds of a day.
const DAY_US: i128 = 86_400_000_000;
/// Days PostgreSQL takes a month for when it must compare.
const MONTH_DAYS: i128 = 30;

/// An `interval`, kept in three parts as PostgreSQL does, because months and days have no fixed length. Equality and
/// hash are those of the parts; [`Interval::cmp_value`] compares as SQL does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Interval {
    /// Whole months.
    pub months: i32,
    /// Whole days.
    pub days: i32,
    /// Microseconds.
    pub micros: i64,
}

impl Interval {
    /// Its length in microseconds, taking a month for 30 days and a day for 24 hours: what SQL compares by.
    pub fn estimated_us(&self) -> i128 {
        let days = i128::from(self.months) * MONTH_DAYS + i128::from(self.days);
        days * DAY_US + i128::from(self.micros)
    }

    /// An interval of that estimated length, in as many months and then days as it has; `None` if it is beyond all
    /// intervals.
    pub(crate) fn from_estimated_us(estimate: i128) -> Option<Interval> {
        let clamp = |count: i128| count.clamp(i128::from(i32::MIN), i128::from(i32::MAX)) as i32;
        let months = clamp(estimate / (DAY_US * MONTH_DAYS));
        let rest = estimate - i128::from(months) * DAY_US * MONTH_DAYS;
        let days = clamp(rest / DAY_US);
        let micros = i64::try_from(rest - i128::from(days) * DAY_US).ok()?;
        Some(Interval { months, days, micros })
    }

    /// The moment that is later than `at_us` (microseconds since 1970 on some clock) by this: first by months, to the month's last
    /// day where it lacks the day; then by days; then by the rest. `None` beyond what 64 bits hold.
    pub fn after(&self, at_us: i64) -> Option<i64> {
        let (mut days, time_us) = (at_us.div_euclid(DAY_US as i64), at_us.rem_euclid(DAY_US as i64));
        if self.months != 0 {
            let (year, month, day) = civil_from_days(days);
            let months = year * 12 + i64::from(month) - 1 + i64::from(self.months);
            let (year, month) = (months.div_euclid(12), months.rem_euclid(12) as u8 + 1);
            days = days_from_civil(year, month, day.min(month_days(year, month)));
        }
        days += i64::from(self.days);
        days.checked_mul(DAY_US as i64)?.checked_add(time_us)?.checked_add(self.micros)
    }

    /// As [`Interval::after`], into the past.
    pub fn before(&self, at_us: i64) -> Option<i64> {
        let Interval { months, days, micros } = *self;
        let back = Interval { months: months.checked_neg()?, days: days.checked_neg()?, micros: micros.checked_neg()? };
        back.after(at_us)
    }

    /// Compares by estimated length, as SQL does: `1 mon` equals `30 days`.
    pub fn cmp_value(&self, other: &Interval) -> Ordering {
        self.estimated_us().cmp(&other.estimated_us())
    }
}
