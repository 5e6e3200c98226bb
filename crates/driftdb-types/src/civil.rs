//! Days and calendar dates, and how both are printed.
//!
//! The conversions are Howard Hinnant's ("chrono-Compatible Low-Level Date Algorithms"): the proleptic Gregorian
//! calendar over all of PostgreSQL's range, which is wider than jiff's.

use crate::{Error, Result, SqlState};

/// Microseconds of a second.
pub(crate) const SECOND_US: i64 = 1_000_000;
/// Microseconds of a minute.
pub(crate) const MINUTE_US: i64 = 60 * SECOND_US;
/// Microseconds of an hour.
pub(crate) const HOUR_US: i64 = 60 * MINUTE_US;
/// Microseconds of a day.
pub(crate) const DAY_US: i64 = 24 * HOUR_US;
/// The first day there is: 4714-11-24 BC, day 0 of the Julian day count.
pub(crate) const DATE_MIN: i64 = -2_440_588;
/// The last day there is: 5874897-12-31.
pub(crate) const DATE_MAX: i64 = 2_145_042_905;
/// The first timestamp there is.
pub(crate) const TIMESTAMP_MIN: i64 = DATE_MIN * DAY_US;
/// `infinity` and `-infinity`, as in PostgreSQL's own representation.
pub(crate) const DATE_INFINITY: i32 = i32::MAX;
pub(crate) const DATE_MINUS_INFINITY: i32 = i32::MIN;
pub(crate) const TIMESTAMP_INFINITY: i64 = i64::MAX;
pub(crate) const TIMESTAMP_MINUS_INFINITY: i64 = i64::MIN;

/// The day of a date, counted from 1970-01-01. `year` is astronomical: 0 is 1 BC.
pub(crate) fn days_from_civil(year: i64, month: u8, day: u8) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = (i64::from(month) + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + i64::from(day) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The date of a day: astronomical year, month and day of the month.
pub(crate) fn civil_from_days(days: i64) -> (i64, u8, u8) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    // Both are small by construction.
    (year, month as u8, day as u8)
}

/// How many days a month has.
pub(crate) fn month_days(year: i64, month: u8) -> u8 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// A timestamp from a day and the microseconds since its midnight; 22008 where there is none, 0A000 for the last thirty
/// years that PostgreSQL has, which counts its 64 bits from 2000.
pub(crate) fn timestamp_from_parts(day: i64, time_us: i64) -> Result<i64> {
    day.checked_mul(DAY_US)
        .and_then(|midnight| midnight.checked_add(time_us))
        .filter(|us| timestamp_in_range(*us))
        .ok_or_else(|| match day {
            // From the day on which 64 bits end to 294276-12-31.
            106_751_991..106_762_940 => Error::unsupported("a timestamp after 294247-01-10 04:00:54.775806"),
            _ => Error::new(SqlState::DATETIME_FIELD_OVERFLOW, "timestamp out of range"),
        })
}

/// Whether a number of microseconds is a finite timestamp.
pub(crate) fn timestamp_in_range(us: i64) -> bool {
    (TIMESTAMP_MIN..TIMESTAMP_INFINITY).contains(&us)
}

/// Whether a number of days is a finite date.
pub(crate) fn date_in_range(days: i64) -> bool {
    (DATE_MIN..=DATE_MAX).contains(&days)
}

/// Whether a number of microseconds is a time of day; 24:00 is one.
pub(crate) fn time_in_range(us: i64) -> bool {
    (0..=DAY_US).contains(&us)
}

/// Two digits.
pub(crate) fn push_two(out: &mut String, number: i64) {
    out.push(char::from(b'0' + (number / 10 % 10) as u8));
    out.push(char::from(b'0' + (number % 10) as u8));
}

/// `number` in decimal, with zeros before it up to `width`.
fn push_padded(out: &mut String, number: i64, width: u32) {
    let digits = number.checked_ilog10().unwrap_or(0) + 1;
    for place in (0..digits.max(width)).rev() {
        out.push(char::from(b'0' + (number / 10i64.pow(place) % 10) as u8));
    }
}

/// `2026-11-01`, with at least four digits of the year; returns whether the year is one BC, which is said at the end.
pub(crate) fn push_date(out: &mut String, days: i64) -> bool {
    let (year, month, day) = civil_from_days(days);
    let before_christ = year <= 0;
    push_padded(out, if before_christ { 1 - year } else { year }, 4);
    out.push('-');
    push_two(out, i64::from(month));
    out.push('-');
    push_two(out, i64::from(day));
    before_christ
}

/// `10:00:00.5`: seconds with up to six fractional digits, no zeros at their end.
pub(crate) fn push_time(out: &mut String, time_us: i64) {
    push_two(out, time_us / HOUR_US);
    out.push(':');
    push_two(out, time_us / MINUTE_US % 60);
    out.push(':');
    push_seconds(out, time_us % MINUTE_US);
}

/// Seconds below 60 as `push_time` prints them.
pub(crate) fn push_seconds(out: &mut String, us: i64) {
    push_two(out, us / SECOND_US);
    let mut fraction = us % SECOND_US;
    if fraction != 0 {
        out.push('.');
        let mut width = 6;
        while fraction % 10 == 0 {
            fraction /= 10;
            width -= 1;
        }
        push_padded(out, fraction, width);
    }
}

/// A zone's offset as PostgreSQL prints it: `+00`, `+05:30`, `-00:53:28`.
pub(crate) fn push_offset(out: &mut String, offset_seconds: i32) {
    let magnitude = i64::from(offset_seconds).abs();
    out.push(if offset_seconds < 0 { '-' } else { '+' });
    push_two(out, magnitude / 3600);
    if magnitude % 3600 != 0 {
        out.push(':');
        push_two(out, magnitude / 60 % 60);
    }
    if magnitude % 60 != 0 {
        out.push(':');
        push_two(out, magnitude % 60);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_dates_agree() {
        assert_eq!(days_from_civil(1970, 1, 1), 0);
        assert_eq!(days_from_civil(294_277, 1, 1), 106_762_940);
        assert_eq!(timestamp_from_parts(106_762_939, 0).unwrap_err().state, SqlState::FEATURE_NOT_SUPPORTED);
        assert_eq!(timestamp_from_parts(106_762_940, 0).unwrap_err().state, SqlState::DATETIME_FIELD_OVERFLOW);
        assert!(timestamp_from_parts(106_751_991, 4 * HOUR_US).is_ok());
        assert_eq!(days_from_civil(-4713, 11, 24), DATE_MIN);
        assert_eq!(days_from_civil(5_874_897, 12, 31), DATE_MAX);
        let mut days = DATE_MIN;
        while days <= DATE_MAX {
            let (year, month, day) = civil_from_days(days);
            assert!((1..=12).contains(&month) && day >= 1 && day <= month_days(year, month), "{days}");
            assert_eq!(days_from_civil(year, month, day), days);
            days += 40_009;
        }
        // Every day over the turn of a four-hundred-year era.
        for days in days_from_civil(1999, 1, 1)..days_from_civil(2005, 1, 1) {
            let (year, month, day) = civil_from_days(days);
            assert_eq!(days_from_civil(year, month, day), days);
        }
    }
}
