//! Aggregates of numerics, each value with a scale of its own: exact, and with the scale that PostgreSQL gives.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::{DataType as ArrowType, Decimal128Type, Field, FieldRef};
use datafusion::common::{Result as DfResult, ScalarValue};
use datafusion::logical_expr::Accumulator;
use driftdb_types::{DataType, Decimal, Error, Result, Value};

use super::errors::into_datafusion;
use super::types::{NUMERIC, decimal_from, numeric_from, scalar_of};

/// What is calculated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Calculated {
    Sum,
    Average,
    Least,
    Greatest,
}

/// One group.
#[derive(Debug)]
pub(super) struct NumericAccumulator {
    what: Calculated,
    sum: Decimal,
    count: i64,
    /// Of those that may still become the extreme, the first is it now; with the number of each in the order they came.
    extremes: VecDeque<(u64, Decimal)>,
    /// How many values came, and how many of them have gone again.
    came: u64,
    gone: u64,
    /// Whether values go again, as in a window whose frame moves.
    sliding: bool,
    /// The values so far, for DISTINCT.
    seen: Option<HashSet<Decimal>>,
}

impl NumericAccumulator {
    pub(super) fn new(what: Calculated, distinct: bool, sliding: bool) -> NumericAccumulator {
        let extreme = matches!(what, Calculated::Least | Calculated::Greatest);
        NumericAccumulator {
            what,
            sum: Decimal::ZERO,
            count: 0,
            extremes: VecDeque::new(),
            came: 0,
            gone: 0,
            sliding,
            seen: (distinct && !extreme).then(HashSet::new),
        }
    }

    pub(super) fn state_fields(name: &str) -> Vec<FieldRef> {
        vec![
            Arc::new(Field::new(format!("{name}[value]"), NUMERIC, true)),
            Arc::new(Field::new(format!("{name}[count]"), ArrowType::Int64, true)),
        ]
    }

    fn add(&mut self, value: Decimal, count: i64) -> Result<()> {
        let order = match self.what {
            Calculated::Sum | Calculated::Average => {
                if self.seen.as_mut().is_none_or(|seen| seen.insert(value.normalized())) {
                    self.sum = self.sum.checked_add(value)?;
                    self.count = self.count.saturating_add(count);
                }
                return Ok(());
            }
            Calculated::Least => std::cmp::Ordering::Greater,
            Calculated::Greatest => std::cmp::Ordering::Less,
        };
        // What came before and is no better can never be the extreme again.
        while self
            .extremes
            .back()
            .is_some_and(|(_, last)| matches!(last.cmp_value(&value), o if o == order || o.is_eq()))
        {
            self.extremes.pop_back();
        }
        if self.sliding || self.extremes.is_empty() {
            self.extremes.push_back((self.came, value));
        }
        self.came += 1;
        Ok(())
    }

    fn remove(&mut self, value: Decimal) -> Result<()> {
        match self.what {
            Calculated::Sum | Calculated::Average => {
                self.sum = self.sum.checked_sub(value)?;
                self.count -= 1;
            }
            Calculated::Least | Calculated::Greatest => {
                if self.extremes.front().is_some_and(|(number, _)| *number == self.gone) {
                    self.extremes.pop_front();
                }
                self.gone += 1;
            }
        }
        Ok(())
    }

    fn each(
        &mut self,
        values: &[ArrayRef],
        mut take: impl FnMut(&mut NumericAccumulator, usize, Decimal) -> Result<()>,
    ) -> DfResult<()> {
        let Some(array) = values.first() else { return Ok(()) };
        for row in (0..array.len()).filter(|row| array.is_valid(*row)) {
            let value = match array.data_type() {
                ArrowType::Decimal128(_, scale) => {
                    decimal_from(array.as_primitive::<Decimal128Type>().value(row), *scale)
                }
                _ => numeric_from(array.as_fixed_size_binary().value(row)),
            };
            value.and_then(|value| take(self, row, value)).map_err(into_datafusion)?;
        }
        Ok(())
    }

    fn value(&self) -> Result<Value> {
        let value = match self.what {
            Calculated::Sum | Calculated::Average if self.count == 0 => None,
            Calculated::Sum => Some(self.sum),
            Calculated::Average => Some(self.sum.checked_div(Decimal::from(self.count))?),
            Calculated::Least | Calculated::Greatest => self.extremes.front().map(|(_, value)| *value),
        };
        Ok(value.map_or(Value::Null, Value::Numeric))
    }
}

fn numeric(value: &Value) -> Result<ScalarValue> {
    scalar_of(value, DataType::Numeric(None))
}

impl Accumulator for NumericAccumulator {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        self.each(values, |this, _, value| this.add(value, 1))
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        self.value().and_then(|value| numeric(&value)).map_err(into_datafusion)
    }

    fn size(&self) -> usize {
        let seen = self.seen.as_ref().map_or(0, HashSet::capacity);
        size_of::<NumericAccumulator>() + (self.extremes.capacity() + seen) * size_of::<(u64, Decimal)>()
    }

    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        if self.seen.is_some() {
            return Err(into_datafusion(Error::unsupported("an aggregate of DISTINCT numerics with grouping sets")));
        }
        let (value, count) = match self.what {
            Calculated::Sum | Calculated::Average => (Value::Numeric(self.sum), self.count),
            Calculated::Least | Calculated::Greatest => (self.value().map_err(into_datafusion)?, 1),
        };
        Ok(vec![numeric(&value).map_err(into_datafusion)?, ScalarValue::Int64(Some(count))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> DfResult<()> {
        let Some(counts) = states.get(1) else { return Ok(()) };
        let counts = counts.as_primitive::<datafusion::arrow::datatypes::Int64Type>();
        self.each(states, |this, row, value| this.add(value, counts.value(row)))
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        self.each(values, |this, _, value| this.remove(value))
    }

    fn supports_retract_batch(&self) -> bool {
        self.sliding && self.seen.is_none()
    }
}
