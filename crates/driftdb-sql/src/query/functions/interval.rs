//! Arithmetic on intervals, as in PostgreSQL's timestamp.c: what is left of a month goes on to days (30 to a month), what
//! is left of a day to time (24 hours), and nothing the other way unless a `justify_` function is asked.

use driftdb_types::{DataType as T, Error, Interval, Result, SqlState, Value};

use super::arith::DAY_US;
use super::text::{function, int};
use super::{Builtin, Facts, Kind, Nulls, Overload, Returns, mismatch};

const MONTH_DAYS: i32 = 30;
const DAY_SECONDS: f64 = 86_400.0;

pub(super) const FUNCTIONS: &[Builtin] = &[
    function!("justify_hours", Strict, [(T::Interval) => T::Interval, |_, a| justified(a, justify_hours)]),
    function!("justify_days", Strict, [(T::Interval) => T::Interval, |_, a| justified(a, justify_days)]),
    function!("justify_interval", Strict, [(T::Interval) => T::Interval, |_, a| justified(a, justify_interval)]),
    function!("make_interval", Strict, [
        () => T::Interval, make_interval;
        (T::Int4) => T::Interval, make_interval;
        (T::Int4, T::Int4) => T::Interval, make_interval;
        (T::Int4, T::Int4, T::Int4) => T::Interval, make_interval;
        (T::Int4, T::Int4, T::Int4, T::Int4) => T::Interval, make_interval;
        (T::Int4, T::Int4, T::Int4, T::Int4, T::Int4) => T::Interval, make_interval;
        (T::Int4, T::Int4, T::Int4, T::Int4, T::Int4, T::Int4) => T::Interval, make_interval;
        (T::Int4, T::Int4, T::Int4, T::Int4, T::Int4, T::Int4, T::Float8) => T::Interval, make_interval;
    ]),
];

pub(super) fn interval_overflow() -> Error {
    Error::new(SqlState::DATETIME_FIELD_OVERFLOW, "interval out of range")
}

/// An interval whose parts are multiplied by `scaled`.
pub(super) fn scale(interval: Interval, scaled: impl Fn(f64) -> f64) -> Result<Interval> {
    let months = scaled(f64::from(interval.months));
    let days = scaled(f64::from(interval.days));
    let whole_months = whole(months)?;
    let whole_days = whole(days)?;
    // The rounding keeps the noise of doubles out of what should be whole.
    let month_days = to_micros((months - f64::from(whole_months)) * f64::from(MONTH_DAYS));
    let rest = days - f64::from(whole_days) + month_days - month_days.trunc();
    let mut seconds = to_micros(rest * DAY_SECONDS);
    let mut total_days = i64::from(whole_days);
    if seconds.abs() >= DAY_SECONDS {
        let carried = (seconds / DAY_SECONDS).trunc();
        total_days += carried as i64;
        seconds -= carried * DAY_SECONDS;
    }
    total_days += month_days.trunc() as i64;
    let micros = (scaled(interval.micros as f64) + seconds * 1e6).round_ties_even();
    if !(-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&micros) {
        return Err(interval_overflow());
    }
    let days = i32::try_from(total_days).map_err(|_| interval_overflow())?;
    Ok(Interval { months: whole_months, days, micros: micros as i64 })
}

/// The whole part, if it fits.
fn whole(value: f64) -> Result<i32> {
    if !(f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&value) {
        return Err(interval_overflow());
    }
    Ok(value.trunc() as i32)
}

/// PostgreSQL's `TSROUND`.
fn to_micros(value: f64) -> f64 {
    (value * 1e6).round_ties_even() / 1e6
}

fn justified(args: &[Value], justify: fn(Interval) -> Option<Interval>) -> Result<Value> {
    let [Value::Interval(interval)] = args else { return Err(mismatch("justify", args)) };
    justify(*interval).map(Value::Interval).ok_or_else(interval_overflow)
}

/// Whole days out of the time.
fn days_of_time(mut interval: Interval) -> Option<Interval> {
    let days = i32::try_from(interval.micros / DAY_US).ok()?;
    interval.micros %= DAY_US;
    interval.days = interval.days.checked_add(days)?;
    Some(interval)
}

/// Whole months out of the days.
fn months_of_days(mut interval: Interval) -> Option<Interval> {
    interval.months = interval.months.checked_add(interval.days / MONTH_DAYS)?;
    interval.days %= MONTH_DAYS;
    Some(interval)
}

/// A time of the other sign than the days borrows one of them.
fn same_sign_time(mut interval: Interval) -> Interval {
    if interval.days > 0 && interval.micros < 0 {
        interval.micros += DAY_US;
        interval.days -= 1;
    } else if interval.days < 0 && interval.micros > 0 {
        interval.micros -= DAY_US;
        interval.days += 1;
    }
    interval
}

fn justify_hours(interval: Interval) -> Option<Interval> {
    days_of_time(interval).map(same_sign_time)
}

fn justify_days(interval: Interval) -> Option<Interval> {
    let mut out = months_of_days(interval)?;
    if out.months > 0 && out.days < 0 {
        out.days += MONTH_DAYS;
        out.months -= 1;
    } else if out.months < 0 && out.days > 0 {
        out.days -= MONTH_DAYS;
        out.months += 1;
    }
    Some(out)
}

fn justify_interval(interval: Interval) -> Option<Interval> {
    // Months first where the days would grow: they might not fit otherwise.
    let growing = (interval.days > 0 && interval.micros > 0) || (interval.days < 0 && interval.micros < 0);
    let interval = if growing { months_of_days(interval)? } else { interval };
    let mut out = months_of_days(days_of_time(interval)?)?;
    if out.months > 0 && (out.days < 0 || (out.days == 0 && out.micros < 0)) {
        out.days += MONTH_DAYS;
        out.months -= 1;
    } else if out.months < 0 && (out.days > 0 || (out.days == 0 && out.micros > 0)) {
        out.days -= MONTH_DAYS;
        out.months += 1;
    }
    Some(same_sign_time(out))
}

/// `make_interval(years, months, weeks, days, hours, mins, secs)`; what is left out is 0.
fn make_interval(_: &Facts, args: &[Value]) -> Result<Value> {
    let part = |at: usize| if args.len() > at { int(args, at).map(i64::from) } else { Ok(0) };
    let seconds = match args.get(6) {
        None => 0.0,
        Some(Value::Float8(seconds)) => *seconds,
        Some(_) => return Err(mismatch("make_interval", args)),
    };
    let narrow = |value: i64| i32::try_from(value).map_err(|_| interval_overflow());
    let us = (seconds * 1e6).round_ties_even();
    if !(-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&us) {
        return Err(interval_overflow());
    }
    let clock_us = part(4)? * 3_600_000_000 + part(5)? * 60_000_000;
    Ok(Value::Interval(Interval {
        months: narrow(part(0)? * 12 + part(1)?)?,
        days: narrow(part(2)? * 7 + part(3)?)?,
        micros: clock_us.checked_add(us as i64).ok_or_else(interval_overflow)?,
    }))
}
