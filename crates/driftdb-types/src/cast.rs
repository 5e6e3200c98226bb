//! Casts.
use crate::{DataType, Error, Result, TimeZone, Value};
impl Value {
    /// Explicit cast.
    pub fn cast(self, _to: DataType, _tz: &TimeZone) -> Result<Value> {
        Err(Error::internal("not written yet"))
    }
    /// Assignment cast.
    pub fn assign(self, _to: DataType, _tz: &TimeZone) -> Result<Value> {
        Err(Error::internal("not written yet"))
    }
}
