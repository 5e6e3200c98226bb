//! The few functions compiled expressions have.

use driftdb_types::{Error, Result, SqlState, Value};

use super::scalar::{Comparison, Env, Function, Scalar, compare};

pub(crate) fn call(function: Function, arguments: &[Scalar], row: &[Value], env: &Env<'_>) -> Result<Value> {
    match function {
        Function::Coalesce => {
            for argument in arguments {
                let value = argument.eval(row, env)?;
                if !value.is_null() {
                    return Ok(value);
                }
            }
            Ok(Value::Null)
        }
        Function::Greatest => extreme(Comparison::Gt, arguments, row, env),
        Function::Least => extreme(Comparison::Lt, arguments, row, env),
        Function::NullIf => {
            let [left, right] = arguments else { return Err(Error::internal("nullif takes two arguments")) };
            let (left, right) = (left.eval(row, env)?, right.eval(row, env)?);
            match compare(Comparison::Eq, &left, &right)? {
                Some(true) => Ok(Value::Null),
                _ => Ok(left),
            }
        }
        Function::Abs | Function::Lower | Function::Upper | Function::CharLength => {
            let [argument] = arguments else { return Err(Error::internal("a function takes one argument")) };
            one(function, argument.eval(row, env)?)
        }
    }
}

fn extreme(wanted: Comparison, arguments: &[Scalar], row: &[Value], env: &Env<'_>) -> Result<Value> {
    let mut best = Value::Null;
    for argument in arguments {
        let value = argument.eval(row, env)?;
        if best.is_null() || compare(wanted, &value, &best)? == Some(true) {
            best = value;
        }
    }
    Ok(best)
}

fn one(function: Function, value: Value) -> Result<Value> {
    let overflow = |what: &str| Error::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, format!("{what} out of range"));
    Ok(match (function, value) {
        (_, Value::Null) => Value::Null,
        (Function::Lower, Value::Text(text)) => Value::Text(text.to_lowercase()),
        (Function::Upper, Value::Text(text)) => Value::Text(text.to_uppercase()),
        (Function::CharLength, Value::Text(text)) => {
            Value::Int4(i32::try_from(text.chars().count()).map_err(|_| overflow("integer"))?)
        }
        (Function::Abs, Value::Int2(value)) => Value::Int2(value.checked_abs().ok_or_else(|| overflow("smallint"))?),
        (Function::Abs, Value::Int4(value)) => Value::Int4(value.checked_abs().ok_or_else(|| overflow("integer"))?),
        (Function::Abs, Value::Int8(value)) => Value::Int8(value.checked_abs().ok_or_else(|| overflow("bigint"))?),
        (Function::Abs, Value::Float4(value)) => Value::Float4(value.abs()),
        (Function::Abs, Value::Float8(value)) => Value::Float8(value.abs()),
        (Function::Abs, Value::Numeric(value)) => Value::Numeric(value.abs()),
        (function, value) => return Err(Error::internal(format!("{function:?} of {value:?}"))),
    })
}
