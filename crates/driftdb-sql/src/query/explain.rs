//! EXPLAIN: the physical plan as lines of text, with what each step did when it is asked to run.

use std::fmt::Write;
use std::sync::Arc;

use datafusion::physical_plan::display::DisplayableExecutionPlan;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::sql::sqlparser::ast::Query;
use driftdb_types::{Result, Value};
use futures::StreamExt;

use super::errors::{clean_name, from_datafusion};
use super::plan::{physical, plan_now};
use super::rewrite::{CAST_PREFIX, OPERATOR_PREFIX};
use crate::read::QueryContext;

/// How EXPLAIN is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ExplainOptions {
    /// Run it, and say what each step did.
    pub(crate) analyze: bool,
    /// Say more of each step.
    pub(crate) verbose: bool,
}

/// The lines of "QUERY PLAN".
pub(crate) fn explain(
    ctx: &QueryContext,
    query: &Query,
    options: &ExplainOptions,
    params: &[Value],
) -> Result<Vec<String>> {
    let state = ctx.runtime.state(ctx);
    let clock = Arc::clone(&ctx.read.engine.env().clock);
    let planning = clock.monotonic();
    let plan = plan_now(ctx, &state, query, params)?;
    let _tasks = ctx.runtime.enter();
    let physical = physical(&state, &plan)?;
    let planned = clock.monotonic();
    let mut rows = 0;
    if options.analyze {
        let mut stream = execute_stream(Arc::clone(&physical), state.task_ctx()).map_err(from_datafusion)?;
        while let Some(batch) = futures::executor::block_on(stream.next()) {
            ctx.cancel.check()?;
            rows += batch.map_err(from_datafusion)?.num_rows();
        }
    }
    let mut lines = lines_of(&physical, options);
    if options.analyze {
        let done = clock.monotonic();
        lines.push(format!("Rows: {rows}"));
        lines.push(format!("Planning Time: {:.3} ms", planned.saturating_sub(planning).as_secs_f64() * 1e3));
        lines.push(format!("Execution Time: {:.3} ms", done.saturating_sub(planned).as_secs_f64() * 1e3));
    }
    Ok(lines)
}

fn lines_of(plan: &Arc<dyn ExecutionPlan>, options: &ExplainOptions) -> Vec<String> {
    let displayable = match options.analyze {
        true => DisplayableExecutionPlan::with_metrics(plan.as_ref()),
        false => DisplayableExecutionPlan::new(plan.as_ref()),
    };
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write!(text, "{}", displayable.indent(options.verbose));
    text.lines().map(shown).collect()
}

/// A line without the marks of our own names.
fn shown(line: &str) -> String {
    let plain = line.replace(CAST_PREFIX, "").replace(OPERATOR_PREFIX, "");
    clean_name(&plain).trim_end().to_owned()
}
