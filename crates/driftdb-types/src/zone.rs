//! Time zones.
use crate::Result;
/// A time zone.
#[derive(Clone, Debug, PartialEq)]
pub struct TimeZone {
    name: String,
    zone: jiff::tz::TimeZone,
}
impl TimeZone {
    /// UTC.
    pub fn utc() -> TimeZone {
        TimeZone { name: "UTC".to_owned(), zone: jiff::tz::TimeZone::UTC }
    }
    /// Parses.
    pub fn parse(_name: &str) -> Result<TimeZone> {
        Ok(TimeZone::utc())
    }
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }
    /// Seconds east of UTC at an instant.
    pub fn offset_at(&self, _time_us: i64) -> i32 {
        let _ = &self.zone;
        0
    }
    /// Local to UTC.
    pub fn to_utc(&self, local_us: i64) -> Result<i64> {
        Ok(local_us)
    }
    /// UTC to local.
    pub fn to_local(&self, time_us: i64) -> Result<i64> {
        Ok(time_us)
    }
}
