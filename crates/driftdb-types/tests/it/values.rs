//! Arbitrary values of every type, and what is asked of them.

use std::cmp::Ordering;

use driftdb_types::{Column, ColumnId, DataType, Decimal, Interval, TableSchema, TimeZone, TreeId, Value, parse_value};
use proptest::prelude::*;

/// Every type, without modifiers and with some.
pub(crate) const TYPES: [DataType; 22] = [
    DataType::Bool,
    DataType::Int2,
    DataType::Int4,
    DataType::Int8,
    DataType::Float4,
    DataType::Float8,
    DataType::Numeric(None),
    DataType::Numeric(Some((12, 4))),
    DataType::Text,
    DataType::Varchar(None),
    DataType::Varchar(Some(5)),
    DataType::Char(6),
    DataType::Bytea,
    DataType::Date,
    DataType::Time,
    DataType::Timestamp,
    DataType::TimestampTz,
    DataType::Interval,
    DataType::Uuid,
    DataType::Json,
    DataType::Jsonb,
    DataType::Numeric(Some((38, 38))),
];

const DAY_US: i64 = 86_400_000_000;
const DATE_MIN: i32 = -2_440_588;
const DATE_MAX: i32 = 2_145_042_905;

pub(crate) fn any_type() -> impl Strategy<Value = DataType> {
    proptest::sample::select(TYPES.as_slice())
}

fn decimal() -> impl Strategy<Value = Decimal> {
    let unscaled = prop_oneof![
        -100_000i128..100_000,
        any::<i64>().prop_map(i128::from),
        -99_999_999_999_999_999_999_999_999_999_999_999_999i128..=99_999_999_999_999_999_999_999_999_999_999_999_999,
    ];
    (unscaled, 0u8..=38).prop_map(|(unscaled, scale)| Decimal::new(unscaled, scale).unwrap())
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[ab]{0,3}", "[^\\x00]{0,12}"]
}

fn timestamp() -> impl Strategy<Value = i64> {
    prop_oneof![
        Just(i64::MAX),
        Just(i64::MIN),
        i64::from(DATE_MIN) * DAY_US + DAY_US..i64::MAX - DAY_US,
        0..4_102_444_800_000_000i64,
    ]
}

fn int<T: Arbitrary + Copy + From<i8> + 'static>() -> impl Strategy<Value = T> {
    prop_oneof![any::<T>(), any::<i8>().prop_map(T::from)]
}

/// Any non-NULL value that a column of type `ty` can hold.
pub(crate) fn any_value(ty: DataType) -> BoxedStrategy<Value> {
    match ty {
        DataType::Bool => any::<bool>().prop_map(Value::Bool).boxed(),
        DataType::Int2 => int().prop_map(Value::Int2).boxed(),
        DataType::Int4 => int().prop_map(Value::Int4).boxed(),
        DataType::Int8 => int().prop_map(Value::Int8).boxed(),
        DataType::Float4 => prop_oneof![any::<f32>(), Just(f32::NAN), Just(f32::INFINITY), Just(-0.0), -3f32..3.0]
            .prop_map(Value::Float4)
            .boxed(),
        DataType::Float8 => prop_oneof![any::<f64>(), Just(f64::NAN), Just(f64::NEG_INFINITY), Just(-0.0), -3f64..3.0]
            .prop_map(Value::Float8)
            .boxed(),
        DataType::Numeric(None) => decimal().prop_map(Value::Numeric).boxed(),
        DataType::Numeric(Some((precision, scale))) => {
            let limit = 10i128.pow(u32::from(precision));
            (-limit + 1..limit).prop_map(move |unscaled| Value::Numeric(Decimal::new(unscaled, scale).unwrap())).boxed()
        }
        DataType::Text | DataType::Varchar(None) => text().prop_map(Value::Text).boxed(),
        DataType::Varchar(Some(limit)) => {
            text().prop_map(move |text| Value::Text(text.chars().take(limit as usize).collect())).boxed()
        }
        DataType::Char(limit) => text()
            .prop_map(move |text| {
                let cut: String = text.chars().take(limit as usize).collect();
                Value::Text(cut.trim_end_matches(' ').to_owned())
            })
            .boxed(),
        DataType::Bytea => prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..12),
            proptest::collection::vec(prop_oneof![Just(0u8), Just(1), Just(255)], 0..4),
        ]
        .prop_map(Value::Bytea)
        .boxed(),
        DataType::Date => prop_oneof![DATE_MIN..=DATE_MAX, -40_000..40_000i32, Just(i32::MAX), Just(i32::MIN)]
            .prop_map(Value::Date)
            .boxed(),
        DataType::Time => (0..=DAY_US).prop_map(Value::Time).boxed(),
        DataType::Timestamp => timestamp().prop_map(Value::Timestamp).boxed(),
        DataType::TimestampTz => timestamp().prop_map(Value::TimestampTz).boxed(),
        DataType::Interval => prop_oneof![
            (any::<i32>(), any::<i32>(), any::<i64>()),
            (-30..30i32, -90..90i32, -10 * DAY_US..10 * DAY_US),
            (-2..2i32, -60..60i32, Just(0)),
        ]
        .prop_map(|(months, days, micros)| Value::Interval(Interval { months, days, micros }))
        .boxed(),
        DataType::Uuid => any::<[u8; 16]>().prop_map(Value::Uuid).boxed(),
        DataType::Json => json().prop_map(Value::Json).boxed(),
        DataType::Jsonb => {
            json().prop_map(|text| parse_value(DataType::Jsonb, &text, &TimeZone::utc()).unwrap()).boxed()
        }
    }
}

/// Any value, NULL among them.
pub(crate) fn any_nullable(ty: DataType) -> BoxedStrategy<Value> {
    prop_oneof![1 => Just(Value::Null), 6 => any_value(ty)].boxed()
}

fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        "-?(0|[1-9][0-9]{0,6})(\\.[0-9]{1,4})?([eE][+-]?[0-9])?",
        "\"[a-zé ]{0,5}(\\\\n|\\\\u00e9|\\\\\\\\)?\"",
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(" ,"))),
            proptest::collection::vec(("[ab]{0,2}", inner), 0..4).prop_map(|members| {
                let members: Vec<_> = members.iter().map(|(key, value)| format!("\"{key}\" : {value}")).collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

/// Columns and a row of them.
pub(crate) fn row() -> impl Strategy<Value = (Vec<DataType>, Vec<Value>)> {
    proptest::collection::vec(any_type(), 0..6)
        .prop_flat_map(|types| (Just(types.clone()), types.into_iter().map(any_nullable).collect::<Vec<_>>()))
}

/// A table with columns of these types.
pub(crate) fn schema(types: &[DataType]) -> TableSchema {
    let columns = types
        .iter()
        .enumerate()
        .map(|(at, data_type)| Column {
            id: ColumnId(u16::try_from(at).unwrap()),
            name: format!("c{at}"),
            data_type: *data_type,
            not_null: false,
            default: None,
            missing: None,
            dropped: false,
        })
        .collect();
    TableSchema {
        id: TreeId::FIRST_USER,
        name: "t".to_owned(),
        version: 7,
        columns,
        primary_key: None,
        indexes: Vec::new(),
        options: Vec::new(),
        retention: None,
    }
}

/// Equality in which NaN equals itself.
pub(crate) fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Float4(a), Value::Float4(b)) => a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()),
        (Value::Float8(a), Value::Float8(b)) => a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()),
        _ => a == b,
    }
}

/// A list of values' order, NULLs last.
pub(crate) fn list_order(a: &[Value], b: &[Value]) -> Ordering {
    for (a, b) in a.iter().zip(b) {
        let order = match (a.is_null(), b.is_null()) {
            (false, false) => a.compare(b).unwrap(),
            (a, b) => a.cmp(&b),
        };
        if order != Ordering::Equal {
            return order;
        }
    }
    a.len().cmp(&b.len())
}
