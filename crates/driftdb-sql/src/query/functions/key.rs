//! What values are compared, sorted and grouped by, where DataFusion would go by their parts: of an interval its length, of
//! an unconstrained numeric its value, whatever its scale, of a jsonb its place in PostgreSQL's order.

use driftdb_types::{DataType as T, Decimal, Value, jsonb_key};

use super::{Builtin, Kind, Nulls, Overload, Returns, mismatch};

/// The function that gives a value's key.
pub(crate) const KEY: &str = "\u{1}key";

pub(super) const FUNCTIONS: &[Builtin] = &[Builtin {
    name: KEY,
    nulls: Nulls::Strict,
    volatile: false,
    overloads: &[
        Overload {
            args: &[Kind::Is(T::Interval)],
            rest: None,
            returns: Returns::NumericKey,
            // A month is taken for 30 days, a day for 24 hours.
            eval: |_, args| match args {
                [Value::Interval(interval)] => Decimal::new(interval.estimated_us(), 0).map(Value::Numeric),
                other => Err(mismatch("the key of an interval", other)),
            },
        },
        Overload {
            args: &[Kind::Is(T::Numeric(None))],
            rest: None,
            returns: Returns::NumericKey,
            eval: |_, args| match args {
                [value] => Ok(value.clone()),
                other => Err(mismatch("the key of a numeric", other)),
            },
        },
        Overload {
            args: &[Kind::Is(T::Jsonb)],
            rest: None,
            returns: Returns::Is(T::Bytea),
            eval: |_, args| match args {
                // The value of a parameter has lost its type on the way.
                [Value::Jsonb(text) | Value::Text(text)] => jsonb_key(text).map(Value::Bytea),
                other => Err(mismatch("the key of a jsonb", other)),
            },
        },
    ],
}];
