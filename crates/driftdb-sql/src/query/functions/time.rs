//! Functions on dates, times and intervals (PostgreSQL manual, "Date/Time Functions and Operators").
//!
//! Days are counted from 1970-01-01 in the proleptic Gregorian calendar; the conversion between days and dates is
//! Howard Hinnant's ("chrono-Compatible Low-Level Date Algorithms").

use driftdb_types::{DataType as T, Decimal, Error, Interval, Result, SqlState, TimeZone, Value};

use super::arith::{DAY_US, date_to_us, timestamp_overflow};
use super::text::{function, int, text};
use super::{Builtin, Facts, Kind, Nulls, Overload, Returns, mismatch};

const HOUR_US: i64 = 3_600_000_000;
const MINUTE_US: i64 = 60_000_000;
const SECOND_US: i64 = 1_000_000;
/// The Julian day of 1970-01-01.
const JULIAN_1970: i64 = 2_440_588;

/// `extract` of one kind of fields, which differ in the digits after the point.
macro_rules! extract {
    ($name:literal, $scale:literal) => {
        Builtin { name: $name, nulls: Nulls::Strict, volatile: false, overloads: &[
            extract!(@ T::Date, $scale), extract!(@ T::Timestamp, $scale), extract!(@ T::TimestampTz, $scale),
            extract!(@ T::Time, $scale), extract!(@ T::Interval, $scale),
        ] }
    };
    (@ $of:expr, $scale:literal) => {
        Overload { args: &[Kind::Is(T::Text), Kind::Is($of)], rest: None, returns: Returns::Is(T::Numeric(None)), eval: |facts, args| extract(facts, args, $scale) }
    };
}

pub(super) const FUNCTIONS: &[Builtin] = &[
    extract!("\u{1}extract:0", 0),
    extract!("\u{1}extract:3", 3),
    extract!("\u{1}extract:6", 6),
    extract!("\u{1}extract:16", 16),
    function!("date_part", Strict, [
        // Of a date it takes the fields of its midnight, unlike extract.
        (T::Text, T::Date) => T::Float8, |facts, a| date_part(facts, &midnight(a)?); (T::Text, T::Timestamp) => T::Float8, date_part;
        (T::Text, T::TimestampTz) => T::Float8, date_part; (T::Text, T::Time) => T::Float8, date_part;
        (T::Text, T::Interval) => T::Float8, date_part;
    ]),
    function!("date_trunc", Strict, [
        (T::Text, T::Timestamp) => T::Timestamp, date_trunc; (T::Text, T::TimestampTz) => T::TimestampTz, date_trunc;
        (T::Text, T::Interval) => T::Interval, date_trunc; (T::Text, T::TimestampTz, T::Text) => T::TimestampTz, date_trunc;
    ]),
    function!("timezone", Strict, [
        (T::Text, T::Timestamp) => T::TimestampTz, timezone; (T::Text, T::TimestampTz) => T::Timestamp, timezone;
        (T::Interval, T::Timestamp) => T::TimestampTz, timezone; (T::Interval, T::TimestampTz) => T::Timestamp, timezone;
    ]),
    function!("age", Strict, [
        (T::Timestamp, T::Timestamp) => T::Interval, age; (T::TimestampTz, T::TimestampTz) => T::Interval, age;
        (T::Timestamp) => T::Interval, age_today; (T::TimestampTz) => T::Interval, age_today;
    ]),
    function!("make_date", Strict, [(T::Int4, T::Int4, T::Int4) => T::Date, make_date]),
    function!("make_time", Strict, [(T::Int4, T::Int4, T::Float8) => T::Time, make_time]),
    function!("make_timestamp", Strict, [(T::Int4, T::Int4, T::Int4, T::Int4, T::Int4, T::Float8) => T::Timestamp, make_timestamp]),
    function!("make_timestamptz", Strict, [
        (T::Int4, T::Int4, T::Int4, T::Int4, T::Int4, T::Float8) => T::TimestampTz, make_timestamptz;
        (T::Int4, T::Int4, T::Int4, T::Int4, T::Int4, T::Float8, T::Text) => T::TimestampTz, make_timestamptz;
    ]),
    function!("to_timestamp", Strict, [
        (T::Float8) => T::TimestampTz, to_timestamp; (T::Text, T::Text) => T::TimestampTz, super::from_char::to_timestamp;
    ]),
    function!("date_bin", Strict, [
        (T::Interval, T::Timestamp, T::Timestamp) => T::Timestamp, date_bin;
        (T::Interval, T::TimestampTz, T::TimestampTz) => T::TimestampTz, date_bin;
    ]),
    function!("isfinite", Strict, [
        (T::Date) => T::Bool, is_finite; (T::Timestamp) => T::Bool, is_finite;
        (T::TimestampTz) => T::Bool, is_finite; (T::Interval) => T::Bool, is_finite;
    ]),
    Builtin {
        name: "clock_timestamp",
        nulls: Nulls::Strict,
        volatile: true,
        overloads: &[Overload {
            args: &[],
            rest: None,
            returns: Returns::Is(T::TimestampTz),
            eval: |facts, _| Ok(Value::TimestampTz(facts.clock.now_us())),
        }],
    },
];

/// Whether a timestamp is `infinity` or `-infinity`, which have the places of the last and the first number.
pub(super) fn is_infinite(us: i64) -> bool {
    matches!(us, i64::MAX | i64::MIN)
}

/// The infinity that a value is, if it is one.
fn infinity(value: &Value) -> Option<f64> {
    match value {
        Value::Date(i32::MAX) | Value::Timestamp(i64::MAX) | Value::TimestampTz(i64::MAX) => Some(f64::INFINITY),
        Value::Date(i32::MIN) | Value::Timestamp(i64::MIN) | Value::TimestampTz(i64::MIN) => Some(f64::NEG_INFINITY),
        _ => None,
    }
}

fn is_finite(_: &Facts, args: &[Value]) -> Result<Value> {
    Ok(Value::Bool(args.iter().all(|value| infinity(value).is_none())))
}

/// A date among the arguments as the timestamp of its midnight.
fn midnight(args: &[Value]) -> Result<Vec<Value>> {
    let at_midnight = |value: &Value| match value {
        Value::Date(date) => date_to_us(*date).map(Value::Timestamp),
        other => Ok(other.clone()),
    };
    args.iter().map(at_midnight).collect()
}

/// Days since 1970-01-01 of a date.
pub(super) fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year - era * 400;
    let shifted = (month + 9) % 12;
    let day_of_year = (153 * shifted + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Year, month and day of a count of days.
pub(super) fn date_parts(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days - era * 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

pub(super) fn days_in_month(year: i64, month: i64) -> i64 {
    let (next_year, next_month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
    days_of(next_year, next_month, 1) - days_of(year, month, 1)
}

/// A moment plus months (the day is cut to the month's length), then days, then microseconds.
pub(crate) fn add_interval(at: i64, by: Interval) -> Result<i64> {
    if is_infinite(at) {
        return Ok(at);
    }
    let dated = add_days(at, by)?;
    dated.checked_add(by.micros).filter(|us| in_range(*us)).ok_or_else(timestamp_overflow)
}

/// The same for a moment of the world: months and days pass on the clock of the session's zone.
pub(crate) fn add_interval_tz(at: i64, by: Interval, zone: &TimeZone) -> Result<i64> {
    if is_infinite(at) {
        return Ok(at);
    }
    let dated = if by.months == 0 && by.days == 0 { at } else { zone.to_utc(add_days(zone.to_local(at)?, by)?)? };
    dated.checked_add(by.micros).filter(|us| in_range(*us)).ok_or_else(timestamp_overflow)
}

/// From 4714 BC, as in PostgreSQL, to 294247 AD, where 64 bits end; PostgreSQL counts from 2000 and gets thirty years
/// further.
pub(super) fn in_range(us: i64) -> bool {
    (-210_866_803_200_000_000..i64::MAX).contains(&us)
}

fn add_days(at: i64, by: Interval) -> Result<i64> {
    Interval { micros: 0, ..by }.after(at).ok_or_else(timestamp_overflow)
}

/// The difference of two moments: days and the rest.
pub(super) fn interval_between(later: i64, earlier: i64) -> Result<Interval> {
    if is_infinite(later) || is_infinite(earlier) {
        return Err(Error::new(SqlState::DATETIME_FIELD_OVERFLOW, "cannot subtract infinite timestamps"));
    }
    let difference = later.checked_sub(earlier).ok_or_else(timestamp_overflow)?;
    let days = i32::try_from(difference / DAY_US).map_err(|_| timestamp_overflow())?;
    Ok(Interval { months: 0, days, micros: difference % DAY_US })
}

/// Something that fields can be taken of: a local date and time, and what it is besides.
struct Fields {
    days: i64,
    time: i64,
    /// Seconds east of UTC, for timestamptz.
    offset: Option<i64>,
    has_date: bool,
    has_time: bool,
}

fn fields(facts: &Facts, value: &Value) -> Result<Option<Fields>> {
    let split = |us: i64| (us.div_euclid(DAY_US), us.rem_euclid(DAY_US));
    Ok(Some(match value {
        Value::Date(days) => Fields { days: i64::from(*days), time: 0, offset: None, has_date: true, has_time: false },
        Value::Time(time) => Fields { days: 0, time: *time, offset: None, has_date: false, has_time: true },
        Value::Timestamp(us) => {
            let (days, time) = split(*us);
            Fields { days, time, offset: None, has_date: true, has_time: true }
        }
        Value::TimestampTz(us) => {
            let (days, time) = split(facts.zone.to_local(*us)?);
            let offset = Some(i64::from(facts.zone.offset_at(*us)));
            Fields { days, time, offset, has_date: true, has_time: true }
        }
        _ => return Ok(None),
    }))
}

/// ISO year and week.
fn iso_week(days: i64) -> (i64, i64) {
    // The week belongs to the year that its Thursday is in; 1970-01-01 was a Thursday.
    let weekday = (days + 3).rem_euclid(7);
    let thursday = days - weekday + 3;
    let (year, ..) = date_parts(thursday);
    (year, (thursday - days_of(year, 1, 1)) / 7 + 1)
}

/// A field in microths.
fn field_micros(facts: &Facts, field: &str, value: &Value) -> Result<i128> {
    const MICRO: i128 = 1_000_000;
    let whole = |number: i64| Ok(i128::from(number) * MICRO);
    if let Value::Interval(interval) = value {
        return interval_field(field, *interval);
    }
    let Some(of) = fields(facts, value)? else { return Err(mismatch("extract", std::slice::from_ref(value))) };
    let type_name = value.data_type().map_or_else(String::new, |t| t.sql_name());
    let unsupported =
        || Error::new(SqlState::FEATURE_NOT_SUPPORTED, format!("unit \"{field}\" not supported for type {type_name}"));
    let (year, month, day) = date_parts(of.days);
    let field = normal_field(field).ok_or_else(|| unknown_unit(field, &type_name))?;
    let date = |number: i64| if of.has_date { whole(number) } else { Err(unsupported()) };
    let time = |micros: i64| if of.has_time { Ok(i128::from(micros)) } else { Err(unsupported()) };
    match field {
        "microseconds" => time(of.time % MINUTE_US).map(|us| us * MICRO),
        "milliseconds" => time(of.time % MINUTE_US).map(|us| us * 1000),
        "second" => time(of.time % MINUTE_US),
        "minute" => time(of.time / MINUTE_US % 60).map(|n| n * MICRO),
        "hour" => time(of.time / HOUR_US).map(|n| n * MICRO),
        "day" => date(day),
        "month" => date(month),
        "quarter" => date((month - 1) / 3 + 1),
        // There is no year 0: before 1 AD comes 1 BC, which is -1.
        "year" => date(if year <= 0 { year - 1 } else { year }),
        "decade" => date(year.div_euclid(10)),
        "century" => date(if year > 0 { (year + 99) / 100 } else { -((100 - year) / 100) }),
        "millennium" => date(if year > 0 { (year + 999) / 1000 } else { -((1000 - year) / 1000) }),
        "dow" => date((of.days + 4).rem_euclid(7)),
        "isodow" => date((of.days + 3).rem_euclid(7) + 1),
        "doy" => date(of.days - days_of(year, 1, 1) + 1),
        "week" => date(iso_week(of.days).1),
        "isoyear" => date(iso_week(of.days).0),
        "julian" if of.has_date => {
            Ok(i128::from(of.days + JULIAN_1970) * MICRO + i128::from(of.time) * MICRO / i128::from(DAY_US))
        }
        "epoch" => match value {
            Value::TimestampTz(us) => Ok(i128::from(*us)),
            _ => Ok(i128::from(of.days) * i128::from(DAY_US) + i128::from(of.time)),
        },
        "timezone" => of.offset.map(|offset| i128::from(offset) * MICRO).ok_or_else(unsupported),
        "timezone_hour" => of.offset.map(|offset| i128::from(offset / 3600) * MICRO).ok_or_else(unsupported),
        "timezone_minute" => of.offset.map(|offset| i128::from(offset / 60 % 60) * MICRO).ok_or_else(unsupported),
        _ => Err(unsupported()),
    }
}

fn interval_field(field: &str, interval: Interval) -> Result<i128> {
    const MICRO: i128 = 1_000_000;
    let years = i128::from(interval.months / 12);
    let Some(normal) = normal_field(field) else { return Err(unknown_unit(field, "interval")) };
    Ok(match normal {
        "microseconds" => i128::from(interval.micros % MINUTE_US) * MICRO,
        "milliseconds" => i128::from(interval.micros % MINUTE_US) * 1000,
        "second" => i128::from(interval.micros % MINUTE_US),
        "minute" => i128::from(interval.micros / MINUTE_US % 60) * MICRO,
        "hour" => i128::from(interval.micros / HOUR_US) * MICRO,
        "day" => i128::from(interval.days) * MICRO,
        "month" => i128::from(interval.months % 12) * MICRO,
        "quarter" => i128::from(interval.months % 12 / 3 + 1) * MICRO,
        "year" => years * MICRO,
        "decade" => years / 10 * MICRO,
        "century" => years / 100 * MICRO,
        "millennium" => years / 1000 * MICRO,
        // A year counts 365.25 days here, a month 30.
        "epoch" => {
            let days = years * 1461 * i128::from(DAY_US) / 4
                + i128::from(interval.months % 12) * 30 * i128::from(DAY_US)
                + i128::from(interval.days) * i128::from(DAY_US);
            days + i128::from(interval.micros)
        }
        _ => {
            return Err(Error::new(
                SqlState::FEATURE_NOT_SUPPORTED,
                format!("unit \"{field}\" not supported for type interval"),
            ));
        }
    })
}

fn unknown_unit(field: &str, type_name: &str) -> Error {
    Error::new(
        SqlState::INVALID_PARAMETER_VALUE,
        format!("unit \"{}\" not recognized for type {type_name}", field.to_lowercase()),
    )
}

/// The names a field goes by.
fn normal_field(field: &str) -> Option<&'static str> {
    Some(match field.trim().to_lowercase().as_str() {
        "microsecond" | "microseconds" | "us" | "usec" | "usecs" => "microseconds",
        "millisecond" | "milliseconds" | "ms" | "msec" | "msecs" => "milliseconds",
        "second" | "seconds" | "s" | "sec" | "secs" => "second",
        "minute" | "minutes" | "m" | "min" | "mins" => "minute",
        "hour" | "hours" | "h" | "hr" | "hrs" => "hour",
        "day" | "days" | "d" => "day",
        "week" | "weeks" | "w" => "week",
        "month" | "months" | "mon" | "mons" => "month",
        "quarter" | "qtr" => "quarter",
        "year" | "years" | "y" | "yr" | "yrs" => "year",
        "decade" | "decades" | "dec" | "decs" => "decade",
        "century" | "centuries" | "c" | "cent" => "century",
        "millennium" | "millennia" | "mil" | "mils" => "millennium",
        "dow" => "dow",
        "isodow" => "isodow",
        "doy" => "doy",
        "isoyear" => "isoyear",
        "julian" | "j" => "julian",
        "epoch" => "epoch",
        "timezone" => "timezone",
        "timezone_hour" | "timezone_h" => "timezone_hour",
        "timezone_minute" | "timezone_m" => "timezone_minute",
        _ => return None,
    })
}

/// What a field of an infinite date or time is: as infinite if it only ever grows, else NULL.
fn infinite_field(field: &str, value: &Value) -> Result<Option<f64>> {
    let type_name = value.data_type().map_or_else(String::new, |t| t.sql_name());
    match normal_field(field) {
        Some("year" | "decade" | "century" | "millennium" | "julian" | "isoyear" | "epoch") => Ok(infinity(value)),
        Some(
            "hour" | "minute" | "second" | "milliseconds" | "microseconds" | "timezone" | "timezone_hour"
            | "timezone_minute",
        ) if matches!(value, Value::Date(_)) => Err(unsupported_unit(field, &type_name)),
        Some(_) => Ok(None),
        None => Err(unknown_unit(field, &type_name)),
    }
}

fn unsupported_unit(field: &str, type_name: &str) -> Error {
    Error::new(
        SqlState::FEATURE_NOT_SUPPORTED,
        format!("unit \"{}\" not supported for type {type_name}", field.to_lowercase()),
    )
}

fn extract(facts: &Facts, args: &[Value], scale: u8) -> Result<Value> {
    let Some(value) = args.get(1) else { return Err(mismatch("extract", args)) };
    let field = text(args, 0)?;
    if infinity(value).is_some() {
        return match infinite_field(field, value)? {
            Some(_) => Err(Error::unsupported("the numeric value Infinity").hint("date_part() gives it as a float.")),
            None => Ok(Value::Null),
        };
    }
    if normal_field(field) == Some("julian")
        && let Some(of) = fields(facts, value)?
        && of.has_date
        && of.has_time
    {
        let part = Decimal::from(of.time).checked_div(Decimal::from(DAY_US))?;
        return Decimal::from(of.days + JULIAN_1970).checked_add(part).map(Value::Numeric);
    }
    // All fields of a date are whole.
    let scale = if matches!(value, Value::Date(_)) { 0 } else { scale };
    let micros = field_micros(facts, field, value)?;
    Decimal::new(micros, 6)?.rescale(scale).map(Value::Numeric)
}

fn date_part(facts: &Facts, args: &[Value]) -> Result<Value> {
    let Some(value) = args.get(1) else { return Err(mismatch("date_part", args)) };
    let field = text(args, 0)?;
    if infinity(value).is_some() {
        return Ok(infinite_field(field, value)?.map_or(Value::Null, Value::Float8));
    }
    if normal_field(field) == Some("julian")
        && let Some(of) = fields(facts, value)?
        && of.has_date
    {
        return Ok(Value::Float8((of.days + JULIAN_1970) as f64 + of.time as f64 / DAY_US as f64));
    }
    Ok(Value::Float8(field_micros(facts, field, value)? as f64 / 1e6))
}

fn date_trunc(facts: &Facts, args: &[Value]) -> Result<Value> {
    let unit = text(args, 0)?;
    match args.get(1) {
        Some(value) if infinity(value).is_some() => Ok(value.clone()),
        Some(Value::Timestamp(us)) => truncate(unit, *us).map(Value::Timestamp),
        Some(Value::TimestampTz(us)) => {
            let other = match args.get(2) {
                Some(_) => Some(TimeZone::named(text(args, 2)?)?),
                None => None,
            };
            let zone = other.as_ref().unwrap_or(&facts.zone);
            zone.to_utc(truncate(unit, zone.to_local(*us)?)?).map(Value::TimestampTz)
        }
        Some(Value::Interval(interval)) => truncate_interval(unit, *interval).map(Value::Interval),
        _ => Err(mismatch("date_trunc", args)),
    }
}

fn truncate(unit: &str, us: i64) -> Result<i64> {
    let (days, time) = (us.div_euclid(DAY_US), us.rem_euclid(DAY_US));
    let (year, month, _) = date_parts(days);
    let normal = normal_field(unit);
    let day = match normal {
        Some("microseconds") => return Ok(us),
        Some("milliseconds") => return Ok(us - us.rem_euclid(1000)),
        Some("second") => return Ok(us - us.rem_euclid(SECOND_US)),
        Some("minute") => return Ok(us - us.rem_euclid(MINUTE_US)),
        Some("hour") => return Ok(us - time % HOUR_US),
        Some("day") => days,
        Some("week") => days - (days + 3).rem_euclid(7),
        Some("month") => days_of(year, month, 1),
        Some("quarter") => days_of(year, (month - 1) / 3 * 3 + 1, 1),
        Some("year") => days_of(year, 1, 1),
        Some("decade") => days_of(year.div_euclid(10) * 10, 1, 1),
        Some("century") => days_of((year - 1).div_euclid(100) * 100 + 1, 1, 1),
        Some("millennium") => days_of((year - 1).div_euclid(1000) * 1000 + 1, 1, 1),
        Some(_) => {
            return Err(Error::new(
                SqlState::FEATURE_NOT_SUPPORTED,
                format!("unit \"{unit}\" not supported for type timestamp without time zone"),
            ));
        }
        None => return Err(unknown_unit(unit, "timestamp without time zone")),
    };
    day.checked_mul(DAY_US).ok_or_else(timestamp_overflow)
}

fn truncate_interval(unit: &str, interval: Interval) -> Result<Interval> {
    let months = |step: i32| Interval { months: interval.months / step * step, days: 0, micros: 0 };
    let micros = |step: i64| Interval { micros: interval.micros / step * step, ..interval };
    Ok(match normal_field(unit) {
        Some("microseconds") => interval,
        Some("milliseconds") => micros(1000),
        Some("second") => micros(SECOND_US),
        Some("minute") => micros(MINUTE_US),
        Some("hour") => micros(HOUR_US),
        Some("day") => Interval { micros: 0, ..interval },
        Some("month") => months(1),
        Some("quarter") => months(3),
        Some("year") => months(12),
        Some("decade") => months(120),
        Some("century") => months(1200),
        Some("millennium") => months(12_000),
        Some(_) => {
            return Err(Error::new(
                SqlState::FEATURE_NOT_SUPPORTED,
                format!("unit \"{unit}\" not supported for type interval"),
            ));
        }
        None => return Err(unknown_unit(unit, "interval")),
    })
}

/// How many digits after the point `extract` of a field gives.
pub(crate) fn extract_scale(field: &str) -> u8 {
    match normal_field(field) {
        Some("second" | "epoch") => 6,
        Some("milliseconds") => 3,
        Some("julian") => 16,
        _ => 0,
    }
}

/// `AT TIME ZONE`: an abbreviation, a name, a rule whose offsets count westward, or an interval, which counts eastward.
fn timezone(_: &Facts, args: &[Value]) -> Result<Value> {
    let zone = match args.first() {
        Some(Value::Interval(interval)) if interval.months != 0 || interval.days != 0 => {
            return Err(Error::new(
                SqlState::INVALID_PARAMETER_VALUE,
                "interval time zone must not include months or days",
            ));
        }
        Some(Value::Interval(interval)) => {
            let seconds = i32::try_from(interval.micros / SECOND_US).map_err(|_| timestamp_overflow())?;
            TimeZone::fixed(seconds)?
        }
        _ => TimeZone::named(text(args, 0)?)?,
    };
    match args.get(1) {
        Some(Value::Timestamp(local)) => zone.to_utc(*local).map(Value::TimestampTz),
        Some(Value::TimestampTz(us)) => zone.to_local(*us).map(Value::Timestamp),
        _ => Err(mismatch("timezone", args)),
    }
}

/// The difference in years, months, days and time, as a calendar counts it.
fn age(facts: &Facts, args: &[Value]) -> Result<Value> {
    let (a, b, forward) = match args {
        [Value::Timestamp(a), Value::Timestamp(b)] => (*a, *b, a >= b),
        [Value::TimestampTz(a), Value::TimestampTz(b)] => (facts.zone.to_local(*a)?, facts.zone.to_local(*b)?, a >= b),
        other => return Err(mismatch("age", other)),
    };
    if is_infinite(a) || is_infinite(b) {
        // PostgreSQL 15 takes infinity for a date like any other here.
        return Err(Error::unsupported("the age of an infinite timestamp"));
    }
    let (high, low) = if forward { (a, b) } else { (b, a) };
    let (high_year, high_month, high_day) = date_parts(high.div_euclid(DAY_US));
    let (low_year, low_month, low_day) = date_parts(low.div_euclid(DAY_US));
    let mut months = (high_year - low_year) * 12 + high_month - low_month;
    let mut days = high_day - low_day;
    let mut micros = high.rem_euclid(DAY_US) - low.rem_euclid(DAY_US);
    if micros < 0 {
        micros += DAY_US;
        days -= 1;
    }
    while days < 0 {
        // The days are borrowed from the month of the earlier date, whichever way is counted.
        days += days_in_month(low_year, low_month);
        months -= 1;
    }
    let sign = if forward { 1 } else { -1 };
    let narrow = |number: i64| i32::try_from(number * sign).map_err(|_| timestamp_overflow());
    Ok(Value::Interval(Interval { months: narrow(months)?, days: narrow(days)?, micros: micros * sign }))
}

/// Against midnight of the current day.
fn age_today(facts: &Facts, args: &[Value]) -> Result<Value> {
    let today = facts.zone.to_local(facts.statement_time_us)?.div_euclid(DAY_US) * DAY_US;
    match args {
        [Value::Timestamp(_)] => age(facts, &[Value::Timestamp(today), args.first().cloned().unwrap_or(Value::Null)]),
        [Value::TimestampTz(us)] => {
            let local = Value::Timestamp(facts.zone.to_local(*us)?);
            age(facts, &[Value::Timestamp(today), local])
        }
        other => Err(mismatch("age", other)),
    }
}

fn date_from(args: &[Value]) -> Result<i64> {
    let (year, month, day) = (i64::from(int(args, 0)?), i64::from(int(args, 1)?), i64::from(int(args, 2)?));
    let bad = || {
        Error::new(
            SqlState::DATETIME_FIELD_OVERFLOW,
            format!("date field value out of range: {year}-{month:02}-{day:02}"),
        )
    };
    if year == 0 || !(-4712..=5_874_897).contains(&year) || !(1..=12).contains(&month) {
        return Err(bad());
    }
    let astronomical = if year < 0 { year + 1 } else { year };
    if !(1..=days_in_month(astronomical, month)).contains(&day) {
        return Err(bad());
    }
    Ok(days_of(astronomical, month, day))
}

fn time_from(args: &[Value], at: usize) -> Result<i64> {
    let (hour, minute) = (int(args, at)?, int(args, at + 1)?);
    let Some(Value::Float8(second)) = args.get(at + 2) else { return Err(mismatch("make_time", args)) };
    let bad = || {
        Error::new(
            SqlState::DATETIME_FIELD_OVERFLOW,
            format!("time field value out of range: {hour}:{minute:02}:{second}"),
        )
    };
    let in_day = (0..24).contains(&hour) && (0..60).contains(&minute) && (0.0..60.0).contains(second);
    let midnight = hour == 24 && minute == 0 && *second == 0.0;
    if !in_day && !midnight {
        return Err(bad());
    }
    Ok(i64::from(hour) * HOUR_US + i64::from(minute) * MINUTE_US + (second * 1e6).round() as i64)
}

fn make_date(_: &Facts, args: &[Value]) -> Result<Value> {
    i32::try_from(date_from(args)?).map(Value::Date).map_err(|_| timestamp_overflow())
}

fn make_time(_: &Facts, args: &[Value]) -> Result<Value> {
    time_from(args, 0).map(Value::Time)
}

fn make_timestamp(_: &Facts, args: &[Value]) -> Result<Value> {
    let days = i32::try_from(date_from(args)?).map_err(|_| timestamp_overflow())?;
    date_to_us(days)?
        .checked_add(time_from(args, 3)?)
        .filter(|us| in_range(*us))
        .map(Value::Timestamp)
        .ok_or_else(timestamp_overflow)
}

/// The same of a zone's clock. A signed offset counts eastward here, unlike in AT TIME ZONE.
fn make_timestamptz(facts: &Facts, args: &[Value]) -> Result<Value> {
    let Value::Timestamp(local) = make_timestamp(facts, args)? else { return Err(mismatch("make_timestamptz", args)) };
    if args.len() < 7 {
        return facts.zone.to_utc(local).map(Value::TimestampTz);
    }
    let name = text(args, 6)?;
    let zone = TimeZone::named(name)?;
    let zone = if name.starts_with(['+', '-']) { TimeZone::fixed(-zone.offset_at(0))? } else { zone };
    zone.to_utc(local).map(Value::TimestampTz)
}

fn to_timestamp(_: &Facts, args: &[Value]) -> Result<Value> {
    match args {
        [Value::Float8(seconds)] => {
            if seconds.is_nan() {
                return Err(Error::new(SqlState::DATETIME_FIELD_OVERFLOW, "timestamp cannot be NaN"));
            }
            if seconds.is_infinite() {
                return Ok(Value::TimestampTz(if *seconds > 0.0 { i64::MAX } else { i64::MIN }));
            }
            let us = (seconds * 1e6).round_ties_even();
            if us.is_nan() || us.abs() >= 9.22e18 || !in_range(us as i64) {
                return Err(timestamp_overflow());
            }
            Ok(Value::TimestampTz(us as i64))
        }
        other => Err(mismatch("to_timestamp", other)),
    }
}

fn date_bin(_: &Facts, args: &[Value]) -> Result<Value> {
    let (stride, at, origin) = match args {
        [Value::Interval(stride), Value::Timestamp(at), Value::Timestamp(origin)]
        | [Value::Interval(stride), Value::TimestampTz(at), Value::TimestampTz(origin)] => (stride, *at, *origin),
        other => return Err(mismatch("date_bin", other)),
    };
    if is_infinite(at) {
        return Ok(args.get(1).cloned().unwrap_or(Value::Null));
    }
    if is_infinite(origin) {
        return Err(Error::new(SqlState::DATETIME_FIELD_OVERFLOW, "origin out of range"));
    }
    if stride.months != 0 {
        return Err(Error::unsupported("timestamps cannot be binned into intervals containing months or years"));
    }
    let width = i64::from(stride.days)
        .checked_mul(DAY_US)
        .and_then(|us| us.checked_add(stride.micros))
        .ok_or_else(timestamp_overflow)?;
    if width <= 0 {
        return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, "stride must be greater than zero"));
    }
    let distance = at.checked_sub(origin).ok_or_else(timestamp_overflow)?;
    let bins = distance.div_euclid(width).checked_mul(width);
    let binned = bins.and_then(|bins| origin.checked_add(bins)).ok_or_else(timestamp_overflow)?;
    Ok(match args.get(1) {
        Some(Value::TimestampTz(_)) => Value::TimestampTz(binned),
        _ => Value::Timestamp(binned),
    })
}
