//! SQL intervals.

use std::cmp::Ordering;

/// Microseconds of a day.
const DAY_US: i128 = 86_400_000_000;
/// Days PostgreSQL takes a month for when it must compare.
const MONTH_DAYS: i128 = 30;

/// An `interval`, kept in three parts as PostgreSQL does, because months and days have no fixed length. Equality and
/// hash are those of the parts; [`Interval::cmp_value`] compares as SQL does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
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

    /// Compares by estimated length, as SQL does: `1 mon` equals `30 days`.
    pub fn cmp_value(&self, other: &Interval) -> Ordering {
        self.estimated_us().cmp(&other.estimated_us())
    }
}
