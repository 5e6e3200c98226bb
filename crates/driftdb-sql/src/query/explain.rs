//! EXPLAIN: the physical plan as lines of text, with what each step did when it is asked to run.

use std::fmt::Write;
use std::sync::Arc;

use datafusion::physical_plan::display::DisplayableExecutionPlan;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::sql::sqlparser::ast::Query;
use driftdb_types::{Result, Value};
use futures::StreamExt;

use super::errors::{clean_name, from_datafusion};
use super::guard::guarded_plan;
use super::plan::{physical, plan_now};
use super::rewrite::{CAST_PREFIX, OPERATOR_PREFIX};
use super::watch::WATCH;
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
    let mut plan = plan_now(ctx, &state, query, params)?;
    if options.analyze {
        plan = guarded_plan(ctx, plan)?;
    }
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
    without_watch(text.lines().map(shown))
}

/// The lines of a plan without those of the plans that only look at the cancel flag.
fn without_watch(lines: impl Iterator<Item = String>) -> Vec<String> {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut left_out: Vec<usize> = Vec::new();
    let mut shown = Vec::new();
    for line in lines {
        left_out.retain(|above| *above < indent(&line));
        if line.trim_start().starts_with(WATCH) {
            left_out.push(indent(&line));
        } else {
            shown.push(line.get(2 * left_out.len()..).unwrap_or_default().to_owned());
        }
    }
    shown
}

/// A line without the marks of our own names.
fn shown(line: &str) -> String {
    let plain = line.replace(CAST_PREFIX, "").replace(OPERATOR_PREFIX, "");
    clean_name(&plain).trim_end().to_owned()
}
