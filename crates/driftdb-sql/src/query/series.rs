//! Functions in FROM: `generate_series`, `driftdb.history` and `driftdb.retention_plan`.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::Session;
use datafusion::common::Result as DfResult;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::datasource::{TableProvider, TableType};
use datafusion::logical_expr::expr::Placeholder;
use datafusion::logical_expr::{Expr, LogicalPlanBuilder};
use datafusion::physical_plan::ExecutionPlan;
use driftdb_types::{DataType, Decimal, Error, Interval, Result, SqlState, TableSchema, TimeZone, Value};

use super::functions::{add_interval, add_interval_tz, builtin, is_not_done};
use super::planner::{Planner, table_now};
use super::provider::StoreTable;
use super::resolve::resolve;
use super::scan::{RowsExec, ValueRows};
use super::system::retention_plan;
use super::types::{data_type_of, field};

/// The table that a function in FROM gives.
pub(super) fn table_function(planner: &Planner<'_>, name: &str, args: Vec<Expr>) -> Result<Arc<dyn TableProvider>> {
    let args = args.into_iter().map(|arg| constant(planner, arg)).collect::<Result<Vec<_>>>()?;
    match name {
        "generate_series" => Ok(Arc::new(Series::new(&args, planner.ctx.settings.time_zone())?)),
        "driftdb.history" => Ok(Arc::new(StoreTable::history(table_named(planner, name, &args)?))),
        "driftdb.retention_plan" => Ok(retention_plan(table_named(planner, name, &args)?)),
        "driftdb.diff" => Err(Error::unsupported(format!("{name}()"))),
        other if is_not_done(other) || builtin(other).is_some() => {
            Err(Error::unsupported(format!("the function {other} in FROM")))
        }
        other => Err(Error::new(SqlState::UNDEFINED_FUNCTION, format!("function {other} does not exist"))),
    }
}

/// The table whose name is the only argument.
fn table_named(planner: &Planner<'_>, function: &str, args: &[Arg]) -> Result<Arc<TableSchema>> {
    match args {
        [Arg::Later(_)] => Err(Error::unsupported(format!("{function} of a parameter"))),
        [Arg::Is(Value::Text(table))] => table_now(planner.ctx, table),
        _ => Err(Error::new(SqlState::UNDEFINED_FUNCTION, format!("{function} takes the name of a table"))),
    }
}

/// What is known of an argument.
#[derive(Debug)]
enum Arg {
    Is(Value),
    /// A parameter is in it, which has no value yet; the type where that can be told.
    Later(Option<DataType>),
}

impl Arg {
    fn value(&self) -> Option<&Value> {
        match self {
            Arg::Is(value) => Some(value),
            Arg::Later(_) => None,
        }
    }

    fn data_type(&self) -> Option<DataType> {
        match self {
            Arg::Is(value) => value.data_type(),
            Arg::Later(data_type) => *data_type,
        }
    }
}

/// A constant argument.
fn constant(planner: &Planner<'_>, arg: Expr) -> Result<Arg> {
    let mut has_parameter = false;
    let mut has_column = false;
    arg.apply(|part| {
        has_parameter |= matches!(part, Expr::Placeholder(_));
        has_column |= matches!(part, Expr::Column(_) | Expr::OuterReferenceColumn(..));
        Ok(TreeNodeRecursion::Continue)
    })
    .map_err(super::errors::from_datafusion)?;
    if has_column {
        return Err(Error::unsupported("a function in FROM whose arguments are columns"));
    }
    if has_parameter {
        planner.per_execution.set(true);
        match (&arg, planner.params) {
            (Expr::Placeholder(_), None) => return Ok(Arg::Later(None)),
            (_, None) => return later(planner, arg),
            (Expr::Placeholder(Placeholder { id, .. }), Some(params)) => {
                let number = id.strip_prefix('$').and_then(|digits| digits.parse::<usize>().ok());
                let value = number.and_then(|number| params.get(number.checked_sub(1)?));
                if let Some(value) = value {
                    return Ok(Arg::Is(value.clone()));
                }
            }
            _ => {}
        }
    }
    super::constant_of(planner, arg).map(Arg::Is)
}

/// The type of an argument around a parameter, of which only its own cast tells the type.
fn later(planner: &Planner<'_>, arg: Expr) -> Result<Arg> {
    let mut types = vec![None; planner.rewritten.placeholders];
    let one = LogicalPlanBuilder::empty(true).project(vec![arg.alias("value")]).and_then(LogicalPlanBuilder::build);
    let plan = resolve(one.map_err(super::errors::from_datafusion)?, planner.facts, &mut types)?;
    data_type_of(plan.schema().field(0)).map(|data_type| Arg::Later(Some(data_type)))
}

/// What a series counts in.
#[derive(Clone, Debug)]
enum Steps {
    Int4(i32, i32, i32),
    Int8(i64, i64, i64),
    Numeric(Decimal, Decimal, Decimal),
    Timestamp(i64, i64, Interval),
    TimestampTz(i64, i64, Interval, TimeZone),
    Empty(DataType),
}

/// `generate_series(start, stop [, step])`.
#[derive(Debug)]
struct Series {
    steps: Steps,
    schema: SchemaRef,
}

impl Series {
    fn new(args: &[Arg], zone: &TimeZone) -> Result<Series> {
        let steps = Series::steps(args, zone)?;
        let data_type = match &steps {
            Steps::Int4(..) => DataType::Int4,
            Steps::Int8(..) => DataType::Int8,
            Steps::Numeric(..) => DataType::Numeric(None),
            Steps::Timestamp(..) => DataType::Timestamp,
            Steps::TimestampTz(..) => DataType::TimestampTz,
            Steps::Empty(data_type) => *data_type,
        };
        Ok(Series { steps, schema: Arc::new(Schema::new(vec![field("generate_series", data_type, true)])) })
    }

    fn steps(args: &[Arg], zone: &TimeZone) -> Result<Steps> {
        if !(2..=3).contains(&args.len()) {
            return Err(mismatch());
        }
        let known: Vec<&Value> = args.iter().filter_map(Arg::value).collect();
        let typed = |wanted: fn(DataType) -> bool| args.iter().filter_map(Arg::data_type).any(wanted);
        let of = |data_type: DataType| {
            known.iter().map(|value| (*value).clone().cast(data_type, zone)).collect::<Result<Vec<Value>>>()
        };
        let times = typed(|t| matches!(t, DataType::Timestamp | DataType::TimestampTz | DataType::Date));
        let with_zone = typed(|t| matches!(t, DataType::TimestampTz | DataType::Date));
        let data_type = if times && with_zone {
            DataType::TimestampTz
        } else if times {
            DataType::Timestamp
        } else if typed(|t| matches!(t, DataType::Numeric(_))) {
            DataType::Numeric(None)
        } else if typed(|t| t == DataType::Int8) {
            DataType::Int8
        } else {
            DataType::Int4
        };
        if known.len() < args.len() || known.iter().any(|value| value.is_null()) {
            return Ok(Steps::Empty(data_type));
        }
        if times {
            return Series::time_steps(&known, data_type, zone);
        }
        let zero_step = || Error::new(SqlState::INVALID_PARAMETER_VALUE, "step size cannot equal zero");
        match (data_type, of(data_type)?.as_slice()) {
            (DataType::Int4, [Value::Int4(start), Value::Int4(stop), rest @ ..]) => match rest {
                [] => Ok(Steps::Int4(*start, *stop, 1)),
                [Value::Int4(0)] => Err(zero_step()),
                [Value::Int4(step)] => Ok(Steps::Int4(*start, *stop, *step)),
                _ => Err(mismatch()),
            },
            (DataType::Int8, [Value::Int8(start), Value::Int8(stop), rest @ ..]) => match rest {
                [] => Ok(Steps::Int8(*start, *stop, 1)),
                [Value::Int8(0)] => Err(zero_step()),
                [Value::Int8(step)] => Ok(Steps::Int8(*start, *stop, *step)),
                _ => Err(mismatch()),
            },
            (_, [Value::Numeric(start), Value::Numeric(stop), rest @ ..]) => match rest {
                [] => Ok(Steps::Numeric(*start, *stop, Decimal::from(1))),
                [Value::Numeric(step)] if step.unscaled() == 0 => Err(zero_step()),
                [Value::Numeric(step)] => Ok(Steps::Numeric(*start, *stop, *step)),
                _ => Err(mismatch()),
            },
            _ => Err(mismatch()),
        }
    }

    fn time_steps(known: &[&Value], data_type: DataType, zone: &TimeZone) -> Result<Steps> {
        let [start, stop, step] = known else { return Err(mismatch()) };
        let step = match (*step).clone().cast(DataType::Interval, zone)? {
            Value::Interval(step) if step.estimated_us() == 0 => {
                return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, "step size cannot equal zero"));
            }
            Value::Interval(step) => step,
            _ => return Err(mismatch()),
        };
        match ((*start).clone().cast(data_type, zone)?, (*stop).clone().cast(data_type, zone)?) {
            (Value::Timestamp(start), Value::Timestamp(stop)) => Ok(Steps::Timestamp(start, stop, step)),
            (Value::TimestampTz(start), Value::TimestampTz(stop)) => {
                Ok(Steps::TimestampTz(start, stop, step, zone.clone()))
            }
            _ => Err(mismatch()),
        }
    }
}

fn mismatch() -> Error {
    Error::new(SqlState::UNDEFINED_FUNCTION, "function generate_series does not exist for these arguments")
        .hint("It takes two integers, numerics or timestamps and a step, which timestamps need.")
}

/// Values from `start` to `stop`, each made of the one before; the end of the type's range ends the series too.
fn walk<T: Clone + Send + 'static>(
    start: T,
    within: impl Fn(&T) -> bool + Send + 'static,
    next: impl Fn(&T) -> Option<T> + Send + 'static,
    value: impl Fn(T) -> Value + Send + 'static,
) -> ValueRows {
    let first = within(&start).then_some(start);
    let values = std::iter::successors(first, move |current| next(current).filter(|following| within(following)));
    Box::new(values.map(move |current| Ok(vec![value(current)])))
}

fn rows(steps: Steps) -> ValueRows {
    match steps {
        Steps::Int4(start, stop, step) => walk(
            start,
            move |v| if step > 0 { *v <= stop } else { *v >= stop },
            move |v| v.checked_add(step),
            Value::Int4,
        ),
        Steps::Int8(start, stop, step) => walk(
            start,
            move |v| if step > 0 { *v <= stop } else { *v >= stop },
            move |v| v.checked_add(step),
            Value::Int8,
        ),
        Steps::Numeric(start, stop, step) => walk(
            start,
            move |v| if step.unscaled() > 0 { v.cmp_value(&stop).is_le() } else { v.cmp_value(&stop).is_ge() },
            move |v| v.checked_add(step).ok(),
            Value::Numeric,
        ),
        Steps::Timestamp(start, stop, step) => {
            let up = step.estimated_us() > 0;
            walk(
                start,
                move |v| if up { *v <= stop } else { *v >= stop },
                move |v| add_interval(*v, step).ok(),
                Value::Timestamp,
            )
        }
        Steps::TimestampTz(start, stop, step, zone) => {
            let up = step.estimated_us() > 0;
            walk(
                start,
                move |v| if up { *v <= stop } else { *v >= stop },
                move |v| add_interval_tz(*v, step, &zone).ok(),
                Value::TimestampTz,
            )
        }
        Steps::Empty(_) => Box::new(std::iter::empty()),
    }
}

#[async_trait]
impl TableProvider for Series {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let steps = self.steps.clone();
        let limit = limit.unwrap_or(usize::MAX);
        RowsExec::plan(&self.schema, projection, "generate_series".to_owned(), move |_| {
            Ok(Box::new(rows(steps.clone()).take(limit)))
        })
    }
}
