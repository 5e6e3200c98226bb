//! The value of a scalar subquery: an aggregate over its rows that gives the one there is, NULL where there is none, and
//! 21000 where there are more.

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::{DataType as ArrowType, Field, FieldRef, Int64Type};
use datafusion::common::{Result as DfResult, ScalarValue};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, Signature, Volatility};
use driftdb_types::{Error, SqlState};

use super::aggregates::SINGLE;
use super::errors::into_datafusion;

/// The aggregate.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Single {
    signature: Signature,
}

impl Single {
    pub(super) fn new() -> Single {
        Single { signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl AggregateUDFImpl for Single {
    fn name(&self) -> &str {
        SINGLE
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[ArrowType]) -> DfResult<ArrowType> {
        arg_types.first().cloned().ok_or_else(|| into_datafusion(Error::internal("a single value of nothing")))
    }

    /// The value keeps all that is known of its type.
    fn return_field(&self, arg_fields: &[FieldRef]) -> DfResult<FieldRef> {
        let [field] = arg_fields else { return Err(into_datafusion(Error::internal("a single value of nothing"))) };
        Ok(Field::new(SINGLE, field.data_type().clone(), true).with_metadata(field.metadata().clone()).into())
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> DfResult<Vec<FieldRef>> {
        let value = Field::new(format!("{}[value]", args.name), args.return_field.data_type().clone(), true);
        let count = Field::new(format!("{}[count]", args.name), ArrowType::Int64, true);
        Ok(vec![value.into(), count.into()])
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> DfResult<Box<dyn Accumulator>> {
        Ok(Box::new(One { value: ScalarValue::try_from(args.return_field.data_type())?, count: 0 }))
    }
}

#[derive(Debug)]
struct One {
    value: ScalarValue,
    count: i64,
}

impl One {
    fn take(&mut self, values: &ArrayRef, row: usize, count: i64) -> DfResult<()> {
        self.count = self.count.saturating_add(count);
        if self.count > 1 {
            return Err(into_datafusion(Error::new(
                SqlState::CARDINALITY_VIOLATION,
                "more than one row returned by a subquery used as an expression",
            )));
        }
        if count == 1 {
            self.value = ScalarValue::try_from_array(values, row)?;
        }
        Ok(())
    }
}

impl Accumulator for One {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        let Some(values) = values.first() else { return Ok(()) };
        (0..values.len().min(2)).try_for_each(|row| self.take(values, row, 1))
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        Ok(self.value.clone())
    }

    fn size(&self) -> usize {
        size_of::<One>() + self.value.size()
    }

    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        Ok(vec![self.value.clone(), ScalarValue::Int64(Some(self.count))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> DfResult<()> {
        let [values, counts] = states else { return Ok(()) };
        let counts = counts.as_primitive::<Int64Type>();
        (0..values.len()).try_for_each(|row| {
            let count = if counts.is_null(row) { 0 } else { counts.value(row) };
            self.take(values, row, count)
        })
    }
}
