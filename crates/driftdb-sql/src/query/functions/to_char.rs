//! `to_char`, with the template patterns that are in common use; any other pattern is refused rather than echoed.

use driftdb_types::{DataType as T, Error, Result, SqlState, Value};

use super::arith::DAY_US;
use super::text::{function, text};
use super::time::{date_parts, days_of};
use super::{Builtin, Facts, Kind, Nulls, Overload, Returns, mismatch};

pub(super) const FUNCTIONS: &[Builtin] = &[
    function!("to_char", Strict, [
        (T::Timestamp, T::Text) => T::Text, of_time; (T::TimestampTz, T::Text) => T::Text, of_time;
        (T::Int4, T::Text) => T::Text, of_number; (T::Int8, T::Text) => T::Text, of_number;
        (T::Numeric(None), T::Text) => T::Text, of_number; (T::Float8, T::Text) => T::Text, of_number;
    ]),
    function!("to_date", Strict, [(T::Text, T::Text) => T::Date, to_date]),
];

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// Patterns, longest first where one begins with another.
const PATTERNS: [&str; 36] = [
    "HH24", "HH12", "HH", "MI", "SSSS", "SS", "MS", "US", "AM", "PM", "am", "pm", "YYYY", "YYY", "YY", "Y", "MONTH",
    "Month", "month", "MON", "Mon", "mon", "MM", "DAY", "Day", "day", "DDD", "DD", "DY", "Dy", "dy", "D", "IW", "Q",
    "TZ", "OF",
];

struct Moment {
    days: i64,
    time: i64,
    zone: Option<(String, i32)>,
}

fn of_time(facts: &Facts, args: &[Value]) -> Result<Value> {
    let moment = match args.first() {
        Some(Value::Timestamp(us)) => Moment { days: us.div_euclid(DAY_US), time: us.rem_euclid(DAY_US), zone: None },
        Some(Value::TimestampTz(us)) => {
            let local = facts.zone.to_local(*us)?;
            let zone = Some((facts.zone.name().to_owned(), facts.zone.offset_at(*us)));
            Moment { days: local.div_euclid(DAY_US), time: local.rem_euclid(DAY_US), zone }
        }
        _ => return Err(mismatch("to_char", args)),
    };
    let mut out = String::new();
    for part in parts(text(args, 1)?)? {
        match part {
            Part::Text(text) => out.push_str(&text),
            Part::Pattern { name, bare } => out.push_str(&moment.format(name, bare)?),
        }
    }
    Ok(Value::Text(out))
}

enum Part {
    Text(String),
    /// `bare`: `FM` stood before it, so no padding.
    Pattern {
        name: &'static str,
        bare: bool,
    },
}

fn parts(format: &str) -> Result<Vec<Part>> {
    let mut parts = Vec::new();
    let mut rest = format;
    let mut bare = false;
    while let Some(c) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("FM") {
            bare = true;
            rest = after;
            continue;
        }
        if let Some(after) = rest.strip_prefix('"') {
            let (quoted, after) = after.split_once('"').unwrap_or((after, ""));
            parts.push(Part::Text(quoted.to_owned()));
            rest = after;
            continue;
        }
        let upper = rest.to_uppercase();
        let found = PATTERNS.iter().find(|pattern| rest.starts_with(**pattern)).or_else(|| {
            // The case of a number's pattern means nothing.
            PATTERNS.iter().find(|pattern| upper.starts_with(**pattern))
        });
        match found {
            Some(name) => {
                parts.push(Part::Pattern { name, bare });
                bare = false;
                rest = rest.get(name.len()..).unwrap_or_default();
            }
            None if c.is_alphabetic() => {
                return Err(Error::unsupported(format!(
                    "the to_char pattern that begins with \"{c}\" in \"{format}\""
                ))
                .hint("Put text between double quotes."));
            }
            None => {
                parts.push(Part::Text(c.to_string()));
                rest = rest.get(c.len_utf8()..).unwrap_or_default();
            }
        }
    }
    Ok(parts)
}

impl Moment {
    fn format(&self, pattern: &str, bare: bool) -> Result<String> {
        let (year, month, day) = date_parts(self.days);
        let number = |value: i64, width: usize| if bare { value.to_string() } else { format!("{value:0width$}") };
        let name = |name: &str| if bare { name.to_owned() } else { format!("{name:<9}") };
        let short = |name: &str| name.chars().take(3).collect::<String>();
        let month_name = usize::try_from(month - 1).ok().and_then(|m| MONTHS.get(m)).copied().unwrap_or_default();
        let weekday = (self.days + 4).rem_euclid(7);
        let day_name = usize::try_from(weekday).ok().and_then(|d| DAYS.get(d)).copied().unwrap_or_default();
        let hour = self.time / 3_600_000_000;
        let hour12 = if hour % 12 == 0 { 12 } else { hour % 12 };
        let half = if hour < 12 { "AM" } else { "PM" };
        Ok(match pattern {
            "HH24" => number(hour, 2),
            "HH12" | "HH" => number(hour12, 2),
            "MI" => number(self.time / 60_000_000 % 60, 2),
            "SSSS" => number(self.time / 1_000_000, 1),
            "SS" => number(self.time / 1_000_000 % 60, 2),
            "MS" => number(self.time / 1000 % 1000, 3),
            "US" => number(self.time % 1_000_000, 6),
            "AM" | "PM" => half.to_owned(),
            "am" | "pm" => half.to_lowercase(),
            "YYYY" => number(year, 4),
            "YYY" => number(year.rem_euclid(1000), 3),
            "YY" => number(year.rem_euclid(100), 2),
            "Y" => number(year.rem_euclid(10), 1),
            "MONTH" => name(&month_name.to_uppercase()),
            "Month" => name(month_name),
            "month" => name(&month_name.to_lowercase()),
            "MON" => short(month_name).to_uppercase(),
            "Mon" => short(month_name),
            "mon" => short(month_name).to_lowercase(),
            "MM" => number(month, 2),
            "DAY" => name(&day_name.to_uppercase()),
            "Day" => name(day_name),
            "day" => name(&day_name.to_lowercase()),
            "DY" => short(day_name).to_uppercase(),
            "Dy" => short(day_name),
            "dy" => short(day_name).to_lowercase(),
            "DDD" => number(self.days - days_of(year, 1, 1) + 1, 3),
            "DD" => number(day, 2),
            "D" => number(weekday + 1, 1),
            "IW" => {
                let thursday = self.days - (self.days + 3).rem_euclid(7) + 3;
                number((thursday - days_of(date_parts(thursday).0, 1, 1)) / 7 + 1, 2)
            }
            "Q" => number((month - 1) / 3 + 1, 1),
            "TZ" => self.zone.as_ref().map_or_else(String::new, |(name, _)| name.clone()),
            "OF" => self.zone.as_ref().map_or_else(String::new, |(_, offset)| offset_text(*offset)),
            other => return Err(Error::unsupported(format!("the to_char pattern {other}"))),
        })
    }
}

fn offset_text(seconds: i32) -> String {
    let sign = if seconds < 0 { '-' } else { '+' };
    let minutes = seconds.abs() / 60;
    match minutes % 60 {
        0 => format!("{sign}{:02}", minutes / 60),
        rest => format!("{sign}{:02}:{rest:02}", minutes / 60),
    }
}

/// Numbers with the patterns 9, 0, a point, commas and FM.
fn of_number(_: &Facts, args: &[Value]) -> Result<Value> {
    let format = text(args, 1)?;
    let (bare, pattern) = match format.strip_prefix("FM") {
        Some(rest) => (true, rest),
        None => (false, format),
    };
    if pattern.is_empty()
        || pattern.chars().any(|c| !matches!(c, '9' | '0' | '.' | ','))
        || pattern.matches('.').count() > 1
    {
        return Err(Error::unsupported(format!("the to_char pattern \"{format}\" of a number"))
            .hint("9, 0, a point, commas and a leading FM are done."));
    }
    let (whole_pattern, fraction_pattern) = pattern.split_once('.').unwrap_or((pattern, ""));
    let digits_after = u8::try_from(fraction_pattern.chars().filter(|c| *c != ',').count()).unwrap_or(u8::MAX);
    let decimal = match args.first() {
        Some(Value::Int4(v)) => driftdb_types::Decimal::from(i64::from(*v)),
        Some(Value::Int8(v)) => driftdb_types::Decimal::from(*v),
        Some(Value::Numeric(v)) => *v,
        Some(Value::Float8(v)) => driftdb_types::Decimal::from_f64(*v)?,
        _ => return Err(mismatch("to_char", args)),
    };
    let rounded = decimal.rescale(digits_after)?;
    let negative = rounded.unscaled() < 0;
    let shown = rounded.abs().to_string();
    let (whole, fraction) = shown.split_once('.').unwrap_or((&shown, ""));
    let whole = if whole == "0" { "" } else { whole };
    let places: Vec<char> = whole_pattern.chars().collect();
    let capacity = places.iter().filter(|c| **c != ',').count();
    if whole.len() > capacity {
        let hashes: String = pattern.chars().map(|c| if matches!(c, '9' | '0') { '#' } else { c }).collect();
        return Ok(Value::Text(if bare { hashes } else { format!(" {hashes}") }));
    }
    let mut digits = format!("{whole:>capacity$}").chars().collect::<Vec<char>>().into_iter();
    let mut started = false;
    let mut body = String::new();
    for place in places {
        if place == ',' {
            body.push(if started { ',' } else { ' ' });
            continue;
        }
        let digit = digits.next().unwrap_or(' ');
        started = started || digit != ' ' || place == '0';
        body.push(if digit == ' ' && started { '0' } else { digit });
    }
    let trimmed = body.trim_start().to_owned();
    let sign = if negative { "-" } else { "" };
    let mut number = format!("{sign}{trimmed}");
    if !bare {
        // One place for the sign, and the width of the pattern.
        number = format!("{number:>width$}", width = body.chars().count() + 1);
    }
    if !fraction_pattern.is_empty() {
        let mut tail = fraction.to_owned();
        if bare {
            let least = fraction_pattern.rfind('0').map_or(0, |position| position + 1);
            while tail.len() > least && tail.ends_with('0') {
                tail.pop();
            }
        }
        number.push('.');
        number.push_str(&tail);
    }
    Ok(Value::Text(number))
}

/// `to_date` with the patterns YYYY, MM and DD and text between them.
fn to_date(facts: &Facts, args: &[Value]) -> Result<Value> {
    let (source, format) = (text(args, 0)?, text(args, 1)?);
    let (mut year, mut month, mut day) = (1_i64, 1_i64, 1_i64);
    let mut rest = source.trim_start();
    let bad = || Error::new(SqlState::INVALID_DATETIME_FORMAT, format!("invalid value \"{source}\" for \"{format}\""));
    for part in parts(format)? {
        match part {
            Part::Text(text) => {
                let skip = text.chars().count();
                rest = rest.trim_start_matches(|c: char| !c.is_ascii_digit() && skip > 0);
            }
            Part::Pattern { name: name @ ("YYYY" | "MM" | "DD"), .. } => {
                let digits: String = rest.chars().take_while(char::is_ascii_digit).take(name.len()).collect();
                let number = digits.parse::<i64>().map_err(|_| bad())?;
                rest = rest.get(digits.len()..).unwrap_or_default();
                match name {
                    "YYYY" => year = number,
                    "MM" => month = number,
                    _ => day = number,
                }
            }
            Part::Pattern { name, .. } => return Err(Error::unsupported(format!("the to_date pattern {name}"))),
        }
    }
    driftdb_types::parse_value(T::Date, &format!("{year:04}-{month:02}-{day:02}"), &facts.zone).map_err(|_| {
        Error::new(SqlState::DATETIME_FIELD_OVERFLOW, format!("date/time field value out of range: \"{source}\""))
    })
}
