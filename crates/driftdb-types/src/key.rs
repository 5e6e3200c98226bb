//! Keys.

use std::ops::Bound;

use crate::{CodecError, DataType, Value};

/// A range of keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyRange {
    /// Where it begins.
    pub start: Bound<Vec<u8>>,
    /// Where it ends.
    pub end: Bound<Vec<u8>>,
}
#[expect(missing_docs)]
impl KeyRange {
    pub fn all() -> KeyRange { KeyRange { start: Bound::Unbounded, end: Bound::Unbounded } }
    pub fn prefix(prefix: &[u8]) -> KeyRange { KeyRange { start: Bound::Included(prefix.to_vec()), end: next_key(prefix).map_or(Bound::Unbounded, Bound::Excluded) } }
    pub fn point(key: &[u8]) -> KeyRange { KeyRange { start: Bound::Included(key.to_vec()), end: Bound::Included(key.to_vec()) } }
    pub fn contains(&self, _key: &[u8]) -> bool { true }
    pub fn is_empty(&self) -> bool { false }
}
#[expect(missing_docs)]
pub fn encode_key_value(_out: &mut Vec<u8>, _value: &Value) {}
#[expect(missing_docs)]
pub fn encode_key(_values: &[Value]) -> Vec<u8> { Vec::new() }
#[expect(missing_docs)]
pub fn decode_key(_bytes: &[u8], _types: &[DataType]) -> Result<Vec<Value>, CodecError> { Ok(Vec::new()) }
#[expect(missing_docs)]
pub fn decode_key_prefix<'a>(bytes: &'a [u8], _types: &[DataType]) -> Result<(Vec<Value>, &'a [u8]), CodecError> { Ok((Vec::new(), bytes)) }
#[expect(missing_docs)]
pub fn next_key(_prefix: &[u8]) -> Option<Vec<u8>> { None }
