//! Writing: INSERT, UPDATE, DELETE, ON CONFLICT, RETURNING and SELECT … FOR UPDATE.
//!
//! DataFusion never writes. It finds, where a point plan does not: the general UPDATE and DELETE are a SELECT of row keys and new
//! values over the target, and what it gives is written here, row by row, under row locks. Rows are found on the
//! statement's own snapshot, so that no statement meets its own writes.

mod conflict;
mod erase;
mod expressions;
mod insert;
mod locking;
mod returning;
mod target;
mod update;

use std::collections::HashSet;
use std::ops::ControlFlow;

use bytes::Bytes;
use datafusion::sql::sqlparser::ast::{
    self, CastKind, Expr, Ident, ObjectName, Query, TableAlias, TableFactor, Value as Literal, Visit, Visitor,
};
use driftdb_engine::{InsertOutcome, LockMode};
use driftdb_types::{
    Column, ColumnId, DataType, Error, Result, SqlState, TableSchema, TimeZone, Value, parse_value_at,
};
use std::sync::Arc;

pub(crate) use self::erase::ErasePlan;
pub(crate) use self::insert::{Defaults, InsertPlan};
pub(crate) use self::locking::LockingPlan;
pub(crate) use self::update::{DeletePlan, UpdatePlan};
use crate::parse::{Source, TableName, name_of};
use crate::point::is_assignable;
use crate::query::{self, ROW_KEY_COLUMN};
use crate::read::QueryContext;
use crate::session::Exec;

/// The table a statement writes. Names of the system's tables are refused elsewhere.
fn target_table(exec: &Exec<'_>, source: &Source, name: &TableName) -> Result<Arc<TableSchema>> {
    let catalog = exec.catalog();
    catalog.table(&name.name).cloned().ok_or_else(|| match catalog.object_named(&name.name) {
        Some(_) => source.locate(
            Error::new(SqlState::WRONG_OBJECT_TYPE, format!("\"{}\" is an index, not a table", name.name)),
            &name.object,
        ),
        None => name.undefined(source),
    })
}

/// The column of the table that a name in INSERT or SET means.
fn target_column<'t>(source: &Source, table: &'t TableSchema, ident: &Ident) -> Result<&'t Column> {
    let name = name_of(ident);
    table.column(&name).ok_or_else(|| {
        source.locate(
            Error::new(
                SqlState::UNDEFINED_COLUMN,
                format!("column \"{name}\" of relation \"{}\" does not exist", table.name),
            ),
            ident,
        )
    })
}

/// How an update of these columns locks a row: those who only need its key to stay are in nobody's way unless it changes.
fn lock_mode(table: &TableSchema, columns: impl IntoIterator<Item = ColumnId>) -> LockMode {
    let primary = table.primary_key.iter().flat_map(|key| &key.columns);
    let unique = table.indexes.iter().filter(|index| index.unique).flat_map(|index| &index.columns);
    let keys: HashSet<ColumnId> = primary.chain(unique).copied().collect();
    let changes_key = columns.into_iter().any(|column| keys.contains(&column));
    if changes_key { LockMode::Update } else { LockMode::NoKeyUpdate }
}

/// The value as the column takes it.
fn assign(value: Value, data_type: DataType, tz: &TimeZone) -> Result<Value> {
    match value {
        Value::Null => Ok(Value::Null),
        value => value.assign(data_type, tz),
    }
}

/// 42804 unless values of `from` can be assigned to the column.
fn check_assignable(column: &Column, from: DataType) -> Result<()> {
    if is_assignable(from, column.data_type) {
        return Ok(());
    }
    Err(Error::new(
        SqlState::DATATYPE_MISMATCH,
        format!(
            "column \"{}\" is of type {} but expression is of type {}",
            column.name,
            column.data_type.without_modifiers().sql_name(),
            from.without_modifiers().sql_name()
        ),
    )
    .hint("You will need to rewrite or cast the expression."))
}

/// A constant expression's value, assigned to a type: an argument of EXECUTE.
pub(crate) fn assigned_constant(context: &QueryContext, expr: &Expr, data_type: DataType) -> Result<Value> {
    let tz = context.settings.time_zone();
    if let Some(text) = literal_text(expr) {
        return parse_value_at(data_type, text, tz, context.statement_time_us);
    }
    let value = query::eval_const(context, expr, Some(data_type), &[])?;
    assign(value, data_type, tz)
}

/// Inserts a row where a conflict is an error.
pub(crate) fn insert_plain(exec: &mut Exec<'_>, table: &Arc<TableSchema>, values: Vec<Value>) -> Result<()> {
    match exec.txn.insert_row(table, values.clone()) {
        Ok(InsertOutcome::Inserted { .. }) => Ok(()),
        Ok(InsertOutcome::Conflict { constraint, .. }) => Err(taken(exec, table, &constraint, &values)),
        Err(error) => Err(refused(exec, table, &values, error)),
    }
}

/// Changes a row that is locked; gives its key.
fn update_row(
    exec: &mut Exec<'_>,
    table: &Arc<TableSchema>,
    key: &[u8],
    old: &[Value],
    new: Vec<Value>,
) -> Result<Bytes> {
    match exec.txn.update_row(table, key, old, new.clone()) {
        Ok(key) => Ok(key),
        Err(error) => Err(refused(exec, table, &new, error)),
    }
}

/// The error of a row whose key another one has.
fn taken(exec: &Exec<'_>, table: &TableSchema, constraint: &str, values: &[Value]) -> Error {
    let error = exec.txn.unique_violation(table, constraint, values);
    error.about_table("public", &table.name).about_constraint(constraint)
}

/// The engine's error of a row that it does not take, with what it is about in fields of its own.
fn refused(exec: &Exec<'_>, table: &TableSchema, values: &[Value], error: Error) -> Error {
    match error.state {
        SqlState::NOT_NULL_VIOLATION => {
            let error = error.about_table("public", &table.name);
            let in_key = |id: &ColumnId| table.primary_key.as_ref().is_some_and(|key| key.columns.contains(id));
            let refuses = |column: &&Column| {
                let null = values.get(usize::from(column.id.0)).is_none_or(Value::is_null);
                null && (column.not_null || in_key(&column.id))
            };
            match table.live_columns().find(refuses) {
                Some(column) => error.about_column(&column.name),
                None => error,
            }
        }
        SqlState::UNIQUE_VIOLATION => {
            let primary = table.primary_key.as_ref().map(|key| key.name.as_str());
            let names = primary.into_iter().chain(table.indexes.iter().map(|index| index.name.as_str()));
            // It says which constraint only in its message, which is the engine's to word.
            let same = |name: &&str| exec.txn.unique_violation(table, name, values).message == error.message;
            match names.into_iter().find(same) {
                Some(name) => taken(exec, table, name, values),
                None => error.about_table("public", &table.name),
            }
        }
        _ => error,
    }
}

/// The text of a string literal.
fn literal_text(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Nested(inner) => literal_text(inner),
        Expr::Value(value) => match &value.value {
            Literal::SingleQuotedString(text)
            | Literal::EscapedStringLiteral(text)
            | Literal::UnicodeStringLiteral(text) => Some(text),
            Literal::DollarQuotedString(text) => Some(&text.value),
            _ => None,
        },
        _ => None,
    }
}

/// The number of a bare `$n`, from 0.
fn placeholder(expr: &Expr) -> Option<usize> {
    match expr {
        Expr::Nested(inner) => placeholder(inner),
        Expr::Value(value) => match &value.value {
            Literal::Placeholder(name) => name.strip_prefix('$')?.parse::<usize>().ok()?.checked_sub(1),
            _ => None,
        },
        _ => None,
    }
}

/// Gives an expression that is assigned to a column the column's type where it has none of its own: a string literal
/// or NULL gets a cast, a bare parameter its type.
fn typed_for(expr: Expr, target: DataType, types: &mut [Option<DataType>]) -> Result<Expr> {
    if let Some(slot) = placeholder(&expr).and_then(|position| types.get_mut(position)) {
        slot.get_or_insert(target.without_modifiers());
        return Ok(expr);
    }
    let is_null = matches!(&expr, Expr::Value(value) if value.value == Literal::Null);
    if !is_null && literal_text(&expr).is_none() {
        return Ok(expr);
    }
    let name = target.without_modifiers().sql_name();
    let Expr::Cast { data_type, .. } = crate::parse::parse_expression(&format!("CAST(NULL AS {name})"))? else {
        return Err(Error::internal(format!("the type name {name} cannot be parsed")));
    };
    Ok(Expr::Cast { kind: CastKind::Cast, expr: Box::new(expr), data_type, array: false, format: None })
}

/// The parameters that a part of a statement uses, from 0.
fn used_params(node: &impl Visit) -> HashSet<usize> {
    struct Params(HashSet<usize>);
    impl Visitor for Params {
        type Break = ();
        fn pre_visit_value(&mut self, value: &ast::ValueWithSpan) -> ControlFlow<()> {
            if let Literal::Placeholder(name) = &value.value {
                let number = name.strip_prefix('$').and_then(|digits| digits.parse::<usize>().ok());
                self.0.extend(number.and_then(|number| number.checked_sub(1)));
            }
            ControlFlow::Continue(())
        }
    }
    let mut params = Params(HashSet::new());
    let _ = node.visit(&mut params);
    params.0
}

/// Plans a query and keeps what it found out about the types of the parameters it uses.
fn plan_within(context: &QueryContext, query: &Query, types: &mut [Option<DataType>]) -> Result<query::PlannedQuery> {
    let planned = query::plan_query(context, query, types)?;
    for position in used_params(query) {
        if let (Some(slot), Some(found)) = (types.get_mut(position), planned.params.get(position)) {
            slot.get_or_insert(*found);
        }
    }
    Ok(planned)
}

/// The key of a row, in a query of [`Exec::row_key_context`].
fn row_key_of(qualifier: &str) -> Expr {
    Expr::CompoundIdentifier(vec![Ident::with_quote('"', qualifier), Ident::with_quote('"', ROW_KEY_COLUMN)])
}

/// Has a query that was parsed with a table of another name read this one.
fn name_target(relation: &mut TableFactor, table: &TableSchema, qualifier: &str) {
    let TableFactor::Table { name, alias, .. } = relation else { return };
    *name = ObjectName::from(vec![Ident::with_quote('"', "public"), Ident::with_quote('"', table.name.clone())]);
    *alias =
        Some(TableAlias { explicit: true, name: Ident::with_quote('"', qualifier), columns: Vec::new(), at: None });
}

/// The parameters given to a query that uses only the first of them.
fn params_of<'p>(planned: &query::PlannedQuery, params: &'p [Value]) -> &'p [Value] {
    params.get(..planned.params.len()).unwrap_or(params)
}

fn resolved(types: &[Option<DataType>]) -> Vec<DataType> {
    types.iter().map(|data_type| data_type.unwrap_or(DataType::Text)).collect()
}

/// The value at a column's position in a row.
fn slot(row: &mut [Value], column: ColumnId) -> Result<&mut Value> {
    row.get_mut(usize::from(column.0)).ok_or_else(|| Error::internal(format!("a row has no column {}", column.0)))
}

/// Fails when a column's default cannot be one: of a wrong type, or a literal that does not read as its type.
pub(crate) fn check_default(exec: &Exec<'_>, column: &Column) -> Result<()> {
    match insert::default_of(exec, column)? {
        Some(insert::Cell::Text(text)) => {
            parse_value_at(column.data_type, &text, exec.time_zone(), exec.now_us()).map(|_| ())
        }
        _ => Ok(()),
    }
}

/// The value a column's default has now.
pub(crate) fn default_value(exec: &Exec<'_>, column: &Column) -> Result<Value> {
    match insert::default_of(exec, column)? {
        Some(cell) => cell.value(exec, column.data_type),
        None => Ok(Value::Null),
    }
}
