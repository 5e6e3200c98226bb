//! `interval` in PostgreSQL's text forms.
//!
//! Input is a list of amounts with units (`1 day 02:03:04`, `-1.5 hours ago`), SQL's `1-2 3 4:05:06`, or ISO 8601 (`P1DT2H`,
//! `P0001-02-03T04:05:06`). A fraction of a unit goes on to the next smaller of the three parts an interval has: of
//! years to months, of months (30 days) and weeks to days, of days (24 hours) to microseconds, as in PostgreSQL's
//! `DecodeInterval` (datetime.c).

use std::fmt::Write;

use crate::civil::{DAY_US, HOUR_US, MINUTE_US, SECOND_US, push_seconds, push_two};
use crate::{DataType, Error, Interval, Result, SqlState};

use super::invalid;

/// Why a text is no interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unreadable {
    Syntax,
    OutOfRange,
    /// Its fields are in range, but years and months are too many together.
    TooLong,
}

use Unreadable::{OutOfRange, Syntax, TooLong};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Microsecond,
    Millisecond,
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Year,
    Decade,
    Century,
    Millennium,
}

impl Unit {
    fn named(word: &str) -> Option<Unit> {
        const NAMES: [(Unit, &[&str]); 12] = [
            (Unit::Microsecond, &["us", "usec", "usecs", "usecond", "useconds", "microsecond", "microseconds"]),
            (Unit::Millisecond, &["ms", "msec", "msecs", "msecond", "mseconds", "millisecond", "milliseconds"]),
            (Unit::Second, &["s", "sec", "secs", "second", "seconds"]),
            (Unit::Minute, &["m", "min", "mins", "minute", "minutes"]),
            (Unit::Hour, &["h", "hr", "hrs", "hour", "hours"]),
            (Unit::Day, &["d", "day", "days"]),
            (Unit::Week, &["w", "week", "weeks"]),
            (Unit::Month, &["mon", "mons", "month", "months"]),
            (Unit::Year, &["y", "yr", "yrs", "year", "years"]),
            (Unit::Decade, &["dec", "decs", "decade", "decades"]),
            (Unit::Century, &["c", "cent", "century", "centuries"]),
            (Unit::Millennium, &["mil", "mils", "millennium", "millennia"]),
        ];
        let (unit, _) = NAMES.iter().find(|(_, names)| names.iter().any(|name| name.eq_ignore_ascii_case(word)))?;
        Some(*unit)
    }
}

/// A number with its fraction apart, both with the number's sign.
#[derive(Clone, Copy, Debug)]
struct Amount {
    whole: i64,
    fraction: f64,
}

/// Reads `12`, `12.5` or `.5`.
fn read_amount(digits: &str, negative: bool) -> Result<Amount, Unreadable> {
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() && fraction.is_empty() {
        return Err(Syntax);
    }
    if !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
        return Err(Syntax);
    }
    let whole = if whole.is_empty() { 0 } else { whole.parse::<i64>().map_err(|_| OutOfRange)? };
    let fraction = if fraction.is_empty() { 0.0 } else { format!("0.{fraction}").parse().map_err(|_| Syntax)? };
    Ok(if negative { Amount { whole: -whole, fraction: -fraction } } else { Amount { whole, fraction } })
}

/// The interval as far as it is read.
#[derive(Default)]
struct Parts {
    months: i64,
    days: i64,
    micros: i64,
    /// Units that were given; each may be once.
    seen: u32,
}

impl Parts {
    fn add(&mut self, unit: Unit, amount: Amount) -> Result<(), Unreadable> {
        let bit = 1 << unit as u32;
        if self.seen & bit != 0 {
            return Err(Syntax);
        }
        self.seen |= bit;
        let years = match unit {
            Unit::Month | Unit::Year => 1,
            Unit::Decade => 10,
            Unit::Century => 100,
            Unit::Millennium => 1000,
            _ => 0,
        };
        amount.whole.checked_mul(years).and_then(|count| i32::try_from(count).ok()).ok_or(OutOfRange)?;
        match unit {
            Unit::Microsecond => self.add_micros(amount, 1),
            Unit::Millisecond => self.add_micros(amount, 1000),
            Unit::Second => self.add_micros(amount, SECOND_US),
            Unit::Minute => self.add_micros(amount, MINUTE_US),
            Unit::Hour => self.add_micros(amount, HOUR_US),
            Unit::Day => self.add_days(amount, 1),
            Unit::Week => self.add_days(amount, 7),
            Unit::Month => self
                .add_months(amount.whole, 1)
                .and_then(|()| self.add_days(Amount { whole: 0, fraction: amount.fraction }, 30)),
            Unit::Year => self.add_years(amount, 1),
            Unit::Decade => self.add_years(amount, 10),
            Unit::Century => self.add_years(amount, 100),
            Unit::Millennium => self.add_years(amount, 1000),
        }
        .ok_or(OutOfRange)
    }

    fn add_micros(&mut self, amount: Amount, unit_us: i64) -> Option<()> {
        let fraction = (amount.fraction * unit_us as f64).round_ties_even() as i64;
        self.micros = self.micros.checked_add(amount.whole.checked_mul(unit_us)?)?.checked_add(fraction)?;
        Some(())
    }

    fn add_days(&mut self, amount: Amount, unit_days: i64) -> Option<()> {
        let fraction = amount.fraction * unit_days as f64;
        let whole = amount.whole.checked_mul(unit_days)?.checked_add(fraction.trunc() as i64)?;
        self.days = self.days.checked_add(whole)?;
        self.add_micros(Amount { whole: 0, fraction: fraction.fract() }, DAY_US)
    }

    fn add_months(&mut self, count: i64, unit_months: i64) -> Option<()> {
        self.months = self.months.checked_add(count.checked_mul(unit_months)?)?;
        Some(())
    }

    fn add_years(&mut self, amount: Amount, unit_years: i64) -> Option<()> {
        self.add_months(amount.whole, unit_years * 12)?;
        self.add_months((amount.fraction * (unit_years * 12) as f64).round_ties_even() as i64, 1)
    }

    /// Adds `h:mm`, `h:mm:ss.ffffff`, or `mm:ss.ffffff`.
    fn add_clock(&mut self, clock: &str, negative: bool) -> Result<(), Unreadable> {
        const CLOCK: u32 = 1 << Unit::Hour as u32 | 1 << Unit::Minute as u32 | 1 << Unit::Second as u32;
        if self.seen & CLOCK != 0 {
            return Err(Syntax);
        }
        self.seen |= CLOCK;
        let fields: Vec<&str> = clock.split(':').collect();
        let (hours, minutes, seconds) = match *fields.as_slice() {
            [minutes, seconds] if seconds.contains('.') => ("0", minutes, seconds),
            [hours, minutes] => (hours, minutes, "0"),
            [hours, minutes, seconds] => (hours, minutes, seconds),
            _ => return Err(Syntax),
        };
        if hours.contains('.') || minutes.contains('.') {
            return Err(Syntax);
        }
        let (hours, minutes) = (read_amount(hours, negative)?, read_amount(minutes, negative)?);
        let seconds = read_amount(seconds, negative)?;
        if minutes.whole.abs() > 59 || seconds.whole.abs() > 60 {
            return Err(OutOfRange);
        }
        self.add_micros(hours, HOUR_US).ok_or(OutOfRange)?;
        self.add_micros(minutes, MINUTE_US).ok_or(OutOfRange)?;
        self.add_micros(seconds, SECOND_US).ok_or(OutOfRange)
    }

    fn finish(self, ago: bool) -> Result<Interval, Unreadable> {
        let sign = if ago { -1 } else { 1 };
        Ok(Interval {
            months: i32::try_from(self.months * sign).map_err(|_| TooLong)?,
            days: i32::try_from(self.days * sign).map_err(|_| OutOfRange)?,
            micros: self.micros.checked_mul(sign).ok_or(OutOfRange)?,
        })
    }
}

/// Reads an interval.
pub(super) fn parse_interval(text: &str) -> Result<Interval> {
    let trimmed = text.trim_ascii();
    let read = match trimmed.strip_prefix(['P', 'p']) {
        Some(iso) => read_iso(iso),
        None => read_list(trimmed),
    };
    read.map_err(|unreadable| match unreadable {
        Syntax => invalid(DataType::Interval, text),
        TooLong => Error::new(SqlState::DATETIME_FIELD_OVERFLOW, "interval out of range"),
        OutOfRange => {
            Error::new(SqlState::INTERVAL_FIELD_OVERFLOW, format!("interval field value out of range: \"{text}\""))
        }
    })
}

/// The longest beginning of `text` whose characters are all wanted, and the rest.
fn take_while(text: &str, wanted: impl Fn(char) -> bool) -> (&str, &str) {
    let end = text.find(|c| !wanted(c)).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

/// Amounts with units, clock times, `years-months`.
fn read_list(text: &str) -> Result<Interval, Unreadable> {
    let mut rest = text.strip_prefix('@').unwrap_or(text);
    let mut parts = Parts::default();
    let (mut any, mut ago) = (false, false);
    loop {
        rest = rest.trim_ascii_start();
        if rest.is_empty() {
            break;
        }
        if rest.starts_with(|c: char| c.is_ascii_alphabetic()) {
            // A unit stands behind its amount and is read with it; only "ago" stands alone.
            let (word, after) = take_while(rest, |c| c.is_ascii_alphabetic());
            if !any || !word.eq_ignore_ascii_case("ago") {
                return Err(Syntax);
            }
            ago = true;
            rest = after;
            continue;
        }
        rest = read_item(rest, &mut parts)?;
        any = true;
    }
    if any { parts.finish(ago) } else { Err(Syntax) }
}

/// One signed item of the list; returns what follows it.
fn read_item<'a>(text: &'a str, parts: &mut Parts) -> Result<&'a str, Unreadable> {
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (number, rest) = take_while(text.trim_ascii_start(), |c| c.is_ascii_digit() || c == '.' || c == ':');
    if number.contains(':') {
        parts.add_clock(number, negative)?;
        return Ok(rest);
    }
    let amount = read_amount(number, negative)?;
    if let Some(months) = rest.strip_prefix('-')
        && months.starts_with(|c: char| c.is_ascii_digit())
    {
        let (months, rest) = take_while(months, |c| c.is_ascii_digit());
        let months = read_amount(months, negative)?;
        if rest.starts_with('-') {
            // A date.
            return Err(Syntax);
        }
        if months.whole.abs() > 11 {
            return Err(OutOfRange);
        }
        parts.add(Unit::Year, amount)?;
        parts.add(Unit::Month, months)?;
        return Ok(rest);
    }
    let (word, after) = take_while(rest.trim_ascii_start(), |c| c.is_ascii_alphabetic());
    if word.is_empty() || word.eq_ignore_ascii_case("ago") {
        // A bare number counts days before a clock time, and seconds elsewhere.
        let (next, _) = take_while(after.trim_start_matches(['+', '-', ' ']), |c| c.is_ascii_digit() || c == ':');
        let unit = if word.is_empty() && next.contains(':') { Unit::Day } else { Unit::Second };
        parts.add(unit, amount)?;
        return Ok(rest);
    }
    parts.add(Unit::named(word).ok_or(Syntax)?, amount)?;
    Ok(after)
}

/// ISO 8601, after its P.
fn read_iso(text: &str) -> Result<Interval, Unreadable> {
    let (date, time) = match text.split_once(['T', 't']) {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    if text.is_empty() {
        return Err(Syntax);
    }
    let mut parts = Parts::default();
    let alternative = |part: &str| !part.is_empty() && !part.contains(|c: char| c.is_ascii_alphabetic());
    if alternative(date) {
        let mut units = [Unit::Year, Unit::Month, Unit::Day].into_iter();
        for field in date.split('-') {
            parts.add(units.next().ok_or(Syntax)?, read_amount(field, false)?)?;
        }
    } else {
        read_designated(date, &mut parts, |designator| match designator.to_ascii_uppercase() {
            'Y' => Some(Unit::Year),
            'M' => Some(Unit::Month),
            'W' => Some(Unit::Week),
            'D' => Some(Unit::Day),
            _ => None,
        })?;
    }
    match time {
        Some(time) if alternative(time) => {
            // Without colons it is hhmmss, which nobody writes; refused.
            parts.add_clock(time, false)?;
        }
        Some(time) => read_designated(time, &mut parts, |designator| match designator.to_ascii_uppercase() {
            'H' => Some(Unit::Hour),
            'M' => Some(Unit::Minute),
            'S' => Some(Unit::Second),
            _ => None,
        })?,
        None => {}
    }
    parts.finish(false)
}

/// Signed amounts, each with a letter for its unit.
fn read_designated(mut text: &str, parts: &mut Parts, unit: impl Fn(char) -> Option<Unit>) -> Result<(), Unreadable> {
    while !text.is_empty() {
        let (negative, unsigned) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (number, rest) = take_while(unsigned, |c| c.is_ascii_digit() || c == '.');
        let mut chars = rest.chars();
        let designator = chars.next().ok_or(Syntax)?;
        parts.add(unit(designator).ok_or(Syntax)?, read_amount(number, negative)?)?;
        text = chars.as_str();
    }
    Ok(())
}

/// `1 year 2 mons -3 days +04:05:06.5`; `00:00:00` for nothing.
pub(super) fn push_interval(out: &mut String, interval: Interval) {
    let start = out.len();
    let mut after_negative = false;
    let parts = [
        (i64::from(interval.months / 12), "year"),
        (i64::from(interval.months % 12), "mon"),
        (i64::from(interval.days), "day"),
    ];
    for (count, unit) in parts.into_iter().filter(|(count, _)| *count != 0) {
        if out.len() > start {
            out.push(' ');
        }
        let sign = if after_negative && count > 0 { "+" } else { "" };
        let plural = if count == 1 { "" } else { "s" };
        // Writing to a string cannot fail.
        let _ = write!(out, "{sign}{count} {unit}{plural}");
        after_negative = count < 0;
    }
    if interval.micros == 0 && out.len() > start {
        return;
    }
    if out.len() > start {
        out.push(' ');
    }
    if interval.micros < 0 {
        out.push('-');
    } else if after_negative {
        out.push('+');
    }
    let micros = interval.micros.unsigned_abs();
    let hours = micros / HOUR_US.unsigned_abs();
    // Below an hour it fits.
    let micros = (micros % HOUR_US.unsigned_abs()) as i64;
    let _ = write!(out, "{hours:02}:");
    push_two(out, micros / MINUTE_US);
    out.push(':');
    push_seconds(out, micros % MINUTE_US);
}
