//! Where a row and its index entries are kept.
//!
//! A table whose primary key was there from the start keeps its rows in the order of that key; any other table by row
//! number. An entry of an index has the indexed values as its key and the row's key as its payload; where two rows may
//! hold the same values (the index is not unique, or one of them is NULL), the row's key follows the values.
//!
//! Keys are bounded: they stand in locks, in the inner pages of the base and in the statistics of history segments,
//! where a row's size is nobody's concern.

use bytes::Bytes;
use driftdb_types::{
    ColumnId, Error, IndexSchema, Result, SqlState, TableSchema, TimeZone, Value, encode_key, encode_key_value,
    format_value,
};

/// How long a key may be, as it is stored: 8 KiB of values, and what their ends and a short row's key after them add.
const KEY_BYTES_MAX: usize = (8 << 10) + 512;

/// The key of the row with this number, in a table that keeps its rows so.
pub fn row_number_key(number: i64) -> Bytes {
    Bytes::from(encode_key(&[Value::Int8(number)]))
}

/// The key of the row with these values (by [`ColumnId`]), in a table that keeps its rows in the order of the primary
/// key; `None` in any other table.
pub fn clustered_key(table: &TableSchema, values: &[Value]) -> Option<Bytes> {
    let primary_key = table.primary_key.as_ref().filter(|key| key.index.is_none())?;
    let mut key = Vec::with_capacity(primary_key.columns.len() * 12);
    append_values(&mut key, &primary_key.columns, values);
    Some(Bytes::from(key))
}

/// A row's entry in an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// Its key in the index's tree. Its payload is the row's key.
    pub key: Bytes,
    /// Whether no other row may have an entry with this key.
    pub exclusive: bool,
}

/// The entry of the row with these values (by [`ColumnId`]) in an index.
pub fn index_entry(index: &IndexSchema, values: &[Value], row_key: &[u8]) -> IndexEntry {
    let mut key = Vec::with_capacity(index.columns.len() * 12 + row_key.len());
    append_values(&mut key, &index.columns, values);
    let has_null = index.columns.iter().any(|column| value_of(values, *column).is_null());
    let exclusive = index.unique && !has_null;
    if !exclusive {
        key.extend(row_key);
    }
    IndexEntry { key: Bytes::from(key), exclusive }
}

/// 54000 where a key of the index or primary key `name` is too long.
pub(crate) fn check_key_size(name: &str, key: &[u8]) -> Result<()> {
    if key.len() <= KEY_BYTES_MAX {
        return Ok(());
    }
    let message = format!("index row size {} exceeds maximum {KEY_BYTES_MAX} for index \"{name}\"", key.len());
    Err(Error::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message)
        .hint("Values this long cannot be indexed. Consider an index of an MD5 hash of the value."))
}

/// `(a, b)=(1, x)`: columns and values as the messages of constraints show them.
pub(crate) fn describe_key(table: &TableSchema, columns: &[ColumnId], values: &[Value]) -> String {
    let utc = TimeZone::utc();
    let known = || columns.iter().filter_map(|id| table.column_by_id(*id));
    let names: Vec<&str> = known().map(|column| column.name.as_str()).collect();
    let texts: Vec<String> = known()
        .map(|column| match value_of(values, column.id) {
            Value::Null => "null".to_owned(),
            value => format_value(value, column.data_type, &utc),
        })
        .collect();
    format!("({})=({})", names.join(", "), texts.join(", "))
}

/// The value of a column; NULL where there are fewer values.
pub(crate) fn value_of(values: &[Value], column: ColumnId) -> &Value {
    values.get(usize::from(column.0)).unwrap_or(&Value::Null)
}

fn append_values(key: &mut Vec<u8>, columns: &[ColumnId], values: &[Value]) {
    for column in columns {
        encode_key_value(key, value_of(values, *column));
    }
}
