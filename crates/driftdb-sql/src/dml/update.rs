//! UPDATE and DELETE.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use datafusion::sql::sqlparser::ast::{
    Expr, Ident, Query, SelectItem, SetExpr, TableWithJoins, With, visit_expressions,
};
use driftdb_engine::{LockMode, LockWait, TableLock};
use driftdb_types::{Column, ColumnId, DataType, Error, Result, SqlState, TableSchema, Value};

use super::expressions::Part;
use super::insert::{Cell, default_of};
use super::returning::{Returning, Written};
use super::target::{Finder, lock, row_at};
use super::{
    assign, check_assignable, name_target, params_of, plan_within, row_key_of, slot, target_column, typed_for,
};
use crate::outcome::{Outcome, ResultColumn, RowsTag};
use crate::parse::{self, DeleteStatement, SetColumn, Source, TableName, UpdateStatement, name_of};
use crate::point::scalar::Scalar;
use crate::point::{Compiler, ParamTypes, Scope, ScopeColumn};
use crate::query::{self, PlannedQuery};
use crate::session::{Exec, Run};

/// Where a column's new value comes from.
enum NewValue {
    /// An expression over the old row.
    Compiled(Scalar),
    /// A position in what the query gives.
    Queried(usize),
    Default(Option<Cell>),
}

/// How the rows are found.
enum Way {
    Compiled(Box<Finder>),
    /// A query of row keys, new values and what RETURNING needs of other tables.
    General(Box<Query>, PlannedQuery),
}

/// The parts UPDATE and DELETE share.
struct Write {
    table: Arc<TableSchema>,
    way: Way,
    /// Whether the target is joined, so that a row can be found more than once: the first time counts.
    joined: bool,
    /// Where, in what the query gives, the values of other tables begin.
    others_at: usize,
    /// How strongly the rows are locked.
    mode: LockMode,
    returning: Option<Returning>,
    params: Vec<DataType>,
}

/// The statement's parts that both kinds have.
struct Parts<'s> {
    with: Option<&'s With>,
    name: &'s TableName,
    alias: Option<&'s Ident>,
    others: &'s [TableWithJoins],
    selection: Option<&'s Expr>,
    returning: Option<&'s [SelectItem]>,
}

/// A prepared UPDATE.
pub(crate) struct UpdatePlan {
    write: Write,
    set: Vec<(ColumnId, DataType, NewValue)>,
}

/// A prepared DELETE.
pub(crate) struct DeletePlan {
    write: Write,
}

impl UpdatePlan {
    pub(crate) fn new(
        exec: &Exec<'_>,
        source: &Source,
        update: &UpdateStatement,
        types: &[Option<DataType>],
    ) -> Result<UpdatePlan> {
        let UpdateStatement { with, table, alias, set, from, selection, returning } = update;
        let schema = super::target_table(exec, source, table)?;
        let columns = set_targets(source, &schema, set)?;
        let mode = super::lock_mode(&schema, columns.iter().map(|(column, _)| column.id));
        let parts = Parts {
            with: with.as_ref(),
            name: table,
            alias: alias.as_ref(),
            others: from,
            selection: selection.as_ref(),
            returning: returning.as_deref(),
        };
        let mut types = types.to_vec();
        if let Some((finder, scalars)) = compile(exec, &schema, &parts, &columns, &mut types) {
            let mut scalars = scalars.into_iter();
            let mut new = Vec::new();
            for (column, value) in &columns {
                let value = match value {
                    None => NewValue::Default(default_of(exec, column)?),
                    Some(_) => NewValue::Compiled(
                        scalars.next().ok_or_else(|| Error::internal("SET has fewer values than columns"))?,
                    ),
                };
                new.push((column.id, column.data_type, value));
            }
            let write = Write::new(exec, &schema, Way::Compiled(Box::new(finder)), &parts, 0, mode, &mut types)?;
            return Ok(UpdatePlan { write, set: new });
        }
        let mut exprs = Vec::new();
        let mut new = Vec::new();
        for (column, value) in &columns {
            let value = match value {
                None => NewValue::Default(default_of(exec, column)?),
                Some(expr) => {
                    exprs.push(typed_for((*expr).clone(), column.data_type, &mut types)?);
                    NewValue::Queried(exprs.len())
                }
            };
            new.push((column.id, column.data_type, value));
        }
        let (way, others_at) = general(exec, &schema, &parts, exprs, &mut types)?;
        if let Way::General(_, planned) = &way {
            for ((column, _), (_, _, value)) in columns.iter().zip(&new) {
                if let NewValue::Queried(position) = value
                    && let Some(result) = planned.columns.get(*position)
                {
                    check_assignable(column, result.data_type)?;
                }
            }
        }
        let write = Write::new(exec, &schema, way, &parts, others_at, mode, &mut types)?;
        Ok(UpdatePlan { write, set: new })
    }

    pub(crate) fn params(&self) -> Vec<DataType> {
        self.write.params.clone()
    }

    pub(crate) fn columns(&self) -> Option<Arc<[ResultColumn]>> {
        self.write.columns()
    }

    pub(crate) fn explain(&self, exec: &Exec<'_>) -> Result<Vec<String>> {
        self.write.explain(exec, "Update")
    }

    pub(crate) fn run(&self, exec: &mut Exec<'_>) -> Run<Outcome> {
        exec.check_writable("UPDATE")?;
        let table = &self.write.table;
        exec.txn.lock_table(table.id, TableLock::Write)?;
        let mut written = Written::new(exec, self.write.returning.as_ref());
        let returns = self.write.returning.is_some();
        self.write.each(exec, |exec, key, old, found| {
            let mut new = old.clone();
            for (column, data_type, value) in &self.set {
                let value = match value {
                    NewValue::Compiled(scalar) => {
                        assign(scalar.eval(&old, &exec.env())?, *data_type, exec.time_zone())?
                    }
                    NewValue::Queried(position) => {
                        assign(found.get(*position).cloned().unwrap_or(Value::Null), *data_type, exec.time_zone())?
                    }
                    NewValue::Default(Some(cell)) => cell.value(exec, *data_type)?,
                    NewValue::Default(None) => Value::Null,
                };
                *slot(&mut new, *column)? = value;
            }
            let shown = returns.then(|| self.write.shown(&new, found));
            super::update_row(exec, table, key, &old, new)?;
            written.count += 1;
            written.rows.extend(shown);
            Ok(())
        })?;
        Ok(written.outcome(exec, self.write.returning.as_ref(), RowsTag::Update)?)
    }
}

impl DeletePlan {
    pub(crate) fn new(
        exec: &Exec<'_>,
        source: &Source,
        delete: &DeleteStatement,
        types: &[Option<DataType>],
    ) -> Result<DeletePlan> {
        let DeleteStatement { with, table, alias, using, selection, returning } = delete;
        let schema = super::target_table(exec, source, table)?;
        let parts = Parts {
            with: with.as_ref(),
            name: table,
            alias: alias.as_ref(),
            others: using,
            selection: selection.as_ref(),
            returning: returning.as_deref(),
        };
        let mut types = types.to_vec();
        let (way, others_at) = match compile(exec, &schema, &parts, &[], &mut types) {
            Some((finder, _)) => (Way::Compiled(Box::new(finder)), 0),
            None => general(exec, &schema, &parts, Vec::new(), &mut types)?,
        };
        let write = Write::new(exec, &schema, way, &parts, others_at, LockMode::Update, &mut types)?;
        Ok(DeletePlan { write })
    }

    pub(crate) fn params(&self) -> Vec<DataType> {
        self.write.params.clone()
    }

    pub(crate) fn columns(&self) -> Option<Arc<[ResultColumn]>> {
        self.write.columns()
    }

    pub(crate) fn explain(&self, exec: &Exec<'_>) -> Result<Vec<String>> {
        self.write.explain(exec, "Delete")
    }

    pub(crate) fn run(&self, exec: &mut Exec<'_>) -> Run<Outcome> {
        exec.check_writable("DELETE")?;
        let table = &self.write.table;
        exec.txn.lock_table(table.id, TableLock::Write)?;
        let mut written = Written::new(exec, self.write.returning.as_ref());
        let returns = self.write.returning.is_some();
        self.write.each(exec, |exec, key, old, found| {
            exec.txn.delete_row(table, key, &old)?;
            written.count += 1;
            if returns {
                written.rows.push(self.write.shown(&old, found));
            }
            Ok(())
        })?;
        Ok(written.outcome(exec, self.write.returning.as_ref(), RowsTag::Delete)?)
    }
}

impl Write {
    fn new(
        exec: &Exec<'_>,
        table: &Arc<TableSchema>,
        way: Way,
        parts: &Parts<'_>,
        others_at: usize,
        mode: LockMode,
        types: &mut Vec<Option<DataType>>,
    ) -> Result<Write> {
        let joined = !parts.others.is_empty();
        let returning = match parts.returning {
            None => None,
            Some(items) => {
                let qualifier = qualifier(parts);
                let mut scope = Scope::table(table, &qualifier);
                if let (Way::General(_, planned), true) = (&way, joined) {
                    let others = other_columns(table, &qualifier, items);
                    let results = planned.columns.iter().skip(others_at);
                    scope.columns.extend(others.iter().zip(results).map(|(idents, result)| other(idents, result)));
                }
                let part = Part { alias: qualifier, table: Arc::clone(table), offset: 0 };
                Some(Returning::new(exec, items, &scope, part, joined, types)?)
            }
        };
        let params = super::resolved(types);
        Ok(Write { table: Arc::clone(table), way, joined, others_at, mode, returning, params })
    }

    fn columns(&self) -> Option<Arc<[ResultColumn]>> {
        self.returning.as_ref().map(|returning| Arc::clone(&returning.columns))
    }

    fn explain(&self, exec: &Exec<'_>, verb: &str) -> Result<Vec<String>> {
        match &self.way {
            Way::Compiled(finder) => Ok(finder.explain(verb)),
            Way::General(query, _) => {
                let context = exec.row_key_context();
                let inner = query::explain(&context, query, &Default::default(), exec.params)?;
                Ok(nested(format!("{verb} on {}", self.table.name), inner))
            }
        }
    }

    /// The row RETURNING looks at: the target's, then those values of other tables that it names.
    fn shown(&self, row: &[Value], found: &[Value]) -> Vec<Value> {
        let others = found.get(self.others_at..).unwrap_or_default();
        row.iter().chain(others).cloned().collect()
    }

    /// Locks each row and calls `step` with its key, its values and what the query gave.
    fn each(
        &self,
        exec: &mut Exec<'_>,
        mut step: impl FnMut(&mut Exec<'_>, &Bytes, Vec<Value>, &[Value]) -> Run<()>,
    ) -> Run<()> {
        let (_, planned) = match &self.way {
            Way::Compiled(finder) => {
                return finder.each(exec, |exec, key, old| {
                    lock(exec, &self.table, key, self.mode, LockWait::Wait)?;
                    step(exec, key, old, &[])?;
                    Ok(true)
                });
            }
            Way::General(query, planned) => (query, planned),
        };
        let context = exec.row_key_context();
        let mut seen = HashSet::new();
        let mut stream = query::run_query(&context, planned, params_of(planned, exec.params))?;
        while let Some(batch) = stream.next_batch()? {
            for found in batch {
                exec.cancel.check()?;
                let Some(Value::Bytea(key)) = found.first() else {
                    return Err(Error::internal("a query for rows to write gave no row key").into());
                };
                let key = Bytes::copy_from_slice(key);
                if self.joined && !seen.insert(key.clone()) {
                    continue;
                }
                lock(exec, &self.table, &key, self.mode, LockWait::Wait)?;
                let Some(old) = row_at(exec, &self.table, &key)? else {
                    return Err(Error::internal("a row that was found and locked is not there").into());
                };
                step(exec, &key, old, &found)?;
            }
        }
        Ok(())
    }
}

/// Lines under a first one.
pub(super) fn nested(first: String, lines: Vec<String>) -> Vec<String> {
    let mut all = vec![first];
    for (position, line) in lines.into_iter().enumerate() {
        all.push(if position == 0 { format!("  ->  {line}") } else { format!("      {line}") });
    }
    all
}

fn set_targets<'t, 's>(
    source: &Source,
    table: &'t TableSchema,
    set: &'s [SetColumn],
) -> Result<Vec<(&'t Column, Option<&'s Expr>)>> {
    let mut columns: Vec<(&Column, Option<&Expr>)> = Vec::with_capacity(set.len());
    for SetColumn { column: ident, value } in set {
        let column = target_column(source, table, ident)?;
        if columns.iter().any(|(known, _)| known.id == column.id) {
            let message = format!("multiple assignments to same column \"{}\"", column.name);
            return Err(source.locate(Error::new(SqlState::SYNTAX_ERROR, message), ident));
        }
        columns.push((column, value.as_ref()));
    }
    Ok(columns)
}

fn qualifier(parts: &Parts<'_>) -> String {
    parts.alias.map_or_else(|| parts.name.name.clone(), name_of)
}

/// Compiles the condition and the new values, if they are covered and no other table is involved.
fn compile(
    exec: &Exec<'_>,
    table: &Arc<TableSchema>,
    parts: &Parts<'_>,
    columns: &[(&Column, Option<&Expr>)],
    types: &mut Vec<Option<DataType>>,
) -> Option<(Finder, Vec<Scalar>)> {
    if parts.with.is_some() || !parts.others.is_empty() {
        return None;
    }
    let scope = Scope::table(table, &qualifier(parts));
    let mut compiler = Compiler::new(&scope, ParamTypes(types.clone()), exec.time_zone());
    let mut scalars = Vec::new();
    for (column, value) in columns {
        if let Some(expr) = value {
            scalars.push(compiler.assigned(expr, column.data_type)?);
        }
    }
    let filter = match parts.selection {
        None => None,
        Some(selection) => Some(compiler.condition(selection)?),
    };
    *types = compiler.params.0;
    Some((Finder::new(table, filter), scalars))
}

/// Plans the query that finds the rows: their keys, `exprs`, and what RETURNING names of other tables. Gives with it
/// where the last begin.
fn general(
    exec: &Exec<'_>,
    table: &Arc<TableSchema>,
    parts: &Parts<'_>,
    exprs: Vec<Expr>,
    types: &mut [Option<DataType>],
) -> Result<(Way, usize)> {
    let qualifier = qualifier(parts);
    let mut projection = vec![SelectItem::UnnamedExpr(row_key_of(&qualifier))];
    let named = |(position, expr): (usize, Expr)| SelectItem::ExprWithAlias {
        expr,
        alias: Ident::with_quote('"', format!("__set_{position}")),
    };
    projection.extend(exprs.into_iter().enumerate().map(named));
    let others_at = projection.len();
    if !parts.others.is_empty() {
        let others = other_columns(table, &qualifier, parts.returning.unwrap_or_default());
        projection.extend(others.into_iter().enumerate().map(|(position, idents)| SelectItem::ExprWithAlias {
            expr: match idents.as_slice() {
                [ident] => Expr::Identifier(ident.clone()),
                _ => Expr::CompoundIdentifier(idents),
            },
            alias: Ident::with_quote('"', format!("__other_{position}")),
        }));
    }
    let mut query = parse::parse_query("SELECT NULL FROM t")?;
    query.with = parts.with.cloned();
    if let SetExpr::Select(select) = query.body.as_mut() {
        select.projection = projection;
        let mut target = select.from.pop().ok_or_else(|| Error::internal("a query without FROM"))?;
        name_target(&mut target.relation, table, &qualifier);
        select.from = vec![target];
        select.from.extend(parts.others.iter().cloned());
        select.selection = parts.selection.cloned();
    }
    let context = exec.row_key_context();
    let planned = plan_within(&context, &query, types)?;
    Ok((Way::General(Box::new(query), planned), others_at))
}

/// The columns that RETURNING names and that are not the target's.
fn other_columns(table: &TableSchema, qualifier: &str, items: &[SelectItem]) -> Vec<Vec<Ident>> {
    let mut found: Vec<Vec<Ident>> = Vec::new();
    let mut add = |idents: &[Ident]| {
        let is_target = match idents {
            [name] => table.column(&name_of(name)).is_some(),
            [first, _] => name_of(first) == qualifier,
            _ => false,
        };
        let same = |known: &Vec<Ident>| known.iter().map(name_of).eq(idents.iter().map(name_of));
        if !is_target && !found.iter().any(same) {
            found.push(idents.to_vec());
        }
    };
    for item in items {
        let expr = match item {
            SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => expr,
            _ => continue,
        };
        let _: ControlFlow<()> = visit_expressions(expr, |part| {
            match part {
                Expr::Identifier(ident) => add(std::slice::from_ref(ident)),
                Expr::CompoundIdentifier(idents) => add(idents),
                _ => {}
            }
            ControlFlow::Continue(())
        });
    }
    found
}

fn other(idents: &[Ident], result: &ResultColumn) -> Option<ScopeColumn> {
    let (qualifier, name) = match idents {
        [name] => (None, name_of(name)),
        [qualifier, name] => (Some(name_of(qualifier)), name_of(name)),
        _ => return None,
    };
    Some(ScopeColumn { qualifier, name, data_type: result.data_type, origin: result.table, in_star: false })
}
