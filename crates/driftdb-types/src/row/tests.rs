use super::*;
use crate::TreeId;

fn schema(types: &[DataType]) -> TableSchema {
    let columns = types.iter().zip(0u16..).map(|(data_type, id)| Column {
        id: ColumnId(id),
        name: format!("c{id}"),
        data_type: *data_type,
        not_null: false,
        default: None,
        missing: None,
        dropped: false,
    });
    TableSchema {
        id: TreeId::FIRST_USER,
        name: "t".to_owned(),
        version: 3,
        columns: columns.collect(),
        primary_key: None,
        indexes: Vec::new(),
        options: Vec::new(),
        retention: None,
    }
}

/// Rows are on disk for ever: a change here is a change of the format.
#[test]
fn a_row_has_these_bytes() {
    let schema = schema(&[DataType::Int4, DataType::Text, DataType::Bool, DataType::Int8, DataType::Numeric(None)]);
    let values = [
        Value::Int4(-2),
        Value::Text("hi".to_owned()),
        Value::Null,
        Value::Int8(0),
        Value::Numeric(Decimal::parse("12.50").unwrap()),
    ];
    let payload = encode_row(&schema, &values).unwrap();
    let expected: &[&[u8]] = &[
        &[1],           // format
        &[3, 0, 0, 0],  // schema version
        &[5, 0],        // columns
        &[0b0000_0100], // the third is NULL
        &[1, 0, 3, 0, 3, 0, 3, 0, 6, 0],
        &[0xFE],
        b"hi",
        &[2, 0xE2, 0x04], // scale 2, 1250
    ];
    assert_eq!(payload, expected.concat());
    assert_eq!(decode_row(&schema, &payload).unwrap(), values);
}

#[test]
fn rows_of_narrower_columns_read_as_wider_ones() {
    let old = schema(&[DataType::Int2, DataType::Float4, DataType::Varchar(Some(3))]);
    let payload = encode_row(&old, &[Value::Int2(-300), Value::Float4(1.5), Value::Text("abc".to_owned())]).unwrap();
    let new = schema(&[DataType::Int8, DataType::Float8, DataType::Text]);
    let read = decode_row(&new, &payload).unwrap();
    assert_eq!(read, [Value::Int8(-300), Value::Float8(1.5), Value::Text("abc".to_owned())]);
}

#[test]
fn a_row_of_an_earlier_definition_becomes_the_same_bytes_again() {
    let mut schema = schema(&[DataType::Int4, DataType::Text]);
    let payload = encode_row(&schema, &[Value::Int4(5), Value::Null]).unwrap();
    schema.version += 3;
    schema.columns.push(Column { missing: Some("7".to_owned()), id: ColumnId(2), ..schema.columns[0].clone() });
    let values = decode_row(&schema, &payload).unwrap();
    assert_eq!(values, [Value::Int4(5), Value::Null, Value::Int4(7)]);
    let layout = RowLayout::of(&payload).unwrap();
    assert_eq!(encode_row_as(layout, &schema, &values).unwrap(), payload);
    assert_ne!(encode_row(&schema, &values).unwrap(), payload);
    let longer = RowLayout { columns: 4, ..layout };
    assert_eq!(encode_row_as(longer, &schema, &values), Err(CodecError::ColumnCount { columns: 4, values: 3 }));
}

#[test]
fn wrong_values_are_refused() {
    let schema = schema(&[DataType::Int4]);
    assert_eq!(encode_row(&schema, &[]), Err(CodecError::ColumnCount { columns: 1, values: 0 }));
    let wrong = encode_row(&schema, &[Value::Int8(1)]);
    assert_eq!(wrong, Err(CodecError::WrongType { expected: "integer".to_owned(), found: "bigint".to_owned() }));
    assert_eq!(RowDecoder::new(&schema, &[ColumnId(1)]).err(), Some(CodecError::NoColumn(1)));
}

#[test]
fn damage_is_told_from_data() {
    let schema = schema(&[DataType::Int4, DataType::Text]);
    let payload = encode_row(&schema, &[Value::Int4(5), Value::Text("é".to_owned())]).unwrap();
    for len in 0..payload.len() {
        let cut = payload.get(..len).unwrap();
        assert!(decode_row(&schema, cut).is_err(), "{len} bytes");
    }
    let mut other = payload.clone();
    *other.first_mut().unwrap() = 9;
    assert_eq!(decode_row(&schema, &other), Err(CodecError::UnknownFormat(9)));
    let mut broken = payload;
    *broken.last_mut().unwrap() = b'x';
    assert_eq!(decode_row(&schema, &broken), Err(CodecError::Malformed { what: "text in row" }));
}
