//! From conditions on columns to a range of keys.
//!
//! Of the conditions `column op constant` those on the leading columns of a key count: any number of equalities, and
//! then at most one range. The range found may be wider than the conditions; they are checked again on its rows.

use std::ops::Bound;

use datafusion::common::ScalarValue;
use datafusion::logical_expr::{BinaryExpr, Cast, Expr, Operator};
use driftdb_types::{ColumnId, IndexSchema, KeyRange, TableSchema, Value, encode_key_value, next_key};

use super::types::{arrow_type, value_of_scalar};

/// A condition on one column.
#[derive(Clone, Debug)]
pub(super) struct Condition {
    pub(super) column: ColumnId,
    op: Operator,
    value: Value,
}

/// Where to find a table's rows.
#[derive(Clone, Debug)]
pub(super) enum Access {
    /// In the table's own tree.
    Rows(KeyRange),
    /// Through an index.
    Index(IndexSchema, KeyRange),
}

/// Whether a condition is of the form that can narrow a range; its constant may be a parameter still.
pub(super) fn may_narrow(table: &TableSchema, filter: &Expr) -> bool {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = filter else { return false };
    let constant = |expr: &Expr| matches!(strip_cast(expr), Expr::Literal(..) | Expr::Placeholder(_));
    let keyed = |expr: &Expr| match expr {
        Expr::Column(column) => table.column(&column.name).is_some_and(|column| in_some_key(table, column.id)),
        _ => false,
    };
    is_comparison(*op) && ((keyed(left) && constant(right)) || (keyed(right) && constant(left)))
}

fn in_some_key(table: &TableSchema, column: ColumnId) -> bool {
    let clustered = table.primary_key.as_ref().filter(|_| table.is_clustered());
    clustered.is_some_and(|key| key.columns.contains(&column))
        || table.indexes.iter().any(|index| index.columns.contains(&column))
}

fn is_comparison(op: Operator) -> bool {
    matches!(op, Operator::Eq | Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq)
}

fn strip_cast(expr: &Expr) -> &Expr {
    match expr {
        Expr::Cast(Cast { expr: inner, .. }) => strip_cast(inner),
        other => other,
    }
}

/// The conditions in filters that are `column op constant` with a constant that the column's type holds exactly.
pub(super) fn conditions(table: &TableSchema, filters: &[Expr]) -> Vec<Condition> {
    filters.iter().filter_map(|filter| condition(table, filter)).collect()
}

fn condition(table: &TableSchema, filter: &Expr) -> Option<Condition> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = filter else { return None };
    let (name, op, constant) = match (left.as_ref(), right.as_ref()) {
        (Expr::Column(column), constant) => (&column.name, *op, constant),
        (constant, Expr::Column(column)) => (&column.name, op.swap()?, constant),
        _ => return None,
    };
    if !is_comparison(op) {
        return None;
    }
    let column = table.column(name)?;
    let scalar = constant_of(constant)?;
    let wanted = arrow_type(column.data_type);
    let exact = if scalar.data_type() == wanted { scalar } else { exact_cast(&scalar, &wanted)? };
    let value = value_of_scalar(&exact).ok()?;
    // NULL fits no comparison; the filter above says so.
    (!value.is_null()).then_some(Condition { column: column.id, op, value })
}

fn constant_of(expr: &Expr) -> Option<ScalarValue> {
    match expr {
        Expr::Literal(scalar, _) => Some(scalar.clone()),
        Expr::Cast(Cast { expr: inner, field }) => constant_of(inner)?.cast_to(field.data_type()).ok(),
        _ => None,
    }
}

/// An integer of another width, if it fits.
fn exact_cast(scalar: &ScalarValue, wanted: &datafusion::arrow::datatypes::DataType) -> Option<ScalarValue> {
    (scalar.data_type().is_integer() && wanted.is_integer()).then(|| scalar.cast_to(wanted).ok())?
}

/// The best way to the rows that can fulfil the conditions.
pub(super) fn access(table: &TableSchema, conditions: &[Condition], indexes: bool) -> Access {
    let mut best = Access::Rows(KeyRange::all());
    let mut best_score = 0;
    if let Some(key) = table.primary_key.as_ref().filter(|_| table.is_clustered()) {
        let (range, score) = range_of(&key.columns, conditions);
        if score > 0 {
            // Rows in the table's own order cost one step less than through an index.
            (best, best_score) = (Access::Rows(range), score + 1);
        }
    }
    if !indexes {
        return best;
    }
    for index in &table.indexes {
        let (range, score) = range_of(&index.columns, conditions);
        if score > best_score {
            (best, best_score) = (Access::Index(index.clone(), range), score);
        }
    }
    best
}

/// The range that the conditions leave of a key, and how good it is: 4 for an equality, 2 for a range's end.
fn range_of(columns: &[ColumnId], conditions: &[Condition]) -> (KeyRange, u32) {
    let mut prefix = Vec::new();
    let mut score = 0;
    for column in columns {
        let of_column = || conditions.iter().filter(|condition| condition.column == *column);
        if let Some(equal) = of_column().find(|condition| condition.op == Operator::Eq) {
            encode_key_value(&mut prefix, &equal.value);
            score += 4;
            continue;
        }
        let low = of_column().find(|condition| matches!(condition.op, Operator::Gt | Operator::GtEq));
        let high = of_column().find(|condition| matches!(condition.op, Operator::Lt | Operator::LtEq));
        if low.is_none() && high.is_none() {
            break;
        }
        let bound = |condition: &Condition| {
            let mut key = prefix.clone();
            encode_key_value(&mut key, &condition.value);
            key
        };
        let whole = KeyRange::prefix(&prefix);
        let start = match low {
            None => whole.start,
            Some(low) if low.op == Operator::GtEq => Bound::Included(bound(low)),
            // All keys that begin with the value lie before the next possible key.
            Some(low) => next_key(&bound(low)).map_or(Bound::Unbounded, Bound::Included),
        };
        let end = match high {
            None => whole.end,
            Some(high) if high.op == Operator::Lt => Bound::Excluded(bound(high)),
            Some(high) => next_key(&bound(high)).map_or(Bound::Unbounded, Bound::Excluded),
        };
        score += 2 * (u32::from(low.is_some()) + u32::from(high.is_some()));
        return (KeyRange { start, end }, score);
    }
    if score == 0 {
        return (KeyRange::all(), 0);
    }
    (KeyRange::prefix(&prefix), score)
}
