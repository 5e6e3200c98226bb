use super::*;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Keys are on disk for ever: a change here is a change of the format.
#[test]
fn keys_have_these_bytes() {
    let decimal = |text: &str| Value::Numeric(Decimal::parse(text).unwrap());
    for (value, bytes) in [
        (Value::Null, "ff"),
        (Value::Bool(false), "01"),
        (Value::Bool(true), "02"),
        (Value::Int2(0), "80"),
        (Value::Int4(1), "8101"),
        (Value::Int8(255), "81ff"),
        (Value::Int8(256), "820100"),
        (Value::Int2(-1), "7ffe"),
        (Value::Int8(-256), "7efeff"),
        (Value::Int8(i64::MAX), "887fffffffffffffff"),
        (Value::Int8(i64::MIN), "787fffffffffffffff"),
        (Value::Date(1), "8101"),
        (Value::Float8(1.0), "01bff0000000000000"),
        (Value::Float8(-0.0), "018000000000000000"),
        (Value::Float8(-1.0), "01400fffffffffffff"),
        (Value::Float4(f32::NAN), "01ffc00000"),
        (decimal("0.00"), "80"),
        (decimal("1"), "c10b00"),
        (decimal("1.00"), "c10b00"),
        (decimal("100"), "c30b00"),
        (decimal("12.5"), "c20d3300"),
        (decimal("-12.5"), "3df2ccff"),
        (decimal("0.001"), "be0b00"),
        (Value::Text("ab".to_owned()), "0161620000"),
        (Value::Text(String::new()), "010000"),
        (Value::Bytea(vec![0, 1]), "0100ff010000"),
        (Value::Uuid([7; 16]), "0107070707070707070707070707070707"),
        (Value::Interval(Interval { months: 0, days: 0, micros: 1 }), "0180000000000000000000000000000001"),
    ] {
        assert_eq!(hex(&encode_key(std::slice::from_ref(&value))), bytes, "{value:?}");
    }
}

#[test]
fn equal_numbers_and_intervals_have_one_key() {
    let month = Value::Interval(Interval { months: 1, days: 0, micros: 0 });
    let days = Value::Interval(Interval { months: 0, days: 29, micros: 86_400_000_000 });
    assert_eq!(encode_key(std::slice::from_ref(&month)), encode_key(std::slice::from_ref(&days)));
    assert_eq!(decode_key(&encode_key(&[days]), &[DataType::Interval]).unwrap(), [month]);
    let one = Value::Numeric(Decimal::parse("1.0").unwrap());
    let shown = decode_key(&encode_key(&[one]), &[DataType::Numeric(Some((5, 2)))]).unwrap();
    assert_eq!(shown, [Value::Numeric(Decimal::parse("1.00").unwrap())]);
}

#[test]
fn a_key_of_one_integer_type_reads_as_another_that_holds_it() {
    let key = encode_key(&[Value::Int2(-300)]);
    assert_eq!(decode_key(&key, &[DataType::Int8]).unwrap(), [Value::Int8(-300)]);
    let key = encode_key(&[Value::Int8(70_000)]);
    assert!(decode_key(&key, &[DataType::Int2]).is_err());
}

#[test]
fn ranges_know_when_they_are_empty() {
    let range = |start, end| KeyRange { start, end };
    let key = |byte: u8| vec![byte];
    assert!(range(Bound::Excluded(key(1)), Bound::Excluded(key(1))).is_empty());
    assert!(range(Bound::Included(key(1)), Bound::Excluded(key(1))).is_empty());
    assert!(range(Bound::Included(key(2)), Bound::Included(key(1))).is_empty());
    assert!(!range(Bound::Included(key(1)), Bound::Included(key(1))).is_empty());
    assert!(!KeyRange::all().is_empty());
    assert_eq!(next_key(&[1, 255, 255]), Some(vec![2]));
    assert_eq!(next_key(&[255, 255]), None);
    assert_eq!(next_key(&[]), None);
}
