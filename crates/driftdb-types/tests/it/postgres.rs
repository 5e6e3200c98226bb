//! Text forms, arithmetic, casts, binary formats and order, compared with what PostgreSQL answered (`postgres.tsv`,
//! written by `postgres.sql`).

use std::cmp::Ordering;
use std::fmt::Write;

use driftdb_types::{DataType, Decimal, Error, TimeZone, Value, encode_key, format_value, parse_value};

/// A decimal has no NaN and no infinities.
const NOT_A_NUMBER: &[(&str, &str)] = &[
    ("double precision>numeric(38,12) inf", "!0A000"),
    ("double precision>numeric(38,12) nan", "!0A000"),
    ("real>numeric(38,12) inf", "!0A000"),
    ("real>numeric(38,12) nan", "!0A000"),
];

const ANSWERS: &str = include_str!("postgres.tsv");

struct Line<'a> {
    topic: &'a str,
    input: &'a str,
    answer: &'a str,
}

fn lines(kind: &str) -> Vec<Line<'static>> {
    let lines: Vec<_> = ANSWERS
        .lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split('\t').collect();
            let [of, topic, input, answer] = *fields.as_slice() else { panic!("not four fields: {line:?}") };
            (of == kind).then_some(Line { topic, input, answer })
        })
        .collect();
    assert!(!lines.is_empty(), "no answers about {kind}");
    lines
}

fn data_type(name: &str) -> DataType {
    match name {
        "boolean" => DataType::Bool,
        "smallint" => DataType::Int2,
        "integer" => DataType::Int4,
        "bigint" => DataType::Int8,
        "real" => DataType::Float4,
        "double precision" => DataType::Float8,
        "numeric" => DataType::Numeric(None),
        "numeric(5,2)" => DataType::Numeric(Some((5, 2))),
        "numeric(5,1)" => DataType::Numeric(Some((5, 1))),
        "numeric(3,0)" => DataType::Numeric(Some((3, 0))),
        "numeric(3,1)" => DataType::Numeric(Some((3, 1))),
        "numeric(2,2)" => DataType::Numeric(Some((2, 2))),
        "numeric(38,10)" => DataType::Numeric(Some((38, 10))),
        "numeric(38,12)" => DataType::Numeric(Some((38, 12))),
        "text" => DataType::Text,
        "varchar(2)" => DataType::Varchar(Some(2)),
        "varchar(3)" => DataType::Varchar(Some(3)),
        "varchar(8)" => DataType::Varchar(Some(8)),
        "character(3)" => DataType::Char(3),
        "character(4)" => DataType::Char(4),
        "bytea" => DataType::Bytea,
        "date" => DataType::Date,
        "time" => DataType::Time,
        "timestamp" => DataType::Timestamp,
        "timestamp with time zone" => DataType::TimestampTz,
        "interval" => DataType::Interval,
        "uuid" => DataType::Uuid,
        "json" => DataType::Json,
        "jsonb" => DataType::Jsonb,
        other => panic!("unknown type {other}"),
    }
}

fn berlin() -> TimeZone {
    TimeZone::parse("Europe/Berlin").unwrap()
}

fn shown(result: Result<Value, Error>, ty: DataType) -> String {
    match result {
        Ok(value) => format_value(&value, ty, &berlin()),
        Err(error) => format!("!{}", error.state),
    }
}

/// Fails with all differences at once; those in `known` are expected, and must still be there.
fn compare(differences: &[(String, String, String)], known: &[(&str, &str)]) {
    let mut report = String::new();
    for (what, ours, theirs) in differences {
        if !known.iter().any(|(line, answer)| line == what && answer == ours) {
            writeln!(report, "{what}: {ours:?}, PostgreSQL {theirs:?}").unwrap();
        }
    }
    for (line, answer) in known {
        if !differences.iter().any(|(what, ours, _)| what == line && ours == answer) {
            writeln!(report, "{line}: no longer {answer:?}").unwrap();
        }
    }
    assert!(report.is_empty(), "\n{report}");
}

#[test]
fn text_is_read_and_printed_as_postgres_does() {
    let mut differences = Vec::new();
    for Line { topic, input, answer } in lines("text") {
        let ty = data_type(topic);
        let ours = shown(parse_value(ty, input, &berlin()), ty);
        if ours != answer {
            differences.push((format!("{topic} {input}"), ours, answer.to_owned()));
        }
    }
    compare(&differences, &[]);
}

#[test]
fn arithmetic_gives_what_postgres_gives() {
    let mut differences = Vec::new();
    for Line { topic, input, answer } in lines("number") {
        let (a, b) = input.split_once(' ').unwrap();
        let (a, b) = (Decimal::parse(a).unwrap(), Decimal::parse(b).unwrap());
        let result = match topic {
            "+" => a.checked_add(b),
            "-" => a.checked_sub(b),
            "*" => a.checked_mul(b),
            "/" => a.checked_div(b),
            "%" => a.checked_rem(b),
            other => panic!("unknown operator {other}"),
        };
        let ours = result.map_or_else(|error| format!("!{}", error.state), |decimal| decimal.to_string());
        let digits = answer.trim_start_matches(['-', '0', '.']).bytes().filter(u8::is_ascii_digit).count();
        let fraction = answer.split_once('.').map_or(0, |(_, fraction)| fraction.len());
        let equal = if digits <= 38 && fraction <= 38 {
            ours == answer
        } else {
            // DriftDB gives up digits at the end.
            let kept = answer.get(..ours.len() - 1).unwrap();
            ours.len() >= 38 && ours.starts_with(kept)
        };
        if !equal {
            differences.push((format!("{topic} {input}"), ours, answer.to_owned()));
        }
    }
    // 39 digits.
    compare(&differences, &[("* 12345678901234567890 12345678901234567890", "!22003")]);
}

#[test]
fn explicit_casts_are_those_of_postgres() {
    let mut differences = Vec::new();
    for Line { topic, input, answer } in lines("cast") {
        let (source, target) = topic.split_once('>').unwrap();
        let (source, target) = (data_type(source), data_type(target));
        let ours = shown(parse_value(source, input, &berlin()).and_then(|value| value.cast(target, &berlin())), target);
        if ours != answer {
            differences.push((format!("{topic} {input}"), ours, answer.to_owned()));
        }
    }
    compare(&differences, NOT_A_NUMBER);
}

#[test]
fn assignments_are_those_of_postgres() {
    let mut differences = Vec::new();
    for Line { topic, input, answer } in lines("assign") {
        let (source, target) = topic.split_once('>').unwrap();
        let (source, target) = (data_type(source), data_type(target));
        let value = parse_value(source, input, &berlin());
        let ours = shown(value.and_then(|value| value.assign(target, &berlin())), target);
        if ours != answer {
            differences.push((format!("{topic} {input}"), ours, answer.to_owned()));
        }
    }
    compare(&differences, NOT_A_NUMBER);
}

#[test]
fn binary_formats_are_those_of_postgres() {
    for Line { topic, input, answer } in lines("binary") {
        let ty = data_type(topic);
        let value = parse_value(ty, input, &berlin()).unwrap();
        let bytes = value.to_binary(ty).unwrap();
        assert_eq!(format_value(&Value::Bytea(bytes.clone()), DataType::Bytea, &berlin()), answer, "{topic} {input}");
        assert_eq!(Value::from_binary(ty, &bytes).unwrap(), value, "{topic} {input}");
    }
}

#[test]
fn values_and_keys_sort_as_in_postgres() {
    for Line { topic, answer, .. } in lines("order") {
        let ty = data_type(topic);
        let values: Vec<Value> =
            answer.split(' ').map(|text| parse_value(ty, &text.replace('_', " "), &berlin()).unwrap()).collect();
        for pair in values.windows(2) {
            let [a, b] = pair else { panic!("a window of two") };
            // The order of equal values (1 mon, 30 days) is not defined.
            assert_ne!(a.compare(b), Some(Ordering::Greater), "{a:?} {b:?}");
            assert_eq!(
                encode_key(std::slice::from_ref(a)).cmp(&encode_key(std::slice::from_ref(b))),
                a.compare(b).unwrap(),
                "{a:?} {b:?}"
            );
        }
        let last = encode_key(&[values.last().unwrap().clone()]);
        assert!(last < encode_key(&[Value::Null]), "NULL sorts last");
    }
}
