//! Functions on json and jsonb.

use driftdb_types::{DataType as T, Value};

use super::text::{function, text};
use super::{Builtin, Kind, Nulls, Overload, Returns, mismatch};

pub(super) const FUNCTIONS: &[Builtin] = &[
    function!("json_typeof", Strict, [(T::Json) => T::Text, |_, a| type_of(a)]),
    function!("jsonb_typeof", Strict, [(T::Jsonb) => T::Text, |_, a| type_of(a)]),
];

fn type_of(args: &[Value]) -> driftdb_types::Result<Value> {
    let parsed: serde_json::Value = serde_json::from_str(text(args, 0)?).map_err(|_| mismatch("json_typeof", args))?;
    let name = match parsed {
        serde_json::Value::Null => "null",
        serde_json::Value::Bool(_) => "boolean",
        serde_json::Value::Number(_) => "number",
        serde_json::Value::String(_) => "string",
        serde_json::Value::Array(_) => "array",
        serde_json::Value::Object(_) => "object",
    };
    Ok(Value::Text(name.to_owned()))
}
