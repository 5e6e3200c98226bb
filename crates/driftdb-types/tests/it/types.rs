//! Types' names and numbers, and rules that PostgreSQL's answers do not show.

use driftdb_types::{DataType, SqlState, TimeZone, Value, format_value, parse_value, parse_value_at};

use crate::values::TYPES;

#[test]
fn oids_and_modifiers_are_those_of_postgres() {
    for ty in TYPES {
        assert_eq!(DataType::from_oid(ty.oid()), Some(ty.without_modifiers()), "{ty}");
    }
    assert_eq!(DataType::Numeric(Some((10, 2))).typmod(), 655_366);
    assert_eq!(DataType::Varchar(Some(10)).typmod(), 14);
    assert_eq!(DataType::Char(1).typmod(), 5);
    assert_eq!(DataType::Text.typmod(), -1);
    assert_eq!(DataType::Numeric(Some((10, 2))).sql_name(), "numeric(10,2)");
    assert_eq!(DataType::Varchar(Some(10)).to_string(), "character varying(10)");
    assert_eq!(DataType::Char(3).sql_name(), "character(3)");
    assert_eq!(DataType::from_oid(0), None);
}

#[test]
fn input_too_long_is_refused_and_a_cast_cuts() {
    let utc = TimeZone::utc();
    let text = |text: &str| Value::Text(text.to_owned());
    for ty in [DataType::Varchar(Some(3)), DataType::Char(3)] {
        let error = parse_value(ty, "abcd", &utc).unwrap_err();
        assert_eq!(error.state, SqlState::STRING_DATA_RIGHT_TRUNCATION);
        assert_eq!(error.message, format!("value too long for type {ty}"));
        assert_eq!(text("abcd").assign(ty, &utc).unwrap_err(), error);
        assert_eq!(text("äöüß").cast(ty, &utc).unwrap(), text("äöü"));
    }
    assert_eq!(parse_value(DataType::Varchar(Some(3)), "ab   ", &utc).unwrap(), text("ab "));
    assert_eq!(parse_value(DataType::Char(3), "ab   ", &utc).unwrap(), text("ab"));
    assert_eq!(format_value(&text("ä"), DataType::Char(3), &utc), "ä  ");
    let nul = parse_value(DataType::Text, "a\0", &utc).unwrap_err();
    assert_eq!(nul.state, SqlState::CHARACTER_NOT_IN_REPERTOIRE);
}

#[test]
fn now_needs_a_clock() {
    let berlin = TimeZone::parse("Europe/Berlin").unwrap();
    // 2026-11-01 23:30 UTC: in Berlin the next day has begun.
    let now_us = 1_793_575_800_000_000;
    for (ty, text, shown) in [
        (DataType::TimestampTz, "now", "2026-11-02 00:30:00+01"),
        (DataType::Timestamp, "now", "2026-11-02 00:30:00"),
        (DataType::Date, "now", "2026-11-02"),
        (DataType::Time, "NOW", "00:30:00"),
        (DataType::Date, "yesterday", "2026-11-01"),
        (DataType::TimestampTz, " Tomorrow 10:00 ", "2026-11-03 10:00:00+01"),
        (DataType::TimestampTz, "today", "2026-11-02 00:00:00+01"),
    ] {
        let value = parse_value_at(ty, text, &berlin, now_us).unwrap();
        assert_eq!(format_value(&value, ty, &berlin), shown, "{text}");
        let error = parse_value(ty, text, &berlin).unwrap_err();
        assert_eq!(error.state, SqlState::FEATURE_NOT_SUPPORTED, "{text}");
    }
}

#[test]
fn json_nested_too_deep_is_refused() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(parse_value(DataType::Jsonb, &nested(500), &TimeZone::utc()).is_ok());
    for ty in [DataType::Json, DataType::Jsonb] {
        let error = parse_value(ty, &nested(1_000_000), &TimeZone::utc()).unwrap_err();
        assert_eq!(error.state, SqlState::PROGRAM_LIMIT_EXCEEDED);
    }
}

#[test]
fn values_of_different_types_compare() {
    use std::cmp::Ordering::{Equal, Greater, Less};
    let numeric = |text| parse_value(DataType::Numeric(None), text, &TimeZone::utc()).unwrap();
    for (a, b, order) in [
        (Value::Int2(1), Value::Int8(1), Some(Equal)),
        (Value::Int8(i64::MAX), Value::Float8(9.3e18), Some(Less)),
        (Value::Int4(2), numeric("1.99"), Some(Greater)),
        (numeric("0.1"), Value::Float8(0.1), Some(Equal)),
        (numeric("1e37"), Value::Float8(f64::NAN), Some(Less)),
        (Value::Float4(0.5), Value::Float8(0.5), Some(Equal)),
        (Value::Float8(f64::NAN), Value::Float8(f64::NAN), Some(Equal)),
        (Value::Date(1), Value::Timestamp(86_400_000_000), Some(Equal)),
        (Value::Date(i32::MAX), Value::Timestamp(i64::MAX), Some(Equal)),
        (Value::Date(2_145_042_905), Value::Timestamp(i64::MAX), Some(Less)),
        (Value::Timestamp(i64::MIN), Value::Date(i32::MIN), Some(Equal)),
        (Value::Null, Value::Null, None),
        (Value::Int4(1), Value::Text("1".to_owned()), None),
        (Value::Timestamp(0), Value::TimestampTz(0), None),
    ] {
        assert_eq!(a.compare(&b), order, "{a:?} {b:?}");
        assert_eq!(b.compare(&a), order.map(std::cmp::Ordering::reverse), "{b:?} {a:?}");
    }
}

#[test]
fn malformed_binary_values_are_refused() {
    for (ty, bytes) in [
        (DataType::Int4, &[0u8; 3][..]),
        (DataType::Bool, &[]),
        (DataType::Jsonb, b"\x02{}"),
        (DataType::Numeric(None), &[0, 1, 0, 0, 0, 0, 0, 0]),
        (DataType::Numeric(None), &[0, 1, 0, 0, 0, 0, 0, 0, 0x27, 0x10]),
        (DataType::Uuid, &[0; 15]),
    ] {
        let error = Value::from_binary(ty, bytes).unwrap_err();
        assert_eq!(error.state, SqlState::INVALID_BINARY_REPRESENTATION, "{ty}");
    }
    let not_utf8 = Value::from_binary(DataType::Text, &[0xFF]).unwrap_err();
    assert_eq!(not_utf8.state, SqlState::CHARACTER_NOT_IN_REPERTOIRE);
    let nan = Value::from_binary(DataType::Numeric(None), &[0, 0, 0, 0, 0xC0, 0, 0, 0]).unwrap_err();
    assert_eq!(nan.state, SqlState::FEATURE_NOT_SUPPORTED);
}
