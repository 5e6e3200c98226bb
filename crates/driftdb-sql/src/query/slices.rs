//! Projections that compute long values, a slice of a batch at a time.
//!
//! A batch that comes in is bounded in bytes, but `repeat(t, 1000)` makes a thousand times as much of it. So where a
//! projection computes values of no fixed length, it begins with few rows and takes twice as many each time, until what
//! comes out is as large as a batch may be.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::DataType as ArrowType;
use datafusion::common::Result as DfResult;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{Column, Literal};
use datafusion::physical_expr::projection::Projector;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, ReplaceChildrenOptions};
use futures::StreamExt;

use super::nodes::NodeRule;
use super::runtime::BatchBounds;
use super::scan::execution;

/// Rows of the first slice.
const FIRST_ROWS: usize = 16;
/// A constant up to this size does not make a batch long.
const SHORT_BYTES: usize = 256;

/// Puts [`SlicedProjection`] in the place of projections that compute long values.
pub(super) const SLICE_PROJECTIONS: NodeRule = NodeRule {
    name: "slice_projections",
    replace: |_, node| {
        let projection = node.downcast_ref::<ProjectionExec>().filter(|projection| computes_long_values(projection))?;
        Some(Arc::new(SlicedProjection { whole: projection.clone() }))
    },
};

fn computes_long_values(projection: &ProjectionExec) -> bool {
    let schema = projection.schema();
    projection.expr().iter().zip(schema.fields()).any(|(computed, field)| {
        let expr: &dyn std::any::Any = computed.expr.as_ref();
        // A constant is put into every row.
        let is_short = expr.downcast_ref::<Literal>().is_some_and(|constant| constant.value().size() < SHORT_BYTES);
        let is_given = expr.is::<Column>() || is_short;
        !is_given && matches!(field.data_type(), ArrowType::Utf8 | ArrowType::Binary)
    })
}

/// See the head of the file.
#[derive(Debug)]
struct SlicedProjection {
    whole: ProjectionExec,
}

impl SlicedProjection {
    /// The same of another input.
    fn over(self: Arc<Self>, inputs: Vec<Arc<dyn ExecutionPlan>>) -> DfResult<Arc<dyn ExecutionPlan>> {
        let Some(input) = inputs.into_iter().next() else { return Ok(self) };
        let whole = ProjectionExec::try_new(self.whole.expr().to_vec(), input)?;
        Ok(Arc::new(SlicedProjection { whole }))
    }
}

impl DisplayAs for SlicedProjection {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.whole.fmt_as(format, f)
    }
}

impl ExecutionPlan for SlicedProjection {
    fn name(&self) -> &'static str {
        "ProjectionExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.whole.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.whole.children()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        self.whole.maintains_input_order()
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DfResult<TreeNodeRecursion>,
    ) -> DfResult<TreeNodeRecursion> {
        self.whole.apply_expressions(f)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        self.over(children)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> DfResult<Arc<dyn ExecutionPlan>> {
        self.over(children)
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> DfResult<SendableRecordBatchStream> {
        let bounds = execution(&context)?.context.runtime.batch;
        let input = self.whole.input();
        let projector = self.whole.projection_expr().make_projector(&input.schema())?;
        let slices = Slices { projector, rows: FIRST_ROWS, bounds, batch: None };
        let sliced =
            futures::stream::unfold((input.execute(partition, context)?, slices), |(mut input, mut slices)| async {
                let next = loop {
                    if let Some(slice) = slices.next() {
                        break slice;
                    }
                    match input.next().await? {
                        Ok(batch) => slices.batch = Some(batch),
                        Err(error) => break Err(error),
                    }
                };
                Some((next, (input, slices)))
            });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), sliced)))
    }
}

struct Slices {
    projector: Projector,
    /// Of the next slice.
    rows: usize,
    /// Of a slice's results.
    bounds: BatchBounds,
    /// What is left of the input's last batch.
    batch: Option<RecordBatch>,
}

impl Slices {
    /// The next slice's results; `None` where the input has to give another batch.
    fn next(&mut self) -> Option<DfResult<RecordBatch>> {
        let batch = self.batch.take()?;
        let rows = self.rows.min(batch.num_rows());
        if rows < batch.num_rows() {
            self.batch = Some(batch.slice(rows, batch.num_rows() - rows));
        }
        let projected = self.projector.project_batch(&batch.slice(0, rows));
        if let Ok(projected) = &projected {
            self.rows = self.bounds.rows_like(projected).clamp(1, self.rows.saturating_mul(2));
        }
        Some(projected)
    }
}
