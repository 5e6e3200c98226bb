//! Planning and running.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::Field;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{ParamValues, ScalarValue};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::sql::planner::{PlannerContext, SqlToRel};
use datafusion::sql::sqlparser::ast::{
    Expr as AstExpr, GroupByExpr, Query, Select, SelectFlavor, SelectItem, SetExpr, Statement, TableWithJoins,
    helpers::attached_token::AttachedToken,
};
use driftdb_types::{CommitSeq, DataType, Error, Result, SqlState, Value};
use futures::StreamExt;

use super::errors::{clean_name, from_datafusion};
use super::functions::Facts;
use super::guard::guarded_plan;
use super::pace::{Batches, Pace};
use super::planner::Planner;
use super::resolve::{ParamTypes, resolve};
use super::rewrite::{Rewritten, rewrite};
use super::types::{ORIGIN_KEY, data_type_of, field, rows_of, scalar_of, values_of};
use crate::outcome::{ResultColumn, RowSource, RowStream};
use crate::read::QueryContext;

/// A planned query. It holds no read point of now and no time, so it can be run again later.
#[derive(Clone)]
pub(crate) struct PlannedQuery {
    /// The types of `$1`, `$2`, …
    pub(crate) params: Vec<DataType>,
    pub(crate) columns: Arc<[ResultColumn]>,
    inner: Arc<Inner>,
}

impl std::fmt::Debug for PlannedQuery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PlannedQuery")
            .field("params", &self.params)
            .field("columns", &self.columns)
            .finish_non_exhaustive()
    }
}

struct Inner {
    query: Query,
    /// The optimised plan, parameters still in it; `None` when each execution plans anew.
    plan: Option<LogicalPlan>,
    /// What else the plan depends on.
    system_time: Option<CommitSeq>,
    zone: String,
}

/// A logical plan with types, before optimisation.
struct Built {
    plan: LogicalPlan,
    params: Vec<DataType>,
    per_execution: bool,
}

pub(crate) fn plan_query(ctx: &QueryContext, query: &Query, param_types: &[Option<DataType>]) -> Result<PlannedQuery> {
    plan_query_for(ctx, query, param_types, None)
}

/// Plans for parameters of these values, where they are known: which columns a table has depends on its read point.
pub(crate) fn plan_query_for(
    ctx: &QueryContext,
    query: &Query,
    param_types: &[Option<DataType>],
    params: Option<&[Value]>,
) -> Result<PlannedQuery> {
    guarded(|| {
        let built = build(ctx, query, param_types, params)?;
        let columns = columns_of(&built.plan)?;
        let plan = match built.per_execution {
            true => None,
            false => {
                let optimized = ctx.runtime.planning_state().optimize(&built.plan);
                Some(optimized.map_err(from_datafusion)?)
            }
        };
        Ok(PlannedQuery {
            params: built.params,
            columns,
            inner: Arc::new(Inner {
                query: query.clone(),
                plan,
                system_time: ctx.read.system_time,
                zone: ctx.settings.time_zone().name().to_owned(),
            }),
        })
    })
}

/// A panic inside of DataFusion must not end the process: it becomes an error of the statement.
fn guarded<R>(work: impl FnOnce() -> Result<R>) -> Result<R> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(Error::internal("the query planner failed")))
}

fn build(
    ctx: &QueryContext,
    query: &Query,
    param_types: &[Option<DataType>],
    params: Option<&[Value]>,
) -> Result<Built> {
    let known: Vec<DataType> = param_types.iter().map(|t| t.unwrap_or(DataType::Text)).collect();
    let rewritten = rewrite(ctx, query, params.map(|values| (known.as_slice(), values)))?;
    let facts = Arc::new(facts(ctx)?);
    let mut types: ParamTypes = param_types.to_vec();
    types.resize(rewritten.placeholders, None);
    // Each round gives some parameters their types; what is left in the end is text, as in PostgreSQL.
    loop {
        let before = types.clone();
        let (plan, per_execution) = logical(ctx, &rewritten, &facts, &types, params)?;
        let plan = resolve(plan, &facts, &mut types)?;
        if types == before {
            if types.iter().all(Option::is_some) {
                return Ok(Built {
                    plan,
                    params: types.into_iter().flatten().collect(),
                    per_execution: per_execution || rewritten.per_execution,
                });
            }
            types.iter_mut().for_each(|slot| _ = slot.get_or_insert(DataType::Text));
        }
    }
}

pub(super) fn facts(ctx: &QueryContext) -> Result<Facts> {
    Ok(Facts {
        zone: ctx.settings.time_zone().clone(),
        catalog: ctx.read.catalog_shown()?,
        settings: Arc::clone(&ctx.settings),
        client: Arc::clone(&ctx.client),
        statement_time_us: ctx.statement_time_us,
        clock: Arc::clone(&ctx.read.engine.env().clock),
        engine: ctx.read.engine.clone(),
        last_commit: ctx.read.system_time.unwrap_or_else(|| ctx.read.view.stamp().seq),
        cancel: Arc::clone(&ctx.cancel),
        locks: Arc::clone(&ctx.locks),
        txid: Arc::clone(&ctx.txid),
    })
}

fn logical(
    ctx: &QueryContext,
    rewritten: &Rewritten,
    facts: &Arc<Facts>,
    types: &ParamTypes,
    params: Option<&[Value]>,
) -> Result<(LogicalPlan, bool)> {
    let mut fields: Vec<Option<Arc<Field>>> =
        types.iter().map(|slot| slot.map(|data_type| Arc::new(field("", data_type, true)))).collect();
    // Behind the user's parameters come the transaction's and the statement's time.
    let time = || Some(Arc::new(field("", DataType::TimestampTz, true)));
    fields.extend([time(), time()]);
    let config = Arc::clone(ctx.runtime.planning_state().config_options());
    let planner = Planner::new(ctx, rewritten, facts, &config, params);
    let mut context = PlannerContext::new().with_prepare_param_data_types(fields);
    let plan = SqlToRel::new(&planner)
        .sql_statement_to_plan_with_context(Statement::Query(Box::new(rewritten.query.clone())), &mut context)
        .map_err(from_datafusion)?;
    Ok((plan, planner.per_execution.get()))
}

fn columns_of(plan: &LogicalPlan) -> Result<Arc<[ResultColumn]>> {
    plan.schema()
        .fields()
        .iter()
        .map(|field| {
            let origin = field.metadata().get(ORIGIN_KEY).and_then(|origin| {
                let (table, column) = origin.split_once(',')?;
                Some((table.parse().ok()?, column.parse().ok()?))
            });
            Ok(ResultColumn { name: clean_name(field.name()), data_type: data_type_of(field)?, table: origin })
        })
        .collect::<Result<Vec<_>>>()
        .map(Arc::from)
}

pub(crate) fn run_query(ctx: &QueryContext, planned: &PlannedQuery, params: &[Value]) -> Result<RowStream> {
    guarded(|| {
        let pace = Pace::new(ctx);
        let mut state = ctx.runtime.paced_state(ctx, &pace);
        let plan = ready_plan(ctx, &state, planned, params)?;
        if waits(&plan)? {
            // Locks are the session's, which may wait for one at a time; and who waits keeps no other query waiting.
            state = ctx.runtime.state(ctx);
        }
        let fields = result_fields(&plan, &planned.columns);
        let stream = {
            let _tasks = ctx.runtime.enter();
            let physical = physical(&state, &guarded_plan(ctx, plan)?)?;
            execute_stream(physical, state.task_ctx()).map_err(from_datafusion)?
        };
        let batches = Batches::new(ctx, pace, stream);
        let rows = QueryRows { ctx: ctx.clone(), batches: Some(batches), fields, batch: None, rows: 0 };
        Ok(RowStream::new(Arc::clone(&planned.columns), Box::new(rows)))
    })
}

/// Whether it calls a function that may wait for something.
fn waits(plan: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                found |= matches!(expr, Expr::ScalarFunction(call) if super::functions::waits(call.name()));
                Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
            })
        })
    })
    .map_err(from_datafusion)?;
    Ok(found)
}

/// The fields of the result. A parameter's value has taken the place of its field, and with it of its type (a `jsonb` is
/// a text like others by then), so the types found while planning are what counts.
fn result_fields(plan: &LogicalPlan, columns: &[ResultColumn]) -> Vec<Arc<Field>> {
    let found = plan.schema().fields();
    let typed = |(found, column): (&Arc<Field>, &ResultColumn)| {
        let typed = field(found.name(), column.data_type, found.is_nullable());
        if typed.data_type() == found.data_type() { Arc::new(typed) } else { Arc::clone(found) }
    };
    found.iter().zip(columns).map(typed).collect()
}

pub(super) fn physical(state: &SessionState, plan: &LogicalPlan) -> Result<Arc<dyn ExecutionPlan>> {
    let planner = Arc::clone(state.query_planner());
    futures::executor::block_on(planner.create_physical_plan(plan, state)).map_err(from_datafusion)
}

/// The optimised plan with the parameters' values in it.
fn ready_plan(
    ctx: &QueryContext,
    state: &SessionState,
    planned: &PlannedQuery,
    params: &[Value],
) -> Result<LogicalPlan> {
    let inner = &planned.inner;
    let same = inner.system_time == ctx.read.system_time && inner.zone == ctx.settings.time_zone().name();
    if let (Some(plan), true) = (&inner.plan, same) {
        return bind(ctx, state, plan.clone(), &planned.params, params);
    }
    let types: Vec<Option<DataType>> = planned.params.iter().copied().map(Some).collect();
    let built = build(ctx, &inner.query, &types, Some(params))?;
    let columns = columns_of(&built.plan)?;
    let unchanged = columns.len() == planned.columns.len()
        && columns
            .iter()
            .zip(planned.columns.iter())
            .all(|(now, then)| now.data_type == then.data_type && now.name == then.name);
    if !unchanged {
        return Err(Error::new(SqlState::FEATURE_NOT_SUPPORTED, "cached plan must not change result type"));
    }
    optimized_bound(ctx, state, &built.plan, &built.params, params)
}

/// Puts values in and optimises.
pub(super) fn optimized_bound(
    ctx: &QueryContext,
    state: &SessionState,
    plan: &LogicalPlan,
    types: &[DataType],
    params: &[Value],
) -> Result<LogicalPlan> {
    let bound = put_values(ctx, plan.clone(), types, params)?;
    state.optimize(&bound).map_err(from_datafusion)
}

fn has_parameters(plan: &LogicalPlan) -> Result<bool> {
    plan.get_parameter_names().map(|names| !names.is_empty()).map_err(from_datafusion)
}

/// Puts values into a plan that is optimised already, and folds what has become constant.
fn bind(
    ctx: &QueryContext,
    state: &SessionState,
    plan: LogicalPlan,
    types: &[DataType],
    params: &[Value],
) -> Result<LogicalPlan> {
    if !has_parameters(&plan)? {
        return Ok(plan);
    }
    let bound = put_values(ctx, plan, types, params)?;
    ctx.runtime.bound_optimizer.optimize(bound, state, |_, _| {}).map_err(from_datafusion)
}

fn put_values(ctx: &QueryContext, plan: LogicalPlan, types: &[DataType], params: &[Value]) -> Result<LogicalPlan> {
    let mut scalars: Vec<ScalarValue> = Vec::with_capacity(types.len() + 2);
    for (number, data_type) in types.iter().enumerate() {
        let Some(value) = params.get(number) else {
            return Err(Error::new(SqlState::PROTOCOL_VIOLATION, format!("no value for parameter ${}", number + 1)));
        };
        let zone = ctx.settings.time_zone();
        let value = match value.data_type() {
            Some(given) if given.without_modifiers() != data_type.without_modifiers() => {
                value.clone().cast(*data_type, zone)?
            }
            _ => value.clone(),
        };
        scalars.push(scalar_of(&value, *data_type)?);
    }
    for time in [ctx.transaction_time_us, ctx.statement_time_us] {
        scalars.push(scalar_of(&Value::TimestampTz(time), DataType::TimestampTz)?);
    }
    plan.with_param_values(ParamValues::from(scalars)).map_err(from_datafusion)
}

/// The rows of a running query.
struct QueryRows {
    ctx: QueryContext,
    batches: Option<Batches>,
    fields: Vec<Arc<Field>>,
    /// What of the last batch is not handed on yet.
    batch: Option<RecordBatch>,
    /// How many rows of it are handed on at a time.
    rows: usize,
}

impl RowSource for QueryRows {
    fn next_batch(&mut self) -> Result<Option<Vec<Vec<Value>>>> {
        let result = guarded(|| self.rows());
        if !matches!(result, Ok(Some(_))) {
            // What the query holds (memory, spill files) is given back at once.
            self.batches = None;
        }
        result
    }
}

impl QueryRows {
    fn rows(&mut self) -> Result<Option<Vec<Vec<Value>>>> {
        loop {
            self.ctx.cancel.check()?;
            if let Some(batch) = self.batch.take() {
                let count = batch.num_rows().min(self.rows);
                let left = batch.num_rows() - count;
                if left > 0 {
                    self.batch = Some(batch.slice(count, left));
                }
                return Ok(Some(rows_of(&batch.slice(0, count), &self.fields)?));
            }
            let Some(batches) = &mut self.batches else { return Ok(None) };
            match batches.next() {
                Some(Ok(batch)) if batch.num_rows() == 0 => {}
                Some(Ok(batch)) => {
                    self.rows = self.ctx.runtime.rows_at_once(&batch);
                    self.batch = Some(batch);
                }
                Some(Err(error)) => return Err(from_datafusion(error)),
                None => return Ok(None),
            }
        }
    }
}

/// Plans for a single execution with its values in hand.
pub(super) fn plan_now(
    ctx: &QueryContext,
    state: &SessionState,
    query: &Query,
    params: &[Value],
) -> Result<LogicalPlan> {
    let types: Vec<Option<DataType>> = params.iter().map(Value::data_type).collect();
    let built = build(ctx, query, &types, Some(params))?;
    optimized_bound(ctx, state, &built.plan, &built.params, params)
}

/// The value of an expression without columns.
pub(crate) fn eval_const(
    ctx: &QueryContext,
    expr: &AstExpr,
    target: Option<DataType>,
    params: &[Value],
) -> Result<Value> {
    eval_const_typed(ctx, expr, target, &[], params)
}

pub(super) fn eval_const_typed(
    ctx: &QueryContext,
    expr: &AstExpr,
    target: Option<DataType>,
    types: &[DataType],
    params: &[Value],
) -> Result<Value> {
    guarded(|| {
        let types: Vec<Option<DataType>> =
            params.iter().enumerate().map(|(n, value)| types.get(n).copied().or_else(|| value.data_type())).collect();
        let query = select_of(expr);
        let planned = plan_query(ctx, &query, &types)?;
        let mut rows = run_query(ctx, &planned, params)?.collect()?;
        let value = match (rows.pop().and_then(|mut row| row.pop()), rows.is_empty()) {
            (Some(value), true) => value,
            _ => return Err(Error::internal("an expression gave no single value")),
        };
        match target {
            Some(target) => value.assign(target, ctx.settings.time_zone()),
            None => Ok(value),
        }
    })
}

/// `SELECT expr`.
fn select_of(expr: &AstExpr) -> Query {
    query_of(select_from(vec![SelectItem::UnnamedExpr(expr.clone())], Vec::new()))
}

/// A SELECT of nothing but results and tables.
pub(super) fn select_from(projection: Vec<SelectItem>, from: Vec<TableWithJoins>) -> Select {
    Select {
        select_token: AttachedToken::empty(),
        optimizer_hints: Vec::new(),
        distinct: None,
        select_modifiers: None,
        top: None,
        top_before_distinct: false,
        projection,
        exclude: None,
        into: None,
        from,
        lateral_views: Vec::new(),
        prewhere: None,
        selection: None,
        connect_by: Vec::new(),
        group_by: GroupByExpr::Expressions(Vec::new(), Vec::new()),
        cluster_by: Vec::new(),
        distribute_by: Vec::new(),
        sort_by: Vec::new(),
        having: None,
        named_window: Vec::new(),
        qualify: None,
        window_before_qualify: false,
        value_table_mode: None,
        flavor: SelectFlavor::Standard,
    }
}

/// A query of one SELECT.
pub(super) fn query_of(select: Select) -> Query {
    Query {
        with: None,
        body: Box::new(SetExpr::Select(Box::new(select))),
        order_by: None,
        limit_clause: None,
        fetch: None,
        locks: Vec::new(),
        for_clause: None,
        settings: None,
        format_clause: None,
        pipe_operators: Vec::new(),
    }
}

/// The value of a DataFusion expression without columns, as arguments of functions in FROM are. Literals without a type
/// are text.
pub(super) fn constant_of(planner: &Planner<'_>, expr: Expr) -> Result<Value> {
    let ctx = planner.ctx;
    let mut types: ParamTypes = vec![None; planner.rewritten.placeholders];
    let one = LogicalPlanBuilder::empty(true).project(vec![expr.alias("value")]).map_err(from_datafusion)?;
    let plan = resolve(one.build().map_err(from_datafusion)?, planner.facts, &mut types)?;
    let types: Vec<DataType> = types.into_iter().map(|slot| slot.unwrap_or(DataType::Text)).collect();
    let state = ctx.runtime.state(ctx);
    let params: Vec<Value> = match planner.params {
        Some(params) => params.to_vec(),
        None => vec![Value::Null; types.len()],
    };
    let plan = optimized_bound(ctx, &state, &plan, &types, &params)?;
    let field = plan.schema().field(0).clone();
    let _tasks = ctx.runtime.enter();
    let physical = physical(&state, &plan)?;
    let mut stream = execute_stream(physical, state.task_ctx()).map_err(from_datafusion)?;
    let batch = futures::executor::block_on(stream.next())
        .ok_or_else(|| Error::internal("an argument gave no value"))?
        .map_err(from_datafusion)?;
    let values = batch.columns().first().map(|column| values_of(column, &field)).transpose()?;
    values.and_then(|mut values| values.pop()).ok_or_else(|| Error::internal("an argument gave no value"))
}
