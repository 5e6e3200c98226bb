//! Dates, times and timestamps in PostgreSQL's text forms (`DateStyle` ISO, MDY).
//!
//! As in PostgreSQL's `ParseDateTime` and `DecodeDateTime` (datetime.c) the text is cut into fields first (dates with
//! their separators, clock times, bare numbers, words, signed offsets), and a field's meaning follows from its shape and from
//! what is known already; so the fields may come in almost any order.

use crate::civil::{
    DATE_INFINITY, DATE_MIN, DATE_MINUS_INFINITY, DAY_US, HOUR_US, MINUTE_US, SECOND_US, TIMESTAMP_INFINITY,
    TIMESTAMP_MINUS_INFINITY, date_in_range, days_from_civil, month_days, timestamp_from_parts,
};
use crate::zone::{abbreviation, parse_offset};
use crate::{DataType, Error, Result, SqlState, TimeZone};

use super::invalid;

/// Why a text is no date or time.
enum Unreadable {
    /// It has no such form.
    Syntax,
    /// A month 13, a day 30 of February, an hour 25.
    Field,
    /// An offset of 16 hours or more.
    Displacement,
    /// A refusal that needs no more words.
    Other(Error),
}

use Unreadable::{Displacement, Field, Syntax};

impl Unreadable {
    fn into_error(self, ty: DataType, text: &str) -> Error {
        match self {
            Syntax => invalid(ty, text),
            Field => {
                Error::new(SqlState::DATETIME_FIELD_OVERFLOW, format!("date/time field value out of range: \"{text}\""))
            }
            Displacement => Error::new(
                SqlState::INVALID_TIME_ZONE_DISPLACEMENT,
                format!("time zone displacement out of range: \"{text}\""),
            ),
            Unreadable::Other(error) => error,
        }
    }
}

/// A zone that the text names.
enum Zone {
    /// Seconds east of UTC.
    Offset(i32),
    Named(TimeZone),
}

/// What a text says.
enum Moment {
    Infinity,
    MinusInfinity,
    /// An instant: `epoch` and `now`.
    Instant(i64),
    /// A wall clock's date and time.
    Wall(Wall),
}

/// A wall clock's reading, as far as the text gives it.
#[derive(Default)]
struct Wall {
    day: Option<i64>,
    time_us: Option<i64>,
    zone: Option<Zone>,
}

/// Reads a `date`; a clock time and a zone in it have no effect.
pub(super) fn parse_date(text: &str, tz: &TimeZone, now_us: Option<i64>) -> Result<i32> {
    let day = match read(DataType::Date, text, tz, now_us)? {
        Moment::Infinity => return Ok(DATE_INFINITY),
        Moment::MinusInfinity => return Ok(DATE_MINUS_INFINITY),
        Moment::Instant(0) => 0,
        Moment::Instant(us) => tz.to_local(us)?.div_euclid(DAY_US),
        Moment::Wall(wall) => wall.day.ok_or_else(|| invalid(DataType::Date, text))?,
    };
    let in_range = date_in_range(day).then_some(day).and_then(|day| i32::try_from(day).ok());
    in_range.ok_or_else(|| out_of_range("date", text))
}

/// Reads a `time`; a date and a zone in it have no effect.
pub(super) fn parse_time(text: &str, tz: &TimeZone, now_us: Option<i64>) -> Result<i64> {
    let wrong = || invalid(DataType::Time, text);
    match read(DataType::Time, text, tz, now_us)? {
        Moment::Infinity | Moment::MinusInfinity | Moment::Instant(0) => Err(wrong()),
        Moment::Instant(us) => Ok(tz.to_local(us)?.rem_euclid(DAY_US)),
        Moment::Wall(wall) => {
            if wall.day.is_none() && matches!(wall.zone, Some(Zone::Named(_))) {
                // Which offset that zone has depends on the date.
                return Err(wrong());
            }
            wall.time_us.ok_or_else(wrong)
        }
    }
}

/// Reads a `timestamp`; a zone in it has no effect.
pub(super) fn parse_timestamp(text: &str, tz: &TimeZone, now_us: Option<i64>) -> Result<i64> {
    match read(DataType::Timestamp, text, tz, now_us)? {
        Moment::Infinity => Ok(TIMESTAMP_INFINITY),
        Moment::MinusInfinity => Ok(TIMESTAMP_MINUS_INFINITY),
        Moment::Instant(0) => Ok(0),
        Moment::Instant(us) => tz.to_local(us),
        Moment::Wall(wall) => wall_us(&wall, DataType::Timestamp, text),
    }
}

/// Reads a `timestamptz`; `tz` is the zone of a text that names none.
pub(super) fn parse_timestamptz(text: &str, tz: &TimeZone, now_us: Option<i64>) -> Result<i64> {
    let wall = match read(DataType::TimestampTz, text, tz, now_us)? {
        Moment::Infinity => return Ok(TIMESTAMP_INFINITY),
        Moment::MinusInfinity => return Ok(TIMESTAMP_MINUS_INFINITY),
        Moment::Instant(us) => return Ok(us),
        Moment::Wall(wall) => wall,
    };
    let local = wall_us(&wall, DataType::TimestampTz, text)?;
    let utc = match &wall.zone {
        None => tz.to_utc(local),
        Some(Zone::Named(zone)) => zone.to_utc(local),
        Some(Zone::Offset(offset)) => timestamp_from_parts(0, local.saturating_sub(i64::from(*offset) * SECOND_US)),
    };
    utc.map_err(|_| out_of_range("timestamp", text))
}

fn wall_us(wall: &Wall, ty: DataType, text: &str) -> Result<i64> {
    let day = wall.day.ok_or_else(|| invalid(ty, text))?;
    timestamp_from_parts(day, wall.time_us.unwrap_or(0)).map_err(|error| match error.state {
        SqlState::FEATURE_NOT_SUPPORTED => error,
        _ => out_of_range("timestamp", text),
    })
}

fn out_of_range(what: &str, text: &str) -> Error {
    Error::new(SqlState::DATETIME_FIELD_OVERFLOW, format!("{what} out of range: \"{text}\""))
}

fn read(ty: DataType, text: &str, tz: &TimeZone, now_us: Option<i64>) -> Result<Moment> {
    let trimmed = text.trim_ascii();
    let word = |name: &str| trimmed.eq_ignore_ascii_case(name);
    if word("infinity") || word("+infinity") {
        return Ok(Moment::Infinity);
    }
    if word("-infinity") {
        return Ok(Moment::MinusInfinity);
    }
    if word("epoch") {
        return Ok(Moment::Instant(0));
    }
    if word("now") {
        let now_us = now_us.ok_or_else(|| no_clock(trimmed))?;
        return Ok(Moment::Instant(now_us));
    }
    let mut reader = Reader { now_us, ..Reader::new(ty, tz) };
    let wall = fields(trimmed).and_then(|fields| {
        for field in fields {
            reader.field(field)?;
        }
        reader.finish()
    });
    wall.map(Moment::Wall).map_err(|unreadable| unreadable.into_error(ty, text))
}

fn no_clock(word: &str) -> Error {
    Error::unsupported(format_args!("the date/time string \"{word}\" here"))
        .hint("Use now(), CURRENT_DATE or CURRENT_TIMESTAMP.")
}

/// A piece of the text.
#[derive(Clone, Copy, Debug)]
enum Piece<'a> {
    /// Digits with `-`, `/` or `.` between, the month perhaps a word: `2026-11-01`.
    Date(&'a str),
    /// Digits with `:` between, a fraction perhaps.
    Clock(&'a str),
    /// Digits, a fraction perhaps; `true` if a `T` stands before it.
    Number(&'a str, bool),
    /// A sign, digits, `:` perhaps.
    Offset(&'a str),
    Word(&'a str),
}

/// Cuts a text into its fields.
fn fields(text: &str) -> Result<Vec<Piece<'_>>, Unreadable> {
    let mut pieces = Vec::with_capacity(4);
    let mut rest = text;
    let mut after_t = false;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == ',');
        let Some(first) = rest.chars().next() else { return Ok(pieces) };
        let take = |wanted: fn(char) -> bool| {
            let end = rest.find(|c| !wanted(c)).unwrap_or(rest.len());
            rest.split_at_checked(end).unwrap_or((rest, ""))
        };
        let (piece, next) = match first {
            '0'..='9' => numeric_field(rest, after_t),
            '+' | '-' => {
                let digits = |c: char| c.is_ascii_digit() || matches!(c, ':' | '+' | '-');
                let (offset, next) = take(digits);
                (Piece::Offset(offset), next)
            }
            'a'..='z' | 'A'..='Z' => {
                let (word, next) = take(|c| c.is_ascii_alphabetic());
                let date_follows = pieces.last().is_none_or(|last| !matches!(last, Piece::Clock(_)));
                if word.eq_ignore_ascii_case("t") && next.starts_with(|c: char| c.is_ascii_digit()) && date_follows {
                    rest = next;
                    after_t = true;
                    continue;
                }
                // A zone's name goes on: `America/New_York`, `UTC+3`, `EST5EDT`.
                if next.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '/' | '_' | '+' | '-')) {
                    let (name, next) = take(|c| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '+' | '-' | ':'));
                    (Piece::Word(name), next)
                } else {
                    (Piece::Word(word), next)
                }
            }
            _ => return Err(Syntax),
        };
        after_t = false;
        pieces.push(piece);
        rest = next;
    }
}

/// The field at the start of `text`, which is a digit, and what follows.
fn numeric_field(text: &str, after_t: bool) -> (Piece<'_>, &str) {
    let bytes = text.as_bytes();
    let run = |from: usize, wanted: fn(&u8) -> bool| {
        bytes.get(from..).unwrap_or_default().iter().take_while(|byte| wanted(byte)).count()
    };
    let digits = run(0, u8::is_ascii_digit);
    let cut = |end: usize| text.split_at_checked(end).unwrap_or((text, ""));
    let separator = bytes.get(digits).copied();
    if separator == Some(b':') {
        let (clock, rest) = cut(run(0, |byte| byte.is_ascii_digit() || matches!(byte, b':' | b'.')));
        return (Piece::Clock(clock), rest);
    }
    let Some(separator) = separator.filter(|byte| matches!(byte, b'-' | b'/' | b'.')) else {
        let (number, rest) = cut(digits);
        return (Piece::Number(number, after_t), rest);
    };
    if after_t && separator != b'.' {
        // `T100000-05`
        let (number, rest) = cut(digits);
        return (Piece::Number(number, after_t), rest);
    }
    // A second part, of digits or a month's letters, and after the same separator a third, of digits.
    let second_at = digits + 1;
    let mut end = second_at + run(second_at, u8::is_ascii_digit);
    if end == second_at {
        end += run(second_at, u8::is_ascii_alphabetic);
    }
    if bytes.get(end) == Some(&separator) && end > second_at {
        end += 1;
        end += run(end, u8::is_ascii_digit);
        let (date, rest) = cut(end);
        return (Piece::Date(date), rest);
    }
    let (field, rest) = cut(end);
    if separator == b'.' && (after_t || digits >= 5 || end - second_at != 3) {
        return (Piece::Number(field, after_t), rest);
    }
    (Piece::Date(field), rest)
}

/// Puts the fields together.
struct Reader<'a> {
    ty: DataType,
    tz: &'a TimeZone,
    now_us: Option<i64>,
    /// Year as written, month and day.
    year: Option<i64>,
    month: Option<u8>,
    day: Option<u8>,
    /// A day given otherwise than by year, month and day.
    day_number: Option<i64>,
    /// Whether a two-digit year means one near 2000.
    short_year: bool,
    before_christ: Option<bool>,
    time_us: Option<i64>,
    afternoon: Option<bool>,
    zone: Option<Zone>,
}

impl<'a> Reader<'a> {
    fn new(ty: DataType, tz: &'a TimeZone) -> Reader<'a> {
        Reader {
            ty,
            tz,
            now_us: None,
            year: None,
            month: None,
            day: None,
            day_number: None,
            short_year: false,
            before_christ: None,
            time_us: None,
            afternoon: None,
            zone: None,
        }
    }

    fn has_date(&self) -> bool {
        self.day_number.is_some() || (self.year.is_some() && self.month.is_some() && self.day.is_some())
    }

    fn field(&mut self, piece: Piece<'_>) -> Result<(), Unreadable> {
        match piece {
            Piece::Date(date) => self.date(date),
            Piece::Clock(clock) => {
                let fields: Vec<&str> = clock.split(':').collect();
                match *fields.as_slice() {
                    [hours, minutes] => self.clock(hours, minutes, "0"),
                    [hours, minutes, seconds] => self.clock(hours, minutes, seconds),
                    _ => Err(Syntax),
                }
            }
            Piece::Number(number, after_t) => self.number(number, after_t),
            Piece::Offset(offset) => {
                let seconds = parse_offset(offset).ok_or_else(|| {
                    let digits = offset.bytes().skip(1).all(|byte| byte.is_ascii_digit() || byte == b':');
                    if digits && offset.len() > 1 { Displacement } else { Syntax }
                })?;
                if self.time_us.is_none() && !self.has_date() {
                    return Err(Syntax);
                }
                self.set_zone(Zone::Offset(seconds))
            }
            Piece::Word(word) => self.word(word),
        }
    }

    fn set_zone(&mut self, zone: Zone) -> Result<(), Unreadable> {
        if self.zone.is_some() {
            return Err(Syntax);
        }
        self.zone = Some(zone);
        Ok(())
    }

    /// `2026-11-01`, `01-Nov-2026`, `11/01/2026`, `2026-305`.
    fn date(&mut self, date: &str) -> Result<(), Unreadable> {
        if self.has_date() || self.year.is_some() || self.month.is_some() || self.day.is_some() {
            return Err(Syntax);
        }
        let fields: Vec<&str> = date.split(['-', '/', '.']).collect();
        match *fields.as_slice() {
            [year, ordinal] if year.len() >= 4 && ordinal.len() == 3 => {
                let (year, ordinal) = (number(year)?, number(ordinal)?);
                if year == 0 || !(1..=366).contains(&ordinal) {
                    return Err(Field);
                }
                self.day_number = Some(days_from_civil(year, 1, 1) + ordinal - 1);
                Ok(())
            }
            [first, month, last] if month.starts_with(|c: char| c.is_ascii_alphabetic()) => {
                self.month = Some(month_named(month).ok_or(Syntax)?);
                let (year, day) = if first.len() > 2 { (first, last) } else { (last, first) };
                self.set_year(year)?;
                self.set_day(day)
            }
            [year, month, day] if year.len() > 2 => {
                self.set_year(year)?;
                self.set_month(month)?;
                self.set_day(day)
            }
            [month, day, year] => {
                self.set_month(month)?;
                self.set_day(day)?;
                self.set_year(year)
            }
            _ => Err(Syntax),
        }
    }

    fn set_year(&mut self, digits: &str) -> Result<(), Unreadable> {
        self.short_year = digits.len() <= 2;
        self.year = Some(number(digits)?);
        Ok(())
    }

    fn set_month(&mut self, digits: &str) -> Result<(), Unreadable> {
        self.month = Some(u8::try_from(number(digits)?).map_err(|_| Field)?);
        Ok(())
    }

    fn set_day(&mut self, digits: &str) -> Result<(), Unreadable> {
        self.day = Some(u8::try_from(number(digits)?).map_err(|_| Field)?);
        Ok(())
    }

    /// Digits without separators: `20261101`, `100000.5`, the day and year beside a month's name.
    fn number(&mut self, text: &str, after_t: bool) -> Result<(), Unreadable> {
        let (digits, _) = text.split_once('.').unwrap_or((text, ""));
        let clock_wanted = after_t || self.has_date() || (self.ty == DataType::Time && self.month.is_none());
        if clock_wanted && matches!(digits.len(), 4 | 6) && self.time_us.is_none() {
            let split = |text: &'_ str, at: usize| {
                text.split_at_checked(at).map(|(a, b)| (a.to_owned(), b.to_owned())).ok_or(Syntax)
            };
            let (hours, rest) = split(text, 2)?;
            let (minutes, seconds) = split(&rest, 2)?;
            return self.clock(&hours, &minutes, if digits.len() == 4 { "0" } else { &seconds });
        }
        if digits.len() != text.len() || self.has_date() {
            return Err(Syntax);
        }
        if self.month.is_none() && matches!(digits.len(), 6 | 8) && self.day.is_none() && self.year.is_none() {
            let (year, rest) = digits.split_at_checked(digits.len() - 4).ok_or(Syntax)?;
            let (month, day) = rest.split_at_checked(2).ok_or(Syntax)?;
            self.set_year(year)?;
            self.set_month(month)?;
            return self.set_day(day);
        }
        if self.day.is_none() && digits.len() <= 2 {
            self.set_day(digits)
        } else if self.year.is_none() && self.month.is_some() {
            self.set_year(digits)
        } else {
            Err(Syntax)
        }
    }

    fn clock(&mut self, hours: &str, minutes: &str, seconds: &str) -> Result<(), Unreadable> {
        if self.time_us.is_some() {
            return Err(Syntax);
        }
        let (hours, minutes) = (number(hours)?, number(minutes)?);
        let (seconds, fraction) = seconds.split_once('.').unwrap_or((seconds, ""));
        let seconds = number(seconds)?;
        let fraction_us = fraction_us(fraction)?;
        let time_us = hours
            .checked_mul(HOUR_US)
            .and_then(|us| us.checked_add(minutes * MINUTE_US + seconds * SECOND_US + fraction_us))
            .ok_or(Field)?;
        // 24:00:00 is the end of the day, and a second 60 the start of the next minute.
        if minutes > 59 || seconds > 60 || time_us > DAY_US || hours > 24 {
            return Err(Field);
        }
        self.time_us = Some(time_us);
        Ok(())
    }

    fn word(&mut self, word: &str) -> Result<(), Unreadable> {
        let is = |name: &str| word.eq_ignore_ascii_case(name);
        if is("am") || is("pm") {
            return set_once(&mut self.afternoon, is("pm"));
        }
        if is("ad") || is("bc") {
            return set_once(&mut self.before_christ, is("bc"));
        }
        if let Some(offset) = abbreviation(word) {
            return self.set_zone(Zone::Offset(offset));
        }
        if let Some(month) = month_named(word) {
            return set_once(&mut self.month, month);
        }
        if weekday_named(word) {
            return Ok(());
        }
        if is("allballs") {
            self.set_zone(Zone::Offset(0))?;
            return set_once(&mut self.time_us, 0);
        }
        let relative = [("yesterday", -1), ("today", 0), ("tomorrow", 1)];
        if let Some((_, offset)) = relative.iter().find(|(name, _)| is(name)) {
            let now_us = self.now_us.ok_or_else(|| Unreadable::Other(no_clock(word)))?;
            let local = self.tz.to_local(now_us).map_err(Unreadable::Other)?;
            return set_once(&mut self.day_number, local.div_euclid(DAY_US) + offset);
        }
        match TimeZone::named(word) {
            Ok(zone) => self.set_zone(Zone::Named(zone)),
            Err(error) if word.contains('/') => Err(Unreadable::Other(error)),
            Err(_) => Err(Syntax),
        }
    }

    fn finish(self) -> Result<Wall, Unreadable> {
        let day = match (self.day_number, self.year, self.month, self.day) {
            (Some(number), None, None, None) => Some(number),
            (None, Some(year), Some(month), Some(day)) => Some(self.civil_day(year, month, day)?),
            (None, None, None, None) => None,
            _ => return Err(Syntax),
        };
        let time_us = match (self.time_us, self.afternoon) {
            (None, Some(_)) => return Err(Syntax),
            (Some(time_us), Some(_)) if time_us >= 13 * HOUR_US => return Err(Field),
            (Some(time_us), Some(true)) if time_us < 12 * HOUR_US => Some(time_us + 12 * HOUR_US),
            (Some(time_us), Some(false)) if time_us >= 12 * HOUR_US => Some(time_us - 12 * HOUR_US),
            (time_us, _) => time_us,
        };
        Ok(Wall { day, time_us, zone: self.zone })
    }

    fn civil_day(&self, year: i64, month: u8, day: u8) -> Result<i64, Unreadable> {
        let year = match self.before_christ {
            Some(true) => 1 - year,
            None if self.short_year && year < 70 => year + 2000,
            None if self.short_year => year + 1900,
            _ => year,
        };
        let written_zero = self.year == Some(0) && !self.short_year;
        if written_zero || !(1..=12).contains(&month) || day == 0 || day > month_days(year, month) {
            return Err(Field);
        }
        // Years have at most seven digits (see `number`), so this cannot overflow.
        Ok(days_from_civil(year, month, day).max(DATE_MIN - 1))
    }
}

fn set_once<T>(slot: &mut Option<T>, value: T) -> Result<(), Unreadable> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(Syntax),
    }
}

/// A number of a date or a clock time.
fn number(digits: &str) -> Result<i64, Unreadable> {
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Syntax);
    }
    digits.parse().ok().filter(|number| *number < 10_000_000).ok_or(Field)
}

/// Microseconds of the digits behind a second's point, rounded.
fn fraction_us(digits: &str) -> Result<i64, Unreadable> {
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Syntax);
    }
    if digits.is_empty() {
        return Ok(0);
    }
    // By way of a double and to the even neighbour, which is PostgreSQL's rounding.
    let fraction: f64 = format!("0.{digits}").parse().map_err(|_| Syntax)?;
    Ok((fraction * SECOND_US as f64).round_ties_even() as i64)
}

/// The month of an English name or its abbreviation, 1 to 12.
fn month_named(word: &str) -> Option<u8> {
    const MONTHS: [&str; 12] = [
        "january",
        "february",
        "march",
        "april",
        "may",
        "june",
        "july",
        "august",
        "september",
        "october",
        "november",
        "december",
    ];
    let at = MONTHS.iter().position(|month| {
        month.eq_ignore_ascii_case(word) || month.get(..3).is_some_and(|short| short.eq_ignore_ascii_case(word))
    });
    let at = at.or_else(|| word.eq_ignore_ascii_case("sept").then_some(8))?;
    u8::try_from(at + 1).ok()
}

fn weekday_named(word: &str) -> bool {
    const DAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
    const SHORT: [&str; 5] = ["tues", "wednes", "weds", "thur", "thurs"];
    DAYS.iter()
        .any(|day| day.eq_ignore_ascii_case(word) || day.get(..3).is_some_and(|short| short.eq_ignore_ascii_case(word)))
        || SHORT.iter().any(|short| short.eq_ignore_ascii_case(word))
}
