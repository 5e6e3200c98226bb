//! Casts, explicit and implicit. The work is `Value::cast`; widening of numbers on whole columns is left to Arrow.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType as ArrowType, Field};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Cast, ColumnarValue, Expr};
use driftdb_types::{DataType, Error, Result, SqlState, Value, parse_value_at};

use super::{ArgType, Call, Callee, Facts, Resolution};
use crate::query::errors::into_datafusion;
use crate::query::types::{NUMERIC, arrow_type, field, scalar_of};

/// The name of the cast to a type, for error texts and plans.
pub(super) fn name(target: DataType) -> &'static str {
    target.type_name()
}

/// Settles a cast's types. An unknown argument is text, whose text form is read.
pub(super) fn resolve(target: DataType, types: &[ArgType]) -> Result<Resolution> {
    let [arg] = types else { return Err(Error::internal("a cast takes one argument")) };
    let (source, param) = match arg {
        ArgType::Unknown => (DataType::Text, ArrowType::Utf8),
        ArgType::Known { data_type, arrow, .. } => (*data_type, arrow.clone()),
    };
    if !castable(source, target) {
        return Err(Error::new(
            SqlState::CANNOT_COERCE,
            format!("cannot cast type {} to {}", source.without_modifiers(), target.without_modifiers()),
        ));
    }
    Ok(Resolution {
        eval: by_target,
        targets: vec![source],
        params: vec![param],
        field: Arc::new(field(name(target), target, true)),
    })
}

/// Which types PostgreSQL casts to which.
fn castable(from: DataType, to: DataType) -> bool {
    use DataType as T;
    if from.without_modifiers() == to.without_modifiers() || from.is_text() || to.is_text() {
        return true;
    }
    match (from, to) {
        (a, b) if a.is_number() && b.is_number() => true,
        (T::Bool, T::Int4) | (T::Int4, T::Bool) => true,
        (T::Date, T::Timestamp | T::TimestampTz) => true,
        (T::Timestamp, T::Date | T::Time | T::TimestampTz) => true,
        (T::TimestampTz, T::Date | T::Time | T::Timestamp) => true,
        (T::Time, T::Interval) | (T::Interval, T::Time) => true,
        (T::Json, T::Jsonb) | (T::Jsonb, T::Json) => true,
        (T::Jsonb, b) => b.is_number() || b == T::Bool,
        _ => false,
    }
}

/// A cast is evaluated by its target, not by a function of its own.
fn by_target(_: &Facts, _: &[Value]) -> Result<Value> {
    Err(Error::internal("a cast was evaluated without its target"))
}

/// One value cast.
pub(super) fn cast_value(facts: &Facts, args: &[Value], target: DataType) -> Result<Value> {
    match args {
        [Value::Text(text)] if !target.is_text() => parse_value_at(target, text, &facts.zone, facts.statement_time_us),
        [value] => value.clone().cast(target, &facts.zone),
        other => Err(super::mismatch("cast", other)),
    }
}

/// Casts of whole columns that Arrow does exactly as PostgreSQL: to a wider number, or between the names of one thing.
pub(super) fn vectorised(target: DataType, args: &[ColumnarValue]) -> Result<Option<ColumnarValue>> {
    let [ColumnarValue::Array(array)] = args else { return Ok(None) };
    use ArrowType as A;
    let same = *array.data_type() == arrow_type(target);
    let exact = match (array.data_type(), target) {
        (A::Int16, DataType::Int4 | DataType::Int8 | DataType::Float8 | DataType::Float4) => true,
        (A::Int32, DataType::Int8 | DataType::Float8) => true,
        (A::Int64, DataType::Float8) => true,
        (A::Float32, DataType::Float8) => true,
        (A::Utf8, DataType::Text | DataType::Varchar(None)) => same,
        (
            _,
            DataType::Bool | DataType::Int2 | DataType::Int4 | DataType::Int8 | DataType::Float4 | DataType::Float8,
        ) => same,
        (_, DataType::Date | DataType::Time | DataType::Timestamp | DataType::TimestampTz | DataType::Uuid) => same,
        (_, DataType::Bytea) => same,
        _ => false,
    };
    if !exact {
        return Ok(None);
    }
    let cast = datafusion::arrow::compute::cast(array, &arrow_type(target))
        .map_err(|error| Error::internal(format!("a widening cast failed: {error}")))?;
    Ok(Some(ColumnarValue::Array(cast)))
}

/// `expr` converted to `target`: literals are converted at once, wider numbers by DataFusion's own cast (which its
/// optimiser sees through), everything else by ours.
pub(crate) fn cast_expr(
    expr: Expr,
    from: &ArgType,
    target: DataType,
    param: &ArrowType,
    facts: &Arc<Facts>,
) -> datafusion::common::Result<Expr> {
    let exact = |arrow: &ArrowType| arrow == param;
    match (&expr, from) {
        (Expr::Literal(ScalarValue::Utf8(Some(text)), _), ArgType::Unknown) => {
            let value = cast_value(facts, &[Value::Text(text.clone())], target).map_err(into_datafusion)?;
            return literal(&value, target, param);
        }
        (Expr::Literal(scalar, _), ArgType::Unknown) if scalar.is_null() => {
            return ScalarValue::try_from(param).map(|null| Expr::Literal(null, None));
        }
        (Expr::Placeholder(_), ArgType::Unknown) => return Ok(expr),
        (_, ArgType::Known { arrow, .. }) if exact(arrow) => return Ok(expr),
        _ => {}
    }
    let widening = match from {
        ArgType::Known { data_type, arrow } => {
            data_type.is_number() && target.is_number() && *arrow != NUMERIC && *param != NUMERIC
        }
        ArgType::Unknown => false,
    };
    if widening {
        return Ok(Expr::Cast(Cast::new_from_field(Box::new(expr), Arc::new(Field::new("", param.clone(), true)))));
    }
    Call::settled(Callee::Cast(target), facts, std::slice::from_ref(from), vec![expr]).map_err(into_datafusion)
}

fn literal(value: &Value, target: DataType, param: &ArrowType) -> datafusion::common::Result<Expr> {
    // Beside numerics of a fixed scale a constant has the scale it was written with.
    if let (Value::Numeric(decimal), ArrowType::Decimal128(..)) = (value, param) {
        let scale = i8::try_from(decimal.scale()).unwrap_or(i8::MAX);
        return Ok(Expr::Literal(ScalarValue::Decimal128(Some(decimal.unscaled()), 38, scale), None));
    }
    let scalar = scalar_of(value, target).map_err(into_datafusion)?;
    let metadata = field("", target, true).metadata().clone();
    let metadata = (!metadata.is_empty()).then(|| metadata.into());
    Ok(Expr::Literal(scalar, metadata))
}
