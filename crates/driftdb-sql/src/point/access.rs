//! How rows are reached: which key the WHERE clause fixes.

use std::ops::Bound;

use driftdb_types::{ColumnId, DataType, KeyRange, Result, TableSchema, TreeId, Value, encode_key, next_key};

use super::scalar::{Comparison, Env, Scalar};

/// A condition `column comparison constant`.
struct Condition<'a> {
    column: usize,
    comparison: Comparison,
    value: &'a Scalar,
}

/// Where the rows that can fulfil a condition are.
#[derive(Clone, Debug)]
pub(crate) enum Access {
    /// At most one row, by the key that orders the table.
    Row { key: Vec<Key> },
    /// At most one row, by a unique index.
    Unique { index: TreeId, key: Vec<Key> },
    /// Rows in a range of the key that orders the table.
    RowRange(Range),
    /// Rows in a range of an index.
    IndexRange { index: TreeId, range: Range },
}

/// One column's part of a key.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    value: Scalar,
    data_type: DataType,
}

/// Equalities on the first columns, then bounds on the next.
#[derive(Clone, Debug)]
pub(crate) struct Range {
    equal: Vec<Key>,
    low: Option<(Key, bool)>,
    high: Option<(Key, bool)>,
}

/// Finds the best way in: a whole primary key, a whole unique key, else a range of either or of an index.
pub(crate) fn find_access(table: &TableSchema, filter: &Scalar) -> Option<Access> {
    let mut conditions = Vec::new();
    collect(filter, &mut conditions);
    let clustered = table.primary_key.as_ref().filter(|_| table.is_clustered());
    if let Some(key) = clustered.and_then(|key| whole(table, &key.columns, &conditions)) {
        return Some(Access::Row { key });
    }
    for index in table.indexes.iter().filter(|index| index.unique) {
        if let Some(key) = whole(table, &index.columns, &conditions) {
            return Some(Access::Unique { index: index.id, key });
        }
    }
    let mut best: Option<(usize, Access)> = None;
    let mut offer = |weight: usize, access: Access| {
        if best.as_ref().is_none_or(|(known, _)| weight > *known) {
            best = Some((weight, access));
        }
    };
    if let Some((weight, range)) = clustered.and_then(|key| range(table, &key.columns, &conditions)) {
        // Reading in the table's own order costs less than jumping to rows from an index.
        offer(weight + 1, Access::RowRange(range));
    }
    for index in &table.indexes {
        if let Some((weight @ 2.., range)) = range(table, &index.columns, &conditions) {
            offer(weight, Access::IndexRange { index: index.id, range });
        }
    }
    best.map(|(_, access)| access)
}

/// The conditions that must all hold.
fn collect<'a>(filter: &'a Scalar, conditions: &mut Vec<Condition<'a>>) {
    match filter {
        Scalar::And(left, right) => {
            collect(left, conditions);
            collect(right, conditions);
        }
        Scalar::Compare(comparison, left, right) if *comparison != Comparison::NotEq => {
            match (left.as_ref(), right.as_ref()) {
                (Scalar::Column(column), value) if value.is_constant() => {
                    conditions.push(Condition { column: *column, comparison: *comparison, value });
                }
                (value, Scalar::Column(column)) if value.is_constant() => {
                    conditions.push(Condition { column: *column, comparison: comparison.mirrored(), value });
                }
                _ => {}
            }
        }
        _ => {}
    }
}

fn key_for(table: &TableSchema, column: ColumnId, value: &Scalar) -> Option<Key> {
    let data_type = table.column_by_id(column)?.data_type;
    // Types whose equal values can have different key bytes cannot be looked up by key.
    let exact = !matches!(data_type, DataType::Json | DataType::Jsonb | DataType::Char(_) | DataType::Interval);
    exact.then(|| Key { value: value.clone(), data_type })
}

fn whole(table: &TableSchema, columns: &[ColumnId], conditions: &[Condition<'_>]) -> Option<Vec<Key>> {
    columns.iter().map(|column| equality(table, *column, conditions)).collect()
}

fn equality(table: &TableSchema, column: ColumnId, conditions: &[Condition<'_>]) -> Option<Key> {
    let condition = conditions
        .iter()
        .find(|condition| condition.column == usize::from(column.0) && condition.comparison == Comparison::Eq)?;
    key_for(table, column, condition.value)
}

/// A range and its weight: two for each equality, two for both bounds, one for one bound.
fn range(table: &TableSchema, columns: &[ColumnId], conditions: &[Condition<'_>]) -> Option<(usize, Range)> {
    let mut range = Range { equal: Vec::new(), low: None, high: None };
    for column in columns {
        if let Some(key) = equality(table, *column, conditions) {
            range.equal.push(key);
            continue;
        }
        for condition in conditions.iter().filter(|condition| condition.column == usize::from(column.0)) {
            let key = key_for(table, *column, condition.value);
            match condition.comparison {
                Comparison::Gt => range.low = range.low.or(key.map(|key| (key, false))),
                Comparison::GtEq => range.low = range.low.or(key.map(|key| (key, true))),
                Comparison::Lt => range.high = range.high.or(key.map(|key| (key, false))),
                Comparison::LtEq => range.high = range.high.or(key.map(|key| (key, true))),
                Comparison::Eq | Comparison::NotEq => {}
            }
        }
        break;
    }
    let weight = 2 * range.equal.len() + usize::from(range.low.is_some()) + usize::from(range.high.is_some());
    (weight > 0).then_some((weight, range))
}

/// What a key's constant comes to.
enum Fixed {
    Value(Value),
    /// NULL, or a value that no value of the column's type equals: nothing is there.
    Nothing,
    /// A value the key's order cannot place: the general test decides.
    Unplaced,
}

impl Key {
    fn fix(&self, env: &Env<'_>) -> Result<Fixed> {
        let value = self.value.eval(&[], env)?;
        if value.is_null() {
            return Ok(Fixed::Nothing);
        }
        Ok(match (self.data_type.without_modifiers(), value) {
            (DataType::Int2, Value::Int4(value)) => {
                i16::try_from(value).map_or(Fixed::Nothing, |v| Fixed::Value(Value::Int2(v)))
            }
            (DataType::Int2, Value::Int8(value)) => {
                i16::try_from(value).map_or(Fixed::Nothing, |v| Fixed::Value(Value::Int2(v)))
            }
            (DataType::Int4, Value::Int8(value)) => {
                i32::try_from(value).map_or(Fixed::Nothing, |v| Fixed::Value(Value::Int4(v)))
            }
            (DataType::Int4, Value::Int2(value)) => Fixed::Value(Value::Int4(i32::from(value))),
            (DataType::Int8, Value::Int2(value)) => Fixed::Value(Value::Int8(i64::from(value))),
            (DataType::Int8, Value::Int4(value)) => Fixed::Value(Value::Int8(i64::from(value))),
            (DataType::Numeric(_), value @ (Value::Int2(_) | Value::Int4(_) | Value::Int8(_))) => {
                Fixed::Value(value.cast(DataType::Numeric(None), env.tz)?)
            }
            (DataType::Varchar(_), value @ Value::Text(_)) => Fixed::Value(value),
            (data_type, value) if value.data_type() == Some(data_type) => Fixed::Value(value),
            _ => Fixed::Unplaced,
        })
    }
}

/// Which entries to look at.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Target {
    Nothing,
    Key(Vec<u8>),
    Range(KeyRange),
}

fn fix_all(keys: &[Key], env: &Env<'_>) -> Result<Option<Option<Vec<Value>>>> {
    let mut values = Vec::with_capacity(keys.len());
    for key in keys {
        match key.fix(env)? {
            Fixed::Value(value) => values.push(value),
            Fixed::Nothing => return Ok(Some(None)),
            Fixed::Unplaced => return Ok(None),
        }
    }
    Ok(Some(Some(values)))
}

impl Access {
    /// Whether it leads to one row at most.
    pub(crate) fn is_single(&self) -> bool {
        matches!(self, Access::Row { .. } | Access::Unique { .. })
    }

    /// The entries for these parameters; `None` when they cannot be placed in the key's order.
    pub(crate) fn target(&self, env: &Env<'_>) -> Result<Option<Target>> {
        match self {
            Access::Row { key } | Access::Unique { key, .. } => Ok(match fix_all(key, env)? {
                None => None,
                Some(None) => Some(Target::Nothing),
                Some(Some(values)) => Some(Target::Key(encode_key(&values))),
            }),
            Access::RowRange(range) | Access::IndexRange { range, .. } => range.target(env),
        }
    }

    /// The index it goes through.
    pub(crate) fn index(&self) -> Option<TreeId> {
        match self {
            Access::Row { .. } | Access::RowRange(_) => None,
            Access::Unique { index, .. } | Access::IndexRange { index, .. } => Some(*index),
        }
    }
}

impl Range {
    fn target(&self, env: &Env<'_>) -> Result<Option<Target>> {
        let prefix = match fix_all(&self.equal, env)? {
            None => return Ok(None),
            Some(None) => return Ok(Some(Target::Nothing)),
            Some(Some(values)) => values,
        };
        let mut range = KeyRange::prefix(&encode_key(&prefix));
        for (bound, is_low) in [(&self.low, true), (&self.high, false)] {
            let Some((key, inclusive)) = bound else { continue };
            let value = match key.fix(env)? {
                Fixed::Value(value) => value,
                // Out of the type's range, or NULL: left to the test on each row.
                Fixed::Nothing | Fixed::Unplaced => continue,
            };
            let mut values = prefix.clone();
            values.push(value);
            let at = encode_key(&values);
            let after = next_key(&at).map_or(Bound::Unbounded, Bound::Excluded);
            match (is_low, inclusive) {
                (true, true) => range.start = Bound::Included(at),
                (true, false) => {
                    range.start = match next_key(&at) {
                        Some(next) => Bound::Included(next),
                        None => return Ok(Some(Target::Nothing)),
                    }
                }
                (false, true) => range.end = after,
                (false, false) => range.end = Bound::Excluded(at),
            }
        }
        Ok(Some(if range.is_empty() { Target::Nothing } else { Target::Range(range) }))
    }
}
