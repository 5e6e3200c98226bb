//! INSERT.

use std::sync::Arc;

use datafusion::sql::sqlparser::ast::{Expr, Query, SelectItem, SetExpr};
use driftdb_engine::TableLock;
use driftdb_types::{Column, ColumnId, DataType, Error, Result, SqlState, TableSchema, Value, parse_value_at};

use super::conflict::Conflict;
use super::expressions::Part;
use super::returning::{Returning, Written};
use super::{assign, check_assignable, params_of, plan_within, slot, typed_for};
use crate::outcome::{Outcome, ResultColumn, RowsTag};
use crate::parse::{self, InsertSource, InsertStatement, Source, is_default, name_of};
use crate::point::scalar::Scalar;
use crate::point::{Compiler, ParamTypes, Scope};
use crate::query::{self, PlannedQuery};
use crate::session::{Exec, Run};

/// A value to be stored in one column.
pub(super) enum Cell {
    Compiled(Scalar),
    /// A string literal, read as the column's type each time (it may say 'now', or be malformed).
    Text(String),
    /// A query of one row and one column.
    General(PlannedQuery),
}

impl Cell {
    /// The expression as the value of a column.
    pub(super) fn new(
        exec: &Exec<'_>,
        expr: &Expr,
        column: &Column,
        types: &mut Vec<Option<DataType>>,
    ) -> Result<Cell> {
        let scope = Scope::default();
        let mut compiler = Compiler::new(&scope, ParamTypes(types.clone()), exec.time_zone());
        if let Some(scalar) = compiler.assigned(expr, column.data_type) {
            *types = compiler.params.0;
            return Ok(Cell::Compiled(scalar));
        }
        if let Some(text) = super::literal_text(expr) {
            return Ok(Cell::Text(text.to_owned()));
        }
        let expr = typed_for(expr.clone(), column.data_type, types)?;
        let mut query = parse::parse_query("SELECT NULL")?;
        if let SetExpr::Select(select) = query.body.as_mut() {
            select.projection = vec![SelectItem::UnnamedExpr(expr)];
        }
        let planned = plan_within(&exec.context(), &query, types)?;
        if let Some(result) = planned.columns.first() {
            check_assignable(column, result.data_type)?;
        }
        Ok(Cell::General(planned))
    }

    /// The value, as the column takes it.
    pub(super) fn value(&self, exec: &Exec<'_>, data_type: DataType) -> Result<Value> {
        let value = match self {
            Cell::Compiled(scalar) => scalar.eval(&[], &exec.env())?,
            Cell::Text(text) => return parse_value_at(data_type, text, exec.time_zone(), exec.now_us()),
            Cell::General(planned) => {
                let rows = query::run_query(&exec.context(), planned, params_of(planned, exec.params))?.collect()?;
                rows.into_iter().next().and_then(|row| row.into_iter().next()).unwrap_or(Value::Null)
            }
        };
        assign(value, data_type, exec.time_zone())
    }
}

/// The defaults of those columns that a statement gives no value.
pub(crate) struct Defaults {
    cells: Vec<(ColumnId, DataType, Cell)>,
}

impl Defaults {
    pub(crate) fn new(exec: &Exec<'_>, table: &TableSchema, given: &[ColumnId]) -> Result<Defaults> {
        let mut cells = Vec::new();
        for column in table.live_columns().filter(|column| !given.contains(&column.id)) {
            if let Some(cell) = default_of(exec, column)? {
                cells.push((column.id, column.data_type, cell));
            }
        }
        Ok(Defaults { cells })
    }

    /// Puts them into a row that holds NULL there.
    pub(crate) fn fill(&self, exec: &Exec<'_>, row: &mut [Value]) -> Result<()> {
        for (column, data_type, cell) in &self.cells {
            *slot(row, *column)? = cell.value(exec, *data_type)?;
        }
        Ok(())
    }
}

/// A column's default; `None` is NULL.
pub(super) fn default_of(exec: &Exec<'_>, column: &Column) -> Result<Option<Cell>> {
    match &column.default {
        None => Ok(None),
        Some(text) => {
            let expr = parse::parse_expression(text)?;
            Cell::new(exec, &expr, column, &mut Vec::new()).map(Some)
        }
    }
}

enum Rows {
    /// One row of defaults.
    Default,
    /// `None` in a row is DEFAULT.
    Values(Vec<Vec<Option<Cell>>>),
    Query(Box<Query>, PlannedQuery),
}

/// A prepared INSERT.
pub(crate) struct InsertPlan {
    table: Arc<TableSchema>,
    columns: Vec<(ColumnId, DataType)>,
    rows: Rows,
    /// Of columns without a value.
    defaults: Defaults,
    /// Of columns with one, for DEFAULT in their place.
    column_defaults: Vec<Option<Cell>>,
    conflict: Option<Conflict>,
    returning: Option<Returning>,
    params: Vec<DataType>,
}

impl InsertPlan {
    pub(crate) fn new(
        exec: &Exec<'_>,
        source: &Source,
        insert: &InsertStatement,
        types: &[Option<DataType>],
    ) -> Result<InsertPlan> {
        let table = super::target_table(exec, source, &insert.table)?;
        let mut types = types.to_vec();
        let named = target_columns(source, &table, insert)?;
        let (rows, columns) = plan_rows(exec, source, insert, &named, &mut types)?;
        let ids: Vec<ColumnId> = columns.iter().map(|column| column.id).collect();
        let defaults = Defaults::new(exec, &table, &ids)?;
        let column_defaults = columns.iter().map(|column| default_of(exec, column)).collect::<Result<Vec<_>>>()?;
        let columns = columns.iter().map(|column| (column.id, column.data_type)).collect();
        let qualifier = insert.alias.as_ref().map_or_else(|| table.name.clone(), name_of);
        let conflict = match &insert.on_conflict {
            None => None,
            Some(on) => Some(Conflict::new(exec, source, &table, &qualifier, on, &mut types)?),
        };
        let returning = match &insert.returning {
            None => None,
            Some(items) => {
                let scope = Scope::table(&table, &qualifier);
                let part = Part { alias: qualifier, table: Arc::clone(&table), offset: 0 };
                Some(Returning::new(exec, items, &scope, part, false, &mut types)?)
            }
        };
        let params = super::resolved(&types);
        Ok(InsertPlan { table, columns, rows, defaults, column_defaults, conflict, returning, params })
    }

    pub(crate) fn params(&self) -> Vec<DataType> {
        self.params.clone()
    }

    pub(crate) fn columns(&self) -> Option<Arc<[ResultColumn]>> {
        self.returning.as_ref().map(|returning| Arc::clone(&returning.columns))
    }

    pub(crate) fn explain(&self, exec: &Exec<'_>) -> Result<Vec<String>> {
        let name = &self.table.name;
        Ok(match &self.rows {
            Rows::Default => vec![format!("Insert on {name}")],
            Rows::Values(rows) => {
                vec![format!("Insert on {name}"), format!("  ->  Values ({} rows)", rows.len())]
            }
            Rows::Query(query, _) => {
                let inner = query::explain(&exec.context(), query, &Default::default(), exec.params)?;
                super::update::nested(format!("Insert on {name}"), inner)
            }
        })
    }

    pub(crate) fn run(&self, exec: &mut Exec<'_>) -> Run<Outcome> {
        exec.check_writable("INSERT")?;
        exec.txn.lock_table(self.table.id, TableLock::Write)?;
        let mut written = Written::new(exec, self.returning.as_ref());
        if let Some(conflict) = &self.conflict {
            conflict.begin(exec);
        }
        match &self.rows {
            Rows::Default => self.insert(exec, Vec::new(), &mut written)?,
            Rows::Values(rows) => {
                for row in rows {
                    let mut values = Vec::with_capacity(row.len());
                    for (position, cell) in row.iter().enumerate() {
                        let (_, data_type) = self.column_at(position)?;
                        let cell = cell.as_ref().or(self.column_defaults.get(position).and_then(Option::as_ref));
                        values.push(match cell {
                            Some(cell) => cell.value(exec, data_type)?,
                            None => Value::Null,
                        });
                    }
                    self.insert(exec, values, &mut written)?;
                }
            }
            Rows::Query(_, planned) => {
                let mut stream = query::run_query(&exec.context(), planned, params_of(planned, exec.params))?;
                while let Some(batch) = stream.next_batch()? {
                    for row in batch {
                        exec.cancel.check()?;
                        let mut values = Vec::with_capacity(row.len());
                        for (position, value) in row.into_iter().enumerate() {
                            let (_, data_type) = self.column_at(position)?;
                            values.push(assign(value, data_type, exec.time_zone())?);
                        }
                        self.insert(exec, values, &mut written)?;
                    }
                }
            }
        }
        Ok(written.outcome(exec, self.returning.as_ref(), RowsTag::Insert)?)
    }

    fn column_at(&self, position: usize) -> Result<(ColumnId, DataType)> {
        let missing = || Error::internal(format!("INSERT has no column {position}"));
        self.columns.get(position).copied().ok_or_else(missing)
    }

    /// Stores one row: the given values of the first of `columns`, and defaults for the rest.
    fn insert(&self, exec: &mut Exec<'_>, given: Vec<Value>, written: &mut Written) -> Run<()> {
        let mut row = vec![Value::Null; self.table.columns.len()];
        self.defaults.fill(exec, &mut row)?;
        for ((column, _), value) in self.columns.iter().zip(given) {
            *slot(&mut row, *column)? = value;
        }
        let stored = match &self.conflict {
            None => {
                let kept = self.returning.is_some().then(|| row.clone());
                super::insert_plain(exec, &self.table, row)?;
                Some(kept.unwrap_or_default())
            }
            Some(conflict) => conflict.insert(exec, &self.table, row)?,
        };
        if let Some(stored) = stored {
            written.count += 1;
            if self.returning.is_some() {
                written.rows.push(stored);
            }
        }
        Ok(())
    }
}

/// The columns that are named, or all.
fn target_columns<'t>(source: &Source, table: &'t TableSchema, insert: &InsertStatement) -> Result<Vec<&'t Column>> {
    if insert.columns.is_empty() {
        return Ok(table.live_columns().collect());
    }
    let mut columns: Vec<&Column> = Vec::with_capacity(insert.columns.len());
    for ident in &insert.columns {
        let column = super::target_column(source, table, ident)?;
        if columns.iter().any(|known| known.id == column.id) {
            let message = format!("column \"{}\" specified more than once", column.name);
            return Err(source.locate(Error::new(SqlState::DUPLICATE_COLUMN, message), ident));
        }
        columns.push(column);
    }
    Ok(columns)
}

/// The rows to insert, and the columns they have values for: the first of the named ones.
fn plan_rows<'t>(
    exec: &Exec<'_>,
    source: &Source,
    insert: &InsertStatement,
    named: &[&'t Column],
    types: &mut Vec<Option<DataType>>,
) -> Result<(Rows, Vec<&'t Column>)> {
    match &insert.source {
        InsertSource::DefaultValues => Ok((Rows::Default, Vec::new())),
        InsertSource::Values(rows) => {
            let width = rows.first().map_or(0, Vec::len);
            if rows.iter().any(|row| row.len() != width) {
                return Err(Error::new(SqlState::SYNTAX_ERROR, "VALUES lists must all be the same length"));
            }
            let columns = first_columns(insert, named, width)?;
            let mut planned = Vec::with_capacity(rows.len());
            for row in rows {
                let mut cells = Vec::with_capacity(width);
                for (expr, column) in row.iter().zip(&columns) {
                    cells.push(match is_default(expr) {
                        true => None,
                        false => {
                            Some(Cell::new(exec, expr, column, types).map_err(|error| source.locate(error, expr))?)
                        }
                    });
                }
                planned.push(cells);
            }
            Ok((Rows::Values(planned), columns))
        }
        InsertSource::Query(query) => {
            let query = with_target_types(query, named, types)?;
            let planned = plan_within(&exec.context(), &query, types)?;
            let columns = first_columns(insert, named, planned.columns.len())?;
            for (column, result) in columns.iter().zip(planned.columns.iter()) {
                check_assignable(column, result.data_type)?;
            }
            Ok((Rows::Query(Box::new(query), planned), columns))
        }
    }
}

fn first_columns<'t>(insert: &InsertStatement, named: &[&'t Column], width: usize) -> Result<Vec<&'t Column>> {
    let problem = match named.get(..width) {
        None => "INSERT has more expressions than target columns",
        Some(first) if first.len() < named.len() && !insert.columns.is_empty() => {
            "INSERT has more target columns than expressions"
        }
        Some(first) => return Ok(first.to_vec()),
    };
    Err(Error::new(SqlState::SYNTAX_ERROR, problem))
}

/// The query with the targets' types for literals and parameters that stand as results by themselves.
fn with_target_types(query: &Query, named: &[&Column], types: &mut [Option<DataType>]) -> Result<Query> {
    let mut query = query.clone();
    if let SetExpr::Select(select) = query.body.as_mut() {
        let plain = select
            .projection
            .iter()
            .all(|item| matches!(item, SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { .. }));
        // DISTINCT and GROUP BY compare results by the type they have by themselves.
        if plain && select.distinct.is_none() {
            for (item, column) in select.projection.iter_mut().zip(named) {
                match item {
                    SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => {
                        *expr = typed_for(expr.clone(), column.data_type, types)?;
                    }
                    _ => {}
                }
            }
        }
    }
    Ok(query)
}
