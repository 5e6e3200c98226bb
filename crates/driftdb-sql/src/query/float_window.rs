//! The sum and the average of floats in a frame that moves. What leaves the frame cannot be subtracted: an infinity or a
//! large number would leave its mark on all sums after it. So each is added up anew, as in PostgreSQL.

use std::collections::VecDeque;

use datafusion::arrow::array::{ArrayRef, AsArray};
use datafusion::arrow::datatypes::Float64Type;
use datafusion::common::{Result as DfResult, ScalarValue};
use datafusion::logical_expr::Accumulator;
use driftdb_types::Error;

use super::errors::into_datafusion;

/// The values in the frame, NULLs left out.
#[derive(Debug)]
pub(super) struct FloatWindow {
    average: bool,
    values: VecDeque<f64>,
}

impl FloatWindow {
    pub(super) fn new(average: bool) -> FloatWindow {
        FloatWindow { average, values: VecDeque::new() }
    }
}

fn floats(values: &[ArrayRef]) -> impl Iterator<Item = f64> + '_ {
    let array = values.first().and_then(|array| array.as_primitive_opt::<Float64Type>());
    array.into_iter().flat_map(|array| array.iter().flatten())
}

impl Accumulator for FloatWindow {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        self.values.extend(floats(values));
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        let gone = floats(values).count();
        self.values.drain(..gone.min(self.values.len()));
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        let sum: f64 = self.values.iter().sum();
        let count = self.values.len();
        Ok(ScalarValue::Float64((count > 0).then(|| if self.average { sum / count as f64 } else { sum })))
    }

    fn size(&self) -> usize {
        size_of::<FloatWindow>() + self.values.capacity() * size_of::<f64>()
    }

    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        Err(into_datafusion(Error::internal("a window's sum has no state to merge")))
    }

    fn merge_batch(&mut self, _: &[ArrayRef]) -> DfResult<()> {
        Err(into_datafusion(Error::internal("a window's sum has no state to merge")))
    }
}
