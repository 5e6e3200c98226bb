//! Rows.

use crate::{CodecError, ColumnId, TableSchema, Value};

/// Encodes.
pub fn encode_row(_schema: &TableSchema, _values: &[Value]) -> Result<Vec<u8>, CodecError> { Err(CodecError::TooLong(0)) }
/// Decodes.
pub fn decode_row(_schema: &TableSchema, _payload: &[u8]) -> Result<Vec<Value>, CodecError> { Err(CodecError::TooLong(0)) }
/// Decodes some columns.
#[derive(Clone, Debug)]
pub struct RowDecoder;
impl RowDecoder {
    /// New.
    pub fn new(_schema: &TableSchema, _columns: &[ColumnId]) -> Result<RowDecoder, CodecError> { Ok(RowDecoder) }
    /// All.
    pub fn decode(&self, _payload: &[u8]) -> Result<Vec<Value>, CodecError> { Err(CodecError::TooLong(0)) }
    /// One.
    pub fn column(&self, _payload: &[u8], _position: usize) -> Result<Value, CodecError> { Err(CodecError::TooLong(0)) }
}
