//! Time zones: what the session's `TimeZone`, `AT TIME ZONE` and a timestamp's own zone name.
//!
//! Rules come from the IANA data compiled into jiff, so that a server answers alike wherever it runs. jiff's calendar
//! ends with year 9999 and PostgreSQL's does not; later times take the rules of the same day some multiple of 400 years
//! earlier (the calendar repeats then, weekdays too).

use jiff::tz::AmbiguousOffset;

use crate::civil::{DAY_US, HOUR_US, SECOND_US, push_offset, timestamp_in_range};
use crate::{Error, Result, SqlState};

/// Four hundred years.
const CYCLE_US: i64 = 146_097 * DAY_US;
/// 9999-01-01 00:00 UTC, well inside jiff's range.
const RULES_END_US: i64 = 253_370_764_800 * SECOND_US;
/// The farthest a zone may be from UTC in PostgreSQL: 15:59:59.
const OFFSET_MAX_SECONDS: i32 = 16 * 3600 - 1;

/// A time zone: UTC, a fixed offset, or one with rules.
#[derive(Clone, Debug, PartialEq)]
pub struct TimeZone {
    name: String,
    rules: Rules,
}

#[derive(Clone, Debug, PartialEq)]
enum Rules {
    /// Seconds east of UTC, always.
    Fixed(i32),
    Changing(jiff::tz::TimeZone),
}

impl Default for TimeZone {
    fn default() -> TimeZone {
        TimeZone::utc()
    }
}

impl TimeZone {
    /// UTC.
    pub fn utc() -> TimeZone {
        TimeZone { name: "UTC".to_owned(), rules: Rules::Fixed(0) }
    }

    /// A zone so many seconds east of UTC, named as PostgreSQL names it; 22023 from 16 hours on.
    pub fn fixed(offset_seconds: i32) -> Result<TimeZone> {
        if offset_seconds.abs() > OFFSET_MAX_SECONDS {
            return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, "time zone displacement out of range"));
        }
        // `<+02>-02`: the abbreviation, then the POSIX offset, which counts westward.
        let mut name = String::from("<");
        push_offset(&mut name, offset_seconds);
        name.push('>');
        push_offset(&mut name, -offset_seconds);
        if offset_seconds == 0 {
            name.replace_range(.., "<+00>+00");
        }
        Ok(TimeZone { name, rules: Rules::Fixed(offset_seconds) })
    }

    /// A value of the `TimeZone` setting: an IANA name in any case, a number of hours east of UTC (`2`, `-5.5`), or a
    /// POSIX rule (`EST5EDT`, `<+03>-03`; as in PostgreSQL, its offsets count westward, those of `+05:30` too). 22023 if
    /// it is none of them.
    pub fn parse(name: &str) -> Result<TimeZone> {
        if let Ok(hours) = name.parse::<f64>()
            && hours.is_finite()
            && hours.abs() < 24.0
        {
            return TimeZone::fixed((hours * 3600.0) as i32);
        }
        TimeZone::lookup(name).ok_or_else(|| {
            Error::new(
                SqlState::INVALID_PARAMETER_VALUE,
                format!("invalid value for parameter \"TimeZone\": \"{name}\""),
            )
        })
    }

    /// The zone that `AT TIME ZONE 'name'` means: an abbreviation (`CEST`), an IANA name or a POSIX rule. 22023 if it is
    /// none of them.
    pub fn named(name: &str) -> Result<TimeZone> {
        if let Some(offset) = abbreviation(name) {
            return Ok(TimeZone { name: name.to_ascii_uppercase(), rules: Rules::Fixed(offset) });
        }
        TimeZone::lookup(name).ok_or_else(|| {
            Error::new(SqlState::INVALID_PARAMETER_VALUE, format!("time zone \"{name}\" not recognized"))
        })
    }

    fn lookup(name: &str) -> Option<TimeZone> {
        if name.eq_ignore_ascii_case("utc") {
            return Some(TimeZone::utc());
        }
        if let Ok(zone) = jiff::tz::TimeZone::get(name)
            && !zone.is_unknown()
        {
            let name = zone.iana_name().unwrap_or(name).to_owned();
            return Some(match zone.to_fixed_offset() {
                Ok(offset) => TimeZone { name, rules: Rules::Fixed(offset.seconds()) },
                Err(_) => TimeZone { name, rules: Rules::Changing(zone) },
            });
        }
        if name.starts_with(['+', '-']) {
            let west = parse_offset(name)?;
            return Some(TimeZone { name: name.to_owned(), rules: Rules::Fixed(-west) });
        }
        let zone = jiff::tz::TimeZone::posix(name).ok()?;
        Some(TimeZone { name: name.to_owned(), rules: Rules::Changing(zone) })
    }

    /// Its name, as SHOW prints it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Seconds east of UTC at an instant (microseconds since 1970 UTC).
    pub fn offset_at(&self, time_us: i64) -> i32 {
        match &self.rules {
            Rules::Fixed(offset) => *offset,
            Rules::Changing(zone) => jiff::Timestamp::from_microsecond(within_rules(time_us))
                .map_or(0, |time| zone.to_offset(time).seconds()),
        }
    }

    /// What the zone is called at an instant, `CET` or `CEST`; `None` where that is not known.
    pub fn abbreviation_at(&self, time_us: i64) -> Option<String> {
        match &self.rules {
            Rules::Changing(zone) => {
                let time = jiff::Timestamp::from_microsecond(within_rules(time_us)).ok()?;
                Some(zone.to_offset_info(time).abbreviation().to_owned())
            }
            Rules::Fixed(_) if self.name == "UTC" => Some("UTC".to_owned()),
            // `<+02>-02`
            Rules::Fixed(_) => self.name.strip_prefix('<')?.split_once('>').map(|(name, _)| name.to_owned()),
        }
    }

    /// The wall clock in this zone at an instant; infinities stay. 22008 where there is no such timestamp.
    pub fn to_local(&self, time_us: i64) -> Result<i64> {
        shift(time_us, i64::from(self.offset_at(time_us)))
    }

    /// The instant at which the wall clock in this zone shows `local_us`; infinities stay. A time the clock skips counts
    /// from before the skip; of a time it shows twice the second is meant: both as in PostgreSQL. 22008 where there is no
    /// such timestamp.
    pub fn to_utc(&self, local_us: i64) -> Result<i64> {
        let offset = match &self.rules {
            Rules::Fixed(offset) => *offset,
            Rules::Changing(zone) => local_offset(zone, within_rules(local_us)).unwrap_or(0),
        };
        shift(local_us, -i64::from(offset))
    }
}

/// A time with the same rules that jiff knows.
fn within_rules(us: i64) -> i64 {
    if us <= RULES_END_US {
        return us;
    }
    let beyond = us - RULES_END_US;
    us - (beyond / CYCLE_US + 1) * CYCLE_US
}

fn local_offset(zone: &jiff::tz::TimeZone, local_us: i64) -> Option<i32> {
    let wall = jiff::Timestamp::from_microsecond(local_us).ok()?;
    let wall = jiff::tz::Offset::UTC.to_datetime(wall);
    Some(match zone.to_ambiguous_timestamp(wall).offset() {
        AmbiguousOffset::Unambiguous { offset } => offset.seconds(),
        AmbiguousOffset::Gap { before, .. } => before.seconds(),
        AmbiguousOffset::Fold { after, .. } => after.seconds(),
    })
}

fn shift(us: i64, seconds: i64) -> Result<i64> {
    if !timestamp_in_range(us) {
        return Ok(us);
    }
    us.checked_add(seconds * SECOND_US)
        .filter(|shifted| timestamp_in_range(*shifted))
        .ok_or_else(|| Error::new(SqlState::DATETIME_FIELD_OVERFLOW, "timestamp out of range"))
}

/// Seconds of a signed offset: `+02`, `-5`, `+0530`, `+05:30`, `+05:30:15`. `None` if it is none, or beyond any zone.
pub(crate) fn parse_offset(text: &str) -> Option<i32> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+')?),
    };
    let field = |part: &str, limit: i32| -> Option<i32> {
        let plain = (1..=2).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
        part.parse::<i32>().ok().filter(|value| plain && *value <= limit)
    };
    let mut parts = digits.split(':');
    let first = parts.next()?;
    let (hours, minutes) = match (first.len(), parts.next()) {
        (1 | 2, Some(minutes)) => (field(first, 15)?, field(minutes, 59)?),
        (1 | 2, None) => (field(first, 15)?, 0),
        (3 | 4, None) => {
            let (hours, minutes) = first.split_at_checked(first.len() - 2)?;
            (field(hours, 15)?, field(minutes, 59)?)
        }
        _ => return None,
    };
    let seconds = parts.next().map_or(Some(0), |part| field(part, 59))?;
    if parts.next().is_some() {
        return None;
    }
    let total = hours * 3600 + minutes * 60 + seconds;
    Some(if negative { -total } else { total })
}

/// Seconds east of UTC of the abbreviations in PostgreSQL's default set that are in common use.
pub(crate) fn abbreviation(name: &str) -> Option<i32> {
    const HALF_HOURS: &[(&str, i32)] = &[
        ("ACDT", 21),
        ("ACST", 19),
        ("ADT", -6),
        ("AEDT", 22),
        ("AEST", 20),
        ("AKDT", -16),
        ("AKST", -18),
        ("AST", -8),
        ("AWST", 16),
        ("BRST", -4),
        ("BRT", -6),
        ("BST", 2),
        ("CDT", -10),
        ("CEST", 4),
        ("CET", 2),
        ("CST", -12),
        ("EDT", -8),
        ("EEST", 6),
        ("EET", 4),
        ("EST", -10),
        ("GMT", 0),
        ("HKT", 16),
        ("HST", -20),
        ("IDT", 6),
        ("IST", 4),
        ("JST", 18),
        ("KST", 18),
        ("MDT", -12),
        ("MSK", 6),
        ("MST", -14),
        ("NDT", -5),
        ("NST", -7),
        ("NZDT", 26),
        ("NZST", 24),
        ("PDT", -14),
        ("PHT", 16),
        ("PKT", 10),
        ("PST", -16),
        ("SAST", 4),
        ("SGT", 16),
        ("UT", 0),
        ("UTC", 0),
        ("WEST", 2),
        ("WET", 0),
        ("Z", 0),
        ("ZULU", 0),
    ];
    let (_, half_hours) = HALF_HOURS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name))?;
    Some(half_hours * (HOUR_US / SECOND_US / 2) as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_postgres() {
        for (given, shown) in [
            ("utc", "UTC"),
            ("europe/berlin", "Europe/Berlin"),
            ("+02", "<+02>-02"),
            ("-7", "<-07>+07"),
            ("2.5", "<+02:30>-02:30"),
            ("UTC+3", "UTC+3"),
            ("<+03>-03", "<+03>-03"),
            ("+05:30", "+05:30"),
            ("zulu", "Zulu"),
            ("EST5EDT", "EST5EDT"),
        ] {
            assert_eq!(TimeZone::parse(given).unwrap().name(), shown);
        }
        for wrong in ["", "foo", "PST", "Z", "Europe/Nowhere", "99", "+25:00"] {
            let error = TimeZone::parse(wrong).unwrap_err();
            assert_eq!(error.state, SqlState::INVALID_PARAMETER_VALUE, "{wrong}");
        }
        assert_eq!(TimeZone::named("CEST").unwrap().offset_at(0), 7200);
        assert_eq!(TimeZone::named("+02").unwrap().offset_at(0), -7200);
        assert!(TimeZone::named("foo").is_err());
    }

    #[test]
    fn offsets_follow_the_rules_beyond_their_end() {
        let berlin = TimeZone::parse("Europe/Berlin").unwrap();
        let at = |year, month| crate::civil::days_from_civil(year, month, 1) * DAY_US;
        for year in [2026, 9998, 9999, 10_001, 99_999, 294_246] {
            assert_eq!(berlin.offset_at(at(year, 1)), 3600, "{year}");
            assert_eq!(berlin.offset_at(at(year, 7)), 7200, "{year}");
            assert_eq!(berlin.to_utc(at(year, 7)).unwrap(), at(year, 7) - 2 * HOUR_US, "{year}");
        }
        assert_eq!(berlin.to_local(i64::MAX).unwrap(), i64::MAX);
        assert_eq!(berlin.to_utc(i64::MIN).unwrap(), i64::MIN);
        assert!(berlin.to_local(i64::MAX - 1).is_err());
        assert!(berlin.to_local(crate::civil::TIMESTAMP_MIN).is_ok());
    }
}
