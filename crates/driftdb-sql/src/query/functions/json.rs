//! Functions and operators on json and jsonb (PostgreSQL manual, "JSON Functions and Operators"). `json` gives its parts
//! back as they were written, `jsonb` in normal form, which is put together here as text and read again.

use driftdb_types::{
    DataType as T, Error, JsonKind, Result, SqlState, Value, format_value, json_along, json_element, json_elements,
    json_kind, json_member, json_members, json_quoted, json_unquoted, jsonb_contains, parse_value,
};

use super::text::{function, text};
use super::{Builtin, Facts, Kind, Nulls, Overload, Returns, mismatch};

macro_rules! operator {
    ($name:literal, [$(($($kind:expr),*) => $returns:expr, $eval:expr);+ $(;)?]) => {
        function!($name, Strict, [$(($($kind),*) => $returns, $eval);+])
    };
}

macro_rules! built {
    ($name:literal, $nulls:ident, $args:expr, $rest:expr, $returns:expr, $eval:expr) => {
        Builtin {
            name: $name,
            nulls: Nulls::$nulls,
            volatile: false,
            overloads: &[Overload { args: $args, rest: $rest, returns: Returns::Is($returns), eval: $eval }],
        }
    };
}

pub(super) const FUNCTIONS: &[Builtin] = &[
    operator!("\u{1}op:->", [
        (T::Jsonb, T::Text) => T::Jsonb, get; (T::Jsonb, T::Int4) => T::Jsonb, get;
        (T::Json, T::Text) => T::Json, get; (T::Json, T::Int4) => T::Json, get;
    ]),
    operator!("\u{1}op:->>", [
        (T::Jsonb, T::Text) => T::Text, get_text; (T::Jsonb, T::Int4) => T::Text, get_text;
        (T::Json, T::Text) => T::Text, get_text; (T::Json, T::Int4) => T::Text, get_text;
    ]),
    // The path is an array's text form, `{a,0}`: there are no arrays.
    operator!("\u{1}op:#>", [
        (T::Jsonb, T::Text) => T::Jsonb, get_path; (T::Json, T::Text) => T::Json, get_path;
    ]),
    operator!("\u{1}op:#>>", [
        (T::Jsonb, T::Text) => T::Text, get_path_text; (T::Json, T::Text) => T::Text, get_path_text;
    ]),
    operator!("\u{1}op:@>", [(T::Jsonb, T::Jsonb) => T::Bool, |_, a| jsonb_contains(text(a, 0)?, text(a, 1)?).map(Value::Bool)]),
    operator!("\u{1}op:<@", [(T::Jsonb, T::Jsonb) => T::Bool, |_, a| jsonb_contains(text(a, 1)?, text(a, 0)?).map(Value::Bool)]),
    operator!("\u{1}op:?", [(T::Jsonb, T::Text) => T::Bool, exists]),
    function!("json_typeof", Strict, [(T::Json) => T::Text, |_, a| type_of(a)]),
    function!("jsonb_typeof", Strict, [(T::Jsonb) => T::Text, |_, a| type_of(a)]),
    function!("json_array_length", Strict, [(T::Json) => T::Int4, array_length]),
    function!("jsonb_array_length", Strict, [(T::Jsonb) => T::Int4, array_length]),
    built!("to_json", Strict, &[Kind::Any], None, T::Json, |facts, a| build_one(facts, a).map(Value::Json)),
    built!("to_jsonb", Strict, &[Kind::Any], None, T::Jsonb, |facts, a| jsonb(facts, &build_one(facts, a)?)),
    built!("json_build_object", Called, &[], Some(Kind::Any), T::Json, |facts, a| build_object(facts, a)
        .map(Value::Json)),
    built!("jsonb_build_object", Called, &[], Some(Kind::Any), T::Jsonb, |facts, a| jsonb(
        facts,
        &build_object(facts, a)?
    )),
    built!("json_build_array", Called, &[], Some(Kind::Any), T::Json, |facts, a| build_array(facts, a)
        .map(Value::Json)),
    built!("jsonb_build_array", Called, &[], Some(Kind::Any), T::Jsonb, |facts, a| jsonb(
        facts,
        &build_array(facts, a)?
    )),
];

fn type_of(args: &[Value]) -> Result<Value> {
    let name = match json_kind(text(args, 0)?) {
        JsonKind::Null => "null",
        JsonKind::Bool => "boolean",
        JsonKind::Number => "number",
        JsonKind::String => "string",
        JsonKind::Array => "array",
        JsonKind::Object => "object",
    };
    Ok(Value::Text(name.to_owned()))
}

/// The text of a json value. That of a parameter has lost its type on the way, and is taken for a jsonb.
fn document(args: &[Value]) -> Result<&str> {
    match args.first() {
        Some(Value::Json(text) | Value::Jsonb(text) | Value::Text(text)) => Ok(text),
        _ => Err(mismatch("a json function", args)),
    }
}

fn part(args: &[Value]) -> Result<Option<&str>> {
    let document = document(args)?;
    match args.get(1) {
        Some(Value::Text(key)) => json_member(document, key),
        // A jsonb that is no array or object is one element of itself.
        Some(Value::Int4(0 | -1))
            if !matches!(args.first(), Some(Value::Json(_)))
                && !matches!(json_kind(document), JsonKind::Array | JsonKind::Object) =>
        {
            Ok(Some(document))
        }
        Some(Value::Int4(at)) => Ok(json_element(document, i64::from(*at))),
        _ => Err(mismatch("->", args)),
    }
}

/// A part in the type of the whole.
fn typed(args: &[Value], part: Option<&str>) -> Value {
    match (args.first(), part) {
        (_, None) => Value::Null,
        (Some(Value::Json(_)), Some(part)) => Value::Json(part.to_owned()),
        (_, Some(part)) => Value::Jsonb(part.to_owned()),
    }
}

/// A part as text: a string without its quotes, and NULL for null.
fn as_text(part: Option<&str>) -> Result<Value> {
    match part {
        None => Ok(Value::Null),
        Some(part) => match json_kind(part) {
            JsonKind::Null => Ok(Value::Null),
            JsonKind::String => json_unquoted(part).map(Value::Text),
            _ => Ok(Value::Text(part.to_owned())),
        },
    }
}

fn get(_: &Facts, args: &[Value]) -> Result<Value> {
    Ok(typed(args, part(args)?))
}

fn get_text(_: &Facts, args: &[Value]) -> Result<Value> {
    as_text(part(args)?)
}

fn along(args: &[Value]) -> Result<Option<&str>> {
    json_along(document(args)?, text(args, 1)?)
}

fn get_path(_: &Facts, args: &[Value]) -> Result<Value> {
    Ok(typed(args, along(args)?))
}

fn get_path_text(_: &Facts, args: &[Value]) -> Result<Value> {
    as_text(along(args)?)
}

/// Whether a text is a key of the object, a string in the array, or the string.
fn exists(_: &Facts, args: &[Value]) -> Result<Value> {
    let (document, key) = (document(args)?, text(args, 1)?);
    let quoted = json_quoted(key);
    Ok(Value::Bool(match json_kind(document) {
        JsonKind::Object => json_member(document, key)?.is_some(),
        JsonKind::Array => json_elements(document).unwrap_or_default().contains(&quoted.as_str()),
        _ => document == quoted,
    }))
}

fn array_length(_: &Facts, args: &[Value]) -> Result<Value> {
    let document = document(args)?;
    match (json_elements(document), json_kind(document)) {
        (Some(elements), _) => {
            i32::try_from(elements.len()).map(Value::Int4).map_err(|_| super::out_of_range("integer"))
        }
        (None, JsonKind::Object) => Err(invalid("cannot get array length of a non-array")),
        (None, _) => Err(invalid("cannot get array length of a scalar")),
    }
}

fn invalid(message: &str) -> Error {
    Error::new(SqlState::INVALID_PARAMETER_VALUE, message)
}

/// A text as jsonb: read, so that it takes the normal form.
fn jsonb(facts: &Facts, text: &str) -> Result<Value> {
    parse_value(T::Jsonb, text, &facts.zone)
}

/// `jsonb || jsonb`: members of both objects, elements of both arrays; what is no array counts as one of itself.
pub(super) fn concat(facts: &Facts, args: &[Value]) -> Result<Value> {
    let (left, right) = (text(args, 0)?, text(args, 1)?);
    let inner = |text: &str| {
        let end = text.len().saturating_sub(1);
        text.get(1..end).unwrap_or_default().to_owned()
    };
    let joined = |left: String, right: String| match (left.is_empty(), right.is_empty()) {
        (true, _) => right,
        (_, true) => left,
        _ => format!("{left}, {right}"),
    };
    if json_kind(left) == JsonKind::Object && json_kind(right) == JsonKind::Object {
        return jsonb(facts, &format!("{{{}}}", joined(inner(left), inner(right))));
    }
    let elements = |text: &str| match json_kind(text) {
        JsonKind::Array => inner(text),
        _ => text.to_owned(),
    };
    Ok(Value::Jsonb(format!("[{}]", joined(elements(left), elements(right)))))
}

/// `jsonb - text` and `jsonb - integer`: without that member, string or element.
pub(super) fn without(_: &Facts, args: &[Value]) -> Result<Value> {
    let document = document(args)?;
    let kind = json_kind(document);
    if !matches!(kind, JsonKind::Array | JsonKind::Object) {
        return Err(invalid("cannot delete from scalar"));
    }
    match args.get(1) {
        Some(Value::Int4(_)) if kind == JsonKind::Object => {
            Err(invalid("cannot delete from object using integer index"))
        }
        Some(Value::Int4(at)) => {
            let elements = json_elements(document).unwrap_or_default();
            let length = i64::try_from(elements.len()).unwrap_or(i64::MAX);
            let position = if *at < 0 { length + i64::from(*at) } else { i64::from(*at) };
            let kept = (0i64..).zip(elements).filter(|(number, _)| *number != position).map(|(_, element)| element);
            Ok(Value::Jsonb(format!("[{}]", kept.collect::<Vec<_>>().join(", "))))
        }
        Some(Value::Text(key)) if kind == JsonKind::Array => {
            let quoted = json_quoted(key);
            let elements = json_elements(document).unwrap_or_default();
            let kept: Vec<&str> = elements.into_iter().filter(|element| *element != quoted).collect();
            Ok(Value::Jsonb(format!("[{}]", kept.join(", "))))
        }
        Some(Value::Text(key)) => {
            let members = json_members(document).unwrap_or_else(|| Ok(Vec::new()))?;
            let kept = members.into_iter().filter(|(name, _)| name != key);
            let kept: Vec<String> = kept.map(|(name, value)| format!("{}: {value}", json_quoted(&name))).collect();
            Ok(Value::Jsonb(format!("{{{}}}", kept.join(", "))))
        }
        _ => Err(mismatch("-", args)),
    }
}

/// A value as json: numbers and booleans as they are, json itself, all else as a string.
fn build_value(facts: &Facts, value: &Value) -> String {
    let shown = || format_value(value, value.data_type().unwrap_or(T::Text), &facts.zone);
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Json(text) | Value::Jsonb(text) => text.clone(),
        Value::Int2(_) | Value::Int4(_) | Value::Int8(_) | Value::Numeric(_) => shown(),
        Value::Float4(number) if number.is_finite() => shown(),
        Value::Float8(number) if number.is_finite() => shown(),
        // ISO 8601, with a T and minutes in the offset.
        Value::Timestamp(_) => json_quoted(&shown().replacen(' ', "T", 1)),
        Value::TimestampTz(_) => {
            let shown = shown().replacen(' ', "T", 1);
            let hours_only = shown.rsplit_once(['+', '-']).is_some_and(|(_, offset)| offset.len() == 2);
            json_quoted(&if hours_only { shown + ":00" } else { shown })
        }
        _ => json_quoted(&shown()),
    }
}

fn build_one(facts: &Facts, args: &[Value]) -> Result<String> {
    match args {
        [value] => Ok(build_value(facts, value)),
        other => Err(mismatch("to_json", other)),
    }
}

fn build_array(facts: &Facts, args: &[Value]) -> Result<String> {
    let parts: Vec<String> = args.iter().map(|value| build_value(facts, value)).collect();
    Ok(format!("[{}]", parts.join(", ")))
}

fn build_object(facts: &Facts, args: &[Value]) -> Result<String> {
    if !args.len().is_multiple_of(2) {
        return Err(invalid("argument list must have even number of elements"));
    }
    let mut parts = Vec::with_capacity(args.len() / 2);
    for (number, pair) in args.chunks_exact(2).enumerate() {
        let [key, value] = pair else { continue };
        let key = match key {
            Value::Null => return Err(invalid(&format!("argument {} cannot be null", number * 2 + 1))),
            Value::Json(_) | Value::Jsonb(_) => {
                return Err(invalid("key value must be scalar, not array, composite, or json"));
            }
            Value::Bool(key) => key.to_string(),
            key => format_value(key, key.data_type().unwrap_or(T::Text), &facts.zone),
        };
        parts.push(format!("{} : {}", json_quoted(&key), build_value(facts, value)));
    }
    Ok(format!("{{{}}}", parts.join(", ")))
}
