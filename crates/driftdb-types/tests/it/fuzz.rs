//! Fuzz targets: bytes that are almost rows, keys and binary values.
//!
//! An input begins with the types that it is decoded as: how many there are, and each one's place in [`TYPES`].

use std::cmp::Ordering;

use driftdb_fuzz::Target;
use driftdb_types::{
    DataType, RowDecoder, RowLayout, TableSchema, TimeZone, Value, decode_key, decode_key_prefix, decode_row,
    encode_key, encode_row, format_value,
};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;

use crate::values::{TYPES, any_value, list_order, row, same, schema};

/// In the byte of a type: the column is one that was added later, with a value for older rows.
const WITH_MISSING: u8 = 0x80;

fn target(name: &'static str, examples: fn() -> Vec<(String, Vec<u8>)>, run: fn(&[u8]) -> bool) -> Target {
    let crate_directory = env!("CARGO_MANIFEST_DIR");
    Target {
        name,
        crate_directory,
        rounds: 20_000,
        memory_bytes_max: 1 << 20,
        rigid: false,
        tokens: &[],
        examples,
        run,
    }
}

#[test]
fn fuzz_row() {
    target("row", rows, decode_as_row).fuzz();
}

#[test]
fn fuzz_key() {
    target("key", keys, decode_as_key).fuzz();
}

#[test]
fn fuzz_binary() {
    target("binary", binaries, decode_as_binary).fuzz();
}

/// What the strategy gives first; the same each time.
fn samples<S: Strategy>(strategy: &S, count: usize) -> Vec<S::Value> {
    let mut runner = TestRunner::deterministic();
    (0..count).map(|_| strategy.new_tree(&mut runner).unwrap().current()).collect()
}

fn place_of(ty: DataType) -> u8 {
    u8::try_from(TYPES.iter().position(|known| *known == ty).unwrap()).unwrap()
}

/// An input of these types.
fn typed(types: &[DataType], flag: u8, bytes: &[u8]) -> Vec<u8> {
    let mut input = vec![u8::try_from(types.len()).unwrap()];
    input.extend(types.iter().map(|ty| place_of(*ty) | flag));
    input.extend(bytes);
    input
}

/// A type, and whether it has the flag [`WITH_MISSING`].
type Typed = (DataType, bool);

/// The types of an input, and what follows them.
fn split(input: &[u8]) -> Option<(Vec<Typed>, &[u8])> {
    let (count, rest) = input.split_first()?;
    let (places, bytes) = rest.split_at_checked(usize::from(*count % 12))?;
    let types =
        places.iter().map(|place| (TYPES[usize::from(place & !WITH_MISSING) % TYPES.len()], place & WITH_MISSING != 0));
    Some((types.collect(), bytes))
}

fn rows() -> Vec<(String, Vec<u8>)> {
    let mut examples = Vec::new();
    for (number, (types, values)) in samples(&row(), 16).into_iter().enumerate() {
        let payload = encode_row(&schema(&types), &values).unwrap();
        examples.push((format!("row-{number:02}"), typed(&types, 0, &payload)));
    }
    for ty in TYPES {
        let value = samples(&any_value(ty), 3).pop().unwrap();
        let payload = encode_row(&schema(&[ty, ty]), &[value, Value::Null]).unwrap();
        examples.push((format!("type-{:02}", place_of(ty)), typed(&[ty, ty], 0, &payload)));
    }
    // A row of before two columns were added.
    let older = encode_row(&schema(&[DataType::Int4]), &[Value::Int4(-7)]).unwrap();
    examples.push(("older".to_owned(), typed(&[DataType::Int4, DataType::Int8, DataType::Text], WITH_MISSING, &older)));
    // The form of rows with more than 64 KiB: ends of four bytes.
    let wide = [2, 7, 0, 0, 0, 2, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0, 9, b'h', b'i'];
    examples.push(("wide".to_owned(), typed(&[DataType::Int2, DataType::Text], 0, &wide)));
    examples
}

fn decode_as_row(input: &[u8]) -> bool {
    let Some((types, payload)) = split(input) else { return false };
    let mut table = schema(&types.iter().map(|(ty, _)| *ty).collect::<Vec<_>>());
    for (column, (_, was_added)) in table.columns.iter_mut().zip(&types) {
        column.missing = was_added.then(|| "1".to_owned());
    }
    let ids: Vec<_> = table.columns.iter().map(|column| column.id).collect();
    let decoded = decode_row(&table, payload);
    if let Ok(decoder) = RowDecoder::new(&table, &ids) {
        match (decoder.decode(payload), &decoded) {
            (Ok(some), Ok(all)) => assert!(some.iter().zip(all).all(|(a, b)| same(a, b)) && some.len() == all.len()),
            (one, other) => assert_eq!(one.err(), other.as_ref().err().cloned()),
        }
    }
    let Ok(values) = decoded else { return false };
    RowLayout::of(payload).unwrap();
    comes_back_as_row(&table, &values);
    for (value, column) in values.iter().zip(&table.columns) {
        let _ = format_value(value, column.data_type, &TimeZone::utc());
        assert!(value.is_null() || value.compare(value) == Some(Ordering::Equal), "{value:?}");
    }
    true
}

/// What was decoded can be stored, and is the same then: the bytes may be others (a number may have been longer than it
/// takes), but from then on they stay.
fn comes_back_as_row(table: &TableSchema, values: &[Value]) {
    let payload = encode_row(table, values).unwrap();
    let again = decode_row(table, &payload).unwrap();
    assert!(again.iter().zip(values).all(|(a, b)| same(a, b)), "{values:?} {again:?}");
    assert_eq!(encode_row(table, &again).unwrap(), payload);
}

fn keys() -> Vec<(String, Vec<u8>)> {
    let mut examples = Vec::new();
    for (number, (types, values)) in samples(&row(), 16).into_iter().enumerate() {
        examples.push((format!("key-{number:02}"), typed(&types, 0, &encode_key(&values))));
    }
    for ty in TYPES {
        let value = samples(&any_value(ty), 2).pop().unwrap();
        examples.push((format!("type-{:02}", place_of(ty)), typed(&[ty], 0, &encode_key(&[value]))));
    }
    examples
}

fn decode_as_key(input: &[u8]) -> bool {
    let Some((types, bytes)) = split(input) else { return false };
    let types: Vec<DataType> = types.into_iter().map(|(ty, _)| ty).collect();
    let Ok((values, rest)) = decode_key_prefix(bytes, &types) else {
        assert!(decode_key(bytes, &types).is_err());
        return false;
    };
    assert!(bytes.ends_with(rest));
    assert_eq!(decode_key(bytes, &types).is_ok(), rest.is_empty());
    let key = encode_key(&values);
    let again = decode_key(&key, &types).unwrap();
    assert_eq!(list_order(&again, &values), Ordering::Equal, "{values:?} {again:?}");
    assert_eq!(encode_key(&again), key);
    true
}

fn binaries() -> Vec<(String, Vec<u8>)> {
    let mut examples = Vec::new();
    for ty in TYPES {
        for (number, value) in samples(&any_value(ty), 2).into_iter().enumerate() {
            let bytes = value.to_binary(ty).unwrap();
            examples.push((format!("type-{:02}-{number}", place_of(ty)), typed(&[ty], 0, &bytes)));
        }
    }
    examples
}

fn decode_as_binary(input: &[u8]) -> bool {
    let Some((types, bytes)) = split(input) else { return false };
    let Some((ty, _)) = types.first() else { return false };
    let Ok(value) = Value::from_binary(*ty, bytes) else { return false };
    let again = Value::from_binary(*ty, &value.to_binary(*ty).unwrap()).unwrap();
    assert!(same(&again, &value), "{value:?} {again:?}");
    let _ = format_value(&value, *ty, &TimeZone::utc());
    comes_back_as_row(&schema(&[*ty]), &[value]);
    true
}
