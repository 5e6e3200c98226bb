//! Arithmetic with PostgreSQL's results: integers that do not fit are errors (22003), so is division by zero (22012).

use driftdb_types::{Error, Result, SqlState, Value};

use super::scalar::Arithmetic;

fn out_of_range(what: &str) -> Error {
    Error::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, format!("{what} out of range"))
}

fn division_by_zero() -> Error {
    Error::new(SqlState::DIVISION_BY_ZERO, "division by zero")
}

macro_rules! integer {
    ($operator:expr, $left:expr, $right:expr, $make:expr, $name:literal) => {{
        let (left, right) = ($left, $right);
        if right == 0 && matches!($operator, Arithmetic::Divide | Arithmetic::Modulo) {
            return Err(division_by_zero());
        }
        match $operator {
            Arithmetic::Add => left.checked_add(right),
            Arithmetic::Subtract => left.checked_sub(right),
            Arithmetic::Multiply => left.checked_mul(right),
            Arithmetic::Divide => left.checked_div(right),
            // The smallest integer % -1 is 0, though the quotient does not fit.
            Arithmetic::Modulo => Some(left.wrapping_rem(right)),
        }
        .map($make)
        .ok_or_else(|| out_of_range($name))
    }};
}

macro_rules! float {
    ($operator:expr, $left:expr, $right:expr, $make:expr) => {{
        let (left, right) = ($left, $right);
        if right == 0.0 && !left.is_nan() && matches!($operator, Arithmetic::Divide) {
            return Err(division_by_zero());
        }
        let result = match $operator {
            Arithmetic::Add => left + right,
            Arithmetic::Subtract => left - right,
            Arithmetic::Multiply => left * right,
            Arithmetic::Divide => left / right,
            Arithmetic::Modulo => return Err(Error::internal("% of floats")),
        };
        if result.is_infinite() && left.is_finite() && right.is_finite() {
            return Err(out_of_range("value").detail("overflow"));
        }
        let vanished = result == 0.0 && left != 0.0 && matches!($operator, Arithmetic::Multiply | Arithmetic::Divide);
        if vanished && right != 0.0 && right.is_finite() {
            return Err(out_of_range("value").detail("underflow"));
        }
        Ok($make(result))
    }};
}

/// `left operator right`, both of one number type.
pub(crate) fn arithmetic(operator: Arithmetic, left: Value, right: Value) -> Result<Value> {
    match (left, right) {
        (Value::Null, _) | (_, Value::Null) => Ok(Value::Null),
        (Value::Int4(left), Value::Int4(right)) => integer!(operator, left, right, Value::Int4, "integer"),
        (Value::Int8(left), Value::Int8(right)) => integer!(operator, left, right, Value::Int8, "bigint"),
        (Value::Int2(left), Value::Int2(right)) => integer!(operator, left, right, Value::Int2, "smallint"),
        (Value::Float8(left), Value::Float8(right)) => float!(operator, left, right, Value::Float8),
        (Value::Float4(left), Value::Float4(right)) => float!(operator, left, right, Value::Float4),
        (Value::Numeric(left), Value::Numeric(right)) => match operator {
            Arithmetic::Add => left.checked_add(right),
            Arithmetic::Subtract => left.checked_sub(right),
            Arithmetic::Multiply => left.checked_mul(right),
            Arithmetic::Divide => left.checked_div(right),
            Arithmetic::Modulo => left.checked_rem(right),
        }
        .map(Value::Numeric),
        (left, right) => Err(Error::internal(format!("arithmetic on {left:?} and {right:?}"))),
    }
}

/// `- value`
pub(crate) fn negate(value: Value) -> Result<Value> {
    match value {
        Value::Null => Ok(Value::Null),
        Value::Int2(value) => value.checked_neg().map(Value::Int2).ok_or_else(|| out_of_range("smallint")),
        Value::Int4(value) => value.checked_neg().map(Value::Int4).ok_or_else(|| out_of_range("integer")),
        Value::Int8(value) => value.checked_neg().map(Value::Int8).ok_or_else(|| out_of_range("bigint")),
        Value::Float4(value) => Ok(Value::Float4(-value)),
        Value::Float8(value) => Ok(Value::Float8(-value)),
        Value::Numeric(value) => Ok(Value::Numeric(-value)),
        other => Err(Error::internal(format!("- of {other:?}"))),
    }
}
