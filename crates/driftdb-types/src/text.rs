//! Text.
use crate::{DataType, Error, Result, TimeZone, Value};
/// Parses.
pub fn parse_value(_ty: DataType, _text: &str, _tz: &TimeZone) -> Result<Value> {
    Err(Error::internal("not written yet"))
}
/// Parses, with a clock for 'now'.
pub fn parse_value_at(_ty: DataType, _text: &str, _tz: &TimeZone, _now_us: i64) -> Result<Value> {
    Err(Error::internal("not written yet"))
}
/// Formats.
pub fn format_value(_value: &Value, _ty: DataType, _tz: &TimeZone) -> String {
    String::new()
}
/// Formats onto the end of `out`.
pub fn write_value(_out: &mut String, _value: &Value, _ty: DataType, _tz: &TimeZone) {}
