//! SELECT … FOR UPDATE.
//!
//! The query, with the row's key added, says which rows are meant; each is locked before it is handed out. LIMIT and OFFSET are
//! counted here, over rows that could be locked, so that SKIP LOCKED with LIMIT n gives n rows while there are n free
//! ones (a work queue), and locks no more than it gives.

use std::sync::Arc;

use bytes::Bytes;
use datafusion::sql::sqlparser::ast::{Expr, Fetch, LimitClause, Offset, Query, SelectItem, SetExpr, TableFactor};
use driftdb_engine::{LockMode, LockWait, TableLock};
use driftdb_types::{DataType, Error, Result, SqlState, TableSchema, Value};

use super::target::{Finder, lock};
use super::{params_of, plan_within, row_key_of};
use crate::outcome::{Outcome, ResultColumn, RowStream, RowsTag};
use crate::parse::{Blocked, QueryStatement, RowLocking, Source, TableName, name_of};
use crate::point::scalar::Scalar;
use crate::point::{Compiler, ParamTypes, Scope, compile_items, single_table};
use crate::query::{self, PlannedQuery};
use crate::session::{Exec, Run};

/// LIMIT and OFFSET.
struct Limit {
    count: Option<Expr>,
    offset: Option<Expr>,
}

enum Way {
    Compiled {
        finder: Box<Finder>,
        output: Vec<Scalar>,
    },
    /// The row's key is the last column.
    General {
        query: Box<Query>,
        planned: PlannedQuery,
        limit: Box<Limit>,
    },
}

/// A prepared SELECT … FOR UPDATE.
pub(crate) struct LockingPlan {
    table: Arc<TableSchema>,
    way: Way,
    mode: LockMode,
    wait: LockWait,
    columns: Arc<[ResultColumn]>,
    params: Vec<DataType>,
}

impl LockingPlan {
    pub(crate) fn new(
        exec: &Exec<'_>,
        source: &Source,
        statement: &QueryStatement,
        types: &[Option<DataType>],
    ) -> Result<LockingPlan> {
        let Some(RowLocking { mode, blocked }) = statement.lock else {
            return Err(Error::internal("a query that locks no rows was planned as one that does"));
        };
        let wait = match blocked {
            Blocked::Wait => LockWait::Wait,
            Blocked::NoWait => LockWait::NoWait,
            Blocked::SkipLocked => LockWait::SkipLocked,
        };
        let SetExpr::Select(select) = statement.query.body.as_ref() else {
            return Err(Error::internal("FOR UPDATE of something else than SELECT"));
        };
        let Some(TableFactor::Table { name, alias, .. }) = select.from.first().map(|table| &table.relation) else {
            return Err(Error::internal("FOR UPDATE without a table"));
        };
        let table_name = TableName::new(source, name)?;
        let table = super::target_table(exec, source, &table_name)?;
        let qualifier = alias.as_ref().map_or_else(|| table_name.name.clone(), |alias| name_of(&alias.name));
        let mut types = types.to_vec();
        let compiled = match alias.as_ref().is_none_or(|alias| alias.columns.is_empty()) {
            true => compile(exec, &table, &qualifier, &statement.query, &mut types),
            false => None,
        };
        let (way, columns) = match compiled {
            Some(compiled) => compiled,
            None => general(exec, &qualifier, &statement.query, &mut types)?,
        };
        let params = super::resolved(&types);
        Ok(LockingPlan { table, way, mode, wait, columns, params })
    }

    /// The clause, as errors and plans name it.
    fn names(&self) -> (&'static str, &'static str) {
        match self.mode {
            LockMode::Update => ("SELECT FOR UPDATE", "Select For Update"),
            LockMode::NoKeyUpdate => ("SELECT FOR NO KEY UPDATE", "Select For No Key Update"),
            LockMode::Share => ("SELECT FOR SHARE", "Select For Share"),
            LockMode::KeyShare => ("SELECT FOR KEY SHARE", "Select For Key Share"),
        }
    }

    pub(crate) fn params(&self) -> Vec<DataType> {
        self.params.clone()
    }

    pub(crate) fn columns(&self) -> Arc<[ResultColumn]> {
        Arc::clone(&self.columns)
    }

    pub(crate) fn explain(&self, exec: &Exec<'_>) -> Result<Vec<String>> {
        match &self.way {
            Way::Compiled { finder, .. } => Ok(finder.explain(self.names().1)),
            Way::General { query, .. } => {
                let context = exec.row_key_context();
                let inner = query::explain(&context, query, &Default::default(), exec.params)?;
                Ok(super::update::nested(format!("Lock Rows on {}", self.table.name), inner))
            }
        }
    }

    pub(crate) fn run(&self, exec: &mut Exec<'_>) -> Run<Outcome> {
        exec.check_writable(self.names().0)?;
        exec.txn.lock_table(self.table.id, TableLock::Write)?;
        let mut rows = Vec::new();
        match &self.way {
            Way::Compiled { finder, output } => finder.each(exec, |exec, key, values| {
                if lock(exec, &self.table, key, self.mode, self.wait)? {
                    let env = exec.env();
                    rows.push(output.iter().map(|scalar| scalar.eval(&values, &env)).collect::<Result<Vec<_>>>()?);
                }
                Ok(true)
            })?,
            Way::General { planned, limit, .. } => self.general(exec, planned, limit, &mut rows)?,
        }
        Ok(Outcome::Rows(RowStream::ready(self.columns(), rows, RowsTag::Select)))
    }

    fn general(
        &self,
        exec: &mut Exec<'_>,
        planned: &PlannedQuery,
        limit: &Limit,
        rows: &mut Vec<Vec<Value>>,
    ) -> Run<()> {
        let context = exec.row_key_context();
        let Limit { count: limit, offset } = limit;
        let limit = count(&context, limit.as_ref(), exec.params, "LIMIT")?.unwrap_or(usize::MAX);
        let mut skip = count(&context, offset.as_ref(), exec.params, "OFFSET")?.unwrap_or(0);
        let mut stream = query::run_query(&context, planned, params_of(planned, exec.params))?;
        while rows.len() < limit {
            let Some(batch) = stream.next_batch()? else { break };
            for mut found in batch {
                exec.cancel.check()?;
                if rows.len() >= limit {
                    break;
                }
                let Some(Value::Bytea(key)) = found.pop() else {
                    return Err(Error::internal("a query for rows to lock gave no row key").into());
                };
                if !lock(exec, &self.table, &Bytes::from(key), self.mode, self.wait)? {
                    continue;
                }
                match skip {
                    0 => rows.push(found),
                    _ => skip -= 1,
                }
            }
        }
        Ok(())
    }
}

/// The value of LIMIT or OFFSET; NULL is none.
fn count(
    context: &crate::read::QueryContext,
    expr: Option<&Expr>,
    params: &[Value],
    what: &str,
) -> Result<Option<usize>> {
    let Some(expr) = expr else { return Ok(None) };
    match query::eval_const(context, expr, Some(DataType::Int8), params)? {
        Value::Null => Ok(None),
        Value::Int8(value) => usize::try_from(value)
            .map(Some)
            .map_err(|_| Error::new(SqlState::INVALID_PARAMETER_VALUE, format!("{what} must not be negative"))),
        other => Err(Error::internal(format!("{what} came to {other:?}"))),
    }
}

fn compile(
    exec: &Exec<'_>,
    table: &Arc<TableSchema>,
    qualifier: &str,
    query: &Query,
    types: &mut Vec<Option<DataType>>,
) -> Option<(Way, Arc<[ResultColumn]>)> {
    let (select, _) = single_table(query)?;
    let scope = Scope::table(table, qualifier);
    let mut compiler = Compiler::new(&scope, ParamTypes(types.clone()), exec.time_zone());
    let filter = match &select.selection {
        None => None,
        Some(selection) => Some(compiler.condition(selection)?),
    };
    let (output, columns) = compile_items(&mut compiler, &select.projection)?;
    *types = compiler.params.0;
    Some((Way::Compiled { finder: Box::new(Finder::new(table, filter)), output }, columns.into()))
}

fn general(
    exec: &Exec<'_>,
    qualifier: &str,
    query: &Query,
    types: &mut [Option<DataType>],
) -> Result<(Way, Arc<[ResultColumn]>)> {
    let mut query = query.clone();
    let (limit, offset) = match query.limit_clause.take() {
        None => (None, None),
        Some(LimitClause::LimitOffset { limit, offset, .. }) => (limit, offset.map(|Offset { value, .. }| value)),
        Some(LimitClause::OffsetCommaLimit { offset, limit }) => (Some(limit), Some(offset)),
    };
    let limit = match query.fetch.take() {
        Some(Fetch { quantity, .. }) => quantity.or_else(|| crate::parse::parse_expression("1").ok()),
        None => limit,
    };
    for expr in [&limit, &offset].into_iter().flatten() {
        if let Some(slot) = super::placeholder(expr).and_then(|position| types.get_mut(position)) {
            slot.get_or_insert(DataType::Int8);
        }
    }
    if let SetExpr::Select(select) = query.body.as_mut() {
        // Last, so that ORDER BY 1 means what it says.
        select.projection.push(SelectItem::UnnamedExpr(row_key_of(qualifier)));
    }
    let context = exec.row_key_context();
    let planned = plan_within(&context, &query, types)?;
    let shown = planned.columns.len().saturating_sub(1);
    let columns: Arc<[ResultColumn]> = planned.columns.iter().take(shown).cloned().collect();
    let limit = Box::new(Limit { count: limit, offset });
    Ok((Way::General { query: Box::new(query), planned, limit }, columns))
}
