//! `to_char`, with the template patterns that are in common use; any other pattern is refused rather than echoed.

use driftdb_types::{DataType as T, Error, Interval, Result, Value};

use super::arith::DAY_US;
use super::number_template::of_number;
use super::text::{function, text};
use super::time::{date_parts, days_of, is_infinite};
use super::{Builtin, Facts, Kind, Nulls, Overload, Returns, mismatch};

pub(super) const FUNCTIONS: &[Builtin] = &[function!("to_char", Strict, [
    (T::Timestamp, T::Text) => T::Text, of_time; (T::TimestampTz, T::Text) => T::Text, of_time;
    (T::Interval, T::Text) => T::Text, of_interval;
    (T::Int4, T::Text) => T::Text, of_number; (T::Int8, T::Text) => T::Text, of_number;
    (T::Numeric(None), T::Text) => T::Text, of_number; (T::Float8, T::Text) => T::Text, of_number;
])];

pub(super) const MONTHS: [&str; 12] = [
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
const PATTERNS: [&str; 38] = [
    "Y,YYY", "HH24", "HH12", "HH", "MI", "SSSS", "SS", "MS", "US", "AM", "PM", "am", "pm", "YYYY", "YYY", "YY", "Y",
    "MONTH", "Month", "month", "MON", "Mon", "mon", "MM", "DAY", "Day", "day", "DDD", "DD", "DY", "Dy", "dy", "D",
    "IW", "Q", "TZ", "tz", "OF",
];

struct Moment {
    days: i64,
    time: i64,
    /// The zone's abbreviation, if it is known, and seconds east of UTC.
    zone: Option<(Option<String>, i32)>,
}

fn of_time(facts: &Facts, args: &[Value]) -> Result<Value> {
    let format = text(args, 1)?;
    let split = |us: i64| (us.div_euclid(DAY_US), us.rem_euclid(DAY_US));
    let moment = match args.first() {
        Some(Value::Timestamp(us) | Value::TimestampTz(us)) if is_infinite(*us) || format.is_empty() => {
            return Ok(Value::Null);
        }
        Some(Value::Timestamp(us)) => {
            let (days, time) = split(*us);
            Moment { days, time, zone: None }
        }
        Some(Value::TimestampTz(us)) => {
            let (days, time) = split(facts.zone.to_local(*us)?);
            Moment { days, time, zone: Some((facts.zone.abbreviation_at(*us), facts.zone.offset_at(*us))) }
        }
        _ => return Err(mismatch("to_char", args)),
    };
    written(format, |name, bare| moment.format(name, bare))
}

fn of_interval(_: &Facts, args: &[Value]) -> Result<Value> {
    let format = text(args, 1)?;
    match args.first() {
        Some(Value::Interval(_)) if format.is_empty() => Ok(Value::Null),
        Some(Value::Interval(interval)) => written(format, |name, bare| interval_field(*interval, name, bare)),
        _ => Err(mismatch("to_char", args)),
    }
}

/// The template with its patterns filled in.
fn written(format: &str, pattern: impl Fn(&str, bool) -> Result<String>) -> Result<Value> {
    let mut out = String::new();
    for node in nodes(format, "to_char")? {
        match node {
            Node::Plain(c) | Node::Text(c) => out.push(c),
            Node::Pattern { name, bare } => out.push_str(&pattern(name, bare)?),
        }
    }
    Ok(Value::Text(out))
}

/// A field of an interval: its hours go on beyond a day, its parts keep their own signs.
fn interval_field(interval: Interval, pattern: &str, bare: bool) -> Result<String> {
    let number = |value: i64, width: usize| match (bare, value < 0) {
        (true, _) => value.to_string(),
        (false, true) => format!("{value:0width$}", width = width + 1),
        (false, false) => format!("{value:0width$}"),
    };
    let second = interval.micros / 1_000_000;
    let hour = second / 3600;
    let half = if hour % 24 >= 12 { "PM" } else { "AM" };
    Ok(match pattern {
        "HH24" => number(hour, 2),
        "HH12" | "HH" => number(if hour % 12 == 0 { 12 } else { hour % 12 }, 2),
        "MI" => number(second / 60 % 60, 2),
        "SSSS" => second.to_string(),
        "SS" => number(second % 60, 2),
        "MS" => format!("{:03}", interval.micros / 1000 % 1000),
        "US" => format!("{:06}", interval.micros % 1_000_000),
        "AM" | "PM" => half.to_owned(),
        "am" | "pm" => half.to_lowercase(),
        "YYYY" => number(i64::from(interval.months / 12), 4),
        "MM" => number(i64::from(interval.months % 12), 2),
        "DD" if bare => interval.days.to_string(),
        "DD" => format!("{:02}", interval.days),
        other => return Err(Error::unsupported(format!("the to_char pattern {other} of an interval"))),
    })
}

/// A piece of a template.
pub(super) enum Node {
    /// A character in double quotes.
    Text(char),
    /// A character that is no pattern.
    Plain(char),
    /// `bare`: `FM` stands right before it, so no padding.
    Pattern { name: &'static str, bare: bool },
}

/// Cuts a template. Letters that begin no pattern are refused, not taken for text: they are most likely a pattern of
/// PostgreSQL's that is not done.
pub(super) fn nodes(format: &str, function: &str) -> Result<Vec<Node>> {
    let mut nodes = Vec::new();
    let mut rest = format;
    while let Some(c) = rest.chars().next() {
        let (bare, after) = match rest.strip_prefix("FM").or_else(|| rest.strip_prefix("fm")) {
            Some(after) => (true, after),
            None => (false, rest),
        };
        // Patterns are there in capitals, and in small letters too, but not in a mixture of their own.
        let found = PATTERNS
            .iter()
            .find(|pattern| after.starts_with(**pattern) || after.starts_with(pattern.to_lowercase().as_str()));
        if let Some(name) = found {
            // The case of a word says how it is written; that of a number nothing.
            let as_written = after.get(..name.len()).unwrap_or_default();
            let exact = PATTERNS.iter().find(|pattern| **pattern == as_written).unwrap_or(name);
            nodes.push(Node::Pattern { name: exact, bare });
            rest = after.get(name.len()..).unwrap_or_default();
            continue;
        }
        if let Some(quoted) = rest.strip_prefix('"') {
            rest = quoted_text(quoted, &mut nodes);
            continue;
        }
        if c.is_alphabetic() {
            let message = format!("the {function} pattern that begins with \"{c}\" in \"{format}\"");
            return Err(Error::unsupported(message).hint("Put text between double quotes."));
        }
        // Outside quotes a backslash only takes the meaning from a quote.
        let plain = if rest.starts_with("\\\"") { '"' } else { c };
        nodes.push(Node::Plain(plain));
        let skip = if plain == c { c.len_utf8() } else { 2 };
        rest = rest.get(skip..).unwrap_or_default();
    }
    Ok(nodes)
}

/// The characters up to the closing quote; a backslash quotes any of them. Returns what follows.
fn quoted_text<'a>(quoted: &'a str, nodes: &mut Vec<Node>) -> &'a str {
    let mut chars = quoted.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => break,
            '\\' => nodes.push(Node::Text(chars.next().unwrap_or('\\'))),
            other => nodes.push(Node::Text(other)),
        }
    }
    chars.as_str()
}

impl Moment {
    fn format(&self, pattern: &str, bare: bool) -> Result<String> {
        let (year, month, day) = date_parts(self.days);
        // Without BC in the template it is not said of which era a year is.
        let era_year = if year <= 0 { 1 - year } else { year };
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
            "Y,YYY" => format!("{},{:03}", era_year / 1000, era_year % 1000),
            "YYYY" => number(era_year, 4),
            "YYY" => number(era_year % 1000, 3),
            "YY" => number(era_year % 100, 2),
            "Y" => number(era_year % 10, 1),
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
            "TZ" | "tz" => match &self.zone {
                None => String::new(),
                Some((Some(name), _)) if pattern == "tz" => name.to_lowercase(),
                Some((Some(name), _)) => name.clone(),
                Some((None, _)) => return Err(Error::unsupported("the abbreviation of this time zone")),
            },
            "OF" => offset_text(self.zone.as_ref().map_or(0, |(_, offset)| *offset)),
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
