//! What holds of all values.

use std::cmp::Ordering;

use driftdb_types::{
    DataType, Decimal, KeyRange, RowDecoder, TimeZone, Value, decode_key, decode_key_prefix, decode_row, encode_key,
    encode_row, format_value, next_key, parse_value, parse_value_at,
};
use proptest::prelude::*;

use crate::values::{TYPES, any_nullable, any_type, any_value, list_order, row, same, schema};

fn pair() -> impl Strategy<Value = (DataType, Value, Value)> {
    any_type().prop_flat_map(|ty| (Just(ty), any_value(ty), any_value(ty)))
}

fn zones() -> impl Strategy<Value = TimeZone> {
    proptest::sample::select(["UTC", "Europe/Berlin", "America/St_Johns", "Pacific/Kiritimati", "-9.5"].as_slice())
        .prop_map(|name| TimeZone::parse(name).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn keys_decode_to_equal_values((types, values) in row(), rest in proptest::collection::vec(any::<u8>(), 0..4)) {
        let mut key = encode_key(&values);
        let decoded = decode_key(&key, &types).unwrap();
        prop_assert_eq!(list_order(&decoded, &values), Ordering::Equal);
        prop_assert_eq!(encode_key(&decoded), key.clone());
        key.extend_from_slice(&rest);
        let (again, left) = decode_key_prefix(&key, &types).unwrap();
        prop_assert_eq!(left, rest.as_slice());
        prop_assert_eq!(encode_key(&again), encode_key(&values));
    }

    #[test]
    fn a_prefix_range_holds_the_keys_that_begin_so(prefix in proptest::collection::vec(250u8.., 0..4), key in proptest::collection::vec(250u8.., 0..5)) {
        let range = KeyRange::prefix(&prefix);
        prop_assert_eq!(range.contains(&key), key.starts_with(&prefix));
        prop_assert!(!range.is_empty());
        if let Some(next) = next_key(&prefix) {
            prop_assert!(next > prefix && !next.starts_with(&prefix));
        }
        prop_assert!(KeyRange::point(&key).contains(&key));
    }

    #[test]
    fn rows_decode_to_their_values((types, values) in row(), large in 0usize..3) {
        let (mut types, mut values) = (types, values);
        if large == 0 {
            // Beyond 64 KiB the ends of columns are wider.
            types.push(DataType::Text);
            values.push(Value::Text("x".repeat(70_000)));
        }
        let schema = schema(&types);
        let payload = encode_row(&schema, &values).unwrap();
        let decoded = decode_row(&schema, &payload).unwrap();
        prop_assert!(decoded.iter().zip(&values).all(|(a, b)| same(a, b)) && decoded.len() == values.len());
        let ids: Vec<_> = schema.columns.iter().rev().map(|column| column.id).collect();
        let decoder = RowDecoder::new(&schema, &ids).unwrap();
        let reversed = decoder.decode(&payload).unwrap();
        prop_assert!(reversed.iter().rev().zip(&values).all(|(a, b)| same(a, b)));
        for (position, value) in reversed.iter().enumerate() {
            prop_assert!(same(&decoder.column(&payload, position).unwrap(), value));
        }
    }

    #[test]
    fn older_rows_read_with_later_columns((types, values) in row(), (added, missing) in any_type().prop_flat_map(|ty| (Just(ty), any_nullable(ty)))) {
        let old = schema(&types);
        let payload = encode_row(&old, &values).unwrap();
        let mut new = schema(&types.iter().copied().chain([added, DataType::Text]).collect::<Vec<_>>());
        let text = (!missing.is_null()).then(|| format_value(&missing, added, &TimeZone::utc()));
        new.columns.get_mut(types.len()).unwrap().missing = text;
        let decoded = decode_row(&new, &payload).unwrap();
        prop_assert!(decoded.iter().zip(values.iter().chain([&missing, &Value::Null])).all(|(a, b)| same(a, b)));
        prop_assert_eq!(decoded.len(), values.len() + 2);
        let decoder = RowDecoder::new(&new, &[new.columns.get(types.len()).unwrap().id]).unwrap();
        prop_assert!(same(&decoder.column(&payload, 0).unwrap(), &missing));
    }

    #[test]
    fn text_reads_back((ty, value, _) in pair(), zone in zones()) {
        let text = format_value(&value, ty, &zone);
        let read = parse_value(ty, &text, &zone).unwrap();
        // Of an hour that the clock shows twice, only the offset tells which is meant: it is printed.
        prop_assert!(same(&read, &value), "{text:?}: {read:?} {value:?}");
    }

    #[test]
    fn binary_reads_back((ty, value, _) in pair()) {
        let bytes = value.to_binary(ty).unwrap();
        prop_assert!(same(&Value::from_binary(ty, &bytes).unwrap(), &value));
        if ty.type_len() > 0 {
            prop_assert_eq!(bytes.len(), usize::try_from(ty.type_len()).unwrap());
        }
    }

    #[test]
    fn values_fit_their_own_type((ty, value, _) in pair(), zone in zones()) {
        prop_assert!(same(&value.clone().assign(ty, &zone).unwrap(), &value));
        prop_assert!(same(&value.clone().cast(ty, &zone).unwrap(), &value));
    }

    #[test]
    fn casts_never_panic((_, value, _) in pair(), to in any_type(), zone in zones()) {
        let _ = value.clone().cast(to, &zone);
        if let Ok(assigned) = value.assign(to, &zone) {
            // What may be stored can be encoded.
            encode_row(&schema(&[to]), &[assigned]).unwrap();
        }
    }

    #[test]
    fn parsers_never_panic(text in prop_oneof![
        "\\PC{0,16}",
        "[-+0-9:./TZ ]{0,24}",
        "[-+0-9:.]{0,8} ?(day|mon|year|ago|sec|P|T)?[-+0-9:.PYMDTHS ]{0,12}",
        "[-0-9]{0,12}( |T)?[0-9:.]{0,12} ?(AM|PM|BC|Z|CET|UTC[+-]?[0-9]{0,3}|[a-z/_]{0,8})?[-+:0-9]{0,8}",
        "[0-9.eE+-]{0,60}",
        "[\\[\\]{}\":,0-9eE.\\\\u ]{0,24}",
        "\\\\x?[0-9a-f\\\\]{0,12}",
    ]) {
        for ty in TYPES {
            if let Ok(value) = parse_value_at(ty, &text, &TimeZone::utc(), 1_790_000_000_000_000) {
                let printed = format_value(&value, ty, &TimeZone::utc());
                let again = parse_value(ty, &printed, &TimeZone::utc()).unwrap();
                prop_assert!(same(&again, &value), "{text:?} {printed:?}");
            }
        }
        let _ = TimeZone::parse(&text);
        let _ = TimeZone::named(&text);
    }

    #[test]
    fn decimals_calculate_as_integers_do(a in -1_000_000i64..1_000_000, b in -1_000_000i64..1_000_000, scale_a in 0u8..12, scale_b in 0u8..12) {
        let decimal = |unscaled: i64, scale| Decimal::new(i128::from(unscaled), scale).unwrap();
        let (x, y) = (decimal(a, scale_a), decimal(b, scale_b));
        let scale = scale_a.max(scale_b);
        let at = |value: i64, from: u8| i128::from(value) * 10i128.pow(u32::from(scale - from));
        let (m, n) = (at(a, scale_a), at(b, scale_b));
        prop_assert_eq!(x.checked_add(y).unwrap(), Decimal::new(m + n, scale).unwrap());
        prop_assert_eq!(x.checked_sub(y).unwrap(), Decimal::new(m - n, scale).unwrap());
        prop_assert_eq!(x.checked_mul(y).unwrap(), Decimal::new(i128::from(a) * i128::from(b), scale_a + scale_b).unwrap());
        prop_assert_eq!(x.cmp_value(&y), m.cmp(&n));
        if n != 0 {
            prop_assert_eq!(x.checked_rem(y).unwrap(), Decimal::new(m % n, scale).unwrap());
            let quotient = x.checked_div(y).unwrap();
            let error = (quotient.to_f64() - m as f64 / n as f64).abs();
            prop_assert!(error <= (m as f64 / n as f64).abs() * 1e-15 + 1e-16, "{quotient}");
        } else {
            prop_assert!(x.checked_div(y).is_err() && x.checked_rem(y).is_err());
        }
        prop_assert_eq!(Decimal::parse(&x.to_string()).unwrap(), x);
        prop_assert_eq!(x.normalized().cmp_value(&x), Ordering::Equal);
    }
}
