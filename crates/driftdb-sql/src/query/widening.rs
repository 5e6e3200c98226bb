//! The sum of `smallint` and `integer`, which is `bigint`.
//!
//! The analyzer coerces an aggregate's argument more than once where it stands in a subquery, so coercion has to be
//! idempotent; integer → bigint → numeric would not be. So small integers stay what they are in the plan, and are
//! widened here, as they come into DataFusion's accumulators of bigints.

use datafusion::arrow::array::{ArrayRef, BooleanArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType as ArrowType;
use datafusion::common::{Result as DfResult, ScalarValue};
use datafusion::logical_expr::{Accumulator, EmitTo, GroupsAccumulator};

/// Whether a sum of these is a bigint.
pub(super) fn is_small_integer(arg: &ArrowType) -> bool {
    matches!(arg, ArrowType::Int8 | ArrowType::Int16 | ArrowType::Int32)
}

fn widen(values: &[ArrayRef]) -> DfResult<Vec<ArrayRef>> {
    values.iter().map(|array| Ok(cast(array, &ArrowType::Int64)?)).collect()
}

/// An accumulator of bigints that takes small integers.
#[derive(Debug)]
pub(super) struct Widening<A: ?Sized>(pub(super) Box<A>);

impl Accumulator for Widening<dyn Accumulator> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        self.0.update_batch(&widen(values)?)
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        self.0.evaluate()
    }

    fn size(&self) -> usize {
        self.0.size()
    }

    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        self.0.state()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> DfResult<()> {
        self.0.merge_batch(states)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        self.0.retract_batch(&widen(values)?)
    }

    fn supports_retract_batch(&self) -> bool {
        self.0.supports_retract_batch()
    }
}

impl GroupsAccumulator for Widening<dyn GroupsAccumulator> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> DfResult<()> {
        self.0.update_batch(&widen(values)?, group_indices, opt_filter, total_num_groups)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> DfResult<ArrayRef> {
        self.0.evaluate(emit_to)
    }

    fn state(&mut self, emit_to: EmitTo) -> DfResult<Vec<ArrayRef>> {
        self.0.state(emit_to)
    }

    fn merge_batch(&mut self, values: &[ArrayRef], group_indices: &[usize], total_num_groups: usize) -> DfResult<()> {
        self.0.merge_batch(values, group_indices, total_num_groups)
    }

    fn convert_to_state(&self, values: &[ArrayRef], opt_filter: Option<&BooleanArray>) -> DfResult<Vec<ArrayRef>> {
        self.0.convert_to_state(&widen(values)?, opt_filter)
    }

    fn size(&self) -> usize {
        self.0.size()
    }
}
