//! The order of encoded keys is the order of the values: of every type, and of lists of values.
//!
//! Two generators that a uniform choice among all values would almost never come to: the *edges* of each type, every one held
//! against every other, and *neighbours*: a value and one that differs from it by as little as the type allows, or not at
//! all (another scale, months for days, a zero with a sign). The oracle is [`Value::compare`], SQL's order; of decimals, which
//! have the only difficult one, it is held against integers of any length first.

use std::cmp::Ordering;

use driftdb_types::{DataType, Decimal, Interval, Value, encode_key};
use num_bigint::BigInt;
use proptest::prelude::*;

use crate::values::{TYPES, any_nullable, any_type, any_value, list_order};

const DAY_US: i64 = 86_400_000_000;
const DIGITS_38: i128 = 10i128.pow(38) - 1;

/// A number, and those beside it.
macro_rules! around {
    ($ty:ty, $($value:expr),+) => {{
        let mut all: Vec<$ty> = Vec::new();
        $(all.extend([$value.saturating_sub(1), $value, $value.saturating_add(1)] as [$ty; 3]);)+
        all
    }};
}

/// Where the length of an integer's encoding changes, and its ends.
fn integers() -> Vec<i64> {
    let mut all = around!(i64, i64::MIN, i64::MAX, 0_i64);
    for bits in 1..=62 {
        all.extend(around!(i64, 1_i64 << bits, -(1_i64 << bits)));
    }
    all
}

fn decimals() -> Vec<Decimal> {
    let mut unscaled =
        vec![0, 1, 9, 10, 11, 99, 100, 101, 1000, 12_345, 123_450, DIGITS_38, DIGITS_38 - 1, DIGITS_38 / 10];
    unscaled.extend([10i128.pow(37), 10i128.pow(37) - 1, 10i128.pow(37) + 1, i128::from(u64::MAX)]);
    let signed = unscaled.iter().flat_map(|unscaled| [*unscaled, -unscaled]);
    let scales = [0, 1, 2, 3, 4, 19, 36, 37, 38];
    signed.flat_map(|unscaled| scales.map(|scale| Decimal::new(unscaled, scale).unwrap())).collect()
}

fn intervals() -> Vec<Interval> {
    let interval = |months, days, micros| Interval { months, days, micros };
    vec![
        interval(0, 0, 0),
        interval(1, 0, 0),
        interval(0, 30, 0),
        interval(0, 0, 30 * DAY_US),
        interval(1, -30, 0),
        interval(0, 1, -DAY_US),
        interval(0, 0, 1),
        interval(0, 0, -1),
        interval(1, 0, -1),
        interval(-1, 0, 1),
        interval(12, 0, 0),
        interval(0, 365, 0),
        interval(0, 360, 0),
        interval(i32::MAX, i32::MAX, i64::MAX),
        interval(i32::MIN, i32::MIN, i64::MIN),
        interval(i32::MAX, i32::MIN, i64::MIN),
        interval(i32::MIN, i32::MAX, i64::MAX),
    ]
}

/// Prefixes of each other, bytes around those that the encoding escapes, and text whose order by bytes is not that by UTF-16.
const TEXTS: [&str; 18] = [
    "",
    "\0",
    "\0\0",
    "\0\u{1}",
    "\u{1}",
    "a",
    "a\0",
    "a\0\0",
    "a\0b",
    "a\0\u{ff}",
    "a\u{1}",
    "a ",
    "aa",
    "b",
    "é",
    "\u{ffff}",
    "\u{10000}",
    "\u{7f}",
];

fn floats() -> Vec<f64> {
    let positive =
        [0.0, f64::MIN_POSITIVE, f64::from_bits(1), 0.1, 1.0, 1.0_f64.next_up(), 2.0, 1e300, f64::MAX, f64::INFINITY];
    positive.into_iter().flat_map(|value| [value, -value]).chain([f64::NAN, -f64::NAN]).collect()
}

/// The values of a type at which an encoding goes wrong, if it does.
fn edges(ty: DataType) -> Vec<Value> {
    let texts = TEXTS.iter().map(|text| (*text).to_owned());
    match ty {
        DataType::Bool => vec![Value::Bool(false), Value::Bool(true)],
        DataType::Int2 => integers()
            .into_iter()
            .filter_map(|n| Some(Value::Int2(n.try_into().ok()?)))
            .chain([Value::Int2(i16::MIN), Value::Int2(i16::MAX)])
            .collect(),
        DataType::Int4 => integers()
            .into_iter()
            .filter_map(|n| Some(Value::Int4(n.try_into().ok()?)))
            .chain([Value::Int4(i32::MIN), Value::Int4(i32::MAX)])
            .collect(),
        DataType::Date => integers()
            .into_iter()
            .filter_map(|n| Some(Value::Date(n.try_into().ok()?)))
            .chain([Value::Date(i32::MIN), Value::Date(i32::MAX)])
            .collect(),
        DataType::Int8 => integers().into_iter().map(Value::Int8).collect(),
        DataType::Time => around!(i64, 0_i64, 1_i64, DAY_US).into_iter().map(Value::Time).collect(),
        DataType::Timestamp => integers().into_iter().map(Value::Timestamp).collect(),
        DataType::TimestampTz => integers().into_iter().map(Value::TimestampTz).collect(),
        DataType::Float8 => floats().into_iter().map(Value::Float8).collect(),
        DataType::Float4 => {
            let own = [f32::MIN_POSITIVE, f32::from_bits(1), f32::MAX, 1.0_f32.next_up(), f32::MIN];
            floats().into_iter().map(|value| value as f32).chain(own).map(Value::Float4).collect()
        }
        DataType::Numeric(_) => decimals().into_iter().map(Value::Numeric).collect(),
        DataType::Text | DataType::Varchar(_) | DataType::Char(_) => texts.map(Value::Text).collect(),
        DataType::Json => texts.map(Value::Json).collect(),
        DataType::Jsonb => texts.map(Value::Jsonb).collect(),
        DataType::Bytea => {
            let bytes = [
                vec![0xFF],
                vec![0xFF, 0xFF],
                vec![0xFF, 0],
                vec![0, 0xFF],
                vec![0, 0xFF, 0],
                vec![0, 0xFE],
                vec![0x80],
            ];
            texts.map(String::into_bytes).chain(bytes).map(Value::Bytea).collect()
        }
        DataType::Interval => intervals().into_iter().map(Value::Interval).collect(),
        DataType::Uuid => {
            let mut all = vec![[0; 16], [0xFF; 16]];
            all.extend((0..16).map(|at| {
                let mut uuid = [0x7F; 16];
                uuid[at] = 0x80;
                uuid
            }));
            all.into_iter().map(Value::Uuid).collect()
        }
    }
}

fn neighbour_of_text(text: &str, how: u8) -> String {
    let cut = text.chars().count().saturating_sub(1);
    match how % 5 {
        0 => format!("{text}\0"),
        1 => text.chars().take(cut).collect(),
        2 => text.chars().take(cut).chain(['\0']).collect(),
        3 => format!("{text}\u{1}"),
        _ => text.to_owned(),
    }
}

fn neighbour_of_decimal(decimal: Decimal, how: u8) -> Decimal {
    let (unscaled, scale) = (decimal.unscaled(), decimal.scale());
    let other = match how % 7 {
        0 => decimal.rescale((scale + 1).min(38)),
        1 => decimal.rescale(38),
        2 => Ok(decimal.normalized()),
        3 => Decimal::new(unscaled.saturating_add(1), scale),
        4 => Decimal::new(unscaled.saturating_sub(1), scale),
        // The least more that a longer fraction can say.
        5 => {
            decimal.rescale((scale + 1).min(38)).and_then(|longer| Decimal::new(longer.unscaled() + 1, longer.scale()))
        }
        _ => Decimal::new(-unscaled, scale),
    };
    other.unwrap_or(decimal)
}

/// A value of the same type that is equal, or next to it.
fn neighbour(value: &Value, how: u8) -> Value {
    let step = [-1, 0, 1][usize::from(how % 3)];
    match value {
        Value::Null => Value::Null,
        Value::Bool(value) => Value::Bool(*value != (step == 0)),
        Value::Int2(value) => Value::Int2(value.saturating_add(step)),
        Value::Int4(value) => Value::Int4(value.saturating_add(step.into())),
        Value::Date(value) => Value::Date(value.saturating_add(step.into())),
        Value::Int8(value) => Value::Int8(value.saturating_add(step.into())),
        Value::Time(value) => Value::Time(value.saturating_add(step.into())),
        Value::Timestamp(value) => Value::Timestamp(value.saturating_add(step.into())),
        Value::TimestampTz(value) => Value::TimestampTz(value.saturating_add(step.into())),
        Value::Float4(value) => {
            Value::Float4([value.next_up(), value.next_down(), -value, *value][usize::from(how % 4)])
        }
        Value::Float8(value) => {
            Value::Float8([value.next_up(), value.next_down(), -value, *value][usize::from(how % 4)])
        }
        Value::Numeric(decimal) => Value::Numeric(neighbour_of_decimal(*decimal, how)),
        Value::Text(text) => Value::Text(neighbour_of_text(text, how)),
        Value::Json(text) => Value::Json(neighbour_of_text(text, how)),
        Value::Jsonb(text) => Value::Jsonb(neighbour_of_text(text, how)),
        Value::Bytea(bytes) => {
            let mut bytes = bytes.clone();
            match how % 4 {
                0 => bytes.push(0),
                1 => bytes.push(0xFF),
                2 => drop(bytes.pop()),
                _ => {}
            }
            Value::Bytea(bytes)
        }
        Value::Interval(interval) => {
            let Interval { months, days, micros } = *interval;
            Value::Interval(match how % 4 {
                // The same length in other parts, where it has a place for them.
                0 => days.checked_sub(30).zip(months.checked_add(1)).map_or(*interval, |(days, months)| Interval {
                    months,
                    days,
                    micros,
                }),
                1 => micros.checked_sub(DAY_US).zip(days.checked_add(1)).map_or(*interval, |(micros, days)| Interval {
                    months,
                    days,
                    micros,
                }),
                2 => Interval { months, days, micros: micros.saturating_add(1) },
                _ => Interval { months, days, micros: micros.saturating_sub(1) },
            })
        }
        Value::Uuid(uuid) => Value::Uuid((u128::from_be_bytes(*uuid).saturating_add_signed(step.into())).to_be_bytes()),
    }
}

/// Of one type: an edge, or any value.
fn value_of(ty: DataType) -> BoxedStrategy<Value> {
    prop_oneof![proptest::sample::select(edges(ty)), any_value(ty)].boxed()
}

fn nullable_of(ty: DataType) -> BoxedStrategy<Value> {
    prop_oneof![2 => value_of(ty), 1 => any_nullable(ty)].boxed()
}

/// The order of two lists, and that of their keys.
fn orders(a: &[Value], b: &[Value]) -> (Ordering, Ordering) {
    (encode_key(a).cmp(&encode_key(b)), list_order(a, b))
}

#[test]
fn every_edge_is_where_it_belongs_among_all_others() {
    for ty in TYPES {
        let edges = edges(ty);
        for a in &edges {
            assert!(encode_key(std::slice::from_ref(a)) < encode_key(&[Value::Null]), "{a:?} {ty}");
            for b in &edges {
                let (keys, values) = orders(std::slice::from_ref(a), std::slice::from_ref(b));
                assert_eq!(keys, values, "{a:?} {b:?} {ty}");
                assert_eq!(a.compare(b).unwrap(), b.compare(a).unwrap().reverse());
            }
        }
    }
}

/// `a × 10^scale(b)` and `b × 10^scale(a)` are integers in the order of `a` and `b`.
#[test]
fn decimals_have_the_order_of_integers() {
    let scaled = |a: &Decimal, b: &Decimal| BigInt::from(a.unscaled()) * BigInt::from(10).pow(u32::from(b.scale()));
    let decimals = decimals();
    for a in &decimals {
        for b in &decimals {
            assert_eq!(a.cmp_value(b), scaled(a, b).cmp(&scaled(b, a)), "{a} {b}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn keys_sort_as_their_values((a, b) in any_type().prop_flat_map(|ty| (value_of(ty), value_of(ty)))) {
        let (keys, values) = orders(std::slice::from_ref(&a), std::slice::from_ref(&b));
        prop_assert_eq!(keys, values);
        prop_assert_eq!(b.compare(&a).unwrap(), values.reverse());
        prop_assert!(encode_key(&[a]) < encode_key(&[Value::Null]));
    }

    #[test]
    fn neighbours_have_keys_in_their_order(a in any_type().prop_flat_map(value_of), how in any::<u8>()) {
        let b = neighbour(&a, how);
        let (keys, values) = orders(std::slice::from_ref(&a), std::slice::from_ref(&b));
        prop_assert_eq!(keys, values, "{:?} {:?}", a, b);
    }

    /// The second list has the first's values, or equal ones, up to some place; from there on its own.
    #[test]
    fn keys_of_lists_sort_as_the_lists(
        (a, b) in proptest::collection::vec(any_type(), 1..5).prop_flat_map(|types| {
            let list = || types.iter().map(|ty| nullable_of(*ty)).collect::<Vec<_>>();
            (list(), list())
        }),
        alike_until in 0usize..5,
        how in any::<u8>(),
        shorter in 0usize..5,
    ) {
        let alike = a.iter().take(alike_until).map(|value| neighbour(value, how));
        let mut b: Vec<Value> = alike.chain(b.iter().skip(alike_until).cloned()).collect();
        let (keys, values) = orders(&a, &b);
        prop_assert_eq!(keys, values, "{:?} {:?}", a, b);
        // The key of the first values of a list begins its key, and so sorts before it.
        b.truncate(shorter);
        prop_assert!(b.len() == a.len() || encode_key(&a).starts_with(&encode_key(&a[..b.len()])));
        let (keys, values) = orders(&a, &b);
        prop_assert_eq!(keys, values, "{:?} {:?}", a, b);
    }
}
