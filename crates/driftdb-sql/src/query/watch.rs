//! Joins that can be cancelled.
//!
//! Scans look at the cancel flag for what they read. A join can give very many rows from few, and so can a recursive
//! query: what stands above them (a count, a sort) would take them all before anyone looks. So the flag is looked at for
//! each batch that such a plan gives. What a join throws away without giving anything is looked at in its condition.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use datafusion::common::Result as DfResult;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::joins::{CrossJoinExec, HashJoinExec, NestedLoopJoinExec, SortMergeJoinExec};
use datafusion::physical_plan::recursive_query::RecursiveQueryExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, ReplaceChildrenOptions};
use futures::StreamExt;

use super::errors::into_datafusion;
use super::nodes::NodeRule;
use super::scan::execution;

/// Puts a [`WatchExec`] above each plan that can give more rows than it takes.
pub(super) const WATCH_JOINS: NodeRule = NodeRule {
    name: "watch_joins",
    replace: |plan, node| multiplies(node).then(|| Arc::new(WatchExec { input: Arc::clone(plan) }) as _),
};

fn multiplies(node: &dyn Any) -> bool {
    node.is::<HashJoinExec>()
        || node.is::<NestedLoopJoinExec>()
        || node.is::<CrossJoinExec>()
        || node.is::<SortMergeJoinExec>()
        || node.is::<RecursiveQueryExec>()
}

/// What EXPLAIN would call it; it leaves it out.
pub(super) const WATCH: &str = "Watch";

/// Its input's rows, as long as the statement is not cancelled.
#[derive(Debug)]
struct WatchExec {
    input: Arc<dyn ExecutionPlan>,
}

impl DisplayAs for WatchExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(WATCH)
    }
}

impl ExecutionPlan for WatchExec {
    fn name(&self) -> &'static str {
        WATCH
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DfResult<TreeNodeRecursion>,
    ) -> DfResult<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        Ok(children.into_iter().next().map_or(self, |input| Arc::new(WatchExec { input })))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> DfResult<Arc<dyn ExecutionPlan>> {
        Ok(children.into_iter().next().map_or(self, |input| Arc::new(WatchExec { input })))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> DfResult<SendableRecordBatchStream> {
        let execution = execution(&context)?;
        let watched = self.input.execute(partition, context)?.map(move |batch| {
            execution.context.cancel.check().map_err(into_datafusion)?;
            batch
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), watched)))
    }
}
