//! `to_date` and `to_timestamp` by a template, reading as PostgreSQL's formatting.c does outside its FX mode: blanks before
//! a field are skipped, a separator of the template takes one separator or blank of the input or none, a field of
//! digits reads as far as they go unless another such field follows at once.

use driftdb_types::{DataType as T, Error, Result, SqlState, TimeZone, Value};

use super::text::{function, text};
use super::time::{days_in_month, days_of, in_range};
use super::to_char::{MONTHS, Node, nodes};
use super::{Builtin, Facts, Kind, Nulls, Overload, Returns};

pub(super) const FUNCTIONS: &[Builtin] = &[function!("to_date", Strict, [(T::Text, T::Text) => T::Date, to_date])];

const DAY_US: i64 = 86_400_000_000;

/// What the input says. 0 counts as not said, as in PostgreSQL.
#[derive(Default)]
struct Fields {
    year: i64,
    month: i64,
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
    millis: i64,
    micros: i64,
    afternoon: Option<bool>,
    twelve_hours: bool,
}

fn wrong(message: String) -> Error {
    Error::new(SqlState::INVALID_DATETIME_FORMAT, message)
}

fn invalid(found: &str, pattern: &str) -> Error {
    wrong(format!("invalid value \"{found}\" for \"{pattern}\""))
}

fn out_of_range(source: &str) -> Error {
    Error::new(SqlState::DATETIME_FIELD_OVERFLOW, format!("date/time field value out of range: \"{source}\""))
}

struct Reader<'a> {
    rest: &'a str,
    /// Blanks skipped that the template has not asked for yet.
    skipped: i64,
}

impl Reader<'_> {
    fn skip_blanks(&mut self) -> i64 {
        let after = self.rest.trim_ascii_start();
        let skipped = self.rest.len() - after.len();
        self.rest = after;
        i64::try_from(skipped).unwrap_or(0)
    }

    fn skip_char(&mut self) {
        let mut chars = self.rest.chars();
        chars.next();
        self.rest = chars.as_str();
    }

    /// A whole number: of at most `width` characters if a field of digits follows at once. Also how long it is.
    fn number(&mut self, pattern: &str, width: usize, bounded: bool) -> Result<(i64, usize)> {
        self.skip_blanks();
        let window = if bounded { self.rest.get(..width).unwrap_or(self.rest) } else { self.rest };
        if bounded && window.len() < width {
            return Err(wrong(format!("source string too short for \"{pattern}\" formatting field")));
        }
        let sign = usize::from(window.starts_with(['+', '-']));
        let digits = window.bytes().skip(sign).take_while(u8::is_ascii_digit).count();
        let used = if digits == 0 { 0 } else { sign + digits };
        if used == 0 || (bounded && used < width) {
            let found: String = self.rest.chars().take(width).collect();
            return Err(invalid(&found, pattern));
        }
        let (number, rest) = self.rest.split_at_checked(used).unwrap_or((self.rest, ""));
        self.rest = rest;
        match number.parse::<i32>() {
            Ok(value) => Ok((i64::from(value), used)),
            Err(_) => Err(Error::new(
                SqlState::DATETIME_FIELD_OVERFLOW,
                format!("value for \"{pattern}\" in source string is out of range"),
            )),
        }
    }

    /// The month that the input begins with the name of.
    fn month(&mut self, pattern: &str, short: bool) -> Result<i64> {
        for (number, name) in (1i64..).zip(MONTHS) {
            let name = if short { name.get(..3).unwrap_or(name) } else { name };
            if self.rest.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name)) {
                self.rest = self.rest.get(name.len()..).unwrap_or_default();
                return Ok(number);
            }
        }
        let found: String = self.rest.chars().take_while(|c| !c.is_whitespace()).collect();
        Err(invalid(&found, pattern))
    }

    fn half(&mut self, pattern: &str) -> Result<bool> {
        let start = self.rest.get(..2).unwrap_or_default();
        let afternoon = start.eq_ignore_ascii_case("pm");
        if !afternoon && !start.eq_ignore_ascii_case("am") {
            return Err(invalid(start, pattern));
        }
        self.rest = self.rest.get(2..).unwrap_or_default();
        Ok(afternoon)
    }
}

/// A field may be given twice, but not with two values.
fn set(field: &mut i64, value: i64, pattern: &str) -> Result<()> {
    if *field != 0 && *field != value {
        return Err(wrong(format!("conflicting values for \"{pattern}\" field in formatting string")));
    }
    *field = value;
    Ok(())
}

fn is_number(node: &Node) -> bool {
    match node {
        Node::Pattern { name, .. } => {
            !matches!(name.to_ascii_uppercase().as_str(), "AM" | "PM" | "MONTH" | "MON" | "DAY" | "DY" | "TZ" | "OF")
        }
        Node::Text(c) | Node::Plain(c) => c.is_ascii_digit(),
    }
}

fn read(source: &str, format: &str) -> Result<Fields> {
    let nodes = nodes(format, "to_timestamp")?;
    let mut fields = Fields::default();
    let mut reader = Reader { rest: source, skipped: 0 };
    for (at, node) in nodes.iter().enumerate() {
        if reader.rest.is_empty() {
            break;
        }
        if at == 0 || matches!(node, Node::Pattern { .. }) {
            reader.skipped += reader.skip_blanks();
        }
        match node {
            Node::Plain(c) if c.is_ascii_whitespace() || c.is_ascii_punctuation() => {
                reader.skipped -= 1;
                if reader.rest.starts_with(|c: char| c.is_ascii_whitespace() || c.is_ascii_punctuation()) {
                    reader.skip_char();
                    reader.skipped += 1;
                }
            }
            Node::Plain(_) | Node::Text(_) if reader.skipped > 0 => reader.skipped -= 1,
            Node::Plain(_) | Node::Text(_) => reader.skip_char(),
            Node::Pattern { name, bare, .. } => {
                let bounded = !bare && nodes.get(at + 1).is_some_and(is_number);
                fields.take(&mut reader, name, bounded)?;
                reader.skipped = reader.skip_blanks();
            }
        }
    }
    Ok(fields)
}

impl Fields {
    fn take(&mut self, reader: &mut Reader<'_>, name: &str, bounded: bool) -> Result<()> {
        let upper = name.to_ascii_uppercase();
        let number = |reader: &mut Reader<'_>, width| reader.number(name, width, bounded);
        match upper.as_str() {
            "YYYY" => set(&mut self.year, number(reader, 4)?.0, name),
            "YY" => {
                let (year, digits) = number(reader, 2)?;
                // Two digits mean a year near 2020.
                let year = match year {
                    0..70 if digits < 4 => year + 2000,
                    70..100 if digits < 4 => year + 1900,
                    year => year,
                };
                set(&mut self.year, year, name)
            }
            "MM" => set(&mut self.month, number(reader, 2)?.0, name),
            "DD" => set(&mut self.day, number(reader, 2)?.0, name),
            "HH24" => set(&mut self.hour, number(reader, 2)?.0, name),
            "HH12" | "HH" => {
                self.twelve_hours = true;
                set(&mut self.hour, number(reader, 2)?.0, name)
            }
            "MI" => set(&mut self.minute, number(reader, 2)?.0, name),
            "SS" => set(&mut self.second, number(reader, 2)?.0, name),
            "MS" | "US" => {
                let width = if upper == "MS" { 3 } else { 6 };
                let (value, digits) = number(reader, width)?;
                // 5 is half a second, not five thousandths.
                let missing = u32::try_from(width.saturating_sub(digits)).unwrap_or(0);
                let field = if upper == "MS" { &mut self.millis } else { &mut self.micros };
                set(field, value * 10i64.pow(missing), name)
            }
            "MONTH" => set(&mut self.month, reader.month(name, false)?, name),
            "MON" => set(&mut self.month, reader.month(name, true)?, name),
            "AM" | "PM" => {
                self.twelve_hours = true;
                self.afternoon = Some(reader.half(name)?);
                Ok(())
            }
            _ => Err(Error::unsupported(format!("the pattern {name} in to_date or to_timestamp"))),
        }
    }

    /// Days since 1970 and microseconds since midnight.
    fn moment(&self, source: &str) -> Result<(i64, i64)> {
        let mut hour = self.hour;
        if self.twelve_hours {
            if !(1..=12).contains(&hour) {
                return Err(wrong(format!("hour \"{hour}\" is invalid for the 12-hour clock")));
            }
            hour = hour % 12 + if self.afternoon == Some(true) { 12 } else { 0 };
        }
        // Without a year it is the one before 1 AD.
        let year = if self.year < 0 { self.year + 1 } else { self.year };
        let month = if self.month == 0 { 1 } else { self.month };
        let day = if self.day == 0 { 1 } else { self.day };
        let date_good = (1..=12).contains(&month) && day >= 1 && day <= days_in_month(year, month);
        let time_good = (0..24).contains(&hour) && (0..60).contains(&self.minute) && (0..60).contains(&self.second);
        let fraction = self.millis * 1000 + self.micros;
        if !date_good || !time_good || !(0..1_000_000).contains(&fraction) || !(-4713..=5_874_897).contains(&year) {
            return Err(out_of_range(source));
        }
        let seconds = (hour * 60 + self.minute) * 60 + self.second;
        Ok((days_of(year, month, day), seconds * 1_000_000 + fraction))
    }
}

fn to_date(_: &Facts, args: &[Value]) -> Result<Value> {
    let source = text(args, 0)?;
    let (days, _) = read(source, text(args, 1)?)?.moment(source)?;
    let valid = days >= -2_440_588;
    i32::try_from(days)
        .ok()
        .filter(|_| valid)
        .map(Value::Date)
        .ok_or_else(|| Error::new(SqlState::DATETIME_FIELD_OVERFLOW, format!("date out of range: \"{source}\"")))
}

pub(super) fn to_timestamp(facts: &Facts, args: &[Value]) -> Result<Value> {
    let source = text(args, 0)?;
    let (days, time) = read(source, text(args, 1)?)?.moment(source)?;
    let local = days.checked_mul(DAY_US).and_then(|us| us.checked_add(time)).filter(|us| in_range(*us));
    let zone: &TimeZone = &facts.zone;
    let local = local.ok_or_else(|| {
        Error::new(SqlState::DATETIME_FIELD_OVERFLOW, format!("timestamp out of range: \"{source}\""))
    })?;
    zone.to_utc(local).map(Value::TimestampTz)
}
