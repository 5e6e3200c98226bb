//! Binary.
use crate::{DataType, Error, Result, Value};
impl Value {
    /// PostgreSQL's binary format.
    pub fn to_binary(&self, _ty: DataType) -> Result<Vec<u8>> {
        Err(Error::internal("not written yet"))
    }
    /// Reads PostgreSQL's binary format.
    pub fn from_binary(_ty: DataType, _bytes: &[u8]) -> Result<Value> {
        Err(Error::internal("not written yet"))
    }
}
