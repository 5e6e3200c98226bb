//! Settings: what `SET`, `SHOW` and connection options reach.
//!
//! Only values whose meaning DriftDB follows are taken. A setting that exists in PostgreSQL but would have to be
//! ignored here is refused with 0A000; one that exists nowhere with 42704.

use std::collections::BTreeMap;
use std::time::Duration;

use driftdb_types::{Error, Result, SqlState, TimeZone};

use crate::parse::IsolationLevel;

/// The release of PostgreSQL whose behaviour DriftDB follows.
pub(crate) const SERVER_VERSION: &str = "16.4";

/// Which values a setting takes.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Any text.
    Text,
    /// on or off; either is without effect on results.
    Bool,
    /// Only one of these, compared without case; the first is how it is shown.
    Only(&'static [&'static str]),
    /// Cannot be set.
    ReadOnly,
    TimeZone,
    DateStyle,
    FloatDigits,
    SearchPath,
    /// A duration; 0: no limit.
    Limit,
    Isolation,
    MessageLevel,
    /// A read point, checked when it is set by the session.
    SystemTime,
}

struct Setting {
    /// As shown; found without case.
    name: &'static str,
    default: &'static str,
    kind: Kind,
    /// Whether clients are told of changes (ParameterStatus).
    reported: bool,
    description: &'static str,
}

const fn setting(
    name: &'static str,
    default: &'static str,
    kind: Kind,
    reported: bool,
    description: &'static str,
) -> Setting {
    Setting { name, default, kind, reported, description }
}

const SETTINGS: &[Setting] = &[
    setting("application_name", "", Kind::Text, true, "The program's name, kept with every commit."),
    setting("bytea_output", "hex", Kind::Only(&["hex"]), false, "How bytea is shown."),
    setting("check_function_bodies", "on", Kind::Bool, false, "There are no functions to check."),
    setting("client_encoding", "UTF8", Kind::Only(&["UTF8", "utf-8", "unicode"]), true, "The client's encoding."),
    setting("client_min_messages", "notice", Kind::MessageLevel, false, "Which notices are sent."),
    setting("DateStyle", "ISO, MDY", Kind::DateStyle, true, "How dates are shown and read."),
    setting("default_table_access_method", "heap", Kind::Only(&["heap"]), false, "The only way tables are kept."),
    setting("default_tablespace", "", Kind::Only(&[""]), false, "The only place tables are kept."),
    setting("default_transaction_deferrable", "off", Kind::Bool, false, "No read-only transaction ever has to wait."),
    setting("default_transaction_isolation", "read committed", Kind::Isolation, false, "For new transactions."),
    setting("default_transaction_read_only", "off", Kind::Bool, true, "Whether new transactions are read-only."),
    setting("driftdb.comment", "", Kind::Text, false, "Kept with every commit: why it was made."),
    setting("driftdb.system_time", "", Kind::SystemTime, false, "Reads as of this point; empty: now."),
    setting("extra_float_digits", "1", Kind::FloatDigits, false, "Floats are shown with all their digits."),
    setting("idle_in_transaction_session_timeout", "0", Kind::Limit, false, "Ends idle transactions; 0: no limit."),
    setting("idle_session_timeout", "0", Kind::Limit, false, "Ends idle sessions; 0: no limit."),
    setting("in_hot_standby", "off", Kind::ReadOnly, true, "Whether this is a replica."),
    setting("integer_datetimes", "on", Kind::ReadOnly, true, "Dates and times are integers."),
    setting("IntervalStyle", "postgres", Kind::Only(&["postgres"]), true, "How intervals are shown."),
    setting("is_superuser", "on", Kind::ReadOnly, true, "Whether the user may do everything."),
    setting("jit", "off", Kind::Bool, false, "There is no compilation."),
    setting("lock_timeout", "0", Kind::Limit, false, "How long a statement waits for a lock; 0: no limit."),
    setting("max_identifier_length", "63", Kind::ReadOnly, false, "The longest name, in bytes."),
    setting("row_security", "on", Kind::Bool, false, "There are no policies."),
    setting("search_path", "\"$user\", public", Kind::SearchPath, false, "Where unqualified names are looked up."),
    setting("server_encoding", "UTF8", Kind::ReadOnly, true, "The encoding of stored text."),
    setting("server_version", SERVER_VERSION, Kind::ReadOnly, true, "The PostgreSQL release that is followed."),
    setting("server_version_num", "160004", Kind::ReadOnly, false, "The same as a number."),
    setting("session_authorization", "", Kind::ReadOnly, true, "The user."),
    setting("standard_conforming_strings", "on", Kind::Only(&["on", "true", "yes", "1"]), true, "No escapes in '…'."),
    setting("statement_timeout", "0", Kind::Limit, false, "How long a statement runs; 0: no limit."),
    setting("synchronous_commit", "on", Kind::Only(&["on", "true", "yes", "1"]), false, "Answered when durable."),
    setting("TimeZone", "UTC", Kind::TimeZone, true, "For timestamps with time zone."),
    setting("transaction_deferrable", "off", Kind::ReadOnly, false, "Of this transaction."),
    setting("transaction_isolation", "read committed", Kind::ReadOnly, false, "Of this transaction."),
    setting("transaction_read_only", "off", Kind::ReadOnly, false, "Of this transaction."),
    setting("transaction_timeout", "0", Kind::Limit, false, "How long a transaction may take; 0: no limit."),
    setting("xmloption", "content", Kind::Only(&["content"]), false, "There is no xml."),
];

/// Settings of PostgreSQL that are known and would have to be ignored.
const REFUSED: &[&str] = &[
    "work_mem",
    "maintenance_work_mem",
    "temp_buffers",
    "default_with_oids",
    "default_toast_compression",
    "role",
    "session_replication_role",
    "vacuum_cost_delay",
    "max_parallel_workers_per_gather",
    "random_page_cost",
    "constraint_exclusion",
    "effective_cache_size",
    "seed",
];

fn find(name: &str) -> Result<&'static Setting> {
    let canonical = match name.to_ascii_lowercase().as_str() {
        "time zone" => "timezone".to_owned(),
        other => other.to_owned(),
    };
    if let Some(setting) = SETTINGS.iter().find(|setting| setting.name.eq_ignore_ascii_case(&canonical)) {
        return Ok(setting);
    }
    if REFUSED.contains(&canonical.as_str()) || canonical.starts_with("enable_") {
        return Err(Error::unsupported(format!("the setting \"{name}\"")));
    }
    Err(Error::new(SqlState::UNDEFINED_OBJECT, format!("unrecognized configuration parameter \"{name}\"")))
}

/// The settings of one session at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Those that differ from their default, under the name as shown.
    values: BTreeMap<&'static str, String>,
    time_zone: TimeZone,
}

impl Settings {
    pub(crate) fn new() -> Settings {
        Settings { values: BTreeMap::new(), time_zone: TimeZone::utc() }
    }

    /// The session's time zone.
    pub(crate) fn time_zone(&self) -> &TimeZone {
        &self.time_zone
    }

    /// The value as SHOW gives it; 42704 when there is no such setting.
    pub(crate) fn show(&self, name: &str) -> Result<String> {
        let setting = find(name)?;
        Ok(self.values.get(setting.name).map_or_else(|| setting.default.to_owned(), Clone::clone))
    }

    /// The value, or `None` when there is no such setting.
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        self.show(name).ok()
    }

    /// A value by the name as it is written here, without the search that other names need.
    pub(crate) fn raw(&self, name: &'static str) -> &str {
        self.values.get(name).map_or("", String::as_str)
    }

    /// The level of new transactions.
    pub(crate) fn default_isolation(&self) -> IsolationLevel {
        IsolationLevel::named(self.raw("default_transaction_isolation")).unwrap_or_default()
    }

    /// A duration's value; `None`: no limit.
    pub(crate) fn limit(&self, name: &'static str) -> Option<Duration> {
        milliseconds(self.raw(name)).filter(|ms| *ms > 0).map(Duration::from_millis)
    }

    /// The name as shown, value and description of all, by name.
    pub(crate) fn all(&self) -> Vec<(&'static str, String, &'static str)> {
        let mut all: Vec<_> = SETTINGS
            .iter()
            .map(|setting| (setting.name, self.get(setting.name).unwrap_or_default(), setting.description))
            .collect();
        all.sort_by_key(|(name, ..)| name.to_ascii_lowercase());
        all
    }

    /// Those a client is told of, at the start and when they change.
    pub(crate) fn reported(&self) -> Vec<(String, String)> {
        SETTINGS
            .iter()
            .filter(|setting| setting.reported)
            .map(|setting| (setting.name.to_owned(), self.get(setting.name).unwrap_or_default()))
            .collect()
    }

    /// Sets a value after checking it. `None` returns to the default.
    pub(crate) fn set(&mut self, name: &str, value: Option<&str>) -> Result<()> {
        let setting = find(name)?;
        if let Kind::ReadOnly = setting.kind {
            return Err(Error::new(
                SqlState::CANT_CHANGE_RUNTIME_PARAM,
                format!("parameter \"{}\" cannot be changed", setting.name),
            ));
        }
        let checked = check(setting, value.unwrap_or(setting.default))?;
        if let Kind::TimeZone = setting.kind {
            self.time_zone = TimeZone::parse(&checked)
                .map_err(|_| invalid(setting, &checked).hint("Time zones have names such as Europe/Berlin or +02."))?;
        }
        self.force(setting.name, checked);
        Ok(())
    }

    /// Sets a value that only the server itself sets.
    pub(crate) fn set_internal(&mut self, name: &str, value: &str) {
        if let Ok(setting) = find(name) {
            self.force(setting.name, value.to_owned());
        }
    }

    fn force(&mut self, name: &'static str, value: String) {
        self.values.insert(name, value);
    }
}

/// A duration as PostgreSQL's settings write it; without a unit it is milliseconds.
fn milliseconds(text: &str) -> Option<u64> {
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(unit_at)?;
    let number: u64 = number.trim().parse().ok()?;
    let ms = match unit.trim() {
        "" | "ms" => number,
        "us" => number.div_ceil(1000),
        "s" => number.checked_mul(1_000)?,
        "min" => number.checked_mul(60_000)?,
        "h" => number.checked_mul(3_600_000)?,
        "d" => number.checked_mul(86_400_000)?,
        _ => return None,
    };
    // PostgreSQL's bound.
    (ms <= i32::MAX as u64).then_some(ms)
}

/// A duration in the largest unit that is exact, as SHOW gives it.
fn show_milliseconds(ms: u64) -> String {
    for (unit, length) in [("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000)] {
        if ms.is_multiple_of(length) {
            return format!("{}{unit}", ms / length);
        }
    }
    format!("{ms}ms")
}

/// What on, off and their other names mean, in lower case.
pub(crate) fn truth(value: &str) -> Option<bool> {
    match value {
        "on" | "true" | "yes" | "1" | "t" | "y" => Some(true),
        "off" | "false" | "no" | "0" | "f" | "n" => Some(false),
        _ => None,
    }
}

fn invalid(setting: &Setting, value: &str) -> Error {
    Error::new(
        SqlState::INVALID_PARAMETER_VALUE,
        format!("invalid value for parameter \"{}\": \"{value}\"", setting.name),
    )
}

fn refused(setting: &Setting, value: &str) -> Error {
    Error::unsupported(format!("the value \"{value}\" of the setting \"{}\"", setting.name))
}

/// The value in the form it is shown in.
fn check(setting: &Setting, value: &str) -> Result<String> {
    let lower = value.trim().to_ascii_lowercase();
    match setting.kind {
        Kind::Text | Kind::ReadOnly | Kind::SystemTime | Kind::TimeZone => Ok(value.to_owned()),
        Kind::Bool => match truth(&lower) {
            Some(true) => Ok("on".to_owned()),
            Some(false) => Ok("off".to_owned()),
            None => Err(Error::new(
                SqlState::INVALID_PARAMETER_VALUE,
                format!("parameter \"{}\" requires a Boolean value", setting.name),
            )),
        },
        Kind::Only(values) => match values.iter().any(|known| known.eq_ignore_ascii_case(&lower)) {
            true => Ok(values.first().copied().unwrap_or_default().to_owned()),
            false => Err(refused(setting, value)),
        },
        Kind::DateStyle => {
            for word in lower.split(',').map(str::trim) {
                match word {
                    "iso" | "mdy" | "us" | "noneuropean" => {}
                    "dmy" | "ymd" | "european" | "german" | "sql" | "postgres" => return Err(refused(setting, value)),
                    _ => return Err(invalid(setting, value)),
                }
            }
            Ok("ISO, MDY".to_owned())
        }
        Kind::FloatDigits => match lower.parse::<i32>() {
            Ok(digits @ 1..=3) => Ok(digits.to_string()),
            Ok(-15..=0) => Err(refused(setting, value)),
            _ => Err(invalid(setting, value)),
        },
        Kind::SearchPath => {
            let known =
                |name: &str| matches!(name.trim().trim_matches(['"', '\'']), "" | "$user" | "public" | "pg_catalog");
            match lower.split(',').all(known) {
                true => Ok(value.to_owned()),
                false => Err(refused(setting, value)),
            }
        }
        Kind::Limit => match milliseconds(&lower) {
            Some(0) => Ok("0".to_owned()),
            Some(ms) => Ok(show_milliseconds(ms)),
            None => {
                Err(invalid(setting, value).hint("Valid units are \"us\", \"ms\", \"s\", \"min\", \"h\", and \"d\"."))
            }
        },
        Kind::Isolation => match IsolationLevel::named(&lower) {
            Some(level) => Ok(level.name().to_owned()),
            None => Err(invalid(setting, value)),
        },
        Kind::MessageLevel => match lower.as_str() {
            "debug5" | "debug4" | "debug3" | "debug2" | "debug1" | "log" | "notice" | "warning" | "error" => Ok(lower),
            "debug" => Ok("debug2".to_owned()),
            _ => Err(invalid(setting, value)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_it_would_have_to_ignore() {
        let mut settings = Settings::new();
        assert_eq!(settings.set("statement_timeout", Some("0")), Ok(()));
        assert_eq!(settings.set("work_mem", Some("64MB")).unwrap_err().state, SqlState::FEATURE_NOT_SUPPORTED);
        assert_eq!(settings.set("no_such", Some("1")).unwrap_err().state, SqlState::UNDEFINED_OBJECT);
        assert_eq!(settings.set("server_version", Some("1")).unwrap_err().state, SqlState::CANT_CHANGE_RUNTIME_PARAM);
    }

    #[test]
    fn shows_values_in_one_form() {
        let mut settings = Settings::new();
        settings.set("datestyle", Some("iso")).unwrap();
        settings.set("CLIENT_ENCODING", Some("utf-8")).unwrap();
        assert_eq!(settings.show("DateStyle").unwrap(), "ISO, MDY");
        assert_eq!(settings.show("client_encoding").unwrap(), "UTF8");
        for (given, shown) in [("90 s", "90s"), ("120000", "2min"), ("1500", "1500ms"), ("0", "0"), ("2h", "2h")] {
            settings.set("statement_timeout", Some(given)).unwrap();
            assert_eq!(settings.show("statement_timeout").unwrap(), shown);
        }
        for wrong in ["", "s", "-1", "1 fortnight", "9999999999"] {
            let error = settings.set("statement_timeout", Some(wrong)).unwrap_err();
            assert_eq!(error.state, SqlState::INVALID_PARAMETER_VALUE, "{wrong}");
        }
        settings.set("lock_timeout", Some("3s")).unwrap();
        assert_eq!(settings.limit("lock_timeout"), Some(Duration::from_secs(3)));
        settings.set("lock_timeout", None).unwrap();
        assert_eq!(settings.limit("lock_timeout"), None);
        settings.set("extra_float_digits", Some("3")).unwrap();
        settings.set("extra_float_digits", None).unwrap();
        assert_eq!(settings.show("extra_float_digits").unwrap(), "1");
    }
}
