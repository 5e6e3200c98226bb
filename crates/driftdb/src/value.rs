//! Rust values in and out of SQL.

use driftdb_types::{CommitSeq, Error, Result, SqlState, Value};

/// What can be given for a placeholder `$n`.
pub trait ToValue {
    /// The SQL value.
    fn to_value(&self) -> Value;
}

/// What a result's value can be read as.
pub trait FromValue: Sized {
    /// Reads the value; an error (42846) where it is of another type or does not fit.
    fn from_value(value: &Value) -> Result<Self>;
}

fn mismatch(value: &Value, wanted: &str) -> Error {
    Error::new(SqlState::CANNOT_COERCE, format!("{value:?} cannot be read as {wanted}"))
}

macro_rules! values {
    ($($rust:ty: $to:ident;)*) => {
        $(impl ToValue for $rust {
            fn to_value(&self) -> Value {
                Value::$to(self.clone())
            }
        })*
    };
}

values! {
    bool: Bool;
    i16: Int2;
    i32: Int4;
    i64: Int8;
    f32: Float4;
    f64: Float8;
    String: Text;
    Vec<u8>: Bytea;
}

impl ToValue for str {
    fn to_value(&self) -> Value {
        Value::Text(self.to_owned())
    }
}

impl ToValue for [u8] {
    fn to_value(&self) -> Value {
        Value::Bytea(self.to_vec())
    }
}

impl ToValue for Value {
    fn to_value(&self) -> Value {
        self.clone()
    }
}

/// A commit's seq, for `FOR SYSTEM_TIME AS OF $1`.
impl ToValue for CommitSeq {
    fn to_value(&self) -> Value {
        Value::Int8(i64::try_from(self.0).unwrap_or(i64::MAX))
    }
}

impl<T: ToValue + ?Sized> ToValue for &T {
    fn to_value(&self) -> Value {
        (**self).to_value()
    }
}

impl<T: ToValue> ToValue for Option<T> {
    fn to_value(&self) -> Value {
        self.as_ref().map_or(Value::Null, ToValue::to_value)
    }
}

impl FromValue for Value {
    fn from_value(value: &Value) -> Result<Value> {
        Ok(value.clone())
    }
}

impl FromValue for bool {
    fn from_value(value: &Value) -> Result<bool> {
        match value {
            Value::Bool(value) => Ok(*value),
            other => Err(mismatch(other, "bool")),
        }
    }
}

impl FromValue for i64 {
    fn from_value(value: &Value) -> Result<i64> {
        match value {
            Value::Int2(value) => Ok((*value).into()),
            Value::Int4(value) => Ok((*value).into()),
            Value::Int8(value) => Ok(*value),
            other => Err(mismatch(other, "i64")),
        }
    }
}

impl FromValue for i32 {
    fn from_value(value: &Value) -> Result<i32> {
        i64::from_value(value)?.try_into().map_err(|_| mismatch(value, "i32"))
    }
}

impl FromValue for i16 {
    fn from_value(value: &Value) -> Result<i16> {
        i64::from_value(value)?.try_into().map_err(|_| mismatch(value, "i16"))
    }
}

impl FromValue for f64 {
    fn from_value(value: &Value) -> Result<f64> {
        match value {
            Value::Float4(value) => Ok((*value).into()),
            Value::Float8(value) => Ok(*value),
            other => Err(mismatch(other, "f64")),
        }
    }
}

impl FromValue for String {
    fn from_value(value: &Value) -> Result<String> {
        match value {
            Value::Text(value) | Value::Json(value) | Value::Jsonb(value) => Ok(value.clone()),
            other => Err(mismatch(other, "String")),
        }
    }
}

impl FromValue for Vec<u8> {
    fn from_value(value: &Value) -> Result<Vec<u8>> {
        match value {
            Value::Bytea(value) => Ok(value.clone()),
            other => Err(mismatch(other, "Vec<u8>")),
        }
    }
}

impl<T: FromValue> FromValue for Option<T> {
    fn from_value(value: &Value) -> Result<Option<T>> {
        if value.is_null() { Ok(None) } else { T::from_value(value).map(Some) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_go_in_and_come_out() {
        assert_eq!(i64::from_value(&7_i16.to_value()), Ok(7));
        assert_eq!(i16::from_value(&7_i64.to_value()), Ok(7));
        assert!(i16::from_value(&70_000_i64.to_value()).is_err());
        assert_eq!(String::from_value(&"a".to_value()), Ok("a".to_owned()));
        assert_eq!(Option::<i32>::from_value(&None::<i32>.to_value()), Ok(None));
        assert_eq!(Option::<i32>::from_value(&Some(1).to_value()), Ok(Some(1)));
        assert!(i32::from_value(&Value::Null).is_err());
        assert!(bool::from_value(&1.to_value()).is_err());
    }
}
